"""Pairs whose truth came with them: generated or made of real scans by somebody else, nothing of ours in
them.

A pair's folder holds fixed, moving and truth (the displacement of the fixed point, LPS mm, a vector image),
points of both, and as wanted label maps, the lungs and where the truth may be judged.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import DataSet, Shortcomings

NEEDED = {
    "fixed": "fixed.nii.gz",
    "moving": "moving.nii.gz",
    "truth": "truth.nii.gz",
    "fixed_points": "fixed_points.csv",
    "moving_points": "moving_points.csv",
}
# The first of these names that is there.
WANTED = {
    "fixed_labels": ("fixed_labels.nii.gz", "fixed_seg.nii.gz"),
    "moving_labels": ("moving_labels.nii.gz", "moving_seg.nii.gz"),
    "lungs": ("fixed_lungs.nii.gz", "fixed_lung.nii.gz"),
    "scored": ("score.nii.gz", "body.nii.gz"),
}


def find(title: str, family: str, folder: Path, _work: Path) -> list[Case]:
    """A case for every folder inside that holds a fixed image, or for the folder itself."""
    lacking = Shortcomings(title, folder)
    places = [folder] if (folder / NEEDED["fixed"]).is_file() else sorted(folder.iterdir())
    places = [place for place in places if place.is_dir() and (place / NEEDED["fixed"]).is_file()]
    if not places:
        lacking.note(f"no folder holds '{NEEDED['fixed']}'")
    cases = []
    for place in places:
        files = {role: lacking.need(place / name) for role, name in NEEDED.items()}
        for role, names in WANTED.items():
            there = [place / name for name in names if (place / name).is_file()]
            files |= {role: there[0]} if there else {}
        if ("fixed_labels" in files) != ("moving_labels" in files):
            lacking.note(f"'{place.name}' has label maps of one image alone")
        cases.append(Case(place.name, **files, family=family))
    lacking.refuse()
    return cases


def _data_set(name: str, title: str, source: str) -> DataSet:
    layout = f"""\
FOLDER/                                                 (or the folder of one pair)
  PAIR/
    {", ".join(NEEDED.values())}
    if any: {"; ".join(" or ".join(names) for names in WANTED.values())}"""
    return DataSet(name, title, source, layout, partial(find, title, name))


TEXTURED = _data_set(
    "textured",
    "Textured phantoms with known truth",
    "Phantoms of another generator than ours, whose parenchyma and soft tissue have texture.",
)
KNOWN_TRUTH = _data_set(
    "known_truth",
    "Real scans warped by real breathing, truth known",
    "Real chest CT under motion predicted for other patients: other grid, thickness, density and noise.",
)
