"""The host loads a scripted module as Slicer does, on the real scene."""

from __future__ import annotations

import shutil
import sys
from subprocess import CalledProcessError

import numpy as np
import pytest
from packaging.requirements import Requirement


def widget(cls: str, name: str, parameter: str = "", properties: str = "") -> str:
    bound = f'<property name="SlicerParameterName" stdset="0"><string>{parameter}</string></property>'
    return (
        f'<item><widget class="{cls}" name="{name}">{properties}{bound if parameter else ""}</widget></item>'
    )


def ui(widgets: str, connection: tuple[str, str, str, str] | None = None) -> str:
    names = ("sender", "signal", "receiver", "slot")
    parts = "".join(f"<{n}>{v}</{n}>" for n, v in zip(names, connection or (), strict=False))
    return (
        '<ui version="4.0"><class>Probe</class><widget class="qMRMLWidget" name="Probe">'
        f'<layout class="QVBoxLayout" name="layout">{widgets}</layout></widget>'
        f"<connections>{f'<connection>{parts}</connection>' if parts else ''}</connections></ui>"
    )


SELECTOR = widget("qMRMLNodeComboBox", "volumeSelector")


def add_volume(name="CT", shape=(8, 9, 10), value=0):
    import slicer

    return slicer.util.addVolumeFromArray(np.full(shape, value, np.int16), name=name)


def test_a_module_lives_as_in_slicer(slicerHost, probe):
    import slicer

    assert probe.python.events == ["started"]
    assert slicer.modules.probe.title == "Probe"
    assert slicer.modules.ProbeInstance is probe.instance
    probe.enter()
    probe.exit()
    probe.enter()
    assert probe.python.events[1:] == ["setup", "enter", "exit", "enter"]
    assert slicer.modules.ProbeWidget is probe.widget is slicer.util.getModuleWidget("Probe")
    events = probe.python.events
    slicerHost.quit()
    assert events[-1] == "cleanup"
    assert not hasattr(slicer.modules, "probe")


def test_a_panel_is_set_up_before_it_has_a_scene_and_its_module_has_a_logic(slicerHost, probe):
    import slicer

    seen = []
    setup = probe.python.ProbeWidget.setup

    def look(widget):
        seen.append(vars(widget.parent).get("_scene"))
        setup(widget)

    probe.python.ProbeWidget.setup = look
    probe.enter()
    assert seen == [None] and vars(probe.panel)["_scene"] is slicer.mrmlScene
    assert slicer.modules.probe.logic().IsA("vtkSlicerScriptedLoadableModuleLogic")


@pytest.mark.parametrize("method", ["setup", "enter", "exit"])
def test_an_error_of_the_panel_is_printed_and_slicer_goes_on(slicerHost, probe, method):
    before = getattr(probe.python.ProbeWidget, method)
    setattr(probe.python.ProbeWidget, method, lambda self: [before(self)][1])
    probe.enter()
    probe.exit()
    assert [type(error) for error in slicerHost.uncaught] == [IndexError]
    slicerHost.uncaught.clear()


def test_quitting_leaves_the_module_then_unloads_it_with_its_panel_and_then_tells(slicerHost, probe):
    import slicer

    probe.enter()
    events, panel = probe.python.events, probe.panel
    slicer.app.connect("aboutToQuit()", lambda: events.append("quit"))
    slicerHost.quit()
    assert events[-3:] == ["exit", "cleanup", "quit"]
    with pytest.raises(ValueError, match="destroyed"):
        _ = panel.width


def test_without_a_main_window_there_are_no_layouts_and_no_message_boxes(slicerHost):
    import slicer

    slicerHost.hasMainWindow = False
    assert slicer.util.mainWindow() is None and slicer.app.layoutManager() is None
    slicer.util.errorDisplay("Failed.")
    assert slicerHost.dialogs.shown == []


def test_in_testing_mode_a_question_is_answered_with_no_whatever_slicers_text_says(slicerHost):
    import slicer

    slicerHost.testing = True
    assert not slicer.util.confirmOkCancelDisplay("Sure?") and not slicer.util.confirmYesNoDisplay("Sure?")
    slicer.util.errorDisplay("Failed.")
    assert slicerHost.dialogs.shown == []


