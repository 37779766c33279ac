"""One nodule from one click in one original scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.measuring.diameters import axial_diameters
from GLIDERegLib.evaluation.measuring.interval import diameter_interval, volume_interval, wall_share
from GLIDERegLib.evaluation.measuring.measurement import (
    COULD_NOT_BE_TOLD,
    MEASURED,
    PART_SOLID,
    NoduleMeasurement,
)
from GLIDERegLib.evaluation.measuring.partial_volume import HALO_SHARE, Content, content
from GLIDERegLib.evaluation.measuring.patch import Patch, cut
from GLIDERegLib.evaluation.measuring.scanner import blur_mm
from GLIDERegLib.evaluation.measuring.segment import NEAR_MM, Recipe, segment
from GLIDERegLib.evaluation.measuring.surroundings import Surroundings, look_around

# Edge of the cube around a click: nodules are up to 30 mm by definition (Fleischner glossary, 2008).
CUBE_MM, LEAST_CUBE_MM = 40.0, 20.0
# Most nodules and what is needed around them fit into this; the cube is looked at only where they do not.
FIRST_MM, MARGIN_MM = 24.0, 5.0
# By which a reader moves the boundary outwards or inwards at a time; a choice.
STEP_MM = 0.35
# Distance from the wall, and share of the surface that a vessel takes, at which it touches; choices.
TOUCHING_MM, TOUCHING_SHARE = 1.0, 0.01
# A tube has one axis far longer than both others.
LONGEST_TO_MIDDLE = 2.5
# Standard deviation of the logarithm of the volumes that `REPEATS` find, beyond which none is told; a choice.
LARGEST_SPREAD = 0.15
# Ends of a volume's interval this many times apart: from half to twice the volume, so that no doubling shows.
WIDEST = 4.0
# In standard deviations of the blur: 2 % of a step's contrast is left there.
MIDDLE = 2.0
# Other thresholds, other balls, and clicks a little beside.
REPEATS = (
    Recipe(0.42, 0.5, (0, 1, 1)),
    Recipe(0.58, 0.5, (0, -1, 1)),
    Recipe(0.5, 0.4, (1, 1, -1)),
    Recipe(0.5, 0.62, (-1, -1, 0)),
)


def measure_nodule(
    volume: Volume, point_mm: Sequence[float] | np.ndarray, *, cube_mm: float = CUBE_MM, step: int = 0
) -> NoduleMeasurement:
    """The nodule at a point (LPS mm) of one original scan, segmented within a cube around it.

    Only ever of an original scan: a warp changes the size of what it bends. step: so many times
    STEP_MM larger than found (or smaller, negative), as a reader corrects it. Where the nodule cannot be told
    from what it touches, `status` says why and there is no number.

    Raises InputError where the values are not HU, and for a cube or a point that no scan can have.
    """
    point = np.asarray(point_mm, float)
    if point.shape != (3,) or not np.all(np.isfinite(point)):
        raise InputError(f"A nodule's position must be three numbers in mm, not {point_mm}.", code="points")
    if not cube_mm >= LEAST_CUBE_MM:
        raise InputError(
            f"The cube around a nodule must be at least {LEAST_CUBE_MM:g} mm, not {cube_mm:g}.",
            code="setting",
        )
    if not is_ct(volume):
        raise InputError(
            f"The values of the {volume.name} are not Hounsfield units, by which nodules are measured.",
            "Give the CT scan as it was reconstructed.",
            code="not-hounsfield",
        )
    found = _measured(volume, point, cube_mm, int(step))
    if isinstance(found, NoduleMeasurement):
        return found
    return NoduleMeasurement(tuple(point.tolist()), f"{COULD_NOT_BE_TOLD}: {found}", step=int(step))


def _measured(volume: Volume, point: np.ndarray, cube_mm: float, step: int) -> NoduleMeasurement | str:
    """The measurement, or why there is none."""
    if not volume.grid.contains(point):
        return "it lies outside the scan"
    patch = cut(volume, point, cube_mm)
    if min(patch.grid.size) < 3:
        return "the scan ends beside it"
    around = look_around(patch)
    if around is None:
        return "there is no lung around it"
    seen = _found(patch, around, cube_mm)
    if isinstance(seen, str):
        return seen
    patch, around, first = seen
    # A click in the wall or in a vessel climbs to what lies beside it, which nobody pointed at.
    if np.linalg.norm((np.argwhere(first.mask) - patch.seed) * patch.fine_mm, axis=1).min() > NEAR_MM:
        return f"what is denser than the lung lies more than {NEAR_MM:g} mm from this place"
    if patch.is_cut_off(first.mask):
        return "it ends where the scan was not measured, at the edge of the field of view"
    if _elongated(first.mask, patch.fine_mm):
        return "it is long and thin like a vessel"
    once = [first, *(_once(patch, around, recipe) for recipe in REPEATS)]
    found = _of_one_class(patch, around, once)
    nodule = found[0]
    if isinstance(nodule, str):
        return nodule
    volumes = [one.volume_mm3 for one in found if isinstance(one, Content)]
    if len(volumes) < 1 + len(REPEATS) / 2:
        return "with thresholds or clicks a little different nothing is found"
    spread = float(np.std(np.log(volumes)))
    if spread > LARGEST_SPREAD:
        apart = 100 * np.ptp(volumes) / nodule.volume_mm3
        return f"segmentations with other thresholds and clicks differ by {apart:.0f} %"
    scanned = replace(volume.acquisition, voxel_mm=volume.grid.upright().spacing, noise_hu=around.noise_hu)
    return _summary(patch, around, nodule, spread, point, step, scanned)


def _found(patch: Patch, around: Surroundings, cube_mm: float) -> tuple[Patch, Surroundings, Content] | str:
    """What is at the click, with the part of the patch that it needs; or why nothing is.

    Looked for close to the click first.
    """
    for reach in (min(FIRST_MM, cube_mm), cube_mm):
        box = patch.box(patch.seed, patch.seed, reach / 2)
        part, near = patch.part(box), around.part(box)
        found = _once(part, near, Recipe())
        if isinstance(found, str):
            return found
        places = np.argwhere(found.mask)
        low, high = places.min(axis=0), places.max(axis=0)
        if (low > 0).all() and (high < np.asarray(found.mask.shape) - 1).all():
            box = part.box(low, high, MARGIN_MM)
            part, near = part.part(box), near.part(box)
            found = _once(part, near, Recipe())
            return found if isinstance(found, str) else (part, near, found)
    return "it goes on into something as wide as itself, to the edge of the cube or of the scan"


def _once(
    patch: Patch, around: Surroundings, recipe: Recipe, part_solid: bool | None = None
) -> Content | str:
    region = segment(patch, around, recipe)
    return region if isinstance(region, str) else content(patch, around, region, part_solid)


def _of_one_class(patch: Patch, around: Surroundings, found: list[Content | str]) -> list[Content | str]:
    """What the usual recipe and REPEATS found, measured anew where some take for ground glass what most take
    for blur: repeats tell how sure the boundary is, not what the nodule is made of.
    """
    halos = [one.halo for one in found if isinstance(one, Content) and one.halo is not None]
    part_solid = bool(halos) and float(np.median(halos)) > HALO_SHARE

    def alike(recipe: Recipe, one: Content | str) -> Content | str:
        if isinstance(one, str) or one.halo is None or (one.attenuation == PART_SOLID) == part_solid:
            return one
        return _once(patch, around, recipe, part_solid)

    return [alike(recipe, one) for recipe, one in zip((Recipe(), *REPEATS), found, strict=True)]


def _summary(
    patch: Patch,
    around: Surroundings,
    found: Content,
    spread: float,
    point: np.ndarray,
    step: int,
    scanned: Acquisition,
) -> NoduleMeasurement | str:
    voxel = float(np.prod(patch.fine_mm))
    mask, volume = found.mask, found.volume_mm3
    if step:
        mask = _moved(mask, patch.fine_mm, step * STEP_MM)
        volume += float(mask.sum(dtype=float) - found.mask.sum(dtype=float)) * voxel
    if volume <= 0 or not mask.any():
        return f"nothing is left of it {-step} steps smaller"
    touches_vessel = found.attached > TOUCHING_SHARE
    at_wall = mask & (around.wall_mm < TOUCHING_MM)
    touches_pleura = bool(at_wall.any())
    second = around.wall.second
    if second is not None and (mask & (second < TOUCHING_MM)).any():
        return "it lies where two surfaces of the lung meet, and where both end beneath it cannot be seen"
    contact_mm2 = float(at_wall.sum(dtype=float)) * voxel / TOUCHING_MM
    contrast = found.level_hu - around.lung_hu
    wall = wall_share(contact_mm2, contrast, volume)
    low, high = volume_interval(patch, found, volume, spread, wall, contrast, around.wall.error_mm)
    if high > WIDEST * low:
        return (
            f"what is seen is anything from {low:.0f} to {high:.0f} mm³ (95 %), which would hide a doubling"
        )
    long, short = axial_diameters(mask, patch.fine_mm)
    mean_low, mean_high = diameter_interval(patch, (long + short) / 2, volume, (low, high), wall)
    center = patch.to_physical(np.argwhere(mask).mean(axis=0))
    return NoduleMeasurement(
        tuple(point.tolist()), MEASURED, volume, low, high, long, short, mean_low, mean_high,
        _middle_hu(patch, mask), found.attenuation, touches_vessel, touches_pleura,
        tuple(center.tolist()), patch.mask_on_scan(mask), step, scanned,
    )  # fmt: skip


def _middle_hu(patch: Patch, mask: np.ndarray) -> float | None:
    """Mean of the voxels that no blur of the boundary reaches; None where there are none."""
    middle = ndimage.distance_transform_edt(mask, patch.fine_mm / blur_mm(patch)) >= MIDDLE
    if middle.sum() < np.prod(patch.factors):
        return None
    return float(patch.image[middle].mean())


def _moved(mask: np.ndarray, fine_mm: np.ndarray, distance: float) -> np.ndarray:
    """A mask whose boundary lies that far outside (or inside, negative) of where it was."""
    outside = ndimage.distance_transform_edt(~mask, fine_mm)
    inside = ndimage.distance_transform_edt(mask, fine_mm)
    half = float(np.mean(fine_mm)) / 2
    return np.where(mask, half - inside, outside - half) <= distance


def _elongated(mask: np.ndarray, fine_mm: np.ndarray) -> bool:
    places = np.argwhere(mask) * fine_mm
    if len(places) < 8:
        return False
    _, middle, longest = np.sqrt(np.linalg.eigvalsh(np.cov(places.T)))
    return longest > LONGEST_TO_MIDDLE * middle
