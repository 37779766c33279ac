"""A pair of chest CT volumes whose true displacement is known at every point.

The anatomy is a function of points in the fixed space. The fixed image samples it at its voxels x, the moving
image at phi^-1(y) of its voxels y, phi(x) = x + u(x), so both are exact and neither is a resampled copy of
the other. The fixed image is breathed out, the moving one breathed in: the diaphragm goes down, the front of
the chest goes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume, triple
from GLIDERegLib.evaluation.breathing import Breathing
from GLIDERegLib.evaluation.thorax import Capsules, Thorax

LABELS = {
    1: "lung_left",
    2: "lung_right",
    3: "heart",
    4: "skeleton",
    5: "liver",
    6: "airway",
    7: "lung_vessels",
    8: "nodules",
}
# Choices: the noise of a low-dose scan of 1 to 2 mm slices; Lung250M marks as many landmarks a pair.
NOISE_HU = 25.0
NUMBER_OF_LANDMARKS = 300
# Slices at a time, for memory's sake.
SLAB = 8


@dataclass(frozen=True)
class Phantom:
    """Two volumes and the truth between them.

    Points (N, 3) are LPS mm; row n of a fixed array corresponds to row n of the moving one. Volumes hold
    Hounsfield units (int16), label volumes the keys of `LABELS` (uint8).
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume
    moving_labels: Volume
    fixed_landmarks: np.ndarray
    moving_landmarks: np.ndarray
    fixed_nodules: np.ndarray
    moving_nodules: np.ndarray
    nodule_labels: tuple[str, ...]
    deformation: Breathing

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """Exact displacement u (..., 3) in mm at fixed points (..., 3); fixed point + u = moving point."""
        return self.deformation.displacement(points)


def make_phantom(
    size: tuple[int, int, int] = (192, 192, 160),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    amplitude_mm: float = 20.0,
    seed: int = 0,
    shift_mm: tuple[float, float, float] = (0, 0, 0),
    nodule_growth: float | Sequence[float] | None = None,
) -> Phantom:
    """Generate a pair of chest CT volumes with known truth.

    size, spacing: voxels and mm along x, y, z of both images. The chest always measures about 330 x 230 x
    300 mm; a smaller field of view crops it. amplitude_mm: largest displacement by breathing, 0 to 40 mm
    (no folding). seed: another patient, another breath and other scanner noise. shift_mm: the moving scan's
    coordinate frame, its origin included, is displaced by this much. nodule_growth: nodules are rigid balls
    whose volume grew by this share (one for all, or one each) from the moving scan to the fixed one; by
    default they breathe, too.

    Raises InputError for an amplitude or a size out of range.
    """
    if not 0 <= amplitude_mm <= 40:
        raise InputError(
            f"The phantom's amplitude must lie between 0 and 40 mm, not {amplitude_mm}.", code="setting"
        )
    if min(size) < 8 or min(spacing) <= 0:
        raise InputError(f"The phantom needs at least 8 voxels along each axis, not {size}.", code="setting")
    x, y, z = spacing
    size, spacing = triple(size), (float(x), float(y), float(z))
    origin = -(np.asarray(size) - 1) / 2 * np.asarray(spacing)
    fixed_grid = Grid(size, spacing, tuple(origin.tolist()))
    moving_grid = Grid(size, spacing, tuple((origin + np.asarray(shift_mm)).tolist()))
    thorax = Thorax(seed)
    rest, deformation = Breathing(0.0, (0, 0, 0), seed), Breathing(amplitude_mm, shift_mm, seed)
    # Breathing in thins the parenchyma; 0.6 % per mm gives about 30 HU at 20 mm.
    density = 1 - 0.006 * amplitude_mm
    earlier = None
    if nodule_growth is not None:
        earlier = thorax.nodule_radii / (1 + np.asarray(nodule_growth, float)) ** (1 / 3)
    fixed, fixed_labels = _scan(thorax, rest, fixed_grid, 1.0, (seed, 3), "fixed")
    moving, moving_labels = _scan(thorax, deformation, moving_grid, density, (seed, 4), "moving", earlier)
    landmarks = _landmarks(thorax, deformation, fixed_grid, moving_grid, np.random.default_rng([seed, 5]))
    nodules = thorax.nodules
    seen = _visible(nodules, deformation, fixed_grid, moving_grid, 0.0)
    return Phantom(
        fixed,
        moving,
        fixed_labels,
        moving_labels,
        landmarks,
        landmarks + deformation.displacement(landmarks),
        nodules[seen],
        nodules[seen] + deformation.displacement(nodules[seen]),
        tuple(f"nodule {n + 1}" for n in np.flatnonzero(seen)),
        deformation,
    )


