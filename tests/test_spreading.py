"""What a call for many items has to ask, decided from what is stored of them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.dispatching import Limits
from usher_pipeline.errors import OptionError
from usher_pipeline.persistence.mapindex import Index
from usher_pipeline.persistence.mapparts import Answer
from usher_pipeline.records import Read
from usher_pipeline.spreading import Item, MapOptions, covered, item_text, items_in

CODES: Final = ("a" * 32, "b" * 32, "c" * 32)
STANDS: Final = (Read("universe", "k", "same"),)
FELL: Final = (Read("universe", "k", "other"),)


# --- the text of an item ----------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, 5, -0.0, "USH2A", "", "\ud800", "x" * 500, ["a", [1]], {"a": None}],
    ids=lambda value: repr(value)[:20],
)
def test_plain_data_comes_back_from_its_text(value: Any) -> None:
    """What JSON can hold is told whole, and comes back as it was."""
    assert json.loads(item_text(value)) == value
    assert repr(json.loads(item_text(value))) == repr(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (("chr1", 5), ["chr1", 5]),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (Path("genes.tsv"), "PosixPath('genes.tsv')"),
        (dt.date(2026, 2, 16), "datetime.date(2026, 2, 16)"),
        (b"x", "b'x'"),
        ({1, 2}, "{1, 2}"),
        (1j, "1j"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_json_can_not_hold_has_a_short_text(value: Any, shown: Any) -> None:
    """Anything else is told as people would read it."""
    assert json.loads(item_text(value)) == shown


def test_long_values_have_a_short_text() -> None:
    """A set or a frame is not written down whole."""
    assert len(item_text(set(range(10_000)))) < 500
    assert len(item_text(pl.DataFrame({"a": range(10_000)}))) < 500


@pytest.mark.parametrize("value", ["hunter2", 5, None, Path("hunter2")])
def test_a_secret_is_nowhere(value: Any) -> None:
    """Of what nobody may see there is not even the type."""
    assert json.loads(item_text(value, is_secret=True)) == "(hidden)"


# --- the items of an argument -----------------------------------------------------------

MANY: Final = {
    "list": ["b", "a"],
    "tuple": ("b", "a"),
    "keys": {"b": 1, "a": 2}.keys(),
    "generator": (gene for gene in "ba"),
    "polars": pl.Series(["b", "a"]),
    "pandas": pd.Series(["b", "a"], index=[5, 7]),
    "index": pd.Index(["b", "a"]),
    "numpy": np.array(["b", "a"]),
    "arrow": pa.array(["b", "a"]),
    "chunked": pa.chunked_array([["b"], ["a"]]),
}


@pytest.mark.parametrize("kind", MANY)
def test_items_are_whatever_is_many(kind: str) -> None:
    """Items come in the order that they are given in, as values of Python."""
    found = items_in("papers", "gene", MANY[kind])
    assert found == ["b", "a"]
    assert {type(item) for item in found} == {str}


@given(st.sets(st.one_of(st.integers(), st.text(), st.booleans())))
def test_a_set_has_one_order(items: set[Any]) -> None:
    """The order of a set does not depend on the process, nor on how it was filled."""
    found = items_in("papers", "gene", items)
    assert sorted(map(repr, found)) == sorted(map(repr, items))
    assert items_in("papers", "gene", frozenset(sorted(items, key=repr))) == found


@pytest.mark.parametrize(
    "given",
    [
        *("USH2A", b"a", 5, None, {"a": 1}, np.array(5)),
        *(pl.DataFrame({"a": [1]}), pl.LazyFrame({"a": [1]}), pd.DataFrame({"a": [1]})),
        pa.table({"a": [1]}),
    ],
    ids=lambda value: type(value).__module__ + "." + type(value).__name__,
)
def test_one_thing_is_not_many(given: Any) -> None:
    """One text, number, mapping or frame is refused with the call and the parameter."""
    with pytest.raises(OptionError, match=r"papers\(gene=\.\.\.\) expected the items"):
        items_in("papers", "gene", given)


def test_an_error_of_a_generator_is_its_own() -> None:
    """What an iterator raises is not mistaken for anything else."""

    def failing() -> Any:
        yield "a"
        raise ConnectionError("the list can not be had")

    with pytest.raises(ConnectionError, match="the list can not be had"):
        items_in("papers", "gene", failing())


@pytest.mark.parametrize(
    ("column", "size", "how"),
    [
        ("", 0, "one at a time"),
        ("", 5, "in lists"),
        ("gene", 0, "one at a time, rows told by 'gene'"),
        ("gene", 5, "in lists, rows told by 'gene'"),
        ("gene", 9, "in lists, rows told by 'gene'"),
    ],
)
def test_how_items_are_given_is_told_without_how_many(column: str, size: int, how: str) -> None:
    """How many are in a batch, and how many run at a time, is no part of what a map is."""
    assert MapOptions("gene", column, size, Limits(workers=3), None, "skip").how == how


# --- what has to be asked ---------------------------------------------------------------


def answer(number: int, code: str, at: int, **facts: Any) -> Answer:
    """Return what is known of an item."""
    return Answer(str(number), str(number), 1, code, (), 1.0, at)._replace(**facts)


FACTS: Final = st.tuples(
    st.integers(0, 4),
    st.sampled_from(CODES),
    st.integers(1, 100),
    st.sampled_from([(), STANDS, FELL]),
    st.booleans(),
)


def kind_of(  # noqa: PLR0911 - the rule in words
    known: list[Answer], codes: frozenset[str], oldest: int | None, since: int | None
) -> str:
    """Return what is to be done about an item, as the documentation says it."""
    answered = [each for each in known if each.error is None]
    holds = [each for each in answered if each.code in codes]
    last = max(holds, key=lambda each: each.at, default=None)
    if since is not None and (last is None or last.at < since):
        return "refreshed"
    if last is None and answered:
        return "older"
    if last is None and known:
        return "failed"
    if last is None:
        return "missing"
    if oldest is not None and last.at < oldest:
        return "expired"
    if last.reads == FELL:
        return "outdated"
    return "answers"


@given(
    known=st.lists(FACTS, unique_by=(lambda f: f[:2], lambda f: f[2])),
    numbers=st.lists(st.integers(0, 6)),
    codes=st.frozensets(st.sampled_from(CODES)),
    oldest=st.one_of(st.none(), st.integers(0, 100)),
    since=st.one_of(st.none(), st.integers(0, 101)),
)
def test_what_is_to_be_done_about_each_item(
    known: list[Any],
    numbers: list[int],
    codes: frozenset[str],
    oldest: int | None,
    since: int | None,
) -> None:
    """Each item is in one list, for one cause, with the last answer that holds."""
    index = Index()
    of_item: dict[int, list[Answer]] = {}
    for number, code, at, reads, is_failed in known:
        error = ("ValueError", "bad") if is_failed else None
        made = answer(number, code, at, reads=reads, error=error)
        of_item.setdefault(number, []).append(made)
        places = index.failures if is_failed else index.answers
        places.setdefault(str(number), {})[code] = made
    items = [Item(str(number), number, str(number)) for number in numbers]
    found = covered(
        items, index, codes, lambda reads: reads != FELL, oldest=oldest, refreshed_since=since
    )
    kinds = {n: kind_of(of_item.get(n, []), codes, oldest, since) for n in numbers}
    for kind in ("missing", "failed", "expired", "outdated", "refreshed"):
        assert [item.value for item in getattr(found, kind)] == [
            n for n in numbers if kinds[n] == kind
        ]
    older = [(item.value, last) for item, last in found.older]
    assert older == [
        (n, max((a for a in of_item[n] if a.error is None), key=lambda a: a.at))
        for n in numbers
        if kinds[n] == "older"
    ]
    assert found.answers == {
        str(n): max(
            (a for a in of_item[n] if a.error is None and a.code in codes), key=lambda a: a.at
        )
        for n in numbers
        if kinds[n] == "answers"
    }
    assert found.asked == {str(n) for n in numbers if kinds[n] != "answers"}


def test_each_cause_is_told_with_its_number() -> None:
    """People read why items are asked; causes that concern none are left out."""
    index = Index(
        answers={
            "1": {CODES[0]: answer(1, CODES[0], 50)},
            "2": {CODES[0]: answer(2, CODES[0], 1)},
            "3": {CODES[0]: answer(3, CODES[0], 50, reads=FELL)},
            "4": {CODES[1]: answer(4, CODES[1], 50)},
        },
        failures={"5": {CODES[0]: answer(5, CODES[0], 50, error=("E", ""))}},
    )
    items = [Item(str(n), n, str(n)) for n in range(1, 1500)]
    codes = frozenset(CODES[:1])
    found = covered(items, index, codes, lambda reads: reads != FELL, oldest=10)
    assert str(found) == (
        "1,494 new, 1 failed before, 1 expired, 1 read another version, 1 of older code"
    )
    found = covered(items[:2], index, codes, lambda _: True, refreshed_since=10)
    assert str(found) == "1 to be refreshed"
    assert str(covered(items[:1], index, codes, lambda _: True)) == ""


def test_bounds_belong_to_what_is_fresh() -> None:
    """An answer of just that moment is not too old, and is one of the refresh."""
    index = Index(answers={"1": {CODES[0]: answer(1, CODES[0], 50)}})
    items, codes = [Item("1", 1, "1")], frozenset(CODES)
    assert covered(items, index, codes, lambda _: True, oldest=50).asked == set()
    assert covered(items, index, codes, lambda _: True, refreshed_since=50).asked == set()
    assert covered(items, index, codes, lambda _: True, oldest=51).expired == items
    assert covered(items, index, codes, lambda _: True, refreshed_since=51).refreshed == items


def test_what_was_read_is_looked_up_where_something_was() -> None:
    """An answer that read nothing stands whatever is there now."""
    index = Index(answers={"1": {CODES[0]: answer(1, CODES[0], 50)}})
    items = [Item("1", 1, "1")]
    assert covered(items, index, frozenset(CODES), lambda _: False).asked == set()
