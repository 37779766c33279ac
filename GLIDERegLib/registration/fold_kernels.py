"""Fused numba kernel for the folding penalty; equals `energy.folding_penalty`, and is tested so."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from GLIDERegLib.registration.cpu_kernels import AS_WRITTEN

_SLAB = 4  # slices a thread works on; slabs of one colour touch no common slice


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _corner(u, inverse_spacing, signs, threshold, colour, gradient, sums):
    nz, ny, nx = u.shape[1:]
    sz, sy, sx = signs
    slabs = (nz + _SLAB - 1) // _SLAB
    for pair in prange((slabs + 1) // 2):
        slab = 2 * pair + colour
        if slab >= slabs:
            continue
        total = 0.0
        for k in range(slab * _SLAB, min((slab + 1) * _SLAB, nz)):
            if k + sz < 0 or k + sz >= nz:
                continue
            for j in range(ny):
                if j + sy < 0 or j + sy >= ny:
                    continue
                for i in range(max(0, -sx), min(nx, nx - sx)):
                    wx = inverse_spacing * np.float32(sx)
                    wy = inverse_spacing * np.float32(sy)
                    wz = inverse_spacing * np.float32(sz)
                    u0 = u[0, k, j, i]
                    u1 = u[1, k, j, i]
                    u2 = u[2, k, j, i]
                    a0 = (u[0, k, j, i + sx] - u0) * wx + np.float32(1.0)
                    a1 = (u[1, k, j, i + sx] - u1) * wx
                    a2 = (u[2, k, j, i + sx] - u2) * wx
                    b0 = (u[0, k, j + sy, i] - u0) * wy
                    b1 = (u[1, k, j + sy, i] - u1) * wy + np.float32(1.0)
                    b2 = (u[2, k, j + sy, i] - u2) * wy
                    c0 = (u[0, k + sz, j, i] - u0) * wz
                    c1 = (u[1, k + sz, j, i] - u1) * wz
                    c2 = (u[2, k + sz, j, i] - u2) * wz + np.float32(1.0)
                    # Rows of the cofactor matrix are the derivatives of the determinant by a, b and c.
                    p0 = b1 * c2 - b2 * c1
                    p1 = b2 * c0 - b0 * c2
                    p2 = b0 * c1 - b1 * c0
                    lack = threshold - (a0 * p0 + a1 * p1 + a2 * p2)
                    if lack <= 0.0:
                        continue
                    total += lack * lack
                    f = np.float32(-2.0) * lack
                    q0 = c1 * a2 - c2 * a1
                    q1 = c2 * a0 - c0 * a2
                    q2 = c0 * a1 - c1 * a0
                    r0 = a1 * b2 - a2 * b1
                    r1 = a2 * b0 - a0 * b2
                    r2 = a0 * b1 - a1 * b0
                    gradient[0, k, j, i + sx] += f * wx * p0
                    gradient[1, k, j, i + sx] += f * wx * p1
                    gradient[2, k, j, i + sx] += f * wx * p2
                    gradient[0, k, j + sy, i] += f * wy * q0
                    gradient[1, k, j + sy, i] += f * wy * q1
                    gradient[2, k, j + sy, i] += f * wy * q2
                    gradient[0, k + sz, j, i] += f * wz * r0
                    gradient[1, k + sz, j, i] += f * wz * r1
                    gradient[2, k + sz, j, i] += f * wz * r2
                    gradient[0, k, j, i] -= f * (wx * p0 + wy * q0 + wz * r0)
                    gradient[1, k, j, i] -= f * (wx * p1 + wy * q1 + wz * r1)
                    gradient[2, k, j, i] -= f * (wx * p2 + wy * q2 + wz * r2)
        sums[slab] = total


def folding_penalty(u: np.ndarray, spacing: float, corner: tuple[int, int, int], threshold: float):
    """Value and gradient (3, Z, Y, X) of `energy.folding_penalty`."""
    gradient = np.zeros_like(u)
    sums = np.zeros(u.shape[1] // _SLAB + 1)
    for colour in (0, 1):
        _corner(u, np.float32(1 / spacing), corner, np.float32(threshold), colour, gradient, sums)
    return float(sums.sum()), gradient
