"""After an edit: what is stored, finished or not, holds for the code as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usher_pipeline import reading, runs
from usher_pipeline.errors import CheckpointMissError, StoreError
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint.key import context_of, rekeyed, stands_as
from usher_pipeline.planning import compare, differs_in_code_alone
from usher_pipeline.records import Acceptance, Miss, Reason, utc_now

if TYPE_CHECKING:
    from usher_pipeline.calls import Planned
    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.fingerprint.key import Context
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry, Key

__all__ = ["accept", "accept_all", "acceptable", "accepted"]


def accept(planned: Planned) -> int:
    """State that what is stored for one call holds for the code as it is now.

    Args:
        planned: The call.

    Returns:
        How many results that concerned: 1, or 0 if the code is the very one already.

    Raises:
        CheckpointMissError: Nothing is stored that only code parts from the call.
    """
    declared, backend = planned.declared, planned.backend
    if backend.find(declared.name, planned.measured.digest) is not None:
        return 0
    versions = reading.Versions(planned)
    for entry in backend.recent(declared.name, None):
        if differs_in_code_alone(entry.key, planned.key) and versions.stand_for(entry):
            reason = Reason("code changed", compare(entry.key, planned.key))
            accepted(planned, entry, reason, "accept()")
            return 1
    if declared.handed_in:
        from usher_pipeline import resuming

        of_unfinished = resuming.accept(planned)
        if of_unfinished is not None:
            return of_unfinished
    decision = planned.decision
    reason = decision.reason if isinstance(decision, Miss) else Reason("it is lost or damaged")
    raise CheckpointMissError(declared.name, f"not even with older code ({reason})")


def accept_all(declared: Declaration) -> int:
    """State that all that is stored holds for the code as it is now.

    Entries that differ in more than code, such as in a source, are left alone.

    Returns:
        How many results that concerned, unfinished ones included.
    """
    facts = InForce(runs.current_run())
    backend = facts.backend
    context = context_of(declared, facts, facts.ownership(declared.function))
    count = 0
    for entry in backend.recent(declared.name, None):
        now = _key_now(backend, entry, context)
        if now is not None:
            changes = tuple(map(str, compare(entry.key, now)))
            statement = Acceptance(utc_now(), entry.key.digest, changes, "accept()")
            backend.accept(entry, now, statement)
            count += 1
    if declared.handed_in:
        from usher_pipeline import resuming

        count += resuming.accept_all(backend, declared.name, context)
    return count


def acceptable(declared: Declaration) -> list[tuple[Entry, tuple[str, ...]]]:
    """Return the finished results that `accept_all` would concern; nothing is changed.

    Args:
        declared: The function.

    Returns:
        Each result with what changed in the code, newest first.
    """
    facts = InForce(runs.current_run())
    context = context_of(declared, facts, facts.ownership(declared.function))
    found = []
    for entry in facts.backend.recent(declared.name, None):
        now = _key_now(facts.backend, entry, context)
        if now is not None:
            found.append((entry, tuple(map(str, compare(entry.key, now)))))
    return found


def _key_now(backend: LocalBackend, entry: Entry, context: Context) -> Key | None:
    """Return the key under which a result can be accepted; None if it can not be."""
    now = rekeyed(entry.key, context)
    fits = entry.key.rules == now.rules and stands_as(entry.key, context)
    return now if fits and backend.find(entry.name, now.digest) is None else None


def accepted(planned: Planned, entry: Entry, reason: Reason, how: str) -> Entry:
    """Record that a result holds for the code of a call; return the new entry.

    Args:
        planned: The call.
        entry: The result.
        reason: What changed.
        how: Who said so.

    Raises:
        StoreError: It can not be recorded.
    """
    changes = tuple(map(str, reason.differences))
    statement = Acceptance(utc_now(), entry.key.digest, changes, how)
    try:
        return planned.backend.accept(entry, planned.key, statement)
    except OSError as problem:
        raise StoreError(
            planned.backend.path,
            f"that {entry.name} holds for newer code can not be recorded: {problem}",
            "Nothing was written. Make the folder of the store writable, or set "
            "on_code_change to another policy.",
        ) from problem
