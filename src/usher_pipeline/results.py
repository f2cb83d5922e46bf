"""What a function returns, on its way into the store and out of it.

One frame is one result. A dictionary of frames is a result for each, under
``name__part``, and after those one under the name itself, which lists them: from its entry
on the dictionary is there in full.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usher_pipeline import registry
from usher_pipeline._version import __version__
from usher_pipeline.errors import (
    CheckpointNameError,
    CheckpointNotSaved,
    CheckpointNotSavedError,
    NameClashError,
    UnsupportedFrameError,
)
from usher_pipeline.exporting import remember_origin
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.frames.contract import lays_views, require_storable
from usher_pipeline.persistence.entries import schema_text
from usher_pipeline.persistence.places import check_name
from usher_pipeline.persistence.segments import file_state
from usher_pipeline.records import INDEX_TYPE, Column, Entry, utc_now
from usher_pipeline.returned import WHOLE, gather, rescue, unsupported

if TYPE_CHECKING:
    from usher_pipeline.calls import Planned
    from usher_pipeline.frames import Adapter, Packed
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.spools import Spool
    from usher_pipeline.records import Acceptance, Adoption, Cost, MapFacts, Read
    from usher_pipeline.returned import Held, Returned

__all__ = [
    "LOST",
    "Anew",
    "Circumstances",
    "Lack",
    "Made",
    "bypassed",
    "claim",
    "handed_out",
    "is_shared",
    "keep",
    "make",
    "parts_of",
    "recalled",
    "restored",
    "store",
    "warn_unsaved",
]

#: What `restored` returns when nothing can be restored.
LOST: Final = object()
_DICT: Final = "dict"
_POLARS: Final = "polars.DataFrame"
_LAZY: Final = "polars.LazyFrame"


class Anew(Exception):  # noqa: N818 - it is answered where calls are, and seen by nobody
    """A call turned out to change what it does not hold, and is to be decided anew."""


class Lack(NamedTuple):
    """Why a result is returned and not stored, although its function came to its end.

    Attributes:
        words: What it lacks.
        stale: Which rows in it are older than they may be, as plain data; empty if none are.
    """

    words: str
    stale: Mapping[str, Any] = {}


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
        accepted: The statements by which parts that older code made hold.
        adopted: Where the result is from, if it was not computed.
        mapped: How it was put together, if it was from the rows of many items.
    """

    cost: Cost
    reason: str
    reads: tuple[Read, ...]
    inputs: tuple[Read, ...]
    unknown: tuple[str, ...]
    accepted: tuple[Acceptance, ...] = ()
    adopted: Adoption | None = None
    mapped: MapFacts | None = None


class Made(NamedTuple):
    """One result: the entry that it will have, its values, and where they are written."""

    entry: Entry
    packed: Packed
    spool: Spool | None = None


def make(planned: Planned, returned: Returned, circumstances: Circumstances) -> dict[str, Made]:
    """Return what is to be stored of a result: its parts, if any, and then the whole.

    Raises:
        UnsupportedFrameError: A frame can not be stored exactly; the error carries the result.
        NameClashError: The name of a part is somebody else's; the error carries the result.
    """
    name = planned.declared.name
    made = {}
    for part, held in returned.frames.items():
        table_name = f"{name}__{part}" if returned.is_dict else name
        if held.spooled is not None:
            packed, described, digests, spool = held.spooled
        else:
            packed = _packed(part, held.adapter, held.frame, returned)
            described, digests, spool = held.adapter.describe(held.frame), None, None
        columns = _columns(packed, described, digests)
        entry = _entry(planned, table_name, packed, columns, circumstances)
        made[part] = Made(entry, packed, spool)
    if returned.is_dict:
        _require_free(planned, made, returned)
        from usher_pipeline.frames.parts import ADAPTER, PartRef

        listed = [
            PartRef(part, e.name, e.kind, e.row_count, e.content)
            for part, (e, _, _) in made.items()
        ]
        packed = ADAPTER.to_arrow(listed)
        columns = _columns(packed, ADAPTER.describe(listed))
        made[WHOLE] = Made(_entry(planned, name, packed, columns, circumstances), packed)
    return made


def _packed(part: str, adapter: Adapter, frame: Any, returned: Returned) -> Packed:
    try:
        packed = adapter.to_arrow(frame)
        require_storable(packed)
    except UnsupportedFrameError as problem:
        place = f"in the part {part!r}, {problem.column}" if part else problem.column
        raise unsupported(place, problem.type_name, problem.cure, returned.computed) from None
    return packed


def _require_free(planned: Planned, made: Mapping[str, Made], returned: Returned) -> None:
    """Refuse parts whose names are no names, are alike, or belong to others."""
    name, known = planned.declared.name, dict[str, str]()
    for part, (entry, _, _) in made.items():
        other = known.setdefault(entry.name.casefold(), part)
        try:
            check_name(entry.name)
            _require_apart(entry.name, other, part)
            planned.backend.check(entry.name)
            registry.require_sole(planned.declared, planned.backend, entry.name)
        except CheckpointNameError as problem:
            raise unsupported(
                f"the key {part!r} of the dictionary that {name} returned",
                f"no part of a name ({problem})",
                "Use another key.",
                returned.computed,
            ) from None
        except NameClashError as problem:
            raise problem.with_frame(returned.computed) from None


