"""The one place that talks to DuckDB, and that knows how its versions differ.

Library SQL runs in an in-memory instance of its own that can reach nothing but the
folder of the store: the database is attached for one session, named in full in every
statement, and let go again, so that other processes can have it in between. While
this process itself holds a native connection (`native`), sessions use a cursor of it,
since DuckDB allows a file only one handle per process.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import DamagedDatabaseError, StoreBusyError, StoreError
from usher_pipeline.interrupts import check, held_back

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb
    import pyarrow as pa

__all__ = [
    "Session",
    "alone",
    "attach",
    "errors",
    "folded",
    "in_memory",
    "is_open",
    "native",
    "numbered",
    "quote",
    "release",
    "session",
    "storage_option",
    "users",
    "writable",
]

#: Files of this version are read by DuckDB 1.5 and 2.0 alike.
_STORAGE_VERSION: Final = "v1.5.0"

#: DuckDB tells these apart by text only; both mean that somebody else has the file.
_BUSY: Final = ("Could not set lock on file", "Unique file handle conflict")
_BUSY_ELSEWHERE: Final = "Can't open a connection to same database file with a different"
_HOLDER: Final = re.compile(r"Conflicting lock is held in (.+?\(PID \d+\))")

#: What DuckDB says of a file in which something is not what it wrote.
_DAMAGE: Final = (
    "Corrupt database file",
    "Could not read enough bytes",
    "Serialization Error",
    "Failed to deserialize",
    "Failure while replaying WAL",
)
#: What it says once an instance is of no use any more.
_INVALID: Final = "database has been invalidated"

_FIRST_WAIT_S: Final = 0.005
#: What DuckDB may use while a table is written that may be larger than the memory.
_LEAN_BYTES: Final = 600_000_000
_LONGEST_WAIT_S: Final = 0.25

_numbers = count(1)


def quote(name: str) -> str:
    """Return a name as a quoted SQL identifier.

    >>> print(quote('a "b" c'))
    "a ""b"" c"
    """
    return '"' + name.replace('"', '""') + '"'


_ASCII_LOWER: Final = {ord(c): ord(c.lower()) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def folded(name: str) -> str:
    """Return what DuckDB compares of a name: it folds the case of ASCII alone.

    >>> folded("GENES") == folded("genes"), folded("ÄB") == folded("äb")
    (True, False)
    """
    return name.translate(_ASCII_LOWER)


def _text(value: str | Path) -> str:
    return "'" + str(value).replace("'", "''") + "'"


# --- what this process has open ---------------------------------------------------------


@dataclass(slots=True)
class _File:
    """What this process knows of one database file.

    Attributes:
        lock: Taken by who works in it.
        native: The connection that `native` gave; whoever else works in it has a cursor of it.
        catalog: The name that the file has there.
        users: How many were given it.
        cursor: Of who works in it now.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    native: Any = None
    catalog: str = ""
    users: int = 0
    cursor: Any = None


