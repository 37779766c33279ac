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
