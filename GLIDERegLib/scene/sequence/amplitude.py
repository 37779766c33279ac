"""The amplitude of nodules and lungs over the frames of a registered sequence, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
import vtk

from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.evaluation.amplitude import AXES, amplitude, region_amplitude
from GLIDERegLib.scene.mrml.geometry import mapPoints
from GLIDERegLib.scene.mrml.sampling import bodyOf, quietVtk, sampling, valuesAt
from GLIDERegLib.scene.registration.checks import looksLikeCt
from GLIDERegLib.scene.review.nodules import PropagatedPoint
from GLIDERegLib.scene.review.table import setColumns

LUNGS = "Lungs, 95 %"
HEADERS = ("Place", *(f"{axis} (mm)" for axis in AXES), "3D (mm)", "Frames")
# The threshold of Hu, Hoffman and Reinhardt (IEEE Trans Med Imaging 20:490, 2001) is about -550 HU.
LUNG_HU = -500.0
# A smaller piece of air in the body is bowel gas or an airway.
LEAST_LITRES = 0.15
DESCRIPTION = (
    "Peak to peak over the frames that were registered: left-right, anterior-posterior, superior-inferior, "
    "and between the two frames that are farthest apart; of the lungs, what 95 % of the places do not "
    "exceed. For checking by eye."
)


def lungPoints(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Places (N, 3) in the lungs of a CT, about 4 mm apart, world RAS mm; none where the volume is no CT."""
    from scipy import ndimage

    if not looksLikeCt(volume):
        return np.zeros((0, 3))
    samples = sampling(volume)
    values = valuesAt(volume, samples.index(), AIR_HU).reshape(samples.shape)
    air, _ = ndimage.label(bodyOf(samples) & (values < LUNG_HU))
    litres = np.bincount(air.ravel()) * np.prod(samples.spacing) / 1e6
    large = np.flatnonzero(litres >= LEAST_LITRES)
    return samples.points()[np.isin(air, large[large > 0]).ravel()]


def makeAmplitude(
    name: str,
    reference: slicer.vtkMRMLScalarVolumeNode,
    fields: Sequence[vtk.vtkAbstractTransform],
    points: Mapping[int, Sequence[PropagatedPoint]],
) -> slicer.vtkMRMLTableNode | None:
    """A new table: a row for each nodule and one for the lungs. None where there is neither.

    fields: from the reference to each frame, that of the reference itself included. points: the nodules by
    the number of the frame, the same ones in each; a frame whose field does not reach a nodule is not counted
    for it.
    """
    labels, rows = [], []
    if tracks := list(points.values()):
        places = np.array([[p.result if p.insideField else (np.nan,) * 3 for p in track] for track in tracks])
        places = places.reshape(len(tracks), -1, 3)
        labels = [point.label for point in tracks[0]]
        counted = np.isfinite(places).all(axis=2).sum(axis=0)
        rows = [[*row, count] for row, count in zip(amplitude(places), counted, strict=True)]
    lungs = lungPoints(reference)
    if len(lungs):
        with quietVtk():
            moved = np.array([mapPoints(field, lungs) for field in fields], np.float32)
        labels.append(LUNGS)
        rows.append([*region_amplitude(moved), len(fields)])
    if not rows:
        return None
    scene = reference.GetScene()
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    numbers = [[round(float(value), 2) for value in column] for column in zip(*rows, strict=True)]
    setColumns(table, list(zip(HEADERS, [labels, *numbers], strict=True)), set(HEADERS[1:]))
    table.SetDescription(DESCRIPTION)
    return table
