"""The one place that talks to DuckDB: sessions, waits, and what SQL may reach."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from usher_pipeline.errors import DamagedDatabaseError, StoreBusyError, StoreError
from usher_pipeline.persistence import engine

if TYPE_CHECKING:
    from pathlib import Path


def test_a_session_writes_and_lets_go(tmp_path: Path) -> None:
    """What a session wrote is in the file, and the file is free afterwards."""
    path = tmp_path / "a.duckdb"
    with engine.session(path, timeout_s=1) as session, session.transaction():
        session.execute(f"CREATE TABLE {session.table('t t')} AS SELECT 1 AS a")
    with duckdb.connect(str(path)) as connection:
        assert connection.execute('FROM "t t"').fetchall() == [(1,)]


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """When the block fails, all of it is taken back."""
    path = tmp_path / "a.duckdb"

    def fail(session: engine.Session) -> None:
        with session.transaction():
            session.execute(f"CREATE TABLE {session.table('t')} (a INT)")
            raise RuntimeError("stop")

    with (
        engine.session(path, timeout_s=1) as session,
        pytest.raises(RuntimeError, match="stop"),
    ):
        fail(session)
    with engine.session(path, timeout_s=1) as session:
        assert session.rows("SELECT count(*) FROM duckdb_tables()") == [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '{outside}/x.csv'",
        "ATTACH '{outside}/x.duckdb' AS x",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM frame_in_scope",
    ],
)
def test_library_sql_reaches_only_its_folder(tmp_path: Path, sql: str) -> None:
    """A hostile file can neither read, write nor load anything through library SQL."""
    frame_in_scope = pa.table({"a": [1]})
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "inside"
    inside.mkdir()
    with (
        engine.session(inside / "a.duckdb", timeout_s=1) as session,
        pytest.raises(duckdb.Error, match=r"Permission|Catalog|Cannot|configuration"),
    ):
        session.execute(sql.format(outside=outside))
    assert frame_in_scope.num_rows == 1
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("autoinstall_known_extensions", False),
        ("autoload_known_extensions", False),
        ("python_enable_replacements", False),
        ("preserve_insertion_order", True),
        ("TimeZone", "UTC"),
        ("enable_external_access", False),
        ("lock_configuration", True),
    ],
)
def test_a_session_sees_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, expected: object
) -> None:
    """What is set for library SQL holds in the sessions, wherever the machine stands."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        with engine.session(tmp_path / "a.duckdb", timeout_s=1) as session:
            sql = f"SELECT current_setting('{setting}')"
            assert session.rows(sql) == [(expected,)]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_reach_beyond_the_folder_leaves_nothing_open(tmp_path: Path) -> None:
    """What is started for one more folder is closed with its session."""
    path = tmp_path / "a.duckdb"
    with engine.session(path, timeout_s=1):
        known = dict(engine._process.instances)
    with engine.session(path, timeout_s=1, reach=[tmp_path / "out"]) as session:
        kept = session.connection
        assert session.rows("SELECT 1") == [(1,)]
    assert engine._process.instances == known
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        kept.execute("SELECT 1")


def test_a_native_connection_that_was_closed_is_opened_anew(tmp_path: Path) -> None:
    """Whoever closes the shared connection leaves the others with a new one."""
    path = (tmp_path / "a.duckdb").resolve()
    first = engine.native(path, timeout_s=1)
    first.execute("CREATE TABLE t AS SELECT 1 AS a")
    first.close()
    assert not engine.is_open(first)
    with engine.session(path, timeout_s=1) as session:
        assert session.rows(f"FROM {session.table('t')}") == [(1,)]
    second = engine.native(path, timeout_s=1)
    assert second.execute("FROM t").fetchall() == [(1,)]
    engine.release(path)
    engine.release(path)
    with duckdb.connect(str(path)) as other:
        assert other.execute("FROM t").fetchall() == [(1,)]