def _scan(thorax, deformation, grid, lung_density, noise_seed, name, radii=None) -> tuple[Volume, Volume]:
    """One CT scan and its labels: the anatomy at phi^-1 of every voxel, with the scanner's noise.

    radii: of nodules that stay balls, where phi takes their centres.
    """
    source = deformation.inverse_on(grid)
    edge = float(np.prod(grid.spacing) ** (1 / 3))
    airway = Capsules.join([tree.capsules for tree in thorax.airways])
    sets = {
        "rib": thorax.ribs,
        "vessel": Capsules.join([tree.capsules for tree in thorax.vessels]),
        "great": thorax.great_vessels,
        "portal": thorax.liver_vessels.capsules,
        "nodule": Capsules(thorax.nodules, thorax.nodules, thorax.nodule_radii, thorax.nodule_radii),
        "wall": airway.wider(1.2),
        "lumen": airway,
    }
    tubes = {key: _paint(capsules, source, grid, deformation, edge) for key, capsules in sets.items()}
    if radii is not None:
        centres = thorax.nodules + deformation.displacement(thorax.nodules)
        balls = Capsules(centres, centres, radii, radii)
        still = Breathing(0.0, (0, 0, 0), 0)
        tubes["nodule"] = _paint(balls, grid.points().astype(np.float32), grid, still, edge)
    hu = np.empty(grid.shape, np.float32)
    labels = np.zeros(grid.shape, np.uint8)
    for k in range(0, grid.shape[0], SLAB):
        slab = slice(k, k + SLAB)
        points = np.ascontiguousarray(source[slab].reshape(-1, 3).T)
        share = {key: value[slab].reshape(-1) for key, value in tubes.items()}
        values, marks = _compose(thorax, points, share, edge, lung_density)
        hu[slab], labels[slab] = values.reshape(hu[slab].shape), marks.reshape(hu[slab].shape)
    noise = np.random.default_rng(noise_seed).standard_normal(grid.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, 0.6, mode="wrap")
    hu += noise * (NOISE_HU / noise.std())
    hu = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return Volume(hu, grid, name), Volume(labels, grid, f"{name} labels")


