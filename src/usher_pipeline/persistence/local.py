"""A store on the local disk: sealed results and a DuckDB database, either of which serves."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from errno import EDQUOT, ENOSPC
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import (
    CheckpointNameError,
    DamagedDatabaseError,
    DamagedResultError,
    ForeignTableError,
    NameClashError,
    NotPublishedError,
    StoreBusyError,
    StoreError,
    UsherWarning,
)
from usher_pipeline.fingerprint import values
from usher_pipeline.fingerprint.files import know_store, signature
from usher_pipeline.frames import Packed
from usher_pipeline.persistence import engine, publisher, reads
from usher_pipeline.persistence.entries import read_json, write_json
from usher_pipeline.persistence.places import check_name, folder_of
from usher_pipeline.persistence.segments import RECENT_ENTRIES, Segments
from usher_pipeline.persistence.spools import Spool
from usher_pipeline.records import utc_from_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    import pyarrow as pa

    from usher_pipeline.fingerprint.files import Signature
    from usher_pipeline.frames.contract import Source
    from usher_pipeline.persistence.flights import Holder
    from usher_pipeline.persistence.segments import Opened
    from usher_pipeline.persistence.tables import Row, Stored, Tables
    from usher_pipeline.persistence.unfinished import Unfinished
    from usher_pipeline.records import Acceptance, Entry, Key, Read, Renewal

__all__ = ["SEGMENT_BUDGET_BYTES", "LocalBackend", "resolved"]

#: The kinds of read that list what there is; no result stands behind them.
_LISTINGS: Final = frozenset({"listing", "entries"})

#: How much the segments of a store may take on the disk before those go that a table serves.
SEGMENT_BUDGET_BYTES: Final = 20_000_000_000

#: What DuckDB says of data of Python when the interpreter ends.
_SHUTTING_DOWN: Final = "shutting down"

#: How long publishing waits for the database; a later opener tries again.
_PUBLISH_WAIT_S: Final = 0.25

#: A caller waits for the publishing of so much, and not of more.
_AT_ONCE_BYTES: Final = 1 << 20

#: A marker without an entry is a save that never ended.
_ABANDONED: Final = timedelta(hours=1)

_log: Final = logging.getLogger("usher_pipeline")

_IGNORE_ALL: Final = "# The store of checkpoints; it is not meant for version control.\n*\n"


def resolved(path: Path | str) -> Path:
    """Return the one spelling of a path under which a file is known in this process."""
    return Path(path).expanduser().resolve()


class LocalBackend:
    """Results in a folder beside a DuckDB database.

    Args:
        path: The database file; created with the first result.
        timeout_s: How long to wait for others to let go of the database, in seconds.
        private: Keep the folder of the database out of version control.
        segment_budget_bytes: How much segments may take, of which a table holds the same.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        timeout_s: float = 30.0,
        private: bool = False,
        segment_budget_bytes: int = SEGMENT_BUDGET_BYTES,
    ) -> None:
        self.path = resolved(path)
        self.timeout_s = timeout_s
        self.private = private
        self.segment_budget_bytes = segment_budget_bytes
        self.segments = Segments(folder_of(self.path))
        know_store(self.path, Path(f"{self.path}.wal"), self.segments.folder)
        self._tables: Tables | None = None
        self._lock = threading.Lock()
        self._versions: dict[str, str] = {}
        self._versions_of: tuple[Signature | None, ...] | None = None

    @property
    def tables(self) -> Tables:
        """The half that is a database; a hit never comes here."""
        if self._tables is None:
            from usher_pipeline.persistence.tables import Tables

            self._tables = Tables(
                self.path, self.timeout_s, self._keep_sole_copy, self.segments.note_database
            )
        return self._tables

    # --- looking ---

    def find(
        self, name: str, key: str, content: str = "", *, sealed: bool = False
    ) -> Entry | None:
        """Return the latest entry under a key, from either half, or None.

        Args:
            name: The checkpoint.
            key: The digest of the key.
            content: Only an entry of this content counts; of any if it is empty.
            sealed: Look for sealed results alone, and not in the database.
        """
        found = self.segments.find(name, key, content)
        if found is not None or sealed or not self.path.is_file():
            return found
        for row in self._rows(name):
            if row.key == key and content in ("", row.content):
                return _entry_of(row)
        return None

    def recent(self, name: str, limit: int | None = RECENT_ENTRIES) -> list[Entry]:
        """Return the newest entries of a name, the latest of each key, newest first.

        Args:
            name: The checkpoint.
            limit: How many files are read at most; None for all.
        """
        self._require_place()
        found = self.segments.recent(name, limit)
        if found or not self.path.is_file():
            return found
        return [entry for row in self._rows(name) if (entry := _entry_of(row))]

    def current(self, name: str) -> Entry | None:
        """Return the entry that a plain name stands for, or soon will, or None."""
        marked = [pending for pending in self.segments.pending() if pending.name == name]
        for pending in reversed(marked):
            entry = self.segments.find(name, pending.key, pending.content)
            if entry is not None:
                return entry
        published = self.segments.published(name)
        entry = self.segments.read(name, published) if published else None
        return entry or next(iter(self.recent(name)), None)

    # --- versions of tables ---

    def table_version(self, name: str, *, published: bool = False) -> str:
        """Return what the plain table of a name holds, as a digest; empty if there is none.

        Args:
            name: The table.
            published: Only what is in the database now, and not what is about to be.

        A published result has the digest of its frame, as long as the table holds just
        that; anybody may have run UPDATE on it, so its rows are looked at. What was looked
        at is remembered until the file changes.
        """
        marked = any(pending.name == name for pending in self.segments.pending())
        entry = self.current(name) if marked and not published else None
        if entry is not None:
            return entry.content
        if not self.path.is_file():
            return ""
        return self._remembered(name, lambda: self._read_version(name))

    def table_changes(self, name: str) -> int:
        """Return how often other content came into the plain table of a name."""
        return sum(row.changes for row in self.tables.rows(name))

    def listing_version(self, besides: str = "") -> str:
        """Return a digest of which tables there are, and when each was saved.

        Args:
            besides: The table of whoever asks; its own result is no news to it.
        """
        from usher_pipeline.persistence.tables import listing_digest

        rows = [row for row in self.tables.rows() if row.table_name != besides]
        return listing_digest(rows, [name for name in self.tables.names() if name != besides])

    def entries_version(self, name: str, besides: str = "") -> str:
        """Return a digest of which entries there are.

        Args:
            name: Only those of this checkpoint; empty for all.
            besides: The checkpoint of whoever asks; its own result is no news to it.
        """
        names = [name] if name else sorted(self.names())
        found = [e for each in names if each != besides for e in self.recent(each, None)]
        return values.digest([(e.name, e.stem, e.content, e.known_at) for e in found])

    def _read_version(self, name: str) -> str:
        stored = self.tables.fetch(name)
        return stored.version() if stored is not None else ""

    def _remembered(self, name: str, look: Callable[[], str]) -> str:
        state = self._file_state()
        with self._lock:
            if self._versions_of != state:
                self._versions, self._versions_of = {}, state
            known = self._versions.get(name)
        if known is None:
            known = look()
            with self._lock:
                if state is not None and state == self._file_state() == self._versions_of:
                    self._versions[name] = known
        return known

    def _file_state(self) -> tuple[Signature | None, ...] | None:
        """Return what tells that the database was changed; None if that is too fresh."""
        found = signature(self.path), signature(f"{self.path}.wal")
        if any(each is not None and not each[1] for each in found):
            return None
        return tuple(each[0] if each is not None else None for each in found)

    def names(self) -> list[str]:
        """Return every name that has an entry."""
        self._require_place()
        names = set(self.segments.names())
        if self.path.is_file():
            names |= {row.table_name for row in self._rows(None) if row.entry}
        return sorted(names)

    def _rows(self, name: str | None) -> list[Row]:
        """Return what the database mirrors of the entries.

        Only where the folder of entries is gone is the database worth waiting for: else it
        has nothing that the folder has not.
        """
        wait_s = 0.0 if self.segments.folder.is_dir() else self.timeout_s
        try:
            return self.tables.rows(name, wait_s)
        except (StoreBusyError, DamagedDatabaseError):
            return []

    # --- reading ---

    def load(self, entry: Entry, *, views: bool = False) -> Packed | None:
        """Return the frame of an entry, from either half, checked against its digests.

        Args:
            entry: The entry.
            views: Whether text may be views, which are mapped and not rewritten.
        """
        table = self.segments.map(entry, views=views)
        if table is not None:
            return Packed(table=table, schema=dict(entry.schema), kind=entry.kind)
        return self._recovered(entry)

    def scan(self, entry: Entry) -> Source | None:
        """Return the columns of an entry, each to be checked when it is read; None if lost."""
        opened = self.segments.open(entry)
        if opened is not None:
            return _Scan(opened, self)
        packed = self._recovered(entry)
        return None if packed is None else _InMemory(packed.table)

    def recovered(self, entry: Entry) -> Packed:
        """Return from its table what the segment of an entry no longer has.

        Raises:
            DamagedResultError: The table does not have it either.
        """
        packed = self._recovered(entry)
        if packed is None:
            raise DamagedResultError(self.path, entry.name, self.segments.segment(entry))
        return packed

    def _recovered(self, entry: Entry) -> Packed | None:
        packed = self._from_table(entry) if self.path.is_file() else None
        if packed is not None:
            self._heal_soon(entry, packed)
        return packed

    def _heal_soon(self, entry: Entry, packed: Packed) -> None:
        from usher_pipeline.frames.views import size_bytes

        if size_bytes(packed.table) <= _AT_ONCE_BYTES or publisher.has_errands():
            # An errand holds a whole result: whoever reads many of them waits for each.
            self._heal(entry, packed)
        else:
            # The table has it, so nobody waits until it is on disk once more.
            again = partial(self._heal, entry, packed)
            publisher.send(self.path, f"sealing {entry.name} {entry.stem}", again)

    def recall(self, entry: Entry) -> Packed | None:
        """Return the frame of an entry from its table alone; None if that does not hold it."""
        return self._from_table(entry) if self.path.is_file() else None

    def _keep_sole_copy(self, row: Row, read: Callable[[], Stored]) -> None:
        """Seal a result again that nothing but a table holds, which is about to go.

        Its segment may have been evicted, or lost.

        Args:
            row: The row of the table.
            read: Reads the table.

        Raises:
            NotPublishedError: It can not be sealed, and would be lost.
        """
        # Two keys may have given the same.
        alone = self.segments.without_segment(row.table_name)
        lost = [entry for entry in alone if entry.content == row.content]
        stored = read() if lost else None
        for entry in lost:
            packed = _held_in(stored, entry) if stored is not None else None
            if packed is None:
                # Somebody changed the table: that result is no longer there.
                continue
            try:
                self.segments.reseal(entry, packed)
            except OSError as problem:
                why = f"it has the only copy of a result, which can not be sealed ({problem})"
                raise NotPublishedError(self.path, entry.name, why) from problem

    def _from_table(self, entry: Entry) -> Packed | None:
        import pyarrow as pa

        try:
            stored = self.tables.fetch(entry.name)
        except (DamagedDatabaseError, *engine.errors(), pa.ArrowException):
            # A block of the table is damaged, or the whole file.
            return None
        return None if stored is None else _held_in(stored, entry)

    def _heal(self, entry: Entry, packed: Packed) -> None:
        """Seal again what only the table still had; a store that can not be written stays."""
        import pyarrow as pa

        with suppress(OSError, StoreError, pa.ArrowException):
            if self.segments.read(entry.name, entry.stem) is not None:
                self.segments.reseal(entry, packed)
                return
            sealed = self.segments.seal(entry.name, packed)
            try:
                # What was cleared meanwhile is not to come back.
                if any(row.content == entry.content for row in self.tables.rows(entry.name)):
                    self.segments.commit(sealed, entry)
            finally:
                # It unlinks the temporary name alone, which a commit has taken away.
                sealed.discard()

    # --- writing ---

    def check(self, name: str) -> None:
        """Raise what saving would raise: a bad name, a path that is no database."""
        check_name(name)
        self._require_place()
        self.segments.require_sole(name)
        if self.path.exists():
            # A damaged block of the database is no reason not to compute: it is sealed anyhow.
            with suppress(StoreBusyError, DamagedDatabaseError):
                self.tables.refuse_clash(name)

    def _require_place(self) -> None:
        """Refuse a path where no store can be, before anything is made for one.

        Raises:
            StoreError: It is a folder or lies below a file, or a file is in the way.
        """
        if self.path.is_dir():
            problem, cure = "it is a folder, not a file", "Give the path of a file"
        elif file := _file_above(self.path):
            problem = f"it lies below {str(file)!r}, which is a file and not a folder"
            cure = "Give a path whose folders are there or can be made"
        elif self.segments.folder.exists() and not self.segments.folder.is_dir():
            problem = f"its results belong into {str(self.segments.folder)!r}, which is a file"
            cure = "Move that file, or give another path"
        else:
            return
        raise StoreError(
            self.path, problem, f"Nothing was run and nothing was written. {cure}."
        )

    def spool(self, name: str, kind: str, schema: pa.Schema) -> Spool:
        """Begin to store a result whose rows still come; what goes wrong is in the spool."""
        try:
            self._prepare()
            return self.segments.spool(name, kind, schema)
        except (OSError, StoreError, NameClashError) as problem:
            return Spool(None, schema, problem)

    def save(self, entry: Entry, packed: Packed, spool: Spool | None = None) -> Entry:
        """Seal a result, say that its table is to be published, and write the entry.

        Args:
            entry: Its entry.
            packed: Its values.
            spool: Where they are written already, if they are.
        """
        self._prepare()
        is_sealed = spool is not None and spool.is_written
        self.segments.require_sole(entry.name)
        sealed = spool if spool and is_sealed else self.segments.seal(entry.name, packed)
        try:
            marker = self.segments.mark(entry, entry.created_at)
        except BaseException:
            sealed.discard()
            raise
        try:
            entry = self.segments.commit(sealed, entry)
        except BaseException:
            marker.path.unlink(missing_ok=True)
            raise
        if is_sealed:
            self.segments.trust(entry)
        return entry

    def accept(self, entry: Entry, key: Key, statement: Acceptance) -> Entry:
        """Make a result one of a newer key as well; return that entry.

        The older one stays as it is. Both entries have a segment of their own, of one file
        where the disk can do that, so that either can be removed without the other.
        """
        renewed = self.renewal(entry)
        statements = (*entry.accepted, statement)
        accepted = replace(entry, key=key, accepted=statements, renewed=renewed)
        self._prepare()
        return self.segments.adopt(entry, accepted)

    def renew(self, entry: Entry, renewal: Renewal) -> None:
        """Say of a result that what it was made of has not changed.

        Raises:
            OSError: The store can not be written.
        """
        self.segments.renew(entry, renewal)

    def renewal(self, entry: Entry) -> Renewal | None:
        """Return the last statement that what a result was made of has not changed."""
        return self.segments.renewal(entry) or entry.renewed

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Say of which store it is that it can not be written, where the block fails for that.

        Raises:
            StoreError: A file could not be written or removed; what was done before stays.
        """
        try:
            yield
        except OSError as problem:
            raise StoreError(
                self.path,
                f"the folder beside it can not be changed: {problem}",
                "What was done before that stays done. Make the folder writable, or work on a "
                "copy.",
            ) from problem

    def _require_usable(self) -> None:
        """Refuse a path where no store can be, a file that is no database included."""
        self._require_place()
        if self.path.exists():
            with suppress(StoreBusyError), self.tables.reading(0.0):
                pass

    def _prepare(self) -> None:
        if not self.segments.folder.is_dir():
            self._require_usable()
        folder = self.path.parent
        folder.mkdir(mode=0o700 if self.private else 0o755, parents=True, exist_ok=True)
        if self.private and not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text(_IGNORE_ALL, "utf-8")

    def unfinished(self, name: str, key: str) -> Unfinished:
        """Return what was yielded so far of a result that is not finished.

        Args:
            name: The checkpoint.
            key: The digest of the key.
        """
        from usher_pipeline.persistence.unfinished import Unfinished

        return Unfinished(self.segments, name, key)

    def forget(self, entry: Entry) -> None:
        """Remove every result under the key of an entry, in both halves.

        Raises:
            StoreBusyError: Others held the database for too long; all is as it was.
        """
        with self.tables.removing(entry.name, entry.key.digest) as was_current:
            self.segments.forget(entry.name, entry.key.digest)
            self._unmark(entry.name, entry.key.digest)
            self.segments.unpin(entry.name, entry.key.digest)
        if was_current:
            self.segments.note_published(entry.name, "")
            for left in self.segments.recent(entry.name)[:1]:
                self.mean(left)
                self.publish()

    def clear(self, name: str) -> int:
        """Remove every result of a name, and its table.

        Raises:
            StoreBusyError: Others held the database for too long; all is as it was.
        """
        count = len(self.recent(name, None))
        with self.tables.removing(name):
            self.segments.clear(name)
            self._unmark(name)
            from usher_pipeline.persistence.maps import maps_of
            from usher_pipeline.persistence.unfinished import works

            for work, _ in works(self.segments, name):
                work.discard()
            for stored in maps_of(self.segments, name):
                stored.discard()
        return count

    def _unmark(self, name: str, key: str = "") -> None:
        for pending in self.segments.pending():
            if pending.name == name and key in ("", pending.key):
                pending.path.unlink(missing_ok=True)

    # --- publishing ---

    def mean(self, entry: Entry, at: datetime | None = None) -> None:
        """Say that an entry is what its plain name stands for, unless it already is.

        Args:
            entry: The entry.
            at: Since when (UTC); what was meant later stays. Now unless given.
        """
        if not engine.writable(self.path):
            # On a disk that can only be read nobody will publish it.
            return
        of_name = [each for each in self.segments.pending() if each.name == entry.name]
        if of_name:
            is_meant = of_name[-1].content == entry.content
        else:
            is_meant = self.segments.is_published(entry, self.path)
        if is_meant:
            # It is what the name stands for, or will as soon as somebody gets to it.
            return
        self.segments.mark(entry, at or utc_now())

    def settle(self, names: Iterable[str]) -> None:
        """Publish what is meant by some names, and wait for it.

        Raises:
            StoreBusyError: Others held the database for longer than we may wait.
            NotPublishedError: A table can not be written, for example since the disk is full.
        """
        wanted = set(names)
        for entry, at in reads.meant_in(self.path):
            if entry.name in wanted:
                self.mean(entry, at)
        if any(pending.name in wanted for pending in self.segments.pending()):
            self._publish_results(self.timeout_s)

    def publish_soon(self) -> None:
        """Publish what is small at once, and all else behind the caller."""
        with self.as_far_as_permitted():
            self._publish_soon()

    def _publish_soon(self) -> None:
        pending = self.segments.pending()
        if not (pending or self._pending_runs()) or not engine.writable(self.path):
            # A process of hits alone has nothing to do here, and loads nothing for it.
            return
        marked = [self.segments.find(each.name, each.key, each.content) for each in pending]
        size_bytes = sum(entry.size_bytes for entry in marked if entry is not None)
        is_small = size_bytes <= _AT_ONCE_BYTES and not publisher.is_busy(self.path)
        if not (is_small and self.publish()):
            publisher.ask(self, size_bytes)
        for name in {each.name for each in marked if each is not None and each.mapped}:
            publisher.send(self.path, f"spare {name}", partial(self._spare, name))
        if self.segments.is_to_be_measured():
            publisher.send(self.path, "housekeeping", self.keep_house)

    def _spare(self, name: str) -> None:
        from usher_pipeline.persistence.eviction import spare

        spare(self, name)

    def keep_house(self) -> None:
        """Keep the segments within their budget, and tell once of a very large store."""
        from usher_pipeline.persistence.eviction import keep_house

        keep_house(self, self.segment_budget_bytes)

    def publish(self, timeout_s: float = _PUBLISH_WAIT_S) -> bool:
        """Publish what is meant to be; what the database is too busy for stays marked."""
        if not engine.writable(self.path):
            return False
        with self.as_far_as_permitted(), suppress(StoreBusyError, NotPublishedError):
            self._publish_results(timeout_s)
            self._publish_runs(timeout_s)
            return True
        return False

    @contextmanager
    def as_far_as_permitted(self) -> Iterator[None]:
        """Warn where the folder does not let us do what can be left to the next opener."""
        try:
            yield
        except OSError as problem:
            cure = (
                "Make room on the disk"
                if problem.errno in (ENOSPC, EDQUOT)
                else "Let this user read and write the folder beside the database"
            )
            message = (
                f"In the store {str(self.path)!r} results may lack their tables for now: "
                f"{problem}. None is lost. {cure}; whoever opens the store then goes on."
            )
            warnings.warn(message, UsherWarning, stacklevel=4)

    def _publish_results(self, timeout_s: float) -> None:
        marked = self.segments.pending()
        for name in dict.fromkeys(pending.name for pending in marked):
            of_name = [pending for pending in marked if pending.name == name]
            # Looked for once: the entry of a newer one may be committed meanwhile, and its
            # mark must stay until a table was made of it.
            entries = [self.segments.find(name, each.key, each.content) for each in of_name]
            latest = next(
                (index for index in reversed(range(len(entries))) if entries[index]), None
            )
            if latest is not None and (entry := entries[latest]) is not None:
                self._publish_entry(entry, of_name[latest].meant_at, timeout_s)
            for pending, entry in zip(of_name, entries, strict=True):
                # One without its entry may be that of a result that is just being committed.
                is_abandoned = utc_now() - pending.meant_at > _ABANDONED
                if is_abandoned or entry is not None:
                    pending.path.unlink(missing_ok=True)

    def complete(self) -> None:
        """Mark for publishing the latest result of each name that has no table."""
        if not engine.writable(self.path):
            return
        # Who opens a store to look at it does not wait for this; the next opener does it.
        rows = self.tables.rows(timeout_s=0.0) if self.path.is_file() else []
        known = {row.table_name for row in rows}
        for name in self.segments.names():
            if name not in known:
                for entry in self.segments.recent(name, 1):
                    self.segments.mark(entry, entry.created_at)

    def _publish_entry(self, entry: Entry, meant_at: datetime, timeout_s: float) -> None:
        from usher_pipeline.persistence.tables import Row, frame_facts, naive_utc

        opened = self.segments.open(entry)
        passed = opened.relieve if opened is not None else None
        if opened is not None and opened.is_whole(range(opened.table.num_columns)):
            packed: Packed | None = Packed(opened.table, dict(entry.schema), entry.kind)
        else:
            packed = self._recovered(entry)
        if packed is None:
            return
        row = Row(
            table_name=entry.name,
            created_at=entry.created_at,
            row_count=entry.row_count,
            description=entry.description,
            key=entry.key.digest,
            content=entry.content,
            meant_at=meant_at,
            frame=frame_facts(packed, passed),
            entry=entry.to_json(),
        )
        provenance = {
            "version": entry.library,
            "config_hash": entry.config_hash,
            "created_at": naive_utc(entry.created_at),
            "steps_json": json.dumps([entry.step().to_json()]),
            "table_name": entry.name,
            "run_id": entry.run_id,
        }
        troubles: tuple[type[Exception], ...] = (
            NameClashError,
            DamagedDatabaseError,
            ForeignTableError,
            ValueError,
            *engine.errors(),
        )
        try:
            done = self.tables.replace(
                row, packed, provenance, timeout_s=timeout_s, passed=passed
            )
        except engine.passing_errors() as problem:
            line = str(problem).partition("\n")[0]
            raise NotPublishedError(self.path, entry.name, line) from problem
        except troubles as problem:
            if _SHUTTING_DOWN in str(problem):
                raise NotPublishedError(self.path, entry.name, _SHUTTING_DOWN) from problem
            # The result itself is safe; only a plain table of it can not be had.
            message = f"{entry.name} is stored, but has no plain table: {problem}"
            warnings.warn(message, UsherWarning, stacklevel=2)
            return
        if done:
            self.segments.note_published(entry.name, entry.stem)

    # --- where results come from ---

    def lineage(self, entry: Entry) -> list[dict[str, Any]]:
        """Return the steps that led to an entry, its own last.

        Each step bears the time and the run that really computed it. What an entry read and
        the store has no more is named as such.
        """
        steps: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._collect(entry, steps)
        return list(steps.values())

    def _collect(self, entry: Entry, steps: dict[tuple[str, str, str], dict[str, Any]]) -> None:
        place = (entry.name, entry.key.digest, entry.content)
        if place in steps:
            return
        for read in (*entry.inputs, *entry.reads):
            found = self._entry_behind(read)
            if found is not None:
                self._collect(found, steps)
            elif read.kind not in _LISTINGS:
                gone = {"checkpoint": read.name, "key": read.key, "content": read.content}
                is_file = read.kind == "file"
                note = "a file" if is_file else "its entry is no longer in the store"
                step = {
                    "step_name": read.name,
                    "timestamp": None,
                    "details": gone | {"note": note},
                }
                steps.setdefault((read.name, read.key, read.content), step)
        steps[place] = entry.step().to_json()

    def entries_behind(self, entry: Entry) -> list[Entry]:
        """Return the results that an entry was made from, as far as they are still there."""
        found = (self._entry_behind(read) for read in (*entry.inputs, *entry.reads))
        return [each for each in found if each is not None]

    def _entry_behind(self, read: Read) -> Entry | None:
        """Return the entry whose result was read, if there is one and it is still there."""
        if read.kind == "file" or read.kind in _LISTINGS:
            return None
        with suppress(CheckpointNameError):
            # The tables that the store keeps for itself can be read and have no entry.
            found = self.find(read.name, read.answered_by)
            if found is not None and found.content == read.content:
                return found
        return None

    # --- runs ---

    def record_run(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Keep the provenance of a run, as a file and as a row of `_provenance`."""
        self._prepare()
        folder = self.segments.folder / ".runs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(folder / f"{run_id}.json", record)
        pending = self.segments.folder / ".pending-runs"
        pending.mkdir(mode=0o700, exist_ok=True)
        write_json(pending / f"{run_id}.json", record)

    def _pending_runs(self) -> list[Path]:
        """Return the records of runs that are not in the database yet."""
        return sorted((self.segments.folder / ".pending-runs").glob("*.json"))

    def _publish_runs(self, timeout_s: float) -> None:
        for path in self._pending_runs():
            record = read_json(path)
            if record:
                self._publish_run(record, timeout_s)
            path.unlink(missing_ok=True)

    def _publish_run(self, record: Mapping[str, Any], timeout_s: float) -> None:
        from usher_pipeline.persistence.tables import naive_utc

        troubles: tuple[type[Exception], ...] = (
            ForeignTableError,
            LookupError,
            TypeError,
            ValueError,
            *engine.errors(),
        )
        try:
            columns = {
                "version": record["pipeline_version"],
                "config_hash": record["config_hash"],
                "created_at": naive_utc(utc_from_text(record["created_at"])),
                "steps_json": json.dumps(record["processing_steps"]),
                "run_id": record["run"]["run_id"],
                "metadata_json": json.dumps(record),
            }
            self.tables.insert_provenance(columns, timeout_s=timeout_s)
        except engine.passing_errors() as problem:
            line = str(problem).partition("\n")[0]
            raise NotPublishedError(self.path, "_provenance", line) from problem
        except troubles as problem:
            # The record is a file as well, and stays one.
            run_id = record.get("run", {}).get("run_id")
            _log.warning("the run %s has no row in _provenance: %s", run_id, problem)

    def single_flight(
        self, name: str, key: str, tell: Callable[[Holder | None, float], None] | None = None
    ) -> AbstractContextManager[None]:
        """Let one caller at a time compute a key, across threads, tasks and processes.

        Args:
            name: The checkpoint.
            key: The digest of the key.
            tell: Called when somebody else is at it for long: with who that is, if that is
                known, and how long it was waited, in seconds.

        Raises:
            CheckpointCycleError: The caller would wait for itself.
            StoreError: No store can be at the path; nothing was made there.
        """
        if not self.segments.folder.is_dir():
            self._require_usable()
        from usher_pipeline.persistence.flights import LOCKS, single_flight

        return single_flight(self.segments.folder / LOCKS, name, key, tell)


