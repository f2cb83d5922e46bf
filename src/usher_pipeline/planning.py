"""The decision: hit, miss or bypass, with its reason.

Pure functions over values. They look at what is stored and what is asked, change
nothing, and return what to do; the caller acts on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usher_pipeline.records import Bypass, Decision, Difference, Hit, Miss, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from usher_pipeline.records import Entry, Key, Part, Read

__all__ = ["Request", "compare", "decide", "nearest_entry"]

#: How much a differing part says against an entry being the nearest one.
_WEIGHT: Final = {"code": 1, "setting": 2, "config": 2, "source": 2, "version": 2}
_OTHER_WEIGHT: Final = 3


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the decision.

    Attributes:
        key: The key of the call.
        refresh: Compute even if something stored matches, and say this reason.
        bypass: Neither look nor store, and say this reason.
    """

    key: Key
    refresh: str = ""
    bypass: str = ""


def decide(
    request: Request,
    found: Entry | None,
    earlier: Sequence[Entry] = (),
    current: Mapping[Read, Read | None] | None = None,
) -> Decision:
    """Decide what a call does.

    Args:
        request: What is asked.
        found: The latest stored entry under the very key, if there is one.
        earlier: Entries of the same name under other keys, newest first.
        current: For each read that `found` recorded, what it resolves to now.

    Returns:
        `Hit` with the entry, or `Miss` or `Bypass` with the reason.
    """
    if request.bypass:
        return Bypass(Reason(request.bypass))
    if request.refresh:
        return Miss(Reason(request.refresh))
    if found is not None:
        stale = _stale_read(found, current or {})
        return Miss(stale) if stale else Hit(found)
    return Miss(_why_missing(request.key, earlier))


def _stale_read(entry: Entry, current: Mapping[Read, Read | None]) -> Reason | None:
    for read in entry.reads:
        name, now = read.name, current.get(read)
        if now is None:
            change = Difference("checkpoint", name, read.content[:8])
            return Reason(f"checkpoint {name}, which it read, is gone", (change,))
        if now.content != read.content:
            change = Difference("checkpoint", name, read.content[:8], now.content[:8])
            return Reason(f"checkpoint {name}, which it read, is another version", (change,))
    return None


def _why_missing(key: Key, earlier: Sequence[Entry]) -> Reason:
    nearest = nearest_entry(key, earlier)
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
    return sum(_WEIGHT.get(change.kind, _OTHER_WEIGHT) for change in compare(one, other))


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
    return tuple(sorted(changed, key=lambda change: change.kind == "code"))


def _digest_of(part: Part | None) -> str:
    return part.digest if part else ""


def _difference(before: Part | None, after: Part | None) -> Difference:
    part = after or before
    assert part is not None  # noqa: S101 - the name came from one of the two
    shown_before, shown_after = _shown(before), _shown(after)
    return Difference(part.kind, part.label, shown_before, shown_after, part.where)


def _shown(part: Part | None) -> str:
    if part is None:
        return ""
    # The digest of code tells a reader nothing; that it changed is all there is to say.
    return part.preview or ("code" if part.kind == "code" else part.digest[:8])
