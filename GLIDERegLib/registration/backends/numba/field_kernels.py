"""Fused numba kernels that read images and fields between voxels; plainly they are in `torch_backend.py`."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.registration.backends.numba.compiling import inlined, kernel

# Points that one thread takes at a time.
PART = 4096


@inlined
def _lerp(a, b, t):
    """Between a and b, t of the way."""
    return a + t * (b - a)


def sample(image, position, out):
    """`Backend.sample` of an image (C, Z, Y, X) at positions (3, N), written into out (C, N)."""
    _sample_parts(-(-position.shape[1] // PART), image, position, out)


@kernel("float32[:, :, :, ::1], float32[:, ::1], float32[:, ::1]", 0.6)
def _sample_parts(first, last, image, position, out):
    """`sample` at parts of `PART` positions."""
    channels, nz, ny, nx = image.shape
    zero = np.float32(0.0)
    for n in range(first * PART, min(last * PART, position.shape[1])):
        x = min(max(position[0, n], zero), np.float32(nx - 1))
        y = min(max(position[1, n], zero), np.float32(ny - 1))
        z = min(max(position[2, n], zero), np.float32(nz - 1))
        # What is no number becomes some integer, and must not leave the image.
        i0, j0, k0 = (
            min(max(int(x), 0), nx - 1),
            min(max(int(y), 0), ny - 1),
            min(max(int(z), 0), nz - 1),
        )
        i1, j1, k1 = min(i0 + 1, nx - 1), min(j0 + 1, ny - 1), min(k0 + 1, nz - 1)
        tx, ty, tz = x - np.float32(i0), y - np.float32(j0), z - np.float32(k0)
        for c in range(channels):
            near, far = image[c, k0], image[c, k1]
            nearer = _lerp(_lerp(near[j0, i0], near[j0, i1], tx), _lerp(near[j1, i0], near[j1, i1], tx), ty)
            farther = _lerp(_lerp(far[j0, i0], far[j0, i1], tx), _lerp(far[j1, i0], far[j1, i1], tx), ty)
            out[c, n] = _lerp(nearer, farther, tz)


def invert(deformation, start, spacing, tolerance, most, offset):
    """Fixed points o of o = -w(start + o), by at most `most` iterations for every start (N, 3), written into
    offset (N, 3); and the largest |w(start + o) + o| in mm.

    deformation: w (Z, Y, X, 3), trilinear, constant beyond its faces. All float32 in index units (x, y, z),
    but spacing (mm) and tolerance, the mm at which a point is left alone.
    """
    worst = np.zeros(-(-len(start) // PART), np.float32)
    _invert_parts(len(worst), deformation, start, spacing, tolerance, most, offset, worst)
    return np.sqrt(worst.max())


@kernel(
    "float32[:, :, :, ::1], float32[:, ::1], float32[::1], float32, int64, float32[:, ::1], float32[::1]",
    0.9,
)
def _invert_parts(first, last, deformation, start, spacing, tolerance, most, offset, worst):
    """`invert` of parts of `PART` points; worst (parts,): the largest squared residual of each, mm^2."""
    nz, ny, nx = deformation.shape[:3]
    count = start.shape[0]
    zero = np.float32(0.0)
    for part in range(first, last):
        largest = zero
        for n in range(part * PART, min((part + 1) * PART, count)):
            ox = oy = oz = zero
            for iteration in range(most + 1):
                x = min(max(start[n, 0] + ox, zero), np.float32(nx - 1))
                y = min(max(start[n, 1] + oy, zero), np.float32(ny - 1))
                z = min(max(start[n, 2] + oz, zero), np.float32(nz - 1))
                i0, j0, k0 = int(x), int(y), int(z)
                i1, j1, k1 = min(i0 + 1, nx - 1), min(j0 + 1, ny - 1), min(k0 + 1, nz - 1)
                tx, ty, tz = x - np.float32(i0), y - np.float32(j0), z - np.float32(k0)
                w000, w001 = deformation[k0, j0, i0], deformation[k0, j0, i1]
                w010, w011 = deformation[k0, j1, i0], deformation[k0, j1, i1]
                w100, w101 = deformation[k1, j0, i0], deformation[k1, j0, i1]
                w110, w111 = deformation[k1, j1, i0], deformation[k1, j1, i1]
                near = _lerp(_lerp(w000[0], w001[0], tx), _lerp(w010[0], w011[0], tx), ty)
                far = _lerp(_lerp(w100[0], w101[0], tx), _lerp(w110[0], w111[0], tx), ty)
                ex = ox + _lerp(near, far, tz)
                near = _lerp(_lerp(w000[1], w001[1], tx), _lerp(w010[1], w011[1], tx), ty)
                far = _lerp(_lerp(w100[1], w101[1], tx), _lerp(w110[1], w111[1], tx), ty)
                ey = oy + _lerp(near, far, tz)
                near = _lerp(_lerp(w000[2], w001[2], tx), _lerp(w010[2], w011[2], tx), ty)
                far = _lerp(_lerp(w100[2], w101[2], tx), _lerp(w110[2], w111[2], tx), ty)
                ez = oz + _lerp(near, far, tz)
                residual = (ex * spacing[0]) ** 2 + (ey * spacing[1]) ** 2 + (ez * spacing[2]) ** 2
                if residual <= tolerance * tolerance or iteration == most:
                    largest = max(largest, residual)
                    break
                ox -= ex
                oy -= ey
                oz -= ez
            offset[n, 0] = ox
            offset[n, 1] = oy
            offset[n, 2] = oz
        worst[part] = largest
