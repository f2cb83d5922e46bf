"""One call: what it means, what is stored for it, and the circle from there to a frame."""

from __future__ import annotations

import inspect
import logging
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args

from usher_pipeline import (
    accepting,
    awaiting,
    freshness,
    reading,
    recall,
    registry,
    runs,
    standins,
)
from usher_pipeline.config.environment import is_set, variable
from usher_pipeline.errors import (
    CheckpointMissError,
    CodeChangedError,
    ConfigError,
    ProbeError,
    StaleResultWarning,
    StoreError,
    UsherError,
    UsherWarning,
)
from usher_pipeline.exporting import inputs_among, remember_origin
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint.binding import bind
from usher_pipeline.hiding import without_credentials
from usher_pipeline.persistence.reads import Call, calls_around
from usher_pipeline.planning import (
    CodePolicy,
    Request,
    decide,
    still_answers,
)
from usher_pipeline.records import (
    Blocked,
    Bypass,
    Cost,
    Entry,
    Hit,
    Miss,
    Reason,
    utc_now,
)
from usher_pipeline.results import (
    LOST,
    Anew,
    Circumstances,
    claim,
    handed_out,
    keep,
    make,
    parts_of,
    restored,
    warn_unsaved,
)
from usher_pipeline.results import bypassed as not_kept
from usher_pipeline.returned import gather
from usher_pipeline.saying import voice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from usher_pipeline.fingerprint.binding import Bound, Declaration
    from usher_pipeline.fingerprint.key import Measured
    from usher_pipeline.fingerprint.ownership import Ownership
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Acceptance, Decision, Key, MapFacts
    from usher_pipeline.results import Lack, Made
    from usher_pipeline.returned import Returned
    from usher_pipeline.runs import Run

_log: Final = logging.getLogger("usher_pipeline")

__all__ = [
    "Planned",
    "Spread",
    "Work",
    "answer",
    "bypassed",
    "code_policy",
    "key",
    "plan",
    "refresh_wish",
    "stored_frame",
]

_LOST: Final = Reason("the stored result is lost or damaged")


class Work(Protocol):
    """What stands in the place of a function that yields what is stored of its result."""

    @property
    def accepted(self) -> tuple[Acceptance, ...]:
        """The statements by which rows that older code made hold."""

    @property
    def mapped(self) -> MapFacts | None:
        """How the result is put together, if it is from the rows of many items."""

    @property
    def lacking(self) -> Lack | None:
        """What the result lacks; None if it is whole and to be stored."""

    def frames(self, planned: Planned) -> Iterator[Any]:
        """Yield all frames of the result, stored and new ones, in their order."""

    def cost(self, cost: Cost) -> Cost:
        """Return what the whole took, from what the present call did."""

    def settle(self, *, is_over: bool) -> None:
        """Let go of what is not needed any more once the result is stored, or void."""


class Spread(Protocol):
    """The items of a call for many of them."""

    @property
    def flight(self) -> str:
        """The digest of what only one call at a time may be at."""

    def require_map(self) -> None:
        """Hold the whole map from now on, whatever is known of the items."""

    @property
    def caller(self) -> str:
        """What its verbs are reached by, for people."""

    @property
    def asks(self) -> bool:
        """Whether any item has to be asked."""

    def measured(self, planned: Planned) -> Measured:
        """Return what the call means, from what the same arguments mean without a map."""

    def decided(self, planned: Planned, found: Entry | None, refresh: str) -> Decision:
        """Return what the call does."""

    def restored(self, planned: Planned, entry: Entry) -> Any:
        """Return the frame of a result from the rows of its items; `LOST` if it is lost."""

    def work(self, planned: Planned, call: Call, before: reading.Watched) -> Work:
        """Return what asks the items that are missing, and yields the rows of all."""


