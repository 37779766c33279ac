"""How far a result may be from the truth, place by place, told without a truth.

Where both scans show alike how tissue moved, the last step (`evidence.continued`) leaves the field as the
refinement found it. Elsewhere it moves the field, and by how much tells how far two sound ways to continue
what is known disagree: least bending and least slope. In the body that ranks the true errors better than the
curvature of the energy, the directions' disagreement and other presets do, in the lungs as well as the
curvature (docs/evidence.md).
"""

from __future__ import annotations

import numpy as np

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.registration.field import DisplacementField

# Millimetres of radius for a change of 1 mm; the radius grows with its square root. 8.7 holds 95 % of the
# truths in the body, and in the lungs, of textured_31, random_1 and the own phantom, but 92 % on textured_32
# and E; 12.7 holds at least 96 % on all nine pairs of docs/evidence.md (`default`).
RADIUS_OF_CHANGE = 12.7
NAME = "position uncertainty"


def position_uncertainty(
    found: DisplacementField, continued: DisplacementField, edge_mm: float
) -> Volume | None:
    """Radius in mm about each place in the moving scan that holds the true one in about 95 of 100 cases, at
    the nodes of the field, (z, y, x) float32; of meaning within the body alone. None where the field was not
    continued at all.

    found, continued: the field (mm, fixed to moving, the same nodes) before and after `evidence.continued`.
    edge_mm: longest edge of the coarser scan's voxels; the radius is never below half of it, since no image
    shows a place more finely.
    """
    if continued is found:
        return None
    change = np.linalg.norm(continued.vectors - found.vectors, axis=-1)
    radius = np.maximum(RADIUS_OF_CHANGE * np.sqrt(change), edge_mm / 2)
    return Volume(radius.astype(np.float32), found.grid, NAME)
