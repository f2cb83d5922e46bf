"""A part of a map on the disk: the rows of some items, and what is known of each item.

That is a pair of compressed Arrow files, ``<first>-<last>.rows`` and ``.items``. The rename
of the second one commits both, and nothing in them changes after that. Each has a digest of
its own; what does not agree with it is as if it were not there.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from usher_pipeline.errors import Failure
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.frames import Packed
from usher_pipeline.persistence.entries import is_passing
from usher_pipeline.persistence.mapped import Mapped
from usher_pipeline.persistence.parting import ODD
from usher_pipeline.persistence.spools import sync
from usher_pipeline.records import Read

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

__all__ = [
    "PAIR",
    "Answer",
    "DamagedRows",
    "MapPart",
    "PartFacts",
    "commit_part",
    "is_of_another_version",
    "read_part",
    "read_rows",
    "seen_files",
]

#: The two files of a part; the first of them says that it is there.
PAIR: Final = (".items", ".rows")

_FORMAT: Final = 1
#: What the metadata of a file of items is under.
_ABOUT: Final = b"usher_pipeline"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: The last moment that there is a date for.
_LATEST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class Answer(NamedTuple):
    """What is known of one item: its rows, or why there are none.

    Attributes:
        item: The digest of the item.
        shown: The item itself as JSON, or a short text of it as JSON.
        row_count: How many rows it has.
        code: The digest of the code that made them.
        reads: What that read from stores.
        elapsed_s: How long it took, in seconds; its share where several ran at a time.
        at: Its number: of two answers of a map the later one has the higher, whatever the
            clock did. It is the time, in microseconds since 1970 (UTC), unless that had been
            given before.
        attempts: How often it was asked.
        error: The class of the error and what it says, if it failed.
        start: The place of its first row in its part.
        part: The part that holds its rows.
        skew: By how much the time was another than its number says, in microseconds.
    """

    item: str
    shown: str
    row_count: int
    code: str
    reads: tuple[Read, ...]
    elapsed_s: float
    at: int
    attempts: int = 1
    error: tuple[str, str] | None = None
    start: int = 0
    part: str = ""
    skew: int = 0

    @property
    def moment(self) -> int:
        """When it was answered as the clock said, in microseconds since 1970 (UTC)."""
        return self.at + self.skew

    @property
    def answered_at(self) -> datetime:
        """The same as a time."""
        return _EPOCH + self.moment * _MICROSECOND

    @property
    def value(self) -> Any:
        """The item as JSON gives it back."""
        try:
            return json.loads(self.shown)
        except (ValueError, RecursionError):
            # Anybody may have written it.
            return self.shown

    def failure(self) -> Failure:
        """Return the failure that it stands for."""
        error_type, message = self.error or ("", "")
        return Failure(self.value, error_type, message, self.attempts, self.answered_at)


@dataclass(frozen=True)
class MapPart:
    """A committed pair: some rows, and the items that they are of.

    Attributes:
        first: The number of the first commit that it stands for.
        last: That of the last one.
        kind: What its rows are as a frame; empty if there are none to tell.
        schema: How that was packed.
        content: The digest of the rows.
        row_count: How many there are.
        nbytes: How big they are in memory.
        size_bytes: How big their file is.
        answers: What is known of the items, in the order of the rows.
    """

    first: int
    last: int
    kind: str
    schema: dict[str, Any]
    content: str
    row_count: int
    nbytes: int
    size_bytes: int
    answers: tuple[Answer, ...]

    @property
    def stem(self) -> str:
        """What both files are called, but for their endings."""
        return f"{self.first:08d}-{self.last:08d}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The kind of frame and the names of its columns; other rows have others."""
        names: Sequence[object] = self.schema["sql_names"] if self.kind else ()
        return (self.kind, *map(str, names))

    @cached_property
    def places(self) -> dict[tuple[str, int], int]:
        """Where its rows of an answer begin, by the item and the number of the answer."""
        return {(answer.item, answer.at): answer.start for answer in self.answers}


class PartFacts(NamedTuple):
    """What reading a part found.

    Attributes:
        stem: The part.
        problem: What is wrong, as a clause; empty if nothing is.
        item_count: How many answers it has; 0 if that can not be read.
        seen: What the disk said of its items and of its rows before they were read; None
            for a file that is not there.
        trouble: Why it could not be read, if that says nothing of the part itself.
    """

    stem: str
    problem: str
    item_count: int
    seen: tuple[os.stat_result | None, ...]
    trouble: str = ""

    @property
    def size_bytes(self) -> int:
        """How big its files are."""
        return sum(each.st_size for each in self.seen if each is not None)


class DamagedRows(Exception):  # noqa: N818 - whoever reads a map answers it; nobody sees it
    """The rows of a part are not those that were committed.

    Attributes:
        stem: The part.
    """

    def __init__(self, stem: str) -> None:
        self.stem = stem
        super().__init__(stem)


