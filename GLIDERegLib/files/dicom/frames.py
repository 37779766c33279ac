"""What the tags say of every frame: its place, its rescaling, and what tells it from others at its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from GLIDERegLib.files.dicom.values import first_item, number_of, numbers_of, text_of, value_of

# Tags by which images of one place differ; the second name is for people. The first ones tell phases apart
# even where no two images share a place.
PHASES = {
    "TemporalPositionIdentifier": "temporal position",
    "TemporalPositionIndex": "temporal position",
    "StackID": "stack",
    "NominalPercentageOfRespiratoryPhase": "respiratory phase",
    "NominalPercentageOfCardiacPhase": "cardiac phase",
    "EchoTime": "echo time",
    "DiffusionBValue": "b-value",
    "ConvolutionKernel": "kernel",
}
REPEATS = {
    **PHASES,
    "SeriesDescription": "description",
    "NominalCardiacTriggerDelayTime": "trigger time",
    "TriggerTime": "trigger time",
    "AcquisitionNumber": "acquisition",
    "ImageType": "image type",
    "KVP": "tube voltage",
    "EffectiveEchoTime": "echo time",
    "ImageComments": "comment",
    "FrameType": "frame type",
    "FrameComments": "comment",
    "AcquisitionDateTime": "acquisition time",
    "FrameReferenceDateTime": "frame time",
    "FrameAcquisitionDateTime": "frame time",
    "AcquisitionTime": "acquisition time",
    "ContentTime": "content time",
}
GROUPS = {
    "FrameContentSequence": (
        "TemporalPositionIndex",
        "StackID",
        "FrameReferenceDateTime",
        "FrameAcquisitionDateTime",
        "FrameComments",
    ),
    "CTImageFrameTypeSequence": ("FrameType",),
    "MRImageFrameTypeSequence": ("FrameType",),
    "CTXRayDetailsSequence": ("KVP",),
    "CardiacSynchronizationSequence": ("NominalCardiacTriggerDelayTime", "NominalPercentageOfCardiacPhase"),
    "RespiratorySynchronizationSequence": ("NominalPercentageOfRespiratoryPhase",),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRDiffusionSequence": ("DiffusionBValue",),
    "CTReconstructionSequence": ("ConvolutionKernel",),
}


class Place(NamedTuple):
    """Position, LPS mm; row and column cosines (6); mm between rows and between columns."""

    position: tuple[float, ...]
    cosines: tuple[float, ...]
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Frame:
    """One image plane: LPS mm, row and column cosines (6), mm between rows and between columns."""

    index: int
    position: tuple[float, ...] | None
    cosines: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where the plane lies, once it has been checked that the tags say so."""
        if self.position is None or self.cosines is None or self.spacing is None:
            raise ValueError(f"the tags do not say where frame {self.index} lies")
        return Place(self.position, self.cosines, self.spacing)


def frames_of(data: Any, count: int) -> Iterator[Frame]:
    """What the tags say of every frame: its own functional groups, the shared ones, then the top level."""
    shared = first_item(data, "SharedFunctionalGroupsSequence")
    own = value_of(data, "PerFrameFunctionalGroupsSequence") or []
    known = len(own) if own else 1
    for index in range(min(count, known)):
        groups = [own[index]] if index < len(own) else []
        groups = [*groups, *([shared] if shared is not None else [])]

        def look(sequence: str, groups=groups) -> Any:
            items = [item for group in groups if (item := first_item(group, sequence)) is not None]
            return items[0] if items else data

        position = numbers_of(look("PlanePositionSequence"), "ImagePositionPatient", 3)
        cosines = numbers_of(look("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        if not own and count > 1:
            # One position of many frames is nobody's.
            position = None
        values = look("PixelValueTransformationSequence")
        yield Frame(
            index,
            position,
            cosines,
            numbers_of(look("PixelMeasuresSequence"), "PixelSpacing", 2),
            number_of(values, "RescaleSlope"),
            number_of(values, "RescaleIntercept"),
            _keys(data, groups),
        )


def _keys(data: Any, groups: list[Any]) -> dict[str, str]:
    """By what this frame may be one of several images at its place."""
    keys = {name: text for name in REPEATS if name in data and (text := text_of(data, name))}
    for sequence, names in GROUPS.items():
        item = next((item for group in groups if (item := first_item(group, sequence)) is not None), None)
        if item is not None:
            keys |= {name: text for name in names if (text := text_of(item, name))}
    return keys
