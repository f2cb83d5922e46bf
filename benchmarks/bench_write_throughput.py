"""The caller waits for a save no longer than with joblib, and a stream needs little memory.

What it costs to store a result:

- A call that misses takes at most 60 ms more than its bare function, for 20,000 × 50
  numbers and texts.
- For ten million mixed rows the caller waits no longer than joblib's caller does; their
  table is there within five times that time. What our caller has is on disk; how long that
  takes for what joblib has written is measured as well.
- At rest, with its segment evicted, a result takes at most 0.6 of joblib's bytes.
- A result that is streamed takes less than 1.5 GB of memory, however big it is.

Big frames are saved in a fresh process each, into a new store; every one is asked for again
and compared. Figures never fail a benchmark: they are printed and kept, and only answers
are asserted.
"""

from __future__ import annotations

import os
import shutil
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import duckdb

import kept
from clock import by_report, passed
from figures import MILLI, median_s, seconds_of, short
from mixed import ROWS, mixed, wide
from processes import STORE, answered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl
    from pytest_benchmark.fixture import BenchmarkFixture

MISSES: Final = 15
SAVES: Final = 3
MILLIONS: Final = f"{ROWS / 1e6:g} M"
STREAM_GB: Final = float(os.environ.get("USHER_BENCH_STREAM_GB", "6"))
GIGA: Final = 1e9


# --- a miss -----------------------------------------------------------------------------


def test_a_miss(
    benchmark: BenchmarkFixture, say: Callable[..., None], compare: Callable[..., None]
) -> None:
    """A call that misses takes at most 60 ms more than its bare function."""
    frame, rival = wide(20_000), kept.by_joblib(kept.as_polars)
    bare, theirs = list[float](), list[float]()
    # What either does only once in a process is no part of a usual miss.
    assert kept.as_polars(MISSES + 1, frame) is frame
    rival(MISSES + 1, frame)

    def turn() -> tuple[tuple[int, pl.DataFrame], dict[str, Any]]:
        # Work that takes longer than its storing leaves the table the time to be written.
        kept.published(kept.as_polars)
        number = len(bare) + 1
        bare.append(seconds_of(lambda: kept.as_polars.__wrapped__(number, frame)))
        theirs.append(seconds_of(lambda: rival(number, frame)))
        # A frame that was a result before would be compared with that one, as an input.
        return (number, frame.clone()), {}

    benchmark.pedantic(kept.as_polars, setup=turn, rounds=MISSES)
    assert len(kept.as_polars.entries()) == MISSES + 1
    for number in (1, MISSES):
        assert kept.as_polars.load(number).equals(frame)
        assert rival(number).equals(frame)
    kept.published(kept.as_polars)
    ours_s = median_s(benchmark) - median(bare)
    say("overhead of a miss, 20,000 × 50", short(ours_s), "≤ 60 ms", 60 * MILLI / ours_s)
    compare("miss beside joblib", ours_s, median(theirs) - median(bare))


# --- a big frame ------------------------------------------------------------------------


class Saves:
    """Saves of the big frame, ours and joblib's in turns.

    Args:
        folder: Where they go; each one replaces the one before.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.theirs_s: list[float] = []
        self.safe_s: list[float] = []
        self.settled_s: list[float] = []

    def of_joblib(self) -> None:
        """Make room, and have joblib save the frame."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        answer = answered(self.folder, "save_once", "joblib")
        self.theirs_s.append(answer["waited_s"])
        self.safe_s.append(answer["waited_s"] + answer["sync_s"])

    def of_usher(self) -> None:
        """Save the frame as a checkpoint does; the clock goes on by what its caller waited."""
        answer = answered(self.folder, "save_once", "usher")
        self.settled_s.append(answer["settled_s"])
        passed(answer["waited_s"])


@by_report
def test_ten_million_rows(
    benchmark: BenchmarkFixture,
    say: Callable[..., None],
    compare: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Saving takes the caller no longer than joblib takes, and few bytes once it rests."""
    saves = Saves(tmp_path / "saves")
    benchmark.pedantic(saves.of_usher, setup=saves.of_joblib, rounds=SAVES)
    theirs_s = median(saves.theirs_s)
    compare(f"{MILLIONS} × 8, wait for the save", median_s(benchmark), theirs_s, 1.0)
    safe_s = median(saves.safe_s)
    compare(f"{MILLIONS} × 8, joblib's on disk as well", median_s(benchmark), safe_s)
    compare(f"{MILLIONS} × 8, until its table", median(saves.settled_s), theirs_s, 5.0)
    ours, theirs = bytes_at_rest(saves.folder), size_bytes(saves.folder / "joblib")
    measured = f"{ours / 1e6:.0f} to {theirs / 1e6:.0f} MB, {ours / theirs:.2f} ×"
    say(f"{MILLIONS} × 8, bytes at rest", measured, "≤ 0.6 × joblib", 0.6 * theirs / ours)
    check(saves.folder)


def bytes_at_rest(folder: Path) -> int:
    """Return what a store takes that has the frame in its table alone; the table is there."""
    database, results = folder / STORE, folder / "store.checkpoints"
    with duckdb.connect(str(database)) as connection:
        query = f"SELECT count(*) FROM {kept.as_polars.name}"  # noqa: S608
        assert connection.execute(query).fetchall() == [(ROWS,)]
        connection.execute("CHECKPOINT")
    for segment in results.glob("*/*.arrow"):
        segment.unlink()
    return database.stat().st_size + size_bytes(results)


def size_bytes(folder: Path) -> int:
    """Return how many bytes the files of a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check(folder: Path) -> None:
    """Let fresh processes ask for what was saved, ours from its table, and compare it."""
    expected = folder / "expected.arrow"
    mixed().write_ipc(expected)
    for who in ("usher", "joblib"):
        answered(folder, "hit_once", who, "polars", expected, USHER_OFFLINE="1")


# --- more than fits into memory ---------------------------------------------------------


@by_report
def test_a_stream(
    benchmark: BenchmarkFixture, say: Callable[..., None], tmp_path: Path
) -> None:
    """A result of six gigabytes is stored and aggregated in less than 1.5 GB of memory.

    joblib has no such form: it would need the whole frame, and once more for its pickle.
    """
    answers = list[dict[str, Any]]()

    def stream() -> None:
        answers.append(answered(tmp_path, "stream_once", STREAM_GB))
        passed(answers[-1]["elapsed_s"])

    benchmark.pedantic(stream, rounds=1)
    (answer,) = answers
    # The kernel starts `ru_maxrss` of a child with the peak of whoever started it, and so
    # it can not be the measure; VmHWM begins with the program itself.
    highest = answer["VmHWM"]
    figures = ", ".join(
        f"{name} {answer[name] / GIGA:.2f} GB"
        for name in ("VmHWM", "ru_maxrss", "RssAnon", "RssFile")
    )
    measured = f"{figures}; {short(answer['elapsed_s'])}"
    say(f"memory for {STREAM_GB:g} GB in a stream", measured, "< 1.5 GB", 1.5 * GIGA / highest)
    settled = f"VmHWM {answer['published'] / GIGA:.2f} GB; {short(answer['settled_s'])}"
    say("the same until its table is there", settled)
