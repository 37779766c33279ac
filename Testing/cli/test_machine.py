"""What the machine does to the command: streams that cannot be written, closed trees, small disks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk


def run(*arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "GLIDERegLib", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )


def one_line(done):
    """The line of standard error, without the program's name; there is no other."""
    lines = done.stderr.decode("utf-8").splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("glidereg: error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_one_line(unbuffered):
    with open("/dev/full", "wb") as full:
        done = run("weights", "list", stdout=full, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert "No space left" in one_line(done)


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe as POSIX does")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_read_enough_is_no_error(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    done = run("weights", "list", stdout=writing, PYTHONUNBUFFERED=unbuffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


POINTS = "label,x,y,z\n肺–é,900,0,0\n"


@pytest.fixture
def shift(tmp_path):
    """A folder with a point whose label no old console can write, and a transform; options that use both."""
    folder = tmp_path / "肺–é"
    folder.mkdir()
    (folder / "points.csv").write_text(POINTS, encoding="utf-8")
    transform = sitk.TranslationTransform(3, (1.0, 2.0, 3.0))
    sitk.WriteTransform(transform, str(tmp_path / "shift.tfm"))
    return [folder / "points.csv", "--transform", tmp_path / "shift.tfm", "--direction", "fixed-to-moving"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_cannot_write_a_letter_ends_nothing(shift, tmp_path, encoding):
    out = tmp_path / "肺 out.csv"
    done = run("propagate", *shift, "-o", out, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "肺–é" in out.read_text(encoding="utf-8")
    missing = run("propagate", tmp_path / "肺.csv", *shift[1:], "-o", out, PYTHONIOENCODING=encoding)
    assert missing.returncode == 2 and missing.stderr.decode(encoding).count("\n") == 1


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("name", ["a.h5", "a.tfm", "a.nrrd", "a.nii.gz", "a.mha"])
def test_damaged_files_leave_no_chatter_of_the_libraries_that_read_them(
    glidereg, shift, tmp_path, name, share
):
    field = sitk.GetImageFromArray(np.zeros((4, 4, 4, 3)), isVector=True)
    if name.endswith((".h5", ".tfm")):
        sitk.WriteTransform(sitk.DisplacementFieldTransform(field), str(tmp_path / name))
    else:
        sitk.WriteImage(field, str(tmp_path / name), useCompression=True)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    options = [shift[0], "--transform", tmp_path / name, *shift[3:], "-o", tmp_path / "out.csv"]
    if name == "a.h5":
        # HDF5 has more to say when the process ends.
        done = run("propagate", *options)
        status, errors = done.returncode, done.stderr.decode()
    else:
        status, _, errors = glidereg("propagate", *options)
    assert (status, errors.count("\n")) == (2, 1), errors
    assert not (tmp_path / "out.csv").exists()


LIMITED = (
    "import resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)\n"
    "from GLIDERegLib.cli import run; run()\n"
)


def run_limited(size, *arguments, **keywords):
    """Runs the command where no file can grow beyond some bytes, as on a full disk."""
    command = [sys.executable, "-c", LIMITED, str(size), *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, **keywords)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(shift, tmp_path):
    out = tmp_path / "new.csv"
    done = run_limited(10, "propagate", *shift, "-o", out)
    assert done.returncode == 2
    assert "new.csv" in one_line(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shift.tfm", "肺–é"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("size", [150_000])
def test_a_disk_that_is_full_after_the_registration_is_one_line_and_leaves_nothing(images, tmp_path, size):
    out = tmp_path / "new" / "out"
    options = ["--preset", "fast", "--features", "local", "--quiet"]
    done = run_limited(size, "register", *images, "-o", out, *options)
    assert done.returncode == 2
    one_line(done)
    assert list(tmp_path.iterdir()) == []


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("register", LONG + ".nii", "b.nii", "-o", "out"),
        ("register", "a.nii", LONG, "-o", "out"),
        ("propagate", LONG + ".csv", "--transform", "t.h5", "--direction", "fixed-to-moving", "-o", "o.csv"),
        ("propagate", "p.csv", "--transform", LONG + ".h5", "--direction", "fixed-to-moving", "-o", "o.csv"),
        ("evaluate", "--transform", LONG + ".h5", "--fixed", "a.nii", "--moving", "b.nii", "-o", "e.json"),
        ("report", LONG),
        ("cohort", LONG + ".csv", "-o", "out"),
    ],
)
def test_a_name_that_is_too_long_is_one_line(glidereg, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("label,x,y,z\na,0,0,0\n")
    status, _, errors = glidereg(*arguments)
    assert status == 2 and errors.count("\n") == 1 and len(errors) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def as_nobody(*arguments, **environment):
    """Runs the command as a user who may write nowhere; skips where this user cannot become that one."""
    keywords = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [sys.executable, "-m", "GLIDERegLib", *map(str, arguments)]
    try:
        return subprocess.run(
            command, capture_output=True, env=os.environ | environment, stdin=subprocess.DEVNULL, **keywords
        )
    except PermissionError:
        pytest.skip("another user cannot run this Python")


@pytest.mark.skipif(os.name != "posix", reason="changes the rights of folders as POSIX does")
@pytest.mark.parametrize("home", ["/nonexistent", ""])
def test_a_tree_that_is_closed_to_writing_is_one_line(shift, tmp_path, home):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-"):
            folder.chmod(folder.stat().st_mode | 0o055)
    tmp_path.chmod(0o555)
    try:
        done = as_nobody("propagate", *shift, "-o", tmp_path / "out.csv", HOME=home)
    finally:
        tmp_path.chmod(0o755)
    if b"No module named" in done.stderr or b"Permission denied: '/root" in done.stderr:
        pytest.skip("another user cannot read this installation")
    assert done.returncode == 2
    assert "out.csv" in one_line(done) or "Permission denied" in one_line(done)
