"""Fused Triton kernels for the bending energy and the folding penalty; see `triton_kernels.py`."""

from __future__ import annotations

from functools import partial

import torch
import triton
import triton.language as tl

BLOCK = 128  # elements of a program; of the features, a row of sixteen bytes each

# Sizes and places change from level to level and from phase to phase: one compilation serves them all.
kernel = partial(
    triton.jit,
    do_not_specialize=[
        *(
            "count",
            "nodes",
            "nz",
            "ny",
            "nx",
            "fz",
            "fy",
            "fx",
            "mz",
            "my",
            "mx",
            "length",
            "longer",
            "inner",
        ),
        *("ratio", "shift", "oz", "oy", "ox", "sz", "sy", "sx"),
    ],
)


def programs(count: int) -> tuple[int]:
    """The launch grid for so many elements."""
    return (triton.cdiv(count, BLOCK),)


@triton.jit
def _second(here, at, length, stride, live):
    """The second difference around a node, zero where it lacks a neighbour."""
    there = live & (at >= 1) & (at < length - 1)
    low = tl.load(here - stride, mask=there, other=0.0)
    high = tl.load(here + stride, mask=there, other=0.0)
    return low - 2.0 * tl.load(here, mask=there, other=0.0) + high


@triton.jit
def _mixed(here, a, a_length, a_stride, b, b_length, b_stride, live):
    """The mixed difference between a node and the next ones along two axes, zero where one is missing."""
    there = live & (a >= 0) & (b >= 0) & (a < a_length - 1) & (b < b_length - 1)
    low = tl.load(here + b_stride, mask=there, other=0.0) - tl.load(here, mask=there, other=0.0)
    high = tl.load(here + a_stride + b_stride, mask=there, other=0.0)
    return high - tl.load(here + a_stride, mask=there, other=0.0) - low


@triton.jit
def _bend_axis(here, at, length, stride, live):
    """Half the gradient of the squared second differences along an axis, and the node's own."""
    own = _second(here, at, length, stride, live)
    low = _second(here - stride, at - 1, length, stride, live)
    high = _second(here + stride, at + 1, length, stride, live)
    return low - 2.0 * own + high, own * own


@triton.jit
def _bend_plane(here, a, a_length, a_stride, b, b_length, b_stride, live):
    own = _mixed(here, a, a_length, a_stride, b, b_length, b_stride, live)
    below = _mixed(here - a_stride, a - 1, a_length, a_stride, b, b_length, b_stride, live)
    left = _mixed(here - b_stride, a, a_length, a_stride, b - 1, b_length, b_stride, live)
    both = _mixed(here - a_stride - b_stride, a - 1, a_length, a_stride, b - 1, b_length, b_stride, live)
    return own - below - left + both, own * own


@kernel
def _bending(field, gradient, values, count, nz, ny, nx, BLOCK: tl.constexpr):
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = element < count
    z = element // (nx * ny) % nz
    y = element // nx % ny
    x = element % nx
    here = field + element
    slope_z, value_z = _bend_axis(here, z, nz, ny * nx, live)
    slope_y, value_y = _bend_axis(here, y, ny, nx, live)
    slope_x, value_x = _bend_axis(here, x, nx, 1, live)
    slope_zy, value_zy = _bend_plane(here, z, nz, ny * nx, y, ny, nx, live)
    slope_zx, value_zx = _bend_plane(here, z, nz, ny * nx, x, nx, 1, live)
    slope_yx, value_yx = _bend_plane(here, y, ny, nx, x, nx, 1, live)
    slope = slope_z + slope_y + slope_x + 2.0 * (slope_zy + slope_zx + slope_yx)
    value = value_z + value_y + value_x + 2.0 * (value_zy + value_zx + value_yx)
    tl.store(gradient + element, 2.0 * slope, mask=live)
    tl.store(values + tl.program_id(0), tl.sum(value, axis=0))


