"""Calls of a function for items: what it is given, what is sent, whose rows are whose."""

from __future__ import annotations

import datetime as dt
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline import checkpoint, configure
from usher_pipeline.asking import Asking, sorted_rows
from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.fingerprint.binding import Bound
from usher_pipeline.frames import adapter_for
from usher_pipeline.spreading import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usher_pipeline.frames import Packed

STORE: Final = Path("store.duckdb")


@pytest.fixture(autouse=True)
def _store() -> None:
    configure(store=STORE)


def items_of(values: Sequence[Any]) -> list[Item]:
    """Return items as a call has them."""
    return [Item(f"{place:032x}", value, str(value)) for place, value in enumerate(values)]


def packed(frame: Any) -> Packed:
    """Return a frame as it is stored."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return adapter.to_arrow(frame)


# --- the rows of a batch ----------------------------------------------------------------


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, unique=True),
    st.data(),
)
def test_rows_of_a_batch_are_taken_apart(genes: list[str], data: st.DataObject) -> None:
    """The rows of each item are together, in the order of the items, each as it came."""
    column = data.draw(st.lists(st.sampled_from(genes)))
    frame = pl.DataFrame(
        {"n": range(len(column)), "gene": column}, schema_overrides={"gene": pl.String}
    )
    ordered, counts = sorted_rows(packed(frame), items_of(genes), "gene")
    assert counts == [column.count(gene) for gene in genes]
    rows = [(n, gene) for each in genes for n, gene in enumerate(column) if gene == each]
    assert list(zip(*(c.to_pylist() for c in ordered.table.columns), strict=True)) == rows


def test_rows_that_are_in_order_are_not_copied() -> None:
    """A batch that comes in the order of its items is as it is."""
    frame = packed(pl.DataFrame({"gene": ["a", "a", "b"]}))
    assert sorted_rows(frame, items_of("ab"), "gene")[0] is frame


@pytest.mark.parametrize(
    "values",
    [
        [None, "a"],
        [1, 2],
        [0.5, -0.5],
        [dt.date(2026, 2, 16), dt.date(2026, 2, 17)],
        ["\U0001f9ec", ""],
        [b"a", b"b"],
    ],
    ids=repr,
)
def test_items_of_a_batch_may_be_whatever_a_column_holds(values: list[Any]) -> None:
    """Rows find their items by value."""
    frame = pl.DataFrame({"item": values[::-1]})
    _, counts = sorted_rows(packed(frame), items_of(values), "item")
    assert counts == [1, 1]


@pytest.mark.parametrize("values", [[1, True], [1, 1.0], [0.0, -0.0]], ids=repr)
def test_items_that_no_column_can_tell_apart_are_refused(values: list[Any]) -> None:
    """Rows of one would be given to the other, so the error says how to ask for them."""
    with pytest.raises(UnsupportedFrameError, match=r"same for several items .* one at a time"):
        sorted_rows(packed(pl.DataFrame({"item": [1]})), items_of(values), "item")


@pytest.mark.parametrize(
    "column", [[["a"]], [{"x": 1}], [float("nan")], [None], [dt.date(2026, 2, 16)]], ids=repr
)
def test_rows_of_nobody_are_refused(column: list[Any]) -> None:
    """Whatever stands in the column, rows that belong to no item are an error."""
    with pytest.raises(UnsupportedFrameError, match="which nobody asked for"):
        sorted_rows(packed(pl.DataFrame({"item": column})), items_of("a"), "item")


# --- what the function is given ---------------------------------------------------------


@checkpoint(name="asked_pairs")
def pairs(left: int, item: str, *more: int, right: int = 0) -> pl.DataFrame:
    """Return its arguments."""
    return pl.DataFrame({"item": [item], "all": [[left, *more, right]]})


@checkpoint(name="asked_named")
def named(*, item: str, **rest: int) -> pl.DataFrame:
    """Return its arguments."""
    return pl.DataFrame({"item": [item], "all": [list(rest.values())]})


def test_the_item_takes_its_place_among_the_arguments() -> None:
    """By position or by name, with more of both, the function gets what a call gave."""
    frame = pairs.mapped(over="item")(1, ["a", "b"], 2, 3, right=4)
    assert frame.rows() == [("a", [1, 2, 3, 4]), ("b", [1, 2, 3, 4])]
    frame = named.mapped(over="item")(item=["a", "b"], x=5, y=6)
    assert frame.rows() == [("a", [5, 6]), ("b", [5, 6])]


def test_what_goes_to_another_process_holds_no_items() -> None:
    """A task is sent with its own item alone, not with all of them each time."""
    many = [f"G{number}" for number in range(10_000)]
    bound = Bound({}, {}, (1, many, 2), {"right": 3})
    asking = Asking.of(pairs, bound, "item", STORE)
    assert len(pickle.dumps(asking)) < 2000
    again = pickle.loads(pickle.dumps(asking))  # noqa: S301
    bound = Bound({}, {}, (), {"item": many, "x": 5})
    by_name = Asking.of(named, bound, "item", STORE)
    assert len(pickle.dumps(by_name)) < 2000
    assert by_name.begun("USH2A").rows() == [("USH2A", [5])]
    assert again.begun("USH2A").rows() == [("USH2A", [1, 2, 3])]