# --- writing ----------------------------------------------------------------------------


def commit_part(
    folder: Path, first: int, last: int, packed: Packed | None, answers: Sequence[Answer]
) -> MapPart:
    """Commit a part: all of it, or nothing.

    Args:
        folder: Where it is to be.
        first: The number of the first commit that it stands for.
        last: That of the last one.
        packed: The rows of all its items, one below the other; None if all failed.
        answers: What is known of each, in the order of the rows.

    Raises:
        OSError: The folder can not be written; nothing was committed.
    """
    from usher_pipeline.fingerprint.frames import column_digests

    part = MapPart(first, last, "", {}, "", 0, 0, 0, ())
    if packed is not None:
        table, schema = packed.table, dict(packed.schema)
        part = replace(
            part,
            kind=packed.kind,
            schema=schema,
            content=combine(packed.kind, schema, column_digests(table)),
            nbytes=table.nbytes,
            size_bytes=_write(folder / f"{part.stem}{PAIR[1]}", table),
        )
    placed, start = [], 0
    for answer in answers:
        placed.append(answer._replace(part=part.stem, start=start))
        start += answer.row_count
    part = replace(part, row_count=start, answers=tuple(placed))
    _write(folder / f"{part.stem}{PAIR[0]}", _items_table(placed, _about(part)))
    return part


def _about(part: MapPart) -> dict[str, Any]:
    names = ("kind", "schema", "content", "nbytes", "size_bytes")
    return {**{name: getattr(part, name) for name in names}, "rows": part.row_count}


def _write(path: Path, table: pa.Table) -> int:
    """Write a compressed Arrow file, there in full or not at all; return its size."""
    import pyarrow as pa

    temporary = path.with_name(f".{uuid4().hex}.arrow.tmp")
    options = pa.ipc.IpcWriteOptions(compression="zstd", emit_dictionary_deltas=True)
    try:
        with pa.OSFile(str(temporary), "wb") as sink:
            temporary.chmod(0o600)
            with pa.ipc.new_file(sink, table.schema, options=options) as file:
                file.write_table(table)
        sync(temporary)
        size_bytes = temporary.stat().st_size
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return size_bytes


