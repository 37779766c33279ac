"""The report of a registration: one HTML page that needs nothing else, and its nodules as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from GLIDERegLib import __version__
from GLIDERegLib.core.body import Body
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.describing import descriptions
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.core.networks import NETWORKS
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.evaluation.evaluate import displacement_on, evaluate_transform, warp
from GLIDERegLib.evaluation.nodules import LARGEST_RESIDUAL_MM as RETURNING_MM
from GLIDERegLib.evaluation.report_nodules import Nodule, read_nodules, write_table
from GLIDERegLib.evaluation.report_numbers import SOURCES, numbers
from GLIDERegLib.evaluation.report_page import render
from GLIDERegLib.evaluation.report_pictures import (
    PLANES,
    display_window,
    nodule_picture,
    nodule_png,
    overview_png,
)
from GLIDERegLib.files.outputs import OutputFolder, refuse_overwriting
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_volume, to_sitk

REPORT, INPUTS, TRANSFORM = "report.json", "inputs.json", "transform.h5"
PAGE, TABLE = "report.html", "nodules.csv"
# Of the pictures and the percentiles of the displacement, a choice: breath moves tissue over centimetres.
SAMPLING_MM = 4.0
ROLES = ("fixed", "moving")
MEASURES = ("similarity", "jacobian", "inverse_consistency")
# What report.json and a header may differ by in writing.
SPACING_TOLERANCE_MM = 1e-3


def write_report(
    folder: Path,
    page: Path,
    table: Path,
    check: Callable[[], None] = lambda: None,
    show_names: bool = False,
) -> int:
    """Makes the report of a folder that `glidereg register` or `glidereg demo` filled.

    page, table: the HTML and the CSV file to write, side by side. What the folder's report.json does not tell
    (of a transform of another tool) is measured anew. check is called now and then and may raise. show_names:
    write the names and folders of the scans, which often hold a patient's name, into the page. Returns the
    number of nodules.
    Raises InputError, with nothing written, for a folder that holds no result, a damaged one, and images that
    are gone or have changed since.
    """
    report = _read(folder)
    paths = {role: _find(folder, path) for role, path in report["inputs"].items()}
    refuse_overwriting([*paths.values(), folder / REPORT, folder / TRANSFORM], [page, table])
    transform = read_transform(folder / TRANSFORM)
    fixed, moving = (_read_image(role, paths[role], report) for role in ROLES)
    sources = {role: paths[f"{role}_points"] for role in ROLES if f"{role}_points" in paths}
    nodules = [
        replace(nodule, inside_moving=bool(moving.grid.contains(nodule.moving)))
        for nodule in read_nodules(folder, sources, "target_registration_error" in report)
    ]
    check()
    if not all(name in report for name in MEASURES):
        report = evaluate_transform(transform, fixed, moving) | report
    grid = fixed.grid.resized((SAMPLING_MM,) * 3)
    vectors = displacement_on(transform, grid)
    lengths = np.linalg.norm(vectors, axis=-1)[Body(fixed).on(grid)]
    check()
    told = _told(folder, report, lengths, fixed, moving, show_names)
    warped = warp(moving, transform, fixed.grid, float(moving.array.min()))
    html = render(
        {
            "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "version": __version__,
            "volumes": [
                _volume(role, volume, paths[role] if show_names else None, report)
                for role, volume in zip(ROLES, (fixed, moving), strict=True)
            ],
            **told,
            "sources": SOURCES,
            "overview": overview_png(fixed, moving, warped, vectors, grid),
            "sampling": f"{SAMPLING_MM:g}",
            "nodules": _pictured(nodules, fixed, moving, report, check),
            "review_columns": list(
                dict.fromkeys(name for n in nodules for name, text in n.review.items() if text.strip())
            ),
            "own_marks": any(nodule.own_mark_mm is not None for nodule in nodules),
            "returning_mm": RETURNING_MM,
            "window": display_window(fixed),
            "unit": _unit(fixed),
        }
    )
    with OutputFolder(page.parent) as out:
        (out / page.name).write_text(html, encoding="utf-8", newline="\n")
        write_table(nodules, out / table.name)
    return len(nodules)


def _read(folder: Path) -> dict[str, Any]:
    """report.json with the paths of both images, which `glidereg register` keeps in a file beside it."""
    path = folder / REPORT
    if not path.is_file():
        raise InputError(
            f"'{folder}' holds no result of a registration (no {REPORT})",
            "Give the folder that a registration has written.",
            code="setting",
        )
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if (folder / INPUTS).is_file():
            report["inputs"] = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
        if not all(isinstance(report["inputs"][role], str) for role in ROLES):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder) from error
    return report


def _damaged(folder: Path) -> InputError:
    return InputError(
        f"'{folder / REPORT}' is damaged or no report of a registration.",
        "Register again.",
        code="file-damaged",
    )


def _find(folder: Path, written: str) -> Path:
    """An input by the path in the report, which is relative to the folder (demo) or to where it was run."""
    inside = folder / written
    return inside if inside.exists() else Path(written)


def _read_image(role: str, path: Path, report: dict[str, Any]) -> Volume:
    """An image that was registered; InputError where it is gone or another one now."""
    if not path.exists():
        raise InputError(
            f"The {role} image '{path}' that was registered is not there any more.",
            "Put it back, start from where the registration was started, or register again.",
            code="file-missing",
        )
    volume = read_volume(path, role)
    try:
        told = report.get("images", {}).get(role, {})
        size, spacing = told.get("size", volume.grid.size), told.get("spacing_mm", volume.grid.spacing)
        same = tuple(size) == tuple(volume.grid.size) and np.allclose(
            spacing, volume.grid.spacing, rtol=0, atol=SPACING_TOLERANCE_MM
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(path.parent) from error
    if not same:
        raise InputError(
            f"The {role} image '{path}' has changed since it was registered (its size or spacing differs).",
            "Register again.",
            code="changed-since",
        )
    return volume


def _told(
    folder: Path,
    report: dict[str, Any],
    lengths_mm: np.ndarray,
    fixed: Volume,
    moving: Volume,
    show_names: bool,
) -> dict[str, Any]:
    """What the page takes from report.json; InputError where that does not hold what it should."""
    try:
        return {
            "facts": _facts(report, show_names),
            "numbers": numbers(
                report, lengths_mm, max(*fixed.grid.spacing, *moving.grid.spacing), _unit(fixed)
            ),
            "warnings": [str(text) for text in report.get("warnings", [])],
            "stages": [
                (name, f"{stage['seconds']:.1f}", f"{stage['peak_memory_mb']:.0f}")
                for name, stage in report.get("stages", {}).items()
            ],
            "settings": list(report.get("settings", {}).items()),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder) from error


def _unit(fixed: Volume) -> str:
    return "HU" if is_ct(fixed) else "intensity"


def _when(role: str, report: dict[str, Any]) -> str:
    """The scan's date, and whether it is the current or the prior one of the two; empty where unknown."""
    dates = {role: date for role, date in report.get("study_dates", {}).items() if date}
    when = dates.get(role, "")
    if len(set(dates.values())) < 2:
        return when
    return f"{'current' if when == max(dates.values()) else 'prior'}, {when}"


