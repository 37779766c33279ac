"""A worker's result in the scene: which nodes to fill, which to make, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import slicer

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.registration.request import Inputs, Outputs
from GLIDERegLib.scene.registration.results import (
    NoduleTask,
    checkOutputs,
    createOutput,
    importResult,
    removedOnFailure,
)
from GLIDERegLib.scene.review.nodules import PropagatedPoint

TRANSFORM, VOLUME, NODULES = (
    "vtkMRMLGridTransformNode",
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLMarkupsFiducialNode",
)


@dataclass(frozen=True)
class Results:
    """The filled nodes, None where left out; the propagated points by direction; the engine's report."""

    transform: slicer.vtkMRMLGridTransformNode | None
    volume: slicer.vtkMRMLScalarVolumeNode | None
    nodulesInFixed: slicer.vtkMRMLMarkupsFiducialNode | None
    nodulesInMoving: slicer.vtkMRMLMarkupsFiducialNode | None
    points: dict[str, list[PropagatedPoint]]
    report: dict[str, Any]


def wantedOutputs(inputs: Inputs, outputs: Outputs) -> list:
    """What will come of the inputs: a node for a chosen output, True for a new one."""
    propagated = [output for _, _, output in _noduleTasks(inputs, outputs)]
    return [output for output in (outputs.transform, outputs.volume, *propagated) if output]


def checkChosen(inputs: Inputs, outputs: Outputs) -> None:
    """Raises InputError where a chosen output is an input, stands for two outputs, or would move an input."""
    given = [getattr(inputs, item.name) for item in fields(inputs)]
    chosen = [output for output in wantedOutputs(inputs, outputs) if output is not True]
    for number, node in enumerate(chosen):
        if node in given:
            raise InputError(
                f"'{node.GetName()}' is an input and would be overwritten.",
                "Choose another output.",
                code="overwrites-input",
            )
        if node in chosen[:number]:
            raise InputError(
                f"'{node.GetName()}' is chosen for two outputs.",
                "Choose another one for one of them.",
                code="scene",
            )
    transform, volume = (
        None if isinstance(node, bool) else node for node in (outputs.transform, outputs.volume)
    )
    tasks = [NoduleTask(*task) for task in _noduleTasks(inputs, outputs) if task[2] is not True]
    checkOutputs(inputs.fixedVolume, inputs.movingVolume, transform, volume, tasks)


def _noduleTasks(inputs: Inputs, outputs: Outputs) -> list[tuple]:
    """Source list, direction and output (a node, or True for a new one) of what is to be propagated."""
    return [
        (source, direction, output)
        for source, direction, output in (
            (inputs.movingNodules, "moving-to-fixed", outputs.nodulesInFixed),
            (inputs.fixedNodules, "fixed-to-moving", outputs.nodulesInMoving),
        )
        if source is not None and output
    ]


def importInto(event: dict[str, Any], inputs: Inputs, outputs: Outputs) -> Results:
    """Fills the outputs, new ones where they are wanted or where the chosen one is gone; all or nothing."""
    fixed, moving = inputs.fixedVolume, inputs.movingVolume
    scene = slicer.mrmlScene
    for node in (fixed, moving):
        if not scene.IsNodePresent(node):
            raise InputError(
                "A volume that was registered is no longer in the scene.",
                "Load it again and start over.",
                code="node-gone",
            )

    def filled(output, className: str, name: str, beside):
        if output is not True and output and scene.IsNodePresent(output):
            return output
        return createOutput(className, name, beside) if output else None

    pair = f"{moving.GetName()} to {fixed.GetName()}"
    with removedOnFailure(scene):
        transform = filled(outputs.transform, TRANSFORM, f"Transform {pair}", moving)
        volume = filled(outputs.volume, VOLUME, f"{moving.GetName()} warped to {fixed.GetName()}", fixed)
        tasks = {
            direction: NoduleTask(
                source,
                direction,
                filled(output, NODULES, f"{source.GetName()} in {scan.GetName()}", scan),
            )
            for (source, direction, output), scan in (
                (task, fixed if task[1] == "moving-to-fixed" else moving)
                for task in _noduleTasks(inputs, outputs)
                if scene.IsNodePresent(task[0])
            )
        }
        propagated = importResult(event, fixed, moving, transform, volume, list(tasks.values()))
    lists = {direction: task.output for direction, task in tasks.items()}
    return Results(
        transform,
        volume,
        lists.get("moving-to-fixed"),
        lists.get("fixed-to-moving"),
        dict(zip(tasks, propagated, strict=True)),
        event["report"],
    )
