"""A generator that is handed `Resume` goes on where it was stopped, row by row."""

from __future__ import annotations

import errno
import json
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline import Resume, checkpoint, configure, load, resuming, run
from usher_pipeline.errors import (
    CheckpointMissError,
    CheckpointNotSaved,
    CodeChangedError,
    CursorError,
    DeclarationError,
    UnsupportedFrameError,
    UsherWarning,
)
from usher_pipeline.persistence import PipelineStore, unfinished
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.records import Blocked, Hit, Miss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORE = Path("store.duckdb")
UNFINISHED = Path("store.checkpoints", ".unfinished")


class Api:
    """Pages that are asked one by one; it fails where it is told to."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.fails_at: set[int] = set()
        self.error: Callable[[], BaseException] = lambda: ConnectionError("the line is dead")

    def page(self, number: int) -> pl.DataFrame:
        """Return a page of three rows."""
        self.asked.append(number)
        if number in self.fails_at:
            raise self.error()
        return pl.DataFrame({"page": [number] * 3, "row": [0, 1, 2]})


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each part is worth a commit of its own.
    monkeypatch.setattr(resuming, "_TIMES_COST", 0.0)
    monkeypatch.setattr(resuming, "_SHARE_OF_LOSS", 0.0)
    configure(store=STORE)


@pytest.fixture
def api() -> Api:
    """An API that answers."""
    return Api()


def paged(api: Api, count: int = 6) -> Any:
    """Return a checkpoint of all pages of an API."""

    @checkpoint(name="pages", ignore=["of"])
    def pages(
        term: str = "x", *, of: Api = api, resume: Resume[int] = Resume()
    ) -> Iterator[pl.DataFrame]:
        for number in range(resume.cursor or 0, count):
            yield resume.part(of.page(number), cursor=number + 1)

    return pages


def expected(count: int = 6) -> pl.DataFrame:
    """Return all pages."""
    return pl.concat([Api().page(number) for number in range(count)])


# --- going on ---------------------------------------------------------------------------


def test_it_goes_on_after_the_last_committed_part(api: Api) -> None:
    """What was committed is not asked again; the result is that of one undisturbed call."""
    pages = paged(api)
    api.fails_at = {3}
    with pytest.raises(ConnectionError, match="the line is dead") as caught:
        pages()
    assert "9 rows" in caught.value.__notes__[0]
    assert "Call it again with the same arguments" in caught.value.__notes__[0]
    api.fails_at = set()
    assert pages().equals(expected())
    assert api.asked == [0, 1, 2, 3, 3, 4, 5]
    assert isinstance(pages.explain(), Hit)
    assert pages().equals(expected())
    assert not UNFINISHED.exists() or not list(UNFINISHED.rglob("*.*"))


@given(st.lists(st.integers(0, 5), max_size=8))
def test_it_is_stopped_anywhere_and_any_number_of_times(stops: list[int]) -> None:
    """However often it is stopped, each page is stored once, and in order."""
    api = Api()
    pages = paged(api)
    pages.clear()
    for stop in stops:
        api.fails_at = {stop}
        try:
            pages()
        except ConnectionError:
            continue
        break
    api.fails_at = set()
    assert pages().equals(expected())
    # An answered page is never asked again.
    answered = len(api.asked) - sum(api.asked.count(stop) - 1 for stop in set(stops))
    assert answered <= len(api.asked)
    assert sorted(set(api.asked)) == list(range(6))


def test_ctrl_c_keeps_what_is_done(api: Api) -> None:
    """Ctrl-C within the function stores what it had yielded, and says how to go on."""
    pages = paged(api)
    api.fails_at, api.error = {4}, KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt, match=r"pages: 12 rows .* to go on from there"):
        pages()
    api.fails_at = set()
    assert pages().equals(expected())
    assert api.asked == [0, 1, 2, 3, 4, 4, 5]


def test_until_it_is_finished_it_is_a_hit_for_nobody(api: Api) -> None:
    """What is unfinished is no result: not of a call, a name, nor a table."""
    pages = paged(api)
    api.fails_at = {3}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    assert isinstance(pages.explain(), Miss)
    assert pages.entries() == []
    with pytest.raises(CheckpointMissError, match="pages has no stored result"):
        pages.load()
    with pytest.raises(CheckpointMissError, match="pages has no stored result"):
        load("pages")
    with PipelineStore(STORE) as store:
        assert not store.has_checkpoint("pages")


def test_what_is_committed_can_be_looked_at(api: Api) -> None:
    """`partial` is a query on the committed rows, `load(partial=True)` a frame of them."""
    pages = paged(api)
    with pytest.raises(CheckpointMissError, match="nothing of it is unfinished"):
        pages.partial()
    api.fails_at = {2}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    assert pages.partial().collect().equals(expected(2))
    assert pages.load(partial=True).equals(expected(2))
    with pytest.raises(CheckpointMissError, match="nothing of it is unfinished"):
        pages.partial(term="another")


def test_the_rows_are_at_hand_in_the_function(api: Api) -> None:
    """`resume.rows()` is a query on what was committed when the function went on."""
    seen = []

    @checkpoint(name="pages", ignore=["of"])
    def pages(*, of: Api = api, resume: Resume[int] = Resume()) -> Iterator[pl.DataFrame]:
        seen.append(resume.rows().collect().height)
        for number in range(resume.cursor or 0, 4):
            yield resume.part(of.page(number), cursor=number + 1)

    api.fails_at = {2}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    api.fails_at = set()
    pages()
    assert seen == [0, 6]


def test_other_arguments_are_other_work(api: Api) -> None:
    """Each key goes on with its own."""
    pages = paged(api)
    api.fails_at = {3}
    for term in ("one", "two"):
        with pytest.raises(ConnectionError, match="the line"):
            pages(term)
    api.fails_at, api.asked = set(), []
    assert pages("one").height == 18
    assert api.asked == [3, 4, 5]


def test_rows_without_a_cursor_go_with_the_next_part(api: Api) -> None:
    """A frame that is yielded alone is committed together with the part that follows."""

    @checkpoint(name="pages", ignore=["of"])
    def pages(*, of: Api = api, resume: Resume[int] = Resume()) -> Iterator[pl.DataFrame]:
        for number in range(resume.cursor or 0, 6, 2):
            yield of.page(number)
            yield resume.part(of.page(number + 1), cursor=number + 2)

    api.fails_at = {3}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    assert pages.partial().collect().equals(expected(2))
    api.fails_at = set()
    assert pages().equals(expected())
    assert api.asked == [0, 1, 2, 3, 2, 3, 4, 5]


def test_the_cost_is_that_of_all_processes(api: Api) -> None:
    """A result states when its work was begun, and how long all of it took."""
    pages = paged(api)
    api.fails_at = {5}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    begun_at = pages.__wrapped__ and next(iter(UNFINISHED.rglob("work.json"))).stat().st_mtime
    api.fails_at = set()
    pages()
    (entry,) = pages.entries()
    assert entry.cost.started_at.timestamp() == pytest.approx(begun_at, abs=1)
    assert entry.created_at >= entry.cost.started_at


# --- kinds of frames --------------------------------------------------------------------

KINDS: dict[str, Callable[[int], Any]] = {
    "polars": lambda n: pl.DataFrame({"n": [n], "word": [f"w{n % 2}"]}).cast(
        {"word": pl.Categorical}
    ),
    "pandas": lambda n: pd.DataFrame(
        {"n": [n], "word": pd.Categorical([f"w{n % 2}"], categories=["w0", "w1"])}
    ),
    "range": lambda n: pd.DataFrame({"n": [n]}, index=pd.RangeIndex(n, n + 1)),
    "arrow": lambda n: pa.table({"n": [n], "parts": [[n, None]]}),
    "batch": lambda n: pa.record_batch({"n": pa.array([n])}),
    "empty": lambda n: (
        pl.DataFrame({"n": []}, schema={"n": pl.Int8})
        if n % 2
        else pl.DataFrame({"n": [n]}, schema={"n": pl.Int8})
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [1, 3])
def test_every_kind_comes_back_as_without_a_stop(kind: str, stop: int) -> None:
    """A result that was stopped is the very one that a plain generator gives."""
    made, stops = KINDS[kind], {stop}

    @checkpoint(name="stopped", ignore=["at"])
    def stopped(*, at: set[int] = stops, resume: Resume[int] = Resume()) -> Iterator[Any]:
        for number in range(resume.cursor or 0, 5):
            if number in at:
                raise ConnectionError("the line is dead")
            yield resume.part(made(number), cursor=number + 1)

    @checkpoint(name="plain")
    def plain() -> Iterator[Any]:
        for number in range(5):
            yield made(number)

    with pytest.raises(ConnectionError, match="the line"):
        stopped()
    stops.clear()
    found, wanted = stopped(), plain()
    assert type(found) is type(wanted)
    assert stopped.entries()[0].content == plain.entries()[0].content


def test_a_frame_that_does_not_fit_is_not_committed(api: Api) -> None:
    """Rows with other columns are refused as they come, and those before stay."""
    frames = [api.page(0), pl.DataFrame({"other": [1]})]

    @checkpoint(name="pages", ignore=["of"])
    def pages(
        *, of: list[pl.DataFrame] = frames, resume: Resume[int] = Resume()
    ) -> Iterator[pl.DataFrame]:
        for number in range(resume.cursor or 0, len(of)):
            yield resume.part(of[number], cursor=number + 1)

    with pytest.raises(UnsupportedFrameError, match="the columns of frame 2"):
        pages()
    assert pages.partial().collect().height == 3
    frames[1] = api.page(1)
    assert pages().height == 6


@pytest.mark.parametrize("cursor", [(1, 2), {1: "one"}, object(), float("nan"), b"1"])
def test_a_cursor_that_json_does_not_give_back_is_refused(cursor: object) -> None:
    """A cursor is plain data; another one is an error, and nothing is stored with it."""

    @checkpoint(name="pages", ignore=["at"])
    def pages(*, at: object = cursor, resume: Resume[Any] = Resume()) -> Iterator[pl.DataFrame]:
        yield resume.part(pl.DataFrame({"n": [1]}), cursor="first")
        yield resume.part(pl.DataFrame({"n": [2]}), cursor=at)

    with pytest.raises(CursorError, match="expected text, a number"):
        pages()
    assert pages.partial().collect()["n"].to_list() == [1]


# --- many parts -------------------------------------------------------------------------


def test_many_small_parts_are_put_together(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder does not fill with files, and nothing is lost or doubled by that."""
    monkeypatch.setattr(unfinished, "_MOST_SMALL", 4)
    pages = paged(api, 23)
    api.fails_at = {21}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    assert len(list(UNFINISHED.rglob("*.arrow"))) <= 4
    assert pages.partial().collect().equals(expected(21))
    api.fails_at = set()
    assert pages().equals(expected(23))


