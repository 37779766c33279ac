"""What can be taken back: in which order, until when, and never of nodes that have gone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def desk(scene):
    """A node, what was written into it, and a history of that."""
    from GLIDERegLib.scene.review.history import History, Step

    node = scene.AddNewNodeByClass("vtkMRMLTextNode", "Decisions")
    looks = []
    history = History(lambda: looks.append(1))

    first = {}

    def write(text, subject=""):
        before = first[subject] if history.joins(subject) else node.GetText() or ""
        first[subject] = before
        node.SetText(text)
        step = Step(text, (node,), lambda: node.SetText(before), lambda: node.SetText(text), subject)
        history.record(step)

    yield SimpleNamespace(node=node, history=history, write=write, looks=looks)
    scene.RemoveNode(node)


def test_steps_are_taken_back_last_first_and_done_again(desk):
    desk.write("a"), desk.write("b")
    assert desk.history.undoText == "b" and desk.history.redoText == ""
    desk.history.undo()
    assert desk.node.GetText() == "a" and (desk.history.undoText, desk.history.redoText) == ("a", "b")
    desk.history.undo()
    assert desk.node.GetText() == "" and desk.history.undoText == ""
    desk.history.undo()
    desk.history.redo(), desk.history.redo(), desk.history.redo()
    assert desk.node.GetText() == "b" and desk.history.redoText == ""


def test_a_new_step_ends_what_could_be_done_again(desk):
    desk.write("a")
    desk.history.undo()
    desk.write("c")
    desk.history.redo()
    assert desk.node.GetText() == "c"


def test_small_steps_of_one_subject_are_one_until_they_are_sealed(desk):
    for text in ("s", "so", "solid"):
        desk.write(text, "comment")
    desk.history.seal()
    desk.write("solid!", "comment")
    desk.history.undo()
    assert desk.node.GetText() == "solid"
    desk.history.undo()
    assert desk.node.GetText() == ""
    desk.history.redo()
    assert desk.node.GetText() == "solid"


def test_what_was_taken_back_is_not_joined_by_the_next_step(desk):
    desk.write("s", "comment")
    desk.write("other")
    desk.history.undo()
    desk.write("so", "comment")
    desk.history.undo()
    assert desk.node.GetText() == "s"


def test_steps_go_with_their_nodes(desk, scene):
    desk.write("a")
    scene.RemoveNode(desk.node)
    desk.history.undo()
    assert desk.node.GetText() == "a" and desk.history.undoText == ""
    scene.AddNode(desk.node)
    assert desk.history.undoText == ""


def test_forgotten_nodes_leave_the_steps_of_others(desk, scene):
    from GLIDERegLib.scene.review.history import Step

    other = scene.AddNewNodeByClass("vtkMRMLTextNode", "Other")
    desk.write("a")
    desk.history.record(Step("other", (other,), lambda: None, lambda: None))
    desk.history.forget([desk.node, None])
    assert desk.history.undoText == "other"
    desk.history.undo()
    assert desk.history.undoText == ""
    scene.RemoveNode(other)


def test_what_cannot_be_taken_back_stays_where_it_is(desk):
    from GLIDERegLib.scene.review.history import Step

    def fail():
        raise RuntimeError("no")

    desk.history.record(Step("stuck", (desk.node,), fail, fail))
    with pytest.raises(RuntimeError):
        desk.history.undo()
    assert desk.history.undoText == "stuck" and desk.history.redoText == ""


def test_the_panel_hears_of_every_change(desk):
    desk.write("a")
    desk.history.undo(), desk.history.redo(), desk.history.clear()
    assert len(desk.looks) == 4 and desk.history.undoText == ""
