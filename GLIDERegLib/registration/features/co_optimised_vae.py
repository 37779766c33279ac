"""Step 4, dynamic dimensionality reduction: the VAE that is optimised along with the displacement field, so
that it learns to keep what registers well. Beside it the paper's variants: a VAE trained beforehand (static),
and PCA.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.features.global_features import GlobalFeatures
from GLIDERegLib.registration.features.reduction import Reduction, ReductionTrainer, between_grids
from GLIDERegLib.registration.sampling import sample
from GLIDERegLib.registration.working_grid import Prepared


def reduce_features(features: GlobalFeatures, settings: Settings, step: Callable[[float], None]) -> None:
    """Gives global features their reduction up to the refinement: PCA, which is also where a VAE starts; the
    static VAE is trained here and then frozen.
    """
    trainable = settings.reduction != "pca"
    features.reduction = Reduction(features.pool, settings.latent_channels, trainable, settings.seed)
    if settings.reduction == "static":
        _trainer(features, settings).pretrain(step)
    features.refresh()


class CoOptimisedVae:
    """The VAE inside the instance optimisation: its own Adam, and its loss with that of the registration."""

    def __init__(self, features: GlobalFeatures, settings: Settings):
        self._features, self._weight = features, settings.global_weight
        self._trainer, self._refresh = _trainer(features, settings), settings.vae_refresh

    def optimise(self, iteration: int, nodes: torch.Tensor, grid: ControlGrid, fixed: Prepared) -> bool:
        """One step by the present displacement field; whether the reduced features are new since.

        nodes: the field (3, Z, Y, X) in voxels at the nodes of `grid`, of the pair as it was given.
        """
        tokens = self._features.pool.images[0].grid
        self._trainer.train_with(displacement_reader(nodes, grid, fixed, tokens), self._weight)
        # To reduce all tokens anew takes as long as many steps.
        if (iteration + 1) % self._refresh:
            return False
        self._features.refresh()
        return True


def _trainer(features: GlobalFeatures, settings: Settings) -> ReductionTrainer:
    if features.reduction is None:
        raise ValueError("the features have no reduction yet")
    return ReductionTrainer(
        features.reduction, settings.vae_learning_rate, settings.kl_weight, settings.vae_tokens, settings.seed
    )


def displacement_reader(
    nodes: torch.Tensor, grid: ControlGrid, fixed: Prepared, tokens: Grid
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The present field for `ReductionTrainer`: token indices (3, N) of the fixed image to mm along its axes.

    nodes: the field (3, Z, Y, X) in voxels at the nodes of `grid`.
    """
    spacing = fixed.grid.spacing[0]

    def displacement_at(index: torch.Tensor) -> torch.Tensor:
        voxel = between_grids(tokens, fixed.grid, index)
        first = (grid.spacing - 1) / 2 - grid.spacing
        return sample(nodes, (voxel - first) / grid.spacing) * spacing

    return displacement_at
