"""Records → HTML for notebooks.

The markup has no scripts, no style sheets and no colours of text or ground, so that it reads
in dark and in light. Every text in it is escaped, and credentials are hidden.
"""

from __future__ import annotations

from html import escape
from itertools import compress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

from usher_pipeline.display import age, duration, size
from usher_pipeline.hiding import without_credentials
from usher_pipeline.records import Blocked, Bypass, Hit, Miss

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from usher_pipeline.records import Decision, Difference, Entry, Reason

__all__ = ["Table", "decision_view", "entries_view", "entry_view", "run_view", "view"]

#: More rows than these are counted, and not shown.
_MOST_ROWS: Final = 100
#: Up to this length a text stands on one line.
_SHORT: Final = 24
#: A longer text is cut.
_LONGEST: Final = 500

_BOX: Final = (
    "border-left:3px solid {edge};padding:2px 0 2px 10px;margin:4px 0;max-width:70em;"
    "overflow-x:auto;overflow-wrap:anywhere"
)
_CELL: Final = "text-align:left;vertical-align:top;padding:1px 14px 1px 0;border:0"
_PLAIN: Final = "#8a8a8a"
#: What the edge of a box looks like; its first word says the same.
_EDGES: Final = {"hit": "#2e9e5b", "miss": "#c98a00", "blocked": "#d0453e", "bypass": _PLAIN}


