"""Headers of NRRD and MetaImage as text, and whether their voxels are all there, which ITK believes.

NRRD: http://teem.sourceforge.net/nrrd/format.html. MetaImage: https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

from GLIDERegLib.core.errors import InputError

# A choice: no header is as long; what has no end is none.
LONGEST_HEADER = 1 << 20
PART = 1 << 20
# A byte of gzip holds at most 1032 bytes: https://zlib.net/zlib_tech.html.
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
# Where `read_header` keeps the names of fields that a MetaImage header gives two values.
TWICE = " twice"
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
            name, _, value = (part.strip() for part in line.partition("="))
            if fields.setdefault(name, value) != value:
                fields[TWICE] = f"{fields[TWICE]}, {name}" if TWICE in fields else name
            fields[name] = value
            if name == "ElementDataFile":
                break
    fields[""] = str(place)
    return fields


def check_data(path: Path, fields: dict[str, str], named: str) -> None:
    """Raises InputError where the voxels' file is missing, damaged, or of another length than the header's
    sizes ask for.

    Nothing is allocated for this, so that a damaged size in a small file takes no memory.
    """
    nrrd = is_nrrd(path)
    size, each, told = _told_of_voxels(fields, nrrd, named)
    encoding = fields.get("encoding", "raw").lower()
    _check_packing(fields, nrrd, encoding, named)
    packed = encoding.startswith("gz") if nrrd else fields.get("CompressedData", "").lower() == "true"
    several = told.startswith("LIST") or "%" in told
    if several or (" " in told and not (path.parent / told).exists()):
        if several and not nrrd:
            _check_pieces(path, fields, size, 0 if packed else each, named)
        return
    beside = bool(told) and told.upper() != "LOCAL"
    data, start = (path.parent / told, 0) if beside else (path, int(fields[""]))
    if not data.is_file():
        raise InputError(
            f"{named} keeps its voxels in the file '{told}', which is not beside it.",
            "Copy both files into one folder.",
            code="data-file-missing",
        )
    if nrrd and each != 1 and encoding not in TEXT_ENCODINGS and "endian" not in fields:
        raise InputError(
            f"{named} does not say the order of its bytes (the field endian).",
            "Write endian: little, or big, into its header.",
            code="endian",
        )
    skipped = _skipped(fields, nrrd, named)
    if encoding in TEXT_ENCODINGS or not each:
        return
    there, needed = data.stat().st_size - start, math.prod(size) * each
    if not nrrd and not packed and "LONG" in fields["ElementType"] and there == 2 * needed:
        raise InputError(
            f"{named} holds twice the bytes of its {fields['ElementType']}: it was written where these have "
            "8 bytes each.",
            "Write MET_LONG_LONG, or MET_ULONG_LONG, into its header.",
            code="file-damaged",
        )
    # What follows the voxels of one file may be a line break or a mark; a whole row was told wrong.
    most = 0 if beside else size[0] * each - 1
    _check_length(there, needed, packed, skipped, most, named)
    if packed and not nrrd:
        _check_packed(data, start + (skipped or 0), needed, fields, beside, named)


def _told_of_voxels(fields: dict[str, str], nrrd: bool, named: str) -> tuple[list[int], int, str]:
    """The sizes, the bytes of a voxel (0 where the type is not known), and where the voxels are.

    Raises InputError where the header lacks one of them or contradicts itself.
    """
    try:
        size = [int(n) for n in fields["sizes" if nrrd else "DimSize"].split()]
        if nrrd:
            each = NRRD_BYTES.get(fields["type"].lower()) or 0
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
    return size, each, told


def _check_packing(fields: dict[str, str], nrrd: bool, encoding: str, named: str) -> None:
    """Raises InputError for voxels packed or written as they are not read here."""
    if encoding in ("bzip2", "bz2"):
        raise InputError(
            f"{named} packs its voxels with bzip2, which is not read here.",
            "Save it packed with gzip, or raw.",
            code="file-kind",
        )
    if not nrrd and fields.get("BinaryData", "True").lower() == "false":
        raise InputError(
            f"{named} keeps its voxels as text, which is not read here.",
            "Save it in binary.",
            code="file-kind",
        )


def _check_length(there: int, needed: int, packed: bool, skipped: int | None, most: int, named: str) -> None:
    """Raises InputError where the bytes that are there cannot be the voxels that are needed, with `skipped`
    ahead of them (None: not known) and up to `most` behind.
    """
    if there * (MOST_PACKED if packed else 1) < needed + (skipped or 0):
        raise InputError(
            f"{named} is damaged or incomplete: its header tells of {needed:,} bytes of voxels, and "
            f"{there:,} {'packed ' if packed else ''}bytes are there.",
            "Copy or export it again.",
            code="file-incomplete",
        )
    if not packed and skipped is not None and there - skipped - needed > most:
        raise InputError(
            f"{named} tells of {needed:,} bytes of voxels, and {there - skipped:,} are there: its sizes, its "
            "type, or where the voxels begin, are wrong.",
            "Mend its header.",
            code="file-damaged",
        )


def _skipped(fields: dict[str, str], nrrd: bool, named: str) -> int | None:
    """Bytes ahead of the voxels; None where only their end is known, or lines are passed over."""
    names = ("byte skip", "byteskip") if nrrd else ("HeaderSize",)
    told = next((fields[name] for name in names if name in fields), "0")
    lines = next((fields[name] for name in ("line skip", "lineskip") if nrrd and name in fields), "0")
    try:
        skipped, passed = int(told), int(lines)
    except ValueError:
        skipped, passed = -2, 0
    if skipped < -1 or passed < 0:
        raise InputError(
            f"{named} says that its voxels begin at byte '{told}' of line '{lines}'.",
            "Mend its header.",
            code="file-damaged",
        )
    return None if skipped < 0 or passed else skipped


def _check_pieces(path: Path, fields: dict[str, str], size: list[int], each: int, named: str) -> None:
    """Raises InputError unless all files of a MetaImage are there that keep one piece each, none cut off;
    MetaIO takes what is in memory for the voxels of missing ones. each: bytes a voxel; 0 for packed files.
    """
    told = fields["ElementDataFile"]
    words = told.split()
    try:
        if told.startswith("LIST"):
            axes = int(words[1]) if len(words) > 1 else len(size) - 1
            text = path.read_bytes()[int(fields[""]) :].decode("utf-8", "replace")
            listed = [line.strip() for line in text.splitlines() if line.strip()]
            count, names = len(listed), iter(listed)
        else:
            axes = len(size) - 1
            first, last, step = (int(word) for word in (*words[1:], "1")[:3])
            numbers = range(first, last + 1, step)
            count, names = len(numbers), (words[0] % number for number in numbers)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{named} does not say which files keep its voxels.", "Export it again.", code="file-damaged"
        ) from error
    if count != (due := math.prod(size[axes:])):
        few = "fewer" if count < due else "more"
        raise InputError(
            f"{named} names {few} files of voxels than the {due} that its sizes ask for.",
            "Copy or export it again.",
            code="file-incomplete",
        )
    for name in names:
        piece = path.parent / name
        if not piece.is_file():
            raise InputError(
                f"{named} keeps voxels in the file '{name}', which is not beside it.",
                "Copy all files into one folder.",
                code="data-file-missing",
            )
        if piece.stat().st_size < math.prod(size[:axes]) * each:
            raise InputError(
                f"{named} is incomplete: its file '{name}' is too short.",
                "Copy or export it again.",
                code="file-incomplete",
            )


def _check_packed(
    data: Path, start: int, needed: int, fields: dict[str, str], beside: bool, named: str
) -> None:
    """Raises InputError unless the voxels of a MetaImage unpack to their whole number; MetaIO passes over
    errors, and takes what is in memory for the voxels. Unpacked in parts, so that it takes no memory.
    """
    damaged = InputError(
        f"{named} is damaged or incomplete: its packed voxels do not unpack to what its header tells of.",
        "Copy or export it again.",
        code="file-incomplete",
    )
    told = fields.get("CompressedDataSize", "")
    if not told and not beside:
        raise InputError(
            f"{named} does not say how many bytes its packed voxels take (CompressedDataSize).",
            "Export it again.",
            code="file-damaged",
        )
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
    found = taken = 0
    try:
        with data.open("rb") as stream:
            stream.seek(start)
            while not unpacking.eof and found <= needed and (part := stream.read(PART)):
                taken += len(part)
                while part and not unpacking.eof:
                    found += len(unpacking.decompress(part, PART))
                    part = unpacking.unconsumed_tail
        taken -= len(unpacking.unused_data)
    except zlib.error as error:
        raise damaged from error
    if not unpacking.eof or found != needed or (told and told != str(taken)):
        raise damaged
