"""What is known before a cohort runs: the memory of a pair, and how a machine is shared out."""

from __future__ import annotations

import pytest

from GLIDERegLib.core.settings import Settings
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.cohort.memory import estimated_memory
from GLIDERegLib.studies.cohort.schedule import make_plan

# Peaks in GiB measured once: size, spacing (mm), preset and its changes; see the README beside the model.
MEASURED = [
    ((32, 32, 28), 12.0, "fast", {}, 0.52),
    ((192, 192, 160), 2.0, "fast", {}, 1.21),
    ((192, 192, 160), 2.0, "fast", {"spacing": 4.0}, 1.01),
    ((192, 192, 160), 2.0, "default", {}, 1.47),
    ((192, 192, 160), 2.0, "default", {"spacing": 3.0}, 0.95),
    ((192, 192, 160), 2.0, "default", {"features": "both", "device": "cpu"}, 1.86),
    ((300, 300, 300), 1.0, "default", {}, 3.34),
    ((300, 300, 300), 1.0, "default", {"features": "both", "device": "cpu"}, 4.26),
    ((400, 400, 400), 0.825, "fast", {}, 1.98),
    ((400, 400, 400), 0.825, "default", {"spacing": 0.825}, 6.87),
]


@pytest.fixture
def case_of(tmp_path):
    """A pair of headers without voxels."""

    def make(size, spacing):
        path = tmp_path / "image.mhd"
        lines = ["ObjectType = Image", "NDims = 3", f"DimSize = {' '.join(map(str, size))}"]
        lines += [f"ElementSpacing = {spacing} {spacing} {spacing}", "ElementType = MET_SHORT"]
        path.write_text("\n".join([*lines, "ElementDataFile = absent.raw", ""]))
        return Case("a", path, path)

    return make


@pytest.mark.parametrize(("size", "spacing", "preset", "changes", "peak"), MEASURED)
def test_the_estimate_holds_what_was_measured_and_is_not_twice_that(
    case_of, size, spacing, preset, changes, peak
):
    settings = Settings.preset(preset, **{"features": "local", **changes})
    assert peak <= estimated_memory(case_of(size, spacing), settings) <= 2 * peak


def test_a_finer_grid_or_sam2_needs_more_memory(case_of):
    case = case_of((192, 192, 160), 2.0)
    coarse, fine = (Settings(features="local", spacing=mm) for mm in (4.0, 1.5))
    assert estimated_memory(case, coarse) < estimated_memory(case, fine)
    both = Settings(features="both", spacing=4.0)
    assert estimated_memory(case, coarse) + 1 < estimated_memory(case, both)


def test_a_file_that_is_no_image_is_left_to_the_registration(tmp_path):
    (tmp_path / "text").write_text("no image")
    case = Case("a", tmp_path / "text", tmp_path / "missing.nii.gz")
    assert 0 < estimated_memory(case, Settings(features="local")) < 1


@pytest.mark.parametrize("memory", [3.0, 7.0, 16.0, 100.0])
@pytest.mark.parametrize("workers", [None, 3])
def test_no_plan_hands_out_more_than_the_machine_has(memory, workers):
    needs = {f"pair{n}": 1.0 + n % 4 for n in range(20)}
    plan = make_plan(needs, memory, cores=8, workers=workers, threads=None)
    assert plan.workers * plan.memory <= memory * (1 + 1e-9)
    assert plan.workers * plan.threads <= 8
    assert plan.alone == {name for name, need in needs.items() if need > plan.memory}


def test_cores_set_the_number_of_workers_where_memory_is_ample():
    needs = dict.fromkeys("abcdefghij", 1.0)
    assert make_plan(needs, 1000.0, 8, None, None).workers == 8
    assert make_plan(needs, 1000.0, 8, None, 4).workers == 2
    assert make_plan(dict.fromkeys("ab", 1.0), 1000.0, 8, None, None).threads == 4


def test_memory_sets_the_number_of_workers_where_it_is_short():
    assert make_plan(dict.fromkeys("abcdefghij", 3.0), 10.0, 8, None, None).workers == 3


def test_one_large_pair_does_not_slow_all_others():
    needs = dict.fromkeys("abcdefghij", 1.0) | {"large": 9.0}
    plan = make_plan(needs, 10.0, 8, None, None)
    assert plan.workers == 8 and plan.alone == {"large"}
