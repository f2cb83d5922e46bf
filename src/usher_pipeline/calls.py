"""One call: what it means, what is stored for it, and the circle from there to a frame."""

from __future__ import annotations

import inspect
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from usher_pipeline import registry, runs
from usher_pipeline._version import __version__
from usher_pipeline.errors import (
    CheckpointMissError,
    CheckpointNotSaved,
    CheckpointNotSavedError,
    InvalidResultError,
    StoreError,
    UnsupportedFrameError,
)
from usher_pipeline.fingerprint import frames as fingerprints
from usher_pipeline.fingerprint.key import bind, key_of
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.persistence.segments import schema_text, write_segment
from usher_pipeline.planning import Request, decide
from usher_pipeline.records import (
    INDEX_TYPE,
    Bypass,
    Column,
    Cost,
    Entry,
    Hit,
    Miss,
    Read,
    Reason,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usher_pipeline.fingerprint.key import Bound, Declaration
    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Decision, Key
    from usher_pipeline.runs import Run

__all__ = ["Planned", "answer", "bypassed", "plan", "stored_frame"]

_NOTHING: Final = object()
_LOST: Final = Reason("the stored result is lost or damaged")


@dataclass(frozen=True, slots=True)
class Planned:
    """A call before anything is done: what it means and what is stored for it."""

    declared: Declaration
    run: Run
    backend: LocalBackend
    bound: Bound
    key: Key
    decision: Decision


def plan(declared: Declaration, args: Any, kwargs: Any, *, refresh: str = "") -> Planned:
    """Return what a call means, and what it would do; nothing is changed."""
    run = runs.current_run()
    backend = run.backend
    bound = bind(declared, args, kwargs, run)
    key = key_of(declared, bound, run, run.ownership(declared.function))
    decision = _decide(Request(key, refresh=refresh), backend)
    return Planned(declared, run, backend, bound, key, decision)


def _decide(request: Request, backend: LocalBackend) -> Decision:
    found = backend.find(request.key.name, request.key.digest)
    current = {read: _now(read, backend) for read in found.reads} if found else {}
    earlier: Sequence[Entry] = () if found else backend.recent(request.key.name)
    return decide(request, found, earlier, current)


def _now(read: Read, backend: LocalBackend) -> Read | None:
    entry = backend.find(read.name, read.key)
    return Read(read.name, read.key, entry.content) if entry is not None else None


# --- the circle -------------------------------------------------------------------------


def answer(declared: Declaration, args: Any, kwargs: Any, *, refresh: str = "") -> Any:
    """Return the stored result of a call, or run the function and store its result."""
    started = time.perf_counter()
    planned = plan(declared, args, kwargs, refresh=refresh)
    result = _stored(planned, started)
    if result is not _NOTHING:
        return result
    asked_at = utc_now()
    with planned.backend.single_flight(declared.name, planned.key.digest):
        return _compute(planned, refresh, asked_at, started)


def bypassed(declared: Declaration, args: Any, kwargs: Any, reason: str) -> Any:
    """Run a function; neither look at the store nor write to it."""
    started = time.perf_counter()
    run = runs.current_run()
    bound = bind(declared, args, kwargs, run)
    result = declared.function(*bound.args, **bound.kwargs)
    run.note_unsaved(declared.name, "bypass", {"reason": reason})
    decision = Bypass(Reason(reason))
    runs.voice.say(declared.name, decision, None, time.perf_counter() - started)
    return result


def stored_frame(planned: Planned) -> Any:
    """Return the stored result of a call; never run the function.

    Raises:
        CheckpointMissError: Nothing stored matches; the error says why.
    """
    result = _stored(planned, time.perf_counter())
    if result is _NOTHING:
        reason = planned.decision.reason if isinstance(planned.decision, Miss) else _LOST
        raise CheckpointMissError(planned.declared.name, str(reason))
    return result


def _stored(planned: Planned, started: float) -> Any:
    """Return the frame of a hit; a marker when there is none that can be read."""
    if not isinstance(planned.decision, Hit):
        return _NOTHING
    entry = planned.decision.entry
    packed = planned.backend.load(entry)
    if packed is None:
        return _NOTHING
    frame = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
    planned.run.note(planned.backend, entry, "hit")
    runs.record_read(entry)
    runs.remember_origin(frame, entry, planned.backend)
    runs.voice.say(entry.name, planned.decision, entry, time.perf_counter() - started)
    return frame


def _compute(planned: Planned, refresh: str, asked_at: Any, started: float) -> Any:
    # Somebody else may have computed it while we waited for our turn.
    again = _decide(Request(planned.key), planned.backend)
    if isinstance(again, Hit) and (not refresh or again.entry.created_at > asked_at):
        result = _stored(replace(planned, decision=again), started)
        if result is not _NOTHING:
            return result
    declared, decision = planned.declared, planned.decision
    reason = decision.reason if isinstance(decision, Miss) else _LOST
    registry.require_sole(declared, planned.backend)
    planned.backend.check(declared.name)
    started_at, clock = utc_now(), time.perf_counter()
    with runs.Call(declared.name, declared.config) as call:
        result = declared.function(*planned.bound.args, **planned.bound.kwargs)
    cost = Cost(started_at, time.perf_counter() - clock)
    packed = _packed(declared.name, result)
    entry = _save(planned, _entry(planned, result, packed, cost, reason, call), packed, result)
    if entry is not None:
        planned.run.note(planned.backend, entry, "computed")
        runs.record_read(entry)
        runs.remember_origin(result, entry, planned.backend)
        with suppress(OSError, StoreError):
            # What stays undone is marked on disk, and the next opener does it.
            planned.backend.publish()
    runs.voice.say(declared.name, Miss(reason), entry, time.perf_counter() - started)
    return result


# --- what is stored ---------------------------------------------------------------------


def _packed(name: str, result: Any) -> Packed:
    adapter = adapter_for(result)
    if adapter is None:
        raise InvalidResultError(name, _type_name(result), result)
    try:
        return adapter.to_arrow(result)
    except UnsupportedFrameError as problem:
        # Hours of work may be in it: the error carries what was computed.
        problem.frame = result
        raise


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _entry(  # noqa: PLR0913, PLR0917 - the facts of one call
    planned: Planned, result: Any, packed: Packed, cost: Cost, reason: Reason, call: runs.Call
) -> Entry:
    function = planned.declared.function
    digests = fingerprints.column_digests(packed.table)
    described = adapter_of_kind(packed.kind).describe(result)
    names = packed.schema["sql_names"]
    described += tuple((name, INDEX_TYPE) for name in names[len(described) :])
    return Entry(
        key=planned.key,
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
        cost=cost,
        run_id=planned.run.run_id,
        reads=tuple(call.reads.values()),
        inputs=_inputs(planned.bound),
        library=__version__,
        description=(inspect.getdoc(function) or "").partition("\n")[0],
        reason=str(reason),
        config_hash=planned.run.config.config_hash(),
    )


def _inputs(bound: Bound) -> tuple[Read, ...]:
    found: dict[Read, None] = {}
    for value in bound.arguments.values():
        origin = runs.origin_of(value)
        if origin is not None:
            entry = origin[0]
            found[Read(entry.name, entry.key.digest, entry.content)] = None
    return tuple(found)


def _save(planned: Planned, entry: Entry, packed: Packed, result: Any) -> Entry | None:
    """Store a result; if that fails the caller still gets it, loudly."""
    try:
        return planned.backend.save(entry, packed)
    except (OSError, StoreError) as problem:
        path = planned.backend.path
        if planned.run.strict:
            raise CheckpointNotSavedError(path, str(problem), result) from problem
        rescue = _rescue(packed)
        planned.run.note_unsaved(entry.name, "not saved", {"problem": str(problem)})
        warnings.warn(
            f"{entry.name} ran, but its result could not be stored in {str(path)!r}: "
            f"{problem}. The result was returned{rescue}. "
            "Mend the store and call again to have it kept.",
            CheckpointNotSaved,
            stacklevel=5,
        )
        return None


def _rescue(packed: Packed) -> str:
    """Write an unsaved result somewhere else; return a clause that says where."""
    path = Path(tempfile.gettempdir()) / f"usher-rescue-{uuid4().hex}.arrow"
    try:
        write_segment(path, packed.table)
    except OSError as problem:
        with suppress(OSError):
            path.unlink()
        return f", but could not be rescued to {path} either ({problem})"
    return f", and a copy of its columns was written to {str(path)!r}"
