"""Hostile DICOM, seeded: `python dicom_campaign.py FOLDER [SEED]` reads every variant, a JSON line each.

A variant is a small series or multi-frame object that was damaged or lies: cut off, bytes or tags changed,
huge or impossible numbers, NaN. Each line says whether it was read right (as a plain reading by pydicom has
it), refused in one line, or neither, with the processor's seconds and the bytes by which the peak of memory
grew; the last line has the peak.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
from dicom_objects import AXIAL, a_series, hu, multiframe, places, save
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from GLIDERegLib.core.errors import GlideRegError
from GLIDERegLib.files.volumes import read_volume

SLICES = 6
TAGS = {
    "Rows": (b"\x28\0\x10\0", (0, 1, 6, 255, 65535)),
    "Columns": (b"\x28\0\x11\0", (0, 3, 5, 65535)),
    "BitsAllocated": (b"\x28\0\0\x01", (0, 1, 8, 12, 32, 64, 65535)),
    "BitsStored": (b"\x28\0\x01\x01", (0, 1, 17, 65535)),
    "HighBit": (b"\x28\0\x02\x01", (0, 16, 65535)),
    "SamplesPerPixel": (b"\x28\0\x02\0", (0, 2, 3, 65535)),
    "PixelRepresentation": (b"\x28\0\x03\x01", (2, 65535)),
}
PLACES = {
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
    "PixelSpacing": 2,
    "RescaleSlope": 1,
    "RescaleIntercept": 1,
    "SliceThickness": 1,
}
PLACEHOLDER = b"7777777777777777"
NUMBERS = ("nan", "inf", "-inf", "1e308", "1e-320", "0", "", "x", "1\\2", "9" * 16, "-1")


def changed(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))


def a_file(folder: Path, rng: np.random.Generator) -> Path:
    return sorted(folder.iterdir())[rng.integers(SLICES)]


def variants(rng: np.random.Generator) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Name and maker of every variant; a maker fills an empty folder."""

    def series(change: Callable[[Path], None], **tags) -> Callable[[Path], None]:
        return lambda folder: change(a_series(folder, hu(SLICES), **tags)) or None

    def at(where: float) -> Callable[[bytes], bytes]:
        return lambda data: data[: int(len(data) * where)]

    def flipped(count: int, seed: int) -> Callable[[bytes], bytes]:
        def change(data: bytes) -> bytes:
            local = np.random.default_rng(seed)
            array = np.frombuffer(data, np.uint8).copy()
            array[local.integers(132, len(array) - 40, count)] = local.integers(0, 256, count)
            return array.tobytes()

        return change

    def one(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
        which = np.random.default_rng(rng.integers(1 << 30))
        return series(lambda folder: changed(a_file(folder, which), change))

    for where in rng.uniform(0, 1, 16):
        yield f"cut at {where:.3f}", one(at(where))
        yield (
            f"object cut at {where:.3f}",
            lambda folder, where=where: (
                save(multiframe(hu(SLICES), places(SLICES)), folder / "a.dcm"),
                changed(folder / "a.dcm", at(where)),
            )[0],
        )
    for count in (1, 2, 5, 20, 100):
        for seed in range(5):
            yield f"{count} bytes changed {seed}", one(flipped(count, int(rng.integers(1 << 30)) + seed))
    for tag, (mark, values) in TAGS.items():
        for value in values:

            def lie(data: bytes, mark=mark, value=value) -> bytes:
                start = data.index(mark + b"US") + 8
                return data[:start] + int(value).to_bytes(2, "little") + data[start + 2 :]

            yield f"{tag} {value} in one", one(lie)
            yield (
                f"{tag} {value} in all",
                series(lambda folder, lie=lie: [changed(file, lie) for file in folder.iterdir()]),
            )
    for tag, count in PLACES.items():
        for number in NUMBERS:

            def lie(data: bytes, number=number) -> bytes:
                return data.replace(PLACEHOLDER, f"{number:<16}".encode())

            for where, slices in (("one", [2]), ("all", range(SLICES))):

                def each(k, tag=tag, count=count, slices=slices):
                    return {tag: [PLACEHOLDER.decode()] * count} if k in slices else {}

                yield (
                    f"{tag} {number!r} in {where}",
                    series(
                        lambda folder, lie=lie: [changed(file, lie) for file in folder.iterdir()], each=each
                    ),
                )
    for frames in ("0", "-1", "1", "5", "7", "2147483647", "99999999999"):
        yield (
            f"{frames} frames",
            lambda folder, frames=frames: save(
                _set(multiframe(hu(SLICES), places(SLICES)), NumberOfFrames=frames),
                folder / "a.dcm",
            ),
        )
    for syntax in ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3"):
        yield f"says {syntax}", one(lambda data, s=syntax: _syntax(data, s))
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        yield (
            f"cut {syntax.name}",
            series(lambda folder: changed(sorted(folder.iterdir())[1], at(0.97)), syntax=syntax),
        )
    yield "deflated bomb", series(lambda folder: _bomb(sorted(folder.iterdir())[3]))
    yield "a sequence in a sequence in a ...", one(_nested)
    yield (
        "length of 4 GB",
        one(lambda data: data.replace(b"\x08\0\x60\0CS\x02\0", b"\x08\0\x60\0OB\0\0\xfe\xff\xff\xff")),
    )
    yield "orientation left out in all", series(lambda folder: None, ImageOrientationPatient=None)
    yield (
        "axes swapped in one",
        series(
            lambda folder: None,
            each=lambda k: {"ImageOrientationPatient": [*AXIAL[3:], *AXIAL[:3]]} if k == 1 else {},
        ),
    )


def _set(data, **tags):
    for key, value in tags.items():
        setattr(data, key, value)
    return data


def _syntax(data: bytes, uid: str) -> bytes:
    old = b"1.2.840.10008.1.2.1\0"
    new = uid.encode()
    new += b"\0" * (len(new) % 2)
    head = data.index(b"\x02\0\x10\0UI")
    grown = len(new) - len(old)
    length = int.from_bytes(data[140:144], "little") + grown
    data = data[:140] + length.to_bytes(4, "little") + data[144:]
    return data[: head + 6] + len(new).to_bytes(2, "little") + new + data[head + 8 + len(old) :]


def _bomb(file: Path) -> None:
    data = _syntax(file.read_bytes(), "1.2.840.10008.1.2.1.99")
    end = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(data[end:]) + b"".join(packer.compress(bytes(1 << 24)) for _ in range(16))
    file.write_bytes(data[:end] + bomb + packer.flush())


def _nested(data: bytes) -> bytes:
    start = data.index(b"\x08\0\x60\0CS")
    opened = (b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff") * 20000
    return data[:start] + opened + data[start:]


def judge(folder: Path) -> tuple[str, str]:
    """ "right", "refused", or what went wrong; and the message."""
    try:
        volume = read_volume(folder)
    except GlideRegError as error:
        text = str(error)
        fine = error.exit_status in (2, 4) and "\n" not in text and text.isprintable()
        return "refused" if fine else "UNCLEAR", text
    except BaseException as error:
        return "CRASH", f"{type(error).__name__}: {error}"
    try:
        truth, places_mm = plainly(folder)
    except Exception as error:
        return "READ", f"what pydicom does not: {error}"
    if volume.array.shape != truth.shape or not np.allclose(volume.array, truth):
        return "WRONG", "values"
    found = [volume.grid.to_physical(np.array([0, 0, k])) for k in range(len(truth))]
    return "right" if np.allclose(found, places_mm, atol=0.3) else "WRONG", "places"


def plainly(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values and positions of all images, sorted along the normal, by pydicom and nothing else."""
    read = [pydicom.dcmread(file, force=True) for file in folder.iterdir()]
    planes = []
    for data in read:
        shared = data.get("SharedFunctionalGroupsSequence")
        if shared is None:
            value = data.pixel_array * float(data.get("RescaleSlope", 1)) + float(
                data.get("RescaleIntercept", 0)
            )
            planes.append((np.array(data.ImagePositionPatient, float), data.ImageOrientationPatient, value))
            continue
        cosines = shared[0].PlaneOrientationSequence[0].ImageOrientationPatient
        for frame, cells in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True):
            position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
            planes.append((position, cosines, cells - 1024.0))
    normal = np.cross(planes[0][1][:3], planes[0][1][3:])
    planes.sort(key=lambda plane: float(plane[0] @ normal))
    return np.array([plane[2] for plane in planes]), np.array([plane[0] for plane in planes])


def _peak() -> int:
    """The most memory of this process, bytes; getrusage tells the parent's where that was more."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder: Path, seed: int = 0) -> None:
    for number, (name, make) in enumerate(variants(np.random.default_rng(seed))):
        place = folder / str(number)
        place.mkdir(parents=True)
        make(place)
        before = sorted(place.rglob("*"))
        start, held = time.process_time(), _peak()
        verdict, says = judge(place)
        # Other work on the machine is no fault of the reader's.
        seconds = time.process_time() - start
        if sorted(place.rglob("*")) != before:
            verdict = "WROTE"
        print(
            json.dumps(
                {
                    "name": name,
                    "verdict": verdict,
                    "seconds": round(seconds, 3),
                    "grown": _peak() - held,
                    "says": says,
                }
            ),
            flush=True,
        )
        shutil.rmtree(place)
    peak = _peak()
    print(json.dumps({"peak": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
