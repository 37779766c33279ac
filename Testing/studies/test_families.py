"""Families of data: their truth is true, their values are what they say, and tables part them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.points import PointSet, read_points, write_points
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_volume, write_volume
from GLIDERegLib.studies.benchmark.by_family import FAMILY_COLUMNS, family_tables
from GLIDERegLib.studies.benchmark.run import Results
from GLIDERegLib.studies.benchmark.truth import PLEURA_MM, Smoothness, regions_of, truth_error
from GLIDERegLib.studies.datasets import families, find_cases
from GLIDERegLib.studies.datasets.known_truth import write_vectors
from GLIDERegLib.studies.datasets.random_chest import make_random_chest
from GLIDERegLib.transforms.points import map_points


@pytest.fixture(scope="module")
def chest():
    return make_random_chest((60, 44, 52), 6.0, 15.0, seed=1)


class TestRandomChest:
    def test_the_truth_carries_the_points_and_reaches_the_amplitude(self, chest, tmp_path):
        write_vectors(chest.displacement, chest.truth_grid, tmp_path / "truth.mha")
        truth = read_transform(tmp_path / "truth.mha")
        apart = np.linalg.norm(map_points(truth, chest.fixed_points) - chest.moving_points, axis=1)
        assert len(chest.fixed_points) >= 5 and apart.max() < 0.5
        # Nodes lie 12 mm apart here: linear between them, and the largest displacement may fall there.
        assert np.linalg.norm(chest.displacement, axis=-1).max() == pytest.approx(15.0, abs=1.5)

    def test_the_moving_scan_shows_at_the_moved_points_what_the_fixed_one_shows(self, chest):
        fixed = ndimage.gaussian_filter(chest.fixed.array.astype(float), 0.5)
        moving = ndimage.gaussian_filter(chest.moving.array.astype(float), 0.5)
        grid = chest.fixed.grid

        def seen(image, points):
            return ndimage.map_coordinates(image, grid.to_index(points)[:, ::-1].T, order=1)

        points = grid.points()[chest.lungs][::7]
        u = np.stack(
            [
                ndimage.map_coordinates(
                    chest.displacement[..., a], chest.truth_grid.to_index(points)[:, ::-1].T, order=1
                )
                for a in range(3)
            ],
            -1,
        )
        right = np.corrcoef(seen(fixed, points), seen(moving, points + u))[0, 1]
        as_they_lie = np.corrcoef(seen(fixed, points), seen(moving, points))[0, 1]
        assert 1 - right < 0.5 * (1 - as_they_lie)

    def test_another_seed_is_another_patient_and_the_same_one_the_same(self, chest):
        again = make_random_chest((60, 44, 52), 6.0, 15.0, seed=1)
        assert np.array_equal(again.moving.array, chest.moving.array)
        other = make_random_chest((60, 44, 52), 6.0, 15.0, seed=2)
        assert np.mean(other.lungs != chest.lungs) > 0.005

    @pytest.mark.parametrize("arguments", [{"amplitude_mm": 41.0}, {"size": (20, 40, 40)}])
    def test_what_could_fold_or_hold_no_chest_is_refused(self, arguments):
        with pytest.raises(InputError):
            make_random_chest(**arguments)


def test_the_mr_family_is_8_bit_from_zero_and_keeps_the_phantoms_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(families, "MR", ((40, 40, 36), (8.0, 8.0, 8.0), 15.0))
    (case,) = families.mr_phantoms(tmp_path, (3,))
    fixed, moving = read_volume(case.fixed), read_volume(case.moving)
    assert fixed.array.dtype == np.uint8 and fixed.array.min() == 0 and 180 < fixed.array.max() <= 255
    # Fat is bright and air dark, other than in CT; each scan has noise of its own.
    assert np.percentile(fixed.array[:3, :3], 99) < 30
    assert np.any(fixed.array[:2] != moving.array[:2])
    truth = read_transform(case.truth)
    points = [read_points(path).points for path in (case.fixed_points, case.moving_points)]
    assert np.abs(map_points(truth, points[0]) - points[1]).max() < 0.5


def test_pairs_that_come_with_their_truth_are_found_with_lungs_and_where_to_judge(tmp_path):
    place = tmp_path / "one"
    place.mkdir()
    grid = Grid((9, 8, 7), (2.0, 2.0, 2.0))
    rng = np.random.default_rng(0)
    for name in ("fixed", "moving"):
        write_volume(
            Volume(rng.normal(0, 200, grid.shape).astype(np.float32), grid), place / f"{name}.nii.gz"
        )
        write_points(PointSet(["a"], np.array([[4.0, 4.0, 4.0]])), place / f"{name}_points.csv")
    write_volume(Volume(np.ones(grid.shape, np.uint8), grid), place / "fixed_lung.nii.gz")
    with pytest.raises(InputError, match="truth.nii.gz"):
        find_cases("textured", tmp_path, tmp_path / "work")
    write_vectors(np.zeros((*grid.shape, 3), np.float32), grid, place / "truth.nii.gz")
    (case,) = find_cases("textured", tmp_path, tmp_path / "work")
    assert (case.family, case.lungs.name, case.scored) == ("textured", "fixed_lung.nii.gz", None)
    assert find_cases("textured", place, tmp_path / "work") == [case]


@pytest.mark.parametrize(("kind", "names"), [("textured", 2), ("known_truth", 3)])
def test_the_pairs_beside_this_checkout_are_found(shared_data, tmp_path, kind, names):
    cases = find_cases(kind, shared_data / kind, tmp_path)
    assert len(cases) == names and all(case.lungs and case.scored and case.truth for case in cases)


def test_the_smoothness_of_a_field_is_told_beside_the_truths():
    grid = Grid((30, 28, 26), (4.0, 4.0, 4.0))
    everywhere = np.ones(grid.shape, bool)
    linear = sitk.AffineTransform(3)
    linear.SetMatrix((1.1 * np.eye(3)).ravel().tolist())
    image = sitk.Image(grid.size, sitk.sitkUInt8)
    image.SetSpacing(grid.spacing)
    wavy = sitk.BSplineTransformInitializer(image, (4, 4, 4))
    wavy.SetParameters(np.random.default_rng(0).normal(0, 3, len(wavy.GetParameters())).tolist())
    smoothness = Smoothness(linear, grid, {"body": everywhere})
    assert smoothness(linear)["body"] == pytest.approx({"std_log": 0.0, "truth_std_log": 0.0}, abs=1e-6)
    assert smoothness(wavy)["body"]["std_log"] > 0.05


def test_regions_are_where_the_truth_may_be_judged_and_the_pleura_is_the_last_centimetre():
    grid = Grid((40, 40, 40), (2.0, 2.0, 2.0))
    lungs, scored = np.zeros(grid.shape, bool), np.ones(grid.shape, bool)
    lungs[5:35, 5:35, 5:35] = True
    scored[:20] = False
    regions = regions_of(grid, scored, lungs)
    assert regions["lungs"].sum() == 15 * 30 * 30 and not regions["pleura"][:20].any()
    inner = int(30 - 2 * PLEURA_MM / 2)
    assert regions["pleura"].sum() == 15 * 30 * 30 - 10 * inner * inner
    shift = sitk.TranslationTransform(3, (3.0, 0.0, 4.0))
    identity = sitk.Transform(3, sitk.sitkIdentity)
    error = truth_error(identity, shift, grid, regions["lungs"])
    assert error["final"]["mean"] == error["final"]["max"] == pytest.approx(5.0)


def record(case: str, family: str, method: str, errors: list[float]) -> dict:
    summary = {"mean": float(np.mean(errors)), "n": len(errors)}
    each = [{"label": str(n), "initial_mm": 9.0, "final_mm": e} for n, e in enumerate(errors)]
    return {
        "case": case,
        "family": family,
        "method": method,
        "status": "done",
        "seconds": 2.0,
        "peak_bytes": 2**30,
        "structures": {},
        "metrics": {
            "target_registration_error": {"initial": summary, "final": summary, "each": each},
            "centre_point_matching": {"final": {}},
            "jacobian": {"share_not_positive": 0.0, "min": 0.5, "max": 2.0, "std_log": 0.1},
            "inverse_consistency": {"mean_mm": 0.0, "p95_mm": 0.0},
            "similarity": {"initial": {}, "final": {}},
            "truth_by_region": {"lungs": {"final": {"mean": 1.25, "p95": 3.0}}},
            "log_jacobian": {"lungs": {"std_log": 0.15, "truth_std_log": 0.1}},
        },
    }


def test_the_family_in_which_the_reference_is_worst_stands_first_with_its_worst_landmark():
    records = [
        record("a", "easy", "ours", [0.5, 0.7]),
        record("a", "easy", "other", [1.0, 1.0]),
        record("b", "hard", "ours", [1.0, 9.0]),
        record("b", "hard", "other", [1.0, 1.0]),
    ]
    results = Results(["a", "b"], ["ours", "other"], records)
    first, second = family_tables(results, ["ours", "other"], "ours")
    assert first.startswith("Family hard") and second.startswith("Family easy")
    ours = next(line for line in first.splitlines() if line.startswith("| ours"))
    cells = dict(zip(FAMILY_COLUMNS, [cell.strip() for cell in ours.split("|")[2:-1]], strict=True))
    assert (cells["mean"], cells["worst"], cells["beyond 5 mm (%)"]) == ("5.00", "9.0", "50.0")
    assert cells["lungs"] == "1.25" and cells["SD of log J, lungs / truth"] == "0.150 / 0.100"
