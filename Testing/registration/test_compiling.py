"""Kernels are compiled once on a machine, in processes of their own, and kept wherever that can be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from GLIDERegLib.registration.backends.numba import compiling  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LOOK = (
    "from GLIDERegLib.registration.backends.numba import compiling; compiling._load();"
    "print(*[k.dispatcher.py_func.__qualname__ for k in compiling._kernels if k.ready])"
)
CHEAP = ("_find_rows", "_smooth_lines")


def python(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_what_a_process_of_its_own_compiled_is_ready_in_the_next(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert python("-c", LOOK, **cache).split() == []
    command = [sys.executable, "-m", "GLIDERegLib.registration.backends.numba.compiling", *CHEAP]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **cache}
    # Its input stays open, as that of a living parent does.
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        assert process.wait(120) == 0
    assert sorted(python("-c", LOOK, **cache).split()) == sorted(CHEAP)


def test_a_compiling_process_ends_with_its_parent(tmp_path):
    process = compiling._compiler(["_find_rows"])
    process.stdin.close()
    assert process.wait(30) == 1


def test_the_folder_given_to_compiling_processes_holds_the_package():
    """Without it they end at once, unseen, and the kernels are compiled while the user waits."""
    assert compiling.LIBRARY == ROOT


def test_waiting_can_be_given_up_and_leaves_no_process():
    class GiveUp(Exception):
        pass

    def tell(share: float) -> None:
        raise GiveUp

    preparation = compiling.Preparation()
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE)
    preparation._running.append(sleeper)
    with pytest.raises(GiveUp):
        preparation.wait(tell)
    assert sleeper.poll() is not None


REGISTER = """
import GLIDERegLib as glidereg
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.registration.backends.numba import compiling
pair = make_phantom((40, 40, 36), (9.0, 9.0, 9.0))
settings = glidereg.Settings.preset("default", features="local", align="none", threads=1)
glidereg.register(pair.fixed, pair.moving, settings).displacement.inverse()
called = [k for k in compiling._kernels if k.dispatcher.overloads]
otherwise = [k for k in called if set(k.dispatcher.overloads) - {k.types}]
print(len(called), *[k.dispatcher.py_func.__qualname__ for k in otherwise])
"""


def test_every_kernel_is_called_with_the_types_it_was_compiled_for():
    """Another type would be compiled at the first call, and the user waits."""
    called, *otherwise = python("-c", REGISTER).split()
    assert int(called) >= 12 and otherwise == []


def test_rows_are_worked_on_once_each_whatever_the_number_of_threads():
    from GLIDERegLib.registration.backends.numba.convex_kernels import _smooth_lines

    cost = np.random.default_rng(0).random((7 * 5, 3), np.float32)
    before, results = compiling.threads(), []
    for count in (1, 2, 3, 16):
        compiling.set_threads(count)
        smoothed = cost.copy()
        _smooth_lines(7, smoothed, 5, 1)
        results.append(smoothed)
    compiling.set_threads(before)
    assert all(np.array_equal(result, results[0]) for result in results)
    assert not np.array_equal(results[0], cost)


def test_a_temporary_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = compiling._own_temporary_folder()
    assert folder is not None and folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    assert compiling._own_temporary_folder() is None
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert compiling._own_temporary_folder() is None


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs to mount: root, and the command unshare",
)
def test_an_installation_and_a_home_that_cannot_be_written_work(tmp_path):
    copy, temporary = tmp_path / "installed", tmp_path / "temporary"
    temporary.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "GLIDERegLib", copy / "GLIDERegLib", ignore=ignored)
    compile_one = (
        "from GLIDERegLib.registration.backends.numba import compiling;"
        "compiling.compile_kernels(['_smooth_lines']);" + LOOK
    )
    mounted = f"mount --bind {copy} {copy} && mount -o remount,ro,bind {copy}"
    script = f"{mounted} && exec {sys.executable} -c '{{}}'"
    said = []
    for code in (compile_one, LOOK):
        environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
        environment |= {"HOME": "/proc/none", "TMPDIR": str(temporary), "PYTHONPATH": str(copy)}
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script.format(code.replace("'", '"'))],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
        )
        if "unshare failed" in done.stderr or "mount:" in done.stderr:
            pytest.skip("this machine's root may not mount")
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    assert said == [["_smooth_lines"]] * 2
