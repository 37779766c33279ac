"""Stored values of DICOM frames, and what they mean: Modality LUT or rescale, padding, inverted grey.

Native pixels are read as they lie in the file. Compressed ones are decoded by GDCM, which comes with
SimpleITK, from a bare copy that tells it no rescale, sign or geometry; pydicom's own decoders come second.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.dicom.scan import Slice
from GLIDERegLib.files.dicom.tags import Frame, Header, Pixels, unpacked

RLE = "1.2.840.10008.1.2.5"
MULTIFRAME_WORD, MULTIFRAME_BYTE = "1.2.840.10008.5.1.4.1.1.7.3", "1.2.840.10008.5.1.4.1.1.7.2"
FLOATS = {"FloatPixelData": (32, "f4"), "DoubleFloatPixelData": (64, "f8")}
# A judgement: no scan packs so well; a small file that claims more is none.
LARGEST_RATIO, ALLOWED_BYTES = 4000, 32 << 20
FEWEST_BITS = 8  # of CT, which has 12 to 16 by PS3.3 C.8.2.1; windowed exports have 8
UNITS_OF_MEASURE = ("CT", "PT", "NM", "RTDOSE")


def check_pixels(slices: list[Slice], name: str) -> None:
    """Raises InputError where pixels are in colour, of a kind that is no image, or fewer than claimed.

    Nothing is allocated before this has passed.
    """
    for tag in sorted({tag for item in slices for tag in item.header.pixels.lacking}):
        count = sum(tag in item.header.pixels.lacking for item in slices)
        raise InputError(
            f"{name} has no {tag} in {count} of {len(slices)} slices",
            "Export the series again.",
            code="dicom-tags",
        )
    for header in {item.header.path: item.header for item in slices}.values():
        pixels, file = header.pixels, f"the file '{header.path.name}'"
        if pixels.samples != 1 or not pixels.photometric.startswith("MONOCHROME"):
            raise InputError(
                f"{name} is in colour ({pixels.photometric})", "Give a grey image.", code="dicom-colour"
            )
        allocated = FLOATS.get(pixels.element, (pixels.allocated,))[0]
        if allocated not in (8, 16, 32, 64) or (pixels.element == "PixelData" and allocated == 64):
            raise InputError(
                f"{name} stores pixels of {allocated} bits in {file}, which is not supported",
                "Convert it to NIfTI." if allocated != 1 else "Give an image, not a segmentation of bits.",
                code="dicom-bits",
            )
        fewest = FEWEST_BITS if header.texts["Modality"] == "CT" else 1
        if pixels.element == "PixelData" and not (
            fewest <= pixels.stored <= allocated and pixels.stored - 1 <= pixels.high < allocated
        ):
            raise InputError(
                f"{name} says {pixels.stored} bits up to bit {pixels.high} of {allocated} in {file}, which "
                "cannot be",
                "Export the series again.",
                code="dicom-bits",
            )
        if min(pixels.rows, pixels.columns, pixels.frames) < 1:
            raise InputError(
                f"{name} says {pixels.rows} rows, {pixels.columns} columns and {pixels.frames} frames "
                f"in {file}",
                "Export the series again.",
                code="dicom-tags",
            )
        needed = pixels.rows * pixels.columns * pixels.frames * allocated // 8
        there = header.size - pixels.offset
        if pixels.native and pixels.length != -1:
            there = min(there, pixels.length)
            if there < needed:
                raise InputError(
                    f"{name} is damaged: the pixels of {file} are cut off, {there} of {needed} bytes",
                    "Copy or export the series again.",
                    code="dicom-cut",
                )
            if pixels.length >= needed + pixels.columns * allocated // 8:
                raise InputError(
                    f"{name} holds {pixels.length} bytes of pixels in {file}, where its {pixels.rows} rows, "
                    f"{pixels.columns} columns and {pixels.frames} frames take {needed}",
                    "Export the series again.",
                    code="dicom-cut",
                )
        elif needed > max(ALLOWED_BYTES, LARGEST_RATIO * there):
            raise InputError(
                f"{name} claims {needed / 1e9:.1f} GB of pixels in {file}, which holds {there} bytes of them",
                "Copy or export the series again.",
                code="dicom-cut",
            )
        if header.frames[0].slope == 0 or any(frame.slope == 0 for frame in header.frames):
            raise InputError(f"{name} has a RescaleSlope of 0 in {file}", "Export the series again.")


class FrameReader:
    """Reads stored frames of files, one after the other; a compressed file is decoded once."""

    def __init__(self, name: str):
        self.name = name
        self._path: Path | None = None
        self._decoded: np.ndarray | None = None

    def cells(self, header: Header, index: int) -> np.ndarray:
        """One frame as it is stored, (rows, columns), before bits are masked. Raises InputError."""
        pixels = header.pixels
        try:
            if pixels.native and pixels.length != -1:
                return self._native(header, index)
            if self._path != header.path:
                self._decoded, self._path = None, header.path
                self._decoded = decode(header)
            return self._decoded[index]
        except (OSError, ValueError, RuntimeError, IndexError) as error:
            syntax = UID(pixels.syntax)
            packed = "" if pixels.native else f" (compressed as {syntax.name})"
            raise InputError(
                f"{self.name} cannot be read: the pixels of the file '{header.path.name}'{packed} "
                "are damaged",
                "Copy or export the series again.",
                code="dicom-cut",
            ) from error

    def _native(self, header: Header, index: int) -> np.ndarray:
        pixels = header.pixels
        allocated, kind = FLOATS.get(pixels.element, (pixels.allocated, f"u{pixels.allocated // 8}"))
        count = pixels.rows * pixels.columns
        with header.path.open("rb") as raw:
            stream = unpacked(raw, header.path.stat().st_size)
            first = index * count * allocated // 8
            start = first - first % 2 if pixels.swapped_words else first
            stream.seek(pixels.offset + start)
            data = stream.read(count * allocated // 8 + (first - start) + pixels.swapped_words * (count % 2))
        if pixels.swapped_words:
            words = np.frombuffer(data[: len(data) // 2 * 2], np.uint8).reshape(-1, 2)[:, ::-1]
            data = words.tobytes()[first - start :]
        order = ">" if pixels.syntax == "1.2.840.10008.1.2.2" else "<"
        cells = np.frombuffer(data, f"{order}{kind}", count).reshape(pixels.rows, pixels.columns)
        return cells.astype(cells.dtype.newbyteorder("="), copy=False)


def decode(header: Header) -> np.ndarray:
    """All frames of a compressed file, (frames, rows, columns), unsigned cells as they were packed.

    Raises RuntimeError or ValueError where no decoder can.
    """
    pixels = header.pixels
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        packed = pydicom.dcmread(header.path, specific_tags=["PixelData"], force=True)
        bare = _bare(pixels, packed.PixelData)
        shape = (pixels.frames, pixels.rows, pixels.columns)
        try:
            array = _by_gdcm(bare)
        except (RuntimeError, ValueError) as failure:
            try:
                array = bare.pixel_array
            except Exception as error:  # whatever decoders are installed raise
                raise RuntimeError(str(error)) from failure
    if array.size != np.prod(shape):
        raise ValueError("another number of pixels than the header says")
    return array.reshape(shape).view(f"u{array.dtype.itemsize}")


def _bare(pixels: Pixels, data: bytes) -> Dataset:
    """A copy with nothing but the packed pixels. RLE packs whole cells, so that all bits count there."""
    bits = pixels.allocated if pixels.syntax == RLE else pixels.stored
    meta = FileMetaDataset()
    kind = MULTIFRAME_BYTE if pixels.allocated == 8 else MULTIFRAME_WORD
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(kind), generate_uid()
    meta.TransferSyntaxUID = UID(pixels.syntax)
    bare = Dataset()
    bare.file_meta = meta
    bare.SOPClassUID, bare.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    bare.Modality, bare.StudyInstanceUID, bare.SeriesInstanceUID = "OT", "1.2", "1.2.3"
    bare.SamplesPerPixel, bare.PhotometricInterpretation = 1, "MONOCHROME2"
    bare.NumberOfFrames, bare.Rows, bare.Columns = pixels.frames, pixels.rows, pixels.columns
    bare.BitsAllocated, bare.BitsStored, bare.HighBit = pixels.allocated, bits, bits - 1
    bare.PixelRepresentation = 0
    bare.add_new(0x7FE00010, "OB", data)
    bare["PixelData"].is_undefined_length = True
    return bare


def _by_gdcm(bare: Dataset) -> np.ndarray:
    with tempfile.TemporaryDirectory(prefix="glidereg-") as folder:
        file = f"{folder}/bare.dcm"
        if int(pydicom.__version__.split(".")[0]) < 3:
            bare.is_little_endian, bare.is_implicit_VR = True, False
            pydicom.dcmwrite(file, bare, write_like_original=False)
        else:
            pydicom.dcmwrite(file, bare, enforce_file_format=True)
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            image = sitk.ReadImage(file, imageIO="GDCMImageIO")
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("colour in a grey image")
    array = sitk.GetArrayFromImage(image)
    return (
        array
        if array.dtype.itemsize == bare.BitsAllocated // 8
        else array.astype(f"u{bare.BitsAllocated // 8}")
    )


def stored_values(cells: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The bits that count (not overlays above or below them), with their sign; integers or floats."""
    if cells.dtype.kind == "f":
        return cells
    shift = pixels.high + 1 - pixels.stored
    if not pixels.native and pixels.syntax != RLE:
        shift = 0  # codecs pack the value alone
    bits = 8 * cells.dtype.itemsize
    if pixels.stored == bits and not shift:
        return cells.view(f"i{bits // 8}") if pixels.signed else cells
    values = (cells >> shift if shift else cells) & cells.dtype.type((1 << pixels.stored) - 1)
    if not pixels.signed:
        return values
    up = bits - pixels.stored
    return (values << up).view(f"i{bits // 8}") >> up


