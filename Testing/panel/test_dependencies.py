"""Slicer is a stand-in that records what it is asked to show and to install; pip and processes are real."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import time
import types
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from GLIDERegLib.panel import dependencies, packages
from GLIDERegLib.panel.child import pythonExecutable

ROOT = Path(__file__).resolve().parents[2]
NOTHING_MISSING = {"missing": [], "missing_global": [], "missing_optional": []}
FRESH_SLICER = {
    "missing": ["torch", "psutil", "pooch"],
    "missing_global": ["sam2", "hydra", "omegaconf", "iopath", "tqdm"],
    "missing_optional": ["numba"],
}


class Slicer:
    """Slicer as far as an installation meets it; `answer` is what the user presses."""

    def __init__(self):
        self.answer = True
        self.questions, self.errors, self.installed = [], [], []
        self.failing: str | None = None
        self.pipSays = ""
        self.app = SimpleNamespace(testingEnabled=lambda: False, processEvents=lambda: None)
        self.util = SimpleNamespace(
            mainWindow=lambda: object(),
            confirmOkCancelDisplay=self._confirm,
            errorDisplay=lambda text, **more: self.errors.append((text, more.get("detailedText", ""))),
            pip_install=self._install,
            showStatusMessage=lambda text, duration=0: True,
        )

    def _confirm(self, text, **more):
        self.questions.append(text)
        return self.answer

    def _install(self, requirements):
        variables = {name: os.environ.get(name) for name in ("PIP_CONSTRAINT", "SAM2_BUILD_CUDA")}
        constraints = Path(url2pathname(urlparse(variables["PIP_CONSTRAINT"]).path)).read_text()
        self.installed.append((requirements, constraints, variables["SAM2_BUILD_CUDA"]))
        if self.failing and any(self.failing in part for part in requirements):
            print(self.pipSays)
            raise subprocess.CalledProcessError(1, "pip")

    @property
    def asked(self):
        """All requirements in the order of their installation, PyTorch as `torch`."""
        return [part for requirements, _, _ in self.installed for part in requirements]


@pytest.fixture(params=["5.10", "5.12"])
def slicer(request, monkeypatch):
    """Slicer with the PyTorch extension, and with its own packaging from 5.12 on."""
    monkeypatch.delenv("GLIDEREG_PYTHON", raising=False)
    stand_in = Slicer()
    module = types.ModuleType("slicer")
    module.app, module.util = stand_in.app, stand_in.util
    monkeypatch.setitem(sys.modules, "slicer", module)
    monkeypatch.delitem(sys.modules, "slicer.packaging", raising=False)
    if request.param == "5.12":

        def pip_ensure(
            requirements, prompt_install=True, prompt_restart=True, requester=None, show_progress=True
        ):
            assert not prompt_install, "the user has agreed already"
            assert not prompt_restart, "the installation may not be cut in half"
            pip_install([f"{one.name}{one.specifier}" for one in requirements], show_progress)

        def pip_install(requirements, show_progress=True):
            try:
                stand_in._install(requirements)
            except subprocess.CalledProcessError:
                if show_progress:
                    module.util.errorDisplay("Package installation failed.")
                raise

        module.packaging = SimpleNamespace(pip_ensure=pip_ensure, pip_install=pip_install)
        module.util.pip_install = pip_install

    class PyTorchUtilsLogic:
        def installTorch(
            self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None
        ):
            assert askConfirmation
            stand_in._install([f"torch{torchVersionRequirement}"])
            return stand_in.torch

    stand_in.torch = object()
    extension = types.ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return stand_in


def untilKnown(probe):
    """What a finished probe returns; fails after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        findings = probe.poll()
        if findings is not None or probe.failure is not None:
            return findings
        time.sleep(0.02)
    raise AssertionError("the probe does not end")


# The probe.


def test_the_probe_tells_what_this_python_has_and_polling_again_gives_the_same():
    probe = dependencies.Probe()
    probe.start()
    assert probe.poll() is None, "starting must not wait for the answer"
    findings = untilKnown(probe)
    assert {"missing", "missing_global", "missing_optional", "devices", "checkpoints"} <= findings.keys()
    assert "numpy" not in dependencies.missingPackages(findings, True)
    assert probe.poll() == findings and probe.failure is None


