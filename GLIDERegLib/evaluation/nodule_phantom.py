"""Small CT scans around one nodule whose volume is known: the truth that measuring is judged by.

The scene is a function of points: parenchyma with texture, vessels, a chest wall, and a nodule that keeps its
shape (rigid) whatever the breath does to what is around. It is painted on a fine grid with shares of voxels,
blurred by the reconstruction kernel, and averaged over pixels and slices, so that the volume is that of the
painted shares, exact to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid, Volume, triple
from GLIDERegLib.evaluation.measuring.diameters import axial_diameters

ISOLATED, AT_VESSEL, AT_PLEURA = "isolated", "vessel", "pleura"
# Choices about the middle of what scans show: a ground-glass nodule between lung and tissue.
SOLID_HU, GROUND_GLASS_HU, WALL_HU, VESSEL_HU = 30.0, -630.0, 35.0, 45.0
# Of the grid that the scene is drawn on, finer than any scanner's, and its width.
FINE_MM = 0.36
FIELD_OF_VIEW_MM = 46.0
# Vessels that touch nothing keep this far from the nodule.
CLEAR_MM = 2.5


@dataclass(frozen=True)
class Scene:
    """One nodule as one scanner sees it.

    diameter_mm: of the sphere with its volume, before a wall takes part of it. kind: "solid", "part-solid" or
    "ground glass". where: ISOLATED, AT_VESSEL or AT_PLEURA. spacing: mm along x, y, z. kernel_mm: standard
    deviation of the reconstruction kernel; sharpening: share of an unsharp mask on top. seed: shape and
    surroundings; scan: place on the voxels, breath and noise, which two scans of one nodule do not share.
    """

    diameter_mm: float
    kind: str = "solid"
    where: str = ISOLATED
    spacing: tuple[float, float, float] = (0.7, 0.7, 1.0)
    kernel_mm: float = 0.5
    sharpening: float = 0.0
    noise_hu: float = 25.0
    seed: int = 0
    scan: int = 0

    def grown(self, share: float, **changes) -> Scene:
        """The same nodule with its volume larger by this share, in the next scan."""
        diameter = self.diameter_mm * (1 + share) ** (1 / 3)
        return replace(self, diameter_mm=diameter, scan=self.scan + 1, **changes)


@dataclass(frozen=True)
class NoduleScan:
    """volume: HU, int16. center_mm: LPS mm. volume_mm3: of the nodule, exact. long_mm, short_mm: its axial
    diameters, from the fine grid.
    """

    volume: Volume
    center_mm: np.ndarray
    volume_mm3: float
    long_mm: float
    short_mm: float


def scan_of(scene: Scene) -> NoduleScan:
    """The scan of a scene, about 46 mm wide, and the truth."""
    rng, scanner = np.random.default_rng([scene.seed, 1]), np.random.default_rng([scene.seed, 2, scene.scan])
    spacing = np.asarray(scene.spacing, float)[::-1]
    size = np.ceil(FIELD_OF_VIEW_MM / spacing).astype(int)
    factor = np.ceil(spacing / FINE_MM).astype(int)
    fine = spacing / factor
    center = scanner.uniform(-0.5, 0.5, 3) * spacing
    axes = [
        ((np.arange(n * f) + 0.5) * h - n * f * h / 2 - c).astype(np.float32)
        for n, f, h, c in zip(size, factor, fine, center, strict=True)
    ]
    z, y, x = (axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
    edge = np.float32(fine.mean())
    radius = scene.diameter_mm / 2

    hu = np.full(tuple(size * factor), scanner.uniform(-885, -835), np.float32)
    coarse = scanner.standard_normal(tuple(np.ceil(FIELD_OF_VIEW_MM / 2.5 * np.ones(3)).astype(int)))
    texture = ndimage.zoom(coarse.astype(np.float32), np.asarray(hu.shape) / coarse.shape, order=1)
    hu += 18.0 * texture
    nodule = _nodule(z, y, x, edge, radius, rng)
    wall = _wall(z, y, x, edge, radius, rng) if scene.where == AT_PLEURA else np.float32(0)
    nodule *= 1 - wall
    vessels = _vessels(z, y, x, edge, radius, scene.where == AT_VESSEL, rng)
    level = rng.uniform(-25, 25)
    if scene.kind == "solid":
        inside = np.float32(SOLID_HU + level)
    else:
        inside = np.float32(GROUND_GLASS_HU + 2 * level)
        if scene.kind == "part-solid":
            core, shift = radius * rng.uniform(0.4, 0.65), rng.uniform(-0.15, 0.15, 3) * radius
            solid = np.sqrt((z - shift[0]) ** 2 + (y - shift[1]) ** 2 + (x - shift[2]) ** 2)
            inside = inside + np.clip(0.5 + (core - solid) / edge, 0, 1) * (SOLID_HU - inside)
    for value, share in ((VESSEL_HU, vessels), (inside, nodule), (WALL_HU, wall)):
        hu += share * (value - hu)

    hu = ndimage.gaussian_filter(hu, (0.3 / fine[0], *(scene.kernel_mm / fine[1:])), mode="nearest")
    if scene.sharpening:
        soft = ndimage.gaussian_filter(hu, (0, *(0.8 / fine[1:])), mode="nearest")
        hu += scene.sharpening * (hu - soft)
    blocks = hu.reshape(size[0], factor[0], size[1], factor[1], size[2], factor[2])
    image = blocks.mean(axis=(1, 3, 5), dtype=np.float64)
    noise = ndimage.gaussian_filter(scanner.standard_normal(image.shape), (0, 0.6, 0.6), mode="wrap")
    image += noise * (scene.noise_hu / noise.std())
    array = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    origin = tuple((-(size - 1) * spacing / 2)[::-1].tolist())
    grid = Grid(triple(size[::-1]), tuple(spacing[::-1].tolist()), origin)
    volume_mm3 = float(nodule.sum(dtype=np.float64) * fine.prod())
    long, short = axial_diameters(_boxed(nodule > 0.5), fine)
    return NoduleScan(Volume(array, grid, "scan"), center[::-1].copy(), volume_mm3, long, short)


def _boxed(mask: np.ndarray) -> np.ndarray:
    return mask[ndimage.find_objects(mask.astype(np.uint8))[0]]


def _nodule(z, y, x, edge, radius: float, rng) -> np.ndarray:
    """Share of every voxel in an ellipsoid with lobes, of the volume of a sphere of this radius (about)."""
    axes = np.exp(rng.normal(0, 0.1, 3))
    axes /= axes.prod() ** (1 / 3)
    scaled = [part / np.float32(a) for part, a in zip((z, y, x), axes, strict=True)]
    apart = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    waves = rng.normal(0, 1, (4, 3))
    waves *= (rng.uniform(2, 4, 4) / np.linalg.norm(waves, axis=1))[:, None]
    swing, phases = rng.uniform(0, 0.06), rng.uniform(0, 2 * np.pi, 4)
    lobes = np.zeros_like(apart)
    safe = np.maximum(apart, edge)
    for wave, phase in zip(waves.astype(np.float32), phases, strict=True):
        direction = (wave[0] * scaled[0] + wave[1] * scaled[1] + wave[2] * scaled[2]) / safe
        lobes += np.sin(direction + np.float32(phase))
    return np.clip(0.5 + (radius * (1 + swing * lobes) - apart) / edge, 0, 1).astype(np.float32)


def _wall(z, y, x, edge, radius: float, rng) -> np.ndarray:
    """Share of every voxel in a chest wall, hollow with a radius of 90 mm, that cuts the nodule."""
    heading = np.array([0.3, 1, 1]) * rng.normal(0, 1, 3)
    heading /= np.linalg.norm(heading)
    depth, bend = radius * rng.uniform(0.1, 0.7), 90.0
    middle = (heading * (depth - bend)).astype(np.float32)
    apart = np.sqrt((z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2)
    return np.clip(0.5 + (apart - bend) / edge, 0, 1).astype(np.float32)


def _vessels(z, y, x, edge, radius: float, attached: bool, rng) -> np.ndarray:
    """Share of every voxel in vessels around the nodule, of which one may run into it or along its side."""
    share = np.zeros(np.broadcast_shapes(z.shape, y.shape, x.shape), np.float32)
    tubes: list[tuple[np.ndarray, np.ndarray, float, float]] = []
    while len(tubes) < 10:
        heading, through = rng.normal(0, 1, (2, 3))
        heading /= np.linalg.norm(heading)
        through = through - (through @ heading) * heading
        width = rng.uniform(0.4, 1.6)
        away = radius * 1.3 + width + CLEAR_MM + rng.uniform(0, 14)
        tubes.append((through / np.linalg.norm(through) * away, heading, -100.0, width))
    if attached:
        heading, side = rng.normal(0, 1, (2, 3))
        heading /= np.linalg.norm(heading)
        side -= (side @ heading) * heading
        side *= rng.uniform(0, 0.9) * radius / np.linalg.norm(side)
        along = 0.0 if rng.uniform() < 0.5 else -100.0
        tubes.append((side, heading, along, min(rng.uniform(0.6, 1.8), 0.4 * radius)))
    for through, heading, start, width in tubes:
        offset = [part - np.float32(t) for part, t in zip((z, y, x), through, strict=True)]
        along = sum(part * np.float32(h) for part, h in zip(offset, heading, strict=True))
        held = np.maximum(along, np.float32(start))
        apart = np.sqrt(
            sum((part - held * np.float32(h)) ** 2 for part, h in zip(offset, heading, strict=True))
        )
        np.maximum(share, np.clip(0.5 + (width - apart) / edge, 0, 1), out=share)
    return share
