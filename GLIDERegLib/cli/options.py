"""The options that choose how to register, made from the settings' descriptions, for all commands that do."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable

from GLIDERegLib.core.describing import Choice, Description, descriptions
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.core.tasks import TASKS, task_of

# The settings that have an option, and the option's name where it is another.
OFFERED = (
    "name",
    "features",
    "reduction",
    "align",
    "encoder",
    "checkpoint",
    "encoder_reading",
    "encoder_input_size",
    "encoder_slice_step",
    "spacing",
    "search_range",
    "device",
    "threads",
    "seed",
)
_RENAMED = {"name": "preset", "encoder_slice_step": "slice-step"}
_SEE = {"encoder": " (see `glidereg weights list`)"}
_NOUNS = {"checkpoint": "FILE", "encoder": "NAME", "name": "NAME", "device": "NAME"}


def complete(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    """What every command has last: --quiet, and what it runs."""
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def option_name(setting: str) -> str:
    """The option of a setting, without the dashes in front."""
    return _RENAMED.get(setting, setting.replace("_", "-"))


def help_text(setting: str) -> str:
    """What an option does, its values and its default, from the setting's own description."""
    about = descriptions(Settings)[setting]
    unit = f", in {about.unit}" if about.unit else ""
    values = ": " + ", ".join(_value_text(choice) for choice in about.choices) if about.choices else ""
    default = getattr(Settings(), setting)
    default = about.automatic if default is None else f"{default:g}" if about.unit else default
    return f"{about.text}{_SEE.get(setting, '')}{unit}{values}; default: {default}"


def settings_options() -> argparse.ArgumentParser:
    """A parent parser with all of them."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("how to register")
    types = typing.get_type_hints(Settings)
    for setting, about in descriptions(Settings).items():
        if setting in OFFERED:
            group.add_argument(
                f"--{option_name(setting)}",
                dest="preset" if setting == "name" else setting,
                type=_type(types[setting]),
                metavar=_metavar(setting, about),
                # argparse formats with %.
                help=help_text(setting).replace("%", "%%"),
            )
    text = "; ".join(f"{task.name}: {task.text[:1].lower()}{task.text[1:-1]}" for task in TASKS.values())
    group.add_argument(
        "--task", metavar="NAME", help=f"settings by what it is for: {text}".replace("%", "%%")
    )
    text = (
        "any setting by its name in report.json, with a number or true or false; may be given several times"
    )
    group.add_argument("--set", action="append", dest="changes", metavar="NAME=VALUE", help=text)
    return parser


def settings_of(options: argparse.Namespace) -> Settings:
    """The preset with what the task and then the options change; raises InputError for values that no setting
    may have.
    """
    names = descriptions(Settings).keys() - {"name"}
    changes = dict(task_of(options.task).changes) if "task" in options else {}
    changes |= {name: value for name, value in vars(options).items() if name in names}
    changes |= dict(_change(text) for text in getattr(options, "changes", []))
    return Settings.preset(getattr(options, "preset", "default"), **changes)


def _change(text: str) -> tuple[str, float | int | bool]:
    """A setting's name and value from NAME=VALUE; raises InputError where it has none of that kind."""
    name, _, value = text.partition("=")
    kind = _type(typing.get_type_hints(Settings).get(name, str))
    try:
        if kind is bool:
            return name, {"true": True, "false": False}[value.lower()]
        if kind in (int, float):
            return name, kind(value)
    except (KeyError, ValueError):
        pass
    raise InputError(
        f"'{text}' changes no setting.",
        "Write NAME=VALUE with a NAME of those in report.json, and a number, true or false.",
        code="setting",
    )


def _value_text(choice: Choice) -> str:
    """A value, with what the panel's list calls it where that tells more."""
    title = choice.title.replace(f" ({choice.value})", "")
    return choice.value if title.lower().startswith(choice.value) else f"{choice.value} ({title})"


def _type(hint: object) -> type:
    """float of `float | None`, and so on."""
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return kinds[0]


def _metavar(setting: str, about: Description) -> str:
    if setting in _NOUNS:
        return _NOUNS[setting]
    return about.unit.upper() or ("KIND" if about.choices else "N")
