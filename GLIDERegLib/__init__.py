"""GLIDE-Reg: deformable registration of CT by jointly refined global and local features.

    import GLIDERegLib as glidereg
    result = glidereg.register(fixed, moving, settings=glidereg.Settings.preset("default"))

Names are loaded when first used, so that importing this package imports no torch.
"""

from importlib import import_module

__version__ = "0.2.0"

_HOME = {
    "register": "GLIDERegLib.api",
    "correct": "GLIDERegLib.api",
    "Registration": "GLIDERegLib.api",
    "Settings": "GLIDERegLib.core.settings",
    "CancelToken": "GLIDERegLib.registration.progress",
    "Progress": "GLIDERegLib.registration.progress",
    "DisplacementField": "GLIDERegLib.registration.field",
    "Grid": "GLIDERegLib.core.geometry",
    "Volume": "GLIDERegLib.core.geometry",
    "read_volume": "GLIDERegLib.files.volumes",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
