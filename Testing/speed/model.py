"""What each stage must move between memory and processor, and compute, at the least: bytes and operations.

Counted by hand from the shapes of a run, as if every step of the method read what it needs once and wrote
its result once. What is not counted (starting values, continuing the field into nodes without samples, the
report) only makes the floor lower. An operation is one addition, multiplication, comparison, division or
exponential.

V: voxels of the working grid, the moving image's being taken as many. K: cells, L: displacements searched.
N: nodes of a level, M: its samples in the body.
- read, write: images of 2 bytes a voxel; written are one image and the nodes' vectors, 24 bytes.
- working grid, an image: V (2 in + 4 + 1 + 1 out) bytes.
- local features, an image: V (4 in + 4 for the variance out, 4 and 1 for the mask in) bytes, as descriptors
  need not leave the processor's cache; a channel takes 2 operations for the squared difference, 3 (2 r + 1)
  for the box of radius r, 2 for the minimum, 1 for the mean, 3 for the exponential. Pooled to blocks of f
  voxels, each size once: 24 V operations; 52 V / f^3 bytes out for cells, 16 V / f^3 packed for a level.
- convex optimisation: a search has two cost volumes: written, 4 K L bytes, smoothed in place along each axis,
  24 K L, and read by 7 argmins, 28 K L; operations 36 K L in the body, 18 K L to smooth, 11 K L an argmin.
  One search serves both directions; with both features each direction has a local one more, on an image that
  is warped and described anew.
- refinement, an iteration: bending 24 N bytes, 195 N operations. A similarity: coefficients to samples 24 N,
  samples' positions and gradients 24 N, 16 M (1 + min(8, ratio^3)) for the fixed byte vector and the moving
  ones that lie between no other samples, gradients to coefficients 36 N; 2 * 3 operations a spline tap each
  way, 12 * 43 M for value and gradient. Folding 84 N bytes, 108 N operations for its splines and 37 N for the
  determinant. Adam 84 N bytes, 36 N operations. Training the reduction: 6 operations a weight and token.
- symmetry: one step of the inversion, the mean and the test for folds: 84 N bytes, 356 N operations.
- warping: 4 V bytes and the nodes' vectors, 68 V operations.
- global features: the network's weights once a batch, a slice's input and tokens; operations as counted by
  PyTorch on the network itself.
- reduction: 512 bytes in and 48 out for a token, operations 2 a weight; 2 * 256^2 for a token of the PCA.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.settings import Level, Settings
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.coupled_convex import COUPLING, search_window
from GLIDERegLib.registration.features.mind import CHANNELS
from GLIDERegLib.registration.features.pooled_features import cell_factor
from GLIDERegLib.registration.features.reduction import HIDDEN
from speed.stages import level_name

TOKEN_CHANNELS, TOKEN_PIXELS = 256, 16
PCA_TOKENS = 4 * 65536


@dataclass(frozen=True)
class Cost:
    """Bytes moved and operations computed."""

    bytes: float
    operations: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.bytes + other.bytes, self.operations + other.operations)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.bytes * times, self.operations * times)

    def floor_seconds(self, bytes_per_s: float, operations_per_s: float) -> float:
        """Time of a machine that moves and computes at the same time at these rates (the roofline model of
        Williams et al., 2009).
        """
        return max(self.bytes / bytes_per_s, self.operations / operations_per_s)


@dataclass(frozen=True)
class Run:
    """What a run's cost depends on. shape: working voxels (z, y, x) of `spacing` mm. body: share of them that
    counts. encoder: what child.py tells of it, None with local features only.
    """

    shape: tuple[int, int, int]
    spacing: float
    body: float
    settings: Settings
    encoder: dict | None = None

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def directions(self) -> int:
        return 2 if self.settings.symmetric else 1


def costs(run: Run) -> dict[str, Cost]:
    """The cost of every stage that is counted, and of the whole, by the names of `stages.stage_rows`."""
    v = run.voxels
    last = math.prod(ControlGrid(run.shape, run.settings.levels[-1].node_spacing).nodes)
    found = {"read": Cost(4 * v), "working grid": Cost(16 * v)}
    if run.encoder:
        found |= {"global features": _encoding(run.encoder), "reduction": _reduction(run)}
    found["local features"] = _described(run, {v.feature_factor for v in run.settings.levels}) * 2
    found["convex optimisation"] = _start(run)
    levels = {level_name(n): _level(run, level) for n, level in enumerate(run.settings.levels, start=1)}
    found["refinement"] = sum(levels.values(), Cost(0))
    if run.settings.symmetric:
        found["symmetry"] = Cost(84, 6 + 54 + 8 * 37) * last
    found["warping"] = Cost(4 * v + 24 * last, 68 * v)
    found["write"] = Cost(2 * v + 24 * last)
    return found | levels | {"whole": sum(found.values(), Cost(0))}


def _described(run: Run, factors: set[int]) -> Cost:
    """MIND of one image, pooled to cells and packed for blocks of `factors` voxels."""
    box = 3 * (2 * run.settings.mind_radius + 1)
    found = Cost(4 + 4 + 4 + 1, CHANNELS * (2 + box + 2 + 1 + 3) + 2)
    cell = cell_factor(run.settings.cell_size, run.spacing)
    for factor in {cell, *factors}:
        out = 4 * (CHANNELS + 1) * (factor == cell) + 16 * (factor in factors)
        found += Cost(out / factor**3, 2 * CHANNELS)
    return found * run.voxels


def _start(run: Run) -> Cost:
    """Coupled convex optimisation of all directions."""
    settings = run.settings
    if run.encoder is None:
        return _search(run, settings.cell_size, settings.search_range, settings.search_stretch)
    again = Cost(2 * (4 + 1), 68) * run.voxels + _described(run, set())
    again += _search(run, settings.cell_size, settings.search_range / 2)
    return _search(run, settings.global_cell_size, settings.global_search_range) + again * run.directions


def _search(run: Run, cell_mm: float, range_mm: float, stretch: float = 1.0) -> Cost:
    """Both cost volumes of one search."""
    factor = cell_factor(cell_mm, run.spacing)
    cells = math.prod(-(-n // factor) for n in run.shape)
    reach = range_mm / (factor * run.spacing)
    labels = len(search_window((reach, reach, stretch * reach)))
    argmins = 1 + len(COUPLING)
    each = Cost(4 + 3 * 8 + 4 * argmins, 3 * CHANNELS * run.body + 18 + 11 * argmins)
    return each * (2 * cells * labels)


def _level(run: Run, level: Level) -> Cost:
    """A level of the refinement, in all directions."""
    nodes = math.prod(ControlGrid(run.shape, level.node_spacing).nodes)
    samples = Cost(0)
    for ratio in _ratios(run, level):
        taps = np.count_nonzero(energy.phases(ratio)[0][1])
        features = Cost(16 * (1 + min(8, ratio**3)), 43 * CHANNELS) * run.body
        samples += Cost(24 + 24 + 36, 2 * 6 * taps) + features
    folding = Cost(84, 2 * 6 * np.count_nonzero(energy.NODE_TAPS) + 37)
    iteration = (Cost(24, 195) + samples + folding + Cost(84, 36)) * nodes
    found = iteration * (level.iterations * run.directions)
    if run.encoder and run.settings.reduction == "dynamic":
        # Only the first direction trains.
        found += _training(run) * level.iterations
        found += _reduced(run) * (level.iterations // run.settings.vae_refresh)
    return found


def _ratios(run: Run, level: Level) -> Iterator[int]:
    """Samples along an axis of a node's block, for each similarity."""
    if run.encoder:
        yield 1
    yield level.node_spacing // level.feature_factor


