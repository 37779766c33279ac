"""The report: pictures show the right place the right way round, numbers say what they mean."""

from __future__ import annotations

import base64
import csv
import io
import json

import numpy as np
import pytest
import SimpleITK as sitk
from html_page import Page
from PIL import Image

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.evaluate import evaluate_transform
from GLIDERegLib.evaluation.report import write_report
from GLIDERegLib.evaluation.report_nodules import read_nodules
from GLIDERegLib.evaluation.report_numbers import numbers
from GLIDERegLib.evaluation.report_pictures import (
    BLACK_TO_WHITE,
    CROSS,
    CROSS_RGB,
    LUNG_WINDOW,
    MEASURED,
    MEASURED_RGB,
    PIXEL_MM,
    PIXELS,
    display_window,
    nodule_picture,
    nodule_png,
)
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.transforms import write_transform
from GLIDERegLib.files.volumes import to_sitk

MIDDLE = PIXELS // 2
TURN = np.reshape(sitk.VersorTransform((0.2, 0.3, 1.0), 0.5).GetMatrix(), (3, 3))
DIRECTIONS = {
    "straight": np.eye(3),
    "feet first and mirrored": np.diag([-1.0, 1, -1]),
    "sagittal": np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]]),
    "oblique": TURN,
}
HOSTILE = '</h3><script>alert("1")</script><img src="https://example.org/a.png">'


def ball_image(axes, centres, radius=6.0):
    """Air with balls of soft tissue at LPS points, on a turned, anisotropic grid around (10, -20, 30)."""
    size, spacing = np.array([70, 64, 50]), np.array([1.5, 1.7, 2.1])
    origin = np.array([10.0, -20, 30]) - axes @ ((size - 1) / 2 * spacing)
    grid = Grid(
        tuple(size.tolist()), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(axes.ravel().tolist())
    )
    points = grid.points()
    inside = np.zeros(grid.shape, bool)
    for centre in centres:
        inside |= np.linalg.norm(points - centre, axis=-1) < radius
    return to_sitk(Volume(np.where(inside, 50.0, -1000.0), grid))


def middle_of_ball(picture):
    """Row and column (mean) of the bright pixels that are not cross."""
    return np.argwhere((picture > 180) & (picture < CROSS)).mean(axis=0)


@pytest.mark.parametrize("axes", DIRECTIONS.values(), ids=DIRECTIONS.keys())
@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_the_point_is_the_middle_of_the_picture_for_any_direction(axes, plane):
    point = np.array([14.0, -17.0, 33.0])
    picture = nodule_picture(ball_image(axes, [point]), point, plane, LUNG_WINDOW)
    assert picture.shape == (PIXELS, PIXELS)
    assert np.abs(middle_of_ball(picture) - MIDDLE).max() < 3  # half a voxel


@pytest.mark.parametrize("axes", DIRECTIONS.values(), ids=DIRECTIONS.keys())
@pytest.mark.parametrize(
    ("plane", "offset", "row", "column"),
    [
        ("axial", (16, 0, 0), 0, 64),  # 16 mm to the patient's left: right in the picture
        ("axial", (0, -16, 0), -64, 0),  # to the front: up
        ("coronal", (16, 0, 0), 0, 64),
        ("coronal", (0, 0, 16), -64, 0),  # to the head: up
    ],
)
def test_sides_and_scale_are_those_of_the_patient(axes, plane, offset, row, column):
    point = np.array([10.0, -20.0, 30.0])
    picture = nodule_picture(ball_image(axes, [point + offset]), point, plane, LUNG_WINDOW)
    assert np.abs(middle_of_ball(picture) - MIDDLE - (row, column)).max() < 3


def test_the_cross_points_at_the_middle_and_leaves_it_free():
    picture = nodule_picture(ball_image(np.eye(3), []), np.array([10.0, -20, 30]), "axial", LUNG_WINDOW)
    cross = picture == CROSS
    assert cross.any()
    assert np.array_equal(cross, cross[::-1]) and np.array_equal(cross, cross[:, ::-1])
    assert np.array_equal(cross, cross.T)
    row, column = np.nonzero(cross)
    assert set(row[np.abs(column - MIDDLE) > 12]) == {MIDDLE - 1, MIDDLE, MIDDLE + 1}
    near = np.hypot(row - MIDDLE, column - MIDDLE).min() * PIXEL_MM
    assert 3.5 < near < 4.5
    assert np.hypot(row - MIDDLE, column - MIDDLE).max() * PIXEL_MM < 10


