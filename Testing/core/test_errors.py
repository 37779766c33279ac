"""Errors carry what is wrong, what to do and a code, and lose none of it on their way between processes."""

from __future__ import annotations

import pickle

import pytest

from GLIDERegLib.core import errors


def test_message_and_hint_are_one_sentence():
    error = errors.InputError("There is no file 'a.nii'.", "Check the path.")
    assert str(error) == "There is no file 'a.nii'; check the path."
    assert (error.message, error.hint) == ("There is no file 'a.nii'.", "Check the path.")


def test_without_a_hint_the_message_stands_as_it_is():
    assert str(errors.InputError("The image is empty.")) == "The image is empty."


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (errors.InputError, "input", 2),
        (errors.OutOfMemoryError, "memory", 3),
        (errors.WeightsError, "weights", 4),
        (errors.DependencyError, "dependency", 4),
        (errors.Cancelled, "cancelled", 130),
    ],
)
def test_every_kind_has_a_code_and_the_exit_status_scripts_rely_on(kind, code, status):
    assert (kind("x").code, kind("x").exit_status) == (code, status)


def test_a_code_of_its_own_and_the_facts_survive_pickling():
    error = errors.InputError("No overlap.", "Align first.", code="no-overlap", fixed="a", moving="b")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code, again.facts) == (str(error), "no-overlap", {"fixed": "a", "moving": "b"})
