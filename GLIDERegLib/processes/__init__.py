"""One way to start, hear, watch and end a process with all that it starts."""
