"""The work of a call for many items: what is asked, committed, held and put together."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import linecache
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import polars as pl
import pytest

from usher_pipeline import checkpoint, configure, entries, harvesting, load, resuming
from usher_pipeline.errors import (
    CodeChangedError,
    MapIncompleteError,
    UsherWarning,
)
from usher_pipeline.frames import adapter_for
from usher_pipeline.persistence.maps import StoredMap
from usher_pipeline.spreading import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.mapparts import Answer

STORE: Final = Path("store.duckdb")
MAPS: Final = Path("store.checkpoints", ".maps")


@pytest.fixture(autouse=True)
def _store() -> None:
    configure(store=STORE)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each answer be worth a commit of its own."""
    monkeypatch.setattr(resuming, "_TIMES_COST", 0.0)
    monkeypatch.setattr(resuming, "_SHARE_OF_LOSS", 0.0)


def mapped_of(function: Any, name: str, **options: Any) -> Any:
    """Return a map over the first parameter of a function, whose code does not count."""
    over = function.__code__.co_varnames[0]
    return checkpoint(name=name, version="1")(function).mapped(over=over, **options)


def items_of(values: Sequence[Any]) -> list[Item]:
    """Return items as a call has them."""
    return [Item(f"{place:032x}", value, str(value)) for place, value in enumerate(values)]


def packed(frame: Any) -> Packed:
    """Return a frame as it is stored."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return adapter.to_arrow(frame)


# --- batches ----------------------------------------------------------------------------


def test_a_batch_that_can_not_be_taken_apart_fails_alone() -> None:
    """The items of such a batch failed, and those of the others are stored."""

    def listed(items: list[Any]) -> pl.DataFrame:
        texts = [item for item in items if isinstance(item, str)]
        return pl.DataFrame({"item": texts or ["a"]})

    scan = mapped_of(listed, "apart", item_column="item", batch_size=2)
    with pytest.raises(MapIncompleteError, match="2 of 4 items failed") as caught:
        scan([["a"], ["b"], "c", "d"])
    assert caught.value.frame["item"].to_list() == ["c", "d"]


# --- what goes to those who ask ---------------------------------------------------------


# --- commits ----------------------------------------------------------------------------


def parts() -> list[str]:
    """Return which parts are stored."""
    return sorted(path.stem for path in MAPS.rglob("*.items"))


def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many items each commit is of, as they come."""
    sizes: list[int] = []
    plain = StoredMap.add

    def counted(self: StoredMap, frame: Any, answers: Sequence[Answer]) -> None:
        sizes.append(len(answers))
        plain(self, frame, answers)

    monkeypatch.setattr(StoredMap, "add", counted)
    return sizes


def one(item: Any) -> pl.DataFrame:
    """Return a row that names the item."""
    return pl.DataFrame({"item": [str(item)]})


def test_what_waits_is_committed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers wait for no longer than a few seconds, however dear a commit is."""
    monkeypatch.setattr(harvesting, "commit_after_s", lambda *_: 1000.0)
    sizes = commits(monkeypatch)
    mapped_of(one, "rare")(range(20))
    assert sizes == [20]
    monkeypatch.setattr(harvesting, "_LONGEST_S", 0.0)
    mapped_of(one, "often")(range(20))
    assert sizes[1:] == [1] * 20


def test_what_waits_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are committed as soon as they are many."""
    monkeypatch.setattr(harvesting, "commit_after_s", lambda *_: 1000.0)
    monkeypatch.setattr(harvesting, "_MOST_BYTES", 3 * harvesting._FRAME_BYTES)
    sizes = commits(monkeypatch)
    mapped_of(one, "full")(range(6))
    assert sizes == [3, 3]


def test_a_map_ends_in_few_files(at_once: None) -> None:
    """At the end of a call small parts are put together."""
    mapped_of(one, "few")(range(5))
    assert parts() == ["00000001-00000005"]


