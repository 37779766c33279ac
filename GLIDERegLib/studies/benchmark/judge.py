"""How good a method's transform is on one case: in the scans as they were given, by one code for all."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.body import Body
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.evaluate import displacement_on, evaluate_transform
from GLIDERegLib.evaluation.metrics import jacobian_statistics, target_registration_error
from GLIDERegLib.files.points import read_points
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_labels, read_mask, read_volume
from GLIDERegLib.registration.field import jacobian_determinant
from GLIDERegLib.studies.benchmark.truth import Smoothness, regions_of, truth_error
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.transforms.points import map_points

SLAB = 32


class Judge:
    """Holds what one case is judged by, read once for all methods.

    Raises InputError for points, labels, masks or a truth that cannot be used.
    """

    def __init__(self, case: Case):
        self.fixed, self.moving = read_volume(case.fixed, "fixed"), read_volume(case.moving, "moving")
        self.points = [read_points(p) if p else None for p in (case.fixed_points, case.moving_points)]
        self.labels = [
            Volume(read_labels(path, image.grid, role), image.grid, f"{role} labels") if path else None
            for path, image, role in (
                (case.fixed_labels, self.fixed, "fixed"),
                (case.moving_labels, self.moving, "moving"),
            )
        ]
        mask = read_mask(case.fixed_mask, self.fixed.grid, "fixed") if case.fixed_mask else None
        self.mask = None if mask is None else Volume(mask, self.fixed.grid, "mask")
        self.snaps = case.snap_to_voxels
        self.truth = read_transform(case.truth) if case.truth else None
        self.inside = mask if mask is not None else Body(self.fixed).on(self.fixed.grid)
        grid = self.fixed.grid
        scored = read_mask(case.scored, grid, "fixed") > 0 if case.scored else self.inside
        lungs = read_mask(case.lungs, grid, "fixed") > 0 if case.lungs else None
        if self.truth is not None:
            self.regions = regions_of(grid, scored, lungs)
            self.smoothness = Smoothness(self.truth, grid, self.regions)

    def __call__(self, transform: sitk.Transform) -> dict:
        """The report of `evaluate_transform`, and more, JSON-able; transform: fixed to moving points, LPS mm.

        jacobian: over every voxel of the mask or body at the fixed image's own resolution, on the raw
        determinant. truth_error: |T(x) - truth(x)| in mm at up to 20,000 voxels where the truth may be
        judged, the same for every method; truth_by_region: the same in the body, the lungs and near the
        pleura;
        log_jacobian: by region its standard deviation beside the truth's; these three only where the case has
        a truth. snapped_error: the landmark error after the propagated ones were moved to the nearest voxel
        centre of the moving scan, where the data set's published errors are measured so.
        """
        report = evaluate_transform(
            transform, self.fixed, self.moving, *self.points, *self.labels, mask=self.mask
        )
        report["jacobian"] = folding(transform, self.fixed.grid, self.inside)
        if self.snaps and "target_registration_error" in report:
            report["snapped_error"] = self._snapped_error(transform, report)
        if self.truth is not None:
            grid = self.fixed.grid
            report["truth_by_region"] = {
                name: truth_error(transform, self.truth, grid, inside)
                for name, inside in self.regions.items()
            }
            report["truth_error"] = report["truth_by_region"]["body"]
            report["log_jacobian"] = self.smoothness(transform)
        return report

    def _snapped_error(self, transform: sitk.Transform, report: dict) -> dict:
        start, goal = self._matched(report)
        return {
            name: target_registration_error(snap(map_points(t, start), self.moving.grid), goal)[1]
            for name, t in (("initial", sitk.Transform(3, sitk.sitkIdentity)), ("final", transform))
        }

    def _matched(self, report: dict) -> list[np.ndarray]:
        """Fixed and moving points (N, 3) in the order in which the report matched them."""
        if report["points"]["matched_by"] == "order":
            return [points.points for points in self.points]
        labels = [each["label"] for each in report["target_registration_error"]["each"]]
        return [points.points[[points.labels.index(label) for label in labels]] for points in self.points]


def snap(points: np.ndarray, grid: Grid) -> np.ndarray:
    """The voxel centres of a grid that are nearest to points (N, 3), LPS mm."""
    index = np.rint(grid.to_index(points))
    return grid.to_physical(np.clip(index, 0, np.asarray(grid.size) - 1))


def folding(transform: sitk.Transform, grid: Grid, inside: np.ndarray) -> dict:
    """`jacobian_statistics` of a transform over the voxels inside a region (z, y, x) of a grid."""
    found = []
    # Slabs with one slice of overlap: the whole field of a large scan need not fit in memory.
    for first in range(0, grid.shape[0], SLAB):
        last = min(first + SLAB, grid.shape[0])
        low, high = max(first - 1, 0), min(last + 1, grid.shape[0])
        origin = tuple(grid.to_physical(np.array([0, 0, low])).tolist())
        slab = Grid((*grid.size[:2], high - low), grid.spacing, origin, grid.direction)
        determinant = jacobian_determinant(displacement_on(transform, slab), slab)
        found.append(determinant[first - low : last - low][inside[first:last]])
    return jacobian_statistics(np.concatenate(found))