@dataclass
class Planned:
    """A call before anything is done: what it means and what is stored for it.

    Attributes:
        declared: The function.
        run: The run that the call belongs to.
        facts: What is in force.
        backend: The store.
        ownership: Which code counts.
        bound: The arguments.
        measured: What the call means.
        decision: What is to be done.
        found: The latest result under the key; None if there is none, or it was not looked
            for since the function runs anyway.
        form: The kind of frame that the caller asked for; that of the function if empty.
        problem: What stood in the way of a fresh result, if a stale one is returned for it.
        spread: The items, if the call is for many of them.
        held: What the call holds, so that no other one is at it.
    """

    declared: Declaration
    run: Run
    facts: InForce
    backend: LocalBackend
    ownership: Ownership
    bound: Bound
    measured: Measured
    decision: Decision = field(default_factory=Bypass)
    found: Entry | None = None
    form: str = ""
    problem: Exception | None = None
    spread: Spread | None = None
    held: str = ""

    @cached_property
    def key(self) -> Key:
        """What the call means, in words; made before the function can change its arguments."""
        return self.measured.key()

    @property
    def flight(self) -> str:
        """The digest of what only one call at a time may be at."""
        return self.measured.digest if self.spread is None else self.spread.flight


def plan(  # noqa: PLR0913 - a call, and how it is to be answered
    declared: Declaration,
    args: Any,
    kwargs: Any,
    *,
    refresh: str = "",
    may_be_stale: bool = False,
    spread: Spread | None = None,
) -> Planned:
    """Return what a call means, and what it would do; nothing is changed.

    Args:
        declared: The function.
        args: Its arguments by position.
        kwargs: Its arguments by name.
        refresh: Why it runs whatever is stored, if so.
        may_be_stale: Whether a stale result will do where a probe has no answer, if the
            function says so.
        spread: The items, if the call is for many of them.

    Raises:
        ProbeError: A probe has no answer.
    """
    facts = InForce(runs.current_run())
    try:
        return _planned(declared, args, kwargs, facts, refresh, spread)
    except ProbeError as problem:
        if not (may_be_stale and declared.stale_if_error):
            raise
        facts.is_lenient = True
        planned = _planned(declared, args, kwargs, facts, "a probe has no answer", spread)
        instead = freshness.instead(planned, problem)
        if instead is None:
            raise
        return instead


def _planned(  # noqa: PLR0913, PLR0917 - a call, and how it is to be answered
    declared: Declaration,
    args: Any,
    kwargs: Any,
    facts: InForce,
    refresh: str,
    spread: Spread | None,
) -> Planned:
    backend = facts.backend
    ownership = facts.ownership(declared.function)
    bound = bind(declared, args, kwargs, facts)
    is_spread = spread is not None
    measured = freshness.measured(declared, bound, facts, ownership, is_spread=is_spread)
    planned = Planned(
        declared, facts.run, facts, backend, ownership, bound, measured, spread=spread
    )
    if spread is not None:
        planned.measured = spread.measured(planned)
    if not refresh:
        planned.found = backend.find(declared.name, planned.measured.digest)
    planned.decision = _decided(planned, planned.found, refresh)
    return planned


def key(declared: Declaration, args: Any, kwargs: Any) -> Key:
    """Return the key of a call; the store is not looked at."""
    facts = InForce(runs.current_run())
    bound = bind(declared, args, kwargs, facts)
    ownership = facts.ownership(declared.function)
    return freshness.measured(declared, bound, facts, ownership).key()


def _decided(planned: Planned, found: Entry | None, refresh: str = "") -> Decision:
    declared, backend = planned.declared, planned.backend
    if planned.spread is not None:
        return planned.spread.decided(planned, found, refresh)
    versions = reading.Versions(planned)
    current = versions.of(found) if found is not None and found.reads else {}
    if found is not None and still_answers(found, current):
        if freshness.is_young(declared, found):
            return Hit(found)
        found = freshness.renewed_as_said(backend, found)
    earlier: Sequence[Entry] = () if found or refresh else backend.recent(declared.name)
    request = Request(
        planned.key,
        refresh=refresh,
        on_code_change=code_policy(declared),
        costly_s=planned.run.costly_s,
    )
    request = freshness.with_age(request, declared, planned.facts)
    decision = decide(request, found, earlier, current, versions.stand_for)
    if declared.handed_in and not refresh:
        from usher_pipeline import resuming

        return resuming.decided(planned, decision, request.on_code_change)
    return decision


