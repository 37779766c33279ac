"""greedy: run_greedy.py FIXED MOVING FOLDER THREADS [FIXED_MASK MOVING_MASK].

Normalised correlation in patches of 5 voxels (radius 2), 100, 50 and 30 iterations from coarse to fine.
Writes FOLDER/displacement.mha, mm, LPS.
"""

import sys
from pathlib import Path

import SimpleITK as sitk
from picsl_greedy import Greedy3D

fixed, moving, folder, threads, *masks = sys.argv[1:]
# Images are handed over by name: greedy splits its command line at blanks, those of file names too.
images = {"fixed": sitk.ReadImage(fixed), "moving": sitk.ReadImage(moving)}
# Without "-wp 0" greedy rounds the warp to a tenth of a voxel.
command = f"-d 3 -threads {threads} -m NCC 2x2x2 -n 100x50x30 -ia-identity -wp 0 -i fixed moving -o warp"
if masks:
    images |= {name: sitk.ReadImage(path) for name, path in zip(("inside", "seen"), masks, strict=True)}
    command += " -gm inside -mm seen"
greedy = Greedy3D()
greedy.execute(command, warp=None, **images)
sitk.WriteImage(greedy["warp"], str(Path(folder) / "displacement.mha"))
