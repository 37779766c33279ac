"""What a backend computes: the steps that take the time, the same for every backend up to rounding.

Unless said otherwise arguments and results are tensors on the backend's device. Fields are (3, Z, Y, X)
float32 with components x, y, z; packed features are (Z, Y, X, LANES) uint8 as in `PackedFeatures`; taps are
(3, 5) float32 spline weights for the axes z, y, x (`energy.spline_taps`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch

# A tensor has no axes, and is not read before a level ends: to read it is to wait for the device.
Number = np.float64 | torch.Tensor
# Bytes of a voxel of packed features, one vector register: twelve channels, a weight, two further channels
# and, by zero, where these are not known.
LANES = 16
# How much squared differences count: of the channels and of the further ones where both voxels know these,
# and of the channels elsewhere.
Shares = tuple[float, float, float]
PLAIN_SHARES = (1.0, 0.0, 1.0)


class Part(NamedTuple):
    """A part of the energy at the nodes of a control grid.

    value: the sum. weight: that the sum has to be divided by. gradient: of the sum by the nodes' displacement
    (3, Z, Y, X). used: bool (Z,), false only for slices of nodes without a gradient; None where that is not
    known.
    """

    value: Number
    weight: Number
    gradient: torch.Tensor
    used: np.ndarray | None = None


class Backend(Protocol):
    """See the module. name: numba, triton or torch, as a report says it."""

    name: str

    def threads(self) -> int:
        """How many threads of the processor it uses."""

    def set_threads(self, count: int) -> None:
        """From now on it uses that many; results do not depend on it."""

    # All steps

    def sample(self, image: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Trilinear values of an image (C, Z, Y, X) at voxel positions (3, ...), components x, y, z; constant
        beyond the faces. Float32, without gradients.
        """

    # Steps 2 to 4: features

    def patch_distances(
        self, padded: torch.Tensor, pairs: np.ndarray, radius: int, slices: slice
    ) -> torch.Tensor:
        """m = D - min_c D of some slices of an image: (C, n, Y, X) float32.

        D_c is the mean over a patch of (2 radius + 1)^3 voxels, replicated at the image's faces, of the
        squared difference of the image at two places, pairs (C, 2, 3) int64: z, y, x of the image's first
        voxel in `padded` (Z', Y', X'), moved there.
        """

    def pool(
        self, values: torch.Tensor, usable: torch.Tensor, factor: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Means (C, z, y, x) of values (C, Z, Y, X) over the usable voxels, bool (Z, Y, X), of blocks of
        factor^3, and the share (z, y, x) of a block's voxels that were usable. Missing voxels are unusable.
        """

    def pack(self, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Packed features of values (C, Z, Y, X) in [0, 1], C at most twelve, and weights (Z, Y, X) in
        [0, 1], the smallest of which is not rounded to zero.
        """

    # Step 5: coupled convex optimisation

    def matching_cost(
        self,
        fixed: torch.Tensor,
        moving: torch.Tensor,
        fixed_weight: torch.Tensor,
        usable: torch.Tensor,
        shift: np.ndarray,
        labels: np.ndarray,
        out: torch.Tensor,
    ) -> None:
        """Writes the cost volume (Z, Y, X, L): `energy.matching_cost`, smoothed by a box of 3^3 twice."""

    def coupled_argmin(
        self, cost: torch.Tensor, labels: torch.Tensor, center: torch.Tensor, coupling: float
    ) -> torch.Tensor:
        """argmin_l cost[n, l] + coupling |labels[l] - center[n]|^2: (N,) int64. cost (N, L), labels (L, 3),
        center (N, 3), float32; no cost is negative.
        """

    # Step 6: instance optimisation

    def spline_samples(self, coefficients: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
        """Spline values (3, Z, Y, X) of coefficients (3, Z + 4, Y + 4, X + 4): `energy.spline_samples`."""

    def add_transposed(self, part: Part, taps: np.ndarray, scale: Number | float, out: torch.Tensor) -> None:
        """Adds `scale` times the transpose of `spline_samples` of a part's gradient (3, Z, Y, X) to out, a
        gradient by the coefficients (3, Z + 4, Y + 4, X + 4).
        """

    def ssd(
        self,
        fixed: torch.Tensor,
        moving: torch.Tensor,
        offset: tuple[int, int, int],
        ratio: int,
        start: tuple[int, int, int],
        scale: float,
        u: torch.Tensor,
        shares: Shares = PLAIN_SHARES,
    ) -> Part:
        """`energy.ssd` of packed features: the weighted sum of squared differences, and the sum of weights.
        A difference counts as `shares` says; further channels are known where those of the fixed voxel and of
        all eight moving ones are.

        Node (k, j, i) is sampled at fixed feature voxel ratio * (k, j, i) + start (z, y, x); the moving
        features are read at that index plus u * scale (feature voxels) minus offset (z, y, x).
        """

    def bending_energy(self, coefficients: torch.Tensor, weight: float) -> tuple[Number, torch.Tensor]:
        """`energy.bending_energy` of coefficients (3, Z + 4, Y + 4, X + 4) and its gradient by them, both
        times `weight`.
        """

    def folding_penalty(
        self, u: torch.Tensor, spacing: float, corner: tuple[int, int, int], threshold: float
    ) -> Part:
        """`energy.folding_penalty` of u (3, Z, Y, X) and its gradient by u; its weight is one."""

    # Step 7: the result, on the processor

    def repaired(self, u: torch.Tensor, spacing: float, least: float, rounds: int) -> torch.Tensor:
        """A field (voxels; nodes `spacing` voxels apart) whose corner determinants are at least `least`, or
        as near to it as `rounds` of smoothing at the folds come; u itself where nothing folds.
        """

    def inverted(
        self,
        deformation: torch.Tensor,
        start: torch.Tensor,
        spacing: torch.Tensor,
        tolerance: float,
        most: int,
    ) -> tuple[torch.Tensor, float]:
        """o (..., 3) with o = -w(start + o), by at most `most` iterations, and the largest |w(start + o) + o|
        in mm.

        deformation: w (Z, Y, X, 3), trilinear, constant beyond its faces. All float32 in index units (x, y,
        z), but spacing (3,) and tolerance, the mm at which a point is left alone.
        """
