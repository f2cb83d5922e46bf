"""What a store uses on the disk, name by name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usher_pipeline.display import age, size
from usher_pipeline.persistence.inventory import items, parts_of, size_of
from usher_pipeline.persistence.maps import every_map
from usher_pipeline.persistence.sweeping import leftovers
from usher_pipeline.persistence.unfinished import every_work
from usher_pipeline.records import utc_now
from usher_pipeline.views import Table, view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from usher_pipeline.persistence.inventory import Item
    from usher_pipeline.persistence.local import LocalBackend

__all__ = ["NameUsage", "Usage", "columned", "database_size", "measure"]

#: How much of a key is shown; enough to name it again.
_KEY_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class NameUsage:
    """What the results of one name use.

    Attributes:
        name: The checkpoint.
        entry_count: How many results are stored under it.
        evicted_count: How many of these have no segment; the table serves them.
        size_bytes: What its segments take on the disk, those of its parts included.
        row_count: How many rows its current result has; None if it has none.
        newest_at: When its newest result was stored (UTC).
        oldest_at: When its oldest was (UTC).
        pinned: The digests of the keys that are pinned.
        parts: For a checkpoint that returns a dictionary, its frames.
    """

    name: str
    entry_count: int
    evicted_count: int
    size_bytes: int
    row_count: int | None
    newest_at: datetime
    oldest_at: datetime
    pinned: tuple[str, ...] = ()
    parts: tuple[NameUsage, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store uses on the disk.

    Attributes:
        path: Its database.
        names: Its checkpoints, the biggest first.
        segments_size_bytes: All segments; a file with two entries counts once.
        database_size_bytes: The database file, with its log if it has one.
        damaged_count: How many files were set aside as damaged.
        damaged_size_bytes: How big they are.
        leftover_count: How many temporary files and segments without an entry there are.
        leftover_size_bytes: How big they are.
        unfinished_count: How many calls have yielded a part of their result so far.
        unfinished_size_bytes: How big these parts are.
        map_count: How many maps there are, whose items are stored one by one.
        maps_size_bytes: How big these are.
        looked_at: When all of this was looked up (UTC).
    """

    path: Path
    names: tuple[NameUsage, ...]
    segments_size_bytes: int
    database_size_bytes: int
    damaged_count: int
    damaged_size_bytes: int
    leftover_count: int
    leftover_size_bytes: int
    looked_at: datetime
    unfinished_count: int = 0
    unfinished_size_bytes: int = 0
    map_count: int = 0
    maps_size_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """All of it."""
        rest = self.damaged_size_bytes + self.leftover_size_bytes + self.unfinished_size_bytes
        results = self.segments_size_bytes + self.maps_size_bytes
        return results + self.database_size_bytes + rest

    def __str__(self) -> str:
        """Return a table for people, with a line for each name."""
        facts = [f"{self.path.name} · {size(self.size_bytes)}", *self._facts()]
        rows = self._table()
        return "\n".join([" · ".join(facts), *(columned([_HEAD, *rows]) if rows else ())])

    def _repr_html_(self) -> str:
        facts = {"place": str(self.path), "uses": " · ".join(self._facts())}
        tables = [Table(_HEAD, self._table())]
        return view(self.path.name, facts, tables, note=size(self.size_bytes))

    def _facts(self) -> list[str]:
        facts = [
            f"segments {size(self.segments_size_bytes)}",
            f"database {size(self.database_size_bytes)}",
        ]
        if self.unfinished_count:
            shown = f"{size(self.unfinished_size_bytes)} ({self.unfinished_count})"
            facts.append(f"unfinished {shown}")
        if self.map_count:
            facts.append(f"items of maps {size(self.maps_size_bytes)} ({self.map_count})")
        if self.damaged_count:
            facts.append(f"damaged {size(self.damaged_size_bytes)} ({self.damaged_count})")
        if self.leftover_count:
            facts.append(f"left over {size(self.leftover_size_bytes)} ({self.leftover_count})")
        return facts

    def _table(self) -> list[tuple[str, ...]]:
        return [row for each in self.names for row in _rows(each, self.looked_at, "")]


