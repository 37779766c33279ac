"""The list of tasks on the page "Register": sets what fits one, and says what it has set."""

from __future__ import annotations

from collections.abc import Callable

import slicer.util
from slicer.i18n import tr as _

from GLIDERegLib.core.settings import Settings
from GLIDERegLib.core.tasks import TASKS, Task
from GLIDERegLib.panel.choices import ABOUT, ChoiceBox

# The parameters that hold what a task may set, by the setting's name; each task sets all of them.
PARAMETERS = {"align": "align", "search_range": "searchRange", "spacing": "spacing", "features": "features"}
NONE = ""


class TaskSection:
    """ui: the widgets of GLIDEReg.ui. node: called for the parameter node, None without a scene."""

    def __init__(self, ui, node: Callable[[], object | None]):
        self.ui, self._node = ui, node
        offered = [(NONE, _("Any"), _("Settings as you choose them."))]
        offered += [(task.name, _(task.title), f"{_(task.text)} {_(task.reason)}") for task in TASKS.values()]
        self._box = ChoiceBox(ui.taskCombo, offered, self.choose)

    def choose(self, name: str) -> None:
        """Sets what fits a task; what it does not name goes back to the default. NONE sets nothing."""
        node = self._node()
        if node is None:
            return
        with slicer.util.NodeModify(node.parameterNode):
            node.task = name
            if name != NONE:
                for parameter, value in parametersOf(TASKS[name]).items():
                    setattr(node, parameter, value)

    def show(self) -> None:
        """The task that the parameter node has, and what of it is no longer so."""
        node = self._node()
        name = node.task if node is not None and node.task in TASKS else NONE
        self._box.show(name)
        label = self.ui.taskTextLabel
        label.visible = name != NONE
        if name == NONE:
            return
        task = TASKS[name]
        label.text = _(task.text)
        if changed := self._changed(node, task):
            label.text += " " + _("Changed since: {names}.").format(names=", ".join(changed))
        label.toolTip = _(task.reason)

    def _changed(self, node, task: Task) -> list[str]:
        titles = {parameter: _(ABOUT[setting].title) for setting, parameter in PARAMETERS.items()}
        titles["keepNodules"] = _("Marked nodules keep their size")
        return [titles[name] for name, value in parametersOf(task).items() if getattr(node, name) != value]


def parametersOf(task: Task) -> dict:
    """What a task sets, by the name of the parameter."""
    settings = Settings(**task.changes)
    found = {parameter: getattr(settings, setting) for setting, parameter in PARAMETERS.items()}
    # 0 stands for automatic where a number may be left open.
    return {name: 0.0 if value is None else value for name, value in found.items()} | {
        "keepNodules": task.keeps_nodules
    }
