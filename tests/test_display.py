"""Records into text: where a text that is too long for a line is parted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.display import duration, wrapped


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
