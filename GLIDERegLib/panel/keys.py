"""Every key of the panel, declared once: what binds them, what F1 shows, and what the documentation lists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import NamedTuple

import qt
import slicer.util
from slicer.i18n import tr as _

EVERYWHERE, CHECK, NODULES, STUDY, FOLLOW_UP, QA = (
    _("Every page"),
    _("Check"),
    _("Nodules"),
    _("4D study"),
    _("Follow-up"),
    _("QA"),
)


class Key(NamedTuple):
    """page: where it works; action: what the code calls it; keys: as Qt writes them; text: what it does."""

    page: str
    action: str
    keys: str
    text: str


# With Alt: Slicer takes letters alone in its views and in the Segment Editor, letters and digits with Ctrl in
# its menus, and with Alt only F, E, V and H, the menus themselves (Slicer's user guide, "Mouse & Keyboard
# Shortcuts", and qSlicerMainWindow.ui). It leaves F1 alone.
KEYS = [
    Key(EVERYWHERE, "keys", "F1", _("Show these keys")),
    *(
        Key(EVERYWHERE, f"page{n}", f"Alt+{n}", _("Page {page}").format(page=page))
        for n, page in enumerate((_("Register"), CHECK, NODULES, STUDY, FOLLOW_UP, QA), start=1)
    ),
    Key(CHECK, "layout", "Alt+S", _("Fixed, warped and moving scan side by side, or your own layout")),
    Key(CHECK, "overlay", "Alt+O", _("The next overlay of the list")),
    Key(CHECK, "before", "Alt+B", _("The moving scan before registration instead of the warped one")),
    Key(CHECK, "follow", "Alt+L", _("Linked crosshair on or off")),
    Key(CHECK, "find", "Alt+D", _("Find landmarks, or stop")),
    Key(CHECK, "metrics", "Alt+M", _("Compute metrics")),
    Key(CHECK, "next", "Alt+N", _("The next landmark")),
    Key(CHECK, "previous", "Alt+P", _("The landmark before")),
    Key(CHECK, "confirm", "Alt+C", _("Confirm: the error is real")),
    Key(CHECK, "reject", "Alt+R", _("Reject: the two points show different places")),
    Key(CHECK, "undo", "Alt+Z", _("Undo the last decision")),
    Key(CHECK, "redo", "Alt+Y", _("Redo what was undone last")),
    Key(NODULES, "next", "Alt+N", _("The next nodule")),
    Key(NODULES, "previous", "Alt+P", _("The nodule before")),
    Key(NODULES, "accept", "Alt+A", _("Accept: the two points show the same nodule")),
    Key(NODULES, "reject", "Alt+R", _("Reject: they do not")),
    Key(NODULES, "unsure", "Alt+U", _("Unsure: it cannot be told")),
    Key(NODULES, "edit", "Alt+D", _("Edit points: drag them in the views, or lock them again")),
    Key(NODULES, "prediction", "Alt+B", _("Back to prediction")),
    Key(NODULES, "comment", "Alt+C", _("Write a comment")),
    Key(NODULES, "undo", "Alt+Z", _("Undo the last decision")),
    Key(NODULES, "redo", "Alt+Y", _("Redo what was undone last")),
    Key(NODULES, "measure", "Alt+M", _("Measure the nodule in both scans")),
    Key(NODULES, "larger", "Alt+L", _("Make its outline larger")),
    Key(NODULES, "smaller", "Alt+K", _("Make its outline smaller")),
    Key(NODULES, "outline", "Alt+T", _("Take back the last measurement or outline")),
    Key(NODULES, "sideBySide", "Alt+S", _("Both scans side by side, or your own layout")),
    Key(STUDY, "next", "Alt+N", _("The next frame")),
    Key(STUDY, "previous", "Alt+P", _("The frame before")),
    Key(STUDY, "overlay", "Alt+O", _("The frame over the reference frame")),
    Key(STUDY, "plot", "Alt+G", _("Plot of the displacement")),
    Key(FOLLOW_UP, "next", "Alt+N", _("The next nodule")),
    Key(FOLLOW_UP, "previous", "Alt+P", _("The nodule before")),
    Key(FOLLOW_UP, "dates", "Alt+S", _("All dates side by side, or your own layout")),
    Key(FOLLOW_UP, "plot", "Alt+G", _("Growth curve of the nodule")),
    Key(FOLLOW_UP, "grown", "Alt+L", _("The nodule has grown")),
    Key(FOLLOW_UP, "unchanged", "Alt+Q", _("It is unchanged")),
    Key(FOLLOW_UP, "shrunk", "Alt+K", _("It has shrunk")),
    Key(FOLLOW_UP, "none", "Alt+X", _("It is no nodule")),
    Key(FOLLOW_UP, "unsure", "Alt+U", _("Unsure: it cannot be told")),
    Key(FOLLOW_UP, "comment", "Alt+C", _("Write a comment")),
    Key(FOLLOW_UP, "done", "Alt+D", _("I have read all nodules")),
    Key(FOLLOW_UP, "undo", "Alt+Z", _("Undo the last decision")),
    Key(FOLLOW_UP, "redo", "Alt+Y", _("Redo what was undone last")),
    Key(QA, "propagate", "Alt+P", _("Propagate the chosen segments, or stop")),
    Key(QA, "lungs", "Alt+L", _("Find the lungs, or stop")),
    Key(QA, "sign", "Alt+S", _("Sign and lock a record")),
    Key(QA, "save", "Alt+R", _("Save the newest record")),
    Key(QA, "undo", "Alt+Z", _("Undo the last decision")),
    Key(QA, "redo", "Alt+Y", _("Redo what was undone last")),
]

# Of the list that F1 shows, column by column.
SIDES = ((EVERYWHERE, CHECK), (NODULES, STUDY), (FOLLOW_UP, QA))


def keysOf(page: str, action: str) -> str:
    """The keys of an action, as Qt writes them."""
    return next(key.keys for key in KEYS if (key.page, key.action) == (page, action))


class PageKeys:
    """The keys of one page, as long as `view` is in sight, wherever in its window the focus is.

    buttons: which button each action presses, as far as the button is enabled; its tip tells the key.
    calls: what the other actions do. Raises ValueError where they are not those that KEYS declares.
    """

    def __init__(self, page: str, view, buttons: dict, calls: dict[str, Callable[[], None]] | None = None):
        calls = calls or {}
        declared = {key.action: key for key in KEYS if key.page == page}
        if differing := set(declared) ^ (set(buttons) | set(calls)):
            raise ValueError(f"keys declared or bound alone on the page {page}: {sorted(differing)}")
        self.shortcuts = []
        for action, key in declared.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key.keys), view)
            act = calls.get(action) or partial(_press, buttons[action])
            # The second where a menu of Slicer's in another language, or another extension, has the key too:
            # Qt then lets them take turns.
            for signal in ("activated()", "activatedAmbiguously()"):
                shortcut.connect(signal, act)
            self.shortcuts.append(shortcut)
        for action, button in buttons.items():
            if not button.toolTip.endswith(keys := f"({declared[action].keys})"):
                button.toolTip = f"{button.toolTip} {keys}"

    def setActive(self, active: bool) -> None:
        """Whether the keys do anything, for Slicer may keep a panel that was left."""
        for shortcut in self.shortcuts:
            shortcut.enabled = active


def _press(button) -> None:
    button.click()


def table() -> str:
    """All keys as HTML, in columns that a small screen has the height for."""
    columns = "".join(f'<td valign="top">{_column(pages)}</td>' for pages in SIDES)
    return f'<table cellspacing="12"><tr>{columns}</tr></table>'


def _column(pages: tuple[str, ...]) -> str:
    rows = []
    for page in pages:
        rows.append(f'<tr><th colspan="2" align="left">{escape(page)}</th></tr>')
        rows += [
            f"<tr><td>{escape(key.keys)}&nbsp;&nbsp;&nbsp;</td><td>{escape(key.text)}</td></tr>"
            for key in KEYS
            if key.page == page
        ]
    return f"<table>{''.join(rows)}</table>"


def showKeys() -> None:
    """The list of all keys, until the user closes it."""
    qt.QMessageBox.information(slicer.util.mainWindow(), _("Keys of GLIDE-Reg"), table())
