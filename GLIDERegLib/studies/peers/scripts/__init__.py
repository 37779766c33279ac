"""Scripts that run a peer inside its own Python; none imports this library."""
