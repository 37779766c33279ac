"""`glidereg record`: made, verified, superseded, refused."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def folder(tmp_path):
    for name in ("fixed", "moving", "transform"):
        (tmp_path / name).write_text(name)
    report = {"kind": "transitivity", "residual_mm": {"p95": 2.0}, "regions_mm": {"lung": {"p95": 1.5}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "site.json").write_text(json.dumps({"transitivity error, 95 %": 1.0}))
    return tmp_path


@pytest.fixture
def made(glidereg, folder):
    locked = [word for name in ("fixed", "moving", "transform") for word in (f"--{name}", folder / name)]
    request = ["--purpose", "follow-up", "--region", "lung", "--accuracy", "2", "--looked", "the lung's base"]
    decision = ["--level", "2", "--name", "A. Physicist", "--text", "usable"]
    numbers = ["--report", folder / "report.json", "--tolerances", folder / "site.json"]
    status, _, error = glidereg(
        "record", "make", *locked, *request, *decision, *numbers, "-o", folder / "out"
    )
    assert status == 0, error
    return folder / "out" / "record.json", locked


def test_a_record_is_made_as_json_and_page_and_holds(glidereg, made):
    path, locked = made
    assert "exceeded" in (path.parent / "record.html").read_text()
    status, said, _ = glidereg("record", "verify", path, *locked)
    assert status == 0 and said.startswith("Holds")


def test_a_changed_scan_is_told_in_one_line_and_on_the_page(glidereg, made, folder):
    path, locked = made
    (folder / "moving").write_text("another")
    status, _, error = glidereg("record", "verify", path, *locked, "--html", folder / "now.html")
    assert status == 2 and "Superseded: the moving has changed" in error and error.count("\n") == 1
    assert "Superseded: the moving" in (folder / "now.html").read_text()


def test_a_tampered_record_is_refused(glidereg, made):
    path, locked = made
    path.write_text(path.read_text().replace('"level": 2', '"level": 0'))
    status, said, error = glidereg("record", "verify", path, *locked)
    assert status == 2 and "altered" in error and said == ""


def test_a_report_that_is_none_is_refused_and_nothing_is_left(glidereg, folder, made):
    _, locked = made
    (folder / "report.json").write_text("[1]")
    rest = ["--purpose", "x", "--region", "x", "--accuracy", "1", "--level", "1", "--name", "x"]
    arguments = [*locked, *rest, "--report", folder / "report.json", "-o", folder / "other"]
    status, _, error = glidereg("record", "make", *arguments)
    assert status == 2 and error.count("\n") == 1 and not (folder / "other").exists()
