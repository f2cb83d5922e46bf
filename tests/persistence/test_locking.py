"""One computation per key, across threads and processes."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import filelock
import pytest

from usher_pipeline.errors import CheckpointCycleError
from usher_pipeline.persistence import locking
from usher_pipeline.persistence.locking import hold, single_flight, try_hold

WORK: Final = """
import sys, time
from pathlib import Path
from usher_pipeline.persistence.locking import single_flight

folder, log = Path(sys.argv[1]), Path(sys.argv[2])
with single_flight(folder, "genes", "k"):
    with log.open("a") as file:
        file.write("in ")
    time.sleep(float(sys.argv[3]))
    with log.open("a") as file:
        file.write("out ")
"""


def start(folder: Path, log: Path, held_s: float) -> subprocess.Popen[bytes]:
    """Start a process that takes the key, writes to a log, and lets go after a while."""
    arguments = [sys.executable, "-c", WORK, str(folder), str(log), str(held_s)]
    return subprocess.Popen(arguments)


def _work(folder: Path, log: Path) -> None:
    with single_flight(folder, "genes", "k"):
        with log.open("a") as file:
            file.write("in ")
        time.sleep(0.05)
        with log.open("a") as file:
            file.write("out ")


def test_one_at_a_time_across_processes(tmp_path: Path) -> None:
    """Of several processes one is inside at a time."""
    log = tmp_path / "log"
    workers = [start(tmp_path, log, 0.05) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert log.read_text() == "in out " * 3


def test_one_at_a_time_across_threads(tmp_path: Path) -> None:
    """Of several threads one is inside at a time."""
    log = tmp_path / "log"
    threads = [threading.Thread(target=_work, args=(tmp_path, log)) for _ in range(4)]
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


def test_a_killed_holder_frees_the_key(tmp_path: Path) -> None:
    """A process that is killed while it computes does not block the next one."""
    log = tmp_path / "log"
    holder = start(tmp_path, log, 60)
    while not log.exists() and holder.poll() is None:
        time.sleep(0.01)
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    with single_flight(tmp_path, "genes", "k"):
        assert log.read_text() == "in "


# --- where nothing can be written -------------------------------------------------------


def refusing(number: int) -> Any:
    """Return a function that fails as a system call does."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, errno.errorcode[number])

    return refuse


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("owner", [(Path, "mkdir"), (filelock.FileLock, "acquire")])
def test_without_a_lock_file_everybody_is_let_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: tuple[Any, str], number: int
) -> None:
    """In a folder that is read-only the block runs; its own key is still a circle."""
    monkeypatch.setattr(*owner, refusing(number))
    with (
        single_flight(tmp_path / "locks", "genes", "k"),
        pytest.raises(CheckpointCycleError, match="genes → genes"),
        single_flight(tmp_path / "locks", "genes", "k"),
    ):
        raise AssertionError("the circle was entered")


def test_any_other_failure_to_lock_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk that is full is no reason to compute a key twice."""
    monkeypatch.setattr(filelock.FileLock, "acquire", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="ENOSPC"), single_flight(tmp_path, "genes", "k"):
        raise AssertionError("entered without a lock")
    monkeypatch.undo()
    with single_flight(tmp_path, "genes", "k"):
        assert True


@pytest.mark.parametrize("problem", [PermissionError, ValueError])
def test_a_failure_inside_is_not_taken_for_one_of_the_lock(
    tmp_path: Path, problem: type[Exception]
) -> None:
    """What the block itself raises comes out, and the key is free again."""
    with pytest.raises(problem, match="inside"), single_flight(tmp_path, "genes", "k"):
        raise problem(errno.EACCES, "inside")
    with single_flight(tmp_path, "genes", "k"):
        assert True


# --- files that are being written -------------------------------------------------------

WRITE: Final = """
import os, sys
from usher_pipeline.persistence.locking import hold

number = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print(hold(number), flush=True)
sys.stdin.read()
"""


def is_held(path: Path) -> bool:
    """Tell whether somebody holds a file."""
    with try_hold(path) as held:
        return held is None


def test_a_file_is_held_until_its_writer_dies(tmp_path: Path) -> None:
    """What another process holds nobody else can, under any name, until that is killed."""
    path = tmp_path / "a.tmp"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"True\n"
    assert is_held(path)
    path = path.rename(tmp_path / "b")
    assert is_held(path)
    writer.kill()
    writer.communicate()
    assert not is_held(path)


def test_a_file_is_held_within_the_process_as_well(tmp_path: Path) -> None:
    """What one part of this process writes, another part of it does not sweep away."""
    path = tmp_path / "a.tmp"
    with path.open("wb") as file:
        assert hold(file.fileno())
        assert is_held(path)
    with try_hold(path) as held:
        assert held is not None
        assert held.st_ino == path.stat().st_ino
        assert is_held(path)
    assert not is_held(path)


def test_what_is_not_there_can_not_be_held(tmp_path: Path) -> None:
    """A missing file, and a link in place of one, are held by nobody and not by us."""
    (tmp_path / "link").symlink_to(__file__)
    for name in ("missing", "link"):
        with try_hold(tmp_path / name) as held:
            assert held is None


def test_without_such_locks_everything_can_be_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the system has none, age alone decides, and nothing fails."""
    monkeypatch.setattr(locking, "fcntl", None)
    path = tmp_path / "a.tmp"
    with path.open("wb") as file:
        assert hold(file.fileno())
        assert not is_held(path)
