"""Marks of one scan in the reference scan, each with what is known of its place there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.agreement import PointMap, image_sampler, local_agreement
from GLIDERegLib.evaluation.follow_up.identity import Place
from GLIDERegLib.evaluation.nodules import Evidence, advice, volume_ratios


@dataclass(frozen=True)
class Link:
    """A registration, whatever made it; points (N, 3) are LPS mm.

    to_moving: fixed points to moving points. to_fixed: moving points to fixed points, and the inverse's
    residual (N) in mm. reaches: whether (N) it says anything at fixed points.
    """

    to_moving: PointMap
    to_fixed: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    reaches: Callable[[np.ndarray], np.ndarray]


def link_of(transform) -> Link:
    """A link of a SimpleITK transform from fixed to moving points."""
    from functools import partial

    from GLIDERegLib.transforms.points import in_field, inverse_points, map_points

    return Link(
        partial(map_points, transform), partial(inverse_points, transform), partial(in_field, transform)
    )


def own_place(point: np.ndarray, reference: Volume) -> Place:
    """The place of a mark (3), LPS mm, that was made in the reference scan itself."""
    return Place(point, max(reference.grid.spacing) / 2 if reference.grid.contains(point) else None)


def propagated_place(
    point: np.ndarray, radius_mm: float, link: Link, reference: Volume, scan: Volume
) -> tuple[Place, Evidence | None]:
    """The place of a mark (3), LPS mm, made in a scan (moving) that was registered to the reference scan
    (fixed), and what is known of it, None where nothing was compared. radius_mm: of the nodule.
    """
    found, residual = (values[0] for values in link.to_fixed(point[None]))
    if not (reference.grid.contains(found) and link.reaches(found[None])[0]):
        return Place(found, None), None
    voxel = max(float(np.prod(volume.grid.spacing) ** (1 / 3)) for volume in (reference, scan))
    fixed, moving = (image_sampler(volume.array, volume.grid.to_index) for volume in (reference, scan))
    agreed = local_agreement(fixed, moving, link.to_moving, found, point, voxel, radius_mm)
    evidence = Evidence(
        True,
        bool(scan.grid.contains(point)),
        float(residual),
        *volume_ratios(link.to_moving, found),
        agreed.agreement,
        agreed.shift,
        agreed.spread,
        voxel,
        max(*reference.grid.spacing, *scan.grid.spacing),
    )
    return Place(found, evidence.uncertainty), evidence


def doubt_of(evidence: Evidence | None, absent_from: str = "") -> str:
    """What casts doubt on the place of a propagated mark (see `advice`), empty where nothing does."""
    if evidence is None:
        return "outside the field of the registration, where nothing was compared"
    return advice(evidence, absent_from)[1]


def by_steps(point: np.ndarray, links: Sequence[Link]) -> np.ndarray:
    """A point (3) of the first scan in the last one, LPS mm, through each scan between: where that is from
    the point of the direct registration shows how far both are transitive (A→B→C against A→C).

    links: in order of the steps, each with the scan that is left as the moving one.
    """
    for link in links:
        point = link.to_fixed(point[None])[0][0]
    return point


def expected(
    places: np.ndarray, link: Link | None, reference: Volume, scan: Volume
) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 3) of the reference scan in another scan (N, 3), and whether (N) they are inside both and
    the registration. link: as for `propagated_place`; None for the reference scan itself.
    """
    if link is None:
        return places, reference.grid.contains(places)
    points = link.to_moving(places)
    inside = reference.grid.contains(places) & link.reaches(places) & scan.grid.contains(points)
    return points, inside
