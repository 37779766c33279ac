"""What the panel proposes, allows, warns of and asks the worker for."""

from __future__ import annotations

import typing

import numpy as np
import pytest
from panel.support import FINDINGS, MODULE, addLinear

from GLIDERegLib.core.describing import descriptions
from GLIDERegLib.core.settings import PRESETS, Settings
from GLIDERegLib.core.tasks import TASKS
from GLIDERegLib.files.points import read_points

# A value other than the default for each setting, and the keyword of `Settings.preset` it becomes.
SETTINGS = {
    "preset": ("accurate", "name", "accurate"),
    "device": ("cpu", "device", "cpu"),
    "align": ("affine", "align", "affine"),
    "features": ("local", "features", "local"),
    "encoder": ("sam2.1_hiera_small", "encoder", "sam2.1_hiera_small"),
    "checkpoint": ("/my/weights.pt", "checkpoint", "/my/weights.pt"),
    "reduction": ("pca", "reduction", "pca"),
    "sliceSize": ("512", "encoder_input_size", 512),
    "sliceStep": (3, "encoder_slice_step", 3),
    "spacing": (1.5, "spacing", 1.5),
    "searchRange": (64.0, "search_range", 64.0),
    "threads": (2, "threads", 2),
    "seed": (7, "seed", 7),
}


@pytest.fixture
def pair(plain):
    """Two volumes that could be CT scans, of different voxels."""
    return plain("Follow-up"), plain("Baseline", seed=1)


def test_two_loaded_volumes_are_proposed_and_can_be_registered_at_once(fake, pair, openModule):
    module = openModule()
    node, ui = module.logic.getParameterNode(), module.ui
    assert (node.fixedVolume, node.movingVolume) == pair
    assert (ui.fixedSelector.currentNode(), ui.movingSelector.currentNode()) == pair
    assert ui.applyButton.enabled and ui.applyButton.toolTip == "Register the moving scan to the fixed scan."
    assert ui.messageLabel.text == "" and ui.messageLabel.isHidden()


def test_volumes_loaded_later_are_proposed_when_the_panel_is_opened_again(fake, plain, openModule):
    module = openModule()
    module.exit()
    plain("Follow-up"), plain("Baseline", seed=1)
    module.enter()
    assert module.ui.applyButton.enabled


def test_a_choice_of_the_user_is_not_replaced_by_a_proposal(fake, pair, plain, openModule):
    module = openModule()
    node = module.logic.getParameterNode()
    node.fixedVolume, node.movingVolume = None, pair[0]
    module.exit()
    module.enter()
    assert node.fixedVolume is None and node.movingVolume is pair[0]


@pytest.mark.parametrize("volumes", [0, 1])
def test_without_two_volumes_apply_says_which_one_is_missing(fake, plain, openModule, volumes):
    for number in range(volumes):
        plain("Follow-up", seed=number)
    ui = openModule().ui
    sentence = "Choose the moving volume." if volumes else "Choose the fixed volume."
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == ui.messageLabel.text == sentence


def test_a_mask_without_voxels_keeps_apply_disabled_and_is_named(fake, pair, openModule):
    import slicer

    module = openModule()
    node, ui = module.logic.getParameterNode(), module.ui
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Lungs")
    slicer.util.updateVolumeFromArray(labels, np.zeros((8, 10, 12), np.uint8))
    ui.movingMaskSelector.setCurrentNode(labels)
    assert node.movingMask is labels
    assert not ui.applyButton.enabled and "'Lungs' is empty" in ui.applyButton.toolTip
    slicer.util.updateVolumeFromArray(labels, np.ones((8, 10, 12), np.uint8))
    ui.movingMaskSelector.setCurrentNode(None)
    ui.movingMaskSelector.setCurrentNode(labels)
    assert ui.applyButton.enabled