def test_of_many_blocks_the_rows_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that is larger than memory is for comes block by block."""
    monkeypatch.setattr("usher_pipeline.persistence.maps._BLOCK_BYTES", 1)
    scan = mapped_of(one, "blocks")
    scan([3, 1])
    assert scan([2, 3, 1])["item"].to_list() == ["2", "3", "1"]


def test_the_cost_is_that_of_all_answers(at_once: None) -> None:
    """What took long once is dear in every result that it stands in."""

    def slow(item: int) -> pl.DataFrame:
        time.sleep(0.05)
        return pl.DataFrame({"item": [item]})

    scan = mapped_of(slow, "slow")
    scan(range(5))
    scan([5])
    scan(range(6))
    newest, one_item, oldest = entries("slow")
    # What is never shorter than what was slept; the last call itself slept for nothing.
    assert newest.cost.elapsed_s > 0.2
    facts = [each.mapped for each in (newest, one_item, oldest)]
    assert [(each.item_count, each.asked_count) for each in facts if each is not None] == [
        (6, 0),
        (1, 1),
        (5, 5),
    ]
    assert {each.over for each in facts if each is not None} == {"item"}
    latest = [each.latest for each in facts if each is not None]
    assert latest[0] == latest[1] > latest[2]


def test_numbers_of_answers_grow_although_the_clock_goes_back(
    at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said later counts, also where the clock says something earlier."""
    values = iter([1, 2])

    def counting(item: str) -> pl.DataFrame:
        return pl.DataFrame({"item": [item], "n": [next(values)]})

    scan = mapped_of(counting, "clocks")
    scan(["a"])
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    assert scan.refresh(["a"])["n"].to_list() == [2]
    assert scan(["a"])["n"].to_list() == [2]


# --- rows that are not like the others --------------------------------------------------


def test_other_columns_after_an_edit_are_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What older code made does not say what columns the code of now may give."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def edited(columns: str) -> Any:
        source = (
            f"import polars as pl\ndef rows(item):\n    return pl.DataFrame({{{columns}}})\n"
        )
        (tmp_path / "edited_rows.py").write_text(source)
        sys.modules.pop("edited_rows", None)
        importlib.invalidate_caches()
        linecache.checkcache()
        module = importlib.import_module("edited_rows")
        return checkpoint(name="edited_rows")(module.rows).mapped(over="item")

    first = edited("'a': [item]")
    assert first(["x", "y"]).columns == ["a"]
    del first
    second = edited("'a': [item], 'b': [len(item)]")
    assert second(["x", "y", "zz"]).rows() == [("x", 1), ("y", 1), ("zz", 2)]
    assert second(["zz"]).rows() == [("zz", 2)]
    del second
    third = edited("'a': [len(item)]")
    assert third(["x"]).rows() == [(1,)]
    assert third.partial().collect().rows() == [(1,)]
    assert not any(each.name.endswith(".tmp") for each in MAPS.rglob("*"))


def test_other_columns_since_a_refresh_are_no_failure(at_once: None) -> None:
    """To ask all again is the way to rows of other columns, also in two goes."""
    columns, fails = ["a"], set[str]()

    def rows(item: str) -> pl.DataFrame:
        if item in fails:
            raise ValueError("bad")
        return pl.DataFrame({column: [item] for column in columns})

    scan = mapped_of(rows, "columns")
    scan(["x", "y"])
    columns.append("b")
    with pytest.raises(MapIncompleteError, match=r"columns of frame 2 is a, b, not a"):
        scan(["x", "z"])
    fails.add("y")
    with pytest.raises(MapIncompleteError, match="1 of 3 items failed: 'y'"):
        scan.refresh(["x", "y", "z"])
    fails.clear()
    assert scan.refresh(["x", "y", "z"]).rows() == [("x", "x"), ("y", "y"), ("z", "z")]


def test_rows_of_another_kind_fail_alone(at_once: None) -> None:
    """A frame of another library is refused for its item, whenever it comes."""

    def kinds(item: str) -> Any:
        return pd.DataFrame({"item": [item]}) if item == "b" else pl.DataFrame({"item": [item]})

    scan = mapped_of(kinds, "other_kinds")
    with pytest.raises(MapIncompleteError, match="1 of 3 items failed: 'b'") as caught:
        scan(["a", "b", "c"])
    assert caught.value.frame["item"].to_list() == ["a", "c"]


@pytest.mark.parametrize("together", [True, False])
def test_one_odd_frame_among_many_fails_alone(
    monkeypatch: pytest.MonkeyPatch, *, together: bool
) -> None:
    """Whether it is committed with the others or after them, it is the only one that fails."""
    monkeypatch.setattr(harvesting, "commit_after_s", lambda *_: 1000.0 if together else 0.0)

    def odd(item: int) -> pl.DataFrame:
        return pl.DataFrame({"item": ["odd" if item == 3 else item]})

    scan = mapped_of(odd, "odd_ones")
    with pytest.raises(MapIncompleteError, match="1 of 6 items failed: 3") as caught:
        scan(range(6))
    assert caught.value.frame["item"].to_list() == [0, 1, 2, 4, 5]
    assert [failure.item for failure in scan.failures()] == [3]


