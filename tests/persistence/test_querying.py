"""Queries on a store that is only looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.errors import StoreError
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.querying import queried

if TYPE_CHECKING:
    from pathlib import Path


@checkpoint(name="queried_genes")
def genes() -> pl.DataFrame:
    """Return two genes."""
    return pl.DataFrame({"gene": ["USH2A", "MYO7A"]})


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with one result."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        genes()
    return LocalBackend(path)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM queried_genes",
        "FROM queried_genes",
        "WITH a AS (SELECT 1) FROM a",
        "SHOW TABLES",
        "DESCRIBE queried_genes",
        "SUMMARIZE queried_genes",
        "EXPLAIN FROM queried_genes",
    ],
)
def test_what_asks_is_answered(backend: LocalBackend, query: str) -> None:
    """Queries and what tells of tables have an answer, one after the other."""
    assert queried(backend, query).num_rows > 0
    assert queried(backend, query).num_rows > 0


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("DELETE FROM queried_genes", "got DELETE"),
        ("CREATE TABLE t (a INTEGER)", "got CREATE"),
        ("COPY queried_genes TO 'out.csv'", "got COPY"),
        ("ATTACH 'other.duckdb'", "got ATTACH"),
        ("SELECT 1; DROP TABLE queried_genes", "got SELECT, DROP"),
        ("", "got none"),
        ("SELEC 1", "Parser Error"),
        ("FROM nowhere", "nowhere"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled"),
        ("SELECT * FROM '/etc/hostname'", "/etc/hostname"),
    ],
)
def test_what_does_more_is_refused(backend: LocalBackend, query: str, problem: str) -> None:
    """Statements that change something, several at once, and files elsewhere are refused."""
    before = sorted(backend.path.parent.rglob("*"))
    with pytest.raises(StoreError, match=problem):
        queried(backend, query)
    assert sorted(backend.path.parent.rglob("*")) == before
    assert queried(backend, "FROM queried_genes").num_rows == 2


def test_beside_a_connection_of_this_process(backend: LocalBackend) -> None:
    """While this process holds the database itself, a query uses that connection."""
    with PipelineStore(backend.path) as opened:
        assert opened.conn.execute("SELECT 1").fetchall() == [(1,)]
        assert queried(backend, "FROM queried_genes").num_rows == 2
        assert opened.conn.execute("FROM queried_genes").fetchall()


def test_a_database_that_is_gone_is_made_again(backend: LocalBackend) -> None:
    """Results whose tables are lost get them again before they are asked for."""
    backend.path.unlink()
    assert queried(LocalBackend(backend.path), "FROM queried_genes").num_rows == 2
