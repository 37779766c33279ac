"""One figure that shows what a registration did, for readers who have nothing else at hand."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy import ndimage

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.metrics import target_registration_error
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.volumes import to_sitk
from GLIDERegLib.registration.field import jacobian_determinant

# The lung window of every picture, HU: level -600, width 1500.
CT_WINDOW = (-1350.0, 150.0)
LONGEST_SIDE_PIXELS = 400
GRID_LINE_MM = 12.0
NEAR_SLICE_MM = 8.0
CROP_MM = 4.0
FIELD_STRIDE = 3
PANEL_INCHES = 2.9
FIXED_COLOUR, MOVING_COLOUR, ERROR_COLOUR = "#00c800", "#ff40ff", "#ffd000"
TITLES = (
    "Before:\nfixed and moving",
    "After:\nfixed and warped",
    "Difference before\n(moving - fixed)",
    "Difference after\n(warped - fixed)",
    "Displacement: regular grid\nof the fixed image, moved",
    "Jacobian determinant\n(volume, moving / fixed)",
)


@dataclass(frozen=True)
class Plane:
    """A slice along the patient's axes: a grid one voxel thick, and the LPS axes across and up it."""

    name: str
    grid: Grid
    across: int
    up: int
    origin: str

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the picture in LPS mm."""
        corners = self.grid.corners()
        left, low = corners[:, [self.across, self.up]].min(axis=0)
        right, high = corners[:, [self.across, self.up]].max(axis=0)
        return (left, right, low, high) if self.origin == "lower" else (left, right, high, low)

    @property
    def normal(self) -> int:
        """The LPS axis across the slice."""
        return 3 - self.across - self.up

    def read(self, image: sitk.Image, fill: float) -> np.ndarray:
        """Values of an image on the slice, rows first; `fill` outside the image."""
        g = self.grid
        slab = sitk.Resample(
            image, g.size, sitk.Transform(), sitk.sitkLinear, g.origin, g.spacing, g.direction, fill
        )
        return sitk.GetArrayFromImage(slab).squeeze(axis=2 - self.normal)


def registration_figure(
    fixed: Volume,
    moving: Volume,
    warped: Volume,
    displacement_vectors: np.ndarray,
    displacement_grid: Grid,
    path: str | PathLike,
    title: str | None = None,
    fixed_points: np.ndarray | None = None,
    moving_points: np.ndarray | None = None,
) -> None:
    """Draws a coronal and an axial slice before and after a registration to a PNG file, whole or not at all.

    warped: moving on the fixed image's grid. displacement_vectors: (z, y, x, 3) mm, LPS, on
    displacement_grid, fixed to moving. fixed_points, moving_points: corresponding landmarks (N, 3), LPS mm;
    what is left between them is drawn where they lie near a slice. The slices run along the patient's axes,
    whatever the images' directions, through the tissue that moves most; the patient's right is on the left,
    front or head on top.
    Raises InputError when the file cannot be written.
    """
    ct = is_ct(fixed)
    window = CT_WINDOW if ct else tuple(np.percentile(fixed.array, (1, 99)).tolist())
    images = [to_sitk(Volume(v.array.astype(np.float32), v.grid)) for v in (fixed, moving, warped)]
    vectors = np.asarray(displacement_vectors, np.float32)
    determinant = to_sitk(Volume(jacobian_determinant(vectors, displacement_grid), displacement_grid))
    field = _vector_image(vectors, displacement_grid)
    planes = _planes(fixed, vectors, displacement_grid)
    errors = _landmark_errors(vectors, displacement_grid, fixed_points, moving_points)

    slices = [[np.clip(plane.read(image, window[0]), *window) for image in images] for plane in planes]
    moved = [plane.read(field, 0.0) for plane in planes]
    growth = [plane.read(determinant, 1.0) for plane in planes]
    longest = max(max(float(np.linalg.norm(v, axis=-1).max()) for v in moved), 1e-3)
    scales = {
        "difference": ScalarMappable(Normalize(*(np.array([-0.4, 0.4]) * (window[1] - window[0]))), "RdBu_r"),
        "displacement": ScalarMappable(Normalize(0, longest), "plasma"),
        "jacobian": ScalarMappable(_centred_log_norm(growth), colormaps["PuOr_r"].with_extremes(bad="black")),
    }

    figure, axes, keys = _layout(planes, title, errors)
    for row, plane, (f, m, w), u, det in zip(axes, planes, slices, moved, growth, strict=True):
        place = {"extent": plane.extent, "origin": plane.origin}
        row[0].imshow(_overlay(f, m, window), **place)
        row[1].imshow(_overlay(f, w, window), **place)
        for ax, other in ((row[2], m), (row[3], w)):
            ax.imshow(other - f, norm=scales["difference"].norm, cmap=scales["difference"].cmap, **place)
        row[4].imshow(f, cmap="gray", vmin=window[0], vmax=window[1] + 0.8 * (window[1] - window[0]), **place)
        _draw_grid(row[4], plane, u, scales["displacement"])
        folded = np.ma.masked_less_equal(det, 0)
        row[5].imshow(folded, norm=scales["jacobian"].norm, cmap=scales["jacobian"].cmap, **place)
        row[5].contour(f, levels=[np.mean(window)], colors="0.4", linewidths=0.5, linestyles="solid", **place)
        if errors is not None:
            _draw_errors(row[0], plane, errors["at"], errors["before"])
            _draw_errors(row[1], plane, errors["at"], errors["after"])
        for ax in row:
            ax.set(xticks=[], yticks=[], xlim=plane.extent[:2], ylim=plane.extent[2:])
            _orient(ax, plane)
    _draw_keys(keys, scales, "HU" if ct else "intensity", errors is not None)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _planes(fixed: Volume, vectors: np.ndarray, grid: Grid) -> list[Plane]:
    """The coronal and axial slice through the middle of the motion, cropped to what is not background."""
    stride = [max(1, round(CROP_MM / spacing)) for spacing in fixed.grid.spacing]
    coarse = fixed.array[:: stride[2], :: stride[1], :: stride[0]]
    low, high = np.percentile(coarse, (1, 99))
    tissue = ndimage.binary_opening(coarse > low + 0.2 * (high - low))
    found = np.argwhere(tissue if tissue.any() else np.ones_like(tissue))[:, ::-1] * stride
    inside = fixed.grid.to_physical(found)
    first, last = inside.min(axis=0) - 2 * CROP_MM, inside.max(axis=0) + 2 * CROP_MM
    sparse = vectors[::FIELD_STRIDE, ::FIELD_STRIDE, ::FIELD_STRIDE]
    index = np.stack(np.meshgrid(*[np.arange(n) for n in sparse.shape[:3]], indexing="ij")[::-1], axis=-1)
    at = grid.to_physical(index * FIELD_STRIDE)
    weight = np.square(sparse, dtype=float).sum(axis=-1) * np.all((at > first) & (at < last), axis=-1)
    moves = weight.any()
    middle = (weight[..., None] * at).sum(axis=(0, 1, 2)) / weight.sum() if moves else (first + last) / 2
    spacing = max(min(fixed.grid.spacing), float((last - first).max()) / LONGEST_SIDE_PIXELS)
    planes = []
    for name, normal, up, origin in (("Coronal, y", 1, 2, "lower"), ("Axial, z", 2, 1, "upper")):
        size = np.maximum(np.ceil((last - first) / spacing), 1).astype(int)
        start = first + spacing / 2
        size[normal], start[normal] = 1, middle[normal]
        grid = Grid(tuple(size.tolist()), (spacing,) * 3, tuple(start.tolist()))
        planes.append(Plane(f"{name} = {middle[normal]:.0f} mm", grid, 0, up, origin))
    return planes


def _layout(planes: list[Plane], title: str | None, errors: dict | None) -> tuple[Figure, list, list[Axes]]:
    """The figure, its panels in rows of six, and the axes of the keys below them; measured in inches."""
    heights = [PANEL_INCHES * abs(p.extent[3] - p.extent[2]) / (p.extent[1] - p.extent[0]) for p in planes]
    headline = [title] if title else []
    if errors is not None:
        headline.append(
            f"target registration error of {counted(errors['n'], 'landmark')}: "
            f"{errors['mean_before']:.2f} mm before, {errors['mean_after']:.2f} mm after"
        )
    left, gap, bottom, top = 0.35, 0.08, 0.75, 0.62 + 0.4 * bool(headline)
    width = left + 6 * (PANEL_INCHES + gap) + 0.1
    height = bottom + sum(heights) + gap + top
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)

    def panel(column, low, tall, columns=1.0, inset=0.0):
        x = left + column * (PANEL_INCHES + gap) + inset
        wide = columns * (PANEL_INCHES + gap) - gap - 2 * inset
        return figure.add_axes((x / width, low / height, wide / width, tall / height))

    lows = [bottom + heights[1] + gap, bottom]
    axes = [
        [panel(column, low, tall) for column in range(6)] for low, tall in zip(lows, heights, strict=True)
    ]
    for ax, name in zip(axes[0], TITLES, strict=True):
        ax.set_title(name, fontsize=11.5)
    for row, plane in zip(axes, planes, strict=True):
        row[0].set_ylabel(plane.name, fontsize=11.5)
    if headline:
        figure.text(0.5, 1 - 0.12 / height, "   |   ".join(headline), ha="center", va="top", fontsize=14)
    keys = [panel(0, 0.1, 0.5, columns=2), panel(2, 0.48, 0.14, 2, 0.8), panel(4, 0.48, 0.14, 1, 0.2)]
    return figure, axes, [*keys, panel(5, 0.48, 0.14, 1, 0.2)]


def _draw_keys(keys: list[Axes], scales: dict[str, ScalarMappable], unit: str, landmarks: bool) -> None:
    """Legend of the overlays and the three colour bars."""
    patches = [
        Patch(color=FIXED_COLOUR, label="brighter in fixed"),
        Patch(color=MOVING_COLOUR, label="brighter in moving or warped"),
        Patch(color="0.6", label="equal"),
    ]
    if landmarks:
        patches.append(Patch(color=ERROR_COLOUR, label=f"landmark error (within {NEAR_SLICE_MM:g} mm)"))
    keys[0].axis("off")
    keys[0].legend(handles=patches, ncols=2, loc="upper center", frameon=False, fontsize=10.5)
    figure = keys[0].figure
    for ax, name, label in (
        (keys[1], "difference", f"difference ({unit})"),
        (keys[2], "displacement", "length of displacement (mm)"),
        (keys[3], "jacobian", "determinant (black: folding)"),
    ):
        bar = figure.colorbar(scales[name], cax=ax, orientation="horizontal")
        bar.set_label(label, fontsize=10)
        ax.tick_params(labelsize=9)
    limit = float(np.max(scales["jacobian"].get_clim()))
    ticks = [1 / limit, limit**-0.5, 1, limit**0.5, limit]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    bar.minorticks_off()


def _overlay(fixed: np.ndarray, other: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Fixed in green, the other image in magenta; equal intensities are grey."""
    green, magenta = ((a - window[0]) / (window[1] - window[0]) for a in (fixed, other))
    return np.stack([magenta, green, magenta], axis=-1).clip(0, 1) ** 0.8


