"""MRML nodes and VTK objects as such: geometry, arrays, transforms, nodes of our own."""
