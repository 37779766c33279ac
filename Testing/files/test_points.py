import json

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.points import PointSet, read_points, write_points

LPS = np.array([[1.5, -2.0, 3.25], [-10.0, 20.0, -30.0]])
RAS = LPS * [-1, -1, 1]


def a_file(tmp_path, text, name="points.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path):
    with pytest.raises(InputError) as refused:
        read_points(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def rows(points, start=""):
    return "".join(
        f"{start}{label},{','.join(map(str, point))}\n" for label, point in zip("AB", points, strict=True)
    )


@pytest.mark.parametrize(
    "line", ["# coordinate system: RAS", "# CoordinateSystem: RAS", "#coordinatesystem=RAS"]
)
def test_a_comment_tells_the_coordinate_system_however_it_is_written(tmp_path, line):
    read = read_points(a_file(tmp_path, f"{line}\nlabel,x,y,z\nA,1,2,3\n"))
    assert read.points.tolist() == [[-1, -2, 3]]


@pytest.mark.parametrize("system", ["LPS", "RAS", "0", "1", "LPS, mm", "ras"])
def test_a_csv_is_read_in_the_coordinate_system_its_comment_names(tmp_path, system):
    stored = RAS if system in ("RAS", "ras", "0") else LPS
    read = read_points(a_file(tmp_path, f"# CoordinateSystem = {system}\nlabel,x,y,z\n" + rows(stored)))
    assert read.labels == ["A", "B"]
    np.testing.assert_array_equal(read.points, LPS)


def test_a_csv_without_comment_is_lps_and_further_columns_are_ignored(tmp_path):
    text = '\ufeffNote, Z , X,label,Y\n"a, b",3.25,1.5,one,-2\n\nc,-30,-10,two,20\n'
    read = read_points(a_file(tmp_path, text))
    assert read.labels == ["one", "two"]
    np.testing.assert_array_equal(read.points, LPS)


@pytest.mark.parametrize("columns, stored", [("l,p,s", LPS), ("r,a,s", RAS)])
def test_a_table_exported_by_slicer_is_read_by_its_columns(tmp_path, columns, stored):
    text = f"label,{columns},defined,selected\n" + rows(stored).replace("\n", ",1,1\n")
    np.testing.assert_array_equal(read_points(a_file(tmp_path, text)).points, LPS)
    assert "line 2" in refusal(a_file(tmp_path, text.replace(",1,1\n", ",0,1\n", 1)))


def test_empty_labels_are_numbered_and_duplicates_stay(tmp_path):
    assert read_points(a_file(tmp_path, "label,x,y,z\n,1,2,3\nA,1,2,3\nA,1,2,3\n")).labels == ["P1", "A", "A"]
    assert read_points(a_file(tmp_path, "x,y,z\n1,2,3\n4,5,6\n")).labels == ["P1", "P2"]


SLICER_FCSV = """# Markups fiducial file version = {version}
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,{0[0]},{0[1]},{0[2]},0,0,0,1,1,1,0,A,,vtkMRMLScalarVolumeNode1{status}
vtkMRMLMarkupsFiducialNode_1,{1[0]},{1[1]},{1[2]},0,0,0,1,1,1,0,B,a note, with comma,{status}
"""


@pytest.mark.parametrize(
    "version, system, stored, status",
    [("4.10", 0, RAS, ""), ("4.10", 1, LPS, ""), ("5.6", "LPS", LPS, ",2,0")],
)
def test_an_fcsv_file_of_slicer_is_read(tmp_path, version, system, stored, status):
    text = SLICER_FCSV.format(*stored, version=version, system=system, status=status)
    read = read_points(a_file(tmp_path, text.replace("note, with comma", "note"), "points.fcsv"))
    assert read.labels == ["A", "B"]
    np.testing.assert_array_equal(read.points, LPS)


def test_an_old_fcsv_file_without_a_system_is_ras(tmp_path):
    text = "# Fiducial List file\n# columns = label,x,y,z,sel,vis\n" + rows(RAS).replace("\n", ",1,1\n")
    read = read_points(a_file(tmp_path, text, "points.fcsv"))
    assert read.labels == ["A", "B"]
    np.testing.assert_array_equal(read.points, LPS)


def test_an_fcsv_point_that_was_never_placed_is_refused(tmp_path):
    text = SLICER_FCSV.format(*LPS, version="5.6", system="LPS", status=",0,0").replace(
        "note, with comma", "note"
    )
    assert "line 4" in refusal(a_file(tmp_path, text, "points.fcsv"))


def markups(points, system, **changes):
    control_points = [
        {"id": str(n), "label": label, "position": point.tolist(), "positionStatus": "defined", **changes}
        for n, (label, point) in enumerate(zip("AB", points, strict=True))
    ]
    return {
        "type": "Fiducial",
        "coordinateSystem": system,
        "coordinateUnits": "mm",
        "controlPoints": control_points,
    }


@pytest.mark.parametrize("points, system", [(LPS, "LPS"), (RAS, "RAS"), (RAS, 0)])
@pytest.mark.parametrize("kind", ["Fiducial", "Line", "Curve", "ClosedCurve", "Angle"])
def test_the_one_list_of_a_markups_file_is_read_in_its_system(tmp_path, kind, points, system):
    document = {"markups": [{**markups(points, system), "type": kind}, {"type": "Fiducial"}]}
    read = read_points(a_file(tmp_path, json.dumps(document), "points.mrk.json"))
    assert read.labels == ["A", "B"]
    np.testing.assert_array_equal(read.points, LPS)


@pytest.mark.parametrize("label, given", [(0, "0"), (7, "7"), ("", "P1"), (None, "P1")])
def test_a_label_that_is_a_number_is_one(tmp_path, label, given):
    point = {"label": label, "position": [1, 2, 3]}
    document = {"markups": [{"type": "Fiducial", "controlPoints": [point]}]}
    assert read_points(a_file(tmp_path, json.dumps(document), "points.mrk.json")).labels == [given]


@pytest.mark.parametrize(
    "document, reason",
    [
        ({"markups": [markups(LPS, "LPS", positionStatus="undefined")]}, "is undefined"),
        ({"markups": [markups(LPS, "LPS", position=None)]}, "three finite numbers"),
        ({"markups": [markups(LPS, "LPS", position=[1, 2])]}, "three finite numbers"),
        ({"markups": [markups(LPS, "LPS", position=[1, 2, float("nan")])]}, "three finite numbers"),
        ({"markups": [markups(LPS, "LPS", position=[1, 2, "x"])]}, "'x'"),
        ({"markups": [markups(LPS, "IJK")]}, "IJK"),
        ({"markups": [{**markups(LPS, "LPS"), "coordinateUnits": "um"}]}, "um"),
        ({"markups": [markups(LPS, "LPS"), markups(RAS, "RAS")]}, "holds 2 lists (Fiducial: 2 points; Fid"),
        ({"markups": [{**markups(LPS, "LPS"), "name": "N"}, markups(RAS, "RAS")]}, "Fiducial 'N': 2 points"),
        ({"markups": [{**markups(LPS, "LPS"), "type": "ROI"}]}, "a box (ROI)"),
        ({"markups": [{**markups(LPS, "LPS"), "type": "Plane"}]}, "a plane"),
        ({"markups": []}, "no points"),
        ({"points": []}, "no valid Slicer markups"),
        ([1, 2], "no valid Slicer markups"),
    ],
)
def test_unusable_markups_are_refused(tmp_path, document, reason):
    assert reason in refusal(a_file(tmp_path, json.dumps(document), "points.mrk.json"))


@pytest.mark.parametrize(
    "text",
    [
        '{"markups": [{"coordinateSystem": "LPS", "coordinateSystem": "RAS", "controlPoints": []}]}',
        "[" * 99999,
    ],
)
def test_markups_that_say_one_thing_twice_or_never_end_are_refused(tmp_path, text):
    assert "no valid Slicer markups" in refusal(a_file(tmp_path, text, "points.mrk.json"))


@pytest.mark.parametrize(
    "lines, points",
    [
        ("#CoordinateSystem,RAS\n", RAS),
        ("# coordinate-system = RAS\n", RAS),
        ("# coordinate_system: RAS+\n", RAS),
        ("# coordinate system: RAS (mm)\n", RAS),
        ("# space = RAS\n", RAS),
        ("# frame: ras\n# units: millimeters\n", RAS),
        ('"# CoordinateSystem = RAS"\n', RAS),
        ("# CoordinateSystem = RAS,,,\n", RAS),
        ("# CoordinateSystem = LPS+\n", LPS),
        ("# system: a scanner\n# frame: 3\n", LPS),
    ],
)
def test_a_comment_in_other_words_tells_the_system_too(tmp_path, lines, points):
    path = a_file(tmp_path, lines + table(points))
    np.testing.assert_allclose(read_points(path).points, LPS)


def table(points, header="label,x,y,z", mark=",", more=()):
    rows = [mark.join([label, *map(str, p), *more]) for label, p in zip("AB", points.tolist(), strict=True)]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    "header, points, more",
    [
        ("Name,X,Y,Z", LPS, ()),
        ("\u00c9tiquette,x,y,z", LPS, ()),
        ("Nr.,x/mm,y/mm,z/mm", LPS, ()),
        ("landmark_id,x mm,y mm,z mm", LPS, ()),
        ("id,x_ras,y_ras,z_ras", RAS, ()),
        ("label,x (LPS),y (LPS),z (LPS)", LPS, ()),
        ("label,x,y,z,unit", LPS, ("mm",)),
        ("label,x,y,z,CoordinateSystem", RAS, ("RAS",)),
        ("label,x,y,z,space", RAS, ("RAS",)),
        ("label,x,y,z,frame", LPS, ("1",)),
    ],
)
def test_columns_by_other_names_are_understood(tmp_path, header, points, more):
    read = read_points(a_file(tmp_path, table(points, header, more=more)))
    assert read.labels == ["A", "B"] and not read.unnamed
    np.testing.assert_allclose(read.points, LPS)


def test_both_systems_in_one_table_are_one_place_or_refused(tmp_path):
    both = np.hstack([LPS, RAS])
    header = "label,x,y,z,x_ras,y_ras,z_ras"
    path = a_file(tmp_path, "# CoordinateSystem = LPS\n" + table(both, header))
    np.testing.assert_allclose(read_points(path).points, LPS)
    assert "two places in line 2" in refusal(a_file(tmp_path, table(np.hstack([RAS, RAS]), header)))


def test_a_column_of_numbers_that_repeat_is_no_label(tmp_path):
    assert read_points(a_file(tmp_path, "t,x,y,z\n0,1,2,3\n0,4,5,6\n")).unnamed


def test_a_comment_among_the_points_is_passed_over(tmp_path):
    text = "label,x,y,z\nA,1,2,3\n# a pause, and on\n#1,4,5,6\n"
    assert read_points(a_file(tmp_path, text)).labels == ["A", "#1"]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("# coordinates in cm\nlabel,x,y,z\nA,1,2,3\n", "speaks of cm"),
        ("# Coordinates are RAS\nlabel,x,y,z\nA,1,2,3\n", "speaks of RAS"),
        ("# in voxels of the scan\nlabel,x,y,z\nA,1,2,3\n", "speaks of voxels"),
        ("# CoordinateSystem = LPS\n# CoordinateSystem = RAS\nlabel,x,y,z\nA,1,2,3\n", "two coordinate"),
        ("# CoordinateSystem = LPS\nlabel,r,a,s\nA,1,2,3\n", "says LPS in a comment"),
        ("label,x,y,z\n# CoordinateSystem = RAS\nA,1,2,3\n", "below its header"),
        ("label,x,y,z\nA,1,2,3\n# units = cm\n", "in cm"),
        (
            "# CoordinateSystem = LPS\nlabel,x,y,z,system\nA,1,2,3,RAS\n",
            "another coordinate system in",
        ),
        ("label,x,y,z,system\nA,1,2,3,RAI\n", "unknown coordinate system 'RAI'"),
        ("label,x,y,z,unit\nA,1,2,3,cm\n", "in cm"),
        ("label,x (cm),y (cm),z (cm)\nA,1,2,3\n", "in cm"),
        ("label,x_vox,y_vox,z_vox\nA,1,2,3\n", "in vox"),
        ("label,x,y,z\nA,1_0,2,3\n", "'1_0'"),
        ("<html>\n", "a web page"),
        ("PK\3\4...", "a zip archive"),
        ("", "is empty"),
        ("label,x,y,z\n", "no points"),
        ("label,x,z\nA,1,2\n", "lacks the column(s) y;"),
        ("A,1,2,3\n", "lacks the column(s) x, y, z"),
        ("# CoordinateSystem = LPS\nlabel,x,y,z\nA,1,2,3\nB,1,two,3\n", "'two' in line 4"),
        ("label,x,y,z\nA,1,2,3\n\nB,1,2\n", "line 4"),
        ("label,x,y,z\nA,1,nan,3\n", "line 2"),
        ("label,x,y,z\nA,1,inf,3\n", "line 2"),
        ("# CoordinateSystem = IJK\nlabel,x,y,z\nA,1,2,3\n", "IJK"),
        ("label|x|y|z\nA|1|2|3\n", "lacks the column(s)"),
        ("label,x,y,z\nA,1,2,3,4\n", "more cells in line 2"),
        ("label,x,y,z\nA,1,5,2,5,3,5\n", "decimal point"),
        ("label;x;y;z\nA;1,5;2.5;3\n", "'1,5'"),
        ("label,x,y,z,x\nA,1,2,3,4\n", "x twice"),
        ("# Units: voxels\nlabel,x,y,z\nA,1,2,3\n", "in voxels"),
    ],
)
def test_unusable_csv_files_are_refused_with_the_place(tmp_path, text, reason):
    assert reason in refusal(a_file(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "label;x;y;z\nA;1,5;-2,25;3\n",
        "sep=;\nlabel;x;y;z\nA;1.5;-2.25;3\n",
        "label\tx\ty\tz\nA\t1.5\t-2.25\t3\n",
        "x y z label\n1.5 -2.25   3 A\n",
        "label,x (mm),y (mm),z (mm)\nA,1.5,-2.25,3\n",
        "# CoordinateSystem = RAS\n# units = mm\nlabel;x_mm;y_mm;z_mm\nA;-1,5;2,25;3;\n",
        "label,x,y,z,\nA,1.5,-2.25,3,,\n",
    ],
)
def test_tables_of_spreadsheets_are_read(tmp_path, text):
    points = read_points(a_file(tmp_path, text))
    assert points.labels == ["A"] and points.points.tolist() == [[1.5, -2.25, 3.0]]


