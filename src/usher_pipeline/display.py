"""Records → text for people.

One quiet line for each call, short previews of arguments, sizes and durations with
their units.
"""

from __future__ import annotations

import math
import re
import reprlib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, assert_never
from uuid import UUID

from usher_pipeline.hiding import HIDDEN, is_credential, without_credentials
from usher_pipeline.records import Blocked, Bypass, Hit, Miss, Reason, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from usher_pipeline.records import Decision, Entry

__all__ = [
    "Progress",
    "age",
    "call_line",
    "described",
    "duration",
    "fields_of",
    "is_credential",
    "outcome",
    "preview",
    "progress_line",
    "size",
    "waiting_line",
    "wrapped",
]

_PREVIEW_LENGTH: Final = 60
_TEXT_LENGTH: Final = 4000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400

#: The types whose own text is short and says all.
_SHOWN_TYPES: Final = frozenset(
    (
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        date,
        datetime,
        time,
        timedelta,
        Decimal,
        Fraction,
        UUID,
    )
)


class _Repr(reprlib.Repr):
    """Short texts of values, without the credentials in them."""

    def repr_str(self, value: str, level: int) -> str:
        """Return the text of a text."""
        return super().repr_str(without_credentials(value), level)

    def repr_tuple(self, value: tuple[Any, ...], level: int) -> str:
        """Return the text of a tuple; of a pair whose first tells, the second is hidden."""
        if _is_secret_pair(value):
            return f"({value[0]!r}, {HIDDEN})"
        return super().repr_tuple(value, level)

    def repr_list(self, value: list[Any], level: int) -> str:
        """Return the text of a list; of a pair whose first tells, the second is hidden."""
        if _is_secret_pair(value):
            return f"[{value[0]!r}, {HIDDEN}]"
        return super().repr_list(value, level)

    def repr_int(self, value: int, level: int) -> str:
        """Return the text of a whole number, or how long it would be."""
        return _written(value) if _is_unwritable(value) else super().repr_int(value, level)


def _is_secret_pair(value: Any) -> bool:
    """Tell whether something is a name and its value, as in a list of headers."""
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2  # noqa: PLR2004
    return is_pair and isinstance(value[0], str) and is_credential(value[0])


_repr = _Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _PREVIEW_LENGTH
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = 4


def preview(value: Any) -> str:
    """Return a short text of a value for a reason or a log line.

    Only data shows its content; anything else shows its type, since the text of a foreign
    object may be long, slow or secret.

    >>> preview(30.0), preview("x" * 100)[:8], preview(object())
    ('30.0', "'xxxxxxx", 'object')
    """
    text = _repr.repr(value) if _is_plain(value, 0) else described(value, _PREVIEW_LENGTH * 4)
    return text if len(text) <= _PREVIEW_LENGTH else text[: _PREVIEW_LENGTH - 1] + "…"


def _is_unwritable(value: Any) -> bool:
    """Tell whether a number has more digits than Python writes."""
    return isinstance(value, int) and value.bit_length() > _MOST_BITS


def _written(value: Any) -> str:
    return f"int of {value.bit_length():,} bits" if _is_unwritable(value) else repr(value)


#: So many bits are fewer than the 4,300 digits that Python writes unless it is told otherwise.
_MOST_BITS: Final = 14_000


def _is_plain(value: Any, depth: int) -> bool:
    if issubclass(type(value), _COLLECTIONS):
        items = list(value)[:5] if depth < _DEEPEST else [value]
        representation: Any = type(value).__repr__
        own = representation in _OWN_REPR and depth < _DEEPEST
        return own and all(_is_plain(item, depth + 1) for item in items)
    return value is None or type(value) in _SHOWN_TYPES or isinstance(value, PurePath)


#: Values that are nested deeper than this are shown piece by piece.
_DEEPEST: Final = 6
_OWN_REPR: Final = {kind.__repr__ for kind in (list, tuple, set, frozenset)}


def described(value: Any, limit: int = _TEXT_LENGTH) -> str:
    """Return all that a value says as data, on one line; secrets are left out.

    Args:
        value: Any value. Objects of dataclasses and the like show their fields.
        limit: From this length on the text ends with ``…``.

    >>> described({"depth": 3, "token": "abc"})
    "{'depth': 3, 'token': (hidden)}"
    """
    pieces: list[str] = []
    left = limit
    for piece in _pieces(value, frozenset()):
        pieces.append(piece[:left])
        left -= len(piece)
        if left <= 0:
            pieces.append("…")
            break
    return "".join(pieces)


