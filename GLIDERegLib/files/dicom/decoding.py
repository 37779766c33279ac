"""Stored cells of DICOM frames, decoded where they are compressed.

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
from GLIDERegLib.files.dicom.tags import Header, Pixels, unpacked

RLE = "1.2.840.10008.1.2.5"
MULTIFRAME_WORD, MULTIFRAME_BYTE = "1.2.840.10008.5.1.4.1.1.7.3", "1.2.840.10008.5.1.4.1.1.7.2"
FLOATS = {"FloatPixelData": (32, "f4"), "DoubleFloatPixelData": (64, "f8")}


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
            if self._decoded is None or self._path != header.path:
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
