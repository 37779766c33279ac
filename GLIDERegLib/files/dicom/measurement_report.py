"""Measured nodules as a DICOM structured report (TID 1500), written by the package highdicom.

A nodule keeps its tracking UID from date to date: an earlier report hands on the UIDs of the labels it has.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from GLIDERegLib import __version__
from GLIDERegLib.core.errors import DependencyError, InputError, system_refusals
from GLIDERegLib.files.dicom.new_object import SERIES_NUMBER, source_header, write_object
from GLIDERegLib.files.dicom.registered_scans import ScanSeries
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.patients import Patient, different_patients

TRACKING_IDENTIFIER, TRACKING_UID = "112039", "112040"
# The table's columns: the measured quantity, its unit and what was made of it.
LOW, HIGH = "Lower limit of the 95 % interval", "Upper limit of the 95 % interval"
QUANTITIES = {
    "volume_mm3": ("Volume", "CubicMillimeter", ""),
    "volume_low_mm3": ("Volume", "CubicMillimeter", LOW),
    "volume_high_mm3": ("Volume", "CubicMillimeter", HIGH),
    "long_mm": ("LongAxis", "Millimeter", ""),
    "short_mm": ("ShortAxis", "Millimeter", ""),
    "mean_mm": ("Diameter", "Millimeter", "Mean of long and short axis"),
}


@dataclass(frozen=True)
class MeasuredNodule:
    """One row of a table of measurements: a label, a point (LPS mm), and values by column of QUANTITIES."""

    label: str
    point: tuple[float, float, float]
    values: dict[str, float]


@system_refusals()
def read_measurements(path: str | os.PathLike) -> list[MeasuredNodule]:
    """The rows of a table (CSV; label, x, y, z in LPS mm, and columns of QUANTITIES) that hold measurements.

    Raises InputError for another table, values that are no numbers, labels that lack or occur twice, and
    where nothing was measured.
    """
    named = f"The table '{path}'"
    with Path(path).open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    try:
        nodules = [
            MeasuredNodule(
                row["label"],
                (float(row["x"]), float(row["y"]), float(row["z"])),
                {name: _finite(row[name]) for name in QUANTITIES if row.get(name)},
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{named} is no table of measured nodules.", "Measure them first.", code="columns"
        ) from error
    nodules = [nodule for nodule in nodules if nodule.values]
    if not nodules:
        raise InputError(f"{named} holds no measurement.", "Measure first.", code="empty")
    labels = {nodule.label for nodule in nodules if nodule.label and not nodule.label.isspace()}
    if len(labels) < len(nodules):
        raise InputError(
            f"{named} has a label twice, or a nodule without one.", "Label the nodules apart.", code="labels"
        )
    return nodules


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no measurement")
    return value


@system_refusals()
def read_tracking(path: str | os.PathLike, scan: ScanSeries) -> dict[str, str]:
    """The tracking UIDs of an earlier report by the nodules' labels.

    Raises InputError for what is no structured report, and for one of another patient.
    """
    try:
        data = pydicom.dcmread(path)
        groups = list(_groups(data.ContentSequence))
    except (pydicom.errors.InvalidDicomError, AttributeError) as error:
        raise InputError(
            f"'{path}' is no DICOM structured report.", "Give an earlier report.", code="dicom-kind"
        ) from error
    patient = Patient(str(data.get("PatientID") or ""), str(data.get("PatientName") or ""))
    if reason := different_patients(patient, scan.info.patient):
        raise InputError(
            reason.rstrip("."), "Give an earlier report of this patient.", code="different-patients"
        )
    return {label: uid for label, uid in groups if label and uid}


@system_refusals()
def export_measurements(
    nodules: Sequence[MeasuredNodule],
    scan: ScanSeries,
    path: str | os.PathLike,
    tracking: dict[str, str] | None = None,
) -> dict[str, str]:
    """Writes the report, unverified, into the scan's study; returns each label's tracking UID.

    tracking: UIDs that labels already have. Raises DependencyError without highdicom, InputError for a point
    outside the scan or a slice that lacks a tag.
    """
    try:
        from highdicom import sr
        from pydicom.sr.codedict import codes
    except ImportError as error:
        raise DependencyError(
            f"DICOM reports cannot be written without the Python package highdicom ({error})",
            "Install highdicom.",
            code="package-highdicom",
        ) from error
    outside = [n.label for n in nodules if not scan.grid.contains(n.point)]
    if outside:
        raise InputError(
            f"The points of {', '.join(outside)} lie outside the DICOM scan",
            "Give the scan that was measured.",
            code="dicom-other-scan",
        )
    uids = {
        nodule.label: (tracking or {}).get(nodule.label) or generate_uid(prefix=None) for nodule in nodules
    }
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(prefix=None), name="GLIDE-Reg", model_name="GLIDE-Reg"
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes.cid100.CTUnspecifiedBodyRegion,
        imaging_measurements=[_measured(nodule, uids[nodule.label], scan) for nodule in nodules],
        title=codes.DCM.ImagingMeasurementReport,
    )
    try:
        # What is no valid value is taken over, and told of: see `taken_over_doubts`.
        with pydicom.config.disable_value_validation():
            data = sr.Comprehensive3DSR(
                evidence=[source_header(file) for file in scan.info.files],
                content=report[0],
                series_instance_uid=generate_uid(prefix=None),
                series_number=SERIES_NUMBER,
                sop_instance_uid=generate_uid(prefix=None),
                instance_number=1,
                manufacturer="GLIDE-Reg",
                manufacturer_model_name="GLIDE-Reg",
                software_versions=__version__,
                series_description="GLIDE-Reg measurements",
                record_evidence=True,
            )
    except AttributeError as error:
        raise InputError(
            f"The scan's slices lack a tag that a DICOM report takes over ({error})",
            "Export the scan again.",
            code="dicom-tags",
        ) from error
    with whole_file(path) as temporary:
        write_object(data, temporary)
    return uids


def _measured(nodule: MeasuredNodule, uid: str, scan: ScanSeries):
    """The measurement group of a nodule: its point, and each of its values as TID 1411 has it."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    def measurement(name: str, value: float):
        quantity, unit, made = QUANTITIES[name]
        derivation = sr.CodedConcept(name.replace("_", "-")[:16], "99GLIDEREG", made) if made else None
        return sr.Measurement(
            name=getattr(codes.SCT, quantity),
            value=value,
            unit=getattr(codes.UCUM, unit),
            derivation=derivation,
        )

    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid, nodule.label),
        referenced_volume_surface=sr.VolumeSurface(
            graphic_type=sr.GraphicTypeValues3D.POINT,
            graphic_data=[np.array([nodule.point])],
            frame_of_reference_uid=scan.info.frame_of_reference_uid,
            source_series=sr.SourceSeriesForSegmentation(scan.info.series_uid),
        ),
        finding_type=codes.SCT.Nodule,
        measurements=[measurement(name, value) for name, value in nodule.values.items()],
    )


def _groups(content: Sequence[pydicom.Dataset]) -> Iterator[tuple[str, str]]:
    """Tracking identifier and UID of every measurement group, however deep."""
    here = {}
    for item in content:
        name = item.get("ConceptNameCodeSequence")
        code = name[0].get("CodeValue") if name else ""
        if code in (TRACKING_IDENTIFIER, TRACKING_UID):
            here[code] = str(item.get("TextValue") or item.get("UID") or "")
        yield from _groups(item.get("ContentSequence") or ())
    if here:
        yield here.get(TRACKING_IDENTIFIER, ""), here.get(TRACKING_UID, "")
