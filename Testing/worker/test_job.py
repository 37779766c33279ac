"""A job is told what its child says and how it ends, however badly the child behaves."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.worker.job import RegistrationJob, State
from GLIDERegLib.worker.output import LOG_COLUMNS, LOG_LINES

HANG = "print('still here', file=sys.stderr, flush=True)\nprogress(0.1)\ntime.sleep(600)"


def test_events_arrive_in_order_and_the_result_ends_the_run(start, listen):
    job = start("say('device', kind='cpu', name='x'); progress(0.5); os.write(2, b'done\\n'); result()")
    assert job.state is State.STARTING
    events = listen(job)
    assert [event["event"] for event in events] == ["device", "progress", "result"]
    assert job.state is State.DONE
    assert job.log == ["done"]
    assert job.poll() == []


def test_the_first_event_makes_it_running(start, listen):
    job = start(HANG)
    listen(job, until=lambda event: event["event"] == "progress")
    assert job.state is State.RUNNING
    assert job.log == ["still here"]


def test_an_error_of_the_child_is_handed_over_as_it_is(start, listen):
    say = "say('error', kind='weights', message='No weights.', hint='Get them.', code='weights')"
    job = start(f"{say}; sys.exit(4)")
    assert listen(job) == [
        {
            "event": "error",
            "kind": "weights",
            "message": "No weights.",
            "hint": "Get them.",
            "code": "weights",
        }
    ]
    assert job.state is State.FAILED


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("", "internal", "exit status 0"),
        ("sys.exit(7)", "internal", "exit status 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "internal", "SIGSEGV"),
        ("sys.exit(139)", "internal", "SIGSEGV"),  # as a launcher tells it
        ("os.kill(os.getpid(), signal.SIGKILL)", "memory", "memory"),
        ("sys.exit(137)", "memory", "memory"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", "memory", "memory"),
        ("os.write(2, b'terminate called: std::bad_alloc\\n'); os.abort()", "memory", "memory"),
        ("import no_such_package", "dependency", "no_such_package"),
        ("raise ZeroDivisionError('x')", "internal", "exit status 1"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_child_that_dies_is_one_error_with_a_way_out(start, listen, source, kind, said):
    job = start(f"progress(0.3)\n{source}")
    errors = [event for event in listen(job) if event["event"] != "progress"]
    assert [error["event"] for error in errors] == ["error"]
    assert errors[0]["kind"] == kind
    assert said in errors[0]["message"]
    assert errors[0]["hint"]
    assert job.state is State.FAILED


def test_garbage_between_events_is_log_and_no_event(start, listen):
    job = start(
        r"""
        out = sys.stdout.buffer
        for line in (b'\xff\xfe\x00', b'{"event": "progr', b'[1]', b'null', b'[' * 100000, b'   ',
                     b'{"event": "progress", "overall": "x"}', b'{"event": "boom"}', b'10%\r 50%\r100%'):
            out.write(line + b'\n')
        out.flush()
        progress(0.5)
        os.write(2, 'Lunge f\u00fcr \u80ba'.encode() + b'\n')
        result()
        """
    )
    assert [event["event"] for event in listen(job)] == ["progress", "result"]
    assert "Lunge für 肺" in job.log
    assert "100%" in job.log
    assert all(line and len(line) <= LOG_COLUMNS for line in job.log)


def test_of_a_flood_each_look_finds_the_newest_events_and_the_last_lines(start):
    job = start(
        """
        for number in range(20000):
            progress(number / 20000)
            print(f"line {number}", file=sys.stderr)
        sys.stdout.write("x" * 5_000_000 + "\\n")
        result()
        """
    )
    events = []
    while job.active:
        new = job.poll()
        assert len(new) <= 2
        events += new
        time.sleep(0.02)
    assert events[-1]["event"] == "result"
    overall = [event["overall"] for event in events[:-1]]
    assert overall == sorted(overall)
    assert overall[-1] == 19999 / 20000
    assert len(job.log) == LOG_LINES


def test_messages_of_progress_are_kept_in_the_log(start, listen):
    job = start(
        """
        for text in ("one", "", "two"):
            say("progress", stage="refinement", fraction=0, overall=0, message=text)
        result()
        """
    )
    listen(job)
    assert job.log == ["one", "two"]


def test_a_child_that_stays_after_its_result_is_ended(start, listen):
    job = start("result(); time.sleep(600)")
    assert listen(job)[-1]["event"] == "result"
    assert job.state is State.DONE


def test_a_second_start_is_refused_and_changes_nothing(start, listen, make_request):
    job = start("time.sleep(1); result()")
    with pytest.raises(InputError, match="running already"):
        job.start(make_request(), make_request().output)
    assert listen(job)[-1]["event"] == "result"


def test_a_job_can_be_started_again_whatever_the_last_run_left(start, listen, make_request):
    source = "time.sleep(0.5 if not os.path.exists(request.cancel_file) else 600); result()"
    job = start(source)
    job.cancel()
    listen(job)
    job.start(make_request(), make_request().output)
    assert [event["event"] for event in listen(job)] == ["result"]
    assert job.state is State.DONE


def test_a_python_that_is_not_there_is_an_input_error(make_request):
    job = RegistrationJob("/no/such/python")
    with pytest.raises(InputError, match="/no/such/python"):
        job.start(make_request(), make_request().output)
    assert job.state is State.IDLE
    assert job.poll() == [] and job.log == [] and job.elapsed == 0 and job.remaining is None


def test_keep_makes_the_file_the_child_looks_for(start, listen):
    job = start(
        """
        progress(0.2)
        while not os.path.exists(request.keep_file):
            time.sleep(0.02)
        result()
        """
    )
    listen(job, until=lambda event: event["event"] == "progress")
    job.keep()
    assert listen(job)[-1]["event"] == "result"
    assert job.state is State.DONE


def test_remaining_time_follows_from_the_share_done_since_the_first_progress(start, listen, make_request):
    now = [0.0]
    job = start(
        """
        for number, overall in enumerate((0.0, 0.25, 0.5)):
            while not os.path.exists(os.path.join(request.output, f"go{number}")):
                time.sleep(0.02)
            progress(overall)
        time.sleep(600)
        """,
        clock=lambda: now[0],
    )

    def go(number: int, at: float) -> None:
        now[0] = at
        Path(make_request().output, f"go{number}").touch()
        listen(job, until=lambda event: event["event"] == "progress")

    now[0] = 6.0
    assert job.remaining is None
    go(0, at=10.0)
    assert job.remaining is None
    go(1, at=40.0)
    assert job.remaining == pytest.approx(90.0)
    now[0] = 50.0
    assert job.remaining == pytest.approx(80.0)
    assert job.elapsed == pytest.approx(50.0)
    now[0] = 1000.0
    assert job.remaining == 0.0
    go(2, at=70.0)
    assert job.remaining == pytest.approx(60.0)
    job.close()
    now[0] = 99.0
    assert job.remaining is None
    assert job.elapsed == pytest.approx(70.0)
