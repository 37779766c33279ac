"""Draws the pictures of the page "QA", with a generated pair and a transform that errs by 8 mm in one place.

Landmarks, contours and record are the engine's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))
PANEL_WIDTH, PANEL_HEIGHT, VIEW = 400, 790, 400
# Pixels beside the lungs for what their colours mean.
LEGEND = 120
LOOK_SECONDS = 2.3


def draw(folder: Path) -> None:
    """The pictures qa-panel and qa-contours (.png), in a folder, from a scene that is emptied before."""
    import check_pictures
    import demo
    import slicer
    from check_pictures import _choose, _save
    from host import start

    host = start()
    slicer.mrmlScene.Clear(0)
    module = host.loadModule(str(demo.MODULE))
    module.enter()
    study = check_pictures._study(
        check_pictures.SIZE_FOUND, check_pictures.SPACING_FOUND, check_pictures.PLANTED
    )
    # A view that is younger than a legend takes no notice of it.
    _view().grab()
    node, tabs = module.logic.getParameterNode(), module.widget.tabs
    check, qa = (module.widget.pages[n].ui for n in (1, 5))
    node.checkTransform = study["transform"]
    tabs.setCurrentIndex(1)
    check.checkFindButton.click()
    host.waitUntil(lambda: check.checkWorstView.rowCount > 0, seconds=900)
    for act in (lambda: _choose(check.checkOverlayCombo, "fade"), *[check.checkNextButton.click] * 3):
        act()
        host.processEvents(LOOK_SECONDS)
    tabs.setCurrentIndex(5)
    node.qaSegmentation, node.qaOther = study["fixedLungs"], study["movingLungs"]
    qa.qaPropagateButton.click()
    host.waitUntil(lambda: qa.qaPropagateButton.text == "Propagate", seconds=120)
    node.qaPurpose, node.qaRegion = "follow-up of nodules", "left lung, middle third"
    node.qaAccuracy, node.qaLevel = 2.0, "2"
    qa.qaNumbersView.item(1, 2).setText("2")
    qa.qaNameEdit.text = "A. Physicist"
    node.qaRemarks = "prior read beside it in the left lung"
    qa.qaSignButton.click()
    sections = [qa.qaPairSection, qa.qaRequestSection, qa.qaLookedSection, qa.qaContoursSection]
    columns = []
    with tempfile.TemporaryDirectory() as scratch:
        for closed in ([qa.qaNumbersSection, qa.qaDecisionSection], sections):
            for section in (*sections, qa.qaNumbersSection, qa.qaDecisionSection):
                section.collapsed = section in closed
            host.screenshot(module.panel, f"{scratch}/panel.png", width=PANEL_WIDTH, height=PANEL_HEIGHT)
            columns.append(check_pictures._load(Path(scratch) / "panel.png"))
    _save(folder / "qa-panel.png", np.concatenate(columns, axis=1))
    _save(folder / "qa-contours.png", _surface())
    tabs.setCurrentIndex(0)
    slicer.mrmlScene.Clear(0)


def _view():
    """The 3D view, without box and labels; its first picture makes its camera."""
    import slicer

    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
    view.resize(VIEW + LEGEND, VIEW)
    return view


def _surface() -> np.ndarray:
    """The lungs with their distances, from the patient's front and from the left."""
    import slicer
    from check_pictures import titled

    for kind in ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsFiducialNode", "vtkMRMLVolumeNode"):
        for node in slicer.util.getNodesByClass(kind):
            if node.GetDisplayNode():
                node.GetDisplayNode().SetVisibility(False)
    view, pictures = _view(), []
    camera = slicer.util.getNodesByClass("vtkMRMLCameraNode")[0]
    for direction, title in ((camera.Anterior, "from the front"), (camera.Left, "from the left")):
        camera.RotateTo(direction)
        view.resetFocalPoint()
        pictures.append(titled(view.grab(), title))
    return np.concatenate(pictures, axis=1)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
