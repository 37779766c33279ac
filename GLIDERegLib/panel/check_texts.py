"""The words of the page "Check": what its lists offer, and where the crosses are."""

from __future__ import annotations

from slicer.i18n import tr as _

from GLIDERegLib.scene.quality.maps import LANDMARK_ERROR
from GLIDERegLib.scene.review.table import written
from GLIDERegLib.scene.views import overlay
from GLIDERegLib.scene.views.crosshair import Position
from GLIDERegLib.scene.views.drawing import ARROWS, CONTOURS, GRID

LAYOUT_CHOICES = [
    ("Axial", _("Axial"), ""),
    ("Coronal", _("Coronal"), ""),
    ("Sagittal", _("Sagittal"), ""),
    ("All", _("All three"), ""),
]
DRAWINGS = [
    ("", _("Not drawn"), ""),
    (GRID, _("Grid"), _("A regular grid, bent as the transform bends space.")),
    (ARROWS, _("Arrows"), _("From each fixed point to its moving point.")),
    (CONTOURS, _("Contours"), _("Lines of equal displacement.")),
]
OVERLAYS = [
    (overlay.NOTHING, _("Nothing"), _("Views show what they showed before.")),
    (overlay.WARPED, _("Warped scan"), ""),
    (overlay.FADE, _("Warped scan, fading"), ""),
    (overlay.FLICKER, _("Warped scan, flickering"), _("What jumps does not match.")),
    (
        overlay.TWO_COLORS,
        _("Two colours: fixed orange, warped blue"),
        _("Grey where both agree, orange where the fixed scan is brighter, blue where the warped one is."),
    ),
    (
        overlay.DIFFERENCE,
        _("Difference, every voxel"),
        _("Even grey where both agree, brighter where the fixed scan is brighter."),
    ),
]
REVEAL = (overlay.REVEAL, _("Layer reveal cursor"), _("The warped scan in a window around the mouse."))
MAPS = [
    ("displacement", _("Map: displacement"), _("How far each place is moved, mm.")),
    (
        "jacobian",
        _("Map: volume change, moving / fixed"),
        _(
            "Jacobian determinant: blue where the moving scan is smaller, red where larger, "
            "yellow where it folds."
        ),
    ),
    ("difference", _("Map: difference"), _("Fixed minus warped intensity, HU.")),
    (
        "density",
        _("Map: difference, lung density corrected"),
        _(
            "In the lungs, fixed minus (warped + 1000) x Jacobian - 1000, HU: lung keeps its mass and gets "
            "lighter as it fills with air. Only for CT in HU."
        ),
    ),
    (
        LANDMARK_ERROR,
        _("Map: error at landmarks"),
        _("Expected between the landmarks, mm; hatched where none is within 12 mm."),
    ),
]
# Where there is a transform of its own for the way back.
CONSISTENCY = (
    "consistency",
    _("Map: inverse consistency error"),
    _("How far from its start a point ends through the transform and the independent one back, mm."),
)


def inSight(layout: str, overlaid: str, drawn: str) -> list[str]:
    """What the switches show, in the words of a record. layout: "" where nothing stands side by side."""
    titles = {value: title for value, title, _tip in [*OVERLAYS, REVEAL, *MAPS, CONSISTENCY, *DRAWINGS]}
    layouts = {value: title for value, title, _tip in LAYOUT_CHOICES}
    views = layouts[layout].lower() if layout else _("ordinary views")
    shown = [_("Side by side: {views}").format(views=views)] if layout else []
    if overlaid:
        shown.append(f"{titles.get(overlaid, overlaid)} ({views})")
    return [*shown, _("Deformation: {kind}").format(kind=titles[drawn].lower())] if drawn else shown


def positionText(position: Position) -> str:
    """Where the crosses are, in words."""

    lines = [
        _("Fixed: {place}").format(place=written(position.fixed)),
        _("Moving: {place}").format(place=written(position.moving)),
        _("Displacement {mm:.1f} mm").format(mm=position.displacement),
    ]
    if not position.insideFixed:
        lines.append(_("Outside the fixed scan: nothing was registered here."))
    if not position.insideMoving:
        lines.append(_("Outside the moving scan."))
    return "\n".join(lines)
