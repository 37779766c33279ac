"""Two readers of one study: who decided what when, and what each of them may see."""

from __future__ import annotations

from datetime import date, datetime

import pytest

pytest.importorskip("slicer")

from GLIDERegLib.scene.follow_up.decisions import (
    DONE,
    GROWN,
    UNSURE,
    Decision,
    decided,
    isOpen,
    readDecisions,
    renumbered,
    shownTo,
    writeDecisions,
)
from GLIDERegLib.scene.follow_up.results import Spot, sameNodules

DAY = date(2024, 3, 10)


def of(*decisions):
    found = []
    for one in decisions:
        found = decided(found, Decision(*one))
    return found


def seen(decisions, reader):
    return {
        (name, n, one.decision) for name, own in shownTo(decisions, reader).items() for n, one in own.items()
    }


def test_a_decision_has_its_time_and_a_second_one_replaces_it():
    (one,) = of(("Ada", "1", UNSURE), ("Ada", "1", GROWN, "new solid part"))
    assert (one.decision, one.comment) == (GROWN, "new solid part")
    assert abs((datetime.now().astimezone() - datetime.fromisoformat(one.when)).total_seconds()) < 60


def test_readers_see_each_other_only_when_both_are_done():
    both = [("Ada", "1", GROWN), ("Ben", "1", UNSURE), ("Ada", "", DONE)]
    for decisions in (of(*both[:2]), of(*both)):
        assert not isOpen(decisions)
        assert seen(decisions, "Ada") == {("Ada", "1", GROWN)}
        assert seen(decisions, "Ben") == {("Ben", "1", UNSURE)}
    done = of(*both, ("Ben", "", DONE))
    assert isOpen(done) and seen(done, "Ada") == seen(done, "Ben") == {
        ("Ada", "1", GROWN),
        ("Ben", "1", UNSURE),
    }
    # Who has not read has nothing to compare with, and is not to be led.
    assert seen(done, "Cleo") == set()


def test_one_reader_alone_has_nobody_to_wait_for_and_a_change_takes_done_back():
    assert not isOpen(of(("Ada", "1", GROWN), ("Ada", "", DONE)))
    changed = of(
        ("Ada", "1", GROWN), ("Ben", "1", GROWN), ("Ada", "", DONE), ("Ada", "1", UNSURE), ("Ben", "", DONE)
    )
    assert not isOpen(changed)


def test_decisions_follow_their_nodules_into_a_study_that_numbers_them_otherwise():
    def spot(*point):
        return [Spot(DAY, "measured", point, "")]

    before = {"1": spot(0, 0, 0), "2": spot(50, 0, 0), "3": spot(0, 80, 0)}
    after = {"1": spot(50, 1, 0), "2": spot(0.5, 0, 0)}
    numbers = sameNodules(before, after)
    assert numbers == {"1": "2", "2": "1"}
    found = renumbered(of(("Ada", "1", GROWN), ("Ada", "3", UNSURE), ("Ada", "", DONE)), numbers)
    assert [one.nodule for one in found] == ["2", "formerly 3", ""]


def test_the_table_keeps_them(scene):
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "Decisions")
    decisions = of(("Ada", "1", GROWN, "larger"), ("Ben", "1", UNSURE), ("Ada", "", DONE))
    writeDecisions(node, decisions)
    assert readDecisions(node) == decisions
    assert readDecisions(None) == []
