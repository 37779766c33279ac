"""The page "4D study": a breathing sequence registered from the panel, watched, cancelled, saved, stepped."""

from __future__ import annotations

import csv
import time

import numpy as np
import pytest
from panel.support import FLIP, addStudy
from promises import within

NAMES = ("0", "end-exhale", "75")
LONGEST_CANCEL = 3.0


@pytest.fixture
def study(slicerHost, plain):
    """A sequence of three even frames with its browser, in a folder of subject hierarchy."""
    return addStudy([plain(f"Frame {n}", seed=n) for n in range(3)], NAMES)


@pytest.fixture
def page(openModule):
    """Function that opens the module at this page: the module, with `ui` that of the page."""

    def open():
        module = openModule()
        module.widget.tabs.setCurrentIndex(3)
        return module, module.widget.pages[3]

    return open


@pytest.fixture
def breathing(slicerHost, recording):
    """The recorded pair as a study of three frames, fixed, moving, moving, and nodules in the fixed one."""
    import slicer

    pair = np.load(recording / "pair.npz")
    frames = [
        slicer.util.addVolumeFromArray(pair[name], ijkToRAS=FLIP @ pair[f"{name}_matrix"], name="Frame")
        for name in ("fixed", "moving", "moving")
    ]
    nodules = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Nodules")
    for point, label in zip(pair["fixed_nodules"] @ FLIP[:3, :3], pair["labels"], strict=True):
        nodules.AddControlPoint(point.tolist(), str(label))
    return addStudy(frames, ("0", "50", "75")), nodules


def registered(slicerHost, replay, page, breathing):
    """The page after a run of the recorded study."""
    volumes, nodules = breathing
    module, made = page()
    node = module.logic.getParameterNode()
    node.sequence, node.sequenceNodules = volumes, nodules
    replay.plan([["device", "A processor"], ["progress", "refinement", 0.5], ["result"]])
    made.ui.startButton.click()
    slicerHost.waitUntil(lambda: not made.ui.startButton.isHidden() and not module.logic.busy)
    assert module.logic.sequenceRegistration.results, made.ui.studyMessageLabel.text
    return module, made


def start(slicerHost, fake, module, made, study, steps=(["wait"],)) -> None:
    fake.plan([["device", "A processor"], ["progress", "refinement", 0.5], *steps])
    module.logic.getParameterNode().sequence = study
    made.ui.startButton.click()
    slicerHost.waitUntil(lambda: module.logic.sequenceRegistration.stage)


def test_the_button_says_why_it_cannot_be_pressed(slicerHost, fake, page, study):
    import slicer

    module, made = page()
    node, ui = module.logic.getParameterNode(), made.ui
    assert not ui.startButton.enabled and "Choose a sequence" in ui.startButton.toolTip
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Points")
    for value in "12":
        points.SetDataNodeAtValue(slicer.vtkMRMLMarkupsFiducialNode(), value)
    node.sequence = points
    assert not ui.startButton.enabled and "more than volumes" in ui.startButton.toolTip
    assert ui.studyMessageLabel.text == ui.startButton.toolTip
    node.sequence = study
    assert ui.startButton.enabled
    node.sequenceReference = 4
    assert not ui.startButton.enabled and "no frame number 4" in ui.startButton.toolTip
    node.sequenceReference, node.features = 0, "both"
    assert not ui.startButton.enabled and "SAM2" in ui.startButton.toolTip


def test_a_browser_stands_for_its_sequence_and_end_exhale_for_the_reference(slicerHost, fake, page, study):
    from GLIDERegLib.scene.parameters import sequenceInputsOf
    from GLIDERegLib.scene.sequence.nodes import browserOf

    module, made = page()
    node, combo = module.logic.getParameterNode(), made.ui.referenceCombo
    node.sequence = browserOf(study)
    assert made.ui.startButton.enabled
    texts = [combo.itemText(n) for n in range(combo.count)]
    assert texts == ["Automatic: phase end-exhale %", "phase 0 %", "phase end-exhale %", "phase 75 %"]
    assert sequenceInputsOf(node).reference == 1
    combo.setCurrentIndex(3)
    assert node.sequenceReference == 3 and sequenceInputsOf(node).reference == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("0", "50", "75"), 0),
        (("Max Inhale", "Mid Exhale", "Max Exhale"), 2),
        (("inspiration", "expiration"), 1),
        (("early expiration", "late expiration"), 0),
        (("EndInspiration", "EndExpiration"), 1),
    ],
)
def test_the_usual_reference_is_the_one_frame_named_end_exhale_else_the_first(
    slicerHost, plain, names, expected
):
    from GLIDERegLib.scene.sequence.nodes import usualReference

    assert usualReference(addStudy([plain(name) for name in names], names)) == expected


