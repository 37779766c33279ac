"""Which code of ours made a result: a version is not enough while the code changes from day to day."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from GLIDERegLib import __version__

LIBRARY = Path(__file__).parents[1]
# What a registration's result depends on; reading and writing files does not change it.
REGISTERS = ("core", "registration")


def own_version(library: Path = LIBRARY) -> str:
    """The version and a digest of the code that registers, which tells two states of one version apart."""
    return f"{__version__}, code {_digest(library)}"


@cache
def _digest(library: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(file for folder in REGISTERS for file in (library / folder).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