def refresh_wish(name: str) -> str:
    """Return why a checkpoint runs whatever is stored, as the environment says; empty if not.

    Args:
        name: The checkpoint.
    """
    wanted = variable("USHER_REFRESH")
    if not wanted:
        return ""
    names = [part.strip() for part in wanted.split(",")]
    return "USHER_REFRESH names it" if name in names or "*" in names else ""


def code_policy(declared: Declaration) -> CodePolicy:
    """Return what to do when only code changed: what the environment says, else the option.

    Args:
        declared: The function.

    Raises:
        ConfigError: The environment says what is no policy.
    """
    wanted = variable("USHER_ON_CODE_CHANGE") or declared.on_code_change
    if wanted not in get_args(CodePolicy):
        known = ", ".join(get_args(CodePolicy))
        raise ConfigError("USHER_ON_CODE_CHANGE", f"expected one of {known}, got {wanted!r}")
    policy: CodePolicy = wanted  # type: ignore[assignment]
    return policy


# --- the circle -------------------------------------------------------------------------


def answer(  # noqa: PLR0913 - a call, and how it is answered
    declared: Declaration,
    args: Any,
    kwargs: Any,
    *,
    refresh: str = "",
    form: str = "",
    spread: Spread | None = None,
) -> Any:
    """Return the stored result of a call, or run the function and store its result.

    Args:
        declared: The function.
        args: Its arguments by position.
        kwargs: Its arguments by name.
        refresh: Why it runs whatever is stored, if so.
        form: The kind of frame that is wanted; that of the function if empty.
        spread: The items, if the call is for many of them.

    Raises:
        CodeChangedError: Only code changed, and what is stored took long to compute.
        ProbeError: A probe has no answer.
    """
    started = time.perf_counter()
    if not refresh and not form and spread is None:
        known = declared.recalled and recall.again(declared, args, kwargs)
        if known:
            frame, decision = known
            voice.say(declared.name, decision, decision.entry, time.perf_counter() - started)
            return frame
    planned = plan(declared, args, kwargs, refresh=refresh, may_be_stale=True, spread=spread)
    planned.form = form
    result = _stored(planned, started)
    if result is not LOST:
        if spread is None:
            recall.remember(planned, args, kwargs)
        return result
    if planned.problem is not None:
        raise planned.problem
    _require_not_blocked(planned)
    _require_online(planned)
    latest = planned.found
    if refresh:
        latest = planned.backend.find(declared.name, planned.measured.digest)
    asked = _Asked(utc_now(), latest)
    tell = partial(voice.tell_waiting, declared.name)
    while True:
        planned.held = planned.flight
        with ExitStack() as stack:
            flight = planned.backend.single_flight(declared.name, planned.held, tell)
            with awaiting.aside():
                stack.enter_context(flight)
            try:
                return _compute(planned, refresh, asked, started)
            except Anew:
                assert planned.spread is not None  # noqa: S101 - no other call may come to it
                planned.spread.require_map()


@dataclass(frozen=True, slots=True)
class _Asked:
    """When a call asked, and which result its key had then."""

    at: datetime
    latest: Entry | None

    def is_younger(self, entry: Entry) -> bool:
        """Tell whether a result was computed by somebody who began after we asked.

        The number decides; a clock that jumped can not make an older result a newer one.
        """
        number = self.latest.number if self.latest is not None else 0
        return entry.number > number and entry.cost.started_at >= self.at


