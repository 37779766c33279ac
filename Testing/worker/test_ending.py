"""No process survives: not of a cancelled, closed, forgotten or finished job, nor of a dead owner."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from promises import within

from GLIDERegLib.worker.job import RegistrationJob, State

ROOT = Path(__file__).resolve().parents[2]
PIDS = "open(os.path.join(request.output, 'pids'), 'w').write(f'{os.getpid()} {other.pid}')"
# A child that hears nothing, with a grandchild that hears nothing.
DEAF = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
{PIDS}
progress(0.1)
time.sleep(600)
"""


def has_progress(event):
    return event["event"] == "progress"


def pids(request) -> list[int]:
    return [int(word) for word in (Path(request.output) / "pids").read_text().split()]


@pytest.fixture
def deaf(start, listen, make_request):
    """A running job of a deaf child, and the process ids of the child and of the grandchild."""
    job = start(DEAF)
    listen(job, until=has_progress)
    return job, pids(make_request())


def test_cancelling_a_deaf_child_ends_it_and_its_offspring_within_three_seconds(deaf, listen, running):
    job, family = deaf
    begin = time.monotonic()
    job.cancel()
    assert job.state is State.CANCELLING
    events = listen(job)
    assert time.monotonic() - begin < within(3)
    assert [(event["event"], event["kind"]) for event in events] == [("error", "cancelled")]
    assert job.state is State.CANCELLED
    assert not any(map(running, family))


def test_a_child_that_obeys_is_not_waited_for(start, listen):
    job = start(
        """
        progress(0.1)
        while not os.path.exists(request.cancel_file):
            time.sleep(0.02)
        """
    )
    listen(job, until=has_progress)
    begin = time.monotonic()
    job.cancel()
    listen(job)
    assert time.monotonic() - begin < within(1.9)  # sooner than any force is used
    assert job.state is State.CANCELLED


def test_a_result_that_comes_after_the_cancellation_is_dropped(start, listen):
    job = start(
        """
        progress(0.1)
        while not os.path.exists(request.cancel_file):
            time.sleep(0.02)
        progress(0.9)
        result()
        """
    )
    listen(job, until=has_progress)
    job.cancel()
    assert [event["event"] for event in listen(job)] == ["error"]
    assert job.state is State.CANCELLED


def test_cancelling_works_when_the_folder_is_gone(deaf, listen, running, make_request):
    job, family = deaf
    shutil.rmtree(make_request().output)
    job.cancel()
    listen(job)
    assert job.state is State.CANCELLED
    assert not any(map(running, family))


def test_cancelling_before_the_first_event_works(start, listen):
    job = start("time.sleep(600)")
    job.cancel()
    listen(job, seconds=3)
    assert job.state is State.CANCELLED


def test_close_returns_when_all_are_gone(deaf, running, eventually):
    job, family = deaf
    job.close()
    assert not running(family[0])
    eventually(lambda: not any(map(running, family)))  # the kernel may still be burying the grandchild
    assert job.state is State.CANCELLED
    assert job.poll() == []
    job.close()


def test_a_job_nobody_holds_any_more_ends_its_child(make_request, running, eventually):
    def start_and_forget() -> int:
        job = RegistrationJob(sys.executable, ["-c", "import time; time.sleep(600)"])
        job.start(make_request(), make_request().output)
        assert running(job.pid)
        return job.pid

    child = start_and_forget()
    gc.collect()
    eventually(lambda: not running(child))


def test_offspring_left_behind_by_a_finished_child_is_ended(start, listen, make_request, running, eventually):
    job = start(
        f"""
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        {PIDS}
        result()
        """
    )
    assert listen(job)[-1]["event"] == "result"
    eventually(lambda: not any(map(running, pids(make_request()))))


@pytest.mark.skipif(os.name != "posix", reason="POSIX sessions")
def test_an_escaped_grandchild_that_holds_the_pipes_does_not_hold_up_the_end(start, listen, make_request):
    job = start(
        f"""
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        other = subprocess.Popen(sleep, start_new_session=True)
        {PIDS}
        result()
        """
    )
    try:
        assert listen(job, seconds=10)[-1]["event"] == "result"
    finally:
        os.kill(pids(make_request())[1], signal.SIGKILL)


OWNER = """
import sys, time
from GLIDERegLib.worker.job import RegistrationJob
from GLIDERegLib.worker.messages import Request
request = Request.read(sys.argv[1])
job = RegistrationJob(sys.executable, {arguments})
job.start(request, request.output)
while not any(event["event"] in ("progress", "device") for event in job.poll()):
    time.sleep(0.02)
print(job.pid, flush=True)
{then}
"""


def start_owner(request, arguments: list[str], then: str) -> tuple[subprocess.Popen, int]:
    """Another program with a job; it, and the process id of its child."""
    path = Path(request.output) / "owner.json"
    request.write(path)
    source = OWNER.format(arguments=arguments, then=then)
    owner = subprocess.Popen(
        [sys.executable, "-c", source, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    return owner, int(owner.stdout.readline())


def test_a_program_that_leaves_takes_its_child_with_it(make_request, running, eventually):
    say = (
        'import time; print(\'{"event": "device", "kind": "cpu", "name": ""}\', flush=True); time.sleep(600)'
    )
    owner, child = start_owner(make_request(), ["-c", say], then="")
    assert owner.wait(timeout=30) == 0
    eventually(lambda: not running(child))


WATCHED = """
import sys, time
from pathlib import Path
from GLIDERegLib.worker.watch import end_when_cancelled, end_with_parent
{watch}
print("watching", flush=True)
time.sleep(600)
"""


def start_watched(watch: str, stdin: int) -> subprocess.Popen:
    """A process that says one word, watches, and would sleep for long."""
    command = [sys.executable, "-c", WATCHED.format(watch=watch)]
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout.readline() == b"watching\n"
    return process


def test_the_end_of_its_input_ends_a_silent_child():
    process = start_watched("end_with_parent()", subprocess.PIPE)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=10) == 1


def test_a_child_started_by_hand_without_input_goes_on():
    process = start_watched("end_with_parent()", subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.kill()
    process.wait()


def test_a_cancelled_child_whose_work_does_not_return_ends_itself(tmp_path):
    file = tmp_path / "cancel"
    process = start_watched(f"end_when_cancelled(Path({str(file)!r}))", subprocess.DEVNULL)
    assert process.poll() is None
    file.touch()
    assert process.wait(timeout=10) == 130


def test_a_registration_whose_program_is_killed_ends_by_itself(
    make_request, images, lengthy, running, eventually
):
    request = make_request(**images, settings=lengthy)
    owner, child = start_owner(request, ["-m", "GLIDERegLib.worker"], then="time.sleep(600)")
    assert running(child)
    owner.kill()
    owner.wait(timeout=30)
    eventually(lambda: not running(child), seconds=10)
