"""A plain call that was a hit is answered quickly, while nothing that matters changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import calls, checkpoint, configure, current_run, run, setting
from usher_pipeline.persistence import PipelineStore, publisher
from usher_pipeline.persistence.local import LocalBackend, resolved
from usher_pipeline.records import Miss

if TYPE_CHECKING:
    from collections.abc import Callable

# Not in the working folder, whose change alone would send calls the long way.
STORE = Path("out/store.duckdb")
FACTOR = 1


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    STORE.parent.mkdir()
    configure(store=STORE)
    # A folder that has just been written is looked at the long way for a second.
    monkeypatch.setattr("usher_pipeline.recall._SETTLED_NS", 0)
    monkeypatch.setattr("usher_pipeline.fingerprint.files._SETTLED_NS", 0)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the calls that go the long way."""
    found: list[str] = []
    plan = calls.plan

    def noting(declared: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(declared.name)
        return plan(declared, *args, **kwargs)

    monkeypatch.setattr(calls, "plan", noting)
    return found


@checkpoint
def scaled(number: Any = 1, *, label: str = "x") -> pl.DataFrame:
    """Return a number, scaled."""
    return pl.DataFrame({"n": [str(number), str(FACTOR), label]})


def warm(*args: Any, **kwargs: Any) -> pl.DataFrame:
    """Call until the answer is known."""
    scaled(*args, **kwargs)
    # What is published behind the caller leaves a note in the folder of the entries.
    assert publisher.wait(resolved(STORE), 60)
    # Within one tick of its clock a folder does not tell of a change.
    time.sleep(0.01)
    for _ in range(3):
        frame = scaled(*args, **kwargs)
    return frame


def test_a_call_is_recalled(planned: list[str]) -> None:
    """After a hit the same call is not measured again, and gives the same rows."""
    frame = warm(2, label="y")
    del planned[:]
    for _ in range(3):
        assert scaled(2, label="y").equals(frame)
    assert planned == []
    assert scaled(number=2, label="y").equals(frame)
    assert planned == ["scaled"]


def test_each_caller_has_a_frame_of_its_own() -> None:
    """What one caller does to its frame no other one sees."""
    first = warm()
    first.columns = ["other"]
    assert scaled().columns == ["n"]


def test_a_recalled_hit_is_noted_in_the_run() -> None:
    """Each hit counts in the provenance, with the time of the last one as text."""
    configure(store="out/other.duckdb")
    with run(store=STORE) as block:
        for _ in range(5):
            scaled(7)
        steps = block.metadata()["processing_steps"]
    computed, hits = (step["details"] for step in steps)
    assert (computed["outcome"], computed["calls"]) == ("computed", 1)
    assert (hits["outcome"], hits["calls"]) == ("hit", 4)
    assert isinstance(hits["used_at"], str)


ALIKE = [1, True, 1.0, "1", b"1", 0, 0.0, -0.0, False, None, "", b"", float("nan")]


def test_values_that_look_alike_are_told_apart() -> None:
    """Equal values of different types, zeros of both signs and NaN are calls of their own."""
    for number in ALIKE:
        warm(number)
    assert len(scaled.entries()) == len(ALIKE)
    for number in ALIKE:
        assert scaled(number)["n"][0] == str(number)


def _edit_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FACTOR", 5)


def _other_store(_: pytest.MonkeyPatch) -> None:
    configure(store="out/other.duckdb")


def _store_of_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_DISABLE", "1")


def _refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_REFRESH", "scaled")


def _other_folder(_: pytest.MonkeyPatch) -> None:
    Path("sub").mkdir()
    os.chdir("sub")


def _forget(_: pytest.MonkeyPatch) -> None:
    scaled.forget(2)


def _clear(_: pytest.MonkeyPatch) -> None:
    scaled.clear()


@pytest.mark.parametrize(
    "change",
    [
        _edit_constant, _other_store, _store_of_environment, _refresh, _other_folder, _forget,
        _clear,
    ],
)  # fmt: skip
def test_what_matters_sends_a_call_the_long_way(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """An edit, another store, folder or wish, and a result that is gone: the function runs."""
    warm(2)
    before = computed()
    change(monkeypatch)
    scaled(2)
    assert computed() == before + 1


def computed() -> int:
    """Return how often the function ran in this process."""
    details = [step["details"] for step in current_run().steps()]
    return sum(each.get("calls", 1) for each in details if each["outcome"] != "hit")


def test_a_newer_result_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else stored under the same key is what the call gives from then on."""
    old = warm(3)
    monkeypatch.setitem(globals(), "FACTOR", 1)
    entry = LocalBackend(STORE).find("scaled", scaled.key(3).digest)
    assert entry is not None
    other = LocalBackend(STORE)
    packed = other.load(entry)
    assert packed is not None
    newer = other.save(entry, packed)
    assert newer.number == entry.number + 1
    assert scaled(3).equals(old)
    meant = {m.entry.stem for m in current_run().returned(resolved(STORE))}
    assert newer.stem in meant


def test_a_segment_that_was_changed_is_not_handed_out(planned: list[str]) -> None:
    """A file that is another one, or gone, is looked at again."""
    frame = warm(4)
    entry = scaled.entries()[0]
    path = LocalBackend(STORE).segments.segment(entry)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    del planned[:]
    assert scaled(4).equals(frame)
    assert planned


def test_a_running_function_is_told_of_what_it_calls() -> None:
    """A recalled call inside another checkpoint is a read of that one all the same."""
    warm(5)

    @checkpoint
    def outer() -> pl.DataFrame:
        return scaled(5)

    outer()
    (entry,) = outer.entries()
    assert [read.name for read in entry.reads] == ["scaled"]


def test_a_hit_belongs_to_the_run_that_it_is_in() -> None:
    """In a block a call that was recalled outside is a hit of the block."""
    warm(6)
    with run(store=STORE) as block:
        scaled(6)
        assert [step["step_name"] for step in block.metadata()["processing_steps"]] == [
            "scaled"
        ]


def test_another_project_file_is_looked_at(planned: list[str]) -> None:
    """What counts as code of the project may have changed with its file."""
    Path("pyproject.toml").write_text("")
    warm(8)
    Path("pyproject.toml").write_text('[tool.usher]\nfirst_party = ["genes"]\n')
    del planned[:]
    scaled(8)
    assert planned == ["scaled"]


def test_what_reads_a_table_follows_it() -> None:
    """A function that reads a table of the store is not answered by what was read before."""

    def save(number: int) -> None:
        with PipelineStore(STORE) as store:
            store.save_dataframe(pl.DataFrame({"n": [number]}), "mine")
        time.sleep(0.01)

    @checkpoint
    def reader() -> pl.DataFrame | None:
        with PipelineStore(STORE) as store:
            found: pl.DataFrame | None = store.load_dataframe("mine")
            return found

    for number in (1, 2):
        save(number)
        for _ in range(3):
            frame = reader()
            assert frame is not None
            assert frame.item() == number


def test_what_reaches_a_checkpoint_follows_its_sources() -> None:
    """A checkpoint that is reached and not called counts with its sources all the same."""
    answers = ["v1"]

    @checkpoint(sources={"gnomad": lambda: answers[-1]}, version="1")
    def inner() -> pl.DataFrame:
        return scaled()

    @checkpoint
    def outer(is_called: bool = False) -> pl.DataFrame:  # noqa: FBT001, FBT002 - a parameter
        return inner() if is_called else pl.DataFrame({"n": [1]})

    for _ in range(3):
        outer()
    answers.append("v2")
    assert len(outer.entries()) == 1
    outer()
    assert len(outer.entries()) == 2


def test_a_default_that_can_change_is_looked_at() -> None:
    """A list as a default counts by what is in it now."""
    ran = []

    @checkpoint(ignore=["count"])
    def listed(items: Any = [1], count: Any = None) -> pl.DataFrame:  # noqa: B006 - the point
        ran.append(count)
        return pl.DataFrame({"n": items})

    for _ in range(3):
        listed()
    listed.__wrapped__.__defaults__[0].append(2)  # type: ignore[index]
    assert listed()["n"].to_list() == [1, 2]
    assert len(ran) == 2


def test_a_setting_is_followed(planned: list[str]) -> None:
    """While the config is the same a call with a setting is recalled; then it is not."""
    Path("config.yaml").write_text("size: 1\n")
    configure(config="config.yaml")

    @checkpoint
    def sized(*, size: int = setting("size")) -> pl.DataFrame:
        return pl.DataFrame({"n": [size]})

    os.utime("config.yaml", (1, 1))
    for _ in range(3):
        assert sized().item() == 1
    Path("config.yaml").write_text("size: 22\n")
    assert sized().item() == 22
    assert planned


def test_a_probe_is_asked_at_every_call() -> None:
    """A source that is asked for is asked again; another answer is another result."""
    answers = iter(["v1", "v1", "v1", "v2"])

    @checkpoint(sources={"gnomad": lambda: next(answers)})
    def genes() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    genes()
    genes()
    assert isinstance(genes.explain(), Miss)


def test_only_so_many_calls_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that is called with ever new arguments does not fill the memory."""
    monkeypatch.setattr("usher_pipeline.recall._MOST_CALLS", 2)
    for number in range(5):
        warm(number)
    assert len(scaled.__usher_declaration__.recalled) <= 2
