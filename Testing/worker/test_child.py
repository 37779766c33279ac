"""The real child: the same bits as the library in this process, previews, an early end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.worker.child import MOST_BETWEEN, NODES_MM
from GLIDERegLib.worker.job import State
from GLIDERegLib.worker.messages import load_array

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_gives_the_bits_of_the_library_and_tells_its_way(images, quick, start, listen, small_phantom):
    from GLIDERegLib.api import register
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.files.volumes import read_volume
    from GLIDERegLib.registration.field import DisplacementField
    from GLIDERegLib.transforms.points import map_points

    job = start(**images, settings=quick, preview_seconds=0.0)
    previews, error_of_previews = [], []
    landmarks = small_phantom.fixed_landmarks, small_phantom.moving_landmarks

    def look(event) -> bool:
        if event["event"] == "preview":
            previews.append(event["number"])
            try:
                field = DisplacementField(*load_array(event["field"]))
            except FileNotFoundError:  # two newer ones have come since
                return False
            assert field.vectors.dtype == np.float32
            apart = field.transform_points(landmarks[0]) - landmarks[1]
            error_of_previews.append(np.linalg.norm(apart, axis=1).mean())
        return False

    events = listen(job, until=look)
    result = events[-1]
    assert job.state is State.DONE
    assert result["event"] == "result" and not result["kept"]

    assert events[0]["event"] == "device"
    overall = [event["overall"] for event in events if event["event"] == "progress"]
    assert overall == sorted(overall) and overall[-1] == pytest.approx(1)

    # How many there are depends on how fast the run is.
    assert previews == sorted(set(previews)) and previews
    before = np.linalg.norm(landmarks[0] - landmarks[1], axis=1).mean()
    assert max(error_of_previews) < 1.5 * before
    folder = Path(result["transform"]).parent
    assert len(list(folder.glob("preview_*.npy"))) <= 2
    assert not list(folder.glob("*.partial"))

    volumes = {role: read_volume(path, role) for role, path in images.items()}
    here = register(**volumes, settings=Settings.preset(**quick))
    vectors, grid = load_array(result["field"])
    expected = here.displacement.subdivided(NODES_MM, MOST_BETWEEN)
    np.testing.assert_array_equal(vectors, expected.vectors)
    assert vectors.dtype == np.float32 and grid == expected.grid
    warped, grid = load_array(result["warped"])
    np.testing.assert_array_equal(warped, here.warped.array)
    assert warped.dtype == volumes["moving"].array.dtype and grid == volumes["fixed"].grid
    points = landmarks[0][:20]
    np.testing.assert_array_equal(
        map_points(read_transform(result["transform"]), points), map_points(here.transform, points)
    )
    assert result["report"]["similarity"] == json.loads(json.dumps(here.report["similarity"]))
    assert result["report"]["settings"]["name"] == "fast"


def test_stop_and_keep_gives_the_result_so_far(images, lengthy, start, listen):
    job = start(**images, settings=lengthy)
    events = listen(job, until=lambda event: event.get("stage") == "refinement" and event["fraction"] > 0)
    job.keep()
    events += listen(job)
    assert job.state is State.DONE
    assert events[-1]["kept"] and events[-1]["report"]["stopped_early"]
    assert np.abs(load_array(events[-1]["field"])[0]).max() > 1.0  # mm
    assert "preview" not in {event["event"] for event in events}


def test_what_libraries_print_stays_out_of_the_events():
    source = (
        "from GLIDERegLib.worker.channel import Channel\n"
        "import os, subprocess, sys\n"
        "channel = Channel()\n"
        "print('from python', flush=True); os.write(1, b'from native code\\n')\n"
        "subprocess.run([sys.executable, '-c', 'print(\"from a process\")'])\n"
        "channel.send({'text': 'für 肺' * 100000})\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == {"text": "für 肺" * 100000}
    assert done.stderr.split(b"\n")[:3] == [b"from python", b"from native code", b"from a process"]


def test_a_worker_run_by_hand_without_a_request_says_so():
    done = subprocess.run(
        [sys.executable, "-m", "GLIDERegLib.worker"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == InputError.exit_status
    assert json.loads(done.stdout)["kind"] == "input"


def test_a_correction_gives_what_the_library_gives(images, quick, start, listen, small_phantom, tmp_path):
    import SimpleITK as sitk

    from GLIDERegLib.api import correct
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.files.transforms import write_transform
    from GLIDERegLib.files.volumes import read_volume
    from GLIDERegLib.registration.field import DisplacementField

    present = sitk.TranslationTransform(3, (2.0, -1.0, 3.0))
    write_transform(present, tmp_path / "present.h5")
    here, there = small_phantom.fixed_landmarks[:3], small_phantom.moving_landmarks[:3]
    job = start(
        **images,
        settings=quick,
        present_transform=str(tmp_path / "present.h5"),
        corresponding_points={"fixed": here.tolist(), "moving": there.tolist()},
    )
    result = listen(job)[-1]
    assert job.state is State.DONE
    volumes = {role: read_volume(path, role) for role, path in images.items()}
    expected = correct(*volumes.values(), present, here, there, Settings.preset(**quick))
    found = DisplacementField(*load_array(result["field"])).at(small_phantom.fixed_landmarks)
    assert np.allclose(found, expected.displacement.at(small_phantom.fixed_landmarks), atol=1e-3)
    assert max(result["report"]["correction"]["after_mm"]) < 1.0
