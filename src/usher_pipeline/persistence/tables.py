"""The half of a store that is a DuckDB database: a plain table for each plain name.

A table, its row in `_checkpoints` and its provenance commit together. The row holds the
entry and the exact schema, so that the database alone can answer a call.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

from xxhash import xxh3_128

from usher_pipeline.errors import (
    NameClashError,
    SchemaMismatchError,
    StoreBusyError,
    StoreError,
    UnknownTableError,
)
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.fingerprint.frames import column_digest, column_digests
from usher_pipeline.frames import adapter_of_kind, row_index, table_schema
from usher_pipeline.frames.views import size_bytes
from usher_pipeline.persistence import engine, migrations
from usher_pipeline.persistence.appending import exact, fitted
from usher_pipeline.persistence.entries import schema_from_text, schema_text
from usher_pipeline.persistence.migrations import CHECKPOINTS, PROVENANCE
from usher_pipeline.records import Entry, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.engine import Session

__all__ = ["Row", "Stored", "Tables"]


#: A larger frame goes into its table piece by piece, so that it need not fit into memory.
_AT_ONCE_BYTES: Final = 1 << 27
#: By how much the clocks of two machines, or of one before and after it was set, may differ:
#: what is meant for later than that was meant by a clock that was wrong.
_CLOCKS: Final = timedelta(minutes=5)

#: Keeps a result that only a table holds: takes its row, and what reads the table.
Keep: TypeAlias = "Callable[[Row, Callable[[], Stored]], None]"
#: Hears how the database was left: its path, and what is in it, if that is known.
Left: TypeAlias = "Callable[[Path, list[tuple[str, str, int]] | None], None]"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `_checkpoints`.

    Attributes:
        table_name: The table.
        created_at: When its data was made (UTC).
        row_count: How many rows the table has.
        description: A sentence for people.
        key: The digest of the key that it answers; empty for a table that was saved by hand.
        content: The digest of the frame.
        meant_at: When it was last meant by its name (UTC).
        frame: Kind and exact schema of the frame, as plain data.
        entry: The entry that it mirrors, as plain data.
        changes: How often other content came in; it tells of a change and a change back.
    """

    table_name: str
    created_at: datetime
    row_count: int
    description: str = ""
    key: str = ""
    content: str = ""
    meant_at: datetime = field(default_factory=utc_now)
    frame: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)
    changes: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A table as it was read.

    Attributes:
        table: Its columns under their names in SQL.
        row: Its row of `_checkpoints`, if it has one.
    """

    table: pa.Table
    row: Row | None

    def version(self) -> str:
        """Return a digest of what the table holds: that of the frame it was made from.

        Where somebody else made or changed the table, it is one of names, types and values.
        """
        found = restore(self)
        if found is not None and self.row is not None:
            digests = column_digests(found[2])
            if combine(found[0], found[1], digests) == self.row.content:
                return self.row.content
        return _plain_digest(self.table)


def _plain_digest(table: pa.Table) -> str:
    """Return a digest of a table as SQL has it, whatever zone the connection shows."""
    import pyarrow as pa

    hasher = xxh3_128(b"usher table")
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        is_zoned = pa.types.is_timestamp(kind) and kind.tz is not None
        plain = column.cast(pa.timestamp(kind.unit, "UTC")) if is_zoned else column
        for text in (name, column_digest(plain)):
            hasher.update(f"{len(text)}:{text},".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()


def listing_digest(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return a digest of which tables there are and when each was saved."""
    known = [[r.table_name, r.created_at.isoformat(), r.row_count, r.description] for r in rows]
    return xxh3_128(json.dumps([sorted(known), sorted(names)]).encode()).hexdigest()


def frame_facts(packed: Packed, passed: Callable[[], None] | None = None) -> dict[str, Any]:
    """Return what is needed to restore a packed frame from a table, as plain data.

    Args:
        packed: The frame.
        passed: Called on the way, when what was read so far is not needed any more.
    """
    return {
        "kind": packed.kind,
        "schema": dict(packed.schema),
        "arrow_schema": schema_text(packed.table.schema),
        "nans": table_schema.unusual_nans(packed.table, passed),
    }


