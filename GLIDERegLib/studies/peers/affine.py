"""The affine method's process: python -m GLIDERegLib.studies.peers.affine FIXED MOVING OUTPUT [MASKS]."""

from __future__ import annotations

import sys
from pathlib import Path

from GLIDERegLib.files.transforms import write_transform
from GLIDERegLib.files.volumes import read_mask, read_volume
from GLIDERegLib.registration.prealign import prealign


def run(fixed_path: str, moving_path: str, output: str, fixed_mask: str = "", moving_mask: str = "") -> None:
    """Writes the affine transform from fixed to moving points (LPS mm); an empty mask is none."""
    fixed, moving = read_volume(fixed_path, "fixed"), read_volume(moving_path, "moving")
    masks = [
        read_mask(path, volume.grid, role) if path else None
        for path, volume, role in ((fixed_mask, fixed, "fixed"), (moving_mask, moving, "moving"))
    ]
    write_transform(prealign(fixed, moving, "affine", *masks), Path(output))


if __name__ == "__main__":
    run(*sys.argv[1:])
