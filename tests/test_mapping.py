"""A function that is asked for many items, each of which is asked once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from usher_pipeline import (
    Resume,
    checkpoint,
    configure,
    entries,
    harvesting,
    load,
    resuming,
    run,
)
from usher_pipeline.errors import (
    ChangedMeanwhileError,
    CheckpointMissError,
    CheckpointNotSaved,
    CodeChangedError,
    MapIncompleteError,
    OptionError,
    StaleResultWarning,
    StoreError,
    UnsupportedFrameError,
    UsherWarning,
)
from usher_pipeline.persistence import PipelineStore, mapparts, publisher
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.mapped import Mapped
from usher_pipeline.persistence.maps import StoredMap
from usher_pipeline.records import Blocked, Bypass, Hit, Miss, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORE = Path("store.duckdb")
MAPS = Path("store.checkpoints", ".maps")


class Api:
    """Answers for genes; it fails where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: set[str] = set()
        self.error: Callable[[str], BaseException] = lambda gene: ValueError(f"bad {gene}")
        self.rows = 2

    def papers(self, gene: str) -> pl.DataFrame:
        """Return the rows of a gene; of one that begins with a dash there are none."""
        self.asked.append(gene)
        if gene in self.fails:
            raise self.error(gene)
        count = 0 if gene.startswith("-") else self.rows
        return pl.DataFrame(
            {"gene": [gene] * count, "n": range(count)}, schema={"gene": pl.String, "n": int}
        )

    def told(self) -> list[str]:
        """Return what was asked since it was told last, in the order of names."""
        asked, self.asked = sorted(self.asked), []
        return asked


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each answer is worth a commit of its own.
    monkeypatch.setattr(resuming, "_TIMES_COST", 0.0)
    monkeypatch.setattr(resuming, "_SHARE_OF_LOSS", 0.0)
    configure(store=STORE)


@pytest.fixture
def api() -> Api:
    """An API that answers."""
    return Api()


def papers_of(api: Api, **options: Any) -> Any:
    """Return a checkpoint that asks an API for one gene."""

    @checkpoint(name="papers", ignore=["of"], **options)
    def papers(gene: str, year: int = 2000, *, of: Api = api) -> pl.DataFrame:
        return of.papers(gene).with_columns(year=pl.lit(year))

    return papers


def genes_in(frame: pl.DataFrame) -> list[str]:
    """Return the genes of a frame, each once, in order."""
    return list(dict.fromkeys(frame["gene"].to_list()))


# --- what a call returns ----------------------------------------------------------------


def test_it_returns_the_rows_of_the_items_in_their_order(api: Api) -> None:
    """The rows of exactly the items of the call, in their order, one given twice once."""
    scan = papers_of(api).mapped(over="gene", workers=3)
    frame = scan(["c", "a", "b", "a"])
    assert frame.to_dict(as_series=False) == {
        "gene": ["c", "c", "a", "a", "b", "b"],
        "n": [0, 1] * 3,
        "year": [2000] * 6,
    }
    assert api.told() == ["a", "b", "c"]
    assert scan(["b", "c"])["gene"].to_list() == ["b", "b", "c", "c"]
    assert api.told() == []