def test_reloading_a_module_cleans_up_and_sets_up_again(slicerHost, probe):
    probe.enter()
    old = probe.widget
    events = probe.python.events
    probe.reload()
    assert events[-1] == "cleanup"
    assert probe.widget is not old
    assert probe.python.events == ["setup"], "not entered, though in sight"
    assert probe.panel.isEntered
    assert probe.ui.spacingSlider.value == 1.5


def test_the_self_test_of_a_module_runs(probe):
    import slicer

    slicer.selfTests["Probe"]()
    assert probe.python.events[-1] == "tested"


def test_a_modules_parent_refuses_attributes_slicer_does_not_have(probe):
    with pytest.raises(AttributeError, match="tittle"):
        probe.instance.parent.tittle = "x"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ui(widget("qMRMLNoSuchWidget", "a")), "unknown class qMRMLNoSuchWidget"),
        (
            ui(widget("QLabel", "a", "", '<property name="txt"><string>x</string></property>')),
            "no property 'txt'",
        ),
        (
            ui(
                widget(
                    "QLabel",
                    "a",
                    "",
                    '<property name="SlicerParamName" stdset="0"><string>x</string></property>',
                )
            ),
            "no property 'SlicerParamName'",
        ),
        (
            ui(SELECTOR, ("Probe", "sceneChanged()", "volumeSelector", "setMRMLScene(vtkMRMLScene*)")),
            "has no signal",
        ),
        (
            ui(SELECTOR, ("Probe", "mrmlSceneChanged(vtkMRMLScene*)", "nobody", "setMRMLScene()")),
            "does not exist",
        ),
        (
            ui(SELECTOR, ("Probe", "mrmlSceneChanged(vtkMRMLScene*)", "volumeSelector", "setScene()")),
            "has no slot",
        ),
    ],
)
def test_an_error_in_a_ui_file_is_named(slicerHost, tmp_path, content, reason):
    import slicer

    (tmp_path / "bad.ui").write_text(content, encoding="utf-8")
    with pytest.raises(RuntimeError, match=reason):
        slicer.util.loadUI(str(tmp_path / "bad.ui"))


def test_enumerations_of_placeholders_are_read_from_the_ui_file(slicerHost, tmp_path):
    import ctk
    import slicer

    filters = "<set>ctkPathLineEdit::Files|ctkPathLineEdit::Readable</set>"
    path = widget("ctkPathLineEdit", "path", "", f'<property name="filters">{filters}</property>')
    (tmp_path / "good.ui").write_text(ui(path), encoding="utf-8")
    loaded = slicer.util.childWidgetVariables(slicer.util.loadUI(str(tmp_path / "good.ui")))
    assert loaded.path.filters == ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable


def test_the_tools_of_slicer_util_work(slicerHost, tmp_path):
    import slicer

    assert slicer.util.mainWindow() is slicerHost.mainWindow
    assert slicer.util.showStatusMessage("busy")
    assert slicer.util.mainWindow().statusBar().currentMessage() == "busy"
    folder = slicer.util.tempDirectory()
    assert folder.startswith(slicer.app.temporaryPath)
    with slicer.util.WaitCursor():
        slicer.util.delayDisplay("wait", 0)
    with slicer.util.tryWithErrorDisplay("fine", waitCursor=True):
        pass
    with pytest.raises(ZeroDivisionError), slicer.util.tryWithErrorDisplay("Failed."):
        _ = 1 / 0
    assert slicerHost.dialogs.shown[-1].text.startswith("Failed.")
    slicer.util.resetSliceViews()
    slicer.util.forceRenderAllViews()


def test_a_new_node_gets_its_place_in_subject_hierarchy(slicerHost):
    import slicer

    volume = add_volume("CT")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume)
    assert hierarchy.GetItemName(item) == "CT"
    assert hierarchy.GetItemParent(item) == hierarchy.GetSceneItemID()


