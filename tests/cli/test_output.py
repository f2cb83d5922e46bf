"""What commands print: plain columns in a pipe, drawn tables for a width, JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from usher_pipeline.cli.output import Block, Grid, Line, Outcome, as_text, put, show


def test_columns_stand_one_below_the_other() -> None:
    """Wide characters take two cells, combining ones none, and numbers stand to the right."""
    grid = Grid("stored", ["name", "rows"], [["基因", "1"], ["e\u0301", "12"]], ["rows"])
    assert as_text([grid]) == ["stored", "name  rows", "基因     1", "e\u0301       12"]


def test_a_text_of_several_lines_is_one_line_of_a_table() -> None:
    """In a pipe a row is a line, whatever its texts hold."""
    assert as_text([Grid("", ["why"], [["one\n two"]])]) == ["why", "one two"]


def test_blocks_are_parted_by_an_empty_line() -> None:
    """A table has an empty line above it; lines of text follow one another."""
    blocks: list[Block] = [Line("a"), Line("b"), Grid("", ["", ""], [["x", "y"]])]
    assert as_text(blocks) == ["a", "b", "", "x  y"]


def test_a_table_without_rows_is_its_head() -> None:
    """Nothing found is a table with no rows, and no error."""
    assert as_text([Grid("", ["name"], [])]) == ["name"]
    assert as_text([Grid("t", ["", ""], [])]) == ["t"]


@dataclass(frozen=True)
class Fact:
    """Some fact."""

    at: datetime
    path: Path
    share: float


def test_json_holds_what_json_can(capsys: pytest.CaptureFixture[str]) -> None:
    """Times are ISO 8601, paths are text, and what is no number is text and valid JSON."""
    fact = Fact(datetime(2026, 2, 16, tzinfo=UTC), Path("s.duckdb"), float("nan"))
    put(Outcome({"facts": [fact], "5": {"a"}}), "list", as_json=True)
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed == {
        "command": "list",
        "format": 1,
        "facts": [{"at": "2026-02-16T00:00:00+00:00", "path": "s.duckdb", "share": "nan"}],
        "5": ["a"],
    }


def test_for_a_width_tables_are_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """COLUMNS asks for tables of that width, also where the output goes elsewhere."""
    grid = Grid("t", ["name"], [["word " * 10]])
    monkeypatch.delenv("COLUMNS", raising=False)
    show([grid])
    assert len(capsys.readouterr().out.splitlines()) == 3
    monkeypatch.setenv("COLUMNS", "30")
    show([grid])
    drawn = capsys.readouterr().out.splitlines()
    assert "─" in "".join(drawn)
    assert max(map(len, drawn)) <= 30


@pytest.mark.parametrize("width", ["", "80"])
def test_a_terminal_obeys_no_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: str
) -> None:
    """Names of strangers can not move the cursor, nor turn the text around."""
    monkeypatch.setenv("COLUMNS", width)
    odd = "a\x1b[2Jb\u202ec\x9bd"
    show([Line(odd), Grid(odd, [odd], [[odd]])])
    printed = capsys.readouterr().out
    assert not {"\x1b", "\u202e", "\x9b"} & set(printed)
    assert printed.count("a·[2Jb·c·d") == 4


def test_short_texts_are_not_parted_for_long_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a table is too wide the long texts are folded, and a key stays in one piece."""
    columns = ["name", "result", "key", *(f"cause {number}" for number in range(4))]
    rows = [["a name of many words " * 2, "published", "ccd86748", *[""] * 4]]
    monkeypatch.setenv("COLUMNS", "80")
    show([Grid("", columns, rows)])
    drawn = capsys.readouterr().out
    assert "published  ccd86748" in drawn
    assert max(map(len, drawn.splitlines())) <= 80


def test_a_table_of_very_many_columns_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no room for short texts either, all are folded alike."""
    monkeypatch.setenv("COLUMNS", "40")
    show([Grid("", ["long" * 9, *["short"] * 9], [["long" * 9, *["short"] * 9]])])
    drawn = capsys.readouterr().out
    assert max(map(len, drawn.splitlines())) <= 40
    letters = "".join(each for each in drawn if each.isalpha())
    assert sorted(letters) == sorted(("long" * 9 + "short" * 9) * 2)
