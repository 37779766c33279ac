"""Headers of NRRD and MetaImage as text, and whether their voxels are all there, which ITK believes.

NRRD: http://teem.sourceforge.net/nrrd/format.html. MetaImage: https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import math
from pathlib import Path

from GLIDERegLib.core.errors import InputError

# A choice: no header is as long; what has no end is none.
LONGEST_HEADER = 1 << 20
# A byte of gzip holds at most 1032 bytes: https://zlib.net/zlib_tech.html. bzip2 may hold far more.
MOST_PACKED = 1032
NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32"), 4),
    **dict.fromkeys(("uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t", "double"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), 8),
}
TEXT_ENCODINGS = ("ascii", "text", "txt", "hex")
META_BYTES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "FLOAT": 4, "DOUBLE": 8}
META_BYTES |= {"LONG": 4, "ULONG": 4, "LONG_LONG": 8, "ULONG_LONG": 8}


def is_nrrd(path: Path) -> bool:
    """By its name; else MetaImage."""
    return path.name.lower().endswith((".nrrd", ".nhdr"))


def read_header(path: Path) -> dict[str, str]:
    """The fields of an NRRD (.nrrd, .nhdr; names in lower case) or MetaImage header (.mha, .mhd; as written),
    with "" for the number of bytes that the header takes.
    """
    with path.open("rb") as stream:
        head = stream.read(LONGEST_HEADER)
    nrrd = is_nrrd(path)
    fields: dict[str, str] = {}
    place = 0
    while place < len(head):
        end = head.find(b"\n", place)
        end = len(head) if end < 0 else end
        line = head[place:end].decode("utf-8", "replace").rstrip("\r")
        place = end + 1
        if nrrd:
            if not line.strip():
                break
            key, _, value = line.partition(":=" if ":=" in line else ":")
            if not line.startswith(("#", "NRRD")):
                fields[key.strip().lower()] = value.strip()
        else:
            key, _, value = line.partition("=")
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
    fields[""] = str(place)
    return fields


def check_data(path: Path, fields: dict[str, str], named: str) -> None:
    """Raises InputError where the voxels' file is missing, or shorter than the header's sizes ask for.

    Nothing is allocated for this, so that a damaged size in a small file takes no memory.
    """
    try:
        nrrd = is_nrrd(path)
        size = [int(n) for n in fields["sizes" if nrrd else "DimSize"].split()]
        if nrrd:
            each = NRRD_BYTES.get(fields["type"].lower())
        else:
            each = META_BYTES[fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY")]
            each *= int(fields.get("ElementNumberOfChannels", "1"))
        if int(fields["dimension" if nrrd else "NDims"]) != len(size):
            raise ValueError  # MetaIO crashes on it
        told = fields.get("data file", fields.get("datafile", "")) if nrrd else fields["ElementDataFile"]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{named} is damaged: its header lacks the sizes, the type or the place of its voxels.",
            "Copy or export it again.",
            code="file-damaged",
        ) from error
    if any(n < 1 for n in size):
        raise InputError(
            f"{named} has an axis of {min(size)} voxels.", "Export it again.", code="file-damaged"
        )
    if told.startswith("LIST") or "%" in told or " " in told and not (path.parent / told).exists():
        return
    if told and told.upper() != "LOCAL":
        data = path.parent / told
        if not data.is_file():
            raise InputError(
                f"{named} keeps its voxels in the file '{told}', which is not beside it.",
                "Copy both files into one folder.",
                code="data-file-missing",
            )
        there = data.stat().st_size
    else:
        there = path.stat().st_size - int(fields[""])
    encoding = fields.get("encoding", "raw").lower()
    packed = encoding.startswith("gz") if nrrd else fields.get("CompressedData", "").lower() == "true"
    if nrrd and each != 1 and encoding not in TEXT_ENCODINGS and "endian" not in fields:
        raise InputError(
            f"{named} does not say the order of its bytes (the field endian).",
            "Write endian: little, or big, into its header.",
            code="endian",
        )
    if encoding in ("bzip2", "bz2", *TEXT_ENCODINGS) or each is None:
        return
    if not nrrd and fields.get("BinaryData", "True").lower() == "false":
        return
    needed = math.prod(size) * each
    if not nrrd and not packed and "LONG" in fields["ElementType"] and there == 2 * needed:
        raise InputError(
            f"{named} holds twice the bytes of its {fields['ElementType']}: it was written where these have "
            "8 bytes each.",
            "Write MET_LONG_LONG, or MET_ULONG_LONG, into its header.",
            code="file-damaged",
        )
    if there * (MOST_PACKED if packed else 1) < needed:
        raise InputError(
            f"{named} is damaged or incomplete: its header tells of {needed:,} bytes of voxels, and "
            f"{there:,} {'packed ' if packed else ''}bytes are there.",
            "Copy or export it again.",
            code="file-incomplete",
        )
