"""A user's own tool as a method: its command line, or the fields it left."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.transforms import FIELD_SUFFIXES, TRANSFORM_SUFFIXES
from GLIDERegLib.files.volumes import read_volume
from GLIDERegLib.studies.cases import Task
from GLIDERegLib.studies.peers.conversion import CONVENTIONS, read_result

ARROW = "=>"
SUFFIXES = (*FIELD_SUFFIXES, *TRANSFORM_SUFFIXES, ".dat")
COMMAND_FORM = "command:NAME=COMMAND LINE => CONVENTION:FILE"
FIELDS_FORM = "fields:NAME=FOLDER => CONVENTION"


@dataclass(frozen=True)
class UserCommand:
    """A command line with {fixed}, {moving}, {fixed_mask}, {moving_mask}, {folder} and {threads} in it.

    It runs without a shell. result: the file it leaves, with the same placeholders; convention: what that is.
    """

    name: str
    line: str
    convention: str
    result: str

    def missing(self) -> str | None:
        program = shlex.split(self.line)[0]
        if shutil.which(program):
            return None
        return f"{self.name}: there is no program '{program}'; install it or give its whole path."

    def command(self, task: Task) -> Sequence[str]:
        # Filled in after splitting, so that a blank in a path does not split it.
        return [self._filled(part, task) for part in shlex.split(self.line)]

    def transform(self, task: Task) -> sitk.Transform:
        path = Path(self._filled(self.result, task))
        return read_result(path, self.convention, read_volume(task.fixed, "fixed").grid)

    def version(self) -> str:
        return self.line

    def _filled(self, text: str, task: Task) -> str:
        for key in ("fixed_mask", "moving_mask", "fixed", "moving", "folder", "threads"):
            value = getattr(task, key)
            if value is None and f"{{{key}}}" in text:
                raise InputError(
                    f"{self.name} wants {{{key}}}, but this case has no such mask.",
                    "Leave it out.",
                    code="mask",
                )
            text = text.replace(f"{{{key}}}", str(value))
        return text


@dataclass(frozen=True)
class UserFields:
    """Results that a run of one's own left: a file named after each case in a folder."""

    name: str
    folder: Path
    convention: str

    def missing(self) -> str | None:
        return None if self.folder.is_dir() else f"{self.name}: there is no folder '{self.folder}'."

    def command(self, task: Task) -> Sequence[str]:
        return ()

    def transform(self, task: Task) -> sitk.Transform:
        paths = [self.folder / f"{task.case}{suffix}" for suffix in SUFFIXES]
        found = [path for path in paths if path.is_file()]
        if not found:
            raise InputError(
                f"{self.name} has no result for this case.",
                f"Put one into '{paths[1]}' or the like.",
                code="file-damaged",
            )
        return read_result(found[0], self.convention, read_volume(task.fixed, "fixed").grid)

    def version(self) -> str:
        return f"fields in {self.folder}"


def parse_user_method(text: str) -> UserCommand | UserFields:
    """The method in `COMMAND_FORM` or `FIELDS_FORM`.

    Without "=>", the convention is "transform" and a command's file {folder}/transform.h5. Raises InputError
    for any other form.
    """
    kind, _, rest = text.partition(":")
    name, _, rest = rest.partition("=")
    what, _, output = (part.strip() for part in rest.partition(ARROW))
    convention, _, result = output.partition(":")
    convention = convention or "transform"
    form = COMMAND_FORM if kind == "command" else FIELDS_FORM
    if not name or not what or convention not in CONVENTIONS:
        raise InputError(
            f"'{text}' is no method.",
            f"Write {form}, with CONVENTION one of {', '.join(CONVENTIONS)}.",
            code="file-damaged",
        )
    if kind == "fields":
        return UserFields(name, Path(what), convention)
    return UserCommand(name, what, convention, result or "{folder}/transform.h5")
