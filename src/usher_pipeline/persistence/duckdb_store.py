"""The store as pipelines call it: named tables in a DuckDB file."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from usher_pipeline._version import __version__
from usher_pipeline.errors import (
    InvalidResultError,
    NotPublishedError,
    OptionError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    UnknownResultError,
    UnknownTableError,
    UsherWarning,
)
from usher_pipeline.fingerprint import frames as fingerprints
from usher_pipeline.fingerprint.files import path_digest
from usher_pipeline.frames import adapter_for
from usher_pipeline.frames.contract import require_storable
from usher_pipeline.persistence import engine, tables
from usher_pipeline.persistence.compaction import compact
from usher_pipeline.persistence.conversion import as_kind
from usher_pipeline.persistence.housekeeping import prune
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.places import check_name, safe_name
from usher_pipeline.persistence.provenance import described, write_sidecar
from usher_pipeline.persistence.pruning import Criteria
from usher_pipeline.persistence.reads import current_call, meant_in, record
from usher_pipeline.persistence.usage import measure
from usher_pipeline.persistence.verification import verify
from usher_pipeline.records import Read, utc_now
from usher_pipeline.views import view

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    import duckdb
    import pandas as pd
    import polars as pl

    from usher_pipeline.persistence.compaction import Compacted
    from usher_pipeline.persistence.findings import Verified
    from usher_pipeline.persistence.housekeeping import Pruned
    from usher_pipeline.persistence.usage import Usage

__all__ = ["PipelineStore"]

_POLARS = "polars.DataFrame"
_PANDAS = "pandas.DataFrame"


class PipelineStore:
    """Named tables in a DuckDB file, with a row of metadata each.

    The file is free for other processes between calls, until `conn` is asked for.

    Args:
        db_path: The DuckDB file; it and its folder are created if they are not there.

    Attributes:
        db_path: As given, as a path.

    Raises:
        StoreError: The path is a folder, lies below a file or where nothing can be
            written, or is a file that is no DuckDB database.

    >>> import polars as pl, tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> with PipelineStore(pathlib.Path(folder.name) / "genes.duckdb") as store:
    ...     store.save_dataframe(pl.DataFrame({"gene": ["USH2A"]}), "genes")
    ...     store.load_dataframe("genes")["gene"].to_list()
    ['USH2A']
    >>> folder.cleanup()
    """

    def __init__(self, db_path: str | os.PathLike[str]) -> None:
        if str(db_path) == ":memory:":
            raise StoreError(
                ":memory:",
                "a store is a file, which outlives the process",
                "Nothing was opened. Give the path of a file, also in a temporary folder.",
            )
        self.db_path = Path(db_path)
        self._backend = LocalBackend(self.db_path)
        self._native_pid = 0
        self._conn: duckdb.DuckDBPyConnection | None = None
        self._config: Any = None
        self._closed = False
        path = self._backend.path
        self._backend.check("_")
        if not path.exists():
            with self._backend.tables.writing():
                pass
        with self._backend.as_far_as_permitted(), suppress(StoreBusyError):
            self._backend.complete()
        self._backend.publish_soon()

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Return the store at `config.duckdb_path`.

        Exports of tables that were saved by hand bear the config's hash and versions.
        """
        store = cls(config.duckdb_path)
        store._config = config
        return store

    # --- saving and loading ---

    def save_dataframe(
        self,
        df: pl.DataFrame | pd.DataFrame,
        table_name: str,
        description: str = "",
        replace: bool = True,  # noqa: FBT001, FBT002 - existing pipelines pass it so
    ) -> None:
        """Save a frame as a table, together with its row of metadata.

        Args:
            df: A polars or pandas DataFrame.
            table_name: The table; any text that is not empty and not reserved.
            description: A sentence for people.
            replace: Replace the table; False adds the rows to it, matched by column name,
                in the types of the table. A pandas index without a name goes on where the
                table has one of its type; else the rows are counted anew.

        Raises:
            CheckpointNameError: No table can have that name.
            InvalidResultError: It is no frame.
            UnsupportedFrameError: The frame can not be stored exactly.
            SchemaMismatchError: The rows do not fit the table that is there.
            StoreBusyError: Another process held the file for too long.
        """
        self._require_open()
        check_name(table_name)
        adapter = adapter_for(df)
        if adapter is None or adapter.kind not in (_POLARS, _PANDAS):
            raise InvalidResultError(table_name, type(df).__name__, was_given=True)
        packed = adapter.to_arrow(df)
        require_storable(packed)
        self._backend.publish()
        row = tables.Row(
            table_name=table_name,
            created_at=utc_now(),
            row_count=adapter.shape(df)[0],
            description=description,
            content=fingerprints.frame_digest(packed),
            frame=tables.frame_facts(packed),
        )
        if replace:
            self._backend.tables.replace(row, packed, {})
        else:
            self._backend.tables.append(row, packed)
        self._backend.segments.note_published(table_name, "")

    def load_dataframe(
        self,
        table_name: str,
        as_polars: bool = True,  # noqa: FBT001, FBT002 - existing pipelines pass it so
    ) -> Any:
        """Return a table as a frame; None when there is no such table.

        A frame comes back exactly as it was saved when it is asked for in the library
        that it was saved from. In the other one durations, categories and time zones stay
        what they are; a pandas index is columns under its names, and left out without one.

        Args:
            table_name: The table.
            as_polars: Return polars; False returns pandas.

        Raises:
            CheckpointNameError: No table can have that name.
        """
        self._require_open()
        check_name(table_name)
        self._publish()
        stored = self._backend.tables.fetch(table_name)
        if current_call() is not None:
            version = stored.version() if stored is not None else ""
            self._record(table_name, version)
        if stored is None:
            return None
        return as_kind(_POLARS if as_polars else _PANDAS, stored)

    def has_checkpoint(self, table_name: str) -> bool:
        """Tell whether a table was saved under a name; looks at metadata alone.

        Raises:
            CheckpointNameError: No table can have that name.
        """
        self._require_open()
        check_name(table_name)
        self._publish()
        self._record_tables([table_name])
        return self._backend.tables.has(table_name)

    def list_checkpoints(self) -> list[dict[str, Any]]:
        """Return the metadata of every table, newest first.

        Returns:
            Dicts with `table_name`, `created_at` (UTC), `row_count`, `description`, and
            for the result of a checkpointed function its `key`.
        """
        self._require_open()
        self._publish()
        self._record_listing()
        return [
            {
                "table_name": row.table_name,
                "created_at": row.created_at,
                "row_count": row.row_count,
                "description": row.description,
                "key": row.key or None,
            }
            for row in self._backend.tables.rows()
        ]

    def delete_checkpoint(self, table_name: str) -> None:
        """Delete a table, its metadata and its sealed results; none is no error.

        Args:
            table_name: The table; that of a checkpoint, one that was saved by hand, or one
                that `verify` set aside.

        Raises:
            CheckpointNameError: No table can have that name, or the store needs it itself.
        """
        self._require_open()
        if tables.is_aside(table_name):
            with self._backend.tables.removing(table_name):
                return
        check_name(table_name)
        self._backend.clear(table_name)

    # --- SQL ---

    def execute_query(
        self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """Run SQL on the store and return its result as a polars frame.

        Args:
            query: Any SQL that DuckDB takes.
            params: Values for ``?`` or ``$name`` in it.

        Returns:
            The result; a frame without columns for a statement that has none.
        """
        self._require_open()
        self._publish()
        path = self._backend.path
        connection = engine.native(path, timeout_s=self._backend.timeout_s)
        try:
            cursor = connection.cursor()
            try:
                # Looked at before and after: other threads may write between the two.
                self._record_query(cursor, query)
                table = engine.to_arrow(cursor, query, params)
                self._record_query(cursor, query)
            finally:
                cursor.close()
        finally:
            engine.release(path)
        frame: pl.DataFrame = tables.natural(_POLARS, table)
        return frame

    @property
    def conn(self) -> duckdb.DuckDBPyConnection:
        """A live DuckDB connection on the store; it holds the file until `close`.

        Every checkpoint is there under its plain name, and frames in the scope of the
        caller resolve as DuckDB lets them. If it was closed, such as by a `with` block, the
        next one is opened anew.
        """
        self._require_open()
        _warn_of_unseen_reads()
        for entry, at in meant_in(self._backend.path):
            self._backend.mean(entry, at)
        is_ours = self._conn is not None and self._native_pid == os.getpid()
        if self._conn is None or not is_ours or not engine.is_open(self._conn):
            if is_ours:
                engine.release(self._backend.path)
            self._backend.publish(self._backend.timeout_s)
            self._conn = engine.native(self._backend.path, timeout_s=self._backend.timeout_s)
            self._native_pid = os.getpid()
        else:
            self._backend.publish()
        return self._conn

    # --- out ---

    def export_parquet(self, table_name: str, output_path: str | os.PathLike[str]) -> None:
        """Write a table as Parquet, with its provenance as JSON beside it.

        A pandas index is columns under its names, and left out without one.

        Args:
            table_name: The table.
            output_path: Where to; folders are created.

        Raises:
            CheckpointNameError: No table can have that name.
            UnknownTableError: There is no such table; nothing is written.
            StoreError: No file can be there; nothing is left behind.
        """
        self._require_open()
        check_name(table_name)
        self._publish()
        self._record_tables([table_name])
        if not self._has_table(table_name):
            raise UnknownTableError(self.db_path, table_name, self._backend.tables.names())
        target = Path(output_path).absolute()
        self._require_place(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._backend.tables.copy_out(table_name, target)
        except OSError as problem:
            raise self._not_exported(target, str(problem)) from problem
        write_sidecar(target, self._provenance_of(table_name))

    def _require_place(self, target: Path) -> None:
        if target.is_dir():
            raise self._not_exported(target, "it is a folder")
        own = self._backend.path
        if target.resolve() in (own, own.with_name(f"{own.name}.wal")):
            raise self._not_exported(target, "it is the store itself")

    def _not_exported(self, target: Path, problem: str) -> StoreError:
        return StoreError(
            self.db_path,
            f"a table can not be exported to {str(target)!r}: {problem}",
            "Nothing was written. Give the path of a file in a folder that can be written.",
        )

    def _provenance_of(self, name: str) -> dict[str, Any]:
        rows = self._backend.tables.rows(name)
        row = rows[0] if rows else tables.Row(name, utc_now(), 0)
        entry = tables.entry_of(row)
        details = {"row_count": row.row_count, "description": row.description}
        saved = {
            "step_name": name,
            "timestamp": row.created_at.isoformat(),
            "details": details,
        }
        steps = self._backend.lineage(entry) if entry is not None else [saved]
        config_hash, versions = described(self._config)
        return {
            "pipeline_version": entry.library if entry is not None else __version__,
            "data_source_versions": _sources(steps) if entry is not None else versions,
            "config_hash": entry.config_hash if entry is not None else config_hash,
            "created_at": row.created_at.isoformat(),
            "processing_steps": steps,
            "table_name": name,
            "exported_at": utc_now().isoformat(),
        }

    def insert_provenance(
        self,
        *,
        version: str,
        config_hash: str,
        created_at: datetime,
        steps: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, Any],
    ) -> None:
        """Add a row to the table `_provenance`."""
        self._require_open()
        self._backend.tables.insert_provenance(
            {
                "version": version,
                "config_hash": config_hash,
                "created_at": tables.naive_utc(created_at),
                "steps_json": json.dumps(list(steps)),
                "metadata_json": json.dumps(metadata),
            }
        )

    # --- housekeeping ---

    def usage(self) -> Usage:
        """Return what the store uses on the disk, name by name; `str` of it is a table.

        Nothing is written, and the database is not opened.

        Returns:
            Sizes and counts of all that is stored.
        """
        self._require_open()
        return measure(self._backend)

    def _repr_html_(self) -> str:
        if self._closed:
            return view(self.db_path.name, {"place": str(self.db_path)}, note="closed")
        return measure(self._backend)._repr_html_()

    def prune(
        self,
        *,
        older_than: timedelta | None = None,
        keep_bytes: int | None = None,
        keep_latest: int | None = None,
        names: Iterable[str] | None = None,
        dry_run: bool = True,
    ) -> Pruned:
        """Remove results that nothing needs; unless told otherwise, only say which.

        What a plain name stands for never goes, nor what is pinned, nor what something
        that stays needs: the frames of a dictionary, and the results that it was made
        from, without which it would not answer any more. Of the latter those go that
        `names` asks for. Tables are never touched, and the database is waited for by
        nobody. What was left over by killed processes is swept as well.

        Args:
            older_than: What was stored, or last accepted, longer ago.
            keep_bytes: The oldest, until the segments of the rest are no bigger.
            keep_latest: All of a name but so many of the newest.
            names: Only results of these names; without another criterion all of them.
            dry_run: Only say what would go.

        Returns:
            What went, or would go; `str` of it is a table.

        Raises:
            CriterionMissingError: Nothing says what may go.
            OptionError: A criterion is below zero, or `names` is a single text.
            CheckpointNameError: No checkpoint can have one of the names.
        """
        self._require_open()
        chosen = _names("prune", names)
        criteria = Criteria(older_than, keep_bytes, keep_latest, chosen)
        with self._backend.changing():
            return prune(self._backend, criteria, dry_run=dry_run)

    def pin(self, name: str, key: str = "") -> str:
        """Keep what a key of a checkpoint has computed, whatever `prune` is asked for.

        The pin is a small file beside the result, and goes with a copy of the folder. An
        explicit wish is stronger: `forget`, `clear` and `delete_checkpoint` remove a pinned
        result, and its pin.

        Args:
            name: The checkpoint.
            key: The digest of the key, or as much of its beginning as no other has; the
                current result unless given.

        Returns:
            The digest of the key.

        Raises:
            CheckpointNameError: No checkpoint can have that name.
            UnknownResultError: There is no such result, or more than one.
        """
        found = self._key_of(name, key)
        with self._backend.changing():
            self._backend.segments.pin(name, found)
        return found

    def unpin(self, name: str, key: str = "") -> str:
        """Let a result be pruned again; it is no error if it was not pinned.

        Args:
            name: The checkpoint.
            key: As `pin` takes it.

        Returns:
            The digest of the key.

        Raises:
            CheckpointNameError: No checkpoint can have that name.
            UnknownResultError: There is no such result, or more than one.
        """
        found = self._key_of(name, key)
        with self._backend.changing():
            self._backend.segments.unpin(name, found)
        return found

    def compact(self) -> Compacted:
        """Give back the space that the database file no longer needs; DuckDB never does.

        The database is copied and the copy put in its place, while nobody else can write.
        The connection of `conn` is closed; the next one is opened anew. What would win less
        than a tenth, or than 1 MB, is left as it is.

        Returns:
            The size before and after.

        Raises:
            StoreBusyError: Somebody else holds the database, in this process or another.
            StoreError: DuckDB can not copy all that is in it, the disk is full, or the file
                can only be read. Nothing was changed.
        """
        self._require_open()
        is_ours = self._conn is not None and self._native_pid == os.getpid()
        if is_ours and engine.users(self._backend.path) == 1:
            engine.release(self._backend.path)
            self._conn = None
        return compact(self._backend.path, timeout_s=self._backend.timeout_s)

    def verify(self, *, names: Iterable[str] | None = None) -> Verified:
        """Read and digest all that is stored, set damage aside, and make good what can be.

        A damaged segment is made good from its table, and a table that holds something
        else than its result from the segment; it keeps what it holds under another name,
        since somebody may have worked for that. What neither half has any more is gone,
        so that the next call computes it. Of a map the items of a damaged part are asked
        again. The database is held for one table at a time.

        Args:
            names: Only results and maps of these names; all unless given.

        Returns:
            What was found and what became of it; `is_whole` if nothing was.

        Raises:
            StoreBusyError: Another process held the database for too long. What was made
                good until then stays so.
            OptionError: `names` is a single text.
            CheckpointNameError: No checkpoint can have one of the names.
        """
        self._require_open()
        return verify(self._backend, _names("verify", names))

    def _key_of(self, name: str, beginning: str) -> str:
        self._require_open()
        found = self._backend.segments.entries_in(safe_name(name))
        known = {entry.key.digest for entry in found if entry.name == name}
        if beginning:
            fitting = [key for key in known if key.startswith(beginning)]
        else:
            current = self._backend.current(name)
            fitting = [
                key for key in known if current is not None and key == current.key.digest
            ]
        if len(fitting) != 1 or fitting[0] not in known:
            raise UnknownResultError(self.db_path, name, beginning, known)
        return fitting[0]

    # --- closing ---

    def close(self) -> None:
        """Let go of the file; closing twice is no error."""
        if self._conn is not None and self._native_pid == os.getpid():
            engine.release(self._backend.path)
        self._conn = None
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- what a checkpointed function reads here ---

    def _publish(self) -> None:
        """Bring the tables up to what the present run means by their names."""
        for entry, at in meant_in(self._backend.path):
            try:
                self._backend.mean(entry, at)
            except OSError as problem:
                # Its table holds another result, which nobody may take for this one.
                raise NotPublishedError(
                    self._backend.path, entry.name, str(problem)
                ) from problem
        self._backend.publish()

    def _record_query(self, cursor: duckdb.DuckDBPyConnection, query: str) -> None:
        if current_call() is None:
            return
        names = engine.tables_read(cursor, query)
        known = self._backend.tables.names()
        if names is None:
            self._record_tables(known)
            return
        if engine.reads_catalog(query, names):
            self._record_listing()
        spelled = {engine.folded(name): name for name in known}
        for name in names:
            if engine.folded(name) not in spelled and Path(name).exists():
                # As in FROM 'genes.parquet'.
                digest = path_digest(Path(name))
                record(Read(name, "", digest, "file"), self._backend.path)
            else:
                self._record_tables([spelled.get(engine.folded(name), name)])

    def _record_tables(self, names: Iterable[str]) -> None:
        if current_call() is not None:
            for name in names:
                self._record(name, self._backend.table_version(name, published=True))

    def _record_listing(self) -> None:
        call = current_call()
        if call is not None:
            version = self._backend.listing_version(call.name)
            record(Read("", "", version, "listing"), self._backend.path)

    def _record(self, name: str, version: str) -> None:
        record(Read(name, "", version, "table"), self._backend.path)

    def _has_table(self, name: str) -> bool:
        return name in self._backend.tables.names()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreClosedError(self.db_path)


def _names(call: str, names: Iterable[str] | None) -> frozenset[str] | None:
    if isinstance(names, str):
        raise OptionError(call, "names", "several names", f"the text {names!r}")
    return None if names is None else frozenset(map(check_name, names))


def _warn_of_unseen_reads() -> None:
    call = current_call()
    if call is None or call.inputs or call.name in _warned:
        return
    _warned.add(call.name)
    warnings.warn(
        f"{call.name} reads the store through `conn`, where it can not be seen which tables "
        "it reads: a change of them would go unseen. Name them in "
        f'@checkpoint(name={call.name!r}, inputs=["…"]), or use execute_query(...).',
        UsherWarning,
        stacklevel=4,
    )


_warned: Final[set[str]] = set()


def _sources(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in steps:
        found |= step.get("details", {}).get("sources", {})
    return found