def _utf8(text: str) -> str:
    """Return a text as Arrow can hold it; of JSON what is escaped is read as what it was."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _items_table(answers: Sequence[Answer], about: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    from usher_pipeline.fingerprint.frames import column_digests

    codes = list(dict.fromkeys(answer.code for answer in answers))
    reads = list(dict.fromkeys(answer.reads for answer in answers))
    code_of = {code: position for position, code in enumerate(codes)}
    reads_of = {each: position for position, each in enumerate(reads)}
    columns = {
        "item": pa.array([bytes.fromhex(a.item) for a in answers], pa.binary(16)),
        "shown": pa.array([_utf8(a.shown) for a in answers], pa.large_string()),
        "rows": pa.array([a.row_count for a in answers], pa.int64()),
        "code": pa.array([code_of[a.code] for a in answers], pa.int32()),
        "reads": pa.array([reads_of[a.reads] for a in answers], pa.int32()),
        "elapsed_s": pa.array([a.elapsed_s for a in answers], pa.float32()),
        "at": pa.array([a.at for a in answers], pa.int64()),
        "attempts": pa.array([a.attempts for a in answers], pa.int32()),
        "skew": pa.array([a.skew for a in answers], pa.int64()),
        "error_type": pa.array(
            [a.error and _utf8(a.error[0]) for a in answers], pa.large_string()
        ),
        "error": pa.array([a.error and _utf8(a.error[1]) for a in answers], pa.large_string()),
    }
    table = pa.table(columns)
    stated = {
        "format": _FORMAT,
        **about,
        "codes": codes,
        "reads": [[asdict(read) for read in each] for each in reads],
    }
    digest = combine("usher map", stated, column_digests(table))
    text = json.dumps({"digest": digest, "about": stated}, ensure_ascii=False)
    return table.replace_schema_metadata({_ABOUT: text.encode("utf-8", "surrogatepass")})


# --- reading ----------------------------------------------------------------------------


def read_part(path: Path, *, is_strict: bool = False) -> MapPart | None:
    """Return what a file of items says; None if that is not what was committed.

    Args:
        path: The file.
        is_strict: Whether it is an error if the file can not be read for a reason that does
            not lie in it.

    Raises:
        OSError, MemoryError: It can not, and that is to be an error.
    """
    import pyarrow as pa

    from usher_pipeline.fingerprint.frames import column_digests

    try:
        table = Mapped(path).table
        table.validate(full=True)
        found = json.loads(table.schema.metadata[_ABOUT].decode("utf-8", "surrogatepass"))
        about = found["about"]
        plain = table.replace_schema_metadata(None)
        if combine("usher map", about, column_digests(plain)) != found["digest"]:
            return None
        if about["format"] != _FORMAT or not _is_formed(plain, about):
            return None
        first, last = (int(number) for number in path.stem.split("-"))
        codes = [str(code) for code in about["codes"]]
        reads = [tuple(map(Read.from_json, each)) for each in about["reads"]]
        answers, start, stem = [], 0, path.stem
        columns = [table.column(name).to_pylist() for name in _COLUMNS]
        for item, shown, rows, code, read, elapsed_s, at, attempts, skew, *error in zip(
            *columns, strict=True
        ):
            failed = None if error[0] is None else (error[0], error[1])
            answers.append(
                Answer(
                    *(item.hex(), shown, rows, codes[code], reads[read], elapsed_s, at),
                    *(attempts, failed, start, stem, skew),
                )
            )
            start += rows
        return MapPart(
            *(first, last, str(about["kind"]), dict(about["schema"]), str(about["content"])),
            *(int(about["rows"]), int(about["nbytes"]), int(about["size_bytes"])),
            tuple(answers),
        )
    except (OSError, *ODD, MemoryError, RecursionError, pa.ArrowException) as problem:
        if is_strict and is_passing(problem):
            raise
        return None


def seen_files(folder: Path, stem: str) -> tuple[os.stat_result | None, ...]:
    """Return what the disk says of the two files of a part; None for one that is not there.

    Args:
        folder: Where it is.
        stem: The part.
    """
    return tuple(_stat_of(folder / f"{stem}{ending}") for ending in PAIR)


def _stat_of(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def read_rows(folder: Path, part: MapPart) -> Packed:
    """Return the rows of a part; that they make a frame here is not looked at.

    Args:
        folder: Where it is.
        part: The part.

    Raises:
        DamagedRows: They are not those that were committed.
        OSError, MemoryError: They can not be read just now; that says nothing of the rows.
    """
    from usher_pipeline.fingerprint.frames import column_digests

    try:
        table = Mapped(folder / f"{part.stem}{PAIR[1]}").table
        # The file may be anybody's: no frame is built before its structure is checked.
        table.validate(full=True)
        content = combine(part.kind, part.schema, column_digests(table))
        is_whole = table.num_rows == part.row_count and content == part.content
    except Exception as problem:  # what stands in files may make anything raise
        if is_passing(problem):
            raise
        raise DamagedRows(part.stem) from problem
    if not is_whole:
        raise DamagedRows(part.stem)
    return Packed(table, part.schema, part.kind)


def _is_formed(table: pa.Table, about: Mapping[str, Any]) -> bool:
    """Tell whether a file of items holds what those who read it count on, digest or not."""
    if not table.schema.equals(_items_table((), {}).schema.remove_metadata()):
        return False
    wanted = {name: table.column(name).to_pylist() for name in _COLUMNS[:-2]}
    errors = [table.column(name).is_null().to_pylist() for name in _COLUMNS[-2:]]
    if any(None in column for column in wanted.values()) or errors[0] != errors[1]:
        return False
    names = about["schema"]["sql_names"] if about["kind"] else []
    reads = [Read.from_json(read) for each in about["reads"] for read in each]
    texts = (*about["codes"], *names, *(value for read in reads for value in _texts_of(read)))
    return (
        isinstance(names, list)
        and all(isinstance(text, str) for text in texts)
        and min(wanted["rows"], default=0) >= 0
        and sum(wanted["rows"]) == about["rows"]
        and all(0 <= code < len(about["codes"]) for code in wanted["code"])
        and all(0 <= read < len(about["reads"]) for read in wanted["reads"])
        and all(0 <= at <= _LATEST for at in wanted["at"])
        and all(
            0 <= at + skew <= _LATEST
            for at, skew in zip(wanted["at"], wanted["skew"], strict=True)
        )
        and all(map(math.isfinite, wanted["elapsed_s"]))
    )


def is_of_another_version(path: Path) -> bool:
    """Tell whether a file of items says that it is of a format that we do not know."""
    import pyarrow as pa

    try:
        with pa.OSFile(str(path), "rb") as source:
            stated = json.loads(pa.ipc.open_file(source).schema.metadata[_ABOUT])
        found = stated["about"]["format"]
    except (OSError, *ODD, MemoryError, RecursionError, pa.ArrowException):
        return False
    return isinstance(found, int) and found != _FORMAT


def _texts_of(read: Read) -> tuple[object, ...]:
    return (read.name, read.key, read.content, read.kind, read.store, read.standing)


_COLUMNS: Final = (
    *("item", "shown", "rows", "code", "reads", "elapsed_s", "at", "attempts", "skew"),
    *("error_type", "error"),
)
