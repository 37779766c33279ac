import csv
import json

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.cli.register import OUTPUTS


def rows_of(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def positions(rows):
    return np.array([[float(row[axis]) for axis in "xyz"] for row in rows])


def test_all_files_of_the_contract_appear_and_nothing_else(registered):
    assert {path.name for path in registered.iterdir()} == set(OUTPUTS)


def test_the_report_holds_what_the_contract_lists(registered):
    report = json.loads((registered / "report.json").read_text())
    for key in ("versions", "settings", "seed", "device", "weights", "stages", "similarity", "jacobian"):
        assert key in report
    assert {"inverse_consistency", "warnings", "study_dates"} <= report.keys()
    assert all({"seconds", "peak_memory_mb"} <= stage.keys() for stage in report["stages"].values())
    assert {"min", "max", "share_not_positive"} <= report["jacobian"].keys()


def test_the_report_holds_no_path_or_name(registered, phantom_folder):
    text = (registered / "report.json").read_text()
    for secret in (str(phantom_folder), phantom_folder.name, "fixed.nii.gz", "nodules.csv"):
        assert secret not in text
    # Where the scans lie stands in a file of its own, which stays behind.
    inputs = json.loads((registered / "inputs.json").read_text())
    assert inputs["fixed"] == str(phantom_folder / "fixed.nii.gz")


def test_the_registration_brings_nodules_together(registered):
    error = json.loads((registered / "report.json").read_text())["target_registration_error"]
    assert error["initial"]["n"] == 8
    assert error["final"]["mean"] < 0.5 * error["initial"]["mean"]


def test_the_written_transform_carries_the_moving_file_to_the_written_warped_image(
    registered, phantom_folder
):
    fixed, moving = (sitk.ReadImage(str(phantom_folder / f"{role}.nii.gz")) for role in ("fixed", "moving"))
    warped = sitk.ReadImage(str(registered / "warped.nii.gz"))
    transform = sitk.ReadTransform(str(registered / "transform.h5"))
    expected = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1024.0)
    assert warped.GetSize() == fixed.GetSize()
    assert np.allclose(warped.GetOrigin(), fixed.GetOrigin()) and np.allclose(
        warped.GetSpacing(), fixed.GetSpacing()
    )
    assert warped.GetPixelID() == moving.GetPixelID()
    difference = sitk.GetArrayFromImage(warped).astype(int) - sitk.GetArrayFromImage(expected)
    assert np.abs(difference).max() <= 1


def test_fixed_points_go_where_simpleitk_sends_them(registered, phantom_folder):
    transform = sitk.ReadTransform(str(registered / "transform.h5"))
    given, propagated = (
        rows_of(phantom_folder / "fixed_nodules.csv"),
        rows_of(registered / "points_moving.csv"),
    )
    assert [row["label"] for row in given] == [row["label"] for row in propagated]
    expected = [transform.TransformPoint(point) for point in positions(given).tolist()]
    assert np.allclose(positions(propagated), expected, atol=1e-4)
    assert all(row["inside_field"] == "true" and float(row["residual_mm"]) < 0.01 for row in propagated)


def test_moving_points_come_from_where_simpleitk_sends_the_result(registered, phantom_folder):
    transform = sitk.ReadTransform(str(registered / "transform.h5"))
    back = rows_of(registered / "points_fixed.csv")
    again = [transform.TransformPoint(point) for point in positions(back).tolist()]
    assert np.allclose(again, positions(rows_of(phantom_folder / "moving_nodules.csv")), atol=0.01)


def test_markups_hold_the_same_points_as_the_table(registered):
    for name in ("points_moving", "points_fixed"):
        markup = json.loads((registered / f"{name}.mrk.json").read_text())["markups"][0]
        assert markup["coordinateSystem"] == "LPS"
        points = [point["position"] for point in markup["controlPoints"]]
        assert np.allclose(points, positions(rows_of(registered / f"{name}.csv")))


def test_the_map_of_uncertainty_covers_the_body_and_holds_the_nodules(registered, phantom_folder):
    told = sitk.ReadImage(str(registered / "uncertainty.nrrd"))
    goal = positions(rows_of(phantom_folder / "moving_nodules.csv"))
    error = np.linalg.norm(positions(rows_of(registered / "points_moving.csv")) - goal, axis=1)
    radius = [
        told.EvaluateAtPhysicalPoint(point.tolist(), sitk.sitkLinear)
        for point in positions(rows_of(phantom_folder / "fixed_nodules.csv"))
    ]
    voxel = max(sitk.ReadImage(str(phantom_folder / "fixed.nii.gz")).GetSpacing())
    assert min(radius) >= voxel / 2
    assert np.mean(error <= radius) >= 0.9


def test_equal_seeds_give_equal_bits(glidereg, registered, images, tmp_path):
    assert glidereg("register", *images, "-o", tmp_path / "again", "--seed", 0, "--quiet") == (0, "", "")
    for read, name in ((_field, "transform.h5"), (_array, "warped.nii.gz")):
        assert np.array_equal(read(registered / name), read(tmp_path / "again" / name))


