"""How a volume node's scan was acquired, by the DICOM files that it was loaded from."""

from __future__ import annotations

import slicer

from GLIDERegLib.core.acquisition import Acquisition, names_contrast
from GLIDERegLib.scene.registration.dicom_objects import UIDS

TAGS = {"kernel": "0018,1210", "thickness": "0018,0050", "agent": "0018,0010"}


def acquisitionOf(volume: slicer.vtkMRMLScalarVolumeNode) -> Acquisition:
    """Kernel, slice thickness and contrast medium; nothing for a scan that does not come from DICOM, or whose
    files have left Slicer's database.
    """
    uids = (volume.GetAttribute(UIDS) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.fileForInstance(uids[0]):
        return Acquisition()
    texts = {name: str(database.instanceValue(uids[0], tag) or "") for name, tag in TAGS.items()}
    # Of several values the first.
    kernel, thickness, agent = (text.split("\\")[0].strip() for text in texts.values())
    return Acquisition(kernel, _positive(thickness), names_contrast(agent))


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value > 0 else None
