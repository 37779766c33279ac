"""The real child stopped from outside: nothing is left, and what happened is told."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from promises import within

from GLIDERegLib.worker.job import State


@pytest.mark.parametrize("stage", [None, "pre-alignment", "refinement"])
def test_cancelling_at_any_stage_leaves_no_process_and_no_result(
    stage, images, lengthy, start, listen, running
):
    job = start(**images, settings={**lengthy, "align": "rigid"})
    if stage is not None:
        listen(job, until=lambda event: event.get("stage") == stage)
    child, begin = job.pid, time.monotonic()
    job.cancel()
    events = listen(job)
    assert time.monotonic() - begin < within(3)
    assert [(event["event"], event["kind"]) for event in events] == [("error", "cancelled")]
    assert job.state is State.CANCELLED
    assert not running(child)


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_child_killed_from_outside_is_one_clear_error(images, lengthy, start, listen):
    job = start(**images, settings=lengthy)
    listen(job, until=lambda event: event.get("stage") == "refinement")
    os.kill(job.pid, signal.SIGKILL)
    *_, error = events = listen(job)
    assert [event["event"] for event in events].count("error") == 1
    assert (error["event"], error["kind"], job.state) == ("error", "memory", State.FAILED)
