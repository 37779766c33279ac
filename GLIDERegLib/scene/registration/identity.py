"""Whose scan it is and of which day, and what a reader calls the two scans of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

import slicer

from GLIDERegLib.files.patients import Patient, different_patients
from GLIDERegLib.scene.registration.pair import Pair

# Names that DICOM's own dictionary gives; a volume node that came from elsewhere may have them itself.
ATTRIBUTES = {"identifier": "DICOM.PatientID", "name": "DICOM.PatientName", "date": "DICOM.StudyDate"}


@dataclass(frozen=True)
class Identity:
    """patient: name and ID as far as known. date: of the study, None where unknown."""

    patient: Patient
    date: date | None


def identityOf(volume: slicer.vtkMRMLVolumeNode) -> Identity:
    """From the volume's DICOM study in subject hierarchy, else from the node's attributes (ATTRIBUTES)."""
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    names = {
        "identifier": constants.GetDICOMPatientIDAttributeName(),
        "name": constants.GetDICOMPatientNameAttributeName(),
        "date": constants.GetDICOMStudyDateAttributeName(),
    }
    found = {
        key: _fromHierarchy(volume, name) or volume.GetAttribute(ATTRIBUTES[key]) or ""
        for key, name in names.items()
    }
    return Identity(Patient(found["identifier"].strip(), found["name"].strip()), _day(found["date"]))


class Scans(NamedTuple):
    """The two scans of a pair, where there is no transform yet."""

    fixed: slicer.vtkMRMLVolumeNode
    moving: slicer.vtkMRMLVolumeNode


def scanNames(pair: Pair | Scans, days: float | None = None) -> dict[str, str]:
    """What a reader calls the "fixed" and the "moving" scan: "current (2024-03-10)", "prior (2023-03-10)".

    days: from the moving to the fixed scan as the reader typed it, where the dates do not tell. Where nothing
    tells which is the later one, "fixed" and "moving" with their dates, if any.
    """
    dates = {"fixed": identityOf(pair.fixed).date, "moving": identityOf(pair.moving).date}
    if all(dates.values()):
        days = days or float((dates["fixed"] - dates["moving"]).days)
    words = {"fixed": "fixed", "moving": "moving"}
    if days:
        later = "fixed" if days > 0 else "moving"
        words = {role: "current" if role == later else "prior" for role in words}
    return {
        role: f"{word} ({dates[role].isoformat()})" if dates[role] else word for role, word in words.items()
    }


def describePair(pair: Pair | Scans, days: float | None = None, showPatient: bool = True) -> str:
    """Both scans with their roles and dates, and the patient where known and wanted."""
    lines, names = [], scanNames(pair, days)
    for role, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        name = "" if names[role].split(" (")[0] == role else f", {names[role]}"
        if not name and "(" in names[role]:
            name = f", {names[role].split('(')[1].rstrip(')')}"
        lines.append(f"{role.capitalize()} scan: {volume.GetName()}{name}.")
    if showPatient:
        patients = [identityOf(volume).patient for volume in (pair.fixed, pair.moving)]
        known = list(dict.fromkeys(str(patient) for patient in patients if str(patient)))
        if known:
            lines.append(f"Patient: {' / '.join(known)}.")
    return " ".join(lines)


def patientMismatch(volumes: Sequence[slicer.vtkMRMLVolumeNode | None]) -> str:
    """Why the scans are of different patients, in a sentence; empty where nothing says so."""
    patients = [identityOf(volume).patient for volume in volumes if volume is not None]
    return different_patients(*patients) if len(patients) == 2 else ""


def describeStudy(volume: slicer.vtkMRMLVolumeNode | None, showPatient: bool = True) -> str:
    """Date and, where wanted, patient of one scan or of the frame that shows a sequence; what is known."""
    if volume is None:
        return ""
    found = identityOf(volume)
    lines = [f"Study of {found.date.isoformat()}."] if found.date else []
    if showPatient and str(found.patient):
        lines.append(f"Patient: {found.patient}.")
    return " ".join(lines)


def sequenceMismatch(volumes: slicer.vtkMRMLSequenceNode) -> str:
    """Why the frames of a sequence are of different patients, in a sentence; empty where nothing says so."""
    frames = [volumes.GetNthDataNode(n) for n in range(volumes.GetNumberOfDataNodes())]
    patients = [
        Patient(*((frame.GetAttribute(ATTRIBUTES[key]) or "").strip() for key in ("identifier", "name")))
        for frame in frames
    ]
    for patient in patients[1:]:
        if reason := different_patients(patients[0], patient):
            return reason.replace("The two scans", "The frames")
    return ""


def _fromHierarchy(volume: slicer.vtkMRMLVolumeNode, name: str) -> str:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    item = hierarchy.GetItemByDataNode(volume) if hierarchy else 0
    return hierarchy.GetAttributeFromItemAncestor(item, name) or "" if item else ""


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text.replace("-", "").strip()[:8], "%Y%m%d").date()
    except ValueError:
        return None
