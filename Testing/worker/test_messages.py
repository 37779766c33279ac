"""Requests, events and arrays survive the way between two processes; what is none is told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.worker.messages import Request, is_out_of_memory, load_array, parse_event, save_array

ROOT = Path(__file__).resolve().parents[2]


def test_a_request_is_read_as_it_was_written(make_request, tmp_path):
    request = make_request(
        fixed="/data/Lunge für 肺.nrrd",
        moving_mask="/data/mask.nrrd",
        settings={"name": "fast", "features": "local", "spacing": 2.5, "symmetric": True},
        preview_seconds=0.5,
    )
    request.write(tmp_path / "request.json")
    assert Request.read(tmp_path / "request.json") == request


@pytest.mark.parametrize("content", [None, "", "[1, 2]", '{"fixed": "a"}', '{"no_such_field": 1}', "\x00"])
def test_a_file_that_is_no_request_is_refused_in_one_sentence(content, tmp_path):
    path = tmp_path / "request.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="is no request") as caught:
        Request.read(path)
    assert "\n" not in str(caught.value)


PROGRESS = {"event": "progress", "stage": "result", "fraction": 0, "overall": 0.5, "message": ""}


def test_an_event_is_read_as_it_was_sent():
    assert parse_event(json.dumps(PROGRESS).encode() + b"\n") == PROGRESS


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"loading weights ...",
        b"\xff\xfe\x00garbage",
        b"3.5",
        b"null",
        b'["event"]',
        b'{"event": []}',
        b'{"event": "explosion"}',
        b'{"event": "progress"}',
        json.dumps({**PROGRESS, "overall": "half"}).encode(),
        json.dumps(PROGRESS).encode()[:-5],
        b"[" * 200_000,
    ],
)
def test_whatever_else_is_printed_is_no_event(line):
    assert parse_event(line) is None


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_an_array_comes_back_to_the_bit_with_its_grid(dtype, tmp_path):
    turn = (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8)
    grid = Grid((4, 3, 2), (0.7, 1.1, 2.5), (-120.25, 1e-7, 33.3), turn)
    array = np.random.default_rng(1).normal(0, 50, (2, 3, 4, 3)).astype(dtype)
    entry = json.loads(json.dumps(save_array(array, grid, tmp_path / "field.npy")))
    assert [path.name for path in tmp_path.iterdir()] == ["field.npy"]
    read, read_grid = load_array(entry)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array)
    assert read_grid == grid


def test_words_of_allocators_are_known_as_a_lack_of_memory():
    assert is_out_of_memory("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert is_out_of_memory("terminate called after throwing an instance of 'std::bad_alloc'")
    assert not is_out_of_memory("ValueError: operands could not be broadcast")


@pytest.mark.parametrize("module", ["worker.job", "worker.messages", "processes.start", "processes.lines"])
def test_what_slicer_imports_loads_nothing_it_may_not_have(module):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, GLIDERegLib.{module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    absent = {"torch", "SimpleITK", "scipy", "psutil", "pooch", "requests", "tqdm"}
    assert not set(done.stdout.split()) & absent


def test_a_request_names_the_nodules_that_are_kept():
    request = Request(
        "f.nrrd", "m.nrrd", "out", "cancel", "keep", fixed_nodules="a.csv", moving_nodules="b.csv"
    )
    files = request.files()
    assert (files.fixed_nodules, files.moving_nodules) == (Path("a.csv"), Path("b.csv"))
    assert Request("f.nrrd", "m.nrrd", "out", "cancel", "keep").files().fixed_nodules is None