def bending_energy(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `torch_kernels.bending_energy`."""
    field = field.contiguous()
    gradient = torch.empty_like(field)
    grid = programs(field.numel())
    values = field.new_empty(grid)
    with torch.cuda.device_of(field):
        _bending[grid](field, gradient, values, field.numel(), *field.shape[1:], BLOCK=BLOCK)
    return values.sum(), gradient


@triton.jit
def _difference(u, here, there, weight, use):
    """What a field changes by between two nodes, times a weight: its components x, y and z."""
    low = tl.load(u + here, mask=use, other=0.0)
    return (tl.load(u + there, mask=use, other=0.0) - low) * weight


@triton.jit
def _cell(u, k, j, i, nodes, nz, ny, nx, sz, sy, sx, inverse, threshold, live):
    """The penalty of a node's corner and its gradients by the three neighbours; zero where one is missing."""
    use = live & (k >= 0) & (j >= 0) & (i >= 0) & (k < nz) & (j < ny) & (i < nx)
    use = use & (k + sz >= 0) & (j + sy >= 0) & (i + sx >= 0) & (k + sz < nz) & (j + sy < ny) & (i + sx < nx)
    here = (k * ny + j) * nx + i
    wx = inverse * sx
    wy = inverse * sy
    wz = inverse * sz
    a0 = _difference(u, here, here + sx, wx, use) + 1.0
    a1 = _difference(u + nodes, here, here + sx, wx, use)
    a2 = _difference(u + 2 * nodes, here, here + sx, wx, use)
    b0 = _difference(u, here, here + sy * nx, wy, use)
    b1 = _difference(u + nodes, here, here + sy * nx, wy, use) + 1.0
    b2 = _difference(u + 2 * nodes, here, here + sy * nx, wy, use)
    c0 = _difference(u, here, here + sz * ny * nx, wz, use)
    c1 = _difference(u + nodes, here, here + sz * ny * nx, wz, use)
    c2 = _difference(u + 2 * nodes, here, here + sz * ny * nx, wz, use) + 1.0
    p0 = b1 * c2 - b2 * c1
    p1 = b2 * c0 - b0 * c2
    p2 = b0 * c1 - b1 * c0
    lack = tl.where(use, tl.maximum(threshold - (a0 * p0 + a1 * p1 + a2 * p2), 0.0), 0.0)
    x = -2.0 * lack * wx
    y = -2.0 * lack * wy
    z = -2.0 * lack * wz
    pull_y = (c1 * a2 - c2 * a1) * y, (c2 * a0 - c0 * a2) * y, (c0 * a1 - c1 * a0) * y
    pull_z = (a1 * b2 - a2 * b1) * z, (a2 * b0 - a0 * b2) * z, (a0 * b1 - a1 * b0) * z
    return lack * lack, (p0 * x, p1 * x, p2 * x), pull_y, pull_z


@kernel
def _folding(u, gradient, values, nodes, nz, ny, nx, sz, sy, sx, inverse, threshold, BLOCK: tl.constexpr):
    node = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = node < nodes
    k = node // (nx * ny)
    j = node // nx % ny
    i = node % nx
    value, x, y, z = _cell(u, k, j, i, nodes, nz, ny, nx, sz, sy, sx, inverse, threshold, live)
    _, from_x, _, _ = _cell(u, k, j, i - sx, nodes, nz, ny, nx, sz, sy, sx, inverse, threshold, live)
    _, _, from_y, _ = _cell(u, k, j - sy, i, nodes, nz, ny, nx, sz, sy, sx, inverse, threshold, live)
    _, _, _, from_z = _cell(u, k - sz, j, i, nodes, nz, ny, nx, sz, sy, sx, inverse, threshold, live)
    for c in tl.static_range(3):
        pull = from_x[c] + from_y[c] + from_z[c] - x[c] - y[c] - z[c]
        tl.store(gradient + c * nodes + node, pull, mask=live)
    tl.store(values + tl.program_id(0), tl.sum(value, axis=0))


def folding_penalty(
    u: torch.Tensor, spacing: float, corner: tuple[int, int, int], threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `torch_kernels.folding_penalty`."""
    u = u.contiguous()
    gradient = torch.empty_like(u)
    nodes = u[0].numel()
    grid = programs(nodes)
    values = u.new_empty(grid)
    with torch.cuda.device_of(u):
        _folding[grid](u, gradient, values, nodes, *u.shape[1:], *corner, 1 / spacing, threshold, BLOCK=BLOCK)
    return values.sum(), gradient
