"""What lies in the folder of a store, and which of it stands for what; nothing is written."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from usher_pipeline.errors import StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.segments import Segments
    from usher_pipeline.records import Entry

__all__ = ["Item", "Place", "currents", "items", "parts_of", "size_of"]

#: An entry among all of a store: its name, and the stem of its files.
Place: TypeAlias = tuple[str, str]

#: The kind of a result that is a dictionary of frames, each stored under a name of its own.
_DICT: Final = "dict"
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Item:
    """An entry with what the disk says of its segment.

    Attributes:
        entry: The entry.
        size_bytes: The size of its segment; 0 if it has none.
        disk: What tells the file from others, since one file can be the segment of several
            entries; None if there is none.
        used_at: When the segment was last read, as far as the disk keeps count (UTC).
        written_at: When it was written (UTC).
        is_pinned: Whether somebody pinned its key.
    """

    entry: Entry
    size_bytes: int = 0
    disk: tuple[int, int] | None = None
    used_at: datetime = _NEVER
    written_at: datetime = _NEVER
    is_pinned: bool = False

    @property
    def place(self) -> Place:
        """Which entry it is."""
        return self.entry.name, self.entry.stem

    @property
    def is_dict(self) -> bool:
        """Whether it lists the frames of a dictionary."""
        return self.entry.kind == _DICT


def items(segments: Segments) -> list[Item]:
    """Return every entry of a store, those that a newer one of their key replaced included.

    Args:
        segments: The folder of sealed results.
    """
    return [item for folder in segments.folders() for item in _items_of(segments, folder.name)]


def _items_of(segments: Segments, folder: str) -> Iterator[Item]:
    pins: dict[str, frozenset[str]] = {}
    for entry in segments.entries_in(folder):
        if entry.name not in pins:
            pins[entry.name] = segments.pins(entry.name)
        yield _item(segments, entry, is_pinned=entry.key.digest in pins[entry.name])


def _item(segments: Segments, entry: Entry, *, is_pinned: bool) -> Item:
    try:
        facts = os.stat(segments.segment(entry))  # noqa: PTH116 - there may be many
    except OSError:
        return Item(entry, is_pinned=is_pinned)
    used = max(facts.st_atime, facts.st_mtime)
    return Item(
        entry,
        facts.st_size,
        (facts.st_dev, facts.st_ino),
        datetime.fromtimestamp(used, UTC),
        datetime.fromtimestamp(facts.st_mtime, UTC),
        is_pinned,
    )


def size_of(found: Iterable[Item]) -> int:
    """Return how many bytes some segments take on the disk, each file counted once."""
    return sum({item.disk: item.size_bytes for item in found}.values())


# --- what stands for what ---------------------------------------------------------------


def currents(backend: LocalBackend, found: Sequence[Item]) -> set[Place]:
    """Return the entries that plain names stand for, or soon will.

    The folder says it nearly always. Where it does not, the database is asked, and if that
    is busy every entry of the name counts: better too many than one too few.

    Args:
        backend: The store.
        found: Its entries.
    """
    by_name: dict[str, list[Item]] = defaultdict(list)
    for item in found:
        by_name[item.entry.name].append(item)
    places = {place for name in by_name for place in _told(backend, name)}
    unsure = [name for name, of_name in by_name.items() if _is_unsure(backend, name, of_name)]
    return places | _asked(backend, {name: by_name[name] for name in unsure})


def _told(backend: LocalBackend, name: str) -> Iterator[Place]:
    """Yield what the folder says of one name."""
    segments = backend.segments
    marked = [each for each in segments.pending() if each.name == name]
    entries = [segments.find(name, each.key) for each in marked]
    for entry in (*entries, backend.current(name)):
        if entry is not None:
            yield name, entry.stem


def _is_unsure(backend: LocalBackend, name: str, of_name: Sequence[Item]) -> bool:
    published = backend.segments.published(name)
    return len(of_name) > 1 and published not in {item.entry.stem for item in of_name}


def _asked(backend: LocalBackend, unsure: Mapping[str, Sequence[Item]]) -> set[Place]:
    """Return what the database says of the names that the folder does not tell."""
    if not unsure:
        return set()
    try:
        rows = backend.tables.rows(timeout_s=0.0)
    except StoreBusyError:
        return {item.place for of_name in unsure.values() for item in of_name}
    held = {(row.table_name, row.key, row.content) for row in rows}
    return {
        item.place
        for of_name in unsure.values()
        for item in of_name
        if (item.entry.name, item.entry.key.digest, item.entry.content) in held
    }


def parts_of(segments: Segments, found: Sequence[Item]) -> dict[Place, list[Place]]:
    """Return for each dictionary of frames the entries of its frames that are there.

    Args:
        segments: The folder of sealed results.
        found: Its entries.
    """
    by_key: dict[str, list[Entry]] = defaultdict(list)
    for item in found:
        by_key[item.entry.key.digest].append(item.entry)
    return {item.place: _parts(segments, item.entry, by_key) for item in found if item.is_dict}


def _parts(
    segments: Segments, whole: Entry, by_key: Mapping[str, Sequence[Entry]]
) -> list[Place]:
    # A part stays under the key that computed it, whatever was accepted since.
    key = whole.accepted[0].key if whole.accepted else whole.key.digest
    prefix = f"{whole.name}__"
    like = [entry for entry in by_key.get(key, ()) if entry.name.startswith(prefix)]
    listed = _listed(segments, whole)
    if listed is None:
        # The list itself can not be read: whatever looks like a part may be one.
        return [(entry.name, entry.stem) for entry in like]
    latest: dict[Place, Entry] = {}
    for entry in like:
        known = latest.get((entry.name, entry.content))
        if known is None or known.number < entry.number:
            latest[entry.name, entry.content] = entry
    return [(latest[part].name, latest[part].stem) for part in listed if part in latest]


def _listed(segments: Segments, whole: Entry) -> list[Place] | None:
    """Return names and contents of the parts that a dictionary lists; None if unknown."""
    table = segments.map(whole)
    if table is None:
        return None
    from usher_pipeline.frames import adapter_of_kind

    try:
        refs = adapter_of_kind(_DICT).from_arrow(table, whole.schema)
    except ValueError:
        return None
    return [(ref.table_name, ref.content) for ref in refs]
