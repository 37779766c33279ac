"""The hashes that lock a record to scans and transform."""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path

from GLIDERegLib.core.errors import InputError, system_refusals
from GLIDERegLib.files.parts import parts_of

BLOCK = 1 << 20
# Before the hash of what lies in a scene and in no file: a file's bytes have another one in any case.
IN_SCENE = "scene:"


@system_refusals()
def file_hash(path: str | PathLike) -> str:
    """SHA-256: of a file's bytes, as `sha256sum` has it; of a folder's files, or of a file and those that are
    read with it (`parts_of`), by their names and content.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"'{path}' does not exist.", "Check the path.", code="file-missing")
    if path.is_dir():
        named = {
            file: file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file()
        }
    else:
        named = {file: file.name for file in parts_of(path)}
        if len(named) == 1:
            return _hash(path)
    lines = [f"{_hash(file)}  {name}\n" for file, name in named.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
