"""The keys of the panel: bound, listed on F1 and in the documentation, and never in Slicer's way."""

from __future__ import annotations

import re

import pytest
from panel.support import ROOT

# Slicer 5's own: "Mouse & Keyboard Shortcuts" of its user guide, and the actions and menus (&File, &Edit,
# &View, &Help) of qSlicerMainWindow.ui. The Segment Editor takes letters and digits alone, or with Ctrl.
SLICER = {f"Ctrl+{key}" for key in "FOSWHBGVXCZYA0123456`"} | {f"Alt+{key}" for key in "FEVH"}


@pytest.fixture
def module(slicerHost, fake, openModule):
    return openModule()


def press(widget, letter, modifier="AltModifier"):
    from PySide6 import QtCore, QtTest

    QtTest.QTest.keyClick(widget, getattr(QtCore.Qt, f"Key_{letter}"), getattr(QtCore.Qt, modifier))


def test_no_two_keys_of_a_page_are_the_same_and_none_is_slicer_s(slicerHost):
    from GLIDERegLib.panel.keys import EVERYWHERE, KEYS

    everywhere = [key.keys for key in KEYS if key.page == EVERYWHERE]
    for page in {key.page for key in KEYS}:
        keys = [key.keys for key in KEYS if key.page == page]
        keys += everywhere if page != EVERYWHERE else []
        assert len(set(keys)) == len(keys), page
    keys = {key.keys for key in KEYS}
    assert not keys & SLICER
    # A letter alone would be typed into the comment, or taken from a view.
    assert all(re.fullmatch(r"Alt\+[A-Z0-9]|F1", key) for key in keys)


def test_every_key_that_is_declared_is_bound_in_the_module_and_the_buttons_tell_theirs(module):
    from GLIDERegLib.panel.keys import KEYS

    bound = [shortcut.key.toString() for keys in module.widget.keys for shortcut in keys.shortcuts]
    assert sorted(bound) == sorted(key.keys for key in KEYS)
    pages = module.widget.pages
    assert pages[2].ui.acceptButton.toolTip == "The two points show the same nodule (Alt+A)"
    assert pages[1].ui.checkConfirmButton.toolTip.endswith("(Alt+C)")


def test_a_key_that_is_bound_but_not_declared_is_refused(module):
    from GLIDERegLib.panel.keys import STUDY, PageKeys

    with pytest.raises(ValueError, match="zoom"):
        PageKeys(STUDY, module.widget.tabs, {}, {"zoom": print})


def test_a_key_that_another_extension_has_too_works_in_turn_with_it(module, slicerHost, tmp_path):
    import qt

    slicerHost.screenshot(module.widget.parent, tmp_path / "seen.png")
    module.widget.parent.activateWindow()
    slicerHost.processEvents(0.05)
    other = qt.QShortcut(qt.QKeySequence("F1"), module.widget.parent)
    told = []
    other.connect("activatedAmbiguously()", lambda: told.append(1))
    for _ in range(2):
        press(module.widget.tabs, "F1", "NoModifier")
    assert len(told) == len(slicerHost.dialogs.shown) == 1


def test_f1_lists_every_key(module, slicerHost, tmp_path):
    from GLIDERegLib.panel.keys import KEYS

    slicerHost.screenshot(module.widget.parent, tmp_path / "seen.png")
    module.widget.parent.activateWindow()
    slicerHost.processEvents(0.05)
    press(module.widget.tabs, "F1", "NoModifier")
    [shown] = slicerHost.dialogs.shown
    for key in KEYS:
        assert f"<td>{key.keys}&nbsp;&nbsp;&nbsp;</td><td>{key.text}</td>" in shown.text
    # A message box does not scroll: 25 lines of 20 pixels fit on every screen.
    assert all(column.count("<tr>") <= 25 for column in shown.text.split('<td valign="top">')[1:])


def test_pages_are_turned_by_keys_and_only_while_the_module_is_entered(module, slicerHost, tmp_path):
    tabs = module.widget.tabs
    slicerHost.screenshot(module.widget.parent, tmp_path / "seen.png")
    module.widget.parent.activateWindow()
    slicerHost.processEvents(0.05)
    press(tabs, "3")
    assert tabs.currentIndex == 2
    module.widget.exit()
    press(tabs, "5")
    assert tabs.currentIndex == 2
    assert not any(shortcut.enabled for keys in module.widget.keys for shortcut in keys.shortcuts)
    module.widget.enter()
    press(tabs, "5")
    assert tabs.currentIndex == 4


def test_the_documentation_lists_the_same_keys(slicerHost):
    from GLIDERegLib.panel.keys import KEYS

    text = (ROOT / "docs" / "slicer.md").read_text(encoding="utf-8")
    section = text.split("## Keys\n", 1)[1].split("\n## ", 1)[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in section.splitlines()]
    listed = [row for row in rows if len(row) == 3 and not set(row[0]) <= {"-"}][1:]
    assert listed == [(key.page, key.keys, key.text) for key in KEYS]


def test_the_next_overlay_of_the_list_comes_round_to_nothing(slicerHost):
    import slicer
    from check_scene import makePage, makeStudy

    study = makeStudy(slicer.mrmlScene, (30, 36, 42), 5.0)
    made = makePage(ROOT)
    made.page.setParameterNode(made.node)
    combo = made.ui.checkOverlayCombo
    made.page._look.nextOverlay()
    assert combo.currentIndex == 0
    made.node.checkTransform = study["transform"]
    made.page._look.nextOverlay()
    assert combo.currentData == "warped"
    combo.setCurrentIndex(combo.count - 1)
    made.page._look.nextOverlay()
    assert combo.currentIndex <= 1
    made.page.close()
    made.widget.deleteLater()