def test_only_what_is_missing_is_asked(api: Api) -> None:
    """With other items those alone are asked that nobody asked before."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    api.told()
    assert genes_in(scan(["d", "b", "c"])) == ["d", "b", "c"]
    assert api.told() == ["c", "d"]


def test_the_other_arguments_are_what_the_items_have_in_common(api: Api) -> None:
    """With another constant argument all items are others."""
    scan = papers_of(api).mapped(over="gene")
    assert scan(["a"], year=1999)["year"].to_list() == [1999, 1999]
    assert scan(["a"], year=2001)["year"].to_list() == [2001, 2001]
    assert scan(["a"], year=1999)["year"].to_list() == [1999, 1999]
    assert api.told() == ["a", "a"]


def test_an_item_without_rows_is_done(api: Api) -> None:
    """An item that gave no rows is not asked again."""
    scan = papers_of(api).mapped(over="gene")
    assert genes_in(scan(["-x", "a", "-y"])) == ["a"]
    assert scan(["-x", "-y"]).schema == {"gene": pl.String, "n": pl.Int64, "year": pl.Int32}
    assert scan(["-x"]).height == 0
    assert api.told() == ["-x", "-y", "a"]


def test_an_empty_frame_may_have_no_columns_at_all() -> None:
    """What has no rows need not have the columns of what has some."""

    @checkpoint(name="sparse")
    def sparse(item: int) -> pl.DataFrame:
        return pl.DataFrame({"item": [item]}) if item else pl.DataFrame()

    scan = sparse.mapped(over="item")
    assert scan([0]).shape == (0, 0)
    assert scan([0, 2, 1])["item"].to_list() == [2, 1]
    assert scan([0]).shape == (0, 0)


def test_no_items_are_an_error_that_says_so(api: Api) -> None:
    """Of no items at all there are the columns, once anything is stored that has some."""
    scan = papers_of(api).mapped(over="gene")
    with pytest.raises(OptionError, match="at least one item"):
        scan([])
    frame = scan(["a"])
    assert scan([]).schema == frame.schema


@pytest.mark.parametrize(
    "items",
    [
        ("a", "b"),
        {"b", "a"},
        {"a": 1, "b": 2}.keys(),
        pl.Series(["a", "b"]),
        pd.Series(["a", "b"]),
        pa.array(["a", "b"]),
        (gene for gene in "ab"),
    ],
    ids=lambda items: type(items).__module__ + "." + type(items).__name__,
)
def test_items_are_whatever_is_many(api: Api, items: Any) -> None:
    """Lists, sets, columns of frames and generators are items."""
    scan = papers_of(api).mapped(over="gene")
    assert genes_in(scan(items)) == ["a", "b"]
    assert genes_in(scan(gene=["a", "b"])) == ["a", "b"]
    assert api.told() == ["a", "b"]


@pytest.mark.parametrize("items", ["a", b"a", 5, {"a": 1}, pl.DataFrame({"gene": ["a"]})])
def test_one_thing_is_not_many(api: Api, items: Any) -> None:
    """One text, number, mapping or frame is refused, since it is no list of items."""
    with pytest.raises(OptionError, match=r"papers\(gene=\.\.\.\) expected the items"):
        papers_of(api).mapped(over="gene")(items)


def test_a_sweep_over_a_threshold() -> None:
    """Items are anything that an argument may be."""

    @checkpoint(name="passing")
    def passing(cutoff: float, scores: list[float]) -> pl.DataFrame:
        return pl.DataFrame({"cutoff": [cutoff], "n": [sum(s > cutoff for s in scores)]})

    sweep = passing.mapped(over="cutoff")([0.5, 0.6, 0.7], [0.55, 0.65, 0.75])
    assert sweep["n"].to_list() == [3, 2, 1]


def test_equal_items_of_other_types_are_others() -> None:
    """1, 1.0 and True are three items, as they are three arguments."""
    asked: list[Any] = []

    @checkpoint(name="typed", ignore=["log"])
    def typed(value: Any, log: list[Any] = asked) -> pl.DataFrame:
        log.append(value)
        return pl.DataFrame({"type": [type(value).__name__]})

    frame = typed.mapped(over="value")([1, 1.0, True, None])
    assert frame["type"].to_list() == ["int", "float", "bool", "NoneType"]


# --- batches ----------------------------------------------------------------------------


def batched_of(asked: list[list[str]]) -> Any:
    """Return a checkpoint that is asked for lists of genes, and answers in its own order."""

    @checkpoint(name="batched", ignore=["log"])
    def batched(genes: list[str], log: list[list[str]] = asked) -> pl.DataFrame:
        log.append(list(genes))
        found = [gene for gene in reversed(genes) if not gene.startswith("-")] * 2
        return pl.DataFrame({"n": range(len(found)), "gene": found})

    return batched


def test_a_batch_is_taken_apart_by_the_item_column() -> None:
    """Rows of a batch are kept under their items, in the order that the function gave."""
    asked: list[list[str]] = []
    scan = batched_of(asked).mapped(over="genes", item_column="gene", batch_size=3)
    frame = scan(["a", "-b", "c", "d"])
    assert asked == [["a", "-b", "c"], ["d"]]
    assert frame["gene"].to_list() == ["a", "a", "c", "c", "d", "d"]
    assert frame["n"].to_list() == [1, 3, 0, 2, 0, 1]
    assert scan(["d", "-b", "a"])["gene"].to_list() == ["d", "d", "a", "a"]
    assert len(asked) == 2
    scan(["-b", "e", "c"])
    assert asked[2:] == [["e"]]


def test_a_row_of_an_item_that_nobody_asked_for_is_an_error() -> None:
    """Rows that belong to no item of the batch would be lost, so the batch fails."""

    @checkpoint(name="renaming")
    def renaming(genes: list[str]) -> pl.DataFrame:
        return pl.DataFrame({"gene": [gene.upper() for gene in genes]})

    scan = renaming.mapped(over="genes", item_column="gene", batch_size=2)
    with pytest.raises(MapIncompleteError, match="rows of 'A', 'B', which nobody asked for"):
        scan(["a", "b"])


def test_a_batch_without_the_item_column_is_an_error() -> None:
    """Without the column nobody could tell whose rows they are."""

    @checkpoint(name="nameless")
    def nameless(genes: list[str]) -> pl.DataFrame:
        return pl.DataFrame({"symbol": genes})

    scan = nameless.mapped(over="genes", item_column="gene", batch_size=2)
    with pytest.raises(MapIncompleteError, match=r"'gene' .*missing among 'symbol'"):
        scan(["a"])


def test_how_many_are_in_a_batch_is_no_part_of_an_item() -> None:
    """Another size of batches asks nothing again."""
    asked: list[list[str]] = []
    batched = batched_of(asked)
    batched.mapped(over="genes", item_column="gene", batch_size=2)(["a", "b", "c"])
    batched.mapped(over="genes", item_column="gene", batch_size=5)(["c", "b", "a"])
    assert asked == [["a", "b"], ["c"]]


# --- failures ---------------------------------------------------------------------------


def test_an_item_that_fails_does_not_stop_the_others(api: Api) -> None:
    """All others are asked and stored; the error has each cause, and the rows of the rest."""
    api.fails = {"b"}
    scan = papers_of(api).mapped(over="gene")
    with pytest.raises(MapIncompleteError, match=r"1 of 3 items failed: 'b': ValueError") as c:
        scan(["a", "b", "c"])
    assert api.told() == ["a", "b", "c"]
    assert genes_in(c.value.frame) == ["a", "c"]
    (failure,) = c.value.failures
    assert (failure.item, failure.error_type, failure.message) == ("b", "ValueError", "bad b")
    assert scan.failures() == [failure]
    assert scan.failures(["a", "c"]) == []
    api.fails = set()
    assert genes_in(scan(["a", "b", "c"])) == ["a", "b", "c"]
    assert api.told() == ["b"]
    assert scan.failures() == []


def test_collect_returns_what_there_is_and_warns(api: Api) -> None:
    """What is not whole is returned, and is a result for nobody."""
    api.fails = {"b"}
    scan = papers_of(api).mapped(over="gene", on_error="collect")
    with pytest.warns(CheckpointNotSaved, match="1 of 2 items failed: 'b': ValueError: bad b"):
        frame = scan(["a", "b"])
    assert genes_in(frame) == ["a"]
    assert entries("papers") == []
    api.fails = set()
    assert genes_in(scan(["a", "b"])) == ["a", "b"]
    assert api.told() == ["a", "b", "b"]


def test_raise_stops_at_the_first_failure(api: Api) -> None:
    """The error is that of the function, and what was done before is stored."""
    api.fails = {"c"}
    scan = papers_of(api).mapped(over="gene", on_error="raise")
    with pytest.raises(ValueError, match="bad c") as caught:
        scan(list("abcdef"))
    assert "2 of 6 items are stored" in caught.value.__notes__[0]
    assert api.told() == ["a", "b", "c"]
    api.fails = set()
    scan(list("abcdef"))
    assert api.told() == ["c", "d", "e", "f"]


def test_what_may_pass_is_tried_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is tried again, an error of the parser is not."""
    monkeypatch.setattr("usher_pipeline.dispatching._FIRST_WAIT_S", 0.001)
    api.fails = {"a"}
    api.error = lambda _: ConnectionResetError("lost")
    scan = papers_of(api).mapped(over="gene", retries=2)
    with pytest.raises(MapIncompleteError, match=r"ConnectionResetError: lost .3 attempts"):
        scan(["a"])
    assert api.told() == ["a"] * 3
    api.error = lambda _: KeyError("title")
    with pytest.raises(MapIncompleteError, match="KeyError: 'title'"):
        scan(["a"])
    assert api.told() == ["a"]


def test_what_takes_too_long_fails(api: Api) -> None:
    """A time limit is a failure of the item, and the others go on."""

    @checkpoint(name="hanging")
    def hanging(gene: str) -> pl.DataFrame:
        if gene == "b":
            threading.Event().wait(30)
        return api.papers(gene)

    scan = hanging.mapped(over="gene", timeout_s=2)
    with pytest.raises(MapIncompleteError, match="TimeoutError: the attempt took longer"):
        scan(["a", "b", "c"])
    assert genes_in(scan.partial().collect()) == ["a", "c"]


def test_a_frame_that_is_not_like_the_others_is_a_failure(api: Api) -> None:
    """Rows that do not fit below those of the others fail; nothing else does."""

    @checkpoint(name="mixed")
    def mixed(item: int) -> pl.DataFrame:
        value: Any = "text" if item == 2 else item
        return pl.DataFrame({"value": [value]})

    scan = mixed.mapped(over="item")
    with pytest.raises(MapIncompleteError, match=r"2: .*String, while those before") as caught:
        scan([1, 2, 3])
    assert caught.value.frame["value"].to_list() == [1, 3]
    assert len(scan.failures()) == 1


@pytest.mark.parametrize("result", [None, 5, {"a": pl.DataFrame({"x": [1]})}], ids=repr)
def test_what_is_no_frame_is_a_failure(result: Any) -> None:
    """An item gives a frame; a dict of frames or anything else is refused for the item."""

    @checkpoint(name="odd", ignore=["given"])
    def odd(item: int, given: Any = result) -> Any:
        return pl.DataFrame({"x": [item]}) if item else given

    with pytest.raises(MapIncompleteError, match=r"0: .*InvalidResultError"):
        odd.mapped(over="item")([1, 0])


def test_credentials_in_errors_are_hidden(api: Api) -> None:
    """What an error says of a token is stored nowhere and shown nowhere."""
    api.fails = {"a"}
    api.error = lambda _: ConnectionError("https://x.org/q?api_key=s3cr3t-t0ken refused")
    scan = papers_of(api).mapped(over="gene")
    with pytest.raises(MapIncompleteError, match=r"api_key=\(hidden\)"):
        scan(["a"])
    assert "(hidden)" in scan.failures()[0].message
    stored = b"".join(path.read_bytes() for path in MAPS.rglob("*") if path.is_file())
    assert b"s3cr3t" not in stored


# --- stopping and going on --------------------------------------------------------------


