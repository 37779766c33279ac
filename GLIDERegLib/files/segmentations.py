"""Segmentations: label maps, and 3D Slicer's .seg.nrrd with its names, colours and overlapping segments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError, shortened, system_refusals
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.header_places import check_place, put_in_mm, unit_in_mm
from GLIDERegLib.files.headers import check_data, read_header
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.kinds import refuse_mistaken
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.volumes import WRITABLE, as_labels, read_volume

SLICER = ".seg.nrrd"
# Of NRRD's kinds of axes, those of colours.
COLOUR = {"rgb-color", "rgba-color", "hsv-color", "xyz-color", "3-color", "4-color"}
KEY = re.compile(r"Segment(\d+)_(\w+)")


@dataclass(frozen=True)
class Segment:
    """One structure: the label it has in which layer, and what else its file says of it (colour, tags)."""

    name: str
    label: int
    layer: int = 0
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Segmentation:
    """Layers of whole numbers (z, y, x), one where no segments overlap, their grid (LPS mm), the segments."""

    layers: tuple[np.ndarray, ...]
    grid: Grid
    segments: tuple[Segment, ...]

    def mask(self, segment: Segment) -> np.ndarray:
        """Bool (z, y, x)."""
        return self.layers[segment.layer] == segment.label

    def masks(self) -> Iterator[tuple[Segment, np.ndarray]]:
        """Each segment with its voxels, bool (z, y, x)."""
        for segment in self.segments:
            yield segment, self.mask(segment)


@system_refusals()
def read_segmentation(path: str | PathLike, role: str = "fixed") -> Segmentation:
    """Reads a label map (whole numbers; 0 is no label) or a .seg.nrrd; labels without a name are "label 3".

    Raises InputError for what cannot be read, holds no label, or holds values that are not whole numbers.
    """
    path = Path(path)
    named = f"The {role} segmentation '{path}'"
    if not path.exists():
        raise InputError(f"{named} does not exist.", "Check the path.", code="file-missing")
    details: dict[int, dict[str, str]] = {}
    if path.name.lower().endswith((".nrrd", ".nhdr")):
        refuse_mistaken(path, named)
        fields = read_header(path)
        check_data(path, fields, named)
        check_place(path, fields, named)
        failure = f"{named} cannot be read; the file is damaged or not of the type its name says."
        with itk_calls(failure, named=named):
            image = sitk.ReadImage(str(path))
        put_in_mm(image, unit_in_mm(path, fields, named))
        if COLOUR & {kind.lower() for kind in fields.get("kinds", "").split()}:
            raise InputError(f"{named} is a picture in colour.", "Give a label map.", code="values")
        if "fractional" in fields.get("segmentation_masterrepresentation", "").lower():
            raise InputError(
                f"{named} holds shares of voxels (a fractional label map), which are not read here.",
                "Save it as a binary label map.",
                code="values",
            )
        if image.GetDimension() != 3:
            raise InputError(f"{named} is no 3-D segmentation.", "Give a label map.", code="file-kind")
        array = sitk.GetArrayFromImage(image)
        layers = [array] if array.ndim == 3 else [array[..., n] for n in range(array.shape[-1])]
        grid = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        for key in image.GetMetaDataKeys():
            if match := KEY.fullmatch(key):
                details.setdefault(int(match[1]), {})[match[2]] = image.GetMetaData(key)
    else:
        volume = read_volume(path, role)
        layers, grid = [volume.array], volume.grid
    whole = tuple(as_labels(array, named) for array in layers)
    segments = tuple(_segments(whole, details, named))
    if not segments:
        raise InputError(f"{named} is empty.", "Give one with structures in it.", code="empty")
    return Segmentation(whole, grid, segments)


def write_segmentation(segmentation: Segmentation, path: str | PathLike) -> None:
    """Writes a label map (.nii.gz, .nrrd, .mha) or, with names, colours and overlaps, a .seg.nrrd.

    Raises InputError for overlapping segments in a label map, another type of file, and a failed write.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(WRITABLE):
        raise InputError(
            f"Cannot write '{path}'.", f"Name it {SLICER}, .nii.gz, .nrrd or .mha.", code="cannot-write"
        )
    if len(segmentation.layers) > 1 and not name.endswith(SLICER):
        raise InputError(
            f"Cannot write '{path}': segments overlap, which a label map does not hold.",
            f"Name it {SLICER}.",
            code="overlap",
        )
    highest = max((int(layer.max()) for layer in segmentation.layers), default=0)
    lowest = min((int(layer.min()) for layer in segmentation.layers), default=0)
    kind = (
        np.int32 if lowest < 0 else np.uint8 if highest < 256 else np.uint16 if highest < 65536 else np.int32
    )
    several = len(segmentation.layers) > 1
    array = np.stack(segmentation.layers, -1) if several else segmentation.layers[0]
    image = sitk.GetImageFromArray(array.astype(kind), isVector=several)
    grid = segmentation.grid
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    if name.endswith(SLICER):
        for key, value in _keys(segmentation).items():
            image.SetMetaData(key, value)
    failure = f"Cannot write '{path}': check that the disk has space and the folder can be written."
    with whole_file(path) as temporary:
        with itk_calls(failure):
            sitk.WriteImage(image, str(temporary), useCompression=True)
        if several:
            # Slicer takes layers for a list; ITK calls them a vector.
            header, voxels = temporary.read_bytes().split(b"\n\n", 1)
            header = header.replace(b"kinds: vector ", b"kinds: list ")
            temporary.write_bytes(header + b"\n\n" + voxels)


def _segments(
    layers: tuple[np.ndarray, ...], details: dict[int, dict[str, str]], named: str
) -> Iterator[Segment]:
    """Those the file names, empty ones too, then the labels it does not name. Raises InputError where a name
    has no place of its own in the file.
    """
    known = set()
    # Slicer up to 4.10 says neither, and keeps each segment in a layer of its own.
    older = not any(values.keys() & {"LabelValue", "Layer"} for values in details.values())
    for number in sorted(details):
        values = dict(details[number])
        told = values.pop("LabelValue", "1" if older else str(number + 1))
        where = values.pop("Layer", str(number) if older else "0")
        try:
            label, layer = int(told), int(where)
        except ValueError:
            label, layer = 0, -1
        name = values.pop("Name", f"label {label}")
        if not 0 <= layer < len(layers) or not 0 < label < 2**31 or (label, layer) in known:
            raise InputError(
                f"{named} has no voxels of its own for the segment '{shortened(name)}' (label "
                f"'{shortened(told)}' of layer '{shortened(where)}').",
                "Save it again.",
                code="segmentation",
            )
        values.pop("Extent", None)
        known.add((label, layer))
        yield Segment(name, label, layer, values)
    for layer, array in enumerate(layers):
        for label in np.unique(array):
            if label != 0 and (int(label), layer) not in known:
                yield Segment(f"label {label}", int(label), layer)


def _keys(segmentation: Segmentation) -> dict[str, str]:
    keys = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, (segment, mask) in enumerate(segmentation.masks()):
        extent = "0 -1 0 -1 0 -1"
        if mask.any():
            ends = [np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
            extent = " ".join(f"{found[0]} {found[-1]}" for found in ends)
        values = {
            "ID": f"Segment_{number + 1}",
            **segment.details,
            "Name": segment.name,
            "LabelValue": str(segment.label),
            "Layer": str(segment.layer),
            "Extent": extent,
        }
        keys |= {f"Segment{number}_{key}": value for key, value in values.items()}
    return keys
