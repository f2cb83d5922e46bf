"""Keeping the segments of a store within a budget, without losing anything.

A segment can go when the published table of its name holds the very same: the entry stays,
and a later call is served from the table, which seals the result again. A sole copy is
never taken, whatever the budget; that is for `prune`, and for people.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from usher_pipeline.display import size
from usher_pipeline.errors import StoreError, UsherWarning
from usher_pipeline.persistence.inventory import Item, items, size_of
from usher_pipeline.persistence.usage import database_size
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from usher_pipeline.persistence.inventory import Place
    from usher_pipeline.persistence.local import LocalBackend

__all__ = ["Evicted", "evict", "evictable", "keep_house", "spare"]

#: From this size of a store on, one warning says how to make room.
_WARN_BYTES: Final = 50_000_000_000

#: A segment that was just written is about to be read: to take it would be to write it again.
_SETTLED: Final = timedelta(hours=1)

#: The published results, each by name, key and content.
Published = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Evicted:
    """What was taken so that the segments fit their budget.

    Attributes:
        segments_size_bytes: What the segments take now.
        places: The entries that have no segment any more, each as name and stem.
        size_bytes: How much they took.
    """

    segments_size_bytes: int
    places: tuple[Place, ...] = ()
    size_bytes: int = 0


def evictable(
    found: Sequence[Item],
    published: Collection[Published],
    budget_bytes: int,
    now: datetime,
) -> list[Item]:
    """Return the segments that may go, the least recently used first, as few as it takes.

    By the disk's own account of when a file was last read or written. Where the disk keeps
    none of reading (``noatime``), those go first that were written longest ago.

    Args:
        found: All entries.
        published: What the tables hold.
        budget_bytes: How much the segments may take.
        now: The present moment (UTC).
    """
    excess_bytes = size_of(found) - budget_bytes
    going = []
    for item in sorted(_spare(found, published, now), key=lambda item: item.used_at):
        if excess_bytes <= 0:
            break
        going.append(item)
        excess_bytes -= item.size_bytes
    return going


def _spare(
    found: Sequence[Item], published: Collection[Published], now: datetime
) -> Iterator[Item]:
    """Yield the segments of which a table is a second copy."""
    latest: dict[tuple[str, str], int] = {}
    names_of: dict[tuple[int, int] | None, int] = {}
    for item in found:
        key = item.entry.name, item.entry.key.digest
        latest[key] = max(latest.get(key, 0), item.entry.number)
        names_of[item.disk] = names_of.get(item.disk, 0) + 1
    for item in found:
        entry = item.entry
        key = entry.name, entry.key.digest
        is_spare = (*key, entry.content) in published and latest[key] == entry.number
        # Of a file with two entries nothing would be won; a dictionary's list is tiny.
        is_sole_name = item.disk is not None and names_of[item.disk] == 1
        is_free = not item.is_pinned and not item.is_dict
        if is_spare and is_sole_name and is_free and now - item.written_at > _SETTLED:
            yield item


def evict(backend: LocalBackend, budget_bytes: int, now: datetime | None = None) -> Evicted:
    """Unlink segments that a table serves, until the rest fits; their entries stay.

    That the row of a table names the same content is not enough, since anybody may have
    changed the table: each is read and compared, and held until its segment is gone.

    Args:
        backend: The store.
        budget_bytes: How much the segments may take.
        now: The present moment (UTC), for tests.

    Raises:
        StoreBusyError: Others hold the database right now.
    """
    found = items(backend.segments)
    total_bytes = size_of(found)
    if total_bytes <= budget_bytes:
        return Evicted(total_bytes)
    rows = backend.tables.rows(timeout_s=0.0)
    published = {(row.table_name, row.key, row.content) for row in rows if row.key}
    gone = [
        item
        for item in evictable(found, published, budget_bytes, now or utc_now())
        if _taken(backend, item)
    ]
    size_bytes = sum(item.size_bytes for item in gone)
    return Evicted(total_bytes - size_bytes, tuple(item.place for item in gone), size_bytes)


def _taken(backend: LocalBackend, item: Item) -> bool:
    """Unlink a segment while its table is held, if that holds the same."""
    entry = item.entry
    with backend.tables.holding(entry.name, timeout_s=0.0) as stored:
        is_pinned = entry.key.digest in backend.segments.pins(entry.name)
        if stored is None or is_pinned or stored.version() != entry.content:
            return False
        backend.segments.segment(entry).unlink(missing_ok=True)
    return True


def spare(backend: LocalBackend, name: str) -> None:
    """Unlink the segment of a result of many items that is the table of its name.

    Its rows are stored with their items as well; three copies would be one too many.

    Args:
        backend: The store.
        name: The checkpoint.
    """
    stem = backend.segments.published(name)
    for entry in backend.segments.recent(name):
        if entry.stem == stem and entry.mapped is not None:
            with suppress(OSError, StoreError):
                _taken(backend, Item(entry))


# --- after publishing -------------------------------------------------------------------


def keep_house(backend: LocalBackend, budget_bytes: int) -> None:
    """Keep the segments of a store within a budget.

    Whoever holds the database is not waited for, and what can not be removed stays: the
    next call tries again. A store of more than 50 GB is warned of once in a process.

    Args:
        backend: The store.
        budget_bytes: How much its segments may take.
    """
    segments_bytes = backend.segments.size_bytes()
    if segments_bytes > budget_bytes:
        # Who is to go is a question for which every entry has to be read.
        with suppress(OSError, StoreError):
            segments_bytes = evict(backend, budget_bytes).segments_size_bytes
    _warn_of_size(backend.path, segments_bytes + database_size(backend.path))


_lock: Final = threading.Lock()
_warned: Final[set[Path]] = set()


def _warn_of_size(path: Path, size_bytes: int) -> None:
    with _lock:
        if size_bytes <= _WARN_BYTES or path in _warned:
            return
        _warned.add(path)
    warnings.warn(
        f"The store {str(path)!r} takes {size(size_bytes)}, and no result of it is removed "
        "unless somebody says so. Say what may go, for example with "
        f"PipelineStore({str(path)!r}).prune(older_than=timedelta(days=90)), which first "
        "only lists them; dry_run=False removes them, and compact() shrinks the database.",
        UsherWarning,
        stacklevel=3,
    )
