"""The views show what is in the scene, in the right place and colour."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("view", ["Red", "Yellow", "Green"])
def test_a_slice_view_shows_a_volume_in_the_right_grey_at_the_right_place(slicerHost, view):
    import slicer

    voxels = np.zeros((30, 40, 50), np.int16)
    voxels[10, 25, 35] = 100
    voxels[20, 5, 8] = 50
    to_ras = np.array([[-2.0, 0, 0, 30], [0, -1.5, 0, 20], [0, 0, 3.0, -40], [0, 0, 0, 1]])
    volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=to_ras)
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(100, 50)
    display.SetInterpolate(False)
    shown = slicer.app.layoutManager().sliceWidget(view)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    shown.mrmlSliceNode().SetFieldOfView(60, 60, 1)
    for ijk, grey in (((35, 25, 10), 255), ((8, 5, 20), 127), ((35, 25, 12), 0)):
        ras = (to_ras @ [*ijk, 1])[:3]
        shown.jumpTo(ras)
        row, column = shown.pixelOf(ras)
        assert np.abs(shown.grab()[row, column].astype(int) - grey).max() <= 2, ijk
    with pytest.raises(ValueError, match="outside the view"):
        shown.pixelOf((1000, 1000, 1000))


def test_a_slice_view_draws_markups_and_grid_pictures_of_its_size(slicerHost, tmp_path):
    import slicer
    import vtk

    shown = slicer.app.layoutManager().sliceWidget("Red")
    shown.resize(300, 200)
    add = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "nodules")
    add.CreateDefaultDisplayNodes()
    add.GetDisplayNode().SetSelectedColor(1, 0, 0)
    add.GetDisplayNode().SetPointLabelsVisibility(False)
    shown.jumpTo((0, 0, 0))
    add.AddControlPoint(vtk.vtkVector3d(10, 5, 0), "")
    picture = shown.grab(tmp_path / "red.png")
    assert picture.shape == (200, 300, 3)
    assert (tmp_path / "red.png").stat().st_size > 0
    red = (picture[..., 0] > 200) & (picture[..., 1] < 60)
    row, column = shown.pixelOf((10, 5, 0))
    assert np.abs(np.argwhere(red).mean(axis=0) - (row, column)).max() < 2
    shown.resize(400, 400)


def test_the_three_d_view_draws_a_model(slicerHost):
    import slicer
    import vtk

    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    before = view.grab()
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(50)
    model = slicer.modules.models.logic().AddModel(sphere.GetOutputPort())
    model.GetDisplayNode().SetColor(0, 1, 0)
    view.resetFocalPoint()
    after = view.grab()
    middle = after[after.shape[0] // 2, after.shape[1] // 2].astype(int)
    assert middle[1] > middle[0] + 40
    assert not np.array_equal(before, after)


def test_a_screenshot_has_the_asked_width_and_room_for_everything(slicerHost, probe, tmp_path):
    import qt

    probe.enter()
    slicerHost.screenshot(probe.panel, tmp_path / "panel.png", width=400)
    picture = qt.QImage(str(tmp_path / "panel.png"))
    assert picture.width() == 400
    assert picture.height() >= probe.panel.layout().totalMinimumSize().height()