# --- texts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        *(None, float("nan"), -0.0, ("chr1", 5), Path("genes.tsv"), dt.date(2026, 2, 16)),
        *([["a"], [1]], "x" * 1_000_000, "\ud800", "a\udcffb", b"x", {"a": 1}, {1: "a"}),
    ],
    ids=lambda item: ascii(item)[:20],
)
def test_items_of_any_sort_are_asked_once(item: Any) -> None:
    """Whatever an argument may be is an item, and is told again as it was or as a text."""
    asked: list[Any] = []

    def rows(item: Any, log: Any = asked) -> pl.DataFrame:
        log.append(item)
        return pl.DataFrame({"type": [type(item).__name__]})

    found = checkpoint(name="sorts", version="1", ignore=["log"])(rows).mapped(over="item")
    assert found([item])["type"].to_list() == [type(item).__name__]
    assert found([item, item]).height == 1
    assert found(["another", item]).height == 2
    assert [repr(each) for each in asked] == [repr(item), repr("another")]


@pytest.mark.parametrize("item", ["\ud800", "a\udcffb", "\udcff\udcfe"])
def test_what_is_no_unicode_fails_as_anything_else(item: str) -> None:
    """The name of a file may hold any bytes, and so may what an error says of it."""

    def failing(name: str) -> pl.DataFrame:
        raise FileNotFoundError(f"no file {name}")

    scan = mapped_of(failing, "no_unicode")
    with pytest.raises(MapIncompleteError, match="1 of 1 items failed"):
        scan([item])
    (failure,) = scan.failures()
    assert failure.item == item
    assert failure.message == f"no file {item}".encode(errors="backslashreplace").decode()
    json.dumps(failure.message).encode()


# --- trouble with the disk --------------------------------------------------------------


def full(*_: Any) -> None:
    """Stand for a disk that is full."""
    raise OSError(28, "No space left on device")


def test_a_batch_that_can_not_be_stored_is_in_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows of a batch that is in memory alone are those of their items, in their order."""

    def batch(items: list[str]) -> pl.DataFrame:
        found = [item for item in reversed(items) if item != "-"] * 2
        return pl.DataFrame({"item": found}, schema={"item": pl.String})

    scan = mapped_of(batch, "memory", item_column="item", batch_size=2)
    scan(["d"])
    with monkeypatch.context() as patch:
        patch.setattr(StoredMap, "_commit", full)
        with pytest.warns(UsherWarning, match="its rows are in memory alone"):
            frame = scan(["a", "d", "-", "b", "c"])
    assert frame["item"].to_list() == ["a", "a", "d", "d", "b", "b", "c", "c"]
    assert frame.equals(load("memory"))
    assert parts() == ["00000001-00000001"]


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be committed is committed with what comes later."""
    plain, count = StoredMap._commit, 0

    def at_times(self: StoredMap, *args: Any) -> None:
        nonlocal count
        count += 1
        if count in (1, 2, 5):
            full()
        plain(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StoredMap, "_commit", at_times)
        with pytest.warns(UsherWarning, match="its rows are in memory alone"):
            frame = mapped_of(one, "while")(range(10))
    assert frame["item"].to_list() == [str(number) for number in range(10)]
    again = mapped_of(one, "while").load(range(10))
    assert again.equals(frame)


def test_rows_that_turn_out_damaged_and_fail_again_are_told(at_once: None) -> None:
    """An item whose rows are damaged and that can not be had again is a failure."""
    fails: set[str] = set()

    def rows(item: str) -> pl.DataFrame:
        if item in fails:
            raise ConnectionError("the line is dead")
        return pl.DataFrame({"item": [item]})

    scan = mapped_of(rows, "damaged")
    scan(["a", "b"])
    (file,) = MAPS.rglob("*.rows")
    file.write_bytes(file.read_bytes()[:-20])
    fails.add("b")
    with (
        pytest.warns(UsherWarning, match="rows of 2 items are damaged"),
        pytest.raises(MapIncompleteError, match="'b': ConnectionError: the line is dead"),
    ):
        scan(["b", "c", "a"])
    fails.clear()
    assert scan(["b", "c", "a"])["item"].to_list() == ["b", "c", "a"]


def test_an_error_of_this_library_stays_what_it_is() -> None:
    """`CodeChangedError` of a checkpoint that an item calls is a failure of the item."""

    def calling(item: str) -> pl.DataFrame:
        raise CodeChangedError("inner", ["f() changed"], "something", 5.0, None)

    with pytest.raises(MapIncompleteError, match=r"usher_pipeline\.errors\.CodeChangedError"):
        mapped_of(calling, "inner_calls")(["a"])
