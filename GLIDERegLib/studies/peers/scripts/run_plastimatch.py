"""plastimatch: run_plastimatch.py FIXED MOVING FOLDER THREADS [FIXED_MASK MOVING_MASK].

A B-spline by mean squared differences, three levels from 40 to 10 mm. It is not regularised: with 10 mm
between control points, the regulariser takes ten times as long as all else. The program must be on the path.
Writes FOLDER/displacement.mha, mm, LPS.
"""

import subprocess
import sys
from pathlib import Path

STAGE = """
[STAGE]
xform=bspline
optim=liblbfgs
impl=plastimatch
metric=mse
threading=openmp
max_its=100
grid_spac={spacing} {spacing} {spacing}
res={resolution}
"""

fixed, moving, folder, threads, *masks = sys.argv[1:]
text = f"[GLOBAL]\nfixed={fixed}\nmoving={moving}\nvf_out={Path(folder) / 'displacement.mha'}\n"
if masks:
    text += f"fixed_roi={masks[0]}\nmoving_roi={masks[1]}\n"
for spacing, resolution in ((40, "4 4 2"), (20, "2 2 1"), (10, "1 1 1")):
    text += STAGE.format(spacing=spacing, resolution=resolution)
parameters = Path(folder) / "parameters.txt"
parameters.write_text(text)
subprocess.run(["plastimatch", "register", str(parameters)], check=True)
