"""Draws the picture of the page "4D study" that the README shows: a generated chest in six phases."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
ROOT = Path(__file__).resolve().parents[2]
PANEL_WIDTH, VIEW, PLOT = 400, 330, (660, 396)
SIZE, SPACING = (72, 72, 64), 5.0
# Phases in %, and how far from end-exhale to end-inhale the chest is in each.
PHASES = {"0": 1.0, "20": 0.7, "40": 0.2, "50": 0.0, "60": 0.15, "80": 0.6}
SHOWN = 0  # the phase farthest from the reference


def draw(folder: Path) -> None:
    """Registers the phases with the preset "fast" from the page and leaves 4d-study.png."""
    from host import start

    host = start()
    import numpy as np
    import slicer
    from check_pictures import titled
    from PIL import Image

    slicer.mrmlScene.Clear(0)
    module = host.loadModule(ROOT / "GLIDEReg" / "GLIDEReg.py")
    module.enter()
    module.widget.tabs.setCurrentIndex(3)
    volumes, nodules = _study()
    node, ui = module.logic.getParameterNode(), module.widget.pages[3].ui
    node.preset, node.features, node.device = "fast", "local", "cpu"
    node.sequence, node.sequenceNodules = volumes, nodules
    ui.startButton.click()
    host.waitUntil(lambda: node.sequenceChart is not None, seconds=900)
    ui.frameSlider.value = SHOWN
    results = module.logic.sequenceRegistration.results
    nodules.GetDisplayNode().SetVisibility(False)

    view = slicer.app.layoutManager().sliceWidget("Green")
    view.mrmlSliceNode().SetOrientation("Coronal")
    view.resize(VIEW, VIEW)
    browser, composite = module.widget.pages[3]._browser, view.mrmlSliceCompositeNode()
    tracks, warped, shown = (
        browser.GetProxyNode(sequence) for sequence in (results.tracks, results.warped, volumes)
    )
    tracks.GetDisplayNode().SetVisibility(False)
    pictures = []
    for title, over in (("Phase 0 % over end-exhale", shown), ("The same, warped", warped)):
        composite.SetForegroundVolumeID(over.GetID())
        view.fitSliceToBackground()
        pictures.append(titled(view.grab(), title))
    ui.studyRunSection.collapsed = True
    with tempfile.TemporaryDirectory() as scratch:
        host.screenshot(module.panel, f"{scratch}/page.png", width=PANEL_WIDTH)
        page = np.asarray(Image.open(f"{scratch}/page.png").convert("RGB"))[: VIEW + PLOT[1]]
    column = np.concatenate([np.concatenate(pictures, axis=1), plot(results.chart)], axis=0)
    height = max(len(page), len(column))
    padded = [
        np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=part[-1, -1, 0])
        for part in (page, column)
    ]
    Image.fromarray(np.concatenate(padded, axis=1)).save(folder / "4d-study.png", optimize=True)
    module.widget.closePages()


def _study():
    """The sequence with its browser, and the nodules of its reference frame."""
    import slicer
    from panel.support import FLIP, addStudy

    from GLIDERegLib.evaluation.phantom import make_phantom

    frames = []
    for phase, share in PHASES.items():
        phantom = make_phantom(SIZE, (SPACING,) * 3, 18.0 * share)
        frames.append(
            slicer.util.addVolumeFromArray(
                phantom.moving.array, ijkToRAS=FLIP @ phantom.moving.grid.matrix, name=f"Phase {phase}"
            )
        )
        if share == 0.0:
            frames[-1].SetName("End-exhale")
        frames[-1].GetDisplayNode().SetAutoWindowLevel(False)
        frames[-1].GetDisplayNode().SetWindowLevel(1400, -500)
        if share == 0.0:
            points, labels = phantom.moving_nodules @ FLIP[:3, :3], phantom.nodule_labels
    nodules = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Nodules")
    for point, label in zip(points, labels, strict=True):
        nodules.AddControlPoint(point.tolist(), str(label))
    return addStudy(frames, tuple(PHASES)), nodules


def plot(chart):
    """A chart node drawn by VTK, as Slicer's plot view draws it, as a picture."""
    import numpy as np
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    context, drawn = vtk.vtkContextView(), vtk.vtkChartXY()
    window = context.GetRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(*PLOT)
    window.SetMultiSamples(0)
    context.GetRenderer().SetBackground(1, 1, 1)
    context.GetScene().AddItem(drawn)
    for n in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(n)
        line = drawn.AddPlot(vtk.vtkChart.LINE)
        line.SetInputData(series.GetTableNode().GetTable(), series.GetXColumnName(), series.GetYColumnName())
        line.SetColorF(*series.GetColor())
        line.SetWidth(2)
        line.SetMarkerStyle(vtk.vtkPlotPoints.CIRCLE)
        line.SetLabel(series.GetName())
    drawn.SetTitle(chart.GetTitle())
    drawn.SetShowLegend(True)
    # Where the reference is, and the lines are low.
    drawn.GetLegend().SetHorizontalAlignment(vtk.vtkChartLegend.CENTER)
    drawn.GetAxis(vtk.vtkAxis.BOTTOM).SetTitle(chart.GetXAxisTitle())
    drawn.GetAxis(vtk.vtkAxis.LEFT).SetTitle(chart.GetYAxisTitle())
    window.Render()
    picture = vtk.vtkWindowToImageFilter()
    picture.SetInput(window)
    picture.Update()
    image = picture.GetOutput()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(PLOT[1], PLOT[0], -1)
    return np.ascontiguousarray(array[::-1, :, :3])


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
