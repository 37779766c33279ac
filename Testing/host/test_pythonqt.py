"""The host's Qt keeps PythonQt's rules, so that what passes here has a chance in Slicer."""

from __future__ import annotations

import pytest


@pytest.fixture
def qt(slicerHost):
    import qt

    return qt


@pytest.fixture
def ctk(slicerHost):
    import ctk

    return ctk


def test_a_property_shadows_its_getter_and_is_written_as_an_attribute(qt):
    button = qt.QPushButton("before")
    assert (button.text, button.enabled) == ("before", True)
    button.text = "after"
    button.enabled = False
    assert (button.text, button.isEnabled()) == ("after", False)
    button.setText("method")
    assert button.text == "method"
    with pytest.raises(TypeError):
        button.text()


@pytest.mark.parametrize("name", ["foo", "Signal", "staticMetaObject", "set_text"])
def test_reading_an_unknown_attribute_is_refused(qt, name):
    with pytest.raises(AttributeError, match=name):
        getattr(qt.QLabel("x"), name)


def test_writing_an_unknown_attribute_is_refused_except_in_python_subclasses(qt):
    class Mine(qt.QLabel):
        pass

    mine = Mine("x")
    mine.note = 3
    assert mine.note == 3
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
        qt.QLabel("x").note = 3
    with pytest.raises(AttributeError, match="can not be overwritten"):
        qt.QLabel("x").setText = print


def made(qt, ctk, kind: str):
    widget = getattr(ctk if kind.startswith("ctk") else qt, kind)()
    if kind == "QSpinBox":
        widget.setRange(-10, 10)
    return widget


@pytest.mark.parametrize(
    ("kind", "name", "value", "becomes"),
    [
        ("QLabel", "text", None, "None"),
        ("QLabel", "text", [1, 2], "[1, 2]"),
        ("QSpinBox", "value", 3.7, 3),
        ("QSpinBox", "value", -3.2, -4),
        ("QPushButton", "enabled", None, False),
        ("QPushButton", "enabled", [0], True),
        ("QDoubleSpinBox", "value", True, 1.0),
        ("ctkPathLineEdit", "nameFilters", ("*.pt", 3), ("*.pt", "3")),
    ],
)
def test_a_property_is_written_leniently(qt, ctk, kind, name, value, becomes):
    widget = made(qt, ctk, kind)
    setattr(widget, name, value)
    assert getattr(widget, name) == becomes


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("QSpinBox", "value", None),
        ("QSpinBox", "value", "3"),
        ("QDoubleSpinBox", "value", None),
        ("QDoubleSpinBox", "value", "1.5"),
        ("ctkPathLineEdit", "nameFilters", 3),
    ],
)
def test_a_property_refuses_what_is_no_number_or_no_sequence(qt, ctk, kind, name, value):
    with pytest.raises(AttributeError, match="does not accept"):
        setattr(made(qt, ctk, kind), name, value)


def test_a_slot_converts_as_a_property_does_and_checks_the_number_of_arguments(qt):
    box, label = qt.QSpinBox(), qt.QLabel()
    box.setValue(3.7)
    label.setText(None)
    assert (box.value, label.text) == (3, "None")
    for call in (box.setValue, lambda: box.setValue(1, 2), lambda: label.setText(text="x")):
        with pytest.raises(ValueError):
            call()


def test_single_shot_of_a_timer_is_the_static_method(slicerHost, qt):
    shots, timer = [], qt.QTimer()
    with pytest.raises(AttributeError):
        timer.singleShot = True
    timer.setSingleShot(True)
    assert timer.isSingleShot()
    timer.singleShot(0, lambda: shots.append(1))
    slicerHost.waitUntil(lambda: shots)


def test_a_read_only_property_cannot_be_written(qt):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QWidget().width = 100


def test_a_destroyed_object_says_so(qt):
    label = qt.QLabel("x")
    label.delete()
    with pytest.raises(ValueError, match="destroyed QLabel"):
        _ = label.text
    with pytest.raises(AttributeError, match="destroyed QLabel"):
        label.text = "y"


def test_keyword_arguments_are_refused_as_pythonqt_has_none(qt):
    with pytest.raises(ValueError, match="no keyword arguments"):
        qt.QPushButton(text="x")


def test_what_does_not_exist_in_qt_is_missing(qt, ctk):
    with pytest.raises(AttributeError):
        _ = qt.QNoSuchWidget
    with pytest.raises(AttributeError):
        _ = ctk.ctkNoSuchWidget


