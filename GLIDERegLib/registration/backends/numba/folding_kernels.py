"""Fused numba kernels against folding: the penalty, which equals `energy.folding_penalty`, and the repair of
`TorchBackend.repaired` near the folds only; they are tested so.
"""

from __future__ import annotations

import numpy as np

from GLIDERegLib.registration.backends.numba.compiling import inlined, kernel

_SLAB = 4  # slices a thread works on; slabs of one colour touch no common slice


@inlined
def _cofactors(a0, a1, a2, b0, b1, b2):
    """The cross product of a and b."""
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@inlined
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


@kernel(
    "float32[:, :, :, ::1], float32, UniTuple(int64, 3), float32, int64, float32[:, :, :, ::1], float64[::1]",
    0.6,
)
def _corner_slabs(first, last, u, inverse_spacing, signs, threshold, colour, gradient, sums):
    """`folding_penalty` of pairs of slabs, of the one of a colour; adds to gradient, writes sums."""
    nz, ny, nx = u.shape[1:]
    sz, sy, sx = signs
    slabs = (nz + _SLAB - 1) // _SLAB
    for pair in range(first, last):
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
    pairs = (len(sums) + 1) // 2
    for colour in (0, 1):
        _corner_slabs(
            pairs, u, np.float32(1 / spacing), corner, np.float32(threshold), colour, gradient, sums
        )
    folded = np.repeat(sums > 0, _SLAB)[: u.shape[1]]
    used = folded.copy()
    # A slab's corners reach one slice into its neighbours.
    used[1:] |= folded[:-1]
    used[:-1] |= folded[1:]
    return float(sums.sum()), gradient, used


@kernel("float32[:, :, :, ::1], float32, float32, boolean[:, :, ::1], boolean[:, :, ::1]", 0.3)
def _find_rows(first, last, u, inverse_spacing, least, where, folded):
    """Writes for the nodes `where` (Z, Y, X) says so whether one of their corner determinants is below
    `least`.
    """
    nz, ny, nx = u.shape[1:]
    for row in range(first, last):
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


@kernel(
    "float32[:, :, :, ::1], boolean[:, :, ::1], boolean[:, :, ::1], float32[:, :, :, ::1]",
    0.4,
)
def _mix_rows(first, last, u, near, where, mixed):
    """Writes, for some nodes, u mixed with its 3^3 mean by the share of `near` nodes among these 27; faces
    replicated.
    """
    nz, ny, nx = u.shape[1:]
    for row in range(first, last):
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


def find_folds(u: np.ndarray, spacing: float, least: float, where: np.ndarray, folded: np.ndarray) -> None:
    """Writes into `folded` for the nodes `where` (bool, Z, Y, X) says so whether one of their corner
    determinants is below `least`; u (3, Z, Y, X) voxels, spacing: voxels between nodes.
    """
    _find_rows(where.shape[0] * where.shape[1], u, np.float32(1 / spacing), np.float32(least), where, folded)


def mix(u: np.ndarray, near: np.ndarray, where: np.ndarray, mixed: np.ndarray) -> None:
    """Writes into `mixed`, for the nodes `where`, u mixed with its mean over 3^3 nodes by the share of `near`
    among them.
    """
    _mix_rows(where.shape[0] * where.shape[1], u, near, where, mixed)
