"""The module as Slicer loads it, and its panel as the .ui file draws it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from panel.support import FINDINGS, MODULE, ROOT

UI = ROOT / "Resources" / "UI" / "GLIDEReg.ui"
PAGES = sorted(UI.parent.glob("*.ui"))
BOXES = {"preset", "device", "align", "features", "encoder", "reduction", "sliceSize"}
SLOW = {"torch", "SimpleITK", "sam2", "numba", "matplotlib", "psutil", "scipy", "tqdm", "pooch", "requests"}
PASSIVE = ("qMRMLWidget", "ctkCollapsibleButton", "QLabel", "QProgressBar", "QPlainTextEdit")
WIDEST_PIXELS = 400
OPENS_THE_PANEL = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from host import start
host = start()
before = set(sys.modules)
module = host.loadModule(sys.argv[2])
loaded = set(sys.modules) - before
module.enter()
host.waitUntil(lambda: module.ui.encoderCombo.count > 1)
host.processEvents(0.3)
opened = set(sys.modules) - before
tops = lambda names: sorted({name.split(".")[0] for name in names})
print(json.dumps({
    "loaded": tops(loaded), "opened": tops(opened), "calls": host.packaging.calls,
    "dialogs": [shown.text for shown in host.dialogs.shown], "uncaught": [repr(e) for e in host.uncaught],
}))
"""


@pytest.mark.parametrize("missing", [[], ["torch", "psutil"]], ids=["complete", "fresh Slicer"])
def test_loading_the_module_and_opening_its_panel_imports_nothing_heavy_and_installs_nothing(
    slicerHost, fake, missing
):
    fake.plan([], findings={**FINDINGS, "missing": missing, "missing_global": ["sam2"]})
    command = [sys.executable, "-c", OPENS_THE_PANEL, str(ROOT / "Testing"), str(MODULE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert "GLIDERegLib" in found["loaded"]
    assert not SLOW & {*found["loaded"], *found["opened"]}
    assert (found["calls"], found["dialogs"], found["uncaught"]) == ([], [], [])


def widgets(page: Path = UI) -> dict[str, str]:
    """Name and class of each widget in a .ui file."""
    return {item.get("name"): item.get("class") for item in ElementTree.parse(page).iter("widget")}


def bound(page: Path) -> list[str]:
    """The parameters that widgets of a .ui file are bound to."""
    found = ElementTree.parse(page).iterfind(".//property[@name='SlicerParameterName']")
    return [item.findtext("string") for item in found]


def test_each_binding_names_a_parameter_and_each_parameter_can_be_set(fake, openModule):
    parameters = set(typing.get_type_hints(openModule().python.GLIDERegParameterNode))
    for page in PAGES:
        assert len(bound(page)) == len(set(bound(page)))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "GLIDERegLib" / "panel").glob("*.py"))
    byName = {name for page in PAGES for name in bound(page)}
    byCode = {name for name in parameters - byName if re.search(rf"\b{name}\b", code)}
    assert not BOXES & byName and BOXES < byCode
    assert byName | byCode == parameters


def test_what_is_not_bound_by_name_follows_the_parameter_node_too(fake, openModule):
    module = openModule()
    node = module.logic.getParameterNode()
    for name in BOXES:
        combo = getattr(module.ui, f"{name}Combo")
        for index in range(combo.count):
            combo.setCurrentIndex(index)
            assert getattr(node, name) == combo.itemData(index)
        setattr(node, name, combo.itemData(0))
        assert combo.currentIndex == 0
    node.checkpoint = "/a/file.pt"
    assert module.ui.checkpointEdit.currentPath == "/a/file.pt"
    module.ui.checkpointEdit.currentPath = ""
    assert node.checkpoint == ""


def test_every_widget_the_code_asks_for_exists_and_every_button_is_used():
    files = (ROOT / "GLIDERegLib" / "panel").glob("*.py")
    page = [path for path in files if not path.name.startswith(("check", "nodules"))]
    code = "".join(path.read_text(encoding="utf-8") for path in page)
    used = set(re.findall(r"\bui\.(\w+)", code))
    assert len(used) > 20 and not used - {name for page in PAGES for name in widgets(page)}
    buttons = {name for name, kind in widgets().items() if kind in ("QPushButton", "QComboBox")}
    assert buttons <= used


def test_every_selector_sees_the_scene():
    receivers = {item.findtext("receiver") for item in ElementTree.parse(UI).iter("connection")}
    assert receivers == {name for name, kind in widgets().items() if kind == "qMRMLNodeComboBox"}


def test_everything_that_can_be_set_or_pressed_says_what_it_does(fake, openModule):
    ui = openModule().ui
    inputs = [name for name, kind in widgets().items() if kind not in PASSIVE]
    assert len(inputs) > 20
    assert not [name for name in inputs if len(getattr(ui, name).toolTip) < 15]


def test_lengths_have_their_unit(fake, openModule):
    ui = openModule().ui
    assert ui.spacingSpin.suffix.strip() == ui.searchRangeSpin.suffix.strip() == "mm"
    assert ui.spacingSpin.text == "automatic" and ui.threadsSpin.text == "all"


@pytest.mark.parametrize("state", ["idle", "running"])
def test_the_panel_fits_into_a_narrow_column_with_every_section_open(
    slicerHost, fake, plain, openModule, tmp_path, state
):
    plain("A follow-up scan whose name is very long indeed, as names of DICOM series are" * 2)
    plain("Baseline", seed=1)
    module = openModule()
    for name, kind in widgets().items():
        if kind == "ctkCollapsibleButton":
            getattr(module.ui, name).collapsed = False
    if state == "running":
        fake.plan([["progress", "global features", 0.5], ["wait"]])
        module.ui.applyButton.click()
        slicerHost.waitUntil(lambda: not module.ui.progressBar.isHidden() and module.logic.registration.stage)
    slicerHost.screenshot(module.panel, tmp_path / "panel.png", width=WIDEST_PIXELS)
    assert module.panel.width == WIDEST_PIXELS
    assert module.panel.minimumSizeHint.width() <= WIDEST_PIXELS
    for name, kind in widgets().items():
        widget = getattr(module.ui, name)
        if kind in ("QLabel", "QPushButton", "QCheckBox") and not widget.isHidden():
            wanted = widget.minimumSizeHint.width()
            assert widget.width >= wanted, f"{name} is cut off"