def _require_not_blocked(planned: Planned) -> None:
    decision = planned.decision
    if not isinstance(decision, Blocked):
        return
    changes = map(str, decision.reason.differences)
    name, stored, elapsed_s = planned.declared.name, decision.stored, decision.elapsed_s
    caller = planned.spread.caller if planned.spread is not None else ""
    raise CodeChangedError(name, changes, stored, elapsed_s, decision.entry, caller)


def _require_online(planned: Planned) -> None:
    """Refuse to run anything while USHER_OFFLINE is set."""
    if not is_set("USHER_OFFLINE") or (planned.spread is not None and not planned.spread.asks):
        return
    decision = planned.decision
    reason = decision.reason if isinstance(decision, (Miss, Blocked)) else _LOST
    nearest = ", ".join(e.key.digest[:12] for e in planned.backend.recent(planned.key.name)[:3])
    stored = f"; nearest stored: {nearest}" if nearest else ""
    stand_in = standins.stands_in()
    if stand_in is not None and stand_in.path == planned.backend.path:
        # What was fetched for the project is not there, which looks like a wrong key.
        stored += "; the store is that of a test, and not the project's"
    raise CheckpointMissError(planned.key.name, f"USHER_OFFLINE is set, and {reason}{stored}")


def bypassed(
    declared: Declaration, args: Any, kwargs: Any, reason: str, *, form: str = ""
) -> Any:
    """Run a function; neither look at the store nor write to it."""
    started = time.perf_counter()
    run = runs.current_run()
    bound = bind(declared, args, kwargs, InForce(run))
    result = not_kept(declared.name, _result(declared.function, bound), form)
    run.note_unsaved(declared.name, "bypass", {"reason": reason})
    decision = Bypass(Reason(reason))
    voice.say(declared.name, decision, None, time.perf_counter() - started)
    return result


def stored_frame(planned: Planned) -> Any:
    """Return the stored result of a call; never run the function.

    Raises:
        CheckpointMissError: Nothing stored matches; the error says why.
    """
    result = _stored(planned, time.perf_counter())
    if result is LOST:
        reading.record_absence(planned)
        decision = planned.decision
        reason = decision.reason if isinstance(decision, (Miss, Blocked)) else _LOST
        raise CheckpointMissError(planned.declared.name, str(reason))
    return result


def _stored(planned: Planned, started: float) -> Any:
    """Return the frame of a hit; a marker when there is none that can be read."""
    decision = planned.decision
    if not isinstance(decision, Hit):
        return LOST
    frame = _restored(planned, decision.entry)
    if frame is LOST:
        return LOST
    entry = decision.entry
    if decision.accepts is not None:
        entry = accepting.accepted(planned, entry, decision.accepts, "on_code_change")
        remember_origin(frame, entry, planned.backend)
    entry, outcome, details = freshness.settled(planned, frame, entry)
    planned.run.note(planned.backend, entry, outcome, details=details)
    for part in parts_of(planned.backend, entry):
        planned.run.mean(planned.backend, part)
    reading.record_call(planned, entry)
    voice.say(entry.name, decision, entry, time.perf_counter() - started)
    freshness.warn_of_stale(planned, frame, entry)
    return frame


def _restored(planned: Planned, entry: Entry) -> Any:
    if planned.spread is not None and not planned.form:
        # The rows of the items are there in any case, and often nothing else is.
        found = planned.spread.restored(planned, entry)
        if found is not LOST:
            remember_origin(found, entry, planned.backend)
            return found
    return restored(planned.backend, entry, planned.form)


def _again(
    planned: Planned, refresh: str, asked: _Asked, started: float
) -> tuple[Planned, Any]:
    """Look once more: somebody else may have computed it while we waited for our turn.

    Returns:
        The call as it is now, and its stored result, or a marker.
    """
    found = planned.backend.find(
        planned.declared.name, planned.measured.digest, sealed=asked.latest is None
    )
    again = replace(planned, found=found, decision=_decided(planned, found))
    now = again.decision
    if isinstance(now, Hit) and (not refresh or asked.is_younger(now.entry)):
        return again, _stored(again, started)
    return again, LOST


