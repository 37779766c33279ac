"""`register`, the one call that does everything, on small pairs with known truth."""

import json
import time

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from GLIDERegLib import api
from GLIDERegLib.api import machine
from GLIDERegLib.core.errors import Cancelled, InputError, OutOfMemoryError, WeightsError
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.core.settings import Level, Settings
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.files.checkpoints import CHECKPOINTS, weights_folder
from GLIDERegLib.files.feature_cache import FeatureCache
from GLIDERegLib.registration.progress import CancelToken, Stages
from GLIDERegLib.studies.datasets.families import MR_HU, MR_NOISE, MR_SIGNAL


@pytest.fixture(scope="module")
def pair():
    """48 x 48 x 40 voxels of 8 mm."""
    return make_phantom((48, 48, 40), (8.0, 8.0, 8.0))


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "FeatureCache", lambda: FeatureCache(tmp_path / "features"))


def quick(**changes):
    """Settings that take a second or two at 8 mm."""
    options = {
        "features": "local", "align": "none", "spacing": 8.0, "cell_size": 16.0, "global_cell_size": 16.0,
        "global_search_range": 32.0,
        "levels": (Level(2, 2, 16), Level(2, 1, 32)),
    }  # fmt: skip
    return Settings.preset("fast", **{**options, **changes})


def in_numbers(scan, numbers):
    """The scan's values as 0-based CT, in a window of 8 bits, or as an MR shows tissues, with noise."""
    hu = scan.array.astype(float)
    if numbers.endswith("MR"):
        level = MR_NOISE * (4 if numbers == "noisy MR" else 1)
        noise = np.random.default_rng(len(scan.name)).normal(0, level, (2, *hu.shape))
        return Volume(np.hypot(np.interp(hu, MR_HU, MR_SIGNAL) + noise[0], noise[1]), scan.grid, scan.name)
    array = {"HU": scan.array, "0-based": hu + 1024, "window": np.rint((hu + 1000) * 255 / 1400).clip(0, 255)}
    return Volume(array[numbers], scan.grid, scan.name)


def error_mm(result, pair):
    """Mean target registration error on the landmarks."""
    found = result.displacement.transform_points(pair.fixed_landmarks)
    return float(np.linalg.norm(found - pair.moving_landmarks, axis=1).mean())


def initial_error_mm(pair):
    return float(np.linalg.norm(pair.fixed_landmarks - pair.moving_landmarks, axis=1).mean())


def mapped(transform, points):
    return np.array([transform.TransformPoint(p) for p in points.tolist()])


class Averages:
    """A slice encoder of our own: the mean intensities of 16 squares are a token's channels."""

    name, channels = "averages", 16

    def identity(self):
        return {"encoder": self.name}

    def encode(self, slices, masks, progress=None, cancel=None):
        pooled = F.adaptive_avg_pool2d(slices[:, None].clamp(-1000, 400) / 1000, (64, 64))
        return F.pixel_unshuffle(pooled, 4)


@pytest.fixture(scope="module")
def local_result(pair):
    told = []
    return api.register(pair.fixed, pair.moving, quick(), progress=told.append), told


