"""Compacting a database: all of it survives, at any moment, or nothing is changed."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline import checkpoint, run
from usher_pipeline.errors import StoreBusyError, StoreClosedError, StoreError
from usher_pipeline.persistence import PipelineStore, compaction, engine, publisher
from usher_pipeline.persistence.compaction import Compacted, compact, is_worth_it
from usher_pipeline.persistence.places import folder_of
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.persistence.spools import sync
from usher_pipeline.persistence.sweeping import sweep
from usher_pipeline.records import utc_now

ROWS: Final = 300_000
WASTE: Final = "CREATE TABLE waste AS SELECT hash(i) AS h FROM range(2000000) r(i)"

LATE: Final = "CREATE TABLE IF NOT EXISTS late (a INTEGER); INSERT INTO late VALUES (1)"


@checkpoint(name="compacted_numbers")
def numbers(count: int = ROWS) -> pl.DataFrame:
    """Return some numbers, in an order of their own."""
    return pl.DataFrame(
        {"n": list(range(count)), "x": [n * 7919 % count for n in range(count)]}
    )


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the file with plain DuckDB, as any other tool would, once it is published."""
    assert publisher.wait(path, 60)
    with duckdb.connect(str(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a published result, of whose database most is free."""
    path = tmp_path / "store.duckdb"
    # Free blocks at the end DuckDB gives back by itself, so something has to lie behind them.
    ask(path, WASTE)
    with run(store=path):
        numbers()
    ask(path, "DROP TABLE waste")
    return path


def is_whole(path: Path) -> bool:
    """Tell whether a store has all of its results, and nothing beside."""
    with PipelineStore(path) as store:
        is_same = store.load_dataframe("compacted_numbers").equals(numbers.__wrapped__())
        names = [row["table_name"] for row in store.list_checkpoints()]
        return is_same and names == ["compacted_numbers"] and store.verify().is_whole


def beside(path: Path) -> list[str]:
    """Return what lies beside a database."""
    return sorted(each.name for each in path.parent.iterdir())


# --- what it wins -----------------------------------------------------------------------


def test_the_file_shrinks_and_keeps_everything(path: Path) -> None:
    """What is said to be won is won, every row and its place survives, nothing is left over."""
    before, names = path.stat(), beside(path)
    with PipelineStore(path) as store:
        compacted = store.compact()
    assert compacted.is_swapped
    assert compacted.before_bytes == before.st_size
    assert compacted.after_bytes == path.stat().st_size < before.st_size // 2
    assert compacted.won_bytes == before.st_size - path.stat().st_size
    assert beside(path) == names
    assert is_whole(path)


def test_what_wins_too_little_is_left_as_it_is(path: Path) -> None:
    """The second time nothing is won: the very same file stays, and the text says so."""
    compact(path, timeout_s=1)
    before, names = path.stat(), beside(path)
    compacted = compact(path, timeout_s=1)
    assert (compacted.is_swapped, compacted.won_bytes) == (False, 0)
    assert "store.duckdb · left as it is, a copy of its" in str(compacted)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert beside(path) == names


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_what_is_worth_it_is_a_tenth_and_a_megabyte(before: int, after: int) -> None:
    """A swap wins 1 MB and a tenth at least; a copy that is no smaller is never worth it."""
    wins = before - after
    assert is_worth_it(before, after) == (wins >= 1_000_000 and wins * 10 >= before)


def test_the_text_says_what_was_won() -> None:
    """Both sizes and what lies between are in one line."""
    done = Compacted(Path("a/s.duckdb"), 9_000_000, 2_000_000, 2_000_000, is_swapped=True)
    assert str(done) == "s.duckdb · 9 MB → 2 MB, won 7 MB"


def test_no_database_is_no_error(tmp_path: Path) -> None:
    """Where there is no database yet nothing is made."""
    assert compact(tmp_path / "none.duckdb", timeout_s=1).won_bytes == 0
    assert beside(tmp_path / "none.duckdb") == []


# --- what survives ----------------------------------------------------------------------

MADE: Final = """
CREATE TABLE own (id INTEGER PRIMARY KEY, text VARCHAR NOT NULL DEFAULT 'q',
    more INTEGER CHECK (more > 0), one INTEGER UNIQUE, twice INTEGER AS (more * 2));
INSERT INTO own (id, text, more, one) SELECT i, 't' || i, i + 1, i FROM range(100) r(i);
CREATE INDEX quick ON own (text);
CREATE VIEW seen AS SELECT id FROM own;
CREATE VIEW named AS SELECT id FROM store.main.own;
CREATE SCHEMA other; CREATE TABLE other.deep AS SELECT 1 AS a;
CREATE SEQUENCE numbers_of START 5; SELECT nextval('numbers_of');
CREATE TABLE counted (i INTEGER DEFAULT nextval('numbers_of'));
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE moods (m mood);
INSERT INTO moods VALUES ('bad');
CREATE MACRO plus(a, b) AS a + b; CREATE MACRO rows_of(n) AS TABLE SELECT * FROM range(n);
COMMENT ON TABLE own IS 'of the table'; COMMENT ON COLUMN own.text IS 'of the column';
CREATE TABLE "odd ""name""; --" (x INTEGER);
"""


def test_all_that_a_database_holds_survives(path: Path) -> None:
    """Constraints, indexes, views, schemas, sequences, types, macros and comments are kept."""
    ask(path, MADE)
    assert compact(path, timeout_s=1).is_swapped
    assert ask(path, "SELECT count(*), sum(twice), max(text) FROM own") == [(100, 10100, "t99")]
    assert ask(path, "SELECT count(*) FROM seen, named") == [(10_000,)]
    assert ask(path, "SELECT m, plus(1, 2), a FROM moods, other.deep") == [("bad", 3, 1)]
    assert ask(path, "INSERT INTO counted DEFAULT VALUES RETURNING i") == [(6,)]
    assert ask(path, "SELECT comment FROM duckdb_tables() WHERE comment IS NOT NULL") == [
        ("of the table",)
    ]
    with pytest.raises(duckdb.ConstraintException, match=r"(?i)duplicate|unique|primary"):
        ask(path, "INSERT INTO own (id, more) VALUES (1, 1)")
    with pytest.raises(duckdb.ConstraintException, match="CHECK"):
        ask(path, "INSERT INTO own (id, more) VALUES (1000, 0)")
    assert [name for (name,) in ask(path, "SELECT index_name FROM duckdb_indexes()")] == [
        "quick"
    ]
    with PipelineStore(path) as store:
        store.save_dataframe(pl.DataFrame({"a": [1]}), "more")
        assert store.load_dataframe("more").item() == 1


@pytest.mark.parametrize("loss", ["copy", "catalog", "rows"])
def test_what_can_not_be_copied_in_full_is_refused(
    path: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What DuckDB refuses to copy, or what would be lost, leaves the file as it is."""
    before, names = path.read_bytes(), beside(path)
    if loss == "copy":
        # A default that names its database can not be copied by either DuckDB.
        ask(
            path,
            "CREATE SEQUENCE s; CREATE TABLE t (i INTEGER DEFAULT nextval('store.main.s'))",
        )
        before = path.read_bytes()
    elif loss == "catalog":
        plain = compaction._listed
        monkeypatch.setattr(
            compaction,
            "_listed",
            lambda c, what, columns, name: [*plain(c, what, columns, name), name],
        )
    else:
        counts = iter(range(99))
        monkeypatch.setattr(compaction, "_count", lambda *_: next(counts))
    with pytest.raises(StoreError, match=r"can not be compacted: .* Nothing was changed"):
        compact(path, timeout_s=1)
    assert path.read_bytes() == before
    assert beside(path) == names


def test_a_full_disk_leaves_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the copy can not be brought to disk nothing is changed, nor left over."""

    def refuse(_: Path) -> None:
        raise OSError(28, "No space left on device")

    before, names = path.stat().st_ino, beside(path)
    monkeypatch.setattr(compaction, "sync", refuse)
    with pytest.raises(StoreError, match=r"No space left on device.*Nothing was changed"):
        compact(path, timeout_s=1)
    assert (path.stat().st_ino, beside(path)) == (before, names)
    assert is_whole(path)


def test_the_version_and_the_mode_of_the_file_are_kept(path: Path) -> None:
    """An older file stays one that older programs read, and as private as it was."""
    path.chmod(0o640)
    old = path.with_name("old.duckdb")
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{old}' AS old (STORAGE_VERSION 'v1.2.0')")
        connection.execute(
            "CREATE TABLE old.waste AS SELECT hash(i) h FROM range(2000000) r(i)"
        )
        connection.execute("DETACH old")
    ask(old, "DROP TABLE waste; CREATE TABLE kept AS SELECT 1 AS a")
    for each in (path, old):
        sql = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
        before = ask(each, sql), stat.S_IMODE(each.stat().st_mode)
        assert compact(each, timeout_s=1).is_swapped
        assert (ask(each, sql), stat.S_IMODE(each.stat().st_mode)) == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# --- others -----------------------------------------------------------------------------


def test_whoever_holds_the_database_is_waited_for(held: Any, path: Path) -> None:
    """A holder in another process, or in this one, stops it; nothing is changed."""
    before = path.stat().st_ino
    with held(path), pytest.raises(StoreBusyError, match=r"held by .*PID"):
        compact(path, timeout_s=0.1)
    other = PipelineStore(path)
    assert other.conn.execute("SELECT 1").fetchall() == [(1,)]
    with PipelineStore(path) as store:
        store._backend.timeout_s = 0.1
        assert store.conn is not None
        with pytest.raises(StoreBusyError, match="a connection of this process"):
            store.compact()
        assert store.conn.execute("SELECT 1").fetchall() == [(1,)]
    other.close()
    with duckdb.connect(str(path)), pytest.raises(StoreBusyError, match="of this process"):
        compact(path, timeout_s=0.1)
    assert path.stat().st_ino == before


def test_the_own_connection_is_closed_and_opened_again(path: Path) -> None:
    """Who holds the store alone can compact it; the next `conn` is on the new file."""
    with PipelineStore(path) as store:
        assert store.conn.execute("SELECT 1").fetchall() == [(1,)]
        assert store.compact().is_swapped
        sql = "SELECT count(*) FROM compacted_numbers"
        assert store.conn.execute(sql).fetchall() == [(ROWS,)]
        store.conn.execute("CREATE TABLE late AS SELECT 1 AS a")
    assert ask(path, "FROM late") == [(1,)]
    with pytest.raises(StoreClosedError, match="it is closed"):
        store.compact()


def test_what_others_write_in_between_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes between the copy and the swap makes it start again, and loses nothing."""
    writes: list[int] = []
    plain = compaction._swapped

    def overtaken(*arguments: Any) -> bool:
        if len(writes) < 2:
            writes.append(path.stat().st_ino)
            program = f"import duckdb; duckdb.connect({str(path)!r}).execute({LATE!r})"
            subprocess.run([sys.executable, "-c", program], check=True)
        return plain(*arguments)

    monkeypatch.setattr(compaction, "_swapped", overtaken)
    assert compact(path, timeout_s=1).is_swapped
    assert ask(path, "SELECT count(*) FROM late") == [(2,)]


def test_who_writes_again_and_again_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few attempts it is given up, and nothing is left over."""
    names = beside(path)
    monkeypatch.setattr(compaction, "_swapped", lambda *_: False)
    with pytest.raises(StoreBusyError, match="others, who write again and again"):
        compact(path, timeout_s=1)
    assert beside(path) == names


def test_a_log_that_is_there_is_never_left_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a log lies beside the file nothing is swapped: it would be that of another file."""
    plain = compaction._swapped
    log = path.with_name(f"{path.name}.wal")

    def logged(*arguments: Any) -> bool:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "exists", lambda self: self == log)
            return plain(*arguments)

    monkeypatch.setattr(compaction, "_swapped", logged)
    before = path.stat().st_ino
    with pytest.raises(StoreBusyError, match="write again and again"):
        compact(path, timeout_s=1)
    assert path.stat().st_ino == before


def test_nobody_can_write_while_the_files_are_swapped(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before the swap the file can be read by others, and not be written."""
    inodes: list[int] = []
    plain = sync

    def looked(each: Path) -> None:
        plain(each)
        inodes.append(path.stat().st_ino)
        if len(inodes) == 1:
            program = f"import duckdb; duckdb.connect({str(path)!r})"
            done = subprocess.run(
                [sys.executable, "-c", program], check=False, capture_output=True, text=True
            )
            assert "Could not set lock" in done.stderr
            program = f"import duckdb; duckdb.connect({str(path)!r}, read_only=True)"
            subprocess.run([sys.executable, "-c", program], check=True)

    monkeypatch.setattr(compaction, "sync", looked)
    assert compact(path, timeout_s=1).is_swapped
    assert inodes[0] != inodes[1]


def test_who_has_opened_the_old_file_finds_it_locked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the swap the old file stays locked for a moment, so that nobody writes into it."""
    seen: list[float] = []
    old = path.with_name("old.duckdb")
    old.hardlink_to(path)
    program = f"import duckdb; duckdb.connect({str(old)!r})"

    def slept(seconds: float) -> None:
        if old.stat().st_ino != path.stat().st_ino:
            seen.append(seconds)
            done = subprocess.run(
                [sys.executable, "-c", program], check=False, capture_output=True, text=True
            )
            assert "Could not set lock" in done.stderr

    monkeypatch.setattr(compaction, "sleep", slept)
    assert compact(path, timeout_s=1).is_swapped
    assert seen == [0.2]


def test_who_comes_right_after_the_swap_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To let go of the old file leaves the log alone that another process has begun."""
    plain, log = sync, path.with_name(f"{path.name}.wal")
    program = f"""
import duckdb, os, signal
connection = duckdb.connect({str(path)!r})
connection.execute({LATE!r})
os.kill(os.getpid(), signal.SIGKILL)
"""

    def written(each: Path) -> None:
        plain(each)
        if each == path.parent:
            subprocess.run([sys.executable, "-c", program], check=False)
            assert log.exists()

    monkeypatch.setattr(compaction, "sync", written)
    assert compact(path, timeout_s=1).is_swapped
    assert log.exists()
    assert ask(path, "FROM late") == [(1,)]


# --- killed at any moment ---------------------------------------------------------------

KILLED: Final = """
import os, signal, sys
from pathlib import Path
from usher_pipeline.persistence import compaction

left = int(sys.argv[2])

def count(frame, event, argument):
    global left
    if frame.f_code.co_filename == compaction.__file__:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(count)
compaction.compact(Path(sys.argv[1]), timeout_s=5)
sys.setprofile(None)
print(left)
"""


def compact_elsewhere(path: Path, events: int) -> subprocess.CompletedProcess[str]:
    """Compact in another process, which is killed after so many calls and returns."""
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(events)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_that_is_killed_leaves_a_whole_store(path: Path) -> None:
    """Killed at twenty moments from the first call to the last, all is there every time."""
    original = path.read_bytes()
    done = compact_elsewhere(path, 10**6)
    assert done.returncode == 0, done.stderr
    events = 10**6 - int(done.stdout)
    sizes = set()
    for number in range(20):
        path.unlink()
        path.write_bytes(original)
        killed = compact_elsewhere(path, 1 + number * (events - 1) // 19)
        assert killed.returncode == -signal.SIGKILL
        sizes.add(path.stat().st_size)
        with PipelineStore(path) as store:
            assert store.load_dataframe("compacted_numbers").height == ROWS
    assert len(sizes) == 2
    assert is_whole(path)
    sweep(Segments(folder_of(path)), now=utc_now() + timedelta(hours=2))
    assert beside(path) == ["store.checkpoints", "store.duckdb"]
    assert engine.users(path) == 0
