"""What a store holds, told from as few files as that takes; nothing is written.

The database is opened only where somebody else wrote to it last: its library takes longer
to load than all else that there is to do.
"""

from __future__ import annotations

import heapq
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import StoreBusyError
from usher_pipeline.persistence.entries import read_json
from usher_pipeline.persistence.places import check_name, safe_name
from usher_pipeline.persistence.segments import RECENT_ENTRIES
from usher_pipeline.records import utc_from_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["Named", "RunLine", "named", "names", "runs_of"]

#: How many records of runs are looked through for one name.
_RUNS_LOOKED_AT: Final = 500


@dataclass(frozen=True, slots=True)
class Named:
    """What stands under one name of a store.

    Attributes:
        name: The checkpoint or table.
        created_at: When its newest result was stored (UTC).
        row_count: How many rows that has.
        entry_count: How many results there are; 0 for a table that no checkpoint made.
        column_count: How many columns of data; None if only the database could tell.
        size_bytes: How big its newest result is in memory; None likewise.
        elapsed_s: How long that took to compute, in seconds; None likewise.
        kind: What the function returned, such as ``polars.DataFrame``; empty for a table.
    """

    name: str
    created_at: datetime
    row_count: int
    entry_count: int = 0
    column_count: int | None = None
    size_bytes: int | None = None
    elapsed_s: float | None = None
    kind: str = ""


def named(
    backend: LocalBackend, *, tables_too: bool = True, timeout_s: float | None = None
) -> list[Named]:
    """Return what a store holds under each name, newest first.

    Args:
        backend: The store.
        tables_too: Whether tables count that no checkpoint made; else the database is needed
            only where the folder of results is gone.
        timeout_s: How long to wait for others to let go of the database, in seconds; as the
            store says unless given.

    Raises:
        StoreBusyError: The database has to tell, and others held it for too long.
        StoreError: No store can be at its path.
    """
    tables = _tables(backend) if tables_too else []
    every = backend.segments.names() if tables is not None else backend.names()
    if not backend.segments.folder.is_dir():
        every = backend.names()
    found = {name: _of_entries(backend, backend.recent(name)) for name in every}
    if tables is None:
        rows = backend.tables.rows(timeout_s=timeout_s) if backend.path.is_file() else []
        tables = [(row.table_name, row.created_at, row.row_count) for row in rows]
    for name, created_at, row_count in tables:
        if name not in found:
            found[name] = Named(name, created_at, row_count)
    listed = [each for each in found.values() if each is not None]
    return sorted(listed, key=lambda each: (each.created_at, each.name), reverse=True)


def names(backend: LocalBackend) -> list[str]:
    """Return every name of a store, of checkpoints and of tables.

    While others hold the database those of tables may be missing: nobody waits for them.

    Args:
        backend: The store.
    """
    tables = _tables(backend)
    if tables is None:
        found = set(backend.names())
        with suppress(StoreBusyError):
            found.update(backend.tables.names(timeout_s=0.0))
        return sorted(found)
    return sorted({*backend.segments.names(), *(name for name, _, _ in tables)})


def _tables(backend: LocalBackend) -> list[tuple[str, datetime, int]] | None:
    """Return the tables of a store as the folder knows them; None if the database must tell."""
    if not backend.path.exists():
        return []
    return backend.segments.noted_tables(backend.path)


def _of_entries(backend: LocalBackend, entries: list[Entry]) -> Named | None:
    if not entries:
        return None
    newest, count = entries[0], len(entries)
    if count >= RECENT_ENTRIES:
        # There may be very many: their keys are told by the names of their files.
        files = backend.segments.entry_files(safe_name(newest.name))
        count = len({path.name.partition("-")[0] for path in files})
    return Named(
        newest.name,
        newest.created_at,
        newest.row_count,
        count,
        newest.column_count,
        newest.size_bytes,
        newest.cost.elapsed_s,
        newest.kind,
    )


# --- runs -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunLine:
    """What one run did with a checkpoint.

    Attributes:
        run_id: The run.
        started_at: When it began (UTC).
        outcome: How the call was answered: ``computed``, ``hit``, ``renewed``, ``stale``,
            ``adopted``, or ``bypass``.
        call_count: How many calls were answered so.
        key: The digest of the key; empty for what was not stored.
        reason: Why it was computed; empty unless it was.
        run_outcome: How the run ended: ``completed`` or ``failed``.
        error: What it failed with; empty if it did not.
    """

    run_id: str
    started_at: datetime
    outcome: str
    call_count: int
    key: str
    reason: str
    run_outcome: str
    error: str


def runs_of(backend: LocalBackend, name: str, limit: int = 10) -> list[RunLine]:
    """Return what the latest runs did with a checkpoint, newest first.

    Args:
        backend: The store.
        name: The checkpoint.
        limit: How many are returned at most.
    """
    check_name(name)
    found: list[RunLine] = []
    for path in _newest(backend.segments.folder / ".runs"):
        found += _lines(read_json(path), name)
        if len(found) >= limit:
            break
    return sorted(found, key=lambda line: line.started_at, reverse=True)[:limit]


def _newest(folder: Path) -> list[Path]:
    dated = []
    with suppress(OSError):
        for path in folder.glob("*.json"):
            with suppress(OSError):
                dated.append((os.stat(path).st_mtime_ns, path))  # noqa: PTH116 - there may be many
    return [path for _, path in heapq.nlargest(_RUNS_LOOKED_AT, dated)]


def _lines(record: dict[str, Any], name: str) -> Iterator[RunLine]:
    """Yield what the record of a run says of a checkpoint; anybody may have written it."""
    with suppress(AttributeError, LookupError, TypeError, ValueError):
        run, started_at = record["run"], utc_from_text(record["created_at"])
        for step in record["processing_steps"]:
            details = step.get("details", {})
            outcome = details.get("outcome")
            if step.get("step_name") != name or not isinstance(outcome, str):
                continue
            yield RunLine(
                run_id=str(run["run_id"]),
                started_at=started_at,
                outcome=outcome,
                call_count=int(details.get("calls", 1)),
                key=str(details.get("key", "")),
                reason=str(details.get("reason", "")) if outcome == "computed" else "",
                run_outcome=str(run.get("outcome", "")),
                error=str(run.get("error") or ""),
            )
