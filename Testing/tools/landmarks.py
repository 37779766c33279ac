"""How right found landmarks are, and what they find, where the true transform is known: a Markdown table.

python Testing/tools/landmarks.py [--widths] ../shared/data/known_truth/E ... phantom:20

A folder holds fixed.nii.gz, moving.nii.gz, truth.nii.gz (a displacement field) and, where the truth may not
be judged everywhere, score.nii.gz; phantom:20 is the project's own with a motion of 20 mm. "Right": within
an edge of the fixed scan's voxels. Found: share of planted errors of 4 mm (Gaussian, sigma 15 mm) at 2000
places of the lungs, none of which the map hatches (a landmark lies within 12 mm, `COVERED_MM`), that the map
tells as more than 2 mm there; in brackets the share told without any. Slope: of told over true errors of more
than a voxel, planted with 2 to 12 mm and a sigma of 30 mm. --widths instead: the share of planted errors of
4 mm found as above, by how far from their middle they are half as large (smooth, of compact support, cos^4 in
a turned ellipsoid; 400 places each).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.landmarks.between import expected_error
from GLIDERegLib.evaluation.landmarks.matching import Landmarks, find_landmarks
from GLIDERegLib.evaluation.landmarks.names import BODY
from GLIDERegLib.evaluation.landmarks.regions import Regions, find_regions
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_labels, read_volume
from GLIDERegLib.transforms.points import map_points

HEAD = (
    "pair",
    "found of tried",
    "right",
    "median, 95 %, worst (mm)",
    "lungs: right",
    "near the pleura: right",
    "lungs without a landmark",
    "4 mm found (told without)",
    "slope",
)
HALF_WIDTHS_MM = (10.0, 12.5, 15.0, 17.5, 20.0, 30.0)
WIDTHS_HEAD = ("pair", "lungs with a landmark", *(f"{width:g} mm" for width in HALF_WIDTHS_MM))
PlacesOf = Callable[[np.ndarray], np.ndarray]


def load(name: str) -> tuple[Volume, Volume, PlacesOf, PlacesOf]:
    """Fixed and moving scan, the true map, and where (bool) it may be judged."""
    if name.startswith("phantom:"):
        made = make_phantom(amplitude_mm=float(name.partition(":")[2]), seed=3)
        return made.fixed, made.moving, lambda x: x + made.displacement(x), lambda x: np.ones(len(x), bool)
    folder = Path(name)
    fixed, moving = (read_volume(folder / f"{role}.nii.gz", role) for role in ("fixed", "moving"))
    truth, score = read_transform(folder / "truth.nii.gz"), folder / "score.nii.gz"
    where = read_labels(score, fixed.grid) > 0 if score.exists() else np.ones(fixed.grid.shape, bool)

    def judged(points: np.ndarray) -> np.ndarray:
        i, j, k = np.rint(fixed.grid.to_index(points)).astype(int).T
        return where[k, j, i]

    return fixed, moving, lambda x: map_points(truth, x), judged


def row(name: str) -> list[str]:
    """The table's row of a pair."""
    fixed, moving, truth, judged = load(name)
    regions = find_regions(fixed)
    found = find_landmarks(fixed, moving, regions=regions)
    exact, known = truth(found.fixed), judged(found.fixed)
    off = np.linalg.norm(found.moving - exact, axis=1)
    lungs, right = np.array(found.regions) != BODY, off < min(fixed.grid.spacing)
    told, without, empty = _planted(found, exact, regions)
    return [
        Path(name).name,
        f"{len(found)} of {found.candidates}",
        f"{100 * right[known].mean():.1f} % of {known.sum()}",
        f"{np.median(off[known]):.2f}, {np.percentile(off[known], 95):.2f}, {off[known].max():.1f}",
        f"{100 * right[known & lungs].mean():.1f} % of {(known & lungs).sum()}",
        f"{100 * right[known & found.near_pleura].mean():.1f} % of {(known & found.near_pleura).sum()}",
        f"{100 * empty:.0f} %",
        f"{100 * told:.1f} % ({100 * without:.1f} %)",
        f"{_slope(found, exact, known, fixed):.2f}",
    ]


