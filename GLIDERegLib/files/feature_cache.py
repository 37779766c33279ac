"""Encoded volumes on disk, so that the same image is not encoded twice."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pooch
import torch

_HOUR = 3600.0  # seconds


class FeatureCache:
    """Tensors by key, one .npy file each; beyond the limit those unused for longest go first.

    folder: default is "features" in the user's cache folder. limit_bytes: 4 GiB by default. Caching never
    fails: what cannot be written is not kept, what cannot be read is absent. Keys come from
    `registration.encoders.feature_key`.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = 4 * 1024**3):
        self.folder = Path(folder) if folder is not None else Path(pooch.os_cache("glidereg")) / "features"
        self.limit_bytes = limit_bytes

    def get(self, key: str) -> torch.Tensor | None:
        """The tensor kept under a key, on the CPU; None where there is none. A damaged file is removed."""
        path = self._path(key)
        try:
            tensor = torch.from_numpy(np.load(path, allow_pickle=False))
        except FileNotFoundError:
            return None
        except Exception:  # numpy fails in many ways on damaged files
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the modification time is the time of last use
        return tensor

    def put(self, key: str, tensor: torch.Tensor) -> None:
        """Keeps a tensor, unless it is larger than the limit or the folder cannot be written."""
        if tensor.nbytes > self.limit_bytes:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(self._path(key), tensor.detach().cpu().numpy())
            self._evict()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _write(self, path: Path, array: np.ndarray) -> None:
        handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, array, allow_pickle=False)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def _evict(self) -> None:
        for leftover in self.folder.glob("*.tmp"):  # of a process that was killed while writing
            if time.time() - leftover.stat().st_mtime > _HOUR:
                leftover.unlink()
        entries = sorted(
            ((path.stat(), path) for path in self.folder.glob("*.npy")),
            key=lambda entry: -entry[0].st_mtime_ns,
        )
        total = 0
        for status, path in entries:
            total += status.st_size
            if total > self.limit_bytes:
                path.unlink()