class _Process:
    """All that this process has open; a forked child starts with nothing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.files: dict[str, _File] = {}
        self.instances: dict[tuple[str, bool], duckdb.DuckDBPyConnection] = {}

    def file(self, path: Path) -> _File:
        with self.lock:
            return self.files.setdefault(str(path), _File())

    def cursor(self, folder: str, *, lean: bool = False) -> duckdb.DuckDBPyConnection:
        """Return a cursor of the closed in-memory instance that can reach just one folder."""
        place = (folder, lean)
        with self.lock:
            if place not in self.instances:
                self.instances[place] = _instance({folder}, lean=lean)
            return self.instances[place].cursor()

    def drop_instances(self) -> None:
        """Begin with new instances; who is at work with one of the old keeps it until then."""
        with self.lock:
            while self.instances:
                # Closed, it keeps no file from others, whoever may still point to it.
                self.instances.popitem()[1].close()


def _instance(folders: Iterable[str], *, lean: bool = False) -> duckdb.DuckDBPyConnection:
    import duckdb

    _load_ahead(duckdb.__version__)
    connection = duckdb.connect(":memory:")
    shown = ", ".join(_text(folder) for folder in sorted(folders))
    for setting in (
        *([f"memory_limit = '{_LEAN_BYTES} B'"] if lean else []),
        f"allowed_directories = [{shown}]",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "python_enable_replacements = false",
        "preserve_insertion_order = true",
        "TimeZone = 'UTC'",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        # What is set without GLOBAL does not reach the cursors, which do all the work.
        connection.execute(f"SET GLOBAL {setting}")
    return connection


_process = _Process()


def _load_ahead(version: str) -> None:
    """Load what DuckDB loads anyhow when it is given its first value.

    It loses a signal that comes meanwhile: Ctrl-C would end nothing.
    """
    names = ("pandas", "pyarrow.dataset") if version.startswith("1.") else ("numpy.ma",)
    for name in names:
        # One that is broken is DuckDB's to stumble over, or not.
        with suppress(Exception):
            import_module(name)


def _start_again() -> None:
    """Forget in a forked child what belongs to the parent, without closing it."""
    global _process  # noqa: PLW0603 - a fork changes the whole process
    _inherited.append(_process)
    _process = _Process()


#: Kept alive: closing a connection of the parent in the child would touch its file.
_inherited: list[_Process] = []
os.register_at_fork(after_in_child=_start_again)


# --- sessions ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Session:
    """A short hold on the database, for library SQL.

    Attributes:
        connection: The DuckDB connection.
        catalog: The name under which the database is attached.
        path: The file.
    """

    connection: duckdb.DuckDBPyConnection
    catalog: str
    path: Path

    def table(self, name: str) -> str:
        """Return the full SQL name of a table of the store."""
        return f"{quote(self.catalog)}.main.{quote(name)}"

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement whose result does not matter."""
        self.connection.execute(sql, list(parameters)).fetchall()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query as plain tuples."""
        return self.connection.execute(sql, list(parameters)).fetchall()

    def arrow(self, sql: str, parameters: Sequence[Any] | None = None) -> pa.Table:
        """Return the result of a query as an Arrow table."""
        return to_arrow(self.connection, sql, parameters)

    def copy(self, query: str, target: Path) -> None:
        """Write the result of a query as a Parquet file.

        Raises:
            OSError: It can not be written there.
        """
        import duckdb

        try:
            self.execute(f"COPY ({query}) TO {_text(target)} (FORMAT parquet)")
        except duckdb.Error as problem:
            raise OSError(str(problem).partition("\n")[0]) from problem

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does, or none of it."""
        self.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def flush(self) -> None:
        """Move what was committed into the file itself, unless somebody is at work in it."""
        import duckdb

        try:
            self.execute(f"CHECKPOINT {quote(self.catalog)}")
        except duckdb.Error:
            # Somebody is at work in it, the disk is full, or the interpreter ends. It is
            # committed all the same; to raise would tell the caller to do again what is done.
            return

    @contextmanager
    def view(self, table: pa.Table | pa.RecordBatchReader) -> Iterator[str]:
        """Let SQL see an Arrow table, or read a stream once, under the name that is yielded."""
        name = f"usher_frame_{next(_numbers)}"
        self.connection.register(name, table)
        try:
            yield quote(name)
        finally:
            # In a transaction that failed nothing goes any more, and its error says why.
            with suppress(*errors()):
                self.connection.unregister(name)


def errors() -> tuple[type[Exception], ...]:
    """Return what DuckDB raises; this loads it."""
    import duckdb

    return (duckdb.Error,)


def passing_errors() -> tuple[type[Exception], ...]:
    """Return what DuckDB raises for what may be otherwise soon: a full disk, an interrupt."""
    import duckdb

    return duckdb.OperationalError, duckdb.InterruptException


def lack_of_memory() -> tuple[type[Exception], ...]:
    """Return what DuckDB raises when it may not use as much memory as it needs."""
    import duckdb

    return (duckdb.OutOfMemoryException,)


@contextmanager
def session(
    path: Path,
    *,
    timeout_s: float,
    read_only: bool = False,
    reach: Sequence[Path] = (),
    lean: bool = False,
) -> Iterator[Session]:
    """Hold the database for the length of the block.

    Args:
        path: The database file, resolved; created if it is not there.
        timeout_s: How long to wait for others to let go, in seconds.
        read_only: Attach without the right to write.
        reach: Other folders that the SQL may read and write.
        lean: Let DuckDB use little memory, unless this process holds the file already.

    Raises:
        StoreBusyError: Others held the file for longer.
        DamagedDatabaseError: A block of it is damaged.
        StoreError: The file is no DuckDB database or can not be opened.
    """
    # Ctrl-C ends the statement that is run, and is raised when all is as it was: a file that
    # stayed attached would be kept from everybody for as long as this process lives.
    with held_back(partial(interrupt, path)):
        yield from _watched_session(path, timeout_s, reach, read_only=read_only, lean=lean)


