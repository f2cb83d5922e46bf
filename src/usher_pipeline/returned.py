"""What a function returned, with all its values at hand or on disk.

A frame is taken as it is. A query is run, and a generator is asked for its frames; their
rows are written as they come, so that a result may be larger than the memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from usher_pipeline.errors import InvalidResultError, UnsupportedFrameError
from usher_pipeline.frames import Packed, adapter_for, adapter_of_kind
from usher_pipeline.frames.contract import require_storable
from usher_pipeline.persistence.spools import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

    from usher_pipeline.frames import Adapter
    from usher_pipeline.frames.streams import Growing

    #: Begins to store rows of a kind of frame with these columns.
    Begin = Callable[[str, pa.Schema], Spool]

__all__ = ["WHOLE", "Held", "Returned", "gather", "rescue", "unsupported"]

#: The part of a result that is the result itself.
WHOLE: Final = ""

#: What a generator that is at its end yields.
_NOTHING: Final = object()


class Spooled(NamedTuple):
    """Rows that were written as they came.

    Attributes:
        packed: The whole; where it is on disk, it is mapped, with the layout of the file.
        described: Label and type of each column.
        digests: The digest of each column.
        spool: Where they are written.
    """

    packed: Packed
    described: tuple[tuple[str, str], ...]
    digests: list[str] | None
    spool: Spool


class Held(NamedTuple):
    """A frame of a result.

    Attributes:
        adapter: That of its kind.
        frame: The frame with its values at hand; None if its rows came one after another.
        spooled: Where they are then.
    """

    adapter: Adapter
    frame: Any
    spooled: Spooled | None = None

    @property
    def computed(self) -> Any:
        """The frame with its values, put together if its rows came one after another."""
        if self.spooled is None:
            return self.frame
        packed = self.spooled.packed
        if self.adapter.tabular:
            packed = packed.of_kind(self.adapter.tabular)
        return adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)


class Returned(NamedTuple):
    """What a function returned, computed to the end.

    Attributes:
        result: The very thing.
        frames: Its frames by their part; a result that is one frame has an empty one.
    """

    result: Any
    frames: dict[str, Held]

    @property
    def is_dict(self) -> bool:
        """Whether it is a dictionary of frames."""
        return type(self.result) is dict

    @property
    def computed(self) -> Any:
        """The result with frames in place of queries and generators."""
        made = {part: held.computed for part, held in self.frames.items() if held.spooled}
        if not made:
            return self.result
        return {**self.result, **made} if self.is_dict else made[WHOLE]

    def discard(self) -> None:
        """Let go of what was written and is not stored; what is mapped stays readable."""
        for held in self.frames.values():
            if held.spooled is not None:
                held.spooled.spool.discard()


def gather(name: str, result: Any, begin: Begin | None = None) -> Returned:
    """Return what a function returned, with every query run and every generator asked.

    Args:
        name: The checkpoint.
        result: What the function returned.
        begin: Begins to store rows that come one after another; memory unless given.

    Raises:
        InvalidResultError: It is neither a frame nor a dictionary of frames.
        UnsupportedFrameError: A frame in it can not be stored exactly.
    """
    taken = _Taken(name, result, begin or _in_memory)
    if type(result) is not dict:
        return Returned(result, {WHOLE: taken.held(result)})
    for part in result:
        if type(part) is not str or not part:
            raise unsupported(
                f"the key {part!r} of the dictionary",
                type(part).__name__ if type(part) is not str else "empty",
                "Use keys of text: they name the tables, as in name__key.",
                result,
            )
    frames: dict[str, Held] = {}
    try:
        for part, frame in result.items():
            frames[part] = taken.held(frame)
    except BaseException:
        Returned(result, frames).discard()
        raise
    return Returned(result, frames)


def _in_memory(_kind: str, schema: pa.Schema) -> Spool:
    return Spool(None, schema)


def unsupported(part: str, type_name: str, cure: str, result: Any) -> UnsupportedFrameError:
    """Return an error that carries what was computed: hours of work may be in it."""
    problem = UnsupportedFrameError(part, type_name, cure)
    problem.frame = result
    return problem


class _Taken:
    """How the frames of one result are taken.

    Args:
        name: The checkpoint.
        result: What the function returned.
        begin: Begins to store rows that come one after another.
    """

    def __init__(self, name: str, result: Any, begin: Begin) -> None:
        self.name = name
        self.result = result
        self.begin = begin

    def held(self, frame: Any) -> Held:
        """Return a frame, a query that was run, or the frames of a generator as one."""
        adapter: Any = adapter_for(frame)
        if adapter is None and isinstance(frame, Iterator):
            return self._yielded(frame)
        if adapter is None:
            raise InvalidResultError(self.name, self._type_name(frame), self.result)
        if not adapter.is_lazy:
            return Held(adapter, adapter.collect(frame))
        from usher_pipeline.frames.streams import Growing

        growing = Growing(adapter, tell_parts=False)
        return self._spooled(adapter, growing, adapter.parts(frame))

    def _yielded(self, frames: Iterator[Any]) -> Held:
        from usher_pipeline.frames.streams import Growing, as_table

        first = as_table(next(frames, _NOTHING))
        adapter = adapter_for(first)
        if adapter is None:
            what = "no frame at all" if first is _NOTHING else self._type_name(first, " of ")
            kind = f"a {type(frames).__name__}"
            raise InvalidResultError(self.name, f"{kind} that yields {what}", self.result)
        if adapter.is_lazy:
            cure = "Yield frames with their values, or return the query itself."
            raise unsupported("frame 1", f"{adapter.kind}, a query", cure, first)
        growing = Growing(adapter, takes_types=True)

        def alike() -> Iterator[Any]:
            yield first
            for frame in map(as_table, frames):
                if adapter_for(frame) is not adapter:
                    raise growing.refused(frame, self._type_name(frame, " of "))
                yield frame

        return self._spooled(adapter, growing, alike())

    def _spooled(self, adapter: Adapter, growing: Growing, parts: Iterable[Any]) -> Held:
        from usher_pipeline.frames.streams import coalesced

        tables = coalesced(map(growing.add, parts))
        spool: Spool | None = None
        try:
            for table in tables:
                spool = spool or self.begin(growing.kind, growing.arrow_schema)
                spool.write(table)
            assert spool is not None  # noqa: S101 - there is one part at least
            spool.close()
            plain = growing.arrow_schema.empty_table()
            require_storable(Packed(plain, growing.schema, growing.kind))
            packed = Packed(spool.table(), growing.schema, growing.kind)
        except UnsupportedFrameError as problem:
            raise self._with_what_came(problem, growing, spool) from None
        except BaseException:
            if spool is not None:
                spool.discard()
            raise
        mapped = spool.mapped()
        digests = mapped.digests() if mapped is not None else None
        return Held(adapter, None, Spooled(packed, growing.described, digests, spool))

    def _with_what_came(
        self, problem: UnsupportedFrameError, growing: Growing, spool: Spool | None
    ) -> UnsupportedFrameError:
        """Return an error that says where the frames before that one were put aside.

        The one that was refused is carried by the error.
        """
        cure = problem.cure
        if spool is not None:
            if growing.count > 1:
                spool.close()
                names = growing.schema["sql_names"]
                cure = f"{cure} Of the frames before, {rescue(spool.table(), names)}."
            spool.discard()
        (frame,) = growing.last or (self.result,)
        return unsupported(problem.column, problem.type_name, cure, frame)

    def _type_name(self, value: Any, within: str = "") -> str:
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        is_whole = value is self.result or within
        return name if is_whole else f"a dict that holds {name}"


# --- what can not be stored -------------------------------------------------------------


def rescue(table: pa.Table, names: Sequence[str], of_part: str = "") -> str:
    """Write rows that can not be stored somewhere else; return a clause that says where.

    Args:
        table: The rows.
        names: What the columns are called.
        of_part: The part of the result, for people.
    """
    if len(names) == table.num_columns:
        table = table.rename_columns(list(names))
    path = Path(tempfile.gettempdir()) / f"usher-rescue-{uuid4().hex}.arrow"
    named = f" of {of_part!r}" if of_part else ""
    spool = Spool(path, table.schema)
    try:
        spool.write(table)
        spool.close()
        if spool.trouble is None:
            spool.release()
            return f"a copy of its columns{named} was written to {str(path)!r}"
    except Exception as problem:  # noqa: BLE001 - what was computed is not lost for any error
        spool.trouble = spool.trouble or problem
    with suppress(OSError):
        spool.discard()
    return f"its columns{named} could not be rescued to {path} either ({spool.trouble})"