def _compute(planned: Planned, refresh: str, asked: _Asked, started: float) -> Any:
    again, result = _again(planned, refresh, asked, started)
    if result is not LOST:
        return result
    if planned.spread is not None and again.flight not in (planned.held, again.measured.digest):
        # What was all there when it was looked for has to be asked by now.
        raise Anew
    declared, decision = planned.declared, _decided_last(planned, again)
    reason = decision.reason if isinstance(decision, Miss) else _LOST
    registry.require_sole(declared, planned.backend)
    planned.backend.check(declared.name)
    reading.warn_of_files(planned)
    # In words now: the function may change what it was given.
    _ = planned.key
    before = reading.Watched.of(planned)
    graph = planned.measured.context.graph
    for remembering in graph.caches if graph is not None else ():
        # What it returned may stand on what is no longer so, and would be stored for good.
        remembering.cache_clear()
    origins = inputs_among({**planned.bound.arguments, **reading.frames_held(planned)})
    started_at, clock = utc_now(), time.perf_counter()
    call = Call(declared.name, declared.config, declared.inputs, planned.backend.path)
    work = _work(planned, call, before, refresh)
    try:
        with call, planned.measured.at_work():
            returned = _gathered(planned, work)
    except BaseException as problem:
        result = _instead(planned, str(reason), problem, started)
        if result is LOST:
            raise
        return result
    cost = Cost(started_at, time.perf_counter() - clock)
    if work is not None:
        cost = work.cost(cost)
    planned.key = replace(planned.key, untracked=planned.measured.not_watched)
    inputs, unknown = origins
    facts = Circumstances(cost, str(reason), call.reads, tuple(inputs), tuple(unknown))
    if work is not None:
        facts = replace(facts, accepted=work.accepted, mapped=work.mapped)
    try:
        made = make(planned, returned, facts)
        changed = _changes(planned, before, call)
        lacking = work.lacking if work is not None else None
        result, entry = _saved(planned, returned, made, changed, lacking)
        if work is not None:
            work.settle(is_over=entry is not None or bool(changed))
    finally:
        returned.discard()
    voice.say(declared.name, Miss(reason), entry, time.perf_counter() - started)
    return result


def _gathered(planned: Planned, work: Work | None) -> Returned:
    """Run the function of a call, and ask what it returned for all that it has."""
    name = planned.declared.name
    with ExitStack() as stack:
        result = _begun(planned, work)
        if work is not None:
            # What was yielded is committed before anybody hears of an error.
            stack.callback(result.close)
        # A query is run once, and a generator asked, as part of the work of the function.
        return gather(name, result, partial(planned.backend.spool, name))


def _instead(planned: Planned, reason: str, problem: BaseException, started: float) -> Any:
    """Note that a function failed; return what stands in for its result, or a marker."""
    if isinstance(problem, Anew):
        return LOST
    reading.record_absence(planned)
    error = without_credentials(f"{type(problem).__name__}: {problem}")
    planned.run.note_unsaved(
        planned.declared.name, "failed", {"error": error, "reason": reason}
    )
    instead = freshness.instead(planned, problem)
    return LOST if instead is None else _stored(instead, started)


def _decided_last(planned: Planned, again: Planned) -> Decision:
    """Return why a function runs, by what was decided before and after it was waited for."""
    if planned.spread is None:
        return planned.decision
    # Of a map others answered items meanwhile, maybe by older code.
    _require_not_blocked(again)
    _require_online(again)
    return again.decision


