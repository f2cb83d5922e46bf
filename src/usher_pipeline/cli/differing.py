"""``usher diff``: in what two results of a checkpoint differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from usher_pipeline import display
from usher_pipeline.cli.choosing import key_meant
from usher_pipeline.cli.endings import DONE, FOUND
from usher_pipeline.cli.options import (
    answering,
    backend_at,
    known_keys,
    name_argument,
    store_option,
)
from usher_pipeline.cli.output import Block, Grid, Line, Outcome
from usher_pipeline.errors import NoEarlierResultError, UnknownResultError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from usher_pipeline.persistence.comparison import Compared
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["diff"]


@click.command()
@name_argument
@click.argument("before", metavar="[A]", default="", shell_complete=known_keys)
@click.argument("after", metavar="[B]", default="", shell_complete=known_keys)
@click.option(
    "--on",
    multiple=True,
    metavar="COLUMN",
    help="A column that tells rows apart; may be given again.",
)
@click.option(
    "--sample",
    "sample_rows",
    type=click.IntRange(min=0),
    default=2_000_000,
    show_default=True,
    help="Of results with more rows than this compare a sample; 0 compares all.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many rows and values of each sort are shown.",
)
@store_option
@answering
def diff(  # noqa: PLR0913 - the options are the face
    *,
    name: str,
    before: str,
    after: str,
    on: Sequence[str],
    sample_rows: int,
    limit: int,
    store: Path | None,
) -> Outcome:
    """Say in what two results of a name differ.

    A and B are keys, or their beginnings; an older result of one key is KEY-NUMBER. B is
    the current result unless given, and A the one stored before it. Rows are matched by
    --on, else by the first column that tells them apart, else as a whole. The exit code
    is 4 if anything differs.
    """
    from usher_pipeline.persistence.comparison import compared
    from usher_pipeline.planning import compare

    backend = backend_at(store)
    one, other = _meant(backend, name, before, after)
    found = compared(backend, one, other, on=on, sample_rows=sample_rows, shown=limit)
    reasons = [str(change) for change in compare(one.key, other.key)]
    data: dict[str, Any] = {"store": backend.path, "name": name, "because": reasons}
    data |= {"a": _named(one), "b": _named(other), "is_same": found.is_same}
    data |= asdict(found)
    blocks: list[Block] = [Line(_title(name, one, other))]
    blocks += [Line(f"because: {', '.join(reasons)}")] if reasons else []
    blocks += _blocks(found)
    if found.is_same and found.sampled_share == 1 and one.content != other.content:
        blocks.append(
            Line("yet they are not equal: rows are in another order, or labels differ")
        )
    return Outcome(data, blocks, DONE if found.is_same else FOUND)


def _meant(backend: LocalBackend, name: str, before: str, after: str) -> tuple[Entry, Entry]:
    """Return the two results that are to be compared."""
    second = _one(backend, name, after)
    if before:
        return _one(backend, name, before), second
    earlier = [
        entry
        for entry in backend.segments.recent(name, None)
        if entry.stem != second.stem and entry.known_at <= second.known_at
    ]
    if not earlier:
        raise NoEarlierResultError(name, second.key.digest)
    return earlier[0], second


def _one(backend: LocalBackend, name: str, said: str) -> Entry:
    """Return the result that a key, or a key and a number, means."""
    key, _, number = said.partition("-")
    entry = key_meant(backend, name, key)
    if not number:
        return entry
    found = backend.segments.read(name, f"{entry.key.digest}-{number}")
    if found is None:
        short = entry.key.digest[:8]
        latest = range(max(1, entry.number - 4), entry.number + 1)
        stems = [f"{short}-{each}" for each in latest]
        raise UnknownResultError(backend.path, name, f"{short}-{number}", stems)
    return found


def _named(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key.digest,
        "number": entry.number,
        "created_at": entry.created_at,
        "content": entry.content,
        "row_count": entry.row_count,
    }


def _title(name: str, one: Entry, other: Entry) -> str:
    told = [f"{each.stem[:8]} ({display.age(each.created_at)})" for each in (one, other)]
    return f"{name}: {' → '.join(told)}"


def _blocks(found: Compared) -> list[Block]:
    blocks: list[Block] = []
    if found.sampled_share < 1:
        blocks.append(
            Line(f"a sample: about {found.sampled_share:.1%} of the rows are compared")
        )
    how = f"by {', '.join(found.key_columns)}" if found.key_columns else "as a whole"
    before, after = found.row_counts
    blocks.append(Line(f"rows: {before:,} → {after:,}, matched {how}"))
    if found.is_same:
        return [*blocks, Line("nothing differs")]
    facts = [
        ("rows added", found.rows_added),
        ("rows removed", found.rows_removed),
        ("rows changed", found.rows_changed),
    ]
    blocks.append(Grid("", ["", ""], [(what, f"{count:,}") for what, count in facts]))
    columns = [
        *((name, "added", kind) for name, kind in found.columns_added.items()),
        *((name, "removed", kind) for name, kind in found.columns_removed.items()),
        *((name, "retyped", f"{a} → {b}") for name, (a, b) in found.columns_retyped.items()),
        *((name, "changed", f"{n:,} rows") for name, n in found.changes_by_column.items()),
    ]
    if columns:
        blocks.append(Grid("columns", ["name", "what", ""], columns))
    changes = [(_shown(e.key), e.column, str(e.before), str(e.after)) for e in found.changed]
    if changes:
        blocks.append(Grid("some changes", ["row", "column", "before", "after"], changes))
    for title, rows in (("some added", found.added), ("some removed", found.removed)):
        if rows:
            blocks.append(Grid(title, [", ".join(found.key_columns) or "row"], _each(rows)))
    return blocks


def _each(rows: Sequence[tuple[Any, ...]]) -> list[tuple[str]]:
    return [(_shown(row),) for row in rows]


def _shown(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
