"""Fused numba kernels for the processor: each equals the plain PyTorch function of the same name in
`energy.py`, and is tested so.

Features are (Z, Y, X, 16) uint8: twelve channels, then a weight channel (0 where not usable, 255 is 1), then
padding to one vector register. Fields are (3, Z, Y, X) float32 with components x, y, z. Partial sums are kept
per slice, so results do not depend on threads.

numba optimises what it saves once more than what it has just compiled. Only sums may be reordered, therefore,
each in a function of its own: elsewhere the second time could round otherwise, and the first run on a machine
would differ from all later ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

CHANNELS = 12
LANES = 16
VALID = 12

_LANE_WEIGHT = np.zeros(LANES, np.float32)
_LANE_WEIGHT[:CHANNELS] = 1.0

AS_WRITTEN = {"contract", "nnan", "ninf", "nsz", "arcp"}
_ANY_ORDER = AS_WRITTEN | {"reassoc"}


@njit(fastmath=AS_WRITTEN, forceinline=True)
def _lane_terms(m000, m001, m010, m011, m100, m101, m110, m111, f, tx, ty, tz, weight):
    """One channel's squared difference and, without the factor 2, its derivatives by x, y and z."""
    a000 = np.float32(m000)
    a010 = np.float32(m010)
    a100 = np.float32(m100)
    a110 = np.float32(m110)
    d00 = np.float32(m001) - a000
    d01 = np.float32(m011) - a010
    d10 = np.float32(m101) - a100
    d11 = np.float32(m111) - a110
    b00 = a000 + tx * d00
    b01 = a010 + tx * d01
    b10 = a100 + tx * d10
    b11 = a110 + tx * d11
    dx0 = d00 + ty * (d01 - d00)
    dx1 = d10 + ty * (d11 - d10)
    dy0 = b01 - b00
    dy1 = b11 - b10
    c0 = b00 + ty * dy0
    c1 = b10 + ty * dy1
    dz = c1 - c0
    difference = (c0 + tz * dz - np.float32(f)) * weight
    along_x = difference * (dx0 + tz * (dx1 - dx0))
    along_y = difference * (dy0 + tz * (dy1 - dy0))
    return difference * difference, along_x, along_y, difference * dz


@njit(fastmath=_ANY_ORDER, forceinline=True)
def _lane_sums(m000, m001, m010, m011, m100, m101, m110, m111, f, tx, ty, tz):
    """`_lane_terms` summed over the channels."""
    lane_weight = _LANE_WEIGHT
    e = gx = gy = gz = np.float32(0.0)
    for c in range(LANES):
        value, along_x, along_y, along_z = _lane_terms(
            m000[c],
            m001[c],
            m010[c],
            m011[c],
            m100[c],
            m101[c],
            m110[c],
            m111[c],
            f[c],
            tx,
            ty,
            tz,
            lane_weight[c],
        )
        e += value
        gx += along_x
        gy += along_y
        gz += along_z
    return e, gx, gy, gz


