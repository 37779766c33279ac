"""Draws the pictures of the module that the README shows, with generated pairs.

python Testing/tools/screenshots.py FOLDER
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Pixels; as high as the first page with its long sections closed.
PANEL_WIDTH, PANEL_HEIGHT = 400, 800


def main(folder: Path) -> None:
    import check_pictures
    import demo
    import follow_up_pictures
    import nodules_pictures
    import numpy as np
    import qa_pictures
    import sequence_pictures
    from host import start
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    host = start()
    module = host.loadModule(str(demo.MODULE))
    module.enter()
    from GLIDERegLib.scene.registration.sample import makeSamplePair

    pair = makeSamplePair()
    pair.fixedNodules.GetDisplayNode().SetVisibility(False)
    ui = module.ui
    ui.fixedSelector.setCurrentNode(pair.fixedVolume)
    ui.movingSelector.setCurrentNode(pair.movingVolume)
    ui.movingNodulesSelector.setCurrentNode(pair.movingNodules)
    host.waitUntil(lambda: ui.deviceCombo.count > 1, seconds=60)
    registration = module.logic.registration

    def panel() -> np.ndarray:
        with tempfile.TemporaryDirectory() as scratch:
            host.screenshot(module.panel, f"{scratch}/panel.png", width=PANEL_WIDTH)
            return np.asarray(Image.open(f"{scratch}/panel.png").convert("RGB"))

    def save(name: str, *columns: np.ndarray) -> None:
        height = max(column.shape[0] for column in columns)
        padded = [
            np.pad(column, ((0, height - column.shape[0]), (0, 0), (0, 0)), constant_values=column[0, 0, 0])
            for column in columns
        ]
        Image.fromarray(np.concatenate(padded, axis=1)).save(folder / name, optimize=True)

    ui.advancedSection.collapsed = False
    save("panel-advanced.png", panel())
    ui.advancedSection.collapsed = True
    ui.applyButton.click()
    host.waitUntil(lambda: ui.progressBar.value >= 40, seconds=600)
    row = demo.views(pair, size=210)
    save("module-running.png", panel()[:PANEL_HEIGHT], np.concatenate(np.split(row, 3, axis=1), axis=0))
    host.waitUntil(lambda: not registration.active, seconds=600)
    results = registration.results
    rows = []
    for show in (demo.showBefore, demo.showAfter, demo.showGrid):
        show(pair, results)
        rows.append(demo.views(pair, size=230))
    save("module.png", panel()[:PANEL_HEIGHT], np.concatenate(rows, axis=0))
    check_pictures.draw(folder)
    nodules_pictures.draw(folder)
    sequence_pictures.draw(folder)
    qa_pictures.draw(folder)
    follow_up_pictures.draw(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    main(parser.parse_args().folder)
