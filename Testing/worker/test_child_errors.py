"""What goes wrong in the child is told in plain words, with a kind and a way out."""

from __future__ import annotations

import pytest

from GLIDERegLib.core.errors import Cancelled, DependencyError, InputError, OutOfMemoryError, WeightsError
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
    assert error["code"]
    assert "Traceback (most recent call last):" not in job.log


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (InputError("Mask 'a; b' is empty.", "Draw it."), "input", "Mask 'a; b' is empty.", "Draw it."),
        (InputError("Unknown preset 'x'."), "input", "Unknown preset 'x'.", ""),
        (InputError("It is wrong."), "input", "It is wrong.", ""),
        (Cancelled("Cancelled."), "cancelled", "cancelled", ""),
        (OutOfMemoryError("Too big."), "memory", "not enough memory", "spacing"),
        (MemoryError(), "memory", "not enough memory", "spacing"),
        (RuntimeError("CUDA out of memory."), "memory", "not enough memory", "spacing"),
        (WeightsError("x.pt is not here.\nhost: y"), "weights", "x.pt is not here.", "checkpoint"),
        (DependencyError("Needs sam2.", "Install it."), "dependency", "Needs sam2.", "Install it."),
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


def test_the_librarys_code_comes_along_so_that_the_panel_can_word_the_remedy():
    error = InputError("No overlap.", "Align them.", code="no-overlap")
    assert describe(error)["code"] == "no-overlap"
    assert {describe(e)["code"] for e in (MemoryError(), ZeroDivisionError())} == {"memory", "internal"}