@njit(fastmath=_ANY_ORDER, forceinline=True)
def _dot(a, b):
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit(fastmath=_ANY_ORDER, forceinline=True)
def _squared_distance(a, b):
    total = np.float32(0.0)
    for c in range(a.shape[0]):
        d = a[c] - b[c]
        total += d * d
    return total


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def ssd_and_gradient(fixed, moving, offset, ratio, start, scale, u, gradient):
    """Sum over sampled voxels of the weighted squared feature difference, and the sum of their weights.

    Node (k, j, i) is sampled at fixed feature voxel ratio * (k, j, i) + start (z, y, x); the moving features
    are read at that index plus u * scale (feature voxels) minus offset (z, y, x). gradient (3, Z, Y, X) is
    written: d sum / d u.
    """
    nz, ny, nx = u.shape[1:]
    fz, fy, fx = fixed.shape[:3]
    mz, my, mx = moving.shape[:3]
    energy = np.zeros(nz, np.float64)
    weights = np.zeros(nz, np.float64)
    unit = np.float32(1.0 / 255.0)
    for k in prange(nz):
        z = ratio * k + start[0]
        slice_energy = 0.0
        slice_weight = 0.0
        for j in range(ny):
            y = ratio * j + start[1]
            for i in range(nx):
                gradient[0, k, j, i] = 0.0
                gradient[1, k, j, i] = 0.0
                gradient[2, k, j, i] = 0.0
                x = ratio * i + start[2]
                if z < 0 or y < 0 or x < 0 or z >= fz or y >= fy or x >= fx or fixed[z, y, x, VALID] == 0:
                    continue
                px = np.float32(x - offset[2]) + u[0, k, j, i] * scale
                py = np.float32(y - offset[1]) + u[1, k, j, i] * scale
                pz = np.float32(z - offset[0]) + u[2, k, j, i] * scale
                if not (px >= 0 and py >= 0 and pz >= 0 and px <= mx - 1 and py <= my - 1 and pz <= mz - 1):
                    continue
                x0 = min(int(px), mx - 2)
                y0 = min(int(py), my - 2)
                z0 = min(int(pz), mz - 2)
                tx = px - np.float32(x0)
                ty = py - np.float32(y0)
                tz = pz - np.float32(z0)
                if (
                    moving[z0, y0, x0, VALID] == 0
                    or moving[z0, y0, x0 + 1, VALID] == 0
                    or moving[z0, y0 + 1, x0, VALID] == 0
                    or moving[z0, y0 + 1, x0 + 1, VALID] == 0
                    or moving[z0 + 1, y0, x0, VALID] == 0
                    or moving[z0 + 1, y0, x0 + 1, VALID] == 0
                    or moving[z0 + 1, y0 + 1, x0, VALID] == 0
                    or moving[z0 + 1, y0 + 1, x0 + 1, VALID] == 0
                ):
                    continue
                m000 = moving[z0, y0, x0]
                m001 = moving[z0, y0, x0 + 1]
                m010 = moving[z0, y0 + 1, x0]
                m011 = moving[z0, y0 + 1, x0 + 1]
                m100 = moving[z0 + 1, y0, x0]
                m101 = moving[z0 + 1, y0, x0 + 1]
                m110 = moving[z0 + 1, y0 + 1, x0]
                m111 = moving[z0 + 1, y0 + 1, x0 + 1]
                e, gx, gy, gz = _lane_sums(
                    m000, m001, m010, m011, m100, m101, m110, m111, fixed[z, y, x], tx, ty, tz
                )
                w = np.float32(fixed[z, y, x, VALID]) * unit
                factor = np.float32(2.0) * unit * unit * scale * w
                slice_energy += e * unit * unit * w
                slice_weight += w
                gradient[0, k, j, i] = gx * factor
                gradient[1, k, j, i] = gy * factor
                gradient[2, k, j, i] = gz * factor
        energy[k] = slice_energy
        weights[k] = slice_weight
    return energy.sum(), weights.sum()


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _correlate(source, taps, out):
    """out[a, k, b] = sum_j taps[j] source[a, k + j, b], for out shorter than source by len(taps) - 1."""
    na, nk, nb = out.shape
    for row in prange(na * nk):
        a = row // nk
        k = row % nk
        for b in range(nb):
            out[a, k, b] = taps[0] * source[a, k, b]
        for j in range(1, taps.shape[0]):
            w = taps[j]
            if w != 0.0:
                for b in range(nb):
                    out[a, k, b] += w * source[a, k + j, b]


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _correlate_rows(source, taps, out):
    """The same along the last axis: out[a, k] = sum_j taps[j] source[a, k + j]."""
    na, nk = out.shape
    for a in prange(na):
        for k in range(nk):
            out[a, k] = taps[0] * source[a, k]
        for j in range(1, taps.shape[0]):
            w = taps[j]
            if w != 0.0:
                for k in range(nk):
                    out[a, k] += w * source[a, k + j]