def _compose(thorax, points, share, edge, lung_density) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and labels at fixed points (3, N) from the tissue and the shares of the tubes."""
    organ = thorax.organs(points)
    hu, lungs = thorax.tissue(points, organ, edge, lung_density)
    in_lung = lungs.max(axis=0)
    cavity = np.clip(0.5 + organ["cavity"] / edge, 0, 1)
    vessel, liver_vessel = share["vessel"] * in_lung, share["portal"] * np.clip(organ["liver"] / edge, 0, 1)
    nodule = share["nodule"] * in_lung
    body = np.clip(organ["body"] / edge, 0, 1)
    for value, part in (
        (170, share["great"] * cavity),
        (70, vessel),
        (210, liver_vessel),
        (-300, share["wall"] * body * (organ["heart"] < 0)),
        (-985, share["lumen"] * body * (organ["heart"] < 0)),
        (45, nodule),
        (420, share["rib"] * body),
    ):
        hu += part * (value - hu)
    labels = np.zeros(hu.shape, np.uint8)
    for key, inside in (
        (1, lungs[0] > 0.5),
        (2, lungs[1] > 0.5),
        (5, organ["liver"] > 0),
        (3, organ["heart"] > 0),
        (7, vessel > 0.5),
        (6, (share["lumen"] > 0.5) & (organ["heart"] < 0)),
        (8, nodule > 0.5),
        (4, (organ["spine"] > 0) | (share["rib"] > 0.5)),
    ):
        labels[inside] = key
    return hu, labels


def _paint(tubes: Capsules, source, grid: Grid, deformation: Breathing, edge: float) -> np.ndarray:
    """Share (z, y, x) of each voxel that lies in the tubes.

    Distances are measured in the fixed space, so the tubes bend with the tissue. A tube thinner than a voxel
    keeps the area of its cross-section by a smaller share.
    """
    share = np.zeros(grid.shape, np.float32)
    ends = np.stack([tubes.start, tubes.end])
    index = grid.to_index(ends + deformation.displacement(ends))
    radius = np.maximum(tubes.start_radius, tubes.end_radius)
    # The tube may bow out of the box around its moved ends.
    margin = (1.4 * radius + edge + 0.12 * np.linalg.norm(tubes.end - tubes.start, axis=1))[:, None]
    low = np.floor(index.min(axis=0) - margin / grid.spacing).astype(int)
    high = np.ceil(index.max(axis=0) + margin / grid.spacing).astype(int) + 1
    low, high = np.clip(low, 0, grid.size), np.clip(high, 0, grid.size)
    starts, axes = tubes.start.astype(np.float32), (tubes.end - tubes.start).astype(np.float32)
    for n in np.flatnonzero((low < high).all(axis=1)):
        box = tuple(map(slice, low[n, ::-1].tolist(), high[n, ::-1].tolist()))
        axis = axes[n]
        offset = source[box] - starts[n]
        length = max(float(axis @ axis), 1e-6)
        along = np.minimum(np.maximum(offset @ axis / length, 0), 1)
        offset -= along[..., None] * axis
        offset *= offset
        apart = np.sqrt(offset.sum(axis=-1))
        tube = tubes.start_radius[n] + along * (tubes.end_radius[n] - tubes.start_radius[n])
        drawn = np.maximum(tube, edge / 2)
        part = np.minimum(np.maximum(0.5 + (drawn - apart) / edge, 0), 1) * (tube / drawn) ** 2
        np.maximum(share[box], part, out=share[box], casting="same_kind")
    return share


def _landmarks(thorax, deformation, fixed_grid, moving_grid, rng) -> np.ndarray:
    """Fixed points (N, 3) that can be found again: branchings of vessels and airways, mostly in the lungs."""
    lung_candidates = np.concatenate([t.branchings[t.branching_radii > 1.1] for t in thorax.vessels])
    organ = thorax.organs(lung_candidates.T)
    lung_candidates = lung_candidates[np.maximum(organ["lung_left"], organ["lung_right"]) > 4]
    airway = np.concatenate([t.branchings[t.branching_radii > 2] for t in thorax.airways])
    liver = thorax.liver_vessels.branchings
    liver = liver[thorax.organs(liver.T)["liver"] > 5]
    chosen: list[np.ndarray] = []
    for candidates, number in ((airway, 20), (liver, 20), (lung_candidates, NUMBER_OF_LANDMARKS)):
        seen = candidates[_visible(candidates, deformation, fixed_grid, moving_grid, 8.0)]
        limit = min(len(chosen) + number, NUMBER_OF_LANDMARKS)
        for point in rng.permutation(seen):
            if len(chosen) == limit:
                break
            if not chosen or np.linalg.norm(np.array(chosen) - point, axis=1).min() > 5:
                chosen.append(point)
    return np.array(chosen).reshape(-1, 3)


def _visible(points, deformation, fixed_grid, moving_grid, margin_mm) -> np.ndarray:
    """True where a fixed point and its moving point lie inside both images, this far from their faces."""
    inside = np.ones(len(points), bool)
    for grid, where in ((fixed_grid, points), (moving_grid, points + deformation.displacement(points))):
        depth = np.minimum(grid.to_index(where) + 0.5, np.asarray(grid.size) - 0.5 - grid.to_index(where))
        inside &= (depth * grid.spacing > margin_mm).all(axis=1)
    return inside
