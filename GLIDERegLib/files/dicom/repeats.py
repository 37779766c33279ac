"""Several images at one place: copies of one file, or phases, echoes and reconstructions to choose from."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.dicom.decoding import FrameReader
from GLIDERegLib.files.dicom.frames import PHASES, REPEATS
from GLIDERegLib.files.dicom.pixels import check_pixels, is_inverted, measured, stored_values
from GLIDERegLib.files.dicom.scan import LISTED, Slice

# mm and share of the mean spacing: positions are written to two decimals at least, those of a mouse finer.
SAME_PLACE, SAME_SHARE = 0.01, 0.05
# Of the distance between slices: more between two stacks is no step of one stack.
GAP = 1.5


def one_image_a_place(
    slices: list[Slice], normal: np.ndarray, chosen: Path | None, name: str
) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices without copies, those of the chosen file's phase where there are several phases; and
    sentences on images that were there again under other names.

    Raises InputError that lists what tells the images of one place apart.
    """
    slices = _without_copies(slices)
    once = _without_images_sent_again(slices, normal, name)
    if again := len(slices) - len(once):
        told = f"{counted(again, 'image')} of the series came again with the same place and pixels under "
        return once, (f"{told}another SOPInstanceUID: each was read once.",)
    return _one_phase(slices, normal, chosen, name), ()


def _one_phase(slices: list[Slice], normal: np.ndarray, chosen: Path | None, name: str) -> list[Slice]:
    """All slices where no two share a place and no tag tells of phases; else those of the chosen phase."""
    repeated = _repeated(slices, normal)
    groups: dict[str, list[Slice]] = {}
    says = ""
    for key, says_key in REPEATS.items() if repeated is not None else PHASES.items():
        found = _split(slices, partial(_key, key))
        if _tells_apart(found, normal, repeated is not None):
            groups, says = found, says_key
            break
    else:
        if repeated is None:
            return slices
        for says_key, value in (
            ("folder", lambda item: item.header.path.parent.name),
            ("file", lambda item: item.header.path.name),
        ):
            found = _split(slices, value)
            if _tells_apart(found, normal, True):
                groups, says = found, says_key
                break
    if groups and chosen:
        own = [group for group in groups.values() if any(s.header.path == chosen for s in group)]
        if len(own) == 1:
            return own[0]
    place = (
        "" if repeated is None else f"several images at the same place ({repeated:.2f} mm along its normal)"
    )
    if not groups:
        raise InputError(
            f"{name} has {place}, and no single tag tells them apart",
            "Keep one image of each place.",
            code="dicom-repeats",
        )
    listed = [f"{says} '{value}': {counted(len(group), 'slice')}" for value, group in groups.items()]
    more = f"; and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    among = f"{counted(len(groups), 'image')} of the volume, by {says} ({'; '.join(listed[:LISTED])}{more})"
    raise InputError(
        f"{name} has {place}: it holds {among}" if place else f"{name} holds {among}",
        "Export one of them, or give one of its files where each has its own.",
        code="dicom-phases",
        phases=listed,
    )


def _key(key: str, item: Slice) -> str:
    return item.frame.keys.get(key, "")


def _split(slices: list[Slice], value: Callable[[Slice], str]) -> dict[str, list[Slice]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for item in slices:
        groups[value(item)].append(item)
    return {key: groups[key] for key in sorted(groups, key=_as_number)}


def _as_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def _places(slices: list[Slice], normal: np.ndarray) -> np.ndarray:
    return np.sort(np.array([item.frame.position for item in slices], float) @ normal)


def _repeated(slices: list[Slice], normal: np.ndarray) -> float | None:
    """A place (mm along the normal) with several images; None without."""
    places = _places(slices, normal)
    again = np.flatnonzero(np.diff(places) <= _near(places))
    return float(places[again[0]]) if len(again) else None


def _near(places: np.ndarray) -> float:
    """How far apart (mm) images of one place may be, of sorted places."""
    return min(SAME_PLACE, SAME_SHARE * float(places[-1] - places[0]) / len(places))


def _tells_apart(groups: dict[str, list[Slice]], normal: np.ndarray, repeats: bool) -> bool:
    """Whether these are volumes of their own: two slices each, no place twice, and in each other's range or
    with a gap between them.
    """
    if len(groups) < 2 or min(len(group) for group in groups.values()) < 2:
        return False
    if any(_repeated(group, normal) is not None for group in groups.values()):
        return False
    ranges = sorted((float(p[0]), float(p[-1])) for g in groups.values() for p in [_places(g, normal)])
    step = max(float(np.median(np.diff(_places(group, normal)))) for group in groups.values())
    between = [after[0] - before[1] for before, after in zip(ranges, ranges[1:], strict=False)]
    return repeats or min(between) < 0 or max(between) > GAP * step


def _without_copies(slices: list[Slice]) -> list[Slice]:
    """Each file once: another file with the same bytes is a copy."""
    same: dict[tuple[str, int], list[Path]] = defaultdict(list)
    for header in {item.header.path: item.header for item in slices}.values():
        same[header.texts["SOPInstanceUID"], header.path.stat().st_size].append(header.path)
    copies: set[Path] = set()
    for paths in same.values():
        first: dict[str, Path] = {}
        for path in paths if len(paths) > 1 else []:
            if first.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path) != path:
                copies.add(path)
    return [item for item in slices if item.header.path not in copies]


def _without_images_sent_again(slices: list[Slice], normal: np.ndarray, name: str) -> list[Slice]:
    """One image of each place, where all of a place have the same values under other names; else all slices,
    from the first place on that shows two things.
    """
    alone: list[Slice] = []
    reader = FrameReader(name)
    for group in _by_place(slices, normal):
        alone.append(group[0])
        if len(group) == 1:
            continue
        check_pixels(group, name)
        first = _shown(group[0], reader)
        if not all(_same_place(group[0], item) and _shown(item, reader) == first for item in group[1:]):
            return slices
    return alone if len(alone) < len(slices) else slices


def _by_place(slices: list[Slice], normal: np.ndarray) -> list[list[Slice]]:
    """The images in groups of one place along the normal, each in the order given."""
    ordered = sorted(slices, key=lambda item: float(np.dot(item.frame.place.position, normal)))
    places = _places(slices, normal)
    starts = np.flatnonzero(np.diff(places) > _near(places)) + 1
    return [ordered[a:b] for a, b in zip([0, *starts], [*starts, len(ordered)], strict=True)]


def _same_place(first: Slice, item: Slice) -> bool:
    apart = np.subtract(first.frame.place.position, item.frame.place.position)
    return bool(np.abs(apart).max() <= SAME_PLACE)


def _shown(item: Slice, reader: FrameReader) -> tuple[bytes, tuple[int, int] | None]:
    """An image's values in the unit of its tags, as bytes of float64, and what it says was not measured."""
    header, pixels = item.header, item.header.pixels
    stored = stored_values(reader.cells(header, item.frame.index), pixels)
    return measured(stored, pixels, item.frame, is_inverted(header)).astype(float).tobytes(), pixels.padding