def test_ctrl_c_stores_what_is_done(api: Api) -> None:
    """What was answered is stored, and the message says how to go on."""
    api.fails = {"d"}
    api.error = lambda _: KeyboardInterrupt()
    scan = papers_of(api).mapped(over="gene")
    with pytest.raises(KeyboardInterrupt, match="items are stored") as caught:
        scan(list("abcdef"))
    assert caught.value.__notes__[0].startswith("papers: 3 of 6 items are stored. Call it")
    api.fails = set()
    api.told()
    scan(list("abcdef"))
    assert api.told() == ["d", "e", "f"]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcdefgh-"), min_size=1, max_size=6),
            st.sets(st.sampled_from("abcdefgh"), max_size=2),
            st.sampled_from(["call", "refresh"]),
        ),
        max_size=6,
    )
)
@settings(max_examples=40)
def test_calls_of_any_items_in_any_order(steps: Any) -> None:
    """Whatever is called, each item is asked while it is missing, and the rows are its own."""
    api = Api()
    scan = papers_of(api).mapped(over="gene", workers=2)
    papers = papers_of(api)
    papers.clear()
    done: set[str] = set()
    # A refresh that is not at its end: of which items, and what was answered since it began.
    refreshing, since = None, set[str]()
    for items, fails, verb in steps:
        api.fails = fails
        wanted = list(dict.fromkeys(items))
        call = scan if verb == "call" else scan.refresh
        if verb == "refresh" and refreshing != items:
            refreshing, since = items, set()
        asked = set(wanted) - (done if verb == "call" else since)
        failed = asked & fails
        if failed:
            with pytest.raises(MapIncompleteError, match="failed") as caught:
                call(items)
            assert {each.item for each in caught.value.failures} == failed
        else:
            frame = call(items)
            assert genes_in(frame) == [gene for gene in wanted if gene != "-"]
        assert set(api.told()) == asked
        done |= asked - failed
        since |= asked - failed
        if items == refreshing and not failed and (asked or verb == "refresh"):
            refreshing = None


def test_a_refresh_asks_all_and_goes_on_where_it_was_stopped(api: Api) -> None:
    """What a refresh had asked before it was stopped is not asked again by the next one."""
    scan = papers_of(api).mapped(over="gene")
    scan(list("abcd"))
    api.told()
    api.rows, api.fails = 3, {"c"}
    api.error = lambda _: KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="items are stored"):
        scan.refresh(list("abcd"))
    assert api.told() == ["a", "b", "c"]
    api.fails = set()
    assert scan.refresh(list("abcd")).height == 12
    assert api.told() == ["c", "d"]
    assert scan.refresh(list("abcd")).height == 12
    assert api.told() == ["a", "b", "c", "d"]


def test_a_refresh_that_another_call_ended_has_ended(api: Api) -> None:
    """What a refresh lacked may be answered by a plain call; the next refresh asks all."""
    scan = papers_of(api).mapped(over="gene")
    api.fails = {"b"}
    with pytest.raises(MapIncompleteError, match="'b'"):
        scan.refresh(["a", "b"])
    api.fails = set()
    scan(["a", "b"])
    assert api.told() == ["a", "b", "b"]
    scan.refresh(["a", "b"])
    assert api.told() == ["a", "b"]


def test_an_item_that_was_refreshed_is_new_in_every_result(api: Api) -> None:
    """A result that holds older rows of an item answers no more."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    api.rows = 3
    scan.refresh(["b"])
    assert scan(["a", "b"])["gene"].to_list() == ["a"] * 2 + ["b"] * 3
    assert api.told() == ["a", "b", "b"]


# --- older code -------------------------------------------------------------------------


def edited(api: Api, factor: int, **options: Any) -> Any:
    """Return a checkpoint whose code is another one for each factor."""
    options = {"name": "scores", "ignore": ["of"], **options}
    if factor == 1:

        @checkpoint(**options)
        def scores(gene: str, of: Api = api) -> pl.DataFrame:
            return of.papers(gene).with_columns(score=pl.lit(1))

        return scores

    @checkpoint(**options)
    def other_scores(gene: str, of: Api = api) -> pl.DataFrame:
        return of.papers(gene).with_columns(score=pl.lit(2))

    return other_scores


def test_after_an_edit_costly_items_are_asked_about(api: Api) -> None:
    """Before anything runs the call says what changed, and what of it concerns how much."""
    first = edited(api, 1)
    first.mapped(over="gene")(["a", "b"])
    api.told()
    del first
    second = edited(api, 2)
    scan = second.mapped(over="gene")
    with run(costly_s=0):
        assert isinstance(scan.explain(["a", "b", "c"]), Blocked)
        with pytest.raises(CodeChangedError, match=r"2 of 3 items that took") as caught:
            scan(["a", "b", "c"])
        assert "scores.mapped(over='gene').accept(...)" in str(caught.value)
        assert "scores.mapped(over='gene').refresh(...)" in str(caught.value)
        assert caught.value.changes
        assert api.told() == []
        assert scan.accept() == 2
        assert scan.accept() == 0
        assert scan(["a", "b", "c"])["score"].to_list() == [1, 1, 1, 1, 2, 2]
        assert api.told() == ["c"]
    step = second.entries()[0].step()
    assert [each["how"] for each in step.details["accepted"]] == ["accept()"]
    assert step.details["mapped"]["item_count"] == 3


def test_after_an_edit_partial_tells_that_nothing_is_lost(api: Api) -> None:
    """What older code made is stored, and is there again once it is accepted."""
    first = edited(api, 1)
    first.mapped(over="gene")(["a", "b"])
    del first
    second = edited(api, 2)
    scan = second.mapped(over="gene")
    for arguments in ((), (["b", "a", "c"],)):
        with pytest.raises(CheckpointMissError, match="all 2 items that are stored"):
            scan.partial(*arguments)
    scan.accept()
    assert scan.partial().collect().height == 4


def test_after_an_edit_cheap_items_are_asked_again(api: Api) -> None:
    """What took little is asked anew, and what the older code made stays for it."""
    first = edited(api, 1)
    first.mapped(over="gene")(["a", "b"])
    del first
    second = edited(api, 2)
    assert second.mapped(over="gene")(["a"])["score"].to_list() == [2, 2]
    assert api.told() == ["a", "a", "b"]
    del second
    third = edited(api, 1)
    assert third.mapped(over="gene")(["b", "a"])["score"].to_list() == [1] * 4
    assert api.told() == []


@pytest.mark.parametrize(
    ("policy", "score", "asked"), [("accept", 1, []), ("recompute", 2, ["a"])]
)
def test_a_policy_decides_about_older_code(
    api: Api, policy: str, score: int, asked: list[str]
) -> None:
    """`on_code_change` holds for items as it does for results."""
    first = edited(api, 1)
    first.mapped(over="gene")(["a"])
    api.told()
    del first
    second = edited(api, 2, on_code_change=policy)
    with run(costly_s=0):
        assert second.mapped(over="gene")(["a"])["score"].to_list() == [score] * 2
        assert second.mapped(over="gene")(["a"])["score"].to_list() == [score] * 2
    assert api.told() == asked


def test_items_of_older_code_that_came_while_a_call_waited_are_asked_about(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is edited while a scan runs, and called beside it, throws none of its hours away."""
    first = edited(api, 1)
    first.mapped(over="gene")(["a", "b"])
    api.told()
    del first
    MAPS.rename("meanwhile")
    second = edited(api, 2)
    scan = second.mapped(over="gene")
    take = LocalBackend.single_flight

    def take_late(*args: Any) -> Any:
        if Path("meanwhile").exists():
            Path("meanwhile").rename(MAPS)
        return take(*args)

    monkeypatch.setattr(LocalBackend, "single_flight", take_late)
    with run(costly_s=0), pytest.raises(CodeChangedError, match=r"2 of 3 items that took"):
        scan(["a", "b", "c"])
    assert api.told() == []


def test_accept_of_the_checkpoint_is_for_its_maps_as_well(api: Api) -> None:
    """What is said of all that is stored of a function concerns the items of its maps."""
    first = edited(api, 1)
    first.mapped(over="gene")(["a", "b"])
    api.told()
    del first
    second = edited(api, 2)
    assert second.accept() >= 2
    second.mapped(over="gene")(["b", "a"])
    assert api.told() == []


def test_accept_with_arguments_is_for_those_alone(api: Api) -> None:
    """Another map of the same function is not concerned."""
    papers = papers_of(api)
    scan = papers.mapped(over="gene")
    scan(["a"], year=1)
    scan(["a"], year=2)
    del papers, scan
    later = papers_of(api, version="2").mapped(over="gene")
    with pytest.raises(CheckpointMissError, match="no item of it is stored"):
        later.accept(["a"], year=1)


