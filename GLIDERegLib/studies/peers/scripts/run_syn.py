"""ANTs' SyN: run_syn.py FIXED MOVING FOLDER THREADS [FIXED_MASK MOVING_MASK]; writes FOLDER/transform.h5."""

import sys
from pathlib import Path

import ants
import SimpleITK as sitk

fixed, moving, folder, _threads, *masks = sys.argv[1:]
mask, moving_mask = (ants.image_read(path) for path in masks) if masks else (None, None)
found = ants.registration(
    ants.image_read(fixed, pixeltype="float"),
    ants.image_read(moving, pixeltype="float"),
    type_of_transform="SyN",
    outprefix=str(Path(folder) / "ants_"),
    mask=mask,
    moving_mask=moving_mask,
    random_seed=1,
    verbose=True,
)
# Deformation and affine, fixed to moving, LPS mm; as in SimpleITK's list, the last is the first to act.
warp, affine = found["fwdtransforms"]
field = sitk.DisplacementFieldTransform(sitk.ReadImage(warp, sitk.sitkVectorFloat64))
both = sitk.CompositeTransform([sitk.ReadTransform(affine), field])
sitk.WriteTransform(both, str(Path(folder) / "transform.h5"))
