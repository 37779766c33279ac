"""Step 4: from the encoder's channels, 256 for SAM2, to about twelve, by PCA or by a small VAE that is
trained on the pair itself.

Kingma and Welling, "Auto-Encoding Variational Bayes", 2014. The reduced feature is the latent mean, never a
sample of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from GLIDERegLib.core.geometry import Grid, triple
from GLIDERegLib.registration.adam import Adam
from GLIDERegLib.registration.features.encoding import FeatureVolume
from GLIDERegLib.registration.sampling import constants

# Open in the paper, our choices: units of the hidden layer, half of SAM2's channels, and steps of the static
# VAE. Tokens at a time: for memory's sake.
HIDDEN = 128
STATIC_STEPS = 400
_CHUNK = 65536
# Tokens that statistics are taken of, fewer where there are more channels than SAM2's.
_STATISTICS = 4 * _CHUNK
_CHANNELS = 256


def _sample_size(channels: int) -> int:
    return min(_STATISTICS, _STATISTICS * _CHANNELS // channels)


@dataclass
class Tokens:
    """The tokens of one image: values (Z * H * W, C) in half precision, shape (Z, H, W), their grid, and
    which are foreground.
    """

    values: torch.Tensor
    shape: tuple[int, int, int]
    grid: Grid
    foreground: torch.Tensor

    @classmethod
    def of(cls, volume: FeatureVolume, foreground: torch.Tensor) -> Tokens:
        """foreground: bool (Z, H, W)."""
        features = volume.features
        # In half precision first: rearranging copies all tokens.
        values = features.half().permute(1, 2, 3, 0).reshape(-1, features.shape[0])
        return cls(values, triple(features.shape[1:]), volume.grid, foreground.flatten().nonzero()[:, 0])

    def at(self, index: torch.Tensor) -> torch.Tensor:
        """Trilinear tokens (N, C) float32 at token indices (3, N), x y z, inside the grid."""
        sizes = self.shape[::-1]
        low = [at.long().clamp(max=max(n - 2, 0)) for at, n in zip(index, sizes, strict=True)]
        fraction = [at - n for at, n in zip(index, low, strict=True)]
        total = torch.zeros((index.shape[1], self.values.shape[1]), device=self.values.device)
        for corner in itertools.product((0, 1), repeat=3):
            x, y, z = ((at + c).clamp(max=n - 1) for at, c, n in zip(low, corner, sizes, strict=True))
            weight = math.prod(f if c else 1 - f for f, c in zip(fraction, corner, strict=True))
            total += weight[:, None] * self.values[(z * self.shape[1] + y) * self.shape[2] + x].float()
        return total


class TokenPool:
    """The tokens of a pair; batches are drawn from the foreground of both images alike, standardised per
    channel.
    """

    def __init__(self, fixed: Tokens, moving: Tokens, seed: int):
        self.images = (fixed, moving)
        self._generator = torch.Generator(fixed.values.device).manual_seed(seed)
        self.mean, self.deviation = torch.zeros(()), torch.ones(())
        tokens = self.batch(_sample_size(fixed.values.shape[1]))
        self.mean, self.deviation = tokens.mean(dim=0), tokens.std(dim=0).clamp(min=1e-6)

    def draw(self, image: int, count: int) -> torch.Tensor:
        """Flat positions (N,) of random foreground tokens of one image."""
        index = self.images[image].foreground
        size = (min(count, len(index)),)
        return index[torch.randint(len(index), size, generator=self._generator, device=index.device)]

    def batch(self, count: int) -> torch.Tensor:
        """Random foreground tokens (N, C), half from each image."""
        halves = [self.images[i].values[self.draw(i, count // 2)].float() for i in (0, 1)]
        return self.standardised(torch.cat(halves))

    def standardised(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (N, C) as float32, of zero mean and unit deviation a channel over the foreground of the
        pair.
        """
        return (tokens.float() - self.mean) / self.deviation


