"""Downloads are real processes that fetch a small file from a server of the test's own."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import os
import sys
import threading
import time
import types
from types import SimpleNamespace

import pytest
from promises import within

from GLIDERegLib.core.errors import GlideRegError
from GLIDERegLib.panel import weights

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pooch") is None and "GLIDEREG_PYTHON" not in os.environ,
    reason="needs the library's packages here or in the Python that GLIDEREG_PYTHON names",
)
NAME = "sam2.1_hiera_tiny"
CONTENT = bytes(range(256)) * 8192  # 2 MiB, eight of the pieces a download comes in
ENTRY = {"name": NAME, "size_bytes": 156_008_466, "present": True, "license": "Apache-2.0"}
# The process of a download whose table of checkpoints describes CONTENT.
SCRIPT = f"""
import dataclasses, sys
from GLIDERegLib.files import checkpoints
from GLIDERegLib.panel import weights
url, digest, size, *arguments = sys.argv[1:]
entry = dataclasses.replace(checkpoints.CHECKPOINTS["{NAME}"], url=url, sha256=digest, size=int(size))
checkpoints.CHECKPOINTS["{NAME}"] = entry
sys.exit(weights.main(arguments))
"""


class Host(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT in folders: good at once, slow with a wait in the middle that `released` ends, wrong
    changed.
    """

    released = threading.Event()

    def do_GET(self):
        folder = self.path.split("/")[1]
        body = CONTENT[::-1] if folder == "wrong" else CONTENT
        self.send_response(404 if folder == "missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        try:
            self.wfile.write(body[:half])
            if folder == "slow":
                self.released.wait(30)
            self.wfile.write(body[half:])
        except OSError:
            pass  # the other side has gone, as it may

    def log_message(self, *_):
        pass


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Host.released.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Host.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The weights folder, for this process and those it starts."""
    monkeypatch.setenv("GLIDEREG_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def slicer(monkeypatch):
    """Slicer as far as a question to the user goes; `answer` is what is pressed."""
    module = types.ModuleType("slicer")
    module.answer, module.questions = True, []

    def confirm(text, **_):
        module.questions.append(text)
        return module.answer

    module.util = SimpleNamespace(confirmOkCancelDisplay=confirm)
    monkeypatch.setitem(sys.modules, "slicer", module)
    return module


def download(address):
    digest = hashlib.sha256(CONTENT).hexdigest()
    return weights.Download(NAME, ("-c", SCRIPT, f"{address}/{NAME}.pt", digest, str(len(CONTENT))))


def wait(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def files_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_download_arrives_and_its_fraction_rises_to_one(host, folder):
    it = download(f"{host}/slow")
    it.start()
    assert not it.poll(), "starting must not wait for the file"
    wait(lambda: it.poll() or it.fraction > 0.3)
    assert 0.3 < it.fraction <= 0.5
    Host.released.set()
    wait(it.poll)
    assert it.failure is None and it.fraction == 1.0
    assert (folder / f"{NAME}.pt").read_bytes() == CONTENT and len(files_in(folder)) == 1


@pytest.mark.parametrize(("kind", "told"), [("missing", "404"), ("wrong", "SHA-256")])
def test_a_failed_download_says_why_and_leaves_nothing(host, folder, kind, told):
    it = download(f"{host}/{kind}")
    it.start()
    wait(it.poll)
    assert told in it.failure and it.poll()
    assert files_in(folder) == []


def test_a_cancelled_download_ends_within_three_seconds_and_leaves_nothing_though_no_data_comes(host, folder):
    it = download(f"{host}/slow")
    it.start()
    wait(lambda: it.poll() or it.fraction > 0.3)
    process = it._child._process.popen
    it.cancel()
    begin = time.monotonic()
    wait(it.poll)
    assert time.monotonic() - begin < within(3)
    assert it.failure == weights.CANCELLED and files_in(folder) == [] and process.poll() is not None


def test_a_process_that_does_not_react_to_a_cancellation_is_ended_within_three_seconds(folder):
    it = weights.Download(NAME, ("-c", "import time; print('{}', flush=True); time.sleep(600)"))
    it.start()
    wait(lambda: it.poll() or it._child.lines)
    process = it._child._process.popen
    it.cancel()
    begin = time.monotonic()
    wait(it.poll)
    assert time.monotonic() - begin < within(3)
    assert it.failure == weights.CANCELLED and process.poll() is not None


def test_closing_ends_the_process_at_once_and_leaves_nothing(host, folder):
    it = download(f"{host}/slow")
    it.start()
    wait(lambda: it.poll() or it.fraction > 0.3)
    process = it._child._process.popen
    it.close()
    assert process.poll() is not None and it.poll() and files_in(folder) == []


@pytest.mark.parametrize("script", ["raise RuntimeError('torn')", "import os; os.kill(os.getpid(), 9)"])
def test_a_process_that_dies_is_told_as_a_failure(folder, script):
    it = weights.Download(NAME, ("-c", script))
    it.start()
    wait(it.poll)
    assert "restart Slicer" in it.failure and "\n" not in it.failure


def test_a_python_without_the_packages_says_what_to_install(folder):
    without = "import sys; sys.modules['pooch'] = None; from GLIDERegLib.panel import weights; "
    it = weights.Download(NAME, ("-c", without + "sys.exit(weights.main(sys.argv[1:]))"))
    it.start()
    wait(it.poll)
    assert it.failure.startswith("Install the Python packages of GLIDE-Reg first")


def test_the_folder_is_the_one_the_library_uses(folder):
    assert weights.storageFolder() == str(folder)


def test_a_checkpoint_is_offered_with_size_licence_and_place(folder, slicer):
    assert "156 MB" in weights.describeCheckpoint(ENTRY) and "Apache-2.0" in weights.describeCheckpoint(ENTRY)
    assert weights.describeCheckpoint(ENTRY) != weights.describeCheckpoint({**ENTRY, "present": False})
    assert weights.confirmDownload(ENTRY)
    for told in (NAME, "156 MB", "Apache-2.0", str(folder)):
        assert told in slicer.questions[0]
    slicer.answer = False
    assert not weights.confirmDownload(ENTRY)


def test_a_checkpoint_is_removed_only_with_the_users_consent(folder, slicer):
    folder.mkdir()
    for name in (NAME, "sam2_hiera_large"):
        (folder / f"{name}.pt").write_bytes(b"weights")
    slicer.answer = False
    assert not weights.removeCheckpoint(ENTRY)
    assert len(files_in(folder)) == 2
    slicer.answer = True
    assert weights.removeCheckpoint(ENTRY)
    assert files_in(folder) == ["sam2_hiera_large.pt"]
    assert NAME in slicer.questions[0] and "156 MB" in slicer.questions[0]


def test_an_unknown_checkpoint_is_an_error_for_the_user(folder, slicer):
    with pytest.raises(GlideRegError, match="There is no checkpoint"):
        weights.removeCheckpoint({**ENTRY, "name": "../sam3"})
