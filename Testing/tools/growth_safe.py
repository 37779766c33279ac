"""Whether a warp keeps the size of nodules that grew since the moving scan, with and without `fixed_nodules`.

    python Testing/tools/growth_safe.py --growth 1.0 --spacing 2 --preset default

A phantom of breathing lungs whose nodules are rigid and grew. For every nodule: its true volume in both
scans; what of the fixed space the field carries into the moving nodule (the volume that a warp gives it), by
sampling; and what `measure_nodule` reads in the warped scan. Then the landmarks' mean error.
"""

from __future__ import annotations

import argparse

import numpy as np

import GLIDERegLib as glidereg
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.evaluation.growth import sphere_volume
from GLIDERegLib.evaluation.measuring import measure_nodule
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.evaluation.thorax import Thorax

# Points by which a warped ball is counted.
STEP_MM = 0.4


def warped_volume(transform_points, fixed_mm, moving_mm, radius_mm: float) -> float:
    """Volume in mm3 of what a transform (N, 3) -> (N, 3) carries into a ball around moving_mm."""
    reach = np.arange(-2.2 * radius_mm - 2, 2.2 * radius_mm + 2, STEP_MM)
    points = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3) + fixed_mm
    inside = np.linalg.norm(transform_points(points) - moving_mm, axis=1) <= radius_mm
    return float(inside.sum() * STEP_MM**3)


def read(volume, point) -> float:
    found = measure_nodule(volume, point)
    return found.volume_mm3 if found.measured else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--growth", type=float, default=1.0, help="of the volume, as a share")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxels, mm")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size = tuple(int(mm / options.spacing) for mm in (384, 384, 320))
    pair = make_phantom(size, (options.spacing,) * 3, seed=options.seed, nodule_growth=options.growth)
    numbers = [int(label.split()[1]) - 1 for label in pair.nodule_labels]
    radii = Thorax(options.seed).nodule_radii[numbers]
    settings = Settings.preset(options.preset, features="local", seed=0)
    columns = {}
    for name, nodules in (
        ("without", {}),
        ("kept", {"fixed_nodules": pair.fixed_nodules, "moving_nodules": pair.moving_nodules}),
    ):
        result = glidereg.register(pair.fixed, pair.moving, settings, **nodules)
        to_moving = result.displacement.transform_points
        error = np.linalg.norm(to_moving(pair.fixed_landmarks) - pair.moving_landmarks, axis=1)
        centre = np.linalg.norm(to_moving(pair.fixed_nodules) - pair.moving_nodules, axis=1)
        print(f"{name}: landmarks {error.mean():.3f} mm, nodule centres {centre.mean():.2f} mm")
        rows = []
        for fixed, moving, radius in zip(pair.fixed_nodules, pair.moving_nodules, radii, strict=True):
            earlier = radius / (1 + options.growth) ** (1 / 3)
            # The size is asked for where the field puts the nodule, not whether that is the right place.
            there = fixed if name == "without" else fixed + moving - to_moving(fixed[None])[0]
            middle = to_moving(there[None])[0]
            warped = warped_volume(to_moving, there, middle, earlier)
            rows.append((warped / sphere_volume(2 * earlier), read(result.warped, there)))
        columns[name] = rows
    print(
        "| diameter, current mm | prior mm³ | field without: warped/prior | read in the warped scan "
        "| kept: warped/prior | read | read in the prior |"
    )
    print("|" + "---|" * 7)
    for n, radius in enumerate(radii):
        earlier = 2 * radius / (1 + options.growth) ** (1 / 3)
        cells = [f"{2 * radius:.1f}", f"{sphere_volume(earlier):.0f}"]
        for name in ("without", "kept"):
            cells += [f"{columns[name][n][0]:.2f}", f"{columns[name][n][1]:.0f}"]
        cells.append(f"{read(pair.moving, pair.moving_nodules[n]):.0f}")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