class Reduction(nn.Module):
    """A VAE whose latent mean starts as the PCA of the pair: mean(x) = P x + MLP(x), the MLP's last layer
    starting at zero.

    With `trainable` False it stays that PCA. Forward maps standardised tokens (N, C) to latent means (N, d).
    """

    def __init__(self, pool: TokenPool, latent_channels: int, trainable: bool, seed: int):
        super().__init__()
        channels = pool.images[0].values.shape[1]
        tokens = pool.batch(_sample_size(channels))
        latent_channels = min(latent_channels, channels)
        _, vectors = torch.linalg.eigh(tokens.T @ tokens / len(tokens))
        components = vectors[:, -latent_channels:].flip(1)
        # An eigenvector's sign is arbitrary; fixing it makes runs repeatable on every machine.
        components = components * components.sum(dim=0).sign()
        scale = (tokens @ components).square().sum(dim=1).mean().sqrt()
        self.pool = pool
        self.projection = nn.Linear(channels, latent_channels, bias=False)
        self.projection.weight.data = (components / scale).T.contiguous()
        self.projection.weight.requires_grad_(trainable)
        self.trainable = trainable
        if trainable:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.encoder = nn.Sequential(nn.Linear(channels, HIDDEN), nn.GELU())
                self.mean_head = nn.Linear(HIDDEN, latent_channels)
                self.log_variance_head = nn.Linear(HIDDEN, latent_channels)
                self.decoder = nn.Sequential(
                    nn.Linear(latent_channels, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, channels)
                )
            nn.init.zeros_(self.mean_head.weight)
            nn.init.zeros_(self.mean_head.bias)
            nn.init.constant_(self.log_variance_head.bias, -4.0)
        self.to(tokens.device)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The latent means (N, d) of standardised tokens (N, C)."""
        if not self.trainable:
            return self.projection(tokens)
        return self._mean(tokens, self.encoder(tokens))

    def _mean(self, tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return self.projection(tokens) + self.mean_head(hidden)

    def loss(self, tokens: torch.Tensor, kl_weight: float, generator: torch.Generator) -> torch.Tensor:
        """Reconstruction MSE + kl_weight * KL divergence to a unit Gaussian; standardised tokens (N, C)."""
        hidden = self.encoder(tokens)
        mean = self._mean(tokens, hidden)
        log_variance = self.log_variance_head(hidden).clamp(-10, 5)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        reconstructed = self.decoder(mean + noise * (0.5 * log_variance).exp())
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()
        return F.mse_loss(reconstructed, tokens) + kl_weight * divergence

    @torch.no_grad()
    def reduced(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The reduced features (d, Z, H, W) of both images; over the foreground of the pair their variances
        sum to one.
        """
        maps = []
        for image in self.pool.images:
            parts = [self(self.pool.standardised(part)) for part in image.values.split(_CHUNK)]
            maps.append(torch.cat(parts))
        inside = torch.cat([m[image.foreground] for m, image in zip(maps, self.pool.images, strict=True)])
        center, scale = inside.mean(dim=0), inside.var(dim=0).sum().sqrt().clamp(min=1e-6)
        first, second = (
            ((m - center) / scale).T.reshape(-1, *image.shape)
            for m, image in zip(maps, self.pool.images, strict=True)
        )
        return first, second


class ReductionTrainer:
    """Trains a Reduction with its own Adam: alone for the static variant, inside the refinement for the
    dynamic one.
    """

    def __init__(self, reduction: Reduction, learning_rate: float, kl_weight: float, tokens: int, seed: int):
        self.reduction = reduction
        self.learning_rate = learning_rate
        self.kl_weight = kl_weight
        self.tokens = tokens
        self.generator = torch.Generator(reduction.projection.weight.device).manual_seed(seed)
        self.optimiser = Adam(list(reduction.parameters()))

    def pretrain(self, step: Callable[[float], None] = lambda fraction: None) -> None:
        """The static variant: the VAE's own losses only."""
        for iteration in range(STATIC_STEPS):
            self._update(None)
            step((iteration + 1) / STATIC_STEPS)

    def train_with(self, displacement_at: Callable[[torch.Tensor], torch.Tensor], weight: float) -> None:
        """One step of the dynamic variant: the VAE's losses plus `weight` times the registration loss of the
        present field, displacement_at: token indices (3, N) of the fixed image to mm (3, N) along its axes.
        """
        self._update(lambda: weight * self.registration_loss(displacement_at))

    def registration_loss(self, displacement_at: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Mean SSD of latent means between random fixed tokens and the moving tokens where the field sends
        them.

        displacement_at: displacement (3, N) in mm along the grid's axes, at fixed token indices (3, N), x y
        z. Divided by the variance of the latents, because a reduction that merely shrinks would lower a plain
        SSD for nothing.
        """
        pool = self.reduction.pool
        fixed, moving = pool.images
        flat = pool.draw(0, self.tokens)
        _, height, width = fixed.shape
        index = torch.stack([flat % width, flat // width % height, flat // (width * height)]).float()
        target = between_grids(fixed.grid, moving.grid, index, displacement_at(index))
        last = constants(moving.shape[::-1], target.device).view(3, 1) - 1
        # Weights instead of a choice: to choose is to wait for the device.
        inside = ((target >= 0) & (target <= last)).all(dim=0).float()[:, None]
        within = torch.minimum(target, last).clamp(min=0)
        latent_fixed = self.reduction(pool.standardised(fixed.values[flat]))
        latent_moving = self.reduction(pool.standardised(moving.at(within)))
        count = inside.sum().clamp(min=1)
        mean = ((latent_fixed + latent_moving) * inside).sum(dim=0) / (2 * count)
        apart = ((latent_fixed - mean).square() + (latent_moving - mean).square()) * inside
        variance = (apart.sum() / (2 * count - 1)).clamp(min=1e-6)
        return ((latent_fixed - latent_moving).square() * inside).sum() / count / variance

    def _update(self, extra: Callable[[], torch.Tensor] | None) -> None:
        pool = self.reduction.pool
        loss = self.reduction.loss(pool.batch(self.tokens), self.kl_weight, self.generator)
        if extra is not None:
            loss = loss + extra()
        gradients = torch.autograd.grad(loss, self.optimiser.parameters)
        self.optimiser.step(list(gradients), self.learning_rate)


def between_grids(
    source: Grid, target: Grid, index: torch.Tensor, displacement: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Indices (3, ...) in `source` to indices in `target`, displaced by (3, ...) mm; both grids have the same
    axes.
    """
    trailing = (3,) + (1,) * (index.dim() - 1)

    def column(values) -> torch.Tensor:
        return constants(tuple(float(v) for v in values), index.device).view(trailing)

    first = column(target.to_index(np.asarray(source.origin)))
    return first + (index * column(source.spacing) + displacement) / column(target.spacing)
