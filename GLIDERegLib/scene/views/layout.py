"""Slice views of our own for a check, fixed | warped | moving, beside the user's ordinary layout."""

from __future__ import annotations

import slicer
import slicer.util
import vtk

# Columns: the views' title, short label, colour, and the group whose views move together. Fixed and warped
# scan lie in the same place; the moving scan, unwarped, does not.
FIXED, WARPED, MOVING = "Fixed", "Warped", "Moving"
COLUMNS = {
    FIXED: ("F", "#3C8DC8", 731),
    WARPED: ("W", "#8A6FC8", 731),
    MOVING: ("M", "#C87A3C", 732),
}
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
ALL = "All"
# Slicer leaves numbers above 100 to layouts that modules add.
LAYOUTS = {"Axial": 7311, "Coronal": 7312, "Sagittal": 7313, ALL: 7314}
# Of every layout and view of ours.
OURS, PREFIX = range(7300, 7400), "GLIDEReg"


def viewName(column: str, orientation: str) -> str:
    """The layout name of a view, for slicer.app.layoutManager().sliceWidget(name)."""
    return f"{PREFIX}{column}{orientation}"


def layoutDescription(orientations: tuple[str, ...]) -> str:
    """The XML of a layout with a row of three views for each orientation."""
    rows = "".join(
        '<item><layout type="horizontal">'
        + "".join(_view(column, orientation) for column in COLUMNS)
        + "</layout></item>"
        for orientation in orientations
    )
    return f'<layout type="vertical">{rows}</layout>'


def _view(column: str, orientation: str) -> str:
    label, color, group = COLUMNS[column]
    properties = {
        "orientation": orientation,
        "viewlabel": f"{label}-{orientation[0]}",
        "viewcolor": color,
        "viewgroup": group,
    }
    inner = "".join(f'<property name="{k}" action="default">{v}</property>' for k, v in properties.items())
    name = viewName(column, orientation)
    return f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">{inner}</view></item>'


def hasLayouts(scene: slicer.vtkMRMLScene) -> bool:
    """Whether there are views to lay out: none in a Slicer without a main window."""
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode") is not None


class KeptOutOfFiles:
    """Keeps a layout of ours and its views out of saved scenes as long as it is shown: a Slicer that does not
    know the layout, as where the module is not installed or not opened yet, would show no view at all.
    """

    def __init__(self, node: slicer.vtkMRMLLayoutNode):
        self._node = node
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update)
        self._update()

    def close(self) -> None:
        self._node.RemoveObserver(self._tag)
        self._node.SetSaveWithScene(True)

    def _update(self, caller=None, event=None) -> None:
        self._node.SetSaveWithScene(self._node.GetViewArrangement() not in OURS)
        for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            for view in slicer.util.getNodesByClass(kind, self._node.GetScene()):
                if (view.GetLayoutName() or "").startswith(PREFIX):
                    view.SetSaveWithScene(False)


class SideBySide:
    """The layout of a check: shown on request, and the layout before it afterwards.

    Nothing of the user's views is changed; ours stay in the scene, unseen, as Slicer keeps those of any
    layout.
    """

    def __init__(self, scene: slicer.vtkMRMLScene):
        self._scene = scene
        self._before: int | None = None
        self._orientations: tuple[str, ...] = ()
        self._unsaved: KeptOutOfFiles | None = None

    @property
    def shown(self) -> bool:
        """Whether one of our layouts is what the user sees."""
        node = self._layoutNode()
        return bool(self._orientations) and node is not None and node.GetViewArrangement() in LAYOUTS.values()

    def show(self, choice: str) -> None:
        """Shows a row of views, "Axial", "Coronal" or "Sagittal", or "All" three rows; nothing without
        layouts.
        """
        if not hasLayouts(self._scene):
            return
        node = self._layoutNode()
        if node.GetViewArrangement() not in LAYOUTS.values():
            self._before = node.GetViewArrangement()
        self._orientations = ORIENTATIONS if choice == ALL else (choice,)
        xml = layoutDescription(self._orientations)
        if not node.IsLayoutDescription(LAYOUTS[choice]):
            node.AddLayoutDescription(LAYOUTS[choice], xml)
        node.SetViewArrangement(LAYOUTS[choice])
        self._unsaved = self._unsaved or KeptOutOfFiles(node)
        for composite in self.composites(FIXED) + self.composites(WARPED):
            composite.SetLinkedControl(True)

    def close(self) -> None:
        """The layout that was there before, unless the user has chosen another meanwhile."""
        if self.shown:
            node = self._layoutNode()
            node.SetViewArrangement(node.SlicerLayoutFourUpView if self._before is None else self._before)
        if self._unsaved is not None:
            self._unsaved.close()
            self._unsaved = None
        self._orientations = ()

    def views(self, *columns: str) -> list[slicer.vtkMRMLSliceNode]:
        """The slice nodes of columns, those that are shown."""
        wanted = {viewName(column, orientation) for column in columns for orientation in self._orientations}
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode", self._scene)
        return [node for node in nodes if node.GetLayoutName() in wanted]

    def composites(self, column: str) -> list[slicer.vtkMRMLSliceCompositeNode]:
        """What the views of a column show."""
        return compositesOf(self.views(column))

    def _layoutNode(self) -> slicer.vtkMRMLLayoutNode | None:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def compositesOf(views: list[slicer.vtkMRMLSliceNode]) -> list[slicer.vtkMRMLSliceCompositeNode]:
    """The nodes that say which volumes slice views show."""
    found = [slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view) for view in views]
    return [composite for composite in found if composite is not None]


def ordinaryViews(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSliceNode]:
    """The slice views that the user sees outside our layouts."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode", scene)
    return [n for n in nodes if n.IsMappedInLayout() and not n.GetLayoutName().startswith(PREFIX)]


def sameScale(applicationLogic, views: list[slicer.vtkMRMLSliceNode]) -> None:
    """Fits each view to its scan, and then all to the largest of them: one centimetre is as long in each."""
    for view in views:
        if logic := applicationLogic.GetSliceLogic(view):
            logic.FitSliceToBackground()
    scale = max((_mmPerPixel(view) for view in views), default=0.0)
    for view in views:
        width, height, _ = view.GetDimensions()
        view.SetFieldOfView(width * scale, height * scale, view.GetFieldOfView()[2])


def _mmPerPixel(view: slicer.vtkMRMLSliceNode) -> float:
    return view.GetFieldOfView()[0] / max(1, view.GetDimensions()[0])
