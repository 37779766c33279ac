"""Two scans of which one has the size of something else, or that have nothing in common, are told."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from GLIDERegLib.api import register
from GLIDERegLib.api.doubts import agreement_doubt, few_voxels_note, same_note, size_doubt
from GLIDERegLib.api.result import finished
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.result import Outcome, initial_alone


def sized(volume, factor, origin=None):
    grid = volume.grid
    spacing = tuple(factor * s for s in grid.spacing)
    return replace(volume, grid=Grid(grid.size, spacing, origin or grid.origin, grid.direction))


@pytest.mark.parametrize("factor", [0.001, 0.1, 0.5, 2.0, 10.0])
def test_a_scan_of_another_size_is_told(small_phantom, factor):
    said = size_doubt(small_phantom.fixed, sized(small_phantom.moving, factor))
    assert "check spacing and units" in said
    assert "check spacing and units" in size_doubt(sized(small_phantom.moving, factor), small_phantom.fixed)


def test_scans_of_one_size_are_not_told(small_phantom):
    fixed, moving = small_phantom.fixed, small_phantom.moving
    stranger = make_phantom(fixed.grid.size, fixed.grid.spacing, seed=77).moving
    others = {
        "itself": fixed,
        "another breath": moving,
        "another person": stranger,
        "far away": sized(moving, 1.0, (3000.0, 500.0, -9000.0)),
        "a tenth larger": sized(moving, 1.1),
        "0-based": replace(moving, array=(moving.array.astype(np.int32) + 1024).astype(np.uint16)),
        "half of it": Volume(moving.array[:, :, :32].copy(), replace(moving.grid, size=(32, 64, 56))),
        "its middle": Volume(moving.array[15:40, 20:44, 20:44], Grid((24, 24, 25), moving.grid.spacing)),
        "a lung alone": replace(
            moving, array=np.where(ndimage.binary_dilation(small_phantom.moving_labels.array == 1),
                                   moving.array, -1024).astype(np.int16)
        ),
        "without any air": replace(moving, array=np.full_like(moving.array, 40)),
    }  # fmt: skip
    for name, other in others.items():
        assert (name, size_doubt(fixed, other), size_doubt(other, fixed)) == (name, "", "")


IDENTITY, AWAY = sitk.Transform(3, sitk.sitkIdentity), sitk.TranslationTransform(3, (9000.0, 0.0, 0.0))


def test_cts_that_have_nothing_in_common_are_told(small_phantom):
    fixed, moving = small_phantom.fixed, small_phantom.moving
    noise = replace(moving, array=np.random.default_rng(0).normal(-300, 300, moving.array.shape))
    inverted = replace(moving, array=-moving.array.astype(np.int32))
    assert agreement_doubt(fixed, moving, IDENTITY, 0.85) == ""
    assert "hardly agree" in agreement_doubt(fixed, noise, IDENTITY, 0.001)
    assert "nothing in common" in agreement_doubt(fixed, moving, AWAY, None)
    assert "inverted" in agreement_doubt(fixed, inverted, IDENTITY, -0.9)
    # Of another modality, values tell less.
    assert agreement_doubt(fixed, replace(moving, array=np.abs(moving.array)), IDENTITY, 0.1) == ""


def test_a_part_of_a_scan_agrees_where_it_is(small_phantom):
    """A correlation of all the body is low where the moving scan shows a third of it."""
    moving = small_phantom.moving
    grid = moving.grid
    top = Volume(moving.array[38:], Grid((64, 64, 18), grid.spacing, tuple(grid.to_physical([0, 0, 38]))))
    assert agreement_doubt(small_phantom.fixed, top, IDENTITY, 0.1) == ""


def test_a_body_of_a_tenth_of_the_size_is_refused(small_phantom):
    fixed, mouse = small_phantom.fixed, sized(small_phantom.moving, 0.1)
    for pair in ((fixed, mouse), (mouse, fixed)):
        with pytest.raises(InputError, match="check spacing and units"):
            register(*pair)


def test_a_scan_of_a_few_thick_slices_is_told(small_phantom):
    moving = small_phantom.moving
    grid = Grid((64, 64, 4), (6.0, 6.0, 84.0), moving.grid.origin)
    assert "only 4 voxels along an axis, 84 mm" in few_voxels_note(
        Volume(moving.array[::14], grid, "moving image")
    )
    assert few_voxels_note(moving) == ""


def test_one_scan_given_twice_is_told(small_phantom):
    fixed, moving = small_phantom.fixed, small_phantom.moving
    assert "given twice" in same_note(fixed, replace(fixed, array=fixed.array.copy(), name="moving image"))
    assert same_note(fixed, moving) == same_note(fixed, sized(fixed, 1.0, (1.0, 2.0, 3.0))) == ""


def test_a_flat_initial_transform_is_refused_by_the_library_too(small_phantom):
    flat = sitk.ScaleTransform(3, (1.0, 1.0, 1e-9))
    with pytest.raises(InputError, match="initial transform has a singular matrix"):
        register(small_phantom.fixed, small_phantom.moving, initial_transform=flat)


@pytest.mark.parametrize("factor, doubted", [(2.0, True), (1.0, False)])
def test_the_doubt_stands_on_top_of_the_warnings_and_in_the_report(small_phantom, factor, doubted):
    fixed, moving = small_phantom.fixed, sized(small_phantom.fixed, factor)
    start = sitk.Euler3DTransform()
    outcome = Outcome(initial_alone(fixed.grid, start), start, 8.0, ["It was read so."], False)
    device = torch.device("cpu")
    report = finished(
        fixed, moving, outcome, Settings(), None, device, Stages(device), 0.0, size_doubt(fixed, moving)
    ).report
    assert ("check spacing and units" in report["warnings"][0]) == doubted
    assert report["plausibility"]["plausible"] != doubted
    assert report["warnings"][-1] == "It was read so."
