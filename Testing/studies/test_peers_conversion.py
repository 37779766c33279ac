"""A known transform, written the way each tool writes it, comes back the same in LPS mm."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.studies.peers.conversion import CONVENTIONS, read_result
from GLIDERegLib.transforms.points import map_points

TOLERANCE_MM = 1e-3
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# An affine displacement: trilinear interpolation gives it back exactly, at any resolution.
MATRIX = np.array([[0.05, -0.02, 0.03], [0.01, -0.04, 0.02], [-0.03, 0.06, 0.02]])
OFFSET = np.array([4.0, -3.0, 7.0])


@pytest.fixture(params=["right-handed", "left-handed"])
def grid(request):
    """24 x 20 x 16 voxels, oblique and anisotropic."""
    axes = np.asarray(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix()).reshape(3, 3)
    if request.param == "left-handed":
        axes = axes * [1, 1, -1]
    return Grid((24, 20, 16), (1.5, 2.0, 3.5), (12.0, -30.0, 45.0), tuple(axes.ravel().tolist()))


def truth(points):
    return points @ MATRIX.T + OFFSET + points


def indices(size):
    """(X, Y, Z, 3): the index of every voxel, the file's first axis first."""
    return np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in size], indexing="ij"), axis=-1)


def affine_of(grid):
    """NIfTI's matrix from index to RAS mm."""
    return RAS @ grid.matrix


def millimetres(grid, at=None):
    """Displacements (X, Y, Z, 3) in LPS mm at index positions, by default the voxels."""
    points = nib.affines.apply_affine(grid.matrix, indices(grid.size) if at is None else at)
    return truth(points) - points


def voxels(grid, at=None):
    """Displacements (X, Y, Z, 3) in voxels, by NIfTI's matrix, as `map_coordinates` wants them."""
    at = indices(grid.size) if at is None else at
    points = nib.affines.apply_affine(RAS, nib.affines.apply_affine(affine_of(grid), at))
    there = nib.affines.apply_affine(RAS, truth(points))
    return nib.affines.apply_affine(np.linalg.inv(affine_of(grid)), there) - at


def write_nifti(array, path, affine, intent=0):
    image = nib.Nifti1Image(array.astype(np.float32), affine)
    image.header["intent_code"] = intent
    nib.save(image, path)
    return path


def write_vectors(array, path, grid=None):
    """A vector image; array (X, Y, Z, 3); without a grid, as tools write it that know none."""
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0, 3).astype(np.float32), isVector=True)
    if grid:
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(path))
    return path


def farthest(transform, grid, margin=0.0):
    """Largest distance (mm) from the truth between the voxels, a margin in voxels away from the faces."""
    rng = np.random.default_rng(3)
    points = grid.to_physical(rng.uniform(margin, np.asarray(grid.size) - 1 - margin, (200, 3)))
    return np.linalg.norm(map_points(transform, points) - truth(points), axis=1).max()


def test_a_vector_image_in_mm_lps(grid, tmp_path):
    path = write_vectors(millimetres(grid), tmp_path / "field.mha", grid)
    assert farthest(read_result(path, "mm-lps", grid), grid) < TOLERANCE_MM


def test_a_vector_image_in_mm_lies_where_its_file_says(grid, tmp_path):
    other = grid.resized((4.0, 4.0, 4.0), (1, 1, 1), (1, 1, 1))
    path = write_vectors(millimetres(other), tmp_path / "field.nrrd", other)
    assert farthest(read_result(path, "mm-lps", grid), grid) < TOLERANCE_MM


@pytest.mark.parametrize("intent", [1006, 1007])
def test_nifti_vectors_in_mm_ras_whatever_their_intent(grid, tmp_path, intent):
    ras = millimetres(grid) * [-1, -1, 1]
    path = write_nifti(ras[:, :, :, None], tmp_path / "field.nii.gz", affine_of(grid), intent)
    assert farthest(read_result(path, "mm-ras", grid), grid) < TOLERANCE_MM


@pytest.mark.parametrize("shape", ["4-D", "5-D"])
def test_nifti_without_an_intent_in_mm_ras(grid, tmp_path, shape):
    ras = millimetres(grid) * [-1, -1, 1]
    ras = ras[:, :, :, None] if shape == "5-D" else ras
    path = write_nifti(ras, tmp_path / "field.nii.gz", np.eye(4))
    assert farthest(read_result(path, "mm-ras", grid), grid) < TOLERANCE_MM


