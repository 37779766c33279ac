import os
import time

import numpy as np
import pytest
import torch

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.feature_cache import FeatureCache
from GLIDERegLib.registration.features.encoding import encode_volume

KEYS = "a" * 64, "b" * 64, "c" * 64
BYTES = 4 * 1000 + 128  # a tensor of 1000 float32 as .npy


def numbers(value):
    return torch.full((1000,), float(value))


def used_long_ago(cache, key, seconds):
    moment = time.time() - seconds
    os.utime(cache.folder / f"{key}.npy", (moment, moment))


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features", limit_bytes=2 * BYTES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_gives_back_what_was_put(cache, dtype):
    tensor = torch.randn(2, 3, 4, 5).to(dtype)
    assert cache.get(KEYS[0]) is None
    cache.put(KEYS[0], tensor.permute(1, 0, 2, 3))
    kept = FeatureCache(cache.folder).get(KEYS[0])
    assert kept.dtype == dtype and torch.equal(kept, tensor.permute(1, 0, 2, 3))
    assert cache.get(KEYS[1]) is None


def test_entries_are_plain_npy_files_and_no_temporary_file_stays(cache):
    cache.put(KEYS[0], numbers(1))
    assert [path.name for path in cache.folder.iterdir()] == [f"{KEYS[0]}.npy"]
    np.testing.assert_array_equal(
        np.load(cache.folder / f"{KEYS[0]}.npy", allow_pickle=False), numbers(1).numpy()
    )


def test_the_entry_unused_for_longest_goes_first(cache):
    for age, key in zip((300, 200), KEYS, strict=False):
        cache.put(key, numbers(age))
        used_long_ago(cache, key, age)
    assert cache.get(KEYS[0]) is not None  # now the more recently used of the two
    cache.put(KEYS[2], numbers(0))
    assert [cache.get(key) is not None for key in KEYS] == [True, False, True]


def test_a_tensor_above_the_limit_is_not_kept_and_evicts_nothing(cache):
    cache.put(KEYS[0], numbers(1))
    cache.put(KEYS[1], torch.zeros(3000))
    assert cache.get(KEYS[0]) is not None and cache.get(KEYS[1]) is None


@pytest.mark.parametrize("keep", [0, 5, 60, 2000])
def test_a_truncated_entry_is_absent_and_removed(cache, keep):
    cache.put(KEYS[0], numbers(1))
    path = cache.folder / f"{KEYS[0]}.npy"
    path.write_bytes(path.read_bytes()[:keep])
    assert cache.get(KEYS[0]) is None
    assert not path.exists()


def test_entries_that_would_run_code_or_are_no_arrays_are_absent_and_removed(cache):
    cache.folder.mkdir()
    np.save(cache.folder / f"{KEYS[0]}.npy", np.array([{}], object), allow_pickle=True)
    with open(cache.folder / f"{KEYS[1]}.npy", "wb") as file:
        np.savez(file, a=np.zeros(2))
    assert cache.get(KEYS[0]) is None and cache.get(KEYS[1]) is None
    assert not list(cache.folder.iterdir())


def test_a_folder_that_cannot_be_written_means_no_caching(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    cache = FeatureCache(tmp_path / "file" / "features")
    cache.put(KEYS[0], numbers(1))
    assert cache.get(KEYS[0]) is None


def test_a_full_disk_leaves_no_entry_and_no_temporary_file(cache, monkeypatch):
    def full(file, *_, **__):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    cache.put(KEYS[0], numbers(1))
    assert cache.get(KEYS[0]) is None and not list(cache.folder.iterdir())


def test_leftovers_of_killed_processes_are_cleared_but_not_those_being_written(cache):
    cache.folder.mkdir()
    old, fresh = cache.folder / "old.tmp", cache.folder / "fresh.tmp"
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.put(KEYS[0], numbers(1))
    assert not old.exists() and fresh.exists()


def test_serves_encode_volume_across_sessions(cache):
    class Counting:
        name, channels, runs = "mean", 1, 0

        def identity(self):
            return {"name": self.name}

        def encode(self, slices, masks, progress=None, cancel=None):
            Counting.runs += 1
            return slices.mean((1, 2), keepdim=True)[:, None]

    volume = Volume(np.arange(27, dtype=np.float32).reshape(3, 3, 3), Grid((3, 3, 3)))
    mask = np.ones((3, 3, 3), bool)
    first = encode_volume(volume, mask, Counting(), cache=cache)
    second = encode_volume(volume, mask, Counting(), cache=FeatureCache(cache.folder))
    assert Counting.runs == 1 and torch.equal(first.features, second.features)

    for path in cache.folder.iterdir():
        path.write_bytes(b"damaged")
    third = encode_volume(volume, mask, Counting(), cache=cache)
    assert Counting.runs == 2 and torch.equal(first.features, third.features)
