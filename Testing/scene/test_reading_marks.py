"""Letters, scale bar and lung window come while scans are read, and go without a trace."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def view(scene):
    import slicer

    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName("Red")
    yield scene.AddNode(node)
    # Clearing a scene keeps its slice nodes, and the next test's would be this one.
    scene.RemoveNode(node)


@pytest.fixture
def ct(addVolume):
    """A volume with HU of air, lung and tissue, windowed automatically."""
    hu = np.random.default_rng(0).choice([-1000, -850, 40], (12, 14, 16)).astype(np.int16)
    volume = addVolume(hu)
    volume.CreateDefaultDisplayNodes()
    volume.GetScalarVolumeDisplayNode().SetWindowLevel(400, 40)
    return volume


@pytest.fixture
def marks():
    from GLIDERegLib.scene.views.reading_marks import ReadingMarks

    return ReadingMarks()


def shown(view, volume):
    display = volume.GetScalarVolumeDisplayNode()
    window = display.GetAutoWindowLevel(), display.GetWindow(), display.GetLevel()
    return view.GetOrientationMarkerType(), view.GetRulerType(), window


def test_views_get_letters_and_a_scale_bar_and_a_ct_the_lung_window_and_all_is_given_back(
    marks, scene, view, ct
):
    before = shown(view, ct)
    marks.show(scene, [ct, None])
    assert shown(view, ct) == (view.OrientationMarkerTypeCube, view.RulerTypeThin, (0, 1500, -600))
    marks.show(scene, [ct])
    marks.giveBack()
    assert shown(view, ct) == before


def test_a_window_the_user_chose_meanwhile_stays(marks, scene, view, ct):
    marks.show(scene, [ct])
    ct.GetScalarVolumeDisplayNode().SetWindowLevel(350, 50)
    marks.show(scene, [ct])
    marks.giveBack()
    assert shown(view, ct)[2] == (0, 350, 50)


def test_what_is_no_ct_keeps_its_window(marks, scene, view, addVolume):
    other = addVolume(np.arange(12 * 14 * 16, dtype=np.int16).reshape(12, 14, 16))
    other.CreateDefaultDisplayNodes()
    before = shown(view, other)[2]
    marks.show(scene, [other])
    assert shown(view, other)[2] == before
