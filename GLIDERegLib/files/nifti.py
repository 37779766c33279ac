"""What ITK does not say about a NIfTI file: that it is cut off, or that its geometry had to be guessed."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import apply_affine
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.kinds import GZIP

SUFFIXES = (".nii", ".nii.gz")
# Bits of a value by NIfTI's datatype code; bitpix, which says it again, is wrong in some files.
BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
BITS |= {1536: 128, 1792: 128, 2048: 256, 2304: 32}
# NIfTI datatype codes of floating-point values.
FLOATS = {16: "f4", 64: "f8"}
# Lengths in mm by the lowest three bits of xyzt_units; ITK does as much and takes all others for mm.
UNITS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
SIZE_OF_HEADER = 348
MAGIC = (b"n+1", b"ni1")
# ITK takes a slope for 0 that is smaller than float64's epsilon.
LEAST_SLOPE = 2.3e-16
# By how much the square of a unit quaternion in float32 may exceed 1, with room for four decimals in text.
ROUNDED = 1e-3


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI-1 header says beyond what ITK tells. unit: length of a step of 1, mm. flip: -1 where the
    qform's third axis runs against its rotation's (the sign of pixdim[0]), else 1.
    """

    intent: int
    intent_name: str
    intent_p1: float
    description: str
    unit: float
    flip: int


def read_nifti_header(path: Path) -> NiftiHeader:
    """The header of a NIfTI-1 file (see `check_nifti`), packed or not, of either byte order."""
    header, order = _header(path)
    header = header.ljust(348, b"\0")

    def text(start: int, length: int) -> str:
        return header[start : start + length].split(b"\0")[0].decode("latin-1").strip()

    p1, intent = (
        struct.unpack_from(f"{order}f", header, 56)[0],
        struct.unpack_from(f"{order}h", header, 68)[0],
    )
    flip = -1 if struct.unpack_from(f"{order}f", header, 76)[0] < 0 else 1
    return NiftiHeader(intent, text(328, 16), p1, text(148, 80), UNITS.get(header[123] & 7, 1.0), flip)


def check_nifti(path: Path, what: str, mend: str) -> None:
    """Raises InputError for what ITK passes over: a cut-off file, NaN (read as 0), zero spacing (read as 1).

    `what` names the file at the start of messages, `mend` is the hint for NaN. NIfTI-2, which ITK does not
    read: see `as_nifti1`.
    """
    try:
        start = _header(path)[0]
    except (OSError, EOFError, zlib.error):
        start = b""
    if start[:2] == GZIP:
        raise InputError(f"{what} is packed with gzip twice.", "Unpack it once.", code="file-kind")
    size = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    if SIZE_OF_HEADER in size and start[40:42] in (b"\0\0", b""):
        raise InputError(f"{what} has a damaged header.", "Copy or export it again.", code="file-damaged")
    with itk_calls(
        f"{what} cannot be read; its header is damaged, or its axes are skewed or lie in one plane.",
        "Export it again.",
    ):
        complete, bad = _scan(path)
    if not complete:
        raise InputError(f"{what} is damaged or incomplete.", "Copy or export it again.", code="file-damaged")
    if bad:
        raise InputError(
            f"{what} holds {counted(bad, 'voxel that is', 'voxels that are')} NaN or infinite.",
            mend,
            code="not-finite",
        )
    header, order = _header(path)
    if header[:2] in (b"\x5c\x01", b"\0\0"):  # NIfTI-1
        spacing = np.frombuffer(header, order + "f4", count=3, offset=80)
        if not np.all(np.isfinite(spacing)) or np.any(spacing == 0):
            raise InputError(
                f"{what} has a voxel spacing of zero or NaN.", "Mend its header.", code="not-finite"
            )
        if np.any(spacing < 0):
            raise InputError(
                f"{what} has a negative voxel spacing, which readers take for a positive one or for a flip.",
                "Export it again.",
                code="geometry",
            )
        _check_numbers(header, order, what)


def _check_numbers(header: bytes, order: str, what: str) -> None:
    """Raises InputError for what ITK goes along with: a qform that is no rotation or has no place, a file
    without NIfTI's mark, voxels that begin within the header, and a scale of values that is none or half one.
    """
    qform_code, sform_code = struct.unpack_from(f"{order}hh", header, 252)
    length = sum(part * part for part in struct.unpack_from(f"{order}3f", header, 256))
    if qform_code > 0 and sform_code <= 0 and not length <= 1 + ROUNDED:
        raise InputError(
            f"{what} has a qform that is no rotation (its quaternion is longer than 1 or NaN).",
            "Export it again.",
            code="geometry",
        )
    if header[344:347] not in MAGIC:
        raise InputError(
            f"{what} does not bear NIfTI's mark (n+1).", "Copy or export it again.", code="file-damaged"
        )
    if qform_code > 0 and not all(map(math.isfinite, struct.unpack_from(f"{order}3f", header, 268))):
        raise InputError(f"{what} has an origin that is NaN.", "Mend its header.", code="not-finite")
    begin = struct.unpack_from(f"{order}f", header, 108)[0]
    if not begin >= SIZE_OF_HEADER or begin != int(begin):
        raise InputError(
            f"{what} says that its voxels begin within its header or a byte (vox_offset {begin:g}).",
            "Export it again.",
            code="file-damaged",
        )
    slope, offset = struct.unpack_from(f"{order}2f", header, 112)
    if slope == 0 and offset != 0 and math.isfinite(offset):
        raise InputError(
            f"{what} has an offset of its values (scl_inter {offset:g}) without a slope (scl_slope 0).",
            "Write the slope 1, or no offset, into its header.",
            code="values",
        )
    # ITK takes slopes near 0 for none, and passes over an offset that is no number.
    slopeless = slope == 0 or not math.isfinite(slope)
    if not slopeless and (abs(slope) < LEAST_SLOPE or not math.isfinite(offset)):
        raise InputError(
            f"{what} has a scale of its values that is none (scl_slope {slope:g}, scl_inter {offset:g}).",
            "Mend its header.",
            code="values",
        )


