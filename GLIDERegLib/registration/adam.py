"""Kingma and Ba, "Adam: a method for stochastic optimization", 2015, as torch computes it."""

from __future__ import annotations

import torch

# The function, because the class would load torch's compiler, which takes longer than a level of refinement.
from torch.optim.adam import adam


class Adam:
    """Minimises over some tensors, which it changes in place."""

    def __init__(self, parameters: list[torch.Tensor]):
        self.parameters = parameters
        self._first = [torch.zeros_like(p) for p in parameters]
        self._second = [torch.zeros_like(p) for p in parameters]
        self._steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self, gradients: list[torch.Tensor], learning_rate: float, epsilon: float = 1e-8) -> None:
        """One step by gradients of the parameters' shapes; epsilon: what is added to each one's root mean
        square, in the unit of its gradient.
        """
        adam(
            self.parameters, gradients, self._first, self._second, [], self._steps,
            fused=True, foreach=False, amsgrad=False, maximize=False, weight_decay=0.0,
            beta1=0.9, beta2=0.999, eps=epsilon, lr=learning_rate,
        )  # fmt: skip
