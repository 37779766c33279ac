"""The working grid under the name by which scripts written for 0.1.0 import it; see `working_grid`."""

from GLIDERegLib.registration.working_grid import Prepared, prepare_alone, to_image

__all__ = ["Prepared", "prepare_alone", "to_image"]
