"""The volume of ground glass around a solid core, both together."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from GLIDERegLib.evaluation.measuring.patch import Patch
from GLIDERegLib.evaluation.measuring.scanner import blur_mm, scanned
from GLIDERegLib.evaluation.measuring.shell import SHELL, Shell

# Least contrast that is taken for one, so that nothing is divided by noise; a choice.
LEAST_STEP_HU = 60.0
# How often levels and shapes are fitted in turn.
ROUNDS = 3
# Ground glass beyond the core's blur: so many of its standard deviations from the core, with this share of
# its own contrast or more, in at least so many voxels.
RING, RING_SHOWN, LEAST_RING = 1.5, 0.3, 4


def two_levels(patch: Patch, shell: Shell) -> tuple[float, np.ndarray, np.ndarray]:
    """N - B of the ground glass around a solid core, the fractions and the mask of both together.

    I - B = a scan(whole) + b scan(core) is fitted to the voxels that nothing else touches; then the core's
    term is taken away, and what is left is a nodule of one level, B + a. Each shape is made as large as its
    excess tells. a is that of the ground glass which the core's blur does not reach, where there is enough:
    so much denser a core would else raise it wherever its blur is wider than thought.
    """
    excess = np.clip(shell.excess, -200, None)
    scaled = patch.fine_mm / blur_mm(patch)
    fitted = shell.free | (shell.away < -SHELL)
    whole, core = shell.mask, shell.mask & (excess > 520.0)
    for _ in range(ROUNDS + 1):
        beyond = ndimage.distance_transform_edt(~core, scaled) if core.any() else np.full(core.shape, np.inf)
        near = beyond <= SHELL
        shown, shown_core = scanned(patch, whole), scanned(patch, core)
        ring = fitted & (beyond > RING) & (shown > RING_SHOWN)
        if ring.sum() >= LEAST_RING * np.prod(patch.factors):
            # Of the core's level a first guess is enough here.
            _, more = _levels(excess, shown, shown_core, fitted)
            step = max(_weight(excess[ring] - more * shown_core[ring], shown[ring]), LEAST_STEP_HU)
            dense = fitted & ~ring
            more = max(_weight(excess[dense] - step * shown[dense], shown_core[dense]), LEAST_STEP_HU)
        else:
            step, more = _levels(excess, shown, shown_core, fitted)
        left = excess - more * shown_core
        fraction = np.where(shell.free, left / step, shell.mask)
        whole = shell.filled(fraction, fraction.sum())
        if not core.any():
            break
        above = np.where(near & (shell.away < SHELL), (excess - step * shown) / more, -1.0)
        number = int(np.clip(round(above[above > -1].sum()), 1, near.sum()))
        core = above >= max(-np.partition(-above.ravel(), number - 1)[number - 1], 1e-3)
    return step, fraction, whole


def _levels(
    excess: np.ndarray, shown: np.ndarray, shown_core: np.ndarray, where: np.ndarray
) -> tuple[float, float]:
    """a and b of the fit."""
    terms = np.stack([shown[where], shown_core[where]], axis=1)
    a, b = np.linalg.lstsq(terms, excess[where], rcond=None)[0]
    return max(float(a), LEAST_STEP_HU), max(float(b), LEAST_STEP_HU)


def _weight(values: np.ndarray, shape: np.ndarray) -> float:
    """By how much a shape fits values best; 0 for an empty one."""
    return float((values * shape).sum() / max((shape**2).sum(), 1e-6))