class Tables:
    """The tables of one database file.

    Args:
        path: The database file, resolved.
        timeout_s: How long to wait for others to let go of it, in seconds.
        keep: Called before a table that holds a result is replaced by something else: with
            its row, and with what reads it. What it raises saves the table.
        left: Called whenever the database was written to and is closed again: with the path,
            and with name, time and number of rows of each table that was saved in it.
    """

    def __init__(
        self,
        path: Path,
        timeout_s: float,
        keep: Keep | None = None,
        left: Left | None = None,
    ) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._keep = keep
        self._left = left

    def exists(self) -> bool:
        """Tell whether the database is there."""
        return self.path.exists()

    @contextmanager
    def reading(self, timeout_s: float | None = None) -> Iterator[Session]:
        """Hold the database for reading; the file has to be there."""
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        read_only = not engine.writable(self.path)
        with engine.session(self.path, timeout_s=wait_s, read_only=read_only) as session:
            yield session

    @contextmanager
    def writing(
        self, timeout_s: float | None = None, *, lean: bool = False
    ) -> Iterator[Session]:
        """Hold the database for one transaction; what the block does is committed together.

        Afterwards everything is in the file itself, and not in a log beside it, unless the
        native connection of this process has a transaction or a result open.

        Args:
            timeout_s: How long to wait for others, in seconds; as the store says unless given.
            lean: Let DuckDB use little memory.

        Raises:
            StoreBusyError: Others held the database for longer than we may wait.
            StoreError: The file can only be read, or its folder can not be made.
        """
        if not engine.writable(self.path):
            raise StoreError(
                self.path,
                "it can only be read; the file or its folder is protected",
                "Nothing was written. Make both writable, or work on a copy.",
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as trouble:
            problem = f"its folder can not be made: {trouble}"
            cure = "Nothing was written. Give a path where you can write."
            raise StoreError(self.path, problem, cure) from trouble
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        with engine.session(self.path, timeout_s=wait_s, lean=lean) as session:
            with session.transaction():
                migrations.migrate(session)
                yield session
            session.flush()
            named = self._named(session) if self._left is not None else None
        if self._left is not None:
            self._left(self.path, named)

    @staticmethod
    def _named(session: Session) -> list[tuple[str, str, int]] | None:
        """Return the rows of `_checkpoints` in short: name, time, rows; None if that fails."""
        sql = f"SELECT table_name, created_at, row_count FROM {session.table(CHECKPOINTS)}"
        try:
            found = session.rows(sql)
        except engine.errors():
            # What was asked for is committed; only a hint is missing.
            return None
        return [(name, _aware(at).isoformat(), count) for name, at, count in found]

    # --- reading ---

    def rows(self, name: str | None = None, timeout_s: float | None = None) -> list[Row]:
        """Return the rows of `_checkpoints`, newest first; or that of one table."""
        if not self.exists():
            return []
        with self.reading(timeout_s) as session:
            return _rows(session, name)

    def has(self, name: str) -> bool:
        """Tell whether `_checkpoints` has a row of a name."""
        if not self.exists():
            return False
        with self.reading() as session:
            if not migrations.has_own(session, CHECKPOINTS):
                return False
            sql = f"SELECT 1 FROM {session.table(CHECKPOINTS)} WHERE table_name = ?"
            return bool(session.rows(sql, [name]))

    def names(self, timeout_s: float | None = None) -> list[str]:
        """Return the names of all tables that hold data."""
        if not self.exists():
            return []
        with self.reading(timeout_s) as session:
            found = session.rows(
                "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? "
                "AND table_schema = 'main' ORDER BY ALL",
                [session.catalog],
            )
        return [name for (name,) in found if name not in (CHECKPOINTS, PROVENANCE)]

    def fetch(self, name: str, timeout_s: float | None = None) -> Stored | None:
        """Return a table with its row, or None when there is no such table."""
        if not self.exists():
            return None
        with self.reading(timeout_s) as session:
            known = migrations.spelled(session, name)
            if known is None:
                return None
            rows = _rows(session, known)
            table = session.arrow(f"SELECT * FROM {session.table(known)}")
        return Stored(table, rows[0] if rows else None)

    @contextmanager
    def holding(self, name: str, *, timeout_s: float) -> Iterator[Stored | None]:
        """Yield a table with its row, and let nobody change it during the block.

        Args:
            name: The table.
            timeout_s: How long to wait for the database, in seconds.

        Raises:
            StoreBusyError: Others held it for longer, or this process has a connection on
                it by which it could be changed.
        """
        if engine.users(self.path):
            raise StoreBusyError(self.path, "a connection of this process", 0.0)
        with self.reading(timeout_s) as session:
            rows = _rows(session, name)
            has_table = migrations.spelled(session, name) == name
            sql = f"SELECT * FROM {session.table(name)}"
            yield Stored(session.arrow(sql), rows[0] if rows else None) if has_table else None

    def outline(self, name: str) -> tuple[int, dict[str, str]] | None:
        """Return how many rows a table has and its columns with their types; None if none."""
        if not self.exists():
            return None
        with self.reading() as session:
            if not migrations.has_table(session, name):
                return None
            target = session.table(name)
            ((count,),) = session.rows(f"SELECT count(*) FROM {target}")
            return count, _described(session, target)

    def refuse_clash(self, name: str) -> None:
        """Raise what publishing a result under a name would raise, without waiting.

        Raises:
            NameClashError: A table that is no checkpoint, or another spelling, has the name.
            StoreBusyError: Others hold the database right now.
            StoreError: The file is no DuckDB database.
        """
        with self.reading(0.0) as session:
            _refuse_clash(session, Row(name, utc_now(), 0, key="some"))

    # --- writing ---

    def replace(
        self,
        row: Row,
        packed: Packed,
        provenance: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        passed: Callable[[], None] | None = None,
    ) -> bool:
        """Make a frame the table of its name, unless something newer already is.

        Args:
            row: The row for `_checkpoints`.
            packed: The frame.
            provenance: Columns of a row for `_provenance`; empty for none.
            timeout_s: How long to wait for the database, in seconds.
            passed: Called on the way, when what was read so far is not needed any more.

        Returns:
            Whether the table is now this frame.

        Raises:
            NameClashError: Another table differs only in case, or the row is that of a
                result and the table was saved by hand.
            StoreBusyError: Others held the database for longer than we may wait.
        """
        is_large = size_bytes(packed.table) > _AT_ONCE_BYTES
        try:
            return self._replace(row, packed, provenance, timeout_s, passed, lean=is_large)
        except engine.lack_of_memory():
            if not is_large:
                raise
            # A row may be so wide that some thousands of them take more.
            return self._replace(row, packed, provenance, timeout_s, passed, lean=False)

    def _replace(  # noqa: PLR0913 - what `replace` takes
        self,
        row: Row,
        packed: Packed,
        provenance: Mapping[str, Any],
        timeout_s: float | None,
        passed: Callable[[], None] | None,
        *,
        lean: bool,
    ) -> bool:
        names = packed.schema["sql_names"]
        pieces = table_schema.pieces(packed.table, passed, _AT_ONCE_BYTES)
        # Others wait for the database meanwhile: all that can be done before, is.
        first = table_schema.to_sql(next(pieces), names)
        with self.writing(timeout_s, lean=lean) as session:
            _refuse_clash(session, row)
            known = _rows(session, row.table_name)
            if known and row.key and row.meant_at < known[0].meant_at < utc_now() + _CLOCKS:
                return False
            self._keep_other(session, known, row)
            _create(session, row, first)
            del first
            for piece in pieces:
                _add(session, row.table_name, table_schema.to_sql(piece, names))
            if provenance:
                insert(session, PROVENANCE, provenance)
        return True

    def append(self, row: Row, packed: Packed) -> None:
        """Add the rows of a frame to a table; columns are matched by name.

        Whether the table is there is asked in the transaction that writes: of two callers
        who are the first, the second one appends.

        Args:
            row: The row for `_checkpoints` if there is no such table yet.
            packed: The frame.

        Raises:
            NameClashError: Another table differs only in case.
            SchemaMismatchError: A column is missing, too many, or of another type.
        """
        name = row.table_name
        with self.writing() as session:
            _refuse_clash(session, row)
            if not migrations.has_table(session, name):
                names = packed.schema["sql_names"]
                _create(session, row, table_schema.to_sql(packed.table, names))
                return
            target = session.table(name)
            rows = _rows(session, name)
            self._keep_other(session, rows, row)
            known = rows[0].frame if rows else {}
            new = fitted(known, packed, _described(session, target))
            for column in new.dropped:
                session.execute(f"ALTER TABLE {target} DROP COLUMN {engine.quote(column)}")
            with session.view(new.table) as view:
                got = _described(session, view)
                casts = _casts(name, _described(session, target), got, new.empty)
            new = exact(name, new, packed)
            with session.view(new.table) as view:
                session.execute(f"INSERT INTO {target} BY NAME SELECT {casts} FROM {view}")
            ((count,),) = session.rows(f"SELECT count(*) FROM {target}")
            text = row.description or (rows[0].description if rows else "")
            _put(session, Row(name, utc_now(), count, text, frame=new.frame_of(count)))

    def _keep_other(self, session: Session, known: list[Row], row: Row) -> None:
        """Have a result kept that a table holds which is about to hold another one."""
        keep = self._keep
        if keep is not None and known and known[0].key and known[0].content != row.content:
            sql = f"SELECT * FROM {session.table(row.table_name)}"
            keep(known[0], lambda: Stored(session.arrow(sql), known[0]))

    @contextmanager
    def removing(self, name: str, key: str = "") -> Iterator[bool]:
        """Drop a table and its row, together with what the block removes.

        The database is held meanwhile, so nobody publishes what is about to go. When it can
        not be had, the block does not begin; when the block fails, the table stays.

        Args:
            name: The table; what is not there is no error, and one that differs in case is
                another and stays.
            key: Drop it only if it holds the result under this key.

        Yields:
            Whether it is dropped.

        Raises:
            StoreBusyError: Others held the database for longer than we may wait.
        """
        if not self.exists():
            yield False
            return
        with self.writing() as session:
            dropped = not key or any(row.key == key for row in _rows(session, name))
            if dropped:
                _drop_view(session, name)
                if migrations.spelled(session, name) == name:
                    session.execute(f"DROP TABLE {session.table(name)}")
                sql = f"DELETE FROM {session.table(CHECKPOINTS)} WHERE table_name = ?"
                session.execute(sql, [name])
            yield dropped

    def set_aside(self, row: Row) -> str | None:
        """Give a table another name, and drop its row; nothing that it holds is lost.

        Args:
            row: Its row, as it was found.

        Returns:
            The new name; empty if there was no table, and None if the row is another one by
            now, so that the table was left alone.

        Raises:
            StoreBusyError: Others held the database for longer than we may wait.
            StoreError: The file can only be read.
        """
        with self.writing() as session:
            known = _rows(session, row.table_name)
            if not known or known[0].changes != row.changes:
                return None
            sql = f"DELETE FROM {session.table(CHECKPOINTS)} WHERE table_name = ?"
            session.execute(sql, [row.table_name])
            return _renamed(session, row.table_name)

    def insert_provenance(
        self, columns: Mapping[str, Any], *, timeout_s: float | None = None
    ) -> None:
        """Add a row to `_provenance`."""
        with self.writing(timeout_s) as session:
            insert(session, PROVENANCE, columns)

    def copy_out(self, name: str, target: Path) -> None:
        """Write a table as a Parquet file, with DuckDB's COPY.

        Raises:
            UnknownTableError: There is no such table.
            OSError: It can not be written there; nothing is left.
        """
        temporary = target.with_name(f".{uuid4().hex}.parquet")
        if self.exists():
            with engine.session(
                self.path,
                timeout_s=self.timeout_s,
                read_only=not engine.writable(self.path),
                reach=[target.parent],
            ) as session:
                if migrations.has_table(session, name):
                    source = f"SELECT {_shown(session, name)} FROM {session.table(name)}"
                    try:
                        session.copy(source, temporary)
                        temporary.replace(target)
                    finally:
                        temporary.unlink(missing_ok=True)
                    return
        raise UnknownTableError(self.path, name, self.names())


# --- restoring --------------------------------------------------------------------------


def restore(stored: Stored) -> tuple[str, Any, pa.Table] | None:
    """Return kind, schema and table of the frame that a table was made from.

    Returns:
        None when nothing is known of the frame, or when the table no longer fits it.
    """
    import pyarrow as pa

    facts = stored.row.frame if stored.row else {}
    try:
        table = table_schema.from_sql(stored.table, schema_from_text(facts["arrow_schema"]))
        table = table_schema.with_nans(table, facts.get("nans", {}))
        return facts["kind"], facts["schema"], table
    except (KeyError, ValueError, TypeError, pa.ArrowException):
        return None


def entry_of(row: Row | None) -> Entry | None:
    """Return the entry that a row mirrors, if it does."""
    try:
        return Entry.from_json(row.entry) if row and row.entry else None
    except ValueError:
        return None


def natural(kind: str, table: pa.Table) -> Any:
    """Return a table as a frame of a kind, with the types that Arrow suggests."""
    return adapter_of_kind(kind).from_plain(table)


# --- statements -------------------------------------------------------------------------


def _rows(session: Session, name: str | None) -> list[Row]:
    if not migrations.has_own(session, CHECKPOINTS):
        return []
    sql = f"SELECT * FROM {session.table(CHECKPOINTS)}"
    found = (
        session.arrow(sql)
        if name is None
        else session.arrow(f"{sql} WHERE table_name = ?", [name])
    )
    rows = [_row(data) for data in found.to_pylist()]
    return sorted(rows, key=lambda row: row.created_at, reverse=True)


def _row(data: Mapping[str, Any]) -> Row:
    created_at = _aware(data["created_at"])
    return Row(
        table_name=data["table_name"],
        created_at=created_at,
        row_count=data["row_count"] or 0,
        description=data["description"] or "",
        key=data.get("key") or "",
        content=data.get("content") or "",
        meant_at=_aware(data.get("meant_at")) if data.get("meant_at") else created_at,
        frame=_object(data.get("frame_json")),
        entry=_object(data.get("entry_json")),
        changes=data.get("changes") or 0,
    )


def _aware(moment: datetime | None) -> datetime:
    if moment is None:
        return datetime.min.replace(tzinfo=UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _object(text: str | None) -> dict[str, Any]:
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def naive_utc(moment: datetime) -> datetime:
    """Return a moment as a TIMESTAMP column holds it: in UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _shown(session: Session, name: str) -> str:
    """Return the columns of a table in SQL, without those of an index without a name."""
    rows = _rows(session, name)
    schema = rows[0].frame.get("schema", {}) if rows else {}
    hidden = {schema["sql_names"][position] for position in row_index.unnamed(schema)}
    shown = [each for each in _described(session, session.table(name)) if each not in hidden]
    return ", ".join(map(engine.quote, shown)) or "*"


def _create(session: Session, row: Row, table: pa.Table) -> None:
    """Make a table of Arrow data, in place of what had its name, together with its row."""
    with session.view(table) as view:
        _drop_view(session, row.table_name)
        target = session.table(row.table_name)
        session.execute(f"CREATE OR REPLACE TABLE {target} AS SELECT * FROM {view}")
    _put(session, row)


def _add(session: Session, name: str, table: pa.Table) -> None:
    """Add Arrow data to a table that was made of data with the same columns."""
    import pyarrow as pa

    # DuckDB holds what was registered until the transaction ends: of a stream that is
    # nothing any more once it was read.
    batches = table.to_batches()
    stream = pa.RecordBatchReader.from_batches(table.schema, _each_once(batches))
    with session.view(stream) as view:
        session.execute(f"INSERT INTO {session.table(name)} SELECT * FROM {view}")


def _each_once(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches, in order, and let go of each."""
    batches.reverse()
    while batches:
        yield batches.pop()


def _put(session: Session, row: Row) -> None:
    known = _rows(session, row.table_name)
    changes = known[0].changes if known else 0
    if not known or not row.content or known[0].content != row.content:
        changes += 1
    columns = {
        "table_name": row.table_name,
        "created_at": naive_utc(row.created_at),
        "row_count": row.row_count,
        "description": row.description,
        "key": row.key or None,
        "content": row.content or None,
        "meant_at": naive_utc(row.meant_at),
        "frame_json": json.dumps(row.frame) if row.frame else None,
        "entry_json": json.dumps(row.entry) if row.entry else None,
        "changes": changes,
    }
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "table_name")
    insert(session, CHECKPOINTS, columns, f"ON CONFLICT (table_name) DO UPDATE SET {updates}")


def insert(
    session: Session, table: str, columns: Mapping[str, Any], conflict: str = ""
) -> None:
    """Insert one row, given as column → value."""
    marks = ", ".join("?" * len(columns))
    names = ", ".join(map(engine.quote, columns))
    sql = f"INSERT INTO {session.table(table)} ({names}) VALUES ({marks}) {conflict}"
    session.execute(sql, list(columns.values()))


def _refuse_clash(session: Session, row: Row) -> None:
    """Refuse a name that another table has, in another spelling or made by hand."""
    found = session.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? "
        "AND table_schema = 'main'",
        [session.catalog],
    )
    name, mine = row.table_name, f"the checkpoint {row.table_name!r}"
    for (known,) in found:
        if known != name and engine.folded(known) == engine.folded(name):
            raise NameClashError(name, f"the table {known!r}", mine)
    if row.key and (name,) in found and not any(each.key for each in _rows(session, name)):
        # A checkpoint must not replace what a person, or an older program, worked for.
        raise NameClashError(
            name,
            f"a table {name!r} that is no checkpoint",
            mine,
            "Give the checkpoint another name=, or if the table can go, drop it first with "
            f"PipelineStore(...).delete_checkpoint({name!r}).",
        )