class TestResult:
    def test_landmarks_come_closer(self, local_result, pair):
        result, _ = local_result
        assert error_mm(result, pair) < 0.5 * initial_error_mm(pair)

    def test_displacement_and_transform_say_the_same(self, local_result, pair):
        result, _ = local_result
        points = pair.fixed.grid.corners() * 1.2
        points = np.concatenate([points, pair.fixed_landmarks])
        np.testing.assert_allclose(
            result.displacement.transform_points(points), mapped(result.transform, points), atol=1e-3
        )

    def test_the_warped_image_has_the_fixed_grid_and_the_moving_type(self, local_result, pair):
        result, _ = local_result
        assert result.warped.grid == pair.fixed.grid
        assert result.warped.array.dtype == pair.moving.array.dtype
        before, after = (
            np.abs(a.astype(float) - pair.fixed.array).mean()
            for a in (pair.moving.array, result.warped.array)
        )
        assert after < before

    @pytest.mark.parametrize(
        ("of_fixed", "of_moving", "coarse", "fine"),
        [
            ("HU", "HU", True, True),
            ("0-based", "0-based", True, True),
            ("window", "window", True, True),
            # Noise of single voxels leaves the last step out, another scale all of them.
            ("MR", "MR", True, True),
            ("noisy MR", "noisy MR", True, False),
            ("MR", "HU", False, False),
        ],
    )
    def test_intensities_steer_between_scans_of_one_scale(self, pair, of_fixed, of_moving, coarse, fine):
        fixed, moving = in_numbers(pair.fixed, of_fixed), in_numbers(pair.moving, of_moving)

        def result(share: float) -> api.Registration:
            settings = quick(intensity_share=share, levels=(Level(2, 2, 16), Level(2, 1, 2)))
            return api.register(fixed, moving, settings)

        asked, unasked = result(0.5), result(0.0)
        left_out = np.array_equal(asked.displacement.vectors, unasked.displacement.vectors)
        assert left_out == (not coarse)
        # The settings tell what was asked for, this what was done at last, and a note where that is less.
        told = asked.report["intensities"]
        assert asked.report["settings"]["intensity_share"] == 0.5 and unasked.report["intensities"] == []
        assert told and all(use["share"] == (0.5 if fine else 0.0) for use in told)
        assert all((use["agreement"] is None) == (of_fixed == of_moving == "HU") for use in told)
        notes = [text for text in asked.report["warnings"] if text.startswith("Brightness did not steer")]
        assert len(notes) == (not fine)
        assert all(("the last step" in text) == coarse for text in notes)

    def test_nothing_folds(self, local_result):
        result, _ = local_result
        assert result.displacement.jacobian_determinant().min() > 0
        assert result.report["jacobian"]["share_not_positive"] == 0

    def test_the_report_is_json_able_and_tells_what_was_done(self, local_result):
        result, _ = local_result
        report = json.loads(json.dumps(result.report))
        expected = (
            "versions settings seed device features intensities weights images working_spacing_mm "
            "initial_transform "
            "similarity jacobian displacement inverse_consistency warnings stages seconds"
        )
        assert set(expected.split()) <= set(report)
        assert report["features"] == "local" and report["weights"] is None
        assert report["working_spacing_mm"] == 8.0
        assert report["device"]["kind"] in ("cpu", "cuda")
        assert report["versions"]["torch"] == torch.__version__
        assert report["similarity"]["final"] != report["similarity"]["initial"]
        assert report["seconds"] >= max(stage["seconds"] for stage in report["stages"].values()) > 0
        assert all(stage["peak_memory_mb"] > 0 for stage in report["stages"].values())

    def test_progress_names_the_stages_in_order_with_fractions_that_grow_from_zero_to_one(self, local_result):
        result, told = local_result
        order = list(dict.fromkeys(p.stage for p in told))
        assert order == list(result.report["stages"])
        assert {"convex optimisation", "refinement", "result"} <= set(order)
        for stage in order:
            fractions = [p.fraction for p in told if p.stage == stage]
            assert fractions[0] == 0.0 and fractions[-1] == 1.0
            assert fractions == sorted(fractions)

    def test_the_same_seed_gives_the_same_field(self, local_result, pair):
        again = api.register(pair.fixed, pair.moving, quick())
        assert np.array_equal(again.displacement.vectors, local_result[0].displacement.vectors)


class TestCancel:
    @pytest.mark.parametrize("stage", ["working grid", "convex optimisation", "refinement"])
    def test_from_a_callback_stops_before_the_next_report(self, pair, stage):
        token, told = CancelToken(), []

        def callback(progress):
            told.append(progress)
            if progress.stage == stage:
                token.cancel()

        with pytest.raises(Cancelled):
            api.register(pair.fixed, pair.moving, quick(), progress=callback, cancel=token)
        assert told[-1].stage == stage
        assert sum(p.stage == stage for p in told) == 1


class TestPreview:
    def test_fields_come_closer_to_the_truth_and_change_nothing(self, local_result, pair, monkeypatch):
        monkeypatch.setattr(Stages, "PREVIEW_SHARE", 1.0)
        seen = []
        result = api.register(pair.fixed, pair.moving, quick(), preview=seen.append)
        assert np.array_equal(result.displacement.vectors, local_result[0].displacement.vectors)
        errors = [
            np.linalg.norm(
                field.transform_points(pair.fixed_landmarks) - pair.moving_landmarks, axis=1
            ).mean()
            for field in seen
        ]
        assert len(seen) >= 3
        assert errors[0] == pytest.approx(initial_error_mm(pair))
        assert errors[-1] < 0.5 * errors[0]

    def test_includes_the_pre_alignment(self, pair):
        shift = sitk.TranslationTransform(3, (5.0, -3.0, 2.0))
        seen = []
        api.register(pair.fixed, pair.moving, quick(), initial_transform=shift, preview=seen.append)
        assert np.allclose(seen[0].at(pair.fixed_landmarks), (5.0, -3.0, 2.0), atol=1e-4)

    def test_takes_a_small_share_of_the_time(self):
        running = Stages(torch.device("cpu"), preview=lambda field: time.sleep(0.01))
        computed = []
        for _ in range(1000):
            running.show(lambda: computed.append(None))
        assert len(computed) == 1


