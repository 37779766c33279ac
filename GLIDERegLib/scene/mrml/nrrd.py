"""Voxels to an uncompressed NRRD file, as fast as the disk takes them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from os import PathLike

import numpy as np

from GLIDERegLib.core.errors import InputError

TYPES = {"float32": "float", "float64": "double"}


def writeNrrd(
    array: np.ndarray, grid: dict, path: str | PathLike, keys: Mapping[str, str] | None = None
) -> None:
    """Writes an array (z, y, x), or layers (z, y, x, n), with its LPS grid (see `scene.geometry`); the voxels
    are not copied. keys: what else the header tells.

    Raises InputError when the file cannot be written.
    """
    columns = (np.reshape(grid["direction"], (3, 3)) * grid["spacing"]).T
    vectors = [f"({','.join(repr(float(x)) for x in v)})" for v in (*columns, grid["origin"])]
    layers = array.shape[3:]
    header = [
        "NRRD0004",
        f"type: {TYPES.get(array.dtype.name, array.dtype.name)}",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in (*layers, *grid['size']))}",
        f"space directions: {' '.join([*['none'] * len(layers), *vectors[:3]])}",
        f"kinds: {' '.join([*['list'] * len(layers), 'domain domain domain'])}",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {vectors[3]}",
        *(f"{key}:={value}" for key, value in (keys or {}).items()),
    ]
    try:
        with open(path, "wb") as file:
            file.write("\n".join([*header, "\n"]).encode())
            file.write(np.ascontiguousarray(array))
    except OSError as error:
        raise InputError(
            f"Cannot write the temporary file '{path}' ({error.strerror}).",
            "Free space on that disk.",
            code="disk-full",
        ) from None
