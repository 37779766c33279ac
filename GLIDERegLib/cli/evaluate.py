"""`glidereg evaluate`: how good a transform is, whatever tool made it."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import Row, comparison, interruptible, print_warnings
from GLIDERegLib.cli.options import complete
from GLIDERegLib.core.counting import counted

FILES = {
    "transform": "transform, fixed points to moving points: ITK's (.h5, .tfm, .mat) or a displacement field",
    "fixed": "the fixed image",
    "moving": "the moving image",
    "fixed-points": "landmarks in the fixed image",
    "moving-points": "the same landmarks in the moving image, matched by label or else by order",
    "fixed-labels": "structures of the fixed image, whole numbers on its grid",
    "moving-labels": "the same structures of the moving image on its grid",
    "mask": "where to judge, on the fixed image's grid; default: the body",
}
REQUIRED = ("transform", "fixed", "moving")


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="judge a transform of any registration tool",
        description="Judges a transform: similarity, folding and inverse consistency; with landmarks their "
        "target registration error, with label maps their overlap.",
    )
    for name, text in FILES.items():
        parser.add_argument(f"--{name}", type=Path, required=name in REQUIRED, metavar="FILE", help=text)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="JSON", help="report to write")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.outputs import refuse_overwriting, whole_file, write_json

    paths = {name: path for name in FILES if (path := getattr(options, name.replace("-", "_"))) is not None}
    refuse_overwriting(paths.values(), [options.output])
    with whole_file(options.output) as temporary:
        report = interruptible(lambda cancel: _evaluate(paths))
        write_json(report, temporary)
    if not options.quiet:
        print(comparison(quality_rows(report) + accuracy_rows(report)))
        print(field_line(report))
        print_warnings(report["warnings"])


def _evaluate(paths: dict[str, Path]) -> dict:
    from GLIDERegLib.core.geometry import Volume
    from GLIDERegLib.evaluation.evaluate import evaluate_transform
    from GLIDERegLib.files.points import read_points
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.files.volumes import read_labels, read_mask, read_volume

    transform = read_transform(paths["transform"])
    points = {
        name: read_points(paths[f"{name}-points"])
        for name in ("fixed", "moving")
        if f"{name}-points" in paths
    }
    images = {name: read_volume(paths[name], name) for name in ("fixed", "moving")}
    labels = {
        name: Volume(read_labels(path, image.grid, name), image.grid, f"{name} labels")
        for name, image in images.items()
        if (path := paths.get(f"{name}-labels"))
    }
    mask = None
    if "mask" in paths:
        grid = images["fixed"].grid
        mask = Volume(read_mask(paths["mask"], grid, "fixed"), grid, "mask")
    return evaluate_transform(
        transform,
        images["fixed"],
        images["moving"],
        points.get("fixed"),
        points.get("moving"),
        labels.get("fixed"),
        labels.get("moving"),
        mask,
    )


def quality_rows(report: dict) -> list[Row]:
    """What a report of `evaluate_transform` says without landmarks or labels."""
    similarity = report["similarity"]
    consistency = report["inverse_consistency"]
    # Of a computed inverse it is 0 for any field.
    independent = consistency["method"] != "numerical inverse"
    return [
        ("normalised cross-correlation", *_before_after(similarity, "normalised_cross_correlation")),
        ("mutual information (nats)", *_before_after(similarity, "mutual_information")),
        *([("inverse consistency error, mean (mm)", None, consistency["mean_mm"])] if independent else []),
    ]


def field_line(report: dict) -> str:
    """Properties of the field, which are no evidence of its accuracy."""
    least, most, share = (report["jacobian"][name] for name in ("min", "max", "share_not_positive"))
    return (
        f"The field itself, no evidence of accuracy: Jacobian determinant {least:.3f} to {most:.3f}, not "
        f"positive at {100 * share:.3g} % of the voxels."
    )


def accuracy_rows(report: dict, label_names: dict[int, str] | None = None) -> list[Row]:
    """What a report of `evaluate_transform` says of landmarks and labels, where they were given."""
    found, names = [], label_names or {}
    if error := report.get("target_registration_error"):
        number = counted(error["final"]["n"], "landmark")
        found.append((f"error at {number}, mean (mm)", *_before_after(error, "mean")))
        found.append((f"error at {number}, 95th percentile (mm)", *_before_after(error, "p95")))
    if dice := report.get("dice"):
        before, after = (dice[when]["per_label"] for when in ("initial", "final"))
        for label in sorted(before.keys() | after.keys()):
            found.append(
                (f"Dice of {names.get(label, f'label {label}')}", before.get(label), after.get(label))
            )
        found.append(("Dice, mean", *_before_after(dice, "mean")))
    return found


def _before_after(values: dict, key: str) -> tuple[float | None, float | None]:
    return values["initial"][key], values["final"][key]
