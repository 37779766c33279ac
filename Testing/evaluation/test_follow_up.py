"""A study of four dates whose nodules are known: rows, cells, changes, tables and the page."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pytest
import SimpleITK as sitk
from browser import browser, printed
from html_page import Page

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.follow_up.places import link_of
from GLIDERegLib.evaluation.follow_up.report import write_study
from GLIDERegLib.evaluation.follow_up.rows import (
    MEASURED,
    NOT_MARKED,
    NOT_MEASURED,
    NOT_SEEN,
    OUTSIDE,
    Cell,
    Mark,
    Nodule,
    changes_of,
)
from GLIDERegLib.evaluation.follow_up.scans import DatedScan, number_of, read_scans
from GLIDERegLib.evaluation.follow_up.study import make_study, steps_to
from GLIDERegLib.evaluation.follow_up.words import at_a_glance, headline, interval, role
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, Size, doubling_time, growth, sphere_volume
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.files.patients import Patient, patients_of_dates
from GLIDERegLib.files.points import PointSet, write_points

# How far the 95 % interval of a volume reaches, as a factor.
SHARE = 1.1


@dataclass(frozen=True)
class Measured:
    """What `measure_nodule` would say of a sphere of a diameter in mm; None: its size could not be told."""

    diameter: float | None
    center_mm: tuple[float, float, float] | None = None
    status: str = "measured"
    attenuation: str | None = "solid"

    @property
    def measured(self):
        return self.diameter is not None

    volume_mm3 = property(lambda self: sphere_volume(self.diameter))
    volume_low_mm3 = property(lambda self: self.volume_mm3 / SHARE)
    volume_high_mm3 = property(lambda self: self.volume_mm3 * SHARE)
    long_mm = short_mm = mean_mm = property(lambda self: self.diameter)
    mean_low_mm = property(lambda self: self.diameter / SHARE ** (1 / 3))
    mean_high_mm = property(lambda self: self.diameter * SHARE ** (1 / 3))

    def size(self, quantity=VOLUME):
        if quantity == DIAMETER:
            return Size(DIAMETER, self.mean_mm, self.mean_low_mm, self.mean_high_mm)
        return Size(VOLUME, self.volume_mm3, self.volume_low_mm3, self.volume_high_mm3)


DAYS = (date(2020, 3, 1), date(2021, 3, 1), date(2022, 3, 1), date(2023, 3, 1))
# Each scan lies this much further along x than the one before.
SHIFT_MM = 4.0
GRID = Grid((40, 40, 40), (3.0, 3.0, 3.0), (-60.0, -60.0, -60.0))
LABEL_NAME = "=Doe^Jane"


def scan_of(number):
    noise = np.random.default_rng(number).normal(-850, 60, GRID.shape).astype(np.int16)
    return Volume(noise, GRID, f"scan {number}")


def moved(points, number):
    """Places of the last scan in the scan of a number."""
    return np.asarray(points, float) - [SHIFT_MM * (3 - number), 0, 0]


def shift(fixed, moving):
    transform = sitk.TranslationTransform(3, (SHIFT_MM * (moving - fixed), 0.0, 0.0))
    return link_of(sitk.Transform(transform))


# By nodule: place in the last scan, diameter at each date; 0: size cannot be told; None: no mark.
NODULES = {
    "grows": ((0.0, 0, 0), (6.0, 7.5, 9.5, 12.0)),
    "stable": ((30.0, 0, 0), (8.0, 8.1, None, 8.0)),
    "new": ((0.0, 40, 0), (None, None, None, 5.0)),
    "gone": ((0.0, -40, 0), (6.0, 6.0, None, None)),
    "untold": ((0.0, 0, 40), (0, None, None, 0)),
    # In the first scan it lies beyond the face.
    "edge": ((-52.0, 0, 0), (None, None, 7.0, 7.0)),
    # Swallowed by the nodule that grows beside it.
    "merges": ((0.0, 8, 0), (3.0, 3.0, None, None)),
}


def points_of(number):
    marked = {name: place for name, (place, sizes) in NODULES.items() if sizes[number] is not None}
    return PointSet(list(marked), moved(list(marked.values()), number))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Doe^Jane")
    found = []
    for number, day in enumerate(DAYS):
        points = folder / f"{day}.csv"
        marks = points_of(number)
        write_points(
            PointSet([LABEL_NAME if n == "grows" else n for n in marks.labels], marks.points), points
        )
        found.append(DatedScan(folder / f"Doe^Jane {day}.nii.gz", day, points, number == 3))
    return found


def measured_there(volume, point):
    """The known size of what lies there; that which grows covers what merges with it from the third date."""
    number = int(volume.name[-1])
    place = moved([0, 0, 0], number)
    name = min(NODULES, key=lambda n: np.linalg.norm(NODULES[n][0] + place - point))
    diameter = NODULES[name][1][number]
    if name == "grows" and number >= 2:
        diameter = 20.0 if number == 2 else 24.0
    status = "measured" if diameter else "could not be told: no lung around"
    return Measured(diameter or None, tuple(point), status)


def study_of(scans, extra=()):
    pairs = [(3, n) for n in range(3)] + list(extra)
    return make_study(
        scans,
        [scan_of(n) for n in range(4)],
        {pair: shift(*pair) for pair in pairs},
        3,
        measured_there,
    )


@pytest.fixture(scope="module")
def study(scans):
    return study_of(scans)


def statuses(study, name):
    place = np.array(NODULES[name][0])
    nodule = min(study.nodules, key=lambda nodule: np.linalg.norm(nodule.place - place))
    return [cell.status for cell in nodule.cells], nodule


def test_each_nodule_has_one_row_and_each_date_its_cell(study):
    assert len(study.nodules) == len(NODULES)
    expected = {
        "grows": [MEASURED] * 4,
        "stable": [MEASURED, MEASURED, NOT_MARKED, MEASURED],
        "new": [NOT_MARKED, NOT_MARKED, NOT_MARKED, MEASURED],
        "gone": [MEASURED, MEASURED, NOT_MARKED, NOT_SEEN],
        "untold": [NOT_MEASURED, NOT_MARKED, NOT_MARKED, NOT_MEASURED],
        "edge": [OUTSIDE, NOT_MARKED, MEASURED, MEASURED],
        "merges": [MEASURED, MEASURED, NOT_MARKED, NOT_SEEN],
    }
    assert {name: statuses(study, name)[0] for name in NODULES} == expected


def test_a_nodule_without_a_mark_is_expected_where_the_registration_carries_it(study):
    cell = statuses(study, "gone")[1].cells[3]
    assert cell.point == pytest.approx((0, -40, 0), abs=0.01) and cell.mark is None
    cell = statuses(study, "stable")[1].cells[2]
    assert cell.point == pytest.approx(moved((30, 0, 0), 2), abs=0.01) and 0 < cell.radius < 10


def test_what_vanished_within_anothers_extent_may_have_merged(study):
    grows = statuses(study, "grows")[1]
    cells = statuses(study, "merges")[1].cells
    text = f"may have merged with nodule {grows.number}, in whose extent it lies"
    assert cells[2].notes == (text,) and cells[3].notes == (text,)
    assert statuses(study, "gone")[1].cells[3].notes == ()


def test_what_came_and_went_is_told_as_far_as_readers_searched(study):
    lines = {name: headline(statuses(study, name)[1], DAYS)["lines"] for name in NODULES}
    assert lines["new"] == ["first marked on 2023-03-01; whether it is new is not known"]
    assert lines["gone"][-1] == "last seen on 2021-03-01: not seen on 2023-03-01 (searched)"
    assert "seen" not in " ".join(lines["grows"] + lines["stable"]) and lines["untold"] == []


def test_a_nodule_that_was_not_seen_where_everything_was_marked_is_new(scans):
    searched = [replace(scan, searched=True) for scan in scans]
    found = headline(statuses(study_of(searched), "new")[1], DAYS)
    assert found == {"span": "", "lines": ["new on 2023-03-01: not seen on 2022-03-01 (searched)"]}
    # Nor does a date between, at which nobody looked for it, make it old.
    searched[2] = replace(searched[2], searched=False)
    found = headline(statuses(study_of(searched), "new")[1], DAYS)
    assert found["lines"] == ["new on 2023-03-01: not seen on 2021-03-01 (searched)"]


def test_growth_that_repeated_scans_may_show_as_well_is_called_so(study):
    lines = headline(statuses(study, "grows")[1], DAYS)["lines"]
    assert lines[0].startswith("volume +73 %") and "doubles in" in lines[0]
    small = [Measured(8.0), Measured(8.0 * 1.2 ** (1 / 3))]
    cells = tuple(Cell(MEASURED, np.zeros(3), Mark("a", np.zeros(3), found)) for found in small)
    nodule = Nodule(1, np.zeros(3), cells, changes_of(cells, DAYS[:2]))
    assert headline(nodule, DAYS[:2])["lines"][0].endswith("less than the 25 % that counts")


@pytest.mark.parametrize(
    ("classes", "note"),
    [
        (
            ("ground glass", "part-solid"),
            "on 2022-03-01 as ground glass: look for a new or larger solid part",
        ),
        (("solid", "ground glass"), "on 2022-03-01 as solid: look for which of the two holds"),
        (("part-solid", "part-solid"), ""),
        ((None, "solid"), ""),
    ],
)
def test_another_attenuation_class_is_remarked(scans, classes, note):
    def found(volume, point):
        one = measured_there(volume, point)
        number = int(volume.name[-1])
        return (
            replace(one, attenuation=classes[number - 2]) if number >= 2 else replace(one, attenuation=None)
        )

    links = {(3, n): shift(3, n) for n in range(3)}
    study = make_study(scans, [scan_of(n) for n in range(4)], links, 3, found)
    notes = " ".join(statuses(study, "grows")[1].cells[3].notes)
    assert (note in notes) if note else "measured as" not in notes
    # Growth of the solid part alone changes no size that is told.
    assert ("a solid part that grows within it" in notes) == (classes[1] == "part-solid")


def test_growth_is_between_neighbouring_sizes_and_over_the_whole_time(study):
    nodule = statuses(study, "stable")[1]
    spans = {(change.earlier, change.later) for change in nodule.changes}
    assert spans == {(0, 1), (1, 3), (0, 3)}
    assert {change.growth.quantity for change in nodule.changes} == {VOLUME, DIAMETER}
    assert nodule.change(VOLUME, whole=True).days == (DAYS[3] - DAYS[0]).days == 1095
    assert (nodule.change(VOLUME, whole=False).earlier, nodule.change(VOLUME, whole=False).later) == (1, 3)
    assert nodule.change(VOLUME, whole=False).growth.spans_no_change
    assert statuses(study, "untold")[1].changes == ()


def test_a_later_date_renumbers_no_nodule(scans, study):
    first = make_study(
        scans[:3],
        [scan_of(n) for n in range(3)],
        {(2, n): shift(2, n) for n in range(2)},
        2,
        measured_there,
    )
    for earlier, later in zip(first.nodules, study.nodules, strict=False):
        assert earlier.number == later.number
        marks = [cell.mark and cell.mark.label for cell in earlier.cells]
        assert marks == [cell.mark and cell.mark.label for cell in later.cells[:3]]


def test_the_way_over_every_date_is_held_against_the_direct_one(scans):
    def way(error):
        links = {(3, n): shift(3, n) for n in range(3)}
        links |= {(1, 0): shift(1, 0), (2, 1): shift(2, 1)}
        links[2, 1] = link_of(sitk.TranslationTransform(3, (-SHIFT_MM, error, 0.0)))
        return make_study(scans, [scan_of(n) for n in range(4)], links, 3, measured_there)

    for error in (0.0, 5.0):
        cell = statuses(way(error), "grows")[1].cells[0]
        assert cell.mark.by_steps_mm == pytest.approx(error, abs=0.01)
        told = any("the way over every date between leads 5.0 mm elsewhere" in text for text in cell.notes)
        assert told == (error > 0)
    assert steps_to(3, 0) == [(1, 0), (2, 1), (3, 2)] and steps_to(0, 2) == [(1, 2), (0, 1)]


def test_tables_hold_a_row_for_each_nodule_and_date_and_for_each_change(study, tmp_path):
    with OutputFolder(tmp_path) as out:
        write_study(study, out, ["registered"] * 4)
    with (tmp_path / "nodules.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * len(NODULES)
    row = next(r for r in rows if r["label"] == "stable" and r["date"] == "2020-03-01")
    assert (row["status"], row["mean_mm"], row["place"]) == (MEASURED, "8.0", "marked")
    assert [float(row[f"{axis}_lps_mm"]) for axis in "xyz"] == pytest.approx(moved((30, 0, 0), 0))
    assert float(row["volume_low_mm3"]) < float(row["volume_mm3"]) < float(row["volume_high_mm3"])
    gone = next(r for r in rows if r["nodule"] == row["nodule"] and r["date"] == "2022-03-01")
    assert (gone["status"], gone["volume_mm3"], gone["place"]) == (NOT_MARKED, "", "expected")
    with (tmp_path / "growth.csv").open(newline="", encoding="utf-8") as file:
        changes = list(csv.DictReader(file))
    mine = [c for c in changes if c["nodule"] == row["nodule"] and c["quantity"] == VOLUME]
    assert [(c["from"], c["to"], c["days"]) for c in mine] == [
        ("2020-03-01", "2021-03-01", "365"),
        ("2021-03-01", "2023-03-01", "730"),
        ("2020-03-01", "2023-03-01", "1095"),
    ]
    # No change is within the interval: no doubling time.
    assert all(c["doubling_days"] == "" for c in mine)


def test_the_workbook_reads_back_and_holds_no_formula(study, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    with OutputFolder(tmp_path) as out:
        write_study(study, out, ["registered"] * 4, workbook=True)
    book = openpyxl.load_workbook(tmp_path / "nodules.xlsx")
    assert book.sheetnames == ["Nodules", "Dates", "Growth"]
    grid = [[cell.value for cell in row] for row in book["Nodules"]]
    assert grid[0] == ["nodule", *(day.isoformat() for day in DAYS)] and len(grid) == 1 + len(NODULES)
    labels = [cell for row in book["Dates"] for cell in row if cell.value == LABEL_NAME]
    assert len(labels) == 4 and all(cell.data_type == "s" for cell in labels)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with OutputFolder(folder) as out:
        write_study(study, out, ["registered"] * 4, ["2021-03-01: the lungs moved <far>"])
    return (folder / "report.html").read_text("utf-8")


def test_the_page_needs_nothing_but_itself_and_holds_no_name(page):
    found = Page(page)
    assert not {"script", "link", "iframe", "object", "embed"} & set(found.tags)
    outside = [v for _, v in found.attributes if v and ("http" in v or "//" in v)]
    assert [v for v in outside if not v.startswith("data:image/png;base64,")] == []
    assert "Doe^Jane" not in page and ".nii" not in page


def test_the_page_tells_dates_roles_intervals_rules_and_sources(page):
    text = Page(page).text
    for told in (
        "4 CT scans of one patient. Current scan: 2023-03-01",
        "2022-03-01 (365 days, 12.0 months before)",
        "prior 3",
        "more than 1.5 mm within 12 months. Lung-RADS 2022",
        "from 2 mm. Fleischner Society 2017",
        "at least 25 % counts",
        "British Thoracic Society 2015",
        "the lungs moved <far>",
        "not a diagnostic device",
        "24.0 mm, 7238 mm³",
    ):
        assert told in text, told


def test_each_nodule_has_its_curves_with_error_bars_and_a_picture_of_each_date(page, study):
    found = Page(page)
    measured = [n for n in study.nodules if any(cell.measurement for cell in n.cells)]
    assert found.tags.count("svg") == 2 * len(measured)
    assert found.tags.count("circle") == 2 * sum(
        cell.measurement is not None for n in study.nodules for cell in n.cells
    )
    assert len(found.pictures) == 4 * len(NODULES)


@pytest.mark.skipif(browser() is None, reason="no Chromium or Chrome is installed here")
def test_a_browser_prints_the_page_whole_with_every_nodule_on_its_first_sheet(page, study, tmp_path):
    (tmp_path / "report.html").write_text(page, "utf-8")
    found = printed(tmp_path / "report.html", tmp_path)
    assert 1 < found.pages <= 1 + len(NODULES) and found.console == [] and found.wide == []
    rows = [text.split("\t")[0] for text in found.first if "\t" in text]
    assert {str(nodule.number) for nodule in study.nodules} <= set(rows)
    first = " ".join(found.first)
    assert "name and ID are left out" in first and "their places are known within" in first
    assert "Doe" not in first and b"Doe^" not in (tmp_path / "page.pdf").read_bytes()


def test_the_first_page_begins_with_what_a_reader_looks_for(page, study):
    text = Page(page).text
    number = {name: statuses(study, name)[1].number for name in NODULES}
    gone = ", ".join(str(n) for n in sorted([number["gone"], number["merges"]]))
    for told in (
        f"No longer seen, where everything was marked: {gone}.",
        f"No size in the current scan: {number['untold']}.",
        "now: could not be told: no lung around",
        "growth by BTS (if solid)",
    ):
        assert told in text, told
    assert text.index("7 nodules.") < text.index("Since the size before") < text.index("Rules, each")


def test_what_a_registration_says_of_nodules_it_kept_is_no_warning_of_the_study(study, tmp_path):
    told = [
        "Nodule 3 of the moving image could not be told; a ball of 6 mm around its point was kept rigid.",
        "Nodules (14 marks in both scans) do not steer the registration; they keep their size.",
        "The lungs overlap little.",
    ]
    with OutputFolder(tmp_path) as out:
        write_study(study, out, ["registered"] * 4, told)
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    assert "The lungs overlap little." in text and "Nodule 3 of" not in text and "14 marks" not in text


def test_a_nodule_that_is_gone_has_nothing_there_to_look_like_it(scans):
    searched = [replace(scan, searched=True) for scan in scans]
    study = study_of(searched)
    # The scans are noise, so that no surroundings agree.
    for name, text in (
        ("gone", "not marked in the scan of 2023-03-01"),
        ("grows", "surroundings look different"),
    ):
        notes = " ".join(statuses(study, name)[1].cells[0].notes)
        assert text in notes
    assert "surroundings" not in " ".join(statuses(study, "gone")[1].cells[0].notes)


def test_a_nodule_that_was_marked_twice_at_a_date_says_so_and_none_is_new(scans, study, tmp_path):
    marks = points_of(1)
    where = marks.labels.index("stable")
    twice = PointSet([*marks.labels, "again"], np.concatenate([marks.points, marks.points[[where]] + 0.3]))
    write_points(twice, tmp_path / "twice.csv")
    again = study_of([scans[0], replace(scans[1], points=tmp_path / "twice.csv"), *scans[2:]])
    assert len(again.nodules) == len(study.nodules)
    assert at_a_glance(again.nodules) == at_a_glance(study.nodules)
    notes = {n.cells[1].mark.label: " ".join(n.cells[1].notes) for n in again.nodules if n.cells[1].mark}
    assert [label for label, text in notes.items() if "marked twice" in text] == ["stable"]
    assert "'again' lies in the same nodule" in notes["stable"]


def test_names_come_into_the_page_only_when_asked_for(study, tmp_path):
    known = [replace(scan, patient=Patient("7", "Doe^Jane")) for scan in study.scans]
    study = replace(study, scans=tuple(known))
    with OutputFolder(tmp_path) as out:
        write_study(study, out, ["registered"] * 4)
        text = (out / "report.html").read_text("utf-8")
        assert "Doe^" not in text and "ID 7" not in text
        write_study(study, out, ["registered"] * 4, show_names=True)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "Doe^Jane 2020-03-01.nii.gz" in text and "Doe, Jane (ID 7)" in text


def test_doubling_times_lie_inside_their_intervals():
    # Sizes with errors of the width that their intervals state; the nodule doubles in 150 days.
    rng, share, days, inside, told = np.random.default_rng(3), 1.25, 365.0, 0, 0
    truth = doubling_time(1.0, 2 ** (days / 150), days)
    for _ in range(4000):
        found = []
        for volume in (200.0, 200.0 * 2 ** (days / 150)):
            seen = volume * np.exp(rng.normal(0, np.log(share) / 1.96))
            found.append(Size(VOLUME, seen, seen / share, seen * share))
        change = growth(*found, days)
        told += change.doubling_days is not None
        inside += change.doubling_low <= truth <= change.doubling_high
    assert truth == pytest.approx(150) and told == 4000 and 0.935 <= inside / told <= 0.965


# The list of scans


def list_of(folder, *rows, header="scan,date,points,searched"):
    for name in ("a.nii.gz", "b.nii.gz", "p.csv"):
        (folder / name).touch()
    path = folder / "scans.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_scans_are_read_in_order_of_time(tmp_path):
    path = list_of(tmp_path, "b.nii.gz,2024-03-10,p.csv,yes", "a.nii.gz,2022-01-05,,")
    first, second = read_scans(path)
    assert (first.name, first.searched, first.points, len(first.marks())) == ("2022-01-05", False, None, 0)
    assert (second.path.name, second.searched) == ("b.nii.gz", True)
    assert number_of([first, second], None) == 1 and number_of([first, second], "2022-01-05") == 0
    with pytest.raises(InputError, match="No scan is of 2023-01-01"):
        number_of([first, second], "2023-01-01")


def test_dates_that_de_identification_moved_together_are_taken(tmp_path):
    scans = read_scans(list_of(tmp_path, "a.nii.gz,2998-03-10,,", "b.nii.gz,2999-03-10,,"))
    assert [scan.name for scan in scans] == ["2998-03-10", "2999-03-10"]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (["a.nii.gz,2024-03-10,,"], "holds one scan"),
        (["a.nii.gz,10.3.2024,,", "b.nii.gz,2024-03-10,,"], "'10.3.2024' under date in line 2"),
        (["a.nii.gz,,,", "b.nii.gz,2024-03-10,,"], "line 2 of .* has no date"),
        (["a.nii.gz,2024-03-10,,", "b.nii.gz,2024-03-10,,"], "are of 2024-03-10"),
        (["a.nii.gz,2024-03-10,,", "b.nii.gz,2999-03-10,,"], "2999-03-10 in .* is yet to come"),
        (["a.nii.gz,2024-03-10,,", "./a.nii.gz,2023-03-10,,"], "Line 3 .* earlier line gives another date"),
        (["c.nii.gz,2024-03-10,,", "b.nii.gz,2024-03-10,,"], "'.*c.nii.gz' in line 2 .* does not exist"),
        (["a.nii.gz,2024-03-10,q.csv,", "b.nii.gz,2023-03-10,,"], "points '.*q.csv' in line 2"),
        (["a.nii.gz,2024-03-10,,maybe", "b.nii.gz,2023-03-10,,"], "'maybe' under searched"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_its_line(tmp_path, rows, fault):
    with pytest.raises(InputError, match=fault):
        read_scans(list_of(tmp_path, *rows))


def test_scans_of_different_patients_are_told_without_their_names():
    same = {"2020-01-01": Patient("7", "A"), "2021-01-01": Patient(), "2022-01-01": Patient("7", "Doe^Jane")}
    assert patients_of_dates(same) == ""
    reason = patients_of_dates(same | {"2023-01-01": Patient("8", "Doe^Jane")})
    assert reason == "The scans of 2020-01-01 and 2023-01-01 are of different patients: their IDs differ."


def test_intervals_and_roles_are_said_as_readers_say_them():
    assert interval(183) == "183 days, 6.0 months"
    assert [role(n, 2) for n in range(2)] == ["prior", "current"]
    assert [role(n, 3) for n in range(3)] == ["prior 2", "prior 1", "current"]
