"""What a registration object of DICOM holds: its sides, each with the map that leads to it."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError, shortened
from GLIDERegLib.core.geometry import apply_affine
from GLIDERegLib.files.dicom.tags import unpacked
from GLIDERegLib.files.dicom.vector_grid import field_transform, read_grid

DEFORMABLE, RIGID = "1.2.840.10008.5.1.4.1.1.66.3", "1.2.840.10008.5.1.4.1.1.66.1"
NAMES = {DEFORMABLE: "Deformable Spatial Registration", RIGID: "Spatial Registration"}
# What a matrix may be (PS3.3 C.20.2.1.1), and by how much products of the columns of a rotation that is
# written with three decimals are off.
TYPES, ROUNDED = ("RIGID", "RIGID_SCALE", "AFFINE"), 5e-3
# mm at this distance (mm) from the origin by which an identity may be off: decimal strings are rounded.
SAME, FAR = 1e-6, 1e3


@dataclass(frozen=True)
class RegisteredScan:
    """What an object says of one side: UIDs, empty where it does not; images are SOP Instance UIDs."""

    frame: str
    images: frozenset[str] = frozenset()
    series: str = ""
    study: str = ""

    def __str__(self) -> str:
        """In UIDs, without anything of the patient."""
        parts = [
            f"series {self.series}" if self.series else "",
            f"{counted(len(self.images), 'image')} referenced",
        ]
        frame = f"frame of reference {self.frame}" if self.frame else "a frame of reference it does not name"
        return ", ".join([part for part in parts if part] + [frame])


@dataclass(frozen=True)
class Item:
    """One side, and the map from the object's own frame to it; its matrix too where it is nothing else."""

    scan: RegisteredScan
    transform: sitk.Transform
    matrix: np.ndarray | None
    notes: tuple[str, ...] = ()


def read_object(path: Path, named: str) -> tuple[pydicom.Dataset, bool]:
    """The whole object, and whether its numbers are big-endian."""
    content = io.BytesIO(path.read_bytes())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bounded = unpacked(content, len(content.getbuffer()))
            bounded.seek(0)
            data = pydicom.dcmread(bounded, force=True)
            syntax = str(data.file_meta.get("TransferSyntaxUID", ""))
            short = bounded.short
            # Sequences are parsed when first touched.
            data.get("DeformableRegistrationSequence"), data.get("RegistrationSequence")
    except Exception as error:  # pydicom raises whatever a damaged file leads it to
        raise _damaged(named) from error
    if short:
        raise _damaged(named)
    return data, syntax == pydicom.uid.ExplicitVRBigEndian


def _damaged(named: str) -> InputError:
    return InputError(f"{named} is damaged or incomplete.", "Copy or export it again.", code="dicom-damaged")


def deformable_items(data: pydicom.Dataset, named: str, swapped: bool) -> list[Item]:
    """The maps of a Deformable Spatial Registration, LPS mm. named: for messages; swapped: big-endian."""
    items = []
    for item in data.DeformableRegistrationSequence:
        before, after = (
            _matrix(found[0], named)
            if (found := item.get(f"{when}DeformationMatrixRegistrationSequence"))
            else np.eye(4)
            for when in ("Pre", "Post")
        )
        linear = after @ before
        grids = item.get("DeformableRegistrationGridSequence")
        scan = _scan(data, item, str(item.get("SourceFrameOfReferenceUID") or ""))
        if not grids:
            items.append(Item(scan, affine(linear), linear))
            continue
        vectors, grid, notes = read_grid(grids[0], named, swapped)
        # M_post (M_pre x + D) = M_post M_pre (x + L D), L the inverse of M_pre's linear part: still linear
        # between the nodes, so that nothing is lost.
        vectors = vectors @ np.linalg.inv(before[:3, :3]).T
        field = field_transform(vectors, grid)
        whole = field if _is_identity(linear) else sitk.CompositeTransform([affine(linear), field])
        items.append(Item(scan, whole, None, tuple(notes)))
    return items


def rigid_items(data: pydicom.Dataset, named: str, swapped: bool) -> list[Item]:
    """The maps of a Spatial Registration, LPS mm, as of `deformable_items`."""
    items = []
    for item in data.RegistrationSequence:
        # The matrices are applied in the order of the items (equation C.20.2-2).
        matrix = np.eye(4)
        if not item.MatrixRegistrationSequence[0].MatrixSequence:
            raise _contradiction(named, "has a registration without a matrix")
        for part in item.MatrixRegistrationSequence[0].MatrixSequence:
            matrix = _matrix(part, named) @ matrix
        inverse = np.linalg.inv(matrix)
        scan = _scan(data, item, str(item.get("FrameOfReferenceUID") or ""))
        items.append(Item(scan, affine(inverse), inverse))
    return items