def test_parts_wait_while_a_commit_is_not_worth_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fast parts share a commit, and an error commits what still waits."""
    monkeypatch.setattr(resuming, "_TIMES_COST", 1e9)
    pages = paged(api)
    api.fails_at = {5}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    # The first commit tells what one costs.
    assert len(list(UNFINISHED.rglob("*.arrow"))) == 2
    assert pages.partial().collect().equals(expected(5))


# --- what went wrong meanwhile ----------------------------------------------------------


def stopped_at(api: Api, number: int, count: int = 6) -> Any:
    """Return a checkpoint that was stopped at a page."""
    pages = paged(api, count)
    api.fails_at = {number}
    with pytest.raises(ConnectionError, match="the line"):
        pages()
    api.fails_at, api.asked = set(), []
    return pages


def test_a_damaged_part_is_asked_again(api: Api) -> None:
    """It goes on from before the damage, says so, and the result is exact."""
    pages = stopped_at(api, 4)
    damage(sorted(UNFINISHED.rglob("*.arrow"))[2])
    with pytest.warns(UsherWarning, match="damaged from row 6 on"):
        assert pages().equals(expected())
    assert api.asked == [2, 3, 4, 5]


@pytest.mark.parametrize("ending", [".arrow", ".json"])
def test_a_lost_part_is_asked_again(api: Api, ending: str) -> None:
    """A file that is gone takes what came after it along, and no more."""
    pages = stopped_at(api, 4)
    sorted(UNFINISHED.rglob(f"0*{ending}"))[1].unlink()
    if ending == ".arrow":
        with pytest.warns(UsherWarning, match="damaged from row 3 on"):
            assert pages().equals(expected())
    else:
        assert pages().equals(expected())
    assert api.asked == [1, 2, 3, 4, 5]


def test_a_part_without_its_entry_is_none(api: Api) -> None:
    """Rows whose cursor was not committed are as if they had never been."""
    pages = stopped_at(api, 2)
    stray = max(UNFINISHED.rglob("0*.arrow"))
    stray.with_name("00000003-00000003.arrow").write_bytes(stray.read_bytes())
    assert pages().equals(expected())
    assert api.asked == [2, 3, 4, 5]


def test_a_full_disk_stops_nobody(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that can not be committed are in the result all the same; that is told once."""
    pages = paged(api)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unfinished.Unfinished, "_commit", refuse)
    with pytest.warns(UsherWarning, match="in memory alone.*No space left") as caught:
        assert pages().equals(expected())
    assert len(caught) == 1
    assert isinstance(pages.explain(), Hit)