def _held(value: Any, name: str) -> Any:
    """Return an attribute, or None; a foreign object may raise anything when asked."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - it is not ours
        return None


_COLLECTIONS: Final = (list, tuple, set, frozenset)


def _pieces(value: Any, inside: frozenset[int]) -> Iterator[str]:
    shape = _held(value, "shape")
    if isinstance(shape, tuple) and len(shape) == 2:  # noqa: PLR2004 - a table
        yield f"{type(value).__name__} {shape[0]:,} × {shape[1]:,}"
    elif type(value) is str:
        yield repr(without_credentials(value))
    elif value is None or type(value) in _SHOWN_TYPES or isinstance(value, PurePath):
        yield _written(value)
    elif id(value) in inside:
        yield "…"
    elif issubclass(type(value), dict):
        # By its type: mocks say that they are of the class that they stand for.
        yield from _listed(
            "{", ((f"{k!r}: ", k, v) for k, v in value.items()), "}", inside | {id(value)}
        )
    elif issubclass(type(value), (list, tuple, set, frozenset)) and not hasattr(
        value, "_fields"
    ):
        opening, closing = _BRACKETS[next(k for k in _BRACKETS if isinstance(value, k))]
        is_pair = _is_secret_pair(value)
        names = ("", next(iter(value))) if is_pair else ("",) * len(value)
        items = (("", name, item) for name, item in zip(names, value, strict=True))
        yield from _listed(opening, items, closing, inside | {id(value)})
    else:
        yield type(value).__qualname__
        held = fields_of(value)
        if held is not None:
            items = ((f"{name}=", name, item) for name, item in held.items())
            yield from _listed("(", items, ")", inside | {id(value)})


_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
}


def _listed(
    opening: str, items: Iterable[tuple[str, Any, Any]], closing: str, inside: frozenset[int]
) -> Iterator[str]:
    yield opening
    for index, (label, name, item) in enumerate(items):
        yield f", {label}" if index else label
        if isinstance(name, str) and is_credential(name):
            yield HIDDEN
        else:
            yield from _pieces(item, inside)
    yield closing


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return what a dataclass, a named tuple or a model holds; None for anything else.

    >>> fields_of(3) is None
    True
    """
    kind = type(value)
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "model_fields", None)
    names = getattr(kind, "_fields", None) if names is None else names
    if not isinstance(names, (dict, tuple)):
        return None
    return {name: _held(value, name) for name in names}


