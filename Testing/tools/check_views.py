"""For tests and pictures of the check in the host: a layout node that makes views, as in a desktop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def layouts() -> Iterator[object]:
    """While it lasts, the scene has a layout node; yields the function view(name), which draws a view of a
    layout that has been shown.
    """
    import slicer
    from host.views import SliceView, View

    application = slicer.app.applicationLogic()
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    views: dict[str, SliceView] = {}

    class LayoutView(SliceView):
        """Draws a slice node that the layout made."""

        def __init__(self, node):
            self._logic = slicer.vtkMRMLSliceLogic()
            self._logic.SetMRMLApplicationLogic(application)
            application.GetSliceLogics().AddItem(self._logic)
            self._logic.SetMRMLScene(slicer.mrmlScene)
            self._logic.SetSliceNode(node)
            View.__init__(self, application, node)
            self._logic.ResizeSliceNode(*self._size)

    def makeViews(caller=None, event=None) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            name = node.GetLayoutName()
            if name.startswith("GLIDEReg") and name not in views:
                views[name] = LayoutView(node)

    node = logic.GetLayoutNode()
    tag = node.AddObserver("ModifiedEvent", makeViews)
    try:
        yield views.__getitem__
    finally:
        node.RemoveObserver(tag)
        for view in views.values():
            application.GetSliceLogics().RemoveItem(view.sliceLogic())
            composite = view.mrmlSliceCompositeNode()
            slicer.mrmlScene.RemoveNode(view.mrmlSliceNode())
            slicer.mrmlScene.RemoveNode(composite)
        logic.SetMRMLScene(None)
        slicer.mrmlScene.RemoveNode(node)
