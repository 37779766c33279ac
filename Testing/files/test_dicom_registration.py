"""A registration through a DICOM object and back, read by others too, and what must not pass."""

import re
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_objects import UID, an_object, hu, save
from dicom_registrations import (
    CLOSE_MM,
    TURNED,
    TURNED_GRID,
    TYPE_1,
    a_pair,
    analytic,
    check,
    mapped,
    points_of,
    results_of,
)

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.dicom.new_object import references
from GLIDERegLib.files.dicom.registered_scans import check_pair, check_registered, check_warped, read_scan
from GLIDERegLib.files.dicom.registration_items import RIGID
from GLIDERegLib.files.dicom.registration_object import read_registration
from GLIDERegLib.files.dicom.registration_writer import export_registration
from GLIDERegLib.files.dicom.vector_grid import grid_for, sampled
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.transforms.points import map_points


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return a_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def scans(pair):
    return [read_scan(path, "scan") for path in pair]


@pytest.fixture(scope="module")
def written(scans, tmp_path_factory):
    """The object of a field on a grid turned by 20 degrees, 2.0 x 2.5 x 3.0 mm."""
    path = tmp_path_factory.mktemp("object") / "registration.dcm"
    export_registration(analytic(TURNED_GRID), *scans, path, keep_grid=True)
    return path


@pytest.fixture(scope="module")
def points(scans):
    return points_of(scans[0])


def test_points_and_references_are_the_same_after_the_round_trip(written, scans, points):
    found = check(written, scans, points)
    assert found.kind == "Deformable Spatial Registration" and found.notes == ()
    assert found.fixed.series == scans[0].info.series_uid and found.moving.series == scans[1].info.series_uid
    assert found.patient == scans[0].info.patient
    data = pydicom.dcmread(written)
    assert (data.StudyDate, data.PatientSex, data.Modality) == ("20260101", "F", "REG")


def test_a_second_reader_finds_the_same_points(written, points):
    reg = pytest.importorskip("pydicomrt.reg", reason="pydicomrt is not installed (make validators)")
    data = pydicom.dcmread(written)
    assert reg.check_deformable_reg_iod(data) == {"result": True, "content": []}
    (found,) = reg.get_deformable_registrations(data)
    grid = found["DeformableRegistrationGrid"]
    row, column = np.reshape([float(v) for v in grid["ImageOrientationPatient"]], (2, 3))
    matrix = np.column_stack([row, column, np.cross(row, column)]) * grid["GridResolution"]
    index = np.linalg.solve(matrix, (points - np.array(grid["ImagePositionPatient"], float)).T)
    from scipy.ndimage import map_coordinates

    vectors = grid["VectorGridData"]
    u = [map_coordinates(vectors[..., c], index[::-1], order=1) for c in range(3)]
    apart = points + np.stack(u, -1) - mapped(points)
    assert np.linalg.norm(apart, axis=1).max() <= CLOSE_MM


def validated(program, *arguments):
    if shutil.which(program) is None:
        pytest.skip(f"{program} of dicom3tools is not installed (make validators)")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()


def test_the_validator_has_nothing_to_say(written):
    assert validated("dciodvfy", "-new", written) == ["DeformableSpatialRegistration"]


def test_the_object_agrees_with_its_study(written, pair):
    lines = validated("dcentvfy", written, *sorted(pair[0].iterdir()), *sorted(pair[1].iterdir()))
    assert lines == []


def first_item(data):
    return data.DeformableRegistrationSequence[0]


def grid_of(data):
    return first_item(data).DeformableRegistrationGridSequence[0]


def turned_sign(data):
    grid = grid_of(data)
    grid.VectorGridData = (-np.frombuffer(grid.VectorGridData, "<f4")).tobytes()


def cosines_in_rows(data):
    grid_of(data).ImageOrientationPatient = list(np.reshape(TURNED, 9)[:6])


