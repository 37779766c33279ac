"""A record's content, the hashes that lock it to scans and transform, and whether it still holds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path

from GLIDERegLib import __version__
from GLIDERegLib.core.errors import InputError, system_refusals
from GLIDERegLib.evaluation.landmarks.names import in_words
from GLIDERegLib.evaluation.record.locking import IN_SCENE, file_hash
from GLIDERegLib.evaluation.record.numbers import LANDMARKS, NOT_COVERED, Number, of_region
from GLIDERegLib.files.outputs import write_json

FORMAT = "glidereg-record-1"
# After TG-132's levels of uncertainty, in our words.
LEVELS = (
    "aligned everywhere",
    "aligned where it matters",
    "usable, deformation may be wrong",
    "for finding places only",
    "not acceptable",
)
NO_LOGIN = (
    "A typed name is no login: nothing here proves who decided. The seal shows whether the record, the scans "
    "or the transform were changed afterwards; whoever can write the file can also make a new record."
)


@dataclass(frozen=True)
class Request:
    """What the registration is for, the region that matters, and the accuracy wanted there, mm."""

    purpose: str
    region: str
    accuracy_mm: float


@dataclass(frozen=True)
class Look:
    """Something that was looked at; by_tool: the program saw it happen, else it was only stated."""

    what: str
    by_tool: bool = False
    when: str = ""


@dataclass(frozen=True)
class Decision:
    """level: 0 (best) to 4 of `LEVELS`; name and time as typed and as the computer's clock had it (UTC)."""

    level: int
    text: str
    name: str
    time: str


@dataclass(frozen=True)
class Record:
    """hashes: SHA-256 by what it is of ("fixed", "moving", "transform"). seal: of all else in here."""

    request: Request
    looked: list[Look]
    numbers: list[Number]
    decision: Decision
    hashes: dict[str, str]
    version: str = __version__
    seal: str = field(default="")

    @property
    def reached(self) -> str:
        """Whether the accuracy wanted is reached in the region that matters, in words."""
        there = {
            n.name.partition(" in the ")[0]: n.value for n in of_region(self.numbers, self.request.region)
        }
        error, unknown = there.get(f"{LANDMARKS}, 95 %"), there.get(NOT_COVERED)
        wanted = f"{self.request.accuracy_mm:g} mm {in_words(self.request.region)}"
        if error is None:
            return f"Whether {wanted} is reached is not known: no landmark lies there."
        word = "is reached" if error <= self.request.accuracy_mm else "is not reached"
        where, rest = "", ""
        if unknown:
            where, rest = f" where landmarks are ({100 - unknown:.0f} % of it)", "; the rest is not known"
        return f"{wanted} {word}{where}: 95 % of the landmarks there are below {error:.1f} mm{rest}."


@dataclass(frozen=True)
class State:
    """changed: what is not as it was when the record was made; missing: what was not given to compare."""

    changed: list[str]
    missing: list[str]

    @property
    def superseded(self) -> bool:
        return bool(self.changed)

    def __str__(self) -> str:
        if self.changed:
            verb = "has" if len(self.changed) == 1 else "have"
            return f"Superseded: {_listed(self.changed)} {verb} changed since the record was made."
        if self.missing:
            return f"Unaltered; {_listed(self.missing)} not compared."
        return "Holds: the record, the scans and the transform are as they were."


def make_record(
    request: Request,
    looked: list[Look],
    numbers: list[Number],
    level: int,
    text: str,
    name: str,
    files: Mapping[str, str | PathLike],
    now: datetime | None = None,
) -> Record:
    """A sealed record. files: "fixed", "moving" and "transform", each a file or a folder of DICOM.

    Raises InputError as `seal_record` does, and for unreadable files.
    """
    hashes = {what: file_hash(path) for what, path in files.items()}
    return seal_record(request, looked, numbers, level, text, name, hashes, now)


def seal_record(
    request: Request,
    looked: list[Look],
    numbers: list[Number],
    level: int,
    text: str,
    name: str,
    hashes: Mapping[str, str],
    now: datetime | None = None,
) -> Record:
    """A sealed record, locked to hashes of "fixed", "moving" and "transform".

    Raises InputError for a level that is none, no purpose, no region, no name, or an accuracy that is no
    length.
    """
    for given, what in ((request.purpose, "purpose"), (request.region, "region that matters")):
        if not given.strip():
            raise InputError(f"A record needs the {what}.", code="record")
    if level not in range(len(LEVELS)):
        raise InputError(f"The level must be 0 to {len(LEVELS) - 1}, not {level}.", code="record")
    if not name.strip():
        raise InputError("A record needs the name of whoever decides.", code="record")
    if not (math.isfinite(request.accuracy_mm) and request.accuracy_mm > 0):
        raise InputError(
            f"The accuracy wanted must be more than 0 mm, not {request.accuracy_mm:g}.", code="record"
        )
    now = now or datetime.now(timezone.utc)
    decision = Decision(level, text, name.strip(), now.astimezone(timezone.utc).isoformat(timespec="seconds"))
    record = Record(request, looked, numbers, decision, dict(hashes))
    return replace(record, seal=_seal(record))


def write_record(record: Record, path: str | PathLike) -> None:
    """Writes the record as JSON; whole or not at all."""
    write_json(content(record), path)


def content(record: Record) -> dict:
    """What a record's file holds, ready for JSON."""
    return {"format": FORMAT, **asdict(record)}


@system_refusals()
def read_record(path: str | PathLike) -> Record:
    """Reads a record. Raises InputError where it is none, or was altered after it was sealed."""
    return parse_record(Path(path).read_bytes(), f"'{path}'")


def parse_record(text: str | bytes, named: str) -> Record:
    """The record that a file's text holds; InputError as `read_record`, with the file's name."""
    try:
        data = json.loads(text, object_pairs_hook=_once)
        if data.pop("format") != FORMAT:
            raise ValueError
        record = Record(
            Request(**data["request"]),
            [Look(**look) for look in data["looked"]],
            [Number(**number) for number in data["numbers"]],
            Decision(**data["decision"]),
            dict(data["hashes"]),
            data["version"],
            data["seal"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{named} is no record of a registration.", code="record") from error
    if set(data) != set(vars(record)) or record.seal != _seal(record):
        raise InputError(
            f"The record {named} was altered after it was sealed and counts for nothing",
            "Make a new one.",
            code="record-tampered",
        )
    return record


def state(record: Record, files: Mapping[str, str | PathLike]) -> State:
    """What of the scans and the transform is not as it was; files as in `make_record`, or some of them.

    Raises InputError for a record that is locked to a scene, which files do not tell.
    """
    if files and any(value.startswith(IN_SCENE) for value in record.hashes.values()):
        raise InputError(
            "The record is locked to scans and transform as they lie in a scene of 3D Slicer, not to files",
            "Open that scene to compare them.",
            code="record-scene",
        )
    return state_of(record, {what: file_hash(path) for what, path in files.items()})


def state_of(record: Record, hashes: Mapping[str, str]) -> State:
    """As `state`, by the hashes of what is there now."""
    changed = [what for what, now in hashes.items() if record.hashes.get(what, now) != now]
    return State(changed, [what for what in record.hashes if what not in hashes])


def _once(pairs: list[tuple[str, object]]) -> dict:
    """An object of JSON; ValueError where it has a name twice, of which other readers may take the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _seal(record: Record) -> str:
    """SHA-256 of everything but the seal, in one spelling."""
    sealed = content(record)
    del sealed["seal"]
    text = json.dumps(sealed, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _listed(names: list[str]) -> str:
    words = [f"the {name}" for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
