"""What to do about an error, in the terms of the panel: the library names no menu and no button."""

from __future__ import annotations

from slicer.i18n import tr as _

# By the error's code; for other codes the library's own hint holds in the panel too.
REMEDIES = {
    "no-overlap": _("Choose another Pre-alignment under Advanced, or check that both scans belong together."),
    "device": _("Choose another Device."),
    "weights-absent": _("Download the checkpoint on this page, or choose the features MIND (local)."),
}


def worded(message: str, hint: str, code: str = "") -> str:
    """What is wrong, and the remedy as a user of the panel finds it."""
    return f"{message.rstrip('.;')}. {REMEDIES.get(code, hint)}".strip()
