"""NIfTI-2 read by way of NIfTI-1, which ITK knows: the same voxels behind a header of the older format.

Headers: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and
https://nifti.nimh.nih.gov/pub/dist/doc/nifti2.h.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.kinds import GZIP

SIZE, OLD_SIZE = 540, 348
MAGIC, OLD_MAGIC = b"n+2\0\r\n\x1a\n", b"n+1\0"
# Where NIfTI-1's voxels begin here, after the header and four bytes that say there is no extension.
OFFSET = 352
LONGEST_AXIS = 2**15 - 1
# NIfTI-2's fields as struct reads them, in their order; names as in nifti2.h.
FIELDS = (
    *(("sizeof_hdr", "i"), ("magic", "8s"), ("datatype", "h"), ("bitpix", "h"), ("dim", "8q")),
    *(("intent_p", "3d"), ("pixdim", "8d"), ("vox_offset", "q"), ("scl", "2d"), ("cal", "2d")),
    *(("slice_duration", "d"), ("toffset", "d"), ("slice_start", "q"), ("slice_end", "q")),
    *(("descrip", "80s"), ("aux_file", "24s"), ("qform_code", "i"), ("sform_code", "i")),
    *(("quatern", "3d"), ("qoffset", "3d"), ("srow", "12d"), ("slice_code", "i"), ("xyzt_units", "i")),
    *(("intent_code", "i"), ("intent_name", "16s"), ("dim_info", "c"), ("unused", "15s")),
)


@contextmanager
def as_nifti1(path: Path, named: str) -> Iterator[Path]:
    """Yields a NIfTI-1 file with the voxels and the header of a NIfTI-2 file, gone after the block; the path
    itself where it is none. `named` starts the messages.

    Raises InputError for a NIfTI-2 file that is damaged or has no NIfTI-1 of the same content.
    """
    damaged = InputError(
        f"{named} is damaged or incomplete.", "Copy or export it again.", code="file-damaged"
    )
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == GZIP
        with gzip.open(path) if packed else path.open("rb") as stream:
            start = stream.read(SIZE)
            order = next((o for o in "<>" if start[:4] == struct.pack(f"{o}i", SIZE)), None)
            if order is None:
                yield path
                return
            if len(start) < SIZE or start[4:12] != MAGIC:
                raise damaged
            offset, header = _older(start, order, named)
            with tempfile.TemporaryDirectory(prefix="glidereg-") as folder:
                copy = Path(folder) / "image.nii"
                with copy.open("wb") as out:
                    out.write(header)
                    if len(stream.read(offset - SIZE)) < offset - SIZE:
                        raise damaged
                    shutil.copyfileobj(stream, out, 1 << 22)
                yield copy
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged from error


def _older(start: bytes, order: str, named: str) -> tuple[int, bytes]:
    """Where the voxels begin, and the 352 bytes that stand before them in NIfTI-1."""
    layout = struct.Struct(order + "".join(kind for _, kind in FIELDS))
    values = iter(layout.unpack(start))
    field: dict[str, Any] = {}
    for name, kind in FIELDS:
        count = int(kind[:-1] or 1)
        one = kind[-1] in "sc" or count == 1
        field[name] = next(values) if one else [next(values) for _ in range(count)]
    if not all(0 <= n <= LONGEST_AXIS for n in field["dim"]):
        raise InputError(
            f"{named} is NIfTI-2 with an axis of {max(field['dim'])} voxels, more than can be read.",
            "Crop it.",
            code="nifti-2",
        )
    if not SIZE <= field["vox_offset"] < 1 << 24:
        raise InputError(f"{named} has a damaged header.", "Copy or export it again.", code="file-damaged")
    try:
        header = struct.pack(
            order + "i35xc8h3fhhhh8ff2fhBB2fff8x80s24shh3f3f12f16s4s4x",
            *(OLD_SIZE, field["dim_info"], *field["dim"], *field["intent_p"], field["intent_code"]),
            *(field["datatype"], field["bitpix"], min(field["slice_start"], LONGEST_AXIS), *field["pixdim"]),
            *(OFFSET, *field["scl"], min(field["slice_end"], LONGEST_AXIS), field["slice_code"] & 255),
            *(field["xyzt_units"] & 255, *field["cal"], field["slice_duration"], field["toffset"]),
            *(field["descrip"], field["aux_file"], field["qform_code"], field["sform_code"]),
            *(*field["quatern"], *field["qoffset"], *field["srow"], field["intent_name"], OLD_MAGIC),
        )
    except (struct.error, OverflowError) as error:
        raise InputError(
            f"{named} has a damaged header.", "Copy or export it again.", code="file-damaged"
        ) from error
    return field["vox_offset"], header
