"""Fused Triton kernels for NVIDIA graphics cards: each equals the function of the same name in
`torch_kernels.py`, and is tested so.

Every gradient is gathered by the element that it belongs to, and every sum goes through partial sums of fixed
order: there are no atomics, so that a run repeats to the bit.
"""

from __future__ import annotations

import numpy as np
import torch
import triton.language as tl

from GLIDERegLib.registration import energy
from GLIDERegLib.registration.backends.protocol import PLAIN_SHARES, Shares
from GLIDERegLib.registration.backends.triton_penalties import (
    BLOCK,
    bending_energy,
    folding_penalty,
    kernel,
    programs,
)

__all__ = [
    "bending_energy",
    "folding_penalty",
    "spline_samples",
    "spline_samples_transposed",
    "ssd_and_gradient",
    "try_on",
]


@kernel
def _correlate(source, out, count, longer, length, inner, shift, w0, w1, w2, w3, w4, BLOCK: tl.constexpr):
    """out[a, k, b] = sum_j w_j source[a, k + j + shift, b], zero beyond the source of `longer` elements."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = element < count
    k = element // inner % length + shift
    row = element // (inner * length) * longer
    here = source + (row + k) * inner + element % inner
    total = w0 * tl.load(here, mask=live & (k >= 0) & (k < longer), other=0.0)
    total += w1 * tl.load(here + inner, mask=live & (k >= -1) & (k < longer - 1), other=0.0)
    total += w2 * tl.load(here + 2 * inner, mask=live & (k >= -2) & (k < longer - 2), other=0.0)
    total += w3 * tl.load(here + 3 * inner, mask=live & (k >= -3) & (k < longer - 3), other=0.0)
    total += w4 * tl.load(here + 4 * inner, mask=live & (k >= -4) & (k < longer - 4), other=0.0)
    tl.store(out + element, total, mask=live)


def _along(source: torch.Tensor, axis: int, taps: list[float], change: int) -> torch.Tensor:
    """`_correlate` along an axis, whose length changes by `change`: the middle of what there is if it falls,
    all that any element reaches if it grows.
    """
    shape = list(source.shape)
    shape[axis] += change
    out = source.new_empty(shape)
    inner = int(np.prod(shape[axis + 1 :]))
    with torch.cuda.device_of(source):
        _correlate[programs(out.numel())](
            source,
            out,
            out.numel(),
            source.shape[axis],
            shape[axis],
            inner,
            min(-change, 0),
            *taps,
            BLOCK=BLOCK,
        )
    return out


def spline_samples(coefficients: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
    """Spline values (3, Z, Y, X) of coefficients (3, Z + 4, Y + 4, X + 4); taps (3, 5) for axes z, y, x."""
    for axis, weights in zip((1, 2, 3), taps.tolist(), strict=True):
        coefficients = _along(coefficients.contiguous(), axis, weights, -4)
    return coefficients


def spline_samples_transposed(gradient: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
    """Transpose of `spline_samples`: (3, Z, Y, X) to (3, Z + 4, Y + 4, X + 4)."""
    for axis, weights in zip((3, 2, 1), taps[::-1].tolist(), strict=True):
        gradient = _along(gradient.contiguous(), axis, weights[::-1], 4)
    return gradient


@kernel
def _ssd(
    fixed, moving, u, gradient, values, weights, nodes, ny, nx, fz, fy, fx, mz, my, mx,
    oz, oy, ox, ratio, sz, sy, sx, scale, share, further, alone, BLOCK: tl.constexpr,
):  # fmt: skip
    node = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lane = tl.arange(0, 16)[None, :]
    live = node < nodes
    z = node // (nx * ny) * ratio + sz
    y = node // nx % ny * ratio + sy
    x = node % nx * ratio + sx
    use = live & (z >= 0) & (y >= 0) & (x >= 0) & (z < fz) & (y < fy) & (x < fx)
    row = ((z.to(tl.int64) * fy + y) * fx + x) * 16
    f = tl.load(fixed + row[:, None] + lane, mask=use[:, None], other=0).to(tl.float32)
    weight = tl.sum(tl.where(lane == 12, f, 0.0), axis=1)

    px = (x - ox).to(tl.float32) + tl.load(u + node, mask=live, other=0.0) * scale
    py = (y - oy).to(tl.float32) + tl.load(u + nodes + node, mask=live, other=0.0) * scale
    pz = (z - oz).to(tl.float32) + tl.load(u + 2 * nodes + node, mask=live, other=0.0) * scale
    use = use & (px >= 0) & (py >= 0) & (pz >= 0) & (px <= mx - 1) & (py <= my - 1) & (pz <= mz - 1)
    use = use & (weight > 0)
    # Where an axis has a single voxel, its two corners are one.
    px, py, pz = tl.where(use, px, 0.0), tl.where(use, py, 0.0), tl.where(use, pz, 0.0)
    x0 = tl.maximum(tl.minimum(px.to(tl.int32), mx - 2), 0)
    y0 = tl.maximum(tl.minimum(py.to(tl.int32), my - 2), 0)
    z0 = tl.maximum(tl.minimum(pz.to(tl.int32), mz - 2), 0)
    tx = (px - x0)[:, None]
    ty = (py - y0)[:, None]
    tz = (pz - z0)[:, None]
    dx = (tl.minimum(x0 + 1, mx - 1) - x0).to(tl.int64) * 16
    dy = (tl.minimum(y0 + 1, my - 1) - y0).to(tl.int64) * mx * 16
    dz = (tl.minimum(z0 + 1, mz - 1) - z0).to(tl.int64) * my * mx * 16
    base = ((z0.to(tl.int64) * my + y0) * mx + x0) * 16
    there = use[:, None]
    m000 = tl.load(moving + base[:, None] + lane, mask=there, other=0).to(tl.float32)
    m001 = tl.load(moving + (base + dx)[:, None] + lane, mask=there, other=0).to(tl.float32)
    m010 = tl.load(moving + (base + dy)[:, None] + lane, mask=there, other=0).to(tl.float32)
    m011 = tl.load(moving + (base + dy + dx)[:, None] + lane, mask=there, other=0).to(tl.float32)
    m100 = tl.load(moving + (base + dz)[:, None] + lane, mask=there, other=0).to(tl.float32)
    m101 = tl.load(moving + (base + dz + dx)[:, None] + lane, mask=there, other=0).to(tl.float32)
    m110 = tl.load(moving + (base + dz + dy)[:, None] + lane, mask=there, other=0).to(tl.float32)
    m111 = tl.load(moving + (base + dz + dy + dx)[:, None] + lane, mask=there, other=0).to(tl.float32)
    least = tl.minimum(tl.minimum(m000, m001), tl.minimum(m010, m011))
    least = tl.minimum(least, tl.minimum(tl.minimum(m100, m101), tl.minimum(m110, m111)))
    use = use & (tl.sum(tl.where(lane == 12, least, 0.0), axis=1) > 0)

    d00 = m001 - m000
    d01 = m011 - m010
    d10 = m101 - m100
    d11 = m111 - m110
    b00 = m000 + tx * d00
    b10 = m100 + tx * d10
    dy0 = m010 + tx * d01 - b00
    dy1 = m110 + tx * d11 - b10
    dx0 = d00 + ty * (d01 - d00)
    dx1 = d10 + ty * (d11 - d10)
    c0 = b00 + ty * dy0
    slope = b10 + ty * dy1 - c0
    difference = c0 + tz * slope - f
    known = tl.sum(tl.where(lane == 15, tl.minimum(least, f), 0.0), axis=1)[:, None] > 0
    pull = difference * tl.where(lane < 12, tl.where(known, share, alone), 0.0)
    pull += difference * tl.where((lane > 12) & (lane < 15) & known, further, 0.0)
    weight = tl.where(use, weight / 255.0, 0.0)
    factor = weight * (2.0 * scale / 65025.0)
    along_x = tl.sum(pull * (dx0 + tz * (dx1 - dx0)), axis=1)
    along_y = tl.sum(pull * (dy0 + tz * (dy1 - dy0)), axis=1)
    along_z = tl.sum(pull * slope, axis=1)
    tl.store(gradient + node, along_x * factor, mask=live)
    tl.store(gradient + nodes + node, along_y * factor, mask=live)
    tl.store(gradient + 2 * nodes + node, along_z * factor, mask=live)
    squares = tl.sum(pull * difference, axis=1) * (weight / 65025.0)
    tl.store(values + tl.program_id(0), tl.sum(squares, axis=0))
    tl.store(weights + tl.program_id(0), tl.sum(weight, axis=0))


def ssd_and_gradient(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    offset: tuple[int, int, int],
    ratio: int,
    start: tuple[int, int, int],
    scale: float,
    u: torch.Tensor,
    shares: Shares = PLAIN_SHARES,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `torch_kernels.ssd_and_gradient`."""
    nodes = u[0].numel()
    gradient = torch.empty_like(u)
    grid = programs(nodes)
    values, weights = u.new_empty(grid), u.new_empty(grid)
    with torch.cuda.device_of(u):
        _ssd[grid](
            fixed, moving, u, gradient, values, weights, nodes, *u.shape[2:], *fixed.shape[:3],
            *moving.shape[:3], *offset, ratio, *start, scale, *shares, BLOCK=BLOCK,
        )  # fmt: skip
    return values.sum(), weights.sum(), gradient


def try_on(device: torch.device) -> None:
    """Builds and runs every kernel on a few voxels; raises whatever Triton, its compiler or the driver do."""
    u = torch.zeros((3, 2, 2, 2), device=device)
    features = torch.zeros((2, 2, 2, 16), dtype=torch.uint8, device=device)
    spline_samples_transposed(u, energy.NODE_TAPS)
    ssd_and_gradient(features, features, (0, 0, 0), 1, (0, 0, 0), 1.0, u)
    bending_energy(u)
    folding_penalty(u, 1.0, (1, 1, 1), 0.3)
