"""What Slicer installs and what its Extensions Index reads, checked without Slicer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"
)
ROOT = Path(__file__).resolve().parents[1]
TOP = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
# Stand-ins for Slicer's macros: they fail where a listed file is missing, and tell what they got.
STAND_INS = """
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_SCRIPTS)
    message(FATAL_ERROR "unknown: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "missing: ${file}")
    endif()
  endforeach()
  message(STATUS "module ${MY_NAME} ${MY_WITH_GENERIC_TESTS}")
endmacro()
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT" "" ${ARGN})
  if(NOT EXISTS ${MY_SCRIPT})
    message(FATAL_ERROR "missing: ${MY_SCRIPT}")
  endif()
  message(STATUS "test ${MY_SCRIPT}")
endmacro()
"""


def listed(keyword: str, text: str = TOP) -> list[str]:
    """The files after a keyword of the (last) scripted module."""
    block = text[text.rindex("slicerMacroBuildScriptedModule(") :]
    return re.search(rf"^  {keyword}\s+((?:[^\s()]+\s+?)+?)\s*(?:^  [A-Z)]|\Z)", block, re.MULTILINE)[
        1
    ].split()


def in_tree(folder: str, pattern: str) -> list[str]:
    found = (path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path)


def test_every_python_file_of_the_library_but_the_studies_is_installed_and_listed_once():
    library = in_tree("GLIDERegLib", "*.py")
    studies = [path for path in library if path.startswith("GLIDERegLib/studies/")]
    assert studies
    assert sorted(listed("SCRIPTS")) == [path for path in library if path not in studies]


# An editable installation of the library finds what is missing here in the checkout.
NOT_THE_CHECKOUT = (
    "import sys; sys.meta_path = [f for f in sys.meta_path if 'Editable' not in getattr(f, '__name__', '')]"
)


def test_the_command_line_works_without_the_studies(tmp_path):
    """As in the extension: what is not installed there is not offered, and nothing else misses it."""
    for path in listed("SCRIPTS"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    done = subprocess.run(
        [sys.executable, "-c", f"{NOT_THE_CHECKOUT}; from GLIDERegLib import cli; cli.main(['--help'])"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "register" in done.stdout and "benchmark" not in done.stdout


def test_every_resource_but_what_the_readme_shows_is_installed():
    shown = ("Resources/Screenshots/", "Resources/Benchmark/")
    used = [path for path in in_tree("Resources", "*") if not path.startswith(shown)]
    assert sorted(listed("RESOURCES")) == [*used, "requirements-sam2.txt"]


def test_the_module_is_its_one_file():
    text = (ROOT / "GLIDEReg" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert (
        listed("SCRIPTS", text) == [path.name for path in (ROOT / "GLIDEReg").glob("*.py")] == ["GLIDEReg.py"]
    )
    assert "WITH_GENERIC_TESTS" in text and "WITH_GENERIC_TESTS" not in TOP


def test_what_the_library_reads_at_run_time_is_where_the_installation_puts_it():
    from GLIDERegLib.panel.packages import SAM2_REQUIREMENTS

    assert SAM2_REQUIREMENTS == ROOT / "requirements-sam2.txt" and SAM2_REQUIREMENTS.is_file()


# The three expressions are those of the Extensions Index's own check of a description.


def test_the_index_finds_the_projects_name():
    names = re.findall(r"project\s*\(\s*([^\s\)\n\r]+)", TOP, re.IGNORECASE | re.MULTILINE)
    assert names[0] == "GLIDEReg" and not names[0].startswith("Slicer")


def test_the_index_finds_the_icon():
    (url,) = re.findall(r'set\s*\(EXTENSION_ICONURL\s*"([^"]+)"[ ]*\)', TOP, re.IGNORECASE | re.MULTILINE)
    assert url.startswith("https://") and "\n" not in url
    assert in_repository(url).is_file()


def test_the_index_finds_the_screenshots():
    (urls,) = re.findall(r'set\s*\(EXTENSION_SCREENSHOTURLS\s*"([^"]+)"\)', TOP, re.IGNORECASE | re.MULTILINE)
    assert "\n" not in urls and urls.split()
    for url in urls.split():
        assert url.startswith("https://") and in_repository(url).is_file()


def in_repository(url: str) -> Path:
    """The file that an address on GitHub's server of raw files stands for."""
    _, path = url.split("/main/")
    assert Path(path).suffix in (".png", ".jpg", ".gif")
    return ROOT / path


def test_the_extension_names_what_it_depends_on_its_homepage_and_what_it_is():
    values = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]+)"\)$', TOP, re.MULTILINE))
    assert values["DEPENDS"] == "PyTorch"
    assert values["HOMEPAGE"].rsplit("/", 1)[1].startswith("Slicer")
    assert {"CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"} <= values.keys()
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")


def test_the_icon_is_a_png_of_128_pixels():
    data = (ROOT / "Resources" / "Icons" / "GLIDEReg.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (128, 128)


# What finding the real Slicer does before its macros: SlicerBlockPlatformCheck asks for the compiler on
# Windows, and VTK's package looks for threads, which CMake refuses without a compiled language.
PACKAGE = """
if(WIN32 AND NOT MSVC_VERSION)
  message(FATAL_ERROR "no compiler whose MSVC_VERSION could be checked")
endif()
find_package(Threads REQUIRED)
"""


def configured(source: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
    """What CMake says of an extension, with stand-ins for Slicer's package and macros."""
    (tmp_path / "SlicerConfig.cmake").write_text(
        f"{PACKAGE}set(Slicer_USE_FILE {tmp_path}/use.cmake)\n"
        f"set(Slicer_EXTENSION_GENERATE_CONFIG {tmp_path}/empty.cmake)\n"
        f"set(Slicer_EXTENSION_CPACK {tmp_path}/empty.cmake)\n"
    )
    (tmp_path / "use.cmake").write_text(STAND_INS)
    (tmp_path / "empty.cmake").touch()
    command = ["cmake", "-S", source, "-B", tmp_path / "build", f"-DSlicer_DIR={tmp_path}", *options]
    return subprocess.run(command, capture_output=True, text=True)


@needs_compiler
def test_cmake_configures_the_extension_with_stand_ins_for_slicers_macros(tmp_path):
    done = configured(ROOT, tmp_path, "-DBUILD_TESTING=ON")
    assert done.returncode == 0, done.stderr
    for told in ("module GLIDEReg TRUE", "module GLIDERegLib FALSE", "/GLIDEReg/GLIDEReg.py"):
        assert told in done.stdout


@needs_compiler
def test_cmake_refuses_an_extension_without_a_compiled_language(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    text = TOP.replace("project(GLIDEReg)", "project(GLIDEReg LANGUAGES NONE)")
    (source / "CMakeLists.txt").write_text(text)
    done = configured(source, tmp_path)
    assert done.returncode != 0 and "FindThreads only works" in done.stderr
