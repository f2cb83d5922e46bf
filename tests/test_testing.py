"""What tests of checkpoints are given: a store for a while, and what calls did."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import polars as pl
import pytest

from usher_pipeline import checkpoint, configure, current_run, entries, run
from usher_pipeline.errors import (
    CheckpointMissError,
    OptionError,
    StaleResultWarning,
    UnexpectedDecisionError,
)
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.records import Bypass, Hit, Miss
from usher_pipeline.testing import (
    assert_hit,
    assert_recomputed,
    recorded_decisions,
    temporary_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@checkpoint(name="testing_depths")
def depths(min_depth: float = 30.0) -> pl.DataFrame:
    """Return a depth."""
    return pl.DataFrame({"depth": [min_depth]})


@checkpoint(name="testing_doubled")
def doubled(min_depth: float) -> pl.DataFrame:
    """Return the double of it."""
    return depths(min_depth) * 2


@checkpoint(name="testing_reasons")
def reasons(reason: str) -> pl.DataFrame:
    """Return a reason."""
    return pl.DataFrame({"reason": [reason]})


@checkpoint(name="testing_awaited")
async def awaited(gene: str) -> pl.DataFrame:
    """Return a gene, a little later."""
    await asyncio.sleep(0)
    return pl.DataFrame({"gene": [gene]})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project to work in, whose store holds a result."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    monkeypatch.chdir(folder)
    depths(1.0)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, and what they hold."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# --- stores -----------------------------------------------------------------------------


def test_a_temporary_store_is_empty_and_gone_afterwards() -> None:
    """What is computed in the block is in its store, and nothing of it is left behind it."""
    with temporary_store() as store:
        assert entries() == []
        frame = depths(30.0)
        assert store.has_checkpoint("testing_depths")
    assert not store.db_path.parent.exists()
    assert frame["depth"].to_list() == [30.0]
    assert not Path(".usher").exists()


def by_default(_: Path) -> Iterator[None]:
    """Name no store."""
    depths()
    yield


def by_table(folder: Path) -> Iterator[None]:
    """Name it for the project."""
    (folder / "pyproject.toml").write_text("[tool.usher]\nstore = 'named.duckdb'\n")
    yield
    depths()


def by_config(_: Path) -> Iterator[None]:
    """Name it in the config."""
    yield
    with run({"duckdb_path": "named.duckdb"}):
        depths()


def by_configure(_: Path) -> Iterator[None]:
    """Name it for the process, in the block."""
    yield
    configure(store="named.duckdb")
    depths()


def by_run(_: Path) -> Iterator[None]:
    """Name it for the calls in a block."""
    yield
    with run(store="named.duckdb"):
        depths()


def by_outer_run(_: Path) -> Iterator[None]:
    """Name it around the block, among temporary files."""
    with run(store="../named.duckdb"):
        depths()
        yield
        depths()


def by_outer_configure(_: Path) -> Iterator[None]:
    """Name it before the block, among temporary files."""
    configure(store="../elsewhere.duckdb")
    yield
    depths()


def by_environment(_: Path) -> Iterator[None]:
    """Name it for all processes."""
    os.environ["USHER_STORE"] = "named.duckdb"
    try:
        yield
        depths()
    finally:
        del os.environ["USHER_STORE"]


@pytest.mark.parametrize(
    "named",
    [
        by_default,
        by_table,
        by_config,
        by_configure,
        by_run,
        by_outer_run,
        by_outer_configure,
        by_environment,
    ],
)
def test_the_stores_of_the_program_are_left_alone(
    project: Path, named: Callable[[Path], Iterator[None]]
) -> None:
    """However a program names its store, a temporary one is used, and no other changes."""
    naming = named(project)
    next(naming)
    before = contents(project.parent)
    with temporary_store() as store:
        for _ in naming:
            pytest.fail("it goes on")
        depths()
        assert store.has_checkpoint("testing_depths")
    assert contents(project.parent) == before


def test_a_block_may_name_another_temporary_store(tmp_path: Path) -> None:
    """A store that the block itself names among temporary files is the one that it means."""
    path = tmp_path / "other.duckdb"
    with temporary_store() as store, run(store=path) as current:
        depths()
        assert current.store.value == path
        assert not store.has_checkpoint("testing_depths")
    with PipelineStore(path) as other:
        assert other.has_checkpoint("testing_depths")


def test_why_a_store_is_in_force_is_said(project: Path) -> None:
    """Of a store that stands in for another it is said for which."""
    with temporary_store() as store, run(store="named.duckdb") as current:
        assert current.store.value == store.db_path
        assert current.store.origin == "a test"
        assert current.store.considered[0] == ("run(...)", str(project / "named.duckdb"))


def test_temporary_stores_can_be_nested() -> None:
    """An inner store knows nothing of the outer one, which is in force again behind it."""
    with temporary_store():
        depths()
        with temporary_store():
            assert_recomputed(depths, reason="first call")
        assert_hit(depths)


def test_what_was_in_force_is_so_again_after_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A block that fails leaves config and environment as they were."""
    monkeypatch.setenv("USHER_STORE", "named.duckdb")
    configure(store="configured.duckdb")
    with pytest.raises(KeyError, match="in between"), temporary_store():
        raise KeyError("in between")
    assert current_run().store.value == tmp_path / "configured.duckdb"
    assert os.environ["USHER_STORE"] == "named.duckdb"


