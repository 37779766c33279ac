"""Which DICOM series a path stands for: folders searched to any depth, series listed, one of them chosen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.dicom.frames import Frame
from GLIDERegLib.files.dicom.object_kinds import other_than_scan
from GLIDERegLib.files.dicom.tags import Header, is_file, read_header
from GLIDERegLib.files.dicom.values import DamagedDicom
from GLIDERegLib.files.kinds import kind_of

# Choices: a whole disk searched by mistake would take hours; what a list shows can be read.
MOST_FILES, DEEPEST = 100_000, 40
LISTED = 12
# Names that say a file is DICOM: without DICOM inside, it is a slice that was damaged.
DICOM_NAMES = (".dcm", ".ima", ".dicom")


@dataclass(frozen=True)
class Slice:
    """One image plane of a series."""

    header: Header
    frame: Frame


@dataclass(frozen=True)
class Series:
    """The images of one series, in no order; `chosen` is the file by which the caller asked for it.

    `beside` are single images of other series in the same folders: with a wrong UID, one of these may be a
    slice of this series.
    """

    slices: tuple[Slice, ...]
    chosen: Path | None = None
    beside: tuple[Slice, ...] = ()

    @property
    def headers(self) -> list[Header]:
        return list({item.header.path: item.header for item in self.slices}.values())

    @property
    def uid(self) -> str:
        return self.slices[0].header.texts["SeriesInstanceUID"]

    def describe(self, root: Path) -> str:
        """For a list to choose from: description, slices, date, folder, UID."""
        texts = self.slices[0].header.texts
        return ", ".join(
            part
            for part in (
                f"'{texts['SeriesDescription']}'",
                counted(len(self.slices), "slice"),
                day(texts["StudyDate"] or texts["SeriesDate"] or texts["AcquisitionDate"]),
                where(self.headers, root),
                self.uid,
            )
            if part
        )


def day(date: str) -> str:
    """YYYY-MM-DD of a DICOM date; empty where it is none."""
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) >= 8 and date[:8].isdigit() else ""


def where(headers: list[Header], root: Path) -> str:
    """In which folder below the root files lie; empty for the root itself."""
    folders = sorted({str(header.path.parent.relative_to(root)) for header in headers} - {"."})
    if not folders:
        return ""
    more = f" and {counted(len(folders) - 1, 'more folder')}" if len(folders) > 1 else ""
    return f"in '{folders[0]}'{more}"


def find_series(path: Path, what: str) -> Series:
    """The one series of images below a folder, or the series of one file with its neighbours in the folder.

    A DICOMDIR stands for its folder. Localizers, doses, segmentations and other objects that are no scan, and
    single pictures beside a series do not count. Raises InputError without images, with several series
    (listed), and with damaged files.
    """
    if path.is_dir() or path.name.upper() == "DICOMDIR":
        root = path if path.is_dir() else path.parent
        return _only(root, _series_in(root, what), what)
    try:
        wanted = read_header(path)
    except (DamagedDicom, OSError) as error:
        raise _damaged([path], what) from error
    if wanted is not None and (kind := other_than_scan(wanted.texts)):
        raise InputError(
            f"The DICOM file '{path}' of the {what} is {kind}, no scan",
            "Give the image series.",
            code="dicom-no-scan",
        )
    if wanted is None or wanted.held is None:
        raise InputError(
            f"The DICOM file '{path}' of the {what} holds no image, or is cut off before it",
            "Give a file of the image series.",
            code="dicom-no-image",
        )
    headers = _headers(_files(path.parent, what, deep=False), path.parent, what)
    found = _grouped([*headers, *([wanted] if wanted not in headers else [])])
    for series in found:
        if wanted in series.headers:
            return Series(series.slices, path, _singles(found, series))
    raise AssertionError("the file's own series is among them")


def _files(folder: Path, what: str, deep: bool = True) -> Iterator[Path]:
    """Files in a folder and, where `deep`, below it; a folder reached by two links is searched once."""
    seen: set[tuple[int, int]] = set()
    count = 0
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        try:
            stat = here.stat()
            if (stat.st_dev, stat.st_ino) in seen and stat.st_ino:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            if here == folder:
                raise InputError(
                    f"The folder '{folder}' of the {what} cannot be opened",
                    "Check its permissions.",
                    code="file-damaged",
                ) from error
            continue
        for entry in entries:
            count += 1
            if count > MOST_FILES:
                raise InputError(
                    f"The folder '{folder}' of the {what} holds more than {MOST_FILES} files",
                    "Give the folder of one scan.",
                    code="file-damaged",
                )
            if is_file(entry.path):
                yield Path(entry.path)
            elif deep and depth < DEEPEST and os.path.isdir(entry.path):
                waiting.append((Path(entry.path), depth + 1))


def _series_in(folder: Path, what: str) -> list[Series]:
    files = list(_files(folder, what))
    if not files:
        found = "holds folders only" if any(entry.is_dir() for entry in os.scandir(folder)) else "is empty"
        raise InputError(
            f"The folder '{folder}' of the {what} {found}",
            "Give the folder that holds the DICOM slices.",
            code="file-damaged",
        )
    headers = _headers(files, folder, what)
    series = _grouped(headers)
    others = sorted({kind for header in headers if (kind := other_than_scan(header.texts))})
    if not series and others:
        raise InputError(
            f"The folder '{folder}' of the {what} holds no scan, but {' and '.join(others)}",
            "Give the folder of the image series.",
            code="dicom-no-scan",
        )
    if not series:
        kind = _kind(files[0])
        raise InputError(
            f"The folder '{folder}' of the {what} holds no DICOM images"
            + (f" (the file '{files[0].name}' is {kind})" if kind else ""),
            "Give the folder of the slices.",
            code="file-damaged",
        )
    return series


def _headers(files: Iterable[Path], folder: Path, what: str) -> list[Header]:
    """Headers of the DICOM files; InputError when one is damaged, since it may be a slice."""
    headers, damaged = [], []
    for file in files:
        try:
            header = read_header(file)
        except (DamagedDicom, OSError):
            damaged.append(file)
            continue
        if header is not None:
            headers.append(header)
        elif file.suffix.lower() in DICOM_NAMES and not file.name.startswith("."):
            damaged.append(file)
    if damaged:
        raise _damaged(damaged, what, folder)
    return headers


def _damaged(files: list[Path], what: str, folder: Path | None = None) -> InputError:
    name = files[0].relative_to(folder) if folder else files[0]
    place = f" in the folder '{folder}'" if folder else ""
    kind = _kind(files[0])
    return InputError(
        f"The DICOM file '{name}'{place} of the {what} is {kind or 'damaged or incomplete'}"
        + (f" ({counted(len(files), 'such file')})" if folder and not kind else ""),
        "Take it away, or export the series again." if kind else "Copy or export the series again.",
        code="dicom-damaged",
    )


def _kind(file: Path) -> str:
    """What a file is that is no sound DICOM; empty where that is not known."""
    try:
        kind = kind_of(file)
    except InputError:
        return ""
    if kind == "packed with gzip" and file.name.lower().endswith(".nii.gz"):
        return "NIfTI"
    return "" if kind in (None, "", "a DICOM file", "a file that starts with zeros") else kind


def _grouped(headers: list[Header]) -> list[Series]:
    """The images by series; by study too where one series UID stands for whole series of several studies."""
    groups: dict[str, dict[str, list[Header]]] = {}
    for header in headers:
        if header.held and header.frames and not other_than_scan(header.texts):
            studies = groups.setdefault(header.texts["SeriesInstanceUID"], {})
            studies.setdefault(header.texts["StudyInstanceUID"], []).append(header)
    series = []
    for studies in groups.values():
        parts = [
            [Slice(header, frame) for header in part for frame in header.frames] for part in studies.values()
        ]
        if min(map(len, parts)) == 1:  # a stray slice of another study is a damaged one
            parts = [[item for part in parts for item in part]]
        series += [Series(tuple(part)) for part in parts]
    return series


def _only(root: Path, series: list[Series], what: str) -> Series:
    """The one that can be a volume; where none can, the one there is."""
    volumes = [item for item in series if _may_be_volume(item)]
    if len(volumes) == 1 or (not volumes and len(series) == 1):
        chosen = (volumes or series)[0]
        return Series(chosen.slices, None, _singles(series, chosen))
    found = volumes or series
    if not volumes and len(series) > 2 and max(len(item.slices) for item in series) == 1:
        raise InputError(
            f"The folder '{root}' of the {what} holds {len(series)} DICOM series of one slice each: their "
            "SeriesInstanceUID differs from file to file",
            "Export the scan again as one series.",
            code="dicom-split-series",
        )
    found = sorted(found, key=lambda item: -len(item.slices))
    listed = "; ".join(item.describe(root) for item in found[:LISTED])
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    alike = Counter(item.uid for item in found).most_common(1)[0][1] > 1
    raise InputError(
        f"The folder '{root}' of the {what} holds {len(found)} DICOM series ({listed}{more})"
        + (", some of several studies with one series UID" if alike else ""),
        "Give one file of the wanted series, or its own folder, instead of the folder.",
        code="dicom-series",
        series=[item.describe(root) for item in found],
    )


def _singles(series: list[Series], chosen: Series) -> tuple[Slice, ...]:
    return tuple(item.slices[0] for item in series if len(item.slices) == 1 and item is not chosen)


def _may_be_volume(series: Series) -> bool:
    """At least two grey planes that are no localizer."""
    return sum(not s.header.localizer and s.header.pixels.samples == 1 for s in series.slices) > 1
