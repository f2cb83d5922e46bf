"""One computation per key, across threads, tasks and processes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import filelock
import pytest

from usher_pipeline.errors import CheckpointCycleError
from usher_pipeline.persistence import flights
from usher_pipeline.persistence.flights import Holder, single_flight
from usher_pipeline.records import utc_now

WORK: Final = """
import sys, time
from pathlib import Path
from usher_pipeline.persistence.flights import single_flight

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


def started(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that holds the key for long; return it once it does."""
    log = folder / "log"
    holder = start(folder, log, 60)
    while not (log.exists() and log.read_text()) and holder.poll() is None:
        time.sleep(0.01)
    return holder


def _work(folder: Path, log: Path, name: str = "genes", held_s: float = 0.05) -> None:
    with single_flight(folder, name, "k"):
        with log.open("a") as file:
            file.write("in ")
        time.sleep(held_s)
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
    holder = started(tmp_path)
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    with single_flight(tmp_path, "genes", "k"):
        assert (tmp_path / "log").read_text() == "in "


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


# --- who waits, and for whom ------------------------------------------------------------


def told(folder: Path, name: str, key: str, until: Any) -> list[tuple[Holder | None, float]]:
    """Wait for a key until something was told, and let go of it then; return what was told."""
    heard: list[tuple[Holder | None, float]] = []

    def tell(holder: Holder | None, waited_s: float) -> None:
        heard.append((holder, waited_s))
        until()

    with single_flight(folder, name, key, tell):
        return heard


def test_a_waiter_says_whom_it_waits_for(tmp_path: Path) -> None:
    """After two seconds a waiter tells the process, the machine, and since when."""
    holder = started(tmp_path)
    ((found, waited_s),) = told(tmp_path, "genes", "k", holder.kill)
    holder.wait()
    assert waited_s >= 2
    assert found is not None
    assert (found.name, found.pid, found.host) == ("genes", holder.pid, socket.gethostname())
    assert timedelta(0) < utc_now() - found.started_at < timedelta(minutes=1)
    assert f"process {holder.pid} on {found.host}, at it since 20" in str(found)


def test_a_waiter_does_not_need_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who computes may be unknown, since a note is lost or nonsense; the wait is the same."""
    monkeypatch.setattr(flights, "_TOLD_AFTER_S", 0.1)
    holder = started(tmp_path)
    (note,) = tmp_path.glob("*.json")
    note.write_text('{"pid": "four"}')
    ((found, _),) = told(tmp_path, "genes", "k", holder.kill)
    holder.wait()
    assert found is None


def test_a_holder_that_is_related_is_told_so(tmp_path: Path) -> None:
    """A process that waits for itself or for a parent can be seen to do so."""
    facts = ("genes", "here", utc_now(), "mark")
    name, host, since, mark = facts
    assert "(this one)" in str(Holder(name, os.getpid(), host, since, mark))
    assert "(a parent of this one)" in str(Holder(name, os.getppid(), host, since, mark))
    assert "(" not in str(Holder(name, 2**22 + 1, host, since, mark))


def test_notes_go_with_what_they_are_about(tmp_path: Path) -> None:
    """A note lies there while a key is computed, for its owner alone to read."""
    with single_flight(tmp_path, "genes", "k"):
        (note,) = tmp_path.glob("*.json")
        assert note.stat().st_mode & 0o777 == 0o600
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_note_that_can_not_be_written_is_missed_by_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a full disk the block runs under its lock, and leaves nothing behind."""
    monkeypatch.setattr(Path, "replace", refusing(errno.ENOSPC))
    with single_flight(tmp_path, "genes", "k"):
        pass
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


CIRCLE: Final = """
import sys, time
from pathlib import Path
from usher_pipeline.errors import CheckpointCycleError
from usher_pipeline.persistence.flights import single_flight

folder, mine, other, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
with single_flight(folder, mine, "k"):
    (folder / f"{mine}.in").touch()
    while len(list(folder.glob("*.in"))) < count:
        time.sleep(0.01)
    try:
        with single_flight(folder, other, "k"):
            print("entered")
    except CheckpointCycleError as error:
        print(" ".join(error.chain))
"""


@pytest.mark.parametrize("names", [("one", "two"), ("one", "two", "three")])
def test_a_circle_of_processes_is_broken(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Processes that wait for each other are told so, and none waits for ever."""
    others = (*names[1:], names[0])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CIRCLE, str(tmp_path), mine, other, str(len(names))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine, other in zip(names, others, strict=True)
    ]
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(names)
    broken = [answer for answer in answers if answer != ["entered"]]
    assert broken
    for chain in broken:
        assert chain[0] == chain[-1]
        assert sorted(chain[1:]) == sorted(names)
    assert list(tmp_path.glob("*.wait")) == []


