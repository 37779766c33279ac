"""How much of the whole run is done, from how much of a stage is."""

from __future__ import annotations

# Stages in their order with measured shares of a run: default preset, CPU.
BEFORE = (
    ("pre-alignment", 2.0),
    ("kernels", 10.0),
    ("working grid", 1.5),
    ("global features", 100.0),
    ("reduction", 5.0),
    ("local features", 1.5),
    ("convex optimisation", 3.0),
)
RESULT = ("result", 1.5)
GLOBAL = ("global features", "reduction")


class Overall:
    """The done share of a run, 0 to 1, never falling.

    symmetric: both directions are registered. local: there are certainly no global features; without, the
    stages that a run turns out to leave out are dropped from the plan.
    """

    def __init__(self, symmetric: bool, local: bool):
        before = [stage for stage in BEFORE if not (local and stage[0] in GLOBAL)]
        solve = [("refinement", 12.0), ("symmetry", 1.0)] if symmetric else [("refinement", 6.0)]
        self._plan = [*before, *solve, RESULT]
        self._current = 0
        self._done = 0.0

    def at(self, stage: str, fraction: float) -> float:
        """The share done when this fraction of a stage is."""
        for number in range(self._current, len(self._plan)):
            if self._plan[number][0] == stage:
                del self._plan[self._current + 1 : number]
                self._current = min(number, self._current + 1)
                self._done = max(self._done, self._share(fraction))
                break
        return self._done

    def _share(self, fraction: float) -> float:
        shares = [share for _, share in self._plan]
        return (sum(shares[: self._current]) + fraction * shares[self._current]) / sum(shares)
