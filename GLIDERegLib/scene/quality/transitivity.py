"""Round three scans: a transform followed by a second one, beside one that leads to the third scan directly.
No Qt.

What was found is kept in the scene for the three transforms as they were then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.quality.locks import transformLock
from GLIDERegLib.scene.quality.pair_texts import keepText, keptOf, textsOf
from GLIDERegLib.scene.registration.inputs import writeTransform, writeVolume
from GLIDERegLib.scene.registration.pair import Pair, registeredVolumes, unwarped

KIND = "transitivity"
# References of the kept text to the two further transforms.
ROLES = {"second": "GLIDEReg.Second", "direct": "GLIDEReg.Direct"}


@dataclass(frozen=True)
class Round:
    """pair: fixed to moving points. second: moving points to a third scan's; direct: fixed points to that
    scan's, both by their from-parent direction, parents counted.
    """

    pair: Pair
    second: slicer.vtkMRMLTransformNode
    direct: slicer.vtkMRMLTransformNode

    def locks(self) -> dict[str, str]:
        """A hash of each transform's map, "transform", "second" and "direct"."""
        fixed, moving = self.pair.fixed, self.pair.moving
        # Of a leg only the transform and the scan it starts from count.
        legs = {
            "transform": self.pair,
            "second": Pair(moving, fixed, self.second),
            "direct": Pair(fixed, moving, self.direct),
        }
        return {name: transformLock(leg) for name, leg in legs.items()}


def roundProblem(
    pair: Pair,
    second: slicer.vtkMRMLTransformNode | None,
    direct: slicer.vtkMRMLTransformNode | None,
) -> str | None:
    """Why these do not lead round three scans, as far as the transforms tell what they register; None where
    nothing speaks against it.
    """
    if second is None or direct is None:
        return "Select a transform from the moving scan to a third scan, and one from the fixed scan to it."
    if len({pair.transform, second, direct}) < 3:
        return "Two of the three transforms are the same; select three that were made independently."
    starts = {second: pair.moving, direct: pair.fixed}
    ends = set()
    for transform, start in starts.items():
        fixed, moving = registeredVolumes(transform)
        if fixed is not None and fixed is not start:
            return (
                f"'{transform.GetName()}' leads from '{fixed.GetName()}', not from '{start.GetName()}'; "
                "select another."
            )
        ends.add(moving)
    named = sorted(end.GetName() for end in ends - {None})
    if len(named) > 1:
        return f"The two further transforms lead to different scans, {' and '.join(map(repr, named))}."
    if ends & {pair.fixed, pair.moving}:
        return "The two further transforms lead to a scan of the pair itself; a third one is needed."
    return None


class SceneTransitivity(SceneTask):
    """Compares one round at a time. python: an interpreter that has the engine."""

    WHAT = "comparison of three transforms"

    def start(self, three: Round, temporaryFolder: str | None = None) -> None:
        """Writes the nodes and starts. Raises InputError, with nothing left behind, for nodes that cannot be
        used and while one goes on.
        """

        def prepare(folder: Path) -> list[str]:
            pair = three.pair
            if problem := roundProblem(pair, three.second, three.direct):
                raise InputError(problem)
            writeVolume(pair.fixed, folder / "fixed.nrrd")
            writeTransform(pair.transform, unwarped(pair), folder / "transform.h5")
            for name, node in (("second", three.second), ("direct", three.direct)):
                # Where no third scan is known the moving one's box stands for where points land.
                writeTransform(node, registeredVolumes(node)[1] or pair.moving, folder / f"{name}.h5")
            files = {name: folder / f"{name}.h5" for name in ("transform", "second", "direct")}
            files["fixed"] = folder / "fixed.nrrd"
            options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
            return ["consistency", *options, "-o", str(folder / "transitivity.json")]

        self._command.start(prepare, temporaryFolder)
        self._of = three, three.locks()

    def poll(self) -> dict[str, Any] | None:
        """What `glidereg consistency` reports, kept in the scene; None before, and without a result."""
        return self._command.poll(lambda folder: takeTransitivity(*self._of, folder))


def takeTransitivity(three: Round, locks: dict[str, str], folder: Path) -> dict[str, Any]:
    """Keeps what the command has left in a folder, in place of an earlier comparison of this pair.

    locks: of the transforms when they were written.
    """
    report = json.loads((folder / "transitivity.json").read_text(encoding="utf-8"))
    kept = json.dumps({**locks, "report": report}, indent=1)
    node = keepText(three.pair, KIND, f"Transitivity of {three.pair.transform.GetName()}", kept)
    for name, role in ROLES.items():
        node.SetNodeReferenceID(role, getattr(three, name).GetID())
    return report


def transitivityOf(pair: Pair) -> tuple[Round, dict[str, Any]] | None:
    """The last comparison of the pair and its report; None without one, and where a transform has changed."""
    kept = keptOf(pair, KIND)
    if kept is None:
        return None
    text = textsOf(pair, KIND)[-1]
    further = [text.GetNodeReference(role) for role in ROLES.values()]
    if None in further:
        return None
    three = Round(pair, *further)
    return (three, kept["report"]) if three.locks().items() <= kept.items() else None
