"""Data sets that registrations are judged on: what a user's folder must hold, and the cases found in it."""

from __future__ import annotations

from pathlib import Path

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets import (
    dirlab,
    families,
    generated,
    learn2reg,
    lung250m,
    nodules,
    pairs,
    popi,
    truth,
)
from GLIDERegLib.studies.datasets.dataset import DataSet
from GLIDERegLib.studies.datasets.generated import phantoms, warped_scans
from GLIDERegLib.studies.datasets.pairs import read_pairs

__all__ = ["DATA_SETS", "WITHOUT_FOLDER", "DataSet", "find_cases", "phantoms", "read_pairs", "warped_scans"]

DATA_SETS: dict[str, DataSet] = {
    data_set.name: data_set
    for data_set in (
        lung250m.LUNG250M,
        dirlab.FOUR_D_CT,
        dirlab.COPDGENE,
        learn2reg.LEARN2REG,
        nodules.NODULES,
        popi.POPI,
        pairs.PAIRS,
        generated.PHANTOM,
        generated.WARPED,
        truth.TEXTURED,
        truth.KNOWN_TRUTH,
        families.RANDOM,
        families.THICK_SLICES,
        families.MR_LIKE,
    )
}
# Kinds whose folder may be the list itself.
LISTS = (pairs.PAIRS.name, nodules.NODULES.name)
# Kinds that are generated without one.
WITHOUT_FOLDER = tuple(
    kind.name for kind in (generated.PHANTOM, families.RANDOM, families.THICK_SLICES, families.MR_LIKE)
)


def find_cases(kind: str, folder: Path, work: Path) -> list[Case]:
    """The cases of a data set of a kind (a key of `DATA_SETS`) in a user's folder, which is never changed.

    work: folder for converted files (points in LPS mm, volumes with a header); they are made once and reused.
    The kinds `WITHOUT_FOLDER` read none. Raises InputError for an unknown kind and, in one sentence that
    names what is missing or damaged, for a folder that is not laid out as the kind's `layout` says.
    """
    if kind not in DATA_SETS:
        raise InputError(
            f"There is no data set of the kind '{kind}'.",
            f"Choose one of {', '.join(DATA_SETS)}.",
            code="file-damaged",
        )
    folder = Path(folder)
    if kind not in WITHOUT_FOLDER and not (folder.is_dir() or (kind in LISTS and folder.is_file())):
        raise InputError(f"There is no folder '{folder}'.", "Check the path.", code="file-missing")
    return DATA_SETS[kind].find(folder, Path(work))