def long_cosines(data):
    grid_of(data).ImageOrientationPatient = [1.02 * v for v in grid_of(data).ImageOrientationPatient]


def first_vector_at_the_corner(data):
    grid = grid_of(data)
    grid.ImagePositionPatient = [p - s / 2 for p, s in zip(grid.ImagePositionPatient, grid.GridResolution,
                                                           strict=True)]  # fmt: skip


def short_vectors(data):
    grid_of(data).VectorGridData = grid_of(data).VectorGridData[:-12]


def no_references(data):
    del data.ReferencedSeriesSequence
    del first_item(data).ReferencedImageSequence


def one_frame(data):
    first_item(data).SourceFrameOfReferenceUID = data.FrameOfReferenceUID


def z_fastest(data):
    grid = grid_of(data)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(*grid.GridDimensions[::-1], 3)
    grid.VectorGridData = vectors.transpose(2, 1, 0, 3).tobytes()


MUTATIONS = [
    (turned_sign, "points"),
    (cosines_in_rows, "points"),
    (first_vector_at_the_corner, "points"),
    (z_fastest, "points"),
    (long_cosines, "not of length 1"),
    (short_vectors, "length of the vectors"),
    (no_references, "type 1 of the item"),
    (one_frame, "UIDs"),
    *((lambda data, name=name: delattr(data, name), "type 1") for name in TYPE_1[6:]),
]


@pytest.mark.parametrize(("mutation", "says"), MUTATIONS)
def test_what_is_wrong_in_the_object_is_found(written, scans, points, tmp_path, mutation, says):
    data = pydicom.dcmread(written)
    mutation(data)
    data.save_as(tmp_path / "wrong.dcm")
    with pytest.raises((AssertionError, InputError), match=says):
        check(tmp_path / "wrong.dcm", scans, points)


def test_the_validator_finds_a_missing_type_1(written, tmp_path):
    data = pydicom.dcmread(written)
    del data.ContentLabel
    data.save_as(tmp_path / "wrong.dcm")
    assert any("ContentLabel" in line for line in validated("dciodvfy", "-new", tmp_path / "wrong.dcm"))


def test_matrices_before_and_after_the_deformation_are_honoured(written, points, tmp_path):
    """T(x) = M_post (M_pre x + D(x)), D looked up at x: not at M_pre x."""
    data = pydicom.dcmread(written)
    item = first_item(data)
    before, after = np.eye(4), np.eye(4)
    before[:3] = [[0.9, -0.1, 0, 30], [0.2, 1.1, 0, -20], [0, 0.1, 1.05, 10]]
    after[:3] = [[0, -1, 0, 5], [1, 0, 0, 50], [0, 0, 1, -7]]
    for when, matrix, kind in (("Pre", before, "AFFINE"), ("Post", after, "RIGID")):
        part = item[f"{when}DeformationMatrixRegistrationSequence"].value[0]
        part.FrameOfReferenceTransformationMatrix = list(matrix.ravel())
        part.FrameOfReferenceTransformationMatrixType = kind
    data.save_as(tmp_path / "matrices.dcm")
    displaced = points @ before[:3, :3].T + before[:3, 3] + (mapped(points) - points)
    expected = displaced @ after[:3, :3].T + after[:3, 3]
    found = map_points(read_transform(tmp_path / "matrices.dcm"), points)
    assert np.linalg.norm(found - expected, axis=1).max() <= CLOSE_MM


def test_undefined_vectors_are_filled_from_the_nearest_and_told(written, points, tmp_path):
    data = pydicom.dcmread(written)
    grid = grid_of(data)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(*grid.GridDimensions[::-1], 3).copy()
    vectors[:, :, -1] = np.nan
    grid.VectorGridData = vectors.tobytes()
    data.save_as(tmp_path / "undefined.dcm")
    found = read_registration(tmp_path / "undefined.dcm")
    assert np.isfinite(map_points(found.transform, points)).all()
    (note,) = found.notes
    assert note.startswith("2.9 % of the object's vectors are undefined")


