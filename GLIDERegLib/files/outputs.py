"""Results appear whole or not at all: written beside their place, and moved there when all is done."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from GLIDERegLib.core.errors import InputError, of_the_system

# Bytes; a disk with less left after a write may have cut the file off, which not every writer of ITK reports.
FULL_DISK = 4096
PREFIX, REPLACED = ".glidereg-", ".replaced"
# Of this machine, as it may stand in a file name: a shared disk has folders of other machines' processes too.
_HOST = re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32] or "host"
_ON_THIS_MACHINE = f"{PREFIX}{_HOST}-"


class OutputFolder:
    """A folder whose new files appear together at the end of the `with` block, or not at all.

        with OutputFolder("result") as out:
            write_volume(warped, out / "warped.nii.gz")
            write_json(report, out / "report.json")

    Files of the same name are replaced, other files in the folder stay but those that `without` names. After
    any exception, an interrupt included, the folder is as it was before; folders made for the occasion are
    removed.
    Raises InputError when the folder cannot be made, written or filled.
    """

    def __init__(self, path: str | PathLike):
        self.path = Path(path)
        self._made: list[Path] = []
        self._unwanted: frozenset[str] = frozenset()

    def __enter__(self) -> OutputFolder:
        try:
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir()
                self._made.append(folder)
            self._temporary = hidden_folder(self.path)
        except OSError as error:
            self._remove_made()
            raise _cannot_write(self.path, error) from error
        return self

    def __truediv__(self, name: str) -> Path:
        """Where to write the file that will be called `name` in this folder."""
        return self._temporary / name

    def without(self, names: Iterable[str]) -> None:
        """Files of these names that an earlier run left go, if this one does not write them: they would pass
        for its results.
        """
        self._unwanted = frozenset(names)

    def require_free(self, needed: int) -> None:
        """Raises InputError unless the disk has `needed` bytes left."""
        free = shutil.disk_usage(self._temporary).free
        if free < needed:
            raise InputError(
                f"The disk of '{self.path}' has {free / 1e6:.0f} MB left, but about {needed / 1e6:.0f} MB "
                "are needed.",
                "Free some space or choose another folder.",
                code="disk-full",
            )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self._publish()
        except OSError as failure:
            raise _cannot_write(self.path, failure) from failure
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._remove_made()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _cannot_write(self.path, error) from error
        if isinstance(error, InputError) and str(self._temporary) in str(error):
            message, hint = (
                text.replace(str(self._temporary), str(self.path)) for text in (error.message, error.hint)
            )
            raise InputError(message, hint, code=error.code, **error.facts) from error

    def _publish(self) -> None:
        """Moves all files to their places; on any failure the earlier files are put back."""
        replaced = self._temporary / REPLACED
        files = sorted(self._temporary.iterdir())
        replaced.mkdir()
        moved: list[str] = []
        try:
            for file in files:
                place = self.path / file.name
                if place.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
                if place.exists():
                    os.replace(place, replaced / file.name)
                moved.append(file.name)
                os.replace(file, place)
            for name in self._unwanted.difference(moved):
                if (self.path / name).is_file():
                    os.replace(self.path / name, replaced / name)
        except BaseException:
            for name in moved:
                (self.path / name).unlink(missing_ok=True)
            for file in replaced.iterdir():
                os.replace(file, self.path / file.name)
            raise

    def _remove_made(self) -> None:
        """Removes the folders made here, innermost first, as long as they are empty."""
        with suppress(OSError):
            for folder in reversed(self._made):
                folder.rmdir()


def hidden_folder(parent: Path) -> Path:
    """Makes a temporary folder in `parent`, named after this process, and removes those of killed ones.

    Raises OSError when it cannot be made.
    """
    remove_hidden_folders(parent)
    return Path(tempfile.mkdtemp(prefix=f"{_ON_THIS_MACHINE}{os.getpid()}-", dir=parent))


def remove_hidden_folders(parent: Path, own: bool = False) -> None:
    """Removes temporary folders of killed processes in `parent`; own: this process's too, which an interrupt
    at the wrong moment leaves.
    """
    # Windows has no harmless way to ask for a process with the standard library: there they stay.
    for left in parent.glob(f"{_ON_THIS_MACHINE}*") if os.name == "posix" else ():
        pid = left.name.removeprefix(_ON_THIS_MACHINE).partition("-")[0]
        if pid.isdecimal() and (not _runs(int(pid)) or (own and int(pid) == os.getpid())):
            _remove_left(left)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove_left(folder: Path) -> None:
    """Removes a killed process's folder; earlier results that it had moved aside half way are put back."""
    with suppress(OSError):
        replaced = folder / REPLACED
        half_way = any(file.name != REPLACED for file in folder.iterdir())
        for file in replaced.iterdir() if half_way and replaced.is_dir() else ():
            os.replace(file, folder.parent / file.name)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_file(path: str | PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with the same ending; it becomes `path` when the block succeeds.

    Raises InputError when the file cannot be written there or the disk is full.
    """
    path = Path(path)
    try:
        folder = hidden_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield folder / path.name
        _refuse_full(folder)
        os.replace(folder / path.name, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    except InputError as error:
        try:
            _refuse_full(folder)
        except OSError as full:
            raise _cannot_write(path, full) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_overwriting(inputs: Iterable[str | PathLike], outputs: Iterable[str | PathLike]) -> None:
    """Raises InputError when an output is the same file as an input, by whatever path, link or spelling."""
    given = [Path(path) for path in inputs]
    for output in map(Path, outputs):
        for path in given:
            same = os.path.realpath(path) == os.path.realpath(output)
            if same or (path.exists() and output.exists() and path.samefile(output)):
                raise InputError(
                    f"The output '{output}' would overwrite the input '{path}'.",
                    "Choose another output.",
                    code="overwrites-input",
                )


def write_json(data: Any, path: str | PathLike) -> None:
    """Writes data as JSON (UTF-8): numpy scalars and arrays as numbers and lists, NaN and infinity null."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(_plain(data), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (np.ndarray, np.generic)):
        return _plain(data.tolist())
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return str(data) if isinstance(data, PathLike) else data


def _refuse_full(folder: Path) -> None:
    if shutil.disk_usage(folder).free < FULL_DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cannot_write(path: Path, error: OSError) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"The disk of '{path}' is full.", "Free some space or choose another folder.", code="disk-full"
        )
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return InputError(
            f"Cannot write '{path}': a file is in the way of the folder.",
            "Choose another folder.",
            code="cannot-write",
        )
    if error.errno == errno.ENAMETOOLONG:
        return of_the_system(error)
    return InputError(
        f"Cannot write '{path}': {error.strerror or error}.",
        "Choose a folder that can be written.",
        code="cannot-write",
    )
