"""What to do about an error, in the terms of the panel: the library names no menu and no button."""

from __future__ import annotations

from slicer.i18n import tr as _

from GLIDERegLib.core.errors import GlideRegError

_INSTALL = _("Press Register again and agree to the installation of the packages.")
_ANEW = _("Load the data again, then start again.")
# By the error's code; for other codes the library's own hint holds in the panel too.
REMEDIES = {
    "no-overlap": _("Choose another Pre-alignment under Advanced, or check that both scans belong together."),
    "no-landmarks": _("Check that both scans show the same part of one patient."),
    "device": _("Choose another Device."),
    "memory": _(
        "Close other programs, or choose the preset fast, a coarser Working resolution under Advanced, or "
        "another Device."
    ),
    "initial-transform": _("Choose another Initial transform, or none."),
    "spacing": _("Choose another Working resolution under Advanced."),
    "weights-absent": _("Download the checkpoint on this page, or choose the features MIND (local)."),
    "weights": _("Download the checkpoint on this page again, or clear Custom checkpoint."),
    "checkpoint": _("Choose the file again under Custom checkpoint, or clear it."),
    "checkpoint-file": _("Download the checkpoint on this page again."),
    "package-sam2": _INSTALL,
    "package-transformers": _INSTALL,
    "dependency": _INSTALL,
    "encoder-memory": _("Choose another model under Advanced."),
    "mask": _("Draw the mask on the volume it belongs to, or leave it out."),
    "node-gone": _ANEW,
    "file-damaged": _ANEW,
    "file-incomplete": _ANEW,
    "file-missing": _ANEW,
    "request": _ANEW,
    "not-finite": _("Replace values that are not finite, for instance by air, or choose another volume."),
    "not-hounsfield": _("Choose the CT scan as it was reconstructed."),
    "not-3d": _("Choose a volume of several slices."),
    "transform": _("Take the volume out of its transforms in the module Data, or check them."),
    "points-unmatched": _("Give the two points of a place the same label, which no other point has."),
    "overwrites-input": _("Choose another output, or create a new one."),
    "structure-empty": _("Choose a larger structure, or draw it in the fixed scan."),
    "disk-full": _("Free space on the disk of Slicer's temporary folder."),
    "busy": _("Wait for its end, or cancel it."),
    "internal": _("Start it again; if it happens again, send the log to the developers."),
}
# Looked at one by one: what the library says of these is what a user of the panel can do too, or they come
# from files and options that no page of the panel offers.
LIBRARY_SAYS = frozenset(
    """backend cannot-write changed-since columns data-file-missing dicom-bits dicom-colour dicom-cut
    dicom-damaged dicom-direction dicom-gap dicom-kind dicom-mixed dicom-no-frame dicom-no-image
    dicom-no-scan dicom-one-slice dicom-other-scan dicom-phases dicom-registrations
    dicom-repeats dicom-series dicom-shifted dicom-split-series dicom-stacks dicom-tags dicom-tilt
    different-patients elastix empty endian field-kind field-space file-closed file-empty file-kind
    file-type folder geometry grid-differs grids-differ labels name-too-long nifti-2 not-measured
    one-scan overlap package-highdicom package-openpyxl plain-matrix points record record-scene
    record-tampered report report-failed scan-dates scene segment-names segmentation segments
    sequence setting sform singular sizes slicer-transform space system tolerances transform-foreign
    units values""".split()
)


def worded(message: str, hint: str, code: str = "") -> str:
    """What is wrong, and the remedy as a user of the panel finds it."""
    return f"{message.rstrip('.;')}. {REMEDIES.get(code, hint)}".strip()


def said(error: Exception) -> str:
    """An error as a page shows it."""
    if isinstance(error, GlideRegError):
        return worded(error.message, error.hint, error.code)
    return str(error)
