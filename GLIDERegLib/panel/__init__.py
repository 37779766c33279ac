"""What the user sees and presses; the only layer that may use Qt."""
