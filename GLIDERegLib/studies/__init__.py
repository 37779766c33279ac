"""Benchmark, ablation, cohorts, other methods and data sets: above the command line, not in the extension."""
