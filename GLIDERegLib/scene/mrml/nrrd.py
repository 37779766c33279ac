"""Voxels to an uncompressed NRRD file, as fast as the disk takes them."""

from __future__ import annotations

import sys
from os import PathLike

import numpy as np

from GLIDERegLib.core.errors import InputError

TYPES = {"float32": "float", "float64": "double"}


def writeNrrd(array: np.ndarray, grid: dict, path: str | PathLike) -> None:
    """Writes an array (z, y, x) with its LPS grid (see `scene.geometry`); the voxels are not copied.

    Raises InputError when the file cannot be written.
    """
    columns = (np.reshape(grid["direction"], (3, 3)) * grid["spacing"]).T
    vectors = [f"({','.join(repr(float(x)) for x in v)})" for v in (*columns, grid["origin"])]
    header = [
        "NRRD0004",
        f"type: {TYPES.get(array.dtype.name, array.dtype.name)}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in grid['size'])}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {vectors[3]}",
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
