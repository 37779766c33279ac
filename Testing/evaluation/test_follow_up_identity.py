"""Identity over all dates: known nodules, known errors, and which of them are the same."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.evaluation.follow_up.identity import CHI2_95, MARK_MM, Place, follow

RADIUS_MM = 2.5


def places(points, radius=RADIUS_MM):
    return [Place(np.asarray(point, float), radius) for point in points]


def owners(tracks, dates):
    """The nodule, from 0, of each mark: a list for each date."""
    found = {(date, row): n for n, track in enumerate(tracks) for date, row in track.marks.items()}
    return [[found[date, row] for row in range(len(marks))] for date, marks in enumerate(dates)]


def scattered(rng, number, apart):
    """Points (N, 3) in a box of a chest's size, no two nearer to each other than `apart` mm."""
    points = []
    while len(points) < number:
        point = rng.uniform((-120, -80, -130), (120, 80, 130))
        if all(np.linalg.norm(point - other) >= apart for other in points):
            points.append(point)
    return np.array(points)


def observed(rng, truth, share=1.0):
    """What is marked of true places, and which they are: an error of registration and hand, in any order."""
    error = np.sqrt((RADIUS_MM**2 + MARK_MM**2) / CHI2_95)
    seen = rng.permutation(np.flatnonzero(rng.random(len(truth)) < share))
    return truth[seen] + rng.normal(0, error, (len(seen), 3)), seen


def test_identity_over_four_dates_with_births_gaps_and_losses():
    right = marks = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = scattered(rng, 12, 10.0)
        born, gone = rng.integers(0, 2, 12), rng.integers(3, 5, 12)
        dates, names = [], []
        for date in range(4):
            there = np.flatnonzero((born <= date) & (date < gone))
            points, seen = observed(rng, truth[there], 0.9)
            dates.append(places(points))
            names.append(there[seen])
        own = owners(follow(dates), dates)
        # A nodule is right where its marks are all of one true nodule, and all of those.
        for nodule in range(12):
            mine = {
                o
                for marked, found in zip(names, own, strict=True)
                for n, o in zip(marked, found, strict=True)
                if n == nodule
            }
            if not mine:
                continue
            others = {
                n
                for marked, found in zip(names, own, strict=True)
                for n, o in zip(marked, found, strict=True)
                if o in mine
            }
            right += len(mine) == 1 and others == {nodule}
            marks += 1
    assert marks > 400 and right / marks >= 0.98


def test_nodules_ten_millimetres_apart_are_never_exchanged():
    swapped = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 1])
        truth = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
        dates, names = zip(*[observed(rng, truth) for _ in range(4)], strict=True)
        tracks = follow([places(points) for points in dates])
        for track in tracks:
            true = {int(names[date][row]) for date, row in track.marks.items()}
            swapped += len(true) > 1
    assert swapped == 0


def test_a_nodule_that_is_missing_at_a_date_is_found_again():
    dates = [places([(0, 0, 0), (30, 0, 0)]), places([(31, 0, 0)]), places([(1, 0, 0), (29, 0, 0)])]
    tracks = follow(dates)
    assert [track.marks for track in tracks] == [{0: 0, 2: 0}, {0: 1, 1: 0, 2: 1}]
    assert not any(track.doubts for track in tracks)


def test_what_is_born_beside_a_lost_nodule_is_not_its_neighbour_moved_on():
    # The one with the most pairs would push each mark to the next nodule.
    tracks = follow([places([(0, 0, 0), (7, 0, 0)]), places([(7, 0, 0), (14, 0, 0)])])
    assert [track.marks for track in tracks] == [{0: 0}, {0: 1, 1: 0}, {1: 1}]


def test_two_marks_as_likely_are_told():
    tracks = follow([places([(0, 0, 0)]), places([(2, 0, 0), (-2, 0, 0)])])
    assert len(tracks) == 2 and "fits about as well" in tracks[0].doubts[1][0]


@pytest.mark.parametrize(("away", "told"), [(4.0, False), (7.0, True)])
def test_a_neighbour_marked_in_place_of_a_nodule_is_told(away, told):
    # Never marked together, nothing else tells that the second is another nodule.
    (track,) = follow([places([(0, 0, 0)]), places([(away, 0, 0)])])
    assert track.marks == {0: 0, 1: 0}
    assert (
        track.doubts.get(1) == ["lies 7.0 mm from where it was expected, as fewer than 1 in 100 do"]
    ) == told
    assert bool(track.doubts) == told


def test_two_nodules_that_could_be_exchanged_name_each_other():
    tracks = follow([places([(0, 0, 0), (2, 0, 0)]), places([(0.5, 0, 0), (1.5, 0, 0)])])
    assert "might as well be nodule 2, 2.0 mm away" in tracks[0].doubts[1]
    assert "might as well be nodule 1, 2.0 mm away" in tracks[1].doubts[1]


def test_dates_that_match_otherwise_by_themselves_are_told():
    # The first two pull the nodule's place towards them; the third alone would be the first's.
    dates = [places([(0, 0, 0)]), places([(5, 0, 0)]), places([(2.5, 0, 0), (10, 0, 0)])]
    dates.append(places([(9, 0, 0)]))
    tracks = follow(dates, ["2020", "2021", "2022", "2023"])
    told = [text for track in tracks for texts in track.doubts.values() for text in texts]
    assert any(text.startswith("matched with 2021 alone it is nodule 1, 4.0 mm away") for text in told)


def test_a_mark_that_cannot_be_placed_is_a_nodule_of_its_own():
    tracks = follow([places([(0, 0, 0)], None), places([(0, 0, 0)])])
    assert [track.marks for track in tracks] == [{0: 0}, {1: 0}]


def test_more_marks_make_a_place_more_certain():
    track = follow([places([(0, 0, 0)])] * 4)[0]
    assert track.place.radius == pytest.approx(np.hypot(RADIUS_MM, MARK_MM) / 2)
