"""Draws the pictures of the page "Check", with a generated pair whose true transform is known.

The landmarks are found by the engine, in a field with a planted error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))
PANEL_WIDTH, VIEW = 400, 320
SIZE, SPACING = (80, 80, 70), 4.5
FIELD_MM = 9.0
# Labels of the generated pair: both lungs, with the vessels and nodules inside.
LUNGS = (1, 2, 7, 8)
# For landmarks, which need finer voxels: size, spacing, and an error of 8 mm in the left lung (LPS mm).
SIZE_FOUND, SPACING_FOUND = (120, 100, 110), 3.0
FOUND_MM = 170.0  # that the views of the landmarks show
SCANS = ("fixed", "warped", "moving, as scanned")
DRAWN = (("fixed", "grid and lungs"), ("warped", "grid and lungs of fixed"), ("moving", "as scanned"))
PLANTED = ((70.0, 0.0, 20.0), (5.0, 0.0, -6.2))


def draw(folder: Path) -> None:
    """The pictures check-side-by-side, -maps, -panel, -two-colours and -landmarks (.png), in a folder, from a
    scene that is emptied before.
    """
    import check_views
    import slicer
    from check_scene import makePage
    from host import start

    host = start()
    sys.path.insert(0, str(ROOT))
    slicer.mrmlScene.Clear(0)
    study = _study()
    with check_views.layouts() as view:
        made = makePage(ROOT)
        page, ui, node = made.page, made.ui, made.node
        page.setParameterNode(node)
        node.outputTransform = study["transform"]
        page.enter()
        node.checkFixedStructures, node.checkMovingStructures = study["fixedLungs"], study["movingLungs"]
        node.checkFixedLandmarks = study["pair"].fixedNodules
        node.checkMovingLandmarks = study["pair"].movingNodules
        ui.checkMeasureButton.click()
        _choose(ui.checkLayoutCombo, "Coronal")
        ui.checkLayoutButton.checked = True
        place = slicer.util.arrayFromMarkupsControlPoints(study["pair"].fixedNodules)[3]

        rows = [_row(view, place, first=True, titles=SCANS)]
        _choose(ui.checkDrawingCombo, "grid")
        ui.checkOutlineCheck.checked = True
        rows.append(_row(view, place, titles=tuple(f"{scan}, {drawn}" for scan, drawn in DRAWN)))
        _save(folder / "check-side-by-side.png", np.concatenate(rows))
        host.screenshot(made.widget, folder / "check-panel.png", width=PANEL_WIDTH)
        _choose(ui.checkDrawingCombo, "")
        ui.checkOutlineCheck.checked = False
        node.checkOpacity = 50
        shown = []
        # The legends tell what they are.
        for mode in ("displacement", "jacobian", "difference", "density"):
            _choose(ui.checkOverlayCombo, mode)
            shown.append(view("GLIDERegWarpedCoronal").grab())
        _save(
            folder / "check-maps.png",
            np.concatenate([np.concatenate(shown[:2], 1), np.concatenate(shown[2:], 1)]),
        )
        shown = []
        _choose(ui.checkOverlayCombo, "two colors")
        for before, title in ((True, "fixed orange, moving blue"), (False, "fixed orange, warped blue")):
            ui.checkBeforeCheck.checked = before
            shown.append(titled(view("GLIDERegWarpedCoronal").grab(), title))
        _save(folder / "check-two-colours.png", np.concatenate(shown, 1))
        page.close()
        made.widget.deleteLater()
    slicer.mrmlScene.Clear(0)
    with check_views.layouts() as view:
        _drawLandmarks(host, view, folder / "check-landmarks.png")
    slicer.mrmlScene.Clear(0)


def _drawLandmarks(host, view, path: Path) -> None:
    """The section with its landmarks beside the worst place, in a field that errs by 8 mm in one place."""
    from check_scene import makePage

    study = _study(SIZE_FOUND, SPACING_FOUND, PLANTED)
    made = makePage(ROOT)
    page, ui, node = made.page, made.ui, made.node
    page.setParameterNode(node)
    node.outputTransform = study["transform"]
    page.enter()
    ui.checkFindButton.click()
    host.waitUntil(lambda: ui.checkWorstView.rowCount > 0, seconds=300)
    sections = (
        ui.checkInputsSection,
        ui.checkViewsSection,
        ui.checkConsistencySection,
        ui.checkNumbersSection,
    )
    for section in sections:
        section.collapsed = True
    _choose(ui.checkLayoutCombo, "Coronal")
    ui.checkLayoutButton.checked = True
    shown = [view(f"GLIDEReg{column}Coronal") for column in ("Fixed", "Warped", "Moving")]
    for one in shown:
        one.resize(VIEW, VIEW)
        one.grab()  # a view that was never drawn takes no notice of a legend
    # Found landmarks are shown at once, with a legend that is older than these views.
    for mode in ("warped", "landmarks"):
        _choose(ui.checkOverlayCombo, mode)
    node.checkOpacity = 60
    ui.checkNextButton.click()
    for one in shown:
        # Selecting a landmark goes close to it.
        section = one.mrmlSliceNode()
        section.SetFieldOfView(FOUND_MM, FOUND_MM, section.GetFieldOfView()[2])
        # Landmarks lie below its letter.
        section.SetOrientationMarkerType(section.OrientationMarkerTypeNone)
    host.screenshot(made.widget, path, width=PANEL_WIDTH)
    panel = _load(path)
    titles = ("fixed", "warped, and the error expected (mm)", "moving, as scanned")
    views = np.concatenate([titled(one.grab(), t) for one, t in zip(shown, titles, strict=True)], axis=0)
    height = max(len(panel), len(views))
    sides = [
        np.pad(side, ((0, height - len(side)), (0, 0), (0, 0)), constant_values=255)
        for side in (panel, views)
    ]
    _save(path, np.concatenate(sides, axis=1))
    page.close()
    made.widget.deleteLater()


def _row(view, place, titles, first: bool = False) -> np.ndarray:
    """Fixed, warped and moving view side by side, at the same anatomy."""
    views = [view(f"GLIDEReg{column}Coronal") for column in ("Fixed", "Warped", "Moving")]
    if first:
        import slicer

        from GLIDERegLib.scene.views.layout import sameScale

        for shown in views:
            shown.resize(VIEW, VIEW)
        sameScale(slicer.app.applicationLogic(), [shown.mrmlSliceNode() for shown in views])
        # As Shift and mouse do.
        views[0].mrmlSliceNode().JumpSliceByOffsetting(*map(float, place))
        slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(*map(float, place))
    pictures = [titled(shown.grab(), title) for shown, title in zip(views, titles, strict=True)]
    return np.concatenate(pictures, axis=1)


def _study(size=SIZE, spacing: float = SPACING, planted=None) -> dict:
    """The pair, its true transform on a grid, and the lungs in each scan. planted: a place and what the
    transform errs there, LPS mm, fading over 20 mm.
    """
    import slicer
    from check_scene import makeSegments

    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.scene.mrml.arrays import gridTransform
    from GLIDERegLib.scene.mrml.geometry import RAS_LPS
    from GLIDERegLib.scene.registration.results import setRegistrationReferences
    from GLIDERegLib.scene.registration.sample import addPair

    phantom = make_phantom(size, (spacing,) * 3)
    pair = addPair(phantom)
    grid = phantom.fixed.grid.resized((FIELD_MM,) * 3, (2, 2, 2), (2, 2, 2))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Registration")
    message = {
        "size": list(grid.size),
        "spacing": list(grid.spacing),
        "origin": list(grid.origin),
        "direction": list(grid.direction),
    }
    points = grid.points()
    vectors = phantom.displacement(points)
    if planted is not None:
        place, error = planted
        fading = np.exp(-0.5 * np.sum((points - np.asarray(place)) ** 2, axis=-1) / 20.0**2)
        vectors = vectors + fading[..., None] * np.asarray(error)
    vectors = vectors.astype(np.float32)
    transform.SetAndObserveTransformFromParent(gridTransform(vectors, message))
    setRegistrationReferences(transform, pair.fixedVolume, pair.movingVolume)
    for nodules in (pair.fixedNodules, pair.movingNodules):
        nodules.GetDisplayNode().SetVisibility(False)
    lungs = {}
    for key, name, labels in (
        ("fixedLungs", "Lungs follow-up", phantom.fixed_labels),
        ("movingLungs", "Lungs baseline", phantom.moving_labels),
    ):
        matrix = RAS_LPS @ labels.grid.matrix
        lungs[key] = makeSegments(slicer.mrmlScene, name, {"Lung": np.isin(labels.array, LUNGS)}, matrix)
    lungs["fixedLungs"].GetSegmentation().GetNthSegment(0).SetColor(0.2, 0.8, 1.0)
    lungs["movingLungs"].GetDisplayNode().SetVisibility(False)
    lungs["fixedLungs"].GetDisplayNode().SetVisibility(False)
    return {"pair": pair, "transform": transform, **lungs}


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """A picture with what it shows at its top; Slicer itself writes the names of the scans into its views."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((8, 6), title, fill="white", font_size=15, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def _choose(combo, value: str) -> None:
    combo.setCurrentIndex(combo.findData(value))


def _load(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def _save(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(picture).save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