def _watched_session(
    path: Path, timeout_s: float, reach: Sequence[Path], *, read_only: bool, lean: bool
) -> Iterator[Session]:
    try:
        with _session(path, timeout_s, reach, read_only=read_only, lean=lean) as found:
            yield found
    except errors() as problem:
        text = str(problem)
        is_damage = any(words in text for words in _DAMAGE)
        if is_damage or _INVALID in text:
            _process.drop_instances()
        if is_damage:
            raise DamagedDatabaseError(path, text.partition("\n")[0]) from problem
        raise


@contextmanager
def _session(
    path: Path, timeout_s: float, reach: Sequence[Path], *, read_only: bool, lean: bool
) -> Iterator[Session]:
    file = _process.file(path)
    with _locked(file, path, timeout_s), ExitStack() as stack:
        if _held(file, path, timeout_s):
            cursor = file.native.cursor()
            stack.callback(cursor.close)
            stack.enter_context(_at_work(file, cursor))
            yield Session(cursor, file.catalog, path)
            return
        home, others = str(path.parent), {str(folder) for folder in reach}
        if others <= {home}:
            cursor = _process.cursor(home, lean=lean)
        else:
            # Kept, one for each folder would pile up with all its threads.
            instance = _instance({home, *others})
            stack.callback(instance.close)
            cursor = instance.cursor()
        stack.callback(cursor.close)
        name = f"usher_store_{next(_numbers)}"
        options = ["READ_ONLY"] if read_only else []
        is_new = not path.exists()
        if is_new:
            # An older file keeps its version, and a newer one can not be lowered.
            options.append(f"STORAGE_VERSION {_text(_STORAGE_VERSION)}")
        listed = f" ({', '.join(options)})" if options else ""
        statement = f"ATTACH {_text(path)} AS {quote(name)}{listed}"
        _wait(path, lambda: cursor.execute(statement).fetchall(), timeout_s)
        if is_new:
            _keep_private(path)
        try:
            with _at_work(file, cursor):
                yield Session(cursor, name, path)
        finally:
            try:
                cursor.execute(f"DETACH {quote(name)}").fetchall()
            except errors():
                # On a full disk the log can not be moved into the file, where it is as safe.
                # The instance is of no use any more, and would keep the file from others.
                _process.drop_instances()


@contextmanager
def in_memory(folder: Path) -> Iterator[Session]:
    """Yield a session on no database at all, for SQL on frames.

    Args:
        folder: The folder of a store, whose instance is used; nothing of it is read.
    """
    cursor = _process.cursor(str(folder))
    try:
        yield Session(cursor, "memory", folder)
    finally:
        cursor.close()


@contextmanager
def _locked(file: _File, path: Path, timeout_s: float) -> Iterator[None]:
    """Be the only one of this process at work in a file."""
    started = time.monotonic()
    while not file.lock.acquire(timeout=min(timeout_s, _LONGEST_WAIT_S)):
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            raise StoreBusyError(path, "another thread of this process", waited_s)
        check()
    try:
        yield
    finally:
        file.lock.release()


@contextmanager
def _at_work(file: _File, cursor: Any) -> Iterator[None]:
    before, file.cursor = file.cursor, cursor
    try:
        # What was pressed while the file was opened found no statement to end.
        check()
        yield
    finally:
        file.cursor = before


def interrupt(path: Path) -> None:
    """Have the statement that a session of this process runs, if any, fail and rolled back."""
    cursor = _process.file(path).cursor
    if cursor is not None:
        # It may be closed by now, since the statement has ended.
        with suppress(*errors()):
            cursor.interrupt()


