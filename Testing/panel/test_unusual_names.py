"""Names that nobody expects, as DICOM series have them: they are shown as they are, and widen nothing."""

from __future__ import annotations

import html

import pytest
from panel.support import addStudy

NAMES = {
    "a tag": "<b>Lung</b> <i>0.5",
    "an entity": "Lung &lt; 0.5",
    "long": "x" * 300,
    "placeholders": "100 % %s {0} {name}",
    "another alphabet": "肺 Лёгкое",
    "empty": "",
}
# Slicer's panel gets no narrower than its module, and takes the room from the views.
WIDEST_PIXELS = 400


def addPoints(name: str, points):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.SetName(name)
    node.CreateDefaultDisplayNodes()
    for point in points:
        node.AddControlPoint(*point, name)
    return node


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def name(request):
    return request.param


@pytest.fixture
def module(slicerHost, fake, plain, openModule, name):
    """The opened module, with every node that it can choose, all of one name and of patients of that name."""
    import slicer

    from GLIDERegLib.scene.registration.results import setDeformation, setRegistrationReferences
    from GLIDERegLib.scene.sequence.nodes import identityField

    scene = slicer.mrmlScene
    scans = [plain("scan", seed=n) for n in range(2)]
    for number, scan in enumerate(scans):
        scan.SetName(name)
        scan.SetAttribute("DICOM.PatientName", f"{name} {number}")
        scan.SetAttribute("DICOM.PatientID", f"{number}")
        scan.SetAttribute("DICOM.StudyDate", f"2024031{number}")
    transform = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    transform.SetName(name)
    setDeformation(transform, identityField(scans[0]))
    setRegistrationReferences(transform, *scans)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetName(name)
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetSegmentation().AddEmptySegment("", name)
    lists = [addPoints(name, [(30.0, 30.0, 30.0), (60.0, 40.0, 30.0)]) for _ in scans]
    study = addStudy([plain(f"frame {n}", seed=n) for n in range(2)], [name or "-", "inhale"])
    study.SetName(name)
    module = openModule()
    node = module.logic.getParameterNode()
    node.fixedVolume, node.movingVolume = node.checkFixed, node.checkMoving = scans
    node.fixedNodules, node.movingNodules = node.checkFixedLandmarks, node.checkMovingLandmarks = lists
    node.outputTransform = node.checkTransform = transform
    node.fixedMask = node.checkFixedStructures = node.qaSegmentation = segmentation
    node.sequence = study
    for scan, nodules, day in zip(scans, lists, ("2024-03-10", "2024-03-11"), strict=True):
        node.followUpScan, node.followUpNodules = scan, nodules
        ui = module.widget.pages[4].ui
        ui.followUpDateEdit.text = day
        ui.followUpAddButton.click()
    return module


def pressEverything(slicerHost, module) -> None:
    """What a reader presses first on each page; the user agrees to what is asked."""
    import qt

    register, check, nodules, study, followUp, qa = (page.ui for page in module.widget.pages)
    for button in (
        register.applyButton,
        check.checkSendButton,
        check.checkMeasureButton,
        nodules.updateButton,
        nodules.matchButton,
        nodules.measureAllButton,
        study.startButton,
        followUp.followUpStartButton,
        qa.qaPropagateButton,
        qa.qaSegButton,
        qa.qaStructButton,
    ):
        slicerHost.dialogs.answers[:] = [qt.QMessageBox.Yes] if button is nodules.updateButton else []
        button.click()
    for index in range(len(module.widget.pages)):
        module.widget.tabs.setCurrentIndex(index)
    for view in (nodules.reviewView, followUp.followUpView):
        if view.rowCount:
            view.selectRow(0)
    nodules.acceptButton.click()
    slicerHost.processEvents()


def test_no_name_widens_the_panel(slicerHost, module):
    pressEverything(slicerHost, module)
    tabs = module.widget.tabs
    for index in range(tabs.count):
        page = tabs.widget(index)
        assert page.minimumSizeHint.width() <= WIDEST_PIXELS, tabs.tabText(index)


def test_names_are_read_as_they_are(slicerHost, module, name):
    """The host complains of every text that Qt would read as HTML."""
    import qt

    pressEverything(slicerHost, module)
    register, check, nodules, study, *_ = (page.ui for page in module.widget.pages)
    for label in (register.pairLabel, check.checkDirectionLabel, nodules.detailLabel, study.frameLabel):
        assert name in label.text
    module.logic.getParameterNode().movingNodules.RemoveAllControlPoints()
    slicerHost.dialogs.answers[:] = [qt.QMessageBox.Yes, qt.QMessageBox.No]
    nodules.updateButton.click()
    lost = slicerHost.dialogs.shown[-1].text
    assert (name if name in lost else html.escape(name)) in lost and "Remove them" in lost
