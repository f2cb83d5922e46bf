"""What the processes of a race do: publish other versions, read them, ask for one key.

A script: ``racing.py <role> <arguments as JSON>``, in the folder of a store of its own.
"""

from __future__ import annotations

import json
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import polars as pl

from usher_pipeline import checkpoint, configure, current_run, load, run
from usher_pipeline.errors import CheckpointNotSaved
from usher_pipeline.persistence import PipelineStore

STORE = Path("store.duckdb")
#: Where the end of the reading is told, and the last version that was published whole.
DONE, WRITTEN = Path("done"), Path("written")
HEIGHT = 40


def version(number: int) -> pl.DataFrame:
    """Return one version of what is raced for; every row tells which."""
    return pl.DataFrame({"row": range(HEIGHT), "version": [number] * HEIGHT})


# --- writing ----------------------------------------------------------------------------


@checkpoint(name="made")
def made(number: int) -> pl.DataFrame:
    """Publish one version as the result of a checkpoint."""
    return version(number)


def write(seed: int, pause_s: float, most: int) -> None:
    """Publish versions, by hand and by a checkpoint, until the reading is done.

    Args:
        seed: What the pauses between two versions follow from.
        pause_s: The longest pause.
        most: How many versions there are at most, should nobody say that it is done.
    """
    pauses = random.Random(seed)  # noqa: S311
    for number in range(1, most + 1):
        if DONE.exists():
            break
        save(number)
        time.sleep(pauses.uniform(0, pause_s))
        make(number)
        _tell(number)
        time.sleep(pauses.uniform(0, pause_s))


def make(number: int) -> None:
    """Publish one version as the result of a checkpoint."""
    with run():
        made(number)


def save(number: int) -> None:
    """Publish one version by hand."""
    with PipelineStore(STORE) as store:
        store.save_dataframe(version(number), "genes")


def linger(number: int) -> None:
    """Publish one version, say so, and end when the folder says that it is done."""
    made(number)
    sys.stdout.write("made\n")
    sys.stdout.flush()
    while not DONE.exists():
        time.sleep(0.01)


def _tell(number: int) -> None:
    temporary = WRITTEN.with_suffix(".tmp")
    temporary.write_text(str(number))
    temporary.replace(WRITTEN)


def _told() -> int:
    return int(WRITTEN.read_text())


# --- reading ----------------------------------------------------------------------------


@checkpoint(name="from_store")
def from_store() -> pl.DataFrame:
    """Read a table by its name."""
    with PipelineStore(STORE) as store:
        frame: pl.DataFrame = store.load_dataframe("genes")
        return frame


@checkpoint(name="by_query")
def by_query() -> pl.DataFrame:
    """Read a table by SQL."""
    with PipelineStore(STORE) as store:
        return store.execute_query("FROM genes ORDER BY row")


@checkpoint(name="by_name")
def by_name() -> pl.DataFrame:
    """Read the result of a checkpoint by its name."""
    frame: pl.DataFrame = load("made")
    return frame


@checkpoint(name="by_conn", inputs=["genes"])
def by_conn() -> pl.DataFrame:
    """Read a declared table in a way that can not be seen."""
    with PipelineStore(STORE) as store:
        frame: pl.DataFrame = store.conn.sql("FROM genes ORDER BY row").pl()
        return frame


READERS: tuple[Any, ...] = (from_store, by_query, by_name, by_conn)


def _number(frame: pl.DataFrame) -> int:
    """Return which version a frame is; one that is torn is an error."""
    number = int(frame["version"][0])
    assert frame.equals(version(number)), frame
    return number


def read(rounds: int, versions: int) -> list[Any]:
    """Call each reader again and again; return what each call saw.

    Args:
        rounds: How many calls there are at least.
        versions: How many versions have to be seen, however fast the calls are.

    Returns:
        For each call its reader, the version that was published before it, the one that it
        returned, and the one that was published after it.
    """
    seen: list[Any] = []
    while not WRITTEN.exists():
        time.sleep(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What changed while it was read is returned, and not stored.
        warnings.simplefilter("ignore", CheckpointNotSaved)
        while len(seen) < rounds or len({inside for _, _, inside, _ in seen}) < versions:
            reader = READERS[len(seen) % len(READERS)]
            before = _told()
            inside = _number(reader())
            seen.append([reader.name, before, inside, _told()])
    DONE.touch()
    return seen


def settle() -> list[Any]:
    """Call each reader twice; return how the second call was decided, and its version."""
    for reader in READERS:
        reader()
    return [[r.name, type(r.explain()).__name__, _number(r())] for r in READERS]


# --- one key ----------------------------------------------------------------------------


@checkpoint(name="slow")
def slow(callers: int) -> pl.DataFrame:
    """Wait until all have asked, so that nobody is late, and note that it ran."""
    while len(list(Path().glob("asking-*"))) < callers:
        time.sleep(0.01)
    with Path("ran").open("a") as file:
        file.write("x")
    return version(1)


def ask(name: str, callers: int) -> dict[str, Any]:
    """Ask for one key; return the outcome and which version came back."""
    Path(f"asking-{name}").touch()
    frame = slow(callers)
    (step,) = current_run().steps()
    return {"outcome": step["details"]["outcome"], "version": _number(frame)}


if __name__ == "__main__":
    configure(store=STORE)
    role, arguments = sys.argv[1], json.loads(sys.argv[2])
    roles: dict[str, Any] = {
        role.__name__: role for role in (write, read, settle, ask, make, save, linger)
    }
    json.dump(roles[role](**arguments), sys.stdout)
