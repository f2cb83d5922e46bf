"""What is stored of a map: the rows of each item, and whose code made them.

A folder for each map, ``X.checkpoints/.maps/<name>/<digest>/``, where the digest stands for
all that the items have in common. In it are parts (`mapparts`). Beside them are
``map.json``, which says what the map is, and ``<digest>.code.json`` for each code that made
rows, and ``<digest>.list`` for each list of items that a result was made of. Nothing that
is committed changes: what is known of an item is what was said of it
last. Small parts are put together now and then, without what nobody asks for any more; one
that covers the numbers of others stands for them, whether or not they are unlinked yet.

Whoever writes holds the map (`flights`); whoever reads takes what was committed so far.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote
from uuid import uuid4

from usher_pipeline.errors import StoreError, UnsupportedFrameError
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.frames import Packed, adapter_of_kind
from usher_pipeline.persistence.entries import is_formed_key, read_json, why, write_json
from usher_pipeline.persistence.mapindex import index_of
from usher_pipeline.persistence.mapparts import (
    PAIR,
    DamagedRows,
    PartFacts,
    commit_part,
    is_of_another_version,
    read_part,
    read_rows,
    seen_files,
)
from usher_pipeline.persistence.parting import (
    ODD,
    folders_in,
    is_of,
    numbered,
    remove,
    size_of_folder,
)
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.spools import sync
from usher_pipeline.records import Acceptance, Key, utc_from_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from usher_pipeline.persistence.mapindex import Index
    from usher_pipeline.persistence.mapparts import Answer, MapPart
    from usher_pipeline.persistence.segments import Segments

__all__ = [
    "VERSIONED",
    "MapStatement",
    "StoredMap",
    "code_of",
    "every_map",
    "maps_of",
    "unstated",
]

#: Where all maps of a store lie.
_MAPS: Final = ".maps"

_FORMAT: Final = 1
#: What code is called that a version stands for, which is in the key of the map.
VERSIONED: Final = "version"
_MAP: Final = "map.json"
_CODE: Final = ".code.json"
_LIST: Final = ".list"
#: How long the digest of an item is.
_ITEM_BYTES: Final = 16
#: How often who does not hold a map looks anew when parts are put together meanwhile.
_LOOKS: Final = 10
_NAME: Final = re.compile(r"(?P<first>\d{8})-(?P<last>\d{8})\.items")
#: So many parts that are smaller than that are put together.
_LEVEL_PARTS: Final = 16
_SMALL_BYTES: Final = 1 << 20
#: How much of what is read of parts is held in memory, and how much is handed out at once.
_HELD_BYTES: Final = 1 << 28
_SOON_BYTES: Final = 1 << 18
_BLOCK_BYTES: Final = 1 << 26


def code_of(key: Key) -> str:
    """Return what the code of a key is called here; a version stands in the key itself."""
    return key.code or VERSIONED


@dataclass(frozen=True, slots=True)
class MapStatement:
    """What a map is.

    Attributes:
        key: What its items have in common, without code.
        over: The parameter that takes an item.
        begun_at: When it was begun (UTC).
        accepted: The statements by which answers of older code hold: the digest of the code
            that they hold for, with the statement, whose key is that of the older code.
        refresh: The digest of a call that was to refresh its items and did not come to its
            end, with the number from which on answers are those of that; None if there is
            none.
    """

    key: Key
    over: str
    begun_at: datetime
    accepted: tuple[tuple[str, Acceptance], ...] = ()
    refresh: tuple[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the statement as plain data."""
        return {
            "format": _FORMAT,
            "key": self.key.to_json(),
            "over": self.over,
            "begun_at": self.begun_at.isoformat(),
            "accepted": [[code, each.to_json()] for code, each in self.accepted],
            "refresh": self.refresh,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MapStatement | None:
        """Return the statement that `to_json` wrote; None if it is none."""
        try:
            if data["format"] != _FORMAT:
                return None
            refresh = data["refresh"]
            found = cls(
                Key.from_json(data["key"]),
                str(data["over"]),
                utc_from_text(data["begun_at"]),
                tuple((str(code), Acceptance.from_json(s)) for code, s in data["accepted"]),
                None if refresh is None else (str(refresh[0]), int(refresh[1])),
            )
        except ODD:
            return None
        is_text = all(isinstance(each.key, str) for _, each in found.accepted)
        return found if is_text and is_formed_key(found.key) else None

    def holding_for(self, code: str) -> frozenset[str]:
        """Return the codes whose answers hold for some code, that one included."""
        return frozenset((code, *(each.key for now, each in self.accepted if now == code)))


class StoredMap:
    """What is stored of one map.

    Args:
        segments: The sealed results of the store.
        name: The checkpoint.
        digest: What the items have in common.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, segments: Segments, name: str, digest: str) -> None:
        self.segments = segments
        self.name = name
        self.digest = digest
        self.folder = segments.folder / _MAPS / safe_name(name) / digest
        #: The frames of the parts that were read last.
        self._held: OrderedDict[tuple[str, str], Packed] = OrderedDict()
        self._held_bytes = 0
        self._parts: dict[str, MapPart | None] = {}
        #: The last number that was given to a part.
        self._latest = 0

    @property
    def statement(self) -> MapStatement | None:
        """What the map is; None if nothing of it was stored."""
        return MapStatement.from_json(read_json(self.folder / _MAP))

    @property
    def changed_at(self) -> float:
        """When something was committed last, as the disk says; 0 if there is nothing."""
        try:
            return max(self.folder.stat().st_mtime, (self.folder / _MAP).stat().st_mtime)
        except OSError:
            return 0.0

    # --- reading ---

    def index(self) -> Index:
        """Return what is known of each item."""
        return index_of(answer for part in self._whole() for answer in part.answers)

    def listed(self, digest: str) -> list[str] | None:
        """Return the items that a result was made of; None if that is not known any more.

        Args:
            digest: What `list_items` returned.
        """
        try:
            data = (self.folder / f"{digest}{_LIST}").read_bytes()
        except (OSError, ValueError):
            return None
        return _items_in(data) if _list_digest(data) == digest else None

    def code(self, digest: str) -> Key | None:
        """Return the code that made answers, as a key of the map; None if it is not known.

        Args:
            digest: The digest of the code.
        """
        try:
            key = Key.from_json(read_json(self.folder / f"{digest}{_CODE}"))
        except ODD:
            return None
        return key if is_formed_key(key) and code_of(key) == digest else None

    def all_rows(self, answers: Sequence[Answer]) -> list[Packed]:
        """Return the rows of answers in their order, for who does not hold the map.

        Args:
            answers: What is known of the items, each with no error.

        Returns:
            One frame at least; the rows of one come after those of the other.

        Raises:
            DamagedRows: They are not those that were committed.
            StoreError: They can not be read just now.
        """
        for _ in range(_LOOKS):
            try:
                return [self.rows(block) for block in self.blocks(answers)]
            except DamagedRows as damage:
                # One that others stand for may not be unlinked yet.
                is_there = any(part.stem == damage.stem for part in self._whole())
                if not damage.stem or is_there:
                    raise
                # Who holds the map put parts together: the rows lie elsewhere.
                now = self.index().answers
                answers = [now.get(a.item, {}).get(a.code, a) for a in answers]
        return [self.rows(block) for block in self.blocks(answers)]

    def blocks(self, answers: Sequence[Answer]) -> list[list[Answer]]:
        """Return answers with rows in their order, as many at a time as memory is for.

        Args:
            answers: What is known of the items, each with no error.

        Returns:
            One block at least, which is empty where nothing has a row.
        """
        sizes = {part.stem: part.nbytes / max(part.row_count, 1) for part in self._whole()}
        found: list[list[Answer]] = [[]]
        size_bytes = 0.0
        for answer in answers:
            if not answer.row_count:
                continue
            if size_bytes >= _BLOCK_BYTES:
                found.append([])
                size_bytes = 0.0
            found[-1].append(answer)
            size_bytes += sizes.get(answer.part, 0.0) * answer.row_count
        return found

    def rows(self, block: Sequence[Answer]) -> Packed:
        """Return the rows of some answers in their order.

        Args:
            block: One of `blocks`; of an empty one the columns alone.

        Raises:
            DamagedRows: They are not those that were committed.
            StoreError: They can not be read just now.
        """
        parts = {part.stem: part for part in self._whole()}
        for answer in block:
            part = parts.get(answer.part)
            # Where a map was removed meanwhile, another part may have the name of one.
            if part is None or part.places.get((answer.item, answer.at)) != answer.start:
                raise DamagedRows(answer.part)
        return self._block(block, parts) if block else self._nothing(parts)

    def _block(self, answers: Sequence[Answer], parts: Mapping[str, MapPart]) -> Packed:
        from usher_pipeline.frames.streams import appended, taken

        stems = list(dict.fromkeys(answer.part for answer in answers))
        packs = [self._packed(parts[stem]) for stem in stems]
        offsets, offset = {}, 0
        for stem, packed in zip(stems, packs, strict=True):
            offsets[stem] = offset
            offset += packed.table.num_rows
        rows = (
            range(begin, begin + answer.row_count)
            for answer in answers
            for begin in (offsets[answer.part] + answer.start,)
        )
        whole = appended(packs, adapter_of_kind(packs[0].kind))
        return taken(whole, chain.from_iterable(rows))

    def _nothing(self, parts: Mapping[str, MapPart]) -> Packed:
        """Return the frame of items none of which has a row: the widest one that came."""
        from usher_pipeline.frames.streams import taken

        shown = [part for part in parts.values() if part.kind]
        if not shown:
            raise DamagedRows("")
        widest = max(shown, key=lambda part: len(part.schema["sql_names"]))
        return taken(self._packed(widest), ())

    def example(self, answers: Iterable[Answer]) -> Packed | None:
        """Return the columns that the rows of answers have, without rows; None if none came.

        Args:
            answers: What is known of some items, of which the last one tells.
        """
        from usher_pipeline.frames.streams import taken

        with_rows = (answer for answer in answers if answer.row_count)
        last = max(with_rows, key=lambda answer: answer.at, default=None)
        for part in self._whole():
            if last is not None and part.stem == last.part:
                with suppress(DamagedRows):
                    return taken(self._packed(part), ())
        return None

    def _packed(self, part: MapPart) -> Packed:
        # Another part may have its name by now, and has other rows.
        place = part.stem, part.content
        held = self._held.get(place)
        if held is None:
            held = self._read_rows(part)
            self._hold(place, held)
        self._held.move_to_end(place)
        return held

    def _hold(self, place: tuple[str, str], packed: Packed) -> None:
        self._drop(place)
        self._held[place] = packed
        self._held_bytes += packed.table.nbytes
        while len(self._held) > 1 and self._held_bytes > _HELD_BYTES:
            self._drop(next(iter(self._held)))

    def _drop(self, place: tuple[str, str]) -> None:
        dropped = self._held.pop(place, None)
        if dropped is not None:
            self._held_bytes -= dropped.table.nbytes

    def _read_rows(self, part: MapPart) -> Packed:
        from usher_pipeline.frames.streams import taken

        try:
            found = read_rows(self.folder, part)
        except (OSError, MemoryError) as problem:
            what = f"the rows of part {part.stem} can not be read just now ({why(problem)})"
            cure = "Nothing was changed. Call again when the machine has room for them."
            raise StoreError(self.folder, what, cure) from problem
        try:
            # A schema that does not fit, or that another version of a library does not
            # know, is met here and not where the rows are wanted.
            empty = taken(found, ())
            adapter_of_kind(part.kind).from_arrow(empty.table, empty.schema)
        except Exception as problem:  # what stands in files may make anything raise
            raise DamagedRows(part.stem) from problem
        return found

    def _whole(self) -> list[MapPart]:
        """Return the parts, each number in one of them."""
        found: list[MapPart] = []
        for _ in range(_LOOKS):
            parts = {name[0]: self._part(name[0]) for name in self._names()}
            found = [part for part in parts.values() if part is not None]
            unread = [name for name, part in parts.items() if part is None]
            # One that went between the two looks is a part of another one by now.
            if all((self.folder / name).exists() for name in unread):
                break
        # Of those that begin alike the longest stands for the others.
        found.sort(key=lambda part: (part.first, -part.last))
        whole: list[MapPart] = []
        for part in found:
            if part.first > (whole[-1].last if whole else 0):
                whole.append(part)
        return whole

    def _at_the_end(self) -> list[MapPart]:
        """Return the parts behind all that can not be read.

        It may be of a newer version of the library: one part that stands for those on both
        sides of it would stand for it as well.
        """
        whole, unread = self._whole(), 0
        for name in self._names():
            number = int(name["last"])
            is_covered = any(part.first <= number <= part.last for part in whole)
            if not is_covered and self._part(name[0]) is None:
                unread = max(unread, number)
        return [part for part in whole if part.first > unread]

    # --- looking for damage ---

    def stems(self) -> list[str]:
        """Return the parts whose items are there, whether or not they can be read."""
        return [name[0].removesuffix(".items") for name in self._names()]

    def examine(self, stem: str) -> PartFacts:
        """Read and digest a part.

        Args:
            stem: One of `stems`.

        Returns:
            What is wrong with it, if anything is, and what the disk said before it was read.
            One that another version of the library wrote counts as whole.
        """
        seen = seen_files(self.folder, stem)
        path = self.folder / f"{stem}.items"
        if not path.exists():
            # Another part stands for it by now, or it was removed.
            return PartFacts(stem, "it is gone", 0, (None, None))
        try:
            part = self._part(path.name)
            if part is None:
                part = self._parts[path.name] = read_part(path, is_strict=True)
        except (OSError, MemoryError) as problem:
            # It is not known whether it is damaged.
            return PartFacts(stem, "", 0, seen, why(problem))
        if part is None:
            said = "" if is_of_another_version(path) else "its items can not be read"
            return PartFacts(stem, said, 0, seen)
        said = ""
        if part.kind:
            try:
                read_rows(self.folder, part)
            except DamagedRows:
                said = "its rows are not what was stored"
            except (OSError, MemoryError) as problem:
                return PartFacts(stem, "", len(part.answers), seen, why(problem))
        return PartFacts(stem, said, len(part.answers), seen)

    def set_statement_aside(self) -> Path | None:
        """Set a damaged statement aside; return where it is, or None if it was gone.

        Raises:
            OSError: It can not be moved.
        """
        return self.segments.set_aside(self.folder / _MAP)

    def set_seen_aside(self, facts: PartFacts) -> Path | None:
        """Set a damaged part aside, if it is still what was examined.

        Args:
            facts: What `examine` returned.

        Returns:
            Where its items are; None if it was gone, or is another part by now.

        Raises:
            OSError: It can not be moved.
        """
        placed = None
        for ending, seen in zip(PAIR, facts.seen, strict=True):
            if seen is None:
                continue
            aside = self.segments.set_aside(self.folder / f"{facts.stem}{ending}", seen)
            if aside is None and ending == PAIR[0]:
                return None
            placed = placed or aside
        self._parts.pop(f"{facts.stem}.items", None)
        return placed

    def _names(self) -> list[re.Match[str]]:
        return numbered(self.folder, _NAME)

    def _last_numbers(self) -> Iterator[int]:
        for path in self.folder.glob("*.*"):
            name = _NAME.fullmatch(f"{path.stem}.items")
            if name is not None:
                yield int(name["last"])

    def unread(self) -> list[str]:
        """Return the parts whose items can not be read: damaged, or of a newer version."""
        parts = {name[0]: self._part(name[0]) for name in self._names()}
        return [name for name, part in parts.items() if part is None]

    def _part(self, name: str) -> MapPart | None:
        if name not in self._parts:
            part = read_part(self.folder / name)
            is_there = part is not None and f"{part.stem}.items" == name
            self._parts[name] = part if is_there else None
        return self._parts[name]

    def is_covered(self, name: str) -> bool:
        """Tell whether a file is one of a part that another one stands for, or of none.

        Args:
            name: The name of the file.
        """
        stem, _, ending = name.partition(".")
        if ending not in ("rows", "items") or not _NAME.fullmatch(f"{stem}.items"):
            return False
        is_there = (self.folder / f"{stem}.items").exists()
        if is_there and self._part(f"{stem}.items") is None:
            # It is damaged, or of a newer version of the library: not ours to remove.
            return False
        return all(part.stem != stem for part in self._whole())

    # --- writing ---

    def begin(self, key: Key, over: str, at: datetime) -> MapStatement:
        """Say what the map is, unless that was said.

        Args:
            key: What its items have in common, without code.
            over: The parameter that takes an item.
            at: The present moment (UTC).

        Raises:
            OSError: The folder can not be written.
        """
        import pyarrow as pa

        # The first array made of Python's values loads pandas where that is installed. It is
        # no part of what a commit takes, by which it is told how often there is one.
        pa.array([0])
        statement = self.statement
        if statement is None:
            statement = MapStatement(key, over, at)
            self.state(statement)
        return statement

    def state(self, statement: MapStatement) -> None:
        """Say what the map is from now on.

        Raises:
            OSError: The folder can not be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self.folder / _MAP, statement.to_json())
        sync(self.folder.parent)

    def know(self, key: Key) -> None:
        """Store what code makes answers, before the first is committed.

        Args:
            key: A key of the map with the code.

        Raises:
            OSError: The folder can not be written.
        """
        path = self.folder / f"{code_of(key)}{_CODE}"
        if not path.exists():
            write_json(path, key.to_json())

    def list_items(self, items: Iterable[str]) -> str:
        """Store which items a result is made of, and return what finds that again.

        Args:
            items: The digests of the items.

        Raises:
            OSError: The folder can not be written.
        """
        data = b"".join(map(bytes.fromhex, items))
        digest = _list_digest(data)
        path = self.folder / f"{digest}{_LIST}"
        if not path.exists():
            temporary = path.with_name(f".{uuid4().hex}.list.tmp")
            try:
                temporary.touch(0o600)
                temporary.write_bytes(data)
                sync(temporary)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return digest

    def add(self, packed: Packed | None, answers: Sequence[Answer]) -> None:
        """Commit what became known of some items: all of it, or nothing.

        Args:
            packed: The rows of all of them, one below the other; None if all failed.
            answers: What is known of each, in the order of the rows.

        Raises:
            OSError: The folder can not be written; nothing was committed.
        """
        whole = self._whole()
        number = (whole[-1].last if whole else 0) + 1
        # What is damaged has a number as well, and so has what a killed writer left: who
        # sweeps that may be about to unlink it.
        number = max([number, self._latest + 1, *(last + 1 for last in self._last_numbers())])
        # Nor is one given twice, whatever is removed meanwhile: what was said of the first
        # would be said of the second.
        self._latest = number
        self._commit(packed, answers, number, number)
        with suppress(OSError):
            # It is committed, whether or not there is room to have it in fewer files.
            while (alike := _alike(self._at_the_end())) and self._put_together(alike):
                pass

    def _commit(
        self, packed: Packed | None, answers: Sequence[Answer], first: int, last: int
    ) -> None:
        part = commit_part(self.folder, first, last, packed, answers)
        self._parts[f"{part.stem}.items"] = part
        if packed is not None and part.nbytes <= _SOON_BYTES:
            # It is put together with others soon. There may be many of them, so that what
            # is larger is rather read again.
            self._hold((part.stem, part.content), packed)

    def tidy(self) -> None:
        """Put the small parts at the end together, without what nobody asks for any more.

        Raises:
            OSError: The folder can not be written; what was committed stays.
        """
        whole = self._at_the_end()
        begin = len(whole)
        while begin and whole[begin - 1].size_bytes <= _SMALL_BYTES:
            begin -= 1
        columns = {part.columns for part in whole[begin:] if part.kind}
        while len(columns) > 1:
            # After an edit rows may have other columns: those of now are put together.
            begin += 1
            columns = {part.columns for part in whole[begin:] if part.kind}
        while len(whole) - begin > 1 and not self._put_together(whole[begin:]):
            # What is damaged stays as it is.
            begin += 1

    def _put_together(self, tail: Sequence[MapPart]) -> bool:
        """Let one part stand for the last ones; tell whether that could be."""
        index = index_of(answer for part in tail for answer in part.answers)
        wanted = [
            answer for part in tail for answer in part.answers if _is_wanted(index, answer)
        ]
        packed = None
        if any(part.kind for part in tail):
            try:
                packed = self._rows_of(wanted, tail)
            except (DamagedRows, StoreError, UnsupportedFrameError):
                # What is damaged may not be hidden within what is not, and rows of other
                # code may have other columns.
                return False
        self._commit(packed, wanted, tail[0].first, tail[-1].last)
        for part in tail:
            # The pair that stands for it is committed; what says that it is there goes first.
            for ending in PAIR:
                (self.folder / f"{part.stem}{ending}").unlink(missing_ok=True)
            self._parts.pop(f"{part.stem}.items", None)
            self._drop((part.stem, part.content))
        return True

    def _rows_of(self, answers: Sequence[Answer], tail: Sequence[MapPart]) -> Packed:
        parts = {part.stem: part for part in tail}
        with_rows = [answer for answer in answers if answer.row_count]
        return self._block(with_rows, parts) if with_rows else self._nothing(parts)

    # --- removing ---

    def set_aside(self, stem: str) -> None:
        """Set a damaged part aside; its items are asked again.

        Args:
            stem: The part, as `DamagedRows` names it.
        """
        for ending in PAIR:
            self.segments.set_aside(self.folder / f"{stem}{ending}")
        self._parts.pop(f"{stem}.items", None)

    def discard(self) -> None:
        """Remove all of it."""
        remove(self.folder)

    @property
    def size_bytes(self) -> int:
        """How big its files are."""
        return size_of_folder(self.folder)


