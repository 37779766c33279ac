"""A second generator of nodules with known truth, unlike `evaluation.nodule_phantom` in every part.

Shapes are star-shaped with spherical harmonics, some with spicules, their volume from a quadrature over the
sphere; vessels are bent and tapered; the chest wall has fat, muscle and ribs and any curvature; parenchyma
has a power-law texture and a slope; the scanner is a product of transfer functions (kernel, slice profile),
sampled at points, with noise of the same kernel. The width of intervals was chosen on this one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, special

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.measuring.diameters import axial_diameters
from GLIDERegLib.evaluation.nodule_phantom import AT_PLEURA, AT_VESSEL, ISOLATED, NoduleScan

FINE_MM, EDGE_MM = 0.36, 50.4
# Wrapped around by the Fourier transform, so not shown.
RIM_MM = 2.5
SOFT, STANDARD, SHARP = "soft", "standard", "sharp"
# Standard deviation of the kernel's blur in mm, and how much it raises middle frequencies.
KERNELS = {SOFT: ((0.6, 0.8), 0.0), STANDARD: ((0.42, 0.6), 0.1), SHARP: ((0.34, 0.44), 0.6)}
NOISE_HU = {SOFT: (8, 20), STANDARD: (12, 35), SHARP: (30, 60)}
ORDERS = range(2, 7)


@dataclass(frozen=True)
class Cube:
    """One nodule as one scanner sees it: see `nodule_phantom.Scene`, whose fields these are.

    thickness_mm: of the slices, which may lie closer than that. averaged: voxels are means over their extent
    (a scan made coarser), not samples.
    """

    diameter_mm: float
    kind: str = "solid"
    where: str = ISOLATED
    spacing: tuple[float, float, float] = (0.7, 0.7, 1.0)
    thickness_mm: float = 1.0
    kernel: str = STANDARD
    averaged: bool = False
    noise_hu: float = 20.0
    seed: int = 0
    scan: int = 0

    def grown(self, share: float, **changes) -> Cube:
        """The same nodule with its volume larger by this share, in the next scan."""
        diameter = self.diameter_mm * (1 + share) ** (1 / 3)
        return replace(self, diameter_mm=diameter, scan=self.scan + 1, **changes)


def scan_of(cube: Cube) -> NoduleScan:
    """The scan, about 45 mm wide, and the truth."""
    rng = np.random.default_rng([cube.seed, 11])
    scanner = np.random.default_rng([cube.seed, 12, cube.scan])
    number = int(round(EDGE_MM / FINE_MM))
    spacing = np.asarray(cube.spacing)[::-1]
    center = scanner.uniform(-0.5, 0.5, 3) * spacing
    axis = (np.arange(number) - (number - 1) / 2) * FINE_MM
    points = [
        (axis - c).astype(np.float32).reshape([-1 if n == m else 1 for m in range(3)])
        for n, c in enumerate(center)
    ]
    radius = cube.diameter_mm / 2
    shape = _Shape(rng, radius)
    nodule = shape.share(points)
    hu = _parenchyma(points, number, rng, scanner)
    wall = np.float32(0)
    if cube.where == AT_PLEURA:
        wall_hu, wall = _wall(points, radius, rng)
    hu += _vessels(points, radius, shape, cube.where == AT_VESSEL, rng) * (rng.uniform(20, 60) - hu)
    solid = rng.uniform(0, 60)
    inside = np.float32(solid if cube.kind == "solid" else rng.uniform(-680, -580))
    if cube.kind == "part-solid":
        core = _Shape(rng, radius * rng.uniform(0.4, 0.65))
        shift = rng.uniform(-0.12, 0.12, 3) * radius
        inside = inside + core.share([p - np.float32(s) for p, s in zip(points, shift, strict=True)]) * (
            solid - inside
        )
    hu += nodule * (inside - hu)
    whole = float(nodule.sum(dtype=np.float64))
    if cube.where == AT_PLEURA:
        nodule = nodule * (1 - wall)
        hu += wall * (wall_hu - hu)
    volume = shape.volume_mm3 * float(nodule.sum(dtype=np.float64)) / whole
    image, first, size = _scanned(hu, cube, spacing, scanner)
    image += _noise(image.shape, spacing, cube, scanner) * cube.noise_hu
    array = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    grid = Grid(tuple(int(n) for n in size[::-1]), cube.spacing, tuple(first[::-1].tolist()))
    body = shape.body & (nodule > 0.5)
    box = ndimage.find_objects(body.astype(np.uint8))[0]
    long, short = axial_diameters(body[box], np.full(3, FINE_MM))
    return NoduleScan(Volume(array, grid, "scan"), center[::-1].copy(), volume, long, short)


class _Shape:
    """r(direction) = radius · Π(1 + harmonics), and spicules.

    volume_mm3: of it all; body: without spicules, which count for no diameter, once it was drawn.
    """

    def __init__(self, rng: np.random.Generator, radius: float):
        rough = rng.choice([0.03, 0.08, 0.15], p=[0.4, 0.4, 0.2])
        self.terms = [
            (order, degree, rough * rng.normal() * (2 / order) ** 1.5)
            for order in ORDERS
            for degree in range(-order, order + 1)
        ]
        self.radius = 1.0
        cosine, weight = np.polynomial.legendre.leggauss(40)
        turn = np.arange(80) * 2 * np.pi / 80
        polar, azimuth = np.meshgrid(np.arccos(cosine), turn, indexing="ij")
        r = self._surface(polar, azimuth)
        self.radius = radius / ((r**3).mean(axis=1) @ weight / 2) ** (1 / 3)
        self.volume_mm3 = 4 / 3 * np.pi * radius**3
        number = int(rng.choice([0, 0, 0, rng.integers(4, 10)]))
        heading = rng.normal(size=(number, 3))
        self.spicules = heading / np.linalg.norm(heading, axis=1, keepdims=True)
        self.lengths = rng.uniform(1.5, 4, number)

    def _surface(self, polar, azimuth):
        r = np.ones_like(polar)
        for order, degree, factor in self.terms:
            value = special.sph_harm_y(order, abs(degree), polar, azimuth)
            r += factor * (value.real if degree >= 0 else value.imag)
        return self.radius * np.clip(r, 0.5, 1.6)

    def share(self, points) -> np.ndarray:
        """Share of every fine voxel."""
        z, y, x = points
        out = np.zeros(np.broadcast_shapes(z.shape, y.shape, x.shape), np.float32)
        reach = 1.7 * self.radius + 1
        box = tuple(slice(*(np.flatnonzero(np.abs(p.ravel()) < reach)[[0, -1]] + [0, 1])) for p in points)
        z, y, x = z[box[0]], y[:, box[1]], x[:, :, box[2]]
        apart = np.sqrt(z**2 + y**2 + x**2)
        near = np.where((apart > 0.45 * self.radius) & (apart < 1.65 * self.radius))
        polar = np.arccos(np.clip((z / np.maximum(apart, 1e-6))[near], -1, 1))
        azimuth = np.arctan2(*np.broadcast_arrays(y, x, subok=False))[
            np.zeros(len(near[0]), int), near[1], near[2]
        ]
        signed = np.where(apart <= 0.45 * self.radius, 9, -9).astype(np.float32)
        signed[near] = self._interpolated(polar, azimuth) - apart[near]
        part = np.clip(0.5 + signed / FINE_MM, 0, 1)
        whole = part.sum(dtype=np.float64)
        for heading, length in zip(self.spicules, self.lengths, strict=True):
            along = z * heading[0] + y * heading[1] + x * heading[2]
            across = np.sqrt(np.maximum(apart**2 - along**2, 0))
            width = 0.6 * np.clip((1.1 * self.radius + length - along) / length, 0, 1)
            np.maximum(
                part, (along > 0) * (width > 0) * np.clip(0.5 + (width - across) / FINE_MM, 0, 1), out=part
            )
        self.volume_mm3 *= part.sum(dtype=np.float64) / whole
        self.body = np.zeros(out.shape, bool)
        self.body[box] = signed > 0
        out[box] = part
        return out

    def _interpolated(self, polar, azimuth):
        """The surface's radius from a table, which is faster than the harmonics themselves."""
        table = self._surface(
            *np.meshgrid(np.linspace(0, np.pi, 91), np.linspace(-np.pi, np.pi, 181), indexing="ij")
        )
        at = np.stack([polar / np.pi * 90, (azimuth + np.pi) / (2 * np.pi) * 180])
        return ndimage.map_coordinates(table.astype(np.float32), at, order=1)


