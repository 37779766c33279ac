"""Stands in for the Python that registers: tells a registration that was planned. The probe is answered
before this is started; see `support.SHELL`.

    python fake_worker.py FOLDER -m GLIDERegLib.worker REQUEST --stay

FOLDER/plan.json says what is to happen (see `steps` below); the request is copied into FOLDER.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def main(folder: Path, module: str, *arguments: str) -> None:
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    if module == "GLIDERegLib.worker":
        shutil.copy(arguments[0], folder / "request.json")
        Registration(folder, plan).run()
    elif module == "GLIDERegLib" and arguments[:2] == ("--json-errors", "measure"):
        measure(Path(arguments[4]), Path(arguments[6]))
    elif module == "GLIDERegLib" and arguments[:2] == ("--json-errors", "consistency"):
        consistency(folder, dict(zip(arguments[2::2], arguments[3::2], strict=True)))
    else:
        sys.exit(f"nobody planned {module}")


def consistency(folder: Path, options: dict) -> None:
    """Leaves the figures and the transform that a test has put into FOLDER, once it holds no file `hold`; of
    three transforms the figures alone, and copies of what it was given.
    """
    for option in ("--transform", "--second", "--direct") if "--second" in options else ():
        shutil.copy(options[option], folder / f"{option[2:]}.h5")
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    while (folder / "hold").exists():
        time.sleep(0.02)
    if "--second" in options:
        shutil.copy(folder / "transitivity.json", options["-o"])
        return
    for option, name in (("-o", "consistency.json"), ("--keep-backward", "backward.h5")):
        shutil.copy(folder / name, options[option])


def measure(points: Path, table: Path) -> None:
    """Says of every point that a nodule of 250 mm³ is there."""
    sizes = {
        "volume_mm3": 250, "volume_low_mm3": 225, "volume_high_mm3": 275, "long_mm": 8.2, "short_mm": 7.4,
        "mean_mm": 7.8, "status": "measured", "mean_low_mm": 7.5, "mean_high_mm": 8.1,
        "mean_hu": 40, "attenuation": "solid", "touches_vessel": "false", "touches_pleura": "false",
        "pixel_mm": 0.7, "slice_mm": 1.0, "noise_hu": 20,
    }  # fmt: skip
    comment, header, *rows = points.read_text(encoding="utf-8").splitlines()
    told = [",".join([header, *sizes]), *(",".join([row, *map(str, sizes.values())]) for row in rows)]
    table.write_text("\n".join([comment, *told]) + "\n", encoding="utf-8")


class Registration:
    """Each step of the plan is the name of a method here, and what it is given."""

    def __init__(self, folder: Path, plan: dict):
        self.folder, self.steps = folder, plan["steps"]
        self.recording = Path(plan["recording"])
        self.request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        self.kept = False
        self.number = 0

    def run(self) -> None:
        for name, *given in self.steps:
            getattr(self, name)(*given)

    def tell(self, event: str, **content) -> None:
        print(json.dumps({"event": event, **content}), flush=True)

    def device(self, name: str) -> None:
        self.tell("device", kind="cpu", name=name)

    def progress(self, stage: str, overall: float) -> None:
        self.tell("progress", stage=stage, fraction=0.5, overall=overall, message="")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self) -> None:
        """Until it is to end: by itself where cancelled, with the next step where kept."""
        while not Path(self.request["cancel_file"]).exists():
            if Path(self.request["keep_file"]).exists():
                self.kept = True
                return
            time.sleep(0.02)
        self.tell("error", kind="cancelled", message="Cancelled.", hint="", code="cancelled")
        sys.exit(130)

    def stubborn(self) -> None:
        """Heeds nothing, and neither does what it starts."""
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        (self.folder / "child").write_text(str(child.pid))
        self.progress("refinement", 0.5)
        time.sleep(600)

    def preview(self, which: int) -> None:
        self.number += 1
        field = self.copied(self.told()["previews"][which], f"preview_{self.number}.npy")
        self.tell("preview", number=self.number, field=field)

    def lose(self) -> None:
        """The newest preview's file goes, as when newer ones have come."""
        Path(self.request["output"], f"preview_{self.number}.npy").unlink()

    def result(self, damaged: bool = False) -> None:
        told = self.told()["result"]
        content = {**told, "kept": self.kept, "report": {**told["report"], "stopped_early": self.kept}}
        for name in ("field", "warped"):
            content[name] = self.copied(told[name], f"{name}.npy")
        if damaged:
            os.truncate(content["warped"]["file"], 1000)
        self.tell(**content)

    def error(self, kind: str, message: str, hint: str) -> None:
        self.tell("error", kind=kind, message=message, hint=hint, code=kind)
        sys.exit(1)

    def told(self) -> dict:
        return json.loads((self.recording / "told.json").read_text(encoding="utf-8"))

    def copied(self, entry: dict, name: str) -> dict:
        file = Path(self.request["output"], name)
        shutil.copy(entry["file"], file)
        return {**entry, "file": str(file)}


if __name__ == "__main__":
    # argv: this file, the folder, "-m", the module, its arguments
    main(Path(sys.argv[1]), sys.argv[3], *sys.argv[4:])