class Table(NamedTuple):
    """Rows under a head.

    Attributes:
        head: What the columns are; those without any text are not shown.
        rows: Their texts.
        title: What it shows, to be opened; it is open if this is empty.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


def view(
    title: str,
    facts: Mapping[str, str] | None = None,
    tables: Iterable[Table] = (),
    *,
    note: str = "",
    edge: str = _PLAIN,
) -> str:
    """Return a box with a title, facts by their names, and tables.

    Args:
        title: What it is.
        facts: Name → text; empty texts are left out.
        tables: What follows; empty ones are left out.
        note: What stands behind the title.
        edge: The colour of its edge.

    >>> shown = view("<b>", {"asked": "token=abcdef123"})
    >>> "&lt;b&gt;" in shown, "token=(hidden)" in shown
    (True, True)
    """
    head = f"<div><strong>{_text(title)}</strong>{f' · {_text(note)}' if note else ''}</div>"
    shown = {name: text for name, text in (facts or {}).items() if text}
    rows = "".join(
        f'<tr><th style="{_style(name)};font-weight:normal;opacity:.7">{_text(name)}</th>'
        f'<td style="{_CELL}">{_text(text)}</td></tr>'
        for name, text in shown.items()
    )
    pieces = [head, _framed(rows), *(_table(each) for each in tables if each.rows)]
    return f'<div style="{_BOX.format(edge=edge)}">{"".join(pieces)}</div>'


def _framed(rows: str) -> str:
    style = "border-collapse:collapse;margin:2px 0;border:0;font-size:inherit"
    return f'<table style="{style}">{rows}</table>' if rows else ""


def _table(table: Table) -> str:
    used = [any(texts) for texts in zip(*table.rows, strict=True)]
    shown = [_row("td", compress(row, used)) for row in table.rows[:_MOST_ROWS]]
    more = len(table.rows) - _MOST_ROWS
    rest = f"<div>and {more:,} more</div>" if more > 0 else ""
    framed = _framed("".join([_row("th", compress(table.head, used)), *shown])) + rest
    if not table.title:
        return framed
    return f"<details><summary>{_text(table.title)}</summary>{framed}</details>"


def _row(kind: str, texts: Iterable[str]) -> str:
    cells = (f'<{kind} style="{_style(text)}">{_text(text)}</{kind}>' for text in texts)
    return f"<tr>{''.join(cells)}</tr>"


def _style(text: str) -> str:
    """Return the style of a cell: a number is not parted from its unit, a text is broken."""
    return f"{_CELL};{'white-space:nowrap' if len(text) <= _SHORT else 'min-width:12em'}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _text(text: str) -> str:
    shown = without_credentials(text)
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
    return escape(shown)


# --- entries ----------------------------------------------------------------------------


def entry_view(entry: Entry, now: datetime | None = None) -> str:
    """Return a stored result as HTML: what it is, where it came from, and its columns.

    Args:
        entry: The result.
        now: The present moment (UTC), for tests.
    """
    columns = Table(
        ("column", "type"),
        [(each.name, each.type) for each in entry.columns],
        _count(len(entry.columns), "column"),
    )
    untracked = Table(
        ("not watched",), [(what,) for what in entry.key.untracked], "not watched"
    )
    facts = {"result": f"{entry.extent} · {entry.kind} · {size(entry.size_bytes)}"}
    facts |= dict(_origin(entry, now))
    return view(entry.name, facts, (columns, untracked), note=entry.description)


def _untracked(untracked: Sequence[str]) -> Table:
    return Table(("what",), [(what,) for what in untracked], f"{len(untracked):,} not watched")


def _origin(entry: Entry, now: datetime | None) -> Iterator[tuple[str, str]]:
    took = f"took {duration(entry.cost.elapsed_s)}"
    yield "stored", f"{_moment(entry.created_at)} · {age(entry.created_at, now)} · {took}"
    yield "made by", f"{entry.function} · run {entry.run_id}"
    yield "because", entry.reason
    yield "arguments", _parts(entry, "argument")
    yield "settings", _parts(entry, "setting", "config")
    yield "sources", _parts(entry, "source")
    made_of = dict.fromkeys(read.name for read in (*entry.inputs, *entry.reads) if read.name)
    yield "made of", ", ".join(made_of)
    if entry.adopted is not None:
        yield "adopted", entry.adopted.origin
    if entry.accepted:
        last = entry.accepted[-1]
        yield "accepted", f"{_moment(last.accepted_at)} for {', '.join(last.changes)}"
    if entry.renewed is not None:
        yield "renewed", _moment(entry.renewed.renewed_at)
    if entry.pulled:
        last_pull = entry.pulled[-1]
        yield "pulled", f"{_moment(last_pull.pulled_at)} from {last_pull.file}"
    if entry.mapped is not None:
        yield "items", f"{entry.mapped.item_count:,} {entry.mapped.over}"
    yield "key", entry.key.digest


def _parts(entry: Entry, *kinds: str) -> str:
    found = (part for part in entry.key.parts if part.kind in kinds)
    return ", ".join(f"{part.label}={part.preview or '(hidden)'}" for part in found)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def entries_view(entries: Sequence[Entry], now: datetime | None = None) -> str:
    """Return stored results as HTML, one in a row.

    Args:
        entries: The results.
        now: The present moment (UTC), for tests.
    """
    rows = [
        (
            entry.name,
            entry.extent,
            size(entry.size_bytes),
            age(entry.created_at, now),
            duration(entry.cost.elapsed_s),
            _parts(entry, "argument", "source"),
            entry.reason,
        )
        for entry in entries
    ]
    head = ("name", "rows × columns", "size", "stored", "took", "arguments, sources", "because")
    return view(_count(len(entries), "stored result"), tables=[Table(head, rows)])


# --- decisions --------------------------------------------------------------------------


def decision_view(decision: Decision, now: datetime | None = None) -> str:
    """Return a decision as HTML: what is done, why, and what differs.

    Args:
        decision: The decision.
        now: The present moment (UTC), for tests.
    """
    facts: dict[str, str] = {}
    untracked: tuple[str, ...] = ()
    match decision:
        case Hit(entry):
            verb, untracked = "hit", decision.untracked
            took = f"saves {duration(entry.cost.elapsed_s)}"
            facts["stored"] = f"{entry.name} · {entry.extent} · {age(entry.created_at, now)}"
            facts["stored"] += f" · {took}"
        case Miss(untracked=untracked):
            verb = "miss"
        case Blocked(untracked=untracked):
            verb = "blocked"
            facts["stored"] = decision.stored
            facts["what to do"] = "accept(...) keeps it, refresh(...) computes it again"
        case Bypass():
            verb = "bypass"
        case _:
            assert_never(decision)
    tables = (_differences(decision.reason), _untracked(untracked))
    return view(verb, facts, tables, note=str(decision.reason), edge=_EDGES[verb])


def _differences(reason: Reason) -> Table:
    rows = [
        (each.kind, each.label, *_sides(each), each.where or each.hint)
        for each in reason.differences
    ]
    return Table(("what", "name", "before", "now", "stated in"), rows)


def _sides(each: Difference) -> tuple[str, str]:
    """Return how something was and is; of code there is nothing short to show."""
    is_silent = each.kind == "code" and each.before == each.after
    return ("", "changed") if is_silent else (each.before, each.after)


# --- runs -------------------------------------------------------------------------------


def run_view(
    run_id: str, started_at: datetime, facts: Mapping[str, str], steps: Sequence[Any]
) -> str:
    """Return a run as HTML: what is in force in it, and what it did so far.

    Args:
        run_id: What identifies it.
        started_at: When it began (UTC).
        facts: What is in force, by its name.
        steps: Its steps as plain data.
    """
    rows = [_step(each["step_name"], each.get("details", {})) for each in steps]
    head = ("step", "outcome", "calls", "rows × columns", "took", "because")
    tables = [Table(head, rows)]
    note = f"begun {_moment(started_at)}, {_count(len(steps), 'step')}"
    return view(f"run {run_id}", facts, tables, note=note)


def _step(name: str, details: Mapping[str, Any]) -> tuple[str, ...]:
    extent = ""
    if "row_count" in details and "column_count" in details:
        extent = f"{details['row_count']:,} × {details['column_count']:,}"
    took_s = details.get("elapsed_s")
    return (
        name,
        str(details.get("outcome", "")),
        str(details.get("calls", "")),
        extent,
        duration(took_s) if isinstance(took_s, (int, float)) else "",
        str(details.get("reason", "")),
    )
