"""How far a transform is from a known one, by region, and whether its field is as smooth as the true one."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.evaluate import displacement_on
from GLIDERegLib.evaluation.landmarks.names import PLEURA_MM
from GLIDERegLib.evaluation.metrics import jacobian_statistics, target_registration_error
from GLIDERegLib.registration.field import jacobian_determinant
from GLIDERegLib.transforms.points import map_points

TRUTH_VOXELS = 20_000
# Kabus et al. (MICCAI 2009) found errors three times as high near the pleura; they told of its last
# centimetre.
# The known-truth fields that come as files have nodes 3 to 4 mm apart; finer differences are interpolation.
JACOBIAN_MM = 4.0


def regions_of(grid: Grid, scored: np.ndarray, lungs: np.ndarray | None) -> dict[str, np.ndarray]:
    """Bool masks (z, y, x) by name: body, and where the lungs are known lungs and pleura (their last 10 mm).

    scored: where the truth may be judged.
    """
    regions = {"body": scored}
    if lungs is not None:
        depth = ndimage.distance_transform_edt(lungs, sampling=grid.spacing[::-1])
        regions |= {"lungs": scored & lungs, "pleura": scored & lungs & (depth <= PLEURA_MM)}
    return {name: inside for name, inside in regions.items() if inside.any()}


def truth_error(
    transform: sitk.Transform, truth: sitk.Transform, grid: Grid, inside: np.ndarray
) -> dict[str, dict]:
    """Distances in mm between where two transforms (fixed to moving points, LPS mm) map voxels of a region.

    A summary for the identity ("initial") and for the transform ("final"), at up to 20,000 voxels of the bool
    mask (z, y, x), the same at every call.
    """
    voxels = np.flatnonzero(inside)
    chosen = np.random.default_rng(0).choice(voxels, min(TRUTH_VOXELS, len(voxels)), replace=False)
    points = grid.to_physical(np.stack(np.unravel_index(chosen, inside.shape), axis=-1)[:, ::-1])
    goal = map_points(truth, points)
    return {
        name: target_registration_error(mapped, goal)[1]
        for name, mapped in (("initial", points), ("final", map_points(transform, points)))
    }


class Smoothness:
    """The standard deviation of the log-Jacobian of the truth by region, to hold a found field against.

    Both fields are read on one grid of 4 mm, so that both lose the same detail.
    """

    def __init__(self, truth: sitk.Transform, grid: Grid, regions: dict[str, np.ndarray]):
        self._grid = grid.resized((JACOBIAN_MM,) * 3)
        at = np.indices(self._grid.shape).reshape(3, -1).T[:, ::-1]
        index = np.rint(grid.to_index(self._grid.to_physical(at))).astype(int)
        index = np.clip(index, 0, np.asarray(grid.size) - 1)
        self._regions = {
            name: inside[index[:, 2], index[:, 1], index[:, 0]].reshape(self._grid.shape)
            for name, inside in regions.items()
        }
        self._regions = {name: inside for name, inside in self._regions.items() if inside.any()}
        self._truth = self._of(truth)

    def __call__(self, transform: sitk.Transform) -> dict[str, dict[str, float]]:
        """By region: std_log of the transform, and truth_std_log."""
        found = self._of(transform)
        return {name: {"std_log": found[name], "truth_std_log": self._truth[name]} for name in self._regions}

    def _of(self, transform: sitk.Transform) -> dict[str, float | None]:
        determinant = jacobian_determinant(displacement_on(transform, self._grid), self._grid)
        return {
            name: jacobian_statistics(determinant, inside)["std_log"]
            for name, inside in self._regions.items()
        }
