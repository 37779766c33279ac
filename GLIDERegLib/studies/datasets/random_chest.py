"""A second generated chest, that shares nothing with `phantom.py` but the task.

There anatomy is a tree of capsules and the breath a formula; here both are random fields. Vessels run where
two band-passed fields vanish together, a set of curves without ends or order; parenchyma and soft tissue have
texture that moves with the tissue; the motion is the flow of a random stationary velocity, strongest at the
base, and the noise of the scanner is correlated within slices. Settings that were chosen on one are reported
on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume

LABELS = {1: "lung", 2: "bone", 3: "vessels"}
NUMBER_OF_POINTS = 300
POINTS_APART_MM = 8.0
BORDER_MM = 10.0  # of both images, that points keep off
# HU: air, parenchyma, vessels, soft tissue, fat, bone, within what radiology textbooks give for chest CT.
AIR, LUNG, VESSEL, TISSUE, FAT, BONE = -1000.0, -840.0, 40.0, 35.0, -95.0, 380.0
LUNG_TEXTURE, TISSUE_TEXTURE, NOISE = 35.0, 12.0, 18.0
VELOCITY_MM = 30.0  # width of the velocity's random part
FIELD_STEP = 2  # voxels between nodes of the motion
SQUARINGS = 6
INVERSION_STEPS = 60


@dataclass(frozen=True)
class RandomChest:
    """Two volumes in HU (int16), what is known of the fixed one, and the truth.

    labels: keys of `LABELS`; lungs: bool (z, y, x) with what is inside them. Points (N, 3) are LPS mm, row n
    of both corresponds. displacement: (z, y, x, 3) float32, mm, from fixed to moving points, on `truth_grid`.
    """

    fixed: Volume
    moving: Volume
    labels: Volume
    lungs: np.ndarray
    fixed_points: np.ndarray
    moving_points: np.ndarray
    displacement: np.ndarray
    truth_grid: Grid


def make_random_chest(
    size: tuple[int, int, int] = (176, 128, 152),
    spacing_mm: float = 2.0,
    amplitude_mm: float = 20.0,
    seed: int = 0,
) -> RandomChest:
    """Generates a pair. size: voxels along x, y, z; amplitude_mm: largest displacement in the lungs.

    Raises InputError for an amplitude beyond 40 mm, which could fold, or fewer than 32 voxels along an axis.
    """
    if not 0 <= amplitude_mm <= 40:
        raise InputError(f"The amplitude must lie between 0 and 40 mm, not {amplitude_mm}.", code="setting")
    if min(size) < 32:
        raise InputError(f"The chest needs at least 32 voxels along each axis, not {size}.", code="option")
    origin = tuple((-(np.asarray(size) - 1) / 2 * spacing_mm).tolist())
    grid = Grid(tuple(size), (spacing_mm,) * 3, origin)
    rng = np.random.default_rng([seed, 11])
    hu, lungs, labels = _anatomy(grid, rng)
    back = _motion(grid, lungs, amplitude_mm, rng)
    coefficients = np.stack([ndimage.spline_filter(part, order=3) for part in back])
    truth_grid = Grid(back.shape[:0:-1], (FIELD_STEP * spacing_mm,) * 3, grid.origin)
    nodes = FIELD_STEP * np.indices(back.shape[1:], dtype=np.float32)
    truth = np.ascontiguousarray(np.moveaxis(_inverse(coefficients, nodes, grid), 0, -1))
    moving = _seen_through(hu - 25.0 * lungs, coefficients, grid)
    moving = ndimage.gaussian_filter(moving, 0.45)
    scans = [
        Volume(np.clip(np.rint(values + _noise(grid.shape, rng)), -1024, 3071).astype(np.int16), grid, name)
        for name, values in (("fixed", hu), ("moving", moving))
    ]
    at = _structures(hu, lungs, grid)
    points = grid.to_physical(at[:, ::-1])
    moved = points + _inverse(coefficients, at.T.astype(np.float32), grid).T
    named = Volume(labels, grid, "fixed labels")
    return RandomChest(*scans, named, lungs, points, moved, truth, truth_grid)


def _field(shape: tuple[int, ...], width: float, rng) -> np.ndarray:
    """A smooth random field of unit variance; width: of its Gaussian, in voxels."""
    # Where it is wide a coarse one, read by cubic splines, is the same field for less.
    every = max(1, int(width // 3))
    coarse = rng.standard_normal([-(-n // every) + 4 for n in shape]).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, width / every)
    if every > 1:
        axes = np.meshgrid(*(np.arange(n) / every + 1 for n in shape), indexing="ij")
        coarse = ndimage.map_coordinates(coarse, axes, order=3, mode="nearest")
    else:
        coarse = coarse[tuple(slice(2, 2 + n) for n in shape)]
    return coarse / coarse.std()


def _anatomy(grid: Grid, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU (z, y, x) without noise, the lungs with what is inside them, and the labels."""
    shape, mm = grid.shape, grid.spacing[0]
    x, y, z = np.moveaxis(grid.points().astype(np.float32), -1, 0)
    lumps = _field(shape, 14 / mm, rng)
    # In mm to the surface, about: positive inside.
    trunk = 115 * (1 - (np.abs(x / 165) ** 2.6 + np.abs(y / 112) ** 2.6) ** (1 / 2.6)) + 2 * lumps
    base = (
        -85 + 28 * np.exp(-(((np.abs(x) - 75) / 55) ** 2) - (y / 70) ** 2) + 4 * _field(shape, 18 / mm, rng)
    )
    apart = np.sqrt(((np.abs(x) - 76) / 60) ** 2 + (y / 86) ** 2 + ((z - 10) / 130) ** 2)
    lungs = (apart + 0.05 * lumps < 1) & (z > base) & (trunk > 22)
    hu = np.full(shape, AIR, np.float32)
    inside = trunk > 0
    hu[inside] = FAT
    hu[trunk > 11] = TISSUE
    hu += np.where(trunk > 11, TISSUE_TEXTURE * _field(shape, 1.3, rng), 0)
    shell = (trunk > 13) & (trunk < 21) & (np.cos(2 * np.pi * (z + 0.35 * y) / 26 + 0.4 * lumps) > 0.35)
    spine = (x / 19) ** 2 + ((y - 80) / 19) ** 2 < 1 + 0.2 * lumps
    bone = (shell | spine) & ~lungs & inside
    hu[bone] = BONE + 40 * _field(shape, 1.5, rng)[bone]
    texture = _field(shape, 1.2, rng) - 0.5 * _field(shape, 3.0, rng)
    hu[lungs] = LUNG + (LUNG_TEXTURE * texture)[lungs] - 0.25 * y[lungs]
    vessels = np.zeros(shape, bool)
    # Width of the fields in mm, and how near to zero both are in a vessel: calibres of about 5, 3 and 2 mm.
    for width, near in ((22.0, 0.13), (13.0, 0.13), (8.0, 0.14)):
        a, b = _field(shape, width / mm, rng), _field(shape, width / mm, rng)
        vessels |= np.hypot(a, b) < near
    vessels &= lungs
    hu[vessels] = VESSEL
    labels = np.zeros(shape, np.uint8)
    for value, mask in ((1, lungs), (2, bone), (3, vessels)):
        labels[mask] = value
    return ndimage.gaussian_filter(hu, 0.6), lungs, labels


