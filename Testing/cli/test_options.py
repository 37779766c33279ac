import re

import pytest

from GLIDERegLib.cli.options import OFFERED, help_text, option_name, settings_of, settings_options
from GLIDERegLib.core.describing import descriptions
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.settings import Settings


@pytest.fixture
def parser():
    return settings_options()


@pytest.mark.parametrize("setting", OFFERED)
def test_help_tells_what_the_setting_tells_of_itself(parser, setting):
    about, default = descriptions(Settings)[setting], getattr(Settings(), setting)
    text = re.sub(r"\s+", " ", parser.format_help()).strip()
    told = re.search(rf"--{option_name(setting)} [A-Z]+ (.*?)(?= --|$)", text)[1]
    # Words are broken at hyphens.
    assert told.replace("- ", "-") == help_text(setting).replace("- ", "-")
    assert told.startswith(about.text[:20])
    assert all(value in told for value in about.values) and about.unit in told
    expected = about.automatic if default is None else default
    assert told.partition("; default: ")[2][:10] == str(expected).removesuffix(".0")[:10]


@pytest.mark.parametrize("setting", OFFERED)
def test_an_option_changes_its_setting_and_what_is_not_given_is_the_presets(parser, setting):
    about, default = descriptions(Settings)[setting], getattr(Settings(), setting)
    if about.values:
        value = next(value for value in about.values if value != default)
    else:
        value = {"encoder": "sam2_hiera_large", "checkpoint": "own.pt", "device": "cpu"}.get(setting, "70")
        value = "3.5" if setting == "spacing" else value
    settings = settings_of(parser.parse_args([f"--{option_name(setting)}", value]))
    if setting == "name":
        assert settings == Settings.preset(value)
    else:
        was = Settings().as_dict()
        assert [name for name, now in settings.as_dict().items() if now != was[name]] == [setting]


def test_set_changes_any_setting_and_refuses_what_is_none(parser):
    given = ["--set", "symmetric=false", "--set", "bending_weight=2.5", "--set", "search_passes=1"]
    settings = settings_of(parser.parse_args(given))
    assert (settings.symmetric, settings.bending_weight, settings.search_passes) == (False, 2.5, 1)
    for wrong in ("bending=2", "bending_weight=stiff", "symmetric=2", "search_passes=1.5", "levels=3"):
        with pytest.raises(InputError, match="changes no setting"):
            settings_of(parser.parse_args(["--set", wrong]))
