"""The places that are told apart: lung thirds, the layer below the pleura, the body outside of the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.body import Body
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.landmarks.names import BODY, NEAR_PLEURA, PLEURA_MM, THIRDS
from GLIDERegLib.evaluation.lungs import find_lungs


@dataclass(frozen=True)
class Regions:
    """labels: uint8 (z, y, x) on a 3 mm grid along L, P and S, 0 outside of the body; names: of the labels.

    pleura: bool (z, y, x), the lungs' voxels within 10 mm of their surface; a region of its own that cuts
    through the thirds.
    """

    labels: np.ndarray
    pleura: np.ndarray
    grid: Grid
    names: dict[int, str]

    def masks(self) -> dict[str, np.ndarray]:
        """Every region's voxels, bool (z, y, x), in the order of a table; empty ones left out."""
        found = {name: self.labels == label for label, name in self.names.items()}
        found[NEAR_PLEURA] = self.pleura
        return {name: mask for name, mask in found.items() if mask.any()}

    def lungs(self) -> np.ndarray:
        """Bool (z, y, x)."""
        return np.isin(self.labels, [label for label, name in self.names.items() if name != BODY])

    def at(self, points: np.ndarray) -> list[str]:
        """The name of the region of each point (N, 3), LPS mm; "outside" beyond the body."""
        return [self.names.get(int(label), "outside") for label in self._read(self.labels, points)]

    def in_lungs(self, points: np.ndarray) -> np.ndarray:
        """True (N) for points (N, 3), LPS mm, of the lungs."""
        return self._read(self.lungs(), points) > 0

    def near_pleura(self, points: np.ndarray) -> np.ndarray:
        """True (N) for points of the lungs within 10 mm of their surface."""
        return self._read(self.pleura, points) > 0

    def _read(self, array: np.ndarray, points: np.ndarray) -> np.ndarray:
        index = np.rint(self.grid.to_index(points)).astype(int)
        inside = np.all((index >= 0) & (index < self.grid.size), axis=1)
        i, j, k = np.where(inside[:, None], index, 0).T
        return np.where(inside, array[k, j, i], 0)


def find_regions(fixed: Volume) -> Regions:
    """Regions of a CT of the chest; the body as a whole where no lung is found.

    Thirds are of a lung's height along the patient's axis, equal in mm.
    """
    lungs = find_lungs(fixed)
    labels = np.zeros(lungs.labels.shape, np.uint8)
    names: dict[int, str] = {}
    for lung, name in lungs.names.items():
        layers = np.flatnonzero((lungs.labels == lung).any(axis=(1, 2)))
        cuts = layers[0] + (layers[-1] + 1 - layers[0]) * np.arange(4) / 3
        height = np.digitize(np.arange(len(labels)) + 0.5, cuts[1:3])
        for third in (2, 1, 0):
            label = len(names) + 1
            names[label] = f"{name}, {THIRDS[third]}"
            labels[(lungs.labels == lung) & (height == third)[:, None, None]] = label
    inside = labels > 0
    # A face of the image that cuts a lung is no pleura.
    depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"), sampling=lungs.grid.spacing[0])
    pleura = inside & (depth[1:-1, 1:-1, 1:-1] <= PLEURA_MM)
    names[len(names) + 1] = BODY
    labels[Body(fixed).on(lungs.grid) & ~inside] = len(names)
    return Regions(labels, pleura, lungs.grid, names)
