"""Asks where a file or files shall go, beginning where Slicer saves scenes, not where it was started from."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.panel.plain import plain


def _usual() -> Path:
    return Path(slicer.mrmlScene.GetRootDirectory() or slicer.app.defaultScenePath or Path.home()).absolute()


def askFile(title: str, name: str, kind: str) -> str:
    """The file to write, with the ending of `name`; empty where the user wants none.

    kind: what such a file is, shown with its ending.
    """
    ending = Path(name).suffix
    path = qt.QFileDialog.getSaveFileName(
        slicer.util.mainWindow(), title, str(_usual() / name), f"{kind} (*{ending})"
    )
    # Not every system's dialog adds the ending, and those asked about a file without it.
    if path and Path(path).suffix.lower() != ending:
        path += ending
        question = _("{path} already exists. Do you want to replace it?").format(path=path)
        if Path(path).exists() and not slicer.util.confirmYesNoDisplay(plain(question)):
            return ""
    return path


def askFolder(title: str) -> str:
    """The folder to write into; empty where the user wants none."""
    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, str(_usual()))
