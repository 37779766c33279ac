import numpy as np
import pytest
import torch
from registration.support import NoWaiting
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration.features.encoding import FeatureVolume
from GLIDERegLib.registration.features.reduction import (
    Reduction,
    ReductionTrainer,
    TokenPool,
    Tokens,
    between_grids,
)

CHANNELS, LATENTS = 24, 5
SHAPE = (6, 8, 9)
GRID = Grid(SHAPE[::-1], (8.0, 8.0, 2.0))


def token_volume(seed, shape=SHAPE, grid=GRID):
    """Smooth tokens (24, Z, H, W) that are mixtures of six sources, with a little noise."""
    rng = np.random.default_rng(seed)
    sources = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 1.0) for _ in range(6)])
    sources *= np.array([8, 6, 4, 3, 2, 1])[:, None, None, None]
    mixture = np.random.default_rng(99).normal(size=(CHANNELS, 6))
    values = np.einsum("cs,szyx->czyx", mixture, sources) + 0.1 * rng.normal(size=(CHANNELS, *shape))
    return FeatureVolume(torch.from_numpy(values).float(), grid)


def token_pool(seed=0, moving_grid=GRID):
    foreground = torch.ones(SHAPE, dtype=torch.bool)
    foreground[:, :1] = False
    tokens = [
        Tokens.of(token_volume(1), foreground), Tokens.of(token_volume(2, grid=moving_grid), foreground)
    ]  # fmt: skip
    return TokenPool(*tokens, seed)


def still(index):
    return torch.zeros_like(index)


def trainer_of(reduction, **changes):
    return ReductionTrainer(
        reduction, **{"learning_rate": 1e-3, "kl_weight": 1e-3, "tokens": 512, "seed": 0, **changes}
    )


class TestTokens:
    def test_are_listed_z_y_x_with_the_foreground_by_flat_position(self):
        foreground = torch.zeros(SHAPE, dtype=torch.bool)
        foreground[2, 3, 4] = foreground[5, 0, 1] = True
        volume = token_volume(1)
        tokens = Tokens.of(volume, foreground)
        for flat, (z, y, x) in zip(tokens.foreground, [(2, 3, 4), (5, 0, 1)], strict=True):
            torch.testing.assert_close(
                tokens.values[flat].float(), volume.features[:, z, y, x], atol=1e-2, rtol=1e-3
            )

    def test_reading_between_tokens_is_exact_for_linear_tokens(self):
        z, y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in SHAPE], indexing="ij")
        features = torch.stack([x, y, z, 2 * x - y + 4 * z + 1])
        tokens = Tokens.of(FeatureVolume(features, GRID), torch.ones(SHAPE, dtype=torch.bool))
        size = torch.tensor(SHAPE[::-1]).view(3, 1)
        index = torch.rand((3, 500), generator=torch.Generator().manual_seed(0)) * (size - 1)
        index = torch.cat([index, (size - 1).float(), torch.zeros(3, 1)], dim=1)
        x, y, z = index
        expected = torch.stack([x, y, z, 2 * x - y + 4 * z + 1], dim=1)
        torch.testing.assert_close(tokens.at(index), expected, atol=1e-4, rtol=0)

    def test_a_single_slice_can_be_read(self):
        tokens = Tokens.of(token_volume(1, (1, 8, 9)), torch.ones((1, 8, 9), dtype=torch.bool))
        index = torch.tensor([[2.0], [3.0], [0.0]])
        torch.testing.assert_close(tokens.at(index)[0], tokens.values[3 * 9 + 2].float())


class TestTokenPool:
    def test_standardised_tokens_have_zero_mean_and_unit_deviation(self):
        volumes = token_volume(1), token_volume(2)
        offset = 20 * torch.arange(CHANNELS).view(-1, 1, 1, 1)
        everywhere = torch.ones(SHAPE, dtype=torch.bool)
        pool = TokenPool(
            *(Tokens.of(FeatureVolume(v.features + offset, GRID), everywhere) for v in volumes), 0
        )
        every = torch.cat([pool.standardised(image.values) for image in pool.images])
        # The statistics come from random draws: a few per cent of chance remain with so few tokens.
        np.testing.assert_allclose(every.mean(dim=0), 0, atol=0.15)
        np.testing.assert_allclose(every.std(dim=0), 1, atol=0.15)

    def test_only_foreground_is_drawn(self):
        pool = token_pool()
        for image in (0, 1):
            _, y, _ = torch.unravel_index(pool.draw(image, 300), SHAPE)
            assert y.min() >= 1

    def test_a_batch_takes_half_its_tokens_from_either_image(self):
        pool = token_pool()
        pool.images[0].values[:] = 1000.0
        pool.images[1].values[:] = -1000.0
        batch = pool.batch(200)
        assert len(batch) == 200
        assert (batch[:100] > 0).all() and (batch[100:] < 0).all()

    def test_the_same_seed_draws_the_same(self):
        assert torch.equal(token_pool(7).batch(100), token_pool(7).batch(100))
        assert not torch.equal(token_pool(7).batch(100), token_pool(8).batch(100))


