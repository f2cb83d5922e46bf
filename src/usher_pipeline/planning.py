"""The decision: hit, miss or bypass, with its reason.

Pure functions over values. They look at what is stored and what is asked, change
nothing, and return what to do; the caller acts on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, assert_never

from usher_pipeline.display import duration, is_credential
from usher_pipeline.records import (
    PROBE,
    Blocked,
    Bypass,
    Decision,
    Difference,
    Hit,
    Miss,
    Reason,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from usher_pipeline.records import Entry, Key, Part, PartKind, Read

__all__ = [
    "CLOCK_TOLERANCE_S",
    "COSTLY_S",
    "CodePolicy",
    "Request",
    "compare",
    "decide",
    "differs_in_code_alone",
    "expired",
    "last_good",
    "nearest_entry",
    "still_answers",
]

#: What to do with a stored result that only a change of code parts from the call: run the
#: function if that was cheap and else ask, always run it, always ask, or take the result.
CodePolicy: TypeAlias = Literal["guard", "recompute", "error", "accept"]

#: How much a differing part says against an entry being the nearest one.
_WEIGHT: Final = {"code": 1, "setting": 2, "config": 2, "source": 2, "version": 2}
_OTHER_WEIGHT: Final = 3

#: The default of `costly_s`: more work than this is not done again for an edit alone.
COSTLY_S: Final = 600.0

#: By how much clocks of machines that share a store may differ. What is further in the future
#: bears a wrong time, and nobody can tell how old it is.
CLOCK_TOLERANCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the decision.

    Attributes:
        key: The key of the call.
        refresh: Compute even if something stored matches, and say this reason.
        bypass: Neither look nor store, and say this reason.
        on_code_change: What to do when nothing but code changed.
        costly_s: From how much work on a result is not done again for an edit, in seconds.
        max_age_s: How old a result may be, in seconds; None if that does not matter.
        now: The present moment; it is needed where age matters.
        probes: The sources that were asked for the key.
        is_offline: Whether nothing may be asked and nothing run; what expired has to do then.
    """

    key: Key
    refresh: str = ""
    bypass: str = ""
    on_code_change: CodePolicy = "guard"
    costly_s: float = COSTLY_S
    max_age_s: float | None = None
    now: datetime | None = None
    probes: tuple[str, ...] = ()
    is_offline: bool = False

    def old(self, entry: Entry) -> str:
        """Return that a result is too old, in words; empty if it is not."""
        if self.max_age_s is None or self.now is None:
            return ""
        return expired(entry, self.max_age_s, self.now)


def decide(
    request: Request,
    found: Entry | None,
    earlier: Sequence[Entry] = (),
    current: Mapping[Read, str] | None = None,
    stands: Callable[[Entry], bool] = lambda _: True,
) -> Decision:
    """Decide what a call does.

    Args:
        request: What is asked.
        found: The latest stored entry under the very key, if there is one.
        earlier: Entries of the same name under other keys, newest first.
        current: For each read that `found` recorded, which version it leads to now; empty
            if to none.
        stands: Tells of an earlier entry whether all that it read is still the same.

    Returns:
        `Hit` with the entry, `Blocked` with the entry that is too costly to compute again,
        or `Miss` or `Bypass` with the reason.
    """
    if request.bypass:
        return Bypass(Reason(request.bypass))
    untracked = request.key.untracked
    if request.refresh:
        return Miss(Reason(request.refresh), untracked)
    if found is not None:
        stale = _stale_read(found, current or {})
        return Miss(stale, untracked) if stale else _if_fresh(request, found)
    # One edit may touch many parts: an entry that only they part may not be the nearest.
    alike = (e for e in earlier if differs_in_code_alone(e.key, request.key))
    # Of one that is too old nobody needs to know whether it holds for the code.
    is_any_age = request.is_offline or bool(request.probes)
    young = (e for e in alike if is_any_age or not request.old(e))
    edited = next((e for e in young if stands(e)), None)
    if edited is None:
        return Miss(_why_missing(request.key, nearest_entry(request.key, earlier)), untracked)
    return _after_an_edit(request, edited, _why_missing(request.key, edited))