_HEAD: Final = ("name", "entries", "size", "rows", "newest", "oldest", "pinned")


def _rows(usage: NameUsage, now: datetime, indent: str) -> Iterator[tuple[str, ...]]:
    evicted = f" ({usage.evicted_count} evicted)" if usage.evicted_count else ""
    yield (
        f"{indent}{usage.name}",
        f"{usage.entry_count}{evicted}",
        size(usage.size_bytes),
        "" if usage.row_count is None else f"{usage.row_count:,}",
        age(usage.newest_at, now),
        age(usage.oldest_at, now),
        ", ".join(key[:_KEY_SHOWN] for key in usage.pinned),
    )
    for part in usage.parts:
        yield from _rows(part, now, f"{indent}  ")


def columned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of texts as lines, each column as wide as its widest text.

    >>> columned([("name", "size"), ("genes", "2 MB")])
    ['name   size', 'genes  2 MB']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def measure(backend: LocalBackend, now: datetime | None = None) -> Usage:
    """Return what a store uses on the disk; the database is not opened.

    Args:
        backend: The store.
        now: The present moment (UTC), for tests.
    """
    found = items(backend.segments)
    left = list(leftovers(backend.segments))
    damaged = [each for each in left if each.kind == "damaged"]
    rest = [each for each in left if each.kind != "damaged"]
    over = {each.path.parent for each in rest}
    begun = [
        each.size_bytes for each in every_work(backend.segments) if each.folder not in over
    ]
    maps = [
        stored.size_bytes
        for folder, stored in every_map(backend.segments)
        if stored is not None and folder not in over
    ]
    return Usage(
        path=backend.path,
        names=_names(backend, found),
        segments_size_bytes=size_of(found),
        database_size_bytes=database_size(backend.path),
        damaged_count=len(damaged),
        damaged_size_bytes=sum(each.size_bytes for each in damaged),
        leftover_count=len(rest),
        leftover_size_bytes=sum(each.size_bytes for each in rest),
        looked_at=now or utc_now(),
        unfinished_count=len(begun),
        unfinished_size_bytes=sum(begun),
        map_count=len(maps),
        maps_size_bytes=sum(maps),
    )


def database_size(path: Path) -> int:
    """Return the size of a database with its log, in bytes; 0 if there is none."""
    found = 0
    for each in (path, Path(f"{path}.wal")):
        try:
            found += each.stat().st_size
        except OSError:
            continue
    return found


def _names(backend: LocalBackend, found: Sequence[Item]) -> tuple[NameUsage, ...]:
    by_name: dict[str, list[Item]] = defaultdict(list)
    for item in found:
        by_name[item.entry.name].append(item)
    whole_of = {
        part: whole
        for (whole, _), places in parts_of(backend.segments, found).items()
        for part, _ in places
    }
    parts: dict[str, list[NameUsage]] = defaultdict(list)
    for name, whole in whole_of.items():
        parts[whole].append(_used(backend, name, by_name, ()))
    every = [
        _used(backend, name, by_name, sorted(parts[name], key=lambda part: part.name))
        for name in by_name
        if name not in whole_of
    ]
    return tuple(sorted(every, key=lambda each: (-each.size_bytes, each.name)))


def _used(
    backend: LocalBackend,
    name: str,
    by_name: Mapping[str, Sequence[Item]],
    parts: Sequence[NameUsage],
) -> NameUsage:
    own = by_name[name]
    current = backend.current(name)
    moments = [item.entry.known_at for item in own]
    return NameUsage(
        name=name,
        entry_count=len(own),
        evicted_count=sum(item.disk is None for item in own),
        size_bytes=size_of([*own, *(i for part in parts for i in by_name[part.name])]),
        row_count=current.row_count if current is not None else None,
        newest_at=max(moments),
        oldest_at=min(moments),
        pinned=tuple(sorted({item.entry.key.digest for item in own if item.is_pinned})),
        parts=tuple(parts),
    )
