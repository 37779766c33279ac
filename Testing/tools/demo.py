"""The user's way, without the desktop: a generated pair in a Slicer scene, registered by the module's logic.

    python Testing/tools/demo.py FOLDER [--small]

Leaves in FOLDER: scene.mrb (open it in 3D Slicer), transform.h5, warped.nrrd, nodules_in_fixed.mrk.json,
report.json, and pictures drawn by Slicer's own views.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "GLIDEReg" / "GLIDEReg.py"
ENCODER = "sam2.1_hiera_tiny"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the scene, the outputs and the pictures go")
    parser.add_argument("--small", action="store_true", help="voxels of 6 mm instead of 2 mm: some seconds")
    options = parser.parse_args()
    from host import HostUnavailable, start

    try:
        host = start()
    except HostUnavailable as reason:
        print(
            f"The demo draws with Slicer's own views and {reason}; `glidereg demo` does without.",
            file=sys.stderr,
        )
        return 1
    from GLIDERegLib.core.errors import GlideRegError

    try:
        run(host, options.folder, "small" if options.small else "full")
    except GlideRegError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def run(host, folder: Path, size: str) -> None:
    """Generates, registers, judges, draws and saves; the folder's files appear together at the end."""
    from GLIDERegLib.evaluation.demo import SIZES, judge
    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.files.outputs import OutputFolder, write_json
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.scene.registration.sample import addPair

    fetchWeights()
    module = host.loadModule(str(MODULE))
    with OutputFolder(folder) as out:
        print("Generating two scans of a breathing chest ...", flush=True)
        phantom = make_phantom(*SIZES[size], nodule_growth=0.0)
        pair = addPair(phantom)
        results = register(module, pair)
        save(results.transform, out / "transform.h5")
        save(results.volume, out / "warped.nrrd")
        save(results.nodulesInFixed, out / "nodules_in_fixed.mrk.json")
        # The saved file is judged, read by ITK: what another program gets.
        truth = judge(phantom, read_transform(out / "transform.h5"))
        write_json({**results.report, "truth": truth}, out / "report.json")
        draw(pair, results, out)
        host.saveScene(str(out / "scene.mrb"))
    tell(results, truth, folder)


def fetchWeights() -> None:
    """SAM2's smallest checkpoint, so that the first run is the whole method where the network allows it."""
    from GLIDERegLib.core.errors import WeightsError
    from GLIDERegLib.files.checkpoints import download

    try:
        download(ENCODER, progress=True)
    except WeightsError:
        print(
            f"The SAM2 checkpoint {ENCODER} cannot be downloaded here; going on with local features.",
            flush=True,
        )


def register(module, pair):
    """The module's own entry for scripts, with a progress bar on a terminal."""
    from tqdm import tqdm

    print("Registering ...", flush=True)
    form = "{desc:<22}{percentage:3.0f} % |{bar:30}| {elapsed}"
    with tqdm(total=100, bar_format=form, disable=None) as bar:

        def show(stage: str, overall: float) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.n = round(100 * overall)
            bar.refresh()

        return module.logic.registerVolumes(
            pair.fixedVolume, pair.movingVolume, movingNodulesNode=pair.movingNodules, progressCallback=show
        )


def save(node, path: Path) -> None:
    """Writes a node by its own kind of storage."""
    storage = node.CreateDefaultStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError(f"{path} could not be written")


def draw(pair, results, out) -> None:
    """Before, after and the deformation grid, in the three slice views."""
    from PIL import Image

    showBefore(pair, results)
    Image.fromarray(views(pair)).save(out / "before.png")
    showAfter(pair, results)
    Image.fromarray(views(pair)).save(out / "after.png")
    showGrid(pair, results)
    Image.fromarray(views(pair)).save(out / "grid.png")
    showAfter(pair, results)


def showBefore(pair, results) -> None:
    """The moving volume, as it lies, half over the fixed one."""
    _show(pair, results, pair.movingVolume, nodules=False, grid=False)


def showAfter(pair, results) -> None:
    """The warped volume half over the fixed one, with the propagated nodules."""
    _show(pair, results, results.volume, nodules=True, grid=False)


def showGrid(pair, results) -> None:
    """The fixed volume under the deformed grid, as Slicer draws it."""
    _show(pair, results, None, nodules=True, grid=True)


def _show(pair, results, foreground, nodules: bool, grid: bool) -> None:
    import slicer

    for node in (pair.movingNodules, pair.fixedNodules):
        node.GetDisplayNode().SetVisibility(False)
    results.nodulesInFixed.GetDisplayNode().SetVisibility(nodules)
    results.transform.CreateDefaultDisplayNodes()
    display = results.transform.GetDisplayNode()
    display.SetVisualizationMode(display.VIS_MODE_GRID)
    display.SetAndObserveRegionNode(pair.fixedVolume)
    display.SetVisibility2D(True)
    display.SetVisibility(grid)
    slicer.util.setSliceViewerLayers(
        background=pair.fixedVolume, foreground=foreground, foregroundOpacity=0.5 if foreground else 0.0
    )


def views(pair, size: int = 400):
    """A picture (height, width, 3) of the three slice views side by side, at the first nodule."""
    import numpy as np
    import slicer

    place = slicer.util.arrayFromMarkupsControlPoints(pair.fixedNodules, world=True)[0]
    pictures = []
    for name in ("Red", "Yellow", "Green"):
        view = slicer.app.layoutManager().sliceWidget(name)
        view.resize(size, size)
        view.fitSliceToBackground()
        view.mrmlSliceNode().JumpSliceByOffsetting(*place)
        pictures.append(view.grab())
    return np.concatenate(pictures, axis=1)


def tell(results, truth: dict, folder: Path) -> None:
    """What came out, in a few lines."""
    from GLIDERegLib.cli.console import comparison, print_warnings

    print(
        f"Results in {folder}: scene.mrb (open it in 3D Slicer), transform.h5, warped.nrrd, nodules, pictures"
    )
    report = results.report
    device, seconds = report["device"]["kind"], report["seconds"]
    print(f"Registered with {report['features']} features in {seconds:.1f} s on {device}.")
    landmarks = truth["target_registration_error"]
    rows = [("error at landmarks, mean (mm)", *(landmarks[when]["mean"] for when in ("initial", "final")))]
    rows += [
        (f"error {where}, mean (mm)", *(truth[key][when]["mean"] for when in ("initial", "final")))
        for where, key in (("at the nodules", "nodules"), ("everywhere in the body", "body"))
    ]
    print(comparison(rows))
    print_warnings(report["warnings"])


if __name__ == "__main__":
    sys.exit(main())
