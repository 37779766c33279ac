"""The report's pictures, as data: URIs: each nodule cut out of a scan, and the overview."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image
from scipy import ndimage

from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.figure import CT_WINDOW as LUNG_WINDOW
from GLIDERegLib.evaluation.figure import registration_figure

# An odd number, so that one pixel's centre is the point.
PIXELS, PIXEL_MM = 241, 0.25
# Directions to the right and down the picture, LPS: the patient's right is on the left, front or head on top.
PLANES = {"axial": ((1, 0, 0), (0, 1, 0)), "coronal": ((1, 0, 0), (0, 0, -1))}
# The cross leaves the nodule free: its arms begin and end this far from the point.
ARM_FROM_MM, ARM_TO_MM = 4.0, 9.0
CROSS, MEASURED, RIM = 255, 254, 0
BLACK_TO_WHITE = 253
CROSS_RGB, MEASURED_RGB = (255, 205, 0), (0, 150, 255)


def display_window(fixed: Volume) -> tuple[float, float]:
    """Intensities shown black and white in both scans: lung window for CT, else the fixed image's 1st and
    99th percentile.
    """
    if is_ct(fixed):
        return LUNG_WINDOW
    low, high = np.percentile(fixed.array[::2, ::2, ::2], (1, 99))
    return float(low), float(max(high, low + 1e-6))


def nodule_picture(
    image: sitk.Image,
    point: np.ndarray,
    plane: str,
    window: tuple[float, float],
    mask: sitk.Image | None = None,
) -> np.ndarray:
    """60 mm of a scan around a point (LPS mm) with a cross at it: uint8 (241, 241), 0.25 mm a pixel.

    plane: "axial" or "coronal", along the patient's axes whatever the image's own. mask: not 0 in what was
    measured, whose outline is drawn. Values: 0 to 253 are grey from black to white, MEASURED the outline,
    CROSS the cross. The point is the centre of the middle pixel; black beyond the scan.
    """
    right, down = (np.array(axis, float) for axis in PLANES[plane])
    first = np.asarray(point, float) - (PIXELS // 2) * PIXEL_MM * (right + down)
    direction = np.stack([right, down, np.cross(right, down)], axis=1).ravel().tolist()

    def slab(scan: sitk.Image, beyond: float) -> np.ndarray:
        found = sitk.Resample(
            scan,
            (PIXELS, PIXELS, 1),
            sitk.Transform(),
            sitk.sitkLinear,
            first.tolist(),
            (PIXEL_MM,) * 3,
            direction,
            beyond,
            sitk.sitkFloat32,
        )
        return sitk.GetArrayFromImage(found)[0]

    grey = (slab(image, window[0]) - window[0]) / (window[1] - window[0])
    picture = np.rint(np.clip(grey, 0, 1) * BLACK_TO_WHITE).astype(np.uint8)
    if mask is not None:
        inside = slab(mask, 0.0) >= 0.5
        picture[inside & ~ndimage.binary_erosion(inside)] = MEASURED
    _draw_cross(picture)
    return picture


def nodule_png(picture: np.ndarray) -> str:
    """A picture of `nodule_picture` as a PNG data: URI."""
    png = Image.fromarray(picture)
    grey = [level for n in range(MEASURED) for level in (round(n * 255 / BLACK_TO_WHITE),) * 3]
    png.putpalette([*grey, *MEASURED_RGB, *CROSS_RGB])
    stream = io.BytesIO()
    png.save(stream, format="PNG", optimize=True)
    return _data_uri(stream.getvalue())


def overview_png(fixed: Volume, moving: Volume, warped: Volume, vectors: np.ndarray, grid: Grid) -> str:
    """The figure of the whole registration (see `registration_figure`) as a PNG data: URI."""
    with tempfile.TemporaryDirectory(prefix="glidereg-") as folder:
        path = Path(folder) / "overview.png"
        registration_figure(fixed, moving, warped, vectors, grid, path)
        return _data_uri(path.read_bytes())


def _draw_cross(picture: np.ndarray) -> None:
    centre = PIXELS // 2
    near, far = (round(mm / PIXEL_MM) for mm in (ARM_FROM_MM, ARM_TO_MM))
    for side in (-1, 1):
        low, high = sorted((centre + side * near, centre + side * far))
        for width, value in ((3, RIM), (2, CROSS)):
            across = slice(centre - width + 1, centre + width)
            along = slice(low - width + 1, high + width)
            picture[across, along] = picture[along, across] = value


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
