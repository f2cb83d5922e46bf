"""A process that is killed or interrupted at any moment leaves all it stored, whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pytest

from usher_pipeline.persistence import PipelineStore, publisher
from usher_pipeline.persistence.local import LocalBackend, resolved
from usher_pipeline.persistence.sweeping import leftovers, sweep
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from usher_pipeline.records import Entry

DYING: Final = Path(__file__).with_name("dying.py")
STORE: Final = Path("store.duckdb")
ROUNDS: Final = 200
#: So many rounds have to be killed between the end of a function and its return.
LEAST_MET: Final = ROUNDS // 10

pytestmark = pytest.mark.exhaustive


def number_of(entry: Entry) -> int:
    """Return the argument that tells one result from another."""
    (part,) = (each for each in entry.key.parts if each.label == "number")
    return int(part.preview)


class Witness:
    """Compares a store with what the killed processes had told.

    Args:
        frame_of: Returns the frame that a result has, from its number and its height.

    Attributes:
        known: Number of a result → its rows, for those that are known to be stored.
    """

    def __init__(self, frame_of: Callable[[int, int], pl.DataFrame]) -> None:
        self.backend = LocalBackend(resolved(STORE))
        self.frame_of = frame_of
        self.known: dict[int, int] = {}

    def look(self, told: dict[str, Any]) -> bool:
        """Check all that is visible after a kill; tell whether the last save was committed."""
        entries = {number_of(entry): entry for entry in self.backend.recent("dying", None)}
        begun = told["begun"]
        expected = self.known | dict(told["returned"])
        was_committed = begun is not None and begun[0] in entries
        if was_committed:
            expected[begun[0]] = begun[1]
        # What was returned is stored; what was begun may be; nothing else is.
        assert sorted(entries) == sorted(expected)
        for number, entry in entries.items():
            if number not in self.known:
                self._compare(entry, number, expected[number])
        self.known = expected
        self._look_at_table()
        return was_committed

    def _compare(self, entry: Entry, number: int, rows: int) -> None:
        packed = self.backend.load(entry)
        assert packed is not None, number
        expected = self.frame_of(number, rows)
        assert packed.table.column(0).to_pylist() == expected["row"].to_list()
        assert packed.table.column(2).to_pylist() == expected["gene"].to_list()

    def _look_at_table(self) -> None:
        """See the database as anybody does: its table is one whole result, or not there."""
        if not STORE.exists():
            return
        with duckdb.connect(str(STORE)) as connection:
            names = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
            if "dying" not in names:
                return
            query = 'SELECT count(*), min(number), max(number), max("row") FROM dying'
            count, least, most, last = connection.execute(query).fetchall()[0]
            row = "SELECT row_count FROM _checkpoints WHERE table_name = 'dying'"
            assert connection.execute(row).fetchall() == [(count,)]
        assert (least, last) == (most, count - 1)
        assert self.known[int(least)] == count


def rounds(witness: Witness, number: int, count: int) -> tuple[int, int]:
    """Let processes die, one after the other, and a witness look after each.

    Args:
        witness: Sees the store.
        number: The signal that they get.
        count: How many of them.

    Returns:
        How many were met between the end of a function and its return, and how many of
        these after the commit.
    """
    environment = {**os.environ, "USHER_STORE": str(STORE)}
    met, committed = 0, 0
    with subprocess.Popen(
        [sys.executable, str(DYING), str(number)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for turn in range(count):
            nursery.stdin.write(f"{turn}\n")
            nursery.stdin.flush()
            told = json.loads(nursery.stdout.readline())
            # Ctrl-C is an exception, which ends the child in its own way.
            assert told["signal"] == (0 if number == signal.SIGINT else number)
            was_committed = witness.look(told)
            met += told["was_saving"]
            committed += told["was_saving"] and was_committed
        nursery.stdin.close()
    print(  # noqa: T201 - what the signals met is a part of the result
        f"{count} × {signal.Signals(number).name}, {len(witness.known)} results stored; "
        f"{met} met a save, {committed} of them after its commit"
    )
    return met, committed


def look_once_more(witness: Witness) -> None:
    """Open the store, which does what was left undone, and look through all of it."""
    with PipelineStore(STORE) as store:
        assert store.verify().is_whole
        last = max(witness.backend.recent("dying", None), key=lambda each: each.created_at)
        assert store.load_dataframe("dying").height == last.row_count
    assert publisher.wait(resolved(STORE), 30)


def test_two_hundred_kills_at_random_moments(script: Callable[[str], Any]) -> None:
    """After each kill all that was returned is stored, whole, and no half can be seen."""
    witness = Witness(script("dying").frame_of)
    met, committed = rounds(witness, signal.SIGKILL, ROUNDS)
    assert met >= LEAST_MET
    assert 0 < committed < met
    look_once_more(witness)


def test_whoever_is_interrupted_leaves_next_to_nothing_behind(
    script: Callable[[str], Any],
) -> None:
    """Ctrl-C ends the process, and the store is as whole as after a kill.

    Files are left over only where the signal came within an instant; all can be swept.
    """
    witness = Witness(script("dying").frame_of)
    met, _ = rounds(witness, signal.SIGINT, ROUNDS // 5)
    assert met >= LEAST_MET // 5
    look_once_more(witness)
    segments = witness.backend.segments
    assert len(list(leftovers(segments))) <= met // 3
    sweep(segments, older_than=timedelta(0), now=utc_now() + timedelta(seconds=1))
    assert list(leftovers(segments)) == []


def test_a_notebook_goes_on_after_each_interrupt() -> None:
    """Whenever Ctrl-C comes in a process that goes on, it keeps the store from nobody."""
    with subprocess.Popen(
        [sys.executable, str(DYING.with_name("interrupted.py")), str(ROUNDS)],
        env={**os.environ, "USHER_STORE": str(STORE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as notebook:
        assert notebook.stdout is not None
        told = json.loads(notebook.stdout.readline())
        assert told["others"] == []
        assert told["is_published"]
        with duckdb.connect(str(STORE)) as connection:
            seen = connection.execute("SELECT DISTINCT number FROM interrupted").fetchall()
        assert seen == [(told["last"],)]
        notebook.communicate("")
    with PipelineStore(STORE) as store:
        assert store.verify().is_whole
