"""MRML nodes to the worker's files and back. Needs vtk and slicer (slicer-core is enough); knows no Qt."""
