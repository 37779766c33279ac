import dataclasses
import json

import pytest

from GLIDERegLib.core.describing import descriptions
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.settings import CHOICES, PRESETS, Settings


@pytest.mark.parametrize("option", CHOICES)
def test_an_unknown_value_is_refused_in_one_sentence_that_lists_the_choices(option):
    with pytest.raises(InputError) as refusal:
        Settings(**{option: "nonsense"})
    message = str(refusal.value)
    assert option in message and "nonsense" in message
    assert all(choice in message for choice in CHOICES[option])
    assert message.count(".") == 1 and "\n" not in message


@pytest.mark.parametrize(
    "option, choice", [(option, choice) for option in CHOICES for choice in CHOICES[option]]
)
def test_every_listed_choice_is_taken(option, choice):
    assert getattr(Settings(**{option: choice}), option) == choice


@pytest.mark.parametrize("spacing", [0, -1.0, 50])
def test_a_working_spacing_out_of_range_is_refused(spacing):
    with pytest.raises(InputError, match="above 0 and at most 20 mm"):
        Settings(spacing=spacing)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_json_able_and_bears_its_name(name):
    values = json.loads(json.dumps(Settings.preset(name).as_dict()))
    assert values["name"] == name
    assert set(values) == {field.name for field in dataclasses.fields(Settings)}
    assert values["levels"][0]["iterations"] > 0


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match="Unknown preset 'best'; choose one of fast, default, accurate, paper"
    ):
        Settings.preset("best")


def test_changes_override_a_preset_and_are_checked():
    settings = Settings.preset("accurate", symmetric=False, seed=4)
    assert (settings.symmetric, settings.seed, settings.name) == (False, 4, "accurate")
    assert settings.levels == Settings.preset("accurate").levels
    with pytest.raises(InputError, match="Unknown reduction"):
        Settings.preset("fast", reduction="tsne")


def test_presets_go_from_least_to_most_work():
    work = {name: sum(level.iterations for level in Settings.preset(name).levels) for name in PRESETS}
    assert work["fast"] < work["default"] < work["accurate"] < work["paper"]
    assert Settings.preset("fast").finest_spacing > Settings.preset("default").finest_spacing


def test_the_paper_preset_keeps_to_the_paper():
    """A grid downsampled by two, 800 iterations at a learning rate of 1, the reduction renewed at each."""
    paper = Settings.preset("paper")
    (level,) = paper.levels
    assert (level.node_spacing, level.iterations, level.learning_rate, level.final_rate) == (2, 800, 1.0, 1.0)
    assert (paper.vae_refresh, paper.vae_learning_rate, paper.reduction) == (1, 1e-3, "dynamic")


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().seed = 3


@pytest.mark.parametrize(
    ("changes", "device", "spacing", "size", "step"),
    [
        ({}, "cpu", 1.0, 512, 12),
        ({}, "cpu", 2.0, 512, 6),
        ({}, "cpu", 20.0, 512, 1),
        ({}, "cuda", 1.0, 1024, 1),
        ({"name": "paper"}, "cpu", 2.0, 1024, 1),
        ({"encoder_input_size": 256, "encoder_slice_step": 3}, "cpu", 2.0, 256, 3),
        ({"encoder_input_size": 256, "encoder_slice_step": 3}, "cuda", 2.0, 256, 3),
        ({"encoder_input_size": 500}, "cpu", 8.0, 512, 2),
    ],
)
def test_a_processor_sees_fewer_and_smaller_slices_unless_told_otherwise(
    changes, device, spacing, size, step, tmp_path, monkeypatch
):
    pytest.importorskip("sam2")
    import torch

    from GLIDERegLib.api import choose_encoder
    from GLIDERegLib.registration.features import sam2

    asked = []
    monkeypatch.setattr(sam2, "Sam2Encoder", lambda *given, **options: asked.append(options))
    (tmp_path / "own.pt").touch()
    settings = Settings.preset(**{"name": "default", "checkpoint": str(tmp_path / "own.pt"), **changes})
    choose_encoder(settings, torch.device(device), [])
    assert asked[0]["input_size"] == size
    assert settings.slice_step(device, spacing) == step


def test_every_setting_describes_itself_and_its_default_is_within_its_own_limits():
    for name, about in descriptions(Settings).items():
        value = getattr(Settings(), name)
        assert about.text and not about.text.endswith("."), name
        assert about.automatic if value is None else not about.automatic, name
        assert not about.values or value in about.values, name
        assert value is None or about.least is None or value >= about.least, name
        assert len(set(about.values)) == len(about.values), name


@pytest.mark.parametrize("name", [name for name, about in descriptions(Settings).items() if about.least])
def test_a_described_least_value_is_taken_and_less_is_refused(name):
    least = descriptions(Settings)[name].least
    assert getattr(Settings(**{name: least}), name) == least
    with pytest.raises(InputError, match=f"must be at least {least:g}"):
        Settings(**{name: least - 0.5})
