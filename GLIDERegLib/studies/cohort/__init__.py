"""Many pairs, each registered in a process of its own, on one machine or on a cluster."""
