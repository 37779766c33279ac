"""Steps 2 to 4: MIND and encoder features, pooled, and reduced to a few channels."""