def widths(name: str) -> list[str]:
    """The row of a pair with --widths."""
    fixed, moving, truth, judged = load(name)
    regions = find_regions(fixed)
    return [
        Path(name).name,
        *_by_width(find_landmarks(fixed, moving, regions=regions), truth, regions, judged),
    ]


def _by_width(found: Landmarks, truth: PlacesOf, regions: Regions, judged: PlacesOf) -> list[str]:
    rng = np.random.default_rng(3)
    points = regions.grid.points()[regions.lungs()]
    points, exact = points[judged(points)], truth(found.fixed)
    lengths = np.linalg.norm(exact - found.moving, axis=1)
    covered = points[np.isfinite(expected_error(found.fixed, lengths, points))]
    shares = []
    for half in HALF_WIDTHS_MM:
        told = []
        for _ in range(400):
            place = covered[rng.integers(len(covered))]
            # cos^4 of a quarter turn is a half at 0.364 of its way.
            axes = half * rng.uniform(0.8, 1.2, 3) / 0.364
            turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
            away = rng.standard_normal(3)
            reach = np.linalg.norm((found.fixed - place) @ turn / axes, axis=1)
            share = np.cos(np.pi / 2 * np.minimum(reach, 1)) ** 4
            wrong = exact + share[:, None] * away * (4 / np.linalg.norm(away)) - found.moving
            told.append(expected_error(found.fixed, np.linalg.norm(wrong, axis=1), place[None])[0])
        shares.append(f"{100 * np.mean(np.array(told) > 2):.0f} %")
    return [f"{100 * len(covered) / len(points):.0f} %", *shares]


def _bump(found: Landmarks, place: np.ndarray, size_mm: float, sigma_mm: float, rng) -> np.ndarray:
    """A planted error (N, 3) at the landmarks, in any direction."""
    away = rng.standard_normal(3)
    fading = np.exp(-0.5 * np.sum((found.fixed - place) ** 2, axis=1) / sigma_mm**2)
    return fading[:, None] * away * (size_mm / np.linalg.norm(away))


def _planted(found: Landmarks, exact: np.ndarray, regions: Regions) -> tuple[float, float, float]:
    """Shares of planted errors told, of places told without one, and of the lungs without a landmark."""
    rng = np.random.default_rng(0)
    points = regions.grid.points()[regions.lungs()]
    plain = expected_error(found.fixed, np.linalg.norm(exact - found.moving, axis=1), points)
    covered = points[np.isfinite(plain)]
    told = []
    for place in covered[rng.choice(len(covered), 2000)]:
        wrong = exact + _bump(found, place, 4.0, 15.0, rng) - found.moving
        told.append(expected_error(found.fixed, np.linalg.norm(wrong, axis=1), place[None])[0])
    finite = plain[np.isfinite(plain)]
    return np.mean(np.array(told) > 2), np.mean(finite > 2), 1 - len(covered) / len(points)


def _slope(found: Landmarks, exact: np.ndarray, known: np.ndarray, fixed: Volume) -> float:
    rng, true, told = np.random.default_rng(1), [], []
    for size in (2.0, 4.0, 8.0, 12.0):
        for place in found.fixed[rng.choice(len(found), 20)]:
            planted = _bump(found, place, size, 30.0, rng)[known]
            true.append(np.linalg.norm(planted, axis=1))
            told.append(np.linalg.norm(exact[known] + planted - found.moving[known], axis=1))
    true, told = np.concatenate(true), np.concatenate(told)
    large = true > found.voxel_mm
    return float(np.polyfit(true[large], told[large], 1)[0])


if __name__ == "__main__":
    pairs = [name for name in sys.argv[1:] if name != "--widths"]
    head, row_of = (WIDTHS_HEAD, widths) if "--widths" in sys.argv else (HEAD, row)
    print("|", " | ".join(head), "|\n|", " | ".join("---" for _ in head), "|", flush=True)
    for pair in pairs:
        print("|", " | ".join(row_of(pair)), "|", flush=True)