def _motion(grid: Grid, lungs: np.ndarray, amplitude_mm: float, rng) -> np.ndarray:
    """What defines the pair: displacement (3, Z, Y, X), x y z in mm, from moving to fixed points, at every
    second
    voxel: the flow of a stationary velocity.
    """
    coarse = tuple(-(-n // FIELD_STEP) + 1 for n in grid.shape)
    step = FIELD_STEP * grid.spacing[0]
    velocity = 0.45 * np.stack([_field(coarse, VELOCITY_MM / step, rng) for _ in range(3)])
    z = (np.arange(coarse[0]) * step + grid.origin[2])[:, None, None]
    # The base moves most, towards the head when going back from a breath taken in.
    velocity[2] += 2.2 * np.exp(-(((z + 75) / 75) ** 2))
    held = ndimage.gaussian_filter(ndimage.binary_dilation(lungs, iterations=6).astype(np.float32), 5)
    velocity *= 0.15 + held[::FIELD_STEP, ::FIELD_STEP, ::FIELD_STEP][_reach(coarse, grid.shape)]
    where = lungs[::FIELD_STEP, ::FIELD_STEP, ::FIELD_STEP][_reach(coarse, grid.shape)]
    scale = amplitude_mm / max(float(np.linalg.norm(velocity, axis=0)[where].max()), 1e-6)
    for _ in range(3):
        # The flow is not linear in the velocity.
        found = _flow(velocity * scale, step)
        scale *= amplitude_mm / max(float(np.linalg.norm(found, axis=0)[where].max()), 1e-6)
    return _flow(velocity * scale, step)


def _reach(coarse: tuple[int, ...], shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Indices that repeat the last sample of every second voxel up to a coarse shape."""
    return np.ix_(
        *(np.minimum(np.arange(n), -(-m // FIELD_STEP) - 1) for n, m in zip(coarse, shape, strict=True))
    )


def _flow(velocity: np.ndarray, step: float) -> np.ndarray:
    """Scaling and squaring (Arsigny et al., MICCAI 2006): the displacement (3, Z, Y, X) in mm after unit
    time."""
    u = velocity / 2**SQUARINGS
    index = np.indices(u.shape[1:], dtype=np.float32)
    for _ in range(SQUARINGS):
        at = index + u[::-1] / step
        u = u + np.stack([ndimage.map_coordinates(u[a], at, order=1, mode="nearest") for a in range(3)])
    return u.astype(np.float32)


def _read(coefficients: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A motion of cubic splines (3, Z, Y, X) at voxel positions (3, ...), order z y x: mm, components x y
    z."""
    options = {"order": 3, "mode": "mirror", "prefilter": False, "output": np.float32}
    return np.stack([ndimage.map_coordinates(part, points / FIELD_STEP, **options) for part in coefficients])


def _inverse(coefficients: np.ndarray, index: np.ndarray, grid: Grid) -> np.ndarray:
    """u (3, ...) in mm, x y z, with u + back(x + u) = 0 at fixed voxel positions (3, ...), z y x: by
    fixed-point steps, to 0.005 mm.
    """
    u = np.zeros_like(index)
    for _ in range(INVERSION_STEPS):
        new = -_read(coefficients, index + u[::-1] / grid.spacing[0])
        change, u = float(np.abs(new - u).max(initial=0)), new
        if change < 0.005:
            break
    return u


def _seen_through(hu: np.ndarray, coefficients: np.ndarray, grid: Grid) -> np.ndarray:
    """The anatomy at phi^-1 of every moving voxel, by cubic splines."""
    index = np.indices(grid.shape, dtype=np.float32)
    at = index + _read(coefficients, index)[::-1] / grid.spacing[0]
    return ndimage.map_coordinates(hu, at, order=3, mode="nearest", output=np.float32)


def _noise(shape: tuple[int, ...], rng) -> np.ndarray:
    """Correlated within slices, as filtered back-projection leaves it."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), (0, 0.9, 0.9))
    return noise * (NOISE / noise.std())


def _structures(hu: np.ndarray, lungs: np.ndarray, grid: Grid) -> np.ndarray:
    """Voxels (N, 3), z y x, where the image varies most in every direction (Foerstner), in the lungs,
    apart."""
    gradient = np.gradient(ndimage.gaussian_filter(hu, 1.0))
    tensor = {
        (a, b): ndimage.gaussian_filter(gradient[a] * gradient[b], 1.5)
        for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    }
    xx, yy, zz, xy, xz, yz = tensor.values()
    determinant = xx * (yy * zz - yz**2) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    minors = xx * yy - xy**2 + xx * zz - xz**2 + yy * zz - yz**2
    strength = determinant / np.maximum(minors, 1e-3)
    deep = ndimage.binary_erosion(lungs, iterations=2)
    apart = max(1, round(POINTS_APART_MM / grid.spacing[0]))
    border = round(BORDER_MM / grid.spacing[0])
    peak = (strength == ndimage.maximum_filter(strength, 2 * apart + 1)) & deep
    kept = np.zeros_like(peak)
    kept[border:-border, border:-border, border:-border] = True
    found = np.argwhere(peak & kept)
    order = np.argsort(-strength[tuple(found.T)], kind="stable")
    return found[order[:NUMBER_OF_POINTS]]
