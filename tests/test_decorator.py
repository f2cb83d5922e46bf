"""The decorator: what a call does, what it promises, and what it refuses."""

from __future__ import annotations

import inspect
import logging
import os
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import usher_pipeline
from usher_pipeline import (
    Checkpointed,
    checkpoint,
    configure,
    current_run,
    entries,
    load,
    run,
    setting,
    source,
)
from usher_pipeline.errors import (
    CheckpointCycleError,
    CheckpointMissError,
    CheckpointNameError,
    CheckpointNotSaved,
    CheckpointNotSavedError,
    DeclarationError,
    FingerprintError,
    InvalidResultError,
    NameClashError,
    StoreError,
    UndeclaredConfigError,
    UnknownSettingError,
    UnknownSourceError,
    UnsupportedFrameError,
    UsherWarning,
)
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.records import Bypass, Hit, Miss

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Calls(list[str]):
    """What really ran; by the name of its class no part of any key."""

    def __checkpoint_key__(self) -> str:
        return "calls"


@pytest.fixture
def calls() -> Calls:
    """A list that functions append to when they really run."""
    return Calls()


def frame(*numbers: float) -> pl.DataFrame:
    """Return a small frame."""
    return pl.DataFrame({"n": list(numbers)})


# --- the circle -------------------------------------------------------------------------


def test_the_second_call_returns_the_stored_frame(calls: Calls) -> None:
    """A call computes once; the same call returns an equal frame without running."""

    @checkpoint
    def squares(count: int = 3) -> pl.DataFrame:
        calls.append("run")
        return frame(*(n * n for n in range(count)))

    first = squares()
    for again in (squares(), squares(3), squares(count=3)):
        assert_frame_equal(again, first)
    assert calls == ["run"]
    assert squares(4).height == 4
    assert calls == ["run", "run"]


def test_pandas_comes_back_as_pandas(calls: Calls) -> None:
    """A pandas frame comes back with its index, types and labels, and can be written to."""
    made = pd.DataFrame(
        {"score": [0.5, None], "tier": pd.Categorical(["a", "b"])},
        index=pd.Index(["USH2A", "MYO7A"], name="gene"),
    )

    @checkpoint
    def tiers() -> pd.DataFrame:
        calls.append("run")
        return made.copy()

    tiers()
    again = tiers()
    pd.testing.assert_frame_equal(again, made)
    again.loc["USH2A", "score"] = 9.0
    pd.testing.assert_frame_equal(tiers(), made)
    assert calls == ["run"]


def test_the_computing_call_returns_the_very_object() -> None:
    """A miss returns what the function returned, not a copy of it."""
    made = frame(1)

    @checkpoint
    def same() -> pl.DataFrame:
        return made

    assert same() is made
    assert same() is not made


def test_bare_and_called_forms_name_alike() -> None:
    """The function's own name is the checkpoint's, unless another is given."""

    @checkpoint
    def bare() -> pl.DataFrame:
        return frame(1)

    @checkpoint()
    def called() -> pl.DataFrame:
        return frame(1)

    @checkpoint(name="given")
    def other() -> pl.DataFrame:
        return frame(1)

    assert (bare.name, called.name, other.name) == ("bare", "called", "given")


def test_the_signature_is_kept() -> None:
    """Name, docstring and signature are those of the function."""

    @checkpoint
    def fetch(gene: str, /, depth: float = 30.0, *, page: int = 5) -> pl.DataFrame:
        """Fetch a gene."""
        return frame(depth, page)

    assert str(inspect.signature(fetch)).startswith("(gene: 'str', /, depth: 'float' = 30.0, *")
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch a gene.")
    with pytest.raises(TypeError, match="missing a required argument: 'gene'"):
        fetch()  # type: ignore[call-arg]


class Api:
    """Somebody's client, whose state is part of the meaning of its methods."""

    def __init__(self, release: str, calls: Calls) -> None:
        self.release = release
        self.calls = calls

    @checkpoint(name="api_genes")
    def genes(self, limit: int = 2) -> pl.DataFrame:
        """Return some genes."""
        self.calls.append(self.release)
        return pl.DataFrame({"gene": [f"{self.release}-{n}" for n in range(limit)]})

    @staticmethod
    @checkpoint(name="api_static")
    def static(limit: int) -> pl.DataFrame:
        """Return some numbers."""
        return frame(*range(limit))

    @classmethod
    @checkpoint(name="api_class")
    def of_class(cls) -> pl.DataFrame:
        """Return the name of the class."""
        return pl.DataFrame({"name": [cls.__name__]})


