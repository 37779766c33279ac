"""The figure shows the patient the right way round, whole, and says what the numbers say."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib import pyplot

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.evaluate import warp
from GLIDERegLib.evaluation.figure import _landmark_errors, _planes, registration_figure
from GLIDERegLib.files.volumes import to_sitk

TURN = np.reshape(sitk.VersorTransform((0.2, 0.3, 1.0), 0.5).GetMatrix(), (3, 3))
DIRECTIONS = {
    "straight": np.eye(3),
    "feet first and mirrored": np.diag([-1.0, 1, -1]),
    "sagittal": np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]]),
    "oblique": TURN,
}


@pytest.fixture(scope="module")
def phantom(small_phantom):
    return small_phantom


def pixels(path):
    return matplotlib.image.imread(path)[..., :3]


def marked_volume(axes):
    """A block around the origin with a bright ball at the right, front and top, on a turned grid."""
    size, spacing = np.array([60, 50, 40]), np.array([3.0, 4.0, 5.0])
    origin = -axes @ ((size - 1) / 2 * spacing)
    grid = Grid(
        tuple(size.tolist()), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(axes.ravel().tolist())
    )
    points = grid.points()
    block = np.abs(points).max(axis=-1) < 60
    ball = np.linalg.norm(points - [-30, -30, 30], axis=-1) < 28
    return Volume(np.where(ball, 1000.0, np.where(block, 0.0, -1000.0)), grid)


@pytest.mark.parametrize("axes", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_right_is_left_and_front_and_head_are_on_top_for_any_direction(axes):
    volume = marked_volume(axes)
    # Motion at one point only: the slices go through it, and it is inside the ball.
    vectors = np.zeros((1, 1, 1, 3)) + [0, 0, 5.0]
    planes = _planes(volume, vectors, Grid((1, 1, 1), (4, 4, 4), (-30, -30, 30)))
    for plane in planes:
        picture = plane.read(to_sitk(volume), -1000)
        rows, columns = np.nonzero(picture > 500)
        on_top = (
            rows.mean() > picture.shape[0] / 2
            if plane.origin == "lower"
            else rows.mean() < picture.shape[0] / 2
        )
        assert on_top
        assert columns.mean() < picture.shape[1] / 2
        width = plane.extent[1] - plane.extent[0]
        assert width / picture.shape[1] == pytest.approx(
            abs(plane.extent[3] - plane.extent[2]) / picture.shape[0]
        )


def test_slices_are_cropped_to_the_body():
    for plane in _planes(marked_volume(np.eye(3)), np.zeros((1, 1, 1, 3)), Grid((1, 1, 1))):
        assert plane.extent[1] - plane.extent[0] == pytest.approx(120, abs=20)


def test_figure_is_whole_and_leaves_no_state_behind(phantom, tmp_path):
    grid = phantom.fixed.grid
    vectors = phantom.displacement(grid.points())
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.CopyInformation(to_sitk(phantom.fixed))
    warped = warp(phantom.moving, sitk.DisplacementFieldTransform(image), grid, -1024)
    registration_figure(
        phantom.fixed,
        phantom.moving,
        warped,
        vectors,
        grid,
        tmp_path / "figure.png",
        "A phantom",
        phantom.fixed_landmarks,
        phantom.moving_landmarks,
    )
    picture = pixels(tmp_path / "figure.png")
    assert picture.shape[1] > 2.5 * picture.shape[0] > 1000
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (edge == 1).all(), "something is cut off at the edge of the figure"
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    assert pyplot.get_fignums() == []


def test_differences_after_a_perfect_registration_are_blank(phantom, tmp_path):
    """The fourth of six columns holds no strong colour when warped equals fixed, the third does."""
    vectors = phantom.displacement(phantom.fixed.grid.points())
    registration_figure(
        phantom.fixed, phantom.moving, phantom.fixed, vectors, phantom.fixed.grid, tmp_path / "figure.png"
    )
    picture = pixels(tmp_path / "figure.png")
    picture = picture[int(0.15 * len(picture)) : int(0.85 * len(picture))]
    width = picture.shape[1]
    colour = np.ptp(picture, axis=-1) > 0.3
    before, after = (
        colour[:, int(0.37 * width) : int(0.49 * width)],
        colour[:, int(0.53 * width) : int(0.65 * width)],
    )
    assert before.mean() > 0.02
    assert after.mean() == 0


def test_folding_is_drawn_black(phantom, tmp_path):
    grid = phantom.fixed.grid
    folding = np.zeros((*grid.shape, 3))
    folding[..., 0] = 30 * np.sin(grid.points()[..., 0] / 12)
    shares = []
    for name, vectors in (("folding", folding), ("smooth", 0.1 * folding)):
        path = tmp_path / f"{name}.png"
        registration_figure(phantom.fixed, phantom.moving, phantom.moving, vectors, grid, path)
        last_column = pixels(path)[:, int(0.85 * pixels(path).shape[1]) :]
        shares.append((last_column.max(axis=-1) < 0.02).mean())
    assert shares[0] > 0.2
    assert shares[1] < 0.02


def test_landmark_errors_are_what_the_displacement_leaves():
    grid = Grid((10, 10, 10), (2, 2, 2))
    vectors = np.broadcast_to(np.array([1.0, 0, -2]), (*grid.shape, 3))
    fixed = np.array([[4.0, 5, 6], [9, 9, 9]])
    errors = _landmark_errors(vectors, grid, fixed, fixed + [1, 3, -2])
    np.testing.assert_allclose(errors["before"], [[1, 3, -2]] * 2)
    np.testing.assert_allclose(errors["after"], [[0, 3, 0]] * 2, atol=1e-12)
    assert errors["mean_after"] == pytest.approx(3)


def test_a_path_that_cannot_be_written_is_refused(phantom, tmp_path):
    vectors = np.zeros((*phantom.fixed.grid.shape, 3))
    with pytest.raises(InputError):
        registration_figure(
            phantom.fixed,
            phantom.moving,
            phantom.moving,
            vectors,
            phantom.fixed.grid,
            tmp_path / "missing" / "figure.png",
        )
    assert list(tmp_path.iterdir()) == []


def test_figure_without_motion_and_of_another_modality_can_be_drawn(tmp_path):
    values = np.random.default_rng(0).uniform(0, 300, (12, 16, 14))
    volume = Volume(values, Grid((14, 16, 12), (4, 4, 4)))
    registration_figure(volume, volume, volume, np.zeros((*values.shape, 3)), volume.grid, tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").size
