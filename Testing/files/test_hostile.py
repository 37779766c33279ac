"""A bounded, seeded campaign: files that are cut, swapped, blown up or filled with noise, over all readers.

Each must be read or refused with exit status 2 or 4, in one line, within 10 s and 1 GB, and nothing may
appear beside it. All run in one process of limited memory, so that a size that is believed ends it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

SEED, ROUNDS = 12, 24
SECONDS = 10
BODIES = """
import json, os, resource, sys, time
from pathlib import Path
import numpy, SimpleITK
from GLIDERegLib.core.errors import GlideRegError
from GLIDERegLib.files.points import read_points
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_volume
import GLIDERegLib.registration.field
readers = {"volume": read_volume, "transform": read_transform, "points": read_points}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
for line in sys.stdin:
    kind, path = json.loads(line)
    begin = time.monotonic()
    try:
        readers[kind](path)
        status, said = 0, ""
    except GlideRegError as error:
        status, said = error.exit_status, str(error)
    except BaseException as error:
        status, said = 1, f"{type(error).__name__}: {error}"
    print(json.dumps([status, said, time.monotonic() - begin]), flush=True)
# HDF5 complains once more while a process ends; the command line silences that.
os._exit(0)
"""


def seeds(folder):
    """One sound file of every kind, with its reader."""
    values = np.random.default_rng(SEED).integers(-1000, 400, (8, 9, 10)).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 3.0))
    field = sitk.GetImageFromArray(np.random.default_rng(1).normal(0, 1, (8, 9, 10, 3)), isVector=True)
    spline = sitk.BSplineTransformInitializer(image, [3, 3, 3])
    affine = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, 0.3, (4.0, 5.0, 6.0))
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.nhdr"):
        sitk.WriteImage(image, str(folder / name), useCompression=name == "a.nrrd")
        yield "volume", folder / name
    for name in ("f.nii.gz", "f.nrrd", "f.mha"):
        sitk.WriteImage(field, str(folder / name))
        yield "transform", folder / name
    for name, transform in (("b.h5", spline), ("b.tfm", spline), ("e.txt", affine), ("e.mat", affine)):
        sitk.WriteTransform(transform, str(folder / name))
        yield "transform", folder / name
    text = '(Transform "AffineTransform")\n(NumberOfParameters 12)\n(CenterOfRotationPoint 1 2 3)\n'
    (folder / "TransformParameters.0.txt").write_text(
        text + "(TransformParameters 1 0 0 0 1 0 0 0 1 4 5 6)\n"
    )
    yield "transform", folder / "TransformParameters.0.txt"
    (folder / "p.csv").write_text("# CoordinateSystem = RAS\nlabel,x,y,z\nA,1,2,3\nB,4,5,6\n")
    (folder / "p.fcsv").write_text("# CoordinateSystem = LPS\n1,1,2,3,0,0,0,1,1,1,0,A,,,2,0\n")
    points = [{"label": "A", "position": [1.0, 2.0, 3.0]}]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}
    (folder / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
    yield from (("points", folder / name) for name in ("p.csv", "p.fcsv", "p.mrk.json"))


def spoiled(data: bytes, how: int, random: np.random.Generator) -> bytes:
    """The bytes of a file after an accident."""
    if how == 0:  # cut off
        return data[: random.integers(0, len(data))]
    if how == 1:  # a stretch of noise near the start, where headers are
        start = int(random.integers(0, min(len(data), 400)))
        return data[:start] + random.bytes(16) + data[start + 16 :]
    if how == 2:  # a number that is huge
        digits = [n for n, byte in enumerate(data[:2000]) if 48 <= byte <= 57]
        place = int(random.choice(digits)) if digits else 0
        return data[:place] + b"99999" + data[place + 1 :]
    if how == 3:  # two fields swapped
        lines = data.split(b"\n")
        a, b = random.integers(0, min(len(lines), 12), 2)
        lines[a], lines[b] = lines[b], lines[a]
        return b"\n".join(lines)
    if how == 4:  # NaN and infinity, in binary and in text
        place = int(random.integers(0, len(data)))
        return (
            data[:place] + random.choice([b"\x00\x00\xc0\x7f", b"nan", b"inf", b"-1e999"]) + data[place + 4 :]
        )
    if how == 5:  # a dimension of NIfTI that the file cannot hold
        return data[:40] + b"\x03\x00" + random.bytes(6) + data[48:]
    if how == 6:  # single bits
        spots = bytearray(data)
        for place in random.integers(0, len(data), 8):
            spots[place] ^= 1 << random.integers(0, 8)
        return bytes(spots)
    return data + random.bytes(64)  # more than there should be


def hostile(folder):
    """Spoiled copies of every kind of file, deep paths and links: their reader and path."""
    random = np.random.default_rng(SEED)
    (folder / "sound").mkdir()
    for kind, path in list(seeds(folder / "sound")):
        for number in range(ROUNDS):
            place = folder / f"{path.name}_{number}"
            place.mkdir()
            # Headers with their voxels in another file take that along.
            for beside in path.parent.glob(f"{path.name.split('.')[0]}.raw*"):
                (place / beside.name).write_bytes(beside.read_bytes())
            (place / path.name).write_bytes(spoiled(path.read_bytes(), number % 8, random))
            yield kind, place / path.name
        place = folder / f"{path.name}_links"
        place.mkdir()
        (place / path.name).symlink_to(place / path.name)
        yield kind, place / path.name
        yield kind, folder / ("d" * 300) / path.name
        yield kind, folder.joinpath(*["deep"] * 1000) / path.name
        (place / "folder").mkdir()
        (place / "folder" / path.name).mkdir()
        yield kind, place / "folder" / path.name


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_hostile_files_are_read_or_refused_in_one_sentence(tmp_path):
    cases = list(hostile(tmp_path))
    before = sorted(os.walk(tmp_path))
    asked = "".join(json.dumps([kind, str(path)]) + "\n" for kind, path in cases)
    run = subprocess.run(
        [sys.executable, "-c", BODIES], input=asked, capture_output=True, text=True, timeout=120
    )
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(cases), f"ended by {cases[len(answers)][1]}: {run.stderr[-500:]}"
    wrong = [
        (str(path.relative_to(tmp_path))[:80], status, said[:200])
        for (_, path), (status, said, seconds) in zip(cases, answers, strict=True)
        if status not in (0, 2, 4) or "\n" in said or seconds > SECONDS or len(said) > 1500
    ]
    assert wrong == []
    assert run.stderr == ""
    assert sorted(os.walk(tmp_path)) == before
    assert len(cases) >= 200
    assert sum(status == 2 for status, *_ in answers) > len(cases) / 3


def test_the_campaign_starts_from_sound_files(tmp_path):
    cases = "".join(json.dumps([kind, str(path)]) + "\n" for kind, path in seeds(tmp_path))
    run = subprocess.run([sys.executable, "-c", BODIES], input=cases, capture_output=True, text=True)
    assert [json.loads(line)[:2] for line in run.stdout.splitlines()] == [[0, ""]] * cases.count("\n")