def test_methods_count_their_instance(calls: Calls) -> None:
    """`self` is an argument like any other: equal instances share, different ones do not."""
    one, same, other = Api("v1", calls), Api("v1", calls), Api("v2", calls)
    assert one.genes()["gene"][0] == "v1-0"
    assert same.genes(limit=2)["gene"][0] == "v1-0"
    assert other.genes()["gene"][0] == "v2-0"
    assert calls == ["v1", "v2"]
    assert isinstance(one.genes.explain(), Hit)
    assert list(inspect.signature(one.genes).parameters) == ["limit"]


def test_static_and_class_methods_work() -> None:
    """Below `@staticmethod` and `@classmethod` the decorator works as on a function."""
    assert Api.static(2).height == 2
    assert Api.of_class()["name"].item() == "Api"
    assert isinstance(Api.static.explain(2), Hit)


# --- arguments, settings, sources -------------------------------------------------------


def test_settings_and_sources_reach_the_function() -> None:
    """`setting(...)` and `source(...)` hand over what the config says, else the default."""

    @checkpoint
    def fetch(
        *,
        page: int = setting("api.page_size"),
        retries: int = setting("api.retries", default=3),
        release: str = source("gnomad"),
    ) -> pl.DataFrame:
        return pl.DataFrame({"page": [page], "retries": [retries], "release": [release]})

    config = {"api": {"page_size": 500}, "versions": {"gnomad_version": "v4.1"}}
    with run(config):
        assert fetch().row(0) == (500, 3, "v4.1")
        assert isinstance(fetch.explain(page=500, retries=3), Hit)
        assert str(fetch.explain(page=500)).startswith("hit: fetch 1 × 3, computed 20")
        assert str(fetch.explain(page=100)) == "miss: page: 500 → 100"
        assert str(fetch.explain(page=100).reason).startswith("page: 500 → 100")
    with run({**config, "versions": {"gnomad_version": "v4.2"}}):
        assert "source gnomad: v4.1 → v4.2" in str(fetch.explain().reason)


def test_a_reason_names_file_and_line(tmp_path: Path) -> None:
    """A setting that changed is named with the line of the config that states it."""
    path = tmp_path / "config.yaml"
    path.write_text("api:\n  page_size: 500\n")

    @checkpoint
    def fetch(page: int = setting("api.page_size")) -> pl.DataFrame:
        return frame(page)

    with run(path):
        fetch()
    path.write_text("# a comment\napi:\n  page_size: 1000\n")
    with run(path):
        decision = fetch.explain()
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "page: 500 → 1000 (config.yaml:3)"


def test_unknown_paths_and_sources_are_errors_before_anything_runs(
    calls: Calls, tmp_path: Path
) -> None:
    """A path or source that nobody states is one clear error, and nothing is written."""

    @checkpoint(name="of_setting")
    def of_setting(page: int = setting("api.page_sise")) -> pl.DataFrame:
        calls.append("run")
        return frame(page)

    @checkpoint(name="of_source", sources=["gnomat"])
    def of_source() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    @checkpoint(name="of_config", config=["apy"])
    def of_config() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    with run({"api": {"page_size": 5}, "versions": {"gnomad_version": "v4"}}):
        with pytest.raises(UnknownSettingError, match="page_size"):
            of_setting()
        with pytest.raises(UnknownSourceError, match="gnomad"):
            of_source()
        with pytest.raises(UnknownSettingError, match="api"):
            of_config()
    assert calls == []
    assert list(tmp_path.rglob("*.duckdb")) == []


def test_declared_config_counts_and_undeclared_reads_are_refused() -> None:
    """A declared path is part of the key; reading another one inside is an error."""

    @checkpoint(config=["scoring.gnomad"])
    def score(path: str = "scoring.gnomad") -> pl.DataFrame:
        return frame(current_run().get(path))

    with run({"scoring": {"gnomad": 0.2, "expression": 0.3}}):
        assert score().item() == 0.2
        with pytest.raises(UndeclaredConfigError, match="does not watch"):
            score("scoring.expression")
    with run({"scoring": {"gnomad": 0.4, "expression": 0.3}}):
        assert str(score.explain().reason).startswith("config scoring.gnomad: 0.2 → 0.4")
    with run({"scoring": {"gnomad": 0.2, "expression": 0.9}}):
        assert isinstance(score.explain(), Hit)