def test_the_run_tells_frame_stage_and_share_and_uses_the_settings_of_the_page_register(
    slicerHost, fake, page, study
):
    module, made = page()
    module.logic.getParameterNode().spacing = 3.5
    made.ui.qualityCombo.setCurrentIndex(made.ui.qualityCombo.findData("fast"))
    assert module.ui.presetCombo.currentData == "fast"
    start(slicerHost, fake, module, made, study)
    slicerHost.waitUntil(lambda: made.ui.studyProgressBar.value > 0)
    assert (fake.request["settings"]["name"], fake.request["settings"]["spacing"]) == ("fast", 3.5)
    assert made.ui.studyProgressBar.value == 25
    said = made.ui.studyProgressLabel.text
    assert "Frame 1 of 2 (phase 0 %)" in said and "Instance optimisation" in said and "elapsed" in said
    assert made.ui.startButton.isHidden() and not made.ui.stopButton.isHidden()


@pytest.mark.parametrize("steps", [(["wait"],), (["stubborn"],)], ids=["obedient", "stubborn"])
def test_cancel_is_over_in_time_and_leaves_nothing(slicerHost, fake, page, study, nothingLeft, steps):
    module, made = page()
    nodes = nothingLeft.nodes()
    # Here no frame is done; see SequenceRegistration's own tests.
    assert "done are kept" in made.ui.stopButton.toolTip
    start(slicerHost, fake, module, made, study, steps)
    began = time.monotonic()
    made.ui.stopButton.click()
    assert not made.ui.stopButton.enabled
    slicerHost.waitUntil(lambda: not module.logic.busy)
    assert time.monotonic() - began < within(LONGEST_CANCEL)
    nothingLeft.check(nodes)
    slicerHost.waitUntil(lambda: not made.ui.startButton.isHidden())
    assert made.ui.studyProgressLabel.text == "Cancelled; nothing was changed."
    assert made.ui.startButton.enabled and made.ui.stopButton.isHidden()


def test_a_study_and_a_pair_are_not_registered_at_once_and_the_other_page_is_free_afterwards(
    slicerHost, fake, page, study, plain, children
):
    from GLIDERegLib.core.errors import InputError

    module, made = page()
    node = module.logic.getParameterNode()
    node.fixedVolume, node.movingVolume = plain("Follow-up"), plain("Baseline", seed=5)
    assert module.ui.applyButton.enabled
    start(slicerHost, fake, module, made, study)
    (job,) = children()
    module.ui.applyButton.click()
    assert "running already" in module.ui.messageLabel.text
    module.widget.tabs.setCurrentIndex(0)
    assert not module.ui.applyButton.enabled and "running already" in module.ui.applyButton.toolTip
    with pytest.raises(InputError, match="running already"):
        module.logic.registerVolumes(node.fixedVolume, node.movingVolume)
    assert children() == {job} and module.logic.sequenceRegistration.active
    made.ui.stopButton.click()
    slicerHost.waitUntil(lambda: module.ui.applyButton.enabled)
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    module.widget.tabs.setCurrentIndex(3)
    assert not made.ui.startButton.enabled and "running already" in made.ui.startButton.toolTip
    with pytest.raises(InputError, match="running already"):
        module.logic.registerSequence(study)
    assert len(children()) == 1
    module.ui.cancelButton.click()
    slicerHost.waitUntil(lambda: made.ui.startButton.enabled)


def test_the_run_goes_on_in_other_modules_and_ends_with_the_scene(
    slicerHost, fake, page, study, nothingLeft, children
):
    import slicer

    module, made = page()
    start(slicerHost, fake, module, made, study)
    module.exit()
    slicerHost.processEvents(0.3)
    module.enter()
    assert module.logic.sequenceRegistration.active and not made.ui.stopButton.isHidden()
    slicer.mrmlScene.Clear(0)
    slicerHost.waitUntil(lambda: not children(), seconds=2)
    assert not module.logic.busy and made.ui.stopButton.isHidden() and not made.ui.startButton.enabled
    nothingLeft.check(nothingLeft.nodes())


def test_a_failure_of_every_frame_is_told_and_leaves_nothing(slicerHost, fake, page, study, nothingLeft):
    module, made = page()
    nodes = nothingLeft.nodes()
    fake.plan([["progress", "refinement", 0.5], ["error", "memory", "There is no room.", "Close programs."]])
    module.logic.getParameterNode().sequence = study
    made.ui.startButton.click()
    slicerHost.waitUntil(lambda: made.ui.studyMessageLabel.text)
    # What is wrong in the worker's words, the remedy in the panel's.
    told = made.ui.studyMessageLabel.text
    assert told.startswith("There is no room. ") and "Working resolution" in told
    assert made.ui.startButton.enabled
    nothingLeft.check(nodes)


