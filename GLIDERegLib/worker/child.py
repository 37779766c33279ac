"""The process of a registration: reads the request, registers, tells what happens; may stay for the next."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GLIDERegLib.core.errors import (
    Cancelled,
    DependencyError,
    GlideRegError,
    InputError,
    OutOfMemoryError,
    WeightsError,
)
from GLIDERegLib.processes.loading import uncollected
from GLIDERegLib.worker.channel import Channel
from GLIDERegLib.worker.messages import (
    DEPENDENCY_HINT,
    INTERNAL_HINT,
    LEFT_IDLE,
    MEMORY_HINT,
    STAY,
    Request,
    error_event,
    is_out_of_memory,
    save_array,
)
from GLIDERegLib.worker.overall import Overall
from GLIDERegLib.worker.staying import Requests, load, may_stay
from GLIDERegLib.worker.watch import end_when_cancelled, end_with_parent

if TYPE_CHECKING:
    from GLIDERegLib.api import Registration
    from GLIDERegLib.registration.field import DisplacementField

# The newest, and the one before, which may be being read.
KEPT_PREVIEWS = 2
KINDS = {WeightsError: "weights", DependencyError: "dependency"}
WEIGHTS_HINT = "Download the checkpoint, choose its file, or use local features."
# Slicer reads a field with cubic interpolation; between nodes this close that is the engine's linear one.
NODES_MM, MOST_BETWEEN = 2.0, 4


def main() -> None:
    """Does the request whose path is this process's argument, and ends the process; with STAY it does those
    whose paths come by standard input too, as long as all goes well.
    """
    channel = Channel()
    faulthandler.enable()
    arguments = [argument for argument in sys.argv[1:] if argument != STAY]
    if STAY in sys.argv[1:]:
        requests = Requests()
        end_with_parent(requests.take)
        status = _stay(requests, arguments, channel)
    else:
        end_with_parent()
        status = _serve(arguments, channel)
    sys.stderr.flush()
    # Python's own way out would wait for threads of libraries, and there is nothing left to save.
    os._exit(status)


def _stay(requests: Requests, arguments: list[str], channel: Channel) -> int:
    """Does one request after the other; the exit status at the end."""
    if not arguments:
        try:
            load()
        except Exception:
            # To be told to whoever asks for a registration.
            traceback.print_exc()
            return LEFT_IDLE
    while True:
        if not arguments:
            path = requests.next()
            if path is None:
                return LEFT_IDLE
            arguments = [path]
        if status := _serve(arguments, channel):
            return status
        if not may_stay():
            return 0
        sys.stderr.flush()
        channel.send({"event": "ready"})
        arguments = []


def _serve(arguments: list[str], channel: Channel) -> int:
    """Does one request and tells its end; the exit status."""
    call_off = None
    try:
        if len(arguments) != 1:
            raise InputError(
                "The worker takes one argument.", "Give it the path of a request.", code="request"
            )
        request = Request.read(arguments[0])
        call_off = end_when_cancelled(Path(request.cancel_file))
        event, status = run(request, channel), 0
        call_off()
        channel.send(event)
    except BaseException as error:
        if isinstance(error, GlideRegError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        channel.send(describe(error))
        status = error.exit_status if isinstance(error, GlideRegError) else 1
    return status


def run(request: Request, channel: Channel) -> dict[str, Any]:
    """Registers as requested, telling progress and previews; returns the result event.

    Raises what `register` and the readers of files raise.
    """
    # Here, so that a missing package is an error that can be told.
    with uncollected():
        import numpy as np

        from GLIDERegLib.api import choose_device, correct, register_inputs
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.registration.progress import CancelToken, Progress
    from GLIDERegLib.worker.probe import device_label

    try:
        settings = Settings.preset(**{"name": "default", **request.settings})
    except TypeError as error:
        raise InputError(
            f"The settings cannot be used ({error}).", "Check their names and values.", code="request"
        ) from error
    output, seconds = Path(request.output), request.preview_seconds
    device = str(choose_device(settings.device))
    channel.send({"event": "device", "kind": device, "name": device_label(device)})

    whole = request.present_transform is None
    overall = Overall(whole and settings.symmetric, local=not whole or settings.features == "local")

    def tell(progress: Progress) -> None:
        content = {"stage": progress.stage, "fraction": progress.fraction, "message": progress.message}
        done = overall.at(progress.stage, progress.fraction)
        channel.send({"event": "progress", **content, "overall": done})

    pair = request.files().read()
    if request.present_transform is not None:
        points = request.corresponding_points or {"fixed": [], "moving": []}
        result = correct(
            *pair.scans,
            read_transform(request.present_transform),
            np.asarray(points["fixed"], float),
            np.asarray(points["moving"], float),
            settings,
            progress=tell,
            cancel=CancelToken(Path(request.cancel_file)),
            keep=CancelToken(Path(request.keep_file)),
        )
        return save_result(result, output)
    result = register_inputs(
        pair,
        settings,
        progress=tell,
        cancel=CancelToken(Path(request.cancel_file)),
        preview=Previews(output, seconds, channel) if seconds is not None else None,
        keep=CancelToken(Path(request.keep_file)),
    )
    return save_result(result, output)


def save_result(result: Registration, folder: Path) -> dict[str, Any]:
    """Writes field, warped image, transform and report into the folder; returns the result event."""
    from GLIDERegLib.files.outputs import write_json
    from GLIDERegLib.files.transforms import write_transform

    write_transform(result.transform, folder / "transform.h5")
    write_json(result.report, folder / "report.json")
    return {
        "event": "result",
        "field": save_field(result.displacement.subdivided(NODES_MM, MOST_BETWEEN), folder / "field.npy"),
        "warped": save_array(result.warped.array, result.warped.grid, folder / "warped.npy"),
        "transform": str((folder / "transform.h5").absolute()),
        # Read back, because the file holds plain numbers only.
        "report": json.loads((folder / "report.json").read_text(encoding="utf-8")),
        "kept": bool(result.report.get("stopped_early", False)),
    }


def save_field(displacement: DisplacementField, path: Path) -> dict[str, Any]:
    """Writes a field's vectors as float32 .npy; returns its entry."""
    return save_array(displacement.vectors.astype("float32", copy=False), displacement.grid, path)


