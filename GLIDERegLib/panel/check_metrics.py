"""What "Compute metrics" on the page "Check" makes: maps, and a table of numbers, as far as inputs allow."""

from __future__ import annotations

from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.scene.quality.maps import showMaps
from GLIDERegLib.scene.quality.measures import measure
from GLIDERegLib.scene.quality.numbers import Row, fieldRows, fillTable, insideOf, landmarkRows, overlapRows
from GLIDERegLib.scene.registration.pair import Pair

TABLE = "vtkMRMLTableNode"


def computeMetrics(pair: Pair, node) -> list[str]:
    """Makes the maps and fills the table of a parameter node; returns what was left out, in sentences."""
    problems: list[str] = []
    measures = measure(pair)
    rows = fieldRows(measures, _("body"), measures.body)

    def landmarks(fixed, moving) -> list[Row]:
        found, leftOut = landmarkRows(pair, fixed, moving)
        problems.extend(leftOut)
        return found

    fixed, moving = node.checkFixedStructures, node.checkMovingStructures
    for given, make in (
        ((fixed,), lambda s: fieldRows(measures, *insideOf(measures, s, node.checkSegment))),
        ((fixed, moving), lambda a, b: overlapRows(pair, a, b)),
        ((node.checkFixedLandmarks, node.checkMovingLandmarks), landmarks),
    ):
        if None in given:
            continue
        try:
            rows += make(*given)
        except InputError as error:
            problems.append(said(error))
    showMaps(pair, measures)
    table = node.checkTable
    if table is None:
        scene = pair.transform.GetScene()
        name = scene.GenerateUniqueName(f"Numbers of {pair.transform.GetName()}")
        table = scene.AddNewNodeByClass(TABLE, name)
    fillTable(table, rows, pair, measures)
    # Once it is filled, for a view gives widths to the columns that it has.
    node.checkTable = table
    return problems
