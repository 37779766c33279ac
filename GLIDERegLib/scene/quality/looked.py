"""What of a registration was looked at, as the module itself saw it: kept in the scene, for its record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone

from GLIDERegLib.evaluation.record.record import Look
from GLIDERegLib.scene.quality.landmarks import places, worst
from GLIDERegLib.scene.quality.locks import transformLock
from GLIDERegLib.scene.quality.pair_texts import keepText, keptOf
from GLIDERegLib.scene.registration.pair import Pair

KIND = "looked"


def seen(pair: Pair) -> list[Look]:
    """What was looked at of the transform as it is now; nothing of what it was before."""
    data = keptOf(pair, KIND)
    return [Look(**look) for look in data["looked"]] if data else []


def note(pair: Pair, whats: Sequence[str]) -> None:
    """Keeps what is in sight now, each once, with the time it was first seen."""
    known = seen(pair)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    new = [Look(what, True, now) for what in whats if what not in {look.what for look in known}]
    if new:
        data = {"transform": transformLock(pair), "looked": [asdict(look) for look in [*known, *new]]}
        keepText(pair, KIND, f"Looked at of {pair.transform.GetName()}", json.dumps(data, indent=1))


def placeSeen(label: str, error: float) -> str:
    """How a look at a landmark is called."""
    return f"Landmark {label}, error {error:.1f} mm"


def worstSeen(pair: Pair) -> tuple[int, int]:
    """How many of the worst landmarks were looked at, and how many there are."""
    looked = {look.what for look in seen(pair)}
    ten = worst(places(pair))
    return sum(any(what.startswith(f"Landmark {place.label},") for what in looked) for place in ten), len(ten)
