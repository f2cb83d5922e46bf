"""Results with their provenance as one file, for another store.

A bundle is a ZIP archive of ``bundle.json``, which counts the results, and for each of them
``<n>.json``, its entry, and ``<n>.arrow``, its segment. Names in the archive lead nowhere:
members are asked for by their numbers alone. Who pulls takes nothing on trust. All results
are put into a folder of their own first, where an entry has to agree with itself and each
segment is checked in full and digested; only if all are whole they are stored, each in the
way in which a result is that was just computed, with a statement in its entry that it was
pulled. What is there already is left as it is.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from errno import EINVAL
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from uuid import uuid4

from usher_pipeline._version import __version__
from usher_pipeline.errors import (
    BundleError,
    CheckpointMissError,
    CheckpointNameError,
    OutputError,
    StoreError,
    UnknownTableError,
)
from usher_pipeline.frames import Packed, adapter_of_kind
from usher_pipeline.persistence.entries import is_entry_name
from usher_pipeline.persistence.export import unwritable
from usher_pipeline.persistence.places import check_name, safe_name
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.planning import CLOCK_TOLERANCE_S
from usher_pipeline.records import Entry, Pull, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usher_pipeline.persistence.local import LocalBackend

__all__ = ["Carried", "pull", "push"]

_FORMAT: Final = 1
_HEAD: Final = "bundle.json"
#: No entry is as long as this, and nobody carries so many at once.
_MOST_JSON_BYTES: Final = 64_000_000
_MOST_RESULTS: Final = 100_000
_MOST_NUMBER: Final = 10**9
_LONGEST_STORE: Final = 1000
#: What those wait for who pull into one store; no key of a checkpoint is like it.
_FLIGHT: Final = ("usher pull", "pull")
_BLOCK_BYTES: Final = 1 << 20
_DICT: Final = "dict"
#: What zipfile raises for archives that are damaged, encrypted, or packed in odd ways.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    struct.error,
    UnicodeDecodeError,
)
#: The same results make the same file.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Carried:
    """A result that was pushed or pulled.

    Attributes:
        name: The checkpoint.
        key: The digest of its key.
        content: The digest of its frame.
        row_count: How many rows it has.
        size_bytes: How big its segment is.
        is_new: Whether the store that it was pulled into did not have it.
        is_asked: Whether it was asked for; else what was asked for was made from it, or is
            put together of it.
    """

    name: str
    key: str
    content: str
    row_count: int
    size_bytes: int
    is_new: bool = True
    is_asked: bool = True


# --- out --------------------------------------------------------------------------------


def push(backend: LocalBackend, names: Iterable[str], path: Path) -> list[Carried]:
    """Write the current results of some names to a file, with all that they were made from.

    Args:
        backend: The store.
        names: The checkpoints.
        path: The file; an older file of results is replaced in one step.

    Returns:
        What is in it, each after what it was made from.

    Raises:
        UnknownTableError: There is no result of a name.
        CheckpointMissError: A result is lost or damaged.
        OutputError: The file can not be written, or is there and no file of results.
        StoreError: There is nothing to be written.
    """
    _require_no_other(path)
    asked = [_current(backend, name) for name in dict.fromkeys(names)]
    if not asked:
        raise StoreError(backend.path, "no result is stored in it", "Nothing was written.")
    every: dict[tuple[str, str], Entry] = {}
    for entry in asked:
        _collect(backend, entry, every)
    entries = [_whole(backend, entry) for entry in every.values()]
    wanted = {(entry.name, entry.stem) for entry in asked}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(backend, entries, wanted, path)
    except OSError as problem:
        raise unwritable(path, problem) from problem
    return [_carried(backend.segments, e, is_asked=(e.name, e.stem) in wanted) for e in entries]


def _require_no_other(path: Path) -> None:
    """Refuse to write over what nobody pushed: a module, a table, or the store itself.

    The file is the first word of the command, where a name is soon typed in its place.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo(_HEAD)
    except (*_DAMAGE, KeyError, OSError) as problem:
        raise OutputError(
            path,
            "it is there, and is no file of results",
            "Nothing was written. Give another path, or remove that file.",
        ) from problem


def _current(backend: LocalBackend, name: str) -> Entry:
    found = backend.current(name)
    if found is None:
        raise UnknownTableError(backend.path, name, backend.names())
    return found


def _collect(backend: LocalBackend, entry: Entry, found: dict[tuple[str, str], Entry]) -> None:
    """Add a result, after its parts and what it was made from, as far as that is stored."""
    place = (entry.name, entry.stem)
    if place in found:
        return
    for each in (*backend.entries_behind(entry), *_parts(backend, entry)):
        _collect(backend, each, found)
    found[place] = entry


