"""What the regions are called."""

# A choice: the shell of the lungs in which sliding along the chest wall tells.
PLEURA_MM = 10.0
THIRDS = ("lower third", "middle third", "upper third")
BODY = "body outside the lungs"
NEAR_PLEURA = f"within {PLEURA_MM:g} mm of the pleura"


def in_words(region: str) -> str:
    """A region's name, as a check has it, in a sentence."""
    return f"in the {'lung ' if region == NEAR_PLEURA else ''}{region}"