# --- what it stands on ------------------------------------------------------------------


def test_an_item_that_read_what_changed_is_asked_again(api: Api) -> None:
    """Of the items only those are asked again that read another version."""
    for name in "xy":
        Path(f"{name}.txt").write_text("1")

    @checkpoint(name="inner")
    def inner(name: str) -> pl.DataFrame:
        return pl.DataFrame({"depth": [int(Path(f"{name}.txt").read_text())]})

    @checkpoint(name="outer", ignore=["of"])
    def outer(gene: str, of: Api = api) -> pl.DataFrame:
        found = inner("x" if gene < "c" else "y")["depth"].item()
        return of.papers(gene).with_columns(depth=pl.lit(found))

    scan = outer.mapped(over="gene")
    scan(["a", "b", "c"])
    api.told()
    Path("x.txt").write_text("7")
    inner.refresh("x")
    assert scan(["a", "b", "c"])["depth"].to_list() == [7] * 4 + [1] * 2
    assert api.told() == ["a", "b"]
    assert {read.name for read in outer.entries()[0].reads} == {"inner"}


def test_a_file_that_changes_meanwhile_stops_it(tmp_path: Path) -> None:
    """Rows of two versions of a file are never in one map."""
    path = tmp_path / "panel.txt"
    path.write_text("one")

    @checkpoint(name="of_file")
    def of_file(gene: str, panel: Path) -> pl.DataFrame:
        if gene == "c":
            panel.write_text("two")
        return pl.DataFrame({"gene": [gene], "text": [panel.read_text()]})

    scan = of_file.mapped(over="gene")
    with pytest.raises(ChangedMeanwhileError, match=r"panel\.txt.* changed"):
        scan(list("abcd"), path)
    path.write_text("one")
    assert scan(["a", "b"], path)["text"].to_list() == ["one", "one"]


def test_a_function_that_calls_a_map_stands_on_it(api: Api) -> None:
    """What is mapped, and how, counts in the key of those who call it."""
    papers = papers_of(api)
    scan = papers.mapped(over="gene")

    @checkpoint(name="summary")
    def summary(genes: list[str]) -> pl.DataFrame:
        frame: pl.DataFrame = scan(genes)
        return frame.group_by("gene", maintain_order=True).len()

    assert summary(["a", "b"])["len"].to_list() == [2, 2]
    assert isinstance(summary.explain(["a", "b"]), Hit)
    assert [read.name for read in summary.entries()[0].reads] == ["papers"]
    api.rows = 4
    scan.refresh(["a", "b"])
    assert summary(["a", "b"])["len"].to_list() == [4, 4]


def later(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Let it be later than it is, for the age of items."""
    now = datetime.now(UTC) + by
    monkeypatch.setattr("usher_pipeline.spreading.utc_now", lambda: now)
    monkeypatch.setattr("time.time_ns", lambda: int(now.timestamp() * 1e9))


def test_items_expire_one_by_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those items are asked again that are older than they may be."""
    scan = papers_of(api, max_age="7d").mapped(over="gene")
    scan(["a", "b"])
    api.told()
    later(monkeypatch, timedelta(days=8))
    assert "2 expired" in str(scan.explain(["a", "b"]))
    assert genes_in(scan(["b"])) == ["b"]
    assert api.told() == ["b"]
    assert "1 expired" in str(scan.explain(["a", "b"]))


def test_items_of_a_clock_that_was_wrong_have_expired(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered in the future by the clock is asked again, once."""
    scan = papers_of(api, max_age="7d").mapped(over="gene")
    with monkeypatch.context() as patch:
        later(patch, timedelta(days=400))
        scan(["a", "b"])
    api.told()
    assert genes_in(scan(["a", "b"])) == ["a", "b"]
    assert genes_in(scan(["b", "a"])) == ["b", "a"]
    assert api.told() == ["a", "b"]
    (entry, _) = entries("papers")[:2]
    assert abs((datetime.now(UTC) - entry.fresh_since).total_seconds()) < 3600
    later(monkeypatch, timedelta(days=8))
    assert "2 expired" in str(scan.explain(["a", "b"]))


def test_what_items_were_answered_last_stands_in_when_they_fail(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `stale_if_error` old rows are returned, loudly, and are no result of the call."""
    scan = papers_of(api, max_age="7d", stale_if_error=True).mapped(over="gene")
    scan(["a", "b"])
    stored = entries("papers")
    later(monkeypatch, timedelta(days=8))
    api.fails, api.rows = {"a"}, 3
    with (
        run() as this,
        pytest.warns(StaleResultWarning, match="1 of 2 items could not be asked anew: 'a': V"),
    ):
        frame = scan(["a", "b"])
    assert frame["gene"].to_list() == ["a", "a", "b", "b", "b"]
    assert entries("papers") == stored
    (step,) = [each["details"] for each in this.steps() if each["step_name"] == "papers"]
    assert step["outcome"] == "stale"
    assert step["stale"]["items"] == ["'a': ValueError: bad a"]
    api.fails = {"a", "c"}
    with pytest.raises(MapIncompleteError, match=r"'c'.*1 failed as well: their last") as c:
        scan(["a", "b", "c"])
    assert genes_in(c.value.frame) == ["a", "b"]
    assert [failure.item for failure in c.value.failures] == ["c"]
    api.fails = set()
    assert scan(["a", "b"])["gene"].to_list() == ["a"] * 3 + ["b"] * 3


# --- where it runs ----------------------------------------------------------------------


def test_no_more_than_the_workers_run_at_a_time() -> None:
    """As many calls run at a time as `workers` says."""
    lock, running, most = threading.Lock(), [0], [0]

    @checkpoint(name="counted", version="1")
    def counted(item: int) -> pl.DataFrame:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return pl.DataFrame({"item": [item]})

    counted.mapped(over="item", workers=3)(range(12))
    assert most[0] == 3


def test_any_executor_runs_it(api: Api) -> None:
    """Calls run where the executor runs them, and are stored here."""
    scan = papers_of(api)
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        mapped = scan.mapped(over="gene", executor=executor, workers=2)
        assert genes_in(mapped(["b", "a"])) == ["b", "a"]
    assert genes_in(scan.mapped(over="gene")(["a", "b"])) == ["a", "b"]
    assert api.told() == ["a", "b"]


def test_an_asynchronous_function_runs_on_the_loop(api: Api) -> None:
    """As many tasks as workers run at a time on the loop of the caller."""
    loops, running, most = set(), [0], [0]

    @checkpoint(name="awaited", version="1")
    async def awaited(gene: str) -> pl.DataFrame:
        loops.add(id(asyncio.get_running_loop()))
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.01)
        running[0] -= 1
        return api.papers(gene)

    async def main() -> tuple[int, list[str]]:
        scan = awaited.mapped(over="gene", workers=4)
        frame = await scan(list("abcdefgh"))
        again = await scan(list("hg"))
        assert genes_in(again) == ["h", "g"]
        return id(asyncio.get_running_loop()), genes_in(frame)

    loop, genes = asyncio.run(main())
    assert loops == {loop}
    assert genes == list("abcdefgh")
    assert most[0] == 4
    assert len(api.told()) == 8


def test_an_asynchronous_item_that_takes_too_long_is_cancelled(api: Api) -> None:
    """The task of an item is cancelled at its limit, and the others go on."""
    cancelled: list[str] = []

    @checkpoint(name="slow", version="1")
    async def slow(gene: str) -> pl.DataFrame:
        try:
            await asyncio.sleep(30 if gene == "b" else 0)
        except asyncio.CancelledError:
            cancelled.append(gene)
            raise
        return api.papers(gene)

    async def main() -> None:
        await slow.mapped(over="gene", workers=3, timeout_s=2)(["a", "b", "c"])

    with pytest.raises(MapIncompleteError, match=r"'b': TimeoutError: .*it was cancelled"):
        asyncio.run(main())
    assert cancelled == ["b"]


def test_to_cancel_an_asynchronous_call_cancels_what_runs(api: Api) -> None:
    """A cancelled call stores what was done, and leaves nothing running."""
    running: set[str] = set()
    both = asyncio.Event()

    @checkpoint(name="endless", version="1")
    async def endless(gene: str) -> pl.DataFrame:
        running.add(gene)
        if {"c", "d"} <= running:
            both.set()
        try:
            await asyncio.sleep(30 if gene > "b" else 0)
        finally:
            running.discard(gene)
        return api.papers(gene)

    async def main() -> None:
        task = asyncio.create_task(endless.mapped(over="gene", workers=2)(list("abcd")))
        await both.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError, match=r"^$"):
            await task

    asyncio.run(main())
    assert running == set()
    stored = endless.mapped(over="gene").partial().collect()
    assert sorted(genes_in(stored)) == ["a", "b"]


