"""Sealed results: for each a segment, an Arrow file, and an entry, a JSON file.

Both are written under temporary names, brought to disk, and renamed; the rename of
the entry is the commit. After that they are never changed, only unlinked, so a
mapped segment stays whole under every reader, and a hit needs neither a lock nor
a database.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote
from uuid import uuid4

from usher_pipeline.errors import NameClashError
from usher_pipeline.fingerprint.buffers import bytes_digest
from usher_pipeline.frames.contract import lays_views
from usher_pipeline.persistence.entries import (
    ENTRY_NAME,
    entry_anew,
    is_entry_name,
    is_passing,
    read_entry,
    read_json,
    schema_text,
    write_json,
    write_note,
)
from usher_pipeline.persistence.mapped import Mapped
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.seals import is_sealed, seal
from usher_pipeline.persistence.spools import SMALL_BYTES, Spool, sync
from usher_pipeline.records import Entry, Renewal, utc_from_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    import pyarrow as pa

    from usher_pipeline.frames import Packed

__all__ = [
    "RECENT_ENTRIES",
    "Opened",
    "Pending",
    "Segments",
    "file_state",
]


#: The folder is measured at most this often, by all processes together.
_MEASURED_EVERY_S: Final = 60.0

#: How many files of a name are looked at for the nearest result.
RECENT_ENTRIES: Final = 64

#: Where it says how the database was left, and which tables were in it.
_DATABASE: Final = ".database"
_LISTING: Final = ".listing"

#: Which columns of which segment files were compared with the digests of which content.
_checked: Final[dict[tuple[str, int, int, int, str], set[int]]] = {}

_PIN: Final = re.compile(r"[0-9a-f]{32}\.pin")


@dataclass(frozen=True, slots=True)
class Pending:
    """A result that is meant to be published and may not be yet.

    Attributes:
        name: The checkpoint.
        key: The digest of the entry's key.
        content: The digest of the frame; empty for the latest one under the key.
        meant_at: When a run last meant it by the name (UTC).
        path: The file that says so.
    """

    name: str
    key: str
    content: str
    meant_at: datetime
    path: Path


class Segments:
    """The folder of sealed results beside a database.

    Args:
        folder: The folder; created with the first result.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --- looking ---

    def find(self, name: str, key: str, content: str = "") -> Entry | None:
        """Return the latest whole entry under a key, or None.

        Args:
            name: The checkpoint.
            key: The digest of the key.
            content: Only an entry of this content counts; of any if it is empty.
        """
        latest = self._latest(name, key)
        if latest is None or content in ("", latest.content):
            return latest
        every = self._entries(self.folder / safe_name(name), key)
        fitting = (e for e in every if (e.name, e.content) == (name, content))
        return max(fitting, key=lambda entry: entry.number, default=None)

    def _latest(self, name: str, key: str) -> Entry | None:
        folder = f"{self.folder}/{safe_name(name)}"
        number, found = 1, None
        while (entry := read_entry(f"{folder}/{key}-{number}.json")) is not None:
            found, number = entry, number + 1
        if found is not None and not os.path.exists(f"{folder}/{key}-{number}.json"):  # noqa: PTH110 - quick
            return found
        # A number may be missing: a result was forgotten, or its copy is not complete. Where
        # the latest can not be read, an older one does not stand for it.
        numbers = [int(match["number"]) for match in _entry_names(Path(folder), key)]
        if not numbers:
            return None
        latest = read_entry(f"{folder}/{key}-{max(numbers)}.json")
        return latest if latest is not None and latest.name == name else None

    def recent(self, name: str, limit: int | None = RECENT_ENTRIES) -> list[Entry]:
        """Return the newest entries of a name, the latest of each key, newest first."""
        folder = self.folder / safe_name(name)
        latest: dict[str, Entry] = {}
        for entry in self._entries(folder, limit=limit):
            known = latest.get(entry.key.digest)
            if entry.name == name and (known is None or known.number < entry.number):
                latest[entry.key.digest] = entry
        return sorted(latest.values(), key=lambda entry: entry.known_at, reverse=True)

    def read(self, name: str, stem: str) -> Entry | None:
        """Return the entry of a name whose files have a stem, or None."""
        entry = read_entry(self.folder / safe_name(name) / f"{stem}.json")
        return entry if entry is not None and entry.name == name else None

    def names(self) -> list[str]:
        """Return every name that has a result."""
        found = set()
        for folder in _folders(self.folder):
            entry = next(iter(self._entries(folder, limit=1)), None)
            if entry is not None:
                found.add(entry.name)
        return sorted(found)

    def has(self, name: str) -> bool:
        """Tell whether there is any result under a name."""
        return bool(self.recent(name, 1))

    def clash(self, name: str) -> str:
        """Return another name that differs only in case, or an empty text."""
        wanted = name.casefold()
        # The folders of another user may not be entered, which is no reason to fail.
        if os.path.isdir(self.folder / safe_name(name)):  # noqa: PTH112
            return ""
        for folder in _folders(self.folder):
            # Another thread may have made our own folder just now.
            is_other = folder.name != safe_name(name)
            if is_other and unquote(folder.name).casefold() == wanted:
                return unquote(folder.name)
        return ""

    def require_sole(self, name: str) -> None:
        """Refuse a name that differs from another one only in case.

        Raises:
            NameClashError: There is such a name.
        """
        other = self.clash(name)
        if other:
            raise NameClashError(name, f"the checkpoint {other!r}", f"the checkpoint {name!r}")

    def folders(self) -> list[Path]:
        """Return the folder of each name that has or had a result."""
        return _folders(self.folder)

    def entries_in(self, folder: str) -> Iterator[Entry]:
        """Yield every entry in the folder of a name, however often its key was computed."""
        for entry in self._entries(self.folder / folder):
            if safe_name(entry.name) == folder:
                yield entry

    def without_segment(self, name: str) -> Iterator[Entry]:
        """Yield the entries of a name whose segment is not there, by its file names alone."""
        folder = self.folder / safe_name(name)
        try:
            names = set(os.listdir(folder))  # noqa: PTH208 - names are enough
        except OSError:
            return
        for stem in (each.removesuffix(".json") for each in names if is_entry_name(each)):
            entry = None if f"{stem}.arrow" in names else self.read(name, stem)
            if entry is not None:
                yield entry

    def _entries(
        self, folder: Path, key: str = "", limit: int | None = None
    ) -> Iterator[Entry]:
        readable = (read_entry(path) for path in _newest_files(folder, key))
        yield from islice((entry for entry in readable if entry is not None), limit)

    # --- reading ---

    def segment(self, entry: Entry) -> Path:
        """Return where the segment of an entry lies."""
        return self.folder / safe_name(entry.name) / f"{entry.stem}.arrow"

    def state(self, entry: Entry) -> tuple[str, int, int, int] | None:
        """Return what tells one segment file from another; None if there is none."""
        return file_state(f"{self.folder}/{safe_name(entry.name)}/{entry.stem}.arrow")

    def whole_bytes(self, entry: Entry) -> bytes | None:
        """Return the bytes of a small segment that is just what was sealed; else None."""
        if not entry.segment_digest or not is_sealed(entry):
            return None
        try:
            number = os.open(self.segment(entry), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(number, "rb") as file:
                facts = os.fstat(number)
                if not stat.S_ISREG(facts.st_mode) or facts.st_size > SMALL_BYTES:
                    return None
                data = file.read()
        except OSError:
            return None
        return data if bytes_digest(data) == entry.segment_digest else None

    def open(self, entry: Entry) -> Opened | None:
        """Map a segment into memory, or return None if it is lost or is none.

        Nothing of it is checked yet.
        """
        import pyarrow as pa

        path = self.segment(entry)
        try:
            facts = path.stat()
            opened = Opened(path, entry)
            state = str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns, entry.content
            if state not in _checked and not is_sealed(entry):
                opened.table.validate(full=True)
        except (OSError, ValueError, LookupError, MemoryError, pa.ArrowException):
            return None
        opened.checked = _checked.setdefault(state, set())
        return opened if opened.fits() else None

    def map(self, entry: Entry, *, views: bool = False) -> pa.Table | None:
        """Map a segment into memory, or return None if it is lost or damaged.

        The columns are compared with their digests the first time that this process
        maps the file.

        Args:
            entry: Its entry.
            views: Whether text may be views, which are mapped and not rewritten.
        """
        opened = self.open(entry)
        if opened is None or not opened.is_whole(range(opened.table.num_columns)):
            return None
        if views:
            return opened.table
        from usher_pipeline.frames.views import from_views

        return from_views(opened.table)

    def trust(self, entry: Entry) -> None:
        """Take the columns of a segment for checked: its digests were just made from it."""
        state = self.state(entry)
        if state is not None:
            _checked[*state, entry.content] = set(range(len(entry.columns)))

    # --- writing ---

    def spool(self, name: str, kind: str, schema: pa.Schema) -> Spool:
        """Begin a segment under a temporary name.

        Args:
            name: The checkpoint.
            kind: Whose frame it is.
            schema: The columns of its table.

        Raises:
            NameClashError: Another name differs only in case.
            OSError: The folder can not be written.
        """
        self.require_sole(name)
        folder = self.folder / safe_name(name)
        _make_folder(self.folder)
        _make_folder(folder)
        path = folder / f".{uuid4().hex}.arrow.tmp"
        return Spool(path, schema, views=lays_views(kind))

    def seal(self, name: str, packed: Packed) -> Spool:
        """Write a segment and bring it to disk, under a temporary name.

        Args:
            name: The checkpoint.
            packed: Its frame.

        Raises:
            NameClashError: Another name differs only in case.
            OSError: The disk is full, or the folder can not be written.
        """
        spool = self.spool(name, packed.kind, packed.table.schema)
        try:
            spool.write(packed.table)
            spool.close()
        except BaseException:
            spool.discard()
            raise
        if spool.trouble is not None:
            spool.discard()
            raise spool.trouble
        return spool

    def commit(self, sealed: Spool, entry: Entry) -> Entry:
        """Give a sealed segment its entry; from the rename of the entry on it is stored.

        Returns:
            The entry with its number.
        """
        folder = self.folder / safe_name(entry.name)
        try:
            _make_folder(folder)
            numbers = [int(name["number"]) for name in _entry_names(folder, entry.key.digest)]
            entry = entry.numbered(max(numbers, default=0) + 1)
            entry = replace(
                entry, segment_digest=sealed.digest, buffer_digests=sealed.buffer_digests
            )
            entry = replace(entry, seal=seal(entry))
            self._place(sealed, folder / f"{entry.stem}.arrow")
            write_json(folder / f"{entry.stem}.json", entry.to_json())
        except BaseException:
            # A segment that nobody knows would take the space that there was too little of.
            self._take_back(sealed, folder / f"{entry.stem}.arrow")
            sealed.discard()
            raise
        sealed.release()
        return entry

    def adopt(self, entry: Entry, accepted: Entry) -> Entry:
        """Write an entry for the segment of another one; return it with its number.

        Args:
            entry: Whose segment it is; where that is lost, only its table has the frame.
            accepted: What to write.
        """
        folder = self.folder / safe_name(accepted.name)
        _make_folder(self.folder)
        _make_folder(folder)
        temporary = folder / f".{uuid4().hex}.arrow.tmp"
        try:
            temporary.hardlink_to(self.segment(entry))
        except OSError:
            # Not every disk can give one file two names.
            with suppress(FileNotFoundError):
                copyfile(self.segment(entry), temporary)
                sync(temporary)
        numbers = [int(name["number"]) for name in _entry_names(folder, accepted.key.digest)]
        accepted = accepted.numbered(max(numbers, default=0) + 1)
        try:
            if temporary.exists():
                temporary.replace(folder / f"{accepted.stem}.arrow")
                sync(folder)
            write_json(folder / f"{accepted.stem}.json", accepted.to_json())
        finally:
            # To rename one name of a file to another name of it does nothing.
            temporary.unlink(missing_ok=True)
        return accepted

    def _take_back(self, sealed: Spool, final: Path) -> None:
        """Unlink a segment that was placed and got no entry, if it is still ours."""
        with suppress(OSError):
            is_ours = sealed.is_file(final) and not final.with_suffix(".json").exists()
            if is_ours:
                final.unlink()

    def _place(self, sealed: Spool, final: Path) -> None:
        assert sealed.path is not None  # noqa: S101 - only what is on disk can be placed
        sealed.path.replace(final)
        sync(final.parent)

    def remove(self, entry: Entry) -> None:
        """Unlink an entry and its segment."""
        _unlink(self.folder / safe_name(entry.name) / f"{entry.stem}.json")

    def forget(self, name: str, key: str) -> None:
        """Unlink every result under a key, the oldest first."""
        folder = self.folder / safe_name(name)
        found = sorted(_entry_names(folder, key), key=lambda match: int(match["number"]))
        for match in found:
            if _is_of(folder / match[0], name):
                _unlink(folder / match[0])

    def clear(self, name: str) -> int:
        """Unlink everything of a name; return how many entries went."""
        folder = self.folder / safe_name(name)
        paths = [Path(path) for path in _newest_files(folder, "") if _is_of(path, name)]
        for path in paths:
            _unlink(path)
        for key in self.pins(name):
            self.unpin(name, key)
        self.note_published(name, "")
        with suppress(OSError):
            folder.rmdir()
        return len(paths)

    # --- size ---

    def is_to_be_measured(self) -> bool:
        """Tell whether nobody measured the folder for a while, and say that we do it now."""
        mark = self.folder / ".measured"
        try:
            age_s = time.time() - mark.stat().st_mtime
        except OSError:
            age_s = math.inf
        if 0 <= age_s < _MEASURED_EVERY_S:
            return False
        with suppress(OSError):
            mark.touch(mode=0o600)
        return True

    def size_bytes(self) -> int:
        """Return how much the segments take, without looking at what they are."""
        total_bytes = 0
        for folder in _folders(self.folder):
            with suppress(OSError), os.scandir(folder) as files:
                for file in files:
                    if file.name.endswith(".arrow"):
                        with suppress(OSError):
                            total_bytes += file.stat().st_size
        return total_bytes

    # --- damage ---

    def entry_files(self, folder: str) -> list[Path]:
        """Return the files of all entries in the folder of a name, readable or not."""
        return [Path(path) for path in _newest_files(self.folder / folder, "")]

    def has_others(self, path: Path) -> bool:
        """Tell whether there is another result of the key of an entry, given its file."""
        match = ENTRY_NAME.fullmatch(path.name)
        every = _entry_names(path.parent, match["key"]) if match else []
        return any(each[0] != path.name for each in every)

    def examine(self, entry: Entry) -> bool | None:
        """Tell whether a segment is whole, read and digested anew; None if there is none.

        Raises:
            OSError, MemoryError: It can not be read just now; that says nothing of it.
        """
        import pyarrow as pa

        try:
            opened = Opened(self.segment(entry), entry)
            # What digests a column takes its offsets on trust.
            opened.table.validate(full=True)
            digests = [column.digest for column in entry.columns]
            return opened.fits() and opened.digests() == digests
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, MemoryError, pa.ArrowException) as problem:
            if is_passing(problem):
                raise
            return False

    def facts(self, entry: Entry) -> tuple[os.stat_result, os.stat_result | None] | None:
        """Return what the disk says of an entry and of its segment.

        Returns:
            None if the entry is no longer there, or is another one under its number; and
            None for a segment that is not there.
        """
        path = self.folder / safe_name(entry.name) / f"{entry.stem}.json"
        try:
            of_entry, now = path.stat(), entry_anew(path)
        except OSError:
            return None
        made = entry.content, entry.created_at
        if now is None or (now.content, now.created_at) != made:
            return None
        try:
            return of_entry, self.segment(entry).stat()
        except OSError:
            return of_entry, None

    def set_aside(self, path: Path, seen: os.stat_result | None = None) -> Path | None:
        """Move a damaged file out of the way.

        Args:
            path: The file.
            seen: What the disk said of it when it was damaged; another one that came in its
                place is put back.

        Returns:
            Where it is; None if it was gone, or is another one.
        """
        folder = self.folder / ".damaged" / path.parent.name
        _make_folder(self.folder / ".damaged")
        _make_folder(folder)
        target = folder / path.name
        if target.exists():
            target = folder / f"{path.stem}~{uuid4().hex[:8]}{path.suffix}"
        try:
            path.rename(target)
        except FileNotFoundError:
            return None
        if seen is None or _is_same(seen, target.lstat()):
            return target
        put_back(target, path)
        return None

    def reseal(self, entry: Entry, packed: Packed) -> Path | None:
        """Give an entry a new segment of the same data, if it is still the entry.

        Returns:
            Where the damaged one is; None if there was none, or nothing was to be done.
        """
        seen, aside = self.facts(entry), None
        sealed = self.seal(entry.name, packed)
        try:
            # Sealing takes long: meanwhile another result may have come under the number.
            if seen is not None and self.facts(entry) is not None:
                if seen[1] is not None:
                    aside = self.set_aside(self.segment(entry), seen[1])
                assert sealed.path is not None  # noqa: S101 - what is sealed is on disk
                put_back(sealed.path, self.segment(entry))
                sync(self.segment(entry).parent)
        finally:
            sealed.discard()
        return aside

    # --- what nobody may prune ---

    def pin(self, name: str, key: str) -> None:
        """Say on disk that what a key has computed is to be kept.

        The file says so of the key and not of one result, which would get another number
        when it is sealed again.
        """
        path = self.folder / safe_name(name) / f"{key}.pin"
        # Where only the database has the result still, there is no folder of its name.
        _make_folder(path.parent)
        write_json(path, {"name": name, "key": key, "pinned_at": utc_now().isoformat()})

    def unpin(self, name: str, key: str) -> None:
        """Take back what `pin` said; it is no error if nobody did."""
        (self.folder / safe_name(name) / f"{key}.pin").unlink(missing_ok=True)

    def pins(self, name: str) -> frozenset[str]:
        """Return the keys of a name that are pinned."""
        try:
            names = os.listdir(self.folder / safe_name(name))  # noqa: PTH208 - as above
        except OSError:
            return frozenset()
        return frozenset(each.removesuffix(".pin") for each in names if _PIN.fullmatch(each))

    # --- what expired and is the same still ---

    def renew(self, entry: Entry, renewal: Renewal) -> None:
        """Say on disk that what an entry was made of has not changed.

        The entry itself is not changed; the statement lies beside it and goes with it.

        Raises:
            OSError: The folder can not be written.
        """
        stated = renewal.to_json() | {"content": entry.content}
        write_json(self._renewal(entry), stated)

    def renewal(self, entry: Entry) -> Renewal | None:
        """Return the last statement that what an entry was made of has not changed."""
        stated = read_json(self._renewal(entry))
        try:
            return Renewal.from_json(stated) if stated["content"] == entry.content else None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return None

    def _renewal(self, entry: Entry) -> Path:
        return self.folder / safe_name(entry.name) / f"{entry.stem}.renewed"

    # --- what is meant to be published ---

    def mark(self, entry: Entry, meant_at: datetime) -> Pending:
        """Say on disk that a result is meant to be published; it may be committed later."""
        folder = self.folder / ".pending"
        _make_folder(self.folder)
        _make_folder(folder)
        name, key, content = entry.name, entry.key.digest, entry.content
        path = folder / f"{safe_name(name)[:80]}-{uuid4().hex}.json"
        stated = {"name": name, "key": key, "content": content}
        write_json(path, stated | {"meant_at": meant_at.isoformat()})
        return Pending(name, key, content, meant_at, path)

    def pending(self) -> list[Pending]:
        """Return what is meant to be published, oldest first."""
        found = []
        try:
            paths = list((self.folder / ".pending").glob("*.json"))
        except OSError:
            return []
        for path in paths:
            data = read_json(path)
            with suppress(KeyError, TypeError, ValueError):
                meant_at = utc_from_text(data["meant_at"])
                content = data.get("content", "")
                found.append(Pending(data["name"], data["key"], content, meant_at, path))
        return sorted(found, key=lambda pending: pending.meant_at)

    def published(self, name: str) -> str:
        """Return which entry was published last, as far as this folder knows."""
        try:
            return (self.folder / safe_name(name) / ".published").read_text("ascii")
        except (OSError, UnicodeDecodeError):
            return ""

    def is_published(self, entry: Entry, database: Path) -> bool:
        """Tell whether an entry is what its table holds, as far as this folder knows.

        A database that somebody else wrote to, or put back from a copy, may hold anything.

        Args:
            entry: The entry.
            database: The database.
        """
        return self.published(entry.name) == entry.stem and self._is_as_noted(database)

    def _is_as_noted(self, database: Path) -> bool:
        try:
            noted = (self.folder / _DATABASE).read_text("ascii")
            return noted == _state_of(database)
        except (OSError, UnicodeDecodeError):
            return False

    def note_database(
        self, database: Path, tables: Sequence[tuple[str, str, int]] | None = None
    ) -> None:
        """Remember how a database was left by who wrote to it last, if that was one of us.

        Args:
            database: The database.
            tables: Name, time and number of rows of each table that was saved in it; None if
                they are not known.
        """
        with suppress(OSError):
            state = _state_of(database)
            write_note(self.folder / _DATABASE, state)
            noted = json.dumps({"state": state, "tables": tables})
            write_note(self.folder / _LISTING, noted)

    def noted_tables(self, database: Path) -> list[tuple[str, datetime, int]] | None:
        """Return which tables were saved in a database, without opening it.

        Args:
            database: The database.

        Returns:
            Name, time and number of rows of each; None if somebody else wrote to it since.
        """
        noted = read_json(self.folder / _LISTING)
        try:
            if noted["state"] != _state_of(database) or _has_log(database):
                return None
            return [(str(n), utc_from_text(at), int(c)) for n, at, c in noted["tables"]]
        except (LookupError, TypeError, ValueError, OSError):
            return None

    def note_published(self, name: str, stem: str) -> None:
        """Remember which entry was published; only a hint that saves a look at the database."""
        path = self.folder / safe_name(name) / ".published"
        with suppress(OSError):
            if stem:
                write_note(path, stem)
            else:
                path.unlink(missing_ok=True)


