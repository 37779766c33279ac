"""The demo's pair on disk, and how far a registration of it is from the known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.body import body_mask
from GLIDERegLib.evaluation.evaluate import displacement_on, evaluate_transform
from GLIDERegLib.evaluation.metrics import target_registration_error
from GLIDERegLib.evaluation.phantom import Phantom
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.volumes import write_volume
from GLIDERegLib.transforms.points import map_points

# Voxels and mm along x, y, z.
SIZES = {"small": ((64, 64, 56), (6.0, 6.0, 6.0)), "full": ((192, 192, 160), (2.0, 2.0, 2.0))}


def landmark_sets(phantom: Phantom) -> dict[str, PointSet]:
    """Landmarks and nodule centres of both images by the name of their file, LPS mm."""
    landmarks = [f"landmark {n + 1}" for n in range(len(phantom.fixed_landmarks))]
    nodules = list(phantom.nodule_labels)
    return {
        "fixed_landmarks": PointSet(landmarks, phantom.fixed_landmarks),
        "moving_landmarks": PointSet(landmarks, phantom.moving_landmarks),
        "fixed_nodules": PointSet(nodules, phantom.fixed_nodules),
        "moving_nodules": PointSet(nodules, phantom.moving_nodules),
    }


def write_pair(phantom: Phantom, out: OutputFolder | Path) -> None:
    """Writes images and label maps (NIfTI) and points (CSV, LPS mm); raises InputError when that fails."""
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        write_volume(getattr(phantom, name), out / f"{name}.nii.gz")
    for name, points in landmark_sets(phantom).items():
        write_points(points, out / f"{name}.csv")


def judge(phantom: Phantom, transform: sitk.Transform) -> dict:
    """A registration of the phantom against its truth, before ("initial") and after ("final"); JSON-able.

    transform: fixed points to moving points, LPS mm. "body" and "nodules" hold the distance in mm between
    where the transform and where the truth take every voxel of the body and every nodule's centre; the rest
    is the report of `evaluate_transform` with the landmarks and label maps.
    """
    points = landmark_sets(phantom)
    grid = phantom.fixed.grid
    array = phantom.fixed.array.astype(np.float32)
    body = body_mask(array, np.ones(array.shape, bool), max(grid.spacing), ct=True)
    truth = phantom.displacement(grid.points()[body])
    found = displacement_on(transform, grid)[body]
    nodules = phantom.fixed_nodules
    propagated = map_points(transform, nodules)
    return {
        "body": _errors(np.zeros_like(truth), found, truth),
        "nodules": _errors(nodules, propagated, phantom.moving_nodules),
        **evaluate_transform(
            transform,
            phantom.fixed,
            phantom.moving,
            points["fixed_landmarks"],
            points["moving_landmarks"],
            phantom.fixed_labels,
            phantom.moving_labels,
        ),
    }


def _errors(initial: np.ndarray, final: np.ndarray, truth: np.ndarray) -> dict:
    return {
        name: target_registration_error(where, truth)[1]
        for name, where in (("initial", initial), ("final", final))
    }
