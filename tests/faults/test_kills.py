"""A process that is killed at any moment leaves a whole store, and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pytest

from usher_pipeline.persistence import PipelineStore, publisher
from usher_pipeline.persistence.local import LocalBackend, resolved

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


def test_two_hundred_kills_at_random_moments(script: Callable[[str], Any]) -> None:
    """After each kill all that was returned is stored, whole, and no half can be seen."""
    environment = {**os.environ, "USHER_STORE": str(STORE)}
    witness, met, committed = Witness(script("dying").frame_of), 0, 0
    with subprocess.Popen(
        [sys.executable, str(DYING)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for number in range(ROUNDS):
            nursery.stdin.write(f"{number}\n")
            nursery.stdin.flush()
            told = json.loads(nursery.stdout.readline())
            assert told["signal"] == signal.SIGKILL
            was_committed = witness.look(told)
            met += told["was_saving"]
            committed += told["was_saving"] and was_committed
        nursery.stdin.close()
    print(  # noqa: T201 - what the kills met is a part of the result
        f"{ROUNDS} kills, {len(witness.known)} results stored; {met} kills met a save, "
        f"{committed} of them after its commit"
    )
    assert met >= LEAST_MET
    assert 0 < committed < met

    # The next one who opens the store does what was left undone.
    with PipelineStore(STORE) as store:
        assert store.verify().is_whole
        last = max(witness.backend.recent("dying", None), key=lambda each: each.created_at)
        assert store.load_dataframe("dying").height == last.row_count
    assert publisher.wait(resolved(STORE), 30)
