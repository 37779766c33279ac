"""What a file really is, by its first bytes, where its name promises something else."""

from __future__ import annotations

from pathlib import Path

from GLIDERegLib.core.errors import InputError

GZIP = b"\x1f\x8b"
# Bytes at the start of a file, and what it then is.
SIGNATURES = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"MATLAB 5.0": "a MATLAB file",
    b"MATLAB 7.3": "a MATLAB file",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
    b"\x93NUMPY": "a NumPy array without geometry",
    b"\x89HDF": "an HDF5 file",
    b"NRRD0": "an NRRD file",
    b"ObjectType": "a MetaImage file",
    b"#Insight Transform File": "an ITK transform in text",
}
# File name endings, and what their files are by SIGNATURES: these may stand under that name.
OWN = {
    (".nrrd", ".nhdr"): "an NRRD file",
    (".mha", ".mhd"): "a MetaImage file",
    (".h5", ".hdf5"): "an HDF5 file",
    (".tfm", ".txt"): "an ITK transform in text",
}
ADVICE = {
    "an NRRD file": "name it .nrrd",
    "a MetaImage file": "name it .mha",
    "an HDF5 file": "name it .h5",
    "an ITK transform in text": "name it .tfm",
    "a pointer of Git LFS, not the file itself": "fetch the file with git lfs pull",
    "a NumPy array without geometry": "save it as NRRD or NIfTI with spacing, origin and direction",
}


def kind_of(path: Path) -> str | None:
    """What the file is by its first bytes; "" for nothing in it, None for what is not known here.

    Raises InputError where it cannot be opened.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be opened ({error.strerror}).", "Check its permissions.", code="file-closed"
        ) from error
    if not head.strip(b"\0"):
        return "" if not head or path.stat().st_size == len(head) else "a file that starts with zeros"
    if head[128:132] == b"DICM":
        return "a DICOM file"
    if head.startswith(GZIP):
        return "packed with gzip"
    if head.lstrip()[:9].lower() in (b"<!doctype", b"<html>") or b"<html" in head.lower():
        return "a web page, as a failed download leaves it"
    return next((kind for mark, kind in SIGNATURES.items() if head.startswith(mark)), None)


def unknown(path: Path, named: str, readable: str) -> InputError:
    """The refusal of a file of a type that is not read, with what it is where that is known here."""
    kind = kind_of(path) if path.is_file() else None
    hint = f"Give {readable}."
    if kind == "":
        said, hint = "is empty", "Copy or download it again."
    elif path.name.lower().endswith((".hdr", ".img")):
        said = "is one half of an Analyze or NIfTI pair (.hdr, .img), which is not read"
    elif kind is None:
        said = "is of a type that is not supported, or damaged"
    else:
        said = f"is {kind}, which is not read here"
        hint = "Unpack it first." if "archive" in kind or "packed" in kind else hint
    return InputError(f"{named} {said}.", hint, code="file-kind")


def refuse_mistaken(path: Path, named: str) -> None:
    """Raises InputError where the file is empty or plainly something else than its name says.

    `named` starts the sentence ("The fixed image 'a.nii'"). Packed NIfTI is told by its name here as well:
    ITK unpacks by the name.
    """
    name = path.name.lower()
    kind = kind_of(path)
    if kind is None or kind == "a file that starts with zeros":
        return
    if kind == "":
        raise InputError(f"{named} is empty.", "Copy or download it again.", code="file-empty")
    if kind == "packed with gzip":
        if name.endswith(".gz"):
            return
        advice = "name it .nii.gz" if name.endswith(".nii") else "unpack it first"
    else:
        if any(name.endswith(endings) and kind == own for endings, own in OWN.items()):
            return
        advice = ADVICE.get(kind, "name it .dcm" if kind == "a DICOM file" else "give the file it stands for")
        if "archive" in kind or "packed" in kind:
            advice = "unpack it first"
    raise InputError(
        f"{named} is {kind}, whatever its name says.", advice[0].upper() + advice[1:] + ".", code="file-kind"
    )
