"""One DICOM series as an image whose geometry comes from the slices' own positions.

GDCM and ITK assume evenly spaced, parallel slices and never complain when they are not; here that is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.errors import InputError
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.patients import Patient

SERIES_UID, SERIES_DESCRIPTION, POSITION, ORIENTATION = "0020|000e", "0008|103e", "0020|0032", "0020|0037"
PATIENT_NAME, PATIENT_ID, STUDY_DATE = "0010|0010", "0010|0020", "0008|0020"
PIXEL_DATA = b"\xe0\x7f\x10\x00"
# Share of the spacing by which a slice may be off its place: rounding passes, a missing slice does not.
UNEVEN = 0.1


@dataclass(frozen=True)
class Slice:
    """Header of one DICOM file: voxels (x, y, z), mm, LPS mm, and row and column cosines (2, 3)."""

    path: str
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    position: np.ndarray
    axes: np.ndarray


def read_dicom(path: Path, what: str) -> sitk.Image:
    """The one series in a folder, or the series of one DICOM file (its neighbours in the folder included).

    Raises InputError without a readable series, with several of them in the folder, with damaged files,
    missing or uneven slices, several images at one place, differing slices, and a tilted gantry. `what` names
    the image in messages.
    """
    if path.is_dir():
        files = _only_series(path, what)
    else:
        uid = _header(path, what).get(SERIES_UID, "").strip()
        files = _series_in(path.parent, what).get(uid, (str(path),))
    damaged = f"The DICOM series of the {what} in '{path}' cannot be read; a file is damaged."
    if len(files) == 1:  # a multi-frame object, or a single slice that the caller refuses
        with itk_calls(damaged):
            return sitk.ReadImage(files[0])
    slices, spacing, normal = _ordered([_slice(file, what) for file in files], what)
    with itk_calls(damaged):
        image = sitk.ReadImage([item.path for item in slices])
    first = slices[0]
    image.SetOrigin(first.position.tolist())
    image.SetSpacing((*first.spacing[:2], spacing))
    image.SetDirection(np.column_stack([*first.axes, normal]).ravel().tolist())
    return image


def read_identity(path: Path, what: str) -> tuple[Patient, str]:
    """Of a DICOM folder or file: whose scan it is, and the study's date (YYYY-MM-DD); empty where unknown.

    Raises InputError as `read_dicom` does.
    """
    file = _only_series(path, what)[0] if path.is_dir() else path
    header = _header(file, what)
    patient = Patient(*(header.get(tag, "").strip() for tag in (PATIENT_ID, PATIENT_NAME)))
    day = header.get(STUDY_DATE, "").strip()
    return patient, f"{day[:4]}-{day[4:6]}-{day[6:8]}" if len(day) >= 8 and day[:8].isdigit() else ""


def _only_series(folder: Path, what: str) -> tuple[str, ...]:
    """Files of the one series of images in the folder."""
    series = _series_in(folder, what)
    if not series:
        raise InputError(
            f"The folder '{folder}' of the {what} holds no DICOM images; give the folder of the slices."
        )
    if len(series) > 1:
        listed = []
        for uid, files in series.items():
            description = _header(files[0], what).get(SERIES_DESCRIPTION, "").strip()
            listed.append(f"'{description}', {len(files)} files, {uid}")
        raise InputError(
            f"The folder '{folder}' of the {what} holds {len(series)} DICOM series ({'; '.join(listed)}); "
            "give one file of the wanted series instead of the folder."
        )
    return next(iter(series.values()))


def _series_in(folder: Path, what: str) -> dict[str, tuple[str, ...]]:
    """Files of every DICOM series of images in the folder by its UID; InputError when one is damaged.

    GDCM leaves out objects without pixels (structures, plans), which is right, and damaged files.
    """
    try:
        present = [file for file in folder.iterdir() if file.is_file()]
    except OSError as error:
        raise InputError(
            f"The folder '{folder}' of the {what} cannot be opened; check its permissions."
        ) from error
    if not present:
        raise InputError(
            f"The folder '{folder}' of the {what} is empty; give the folder that holds the DICOM slices."
        )
    with itk_calls(f"The folder '{folder}' of the {what} cannot be searched for DICOM files."):
        list_files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames
        uids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        series = {uid: list_files(str(folder), uid) for uid in uids}
    listed = {Path(file).name for files in series.values() for file in files}
    damaged = sorted(file.name for file in present if file.name not in listed and _has_dicom_pixels(file))
    if damaged:
        raise InputError(
            f"The DICOM file '{damaged[0]}' in the folder '{folder}' of the {what} is damaged or incomplete "
            f"({len(damaged)} such files); copy or export the series again."
        )
    return series


def _has_dicom_pixels(file: Path) -> bool:
    """True where the file bears DICOM's mark and the tag of PixelData."""
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM" and PIXEL_DATA in stream.read()


