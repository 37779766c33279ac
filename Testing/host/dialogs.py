"""Dialogs that never block: a test says beforehand what the user answers, and reads what was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6 import QtWidgets

from .placeholders import placeholder, stored
from .pythonqt import qt, refuseRich, wrapped

_Box = QtWidgets.QMessageBox
_SINGLE = (_Box.NoButton, _Box.Ok, _Box.Close, _Box.Cancel)


@dataclass(frozen=True)
class ShownDialog:
    """What the user was shown.

    `buttons` are the standard buttons' values or'ed together; `choices` all buttons' texts, ampersands gone;
    `directory` where a file dialog begins, and the name that it proposes.
    """

    kind: str
    title: str = ""
    text: str = ""
    detailedText: str = ""
    informativeText: str = ""
    buttons: int = 0
    icon: int = 0
    choices: tuple[str, ...] = ()
    directory: str = ""


class Dialogs:
    """The user's side of every dialog.

    `answers` is a list that each dialog takes its answer from, the first one first: a button
    (qt.QMessageBox.Yes, or its text), a path for a file dialog (a tuple of paths where several are asked
    for), a text for an input dialog, or a function that is called with the dialog and returns the answer.
    `shown` records each dialog as a ShownDialog. A message with one button needs no answer; any other dialog
    without one fails.
    """

    def __init__(self):
        self.answers: list = []
        self.shown: list[ShownDialog] = []

    def clear(self) -> None:
        self.answers.clear()
        self.shown.clear()

    def ask(self, shown: ShownDialog, dialog=None):
        """Records a dialog and gives the scripted answer; AssertionError where the test gave none."""
        self.shown.append(shown)
        if shown.kind == "message":
            refuseRich(shown.text, f"the message {shown.title!r}")
        if self.answers:
            answer = self.answers.pop(0)
            return answer(dialog) if isinstance(answer, Callable) else answer
        if shown.kind == "message" and shown.buttons in _SINGLE and len(shown.choices) <= 1:
            return shown.buttons
        raise AssertionError(f"a dialog asked something and the test gave no answer: {shown}")


dialogs = Dialogs()


class _DialogThatDoesNotBlock:
    """exec_ of any dialog: the scripted answer instead of an event loop."""

    def exec_(self) -> int:
        return int(dialogs.ask(ShownDialog("dialog", self.windowTitle), self))

    exec = exec_


class _MessageBoxThatDoesNotBlock:
    def exec_(self) -> int:
        buttons = {button.text.replace("&", ""): button for button in self.buttons()}
        # Qt's own, beside a detailed text; it does not end the dialog.
        buttons.pop("Show Details...", None)
        shown = ShownDialog(
            "message",
            self.windowTitle.strip(),
            self.text,
            self.detailedText,
            self.informativeText,
            int(self.standardButtons),
            int(getattr(self.icon, "value", self.icon)),
            tuple(buttons),
        )
        answer = dialogs.ask(shown, self)
        clicked = (
            buttons[answer] if isinstance(answer, str) else self.button(_Box.StandardButton(int(answer)))
        )
        self.__dict__["_clicked"] = clicked
        return int(self.standardButton(clicked)) if clicked is not None else int(answer)

    exec = exec_

    def clickedButton(self):
        return self.__dict__.get("_clicked")


def _static(icon: _Box.Icon, buttons: _Box.StandardButton) -> Callable:
    """QMessageBox.question and its kin."""

    def show(parent, title, text, standardButtons=buttons, defaultButton=_Box.NoButton):
        shown = ShownDialog("message", title, text, buttons=int(standardButtons), icon=icon.value)
        return dialogs.ask(shown)

    return staticmethod(show)


def _chooseFile(kind: str) -> Callable:
    def show(parent=None, caption="", directory="", filter="", *more):
        return dialogs.ask(ShownDialog(kind, caption, filter, directory=directory))

    return staticmethod(show)


def _enter(kind: str) -> Callable:
    def show(parent, title, label, *more):
        return dialogs.ask(ShownDialog(kind, title, label))

    return staticmethod(show)


def install(ctk) -> None:
    """Puts the dialogs in the place of Qt's own, in the modules `qt` and `ctk`."""
    message = wrapped("QMessageBox")
    for name, icon, buttons in (
        ("information", _Box.Information, _Box.Ok),
        ("warning", _Box.Warning, _Box.Ok),
        ("critical", _Box.Critical, _Box.Ok),
        ("question", _Box.Question, _Box.Yes | _Box.No),
    ):
        setattr(message, name, _static(icon, buttons))
    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        setattr(wrapped("QFileDialog"), name, _chooseFile(name))
    for name in ("getText", "getInt", "getDouble", "getItem", "getMultiLineText"):
        setattr(wrapped("QInputDialog"), name, _enter(name))
    for name in ("QDialog", "QFileDialog", "QInputDialog", "QProgressDialog", "QErrorMessage", "QMenu"):
        for method in ("exec_", "exec"):
            setattr(wrapped(name), method, _DialogThatDoesNotBlock.__dict__[method])
    for method in ("exec_", "exec", "clickedButton"):
        setattr(message, method, _MessageBoxThatDoesNotBlock.__dict__[method])

    @placeholder
    class ctkMessageBox(qt.QMessageBox):
        """QMessageBox with a box to tick for not being shown again, which no scripted user ever ticks."""

        dontShowAgain = stored(bool, "_dontShowAgain", False)
        dontShowAgainVisible = stored(bool, "_dontShowAgainVisible", False)
        dontShowAgainSettingsKey = stored(str, "_dontShowAgainSettingsKey", "")
        dontShowAgainButtonRoles = stored("QVariantList", "_dontShowAgainButtonRoles", [])

        def setDontShowAgain(self, dontShow: bool) -> None:
            self.dontShowAgain = dontShow

    ctk.ctkMessageBox = ctkMessageBox
