"""What the panel says about a run: while it goes on, and at its end."""

from __future__ import annotations

from slicer.i18n import tr as _

from GLIDERegLib.panel.remedies import said
from GLIDERegLib.scene.follow_up.run import FollowUp
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
    "global features": _("Extracting SAM2 features"),
    "reduction": _("Reducing SAM2 features"),
    "local features": _("Computing MIND features"),
    "convex optimisation": _("Coupled convex optimisation"),
    "refinement": _("Instance optimisation"),
    "symmetry": _("Comparing both directions"),
    "result": _("Making the results"),
}


def runningText(registration: SceneRegistration | SequenceRegistration | FollowUp) -> str:
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


def followUpRunningText(run: FollowUp) -> str:
    """The scan at work and what `runningText` tells of it; at the end, that nodules are measured."""
    if not run.frame:
        return _("Measuring nodules in the original scans")
    scan = _("Scan {number} of {total} ({day})").format(
        number=min(run.done + 1, run.total), total=run.total, day=run.frame
    )
    return f"{scan}\n{runningText(run)}"


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
        lines.append(_("No result for {frame}: {reason}").format(frame=frame, reason=said(reason)))
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def summary(results: Results, device: str) -> str:
    """What a user wants to know at once about a result."""
    report = results.report
    compared = {
        "local": _("MIND (local)"),
        "global": _("SAM2 (global)"),
        "both": _("MIND (local) and SAM2 (global)"),
    }[report["features"]]
    # What casts doubt on the whole result is read first.
    lines = [
        *report.get("plausibility", {}).get("doubts", ()),
        _("Registered in {time} on {device}. Features: {features}.").format(
            time=_clock(report["seconds"]), device=device, features=compared
        ),
    ]
    if folding := report["jacobian"]["share_not_positive"]:
        lines.append(
            _("Folding (Jacobian ≤ 0): {share:.2f} % of the body's voxels.").format(share=100 * folding)
        )
    if report["stopped_early"]:
        lines.append(_("Stopped by user, intermediate result."))
    if correction := report.get("correction"):
        lines.append(
            _("Landmark error, largest: {before:.1f} mm before, {after:.1f} mm after.").format(
                before=max(correction["before_mm"]), after=max(correction["after_mm"])
            )
        )
    points = [point for propagated in results.points.values() for point in propagated]
    if points:
        lines.append(_("Nodules propagated: {number}.").format(number=len(points)))
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
        lines.append(_("Review recommended: {labels}.").format(labels=", ".join(doubtful)))
    return "\n".join(lines)
