"""numba kernels of the coupled convex optimisation; their plain versions are in `torch_backend.py`."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.registration.backends.numba.compiling import inlined, inlined_sum, kernel

_BLOCK = 128  # labels


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
    # With unusable cells around the moving ones, a displacement is a step in memory that needs no checks.
    size = np.asarray(moving.shape[2::-1])
    low = np.maximum(-(shift + labels.min(axis=0)), 0)
    high = np.maximum(np.asarray(fixed.shape[2::-1]) + shift + labels.max(axis=0) - size, 0)
    shape = (low + size + high)[::-1]
    inside = tuple(slice(o, o + n) for o, n in zip(low[::-1], size[::-1], strict=True))
    padded, usable = np.zeros((*shape, moving.shape[3]), np.float32), np.zeros(shape, bool)
    padded[inside], usable[inside] = moving, moving_valid
    steps = (labels + (shift + low)) @ np.array([1, shape[2], shape[1] * shape[2]])
    rows = fixed.shape[0] * fixed.shape[1]
    flat = padded.reshape(-1, moving.shape[3]), usable.ravel()
    _match_rows(rows, fixed, *flat, fixed_weight, shape[1], shape[2], steps, cost)


@kernel(
    "float32[:, :, :, ::1], float32[:, ::1], boolean[::1], float32[:, :, ::1], int64, int64, "
    "int64[::1], float32[:, :, :, ::1]",
    0.8,
)
def _match_rows(first, last, fixed, moving, usable, fixed_weight, height, width, steps, cost):
    """`match_cost` of rows of fixed voxels, numbered through all slices; moving cells lie in slices of
    `height` rows of `width`, and steps (L,) lead to a label's one from where the fixed one has its index.
    """
    ny, nx = fixed.shape[1:3]
    count = steps.shape[0]
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
            here = (k * height + j) * width + i
            for n in range(count):
                at = here + steps[n]
                if not usable[at]:
                    line[n] = -1.0
                    continue
                e = _squared_distance(f, moving[at])
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


@inlined
def _least(values, first, last):
    """Of integers: of floats, numba compares one at a time."""
    least = values[first]
    for m in range(first + 1, last):
        least = min(least, values[m])
    return least


def coupled_argmin(cost, labels, center, coupling):
    """argmin_l cost[n, l] + coupling |labels[l] - center[n]|^2 for every cell n: (N,) int64; no cost is
    negative.
    """
    chosen = np.zeros(len(cost), np.int64)
    _argmin_cells(len(cost), cost, np.ascontiguousarray(labels.T), center, coupling, chosen)
    return chosen


@kernel("float32[:, ::1], float32[:, ::1], float32[:, ::1], float32, int64[::1]", 0.8)
def _argmin_cells(first, last, cost, columns, center, coupling, chosen):
    """`coupled_argmin` of cells; columns (3, L) float32: the labels, each component by itself."""
    count = cost.shape[1]
    values = np.empty(count, np.float32)
    # Of numbers that are not negative, the bits as integers have the same order.
    bits = values.view(np.int32)
    xs, ys, zs = columns[0], columns[1], columns[2]
    for n in range(first, last):
        line = cost[n]
        x, y, z = center[n, 0], center[n, 1], center[n, 2]
        for m in range(count):
            dx, dy, dz = xs[m] - x, ys[m] - y, zs[m] - z
            values[m] = line[m] + coupling * (dx * dx + dy * dy + dz * dz)
        # Where the least one is, is looked for afterwards, in its block: both together took twice the time.
        best, start = bits[0], 0
        for low in range(0, count, _BLOCK):
            least = _least(bits, low, min(low + _BLOCK, count))
            if least < best:
                best, start = least, low
        for m in range(start, count):
            if bits[m] == best:
                chosen[n] = m
                break
