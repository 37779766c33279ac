"""Colour tables of the maps, each a colour node of the scene that is made when first needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

COLORS = 256
# Ends and middle of the cool-warm map: Moreland, Diverging Color Maps for Scientific Visualization, ISVC
# 2009.
LESS, NEUTRAL, MORE = (0.230, 0.299, 0.754), (0.865, 0.865, 0.865), (0.706, 0.016, 0.150)
FOLDED = (1.0, 0.9, 0.0)
HATCHED = (0.6, 0.6, 0.6)
# Dark to light at equal steps of perceived lightness (viridis).
RISING = (
    (0.267, 0.005, 0.329),
    (0.254, 0.265, 0.530),
    (0.164, 0.471, 0.558),
    (0.128, 0.567, 0.551),
    (0.267, 0.749, 0.441),
    (0.741, 0.873, 0.150),
    (0.993, 0.906, 0.144),
)
# Of the fixed and the warped scan where both are seen at once: they add up to white, so that what is equal is
# grey. Orange and blue differ in the opponent colour that readers with a red-green deficiency keep.
FIXED_TINT, WARPED_TINT = (1.0, 0.5, 0.0), (0.0, 0.5, 1.0)
# The Jacobian's colours reach from one step below 0, the one that folds, to 4, as its legend does.
LARGEST_JACOBIAN = 4.0
JACOBIAN_RANGE = (-LARGEST_JACOBIAN / (COLORS - 2), LARGEST_JACOBIAN)
# The Jacobian's legend reaches from 1/4 to 4; with more colours for each doubling its letters are too small.
LEGEND_OCTAVES, LEGEND_STEPS = 2, 2
ATTRIBUTE = "GLIDEReg.Colors"


def risingColors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """From dark for small values to light for large ones."""
    return _node(scene, "Small to large", _rising())


def hatchedColors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """As `risingColors`, but grey for the lowest value, which stands for what is not known."""
    return _node(scene, "Small to large, or unknown", np.vstack([[HATCHED], _rising()[1:]]))


def risingLegendColors() -> slicer.vtkMRMLColorTableNode:
    """Those of `risingColors` in a new node, in no scene yet."""
    return _table(_rising())


def _rising() -> np.ndarray:
    position = np.linspace(0, 1, COLORS)
    stops = np.linspace(0, 1, len(RISING))
    return np.stack([np.interp(position, stops, c) for c in np.transpose(RISING)], 1)


def divergingColors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """Blue below the middle, grey there, red above."""
    return _node(scene, "Less to more", diverging(np.linspace(-1, 1, COLORS)))


def tintColors(scene: slicer.vtkMRMLScene, tint: tuple[float, float, float]) -> slicer.vtkMRMLColorTableNode:
    """From black to a tint, at equal steps."""
    name = "Fixed in two colours" if tint == FIXED_TINT else "Warped in two colours"
    return _node(scene, name, np.linspace(0, 1, COLORS)[:, None] * np.asarray(tint))


def jacobianColors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """For Jacobian determinants in JACOBIAN_RANGE: grey at 1, as blue at 1/n as red at n, yellow where it
    folds.
    """
    value = np.linspace(*JACOBIAN_RANGE, COLORS)
    colors = diverging(np.log(np.maximum(value, 1e-6)) / np.log(LARGEST_JACOBIAN))
    colors[0] = FOLDED
    return _node(scene, "Jacobian determinant", colors)


def jacobianLegendColors() -> slicer.vtkMRMLColorTableNode:
    """The colours of `jacobianColors` at equal steps of the determinant's logarithm, 1 in the middle, some
    named by their value; at the lower end, in place of what is below 0.3, the colour of what folds. A new
    node, in no scene yet.
    """
    octave = np.arange(-LEGEND_OCTAVES * LEGEND_STEPS, LEGEND_OCTAVES * LEGEND_STEPS + 1) / LEGEND_STEPS
    colors = diverging(octave * np.log(2) / np.log(LARGEST_JACOBIAN))
    marked = octave % 0.5 == 0
    names = [f"{2**value:.2g}" if mark else "" for value, mark in zip(octave, marked, strict=True)]
    folded = octave < -LEGEND_OCTAVES + 0.5 - 0.5 / LEGEND_STEPS
    colors[folded], names[0] = FOLDED, "folds"
    return _table(colors, names)


def diverging(position: np.ndarray) -> np.ndarray:
    """Colours (N, 3) from -1, less, over 0, neutral, to 1, more; beyond, the colours of the ends."""
    return np.stack(
        [np.interp(position, (-1, 0, 1), c) for c in zip(LESS, NEUTRAL, MORE, strict=True)], axis=1
    )


def _node(scene: slicer.vtkMRMLScene, name: str, colors: np.ndarray) -> slicer.vtkMRMLColorTableNode:
    found = scene.GetNodesByClassByName("vtkMRMLColorTableNode", name)
    found.UnRegister(None)
    for index in range(found.GetNumberOfItems()):
        if found.GetItemAsObject(index).GetAttribute(ATTRIBUTE):
            return found.GetItemAsObject(index)
    node = _table(colors)
    node.SetName(name)
    node.SetAttribute(ATTRIBUTE, "1")
    return scene.AddNode(node)


def _table(colors: np.ndarray, names: Sequence[str] = ()) -> slicer.vtkMRMLColorTableNode:
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetNumberOfColors(len(colors))
    for index, color in enumerate(colors):
        node.SetColor(index, *map(float, color), 1.0)
    for index, text in enumerate(names):
        node.SetColorName(index, text)
    return node
