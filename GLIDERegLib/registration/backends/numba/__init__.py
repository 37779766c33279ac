"""Kernels for the processor, compiled by numba; each equals a plain PyTorch function, and is tested so."""
