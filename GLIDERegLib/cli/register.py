"""`glidereg register`: one pair of files in, one folder of results out."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from GLIDERegLib.cli.console import comparison, interruptible, print_warnings, progress_reporter
from GLIDERegLib.cli.options import complete, settings_of, settings_options
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.tasks import task_of
from GLIDERegLib.files.pair_files import PairFiles
from GLIDERegLib.processes.loading import uncollected

if TYPE_CHECKING:
    from GLIDERegLib.api import Registration
    from GLIDERegLib.core.geometry import Grid, Volume
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.files.outputs import OutputFolder
    from GLIDERegLib.files.points import PointSet
    from GLIDERegLib.registration.pair_inputs import PairInputs
    from GLIDERegLib.registration.progress import CancelToken, ProgressCallback

TRANSFORM, WARPED, REPORT = "transform.h5", "warped.nii.gz", "report.json"
# Where the scans lie, for `glidereg report` on this machine; no part of what is passed on.
INPUTS = "inputs.json"
UNCERTAINTY = "uncertainty.nrrd"
POINTS = {
    "moving": ("points_moving.csv", "points_moving.mrk.json"),
    "fixed": ("points_fixed.csv", "points_fixed.mrk.json"),
}
OUTPUTS = (TRANSFORM, WARPED, REPORT, INPUTS, UNCERTAINTY, *POINTS["moving"], *POINTS["fixed"])
NO_UNCERTAINTY = (
    f"{UNCERTAINTY} was not written: uncertainty is known with local features only, on voxels of at most "
    "6 mm, with a slope_weight above 0 and with masks large enough to steer by."
)
# Three float64 for each node of the field.
BYTES_PER_NODE = 24


@dataclass(frozen=True)
class Registered:
    """A finished registration: what was registered, the result, and the report with the part of the files."""

    pair: PairInputs
    result: Registration
    report: dict


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "register",
        parents=[settings_options()],
        help="register one pair of images",
        description="Registers the moving image to the fixed image. Each is a NIfTI, NRRD or MetaImage file, "
        "or a folder with one DICOM series.",
    )
    add = parser.add_argument
    add("fixed", type=Path, metavar="FIXED", help="the image that stays as it is")
    add("moving", type=Path, metavar="MOVING", help="the image that is warped onto the fixed one")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    for role in ("fixed", "moving"):
        text = f"image on the {role} image's grid, not zero where the {role} image counts"
        add(f"--{role}-mask", type=Path, metavar="FILE", help=text)
    for role, other in (("fixed", "moving"), ("moving", "fixed")):
        text = f"points in the {role} image (.csv, .mrk.json or .fcsv) to propagate to the {other} image"
        add(f"--{role}-points", type=Path, metavar="FILE", help=text)
    for role in ("fixed", "moving"):
        text = f"a point in each nodule of the {role} image: nodules do not steer the registration, and the "
        text += "field is rigid there, so that their growth stays what it is"
        add(f"--{role}-nodules", type=Path, metavar="FILE", help=text)
    text = "transform from fixed to moving points to start from instead of --align; the result includes it"
    add("--initial-transform", type=Path, metavar="FILE", help=text)
    text = f"write {UNCERTAINTY} too: a map of how far the result may be from the truth, mm"
    add("--uncertainty", action="store_true", help=text)
    text = "go on though DICOM says that the two scans are of different patients"
    add("--allow-different-patients", action="store_true", help=text)
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.outputs import OutputFolder, refuse_overwriting, write_json
    from GLIDERegLib.files.volumes import write_volume

    inputs = PairFiles(**{item.name: getattr(options, item.name) for item in fields(PairFiles)})
    settings, folder = settings_of(options), options.output
    task = task_of(options.task) if "task" in options else None
    if task is not None and task.keeps_nodules:
        inputs = replace(
            inputs,
            fixed_nodules=inputs.fixed_nodules or inputs.fixed_points,
            moving_nodules=inputs.moving_nodules or inputs.moving_points,
        )
    refuse_overwriting(inputs.given().values(), [folder, *(folder / name for name in OUTPUTS)])
    dates = study_dates(inputs, options.allow_different_patients)
    with OutputFolder(folder) as out, progress_reporter(options.quiet) as progress:
        out.without(OUTPUTS)
        done = interruptible(lambda cancel: register_files(inputs, settings, out, progress, cancel))
        report = done.report | {"study_dates": dates}
        given = [*inputs.given()]
        if options.uncertainty and done.result.uncertainty is not None:
            write_volume(done.result.uncertainty, out / UNCERTAINTY)
            given.append(UNCERTAINTY)
        elif options.uncertainty:
            report |= {"warnings": [*report["warnings"], NO_UNCERTAINTY]}
        if task is not None:
            report |= {"task": task.name, "warnings": [*report["warnings"], *filter(None, [task.note])]}
        write_json(report, out / REPORT)
        write_json(inputs.given(), out / INPUTS)
    if not options.quiet:
        print_summary(report, folder, given)


def study_dates(inputs: PairFiles, any_patient: bool) -> dict[str, str]:
    """Dates of both scans by role, empty where unknown.

    Raises InputError where DICOM says that they are of different patients, unless any_patient.
    """
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.files.patients import different_patients
    from GLIDERegLib.files.volumes import scan_identity

    found = {role: scan_identity(getattr(inputs, role), role) for role in ("fixed", "moving")}
    reason = different_patients(found["fixed"][0], found["moving"][0])
    if reason and not any_patient:
        hint = "Check the scans, or give --allow-different-patients."
        raise InputError(reason, hint, code="different-patients")
    return {role: date for role, (_, date) in found.items()}


def register_files(
    inputs: PairFiles, settings: Settings, out: OutputFolder, progress: ProgressCallback, cancel: CancelToken
) -> Registered:
    """Reads the files, registers them, and writes into `out` all results but the report.

    Raises InputError for files that cannot be used, before anything is computed.
    """
    from GLIDERegLib.files.points import read_points
    from GLIDERegLib.files.transforms import write_transform
    from GLIDERegLib.files.volumes import write_volume

    paths = {"fixed": inputs.fixed_points, "moving": inputs.moving_points}
    points = {role: read_points(path) for role, path in paths.items() if path is not None}
    with ThreadPoolExecutor(2) as pool:
        preparing, reading = pool.submit(prepare_kernels, settings), pool.submit(inputs.read)
        # To load the packages takes longer than to read a scan.
        with uncollected():
            from GLIDERegLib.api import register_inputs

        pair = reading.result()
        preparing.result()
    fixed, moving = pair.scans
    out.require_free(_bytes_to_write(fixed, moving, settings))

    result = register_inputs(pair, settings, progress=progress, cancel=cancel)
    write_transform(result.transform, out / TRANSFORM)
    write_volume(result.warped, out / WARPED)
    report = {**result.report, "warnings": list(result.report["warnings"])}
    report |= _propagate_points(points, result, (fixed.grid, moving.grid), out, report["warnings"])
    return Registered(pair, result, report)


def prepare_kernels(settings: Settings) -> None:
    """Has what a first run lacks compiled beside everything that comes before it is needed."""
    if settings.device in ("auto", "cpu"):
        from GLIDERegLib.registration.backends import prepare_kernels as prepare

        prepare()


def _bytes_to_write(fixed: Volume, moving: Volume, settings: Settings) -> int:
    """What the transform and the warped image take at most."""
    from GLIDERegLib.registration.working_grid import working_spacing

    spacing = working_spacing(fixed.grid, settings.spacing, settings.finest_spacing, settings.most_voxels)
    nodes = fixed.grid.extent.prod() / spacing**3
    return int(BYTES_PER_NODE * nodes + moving.array.itemsize * fixed.array.size)


def _propagate_points(
    points: dict[str, PointSet],
    result: Registration,
    grids: tuple[Grid, Grid],
    out: OutputFolder,
    warnings: list[str],
) -> dict:
    """Writes the points propagated to the other image; returns what the report tells of them."""
    from GLIDERegLib.evaluation.doubts import OUTSIDE_SHARE, outside_doubt
    from GLIDERegLib.files.points import write_points
    from GLIDERegLib.transforms.points import propagate

    fixed, moving = grids
    for role, other in (("fixed", "moving"), ("moving", "fixed")):
        if role not in points:
            continue
        propagated, columns = propagate(points[role], result.transform, f"{role}-to-{other}", fixed, moving)
        beyond = [
            label
            for label, inside in zip(propagated.labels, columns["inside_moving"], strict=True)
            if not inside
        ]
        if beyond:
            verb = "land" if role == "fixed" else "lie"
            said = counted(len(beyond), f"{role} point {verb}s", f"{role} points {verb}")
            warnings.append(
                f"{said} outside the moving image, where nothing can be "
                f"compared (inside_moving is false): {', '.join(beyond)}."
            )
        outside = [
            label
            for label, inside in zip(propagated.labels, columns["inside_field"], strict=True)
            if not inside
        ]
        if outside:
            said = counted(len(outside), f"{role} point lies", f"{role} points lie")
            warnings.append(
                f"{said} outside the fixed image, where the motion is not known "
                f"(inside_field is false): {', '.join(outside)}."
            )
        grid = fixed if role == "fixed" else moving
        # The points that lie outside are named above; here only that they may have been misread.
        warnings += filter(None, [outside_doubt(points[role].points, grid, role, OUTSIDE_SHARE)])
        for name in POINTS[other]:
            write_points(propagated, out / name, columns)
    return _registration_error(points, result, warnings) if len(points) == 2 else {}


def _registration_error(points: dict[str, PointSet], result: Registration, warnings: list[str]) -> dict:
    """Target registration error before and after, mm, over the labels that both point sets have once."""
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.evaluation.doubts import same_points_doubt
    from GLIDERegLib.evaluation.metrics import target_registration_error
    from GLIDERegLib.files.pairing import match_labels
    from GLIDERegLib.transforms.points import map_points

    try:
        matching = match_labels(points["fixed"].given_labels, points["moving"].given_labels)
    except InputError as error:
        warnings.append(f"No distance between fixed and moving points was measured: {error.message}")
        return {}
    if matching.by == "order":
        # Lists of their own: that two readers marked the same in the same order nobody has said.
        warnings.append(
            "No distance between fixed and moving points was measured: only points of the same label are "
            "taken to be the same."
        )
        return {}
    warnings += matching.warnings()
    start, goal = (
        points[role].points[rows] for role, rows in zip(("fixed", "moving"), matching.columns(), strict=True)
    )
    warnings += filter(None, [same_points_doubt(start, goal)])
    reached = {"initial": start, "final": map_points(result.transform, start)}
    return {
        "target_registration_error": {
            name: target_registration_error(p, goal)[1] for name, p in reached.items()
        }
    }


def print_summary(report: dict, folder: Path, given: Collection[str]) -> None:
    """What a user wants to know at once, in a few lines; given: names of the inputs, and of the map where it
    was written.
    """
    written = [TRANSFORM, WARPED, REPORT]
    written += [UNCERTAINTY] if UNCERTAINTY in given else []
    for role, other in (("fixed", "moving"), ("moving", "fixed")):
        written += POINTS[other] if f"{role}_points" in given else ()
    print(f"Results in {folder}: {', '.join(written)}")
    device, seconds = report["device"]["kind"], report["seconds"]
    print(f"Registered with {report['features']} features in {seconds:.1f} s on {device}.")
    correlation = [
        report["similarity"][when]["normalised_cross_correlation"] for when in ("initial", "final")
    ]
    rows = [("normalised cross-correlation", *correlation)]
    if error := report.get("target_registration_error"):
        means = [error[when]["mean"] for when in ("initial", "final")]
        rows.append((f"distance of {counted(error['final']['n'], 'point')}, mean (mm)", *means))
    print(comparison(rows))
    print_warnings(report["warnings"])