def test_the_provenance_of_the_run_is_no_way_to_the_config() -> None:
    """The versions of all sources are in it, so a checkpointed function can not have it."""

    @checkpoint
    def sly() -> pl.DataFrame:
        return frame(current_run().metadata()["data_source_versions"]["gnomad"])

    cure = r"read the provenance of the run, .* parameters with setting\(...\) and source"
    with run({"versions": {"gnomad_version": "v4.1"}}) as around:
        with pytest.raises(UndeclaredConfigError, match=cure):
            sly()
        assert around.metadata()["data_source_versions"] == {"gnomad": "v4.1"}


def test_the_order_of_keywords_counts_where_the_function_sees_it() -> None:
    """What `**options` takes counts with its order; that of named parameters is none."""

    @checkpoint
    def collect(**options: int) -> pl.DataFrame:
        return frame(sum(options.values()))

    collect(a=1, b=2)
    assert isinstance(collect.explain(a=1, b=2), Hit)
    assert not isinstance(collect.explain(b=2, a=1), Hit)
    assert not isinstance(collect.explain(a=2, b=1), Hit)

    @checkpoint
    def table(**columns: list[int]) -> pl.DataFrame:
        return pl.DataFrame(columns)

    assert table(a=[1], b=[2]).columns == ["a", "b"]
    assert table(b=[2], a=[1]).columns == ["b", "a"]

    @checkpoint
    def named(one: int, two: int) -> pl.DataFrame:
        return frame(one + two)

    named(one=1, two=2)
    assert isinstance(named.explain(two=2, one=1), Hit)


def test_sources_without_a_config(tmp_path: Path) -> None:
    """A source's version may be a value, a file or a function, which a run asks once.

    It is asked again when the function has run, since it may have changed meanwhile.
    """
    release = tmp_path / "release.txt"
    release.write_text("one")
    asked = []

    def probe() -> str:
        asked.append("asked")
        return "v1"

    @checkpoint(sources={"file": release, "probe": probe, "value": "v1"}, version="1")
    def fetch() -> pl.DataFrame:
        return frame(1)

    with run():
        fetch()
        assert asked == ["asked", "asked"]
        fetch()
    assert asked == ["asked", "asked"]
    assert isinstance(fetch.explain(), Hit)
    release.write_text("two")
    assert "source file" in str(fetch.explain().reason)


def test_ignored_arguments_do_not_count(calls: Calls) -> None:
    """A client can be left out of the key; without that it is an error with the cure."""

    @checkpoint(name="ignoring", ignore=["client"])
    def ignoring(client: object) -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    @checkpoint(name="counting")
    def counting(client: object) -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    ignoring(object())
    ignoring(threading.Lock())
    assert calls == ["run"]
    with pytest.raises(FingerprintError, match=r"client of .*counting.*ignore=\["):
        counting(threading.Lock())
    assert calls == ["run"]


def test_a_version_replaces_the_tracking_of_code() -> None:
    """With `version=` an edited helper does not count, and another version does."""

    def define(helper: Callable[[], float], version: str) -> Checkpointed[[], pl.DataFrame]:
        @checkpoint(name="versioned", version=version)
        def versioned() -> pl.DataFrame:
            return frame(helper())

        return versioned

    define(lambda: 1.0, "1")()
    assert define(lambda: 2.0, "1")().item() == 1.0
    assert define(lambda: 2.0, "2")().item() == 2.0


# --- downstream -------------------------------------------------------------------------


def test_frames_count_by_content(calls: Calls) -> None:
    """An upstream result that is recomputed but equal does not invalidate downstream."""

    @checkpoint
    def upstream(noise: int = 0) -> pl.DataFrame:
        return frame(1, 2)

    @checkpoint
    def downstream(data: pl.DataFrame) -> pl.DataFrame:
        calls.append("run")
        return data * 2

    downstream(upstream())
    downstream(upstream(1))
    assert calls == ["run"]


