"""How a scan was acquired and reconstructed, as far as it says, and in what two scans differ."""

from __future__ import annotations

from dataclasses import dataclass

# Edges of voxels and slices that differ by less than this share are alike.
ALIKE_SHARE = 0.25
# Noise of one kernel and dose changes by less than this factor from breath to breath; a judgement.
ALIKE_NOISE = 1.8


@dataclass(frozen=True)
class Acquisition:
    """What is known of one scan; None, or empty, where nothing is.

    kernel, thickness_mm (of the slices), contrast (whether a contrast medium is named): from DICOM.
    voxel_mm: edges along x, y, z. noise_hu: standard deviation between neighbours in the lung.
    """

    kernel: str = ""
    thickness_mm: float | None = None
    contrast: bool | None = None
    voxel_mm: tuple[float, float, float] | None = None
    noise_hu: float | None = None


def names_contrast(agent: str) -> bool:
    """Whether what DICOM says under ContrastBolusAgent means that there was one."""
    return agent.strip().casefold() not in ("", "none", "no", "without")


def differences(earlier: Acquisition, later: Acquisition) -> list[str]:
    """What differs between two scans and makes their measurements less comparable, in words."""
    found = []
    if earlier.kernel and later.kernel:
        if earlier.kernel.casefold() != later.kernel.casefold():
            found.append(f"reconstruction kernel {earlier.kernel} and {later.kernel}")
    elif _apart(earlier.noise_hu, later.noise_hu, ALIKE_NOISE - 1):
        noise = f"noise {earlier.noise_hu:.0f} and {later.noise_hu:.0f} HU"
        found.append(f"{noise} (another reconstruction kernel or dose)")
    thick, thick_later = _thickness(earlier), _thickness(later)
    slices = _apart(thick, thick_later, ALIKE_SHARE)
    if slices:
        found.append(f"slices of {thick:.2g} and {thick_later:.2g} mm")
    if earlier.voxel_mm and later.voxel_mm:
        for what, axis in (("pixels", 0), ("distance of slices", 2)):
            a, b = earlier.voxel_mm[axis], later.voxel_mm[axis]
            said = axis == 2 and slices
            if _apart(a, b, ALIKE_SHARE) and not said:
                found.append(
                    f"{what} of {a:.2g} and {b:.2g} mm" if axis == 0 else f"{what} {a:.2g} and {b:.2g} mm"
                )
    if None not in (earlier.contrast, later.contrast) and earlier.contrast != later.contrast:
        found.append(f"contrast medium only in the {'later' if later.contrast else 'earlier'} scan")
    return found


def _thickness(scan: Acquisition) -> float | None:
    return scan.thickness_mm or (scan.voxel_mm[2] if scan.voxel_mm else None)


def _apart(a: float | None, b: float | None, share: float) -> bool:
    return bool(a and b and max(a, b) > (1 + share) * min(a, b))
