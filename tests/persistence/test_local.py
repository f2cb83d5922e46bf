"""A store on the local disk: where it can be, and what goes when something is removed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline import checkpoint, entries, load, run
from usher_pipeline.errors import CheckpointNameError, StoreBusyError, StoreError, UsherWarning
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.segments import Opened, Segments
from usher_pipeline.persistence.tables import Tables
from usher_pipeline.records import Entry, Hit, Key, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@checkpoint(name="local_numbers")
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


# --- where a store can be ---------------------------------------------------------------


@pytest.fixture(params=["a folder", "below a file", "no database", "results in the way"])
def wrong(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A path where no store can be, and what is said of it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("these are my notes\n" * 500)
    (tmp_path / "taken.checkpoints").write_text("mine")
    return {
        "a folder": (tmp_path / "folder", "it is a folder, not a file"),
        "below a file": (tmp_path / "notes.txt" / "deep" / "s.duckdb", "notes.txt', which is"),
        "no database": (tmp_path / "notes.txt", "not a DuckDB database"),
        "results in the way": (
            tmp_path / "taken.duckdb",
            "taken.checkpoints', which is a file",
        ),
    }[request.param]


def below(folder: Path) -> list[str]:
    """Return everything below a folder, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_wrong_path_is_an_error_before_anything_is_made(
    wrong: tuple[Path, str], tmp_path: Path
) -> None:
    """A call is refused with what is wrong; nothing runs, and no file or folder appears."""
    path, problem = wrong
    before = below(tmp_path)
    backend = LocalBackend(path)
    with pytest.raises(StoreError, match=problem):
        backend.check("genes")
    with pytest.raises(StoreError, match=problem):
        backend.single_flight("genes", "k")
    with run(store=path), pytest.raises(StoreError, match=problem):
        numbers()
    assert below(tmp_path) == before


def test_a_wrong_path_is_no_empty_store(wrong: tuple[Path, str]) -> None:
    """Asked what is stored, a path where no store can be is an error and not an empty list."""
    path, problem = wrong
    with run(store=path):
        with pytest.raises(StoreError, match=problem):
            entries()
        with pytest.raises(StoreError, match=problem):
            entries("genes")


def test_a_run_is_not_recorded_at_a_wrong_path(wrong: tuple[Path, str], tmp_path: Path) -> None:
    """The record of a run makes no file or folder beside a path that can be no store."""
    path, problem = wrong
    before = below(tmp_path)
    with pytest.raises(StoreError, match=problem):
        LocalBackend(path).record_run("r", {})
    block = run(store=path)
    with pytest.warns(UsherWarning, match="could not be saved"), block:
        block.record_step("by hand")
    assert below(tmp_path) == before


