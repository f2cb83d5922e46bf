"""Giving back the space that a database file no longer needs.

DuckDB uses freed blocks again and never shrinks a file. So the database is copied, and the
copy takes its place. DuckDB copies only from a database that it could write, but to let go
of such a one after the swap would touch the log of the new one. So it is let go of, and
held for reading alone while the files are swapped; if the file changed in between, all is
done again.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.display import size
from usher_pipeline.errors import StoreBusyError, StoreError
from usher_pipeline.persistence import engine
from usher_pipeline.persistence.locking import hold
from usher_pipeline.persistence.places import folder_of
from usher_pipeline.persistence.spools import sync
from usher_pipeline.persistence.sweeping import copy_name
from usher_pipeline.persistence.usage import database_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

__all__ = ["Compacted", "compact", "is_worth_it"]

_LEAST_BYTES: Final = 1_000_000
_LEAST_PART: Final = 0.1

#: How often it is tried when others write in between.
_ATTEMPTS: Final = 3
#: A file that was written longer ago than this has another time when it is written again.
_TICK_S: Final = 0.05
#: How long a process may take from opening a file to locking it.
_GRACE_S: Final = 0.2

_COPY: Final = "usher_copy"
#: Names that DuckDB keeps for itself.
_RESERVED: Final = frozenset(("memory", "system", "temp", _COPY))


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compacting a database won.

    Attributes:
        path: The database.
        before_bytes: Its size before.
        after_bytes: Its size now.
        copy_bytes: The size of the copy.
        is_swapped: Whether the copy took the place of the file; else it would have won too
            little.
    """

    path: Path
    before_bytes: int
    after_bytes: int
    copy_bytes: int
    is_swapped: bool = False

    @property
    def won_bytes(self) -> int:
        """How much less the file takes now."""
        return self.before_bytes - self.after_bytes

    def __str__(self) -> str:
        """Return it in one line."""
        if not self.is_swapped:
            rest = f"a copy of its {size(self.before_bytes)} would take {size(self.copy_bytes)}"
            return f"{self.path.name} · left as it is, {rest}"
        sizes = f"{size(self.before_bytes)} → {size(self.after_bytes)}"
        return f"{self.path.name} · {sizes}, won {size(self.won_bytes)}"


def is_worth_it(before_bytes: int, after_bytes: int) -> bool:
    """Tell whether a copy is enough smaller to take the place of a file.

    >>> is_worth_it(50_000_000, 44_000_000), is_worth_it(50_000_000, 46_000_000)
    (True, False)
    """
    return before_bytes - after_bytes >= max(_LEAST_BYTES, _LEAST_PART * before_bytes)


def compact(path: Path, *, timeout_s: float) -> Compacted:
    """Copy a database into a smaller file, and put that in its place.

    A process that is killed at any moment leaves the one or the other, whole.

    Args:
        path: The database, resolved.
        timeout_s: How long to wait for others to let go of it, in seconds.

    Raises:
        StoreBusyError: Others held the database for longer, or wrote again and again.
        StoreError: It can not be copied in full, or can only be read; nothing was changed.
    """
    if not path.exists():
        return Compacted(path, 0, 0, 0)
    if not engine.writable(path):
        problem = "it can only be read; the file or its folder is protected"
        raise StoreError(path, problem, "Nothing was changed. Make both writable.")
    started = monotonic()
    before_bytes = database_size(path)
    with engine.alone(path, timeout_s=timeout_s) as connection:
        for _ in range(_ATTEMPTS):
            found = _attempt(connection, path, before_bytes, timeout_s)
            if found is not None:
                return found
    raise StoreBusyError(path, "others, who write again and again", monotonic() - started)


def _attempt(
    connection: duckdb.DuckDBPyConnection, path: Path, before_bytes: int, timeout_s: float
) -> Compacted | None:
    """Copy and swap; return None if somebody wrote in between."""
    copy = path.with_name(copy_name(folder_of(path).name.removesuffix(".checkpoints")))
    try:
        state = _copied(connection, path, copy, timeout_s)
        copy_bytes = copy.stat().st_size
        if not is_worth_it(before_bytes, copy_bytes):
            return Compacted(path, before_bytes, database_size(path), copy_bytes)
        if not _swapped(connection, path, copy, state, timeout_s):
            return None
    except OSError as problem:
        raise _refused(path, str(problem)) from problem
    finally:
        for left in (copy, copy.with_name(f"{copy.name}.wal")):
            left.unlink(missing_ok=True)
    return Compacted(path, before_bytes, copy_bytes, copy_bytes, is_swapped=True)


# --- copying ----------------------------------------------------------------------------


