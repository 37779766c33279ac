"""DINO-Reg as a configuration: `glidereg register --encoder dinov2_...` and the benchmark's dino-reg, with
random weights, which show that it runs and not how well.
"""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from GLIDERegLib.cli import _parser
from GLIDERegLib.cli.options import settings_of
from GLIDERegLib.files.checkpoints import CHECKPOINTS, weights_folder
from GLIDERegLib.studies.cases import Task
from GLIDERegLib.studies.peers import choose_methods

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs the extra dino: pip install '.[dino]'"
)
NETWORK = "dinov2_vits14_reg"
GLOBAL = ("--features", "global", "--reduction", "pca", "--encoder", NETWORK, "--quiet")
QUICK = ("--preset", "fast", "--spacing", 12, "--align", "none", "--encoder-input-size", 120)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    import torch
    from dinov2_layout import published, shrink

    shrink(monkeypatch)
    torch.save(published(NETWORK), tmp_path / "own.pth")
    return tmp_path / "own.pth"


@needs_transformers
def test_a_pair_is_registered_by_dinov2_alone_and_the_report_says_so(glidereg, images, checkpoint, tmp_path):
    out = tmp_path / "out"
    status, _, errors = glidereg("register", *images, "-o", out, *QUICK, *GLOBAL, "--checkpoint", checkpoint)
    assert status == 0, errors
    report = json.loads((out / "report.json").read_text())
    assert report["features"] == "global" and report["settings"]["reduction"] == "pca"
    weights = report["weights"]
    # 120 pixels are nearest to 9 tokens of 14.
    assert (weights["name"], weights["input_size"], weights["windows"]) == (NETWORK, 126, [[-1350, 150]])
    assert report["versions"]["transformers"] == weights["transformers"]


@needs_transformers
def test_an_image_is_left_within_half_a_voxel_of_itself(small_phantom, checkpoint):
    import numpy as np

    from GLIDERegLib.api import register
    from GLIDERegLib.core.settings import Level, Settings

    settings = Settings.preset(
        "fast", features="global", reduction="pca", align="none", spacing=8.0, encoder=NETWORK,
        checkpoint=str(checkpoint), encoder_input_size=448, encoder_slice_step=1, cell_size=16.0,
        global_cell_size=16.0, global_search_range=32.0, levels=(Level(2, 2, 16), Level(2, 1, 32)),
    )  # fmt: skip
    result = register(small_phantom.fixed, small_phantom.fixed, settings)
    points = small_phantom.fixed_landmarks
    found = result.displacement.transform_points(points)
    assert np.linalg.norm(found - points, axis=1).mean() < 4.0
    assert result.report["features"] == "global"


@needs_transformers
def test_memory_is_refused_for_a_network_that_has_none(glidereg, images, checkpoint, tmp_path):
    options = (*QUICK, *GLOBAL, "--checkpoint", checkpoint, "--encoder-reading", "memory")
    status, _, errors = glidereg("register", *images, "-o", tmp_path / "out", *options)
    assert status == 2 and errors.count("\n") == 1 and "--encoder-reading slice" in errors
    assert not (tmp_path / "out").exists()


def test_without_the_package_one_line_says_how_to_get_it(glidereg, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "GLIDERegLib.registration.features.dinov2", raising=False)
    (tmp_path / "own.pth").touch()
    options = (*QUICK, *GLOBAL, "--checkpoint", tmp_path / "own.pth")
    status, _, errors = glidereg("register", *images, "-o", tmp_path / "out", *options)
    assert status == 4 and errors.count("\n") == 1
    assert "pip install 'transformers" in errors
    assert not (tmp_path / "out").exists()


def test_without_a_checkpoint_the_file_its_address_and_its_hash_are_named(glidereg, images, tmp_path):
    pytest.importorskip("torch")
    status, _, errors = glidereg("register", *images, "-o", tmp_path / "out", *QUICK, *GLOBAL)
    entry = CHECKPOINTS[NETWORK]
    assert status == 4
    for word in (entry.file, entry.url, entry.sha256, str(weights_folder())):
        assert word in errors


def test_an_unknown_encoder_is_refused_with_the_known_ones(glidereg, images, tmp_path):
    options = (*QUICK, "--features", "global", "--encoder", "dinov9")
    status, _, errors = glidereg("register", *images, "-o", tmp_path / "out", *options)
    assert status == 2 and "dinov9" in errors and NETWORK in errors and "sam2.1_hiera_tiny" in errors


def test_weights_list_shows_both_families_and_tells_a_damaged_file(glidereg):
    (weights_folder() / CHECKPOINTS["dinov2_vitb14"].file).write_bytes(b"cut off")
    status, output, _ = glidereg("weights", "list")
    states = {line.split()[0]: " ".join(line.split()[1:]) for line in output.splitlines()[1:]}
    assert status == 0 and list(states) == list(CHECKPOINTS)
    assert states["dinov2_vitl14_reg"] == "1218 MB absent"
    assert states["dinov2_vitb14"].startswith("346 MB damaged")


class TestMethodOfTheBenchmark:
    def test_it_says_what_is_missing(self, monkeypatch):
        (method,) = choose_methods(["dino-reg"])
        monkeypatch.setattr("GLIDERegLib.studies.peers.own.find_spec", lambda name: None)
        assert "pip install 'transformers" in method.missing()
        monkeypatch.setattr("GLIDERegLib.studies.peers.own.find_spec", lambda name: name)
        assert "glidereg weights download dinov2_vitl14_reg" in method.missing()
        (weights_folder() / CHECKPOINTS["dinov2_vitl14_reg"].file).touch()
        assert method.missing() is None

    def test_it_is_a_registration_by_dinov2_and_pca_alone(self):
        (method,) = choose_methods(["dino-reg"])
        task = Task(Path("f.nii.gz"), Path("m.nii.gz"), Path("own"), 3, fixed_mask=Path("mask.nii.gz"))
        options = _parser().parse_args(method.command(task)[3:])
        settings = settings_of(options)
        chosen = (settings.features, settings.reduction, settings.encoder, settings.align, settings.threads)
        assert chosen == ("global", "pca", "dinov2_vitl14_reg", "none", 3)
        assert (options.output, options.fixed_mask) == (task.folder, task.fixed_mask)
        assert "dinov2_vitl14_reg" in method.version()
