import dataclasses
import hashlib
import http.server
import re
import socket
import threading
from pathlib import Path

import pytest

from GLIDERegLib.core.errors import InputError, WeightsError
from GLIDERegLib.core.networks import NETWORKS
from GLIDERegLib.files import checkpoints

NAME = "sam2.1_hiera_tiny"
CONTENT = bytes(range(256)) * 2000


class Host(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT as a checkpoint; the folder in the address chooses what goes wrong."""

    requests = 0

    def do_GET(self):
        type(self).requests += 1
        kind = self.path.split("/")[1]
        if kind == "missing" or not self.path.endswith(f"/{NAME}.pt"):
            self.send_error(404)
            return
        body = CONTENT if kind != "wrong" else CONTENT[::-1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind == "truncated" else body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def host():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def small_checkpoint(monkeypatch, tmp_path):
    """The table's entry describes CONTENT, and the weights folder is the test's own."""
    entry = dataclasses.replace(
        checkpoints.CHECKPOINTS[NAME], size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
    )
    monkeypatch.setitem(checkpoints.CHECKPOINTS, NAME, entry)
    monkeypatch.setenv("GLIDEREG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return entry


def files_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_downloads_to_the_weights_folder_and_then_finds_it(host, tmp_path):
    assert checkpoints.find(NAME) is None
    path = checkpoints.download(NAME, progress=False, base_url=f"{host}/good")
    assert path == tmp_path / "weights" / f"{NAME}.pt" == checkpoints.find(NAME)
    assert path.read_bytes() == CONTENT
    assert files_in(path.parent) == [path.name]


def test_downloads_from_the_tables_own_address(host, small_checkpoint, monkeypatch):
    entry = dataclasses.replace(small_checkpoint, url=f"{host}/good/{NAME}.pt")
    monkeypatch.setitem(checkpoints.CHECKPOINTS, NAME, entry)
    assert checkpoints.download(NAME, progress=False).read_bytes() == CONTENT


def test_a_whole_file_is_not_fetched_again_and_a_damaged_one_is(host, tmp_path):
    path = checkpoints.download(NAME, progress=False, base_url=f"{host}/good", folder=tmp_path)
    before = Host.requests
    checkpoints.download(NAME, progress=False, base_url=f"{host}/good", folder=tmp_path)
    assert Host.requests == before
    path.write_bytes(CONTENT[:100])
    checkpoints.download(NAME, progress=False, base_url=f"{host}/good/", folder=tmp_path)
    assert path.read_bytes() == CONTENT


def test_progress_goes_to_standard_error_only_when_wanted(host, tmp_path, capfd):
    checkpoints.download(NAME, progress=False, base_url=f"{host}/good", folder=tmp_path / "quiet")
    assert capfd.readouterr() == ("", "")
    checkpoints.download(NAME, progress=True, base_url=f"{host}/good", folder=tmp_path / "loud")
    out, err = capfd.readouterr()
    assert out == "" and "100%" in err


def test_a_file_of_another_hash_is_refused_and_not_kept(host, tmp_path):
    with pytest.raises(WeightsError, match="SHA-256") as refused:
        checkpoints.download(NAME, progress=False, base_url=f"{host}/wrong", folder=tmp_path)
    assert "\n" not in str(refused.value)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("kind", ["truncated", "missing"])
def test_a_failed_download_leaves_nothing_behind(host, kind, tmp_path):
    with pytest.raises(WeightsError):
        checkpoints.download(NAME, progress=False, base_url=f"{host}/{kind}", folder=tmp_path)
    assert files_in(tmp_path) == []


def test_a_failed_download_keeps_the_file_that_was_there(host, tmp_path):
    path = tmp_path / f"{NAME}.pt"
    path.write_bytes(b"an older file")
    with pytest.raises(WeightsError):
        checkpoints.download(NAME, progress=False, base_url=f"{host}/truncated", folder=tmp_path)
    assert path.read_bytes() == b"an older file" and files_in(tmp_path) == [path.name]


def test_without_network_the_message_says_what_to_fetch_and_where_to_put_it(tmp_path, small_checkpoint):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(WeightsError) as refused:
            checkpoints.download(NAME, progress=False, base_url=address, folder=tmp_path)
    message = str(refused.value)
    for needed in f"{NAME}.pt", f"{address}/{NAME}.pt", small_checkpoint.sha256, str(tmp_path):
        assert needed in message
    assert files_in(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(host, tmp_path):
    blocked = tmp_path / "file" / "weights"
    blocked.parent.write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match="GLIDEREG_WEIGHTS") as refused:
        checkpoints.download(NAME, progress=False, base_url=f"{host}/good", folder=blocked)
    assert str(blocked) in str(refused.value)


def test_verify_tells_which_checkpoint_a_file_is(tmp_path):
    path = tmp_path / "renamed.pt"
    path.write_bytes(CONTENT)
    assert checkpoints.verify(path) == NAME
    assert checkpoints.verify(path, NAME) == NAME


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (CONTENT[:-1], NAME, "511,999 bytes, but .* 512,000"),
        (CONTENT[::-1], NAME, "SHA-256"),
        (CONTENT, "sam2_hiera_large", "bytes"),
        (CONTENT[::-1], None, "none of the published"),
        (None, NAME, "There is no checkpoint"),
    ],
)
def test_verify_refuses_what_does_not_match(content, name, message, tmp_path):
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as refused:
        checkpoints.verify(path, name)
    assert "\n" not in str(refused.value)


def test_statuses_tell_absent_from_damaged_from_verified(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / f"{NAME}.pt").write_bytes(CONTENT)
    (folder / "sam2_hiera_small.pt").write_bytes(b"half")
    rows = {row.name: row for row in checkpoints.statuses()}
    assert list(rows) == list(checkpoints.CHECKPOINTS)
    assert rows[NAME].verified and rows[NAME].size == len(CONTENT)
    assert rows["sam2_hiera_small"].path is not None and not rows["sam2_hiera_small"].verified
    assert rows["sam2_hiera_large"].path is None and not rows["sam2_hiera_large"].verified


@pytest.mark.parametrize("call", [checkpoints.find, checkpoints.download, checkpoints.remove])
def test_an_unknown_name_lists_the_known_ones(call):
    with pytest.raises(InputError, match="sam2_hiera_base_plus"):
        call("sam3")


def test_weights_folder_is_in_the_users_cache_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    assert checkpoints.weights_folder() == tmp_path / "weights"
    monkeypatch.delenv("GLIDEREG_WEIGHTS")
    assert checkpoints.weights_folder().parts[-2:] == ("glidereg", "weights")


def test_every_network_has_a_checkpoint_and_every_sam2_one_its_configuration():
    encoder = pytest.importorskip("GLIDERegLib.registration.features.sam2")
    from importlib import resources

    assert list(checkpoints.CHECKPOINTS) == list(NETWORKS)
    assert set(encoder.CONFIGS) == {name for name, entry in NETWORKS.items() if entry.package == "sam2"}
    for config in encoder.CONFIGS.values():
        assert (resources.files("sam2") / config).is_file()


def test_entries_have_metas_addresses_and_whole_hashes():
    entries = checkpoints.CHECKPOINTS
    assert len({entry.sha256 for entry in entries.values()}) == len(
        {entry.size for entry in entries.values()}
    )
    assert all(re.fullmatch("[0-9a-f]{64}", entry.sha256) for entry in entries.values())
    host = "https://dl.fbaipublicfiles.com"
    assert entries["sam2_hiera_large"].url == f"{host}/segment_anything_2/072824/sam2_hiera_large.pt"
    assert entries["dinov2_vits14"].url == f"{host}/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"
    registers = entries["dinov2_vitl14_reg"]
    assert registers.url == f"{host}/dinov2/dinov2_vitl14/{registers.file}"
    assert registers.file == "dinov2_vitl14_reg4_pretrain.pth"


def test_a_callback_is_told_rising_fractions_up_to_one(host, tmp_path):
    told = []
    checkpoints.download(NAME, progress=told.append, base_url=f"{host}/good", folder=tmp_path)
    assert told == sorted(told) and told[-1] == 1.0 and 0 < told[0] < 1
    assert files_in(tmp_path) == [f"{NAME}.pt"]


def test_what_a_callback_raises_ends_the_download_and_nothing_is_left(host, tmp_path):
    def stop(fraction):
        raise InputError("enough")

    with pytest.raises(InputError, match="enough"):
        checkpoints.download(NAME, progress=stop, base_url=f"{host}/good", folder=tmp_path)
    assert files_in(tmp_path) == []


def test_remove_deletes_one_checkpoint_and_says_whether_it_was_there(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in (NAME, "sam2_hiera_large"):
        (folder / f"{name}.pt").write_bytes(CONTENT)
    assert checkpoints.remove(NAME)
    assert files_in(folder) == ["sam2_hiera_large.pt"]
    assert not checkpoints.remove(NAME)


def test_a_file_that_cannot_be_deleted_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / f"{NAME}.pt").write_bytes(CONTENT)

    def refuse(path):
        raise PermissionError(13, "in use")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(WeightsError, match="in use") as refused:
        checkpoints.remove(NAME)
    assert str(folder / f"{NAME}.pt") in str(refused.value)