def test_grey_values_follow_the_window_and_beyond_the_scan_it_is_black():
    grid = Grid((40, 40, 40), (2.0, 2.0, 2.0))
    image = to_sitk(Volume(np.full(grid.shape, -600, np.int16), grid))
    inside = nodule_picture(image, np.array([39.0, 39, 39]), "axial", LUNG_WINDOW)
    assert inside[5, 5] == round(BLACK_TO_WHITE / 2)  # the middle of a lung window is half way to white
    edge = nodule_picture(image, np.array([0.0, 39, 39]), "axial", LUNG_WINDOW)
    assert (edge[:, : MIDDLE - 10][edge[:, : MIDDLE - 10] < CROSS] == 0).all()
    assert edge[5, -5] == inside[5, 5]


def test_the_png_shows_the_cross_in_its_colour_and_all_else_in_grey():
    picture = nodule_picture(ball_image(np.eye(3), [(10, -20, 30)]), (10, -20, 30), "axial", LUNG_WINDOW)
    head, _, text = nodule_png(picture).partition(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
    assert (pixels[picture == CROSS] == CROSS_RGB).all()
    grey = pixels[picture < CROSS]
    assert (grey == grey[:, :1]).all()
    assert np.abs(grey[:, 0] / 255 - picture[picture < CROSS] / BLACK_TO_WHITE).max() < 0.01


def test_the_outline_of_what_was_measured_is_drawn_where_it_is():
    point, radius = np.array([10.0, -20, 30]), 9.0
    grid = Grid((30, 30, 30), (1.0, 1.0, 1.0), tuple((point - 14.5).tolist()))
    ball = Volume((np.linalg.norm(grid.points() - point, axis=-1) <= radius).astype(np.uint8), grid)
    picture = nodule_picture(ball_image(np.eye(3), []), point, "axial", LUNG_WINDOW, to_sitk(ball))
    places = np.argwhere(picture == MEASURED)
    apart = np.linalg.norm(places - MIDDLE, axis=1) * PIXEL_MM
    # Half a voxel of the mask either way; the cross covers a little of it.
    assert len(places) > 150 and np.abs(apart - radius).max() < 0.8
    pixels = Image.open(io.BytesIO(base64.b64decode(nodule_png(picture).partition(",")[2]))).convert("RGB")
    assert (np.asarray(pixels)[picture == MEASURED] == MEASURED_RGB).all()


def test_ct_has_a_lung_window_and_other_images_their_own():
    rng = np.random.default_rng(0)
    grid = Grid((20, 20, 20))
    assert display_window(Volume(rng.uniform(-1000, 200, grid.shape), grid)) == (-1350, 150)
    low, high = display_window(Volume(rng.uniform(100, 300, grid.shape), grid))
    assert 100 < low < 110 and 290 < high < 300


def measured(**changes):
    similarity = {
        "normalised_cross_correlation": 0.5,
        "mean_absolute_difference": 60.0,
        "mutual_information": 1.0,
    }
    return {
        "similarity": {"initial": similarity, "final": similarity | {"normalised_cross_correlation": 0.7}},
        "jacobian": {"min": 0.5, "max": 2.0, "share_not_positive": 0.0, "std_log": 0.1},
        "inverse_consistency": {
            "method": "numerical inverse",
            "mean_mm": 0.01,
            "p95_mm": 0.02,
            "max_mm": 0.03,
        },
    } | changes


def by_name(report, lengths=(0.0,)):
    return {number.name: number for number in numbers(report, np.asarray(lengths), 2.5, "HU")}


def test_every_number_has_a_unit_and_says_what_is_usual_and_what_it_means():
    error = {key: {"mean": 1.0, "p95": 2.0, "max": 6.0, "n": 9} for key in ("initial", "final")}
    for number in by_name(measured(target_registration_error=error)).values():
        assert number.unit and number.usual and number.after and number.meaning.endswith(".")
        assert not {"good", "bad"} & set(number.meaning.lower().strip(".").split())


def test_point_errors_are_told_without_a_verdict_for_one_patient():
    error = {
        "initial": {"mean": 8.0, "p95": 15.0, "max": 20.0, "n": 9},
        "final": {"mean": 1.0, "p95": 4.0, "max": 6.5, "n": 9},
    }
    found = by_name(measured(target_registration_error=error))
    mean, largest = (found[f"Target registration error of 9 point pairs, {n}"] for n in ("mean", "largest"))
    assert (mean.before, mean.after) == ("8.00", "1.00")
    for number in (mean, largest):
        # The 2 and 5 mm of TG-132 are for commissioning.
        assert number.usual == "no agreed value" and number.source is None
        assert "within" not in number.meaning and "above" not in number.meaning


def test_folding_is_said_in_percent_with_its_consequence():
    jacobian = {"min": -0.2, "max": 2.0, "share_not_positive": 0.0123, "std_log": None}
    share = by_name(measured(jacobian=jacobian))["Folding (Jacobian ≤ 0)"]
    assert (share.after, share.unit) == ("1.230", "% of voxels of the body")
    assert "do not rely" in share.meaning
    assert "nothing of accuracy" in by_name(measured())["Folding (Jacobian ≤ 0)"].meaning


def test_folding_volumes_and_motion_are_properties_of_the_field_and_no_evidence_of_accuracy():
    found = by_name(measured())
    properties = [name for name, number in found.items() if number.of_field]
    assert [name.split(",")[0].split(" (")[0] for name in properties] == [
        *["Displacement in the body"] * 3,
        *["Jacobian determinant"] * 2,
        "Folding",
        "Spread of the logarithm of the Jacobian determinant",
    ]
    assert not found["Normalised cross-correlation"].of_field


def test_displacement_is_given_in_percentiles():
    found = by_name(measured(), np.arange(101.0))
    values = [found[f"Displacement in the body, {n}"].after for n in ("median", "95th percentile", "largest")]
    assert values == ["50.0", "95.0", "100.0"]


def test_only_a_separate_inverse_gives_an_inverse_consistency_error():
    assert not [name for name in by_name(measured()) if "nverse" in name]
    separate = measured()["inverse_consistency"] | {"method": "given inverse", "mean_mm": 3.0}
    given = by_name(measured(inverse_consistency=separate))["Inverse consistency error, mean"]
    assert given.source == 1 and given.meaning == "3.00 mm is above 2.5 mm."


def nodule_files(folder, fixed, moving, review=None):
    """Writes points marked in either scan, 1 mm apart in x, and a review; returns the sources."""
    sources = {}
    for role, labels, other in (("fixed", fixed, "moving"), ("moving", moving, "fixed")):
        points = np.array([[10.0 * n, 0, 0] for n in range(len(labels))])
        sources[role] = folder / f"{role}_nodules.csv"
        write_points(PointSet(list(labels), points), sources[role])
        columns = {"residual_mm": [0.1] * len(labels), "inside_field": [True] * len(labels)}
        write_points(PointSet(list(labels), points + [1, 0, 0]), folder / f"points_{other}.csv", columns)
    if review:
        with (folder / "review.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(review)
    return sources


def test_nodules_know_both_places_their_reliability_and_the_other_mark(tmp_path):
    sources = nodule_files(tmp_path, ["a", "b"], ["b", "c"])
    nodules = read_nodules(tmp_path, sources, corresponding=True)
    assert [(n.label, n.marked_in) for n in nodules] == [
        ("a", "fixed"),
        ("b", "fixed"),
        ("b", "moving"),
        ("c", "moving"),
    ]
    first, second, third, _ = nodules
    assert first.fixed.tolist() == [0, 0, 0] and first.moving.tolist() == [1, 0, 0]
    assert third.moving.tolist() == [0, 0, 0] and third.fixed.tolist() == [1, 0, 0]
    assert (first.displacement_mm, first.residual_mm, first.inside_field) == (1.0, 0.1, True)
    # b was marked at x = 10 in the fixed scan and propagated to 11; in the moving scan it was marked at 0.
    assert (first.own_mark_mm, second.own_mark_mm) == (None, 11.0)
    assert all(n.own_mark_mm is None for n in read_nodules(tmp_path, sources, corresponding=False))


def test_the_review_goes_to_the_nodule_of_its_label_and_scan(tmp_path):
    review = [["Label", "Marked in", "Status"], ["b", "moving", "rejected"], ["b", "fixed", "accepted"]]
    nodules = read_nodules(tmp_path, nodule_files(tmp_path, ["a", "b"], ["b"], review), False)
    assert [n.review for n in nodules] == [{}, {"Status": "accepted"}, {"Status": "rejected"}]


def test_the_review_of_labels_that_occur_twice_goes_in_order(tmp_path):
    review = [["Label", "Comment"], ["F", "one, with comma"], ["F", "two"]]
    nodules = read_nodules(tmp_path, nodule_files(tmp_path, ["F", "F"], ["x"], review), False)
    assert [n.review.get("Comment") for n in nodules] == ["one, with comma", "two", None]


def test_a_review_without_labels_and_changed_points_are_refused(tmp_path):
    sources = nodule_files(tmp_path, ["a"], ["b"], [["Name"], ["a"]])
    with pytest.raises(InputError, match="no column 'Label'"):
        read_nodules(tmp_path, sources, False)
    (tmp_path / "review.csv").unlink()
    write_points(PointSet(["z"], np.zeros((1, 3))), sources["fixed"])
    with pytest.raises(InputError, match="changed since"):
        read_nodules(tmp_path, sources, False)


@pytest.fixture(scope="module")
def other_tool(phantom_folder, tmp_path_factory):
    """A folder with the transform of another tool, of which nothing is known; hostile texts; its page."""
    folder = tmp_path_factory.mktemp("other tool")
    transform = sitk.TranslationTransform(3, (0.0, 2.0, -6.0))
    write_transform(transform, folder / "transform.h5")
    write_points(PointSet([HOSTILE, "far away"], np.array([[30.0, 10, 20], [900, 0, 0]])), folder / "n.csv")
    propagated = np.array([[30.0, 12, 14], [900, 2, -6]])
    columns = {"residual_mm": [0.0, 0.0], "inside_field": [True, False]}
    write_points(PointSet([HOSTILE, "far away"], propagated), folder / "points_moving.csv", columns)
    inputs = {role: str(phantom_folder / f"{role}.nii.gz") for role in ("fixed", "moving")}
    report = {"inputs": inputs | {"fixed_points": "n.csv"}, "warnings": [HOSTILE]}
    (folder / "report.json").write_text(json.dumps(report), "utf-8")
    with (folder / "review.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [["Label", "Status", "Comment"], [HOSTILE, "accepted", "= 2 & <b>bold</b>"]]
        csv.writer(file).writerows(rows)
    assert write_report(folder, folder / "report.html", folder / "nodules.csv") == 2
    return folder, transform


def test_texts_of_the_user_are_shown_as_texts(other_tool):
    page = Page((other_tool[0] / "report.html").read_text("utf-8"))
    assert "script" not in page.tags and "b" in page.tags
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in page.pictures)
    text = page.text
    assert text.count('<script>alert("1")</script>') >= 3  # warning, table and card
    assert text.count("= 2 & <b>bold</b>") == 2  # beside the pictures and in the table


def test_every_nodule_has_both_scans_in_two_planes_at_one_scale(other_tool):
    page = Page((other_tool[0] / "report.html").read_text("utf-8"))
    overview, *pictures = page.pictures
    assert len(pictures) == 2 * 4
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture["src"].partition(",")[2])))
        assert image.size == (PIXELS, PIXELS)
        assert picture["alt"]
    assert "outside this scan" in page.text
    assert "Outside the registered field" in page.text
    assert page.text.count("Outside the moving scan, where nothing could be compared.") == 1


