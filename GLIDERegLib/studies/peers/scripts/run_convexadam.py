"""ConvexAdam: run_convexadam.py FIXED MOVING FOLDER THREADS; writes FOLDER/displacement.mha.

The two images share one grid. The result is in voxels of the arrays SimpleITK gives, components z, y, x.
"""

import sys
from pathlib import Path

import SimpleITK as sitk
import torch
from convexAdam.convex_adam_MIND import convex_adam_pt

fixed, moving, folder, threads = sys.argv[1:5]
torch.set_num_threads(int(threads))
arrays = [sitk.GetArrayFromImage(sitk.ReadImage(path, sitk.sitkFloat32)) for path in (fixed, moving)]
displacement = convex_adam_pt(*arrays, verbose=True)
field = sitk.GetImageFromArray(displacement.astype("float32"), isVector=True)
sitk.WriteImage(field, str(Path(folder) / "displacement.mha"))