def _reader(file: str | Path, what: str) -> sitk.ImageFileReader:
    """A reader that knows the file's header and has not read its voxels."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    with itk_calls(f"The DICOM file '{file}' of the {what} cannot be read; it is damaged or holds no image."):
        reader.ReadImageInformation()
    return reader


def _header(file: str | Path, what: str) -> dict[str, str]:
    reader = _reader(file, what)
    values = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    # Descriptions may hold bytes that are no UTF-8; a message must still be printable.
    return {key: value.encode("utf-8", "replace").decode() for key, value in values.items()}


def _slice(file: str, what: str) -> Slice:
    reader = _reader(file, what)
    try:
        position = np.array(reader.GetMetaData(POSITION).split("\\"), float)
        axes = np.array(reader.GetMetaData(ORIENTATION).split("\\"), float)
        return Slice(file, reader.GetSize(), reader.GetSpacing(), position.reshape(3), axes.reshape(2, 3))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The DICOM file '{file}' of the {what} lacks a valid image position or orientation; "
            "export the series again or convert it to NIfTI."
        ) from error


def _ordered(slices: list[Slice], what: str) -> tuple[list[Slice], float, np.ndarray]:
    """The slices sorted along their normal, their spacing (mm) and the normal (LPS); InputError if uneven."""
    first = slices[0]
    for item in slices:
        same = item.size == first.size and np.allclose(item.spacing[:2], first.spacing[:2], rtol=1e-3)
        if not same or item.size[2] != 1 or np.abs(item.axes - first.axes).max() > 1e-3:
            raise InputError(
                f"The DICOM series of the {what} mixes slices of several sizes, spacings or orientations "
                f"('{first.path}' and '{item.path}'); keep only the slices of one stack in the folder."
            )
    normal = np.cross(*first.axes)
    slices = sorted(slices, key=lambda item: item.position @ normal)
    positions = np.array([item.position for item in slices])
    places = positions @ normal
    gaps = np.diff(places)
    if gaps.min() < 0.01:
        raise InputError(
            f"The DICOM series of the {what} has several images at the same place "
            f"({places[gaps.argmin()]:.2f} mm along its normal), as with several phases; export one of them."
        )
    spacing = (places[-1] - places[0]) / len(gaps)
    if np.abs(places - places[0] - spacing * np.arange(len(places))).max() > UNEVEN * spacing:
        usual = np.median(gaps)
        worst = np.abs(gaps - usual).argmax()
        raise InputError(
            f"The DICOM series of the {what} misses slices or is unevenly spaced: between "
            f"{places[worst]:.2f} and {places[worst + 1]:.2f} mm along its normal the gap is "
            f"{gaps[worst]:.2f} mm, elsewhere {usual:.2f} mm; export the complete series."
        )
    drift = positions - positions[0]
    drift -= np.outer(drift @ normal, normal)
    if np.linalg.norm(drift, axis=1).max() > 0.5 * min(first.spacing[:2]):
        tilt = np.degrees(np.arctan2(np.linalg.norm(drift[-1]), places[-1] - places[0]))
        raise InputError(
            f"The DICOM series of the {what} was taken with a tilted gantry ({tilt:.1f} degrees), so its "
            "grid is sheared; "
            "correct the tilt first, for instance by loading and resampling it in 3D Slicer."
        )
    return slices, float(spacing), normal
