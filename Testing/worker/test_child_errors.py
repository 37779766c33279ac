"""What goes wrong in the child is told in plain words, with a kind and a way out."""

from __future__ import annotations

import pytest

from GLIDERegLib.errors import Cancelled, InputError, OutOfMemoryError, WeightsError
from GLIDERegLib.worker.child import describe
from GLIDERegLib.worker.job import State
from GLIDERegLib.worker.messages import ERROR_KINDS


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"fixed": "/no/such/fixed.nrrd"}, "input", "/no/such/fixed.nrrd"),
        ({"settings": {"colour": "blue"}}, "input", "colour"),
        ({"settings": {"device": "cuda:99"}}, "input", "cuda:99"),
        ({"settings": {"features": "global"}}, "weights", "sam2.1_hiera_tiny"),
    ],
)
def test_what_cannot_be_done_is_an_error_with_a_kind(changes, kind, said, images, quick, start, listen):
    settings = {**quick, **changes.get("settings", {})}
    job = start(**{**images, **changes, "settings": settings})
    error = listen(job)[-1]
    assert (error["event"], error["kind"], job.state) == ("error", kind, State.FAILED)
    assert said in error["message"] and "\n" not in error["message"]
    assert error["hint"]
    assert "Traceback (most recent call last):" not in job.log


def raised(error: BaseException, context: BaseException | None = None) -> BaseException:
    error.__context__ = context
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (InputError("The mask 'a; b' is empty; draw it."), "input", "The mask 'a; b' is empty.", "Draw it."),
        (InputError("Unknown preset 'x': choose one."), "input", "Unknown preset 'x'.", "Choose one."),
        (InputError("It is wrong."), "input", "It is wrong.", ""),
        (Cancelled("Cancelled."), "cancelled", "cancelled", ""),
        (OutOfMemoryError("Too big: use --spacing 2."), "memory", "not enough memory", "spacing"),
        (MemoryError(), "memory", "not enough memory", "spacing"),
        (RuntimeError("CUDA out of memory."), "memory", "not enough memory", "spacing"),
        (WeightsError("x.pt is not here.\nhost: y"), "weights", "x.pt is not here.", "checkpoint"),
        (raised(WeightsError("Needs sam2."), ImportError("no sam2")), "dependency", "no sam2", "Install"),
        (ModuleNotFoundError("No module named 'torch'"), "dependency", "torch", "Install"),
        (ZeroDivisionError("by zero"), "internal", "ZeroDivisionError: by zero", "log"),
        (KeyboardInterrupt(), "internal", "KeyboardInterrupt", "log"),
    ],
)
def test_every_exception_has_a_kind_a_sentence_and_a_way_out(error, kind, message, hint):
    event = describe(error)
    assert event["event"] == "error"
    assert event["kind"] == kind and kind in ERROR_KINDS
    assert message in event["message"] and "\n" not in event["message"]
    assert hint in event["hint"]
