"""One computation per key, across threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from usher_pipeline.errors import CheckpointCycleError
from usher_pipeline.persistence.locking import single_flight

if TYPE_CHECKING:
    from pathlib import Path


def _work(folder: Path, key: str, log: Path) -> None:
    with single_flight(folder, "genes", key):
        with log.open("a") as file:
            file.write("in ")
        time.sleep(0.05)
        with log.open("a") as file:
            file.write("out ")


def test_one_at_a_time_across_processes(tmp_path: Path) -> None:
    """Of several processes one is inside at a time."""
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    workers = [context.Process(target=_work, args=(tmp_path, "k", log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert log.read_text() == "in out " * 3


def test_one_at_a_time_across_threads(tmp_path: Path) -> None:
    """Of several threads one is inside at a time."""
    log = tmp_path / "log"
    threads = [threading.Thread(target=_work, args=(tmp_path, "k", log)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.read_text() == "in out " * 4


def test_other_keys_do_not_wait(tmp_path: Path) -> None:
    """Inside one key another key, and the same key of another name, are free."""
    with (
        single_flight(tmp_path, "genes", "one"),
        single_flight(tmp_path, "genes", "two"),
        single_flight(tmp_path, "other", "one"),
    ):
        assert len(list(tmp_path.glob("*.lock"))) == 3


def test_the_own_key_is_a_circle(tmp_path: Path) -> None:
    """Who waits for itself is told so, with the calls that lead back."""
    with (
        single_flight(tmp_path, "outer", "k"),
        single_flight(tmp_path, "inner", "k"),
        pytest.raises(CheckpointCycleError, match="outer → inner → outer"),
        single_flight(tmp_path, "outer", "k"),
    ):
        raise AssertionError("the circle was entered")


def test_a_failure_inside_frees_the_key(tmp_path: Path) -> None:
    """After an error the next caller can enter."""
    with pytest.raises(ValueError, match="no"), single_flight(tmp_path, "genes", "k"):
        raise ValueError("no")
    with single_flight(tmp_path, "genes", "k"):
        assert True


def _hold(folder: Path, ready: Path) -> None:
    with single_flight(folder, "genes", "k"):
        ready.write_text("ready")
        time.sleep(60)


def test_a_killed_holder_frees_the_key(tmp_path: Path) -> None:
    """A process that is killed while it computes does not block the next one."""
    ready = tmp_path / "ready"
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    while not ready.exists():
        time.sleep(0.01)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with single_flight(tmp_path, "genes", "k"):
        assert holder.exitcode == -signal.SIGKILL
