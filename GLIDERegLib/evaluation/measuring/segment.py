"""Which voxels are the nodule: growing from the click, cut from the chest wall and from vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.geometry import triple
from GLIDERegLib.evaluation.measuring.patch import Patch
from GLIDERegLib.evaluation.measuring.scanner import blur_mm
from GLIDERegLib.evaluation.measuring.surroundings import SMOOTH_MM, Surroundings

# Half the contrast of pure ground glass to the lung around it, a quarter of that of part-solid to solid.
GROUND_GLASS_STEP_HU = 110.0
LEAST_CONTRAST_HU = 90.0
# Above this mean level the middle of a nodule is solid tissue, blurred or not.
SOLID_CORE_HU = -300.0
CLICK_MM, NEAR_MM = 1.0, 3.0
LEAST_OPENING_MM = 0.8


@dataclass(frozen=True)
class Recipe:
    """What repeated segmentations vary. level: share of the contrast at which the boundary lies. opening:
    radius of the ball that cuts vessels, as a share of the nodule's own. shift: of the click, fine voxels.
    """

    level: float = 0.5
    opening: float = 0.5
    shift: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Region:
    """core: the nodule at half its own contrast, bool, fine. whole: all that ground glass may reach, None
    where the nodule itself is no denser. core_dense, whole_dense: all that is connected, vessels too.
    """

    core: np.ndarray
    core_dense: np.ndarray
    whole: np.ndarray | None = None
    whole_dense: np.ndarray | None = None


def segment(patch: Patch, around: Surroundings, recipe: Recipe) -> Region | str:
    """The nodule at the click, or why there is none."""
    seed = _seed(patch, around, recipe)
    inside = around.wall_mm > 0
    if seed is None and not inside[patch.seed]:
        return "this place is in the chest wall or the mediastinum"
    if seed is None:
        return "nothing here is denser than the lung around it"
    peak = _level_at(around.smooth, seed, patch.fine_mm)
    contrast = peak - around.lung_hu
    faint = around.lung_hu + min(GROUND_GLASS_STEP_HU * recipe.level / 0.5, recipe.level * contrast)
    dense = inside & (around.smooth > faint)
    # Solid vessels are that much wider where they are cut at an eighth of their height.
    wider = 1.15 * float(np.hypot(blur_mm(patch).mean(), SMOOTH_MM))
    whole = _blob(dense, ~inside, seed, patch.fine_mm, recipe, wider)
    if isinstance(whole, str):
        return whole
    core_hu = _core_level(around.smooth, whole, patch.fine_mm, peak)
    level = around.lung_hu + recipe.level * (core_hu - around.lung_hu)
    denser = inside & (around.smooth > level)
    start = seed if denser[seed] else _nearest(denser & whole, seed, patch.fine_mm)
    mixed = core_hu >= SOLID_CORE_HU
    core = _blob(denser, ~inside, start, patch.fine_mm, recipe, 0.0 if mixed else wider)
    if isinstance(core, str):
        return core
    return Region(core, denser, whole | core, dense) if mixed else Region(core, denser)


def _seed(patch: Patch, around: Surroundings, recipe: Recipe) -> tuple[int, int, int] | None:
    """The click, or the densest place near it where the click itself missed."""
    seed = np.clip(np.add(patch.seed, recipe.shift), 0, np.subtract(patch.image.shape, 1))
    limit = around.lung_hu + LEAST_CONTRAST_HU
    if around.smooth[tuple(seed)] > limit and around.wall_mm[tuple(seed)] > 0:
        return triple(seed)
    reach = np.ceil(NEAR_MM / patch.fine_mm).astype(int)
    box = tuple(slice(max(s - r, 0), s + r + 1) for s, r in zip(seed, reach, strict=True))
    near = np.where(around.wall_mm[box] > 0, around.smooth[box], -np.inf)
    best = np.unravel_index(np.argmax(near), near.shape)
    if near[best] <= limit:
        return None
    return triple(int(b) + part.start for b, part in zip(best, box, strict=True))


def _blob(
    dense: np.ndarray,
    wall: np.ndarray,
    seed: tuple[int, ...],
    fine_mm: np.ndarray,
    recipe: Recipe,
    wider: float,
) -> np.ndarray | str:
    """What is round around a seed, without the thinner things that it is connected to.

    wall: tissue behind, so that a nodule on it is not taken for a thin thing. wider: mm by which vessels look
    wider than they are.
    """
    depth = np.where(wall, 0, ndimage.distance_transform_edt(dense | wall, fine_mm))
    seed = _uphill(depth, seed)
    radius = depth[seed]
    opening = max(LEAST_OPENING_MM, recipe.opening * (radius - wider) + wider)
    if radius <= opening:
        return "it is too small for these voxels"
    labels, _ = ndimage.label(depth > opening)
    inner = labels == labels[seed]
    opened = ndimage.distance_transform_edt(~inner, fine_mm) <= opening
    return opened & dense


def _uphill(depth: np.ndarray, seed: tuple[int, ...]) -> tuple[int, int, int]:
    """The local maximum of a distance map that a seed climbs to."""
    at = triple(seed)
    while True:
        box = tuple(slice(max(s - 2, 0), s + 3) for s in at)
        best = np.unravel_index(np.argmax(depth[box]), depth[box].shape)
        higher = triple(int(b) + part.start for b, part in zip(best, box, strict=True))
        if depth[higher] <= depth[at]:
            return at
        at = higher


def _level_at(smooth: np.ndarray, seed: tuple[int, ...], fine_mm: np.ndarray) -> float:
    reach = np.maximum(np.rint(CLICK_MM / fine_mm).astype(int), 1)
    box = tuple(slice(max(s - r, 0), s + r + 1) for s, r in zip(seed, reach, strict=True))
    return float(np.percentile(smooth[box], 75))


def _core_level(smooth: np.ndarray, whole: np.ndarray, fine_mm: np.ndarray, peak: float) -> float:
    """The level of the densest eighth of a nodule's deeper half."""
    depth = ndimage.distance_transform_edt(whole, fine_mm)
    deep = smooth[depth >= 0.5 * depth.max()]
    return max(float(np.percentile(deep, 87)), peak)


def _nearest(mask: np.ndarray, seed: tuple[int, ...], fine_mm: np.ndarray) -> tuple[int, ...]:
    if not mask.any():
        return seed
    places = np.argwhere(mask)
    return tuple(places[np.argmin(np.sum(((places - seed) * fine_mm) ** 2, axis=1))].tolist())
