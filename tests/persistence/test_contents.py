"""What a store holds, told without opening its database where that can be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.errors import CheckpointNameError, StoreBusyError
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.contents import named, names, runs_of
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.segments import RECENT_ENTRIES
from usher_pipeline.persistence.tables import Tables

if TYPE_CHECKING:
    from pathlib import Path


@checkpoint(name="contents_counted")
def counted(limit: int) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(limit))})


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with two results of one checkpoint, and a table that was saved by hand."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        counted(2)
        counted(3)
    with PipelineStore(path) as opened:
        opened.save_dataframe(pl.DataFrame({"a": [1]}), "by_hand")
    return LocalBackend(path)


@pytest.fixture
def _closed(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody open a database that was filled."""
    assert backend.path.is_file()

    def refuse(*_: object) -> None:
        raise AssertionError("the database was opened")

    monkeypatch.setattr(Tables, "reading", refuse)


@pytest.mark.usefixtures("_closed")
def test_the_database_stays_closed_while_it_is_as_we_left_it(backend: LocalBackend) -> None:
    """Names are told from the folder alone while nobody else wrote to the database."""
    found = [(each.name, each.row_count, each.entry_count) for each in named(backend)]
    assert found == [("by_hand", 1, 0), ("contents_counted", 3, 2)]
    assert names(backend) == ["by_hand", "contents_counted"]


def test_a_database_that_others_wrote_to_is_asked(backend: LocalBackend) -> None:
    """After a write that is not ours the database itself tells which tables there are."""
    import duckdb

    with duckdb.connect(str(backend.path)) as connection:
        connection.execute("DELETE FROM _checkpoints WHERE table_name = 'by_hand'")
    assert backend.segments.noted_tables(backend.path) is None
    assert [each.name for each in named(backend)] == ["contents_counted"]


@pytest.fixture
def held(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Let somebody hold a database that they wrote to; return how long others would wait."""
    (backend.segments.folder / ".listing").unlink()
    waited: list[float | None] = []

    def refuse(tables: Tables, timeout_s: float | None = None) -> None:
        waited.append(timeout_s)
        raise StoreBusyError(tables.path, "python (PID 7)", timeout_s or 0.0)

    monkeypatch.setattr(Tables, "reading", refuse)
    return waited


def test_while_the_database_isheld_the_folder_serves(
    backend: LocalBackend, held: list[float | None]
) -> None:
    """Results of checkpoints are told without it; for tables one waits as long as is said."""
    assert [each.name for each in named(backend, tables_too=False)] == ["contents_counted"]
    held.clear()
    with pytest.raises(StoreBusyError, match="held by python"):
        named(backend, timeout_s=0.5)
    assert held[-1] == 0.5


def test_for_names_nobody_waits(backend: LocalBackend, held: list[float | None]) -> None:
    """Names are what a shell offers while somebody types."""
    assert names(backend) == ["contents_counted"]
    assert set(held) == {0.0}


@pytest.mark.parametrize("noted", ["", "[]", '{"state": 5}', "{", '{"tables": [["a"]]}'])
def test_a_note_that_can_not_be_read_is_none(backend: LocalBackend, noted: str) -> None:
    """Whatever stands in the note, the database knows it too."""
    (backend.segments.folder / ".listing").write_text(noted, "utf-8")
    assert {each.name for each in named(backend)} == {"by_hand", "contents_counted"}


def test_an_old_note_is_not_believed(backend: LocalBackend) -> None:
    """A note that is of another state of the database says nothing of it."""
    path = backend.segments.folder / ".listing"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"state": "1 2 3"}))
    assert backend.segments.noted_tables(backend.path) is None


def test_without_its_folder_the_database_serves(backend: LocalBackend) -> None:
    """Where the folder of results is gone, the rows of the database are listed."""
    backend.segments.folder.rename(backend.segments.folder.with_name("away"))
    found = {each.name: each.entry_count for each in named(backend)}
    assert found == {"by_hand": 0, "contents_counted": 1}
    assert names(backend) == ["by_hand", "contents_counted"]


def test_without_a_database_the_folder_serves(backend: LocalBackend) -> None:
    """Where the database is gone, the results in the folder are listed."""
    backend.path.unlink()
    assert [each.name for each in named(backend)] == ["contents_counted"]


def test_of_very_many_results_all_are_counted(backend: LocalBackend) -> None:
    """Beyond what is read of a name the results are counted by their files."""
    with run(store=backend.path):
        for limit in range(10, 10 + RECENT_ENTRIES):
            counted(limit)
    found = {each.name: (each.row_count, each.entry_count) for each in named(backend)}
    assert found["contents_counted"] == (9 + RECENT_ENTRIES, 2 + RECENT_ENTRIES)


def test_an_unreadable_record_of_a_run_is_passed_over(backend: LocalBackend) -> None:
    """Records that hold something else than ours are no runs, and no error."""
    folder = backend.segments.folder / ".runs"
    for number, text in enumerate(("[]", "{}", '{"run": 5, "created_at": "x"}', "\x00")):
        (folder / f"{number}.json").write_text(text, "utf-8")
    (line, _) = runs_of(backend, "contents_counted")
    assert (line.outcome, line.run_outcome, line.error) == ("computed", "completed", "")


def test_no_more_runs_than_are_asked_for(backend: LocalBackend) -> None:
    """The latest runs are enough."""
    with run(store=backend.path):
        counted(3)
    assert [line.outcome for line in runs_of(backend, "contents_counted", 1)] == ["hit"]


def test_a_name_that_can_not_be(backend: LocalBackend) -> None:
    """The name is checked before anything is read."""
    with pytest.raises(CheckpointNameError, match="it is empty"):
        runs_of(backend, "")
