"""What a registration is for: by task, the few settings that fit it, each with its reason.

A task names settings that anyone may change again; what it leaves out is the preset's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from GLIDERegLib.core.errors import InputError


@dataclass(frozen=True)
class Task:
    """changes: settings by name, as keywords of `Settings.preset`. text: what the task sets, in a sentence.

    reason: why, with its source. keeps_nodules: whether the points that are given to be propagated are
    nodules, which shall not steer the registration and keep their size. note: what a reader of the result
    must know.
    """

    name: str
    title: str
    text: str
    reason: str
    changes: dict[str, Any]
    keeps_nodules: bool = False
    note: str = ""


TASKS = {
    task.name: task
    for task in (
        Task(
            "follow-up",
            "Screening follow-up",
            "Rigid pre-alignment and a search range of 48 mm; marked nodules keep their size and do not "
            "steer the registration.",
            "Both scans are breath-holds, for which the default range is made. A field that makes both scans "
            "alike hides growth: of nodules that had doubled, the warped prior showed 87 to 100 % of the new "
            "size.",
            {"align": "rigid", "search_range": 48.0},
            keeps_nodules=True,
        ),
        Task(
            "inhale-exhale",
            "Inhale and exhale",
            "Rigid pre-alignment and a search range of 48 mm, which is 72 mm along the body.",
            "In a full breath the bases of the lungs move by more than 48 mm along the body (COPD scans), "
            "nothing else as far.",
            {"align": "rigid", "search_range": 48.0},
        ),
        Task(
            "planning-cbct",
            "Planning CT to cone-beam CT",
            "Rigid pre-alignment, a search range of 32 mm, a working resolution of 2 mm and MIND (local) "
            "features alone.",
            "Once the patient is aligned, quiet breathing is left, as in 4D CT. A cone-beam CT's numbers are "
            "not HU: MIND compares structures, whatever their numbers, and SAM2 was not tried on such scans. "
            "Noise and scatter are finer than 2 mm.",
            {"align": "rigid", "search_range": 32.0, "spacing": 2.0, "features": "local"},
            note="A cone-beam CT's numbers are not HU and its field of view is small: differences of "
            "intensity, densities and sizes measured in it are not to be trusted, and nothing was registered "
            "outside it.",
        ),
        Task(
            "4d",
            "4D CT",
            "No pre-alignment, and a search range of 32 mm, which is 48 mm along the body.",
            "The phases come from one acquisition on one table. Quiet breathing moves the diaphragm by less "
            "than 40 mm (AAPM TG-76: Keall et al., Med Phys 33:3874, 2006).",
            {"align": "none", "search_range": 32.0},
        ),
    )
}


def task_of(name: str) -> Task:
    """The task of a name; raises InputError for an unknown one."""
    if name not in TASKS:
        raise InputError(f"Unknown task '{name}': choose one of {', '.join(TASKS)}.", code="setting")
    return TASKS[name]
