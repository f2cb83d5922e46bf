"""How old a result may be, what renews it, and what is returned when nothing can."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pytest

from usher_pipeline import (
    Resume,
    checkpoint,
    configure,
    current_run,
    export,
    load,
    run,
)
from usher_pipeline.errors import (
    CheckpointMissError,
    CodeChangedError,
    DeclarationError,
    InvalidResultError,
    ProbeError,
    StaleResultWarning,
    UsherWarning,
)
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.records import Hit, Miss, utc_now

STORE = Path("out/store.duckdb")
SECRET = "planted0token0zz"  # noqa: S105 - it is looked for

#: Sets the clock so many days ahead.
Later: TypeAlias = Callable[[float], None]


@pytest.fixture(autouse=True)
def _store() -> None:
    STORE.parent.mkdir()
    configure(store=STORE)
    _begun[0] = len(current_run().steps())


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Return what sets the clock of the library."""

    def later(days: float) -> None:
        def ahead() -> datetime:
            return utc_now() + timedelta(days=days)

        for module in ("freshness", "results", "calls", "accepting", "spreading"):
            monkeypatch.setattr(f"usher_pipeline.{module}.utc_now", ahead)
        monkeypatch.setattr("usher_pipeline.recall._now_s", lambda: ahead().timestamp())

    return later


class World:
    """What a function fetches: a table that changes, of a server that is down at times."""

    def __init__(self) -> None:
        self.version = "v1"
        self.problem: BaseException | None = None
        self.is_silent = False
        self.fetched = 0
        self.asked = 0

    def fetch(self) -> pl.DataFrame:
        """Return the table."""
        if self.problem is not None:
            raise self.problem
        self.fetched += 1
        return pl.DataFrame({"version": [self.version]})

    def probe(self) -> str:
        """Return which version there is."""
        self.asked += 1
        if self.is_silent:
            raise ConnectionError(f"no answer, token={SECRET}")
        return self.version


@pytest.fixture
def world() -> World:
    """Return a world."""
    return World()


def fetching(world: World, **options: Any) -> Any:
    """Return a checkpoint on the world, whose state is no part of any key."""
    stated: dict[str, Any] = {"version": "1"} | options

    @checkpoint(name="fetched", ignore=["of"], **stated)
    def fetched(depth: int = 0, of: World = world) -> pl.DataFrame:
        return of.fetch()

    return fetched


def probing(world: World, **options: Any) -> Any:
    """Return a checkpoint with a source that is asked for its version."""
    return fetching(world, sources={"clinvar": world.probe}, **options)


def outcomes() -> list[str]:
    """Return what the calls of this test were."""
    steps = current_run().steps()[_begun[0] :]
    return [step["details"]["outcome"] for step in steps]


#: How many steps the run of the process had before this test.
_begun = [0]


# --- how it is stated -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "seconds"), [("7d", 604_800.0), (timedelta(hours=1), 3_600.0), (None, None)]
)
def test_the_age_is_stated_with_the_function(
    stated: Any, seconds: float | None, world: World
) -> None:
    """A text or a timedelta says how old results may be; without it they may be of any age."""
    declared = fetching(world, max_age=stated).__usher_declaration__
    assert declared.max_age_s == seconds
    assert declared.stale_if_error is False


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_age": "7"}, "max_age= expected a time such as \"7d\".*, got '7'. Nothing"),
        ({"max_age": 7}, "got 7, which has no unit"),
        ({"max_age": "0s"}, "no time at all"),
        ({"stale_if_error": "yes"}, "stale_if_error= expected True or False, got 'yes'"),
    ],
)
def test_a_wrong_option_is_refused(options: Any, problem: str, world: World) -> None:
    """What is no age is an error of the decorator that says what was expected."""
    with pytest.raises(DeclarationError, match=problem):
        fetching(world, **options)


# --- expiry -----------------------------------------------------------------------------


def test_an_expired_result_is_computed_again(world: World, later: Later) -> None:
    """Within its age a result is a hit; beyond it the function runs, and the age restarts."""
    fetched = fetching(world, max_age="7d")
    fetched()
    later(6)
    fetched()
    assert world.fetched == 1
    later(8)
    assert str(fetched.explain()) == "miss: expired: 8 d old, max_age is 7 d"
    fetched()
    fetched()
    assert world.fetched == 2
    later(14)
    assert isinstance(fetched.explain(), Hit)


def test_the_age_is_no_part_of_the_key(world: World, later: Later) -> None:
    """A longer age makes valid again what had expired; a shorter one does the contrary."""
    fetching(world, max_age="7d")()
    later(8)
    for max_age, kind in (("7d", Miss), ("30d", Hit), (None, Hit), ("1h", Miss)):
        assert type(fetching(world, max_age=max_age).explain()) is kind


def test_load_says_that_a_result_has_expired(world: World, later: Later) -> None:
    """What never runs a function refuses an expired result by its function, not by name."""
    fetched = fetching(world, max_age="7d")
    fetched()
    later(8)
    with pytest.raises(CheckpointMissError, match="expired: 8 d old, max_age is 7 d"):
        fetched.load()
    assert load("fetched")["version"].item() == "v1"


