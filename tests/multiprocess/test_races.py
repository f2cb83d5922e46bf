"""Whatever other processes do meanwhile, a result stands under what it was made of."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import polars as pl

from usher_pipeline import checkpoint, run
from usher_pipeline.errors import CheckpointNotSaved
from usher_pipeline.fingerprint.frames import frame_digest
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.persistence import PipelineStore, engine
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

RACING: Final = Path(__file__).with_name("racing.py")
STORE: Final = Path("store.duckdb")
ROUNDS: Final = 200
VERSIONS: Final = 6


def start(role: str, **arguments: Any) -> subprocess.Popen[str]:
    """Start a process that plays a role, in the present folder."""
    return subprocess.Popen(
        [sys.executable, str(RACING), role, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> Any:
    """Wait for a process and return what it told."""
    out, problems = process.communicate()
    assert process.returncode == 0, problems
    return json.loads(out)


# --- what was read ----------------------------------------------------------------------


def version(number: int) -> pl.DataFrame:
    """Return a version, as the writer publishes it."""
    return pl.DataFrame({"row": range(40), "version": [number] * 40})


def digest(frame: pl.DataFrame) -> str:
    """Return the digest of a frame."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return frame_digest(adapter.to_arrow(frame))


def entries_of(name: str) -> list[Entry]:
    """Return every entry of a checkpoint that is on disk, older results included."""
    files = Path("store.checkpoints", name).glob("*.json")
    return [Entry.from_json(json.loads(path.read_text())) for path in files]


def claimed(entry: Entry) -> set[str]:
    """Return the versions that an entry stands on: what it read, and its inputs."""
    inputs = {part.digest for part in entry.key.parts if part.kind == "table"}
    return inputs | {read.content for read in entry.reads}


def frame_of(entry: Entry) -> pl.DataFrame:
    """Return what is stored for an entry."""
    packed = LocalBackend(STORE).load(entry)
    assert packed is not None
    frame: pl.DataFrame = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
    return frame


def test_a_result_stands_on_what_was_read() -> None:
    """While another process publishes versions, each result has the one that it recorded.

    That holds for a table by its name and by SQL, for the result of a checkpoint by its
    name, and for a declared input through a raw connection.
    """
    writer = start("write", seed=7, pause_s=0.4, most=2000)
    try:
        race = told(start("read", rounds=ROUNDS, versions=VERSIONS))
    finally:
        Path("done").touch()
        writer.communicate()
    assert writer.returncode == 0
    assert len(race) >= ROUNDS

    # What is returned, stored or not, is no older than what was there before the call.
    assert [call for call in race if not call[1] <= call[2] <= call[3] + 1] == []
    last = int(Path("written").read_text())
    numbers = {digest(version(number)): number for number in range(1, last + 1)}
    assert len({call[2] for call in race}) > 5

    readers = {call[0] for call in race}
    assert readers == {"from_store", "by_query", "by_name", "by_conn"}
    for entry in (entry for name in readers for entry in entries_of(name)):
        (claim,) = claimed(entry)
        assert frame_of(entry).equals(version(numbers[claim])), entry

    # When all is quiet everybody gets the last version, and gets it again from the store.
    for name, decision, number in told(start("settle")):
        assert (decision, number) == ("Hit", last), name


# --- one key ----------------------------------------------------------------------------


def test_four_processes_ask_and_one_computes() -> None:
    """Of four processes that miss on one key one computes, and all get its result."""
    asking = [start("ask", name=str(number), callers=4) for number in range(4)]
    answers = [told(process) for process in asking]
    assert sorted(answer["outcome"] for answer in answers) == ["computed", "hit", "hit", "hit"]
    assert {answer["version"] for answer in answers} == {1}
    assert Path("ran").read_text() == "x"
    (entry,) = entries_of("slow")
    assert frame_of(entry).equals(version(1))


# --- one moment, held still -------------------------------------------------------------


@contextmanager
def here() -> Iterator[None]:
    """Work on the store of the other processes; what is not stored is no matter."""
    with run(store=STORE), warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointNotSaved)
        yield


def test_sql_reads_a_table_and_not_what_is_sealed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A result that is not published yet is not what SQL read, and is not recorded as such."""
    told(start("make", number=1))
    native = engine.native

    def held(path: Path, *, timeout_s: float) -> duckdb.DuckDBPyConnection:
        connection = native(path, timeout_s=timeout_s)
        # Sealed and marked, but the database is ours.
        told(start("make", number=2))
        return connection

    @checkpoint(name="reader")
    def reader() -> pl.DataFrame:
        with PipelineStore(STORE) as store:
            return store.execute_query("FROM made ORDER BY row")

    with here(), monkeypatch.context() as patch:
        patch.setattr(engine, "native", held)
        assert reader().equals(version(1))
    assert [claimed(entry) for entry in entries_of("reader")] in ([], [{digest(version(1))}])
    with here():
        assert reader().equals(version(2))


def test_an_input_that_changed_and_changed_back_is_noticed() -> None:
    """What a raw connection read of a declared table is what the result stands under."""

    @checkpoint(name="reader", inputs=["genes"])
    def reader() -> pl.DataFrame:
        told(start("save", number=2))
        with PipelineStore(STORE) as store:
            frame: pl.DataFrame = store.conn.sql("FROM genes ORDER BY row").pl()
        told(start("save", number=1))
        return frame

    told(start("save", number=1))
    with here():
        assert reader().equals(version(2))
    assert [entry for entry in entries_of("reader") if claimed(entry) != {entry.content}] == []


def test_a_file_that_changed_and_changed_back_is_noticed() -> None:
    """A file that was another one while it was read is no file to store a result under."""
    path = Path("genes.txt")
    path.write_text("USH2A")

    @checkpoint(name="reader")
    def reader(path: Path) -> pl.DataFrame:
        path.write_text("MYO7A")
        frame = pl.DataFrame({"gene": [path.read_text()]})
        path.write_text("USH2A")
        return frame

    with here():
        assert reader(path).item() == "MYO7A"
    assert entries_of("reader") == []


def test_what_others_sealed_is_published_at_exit() -> None:
    """A process that ends publishes what others could not, and says nothing."""
    last = start("linger", number=1)
    assert last.stdout is not None
    try:
        assert last.stdout.readline() == "made\n"
        with duckdb.connect(str(STORE)):
            told(start("make", number=2))
    finally:
        Path("done").touch()
        _, problems = last.communicate()
    assert problems == ""
    with duckdb.connect(str(STORE)) as connection:
        assert connection.sql("SELECT DISTINCT version FROM made").fetchall() == [(2,)]
