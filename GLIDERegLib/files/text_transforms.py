"""ITK's transforms in text and in MATLAB's files: ITK reads one that was cut off as another, silently."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError, shortened

PARTS = ("Parameters", "FixedParameters")
# How many parameters and fixed parameters ITK's 3-D transforms have. ITK asks nobody: further ones are passed
# over, and where one is missing it reads, or writes, beyond the end of its memory.
COUNTS = {
    "AffineTransform": (12, 3),
    "MatrixOffsetTransformBase": (12, 3),
    "Euler3DTransform": (6, 4),
    "QuaternionRigidTransform": (7, 3),
    "VersorTransform": (3, 3),
    "VersorRigid3DTransform": (6, 3),
    "Similarity3DTransform": (7, 3),
    "ScaleTransform": (3, 3),
    "ScaleLogarithmicTransform": (3, 3),
    "ScaleVersor3DTransform": (9, 3),
    "ScaleSkewVersor3DTransform": (15, 3),
    "TranslationTransform": (3, 0),
    "IdentityTransform": (0, 0),
}
# A field's size, origin, spacing and direction.
FIELDS, FIELDS_FIXED = ("BSplineTransform", "DisplacementFieldTransform"), 18


def check_counts(path: Path) -> None:
    """Raises InputError where a transform of a file in text or of MATLAB's has more or fewer numbers than its
    kind; to be called before ITK reads it.
    """
    if path.suffix.lower() == ".mat":
        found = check_matlab(path)
        told = [
            (kind, parameters, fixed)
            for (kind, parameters), (_, fixed) in zip(found[::2], found[1::2], strict=True)
        ]
        for kind, parameters, fixed in told:
            _refuse_count(path, kind, parameters, fixed)
        return
    for block in _blocks(path.read_text(encoding="utf-8", errors="replace")):
        given = [block.get(part) for part in PARTS]
        if block["Transform"][0].startswith("Composite"):
            continue
        if given[0] is None or given[1] is None:
            raise _cut_off(path)
        _refuse_count(path, block["Transform"][0], len(given[0]), len(given[1]), given[1][:3])


def _refuse_count(
    path: Path, kind: str, parameters: int, fixed: int, size: Sequence[str | float] = ()
) -> None:
    name = re.sub(r"_(double|float)_3_3$", "", kind)
    if name in FIELDS and size:
        try:
            wanted = (3 * math.prod(int(float(n)) for n in size), FIELDS_FIXED)
        except (ValueError, OverflowError):
            raise _cut_off(path) from None
    elif name in COUNTS:
        wanted = COUNTS[name]
    else:
        return
    for says, there, due in zip(("parameter", "fixed parameter"), (parameters, fixed), wanted, strict=True):
        # Euler's fourth fixed parameter is of ITK 4.10 and later.
        if there != due and not (due == 4 and there == 3):
            raise InputError(
                f"The transform '{path}' holds {counted(there, says)}, where {article(name)} {name} has "
                f"{due}.",
                "Copy or compute it again.",
                code="file-incomplete" if there < due else "transform",
            )


def article(name: str) -> str:
    """The article before a transform's name."""
    return "an" if name[0] in "AEIOU" else "a"


def check_text(path: Path, transform: sitk.Transform) -> None:
    """Raises InputError where the file lacks a number of the transform that ITK has read from it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    told = [block for block in _blocks(text) if not block["Transform"][0].startswith("Composite")]
    read = _elementary(transform)
    if text.rstrip() and not text.endswith("\n"):
        # A number that was cut within its digits is another number.
        raise InputError(
            f"The transform '{path}' does not end with a line break, so that its last number may be cut off.",
            "Copy it again, or end its last line.",
            code="file-incomplete",
        )
    whole = 0 < len(told) == len(read)
    whole &= len(re.findall(r"(?m)^#\s*Transform\s+\d+\s*$", text)) in (0, len(_blocks(text)))
    for block, part in zip(told, read, strict=False):
        wanted = dict(zip(PARTS, (part.GetParameters(), part.GetFixedParameters()), strict=True))
        for name, values in wanted.items():
            given = block.get(name)
            # Euler's fourth fixed parameter is of ITK 4.10 and later.
            fewest = 3 if name == "FixedParameters" and len(values) == 4 else len(values)
            whole &= given is not None and fewest <= len(given) and bool(values or not given)
    if not whole:
        raise _cut_off(path)
    for block, part in zip(told, read, strict=True):
        given, taken = block["Parameters"], part.GetParameters()
        if not _alike(given, taken):
            raise InputError(
                f"The transform '{path}' holds numbers that are no {block['Transform'][0]}: ITK takes "
                "others for them.",
                "Compute it again.",
                code="transform",
            )


def text_kind(path: Path) -> str:
    """What a text file says its first transform is; empty for other files."""
    if path.suffix.lower() not in (".tfm", ".txt"):
        return ""
    blocks = _blocks(path.read_text(encoding="utf-8", errors="replace"))
    return shortened(blocks[0]["Transform"][0]) if blocks else ""


def _alike(given: list[str], taken: Sequence[float]) -> bool:
    """Whether numbers of a file are those of a transform, but for the rounding of float32."""
    try:
        numbers = np.array([float(word) for word in given])
    except ValueError:
        return False
    return np.allclose(numbers, taken, rtol=1e-5, atol=1e-5)


def check_matlab(path: Path) -> list[tuple[str, int]]:
    """The matrices of a file (MATLAB's level 4: a head of five int32, a name, numbers), names and counts.

    Raises InputError unless it ends with a matrix's last number, and parameters and fixed parameters stand in
    it by turns.
    """
    content, place = path.read_bytes(), 0
    matrices: list[tuple[str, int]] = []
    while place < len(content):
        if place + 20 > len(content):
            raise _cut_off(path)
        kind, rows, columns, _, name = struct.unpack_from("<5i", content, place)
        if min(rows, columns, name) < 0 or kind not in (0, 10):
            raise _cut_off(path)
        said = content[place + 20 : place + 20 + name].rstrip(b"\0").decode("ascii", "replace")
        matrices.append((said, rows * columns))
        place += 20 + name + rows * columns * (8 if kind == 0 else 4)
    if place != len(content) or not matrices or len(matrices) % 2:
        raise _cut_off(path)
    return matrices


def _cut_off(path: Path) -> InputError:
    return InputError(
        f"The transform '{path}' is damaged or incomplete: it ends before all of its numbers.",
        "Copy or export it again.",
        code="file-incomplete",
    )


def _blocks(text: str) -> list[dict[str, list[str]]]:
    """What stands after each name of each transform, as words."""
    blocks: list[dict[str, list[str]]] = []
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        if colon and name.strip() == "Transform":
            blocks.append({"Transform": rest.split() or [""]})
        elif colon and blocks:
            blocks[-1][name.strip()] = rest.split()
    return blocks


def _elementary(transform: sitk.Transform) -> list[sitk.Transform]:
    """The transform's elementary parts in the order of a file."""
    transform = transform.Downcast()
    if not isinstance(transform, sitk.CompositeTransform):
        return [transform]
    parts = [transform.GetNthTransform(n).Downcast() for n in range(transform.GetNumberOfTransforms())]
    if len(parts) == 1 and isinstance(parts[0], sitk.CompositeTransform):
        return parts  # MatrixOffsetTransformBase, which SimpleITK shows as a composite of itself
    return [part for one in parts for part in _elementary(one)]
