"""Fused numba kernels against folding: the penalty, which equals `energy.folding_penalty`, and the repair of
`folding.without_folds` near the folds only; they are tested so.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange

from GLIDERegLib.registration.cells import grown
from GLIDERegLib.registration.cpu_kernels import AS_WRITTEN

_SLAB = 4  # slices a thread works on; slabs of one colour touch no common slice


@njit(fastmath=AS_WRITTEN, forceinline=True)
def _cofactors(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@njit(fastmath=AS_WRITTEN, forceinline=True)
def _columns(u, k, j, i, sz, sy, sx, inverse_spacing):
    """The Jacobian's columns at a corner of node (k, j, i), from differences along x, y and z."""
    one = np.float32(1.0)
    wx = inverse_spacing * np.float32(sx)
    wy = inverse_spacing * np.float32(sy)
    wz = inverse_spacing * np.float32(sz)
    u0, u1, u2 = u[0, k, j, i], u[1, k, j, i], u[2, k, j, i]
    a = (u[0, k, j, i + sx] - u0) * wx + one, (u[1, k, j, i + sx] - u1) * wx, (u[2, k, j, i + sx] - u2) * wx
    b = (u[0, k, j + sy, i] - u0) * wy, (u[1, k, j + sy, i] - u1) * wy + one, (u[2, k, j + sy, i] - u2) * wy
    c = (u[0, k + sz, j, i] - u0) * wz, (u[1, k + sz, j, i] - u1) * wz, (u[2, k + sz, j, i] - u2) * wz + one
    return a, b, c


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
                    a, b, c = _columns(u, k, j, i, sz, sy, sx, inverse_spacing)
                    # Cofactors are the derivatives of the determinant by a, b and c.
                    p = _cofactors(*b, *c)
                    lack = threshold - (a[0] * p[0] + a[1] * p[1] + a[2] * p[2])
                    if lack <= 0.0:
                        continue
                    total += lack * lack
                    q, r = _cofactors(*c, *a), _cofactors(*a, *b)
                    f = np.float32(-2.0) * lack * inverse_spacing
                    fx, fy, fz = f * np.float32(sx), f * np.float32(sy), f * np.float32(sz)
                    for d in range(3):
                        gradient[d, k, j, i + sx] += fx * p[d]
                        gradient[d, k, j + sy, i] += fy * q[d]
                        gradient[d, k + sz, j, i] += fz * r[d]
                        gradient[d, k, j, i] -= fx * p[d] + fy * q[d] + fz * r[d]
        sums[slab] = total


def folding_penalty(
    u: np.ndarray, spacing: float, corner: tuple[int, int, int], threshold: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Value and gradient (3, Z, Y, X) of `energy.folding_penalty`, and flags (Z,), false only where the
    gradient is zero.
    """
    gradient = np.zeros_like(u)
    sums = np.zeros(-(-u.shape[1] // _SLAB))
    for colour in (0, 1):
        _corner(u, np.float32(1 / spacing), corner, np.float32(threshold), colour, gradient, sums)
    folded = np.repeat(sums > 0, _SLAB)[: u.shape[1]]
    used = folded.copy()
    # A slab's corners reach one slice into its neighbours.
    used[1:] |= folded[:-1]
    used[:-1] |= folded[1:]
    return float(sums.sum()), gradient, used


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _find_folds(u, inverse_spacing, least, where, folded):
    """Writes for the nodes `where` (Z, Y, X) says so whether one of their corner determinants is below
    `least`.
    """
    nz, ny, nx = u.shape[1:]
    for row in prange(nz * ny):
        k, j = row // ny, row % ny
        for i in range(nx):
            if not where[k, j, i]:
                continue
            found = False
            for corner in range(8):
                sz, sy, sx = 1 - 2 * (corner >> 2), 1 - 2 * (corner >> 1 & 1), 1 - 2 * (corner & 1)
                if not (0 <= k + sz < nz and 0 <= j + sy < ny and 0 <= i + sx < nx):
                    continue
                a, b, c = _columns(u, k, j, i, sz, sy, sx, inverse_spacing)
                p = _cofactors(*b, *c)
                found = found or a[0] * p[0] + a[1] * p[1] + a[2] * p[2] < least
            folded[k, j, i] = found


@njit(parallel=True, fastmath=AS_WRITTEN, cache=True, nogil=True)
def _mix(u, near, where, mixed):
    """Writes, for some nodes, u mixed with its 3^3 mean by the share of `near` nodes among these 27; faces
    replicated.
    """
    nz, ny, nx = u.shape[1:]
    for row in prange(nz * ny):
        k, j = row // ny, row % ny
        for i in range(nx):
            if not where[k, j, i]:
                continue
            count = 0
            x = y = z = np.float32(0.0)
            for neighbour in range(27):
                kk = min(max(k + neighbour // 9 - 1, 0), nz - 1)
                jj = min(max(j + neighbour // 3 % 3 - 1, 0), ny - 1)
                ii = min(max(i + neighbour % 3 - 1, 0), nx - 1)
                count += near[kk, jj, ii]
                x += u[0, kk, jj, ii]
                y += u[1, kk, jj, ii]
                z += u[2, kk, jj, ii]
            share = np.float32(count / 27)
            mixed[0, k, j, i] = u[0, k, j, i] + share * (x / np.float32(27) - u[0, k, j, i])
            mixed[1, k, j, i] = u[1, k, j, i] + share * (y / np.float32(27) - u[1, k, j, i])
            mixed[2, k, j, i] = u[2, k, j, i] + share * (z / np.float32(27) - u[2, k, j, i])


def repaired(u: np.ndarray, spacing: float, least: float, rounds: int) -> np.ndarray | None:
    """The field (3, Z, Y, X) after the rounds of `folding.without_folds`; None where nothing folds."""
    inverse_spacing, least = np.float32(1 / spacing), np.float32(least)
    folded = np.zeros(u.shape[1:], bool)
    _find_folds(u, inverse_spacing, least, np.ones_like(folded), folded)
    if not folded.any():
        return None
    u, mixed = u.copy(), np.empty_like(u)
    for _ in range(rounds):
        near = grown(torch.from_numpy(folded), 2)
        changed = grown(near, 1)
        _mix(u, near.numpy(), changed.numpy(), mixed)
        np.copyto(u, mixed, where=changed.numpy())
        # A corner reaches one node beyond its own.
        _find_folds(u, inverse_spacing, least, grown(changed, 1).numpy(), folded)
        if not folded.any():
            break
    return u
