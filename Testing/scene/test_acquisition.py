"""How a scan of the scene was acquired, and that growth is told with what differs between two scans."""

from __future__ import annotations

import os

import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("slicer.util")

from GLIDERegLib.core.acquisition import Acquisition  # noqa: E402
from GLIDERegLib.evaluation.measuring import NoduleMeasurement  # noqa: E402
from GLIDERegLib.scene.command import SceneCommand  # noqa: E402
from GLIDERegLib.scene.registration.acquisition import acquisitionOf  # noqa: E402
from GLIDERegLib.scene.review.measurements import (  # noqa: E402
    HEADERS,
    LATER,
    Measurement,
    measuredRows,
    measurementOf,
    readMeasurements,
    writeMeasurements,
)
from GLIDERegLib.scene.review.table import Row  # noqa: E402

KEY = ("moving", "1", "moving")


class Database:
    """Slicer's DICOM database as far as it is asked."""

    def __init__(self, values):
        self.values = values

    def fileForInstance(self, uid):
        return "/a/slice.dcm" if uid in self.values else ""

    def instanceValue(self, uid, tag):
        return self.values[uid].get(tag, "")


@pytest.fixture
def volume(scene, monkeypatch):
    """A scan of the UID 1.1, and what the database says of it."""
    values = {"1.1": {"0018,1210": "B60f", "0018,0050": "3.0", "0018,0010": "Iodine"}}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(values), raising=False)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    node.SetAttribute("DICOM.instanceUIDs", "1.1 1.2")
    return node, values


def test_kernel_thickness_and_contrast_come_from_the_dicom_files(volume):
    node, values = volume
    assert acquisitionOf(node) == Acquisition("B60f", 3.0, True)
    values["1.1"] = {"0018,1210": "Br40\\3", "0018,0050": "unknown"}
    assert acquisitionOf(node) == Acquisition("Br40", None, False)
    values.clear()
    assert acquisitionOf(node) == Acquisition()
    node.RemoveAttribute("DICOM.instanceUIDs")
    assert acquisitionOf(node) == Acquisition()


def measured(scan, scanned, volume=200.0):
    found = NoduleMeasurement(
        (0, 0, 0), "measured", volume, volume - 20, volume + 20, 8.0, 7.0, 7.2, 7.8, None, "solid",
        scanned=scanned,
    )  # fmt: skip
    return measurementOf(("moving", "1", scan), "n", found)


def row():
    place = (0.0, 0.0, 0.0)
    return Row("n", "moving", place, place, place, 0.0, 0.0, 0.0, 0.0, 0.0, "", "", "", point="1")


def test_growth_names_what_differs_between_the_scans_and_widens_its_interval():
    first = Acquisition("B30f", 1.0, False, (0.7, 0.7, 1.0), 20.0)
    other = Acquisition("B60f", 1.0, True, (0.7, 0.7, 1.0), 20.0)
    texts = {}
    for name, scanned in (("alike", first), ("otherwise", other)):
        both = [measured("moving", first), measured("fixed", scanned, 260.0)]
        texts[name] = measuredRows([row()], both, 365)[0].measuredGrowth
    assert "scanned differently" not in texts["alike"]
    assert "reconstruction kernel B30f and B60f, contrast medium only in the later scan" in texts["otherwise"]
    assert texts["alike"].split(";")[0] != texts["otherwise"].split(";")[0]


def test_how_it_was_scanned_is_saved_and_a_table_saved_before_is_read(scene):
    one = measured("moving", Acquisition("B30f", 1.25, None, (0.7, 0.7, 1.0), 20.0))
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "Nodule measurements")
    writeMeasurements(node, [one])
    assert readMeasurements(node) == [one] and one.scanned.thickness_mm == 1.25 and one.meanHu is None
    for name in LATER:
        node.GetTable().RemoveColumnByName(HEADERS[name])
    assert readMeasurements(node) == [
        Measurement(
            *KEY,
            "n",
            "measured",
            volume=200.0,
            volumeLow=180.0,
            volumeHigh=220.0,
            long=8.0,
            short=7.0,
            meanLow=7.2,
            meanHigh=7.8,
            attenuation="solid",
        )
    ]


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_missing_package_is_told_in_a_sentence(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'scipy'\" >&2\nexit 1\n")
    python.chmod(0o755)
    command = SceneCommand(str(python), "measurement")
    command.start(lambda folder: ["measure"], str(tmp_path))
    while command.active:
        assert command.poll(lambda folder: pytest.fail("there is no result")) is None
    assert command.failure.code == "dependency"
    assert "cannot be loaded (ModuleNotFoundError: No module named 'scipy')" in command.failure.message