def _draw_grid(ax: Axes, plane: Plane, vectors: np.ndarray, scale: ScalarMappable) -> None:
    """Straight lines through the fixed image where the displacement takes them, coloured by its length."""
    points = plane.grid.points().squeeze(axis=2 - plane.normal)
    moved = (points + vectors)[..., [plane.across, plane.up]]
    length = np.linalg.norm(vectors, axis=-1)
    step = max(1, round(GRID_LINE_MM / plane.grid.spacing[0]))
    for paths, lengths in ((moved, length), (moved.swapaxes(0, 1), length.T)):
        for line, value in zip(paths[step // 2 :: step], lengths[step // 2 :: step], strict=True):
            parts = np.stack([line[:-1], line[1:]], axis=1)
            ax.add_collection(
                LineCollection(
                    list(parts), array=value[:-1], norm=scale.norm, cmap=scale.cmap, linewidths=0.9
                )
            )


def _landmark_errors(vectors, grid: Grid, fixed_points, moving_points) -> dict | None:
    """What is left from each landmark to its counterpart before and after, LPS mm, at the fixed point."""
    if fixed_points is None or moving_points is None:
        return None
    at, goal = np.asarray(fixed_points, float), np.asarray(moving_points, float)
    index = grid.to_index(at).T[::-1]
    propagated = np.stack(
        [ndimage.map_coordinates(vectors[..., a], index, order=1, mode="nearest") for a in range(3)], axis=-1
    )
    means = [target_registration_error(start, goal)[1]["mean"] for start in (at, at + propagated)]
    return {
        "at": at,
        "before": goal - at,
        "after": goal - at - propagated,
        "n": len(at),
        "mean_before": means[0],
        "mean_after": means[1],
    }


def _draw_errors(ax: Axes, plane: Plane, points: np.ndarray, errors: np.ndarray) -> None:
    """A dot at each landmark near the slice and a line along its error."""
    near = np.abs(points[:, plane.normal] - plane.grid.origin[plane.normal]) < NEAR_SLICE_MM
    shown = [plane.across, plane.up]
    start, end = points[near][:, shown], (points + errors)[near][:, shown]
    ax.add_collection(
        LineCollection(list(np.stack([start, end], axis=1)), colors=ERROR_COLOUR, linewidths=1.4)
    )
    ax.plot(*start.T, ".", color=ERROR_COLOUR, markersize=3)


def _orient(ax: Axes, plane: Plane) -> None:
    """Sides of the patient and a scale of 50 mm."""
    outline = [withStroke(linewidth=2, foreground="black")]
    style: dict[str, Any] = {
        "color": "white",
        "fontsize": 11,
        "transform": ax.transAxes,
        "path_effects": outline,
    }
    top, bottom = ("S", "I") if plane.up == 2 else ("A", "P")
    for x, y, letter in ((0.02, 0.5, "R"), (0.98, 0.5, "L"), (0.5, 0.98, top), (0.5, 0.02, bottom)):
        ax.text(x, y, letter, ha={0.02: "left", 0.98: "right"}.get(x, "center"), va=_BESIDE[y], **style)
    left, right, low, high = plane.extent
    x, y = left + 0.03 * (right - left), low + 0.04 * (high - low)
    ax.plot([x, x + 50], [y, y], color="white", linewidth=2.5, path_effects=outline)
    ax.text(0.03, 0.08, "50 mm", ha="left", va="bottom", **style | {"fontsize": 9})


# Where a letter's anchor lies, by its height in the picture.
_BESIDE = {0.02: "bottom", 0.5: "center", 0.98: "top"}


def _centred_log_norm(determinants: list[np.ndarray]) -> LogNorm:
    """Logarithmic limits 1 / a to a that hold 99.5 % of the positive determinants, a between 1.25 and 4."""
    values = np.concatenate([d[d > 0] for d in determinants])
    limit = np.exp(np.percentile(np.abs(np.log(values)), 99.5)) if values.size else 1.0
    limit = float(np.clip(limit, 1.25, 4))
    return LogNorm(1 / limit, limit, clip=False)


def _vector_image(vectors: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image
