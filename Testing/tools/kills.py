"""Cancels and kills `glidereg register` and `glidereg cohort` at random moments, and looks at what is left.

    python Testing/tools/kills.py --cancels 40 --kills 20 --seed 1

Moments are drawn from the length that the latest undisturbed run had; a signal that comes after the end of a
run, or before Python has begun, is sent again, so that the numbers asked for are of interrupted runs. Prints
a JSON summary: counts of endings, and every fault found (an empty list is what is wanted). POSIX only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

RESULTS = ("report.json", "transform.h5", "warped.nii.gz")
MARKER = "GLIDEREG_KILLS_MARKER"
GONE_SECONDS = 5.0
# A run that others slow down or speed up may be missed; of those asked for, so many times as many are tried.
MOST_TRIES = 3
OPTIONS = ("--preset", "fast", "--features", "local", "--threads", "1", "--quiet")


def make_pair(folder: Path) -> None:
    """Writes a phantom pair of 48 x 48 x 40 voxels of 8 mm, and a list with the pair and its reverse."""
    from GLIDERegLib.evaluation.demo import write_pair
    from GLIDERegLib.evaluation.phantom import make_phantom

    write_pair(make_phantom((48, 48, 40), (8.0, 8.0, 8.0)), folder)
    with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        images = ("fixed.nii.gz", "moving.nii.gz")
        csv.writer(file).writerows([("name", "fixed", "moving"), ("a", *images), ("b", *reversed(images))])


def command(kind: str, data: Path, out: Path) -> list[str]:
    """The command line of a `register` or a `cohort` on the data of `make_pair`."""
    given = ["fixed.nii.gz", "moving.nii.gz"] if kind == "register" else ["pairs.csv"]
    options = [*OPTIONS, *(["--sequential"] if kind == "cohort" else [])]
    paths = [str(data / name) for name in given]
    return [sys.executable, "-m", "GLIDERegLib", kind, *paths, "-o", str(out), *options]


class Ended(NamedTuple):
    """How a command ended: exit status, standard error, whether the signal was sent before the end, the
    processes that were left (ended here), and how long it took.
    """

    status: int
    text: str
    sent: bool
    left: list[str]
    seconds: float


def run_until(line: list[str], number: int | None, after: float) -> Ended:
    """Runs a command and sends its main process alone a signal after some seconds (None: never)."""
    mark, begin = uuid.uuid4().hex, time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            line,
            env={**os.environ, MARKER: mark},
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        sent = False
        try:
            process.wait(timeout=None if number is None else after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            sent = True
        status, seconds = process.wait(timeout=60), time.monotonic() - begin
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
    end = time.monotonic() + GONE_SECONDS
    while (left := _marked(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    names = [" ".join(_command_line(one))[:200] for one in left]
    for one in left:
        with suppress(psutil.Error):
            one.kill()
    return Ended(status, text, sent, names, seconds)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _command_line(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return ["?"]


def damage(folder: Path, *, results: tuple[str, ...] = RESULTS) -> str | None:
    """What is wrong with a folder of results: some but not all files, or one that cannot be read."""
    import SimpleITK as sitk

    there = [name for name in results if (folder / name).exists()]
    if not there:
        return None
    if len(there) < len(results):
        return f"only {there} in '{folder.name}'"
    try:
        json.loads((folder / "report.json").read_text(encoding="utf-8"))
        sitk.ReadTransform(str(folder / "transform.h5"))
        sitk.ReadImage(str(folder / "warped.nii.gz"))
    except Exception as error:
        return f"unreadable in '{folder.name}': {error}"
    return None


def hidden(root: Path) -> list[Path]:
    """Temporary files and folders of GLIDE-Reg anywhere below a folder."""
    return sorted(root.rglob(".glidereg-*"))


class Try(NamedTuple):
    """How a signal's run ended, in words, whether the signal interrupted it, the faults found, and the length
    of a run that came to its end; None of others.
    """

    ending: str
    interrupted: bool
    faults: list[str]
    whole: float | None


def attempt(kind: str, data: Path, root: Path, number: int, after: float) -> Try:
    """One signal at one moment, in the new folder `root`."""
    out, temporary = root / "out", root / "tmp"
    temporary.mkdir(parents=True)
    os.environ["TMPDIR"] = str(temporary)
    status, text, sent, left, seconds = run_until(command(kind, data, out), number, after)
    faults = [f"process left: {name}" for name in left]
    folders = [out] if kind == "register" else [out / "a", out / "b"]
    faults += [fault for folder in folders if (fault := damage(folder))]
    if sorted(path.name for path in root.iterdir() if path != out) != ["tmp"]:
        faults.append(f"beside the output: {sorted(path.name for path in root.iterdir())}")
    ending = "finished" if status == 0 else f"status {status}"
    interrupted = sent and status in (130, -signal.SIGKILL)
    if number != signal.SIGKILL:
        faults += [f"left behind: {path.relative_to(root)}" for path in (*hidden(root), *temporary.iterdir())]
        if kind == "register" and status and out.exists():
            faults.append("cancelled, but the output folder is there")
        # Before Python has taken over the signals, the system's own ending is right, if nothing exists yet.
        early = not out.exists() and (status == -number or (status == 1 and "KeyboardInterrupt" in text))
        if early:
            ending = "before the start"
        elif status not in (0, 130):
            faults.append(f"exit status {status}: {text[-300:]}")
    elif sent and hidden(root):
        ending += ", hidden folder left"
    return Try(ending, interrupted, faults, None if sent else seconds)


def measure(kind: str, data: Path, root: Path) -> float:
    """Seconds of an undisturbed run; the second counts, because the first may compile."""
    for _ in range(2):
        ended = run_until(command(kind, data, root / f"{kind}-whole"), None, 0)
        if ended.status:
            sys.exit(f"undisturbed: status {ended.status}: {ended.text[-300:]}")
        shutil.rmtree(root / f"{kind}-whole")
    return ended.seconds


def campaign(
    kind: str,
    data: Path,
    root: Path,
    duration: float,
    wanted: list[signal.Signals],
    rng: random.Random,
    until: float,
) -> dict:
    """Interrupts a run by each signal, at moments uniform over the length of a run, `duration` s at first;
    none starts after time `until`.
    """
    faults: list[str] = []
    endings: dict[str, Counter] = {"cancel": Counter(), "kill": Counter()}
    interrupted: Counter = Counter(dict.fromkeys(endings, 0))
    reruns, waiting, lengths = 0, list(wanted), [duration]
    for index in range(MOST_TRIES * len(wanted)):
        if not waiting or (index and time.monotonic() > until):
            break
        number = waiting.pop(0)
        what = "kill" if number == signal.SIGKILL else "cancel"
        after, place = rng.uniform(0, lengths[-1]), root / f"{kind}{index}"
        ending, hit, found, whole = attempt(kind, data, place, number, after)
        endings[what][ending] += 1
        interrupted[what] += hit
        waiting += [] if hit else [number]
        lengths += [whole] if whole is not None else []
        # What a kill left must be gone after the next run; the first of each sort of ending shows that.
        if hidden(place) or endings[what][ending] == 1:
            reruns += 1
            faults_after, whole = rerun(kind, data, place)
            found += faults_after
            lengths += [whole] if ending != "finished" else []
        faults += [f"{kind}, {number.name} after {after:.2f} s: {fault}" for fault in found]
        shutil.rmtree(place)
    return {
        "seconds of a run": [round(min(lengths), 2), round(max(lengths), 2)],
        "interrupted": {f"{what}s": count for what, count in interrupted.items()},
        **{f"{what}s": dict(sorted(count.items())) for what, count in endings.items()},
        "reruns": reruns,
        "faults": faults,
    }


def signals(cancels: int, kills: int, rng: random.Random) -> list[signal.Signals]:
    """That many cancels (half of them SIGTERM) and kills, shuffled."""
    both = [signal.SIGINT, signal.SIGTERM] * (cancels // 2 + 1)
    tries = both[:cancels] + [signal.SIGKILL] * kills
    rng.shuffle(tries)
    return tries


def rerun(kind: str, data: Path, root: Path) -> tuple[list[str], float]:
    """The same command again, undisturbed: the faults found after it, and the seconds that it took."""
    ended = run_until(command(kind, data, root / "out"), None, 0)
    folders = [root / "out"] if kind == "register" else [root / "out" / name for name in "ab"]
    faults = [f"rerun: {name}" for name in ended.left]
    faults += [f"rerun: {fault}" for folder in folders if (fault := damage(folder))]
    if ended.status or not all((folder / name).exists() for folder in folders for name in RESULTS):
        faults.append(f"rerun: status {ended.status}: {ended.text[-300:]}")
    faults += [f"still there after a rerun: {path.relative_to(root)}" for path in hidden(root)]
    return faults, ended.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cancels", type=int, default=100)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop starting tries after this")
    options = parser.parse_args()
    rng, begin = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        make_pair(data)
        summary = {}
        for kind, share, part in (("cohort", 1 / 3, 0.45), ("register", 2 / 3, 1.0)):
            count = [round(share * number) for number in (options.cancels, options.kills)]
            duration = measure(kind, data, Path(folder))
            summary[kind] = campaign(
                kind, data, Path(folder), duration, signals(*count, rng), rng, begin + part * options.seconds
            )
    print(json.dumps(summary, indent=2))
    sys.exit(any(one["faults"] for one in summary.values()))


if __name__ == "__main__":
    main()