def _if_fresh(request: Request, found: Entry) -> Decision:
    """Decide on a result of the very call, whose age alone is in question."""
    old = request.old(found)
    if not old:
        return Hit(found)
    nearest = found.key.digest
    if request.is_offline:
        return Hit(found, stale=Reason(f"{old}; USHER_OFFLINE is set", nearest=nearest))
    if request.probes:
        asked = ", ".join(request.probes)
        return Hit(found, renews=Reason(f"{old}; {asked} did not change", nearest=nearest))
    return Miss(Reason(old, nearest=nearest), request.key.untracked)


def expired(entry: Entry, max_age_s: float, now: datetime) -> str:
    """Return that a result is older than it may be, in words; empty if it is not.

    One whose time lies in the future has expired as well: it was stored by a clock that was
    wrong, and would be fresh for as long as that was.

    Args:
        entry: The result.
        max_age_s: How old it may be, in seconds.
        now: The present moment.
    """
    age_s = (now - entry.fresh_since).total_seconds()
    limit = f"max_age is {duration(max_age_s)}"
    if age_s > max_age_s:
        return f"expired: {duration(age_s)} old, {limit}"
    if age_s < -CLOCK_TOLERANCE_S:
        return f"expired: stored {duration(-age_s)} in the future by this clock, {limit}"
    return ""


def last_good(key: Key, earlier: Sequence[Entry]) -> Entry | None:
    """Return the newest result that only time parts from a call.

    Its arguments, config and code are those of the call, and so are the versions of sources
    that somebody states; what probes answer, and what tables hold, may have been another.

    Args:
        key: The key of the call.
        earlier: Entries of the same name, newest first.
    """
    return next((entry for entry in earlier if _differs_in_time_alone(entry.key, key)), None)


def _differs_in_time_alone(before: Key, after: Key) -> bool:
    changes = compare(before, after)
    return before.rules == after.rules and all(map(_is_of_time, changes))


def _is_of_time(change: Difference) -> bool:
    return change.kind == "table" or (change.kind == "source" and change.where == PROBE)


def _after_an_edit(request: Request, stored: Entry, reason: Reason) -> Decision:
    """Decide what becomes of a result that only code parts from the call."""
    untracked = request.key.untracked
    match request.on_code_change:
        case "recompute":
            return Miss(reason, untracked)
        case "accept":
            return Hit(stored, accepts=reason)
        case "error":
            return _blocked(reason, stored, untracked)
        case "guard":
            # Nobody knows what it cost to compute what was adopted; it was kept for a reason.
            if stored.cost.elapsed_s < request.costly_s and stored.adopted is None:
                return Miss(reason, untracked)
            took = f"took {duration(stored.cost.elapsed_s)}"
            spent = f"{reason} (what is stored {'was adopted' if stored.adopted else took})"
            return _blocked(replace(reason, summary=spent), stored, untracked)
        case policy:
            assert_never(policy)


def _blocked(reason: Reason, stored: Entry, untracked: tuple[str, ...]) -> Blocked:
    elapsed_s = stored.cost.elapsed_s
    took = "were adopted" if stored.adopted else f"took {duration(elapsed_s)}"
    words = f"{stored.row_count:,} rows that {took}"
    return Blocked(reason, stored, untracked, words, elapsed_s)


#: What a read is called in a reason.
_READ: Final[Mapping[str, PartKind]] = {
    "call": "checkpoint",
    "name": "checkpoint",
    "file": "file",
}


def _listed(read: Read) -> str:
    """Return what was listed; empty for a read of one thing."""
    if read.kind == "listing":
        return "of contents"
    if read.kind == "entries":
        return f"of the entries of {read.name}" if read.name else "of entries"
    return ""


def still_answers(entry: Entry, current: Mapping[Read, str]) -> bool:
    """Tell whether all that an entry read leads to the same versions now.

    Args:
        entry: The entry.
        current: For each read that it recorded, which version it leads to now.
    """
    return all(current.get(read, "") == read.content for read in entry.reads)


def _stale_read(entry: Entry, current: Mapping[Read, str]) -> Reason | None:
    for read in entry.reads:
        now = current.get(read, "")
        if now != read.content:
            kind = _READ.get(read.kind, "table")
            what = _listed(read) or read.name
            where = f" in {read.store}" if read.store else ""
            hint = ", which it read,"
            change = Difference(kind, what, read.content[:8], now[:8], where, hint)
            return Reason(str(change), (change,), entry.key.digest)
    return None


