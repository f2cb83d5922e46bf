"""Many processes on one store: each key is computed once, and all get the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import duckdb
import pytest

from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend

SHARING: Final = Path(__file__).with_name("sharing.py")
STORE: Final = Path("store.duckdb")
KEYS: Final = 10
POOLS: Final = [
    ("executor", "fork"),
    ("executor", "spawn"),
    ("executor", "forkserver"),
    ("pool", "fork"),
    ("pool", "spawn"),
    ("loky",),
]


@pytest.mark.parametrize("pool", POOLS, ids=" ".join)
def test_each_key_is_computed_once(pool: tuple[str, ...]) -> None:
    """Eight processes make fifty calls each over ten keys: no error, no second computation.

    The functions call each other, and the parent had the store open before.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", SHARING, *pool],
        env={**os.environ, "USHER_STORE": str(STORE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answers = json.loads(done.stdout)
    assert [len(each) for each in answers] == [50] * 9
    for number, height, total in (answer for each in answers for answer in each):
        assert (height, total) == (100 + number, number * height)

    ran = {path.name: path.read_bytes() for path in Path().glob("ran-*")}
    assert ran == {
        f"ran-{what}-{n}": b"x" for what in ("shared", "summed") for n in range(KEYS)
    }
    stored = LocalBackend(STORE.absolute())
    for name in ("shared_table", "shared_sum"):
        entries = stored.recent(name, None)
        assert [entry.number for entry in entries] == [1] * KEYS
        assert all(stored.load(entry) is not None for entry in entries)
    # The tables are there for everybody, and say what some entry says.
    with PipelineStore(STORE) as store:
        assert store.verify().is_whole
    with duckdb.connect(str(STORE)) as connection:
        height = connection.execute("SELECT count(*) FROM shared_table").fetchone()
    assert height is not None
    assert 100 <= height[0] < 100 + KEYS
    assert not list(Path("store.checkpoints").rglob("*.tmp"))
    assert not list(Path("store.checkpoints", ".pending").iterdir())
