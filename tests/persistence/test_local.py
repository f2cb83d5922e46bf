"""A store on the local disk: where it can be, and what goes when something is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from usher_pipeline import checkpoint, entries, run
from usher_pipeline.errors import StoreError, UsherWarning
from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
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
