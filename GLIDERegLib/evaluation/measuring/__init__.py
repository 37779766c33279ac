"""A nodule measured in one original scan from one click: volume and diameters, each with a 95 % interval."""

from GLIDERegLib.evaluation.measuring.measure import measure_nodule
from GLIDERegLib.evaluation.measuring.measurement import (
    GROUND_GLASS,
    MEASURED,
    PART_SOLID,
    SOLID,
    NoduleMeasurement,
)
from GLIDERegLib.evaluation.measuring.outlined import measure_outline

__all__ = [
    "GROUND_GLASS",
    "MEASURED",
    "PART_SOLID",
    "SOLID",
    "NoduleMeasurement",
    "measure_nodule",
    "measure_outline",
]