def test_what_can_not_be_stored_in_the_end_stays(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is not saved keeps its parts: the next call asks for nothing again."""
    pages = paged(api)
    with monkeypatch.context() as patch:
        patch.setattr("usher_pipeline.persistence.segments.Segments.commit", _refuse)
        with pytest.warns(CheckpointNotSaved, match="No space left"):
            assert pages().equals(expected())
    assert pages().equals(expected())
    assert api.asked == [0, 1, 2, 3, 4, 5]


def _refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_was_read_before_still_stands(api: Api) -> None:
    """Rows that were made of a table that is another one now are not gone on with."""
    del api
    asked = []

    @checkpoint(name="scale")
    def scale(by: int) -> pl.DataFrame:
        return pl.DataFrame({"by": [by]})

    @checkpoint(name="pages", ignore=["stops"])
    def pages(*, stops: set[int], resume: Resume[int] = Resume()) -> Iterator[pl.DataFrame]:
        by = load("scale")["by"][0]
        for number in range(resume.cursor or 0, 4):
            if number in stops:
                raise ConnectionError("the line is dead")
            asked.append(number)
            yield resume.part(pl.DataFrame({"n": [number * by]}), cursor=number + 1)

    scale(1)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="the line"), run():
            pages(stops={2})
    assert asked == [0, 1]
    scale(10)
    with run(), pytest.warns(UsherWarning, match="begins anew"):
        assert pages(stops=set())["n"].to_list() == [0, 10, 20, 30]
    assert asked == [0, 1, 0, 1, 2, 3]


# --- after an edit ----------------------------------------------------------------------


def edited(api: Api, factor: int) -> Any:
    """Return a checkpoint whose code has a number in it."""
    source = f"""
def pages(*, of=None, resume=Resume()):
    for number in range(resume.cursor or 0, 6):
        yield resume.part(of.page(number).with_columns(v=pl.lit({factor})), cursor=number + 1)
"""
    space: dict[str, Any] = {"Resume": Resume, "pl": pl, "__name__": __name__}
    path = Path(f"edited_{factor}.py")
    path.write_text(source)
    exec(compile(source, str(path), "exec"), space)  # noqa: S102 - an edit of a function
    import linecache

    linecache.checkcache(str(path))
    made = checkpoint(name="pages", ignore=["of"])(space["pages"])
    return lambda: made, api


def test_work_of_older_code_is_asked_about(api: Api) -> None:
    """Costly rows of other code are neither thrown away nor gone on with unasked."""
    configure(costly_s=0.0)
    first, _ = edited(api, 1)
    api.fails_at = {4}
    with pytest.raises(ConnectionError, match="the line"):
        first()(of=api)
    api.fails_at, api.asked = set(), []
    second = edited(api, 2)[0]()
    with pytest.raises(CodeChangedError, match=r"unfinished: 12 rows that took .*accept\("):
        second(of=api)
    assert api.asked == []
    assert second.accept(of=api) == 1
    assert second(of=api)["v"].to_list() == [1] * 12 + [2] * 6
    assert api.asked == [4, 5]
    (entry,) = second.entries()
    assert [each.how for each in entry.accepted] == ["accept()"]


def test_work_of_older_code_that_is_cheap_is_left_alone(api: Api) -> None:
    """Cheap rows are computed anew with the new code, and stay for the older one."""
    first = edited(api, 1)[0]()
    api.fails_at = {4}
    with pytest.raises(ConnectionError, match="the line"):
        first(of=api)
    api.fails_at, api.asked = set(), []
    second = edited(api, 2)[0]()
    assert second(of=api)["v"].to_list() == [2] * 18
    assert api.asked == [0, 1, 2, 3, 4, 5]
    assert first.partial(of=api).collect().height == 12


def test_a_policy_accepts_without_asking(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """USHER_ON_CODE_CHANGE=accept goes on with the rows of older code, and states it."""
    first = edited(api, 1)[0]()
    api.fails_at = {4}
    with pytest.raises(ConnectionError, match="the line"):
        first(of=api)
    api.fails_at, api.asked = set(), []
    monkeypatch.setenv("USHER_ON_CODE_CHANGE", "accept")
    second = edited(api, 2)[0]()
    assert second(of=api)["v"].to_list() == [1] * 12 + [2] * 6
    assert second.entries()[0].accepted[0].how == "on_code_change"


def test_refresh_begins_anew(api: Api) -> None:
    """Who wants a result from the beginning gets one, whatever is unfinished."""
    pages = stopped_at(api, 4)
    assert pages.refresh().equals(expected())
    assert api.asked == [0, 1, 2, 3, 4, 5]


# --- without the library, and what is refused -------------------------------------------


def test_the_function_itself_runs_from_any_cursor(api: Api) -> None:
    """Without the library `Resume` is what it is made with, and a part is its frame."""
    pages = paged(api)
    frames = list(pages.__wrapped__(resume=Resume(4)))
    assert [frame["page"][0] for frame in frames] == [4, 5]
    assert next(iter(pages.__wrapped__()))["page"][0] == 0
    assert pages.bypass().equals(expected())
    assert Resume().rows().collect().is_empty()


def test_nobody_but_the_library_hands_it_in(api: Api) -> None:
    """Rows would be missing from a result that somebody began in the middle."""
    pages = paged(api)
    with pytest.raises(TypeError, match=r"pages\(\) is handed its resume by the library"):
        pages(resume=Resume(3))
    assert api.asked == []


def test_only_a_generator_can_go_on() -> None:
    """Of a function that returns all at once there are no parts."""

    def whole(*, resume: Resume[int] = Resume()) -> pl.DataFrame:
        return pl.DataFrame({"n": [resume.cursor]})

    with pytest.raises(DeclarationError, match=r"resume is Resume\(\); expected one, of a gen"):
        checkpoint(whole)


def test_it_counts_for_no_key(api: Api) -> None:
    """The key of a call has nothing of `Resume` in it."""
    assert [part.label for part in paged(api).key().parts if part.kind == "argument"] == [
        "term"
    ]


def test_what_is_forgotten_or_cleared_is_not_gone_on_with(api: Api) -> None:
    """`forget` and `clear` remove what is unfinished as well."""
    pages = stopped_at(api, 4)
    assert pages.forget()
    assert not pages.forget()
    assert pages().equals(expected())
    assert api.asked == [0, 1, 2, 3, 4, 5]
    pages.clear()
    pages = stopped_at(api, 4)
    pages.clear()
    with pytest.raises(CheckpointMissError, match="nothing of it is unfinished"):
        pages.partial()


def test_the_usage_of_a_store_counts_what_is_unfinished(api: Api) -> None:
    """Parts take room on the disk, and whoever looks is told."""
    pages = stopped_at(api, 4)
    with PipelineStore(STORE) as store:
        usage = store.usage()
        parts = sum(path.stat().st_size for path in UNFINISHED.rglob("*.*"))
        assert (usage.unfinished_count, usage.unfinished_size_bytes) == (1, parts)
        assert "unfinished" in str(usage)
        assert usage.size_bytes == usage.database_size_bytes + parts
        pages()
        assert store.usage().unfinished_count == 0


def test_older_work_stays_and_goes_on_with_its_own_code(api: Api) -> None:
    """What newer code took over is not taken from the older one: v1, v2, v1."""
    first = edited(api, 1)[0]()
    api.fails_at = {4}
    with pytest.raises(ConnectionError, match="the line"):
        first(of=api)
    second = edited(api, 2)[0]()
    assert second.accept(of=api) == 1
    api.fails_at, api.asked = set(), []
    assert second(of=api)["v"].to_list() == [1] * 12 + [2] * 6
    assert first(of=api)["v"].to_list() == [1] * 18
    assert api.asked == [4, 5, 4, 5]


def test_to_accept_older_work_costs_no_newer_one(api: Api) -> None:
    """Who has rows of the very code keeps them, whatever older ones there are."""
    first = edited(api, 1)[0]()
    second = edited(api, 2)[0]()
    for each, stop in ((first, 5), (second, 2)):
        api.fails_at = {stop}
        with pytest.raises(ConnectionError, match="the line"):
            each(of=api)
    assert second.accept(of=api) == 0
    assert second.accept() == 0
    assert second.partial(of=api).collect()["v"].to_list() == [2] * 6


def test_all_unfinished_work_is_accepted_at_once(api: Api) -> None:
    """`accept()` without arguments concerns what is unfinished as well."""
    configure(costly_s=0.0)
    first = edited(api, 1)[0]()
    api.fails_at = {4}
    with pytest.raises(ConnectionError, match="the line"):
        first(of=api)
    api.fails_at = set()
    second = edited(api, 2)[0]()
    assert second.accept() == 1
    assert second(of=api)["v"].to_list() == [1] * 12 + [2] * 6


def damage(part: Path) -> None:
    """Change bytes all over a file."""
    data = bytearray(part.read_bytes())
    for place in range(300, len(data), 64):
        data[place] ^= 1
    part.write_bytes(data)


def test_damage_is_not_hidden_when_parts_are_put_together(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a damaged part are never left out of a result that goes on behind them."""
    pages = stopped_at(api, 4, count=9)
    damage(sorted(UNFINISHED.rglob("*.arrow"))[1])
    monkeypatch.setattr(unfinished, "_MOST_SMALL", 4)
    (work,) = begun()
    parts = work.parts()
    packed = work.packed(parts[0])
    assert packed is not None
    assert len(work.add(packed, parts[-1].reached, parts)) == 5
    with pytest.warns(UsherWarning, match="damaged from row 3 on"):
        assert pages().equals(expected(9))


def test_who_looks_sees_no_rows_behind_damage(api: Api) -> None:
    """The rows so far are those before the damage, and not some of both sides."""
    pages = stopped_at(api, 4)
    damage(sorted(UNFINISHED.rglob("*.arrow"))[1])
    assert pages.partial().collect().equals(expected(1))
    assert pages.load(partial=True).equals(expected(1))


def begun() -> list[Any]:
    """Return the unfinished work of the checkpoint."""
    segments = Segments(STORE.with_suffix(".checkpoints").resolve())
    return [work for work, _ in unfinished.works(segments, "pages")]


ODD: list[Any] = [
    None,
    -1,
    [],
    {},
    "x",
    1e308,
    True,
    "0001-01-01T00:00:00+14:00",
    "polars.Series",
]


@pytest.mark.parametrize("value", ODD)
def test_parts_and_statements_may_hold_anything(api: Api, value: Any) -> None:
    """Whatever stands in a file of unfinished work: it is none, or the result is exact."""
    pages = stopped_at(api, 2)
    for name in ("work.json", "00000001-00000001.json"):
        (path,) = UNFINISHED.rglob(name)
        text = path.read_text()
        data = json.loads(text)
        for key in data:
            path.write_text(json.dumps(data | {key: value}))
            with PipelineStore(STORE) as store:
                str(store.usage())
                store.prune(keep_latest=1)
            assert len(begun()) <= 1
            with suppress(CheckpointMissError):
                assert pages.load(partial=True).equals(expected(2))
        path.write_text(text)
    path.write_text(json.dumps(json.loads(text) | {"schema": value}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UsherWarning)
        assert pages().equals(expected())


def test_rows_of_a_file_that_changed_meanwhile_are_not_gone_on_with(api: Api) -> None:
    """A file that changed while the function ran, and changed back, spoils no result."""
    source = Path("source.txt")
    source.write_text("old")

    @checkpoint(name="pages", ignore=["of", "stops"])
    def pages(
        path: Path, *, of: Api = api, stops: set[int], resume: Resume[int] = Resume()
    ) -> Iterator[pl.DataFrame]:
        for number in range(resume.cursor or 0, 4):
            if number in stops:
                raise ConnectionError("the line is dead")
            if number == 2 and stops:
                path.write_text("new")
            yield resume.part(
                of.page(number).with_columns(text=pl.lit(path.read_text())), cursor=number + 1
            )

    with pytest.raises(ConnectionError, match="the line is dead"):
        pages(source, stops={3})
    source.write_text("old")
    assert pages.partial(source, stops=set()).collect().height == 6
    assert set(pages(source, stops=set())["text"]) == {"old"}
    assert api.asked == [0, 1, 2, 2, 3]


def test_explain_says_where_a_call_goes_on(api: Api) -> None:
    """Whoever asks before a call is told what is stored, and what is to be decided."""
    configure(costly_s=0.0)
    first = edited(api, 1)[0]()
    api.fails_at = {4}
    with pytest.raises(ConnectionError, match="the line"):
        first(of=api)
    decision = first.explain(of=api)
    assert isinstance(decision, Miss)
    assert "goes on after 12 rows that took" in str(decision)
    second = edited(api, 2)[0]()
    blocked = second.explain(of=api)
    assert isinstance(blocked, Blocked)
    assert "unfinished: 12 rows" in str(blocked)
    api.fails_at = set()
    first(of=api)
    assert "goes on after 12 rows" in first.entries()[0].reason


def test_a_refresh_that_was_stopped_goes_on(api: Api) -> None:
    """What a refresh had is kept for the next one, and for a call without another result."""
    pages = paged(api)
    pages()
    api.asked.clear()
    api.fails_at = {4}
    with pytest.raises(ConnectionError, match="the line"):
        pages.refresh()
    api.fails_at = set()
    assert pages().equals(expected())
    assert api.asked == [0, 1, 2, 3, 4]
    assert pages.refresh().equals(expected())
    assert api.asked == [0, 1, 2, 3, 4, 4, 5]


def test_who_chose_to_begin_anew_after_an_edit_is_not_asked_again(api: Api) -> None:
    """Rows of the new code are gone on with, although the older one has a costly result."""
    configure(costly_s=0.0)
    edited(api, 1)[0]()(of=api)
    second = edited(api, 2)[0]()
    with pytest.raises(CodeChangedError, match="18 rows"):
        second(of=api)
    api.fails_at, api.asked = {4}, []
    with pytest.raises(ConnectionError, match="the line"):
        second.refresh(of=api)
    api.fails_at = set()
    assert second(of=api)["v"].to_list() == [2] * 18
    assert api.asked == [0, 1, 2, 3, 4, 4, 5]
