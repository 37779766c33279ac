"""Tasks: settings by what a registration is for, each with its reason, and the same for panel and command."""

from pathlib import Path

import pytest

from GLIDERegLib.cli.options import settings_of, settings_options
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.core.tasks import TASKS, task_of


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_sets_only_settings_and_says_in_one_sentence_what_they_are(task):
    settings = Settings.preset("default", **task.changes)
    assert task.text.count(".") == 1 and task.text.endswith(".")
    assert task.reason.endswith(".")
    said = task.text.lower()
    assert {"rigid": "rigid pre-alignment", "none": "no pre-alignment"}[settings.align] in said
    assert f"search range of {settings.search_range:g} mm" in said
    if settings.spacing:
        assert f"resolution of {settings.spacing:g} mm" in said
    assert ("mind (local) features alone" in said) == (settings.features == "local")
    assert ("keep their size" in said) == task.keeps_nodules
    along = settings.search_range * settings.search_stretch
    assert f"{along:g} mm along the body" in said or "along the body" not in said


def test_the_accuracy_of_a_follow_up_and_of_a_full_breath_is_that_of_the_default():
    for name in ("follow-up", "inhale-exhale"):
        assert Settings.preset("default", **TASKS[name].changes) == Settings()


def test_options_and_presets_stand_above_and_below_the_task():
    parser = settings_options()
    settings = settings_of(parser.parse_args(["--task", "4d", "--preset", "fast", "--align", "rigid"]))
    assert settings == Settings.preset("fast", align="rigid", search_range=32.0)
    for task in TASKS.values():
        assert settings_of(parser.parse_args(["--task", task.name])) == Settings(**task.changes)


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="Unknown task 'mri': choose one of follow-up, inhale-exhale"):
        task_of("mri")
    with pytest.raises(InputError, match="Unknown task"):
        settings_of(settings_options().parse_args(["--task", "mri"]))


def test_help_tells_what_each_task_sets():
    # Words are broken at hyphens.
    text = " ".join(settings_options().format_help().split()).replace("- ", "-")
    for task in TASKS.values():
        assert f"{task.name}: {task.text[0].lower()}{task.text[1:20]}" in text


def test_the_documentation_tells_the_same_of_each_task():
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    for task in TASKS.values():
        assert f"| `{task.name}` | {task.text} | {task.reason} |\n" in text
