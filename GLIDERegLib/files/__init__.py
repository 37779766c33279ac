"""Volumes, transforms, points, checkpoints and cached features to and from disk."""
