"""Whatever byte of a store is another one: an error or the exact frame, never a wrong one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

DAMAGED: Final = Path(__file__).with_name("damaged.py")
STORE: Final = "store.duckdb"
PAGE_BYTES: Final = 4096
MOST_CUTS: Final = 50
ASK: Final = "from damaged import by_call; by_call()"
#: Leaves a log behind, with what somebody else put into the database.
LOGGING: Final = """
import duckdb, os
connection = duckdb.connect(os.environ["USHER_STORE"])
connection.execute("PRAGMA disable_checkpoint_on_shutdown")
connection.execute("CREATE TABLE mine AS SELECT 5 AS x")
connection.execute("INSERT INTO mine VALUES (6)")
os._exit(0)
"""

pytestmark = pytest.mark.exhaustive


@pytest.fixture
def stored() -> None:
    """A small store with one result and its table, which nobody holds open."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=environment() | {"PYTHONPATH": searched()},
        check=False,
    )
    assert done.returncode == 0


def environment() -> dict[str, str]:
    """Return the environment of the processes."""
    return {**os.environ, "USHER_STORE": STORE, "USHER_LOG": "quiet"}


def searched() -> str:
    """Return where Python finds the script, besides what it searches anyhow."""
    return os.pathsep.join((str(DAMAGED.parent), os.environ.get("PYTHONPATH", "")))


def flips(path: Path, seed: int) -> Iterator[tuple[int, int]]:
    """Yield a place in each page of a file, with what is to be changed there."""
    chance = random.Random(seed)  # noqa: S311
    size = path.stat().st_size
    for begin in range(0, size, PAGE_BYTES):
        yield chance.randrange(begin, min(begin + PAGE_BYTES, size)), 1 << chance.randrange(8)


def cuts(path: Path) -> Iterator[tuple[int, int]]:
    """Yield where a file may end too early: at the begin of a page, or within one."""
    for begin in range(0, path.stat().st_size, PAGE_BYTES):
        yield from ((begin, 0), (begin + PAGE_BYTES // 30, 0))


def answers(questions: list[tuple[str, int, int, str]]) -> list[str]:
    """Change one byte after the other, and ask; return what came back."""
    lines = "\n".join(map(json.dumps, questions))
    done = subprocess.run(
        [sys.executable, str(DAMAGED)],
        env=environment(),
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def look(path: Path, way: str, times: int = 1) -> Counter[str]:
    """Change a byte in each page of a file, and ask; return how often there was what."""
    return damaged(path, [flip for seed in range(times) for flip in flips(path, seed)], way)


def damaged(path: Path, damages: list[tuple[int, int]], way: str) -> Counter[str]:
    """Do one damage after the other to a file, and ask; return how often there was what."""
    found = answers([(str(path), *damage, way) for damage in damages])
    assert len(found) == len(damages)
    print(f"{path.suffix}: {len(found)} times damaged, {way}: {dict(Counter(found))}")  # noqa: T201
    return Counter(found)


@pytest.mark.usefixtures("stored")
def test_a_segment() -> None:
    """A call gives the exact frame, taken from the table or computed anew."""
    (segment,) = Path("store.checkpoints").rglob("*.arrow")
    assert set(look(segment, "call", times=2)) == {"exact"}


@pytest.mark.usefixtures("stored")
def test_a_segment_without_another_copy() -> None:
    """Without a table the call computes the exact frame."""
    Path(STORE).unlink()
    (segment,) = Path("store.checkpoints").rglob("*.arrow")
    assert set(look(segment, "call", times=2)) == {"exact"}


@pytest.mark.usefixtures("stored")
def test_an_entry() -> None:
    """A call gives the exact frame, whatever letter of its entry is another one."""
    (entry,) = Path("store.checkpoints", "damaged_genes").glob("*.json")
    assert set(look(entry, "call", times=30)) == {"exact"}


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("way", ["call", "name"])
def test_a_database_that_has_the_only_copy(way: str) -> None:
    """A call computes the exact frame; who reads the table gets that, or is told."""
    (segment,) = Path("store.checkpoints").rglob("*.arrow")
    segment.unlink()
    found = look(Path(STORE), way)
    assert found["exact"] > 0
    assert set(found) <= {"exact", "StoreError", "DamagedDatabaseError"}


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("way", ["call", "name"])
def test_a_log(way: str) -> None:
    """What is wrong with the log of a database is no error of a call, and is told to readers.

    DuckDB leaves out what follows a transaction that is not whole; nothing of ours is there.
    """
    (segment,) = Path("store.checkpoints").rglob("*.arrow")
    segment.unlink()
    done = subprocess.run([sys.executable, "-c", LOGGING], env=environment(), check=False)
    assert done.returncode == 0
    log = Path(f"{STORE}.wal")
    ends = [(size, 0) for size in (0, 20, 60, 100)]
    found = look(log, way, times=40) + damaged(log, ends, way)
    assert found["exact"] > 0
    assert set(found) <= {"exact"} | ({"DamagedDatabaseError"} if way == "name" else set())


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("pattern", ["**/*.arrow", "**/damaged_genes/*.json", STORE])
def test_files_that_end_too_early(pattern: str) -> None:
    """A call gives the exact frame where a file lost its end."""
    (path,) = Path().glob(pattern)
    if pattern == STORE:
        (segment,) = Path("store.checkpoints").rglob("*.arrow")
        segment.unlink()
    places = list(cuts(path))
    found = damaged(path, places[:: max(1, len(places) // MOST_CUTS)], "call")
    assert found["exact"] > len(places[:: max(1, len(places) // MOST_CUTS)]) // 2
    # What has not even a header is no database, which is told before anything is computed.
    assert set(found) - {"exact"} <= ({"StoreError"} if pattern == STORE else set())
