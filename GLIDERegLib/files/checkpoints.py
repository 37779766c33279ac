"""The checkpoints of SAM2 and DINOv2 that Meta published: where they are, what they must hash to, and how
they get here.

Meta publishes no hashes. Those below are quoted alike by several public projects that fetched the files; for
DINOv2 the script `convert_dinov2.py` of Refiners is one that has them all beside Meta's addresses.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from GLIDERegLib.core.errors import InputError, WeightsError

_HOST = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Checkpoint:
    """One published file. name: of its network. size: bytes."""

    name: str
    url: str
    size: int
    sha256: str
    licence: str = "Apache-2.0"

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class CheckpointStatus:
    """A row of `glidereg weights list`. path: None where absent. verified: size and SHA-256 are right."""

    name: str
    size: int
    path: Path | None
    verified: bool


def _sam2(name: str, release: str, size: int, sha256: str) -> Checkpoint:
    return Checkpoint(name, f"{_HOST}/segment_anything_2/{release}/{name}.pt", size, sha256)


def _dinov2(name: str, size: int, sha256: str) -> Checkpoint:
    file = f"{name.replace('_reg', '_reg4')}_pretrain.pth"
    return Checkpoint(name, f"{_HOST}/dinov2/{name.removesuffix('_reg')}/{file}", size, sha256)


# fmt: off
CHECKPOINTS = {entry.name: entry for entry in (
    _sam2("sam2.1_hiera_tiny", "092824", 156_008_466,
          "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _sam2("sam2.1_hiera_small", "092824", 184_416_285,
          "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _sam2("sam2.1_hiera_base_plus", "092824", 323_606_802,
          "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _sam2("sam2.1_hiera_large", "092824", 898_083_611,
          "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    _sam2("sam2_hiera_tiny", "072824", 155_906_050,
          "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    _sam2("sam2_hiera_small", "072824", 184_309_650,
          "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
    _sam2("sam2_hiera_base_plus", "072824", 323_493_298,
          "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    _sam2("sam2_hiera_large", "072824", 897_952_466,
          "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
    _dinov2("dinov2_vits14", 88_283_115,
            "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
    _dinov2("dinov2_vitb14", 346_378_731,
            "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
    _dinov2("dinov2_vitl14", 1_217_586_395,
            "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"),
    _dinov2("dinov2_vitg14", 4_546_108_579,
            "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3"),
    _dinov2("dinov2_vits14_reg", 88_291_785,
            "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb"),
    _dinov2("dinov2_vitb14_reg", 346_393_545,
            "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71"),
    _dinov2("dinov2_vitl14_reg", 1_217_607_321,
            "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51"),
    _dinov2("dinov2_vitg14_reg", 4_546_140_349,
            "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283"),
)}
# fmt: on


def weights_folder() -> Path:
    """Where checkpoints are kept: the environment variable GLIDEREG_WEIGHTS, else the user's cache folder."""
    from platformdirs import user_cache_dir

    chosen = os.environ.get("GLIDEREG_WEIGHTS")
    # What pooch takes too, which loads half of the network's packages.
    return Path(chosen) if chosen else Path(user_cache_dir("glidereg")) / "weights"


def find(name: str) -> Path | None:
    """Path of a checkpoint in the weights folder, None where it is absent; its content is not checked."""
    path = weights_folder() / _known(name).file
    return path if path.is_file() else None


