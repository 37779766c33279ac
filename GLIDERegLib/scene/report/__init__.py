"""The report of a registration in the scene."""
