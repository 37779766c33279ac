"""A MRML scene without the desktop (the library slicer-core), and nodes to put into it."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

# Without slicer-core there is nothing that these tests could run on.
collect_ignore_glob = [] if importlib.util.find_spec("slicer") else ["test_*.py"]


@pytest.fixture(scope="session")
def a_slicer_app():
    """An application logic with a scene and the logics that a desktop Slicer gives it."""
    import slicer

    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = [
        slicer.vtkSlicerSubjectHierarchyModuleLogic(),
        slicer.vtkSlicerVolumesLogic(),
        slicer.vtkSlicerTransformLogic(),
        slicer.vtkSlicerSegmentationsModuleLogic(),
        slicer.vtkSlicerMarkupsLogic(),
    ]
    for logic in logics:
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    yield application
    scene.Clear(1)


@pytest.fixture
def scene(a_slicer_app, monkeypatch):
    """An empty scene, which is also `slicer.mrmlScene`; `slicer.app` has its application logic."""
    import slicer
    import slicer.util  # slicer-core loads it only when asked

    scene = a_slicer_app.GetMRMLScene()
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    application = SimpleNamespace(applicationLogic=lambda: a_slicer_app)
    monkeypatch.setattr(slicer, "app", getattr(slicer, "app", application), raising=False)
    scene.Clear(0)
    yield scene
    scene.Clear(0)


@pytest.fixture
def addVolume(scene):
    """Function that adds a volume from an array (z, y, x) and its 4 x 4 matrix from index to RAS mm."""
    import slicer

    def add(array, ijkToRas=None, name="Scan", className="vtkMRMLScalarVolumeNode"):
        ijkToRas = np.eye(4) if ijkToRas is None else ijkToRas
        return slicer.util.addVolumeFromArray(array, ijkToRAS=ijkToRas, name=name, nodeClassName=className)

    return add


@pytest.fixture
def addLinear(scene):
    """Function that adds a linear transform from its 4 x 4 matrix to parent (RAS mm)."""
    import slicer

    def add(matrix, parent=None, name="Placement"):
        node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
        node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
        return node

    return add


@pytest.fixture
def addWarp(scene):
    """Function that adds a smooth grid transform of up to 8 mm (nodes 10 mm apart, -100 to 100 mm, cubic)."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    def add(storedFromParent=True, parent=None, name="Breathing"):
        axis = np.arange(-100, 101, 10) / 40.0
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        field = 8 * np.stack([np.sin(y + z), np.cos(x) * np.sin(z), np.sin(x - y)], axis=-1)
        image = vtk.vtkImageData()
        image.SetDimensions(21, 21, 21)
        image.SetSpacing(10, 10, 10)
        image.SetOrigin(-100, -100, -100)
        image.AllocateScalars(vtk.VTK_DOUBLE, 3)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = field.reshape(-1, 3)
        grid = slicer.vtkOrientedGridTransform()
        grid.SetDisplacementGridData(image)
        grid.SetInterpolationModeToCubic()
        grid.SetInverseTolerance(1e-4)
        node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)
        if storedFromParent:
            node.SetAndObserveTransformFromParent(grid)
        else:
            node.SetAndObserveTransformToParent(grid)
        node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
        return node

    return add


@pytest.fixture
def oblique():
    """Index to RAS mm: anisotropic, rotated about two axes, left-handed, with an offset."""
    a, b = np.radians(25), np.radians(-15)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ tilt @ np.diag([1.5, -2.0, 3.0])
    matrix[:3, 3] = [-20, 31, -42]
    return matrix


@pytest.fixture
def rotation():
    """A rigid 4 x 4 matrix in RAS mm."""
    a = np.radians(40)
    matrix = np.eye(4)
    matrix[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    matrix[:3, 3] = [12, -7, 30]
    return matrix
