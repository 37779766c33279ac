"""Fused numba kernels on spline coefficients; each equals the plain PyTorch function of the same name in
`energy.py` or its gradient, and is tested so. Fields are (3, Z, Y, X) float32.
"""

from __future__ import annotations

import numpy as np

from GLIDERegLib.registration.backends.numba.compiling import inlined, inlined_sum, kernel


@kernel("float32[:, :, :, ::1], float32[:, ::1], float32[:, :, :, ::1]", 0.8)
def _sample_planes(first, last, coefficients, taps, out):
    """`spline_samples` of planes, numbered through all components."""
    _, nz, ny, nx = out.shape
    a0, a1, a2, a3, a4 = taps[0]
    b0, b1, b2, b3, b4 = taps[1]
    c0, c1, c2, c3, c4 = taps[2]
    for row in range(first, last):
        component = row // nz
        k = row % nz
        # One plane and one line stay in the processor's cache from the first axis to the last.
        plane = np.empty((ny + 4, nx + 4), np.float32)
        line = np.empty(nx + 4, np.float32)
        p0 = coefficients[component, k]
        p1 = coefficients[component, k + 1]
        p2 = coefficients[component, k + 2]
        p3 = coefficients[component, k + 3]
        p4 = coefficients[component, k + 4]
        for j in range(ny + 4):
            for i in range(nx + 4):
                plane[j, i] = a0 * p0[j, i] + a1 * p1[j, i] + a2 * p2[j, i] + a3 * p3[j, i] + a4 * p4[j, i]
        for j in range(ny):
            for i in range(nx + 4):
                line[i] = (
                    b0 * plane[j, i]
                    + b1 * plane[j + 1, i]
                    + b2 * plane[j + 2, i]
                    + b3 * plane[j + 3, i]
                    + b4 * plane[j + 4, i]
                )
            values = out[component, k, j]
            for i in range(nx):
                values[i] = (
                    c0 * line[i] + c1 * line[i + 1] + c2 * line[i + 2] + c3 * line[i + 3] + c4 * line[i + 4]
                )


