"""Grids and volumes under the name by which scripts written for 0.1.0 import them; see `core.geometry`."""

from GLIDERegLib.core.geometry import Grid, Volume, apply_affine

__all__ = ["Grid", "Volume", "apply_affine"]