@contextmanager
def alone(path: Path, *, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Keep the rest of this process from a database, and yield a connection to work on it.

    The connection is to an instance of its own, to which nothing is attached yet.

    Args:
        path: The database file, resolved.
        timeout_s: How long to wait for native connections to be released, in seconds.

    Raises:
        StoreBusyError: This process holds a native connection for longer.
    """
    file = _process.file(path)
    started = time.monotonic()
    while True:
        with _locked(file, path, timeout_s):
            if not _held(file, path, timeout_s):
                instance = _instance({str(path.parent)})
                try:
                    with held_back(instance.interrupt):
                        yield instance
                finally:
                    instance.close()
                return
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            raise StoreBusyError(path, "a connection of this process", waited_s)
        time.sleep(_FIRST_WAIT_S)


def attach(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    name: str,
    option: str,
    *,
    timeout_s: float = 0.0,
) -> None:
    """Attach a database under a name.

    Args:
        connection: The connection.
        path: The database file; created if it is not there.
        name: The name.
        option: Such as ``READ_ONLY``; empty for none.
        timeout_s: How long to wait for others to let go, in seconds.

    Raises:
        StoreBusyError: Others held the file for longer.
        StoreError: The file is no DuckDB database or can not be opened.
    """
    options = f" ({option})" if option else ""
    statement = f"ATTACH {_text(path)} AS {quote(name)}{options}"
    _wait(path, lambda: connection.execute(statement).fetchall(), timeout_s)


def storage_option(version: str = "") -> str:
    """Return the option that makes a new file one of a version; of our own unless given.

    >>> storage_option("v1.0.0+ (in the words of DuckDB)"), storage_option()
    ("STORAGE_VERSION 'v1.0.0'", "STORAGE_VERSION 'v1.5.0'")
    """
    found = _VERSION.search(version)
    return f"STORAGE_VERSION {_text(found[0] if found else _STORAGE_VERSION)}"


_VERSION: Final = re.compile(r"v\d+\.\d+\.\d+")


def users(path: Path) -> int:
    """Return how many holders a native connection of this process has."""
    return _process.file(path).users


def native(path: Path, *, timeout_s: float) -> duckdb.DuckDBPyConnection:
    """Return a native connection that holds the file until `release`.

    A file that can only be read is opened for reading.

    Args:
        path: The database file, resolved.
        timeout_s: How long to wait for others to let go, in seconds.

    Raises:
        StoreBusyError: Others held the file for longer.
        StoreError: The file is no DuckDB database or can not be opened.
    """
    file = _process.file(path)
    with held_back(), _locked(file, path, timeout_s):
        if not _held(file, path, timeout_s):
            _open(file, path, timeout_s)
        file.users += 1
        connection: duckdb.DuckDBPyConnection = file.native
        return connection


def _open(file: _File, path: Path, timeout_s: float) -> None:
    import duckdb

    config: dict[str, Any] = {}
    is_new = not path.exists()
    if is_new:
        config["storage_compatibility_version"] = _STORAGE_VERSION
    read_only = not writable(path)
    file.native = _wait(path, lambda: duckdb.connect(str(path), read_only, config), timeout_s)
    if is_new:
        _keep_private(path)
    (file.catalog,) = file.native.execute("SELECT current_database()").fetchall()[0]


def _keep_private(path: Path) -> None:
    """Let a database that was just made be one for its owner alone, as all of a store is."""
    with suppress(OSError):
        path.chmod(0o600)


def _held(file: _File, path: Path, timeout_s: float) -> bool:
    """Tell whether this process holds a file; what a user closed meanwhile is opened again."""
    if file.native is not None and not is_open(file.native):
        file.native = None
        if file.users:
            _open(file, path, timeout_s)
    return file.native is not None


def is_open(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether a connection can be worked with still; anybody may have closed it."""
    import duckdb

    try:
        connection.cursor().close()
    except duckdb.ConnectionException:
        return False
    return True


def writable(path: Path) -> bool:
    """Tell whether a database can be written: the file, and a log in its folder.

    One that is not there is for DuckDB to create, and to complain about.
    """
    return not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def release(path: Path) -> None:
    """Give back one hold that `native` gave; the last one closes the connection."""
    file = _process.file(path)
    with held_back(), file.lock:
        file.users = max(0, file.users - 1)
        if file.users == 0 and file.native is not None:
            file.native.close()
            file.native = None


def _wait(path: Path, attempt: Any, timeout_s: float) -> Any:
    """Call until the file is free; anything but a busy file is an error at once."""
    import duckdb

    started = time.monotonic()
    pause_s = _FIRST_WAIT_S
    while True:
        try:
            return attempt()
        except duckdb.Error as problem:
            text = str(problem)
            waited_s = time.monotonic() - started
            if any(words in text for words in _DAMAGE):
                raise DamagedDatabaseError(path, text.partition("\n")[0]) from problem
            if not any(words in text for words in (*_BUSY, _BUSY_ELSEWHERE)):
                raise StoreError(path, *_explain(text)) from problem
            if waited_s >= timeout_s:
                raise StoreBusyError(path, _holder(text), waited_s) from problem
        check()
        time.sleep(min(pause_s, max(0.0, timeout_s - waited_s)) * random.uniform(0.5, 1.0))  # noqa: S311
        pause_s = min(pause_s * 1.6, _LONGEST_WAIT_S)


def _holder(text: str) -> str:
    found = _HOLDER.search(text)
    return found[1] if found else "another connection of this process"


def _explain(text: str) -> tuple[str, str]:
    first_line = text.partition("\n")[0]
    # An SQLite file, for which DuckDB would load an extension.
    is_of_others = "Loading external extensions is disabled" in text
    if is_of_others or "not a valid DuckDB database" in text:
        return (
            "the file is not a DuckDB database",
            "Nothing was written. Give the path of a DuckDB file, or one that does not exist.",
        )
    if "database file with version number" in text:
        import duckdb

        return (
            f"the file is of a newer DuckDB than {duckdb.__version__}: {first_line}",
            "Nothing was written. Use the newer DuckDB, or copy the tables with it.",
        )
    if "Is a directory" in text:
        return "it is a folder, not a file", "Nothing was written. Give the path of a file."
    return f"DuckDB can not open it: {first_line}", "Nothing was written."


def tables_read(connection: Any, query: str) -> frozenset[str] | None:
    """Return the names of the tables that a query reads; None if it can not be told.

    DuckDB names them for one statement without parameters, and not for PIVOT.

    Args:
        connection: Where the query would run.
        query: The query; its parameters may be anything.
    """
    import duckdb

    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            return None
        found: set[str] = connection.get_table_names(_without_parameters(query))
    except duckdb.Error:
        return None
    return frozenset(found)


#: Where SQL tells which tables there are.
_CATALOG: Final = re.compile(
    r"information_schema|duckdb_|pragma|sqlite_master|pg_|\bshow\b", re.IGNORECASE
)


def reads_catalog(query: str, names: Collection[str]) -> bool:
    """Tell whether a query may ask which tables there are.

    >>> reads_catalog("SHOW TABLES", []), reads_catalog("FROM genes", ["genes"])
    (True, False)
    """
    return not names or _CATALOG.search(query) is not None


#: Quoted text and names, comments, and what stands for a value in SQL.
_TOKEN: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|(?P<tag>\$\w*\$).*?(?P=tag)"""
    r"""|(?P<parameter>\?\d*|\$\w+)""",
    re.DOTALL,
)


def _without_parameters(query: str) -> str:
    """Return a query with NULL for each parameter.

    >>> _without_parameters("SELECT '?' FROM t WHERE a = ? AND b = $low -- ?")
    "SELECT '?' FROM t WHERE a = NULL AND b = NULL -- ?"
    """
    return _TOKEN.sub(lambda token: "NULL" if token["parameter"] else token[0], query)


def to_arrow(
    connection: Any, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
) -> pa.Table:
    """Return the result of a query as an Arrow table, on any version of DuckDB.

    A relation is asked, since the result of `execute` has no cheap way to Arrow in 2.0.
    Statements without a result give a table without columns. Columns of one name are
    numbered as in DuckDB's own frames, whose Arrow tables keep the name twice.
    """
    import pyarrow as pa

    if parameters is None:
        relation = connection.sql(sql)
    else:
        plain = parameters if isinstance(parameters, dict) else list(parameters)
        relation = connection.sql(sql, params=plain)
    if relation is None:
        return pa.table({})
    table = relation.to_arrow_table()
    return table.rename_columns(numbered(table.column_names))


def numbered(names: Sequence[str]) -> list[str]:
    """Return names of which no two differ in case alone, as DuckDB's ``.pl()`` numbers them.

    The rule is that of ``QueryResult::DeduplicateColumns`` in DuckDB's source.

    >>> numbered(["gene", "x", "gene", "gene_1"])
    ['gene', 'x', 'gene_1', 'gene_1_1']
    """
    used: dict[str, int] = {}
    found = []
    for name in names:
        new, place = name, folded(name)
        while folded(new) in used:
            new = f"{name}_{used[place]}"
            used[place] += folded(new) in used
        used[folded(new)] = 1
        found.append(new)
    return found
