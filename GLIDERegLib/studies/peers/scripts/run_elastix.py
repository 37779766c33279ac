"""elastix: run_elastix.py FIXED MOVING FOLDER THREADS [FIXED_MASK MOVING_MASK].

A B-spline of 10 mm by normalised correlation, 1000 iterations of 5000 new samples in each of four levels.
Writes FOLDER/displacement.mha, mm, LPS.
"""

import os
import sys
from pathlib import Path

import itk

PARAMETERS = {
    "AutomaticParameterEstimation": "true",
    "AutomaticTransformInitialization": "false",
    "BSplineInterpolationOrder": "1",
    # Coarse levels would otherwise shrink a mask by many voxels, up to nothing.
    "ErodeMask": "false",
    "FinalBSplineInterpolationOrder": "3",
    "FinalGridSpacingInPhysicalUnits": "10",
    "FixedImagePyramid": "FixedSmoothingImagePyramid",
    "GridSpacingSchedule": ["8", "4", "2", "1"],
    "HowToCombineTransforms": "Compose",
    "ImageSampler": "RandomCoordinate",
    "Interpolator": "LinearInterpolator",
    "MaximumNumberOfIterations": "1000",
    "Metric": "AdvancedNormalizedCorrelation",
    "MovingImagePyramid": "MovingSmoothingImagePyramid",
    "NewSamplesEveryIteration": "true",
    "NumberOfResolutions": "4",
    "NumberOfSpatialSamples": "5000",
    "Optimizer": "AdaptiveStochasticGradientDescent",
    "RandomSeed": "1",
    "Registration": "MultiResolutionRegistration",
    "ResampleInterpolator": "FinalBSplineInterpolator",
    "Resampler": "DefaultResampler",
    "Transform": "RecursiveBSplineTransform",
    "UseDirectionCosines": "true",
    "WriteResultImage": "false",
}

fixed_path, moving_path, folder, threads, *masks = sys.argv[1:]
fixed, moving = (itk.imread(path, itk.F) for path in (fixed_path, moving_path))
parameters = itk.ParameterObject.New()
parameters.AddParameterMap({k: v if isinstance(v, list) else [v] for k, v in PARAMETERS.items()})
options = {}
if masks:
    options = {k: itk.imread(p, itk.UC) for k, p in zip(("fixed_mask", "moving_mask"), masks, strict=True)}
_, found = itk.elastix_registration_method(
    fixed,
    moving,
    parameter_object=parameters,
    number_of_threads=int(threads),
    log_to_console=True,
    **options,
)
# transformix leaves a copy of the field in the working directory.
os.chdir(folder)
# Vectors in LPS mm on the fixed grid.
field = itk.transformix_deformation_field(moving, found)
itk.imwrite(field, str(Path.cwd() / "displacement.mha"))
