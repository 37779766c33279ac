import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import WeightsError
from GLIDERegLib.files.points import read_points


def test_points_propagated_there_and_back_return(glidereg, registered, phantom_folder, tmp_path):
    landmarks, transform = phantom_folder / "fixed_landmarks.csv", registered / "transform.h5"
    there, back = tmp_path / "there.mrk.json", tmp_path / "back.csv"
    for points, direction, out in ((landmarks, "fixed-to-moving", there), (there, "moving-to-fixed", back)):
        answer = glidereg("propagate", points, "--transform", transform, "--direction", direction, "-o", out)
        assert answer[0] == 0 and answer[1].startswith("300 points in ")
    given, propagated, returned = (read_points(path) for path in (landmarks, there, back))
    assert given.labels == propagated.labels == returned.labels
    assert np.linalg.norm(propagated.points - given.points, axis=1).max() > 5
    assert np.allclose(returned.points, given.points, atol=0.01)


def test_propagate_tells_points_outside_the_field(glidereg, registered, tmp_path):
    (tmp_path / "points.csv").write_text("label,x,y,z\nmiddle,0,0,0\nmoon,0,0,9000\n")
    status, output, _ = glidereg(
        "propagate", tmp_path / "points.csv", "--transform", registered / "transform.h5",
        "--direction", "fixed-to-moving", "-o", tmp_path / "out.csv",
    )  # fmt: skip
    assert status == 0
    assert "Warning:" in output and "moon" in output and "middle" not in output


def beyond_the_moving_scan(folder):
    """A moving scan of which the upper part is missing, a shift upwards, and points below and at the edge."""
    image = sitk.Image(20, 20, 20, sitk.sitkInt16)
    image.SetSpacing([10.0] * 3)
    image[5, 5, 5] = 100
    sitk.WriteImage(image, str(folder / "fixed.nii.gz"))
    sitk.WriteImage(image[:, :, :10], str(folder / "moving.nii.gz"))
    sitk.WriteTransform(sitk.TranslationTransform(3, (0.0, 0.0, 30.0)), str(folder / "transform.h5"))
    return {
        # Label, and z of the point (mm) in the fixed and in the moving scan, whose last voxel ends at 95 mm.
        "inside": (60.0, 90.0),
        "edge": (64.9, 94.9),
        "beyond": (65.1, 95.1),
    }


@pytest.mark.parametrize("direction", ["fixed-to-moving", "moving-to-fixed"])
@pytest.mark.parametrize("how", ["given", "from the folder of results"])
def test_propagate_tells_points_outside_the_moving_scan(glidereg, tmp_path, direction, how):
    places = beyond_the_moving_scan(tmp_path)
    side = 0 if direction == "fixed-to-moving" else 1
    lines = [f"{label},50,50,{z[side]}" for label, z in places.items()]
    (tmp_path / "points.csv").write_text("\n".join(["label,x,y,z", *lines, ""]))
    options = ["--moving", tmp_path / "moving.nii.gz"]
    if how != "given":
        options = []
        paths = {role: str(tmp_path / f"{role}.nii.gz") for role in ("fixed", "moving")}
        (tmp_path / "inputs.json").write_text(json.dumps(paths))
    status, output, _ = glidereg(
        "propagate", tmp_path / "points.csv", "--transform", tmp_path / "transform.h5",
        "--direction", direction, "-o", tmp_path / "out.csv", *options,
    )  # fmt: skip
    assert status == 0
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [row["inside_moving"] for row in rows] == ["true", "true", "false"]
    assert "outside the moving image, where nothing can be compared: beyond." in output


def test_propagate_goes_without_scans_that_are_gone(glidereg, tmp_path):
    beyond_the_moving_scan(tmp_path)
    (tmp_path / "inputs.json").write_text(json.dumps({"fixed": "gone.nii.gz", "moving": "gone.nii.gz"}))
    (tmp_path / "points.csv").write_text("label,x,y,z\na,50,50,50\n")
    options = ["--transform", tmp_path / "transform.h5", "--direction", "fixed-to-moving", "-o"]
    status, output, _ = glidereg("propagate", tmp_path / "points.csv", *options, tmp_path / "out.csv")
    assert (status, output.count("\n")) == (0, 1)
    assert "inside_moving" not in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize("fault", ["overwrites its input", "has no folder", "is of an unknown type"])
def test_an_output_that_propagate_cannot_write_is_refused(glidereg, registered, tmp_path, fault):
    points = tmp_path / "points.csv"
    points.write_text("label,x,y,z\na,0,0,0\n")
    out = {
        "overwrites its input": points,
        "has no folder": tmp_path / "nowhere" / "out.csv",
        "is of an unknown type": tmp_path / "out.xls",
    }[fault]
    status, _, errors = glidereg(
        "propagate",
        points,
        "--transform",
        registered / "transform.h5",
        "--direction",
        "fixed-to-moving",
        "-o",
        out,
    )
    assert status == 2 and errors.count("\n") == 1
    assert points.read_text() == "label,x,y,z\na,0,0,0\n"
    assert list(tmp_path.iterdir()) == [points]


def _truth(phantom, path):
    """The phantom's exact displacement as a stranger's field on a grid of the stranger's choice."""
    grid = phantom.fixed.grid.resized((5.0, 6.0, 7.0))
    field = sitk.GetImageFromArray(phantom.displacement(grid.points()), isVector=True)
    field.SetOrigin(grid.origin)
    field.SetSpacing(grid.spacing)
    sitk.WriteImage(field, str(path))


