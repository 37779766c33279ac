"""The measures a registration is judged by. Points and displacements are physical, LPS mm."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.core.errors import InputError


def target_registration_error(displaced: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, dict]:
    """Distance in mm of each propagated point (N, 3) from its reference (N, 3): distances (N,) and a summary.

    The summary has mean, std, median, p25, p75, p90, p95, max (mm) and n. Raises InputError when the points
    do not pair.
    """
    displaced, reference = _paired(displaced, reference)
    distance = np.linalg.norm(displaced - reference, axis=1)
    p25, median, p75, p90, p95 = np.percentile(distance, (25, 50, 75, 90, 95))
    summary = {
        "mean": distance.mean(),
        "std": distance.std(),
        "median": median,
        "p25": p25,
        "p75": p75,
        "p90": p90,
        "p95": p95,
        "max": distance.max(),
    }
    return distance, {key: float(value) for key, value in summary.items()} | {"n": len(distance)}


def centre_point_matching(
    predicted: np.ndarray, reference: np.ndarray, distances_mm: tuple[float, ...] = (2, 5, 10)
) -> dict[float, float]:
    """Share of the predicted points (N, 3) that lie within each distance (mm) of their reference (N, 3)."""
    distance, _ = target_registration_error(predicted, reference)
    return {limit: float((distance <= limit).mean()) for limit in distances_mm}


def dice(labels_a: np.ndarray, labels_b: np.ndarray) -> dict:
    """Dice overlap 2 |A and B| / (|A| + |B|) of every label (not 0) found in either array of the same shape.

    Returns {"per_label": {label: value}, "mean": value}; the mean is None where there is no label.
    """
    if labels_a.shape != labels_b.shape:
        raise InputError(
            f"Labels of shapes {labels_a.shape} and {labels_b.shape} must be on one grid.",
            "Resample one.",
            code="grid-differs",
        )
    in_a, in_b = _count(labels_a), _count(labels_b)
    common = _count(labels_a[labels_a == labels_b])
    per_label = {
        label: 2 * common.get(label, 0) / (in_a.get(label, 0) + in_b.get(label, 0))
        for label in sorted((in_a.keys() | in_b.keys()) - {0})
    }
    return {"per_label": per_label, "mean": float(np.mean(list(per_label.values()))) if per_label else None}


def jacobian_statistics(determinant: np.ndarray, mask: np.ndarray | None = None) -> dict:
    """min, max, share_not_positive, std_log and n of the raw determinant, inside a mask of its shape.

    Folding is counted as determinant <= 0, without an offset. std_log is the standard deviation of the
    natural logarithm over the positive values (None where there are none).
    """
    values = _inside(determinant, mask)[0]
    if not np.isfinite(values).all():
        raise InputError(
            "The displacement field holds values that are not finite.", "Compute it again.", code="not-finite"
        )
    positive = values[values > 0]
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "share_not_positive": float((values <= 0).mean()),
        "std_log": float(np.log(positive).std(dtype=float)) if positive.size else None,
        "n": int(values.size),
    }


def similarity(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> dict:
    """How alike two images on one grid are inside a mask.

    normalised_cross_correlation (None where an image is constant), mean_absolute_difference in the images'
    unit, and mutual_information in nats from a joint histogram of 64 x 64 bins between the 0.5 and 99.5
    percentiles.
    """
    a, b = (values.astype(np.float64) for values in _inside(a, mask, b))
    correlation, spread = np.mean((a - a.mean()) * (b - b.mean())), a.std() * b.std()
    first, second = (np.clip(v, *np.percentile(v, (0.5, 99.5))) for v in (a, b))
    joint = np.histogram2d(first, second, bins=64)[0]
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return {
        "normalised_cross_correlation": float(correlation / spread) if spread else None,
        "mean_absolute_difference": float(np.abs(a - b).mean()),
        "mutual_information": float(np.sum(joint[seen] * np.log(joint[seen] / apart[seen]))),
    }


def _count(labels: np.ndarray) -> dict[int, int]:
    """Voxels of each label."""
    names, counts = np.unique(labels, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _paired(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 3 or not len(a):
        raise InputError(
            f"Points must come as two equal lists of x, y, z, not as {a.shape} and {b.shape}.", code="points"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(
            "Points hold coordinates that are not finite.", "Remove or correct them.", code="not-finite"
        )
    return a, b


def _inside(values: np.ndarray, mask: np.ndarray | None, *others: np.ndarray) -> list[np.ndarray]:
    """The values of arrays of one shape inside a mask, or all of them."""
    arrays = [values, *others]
    for other in [*others, *([] if mask is None else [mask])]:
        if other.shape != values.shape:
            raise InputError(
                f"Arrays of shapes {values.shape} and {other.shape} must be on one grid.", code="grid-differs"
            )
    if mask is None:
        return [array.ravel() for array in arrays]
    mask = np.asarray(mask) > 0
    if not mask.any():
        raise InputError(
            "The mask is empty on the fixed image's grid.", "Check that both belong together.", code="mask"
        )
    return [array[mask] for array in arrays]
