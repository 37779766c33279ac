"""DINOv2 as slice encoder, with random weights in the layout of Meta's files: its features are those of the
network as its paper describes it, and lie where the protocol says.
"""

import json
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("transformers", reason="needs the extra dino: pip install '.[dino]'")

from dinov2_layout import GIANT, REGISTERS, SMALL, published, shrink  # noqa: E402
from registration.support import slices_in_hu  # noqa: E402

from GLIDERegLib.core import networks  # noqa: E402
from GLIDERegLib.core.errors import Cancelled, InputError, WeightsError  # noqa: E402
from GLIDERegLib.core.geometry import Grid, Volume  # noqa: E402
from GLIDERegLib.files.checkpoints import CHECKPOINTS  # noqa: E402
from GLIDERegLib.registration.features import dinov2  # noqa: E402
from GLIDERegLib.registration.features.dinov2 import VARIANTS, DinoEncoder  # noqa: E402
from GLIDERegLib.registration.features.encoding import encode_volume  # noqa: E402

PUBLISHED_SIZES = dict(dinov2._SIZES)
PUBLISHED_CHANNELS = {variant: networks.network(variant).channels for variant in VARIANTS}


@pytest.fixture(autouse=True, scope="module")
def small_networks():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


def tokens_by_hand(state, image):
    """Normalised patch tokens (C, 37, 37) of an image (3, 518, 518), from the formulas of the papers."""
    channels = state["cls_token"].shape[-1]
    patches = F.conv2d(
        image[None], state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14
    )
    x = torch.cat([state["cls_token"][0], patches[0].flatten(1).T]) + state["pos_embed"][0]
    if "register_tokens" in state:
        x = torch.cat([x[:1], state["register_tokens"][0], x[1:]])
    for i in range(1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))):
        block = {
            name.split(".", 2)[2]: value for name, value in state.items() if name.startswith(f"blocks.{i}.")
        }

        def linear(name, y, block=block):
            return y @ block[f"{name}.weight"].T + block[f"{name}.bias"]

        def norm(name, y, block=block):
            return F.layer_norm(y, y.shape[-1:], block[f"{name}.weight"], block[f"{name}.bias"], 1e-6)

        query, key, value = linear("attn.qkv", norm("norm1", x)).split(channels, dim=1)
        heads = []
        for head in range(channels // 64):
            own = slice(64 * head, 64 * head + 64)
            heads.append(torch.softmax(query[:, own] @ key[:, own].T / 8, dim=1) @ value[:, own])
        x = x + block["ls1.gamma"] * linear("attn.proj", torch.cat(heads, dim=1))
        y = norm("norm2", x)
        if "mlp.w12.weight" in block:
            gate, up = linear("mlp.w12", y).chunk(2, dim=1)
            y = linear("mlp.w3", F.silu(gate) * up)
        else:
            y = linear("mlp.fc2", F.gelu(linear("mlp.fc1", y)))
        x = x + block["ls2.gamma"] * y
    x = F.layer_norm(x[-(37**2) :], x.shape[-1:], state["norm.weight"], state["norm.bias"], 1e-6)
    return x.T.reshape(-1, 37, 37)


@pytest.fixture(scope="module")
def encoder():
    return DinoEncoder(SMALL, seed=3, input_size=126, half=False)


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Path of a file with the published layout of a variant."""
    folder = tmp_path_factory.mktemp("weights")

    def path_of(variant):
        path = folder / f"{variant}.pth"
        if not path.exists():
            torch.save(published(variant), path)
        return path

    return path_of


@pytest.mark.parametrize("variant", [SMALL, REGISTERS, GIANT])
def test_features_are_those_of_the_published_formulas(variant, file_of):
    slices, masks = slices_in_hu(1)
    pixels = ((slices[0] + 1350) / 1500).clamp(0, 1).expand(1, 3, -1, -1)
    image = F.interpolate(pixels, (518, 518), mode="bilinear", align_corners=False)[0]
    expected = tokens_by_hand(published(variant), image)
    tokens = DinoEncoder(variant, file_of(variant), input_size=518, half=False).encode(slices, masks)[0]
    assert expected.std() > 0.1
    torch.testing.assert_close(tokens, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("variant", "stretch"), [(SMALL, 18.1), (REGISTERS, 18.0)])
def test_positions_at_another_input_size_are_those_between(variant, stretch, tmp_path):
    """What grows evenly across the tokens still does; Meta stretches the grid by 0.1 without registers."""
    state = published(variant)
    across = (torch.arange(37) + 0.5) / 37
    state["pos_embed"][0, 1:, 0] = across.repeat(37)
    state["pos_embed"][0, 1:, 1] = across.repeat_interleave(37)
    torch.save(state, tmp_path / "weights.pth")
    model = DinoEncoder(variant, tmp_path / "weights.pth", input_size=14 * 18).model
    positions = model.embeddings.position_embeddings[0]
    assert positions.shape == (1 + 18 * 18, 128)
    assert torch.equal(positions[0], state["pos_embed"][0, 0])
    columns, rows = positions[1:, :2].T.reshape(2, 18, 18)
    expected = (torch.arange(18) + 0.5) / stretch
    # Off the border, beyond which the grid repeats its last value. Torch's bicubic interpolation (a = -0.75)
    # leaves a straight line by (2a + 1) t (1 - t) (1 - 2t), less than 0.049 tokens.
    inner = slice(2, -3)
    torch.testing.assert_close(columns[9, inner], expected[inner], atol=0.049 / 37, rtol=0)
    torch.testing.assert_close(rows[inner, 9], expected[inner], atol=0.049 / 37, rtol=0)


@pytest.mark.parametrize("variant", [SMALL, REGISTERS])
@pytest.mark.parametrize("place", [(30.0, 96.0), (66.0, 42.0), (120.0, 12.0)])
def test_where_a_bright_square_moves_the_token_there_changes(variant, place):
    """Its place, x and y in mm, is within half a token of the token that changes most."""
    encoder = DinoEncoder(variant, seed=1, input_size=126)
    grid = Grid((63, 63, 1), (2.0, 2.0, 3.0))
    array = np.full((1, 63, 63), -900.0, np.float32)
    plain = encode_volume(Volume(array, grid), np.ones(array.shape, bool), encoder)
    column, row = (round(p / 2) for p in place)
    array[0, row - 1 : row + 2, column - 1 : column + 2] = 100.0
    found = encode_volume(Volume(array, grid), np.ones(array.shape, bool), encoder)
    assert found.grid.spacing == (14.0, 14.0, 3.0)
    changed = (found.features - plain.features)[:, 0].norm(dim=0)
    y, x = np.unravel_index(int(changed.argmax()), changed.shape)
    assert np.abs(found.grid.to_physical([x, y, 0])[:2] - place).max() <= 7.0


def test_batches_of_any_size_agree(encoder):
    slices, masks = slices_in_hu(3)
    batched = DinoEncoder(SMALL, seed=3, input_size=126, batch_size=2, half=False)
    torch.testing.assert_close(
        batched.encode(slices, masks), encoder.encode(slices, masks), atol=1e-4, rtol=0
    )


def test_a_seed_determines_the_features_and_leaves_the_callers_random_state_alone(encoder):
    slices, masks = slices_in_hu(1)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    again, other = (DinoEncoder(SMALL, seed=seed, input_size=126, half=False) for seed in (3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(again.encode(slices, masks), encoder.encode(slices, masks))
    assert not torch.allclose(other.encode(slices, masks), encoder.encode(slices, masks), atol=1e-2)


def test_half_precision_stays_close_and_is_stored_in_half(encoder):
    slices, masks = slices_in_hu(2)
    half = DinoEncoder(SMALL, seed=3, input_size=126, half=True)
    tokens, full = half.encode(slices, masks), encoder.encode(slices, masks)
    assert tokens.dtype == torch.float16 and half.identity()["precision"] == "bfloat16"
    assert (tokens.float() - full).norm() < 0.05 * full.norm()


def test_identity_is_json_and_changes_with_every_setting(file_of):
    settings = [
        dict(seed=1),
        dict(seed=2),
        dict(checkpoint=file_of(SMALL)),
        dict(seed=1, variant=REGISTERS),
        dict(seed=1, input_size=28),
        dict(seed=1, windows=[(-150, 250)]),
        dict(seed=1, half=True),
    ]
    made = [
        DinoEncoder(**{"variant": SMALL, "input_size": 14, "half": False, **setting}) for setting in settings
    ]
    assert len({json.dumps(one.identity(), sort_keys=True) for one in made}) == len(settings)


def test_progress_grows_to_one_and_cancel_is_asked_before_each_batch(encoder):
    class StopAtThird:
        calls = 0

        def check(self):
            self.calls += 1
            if self.calls == 3:
                raise Cancelled("stopped")

    fractions = []
    encoder.encode(*slices_in_hu(4), progress=fractions.append)
    assert fractions == [0.25, 0.5, 0.75, 1.0]
    fractions.clear()
    with pytest.raises(Cancelled):
        encoder.encode(*slices_in_hu(4), progress=fractions.append, cancel=StopAtThird())
    assert fractions == [0.25, 0.5]


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("code-ran",)


def without(name):
    return {key: value for key, value in published(SMALL).items() if key != name}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, whole: path.write_bytes(whole.read_bytes()[:-4000]), "not a whole PyTorch checkpoint"),
        (lambda path, _: path.write_text("<html>not found</html>"), "not a whole PyTorch checkpoint"),
        (lambda path, _: torch.save(RunsCode(), path), "could run code"),
        (lambda path, _: torch.save({"model": {}}, path), "not a DINOv2 checkpoint"),
        (lambda path, _: torch.save([1, 2], path), "not a DINOv2 checkpoint"),
        (lambda path, _: torch.save(without("blocks.2.ls1.gamma"), path), f"does not fit {SMALL}"),
        (lambda path, _: torch.save({**without(""), "head.weight": torch.zeros(2)}, path), "does not fit"),
        (
            lambda path, _: torch.save({**without(""), "pos_embed": torch.zeros(1, 1000, 128)}, path),
            "does not fit",
        ),
        (lambda path, _: torch.save({**without(""), "pos_embed": torch.zeros(())}, path), "not a DINOv2"),
        (lambda path, _: None, "cannot be read"),
    ],
)
def test_unusable_checkpoints_are_refused_in_one_sentence(write, message, file_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    write(path, file_of(SMALL))
    with pytest.raises(WeightsError, match=message) as refused:
        DinoEncoder(SMALL, path, input_size=126)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("variant", [REGISTERS, "dinov2_vitl14"])
def test_a_checkpoint_of_another_variant_is_refused_and_the_fitting_one_named(variant, file_of):
    with pytest.raises(WeightsError, match=f"of {SMALL}, not of {variant}"):
        DinoEncoder(variant, file_of(SMALL))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(variant="sam2_hiera_tiny"), SMALL),
        (dict(input_size=512), "multiple of 14"),
        (dict(windows=[(100, -100)]), "windows"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        DinoEncoder(**{"variant": SMALL, "seed": 0, **setting})


def test_neither_checkpoint_nor_seed_names_the_way_to_get_one():
    with pytest.raises(WeightsError, match="dinov2_vitl14_reg needs a checkpoint"):
        DinoEncoder()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_network_has_the_weights_of_its_published_file(variant, monkeypatch):
    """Four bytes for each, and less than a thousandth for the names in the file."""
    monkeypatch.setattr(dinov2, "_SIZES", PUBLISHED_SIZES)
    with torch.device("meta"):
        network = dinov2._network(variant, side=37)
    weights = 4 * sum(value.numel() for value in network.state_dict().values())
    assert weights < CHECKPOINTS[variant].size < 1.001 * weights
    assert network.config.hidden_size == PUBLISHED_CHANNELS[variant]
