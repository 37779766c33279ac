"""Meshes come back from VTK's own reader as they were written."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.meshes import write_mesh

POINTS = np.array([(0, 0, 0), (1, 0, 0), (1, 2, 0), (0, 2, 3.5), (9, 9, 9)], float)
FACES, VALUES = np.array([(0, 1, 2, 3), (1, 2, 3, 4)]), np.array([0, 0.5, 1, 2, 10.25])


def test_vtk_reads_points_faces_and_values(tmp_path):
    vtk = pytest.importorskip("vtk")
    from vtk.util.numpy_support import vtk_to_numpy

    write_mesh(POINTS, FACES, VALUES, "distance_mm", tmp_path / "mesh.vtk")
    reader = vtk.vtkPolyDataReader()
    reader.SetFileName(str(tmp_path / "mesh.vtk"))
    reader.Update()
    mesh = reader.GetOutput()
    np.testing.assert_array_equal(vtk_to_numpy(mesh.GetPoints().GetData()), POINTS)
    np.testing.assert_array_equal(vtk_to_numpy(mesh.GetPointData().GetArray("distance_mm")), VALUES)
    found = [[mesh.GetCell(m).GetPointId(n) for n in range(4)] for m in range(mesh.GetNumberOfCells())]
    assert found == FACES.tolist()


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(InputError):
        write_mesh(POINTS, FACES, VALUES, "distance_mm", tmp_path / "none" / "mesh.vtk")
    assert list(tmp_path.iterdir()) == []