@pytest.mark.parametrize(
    "script",
    ["raise SystemExit(3)", "print('no JSON')", "print()", "import os; os.kill(os.getpid(), 9)"],
)
def test_a_probe_that_fails_is_one_sentence_with_a_way_out(script):
    probe = dependencies.Probe(("-c", script))
    probe.start()
    assert untilKnown(probe) is None
    assert "restart Slicer" in probe.failure and "\n" not in probe.failure


def test_a_probe_that_hangs_is_ended_after_its_time(monkeypatch):
    monkeypatch.setattr(dependencies, "PROBE_SECONDS", 0.3)
    probe = dependencies.Probe(("-c", "import time; time.sleep(600)"))
    probe.start()
    assert untilKnown(probe) is None
    assert "no answer" in probe.failure


def test_a_python_that_does_not_exist_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("GLIDEREG_PYTHON", str(tmp_path / "python"))
    probe = dependencies.Probe()
    probe.start()
    assert probe.poll() is None
    assert str(tmp_path / "python") in probe.failure and "GLIDEREG_PYTHON" in probe.failure


def test_a_new_start_forgets_the_last_failure():
    probe = dependencies.Probe(("-c", "import sys; sys.exit(1)"))
    probe.start()
    untilKnown(probe)
    probe._command = ("-c", "print('{}')")
    probe.start()
    assert probe.failure is None and untilKnown(probe) == {}