def _alike(whole: Sequence[MapPart]) -> Sequence[MapPart]:
    """Return the last parts if they are to be put together: as many as a level holds.

    Parts are digits: so many of one size become one of the next, so that there are few of
    each, and to put them together never takes long.
    """
    tail = whole[-_LEVEL_PARTS:]
    if len(tail) < _LEVEL_PARTS or any(part.size_bytes > _SMALL_BYTES for part in tail):
        return ()
    levels = {_level(part) for part in tail}
    return tail if len(levels) == 1 else ()


def _level(part: MapPart) -> int:
    """Return how often parts were put together for one."""
    level, commits = 0, part.last - part.first + 1
    while commits >= _LEVEL_PARTS:
        level, commits = level + 1, commits // _LEVEL_PARTS
    return level


def _is_wanted(index: Index, answer: Answer) -> bool:
    """Tell whether an answer is the last one of its item and code."""
    known = (index.failures if answer.error else index.answers).get(answer.item, {})
    last = known.get(answer.code)
    return last is not None and last.at == answer.at


def _list_digest(data: bytes) -> str:
    return combine("usher map list", {"items": len(data) // _ITEM_BYTES}, [data.hex()])


def _items_in(data: bytes) -> list[str]:
    starts = range(0, len(data), _ITEM_BYTES)
    return [data[start : start + _ITEM_BYTES].hex() for start in starts]


# --- all of a store ---------------------------------------------------------------------


def every_map(segments: Segments) -> Iterator[tuple[Path, StoredMap | None]]:
    """Yield the folder of each map of a store with the map; None for what is being removed.

    Args:
        segments: The sealed results of the store.
    """
    for folder, is_gone in folders_in(segments.folder / _MAPS):
        if is_gone:
            yield folder, None
            continue
        statement = MapStatement.from_json(read_json(folder / _MAP))
        if statement is not None and is_of(folder, statement.key.name):
            yield folder, StoredMap(segments, statement.key.name, folder.name)


def unstated(segments: Segments) -> Iterator[tuple[StoredMap, str | None]]:
    """Yield the maps whose statement no version could read, or that have parts and none.

    The next call that asks items makes a new one; what it said of older code is not known.

    Args:
        segments: The sealed results of the store.

    Yields:
        The map, and why the statement can not be read just now: empty if it is damaged, None
        if there is none.
    """
    for folder, is_gone in folders_in(segments.folder / _MAPS):
        path, name = folder / _MAP, unquote(folder.parent.name)
        if is_gone or not is_of(folder, name):
            continue
        stored = StoredMap(segments, name, folder.name)
        if not path.is_file():
            if stored.stems():
                yield stored, None
            continue
        try:
            stated = read_json(path, is_strict=True)
        except (OSError, MemoryError) as problem:
            yield stored, why(problem)
            continue
        is_newer = isinstance(stated.get("format"), int) and stated["format"] != _FORMAT
        if MapStatement.from_json(stated) is None and not is_newer:
            yield stored, ""


def maps_of(segments: Segments, name: str, over: str = "") -> list[StoredMap]:
    """Return the maps of a checkpoint, the one that was changed last first.

    Args:
        segments: The sealed results of the store.
        name: The checkpoint.
        over: The parameter that takes an item; any if empty.
    """
    found = []
    for _, each in every_map(segments):
        statement = each.statement if each is not None else None
        if each is None or statement is None or each.name != name:
            continue
        if over in ("", statement.over):
            found.append(each)
    return sorted(found, key=lambda each: each.changed_at, reverse=True)
