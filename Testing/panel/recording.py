"""Registers a small generated pair by the engine alone, and keeps what a worker would have told.

    python recording.py FOLDER

To be run by a Python that has the engine. FOLDER afterwards holds pair.npz (the scans, where they stand in
the world, their nodules) and told.json (the result event and two previews), beside the files these name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from GLIDERegLib import Grid, Settings, Volume, register
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.worker.child import save_field, save_result

# A part of the chest, so that working voxels of 2 mm take seconds.
SIZE, SPACING_MM, AMPLITUDE_MM = (48, 54, 36), (3.0, 2.7, 3.5), 10.0
SETTINGS = {"name": "default", "features": "local", "spacing": 2.0, "search_range": 16.0, "threads": 1}


def main(folder: Path) -> None:
    phantom = make_phantom(SIZE, SPACING_MM, AMPLITUDE_MM)
    # Both scans lie askew in the world, the moving one a little differently.
    placements = {
        "fixed": rigid((20, -30, 15), (50, -80, 120)),
        "moving": rigid((22, -29, 15), (53, -82, 118)),
    }
    volumes, pair = {}, {"labels": phantom.nodule_labels}
    for role, matrix in placements.items():
        volume, nodules = getattr(phantom, role), getattr(phantom, f"{role}_nodules")
        placed = matrix @ volume.grid.matrix
        directions = tuple((placed[:3, :3] / SPACING_MM).ravel())
        volumes[role] = Volume(volume.array, Grid(SIZE, SPACING_MM, tuple(placed[:3, 3]), directions))
        pair[role], pair[f"{role}_matrix"] = volume.array, placed
        pair[f"{role}_nodules"] = nodules @ matrix[:3, :3].T + matrix[:3, 3]
    np.savez(folder / "pair.npz", **pair)
    previews = []
    settings = Settings.preset(**SETTINGS)
    result = register(volumes["fixed"], volumes["moving"], settings, preview=previews.append)
    told = {
        "previews": [
            save_field(field, folder / f"preview_{number}.npy")
            for number, field in enumerate((previews[0], previews[-1]))
        ],
        "result": save_result(result, folder),
    }
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


def rigid(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> np.ndarray:
    """Turns about x, y and z, and then a shift: 4 x 4."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(4)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[other, one] = np.sin(angle)
        turn[one, other] = -turn[other, one]
        matrix = turn @ matrix
    matrix[:3, 3] = shift_mm
    return matrix


if __name__ == "__main__":
    main(Path(sys.argv[1]))
