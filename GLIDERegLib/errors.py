"""The errors under the name by which scripts written for 0.1.0 import them; they are in `core.errors`."""

from GLIDERegLib.core.errors import (
    Cancelled,
    DependencyError,
    GlideRegError,
    InputError,
    OutOfMemoryError,
    WeightsError,
)

__all__ = [
    "Cancelled",
    "DependencyError",
    "GlideRegError",
    "InputError",
    "OutOfMemoryError",
    "WeightsError",
]
