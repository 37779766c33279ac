"""Transforms as elastix writes them (TransformParameters.N.txt), with the chain of those before.

The map is fixed to moving, LPS mm. Parameters and their order: elastix 5 manual, section 2.6, and the
ReadFromFile methods of its transforms; grid directions are stored column by column.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.text_transforms import article

FIELD = re.compile(r"^\s*\((\w+)\s+(.*?)\)\s*(?://.*)?$", re.MULTILINE)
NONE = ("", "NoInitialTransform")
# Of initial transforms, a choice: a longer one is a circle.
LONGEST_CHAIN = 20


def is_elastix(text: str) -> bool:
    """True for the text of an elastix parameter file."""
    return re.search(r"^\s*\(Transform\s+\"", text, re.MULTILINE) is not None


def read_elastix(path: Path) -> sitk.Transform:
    """The transform of an elastix parameter file together with its initial transforms.

    Read are translations, Euler, similarity and affine transforms and B-splines that are composed. Raises
    InputError, naming elastix and the reason, for all others.
    """
    chain = [_transform(part, _fields(part)) for part in chain_of(path)]
    # SimpleITK applies the last of a composite first.
    return chain[0] if len(chain) == 1 else sitk.CompositeTransform(chain)


def chain_of(path: Path) -> list[Path]:
    """The file and those of its initial transforms, from the last that is applied to the first.

    Raises InputError where one is missing, is added instead of composed, or the chain does not end.
    """
    seen: list[Path] = []
    while True:
        if any(path.samefile(part) for part in seen) or len(seen) == LONGEST_CHAIN:
            raise _refused(path, "its chain of initial transforms does not end")
        seen.append(path)
        fields = _fields(path)
        initial = _first(fields, "InitialTransformParametersFileName", "")
        initial = initial or _first(fields, "InitialTransformParameterFileName", "")
        if initial in NONE:
            return seen
        if _first(fields, "HowToCombineTransforms", "Compose") != "Compose":
            raise _refused(path, "it adds transforms instead of composing them")
        path = _initial(path, initial)


def _initial(path: Path, named: str) -> Path:
    """The file of a transform's initial transform: where its name says, from the working folder or from the
    transform's own, or beside the transform.
    """
    told = Path(named.replace("\\", "/"))
    found = {p.resolve(): p for p in (told, path.parent / told, path.parent / told.name) if p.is_file()}
    if not found:
        raise _refused(path, f"its initial transform '{named}' is not there")
    if len({p.read_bytes() for p in found.values()}) > 1:
        raise _refused(path, f"several files differ that its initial transform '{named}' may be")
    before = next(iter(found.values()))
    if not is_elastix(before.read_text(encoding="utf-8", errors="replace")):
        raise _refused(path, f"its initial transform '{named}' is no transform of elastix")
    return before


def _transform(path: Path, fields: dict[str, list[str]]) -> sitk.Transform:
    name = _first(fields, "Transform", "")
    if (
        _first(fields, "FixedImageDimension", "3") != "3"
        or _first(fields, "MovingImageDimension", "3") != "3"
    ):
        raise _refused(path, "it is not 3-D")
    if _first(fields, "UseBinaryFormatForTransformationParameters", "false") == "true":
        raise _refused(path, "its parameters lie in a binary file")
    if "TransformParameters" not in fields and fields.keys() & {"Metric", "Registration", "Optimizer"}:
        raise _refused(path, "it asks for a registration and holds no result of one")
    parameters = _numbers(path, fields, "TransformParameters")
    told = _first(fields, "NumberOfParameters", str(len(parameters)))
    if told != str(len(parameters)):
        raise _refused(path, f"it holds {counted(len(parameters), 'parameter')} instead of {told}")
    cosines = _first(fields, "UseDirectionCosines", "true") == "true"
    if (
        not cosines
        and _numbers(path, fields, "Direction", [1, 0, 0, 0, 1, 0, 0, 0, 1]) != np.eye(3).ravel().tolist()
    ):
        raise _refused(path, "it left the image's direction out (UseDirectionCosines is false)")
    transform: sitk.Euler3DTransform | sitk.Similarity3DTransform | sitk.AffineTransform
    match name:
        case "TranslationTransform":
            return _filled(path, sitk.TranslationTransform(3), parameters)
        case "EulerTransform":
            euler = transform = sitk.Euler3DTransform()
            euler.SetComputeZYX(_first(fields, "ComputeZYX", "false") == "true")
        case "SimilarityTransform":
            transform = sitk.Similarity3DTransform()
        case "AffineTransform":
            transform = sitk.AffineTransform(3)
        case "BSplineTransform" | "RecursiveBSplineTransform":
            return _bspline(path, fields, parameters)
        case _:
            raise _refused(path, f"it holds {article(name)} {name}, which is not read here")
    if "CenterOfRotationPoint" not in fields:
        raise _refused(path, f"its {name} has no CenterOfRotationPoint")
    transform.SetCenter(_numbers(path, fields, "CenterOfRotationPoint", count=3))
    return _filled(path, transform, parameters)


def _bspline(path: Path, fields: dict[str, list[str]], parameters: list[float]) -> sitk.Transform:
    if _first(fields, "UseCyclicTransform", "false") == "true":
        raise _refused(path, "its B-spline is cyclic")
    if any(_numbers(path, fields, "GridIndex", [0, 0, 0], 3)):
        raise _refused(path, "its B-spline grid does not start at index 0")
    order = int(float(_first(fields, "BSplineTransformSplineOrder", "3")))
    size = [int(n) for n in _numbers(path, fields, "GridSize", count=3)]
    if (
        order not in (1, 2, 3)
        or min(size) <= order
        or 3 * int(np.prod(size, dtype=object)) != len(parameters)
    ):
        raise _refused(path, "its B-spline's order, grid and parameters do not fit together")
    direction = np.reshape(_numbers(path, fields, "GridDirection", np.eye(3).ravel().tolist(), 9), (3, 3)).T
    images = []
    for values in np.reshape(parameters, (3, *size[::-1])):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(_numbers(path, fields, "GridSpacing", count=3))
        image.SetOrigin(_numbers(path, fields, "GridOrigin", count=3))
        image.SetDirection(direction.ravel().tolist())
        images.append(image)
    try:
        return sitk.BSplineTransform(images, order)
    except RuntimeError as error:
        raise _refused(path, "its B-spline grid cannot be used") from error


def _filled(path: Path, transform: sitk.Transform, parameters: list[float]) -> sitk.Transform:
    if len(parameters) != transform.GetNumberOfParameters():
        raise _refused(
            path,
            f"it holds {counted(len(parameters), 'parameter')} instead of "
            f"{transform.GetNumberOfParameters()}",
        )
    transform.SetParameters(parameters)
    return transform


def _fields(path: Path) -> dict[str, list[str]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    values = re.compile(r'"([^"]*)"|([^\s"]+)')
    return {key: [a or b for a, b in values.findall(value)] for key, value in FIELD.findall(text)}


def _first(fields: dict[str, list[str]], key: str, default: str) -> str:
    values = fields.get(key)
    return values[0] if values else default


def _numbers(
    path: Path,
    fields: dict[str, list[str]],
    key: str,
    default: list[float] | None = None,
    count: int | None = None,
) -> list[float]:
    try:
        numbers = [float(value) for value in fields[key]] if key in fields or default is None else default
    except (KeyError, ValueError):
        raise _refused(path, f"{key} is missing or holds something else than numbers") from None
    if not np.isfinite(numbers).all() or (count is not None and len(numbers) != count):
        raise _refused(path, f"{key} is not {count or 'a list of'} finite numbers")
    return numbers


def _refused(path: Path, reason: str) -> InputError:
    return InputError(
        f"The transform '{path}' holds elastix's own parameters, and {reason}.",
        "Let elastix or transformix write an ITK transform or a deformation field.",
        code="elastix",
        reason=reason,
    )
