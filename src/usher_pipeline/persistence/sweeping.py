"""What was left over in a store: temporary files, segments without an entry, old damage.

A file goes only when it is older than an hour and nobody holds it: whoever writes one
holds it until the commit. Lock files stay, since to unlink one that others wait for would
give two holders; and so do the parts of work that is not finished.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import uuid4

from usher_pipeline.persistence.entries import is_entry_name
from usher_pipeline.persistence.flights import LOCKS, NOTES
from usher_pipeline.persistence.locking import try_hold
from usher_pipeline.persistence.maps import every_map
from usher_pipeline.persistence.segments import put_back
from usher_pipeline.persistence.unfinished import every_work
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from usher_pipeline.persistence.segments import Segments

__all__ = ["DAMAGED", "Leftover", "Swept", "copy_name", "is_copy_name", "leftovers", "sweep"]

#: The folder for what was found damaged and set aside, in the folder of checkpoints.
DAMAGED: Final = ".damaged"

#: Folders that hold records of ours; of them only temporary files are ever left over.
_RECORDS: Final = (".pending", ".pending-runs", ".runs")

_YOUNGEST: Final = timedelta(hours=1)
_DAMAGE_KEPT: Final = timedelta(days=30)

LeftoverKind: TypeAlias = Literal["temporary", "orphan", "damaged"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file that no result needs.

    Attributes:
        path: Where it lies.
        kind: A temporary file, an orphan, which is a segment without an entry, or damaged
            and set aside.
        size_bytes: Its size.
        changed_at: When it was last written, moved, or given a name (UTC).
    """

    path: Path
    kind: LeftoverKind
    size_bytes: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Swept:
    """What sweeping removed.

    Attributes:
        file_count: How many files.
        size_bytes: How big they were.
    """

    file_count: int = 0
    size_bytes: int = 0


def leftovers(segments: Segments) -> Iterator[Leftover]:
    """Yield every leftover of a store, however young, held by its writer or not.

    Args:
        segments: The folder of sealed results.
    """
    for folder in segments.folders():
        yield from _in_folder(folder)
    for name in _RECORDS:
        yield from _listed(segments.folder / name, "temporary")
    yield from _listed(segments.folder, "temporary")
    yield from _listed(segments.folder / LOCKS, "temporary")
    for path in _paths(segments.folder / DAMAGED, deep=True):
        yield from _leftover(path, "damaged")
    # Copies of the database of a compaction that did not end.
    yield from _finished(segments)
    yield from _of_maps(segments)
    stem = segments.folder.name.removesuffix(".checkpoints")
    for path in _paths(segments.folder.parent):
        if is_copy_name(path.name, stem):
            yield from _leftover(path, "temporary")


def _finished(segments: Segments) -> Iterator[Leftover]:
    """Yield the parts of work that became a result, whose process was killed right then."""
    for folder, work, _ in every_work(segments):
        parts = work.parts() if work is not None else []
        entry = segments.find(work.name, work.digest) if work is not None and parts else None
        # Of a refresh that is under way there are parts as well, and an older result.
        is_stored = entry is not None and entry.created_at > parts[-1].made_at
        if is_stored or work is None:
            for path in _paths(folder):
                yield from _leftover(path, "temporary")


def _of_maps(segments: Segments) -> Iterator[Leftover]:
    """Yield what is left of maps that are removed, and what a killed writer left in others."""
    for folder, stored in every_map(segments):
        for path in _paths(folder):
            if stored is None or _is_temporary(path.name) or stored.is_covered(path.name):
                yield from _leftover(path, "temporary")


def copy_name(stem: str) -> str:
    """Return a new name for a copy of a database that is about to replace it.

    >>> is_copy_name(copy_name("store"), "store"), is_copy_name(copy_name("a"), "store")
    (True, False)
    """
    return f".{stem}.{uuid4().hex}.tmp"


def is_copy_name(name: str, stem: str) -> bool:
    """Tell whether a name is one that `copy_name` gave, or that of the log of such a copy."""
    middle = name.removesuffix(".wal").removeprefix(f".{stem}.").removesuffix(".tmp")
    is_ours = name.removesuffix(".wal") == f".{stem}.{middle}.tmp"
    return is_ours and len(middle) == _HEX_LENGTH and not set(middle) - set("0123456789abcdef")


_HEX_LENGTH: Final = 32


def _in_folder(folder: Path) -> Iterator[Leftover]:
    paths = list(_paths(folder))
    names = {path.name for path in paths}
    for path in paths:
        is_segment = is_entry_name(f"{path.stem}.json") and path.suffix == ".arrow"
        if is_segment and f"{path.stem}.json" not in names:
            yield from _leftover(path, "orphan")
        elif _is_temporary(path.name):
            yield from _leftover(path, "temporary")


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _listed(folder: Path, kind: LeftoverKind) -> Iterator[Leftover]:
    for path in _paths(folder):
        # A note of who computes or waits is held by its writer, like a temporary file.
        if _is_temporary(path.name) or (folder.name == LOCKS and path.suffix in NOTES):
            yield from _leftover(path, kind)


def _paths(folder: Path, *, deep: bool = False) -> Iterator[Path]:
    try:
        found = sorted(folder.rglob("*") if deep else folder.iterdir())
    except OSError:
        return
    yield from found


def _leftover(path: Path, kind: LeftoverKind) -> Iterator[Leftover]:
    with suppress(OSError):
        facts = path.lstat()
        if path.is_file() and not path.is_symlink():
            # The content of a file keeps its age when the file is moved, copied or gets a
            # second name; that something was done to the file does not.
            moment = datetime.fromtimestamp(max(facts.st_ctime, facts.st_mtime), UTC)
            yield Leftover(path, kind, facts.st_size, moment)


def sweep(
    segments: Segments, *, older_than: timedelta = _YOUNGEST, now: datetime | None = None
) -> Swept:
    """Remove the leftovers of a store that are old and that nobody holds.

    Args:
        segments: The folder of sealed results.
        older_than: How old a leftover has to be; what was set aside as damaged has to be
            30 days old.
        now: The present moment (UTC), for tests.
    """
    moment = now or utc_now()
    gone = [
        each
        for each in leftovers(segments)
        if _is_old(each, moment, older_than) and _removed(each)
    ]
    return Swept(len(gone), sum(each.size_bytes for each in gone))


def _is_old(leftover: Leftover, now: datetime, older_than: timedelta) -> bool:
    least = max(older_than, _DAMAGE_KEPT) if leftover.kind == "damaged" else older_than
    return now - leftover.changed_at > least


def _removed(leftover: Leftover) -> bool:
    with suppress(OSError), try_hold(leftover.path) as held:
        if held is None:
            return False
        if leftover.kind == "orphan":
            return _orphan_removed(leftover.path, held)
        leftover.path.unlink()
        _drop_empty(leftover)
        return True
    return False


def _orphan_removed(path: Path, held: os.stat_result) -> bool:
    """Remove a segment without an entry, unless it just became that of a new result.

    A result may get the number of the orphan: then its segment comes in the orphan's place
    while we look. So it is taken out of the way first, and put back if it is another one.
    """
    aside = path.with_name(f".{uuid4().hex}.arrow.tmp")
    path.rename(aside)
    facts = aside.lstat()
    is_same = (facts.st_dev, facts.st_ino) == (held.st_dev, held.st_ino)
    if not is_same or path.with_suffix(".json").exists():
        put_back(aside, path)
        return False
    aside.unlink()
    return True


def _drop_empty(leftover: Leftover) -> None:
    if leftover.kind == "damaged":
        with suppress(OSError):
            leftover.path.parent.rmdir()
