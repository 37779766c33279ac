"""Jobs with children made for a test, and the means to watch them. psutil looks from outside."""

from __future__ import annotations

import gc
import sys
import textwrap
import time

import psutil
import pytest

from GLIDERegLib.worker.job import RegistrationJob
from GLIDERegLib.worker.messages import Request

# What a child made for a test can use: `say` sends an event, `request` is what it was asked for.
PRELUDE = """
import json, os, signal, subprocess, sys, time
from GLIDERegLib.worker.messages import Request
request = Request.read(sys.argv[1])
def say(event, **content):
    print(json.dumps({"event": event, **content}), flush=True)
def progress(overall, stage="refinement"):
    say("progress", stage=stage, fraction=0.5, overall=overall, message="")
def result():
    say("result", field={}, warped={}, transform="t.h5", report={}, kept=False)
"""


def is_running(pid: int) -> bool:
    """False for a process that is gone or only waits to be buried by its parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def running_offspring() -> set[int]:
    return {p.pid for p in psutil.Process().children(recursive=True) if is_running(p.pid)}


def wait_until(condition, seconds: float = 30.0):
    """What the condition returned once it was true; fails the test when it stays false for long."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


@pytest.fixture
def running():
    return is_running


@pytest.fixture
def eventually():
    return wait_until


@pytest.fixture
def images(phantom_folder):
    """Paths of the small phantom's images, as fields of a request."""
    return {role: str(phantom_folder / f"{role}.nii.gz") for role in ("fixed", "moving")}


@pytest.fixture
def quick():
    """Settings of a registration of a few seconds."""
    return {
        "name": "fast",
        "features": "local",
        "align": "none",
        "search_range": 16.0,
        "spacing": 12.0,
        "threads": 1,
    }


@pytest.fixture
def lengthy(quick):
    """Settings with 800 iterations: certainly not through when something happens to them."""
    return {**quick, "name": "paper"}


@pytest.fixture
def make_request(tmp_path):
    """Builds a request whose files lie in a new folder with an unusual name."""

    def make(**changes) -> Request:
        folder = tmp_path / "a job, für 肺"
        folder.mkdir(exist_ok=True)
        files = {"output": folder, "cancel_file": folder / "cancel", "keep_file": folder / "keep"}
        names = {name: str(path) for name, path in files.items()}
        return Request(**{"fixed": "fixed.nrrd", "moving": "moving.nrrd", **names, **changes})

    return make


@pytest.fixture
def start(make_request):
    """Starts a real child, or one made of a source, and returns its job; all are ended after the test."""
    jobs = []

    def start(source: str | None = None, clock=time.monotonic, **changes) -> RegistrationJob:
        request = make_request(**changes)
        if source is None:
            job = RegistrationJob(sys.executable)
        else:
            job = RegistrationJob(sys.executable, ["-c", PRELUDE + textwrap.dedent(source)], clock)
        jobs.append(job)
        job.start(request, request.output)
        return job

    yield start
    for job in jobs:
        job.close()


@pytest.fixture
def listen():
    """Polls a job until it ends, or until an event of which `until` is true has come; returns all events."""

    def listen(job, until=None, seconds: float = 60.0) -> list[dict]:
        events, end = [], time.monotonic() + seconds
        while job.active:
            new = job.poll()
            events += new
            if until is not None and any(until(event) for event in new):
                break
            assert time.monotonic() < end, (job.state, events, job.log)
            time.sleep(0.02)
        return events

    return listen


@pytest.fixture(autouse=True)
def nothing_survives():
    """No test leaves a process behind."""
    before = running_offspring()
    yield
    gc.collect()
    wait_until(lambda: not running_offspring() - before)