class TestPrincipalComponents:
    def test_agree_with_those_of_numpy_up_to_their_sign(self):
        tokens = (
            token_pool(3).batch(4 * 65536).numpy()
        )  # the batch that a fresh pool gives to the reduction next
        _, _, expected = np.linalg.svd(tokens, full_matrices=False)
        weight = Reduction(token_pool(3), LATENTS, False, 0).projection.weight.numpy()
        components = weight / np.linalg.norm(weight, axis=1, keepdims=True)
        overlap = np.abs(np.sum(components * expected[:LATENTS], axis=1))
        np.testing.assert_allclose(overlap, 1, atol=1e-3)
        np.testing.assert_allclose(
            np.linalg.norm(weight, axis=1), np.linalg.norm(weight, axis=1)[0], rtol=1e-4
        )

    def test_are_where_a_trainable_reduction_starts(self):
        tokens = token_pool().batch(50)
        pca, vae = (Reduction(token_pool(), LATENTS, trainable, 0) for trainable in (False, True))
        torch.testing.assert_close(vae(tokens), pca(tokens))

    def test_have_no_trainable_parameter(self):
        assert not [p for p in Reduction(token_pool(), LATENTS, False, 0).parameters() if p.requires_grad]

    @pytest.mark.parametrize("trainable", [False, True])
    def test_no_more_latents_are_made_than_there_are_channels(self, trainable):
        reduction = Reduction(token_pool(), CHANNELS + 4, trainable, 0)
        assert reduction.reduced()[0].shape == (CHANNELS, *SHAPE)


class TestReduced:
    @pytest.mark.parametrize("trainable", [False, True])
    def test_variances_over_the_foreground_of_the_pair_sum_to_one(self, trainable):
        reduction = Reduction(token_pool(), LATENTS, trainable, 0)
        fixed, moving = reduction.reduced()
        assert fixed.shape == moving.shape == (LATENTS, *SHAPE)
        inside = torch.cat([fixed[:, :, 1:].flatten(1), moving[:, :, 1:].flatten(1)], dim=1)
        assert float(inside.var(dim=1).sum()) == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(inside.mean(dim=1), 0, atol=1e-5)

    def test_maps_keep_the_place_of_every_token(self):
        """Up to centre and scale, a position holds the latent mean of the token at that position."""
        reduction = Reduction(token_pool(), LATENTS, False, 0)
        fixed, _ = reduction.reduced()
        z, y, x = 4, 5, 7
        pool = reduction.pool
        direct = reduction(
            pool.standardised(pool.images[0].values[[(z * 8 + y) * 9 + x, (1 * 8 + 2) * 9 + 3]])
        )
        ratio = (fixed[:, z, y, x] - fixed[:, 1, 2, 3]) / (direct[0] - direct[1])
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


