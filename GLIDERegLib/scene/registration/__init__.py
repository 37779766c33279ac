"""A registration of the scene's nodes: what goes in, the run, what comes out."""
