"""Whether scans are of one patient, as far as their names and IDs tell, and their dates can be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import combinations


@dataclass(frozen=True)
class Patient:
    """As DICOM has them; empty where unknown."""

    identifier: str = ""
    name: str = ""

    def __str__(self) -> str:
        """For the screen: "Doe, Jane (ID 123)"; empty where nothing is known."""
        name = ", ".join(part for part in self.name.split("^") if part)
        identifier = f"ID {self.identifier}" if self.identifier else ""
        return f"{name} ({identifier})" if name and identifier else name or identifier


def different_patients(first: Patient, second: Patient) -> str:
    """Why two scans are of different patients, in a sentence without name or ID; empty where nothing says so.

    IDs decide where both are known, since names are written in many ways; else the names do.
    """
    for what in ("identifier", "name"):
        one, other = (_plain(getattr(patient, what)) for patient in (first, second))
        if one and other:
            word = {"identifier": "IDs", "name": "names"}[what]
            return "" if one == other else f"The two scans are of different patients: their {word} differ."
    return ""


def patients_of_dates(patients: Mapping[str, Patient]) -> str:
    """Why scans of several dates, by which the patients are named, are not of one patient, in a sentence
    without name or ID; empty where nothing says so.
    """
    for one, other in combinations(patients, 2):
        if reason := different_patients(patients[one], patients[other]):
            return reason.replace("The two scans", f"The scans of {one} and {other}", 1)
    return ""


def _plain(text: str) -> str:
    """Case, separators of name components and spaces do not tell patients apart."""
    return " ".join(text.replace("^", " ").casefold().split())


def yet_to_come(days: Iterable[date]) -> date | None:
    """The latest of some days where it is yet to come and others are not, else None: where all are,
    de-identification moved them together, and what lies between them is right.
    """
    first, *_, last = sorted(days)
    return last if first <= date.today() < last else None
