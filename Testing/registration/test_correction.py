"""A field mended at points that its reader placed."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import GLIDERegLib as glidereg
from GLIDERegLib.core.ct import in_hounsfield
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.field_of_view import without_surroundings
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.correction import REACH_MM, TOLERANCE_MM
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.joint_energy import PointTerm
from GLIDERegLib.transforms.points import map_points

# mm; what a reader sees at once, and what the field is wrong by at three places.
WRONG_MM, WIDTH_MM = 5.0, 15.0


@pytest.fixture(scope="module")
def pair(chest):
    return chest


@pytest.fixture(scope="module")
def right(pair):
    settings = glidereg.Settings.preset("fast", features="local")
    return glidereg.register(pair.fixed, pair.moving, settings).transform


def errors(transform, pair):
    return np.linalg.norm(map_points(transform, pair.fixed_landmarks) - pair.moving_landmarks, axis=1)


@pytest.fixture(scope="module")
def spoilt(pair, right):
    """The registration bent away by 5 mm at three landmarks far apart, and their numbers."""
    rng = np.random.default_rng(0)
    chosen = [int(errors(right, pair).argmin())]
    for number in rng.permutation(len(pair.fixed_landmarks)).tolist():
        apart = np.linalg.norm(pair.fixed_landmarks[chosen] - pair.fixed_landmarks[number], axis=1)
        if apart.min() > 2 * REACH_MM / 1.5 and len(chosen) < 3:
            chosen.append(number)
    field = DisplacementField.of_transform(right, pair.fixed.grid.resized((4.0,) * 3, (5,) * 3, (5,) * 3))
    for number in chosen:
        wrong = rng.normal(size=3)
        wrong *= WRONG_MM / np.linalg.norm(wrong)
        squares = ((field.grid.points() - pair.fixed_landmarks[number]) ** 2).sum(axis=-1)
        field.vectors += (np.exp(-0.5 * squares / WIDTH_MM**2)[..., None] * wrong).astype(np.float32)
    return field.to_sitk(), np.array(chosen)


@pytest.fixture(scope="module")
def mended(pair, spoilt):
    present, chosen = spoilt
    here, there = pair.fixed_landmarks[chosen], pair.moving_landmarks[chosen]
    return glidereg.correct(pair.fixed, pair.moving, present, here, there)


def test_the_points_are_met_and_nothing_folds(pair, spoilt, mended):
    present, chosen = spoilt
    assert errors(present, pair)[chosen].min() > 3.0
    assert errors(mended.transform, pair)[chosen].max() <= TOLERANCE_MM + 0.1
    assert mended.displacement.jacobian_determinant().min() > 0


def test_the_images_mend_the_surroundings_too(pair, spoilt, mended):
    present, chosen = spoilt
    apart = np.linalg.norm(pair.fixed_landmarks[:, None] - pair.fixed_landmarks[chosen], axis=-1).min(axis=1)
    around = (apart > 5) & (apart < WIDTH_MM)
    before, after = errors(present, pair)[around].mean(), errors(mended.transform, pair)[around].mean()
    assert around.sum() >= 3
    assert after < 0.7 * before


def test_far_from_all_points_the_field_stays_what_it_was(pair, spoilt, mended):
    present, chosen = spoilt
    grid = pair.fixed.grid.resized((12.0,) * 3)
    points = grid.points().reshape(-1, 3)
    apart = np.linalg.norm(points[:, None] - pair.fixed_landmarks[chosen], axis=-1).min(axis=1)
    far = points[(apart > REACH_MM + 4) & pair.fixed.grid.contains(points)]
    assert len(far) > 100
    assert np.abs(map_points(mended.transform, far) - map_points(present, far)).max() < 1e-3


def test_the_report_tells_the_distances_before_and_after(pair, spoilt, mended):
    present, chosen = spoilt
    told = mended.report["correction"]
    assert told["before_mm"] == pytest.approx(errors(present, pair)[chosen].tolist())
    assert told["after_mm"] == pytest.approx(errors(mended.transform, pair)[chosen].tolist())


class TestRefusals:
    def test_points_without_a_partner(self, pair, right):
        with pytest.raises(InputError, match="as many fixed as moving points"):
            glidereg.correct(pair.fixed, pair.moving, right, np.zeros((2, 3)), np.zeros((1, 3)))

    def test_a_point_outside_the_fixed_image(self, pair, right):
        with pytest.raises(InputError, match="Point 1 lies outside"):
            glidereg.correct(pair.fixed, pair.moving, right, [[0, 0, 9999.0]], [[0, 0, 0.0]])

    def test_points_that_contradict_each_other(self, pair, right):
        center = pair.fixed.grid.center
        here, there = np.array([center, center + (2, 0, 0)]), np.array([center, center - (3, 0, 0)])
        with pytest.raises(InputError, match="Points 1 and 2 contradict each other"):
            glidereg.correct(pair.fixed, pair.moving, right, here, there)


class TestPointTerm:
    grid = ControlGrid((20, 22, 24), 4)

    def coefficients(self):
        generator = torch.Generator().manual_seed(1)
        return torch.randn(3, *(n + 4 for n in self.grid.nodes), generator=generator)

    def test_the_value_is_that_of_the_spline_at_the_nodes(self):
        coefficients = self.coefficients()
        at_nodes = energy.spline_samples(coefficients, energy.NODE_TAPS)
        positions = self.grid.position()[:, 1:-1, 1:-1, 1:-1].reshape(3, -1).T.numpy()
        targets = at_nodes[:, 1:-1, 1:-1, 1:-1].reshape(3, -1).T.numpy()
        value, gradient = PointTerm(positions, targets, 1.0).on(self.grid, "cpu")(coefficients)
        assert value == pytest.approx(0.0, abs=1e-6)
        assert gradient.abs().max() < 1e-4

    def test_a_constant_displacement_is_constant_between_the_nodes_too(self):
        positions = np.random.default_rng(0).uniform(0, 19, (50, 3))
        coefficients = torch.full((3, *(n + 4 for n in self.grid.nodes)), 2.0)
        value, _ = PointTerm(positions, np.full((50, 3), 1.5), 1.0).on(self.grid, "cpu")(coefficients)
        assert value == pytest.approx(150 * 0.25, rel=1e-5)

    def test_the_gradient_is_that_of_the_value(self):
        positions = np.random.default_rng(0).uniform(0, 19, (5, 3))
        term = PointTerm(positions, np.zeros((5, 3)), 0.7).on(self.grid, "cpu")
        coefficients, direction = self.coefficients(), self.coefficients().flip(1)
        ahead, behind = (term(coefficients + step * direction)[0] for step in (0.01, -0.01))
        slope = float((term(coefficients)[1] * direction).sum())
        assert slope == pytest.approx(float(ahead - behind) / 0.02, rel=1e-3)


def test_a_linear_registration_can_be_mended_too(pair):
    shift = sitk.TranslationTransform(3, (3.0, -2.0, 4.0))
    here, there = pair.fixed_landmarks[:4], pair.moving_landmarks[:4]
    result = glidereg.correct(pair.fixed, pair.moving, shift, here, there)
    assert np.linalg.norm(map_points(result.transform, here) - there, axis=1).max() <= TOLERANCE_MM + 0.1
    # Where nothing was corrected, the shift goes on, beyond the image too.
    assert np.allclose(map_points(result.transform, np.array([[0, 0, 5000.0]]))[0], (3, -2, 5004), atol=1e-3)


def test_scans_of_bytes_in_a_round_field_of_view_can_be_mended(pair):
    def shown(volume: Volume) -> Volume:
        x, y, _ = np.moveaxis(volume.grid.points() - volume.grid.center, -1, 0)
        seen = np.hypot(x, y) < 0.4 * min(np.ptp(x), np.ptp(y))
        values = np.clip((volume.array + 1000.0) / 6, 1, 255) * seen
        return Volume(values.astype(np.uint8), volume.grid, volume.name)

    fixed, moving = shown(pair.fixed), shown(pair.moving)
    assert all(without_surroundings(in_hounsfield(scan))[1] for scan in (fixed, moving))
    here, there = pair.fixed_landmarks[:1], pair.moving_landmarks[:1]
    shift = sitk.TranslationTransform(3, (3.0, -2.0, 4.0))
    result = glidereg.correct(fixed, moving, shift, here, there)
    assert np.linalg.norm(map_points(result.transform, here) - there) <= TOLERANCE_MM + 0.1