# --- removing ---------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> LocalBackend:
    """A store with two results of one checkpoint, that does not wait long."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        numbers(2)
        numbers(3)
    return LocalBackend(path, timeout_s=0.1)


def table_of(backend: LocalBackend) -> int | None:
    """Return how many rows the plain table has; None if there is none."""
    with PipelineStore(backend.path) as store:
        frame = store.load_dataframe("local_numbers")
    return None if frame is None else frame.height


def test_what_is_forgotten_goes_from_both_halves(stored: LocalBackend) -> None:
    """The table is that of the newest result that is left, and goes with the last."""
    newest, older = stored.recent("local_numbers")
    stored.forget(newest)
    assert stored.recent("local_numbers") == [older]
    assert table_of(stored) == 2
    stored.forget(older)
    assert stored.recent("local_numbers") == []
    assert table_of(stored) is None


def test_forgetting_an_older_result_leaves_the_table(stored: LocalBackend) -> None:
    """The table of the current result stays when another one is forgotten."""
    newest, older = stored.recent("local_numbers")
    stored.forget(older)
    assert stored.recent("local_numbers") == [newest]
    assert table_of(stored) == 3


def test_a_busy_database_leaves_everything(held: Any, stored: LocalBackend) -> None:
    """What can not be removed from both halves is removed from neither."""
    before = below(stored.segments.folder)
    newest, older = stored.recent("local_numbers")
    with held(stored.path):
        for entry in (newest, older):
            with pytest.raises(StoreBusyError, match="Nothing was written"):
                stored.forget(entry)
        with pytest.raises(StoreBusyError, match="Nothing was written"):
            stored.clear("local_numbers")
        assert below(stored.segments.folder) == before
        assert stored.recent("local_numbers") == [newest, older]
    assert table_of(stored) == 3
    assert stored.clear("local_numbers") == 2
    assert table_of(stored) is None


@pytest.mark.parametrize("removal", ["forget", "clear"])
def test_a_file_that_stays_keeps_its_table(
    stored: LocalBackend, removal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the sealed half can not be removed, the table is not dropped either."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    newest = stored.recent("local_numbers")[0]
    monkeypatch.setattr(type(stored.segments), "forget", refuse)
    monkeypatch.setattr(type(stored.segments), "clear", refuse)
    with pytest.raises(PermissionError, match="denied"):
        stored.forget(newest) if removal == "forget" else stored.clear("local_numbers")
    assert table_of(stored) == 3


def test_clearing_counts_all_of_them(stored: LocalBackend) -> None:
    """However many results a name has, clearing says how many there were."""
    (entry, *_) = stored.recent("local_numbers")
    packed = stored.load(entry)
    assert packed is not None
    for number in range(70):
        key = replace(entry.key, digest=f"{number:032x}")
        stored.segments.commit(
            stored.segments.seal(entry.name, packed), replace(entry, key=key)
        )
    assert stored.clear("local_numbers") == 72
    assert stored.recent("local_numbers") == []


# --- names ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "_checkpoints", "a\0", None])
def test_a_name_that_can_not_be_is_refused_everywhere(stored: LocalBackend, name: Any) -> None:
    """Looking for, loading or removing what can not be named is one clear error."""
    asked: list[Callable[[], object]] = [
        lambda: stored.find(name, "k"),
        lambda: stored.recent(name),
        lambda: stored.current(name),
        lambda: stored.clear(name),
        lambda: PipelineStore(stored.path).delete_checkpoint(name),
    ]
    for ask in asked:
        with pytest.raises(CheckpointNameError, match="can not name a checkpoint"):
            ask()
    with run(store=stored.path), pytest.raises(CheckpointNameError, match="can not name"):
        load(name)
    assert table_of(stored) == 3


# --- where results come from ------------------------------------------------------------


def test_what_no_step_made_stops_no_lineage(tmp_path: Path) -> None:
    """What a function listed, and what it read of files and of the store itself, is no step."""
    (tmp_path / "genes.csv").write_text("gene\nUSH2A\n")
    path = tmp_path / "store.duckdb"

    @checkpoint(name="local_counts")
    def counts() -> pl.DataFrame:
        with PipelineStore(path) as store:
            tables = len(store.list_checkpoints())
            genes = store.execute_query("FROM 'genes.csv'").height
            rows = store.execute_query("FROM _checkpoints").height
        return pl.DataFrame({"tables": [tables], "genes": [genes], "rows": [rows]})

    with run(store=path):
        counts()
    backend = LocalBackend(path)
    (entry,) = backend.recent("local_counts")
    assert {read.kind for read in entry.reads} == {"listing", "file", "table"}
    steps = {step["step_name"]: step["details"] for step in backend.lineage(entry)}
    assert list(steps) == ["genes.csv", "_checkpoints", "local_counts"]
    assert steps["genes.csv"]["note"] == "a file"


# --- damage -----------------------------------------------------------------------------


@checkpoint(name="local_words")
def words() -> pl.DataFrame:
    """Return text, and words of which there are two."""
    texts = [f"the text of row {n}" for n in range(99)]
    chosen = pl.Series(["x", "y", "x"] * 33, dtype=pl.Categorical)
    return pl.DataFrame({"text": texts, "word": chosen})


def place_of(path: Path, entry: Entry, column: int) -> int:
    """Return where the values of a column lie in a segment: its views, or its indices."""
    opened = Opened(path, entry)
    chunk = opened.table.column(column).chunk(0)
    values = chunk.indices if column else chunk
    found: int = values.buffers()[1].address - opened._buffer.address
    return found


#: The column, the byte in what lies there for it, and the bit.
DAMAGES = {"the first letters": (0, 16 * 77 + 5, 0), "a word that is none": (1, 0, 7)}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_the_segment_lost_comes_from_the_table(tmp_path: Path, damage: str) -> None:
    """However a segment is damaged, the call is a hit and has the rows of the whole table."""
    with run(store=tmp_path / "store.duckdb"):
        words()
    backend = LocalBackend(tmp_path / "store.duckdb")
    (entry,) = backend.recent("local_words")
    path = backend.segments.segment(entry)
    column, byte, bit = DAMAGES[damage]
    data = bytearray(path.read_bytes())
    data[place_of(path, entry, column) + byte] ^= 1 << bit
    path.unlink()
    path.write_bytes(data)
    expected = words.__wrapped__()
    with run(store=backend.path):
        assert isinstance(words.explain(), Hit)
        found = words()
    assert found.equals(expected)
    assert found.filter(pl.col("text") == expected["text"][77]).height == 1
    assert backend.segments.examine(entry)


TROUBLES = [duckdb.IOException, duckdb.FatalException, pa.ArrowInvalid]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_result_that_neither_half_can_read_is_a_miss(
    stored: LocalBackend, trouble: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged block of the database is no error of the call, which computes the result."""
    newest = stored.recent("local_numbers")[0]
    stored.segments.segment(newest).unlink()

    def refuse(*_: object) -> None:
        raise trouble("the checksum of a block does not match")

    monkeypatch.setattr(Tables, "fetch", refuse)
    assert stored.recall(newest) is None
    assert stored.load(newest) is None
    with run(store=stored.path):
        assert numbers(3)["n"].to_list() == [0, 1, 2]
    assert stored.recent("local_numbers")[0].number == newest.number + 1


