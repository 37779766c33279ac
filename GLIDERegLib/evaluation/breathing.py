"""The phantom's motion: a map like a breath, known at every point, with its inverse."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid

# Slices at a time, for memory's sake.
SLAB = 8


class Breathing:
    """A diffeomorphism like a breath: phi(x) = x + u(x), fixed to moving, LPS mm.

    amplitude_mm: largest length of u inside the chest, the shift left out. shift_mm: added everywhere.
    """

    def __init__(self, amplitude_mm: float, shift_mm: tuple[float, float, float], seed: int):
        rng = np.random.default_rng([seed, 2])
        self.shift = np.asarray(shift_mm, float)
        # Constants are Python floats, so that float32 points give float32 displacements.
        self.domes = (np.array([[70, 8, -42], [-70, 8, -36]], float) + rng.uniform(-8, 8, (2, 3))).tolist()
        self.strength = rng.uniform(0.85, 1.0, 2).tolist()
        self.front = float(rng.uniform(0.2, 0.3))
        heading = rng.standard_normal((6, 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        self.waves = heading * (2 * np.pi / rng.uniform(60, 80, (6, 1)))
        self.phases = rng.uniform(0, 2 * np.pi, 6).tolist()
        swing = rng.standard_normal((6, 3))
        self.swings = (0.07 * swing / np.linalg.norm(swing, axis=1, keepdims=True)).tolist()
        self.amplitude = 1.0
        chest = np.stack(np.meshgrid(*[np.arange(-r, r + 1, 6.0) for r in (130, 90, 130)], indexing="ij"), -1)
        largest = np.linalg.norm(self.displacement(chest) - self.shift, axis=-1).max()
        self.amplitude = float(amplitude_mm / largest)

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """u (..., 3) in mm at points (..., 3), in the floating-point type of the points."""
        points = np.asarray(points)
        dtype = points.dtype if points.dtype.kind == "f" else np.float64
        if self.amplitude == 0:
            return np.broadcast_to(self.shift.astype(dtype), points.shape).copy()
        points = points.astype(dtype, copy=False)
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        down = 0.15 * np.exp(-((y / 110) ** 2) - ((z + 60) / 130) ** 2)
        for (cx, cy, cz), strength in zip(self.domes, self.strength, strict=True):
            along = (z - cz) / np.where(z > cz, 82, 120)
            down += strength * np.exp(-(((x - cx) / 62) ** 2) - ((y - cy) / 68) ** 2 - along**2)
        ring = np.exp(-(((z + 5) / 110) ** 2))
        u = np.empty(points.shape, dtype)
        u[..., 0] = 0.08 * ring * np.tanh(x / 80) * np.exp(-_fourth_power(x / 150))
        u[..., 1] = -self.front * ring * np.exp(-((x / 95) ** 2) - ((y + 105) / 75) ** 2)
        u[..., 2] = -down
        local = np.exp(-_fourth_power(x / 125) - _fourth_power(y / 85) - _fourth_power((z - 10) / 150))
        for wave, phase, swing in zip(self.waves.astype(dtype), self.phases, self.swings, strict=True):
            height = local * np.sin(points @ wave + phase)
            for axis in range(3):
                u[..., axis] += swing[axis] * height
        return u * self.amplitude + self.shift.astype(dtype)

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """The fixed points (..., 3) that phi takes to these moving points, by x <- y - u(x), to 1e-6 mm."""
        points = np.asarray(points, float)
        fixed = points - self.shift
        # Most of the way in single precision, whose exponentials take a fifth of the time.
        for dtype, tolerance in ((np.float32, 1e-3), (np.float64, 1e-6)):
            fixed = self._settled(points.astype(dtype), fixed.astype(dtype), tolerance)
        return fixed

    def _settled(self, points: np.ndarray, fixed: np.ndarray, tolerance: float) -> np.ndarray:
        """The iteration of `inverse` from `fixed` on, until nothing changes by `tolerance` or more."""
        for _ in range(200):
            update = points - self.displacement(fixed) - fixed
            fixed = fixed + update
            if np.abs(update).max(initial=0) < tolerance:
                return fixed
        raise InputError(
            "The phantom's amplitude is too large to invert.", "Choose at most 40 mm.", code="setting"
        )

    def inverse_on(self, grid: Grid) -> np.ndarray:
        """phi^-1 at all voxel centres of a grid, (z, y, x, 3) float32, within 0.01 mm.

        Inverted some voxels apart, read at all by cubic splines, corrected by one analytic step.
        """
        step = [max(1, min(int(8 // s), (n - 1) // 4)) for n, s in zip(grid.size, grid.spacing, strict=True)]
        coarse = [np.arange(0, n - 1 + k, k, dtype=float) for n, k in zip(grid.size, step, strict=True)]
        nodes = np.stack(np.meshgrid(*coarse[::-1], indexing="ij")[::-1], -1)
        back = self.inverse(grid.to_physical(nodes)) - grid.to_physical(nodes)
        for axis, (at, n) in enumerate(zip(coarse[::-1], grid.shape, strict=True)):
            back = CubicSpline(at, back, axis=axis)(np.arange(n)).astype(np.float32)
        points = grid.points().astype(np.float32)
        for k in range(0, grid.shape[0], SLAB):
            slab = slice(k, k + SLAB)
            back[slab] = points[slab] - self.displacement(points[slab] + back[slab])
        return back


def _fourth_power(values: np.ndarray) -> np.ndarray:
    """NumPy's own `**4` takes fifty times as long."""
    return (values**2) ** 2