class TestKeep:
    @pytest.mark.parametrize("symmetric", [False, True])
    def test_ends_in_the_refinement_with_the_result_so_far(self, pair, symmetric):
        keep, told = CancelToken(), []

        def listen(progress):
            told.append(progress)
            if progress.stage == "refinement" and progress.fraction > 0.3:
                keep.cancel()

        settings = quick(symmetric=symmetric)
        result = api.register(pair.fixed, pair.moving, settings, progress=listen, keep=keep)
        assert result.report["stopped_early"]
        assert "symmetry" not in {p.stage for p in told}
        assert error_mm(result, pair) < 0.7 * initial_error_mm(pair)
        assert result.displacement.jacobian_determinant().min() > 0

    def test_before_the_refinement_gives_the_convex_start(self, pair):
        keep = CancelToken()
        keep.cancel()
        result = api.register(pair.fixed, pair.moving, quick(), keep=keep)
        assert result.report["stopped_early"]
        assert error_mm(result, pair) < 0.9 * initial_error_mm(pair)

    def test_is_not_told_of_a_run_that_ended_by_itself(self, local_result):
        assert not local_result[0].report["stopped_early"]


class TestMasks:
    def test_what_lies_outside_the_masks_hardly_matters(self, pair):
        """A block of noise in the moving scan, with and without masks that leave it out."""
        spoilt = pair.moving.array.copy()
        block = (slice(8, 30), slice(6, 20), slice(6, 20))
        spoilt[block] = np.random.default_rng(0).integers(-1000, 1500, spoilt[block].shape)
        mask = np.ones(spoilt.shape, bool)
        mask[4:34, 2:24, 2:24] = False
        masks = {"fixed_mask": mask, "moving_mask": mask}
        spoilt = Volume(spoilt, pair.moving.grid, "moving")
        clean = api.register(pair.fixed, pair.moving, quick(), **masks)
        masked = api.register(pair.fixed, spoilt, quick(), **masks)
        unmasked = api.register(pair.fixed, spoilt, quick())
        landmarks = pair.fixed_landmarks
        i, j, k = np.rint(pair.fixed.grid.to_index(landmarks)).astype(int).T
        landmarks = landmarks[mask[k, j, i]]
        reference, with_masks, without = (
            r.displacement.transform_points(landmarks) for r in (clean, masked, unmasked)
        )
        off = np.linalg.norm(with_masks - reference, axis=1).mean()
        assert off < 0.5
        assert off < 0.5 * np.linalg.norm(without - reference, axis=1).mean()

    def test_a_mask_of_another_size_is_refused(self, pair):
        with pytest.raises(InputError, match="The fixed mask and the fixed image differ in size"):
            api.register(pair.fixed, pair.moving, quick(), fixed_mask=np.ones((3, 3, 3), bool))


SHIFT = (60.0, -50.0, 80.0)


@pytest.fixture(scope="module")
def shifted():
    """A moving scan whose frame is displaced by far more than the search reaches."""
    return make_phantom((48, 48, 40), (8.0, 8.0, 8.0), shift_mm=SHIFT)