# --- saving on a disk that fails --------------------------------------------------------


@pytest.mark.parametrize("spooled", [False, True])
def test_a_result_that_can_not_be_marked_leaves_nothing_behind(
    *, stored: LocalBackend, spooled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its file stays nor the handle by which it was held."""
    entry = stored.recent("local_numbers")[0]
    packed = stored.load(entry)
    assert packed is not None
    spool = None
    if spooled:
        spool = stored.spool(entry.name, entry.kind, packed.table.schema)
        spool.write(packed.table)
        spool.close()
    before = below(stored.segments.folder)
    plain, sealed = Segments.seal, list[Any]([spool] if spool else [])

    def seal(self: Segments, *given: Any) -> Any:
        sealed.append(plain(self, *given))
        return sealed[-1]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segments, "seal", seal)
    monkeypatch.setattr(Segments, "mark", full)
    with pytest.raises(OSError, match="No space left"):
        stored.save(entry, packed, spool)
    assert [each._held_open for each in sealed] == [-1]
    left = below(stored.segments.folder)
    assert [name for name in left if name.endswith(".tmp")] == []
    assert set(left) <= set(before)


# --- what is meant to be published ------------------------------------------------------


def in_flight(backend: LocalBackend, **changes: Any) -> Entry:
    """Return the entry of a result that is being saved, and is not committed yet."""
    entry = backend.recent("local_numbers")[0]
    return replace(entry, content="0" * 32, created_at=utc_now(), **changes)


@pytest.mark.parametrize("key", ["the same key", "another key"])
def test_the_marker_of_a_save_that_is_under_way_stays(stored: LocalBackend, key: str) -> None:
    """Publishing what was stored before it takes no marker that has no entry yet."""
    newest = stored.recent("local_numbers")[0]
    saving = in_flight(stored)
    if key == "another key":
        saving = replace(saving, key=Key(saving.name, "ab" * 16, (), 1))
    stored.segments.mark(newest, utc_now())
    marker = stored.segments.mark(saving, utc_now())
    assert marker.content == saving.content
    assert stored.publish()
    assert stored.segments.pending() == [marker]
    assert table_of(stored) == 3


def test_the_marker_of_a_save_that_ends_meanwhile_stays(
    stored: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is committed while an older one is published is published after it."""
    newest, older = stored.recent("local_numbers")
    packed = stored.load(newest)
    assert packed is not None
    saving = replace(newest, key=Key(newest.name, "ab" * 16, (), 1), created_at=utc_now())
    replacing = Tables.replace

    def committing(self: Tables, *args: Any, **options: Any) -> bool:
        monkeypatch.setattr(Tables, "replace", replacing)
        stored.segments.commit(stored.segments.seal(saving.name, packed), saving)
        return replacing(self, *args, **options)

    monkeypatch.setattr(Tables, "replace", committing)
    stored.segments.mark(older, utc_now())
    marker = stored.segments.mark(saving, utc_now())
    assert stored.publish()
    assert stored.segments.pending() == [marker]
    assert table_of(stored) == 3
    assert stored.segments.pending() == []


def test_the_marker_of_a_save_that_never_ended_goes_after_an_hour(stored: LocalBackend) -> None:
    """What was marked long ago and has no entry was given up."""
    saving = in_flight(stored)
    young = stored.segments.mark(saving, utc_now() - timedelta(minutes=59))
    stored.segments.mark(saving, utc_now() - timedelta(minutes=61))
    assert stored.publish()
    assert stored.segments.pending() == [young]


def test_a_marker_says_which_result_it_means(stored: LocalBackend) -> None:
    """Of several results of one key that one is published, and not the latest."""
    older = stored.recent("local_numbers")[1]
    packed = stored.load(stored.recent("local_numbers")[0])
    assert packed is not None
    three = stored.recent("local_numbers")[0]
    stored.segments.commit(
        stored.segments.seal(three.name, packed), replace(three, key=older.key)
    )
    found = stored.find(older.name, older.key.digest)
    assert found is not None
    assert found.row_count == 3
    marker = stored.segments.mark(older, utc_now())
    assert stored.segments.pending() == [marker]
    assert stored.current("local_numbers") == older
    assert stored.publish()
    assert table_of(stored) == 2


def test_what_is_meant_already_is_not_marked_again(stored: LocalBackend) -> None:
    """However often a result is returned before it is published, one marker says so."""
    newest, older = stored.recent("local_numbers")
    stored.mean(newest)
    assert stored.segments.pending() == []
    stored.segments.note_published(newest.name, "")
    for entry in (older, older, newest, newest):
        stored.mean(entry)
    marked = [each.content for each in stored.segments.pending()]
    assert marked == [older.content, newest.content]


@pytest.mark.parametrize("how", ["another file", "the same file", "no file"])
def test_a_database_that_was_put_back_from_a_copy_is_published_to(
    tmp_path: Path, how: str
) -> None:
    """What the folder remembers of the database says nothing of an older one."""
    path, copy = tmp_path / "store.duckdb", tmp_path / "copy"
    with run(store=path):
        numbers(2)
    shutil.copy2(path, copy)
    with run(store=path):
        numbers(3)
    backend = LocalBackend(path)
    newest = backend.recent("local_numbers")[0]
    assert backend.segments.is_published(newest, path)
    if how == "another file":
        copy.touch()
        copy.replace(path)
        changed_ns = path.stat().st_mtime_ns + 10**9
        os.utime(path, ns=(changed_ns, changed_ns))
    elif how == "the same file":
        path.write_bytes(copy.read_bytes())
        shutil.copystat(copy, path)
    else:
        path.unlink()
    assert not backend.segments.is_published(newest, path)
    with run(store=path):
        numbers(3)
    assert table_of(backend) == 3


def test_a_clock_that_was_wrong_stops_no_publishing(stored: LocalBackend) -> None:
    """A table that is meant from a day to come on gives way to what is meant now."""
    newest, older = stored.recent("local_numbers")
    stored.segments.mark(newest, utc_now() + timedelta(days=30))
    assert stored.publish()
    stored.segments.note_published(newest.name, "")
    stored.segments.mark(older, utc_now())
    assert stored.publish()
    assert table_of(stored) == 2


def test_clocks_that_differ_a_little_keep_the_order(stored: LocalBackend) -> None:
    """What another machine meant a minute from now is not replaced by what was meant before."""
    newest, older = stored.recent("local_numbers")
    stored.segments.mark(newest, utc_now() + timedelta(minutes=1))
    assert stored.publish()
    stored.segments.mark(older, utc_now())
    assert stored.publish()
    assert table_of(stored) == 3


# --- runs -------------------------------------------------------------------------------


def test_a_table_of_runs_that_somebody_changed_costs_no_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has its frame, the block ends, and the log says what has no row."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        numbers(2)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE _provenance")
        connection.execute("CREATE TABLE _provenance (mine INTEGER)")

    def called() -> int:
        with run(store=path) as block:
            block.record_step("by hand")
            return numbers(3).height

    with pytest.warns(UsherWarning, match="is stored, but has no plain table"):
        assert called() == 3
    assert "has no row in _provenance" in caplog.text
    with run(store=path):
        assert isinstance(numbers.explain(3), Hit)
    assert LocalBackend(path)._pending_runs() == []


def rows_in(backend: LocalBackend) -> int:
    """Return how many rows the table has."""
    with duckdb.connect(str(backend.path)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM labelled_numbers").fetchall()
    return int(count)


def test_what_is_meant_last_is_published_although_it_was_before(
    labelled_store: LocalBackend,
) -> None:
    """A marker of another result takes away what the table says by now."""
    newest, older = labelled_store.recent("labelled_numbers")
    labelled_store.mean(older)
    labelled_store.mean(newest)
    assert labelled_store.current("labelled_numbers") == newest
    assert labelled_store.publish()
    assert rows_in(labelled_store) == 3


def test_a_database_over_which_a_copy_was_written_is_published_to(
    tmp_path: Path, labelled: Any
) -> None:
    """A plain copy back leaves the file what it is and makes it newer."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        labelled(2)
    shutil.copy(path, tmp_path / "copy")
    with run(store=path):
        labelled(3)
    shutil.copy(tmp_path / "copy", path)
    with run(store=path):
        labelled(3)
    assert rows_in(LocalBackend(path)) == 3