def _work(planned: Planned, call: Call, before: reading.Watched, refresh: str) -> Work | None:
    """Return the work of a call that may go on where an earlier one was stopped, if any."""
    if planned.spread is not None:
        return planned.spread.work(planned, call, before)
    if not planned.declared.handed_in:
        return None
    from usher_pipeline import resuming

    policy = "recompute" if refresh else code_policy(planned.declared)
    unfinished = resuming.find(planned, policy)
    if refresh and not unfinished.is_refresh:
        unfinished.discard()
    return resuming.Work(planned, unfinished, call, before, is_refresh=bool(refresh))


def _result(function: Callable[..., Any], bound: Bound) -> Any:
    """Call a function; of an asynchronous one, have its loop run it."""
    result = function(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(result):
        return awaiting.result_of(result)
    return result


def _begun(planned: Planned, work: Work | None) -> Any:
    """Run the function of a call; one that goes on begins when its frames are asked for."""
    if work is None:
        return _result(planned.declared.function, planned.bound)
    return work.frames(planned)


def _saved(
    planned: Planned,
    returned: Returned,
    made: Mapping[str, Made],
    changed: Sequence[str],
    lacking: Lack | None,
) -> tuple[Any, Entry | None]:
    """Store what a function returned; return what its caller gets, and what was stored."""
    entry, kept = None, dict[str, Entry]()
    if not changed and not lacking:
        reading.record_call(planned, made[""].entry)
        kept = keep(planned, returned, made)
        entry = kept.get("")
    # Only now: a query on what is stored may find its connection busy.
    result = handed_out(planned, returned, made, kept, planned.form)
    if changed:
        _refuse(planned, changed, result)
    elif lacking:
        _tell_lacking(planned, lacking, result)
    if entry is not None:
        claim(planned, result, kept)
        planned.run.note(planned.backend, entry, "computed")
        try:
            planned.backend.publish_soon()
        except (OSError, StoreError):
            # What stays undone is marked on disk, and the next opener does it.
            pass
        except Exception:  # noqa: BLE001 - it is stored, and its caller is to have it
            _log.warning("%s has no table for now", planned.declared.name, exc_info=True)
    return result, entry


def _changes(planned: Planned, before: reading.Watched, call: Call) -> list[str]:
    """Return what changed while a function ran; no trouble with that may cost its result."""
    try:
        return before.changes(call)
    except (OSError, UsherError) as problem:
        warnings.warn(
            f"{planned.declared.name} ran, and whether what it was made of changed meanwhile "
            f"can not be told: {problem} The result is stored as one of what was there "
            "before. If something may have changed, call refresh(...).",
            UsherWarning,
            stacklevel=6,
        )
        return []


def _tell_lacking(planned: Planned, lacking: Lack, result: Any) -> None:
    """Say that a result is not stored as one, since it is not whole, or too old in parts."""
    name = planned.declared.name
    reading.record_absence(planned)
    for outer in calls_around():
        # Nothing would tell later that what was made of it lacks something.
        outer.torn.append(f"checkpoint {name}, whose result is not complete")
    if lacking.stale:
        planned.run.note_unsaved(name, "stale", {"stale": dict(lacking.stale)})
        freshness.warn_of(StaleResultWarning(f"{name}: {lacking.words}."), result)
        return
    planned.run.note_unsaved(name, "incomplete", {"lacking": lacking.words})
    warn_unsaved(f"{name} is not complete: {lacking.words}.", result, stacklevel=7)


def _refuse(planned: Planned, changed: Sequence[str], result: Any) -> None:
    """Say that a result is not stored, since what it was made of changed meanwhile."""
    name, what = planned.declared.name, ", ".join(changed)
    planned.run.note_unsaved(name, "not stored", {"changed meanwhile": list(changed)})
    for outer in calls_around():
        outer.torn.append(f"checkpoint {name}, whose result was not stored")
    warn_unsaved(
        f"{name} ran, but is not stored: while it ran, {what} changed, so nobody can tell "
        "which version the result was made of. The result was returned. Call again to "
        "have one of the present version kept.",
        result,
        stacklevel=7,
    )
