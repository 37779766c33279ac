"""What the module's parameter node means for a registration.

`parameters` is the module's GLIDERegParameterNode, or anything with its attributes.
"""

from __future__ import annotations

from typing import Any

from GLIDERegLib.core.settings import Settings
from GLIDERegLib.core.tasks import TASKS
from GLIDERegLib.scene.registration.request import Inputs, Outputs
from GLIDERegLib.scene.sequence.nodes import sequenceOf, usualReference
from GLIDERegLib.scene.sequence.run import SequenceInputs

DEFAULTS = Settings()


def inputsOf(parameters: Any) -> Inputs:
    """The nodes the parameter node chooses."""
    return Inputs(
        parameters.fixedVolume,
        parameters.movingVolume,
        parameters.fixedNodules,
        parameters.movingNodules,
        parameters.fixedMask,
        parameters.movingMask,
        parameters.initialTransform,
        parameters.keepNodules,
    )


def sequenceInputsOf(parameters: Any) -> SequenceInputs:
    """The 4D study the parameter node chooses, and its reference frame, the usual one unless it says."""
    volumes = sequenceOf(parameters.sequence)
    reference = parameters.sequenceReference - 1
    if volumes is not None and reference < 0:
        reference = usualReference(volumes)
    return SequenceInputs(
        volumes,
        reference,
        parameters.sequenceNodules,
        parameters.sequenceMask,
        parameters.makeWarpedFrames,
    )


def outputsOf(parameters: Any) -> Outputs:
    """Which outputs the parameter node wants, and where."""

    def wanted(make: bool, node):
        return (node or True) if make else False

    return Outputs(
        wanted(parameters.makeTransform, parameters.outputTransform),
        wanted(parameters.makeVolume, parameters.outputVolume),
        wanted(parameters.makeNodulesInFixed, parameters.nodulesInFixed),
        wanted(parameters.makeNodulesInMoving, parameters.nodulesInMoving),
    )


def notesOf(parameters: Any) -> list[str]:
    """What a reader of the result must know by what the parameter node says that it is for."""
    task = TASKS.get(parameters.task)
    return [task.note] if task is not None and task.note else []


def settingsOf(parameters: Any) -> dict:
    """The preset and what differs from the default, as keywords of GLIDERegLib.Settings.preset.

    What is left out is the preset's.
    """
    chosen = {
        "device": parameters.device,
        "align": parameters.align,
        "features": parameters.features,
        "encoder": parameters.encoder,
        "checkpoint": parameters.checkpoint or None,
        "reduction": parameters.reduction,
        "encoder_input_size": None if parameters.sliceSize == "auto" else int(parameters.sliceSize),
        "encoder_slice_step": parameters.sliceStep or None,
        "spacing": parameters.spacing or None,
        "search_range": parameters.searchRange,
        "threads": parameters.threads or None,
        "seed": parameters.seed,
    }
    changed = {name: value for name, value in chosen.items() if value != getattr(DEFAULTS, name)}
    return {"name": parameters.preset, **changed}
