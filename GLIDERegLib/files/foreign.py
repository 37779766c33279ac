"""Transforms and images of programs whose files are not read here, told by content or name, so that a refusal
can name them.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

from GLIDERegLib.files.kinds import GZIP

# Bytes of a file that are looked at; a matrix with its comments takes a few hundred.
LOOKED_AT = 8192
# Text at the start of a file, in whole or by a pattern, and what it then is.
STARTS = {
    r"MNI Transform File[\s\S]*Grid_Transform": "a transform of MINC with a deformation grid (MNI .xfm)",
    r"MNI Transform File": "a transform of MINC or FreeSurfer (MNI .xfm)",
    r"MNI Tag Point File": "a list of points of MINC (.tag)",
    r"(#.*\n)*\s*type\s*=\s*\d+[^\n]*\s+nxforms\s*=": "a transform of FreeSurfer (.lta)",
    r"\S+\s*\n([-+.\deE]+\s*\n){3}([-+.\deE]+[ \t]+){3}": "a transform of FreeSurfer (register.dat)",
    r"#[^\n]*3dAllineate|#[^\n]*3dvolreg": "a matrix of AFNI (.1D)",
    r"MGH_GPUIT_BSP": "a B-spline of plastimatch",
    r"mrtrix (image|tracks)": "an image or warp of MRtrix (.mif)",
    r"! TYPEDSTREAM": "a transform of CMTK",
    r"setTransform ": "a transform of Amira",
    r"\(\s*O8": "a transform of Baladin (.trsf)",
    r"DOF:\s*\d": "a transform of IRTK (.dof)",
    r"Point\s+\d+\s*;\s*Input(Index|Point)": "a list of points of transformix",
    r"#\s*Markups fiducial|\s*\{[\s\S]*\"markups\"": "a list of points of 3D Slicer",
    r"<MRML": "a scene of 3D Slicer",
    r"# vtk DataFile|<VTKFile|<\?xml[\s\S]*<VTKFile": "a file of VTK",
    r"(Transform|TransformParameters|NumberOfParameters)\s*=": "elastix's parameters in TOML",
}
# Endings of names of files in binary, or without a mark of their own.
ENDINGS = {
    (".m3z", ".m3d"): "a warp of FreeSurfer (.m3z)",
    (".mgz", ".mgh"): "a volume of FreeSurfer (.mgz)",
    (".mif", ".mih", ".mif.gz"): "an image or warp of MRtrix (.mif)",
    (".mnc", ".mnc.gz"): "a volume of MINC (.mnc)",
    (".dof", ".dof.gz"): "a transform of IRTK or MIRTK (.dof)",
    (".head", ".brik", ".brik.gz"): "a dataset of AFNI",
    (".1d",): "a matrix of AFNI (.1D)",
    (".trsf",): "a transform of Baladin (.trsf)",
    (".x5",): "a transform of NiTransforms (.x5)",
    (".par", ".rec"): "an image of Philips (PAR and REC)",
    (".vtk", ".vti", ".vtp"): "a file of VTK",
    (".npy", ".npz"): "a NumPy array without geometry",
}
# Three or four rows of a matrix, however they are separated, commented and bracketed.
COUNTS_OF_A_MATRIX = (12, 16)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)


def foreign_kind(path: Path) -> str | None:
    """What another program's file is; None for what is not known here. Raises OSError."""
    start = _start(path)
    text = start.decode("latin-1").lstrip("\ufeff\xef\xbb\xbf")
    for pattern, kind in STARTS.items():
        if re.match(pattern, text):
            return kind
    name = path.name.lower()
    return next((kind for endings, kind in ENDINGS.items() if name.endswith(endings)), None)


def is_plain_matrix(path: Path) -> bool:
    """Whether the file is text of nothing but the 12 or 16 numbers of a matrix, and comments."""
    if path.stat().st_size > LOOKED_AT:
        return False
    lines = (line.split("#")[0] for line in path.read_bytes().decode("latin-1").splitlines())
    words = re.sub(r"[\[\](){},;]", " ", " ".join(lines)).split()
    return len(words) in COUNTS_OF_A_MATRIX and all(NUMBER.fullmatch(word) for word in words)


def _start(path: Path) -> bytes:
    """The first bytes of a file; of one packed with gzip, what they unpack to."""
    with path.open("rb") as stream:
        start = stream.read(LOOKED_AT)
    if not start.startswith(GZIP):
        return start
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, LOOKED_AT)
    except (zlib.error, gzip.BadGzipFile):
        return start