def _drop_view(session: Session, name: str) -> None:
    """Drop a view that stands where a table has to go."""
    kinds = session.rows(
        "SELECT table_type FROM information_schema.tables WHERE table_catalog = ? "
        "AND table_schema = 'main' AND table_name = ?",
        [session.catalog, name],
    )
    if kinds == [("VIEW",)]:
        session.execute(f"DROP VIEW {session.table(name)}")


def is_aside(name: object) -> bool:
    """Tell whether a table has the name of one that was set aside.

    >>> is_aside("_usher_aside_1_genes"), is_aside("genes")
    (True, False)
    """
    return isinstance(name, str) and _ASIDE.match(name) is not None


_ASIDE: Final = re.compile(r"_usher_aside_\d+_")


def _renamed(session: Session, name: str) -> str:
    """Give a table or view the next free name for what is set aside; empty if none is there."""
    found = session.rows(
        "SELECT table_name, table_type FROM information_schema.tables "
        "WHERE table_catalog = ? AND table_schema = 'main'",
        [session.catalog],
    )
    kind = dict(found).get(name)
    if kind is None:
        return ""
    taken = {engine.folded(each) for each, _ in found}
    asides = (f"_usher_aside_{number}_{name}" for number in count(1))
    aside = next(each for each in asides if engine.folded(each) not in taken)
    verb, target = "VIEW" if kind == "VIEW" else "TABLE", session.table(name)
    if verb == "TABLE" and _has_index(session, name):
        # DuckDB renames no table that something depends on.
        session.execute(f"CREATE TABLE {session.table(aside)} AS FROM {target}")
        session.execute(f"DROP TABLE {target}")
    else:
        session.execute(f"ALTER {verb} {target} RENAME TO {engine.quote(aside)}")
    return aside


