"""On NVIDIA cards: the energy of the instance optimisation in fused Triton kernels, the rest in PyTorch."""

from __future__ import annotations

import torch

from GLIDERegLib.registration.backends import triton_kernels
from GLIDERegLib.registration.backends.torch_backend import TorchBackend


class TritonBackend(TorchBackend):
    """`Backend` for a graphics card."""

    name = "triton"
    kernels = triton_kernels

    def try_on(self, device: torch.device) -> None:
        """Builds and runs every kernel on a few voxels; raises whatever Triton, its compiler or the driver
        do.
        """
        triton_kernels.try_on(device)
