"""Segmentations as a DICOM Segmentation (SEG), written by the package highdicom on the scan's own slices.

The package takes a multi-frame scan only as one object, whole and in order: here each of its frames is given
as if it were a single slice, and the references are set right afterwards.
"""

from __future__ import annotations

import os
from copy import copy

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from GLIDERegLib import __version__
from GLIDERegLib.core.errors import DependencyError, InputError, system_refusals
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.dicom.new_object import (
    SERIES_NUMBER,
    reference_item,
    references,
    source_header,
    write_object,
)
from GLIDERegLib.files.dicom.registered_scans import Reference, ScanSeries
from GLIDERegLib.files.dicom.structure_set import check_grid
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.segmentations import Segmentation

# Letters of a label (LO).
LONGEST_LABEL = 64
OF_FRAMES = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@system_refusals()
def export_segmentation(segmentation: Segmentation, scan: ScanSeries, path: str | os.PathLike) -> None:
    """Writes the segments as binary frames on the scan's slices, bit by bit, in the scan's study.

    What a segment is, is said by its label only; its coded property is "tissue". Raises InputError where the
    segmentation does not lie on the scan's grid or is empty, DependencyError without highdicom.
    """
    try:
        import highdicom
        from highdicom import seg
        from pydicom.sr.codedict import codes
    except ImportError as error:
        raise DependencyError(
            f"DICOM segmentations cannot be written without the Python package highdicom ({error})",
            "Install highdicom, or write an RT Structure Set.",
            code="package-highdicom",
        ) from error
    check_grid(segmentation, scan)
    masks = np.stack([mask for _, mask in segmentation.masks()], axis=-1)
    if not masks.any():
        raise InputError("The segmentation is empty", "Give one with structures in it.", code="empty")
    tissue = codes.SCT.Tissue
    # Of the standard's families (CID 7162) none fits; the contours were a reader's before.
    made_by = highdicom.AlgorithmIdentificationSequence(
        name="GLIDE-Reg", family=codes.cid7162.ManualProcessing, version=__version__
    )
    described = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.name[:LONGEST_LABEL],
            segmented_property_category=tissue,
            segmented_property_type=tissue,
            algorithm_type=seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=made_by,
        )
        for number, segment in enumerate(segmentation.segments, 1)
    ]
    sources = _sources(scan)
    try:
        # What is no valid value is taken over, and told of: see `taken_over_doubts`.
        with pydicom.config.disable_value_validation():
            data = seg.Segmentation(
                source_images=list(sources.values()),
                pixel_array=masks,
                segmentation_type=seg.SegmentationTypeValues.BINARY,
                segment_descriptions=described,
                series_instance_uid=highdicom.UID(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="GLIDE-Reg",
                manufacturer_model_name="GLIDE-Reg",
                software_versions=__version__,
                device_serial_number="none",
                content_label="GLIDEREG",
                series_description="GLIDE-Reg segmentation",
            )
    except AttributeError as error:
        raise InputError(
            f"The scan's slices lack a tag that a DICOM segmentation takes over ({error})",
            "Export the scan again, or write an RT Structure Set.",
            code="dicom-tags",
        ) from error
    _refer(data, dict(zip(sources, scan.slices, strict=True)), scan)
    with whole_file(path) as temporary:
        write_object(data, temporary)


def _sources(scan: ScanSeries) -> dict[str, Dataset]:
    """The headers of the scan's slices by their instance UID, those of frames with one of their own."""
    headers = {one.file: source_header(one.file) for one in scan.references}
    found: dict[str, Dataset] = {}
    for number, one in enumerate(scan.slices):
        data = headers[one.file]
        if data.get("NumberOfFrames"):
            data = _as_slice(data, scan.grid, number)
        # Some scanners leave it out.
        if not data.get("SliceThickness"):
            data.SliceThickness = format_number_as_ds(scan.grid.spacing[2])
        found[data.SOPInstanceUID] = data
    return found


def _as_slice(header: Dataset, grid: Grid, number: int) -> Dataset:
    """The header that a frame at a slice of the grid would have, were it a slice."""
    data = Dataset()
    data.update({element.tag: copy(element) for element in header if element.keyword not in OF_FRAMES})
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    for name, values in (
        ("ImagePositionPatient", grid.to_physical(np.array([0.0, 0.0, number]))),
        ("ImageOrientationPatient", grid.axes[:, :2].T.ravel()),
        ("PixelSpacing", grid.spacing[1::-1]),
    ):
        setattr(data, name, [format_number_as_ds(float(value)) for value in values])
    return data


def _refer(data: Dataset, slices: dict[str, Reference], scan: ScanSeries) -> None:
    """Every reference to one of the sources becomes one to the scan's own object, and frame."""
    for group in data.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", ()):
            for image in derivation.SourceImageSequence:
                # Segments share their slice's item.
                if one := slices.get(image.ReferencedSOPInstanceUID):
                    image.update(reference_item(one))
    data.SourceImageSequence = references(scan)
    data.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references(scan)
