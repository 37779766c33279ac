"""The whole check of a transform by landmarks that it finds itself, and the files it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation import metrics
from GLIDERegLib.evaluation.landmarks.between import COVERED_MM
from GLIDERegLib.evaluation.landmarks.correlation import Progress
from GLIDERegLib.evaluation.landmarks.errors import Errors, error_map, errors_of
from GLIDERegLib.evaluation.landmarks.matching import COUNT, find_landmarks
from GLIDERegLib.evaluation.landmarks.names import BODY
from GLIDERegLib.evaluation.landmarks.regions import find_regions
from GLIDERegLib.files.outputs import OutputFolder, write_json
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.volumes import write_volume

FIXED_FILE, MOVING_FILE = "fixed_landmarks.csv", "moving_landmarks.csv"
MAP_FILE, REPORT_FILE = "error_map.nrrd", "check.json"


@dataclass(frozen=True)
class Check:
    """errors at the landmarks and by region; map: expected error, mm, NaN where nothing can be told."""

    errors: Errors
    map: Volume

    @property
    def report(self) -> dict:
        """All figures, ready for JSON."""
        errors, landmarks = self.errors, self.errors.landmarks
        initial, final = (
            metrics.target_registration_error(landmarks.fixed, goal)[1]
            for goal in (landmarks.moving, landmarks.fixed + errors.vectors)
        )
        return {
            "landmarks": {
                "found": len(landmarks),
                "tried": landmarks.candidates,
                "voxel_mm": landmarks.voxel_mm,
                "covered_within_mm": COVERED_MM,
            },
            "error_mm": {"initial": initial, "final": final},
            "regions": [
                {"name": r.name, "n": r.n, "error_mm": r.error, "uncovered": r.uncovered, "words": r.sentence}
                for r in errors.regions
            ],
            "worst": [self._place(row) for row in errors.worst()],
            "summary": self.summary,
        }

    @property
    def summary(self) -> str:
        """One line for a person."""
        errors = self.errors
        final = metrics.target_registration_error(errors.vectors, 0 * errors.vectors)[1]
        worst = errors.worst(1)[0]
        lungs = [r for r in errors.regions if r.name != BODY] or errors.regions
        least = max(lungs, key=lambda region: region.uncovered)
        said = (
            f"{counted(len(errors.lengths), 'landmark')}: error {final['mean']:.2f} mm on average, 95 % "
            f"below {final['p95']:.2f} mm, worst {errors.lengths[worst]:.1f} mm "
            f"({errors.landmarks.labels[worst]}, {errors.landmarks.regions[worst]})."
        )
        return " ".join(filter(None, (said, least.sentence)))

    def write(self, out: OutputFolder) -> None:
        """Landmarks as two lists of the same labels, the map and the report."""
        landmarks, errors = self.errors.landmarks, self.errors
        columns: dict[str, Iterable] = {
            "error_mm": errors.lengths,
            "confidence": landmarks.confidence,
            "region": landmarks.regions,
            "near_pleura": landmarks.near_pleura,
        }
        for name, points in ((FIXED_FILE, landmarks.fixed), (MOVING_FILE, landmarks.moving)):
            write_points(PointSet(landmarks.labels, points), out / name, columns)
        write_volume(self.map, out / MAP_FILE)
        write_json(self.report, out / REPORT_FILE)

    def _place(self, row: int) -> dict:
        landmarks = self.errors.landmarks
        return {
            "label": landmarks.labels[row],
            "error_mm": float(self.errors.lengths[row]),
            "vector_mm": self.errors.vectors[row],
            "fixed": landmarks.fixed[row],
            "moving": landmarks.moving[row],
            "region": landmarks.regions[row],
            "confidence": float(landmarks.confidence[row]),
        }


def check_transform(
    transform: sitk.Transform,
    fixed: Volume,
    moving: Volume,
    count: int = COUNT,
    progress: Progress = lambda share: None,
) -> Check:
    """Judges a transform (fixed to moving points, LPS mm) of any tool by landmarks found without it.

    count: the most landmarks. Raises InputError where no landmark is found.
    """
    regions = find_regions(fixed)
    landmarks = find_landmarks(fixed, moving, count, regions, progress)
    errors = errors_of(transform, landmarks, regions)
    return Check(errors, error_map(errors, regions))
