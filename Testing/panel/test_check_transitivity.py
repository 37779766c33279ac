"""The section "Transitivity over three scans" of the page "Check": compared by a stand-in."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from check_scene import SHIFT

FIGURES = {"n": 3000, "mean": 1.234, "median": 1.0, "p95": 3.0, "max": 9.0}
REPORT = {
    "kind": "transitivity",
    "residual_mm": FIGURES,
    "regions_mm": {"right lung, upper third": {**FIGURES, "p95": 4.5}},
    "left_out": 0.0,
}
# RAS mm: from the moving scan to the third, and from the fixed one to it, 5 mm apart.
SECOND, DIRECT = np.array([4.0, -7.0, 2.0]), SHIFT + (4.0, -4.0, 6.0)


@pytest.fixture
def page(slicerHost, fake, openModule):
    """The page Check of a pair, translations to a third scan, and what the stand-in will tell."""
    import slicer
    from check_scene import makeStudy

    study = SimpleNamespace(**makeStudy(slicer.mrmlScene, (30, 36, 42), 5.0))
    (fake.folder / "transitivity.json").write_text(json.dumps(REPORT))
    module = openModule()
    node = module.logic.getParameterNode()
    node.checkTransform = study.transform
    module.widget.tabs.setCurrentIndex(1)
    page = module.widget.pages[1]
    page.ui.checkRoundSection.collapsed = False
    third = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Third")
    made = {name: shifting(name, shift) for name, shift in (("Second", SECOND), ("Direct", DIRECT))}
    return SimpleNamespace(
        module=module, node=node, ui=page.ui, page=page, fake=fake, study=study, third=third, **made
    )


def shifting(name: str, shift):
    """A linear transform node that maps points by a shift, RAS mm, from parent."""
    import slicer

    matrix = np.eye(4)
    matrix[:3, 3] = -np.asarray(shift)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def choose(page):
    page.node.checkSecond, page.node.checkDirect = page.Second, page.Direct


def compare(slicerHost, page):
    choose(page)
    page.ui.checkRoundButton.click()
    slicerHost.waitUntil(lambda: not page.ui.checkRoundView.isHidden())


def rows(view):
    return [[view.item(row, column).text() for column in range(4)] for row in range(view.rowCount)]


def test_the_three_maps_reach_the_engine_and_its_figures_the_page(slicerHost, page):
    assert not page.ui.checkRoundButton.enabled
    compare(slicerHost, page)
    assert rows(page.ui.checkRoundView) == [
        ["everywhere", "1.23", "3.00", "9.00"],
        ["right lung, upper third", "1.23", "4.50", "9.00"],
    ]
    given = [
        sitk.ReadTransform(str(page.fake.folder / f"{name}.h5")) for name in ("transform", "second", "direct")
    ]
    start = np.array([3.0, 5.0, -8.0]) * (-1, -1, 1)
    through = np.array(given[1].TransformPoint(given[0].TransformPoint(start.tolist())))
    apart = through - given[2].TransformPoint(start.tolist())
    assert apart == pytest.approx((SHIFT + SECOND - DIRECT) * (-1, -1, 1), abs=1e-3)
    assert np.linalg.norm(apart) == pytest.approx(5.0, abs=1e-3)


@pytest.fixture
def comparing(slicerHost, page, nothingLeft):
    """The page while a comparison goes on, and a function that asserts that nothing stayed of it."""
    choose(page)
    before = nothingLeft.nodes()
    (page.fake.folder / "hold").touch()
    page.ui.checkRoundButton.click()
    slicerHost.waitUntil(lambda: (page.fake.folder / "options.json").exists())
    return page, lambda: nothingLeft.check(before)


def test_it_is_stopped_without_a_trace(comparing):
    page, isAsBefore = comparing
    assert page.ui.checkRoundButton.text == "Stop"
    page.ui.checkRoundButton.click()
    assert page.ui.checkRoundLabel.text == "Stopped by user." and page.ui.checkRoundView.isHidden()
    isAsBefore()


def test_another_choice_ends_it(comparing):
    page, isAsBefore = comparing
    page.node.checkDirect = None
    assert page.ui.checkRoundButton.text == "Compare the two ways" and not page.ui.checkRoundButton.enabled
    isAsBefore()


def refer(node, fixed, moving):
    node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), fixed.GetID())
    node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), moving.GetID())


def test_transforms_that_lead_elsewhere_are_refused_by_name(page):
    refer(page.Second, page.third, page.study.moving)
    choose(page)
    label = page.ui.checkRoundLabel
    assert "'Second' leads from 'Third', not from" in label.text and not page.ui.checkRoundButton.enabled
    refer(page.Second, page.study.moving, page.third)
    page.page.enter()
    assert label.text == "" and page.ui.checkRoundButton.enabled
    refer(page.Direct, page.study.fixed, page.study.moving)
    page.page.enter()
    assert "lead to different scans" in label.text and not page.ui.checkRoundButton.enabled
    page.node.checkDirect = page.Second
    assert "Two of the three transforms are the same" in label.text


@pytest.mark.parametrize("which", ["Second", "Direct"])
def test_the_figures_are_the_transforms_as_they_were_then(slicerHost, page, which):
    import slicer
    import vtk

    compare(slicerHost, page)
    node = getattr(page, which)
    was = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(was)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0])))
    page.page.enter()
    assert page.ui.checkRoundView.isHidden()
    node.SetMatrixTransformToParent(was)
    page.page.enter()
    assert not page.ui.checkRoundView.isHidden()


def test_an_engine_that_fails_is_told(slicerHost, page):
    (page.fake.folder / "transitivity.json").unlink()
    choose(page)
    page.ui.checkRoundButton.click()
    label = page.ui.checkRoundLabel
    slicerHost.waitUntil(lambda: "comparison of three transforms ended unexpectedly" in label.text)
    assert page.ui.checkRoundButton.enabled


def test_a_saved_scene_keeps_the_figures_and_the_record_bears_them(slicerHost, page, tmp_path):
    compare(slicerHost, page)
    slicerHost.saveScene(tmp_path / "scene.mrb")
    slicerHost.loadScene(tmp_path / "scene.mrb")
    page.module.widget.tabs.setCurrentIndex(0)
    page.module.widget.tabs.setCurrentIndex(1)
    assert rows(page.module.widget.pages[1].ui.checkRoundView)[1][2] == "4.50"
    page.module.widget.tabs.setCurrentIndex(5)
    view = page.module.widget.pages[5].ui.qaNumbersView
    told = {view.item(row, 0).text(): view.item(row, 1).text() for row in range(view.rowCount)}
    assert told["transitivity error, 95 %"] == "3.00 mm"
    assert told["transitivity error, 95 % in the right lung, upper third"] == "4.50 mm"