def _parts(backend: LocalBackend, entry: Entry) -> Iterator[Entry]:
    packed = backend.load(entry) if entry.kind == _DICT else None
    if packed is None:
        return
    # A part stays under the key that computed it, whatever was accepted since.
    key = entry.accepted[0].key if entry.accepted else entry.key.digest
    for ref in adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema):
        part = backend.find(ref.table_name, key, ref.content)
        if part is not None:
            yield part


def _whole(backend: LocalBackend, entry: Entry) -> Entry:
    """Return an entry whose segment is there and whole, with what was said of it since."""
    # Its table may have it still; that seals it again.
    is_whole = backend.segments.examine(entry) or (
        backend.load(entry) is not None and backend.segments.examine(entry)
    )
    if not is_whole:
        raise CheckpointMissError(entry.name, "what is stored is lost or damaged")
    return replace(entry, renewed=backend.renewal(entry))


def _write(
    backend: LocalBackend, entries: list[Entry], wanted: set[tuple[str, str]], path: Path
) -> None:
    store = _told(backend.path)
    temporary = path.with_name(f".{uuid4().hex}.usher")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            asked = [n for n, e in enumerate(entries) if (e.name, e.stem) in wanted]
            head = {"format": _FORMAT, "library": __version__, "count": len(entries)}
            _put(archive, _HEAD, json.dumps({**head, "asked": asked, "store": store}))
            for number, entry in enumerate(entries):
                _put(archive, f"{number}.json", json.dumps(entry.to_json()))
                with (
                    open(backend.segments.segment(entry), "rb") as segment,  # noqa: PTH123 - a file
                    archive.open(_member(f"{number}.arrow"), "w", force_zip64=True) as member,
                ):
                    shutil.copyfileobj(segment, member, _BLOCK_BYTES)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _told(database: Path) -> str:
    """Return a store as a colleague is told of it, without the folders above its project.

    >>> _told(Path("/home/kim/usher/.usher/store.duckdb"))
    'usher/.usher/store.duckdb'
    """
    count = 3 if database.parent.name == ".usher" else 2
    return "/".join(_spellable(part) for part in database.parts[1:][-count:])


def _spellable(name: str) -> str:
    """Return the name of a file as text, also where it is none to its system."""
    return os.fsencode(name).decode("utf-8", "replace")


