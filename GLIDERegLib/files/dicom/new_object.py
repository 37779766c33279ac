"""What every new DICOM object in a scan's study has: patient, study, a series of its own, references."""

from __future__ import annotations

import re
import warnings
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import validate_value

from GLIDERegLib import __version__
from GLIDERegLib.files.dicom.registered_scans import Reference, ScanSeries

# What a new object in a study takes over from its scans, by the modules Patient and General Study.
PATIENT = "PatientName PatientID PatientBirthDate PatientSex".split()
STUDY = "StudyInstanceUID StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName".split()
SERIES = "BodyPartExamined PositionReferenceIndicator".split()
# Taken over where the scans have them: whose identifier it is, what was removed, and of which trial.
OPTIONAL = (
    "StudyDescription IssuerOfPatientID PatientIdentityRemoved DeidentificationMethod "
    "ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID "
    "ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID"
).split()
# Of the module Clinical Trial Subject, what may be empty but not absent.
TRIAL = "ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName".split()
UTF_8 = "ISO_IR 192"
SEXES = ("M", "F", "O")
# Of dates and times: ACR-NEMA's form, which old scanners write, and DICOM's.
DATE = r"^(\d{4})\.(\d\d)\.(\d\d)$", r"\d{8}"
TIME = r"^(\d\d):(\d\d):(\d\d)", r"(\d\d){1,3}|\d{6}\.\d{1,6}"
FORMS = {"PatientBirthDate": DATE, "StudyDate": DATE, "StudyTime": TIME}
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
    data.SpecificCharacterSet = UTF_8
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
    """The scan's images, an item for each file."""
    return [reference_item(one) for one in scan.references]


def reference_item(reference: Reference) -> Dataset:
    """An item of the Image SOP Instance Reference Macro (PS3.3 table 10-3)."""
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class
    item.ReferencedSOPInstanceUID = reference.sop_instance
    if reference.frames:
        item.ReferencedFrameNumber = list(reference.frames)
    return item


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


def source_header(path: Path, only: list[str] | None = None) -> Dataset:
    """A slice's header without pixels, as a new object in its study can take it over.

    Texts are UTF-8; what the modules Patient and General Study must have is there, if empty; dates and times
    of ACR-NEMA's form are DICOM's, and impossible ones, a sex that the standard does not know, and a body
    part or reference point that is no valid value, are empty.
    only: the names of the tags that are wanted, None for all.
    """
    tags = None if only is None else ["SpecificCharacterSet", *only]
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
        data.decode()
        data.SpecificCharacterSet = UTF_8
        for name in (*PATIENT, *STUDY):
            setattr(data, name, data.get(name) or "")
        if any(name in data for name in OPTIONAL if name.startswith("ClinicalTrial")):
            for name in TRIAL:
                setattr(data, name, data.get(name) or "")
        for name, (old, form) in FORMS.items():
            text = re.sub(old, r"\1\2\3", str(data.get(name)).strip())
            setattr(data, name, text if re.fullmatch(form, text) else "")
        data.PatientSex = data.PatientSex if data.PatientSex in SEXES else ""
        for name in SERIES:
            if name in data and not _is_valid(data, name):
                setattr(data, name, "")
    return data


def taken_over_doubts(scan: ScanSeries) -> list[str]:
    """A sentence on what new objects have from the scan's patient and study that is no valid DICOM; none
    where all is.

    It is taken over as it is all the same: cut off, an archive would not know the study by it.
    """
    first = source_header(scan.info.files[0], [*PATIENT, *STUDY, *OPTIONAL])
    names = [name for name in (*PATIENT, *STUDY, *OPTIONAL) if name in first and not _is_valid(first, name)]
    if not names:
        return []
    return [
        f"No valid DICOM is what the scan says as {' and '.join(names)} (too long, or letters that are not "
        "allowed): it was taken over as it is, so that the object belongs to the study, and a strict reader "
        "may refuse it."
    ]


def _is_valid(data: Dataset, name: str) -> bool:
    """Whether a tag's values may be what they are; several are never allowed in the tags above."""
    element, text = data[name], str(data[name].value)
    try:
        validate_value(element.VR, text, pydicom.config.RAISE)
    except ValueError:
        return False
    return element.VM <= 1 and not any(ord(letter) < 32 for letter in text)


def _take_over(data: Dataset, scan: ScanSeries) -> None:
    """Patient and study as the first slice of the scan has them."""
    first = source_header(scan.info.files[0], [*PATIENT, *STUDY, *SERIES, *OPTIONAL])
    with pydicom.config.disable_value_validation():
        for name in (*PATIENT, *STUDY, *SERIES, *OPTIONAL):
            if name in first or name not in OPTIONAL:
                setattr(data, name, first.get(name))
