"""The stop where scans are of different patients, which a user can override."""

from __future__ import annotations

from collections.abc import Callable

import slicer.util
from slicer.i18n import tr as _

from GLIDERegLib.panel.plain import plain

DIFFERENT_PATIENTS = _("{reason} A comparison means nothing then. Go on all the same?")


def confirmOnePatient(reason: str, say: Callable[[list[str]], None]) -> bool:
    """Whether to go on. reason: why the scans are of different patients, empty where nothing says so; `say`
    gets it where the user does not want to.
    """
    if not reason or slicer.util.confirmYesNoDisplay(plain(DIFFERENT_PATIENTS.format(reason=reason))):
        return True
    say([reason])
    return False
