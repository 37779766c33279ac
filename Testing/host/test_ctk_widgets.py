"""The stand-ins of CTK's widgets behave as the real ones where a panel would notice."""

from __future__ import annotations

import pytest


@pytest.fixture
def ctk(slicerHost):
    import ctk

    return ctk


def told(path) -> list:
    said = []
    path.connect("currentPathChanged(QString)", said.append)
    path.connect("validInputChanged(bool)", said.append)
    return said


def test_a_path_is_told_at_every_key_and_an_emptied_one_only_by_its_validity(ctk):
    path = ctk.ctkPathLineEdit()
    said = told(path)
    for text in ("/a", "/ab", ""):
        path.comboBox().setEditText(text)
    assert said == ["/a", True, "/ab", False], "whether the file exists is not asked"


def test_a_path_that_fits_no_name_filter_is_not_told(ctk):
    path = ctk.ctkPathLineEdit()
    path.nameFilters = ["Weights (*.pt *.pth)"]
    said = told(path)
    for text in ("a.p", "a.pt", "a.pth", "a.pthx"):
        path.currentPath = text
    assert said == ["a.pt", True, "a.pth", False]


def test_a_path_line_demands_the_width_of_its_path(ctk):
    path = ctk.ctkPathLineEdit()
    before = path.minimumSizeHint.width()
    path.currentPath = "/" + "x" * 300
    assert path.minimumSizeHint.width() > before + 1000
    path.sizeAdjustPolicy = path.AdjustToMinimumContentsLength
    assert path.minimumSizeHint.width() == before


def test_a_path_starts_with_the_newest_of_its_history_and_stores_only_when_told(slicerHost, ctk):
    first = ctk.ctkPathLineEdit()
    first.settingKey = "weights"
    first.currentPath = "/seen"
    first.currentPath = "/stored"
    first.addCurrentPathToHistory()
    other, stranger = ctk.ctkPathLineEdit(), ctk.ctkPathLineEdit()
    other.settingKey = "weights"
    assert (other.currentPath, stranger.currentPath) == ("/stored", "")
    assert other.comboBox().count == 1


@pytest.mark.parametrize(
    ("filters", "kind"),
    [
        (("Dirs",), "getExistingDirectory"),
        (("Files", "Readable"), "getOpenFileName"),
        (("Files", "Writable"), "getSaveFileName"),
    ],
)
def test_browsing_asks_as_the_filters_say_and_not_under_the_label(slicerHost, ctk, filters, kind):
    path = ctk.ctkPathLineEdit()
    path.label = "Weights"
    path.filters = sum(getattr(path, name) for name in filters)
    slicerHost.dialogs.answers.append("/x")
    path.browse()
    (shown,) = slicerHost.dialogs.shown
    assert shown.kind == kind and shown.title != "Weights" and path.currentPath == "/x"


def test_a_double_spin_box_is_no_spin_box_of_qt(ctk):
    box, said = ctk.ctkDoubleSpinBox(), []
    box.connect("valueChanged(double)", said.append)
    box.connect("valueChanged(QString)", said.append)
    box.connect("decimalsChanged(int)", said.append)
    box.decimals = 1
    box.value = 3.14159
    assert (box.value, said) == (3.1, [1, 3.1, "3.1"])
    assert not box.inherits("QAbstractSpinBox")
    for name in ("specialValueText", "keyboardTracking", "setWrapping", "lineEdit"):
        with pytest.raises(AttributeError):
            getattr(box, name)


def test_a_slider_rounds_to_its_decimals_clamps_and_tells_only_changes(ctk):
    slider, said = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", said.append)
    slider.value = 1.234
    slider.value = 1.2301
    slider.maximum = 1.0
    assert said == [1.23, 1.0] and slider.decimals == 2
    with pytest.raises(AttributeError):
        slider.autoSpinBoxWidth = True


def test_a_default_text_is_no_placeholder_so_the_first_item_is_chosen(ctk):
    combo = ctk.ctkComboBox()
    combo.defaultText = "Select one"
    assert combo.currentIndex == -1
    combo.addItem("first")
    assert combo.currentIndex == 0 and combo.placeholderText == ""


def test_a_section_starts_expanded_and_is_14_pixels_high_when_collapsed(ctk):
    for section in (ctk.ctkCollapsibleButton(), ctk.ctkCollapsibleGroupBox()):
        assert not section.collapsed and section.checked and section.collapsedHeight == 14
