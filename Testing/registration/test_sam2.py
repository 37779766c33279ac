import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("sam2")
from registration.support import slices_in_hu  # noqa: E402
from sam2.build_sam import build_sam2, build_sam2_video_predictor  # noqa: E402

import GLIDERegLib.core.errors  # noqa: E402
from GLIDERegLib.core.errors import Cancelled, InputError, WeightsError  # noqa: E402
from GLIDERegLib.core.geometry import Grid, Volume  # noqa: E402
from GLIDERegLib.registration.features.encoding import encode_volume  # noqa: E402
from GLIDERegLib.registration.features.sam2 import Sam2Encoder  # noqa: E402

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"


@pytest.fixture(scope="module")
def encoder():
    return Sam2Encoder(seed=3, input_size=256, half=False)


@pytest.fixture(scope="module")
def remembering():
    return Sam2Encoder(seed=3, input_size=128, reading="memory", half=False)


@pytest.fixture(scope="module")
def checkpoint(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save({"model": encoder.model.state_dict()}, path)
    return path


def image_by_hand(hu, side):
    """Windowing, resizing and normalising of one slice, in the order of `sam2.utils.transforms`."""
    windows = ((-1000, 100), (-160, 240), (-450, 1050))
    pixels = np.stack([np.clip((hu.numpy() - low) / (high - low), 0, 1) for low, high in windows])
    image = F.interpolate(torch.from_numpy(pixels)[None], (side, side), mode="bilinear", align_corners=False)[
        0
    ]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (image - mean[:, None, None]) / deviation[:, None, None]


def test_features_equal_those_of_sam2_itself(encoder, checkpoint):
    slices, masks = slices_in_hu(1)
    peer = build_sam2(TINY, str(checkpoint), device="cpu", hydra_overrides_extra=["++model.image_size=256"])
    with torch.no_grad():
        output = peer.forward_image(image_by_hand(slices[0], 256)[None])
    expected = output["backbone_fpn"][-1]
    assert expected.std() > 0.01
    torch.testing.assert_close(encoder.encode(slices, masks), expected, atol=1e-4, rtol=0)


def test_1024_pixels_give_64_by_64_tokens():
    slices, masks = slices_in_hu(1, side=320)
    tokens = Sam2Encoder(seed=0, half=False).encode(slices, masks)
    assert tokens.shape == (1, 256, 64, 64) and tokens.dtype == torch.float32 and tokens.device.type == "cpu"
    assert torch.isfinite(tokens).all()


def test_a_saved_checkpoint_gives_the_same_features(encoder, checkpoint):
    slices, masks = slices_in_hu(2)
    loaded = Sam2Encoder(checkpoint=checkpoint, input_size=256, half=False)
    assert torch.equal(loaded.encode(slices, masks), encoder.encode(slices, masks))
    assert loaded.identity()["weights"].startswith("sha256:")


def test_batches_of_any_size_agree(encoder):
    slices, masks = slices_in_hu(3)
    one = encoder.encode(slices, masks)
    for batch_size in 2, 8:
        batched = Sam2Encoder(seed=3, input_size=256, batch_size=batch_size, half=False)
        torch.testing.assert_close(batched.encode(slices, masks), one, atol=1e-4, rtol=0)


def test_a_seed_determines_the_features_and_leaves_the_callers_random_state_alone(encoder):
    slices, masks = slices_in_hu(1)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    again, other = (Sam2Encoder(seed=seed, input_size=256, half=False) for seed in (3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(again.encode(slices, masks), encoder.encode(slices, masks))
    assert not torch.allclose(other.encode(slices, masks), encoder.encode(slices, masks), atol=1e-3)


def test_features_can_be_learned_from(encoder):
    tokens = encoder.encode(*slices_in_hu(1))
    weight = torch.ones(256, requires_grad=True)
    (tokens * weight[:, None, None]).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("reading", ["slice", "memory"])
def test_half_precision_stays_close_and_is_stored_in_half(encoder, remembering, reading):
    one = {"slice": encoder, "memory": remembering}[reading]
    slices, masks = slices_in_hu(2)
    half = Sam2Encoder(seed=3, input_size=one.input_size, half=True, reading=reading)
    tokens, full = half.encode(slices, masks), one.encode(slices, masks)
    assert tokens.dtype == torch.float16 and half.identity()["precision"] == "bfloat16"
    assert (tokens.float() - full).norm() < 0.05 * full.norm()


@pytest.mark.parametrize(
    ("traits", "precision"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx512_f": True}, "float32")],
)
def test_a_processor_computes_in_half_precision_where_it_has_instructions_for_it(
    traits, precision, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: traits, raising=False)
    encoder = Sam2Encoder(seed=0, input_size=64)
    assert encoder.identity()["precision"] == precision
    assert encoder.encode(*slices_in_hu(1)).dtype == (torch.float16 if encoder.half else torch.float32)


def test_an_older_torch_that_cannot_tell_computes_in_single_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not Sam2Encoder(seed=0, input_size=64).half


def test_one_window_is_repeated_over_the_channels():
    grey = Sam2Encoder(seed=0, input_size=64, windows=[(-1000, 400)])
    image = grey.images(torch.full((1, 64, 64), -300.0))
    np.testing.assert_allclose(
        image[0, :, 0, 0] * torch.tensor([0.229, 0.224, 0.225]),
        0.5 - np.array([0.485, 0.456, 0.406]),
        atol=1e-6,
    )


def test_identity_is_json_and_changes_with_every_setting(checkpoint):
    settings = [
        dict(seed=1),
        dict(seed=2),
        dict(checkpoint=checkpoint),
        dict(seed=1, variant="sam2_hiera_tiny"),
        dict(seed=1, input_size=128),
        dict(seed=1, windows=[(-1000, 400)]),
        dict(seed=1, reading="memory"),
        dict(seed=1, half=True),
    ]
    identities = [
        json.dumps(Sam2Encoder(**{"input_size": 64, "half": False, **s}).identity(), sort_keys=True)
        for s in settings
    ]
    assert len(set(identities)) == len(settings)


def test_progress_grows_to_one_and_cancel_is_asked_before_each_batch(encoder, remembering):
    class StopAtThird:
        calls = 0

        def check(self):
            self.calls += 1
            if self.calls == 3:
                raise Cancelled("stopped")

    slices, masks = slices_in_hu(4)
    for one in encoder, remembering:
        fractions = []
        one.encode(slices, masks, progress=fractions.append)
        assert fractions == [0.25, 0.5, 0.75, 1.0]
        fractions.clear()
        with pytest.raises(Cancelled):
            one.encode(slices, masks, progress=fractions.append, cancel=StopAtThird())
        assert fractions == [0.25, 0.5]
    assert not remembering.model.memory_attention._forward_hooks


@pytest.mark.parametrize("reading", ["slice", "memory"])
def test_only_memory_lets_a_slice_depend_on_others(encoder, remembering, reading):
    one = {"slice": encoder, "memory": remembering}[reading]
    slices, masks = slices_in_hu(5)
    changed = slices.clone()
    changed[3] = 40.0  # after the middle slice, before the last
    before, after = one.encode(slices, masks), one.encode(changed, masks)
    differs = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    # Tracking runs from the middle towards both ends, so slice 3 is remembered by slice 4 alone.
    assert differs == [False, False, False, True, reading == "memory"]


def test_memory_starts_from_the_foreground_of_the_middle_slice(remembering):
    slices, masks = slices_in_hu(3)
    prompts = [masks.clone() for _ in range(2)]
    prompts[0][[0, 2]] = False
    prompts[1][1] = ~masks[1]
    reference, same, other = (remembering.encode(slices, m) for m in (masks, *prompts))
    assert torch.equal(reference, same)
    assert all(not torch.allclose(a, b, atol=1e-4) for a, b in zip(reference, other, strict=True))


def test_memory_reads_a_single_slice_and_batches_of_any_size(remembering):
    slices, masks = slices_in_hu(5)
    assert torch.isfinite(remembering.encode(slices[:1], masks[:1])).all()
    batched = Sam2Encoder(seed=3, input_size=128, reading="memory", batch_size=4, half=False)
    torch.testing.assert_close(
        batched.encode(slices, masks), remembering.encode(slices, masks), atol=1e-4, rtol=0
    )


def test_memory_forgets_what_the_network_no_longer_uses(remembering, monkeypatch):
    """Dropping old frames changes nothing: the result equals that of a run that keeps all of them."""
    slices, masks = slices_in_hu(22, side=32)
    masks[:] = False
    masks[0] = True  # the only foreground: all frames run in one direction
    small = Sam2Encoder(seed=3, input_size=32, reading="memory")
    kept = []
    track = small.model.track_step

    def counting(**given):
        kept.append(len(given["output_dict"]["non_cond_frame_outputs"]))
        return track(**given)

    monkeypatch.setattr(small.model, "track_step", counting)
    tokens = small.encode(slices, masks)
    assert max(kept) == 16
    everything = {}

    def keeping_all(**given):
        everything.update(given["output_dict"]["non_cond_frame_outputs"])
        return track(
            **{**given, "output_dict": {**given["output_dict"], "non_cond_frame_outputs": everything}}
        )

    monkeypatch.setattr(small.model, "track_step", keeping_all)
    assert torch.equal(small.encode(slices, masks), tokens)
    assert len(everything) > 16


def test_memory_agrees_with_sam2s_video_predictor(remembering, checkpoint, monkeypatch):
    """The same frames and prompt through `SAM2VideoPredictor`, which is kept from rounding its memories to
    bfloat16.
    """

    class Unrounded:
        bfloat16 = torch.float32

        def __getattr__(self, name):
            return getattr(torch, name)

    slices, _ = slices_in_hu(5)
    masks = torch.ones(slices.shape, dtype=torch.bool)
    peer = build_sam2_video_predictor(
        TINY,
        str(checkpoint),
        device="cpu",
        hydra_overrides_extra=["++model.image_size=128"],
        apply_postprocessing=False,
    )
    frames = torch.stack([image_by_hand(s, 128) for s in slices])
    monkeypatch.setattr("sam2.sam2_video_predictor.load_video_frames", lambda **_: (frames, 128, 128))
    monkeypatch.setattr("sam2.sam2_video_predictor.torch", Unrounded())
    seen, attended = {}, []
    peer.memory_attention.register_forward_hook(lambda _module, _inputs, output: attended.append(output))
    for reverse in False, True:
        state = peer.init_state("frames")
        peer.add_new_mask(state, frame_idx=2, obj_id=1, mask=torch.ones(128, 128, dtype=torch.bool))
        for z, _, _ in peer.propagate_in_video(state, reverse=reverse):
            if attended:
                seen[z] = attended.pop()[:, 0].T.reshape(256, 8, 8)
    assert sorted(seen) == [0, 1, 3, 4]
    tokens = remembering.encode(slices, masks)
    for z, expected in seen.items():
        torch.testing.assert_close(tokens[z], expected, atol=1e-4, rtol=0)


def test_memory_without_foreground_is_refused(remembering):
    slices, masks = slices_in_hu(2)
    with pytest.raises(InputError, match="empty"):
        remembering.encode(slices, torch.zeros_like(masks))


def test_encodes_a_volume_end_to_end():
    slices, masks = slices_in_hu(4, side=40)
    volume = Volume(slices.numpy(), Grid((40, 40, 4), (2.0, 2.0, 2.0)))
    encoded = encode_volume(volume, masks.numpy(), Sam2Encoder(seed=0, input_size=128), slice_step=2)
    assert encoded.features.shape == (256, 2, 8, 8)
    assert encoded.grid.spacing == (10.0, 10.0, 4.0)


def test_builds_without_torchvision_and_while_another_program_holds_hydra(tmp_path):
    (tmp_path / "conf").mkdir()
    program = f"""
import sys
sys.modules["torchvision"] = None
import hydra
hydra.initialize_config_dir({str(tmp_path / "conf")!r}, version_base="1.2")
from GLIDERegLib.registration.features.sam2 import Sam2Encoder
print(Sam2Encoder(seed=0, input_size=64).identity()["weights"])
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=with_library_on_path()
    )
    assert run.stdout == "seeded:0\n", run.stderr


def with_library_on_path():
    root = Path(GLIDERegLib.core.errors.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("code-ran",)


def write_truncated(path, checkpoint):
    path.write_bytes(checkpoint.read_bytes()[:-4000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_truncated, "not a whole PyTorch checkpoint"),
        (lambda path, _: path.write_text("<html>not found</html>"), "not a whole PyTorch checkpoint"),
        (lambda path, _: path.write_bytes(b""), "not a whole PyTorch checkpoint"),
        (lambda path, _: torch.save({"model": RunsCode()}, path), "could run code"),
        (lambda path, _: path.write_bytes(pickle.dumps({"model": RunsCode()}, protocol=2)), "could run code"),
        (lambda path, _: torch.save({"state_dict": {}}, path), "not a SAM2 checkpoint"),
        (lambda path, _: torch.save({"model": {"epoch": 3}}, path), "not a SAM2 checkpoint"),
        (
            lambda path, _: torch.save({"model": {"other.weight": torch.zeros(2)}}, path),
            "does not fit sam2.1_hiera_tiny",
        ),
        (lambda path, _: path.mkdir(), "cannot be read"),
        (lambda path, _: None, "cannot be read"),
    ],
)
def test_unusable_checkpoints_are_refused_in_one_sentence(write, message, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    write(path, checkpoint)
    with pytest.raises(WeightsError, match=message) as refused:
        Sam2Encoder(checkpoint=path, input_size=64)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("variant", ["sam2.1_hiera_small", "sam2_hiera_tiny"])
def test_a_checkpoint_of_another_variant_is_refused_and_the_fitting_one_named(variant, checkpoint):
    with pytest.raises(WeightsError, match=f"of sam2.1_hiera_tiny, not of {variant}"):
        Sam2Encoder(variant, checkpoint)


@pytest.mark.parametrize("variant", ["sam2.1_hiera_small", "sam2_hiera_base_plus"])
def test_other_variants_load_their_own_checkpoints(variant, tmp_path):
    slices, masks = slices_in_hu(1)
    seeded = Sam2Encoder(variant, seed=1, input_size=64)
    path = tmp_path / "weights.pt"
    torch.save({"model": seeded.model.state_dict()}, path)
    assert torch.equal(
        Sam2Encoder(variant, path, input_size=64).encode(slices, masks), seeded.encode(slices, masks)
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(variant="sam3"), "sam2.1_hiera_tiny"),
        (dict(input_size=500), "multiple of 32"),
        (dict(windows=[(0, 1), (0, 1)]), "windows"),
        (dict(windows=[(100, -100)]), "windows"),
        (dict(reading="both"), "'slice' or 'memory'"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        Sam2Encoder(**{"seed": 0, **setting})


def test_neither_checkpoint_nor_seed_names_the_way_to_get_one():
    with pytest.raises(WeightsError, match="sam2.1_hiera_tiny needs a checkpoint"):
        Sam2Encoder()