def test_what_the_folder_does_not_tell_is_measured_from_the_transform(other_tool, small_phantom):
    folder, transform = other_tool
    expected = evaluate_transform(transform, small_phantom.fixed, small_phantom.moving)
    text = Page((folder / "report.html").read_text("utf-8")).text
    for when in ("initial", "final"):
        assert f"{expected['similarity'][when]['normalised_cross_correlation']:.3f}" in text
    assert "how it was made is not known" in text
    assert "6.3" in text  # the length of the translation, mm
    assert "doi 10.1002/mp.12256" in text


def test_the_table_holds_the_nodules_and_the_review(other_tool):
    with (other_tool[0] / "nodules.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [HOSTILE, "far away"]
    assert rows[0]["moving_z_lps_mm"] == "14.000"
    assert float(rows[0]["displacement_mm"]) == pytest.approx(np.hypot(2, 6), abs=1e-3)
    assert [row["inside_field"] for row in rows] == ["true", "false"]
    assert [row["inside_moving"] for row in rows] == ["true", "false"]
    assert (rows[0]["Status"], rows[1]["Status"]) == ("accepted", "")


def test_a_stop_between_two_steps_leaves_nothing(other_tool, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(other_tool[0], tmp_path / "a.html", tmp_path / "a.csv", stop)
    assert list(tmp_path.iterdir()) == []