def test_two_calls_at_a_time_ask_each_item_once(api: Api) -> None:
    """Whoever comes second waits, and asks what is still missing then."""

    @checkpoint(name="shared", version="1")
    def shared(gene: str) -> pl.DataFrame:
        time.sleep(0.01)
        return api.papers(gene)

    scan = shared.mapped(over="gene", workers=2)
    wanted = [list("abcdef"), list("defghi"), list("fa")]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        frames = list(threads.map(scan, wanted))
    assert [genes_in(frame) for frame in frames] == wanted
    assert api.told() == list("abcdefghi")


def test_whose_items_are_all_stored_waits_for_nobody(api: Api) -> None:
    """While somebody scans for hours, what is stored is put together in any order."""
    begun, ended = threading.Event(), threading.Event()

    @checkpoint(name="long", version="1")
    def long(gene: str) -> pl.DataFrame:
        if gene == "z":
            begun.set()
            assert ended.wait(30)
        return api.papers(gene)

    scan = long.mapped(over="gene")
    scan(["a", "b", "c"])
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        scanning = threads.submit(scan, ["z", "y"])
        try:
            assert begun.wait(30)
            assert genes_in(scan(["c", "a"])) == ["c", "a"]
            assert genes_in(scan.load(["b"])) == ["b"]
        finally:
            ended.set()
        assert genes_in(scanning.result()) == ["z", "y"]
    assert api.told() == ["a", "b", "c", "y", "z"]


def test_what_is_made_of_an_incomplete_map_is_not_stored(api: Api) -> None:
    """Nothing would tell later that some items failed, so the outer result is no hit."""
    api.fails = {"b"}
    scan = papers_of(api).mapped(over="gene", on_error="collect")

    @checkpoint(name="counted")
    def counted(genes: list[str]) -> pl.DataFrame:
        frame: pl.DataFrame = scan(genes)
        return frame.select(pl.len())

    with pytest.warns(CheckpointNotSaved) as caught:
        assert counted(["a", "b"]).item() == 2
    assert "papers is not complete" in str(caught[0].message)
    assert "papers, whose result is not complete" in str(caught[1].message)
    api.fails = set()
    scan(["b"])
    assert counted(["a", "b"]).item() == 4


def test_a_method_is_mapped_with_its_object() -> None:
    """The object counts as what the items have in common."""

    class Source:
        def __init__(self, base: int) -> None:
            self.base = base

        @checkpoint(name="methodical")
        def rows(self, item: int) -> pl.DataFrame:
            return pl.DataFrame({"value": [self.base + item]})

    assert Source(10).rows.mapped(over="item")([1, 2])["value"].to_list() == [11, 12]
    assert Source(20).rows.mapped(over="item")([1, 2])["value"].to_list() == [21, 22]


# --- kinds ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        lambda item: pd.DataFrame({"item": [item] * 2, "word": ["x", "y"]}),
        lambda item: pd.DataFrame({"v": [item]}, index=pd.Index([f"row{item}"], name="k")),
        lambda item: pa.table({"item": [item], "list": [[item]]}),
        lambda item: pl.DataFrame({"kind": [f"k{item}"]}, schema={"kind": pl.Categorical}),
        lambda item: pl.Series("n", [item]),
    ],
    ids=["pandas", "pandas index", "arrow", "categorical", "series"],
)
def test_every_kind_of_frame_comes_back_as_it_is_put_together(made: Any) -> None:
    """What comes back is what the library of the frame makes of those of the items."""

    @checkpoint(name="kinds", ignore=["of"])
    def kinds(item: int, of: Any = made) -> Any:
        return of(item)

    scan = kinds.mapped(over="item")
    frame = scan([3, 1, 2])
    joined = {
        "pandas": lambda frames: pd.concat(
            frames, ignore_index=isinstance(frames[0].index, pd.RangeIndex)
        ),
        "pyarrow": pa.concat_tables,
        "polars": pl.concat,
    }[type(made(1)).__module__.partition(".")[0]]
    expected = joined([made(3), made(1), made(2)])
    assert type(frame) is type(expected)
    assert frame.equals(expected)
    again = scan([2, 3])
    assert again.equals(joined([made(2), made(3)]))


def test_a_generator_gives_the_rows_of_an_item_in_parts() -> None:
    """What an item yields is put together as the rows of the item."""

    @checkpoint(name="yielding")
    def yielding(item: int) -> Iterator[pl.DataFrame]:
        for page in range(item):
            yield pl.DataFrame({"item": [item], "page": [page]})

    frame = yielding.mapped(over="item")([2, 1])
    assert frame["page"].to_list() == [0, 1, 0]


def test_rows_that_are_counted_from_elsewhere_are_refused() -> None:
    """A range of pandas that others could not go on with would not come back."""

    @checkpoint(name="ranged")
    def ranged(item: int) -> pd.DataFrame:
        return pd.DataFrame({"item": [item]}, index=pd.RangeIndex(item, item + 1))

    with pytest.raises(MapIncompleteError, match=r"the index.*Use reset_index"):
        ranged.mapped(over="item")([5, 9])


# --- the result is a result -------------------------------------------------------------


def test_the_result_is_a_table_with_its_provenance(api: Api) -> None:
    """A plain name is a plain table, with a step that says of how many items it is made."""
    scan = papers_of(api).mapped(over="gene")
    scan(["b", "a"])
    assert genes_in(load("papers")) == ["b", "a"]
    with PipelineStore(STORE) as store:
        assert store.execute_query("SELECT count(*) AS n FROM papers")["n"].item() == 4
    (entry,) = entries("papers")
    assert entry.mapped is not None
    assert (entry.mapped.over, entry.mapped.item_count, entry.mapped.asked_count) == (
        *("gene", 2, 2),
    )
    details = entry.step().details
    assert details is not None
    assert details["arguments"]["mapped over"] == "'gene, one at a time'"


def test_a_call_without_a_map_is_another_call() -> None:
    """A function of a list is not asked by its map, although the arguments look the same."""

    @checkpoint(name="both")
    def both(genes: list[str]) -> pl.DataFrame:
        return pl.DataFrame({"gene": genes[::-1]})

    scan = both.mapped(over="genes", item_column="gene", batch_size=5)
    assert both(["a", "b"])["gene"].to_list() == ["b", "a"]
    assert scan(["a", "b"])["gene"].to_list() == ["a", "b"]
    assert both(["a", "b"])["gene"].to_list() == ["b", "a"]


