"""The report of a registration in the scene, made beside Slicer by `glidereg report`. No Qt.

report = SceneReport(sys.executable)
report.start(ReportInputs(fixedNode, movingNode, transformNode, [noduleTask]), "/data/report.html")
while (page := report.poll()) is None and not report.failure:
    ...                 # from a timer
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.report.folder import ReportInputs, writeReportFolder


class SceneReport(SceneTask):
    """Makes one report at a time. python: an interpreter that has the engine. failure: why there is none."""

    WHAT = "report"

    def start(self, inputs: ReportInputs, page: str | PathLike, temporaryFolder: str | None = None) -> None:
        """Writes the nodes to files and starts the process that makes the page (.html) of them.

        Raises InputError, with nothing left behind, for nodes that cannot be used and while one is made.
        """

        def prepare(folder: Path) -> list[str]:
            writeReportFolder(inputs, folder)
            return ["report", str(folder), "-o", str(self._page), "--quiet"]

        if not self.active:
            self._page = Path(page).absolute()
        self._command.start(prepare, temporaryFolder)

    def poll(self) -> Path | None:
        """The page once it is made; None before, and where `failure` says why it could not be."""
        return self._command.poll(lambda folder: self._page)
