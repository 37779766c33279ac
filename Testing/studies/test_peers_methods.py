"""Each method finds a motion that is known, in mm and the right way round, or says what it lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.volumes import write_volume
from GLIDERegLib.studies.cases import Task
from GLIDERegLib.studies.code import own_version
from GLIDERegLib.studies.peers import METHODS, choose_methods
from GLIDERegLib.studies.peers.packages import PYTHON_VARIABLE, SCRIPTS, package_peers, peers_python
from GLIDERegLib.studies.peers.runner import run_method
from GLIDERegLib.transforms.points import map_points

# No component is another's negative, so that exchanged axes show as much as a wrong sign.
SHIFT = np.array([6.0, -4.0, 8.0])
AXES = np.asarray(sitk.Euler3DTransform((0, 0, 0), 0.25, -0.15, 0.35).GetMatrix())
GRID = Grid((60, 54, 48), (2.5, 2.5, 3.0), (30.0, -70.0, 110.0), tuple(AXES.tolist()))


def motion(points):
    """Fixed to moving points, LPS mm: a shift, and a smooth wave of 2 mm across the image."""
    wave = np.sin((points - GRID.center) @ np.array([0.02, 0.03, 0.01]))
    return points + SHIFT + wave[..., None] * [0.0, 2.0, 0.0]


def inverse_motion(points):
    fixed = points - SHIFT
    for _ in range(30):
        fixed = fixed + points - motion(fixed)
    return fixed


def anatomy(points):
    """HU at fixed points: a lumpy ball of tissue in air."""
    rng = np.random.default_rng(0)
    where = points - GRID.center
    texture = sum(
        np.cos(where @ wave + phase)
        for wave, phase in zip(rng.normal(0, 0.12, (24, 3)), rng.uniform(0, 6, 24), strict=True)
    )
    radius = np.linalg.norm(where / [52, 46, 50], axis=-1)
    return -1000 + (1000 + 60 * texture) / (1 + np.exp(np.clip(30 * (radius - 1), -50, 50)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """fixed.nii.gz and moving.nii.gz on one oblique, anisotropic grid, in a folder with a blank in it."""
    folder = tmp_path_factory.mktemp("a pair")
    for name, points in (("fixed", GRID.points()), ("moving", inverse_motion(GRID.points()))):
        write_volume(Volume(anatomy(points).astype(np.float32), GRID), folder / f"{name}.nii.gz", np.int16)
    return folder


@pytest.fixture
def task(pair, tmp_path):
    return Task(pair / "fixed.nii.gz", pair / "moving.nii.gz", tmp_path / "own folder", 1, case="case 1")


def errors(transform):
    """Distances in mm from the truth at points inside the ball."""
    points = GRID.center + np.random.default_rng(1).uniform(-25, 25, (300, 3))
    return np.linalg.norm(map_points(transform, points) - motion(points), axis=1)


def found(method, task):
    run = run_method(method, task, timeout=600)
    assert run.status == "done", run.reason
    return method.transform(task)


@pytest.mark.parametrize("peer", package_peers(peers_python()), ids=lambda peer: peer.name)
def test_a_peer_finds_the_motion_in_mm(peer, task):
    if reason := peer.missing():
        pytest.skip(reason)
    # The smallest voxel is 2.5 mm; a wrong sign, axis or unit leaves more than 8 mm.
    assert errors(found(peer, task)).mean() < 1.25


def test_glide_reg_finds_the_motion_in_mm(task):
    assert errors(found(*choose_methods(["glidereg-fast"]), task)).mean() < 1.25


def test_the_affine_method_finds_what_an_affine_transform_can(task):
    assert errors(found(*choose_methods(["affine"]), task)).mean() < 2.0


def test_no_registration_leaves_points_where_they_are(task):
    (none,) = choose_methods(["none"])
    assert found(none, task).TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def test_glide_reg_uses_local_features_alone_without_a_checkpoint(task):
    (method,) = choose_methods(["glidereg-accurate"])
    assert "local" in method.command(task)
    assert "local features only" in method.version()


def test_results_of_two_states_of_our_code_are_told_apart_and_other_files_do_not_matter(tmp_path):
    for state, text in (("a", "1"), ("b", "1"), ("c", "2")):
        for folder in ("core", "registration/features", "panel"):
            (tmp_path / state / folder).mkdir(parents=True)
        (tmp_path / state / "registration/features/mind.py").write_text(text)
        (tmp_path / state / "panel/page.py").write_text(state)
    first, same, changed = (own_version(tmp_path / state) for state in "abc")
    assert first == same != changed
    assert own_version() in choose_methods(["glidereg-fast"])[0].version()


# Writes a field of voxels along the axes of the NIfTI file, then prints what it was given.
USER_TOOL = """
import sys
import nibabel, numpy
fixed, moving, folder, threads = sys.argv[1:]
size = nibabel.load(fixed).shape
nibabel.save(nibabel.Nifti1Image(numpy.tile([1.0, -2, 3], (*size, 1)), None), folder + "/disp.nii.gz")
print(nibabel.load(moving).shape, threads)
"""


def test_a_users_command_gets_its_files_and_its_field_is_read_by_its_convention(task, tmp_path):
    tool = tmp_path / "tool.py"
    tool.write_text(USER_TOOL)
    line = f"'{sys.executable}' '{tool}' {{fixed}} {{moving}} {{folder}} {{threads}}"
    (method,) = choose_methods([f"command:mine={line} => voxels-xyz:{{folder}}/disp.nii.gz"])
    transform = found(method, task)
    assert method.name == "mine"
    assert (task.folder / "log.txt").read_text() == "(60, 54, 48) 1\n"
    expected = GRID.to_physical([11.0, 8.0, 23.0])
    assert np.allclose(transform.TransformPoint(GRID.to_physical([10.0, 10.0, 20.0]).tolist()), expected)


def test_a_users_command_without_a_convention_leaves_an_itk_transform(task):
    (method,) = choose_methods(["command:mine=true {fixed}"])
    task.folder.mkdir()
    sitk.WriteTransform(sitk.TranslationTransform(3, (1, 2, 3)), str(task.folder / "transform.h5"))
    assert method.transform(task).TransformPoint((0, 0, 0)) == (1, 2, 3)


def test_a_users_command_that_wants_a_mask_refuses_a_case_without(task):
    (method,) = choose_methods([f"command:mine='{sys.executable}' {{fixed_mask}}"])
    run = run_method(method, task)
    assert run.status == "failed" and "{fixed_mask}" in run.reason


def test_a_users_program_that_is_not_there_is_missing():
    (method,) = choose_methods(["command:mine=no-such-program {fixed}"])
    assert "no-such-program" in method.missing()


def test_fields_of_a_users_own_run_are_found_by_the_name_of_the_case(task, tmp_path):
    sitk.WriteTransform(sitk.TranslationTransform(3, (1, 2, 3)), str(tmp_path / "case 1.tfm"))
    (method,) = choose_methods([f"fields:mine={tmp_path}"])
    assert found(method, task).TransformPoint((0, 0, 0)) == (1, 2, 3)


def test_a_case_without_a_field_is_refused(task, tmp_path):
    (method,) = choose_methods([f"fields:mine={tmp_path} => voxels-xyz"])
    with pytest.raises(InputError, match=r"case 1\.nii\.gz"):
        method.transform(task)


def test_a_folder_of_fields_that_is_not_there_is_missing():
    (method,) = choose_methods(["fields:mine=/no/such/folder"])
    assert "/no/such/folder" in method.missing()


def test_methods_come_in_the_order_they_are_named():
    names = ["syn", "none", "glidereg-default"]
    assert [method.name for method in choose_methods(names)] == names


def test_every_method_has_the_name_it_is_chosen_by():
    assert [method.name for method in choose_methods(list(METHODS))] == list(METHODS)


@pytest.mark.parametrize(
    "name", ["deeds", "command:", "command:x", "fields:=folder", "command:x=a b => inches:c"]
)
def test_what_is_no_method_is_refused(name):
    with pytest.raises(InputError):
        choose_methods([name])


def test_one_name_for_two_methods_is_refused():
    with pytest.raises(InputError, match="syn"):
        choose_methods(["syn", "none", "command:syn=true"])


def test_a_peer_says_what_is_missing(tmp_path, monkeypatch):
    for python in (tmp_path / "none", Path(sys.executable)):
        monkeypatch.setenv(PYTHON_VARIABLE, str(python))
        (method,) = choose_methods(["niftyreg"])
        assert str(python) in method.missing()


def test_masks_reach_a_peer_that_takes_them_only_where_both_images_have_one(task):
    syn, convexadam = choose_methods(["syn", "convexadam"])
    masks = {"fixed_mask": Path("fm.nii.gz"), "moving_mask": Path("mm.nii.gz")}
    both = Task(task.fixed, task.moving, task.folder, 1, **masks)
    one = Task(task.fixed, task.moving, task.folder, 1, fixed_mask=masks["fixed_mask"])
    assert list(syn.command(both))[-2:] == ["fm.nii.gz", "mm.nii.gz"]
    assert "fm.nii.gz" not in syn.command(one)
    assert "fm.nii.gz" not in convexadam.command(both)


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("run_*.py")), ids=lambda path: path.name)
def test_the_scripts_of_the_peers_need_nothing_of_this_library(script):
    assert "GLIDERegLib" not in script.read_text()
