"""Maps and numbers that show what a transform does."""
