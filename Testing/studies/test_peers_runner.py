"""A method's process is timed, measured, and never outlives its run."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.studies.cases import Task
from GLIDERegLib.studies.peers.runner import LOG, THREAD_VARIABLES, run_method

# Starts a child that sleeps, writes its number, and sleeps too.
SLEEPERS = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
temporary = pathlib.Path(sys.argv[1] + ".tmp")
temporary.write_text(str(child.pid))
temporary.rename(sys.argv[1])
time.sleep(120)
"""


@dataclass
class Script:
    """A method whose process is Python with a script."""

    script: str
    arguments: tuple[str, ...] = ()
    name: str = "script"
    absent: str | None = None

    def missing(self):
        return self.absent

    def command(self, task):
        return [sys.executable, "-c", self.script, *self.arguments]

    def transform(self, task):
        return sitk.Transform(3, sitk.sitkIdentity)

    def version(self):
        return "1"


@pytest.fixture
def task(tmp_path):
    return Task(tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", tmp_path / "own", 3)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def gone(pid: int) -> bool:
    """True once the process has gone; the system needs a moment after it is killed."""
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_a_process_that_ends_well_is_done_and_logged(task):
    run = run_method(Script("import time; print('hello'); time.sleep(0.3)"), task)
    assert (run.status, run.reason) == ("done", "")
    assert run.seconds >= 0.3
    assert (task.folder / LOG).read_text() == "hello\n"


def test_the_processors_time_of_all_its_processes_counts_and_waiting_does_not(task):
    if not hasattr(os, "wait4"):
        pytest.skip("this system does not tell")
    work = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    script = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {work!r}]); time.sleep(1)"
    run = run_method(Script(f"{work}\n{script}"), task)
    assert 0.8 <= run.cpu_seconds < run.seconds - 0.5


def test_the_threads_of_the_task_reach_the_libraries(task):
    run_method(Script(f"import os; print([os.environ[n] for n in {THREAD_VARIABLES}])"), task)
    assert (task.folder / LOG).read_text().strip() == str(["3"] * len(THREAD_VARIABLES))


def test_a_failure_says_what_the_process_said_last(task):
    run = run_method(Script("import sys; print('first'); sys.exit('no such file: moving')"), task)
    assert run.status == "failed"
    assert "status 1" in run.reason and "no such file: moving" in run.reason


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_crash_names_its_signal(task):
    run = run_method(Script("import os; os.kill(os.getpid(), 9)"), task)
    assert run.status == "failed" and "signal 9" in run.reason


def test_a_program_that_cannot_be_started_has_failed(task):
    method = Script("")
    method.command = lambda task: ["/no/such/program"]
    assert run_method(method, task).status == "failed"


def test_a_method_that_refuses_the_task_has_failed(task):
    def refuse(task):
        raise InputError("It needs a mask.")

    method = Script("")
    method.command = refuse
    run = run_method(method, task)
    assert (run.status, run.reason) == ("failed", "It needs a mask.")


def test_a_missing_method_is_not_run(task):
    run = run_method(Script("print(1)", absent="Install it."), task)
    assert (run.status, run.reason, run.seconds) == ("missing", "Install it.", 0.0)
    assert not task.folder.exists()


def test_a_method_without_a_process_is_done(task):
    method = Script("")
    method.command = lambda task: ()
    assert run_method(method, task).status == "done"


def test_at_the_time_limit_the_whole_tree_is_killed(task, tmp_path):
    run = run_method(Script(SLEEPERS, (str(tmp_path / "pid"),)), task, timeout=5)
    assert run.status == "timeout" and "5 s" in run.reason
    assert 5 <= run.seconds < 60
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_a_process_leaves_running_is_killed(task, tmp_path):
    script = SLEEPERS.replace("time.sleep(120)\n", "time.sleep(1)\n")
    assert run_method(Script(script, (str(tmp_path / "pid"),)), task).status == "done"
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(os.name == "nt", reason="an interrupt cannot be sent to oneself on Windows")
def test_an_interrupt_kills_the_whole_tree(task, tmp_path):
    pid = tmp_path / "pid"

    def interrupt():
        while not pid.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_method(Script(SLEEPERS, (str(pid),)), task, timeout=60)
    assert gone(int(pid.read_text()))


def test_the_memory_of_all_processes_of_the_tree_counts(task):
    hold = "b = bytearray(b'1' * 100_000_000)"
    child = f"{hold}; print('held', flush=True); input()"
    script = (
        "import subprocess, sys, time\n"
        f"c = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=-1, stdout=-1)\n"
        f"{hold}; c.stdout.readline(); time.sleep(1.5); c.communicate(b'go')"
    )
    assert 200e6 < run_method(Script(script), task).peak_bytes < 500e6


def test_the_memory_of_the_caller_does_not_count(task):
    # Linux tells it as the child's: the child is a copy of its parent until it starts its own program.
    mine = np.ones(60_000_000)
    assert 0 < run_method(Script("import time; time.sleep(0.3)"), task).peak_bytes < mine.nbytes / 4


def test_the_log_lies_in_the_folder_of_the_task(task):
    run_method(Script("print('x')"), task)
    assert [path.name for path in Path(task.folder).iterdir()] == [LOG]
