"""Wrong input: exit status 2, one line on standard error that names the fault, and nothing left behind."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.settings import CHOICES, PRESETS


def image(path, array, spacing=6.0, origin=0.0, **keywords):
    result = sitk.GetImageFromArray(array, **keywords)
    dimension = result.GetDimension()
    result.SetSpacing([spacing] * dimension)
    result.SetOrigin([origin] * dimension)
    sitk.WriteImage(result, str(path))
    return path


def noise(*shape):
    return np.random.default_rng(0).normal(0, 300, shape).astype(np.float32)


def spoilt(value):
    array = noise(16, 16, 16)
    array[3, 4, 5] = value
    return array


BAD_IMAGES = {
    "missing": (lambda folder: folder / "missing.nii.gz", "does not exist"),
    "unreadable": (lambda folder: _text(folder / "unreadable.nii.gz"), "damaged"),
    "of unknown type": (lambda folder: _text(folder / "notes.txt"), "not supported"),
    "2-D": (lambda folder: image(folder / "flat.mha", noise(16, 16)), "2-D"),
    "4-D": (lambda folder: image(folder / "series.nii.gz", noise(3, 16, 16, 16), isVector=False), "4-D"),
    "in colour": (lambda folder: image(folder / "rgb.mha", noise(16, 16, 16, 3), isVector=True), "colour"),
    "one slice": (lambda folder: image(folder / "slice.nii.gz", noise(1, 16, 16)), "one slice"),
    "constant": (
        lambda folder: image(folder / "constant.nii.gz", np.full((16, 16, 16), 7, np.int16)),
        "constant",
    ),
    "with NaN": (lambda folder: image(folder / "nan.nii.gz", spoilt(np.nan)), "NaN"),
    "with infinity": (lambda folder: image(folder / "infinite.nii.gz", spoilt(np.inf)), "infinite"),
}


def _text(path):
    path.write_text("no image")
    return path


def assert_refused(answer, out, word):
    status, output, errors = answer
    assert status == 2
    assert output == ""
    assert errors.startswith("glidereg: error: ") and errors.count("\n") == 1
    assert word in errors
    assert not out.exists()


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_an_image_that_cannot_be_registered_is_refused(glidereg, images, tmp_path, fault, role):
    make, word = BAD_IMAGES[fault]
    pair = [make(tmp_path), images[1]] if role == "fixed" else [images[0], make(tmp_path)]
    answer = glidereg("register", *pair, "-o", tmp_path / "out")
    assert_refused(answer, tmp_path / "out", word)
    assert role in answer[2]


def test_images_apart_are_refused_without_alignment(glidereg, images, tmp_path):
    far = image(tmp_path / "far.nii.gz", noise(16, 16, 16), origin=5000.0)
    answer = glidereg("register", images[0], far, "-o", tmp_path / "out", "--align", "none")
    assert_refused(answer, tmp_path / "out", "overlap")


MASKS = {
    "on another grid": (lambda grid: np.ones((9, 9, 9), np.uint8), "grid"),
    "empty": (lambda grid: np.zeros(grid.shape, np.uint8), "empty"),
}


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("fault", MASKS)
def test_a_mask_that_does_not_fit_is_refused(glidereg, small_phantom, images, tmp_path, fault, role):
    make, word = MASKS[fault]
    grid = small_phantom.fixed.grid
    mask = sitk.GetImageFromArray(make(grid))
    mask.SetSpacing(grid.spacing)
    mask.SetOrigin(grid.origin)
    sitk.WriteImage(mask, str(tmp_path / "mask.nii.gz"))
    answer = glidereg("register", *images, "-o", tmp_path / "out", f"--{role}-mask", tmp_path / "mask.nii.gz")
    assert_refused(answer, tmp_path / "out", word)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--preset", "best"), "best"),
        (("--features", "some"), "some"),
        (("--reduction", "none"), "reduction"),
        (("--align", "elastic"), "elastic"),
        (("--spacing", "0"), "spacing"),
        (("--spacing", "nan"), "spacing"),
        (("--spacing", "wide"), "wide"),
        (("--search-range", "-5"), "search"),
        (("--slice-step", "0"), "step"),
        (("--encoder-input-size", "-1"), "size"),
        (("--encoder", "sam9"), "sam9"),
        (("--seed", "-1"), "seed"),
        (("--threads", "0"), "threads"),
        (("--device", "abacus"), "abacus"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--fixed-points", "nowhere.csv"), "nowhere.csv"),
        (("--initial-transform", "nowhere.h5"), "nowhere.h5"),
        (("--colour", "red"), "--colour"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_refused(glidereg, images, tmp_path, options, word):
    assert_refused(glidereg("register", *images, "-o", tmp_path / "out", *options), tmp_path / "out", word)


@pytest.mark.parametrize("arguments", [(), ("register",), ("register", "a", "b"), ("paint",), ("weights",)])
def test_an_incomplete_command_points_to_the_help(glidereg, arguments):
    status, _, errors = glidereg(*arguments)
    assert status == 2
    assert errors.startswith("glidereg: error: ") and errors.count("\n") == 1
    assert "--help" in errors


def test_a_file_in_the_place_of_the_output_folder_is_refused_and_kept(glidereg, images, tmp_path):
    (tmp_path / "out").write_text("precious")
    status, _, errors = glidereg("register", *images, "-o", tmp_path / "out")
    assert status == 2 and errors.count("\n") == 1
    assert (tmp_path / "out").read_text() == "precious"


def test_an_output_folder_that_cannot_be_made_is_refused(glidereg, images, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert_refused(glidereg("register", *images, "-o", out), out, str(out))


def test_results_never_overwrite_an_input(glidereg, images, tmp_path):
    own = tmp_path / "warped.nii.gz"
    own.write_bytes(images[1].read_bytes())
    status, _, errors = glidereg("register", images[0], own, "-o", tmp_path)
    assert status == 2 and errors.count("\n") == 1 and "overwrite" in errors
    assert own.read_bytes() == images[1].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["warped.nii.gz"]


def test_a_full_disk_is_told_before_anything_is_computed(glidereg, images, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000})())
    assert_refused(glidereg("register", *images, "-o", tmp_path / "out"), tmp_path / "out", "free some space")


def test_global_features_without_a_checkpoint_are_exit_status_4(glidereg, images, tmp_path):
    status, _, errors = glidereg("register", *images, "-o", tmp_path / "out", "--features", "both")
    assert status == 4
    assert errors.count("\n") == 1 and "sam2.1_hiera_tiny" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")],
    ids=["cpu", "cuda"],
)
def test_too_little_memory_is_exit_status_3_with_a_way_out(glidereg, images, tmp_path, monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr("GLIDERegLib.api.register_inputs", fail)
    status, _, errors = glidereg("register", *images, "-o", tmp_path / "out")
    assert status == 3
    assert errors.count("\n") == 1 and "--spacing" in errors
    assert not (tmp_path / "out").exists()


def test_an_error_nobody_foresaw_keeps_its_traceback_and_leaves_nothing(
    glidereg, images, tmp_path, monkeypatch
):
    def fail(*arguments, **keywords):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("GLIDERegLib.api.register_inputs", fail)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        glidereg("register", *images, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_help_names_every_choice_of_the_settings(glidereg):
    status, output, _ = glidereg("register", "--help")
    assert status == 0
    words = output.replace(",", " ").replace(":", " ").replace(";", " ").split()
    for choice in [choice for choices in CHOICES.values() for choice in choices] + list(PRESETS):
        assert choice in words


def dicom(folder, patient):
    folder.mkdir()
    array = noise(3, 16, 16).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for n, plane in enumerate(array):
        slab = sitk.GetImageFromArray(plane[None])
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.3.{n}",
            "0008|0020": "20240310",
            "0008|0060": "CT",
            "0010|0020": patient,
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.4",
            "0020|0032": f"0\\0\\{2 * n}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, text in tags.items():
            slab.SetMetaData(tag, text)
        writer.SetFileName(str(folder / f"{n}.dcm"))
        writer.Execute(slab)
    return folder


def test_scans_of_different_patients_are_refused_without_their_names_unless_allowed(glidereg, tmp_path):
    from GLIDERegLib.cli.register import study_dates
    from GLIDERegLib.files.pair_files import PairFiles

    one, other = dicom(tmp_path / "a", "SECRET1"), dicom(tmp_path / "b", "SECRET2")
    answer = glidereg("register", one, other, "-o", tmp_path / "out")
    assert_refused(answer, tmp_path / "out", "different patients")
    assert "--allow-different-patients" in answer[2] and "SECRET" not in answer[2]
    dates = {"fixed": "2024-03-10", "moving": "2024-03-10"}
    assert study_dates(PairFiles(one, other), any_patient=True) == dates
    assert study_dates(PairFiles(one, one), any_patient=False) == dates


def test_a_line_break_in_a_name_makes_no_second_line(glidereg, images, tmp_path):
    for arguments in (("register", *images, "-o", tmp_path / "out", "not\nknown\rhere"),
                      ("register", tmp_path / "a\nb\u2028c\x1b[2J.nii", images[1], "-o", tmp_path / "out"),
                      ("propagate", "a\nb.csv", "--transform", "t", "--direction", "x\ny", "-o", "o"),
                      ("paint\nit",)):  # fmt: skip
        status, _, errors = glidereg(*arguments)
        assert status == 2 and errors.count("\n") == 1 and len(errors.splitlines()) == 1
        assert errors.rstrip("\n").isprintable()


def test_programs_get_message_hint_and_code_apart(tmp_path, capsys):
    from GLIDERegLib.cli import main

    missing = str(tmp_path / "missing.nii.gz")
    assert main(["--json-errors", "find-lungs", missing, "-o", str(tmp_path / "lungs.nii.gz")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert sorted(told) == ["code", "hint", "message"] and told["code"] == "file-missing"
    assert "glidereg" not in line and "--" not in told["hint"]