class TestInitialTransform:
    def test_a_translation_is_part_of_the_result_everywhere(self, shifted):
        initial = sitk.TranslationTransform(3, SHIFT)
        result = api.register(shifted.fixed, shifted.moving, quick(), initial_transform=initial)
        assert initial_error_mm(shifted) > 100
        assert error_mm(result, shifted) < 6
        far = np.array([[900.0, -700.0, 1200.0]])
        np.testing.assert_allclose(result.displacement.at(far), [SHIFT], atol=1e-3)
        np.testing.assert_allclose(mapped(result.transform, far) - far, [SHIFT], atol=1e-3)
        np.testing.assert_allclose(result.report["initial_transform"]["offset_mm"], SHIFT)

    def test_a_displacement_field_is_composed_with_what_is_found(self, pair):
        """The field knows half of the truth; the registration finds the rest, and the result holds both."""
        image = sitk.GetImageFromArray(0.5 * pair.displacement(pair.fixed.grid.points()), isVector=True)
        image.SetSpacing(pair.fixed.grid.spacing)
        image.SetOrigin(pair.fixed.grid.origin)
        initial = sitk.DisplacementFieldTransform(image)
        result = api.register(pair.fixed, pair.moving, quick(), initial_transform=initial)
        half = np.linalg.norm(mapped(initial, pair.fixed_landmarks) - pair.moving_landmarks, axis=1).mean()
        assert half == pytest.approx(0.5 * initial_error_mm(pair), rel=0.1)
        assert error_mm(result, pair) < 0.7 * half
        assert result.report["initial_transform"] is None

    def test_that_leaves_no_overlap_is_refused(self, pair):
        with pytest.raises(InputError, match="leads from nowhere"):
            api.register(
                pair.fixed,
                pair.moving,
                quick(),
                initial_transform=sitk.TranslationTransform(3, (5000.0, 0, 0)),
            )


class TestRefusals:
    @pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta"])
    def test_a_device_that_is_not_there(self, pair, name):
        with pytest.raises(InputError, match=f"'{name}'.*choose"):
            api.register(pair.fixed, pair.moving, quick(device=name))

    @pytest.mark.parametrize("features", ["both", "global"])
    def test_global_features_without_a_checkpoint_name_file_hash_and_folder(self, pair, features):
        with pytest.raises(WeightsError) as refusal:
            api.register(pair.fixed, pair.moving, quick(features=features))
        message = str(refusal.value)
        assert "sam2.1_hiera_tiny.pt" in message
        assert CHECKPOINTS["sam2.1_hiera_tiny"].sha256 in message
        assert str(weights_folder()) in message

    def test_a_checkpoint_file_that_is_not_there(self, pair, tmp_path):
        path = tmp_path / "none.pt"
        with pytest.raises(WeightsError, match="none.pt"):
            api.register(pair.fixed, pair.moving, quick(features="auto", checkpoint=str(path)))

    def test_an_image_that_is_no_number_somewhere(self, pair):
        array = pair.moving.array.astype(np.float32)
        array[20, 20, 20] = np.nan
        with pytest.raises(InputError):
            api.register(pair.fixed, Volume(array, pair.moving.grid, "moving"), quick())


class TestFeatures:
    def test_auto_without_a_checkpoint_is_local_and_says_so(self, pair, local_result):
        result = api.register(pair.fixed, pair.moving, quick(features="auto"))
        assert result.report["features"] == result.report["settings"]["features"] == "local"
        assert any("sam2.1_hiera_tiny" in warning for warning in result.report["warnings"])
        assert np.array_equal(result.displacement.vectors, local_result[0].displacement.vectors)

    @pytest.mark.parametrize("reduction", ["dynamic", "static", "pca"])
    def test_both_run_with_every_reduction_and_are_reported(self, pair, reduction):
        settings = quick(features="auto", reduction=reduction, vae_tokens=256, vae_refresh=4)
        result = api.register(pair.fixed, pair.moving, settings, encoder=Averages())
        report = json.loads(json.dumps(result.report))
        assert report["features"] == "both"
        assert report["settings"]["reduction"] == reduction
        assert report["weights"] == {"encoder": "averages", "slice_step": 2}  # its voxels are 8 mm
        assert {"global features", "reduction", "local features"} <= set(report["stages"])
        assert not report["warnings"], "the start is composed of the global and the local search"
        assert error_mm(result, pair) < 0.5 * initial_error_mm(pair)

    def test_global_features_that_lead_astray_are_left_out_and_said_so(self, pair):
        class Noise(Averages):
            def identity(self):
                return {"encoder": "noise"}

            def encode(self, slices, masks, progress=None, cancel=None):
                generator = torch.Generator().manual_seed(int(slices.sum()) % 1000)
                return torch.randn((len(slices), 16, 16, 16), generator=generator)

        settings = quick(reduction="pca", features="both")
        result = api.register(pair.fixed, pair.moving, settings, encoder=Noise())
        assert any("so they were left out" in warning for warning in result.report["warnings"])
        alone = api.register(pair.fixed, pair.moving, quick(features="local"))
        points = pair.fixed_landmarks
        ends, goals = (one.displacement.transform_points(points) for one in (result, alone))
        assert np.allclose(ends, goals, atol=1e-3), "as without global features"
        assert error_mm(result, pair) < 0.6 * initial_error_mm(pair)

    def test_global_alone_runs_and_helps(self, pair):
        settings = quick(features="global", reduction="pca")
        result = api.register(pair.fixed, pair.moving, settings, encoder=Averages())
        assert result.report["features"] == "global"
        assert "local features" not in result.report["stages"]
        assert error_mm(result, pair) < initial_error_mm(pair)

    def test_features_are_encoded_once(self, pair):
        calls = []

        class Counting(Averages):
            def encode(self, *arguments):
                calls.append(1)
                return super().encode(*arguments)

        settings = quick(features="global", reduction="pca", levels=(Level(2, 2, 2),))
        first, second = (
            api.register(pair.fixed, pair.moving, settings, encoder=Counting()) for _ in range(2)
        )
        assert len(calls) == 2
        assert np.array_equal(first.displacement.vectors, second.displacement.vectors)