def test_the_usual_grid_runs_along_the_patient_and_tells_what_it_loses(scans, points, tmp_path):
    fine = Grid((90, 75, 95), (1.0, 1.0, 1.0), (-45.0, -15.0, -325.0))
    written = export_registration(analytic(fine), *scans, tmp_path / "usual.dcm")
    assert written.grid.spacing == (2.0, 2.0, 2.0) and np.array_equal(written.grid.axes, np.eye(3))
    corners = scans[0].grid.corners()
    index = written.grid.to_index(corners)
    assert index.min() >= -1e-6 and (index <= np.asarray(written.grid.size) - 1 + 1e-6).all()
    transform = read_transform(tmp_path / "usual.dcm")
    apart = np.linalg.norm(map_points(transform, points) - mapped(points), axis=1)
    assert apart.max() <= CLOSE_MM
    assert 0 < written.largest_difference_mm <= CLOSE_MM


@pytest.mark.parametrize(
    ("spacing", "expected"), [((2, 2.5, 3), (2, 2.5, 3)), ((4, 5, 9), (2, 2.5, 3)), ((1, 1, 1), (2, 2, 2))]
)
def test_a_fields_own_nodes_are_kept_where_that_is_allowed(spacing, expected):
    scan = Grid((80, 60, 50), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5))
    own = Grid((60, 60, 60), tuple(map(float, spacing)), (-11.0, -13.0, -17.0))
    grid = grid_for(scan, own)
    assert grid.spacing == expected
    rough = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(60, 60, 60, 3)))
    rough.SetSpacing(own.spacing), rough.SetOrigin(own.origin)
    transform = sitk.DisplacementFieldTransform(sitk.Cast(rough, sitk.sitkVectorFloat64))
    share = np.random.default_rng(2).random((50, 3))
    inside = scan.to_physical(share * (np.asarray(scan.size) - 1))
    from GLIDERegLib.files.dicom.vector_grid import field_transform

    again = field_transform(sampled(transform, grid), grid)
    apart = np.abs(map_points(again, inside) - map_points(transform, inside)).max()
    assert (apart < 1e-6) == (min(spacing) >= 2)


def test_a_large_scan_gets_a_coarser_grid():
    grid = grid_for(Grid((500, 500, 400)), None)
    assert grid.spacing == (2.5,) * 3
    assert 12 * np.prod(grid.size) <= 100e6


def a_rigid_object(path, matrix, scans, order=("fixed", "moving"), kind_of_matrix="RIGID", **tags):
    """A Spatial Registration: the own frame's item, moved by nothing, and one whose matrix leads to it."""
    sides = dict(zip(("fixed", "moving"), scans, strict=True))
    data = an_object(RIGID, **{"FrameOfReferenceUID": sides[order[0]].info.frame_of_reference_uid, **tags})
    data.ContentLabel, data.RegistrationSequence = "RIGID", []
    for role, parts in ((order[0], [np.eye(4)]), (order[1], matrix)):
        item = pydicom.Dataset()
        item.FrameOfReferenceUID = sides[role].info.frame_of_reference_uid
        item.ReferencedImageSequence = references(sides[role])
        item.MatrixRegistrationSequence = [pydicom.Dataset()]
        item.MatrixRegistrationSequence[0].MatrixSequence = []
        for part in parts:
            entry = pydicom.Dataset()
            entry.FrameOfReferenceTransformationMatrix = [f"{v:.10g}" for v in part.ravel()]
            entry.FrameOfReferenceTransformationMatrixType = kind_of_matrix
            item.MatrixRegistrationSequence[0].MatrixSequence.append(entry)
        data.RegistrationSequence.append(item)
    save(data, path)
    return path


TURN, SHIFT = np.eye(4), np.eye(4)
TURN[:3, :3] = np.reshape(TURNED, (3, 3))
SHIFT[:3, 3] = (5, -60, 12)


