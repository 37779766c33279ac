"""Runs registration methods on pairs of scans, judges all by the same measures, and tells who is better."""
