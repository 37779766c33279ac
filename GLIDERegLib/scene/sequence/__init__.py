"""A 4D study registered frame by frame."""
