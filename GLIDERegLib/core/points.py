"""Labelled points of one scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.counting import counted


@dataclass(frozen=True)
class PointSet:
    """Labelled points: `labels` (N) need not be unique, `points` (N, 3) are LPS mm.

    unnamed: True where the file gave no label, and these are P1, P2, ... for want of others.
    """

    labels: list[str]
    points: np.ndarray
    unnamed: bool = False

    def __post_init__(self):
        if np.shape(self.points) != (len(self.labels), 3):
            raise ValueError(
                f"{counted(len(self.labels), 'label')} for points of shape {np.shape(self.points)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def given_labels(self) -> list[str]:
        """The labels to pair by: empty ones where none was given."""
        return [""] * len(self) if self.unnamed else list(self.labels)

    @property
    def names(self) -> list[str]:
        """What tells each point from the others in a sentence: its label, its place in the list (from 1)
        where it has none, and both where others have the same.
        """
        labels = self.given_labels
        return [
            str(n) if not label else label if labels.count(label) == 1 else f"{label} (point {n})"
            for n, label in enumerate(labels, 1)
        ]


def unlabelled(points: np.ndarray | PointSet | None) -> PointSet | None:
    """Points (N, 3), LPS mm, as a PointSet, which one is already; None stays None."""
    if points is None or isinstance(points, PointSet):
        return points
    rows = np.asarray(points, float).reshape(-1, 3)
    return PointSet([""] * len(rows), rows, unnamed=True)
