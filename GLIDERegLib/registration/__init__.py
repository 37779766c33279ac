"""The method: numpy and torch only; knows no file, no Slicer and no Qt."""