def _parenchyma(points, number: int, rng, scanner) -> np.ndarray:
    """A level, a slope along gravity, and a texture whose power falls with frequency."""
    white = rng.standard_normal((number // 2,) * 3).astype(np.float32)
    frequency = _frequencies(white.shape, (2 * FINE_MM,) * 3)
    f = np.sqrt(sum(part**2 for part in frequency))
    texture = np.fft.irfftn(
        np.fft.rfftn(white) * (f + 0.03) ** -rng.uniform(0.8, 1.5), s=white.shape, axes=(0, 1, 2)
    )
    texture = ndimage.zoom((texture / texture.std()).astype(np.float32), number / white.shape[0], order=1)
    level = scanner.uniform(-905, -810)
    return level + rng.uniform(0, 3) * points[1] + np.float32(rng.uniform(12, 35)) * texture


def _wall(points, radius: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """HU and share of a chest wall (or diaphragm) that cuts the nodule: fat of some mm, muscle, ribs."""
    z, y, x = points
    heading = np.array([rng.choice([0.2, 1.0]), 1, 1]) * rng.normal(size=3)
    heading /= np.linalg.norm(heading)
    first = np.cross(heading, [1.0, 0.2, 0.1])
    first /= np.linalg.norm(first)
    second = np.cross(heading, first)
    depth = radius * rng.uniform(0.1, 0.9)
    bends = rng.uniform(-1 / 50, 1 / 60, 2)
    u = z * first[0] + y * first[1] + x * first[2]
    v = z * second[0] + y * second[1] + x * second[2]
    beyond = (
        z * heading[0] + y * heading[1] + x * heading[2] - depth - (bends[0] * u**2 + bends[1] * v**2) / 2
    )
    fat = rng.choice([0.0, rng.uniform(1, 5)])
    hu = np.where(beyond < fat, rng.uniform(-110, 20), rng.uniform(30, 60))
    ribs = (beyond > fat + 2) & (beyond < fat + 9) & (np.sin(u / 4 + rng.uniform(0, 6)) > 0.3)
    hu = np.where(ribs, rng.uniform(200, 600), hu)
    return hu.astype(np.float32), np.clip(0.5 + beyond / FINE_MM, 0, 1).astype(np.float32)


def _vessels(points, radius: float, shape: _Shape, attached: bool, rng) -> np.ndarray:
    """Share of every voxel in bent, tapered vessels, of which one or two may end in the nodule or pass it."""
    z, y, x = points
    share = np.zeros(np.broadcast_shapes(z.shape, y.shape, x.shape), np.float32)
    tubes = []
    for _ in range(rng.integers(8, 18)):
        through, heading, bend = rng.normal(size=(3, 3))
        through /= np.linalg.norm(through)
        heading -= (heading @ through) * through
        heading /= np.linalg.norm(heading)
        width = rng.uniform(0.3, 1.7)
        away = (1.5 * radius + width + 2.0 + rng.uniform(0, 12)) * through
        t = np.linspace(-28, 28, 29)[:, None]
        # Bent away from the nodule, never through it.
        tubes.append((away + t * heading + 0.01 * t**2 * abs(rng.normal()) * through, width * (1 + t / 80)))
    for _ in range(rng.integers(1, 3) if attached else 0):
        heading, side, bend = rng.normal(size=(3, 3))
        heading /= np.linalg.norm(heading)
        side -= (side @ heading) * heading
        side /= np.linalg.norm(side)
        width = min(rng.uniform(0.5, 1.7), 0.4 * radius)
        ends = rng.uniform() < 0.6
        t = np.linspace(0.0 if ends else -28, 28, 29)[:, None]
        offset = rng.uniform(0, 0.5) if ends else rng.uniform(0.5, 1.1)
        tubes.append((offset * radius * side + t * heading + 0.008 * t**2 * side, width * (1 + t / 60)))
    for line, width in tubes:
        _tube(share, points, line, np.maximum(width.ravel(), 0.2))
    return share


def _tube(share, points, line, width) -> None:
    """Paints a row of short cones."""
    for a, b, wide, end in zip(line[:-1], line[1:], width[:-1], width[1:], strict=True):
        reach = max(wide, end) + FINE_MM
        box = []
        for n, part in enumerate(points):
            found = np.flatnonzero(
                (part.ravel() > min(a[n], b[n]) - reach) & (part.ravel() < max(a[n], b[n]) + reach)
            )
            if not len(found):
                break
            box.append(slice(found[0], found[-1] + 1))
        if len(box) < 3:
            continue
        local = [
            part[tuple(box[n] if n == m else slice(None) for m in range(3))] for n, part in enumerate(points)
        ]
        step = b - a
        along = sum((p - np.float32(o)) * np.float32(s) for p, o, s in zip(local, a, step, strict=True))
        along = np.clip(along / np.float32(step @ step), 0, 1)
        apart = np.sqrt(
            sum(
                (p - np.float32(o) - along * np.float32(s)) ** 2
                for p, o, s in zip(local, a, step, strict=True)
            )
        )
        part = np.clip(0.5 + (wide + along * (end - wide) - apart) / FINE_MM, 0, 1)
        np.maximum(share[tuple(box)], part, out=share[tuple(box)])


def _frequencies(shape, spacing):
    """Cycles per mm along each axis of a real transform, ready to broadcast."""
    z, y = (np.fft.fftfreq(n, s) for n, s in zip(shape[:2], spacing[:2], strict=True))
    return z[:, None, None], y[None, :, None], np.fft.rfftfreq(shape[2], spacing[2])[None, None, :]


def _kernel(cube: Cube, f_squared):
    """Transfer function of the reconstruction kernel in the slice; one for each patient and kernel."""
    (low, high), boost = KERNELS[cube.kernel]
    sigma = np.random.default_rng([cube.seed, 13]).uniform(low, high)
    return np.exp(-2 * (np.pi * sigma) ** 2 * f_squared) * (1 + boost * f_squared / 0.16)


def _scanned(hu, cube: Cube, spacing, scanner):
    """The image without noise, and the first voxel's centre (z, y, x) and number of voxels."""
    z, y, x = _frequencies(hu.shape, (FINE_MM,) * 3)
    transfer = _kernel(cube, y**2 + x**2) * np.sinc(z * cube.thickness_mm) * np.sinc(z * 0.6)
    if cube.averaged:
        transfer = transfer * np.sinc(y * spacing[1]) * np.sinc(x * spacing[2])
    image = np.fft.irfftn(np.fft.rfftn(hu) * transfer, s=hu.shape, axes=(0, 1, 2)).astype(np.float32)
    reach = EDGE_MM / 2 - RIM_MM
    size = (2 * np.floor(reach / spacing)).astype(int)
    first = -(size - 1) * spacing / 2
    at = [
        (f + np.arange(n) * s) / FINE_MM + (hu.shape[0] - 1) / 2
        for f, n, s in zip(first, size, spacing, strict=True)
    ]
    for n, places in enumerate(at):
        low = np.floor(places).astype(int)
        weight = (places - low).reshape([-1 if n == m else 1 for m in range(3)]).astype(np.float32)
        image = np.take(image, low, n) * (1 - weight) + np.take(image, low + 1, n) * weight
    return image, first, size


def _noise(shape, spacing, cube: Cube, scanner):
    """Noise of one standard deviation with the ramp of filtered back projection and the kernel."""
    y, x = np.fft.fftfreq(shape[1], spacing[1])[:, None], np.fft.rfftfreq(shape[2], spacing[2])[None, :]
    f_squared = y**2 + x**2
    power = np.sqrt(np.sqrt(f_squared)) * _kernel(cube, f_squared)
    white = scanner.standard_normal(shape)
    noise = np.fft.irfft2(np.fft.rfft2(white) * power, s=shape[1:])
    noise = ndimage.gaussian_filter1d(noise, 0.4 * cube.thickness_mm / spacing[0], axis=0, mode="wrap")
    return noise / noise.std()