def test_a_rigid_object_runs_the_other_way_and_its_matrices_in_their_order(scans, points, tmp_path):
    path = a_rigid_object(tmp_path / "rigid.dcm", [TURN, SHIFT], scans)
    found = read_registration(path)
    assert found.kind == "Spatial Registration" and found.moving.images == set(
        scans[1].info.sop_instance_uids
    )
    # The moving point is turned, then shifted, to become the fixed one.
    moving = points @ TURN[:3, :3].T
    np.testing.assert_allclose(map_points(found.transform, moving + SHIFT[:3, 3]), points, atol=1e-6)
    np.testing.assert_allclose(
        map_points(read_transform(path), points), map_points(found.transform, points), atol=1e-9
    )


SCALED, SHEARED = np.diag([1.1, 0.9, 1.0, 1.0]), np.eye(4)
SHEARED[0, 1] = 0.2


@pytest.mark.parametrize(
    ("matrix", "kind", "said"),
    [
        (SCALED, "RIGID", "type RIGID that scales"),
        (SHEARED, "RIGID", "type RIGID that scales"),
        (np.diag([-1.0, 1, 1, 1]), "RIGID", "or mirrors"),
        (SHEARED, "RIGID_SCALE", "type RIGID_SCALE that shears"),
        (SHIFT, "WARP", "type 'WARP', which DICOM does not know"),
        (None, "RIGID", "a registration without a matrix"),
    ],
)
def test_a_matrix_that_is_not_of_its_type_is_refused(scans, tmp_path, matrix, kind, said):
    given = [] if matrix is None else [matrix]
    path = a_rigid_object(tmp_path / "rigid.dcm", given, scans, kind_of_matrix=kind)
    with pytest.raises(InputError, match=re.escape(said)):
        read_registration(path)


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        (np.round(TURN, 4), "RIGID"),
        (SCALED, "RIGID_SCALE"),
        (TURN @ SCALED, "RIGID_SCALE"),
        (SHEARED, "AFFINE"),
        (SHEARED, ""),
        (SHIFT, "rigid"),
    ],
)
def test_a_matrix_of_its_type_is_read(scans, points, tmp_path, matrix, kind):
    path = a_rigid_object(tmp_path / "rigid.dcm", [matrix], scans, kind_of_matrix=kind)
    fixed = points @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(map_points(read_registration(path).transform, fixed), points, atol=1e-6)


def test_one_frame_of_reference_that_moves_against_itself_without_images_is_refused(tmp_path, scans):
    path = a_rigid_object(tmp_path / "rigid.dcm", [SHIFT], (scans[0], scans[0]))
    data = pydicom.dcmread(path)
    for item in data.RegistrationSequence:
        del item.ReferencedImageSequence
    save(data, path)
    with pytest.raises(InputError, match="one frame of reference for several scans"):
        read_registration(path)


def test_a_rigid_object_is_turned_where_its_own_frame_is_the_moving_scans(scans, points, tmp_path):
    path = a_rigid_object(tmp_path / "rigid.dcm", [SHIFT], scans, order=("moving", "fixed"))
    found = read_registration(path, scans[0].info, scans[1].info)
    np.testing.assert_allclose(map_points(found.transform, points), points + SHIFT[:3, 3], atol=1e-9)


def test_two_scans_of_one_frame_are_told_apart_by_their_images(tmp_path, points):
    paths = a_pair(tmp_path, {"FrameOfReferenceUID": UID + ".9"}, FrameOfReferenceUID=UID + ".9")
    fixed, moving = (read_scan(path, "scan") for path in paths)
    path = a_rigid_object(tmp_path / "rigid.dcm", [SHIFT], (fixed, moving))
    for first, second, sign in ((fixed, moving, -1), (moving, fixed, 1)):
        found = read_registration(path, first.info, second.info)
        np.testing.assert_allclose(map_points(found.transform, points), points + sign * SHIFT[:3, 3])
    export_registration(analytic(TURNED_GRID), fixed, moving, tmp_path / "deformable.dcm", keep_grid=True)
    with pytest.raises(InputError, match="maps the scan given as moving to the one given as fixed"):
        read_registration(tmp_path / "deformable.dcm", moving.info, fixed.info)