def _copied(
    connection: duckdb.DuckDBPyConnection, path: Path, copy: Path, timeout_s: float
) -> Any:
    """Copy a database; return the state of its file, by which a change of it is seen."""
    # Under the name that it has in native connections, which views may bear.
    name = path.stem if path.stem.casefold() not in _RESERVED else "usher_store"
    with _attached(connection, path, name, "", timeout_s):
        try:
            _run(connection, f"CHECKPOINT {engine.quote(name)}")
            with _attached(connection, copy, _COPY, _version(connection, name)), _held(copy):
                source, target = engine.quote(name), engine.quote(_COPY)
                _run(connection, f"COPY FROM DATABASE {source} TO {target}")
                _run(connection, f"CHECKPOINT {target}")
                _compare(connection, path, name)
        except engine.errors() as problem:
            raise _refused(path, str(problem).partition("\n")[0]) from problem
        sleep(_TICK_S)
        return _state(path)


def _version(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the option that makes a file of the version of another one."""
    sql = "SELECT tags FROM duckdb_databases() WHERE database_name = ?"
    ((tags,),) = connection.execute(sql, [name]).fetchall()
    return engine.storage_option((tags or {}).get("storage_version", ""))


#: What a database can hold: where DuckDB lists it, and all that it says of it.
_CATALOG: Final = {
    "duckdb_schemas": "schema_name, comment, tags",
    "duckdb_tables": "schema_name, table_name, sql, comment, tags",
    "duckdb_columns": "schema_name, table_name, column_index, column_name, comment, "
    "column_default, is_nullable, data_type",
    "duckdb_constraints": "schema_name, table_name, constraint_type, constraint_text",
    "duckdb_indexes": "schema_name, index_name, table_name, sql, comment, tags",
    "duckdb_views": "schema_name, view_name, sql, comment, tags",
    "duckdb_sequences": "schema_name, sequence_name, sql, last_value, comment, tags",
    "duckdb_types": "schema_name, type_name, logical_type, labels, comment, tags",
    "duckdb_functions": "schema_name, function_name, function_type, parameters, "
    "macro_definition, comment, tags",
}
#: Lists of what a user made alone, or with what DuckDB itself has left out.
_HAS_INTERNAL: Final = frozenset(
    ("duckdb_schemas", "duckdb_tables", "duckdb_columns", "duckdb_views", "duckdb_types")
) | {"duckdb_functions"}


def _compare(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> None:
    """Refuse a copy that has not all that the database has.

    Raises:
        StoreError: Something is missing or other.
    """
    for listing, columns in _CATALOG.items():
        ours = _listed(connection, listing, columns, name)
        theirs = _listed(connection, listing, columns, _COPY)
        if ours != theirs:
            lost = min(set(ours) ^ set(theirs))
            raise _refused(path, f"its copy differs in {listing}: {lost}")
    sql = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?"
    for schema, table in connection.execute(sql, [name]).fetchall():
        target = f"{engine.quote(schema)}.{engine.quote(table)}"
        counts = {
            _count(connection, f"{engine.quote(each)}.{target}") for each in (name, _COPY)
        }
        if len(counts) > 1:
            raise _refused(path, f"its copy has another number of rows in {target}")


def _listed(
    connection: duckdb.DuckDBPyConnection, listing: str, columns: str, name: str
) -> list[str]:
    own = " AND NOT internal" if listing in _HAS_INTERNAL else ""
    sql = f"SELECT {columns} FROM {listing}() WHERE database_name = ?{own}"
    return sorted(map(str, connection.execute(sql, [name]).fetchall()))


def _count(connection: duckdb.DuckDBPyConnection, target: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) FROM {target}").fetchall()
    return int(count)


# --- swapping ---------------------------------------------------------------------------


def _swapped(
    connection: duckdb.DuckDBPyConnection, path: Path, copy: Path, state: Any, timeout_s: float
) -> bool:
    """Put a copy in the place of a database, unless that is another one by now."""
    with _attached(connection, path, "usher_old", "READ_ONLY", timeout_s):
        # From here on nobody can write it.
        if _state(path) != state or path.with_name(f"{path.name}.wal").exists():
            return False
        facts = path.stat()
        copy.chmod(stat.S_IMODE(facts.st_mode))
        with suppress(OSError):
            os.chown(copy, facts.st_uid, facts.st_gid)
        sync(copy)
        copy.replace(path)
        sync(path.parent)
        # Who opened the old file and did not lock it yet must find it locked.
        sleep(_GRACE_S)
    return True


def _state(path: Path) -> Any:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


# --- statements -------------------------------------------------------------------------


@contextmanager
def _attached(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    name: str,
    option: str,
    timeout_s: float = 0.0,
) -> Iterator[None]:
    engine.attach(connection, path, name, option, timeout_s=timeout_s)
    try:
        yield
    finally:
        _run(connection, f"DETACH {engine.quote(name)}")


@contextmanager
def _held(copy: Path) -> Iterator[None]:
    """Keep a copy from being swept while it is made."""
    number = os.open(copy, os.O_RDONLY)
    try:
        hold(number)
        yield
    finally:
        os.close(number)


def _run(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    connection.execute(sql).fetchall()


def _refused(path: Path, problem: str) -> StoreError:
    return StoreError(
        path,
        f"it can not be compacted: {problem}",
        "Nothing was changed. It works on as it is; drop what stands in the way, or make room "
        "on the disk, and call compact() again.",
    )
