"""The files that are read with one: voxels beside their header, slices of a series, transforms of a chain."""

from __future__ import annotations

import re
from pathlib import Path

from GLIDERegLib.core.errors import InputError

# Headers whose voxels may lie in files of their own, and the most of one that is looked at, a choice.
HEADERS, LONGEST_HEADER = (".mhd", ".mha", ".nhdr", ".nrrd"), 1 << 16
NIFTI_PAIR = {".hdr": ".img", ".img": ".hdr"}


def parts_of(path: Path) -> list[Path]:
    """The file itself and all that are read with it, each once, by name.

    Raises InputError where a part is missing, as reading the file does.
    """
    # Imported here: most files need neither.
    from GLIDERegLib.files.dicom.read import is_dicom_file, read_info
    from GLIDERegLib.files.elastix import chain_of, is_elastix

    name = path.name.lower().removesuffix(".gz")
    if name.endswith(HEADERS):
        found = [path, *_named_in(path)]
    elif other := NIFTI_PAIR.get(name[-4:]):
        beside = (name[:-4] + other, f"{name[:-4]}{other}.gz")
        found = [path, *(part for part in path.parent.iterdir() if part.name.lower() in beside)]
    elif name.endswith(".txt") and is_elastix(path.read_text(encoding="utf-8", errors="replace")):
        found = chain_of(path)
    elif is_dicom_file(path):
        try:
            found = [path, *read_info(path).files]
        except InputError:
            # A registration object, or an image alone.
            found = [path]
    else:
        found = [path]
    return sorted(set(found), key=lambda part: (part.name, str(part)))


def _named_in(path: Path) -> list[Path]:
    """Files of a header's folder that its text names, by themselves or by a pattern with a number."""
    with path.open("rb") as stream:
        text = stream.read(LONGEST_HEADER).decode("latin-1")
    patterns = [re.sub(r"%0?\d*d", r"\\d+", re.escape(word)) for word in re.findall(r"\S*%0?\d*d\S*", text)]
    return [
        other
        for other in path.parent.iterdir()
        if other != path
        and other.is_file()
        and (
            re.search(rf"(?<![\w.-]){re.escape(other.name)}(?![\w.-])", text)
            or any(re.fullmatch(pattern, other.name) for pattern in patterns)
        )
    ]
