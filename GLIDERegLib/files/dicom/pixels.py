"""What the stored values of DICOM frames mean: Modality LUT or rescale, padding, inverted grey."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.dicom.decoding import FLOATS, RLE
from GLIDERegLib.files.dicom.frames import Frame
from GLIDERegLib.files.dicom.scan import Slice
from GLIDERegLib.files.dicom.tags import Header, Pixels

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
            f"{name} has no {tag} in {count} of {counted(len(slices), 'slice')}",
            "Export the series again.",
            code="dicom-tags",
        )
    for header in {item.header.path: item.header for item in slices}.values():
        file = f"the file '{header.path.name}'"
        allocated = _allocated_bits(header, file, name)
        _check_length(header, allocated, file, name)
        if header.frames[0].slope == 0 or any(frame.slope == 0 for frame in header.frames):
            raise InputError(
                f"{name} has a RescaleSlope of 0 in {file}", "Export the series again.", code="file-damaged"
            )


def _allocated_bits(header: Header, file: str, name: str) -> int:
    """Bits a pixel takes in a file; raises InputError where its pixels are no grey image."""
    pixels = header.pixels
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
            f"{name} says {counted(pixels.rows, 'row')}, {counted(pixels.columns, 'column')} and "
            f"{counted(pixels.frames, 'frame')} in {file}",
            "Export the series again.",
            code="dicom-tags",
        )
    return allocated


def _check_length(header: Header, allocated: int, file: str, name: str) -> None:
    """Raises InputError where a file holds other bytes of pixels than its size asks for; allocated: bits."""
    pixels = header.pixels
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
                f"{name} holds {counted(pixels.length, 'byte')} of pixels in {file}, where its "
                f"{counted(pixels.rows, 'row')}, {counted(pixels.columns, 'column')} and "
                f"{counted(pixels.frames, 'frame')} take {needed}",
                "Export the series again.",
                code="dicom-cut",
            )
    elif needed > max(ALLOWED_BYTES, LARGEST_RATIO * there):
        raise InputError(
            f"{name} claims {needed / 1e9:.1f} GB of pixels in {file}, which holds "
            f"{counted(there, 'byte')} of them",
            "Copy or export the series again.",
            code="dicom-cut",
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
