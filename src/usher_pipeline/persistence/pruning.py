"""Which results may go; a pure function decides.

What a plain name stands for never goes, nor what is pinned, nor what something that stays
needs: the frames of a dictionary; the results that it was made from, without which it
would not answer any more; and of several results of one key the latest, without which an
older one would answer again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from usher_pipeline.display import size
from usher_pipeline.errors import CriterionMissingError, OptionError
from usher_pipeline.persistence.inventory import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from usher_pipeline.persistence.inventory import Item, Place

__all__ = ["Criteria", "Prunable", "Stock", "prunable"]


@dataclass(frozen=True, slots=True)
class Criteria:
    """What may go; a result goes that any of them names.

    Attributes:
        older_than: What was stored longer ago.
        keep_bytes: The oldest, until the segments of the rest are no bigger.
        keep_latest: All of a name but so many of the newest.
        names: Only results of these names; without another criterion all of them.
    """

    older_than: timedelta | None = None
    keep_bytes: int | None = None
    keep_latest: int | None = None
    names: frozenset[str] | None = None

    @property
    def has_names_alone(self) -> bool:
        """Whether nothing but names is stated."""
        return (self.older_than, self.keep_bytes, self.keep_latest) == (None, None, None)

    def require(self) -> None:
        """Refuse criteria that name nothing, or what can not be.

        Raises:
            CriterionMissingError: None is stated.
            OptionError: One is below zero, or no such quantity at all.
        """
        if self.has_names_alone and self.names is None:
            raise CriterionMissingError("prune", self.__dataclass_fields__)
        old = self.older_than
        if old is not None and not isinstance(old, timedelta):
            raise OptionError("prune", "older_than", "a timedelta", repr(old))
        for option, value in (
            ("keep_bytes", self.keep_bytes),
            ("keep_latest", self.keep_latest),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise OptionError("prune", option, "a whole number", repr(value))
            if value is not None and value < 0:
                raise OptionError("prune", option, "0 or more", str(value))
        if old is not None and old < timedelta(0):
            raise OptionError("prune", "older_than", "0 or more", str(old))


@dataclass(frozen=True, slots=True)
class Stock:
    """All that is stored, and what holds what.

    Attributes:
        items: Every entry.
        kept: Those that never go: current, about to be, or pinned.
        parts: The frames of each dictionary.
    """

    items: Sequence[Item]
    kept: Collection[Place] = ()
    parts: Mapping[Place, Sequence[Place]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prunable:
    """A result that may go, and why.

    Attributes:
        name: The checkpoint.
        key: The digest of its key.
        number: Which result of that key it is.
        known_at: When it was stored, or last accepted (UTC).
        size_bytes: The size of its segment.
        why: Which criterion names it.
    """

    name: str
    key: str
    number: int
    known_at: datetime
    size_bytes: int
    why: str

    @property
    def place(self) -> Place:
        """Which entry it is."""
        return self.name, f"{self.key}-{self.number}"


# --- deciding ---------------------------------------------------------------------------


def prunable(stock: Stock, criteria: Criteria, now: datetime) -> tuple[list[Prunable], int]:
    """Return what may go, the oldest first, and how much more was named and stays.

    Args:
        stock: All that is stored.
        criteria: What may go.
        now: The present moment (UTC).
    """
    needs = _needs(stock, criteria.names or frozenset())
    wanted = _wanted(stock, criteria, now)
    gone = _free(stock, needs, wanted)
    if criteria.keep_bytes is not None:
        more = _until_it_fits(stock, needs, wanted, criteria)
        wanted |= {place: more[place] for place in more if place not in wanted}
        gone = _free(stock, needs, wanted)
    going = (item for item in sorted(stock.items, key=_age_order) if item.place in gone)
    return [_prunable(each, gone[each.place]) for each in going], len(wanted) - len(gone)


def _prunable(item: Item, why: str) -> Prunable:
    e = item.entry
    return Prunable(e.name, e.key.digest, e.number, e.known_at, item.size_bytes, why)


def _age_order(item: Item) -> tuple[datetime, str, int]:
    return item.entry.known_at, item.entry.name, item.entry.number


def _wanted(stock: Stock, criteria: Criteria, now: datetime) -> dict[Place, str]:
    """Return what the criteria name by themselves, with the reason."""
    found: dict[Place, str] = {}
    by_name: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(_considered(stock, criteria), key=_age_order, reverse=True):
        by_name[item.entry.name].append(item)
    for name, newest_first in by_name.items():
        for rank, item in enumerate(newest_first):
            why = _why(criteria, name, rank, now - item.entry.known_at)
            if why:
                found[item.place] = why
    return found | _parts_of(stock, found)


def _why(criteria: Criteria, name: str, rank: int, old: timedelta) -> str:
    if criteria.has_names_alone:
        return f"of {name}"
    if criteria.older_than is not None and old > criteria.older_than:
        return f"older than {criteria.older_than}"
    if criteria.keep_latest is not None and rank >= criteria.keep_latest:
        return f"not of the latest {criteria.keep_latest}"
    return ""


def _considered(stock: Stock, criteria: Criteria) -> Iterator[Item]:
    for item in stock.items:
        if criteria.names is None or item.entry.name in criteria.names:
            yield item


def _parts_of(stock: Stock, wholes: Iterable[Place]) -> dict[Place, str]:
    return {
        part: f"part of {whole[0]}" for whole in wholes for part in stock.parts.get(whole, ())
    }


def _needs(stock: Stock, asked: Collection[str]) -> dict[Place, set[Place]]:
    """Return what each result needs; what a person asked for by name holds no lineage.

    Each one needs the next newer one of its key: an older one is not to be served in the
    place of the latest, which is looked for by counting up.
    """
    newer: dict[Place, Place] = {}
    before: dict[tuple[str, str], Place] = {}
    made: dict[tuple[str, str, str], Place] = {}
    for item in sorted(stock.items, key=lambda item: item.entry.number):
        entry = item.entry
        older = before.get((entry.name, entry.key.digest))
        if older is not None:
            newer[older] = item.place
        before[entry.name, entry.key.digest] = item.place
        # What was read by its name bears no key.
        for key in (entry.key.digest, ""):
            made[entry.name, key, entry.content] = item.place
    needs: dict[Place, set[Place]] = {}
    for item in stock.items:
        entry = item.entry
        needs[item.place] = set(stock.parts.get(item.place, ()))
        if item.place in newer:
            needs[item.place].add(newer[item.place])
        needs[item.place] |= {
            made[place]
            for read in (*entry.inputs, *entry.reads)
            if (place := (read.name, read.answered_by, read.content)) in made
            if not read.store and read.name not in asked
        }
    return needs


def _free(
    stock: Stock, needs: Mapping[Place, Collection[Place]], wanted: Mapping[Place, str]
) -> dict[Place, str]:
    """Return what of the wanted nothing that stays leads to."""
    reached = {item.place for item in stock.items if item.place not in wanted}
    reached.update(stock.kept)
    ahead = list(reached)
    while ahead:
        for place in needs.get(ahead.pop(), ()):
            if place not in reached:
                reached.add(place)
                ahead.append(place)
    return {place: why for place, why in wanted.items() if place not in reached}


def _until_it_fits(
    stock: Stock,
    needs: Mapping[Place, Collection[Place]],
    wanted: Mapping[Place, str],
    criteria: Criteria,
) -> dict[Place, str]:
    """Return the oldest results, as few as it takes for the rest to fit."""
    considered = sorted(_considered(stock, criteria), key=_age_order)
    limit = criteria.keep_bytes or 0

    def first(count: int) -> dict[Place, str]:
        chosen = {item.place: f"more than {size(limit)}" for item in considered[:count]}
        return _parts_of(stock, chosen) | chosen

    def fits(count: int) -> bool:
        gone = _free(stock, needs, {**first(count), **wanted})
        return size_of(item for item in considered if item.place not in gone) <= limit

    return first(_least(len(considered), fits))


def _least(most: int, fits: Callable[[int], bool]) -> int:
    """Return the least number that fits, if more always fit as well; `most` if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low
