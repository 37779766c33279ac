"""What any transform does to points, whatever tool made it."""
