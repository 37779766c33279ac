"""A nodule measured in one original scan from one click: volume and diameters, each with a 95 % interval.

What measures is loaded when first used: it needs SciPy, which a Slicer may lack that only shows measurements.
"""

from importlib import import_module

from GLIDERegLib.evaluation.measuring.measurement import (
    GROUND_GLASS,
    MEASURED,
    PART_SOLID,
    SOLID,
    NoduleMeasurement,
)

_HOME = {
    "measure_nodule": "GLIDERegLib.evaluation.measuring.measure",
    "measure_outline": "GLIDERegLib.evaluation.measuring.outlined",
}
__all__ = ["GROUND_GLASS", "MEASURED", "PART_SOLID", "SOLID", "NoduleMeasurement", *_HOME]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
