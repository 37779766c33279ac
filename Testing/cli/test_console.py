import re
from types import SimpleNamespace

import pytest

from GLIDERegLib.cli import console
from GLIDERegLib.registration.progress import Progress

# Seconds and what is reported then.
RUN = [
    (1, Progress("pre-alignment", 0.0)),
    (1.1, Progress("pre-alignment", 1.0)),
    (2, Progress("features", 0.0)),
    (4, Progress("features", 1.0)),
    (5, Progress("refinement", 0.0)),
    (6, Progress("refinement", 0.25, "warming up")),
    (14, Progress("refinement", 0.4)),
    (17, Progress("refinement", 0.5)),
    (18, Progress("refinement", 0.75)),
    (20, Progress("refinement", 1.0)),
    (20.1, Progress("refinement", 1.0)),
]


@pytest.fixture
def told(capsys, monkeypatch):
    """What a run of 20 seconds prints on standard error."""

    def report(quiet=False):
        clock = [0.0]
        monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        with console.progress_reporter(quiet) as progress:
            for clock[0], step in RUN:
                progress(step)
        output, errors = capsys.readouterr()
        assert output == ""
        return errors

    return report


def test_a_log_gets_a_line_for_each_message_each_stage_of_some_length_and_each_ten_seconds(told):
    assert told().splitlines() == [
        "[   4.0 s] features 100 %",
        "[   6.0 s] refinement 25 %: warming up",
        "[  17.0 s] refinement 50 %",
        "[  20.0 s] refinement 100 %",
    ]


def test_a_log_of_a_run_too_short_for_lines_says_that_it_ended_and_one_that_fails_says_nothing(capsys):
    with console.progress_reporter(quiet=False) as progress:
        progress(Progress("features", 1.0))
        progress(Progress("result", 1.0))
    assert re.fullmatch(r"\[ +\d\.\d s\] result 100 %\n", capsys.readouterr().err)
    with pytest.raises(ValueError), console.progress_reporter(quiet=False) as progress:
        progress(Progress("features", 1.0))
        raise ValueError
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_and_the_messages(told, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = told()
    assert "\r" in shown and "refinement" in shown and " 50 %" in shown
    assert "warming up\n" in shown


def test_quiet_says_nothing(told):
    assert told(quiet=True) == ""


def test_a_table_leaves_out_what_does_not_apply():
    lines = console.comparison([("overlap", 0.5, 0.75), ("folds", None, 0.0)]).splitlines()
    assert [line.split() for line in lines] == [
        ["before", "after"],
        ["overlap", "0.500", "0.750"],
        ["folds", "0.000"],
    ]


def test_what_fails_in_the_work_fails_where_it_was_asked_for():
    with pytest.raises(ZeroDivisionError):
        console.interruptible(lambda cancel: 1 / 0)
    assert console.interruptible(lambda cancel: 7) == 7