class TestThreads:
    def test_are_limited_while_it_runs_and_restored_after(self, pair):
        before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        seen = set()
        result = api.register(
            pair.fixed, pair.moving, quick(threads=1), progress=lambda p: seen.add(torch.get_num_threads())
        )
        assert seen == {1} and result.report["device"]["threads"] == 1
        assert (torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()) == before

    def test_without_a_number_all_take_as_many_as_torch(self):
        pytest.importorskip("numba")
        from GLIDERegLib.registration.backends.numba import compiling

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with machine.threads(None):
                assert compiling.threads() == sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
            assert torch.get_num_threads() == 1
        finally:
            torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fine():
    phantom = make_phantom((72, 72, 56), (4.5, 4.5, 4.5))
    return phantom.fixed, phantom.moving


QUICK = {"features": "local", "align": "none", "search_range": 16.0, "symmetric": False, "threads": 1}


def test_short_memory_gives_a_coarser_grid_and_a_warning(fine, monkeypatch):
    monkeypatch.setattr(api, "free_bytes", lambda: 0.0)
    result = api.register(*fine, Settings.preset("fast", **QUICK))
    assert result.report["working_spacing_mm"] == 6.0
    assert any("6 mm to save memory" in warning for warning in result.report["warnings"])


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
def test_memory_that_runs_out_once_is_another_try_on_a_coarser_grid(fine, monkeypatch, error):
    register_pair, tries = api.register_pair, []

    def first_fails(pair, settings, *others):
        tries.append(settings.spacing)
        if len(tries) == 1:
            raise error("out of memory")
        return register_pair(pair, settings, *others)

    monkeypatch.setattr(api, "register_pair", first_fails)
    result = api.register(*fine, Settings.preset("fast", **QUICK))
    assert tries[0] is None and tries[1] == pytest.approx(1.3 * 4.5)
    assert result.report["working_spacing_mm"] == tries[1] == result.report["settings"]["spacing"]
    assert any("because memory ran out" in warning for warning in result.report["warnings"])


def test_memory_that_runs_out_twice_is_one_clear_error(fine, monkeypatch):
    def fails(*arguments):
        raise MemoryError

    monkeypatch.setattr(api, "register_pair", fails)
    with pytest.raises(OutOfMemoryError, match="coarser working resolution"):
        api.register(*fine, Settings.preset("fast", **QUICK))


def test_what_lies_around_a_round_field_of_view_counts_as_little_as_what_is_told_as_not_measured(pair):
    x, y, _ = np.moveaxis(pair.fixed.grid.points() - pair.fixed.grid.center, -1, 0)
    seen = np.hypot(x, y) < 120
    noisy = pair.fixed.array + np.random.default_rng(0).normal(0, 15, pair.fixed.array.shape).astype(np.int16)
    scans = [
        Volume(np.where(seen, noisy, np.int16(around)), pair.fixed.grid, "fixed") for around in (-1000, -2048)
    ]
    found = [api.register(scan, pair.moving, quick()) for scan in scans]
    told = [[text for text in one.report["warnings"] if "round field of view" in text] for one in found]
    assert [len(texts) for texts in told] == [1, 0] and told[0][0].startswith("The fixed shows")
    fields = [one.displacement.vectors for one in found]
    np.testing.assert_allclose(*fields, atol=0.2)