def test_an_object_of_other_scans_is_refused(written, scans, tmp_path):
    strange = a_pair(tmp_path, FrameOfReferenceUID=UID + ".77")[0]
    for path in strange.iterdir():
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        data.save_as(path)
    other = read_scan(strange, "scan")
    with pytest.raises(InputError, match="does not speak of the fixed scan"):
        read_registration(written, other.info, scans[1].info)


@pytest.mark.parametrize("cut", [200, 2000, -50])
def test_an_object_cut_off_is_refused_in_a_sentence(written, tmp_path, cut):
    (tmp_path / "cut.dcm").write_bytes(written.read_bytes()[:cut])
    with pytest.raises(InputError) as refused:
        read_registration(tmp_path / "cut.dcm")
    assert str(tmp_path) in str(refused.value) and str(refused.value).count("\n") == 0


def test_bytes_changed_at_random_are_read_or_refused_in_a_sentence(scans, tmp_path):
    grid = Grid((4, 5, 6), (20.0, 20.0, 20.0), (-40.0, -20.0, -325.0), TURNED)
    export_registration(analytic(grid), *scans, tmp_path / "deformable.dcm", keep_grid=True)
    a_rigid_object(tmp_path / "rigid.dcm", [TURN, SHIFT], scans)
    random = np.random.default_rng(0)
    outcomes = set()
    for name in ("deformable.dcm", "rigid.dcm"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for place in random.integers(132, len(data), 4):
                data[place] = random.integers(0, 256)
            (tmp_path / "changed.dcm").write_bytes(data)
            try:
                read_registration(tmp_path / "changed.dcm")
                outcomes.add("read")
            except InputError as error:
                assert "\n" not in str(error)
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_other_objects_and_files_are_refused_by_kind(pair, tmp_path):
    image = next(pair[0].iterdir())
    with pytest.raises(InputError, match="another kind .CT Image Storage"):
        read_transform(image)
    with pytest.raises(InputError, match="is a folder"):
        read_registration(pair[0])
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(InputError, match="unknown type"):
        read_transform(tmp_path / "text.dcm")


def test_scans_that_no_object_may_join_are_refused(tmp_path, scans):
    other, _ = a_pair(tmp_path / "other", PatientID="8")
    with pytest.raises(InputError, match="different patients: their IDs differ"):
        check_pair(read_scan(other, "fixed scan"), scans[1])
    with pytest.raises(InputError, match="the same DICOM series"):
        check_pair(scans[0], scans[0])
    frameless, _ = a_pair(tmp_path / "frameless", FrameOfReferenceUID=None)
    with pytest.raises(InputError, match="fixed scan has no FrameOfReferenceUID"):
        read_scan(frameless, "fixed scan")


def test_series_that_were_not_registered_are_refused(scans, tmp_path):
    grids = [scan.grid for scan in scans]
    shift = sitk.TranslationTransform(3, (1.3, 0.0, 2.0))
    first, second = (Volume(hu(30, 40, 60, seed), grids[1]) for seed in (1, 2))
    results = results_of(tmp_path / "results", grids[0], first, shift)
    check_registered(results, *grids)
    with pytest.raises(InputError, match="The fixed DICOM series is not the fixed scan"):
        check_registered(results, *grids[::-1])
    with pytest.raises(InputError, match="The moving DICOM series is not the moving scan"):
        check_registered(results, grids[0], Grid((3, 4, 5)))
    # Scans on one grid are told apart by what was warped.
    check_warped(results, shift, first)
    with pytest.raises(InputError, match="its values differ"):
        check_warped(results, shift, second)
