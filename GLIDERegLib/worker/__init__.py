"""The process a registration runs in, and the job that drives it from another program."""
