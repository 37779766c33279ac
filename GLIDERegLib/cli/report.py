"""`glidereg report`: a finished registration as one page to look at, print and file."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible
from GLIDERegLib.cli.options import complete
from GLIDERegLib.core.counting import counted


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "report",
        help="make a page with the pictures and numbers of a registration",
        description="Writes a page (HTML) with the volumes, settings, numbers and pictures of each nodule, "
        "and the nodules as a table (CSV), for a folder that `glidereg register` or `glidereg demo` filled. "
        "The page needs no network and no other file. For visual checking; not a diagnostic device.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the results")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="page to write, with its table beside it as FILE_nodules.csv; default: DIR/report.html and "
        "DIR/nodules.csv",
    )
    text = "write the scans' names and folders, which may hold a patient's name, into the page"
    parser.add_argument("--show-names", action="store_true", help=text)
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.evaluation.report import PAGE, TABLE, write_report

    folder, page = options.folder, options.output
    if page is None:
        page, table = folder / PAGE, folder / TABLE
    elif page.suffix.lower() in (".html", ".htm"):
        table = page.with_name(f"{page.stem}_{TABLE}")
    else:
        raise InputError(f"Cannot write the report '{page}'.", "Name it .html.", code="cannot-write")

    count = interruptible(lambda cancel: write_report(folder, page, table, cancel.check, options.show_names))
    if not options.quiet:
        print(f"Report in {page}; {counted(count, 'nodule')} in {table}")