def spline_samples(coefficients: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Spline values (3, Z, Y, X) of coefficients (3, Z + 4, Y + 4, X + 4); taps (3, 5) for axes z, y, x."""
    out = np.empty((coefficients.shape[0], *(n - 4 for n in coefficients.shape[1:])), np.float32)
    _sample_planes(out.shape[0] * out.shape[1], coefficients, taps, out)
    return out


def add_transposed(gradient, taps, scale, used, out):
    """Adds `scale` times the transpose of `spline_samples` of a gradient (3, Z, Y, X) to out, four longer on
    every axis. used (Z,): false for slices whose gradient is zero.
    """
    _transposed_planes(out.shape[0] * out.shape[1], gradient, taps, scale, used, out)


@kernel(
    "float32[:, :, :, ::1], float32[:, ::1], float32, boolean[::1], float32[:, :, :, ::1]",
    0.7,
)
def _transposed_planes(begin, end, gradient, taps, scale, used, out):
    """`add_transposed` of planes of out, numbered through all components."""
    _, nz, ny, nx = gradient.shape
    a = taps[0] * scale
    b0, b1, b2, b3, b4 = taps[1]
    c0, c1, c2, c3, c4 = taps[2]
    for row in range(begin, end):
        component = row // (nz + 4)
        m = row % (nz + 4)
        first, last = max(0, m - nz + 1), min(5, m + 1)
        anything = False
        for t in range(first, last):
            anything |= used[m - t] and a[t] != 0.0
        if not anything:
            continue
        plane = np.zeros((ny + 8, nx + 8), np.float32)
        line = np.empty(nx + 8, np.float32)
        for t in range(first, last):
            w = a[t]
            if w != 0.0 and used[m - t]:
                source = gradient[component, m - t]
                for j in range(ny):
                    for i in range(nx):
                        plane[j + 4, i + 4] += w * source[j, i]
        for j in range(ny + 4):
            for i in range(nx + 8):
                line[i] = (
                    b4 * plane[j, i]
                    + b3 * plane[j + 1, i]
                    + b2 * plane[j + 2, i]
                    + b1 * plane[j + 3, i]
                    + b0 * plane[j + 4, i]
                )
            values = out[component, m, j]
            for i in range(nx + 4):
                values[i] += (
                    c4 * line[i] + c3 * line[i + 1] + c2 * line[i + 2] + c1 * line[i + 3] + c0 * line[i + 4]
                )


@inlined_sum
def _dot(a, b):
    """The scalar product of two lines."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


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


@inlined
def _across(field, k, near, far):
    """Sums (Y, X) of the slices one before and after, and of those two before and after."""
    before, after, far_before, far_after = field[k - 1], field[k + 1], field[k - 2], field[k + 2]
    for j in range(near.shape[0]):
        for i in range(near.shape[1]):
            near[j, i] = before[j, i] + after[j, i]
        for i in range(near.shape[1]):
            far[j, i] = far_before[j, i] + far_after[j, i]


@inlined
def _inner_row(plane, near, far, j, out, mixed):
    """Across the slices and rows, two or more from the faces: the constant stencil; near, far: `_across`.

    In two steps, since compilers use whole registers where few lines are read at a time.
    """
    line, above, below, across = plane[j], plane[j - 1], plane[j + 1], near[j]
    for i in range(line.shape[0]):
        mixed[i] = np.float32(4.0) * line[i] - ((across[i] + above[i]) + below[i])
    far_above, far_below, far_across = plane[j - 2], plane[j + 2], far[j]
    across_above, across_below = near[j - 1], near[j + 1]
    for i in range(line.shape[0]):
        ends = far_across[i] + (far_above[i] + far_below[i])
        diagonal = across_above[i] + across_below[i]
        out[i] = (ends + np.float32(2.0) * diagonal) + (
            np.float32(8.0) * mixed[i] - np.float32(12.0) * line[i]
        )


@inlined
def _outer_row(field, k, j, second_z, second_y, first_z, first_y, out, mixed):
    """The same near a face, where the differences that reach beyond it do not count."""
    nx = out.shape[0]
    for i in range(nx):
        out[i] = np.float32(0.0)
        mixed[i] = np.float32(0.0)
    for d in range(-2, 3):
        w = second_z[k, d + 2]
        if w != 0.0:
            line = field[k + d, j]
            for i in range(nx):
                out[i] += w * line[i]
        w = second_y[j, d + 2]
        if w != 0.0:
            line = field[k, j + d]
            for i in range(nx):
                out[i] += w * line[i]
    for d in range(-1, 2):
        w = first_z[k, d + 1]
        if w != 0.0:
            line = field[k + d, j]
            for i in range(nx):
                mixed[i] += w * line[i]
            for e in range(-1, 2):
                v = np.float32(2.0) * w * first_y[j, e + 1]
                if v != 0.0:
                    line = field[k + d, j + e]
                    for i in range(nx):
                        out[i] += v * line[i]
        w = first_y[j, d + 1]
        if w != 0.0:
            line = field[k, j + d]
            for i in range(nx):
                mixed[i] += w * line[i]


@kernel(
    "float32[:, :, :, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1], "
    "float32[:, ::1], float32[:, ::1], float32, float32[:, :, :, ::1], float64[::1]",
    2.0,
)
def _bending_planes(
    begin, end, fields, second_z, second_y, second_x, first_z, first_y, first_x, scale, out, dots
):
    """`BendingEnergy` of planes, numbered through all components; second_*, first_*: `_band` of each axis.

    Writes the gradient into out and each plane's energy into dots.
    """
    _, nz, ny, nx = fields.shape
    two = np.float32(2.0)
    for row in range(begin, end):
        field = fields[row // nz]
        k = row % nz
        mixed = np.empty(nx, np.float32)
        near = np.empty((ny, nx), np.float32)
        far = np.empty((ny, nx), np.float32)
        inner = 2 <= k < nz - 2
        if inner:
            _across(field, k, near, far)
        total = 0.0
        for j in range(ny):
            values = out[row // nz, k, j]
            if inner and 2 <= j < ny - 2:
                _inner_row(field[k], near, far, j, values, mixed)
            else:
                _outer_row(field, k, j, second_z, second_y, first_z, first_y, values, mixed)
            line = field[k, j]
            for i in range(2, nx - 2):
                along = (line[i - 2] + line[i + 2]) - np.float32(4.0) * (line[i - 1] + line[i + 1])
                across = two * mixed[i] - (mixed[i - 1] + mixed[i + 1])
                values[i] = scale * (values[i] + along + np.float32(6.0) * line[i] + two * across)
            for i in (0, 1, nx - 2, nx - 1):
                for d in range(-2, 3):
                    if second_x[i, d + 2] != 0.0:
                        values[i] += second_x[i, d + 2] * line[i + d]
                for d in range(-1, 2):
                    if first_x[i, d + 1] != 0.0:
                        values[i] += two * first_x[i, d + 1] * mixed[i + d]
                values[i] *= scale
            total += _dot(values, line)
        dots[row] = total


class BendingEnergy:
    """Sum over nodes of the squared second differences of a field (3, Z, Y, X), mixed ones twice; free at the
    faces.
    """

    def __init__(self, shape: tuple[int, int, int]):
        self._second = [_band(n, 2) for n in shape]
        self._first = [_band(n, 1) for n in shape]

    def value_and_gradient(self, field: np.ndarray, weight: float = 1.0) -> tuple[float, np.ndarray]:
        """The sum for a field (3, Z, Y, X) float32, and its gradient (3, Z, Y, X), times `weight`."""
        out = np.empty_like(field)
        dots = np.empty(field.shape[0] * field.shape[1])
        # The rows of the gradient are twice the quadratic form's.
        scale = np.float32(2 * weight)
        _bending_planes(len(dots), field, *self._second, *self._first, scale, out, dots)
        return float(dots.sum()) / 2, out
