"""Everything that can go wrong on purpose, each with the exit status the command line gives it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class GlideRegError(Exception):
    """Base of all errors a user can do something about.

    message: what is wrong. hint: what to do about it, in words that hold for every front end: no flag, menu
    or command is named here. code: the fault's name, by which a front end finds a remedy in its own terms;
    facts: the values that such a wording may need. `str()` gives message and hint as one sentence.
    """

    exit_status = 1
    code = "error"

    def __init__(self, message: str, hint: str = "", code: str = "", **facts):
        super().__init__(message)
        self.message, self.hint, self.facts = message, hint, facts
        if code:
            self.code = code

    def __str__(self) -> str:
        return one_sentence(self.message, self.hint)


class InputError(GlideRegError):
    """A file, an option or an image that cannot be used as given."""

    exit_status = 2
    code = "input"


class OutOfMemoryError(GlideRegError):
    """The machine or the device has too little memory for the requested settings."""

    exit_status = 3
    code = "memory"


class WeightsError(GlideRegError):
    """An encoder's checkpoint is missing, damaged or not the file it claims to be."""

    exit_status = 4
    code = "weights"


class DependencyError(GlideRegError):
    """A Python package that the requested settings need is missing or cannot be loaded."""

    exit_status = 4
    code = "dependency"


class Cancelled(GlideRegError):
    """The user asked to stop; nothing was written."""

    exit_status = 130
    code = "cancelled"


def of_the_system(error: OSError) -> InputError:
    """What the operating system refused (a name too long, a folder that cannot be read), with its file."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return InputError(f"The system refused to read or to write ({reason}).", code="system")
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    if error.errno == errno.ENAMETOOLONG:
        return InputError(
            f"The name '{shortened(name)}' is too long for the file system.",
            "Choose a shorter one.",
            code="name-too-long",
        )
    return InputError(f"'{shortened(name)}' cannot be used ({reason}).", "Check it.", code="system")


@contextmanager
def system_refusals() -> Iterator[None]:
    """Turns what the operating system refuses within into InputError; serves as a decorator too."""
    try:
        yield
    except OSError as error:
        raise of_the_system(error) from error


def shortened(text: str, most: int = 120) -> str:
    """The text, with its middle left out where it is longer than a message should be."""
    return text if len(text) <= most else f"{text[: most - 30]}...{text[-27:]}"


def one_line(text: str) -> str:
    """The text without line breaks or letters that would move the cursor, as names of files may hold them."""
    line = " ".join(part.strip() for part in text.splitlines())
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def one_sentence(message: str, hint: str = "") -> str:
    """What is wrong and what to do, in one sentence; the message as it is where there is no hint."""
    if not hint:
        return message
    return f"{message.rstrip('.;')}; {hint[0].lower()}{hint[1:].rstrip('.')}."
