"""What commands print: for people on a terminal, for people in a pipe, for programs.

A command returns an `Outcome`. On a terminal its tables are drawn by rich; where the output
goes elsewhere they are plain columns, and rich is not loaded; with ``--json`` the data are
printed and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from usher_pipeline import display
from usher_pipeline.cli.endings import DONE

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement

__all__ = [
    "FORMAT",
    "Block",
    "Grid",
    "Line",
    "Outcome",
    "as_text",
    "counted",
    "harmless",
    "put",
    "show",
]

#: The version of what ``--json`` prints; names are added without a new one, never changed.
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, in one piece: a path or a command in it is there to be copied.

    Attributes:
        text: The text.
        style: How it looks on a terminal.
    """

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    Attributes:
        title: What it is; empty if that is clear.
        columns: The names of the columns; none are shown if all are empty.
        rows: The texts.
        right: The columns that stand to the right, as numbers do.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()


Block: TypeAlias = Line | Grid


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command.

    Attributes:
        data: For programs; what JSON has no form for becomes text.
        blocks: The same for people.
        code: The exit code.
    """

    data: Mapping[str, Any]
    blocks: Sequence[Block] = field(default=())
    code: int = DONE


def put(outcome: Outcome, command: str, *, as_json: bool) -> None:
    """Print what came of a command.

    Args:
        outcome: What came of it.
        command: Its name.
        as_json: Whether for programs.
    """
    if as_json:
        head = {"command": command, "format": FORMAT}
        is_utf8 = "utf" in (getattr(sys.stdout, "encoding", "") or "").lower()
        data = _plain({**head, **outcome.data})
        click.echo(json.dumps(data, indent=2, ensure_ascii=not is_utf8))
    else:
        show(outcome.blocks)


def show(blocks: Sequence[Block]) -> None:
    """Print blocks for people, drawn or plain.

    Args:
        blocks: The blocks.
    """
    if not _is_drawn():
        for line in as_text(blocks):
            click.echo(line)
        return
    console = _console()
    for block in blocks:
        _draw(console, block)


def _is_drawn() -> bool:
    """Tell whether tables are drawn for a screen, or for a width that somebody states."""
    return sys.stdout.isatty() or bool(os.environ.get("COLUMNS"))


def _plain(value: Any) -> Any:
    """Return a value as what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        # JSON has no word for them, and what is no number is no valid JSON.
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


# --- plain ------------------------------------------------------------------------------


def as_text(blocks: Sequence[Block]) -> list[str]:
    """Return blocks as lines of plain text, nothing cut and nothing wrapped.

    Args:
        blocks: The blocks.

    >>> as_text([Grid("", ["name", "rows"], [["genes", "12"], ["x", "3"]], ["rows"])])
    ['name   rows', 'genes    12', 'x         3']
    """
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Line):
            lines.append(harmless(block.text))
            continue
        if lines and lines[-1]:
            lines.append("")
        lines += [harmless(block.title)] if block.title else []
        lines += _columned(block)
    return lines


def counted(count: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "result"), counted(1200, "result")
    ('1 result', '1,200 results')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


#: What turns the direction of the text that follows.
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def harmless(text: str) -> str:
    """Return a text without what a terminal would obey: names may be those of strangers.

    Args:
        text: The text.
    """
    return "".join("·" if _is_obeyed(each) else each for each in text)


def _is_obeyed(each: str) -> bool:
    return each in _TURNING or (each != "\n" and unicodedata.category(each) in ("Cc", "Cs"))


def _columned(grid: Grid) -> list[str]:
    rows = [list(grid.columns), *grid.rows] if any(grid.columns) else grid.rows
    rows = [[harmless(" ".join(cell.split())) for cell in row] for row in rows]
    if not rows:
        return []
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    is_right = [name in grid.right for name in grid.columns]
    return [
        "  ".join(map(_padded, row, widths, is_right)).rstrip()  # what is empty has no width
        for row in rows
    ]


def _padded(text: str, width: int, is_right: bool) -> str:  # noqa: FBT001 - for `map`
    space = " " * (width - _width(text))
    return f"{space}{text}" if is_right else f"{text}{space}"


def _width(text: str) -> int:
    """Return how wide a text is in cells of a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


# --- drawn ------------------------------------------------------------------------------


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _draw(console: Console, block: Block) -> None:
    if isinstance(block, Line):
        console.print(harmless(block.text), style=block.style, soft_wrap=True)
        return
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        # With the space of the box it is two between columns.
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_header=any(block.columns),
    )
    for column, is_short in zip(block.columns, _short(block, console.width), strict=True):
        justify: Any = "right" if column in block.right else "left"
        table.add_column(harmless(column), justify=justify, overflow="fold", no_wrap=is_short)
    for row in block.rows:
        table.add_row(*(_Cell(harmless(cell)) for cell in row))
    if block.title:
        console.print(harmless(block.title), style="italic", soft_wrap=True)
    console.print(table)


#: The beginning of a key, an age, a count: what is no longer is not parted for a longer text.
_SHORT: Final = 12
#: What is left at least for each column of longer texts.
_LEAST: Final = 10


def _short(grid: Grid, width: int) -> list[bool]:
    """Return which columns keep their width, if the others then have enough of a line."""
    columns = zip(*(grid.columns, *grid.rows), strict=True)
    widths = [max(map(_width, column)) for column in columns]
    is_short = [each <= _SHORT for each in widths]
    taken = 2 * len(widths) + sum(each for each in widths if each <= _SHORT)
    has_room = width - taken >= _LEAST * is_short.count(False)
    return [each and has_room for each in is_short]


@dataclass(frozen=True, slots=True)
class _Cell:
    """A text in a table: never cut, and parted between words or after a dot."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.cells import cell_len
        from rich.text import Text

        for line in display.wrapped(self.text, max(1, options.max_width), cell_len):
            yield Text(line)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.cells import cell_len
        from rich.measure import Measurement

        return Measurement(1, max(map(cell_len, self.text.split("\n"))))