def test_its_segment_goes_once_its_table_is_there(api: Api) -> None:
    """The rows are stored with their items and in the table; a call puts them together."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    assert publisher.wait(STORE.resolve(), 30)
    (entry,) = entries("papers")
    assert not list(Path("store.checkpoints", "papers").glob("*.arrow"))
    assert isinstance(scan.explain(["a", "b"]), Hit)
    assert genes_in(scan(["a", "b"])) == ["a", "b"]
    assert genes_in(load("papers")) == ["a", "b"]
    assert entries("papers") == [entry]
    assert len(api.told()) == 2


def test_clear_removes_the_items(api: Api) -> None:
    """Nothing of the items is left when the checkpoint is cleared."""
    papers = papers_of(api)
    scan = papers.mapped(over="gene")
    scan(["a"])
    papers.clear()
    assert not list(MAPS.rglob("*.rows"))
    scan(["a"])
    assert api.told() == ["a", "a"]


def test_what_is_damaged_is_asked_again(api: Api) -> None:
    """Rows that are not what was committed are set aside, said, and asked again."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    Path("store.checkpoints", "papers").rename("elsewhere")
    (rows,) = MAPS.rglob("*.rows")
    data = bytearray(rows.read_bytes())
    data[len(data) // 2] ^= 1
    rows.write_bytes(data)
    api.told()
    with pytest.warns(UsherWarning, match="rows of 2 items are damaged and were set aside"):
        assert genes_in(scan(["a", "b", "c"])) == ["a", "b", "c"]
    assert api.told() == ["a", "b", "c"]
    assert list(Path("store.checkpoints", ".damaged").rglob("*.rows"))


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
def test_rows_that_can_not_be_read_just_now_are_not_asked_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A machine without room is no damage: the call says so, and all stays as it was."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    Path("store.checkpoints", "papers").rename("elsewhere")
    api.told()

    def mapped(path: Path) -> Mapped:
        if path.suffix == ".rows":
            raise error
        return Mapped(path)

    with monkeypatch.context() as patched:
        patched.setattr(mapparts, "Mapped", mapped)
        for read in (scan, lambda genes: scan.partial()):
            said = r"rows of part \S+ can not be read just now \(.*(Too many|MemoryError)"
            with pytest.raises(StoreError, match=said):
                read(["a", "b"])
    assert not Path("store.checkpoints", ".damaged").exists()
    assert genes_in(scan(["a", "b"])) == ["a", "b"]
    assert api.told() == []


def test_a_disk_that_is_full_costs_nothing_of_the_result(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can not be stored is said once, and is in the result all the same."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a"])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StoredMap, "_commit", full)
    with pytest.warns(UsherWarning, match="its rows are in memory alone") as caught:
        frame = scan(["b", "a", "-", "c"])
    assert genes_in(frame) == ["b", "a", "c"]
    assert len([w for w in caught if "in memory alone" in str(w.message)]) == 1


def test_a_disk_that_stays_full_is_not_tried_for_each_item(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits becomes more and more to put together, each time for nothing."""
    tried: list[int] = []

    def full(_: StoredMap, packed: Any, __: Any) -> None:
        tried.append(packed.table.num_rows)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StoredMap, "add", full)
    monkeypatch.setattr(harvesting, "_MOST_BYTES", 1)
    monkeypatch.setattr(harvesting, "_AGAIN_AFTER_S", 1e9)
    with pytest.warns(UsherWarning, match="rows are in memory alone"):
        frame = papers_of(api).mapped(over="gene")([f"g{n}" for n in range(100)])
    assert frame.height == 200
    assert len(tried) == 2
    assert tried[1] == 200


def test_small_parts_are_put_together(api: Api) -> None:
    """A map has a few files, however many commits there were."""
    scan = papers_of(api).mapped(over="gene")
    scan([f"g{number}" for number in range(30)])
    scan([f"g{number}" for number in range(20, 60)])
    assert len(list(MAPS.rglob("*.rows"))) == 1
    assert len(scan.partial().collect()) == 120


# --- settings ---------------------------------------------------------------------------


def test_offline_nothing_is_asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is put together offline; what is not is an error that says how much."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b", "c"])
    api.told()
    monkeypatch.setenv("USHER_OFFLINE", "1")
    assert genes_in(scan(["c", "a"])) == ["c", "a"]
    with pytest.raises(CheckpointMissError, match="1 of 2 items are to ask: 1 new"):
        scan(["a", "z"])
    assert api.told() == []


def test_disabled_all_is_asked_and_nothing_stored(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """USHER_DISABLE leaves the store alone, in both directions."""
    scan = papers_of(api).mapped(over="gene", workers=2)
    monkeypatch.setenv("USHER_DISABLE", "1")
    assert genes_in(scan(["b", "a"])) == ["b", "a"]
    assert isinstance(scan.explain(["a"]), Bypass)
    api.fails = {"a"}
    with pytest.raises(MapIncompleteError, match="Nothing was stored of the 1 others"):
        scan(["b", "a"])
    assert not MAPS.exists()


def test_a_refresh_that_the_environment_wants(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """USHER_REFRESH asks all items of a checkpoint that it names."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a"])
    monkeypatch.setenv("USHER_REFRESH", "papers")
    scan(["a"])
    assert api.told() == ["a", "a"]


def test_explain_knows_of_a_refresh_that_the_environment_wants(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what a call would do."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a"])
    monkeypatch.setenv("USHER_REFRESH", "papers")
    assert scan.explain(["a"]) == Miss(Reason("USHER_REFRESH names it"))


def test_disabled_no_items_are_an_error_that_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which columns there would be."""
    monkeypatch.setenv("USHER_DISABLE", "1")
    with pytest.raises(OptionError, match="at least one item"):
        papers_of(api).mapped(over="gene")([])


def test_load_never_asks(api: Api) -> None:
    """What is stored is returned, and what is missing is an error."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    api.told()
    assert genes_in(scan.load(["b", "a"])) == ["b", "a"]
    with pytest.raises(CheckpointMissError, match="1 of 2 items are to ask"):
        scan.load(["a", "c"])
    assert api.told() == []


def test_explain_says_what_a_call_would_ask(api: Api) -> None:
    """How many items are new, failed or of older code, and what is there if none are given."""
    scan = papers_of(api).mapped(over="gene")
    assert str(scan.explain()).startswith("miss: no item of it is stored")
    api.fails = {"b"}
    with pytest.raises(MapIncompleteError, match="'b'"):
        scan(["a", "b"])
    explained = scan.explain(["a", "b", "c", "d"])
    assert isinstance(explained, Miss)
    summary = "3 of 4 items are to ask: 2 new, 1 failed before"
    assert explained.reason.summary == summary
    assert str(scan.explain()).startswith("miss: 1 items are stored, 1 failed")
    with pytest.raises(CheckpointMissError, match="no item of it is stored"):
        papers_of(api).mapped(over="year").partial()


