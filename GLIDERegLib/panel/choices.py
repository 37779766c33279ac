"""The panel's drop-down lists: what is stored, what is shown, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _

# Value, text, tool tip.
Choice = tuple[str, str, str]

PRESETS: tuple[Choice, ...] = (
    ("fast", _("Fast"), _("A first look: working voxels of 2 mm and more.")),
    ("default", _("Default"), _("The best balance of time and accuracy.")),
    ("accurate", _("Accurate"), _("More refinement steps; about twice the time of the default.")),
    (
        "paper",
        _("As published"),
        _("The schedule of the GLIDE-Reg paper, for comparison; slow without a GPU."),
    ),
)
ALIGN: tuple[Choice, ...] = (
    ("rigid", _("Shift and turn"), _("Finds the best rigid alignment first.")),
    ("affine", _("Shift, turn, scale and shear"), _("Finds the best affine alignment first.")),
    ("center", _("Middle on middle"), _("Brings the middles of the scans together.")),
    ("none", _("None"), _("Trusts the positions the scans have in the scene.")),
)
FEATURES: tuple[Choice, ...] = (
    (
        "auto",
        _("Automatic"),
        _("Local structure and anatomy where SAM2's weights are here, else local structure."),
    ),
    ("both", _("Local structure and anatomy"), _("MIND descriptors and SAM2 features.")),
    ("local", _("Local structure"), _("MIND descriptors only; needs no SAM2.")),
    ("global", _("Anatomy"), _("SAM2 features only.")),
)
REDUCTION: tuple[Choice, ...] = (
    ("dynamic", _("Learned along (VAE)"), _("A small network that learns while the registration refines.")),
    (
        "static",
        _("Learned before (VAE)"),
        _("The same network, trained on this pair before, then left alone."),
    ),
    ("pca", _("Principal components"), _("The quickest.")),
)
SLICE_SIZES: tuple[Choice, ...] = (
    ("auto", _("Automatic"), _("1024 pixels on a graphics card, 512 on the processor.")),
    ("1024", _("1024 pixels, as published"), ""),
    ("512", _("512 pixels, about 5 times as fast"), ""),
    ("256", _("256 pixels, coarse"), ""),
)
AUTOMATIC: Choice = (
    "auto",
    _("Automatic"),
    _("The first graphics card, or the processor where there is none."),
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