def _put(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(_member(name), text)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _NO_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def _carried(
    segments: Segments, entry: Entry, *, is_new: bool = True, is_asked: bool = True
) -> Carried:
    try:
        size_bytes = segments.segment(entry).stat().st_size
    except OSError:
        size_bytes = 0
    content, rows = entry.content, entry.row_count
    return Carried(entry.name, entry.key.digest, content, rows, size_bytes, is_new, is_asked)


# --- in ---------------------------------------------------------------------------------


def pull(backend: LocalBackend, path: Path, *, dry_run: bool = False) -> list[Carried]:
    """Store what a file of results has and the store has not.

    Args:
        backend: The store; made if it is not there.
        path: The file.
        dry_run: Check everything, and store nothing.

    Returns:
        What is in the file, each after what it was made from.

    Raises:
        BundleError: It is no such file, or anything in it is not what it says it is; nothing
            was stored.
        NameClashError: A name differs from one of the store in case alone, or is that of a
            table that no checkpoint made; nothing was stored.
    """
    with tempfile.TemporaryDirectory(prefix="usher-pull-") as folder:
        staged = Segments(Path(folder) / "staged")
        entries, head = _unpacked(path, staged)
        pulled = Pull(utc_now(), _spellable(path.name), head.store)
        new = [_is_new(backend, entry) for entry in entries]
        for entry, is_new in zip(entries, new, strict=True):
            if is_new:
                backend.check(entry.name)
        if not dry_run:
            if any(new):
                # Two of the same file at once would both find that all of it is new.
                with backend.single_flight(*_FLIGHT):
                    new = [_is_new(backend, entry) for entry in entries]
                    for entry in itertools.compress(entries, new):
                        _store(backend, staged, entry, path, pulled)
            backend.publish_soon()
        return [
            _carried(staged, entry, is_new=is_new, is_asked=number in head.asked)
            for number, (entry, is_new) in enumerate(zip(entries, new, strict=True))
        ]


def _is_new(backend: LocalBackend, entry: Entry) -> bool:
    known = backend.segments.find(entry.name, entry.key.digest, entry.content)
    return known is None


def _store(
    backend: LocalBackend, staged: Segments, entry: Entry, path: Path, pulled: Pull
) -> None:
    table = staged.map(entry)
    if table is None:
        # It was whole a moment ago.
        raise BundleError(path, f"the result of {entry.name!r} was changed while it was read")
    packed = Packed(table=table, schema=dict(entry.schema), kind=entry.kind)
    with backend.changing():
        backend.save(replace(entry, pulled=(*entry.pulled, pulled)), packed)


@dataclass(frozen=True, slots=True)
class _Head:
    """What a file says of all its results.

    Attributes:
        count: How many there are.
        asked: The numbers of those that were asked for.
        store: The store that they are from; empty if it does not say.
    """

    count: int
    asked: frozenset[int]
    store: str


def _unpacked(path: Path, staged: Segments) -> tuple[list[Entry], _Head]:
    """Put all results of a file into a folder of their own, and check each."""
    try:
        with zipfile.ZipFile(path) as archive:
            head = _head(archive, path)
            _require_room(archive, path, staged.folder.parent)
            numbers = range(head.count)
            return [_taken(archive, number, staged, path) for number in numbers], head
    except _DAMAGE as problem:
        raise BundleError(path, f"it is no archive, or is damaged ({problem})") from problem
    except OSError as problem:
        if problem.errno != EINVAL:
            raise
        # A damaged archive leads to places before its beginning.
        raise BundleError(path, f"it is no archive, or is damaged ({problem})") from problem


def _head(archive: zipfile.ZipFile, path: Path) -> _Head:
    head = _json(archive, _HEAD, path)
    if head.get("format") != _FORMAT:
        raise BundleError(path, f"it has the format {head.get('format')!r}, expected {_FORMAT}")
    count, asked = head.get("count"), head.get("asked")
    if type(count) is not int or not 0 < count <= _MOST_RESULTS:
        raise BundleError(path, f"it states {count!r} results")
    if not isinstance(asked, list) or not all(type(each) is int for each in asked):
        raise BundleError(path, "it does not say what was asked for")
    # Files of older versions do not say where they are from.
    store = head.get("store", "")
    if not isinstance(store, str) or len(store) > _LONGEST_STORE:
        raise BundleError(path, "it does not say where it is from")
    return _Head(count, frozenset(asked), _spellable(store))


def _require_room(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    """Refuse what would fill the disk, whatever it is packed into."""
    needed_bytes = sum(member.file_size for member in archive.infolist())
    if needed_bytes > shutil.disk_usage(folder).free:
        raise BundleError(
            path, f"it unpacks to {needed_bytes} bytes, for which there is no room"
        )


def _taken(archive: zipfile.ZipFile, number: int, staged: Segments, path: Path) -> Entry:
    """Put one result where it is checked, and return its entry."""
    what = f"result {number}"
    stated = _json(archive, f"{number}.json", path)
    try:
        entry = Entry.from_json(stated)
        folder = staged.folder / safe_name(check_name(entry.name))
        is_place = is_entry_name(f"{entry.stem}.json")
    except (ValueError, CheckpointNameError) as problem:
        raise BundleError(
            path, f"{what} has no entry that can be read ({problem})"
        ) from problem
    if not is_place or not 0 < entry.number < _MOST_NUMBER:
        raise BundleError(path, f"{what} has the key {entry.stem[:50]!r}, which is none")
    if (folder / f"{entry.stem}.json").exists():
        raise BundleError(path, f"{what} is in it twice")
    # It would stand for its name until that day, whatever is computed meanwhile.
    if (entry.known_at - utc_now()).total_seconds() > CLOCK_TOLERANCE_S:
        raise BundleError(
            path, f"{what} was stored in the future, on {entry.known_at:%Y-%m-%d}"
        )
    staged.require_sole(entry.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # By the name of no member is anything written: these are our own.
    (folder / f"{entry.stem}.json").write_text(json.dumps(stated), "utf-8")
    with archive.open(_info(archive, f"{number}.arrow", path)) as member:
        _copied(member, folder / f"{entry.stem}.arrow")
    found = staged.read(entry.name, entry.stem)
    if found is None:
        raise BundleError(path, f"the entry of {entry.name!r} does not agree with itself")
    if found.row_count != found.schema.get("rows") or not staged.examine(found):
        raise BundleError(path, f"the result of {entry.name!r} is not what its entry says")
    return found


def _copied(member: IO[bytes], target: Path) -> None:
    number = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(number, "wb") as file:
        shutil.copyfileobj(member, file, _BLOCK_BYTES)


def _info(archive: zipfile.ZipFile, name: str, path: Path) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(name)
    except KeyError as problem:
        raise BundleError(path, f"it has no {name}") from problem


def _json(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    info = _info(archive, name, path)
    with archive.open(info) as member:
        # What it states of its size may be wrong as well.
        data = member.read(_MOST_JSON_BYTES + 1)
    if len(data) > _MOST_JSON_BYTES:
        raise BundleError(path, f"{name} is far too long")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise BundleError(path, f"{name} is no JSON") from problem
    if not isinstance(found, dict):
        raise BundleError(path, f"{name} holds no object")
    return found
