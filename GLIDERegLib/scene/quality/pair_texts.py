"""Texts that the scene keeps of two scans and their transform: text nodes in the transform's folder."""

from __future__ import annotations

import json
from typing import Any

import slicer
import slicer.util

from GLIDERegLib.scene.quality.landmark_nodes import ROLES
from GLIDERegLib.scene.quality.locks import transformLock
from GLIDERegLib.scene.quality.maps import TRANSFORM_ROLE, putIntoFolder
from GLIDERegLib.scene.registration.pair import Pair

TEXT, KIND = "vtkMRMLTextNode", "GLIDEReg.Text"


def textsOf(pair: Pair, kind: str) -> list[slicer.vtkMRMLTextNode]:
    """The pair's texts of a kind, in the order they came into the scene."""
    of = [pair.fixed, pair.moving, pair.transform]
    return [
        node
        for node in slicer.util.getNodesByClass(TEXT, pair.fixed.GetScene())
        if node.GetAttribute(KIND) == kind
        and [node.GetNodeReference(role) for role in (*ROLES.values(), TRANSFORM_ROLE)] == of
    ]


def keptOf(pair: Pair, kind: str) -> dict[str, Any] | None:
    """What a text of the kind holds as JSON of the transform as it is now; None where none does."""
    for node in textsOf(pair, kind):
        try:
            kept = json.loads(node.GetText())
        except ValueError:
            continue
        if kept.get("transform") == transformLock(pair):
            return kept
    return None


def addText(pair: Pair, kind: str, name: str, text: str) -> slicer.vtkMRMLTextNode:
    """Keeps another text."""
    scene = pair.fixed.GetScene()
    node = scene.AddNewNodeByClass(TEXT, scene.GenerateUniqueName(name))
    node.SetAttribute(KIND, kind)
    of = zip((*ROLES.values(), TRANSFORM_ROLE), (pair.fixed, pair.moving, pair.transform), strict=True)
    for role, one in of:
        node.SetNodeReferenceID(role, one.GetID())
    node.SetText(text)
    putIntoFolder(node, pair.transform)
    return node


def keepText(pair: Pair, kind: str, name: str, text: str) -> slicer.vtkMRMLTextNode:
    """Keeps a text in place of the pair's earlier one of the kind."""
    found = textsOf(pair, kind)
    if not found:
        return addText(pair, kind, name, text)
    found[-1].SetText(text)
    return found[-1]
