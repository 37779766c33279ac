"""The amplitude of places over phases: closed paths of known extent."""

import numpy as np
import pytest

from GLIDERegLib.evaluation.amplitude import amplitude, region_amplitude


def test_an_ellipse_has_its_axes_as_amplitudes_and_the_longest_as_distance():
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    path = np.stack([2 * np.cos(angle), 5 * np.sin(angle), 0 * angle], axis=1) + [100, -40, 7]
    found = amplitude(path[:, None])
    assert found == pytest.approx(np.array([[4, 10, 0, 10]]), abs=1e-3)


def test_a_straight_path_is_as_far_as_its_parts_together():
    phases = np.array([0, 0.5, 1, 0.3])[:, None, None]
    assert amplitude(phases * [[3.0, -4.0, 12.0]]) == pytest.approx(np.array([[3, 4, 12, 13]]))


def test_a_phase_in_which_a_place_is_not_known_does_not_count():
    places = np.array([[[0.0, 0, 0]], [[1.0, 0, 0]], [[np.nan] * 3]])
    assert amplitude(places) == pytest.approx(np.array([[1, 0, 0, 1]]))
    assert np.isnan(amplitude(np.full((2, 1, 3), np.nan))).all()


def test_of_a_region_95_percent_do_not_exceed_the_amplitude_of_each_axis():
    size = np.linspace(0, 100, 101)
    still = np.zeros((101, 3))
    moved = np.stack([size, 2 * size, 0 * size], axis=1)
    assert region_amplitude(np.stack([still, moved])) == pytest.approx([95, 190, 0, 95 * 5**0.5])
