"""The section "Inverse consistency" of the page "Check": the exchanged scans registered by a stand-in."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from check_scene import SHIFT

FIGURES = {"n": 3000, "mean": 1.234, "median": 1.0, "p95": 3.0, "max": 9.0}
REPORT = {
    "kind": "inverse consistency",
    "backward": "registered with the scans exchanged",
    "residual_mm": FIGURES,
    "regions_mm": {"left lung, lower third": {**FIGURES, "p95": 4.5}},
    "left_out": 0.25,
}
# LPS mm: where the way back ends is 5 mm from the start.
BACK = -SHIFT * (-1, -1, 1) + (3, 0, 4)


@pytest.fixture
def study(slicerHost):
    import slicer
    from check_scene import makeStudy

    return SimpleNamespace(**makeStudy(slicer.mrmlScene, (30, 36, 42), 5.0))


@pytest.fixture
def page(slicerHost, fake, openModule, study):
    """The module's page Check with a transform that nobody here has made."""
    (fake.folder / "consistency.json").write_text(json.dumps(REPORT))
    sitk.WriteTransform(sitk.TranslationTransform(3, BACK.tolist()), str(fake.folder / "backward.h5"))
    module = openModule()
    node = module.logic.getParameterNode()
    node.checkTransform = study.transform
    pages = module.widget.pages
    module.widget.tabs.setCurrentIndex(1)
    return SimpleNamespace(module=module, node=node, ui=pages[1].ui, page=pages[1], fake=fake)


@pytest.fixture
def compared(slicerHost, page):
    page.ui.checkConsistencyButton.click()
    slicerHost.waitUntil(lambda: page.ui.checkConsistencyView.rowCount == 2, seconds=20)
    return page


def rows(view):
    return [[view.item(row, column).text() for column in range(4)] for row in range(view.rowCount)]


def test_the_error_stands_there_by_region_and_the_second_transform_leads_back(compared, study):
    ui = compared.ui
    assert rows(ui.checkConsistencyView) == [
        ["everywhere", "1.23", "3.00", "9.00"],
        ["left lung, lower third", "1.23", "4.50", "9.00"],
    ]
    assert "1.23 mm apart" in ui.checkConsistencyLabel.text and "25 %" in ui.checkConsistencyLabel.text
    back = compared.node.checkBack
    assert compared.page._pair().returning().TransformPoint(SHIFT) == pytest.approx(
        tuple((SHIFT - SHIFT + (-3, 0, 4)).tolist())
    )
    roles = back.GetFixedNodeReferenceRole(), back.GetMovingNodeReferenceRole()
    assert [back.GetNodeReference(role) for role in roles] == [study.moving, study.fixed]


def test_the_settings_of_the_page_register_are_those_of_the_second_registration(slicerHost, page):
    page.node.preset, page.node.spacing, page.node.sliceStep = "fast", 4.0, 2
    page.ui.checkConsistencyButton.click()
    slicerHost.waitUntil(lambda: page.ui.checkConsistencyView.rowCount == 2, seconds=20)
    options = json.loads((page.fake.folder / "options.json").read_text())
    assert options["--preset"] == "fast" and options["--spacing"] == "4.0" and options["--slice-step"] == "2"


def test_it_is_stopped_without_a_trace(slicerHost, page, nothingLeft):
    before = nothingLeft.nodes()
    (page.fake.folder / "hold").touch()
    page.ui.checkConsistencyButton.click()
    slicerHost.waitUntil(lambda: (page.fake.folder / "options.json").exists(), seconds=20)
    assert page.ui.checkConsistencyButton.text == "Stop"
    page.ui.checkConsistencyButton.click()
    assert page.ui.checkConsistencyLabel.text == "Stopped by user."
    assert page.ui.checkConsistencyView.isHidden() and page.node.checkBack is None
    nothingLeft.check(before)