def test_packages_are_asked_for_and_never_installed(slicerHost):
    import qt
    import slicer

    slicerHost.packaging.installed["present-package"] = "1.0"
    slicer.packaging.pip_ensure([Requirement("present-package>=0.5")])
    assert slicerHost.packaging.calls == []
    missing = [Requirement("no-such-package-anywhere>=1")]
    with pytest.raises(AttributeError):
        slicer.packaging.pip_ensure(["no-such-package-anywhere>=1"])
    slicerHost.dialogs.answers += [qt.QMessageBox.Cancel, qt.QMessageBox.Ok]
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(missing, requester="Probe")
    slicer.packaging.pip_ensure(missing, requester="Probe")
    slicerHost.packaging.setPresent(False)
    assert not hasattr(slicer, "packaging")
    slicer.util.pip_install("no-such-package-anywhere")
    assert [call[:2] for call in slicerHost.packaging.calls] == [
        ("pip_ensure", ["no-such-package-anywhere>=1"]),
        ("pip_install", ["no-such-package-anywhere"]),
    ]


def test_python_slicer_runs_python_and_is_on_slicers_path_only(slicerHost, tmp_path):
    import slicer

    (tmp_path / "say.py").write_text("import sys; print(sys.executable)", encoding="utf-8")
    said = []
    command = [shutil.which("PythonSlicer"), str(tmp_path / "say.py")]
    slicer.util.logProcessOutput(slicer.util.launchConsoleProcess(command), logCallback=said.append)
    assert said == [sys.executable]
    assert shutil.which("PythonSlicer", path=slicer.util.startupEnvironment()["PATH"]) is None


def test_sample_data_is_recorded_and_checked_as_slicer_does(slicerHost):
    import SampleData

    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    for _ in range(2):  # the same source twice is one
        register(category="C", sampleName="S", uris=["a"], customDownloader=print)
    ((category, source),) = slicerHost.sampleData.sources
    assert (category, source.sampleName, source.uris, source.nodeNames) == ("C", "S", ["a"], [None])
    with pytest.raises(TypeError):
        register(name="S")
    with pytest.raises(ValueError, match="same length"):
        register(sampleName="T", uris=["a", "b"], fileNames=["a"])


def test_a_category_of_sample_data_needs_its_title_and_is_unknown_to_5_10(slicerHost):
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory("C", "Title")
    assert slicerHost.sampleData.categories == {"C": "Title"}
    with pytest.raises(TypeError, match="title"):
        SampleData.SampleDataLogic.registerCustomSampleDataCategory(category="C")
    slicerHost.sampleData.install(categories=False)
    import SampleData as older

    assert not hasattr(older.SampleDataLogic, "registerCustomSampleDataCategory")


def test_a_failed_installation_is_told_by_slicer_itself_only_with_a_progress_window(slicerHost):
    import slicer

    def fail(requirements):
        raise CalledProcessError(1, "pip")

    slicerHost.packaging.install = fail
    for install in (slicer.util.pip_install, slicer.packaging.pip_install, slicer.packaging.pip_ensure):
        ensures = install == slicer.packaging.pip_ensure
        what = [Requirement("no-such-package-anywhere")] if ensures else "no-such-package-anywhere"
        options = {"prompt_install": False} if ensures else {}
        for progress, dialogs in ((True, 1), (False, 0)):
            with pytest.raises(CalledProcessError):
                install(what, show_progress=progress, **options)
            assert len(slicerHost.dialogs.shown) == dialogs
            slicerHost.dialogs.clear()
    slicerHost.packaging.setPresent(False)
    with pytest.raises(CalledProcessError):
        slicer.util.pip_install("no-such-package-anywhere")
    with pytest.raises(ValueError):
        slicer.util.pip_install(("no-such-package-anywhere",))
    with pytest.raises(TypeError):
        slicer.util.pip_install("no-such-package-anywhere", show_progress=False)
    assert slicerHost.dialogs.shown == []


@pytest.mark.parametrize("asks", [True, False])
def test_packages_that_are_in_use_may_end_in_a_restart(slicerHost, asks):
    import qt
    import slicer

    slicerHost.packaging.replacesImported = True
    slicerHost.dialogs.answers += [qt.QMessageBox.Yes] if asks else []
    missing = [Requirement("no-such-package-anywhere")]
    slicer.packaging.pip_ensure(missing, prompt_install=False, prompt_restart=asks)
    assert [shown.kind for shown in slicerHost.dialogs.shown] == (["message", "restart"] if asks else [])


def test_what_is_missing_for_the_host_is_named(slicerHost, monkeypatch):
    import host

    monkeypatch.setattr(host, "LIBRARIES", ("libNoSuchLibrary.so.1",))
    with pytest.raises(host.HostUnavailable, match="libNoSuchLibrary"):
        host._check()
