"""The module's parameter node: what the user chooses on the pages, one name each, saved with the scene.

Flat, and with the names of 0.1.0, so that scenes go on opening (docs/adr/0007-flat-parameter-node.md). What
the choices mean for a registration is read in `parameters.py`.
"""

from typing import Annotated, Union

from slicer import (
    vtkMRMLGridTransformNode,
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceBrowserNode,
    vtkMRMLSequenceNode,
    vtkMRMLTableNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from GLIDERegLib.core.describing import descriptions
from GLIDERegLib.core.settings import SLICE_SIZES, Settings

# What the settings are, and are when nothing was chosen.
ABOUT, DEFAULTS = descriptions(Settings), Settings()

# Slicer's parameter node wrapper needs the None. Written as Slicer's own modules write it.
Mask = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
Study = Union[vtkMRMLSequenceNode, vtkMRMLSequenceBrowserNode, None]  # noqa: UP007


@parameterNodeWrapper
class GLIDERegParameterNode:
    """What the user sets, saved with the scene. 0 stands for automatic where a number may be left open."""

    fixedVolume: vtkMRMLScalarVolumeNode
    movingVolume: vtkMRMLScalarVolumeNode
    fixedNodules: vtkMRMLMarkupsFiducialNode
    movingNodules: vtkMRMLMarkupsFiducialNode
    fixedMask: Mask
    movingMask: Mask
    initialTransform: vtkMRMLTransformNode
    correctionFixed: vtkMRMLMarkupsFiducialNode
    correctionMoving: vtkMRMLMarkupsFiducialNode

    makeTransform: bool = True
    makeVolume: bool = True
    makeNodulesInFixed: bool = True
    makeNodulesInMoving: bool = True
    outputTransform: vtkMRMLGridTransformNode
    outputVolume: vtkMRMLScalarVolumeNode
    nodulesInFixed: vtkMRMLMarkupsFiducialNode
    nodulesInMoving: vtkMRMLMarkupsFiducialNode

    task: str = ""  # the last one chosen; its settings are those below
    keepNodules: bool = True
    preset: Annotated[str, Choice(list(ABOUT["name"].values))] = DEFAULTS.name
    device: str = DEFAULTS.device
    preview: bool = True
    align: Annotated[str, Choice(list(ABOUT["align"].values))] = DEFAULTS.align
    features: Annotated[str, Choice(list(ABOUT["features"].values))] = DEFAULTS.features
    encoder: str = DEFAULTS.encoder
    checkpoint: str = ""
    reduction: Annotated[str, Choice(list(ABOUT["reduction"].values))] = DEFAULTS.reduction
    sliceSize: Annotated[str, Choice([size.value for size in SLICE_SIZES])] = "auto"
    sliceStep: Annotated[int, WithinRange(*ABOUT["encoder_slice_step"].shown)] = 0
    spacing: Annotated[float, WithinRange(*ABOUT["spacing"].shown)] = 0.0
    searchRange: Annotated[float, WithinRange(*ABOUT["search_range"].shown)] = DEFAULTS.search_range
    threads: Annotated[int, WithinRange(*ABOUT["threads"].shown)] = 0
    seed: Annotated[int, WithinRange(*ABOUT["seed"].shown)] = DEFAULTS.seed

    checkTransform: vtkMRMLTransformNode
    checkFixed: vtkMRMLScalarVolumeNode
    checkMoving: vtkMRMLScalarVolumeNode
    checkBack: vtkMRMLTransformNode
    checkSecond: vtkMRMLTransformNode  # moving points to a third scan's
    checkDirect: vtkMRMLTransformNode  # fixed points to that scan's
    checkFixedStructures: vtkMRMLSegmentationNode
    checkMovingStructures: vtkMRMLSegmentationNode
    checkSegment: str = ""
    checkFixedLandmarks: vtkMRMLMarkupsFiducialNode
    checkMovingLandmarks: vtkMRMLMarkupsFiducialNode
    checkTable: vtkMRMLTableNode
    checkOpacity: Annotated[float, WithinRange(0, 100)] = 50.0
    checkSpacing: Annotated[float, WithinRange(2, 50)] = 15.0

    reviewTable: vtkMRMLTableNode
    matchTable: vtkMRMLTableNode
    measureTable: vtkMRMLTableNode
    matchDistance: Annotated[float, WithinRange(0.1, 100)] = 10.0
    daysBetween: Annotated[float, WithinRange(-36500, 36500)] = 0.0

    sequence: Study
    sequenceReference: Annotated[int, WithinRange(0, 1000000)] = 0  # frames count from 1
    sequenceNodules: vtkMRMLMarkupsFiducialNode
    sequenceMask: Mask
    makeWarpedFrames: bool = True
    sequenceFixed: vtkMRMLScalarVolumeNode
    sequenceWarped: vtkMRMLSequenceNode
    sequenceTable: vtkMRMLTableNode
    sequenceChart: vtkMRMLPlotChartNode
    sequenceAmplitude: vtkMRMLTableNode

    followUpScan: vtkMRMLScalarVolumeNode
    followUpNodules: vtkMRMLMarkupsFiducialNode
    followUpSequence: vtkMRMLSequenceNode
    followUpScans: vtkMRMLTableNode
    followUpReference: str = ""  # the date of a scan; the newest where empty
    followUpTable: vtkMRMLTableNode
    followUpCells: vtkMRMLTableNode
    followUpGrowth: vtkMRMLTableNode
    followUpChart: vtkMRMLPlotChartNode
    followUpDecisions: vtkMRMLTableNode
    reader: str = ""  # whose decisions are made now

    qaSegmentation: vtkMRMLSegmentationNode
    qaOther: vtkMRMLSegmentationNode
    qaPurpose: str = ""
    qaRegion: str = ""
    qaAccuracy: Annotated[float, WithinRange(0, 50)] = 0.0  # mm
    qaLevel: str = ""
    qaRemarks: str = ""
