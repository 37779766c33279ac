"""`glidereg report`: a page that stands alone, and one sentence where there can be none."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess

import pytest
from html_page import Page
from PIL import Image

DISCLAIMER = "For visual checking; not a diagnostic device"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--allow-file-access-from-files",
    "--virtual-time-budget=10000",
)
# Looks into the report from outside: its own policy forbids it any script.
LOOK = """<!DOCTYPE html><iframe id="page" src="report.html" width="1000" height="9000"></iframe><script>
document.getElementById("page").onload = function () {
  const page = this.contentDocument, requests = this.contentWindow.performance.getEntriesByType("resource");
  const missing = [...page.images].filter(image => !image.complete || image.naturalWidth == 0);
  document.body.innerHTML = "<pre>" + JSON.stringify({pictures: page.images.length, missing: missing.length,
    requests: requests.map(one => one.name).filter(name => !name.startsWith("data:")),
    width: page.documentElement.scrollWidth}) + "</pre>";
};</script>"""


@pytest.fixture(scope="module")
def result(registered, tmp_path_factory):
    """A copy of a registration's folder with the report in it."""
    from GLIDERegLib.cli import main

    folder = tmp_path_factory.mktemp("report") / "result"
    shutil.copytree(registered, folder)
    assert main(["report", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def page(result):
    return Page((result / "report.html").read_text("utf-8"))


def test_the_page_needs_nothing_but_itself(page):
    assert not {"script", "link", "iframe", "object", "embed", "video", "audio"} & set(page.tags)
    outside = [(name, value) for name, value in page.attributes if value and re.search(r"https?:|//", value)]
    # A picture's own text may hold two slashes.
    assert [entry for entry in outside if not entry[1].startswith("data:image/png;base64,")] == []
    assert not re.search(r"url\(|@import", page.text)


def test_every_picture_is_a_whole_png(page):
    assert len(page.pictures) == 1 + 16 * 4
    for picture in page.pictures:
        source = picture["src"]
        head, _, text = source.partition(",")
        assert head == "data:image/png;base64"
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        image.load()
        assert image.format == "PNG" and min(image.size) > 200


def test_the_page_tells_what_a_reader_must_know(page, result):
    report = json.loads((result / "report.json").read_text())
    expected = [
        "64 x 64 x 56",
        "6 x 6 x 6",
        "no SAM2 weights: local features only",
        report["versions"]["SimpleITK"],
        report["device"]["name"],
        "convex optimisation",
        f"{report['target_registration_error']['final']['mean']:.2f}",
        f"{report['similarity']['final']['normalised_cross_correlation']:.3f}",
        f"{report['jacobian']['min']:.2f}",
        "doi 10.1002/mp.12256",
        "nodule 8",
        *report["warnings"],
    ]
    for text in expected:
        assert text in page.text, text
    assert page.text.count(DISCLAIMER) == 4


def test_no_name_or_path_is_in_the_page_unless_asked_for(glidereg, registered, phantom_folder, tmp_path):
    for options, shown in (((), False), (("--show-names",), True)):
        page = tmp_path / f"{shown}.html"
        assert glidereg("report", registered, "-o", page, *options)[0] == 0
        text = page.read_text(encoding="utf-8")
        assert ("fixed.nii.gz" in text) == shown and (str(phantom_folder) in text) == shown


def test_dates_and_roles_of_the_scans_are_told(glidereg, registered, tmp_path):
    report = json.loads((registered / "report.json").read_text())
    try:
        change(registered, study_dates={"fixed": "2024-03-10", "moving": "2023-03-10"})
        assert glidereg("report", registered, "-o", tmp_path / "page.html")[0] == 0
    finally:
        (registered / "report.json").write_text(json.dumps(report))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Moving scan (prior, 2023-03-10) registered to fixed scan (current, 2024-03-10)" in text


def test_pictures_are_marked_on_all_four_sides(result):
    html = (result / "report.html").read_text("utf-8")
    for letter in ("R", "L", "A", "P", "S", "I"):
        assert f">{letter}</i>" in html
    assert html.count(">10 mm</i>") == 16 * 4


def test_a_folder_of_version_0_1_0_keeps_its_paths_in_the_report(glidereg, registered, tmp_path):
    folder = tmp_path / "result"
    shutil.copytree(registered, folder)
    change(folder, inputs=json.loads((folder / "inputs.json").read_text()))
    (folder / "inputs.json").unlink()
    assert glidereg("report", folder)[0] == 0


def test_nodules_csv_holds_every_nodule_with_its_distance_to_the_other_mark(result):
    with (result / "nodules.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    report = json.loads((result / "report.json").read_text())
    errors = [float(row["distance_to_own_mark_mm"]) for row in rows if row["marked_in"] == "fixed"]
    expected = report["target_registration_error"]["final"]["mean"]
    assert sum(errors) / len(errors) == pytest.approx(expected, abs=1e-3)


def test_output_goes_where_it_is_asked_for(glidereg, registered, tmp_path):
    before = sorted(registered.iterdir())
    status, output, _ = glidereg("report", registered, "-o", tmp_path / "patient 1.html")
    assert status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patient 1.html", "patient 1_nodules.csv"]
    assert "16 nodules" in output
    assert sorted(registered.iterdir()) == before


def change(folder, **changes):
    path = folder / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _elsewhere(folder):
    inputs = json.loads((folder / "inputs.json").read_text())
    (folder / "inputs.json").write_text(json.dumps(inputs | {"moving": "/elsewhere/moving.nii.gz"}))


def _another_size(folder):
    report = json.loads((folder / "report.json").read_text())
    other = report["images"]["fixed"] | {"size": [64, 64, 57]}
    change(folder, images=report["images"] | {"fixed": other})


def _another_spacing(folder):
    report = json.loads((folder / "report.json").read_text())
    other = report["images"]["moving"] | {"spacing_mm": [6.0, 6.0, 5.0]}
    change(folder, images=report["images"] | {"moving": other})


SPOILT = {
    "no result": (lambda folder: (folder / "report.json").unlink(), "holds no result"),
    "report cut off": (lambda folder: (folder / "report.json").write_text('{"inputs": {'), "damaged"),
    "another JSON": (lambda folder: (folder / "report.json").write_text("[1, 2]"), "damaged"),
    "without inputs": (lambda folder: (folder / "inputs.json").write_text('{"fixed": 3}'), "damaged"),
    "similarity spoilt": (lambda folder: change(folder, similarity={"initial": 1}), "damaged"),
    "device spoilt": (lambda folder: change(folder, device="cpu"), "damaged"),
    "no transform": (lambda folder: (folder / "transform.h5").unlink(), "does not exist"),
    "transform spoilt": (lambda folder: (folder / "transform.h5").write_text("no"), "cannot be read"),
    "image moved": (_elsewhere, "not there any more"),
    "image of another size": (_another_size, "has changed since"),
    "image of another spacing": (_another_spacing, "has changed since"),
    "no propagated points": (lambda folder: (folder / "points_fixed.csv").unlink(), "cannot be read"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT.keys())
def test_a_folder_that_cannot_be_reported_is_refused_in_one_sentence(
    glidereg, registered, tmp_path, spoil, words
):
    folder = tmp_path / "result"
    shutil.copytree(registered, folder)
    spoil(folder)
    before = sorted(folder.iterdir())
    status, output, errors = glidereg("report", folder)
    assert (status, output) == (2, "")
    assert errors.startswith("glidereg: error: ") and errors.count("\n") == 1
    assert words in errors
    assert sorted(folder.iterdir()) == before


def test_a_missing_folder_and_bad_outputs_are_refused(glidereg, registered, tmp_path):
    for arguments, words in (
        ((tmp_path / "none",), "holds no result"),
        ((registered, "-o", tmp_path / "report.pdf"), "name it .html"),
        ((registered, "-o", tmp_path / "a file" / "report.html"), "in the way"),
    ):
        (tmp_path / "a file").write_text("")
        status, _, errors = glidereg("report", *arguments)
        assert status == 2 and words in errors, errors
        assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_the_table_never_replaces_the_points_it_tells_of(glidereg, registered, phantom_folder):
    points = phantom_folder / "fixed_nodules.csv"
    before = points.read_bytes()
    status, _, errors = glidereg("report", registered, "-o", phantom_folder / "fixed.html")
    assert status == 2 and "would overwrite the input" in errors
    assert points.read_bytes() == before
    assert not (phantom_folder / "fixed.html").exists()


@pytest.fixture
def chromium(tmp_path):
    """Function that runs headless Chromium on a file; returns its standard output."""
    if CHROMIUM is None:
        pytest.skip("needs the browser Chromium")

    def run(file, *options):
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *options, file.as_uri()]
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120).stdout

    return run


def test_in_chromium_no_picture_is_missing_and_nothing_is_requested(chromium, result, tmp_path):
    shutil.copy(result / "report.html", tmp_path)
    (tmp_path / "look.html").write_text(LOOK, "utf-8")
    seen = json.loads(re.search(r"<pre>(.*)</pre>", chromium(tmp_path / "look.html", "--dump-dom"))[1])
    assert seen["pictures"] == 65
    assert seen["missing"] == 0
    assert seen["requests"] == []
    assert seen["width"] <= 1000


def test_printed_every_page_says_that_it_is_no_diagnostic_device(chromium, result, tmp_path):
    pdf = tmp_path / "report.pdf"
    chromium(result / "report.html", "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    pages = len(re.findall(rb"/Type\s*/Page\b", content))
    # 16 nodules, four a page at most.
    assert 6 <= pages <= 12
    if shutil.which("pdftotext"):
        for page in range(1, pages + 1):
            command = ["pdftotext", "-f", str(page), "-l", str(page), str(pdf), "-"]
            text = subprocess.run(command, capture_output=True, encoding="utf-8").stdout
            assert DISCLAIMER in text, f"page {page}"
