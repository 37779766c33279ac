"""What every new DICOM object in a scan's study has: patient, study, a series of its own, references."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from GLIDERegLib import __version__
from GLIDERegLib.files.dicom.registered_scans import ScanSeries

# What a new object in a study takes over from its scans, by the modules Patient and General Study.
PATIENT = "PatientName PatientID PatientBirthDate PatientSex".split()
STUDY = (
    "StudyInstanceUID StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName StudyDescription"
).split()
SERIES = "BodyPartExamined Laterality PositionReferenceIndicator".split()
OPTIONAL = {"StudyDescription", "Laterality"}
# Far from the numbers that scanners give.
SERIES_NUMBER = 900


def new_object(sop_class: str, scan: ScanSeries, modality: str, description: str) -> Dataset:
    """An object of a class, in a new series of the scan's study, made now by this program."""
    now = datetime.now()
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = UID(sop_class)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(prefix=None)
    data.SpecificCharacterSet = "ISO_IR 192"
    _take_over(data, scan)
    data.Modality = modality
    data.SeriesInstanceUID = generate_uid(prefix=None)
    data.SeriesNumber, data.SeriesDescription = SERIES_NUMBER, description
    data.SeriesDate = data.InstanceCreationDate = now.strftime("%Y%m%d")
    data.SeriesTime = data.InstanceCreationTime = now.strftime("%H%M%S")
    data.Manufacturer, data.ManufacturerModelName = "GLIDE-Reg", "GLIDE-Reg"
    data.SoftwareVersions = __version__
    return data


def references(scan: ScanSeries) -> list[Dataset]:
    """The scan's images, an item each."""
    found = []
    for kind, uid in scan.references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, uid
        found.append(item)
    return found


def series_item(scan: ScanSeries) -> Dataset:
    """An item of a Referenced Series Sequence."""
    item = Dataset()
    item.SeriesInstanceUID = scan.info.series_uid
    item.ReferencedInstanceSequence = references(scan)
    return item


def write_object(data: Dataset, path: Path) -> None:
    """Writes with preamble and file meta information, by pydicom 2 or 3."""
    if int(pydicom.__version__.split(".")[0]) < 3:
        data.is_little_endian, data.is_implicit_VR = True, False
        pydicom.dcmwrite(path, data, write_like_original=False)
    else:
        pydicom.dcmwrite(path, data, enforce_file_format=True)


def _take_over(data: Dataset, scan: ScanSeries) -> None:
    """Patient and study as the first slice of the scan has them."""
    names = [*PATIENT, *STUDY, *SERIES]
    with pydicom.config.disable_value_validation():
        first = pydicom.dcmread(
            scan.info.files[0],
            stop_before_pixels=True,
            force=True,
            specific_tags=["SpecificCharacterSet", *names],
        )
        for name in names:
            value = first.get(name)
            if value or name not in OPTIONAL:
                setattr(data, name, value)