def test_threads_use_it() -> None:
    """What a thread computes in the block is in its store."""
    with temporary_store() as store:
        thread = threading.Thread(target=depths)
        thread.start()
        thread.join()
        assert store.has_checkpoint("testing_depths")


CHILD: Final = """\
import polars as pl
from usher_pipeline import checkpoint
@checkpoint(name="of_child")
def of_child() -> pl.DataFrame:
    return pl.DataFrame({"n": [1]})
of_child()
"""


def test_processes_use_it(project: Path) -> None:
    """What a process computes that is started in the block is in its store."""
    before = contents(project)
    with temporary_store() as store:
        subprocess.run([sys.executable, "-c", CHILD], check=True)
        assert store.has_checkpoint("of_child")
    assert contents(project) == before


def test_processes_use_it_whatever_they_name(project: Path) -> None:
    """What a process names that is started in the block is replaced there as well."""
    program = (
        CHILD.removesuffix("of_child()\n")
        + "from usher_pipeline import configure, run\n"
        + "with run(store='named.duckdb'):\n    of_child()\n"
        + "configure(store='configured.duckdb')\nof_child()\n"
    )
    before = contents(project)
    with temporary_store() as store:
        subprocess.run([sys.executable, "-c", program], check=True)
        assert store.has_checkpoint("of_child")
    assert contents(project) == before


def test_the_secret_of_the_user_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of tests are sealed with a secret of their own, which goes with the store."""
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("state").resolve()))
    with temporary_store():
        depths()
        assert entries()[0].seal
    assert not Path("state").exists()
    depths()
    assert Path("state").exists()


def test_a_process_ends_quietly_after_it(project: Path) -> None:
    """When the process ends it does not miss the store, nor make it anew, nor any other."""
    program = (
        CHILD.removesuffix("of_child()\n")
        + "from usher_pipeline.testing import temporary_store\n"
        "with temporary_store() as store:\n    of_child()\nprint(store.db_path)\n"
    )
    before = contents(project)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert not Path(done.stdout.strip()).parent.exists()
    assert contents(project) == before


# --- what calls did ---------------------------------------------------------------------


def test_every_call_is_recorded() -> None:
    """Of each call it is known what it did and why; what a function calls comes first."""
    with temporary_store(), recorded_decisions() as decisions:
        doubled(30.0)
        doubled(30.0)
        doubled(20.0)
    said = [(each.name, type(each.decision), each.reason) for each in decisions]
    matches = "a stored result matches"
    assert said == [
        ("testing_depths", Miss, "first call"),
        ("testing_doubled", Miss, "first call"),
        ("testing_doubled", Hit, matches),
        ("testing_depths", Miss, "min_depth: 30.0 → 20.0"),
        ("testing_doubled", Miss, "min_depth: 30.0 → 20.0"),
    ]
    assert [each.is_hit for each in decisions] == [False, False, True, False, False]
    assert all(each.entry is not None and each.elapsed_s > 0 for each in decisions)
    assert str(decisions[0]).startswith("testing_depths · computed (first call) · 1 × 1")


def test_a_record_ends_with_its_block() -> None:
    """Nothing is recorded behind the block; an inner record leaves the outer one alone."""
    with recorded_decisions() as outer:
        with recorded_decisions() as inner:
            depths()
        depths()
    depths()
    assert (len(inner), len(outer)) == (1, 2)


def test_calls_of_threads_are_recorded() -> None:
    """What other threads call is in the record."""
    with recorded_decisions() as decisions:
        thread = threading.Thread(target=depths)
        thread.start()
        thread.join()
    assert [each.name for each in decisions] == ["testing_depths"]


def test_a_call_that_raises_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that returns nothing did nothing that could be recorded."""
    monkeypatch.setenv("USHER_OFFLINE", "1")
    with recorded_decisions() as decisions, pytest.raises(CheckpointMissError, match="OFFLINE"):
        depths()
    assert decisions == []