def is_complete(path: Path) -> bool:
    """True where the file, unpacked and with its checksum right, is as long as its header says.

    Raises RuntimeError where ITK cannot read the header.
    """
    return _scan(path)[0]


def _scan(path: Path) -> tuple[bool, int]:
    """Whether the file is complete, and how many of its stored values are not finite."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        order = _header(path)[1]
        reader.ReadImageInformation()
        field = {name: int(float(reader.GetMetaData(name))) for name in ("datatype", "bitpix", "vox_offset")}
        shape = [
            int(reader.GetMetaData(f"dim[{n}]")) for n in range(1, int(reader.GetMetaData("dim[0]")) + 1)
        ]
        kind = FLOATS.get(field["datatype"])
        length = bad = 0
        with _open(path) as stream:
            stream.read(field["vox_offset"])
            while block := stream.read(1 << 22):
                length += len(block)
                if kind:
                    values = np.frombuffer(block, order + kind, count=len(block) // int(kind[1]))
                    bad += int(np.count_nonzero(~np.isfinite(values)))
    except (OSError, EOFError, zlib.error):
        return False, 0
    return length >= math.prod(shape) * BITS.get(field["datatype"], field["bitpix"]) // 8, bad


def place_note(image: sitk.Image, flip: int, what: str) -> str:
    """What to say of where ITK has put an image that names no place, or two; empty where there is one. flip:
    of its `NiftiHeader`, which ITK does not pass on.

    Raises InputError where ITK has put it where neither sform nor qform of the file says: it falls back to
    the qform or the spacing where the sform is skewed or scaled. That is right when the qform names another
    space than the sform, as after a normalisation to a template, and wrong otherwise.
    """
    dimension = image.GetDimension()
    if dimension < 3:
        return ""
    code = int(float(image.GetMetaData("xyzt_units"))) & 7
    unit = (
        f"{what} has an unknown unit of length (code {code}), mm were assumed. " if code not in UNITS else ""
    )
    return (unit + _place_note(image, flip, what, dimension)).strip()


def _place_note(image: sitk.Image, flip: int, what: str, dimension: int) -> str:
    """What `place_note` says beside the unit."""
    codes = {name: int(image.GetMetaData(f"{name}_code")) for name in ("sform", "qform")}
    spacing = np.asarray(image.GetSpacing()[:3])
    used = np.eye(4)
    used[:3, :3] = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3] * spacing
    used[:3, 3] = image.GetOrigin()[:3]
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in image.GetSize()[:3]])).reshape(3, -1).T
    stored = {"sform": _sform(image), "qform": _qform(image, flip)}
    places = {name: apply_affine(matrix, corners) for name, matrix in stored.items() if codes[name] > 0}
    apart = {
        name: float(np.linalg.norm(place - apply_affine(used, corners), axis=1).max())
        for name, place in places.items()
    }
    near = 0.1 * spacing.min()
    if codes["sform"] > 0 and codes["qform"] in (0, codes["sform"]) and not apart["sform"] <= near:
        raise InputError(
            f"{what} has an sform that is skewed or contradicts its spacing.",
            "Resample it to a regular grid.",
            code="sform",
        )
    if not places:
        return (
            f"{what} does not say where it lies (its sform and qform are unset); it was put as its voxels "
            "are stored."
        )
    between = max(apart.values())
    if len(places) < 2 or between <= near:
        return ""
    taken = min(apart, key=lambda place: apart[place])
    return (
        f"{what} says two places in its header, {between:.1f} mm apart at most: the {taken} (code "
        f"{codes[taken]}) was taken, not the {'qform' if taken == 'sform' else 'sform'}."
    )


def _sform(image: sitk.Image) -> np.ndarray:
    """The sform as a 4 x 4 matrix from index to LPS mm."""
    unit = UNITS.get(int(float(image.GetMetaData("xyzt_units"))) & 7, 1.0)
    rows = [[float(value) for value in image.GetMetaData(f"srow_{axis}").split()] for axis in "xyz"]
    return np.diag([-unit, -unit, unit, 1.0]) @ np.vstack([rows, [0, 0, 0, 1]])


def _qform(image: sitk.Image, flip: int) -> np.ndarray:
    """The qform as a 4 x 4 matrix from index to LPS mm (nifti1.h, method 2); flip: as of `place_note`."""
    unit = UNITS.get(int(float(image.GetMetaData("xyzt_units"))) & 7, 1.0)
    b, c, d = (float(image.GetMetaData(f"quatern_{axis}")) for axis in "bcd")
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * [float(image.GetMetaData(f"pixdim[{n}]")) for n in (1, 2, 3)] * [1, 1, flip]
    matrix[:3, 3] = [float(image.GetMetaData(f"qoffset_{axis}")) for axis in "xyz"]
    return np.diag([-unit, -unit, unit, 1.0]) @ matrix


def _open(path: Path):
    # By its first bytes, as ITK does: there are files named .gz that were never packed.
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP
    return gzip.open(path) if packed else path.open("rb")


def _header(path: Path) -> tuple[bytes, str]:
    """The first 348 bytes, all of NIfTI-1's header, and the byte order of the file as numpy writes it."""
    with _open(path) as stream:
        header = stream.read(348)
    return header, ">" if header[:2] == b"\0\0" else "<"
