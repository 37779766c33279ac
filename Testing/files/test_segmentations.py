"""Segmentations through files: names, colours and overlaps, and what is refused."""

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.segmentations import Segment, Segmentation, read_segmentation, write_segmentation

GRID = Grid((7, 6, 5), (1.0, 1.5, 2.0), (3.0, -4.0, 10.0), (0, 1, 0, -1, 0, 0, 0, 0, 1))
LEFT, NODULE, EMPTY = (
    Segment("Left lung", 2, 0, {"ID": "a", "Color": "0.1 0.2 0.3", "Tags": "x"}),
    Segment("Nodule", 1, 1, {"ID": "b", "Color": "1 0 0"}),
    Segment("Empty", 5, 0, {"ID": "c", "Color": "0 1 0"}),
)


@pytest.fixture
def overlapping():
    layers = np.zeros((2, *GRID.shape), np.int32)
    layers[0, 1:4, 1:5, 2:6] = 2
    layers[1, 2, 2:4, 3] = 1
    return Segmentation(tuple(layers), GRID, (LEFT, NODULE, EMPTY))


def same(a, b):
    assert a.grid.matches(b.grid) and [(s.name, s.label, s.layer) for s in a.segments] == [
        (s.name, s.label, s.layer) for s in b.segments
    ]
    for one, other in zip(a.segments, b.segments, strict=True):
        np.testing.assert_array_equal(a.mask(one), b.mask(other))
        assert {key: other.details.get(key) for key in one.details} == one.details


def test_names_colours_and_overlaps_are_the_same_after_a_file(overlapping, tmp_path):
    write_segmentation(overlapping, tmp_path / "a.seg.nrrd")
    same(overlapping, read_segmentation(tmp_path / "a.seg.nrrd"))


def test_slicer_reads_what_is_written_and_what_slicer_writes_is_read(overlapping, tmp_path):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(overlapping, path)
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    source = node.GetSegmentation()
    assert [source.GetNthSegment(n).GetName() for n in range(3)] == ["Left lung", "Nodule", "Empty"]
    assert source.GetNthSegment(0).GetColor() == pytest.approx((0.1, 0.2, 0.3))
    storage.SetFileName(str(tmp_path / "b.seg.nrrd"))
    assert storage.WriteData(node)
    again = read_segmentation(tmp_path / "b.seg.nrrd")
    assert [segment.name for segment in again.segments] == ["Left lung", "Nodule", "Empty"]
    # Slicer may keep only the box around the segments.
    for segment, other in zip(overlapping.segments, again.segments, strict=True):
        points, others = (
            s.grid.to_physical(np.argwhere(s.mask(part))[:, ::-1])
            for s, part in ((overlapping, segment), (again, other))
        )
        np.testing.assert_allclose(np.sort(points, axis=0), np.sort(others, axis=0), atol=1e-4)


def test_a_label_map_has_no_names_and_no_overlaps(overlapping, tmp_path):
    one = Segmentation(overlapping.layers[:1], GRID, (LEFT,))
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        write_segmentation(one, tmp_path / name)
        (segment,) = read_segmentation(tmp_path / name).segments
        assert (segment.name, segment.label) == ("label 2", 2)
    with pytest.raises(InputError, match="segments overlap"):
        write_segmentation(overlapping, tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match="does not exist"):
        read_segmentation(tmp_path / "missing.nrrd")


VALUES = np.zeros((4, 5, 6), np.uint8)
VALUES[1:3, 1:3, 1:3], VALUES[2, 3:, 3:] = 1, 2
BOTH = np.stack([VALUES == 1, VALUES == 2], axis=-1).astype(np.uint8)


def seg_nrrd(folder, *lines, layers=None, kind="list"):
    """As 3D Slicer writes one layer, or several ahead of the image's axes."""
    values = VALUES if layers is None else layers
    shape = f"{len(values.shape)}", " ".join(map(str, values.shape[::-1]))
    ahead, none = ("", "") if layers is None else (f"{kind} ", "none ")
    if layers is not None:
        shape = "4", f"{layers.shape[-1]} 6 5 4"
    head = (
        *("NRRD0004", "type: uchar", f"dimension: {shape[0]}", "space: left-posterior-superior"),
        *(f"sizes: {shape[1]}", f"space directions: {none}(2,0,0) (0,2,0) (0,0,3)"),
        *(f"kinds: {ahead}domain domain domain", "encoding: raw", "space origin: (1,2,3)", *lines, "", ""),
    )
    (folder / "a.seg.nrrd").write_bytes("\n".join(head).encode() + values.tobytes())
    return folder / "a.seg.nrrd"


def said(number, name, label=None, layer=None):
    lines = [f"Segment{number}_Name:={name}"]
    lines += [] if label is None else [f"Segment{number}_LabelValue:={label}"]
    return lines + ([] if layer is None else [f"Segment{number}_Layer:={layer}"])


@pytest.mark.parametrize("kind", ["list", "vector"])
@pytest.mark.parametrize(
    "lines",
    [
        said(0, "A") + said(1, "B"),  # Slicer up to 4.10: a layer each, of ones
        said(0, "A", 1, 0) + said(1, "B", 1, 1),
        said(1, "B", 1, 1) + said(0, "A", 1, 0),
    ],
)
def test_layers_of_both_ages_of_slicer_are_named_as_slicer_does(tmp_path, lines, kind):
    read = read_segmentation(seg_nrrd(tmp_path, *lines, layers=BOTH, kind=kind))
    assert [segment.name for segment in read.segments] == ["A", "B"]
    for segment, label in zip(read.segments, (1, 2), strict=True):
        np.testing.assert_array_equal(read.mask(segment), label == VALUES)


@pytest.mark.parametrize(
    "lines",
    [
        said(0, "A", "one", 0),
        said(0, "A", "1.0", 0),
        said(0, "A", "", 0),
        said(0, "A", 0, 0),
        said(0, "A", -1, 0),
        said(0, "A", 2**40, 0),
        said(0, "A", 1, "x"),
        said(0, "A", 1, -1),
        said(0, "A", 1, 1),
        said(0, "B", 1, 0) + said(1, "A", 1, 0),
        said(0, "B") + said(1, "A"),
    ],
)
def test_a_segment_without_voxels_of_its_own_in_the_file_is_refused(tmp_path, lines):
    with pytest.raises(InputError, match="no voxels of its own for the segment 'A'"):
        read_segmentation(seg_nrrd(tmp_path, *lines))


def test_shares_of_voxels_and_colours_are_no_labels(tmp_path):
    shares = "Segmentation_MasterRepresentation:=Fractional labelmap"
    with pytest.raises(InputError, match="shares of voxels"):
        read_segmentation(seg_nrrd(tmp_path, shares, *said(0, "A", 1, 0)))
    with pytest.raises(InputError, match="picture in colour"):
        read_segmentation(seg_nrrd(tmp_path, layers=np.stack([VALUES] * 3, axis=-1), kind="RGB-color"))