def test_evaluate_judges_the_field_of_another_tool(glidereg, small_phantom, phantom_folder, tmp_path):
    _truth(small_phantom, tmp_path / "field.nrrd")
    suffixes = {"": ".nii.gz", "-points": "_landmarks.csv", "-labels": "_labels.nii.gz"}
    options = [
        f"--{role}{option}={phantom_folder / (role + suffix)}"
        for role in ("fixed", "moving")
        for option, suffix in suffixes.items()
    ]
    status, output, errors = glidereg(
        "evaluate", "--transform", tmp_path / "field.nrrd", *options, "-o", tmp_path / "report.json"
    )
    assert (status, errors) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text())
    apart = small_phantom.moving_landmarks - small_phantom.fixed_landmarks
    error = report["target_registration_error"]
    assert error["initial"]["mean"] == pytest.approx(np.linalg.norm(apart, axis=1).mean(), abs=1e-3)
    assert error["final"]["mean"] < 0.2
    assert report["jacobian"]["share_not_positive"] == 0
    assert report["dice"]["final"]["mean"] > 0.8 > report["dice"]["initial"]["mean"]
    assert f"{error['initial']['mean']:.3f}" in output and f"{error['final']['mean']:.3f}" in output


def test_evaluate_of_a_known_shift_reports_that_shift(glidereg, phantom_folder, tmp_path):
    sitk.WriteTransform(sitk.TranslationTransform(3, (3.0, 0.0, -4.0)), str(tmp_path / "shift.tfm"))
    status, _, _ = glidereg(
        "evaluate", "--transform", tmp_path / "shift.tfm", "--fixed", phantom_folder / "fixed.nii.gz",
        "--moving", phantom_folder / "fixed.nii.gz", "--mask", phantom_folder / "fixed_labels.nii.gz",
        "-o", tmp_path / "report.json", "--quiet",
    )  # fmt: skip
    assert status == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["displacement"]["mean_mm"] == pytest.approx(5.0)
    assert report["sampling"]["region"] == "mask"
    assert report["similarity"]["initial"]["normalised_cross_correlation"] == pytest.approx(1.0)
    assert report["similarity"]["final"]["normalised_cross_correlation"] < 0.99


def test_evaluate_refuses_points_of_one_image_alone(glidereg, registered, phantom_folder, tmp_path):
    status, _, errors = glidereg(
        "evaluate", "--transform", registered / "transform.h5", "--fixed", phantom_folder / "fixed.nii.gz",
        "--moving", phantom_folder / "moving.nii.gz", "--fixed-points", phantom_folder / "fixed_nodules.csv",
        "-o", tmp_path / "report.json",
    )  # fmt: skip
    assert status == 2 and errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_demo_leaves_its_pair_its_results_and_the_error_against_the_truth(
    glidereg, tmp_path, monkeypatch
):
    def unreachable(*arguments, **keywords):
        raise WeightsError("no network")

    monkeypatch.setattr("GLIDERegLib.files.checkpoints.download", unreachable)
    out = tmp_path / "demo"
    status, output, _ = glidereg("demo", "-o", out, "--size", "small", "--seed", 3, "--download-weights")
    assert status == 0
    assert "The SAM2 checkpoint sam2.1_hiera_tiny cannot be downloaded" in output.splitlines()[0]
    names = {path.name for path in out.iterdir()}
    assert {"fixed.nii.gz", "moving.nii.gz", "fixed_labels.nii.gz", "moving_landmarks.csv"} <= names
    assert {"transform.h5", "warped.nii.gz", "points_moving.csv", "points_fixed.csv", "figure.png"} <= names
    report = json.loads((out / "report.json").read_text())
    truth = report["truth"]
    for where in ("nodules", "target_registration_error"):
        assert truth[where]["final"]["mean"] < 0.6 * truth[where]["initial"]["mean"]
    assert f"{truth['body']['final']['p95']:.3f}" in output
    nodules = report["target_registration_error"]["final"]["mean"]
    assert truth["nodules"]["final"]["mean"] == pytest.approx(nodules, abs=1e-3)
    assert report["settings"]["seed"] == 3
    assert report["inputs"]["fixed"] == "fixed.nii.gz"


def test_a_download_without_network_is_exit_status_4_and_says_what_to_fetch(glidereg):
    status, output, errors = glidereg(
        "weights", "download", "sam2.1_hiera_tiny", "--mirror", "http://127.0.0.1:9/"
    )
    assert status == 4 and output == "" and errors.count("\n") == 1
    for fact in (
        "sam2.1_hiera_tiny.pt",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        "folder",
    ):
        assert fact in errors


def test_the_list_of_weights_says_which_are_here(glidereg, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIDEREG_WEIGHTS", str(tmp_path))
    (tmp_path / "sam2.1_hiera_small.pt").write_bytes(b"cut off")
    status, output, _ = glidereg("weights", "list")
    assert status == 0
    states = {line.split()[0]: line for line in output.splitlines()[1:]}
    assert "absent" in states["sam2.1_hiera_tiny"] and "damaged" in states["sam2.1_hiera_small"]


def test_a_file_that_is_no_published_checkpoint_does_not_verify(glidereg, tmp_path):
    (tmp_path / "mine.pt").write_bytes(b"not a checkpoint")
    status, _, errors = glidereg("weights", "verify", tmp_path / "mine.pt")
    assert status == 4 and errors.count("\n") == 1