def _require_apart(name: str, one: str, other: str) -> None:
    if one != other:
        cure = "Use keys that differ in more than the case of their letters."
        raise NameClashError(name, f"the part {one!r}", f"the part {other!r}", cure)


def _columns(
    packed: Packed, described: tuple[tuple[str, str], ...], digests: list[str] | None = None
) -> tuple[Column, ...]:
    """Return the columns of a frame with their digests, those of its index last."""
    if digests is None:
        from usher_pipeline.fingerprint.frames import column_digests

        digests = column_digests(packed.table)
    names = packed.schema["sql_names"]
    described += tuple((each, INDEX_TYPE) for each in names[len(described) :])
    return tuple(
        Column(label, kind, digest)
        for (label, kind), digest in zip(described, digests, strict=True)
    )


def _entry(
    planned: Planned,
    name: str,
    packed: Packed,
    columns: tuple[Column, ...],
    circumstances: Circumstances,
) -> Entry:
    from usher_pipeline.frames.views import size_bytes

    function = planned.declared.function
    digests = [column.digest for column in columns]
    return Entry(
        key=replace(planned.key, name=name),
        number=1,
        created_at=utc_now(),
        function=registry.place(function),
        kind=packed.kind,
        schema=packed.schema,
        arrow_schema=schema_text(packed.table.schema),
        content=combine(packed.kind, packed.schema, digests),
        columns=columns,
        row_count=packed.schema["rows"],
        size_bytes=size_bytes(packed.table),
        cost=circumstances.cost,
        run_id=planned.run.run_id,
        reads=circumstances.reads,
        inputs=circumstances.inputs,
        library=__version__,
        description=(inspect.getdoc(function) or "").partition("\n")[0],
        reason=circumstances.reason,
        config_hash=planned.facts.config.config_hash(),
        unknown=circumstances.unknown,
        accepted=circumstances.accepted,
        adopted=circumstances.adopted,
        mapped=circumstances.mapped,
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
    try:
        return store(planned.backend, made)
    except Exception as problem:  # noqa: BLE001 - hours of work are not lost for any error
        # What was computed, and not a query that would have to run once more.
        _tell_unsaved(planned, made, handed_out(planned, returned, made, {}), problem)
        return {}


def store(backend: LocalBackend, made: Mapping[str, Made]) -> dict[str, Entry]:
    """Store all parts of a result, or none.

    Args:
        backend: The store.
        made: What is to be stored.

    Returns:
        Part → its entry with its number, the whole under an empty one.
    """
    kept: dict[str, Entry] = {}
    try:
        for part, each in made.items():
            kept[part] = backend.save(*each)
    except BaseException:
        for entry in kept.values():
            # A part without its whole is not a result.
            with suppress(OSError):
                backend.segments.remove(entry)
        raise
    return kept


def claim(planned: Planned, result: Any, kept: Mapping[str, Entry]) -> None:
    """Remember which entries the frames that the caller gets are.

    Args:
        planned: The call.
        result: What the caller gets.
        kept: What was stored.
    """
    for part, entry in kept.items():
        if part != WHOLE:
            planned.run.mean(planned.backend, entry)
            remember_origin(result[part], entry, planned.backend)
    remember_origin(result, kept[WHOLE], planned.backend)


def _tell_unsaved(
    planned: Planned, made: Mapping[str, Made], result: Any, problem: Exception
) -> None:
    path, name = planned.backend.path, planned.declared.name
    if planned.run.strict:
        raise CheckpointNotSavedError(path, str(problem), result) from problem
    frames = {part: each for part, each in made.items() if part or len(made) == 1}
    rescued = ", ".join(
        rescue(each.packed.table, each.packed.schema["sql_names"], part)
        for part, each in frames.items()
    )
    planned.run.note_unsaved(name, "not saved", {"problem": str(problem)})
    warn_unsaved(
        f"{name} ran, but its result could not be stored in {str(path)!r}: {problem}. The "
        f"result was returned{rescued and f', and {rescued}'}. "
        "Mend the store and call again to have it kept.",
        result,
        stacklevel=7,
    )


def warn_unsaved(text: str, frame: Any, stacklevel: int) -> None:
    """Warn that a result is not stored; who makes an error of it finds the result there.

    Args:
        text: What happened.
        frame: What the function returned.
        stacklevel: Whose line it is, as `warnings.warn` counts from here.
    """
    try:
        warnings.warn(text, CheckpointNotSaved, stacklevel=stacklevel)
    except CheckpointNotSaved as problem:
        problem.frame = frame
        raise


def handed_out(
    planned: Planned,
    returned: Returned,
    made: Mapping[str, Made],
    kept: Mapping[str, Entry],
    form: str = "",
) -> Any:
    """Return what the caller gets: what the function returned, queries run but once.

    Args:
        planned: The call.
        returned: What the function returned.
        made: What was to be stored of it.
        kept: What was stored of it.
        form: The kind of frame that the caller asked for; that of the function if empty.
    """
    frames = {
        part: _handed_out(planned, made[part].packed, kept.get(part), form)
        for part, held in returned.frames.items()
        if held.spooled is not None or form
    }
    if not frames:
        return returned.result
    return {**returned.result, **frames} if returned.is_dict else frames[WHOLE]


def _handed_out(planned: Planned, packed: Packed, entry: Entry | None, form: str) -> Any:
    found = LOST if entry is None else restored(planned.backend, entry, form)
    return _in_form(form or packed.kind, packed) if found is LOST else found


def bypassed(name: str, result: Any, form: str) -> Any:
    """Return what a function returned that is not stored, in the form that was asked for.

    Args:
        name: The checkpoint.
        result: What the function returned; of a generator, its frames become one.
        form: The kind of frame that is wanted; that of the function if empty.
    """
    is_yielded = isinstance(result, Iterator) and adapter_for(result) is None
    if not form and not is_yielded:
        return result
    returned = gather(name, result)
    frames = {part: _formed(held, form) for part, held in returned.frames.items()}
    return {**result, **frames} if returned.is_dict else frames[WHOLE]


def _formed(held: Held, form: str) -> Any:
    packed = held.spooled.packed if held.spooled else held.adapter.to_arrow(held.frame)
    return _in_form(form or packed.kind, packed)


# --- out of the store -------------------------------------------------------------------


def restored(backend: LocalBackend, entry: Entry, form: str = "") -> Any:
    """Return what a function returned, from its entry; `LOST` if it is lost or damaged.

    Args:
        backend: The store.
        entry: The entry of the whole.
        form: The kind of frame that is wanted; that of the function if empty.
    """
    found = _restored(backend, entry, form if form != entry.kind else "")
    if found is not LOST:
        remember_origin(found, entry, backend)
    return found


def _restored(backend: LocalBackend, entry: Entry, form: str) -> Any:
    if entry.kind == _DICT:
        return _restored_parts(backend, entry, form)
    if _LAZY in (form, entry.kind) and form in (_LAZY, ""):
        return _scanned(backend, entry)
    if form:
        packed = backend.load(entry)
        return LOST if packed is None else _in_form(form, packed)
    state = backend.segments.state(entry) if entry.kind in _SHARED else None
    found = _memory.get(state)
    if found is None:
        found = _read_by_polars(backend, entry)
        if found is None:
            packed = backend.load(entry, views=lays_views(entry.kind))
            found = LOST if packed is None else _in_form(packed.kind, packed)
        if state is not None and found is not LOST:
            _memory.put(state, found, entry.size_bytes)
    return found


def _read_by_polars(backend: LocalBackend, entry: Entry) -> Any:
    """Return a small frame of polars, if that is possible without pyarrow; else None."""
    data = backend.segments.whole_bytes(entry) if entry.kind == _POLARS else None
    if data is None:
        return None
    from usher_pipeline.frames.polars_files import read

    return read(data, entry.schema)


def _restored_parts(backend: LocalBackend, entry: Entry, form: str) -> Any:
    packed = backend.load(entry)
    if packed is None:
        return LOST
    listed = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
    parts = {ref.part: _part(backend, entry, ref) for ref in listed}
    frames = {
        part: LOST if each is None else restored(backend, each, form)
        for part, each in parts.items()
    }
    return LOST if any(frame is LOST for frame in frames.values()) else frames


def _in_form(kind: str, packed: Packed) -> Any:
    """Return a packed frame as one of some kind; only another one than its own costs much."""
    if kind == packed.kind:
        return adapter_of_kind(kind).from_arrow(packed.table, packed.schema)
    from usher_pipeline.persistence.conversion import in_form

    return in_form(kind, packed)


def _scanned(backend: LocalBackend, entry: Entry) -> Any:
    """Return a query of polars on an entry, which reads only what it needs."""
    if adapter_of_kind(entry.kind).tabular != _POLARS:
        packed = backend.load(entry)
        return LOST if packed is None else _in_form(_LAZY, packed)
    from usher_pipeline.frames.polars_lazy import scan

    source = backend.scan(entry)
    return LOST if source is None else scan(source, entry.schema)


#: Kinds whose values nobody can change in place: their frames may share memory.
_SHARED: Final = frozenset({"polars.DataFrame", "polars.Series"})


def is_shared(entry: Entry) -> bool:
    """Tell whether the frames of a result can share memory: nobody can change their values."""
    return entry.kind in _SHARED


def recalled(segment: str) -> Any:
    """Return a frame of a segment that is at hand, while the file is as it was; else None.

    Args:
        segment: The file.
    """
    return _memory.get(file_state(segment))


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
