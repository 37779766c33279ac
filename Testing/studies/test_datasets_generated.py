"""Generated cases: what is written is the pair and its truth, once."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.breathing import Breathing
from GLIDERegLib.evaluation.evaluate import displacement_on
from GLIDERegLib.evaluation.phantom import LABELS
from GLIDERegLib.files.points import read_points
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_labels, read_mask, read_volume, write_volume
from GLIDERegLib.studies.datasets import DATA_SETS, find_cases, phantoms, warped_scans
from GLIDERegLib.studies.datasets.dataset import make_once
from GLIDERegLib.transforms.points import map_points

TINY = {"size": (36, 34, 32), "spacing": 10.0}


def changes(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def phantom_cases(work):
    return phantoms(work, seeds=(4,), amplitude_mm=(10.0, 20.0), **TINY)


def test_there_is_a_phantom_for_each_seed_and_amplitude(phantom_cases):
    assert [case.name for case in phantom_cases] == ["phantom_4_10mm", "phantom_4_20mm"]
    assert all(case.structures == tuple(LABELS.items()) for case in phantom_cases)


def test_a_phantoms_truth_is_its_exact_deformation_at_every_voxel(phantom_cases):
    for case, amplitude in zip(phantom_cases, (10.0, 20.0), strict=True):
        grid = read_volume(case.fixed).grid
        written = displacement_on(read_transform(case.truth), grid)
        exact = Breathing(amplitude, (0, 0, 0), 4).displacement(grid.points())
        np.testing.assert_allclose(written, exact, atol=1e-4)
        fixed, moving = read_points(case.fixed_points), read_points(case.moving_points)
        apart = Breathing(amplitude, (0, 0, 0), 4).displacement(fixed.points)
        np.testing.assert_allclose(moving.points - fixed.points, apart, atol=1e-5)


def test_a_phantoms_labels_lie_on_its_images(phantom_cases):
    case = phantom_cases[0]
    labels = read_labels(case.fixed_labels, read_volume(case.fixed).grid)
    assert {1, 2, 3, 4, 5} <= set(np.unique(labels).tolist()) <= {0, *LABELS}
    read_labels(case.moving_labels, read_volume(case.moving).grid)


def test_files_are_made_again_when_what_they_are_made_from_changed(tmp_path):
    made = []

    def write(out):
        made.append(1)
        (out / "a.txt").write_text("whole")

    for size in ((4, 5), (4, 5), (4, 6), (4, 6)):
        make_once(tmp_path / "case", {"size": size}, ["a.txt"], write)
    assert len(made) == 2
    (tmp_path / "case" / "made_from.json").write_text("{ damaged")
    make_once(tmp_path / "case", {"size": (4, 6)}, ["a.txt"], write)
    assert len(made) == 3


def test_phantoms_are_written_once_and_again_where_they_are_incomplete(work, phantom_cases):
    before = changes(work)
    assert phantoms(work, (4,), (10.0, 20.0), **TINY) == phantom_cases
    assert changes(work) == before
    phantom_cases[0].truth.unlink()
    phantoms(work, (4,), 10.0, **TINY)
    after = changes(work)
    assert after.keys() == before.keys()
    changed = {path.parent.name for path in after if after[path] != before[path]}
    assert changed == {"phantom_4_10mm"}


def test_a_phantom_out_of_range_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="amplitude"):
        phantoms(tmp_path / "work", (0,), 99.0, **TINY)
    assert not (tmp_path / "work").exists()


@pytest.fixture
def scans(tmp_path, phantom_cases):
    """Two crops of 200 mm in a folder, one of them with a mask."""
    folder = tmp_path / "scans"
    folder.mkdir()
    whole = read_volume(phantom_cases[0].fixed)
    labels = read_labels(phantom_cases[0].fixed_labels, whole.grid)
    crop = (slice(6, 26), slice(7, 27), slice(8, 28))
    grid = Grid((20, 20, 20), whole.grid.spacing, (5.0, -7.0, 80.0))
    lungs = np.isin(labels, (1, 2, 7, 8))[crop]
    write_volume(Volume(whole.array[crop], grid), folder / "masked.nii.gz")
    write_volume(Volume(lungs.astype(np.uint8), grid), folder / "masked_mask.nrrd")
    write_volume(Volume(read_volume(phantom_cases[0].moving).array[crop], grid), folder / "plain.mha")
    (folder / "notes.txt").write_text("not a scan")
    return folder


def test_every_scan_of_a_folder_is_warped_with_its_mask(scans, tmp_path):
    masked, plain = find_cases("warped", scans, tmp_path / "work")
    assert (masked.name, plain.name) == ("masked_0_20mm", "plain_0_20mm")
    assert masked.fixed == scans / "masked.nii.gz"
    assert masked.fixed_mask == scans / "masked_mask.nrrd"
    assert plain.fixed_mask is plain.moving_mask is None
    fixed, moving = read_points(masked.fixed_points), read_points(masked.moving_points)
    apart = np.linalg.norm(moving.points - fixed.points, axis=1)
    assert 5 < apart.max() <= 20.5
    propagated = map_points(read_transform(masked.truth), fixed.points)
    np.testing.assert_allclose(propagated, moving.points, atol=0.01)
    grid = read_volume(masked.fixed).grid
    i, j, k = np.rint(grid.to_index(fixed.points)).astype(int).T
    assert read_mask(masked.fixed_mask, grid)[k, j, i].all()
    read_mask(masked.moving_mask, read_volume(masked.moving).grid)


def test_warped_scans_are_written_once_and_the_scans_stay_as_they_were(scans, tmp_path):
    own = changes(scans)
    cases = warped_scans(scans, tmp_path / "work", seeds=(1,), amplitude_mm=12.0)
    written = changes(tmp_path / "work")
    assert warped_scans(scans, tmp_path / "work", seeds=(1,), amplitude_mm=12.0) == cases
    assert changes(tmp_path / "work") == written
    assert changes(scans) == own


def test_a_mask_of_another_grid_and_two_scans_of_one_name_are_refused(scans, tmp_path):
    small = Volume(np.ones((8, 8, 8), np.uint8), Grid((8, 8, 8)))
    write_volume(small, scans / "masked_mask.nrrd")
    with pytest.raises(InputError, match="does not lie on its image's grid"):
        find_cases("warped", scans, tmp_path / "work")
    assert not (tmp_path / "work" / "masked_0_20mm").exists()
    write_volume(read_volume(scans / "masked.nii.gz"), scans / "plain.nii.gz")
    with pytest.raises(InputError, match="same name"):
        find_cases("warped", scans, tmp_path / "work")


def test_a_folder_without_scans_or_that_is_not_there_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no scans"):
            warped_scans(folder, tmp_path / "work")


def test_the_phantom_needs_no_folder(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "GLIDERegLib.studies.datasets.generated.phantoms", lambda work: seen.append(work) or []
    )
    assert find_cases("phantom", tmp_path / "nowhere", tmp_path) == []
    assert seen == [tmp_path]
    assert DATA_SETS["phantom"].layout == "(no folder)"
