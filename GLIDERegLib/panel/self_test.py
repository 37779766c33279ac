"""The module's self-test: registers the sample pair, whose motion is known."""

from __future__ import annotations

import time

import numpy as np
import slicer.util

from GLIDERegLib.panel.dependencies import Probe, missingPackages
from GLIDERegLib.scene.registration.sample import makeSamplePair
from GLIDERegLib.scene.scripting import RegistrationLogic


def missing() -> list[str]:
    """What the Python that registers lacks, as in a Slicer fresh from the factory.

    Raises AssertionError where it cannot be asked.
    """
    probe = Probe()
    probe.start()
    while (findings := probe.poll()) is None and probe.failure is None:
        time.sleep(0.1)
    if findings is None:
        raise AssertionError(probe.failure)
    return missingPackages(findings, globalFeatures=False)


def registerTheSamplePair(logic: RegistrationLogic) -> tuple[float, float]:
    """Mean distance (mm) of the nodules from their true places after the registration, and before.

    Raises AssertionError where the warped scan has not the fixed scan's geometry.
    """
    fixed, moving, movingNodules, fixedNodules = makeSamplePair()
    results = logic.registerVolumes(
        fixed, moving, movingNodulesNode=movingNodules, preset="fast", features="local"
    )
    found, truth, before = (
        slicer.util.arrayFromMarkupsControlPoints(node, world=True)
        for node in (results.nodulesInFixed, fixedNodules, movingNodules)
    )
    if results.volume.GetImageData().GetDimensions() != fixed.GetImageData().GetDimensions():
        raise AssertionError("The warped scan has another size than the fixed scan.")
    return tuple(float(np.linalg.norm(points - truth, axis=1).mean()) for points in (found, before))
