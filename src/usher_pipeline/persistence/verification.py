"""Looking through a whole store for damage: segments, published tables and parts of maps.

All is read and digested anew; what this process remembers of files that it looked at
before counts for nothing here. What is damaged is set aside, made good from its other
half where that is whole, and else is gone: the next call computes it, or asks the items
of a map again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from usher_pipeline.errors import DamagedDatabaseError, StoreBusyError, StoreError
from usher_pipeline.persistence import engine
from usher_pipeline.persistence.entries import (
    GONE,
    entry_anew,
    is_gone,
    is_of_another_version,
    why,
    write_json,
)
from usher_pipeline.persistence.findings import Finding, Verified
from usher_pipeline.persistence.maps import every_map, unstated
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.sweeping import leftovers
from usher_pipeline.persistence.tables import entry_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.findings import Half
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.maps import StoredMap
    from usher_pipeline.persistence.tables import Row
    from usher_pipeline.records import Entry

__all__ = ["verify"]

_GONE: Final = "gone; the next call computes it"
_STATED: Final = (
    "the next call that asks items writes it anew and keeps the others; of older code they "
    "have to be accepted again"
)
_LEFT: Final = "left where it is"
_UNREAD: Final = "it could not be read: "


@dataclass(slots=True)
class _Look:
    """What was found so far, and where.

    Attributes:
        backend: The store.
        result_count: How many results were looked at.
        table_count: How many tables were.
        size_bytes: How big the segments were.
        findings: What is damaged.
        evicted: What only the table has.
        unlisted: What only the database knows.
        map_count: How many maps were looked at.
    """

    backend: LocalBackend
    result_count: int = 0
    table_count: int = 0
    size_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    map_count: int = 0

    def found(self, entry: Entry, half: Half, problem: str, outcome: str, aside: Any) -> None:
        """Note a damage."""
        finding = Finding(entry.name, entry.key.digest, half, problem, outcome, str(aside))
        self.findings.append(finding)


def verify(backend: LocalBackend, names: Iterable[str] | None = None) -> Verified:
    """Look through a store for damage, and make good what can be.

    Args:
        backend: The store.
        names: Only results and maps of these names; all unless given.

    Raises:
        StoreBusyError: Others held the database for longer than we may wait. What was made
            good until then stays so.
    """
    look = _Look(backend)
    rows = {safe_name(r.table_name): r for r in backend.tables.rows() if r.key and r.entry}
    folders = {folder.name for folder in backend.segments.folders()} | rows.keys()
    names = None if names is None else frozenset(names)
    if names is not None:
        folders &= {safe_name(name) for name in names}
    for folder in sorted(folders):
        _look_at(look, folder, rows.get(folder))
    for _, stored in every_map(backend.segments):
        if stored is not None and (names is None or stored.name in names):
            _look_at_map(look, stored)
    for stored, trouble in unstated(backend.segments):
        if names is None or stored.name in names:
            if trouble is not None:
                _look_at_statement(look, stored, trouble)
            _look_at_map(look, stored)
    orphans = [each.path for each in leftovers(backend.segments) if each.kind == "orphan"]
    shown = [f"{p.parent.name}/{p.stem}" for p in orphans if p.parent.name in folders]
    return Verified(
        backend.path,
        look.result_count,
        look.table_count,
        look.size_bytes,
        tuple(look.findings),
        tuple(look.evicted),
        tuple(shown),
        tuple(look.unlisted),
        look.map_count,
    )


def _look_at(look: _Look, folder: str, row: Row | None) -> None:
    """Look at the results of one name, and at its table."""
    problem = _table_problem(look, row)
    whole: list[Entry] = []
    for path in look.backend.segments.entry_files(folder):
        entry = _entry_in(look, path, row)
        if entry is not None and _is_served(look, entry, row, problem):
            whole.append(entry)
    if row is None:
        return
    mirrored = [e for e in whole if (e.key.digest, e.content) == (row.key, row.content)]
    if problem:
        _replace_table(look, row, problem, mirrored)
    elif not mirrored:
        look.unlisted.append(row.table_name)


# --- tables -----------------------------------------------------------------------------


def _table_problem(look: _Look, row: Row | None) -> str:
    """Return what is wrong with a table; empty if nothing is, or if there is none."""
    if row is None:
        return ""
    look.table_count += 1
    troubles: tuple[type[Exception], ...] = (DamagedDatabaseError, *engine.errors())
    try:
        stored = look.backend.tables.fetch(row.table_name)
    except troubles as trouble:
        return f"it can not be read: {str(trouble).partition(chr(10))[0]}"
    if stored is None:
        return "it is not there"
    if stored.row is None or stored.row.changes != row.changes:
        # Another result was published meanwhile; it is whole, and the next look will see it.
        return ""
    return "" if stored.version() == row.content else "it holds something else"


def _replace_table(look: _Look, row: Row, problem: str, mirrored: list[Entry]) -> None:
    """Set a table aside, and publish its result again if its segment is whole."""
    entry = entry_of(row)
    if entry is None:
        return
    backend, segments = look.backend, look.backend.segments
    aside, trouble = _tried(lambda: backend.tables.set_aside(row))
    if trouble or aside is None:
        # Another result came in its place just now, which needs nothing.
        if trouble:
            look.found(entry, "table", problem, f"left as it is: {trouble}", "")
        return
    segments.note_published(row.table_name, "")
    if mirrored:
        segments.mark(entry, row.meant_at)
        backend.settle([row.table_name])
    outcome = "published again from its segment" if mirrored else _GONE
    look.found(entry, "table", problem, outcome, aside)


# --- entries and segments ---------------------------------------------------------------


def _entry_in(look: _Look, path: Path, row: Row | None) -> Entry | None:
    """Return the entry in a file, made good from the database if it is damaged."""
    name, key = unquote(path.parent.name), path.stem.partition("-")[0]
    found, trouble = _tried(lambda: _entry_or_other(path))
    if trouble:
        # It is not known whether it is damaged.
        look.findings.append(Finding(name, key, "entry", _UNREAD + trouble, _LEFT))
        return None
    entry: Entry | None
    entry, is_other = found
    if entry is not None or is_other or not path.exists():
        return entry
    segments = look.backend.segments
    mirrored = entry_of(row)
    intact, trouble = None, ""
    if mirrored is not None and mirrored.stem == path.stem:
        intact, trouble = _tried(lambda: segments.examine(mirrored))
    if trouble:
        look.findings.append(Finding(name, key, "segment", _UNREAD + trouble, _LEFT))
        return None
    if mirrored is not None and intact:
        aside, trouble = _tried(lambda: segments.set_aside(path))
        if not trouble:
            write_json(path, mirrored.to_json())
            outcome = "written again from the database"
            look.found(mirrored, "entry", "it can not be read", outcome, aside)
            return mirrored
    else:
        aside, trouble = _tried(lambda: segments.set_aside(path))
        _tried(lambda: segments.set_aside(path.with_suffix(".arrow")))
        if not trouble and segments.has_others(path):
            _tried(lambda: write_json(path, GONE))
    outcome = f"left where it is: {trouble}" if trouble else _GONE
    finding = Finding(name, key, "entry", "it can not be read", outcome, str(aside or ""))
    look.findings.append(finding)
    return None


def _entry_or_other(path: Path) -> tuple[Entry | None, bool]:
    """Return the entry in a file; if it is none, also whether it is to be something else."""
    entry = entry_anew(path, is_strict=True)
    is_other = entry is None and (
        is_of_another_version(path, is_strict=True) or is_gone(path, is_strict=True)
    )
    return entry, is_other


def _is_served(look: _Look, entry: Entry, row: Row | None, table_problem: str) -> bool:
    """Look at the segment of an entry; tell whether the result is there in the end."""
    segments = look.backend.segments
    seen = segments.facts(entry)
    intact, trouble = _tried(lambda: segments.examine(entry))
    if seen is None or segments.facts(entry) is None:
        # Somebody removed the result while we looked, or gave its number to another one.
        return False
    look.result_count += 1
    if trouble:
        # It is not known whether it is damaged.
        look.found(entry, "segment", _UNREAD + trouble, _LEFT, "")
        return False
    if intact:
        look.size_bytes += seen[1].st_size if seen[1] is not None else 0
        return True
    has_table = not table_problem and row is not None and row.content == entry.content
    if intact is None and has_table:
        look.evicted.append(f"{entry.name}/{entry.stem}")
        return True
    problem = "it is not there" if intact is None else "it is not what was stored"
    if has_table and (packed := look.backend.recall(entry)) is not None:
        return _heal(look, entry, packed, problem)
    return _lose(look, entry, seen, problem)


def _heal(look: _Look, entry: Entry, packed: Packed, problem: str) -> bool:
    """Seal a result again from its table, in the place of its damaged segment."""
    segments = look.backend.segments
    aside, trouble = _tried(lambda: segments.reseal(entry, packed))
    outcome = f"left where it is: {trouble}" if trouble else "sealed again from its table"
    look.found(entry, "segment", problem, outcome, aside or "")
    return not trouble


def _lose(
    look: _Look,
    entry: Entry,
    seen: tuple[os.stat_result, os.stat_result | None],
    problem: str,
) -> bool:
    """Set a result aside that nothing can make good."""
    segments = look.backend.segments
    path = segments.segment(entry)
    placed, trouble = None, ""
    if not _has_older(look, entry):
        # The entry first: without it nothing asks for the segment.
        beside = path.with_suffix(".json")
        placed, trouble = _tried(lambda: segments.set_aside(beside, seen[0]))
        if placed is None and not trouble:
            # Another result came in its place just now.
            look.result_count -= 1
            return False
    if not trouble and seen[1] is not None:
        damaged, trouble = _tried(lambda: segments.set_aside(path, seen[1]))
        placed = damaged or placed
    outcome = f"left where it is: {trouble}" if trouble else _GONE
    look.found(entry, "segment", problem, outcome, placed or "")
    return False


def _has_older(look: _Look, entry: Entry) -> bool:
    """Tell whether an older result of a key would answer, were the latest one gone."""
    stems = (f"{entry.key.digest}-{number}" for number in range(1, entry.number))
    return any(look.backend.segments.read(entry.name, stem) is not None for stem in stems)


# --- maps -------------------------------------------------------------------------------


def _look_at_statement(look: _Look, stored: StoredMap, trouble: str) -> None:
    """Set aside what says of a map what it is, if it is damaged; a call says it anew."""
    if trouble:
        aside, outcome, problem = None, _LEFT, _UNREAD + trouble
    else:
        aside, trouble = _tried(stored.set_statement_aside)
        outcome = f"left where it is: {trouble}" if trouble else _STATED
        problem = "what it says of the map can not be read"
    finding = Finding(stored.name, stored.digest, "map", problem, outcome, str(aside or ""))
    look.findings.append(finding)


def _look_at_map(look: _Look, stored: StoredMap) -> None:
    """Look at the parts of a map; the items of one that is damaged are asked again."""
    look.map_count += 1
    for stem in stored.stems():
        facts = stored.examine(stem)
        if facts.trouble:
            problem = _UNREAD + facts.trouble
            look.findings.append(Finding(stored.name, stored.digest, "part", problem, _LEFT))
            continue
        if not facts.problem:
            look.size_bytes += facts.size_bytes
            continue
        aside, trouble = _tried(partial(stored.set_seen_aside, facts))
        if aside is None and not trouble:
            # Parts were put together meanwhile, and another one stands for it.
            continue
        items = f"{facts.item_count:,} items" if facts.item_count else "its items"
        gone = f"gone; the next call asks {items} again"
        outcome = f"left where it is: {trouble}" if trouble else gone
        name, digest, placed = stored.name, stored.digest, str(aside or "")
        look.findings.append(Finding(name, digest, "part", facts.problem, outcome, placed))


def _tried(act: Callable[[], Any]) -> tuple[Any, str]:
    """Return what an action gave, and why it could not be done."""
    room = (OSError, MemoryError)
    troubles: tuple[type[Exception], ...] = (*room, StoreError, *engine.errors())
    try:
        return act(), ""
    except StoreBusyError:
        raise
    except troubles as problem:
        return None, why(problem)
