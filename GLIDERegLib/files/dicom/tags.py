"""The header of one DICOM file: what its tags say of every frame, of the pixels and of the scan.

Nothing is guessed here: a tag that is missing or no number stays None. Headers are read by pydicom (2.4 and
3) up to the pixels, and no claimed length is believed beyond the file's end.
"""

from __future__ import annotations

import io
import os
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from GLIDERegLib.files.dicom.frames import REPEATS, Frame, frames_of
from GLIDERegLib.files.dicom.values import DamagedDicom, number_of, text_of, value_of, whole_of

DEFLATED, EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", ""}
BIG_ENDIAN = "1.2.840.10008.1.2.2"
# A deflated file may grow this many times: a judgement between scans and bombs.
LARGEST_GROWTH, ALLOWED_BYTES = 50, 64 << 20
PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
# CT, MR and PET images, single and multi-frame: without pixels they were cut off.
IMAGE_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("2", "4", "128", "130"))
TEXTS = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID Modality PatientName "
    "PatientID PatientBirthDate StudyDate SeriesDate AcquisitionDate SeriesDescription SeriesNumber "
    "ConvolutionKernel SliceThickness ContrastBolusAgent Manufacturer ManufacturerModelName ImageType "
    "RescaleType"
).split()
NUMBERS = (
    "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit "
    "PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit ModalityLUTSequence RescaleSlope "
    "RescaleIntercept ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()
REQUIRED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
WANTED: list[BaseTag | int] = [Tag(name) for name in {*TEXTS, *NUMBERS, *REPEATS}]


@dataclass(frozen=True)
class Pixels:
    """How a file holds its values; offset and length in bytes (-1 where encapsulated)."""

    element: str
    offset: int
    length: int
    syntax: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool
    padding: tuple[int, int] | None
    lut: tuple[int, tuple[float, ...]] | None
    swapped_words: bool = False
    lacking: tuple[str, ...] = ()

    @property
    def native(self) -> bool:
        return self.syntax in NATIVE


@dataclass(frozen=True)
class Header:
    """One file: its texts by keyword ("" where absent), its frames, its pixels (None without)."""

    path: Path
    size: int
    texts: dict[str, str]
    frames: tuple[Frame, ...]
    held: Pixels | None
    imager_spacing: bool = False

    @property
    def pixels(self) -> Pixels:
        """How an image's values are held; only files that hold pixels become images of a series."""
        if self.held is None:
            raise ValueError(f"'{self.path}' holds no pixels")
        return self.held

    @property
    def localizer(self) -> bool:
        return "LOCALIZER" in self.texts["ImageType"].upper()


def read_header(path: Path) -> Header | None:
    """The header of a DICOM file; None where the file is none. Raises DamagedDicom, OSError."""
    stat = path.stat()
    return _read_header(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(maxsize=4096)  # a scan is read for its patient, its date and its voxels
def _read_header(path: Path, size: int, *_: int) -> Header | None:
    with path.open("rb") as stream:
        start = stream.read(140)
        marked = start[128:132] == b"DICM"
        if not marked and not _looks_like_dicom(start):
            return None
        try:
            return _parse(path, size, unpacked(stream, size), marked)
        except DamagedDicom:
            raise
        except Exception as error:  # pydicom raises whatever a damaged header leads it to
            if marked:
                raise DamagedDicom(str(path)) from error
            return None


def _looks_like_dicom(start: bytes) -> bool:
    """True for a data set without preamble: it begins with group 2 or 8, and its first length is short."""
    if len(start) < 16 or start[:2] not in (b"\x02\0", b"\x08\0") or start[3] != 0:
        return False
    if start[4:6].isalpha() and start[4:6].isupper():
        return int.from_bytes(start[6:8], "little") < 256
    return int.from_bytes(start[4:8], "little") < 256


class _Bounded:
    """A binary file that never reads, nor allocates, beyond its end, whatever length is asked for.

    `short` says that something was asked for of which only a part is there, as in a file that was cut off.
    """

    def __init__(self, stream: BinaryIO, size: int):
        self.stream, self.size, self.tell, self.short = stream, size, stream.tell, False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = self.stream.seek(offset, whence)
        self.short |= place > self.size
        return place

    def read(self, count: int = -1) -> bytes:
        left = max(0, self.size - self.stream.tell())
        self.short |= 0 < left < count
        return self.stream.read(left if count < 0 else min(count, left))


def unpacked(stream: BinaryIO, size: int) -> Any:
    """The file to read tags and native pixels from: itself, or what a deflated one unfolds to."""
    stream.seek(0)
    start = stream.read(min(size, 2048))
    group_length = int.from_bytes(start[140:144], "little")
    end = 144 + group_length
    if start[132:136] != b"\x02\0\0\0" or DEFLATED not in start[144 : min(end, 2048)]:
        stream.seek(0)
        return _Bounded(stream, size)
    limit = ALLOWED_BYTES + LARGEST_GROWTH * size
    stream.seek(end)
    unfolder = zlib.decompressobj(-zlib.MAX_WBITS)
    data = unfolder.decompress(stream.read(size - end), limit)
    if len(data) >= limit:
        raise DamagedDicom("deflated data that grows without end")
    whole = start[:end].replace(DEFLATED, EXPLICIT) + data
    return _Bounded(io.BytesIO(whole), len(whole))


def _parse(path: Path, size: int, stream: Any, marked: bool) -> Header | None:
    found: list[tuple[int, str | None, int, int]] = []

    def at_pixels(tag, vr, length) -> bool:
        if int(tag) in PIXELS:
            found.append((int(tag), vr, int(length), stream.tell()))
        return int(tag) >= 0x7FE00000

    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        stream.seek(0)
        data = read_partial(stream, at_pixels, force=not marked, specific_tags=WANTED)
        if not marked and "SOPClassUID" not in data and "Rows" not in data:
            return None
        syntax = str(data.file_meta.get("TransferSyntaxUID", "")).strip("\0 ")
        if not syntax and not data.is_little_endian:
            syntax = BIG_ENDIAN
        texts = {name: text_of(data, name) for name in TEXTS}
        texts["SOPClassUID"] = texts["SOPClassUID"] or text_of(data.file_meta, "MediaStorageSOPClassUID")
        if not found and (stream.short or _is_image_class(texts["SOPClassUID"])):
            raise DamagedDicom("cut off before its pixels")
        pixels = _pixels(data, syntax, *found[0]) if found else None
        frames = tuple(frames_of(data, pixels.frames)) if pixels else ()
        imager = "ImagerPixelSpacing" in data
    return Header(path, stream.size, texts, frames, pixels, imager)


def _is_image_class(uid: str) -> bool:
    return any(uid == kind or uid.startswith(f"{kind}.") for kind in IMAGE_CLASSES)


def _pixels(data: Any, syntax: str, tag: int, vr: str | None, length: int, offset: int) -> Pixels:
    element = PIXELS[tag]
    allocated = whole_of(data, "BitsAllocated", 0)
    stored = whole_of(data, "BitsStored", allocated)
    sign = whole_of(data, "PixelRepresentation", 0)
    if sign not in (0, 1):
        raise DamagedDicom("a PixelRepresentation that is neither 0 nor 1")
    signed = sign == 1
    padding = number_of(data, "PixelPaddingValue")
    limit = number_of(data, "PixelPaddingRangeLimit")
    ends = None if padding is None else sorted((int(padding), int(padding if limit is None else limit)))
    return Pixels(
        element,
        offset,
        -1 if length == 0xFFFFFFFF else length,
        syntax,
        whole_of(data, "Rows", 0),
        whole_of(data, "Columns", 0),
        whole_of(data, "NumberOfFrames", 1),
        whole_of(data, "SamplesPerPixel", 1),
        text_of(data, "PhotometricInterpretation").upper() or "MONOCHROME2",
        allocated,
        stored,
        whole_of(data, "HighBit", stored - 1),
        signed,
        None if ends is None else (ends[0], ends[1]),
        _lut(data, signed),
        syntax == BIG_ENDIAN and allocated == 8 and vr == "OW",
        tuple(
            name for name in REQUIRED[: None if element == "PixelData" else 2] if value_of(data, name) is None
        ),
    )


def _lut(data: Any, signed: bool) -> tuple[int, tuple[float, ...]] | None:
    """The first stored value a Modality LUT maps, and what it maps to."""
    items = value_of(data, "ModalityLUTSequence")
    if not items:
        return None
    entries, first, bits = (int(value) for value in items[0].LUTDescriptor)
    values = items[0].LUTData
    if isinstance(values, bytes):
        order = "<" if data.is_little_endian else ">"
        import numpy as np

        wide = len(values) >= 2 * (entries or 65536)
        values = np.frombuffer(values, f"{order}u2" if wide else "u1").tolist()
    if signed and first > 32767:
        first -= 65536
    if len(values) < (entries or 65536):
        raise DamagedDicom("a Modality LUT shorter than it says")
    return first, tuple(float(value) for value in values[: entries or 65536])


def is_file(path: str | os.PathLike) -> bool:
    """True for a file with bytes to read: no folder, pipe or device."""
    try:
        return os.path.isfile(path)
    except (OSError, ValueError):
        return False
