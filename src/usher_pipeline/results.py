"""What a function returns, on its way into the store and out of it.

One frame is one result. A dictionary of frames is a result for each, under
``name__part``, and after those one under the name itself, which lists them: from its entry
on the dictionary is there in full.
"""

from __future__ import annotations

import inspect
import tempfile
import threading
import warnings
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from usher_pipeline import registry
from usher_pipeline._version import __version__
from usher_pipeline.errors import (
    CheckpointNameError,
    CheckpointNotSaved,
    CheckpointNotSavedError,
    InvalidResultError,
    NameClashError,
    UnsupportedFrameError,
)
from usher_pipeline.exporting import remember_origin
from usher_pipeline.fingerprint import frames as fingerprints
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.frames.contract import require_storable
from usher_pipeline.persistence.segments import check_name, schema_text, write_segment
from usher_pipeline.records import INDEX_TYPE, Column, Entry, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from usher_pipeline.calls import Planned
    from usher_pipeline.frames import Adapter, Packed
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Cost, Read

__all__ = [
    "LOST",
    "Circumstances",
    "Made",
    "Returned",
    "claim",
    "gather",
    "handed_out",
    "keep",
    "make",
    "parts_of",
    "restored",
]

#: What `restored` returns when nothing can be restored.
LOST: Final = object()
_DICT: Final = "dict"
#: The whole, among the parts of a result.
_WHOLE: Final = ""


# --- what was returned ------------------------------------------------------------------


class _Held(NamedTuple):
    """A frame with its values at hand, and the adapter of its kind."""

    adapter: Adapter
    frame: Any


class Returned(NamedTuple):
    """What a function returned, computed to the end.

    Attributes:
        result: The very thing.
        frames: Its frames by their part; a result that is one frame has an empty one.
    """

    result: Any
    frames: dict[str, _Held]

    @property
    def is_dict(self) -> bool:
        """Whether it is a dictionary of frames."""
        return type(self.result) is dict

    @property
    def computed(self) -> Any:
        """The result with what queries gave in place of them, for errors to carry."""
        lazy = {part: held.frame for part, held in self.frames.items() if held.adapter.is_lazy}
        if not lazy:
            return self.result
        return {**self.result, **lazy} if self.is_dict else lazy[_WHOLE]


def gather(name: str, result: Any) -> Returned:
    """Return what a function returned with all its values at hand; lazy frames are run.

    Args:
        name: The checkpoint.
        result: What the function returned.

    Raises:
        InvalidResultError: It is neither a frame nor a dictionary of frames.
        UnsupportedFrameError: A frame in it can not be stored exactly.
    """
    if type(result) is not dict:
        return Returned(result, {_WHOLE: _held(name, result, result)})
    for part in result:
        if type(part) is not str or not part:
            raise _unsupported(
                f"the key {part!r} of the dictionary",
                type(part).__name__ if type(part) is not str else "empty",
                "Use keys of text: they name the tables, as in name__key.",
                result,
            )
    return Returned(result, {part: _held(name, f, result) for part, f in result.items()})


def _held(name: str, frame: Any, result: Any) -> _Held:
    adapter = adapter_for(frame)
    if adapter is None:
        raise InvalidResultError(name, _type_name(frame, result), result)
    return _Held(adapter, adapter.collect(frame))


def _type_name(value: Any, result: Any) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return name if value is result else f"a dict that holds {name}"


def _unsupported(part: str, type_name: str, cure: str, result: Any) -> UnsupportedFrameError:
    problem = UnsupportedFrameError(part, type_name, cure)
    # Hours of work may be in it: the error carries what was computed.
    problem.frame = result
    return problem