def download(
    name: str,
    progress: bool | Callable[[float], None] = True,
    base_url: str | None = None,
    folder: Path | None = None,
) -> Path:
    """Fetches a checkpoint into the weights folder, unless it is there and right.

    progress: whether to show a bar on standard error, or what to call with the fraction done (0 to 1) while
    it arrives; what it raises ends the download.
    base_url: another address of the folder the file is in (a mirror). The file appears under its name only
    when whole and of the right SHA-256. Raises WeightsError otherwise; without network, its message says what
    to fetch by hand and where to put it.
    """
    import pooch
    from requests.exceptions import RequestException

    entry = _known(name)
    url = f"{base_url.rstrip('/')}/{entry.file}" if base_url else entry.url
    folder = Path(folder) if folder is not None else weights_folder()
    pooch.get_logger().setLevel("WARNING")  # the progress bar says what happens
    path, partial = folder / entry.file, partial_folder(name, folder)
    if path.is_file() and pooch.file_hash(str(path)) == entry.sha256:
        return path
    bar = _Fractions(progress, entry.size) if callable(progress) else progress
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 18)
    try:
        os.replace(
            pooch.retrieve(url, f"sha256:{entry.sha256}", entry.file, partial, downloader=downloader), path
        )
        return path
    except RequestException as error:
        raise WeightsError(_by_hand(entry, url, folder, f"could not be downloaded ({error})")) from error
    except ValueError as error:
        raise WeightsError(
            f"What {url} delivered is not {entry.file}: its SHA-256 is not {entry.sha256}; nothing was kept.",
            "Try again later, or get the file elsewhere.",
        ) from error
    except OSError as error:
        raise WeightsError(
            f"{entry.file} cannot be written to {folder} ({error}).",
            "Set GLIDEREG_WEIGHTS to another folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def partial_folder(name: str, folder: Path | None = None) -> Path:
    """Where a checkpoint that this process downloads arrives; who kills the process deletes it."""
    return (folder or weights_folder()) / f"{_known(name).file}-{os.getpid()}.partial"


class _Fractions:
    """What pooch takes for a progress bar; tells a callback the fraction of `size` bytes."""

    def __init__(self, tell: Callable[[float], None], size: int):
        self._tell, self._size, self._done = tell, size, 0
        self.total = size  # pooch writes it

    def update(self, count: int) -> None:
        self._done += count
        self._tell(min(self._done / self._size, 1.0))

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing is open."""


def remove(name: str) -> bool:
    """Deletes a checkpoint from the weights folder; False where there was none.

    Raises WeightsError where the file cannot be deleted.
    """
    path = find(name)
    if path is None:
        return False
    try:
        path.unlink()
    except OSError as error:
        raise WeightsError(f"{path} cannot be deleted ({error}).", "Close what uses it.") from error
    return True


def verify(path: Path, name: str | None = None) -> str:
    """Name of the published checkpoint a file is, by its SHA-256; with `name`, it must be that one.

    Raises WeightsError where the file is missing, incomplete or none of them, as a fine-tuned one is.
    """
    import pooch

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint {path}.", "Check the path.")
    size = path.stat().st_size
    candidates = [_known(name)] if name is not None else list(CHECKPOINTS.values())
    fitting = [entry for entry in candidates if entry.size == size]
    digest = pooch.file_hash(str(path)) if fitting else None
    for entry in fitting:
        if entry.sha256 == digest:
            return entry.name
    if name is None:
        raise WeightsError(
            f"{path} is none of the published checkpoints ({size:,} bytes); only those can be verified."
        )
    if not fitting:
        raise WeightsError(
            f"{path} has {size:,} bytes, but {name} has {candidates[0].size:,}.", "Download it again."
        )
    raise WeightsError(f"{path} is not {name}: its SHA-256 is {digest}.", "Download it again.")


def statuses() -> list[CheckpointStatus]:
    """All published checkpoints and whether the weights folder has them; hashes every file that is there."""
    return [
        CheckpointStatus(name, entry.size, find(name), _is_whole(name)) for name, entry in CHECKPOINTS.items()
    ]


def _is_whole(name: str) -> bool:
    path = find(name)
    try:
        return path is not None and verify(path, name) == name
    except WeightsError:
        return False


def _known(name: str) -> Checkpoint:
    if name not in CHECKPOINTS:
        raise InputError(
            f"There is no checkpoint {name}.",
            f"Choose one of {', '.join(CHECKPOINTS)}.",
            code="checkpoint-file",
        )
    return CHECKPOINTS[name]


def how_to_get(name: str) -> str:
    """What to tell a user whose run needs a checkpoint that is not there."""
    entry = _known(name)
    return _by_hand(entry, entry.url, weights_folder(), "is not here")


def _by_hand(entry: Checkpoint, url: str, folder: Path, reason: str) -> str:
    return (
        f"{entry.file} {reason}.\n"
        f"Download it on another machine and put it into the folder below.\n"
        f"  address: {url}\n"
        f"  SHA-256: {entry.sha256}\n"
        f"  folder:  {folder}"
    )
