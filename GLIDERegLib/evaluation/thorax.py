"""The anatomy behind the phantom: a generated chest whose tissue at any point is a function of that point.

Coordinates are LPS mm around the middle of the chest: x to the patient's left, y to the back, z to the head.
Large organs are signed distances (mm, positive inside); vessels, airways, ribs and nodules are capsules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# An adult's chest in mm from its middle, a choice: half axes along x, y and z.
CAVITY_RADII = (130.0, 84.0, 172.0)
CAVITY_BOTTOM_Z = -40.0
SPINE_Y = 74.0
VERTEBRA_PITCH = 27.0


@dataclass(frozen=True)
class Capsules:
    """Straight tubes with round ends: points (N, 3) and radii (N,) at both ends, in mm."""

    start: np.ndarray
    end: np.ndarray
    start_radius: np.ndarray
    end_radius: np.ndarray

    @classmethod
    def chain(cls, points: np.ndarray, radius: float | Sequence[float] | np.ndarray) -> Capsules:
        """Tubes along a polyline (N, 3) with one radius or one for each point."""
        points = np.asarray(points, float)
        radii = np.broadcast_to(np.asarray(radius, float), len(points))
        return cls(points[:-1], points[1:], radii[:-1], radii[1:])

    @classmethod
    def join(cls, parts: list[Capsules]) -> Capsules:
        """All tubes of several sets."""
        names = ("start", "end", "start_radius", "end_radius")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def wider(self, mm: float) -> Capsules:
        """The same tubes with a radius larger by `mm`."""
        return Capsules(self.start, self.end, self.start_radius + mm, self.end_radius + mm)


@dataclass(frozen=True)
class Tree:
    """A branching tree: its tubes, and the points where it branches with their radius, in mm."""

    capsules: Capsules
    branchings: np.ndarray
    branching_radii: np.ndarray


class Noise:
    """A smooth random function of space with unit standard deviation and about the given wavelength (mm)."""

    def __init__(self, wavelength: float, rng: np.random.Generator):
        self.pitch = wavelength / 3
        size = int(np.clip(np.ceil(400 / self.pitch), 16, 128))
        white = rng.standard_normal((size,) * 3, dtype=np.float32)
        values = ndimage.gaussian_filter(white, 0.9, mode="wrap")
        self.values = values / values.std()

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Values at points (3, N)."""
        return ndimage.map_coordinates(self.values, points / self.pitch, order=1, mode="grid-wrap")