def test_features_of_a_model_that_is_not_here_need_its_download_or_an_own_file(fake, pair, openModule):
    module = openModule()
    node, ui = module.logic.getParameterNode(), module.ui
    node.features = "both"
    assert not ui.applyButton.enabled and "Download the SAM2 model" in ui.applyButton.toolTip
    node.encoder = "sam2.1_hiera_small"
    assert ui.applyButton.enabled
    node.encoder = "sam2.1_hiera_tiny"
    node.checkpoint = "/my/weights.pt"
    assert ui.applyButton.enabled
    node.checkpoint, node.features = "", "auto"
    assert ui.applyButton.enabled


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shift": (5000, 0, 0)}, "do not overlap"),
        ({"seed": 0}, "hold the same image"),
        ({"values": (0, 400)}, "do not look like CT numbers"),
        ({"spacing": (1, 1, 30)}, "voxels of 1 x 1 x 30 mm"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_unusual_is_a_warning_in_sight_and_no_obstacle(fake, plain, openModule, change, words):
    plain("Follow-up")
    plain("Baseline", **{"seed": 1, **change})
    ui = openModule().ui
    assert words in ui.messageLabel.text and not ui.messageLabel.isHidden()
    assert ui.applyButton.enabled


def test_a_parent_transform_is_told_to_be_honoured_and_the_same_scan_twice_is_noticed(fake, pair, openModule):
    module = openModule()
    pair[1].SetAndObserveTransformNodeID(addLinear("Bed", 20, 2, (1, 2, 3)).GetID())
    module.exit()
    module.enter()
    assert "'Bed', which is honoured" in module.ui.messageLabel.text and module.ui.applyButton.enabled
    module.logic.getParameterNode().movingVolume = pair[0]
    assert "are the same" in module.ui.messageLabel.text and module.ui.applyButton.enabled


def test_an_output_that_is_left_out_cannot_be_chosen(fake, openModule):
    ui = openModule().ui
    for check, selector in (
        (ui.makeTransformCheck, ui.outputTransformSelector),
        (ui.makeVolumeCheck, ui.outputVolumeSelector),
        (ui.makeNodulesInFixedCheck, ui.nodulesInFixedSelector),
        (ui.makeNodulesInMovingCheck, ui.nodulesInMovingSelector),
    ):
        check.checked = False
        assert not selector.enabled
        check.checked = True
        assert selector.enabled


def test_devices_and_models_are_what_the_probe_found(fake, openModule):
    import qt

    ui = openModule().ui
    devices = [(ui.deviceCombo.itemText(n), ui.deviceCombo.itemData(n)) for n in range(ui.deviceCombo.count)]
    found = [(device["label"], device["name"]) for device in FINDINGS["devices"]]
    assert devices == [("Automatic", "auto"), *found]
    combo = ui.encoderCombo
    models = [(combo.itemText(n), combo.itemData(n, qt.Qt.ToolTipRole)) for n in range(combo.count)]
    assert models == [
        ("sam2.1_hiera_tiny", "sam2.1_hiera_tiny: 156 MB, Apache-2.0, to be downloaded"),
        ("sam2.1_hiera_small", "sam2.1_hiera_small: 184 MB, Apache-2.0, on this computer"),
    ]
    assert ui.weightsButton.text == "Download..."
    ui.encoderCombo.setCurrentIndex(1)
    assert ui.weightsButton.text == "Remove..."


def test_what_is_chosen_in_the_panel_is_what_the_worker_is_asked_for(slicerHost, fake, pair, openModule):
    module = openModule()
    ui = module.ui
    fake.plan([["progress", "refinement", 0.5], ["wait"]])
    ui.deviceCombo.setCurrentIndex(ui.deviceCombo.findData("cuda:0"))
    ui.presetCombo.setCurrentIndex(ui.presetCombo.findData("accurate"))
    ui.alignCombo.setCurrentIndex(ui.alignCombo.findData("none"))
    ui.featuresCombo.setCurrentIndex(ui.featuresCombo.findData("local"))
    ui.reductionCombo.setCurrentIndex(ui.reductionCombo.findData("static"))
    ui.sliceSizeCombo.setCurrentIndex(ui.sliceSizeCombo.findData("256"))
    ui.checkpointEdit.currentPath = "/my/weights.pt"
    ui.spacingSpin.value, ui.searchRangeSpin.value = 2.5, 32
    ui.threadsSpin.value, ui.seedSpin.value, ui.sliceStepSpin.value = 3, 11, 2
    ui.previewCheck.checked = False
    ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    assert fake.request["settings"] == {
        "name": "accurate",
        "device": "cuda:0",
        "align": "none",
        "features": "local",
        "checkpoint": "/my/weights.pt",
        "reduction": "static",
        "encoder_input_size": 256,
        "encoder_slice_step": 2,
        "spacing": 2.5,
        "search_range": 32.0,
        "threads": 3,
        "seed": 11,
    }
    assert fake.request["preview_seconds"] is None


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_becomes_one_keyword_of_the_engine(fake, openModule, name):
    from GLIDERegLib.scene.parameters import settingsOf

    module = openModule()
    node = module.logic.getParameterNode()
    assert settingsOf(node) == {"name": "default"}
    value, keyword, expected = SETTINGS[name]
    setattr(node, name, value)
    assert settingsOf(node) == {"name": "default", keyword: expected}


@pytest.mark.parametrize(
    ("combo", "setting"),
    [
        ("presetCombo", "name"),
        ("alignCombo", "align"),
        ("featuresCombo", "features"),
        ("reductionCombo", "reduction"),
    ],
)
def test_a_list_of_the_panel_is_what_the_setting_says_of_itself(fake, openModule, combo, setting):
    import qt

    ui = openModule().ui
    box, about = getattr(ui, combo), descriptions(Settings)[setting]
    shown = [(box.itemData(n), box.itemText(n), box.itemData(n, qt.Qt.ToolTipRole)) for n in range(box.count)]
    assert shown == [(choice.value, choice.title, choice.tip) for choice in about.choices]
    assert box.toolTip.lower().startswith(about.text)
    label = getattr(ui, combo.replace("Combo", "Label"))
    assert label.text == about.title + ":"


def test_no_preset_changes_a_value_that_the_panel_shows(fake, openModule):
    """It would show another value than is used, for what was not changed is left to the preset."""
    from GLIDERegLib.scene.parameters import settingsOf

    module = openModule()
    node = module.logic.getParameterNode()
    for name, (value, _, _) in SETTINGS.items():
        if name not in ("preset", "sliceSize", "sliceStep"):  # those can be automatic
            setattr(node, name, value)
    for preset in PRESETS:
        own = Settings.preset(preset).as_dict()
        for keyword in settingsOf(node).keys() - {"name"}:
            assert own[keyword] == getattr(Settings(), keyword), (preset, keyword)


def test_the_engine_knows_every_keyword_and_nothing_else_is_a_setting(fake, openModule):
    from GLIDERegLib.scene.parameters import settingsOf

    module = openModule()
    node = module.logic.getParameterNode()
    for preset in PRESETS:
        node.preset = preset
        assert Settings.preset(**settingsOf(node)).name == preset
    for name, (value, _, _) in SETTINGS.items():
        setattr(node, name, value)
    settings = Settings.preset(**settingsOf(node)).as_dict()
    assert all(settings[keyword] == expected for _, keyword, expected in SETTINGS.values())
    parameters = typing.get_type_hints(module.python.GLIDERegParameterNode)
    otherPages = ("check", "match", "days", "sequence", "followUp", "task", "reader", "qa")
    ofThisPage = [name for name in parameters if name == "checkpoint" or not name.startswith(otherPages)]
    assert sorted(n for n in ofThisPage if parameters[n] in (str, int, float)) == sorted(SETTINGS)


def test_a_probe_that_fails_is_told_and_opening_the_panel_again_tries_again(slicerHost, fake, pair):
    fake.plan([], findings=None)
    module = slicerHost.loadModule(MODULE)
    module.enter()
    slicerHost.waitUntil(lambda: "could not be examined" in module.ui.messageLabel.text)
    slicerHost.processEvents(0.3)
    assert "could not be examined" in module.ui.messageLabel.text
    fake.plan([])
    module.exit()
    module.enter()
    slicerHost.waitUntil(lambda: module.ui.deviceCombo.count == 3)
    assert module.ui.messageLabel.text == "" and module.ui.applyButton.enabled


def test_scans_of_two_patients_stop_until_the_user_goes_on_all_the_same(slicerHost, fake, pair, openModule):
    import qt

    module = openModule()
    ui = module.ui
    for volume, patient in zip(pair, ("4711", "0815"), strict=True):
        volume.SetAttribute("DICOM.PatientID", patient)
        volume.SetAttribute("DICOM.StudyDate", "20240310")
    ui.patientCheck.checked = False
    assert "2024-03-10" in ui.pairLabel.text and "4711" not in ui.pairLabel.text
    ui.patientCheck.checked = True
    assert "4711" in ui.pairLabel.text
    fake.plan([["progress", "refinement", 0.5], ["wait"]])
    slicerHost.dialogs.answers.append(qt.QMessageBox.No)
    ui.applyButton.click()
    assert "different patients" in ui.messageLabel.text
    assert not module.logic.busy
    slicerHost.dialogs.answers.append(qt.QMessageBox.Yes)
    ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)


