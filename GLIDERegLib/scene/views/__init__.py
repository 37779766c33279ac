"""What slice views show, and giving it back."""
