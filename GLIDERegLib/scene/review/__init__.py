"""Nodules of two scans: propagated, judged, matched, sized, decided on."""
