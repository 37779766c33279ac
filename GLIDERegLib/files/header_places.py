"""Where the voxels of an NRRD or MetaImage file lie: what ITK passes over, and what it takes for granted.

MetaIO's AnatomicalOrientation names the sides the axes come from ("RAI" for LPS); ITK writes it and goes by
TransformMatrix alone, and others write the sides the axes go to.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError, shortened
from GLIDERegLib.files.headers import TWICE, is_nrrd

# Lengths in mm that NRRD's `space units` may name; what SI writes for micro is one of two letters.
MM = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "": 1.0, "???": 1.0}
MM |= {"m": 1e3, "meter": 1e3, "metre": 1e3, "cm": 10.0, "centimeter": 10.0, "nm": 1e-6}
MM |= {"um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3}
# All that MetaIO knows as DistanceUnits.
META_MM = {"": 1.0, "?": 1.0, "um": 1e-3, "mm": 1.0, "cm": 10.0}
# MetaIO's names of one thing each: the latter ones of older files.
META_LENGTHS = ("ElementSpacing", "ElementSize", "Offset", "Position", "Origin")
META_MATRICES = ("TransformMatrix", "Orientation", "Rotation")
# NRRD's spaces in 3-D: those that name the patient's sides, and those that do not; time may come last.
PATIENT = (
    "ras",
    "las",
    "lps",
    "right-anterior-superior",
    "left-anterior-superior",
    "left-posterior-superior",
)
OTHERS = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
# The patient's sides along x, y and z of LPS, where values are negative and positive.
SIDES = ("RL", "AP", "IS")


def unit_in_mm(path: Path, fields: dict[str, str], named: str) -> float:
    """The length in mm that a step of 1 means in the file's spacing and origin; ITK takes all for mm.

    Raises InputError for units that are not known or differ by axis.
    """
    if is_nrrd(path):
        # `units` are those of `spacings` along axes that lie in no space.
        told = fields.get("space units") or fields.get("units", "")
        known, units = MM, [unit.strip() for unit in told.split('"')[1::2]]
    else:
        known, units = META_MM, [fields.get("DistanceUnits", "")]
    found = {known[unit.lower()] for unit in units if unit.lower() in known}
    if len(found) > 1 or any(unit.lower() not in known for unit in units):
        what = "space units" if is_nrrd(path) else "distance units"
        raise InputError(
            f"{named} has the {what} {', '.join(units)}, which are not lengths of one kind known here.",
            "Save it in mm.",
            code="units",
        )
    return found.pop() if found else 1.0


def put_in_mm(image: sitk.Image, unit: float) -> None:
    """Scales the spacing and the origin that ITK has taken for mm."""
    if unit != 1.0:
        image.SetSpacing([unit * length for length in image.GetSpacing()])
        image.SetOrigin([unit * place for place in image.GetOrigin()])


def check_place(path: Path, fields: dict[str, str], named: str) -> None:
    """Raises InputError for an NRRD whose space is unknown, or one of whose axes has no direction, and for a
    MetaImage whose spacing, origin or matrix are not as many numbers as they should be, or are there twice.
    """
    if not is_nrrd(path):
        _check_meta(fields, named)
        return
    space = fields.get("space", "").lower()
    if space and not _known(space, PATIENT + OTHERS):
        raise InputError(
            f"{named} is in the space '{fields['space']}', which NRRD does not know.",
            "Write left-posterior-superior, right-anterior-superior or left-anterior-superior for it.",
            code="space",
        )
    if "nan" in fields.get("space directions", "").lower():
        raise InputError(
            f"{named} gives NaN for the direction of an axis.", "Export it again.", code="geometry"
        )
    if fields.keys() & {"axis maxs", "axismaxs"} and not fields.keys() & {"space directions", "spacings"}:
        raise InputError(
            f"{named} gives its spacing by the ends of its axes alone (axis mins, axis maxs), which is not "
            "read here.",
            "Export it again with space directions.",
            code="geometry",
        )
    vectors = re.findall(r"\([^)]*\)", fields.get("space directions", ""))
    # Three numbers each: the space is 3-D, and so are the axes that are asked for.
    if 0 < len(vectors) < 3 and all(vector.count(",") == 2 for vector in vectors):
        raise InputError(
            f"{named} gives no direction for one of its three axes (space directions: none).",
            "Export it again.",
            code="geometry",
        )
    if _runs_backwards(fields):
        raise InputError(
            f"{named} gives an axis a negative spacing, which readers take for a positive one or for a flip.",
            "Export it again with space directions.",
            code="geometry",
        )


def _runs_backwards(fields: dict[str, str]) -> bool:
    """Whether spacings are negative, or an axis of an NRRD ends (axis maxs) below its begin (axis mins)."""
    spacings, low, high = (_floats(fields.get(name, "")) for name in ("spacings", "axis mins", "axis maxs"))
    ends = zip(low, high, strict=False)
    return any(length < 0 for length in spacings) or any(last < first for first, last in ends)


def _floats(text: str) -> list[float]:
    """The numbers of a field; none where a word is no number."""
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return []


def notes(image: sitk.Image, path: Path, fields: dict[str, str], named: str) -> tuple[str, ...]:
    """What to say of an image that ITK has read: what its header leaves open, contradicts, or asks for in
    vain.
    """
    told = _nrrd_notes(fields, named) if is_nrrd(path) else _meta_notes(image, fields, named)
    return tuple(sentence for sentence in told if sentence)


def _known(space: str, names: tuple[str, ...]) -> bool:
    return space in names or space.removesuffix("-time") in names or (len(space) == 4 and space[:3] in names)


def _nrrd_notes(fields: dict[str, str], named: str) -> list[str]:
    missing = {
        "space (where the patient's left, back and head are)": "LPS" if "space" not in fields else "",
        "spacing": "" if fields.keys() & {"space directions", "spacings"} else "1 mm",
        "origin": "" if _origin_is_known(fields) else "0",
    }
    said = [_assumed(missing, named)]
    space = fields.get("space", "")
    if space and not _known(space.lower(), PATIENT):
        said.append(
            f"{named} is in the space '{space}', which does not say where the patient's left, back and head "
            "are: LPS was assumed."
        )
    if fields.keys() & {"old min", "oldmin", "old max", "oldmax"}:
        said.append(
            f"{named} says that its values were quantised from others (old min, old max); they were taken as "
            "they are."
        )
    return said


def _origin_is_known(fields: dict[str, str]) -> bool:
    """NRRD writes NaN for what is not known, which ITK reads as 0."""
    told = [fields[name] for name in ("space origin", "axis mins", "axis maxs") if name in fields]
    return bool(told) and not any("nan" in text.lower() for text in told)


def _check_meta(fields: dict[str, str], named: str) -> None:
    kind = fields.get("ObjectType", "Image")
    if kind.lower() != "image":
        raise InputError(f"{named} holds a {kind} of MetaIO, no image.", "Give an image.", code="file-kind")
    if TWICE in fields:
        raise InputError(
            f"{named} says {fields[TWICE]} twice, and not the same.", "Mend its header.", code="geometry"
        )
    axes = len(fields["DimSize"].split())
    for names, count in ((META_LENGTHS, axes), (META_MATRICES, axes * axes)):
        for name in names:
            if name in fields and not _are_numbers(fields[name], count):
                raise InputError(
                    f"{named} has '{shortened(fields[name])}' as {name}, which is not "
                    f"{counted(count, 'number')}.",
                    "Mend its header.",
                    code="geometry",
                )
    for names in (META_LENGTHS[2:], META_MATRICES):
        there = [name for name in names if name in fields]
        if len({tuple(_floats(fields[name])) for name in there}) > 1:
            raise InputError(
                f"{named} has {' and '.join(there)}, which mean one thing, and not the same values.",
                "Mend its header.",
                code="geometry",
            )
    if any(length < 0 for length in _floats(fields.get("ElementSpacing", fields.get("ElementSize", "")))):
        raise InputError(
            f"{named} gives an axis a negative spacing, which readers take for a positive one or for a flip.",
            "Export it again with a TransformMatrix.",
            code="geometry",
        )


def _are_numbers(text: str, count: int) -> bool:
    try:
        return len(text.split()) == count and bool(np.isfinite([float(word) for word in text.split()]).all())
    except ValueError:
        return False


def _meta_notes(image: sitk.Image, fields: dict[str, str], named: str) -> list[str]:
    missing = {
        "spacing": "" if fields.keys() & set(META_LENGTHS[:2]) else "1 mm",
        "origin": "" if fields.keys() & set(META_LENGTHS[2:]) else "0",
    }
    said = [_assumed(missing, named), _orientation_note(image, fields, named)]
    slope, offset = (fields.get(f"ElementToIntensityFunction{part}", "") for part in ("Slope", "Offset"))
    if _differs(slope, 1.0) or _differs(offset, 0.0):
        said.append(
            f"{named} asks for its values times {slope or 1} plus {offset or 0} "
            "(ElementToIntensityFunction), which other programs pass over; they were taken as they are."
        )
    return said


def _differs(text: str, usual: float) -> bool:
    try:
        return bool(text) and float(text) != usual
    except ValueError:
        return True


def _assumed(missing: dict[str, str], named: str) -> str:
    left = {what: value for what, value in missing.items() if value}
    if not left:
        return ""
    return f"{named} does not say its {_listed(left)}; assumed: {_listed(left.values())}."


def _listed(words) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _orientation_note(image: sitk.Image, fields: dict[str, str], named: str) -> str:
    letters = fields.get("AnatomicalOrientation", "").upper()
    axes = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:3, :3]
    order = np.abs(axes).argmax(axis=0)
    # "???" and oblique axes of which two lie nearest to one of the patient's say nothing.
    if not re.fullmatch("[RLAPIS]{3}", letters) or len(set(order)) < 3:
        return ""
    signs = axes[order, range(3)] > 0
    come = "".join(SIDES[axis][0 if up else 1] for axis, up in zip(order, signs, strict=True))
    go = "".join(SIDES[axis][1 if up else 0] for axis, up in zip(order, signs, strict=True))
    if letters in (come, go):
        return ""
    if fields.keys() & set(META_MATRICES):
        return (
            f"{named} contradicts itself: its axes come from {letters} by AnatomicalOrientation, and from "
            f"{come} by TransformMatrix, which was taken, as ITK and 3D Slicer do."
        )
    return (
        f"{named} says in AnatomicalOrientation that its axes come from {letters}, and has no "
        f"TransformMatrix; it was put as if they came from {come}, as ITK and 3D Slicer do."
    )