def test_a_nested_checkpoint_that_was_refreshed_counts(calls: Calls) -> None:
    """What a function called while it ran is recorded; another version of it is a miss."""
    numbers = Calls(["1"])

    @checkpoint(name="inner", version="1")
    def inner() -> pl.DataFrame:
        return frame(len(numbers))

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        calls.append("outer")
        return inner() + 10

    assert outer().item() == 11
    assert outer().item() == 11
    assert entries("outer")[0].reads[0].name == "inner"
    numbers.append("2")
    assert inner.refresh().item() == 2
    assert "inner, which it read, is another version" in str(outer.explain().reason)
    assert outer().item() == 12
    inner.clear()
    assert "is gone" in str(outer.explain().reason)
    assert calls == ["outer", "outer"]


def test_a_circle_is_an_error() -> None:
    """A function that needs its own result with the same arguments is stopped."""

    @checkpoint(name="circle")
    def circle(n: int) -> pl.DataFrame:
        return circle(n - 1) if n > 1 else circle(n)

    with pytest.raises(CheckpointCycleError, match="circle → circle"):
        circle(2)


def test_recursion_with_other_arguments_works() -> None:
    """A function may call itself with other arguments."""

    @checkpoint(name="recursive")
    def recursive(n: int) -> pl.DataFrame:
        return frame(0) if n == 0 else recursive(n - 1) + 1

    assert recursive(3).item() == 3


# --- verbs ------------------------------------------------------------------------------


def test_the_verbs(calls: Calls) -> None:
    """`load` never runs, `refresh` always, `bypass` stores nothing, the others remove."""

    @checkpoint(name="verbs")
    def verbs(n: int = 1) -> pl.DataFrame:
        calls.append("run")
        return frame(n, len(calls))

    with pytest.raises(CheckpointMissError, match="first call"):
        verbs.load()
    assert calls == []
    verbs()
    assert verbs.load().rows() == [(1,), (1,)]
    assert verbs.refresh().rows() == [(1,), (2,)]
    assert verbs.load().rows() == [(1,), (2,)]
    assert verbs.bypass(5).rows() == [(5,), (3,)]
    with pytest.raises(CheckpointMissError, match="n: 1 → 5"):
        verbs.load(5)
    verbs(2)
    assert [entry.row_count for entry in verbs.entries()] == [2, 2]
    assert verbs.forget(1)
    assert not verbs.forget(1)
    assert isinstance(verbs.explain(), Miss)
    assert isinstance(verbs.explain(2), Hit)
    assert verbs.clear() == 1
    assert verbs.entries() == []
    assert verbs.key(1).name == "verbs"


def test_forgetting_the_published_result_publishes_what_is_left(tmp_path: Path) -> None:
    """The plain table never shows a result that was forgotten."""
    path = tmp_path / "store.duckdb"
    configured = run(store=path)

    @checkpoint(name="numbers")
    def numbers(n: int) -> pl.DataFrame:
        return frame(n)

    with configured:
        numbers(1)
        numbers(2)
        numbers.forget(2)
    with PipelineStore(path) as store:
        assert store.execute_query("FROM numbers").rows() == [(1,)]
    with run(store=path):
        numbers.forget(1)
    with PipelineStore(path) as store:
        assert store.load_dataframe("numbers") is None


def test_load_by_name(calls: Calls) -> None:
    """Without the function at hand a result is found by name and arguments."""

    @checkpoint(name="by_name")
    def by_name(depth: float, mode: str = "fast") -> pl.DataFrame:
        calls.append("run")
        return frame(depth)

    by_name(20.0)
    by_name(30.0)
    assert load("by_name").item() == 30.0
    assert load("by_name", depth=20.0).item() == 20.0
    assert load("by_name", depth=20.0, mode="fast").item() == 20.0
    with pytest.raises(CheckpointMissError, match=r"the newest has depth=30\.0, mode='fast'"):
        load("by_name", depth=99.0)
    with pytest.raises(CheckpointMissError, match="it has 'by_name'"):
        load("by_nam")
    assert calls == ["run", "run"]
    assert [entry.name for entry in entries()] == ["by_name", "by_name"]


