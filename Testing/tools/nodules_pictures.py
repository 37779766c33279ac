"""Draws the picture of the page "Nodules" that the README shows, with the sample pair."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
ROOT = Path(__file__).resolve().parents[2]
PANEL_WIDTH = 400


def draw(folder: Path) -> None:
    """Registers the sample pair with the preset "fast", reviews its nodules and leaves module-nodules.png."""
    from host import start

    host = start()
    import numpy as np
    import slicer
    from nodules_scene import addPoints, makePage
    from PIL import Image, ImageDraw

    module = host.loadModule(ROOT / "GLIDEReg" / "GLIDEReg.py")
    module.enter()
    from GLIDERegLib.scene.registration.sample import makeSamplePair

    pair = makeSamplePair()
    results = module.logic.registerVolumes(
        pair.fixedVolume,
        pair.movingVolume,
        movingNodulesNode=pair.movingNodules,
        preset="fast",
        features="local",
    )
    # The second reader numbers differently, misses one nodule and marks another.
    truth = slicer.util.arrayFromMarkupsControlPoints(pair.fixedNodules, world=True)
    seen = {f"R{n + 1}": point for n, point in enumerate(truth[:0:-1])}
    fixedNodules = addPoints(slicer.mrmlScene, "Second reader", {**seen, "R9": truth[0] + (18, 14, -10)})
    for hidden in (pair.fixedNodules, fixedNodules):
        hidden.GetDisplayNode().SetVisibility(False)

    made = makePage(ROOT)
    node, ui = made.node, made.ui
    node.outputTransform, node.nodulesInFixed = results.transform, results.nodulesInFixed
    node.movingNodules, node.fixedNodules = pair.movingNodules, fixedNodules
    node.daysBetween = 183.0
    made.page.enter()
    ui.updateButton.click()
    layout = slicer.app.layoutManager()
    views = []
    for name, volume in (("Red", pair.fixedVolume), ("Yellow", pair.movingVolume)):
        view = layout.sliceWidget(name)
        view.mrmlSliceNode().SetOrientation("Axial")
        view.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        view.resize(560, 560)
        views.append(view)
    # Each list where it belongs: propagated points on the fixed scan, the reader's own on the moving one.
    for points, view in zip((node.nodulesInFixed, pair.movingNodules), views, strict=True):
        display = points.GetDisplayNode()
        display.SetViewNodeIDs([view.mrmlSliceNode().GetID()])
        display.SetTextScale(4)
    node.nodulesInMoving.GetDisplayNode().SetVisibility(False)
    # The first is too small to be measured in these voxels; the fifth is not.
    for press in (ui.nextButton, ui.unsureButton, *[ui.nextButton] * 4, ui.acceptButton):
        press.click()
    ui.commentEdit.text = "solid, at the fissure"
    ui.noduleTypeCombo.currentIndex = ui.noduleTypeCombo.findData("solid")
    ui.measureAllButton.click()
    host.waitUntil(lambda: not made.page._measure._timer.active, 300)
    ui.matchButton.click()

    with tempfile.TemporaryDirectory() as scratch:
        host.screenshot(made.widget, f"{scratch}/page.png", width=PANEL_WIDTH)
        page = np.asarray(Image.open(f"{scratch}/page.png").convert("RGB"))
    titled = []
    for view, title in zip(views, ("Fixed scan", "Moving scan, not warped"), strict=True):
        picture = Image.fromarray(view.grab())
        ImageDraw.Draw(picture).text(
            (8, 6), title, fill="white", font_size=15, stroke_width=2, stroke_fill="black"
        )
        titled.append(np.asarray(picture))
    column = np.concatenate(titled, axis=0)
    height = max(len(page), len(column))
    padded = [
        np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=page[0, 0, 0])
        for part in (page, column)
    ]
    Image.fromarray(np.concatenate(padded, axis=1)).save(folder / "module-nodules.png", optimize=True)
    made.page.close()
    made.widget.deleteLater()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