def _array(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _field(path):
    grid = sitk.Image([40, 40, 40], sitk.sitkFloat32)
    grid.SetSpacing([8.0, 8.0, 8.0])
    grid.SetOrigin([-160.0, -160.0, -160.0])
    field = sitk.TransformToDisplacementField(
        sitk.ReadTransform(str(path)),
        sitk.sitkVectorFloat64,
        grid.GetSize(),
        grid.GetOrigin(),
        grid.GetSpacing(),
    )
    return sitk.GetArrayFromImage(field)


def test_points_outside_the_image_are_flagged_and_told(glidereg, images, tmp_path):
    points, out = tmp_path / "points.csv", tmp_path / "out"
    points.write_text("label,x,y,z\ninside,0,0,0\nfar away,1000,0,0\n")
    status, output, _ = glidereg("register", *images, "-o", out, "--fixed-points", points, "--preset", "fast")
    assert status == 0
    assert [row["inside_field"] for row in rows_of(out / "points_moving.csv")] == ["true", "false"]
    assert [row["inside_moving"] for row in rows_of(out / "points_moving.csv")] == ["true", "false"]
    warnings = json.loads((out / "report.json").read_text())["warnings"]
    assert any("far away" in text for text in warnings)
    assert "Warning:" in output and "far away" in output


def test_an_initial_transform_is_part_of_the_result(glidereg, images, tmp_path):
    shift = np.array([0.0, 0.0, 300.0])
    sitk.WriteTransform(sitk.TranslationTransform(3, shift.tolist()), str(tmp_path / "shift.tfm"))
    moving, out = sitk.ReadImage(str(images[1])), tmp_path / "out"
    moving.SetOrigin((np.array(moving.GetOrigin()) + shift).tolist())
    sitk.WriteImage(moving, str(tmp_path / "far.nii.gz"))
    options = [
        "--initial-transform",
        tmp_path / "shift.tfm",
        "--align",
        "none",
        "--preset",
        "fast",
        "--quiet",
    ]
    assert glidereg("register", images[0], tmp_path / "far.nii.gz", "-o", out, *options) == (0, "", "")
    transform = sitk.ReadTransform(str(out / "transform.h5"))
    moved = np.array([transform.TransformPoint((x, 0.0, 0.0)) for x in (-60.0, 0.0, 60.0)])
    assert np.abs(moved[:, 2] - 300).max() < 40


def test_options_reach_the_report(glidereg, images, tmp_path):
    values = {
        "features": "local", "align": "center", "spacing": 8.0, "search-range": 32.0, "seed": 7, "threads": 1,
        "device": "cpu", "slice-step": 3, "encoder-input-size": 512, "encoder-reading": "memory",
        "reduction": "pca", "preset": "fast",
    }  # fmt: skip
    options = [f"--{name}={value}" for name, value in values.items()]
    assert glidereg("register", *images, "-o", tmp_path / "out", *options)[0] == 0
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    names = {"preset": "name", "slice-step": "encoder_slice_step"}
    expected = {names.get(name, name.replace("-", "_")): value for name, value in values.items()}
    assert {name: settings[name] for name in expected} == expected


def test_a_follow_up_takes_the_points_for_nodules_and_a_cone_beam_ct_is_told_of(
    phantom_folder, tmp_path, monkeypatch, capsys
):
    from types import SimpleNamespace

    import GLIDERegLib.cli.register as command
    from GLIDERegLib.cli import main

    asked = []

    def register_files(inputs, settings, out, progress, cancel):
        asked.append((inputs, settings))
        report = {
            "features": "local",
            "seconds": 1.0,
            "device": {"kind": "cpu"},
            "similarity": {when: {"normalised_cross_correlation": 0.5} for when in ("initial", "final")},
            "jacobian": {"share_not_positive": 0.0},
            "warnings": ["One."],
        }
        return SimpleNamespace(report=report)

    monkeypatch.setattr(command, "register_files", register_files)
    scans = [str(phantom_folder / f"{role}.nii.gz") for role in ("fixed", "moving")]
    points = phantom_folder / "moving_nodules.csv"
    for task in ("follow-up", "planning-cbct"):
        arguments = ["register", *scans, "-o", str(tmp_path / task), "--task", task]
        assert main([*arguments, "--moving-points", str(points)]) == 0
    (followed, _), (treated, settings) = asked
    assert (followed.moving_nodules, followed.fixed_nodules) == (points, None)
    assert treated.moving_nodules is None and settings.search_range == 32.0
    reports = [
        json.loads((tmp_path / task / "report.json").read_text()) for task in ("follow-up", "planning-cbct")
    ]
    assert [report["task"] for report in reports] == ["follow-up", "planning-cbct"]
    assert reports[0]["warnings"] == ["One."]
    assert reports[1]["warnings"][1].startswith("A cone-beam CT's numbers are not HU")
    assert "A cone-beam CT's numbers are not HU" in capsys.readouterr().out