@pytest.mark.parametrize("line", ["A,1,2,3\n", "1,2,3\n"])
def test_an_fcsv_of_few_cells_that_does_not_name_them_is_refused(tmp_path, line):
    assert "does not name its columns" in refusal(a_file(tmp_path, line, "points.fcsv"))


def test_unreadable_files_are_refused(tmp_path):
    assert "cannot be read" in refusal(tmp_path / "none.csv")
    assert "unknown type" in refusal(a_file(tmp_path, "", "points.xlsx"))
    assert "no valid Slicer" in refusal(a_file(tmp_path, "{", "points.mrk.json"))
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    assert "UTF-8" in refusal(tmp_path / "binary.csv")


@pytest.mark.parametrize("suffix", [".csv", ".mrk.json", ".fcsv"])
def test_written_points_are_read_back(tmp_path, suffix):
    points = PointSet(
        ['a, "b"', "#2", "Kn\u00f6tchen", "a"], np.array([*LPS, [0.1 + 0.2, 0, -0.0], [1e-3, 1e3, 0]])
    )
    columns = {
        "residual_mm": np.array([0.25, np.nan, 0, 1]),
        "inside_field": np.array([True, False, True, True]),
    }
    write_points(points, tmp_path / f"points{suffix}", columns)
    read = read_points(tmp_path / f"points{suffix}")
    assert read.labels == points.labels
    np.testing.assert_allclose(read.points, points.points, atol=1e-6)