class TestTraining:
    def test_registration_loss_reaches_projection_and_network(self):
        reduction = Reduction(token_pool(), LATENTS, True, 0)
        trainer = trainer_of(reduction)
        trainer.train_with(still, 1.0)  # the network's last layer starts at zero and hides what is before it
        reduction.zero_grad()
        trainer.registration_loss(still).backward()
        for parameters in (reduction.projection, reduction.encoder[0], reduction.mean_head):
            assert float(parameters.weight.grad.abs().max()) > 1e-6
        assert reduction.decoder[0].weight.grad is None or not reduction.decoder[0].weight.grad.any()

    def test_a_step_changes_the_reduced_features(self):
        reduction = Reduction(token_pool(), LATENTS, True, 0)
        before = reduction.reduced()[0].clone()
        trainer_of(reduction).train_with(still, 1.0)
        assert float((reduction.reduced()[0] - before).abs().max()) > 1e-4

    def test_training_with_registration_lowers_the_registration_loss(self):
        with_it, without = (Reduction(token_pool(), LATENTS, True, 0) for _ in range(2))
        first, second = trainer_of(with_it, learning_rate=3e-3), trainer_of(without, learning_rate=3e-3)
        for _ in range(60):
            first.train_with(still, 10.0)
            second.train_with(still, 0.0)
        with torch.no_grad():
            losses = [
                float(np.mean([float(t.registration_loss(still)) for _ in range(10)]))
                for t in (first, second)
            ]
        assert losses[0] < 0.9 * losses[1]

    def test_registration_loss_is_zero_where_the_field_is_right(self):
        """The moving tokens are the fixed ones one token further along x and y."""
        volume = token_volume(1)
        everywhere = torch.ones(SHAPE, dtype=torch.bool)
        fixed = Tokens.of(volume, everywhere)
        moving = Tokens.of(FeatureVolume(volume.features.roll((1, 1), dims=(2, 3)), GRID), everywhere)
        trainer = trainer_of(Reduction(TokenPool(fixed, moving, 0), LATENTS, True, 0))
        truth = torch.tensor([[8.0], [8.0], [0.0]])
        with torch.no_grad():
            assert float(trainer.registration_loss(lambda index: truth.expand_as(index))) == pytest.approx(
                0, abs=1e-5
            )
            assert float(trainer.registration_loss(still)) > 0.1

    def test_registration_loss_is_zero_without_overlap(self):
        trainer = trainer_of(Reduction(token_pool(), LATENTS, True, 0))
        with torch.no_grad():
            assert float(trainer.registration_loss(lambda index: torch.full_like(index, 1e4))) == 0
        trainer.train_with(lambda index: torch.full_like(index, 1e4), 1.0)

    def test_only_tokens_that_land_inside_count(self):
        """As many as lie within, chosen first: the formula without weights."""
        trainer = trainer_of(Reduction(token_pool(), LATENTS, True, 0))
        pool = trainer.reduction.pool
        away = torch.tensor([[20.0], [-13.0], [4.0]])
        pool._generator.manual_seed(5)
        with torch.no_grad():
            found = trainer.registration_loss(lambda index: away.expand_as(index))
            pool._generator.manual_seed(5)
            flat = pool.draw(0, trainer.tokens)
            z, y, x = torch.unravel_index(flat, SHAPE)
            target = between_grids(GRID, GRID, torch.stack([x, y, z]).float(), away)
            last = torch.tensor(SHAPE[::-1]).view(3, 1) - 1
            inside = ((target >= 0) & (target <= last)).all(dim=0)
            assert 0 < inside.sum() < len(inside)
            fixed = trainer.reduction(pool.standardised(pool.images[0].values[flat[inside]]))
            moving = trainer.reduction(pool.standardised(pool.images[1].at(target[:, inside])))
            variance = torch.cat([fixed, moving]).var(dim=0).sum()
            expected = (fixed - moving).square().sum(dim=1).mean() / variance
        assert float(found) == pytest.approx(float(expected), rel=1e-5)

    def test_a_step_never_waits_for_the_device(self):
        trainer = trainer_of(Reduction(token_pool(), LATENTS, True, 0))
        trainer.train_with(still, 1.0)  # builds what is built once
        with NoWaiting():
            trainer.train_with(still, 1.0)
            trainer.reduction.reduced()

    def test_registration_loss_does_not_fall_by_mere_shrinking(self):
        losses = []
        for factor in (1.0, 0.1):
            reduction = Reduction(token_pool(), LATENTS, True, 0)
            reduction.projection.weight.data *= factor
            losses.append(float(trainer_of(reduction).registration_loss(still).detach()))
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)

    def test_pretraining_lowers_the_losses_of_the_autoencoder(self):
        reduction = Reduction(token_pool(), LATENTS, True, 0)
        tokens, fractions = reduction.pool.batch(1000), []

        def loss():
            with torch.no_grad():
                return float(reduction.loss(tokens, 1e-3, torch.Generator().manual_seed(1)))

        before = loss()
        trainer_of(reduction, tokens=128).pretrain(fractions.append)
        assert loss() < 0.7 * before
        assert fractions[-1] == 1.0 and fractions == sorted(fractions)

    def test_the_same_seed_gives_the_same_features(self):
        results = []
        for seed in (0, 0, 1):
            reduction = Reduction(token_pool(seed), LATENTS, True, seed)
            trainer = trainer_of(reduction, seed=seed)
            for _ in range(3):
                trainer.train_with(still, 1.0)
            results.append(reduction.reduced()[0])
        assert torch.equal(results[0], results[1])
        assert not torch.equal(results[0], results[2])


class TestBetweenGrids:
    AXES = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    SOURCE = Grid((5, 6, 7), (2.0, 3.0, 4.0), (10.0, -5.0, 3.0), AXES)
    TARGET = Grid((9, 8, 7), (1.5, 2.5, 5.0), (-4.0, 12.0, 8.0), AXES)

    def test_the_same_place_is_meant(self):
        index = torch.rand((3, 20), generator=torch.Generator().manual_seed(0)) * 5
        found = between_grids(self.SOURCE, self.TARGET, index)
        expected = self.TARGET.to_index(self.SOURCE.to_physical(index.T.numpy()))
        np.testing.assert_allclose(found.T, expected, atol=1e-4)

    def test_displacements_are_millimetres_along_the_axes(self):
        index = torch.rand((3, 2, 3, 4), generator=torch.Generator().manual_seed(0)) * 5
        displacement = torch.randn((3, 2, 3, 4), generator=torch.Generator().manual_seed(1)) * 6
        found = between_grids(self.SOURCE, self.TARGET, index, displacement)
        physical = self.SOURCE.to_physical(np.moveaxis(index.numpy(), 0, -1))
        physical = physical + np.moveaxis(displacement.numpy(), 0, -1) @ self.SOURCE.axes.T
        np.testing.assert_allclose(
            np.moveaxis(found.numpy(), 0, -1), self.TARGET.to_index(physical), atol=1e-4
        )
