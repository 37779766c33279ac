"""A measurement's size goes into growth with its own interval, and a nodule without size is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, growth
from GLIDERegLib.evaluation.measuring import MEASURED, NoduleMeasurement


def measured(volume, share=0.1, diameters=(10.04, 8.0)):
    return NoduleMeasurement(
        (0, 0, 0), MEASURED, volume, volume / (1 + share), volume * (1 + share), *diameters, 8.5, 9.5
    )


def test_growth_of_two_measurements_has_their_interval():
    found = growth(measured(500).size(), measured(1000).size(), 100)
    assert found.quantity == VOLUME and found.doubling_days == pytest.approx(100)
    assert "measurement's error" in found.words


def test_the_mean_diameter_has_one_decimal_and_growth_takes_it_unrounded():
    nodule = measured(500)
    assert nodule.mean_mm == 9.0 and nodule.size(DIAMETER).value == pytest.approx(9.02)
    assert growth(nodule.size(DIAMETER), nodule.size(DIAMETER)).low == pytest.approx(-(0.5**0.5))


def test_a_nodule_that_could_not_be_measured_has_no_size():
    nodule = NoduleMeasurement((0, 0, 0), "could not be told: no nodule at this place")
    assert nodule.mean_mm is None and not nodule.measured
    with pytest.raises(InputError, match="could not be told: no nodule at this place"):
        nodule.size()


def test_what_shows_measurements_needs_no_scipy():
    lines = "import sys", "sys.modules['scipy'] = None", "import GLIDERegLib.evaluation.measuring"
    subprocess.run([sys.executable, "-c", "; ".join(lines)], check=True)
