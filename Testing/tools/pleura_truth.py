"""How well nodules at the pleura of real lungs are measured: painted there, at two dates, with known truth.

    python Testing/tools/pleura_truth.py known_truth/F --places 0-7

PAIR is a folder with fixed.nii.gz (HU) and fixed_lungs.nii.gz. Each place is drawn from the surface of the
lungs where tissue lies 4 to 8 mm beneath; a ball of 35 HU and 8 to 15 mm is sunk into it by a tenth to eight
tenths of its radius. The truth is what of it lies on the lung's side of the half level, which shares nothing
with how a wall is found. It is added blurred by 0.55 mm, with noise of 8 HU, and clicked on off by up to a
tenth of its diameter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.growth import growth
from GLIDERegLib.evaluation.measuring import measure_nodule

# Voxels beside the place, and parts of each along an axis.
REACH, PARTS = 22, 3
HALF_HU, SOLID_HU, BLUR_MM, NOISE_HU = -450, 35, 0.55, 8
GROWTHS = (1.0, 1.0, 1.25, 1.6)


def place_of(rng, image, lungs, spacing, surface, slope) -> tuple[np.ndarray, np.ndarray]:
    """A voxel (z, y, x) on the lungs' surface, and the direction into the lung."""
    while True:
        place = surface[rng.integers(len(surface))]
        inward = slope[tuple(place)]
        steep = np.linalg.norm(inward)
        if steep < 0.05 or (place < REACH).any() or (place + REACH >= image.shape).any():
            continue
        inward = inward / steep
        wall, beyond, lung = (np.rint(place + mm * inward / spacing).astype(int) for mm in (-4, -8, 12))
        if image[tuple(wall)] > -300 and not lungs[tuple(beyond)] and lungs[tuple(lung)]:
            return place, inward


def painted(rng, box, spacing, middle, radius) -> tuple[Volume, float, np.ndarray]:
    """The box with a ball at `middle` (mm from its corner), its volume in the lung, and a click (x, y, z)."""
    fine = ndimage.zoom(box, PARTS, order=1, grid_mode=True, mode="nearest")
    edge = spacing / PARTS
    points = np.stack(
        np.meshgrid(
            *[(np.arange(n) + 0.5) * h for n, h in zip(fine.shape, edge, strict=True)], indexing="ij"
        ),
        -1,
    )
    ball = np.clip(0.5 + (radius - np.linalg.norm(points - middle, axis=-1)) / edge.mean(), 0, 1)
    ball *= fine < HALF_HU
    labels, _ = ndimage.label(ball > 0.5)
    largest = np.argmax(np.bincount(labels[labels > 0]))
    ball *= ndimage.binary_dilation(labels == largest)
    shown = ndimage.gaussian_filter(ball, BLUR_MM / edge)
    z, y, x = box.shape
    shown = shown.reshape(z, PARTS, y, PARTS, x, PARTS).mean((1, 3, 5))
    image = box + shown * (SOLID_HU - np.median(box[box < -600]))
    noise = ndimage.gaussian_filter(rng.standard_normal(box.shape), (0, 0.6, 0.6))
    image = np.rint(image + NOISE_HU * noise / noise.std()).astype(np.int16)
    centroid = np.array([(ball * points[..., n]).sum() / ball.sum() for n in range(3)]) - spacing / 2
    click = centroid + rng.uniform(-0.2, 0.2, 3) * radius
    volume = Volume(image, Grid((x, y, z), tuple(spacing[::-1].tolist())), "scan")
    return volume, float(ball.sum() * edge.prod()), click[::-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pair", type=Path, metavar="PAIR")
    parser.add_argument("--places", default="0-7", help="first-last")
    options = parser.parse_args()
    scan, mask = (sitk.ReadImage(str(options.pair / f"fixed{name}.nii.gz")) for name in ("", "_lungs"))
    image, lungs = sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(mask) > 0
    spacing = np.array(scan.GetSpacing())[::-1]
    surface = np.argwhere(lungs & ~ndimage.binary_erosion(lungs))
    slope = np.stack(np.gradient(ndimage.gaussian_filter(lungs.astype(np.float32), 2)), -1)
    first, last = map(int, options.places.split("-"))
    errors, held, changes = [], [], []
    for number in range(first, last + 1):
        rng = np.random.default_rng([number, *options.pair.name.encode()])
        place, inward = place_of(rng, image, lungs, spacing, surface, slope)
        box = image[tuple(slice(n - REACH, n + REACH + 1) for n in place)].astype(np.float32)
        radius = rng.uniform(4, 7.5)
        sunk = rng.uniform(0.1, 0.8) * radius
        sizes = []
        for share in (1.0, rng.choice(GROWTHS)):
            grown = radius * share ** (1 / 3)
            middle = (REACH + 0.5) * spacing + inward * (grown - sunk)
            volume, true, click = painted(rng, box, spacing, middle, grown)
            found = measure_nodule(volume, click)
            text = found.status
            if found.measured:
                off, low, high = (
                    100 * (v / true - 1)
                    for v in (found.volume_mm3, found.volume_low_mm3, found.volume_high_mm3)
                )
                errors.append(off)
                held.append(low <= 0 <= high)
                text = f"{off:+.1f} % ({low:+.1f} to {high:+.1f})"
                sizes.append((found.size(), true))
            print(f"{number}: {2 * grown:.1f} mm, {true:.0f} mm³: {text}", flush=True)
        if len(sizes) == 2:
            said, really = growth(sizes[0][0], sizes[1][0]), 100 * (sizes[1][1] / sizes[0][1] - 1)
            changes.append(said.low <= really <= said.high)
            print(f"   {really:+.0f} % said as {said.change:+.0f} % ({said.low:+.0f} to {said.high:+.0f})")
    print(
        f"{len(errors)} of {2 * (last - first + 1)} told, {np.mean(errors):+.1f} % on average, "
        f"SD {np.std(errors):.1f}, worst {max(errors, key=abs):+.0f}, {sum(held)} held; "
        f"growth held {sum(changes)} of {len(changes)}"
    )


if __name__ == "__main__":
    main()
