"""How kernels for the processor are compiled, kept, made ready and run on several threads.

A kernel is a Python function on NumPy arrays whose first two arguments are the rows it works on. numba
compiles it for one signature, without its own `parallel` option: that doubles the time of compiling (27 s for
all kernels against 12, one core of an AMD EPYC), and a kernel that lets go of Python's lock runs on Python's
threads as well. Rows are independent, so that results do not depend on their number.

numba optimises what it saves once more than what it has just compiled. Only sums may be reordered, therefore,
each in a function of its own: elsewhere the second time could round otherwise, and the first run on a machine
would differ from all later ones.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
from numba import njit
from numba.core import sigutils

AS_WRITTEN = {"contract", "nnan", "ninf", "nsz", "arcp"}
ANY_ORDER = AS_WRITTEN | {"reassoc"}
MODULES = (
    "similarity_kernels",
    "spline_kernels",
    "feature_kernels",
    "convex_kernels",
    "folding_kernels",
    "field_kernels",
)
# The folder that holds the package, for the processes that compile.
LIBRARY = Path(__file__).resolve().parents[4]
# Parts that each thread gets: some rows take longer than others.
PARTS_A_THREAD = 2
# Processes that compile at once; each holds numba and a kernel, 0.3 GB.
MOST_COMPILERS = 4

inlined = njit(fastmath=AS_WRITTEN, forceinline=True)
inlined_sum = njit(fastmath=ANY_ORDER, forceinline=True)

_kernels: list[Kernel] = []
_threads = os.cpu_count() or 1
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


class Kernel:
    """A compiled function of (first row, last row, ...), called with the number of rows instead.

    signature: numba's types of the arguments behind the two rows, as text. seconds: what compiling takes, to
    share the kernels out.
    """

    def __init__(self, function: Callable, signature: str, seconds: float):
        self.seconds = seconds
        # numba keeps what it compiled under the types of the arguments, as a call has them.
        self.types = tuple(sigutils.normalize_signature(f"void(int64, int64, {signature})")[0])
        self.dispatcher = _cached(function)
        _kernels.append(self)

    def __call__(self, rows: int, *arguments) -> None:
        """Works on rows 0 to `rows`, on as many threads as `set_threads` says."""
        threads = min(_threads, rows)
        if threads <= 1:
            self.dispatcher(0, rows, *arguments)
            return
        count = min(threads * PARTS_A_THREAD, rows)
        edges = [rows * n // count for n in range(count + 1)]
        # Each thread takes the next part that is left, this one too: one that comes late holds up nobody.
        parts = zip(edges[:-1], edges[1:], strict=True)

        def work() -> None:
            for first, last in parts:
                self.dispatcher(first, last, *arguments)

        helpers = [_workers().submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            for helper in helpers:
                if not helper.cancel():
                    helper.result()

    @property
    def ready(self) -> bool:
        """Whether it is compiled, here or on this machine's disk."""
        if self.dispatcher.overloads:
            return True
        cache, target = self.dispatcher._cache, self.dispatcher.targetctx
        if not hasattr(cache, "_cache_file"):
            return False
        # The list of what is kept tells; to load the code here and again at the first call takes twice as
        # long.
        key = cache._index_key(self.types, target.codegen())
        return key in cache._cache_file._load_index()


def kernel(signature: str, seconds: float) -> Callable[[Callable], Kernel]:
    """Decorator that makes a function a `Kernel`."""
    return lambda function: Kernel(function, signature, seconds)


def _cached(function: Callable):
    """The function under numba, kept on disk: beside its file, else in the user's cache folder, else in a
    folder of this user's own among the temporary files, else nowhere.
    """
    try:
        return njit(cache=True, fastmath=AS_WRITTEN, nogil=True)(function)
    except RuntimeError:
        # "no locator available": neither the installation nor the user's home can be written.
        folder = _own_temporary_folder()
    if folder is None:
        return njit(fastmath=AS_WRITTEN, nogil=True)(function)
    vars(numba.config)["CACHE_DIR"] = str(folder)
    return njit(cache=True, fastmath=AS_WRITTEN, nogil=True)(function)


def _own_temporary_folder() -> Path | None:
    """A folder that only this user can write: what numba loads from it is run."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"glidereg-kernels-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return None
    others = hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o077)
    if others or folder.is_symlink():
        return None
    return folder


def threads() -> int:
    """How many threads a kernel runs on."""
    return _threads


def set_threads(count: int) -> None:
    """From now on kernels run on this many threads."""
    global _threads, _pool
    with _pool_lock:
        if count != _threads and _pool is not None:
            _pool.shutdown(wait=True)
            _pool = None
        _threads = count


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_threads, thread_name_prefix="glidereg-kernel")
        return _pool


class Preparation:
    """Compiles in processes of their own what this machine has not compiled yet; `wait` before the first use.

    needed: whether anything has to be compiled still. Without processes (where they cannot be started, or one
    fails) kernels compile at their first call.
    """

    def __init__(self) -> None:
        _load()
        missing = sorted((k for k in _kernels if not k.ready), key=lambda k: -k.seconds)
        self.needed = bool(missing)
        compilers = min(os.cpu_count() or 1, MOST_COMPILERS, len(missing))
        groups: list[list[Kernel]] = [[] for _ in range(compilers)]
        for one in missing:
            min(groups, key=lambda group: sum(k.seconds for k in group)).append(one)
        self._running: list[subprocess.Popen] = []
        for group in groups:
            names = [k.dispatcher.py_func.__qualname__ for k in group]
            try:
                self._running.append(_compiler(names))
            except OSError:
                break
        self._total = len(self._running)

    def wait(self, tell: Callable[[float], None] = lambda share: None, seconds: float = 0.25) -> None:
        """Returns when all is compiled; tell(share done) is called meanwhile, and may raise to give up."""
        try:
            while self._running:
                tell(1 - len(self._running) / max(self._total, 1))
                try:
                    self._running[0].wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
                self._running = [process for process in self._running if process.poll() is None]
        finally:
            self.close()
        self.needed = False

    def close(self) -> None:
        """Ends what still compiles."""
        for process in self._running:
            process.kill()
            process.wait()
        self._running = []


_preparation: Preparation | None = None
_preparation_lock = threading.Lock()


def prepare() -> Preparation:
    """The preparation of this process, begun at the first call; does not wait for its end."""
    global _preparation
    with _preparation_lock:
        if _preparation is None:
            _preparation = Preparation()
        return _preparation


def _load() -> None:
    for name in MODULES:
        importlib.import_module(f"{__package__}.{name}")


def _compiler(names: list[str]) -> subprocess.Popen:
    """A process that compiles kernels, given by the names of their functions; it goes when this one does."""
    path = os.pathsep.join(filter(None, (str(LIBRARY), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", __name__, *names],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def compile_kernels(names: list[str]) -> None:
    """Compiles some kernels and keeps them on disk."""
    _load()
    for one in _kernels:
        if one.dispatcher.py_func.__qualname__ in names:
            one.dispatcher.compile(one.types)


def _end_with_parent() -> None:
    """Its end of the pipe closes with the parent, however that ends."""

    def watch() -> None:
        # Not by way of sys.stdin, which Python locks when it ends.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    # As it is known to the kernels' modules, not as the main one.
    importlib.import_module("GLIDERegLib.registration.backends.numba.compiling").compile_kernels(sys.argv[1:])
