"""What a function has yielded so far of a result that is not finished.

A folder for each key, ``X.checkpoints/.unfinished/<name>/<key>/``: parts, each a sealed pair
of files ``<first>-<last>.arrow`` and ``.json`` as an entry is, and ``work.json``, which says
what the work is for. The rename of the second file of a pair commits its rows together with
the cursor that stands after them. Parts are put together now and then: one that covers the
numbers of others stands for them, whether or not they are unlinked yet.

Whoever writes holds the key (`flights`); whoever reads takes what was committed so far.
Nothing here is ever swept.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from usher_pipeline.frames import Packed, adapter_for, adapter_of_kind
from usher_pipeline.persistence.entries import read_json, write_json
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.spools import Spool, sync
from usher_pipeline.records import Acceptance, Key, Read, utc_now

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

__all__ = [
    "UNFINISHED",
    "SealedPart",
    "Unfinished",
    "together",
    "unfinished_sizes",
    "works",
]

#: Where all unfinished work of a store lies.
UNFINISHED: Final = ".unfinished"

_FORMAT: Final = 1
_GONE: Final = "~"
_WORK: Final = "work.json"
_NAME: Final = re.compile(r"(?P<first>\d{8})-(?P<last>\d{8})\.json")
#: So many parts that are smaller than that are put together.
_MOST_SMALL: Final = 256
_SMALL_BYTES: Final = 1 << 25


@dataclass(frozen=True, slots=True)
class SealedPart:
    """Rows that are committed, and the cursor that stands after them.

    Attributes:
        first: The number of the first commit that it holds; they count from one.
        last: The number of the last one.
        kind: The kind of frame.
        schema: The exact schema of the frame, as plain data.
        digests: The digest of each column.
        row_count: How many rows it has.
        size_bytes: How big the file is.
        cursor: Where the function went on after these rows.
        elapsed_s: How long it took to get them, in seconds.
        made_at: When they were committed (UTC).
        reads: What the function had read from stores until then, in the process that
            committed them.
    """

    first: int
    last: int
    kind: str
    schema: dict[str, Any]
    digests: tuple[str, ...]
    row_count: int
    size_bytes: int
    cursor: Any
    elapsed_s: float
    made_at: datetime
    reads: tuple[Read, ...] = ()

    @property
    def stem(self) -> str:
        """The name of its files, without their endings."""
        return f"{self.first:08d}-{self.last:08d}"

    def to_json(self) -> dict[str, Any]:
        """Return the part as plain data."""
        return {"format": _FORMAT, **asdict(self), "made_at": self.made_at.isoformat()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SealedPart:
        """Return the part that `to_json` wrote.

        Raises:
            ValueError: It is of another format, or is no part.
        """
        if data.get("format") != _FORMAT:
            raise ValueError("not a part of this format")
        stated = {name: value for name, value in data.items() if name != "format"}
        try:
            return cls(
                **{
                    **stated,
                    "digests": tuple(stated["digests"]),
                    "made_at": datetime.fromisoformat(stated["made_at"]),
                    "reads": tuple(map(Read.from_json, stated["reads"])),
                }
            )
        except (LookupError, TypeError) as problem:
            raise ValueError(f"not a part: {problem}") from None


class Unfinished:
    """The parts of one result that is not finished.

    Args:
        folder: The folder of sealed results of the store.
        name: The checkpoint.
        digest: That of the key.
    """

    def __init__(self, folder: Path, name: str, digest: str) -> None:
        self.folder = folder / UNFINISHED / safe_name(name) / digest
        self.name = name
        self.digest = digest

    @classmethod
    def at(cls, folder: Path) -> Unfinished:
        """Return the work in a folder of its own, which says what it is for.

        Args:
            folder: The folder.
        """
        work = cls(folder.parents[2], folder.parent.name, folder.name)
        key = work.key
        work.name = key.name if key is not None else ""
        return work

    @property
    def is_discarded(self) -> bool:
        """Whether it was being removed by a process that was killed then."""
        return _GONE in self.folder.name

    @property
    def key(self) -> Key | None:
        """What the work is for; None if nothing was begun."""
        try:
            return Key.from_json(read_json(self.folder / _WORK)["key"])
        except (LookupError, TypeError, ValueError):
            return None

    @property
    def begun_at(self) -> datetime | None:
        """When the work was begun (UTC); None if it was not."""
        try:
            return datetime.fromisoformat(read_json(self.folder / _WORK)["begun_at"])
        except (LookupError, TypeError, ValueError):
            return None

    @property
    def accepted(self) -> tuple[Acceptance, ...]:
        """The statements by which parts that older code made hold, oldest first."""
        try:
            stated = read_json(self.folder / _WORK).get("accepted", [])
            return tuple(map(Acceptance.from_json, stated))
        except (LookupError, TypeError, ValueError):
            return ()

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
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except OSError:
            return []
        return [match for name in names if (match := _NAME.fullmatch(name))]

    def _read(self, name: re.Match[str]) -> SealedPart | None:
        try:
            part = SealedPart.from_json(read_json(self.folder / name[0]))
        except ValueError:
            return None
        return part if f"{part.stem}.json" == name[0] else None

    def begin(self, key: Key) -> None:
        """Say what the work is for, before its first part is committed.

        Raises:
            OSError: The folder can not be written.
        """
        if self.key is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            work = {"format": _FORMAT, "key": key.to_json(), "begun_at": utc_now().isoformat()}
            write_json(self.folder / _WORK, work)
            sync(self.folder.parent)

    def commit(
        self,
        packed: Packed,
        cursor: Any,
        elapsed_s: float,
        reads: Sequence[Read] = (),
        *,
        numbers: tuple[int, int],
    ) -> SealedPart:
        """Store rows together with the cursor that stands after them, or neither.

        Args:
            packed: The rows.
            cursor: The cursor; plain data.
            elapsed_s: How long it took to get the rows, in seconds.
            reads: What the function read so far.
            numbers: The numbers of the first and the last commit that these rows are.

        Raises:
            OSError: The folder can not be written; nothing was committed.
        """
        from usher_pipeline.fingerprint.frames import column_digests

        temporary = self.folder / f".{uuid4().hex}.arrow.tmp"
        spool = Spool(temporary, packed.table.schema)
        try:
            _seal(spool, packed)
            part = SealedPart(
                *numbers,
                kind=packed.kind,
                schema=dict(packed.schema),
                digests=tuple(column_digests(packed.table)),
                row_count=packed.table.num_rows,
                size_bytes=temporary.stat().st_size,
                cursor=cursor,
                elapsed_s=elapsed_s,
                made_at=utc_now(),
                reads=tuple(reads),
            )
            temporary.replace(self.folder / f"{part.stem}.arrow")
            sync(self.folder)
            write_json(self.folder / f"{part.stem}.json", part.to_json())
        except BaseException:
            spool.discard()
            raise
        spool.release()
        return part

    def packed(self, part: SealedPart) -> Packed | None:
        """Return the rows of a part; None if they are not what was committed."""
        import pyarrow as pa

        from usher_pipeline.fingerprint.frames import column_digests
        from usher_pipeline.persistence.mapped import Mapped

        try:
            table = Mapped(self.folder / f"{part.stem}.arrow").table
            # The file may be anybody's: no frame is built before its structure is checked.
            table.validate(full=True)
        except (OSError, pa.ArrowException):
            return None
        if tuple(column_digests(table)) != part.digests or len(table) != part.row_count:
            return None
        return Packed(table, part.schema, part.kind)

    def frames(self, parts: Sequence[SealedPart]) -> Iterator[Any]:
        """Yield the frame of each part, in order, up to one that is damaged."""
        for part in parts:
            packed = self.packed(part)
            if packed is None:
                return
            yield adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)

    def joined(self, parts: Sequence[SealedPart]) -> list[SealedPart]:
        """Put small parts at the end together where there are very many; return all.

        Args:
            parts: All parts, in order.
        """
        tail: list[SealedPart] = []
        for part in reversed(parts):
            if part.size_bytes > _SMALL_BYTES:
                break
            tail.insert(0, part)
        if len(tail) < _MOST_SMALL:
            return list(parts)
        packed = together(self.frames(tail))
        joined = self.commit(
            packed,
            tail[-1].cursor,
            sum(part.elapsed_s for part in tail),
            tail[-1].reads,
            numbers=(tail[0].first, tail[-1].last),
        )
        for part in tail:
            self._unlink(part)
        return [*parts[: len(parts) - len(tail)], joined]

    def drop_after(self, parts: Sequence[SealedPart]) -> None:
        """Move away what is committed after some parts, such as what is damaged.

        Args:
            parts: What stays, in order.
        """
        last = parts[-1].last if parts else 0
        aside = self.folder.parents[2] / ".damaged" / safe_name(self.name)
        for name in self._names():
            if int(name["last"]) > last:
                aside.mkdir(mode=0o700, parents=True, exist_ok=True)
                stem = name[0].removesuffix(".json")
                for ending in (".json", ".arrow"):
                    with suppress(FileNotFoundError):
                        path = self.folder / f"{stem}{ending}"
                        path.rename(aside / f"{self.digest}-{stem}~{uuid4().hex[:8]}{ending}")

    def _unlink(self, part: SealedPart) -> None:
        # The pair that stands for it is committed; its own entry goes first.
        for ending in (".json", ".arrow"):
            (self.folder / f"{part.stem}{ending}").unlink(missing_ok=True)

    def move(self, key: Key, statement: Acceptance) -> Unfinished:
        """Let the parts be those of another key; return the work under that.

        Args:
            key: The other key, under which there is no work.
            statement: Why they hold for it.

        Raises:
            OSError: The folder can not be written; the work is where it was.
        """
        moved = Unfinished(self.folder.parents[2], self.name, key.digest)
        moved.discard()
        accepted = [each.to_json() for each in (*self.accepted, statement)]
        stated = {**read_json(self.folder / _WORK), "key": key.to_json(), "accepted": accepted}
        write_json(self.folder / _WORK, stated)
        self.folder.rename(moved.folder)
        sync(moved.folder.parent)
        return moved

    def discard(self) -> None:
        """Remove all parts, which are in a result by now or of no use any more."""
        # All of it at once; whoever is killed here leaves a folder that is swept.
        gone = self.folder.with_name(f"{self.digest}{_GONE}{uuid4().hex[:8]}")
        with suppress(FileNotFoundError):
            self.folder.rename(gone)
            shutil.rmtree(gone)
        with suppress(OSError):
            self.folder.parent.rmdir()


def _seal(spool: Spool, packed: Packed) -> None:
    spool.write(packed.table)
    spool.close()
    if spool.trouble is not None:
        raise spool.trouble


def together(frames: Iterator[Any]) -> Packed:
    """Return frames of the same columns as one, the rows of one below those of the other.

    Args:
        frames: The frames; one at least.
    """
    import pyarrow as pa

    from usher_pipeline.frames.streams import Growing, coalesced

    first = next(frames)
    adapter = adapter_for(first)
    assert adapter is not None  # noqa: S101 - whoever yielded it was asked
    growing = Growing(adapter)
    tables: list[pa.Table] = [growing.add(first), *map(growing.add, frames)]
    return Packed(pa.concat_tables(coalesced(tables)), growing.schema, growing.kind)


def works(folder: Path, name: str) -> list[Unfinished]:
    """Return the unfinished work of a checkpoint, newest first.

    Args:
        folder: The folder of sealed results of the store.
        name: The checkpoint.
    """
    place = folder / UNFINISHED / safe_name(name)
    try:
        found = [path for path in place.iterdir() if _GONE not in path.name]
        found = [path for path in found if (path / _WORK).is_file()]
    except OSError:
        return []
    found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [Unfinished(folder, name, path.name) for path in found]


def unfinished_sizes(folder: Path, besides: Collection[Path] = ()) -> list[int]:
    """Return how big each unfinished work of a store is, in bytes.

    Args:
        folder: The folder of sealed results of the store.
        besides: Files that do not count.
    """
    sizes = []
    for place in (folder / UNFINISHED).glob("*/*"):
        files = [path for path in place.glob("*") if path not in besides]
        found = 0
        for path in files:
            with suppress(OSError):
                found += path.stat().st_size
        if found:
            sizes.append(found)
    return sizes
