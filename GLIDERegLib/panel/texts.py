"""What the panel says about a run: while it goes on, and at its end."""

from __future__ import annotations

from slicer.i18n import tr as _

from GLIDERegLib.scene.registration.outcome import Results
from GLIDERegLib.scene.registration.run import SceneRegistration
from GLIDERegLib.scene.sequence.run import SequenceRegistration
from GLIDERegLib.worker.job import State

# mm; a point that does not come back to itself within this lies where the field cannot be inverted.
DOUBTFUL_RESIDUAL_MM = 0.5
# What the engine calls its stages, in words for the reader of a scan.
STAGES = {
    "pre-alignment": _("Aligning the scans"),
    "kernels": _("Preparing kernels, once per machine"),
    "working grid": _("Preparing the scans"),
    "global features": _("Looking at the anatomy (SAM2)"),
    "reduction": _("Reducing the anatomy features"),
    "local features": _("Describing local structure"),
    "convex optimisation": _("Searching for the motion"),
    "refinement": _("Refining the motion"),
    "symmetry": _("Comparing both directions"),
    "result": _("Making the results"),
}


def runningText(registration: SceneRegistration | SequenceRegistration) -> str:
    """The stage, the time it has taken, and the time it will take."""
    stage = STAGES.get(registration.stage, _("Starting"))
    text = _("{stage}: {time} elapsed").format(stage=stage, time=_clock(registration.elapsed))
    if registration.remaining is None:
        return text
    return text + _(", about {time} left").format(time=_clock(registration.remaining))


def sequenceRunningText(registration: SequenceRegistration) -> str:
    """The frame at work, and of the whole study what `runningText` tells."""
    frame = _("Frame {number} of {total} ({frame})").format(
        number=min(registration.done + 1, registration.total),
        total=registration.total,
        frame=registration.frame,
    )
    return f"{frame}\n{runningText(registration)}"


def sequenceSummary(registration: SequenceRegistration) -> str:
    """What a user wants to know at once about a registered study."""
    failures = registration.failures
    lines = [
        _("Registered {number} of {total} frames to '{reference}' in {time} on {device}.").format(
            number=registration.total - len(failures),
            total=registration.total,
            reference=registration.results.reference.GetName(),
            time=_clock(registration.elapsed),
            device=registration.device,
        )
    ]
    if registration.state is State.CANCELLED:
        lines.insert(0, _("Stopped by user; the frames that were done are kept."))
    for frame, reason in failures.items():
        lines.append(_("No result for {frame}: {reason}").format(frame=frame, reason=reason))
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def summary(results: Results, device: str) -> str:
    """What a user wants to know at once about a result."""
    report = results.report
    compared = {
        "local": _("local structure"),
        "global": _("anatomy"),
        "both": _("local structure and anatomy"),
    }[report["features"]]
    # What casts doubt on the whole result is read first.
    lines = [
        *report.get("plausibility", {}).get("doubts", ()),
        _("Registered in {time} on {device}, compared by {features}.").format(
            time=_clock(report["seconds"]), device=device, features=compared
        ),
        _("Folded: {share:.2f} % of the body.").format(share=100 * report["jacobian"]["share_not_positive"]),
    ]
    if report["stopped_early"]:
        lines.append(_("Ended early: this is the result so far, not the best that can be reached."))
    if correction := report.get("correction"):
        lines.append(
            _("Points met: {before:.1f} mm off before, {after:.1f} mm after, at most.").format(
                before=max(correction["before_mm"]), after=max(correction["after_mm"])
            )
        )
    points = [point for carried in results.points.values() for point in carried]
    if points:
        lines.append(_("Nodules carried: {number}.").format(number=len(points)))
    doubtful = [
        p.label for p in points if not (p.insideField and p.insideMoving) or p.residual > DOUBTFUL_RESIDUAL_MM
    ]
    if beyond := [p.label for p in points if not p.insideMoving]:
        lines.append(
            _("Outside the moving scan, where nothing can be compared: {labels}.").format(
                labels=", ".join(beyond)
            )
        )
    if doubtful:
        lines.append(_("Look at these nodules with care: {labels}.").format(labels=", ".join(doubtful)))
    return "\n".join(lines)
