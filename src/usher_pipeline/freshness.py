"""How old a result may be, and what is returned when there can be no fresh one."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.display import age
from usher_pipeline.errors import ProbeError, StaleResultWarning, UsherError
from usher_pipeline.exporting import mark_stale
from usher_pipeline.fingerprint.key import measure
from usher_pipeline.hiding import without_credentials
from usher_pipeline.planning import CLOCK_TOLERANCE_S, compare, expired, last_good
from usher_pipeline.records import PROBE, Hit, Reason, Renewal, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usher_pipeline.calls import Planned
    from usher_pipeline.facts import InForce
    from usher_pipeline.fingerprint.binding import Bound, Declaration
    from usher_pipeline.fingerprint.key import Measured
    from usher_pipeline.fingerprint.ownership import Ownership
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.planning import Request
    from usher_pipeline.records import Entry

__all__ = [
    "instead",
    "is_too_old",
    "is_young",
    "lifetime",
    "measured",
    "renewed_as_said",
    "settled",
    "warn_of",
    "warn_of_stale",
    "with_age",
]

_OURS: Final = "usher_pipeline."
_log: Final = logging.getLogger("usher_pipeline")


# --- age --------------------------------------------------------------------------------


def renewed_as_said(backend: LocalBackend, entry: Entry) -> Entry:
    """Return an entry with the last statement that its sources have not changed.

    Args:
        backend: The store.
        entry: The entry.
    """
    renewal = backend.renewal(entry)
    return entry if renewal is None else replace(entry, renewed=renewal)


def is_young(declared: Declaration, entry: Entry) -> bool:
    """Tell whether a result is not too old, as far as the entry itself says.

    Args:
        declared: What is said of its function.
        entry: The result.
    """
    return declared.max_age_s is None or not expired(entry, declared.max_age_s, utc_now())


def with_age(request: Request, declared: Declaration, facts: InForce) -> Request:
    """Return what is asked of the decision, with all that concerns age.

    Args:
        request: What is asked.
        declared: What is said of the function.
        facts: What is in force.
    """
    return replace(
        request,
        max_age_s=declared.max_age_s,
        now=utc_now(),
        probes=declared.probes,
        is_offline=facts.is_offline,
    )


def is_too_old(declared: Declaration | None, facts: InForce, entry: Entry) -> bool:
    """Tell whether a call would compute a result again for its age alone.

    Args:
        declared: What is said of its function; None if nobody knows.
        facts: What is in force.
        entry: The result.
    """
    if declared is None or facts.is_offline or declared.probes:
        # It is served, or renewed: that its probes answer the same is in the key.
        return False
    return not is_young(declared, entry)


def lifetime(declared: Declaration, entry: Entry) -> tuple[float, float] | None:
    """Return since when and until when a result is not too old, in seconds of the clock.

    Args:
        declared: What is said of its function.
        entry: The result.
    """
    if declared.max_age_s is None:
        return None
    since = entry.fresh_since.timestamp()
    return since - CLOCK_TOLERANCE_S, since + declared.max_age_s


# --- answers of probes ------------------------------------------------------------------


def measured(
    declared: Declaration,
    bound: Bound,
    facts: InForce,
    ownership: Ownership,
    *,
    is_spread: bool = False,
) -> Measured:
    """Return what a call means; offline, its probes answer what they last did.

    That is what they answered for the newest result that nothing else parts from the call;
    of a call for many items, for the newest result.

    Args:
        declared: The function.
        bound: The call.
        facts: What is in force.
        ownership: Which code counts as the user's own.
        is_spread: Whether the call is for many items.

    Raises:
        ProbeError: A probe has no answer, and that is not let be.
    """
    found = measure(declared, bound, facts, ownership)
    if not (facts.is_offline and facts.unanswered):
        return found
    recent = facts.backend.recent(declared.name, None)
    last = next(iter(recent), None) if is_spread else last_good(found.key(), recent)
    if last is None:
        return found
    facts.take_answers_of(last)
    return measure(declared, bound, facts, ownership)


# --- what a hit leaves behind -----------------------------------------------------------


def settled(
    planned: Planned, frame: Any, entry: Entry
) -> tuple[Entry, str, Mapping[str, Any] | None]:
    """Record that an expired result is renewed, or that a stale one is returned.

    Args:
        planned: The call, which is a hit.
        frame: What is returned.
        entry: Its entry.

    Returns:
        The entry, what the run is to call this, and what it is to say of it.
    """
    decision = planned.decision
    assert isinstance(decision, Hit)  # noqa: S101 - nothing else is answered from the store
    if decision.stale is not None:
        details = _stale_facts(planned, entry, decision.stale)
        for each in frame.values() if isinstance(frame, dict) else (frame,):
            mark_stale(each, details["stale"])
        return entry, "stale", details
    if decision.renews is not None:
        return _renewed(planned, entry), "renewed", None
    return entry, "hit", None


def _renewed(planned: Planned, entry: Entry) -> Entry:
    parts = (p for p in planned.key.parts if (p.kind, p.where) == ("source", PROBE))
    answers = tuple((part.label, part.text or part.preview) for part in parts)
    sources, run = planned.declared.sources, planned.run
    asked = (run.asked_at(name, sources[name]) for name in planned.declared.probes)
    # A block asks once, which may be long ago.
    renewal = Renewal(min(filter(None, asked), default=utc_now()), answers)
    try:
        planned.backend.renew(entry, renewal)
    except OSError as problem:
        # It holds all the same; the next call will have to find that out once more.
        _log.info("that %s is renewed can not be recorded: %s", entry.name, problem)
    return replace(entry, renewed=renewal)


def _stale_facts(planned: Planned, entry: Entry, why: Reason) -> dict[str, Any]:
    stale = {
        "reason": str(why),
        "key": entry.key.digest,
        "number": entry.number,
        "fresh_since": entry.fresh_since.isoformat(),
        "age_s": round((utc_now() - entry.fresh_since).total_seconds(), 3),
        "differences": [str(change) for change in why.differences],
    }
    if planned.problem is not None:
        stale["error"] = _told(planned.problem)
    return {"stale": stale}


# --- when there is no fresh result ------------------------------------------------------


def instead(planned: Planned, problem: BaseException) -> Planned | None:
    """Return the call as one that its last good result answers; None if it may not.

    Errors of this library are no reason for that, those of probes aside: they say what is to
    be mended here, and not that the world does not answer.

    Args:
        planned: The call.
        problem: What stood in the way of a fresh result.
    """
    declared, backend = planned.declared, planned.backend
    is_ours = isinstance(problem, UsherError) and not isinstance(problem, ProbeError)
    if not declared.stale_if_error or is_ours or not isinstance(problem, Exception):
        return None
    entry = backend.find(declared.name, planned.measured.digest)
    if entry is None:
        entry = last_good(planned.key, backend.recent(declared.name, None))
    if entry is None:
        return None
    differences = compare(entry.key, planned.key)
    reason = Reason(_told(problem), differences, entry.key.digest)
    hit = Hit(renewed_as_said(backend, entry), stale=reason)
    return replace(planned, decision=hit, problem=problem)


def _told(problem: Exception) -> str:
    if isinstance(problem, ProbeError):
        return f"the probe of the source {problem.source!r} has no answer: {problem.problem}"
    return without_credentials(f"{type(problem).__name__}: {problem}")


def warn_of_stale(planned: Planned, frame: Any, entry: Entry) -> None:
    """Warn that a call returns a stale result, since there could be no fresh one.

    Args:
        planned: The call.
        frame: What it returns.
        entry: Its entry.
    """
    problem, name = planned.problem, planned.declared.name
    if problem is None:
        return
    of = "".join(f", of another version ({each})" for each in _versions(planned))
    warning = StaleResultWarning(
        f"{name} could not be made anew: {_told(problem)}. Its last good result was returned, "
        f"which is {age(entry.fresh_since, utc_now())}{of}; nothing was stored. Call it again "
        "when that is mended; without stale_if_error=True such an error is raised."
    )
    warning.__cause__ = problem
    warn_of(warning, frame)


def warn_of(warning: StaleResultWarning, frame: Any) -> None:
    """Warn whoever called that what is returned is stale.

    Args:
        warning: What is said.
        frame: What is returned, which an error made of the warning carries.
    """
    try:
        warnings.warn(warning, stacklevel=_outside())
    except StaleResultWarning as raised:
        raised.frame = frame
        raise


def _versions(planned: Planned) -> list[str]:
    decision = planned.decision
    why = decision.stale if isinstance(decision, Hit) else None
    return [str(change) for change in why.differences] if why is not None else []


def _outside() -> int:
    """Return how far up the stack the line is that is not of this library."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - warnings count in these
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(_OURS):
        level, frame = level + 1, frame.f_back
    return level