def test_views_have_letters_and_a_scale_bar_while_the_module_is_looked_at(slicerHost, fake, pair, openModule):
    import slicer

    module = openModule()
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    looks = [(view.OrientationMarkerTypeCube, view.RulerTypeThin) for view in views]
    assert looks and [(v.GetOrientationMarkerType(), v.GetRulerType()) for v in views] == looks
    module.exit()
    assert not any(v.GetOrientationMarkerType() or v.GetRulerType() for v in views)


# Tasks


def choose(ui, task):
    ui.taskCombo.setCurrentIndex(ui.taskCombo.findData(task))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_sets_what_it_says_and_the_engine_gets_the_same_as_from_the_command_line(
    fake, openModule, name
):
    from GLIDERegLib.scene.parameters import inputsOf, settingsOf

    module = openModule()
    node, ui, task = module.logic.getParameterNode(), module.ui, TASKS[name]
    choose(ui, "planning-cbct" if name != "planning-cbct" else "4d")
    choose(ui, name)
    assert Settings.preset(**settingsOf(node)) == Settings.preset("default", **task.changes)
    assert inputsOf(node).keepNodules == ui.keepNodulesCheck.checked == task.keeps_nodules
    assert ui.taskTextLabel.text.startswith(task.text) and not ui.taskTextLabel.isHidden()
    assert ui.taskTextLabel.toolTip == task.reason
    node.searchRange = 100.0
    assert ui.taskTextLabel.text.endswith("Changed since: Search range.")
    choose(ui, "")
    assert ui.taskTextLabel.isHidden() and node.searchRange == 100.0


def test_marked_nodules_go_to_the_engine_where_they_are_to_keep_their_size_and_notes_are_told(
    slicerHost, fake, pair, openModule
):
    import slicer

    marks = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Known")
    marks.AddControlPoint([10.0, 20.0, 30.0], "a")
    module = openModule()
    node = module.logic.getParameterNode()
    node.movingNodules = marks
    for task, expected in (("follow-up", [[-10.0, -20.0, 30.0]]), ("planning-cbct", None)):
        fake.path.with_name("request.json").unlink(missing_ok=True)
        choose(module.ui, task)
        assert module.ui.messageLabel.text.startswith(TASKS[task].note)
        fake.plan([["progress", "refinement", 0.5], ["wait"]])
        module.ui.applyButton.click()
        slicerHost.waitUntil(lambda: module.logic.registration.stage)
        file = fake.request["moving_nodules"]
        assert (None if file is None else read_points(file).points.tolist()) == expected
        assert fake.request["fixed_nodules"] is None
        told = any("cone-beam CT" in text for text in module.logic.registration.warnings)
        assert told == (task == "planning-cbct")
        module.ui.cancelButton.click()
        slicerHost.waitUntil(lambda: not module.logic.registration.active)
