"""What is known of a pair: DIR/NAME/status.json, and whether the pair must be computed again."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from GLIDERegLib import __version__
from GLIDERegLib.files.outputs import OutputFolder, write_json
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.cohort.pair import GIB, REPORT, inputs_of

STATUS = "status.json"


def fingerprint(case: Case, arguments: tuple[str, ...]) -> dict[str, Any]:
    """What the result of a pair depends on: the version, the arguments, and its files' sizes and times.

    A folder stands for all files in it. Threads change no result that matters, and are no part of it.
    """
    files = inputs_of(case)
    for argument in arguments:
        if argument.startswith("--checkpoint="):
            files["checkpoint"] = Path(argument.removeprefix("--checkpoint="))
    return {
        "version": __version__,
        "arguments": [argument for argument in arguments if not argument.startswith("--threads=")],
        "files": {name: _stamp(path) for name, path in files.items()},
    }


def _stamp(path: Path) -> dict[str, int]:
    """Number and bytes of the files a path stands for, and the newest time of change (ns)."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    elif path.suffix.lower() in (".mhd", ".nhdr"):
        files = list(path.parent.glob(f"{path.stem}.*"))  # the voxels lie in a file beside the header
    else:
        files = [path] if path.exists() else []
    stats = [file.stat() for file in files]
    return {
        "files": len(stats),
        "bytes": sum(s.st_size for s in stats),
        "changed_ns": max((s.st_mtime_ns for s in stats), default=0),
    }


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a pair; None where there is none, it is damaged, or results that it names are gone."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        if record["status"] in ("done", "failed") and all((folder / f).is_file() for f in record["files"]):
            return record
    return None


def write_record(folder: Path, depends_on: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """Writes and returns the record of a pair from what `run_pair` told. Raises InputError.

    Results of an earlier run that this one has not replaced are removed: they belong to other settings.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        earlier = json.loads((folder / STATUS).read_text(encoding="utf-8"))["files"]
        for name in set(earlier) - set(outcome.get("files", [])):
            (folder / Path(name).name).unlink(missing_ok=True)
    record = {
        "status": "failed" if outcome["reason"] else "done",
        "reason": outcome["reason"],
        "exit_status": outcome.get("exit_status"),
        "seconds": outcome.get("seconds"),
        "peak_memory_gb": round(outcome["peak_memory"] / GIB, 3) if "peak_memory" in outcome else None,
        "host": outcome.get("host"),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": read_report(folder).get("versions") if not outcome["reason"] else None,
        "files": outcome.get("files", []),
        "depends_on": depends_on,
        "log": outcome.get("log", []),
    }
    record["versions"] = record["versions"] or {"glidereg": __version__}
    with OutputFolder(folder) as out:
        write_json(record, out / STATUS)
    return record


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a pair's registration; empty where there is none or it is damaged."""
    with suppress(OSError, ValueError):
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        return report if isinstance(report, dict) else {}
    return {}
