"""The command `glidereg`; each command is a module that imports what it needs when it runs."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module, util
from types import ModuleType

from GLIDERegLib import __version__
from GLIDERegLib.cli import (
    check,
    consistency,
    demo,
    dicom,
    evaluate,
    export_measurements,
    find_lungs,
    measure,
    propagate,
    propagate_labels,
    record,
    register,
    report,
    weights,
)
from GLIDERegLib.cli.console import (
    WORKER_THREAD,
    Parser,
    describe_memory_error,
    heed_signals,
    ignore_signals,
    own_streams,
)
from GLIDERegLib.cli.remedies import worded
from GLIDERegLib.core.errors import Cancelled, GlideRegError, InputError, OutOfMemoryError, of_the_system
from GLIDERegLib.processes.loading import THREAD_VARIABLES


def run() -> None:
    """Runs the command line of this process and leaves with its exit status."""
    for name, value in THREAD_VARIABLES.items():
        os.environ.setdefault(name, value)
    own_streams()
    heed_signals()
    try:
        status = main()
    except SystemExit as end:  # of the parser: a wrong option, --help
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    ignore_signals()
    status = _flushed(status)
    if status or any(thread.name == WORKER_THREAD for thread in threading.enumerate()):
        # Python's own way out would wait for a native call that could not be stopped, end by SIGINT after an
        # interrupt within an `exec` (imports of large packages have them), and let HDF5 complain once more of
        # a damaged file, or crash over one that a full disk cut off.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status (0 done, 2 input, 3 memory, 4 weights, 130 cancelled)."""
    fail = _fail
    try:
        options = _parser().parse_args(arguments)
        if options.json_errors:
            fail = _fail_for_programs
        options.run(options)
    except KeyboardInterrupt:
        return fail(Cancelled("Cancelled; nothing was written."))
    except GlideRegError as error:
        return fail(error)
    except BrokenPipeError:
        # Who closed the pipe, as `head` does, has read enough.
        return 0
    except OSError as error:
        return fail(of_the_system(error))
    except Exception as error:
        if (message := describe_memory_error(error)) is None:
            raise
        return fail(OutOfMemoryError(message))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="glidereg",
        description="Deformable registration of CT scans. Research software, not a diagnostic device.",
    )
    parser.add_argument("--version", action="version", version=f"glidereg {__version__}")
    parser.add_argument(
        "--json-errors",
        action="store_true",
        help="tell an error as one line of JSON (message, hint, code), for programs that run glidereg",
    )
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for module in _commands():
        module.add_parser(commands)
    return parser


# Of studies/commands, which needs the studies' supervision of processes.
NAMES = ("follow_up", "benchmark", "cohort")


def _commands() -> Iterator[ModuleType]:
    """Those of this folder, then those of the studies, which stand above it and are not in the extension."""
    yield from (
        register,
        propagate,
        measure,
        propagate_labels,
        find_lungs,
        evaluate,
        check,
        consistency,
        record,
        report,
        dicom,
        export_measurements,
        demo,
        weights,
    )
    studies = "GLIDERegLib.studies"
    if util.find_spec(studies) is not None:
        yield from (import_module(f"{studies}.commands.{name}") for name in NAMES)


def _flushed(status: int) -> int:
    """Writes out what was printed; the exit status, another where that fails, as on a full disk."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # Python's own way out would try again, and complain in lines of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status or isinstance(error, BrokenPipeError):
            return status
        return _fail(InputError(f"Standard output cannot be written ({error.strerror}).", code="system"))
    return status


def _fail(error: GlideRegError) -> int:
    print("glidereg: error:", worded(error), file=sys.stderr)
    return error.exit_status


def _fail_for_programs(error: GlideRegError) -> int:
    """The remedy is the library's: whoever runs this words it in its own terms, by the code."""
    fields = {"message": error.message, "hint": error.hint, "code": error.code}
    print(json.dumps(fields), file=sys.stderr)
    return error.exit_status