def test_a_hit_is_what_a_test_can_require() -> None:
    """A call that is a hit gives its frame; one that is none fails and says why."""
    depths(30.0)
    assert assert_hit(depths, 30.0)["depth"].to_list() == [30.0]
    assert assert_hit(depths, min_depth=30.0).height == 1
    told = (
        r"testing_depths did not do what the test expects - expected hit, got computed "
        r"\(min_depth: 30.0 → 20.0\)"
    )
    with pytest.raises(UnexpectedDecisionError, match=told) as caught:
        assert_hit(depths, 20.0)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.name == "testing_depths"
    assert isinstance(caught.value.decision, Miss)


def test_a_recomputation_is_what_a_test_can_require() -> None:
    """A function has to run, and for the reason that is stated."""
    assert assert_recomputed(depths, 30.0, reason="first call").height == 1
    assert_recomputed(depths, 20.0, reason="min_depth")
    assert_recomputed(depths, min_depth=10.0)
    with pytest.raises(UnexpectedDecisionError, match=r"expected computed, got hit\."):
        assert_recomputed(depths, 30.0)
    told = r"expected computed \(source\), got computed \(min_depth: .* 5.0\)"
    with pytest.raises(UnexpectedDecisionError, match=told):
        assert_recomputed(depths, 5.0, reason="source")


def test_a_parameter_may_be_called_reason() -> None:
    """A call without arguments says which call is meant where a name is taken."""
    reasons("one")
    assert assert_hit(reasons, reason="one").height == 1
    assert_recomputed(lambda: reasons(reason="two"), reason="'one' → 'two'")


def test_the_last_checkpoint_of_any_function_counts() -> None:
    """Of a function that is no checkpoint itself the last one that it calls is meant."""
    doubled(30.0)
    assert_hit(lambda: doubled(30.0))
    with pytest.raises(UnexpectedDecisionError, match="testing_doubled did not"):
        assert_hit(lambda: doubled(20.0))


def test_verbs_and_maps_can_be_required() -> None:
    """A result in another form, of a method or of many items is a call like any other."""
    assert_recomputed(depths.lazy, 30.0)
    assert assert_hit(depths.lazy, 30.0).collect().height == 1
    scan = depths.mapped(over="min_depth")
    assert_recomputed(scan, [1.0, 2.0])
    assert assert_hit(scan, [1.0, 2.0]).height == 2


def test_asynchronous_calls_can_be_required() -> None:
    """Of an asynchronous checkpoint the call is awaited, and required then."""

    async def told() -> None:
        frame = await assert_recomputed(awaited, "USH2A", reason="first call")
        assert frame["gene"].to_list() == ["USH2A"]
        await assert_hit(awaited, "USH2A")
        with pytest.raises(UnexpectedDecisionError, match="expected hit, got computed"):
            await assert_hit(awaited, "MYO7A")

    asyncio.run(told())


def test_what_is_to_be_awaited_bears_the_name_of_what_the_test_requires() -> None:
    """Where it is not awaited, and so nothing required, Python names what was forgotten."""
    waiting: Any = assert_recomputed(awaited, "USH2A")
    assert waiting.__qualname__ == "assert_recomputed(testing_awaited)"
    asyncio.run(waiting)


def test_a_call_of_no_checkpoint_is_found_out() -> None:
    """A test that asks nothing of a checkpoint does not pass."""
    told = "the call did not do .* got no call of a checkpoint.* Give it the checkpoint that"
    with pytest.raises(UnexpectedDecisionError, match=told) as caught:
        assert_hit(lambda: None)
    assert caught.value.decision is None


def test_a_call_that_was_made_already_is_found_out() -> None:
    """A frame in the place of the call is a slip of whoever wrote the test."""
    frame: Callable[[], object] = depths()  # type: ignore[assignment]
    with pytest.raises(OptionError, match=r"assert_hit\(genes, 30.0\)"):
        assert_hit(frame)