def test_a_circle_through_a_thread_is_broken(tmp_path: Path) -> None:
    """A thread works for the call that started it, which waits for the thread."""
    with single_flight(tmp_path, "outer", "k"), ThreadPoolExecutor(1) as pool:
        with pytest.raises(CheckpointCycleError, match="outer → outer"):
            pool.submit(_work, tmp_path, tmp_path / "log", "outer").result()
        pool.submit(_work, tmp_path, tmp_path / "log", "inner").result()
    assert (tmp_path / "log").read_text() == "in out "


def test_two_threads_of_one_call_wait_for_each_other(tmp_path: Path) -> None:
    """Of two threads that one call started one computes and one waits; that is no circle."""
    log = tmp_path / "log"
    with single_flight(tmp_path, "outer", "k"), ThreadPoolExecutor(2) as pool:
        both = [pool.submit(_work, tmp_path, log, "inner", 1.5) for _ in range(2)]
        assert [each.result() for each in both] == [None, None]
    assert log.read_text() == "in out in out "


def test_a_thread_that_outlives_its_call_is_free(tmp_path: Path) -> None:
    """What a call started and left behind may ask for the key of that call later."""
    log, goes_on = tmp_path / "log", threading.Event()

    def later() -> None:
        goes_on.wait()
        _work(tmp_path, log, "outer")

    with single_flight(tmp_path, "outer", "k"):
        thread = threading.Thread(target=later)
        thread.start()
    goes_on.set()
    thread.join()
    assert log.read_text() == "in out "


def test_tasks_are_apart(tmp_path: Path) -> None:
    """Tasks that hand their work to threads enter one at a time, and see no circle."""
    log = tmp_path / "log"

    async def work() -> None:
        await asyncio.gather(
            *(asyncio.to_thread(_work, tmp_path, log, "genes") for _ in range(5))
        )

    asyncio.run(work())
    assert log.read_text() == "in out " * 5


FORK: Final = """
import os, signal, sys, time
from pathlib import Path
from usher_pipeline.persistence.flights import single_flight

with single_flight(Path(sys.argv[1]), "genes", "k"):
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_forked_child_of_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    """Who was forked while a key was held, and lives on, keeps nobody out."""
    holder = subprocess.Popen(
        [sys.executable, "-c", FORK, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    assert holder.wait() == -signal.SIGKILL
    os.kill(child, 0)
    started = time.monotonic()
    with single_flight(tmp_path, "genes", "k"):
        assert time.monotonic() - started < 2
    holder.communicate()


# --- Ctrl-C -----------------------------------------------------------------------------


def press() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def wait_and_press(folder: Path) -> None:
    """Press Ctrl-C while another process has the key that is waited for."""
    threading.Timer(0.2, press).start()
    with single_flight(folder, "genes", "k"):
        raise AssertionError("the key was free")


def test_ctrl_c_ends_a_wait(tmp_path: Path) -> None:
    """Who waits for another process need not wait for its end, and may ask again."""
    holder = started(tmp_path)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            wait_and_press(tmp_path)
    finally:
        holder.kill()
        holder.wait()
    with single_flight(tmp_path, "genes", "k"):
        assert not list(tmp_path.glob("*.wait"))


def test_ctrl_c_as_the_key_is_taken_leaves_it_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Ctrl-C comes just then, the same call can be made again, its error kept or not."""
    take = flights._try

    def taken(*given: Any) -> bool:
        is_taken = take(*given)
        press()
        return is_taken

    with monkeypatch.context() as patch:
        patch.setattr(flights, "_try", taken)
        with (
            pytest.raises(KeyboardInterrupt, match=r"^$") as kept,
            single_flight(tmp_path, "genes", "k"),
        ):
            raise AssertionError("the block was entered")
    with single_flight(tmp_path, "genes", "k"):
        assert kept.value.__traceback__ is not None
        assert len(flights._under_way) == 1
    assert flights._under_way == set()
