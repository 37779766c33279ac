"""The panel's drop-down lists: what is stored, what is shown, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _

from GLIDERegLib.core.describing import descriptions
from GLIDERegLib.core.settings import SLICE_SIZES, Settings

# Value, text, tool tip.
Choice = tuple[str, str, str]

ABOUT = descriptions(Settings)
AUTOMATIC: Choice = (
    "auto",
    _("Automatic"),
    _("The first graphics card, or the processor where there is none."),
)


def choicesOf(setting: str) -> list[Choice]:
    """The values of a setting as a list shows them, by the setting's own description."""
    offered = SLICE_SIZES if setting == "encoder_input_size" else ABOUT[setting].choices
    return [(choice.value, _(choice.title), choice.tip and _(choice.tip)) for choice in offered]


def toolTip(setting: str) -> str:
    """What a setting means, in a sentence, with what is meant by automatic."""
    about = ABOUT[setting]
    text = _(about.text)
    sentence = f"{text[:1].upper()}{text[1:]}."
    return (
        sentence + " " + _("Automatic: {text}.").format(text=_(about.automatic))
        if about.automatic
        else sentence
    )


class ChoiceBox:
    """A combo box that shows texts and stands for values."""

    def __init__(self, comboBox: qt.QComboBox, choices: Sequence[Choice], changed: Callable[[str], None]):
        self._comboBox = comboBox
        self._changed = changed
        self._filling = False
        self.fill(choices)
        comboBox.connect("currentIndexChanged(int)", self._onIndexChanged)

    @property
    def value(self) -> str:
        return self._comboBox.currentData

    def fill(self, choices: Sequence[Choice], value: str | None = None) -> None:
        """Offers other choices; keeps the value, which is added where it is none of them."""
        self._filling = True
        self._comboBox.clear()
        for number, (data, text, toolTip) in enumerate(choices):
            self._comboBox.addItem(text, data)
            self._comboBox.setItemData(number, toolTip, qt.Qt.ToolTipRole)
        self._filling = False
        if value is not None:
            self.show(value)

    def show(self, value: str) -> None:
        """Shows the choice of this value; one that is not offered is added, for it is what will be used."""
        index = self._comboBox.findData(value)
        if index < 0:
            self._comboBox.addItem(value, value)
            index = self._comboBox.findData(value)
        self._filling = True
        self._comboBox.setCurrentIndex(index)
        self._filling = False

    def _onIndexChanged(self, index: int) -> None:
        if not self._filling:
            self._changed(self.value)
