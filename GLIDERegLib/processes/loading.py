"""How a process of this library loads its large packages: quickly, and with threads that do not spin."""

from __future__ import annotations

import gc
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Read when torch and NumPy are loaded. Threads that spin while they wait take the processor from whatever
# else runs: NumPy's multiply small matrices here, which one thread does as quickly.
THREAD_VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE"}
if platform.machine() not in ("aarch64", "arm64"):  # there torch's own products are OpenBLAS's too
    THREAD_VARIABLES["OPENBLAS_NUM_THREADS"] = "1"


@contextmanager
def uncollected() -> Iterator[None]:
    """While large packages are loaded, the garbage collector does not look again and again through all that
    they make, nor later at each of its runs.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