def _volume(role: str, volume: Volume, path: Path | None, report: dict[str, Any]) -> dict[str, Any]:
    """What the page tells of an image; its name and place only where a path is given."""
    name = report.get("names", {}).get(role)
    place = "volume in a 3D Slicer scene" if name else str(path and path.absolute().parent)
    return {
        "role": role,
        "when": _when(role, report),
        "name": (name or path.name) if path else "",
        "place": place if path else "",
        "size": volume.grid.size,
        "spacing": volume.grid.spacing,
        "extent": volume.grid.extent.tolist(),
    }


def _facts(report: dict[str, Any], show_names: bool) -> list[tuple[str, str]]:
    """How it was registered, as rows of a table; what the report does not know is left out."""
    if "settings" not in report:
        name = report.get("names", {}).get("transform", TRANSFORM) if show_names else "given"
        return [("Transform", f"{name}; how it was made is not known to this report")]

    def titles(setting: str) -> dict[str, str]:
        return {choice.value: choice.title for choice in descriptions(Settings)[setting].choices}

    settings, device, weights = report["settings"], report["device"], report["weights"]
    network = NETWORKS.get(weights["name"]) if weights else None
    title = network.title if network else "SAM2"
    features = {
        "both": f"MIND (local) and {title} (global)",
        "global": f"{title} (global)",
        "local": "MIND (local)",
    }
    model = "no SAM2 weights: local features only"
    if weights:
        model = f"{title} {weights['name']}, weights {weights['weights']}"
        model += f", slices of {weights['input_size']} pixels"
    memory = max((stage["peak_memory_mb"] for stage in report["stages"].values()), default=0)
    return [
        ("Preset", titles("name").get(settings["name"], str(settings["name"]))),
        ("Features", features.get(report["features"], str(report["features"]))),
        ("Model", model),
        ("Pre-alignment", titles("align").get(settings["align"], str(settings["align"]))),
        ("Working resolution", f"{report['working_spacing_mm']:g} mm"),
        ("Device", f"{device['kind']} ({device['name']}, {counted(device['threads'], 'thread')})"),
        ("Time", f"{report['seconds']:.1f} s"),
        ("Peak memory", f"{memory:.0f} MB"),
        ("Stopped by user, intermediate result", "yes" if report.get("stopped_early") else "no"),
        ("Seed", str(report["seed"])),
        ("Versions", ", ".join(f"{name} {text}" for name, text in report["versions"].items() if text)),
    ]


def _pictured(
    nodules: list[Nodule],
    fixed: Volume,
    moving: Volume,
    report: dict[str, Any],
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    """The nodules with a picture of each scan and plane, in one window."""
    window = display_window(fixed)
    scans: dict[str, tuple[Volume, sitk.Image]] = {
        role: (volume, to_sitk(volume)) for role, volume in zip(ROLES, (fixed, moving), strict=True)
    }
    when = {role: _when(role, report) for role in ROLES}
    pictured = []
    for nodule in nodules:
        check()
        pictures = []
        for plane in PLANES:
            for role, (volume, image) in scans.items():
                point = getattr(nodule, role)
                pictures.append(
                    {
                        "role": role,
                        "plane": plane,
                        "when": when[role],
                        "uri": nodule_png(nodule_picture(image, point, plane, window)),
                        "outside": not volume.grid.contains(point),
                    }
                )
        pictured.append({"nodule": nodule, "pictures": pictures})
    return pictured
