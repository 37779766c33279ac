"""NiftyReg: run_niftyreg.py FIXED MOVING FOLDER THREADS [FIXED_MASK MOVING_MASK].

reg_f3d with its defaults (normalised mutual information). Writes FOLDER/displacement.nii.gz, mm, RAS.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

programs = Path(find_spec("niftyreg").submodule_search_locations[0]) / "bin"
fixed, moving, folder, threads, *masks = sys.argv[1:]


def run(program: str, *arguments: str) -> None:
    path = programs / program
    if not os.access(path, os.X_OK):  # the package installs its programs without the run bit
        path.chmod(0o755)
    subprocess.run([path, *arguments], check=True)


points, field = (str(Path(folder) / name) for name in ("control_points.nii.gz", "displacement.nii.gz"))
warped = str(Path(folder) / "warped.nii.gz")
masked = ["-rmask", masks[0], "-fmask", masks[1]] if masks else []
run("reg_f3d", "-ref", fixed, "-flo", moving, "-cpp", points, "-res", warped, "-omp", threads, *masked)
run("reg_transform", "-ref", fixed, "-disp", points, field)
