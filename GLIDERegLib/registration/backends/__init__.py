"""The same computations by numba, Triton and plain PyTorch."""
