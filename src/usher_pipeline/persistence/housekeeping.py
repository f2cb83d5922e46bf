"""Removing from a store what nothing needs: results, and what was left over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usher_pipeline.display import age, size
from usher_pipeline.persistence.inventory import currents, items, parts_of, size_of
from usher_pipeline.persistence.pruning import Stock, prunable
from usher_pipeline.persistence.sweeping import Swept, sweep
from usher_pipeline.persistence.usage import columned
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from usher_pipeline.persistence.inventory import Place
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.pruning import Criteria, Prunable
    from usher_pipeline.records import Entry

__all__ = ["Pruned", "prune", "stock_of"]

_KEY_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        entries: The results, the oldest first.
        size_bytes: What their segments take on the disk that no other result needs.
        held_count: How many more the criteria name that stay: they are current or pinned,
            or something that stays needs them.
        swept: Which leftovers were removed; none in a dry run.
        dry_run: Whether nothing was removed.
        looked_at: When it was decided (UTC).
    """

    entries: tuple[Prunable, ...]
    size_bytes: int
    held_count: int
    swept: Swept
    dry_run: bool
    looked_at: datetime

    def __str__(self) -> str:
        """Return what went, or would go, as a table for people."""
        verb = "would go" if self.dry_run else "went"
        line = f"{len(self.entries)} results {verb} · {size(self.size_bytes)}"
        line += f" · {self.held_count} stay that something needs" if self.held_count else ""
        if self.swept.file_count:
            line += f" · swept {self.swept.file_count} files, {size(self.swept.size_bytes)}"
        rows = [_shown(entry, self.looked_at) for entry in self.entries]
        return "\n".join([line, *(columned([_HEAD, *rows]) if rows else ())])


_HEAD: Final = ("name", "key", "age", "size", "why")


def _shown(entry: Prunable, now: datetime) -> tuple[str, ...]:
    key, old = entry.key[:_KEY_SHOWN], age(entry.known_at, now)
    return entry.name, key, old, size(entry.size_bytes), entry.why


# --- doing ------------------------------------------------------------------------------


def stock_of(backend: LocalBackend) -> Stock:
    """Return all that is stored, and what holds what.

    Args:
        backend: The store.
    """
    found = items(backend.segments)
    pinned = {item.place for item in found if item.is_pinned}
    return Stock(found, currents(backend, found) | pinned, parts_of(backend.segments, found))


def prune(
    backend: LocalBackend, criteria: Criteria, *, dry_run: bool, now: datetime | None = None
) -> Pruned:
    """Remove results that nothing needs, or only say which; and sweep what was left over.

    Args:
        backend: The store.
        criteria: What may go.
        dry_run: Remove nothing.
        now: The present moment (UTC), for tests.

    Raises:
        CriterionMissingError: No criterion is stated.
        OptionError: One is below zero.
    """
    criteria.require()
    moment = now or utc_now()
    stock = stock_of(backend)
    found, held_count = prunable(stock, criteria, moment)
    if not dry_run:
        gone = _remove(backend, stock, [each.place for each in found])
        held_count += len(found) - len(gone)
        found = [each for each in found if each.place in gone]
    places = {each.place for each in found}
    left = size_of(item for item in stock.items if item.place not in places)
    swept = Swept() if dry_run else sweep(backend.segments, now=moment)
    return Pruned(tuple(found), size_of(stock.items) - left, held_count, swept, dry_run, moment)


def _remove(backend: LocalBackend, stock: Stock, places: Sequence[Place]) -> set[Place]:
    """Remove results; return which went."""
    items_by_place = {item.place: item for item in stock.items}
    gone: set[Place] = set()
    held: set[Place] = set()
    kept: set[tuple[str, str]] = set()

    def order(place: Place) -> tuple[bool, str, str, int]:
        # A dictionary goes before its frames: what is left is never half of one. Of a key
        # the lower numbers go first: none is ever missing below one that is there.
        item = items_by_place[place]
        entry = item.entry
        return not item.is_dict, entry.name, entry.key.digest, entry.number

    for place in sorted(places, key=order):
        entry = items_by_place[place].entry
        key = entry.name, entry.key.digest
        if place not in held and key not in kept and _removed(backend, entry):
            gone.add(place)
        else:
            kept.add(key)
            held.update(stock.parts.get(place, ()))
    return gone


def _removed(backend: LocalBackend, entry: Entry) -> bool:
    """Remove one result, unless somebody came to need it meanwhile."""
    segments = backend.segments
    marked = any((p.name, p.key) == (entry.name, entry.key.digest) for p in segments.pending())
    is_current = segments.published(entry.name) == entry.stem
    if marked or is_current or entry.key.digest in segments.pins(entry.name):
        return False
    segments.remove(entry)
    return True