@pytest.mark.parametrize("layout", ["X Y Z 3", "1 X Y Z 3", "X Y Z 1 3", "3 X Y Z"])
def test_voxels_along_the_files_axes_in_every_layout(grid, tmp_path, layout):
    array = voxels(grid)
    array = {
        "X Y Z 3": array,
        "1 X Y Z 3": array[None],
        "X Y Z 1 3": array[:, :, :, None],
        "3 X Y Z": np.moveaxis(array, -1, 0),
    }[layout]
    path = write_nifti(array, tmp_path / "disp.nii.gz", np.eye(4))
    assert farthest(read_result(path, "voxels-xyz", grid), grid) < TOLERANCE_MM


def test_voxels_with_the_components_reversed(grid, tmp_path):
    path = write_vectors(voxels(grid)[..., ::-1], tmp_path / "field.mha")
    assert farthest(read_result(path, "voxels-zyx", grid), grid) < TOLERANCE_MM


def test_voxels_at_half_resolution(grid, tmp_path):
    half = tuple(n // 2 for n in grid.size)
    # The centre of cell n of two voxels.
    path = write_nifti(voxels(grid, 2 * indices(half) + 0.5), tmp_path / "disp.nii.gz", np.eye(4))
    # Half a coarse cell off the faces there is nothing to interpolate.
    assert farthest(read_result(path, "voxels-xyz", grid), grid, margin=0.5) < TOLERANCE_MM


def test_deeds_is_read_as_its_own_program_applies_it(grid, tmp_path):
    nodes = (6, 5, 4)
    rng = np.random.default_rng(1)
    flow = rng.normal(0, 2, (3, *nodes[::-1])).astype(np.float32)
    flow.tofile(tmp_path / "out_displacements.dat")
    transform = read_result(tmp_path / "out_displacements.dat", "deeds", grid)
    for voxel in rng.integers(0, grid.size, (60, 3)):
        # upsampleDeformationsCL and interp3: the node at floor(i / scale), clamped, and the next one.
        where = voxel / (np.array(grid.size) / nodes)
        low, part = np.floor(where).astype(int), where - np.floor(where)
        u = np.zeros(3)
        for corner in np.ndindex(2, 2, 2):
            i, j, k = np.minimum(low + corner, np.array(nodes) - 1)
            u += np.prod(np.where(corner, part, 1 - part)) * flow[:, k, j, i]
        # warpAffine: u moves along the second axis, v along the first, w along the third.
        there = grid.to_physical(voxel + [u[1], u[0], u[2]])
        found = transform.TransformPoint(grid.to_physical(voxel).tolist())
        assert np.linalg.norm(there - found) < TOLERANCE_MM


def test_an_itk_transform_is_read_as_it_is(grid, tmp_path):
    affine = sitk.AffineTransform((np.eye(3) + MATRIX).ravel().tolist(), OFFSET.tolist())
    sitk.WriteTransform(affine, str(tmp_path / "transform.tfm"))
    assert farthest(read_result(tmp_path / "transform.tfm", "transform", grid), grid) < TOLERANCE_MM


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_missing_result_is_refused(grid, tmp_path, convention):
    with pytest.raises(InputError, match="no result|does not exist"):
        read_result(tmp_path / "field.mha", convention, grid)


@pytest.mark.parametrize("convention", ["mm-lps", "voxels-xyz", "deeds"])
def test_a_damaged_result_is_refused(grid, tmp_path, convention):
    (tmp_path / "field.mha").write_bytes(b"no image at all")
    with pytest.raises(InputError):
        read_result(tmp_path / "field.mha", convention, grid)


def test_a_field_of_another_shape_is_refused(grid, tmp_path):
    path = write_vectors(np.zeros((12, 10, 16, 3)), tmp_path / "field.mha")
    with pytest.raises(InputError, match="does not fit"):
        read_result(path, "voxels-xyz", grid)


def test_a_scalar_image_is_refused(grid, tmp_path):
    path = write_nifti(np.zeros(grid.size), tmp_path / "field.nii.gz", np.eye(4))
    with pytest.raises(InputError, match="three values"):
        read_result(path, "voxels-xyz", grid)


def test_values_that_are_not_finite_are_refused(grid, tmp_path):
    array = voxels(grid)
    array[3, 4, 5, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        read_result(write_vectors(array, tmp_path / "field.mha"), "voxels-zyx", grid)


def test_an_unknown_convention_is_refused(grid, tmp_path):
    with pytest.raises(InputError, match="mm-lps"):
        read_result(tmp_path / "field.mha", "inches", grid)
