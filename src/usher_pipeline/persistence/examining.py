"""Whether a store, and the disk that it lies on, are as they should be; nothing is written."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from usher_pipeline.display import age, size
from usher_pipeline.errors import StoreBusyError, StoreError
from usher_pipeline.persistence import engine, seals
from usher_pipeline.persistence.entries import is_of_another_version, read_entry
from usher_pipeline.persistence.flights import LOCKS, holders
from usher_pipeline.persistence.usage import measure
from usher_pipeline.planning import CLOCK_TOLERANCE_S
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usher_pipeline.persistence.local import LocalBackend

__all__ = ["Check", "State", "examined", "file_system"]

#: What came of a check: all is well, something is worth knowing, or something is wrong.
State: TypeAlias = Literal["ok", "note", "problem"]

#: Less free space than this is a problem, for a result that is written and then published.
_LEAST_FREE_BYTES: Final = 1_000_000_000
#: File systems of networks, on which locks of several machines may not see each other.
_NETWORKS: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "lustre", "gpfs", "beegfs", "afs")


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found.

    Attributes:
        subject: What was looked at.
        state: What came of it.
        said: What was found, in words.
        hint: What to do; empty if nothing.
    """

    subject: str
    state: State
    said: str
    hint: str = ""


def examined(backend: LocalBackend) -> list[Check]:
    """Return what there is to say of a store.

    Args:
        backend: The store.
    """
    found = [*_disk(backend.path)]
    if not backend.path.exists() and not backend.segments.folder.exists():
        return [
            *found,
            Check("store", "note", "it is not there yet", "The first result makes it."),
        ]
    found += _access(backend)
    try:
        found += _contents(backend)
    except (OSError, StoreError) as problem:
        found.append(Check("contents", "problem", f"they can not be read: {problem}"))
    found.append(_database(backend))
    found += _locks(backend)
    found.append(_secret())
    return found


# --- the disk ---------------------------------------------------------------------------


def file_system(path: Path, mounts: str) -> str:
    r"""Return the type of the file system that a path lies on; empty if that is not told.

    Args:
        path: The path, resolved.
        mounts: The text of ``/proc/mounts``.

    >>> file_system(Path("/data/s.duckdb"), "a / ext4 rw\nb /data nfs4 rw")
    'nfs4'
    """
    found, length = "", -1
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:  # noqa: PLR2004 - device, place, type
            continue
        place = fields[1].replace("\\040", " ")
        is_above = place == "/" or path == Path(place) or Path(place) in path.parents
        if is_above and len(place) >= length:
            found, length = fields[2], len(place)
    return found


def _disk(path: Path) -> Iterator[Check]:
    nearest = next(each for each in (path, *path.parents) if each.exists())
    try:
        free_bytes = shutil.disk_usage(nearest).free
        state: State = "ok" if free_bytes >= _LEAST_FREE_BYTES else "problem"
        hint = "" if state == "ok" else "Make room, or let `usher prune` do it."
        yield Check("free space", state, size(free_bytes), hint)
        mounts = Path("/proc/mounts").read_text("utf-8", "replace")
    except OSError as problem:
        yield Check("disk", "note", f"it does not tell: {problem}")
        return
    kind = file_system(path, mounts)
    is_shared = any(kind == each or kind.startswith(f"{each}") for each in _NETWORKS)
    hint = "Let one machine at a time write, unless its locks are known to be seen by all."
    yield Check("file system", "note" if is_shared else "ok", kind, hint if is_shared else "")


def _access(backend: LocalBackend) -> Iterator[Check]:
    segments = backend.segments.folder
    for subject, path in (("database file", backend.path), ("folder of results", segments)):
        if not path.exists():
            said = "it is not there; results are served by the other half"
            yield Check(subject, "note", said, "`usher verify` says what is lost.")
        elif not os.access(path, os.R_OK):
            yield Check(subject, "problem", "this user can not read it", f"chmod u+r {path}")
        elif not os.access(path, os.W_OK):
            said = "this user can not write it; hits work, new results are not stored"
            yield Check(subject, "note", said)
        else:
            yield Check(subject, "ok", str(path))


# --- what is in it ----------------------------------------------------------------------


def _contents(backend: LocalBackend) -> Iterator[Check]:
    usage = measure(backend)
    count = sum(each.entry_count for each in usage.names)
    yield Check("contents", "ok", f"{count} results, {size(usage.size_bytes)}")
    if usage.damaged_count:
        said = f"{usage.damaged_count} files were set aside, {size(usage.damaged_size_bytes)}"
        yield Check("damage", "note", said, "They are swept by `usher prune` after 30 days.")
    if usage.leftover_count:
        said = f"{usage.leftover_count} files, {size(usage.leftover_size_bytes)}"
        yield Check(
            "left over", "note", said, "`usher prune` sweeps what nobody writes any more."
        )
    if usage.unfinished_count:
        said = f"{usage.unfinished_count} calls, {size(usage.unfinished_size_bytes)}"
        yield Check("unfinished", "note", said, "The same calls go on with it.")
    yield from _unreadable(backend)
    now = utc_now()
    newest = max((each.newest_at for each in usage.names), default=now)
    if (newest - now).total_seconds() > CLOCK_TOLERANCE_S:
        said = f"a result was stored in the future, at {newest:%Y-%m-%d %H:%M} UTC"
        yield Check("clock", "problem", said, "Set the clock; results seem to have expired.")
    pending = backend.segments.pending()
    if pending:
        oldest = age(min(each.meant_at for each in pending), now, ending="ago")
        said = f"{len(pending)} tables are to be written, since {oldest}"
        yield Check("tables", "note", said, "Whoever opens the store next writes them.")


def _unreadable(backend: LocalBackend) -> Iterator[Check]:
    files = [
        path
        for folder in backend.segments.folders()
        for path in backend.segments.entry_files(folder.name)
        if read_entry(path) is None
    ]
    newer = sum(map(is_of_another_version, files))
    if newer:
        said = f"{newer} results are in a format that this library does not read"
        yield Check("formats", "note", said, "A newer usher_pipeline wrote them; use that.")
    if len(files) > newer:
        said = f"{len(files) - newer} entries can not be read"
        yield Check("entries", "problem", said, "`usher verify` mends what can be.")


def _database(backend: LocalBackend) -> Check:
    if not backend.path.is_file():
        return Check("database", "note", "there is none", "Opening the store makes it again.")
    try:
        with engine.session(backend.path, timeout_s=0.5, read_only=True) as session:
            session.rows("SELECT count(*) FROM duckdb_tables()")
    except StoreBusyError as problem:
        said = f"it is held by {problem.holder}"
        return Check("database", "note", said, "Hits need it not; tables wait for it.")
    except StoreError as problem:
        return Check("database", "problem", problem.problem, problem.cure)
    return Check("database", "ok", "it can be opened, and nobody else writes to it")


def _locks(backend: LocalBackend) -> Iterator[Check]:
    for holder in holders(backend.segments.folder / LOCKS):
        yield Check("at work", "note", f"{holder.name} is computed by {holder}")


def _secret() -> Check:
    if seals.has_secret():
        return Check("seals", "ok", "files that this user stored are told by a secret")
    hint = "Let this user alone read and write $XDG_STATE_HOME/usher_pipeline/seal.key."
    return Check("seals", "note", "there is no secret; each file is checked in full once", hint)
