"""Segmentations as a DICOM RT Structure Set: closed contours on the scan's own slices or frames."""

from __future__ import annotations

import os

import contourpy
import numpy as np
from pydicom.dataset import Dataset

from GLIDERegLib.core.errors import InputError, system_refusals
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.dicom.new_object import new_object, reference_item, references, write_object
from GLIDERegLib.files.dicom.registered_scans import ScanSeries
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.segmentations import Segmentation

STRUCTURE_SET, STUDY = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.3.1.2.3.1"
# Letters of a name (LO); and of a label (SH).
LONGEST_NAME = 64
# Red, green and blue of segments whose file says no colour.
COLOURS = ((230, 60, 60), (60, 160, 230), (80, 200, 90), (240, 180, 40), (170, 100, 220), (60, 210, 200))


@system_refusals()
def export_structure_set(segmentation: Segmentation, scan: ScanSeries, path: str | os.PathLike) -> None:
    """Writes the segments as contours half way between voxel centres, unapproved, in the scan's study.

    Holes are joined to the contour around them by a cut of no width, since the object has none.
    Raises InputError where the segmentation does not lie on the scan's grid, or the file cannot be written.
    """
    check_grid(segmentation, scan)
    data = new_object(STRUCTURE_SET, scan, "RTSTRUCT", "GLIDE-Reg contours")
    del data.BodyPartExamined
    data.FrameOfReferenceUID = scan.info.frame_of_reference_uid
    data.OperatorsName = ""
    data.StructureSetLabel = "GLIDEREG"
    data.StructureSetDate, data.StructureSetTime = data.SeriesDate, data.SeriesTime
    data.ApprovalStatus = "UNAPPROVED"
    data.ReferencedFrameOfReferenceSequence = [_frame(scan)]
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    data.RTROIObservationsSequence = []
    for number, (segment, mask) in enumerate(segmentation.masks(), 1):
        roi, contours, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, segment.name[:LONGEST_NAME]
        roi.ReferencedFrameOfReferenceUID = scan.info.frame_of_reference_uid
        roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
        contours.ReferencedROINumber = number
        contours.ROIDisplayColor = _colour(segment.details.get("Color", ""), number)
        found = [
            _contour(points, reference_item(scan.slices[k]))
            for k, plane in enumerate(mask)
            for points in _outlines(plane, scan.grid, k)
        ]
        if found:
            contours.ContourSequence = found
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = observation.ROIInterpreter = ""
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(contours)
        data.RTROIObservationsSequence.append(observation)
    with whole_file(path) as temporary:
        write_object(data, temporary)


def check_grid(segmentation: Segmentation, scan: ScanSeries) -> None:
    """Raises InputError unless the segmentation has the scan's voxels."""
    if not segmentation.grid.matches(scan.grid, tolerance=0.01):
        raise InputError(
            "The segmentation does not lie on the DICOM scan's grid",
            "Resample it onto that scan.",
            code="grids-differ",
        )


def _frame(scan: ScanSeries) -> Dataset:
    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = scan.info.frame_of_reference_uid
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY, scan.info.study_uid
    series.SeriesInstanceUID, series.ContourImageSequence = scan.info.series_uid, references(scan)
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    return frame


def _contour(points: np.ndarray, image: Dataset) -> Dataset:
    item = Dataset()
    item.ContourImageSequence = [image]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    item.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return item


def _outlines(plane: np.ndarray, grid: Grid, slice_number: int) -> list[np.ndarray]:
    """Closed contours (N, 3), LPS mm, around the pixels of one slice."""
    if not plane.any():
        return []
    # A margin, so that what touches the edge is closed there too.
    padded = np.pad(plane.astype(float), 1)
    generator = contourpy.contour_generator(z=padded, name="serial", fill_type=contourpy.FillType.OuterOffset)
    found = []
    for points, offsets in zip(*generator.filled(0.5, 2.0), strict=True):
        rings = [points[a : b - 1] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        outline = rings[0]
        for hole in rings[1:]:
            outline = _joined(outline, hole)
        index = np.column_stack([outline - 1, np.full(len(outline), slice_number)])
        found.append(grid.to_physical(index))
    return found


def _joined(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """One ring of an outline and a hole: along the shortest way between their points there, and back."""
    apart = np.linalg.norm(outline[:, None] - hole[None], axis=-1)
    i, j = np.unravel_index(apart.argmin(), apart.shape)
    around = np.roll(hole, -j, axis=0)
    return np.vstack([outline[: i + 1], around, around[:1], outline[i:]])


def _colour(text: str, number: int) -> list[int]:
    try:
        values = [round(255 * float(part)) for part in text.split()]
    except ValueError:
        values = []
    return values if len(values) == 3 else list(COLOURS[(number - 1) % len(COLOURS)])