def test_the_csv_names_its_system_and_holds_the_extra_columns(tmp_path):
    write_points(
        PointSet(["A", "B"], LPS),
        tmp_path / "p.csv",
        {"residual_mm": [0.125, np.nan], "inside_field": [True, False]},
    )
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "# CoordinateSystem = LPS",
        "label,x,y,z,residual_mm,inside_field",
        "A,1.5,-2.0,3.25,0.125,true",
        "B,-10.0,20.0,-30.0,,false",
    ]


def test_the_markups_file_has_what_slicer_asks_for(tmp_path):
    write_points(
        PointSet(["A", "B"], LPS), tmp_path / "p.mrk.json", {"inside_field": np.array([True, False])}
    )
    document = json.loads((tmp_path / "p.mrk.json").read_text())
    assert document["@schema"].endswith("/Markups/Resources/Schema/markups-schema-v1.0.3.json#")
    (markup,) = document["markups"]
    assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == (
        "Fiducial",
        "LPS",
        "mm",
    )
    second = markup["controlPoints"][1]
    assert second["position"] == [-10.0, 20.0, -30.0]
    assert (second["id"], second["label"], second["positionStatus"]) == ("2", "B", "defined")
    assert second["description"] == "inside_field: false"


def test_points_and_columns_must_fit(tmp_path):
    with pytest.raises(ValueError, match=r"1 label for points of shape \(2, 3\)"):
        PointSet(["A"], LPS)
    with pytest.raises(ValueError, match="one value per point"):
        write_points(PointSet(["A", "B"], LPS), tmp_path / "p.csv", {"residual_mm": [1.0]})
    with pytest.raises(InputError, match="Cannot write"):
        write_points(PointSet(["A", "B"], LPS), tmp_path / "p.json")
    assert not list(tmp_path.iterdir())
