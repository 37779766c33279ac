import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.backends import use_backend
from GLIDERegLib.registration.folding import LEAST_DETERMINANT, without_folds

SPACING = 3.0
UPRIGHT = Grid((30, 21, 22), (SPACING,) * 3)
TILTED = Grid((30, 21, 22), (SPACING,) * 3, (1.0, 2.0, 3.0), tuple(
    Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix().ravel().tolist()
))  # fmt: skip


def smooth(grid):
    """A gentle field (z, y, x, 3) in mm that does not fold."""
    x, y, z = np.moveaxis(grid.points() * 0.1, -1, 0)
    return np.stack([np.sin(y), np.cos(z), np.sin(x + 1)], axis=-1).astype(np.float32)


def with_a_fold(grid):
    """The gentle field and a squeeze along x around node (7, 10, 11) that turns space inside out."""
    vectors = smooth(grid)
    k, j, i = np.meshgrid(*map(np.arange, grid.shape), indexing="ij")
    near = np.exp(-(((i - 7) / 2) ** 2 + ((j - 10) / 2) ** 2 + ((k - 11) / 2) ** 2))
    return (vectors + (-6.0 * (i - 7) * near)[..., None] * grid.axes[:, 0]).astype(np.float32)


def corner_determinants(vectors, grid):
    """The determinants at all corners of all cells, computed in mm with numpy."""
    along_axes = vectors.astype(float) @ grid.axes
    found = []
    for sz, sy, sx in energy.CORNERS:
        flipped = along_axes[::sz, ::sy, ::sx] * np.array([sx, sy, sz])
        here = flipped[:-1, :-1, :-1]
        columns = [flipped[:-1, :-1, 1:], flipped[:-1, 1:, :-1], flipped[1:, :-1, :-1]]
        jacobian = np.stack([(c - here) / SPACING for c in columns], axis=-1) + np.eye(3)
        found.append(np.linalg.det(jacobian))
    return np.stack(found)


@pytest.fixture(params=[UPRIGHT, TILTED], ids=["upright", "tilted"])
def grid(request):
    return request.param


class TestWithoutFolds:
    def test_a_fold_is_repaired_at_all_eight_corners_of_every_cell(self, grid):
        vectors = with_a_fold(grid)
        assert corner_determinants(vectors, grid).min() < -0.5
        assert corner_determinants(without_folds(vectors, grid), grid).min() > LEAST_DETERMINANT - 1e-4

    def test_the_repair_near_the_folds_is_that_of_the_whole_field(self):
        """Several folds, one of them at a face and two that touch."""
        pytest.importorskip("numba")
        rng = np.random.default_rng(3)
        vectors = smooth(UPRIGHT)
        for k, j, i in ((0, 3, 4), (10, 10, 12), (11, 12, 13), (20, 19, 28)):
            part = vectors[k : k + 3, j : j + 3, i : i + 3]
            part += rng.normal(0, 4, part.shape).astype(np.float32)
        with use_backend("numba"):
            near = without_folds(vectors, UPRIGHT)
        with use_backend("torch"):
            plain = without_folds(vectors, UPRIGHT)
        assert np.abs(plain - vectors).max() > 1
        np.testing.assert_allclose(near, plain, atol=1e-4)

    def test_nodes_far_from_the_fold_stay_as_they_were(self):
        vectors = with_a_fold(UPRIGHT)
        repaired = without_folds(vectors, UPRIGHT)
        assert not np.array_equal(repaired, vectors)
        assert np.array_equal(repaired[:, :, 20:], vectors[:, :, 20:])

    def test_nodes_far_from_the_fold_stay_within_rounding_on_a_tilted_grid(self):
        vectors = with_a_fold(TILTED)
        repaired = without_folds(vectors, TILTED)
        np.testing.assert_allclose(repaired[:, :, 20:], vectors[:, :, 20:], atol=1e-5)

    def test_a_field_without_folds_is_returned_untouched(self, grid):
        vectors = smooth(grid)
        before = vectors.copy()
        assert without_folds(vectors, grid) is vectors
        assert np.array_equal(vectors, before)

    def test_the_given_vectors_are_not_changed(self):
        vectors = with_a_fold(UPRIGHT)
        before = vectors.copy()
        without_folds(vectors, UPRIGHT)
        assert np.array_equal(vectors, before)

    def test_folded_nodes_are_those_where_a_corner_determinant_is_too_small(self):
        """One node pushed past its neighbour along x: only cells that touch it can fold."""
        u = torch.zeros(3, 7, 7, 7)
        u[0, 3, 3, 3] = 1.2
        folded = energy.folded_nodes(u, 1.0, LEAST_DETERMINANT)
        assert folded[3, 3, 3] and folded[3, 3, 4]
        assert not folded[3, 3, 2] and not folded[2].any() and not folded[4].any()
        assert int(folded.sum()) == 2