def _has_index(session: Session, name: str) -> bool:
    sql = "SELECT 1 FROM duckdb_indexes() WHERE database_name = ? AND table_name = ?"
    return bool(session.rows(sql, [session.catalog, name]))


def _described(session: Session, target: str) -> dict[str, str]:
    rows = session.rows(f"DESCRIBE SELECT * FROM {target}")
    return {row[0]: row[1] for row in rows}


#: Types that hold every value of the types behind them.
_WIDER = {
    "SMALLINT": {"TINYINT", "UTINYINT"},
    "INTEGER": {"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"},
    "BIGINT": {"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"},
    "USMALLINT": {"UTINYINT"},
    "UINTEGER": {"UTINYINT", "USMALLINT"},
    "UBIGINT": {"UTINYINT", "USMALLINT", "UINTEGER"},
    "DOUBLE": {"FLOAT", "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"},
    "FLOAT": {"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"},
}


def _casts(
    table: str, expected: Mapping[str, str], got: Mapping[str, str], empty: Collection[str]
) -> str:
    fits = got.keys() == expected.keys() and all(
        got[name] == kind or name in empty or got[name] in _WIDER.get(kind, ())
        for name, kind in expected.items()
    )
    if not fits:
        raise SchemaMismatchError(table, _listed(expected), _listed(got))
    return ", ".join(
        f"CAST({engine.quote(name)} AS {kind}) AS {engine.quote(name)}"
        for name, kind in expected.items()
    )


def _listed(columns: Mapping[str, str]) -> Sequence[str]:
    return [f"{name} {kind}" for name, kind in columns.items()]
