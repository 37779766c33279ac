"""Registration objects of DICOM as maps of points: Deformable Spatial Registration and Spatial Registration.

Both say how one frame of reference, the object's own, goes with others (PS3.3 C.20.2, C.20.3), in opposite
directions: a deformable item maps the own frame to its source, T(x) = M_post (M_pre x + D(x)) with D looked
up at x; a matrix maps its source to the own frame. Here the own frame is the fixed scan's, and T maps fixed
to moving points, LPS mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.dicom.read import DicomInfo
from GLIDERegLib.files.dicom.registration_items import (
    DEFORMABLE,
    NAMES,
    Item,
    RegisteredScan,
    affine,
    deformable_items,
    own_side,
    read_object,
    rigid_items,
)
from GLIDERegLib.files.patients import Patient


@dataclass(frozen=True)
class DicomRegistration:
    """One registration: `transform` maps points of the fixed scan to points of the moving scan, LPS mm.

    kind: the object's name in the standard. notes: sentences that a user of the transform should know.
    """

    transform: sitk.Transform
    fixed: RegisteredScan
    moving: RegisteredScan
    patient: Patient
    kind: str
    label: str = ""
    notes: tuple[str, ...] = ()


def read_registration(
    path: Path, fixed: DicomInfo | None = None, moving: DicomInfo | None = None
) -> DicomRegistration:
    """Reads a registration object, deformable or rigid; fixed and moving: the scans it must be of, if known.

    Without them the fixed scan is the one of the object's own frame of reference, and the moving scan the
    only other. Raises InputError for what is no such object, is damaged, registers several scans without
    saying which is meant, is of others than the given, or runs from moving to fixed and cannot be turned.
    """
    named = f"The registration object '{path}'"
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{named} {what}.", "Give the object's file.", code="file-missing")
    data, swapped = read_object(path, named)
    try:
        kind, patient, label = _identified(data, named)
        items = (deformable_items if kind == DEFORMABLE else rigid_items)(data, named, swapped)
        own, items = own_side(data, items, named)
    except InputError:
        raise
    except Exception as error:  # values are parsed when touched, and pydicom raises whatever they lead it to
        raise InputError(
            f"{named} lacks what the standard requires of it, or holds what cannot be read "
            f"({' '.join(str(error).split())}).",
            "Export it again.",
            code="dicom-tags",
        ) from error
    first = own if fixed is None else _of_scan(fixed, [own, *items], "fixed", named)
    rest = [item for item in (own, *items) if item is not first]
    second = _only(rest, own, named) if moving is None else _of_scan(moving, rest, "moving", named)
    return DicomRegistration(
        _between(first, second, own, named),
        first.scan,
        second.scan,
        patient,
        NAMES[kind],
        label,
        second.notes,
    )


def _identified(data: pydicom.Dataset, named: str) -> tuple[str, Patient, str]:
    """SOP class, patient and content label; InputError where the class is another."""
    kind = str(data.get("SOPClassUID", ""))
    if kind not in NAMES:
        what = f"a DICOM object of another kind ({pydicom.uid.UID(kind).name})" if kind else "no DICOM object"
        raise InputError(
            f"{named} is {' '.join(what.split())}.",
            "Give a Spatial Registration or a Deformable Spatial Registration.",
            code="dicom-kind",
        )
    patient = Patient(str(data.get("PatientID") or ""), str(data.get("PatientName") or ""))
    return kind, patient, str(data.get("ContentLabel") or "")


def is_of(scan: RegisteredScan, info: DicomInfo) -> bool:
    """Whether a scan on disk is the one an object speaks of: by images, else by its frame of reference."""
    if scan.images & set(info.sop_instance_uids):
        return True
    return bool(scan.frame) and scan.frame == info.frame_of_reference_uid


def _of_scan(info: DicomInfo, items: list[Item], role: str, named: str) -> Item:
    by_image = [item for item in items if item.scan.images & set(info.sop_instance_uids)]
    found = by_image or [item for item in items if is_of(item.scan, info)]
    if len(found) == 1:
        return found[0]
    says = "does not speak of" if not found else "does not tell which of its registrations is of"
    listed = "; ".join(str(item.scan) for item in items)
    raise InputError(
        f"{named} {says} the {role} scan (series {info.series_uid}, frame of reference "
        f"{info.frame_of_reference_uid or 'unknown'}), but is of: {listed}.",
        "Check that the object and the scans belong together.",
        code="dicom-other-scan",
    )


def _only(items: list[Item], own: Item, named: str) -> Item:
    if len(items) == 1:
        return items[0]
    listed = "; ".join(str(item.scan) for item in items) or "none"
    raise InputError(
        f"{named} registers {counted(len(items), 'scan')} to the {own.scan} ({listed}).",
        "Say which scan is the fixed and which the moving one.",
        code="dicom-registrations",
    )


def _between(first: Item, second: Item, own: Item, named: str) -> sitk.Transform:
    """From the one side to the other, through the object's own frame."""
    if first is own:
        return second.transform
    if first.matrix is None:
        raise InputError(
            f"{named} maps the scan given as moving to the one given as fixed.",
            "Give the two scans the other way round.",
            code="dicom-direction",
        )
    back = np.linalg.inv(first.matrix)
    if second.matrix is not None:
        return affine(second.matrix @ back)
    return sitk.CompositeTransform([second.transform, affine(back)])
