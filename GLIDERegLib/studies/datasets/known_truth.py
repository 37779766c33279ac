"""A second scan made from a real one by a motion that is known everywhere: real anatomy, exact truth.

The fixed image is the scan itself. The moving image at y is the scan at phi^-1(y), phi(x) = x + u(x), and

    u(x) = a sum_k w_k exp(-|x - c_k|^2 / (2 s_k^2)),

one wide bump that moves the lower part of the region towards the feet, as a breath does, and seeded random
ones with s_k of at least 40 mm; a is chosen for the largest |u| in the region. While the largest slope L of u
is below one, phi is a diffeomorphism (Banach's fixed-point theorem), its Jacobian determinant is at least
(1 - L)^3, and its inverse is the limit of x <- y - u(x).

So that both images cannot be matched by their noise alone, the moving image is read by cubic splines on a
lattice shifted by a fraction of a voxel, which no voxel of it shares with the fixed image, and gets Gaussian
noise of its own. It still holds the warped noise of the original, no new anatomy, no change of density and no
sliding along the chest wall: errors on such pairs are a lower bound of what real pairs give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.body import Body
from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.breathing import Breathing
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.outputs import whole_file

# Gaussian bumps of motion beside the large one along the body's axis, and their widths; a field that is
# steeper than STEEPEST is refused, since 1 and more could fold. Choices, as is all below.
BUMPS = 8
NARROWEST_MM, WIDEST_MM = 40.0, 70.0
STEEPEST = 0.9
LATTICE = 40  # points along each edge of the box in which slopes and lengths are measured
NUMBER_OF_POINTS = 300
BORDER_MM = 8.0  # of both images, that points keep off
BODY_SPACING_MM = 4.0
BODY_EROSIONS = 3  # points lie so many voxels of it within the body
NOISE_HU = 20.0  # standard deviation of the noise added to the warped scan
TRUTH_SPACING_MM = 2.0  # of the field that is written
SLAB = 16  # slices at a time, for memory's sake


@dataclass(frozen=True)
class Warped:
    """The moving scan, where it came from, and the truth.

    moving_mask: bool on the moving grid, None without a mask. Points (N, 3) are LPS mm, row n of both
    corresponds. motion: u and its inverse. truth_grid: where u is sampled for a file.
    """

    moving: Volume
    moving_mask: np.ndarray | None
    fixed_points: np.ndarray
    moving_points: np.ndarray
    motion: Motion
    truth_grid: Grid


class Motion(Breathing):
    """A smooth diffeomorphism phi(x) = x + u(x), fixed to moving, over a box of any size; LPS mm.

    corners: lowest and highest point (2, 3) of what moves. amplitude_mm: largest length of u between them.
    Raises InputError for an amplitude that would fold so small a region.
    """

    def __init__(self, corners: np.ndarray, amplitude_mm: float, seed: int):
        rng = np.random.default_rng([seed, 7])
        low, high = np.asarray(corners, float)
        edges = high - low
        share = rng.uniform(0, 1, (BUMPS + 1, 3))
        share[0] = (0.5, 0.5, 0.2)
        self.centres = low + share * edges
        self.widths = rng.uniform(NARROWEST_MM, WIDEST_MM, BUMPS + 1)
        self.widths[0] = max(NARROWEST_MM, 0.35 * float(edges.mean()))
        swings = rng.standard_normal((BUMPS + 1, 3))
        swings *= 0.35 / np.linalg.norm(swings, axis=1, keepdims=True)
        swings[0] = (0.0, 0.0, -1.0)
        self.swings, self.shift = swings, np.zeros(3)
        axes = [np.linspace(a, b, LATTICE) for a, b in zip(low, high, strict=True)]
        inside = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        largest = np.linalg.norm(self.displacement(inside), axis=-1).max()
        self.swings = swings * (amplitude_mm / largest)
        self.steepest = self._largest_slope(low, high)
        if self.steepest > STEEPEST:
            most = amplitude_mm * STEEPEST / self.steepest
            raise InputError(
                f"A motion of {amplitude_mm:g} mm could fold a region of {edges.min():.0f} mm.",
                f"Choose at most {most:.0f} mm.",
                code="setting",
            )

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """u (..., 3) in mm at points (..., 3), in the floating-point type of the points."""
        points = np.asarray(points)
        dtype = points.dtype if points.dtype.kind == "f" else np.dtype(float)
        u = np.zeros(points.shape, dtype)
        for centre, width, swing in zip(self.centres, self.widths, self.swings, strict=True):
            height = np.exp(-np.sum((points - centre.astype(dtype)) ** 2, axis=-1) / dtype.type(2 * width**2))
            for axis in range(3):
                u[..., axis] += dtype.type(swing[axis]) * height
        return u

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """du_i/dx_j (..., 3, 3) at points (..., 3)."""
        points = np.asarray(points, float)
        gradient = np.zeros((*points.shape, 3))
        for centre, width, swing in zip(self.centres, self.widths, self.swings, strict=True):
            away = points - centre
            height = np.exp(-np.sum(away**2, axis=-1) / (2 * width**2))
            gradient -= swing[:, None] * (away * height[..., None] / width**2)[..., None, :]
        return gradient

    def _largest_slope(self, low: np.ndarray, high: np.ndarray) -> float:
        """Largest spectral norm of the gradient, on a lattice that reaches 1.5 of the widest bump further."""
        margin = 1.5 * self.widths.max()
        axes = [np.linspace(a - margin, b + margin, LATTICE) for a, b in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return float(np.linalg.norm(self.gradient(points), ord=2, axis=(-2, -1)).max())


def warp_real(
    volume: Volume,
    seed: int = 0,
    amplitude_mm: float = 20.0,
    mask: np.ndarray | None = None,
    noise_hu: float = NOISE_HU,
) -> Warped:
    """A moving scan made from a real one, and the truth from the scan (fixed) to it (moving).

    mask: bool (z, y, x) on the scan's grid; without it the body is found. The largest displacement in its
    bounding box is amplitude_mm. noise_hu: standard deviation of the noise that is added to the moving scan.
    Up to 300 points are scattered over the mask or body, at least 8 mm inside both images' faces. The moving
    image agrees with the truth within 0.01 mm; points agree exactly. Memory: about 75 bytes a voxel.

    Raises InputError for an amplitude that is not positive or would fold the scan, and where no point fits.
    """
    if amplitude_mm <= 0:
        raise InputError(f"The amplitude must be more than 0 mm, not {amplitude_mm:g}.", code="setting")
    grid = volume.grid
    lattice = grid if mask is not None else grid.resized((BODY_SPACING_MM,) * 3)
    region = Body(volume).on(lattice) if mask is None else mask
    # The body is found a little too wide, and the air around it shows no motion.
    inner = region if mask is not None else ndimage.binary_erosion(region, iterations=BODY_EROSIONS)
    if not inner.any():
        raise InputError(
            f"No body was found in the {volume.name}.", "Give a mask of where it shall move.", code="mask"
        )
    motion = Motion(_corners(region, lattice), amplitude_mm, seed)
    rng = np.random.default_rng([seed, 8])
    offset = grid.axes @ (rng.uniform(0.3, 0.7, 3) * grid.spacing)
    origin = tuple((np.asarray(grid.origin) + offset).tolist())
    moving_grid = Grid(grid.size, grid.spacing, origin, grid.direction)
    fixed_points = _points(inner, lattice, (grid, moving_grid), motion, rng)
    moving, moving_mask = _moved(volume, mask, motion, moving_grid, noise_hu, rng)
    return Warped(
        moving,
        moving_mask,
        fixed_points,
        fixed_points + motion.displacement(fixed_points),
        motion,
        grid.resized((TRUTH_SPACING_MM,) * 3, (1, 1, 1), (1, 1, 1)),
    )


def write_field(displacement: Callable[[np.ndarray], np.ndarray], grid: Grid, path: Path) -> None:
    """Writes a displacement u(x) in LPS mm, sampled at a grid's voxel centres, as a vector image, float32.

    `read_transform` reads it as a transform from fixed to moving points; between centres it is linear. Raises
    InputError when it cannot be written.
    """
    vectors = np.empty((*grid.shape, 3), np.float32)
    for k in range(0, grid.shape[0], SLAB):
        part = Grid(
            (*grid.size[:2], min(SLAB, grid.size[2] - k)), grid.spacing, _first(grid, k), grid.direction
        )
        vectors[k : k + SLAB] = displacement(part.points())
    write_vectors(vectors, grid, path)


def write_vectors(vectors: np.ndarray, grid: Grid, path: Path) -> None:
    """Writes displacements (z, y, x, 3), LPS mm, on a grid as `write_field` does."""
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    with whole_file(path) as temporary, itk_calls(f"Cannot write '{path}': check that the disk has space."):
        sitk.WriteImage(image, str(temporary))


def _first(grid: Grid, k: int) -> tuple[float, float, float]:
    """LPS mm of the first voxel of slice k."""
    return tuple(grid.to_physical(np.array([0, 0, k])).tolist())


def _corners(region: np.ndarray, grid: Grid) -> np.ndarray:
    """Lowest and highest LPS point (2, 3) of a region's bounding box."""
    voxels = np.argwhere(region)
    ends = np.stack([voxels.min(axis=0), voxels.max(axis=0)])[:, ::-1]
    box = grid.to_physical(np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3))
    return np.stack([box.min(axis=0), box.max(axis=0)])


