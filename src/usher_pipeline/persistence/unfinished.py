"""What a function has yielded so far of a result that is not finished.

A folder for each key, ``X.checkpoints/.unfinished/<name>/<key>/``: parts, each a sealed pair
of files ``<first>-<last>.arrow`` and ``.json`` as an entry is, and ``work.json``, which says
what the work is for. The rename of the second file of a pair commits its rows together with
the cursor that stands after them. Parts are put together now and then: one that covers the
numbers of others stands for them, whether or not they are unlinked yet.

Whoever writes holds the key (`flights`); whoever reads takes what was committed so far. No
part of work that is not finished is ever swept.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from usher_pipeline.fingerprint.content import combine
from usher_pipeline.frames import Packed, adapter_for, adapter_of_kind
from usher_pipeline.persistence.entries import is_formed_key, read_json, write_json
from usher_pipeline.persistence.parting import (
    ODD,
    folders_in,
    is_of,
    numbered,
    remove,
    size_of_folder,
)
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.spools import Spool, sync
from usher_pipeline.records import Acceptance, Key, Read, utc_from_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from usher_pipeline.persistence.segments import Segments

__all__ = [
    "Begun",
    "Reached",
    "SealedPart",
    "Statement",
    "Unfinished",
    "every_work",
    "together",
    "works",
]

#: Where all unfinished work of a store lies.
_UNFINISHED: Final = ".unfinished"

_FORMAT: Final = 1
_WORK: Final = "work.json"
_NAME: Final = re.compile(r"(?P<first>\d{8})-(?P<last>\d{8})\.json")
#: So many parts that are smaller than that are put together, in memory.
_MOST_SMALL: Final = 256
_SMALL_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Statement:
    """What unfinished work is for.

    Attributes:
        key: The call.
        begun_at: When it was begun (UTC).
        accepted: The statements by which parts that older code made hold, oldest first.
        is_refresh: Whether it is computed whatever is stored.
    """

    key: Key
    begun_at: datetime
    accepted: tuple[Acceptance, ...] = ()
    is_refresh: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the statement as plain data."""
        return {
            "format": _FORMAT,
            "key": self.key.to_json(),
            "begun_at": self.begun_at.isoformat(),
            "accepted": [each.to_json() for each in self.accepted],
            "is_refresh": self.is_refresh,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Statement | None:
        """Return the statement that `to_json` wrote; None if it is none."""
        try:
            key, begun_at = Key.from_json(data["key"]), utc_from_text(data["begun_at"])
            accepted = tuple(map(Acceptance.from_json, data["accepted"]))
            found = cls(key, begun_at, accepted, bool(data["is_refresh"]))
        except ODD:
            return None
        return found if is_formed_key(key) else None


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a function is after some rows.

    Attributes:
        cursor: Where it goes on after them; plain data.
        elapsed_s: How long it took to get them, in seconds.
        reads: What it had read from stores until then.
    """

    cursor: Any
    elapsed_s: float
    reads: tuple[Read, ...] = ()


@dataclass(frozen=True, slots=True)
class SealedPart:
    """Rows that are committed, and the cursor that stands after them.

    Attributes:
        first: The number of the first commit that it holds; they count from one.
        last: The number of the last one.
        kind: The kind of frame.
        schema: The exact schema of the frame, as plain data.
        content: The fingerprint of the whole frame, as that of an entry is.
        row_count: How many rows it has.
        size_bytes: How big the file is.
        made_at: When they were committed (UTC).
        reached: How far the function was after them.
    """

    first: int
    last: int
    kind: str
    schema: dict[str, Any]
    content: str
    row_count: int
    size_bytes: int
    made_at: datetime
    reached: Reached

    @property
    def stem(self) -> str:
        """The name of its files, without their endings."""
        return f"{self.first:08d}-{self.last:08d}"

    def to_json(self) -> dict[str, Any]:
        """Return the part as plain data."""
        return {"format": _FORMAT, **asdict(self), "made_at": self.made_at.isoformat()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SealedPart | None:
        """Return the part that `to_json` wrote; None if it is none, or of another format."""
        try:
            if data["format"] != _FORMAT:
                return None
            reached = data["reached"]
            return cls(
                first=int(data["first"]),
                last=int(data["last"]),
                kind=str(data["kind"]),
                schema=dict(data["schema"]),
                content=str(data["content"]),
                row_count=int(data["row_count"]),
                size_bytes=int(data["size_bytes"]),
                made_at=utc_from_text(data["made_at"]),
                reached=Reached(
                    reached["cursor"],
                    float(reached["elapsed_s"]),
                    tuple(map(Read.from_json, reached["reads"])),
                ),
            )
        except ODD:
            return None


class Unfinished:
    """The parts of one result that is not finished.

    Args:
        segments: The sealed results of the store.
        name: The checkpoint.
        digest: That of the key.

    Attributes:
        folder: Where the parts are.
    """

    def __init__(self, segments: Segments, name: str, digest: str) -> None:
        self.segments = segments
        self.name = name
        self.digest = digest
        self.folder = segments.folder / _UNFINISHED / safe_name(name) / digest

    @property
    def statement(self) -> Statement | None:
        """What the work is for; None if nothing was begun."""
        return Statement.from_json(read_json(self.folder / _WORK))

    def parts(self) -> list[SealedPart]:
        """Return what was committed, in order, up to a gap if something is missing."""
        found = [part for part in map(self._read, self._names()) if part is not None]
        # Of those that begin alike the longest stands for the others.
        found.sort(key=lambda part: (part.first, -part.last))
        whole: list[SealedPart] = []
        for part in found:
            if part.first == (whole[-1].last if whole else 0) + 1:
                whole.append(part)
        return whole

    def _names(self) -> list[re.Match[str]]:
        return numbered(self.folder, _NAME)

    def _read(self, name: re.Match[str]) -> SealedPart | None:
        part = SealedPart.from_json(read_json(self.folder / name[0]))
        return part if part is not None and f"{part.stem}.json" == name[0] else None

    # --- writing ---

    @property
    def is_refresh(self) -> bool:
        """Whether it was begun to be computed whatever is stored."""
        statement = self.statement
        return statement is not None and statement.is_refresh

    def begin(self, key: Key, *, is_refresh: bool) -> None:
        """Say what the work is for, before its first part is committed.

        Args:
            key: The call.
            is_refresh: Whether it is computed whatever is stored.

        Raises:
            OSError: The folder can not be written.
        """
        if self.statement is None:
            self._state(Statement(key, utc_now(), is_refresh=is_refresh))

    def _state(self, statement: Statement) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self.folder / _WORK, statement.to_json())
        sync(self.folder.parent)

    def add(
        self, packed: Packed, reached: Reached, parts: Sequence[SealedPart]
    ) -> list[SealedPart]:
        """Commit rows after some parts; put small ones together where there are very many.

        Args:
            packed: The rows.
            reached: How far the function is after them.
            parts: All that is committed, in order.

        Returns:
            All that is committed by now, in order.

        Raises:
            OSError: The folder can not be written; nothing was committed.
        """
        number = (parts[-1].last if parts else 0) + 1
        part = self._commit(packed, reached, (number, number))
        return self._joined([*parts, part])

    def _commit(self, packed: Packed, reached: Reached, numbers: tuple[int, int]) -> SealedPart:
        """Store rows together with how far the function is after them, or neither."""
        from usher_pipeline.fingerprint.frames import column_digests

        digests, schema = column_digests(packed.table), dict(packed.schema)
        temporary = self.folder / f".{uuid4().hex}.arrow.tmp"
        spool = Spool(temporary, packed.table.schema)
        try:
            _seal(spool, packed)
            part = SealedPart(
                *numbers,
                kind=packed.kind,
                schema=schema,
                content=combine(packed.kind, schema, digests),
                row_count=packed.table.num_rows,
                size_bytes=temporary.stat().st_size,
                made_at=utc_now(),
                reached=reached,
            )
            temporary.replace(self.folder / f"{part.stem}.arrow")
            sync(self.folder)
            write_json(self.folder / f"{part.stem}.json", part.to_json())
        except BaseException:
            spool.discard()
            raise
        spool.release()
        return part

    def _joined(self, parts: list[SealedPart]) -> list[SealedPart]:
        """Put the small parts at the end together where there are very many."""
        begin = len(parts)
        while begin and parts[begin - 1].size_bytes <= _SMALL_BYTES:
            begin -= 1
        tail = parts[begin:]
        if len(tail) < _MOST_SMALL:
            return parts
        frames = [self.frame(part) for part in tail]
        if any(frame is None for frame in frames):
            # What is damaged may not be hidden within what is not; it is found when it is
            # gone on with.
            return parts
        elapsed_s = sum(part.reached.elapsed_s for part in tail)
        reached = replace(tail[-1].reached, elapsed_s=elapsed_s)
        joined = self._commit(
            together(frames, takes_types=True), reached, (tail[0].first, tail[-1].last)
        )
        for part in tail:
            # The pair that stands for it is committed; its own entry goes first.
            for ending in (".json", ".arrow"):
                (self.folder / f"{part.stem}{ending}").unlink(missing_ok=True)
        return [*parts[:begin], joined]

    # --- reading ---

    def packed(self, part: SealedPart) -> Packed | None:
        """Return the rows of a part; None if they are not what was committed."""
        import pyarrow as pa

        from usher_pipeline.fingerprint.frames import column_digests
        from usher_pipeline.persistence.mapped import Mapped

        try:
            table = Mapped(self.folder / f"{part.stem}.arrow").table
            # The file may be anybody's: no frame is built before its structure is checked.
            table.validate(full=True)
            digests = column_digests(table)
            is_whole = combine(part.kind, part.schema, digests) == part.content
            # One that knows nothing of the kind may not read it.
            adapter_of_kind(part.kind)
        except (OSError, *ODD, MemoryError, pa.ArrowException):
            return None
        return Packed(table, part.schema, part.kind) if is_whole else None

    def frame(self, part: SealedPart) -> Any:
        """Return the frame of a part; None if it is not what was committed."""
        packed = self.packed(part)
        if packed is None:
            return None
        try:
            return adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
        except ODD:
            # Its schema is not that of its rows.
            return None

    # --- removing ---

    def drop_after(self, parts: Sequence[SealedPart]) -> None:
        """Set aside what is committed after some parts, such as what is damaged.

        Args:
            parts: What stays, in order.
        """
        last = parts[-1].last if parts else 0
        for name in self._names():
            if int(name["last"]) > last:
                entry = self.folder / name[0]
                self.segments.set_aside(entry)
                self.segments.set_aside(entry.with_suffix(".arrow"))

    def take_over(self, other: Unfinished, key: Key, statement: Acceptance) -> None:
        """Let the parts of other work be parts of this one, which has none, as well.

        Args:
            other: The work, of older code; it stays, and whoever is at it goes on.
            key: The call that this work is for.
            statement: Why the parts hold for it.

        Raises:
            OSError: The folder can not be written.
        """
        before = other.statement
        parts = other.parts()
        accepted = (*(before.accepted if before is not None else ()), statement)
        begun_at = before.begun_at if before is not None else utc_now()
        self._state(Statement(key, begun_at, accepted))
        for part in parts:
            # What is sealed never changes, so both may have it; the entry comes last.
            for ending in (".arrow", ".json"):
                _same(other.folder / f"{part.stem}{ending}", self.folder)
        sync(self.folder)

    def discard(self) -> None:
        """Remove all parts, which are in a result by now or of no use any more."""
        remove(self.folder)


def _same(path: Path, folder: Path) -> None:
    """Give a file that never changes another name, or copy it where that is not possible."""
    target = folder / path.name
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)
        target.chmod(0o600)
        sync(target)


def _seal(spool: Spool, packed: Packed) -> None:
    spool.write(packed.table)
    spool.close()
    if spool.trouble is not None:
        raise spool.trouble


def together(frames: Iterable[Any], *, takes_types: bool = False) -> Packed:
    """Return frames of the same columns as one, the rows of one below those of the other.

    Args:
        frames: The frames; one at least.
        takes_types: Whether a column without values takes the type of the frames before.
    """
    import pyarrow as pa

    from usher_pipeline.frames.streams import Growing, coalesced

    each = iter(frames)
    first = next(each)
    adapter = adapter_for(first)
    assert adapter is not None  # noqa: S101 - whoever yielded it was asked
    growing = Growing(adapter, takes_types=takes_types)
    tables: list[pa.Table] = [growing.add(first), *map(growing.add, each)]
    return Packed(pa.concat_tables(coalesced(tables)), growing.schema, growing.kind)


# --- all of a store ---------------------------------------------------------------------


class Begun(NamedTuple):
    """Unfinished work that lies in a store.

    Attributes:
        folder: Where it lies.
        work: The work; None if it is being removed.
        statement: What it is for; the same.
    """

    folder: Path
    work: Unfinished | None = None
    statement: Statement | None = None

    @property
    def size_bytes(self) -> int:
        """How big its files are."""
        return size_of_folder(self.folder)


def every_work(segments: Segments) -> Iterator[Begun]:
    """Yield all unfinished work of a store, and what is left of work that is removed.

    Args:
        segments: The sealed results of the store.
    """
    for folder, is_gone in folders_in(segments.folder / _UNFINISHED):
        if is_gone:
            yield Begun(folder)
            continue
        statement = Statement.from_json(read_json(folder / _WORK))
        if statement is not None and is_of(folder, statement.key.name):
            work = Unfinished(segments, statement.key.name, folder.name)
            yield Begun(folder, work, statement)


def works(segments: Segments, name: str) -> list[tuple[Unfinished, Key]]:
    """Return the unfinished work of a checkpoint with what it is for, newest first.

    Args:
        segments: The sealed results of the store.
        name: The checkpoint.
    """
    found = [
        (begun.statement.begun_at, begun.work, begun.statement.key)
        for begun in every_work(segments)
        if begun.work is not None and begun.statement is not None and begun.work.name == name
    ]
    found.sort(key=lambda each: each[0], reverse=True)
    return [(work, key) for _, work, key in found]
