"""The SAM2 checkpoints Meta published: where they are, what they must hash to, and how they get here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pooch
from requests.exceptions import RequestException

from GLIDERegLib.errors import InputError, WeightsError

_HOST = "https://dl.fbaipublicfiles.com/segment_anything_2"


@dataclass(frozen=True)
class Checkpoint:
    """One published file. size: bytes. config: the network's configuration inside the package `sam2`."""

    name: str
    url: str
    size: int
    sha256: str
    config: str
    licence: str = "Apache-2.0"

    @property
    def file(self) -> str:
        return f"{self.name}.pt"


@dataclass(frozen=True)
class CheckpointStatus:
    """A row of `glidereg weights list`. path: None where absent. verified: size and SHA-256 are right."""

    name: str
    size: int
    path: Path | None
    verified: bool


def _entry(name: str, release: str, config: str, size: int, sha256: str) -> Checkpoint:
    return Checkpoint(name, f"{_HOST}/{release}/{name}.pt", size, sha256, f"configs/{config}.yaml")


# fmt: off
CHECKPOINTS = {entry.name: entry for entry in (
    _entry("sam2.1_hiera_tiny", "092824", "sam2.1/sam2.1_hiera_t", 156_008_466,
           "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _entry("sam2.1_hiera_small", "092824", "sam2.1/sam2.1_hiera_s", 184_416_285,
           "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _entry("sam2.1_hiera_base_plus", "092824", "sam2.1/sam2.1_hiera_b+", 323_606_802,
           "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _entry("sam2.1_hiera_large", "092824", "sam2.1/sam2.1_hiera_l", 898_083_611,
           "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    _entry("sam2_hiera_tiny", "072824", "sam2/sam2_hiera_t", 155_906_050,
           "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    _entry("sam2_hiera_small", "072824", "sam2/sam2_hiera_s", 184_309_650,
           "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
    _entry("sam2_hiera_base_plus", "072824", "sam2/sam2_hiera_b+", 323_493_298,
           "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    _entry("sam2_hiera_large", "072824", "sam2/sam2_hiera_l", 897_952_466,
           "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
)}
# fmt: on


def weights_folder() -> Path:
    """Where checkpoints are kept: the environment variable GLIDEREG_WEIGHTS, else the user's cache folder."""
    chosen = os.environ.get("GLIDEREG_WEIGHTS")
    return Path(chosen) if chosen else Path(pooch.os_cache("glidereg")) / "weights"


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
            f"What {url} delivered is not {entry.file}: its SHA-256 is not {entry.sha256}; nothing was kept."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"{entry.file} cannot be written to {folder} ({error}); set GLIDEREG_WEIGHTS to another folder."
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
        raise WeightsError(f"{path} cannot be deleted ({error}); close what uses it.") from error
    return True


def verify(path: Path, name: str | None = None) -> str:
    """Name of the published checkpoint a file is, by its SHA-256; with `name`, it must be that one.

    Raises WeightsError where the file is missing, incomplete or none of them, as a fine-tuned one is.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint {path}.")
    size = path.stat().st_size
    candidates = [_known(name)] if name is not None else list(CHECKPOINTS.values())
    fitting = [entry for entry in candidates if entry.size == size]
    digest = pooch.file_hash(str(path)) if fitting else None
    for entry in fitting:
        if entry.sha256 == digest:
            return entry.name
    if name is None:
        raise WeightsError(
            f"{path} is none of the published SAM2 checkpoints ({size:,} bytes); only those can be verified."
        )
    if not fitting:
        raise WeightsError(
            f"{path} has {size:,} bytes, but {name} has {candidates[0].size:,}; download it again."
        )
    raise WeightsError(f"{path} is not {name}: its SHA-256 is {digest}; download it again.")


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
        raise InputError(f"There is no checkpoint {name}; choose one of {', '.join(CHECKPOINTS)}.")
    return CHECKPOINTS[name]


def how_to_get(name: str) -> str:
    """What to tell a user whose run needs a checkpoint that is not there."""
    entry = _known(name)
    reason = f"is not here (with network: glidereg weights download {name})"
    return _by_hand(entry, entry.url, weights_folder(), reason)


def _by_hand(entry: Checkpoint, url: str, folder: Path, reason: str) -> str:
    return (
        f"{entry.file} {reason}.\n"
        f"Download it on another machine and put it into the folder below.\n"
        f"  address: {url}\n"
        f"  SHA-256: {entry.sha256}\n"
        f"  folder:  {folder}"
    )
