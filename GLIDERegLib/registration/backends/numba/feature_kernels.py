"""numba kernels for local features; their plain versions are in `torch_backend.py`."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.registration.backends.numba.compiling import inlined, kernel
from GLIDERegLib.registration.backends.numba.similarity_kernels import VALID


def patch_distances(padded, pairs, radius, begin, distances):
    """m = D - min_c D of the slices from `begin` on into distances (C, n, Y, X).

    D_c is the mean over a patch of (2 radius + 1)^3 voxels of the squared difference of the image at two
    places, pairs (C, 2, 3): z, y, x of the image's first voxel in `padded`, moved there.
    """
    channels, count, ny = distances.shape[:3]
    slices = padded.shape[0] - int(pairs[:, :, 0].max())
    _distance_channels(channels, padded, pairs, radius, begin, slices, distances)
    _less_the_least(count * ny, distances)


@inlined
def _squares(one, other, first, target):
    """Squared differences of two lines into a third, or added to it unless they are the first."""
    if first:
        for i in range(target.shape[0]):
            difference = one[i] - other[i]
            target[i] = difference * difference
    else:
        for i in range(target.shape[0]):
            difference = one[i] - other[i]
            target[i] += difference * difference


@inlined
def _box_mean(rows, j, radius, share, line, target):
    """Sums of row j and those `radius` above and below, then along the row, times `share`, into target (X,);
    replicated at the faces. line: X + 2 radius numbers to work in.
    """
    ny, nx = rows.shape
    middle, here = line[radius : radius + nx], rows[j]
    for i in range(nx):
        middle[i] = here[i]
    for shift in range(1, radius + 1):
        above, below = rows[max(j - shift, 0)], rows[min(j + shift, ny - 1)]
        for i in range(nx):
            middle[i] += above[i] + below[i]
    line[:radius] = line[radius]
    line[radius + nx :] = line[radius + nx - 1]
    for i in range(nx):
        target[i] = middle[i]
    for shift in range(1, radius + 1):
        left, right = line[radius - shift : radius - shift + nx], line[radius + shift : radius + shift + nx]
        for i in range(nx):
            target[i] += left[i] + right[i]
    for i in range(nx):
        target[i] *= share


@kernel("float32[:, :, ::1], int64[:, :, ::1], int64, int64, int64, float32[:, :, :, ::1]", 1.6)
def _distance_channels(first, last, padded, pairs, radius, begin, slices, distances):
    """D of `patch_distances` for channels; slices: how many the image has."""
    count, ny, nx = distances.shape[1:]
    share = np.float32(1.0 / (2 * radius + 1) ** 3)
    # A plane stays in the processor's cache: slices are added up first, to square again is quicker than to
    # keep.
    rows = np.empty((ny, nx), np.float32)
    line = np.empty(nx + 2 * radius, np.float32)
    for c in range(first, last):
        az, ay, ax = pairs[c, 0, 0], pairs[c, 0, 1], pairs[c, 0, 2]
        bz, by, bx = pairs[c, 1, 0], pairs[c, 1, 1], pairs[c, 1, 2]
        for n in range(count):
            for j in range(ny):
                for shift in range(-radius, radius + 1):
                    k = min(max(begin + n + shift, 0), slices - 1)
                    one = padded[k + az, j + ay, ax : ax + nx]
                    other = padded[k + bz, j + by, bx : bx + nx]
                    _squares(one, other, shift == -radius, rows[j])
            for j in range(ny):
                _box_mean(rows, j, radius, share, line, distances[c, n, j])


@kernel("float32[:, :, :, ::1]", 0.6)
def _less_the_least(first, last, distances):
    """Subtracts the least of all channels, for rows numbered through all slices; in place."""
    channels, _, ny, nx = distances.shape
    for row in range(first, last):
        n = row // ny
        j = row % ny
        least = np.empty(nx, np.float32)
        for i in range(nx):
            least[i] = distances[0, n, j, i]
        for c in range(1, channels):
            line = distances[c, n, j]
            for i in range(nx):
                least[i] = min(least[i], line[i])
        for c in range(channels):
            line = distances[c, n, j]
            for i in range(nx):
                line[i] -= least[i]


def block_means(values, usable, factor, means, share):
    """`Backend.pool`: means (C, z, y, x) of values (C, Z, Y, X) over the usable voxels of blocks, and
    the share (z, y, x) of voxels that were usable.
    """
    _block_rows(share.shape[0] * share.shape[1], values, usable, factor, means, share)


@kernel(
    "float32[:, :, :, ::1], boolean[:, :, ::1], int64, float32[:, :, :, ::1], float32[:, :, ::1]",
    1.0,
)
def _block_rows(first, last, values, usable, factor, means, share):
    """`block_means` of rows of blocks, numbered through all slices of blocks."""
    channels, nz, ny, nx = values.shape
    cy, cx = share.shape[1:]
    for row in range(first, last):
        z = row // cy
        y = row % cy
        # Whole rows are added up first: that runs several voxels at a time.
        sums = np.zeros((channels + 1, cx * factor), np.float32)
        for k in range(z * factor, min((z + 1) * factor, nz)):
            for j in range(y * factor, min((y + 1) * factor, ny)):
                use = usable[k, j]
                total = sums[channels]
                for i in range(nx):
                    total[i] += np.float32(use[i])
                for c in range(channels):
                    total, line = sums[c], values[c, k, j]
                    for i in range(nx):
                        total[i] += line[i] if use[i] else np.float32(0.0)
        for x in range(cx):
            count = np.float32(0.0)
            for i in range(x * factor, (x + 1) * factor):
                count += sums[channels, i]
            share[z, y, x] = count / np.float32(factor**3)
            for c in range(channels):
                total_of_block = np.float32(0.0)
                for i in range(x * factor, (x + 1) * factor):
                    total_of_block += sums[c, i]
                means[c, z, y, x] = total_of_block / max(count, np.float32(1.0))


@inlined
def _byte(value):
    return np.uint8(np.rint(min(max(value, np.float32(0.0)), np.float32(1.0)) * np.float32(255.0)))


def pack_bytes(values, weight, out):
    """`Backend.pack`: values (C, Z, Y, X) and weight (Z, Y, X) in [0, 1] into out (Z, Y, X, 16) uint8,
    the weight behind twelve channels.
    """
    _pack_rows(values.shape[1] * values.shape[2], values, weight, out)


@kernel("float32[:, :, :, ::1], float32[:, :, ::1], uint8[:, :, :, ::1]", 0.6)
def _pack_rows(first, last, values, weight, out):
    """`pack_bytes` of rows of voxels, numbered through all slices."""
    channels, _, ny, nx = values.shape
    for row in range(first, last):
        k = row // ny
        j = row % ny
        for i in range(nx):
            line = out[k, j, i]
            for c in range(channels):
                line[c] = _byte(values[c, k, j, i])
            for c in range(channels, out.shape[3]):
                line[c] = 0
            w = weight[k, j, i]
            if w > 0.0:
                line[VALID] = max(_byte(w), np.uint8(1))