def test_lists_come_back_as_tuples(slicerHost, qt):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode", "vtkMRMLModelNode"]
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode", "vtkMRMLModelNode")
    parent = qt.QWidget()
    children = (qt.QLabel("a", parent), qt.QLabel("b", parent))
    assert parent.children() == children
    assert parent.findChildren(qt.QLabel) == children == parent.findChildren("QLabel")


def test_objects_that_qt_made_itself_follow_the_same_rules(qt):
    parent = qt.QWidget()
    form = qt.QFormLayout(parent)
    field = qt.QLineEdit()
    form.addRow("Name:", field)
    label = form.labelForField(field)
    assert label.text == "Name:"
    assert isinstance(label, qt.QLabel) and not isinstance(label, qt.QLineEdit)
    assert label == form.labelForField(field)
    label.text = "Label:"
    assert form.labelForField(field).text == "Label:"
    field.setFocusProxy(label)  # may be handed to Qt again
    assert field.focusProxy() == label
    with pytest.raises(AttributeError):
        label.note = 1


def test_isinstance_follows_the_inheritance_of_python_and_inherits_that_of_qt(qt, ctk):
    class Mine(qt.QPushButton):
        pass

    button, mine = qt.QPushButton(), Mine()
    assert isinstance(button, qt.QPushButton) and isinstance(mine, Mine) and isinstance(mine, qt.QPushButton)
    for widget, kind in ((button, qt.QWidget), (mine, qt.QWidget), (ctk.ctkSliderWidget(), qt.QWidget)):
        assert not isinstance(widget, kind)
        assert widget.inherits("QWidget") and not widget.inherits("QLabel")


def test_a_function_gets_as_many_arguments_as_it_takes(qt):
    button = qt.QPushButton()
    button.checkable = True
    got = []

    class Receiver:
        def none(self):
            got.append(())

        def one(self, checked):
            got.append((checked,))

    receiver = Receiver()
    button.connect("toggled(bool)", receiver.none)
    button.connect("toggled(bool)", receiver.one)
    button.connect("toggled(bool)", lambda *args: got.append(args))
    button.connect("toggled(bool)", lambda checked, extra=7: got.append((checked, extra)))
    button.toggled.connect(lambda: got.append("signal object"))
    button.checked = True
    assert got == [(), (True,), (True,), (True, 7), "signal object"]


def test_the_signature_says_which_overload_and_how_many_arguments(qt):
    button = qt.QPushButton()
    got = []
    button.connect("clicked()", lambda *args: got.append(args))
    button.connect("clicked(bool)", lambda *args: got.append(args))
    button.click()
    assert got == [(), (False,)]


@pytest.mark.parametrize("signature", ["pressed(int)", "nothing()", "clicked"])
def test_connecting_an_unknown_signal_is_told_and_returns_false(slicerHost, qt, signature, capsys):
    assert qt.QPushButton().connect(signature, print) is False
    assert "has no signal" in capsys.readouterr().err
    # A fault in any other test.
    assert [str(error) for error in slicerHost.reset()] != []


def test_disconnecting_stops_the_calls(qt):
    button = qt.QPushButton()
    got = []

    def receive():
        got.append(1)

    button.connect("clicked()", receive)
    assert button.disconnect("clicked()", receive)
    assert not button.disconnect("clicked()", receive)
    button.click()
    assert got == []


def test_timers_fire_once_or_again_and_again(slicerHost, qt):
    ticks, shots = [], []
    timer = qt.QTimer()
    timer.interval = 1
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start()
    qt.QTimer.singleShot(0, lambda: shots.append(1))
    slicerHost.waitUntil(lambda: len(ticks) >= 3)
    timer.stop()
    slicerHost.processEvents(0.02)
    assert not timer.active
    assert shots == [1]


def test_an_exception_in_a_slot_is_kept_for_the_test(slicerHost, qt, capsys):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in slicerHost.uncaught] == [ZeroDivisionError]
    assert "ZeroDivisionError" in capsys.readouterr().err
    slicerHost.uncaught.clear()


def test_an_exception_in_an_observer_is_kept_for_the_test(slicerHost):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda *_: [][0])
    node.SetText("x")
    assert {type(error) for error in slicerHost.uncaught} == {IndexError}
    slicerHost.uncaught.clear()


