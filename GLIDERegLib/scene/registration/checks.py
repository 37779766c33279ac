"""What to say about the inputs before a registration: why it cannot start, and what to look at twice.

It is asked at every selection, so that large volumes are judged by a sample of their voxels.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GLIDERegLib.core.ct import looks_like_hounsfield
from GLIDERegLib.scene.mrml.geometry import (
    ijkToWorld,
    isLinearlyPlaced,
    isRegularlyPlaced,
    lattice,
    mapPoints,
    standsUnder,
    volumeToWorld,
)

# Choices: voxels that are looked at in no time; spacings beyond those of scans of a body, where a unit may be
# wrong; a scan that takes long.
SAMPLED_VOXELS = 200_000
FINEST_MM, COARSEST_MM, LARGEST_SPACING_RATIO = 0.2, 10.0, 10.0
MANY_VOXELS = 512 * 512 * 1000
# Points along each axis that tell where a volume stands.
BOX_POINTS = 5
LABELMAP = "Binary labelmap"


def defaultVolumes(
    scene: slicer.vtkMRMLScene,
) -> tuple[slicer.vtkMRMLScalarVolumeNode | None, slicer.vtkMRMLScalarVolumeNode | None]:
    """The fixed and the moving volume to propose; None for what the scene does not offer.

    Where DICOM study dates tell, the fixed volume is the newest scan (the follow-up) and the moving one the
    newest of an earlier study (the baseline). Else they are the first and the second in the order of loading.
    CT comes before other volumes; hidden ones, label maps and colour images are left out.
    """
    volumes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
        if not node.GetHideFromEditors()
        and not isinstance(node, slicer.vtkMRMLLabelMapVolumeNode)
        and volumeProblem(node) is None
    ]
    volumes.sort(key=looksLikeCt, reverse=True)
    scans = [node for node in volumes if looksLikeCt(node)]
    if len(scans) < 2:
        scans = volumes
    dated = [node for node in scans if studyDate(node)]
    if dated:
        newest = max(dated, key=studyDate)
        earlier = [node for node in dated if studyDate(node) < studyDate(newest)]
        if earlier:
            return newest, max(earlier, key=studyDate)
    return tuple([*scans[:2], None, None][:2])


def inputProblem(
    fixedVolume: slicer.vtkMRMLVolumeNode | None,
    movingVolume: slicer.vtkMRMLVolumeNode | None,
    fixedMask: slicer.vtkMRMLNode | None,
    movingMask: slicer.vtkMRMLNode | None,
    outputs: Collection,
) -> str | None:
    """Why a registration cannot start, in one sentence for a tooltip; None where it can.

    outputs: whatever is wanted, empty where every output is left out.
    """
    for role, volume in (("fixed", fixedVolume), ("moving", movingVolume)):
        if volume is None:
            return f"Choose the {role} volume."
        if problem := volumeProblem(volume):
            return problem
    for mask in (fixedMask, movingMask):
        if mask is not None and (problem := maskProblem(mask)):
            return problem
    return None if outputs else "Choose at least one output."


def inputWarnings(
    fixedVolume: slicer.vtkMRMLScalarVolumeNode | None,
    movingVolume: slicer.vtkMRMLScalarVolumeNode | None,
    fixedMask: slicer.vtkMRMLNode | None = None,
    movingMask: slicer.vtkMRMLNode | None = None,
    initialTransform: slicer.vtkMRMLTransformNode | None = None,
) -> list[str]:
    """What is unusual about inputs that can be registered, a sentence each; nothing about what is None."""
    chosen = {"fixed": (fixedVolume, fixedMask), "moving": (movingVolume, movingMask)}
    usable = {role: pair for role, pair in chosen.items() if pair[0] and volumeProblem(pair[0]) is None}
    warnings = _pairWarnings(fixedVolume, movingVolume, initialTransform) if len(usable) == 2 else []
    for role, (volume, mask) in usable.items():
        warnings += _volumeWarnings(role, volume)
        if mask is not None and maskProblem(mask) is None and not _overlap(_nodeBox(mask), _box(volume)):
            warnings.append(f"The {role} mask '{mask.GetName()}' lies outside the {role} volume.")
    return warnings


def volumeProblem(volumeNode: slicer.vtkMRMLVolumeNode) -> str | None:
    """Why the volume cannot be registered, in one sentence; None where it can."""
    image, name = volumeNode.GetImageData(), volumeNode.GetName()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        return f"The volume '{name}' is empty: load its image or choose another volume."
    if image.GetNumberOfScalarComponents() != 1:
        return f"The volume '{name}' holds colours or vectors: choose a volume with one value per voxel."
    if min(image.GetDimensions()) < 2:
        return f"The volume '{name}' has only one slice: choose a three-dimensional volume."
    return None


def maskProblem(maskNode: slicer.vtkMRMLNode) -> str | None:
    """Why the segmentation or label map cannot be a mask, in one sentence; None where it can."""
    name = maskNode.GetName()
    if not isinstance(maskNode, slicer.vtkMRMLSegmentationNode):
        if problem := volumeProblem(maskNode):
            return problem
        images = [maskNode.GetImageData()]
    elif segments := visibleSegments(maskNode):
        segmentation = maskNode.GetSegmentation()
        if not segmentation.ContainsRepresentation(LABELMAP):
            return None
        images = [segmentation.GetSegment(segment).GetRepresentation(LABELMAP) for segment in segments]
    else:
        return f"The mask '{name}' shows no segment: switch on a segment, or leave the mask out."
    drawn = [image for image in images if image is not None and image.GetNumberOfPoints()]
    # Far quicker than VTK's scalar range.
    if any(np.count_nonzero(vtk_to_numpy(image.GetPointData().GetScalars())) for image in drawn):
        return None
    return f"The mask '{name}' is empty: draw the region to register, or leave the mask out."


def visibleSegments(segmentationNode: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """The identifiers of the segments that are switched on; all of them where there is no display node."""
    display = segmentationNode.GetDisplayNode()
    identifiers = segmentationNode.GetSegmentation().GetSegmentIDs()
    return [name for name in identifiers if display is None or display.GetSegmentVisibility(name)]


def looksLikeCt(volumeNode: slicer.vtkMRMLVolumeNode) -> bool:
    """True where the intensities look like Hounsfield units of a scan of the chest or abdomen."""
    return looks_like_hounsfield(sampledVoxels(volumeNode))


def sampledVoxels(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """About `SAMPLED_VOXELS` voxels (z, y, x), evenly spread over the volume: a view, nothing is copied."""
    array = slicer.util.arrayFromVolume(volumeNode)
    step = max(1, math.ceil((array.size / SAMPLED_VOXELS) ** (1 / 3)))
    return array[::step, ::step, ::step]


def studyDate(volumeNode: slicer.vtkMRMLVolumeNode) -> str:
    """Date and time of the volume's DICOM study, in an order that sorts; empty where it is not known."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    item = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    if not item:
        return ""
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    names = constants.GetDICOMStudyDateAttributeName(), constants.GetDICOMStudyTimeAttributeName()
    date, time = (hierarchy.GetAttributeFromItemAncestor(item, name) for name in names)
    return date and f"{date} {time}"


