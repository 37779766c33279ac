"""Small DICOM objects written by pydicom (2.4 or 3), for tests of what reads them."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
SECONDARY, WORD_SECONDARY = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"
UID = "1.2.826.0.1.3680043.8.498.2"
AXIAL = (1, 0, 0, 0, 1, 0)
ORIGIN = (-12.5, 7.25, -300.0)


def group(**values) -> Sequence:
    """A functional group: one item with these values."""
    item = Dataset()
    for key, value in values.items():
        setattr(item, key, value)
    return Sequence([item])


def an_object(sop=CT, syntax=ExplicitVRLittleEndian, **tags) -> FileDataset:
    """An object without pixels and geometry; a tag of None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop, generate_uid()
    meta.TransferSyntaxUID = syntax
    encoding = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128, **encoding)
    values = {
        "SOPClassUID": sop,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CT",
        "StudyInstanceUID": UID + ".1",
        "SeriesInstanceUID": UID + ".1.1",
        "FrameOfReferenceUID": UID + ".1.2",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    put(data, {**values, **tags})
    return data


def put(data: Dataset, tags: dict) -> Dataset:
    for key, value in tags.items():
        if value is None:
            if key in data:
                delattr(data, key)
        else:
            setattr(data, key, value)
    return data


def with_pixels(data: Dataset, cells: np.ndarray) -> Dataset:
    """Stored values (rows, columns) or (frames, rows, columns) in the object's byte order."""
    data.Rows, data.Columns = cells.shape[-2:]
    big = data.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2"
    data.PixelData = cells.astype(cells.dtype.newbyteorder(">" if big else "<")).tobytes()
    data["PixelData"].VR = "OW" if cells.dtype.itemsize > 1 else "OB"
    return data


def a_slice(hu: np.ndarray, position, cosines=AXIAL, intercept=-1024, slope=1, **tags) -> FileDataset:
    """One plane of CT: HU stored as uint16 through slope and intercept."""
    data = an_object(
        **{
            "ImagePositionPatient": [f"{value:.6f}" for value in position],
            "ImageOrientationPatient": [f"{value:.8f}" for value in cosines],
            "PixelSpacing": ["0.9", "0.6"],
            "RescaleSlope": str(slope),
            "RescaleIntercept": str(intercept),
            **tags,
        }
    )
    return with_pixels(data, np.rint((hu - intercept) / slope).astype(np.uint16))


def hu(slices=6, rows=5, columns=4, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1500, (slices, rows, columns)).astype(np.int16)


def places(count, cosines=AXIAL, step=2.5, origin=ORIGIN) -> np.ndarray:
    """Positions (count, 3) along the normal of the cosines."""
    normal = np.cross(cosines[:3], cosines[3:])
    return np.asarray(origin) + step * np.arange(count)[:, None] * normal


def save(data: Dataset, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if int(pydicom.__version__.split(".")[0]) < 3:
        syntax = data.file_meta.TransferSyntaxUID
        data.is_little_endian, data.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        data.save_as(str(path), write_like_original=False)
    else:
        data.save_as(str(path), enforce_file_format=True)


def a_series(folder, values, positions=None, cosines=AXIAL, each=lambda k: {}, suffix=".dcm", **tags):
    """One file a plane, named and numbered so that neither tells the order; each(k): tags of slice k."""
    positions = places(len(values), cosines) if positions is None else positions
    for k, (plane, position) in enumerate(zip(values, positions, strict=True)):
        number = (k * 7) % 5 * 100 + k
        data = a_slice(plane, position, cosines, **{"InstanceNumber": number, **tags, **each(k)})
        save(data, folder / f"im{number:03}{suffix}")
    return folder


def multiframe(values, positions, cosines=AXIAL, sop=ENHANCED_CT, frame=lambda k: {}, rescale=None, **tags):
    """An object with functional groups; frame(k): further per-frame groups, rescale(k): slope, intercept."""
    data = an_object(sop, NumberOfFrames=len(values), **tags)
    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=["0.9", "0.6"], SliceThickness="9")
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=[f"{v:.8f}" for v in cosines])
    if rescale is None:
        shared.PixelValueTransformationSequence = group(
            RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU"
        )
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, cells = [], []
    for k, plane in enumerate(values):
        item = Dataset()
        item.PlanePositionSequence = group(ImagePositionPatient=[f"{v:.6f}" for v in positions[k]])
        slope, intercept = rescale(k) if rescale else (1, -1024)
        if rescale:
            item.PixelValueTransformationSequence = group(
                RescaleSlope=str(slope), RescaleIntercept=str(intercept), RescaleType="HU"
            )
        put(item, frame(k))
        frames.append(item)
        cells.append(np.rint((plane - intercept) / slope).astype(np.uint16))
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return with_pixels(data, np.array(cells))