def _encoding(encoder: dict) -> Cost:
    size, slices = encoder["input_size"], encoder["slices"]
    tokens = TOKEN_CHANNELS * (size // TOKEN_PIXELS) ** 2
    weights = encoder["weight_bytes"] * math.ceil(slices / encoder["batch"])
    return Cost(weights + 4 * (3 * size**2 + tokens) * slices, encoder["operations_per_slice"] * slices)


def _tokens(run: Run) -> int:
    """Of both images."""
    return run.encoder["slices"] * (run.encoder["input_size"] // TOKEN_PIXELS) ** 2


def _mean_weights(run: Run) -> int:
    """Weights on the way from a token to its latent mean."""
    latent = run.settings.latent_channels
    return TOKEN_CHANNELS * latent + TOKEN_CHANNELS * HIDDEN + HIDDEN * latent


def _reduced(run: Run) -> Cost:
    """The latent means of all tokens."""
    out = 4 * run.settings.latent_channels
    return Cost(2 * TOKEN_CHANNELS + out, 2 * _mean_weights(run)) * _tokens(run)


def _reduction(run: Run) -> Cost:
    statistics = min(PCA_TOKENS, _tokens(run))
    return Cost(2 * TOKEN_CHANNELS, 2 * TOKEN_CHANNELS**2) * statistics + _reduced(run)


def _training(run: Run) -> Cost:
    """One step: a batch through the whole VAE, and another from both images to their latent means."""
    latent, tokens = run.settings.latent_channels, run.settings.vae_tokens
    whole = _mean_weights(run) + HIDDEN * latent + latent * HIDDEN + HIDDEN * TOKEN_CHANNELS
    # A moving token is interpolated between eight.
    moved = 2 * TOKEN_CHANNELS * (1 + 1 + 8)
    return Cost(moved, 6 * whole + 2 * 6 * _mean_weights(run)) * tokens