def _moved(volume, mask, motion, moving_grid, noise_hu, rng) -> tuple[Volume, np.ndarray | None]:
    """The scan, in its own type and with noise, and its mask at phi^-1 of the moving grid's voxels."""
    # Clipped, since splines would ring around the -2048 outside the scanner's field of view.
    scan = np.maximum(volume.array, AIR_HU).astype(np.float32)
    air, brightest = float(scan.min()), float(scan.max())
    coefficients = ndimage.spline_filter(scan, order=3, output=np.float32, mode="nearest")
    back = motion.inverse_on(moving_grid)
    array = np.empty(moving_grid.shape, np.float32)
    moved_mask = None if mask is None else np.empty(moving_grid.shape, bool)
    for k in range(0, len(array), SLAB):
        slab = slice(k, k + SLAB)
        index = np.moveaxis(volume.grid.to_index(back[slab]), -1, 0)[::-1]
        read = ndimage.map_coordinates(
            coefficients, index, order=3, mode="nearest", prefilter=False, output=np.float32
        )
        read[~volume.grid.contains(back[slab])] = air
        read += rng.normal(0, noise_hu, read.shape).astype(np.float32)
        array[slab] = np.clip(read, air, brightest)
        if mask is not None:
            moved_mask[slab] = ndimage.map_coordinates(mask.astype(np.uint8), index, order=0)
    if np.issubdtype(volume.array.dtype, np.integer):
        array = np.rint(array)
    return Volume(array.astype(volume.array.dtype), moving_grid, "moving"), moved_mask


def _points(region: np.ndarray, lattice: Grid, images: tuple[Grid, Grid], motion: Motion, rng) -> np.ndarray:
    """Fixed points (N, 3), LPS mm, scattered over a region of a lattice, well inside both images."""
    chosen = rng.permutation(np.argwhere(region))[: 20 * NUMBER_OF_POINTS, ::-1]
    points = lattice.to_physical(chosen + rng.uniform(-0.5, 0.5, chosen.shape))
    kept = np.ones(len(points), bool)
    for image, where in zip(images, (points, points + motion.displacement(points)), strict=True):
        index = image.to_index(where)
        depth = np.minimum(index + 0.5, np.asarray(image.size) - 0.5 - index) * image.spacing
        kept &= (depth >= BORDER_MM).all(axis=1)
    if not kept.any():
        raise InputError(
            f"No point lies {BORDER_MM:g} mm inside both images.", "Use a larger scan.", code="points"
        )
    return points[kept][:NUMBER_OF_POINTS]