def test_another_scan_ends_it(slicerHost, page, study):
    (page.fake.folder / "hold").touch()
    page.ui.checkConsistencyButton.click()
    slicerHost.waitUntil(lambda: (page.fake.folder / "options.json").exists(), seconds=20)
    page.node.checkMoving = None
    assert page.ui.checkConsistencyButton.text == "Register the exchanged scans"
    assert not page.ui.checkConsistencyButton.enabled


def test_a_transform_that_changes_meanwhile_ends_it(slicerHost, page, study):
    (page.fake.folder / "hold").touch()
    page.ui.checkConsistencyButton.click()
    slicerHost.waitUntil(lambda: (page.fake.folder / "options.json").exists(), seconds=20)
    study.transform.Inverse()
    assert "the second registration was stopped" in page.ui.checkConsistencyLabel.text
    assert not page.page._consistency.busy and page.ui.checkConsistencyView.isHidden()


def test_while_another_registration_runs_it_waits_for_its_end(page, monkeypatch):
    monkeypatch.setattr(type(page.module.logic), "busy", property(lambda self: True))
    page.ui.checkConsistencyButton.click()
    assert "running" in page.ui.checkConsistencyLabel.text and not page.page._consistency.busy


def test_the_figures_are_the_transforms_as_it_was_then(compared, study):
    import slicer

    turn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved by hand")
    turn.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0])))
    study.transform.SetAndObserveTransformNodeID(turn.GetID())
    assert compared.ui.checkConsistencyView.isHidden()
    study.transform.SetAndObserveTransformNodeID(None)
    compared.page.enter()
    assert not compared.ui.checkConsistencyView.isHidden()


def test_pressed_again_it_replaces_the_second_transform(slicerHost, compared):
    first, text = compared.node.checkBack, {**REPORT, "residual_mm": {**FIGURES, "mean": 2.0}}
    (compared.fake.folder / "consistency.json").write_text(json.dumps(text))
    compared.ui.checkConsistencyButton.click()
    slicerHost.waitUntil(lambda: "2.00 mm apart" in compared.ui.checkConsistencyLabel.text, seconds=20)
    assert compared.node.checkBack is first


def test_an_engine_that_fails_is_told(slicerHost, page):
    (page.fake.folder / "backward.h5").unlink()
    page.ui.checkConsistencyButton.click()
    label = page.ui.checkConsistencyLabel
    slicerHost.waitUntil(lambda: "second registration ended unexpectedly" in label.text, seconds=20)
    assert page.node.checkBack is None and page.ui.checkConsistencyButton.enabled


def test_a_saved_scene_keeps_the_figures_and_the_record_bears_them(slicerHost, compared, tmp_path):
    slicerHost.saveScene(tmp_path / "scene.mrb")
    slicerHost.loadScene(tmp_path / "scene.mrb")
    ui = compared.module.widget.pages[1].ui
    compared.module.widget.tabs.setCurrentIndex(0)
    compared.module.widget.tabs.setCurrentIndex(1)
    assert rows(ui.checkConsistencyView)[1] == ["left lung, lower third", "1.23", "4.50", "9.00"]
    compared.module.widget.tabs.setCurrentIndex(5)
    view = compared.module.widget.pages[5].ui.qaNumbersView
    told = {view.item(row, 0).text(): view.item(row, 1).text() for row in range(view.rowCount)}
    assert told["inverse consistency error, 95 %"] == "3.00 mm"
    assert told["inverse consistency error, 95 % in the left lung, lower third"] == "4.50 mm"


def test_every_setting_of_the_panel_is_an_option_of_the_command():
    cli = pytest.importorskip("GLIDERegLib.cli.options")
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.scene.quality.consistency import optionsOf

    settings = {"name": "fast", "device": "cpu", "align": "rigid", "features": "local", "encoder": "x",
                "checkpoint": "f", "reduction": "pca", "encoder_input_size": 512, "encoder_slice_step": 2,
                "spacing": 2.0, "search_range": 30.0, "threads": 1, "seed": 3}  # fmt: skip
    options = cli.settings_options().parse_args(optionsOf(settings))
    assert cli.settings_of(options) == Settings.preset(**settings)
