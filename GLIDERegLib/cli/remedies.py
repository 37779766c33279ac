"""What to do about an error, in the terms of the command line: the library names no flag and no command."""

from __future__ import annotations

from GLIDERegLib.core.errors import GlideRegError, one_line, one_sentence

# By the error's code; the facts of the error fill the braces.
REMEDIES = {
    "no-overlap": "use --align center, rigid or affine, or check the files",
    "device": "choose --device cpu or auto",
    "checkpoint": "check the path given as --checkpoint",
    "weights-absent": "get it with `glidereg weights download {name}`, or use --features local",
    "encoder-memory": "choose --encoder-reading slice",
    "package-openpyxl": "install it with `pip install openpyxl`, or leave out --xlsx",
    "memory": "use a coarser grid (--spacing 2), --preset fast or --features local, or --device cpu where "
    "the graphics card is small",
    "dicom-registrations": "name the two scans with `glidereg import-dicom --fixed-dicom SCAN --moving-dicom "
    "SCAN`",
    "no-fixed-image": "give it as --fixed",
    "no-moving-image": "give it as --moving",
    "package-highdicom": "install it with `pip install 'highdicom>=0.28,<1'`, or use --type rtstruct",
    "package-sam2": "install it with `SAM2_BUILD_CUDA=0 pip install --no-build-isolation --no-deps "
    "sam2==1.1.0`",
    "package-transformers": "install it with `pip install 'transformers>=5.20,<6'`",
}


def worded(error: GlideRegError) -> str:
    """The error in one line: what is wrong, and the remedy as a user of the command line writes it."""
    remedy = REMEDIES.get(error.code, "")
    try:
        remedy = remedy.format(**error.facts)
    except KeyError:
        # Raised without what this wording needs: its own hint is still right.
        remedy = ""
    return one_line(one_sentence(error.message, remedy or error.hint))
