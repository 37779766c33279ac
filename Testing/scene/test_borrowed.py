"""Properties that are changed for a while come back, unless somebody else wanted something else meanwhile."""

from __future__ import annotations

import pytest


@pytest.fixture
def view(scene):
    """What a slice view shows, half transparent."""
    node = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    node.SetForegroundOpacity(0.25)
    return node


def test_each_property_is_what_it_was_before_the_first_change(view):
    from GLIDERegLib.scene.mrml.borrowed import Borrowed

    borrowed = Borrowed()
    for opacity in (0.5, 0.75):
        borrowed.set(view, ForegroundOpacity=opacity, Compositing=view.Add)
    assert (view.GetForegroundOpacity(), view.GetCompositing()) == (0.75, view.Add)
    borrowed.giveBack()
    assert (view.GetForegroundOpacity(), view.GetCompositing()) == (0.25, view.Alpha)
    view.SetForegroundOpacity(1.0)
    borrowed.giveBack()
    assert view.GetForegroundOpacity() == 1.0


def test_what_somebody_else_has_changed_since_stays(view):
    from GLIDERegLib.scene.mrml.borrowed import Borrowed

    borrowed = Borrowed()
    borrowed.set(view, ForegroundOpacity=0.5, Compositing=view.Add)
    view.SetForegroundOpacity(0.9)
    borrowed.giveBack()
    assert (view.GetForegroundOpacity(), view.GetCompositing()) == (0.9, view.Alpha)


def test_a_volume_that_was_deleted_meanwhile_is_not_shown_again(view, scene):
    from GLIDERegLib.scene.mrml.borrowed import Borrowed

    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    view.SetBackgroundVolumeID(volume.GetID())
    borrowed = Borrowed()
    borrowed.set(view, BackgroundVolumeID=other.GetID())
    scene.RemoveNode(volume)
    borrowed.giveBack()
    assert view.GetBackgroundVolumeID() is None


def test_a_node_that_has_left_the_scene_is_left_alone(view, scene):
    from GLIDERegLib.scene.mrml.borrowed import Borrowed

    borrowed = Borrowed()
    borrowed.set(view, ForegroundOpacity=0.5)
    scene.RemoveNode(view)
    borrowed.giveBack()
    assert view.GetForegroundOpacity() == 0.5
