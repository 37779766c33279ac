"""A process whose run ended well stays, loaded, for the next one; any other end is the process's end too."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import numpy as np
import pytest

from GLIDERegLib.processes.start import start_process
from GLIDERegLib.worker import staying
from GLIDERegLib.worker.job import RegistrationJob, State
from GLIDERegLib.worker.messages import LEFT_IDLE, load_array

# A child that does one request after the other; what it does with each is in the settings.
STAYING = """
import threading, queue
from GLIDERegLib.worker.staying import Requests
from GLIDERegLib.worker.watch import end_with_parent
requests = Requests()
end_with_parent(requests.take)
given = [a for a in sys.argv[1:] if a != "--stay"]
while True:
    request = Request.read(given.pop() if given else requests.next())
    say("device", kind="cpu", name=str(os.getpid()))
    print("log of", request.settings["what"], file=sys.stderr, flush=True)
    exec(request.settings["what"])
    say("ready")
"""
PRELUDE_WITHOUT_REQUEST = """
import json, os, signal, subprocess, sys, time
from GLIDERegLib.worker.messages import Request
def say(event, **content):
    print(json.dumps({"event": event, **content}), flush=True)
def result():
    say("result", field={}, warped={}, transform="t.h5", report={}, kept=False)
"""


@pytest.fixture
def job():
    job = RegistrationJob(sys.executable, ["-c", PRELUDE_WITHOUT_REQUEST + STAYING])
    yield job
    job.close()


@pytest.fixture
def do(job, make_request, listen):
    """Runs a request, and returns the process id that it told and the last event."""

    def do(what: str) -> tuple[int, dict]:
        request = make_request(settings={"what": what})
        job.start(request, request.output)
        events = listen(job)
        (pid,) = (int(event["name"]) for event in events if event["event"] == "device")
        return pid, events[-1]

    return do


def test_the_next_run_is_done_by_the_same_process(job, do, running):
    first, last = do("result()")
    assert last["event"] == "result" and job.state is State.DONE and not job.active and running(first)
    second, last = do("time.sleep(0.1); result()")
    assert second == first and last["event"] == "result"
    assert job.log == ["log of time.sleep(0.1); result()"], "the log is that of this run"


def test_close_ends_a_process_that_waits(job, do, running):
    pid, _ = do("result()")
    job.close()
    assert not running(pid) and job.state is State.DONE
    assert do("result()")[0] != pid


def test_a_job_that_is_forgotten_takes_its_waiting_process_with_it(make_request, listen, running, eventually):
    def run() -> int:
        job = RegistrationJob(sys.executable, ["-c", PRELUDE_WITHOUT_REQUEST + STAYING])
        request = make_request(settings={"what": "result()"})
        job.start(request, request.output)
        pid = job.pid
        listen(job)
        assert running(pid)
        return pid

    pid = run()
    gc.collect()
    eventually(lambda: not running(pid))


@pytest.mark.parametrize(
    "what",
    [
        "say('error', kind='input', message='No.', hint='', code='input')",
        "os._exit(7)",
        "os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_after_a_failure_the_next_run_has_a_process_of_its_own(job, do, running, what):
    waiting, _ = do("result()")
    failed, last = do(what)
    assert failed == waiting and last["event"] == "error" and job.state is State.FAILED
    assert not running(failed)
    pid, last = do("result()")
    assert pid != failed and last["event"] == "result"


def test_after_a_cancelled_run_the_next_has_a_process_of_its_own(job, do, listen, make_request, running):
    """Even where the process obeys and says that it is ready."""
    first, _ = do("result()")
    request = make_request(settings={"what": "while not os.path.exists(request.cancel_file): pass\nresult()"})
    job.start(request, request.output)
    listen(job, until=lambda event: event["event"] == "device")
    job.cancel()
    listen(job, seconds=3)
    assert job.state is State.CANCELLED and not running(first)
    pid, last = do("result()")
    assert pid != first and last["event"] == "result"


@pytest.mark.parametrize("end", [f"os._exit({LEFT_IDLE})", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_left_just_now_is_replaced_without_a_word(job, do, end):
    """The request was written when it had decided to go, as after the idle time, or while it was killed."""
    first, _ = do(f"result(); say('ready'); requests.next(); {end}")
    assert job._child.process.status is None
    second, last = do("result()")
    assert second != first and last["event"] == "result" and job.state is State.DONE


def test_one_that_waits_too_long_or_while_memory_is_short_goes(monkeypatch):
    requests = staying.Requests()
    monkeypatch.setattr(staying, "memory_is_short", lambda: False)
    assert requests.next(idle_seconds=0.05) is None
    monkeypatch.setattr(staying, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(staying, "memory_is_short", lambda: True)
    assert requests.next(idle_seconds=60) is None
    requests.take(b'"/a/b')
    requests.take('ü\\n"\n"c"\n'.encode())
    assert [requests.next(), requests.next()] == ["/a/bü\n", "c"]


LEFT = """
import subprocess, sys
from GLIDERegLib.worker import staying
staying.memory_is_short = lambda: False
staying.MOST_KEPT_BYTES = 1e15
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(staying.may_stay())
other.kill()
other.wait()
print(staying.may_stay())
staying.MOST_KEPT_BYTES = 1e6
print(staying.may_stay())
"""


def test_a_run_that_leaves_much_memory_or_a_process_does_not_stay():
    """In a process of its own: this one may have children of other tests."""
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_the_real_worker_loads_ahead_and_gives_the_same_bits(images, quick, make_request, listen, running):
    job = RegistrationJob(sys.executable)
    job.warm()
    waiting = job._child.process.pid
    fields, pids = [], []
    for _ in range(2):
        request = make_request(**images, settings=quick)
        job.start(request, request.output)
        pids.append(job.pid)
        result = listen(job)[-1]
        assert result["event"] == "result", (result, job.log)
        fields.append(load_array(result["field"])[0])
    assert pids == [waiting, waiting] and running(waiting)
    np.testing.assert_array_equal(*fields)
    bad = make_request(fixed="/no/such/file.nrrd", moving=images["moving"], settings=quick)
    job.start(bad, bad.output)
    assert listen(job)[-1]["kind"] == "input" and not running(waiting)
    job.close()


def test_a_worker_that_waits_goes_with_its_program():
    process = start_process([sys.executable, "-m", "GLIDERegLib.worker", "--stay"])
    process.stdin.close()
    assert process.wait(timeout=30) == 1
    for stream in (process.stdout, process.stderr):
        stream.close()


def test_a_path_is_handed_over_whatever_its_letters():
    requests = staying.Requests()
    path = "C:\\a job\nfür 肺"
    requests.take(json.dumps(path).encode() + b"\n")
    assert requests.next() == path
