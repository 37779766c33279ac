"""What a transform does to the samples of the fixed scan: how far it moves them, how it stretches their
surroundings, whether another leads them back, and what intensities meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer.util
import vtk

from GLIDERegLib.core.ct import AIR_HU, AIR_LEVEL_HU, BELOW_TISSUE_HU
from GLIDERegLib.scene.mrml.geometry import mapPoints
from GLIDERegLib.scene.mrml.sampling import Sampling, bodyOf, quietVtk, sampling, valuesAt
from GLIDERegLib.scene.registration.checks import looksLikeCt
from GLIDERegLib.scene.registration.pair import Pair

# mm to either side at which the transform is looked at for its derivative.
STEP_MM = 0.5
# What both scans must be below to be lung, its vessels apart, at samples 4 mm wide.
LUNG_HU = BELOW_TISSUE_HU


@dataclass(frozen=True)
class Measures:
    """Float32 arrays (k, j, i) over the samples of the fixed scan.

    displacement: mm. jacobian: determinant of the map from fixed to moving points, 1 where volume is kept,
    above where the moving scan is larger, not positive where it folds. consistency: mm between a sample and
    where an independent transform leads it back to, None without one. fixed, before and after: intensities of
    the fixed scan, and of the moving one at the same place and at the mapped one; CT values below -1024 HU
    count as that. body: bool. isCt: whether both scans are in HU.
    """

    sampling: Sampling
    displacement: np.ndarray
    jacobian: np.ndarray
    consistency: np.ndarray | None
    fixed: np.ndarray
    before: np.ndarray
    after: np.ndarray
    body: np.ndarray
    isCt: bool = True

    @property
    def difference(self) -> np.ndarray:
        """Fixed minus warped intensity."""
        return self.fixed - self.after

    @property
    def densityDifference(self) -> np.ndarray | None:
        """Fixed minus warped intensity (HU), the warped lung with the density that it would have at the fixed
        scan's volume; None where a scan is not CT, for its numbers are no densities.

        Tissue keeps its mass: the density of a voxel of air and tissue, HU + 1000, scales with the Jacobian
        determinant J, so (warped + 1000) J - 1000 is what is to be compared (Yin, Hoffman and Lin, Med Phys
        36:4213, 2009; Gorbunova et al., Med Image Anal 16:786, 2012). Outside the lungs, where tissue does
        not give way, and where the field folds, it is the plain difference.
        """
        if not self.isCt:
            return None
        lung = self.body & (self.fixed < LUNG_HU) & (self.after < LUNG_HU) & (self.jacobian > 0)
        kept = (self.after - AIR_LEVEL_HU) * self.jacobian + AIR_LEVEL_HU
        return self.fixed - np.where(lung, kept, self.after)


def measure(pair: Pair) -> Measures:
    """All measures, at samples about 4 mm apart; some seconds for a CT of the chest."""
    samples = sampling(pair.fixed)
    shape, points, toMoving = samples.shape, samples.points(), pair.toMoving()
    with quietVtk():
        mapped = mapPoints(toMoving, points)
        # The way back through a computed inverse would say nothing: it is 0 for any field.
        returned = None if pair.back is None else mapPoints(pair.returning(), mapped)
        determinant = jacobianDeterminant(toMoving, points)

    isCt = looksLikeCt(pair.fixed) and looksLikeCt(pair.moving)
    lowest = AIR_HU if isCt else -np.inf
    fill = max(lowest, float(slicer.util.arrayFromVolume(pair.moving).min()))

    def intensities(volume, index: np.ndarray) -> np.ndarray:
        return np.maximum(valuesAt(volume, index, fill), np.float32(lowest)).reshape(shape)

    fixed = intensities(pair.fixed, samples.index())
    return Measures(
        samples,
        _lengths(mapped - points).reshape(shape),
        determinant.reshape(shape).astype(np.float32),
        None if returned is None else _lengths(returned - points).reshape(shape),
        fixed,
        intensities(pair.moving, pair.movingIndex(points)),
        intensities(pair.moving, pair.movingIndex(mapped)),
        bodyOf(samples),
        isCt,
    )


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1).astype(np.float32)


def jacobianDeterminant(transform: vtk.vtkAbstractTransform, points: np.ndarray) -> np.ndarray:
    """Determinant (N,) of a map's derivative at points (N, 3), by central differences over 1 mm.

    The differences are that short, whatever the distance between the points, because a fold may be small.
    """
    columns = []
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = STEP_MM
        columns.append(
            (mapPoints(transform, points + step) - mapPoints(transform, points - step)) / (2 * STEP_MM)
        )
    return np.einsum("ni,ni->n", columns[0], np.cross(columns[1], columns[2]))
