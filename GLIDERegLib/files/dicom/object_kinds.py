"""What a DICOM object is, where it is no scan: named, so that a refusal says more than "no image"."""

from __future__ import annotations

# SOP classes by their beginning (DICOM PS3.4, B.5), the longer ones first.
STORAGE = "1.2.840.10008.5.1.4.1.1."
CLASSES = {
    "481.2": "a radiotherapy dose (RTDOSE)",
    "481.3": "a radiotherapy structure set (RTSTRUCT)",
    "481.5": "a radiotherapy plan (RTPLAN)",
    "481.8": "a radiotherapy plan (RTPLAN)",
    "481": "a radiotherapy object",
    "11": "a presentation state (PR)",
    "88.59": "a key object selection (KO)",
    "88": "a structured report (SR)",
    "66.1": "a registration (REG)",
    "66.3": "a registration (REG)",
    "66.4": "a segmentation (SEG)",
    "66.5": "a segmentation (SEG)",
    "66.7": "a segmentation (SEG)",
    "66.2": "a set of spatial fiducials",
    "66": "raw data",
    "30": "a parametric map",
    "67": "a real world value mapping",
    "104": "an encapsulated document",
    "9": "a waveform",
}
# Where the class is absent or unknown.
MODALITIES = {
    "RTDOSE": CLASSES["481.2"],
    "RTSTRUCT": CLASSES["481.3"],
    "RTPLAN": CLASSES["481.5"],
    "PR": CLASSES["11"],
    "KO": CLASSES["88.59"],
    "SR": CLASSES["88"],
    "REG": CLASSES["66.1"],
    "SEG": CLASSES["66.4"],
    "DOC": CLASSES["104"],
}
SECONDARY_CAPTURE = f"{STORAGE}7"


def other_than_scan(texts: dict[str, str]) -> str:
    """What an object with these tags (SOPClassUID, Modality) is for a reader; empty for an image."""
    uid = texts["SOPClassUID"]
    if uid.startswith(STORAGE):
        kind = uid.removeprefix(STORAGE)
        for start, named in CLASSES.items():
            if kind == start or kind.startswith(f"{start}."):
                return named
    return MODALITIES.get(texts["Modality"].upper(), "")


def is_secondary_capture(texts: dict[str, str]) -> bool:
    """True for a picture that a program made, as of a screen; some programs write whole scans as such."""
    uid = texts["SOPClassUID"]
    return uid == SECONDARY_CAPTURE or uid.startswith(f"{SECONDARY_CAPTURE}.")
