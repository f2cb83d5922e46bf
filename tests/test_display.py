"""Records into text: where a text that is too long for a line is parted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.display import (
    Progress,
    described,
    duration,
    preview,
    progress_line,
    wrapped,
)


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 5, [""]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("one\ntwo three", 5, ["one", "two", "three"]),
        ("polars.DataFrame", 12, ["polars.", "DataFrame"]),
        ("a package.module.name", 16, ["a", "package.module.", "name"]),
        ("/srv/folder/store.duckdb", 13, ["/srv/folder/", "store.duckdb"]),
        ("gene_universe_by_release", 16, ["gene_universe_", "by_release"]),
        ("min_depth=20.0, x=1", 14, ["min_depth=", "20.0, x=1"]),
        ("3.14159265", 6, ["3.1415", "9265"]),
        ("1,000,000", 6, ["1,000,", "000"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("ab", 1, ["a", "b"]),
        ("ab   ", 2, ["ab"]),
    ],
)
def test_a_text_is_parted_where_it_can_be_read(text: str, width: int, lines: list[str]) -> None:
    """Lines end at spaces, then behind dots and slashes, then underscores, then anywhere."""
    assert wrapped(text, width) == lines


def test_wide_characters_count_twice() -> None:
    """How wide a text is can be told, as by a terminal; a line has a character at least."""
    assert wrapped("größe基因组", 7, lambda text: len(text.encode("gbk", "replace"))) == [
        "größe基",
        "因组",
    ]
    assert wrapped("基因", 1, lambda text: 2 * len(text)) == ["基", "因"]


@given(st.text("ab ._,\n1", max_size=40), st.integers(1, 12))
def test_nothing_is_lost_and_every_line_fits(text: str, width: int) -> None:
    """All but spaces is kept in its order, and no line is longer than it may be."""
    lines = wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(len(line) <= width for line in lines)


def test_a_duration_states_no_zero_behind_its_point() -> None:
    """What is a whole number of its unit, but for a moment, reads as one."""
    day_s = 86_400
    assert [duration(day_s * days) for days in (8, 8.0001, 8.06)] == ["8 d", "8 d", "8.1 d"]


def at(**changed: Any) -> Progress:
    """Return how far a call has come, in the middle of it."""
    facts = {"name": "papers", "total": 22_000, "done": 1_200, "failed": 3, "stored": 1_180}
    return Progress(**{**facts, "per_s": 2.9, **changed})


@pytest.mark.parametrize(
    ("changed", "outcome", "line"),
    [
        ({}, None, "3 failed · 1,180 stored · 2.9/s · 1 h 59 min left"),
        ({"failed": 0}, None, "1,180 stored · 2.9/s · 1 h 59 min left"),
        ({"per_s": None}, None, "3 failed · 1,180 stored · - left"),
        ({"per_s": 0.0}, None, "3 failed · 1,180 stored · - left"),
        ({"per_s": 1 / 7.5}, None, "3 failed · 1,180 stored · 8/min · 43 h left"),
        ({"total": 1_203}, None, "3 failed · 1,180 stored · 2.9/s"),
        ({"idle_s": 59.0}, None, "3 failed · 1,180 stored · 2.9/s · 1 h 59 min left"),
        ({"idle_s": 90.0}, None, "3 failed · 1,180 stored · nothing for 1.5 min"),
        (
            {"idle_s": 900.0, "per_s": 0.005},
            None,
            "3 failed · 1,180 stored · 18/h · 48 d left",
        ),
        ({"elapsed_s": 420.0}, "", "3 failed · 1,180 stored · took 7 min"),
        (
            {"elapsed_s": 420.0},
            "interrupted",
            "3 failed · 1,180 stored · interrupted after 7 min",
        ),
    ],
)
def test_a_progress_says_what_is_known(
    changed: dict[str, Any], outcome: str | None, line: str
) -> None:
    """Failures, what is stored, the rate and the time left are said as far as known."""
    progress = at(**changed)
    assert progress_line(progress, outcome) == f"papers  1,200/{progress.total:,} · {line}"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "papers  1,200/22,000 · 3 failed · 1,180 stored · 2.9/s · 1 h 59 min left"),
        (60, "papers  1,200/22,000 · 3 failed · 2.9/s · 1 h 59 min left"),
        (50, "papers  1,200/22,000 · 3 failed · 1 h 59 min left"),
        (40, "papers  1,200/22,000 · 3 failed"),
        (20, "papers  1,200/22,000"),
        (18, "pap…  1,200/22,000"),
        (14, "1,200/22,000"),
        (5, "1,200"),
    ],
)
def test_a_narrow_line_says_what_matters_most(width: int, line: str) -> None:
    """Failures outlive the time left, and the count outlives the name."""
    assert progress_line(at(), width=width) == line


@given(
    st.text(max_size=40),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.none() | st.floats(0, 1e6),
    st.integers(1, 120),
)
def test_a_progress_is_one_line_that_fits(
    name: str, done: int, failed: int, per_s: float | None, width: int
) -> None:
    """Whatever the name and the numbers are, it is one line of the width, without controls."""
    line = progress_line(
        at(name=name, done=done, failed=failed, per_s=per_s),
        width=width,
        measure=lambda text: len(text.encode("utf-16-le")) // 2,
    )
    assert len(line) <= width
    assert line.isprintable()
    if width >= 15:
        assert f"{done:,}/22,000" in line


def test_a_number_that_python_does_not_write_is_shown_by_its_size() -> None:
    """A very long whole number is no error, wherever it stands."""
    value = 10**5000
    assert preview(value) == "int of 16,610 bits"
    assert described({"n": [value]}) == "{'n': [int of 16,610 bits]}"
    assert "16,610 bits" in preview([value])