class Previews:
    """Receives the field of a running refinement and hands over one every so many seconds, as files."""

    def __init__(self, folder: Path, seconds: float, channel: Channel):
        self._folder, self._seconds = folder, seconds
        self._channel = channel
        self._number = 0
        self._last = float("-inf")

    def __call__(self, displacement: DisplacementField) -> None:
        if time.monotonic() - self._last < self._seconds:
            return
        self._number += 1
        field = save_field(displacement, self._path(self._number))
        self._channel.send({"event": "preview", "number": self._number, "field": field})
        # Whoever reads the one before still finds it.
        self._path(self._number - KEPT_PREVIEWS).unlink(missing_ok=True)
        self._last = time.monotonic()

    def _path(self, number: int) -> Path:
        return self._folder / f"preview_{number}.npy"


def describe(error: BaseException) -> dict[str, Any]:
    """The error event for an exception."""
    text = str(error)
    if isinstance(error, Cancelled):
        return error_event("cancelled", "The registration was cancelled.", "", error.code)
    if isinstance(error, (MemoryError, OutOfMemoryError)) or is_out_of_memory(text):
        message = "There is not enough memory for these images and settings."
        return error_event("memory", message, MEMORY_HINT, "memory")
    if isinstance(error, ImportError):
        message = f"A package that the registration needs cannot be loaded ({error})."
        return error_event("dependency", message, DEPENDENCY_HINT, "dependency")
    if isinstance(error, GlideRegError):
        kind = next((name for cls, name in KINDS.items() if isinstance(error, cls)), "input")
        hint = error.hint or (WEIGHTS_HINT if kind == "weights" else "")
        return error_event(kind, error.message.splitlines()[0], hint, error.code)
    message = f"The registration failed unexpectedly ({type(error).__name__}: {text})."
    return error_event("internal", message, INTERNAL_HINT, "internal")