def _has_log(database: Path) -> bool:
    """Tell whether there is more in a database than its file says."""
    return database.with_name(f"{database.name}.wal").exists()


def _state_of(database: Path) -> str:
    facts = database.stat()
    return f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns}"


def file_state(path: str) -> tuple[str, int, int, int] | None:
    """Return what tells a segment file from what it was before; None if there is none.

    Args:
        path: The file.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - on the way of every call
    except OSError:
        return None
    return path, facts.st_ino, facts.st_size, facts.st_mtime_ns


class Opened(Mapped):
    """A segment that is mapped into memory, of which each column is checked when it is read.

    Args:
        path: The segment.
        entry: Its entry.

    Attributes:
        entry: As given.
        checked: The columns that are known to be whole.
    """

    def __init__(self, path: Path, entry: Entry) -> None:
        super().__init__(path)
        self.entry = entry
        self.checked: set[int] = set()

    def fits(self) -> bool:
        """Tell whether the columns and their types are those that the entry says."""
        return schema_text(self.table.schema) == self.entry.arrow_schema

    def _told_by_bytes(self, positions: list[int]) -> set[int]:
        """Return the columns that are byte for byte what was sealed, which is quick to find.

        A small file is read whole; of a larger one just these columns are.
        """
        entry, every = self.entry, range(self.table.num_columns)
        if not is_sealed(entry):
            return set()
        if entry.segment_digest:
            return set(every) if self.bytes_digest() == entry.segment_digest else set()
        if len(entry.buffer_digests) != len(every):
            return set()
        stated = [entry.buffer_digests[position] for position in positions]
        found = zip(positions, self.buffer_digests(positions), stated, strict=True)
        return {position for position, digest, known in found if digest and digest == known}

    def is_whole(self, positions: Iterable[int]) -> bool:
        """Tell whether some columns hold what the entry says; each is read but once."""
        unknown = [position for position in positions if position not in self.checked]
        if unknown:
            self.checked |= self._told_by_bytes(unknown)
        left = [position for position in unknown if position not in self.checked]
        if left and not self._holds(left):
            return False
        self.checked.update(left)
        return True

    def _holds(self, positions: list[int]) -> bool:
        """Tell whether some columns have the values that the entry says."""
        import pyarrow as pa

        try:
            # What digests a column takes its offsets on trust, and sees no part of a view
            # but the text that it leads to.
            self.table.select(positions).validate(full=True)
            found = self.digests_of(positions)
        except (OSError, ValueError, LookupError, MemoryError, pa.ArrowException):
            return False
        return found == [self.entry.columns[position].digest for position in positions]


# --- files ------------------------------------------------------------------------------


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError:
        return []


def _entry_names(folder: Path, key: str) -> list[re.Match[str]]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are enough, and there may be many
    except OSError:
        return []
    found = [match for name in names if (match := ENTRY_NAME.fullmatch(name))]
    return [match for match in found if key in ("", match["key"])]


def _newest_files(folder: Path, key: str) -> list[str]:
    """Return the files of entries, newest first; as texts, since there may be very many."""
    dated = []
    for match in _entry_names(folder, key):
        path = f"{folder}/{match[0]}"
        with suppress(OSError):
            facts = os.stat(path)  # noqa: PTH116 - on the way of every miss
            dated.append((facts.st_mtime_ns, int(match["number"]), path))
    return [path for _, _, path in sorted(dated, reverse=True)]


def _is_of(path: Path | str, name: str) -> bool:
    entry = read_entry(path)
    return entry is None or entry.name == name


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Tell whether two looks are at one file; a new one may get the inode of one that went."""
    if not os.path.samestat(one, other):
        return False
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def put_back(aside: Path, path: Path) -> None:
    """Give a file its name, unless another one has it by now; its other name is gone then.

    Args:
        aside: Where it is.
        path: What it is to be called.
    """
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        pass
    except OSError:
        # Not every disk can give one file two names.
        if not path.exists():
            aside.replace(path)
    aside.unlink(missing_ok=True)


def _unlink(path: Path) -> None:
    """Unlink an entry with its segment, and with no other one.

    As long as the entry is there nobody gives its number to another result, so the segment
    goes out of the way before it.
    """
    segment = path.with_suffix(".arrow")
    aside = segment.with_name(f".{uuid4().hex}.arrow.tmp")
    with suppress(FileNotFoundError):
        segment.rename(aside)
    path.with_suffix(".renewed").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    aside.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A name that is not on disk would be lost with all that is below it.
    sync(folder.parent)
