"""The similarity's fused numba kernel for the processor; it equals `energy.ssd`, and is tested so.

Features are (Z, Y, X, 16) uint8: twelve channels, then a weight channel (0 where not usable, 255 is 1), then
two further channels and, by zero, where these are not known. Fields are (3, Z, Y, X) float32 with components
x, y, z. Partial sums are kept per slice, so results do not depend on threads.
"""

from __future__ import annotations

import numpy as np

from GLIDERegLib.registration.backends.numba.compiling import inlined, inlined_sum, kernel

CHANNELS = 12
LANES = 16
VALID = 12
KNOWN = 15


@inlined
def _lane_terms(m000, m001, m010, m011, m100, m101, m110, m111, f, tx, ty, tz, weight):
    """One channel's weighted squared difference and, without the factor 2, its derivatives by x, y and z."""
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
    difference = c0 + tz * dz - np.float32(f)
    pull = difference * weight
    along_x = pull * (dx0 + tz * (dx1 - dx0))
    along_y = pull * (dy0 + tz * (dy1 - dy0))
    return pull * difference, along_x, along_y, pull * dz


@inlined_sum
def _lane_sums(first, m000, m001, m010, m011, m100, m101, m110, m111, f, tx, ty, tz, lane_weight):
    """`_lane_terms` summed over half of the channels, from the first on: of all, numbers would not fit the
    registers.
    """
    e = gx = gy = gz = np.float32(0.0)
    for c in range(first, first + LANES // 2):
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


def ssd_and_gradient(fixed, moving, offset, ratio, start, scale, u, gradient, shares):
    """Sum over sampled voxels of the weighted squared feature difference, and the sum of weights in each
    slice of nodes.

    Node (k, j, i) is sampled at fixed feature voxel ratio * (k, j, i) + start (z, y, x); the moving features
    are read at that index plus u * scale (feature voxels) minus offset (z, y, x). gradient (3, Z, Y, X) is
    written: d sum / d u. shares: of `Backend.ssd`.
    """
    # Of voxels without and with further channels.
    lane_weight = np.zeros((2, LANES), np.float32)
    lane_weight[:, :CHANNELS] = [[shares[2]], [shares[0]]]
    lane_weight[1, VALID + 1 : KNOWN] = shares[1]
    energy, weights = np.zeros(u.shape[1]), np.zeros(u.shape[1])
    _ssd_slices(
        u.shape[1], fixed, moving, offset, ratio, start, scale, u, lane_weight, gradient, energy, weights
    )
    return energy.sum(), weights


@kernel(
    "uint8[:, :, :, ::1], uint8[:, :, :, ::1], int64[::1], int64, int64[::1], float32, "
    "float32[:, :, :, ::1], float32[:, ::1], float32[:, :, :, ::1], float64[::1], float64[::1]",
    1.4,
)
def _ssd_slices(
    first, last, fixed, moving, offset, ratio, start, scale, u, lane_weight, gradient, energy, weights
):
    """`ssd_and_gradient` of slices of nodes; writes their energies and weights, float64 (Z,)."""
    ny, nx = u.shape[2:]
    fz, fy, fx = fixed.shape[:3]
    mz, my, mx = moving.shape[:3]
    unit = np.float32(1.0 / 255.0)
    for k in range(first, last):
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
                known = fixed[z, y, x, KNOWN] & m000[KNOWN] & m001[KNOWN] & m010[KNOWN] & m011[KNOWN]
                known &= m100[KNOWN] & m101[KNOWN] & m110[KNOWN] & m111[KNOWN]
                lanes = lane_weight[1 if known != 0 else 0]
                f = fixed[z, y, x]
                e, gx, gy, gz = _lane_sums(
                    0, m000, m001, m010, m011, m100, m101, m110, m111, f, tx, ty, tz, lanes
                )
                further = _lane_sums(
                    LANES // 2, m000, m001, m010, m011, m100, m101, m110, m111, f, tx, ty, tz, lanes
                )
                w = np.float32(fixed[z, y, x, VALID]) * unit
                factor = np.float32(2.0) * unit * unit * scale * w
                slice_energy += (e + further[0]) * unit * unit * w
                slice_weight += w
                gradient[0, k, j, i] = (gx + further[1]) * factor
                gradient[1, k, j, i] = (gy + further[2]) * factor
                gradient[2, k, j, i] = (gz + further[3]) * factor
        energy[k] = slice_energy
        weights[k] = slice_weight
