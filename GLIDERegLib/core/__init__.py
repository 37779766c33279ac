"""What all layers share: errors, settings, geometry, the meaning of a CT's numbers. Loads no torch."""