def _why_missing(key: Key, nearest: Entry | None) -> Reason:
    if nearest is None:
        return Reason("first call")
    if nearest.key.rules != key.rules:
        versions = f"{nearest.key.rules} → {key.rules}"
        summary = f"the rules of the key changed with the library ({versions})"
        return Reason(summary, nearest=nearest.key.digest)
    differences = compare(nearest.key, key)
    summary = ", ".join(map(str, differences)) or "no stored result can be read any more"
    return Reason(summary, differences, nearest.key.digest)


def nearest_entry(key: Key, earlier: Sequence[Entry]) -> Entry | None:
    """Return the entry that differs least from a key; the newest of equals.

    Args:
        key: The key to compare with.
        earlier: Entries of the same name, newest first.
    """
    return min(earlier, key=lambda entry: _distance(entry.key, key), default=None)


def _distance(one: Key, other: Key) -> int:
    return sum(map(_weight, compare(one, other)))


def _weight(change: Difference) -> int:
    # Two that look alike say little: of an object, often only the class was edited.
    alike = change.before == change.after
    return 1 if alike else _WEIGHT.get(change.kind, _OTHER_WEIGHT)


def compare(before: Key, after: Key) -> tuple[Difference, ...]:
    """Return in what two keys of one checkpoint differ, arguments first.

    Args:
        before: The earlier key.
        after: The later key.

    Returns:
        One difference for each part that was added, dropped or changed.
    """
    earlier = {(part.kind, part.label): part for part in before.parts}
    later = {(part.kind, part.label): part for part in after.parts}
    changed = [
        _difference(earlier.get(name), later.get(name))
        for name in [*later, *(name for name in earlier if name not in later)]
        if _digest_of(earlier.get(name)) != _digest_of(later.get(name))
    ]
    if not changed and before.code != after.code:
        # The same pieces, tied together by other names.
        changed = [Difference("code", "the way its code hangs together", "code", "code")]
    return tuple(sorted(changed, key=lambda change: change.kind == "code"))


def differs_in_code_alone(before: Key, after: Key) -> bool:
    """Tell whether two keys of one checkpoint differ in nothing but code.

    Args:
        before: The earlier key.
        after: The later key.
    """
    changes = compare(before, after)
    same_rules = before.rules == after.rules
    return same_rules and bool(changes) and all(each.kind == "code" for each in changes)


def _digest_of(part: Part | None) -> str:
    return part.digest if part else ""


def _difference(before: Part | None, after: Part | None) -> Difference:
    part = after or before
    assert part is not None  # noqa: S101 - the name came from one of the two
    shown_before, shown_after = _shown(before), _shown(after)
    hint = _hint(before, after) if before and after else ""
    if part.kind == "argument" and is_credential(part.label):
        hint = f'another one; if it can not change the result: ignore=["{part.label}"]'
    return Difference(part.kind, part.label, shown_before, shown_after, part.where, hint)


def _hint(before: Part, after: Part) -> str:
    """Say which columns or items differ, or that two alike are not; else nothing."""
    earlier = {label: (digest, shown) for label, digest, shown in before.items}
    later = {label: (digest, shown) for label, digest, shown in after.items}
    is_frame = not any(shown for _, _, shown in (*before.items, *after.items))
    changes = [
        *(
            _item_changed(n, earlier[n][1], later[n][1])
            for n in later
            if n in earlier and earlier[n][0] != later[n][0]
        ),
        *(f"{n} is new" for n in later if n not in earlier),
        *(f"{n} is gone" for n in earlier if n not in later),
    ]
    alike = before.preview == after.preview
    if not earlier or not later or not changes or len(changes) > _ITEMS_NAMED:
        return f"{after.preview}, of other content" if alike and after.preview else ""
    if not is_frame:
        return ", ".join(changes)
    shape = "" if alike else f" ({before.preview} → {after.preview})"
    return ", ".join(f"column {change}" for change in changes) + shape


def _item_changed(name: str, before: str, after: str) -> str:
    if before == after:
        return f"{name} changed"
    return f"{name} {before} → {after}"


#: More columns or items than these are not named one by one.
_ITEMS_NAMED: Final = 8


def _shown(part: Part | None) -> str:
    if part is None:
        return ""
    # The digest of code tells a reader nothing; that it changed is all there is to say.
    return part.preview or ("code" if part.kind == "code" else part.digest[:8])
