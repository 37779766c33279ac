"""Which points of two lists belong together: by the labels that each list has once, or by their order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError

HINT = "Give corresponding points the same unique label."
# As 3D Slicer names the points of a list by itself: the list's name and a number.
NUMBERED = re.compile(r"(.*?)[-_ ]?(\d+)")


@dataclass(frozen=True)
class Matching:
    """Which rows of two lists belong together, "label" or "order" telling how that was found.

    alone: labels of each list that found no partner. repeated: labels that one list has several times.
    unnamed: how many points of each list have no label and were left out. numbered: whether the order was
    taken from labels that are a list's name and a number.
    """

    rows: list[tuple[int, int]]
    by: str
    alone: tuple[Sequence[str], Sequence[str]] = ((), ())
    repeated: tuple[str, ...] = ()
    unnamed: tuple[int, int] = (0, 0)
    numbered: bool = False

    def columns(self) -> tuple[list[int], list[int]]:
        """The rows of the fixed and of the moving list, one beside the other."""
        return [row for row, _ in self.rows], [row for _, row in self.rows]

    def warnings(self) -> list[str]:
        """A sentence for each kind of point that was left out, and for an order that was guessed."""
        said = [
            f"{_left_out(len(labels), role, 'no partner of the same label')}: {', '.join(labels)}."
            for role, labels in zip(("fixed", "moving"), self.alone, strict=True)
            if labels
        ]
        said += [
            f"{_left_out(count, role, 'no label')}."
            for role, count in zip(("fixed", "moving"), self.unnamed, strict=True)
            if count
        ]
        if self.repeated:
            said.append(
                "Labels that a list has more than once pair with nothing and were left out: "
                f"{', '.join(self.repeated)}."
            )
        if self.numbered:
            said.append(
                "The two lists share no label; their points were paired by the numbers in their labels."
            )
        return said


def match_labels(fixed: Sequence[str], moving: Sequence[str]) -> Matching:
    """Pairs two lists of points by the labels that each of them has once.

    By their order only where no labels were given: where all of them are empty or one and the same, or are
    each list's own name with the same numbers, as 3D Slicer gives them. Raises InputError where that leaves
    open what belongs together.
    """
    lists = [[label.strip() for label in labels] for labels in (fixed, moving)]
    counts = [Counter(labels) for labels in lists]
    once = [[label for label in own if label and n[label] == 1] for own, n in zip(lists, counts, strict=True)]
    common = [label for label in once[0] if counts[1][label] == 1]
    if common:
        repeated = [label for own, n in zip(lists, counts, strict=True) for label in own if n[label] > 1]
        return Matching(
            [(lists[0].index(label), lists[1].index(label)) for label in common],
            "label",
            (
                [label for label in once[0] if not counts[1][label]],
                [lb for lb in once[1] if not counts[0][lb]],
            ),
            tuple(dict.fromkeys(filter(None, repeated))),
            (counts[0][""], counts[1][""]),
        )
    given = any(len(n) > 1 or (len(own) == 1 and own[0]) for own, n in zip(lists, counts, strict=True))
    numbers = [_numbers(own) for own in lists]
    numbered = numbers[0] is not None and numbers[0] == numbers[1]
    if numbered or not given:
        if len(lists[0]) != len(lists[1]):
            raise InputError(
                f"{len(lists[0])} fixed and {counted(len(lists[1]), 'moving point')} have no labels to pair "
                "by.",
                HINT,
                code="points-unmatched",
            )
        return Matching([(n, n) for n in range(len(lists[0]))], "order", numbered=numbered)
    shared = sorted(set(counts[0]) & set(counts[1]) - {""})
    if shared:
        raise InputError(
            f"The labels {', '.join(shared)} stand in both lists but more than once in one of them.",
            HINT,
            code="points-unmatched",
        )
    raise InputError(
        f"{len(lists[0])} fixed and {counted(len(lists[1]), 'moving point')} share no label "
        f"({_some(lists[0])} against {_some(lists[1])}).",
        HINT,
        code="points-unmatched",
    )


def _numbers(labels: Sequence[str]) -> list[str] | None:
    """The numbers of labels that are one name and a number each, in their order; None for other labels."""
    found = [match for label in labels if (match := NUMBERED.fullmatch(label))]
    if not found or len(found) < len(labels) or len({match[1] for match in found}) > 1:
        return None
    return [match[2] for match in found]


def _some(labels: Sequence[str], most: int = 4) -> str:
    named = [label or "no label" for label in labels]
    return ", ".join(named[:most]) + (", ..." if len(named) > most else "")


def _left_out(number: int, role: str, lacking: str) -> str:
    has, were = (f"{role} point has", "was") if number == 1 else (f"{role} points have", "were")
    return f"{number} {has} {lacking} and {were} left out"