# --- what is to be stored ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a computation besides its result.

    Attributes:
        cost: What it took.
        reason: Why it was computed.
        reads: What the function read from stores.
        inputs: The results that were handed to it.
        unknown: The arguments that held frames of unknown origin.
    """

    cost: Cost
    reason: str
    reads: tuple[Read, ...]
    inputs: tuple[Read, ...]
    unknown: tuple[str, ...]


class Made(NamedTuple):
    """One result: the entry that it will have, and its values."""

    entry: Entry
    packed: Packed


def make(planned: Planned, returned: Returned, circumstances: Circumstances) -> dict[str, Made]:
    """Return what is to be stored of a result: its parts, if any, and then the whole.

    Raises:
        UnsupportedFrameError: A frame can not be stored exactly; the error carries the result.
        NameClashError: The name of a part is somebody else's; the error carries the result.
    """
    name = planned.declared.name
    made = {}
    for part, (adapter, frame) in returned.frames.items():
        packed = _packed(part, adapter, frame, returned.computed)
        described = adapter.describe(frame)
        table_name = f"{name}__{part}" if returned.is_dict else name
        entry = _entry(planned, table_name, packed, described, circumstances)
        made[part] = Made(entry, packed)
    if returned.is_dict:
        _require_free(planned, made, returned.computed)
        from usher_pipeline.frames.parts import ADAPTER, PartRef

        listed = [
            PartRef(part, e.name, e.kind, e.row_count, e.content)
            for part, (e, _) in made.items()
        ]
        packed = ADAPTER.to_arrow(listed)
        described = ADAPTER.describe(listed)
        made[_WHOLE] = Made(_entry(planned, name, packed, described, circumstances), packed)
    return made


def _packed(part: str, adapter: Adapter, frame: Any, result: Any) -> Packed:
    try:
        packed = adapter.to_arrow(frame)
        require_storable(packed)
    except UnsupportedFrameError as problem:
        place = f"in the part {part!r}, {problem.column}" if part else problem.column
        raise _unsupported(place, problem.type_name, problem.cure, result) from None
    return packed


def _require_free(planned: Planned, made: Mapping[str, Made], result: Any) -> None:
    """Refuse parts whose names are no names, are alike, or belong to others."""
    name, known = planned.declared.name, dict[str, str]()
    for part, (entry, _) in made.items():
        other = known.setdefault(entry.name.casefold(), part)
        try:
            check_name(entry.name)
            _require_apart(entry.name, other, part)
            planned.backend.check(entry.name)
            registry.require_sole(planned.declared, planned.backend, entry.name)
        except CheckpointNameError as problem:
            raise _unsupported(
                f"the key {part!r} of the dictionary that {name} returned",
                f"no part of a name ({problem})",
                "Use another key.",
                result,
            ) from None
        except NameClashError as problem:
            problem.frame = result
            raise


def _require_apart(name: str, one: str, other: str) -> None:
    if one != other:
        raise NameClashError(name, f"the part {one!r}", f"the part {other!r}")


def _entry(
    planned: Planned,
    name: str,
    packed: Packed,
    described: tuple[tuple[str, str], ...],
    circumstances: Circumstances,
) -> Entry:
    function = planned.declared.function
    digests = fingerprints.column_digests(packed.table)
    names = packed.schema["sql_names"]
    described += tuple((each, INDEX_TYPE) for each in names[len(described) :])
    return Entry(
        key=replace(planned.key, name=name),
        number=1,
        created_at=utc_now(),
        function=registry.place(function),
        kind=packed.kind,
        schema=packed.schema,
        arrow_schema=schema_text(packed.table.schema),
        content=fingerprints.combine(packed.kind, packed.schema, digests),
        columns=tuple(
            Column(label, kind, digest)
            for (label, kind), digest in zip(described, digests, strict=True)
        ),
        row_count=packed.schema["rows"],
        size_bytes=packed.table.nbytes,
        cost=circumstances.cost,
        run_id=planned.run.run_id,
        reads=circumstances.reads,
        inputs=circumstances.inputs,
        library=__version__,
        description=(inspect.getdoc(function) or "").partition("\n")[0],
        reason=circumstances.reason,
        config_hash=planned.facts.config.config_hash(),
        unknown=circumstances.unknown,
    )


# --- into the store ---------------------------------------------------------------------


def keep(planned: Planned, returned: Returned, made: Mapping[str, Made]) -> dict[str, Entry]:
    """Store a result; if that fails the caller still gets it, loudly.

    Returns:
        Part → its entry with its number, the whole under an empty one; nothing if the
        result is not in the store.

    Raises:
        CheckpointNotSavedError: It could not be stored, and the run is strict.
    """
    kept: dict[str, Entry] = {}
    try:
        for part, each in made.items():
            kept[part] = planned.backend.save(each.entry, each.packed)
    except Exception as problem:  # noqa: BLE001 - hours of work are not lost for any error
        for entry in kept.values():
            # A part without its whole is not a result.
            with suppress(OSError):
                planned.backend.segments.remove(entry)
        # What was computed, and not a query that would have to run once more.
        _tell_unsaved(planned, made, handed_out(returned, made), problem)
        return {}
    return kept


def claim(planned: Planned, result: Any, kept: Mapping[str, Entry]) -> None:
    """Remember which entries the frames that the caller gets are.

    Args:
        planned: The call.
        result: What the caller gets.
        kept: What was stored.
    """
    for part, entry in kept.items():
        if part != _WHOLE:
            planned.run.mean(planned.backend, entry)
            remember_origin(result[part], entry, planned.backend)
    remember_origin(result, kept[_WHOLE], planned.backend)


def _tell_unsaved(
    planned: Planned, made: Mapping[str, Made], result: Any, problem: Exception
) -> None:
    path, name = planned.backend.path, planned.declared.name
    if planned.run.strict:
        raise CheckpointNotSavedError(path, str(problem), result) from problem
    frames = {part: each for part, each in made.items() if part or len(made) == 1}
    rescue = ", ".join(_rescued(part, each.packed) for part, each in frames.items())
    planned.run.note_unsaved(name, "not saved", {"problem": str(problem)})
    warnings.warn(
        f"{name} ran, but its result could not be stored in {str(path)!r}: {problem}. The "
        f"result was returned{rescue and f', and {rescue}'}. "
        "Mend the store and call again to have it kept.",
        CheckpointNotSaved,
        stacklevel=6,
    )


def _rescued(part: str, packed: Packed) -> str:
    """Write an unsaved frame somewhere else; return a clause that says where."""
    path = Path(tempfile.gettempdir()) / f"usher-rescue-{uuid4().hex}.arrow"
    of_part = f" of {part!r}" if part else ""
    try:
        write_segment(path, packed.table)
    except Exception as problem:  # noqa: BLE001 - as above
        with suppress(OSError):
            path.unlink()
        return f"its columns{of_part} could not be rescued to {path} either ({problem})"
    return f"a copy of its columns{of_part} was written to {str(path)!r}"


def handed_out(returned: Returned, made: Mapping[str, Made]) -> Any:
    """Return what the caller gets: what the function returned, queries run but once."""
    frames = {
        part: held.adapter.from_arrow(made[part].packed.table, made[part].packed.schema)
        for part, held in returned.frames.items()
        if held.adapter.is_lazy
    }
    if not frames:
        return returned.result
    return {**returned.result, **frames} if returned.is_dict else frames[_WHOLE]


# --- out of the store -------------------------------------------------------------------


def restored(backend: LocalBackend, entry: Entry) -> Any:
    """Return what a function returned, from its entry; `LOST` if it is lost or damaged.

    Args:
        backend: The store.
        entry: The entry of the whole.
    """
    state = backend.segments.state(entry) if entry.kind in _SHARED else None
    found = _memory.get(state)
    if found is not None:
        remember_origin(found, entry, backend)
        return found
    packed = backend.load(entry)
    if packed is None:
        return LOST
    found = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
    if state is not None:
        _memory.put(state, found, entry.size_bytes)
    if entry.kind == _DICT:
        parts = {ref.part: _part(backend, entry, ref) for ref in found}
        if None in parts.values():
            return LOST
        frames = {p: restored(backend, each) for p, each in parts.items() if each is not None}
        if any(frame is LOST for frame in frames.values()):
            return LOST
        found = frames
    remember_origin(found, entry, backend)
    return found


#: Kinds whose values nobody can change in place: their frames may share memory.
_SHARED: Final = frozenset({"polars.DataFrame", "polars.Series"})


class _Memory:
    """Frames that were mapped and checked, for the next hit on the same file.

    Each hit gets a frame of its own on the same values, which in polars nobody can change.
    """

    def __init__(self, most_bytes: int, most_frames: int) -> None:
        self._most_bytes = most_bytes
        self._most_frames = most_frames
        self._frames: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def get(self, state: Any) -> Any:
        """Return a frame for the state of a file, or None."""
        with self._lock:
            known = self._frames.get(state)
            if known is None:
                return None
            self._frames.move_to_end(state)
        return known[0].clone()

    def put(self, state: Any, frame: Any, size_bytes: int) -> None:
        """Keep a frame, and let go of those that were not asked for longest."""
        with self._lock:
            if state in self._frames:
                return
            self._frames[state] = frame.clone(), size_bytes
            self._size_bytes += size_bytes
            while self._size_bytes > self._most_bytes or len(self._frames) > self._most_frames:
                _, (_, gone_bytes) = self._frames.popitem(last=False)
                self._size_bytes -= gone_bytes


#: What is mapped costs address space and no memory, until somebody reads it.
_memory: Final = _Memory(most_bytes=1 << 30, most_frames=256)


def parts_of(backend: LocalBackend, entry: Entry) -> Iterator[Entry]:
    """Yield the entries of the parts of a result that are still there; none if it has none."""
    packed = backend.load(entry) if entry.kind == _DICT else None
    if packed is not None:
        for ref in adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema):
            found = _part(backend, entry, ref)
            if found is not None:
                yield found


def _part(backend: LocalBackend, entry: Entry, ref: Any) -> Entry | None:
    # A part stays under the key that computed it, whatever was accepted since.
    key = entry.accepted[0].key if entry.accepted else entry.key.digest
    return backend.find(ref.table_name, key, ref.content)