def own_side(data: pydicom.Dataset, items: list[Item], named: str) -> tuple[Item, list[Item]]:
    """The side of the object's own frame of reference, and the others. Raises InputError where nothing tells
    the sides apart.

    An object may list its own scan as an item that is moved by nothing.
    """
    frame = str(data.FrameOfReferenceUID)
    if len(items) > 1 and not any(item.scan.images for item in items):
        frames = [item.scan.frame for item in items]
        if len(set(frames)) < len(frames):
            raise _contradiction(named, "names one frame of reference for several scans, and no image of any")
    for item in items:
        if item.scan.frame in (frame, "") and item.matrix is not None and _is_identity(item.matrix):
            if len(items) > 1:
                rest = [other for other in items if other is not item]
                return replace(item, scan=replace(item.scan, frame=frame)), rest
    taken = frozenset().union(*(item.scan.images for item in items))
    for study, series, images in _referenced(data):
        if not images & taken:
            own = RegisteredScan(frame, images, series, study)
            break
    else:
        own = RegisteredScan(frame, study=str(data.get("StudyInstanceUID") or ""))
    return Item(own, affine(np.eye(4)), np.eye(4)), items


def _scan(data: pydicom.Dataset, item: pydicom.Dataset, frame: str) -> RegisteredScan:
    references = item.get("ReferencedImageSequence") or ()
    images = frozenset(str(image.ReferencedSOPInstanceUID) for image in references)
    for study, series, listed in _referenced(data):
        if images & listed:
            return RegisteredScan(frame, images, series, study)
    return RegisteredScan(frame, images)


def _referenced(data: pydicom.Dataset) -> list[tuple[str, str, frozenset[str]]]:
    """Study, series and SOP Instance UIDs of the series that the object lists, those of its study first."""
    studies = [(str(data.get("StudyInstanceUID") or ""), data)]
    for study in data.get("StudiesContainingOtherReferencedInstancesSequence") or ():
        studies.append((str(study.StudyInstanceUID), study))
    found = []
    for uid, holder in studies:
        for series in holder.get("ReferencedSeriesSequence") or ():
            images = series.get("ReferencedInstanceSequence") or ()
            instances = frozenset(str(image.ReferencedSOPInstanceUID) for image in images)
            found.append((uid, str(series.SeriesInstanceUID), instances))
    return found


def _matrix(item: pydicom.Dataset, named: str) -> np.ndarray:
    matrix = np.array([float(value) for value in item.FrameOfReferenceTransformationMatrix]).reshape(4, 4)
    regular = np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:3, :3])) > 1e-9
    if not regular or not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        raise InputError(
            f"{named} has a transformation matrix that is none: its last row is not 0, 0, 0, 1, or it cannot "
            "be inverted.",
            "Export it again.",
            code="dicom-tags",
        )
    kind = str(item.get("FrameOfReferenceTransformationMatrixType") or "").strip().upper()
    if kind not in ("", *TYPES):
        raise _contradiction(
            named, f"has a matrix of the type '{shortened(kind)}', which DICOM does not know"
        )
    products = matrix[:3, :3].T @ matrix[:3, :3]
    lengths = np.sqrt(np.diag(products))
    if kind == "RIGID" and (np.abs(products - np.eye(3)).max() > ROUNDED or np.linalg.det(matrix) < 0):
        raise _contradiction(named, "has a matrix of the type RIGID that scales, shears or mirrors")
    if kind == "RIGID_SCALE" and np.abs(products / np.outer(lengths, lengths) - np.eye(3)).max() > ROUNDED:
        raise _contradiction(named, "has a matrix of the type RIGID_SCALE that shears")
    return matrix


def _contradiction(named: str, says: str) -> InputError:
    return InputError(f"{named} {says}.", "Export it again.", code="dicom-tags")


def _is_identity(matrix: np.ndarray) -> bool:
    corners = FAR * np.vstack([np.eye(3), -np.eye(3)])
    return bool(np.abs(apply_affine(matrix, corners) - corners).max() <= SAME)


def affine(matrix: np.ndarray) -> sitk.AffineTransform:
    """Of a homogeneous matrix (4, 4), LPS mm."""
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix[:3, :3].ravel().tolist())
    affine.SetTranslation(matrix[:3, 3].tolist())
    return affine
