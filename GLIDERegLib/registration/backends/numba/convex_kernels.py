"""numba kernels of the coupled convex optimisation; their plain versions are in `torch_backend.py`."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.registration.backends.numba.compiling import inlined_sum, kernel

_LANES = 16


@inlined_sum
def _squared_distance(a, b):
    total = np.float32(0.0)
    for c in range(a.shape[0]):
        d = a[c] - b[c]
        total += d * d
    return total


def match_cost(fixed, moving, fixed_weight, moving_valid, shift, labels, cost):
    """Writes the cost volume (Z, Y, X, L) of `energy.matching_cost`, not smoothed; features
    (Z, Y, X, C) float32, C a multiple of 16.
    """
    rows = fixed.shape[0] * fixed.shape[1]
    _match_rows(rows, fixed, moving, fixed_weight, moving_valid, shift, labels, cost)


@kernel(
    "float32[:, :, :, ::1], float32[:, :, :, ::1], float32[:, :, ::1], boolean[:, :, ::1], int64[::1], "
    "int64[:, ::1], float32[:, :, :, ::1]",
    0.8,
)
def _match_rows(first, last, fixed, moving, fixed_weight, moving_valid, shift, labels, cost):
    """`match_cost` of rows of fixed voxels, numbered through all slices."""
    ny, nx = fixed.shape[1:3]
    mz, my, mx = moving.shape[:3]
    count = labels.shape[0]
    for row in range(first, last):
        k = row // ny
        j = row % ny
        for i in range(nx):
            w = fixed_weight[k, j, i]
            line = cost[k, j, i]
            if w == 0.0:
                line[:] = np.float32(0.0)
                continue
            f = fixed[k, j, i]
            total = 0.0
            valid = 0
            x0, y0, z0 = i + shift[0], j + shift[1], k + shift[2]
            for n in range(count):
                x, y, z = x0 + labels[n, 0], y0 + labels[n, 1], z0 + labels[n, 2]
                if x < 0 or y < 0 or z < 0 or x >= mx or y >= my or z >= mz or not moving_valid[z, y, x]:
                    line[n] = -1.0
                    continue
                e = _squared_distance(f, moving[z, y, x])
                line[n] = e
                total += e
                valid += 1
            neutral = np.float32(total / valid) if valid else np.float32(0.0)
            for n in range(count):
                line[n] = w * (neutral if line[n] < 0.0 else line[n])


@kernel("float32[:, ::1], int64, int64", 0.4)
def _smooth_lines(first, last, cost, axis_length, stride):
    """In place along one axis of (cells, L): a box of three applied twice, faces replicated; lines are
    independent.
    """
    count = cost.shape[1]
    previous = np.empty(count, np.float32)
    current = np.empty(count, np.float32)
    for line in range(first, last):
        start = (line // stride) * stride * axis_length + line % stride
        for _ in range(2):
            for n in range(count):
                previous[n] = cost[start, n]
            for k in range(axis_length):
                here = cost[start + k * stride]
                after = cost[start + min(k + 1, axis_length - 1) * stride]
                for n in range(count):
                    current[n] = here[n]
                    here[n] = (previous[n] + here[n] + after[n]) * np.float32(1.0 / 3.0)
                for n in range(count):
                    previous[n] = current[n]


def smooth_cost(cost: np.ndarray) -> None:
    """A box of 3^3 cells applied twice to every label's slice of (Z, Y, X, L), in place, padded by
    replication.
    """
    nz, ny, nx, count = cost.shape
    flat = cost.reshape(-1, count)
    for length, stride in ((nx, 1), (ny, nx), (nz, nx * ny)):
        _smooth_lines(len(flat) // length, flat, length, stride)


def coupled_argmin(cost, labels, center, coupling):
    """argmin_l cost[n, l] + coupling |labels[l] - center[n]|^2 for every cell n: (N,) int64."""
    chosen = np.zeros(len(cost), np.int64)
    _argmin_cells(len(cost), cost, np.ascontiguousarray(labels.T), center, coupling, chosen)
    return chosen


@kernel("float32[:, ::1], float32[:, ::1], float32[:, ::1], float32, int64[::1]", 0.8)
def _argmin_cells(first, last, cost, columns, center, coupling, chosen):
    """`coupled_argmin` of cells; columns (3, L) float32: the labels, each component by itself."""
    count = cost.shape[1]
    blocks = count // _LANES
    values = np.empty(count, np.float32)
    # Every lane keeps its own least value, so that a whole register is compared at a time; where that value
    # is, is looked for afterwards: both together took twice the time.
    least = np.empty(_LANES, np.float32)
    xs, ys, zs = columns[0], columns[1], columns[2]
    for n in range(first, last):
        line = cost[n]
        x, y, z = center[n, 0], center[n, 1], center[n, 2]
        for m in range(count):
            dx, dy, dz = xs[m] - x, ys[m] - y, zs[m] - z
            values[m] = line[m] + coupling * (dx * dx + dy * dy + dz * dz)
        for lane in range(_LANES):
            least[lane] = np.float32(3e38)
        for b in range(blocks):
            for lane in range(_LANES):
                least[lane] = min(least[lane], values[b * _LANES + lane])
        best = np.float32(3e38)
        for lane in range(_LANES):
            best = min(best, least[lane])
        for m in range(blocks * _LANES, count):
            best = min(best, values[m])
        for m in range(count):
            if values[m] == best:
                chosen[n] = m
                break