def test_what_is_protected_is_not_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is written if it and its folder may be; one that is not there is tried."""
    path = tmp_path / "a.duckdb"
    protected: list[Path] = []

    def access(asked: Path, _: int) -> bool:
        return asked not in protected

    monkeypatch.setattr("os.access", access)
    assert engine.writable(path)
    path.touch()
    assert engine.writable(path)
    for each in (path, tmp_path):
        protected[:] = [each]
        assert not engine.writable(path)


def test_new_files_open_with_the_older_duckdb(tmp_path: Path) -> None:
    """A new file has the storage version that DuckDB 1.5 reads."""
    path = tmp_path / "a.duckdb"
    with engine.session(path, timeout_s=1) as session:
        session.execute(f"CREATE TABLE {session.table('t')} (a INT)")
    with duckdb.connect(str(path)) as connection:
        sql = "SELECT tags FROM duckdb_databases() WHERE database_name = current_database()"
        ((tags,),) = connection.execute(sql).fetchall()
    assert tags["storage_version"].startswith("v1.5.0")


def test_sessions_share_a_native_connection(tmp_path: Path) -> None:
    """While this process holds the file natively, sessions work through that connection."""
    path = (tmp_path / "a.duckdb").resolve()
    connection = engine.native(path, timeout_s=1)
    try:
        with engine.session(path, timeout_s=1) as session, session.transaction():
            session.execute(f"CREATE TABLE {session.table('t')} AS SELECT 7 AS a")
        assert connection.execute("FROM t").fetchall() == [(7,)]
        assert engine.native(path, timeout_s=1) is connection
        engine.release(path)
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    finally:
        engine.release(path)
    with pytest.raises(duckdb.Error, match="closed"):
        connection.execute("SELECT 1")


def test_a_file_that_is_held_is_waited_for(tmp_path: Path) -> None:
    """A session waits while another connection has the file, and then goes on."""
    path = tmp_path / "a.duckdb"
    holder = duckdb.connect(str(path))
    threading.Timer(0.2, holder.close).start()
    with engine.session(path, timeout_s=30) as session:
        assert session.rows("SELECT 1") == [(1,)]


def test_waiting_ends(tmp_path: Path) -> None:
    """After the timeout the error says who holds the file and how long it was waited for."""
    path = tmp_path / "a.duckdb"
    with (
        duckdb.connect(str(path)),
        pytest.raises(StoreBusyError, match="held by another connection") as caught,
        engine.session(path, timeout_s=0.05),
    ):
        raise AssertionError("the session was opened")
    assert 0.05 <= caught.value.waited_s < 5


def test_what_is_no_database_is_an_error_at_once(tmp_path: Path) -> None:
    """Anything but a busy file is not waited for."""
    path = tmp_path / "a.duckdb"
    path.write_bytes(b"no database" * 1000)
    started = time.monotonic()
    with pytest.raises(StoreError, match="not a DuckDB database"):
        engine.native(path, timeout_s=30)
    assert time.monotonic() - started < 20


def _write_in_child(path: Path) -> None:
    with engine.session(path, timeout_s=10) as session:
        session.execute(f"INSERT INTO {session.table('t')} VALUES (2)")


def test_a_forked_child_opens_the_file_anew(tmp_path: Path) -> None:
    """After a fork the child has sessions of its own, and its rows are seen by the parent."""
    path = tmp_path / "a.duckdb"
    with engine.session(path, timeout_s=1) as session:
        session.execute(f"CREATE TABLE {session.table('t')} AS SELECT 1 AS a")
    child = multiprocessing.get_context("fork").Process(target=_write_in_child, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == 0
    with engine.session(path, timeout_s=1) as session:
        assert session.rows(f"SELECT sum(a) FROM {session.table('t')}") == [(3,)]


def test_parameters_by_place_and_name(tmp_path: Path) -> None:
    """Arrow results come with either kind of parameters, and without a result as well."""
    connection = engine.native(tmp_path / "a.duckdb", timeout_s=1)
    try:
        sql = "SELECT {} + 1 AS a"
        assert engine.to_arrow(connection, sql.format("?"), [1]).to_pydict() == {"a": [2]}
        named = engine.to_arrow(connection, sql.format("$n::INT"), {"n": 1})
        assert named.to_pydict() == {"a": [2]}
        assert engine.to_arrow(connection, "CREATE TABLE t (a INT)").num_rows == 0
    finally:
        engine.release(tmp_path / "a.duckdb")


def pressed_soon() -> threading.Timer:
    """Press Ctrl-C in a moment."""
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    return timer


def test_ctrl_c_ends_a_statement_and_keeps_the_file_from_nobody(tmp_path: Path) -> None:
    """A statement that takes long is ended, and when Ctrl-C is raised others have the file."""
    path = tmp_path / "s.duckdb"

    def work() -> None:
        with engine.session(path, timeout_s=60) as session:
            pressed_soon()
            session.rows("SELECT count(*) FROM range(1000000000000) a WHERE a.range % 7 = 3")

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        work()
    program = f"import duckdb; duckdb.connect({str(path)!r})"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    with engine.session(path, timeout_s=1) as session:
        assert session.rows("SELECT 1") == [(1,)]


@pytest.mark.parametrize("is_native", [False, True])
def test_ctrl_c_while_a_file_is_opened_lets_no_statement_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_native: bool
) -> None:
    """What is pressed before there is a statement to end is heard before the first one."""
    path = tmp_path / "s.duckdb"
    if is_native:
        engine.native(path, timeout_s=60)
    monkeypatch.setattr(engine, "_at_work", pressed_before(engine._at_work))
    ran: list[object] = []

    def work() -> None:
        with engine.session(path, timeout_s=60) as session:
            ran.append(session.rows("SELECT 1"))

    try:
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            work()
        monkeypatch.undo()
        assert ran == []
        work()
        assert ran == [[(1,)]]
    finally:
        if is_native:
            engine.release(path)


def pressed_before(at_work: Any) -> Any:
    """Return the same, with Ctrl-C pressed when all is open."""

    def pressed(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return at_work(*given)

    return pressed


def test_ctrl_c_ends_the_wait_for_a_file(tmp_path: Path, held: Any) -> None:
    """Who waits for others to let go need not wait to the end of it."""
    path = tmp_path / "s.duckdb"
    duckdb.connect(str(path)).close()
    with held(path), pytest.raises(KeyboardInterrupt, match=r"^$"):
        wait_and_press(path)


def wait_and_press(path: Path) -> None:
    """Press Ctrl-C while somebody else has a file that is waited for."""
    pressed_soon()
    with engine.session(path, timeout_s=60):
        raise AssertionError("the file was free")


def test_ctrl_c_ends_the_wait_for_another_thread(tmp_path: Path) -> None:
    """Who waits for another thread of this process need not wait to the end of it."""
    path = tmp_path / "s.duckdb"
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        with engine.session(path, timeout_s=1):
            begun.set()
            ended.wait()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        wait_and_press(path)
    ended.set()
    thread.join()


def test_damage_is_an_error_of_its_own_and_costs_no_later_session(tmp_path: Path) -> None:
    """What DuckDB says of a damaged block is told plainly; the next session is a new one."""
    path = tmp_path / "s.duckdb"
    with (
        pytest.raises(DamagedDatabaseError, match=r"is damaged: .*Corrupt database file"),
        engine.session(path, timeout_s=1),
    ):
        raise duckdb.Error("Corrupt database file: computed checksum 1")
    with engine.session(path, timeout_s=1) as session:
        assert session.rows("SELECT 1") == [(1,)]