def _held_in(stored: Stored, entry: Entry) -> Packed | None:
    """Return the frame of an entry from a table, if that holds just it."""
    from usher_pipeline.fingerprint.frames import column_digests
    from usher_pipeline.persistence.tables import restore

    if stored.row is None or stored.row.content != entry.content:
        return None
    found = restore(stored)
    if found is None:
        return None
    kind, schema, table = found
    digests = [column.digest for column in entry.columns]
    if kind != entry.kind or column_digests(table) != digests:
        return None
    return Packed(table=table, schema=schema, kind=kind)


class _Scan:
    """The columns of a segment, from its table where the segment is damaged."""

    def __init__(self, opened: Opened, backend: LocalBackend) -> None:
        self._opened = opened
        self._backend = backend
        self._recovered: pa.Table | None = None
        self.row_count = opened.row_count

    def __reduce__(self) -> tuple[Any, ...]:
        # A query goes to another process by what it reads, and never with the values.
        entry = self._opened.entry
        return _scan_anew, (str(self._backend.path), entry.name, entry.stem)

    def columns(self, positions: Sequence[int]) -> pa.Table:
        """Return some columns, checked, in the order that is asked for.

        Raises:
            DamagedResultError: They are damaged, and there is no other copy.
        """
        if self._recovered is None:
            if self._opened.is_whole(positions):
                return self._opened.table.select(list(positions))
            self._recovered = self._backend.recovered(self._opened.entry).table
        return self._recovered.select(list(positions))

    def relieve(self) -> None:
        """Let go of the memory of what was read; it is read again where it is still used."""
        self._opened.relieve()


def _scan_anew(database: str, name: str, stem: str) -> Source:
    """Return the columns of an entry in the process that a query was sent to."""
    backend = LocalBackend(Path(database))
    entry = backend.segments.read(name, stem)
    source = None if entry is None else backend.scan(entry)
    if source is None:
        raise DamagedResultError(backend.path, name, backend.segments.folder / name / stem)
    return source


class _InMemory:
    """Columns that are in memory, and were checked on the way."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.row_count = table.num_rows

    def columns(self, positions: Sequence[int]) -> pa.Table:
        """Return some columns, in the order that is asked for."""
        return self._table.select(list(positions))

    def relieve(self) -> None:
        """Keep them; there is no other place to read them from."""


def _file_above(path: Path) -> Path | None:
    """Return the file that a path wrongly leads through, if there is one."""
    nearest = next((folder for folder in path.parents if folder.exists()), None)
    return nearest if nearest is not None and not nearest.is_dir() else None


def _entry_of(row: Row) -> Entry | None:
    from usher_pipeline.persistence.tables import entry_of

    return entry_of(row)