def padding(cells: np.ndarray, stored: np.ndarray, pixels: Pixels) -> np.ndarray | None:
    """True where the scanner measured nothing (PixelPaddingValue and its range); None without such pixels.

    Padding may lie outside the bits that count, so that the whole cell is looked at too.
    """
    if pixels.padding is None or stored.dtype.kind == "f":
        return None
    low, high = pixels.padding
    bits = 8 * stored.dtype.itemsize
    if pixels.signed and high >= 1 << (bits - 1):  # written as unsigned
        low, high = (value - (1 << bits) if value >= 1 << (bits - 1) else value for value in (low, high))
    found = (stored >= low) & (stored <= high)
    if low == high:
        found |= cells == (low % (1 << bits))
    return found if found.any() else None


def measured(stored: np.ndarray, pixels: Pixels, frame: Frame, invert: bool) -> np.ndarray:
    """Values in the unit the tags give: Modality LUT, else slope and intercept, else as stored.

    int64 where all is whole, else float64. invert: grey that is shown upside down (MONOCHROME1).
    """
    values = stored.astype(np.float64 if stored.dtype.kind == "f" else np.int64)
    if invert and stored.dtype.kind != "f":
        values = (-1 if pixels.signed else (1 << pixels.stored) - 1) - values
    elif invert:
        values = -values
    if pixels.lut is not None:
        first, table = pixels.lut
        whole = all(entry == int(entry) for entry in table)
        entries = np.array(table, np.int64 if whole else np.float64)
        return entries[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)]
    slope, intercept = frame.slope, frame.intercept
    if slope is None or intercept is None:
        return values
    if slope == int(slope) and intercept == int(intercept) and abs(slope) < 2**31 and abs(intercept) < 2**31:
        if slope != 1:
            values *= int(slope)
        values += int(intercept)
        return values
    return values * slope + intercept


def is_inverted(header: Header) -> bool:
    """MONOCHROME1 says how to show values, not what they measure (PS3.3 C.7.6.3.1.2).

    Where values have a unit (HU, activity) they stay; elsewhere grey is turned so that bright is high.
    """
    shown = header.pixels.photometric == "MONOCHROME1"
    measures = header.texts["Modality"] in UNITS_OF_MEASURE or header.texts["RescaleType"] == "HU"
    return shown and not measures
