"""Progress, cancellation, and the seconds and memory of every stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from GLIDERegLib.core.errors import Cancelled

if TYPE_CHECKING:
    import torch

    from GLIDERegLib.registration.field import DisplacementField


@dataclass(frozen=True)
class Progress:
    """What a progress callback receives: the stage's name, its fraction done (0 to 1), and a line to tell, if
    any.
    """

    stage: str
    fraction: float
    message: str = ""


ProgressCallback = Callable[[Progress], None]
PreviewCallback = Callable[["DisplacementField"], None]


class CancelToken:
    """Asks a running registration to stop: from another thread by `cancel()`, or by a file that appears."""

    def __init__(self, file: Path | None = None):
        self._event = threading.Event()
        self._file = file

    def cancel(self) -> None:
        """Asks for a stop; from any thread."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for, here or by the file."""
        return self._event.is_set() or (self._file is not None and self._file.exists())

    def check(self) -> None:
        """Raises Cancelled once a stop was asked for."""
        if self.cancelled:
            raise Cancelled("Cancelled; nothing was written.")


class Stages:
    """Runs the stages of a registration: tells progress, shows previews, checks for a wish to stop, measures
    seconds and peak memory.
    """

    # Previews take at most this share of the time.
    PREVIEW_SHARE = 0.1

    def __init__(
        self,
        device: torch.device,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        keep: CancelToken | None = None,
        preview: PreviewCallback | None = None,
    ):
        self.records: dict[str, dict] = {}
        self._device = device
        self._progress = progress
        self.cancel = cancel or CancelToken()
        self._keep = keep or CancelToken()
        self._preview = preview
        self._next_preview = 0.0
        self._stage = ""

    @property
    def ending(self) -> bool:
        """Whether the user wants to stop here and keep what there is."""
        return self._keep.cancelled

    def show(self, field: Callable[[], DisplacementField]) -> None:
        """Hands over the field so far, which is only computed if somebody looks and the last one is not too
        recent.
        """
        started = time.monotonic()
        if self._preview is None or started < self._next_preview:
            return
        self._preview(field())
        end = time.monotonic()
        self._next_preview = end + (end - started) / self.PREVIEW_SHARE

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures what happens inside as stage `name`; a stage entered twice adds up."""
        self.cancel.check()
        self._stage = name
        self.step(0.0)
        cuda = self._device.type == "cuda"
        if cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        start = time.perf_counter()
        with _PeakMemory() as memory:
            yield
            if cuda:
                torch.cuda.synchronize(self._device)
        record = self.records.setdefault(name, {"seconds": 0.0, "peak_memory_mb": 0.0})
        record["seconds"] = round(record["seconds"] + time.perf_counter() - start, 3)
        record["peak_memory_mb"] = max(record["peak_memory_mb"], round(memory.peak / 2**20, 1))
        if cuda:
            peak = torch.cuda.max_memory_allocated(self._device) / 2**20
            record["peak_device_memory_mb"] = max(record.get("peak_device_memory_mb", 0.0), round(peak, 1))
        self.step(1.0)

    def step(self, fraction: float, message: str = "") -> None:
        """Reports the share done (0 to 1) of the current stage. Raises Cancelled where that was asked for."""
        self.cancel.check()
        if self._progress is not None:
            self._progress(Progress(self._stage, min(max(float(fraction), 0.0), 1.0), message))


class _PeakMemory:
    """Largest resident memory of this process, sampled by a thread: no system counter can be reset on every
    platform.
    """

    INTERVAL_SECONDS = 0.05

    def __enter__(self) -> _PeakMemory:
        self._process = psutil.Process()
        self.peak = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, self._process.memory_info().rss)

    def _sample(self) -> None:
        while not self._stop.wait(self.INTERVAL_SECONDS):
            self.peak = max(self.peak, self._process.memory_info().rss)
