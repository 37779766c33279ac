"""The methods GLIDE-Reg is compared with, each run as one process on the same two files; see README.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.settings import PRESETS
from GLIDERegLib.studies.cases import Method
from GLIDERegLib.studies.peers.own import Affine, DinoReg, GlideReg, NoRegistration
from GLIDERegLib.studies.peers.packages import package_peers, peers_python
from GLIDERegLib.studies.peers.user import parse_user_method


def _package_peer(name: str) -> Callable[[Path], Method]:
    return lambda python: next(peer for peer in package_peers(python) if peer.name == name)


# By name; each takes the Python that has the peers' packages, and most do not need it.
METHODS: dict[str, Callable[[Path], Method]] = {
    "none": lambda python: NoRegistration(),
    "affine": lambda python: Affine(),
    **{peer.name: _package_peer(peer.name) for peer in package_peers(Path())},
    **{f"glidereg-{preset}": lambda python, preset=preset: GlideReg(preset) for preset in PRESETS},
    "dino-reg": lambda python: DinoReg(),
}


def choose_methods(names: list[str], python_of_peers: Path | None = None) -> list[Method]:
    """The methods of these names, in order: those of `METHODS`, command:NAME=... and fields:NAME=... .

    python_of_peers: the Python that has the peers' packages; by default $GLIDEREG_PEERS_PYTHON, or that of
    .venv-peers in the checkout. A method that is not installed is returned too; its `missing` says so.
    Raises InputError for an unknown or repeated name.
    """
    python = Path(python_of_peers) if python_of_peers else peers_python()
    methods: list[Method] = []
    for name in names:
        if name.startswith(("command:", "fields:")):
            methods.append(parse_user_method(name))
        elif name in METHODS:
            methods.append(METHODS[name](python))
        else:
            raise InputError(
                f"There is no method '{name}'.",
                f"Choose among {', '.join(METHODS)}, command:NAME=... and fields:NAME=...",
                code="file-damaged",
            )
    repeated = sorted({m.name for m in methods if sum(n.name == m.name for n in methods) > 1})
    if repeated:
        raise InputError(
            f"The method {repeated[0]} is there twice.", "Give each a name of its own.", code="setting"
        )
    return methods
