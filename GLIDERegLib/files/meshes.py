"""Surfaces with a value at each point, as VTK's legacy files, which need no VTK to be written."""

from __future__ import annotations

from os import PathLike

import numpy as np

from GLIDERegLib.core.errors import system_refusals
from GLIDERegLib.files.outputs import whole_file


@system_refusals()
def write_mesh(
    points: np.ndarray, faces: np.ndarray, values: np.ndarray, name: str, path: str | PathLike
) -> None:
    """Writes points (N, 3), LPS mm, faces (M, corners) and values (N), float32, called `name`.

    Raises InputError where the file cannot be written.
    """
    corners = faces.shape[1]
    polygons = np.column_stack([np.full(len(faces), corners), faces])
    parts = (
        "# vtk DataFile Version 3.0\nGLIDE-Reg;SPACE=LPS\nBINARY\nDATASET POLYDATA\n",
        f"POINTS {len(points)} float\n",
        points.astype(">f4").tobytes(),
        f"\nPOLYGONS {len(faces)} {polygons.size}\n",
        polygons.astype(">i4").tobytes(),
        f"\nPOINT_DATA {len(points)}\nSCALARS {name} float 1\nLOOKUP_TABLE default\n",
        values.astype(">f4").tobytes(),
        "\n",
    )
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part.encode() if isinstance(part, str) else part)