def duration(seconds: float) -> str:
    """Return a duration in the unit that fits.

    >>> [duration(s) for s in (0.004, 2.5, 90, 2460, 165600, 300000)]
    ['4 ms', '2.5 s', '1.5 min', '41 min', '46 h', '3.5 d']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit_s, unit in (
        (_MINUTE_S, 1, "s"),
        (_HOUR_S, _MINUTE_S, "min"),
        (2 * _DAY_S, _HOUR_S, "h"),
    ):
        if seconds < limit:
            return f"{_short(seconds / unit_s)} {unit}"
    return f"{_short(seconds / _DAY_S)} d"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")  # noqa: PLR2004


def size(size_bytes: int) -> str:
    """Return a size in the unit that fits.

    >>> size(512), size(1_500_000)
    ('512 B', '1.5 MB')
    """
    number = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - SI units
            return f"{_short(number)} {unit}"
        number /= 1000
    return f"{_short(number)} TB"


#: Behind what a word may be parted that is too long for a line, the best first. A number is
#: not parted at its point or comma, nor from its sign.
_SEAMS: Final = (re.compile(r"[./\\](?!\d)"), re.compile(r"[_;:=]|[,-](?!\d)"))


def wrapped(text: str, width: int, measure: Callable[[str], int] = len) -> list[str]:
    """Return a text in lines of a width, parted where a reader does not stumble.

    Lines end at a space; a word that is longer than a line is parted behind a dot or a slash,
    else behind an underscore or the like, and only without any of them in the middle.

    Args:
        text: The text.
        width: How much fits on a line, at least 1.
        measure: How wide a text is.

    >>> wrapped("took usher_pipeline.demo.pipeline.gene_universe", 20)
    ['took', 'usher_pipeline.demo.', 'pipeline.', 'gene_universe']
    """
    return [line for each in text.split("\n") for line in _lines(each, width, measure)]


def _lines(rest: str, width: int, measure: Callable[[str], int]) -> list[str]:
    lines = []
    while rest and measure(rest) > width:
        end = _line_end(rest, width, measure)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, rest] if rest or not lines else lines


def _line_end(text: str, width: int, measure: Callable[[str], int]) -> int:
    """Return where the first line of a text that is too long for one ends."""
    fits = next(
        end for end in range(len(text), 0, -1) if end == 1 or measure(text[:end]) <= width
    )
    last_space = text.rfind(" ", 1, fits + 1)
    if last_space > 0 and text[:last_space].strip():
        return last_space
    for seams in _SEAMS:
        ends = [seam.end() for seam in seams.finditer(text) if seam.end() <= fits]
        if ends:
            return ends[-1]
    return fits


def age(moment: datetime, now: datetime | None = None, *, ending: str = "old") -> str:
    """Return how long ago something was, never negative.

    Args:
        moment: When it was.
        now: The present moment.
        ending: What follows the duration.
    """
    elapsed_s = ((now or utc_now()) - moment).total_seconds()
    return f"{duration(max(elapsed_s, 0.0))} {ending}"


def call_line(name: str, decision: Decision, entry: Entry | None, elapsed_s: float) -> str:
    """Return the one line that a call prints.

    Args:
        name: The checkpoint.
        decision: What the call did.
        entry: The entry that was used or made, if any.
        elapsed_s: How long the call took, in seconds.
    """
    facts = [name, outcome(decision)]
    if entry is not None:
        facts.append(entry.extent)
    if isinstance(decision, Hit):
        renewed = (entry or decision.entry).renewed
        facts += [
            age(decision.entry.created_at),
            *([f"renewed {age(renewed.renewed_at, ending='ago')}"] if renewed else []),
            f"saved {duration(decision.entry.cost.elapsed_s)}",
        ]
    else:
        facts.append(f"took {duration(elapsed_s)}")
    return " · ".join(facts)


def outcome(decision: Decision) -> str:
    """Return what a call did and why, in a few words.

    Args:
        decision: What was decided for it.
    """
    match decision:
        case Hit(stale=Reason() as why):
            return f"stale ({why})"
        case Hit(_, accepts, renews):
            return "hit (accepted)" if accepts else "hit (renewed)" if renews else "hit"
        case Miss(reason):
            return f"computed ({reason})"
        case Bypass(reason):
            return f"not stored ({reason})"
        case Blocked(reason):
            return f"blocked ({reason})"
        case _:
            assert_never(decision)


def waiting_line(name: str, holder: object | None, waited_s: float) -> str:
    """Return the line that a call prints while another one computes its result.

    Args:
        name: The checkpoint.
        holder: Who computes it, if that is known.
        waited_s: How long it was waited so far, in seconds.

    >>> waiting_line("genes", None, 2.0)
    'genes · waiting for somebody else who computes it · 2 s so far'
    """
    whom = "somebody else who computes it" if holder is None else holder
    return f"{name} · waiting for {whom} · {duration(waited_s)} so far"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come that asks for many items.

    Attributes:
        name: The checkpoint.
        total: How many items it was asked for.
        done: How many of them are answered, also by calls before this one.
        failed: How many failed in this call; they are none of `done`.
        stored: How many of `done` are on the disk.
        per_s: How many items were dealt with lately in each second; None while unknown.
        idle_s: For how long nothing came, in seconds.
        elapsed_s: How long this call took so far, in seconds.
    """

    name: str
    total: int
    done: int
    failed: int
    stored: int
    per_s: float | None = None
    idle_s: float = 0.0
    elapsed_s: float = 0.0

    @property
    def left(self) -> int:
        """How many items nothing is known of yet."""
        return max(self.total - self.done - self.failed, 0)

    @property
    def is_stalled(self) -> bool:
        """Whether nothing came for far longer than it took lately."""
        return self.idle_s >= max(_MINUTE_S, _STALL_ITEMS / (self.per_s or math.inf))


