"""Hits do not wait for whoever publishes, and of many who miss on one key only one computes.

What many processes on one store cost each other:

- A hit takes no longer while another process publishes a big table than it takes without.
- Eight processes that ask for the same result have it computed once, and have it together
  in little more time than one alone.
- Four processes that store results of their own into one store are no slower together than
  one that stores as many.

No numbers are promised for that; joblib does the same things, in the same run. Every process
is started from what is written here and waits for the others before it begins. Figures never
fail a benchmark: they are printed and kept, and only answers are asserted.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pytest

import kept
from clock import by_report, passed
from contend import DONE, GO, RESULTS, TALLY
from figures import percentile, short
from mixed import ROWS, mixed
from processes import STORE, answer_of, answered, seen, started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

READERS: Final = 4
ASKERS: Final = 8
WRITERS: Final = 4
RESULTS_STORED: Final = 40
#: The work of a result that all ask for: so much of one core.
WORK_S: Final = 0.5
#: How long hits are watched while nobody publishes.
QUIET_S: Final = 3.0
WHO: Final = ("usher", "joblib")

Spec = tuple[object, ...]


def together(folder: Path, specs: Sequence[Spec]) -> list[Any]:
    """Start processes of roles, and let them begin when all are ready.

    Args:
        folder: Where they run.
        specs: For each its role, whose library, and what else it is told after its name.
    """
    for path in (folder / GO, folder / DONE, *folder.glob("ready-*")):
        path.unlink(missing_ok=True)
    processes = [
        started(folder, "contend", role, who, number, *more)
        for number, (role, who, *more) in enumerate(specs)
    ]
    for number in range(len(specs)):
        seen(folder / f"ready-{number}")
    (folder / GO).touch()
    return processes


def reports(folder: Path, specs: Sequence[Spec]) -> list[dict[str, Any]]:
    """Let processes of roles run to their ends and return what they reported."""
    return [answer_of(process) for process in together(folder, specs)]


# --- hits beside a publisher ------------------------------------------------------------


def hits_s(folder: Path, who: str, readers: int, *, beside: bool) -> list[float]:
    """Return how long the hits of some processes took, alone or beside one that publishes."""
    others: list[Spec] = [("publish", who)] if beside else []
    *hitting, last = together(folder, [("hit", who)] * readers + others)
    if beside:
        answer_of(last)
    else:
        hitting.append(last)
        time.sleep(QUIET_S)
    (folder / DONE).touch()
    return [taken_s for process in hitting for taken_s in answer_of(process)["taken_s"]]


@by_report
@pytest.mark.parametrize("who", WHO)
def test_hits_beside_a_publisher(
    benchmark: BenchmarkFixture, say: Callable[..., None], tmp_path: Path, who: str
) -> None:
    """Hits of four processes take what they take alone while a big table is published."""
    answered(tmp_path, "fill", "small", RESULTS)
    found = {
        "one process": hits_s(tmp_path, who, 1, beside=False),
        "four": hits_s(tmp_path, who, READERS, beside=False),
    }

    def beside() -> None:
        found["four beside a save"] = hits_s(tmp_path, who, READERS, beside=True)
        passed(median(found["four beside a save"]))

    benchmark.pedantic(beside, rounds=1)
    assert rows_of(tmp_path) == (ROWS if who == "usher" else 0)
    figures = (
        f"{name} p50 {short(median(taken))} p99 {short(percentile(taken, 99))}"
        for name, taken in found.items()
    )
    say(f"hits, {who}", ", ".join(figures))


@by_report
def test_no_hit_waits_for_the_database(
    benchmark: BenchmarkFixture, say: Callable[..., None], tmp_path: Path
) -> None:
    """Hits of eight processes wait for neither a publisher nor who holds a connection."""
    answered(tmp_path, "fill", "small", RESULTS)
    hits: list[Spec] = [("hit", "usher")] * ASKERS
    found: dict[str, list[float]] = {}

    def watch(name: str, *others: Spec, wait_for: int = 0) -> None:
        processes = together(tmp_path, [*hits, *others])
        if wait_for:
            answer_of(processes[wait_for])
        else:
            time.sleep(QUIET_S)
        (tmp_path / DONE).touch()
        answers = [answer_of(process) for process in processes if not process.stdout.closed]
        found[name] = [taken for answer in answers for taken in answer.get("taken_s", ())]

    def beside() -> None:
        watch("beside a publisher", ("publish", "usher"), wait_for=ASKERS)
        watch("beside a holder", ("hold", "usher"))
        passed(max(found["beside a holder"]))

    watch("alone")
    benchmark.pedantic(beside, rounds=1)
    for name, taken in found.items():
        longest_s = max(taken)
        measured = f"p99 {short(percentile(taken, 99))}, longest {short(longest_s)}"
        say(
            f"hits of eight, {name}",
            f"{measured} of {len(taken):,}",
            "≤ 50 ms",
            0.05 / longest_s,
        )


def rows_of(folder: Path) -> int:
    """Return how many rows the big table has; none if it is not there."""
    query = "SELECT estimated_size FROM duckdb_tables() WHERE table_name = ?"
    with duckdb.connect(str(folder / STORE), read_only=True) as connection:
        rows = connection.execute(query, [kept.as_polars.name]).fetchall()
    return int(rows[0][0]) if rows else 0


# --- the same key -----------------------------------------------------------------------


@by_report
@pytest.mark.parametrize("who", WHO)
def test_many_ask_for_one_result(
    benchmark: BenchmarkFixture, say: Callable[..., None], tmp_path: Path, who: str
) -> None:
    """Of eight processes that miss on one key one computes, and the others get what it got."""
    walls = dict[int, float]()

    def ask(count: int) -> None:
        folder = tmp_path / f"{count}"
        folder.mkdir()
        answers = reports(folder, [("same", who, WORK_S)] * count)
        walls[count] = max(answer["elapsed_s"] for answer in answers)
        passed(walls[count])

    ask(1)
    benchmark.pedantic(ask, args=(ASKERS,), rounds=1)
    computed = len((tmp_path / f"{ASKERS}" / TALLY).read_text().splitlines())
    assert computed == 1 or who == "joblib"
    figures = f"{short(walls[1])} → {short(walls[ASKERS])}, computed {computed} ×"
    say(f"one result for 1 → {ASKERS} processes, {who}", figures)


# --- many writers -----------------------------------------------------------------------


@by_report
@pytest.mark.parametrize("who", WHO)
def test_many_store_their_own(
    benchmark: BenchmarkFixture, say: Callable[..., None], tmp_path: Path, who: str
) -> None:
    """Four processes store as many results into one store as one alone does."""
    walls = dict[int, float]()

    def put(writers: int) -> None:
        folder = tmp_path / f"{writers}"
        folder.mkdir()
        each = RESULTS_STORED // writers
        specs = [("store", who, number * each, each) for number in range(writers)]
        walls[writers] = max(answer["elapsed_s"] for answer in reports(folder, specs))
        passed(walls[writers])

    put(1)
    benchmark.pedantic(put, args=(WRITERS,), rounds=1)
    if who == "usher":
        check(tmp_path / f"{WRITERS}")
    figures = f"{short(walls[1])} → {short(walls[WRITERS])}"
    say(f"{RESULTS_STORED} results by 1 → {WRITERS} processes, {who}", figures)


def check(folder: Path) -> None:
    """Look at what several processes stored: every result, and a whole table of one."""
    assert len(list(folder.glob("store.checkpoints/bench_small/*.json"))) == RESULTS_STORED
    with duckdb.connect(str(folder / STORE), read_only=True) as connection:
        table = connection.sql(f"FROM {kept.small.name}").pl()
    assert any(table.equals(mixed(kept.SMALL, number)) for number in range(RESULTS_STORED))
