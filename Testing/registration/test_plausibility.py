"""A result that cannot be right is said to be so, and a right one is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import GLIDERegLib as glidereg
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.files.volumes import read_volume
from GLIDERegLib.registration import plausibility, scale
from GLIDERegLib.transforms.points import map_points

SETTINGS = glidereg.Settings.preset("fast", features="local")
IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


def mirrored(volume, axes):
    order = tuple(slice(None, None, -1 if axis in axes else 1) for axis in "zyx")
    return Volume(np.ascontiguousarray(volume.array[order]), volume.grid, volume.name)


@pytest.fixture(scope="module")
def result(small_phantom):
    moving = replace(small_phantom.moving, notes=("It was read so.",))
    return glidereg.register(small_phantom.fixed, moving, SETTINGS)


def test_a_right_result_raises_no_doubt(result):
    assert result.report["plausibility"]["plausible"]
    remarks = [text for text in result.report["warnings"] if "a little less" not in text]
    assert remarks == ["It was read so."]
    fine = result.report["plausibility"]["fine_structures"]
    assert fine["final"] > fine["initial"]


@pytest.mark.parametrize("axes", ["x", "y", "z", "xy", "xz", "yz"])
def test_another_orientation_that_agrees_better_is_found_and_named(small_phantom, axes):
    moving = mirrored(small_phantom.moving, axes)
    measures, doubts = plausibility.judge(small_phantom.fixed, moving, IDENTITY, (0.5, 0.5))
    turned = measures["orientations"]
    assert max(turned, key=turned.get) == axes
    assert not measures["plausible"]
    assert "agrees better" in doubts[0] and ("half a turn" if len(axes) == 2 else "mirrored") in doubts[0]


def quarter_turned(volume, first, second):
    """The volume with two axes of its array exchanged and one flipped, as a header may have it wrong."""
    turned = np.ascontiguousarray(np.rot90(volume.array, axes=(first, second)))
    return Volume(turned, Grid(turned.shape[::-1], volume.grid.spacing, volume.grid.origin), volume.name)


@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (2, 1), (0, 2), (2, 0)])
def test_a_quarter_turn_is_told(small_phantom, axes):
    moving = quarter_turned(small_phantom.moving, *axes)
    measures, doubts = plausibility.judge(small_phantom.fixed, moving, IDENTITY, (0.5, 0.5))
    assert not measures["plausible"] and "quarter turn" in doubts[0]


def test_two_persons_are_told(small_phantom):
    """Of one habitus, so that all but the lungs' vessels agrees; once the lungs' walls lie on each other."""
    stranger = make_phantom(small_phantom.fixed.grid.size, small_phantom.fixed.grid.spacing, seed=77).moving
    report = glidereg.register(small_phantom.fixed, stranger, SETTINGS).report
    assert not report["plausibility"]["plausible"]
    assert "two persons" in report["warnings"][0]


def test_a_lung_alone_against_a_whole_chest_is_told_where_its_vessels_do_not_meet(small_phantom):
    """The lungs cut out of another scan, with air around: it is right or said to be doubtful."""
    labels = small_phantom.moving_labels.array
    lung = Volume(
        np.where(ndimage.binary_dilation(labels == 1), small_phantom.moving.array, -1024).astype(np.int16),
        small_phantom.moving.grid,
        "moving",
    )
    found = glidereg.register(small_phantom.fixed, lung, SETTINGS)
    inside = small_phantom.fixed_labels.array == 1
    points = small_phantom.fixed.grid.points()[inside][::50]
    off = map_points(found.transform, points) - points - small_phantom.displacement(points)
    error = np.linalg.norm(off, axis=1)
    assert error.mean() < 3 or not found.report["plausibility"]["plausible"]


def coarser(volume, factor=3):
    """Every third slice, row and column, so that the test takes no minute."""
    array = volume.array[::factor, ::factor, ::factor]
    spacing = tuple(factor * length for length in volume.grid.spacing)
    return Volume(array, Grid(array.shape[::-1], spacing, volume.grid.origin, volume.grid.direction), "scan")


@pytest.mark.parametrize("pair", ["known_truth/E", "textured/textured_31", "lung_right"])
def test_real_scans_turned_are_told_and_upright_ones_are_not(pair):
    folder = Path("/work/shared/data") / pair
    names = (
        ["3DCT_lung_baseline.mha", "3DCT_lung_followup.mha"]
        if pair == "lung_right"
        else ["fixed.nii.gz", "moving.nii.gz"]
    )
    if not all((folder / name).exists() for name in names):
        pytest.skip(f"the scans of {pair} are not on this machine")
    fixed, moving = (coarser(read_volume(folder / name)) for name in names)

    def doubts(volume):
        return " ".join(plausibility.judge(fixed, volume, IDENTITY, (None, None))[1])

    assert "agrees better" not in doubts(moving)
    for axes in ("z", "xy"):
        assert "agrees better" in doubts(mirrored(moving, axes)), axes
    assert "quarter turn" in doubts(quarter_turned(moving, 1, 2))


@pytest.mark.parametrize(
    ("before", "after", "plausible", "told"),
    [
        (0.9, 0.95, True, ""),
        (0.998, 0.996, True, ""),
        (0.95, 0.94, True, "a little less"),
        (0.95, 0.9, False, "agree less than before"),
    ],
)
def test_a_fall_of_similarity_is_told_and_a_large_one_casts_doubt(
    small_phantom, result, before, after, plausible, told
):
    measures, said = plausibility.judge(
        small_phantom.fixed, small_phantom.moving, result.transform, (before, after)
    )
    assert measures["plausible"] == plausible
    assert told in " ".join(said) and bool(said) == bool(told)


def test_a_transform_that_makes_the_scans_agree_less_is_told(small_phantom):
    away = sitk.TranslationTransform(3, (30.0, 0.0, 20.0))
    _, doubts = plausibility.judge(small_phantom.fixed, small_phantom.moving, away, (0.9, 0.6))
    assert any("agree less than before" in text and "0.900 before, 0.600 after" in text for text in doubts)


def test_the_doubt_stands_above_all_other_warnings_of_a_run(small_phantom):
    zero_based = Volume(small_phantom.moving.array + 1024, small_phantom.moving.grid, "moving image")
    report = glidereg.register(small_phantom.fixed, mirrored(zero_based, "z"), SETTINGS).report
    assert "mirrored head to feet" in report["warnings"][0]
    assert "not Hounsfield" in report["warnings"][-1]


def test_a_mask_too_small_to_steer_by_leaves_the_rest_at_the_start(small_phantom):
    grid = small_phantom.fixed.grid
    mask = np.zeros(grid.shape, bool)
    k, j, i = np.rint(grid.to_index(small_phantom.fixed_nodules[0])[::-1]).astype(int)
    mask[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = True
    found = glidereg.register(small_phantom.fixed, small_phantom.moving, SETTINGS, fixed_mask=mask)
    points = small_phantom.fixed_landmarks
    error = np.linalg.norm(map_points(found.transform, points) - small_phantom.moving_landmarks, axis=1)
    still = np.linalg.norm(points - small_phantom.moving_landmarks, axis=1)
    assert error.mean() < still.mean() + 2
    assert error.max() < still.max() + 10
    assert any("too little to steer" in text for text in found.report["warnings"])
    similarity = [
        found.report["similarity"][when]["normalised_cross_correlation"] for when in ("initial", "final")
    ]
    if similarity[1] < similarity[0]:
        assert any("less than before" in text for text in found.report["warnings"])


@pytest.mark.parametrize("factor", [0.05, 0.1])
def test_a_small_animal_registers_as_the_same_scan_of_a_persons_size(small_phantom, result, factor):
    fixed, moving = (scale.enlarged(volume, factor) for volume in (small_phantom.fixed, small_phantom.moving))
    small = glidereg.register(fixed, moving, SETTINGS)
    points = small_phantom.fixed_landmarks
    one, other = (
        np.linalg.norm(
            map_points(r.transform, points * f) / f - small_phantom.moving_landmarks, axis=1
        ).mean()
        for r, f in ((result, 1.0), (small, factor))
    )
    assert other < one + 0.5
    if factor == 0.05:
        assert any("mm large" in text for text in small.report["warnings"])
        assert small.report["working_spacing_mm"] < 0.5
        spaced = replace(SETTINGS, spacing=0.5)
        assert glidereg.register(fixed, moving, spaced).report["working_spacing_mm"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("size", "spacing", "as_given"),
    [
        ((512, 512, 300), 0.7, True),  # an adult
        ((256, 256, 160), 0.5, True),  # a newborn
        ((128, 128, 100), 0.7, True),  # a crop of a person
        ((400, 400, 900), 2.0, True),  # a whole body
        ((112, 88, 96), 0.15, False),  # a mouse
        ((512, 512, 600), 0.09, False),  # a mouse at high resolution
        ((256, 256, 300), 0.25, False),  # a rat
        ((512, 512, 300), 700.0, False),  # a person, lengths in micrometres
    ],
)
def test_only_what_is_not_of_a_persons_size_is_scaled(size, spacing, as_given):
    grid = Grid(size, (spacing,) * 3)
    assert (scale.magnification(grid) == 1.0) == as_given
    assert (scale.note(grid) is None) == as_given


def test_a_transform_of_an_enlarged_image_is_the_same_map():
    turn = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, 0.3, (4.0, 5.0, 6.0))
    bend = sitk.CompositeTransform([turn, sitk.BSplineTransform(3)])
    point = np.array([0.3, -0.2, 0.5])
    for transform in (turn, bend):
        large = scale.enlarged_transform(transform, 20.0)
        expected = 20 * np.array(transform.TransformPoint(point))
        np.testing.assert_allclose(large.TransformPoint(20 * point), expected, atol=1e-9)
