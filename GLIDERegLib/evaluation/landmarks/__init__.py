"""Landmarks found without a person, and what they say of a transform of any tool.

In order: `regions` (where), `keypoints` (strong structure), `correlation` (how alike), `guide` (where to
look), `refinement` (to a fraction of a voxel), `matching` (pairs of points), `errors` (by place and region)
and `between`, `check` (all of it, and its files); `names` of the regions.
"""