def spline_samples(coefficients: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Separable correlation of (3, Z + 4, Y + 4, X + 4) with taps (3, 5), rows for z, y, x: (3, Z, Y, X)."""
    c, z, y, x = coefficients.shape
    out_z = np.empty((c, z - 4, y * x), np.float32)
    _correlate(coefficients.reshape(c, z, y * x), taps[0], out_z)
    out_y = np.empty((c * (z - 4), y - 4, x), np.float32)
    _correlate(out_z.reshape(c * (z - 4), y, x), taps[1], out_y)
    out_x = np.empty((c * (z - 4) * (y - 4), x - 4), np.float32)
    _correlate_rows(out_y.reshape(-1, x), taps[2], out_x)
    return out_x.reshape(c, z - 4, y - 4, x - 4)


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _spread(source, taps, out):
    """The transpose of `_correlate`: out[a, m, b] = sum_j taps[j] source[a, m - j, b] where that exists."""
    na, nm, nb = out.shape
    nk = source.shape[1]
    for row in prange(na * nm):
        a = row // nm
        m = row % nm
        for b in range(nb):
            out[a, m, b] = 0.0
        for j in range(taps.shape[0]):
            k = m - j
            w = taps[j]
            if w != 0.0 and k >= 0 and k < nk:
                for b in range(nb):
                    out[a, m, b] += w * source[a, k, b]


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _spread_rows(source, taps, out):
    na, nm = out.shape
    nk = source.shape[1]
    for a in prange(na):
        for m in range(nm):
            out[a, m] = 0.0
        for j in range(taps.shape[0]):
            w = taps[j]
            if w != 0.0:
                for k in range(nk):
                    out[a, k + j] += w * source[a, k]


def spline_samples_transposed(gradient: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Transpose of `spline_samples`: (3, Z, Y, X) to (3, Z + 4, Y + 4, X + 4)."""
    c, z, y, x = gradient.shape
    out_x = np.empty((c * z * y, x + 4), np.float32)
    _spread_rows(gradient.reshape(-1, x), taps[2], out_x)
    out_y = np.empty((c * z, y + 4, x + 4), np.float32)
    _spread(out_x.reshape(c * z, y, x + 4), taps[1], out_y)
    out_z = np.empty((c, z + 4, (y + 4) * (x + 4)), np.float32)
    _spread(out_y.reshape(c, z, (y + 4) * (x + 4)), taps[0], out_z)
    return out_z.reshape(c, z + 4, y + 4, x + 4)


def _band(n: int, order: int) -> np.ndarray:
    """Row k holds the non-zero coefficients of D^T D around k, D the order-th difference: (n, 2 * order + 1)
    float32.
    """
    stencil = {1: [-1.0, 1.0], 2: [1.0, -2.0, 1.0]}[order]
    band = np.zeros((n, 2 * order + 1))
    for start in range(n - order):
        for p, wp in enumerate(stencil):
            for q, wq in enumerate(stencil):
                band[start + p, q - p + order] += wp * wq
    return band.astype(np.float32)


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _bending_rows(c, pz, py, px, lz, ly, lx, out, dots):
    nc, nz, ny, nx = c.shape
    for row in prange(nc * nz):
        a = row // nz
        k = row % nz
        mixed = np.empty(nx, np.float32)
        total = 0.0
        for j in range(ny):
            acc = out[a, k, j]
            for i in range(nx):
                acc[i] = 0.0
                mixed[i] = 0.0
            for d in range(-2, 3):
                w = pz[k, d + 2]
                if w != 0.0:
                    line = c[a, k + d, j]
                    for i in range(nx):
                        acc[i] += w * line[i]
                w = py[j, d + 2]
                if w != 0.0:
                    line = c[a, k, j + d]
                    for i in range(nx):
                        acc[i] += w * line[i]
            for d in range(-1, 2):
                w = lz[k, d + 1]
                if w != 0.0:
                    line = c[a, k + d, j]
                    for i in range(nx):
                        mixed[i] += w * line[i]
                    for e in range(-1, 2):
                        v = np.float32(2.0) * w * ly[j, e + 1]
                        if v != 0.0:
                            other = c[a, k + d, j + e]
                            for i in range(nx):
                                acc[i] += v * other[i]
                w = ly[j, d + 1]
                if w != 0.0:
                    line = c[a, k, j + d]
                    for i in range(nx):
                        mixed[i] += w * line[i]
            line = c[a, k, j]
            for i in range(2, nx - 2):
                acc[i] += (
                    line[i - 2]
                    - np.float32(4.0) * (line[i - 1] + line[i + 1])
                    + np.float32(6.0) * line[i]
                    + line[i + 2]
                )
                acc[i] += np.float32(2.0) * (np.float32(2.0) * mixed[i] - mixed[i - 1] - mixed[i + 1])
            for i in (0, 1, nx - 2, nx - 1):
                for d in range(-2, 3):
                    if px[i, d + 2] != 0.0:
                        acc[i] += px[i, d + 2] * line[i + d]
                for d in range(-1, 2):
                    if lx[i, d + 1] != 0.0:
                        acc[i] += np.float32(2.0) * lx[i, d + 1] * mixed[i + d]
            total += _dot(acc, line)
        dots[row] = total


class BendingEnergy:
    """Sum over nodes of the squared second differences of a field (3, Z, Y, X), mixed ones twice; free at the
    faces.
    """

    def __init__(self, shape: tuple[int, int, int]):
        self._second = [_band(n, 2) for n in shape]
        self._first = [_band(n, 1) for n in shape]

    def value_and_gradient(self, field: np.ndarray) -> tuple[float, np.ndarray]:
        out = np.empty_like(field)
        dots = np.empty(field.shape[0] * field.shape[1])
        _bending_rows(field, *self._second, *self._first, out, dots)
        value = float(dots.sum())
        out *= 2.0
        return value, out


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def match_cost(fixed, moving, fixed_weight, moving_valid, shift, labels):
    """Cost volume (Z, Y, X, L) of `convex.match_cost` before smoothing; features (Z, Y, X, C) float32, C a
    multiple of 16.
    """
    nz, ny, nx = fixed.shape[:3]
    mz, my, mx = moving.shape[:3]
    count = labels.shape[0]
    cost = np.zeros((nz, ny, nx, count), np.float32)
    for row in prange(nz * ny):
        k = row // ny
        j = row % ny
        for i in range(nx):
            w = fixed_weight[k, j, i]
            if w == 0.0:
                continue
            line = cost[k, j, i]
            f = fixed[k, j, i]
            total = 0.0
            valid = 0
            for n in range(count):
                x = i + shift[0] + labels[n, 0]
                y = j + shift[1] + labels[n, 1]
                z = k + shift[2] + labels[n, 2]
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
    return cost


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _smooth_axis(cost, axis_length, stride):
    """In place along one axis of (cells, L): a box of three applied twice, faces replicated; lines are
    independent.
    """
    cells, count = cost.shape
    lines = cells // axis_length
    for line in prange(lines):
        start = (line // stride) * stride * axis_length + line % stride
        previous = np.empty(count, np.float32)
        current = np.empty(count, np.float32)
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
        _smooth_axis(flat, length, stride)


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def coupled_argmin(cost, labels, center, coupling):
    """argmin_l cost[n, l] + coupling |labels[l] - center[n]|^2 for every cell n: (N,) int64."""
    cells, count = cost.shape
    chosen = np.empty(cells, np.int64)
    columns = np.ascontiguousarray(labels.T)
    for n in prange(cells):
        values = np.empty(count, np.float32)
        least = np.float32(3e38)
        for m in range(count):
            dx = columns[0, m] - center[n, 0]
            dy = columns[1, m] - center[n, 1]
            dz = columns[2, m] - center[n, 2]
            v = cost[n, m] + coupling * (dx * dx + dy * dy + dz * dz)
            values[m] = v
            least = min(least, v)
        for m in range(count):
            if values[m] == least:
                chosen[n] = m
                break
    return chosen


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _add_scaled(target, source, scale):
    for row in prange(target.shape[0]):
        for i in range(target.shape[1]):
            target[row, i] += scale * source[row, i]


def add_scaled(target: np.ndarray, source: np.ndarray, scale: np.float32) -> None:
    """target += scale * source for arrays of four axes."""
    rows = target.shape[0] * target.shape[1]
    _add_scaled(target.reshape(rows, -1), source.reshape(rows, -1), scale)
