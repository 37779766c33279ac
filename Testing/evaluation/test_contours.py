"""Segments through a known map, both ways, and nothing lost without a word."""

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.contours import compare_segmentations, propagate_segmentation
from GLIDERegLib.files.segmentations import Segment, Segmentation
from GLIDERegLib.registration.field import DisplacementField

FIXED = Grid((60, 56, 40), (1.0, 1.0, 1.5), (-30.0, -28.0, -30.0))
MOVING = Grid((50, 60, 44), (1.2, 0.9, 1.4), (-32.0, -25.0, -31.0))


def waved(points):
    """A slow wave, fixed to moving points."""
    x, y, z = np.moveaxis(points, -1, 0)
    u = np.stack([3 * np.sin(z / 15), 2 * np.cos(x / 18), 4 * np.sin(y / 20)], axis=-1)
    return points + u


WAVE = DisplacementField(
    (waved(FIXED.points()) - FIXED.points()).astype(np.float32), FIXED
).to_sitk()  # fmt: skip


def ball(points, radius=12, centre=(0, 0, 0)):
    return np.linalg.norm(points - np.array(centre), axis=-1) <= radius


def of(grid, *masks, names=("ball", "core", "lung")):
    labels = np.zeros(grid.shape, np.int32)
    for number, mask in enumerate(masks):
        labels[mask] = number + 1
    segments = tuple(Segment(name, number + 1) for number, name in enumerate(names[: len(masks)]))
    return Segmentation((labels,), grid, segments)


def test_a_moving_segment_lies_where_the_transform_leads_into_it():
    source = of(MOVING, ball(MOVING.points()), ball(MOVING.points(), 6))
    found = propagate_segmentation(source, WAVE, "moving-to-fixed", FIXED)
    truth = of(FIXED, ball(waved(FIXED.points())), ball(waved(FIXED.points()), 6))
    compared = compare_segmentations(found.segmentation, truth)
    for name in ("ball", "core"):
        assert compared[name]["dice"] > 0.95
        assert compared[name]["mean_mm"] <= 0.15  # a tenth of the longest voxel edge
    assert found.residual_mm == 0
    assert [item.share_outside for item in found.segments] == [0, 0]


def test_a_fixed_segment_goes_the_other_way_through_the_inverse():
    source = of(FIXED, ball(waved(FIXED.points())))
    found = propagate_segmentation(source, WAVE, "fixed-to-moving", MOVING)
    compared = compare_segmentations(found.segmentation, of(MOVING, ball(MOVING.points())))
    assert compared["ball"]["dice"] > 0.95
    assert compared["ball"]["mean_mm"] <= 0.15
    assert 0 < found.residual_mm < 0.1


@pytest.mark.parametrize("direction", ["fixed-to-moving", "moving-to-fixed"])
def test_a_shift_by_whole_voxels_shifts_the_labels_and_no_more(direction):
    labels = np.random.default_rng(0).integers(-2, 4, FIXED.shape).astype(np.int32)
    source = Segmentation((labels,), FIXED, tuple(Segment(str(n), n) for n in (-2, -1, 1, 2, 3)))
    shift = sitk.TranslationTransform(3, (2.0, -1.0, 3.0))
    found = propagate_segmentation(source, shift, direction, FIXED).segmentation.layers[0]
    back, there = found[2:-2, 1:-1, 2:-2], labels
    if direction == "moving-to-fixed":
        expected = there[4:, :-2, 4:]
    else:
        expected = there[:-4, 2:, :-4]
    np.testing.assert_array_equal(back, expected)


def test_a_segment_lost_on_a_coarse_grid_or_beyond_the_other_scan_is_said():
    dot = np.zeros(FIXED.shape, bool)
    dot[20, 28, 30] = True
    beyond = ball(FIXED.points(), 3, (-20, 0, 0))
    source = of(FIXED, dot, beyond)
    coarse = Grid((6, 6, 6), (8.0, 8.0, 8.0), (-12.0, -20.0, -20.0))
    found = propagate_segmentation(source, sitk.Transform(3, sitk.sitkIdentity), "moving-to-fixed", coarse)
    dot, beyond = found.segments
    assert dot.lost and dot.share_outside == 0
    assert beyond.lost and beyond.share_outside == 1
    assert dot.before_ml == pytest.approx(0.0015)


def test_overlapping_segments_stay_whole_and_sliding_organs_are_named():
    layers = tuple(ball(FIXED.points(), radius).astype(np.int32) for radius in (12, 5))
    source = Segmentation(layers, FIXED, (Segment("Left lung", 1), Segment("Nodule", 1, 1)))
    found = propagate_segmentation(source, sitk.Transform(3, sitk.sitkIdentity), "fixed-to-moving", FIXED)
    for before, after in zip(layers, found.segmentation.layers, strict=True):
        np.testing.assert_array_equal(before, after)
    assert [item.slides for item in found.segments] == [True, False]


def test_segmentations_of_two_grids_are_not_compared():
    with pytest.raises(InputError, match="do not lie on one grid"):
        compare_segmentations(of(FIXED, ball(FIXED.points())), of(MOVING, ball(MOVING.points())))
