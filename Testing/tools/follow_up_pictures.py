"""Draws the picture of the page "Follow-up": a generated patient at three dates, whose nodules grow."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))
PANEL_WIDTH, VIEW = 400, 330
# Below it the page is empty.
PAGE = 1180
# Dates, how deep the breath differs from the last one's (mm), and by how much nodules have grown until then.
DATES = {"2022-03-10": (18.0, 1.0), "2023-03-12": (12.0, 0.4), "2024-03-11": (0.0, 0.0)}
SELECTED = 5


def draw(folder: Path) -> None:
    """Registers, measures and reads from the page, and leaves follow-up.png, from a scene that is emptied."""
    import check_views
    import slicer
    from check_pictures import _load, _save, titled
    from host import start

    host = start()
    slicer.mrmlScene.Clear(0)
    module = host.loadModule(ROOT / "GLIDEReg" / "GLIDEReg.py")
    module.enter()
    module.widget.tabs.setCurrentIndex(4)
    node, page = module.logic.getParameterNode(), module.widget.pages[4]
    ui = page.ui
    node.preset, node.features, node.device = "fast", "local", "cpu"
    for day, (volume, nodules) in _scans().items():
        node.followUpScan, node.followUpNodules = volume, nodules
        ui.followUpDateEdit.text = day
        ui.followUpSearchedCheck.checked = True
        ui.followUpAddButton.click()
    ui.followUpStartButton.click()
    host.waitUntil(lambda: module.logic.followUp.study is not None, seconds=600)
    ui.followUpReaderEdit.text = "A. Reader"
    with check_views.layouts() as view:
        ui.followUpView.selectRow(SELECTED)
        combo = ui.followUpDecisionCombo
        combo.setCurrentIndex(combo.findData("grown"))
        with tempfile.TemporaryDirectory() as scratch:
            host.screenshot(module.panel, f"{scratch}/page.png", width=PANEL_WIDTH)
            panel = _load(Path(scratch) / "page.png")[:PAGE]
        shown = []
        for number, day in enumerate(DATES, start=1):
            dated = view(f"GLIDERegDate{number}")
            dated.resize(VIEW, VIEW)
            shown.append(titled(dated.grab(), day))
        module.widget.closePages()
    column = np.concatenate(shown, axis=0)
    height = max(len(panel), len(column))
    sides = [
        np.pad(side, ((0, height - len(side)), (0, 0), (0, 0)), constant_values=panel[0, 0, 0])
        for side in (panel, column)
    ]
    _save(folder / "follow-up.png", np.concatenate(sides, axis=1))
    slicer.mrmlScene.Clear(0)


def _scans() -> dict:
    """By the day, a scan and its nodules."""
    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.scene.registration import sample

    found = {}
    for day, (amplitude, growth) in DATES.items():
        phantom = make_phantom(sample.SIZE, (sample.SPACING_MM,) * 3, amplitude, nodule_growth=growth)
        nodules = sample._addNodules(f"Nodules {day}", phantom.moving_nodules, phantom.nodule_labels)
        nodules.GetDisplayNode().SetPointLabelsVisibility(False)
        found[day] = sample._addVolume(phantom.moving, f"CT {day}"), nodules
    return found


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
