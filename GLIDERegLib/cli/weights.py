"""`glidereg weights`: the checkpoints of the encoders on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from GLIDERegLib.cli.console import interruptible
from GLIDERegLib.cli.options import complete


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "weights",
        help="list, download or verify checkpoints",
        description="The checkpoints of SAM2's image encoder, which the global features need, and of DINOv2, "
        "for the features of DINO-Reg. They are kept in the user's cache folder, or in the folder the "
        "environment variable GLIDEREG_WEIGHTS names.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="show all published checkpoints and which of them are here")
    listing.set_defaults(run=list_weights)
    download = actions.add_parser("download", help="fetch a checkpoint and check its SHA-256")
    download.add_argument("name", metavar="NAME", help="for example sam2.1_hiera_tiny")
    download.add_argument("--mirror", metavar="URL", help="folder of another server that has the file")
    complete(download, download_weights)
    verify = actions.add_parser("verify", help="tell by its SHA-256 whether a file is a published checkpoint")
    verify.add_argument(
        "file", metavar="FILE", help="a file, or the name of a checkpoint that was downloaded"
    )
    verify.set_defaults(run=verify_weights)


def list_weights(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.checkpoints import statuses, weights_folder

    rows = interruptible(lambda cancel: statuses())
    print(f"Checkpoints in {weights_folder()}")
    for row in rows:
        state = "absent" if row.path is None else "verified" if row.verified else "damaged: download it again"
        print(f"  {row.name:<22} {row.size / 1e6:6.0f} MB  {state}")


def download_weights(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.checkpoints import download

    shows_bar = sys.stderr.isatty() and not options.quiet
    path = interruptible(lambda cancel: download(options.name, progress=shows_bar, base_url=options.mirror))
    if not options.quiet:
        print(path)


def verify_weights(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.checkpoints import CHECKPOINTS, verify, weights_folder

    name = options.file if options.file in CHECKPOINTS else None
    path = weights_folder() / CHECKPOINTS[name].file if name else Path(options.file)
    print(f"{path} is {interruptible(lambda cancel: verify(path, name))}.")