def test_a_recalled_call_expires(
    world: World, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick way to an answer ends when the result expires, and when the clock goes back."""
    monkeypatch.setattr("usher_pipeline.recall._SETTLED_NS", 0)
    monkeypatch.setattr("usher_pipeline.fingerprint.files._SETTLED_NS", 0)
    count = []

    @checkpoint(max_age="7d", version="1")
    def counted(depth: int = 0) -> pl.DataFrame:
        count.append(depth)
        return pl.DataFrame({"a": [depth]})

    def warm() -> None:
        for _ in range(3):
            counted()
        assert counted.__usher_declaration__.recalled

    warm()
    later(8)
    counted()
    assert len(count) == 2
    later(0)
    # For this clock the newest result is one of next week.
    counted()
    assert len(count) == 3


def test_accepting_code_makes_nothing_fresh(later: Later) -> None:
    """That a result holds for newer code says nothing of what it was fetched from."""

    @checkpoint(name="edited", max_age="7d")
    def edited() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    edited()

    @checkpoint(name="edited", max_age="7d")  # type: ignore[no-redef]
    def edited() -> pl.DataFrame:
        return pl.DataFrame({"a": [2]})

    later(6)
    assert edited.accept() == 1
    assert edited()["a"].item() == 1
    later(8)
    assert edited()["a"].item() == 2


def test_asynchronous_results_expire(world: World, later: Later) -> None:
    """Of an asynchronous function they expire alike."""

    @checkpoint(name="awaited", ignore=["of"], max_age="7d")
    async def awaited(of: World = world) -> pl.DataFrame:
        await asyncio.sleep(0)
        return of.fetch()

    for days, count in ((0, 1), (6, 1), (8, 2), (9, 2)):
        later(days)
        asyncio.run(awaited())
        assert world.fetched == count


# --- what is made of what expires -------------------------------------------------------


def nested(world: World, **options: Any) -> tuple[Any, Any, list[int]]:
    """Return a checkpoint, one that calls it, and how often that ran."""
    inner, ran = fetching(world, **options), list[int]()

    @checkpoint(name="outer", ignore=["ran"])
    def outer(ran: list[int] = ran) -> pl.DataFrame:
        ran.append(1)
        return inner().with_columns(n=1)  # type: ignore[no-any-return]

    return inner, outer, ran


def test_what_was_made_of_an_expired_result_is_made_again(world: World, later: Later) -> None:
    """The inner checkpoint is asked again, by whoever called it."""
    _, outer, ran = nested(world, max_age="7d")
    outer()
    later(6)
    outer()
    assert (world.fetched, len(ran)) == (1, 1)
    later(8)
    world.version = "v2"
    why = "miss: checkpoint fetched, which it read, is expired"
    assert str(outer.explain()).startswith(why)
    assert outer()["version"].item() == "v2"
    assert (world.fetched, len(ran)) == (2, 2)
    outer()
    assert (world.fetched, len(ran)) == (2, 2)


def test_what_came_out_equal_makes_nothing_run_again(world: World, later: Later) -> None:
    """If the inner checkpoint was asked already, and gave the same, the outer one is a hit."""
    inner, outer, ran = nested(world, max_age="7d")
    outer()
    later(8)
    inner()
    assert isinstance(outer.explain(), Hit)
    outer()
    assert (world.fetched, len(ran)) == (2, 1)


def test_what_is_two_calls_away_expires_as_well(world: World, later: Later) -> None:
    """A chain of checkpoints is as fresh as what it begins with."""
    _, outer, ran = nested(world, max_age="7d")

    @checkpoint(name="outermost")
    def outermost() -> pl.DataFrame:
        return outer().with_columns(m=2)  # type: ignore[no-any-return]

    outermost()
    later(8)
    assert isinstance(outermost.explain(), Miss)
    outermost()
    assert (world.fetched, len(ran)) == (2, 2)


def test_what_no_code_leads_to_expires_as_well(world: World, later: Later) -> None:
    """Of a checkpoint that is found at run time alone the age counts, too."""
    inner = fetching(world, max_age="7d")
    table = {"inner": inner}

    @checkpoint(name="by_table", version="1")
    def by_table(which: str) -> pl.DataFrame:
        return table[which]()  # type: ignore[no-any-return]

    by_table("inner")
    later(6)
    assert isinstance(by_table.explain("inner"), Hit)
    later(8)
    assert isinstance(by_table.explain("inner"), Miss)


def test_of_unchanged_sources_nothing_that_was_made_expires(world: World, later: Later) -> None:
    """An inner result that a probe would renew keeps what was made of it."""
    inner = probing(world, max_age="7d")

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        return inner()  # type: ignore[no-any-return]

    outer()
    later(8)
    assert isinstance(outer.explain(), Hit)
    world.version = "v2"
    assert isinstance(outer.explain(), Miss)


# --- renewal ----------------------------------------------------------------------------


def test_an_unchanged_source_renews(world: World, later: Later) -> None:
    """An expired result whose probe answers the same is renewed, and nothing is fetched."""
    fetched = probing(world, max_age="7d")
    fetched()
    assert fetched.entries()[0].renewed is None
    later(8)
    assert "renewed: expired: 8 d old" in str(fetched.explain())
    assert fetched.entries()[0].renewed is None
    fetched()
    assert world.fetched == 1
    (entry,) = fetched.entries()
    assert entry.number == 1
    assert entry.renewed is not None
    assert entry.renewed.answers == (("clinvar", "v1"),)
    assert timedelta(days=7) < entry.fresh_since - entry.created_at < timedelta(days=9)
    assert entry.step().to_json()["details"]["renewed"] == entry.renewed.to_json()
    assert outcomes() == ["computed", "renewed"]
    assert current_run().steps()[-1]["details"]["renewed"]["answers"] == {"clinvar": "v1"}


def test_a_renewal_lasts_as_long_as_a_result(world: World, later: Later) -> None:
    """Its age restarts; until it expires once more it is a plain hit."""
    fetched = probing(world, max_age="7d")
    fetched()
    later(8)
    fetched()
    later(14)
    fetched()
    assert outcomes() == ["computed", "renewed", "hit"]
    later(16)
    assert fetched.explain().renews is not None


def test_a_changed_source_is_fetched(world: World, later: Later) -> None:
    """Another answer is another result, expired or not."""
    fetched = probing(world, max_age="7d")
    fetched()
    later(8)
    world.version = "v2"
    assert fetched()["version"].item() == "v2"
    assert world.fetched == 2


def test_a_renewal_goes_with_its_result(world: World, later: Later) -> None:
    """It changes no file of the result, lies beside it, and is removed with it."""
    fetched = probing(world, max_age="7d")
    fetched()
    folder = Path("out/store.checkpoints/fetched")
    before = {path.name: path.read_bytes() for path in folder.glob("[0-9a-f]*")}
    later(8)
    fetched()
    after = {path.name: path.read_bytes() for path in folder.glob("[0-9a-f]*")}
    (name,) = after.keys() - before.keys()
    assert name.endswith(".renewed")
    assert before.items() <= after.items()
    fetched.forget()
    assert not list(folder.glob("[0-9a-f]*"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"content": "x", "renewed_at": "2026-01-01", "answers": {}}']
)
def test_a_damaged_renewal_is_none(world: World, later: Later, text: str) -> None:
    """What can not be read, or is of another result, renews nothing; the next one does."""
    fetched = probing(world, max_age="7d")
    fetched()
    later(8)
    fetched()
    (path,) = Path("out/store.checkpoints/fetched").glob("*.renewed")
    path.write_text(text, "utf-8")
    assert fetched.entries()[0].renewed is None
    fetched()
    assert fetched.entries()[0].renewed is not None


def test_an_expired_result_is_renewed_where_nothing_can_be_written(
    world: World, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a store that can only be read it is renewed for the call that asked."""
    fetched = probing(world, max_age="7d")
    fetched()
    later(8)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr("usher_pipeline.persistence.segments.Segments.renew", refuse)
    assert fetched()["version"].item() == "v1"
    assert world.fetched == 1


def test_a_run_that_only_renews_need_not_be_recorded(
    world: World, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be written a block of hits and renewals ends without a warning."""
    fetched = probing(world, max_age="7d", stale_if_error=True)
    fetched()

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr("usher_pipeline.persistence.local.LocalBackend.record_run", refuse)
    later(8)
    with run():
        assert fetched()["version"].item() == "v1"
    world.version, world.problem = "v2", ConnectionError("down")
    with pytest.warns(UsherWarning, match="down|could not be saved") as caught, run():
        fetched()
    assert len(caught) == 2


def test_in_a_block_a_probe_is_asked_once(world: World) -> None:
    """A block asks a probe once, outside of one each call does, and does so but once."""
    fetched = probing(world, max_age="7d")
    fetched()
    world.asked = 0
    for _ in range(3):
        fetched()
    assert world.asked == 3
    with run():
        for _ in range(3):
            fetched()
    assert world.asked == 4


def test_a_renewal_is_as_old_as_its_answer(world: World, later: Later) -> None:
    """In a block that lasts for days the answer is of its beginning, and so is the renewal."""
    fetched = probing(world, max_age="7d")
    with run():
        fetched()
        later(8)
        fetched()
    (entry,) = fetched.entries()
    assert entry.renewed is not None
    assert entry.renewed.renewed_at < entry.created_at
    assert (world.fetched, fetched.explain().renews is None) == (1, False)


def test_an_accepted_result_stays_renewed(world: World, later: Later) -> None:
    """A result that holds for newer code is as fresh as it was for the older one."""

    def edited_with(number: int) -> Any:
        @checkpoint(name="edited", max_age="7d", sources={"clinvar": world.probe})
        def edited() -> pl.DataFrame:
            return pl.DataFrame({"a": [number]})

        return edited

    edited_with(1)()
    later(8)
    edited_with(1)()
    edited = edited_with(2)
    assert edited.accept() == 1
    assert edited.explain().renews is None
    assert edited()["a"].item() == 1


# --- stale_if_error ---------------------------------------------------------------------


def test_the_last_good_result_stands_in(world: World, later: Later) -> None:
    """If the function fails its expired result is returned, with a warning that says all."""
    fetched = fetching(world, max_age="7d", stale_if_error=True)
    first = fetched()
    later(8)
    world.problem = problem = ConnectionError(f"https://me:{SECRET}@host is down")
    with pytest.warns(StaleResultWarning) as caught:
        assert fetched().equals(first)
    (warning,) = caught
    told = str(warning.message)
    assert told.startswith("fetched could not be made anew: ConnectionError: https://(hidden)")
    assert "which is 8 d old" in told
    assert "Call it again" in told
    assert SECRET not in told
    assert isinstance(warning.message, StaleResultWarning)
    assert warning.message.__cause__ is problem
    assert warning.filename == __file__
    assert len(fetched.entries()) == 1


def test_the_provenance_says_that_it_is_stale(world: World, later: Later) -> None:
    """The steps of the run and the sidecar of an export say so, and why; no secret is shown."""
    fetched = fetching(world, max_age="7d", stale_if_error=True)
    fetched()
    later(8)
    world.problem = ConnectionError(f"password={SECRET}")
    with run() as current, pytest.warns(StaleResultWarning, match="8 d old"):
        path = export(fetched(), "out/genes.parquet")
    failed, stale = current.steps()
    assert failed["details"]["outcome"] == "failed"
    assert stale["details"]["outcome"] == "stale"
    said = stale["details"]["stale"]
    assert said["error"] == said["reason"] == "ConnectionError: password=(hidden)"
    assert 8 * 86_400 <= said["age_s"] < 9 * 86_400
    assert (said["key"], said["number"]) == (fetched.entries()[0].key.digest, 1)
    sidecar = json.loads(path.with_suffix(".provenance.json").read_text("utf-8"))
    assert sidecar["output"]["stale"] == said
    assert SECRET not in str(current.provenance())
    world.problem = None
    path = export(fetched(), "out/genes.parquet")
    sidecar = json.loads(path.with_suffix(".provenance.json").read_text("utf-8"))
    assert "stale" not in sidecar["output"]


def test_who_makes_errors_of_warnings_has_the_result(world: World, later: Later) -> None:
    """The warning carries what was returned, and the error as its cause."""
    fetched = fetching(world, max_age="7d", stale_if_error=True)
    first = fetched()
    later(8)
    world.problem = ConnectionError("down")
    with pytest.raises(StaleResultWarning, match="down") as caught:
        fetched()
    assert caught.value.frame.equals(first)
    assert caught.value.__cause__ is world.problem


def test_without_the_option_the_error_is_raised(world: World, later: Later) -> None:
    """Nobody gets a stale result who has not asked for that."""
    fetched = fetching(world, max_age="7d")
    fetched()
    later(8)
    world.problem = ConnectionError("down")
    with pytest.raises(ConnectionError, match="down"):
        fetched()


def test_without_a_good_result_the_error_is_raised(world: World) -> None:
    """Other arguments are another call; nothing stands in for its first result."""
    fetched = fetching(world, stale_if_error=True)
    fetched(1)
    world.problem = ConnectionError("down")
    with pytest.raises(ConnectionError, match="down"):
        fetched(2)


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), SystemExit(3)])
def test_who_ends_a_call_gets_no_result(
    world: World, later: Later, problem: BaseException
) -> None:
    """Ctrl-C and the end of the process are no errors of the world."""
    fetched = fetching(world, max_age="7d", stale_if_error=True)
    fetched()
    later(8)
    world.problem = problem
    with pytest.raises(type(problem), match=str(problem) or "^$"):
        fetched()


def test_a_mistake_in_the_code_is_not_covered_up(later: Later) -> None:
    """What this library says is to be mended is said, whatever is stored."""
    good = [True]

    @checkpoint(name="wrong", ignore=["good"], max_age="7d", stale_if_error=True)
    def wrong(good: list[bool] = good) -> Any:
        return pl.DataFrame({"a": [1]}) if good[0] else 5

    wrong()
    later(8)
    good[0] = False
    with pytest.raises(InvalidResultError, match="wrong returned int"):
        wrong()


def test_older_code_does_not_stand_in(world: World, later: Later) -> None:
    """A result of other code is no last good one of the call."""
    fetching(world, version="1", stale_if_error=True)()
    world.problem = ConnectionError("down")
    with pytest.raises(ConnectionError, match="down"):
        fetching(world, version="2", stale_if_error=True)()


def test_a_stated_version_is_not_replaced(world: World) -> None:
    """Who asks for a version by name gets no other one."""
    fetching(world, sources={"gnomad": "v4.0"}, stale_if_error=True)()
    world.problem = ConnectionError("down")
    with pytest.raises(ConnectionError, match="down"):
        fetching(world, sources={"gnomad": "v4.1"}, stale_if_error=True)()


def test_a_new_version_that_can_not_be_fetched(world: World) -> None:
    """The result of the version before stands in, and the warning names both."""
    fetched = probing(world, stale_if_error=True)
    fetched()
    world.version, world.problem = "v2", ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="source clinvar: v1 → v2"):
        assert fetched()["version"].item() == "v1"
    world.problem = None
    assert fetched()["version"].item() == "v2"


def test_a_refresh_that_fails(world: World) -> None:
    """Also where the function was to run whatever is stored the stored result stands in."""
    fetched = fetching(world, stale_if_error=True)
    fetched()
    world.problem = ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="down"):
        fetched.refresh()
    world.problem = None
    world.version = "v2"
    assert fetched.refresh()["version"].item() == "v2"


def test_each_form_of_a_stale_result(world: World, later: Later) -> None:
    """A stale result comes in the form that is asked for."""
    fetched = fetching(world, max_age="7d", stale_if_error=True)
    fetched()
    later(8)
    world.problem = ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="down"):
        assert fetched.lazy().collect()["version"].item() == "v1"


def test_a_dictionary_of_stale_frames(later: Later) -> None:
    """All parts of a result stand in together, each with its mark."""
    problem: list[Exception] = []

    @checkpoint(name="both", ignore=["problem"], max_age="7d", stale_if_error=True)
    def both(problem: list[Exception] = problem) -> dict[str, pl.DataFrame]:
        if problem:
            raise problem[0]
        return {name: pl.DataFrame({"a": [name]}) for name in ("x", "y")}

    both()
    later(8)
    problem.append(ConnectionError("down"))
    with pytest.warns(StaleResultWarning, match="down"):
        found = both()
    assert found["y"]["a"].item() == "y"
    path = export(found["x"], "out/x.parquet")
    sidecar = json.loads(path.with_suffix(".provenance.json").read_text("utf-8"))
    assert sidecar["output"]["stale"]["error"] == "ConnectionError: down"
    assert sidecar["output"]["checkpoint"] == "both__x"


def test_a_lost_result_stands_in_for_nothing(world: World, later: Later) -> None:
    """If what is stored can not be read the error is raised."""
    fetched = fetching(world, max_age="7d", stale_if_error=True)
    fetched()
    current_run().backend.publish()
    for path in Path("out/store.checkpoints/fetched").glob("*.arrow"):
        path.unlink()
    PipelineStore(STORE).conn.execute("DROP TABLE fetched")
    later(8)
    world.problem = ConnectionError("down")
    with pytest.raises(ConnectionError, match="down"):
        fetched()


def test_an_asynchronous_result_stands_in(world: World, later: Later) -> None:
    """Of an asynchronous function the last good result is returned alike."""

    @checkpoint(name="awaited", ignore=["of"], max_age="7d", stale_if_error=True)
    async def awaited(of: World = world) -> pl.DataFrame:
        await asyncio.sleep(0)
        return of.fetch()

    asyncio.run(awaited())
    later(8)
    world.problem = ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="8 d old"):
        assert asyncio.run(awaited())["version"].item() == "v1"


def test_a_generator_that_fails(later: Later) -> None:
    """A result that is yielded stands in as well, and what was begun is no result."""
    problem: list[Exception] = []

    @checkpoint(name="pages", ignore=["problem"], max_age="7d", stale_if_error=True)
    def pages(problem: list[Exception] = problem) -> Any:
        yield pl.DataFrame({"page": [1]})
        if problem:
            raise problem[0]
        yield pl.DataFrame({"page": [2]})

    pages()
    later(8)
    problem.append(ConnectionError("down"))
    with pytest.warns(StaleResultWarning, match="down"):
        assert pages()["page"].to_list() == [1, 2]


def test_it_is_told_of_each_call(
    world: World, later: Later, caplog: pytest.LogCaptureFixture
) -> None:
    """The line of a call says that its result is stale, renewed, and how old it is."""
    caplog.set_level("INFO", "usher_pipeline")
    fetched = probing(world, max_age="7d", stale_if_error=True)
    fetched()
    later(8)
    fetched()
    world.version, world.problem = "v2", ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="down"):
        fetched()
    _, renewed, stale = caplog.messages
    assert renewed.startswith("fetched · hit (renewed) · 1 × 1 · ")
    assert " · renewed " in renewed
    assert stale.startswith("fetched · stale (ConnectionError: down) · 1 × 1")


# --- what is made of a stale result -----------------------------------------------------


def test_what_was_made_of_an_expired_result_is_no_lasting_hit(
    world: World, later: Later
) -> None:
    """While the inner checkpoint fails it is asked again each time; then all is made anew."""
    _, outer, ran = nested(world, max_age="7d", stale_if_error=True)
    outer()
    later(8)
    world.version, world.problem = "v2", ConnectionError("down")
    for count in (2, 3):
        with pytest.warns(StaleResultWarning, match="down"):
            assert outer()["version"].item() == "v1"
        assert len(ran) == count
        assert isinstance(outer.explain(), Miss)
    details = outer.entries()[0].step().to_json()["details"]
    assert details["made_of_stale"] == ["fetched"]
    world.problem = None
    assert outer()["version"].item() == "v2"
    assert isinstance(outer.explain(), Hit)
    assert "made_of_stale" not in outer.entries()[0].step().to_json()["details"]


def test_what_was_made_of_an_older_version_is_no_lasting_hit(world: World) -> None:
    """A result of v1 that stood in for v2 makes no hit for v2, until v2 is the very same."""
    inner = probing(world, stale_if_error=True)

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        return inner().with_columns(n=1)  # type: ignore[no-any-return]

    outer()
    world.version, world.problem = "v2", ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="v1 → v2"):
        assert outer()["version"].item() == "v1"
    assert isinstance(outer.explain(), Miss)
    entry = outer.entries()[0]
    (read,) = (read for read in entry.reads if read.kind == "call")
    assert read.key != read.served
    steps = current_run().backend.lineage(entry)
    assert [step["step_name"] for step in steps] == ["fetched", "outer"]
    assert steps[0]["details"]["sources"] == {"clinvar": "v1"}
    world.problem = None
    assert outer()["version"].item() == "v2"
    assert isinstance(outer.explain(), Hit)


def test_what_a_result_was_made_of_is_not_pruned(world: World) -> None:
    """A result that stood in is needed by what was made of it."""
    inner = probing(world, stale_if_error=True)

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        return inner()  # type: ignore[no-any-return]

    inner()
    world.version, world.problem = "v2", ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="v1 → v2"):
        outer()
    world.version, world.problem = "v3", None
    inner()
    store = PipelineStore(STORE)
    old = timedelta(0)
    assert store.prune(older_than=old).entries == ()
    outer.clear()
    assert [each.name for each in store.prune(older_than=old).entries] == ["fetched"]


def test_each_call_asks_a_probe_once(world: World) -> None:
    """However often a call needs the answer, outside of a block it asks for it once."""
    inner = probing(world, stale_if_error=True)

    @checkpoint(name="by_name", version="1", stale_if_error=True)
    def by_name() -> pl.DataFrame:
        return inner()  # type: ignore[no-any-return]

    by_name()
    world.version, world.problem = "v2", ConnectionError("down")
    world.asked = 0
    with pytest.warns(StaleResultWarning, match="v1 → v2"):
        by_name()
    # For the standing of what it had read, and by the inner call.
    assert world.asked == 2


def test_what_was_made_of_a_stale_argument_says_so(world: World, later: Later) -> None:
    """A stale frame that is handed to a checkpoint counts by its rows, and is named."""
    inner = fetching(world, max_age="7d", stale_if_error=True)

    @checkpoint(name="taking")
    def taking(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(n=1)

    inner()
    later(8)
    world.problem = ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="down"):
        frame = inner()
    taking(frame)
    assert taking.entries()[0].step().to_json()["details"]["made_of_stale"] == ["fetched"]


def test_a_version_that_comes_out_equal_confirms_what_was_made(world: World) -> None:
    """If the new version has the same rows, what was made of the older one is a hit."""
    inner = probing(world, stale_if_error=True)

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        return inner().with_columns(n=1)  # type: ignore[no-any-return]

    fetch = world.fetch
    world.fetch = lambda: fetch().with_columns(version=pl.lit("same"))  # type: ignore[method-assign]
    outer()
    world.version, world.problem = "v2", ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="v1 → v2"):
        outer()
    world.problem = None
    inner()
    assert isinstance(outer.explain(), Hit)


# --- probes that fail -------------------------------------------------------------------


def test_a_probe_that_fails_is_an_error(world: World) -> None:
    """Without its answer a call has no meaning; the error names the source and no secret."""
    fetched = probing(world, max_age="7d")
    fetched()
    world.is_silent = True
    with pytest.raises(ProbeError, match=r"source 'clinvar'.*ConnectionError: no") as caught:
        fetched()
    assert caught.value.source == "clinvar"
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert SECRET not in str(caught.value)
    with pytest.raises(ProbeError, match="clinvar"):
        fetched.load()


def test_a_result_stands_in_for_a_silent_source(world: World) -> None:
    """The last good result is returned with a warning; explain says that it would be."""
    fetched = probing(world, stale_if_error=True)
    fetched()
    world.version = "v2"
    fetched()
    world.is_silent = True
    decision = fetched.explain()
    assert isinstance(decision, Hit)
    assert str(decision).startswith("stale hit: fetched 1 × 1")
    world.asked = 0
    with pytest.warns(StaleResultWarning, match="probe of the source 'clinvar'") as caught:
        assert fetched()["version"].item() == "v2"
    assert world.asked == 1
    assert isinstance(caught[0].message, StaleResultWarning)
    assert isinstance(caught[0].message.__cause__, ProbeError)
    assert SECRET not in str(caught[0].message)
    assert world.fetched == 2
    with pytest.raises(ProbeError, match="clinvar"):
        fetched(1)
    world.is_silent = False
    assert fetched()["version"].item() == "v2"


def test_a_lost_result_stands_in_for_no_silent_source(world: World) -> None:
    """If what is stored can not be read, the error of the probe is raised."""
    fetched = probing(world, stale_if_error=True)
    fetched()
    current_run().backend.publish()
    for path in Path("out/store.checkpoints/fetched").glob("*.arrow"):
        path.unlink()
    PipelineStore(STORE).conn.execute("DROP TABLE fetched")
    world.is_silent = True
    with pytest.raises(ProbeError, match="clinvar"):
        fetched()


def test_ctrl_c_in_a_probe_is_ctrl_c(world: World) -> None:
    """Who ends the process while a probe waits ends it."""

    def probe() -> str:
        raise KeyboardInterrupt

    fetched = fetching(world, sources={"clinvar": probe}, stale_if_error=True)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        fetched()


def test_a_silent_source_of_what_is_called(world: World) -> None:
    """A function that calls such a checkpoint asks its probe as well, and says so itself."""
    inner = probing(world, stale_if_error=True)

    def outer_with(**options: Any) -> Any:
        @checkpoint(name="outer", **options)
        def outer() -> pl.DataFrame:
            return inner()  # type: ignore[no-any-return]

        return outer

    outer_with()()
    world.is_silent = True
    with pytest.raises(ProbeError, match="clinvar"):
        outer_with()()
    with pytest.warns(StaleResultWarning, match="clinvar"):
        assert outer_with(stale_if_error=True)()["version"].item() == "v1"


# --- offline ----------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what cuts the library off."""
    return lambda: monkeypatch.setenv("USHER_OFFLINE", "1")


def test_offline_an_expired_result_is_served(
    world: World,
    later: Later,
    offline: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is marked with its age, in the line of the call and in the provenance."""
    fetched = fetching(world, max_age="7d")
    fetched()
    later(8)
    offline()
    caplog.set_level("INFO", "usher_pipeline")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fetched()["version"].item() == "v1"
    (line,) = caplog.messages
    assert "stale (expired: 8 d old, max_age is 7 d; USHER_OFFLINE is set)" in line
    assert outcomes() == ["computed", "stale"]
    assert current_run().steps()[-1]["details"]["stale"]["age_s"] >= 8 * 86_400
    assert fetched.load()["version"].item() == "v1"


def test_offline_what_was_made_of_an_expired_result_is_served(
    world: World, later: Later, offline: Callable[[], None]
) -> None:
    """Nothing can be made anew, so what was made of it stays what it is."""
    _, outer, _ = nested(world, max_age="7d")
    outer()
    later(8)
    offline()
    assert outer()["version"].item() == "v1"


def test_offline_a_probe_answers_what_it_last_did(
    world: World, later: Later, offline: Callable[[], None]
) -> None:
    """It is not asked; the newest result that fits otherwise says what it answered."""
    fetched = probing(world, max_age="7d")
    fetched(1)
    world.version = "v2"
    fetched(1)
    world.version = "v3"
    fetched(2)
    offline()
    world.asked = 0
    world.is_silent = True
    assert fetched(1)["version"].item() == "v2"
    assert fetched(2)["version"].item() == "v3"
    assert fetched.key(1).digest == fetched.entries()[1].key.digest
    later(8)
    assert fetched.explain(1).stale is not None
    assert world.asked == 0


def test_offline_a_miss_names_what_is_nearest(
    world: World, offline: Callable[[], None]
) -> None:
    """What is not stored is an error, also where a probe can tell nothing."""
    fetched = probing(world)
    fetched(1)
    offline()
    world.asked = 0
    with pytest.raises(
        CheckpointMissError, match=r"depth: 1 → 2.*nearest stored: [0-9a-f]{12}"
    ):
        fetched(2)
    with pytest.raises(ProbeError, match="USHER_OFFLINE is set"):
        fetched.adopt(pl.DataFrame({"version": ["v1"]}), 3)
    assert world.asked == 0


def test_offline_what_no_code_leads_to_is_not_asked(
    world: World, offline: Callable[[], None]
) -> None:
    """A checkpoint that is found at run time alone has no probe asked either."""
    table = {"inner": probing(world)}

    @checkpoint(name="by_table", version="1")
    def by_table(which: str) -> pl.DataFrame:
        return table[which]()  # type: ignore[no-any-return]

    by_table("inner")
    offline()
    world.asked = 0
    assert by_table("inner")["version"].item() == "v1"
    assert world.asked == 0


# --- many items -------------------------------------------------------------------------


def papers_of(world: World, **options: Any) -> tuple[Any, list[str]]:
    """Return a checkpoint that is asked for many genes, and what it was asked."""
    asked: list[str] = []

    @checkpoint(name="papers", ignore=["asked"], version="1", **options)
    def papers(gene: str, asked: list[str] = asked) -> pl.DataFrame:
        asked.append(gene)
        return world.fetch().with_columns(gene=pl.lit(gene))

    return papers.mapped(over="gene", on_error="raise"), asked


def test_items_expire(world: World, later: Later) -> None:
    """Each item is as old as its answer; what expired is asked again, and nothing else."""
    papers, asked = papers_of(world, max_age="7d")
    papers(["USH2A", "MYO7A"])
    later(6)
    papers(["USH2A", "MYO7A"])
    assert asked == ["USH2A", "MYO7A"]
    later(8)
    assert "2 expired" in str(papers.explain(["USH2A", "MYO7A"]))
    papers(["USH2A"])
    assert asked == ["USH2A", "MYO7A", "USH2A"]


def test_items_of_unchanged_sources_do_not_expire(world: World, later: Later) -> None:
    """What a probe answers is in the key of the map, and keeps its answers."""
    papers, asked = papers_of(world, max_age="7d", sources={"clinvar": world.probe})
    papers(["USH2A"])
    later(8)
    papers(["USH2A"])
    assert asked == ["USH2A"]
    world.version = "v2"
    assert papers(["USH2A"])["version"].item() == "v2"


def test_a_table_of_items_is_as_old_as_its_first_answer(world: World, later: Later) -> None:
    """That it was put together lately does not make the rows in it younger."""
    papers, _ = papers_of(world, max_age="7d")
    papers(["USH2A"])
    later(6)

    @checkpoint(name="outer", version="1")
    def outer() -> pl.DataFrame:
        return papers(["USH2A", "MYO7A"])  # type: ignore[no-any-return]

    outer()
    assert isinstance(outer.explain(), Hit)
    later(8)
    assert isinstance(outer.explain(), Miss)


def test_items_that_read_what_expired_are_asked_again(world: World, later: Later) -> None:
    """An answer is as fresh as what its function read."""
    inner, asked = fetching(world, max_age="7d"), list[str]()

    @checkpoint(name="of_inner", ignore=["asked"], version="1")
    def of_inner(gene: str, asked: list[str] = asked) -> pl.DataFrame:
        asked.append(gene)
        return inner().with_columns(gene=pl.lit(gene))  # type: ignore[no-any-return]

    mapped = of_inner.mapped(over="gene")
    mapped(["USH2A"])
    later(8)
    mapped(["USH2A"])
    assert asked == ["USH2A", "USH2A"]
    assert world.fetched == 2


def test_a_stale_table_of_items_stands_in(world: World, later: Later) -> None:
    """Where an error ends the call the last table of the very same items stands in."""
    papers, _ = papers_of(world, max_age="7d", stale_if_error=True)
    first = papers(["USH2A", "MYO7A"])
    later(8)
    world.problem = ConnectionError("down")
    with pytest.warns(StaleResultWarning, match="ConnectionError: down"):
        assert papers(["USH2A", "MYO7A"]).equals(first)
    with pytest.raises(ConnectionError, match="down"):
        papers(["USH2A", "WHRN"])


def test_a_table_of_items_stands_in_for_a_silent_source(world: World) -> None:
    """The same goes where a probe has no answer."""
    papers, _ = papers_of(world, stale_if_error=True, sources={"clinvar": world.probe})
    first = papers(["USH2A", "MYO7A"])
    world.is_silent = True
    with pytest.warns(StaleResultWarning, match="clinvar"):
        assert papers(["USH2A", "MYO7A"]).equals(first)
    with pytest.raises(ProbeError, match="clinvar"):
        papers(["USH2A"])


def test_offline_expired_items_are_served(
    world: World, later: Later, offline: Callable[[], None]
) -> None:
    """Nothing is asked, neither items nor probes; the result is marked."""
    papers, asked = papers_of(world, max_age="7d", sources={"clinvar": world.probe})
    papers(["USH2A", "MYO7A"])
    later(8)
    offline()
    world.asked = 0
    decision = papers.explain(["USH2A", "MYO7A"])
    assert str(decision.stale) == "2 of 2 items expired; USHER_OFFLINE is set"
    assert papers(["USH2A", "MYO7A"]).height == 2
    assert papers(["MYO7A"]).height == 1
    assert (asked, world.asked) == (["USH2A", "MYO7A"], 0)


# --- what it does not touch -------------------------------------------------------------


def test_only_code_that_changed_is_asked_about(world: World, later: Later) -> None:
    """A costly result that has not expired is still asked about after an edit."""
    with run(costly_s=0):

        @checkpoint(name="edited", max_age="7d", stale_if_error=True)
        def edited() -> pl.DataFrame:
            return pl.DataFrame({"a": [1]})

        edited()

        @checkpoint(name="edited", max_age="7d", stale_if_error=True)
        def edited() -> pl.DataFrame:
            return pl.DataFrame({"a": [2]})

        with pytest.raises(CodeChangedError, match="edited"):
            edited()
        later(8)
        assert edited()["a"].item() == 2


def test_results_from_before_have_an_age_as_well(world: World, later: Later) -> None:
    """What was stored without these options is as old as it is."""
    fetching(world)()
    aged = fetching(world, max_age="7d", stale_if_error=True)
    assert isinstance(aged.explain(), Hit)
    later(8)
    assert isinstance(aged.explain(), Miss)


def test_unfinished_work_is_not_thrown_away_for_an_age(world: World, later: Later) -> None:
    """What goes on asks again for what expired, and keeps its rows if that is equal."""
    inner, is_down, begun = fetching(world, max_age="7d"), [True], list[int]()

    @checkpoint(name="long", ignore=["is_down", "begun"], version="1")
    def long(
        is_down: list[bool] = is_down,
        begun: list[int] = begun,
        *,
        resume: Resume[int] = Resume(),
    ) -> Iterator[pl.DataFrame]:
        inner()
        for number in range(resume.cursor or 0, 3):
            if number == 2 and is_down[0]:
                raise ConnectionError("down")
            begun.append(number)
            yield resume.part(pl.DataFrame({"n": [number]}), cursor=number + 1)

    with pytest.raises(ConnectionError, match="down"):
        long()
    later(8)
    is_down[0] = False
    assert long()["n"].to_list() == [0, 1, 2]
    assert begun == [0, 1, 2]
    assert world.fetched == 2
    assert isinstance(long.explain(), Hit)


def test_the_warning_is_one_of_the_library() -> None:
    """Who filters the warnings of the library filters this one."""
    assert issubclass(StaleResultWarning, UsherWarning)