class Thorax:
    """One patient, drawn from a seed. All geometry is in the fixed image's space."""

    def __init__(self, seed: int):
        rng = np.random.default_rng([seed, 1])
        self.dome_height = 58 + rng.uniform(-6, 6, 2)
        self.heart_center = np.array([19.0, -30.0, -18.0]) + rng.uniform(-4, 4, 3)
        self.vertebra_phase = rng.uniform(0, VERTEBRA_PITCH)
        self.fissure = rng.uniform(-12, 12, 2)
        self.lung_noise = [(Noise(length, rng), length, hu) for length, hu in ((45, 22), (18, 24), (8, 26))]
        self.tissue_noise = Noise(16, rng)
        self.ribs = _ribs(rng)
        self.great_vessels = _great_vessels(rng)
        self.vessels, self.airways = [], [_trachea()]
        for side in (1, -1):
            for pitch, hilum in ((14.5, (36, 2, 12)), (16.5, (34, -2, -12))):
                targets = self._targets(rng, side, pitch, depth=3.0)
                root = np.array(hilum) * (side, 1, 1) + rng.uniform(-4, 4, 3)
                self.vessels.append(grow_tree(targets, root, 0.75, rng))
            bronchus = np.array((36.0 * side, 14.0, 18.0))
            self.airways.append(grow_tree(self._targets(rng, side, 30.0, depth=12.0), bronchus, 1.3, rng))
        portal = self._lattice(rng, 26.0, lambda p: self.organs(p)["liver"] > 6)
        self.liver_vessels = grow_tree(portal, np.array([-30.0, 0.0, -105.0]), 1.6, rng)
        self.nodules, self.nodule_radii = self._place_nodules(rng)

    def organs(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Signed distance (mm, positive inside, exact near the surface) of each organ at points (3, N)."""
        x, y, z = points
        raised = np.maximum(z - CAVITY_BOTTOM_Z, 0)
        cavity = _ellipsoid((x, y, raised), (0, 0, 0), CAVITY_RADII)
        right = self.dome_height[0] * np.exp(-(((x + 72) / 54) ** 2) - ((y - 4) / 70) ** 2)
        left = (self.dome_height[1] - 8) * np.exp(-(((x - 72) / 54) ** 2) - ((y - 4) / 70) ** 2)
        above = 0.8 * (z + 84 - right - left)
        spine = _ellipsoid((x, y), (0, SPINE_Y), (17, 14))
        heart = np.minimum(_ellipsoid(points, self.heart_center, (50, 40, 44)), above - 2)
        mediastinum = 10 + 18 * np.exp(-(((y - 8) / 36) ** 2)) + 6 * np.exp(-(((z - 5) / 40) ** 2))
        aorta = np.minimum(_ellipsoid((x, y), (23, 53), (16, 16)), 66 - z)
        canal = _ellipsoid((x, y), (0, SPINE_Y + 24), (9, 8))
        parts = (above - 2, np.abs(x) - mediastinum, -heart - 3, -aorta, -spine - 8, -canal - 6)
        chest = cavity
        for part in parts:
            chest = _smooth_minimum(chest, part, 6.0)
        below = np.minimum(-above - 3, cavity - 4)
        return {
            "body": _ellipsoid((x, y), (0, 0), (165, 114)),
            "cavity": cavity,
            "above_diaphragm": above,
            "lung_left": np.where(x > 0, chest, -99),
            "lung_right": np.where(x < 0, chest, -99),
            "heart": heart,
            "liver": np.minimum(_ellipsoid(points, (-55, -5, -85), (92, 74, 80)), below),
            "spleen": np.minimum(_ellipsoid(points, (85, 25, -90), (38, 44, 48)), below - 1),
            "stomach": np.minimum(_ellipsoid(points, (52, -30, -105), (34, 34, 42)), -above - 6),
            "spine": np.maximum(spine, np.minimum(_ellipsoid((x, y), (0, SPINE_Y + 26), (17, 13)), -canal)),
            "canal": canal,
        }

    def tissue(
        self, points: np.ndarray, organ: dict[str, np.ndarray], edge_mm: float, lung_density: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Hounsfield units of everything but the capsules at points (3, N), and the shares of lung (2, N).

        organ: signed distances from `organs`. edge_mm: width of the soft edge between tissues.
        lung_density: factor on the parenchyma's density.
        """
        x, y, z = points

        def share(distance):
            return np.clip(0.5 + distance / edge_mm, 0, 1)

        hu = np.full(x.shape, -1000, np.float32)
        texture = np.where(organ["body"] > -edge_mm, self.tissue_noise(points), 0)
        layers = [
            (-105, share(organ["body"])),
            (48, share(organ["body"] - 11 - 3 * np.sin(3 * np.arctan2(y, x)))),
            (-75, share(organ["cavity"])),
            (40, share(10 - np.abs(organ["above_diaphragm"] + 4)) * share(organ["cavity"])),
            (105, share(organ["liver"])),
            (120, share(organ["spleen"])),
            (20, share(organ["stomach"])),
            (-950, share(np.minimum(organ["stomach"] - 5, -y - 38))),
            (55, share(organ["heart"])),
        ]
        for offset, radii in (((-18, -4, 4), (20, 22, 24)), ((16, 4, -2), (18, 17, 26))):
            chamber = _ellipsoid(points, self.heart_center + offset, radii)
            layers.append((170, share(np.minimum(chamber, organ["heart"] - 5))))
        for value, part in layers:
            hu += part * (value - hu)
        hu += 9 * texture * share(organ["body"])
        lungs = np.stack([share(organ["lung_left"]), share(organ["lung_right"])])
        inside = np.flatnonzero(lungs.max(axis=0) > 0)
        at = points[:, inside]
        parenchyma = np.full(inside.shape, 235, np.float32) + 0.25 * at[1]
        for noise, wavelength, contrast in self.lung_noise:
            if wavelength > 2 * edge_mm:
                parenchyma += contrast * noise(at)
        for side, tilt in zip((1, -1), self.fissure, strict=True):
            sheet = np.abs(at[2] - 5 - tilt - 0.9 * at[1] - 6 * np.sin(at[0] / 25)) * 0.74
            parenchyma += np.where(side * at[0] > 0, 130, 0) * np.clip(0.5 + (0.6 - sheet) / edge_mm, 0, 0.5)
        lung = lungs.max(axis=0)[inside]
        hu[inside] += lung * (parenchyma * lung_density - 1000 - hu[inside])
        level = (z + self.vertebra_phase + 0.15 * (y - SPINE_Y)) % VERTEBRA_PITCH
        bone = share(np.minimum(organ["spine"], 11.0 - np.abs(level - VERTEBRA_PITCH / 2)))
        marrow = share(np.minimum(organ["spine"] - 3, 8.5 - np.abs(level - VERTEBRA_PITCH / 2)))
        disc, canal = share(organ["spine"]), share(organ["canal"])
        for value, part in ((80, disc), (520, bone), (210, marrow), (15, canal)):
            hu += part * (value - hu)
        return hu, lungs

    def _lattice(self, rng, pitch, inside) -> np.ndarray:
        """Evenly scattered points (N, 3) where `inside` holds."""
        axes = [np.arange(-low, low, pitch) for low in (140, 95, 145)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        points = points + rng.uniform(-0.4, 0.4, points.shape) * pitch
        return points[inside(points.T)]

    def _targets(self, rng, side, pitch, depth) -> np.ndarray:
        name = "lung_left" if side > 0 else "lung_right"
        return self._lattice(rng, pitch, lambda p: self.organs(p)[name] > depth)

    def _place_nodules(self, rng, number: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """Centres and radii of nodules well inside the lungs, half of them in each, far apart."""
        radii = np.linspace(4, 10, number)
        centers: list[np.ndarray] = []
        for n, radius in enumerate(radii):
            candidates = rng.permutation(self._targets(rng, 1 if n % 2 else -1, 11.0, radius + 4))
            apart = np.linalg.norm(candidates[:, None] - np.reshape(centers, (-1, 3)), axis=-1)
            # The first of all where none is far: argmax of nothing but False is 0.
            centers.append(candidates[(apart > 32).all(axis=1).argmax()])
        return np.array(centers), radii


def grow_tree(targets: np.ndarray, root: np.ndarray, tip_radius: float, rng: np.random.Generator) -> Tree:
    """A binary tree from `root` that reaches every target (N, 3).

    The targets are halved across their longest axis again and again; each half gets a branch half-way to
    its middle. Radii follow Murray's law (PNAS 1926): the cube of a parent's radius is the sum of its
    children's cubes.
    """
    starts, ends, tips, branchings, branching_tips = [], [], [], [], []
    todo = [(root, root, targets)]
    while todo:
        parent, node, points = todo.pop()
        if node is not parent:
            starts.append(parent)
            ends.append(node)
            tips.append(len(points))
        if len(points) == 1:
            starts.append(node)
            ends.append(points[0])
            tips.append(1)
            continue
        if node is not parent:
            branchings.append(node)
            branching_tips.append(len(points))
        spread = points - points.mean(axis=0)
        axis = np.linalg.svd(spread, full_matrices=False)[2][0]
        order = np.argsort(spread @ axis)
        cut = int(round(len(points) * rng.uniform(0.4, 0.6)))
        cut = min(max(cut, 1), len(points) - 1)
        for half in (points[order[:cut]], points[order[cut:]]):
            step = 0.5 * (half.mean(axis=0) - node)
            todo.append((node, node + step + rng.normal(0, 0.08, 3) * np.linalg.norm(step), half))
    radius = tip_radius * np.cbrt(np.array(tips, float))
    tubes = Capsules(np.array(starts), np.array(ends), radius, radius)
    return Tree(tubes, np.array(branchings), tip_radius * np.cbrt(np.array(branching_tips, float)))


def _trachea() -> Tree:
    carina = np.array([0.0, 12.0, 42.0])
    left, right = np.array([36.0, 14.0, 18.0]), np.array([-36.0, 14.0, 18.0])
    tubes = [Capsules.chain(np.array([[0, 4, 220], [0, 6, 120], carina]), 8.0)]
    tubes += [Capsules.chain(np.array([carina, side]), [6.5, 5.5]) for side in (left, right)]
    return Tree(Capsules.join(tubes), carina[None], np.array([7.0]))


def _great_vessels(rng) -> Capsules:
    shift = rng.uniform(-3, 3, 3)
    ascending = [[8, -25, 10], [2, -30, 45], [8, -10, 66]]
    aorta = [*ascending, [20, 22, 66], [26, 45, 45], [25, 52, -40], [18, 54, -260]]
    pulmonary = [[14, -30, 10], [6, -10, 14]]
    parts = [Capsules.chain(np.array(aorta) + shift, 12.0), Capsules.chain(np.array(pulmonary), 12.0)]
    parts += [Capsules.chain(np.array([[6, -10, 14], [side * 36, 2, 12]]), [10.0, 6.5]) for side in (1, -1)]
    parts.append(Capsules.chain(np.array([[-22, -18, 20], [-24, -12, 90], [-22, -8, 230]]), 8.0))
    return Capsules.join(parts)


def _ribs(rng) -> Capsules:
    """Ten pairs of ribs on a shell outside the lungs, falling towards the front, and the breastbone."""
    tubes = []
    tilt = 48 + rng.uniform(-6, 6)
    angle = np.radians(np.linspace(72, -62, 20))
    for rib in range(11):
        drop = np.linspace(0, 1, len(angle))
        z = 128 - VERTEBRA_PITCH * rib - tilt * (drop**1.3) + rng.uniform(-2, 2)
        x, y = _on_shell(angle, z)
        for side in (1, -1):
            tubes.append(Capsules.chain(np.stack([side * x, y, z], -1), 4.6))
    z = np.linspace(75, -45, 7)
    _, y = _on_shell(np.full(7, -np.pi / 2), z)
    tubes += [Capsules.chain(np.stack([np.full(7, x), y + 1, z], -1), 6.0) for x in (-7.0, 7.0)]
    return Capsules.join(tubes)


def _on_shell(angle: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the rib shell, 7 mm outside the chest cavity, at an angle and a height."""
    scale = np.sqrt(np.clip(1 - (np.maximum(z - CAVITY_BOTTOM_Z, 0) / (CAVITY_RADII[2] + 7)) ** 2, 0.04, 1))
    return (CAVITY_RADII[0] + 7) * scale * np.cos(angle), (CAVITY_RADII[1] + 7) * scale * np.sin(angle)


def _ellipsoid(points, center, radii) -> np.ndarray:
    """Signed distance to an ellipse or ellipsoid, to first order in the distance from its surface."""
    square, slope = 0.0, 0.0
    for value, middle, radius in zip(points, center, radii, strict=True):
        scaled = (value - np.float32(middle)) / np.float32(radius)
        square = square + scaled**2
        slope = slope + (scaled / np.float32(radius)) ** 2
    square = np.maximum(square, np.float32(1e-6))
    slope = np.maximum(slope, np.float32(1e-6 / max(radii) ** 2))
    return (1 - np.sqrt(square)) * np.sqrt(square / slope)


def _smooth_minimum(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Minimum with its edge rounded over `width` mm."""
    blend = np.maximum(width - np.abs(a - b), 0)
    return np.minimum(a, b) - blend**2 / (4 * width)
