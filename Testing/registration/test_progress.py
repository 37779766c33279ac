import mmap
import threading

import numpy as np
import psutil
import pytest
import torch

from GLIDERegLib.core.errors import Cancelled
from GLIDERegLib.registration.progress import CancelToken, Progress, Stages


def stages(progress=None, cancel=None):
    return Stages(torch.device("cpu"), progress, cancel)


def test_a_stage_tells_its_start_its_steps_and_its_end():
    seen = []
    running = stages(seen.append)
    with running.stage("refine"):
        running.step(0.25, "level 1")
        running.step(0.5)
    assert seen == [
        Progress("refine", 0.0),
        Progress("refine", 0.25, "level 1"),
        Progress("refine", 0.5),
        Progress("refine", 1.0),
    ]


def test_fractions_stay_between_zero_and_one():
    seen = []
    running = stages(seen.append)
    with running.stage("any"):
        running.step(-0.1)
        running.step(np.float32(1.7))
    assert [p.fraction for p in seen] == [0.0, 0.0, 1.0, 1.0]
    assert all(type(p.fraction) is float for p in seen)


def test_a_stage_entered_twice_adds_up_and_stages_keep_their_order(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 11.0, 20.0, 23.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    running = stages()
    for name in ("features", "refine", "features"):
        with running.stage(name):
            pass
    assert list(running.records) == ["features", "refine"]
    assert running.records["features"]["seconds"] == 5.5
    assert running.records["refine"]["seconds"] == 1.0


def test_the_peak_of_memory_within_a_stage_is_seen_although_it_is_freed_again():
    running = stages()
    before = psutil.Process().memory_info().rss / 2**20
    with running.stage("large"):
        # A mapping of its own: an array may lie in memory that this process has had before.
        block = mmap.mmap(-1, 200 * 2**20)
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        # Held until the sampling thread has looked at least twice.
        threading.Event().wait(0.2)
        block.close()
    with running.stage("small"):
        pass
    assert running.records["large"]["peak_memory_mb"] > before + 150
    assert running.records["small"]["peak_memory_mb"] < running.records["large"]["peak_memory_mb"] - 100


def test_no_thread_is_left_behind_even_when_a_stage_fails():
    count = threading.active_count()
    running = stages()
    with pytest.raises(KeyError), running.stage("broken"):
        raise KeyError
    assert threading.active_count() == count
    assert "broken" not in running.records


def test_cancel_stops_at_the_next_step():
    token = CancelToken()
    running = stages(cancel=token)
    reached = []
    with pytest.raises(Cancelled, match="nothing was written"), running.stage("refine"):
        for n in range(5):
            running.step(n / 5)
            reached.append(n)
            if n == 2:
                token.cancel()
    assert reached == [0, 1, 2]


def test_a_callback_may_cancel():
    token = CancelToken()
    running = stages(lambda progress: token.cancel(), token)
    with pytest.raises(Cancelled), running.stage("first"):
        running.step(0.5)


def test_no_stage_begins_after_a_cancel():
    token = CancelToken()
    token.cancel()
    seen = []
    with pytest.raises(Cancelled), stages(seen.append, token).stage("first"):
        pytest.fail("the stage must not run")
    assert not seen


def test_a_file_that_appears_cancels(tmp_path):
    file = tmp_path / "cancel"
    token = CancelToken(file)
    running = stages(cancel=token)
    token.check()
    assert not token.cancelled
    with pytest.raises(Cancelled), running.stage("refine"):
        running.step(0.1)
        file.touch()
        assert token.cancelled
        running.step(0.2)


def test_cancelling_from_another_thread_is_seen():
    token = CancelToken()
    thread = threading.Thread(target=token.cancel)
    thread.start()
    thread.join()
    with pytest.raises(Cancelled):
        token.check()