def test_a_call_without_the_store_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that runs past the store was not asked for, and is no recomputation."""
    monkeypatch.setenv("USHER_DISABLE", "1")
    told = r"got not stored \(USHER_DISABLE is set\)"
    with pytest.raises(UnexpectedDecisionError, match=told) as caught:
        assert_recomputed(depths)
    assert isinstance(caught.value.decision, Bypass)


def test_a_stale_result_is_no_hit() -> None:
    """What is returned since a server is down does not pass for an answer."""
    release = ["v1"]
    server = {"is_down": False}

    def probe() -> str:
        if server["is_down"]:
            raise ConnectionError("no answer")
        return release[0]

    @checkpoint(name="testing_stale", sources={"gnomad": probe}, stale_if_error=True)
    def fetched() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    fetched()
    assert_hit(fetched)
    server["is_down"] = True
    with (
        pytest.warns(StaleResultWarning, match="testing_stale"),
        pytest.raises(UnexpectedDecisionError, match="expected hit, got stale"),
    ):
        assert_hit(fetched)


# --- mocks ------------------------------------------------------------------------------


def fetched() -> int:
    """Return what a server says."""
    return 0


@checkpoint(name="testing_asked")
def asked() -> pl.DataFrame:
    """Return what a function of one's own says."""
    return pl.DataFrame({"n": [fetched()]})


@checkpoint(name="testing_averaged")
def averaged() -> pl.DataFrame:
    """Return what a function of a library says."""
    return pl.DataFrame({"n": [statistics.mean([0, 0])]})


@checkpoint(name="testing_requested")
def requested(client: Any) -> pl.DataFrame:
    """Return what an argument says."""
    return pl.DataFrame({"n": [client.get("genes").json()["n"]]})