def rowsOfTable(table):
    """Header and rows of a table node, as text."""
    vtkTable = table.GetTable()
    columns = range(vtkTable.GetNumberOfColumns())
    rows = [[vtkTable.GetValue(n, c).ToString() for c in columns] for n in range(vtkTable.GetNumberOfRows())]
    return [[vtkTable.GetColumnName(c) for c in columns], *rows]


def savedTables(ui, monkeypatch, folder):
    """What the button writes into a folder: the rows of each file by its name."""
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(folder), raising=False)
    ui.studySaveButton.click()
    found = {}
    for path in folder.iterdir():
        with path.open(newline="", encoding="utf-8") as file:
            found[path.name] = list(csv.reader(file))
        assert path.name in ui.studyProgressLabel.text
    return found


def test_results_lie_beside_the_study_and_the_views_step_through_fixed_and_warped(
    slicerHost, replay, page, breathing, monkeypatch, tmp_path
):
    import slicer

    from GLIDERegLib.scene.sequence.nodes import browserOf, shownVolume

    volumes, nodules = breathing
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(shownVolume(volumes)), folder)
    module, made = registered(slicerHost, replay, page, breathing)
    node, results = module.logic.getParameterNode(), module.logic.sequenceRegistration.results
    said = made.ui.studyProgressLabel.text
    assert said.startswith("Registered 2 of 2 frames to 'Breathing, phase 0 %' in 0:")
    browser = browserOf(volumes)
    played = [browser.GetProxyNode(s) for s in (results.transforms, results.warped, results.tracks)]
    for result in (*played, results.reference, results.table, results.chart, results.amplitude):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == folder, result.GetName()
    assert (node.sequenceTable, node.sequenceChart) == (results.table, results.chart)
    count = nodules.GetNumberOfControlPoints()
    assert made.ui.tracksView.model().rowCount() == 3 * count
    assert node.sequenceAmplitude is results.amplitude
    # One row for the lungs.
    assert made.ui.amplitudeView.model().rowCount() == count + 1
    assert savedTables(made.ui, monkeypatch, tmp_path / "tables") == {
        "amplitude.csv": rowsOfTable(results.amplitude),
        "displacement.csv": rowsOfTable(results.table),
    }
    made.ui.plotButton.click()
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == results.chart.GetID()

    red = slicer.app.layoutManager().sliceWidget("Red")
    bounds = np.zeros(6)
    results.reference.GetRASBounds(bounds)
    red.mrmlSliceNode().SetOrientation("Axial")
    red.jumpTo(bounds.reshape(3, 2).mean(axis=1))
    red.mrmlSliceNode().SetFieldOfView(100, 100, 1)
    composite = red.mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == results.reference.GetID()
    assert composite.GetForegroundOpacity() == 0.5

    def seen(volume, opacity: float) -> np.ndarray:
        composite.SetForegroundVolumeID(volume.GetID())
        composite.SetForegroundOpacity(opacity)
        return red.grab().astype(int)

    fixed = seen(played[1], 0.0)
    made.ui.frameSlider.value = 1
    assert browser.GetSelectedItemNumber() == 1 and made.ui.frameLabel.text == "phase 50 %"
    apart = [np.abs(seen(v, 1.0) - fixed).mean() for v in (played[1], shownVolume(volumes))]
    assert apart[1] > 5, "the frames are alike before"
    assert apart[0] < 0.6 * apart[1], "the warped frame is no nearer to the reference"
    browser.SetSelectedItemNumber(0)
    assert made.ui.frameSlider.value == 0
    assert np.abs(seen(played[1], 1.0) - fixed).mean() < 1, "the reference is not itself"


def test_the_page_comes_back_with_a_saved_scene(slicerHost, replay, page, breathing, tmp_path):
    import slicer

    module, made = registered(slicerHost, replay, page, breathing)
    node = module.logic.getParameterNode()
    node.sequenceReference, node.makeWarpedFrames = 1, False
    rows = made.ui.tracksView.model().rowCount()
    slicerHost.saveScene(tmp_path / "scene.mrb")
    node.sequence, node.sequenceReference, node.makeWarpedFrames, node.sequenceChart = None, 0, True, None
    slicerHost.loadScene(tmp_path / "scene.mrb")
    ui = made.ui
    assert ui.sequenceSelector.currentNode().GetName() == "Breathing"
    assert ui.sequenceNodulesSelector.currentNode().GetName() == "Nodules"
    assert ui.referenceCombo.currentText == "phase 0 %" and not ui.makeWarpedFramesCheck.checked
    assert ui.tracksView.model().rowCount() == rows
    assert ui.plotButton.enabled and ui.overlayButton.enabled and ui.startButton.enabled
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        view.SetBackgroundVolumeID(None)
    ui.overlayButton.click()
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    fixed = slicer.mrmlScene.GetNodeByID(shown.GetBackgroundVolumeID())
    assert fixed is module.logic.getParameterNode().sequenceFixed is not None