def progress_line(
    progress: Progress,
    outcome: str | None = None,
    *,
    width: int | None = None,
    measure: Callable[[str], int] = len,
) -> str:
    """Return the one line that says how far a call has come.

    Where it does not fit, facts are left out, what can be done without first: what is stored,
    the rate, the time left, failures. The count stays as long as anything does.

    Args:
        progress: How far it has come.
        outcome: How it ended, such as ``interrupted``; empty if it came to its end, None
            while it goes on.
        width: How much fits on a line; any length if not given.
        measure: How wide a text is.

    >>> at = Progress("papers", 22_000, done=1_200, failed=3, stored=1_180, per_s=2.9)
    >>> progress_line(at)
    'papers  1,200/22,000 · 3 failed · 1,180 stored · 2.9/s · 1 h 59 min left'
    >>> progress_line(at, width=40)
    'papers  1,200/22,000 · 3 failed'
    >>> progress_line(Progress("papers", 2, 2, 0, 2, elapsed_s=420), "interrupted")
    'papers  2/2 · 2 stored · interrupted after 7 min'
    """
    name = "".join(each if each.isprintable() else "·" for each in progress.name)
    facts = _progress_facts(progress, outcome)
    line = _joined(name, facts)
    if width is None:
        return line
    for spared in ("stored", "rate", "left", "failed"):
        if measure(line) <= width:
            return line
        facts.pop(spared, None)
        line = _joined(name, facts)
    while measure(line) > width and name:
        name = name.removesuffix("…")[:-1]
        name = name and f"{name}…"
        line = _joined(name, facts)
    while measure(line) > width:
        line = line[:-1]
    return line


def _joined(name: str, facts: dict[str, str]) -> str:
    return "  ".join(filter(None, [name, " · ".join(facts.values())]))


def _progress_facts(progress: Progress, outcome: str | None) -> dict[str, str]:
    """Return what is said of a progress, in its order."""
    facts = {"count": f"{progress.done:,}/{progress.total:,}"}
    if progress.failed:
        facts["failed"] = f"{progress.failed:,} failed"
    facts["stored"] = f"{progress.stored:,} stored"
    if outcome is not None:
        how = f"{outcome} after" if outcome else "took"
        return facts | {"left": f"{how} {duration(progress.elapsed_s)}"}
    if progress.is_stalled:
        return facts | {"left": f"nothing for {duration(progress.idle_s)}"}
    if progress.per_s:
        facts["rate"] = _rate(progress.per_s)
    if progress.left:
        left_s = progress.left / progress.per_s if progress.per_s else math.inf
        facts["left"] = f"{_time_left(left_s) if left_s < _FORESEEN_S else '-'} left"
    return facts


def _rate(per_s: float) -> str:
    """Return how many there are in the unit of time in which there is at least one.

    >>> [_rate(per_s) for per_s in (1234.5, 2.9, 0.13, 1 / 600)]
    ['1,234/s', '2.9/s', '7.8/min', '6/h']
    """
    for unit_s, unit in ((1, "s"), (_MINUTE_S, "min")):
        if per_s * unit_s >= 1:
            return f"{_amount(per_s * unit_s)}/{unit}"
    return f"{_amount(per_s * _HOUR_S)}/h"


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")  # noqa: PLR2004


def _time_left(seconds: float) -> str:
    """Return an estimate, with as many digits as one can be trusted for.

    >>> [_time_left(s) for s in (0.3, 44.4, 500, 3599, 7140, 165600, 300000)]
    ['1 s', '44 s', '8 min', '59 min', '1 h 59 min', '46 h', '3.5 d']
    """
    if seconds < _MINUTE_S:
        return f"{max(int(seconds), 1)} s"
    hours, minutes = divmod(int(seconds / _MINUTE_S), 60)
    if hours == 0:
        return f"{minutes} min"
    if hours < 10:  # noqa: PLR2004 - then minutes are no news
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return duration(seconds)


#: For how many items of the usual time nothing comes before it is said.
_STALL_ITEMS: Final = 5
#: What takes longer than ten years is not foreseen.
_FORESEEN_S: Final = 3650 * _DAY_S
