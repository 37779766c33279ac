"""Everything that can go wrong on purpose, each with the exit status the command line gives it."""


class GlideRegError(Exception):
    """Base of all errors a user can do something about; the message is one sentence that says what and how to
    mend it.
    """

    exit_status = 1


class InputError(GlideRegError):
    """A file, an option or an image that cannot be used as given."""

    exit_status = 2


class OutOfMemoryError(GlideRegError):
    """The machine or the device has too little memory for the requested settings."""

    exit_status = 3


class WeightsError(GlideRegError):
    """An encoder's checkpoint is missing, damaged or not the file it claims to be."""

    exit_status = 4


class Cancelled(GlideRegError):
    """The user asked to stop; nothing was written."""

    exit_status = 130
