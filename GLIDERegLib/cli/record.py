"""`glidereg record`: a sealed record of a registration's review, and whether one still holds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

OF = {"fixed": "fixed image", "moving": "moving image", "transform": "transform"}
LOCKED = tuple(OF)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "record",
        help="make or verify a record of a registration's review",
        description="The record of a review after TG-132: request, what was looked at, numbers beside the "
        "site's tolerances, decision; locked to scans and transform by their SHA-256.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    make = actions.add_parser("make", help="write a record as JSON and HTML")
    add = make.add_argument
    for what in LOCKED:
        add(f"--{what}", type=Path, required=True, metavar="FILE", help=f"the {OF[what]} that it is about")
    add("--purpose", required=True, metavar="TEXT", help="what the registration is for")
    add("--region", required=True, metavar="TEXT", help="the region that matters, as a check names it")
    add("--accuracy", type=float, required=True, metavar="MM", help="accuracy wanted there")
    add("--report", type=Path, action="append", default=[], metavar="JSON", help="what `check`, `evaluate`, "
        "`consistency` or `propagate-labels` wrote; may be given several times")  # fmt: skip
    add("--tolerances", type=Path, metavar="JSON", help="the site's own, as {\"name of a number in the "
        "report\": the most it allows}")  # fmt: skip
    add("--looked", action="append", default=[], metavar="TEXT", help="something that was looked at; may be "
        "given several times")  # fmt: skip
    add("--level", type=int, required=True, metavar="0..4", help="0 aligned everywhere, 1 where it matters, "
        "2 usable, deformation may be wrong, 3 for finding places only, 4 not acceptable")  # fmt: skip
    add("--text", default="", metavar="TEXT", help="remarks")
    add("--name", required=True, metavar="NAME", help="who decides; a typed name is no login")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for record.json, record.html")
    make.set_defaults(run=make_files)
    verify = actions.add_parser("verify", help="tell whether a record is unaltered and still holds")
    verify.add_argument("record", type=Path, metavar="RECORD", help="record.json")
    for what in LOCKED:
        verify.add_argument(f"--{what}", type=Path, metavar="FILE", help=f"the {OF[what]} as it is now")
    verify.add_argument("--html", type=Path, metavar="FILE", help="write the page with its state as of now")
    verify.set_defaults(run=verify_files)
    show = actions.add_parser("page", help="write the page of a record that is locked to a scene")
    show.add_argument("record", type=Path, metavar="RECORD", help="record.json")
    show.add_argument(
        "--changed",
        choices=LOCKED,
        action="append",
        default=[],
        help="what has changed since, as the program knows that holds the scene; may be given several times",
    )
    show.add_argument("-o", "--output", type=Path, required=True, metavar="HTML", help="page to write")
    show.set_defaults(run=write_page)


def make_files(options: argparse.Namespace) -> None:
    from GLIDERegLib.evaluation.record.numbers import numbers_of
    from GLIDERegLib.evaluation.record.page import page
    from GLIDERegLib.evaluation.record.record import Look, Request, State, make_record, write_record
    from GLIDERegLib.files.outputs import OutputFolder

    tolerances = _json(options.tolerances) if options.tolerances else {}
    record = make_record(
        Request(options.purpose, options.region, options.accuracy),
        [Look(text) for text in options.looked],
        numbers_of([_json(path) for path in options.report], tolerances),
        options.level,
        options.text,
        options.name,
        {what: getattr(options, what) for what in LOCKED},
    )
    with OutputFolder(options.output) as out:
        write_record(record, out / "record.json")
        (out / "record.html").write_text(page(record, State([], [])), encoding="utf-8")
    print(record.reached)


def verify_files(options: argparse.Namespace) -> None:
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.evaluation.record.page import page
    from GLIDERegLib.evaluation.record.record import read_record, state
    from GLIDERegLib.files.outputs import whole_file

    record = read_record(options.record)
    now = state(record, {what: path for what in LOCKED if (path := getattr(options, what)) is not None})
    if options.html:
        with whole_file(options.html) as temporary:
            temporary.write_text(page(record, now), encoding="utf-8")
    if now.superseded:
        raise InputError(str(now), code="record-superseded")
    print(now)


def write_page(options: argparse.Namespace) -> None:
    from GLIDERegLib.evaluation.record.page import page
    from GLIDERegLib.evaluation.record.record import State, read_record
    from GLIDERegLib.files.outputs import refuse_overwriting, whole_file

    refuse_overwriting([options.record], [options.output])
    record = read_record(options.record)
    with whole_file(options.output) as temporary:
        temporary.write_text(page(record, State(options.changed, [])), encoding="utf-8")


def _json(path: Path) -> dict:
    from GLIDERegLib.core.errors import InputError, system_refusals

    with system_refusals():
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InputError(
            f"'{path}' is not JSON with names and values.", "Check the path.", code="file-damaged"
        )
    return data