def test_a_question_is_answered_by_the_test_and_recorded(slicerHost, qt):
    import slicer

    slicerHost.dialogs.answers += [qt.QMessageBox.Yes, qt.QMessageBox.No, "Cancel", qt.QMessageBox.Ok]
    assert slicer.util.confirmYesNoDisplay("Sure?", windowTitle="Title")
    assert not slicer.util.confirmYesNoDisplay("Sure?")
    assert not slicer.util.confirmOkCancelDisplay("Sure?")
    assert qt.QMessageBox.question(None, "A", "B") == qt.QMessageBox.Ok
    first = slicerHost.dialogs.shown[0]
    assert (first.title, first.text) == ("Title", "Sure?")
    assert first.buttons == int(qt.QMessageBox.Yes | qt.QMessageBox.No)
    assert [shown.text for shown in slicerHost.dialogs.shown] == ["Sure?", "Sure?", "Sure?", "B"]


def test_a_message_needs_no_answer_and_a_question_does(slicerHost):
    import slicer

    slicer.util.errorDisplay("It failed", detailedText="why")
    assert [(shown.text, shown.detailedText) for shown in slicerHost.dialogs.shown] == [("It failed", "why")]
    with pytest.raises(AssertionError, match="gave no answer"):
        slicer.util.confirmOkCancelDisplay("Sure?")


def test_a_button_of_ones_own_is_pressed_by_its_text(slicerHost, qt):
    box = qt.QMessageBox()
    box.text = "Download?"
    download = box.addButton("&Download", qt.QMessageBox.AcceptRole)
    box.addButton(qt.QMessageBox.Cancel)
    slicerHost.dialogs.answers.append("Download")
    box.exec_()
    assert box.clickedButton() == download
    assert set(slicerHost.dialogs.shown[0].choices) == {"Download", "Cancel"}


def test_a_dialog_can_be_answered_by_working_in_it(slicerHost, qt):
    dialog = qt.QDialog()
    name = qt.QLineEdit(dialog)

    def type_name(shown):
        name.text = "N1"
        return qt.QDialog.Accepted

    slicerHost.dialogs.answers.append(type_name)
    assert dialog.exec_() == qt.QDialog.Accepted
    assert name.text == "N1"


def test_file_dialogs_give_the_prepared_path_as_a_string(slicerHost, qt, ctk):
    slicerHost.dialogs.answers += ["/data/a.pt", "/data/b.pt"]
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "*.pt") == "/data/a.pt"
    path = ctk.ctkPathLineEdit()
    got = []
    path.connect("currentPathChanged(QString)", got.append)
    path.browse()
    assert (path.currentPath, got) == ("/data/b.pt", ["/data/b.pt"])


def test_in_testing_mode_questions_are_not_asked(slicerHost):
    import slicer

    slicerHost.testing = True
    assert slicer.app.testingEnabled()
    slicer.util.confirmOkCancelDisplay("Sure?")
    assert slicerHost.dialogs.shown == []


def test_a_collapsed_section_hides_what_is_in_it_and_only_that(slicerHost, qt, ctk):
    panel = qt.QWidget()
    section = ctk.ctkCollapsibleButton("Advanced", panel)
    layout = qt.QVBoxLayout(section)
    seen, hidden = qt.QLabel("seen"), qt.QLabel("hidden")
    layout.addWidget(seen)
    layout.addWidget(hidden)
    hidden.hide()
    panel.show()
    got = []
    section.connect("contentsCollapsed(bool)", got.append)
    section.collapsed = True
    assert (seen.visible, hidden.visible) == (False, False)
    section.collapsed = False
    assert (seen.visible, hidden.visible) == (True, False)
    assert got == [True, False]
    with pytest.raises(AttributeError):
        section.setCollapsed(True)


def test_a_text_that_qt_would_read_as_html_unawares_is_a_fault(slicerHost, qt):
    from host.pythonqt import complaints

    plain, label, button = qt.QLabel(), qt.QLabel(), qt.QPushButton()
    plain.textFormat = qt.Qt.PlainText
    plain.text = label.text = button.toolTip = "a < b, A & B"
    plain.text, button.toolTip = "<b>scan</b>", "<qt>&lt;b&gt;scan</qt>"
    assert complaints == []
    label.text, button.toolTip = "scan <b>1", "scan <b>1"
    qt.QTableWidgetItem("1").setToolTip("scan <b>1")
    qt.QMessageBox.information(None, "Scan", "scan <b>1")
    assert len(complaints) == 4 and all("as HTML" in told for told in complaints)
    complaints.clear()


def test_settings_start_empty_and_keep_what_is_written(slicerHost, qt):
    import slicer

    assert slicer.util.settingsValue("GLIDEReg/x", "none") == "none"
    qt.QSettings().setValue("GLIDEReg/x", "some")
    assert slicer.util.settingsValue("GLIDEReg/x", "none") == "some"
    slicerHost.reset()
    assert slicer.util.settingsValue("GLIDEReg/x", "none") == "none"