PLACES: Final[dict[str, tuple[Any, str, dict[str, Any]]]] = {
    "a function": (asked, f"{__name__}.fetched", {}),
    "a function, with its signature": (asked, f"{__name__}.fetched", {"autospec": True}),
    "a function of a library": (averaged, "statistics.mean", {}),
    "the same with its signature": (averaged, "statistics.mean", {"autospec": True}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_mock_counts_as_itself(place: str) -> None:
    """The same mock is a hit and is called once; another one in its place is a miss."""
    call, target, options = PLACES[place]
    with temporary_store():
        assert assert_recomputed(call).item() == 0
        for number in (1, 2):
            with mock.patch(target, **options) as standing:
                standing.return_value = number
                assert assert_recomputed(call).item() == number
                assert assert_hit(call).item() == number
                standing.assert_called_once()
        assert assert_hit(call).item() == 0


@pytest.mark.parametrize("place", PLACES)
def test_what_a_mock_is_told_to_answer_counts(place: str) -> None:
    """Told something else, the same mock is a miss; told what it was told before, a hit."""
    call, target, options = PLACES[place]
    with temporary_store(), mock.patch(target, **options) as standing:
        for number, check in ((1, assert_recomputed), (2, assert_recomputed), (1, assert_hit)):
            standing.return_value = number
            assert check(call).item() == number
        standing.side_effect = lambda *_: 3
        assert assert_recomputed(call).item() == 3


def test_mocks_within_a_mock_count() -> None:
    """What they answer counts, however deep, and nothing that a call makes of them does."""
    client = mock.MagicMock()
    with temporary_store():
        for number in (1, 2):
            client.get.return_value.json.return_value = {"n": number}
            assert assert_recomputed(requested, client).item() == number
            len(client.get("genes"))
            str(client.other.thing())
            assert assert_hit(requested, client).item() == number
        other = mock.MagicMock()
        other.get.return_value = client.get.return_value
        assert_recomputed(requested, other)


def test_a_mock_is_not_asked_for_its_key() -> None:
    """Nobody finds a call in a mock that the test did not make."""
    client = mock.MagicMock()
    client.get.return_value.json.return_value = {"n": 1}
    with temporary_store():
        requested.explain(client)
        assert client.mock_calls == []
        requested(client)
        assert client.mock_calls == [mock.call.get("genes"), mock.call.get().json()]


def test_what_is_put_into_a_library_later_counts() -> None:
    """A function of one's own in the place of a library's is noticed, and so is its end."""

    def seven(_: list[int]) -> int:
        return 7

    with temporary_store():
        assert assert_recomputed(averaged).item() == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(statistics, "mean", seven)
            assert assert_recomputed(averaged).item() == 7
        assert assert_hit(averaged).item() == 0


def test_special_methods_and_properties_of_a_mock_count() -> None:
    """Whatever a mock is told in whatever way, and nothing that it tells itself."""
    client = mock.MagicMock()
    client.get.return_value.json.return_value = {"n": 1}
    changes: dict[str, Callable[[], object]] = {
        "a context": lambda: setattr(client.__enter__.return_value.get, "return_value", 2),
        "a length": lambda: setattr(client.__len__, "return_value", 7),
        "an item": lambda: setattr(client.__getitem__, "return_value", 8),
        "a text": lambda: setattr(client.__str__, "return_value", "a client"),
        "a private name": lambda: setattr(client, "_limit", 9),
        "a property": lambda: setattr(type(client), "depth", mock.PropertyMock(return_value=1)),
        "a sentinel": lambda: setattr(client.other, "return_value", mock.sentinel.other),
        "an error": lambda: setattr(client.other, "side_effect", ValueError("x")),
        "another error": lambda: setattr(client.other, "side_effect", ValueError("x")),
        "answers in turn": lambda: setattr(client.other, "side_effect", [1, 2]),
        "what is not there": lambda: delattr(client, "gone"),
    }
    with temporary_store():
        assert_recomputed(requested, client)
        for change in changes.values():
            # What is used is no change.
            len(client), str(client), bool(client), client == 1, hash(client), iter(client)
            assert_hit(requested, client)
            change()
            assert_recomputed(requested, client)


def test_a_mock_that_answers_in_two_places_counts_in_both() -> None:
    """That it is told of once already hides no other one that comes in its second place."""
    client, answer = mock.Mock(), mock.Mock()
    answer.json.return_value = {"n": 1}
    client.first.return_value = client.second.return_value = answer
    with temporary_store():
        assert_recomputed(given, client)
        assert_hit(given, client)
        for place in (client.first, client.second):
            place.return_value = mock.Mock()
            assert_recomputed(given, client)
            place.return_value = answer
            assert_hit(given, client)


@pytest.mark.parametrize("spec", [dict, list, tuple, str, pl.DataFrame, Path])
def test_a_mock_with_a_specification_is_a_mock(spec: type) -> None:
    """It says that it is of the class that it stands for, and is none of it."""
    client = mock.MagicMock(spec=spec)
    with temporary_store():
        given.explain(client)
        assert_recomputed(given, client)
        assert_hit(given, client)
        assert client.mock_calls == []


def lengthened(gene: str, count: int = 2) -> str:
    """Return a longer name."""
    return gene * count


def test_a_mock_with_a_signature_is_an_argument() -> None:
    """A function that stands for a mock is that mock, whatever defaults it seems to have."""
    with temporary_store():
        for number in (1, 2):
            standing = mock.create_autospec(lengthened, return_value=number)
            assert_recomputed(given, standing)
            assert_hit(given, standing)


@checkpoint(name="testing_given")
def given(_: Any) -> pl.DataFrame:
    """Return the same whatever it is given."""
    return pl.DataFrame({"n": [1]})


@checkpoint(name="testing_inside")
def inside() -> pl.DataFrame:
    """Return what a library says that the function itself imports."""
    import statistics as figures
    from statistics import median

    return pl.DataFrame({"n": [figures.mean([0, 0]) + median([0])]})


class Standing:
    """Stands for a function of a library."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, _: list[int]) -> int:
        """Return the number."""
        return self.number

    def method(self, _: list[int]) -> int:
        """Return the number."""
        return self.number


PUT: Final[dict[str, Callable[[int], Any]]] = {
    "a mock": lambda number: mock.Mock(return_value=number),
    "an object": Standing,
    "a method": lambda number: Standing(number).method,
    "a partial": lambda number: functools.partial(Standing.method, Standing(number)),
    "a lambda": lambda number: lambda _: number,
}


@pytest.mark.parametrize("name", ["mean", "median"])
@pytest.mark.parametrize("what", PUT)
def test_what_is_put_into_a_library_counts_within_a_function(what: str, name: str) -> None:
    """Imports in the body of a function are looked through like those above it."""
    with temporary_store():
        assert assert_recomputed(inside).item() == 0
        for number in (1, 2):
            with mock.patch.object(statistics, name, PUT[what](number)):
                assert assert_recomputed(inside).item() == number
        assert assert_hit(inside).item() == 0


def test_a_name_that_a_library_makes_late_is_watched() -> None:
    """What a module gives on demand is noticed as well when something else is there."""

    @checkpoint(name="testing_late")
    def late() -> pl.DataFrame:
        return pl.DataFrame({"n": [concurrent.futures.ProcessPoolExecutor.__name__]})

    with temporary_store():
        assert assert_recomputed(late).item() == "ProcessPoolExecutor"
        standing = mock.Mock()
        standing.__name__ = "standing"
        with mock.patch("concurrent.futures.ProcessPoolExecutor", standing):
            assert assert_recomputed(late).item() == "standing"