# --- options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over": "nothing"}, r"over=\.\.\.\) expected a parameter that counts, one of gene"),
        ({"over": "of"}, "one of gene, year, got 'of'"),
        ({"over": "gene", "batch_size": 0, "item_column": "gene"}, "batch_size"),
        ({"over": "gene", "batch_size": 5}, "item_column"),
        ({"over": "gene", "item_column": ""}, "item_column"),
        ({"over": "gene", "workers": 0}, r"mapped\(workers"),
        ({"over": "gene", "rate_per_s": 0}, r"mapped\(rate_per_s"),
        ({"over": "gene", "retries": -1}, r"mapped\(retries"),
        ({"over": "gene", "timeout_s": 0}, r"mapped\(timeout_s"),
        ({"over": "gene", "on_error": "ignore"}, "one of finish, collect, raise, got 'ignore'"),
        ({"over": "gene", "executor": 5}, r"concurrent\.futures\.Executor"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_options_that_can_not_be_are_refused(
    api: Api, options: dict[str, Any], message: str
) -> None:
    """Each option says what it expects, before anything runs."""
    with pytest.raises(OptionError, match=message):
        papers_of(api).mapped(**options)


def test_a_function_that_goes_on_by_itself_is_not_mapped() -> None:
    """A generator with Resume goes on within one call, and not item by item."""

    @checkpoint(name="going")
    def going(item: int, *, resume: Resume[int] = Resume()) -> Iterator[pl.DataFrame]:
        yield resume.part(pl.DataFrame({"item": [item]}), cursor=1)

    with pytest.raises(OptionError, match=r"a function without resume=Resume\(\)"):
        going.mapped(over="item")


def test_what_is_mapped_says_so(api: Api) -> None:
    """Its text names the checkpoint, the parameter and the function."""
    assert repr(papers_of(api).mapped(over="gene")).startswith("<papers.mapped(over='gene') of")


def test_an_unsupported_frame_names_the_item(api: Api) -> None:
    """The cause of a failure is told with the item, and the error is of this library."""

    @checkpoint(name="objects")
    def objects(item: int) -> pl.DataFrame:
        return pl.DataFrame({"x": [object()]}) if item else pl.DataFrame({"x": [1]})

    with pytest.raises(MapIncompleteError, match="1 of 2 items failed: ") as caught:
        objects.mapped(over="item")([0, 1])
    assert caught.value.failures[0].error_type.endswith(UnsupportedFrameError.__name__)


# --- what a user tries first ------------------------------------------------------------


def test_items_that_can_be_iterated_once_are_loaded_all(api: Api) -> None:
    """`load` looks twice, first at what is to be asked; a generator gives its items once."""
    scan = papers_of(api).mapped(over="gene")
    scan(["A", "B", "C"])
    assert scan.load(gene for gene in ("C", "A"))["gene"].to_list() == ["C", "C", "A", "A"]


def test_a_default_is_no_list_of_items() -> None:
    """It is one item, and its letters are none: whoever gives no items is told so."""

    @checkpoint(name="panel")
    def panel(gene: str = "USH2A", *, year: int = 2000) -> pl.DataFrame:
        return pl.DataFrame({"gene": [gene], "year": [year]})

    scan = panel.mapped(over="gene")
    for ask in (scan, scan.load, scan.explain, scan.failures, scan.partial):
        with pytest.raises(OptionError, match="expected the items"):
            ask(year=2001)
    with pytest.raises(OptionError, match="expected the items"):
        scan()
    assert scan(["MYO7A"], year=2001).to_dicts() == [{"gene": "MYO7A", "year": 2001}]


def test_accept_where_nothing_is_stored_says_so(api: Api) -> None:
    """0 would read as if all were well."""
    scan = papers_of(api).mapped(over="gene")
    with pytest.raises(CheckpointMissError, match="no item of it is stored"):
        scan.accept()


# --- what others stand on ---------------------------------------------------------------


def test_an_item_that_was_asked_again_for_others_is_new_to_who_calls_the_map(api: Api) -> None:
    """An outer result holds while its items are those that were answered last."""

    @checkpoint(name="papers", ignore=["of"])
    def papers(gene: str, of: Api) -> pl.DataFrame:
        return of.papers(gene)

    scan = papers.mapped(over="gene")

    @checkpoint(name="summary", ignore=["of"])
    def summary(genes: list[str], of: Api) -> pl.DataFrame:
        frame: pl.DataFrame = scan(genes, of)
        return frame.group_by("gene", maintain_order=True).len()

    assert summary(["a", "b"], api)["len"].to_list() == [2, 2]
    scan(["b", "c"], api)
    assert isinstance(summary.explain(["a", "b"], api), Hit)
    api.rows = 4
    scan.refresh(["b", "d"], api)
    assert summary(["a", "b"], api)["len"].to_list() == [2, 4]
    assert isinstance(summary.explain(["a", "b"], api), Hit)
    # Where nobody knows which items they were, it is computed anew, and known again.
    for path in MAPS.rglob("*.list"):
        path.unlink()
    assert isinstance(summary.explain(["a", "b"], api), Miss)
    summary(["a", "b"], api)
    assert isinstance(summary.explain(["a", "b"], api), Hit)


# --- what is removed meanwhile ----------------------------------------------------------


@pytest.mark.filterwarnings("ignore:papers goes on:usher_pipeline.errors.UsherWarning")
def test_what_is_removed_while_a_call_runs_is_asked_again(api: Api) -> None:
    """The result is of exactly the items of the call, and never of what is left of them."""
    scan = papers_of(api).mapped(over="gene")
    remove = iter([True])

    def answer(gene: str) -> pl.DataFrame:
        if gene == "d" and next(remove, False):
            # Where a second part is there the first one is committed to its end.
            while len(list(MAPS.rglob("*.items"))) < 2:
                time.sleep(0.001)
            MAPS.rename("gone")
        return pl.DataFrame({"gene": [gene]})

    api.papers = answer  # type: ignore[method-assign]
    with pytest.warns(UsherWarning, match="items of papers were answered is gone"):
        assert genes_in(scan(list("abcdef"))) == list("abcdef")
    assert isinstance(scan.explain(list("abcdef")), Hit)


@pytest.mark.filterwarnings("ignore::usher_pipeline.errors.UsherWarning")
def test_what_is_removed_again_and_again_is_an_error(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked for ever, and nothing is returned that is not whole."""
    scan = papers_of(api).mapped(over="gene")
    tidy = StoredMap.tidy

    def tidy_all(stored: StoredMap) -> None:
        tidy(stored)
        shutil.rmtree(stored.folder)

    monkeypatch.setattr(StoredMap, "tidy", tidy_all)
    with pytest.raises(StoreError, match="2 items of papers were answered is gone"):
        scan(["a", "b"])


# --- what may not be seen ---------------------------------------------------------------


def seen() -> str:
    """Return all texts in the files of maps."""
    texts: list[str] = []
    for path in MAPS.rglob("*.items"):
        table = pa.ipc.open_file(path).read_all()
        for name in ("shown", "error"):
            texts += [text for text in table.column(name).to_pylist() if text]
    return "\n".join(texts)


@pytest.mark.parametrize(
    "item",
    [
        {"gene": "USH2A", "token": "hush-hush"},
        ("USH2A", {"password": "hush-hush"}),
        [*range(200), {"password": "hush-hush"}],
        "https://me:hush-hush@example.org/USH2A",
        "https://example.org/USH2A?api_key=hush-hush",
    ],
)
def test_a_credential_within_an_item_is_stored_nowhere(item: Any) -> None:
    """What tells an item to people shows none."""

    @checkpoint(name="of_items")
    def of_items(item: Any) -> pl.DataFrame:
        raise ValueError("no")

    scan = of_items.mapped(over="item")
    with pytest.raises(MapIncompleteError, match="1 of 1 items failed: ") as caught:
        scan([item])
    assert "hush" not in str(caught.value)
    assert "(hidden)" in str(caught.value) or len(item) > 100
    assert "hush" not in seen()


def test_an_error_does_not_tell_a_secret_argument() -> None:
    """What an argument says under the name of a credential is stored nowhere."""

    @checkpoint(name="of_secrets")
    def of_secrets(api_key: str, token: str, other: SecretStr) -> pl.DataFrame:
        raise ValueError(f"rejected {api_key}, {token} and {other.get_secret_value()}")

    scan = of_secrets.mapped(over="api_key")
    with pytest.raises(MapIncompleteError, match=r"rejected \(hidden\), \(hidden\) and") as it:
        scan(["hush-1", "hush-2"], "hush-3", SecretStr("hush-4"))
    assert "hush" not in str(it.value)
    assert "hush" not in seen()


def test_an_error_that_can_not_be_shown_is_a_failure() -> None:
    """An error whose text fails does not stop the others."""

    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @checkpoint(name="odd")
    def odd(gene: str) -> pl.DataFrame:
        if gene == "b":
            raise OddError
        return pl.DataFrame({"gene": [gene]})

    with pytest.raises(MapIncompleteError, match="1 of 3 items failed") as caught:
        odd.mapped(over="gene")(["a", "b", "c"])
    assert genes_in(caught.value.frame) == ["a", "c"]


def test_a_very_long_item_is_told_by_a_short_text() -> None:
    """Of an item of a megabyte no second copy is kept to show it."""

    @checkpoint(name="long")
    def long(scores: list[int]) -> pl.DataFrame:
        return pl.DataFrame({"sum": [sum(scores)]})

    assert long.mapped(over="scores")([list(range(100_000))])["sum"].item() == 4999950000
    assert len(seen()) < 1000


# --- what tells rows of a batch apart ---------------------------------------------------


@pytest.mark.parametrize(
    "items",
    [
        [(1, 5), (1, 6), (2, 5)],
        [{"chrom": "1", "pos": 5}, {"chrom": "1", "pos": 6}],
        [Path("a.vcf"), Path("b.vcf")],
        [1.5, float("nan"), 2.5],
        ["a", None],
    ],
)
def test_a_column_tells_of_whatever_items(items: list[Any]) -> None:
    """It holds lists for tuples, structs for dictionaries, and texts for paths."""

    @checkpoint(name="batches", ignore=["asked"])
    def batches(items: list[Any], asked: list[Any]) -> pl.DataFrame:
        asked += items
        shown = [str(item) if isinstance(item, Path) else item for item in items]
        shown = [list(item) if isinstance(item, tuple) else item for item in shown]
        return pl.DataFrame({"of": pl.Series(shown, strict=False).reverse()})

    for path in items:
        if isinstance(path, Path):
            path.write_text("")
    asked: list[Any] = []
    scan = batches.mapped(over="items", item_column="of", batch_size=2)
    whole = scan(items, asked)
    assert whole.height == len(items) == len(asked)
    last = scan([items[-1]], asked)
    assert len(asked) == len(items)
    assert last.equals(whole.tail(1), null_equal=True)


@pytest.mark.filterwarnings("ignore::usher_pipeline.errors.UsherWarning")
def test_items_that_a_column_can_not_tell_apart_are_refused() -> None:
    """1 and True are two items, and one in a column of numbers: rows go to neither."""

    @checkpoint(name="batches")
    def batches(items: list[Any]) -> pl.DataFrame:
        return pl.DataFrame({"of": [int(item) for item in items]})

    scan = batches.mapped(over="items", item_column="of", batch_size=3)
    with pytest.raises(MapIncompleteError, match="the same for several items"):
        scan([1, True, 2])
    one_by_one = batches.mapped(over="items", item_column="of", batch_size=1)
    assert one_by_one([1, True, 2])["of"].to_list() == [1, 1, 2]


# --- other columns ----------------------------------------------------------------------


def widened(api: Api, *, is_wide: bool, **options: Any) -> Any:
    """Return a checkpoint whose code gives one column more, or not."""
    options = {"name": "wide", "ignore": ["of"], **options}
    if is_wide:

        @checkpoint(**options)
        def wide(gene: str, of: Api = api) -> pl.DataFrame:
            return of.papers(gene).with_columns(score=pl.lit(1))

        return wide

    @checkpoint(**options)
    def narrow(gene: str, of: Api = api) -> pl.DataFrame:
        return of.papers(gene)

    return narrow


def test_an_edit_may_give_the_rows_other_columns(api: Api) -> None:
    """The rows of older code say nothing of what those of now have to look like."""
    for is_wide, width in ((False, 2), (True, 3), (False, 2)):
        scan = widened(api, is_wide=is_wide).mapped(over="gene")
        assert scan(["a", "b"]).shape == (4, width)
        assert scan(["c", "a"]).shape == (4, width)
        assert scan.partial().collect().shape == (6, width)
        assert len(list(MAPS.rglob("*.rows"))) <= 3
        del scan
    assert api.told() == list("aabbcc")


def test_a_refresh_may_give_the_rows_other_columns(api: Api) -> None:
    """It is all asked again, so that nothing stands beside what was there."""

    def wide(gene: str) -> pl.DataFrame:
        return pl.DataFrame({"gene": [gene], "new": [1]})

    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    api.papers = wide  # type: ignore[method-assign]
    assert scan.refresh(["a", "b"]).columns == ["gene", "new", "year"]
    assert scan(["b", "a"]).columns == ["gene", "new", "year"]


def test_rows_that_do_not_go_together_are_stored_and_told_of(api: Api) -> None:
    """An item that was refreshed alone has other columns than the rest: the error says so."""

    def wide(gene: str) -> pl.DataFrame:
        return pl.DataFrame({"gene": [gene], "new": [1]})

    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    api.papers = wide  # type: ignore[method-assign]
    scan.refresh(["a"])
    with pytest.raises(UnsupportedFrameError, match="columns of frame 2") as caught:
        scan(["a", "b"])
    assert "refresh(...) asks all of them again" in caught.value.__notes__[0]
    assert scan(["b"]).columns == ["gene", "n", "year"]
    assert scan.refresh(["a", "b"]).columns == ["gene", "new", "year"]


def test_a_column_without_values_is_told_how_to_have_a_type(api: Api) -> None:
    """Polars gives it the type Null, with which no text goes together."""

    def papers(gene: str) -> pl.DataFrame:
        return pl.DataFrame({"gene": [gene], "title": [None if gene == "a" else "Usher"]})

    api.papers = papers  # type: ignore[method-assign]
    scan = papers_of(api).mapped(over="gene")
    scan(["a"])
    with pytest.raises(MapIncompleteError, match=r"state its type, as in pl\.DataFrame"):
        scan(["a", "b"])


def test_a_call_stops_where_no_rows_go_with_the_first(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that fail are asked for nothing: not for a night, but for a few of them."""
    monkeypatch.setattr(harvesting, "_MOST_UNLIKE", 3)

    def papers(gene: str) -> pl.DataFrame:
        api.asked.append(gene)
        deadline_s = time.monotonic() + 20
        while len(api.asked) > 2 + stored_count() and time.monotonic() < deadline_s:
            # Each is committed before the next but one is asked.
            time.sleep(0.001)
        return pl.DataFrame({"gene": [gene], "title": [None if gene == "g0" else "Usher"]})

    def stored_count() -> int:
        return sum(pa.ipc.open_file(path).read_all().num_rows for path in MAPS.rglob("*.items"))

    api.papers = papers  # type: ignore[method-assign]
    scan = papers_of(api).mapped(over="gene")
    with pytest.raises(UnsupportedFrameError, match="state its type") as caught:
        scan([f"g{n}" for n in range(100)])
    assert any("papers stopped: " in note for note in caught.value.__notes__)
    assert len(api.asked) < 50
    assert scan(["g0"]).height == 1


@pytest.mark.parametrize("is_unlinked", [False, True])
def test_who_reads_while_parts_are_put_together_finds_all(
    api: Api, monkeypatch: pytest.MonkeyPatch, *, is_unlinked: bool
) -> None:
    """The rows lie elsewhere then; that is no damage, neither before nor after they go."""
    scan = papers_of(api).mapped(over="gene")
    with monkeypatch.context() as patched:
        patched.setattr(StoredMap, "tidy", lambda _: None)
        for gene in "abc":
            scan([gene])
    kept = {path: path.read_bytes() for path in MAPS.rglob("0*.*")}
    assert len(kept) == 6
    late = iter([True])
    blocks = StoredMap.blocks

    def blocks_late(stored: StoredMap, answers: Any) -> Any:
        found = blocks(stored, answers)
        if next(late, False):
            StoredMap(stored.segments, stored.name, stored.digest).tidy()
            for path, data in kept.items():
                if not is_unlinked:
                    path.write_bytes(data)
        return found

    monkeypatch.setattr(StoredMap, "blocks", blocks_late)
    assert genes_in(scan.partial(["c", "a"]).collect()) == ["c", "a"]
    assert not next(late, False)


def test_items_that_can_not_be_read_are_told_of(api: Api) -> None:
    """Nobody is to take for new what was there."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a", "b"])
    (path,) = MAPS.rglob("*.items")
    path.write_bytes(b"ARROW1" + bytes(100))
    with pytest.warns(UsherWarning, match=r"1 files in .* can not be read: they are damaged"):
        assert genes_in(scan(["b", "c"])) == ["b", "c"]
    assert api.told() == ["a", "b", "b", "c"]


def test_what_a_killed_writer_left_keeps_its_number(api: Api) -> None:
    """Its rows may be swept at any moment; new ones never take their name."""
    scan = papers_of(api).mapped(over="gene")
    scan(["a"])
    (path,) = MAPS.rglob("*.rows")
    path.with_name("00000041-00000041.rows").write_bytes(b"")
    scan(["b"])
    assert [path.name for path in sorted(MAPS.rglob("*.items"))] == ["00000001-00000042.items"]
