"""A store on the local disk: where it can be, and what goes when something is removed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, entries, load, run
from usher_pipeline.errors import CheckpointNameError, StoreBusyError, StoreError, UsherWarning
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@checkpoint(name="local_numbers")
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


# --- where a store can be ---------------------------------------------------------------


@pytest.fixture(params=["a folder", "below a file", "no database", "results in the way"])
def wrong(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A path where no store can be, and what is said of it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("these are my notes\n" * 500)
    (tmp_path / "taken.checkpoints").write_text("mine")
    return {
        "a folder": (tmp_path / "folder", "it is a folder, not a file"),
        "below a file": (tmp_path / "notes.txt" / "deep" / "s.duckdb", "notes.txt', which is"),
        "no database": (tmp_path / "notes.txt", "not a DuckDB database"),
        "results in the way": (
            tmp_path / "taken.duckdb",
            "taken.checkpoints', which is a file",
        ),
    }[request.param]


def below(folder: Path) -> list[str]:
    """Return everything below a folder, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_wrong_path_is_an_error_before_anything_is_made(
    wrong: tuple[Path, str], tmp_path: Path
) -> None:
    """A call is refused with what is wrong; nothing runs, and no file or folder appears."""
    path, problem = wrong
    before = below(tmp_path)
    backend = LocalBackend(path)
    with pytest.raises(StoreError, match=problem):
        backend.check("genes")
    with pytest.raises(StoreError, match=problem):
        backend.single_flight("genes", "k")
    with run(store=path), pytest.raises(StoreError, match=problem):
        numbers()
    assert below(tmp_path) == before


def test_a_wrong_path_is_no_empty_store(wrong: tuple[Path, str]) -> None:
    """Asked what is stored, a path where no store can be is an error and not an empty list."""
    path, problem = wrong
    with run(store=path):
        with pytest.raises(StoreError, match=problem):
            entries()
        with pytest.raises(StoreError, match=problem):
            entries("genes")


def test_a_run_is_not_recorded_at_a_wrong_path(wrong: tuple[Path, str], tmp_path: Path) -> None:
    """The record of a run makes no file or folder beside a path that can be no store."""
    path, problem = wrong
    before = below(tmp_path)
    with pytest.raises(StoreError, match=problem):
        LocalBackend(path).record_run("r", {})
    block = run(store=path)
    with pytest.warns(UsherWarning, match="could not be saved"), block:
        block.record_step("by hand")
    assert below(tmp_path) == before


# --- removing ---------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> LocalBackend:
    """A store with two results of one checkpoint, that does not wait long."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        numbers(2)
        numbers(3)
    return LocalBackend(path, timeout_s=0.1)


def table_of(backend: LocalBackend) -> int | None:
    """Return how many rows the plain table has; None if there is none."""
    with PipelineStore(backend.path) as store:
        frame = store.load_dataframe("local_numbers")
    return None if frame is None else frame.height


def test_what_is_forgotten_goes_from_both_halves(stored: LocalBackend) -> None:
    """The table is that of the newest result that is left, and goes with the last."""
    newest, older = stored.recent("local_numbers")
    stored.forget(newest)
    assert stored.recent("local_numbers") == [older]
    assert table_of(stored) == 2
    stored.forget(older)
    assert stored.recent("local_numbers") == []
    assert table_of(stored) is None


def test_forgetting_an_older_result_leaves_the_table(stored: LocalBackend) -> None:
    """The table of the current result stays when another one is forgotten."""
    newest, older = stored.recent("local_numbers")
    stored.forget(older)
    assert stored.recent("local_numbers") == [newest]
    assert table_of(stored) == 3


def test_a_busy_database_leaves_everything(held: Any, stored: LocalBackend) -> None:
    """What can not be removed from both halves is removed from neither."""
    before = below(stored.segments.folder)
    newest, older = stored.recent("local_numbers")
    with held(stored.path):
        for entry in (newest, older):
            with pytest.raises(StoreBusyError, match="Nothing was written"):
                stored.forget(entry)
        with pytest.raises(StoreBusyError, match="Nothing was written"):
            stored.clear("local_numbers")
        assert below(stored.segments.folder) == before
        assert stored.recent("local_numbers") == [newest, older]
    assert table_of(stored) == 3
    assert stored.clear("local_numbers") == 2
    assert table_of(stored) is None


@pytest.mark.parametrize("removal", ["forget", "clear"])
def test_a_file_that_stays_keeps_its_table(
    stored: LocalBackend, removal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the sealed half can not be removed, the table is not dropped either."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    newest = stored.recent("local_numbers")[0]
    monkeypatch.setattr(type(stored.segments), "remove", refuse)
    monkeypatch.setattr(type(stored.segments), "clear", refuse)
    with pytest.raises(PermissionError, match="denied"):
        stored.forget(newest) if removal == "forget" else stored.clear("local_numbers")
    assert table_of(stored) == 3


def test_clearing_counts_all_of_them(stored: LocalBackend) -> None:
    """However many results a name has, clearing says how many there were."""
    (entry, *_) = stored.recent("local_numbers")
    packed = stored.load(entry)
    assert packed is not None
    for number in range(70):
        key = replace(entry.key, digest=f"{number:032x}")
        stored.segments.commit(
            stored.segments.seal(entry.name, packed), replace(entry, key=key)
        )
    assert stored.clear("local_numbers") == 72
    assert stored.recent("local_numbers") == []


# --- names ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "_checkpoints", "a\0", None])
def test_a_name_that_can_not_be_is_refused_everywhere(stored: LocalBackend, name: Any) -> None:
    """Looking for, loading or removing what can not be named is one clear error."""
    asked: list[Callable[[], object]] = [
        lambda: stored.find(name, "k"),
        lambda: stored.recent(name),
        lambda: stored.current(name),
        lambda: stored.clear(name),
        lambda: PipelineStore(stored.path).delete_checkpoint(name),
    ]
    for ask in asked:
        with pytest.raises(CheckpointNameError, match="can not name a checkpoint"):
            ask()
    with run(store=stored.path), pytest.raises(CheckpointNameError, match="can not name"):
        load(name)
    assert table_of(stored) == 3


# --- where results come from ------------------------------------------------------------


def test_what_no_step_made_stops_no_lineage(tmp_path: Path) -> None:
    """What a function listed, and what it read of files and of the store itself, is no step."""
    (tmp_path / "genes.csv").write_text("gene\nUSH2A\n")
    path = tmp_path / "store.duckdb"

    @checkpoint(name="local_counts")
    def counts() -> pl.DataFrame:
        with PipelineStore(path) as store:
            tables = len(store.list_checkpoints())
            genes = store.execute_query("FROM 'genes.csv'").height
            rows = store.execute_query("FROM _checkpoints").height
        return pl.DataFrame({"tables": [tables], "genes": [genes], "rows": [rows]})

    with run(store=path):
        counts()
    backend = LocalBackend(path)
    (entry,) = backend.recent("local_counts")
    assert {read.kind for read in entry.reads} == {"listing", "file", "table"}
    steps = {step["step_name"]: step["details"] for step in backend.lineage(entry)}
    assert list(steps) == ["genes.csv", "_checkpoints", "local_counts"]
    assert steps["genes.csv"]["note"] == "a file"
