"""A store whose results differ in their keys alone, for the tests of what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path


@checkpoint(name="labelled_numbers")
def _labelled(count: int = 2, label: str = "") -> pl.DataFrame:
    """Return some numbers; the label changes the key, and nothing else."""
    return pl.DataFrame({"n": list(range(count))})


@pytest.fixture
def labelled() -> Any:
    """A checkpoint that gives the same rows under as many keys as are wanted."""
    return _labelled


@pytest.fixture
def labelled_store(tmp_path: Path) -> LocalBackend:
    """A store with two results of it, of two and of three rows."""
    with run(store=tmp_path / "labelled.duckdb"):
        _labelled(2)
        _labelled(3)
    return LocalBackend(tmp_path / "labelled.duckdb")