def test_the_environment_refreshes_and_disables(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`USHER_REFRESH` runs what it names; `USHER_DISABLE` runs all and stores nothing."""

    @checkpoint(name="wished")
    def wished() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    wished()
    monkeypatch.setenv("USHER_REFRESH", "other, wished")
    wished()
    monkeypatch.setenv("USHER_REFRESH", "other")
    wished()
    assert calls == ["run", "run"]
    monkeypatch.setenv("USHER_DISABLE", "1")
    wished()
    assert calls == ["run", "run", "run"]
    assert isinstance(Bypass(), Bypass)


# --- what is refused --------------------------------------------------------------------


def test_a_function_that_returns_no_frame(tmp_path: Path) -> None:
    """Only frames are stored; the error carries what was returned, nothing is written."""

    @checkpoint(name="no_frame")
    def no_frame() -> Any:
        return {"a": 1}

    with pytest.raises(InvalidResultError, match="returned a dict that holds int") as caught:
        no_frame()
    assert caught.value.result == {"a": 1}
    assert list(tmp_path.rglob("*.arrow")) == []


def test_a_frame_that_can_not_be_exact_is_not_lost() -> None:
    """A result that could not come back as it was is an error that carries it."""
    made = pl.DataFrame({"things": pl.Series([object()], dtype=pl.Object)})

    @checkpoint(name="objects")
    def objects() -> pl.DataFrame:
        return made

    with pytest.raises(UnsupportedFrameError, match="things") as caught:
        objects()
    assert caught.value.frame is made


@pytest.mark.parametrize("name", ["", "  ", "_checkpoints", "_Provenance"])
def test_empty_and_reserved_names_are_refused(name: str) -> None:
    """A bad name is an error where the function is defined."""
    with pytest.raises(CheckpointNameError, match="can not name a checkpoint"):
        checkpoint(name=name)(lambda: frame(1))


def test_a_store_path_that_is_a_folder(calls: Calls, tmp_path: Path) -> None:
    """A store that can not be one is an error before the function runs."""

    @checkpoint(name="stray")
    def stray() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.duckdb").write_text("no database\n" * 2000)
    with run(store=tmp_path / "folder"), pytest.raises(StoreError, match="it is a folder"):
        stray()
    with (
        run(store=tmp_path / "notes.duckdb"),
        pytest.raises(StoreError, match="not a DuckDB database"),
    ):
        stray()
    assert calls == []
    assert list((tmp_path / "folder").iterdir()) == []


def test_decorating_what_can_not_be_a_checkpoint() -> None:
    """What does not fit is refused at the decorator, with the cure."""

    async def later() -> AsyncIterator[pl.DataFrame]:
        yield frame(1)

    with pytest.raises(DeclarationError, match="an asynchronous generator"):
        checkpoint(later)
    with pytest.raises(DeclarationError, match="above @staticmethod"):
        checkpoint(staticmethod(lambda: frame(1)))
    with pytest.raises(DeclarationError, match="a lambda has no name"):
        checkpoint(lambda: frame(1))
    with pytest.raises(DeclarationError, match="ignore= names \\['client'\\]"):
        checkpoint(name="x", ignore=["client"])(lambda: frame(1))
    with pytest.raises(DeclarationError, match="options are given by name"):
        checkpoint("name")  # type: ignore[call-overload]
    with pytest.raises(DeclarationError, match="version= expected text"):
        checkpoint(name="x", version=2)(lambda: frame(1))  # type: ignore[call-overload]
    with pytest.raises(DeclarationError, match="checkpoint already"):
        checkpoint(checkpoint(name="x")(lambda: frame(1)))


@pytest.mark.parametrize("option", ["sources", "config", "inputs", "files", "ignore"])
@pytest.mark.parametrize("stated", [None, 5, [5], [""], [None], b"ab"])
def test_options_are_lists_of_names(option: str, stated: Any) -> None:
    """An option that lists names is refused where it is no list of names."""
    with pytest.raises(DeclarationError, match=f"{option}= expected names, got "):
        checkpoint(name="listed", **{option: stated})(lambda: frame(1))


@pytest.mark.parametrize("value", [5, None, "", ["api.page_size"]])
@pytest.mark.parametrize("stand_in", [setting, source])
def test_what_stands_for_a_value_is_named_by_text(stand_in: Any, value: Any) -> None:
    """A setting or source is named by text that is not empty; else the line is refused."""
    with pytest.raises(
        DeclarationError, match=rf"{stand_in.__name__}\(.*\): expected .*, got "
    ):
        stand_in(value)


def test_two_functions_under_one_name() -> None:
    """Two different functions can not share a name; redefining the same one is fine."""

    @checkpoint(name="claimed")
    def first() -> pl.DataFrame:
        return frame(1)

    def second() -> pl.DataFrame:
        return frame(2)

    with pytest.raises(NameClashError, match=r"first.* and by .*second"):
        checkpoint(name="claimed")(second)

    def define(number: int) -> Checkpointed[[], pl.DataFrame]:
        @checkpoint(name="redefined")
        def redefined() -> pl.DataFrame:
            return frame(number)

        return redefined

    keep = [define(1), define(2)]
    assert len(keep) == 2
    assert first().item() == 1


def test_two_functions_under_one_name_across_processes(tmp_path: Path) -> None:
    """Another process is stopped as well, unless the function that was there is gone."""
    for module, number in (("one", 1), ("two", 2)):
        (tmp_path / f"{module}.py").write_text(
            "import polars as pl\nfrom usher_pipeline import checkpoint\n"
            "@checkpoint(name='shared')\n"
            f"def of_{module}():\n    return pl.DataFrame({{'n': [{number}]}})\n"
        )

    def call(module: str) -> str:
        program = f"import {module}; print({module}.of_{module}().item())"
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{_source()}"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout or done.stderr

    assert call("one") == "1\n"
    assert "is claimed twice: by one.of_one and by two.of_two" in call("two")
    (tmp_path / "one.py").unlink()
    assert call("two") == "2\n"


def _source() -> str:
    return os.path.dirname(os.path.dirname(usher_pipeline.__file__))  # noqa: PTH120


def test_a_spelling_that_folds_to_another_name_is_refused_before_it_runs(
    calls: Calls,
) -> None:
    """Names that differ only in case collide, and the second function does not run."""

    def define_and_run() -> None:
        @checkpoint(name="Folded")
        def one() -> pl.DataFrame:
            return frame(1)

        one()

    define_and_run()

    @checkpoint(name="folded")
    def two() -> pl.DataFrame:
        calls.append("run")
        return frame(2)

    with pytest.raises(NameClashError, match="claimed twice"):
        two()
    assert calls == []


def test_a_table_made_by_hand_is_not_replaced(calls: Calls, tmp_path: Path) -> None:
    """A checkpoint does not take the name of a table that somebody made with SQL."""
    path = tmp_path / "store.duckdb"
    with PipelineStore(path) as store:
        store.execute_query("CREATE TABLE mine AS SELECT 42 AS n")

    @checkpoint(name="mine")
    def mine() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    with run(store=path), pytest.raises(NameClashError, match="that is no checkpoint"):
        mine()
    assert calls == []
    with PipelineStore(path) as store:
        assert store.execute_query("FROM mine").item() == 42


@pytest.mark.parametrize(
    "name",
    ["select", 'with "quotes"', "it's", "../outside", "größe 🧬", ".hidden", "x" * 300],
)
def test_a_checkpoint_may_have_any_name(calls: Calls, tmp_path: Path, name: str) -> None:
    """Whatever SQL can quote names a checkpoint: it is kept, found and has its table."""
    path = tmp_path / "inner" / "store.duckdb"

    @checkpoint(name=name)
    def odd() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    with run(store=path):
        assert odd().item() == odd().item() == 1
        assert load(name).item() == 1
    assert calls == ["run"]
    with PipelineStore(path) as store:
        assert store.load_dataframe(name).item() == 1
        assert [row["table_name"] for row in store.list_checkpoints()] == [name]
        store.delete_checkpoint(name)
        assert not store.has_checkpoint(name)
    assert [each.name for each in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("older", [True, False], ids=["older file", "save_dataframe"])
def test_a_table_saved_by_hand_is_not_replaced(
    calls: Calls, tmp_path: Path, *, older: bool
) -> None:
    """A checkpoint is refused the name of a table with metadata that is not its own."""
    path = tmp_path / "store.duckdb"
    if older:
        with duckdb.connect(str(path)) as connection:
            connection.execute(
                "CREATE TABLE _checkpoints (table_name VARCHAR PRIMARY KEY, "
                "created_at TIMESTAMP, row_count INTEGER, description VARCHAR);"
                "CREATE TABLE precious AS SELECT 42 AS n;"
                "INSERT INTO _checkpoints VALUES ('precious', now()::TIMESTAMP, 1, '46 hours')"
            )
    else:
        with PipelineStore(path) as store:
            store.save_dataframe(frame(42), "precious", "46 hours")

    @checkpoint(name="precious")
    def precious() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    with run(store=path):
        with pytest.raises(NameClashError, match=r"delete_checkpoint\('precious'\)"):
            precious()
        assert calls == []
        with PipelineStore(path) as store:
            assert store.load_dataframe("precious")["n"].to_list() == [42]
            assert store.list_checkpoints()[0]["description"] == "46 hours"
            store.delete_checkpoint("precious")
        assert precious().item() == 1
    with PipelineStore(path) as store:
        assert store.load_dataframe("precious").item() == 1


@pytest.mark.parametrize("replace", [True, False], ids=["replaced", "appended"])
def test_a_hit_does_not_undo_what_was_saved_by_hand(
    calls: Calls, tmp_path: Path, *, replace: bool
) -> None:
    """Rows saved over a result stay; the result is served still, and the clash is told."""
    path = tmp_path / "store.duckdb"

    @checkpoint(name="corrected")
    def corrected(n: int = 1) -> pl.DataFrame:
        calls.append("run")
        return frame(n)

    with run(store=path):
        corrected()
    with PipelineStore(path) as store:
        store.save_dataframe(frame(7), "corrected", "by hand", replace=replace)
        mine = store.load_dataframe("corrected")
    with pytest.warns(UsherWarning, match="has no plain table"), run(store=path):
        assert corrected().item() == 1
    with run(store=path), pytest.raises(NameClashError, match="that is no checkpoint"):
        corrected(2)
    assert calls == ["run"]
    with PipelineStore(path) as store:
        assert_frame_equal(store.load_dataframe("corrected"), mine)
        assert store.list_checkpoints()[0]["description"] == "by hand"


# --- bad days ---------------------------------------------------------------------------


def test_a_result_that_can_not_be_stored_is_returned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When sealing fails the caller gets the frame, a loud warning and a rescue file."""

    @checkpoint(name="unlucky")
    def unlucky() -> pl.DataFrame:
        return frame(1, 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segments, "seal", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.warns(CheckpointNotSaved, match=r"No space left on device.*was returned"):
        assert unlucky().height == 2
    (rescue,) = tmp_path.glob("usher-rescue-*.arrow")
    assert pl.read_ipc(rescue).rows() == [(1,), (2,)]


def test_a_miss_on_a_read_only_store_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where nothing can be written the function runs; its result is returned and rescued."""
    (tmp_path / "rescued").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "rescued"))
    plain_open, plain_mkdir = os.open, os.mkdir

    @checkpoint(name="read_only")
    def read_only(n: int = 1) -> pl.DataFrame:
        return frame(n)

    def is_refused(path: Any, flags: int = os.O_CREAT) -> bool:
        return str(tmp_path / "store") in str(path) and bool(flags & (os.O_CREAT | os.O_RDWR))

    def refuse_open(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if is_refused(path, flags):
            raise OSError(30, "Read-only file system", path)
        return plain_open(path, flags, *rest, **more)

    def refuse_mkdir(path: Any, *rest: Any, **more: Any) -> None:
        if is_refused(path):
            raise OSError(30, "Read-only file system", path)
        plain_mkdir(path, *rest, **more)

    with run(store=tmp_path / "store.duckdb"):
        read_only(1)
    monkeypatch.setattr(os, "open", refuse_open)
    monkeypatch.setattr(os, "mkdir", refuse_mkdir)
    for path, expected in ((tmp_path / "store.duckdb", 2), (tmp_path / "store2" / "s.db", 3)):
        with (
            pytest.warns(CheckpointNotSaved, match="Read-only file system.*was returned"),
            pytest.warns(UsherWarning, match="provenance of run"),
            run(store=path),
        ):
            assert read_only(expected).item() == expected
    assert len(list((tmp_path / "rescued").iterdir())) == 2


def test_a_strict_run_raises_and_carries_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `strict` the failure is an error, which carries the frame."""

    @checkpoint(name="unlucky_too")
    def unlucky() -> pl.DataFrame:
        return frame(1, 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segments, "seal", full)
    configure(strict=True)
    try:
        with pytest.raises(CheckpointNotSavedError, match="It is not lost") as caught:
            unlucky()
    finally:
        configure(strict=False)
    assert caught.value.frame.height == 2  # type: ignore[attr-defined]


def test_a_damaged_segment_is_never_returned(calls: Calls, tmp_path: Path) -> None:
    """A flipped byte is noticed: the table answers, or else the function runs again."""
    path = tmp_path / "store.duckdb"

    @checkpoint(name="damaged")
    def damaged() -> pl.DataFrame:
        calls.append("run")
        return frame(*range(1000))

    with run(store=path):
        damaged()
    (segment,) = tmp_path.rglob("*.arrow")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    with run(store=path):
        assert_frame_equal(damaged(), frame(*range(1000)))
    assert calls == ["run"]
    for half in tmp_path.rglob("*.arrow"):
        half.write_bytes(b"nonsense")
    path.unlink()
    with run(store=path):
        assert isinstance(damaged(), pl.DataFrame)
    assert calls == ["run", "run"]


def test_a_changed_table_is_no_substitute(calls: Calls, tmp_path: Path) -> None:
    """A table that somebody updated does not stand in for a lost segment."""
    path = tmp_path / "store.duckdb"

    @checkpoint(name="updated")
    def updated() -> pl.DataFrame:
        calls.append("run")
        return frame(1, 2)

    with run(store=path):
        updated()
    with PipelineStore(path) as store:
        store.execute_query("UPDATE updated SET n = 99 WHERE n = 1")
    (segment,) = tmp_path.rglob("*.arrow")
    segment.unlink()
    with run(store=path):
        assert updated().rows() == [(1,), (2,)]
    assert calls == ["run", "run"]


def test_a_busy_database_stops_nobody(held: Any, calls: Calls, tmp_path: Path) -> None:
    """While another process holds the database, results are stored and served all the same."""
    path = tmp_path / "store.duckdb"

    @checkpoint(name="unhindered")
    def unhindered(n: int) -> pl.DataFrame:
        calls.append("run")
        return frame(n)

    with run(store=path):
        unhindered(1)
    with held(path), run(store=path):
        assert unhindered(1).item() == 1
        assert unhindered(2).item() == 2
        assert unhindered(2).item() == 2
    assert calls == ["run", "run"]
    with PipelineStore(path) as store:
        assert store.execute_query("FROM unhindered").item() == 2


def test_a_lost_database_is_rebuilt(tmp_path: Path) -> None:
    """Opening the store brings back the plain tables that only the folder still has."""
    path = tmp_path / "store.duckdb"

    @checkpoint(name="rebuilt")
    def rebuilt() -> pl.DataFrame:
        return frame(1, 2)

    with run(store=path):
        rebuilt()
    path.unlink()
    with PipelineStore(path) as store:
        assert store.execute_query("FROM rebuilt").height == 2
        assert store.has_checkpoint("rebuilt")


def test_threads_compute_a_key_once(calls: Calls) -> None:
    """Threads that ask at once share one computation."""
    barrier = threading.Barrier(4)

    @checkpoint(name="shared_work")
    def shared_work() -> pl.DataFrame:
        calls.append("run")
        return frame(1)

    def ask() -> None:
        barrier.wait()
        assert shared_work().height == 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["run"]


# --- saying it --------------------------------------------------------------------------


def test_every_call_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Each call logs one line with what it did and why."""

    @checkpoint(name="spoken")
    def spoken(n: int = 1) -> pl.DataFrame:
        return frame(n)

    with caplog.at_level(logging.INFO, logger="usher_pipeline"):
        spoken()
        spoken()
        spoken(2)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("spoken · computed (first call) · 1 × 1")
    assert said[1].startswith("spoken · hit · 1 × 1")
    assert said[2].startswith("spoken · computed (n: 1 → 2)")


def test_wrapped_functions_pickle_by_reference() -> None:
    """A wrapped function goes to another process as its module and name."""
    assert pickle.loads(pickle.dumps(Api.static)) is Api.static  # noqa: S301 - our own bytes


def test_a_hit_loads_no_duckdb(tmp_path: Path) -> None:
    """A hit needs neither DuckDB nor, for polars, pandas."""
    (tmp_path / "script.py").write_text(
        "import sys\nimport polars as pl\nfrom usher_pipeline import checkpoint\n"
        "@checkpoint\ndef hit():\n    return pl.DataFrame({'n': [1]})\n"
        "hit()\nprint('duckdb' in sys.modules, 'pandas' in sys.modules)\n"
    )
    # DuckDB 1.5 imports pandas by itself at the first statement with parameters.
    for expected in (("True False", "True True"), ("False False",)):
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() in expected