def _pairWarnings(fixed, moving, initialTransform) -> list[str]:
    warnings = []
    if fixed is moving:
        warnings.append("The fixed and the moving volume are the same: choose another scan for one of them.")
    elif _sameVoxels(fixed, moving):
        warnings.append(
            "The fixed and the moving volume hold the same image: check that both scans are loaded."
        )
    placed = initialTransform is not None and standsUnder(moving, initialTransform)
    if placed:
        warnings.append(
            f"The moving volume already stands under the initial transform '{initialTransform.GetName()}', "
            "which is therefore applied once, not twice."
        )
    start = None if placed else initialTransform
    if _overlap(_box(fixed), _box(moving, start)):
        return warnings
    if start is None:
        warnings.append(
            "The two volumes do not overlap in space, so an alignment will be attempted first: check that "
            "both show the same part of the body."
        )
    else:
        warnings.append(
            f"The two volumes do not overlap, even under the initial transform '{start.GetName()}': choose "
            "another one, or none to have them aligned."
        )
    return warnings


def _volumeWarnings(role: str, volume: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    warnings = []
    if isLinearlyPlaced(volume):
        spacing = np.linalg.norm(ijkToWorld(volume)[:3, :3], axis=0)
    else:
        spacing = np.asarray(volume.GetSpacing())
    finest, coarsest = spacing.min(), spacing.max()
    if finest < FINEST_MM or coarsest > COARSEST_MM or coarsest > LARGEST_SPACING_RATIO * finest:
        voxel = " x ".join(f"{length:.3g}" for length in spacing)
        warnings.append(f"The {role} volume has voxels of {voxel} mm, which is unusual: check its spacing.")
    if not looksLikeCt(volume):
        sample = sampledVoxels(volume)
        warnings.append(
            f"The values of the {role} volume (about {sample.min():g} to {sample.max():g}) do not look like "
            "CT numbers (HU); GLIDE-Reg is made for CT, so look at the result with care."
        )
    if parent := volume.GetParentTransformNode():
        how = "" if isRegularlyPlaced(volume) else " after resampling, because the transform deforms it"
        warnings.append(
            f"The {role} volume stands under the transform '{parent.GetName()}', which is honoured: it is "
            f"registered where it is shown{how}."
        )
    count = math.prod(volume.GetImageData().GetDimensions())
    if count > MANY_VOXELS:
        warnings.append(
            f"The {role} volume is very large ({count / 1e6:.0f} million voxels): the registration needs "
            "much time and memory."
        )
    return warnings


def _sameVoxels(one: slicer.vtkMRMLVolumeNode, other: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether two volumes agree at every voxel of the sample."""
    same = one.GetImageData().GetDimensions() == other.GetImageData().GetDimensions()
    return same and np.array_equal(sampledVoxels(one), sampledVoxels(other))


def _box(
    volumeNode: slicer.vtkMRMLVolumeNode, transformNode: slicer.vtkMRMLTransformNode | None = None
) -> np.ndarray:
    """Lowest and highest world RAS (2, 3) of the volume, moved by another transform if there is one."""
    high = np.asarray(volumeNode.GetImageData().GetDimensions()) - 0.5
    points = mapPoints(volumeToWorld(volumeNode), lattice(np.full(3, -0.5), high, BOX_POINTS))
    if transformNode is not None:
        toWorld = vtk.vtkGeneralTransform()
        transformNode.GetTransformToWorld(toWorld)
        points = mapPoints(toWorld, points)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _nodeBox(node: slicer.vtkMRMLDisplayableNode) -> np.ndarray:
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    return bounds.reshape(3, 2).T


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.all(np.maximum(one[0], other[0]) < np.minimum(one[1], other[1])))