def test_the_registering_python_is_the_chosen_one_then_slicers_then_this_one(monkeypatch, tmp_path):
    monkeypatch.delenv("GLIDEREG_PYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pythonExecutable() == sys.executable
    slicers = tmp_path / ("PythonSlicer.exe" if os.name == "nt" else "PythonSlicer")
    slicers.touch(mode=0o755)
    assert pythonExecutable() == str(slicers)
    monkeypatch.setenv("GLIDEREG_PYTHON", "/my/python")
    assert pythonExecutable() == "/my/python"


# Consent.


def test_nothing_is_asked_where_nothing_lacks(slicer):
    assert dependencies.ensureInstalled(NOTHING_MISSING, True)
    assert slicer.questions == slicer.installed == []


def test_the_user_is_asked_once_with_packages_and_sizes_and_a_refusal_changes_nothing(slicer):
    slicer.answer = False
    assert not dependencies.ensureInstalled(FRESH_SLICER, True)
    (question,) = slicer.questions
    for told in ("PyTorch", "0.2 GB", "2.5 to 3 GB", "psutil", "SAM2", "hydra-core", "numba"):
        assert told in question
    assert re.search(r"about \d+ MB", question)
    assert slicer.installed == slicer.errors == []


def test_without_global_features_nothing_of_sam2_is_asked_or_installed(slicer):
    assert dependencies.ensureInstalled(FRESH_SLICER, False)
    assert "SAM2" not in slicer.questions[0]
    assert slicer.asked == ["torch>=2.5.1", "psutil>=5.9", "pooch>=1.8", "numba>=0.61"]


def test_a_refusal_in_the_pytorch_extension_ends_it_before_anything_else(slicer):
    slicer.torch = None
    assert not dependencies.ensureInstalled(FRESH_SLICER, True)
    assert slicer.asked == ["torch>=2.5.1"] and slicer.errors == []


@pytest.mark.parametrize("why", ["testing", "no window"])
def test_without_a_user_nothing_is_asked_or_installed(slicer, why):
    if why == "testing":
        slicer.app.testingEnabled = lambda: True
    else:
        slicer.util.mainWindow = lambda: None
    assert not dependencies.ensureInstalled(FRESH_SLICER, True)
    assert slicer.questions == slicer.installed == slicer.errors == []


def test_a_second_click_during_an_installation_does_nothing(slicer):
    inner = []
    install = slicer._install

    def clickedMeanwhile(requirements):
        inner.append(dependencies.ensureInstalled(FRESH_SLICER, True))
        install(requirements)

    slicer._install = slicer.util.pip_install = clickedMeanwhile
    assert dependencies.ensureInstalled(FRESH_SLICER, True)
    assert inner and not any(inner) and len(slicer.questions) == 1
    assert dependencies.ensureInstalled(FRESH_SLICER, True), "the next one may install again"


# What one button needs.


@pytest.fixture
def withoutHighdicom(monkeypatch):
    find = dependencies.importlib.util.find_spec
    monkeypatch.setattr(
        dependencies.importlib.util, "find_spec", lambda name: None if name == "highdicom" else find(name)
    )


def test_what_a_button_needs_is_installed_if_the_user_agrees_and_slicers_pydicom_stays(
    slicer, withoutHighdicom
):
    slicer.answer = False
    assert not dependencies.ensureExtra("highdicom") and slicer.installed == slicer.errors == []
    assert "highdicom: about 5 MB" in slicer.questions[0]
    slicer.answer = True
    assert dependencies.ensureExtra("highdicom")
    ((requirements, constraints, _),) = slicer.installed
    (asked,) = requirements
    assert asked.startswith("highdicom") and {">=0.28", "<1"} == set(
        asked.removeprefix("highdicom").split(",")
    )
    kept = {re.split("[=<]", line)[0] for line in constraints.split()}
    has = importlib.util.find_spec("pydicom") is not None
    assert kept >= {"numpy", "SimpleITK", "vtk", "torch"} and ("pydicom" in kept) == has


def test_a_button_whose_package_cannot_be_installed_says_why(slicer, withoutHighdicom):
    slicer.failing, slicer.pipSays = "highdicom", "ERROR: ResolutionImpossible"
    assert not dependencies.ensureExtra("highdicom")
    ((sentence, _),) = slicer.errors
    assert "no version of the packages fits this Slicer" in sentence


def test_nothing_is_asked_of_a_python_of_the_users_own_or_where_it_is_there(slicer, monkeypatch):
    assert dependencies.ensureExtra("json")
    monkeypatch.setenv("GLIDEREG_PYTHON", "/my/python")
    assert dependencies.ensureExtra("highdicom")
    assert slicer.questions == slicer.installed == []


# What is installed, and how.


def test_sam2_is_built_without_cuda_against_what_is_there_and_without_dependencies(slicer):
    assert dependencies.ensureInstalled(FRESH_SLICER, True)
    sam2 = [call for call in slicer.installed if "--no-deps" in call[0]]
    ((arguments, _, buildsCuda),) = sam2
    assert {"--no-build-isolation", "--require-hashes", "-r"} <= set(arguments) and buildsCuda == "0"
    assert "sam2==" in Path(arguments[-1]).read_text()
    assert "hydra-core>=1.3.2" in slicer.asked and "SAM2_BUILD_CUDA" not in os.environ


def test_every_pip_is_bound_to_the_present_numpy_simpleitk_and_vtk_and_later_ones_to_torch(slicer):
    assert dependencies.ensureInstalled(FRESH_SLICER, True)
    numpy = f"numpy=={importlib.metadata.version('numpy')}"
    for requirements, constraints, _ in slicer.installed:
        lines = constraints.split()
        assert numpy in lines and {re.split("[=<]", line)[0] for line in lines} >= {"SimpleITK", "vtk"}
        assert any(line.startswith("torch") for line in lines) == (requirements[0] != "torch>=2.5.1")
    assert "PIP_CONSTRAINT" not in os.environ


def test_no_requirement_names_what_slicer_comes_with_and_all_are_lower_bounds(slicer):
    assert dependencies.ensureInstalled(FRESH_SLICER, True)
    asked = [part for part in slicer.asked if not part.startswith("-") and os.sep not in part]
    assert all(re.fullmatch(r"[a-zA-Z0-9-]+>=[0-9.]+", part) for part in asked)
    assert not {re.split("[>=]", part)[0].lower() for part in asked} & {"numpy", "simpleitk", "vtk"}


def test_requirements_are_those_of_the_library():
    listed = re.findall(r'^    "(.+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert set(packages.REQUIREMENTS.values()) <= set(listed)
    text = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{requirement}"' in text for requirement in packages.EXTRAS.values())


def test_what_speeds_up_is_done_without_where_it_does_not_fit(slicer):
    slicer.failing, slicer.pipSays = "numba", "ERROR: ResolutionImpossible"
    assert dependencies.ensureInstalled(FRESH_SLICER, True)
    assert slicer.errors == []


@pytest.mark.parametrize(
    ("installTorch", "given"),
    [
        (lambda askConfirmation, torchVersionRequirement: torchVersionRequirement, ">=2.5.1"),
        (lambda torchversionrequirement, askconfirmation=False: torchversionrequirement, ">=2.5.1"),
        (lambda askConfirmation: askConfirmation, True),
    ],
)
def test_every_spelling_of_the_pytorch_extension_is_understood(slicer, monkeypatch, installTorch, given):
    logic = SimpleNamespace(installTorch=installTorch)
    monkeypatch.setattr(sys.modules["PyTorchUtils"], "PyTorchUtilsLogic", lambda: logic)
    assert packages._installTorch() == given


@pytest.mark.parametrize("kept", [True, False])
def test_pip_itself_cannot_change_a_kept_package(tmp_path, kept):
    """`wants-old` needs a numpy of the past: with the constraint pip refuses, without it pip takes that."""
    for name, version, needs in (("wants-old", "1.0", "numpy<1"), ("numpy", "0.9", "")):
        writeWheel(tmp_path, name, version, needs)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--quiet", "wants-old"]
    command += ["--find-links", str(tmp_path), "--report", str(tmp_path / "report.json")]
    with packages.pipKeeps(("numpy",) if kept else ("no-such-package",)):
        done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode != 0) == kept, done.stderr
    if kept:
        assert dependencies.explainFailure(done.stderr) == dependencies.explainFailure("ResolutionImpossible")
    else:
        assert '"0.9"' in (tmp_path / "report.json").read_text()


def test_pip_finds_the_constraints_below_a_folder_with_a_space(tmp_path, monkeypatch):
    folder = tmp_path / "Jane Doe"
    folder.mkdir()
    monkeypatch.setattr(packages.tempfile, "tempdir", str(folder))
    writeWheel(tmp_path, "numpy", "0.9", "")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--quiet", "numpy<1"]
    with packages.pipKeeps(("numpy",)):
        assert "%20" in os.environ["PIP_CONSTRAINT"]
        done = subprocess.run([*command, "--find-links", str(tmp_path)], capture_output=True, text=True)
    assert "Cannot install numpy<1 because these package versions have conflicting" in done.stderr


def test_what_python_does_not_know_of_cannot_be_brought_by_pip():
    assert packages._pin("no-such-package") == "no-such-package<0"


def writeWheel(folder, name, version, needs):
    """A package without content, for `pip --find-links`."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as file:
        file.writestr(f"{stem}.dist-info/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else ""))
        file.writestr(
            f"{stem}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(f"{stem}.dist-info/RECORD", "")


# What goes wrong.


def test_without_the_pytorch_extension_one_sentence_says_where_it_is(slicer, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    assert not dependencies.ensureInstalled(FRESH_SLICER, True)
    ((text, _),) = slicer.errors
    assert "extension PyTorch" in text and "Extensions Manager" in text and "restart" in text
    assert slicer.questions == slicer.installed == []


def test_a_python_of_the_users_own_is_left_alone(slicer, monkeypatch):
    monkeypatch.setenv("GLIDEREG_PYTHON", "/my/python")
    assert not dependencies.ensureInstalled(FRESH_SLICER, False)
    assert "/my/python" in slicer.errors[0][0] and "torch, psutil, pooch" in slicer.errors[0][0]
    assert slicer.installed == []


def test_slicers_own_packages_are_not_installed_even_when_missing(slicer):
    assert not dependencies.ensureInstalled({**NOTHING_MISSING, "missing": ["SimpleITK"]}, False)
    assert "SimpleITK" in slicer.errors[0][0] and slicer.questions == slicer.installed == []


def test_an_intel_mac_is_told_so_before_anything_is_downloaded(slicer, monkeypatch):
    monkeypatch.setattr(dependencies.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(dependencies.platform, "machine", lambda: "x86_64")
    assert not dependencies.ensureInstalled(FRESH_SLICER, True)
    assert "Intel" in slicer.errors[0][0] and slicer.installed == []


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("ERROR: OSError: [WinError 206] The filename or extension is too long", "C:\\Slicer"),
        (
            "HINT: This error might have occurred since this system does not have Windows Long Path support",
            "C:\\",
        ),
        (
            "Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found",
            "check the network",
        ),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/Slicer/lib'", "folder of your own"),
        ("ERROR: ResolutionImpossible: for help visit", "update Slicer"),
        ("Segmentation fault", "restart Slicer"),
    ],
)
@pytest.mark.parametrize("step", ["torch", "psutil", "--no-deps"])
def test_a_failed_installation_is_one_sentence_with_a_way_out_and_pips_words_as_details(
    slicer, said, way_out, step, capsys
):
    slicer.failing, slicer.pipSays = step, said
    assert not dependencies.ensureInstalled(FRESH_SLICER, True)
    ((text, details),) = slicer.errors
    assert way_out in text and "\n" not in text and text.count(". ") == 0
    assert said in details and said in capsys.readouterr().out
    slicer.failing = None
    assert dependencies.ensureInstalled(FRESH_SLICER, True), "the panel stays usable"
