"""Triton's kernels without a graphics card: in its interpreter, and compiled for cards that are not there.

The interpreter is chosen by an environment variable that must stand before the kernels are loaded, so a
process of its own runs `test_backends.py`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from registration.test_backends import HAS_TRITON, INTERPRETED, NO_TRITON

pytestmark = [
    pytest.mark.skipif(not HAS_TRITON, reason=NO_TRITON),
    pytest.mark.skipif(INTERPRETED, reason="this is the interpreter"),
]


def test_the_kernels_pass_the_tests_of_every_backend_in_the_interpreter():
    tests = str(Path(__file__).with_name("test_backends.py"))
    chosen = "triton and not waits"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-k", chosen, tests],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout and "skipped" not in done.stdout.splitlines()[-1], done.stdout


COMPILE = """
import re
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from GLIDERegLib.registration.backends import triton_kernels
from GLIDERegLib.registration.backends import triton_penalties
U = "*fp32"
POINTERS = {"fixed": "*u8", "moving": "*u8", **dict.fromkeys(
    ("u", "gradient", "values", "weights", "field", "source", "out"), U)}
REALS = ("scale", "share", "further", "alone", "inverse", "threshold", "w0", "w1", "w2", "w3", "w4")
for kernel in (
    triton_kernels._correlate, triton_kernels._ssd, triton_penalties._bending, triton_penalties._folding
):
    types = {n: POINTERS.get(n, "fp32" if n in REALS else "i32") for n in kernel.arg_names}
    types["BLOCK"] = "constexpr"
    source = ASTSource(kernel, signature=types, constexprs={"BLOCK": triton_penalties.BLOCK})
    built = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
    assert not re.search(r"\\b(atom|red)\\.", built.asm["ptx"])
    print(len(built.asm["cubin"]))
"""


@pytest.mark.parametrize("capability", [75, 90])
def test_the_kernels_compile_without_atomics(capability, tmp_path):
    """To machine code, for cards of compute capability 7.5 (Turing) and 9.0 (Hopper): no card is needed."""
    pytest.importorskip("triton.backends.nvidia")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(capability)],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(int(size) > 1000 for size in done.stdout.split()) and len(done.stdout.split()) == 4
