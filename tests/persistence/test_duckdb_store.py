"""The store as pipelines call it: every promise to existing pipelines, on real files."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import BaseModel

from usher_pipeline import checkpoint, run, source
from usher_pipeline.config import PipelineConfig, load_config
from usher_pipeline.errors import (
    CheckpointNameError,
    InvalidResultError,
    NameClashError,
    SchemaMismatchError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    UnknownResultError,
    UnknownTableError,
    UnsupportedFrameError,
)
from usher_pipeline.persistence import PipelineStore, ProvenanceTracker, engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GENES = pl.DataFrame(
    {"gene": ["USH2A", "MYO7A", None], "score": [0.9, float("nan"), None], "rank": [1, 2, 3]},
    schema={"gene": pl.String, "score": pl.Float64, "rank": pl.Int32},
)

ODD_NAMES = [
    "select",
    'with "quotes"',
    "it's",
    "dots.and/slashes\\here",
    "../outside",
    "two words",
    "größe 🧬",
    ".hidden",
    "semi;colon--",
    "CON",
    "x" * 300,
    "main.genes",
    "100%",
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PipelineStore]:
    """An open store in a folder of its own."""
    with PipelineStore(tmp_path / "store.duckdb") as opened:
        yield opened


def rows_of(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the file with plain DuckDB, as any other tool would."""
    with duckdb.connect(str(path)) as connection:
        return connection.execute(sql).fetchall()


# --- opening ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_opening_creates_folders_and_file(tmp_path: Path, kind: Any) -> None:
    """A path as text or `Path` is opened; its folders and the file are created."""
    path = tmp_path / "deep" / "er" / "genes.duckdb"
    with PipelineStore(kind(path)) as store:
        assert store.db_path == path
        assert path.is_file()


def test_a_config_names_its_store(tmp_path: Path) -> None:
    """`from_config` opens `config.duckdb_path`."""
    path = tmp_path / "of_config.duckdb"
    with PipelineStore.from_config(SimpleNamespace(duckdb_path=path)) as store:
        assert store.db_path == path
    (tmp_path / "config.yaml").write_text(
        f"data_dir: {tmp_path}/data\ncache_dir: {tmp_path}/cache\n"
        f"duckdb_path: {tmp_path}/real.duckdb\nversions:\n  ensembl_release: 113\n"
    )
    with PipelineStore.from_config(load_config(tmp_path / "config.yaml")) as store:
        assert store.db_path == tmp_path / "real.duckdb"
        assert store.db_path.is_file()


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    """A path that is a folder is refused, and nothing is written into it."""
    with pytest.raises(StoreError, match="it is a folder"):
        PipelineStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_no_store(tmp_path: Path) -> None:
    """A file that DuckDB can not read is refused, and left as it was."""
    path = tmp_path / "notes.duckdb"
    path.write_text("these are my notes\n" * 500)
    with pytest.raises(StoreError, match="not a DuckDB database"):
        PipelineStore(path)
    assert path.read_text().startswith("these are my notes")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.duckdb"]


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    """A path that leads through a file is an error with the file, which stays as it was."""
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for path in (notes / "store.duckdb", notes / "deep" / "store.duckdb"):
        with pytest.raises(StoreError, match=r"below '.*notes\.txt', which is a file.* Give"):
            PipelineStore(path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    assert notes.read_text() == "mine"


def test_a_folder_that_can_not_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing may be written a new store is an error with the cure."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=r"folder can not be made: .*denied.* where you can"):
        PipelineStore(tmp_path / "deep" / "store.duckdb")


def test_an_sqlite_file_is_no_store(tmp_path: Path) -> None:
    """A database of SQLite is refused as such, without a look for an extension."""
    path = tmp_path / "other.duckdb"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="not a DuckDB database"):
        PipelineStore(path)


def test_memory_is_no_store(tmp_path: Path) -> None:
    """DuckDB's name for a database in memory is refused, and no file gets it."""
    with pytest.raises(StoreError, match="a store is a file"):
        PipelineStore(":memory:")
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_and_working_after(store: PipelineStore) -> None:
    """Closing twice is no error; a closed store refuses work with a clear error."""
    store.save_dataframe(GENES, "genes")
    store.close()
    store.close()
    verbs: list[Callable[[], Any]] = [
        lambda: store.save_dataframe(GENES, "genes"),
        lambda: store.load_dataframe("genes"),
        lambda: store.has_checkpoint("genes"),
        store.list_checkpoints,
        lambda: store.delete_checkpoint("genes"),
        lambda: store.export_parquet("genes", "genes.parquet"),
        lambda: store.execute_query("SELECT 1"),
        lambda: store.conn,
        lambda: ProvenanceTracker("1", None).save_to_store(store),
    ]
    for verb in verbs:
        with pytest.raises(StoreClosedError, match="it is closed"):
            verb()
    assert rows_of(store.db_path, "SELECT count(*) FROM genes") == [(3,)]
    assert not Path("genes.parquet").exists()


def test_the_file_is_free_after_close(tmp_path: Path) -> None:
    """Another process can write as soon as the store is closed."""
    path = tmp_path / "store.duckdb"
    with PipelineStore(path) as store:
        store.save_dataframe(GENES, "genes")
        assert store.conn.execute("SELECT count(*) FROM genes").fetchall() == [(3,)]
    program = f"import duckdb; duckdb.connect({str(path)!r}).execute('CREATE TABLE t (a INT)')"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert rows_of(path, "SELECT count(*) FROM t") == [(0,)]


# --- saving and loading -----------------------------------------------------------------


def test_polars_comes_back_as_it_was(store: PipelineStore) -> None:
    """A polars frame comes back equal, with its types."""
    store.save_dataframe(GENES, "genes")
    loaded = store.load_dataframe("genes")
    assert_frame_equal(loaded, GENES)
    assert loaded.schema == GENES.schema


def test_pandas_comes_back_as_it_was(store: PipelineStore) -> None:
    """A pandas frame comes back equal, with its index, when pandas is asked for."""
    frame = pd.DataFrame(
        {"score": [0.5, 0.25], "tier": pd.Categorical(["b", "a"], ["b", "a"], ordered=True)},
        index=pd.Index(["USH2A", "MYO7A"], name="gene"),
    )
    store.save_dataframe(frame, "genes")
    pd.testing.assert_frame_equal(store.load_dataframe("genes", as_polars=False), frame)


def test_either_library_reads_what_the_other_saved(store: PipelineStore) -> None:
    """Saved from pandas a table loads as polars, and the other way round."""
    store.save_dataframe(pd.DataFrame({"a": [1, 2]}), "from_pandas")
    store.save_dataframe(pl.DataFrame({"a": ["x"]}), "from_polars")
    assert store.load_dataframe("from_pandas").to_dict(as_series=False) == {"a": [1, 2]}
    assert store.load_dataframe("from_polars", as_polars=False)["a"].tolist() == ["x"]


def test_an_unknown_table_loads_as_none(store: PipelineStore) -> None:
    """`load_dataframe` gives None when there is no such table."""
    assert store.load_dataframe("nothing") is None


def test_replacing_is_the_default(store: PipelineStore) -> None:
    """A second save replaces table and metadata."""
    store.save_dataframe(GENES, "genes", "first")
    store.save_dataframe(pl.DataFrame({"other": [1]}), "genes", "second")
    assert store.load_dataframe("genes").columns == ["other"]
    (row,) = store.list_checkpoints()
    assert (row["row_count"], row["description"]) == (1, "second")


def test_appending_describes_the_whole_table(store: PipelineStore) -> None:
    """`replace=False` adds rows; the metadata then describes the whole table."""
    store.save_dataframe(GENES, "genes", "all genes")
    before = store.list_checkpoints()[0]["created_at"]
    store.save_dataframe(GENES.select("rank", "score", "gene"), "genes", replace=False)
    (row,) = store.list_checkpoints()
    assert (row["row_count"], row["description"]) == (6, "all genes")
    assert row["created_at"] >= before
    assert_frame_equal(store.load_dataframe("genes"), pl.concat([GENES, GENES]))


def test_appending_moves_a_table_to_the_top(store: PipelineStore) -> None:
    """Rows that came bring a new time and, if given, a new description."""
    for name in ("one", "two"):
        store.save_dataframe(pd.DataFrame({"n": [1]}), name, f"the {name}")
    before = {row["table_name"]: row["created_at"] for row in store.list_checkpoints()}
    store.save_dataframe(pd.DataFrame({"n": [2]}), "one", "longer", replace=False)
    first, second = store.list_checkpoints()
    assert (first["table_name"], first["description"]) == ("one", "longer")
    assert (first["row_count"], second["table_name"]) == (2, "two")
    assert first["created_at"] > before["two"] > before["one"]
    assert second["created_at"] == before["two"]


def test_appending_to_nothing_creates(store: PipelineStore) -> None:
    """`replace=False` on a new name saves the frame."""
    store.save_dataframe(GENES, "genes", replace=False)
    assert_frame_equal(store.load_dataframe("genes"), GENES)


def test_first_appends_of_threads_lose_nothing(store: PipelineStore) -> None:
    """When several threads are the first to append to a table, it has the rows of all."""
    start = threading.Barrier(4)

    def append(number: int) -> None:
        start.wait()
        store.save_dataframe(pl.DataFrame({"n": [number]}), "shared", replace=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(4)))
    assert sorted(store.load_dataframe("shared")["n"]) == [0, 1, 2, 3]
    assert store.list_checkpoints()[0]["row_count"] == 4


def test_first_appends_of_processes_lose_nothing(tmp_path: Path) -> None:
    """When several processes are the first to append to a table, it has the rows of all."""
    path = tmp_path / "store.duckdb"
    program = f"""
import sys, polars as pl
from usher_pipeline.persistence import PipelineStore
store, frame = PipelineStore({str(path)!r}), pl.DataFrame({{"n": [int(sys.argv[1])]}})
store.has_checkpoint("shared")
print("ready", flush=True)
sys.stdin.readline()
store.save_dataframe(frame, "shared", replace=False)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n")
    with PipelineStore(path) as store:
        assert sorted(store.load_dataframe("shared")["n"]) == [0, 1, 2]


def test_what_others_created_meanwhile_is_appended_to(
    store: PipelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a table is there is not decided before the transaction that writes."""
    from usher_pipeline.persistence import tables

    begin = tables.Tables.writing

    def late(self: tables.Tables, timeout_s: float | None = None) -> Any:
        monkeypatch.setattr(tables.Tables, "writing", begin)
        store.save_dataframe(pl.DataFrame({"n": [1]}), "shared")
        return begin(self, timeout_s)

    monkeypatch.setattr(tables.Tables, "writing", late)
    store.save_dataframe(pl.DataFrame({"n": [2]}), "shared", replace=False)
    assert store.load_dataframe("shared")["n"].to_list() == [1, 2]


def test_appending_widens_without_loss(store: PipelineStore) -> None:
    """Smaller integers and all-null columns fit into the table; its types stay."""
    store.save_dataframe(pl.DataFrame({"n": [2**40], "t": ["a"]}), "wide")
    more = pl.DataFrame({"n": [7], "t": [None]}, schema={"n": pl.Int16, "t": pl.Null})
    store.save_dataframe(more, "wide", replace=False)
    assert store.load_dataframe("wide").rows() == [(2**40, "a"), (7, None)]


@pytest.mark.parametrize(
    "rows",
    [
        pl.DataFrame({"n": [1.5]}),
        pl.DataFrame({"n": ["text"]}),
        pl.DataFrame({"n": [1], "more": [1]}),
        pl.DataFrame({"other": [1]}),
    ],
    ids=["float into integer", "text into integer", "one column more", "another column"],
)
def test_appending_what_does_not_fit_is_refused(store: PipelineStore, rows: Any) -> None:
    """Rows that would change on the way in are an error, and the table stays."""
    store.save_dataframe(pl.DataFrame({"n": [1]}), "numbers")
    with pytest.raises(SchemaMismatchError, match=r"expected \(n BIGINT\)"):
        store.save_dataframe(rows, "numbers", replace=False)
    assert store.load_dataframe("numbers").rows() == [(1,)]
    assert store.list_checkpoints()[0]["row_count"] == 1


def test_data_and_metadata_commit_together(
    store: PipelineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the metadata can not be written, the table is not either."""
    from usher_pipeline.persistence import tables

    store.save_dataframe(pl.DataFrame({"a": [1]}), "kept")

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(tables, "_put", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        store.save_dataframe(pl.DataFrame({"a": [2]}), "kept")
    with pytest.raises(RuntimeError, match="power cut"):
        store.save_dataframe(pl.DataFrame({"a": [2]}), "new")
    assert store.load_dataframe("kept").rows() == [(1,)]
    assert store.load_dataframe("new") is None


def test_what_is_no_frame_is_refused(store: PipelineStore) -> None:
    """Only frames can be saved; anything else is an error and nothing is written."""
    for value, name in (([1, 2], "list"), (None, "NoneType")):
        with pytest.raises(
            InvalidResultError, match=f"'n' can not be saved: .*{name}"
        ) as caught:
            store.save_dataframe(value, "n")  # type: ignore[arg-type]
        assert "decorator" not in str(caught.value)
    assert store.list_checkpoints() == []


def test_what_can_not_be_exact_is_refused(store: PipelineStore) -> None:
    """A column that could not come back as it was is an error that names it."""
    frame = pl.DataFrame({"things": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(UnsupportedFrameError, match="things"):
        store.save_dataframe(frame, "things")
    assert store.list_checkpoints() == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_that_sql_can_quote(store: PipelineStore, name: str) -> None:
    """A table may have any name; it saves, lists, loads, exports and goes."""
    store.save_dataframe(GENES, name)
    assert_frame_equal(store.load_dataframe(name), GENES)
    assert [row["table_name"] for row in store.list_checkpoints()] == [name]
    assert store.has_checkpoint(name)
    quoted = '"' + name.replace('"', '""') + '"'
    assert store.execute_query(f"SELECT count(*) AS n FROM {quoted}").item() == 3
    store.delete_checkpoint(name)
    assert not store.has_checkpoint(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("_checkpoints", "uses that table"),
        ("_PROVENANCE", "uses that table"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
        (3, "expected text"),
        (None, "expected text"),
    ],
)
def test_bad_names_are_refused(
    store: PipelineStore, tmp_path: Path, name: Any, problem: str
) -> None:
    """An empty or reserved name is an error for every verb, and nothing is changed."""
    ProvenanceTracker("1", None).save_to_store(store)
    for verb in (
        lambda: store.save_dataframe(GENES, name),
        lambda: store.save_dataframe(GENES, name, replace=False),
        lambda: store.load_dataframe(name),
        lambda: store.has_checkpoint(name),
        lambda: store.delete_checkpoint(name),
        lambda: store.export_parquet(name, tmp_path / "out" / "x.parquet"),
    ):
        with pytest.raises(CheckpointNameError, match=problem):
            verb()
    assert store.list_checkpoints() == []
    assert store.execute_query("SELECT version FROM _provenance").rows() == [("1",)]
    assert not (tmp_path / "out").exists()


def test_another_spelling_deletes_nothing(store: PipelineStore, tmp_path: Path) -> None:
    """A name that differs in case deletes neither table nor metadata; reading folds case."""
    store.save_dataframe(GENES, "Genes")
    store.delete_checkpoint("genes")
    assert store.has_checkpoint("Genes")
    assert_frame_equal(store.load_dataframe("Genes"), GENES)
    assert_frame_equal(store.load_dataframe("genes"), GENES)
    listed = rows_of(tmp_path / "store.duckdb", "SELECT table_name FROM _checkpoints")
    assert listed == [("Genes",)]


def test_case_outside_ascii_makes_two_tables(store: PipelineStore) -> None:
    """Names that DuckDB tells apart are two tables of the store."""
    store.save_dataframe(GENES, "äb")
    assert store.load_dataframe("ÄB") is None
    store.save_dataframe(pl.DataFrame({"a": [1]}), "ÄB")
    store.delete_checkpoint("ÄB")
    assert store.load_dataframe("ÄB") is None
    assert_frame_equal(store.load_dataframe("äb"), GENES)


def test_names_that_differ_in_case_collide(store: PipelineStore) -> None:
    """DuckDB folds case, so a second spelling is an error and not a replaced table."""
    store.save_dataframe(GENES, "Genes")
    with pytest.raises(NameClashError, match="claimed twice"):
        store.save_dataframe(GENES, "genes")
    assert [row["table_name"] for row in store.list_checkpoints()] == ["Genes"]


# --- metadata ---------------------------------------------------------------------------


def test_has_checkpoint_looks_at_metadata_alone(store: PipelineStore) -> None:
    """A table that nobody saved is no checkpoint, though it can be loaded."""
    store.execute_query("CREATE TABLE by_hand AS SELECT 1 AS a")
    assert not store.has_checkpoint("by_hand")
    assert store.load_dataframe("by_hand").rows() == [(1,)]
    store.save_dataframe(GENES, "genes")
    assert store.has_checkpoint("genes")


def test_the_list_is_newest_first(store: PipelineStore) -> None:
    """`list_checkpoints` gives dicts with the four fields, the newest first, times in UTC."""
    for name in ("one", "two", "three"):
        store.save_dataframe(GENES, name, f"the {name}")
    listed = store.list_checkpoints()
    assert [row["table_name"] for row in listed] == ["three", "two", "one"]
    assert listed[0].keys() >= {"table_name", "created_at", "row_count", "description"}
    assert (listed[2]["row_count"], listed[2]["description"]) == (3, "the one")
    assert datetime.now(UTC) - listed[0]["created_at"] < timedelta(minutes=5)


def test_metadata_has_its_four_columns_first(store: PipelineStore, tmp_path: Path) -> None:
    """Plain SQL finds the metadata where existing pipelines read it."""
    store.save_dataframe(GENES, "genes", "a note")
    described = rows_of(tmp_path / "store.duckdb", "DESCRIBE _checkpoints")
    assert [row[0] for row in described[:4]] == [
        "table_name",
        "created_at",
        "row_count",
        "description",
    ]
    sql = "SELECT table_name, row_count, description FROM _checkpoints"
    assert rows_of(tmp_path / "store.duckdb", sql) == [("genes", 3, "a note")]


def test_deleting_removes_table_and_metadata(store: PipelineStore, tmp_path: Path) -> None:
    """Deleted is gone, in both places; deleting what is not there is no error."""
    store.save_dataframe(GENES, "genes")
    store.delete_checkpoint("genes")
    store.delete_checkpoint("genes")
    store.delete_checkpoint("never there")
    assert store.load_dataframe("genes") is None
    assert rows_of(tmp_path / "store.duckdb", "SELECT count(*) FROM _checkpoints") == [(0,)]


# --- SQL --------------------------------------------------------------------------------


def test_queries_return_polars(store: PipelineStore) -> None:
    """`execute_query` runs any SQL, with parameters by place or by name."""
    store.save_dataframe(GENES, "genes")
    by_place = store.execute_query("SELECT gene FROM genes WHERE rank > ?", [1])
    by_name = store.execute_query("SELECT gene FROM genes WHERE rank = $rank", {"rank": 1})
    assert by_place.rows() == [("MYO7A",), (None,)]
    assert by_name.rows() == [("USH2A",)]
    assert isinstance(store.execute_query("CREATE TABLE t (a INT)"), pl.DataFrame)
    assert store.execute_query("SELECT count(*) FROM t").item() == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM genes JOIN ranks ON genes.gene = ranks.gene",
        "SELECT 1 AS a, 2 AS a, 3 AS A, 4 AS a_1",
        "SELECT 1 AS a_1, 2 AS a, 3 AS a, 4 AS a",
        "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a_1, 5 AS ä, 6 AS Ä",
    ],
)
def test_columns_of_one_name_are_numbered(store: PipelineStore, sql: str) -> None:
    """A query whose columns share a name has them numbered, as DuckDB's own frames do."""
    store.save_dataframe(pl.DataFrame({"gene": ["a"], "x": [1]}), "genes")
    store.save_dataframe(pl.DataFrame({"gene": ["a"], "y": [2]}), "ranks")
    found = store.execute_query(sql)
    assert_frame_equal(found, store.conn.sql(sql).pl())
    if "JOIN" in sql:
        assert found.columns == ["gene", "x", "gene_1", "y"]


def test_conn_knows_every_table_by_its_plain_name(store: PipelineStore) -> None:
    """`conn` is a live connection where each checkpoint resolves by its name."""
    store.save_dataframe(GENES, "gene_universe")
    assert_frame_equal(store.conn.sql("SELECT * FROM gene_universe").pl(), GENES)
    result: Any = store.conn.execute("SELECT * FROM gene_universe")
    if hasattr(result, "pl"):
        assert_frame_equal(result.pl(), GENES)


def test_conn_resolves_frames_of_the_caller(store: PipelineStore) -> None:
    """A frame in the scope of the caller resolves in SQL on `conn`."""
    my_frame = pl.DataFrame({"a": [1, 2]})
    assert store.conn.execute("SELECT sum(a) FROM my_frame").fetchall() == [(3,)]
    assert my_frame.height == 2


def test_saving_works_while_conn_is_held(store: PipelineStore) -> None:
    """The store's own verbs go on working beside an open `conn`, and it sees the result."""
    connection = store.conn
    store.save_dataframe(GENES, "genes")
    assert connection.execute("SELECT count(*) FROM genes").fetchall() == [(3,)]
    assert_frame_equal(store.load_dataframe("genes"), GENES)


@pytest.mark.parametrize(
    "leave_open",
    ["SELECT * FROM big", "SELECT count(*) FROM big", "BEGIN; SELECT * FROM big"],
    ids=["rows", "one row", "transaction"],
)
def test_what_is_open_on_conn_hinders_no_write(
    store: PipelineStore, tmp_path: Path, leave_open: str
) -> None:
    """A result or transaction that is open on `conn` stops no write, and nothing doubles."""
    store.save_dataframe(pl.DataFrame({"a": range(5000)}), "big")
    _ = store.conn.execute(leave_open)
    store.save_dataframe(GENES, "genes")
    store.save_dataframe(GENES, "genes", replace=False)
    store.save_dataframe(GENES, "gone")
    store.delete_checkpoint("gone")
    ProvenanceTracker("1", None).save_to_store(store)
    store.close()
    assert rows_of(tmp_path / "store.duckdb", "SELECT count(*) FROM genes") == [(6,)]
    listed = rows_of(
        tmp_path / "store.duckdb", "SELECT table_name FROM _checkpoints ORDER BY 1"
    )
    assert listed == [("big",), ("genes",)]
    assert rows_of(tmp_path / "store.duckdb", "SELECT version FROM _provenance") == [("1",)]


def test_a_checkpointed_call_keeps_its_value_beside_an_open_result(tmp_path: Path) -> None:
    """A call whose store has a result open on `conn` returns and stores what it computed."""
    ran: list[int] = []

    @checkpoint(name="scores", version="1", ignore=["seen"])
    def scores(seen: list[int]) -> pl.DataFrame:
        seen.append(1)
        return GENES

    with PipelineStore(tmp_path / "store.duckdb") as store, run(store=store.db_path):
        store.save_dataframe(pl.DataFrame({"a": range(5000)}), "big")
        _ = store.conn.execute("SELECT * FROM big")
        assert_frame_equal(scores(ran), GENES)
        assert_frame_equal(scores(ran), GENES)
        assert_frame_equal(store.load_dataframe("scores"), GENES)
    assert len(ran) == 1


def test_two_stores_of_one_process_share_a_file(tmp_path: Path) -> None:
    """A second store on the same path works, also while the first holds `conn`."""
    path = tmp_path / "store.duckdb"
    with PipelineStore(path) as one, PipelineStore(path) as two:
        _ = one.conn
        two.save_dataframe(GENES, "genes")
        one.close()
        assert_frame_equal(two.load_dataframe("genes"), GENES)


def test_a_held_file_is_waited_for_and_its_holder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the file a save waits, then names that process."""
    path = tmp_path / "store.duckdb"
    with PipelineStore(path) as store:
        program = (
            f"import duckdb, sys; connection = duckdb.connect({str(path)!r}); "
            "print('held', flush=True); sys.stdin.read()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            monkeypatch.setattr(store._backend.tables, "timeout_s", 0.2)
            with pytest.raises(StoreBusyError, match=f"PID {holder.pid}"):
                store.save_dataframe(GENES, "genes")
        finally:
            holder.communicate()
        store.save_dataframe(GENES, "genes")
        assert store.has_checkpoint("genes")


def test_another_process_reads_while_a_store_is_open(store: PipelineStore) -> None:
    """An open store that gave out no `conn` lets others read, and write in between."""
    store.save_dataframe(GENES, "genes")
    program = (
        "import polars as pl; from usher_pipeline.persistence import PipelineStore\n"
        f"with PipelineStore({str(store.db_path)!r}) as store:\n"
        "    print(store.load_dataframe('genes').height)\n"
        "    store.save_dataframe(pl.DataFrame({'n': [1]}), 'theirs')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"
    assert store.load_dataframe("theirs").item() == 1


def test_conn_outlives_a_with_block(store: PipelineStore) -> None:
    """`with store.conn` closes that connection; the store goes on with a new one."""
    store.save_dataframe(GENES, "genes")
    with store.conn as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    assert_frame_equal(store.load_dataframe("genes"), GENES)
    assert store.conn.execute("FROM t").fetchall() == [(1,)]
    store.save_dataframe(GENES, "more")
    store.close()
    assert len(rows_of(store.db_path, "FROM more")) == 3


def test_a_protected_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can only be read is queried and exported; writing is a clear error."""
    path = tmp_path / "store.duckdb"
    with PipelineStore(path) as store:
        store.save_dataframe(GENES, "genes")
    monkeypatch.setattr(engine, "writable", lambda _: False)
    with PipelineStore(path) as store:
        assert_frame_equal(store.load_dataframe("genes"), GENES)
        assert store.has_checkpoint("genes")
        assert store.execute_query("SELECT count(*) FROM genes").item() == 3
        store.export_parquet("genes", tmp_path / "out" / "genes.parquet")
        with pytest.raises(duckdb.Error, match="read-only"):
            store.execute_query("DELETE FROM genes")
        assert store.conn.execute("SELECT count(*) FROM genes").fetchall() == [(3,)]
        with pytest.raises(duckdb.Error, match="read-only"):
            store.conn.execute("DELETE FROM genes")
        with pytest.raises(StoreError, match="it can only be read"):
            store.save_dataframe(GENES, "genes")
        with pytest.raises(StoreError, match="it can only be read"):
            store.delete_checkpoint("genes")
    assert_frame_equal(pl.read_parquet(tmp_path / "out" / "genes.parquet"), GENES)


# --- out --------------------------------------------------------------------------------


def test_export_writes_parquet_and_provenance(store: PipelineStore, tmp_path: Path) -> None:
    """A table is exported with folders created and its provenance beside it."""
    store.save_dataframe(GENES, "genes", "the genes")
    target = tmp_path / "out" / "deep" / "genes.parquet"
    store.export_parquet("genes", target)
    assert_frame_equal(pl.read_parquet(target), GENES)
    sidecar = json.loads((target.parent / "genes.provenance.json").read_text())
    (step,) = sidecar["processing_steps"]
    assert (step["step_name"], step["details"]["row_count"]) == ("genes", 3)
    assert step["details"]["description"] == "the genes"


def test_exporting_an_unknown_table_is_a_clear_error(
    store: PipelineStore, tmp_path: Path
) -> None:
    """The error names close tables, and no file appears."""
    store.save_dataframe(GENES, "gene_universe")
    with pytest.raises(UnknownTableError, match="Did you mean 'gene_universe'"):
        store.export_parquet("gene_univers", tmp_path / "out" / "x.parquet")
    assert not (tmp_path / "out").exists()


def test_exporting_below_a_file_is_a_clear_error(store: PipelineStore, tmp_path: Path) -> None:
    """Where no folder can be made for it, an export is an error that names the target."""
    store.save_dataframe(GENES, "genes")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"can not be exported to .*x\.parquet"):
        store.export_parquet("genes", tmp_path / "notes.txt" / "x.parquet")


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("folder.parquet", "it is a folder"),
        ("file/deep/genes.parquet", "exported to"),
        ("store.duckdb", "it is the store itself"),
        ("link.parquet", "it is the store itself"),
    ],
)
def test_where_no_file_can_be_nothing_is_exported(
    store: PipelineStore, tmp_path: Path, place: str, problem: str
) -> None:
    """An export onto a folder, below a file or onto the store is an error; all stays."""
    store.save_dataframe(GENES, "genes")
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link.parquet").symlink_to(tmp_path / "store.duckdb")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=problem):
        store.export_parquet("genes", tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before
    assert_frame_equal(store.load_dataframe("genes"), GENES)


def test_a_copy_that_fails_leaves_no_file(
    store: PipelineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file can not be put in its place, the error says so and nothing is left."""
    store.save_dataframe(GENES, "genes")

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StoreError, match="the disk is full"):
        store.export_parquet("genes", tmp_path / "out" / "genes.parquet")
    assert list((tmp_path / "out").iterdir()) == []


class ClinVar(BaseModel):
    """Sources of another field of study."""

    clinvar_version: str = "2026-01"


class OwnConfig(PipelineConfig):
    """A user's config, which states other sources."""

    versions: ClinVar = ClinVar()  # type: ignore[assignment]


def own_config(version: str = "2026-01") -> OwnConfig:
    """Return a config of the user's own class."""
    places = {"data_dir": "data", "cache_dir": "cache", "duckdb_path": "own.duckdb"}
    return OwnConfig.model_validate({**places, "versions": {"clinvar_version": version}})


def test_exports_of_a_configured_store_bear_its_config(tmp_path: Path) -> None:
    """A table that was saved by hand is exported with the config of `from_config`."""
    config = own_config()
    with PipelineStore.from_config(config) as store:
        store.save_dataframe(GENES, "genes")
        store.export_parquet("genes", tmp_path / "genes.parquet")
        ProvenanceTracker.from_config(config).save_to_store(store)
        stored = store.execute_query("SELECT config_hash FROM _provenance").item()
    assert stored == config.config_hash()
    sidecar = ProvenanceTracker.load_sidecar(tmp_path / "genes.provenance.json")
    assert sidecar["config_hash"] == config.config_hash()
    assert sidecar["data_source_versions"] == {"clinvar_version": "2026-01"}


def test_a_config_of_the_users_own_class_works_everywhere() -> None:
    """Other sources than those of this field state versions for runs, keys and provenance."""
    current: Any = source("clinvar")

    @checkpoint(name="variants")
    def variants(release: Any = current) -> pl.DataFrame:
        return pl.DataFrame({"release": [release]})

    for version in ("2026-01", "2026-02"):
        config = own_config(version)
        with run(config):
            assert variants()["release"].to_list() == [version]
        tracker = ProvenanceTracker("1", config)
        assert tracker.data_source_versions == {"clinvar_version": version}
        with PipelineStore.from_config(config) as store:
            assert store.load_dataframe("variants")["release"].to_list() == [version]


# --- older files ------------------------------------------------------------------------


@pytest.fixture
def older_file(tmp_path: Path) -> Path:
    """A file as the first implementation wrote it."""
    path = tmp_path / "older.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE _checkpoints (table_name VARCHAR PRIMARY KEY, "
            "created_at TIMESTAMP, row_count INTEGER, description VARCHAR)"
        )
        connection.execute("CREATE TABLE gene_universe AS SELECT 'USH2A' AS gene, 1.5 AS score")
        connection.execute("CREATE TABLE unlisted AS SELECT 42 AS n")
        connection.execute(
            "INSERT INTO _checkpoints VALUES "
            "('gene_universe', TIMESTAMP '2026-02-16 12:00:00', 1, 'all genes')"
        )
        connection.execute(
            "CREATE TABLE _provenance (version VARCHAR, config_hash VARCHAR, "
            "created_at TIMESTAMP, steps_json VARCHAR)"
        )
        connection.execute(
            "INSERT INTO _provenance VALUES ('0.1', 'abc', TIMESTAMP '2026-02-16', '[]')"
        )
    return path


def test_an_older_file_opens_lists_and_loads(older_file: Path) -> None:
    """A file of the first implementation needs no manual step."""
    with PipelineStore(older_file) as store:
        assert store.has_checkpoint("gene_universe")
        (row,) = store.list_checkpoints()
        assert row["table_name"] == "gene_universe"
        assert row["created_at"] == datetime(2026, 2, 16, 12, tzinfo=UTC)
        assert (row["row_count"], row["description"]) == (1, "all genes")
        assert store.load_dataframe("gene_universe")["gene"].to_list() == ["USH2A"]
        assert store.load_dataframe("gene_universe", as_polars=False)["gene"].tolist() == [
            "USH2A"
        ]


def test_an_older_file_grows_and_loses_nothing(older_file: Path) -> None:
    """It takes new tables, appended rows and exports, and keeps all that it had."""
    with PipelineStore(older_file) as store:
        store.save_dataframe(GENES, "scores")
        more = pl.DataFrame({"gene": ["MYO7A"], "score": [2.5]})
        typed = more.with_columns(pl.col("score").cast(pl.Decimal(2, 1)))
        store.save_dataframe(typed, "gene_universe", replace=False)
        assert {row["table_name"] for row in store.list_checkpoints()} == {
            "gene_universe",
            "scores",
        }
    assert rows_of(older_file, "SELECT count(*) FROM gene_universe") == [(2,)]
    assert rows_of(older_file, "SELECT n FROM unlisted") == [(42,)]
    sql = "SELECT version, config_hash FROM _provenance"
    assert rows_of(older_file, sql) == [("0.1", "abc")]


@pytest.mark.parametrize("has_provenance", [True, False])
def test_an_older_file_takes_every_verb(older_file: Path, *, has_provenance: bool) -> None:
    """With or without `_provenance`, an older file is read, exported, extended and cleared."""
    if not has_provenance:
        rows_of(older_file, "DROP TABLE _provenance")

    @checkpoint(name=f"layer_{has_provenance}")
    def layer() -> pl.DataFrame:
        with PipelineStore(older_file) as inner:
            genes: pl.DataFrame = inner.load_dataframe("gene_universe")
        return genes.select("gene")

    with PipelineStore(older_file) as store:
        assert store.conn.execute("SELECT gene FROM gene_universe").fetchall() == [("USH2A",)]
        store.export_parquet("gene_universe", older_file.with_name("out.parquet"))
        ProvenanceTracker("2", None).save_to_store(store)
        with run(store=older_file):
            assert layer()["gene"].to_list() == ["USH2A"]
        assert store.load_dataframe(f"layer_{has_provenance}").height == 1
        store.delete_checkpoint("gene_universe")
        store.delete_checkpoint("unlisted")
        assert store.load_dataframe("gene_universe") is None
    assert pl.read_parquet(older_file.with_name("out.parquet"))["score"].to_list() == [1.5]
    listed = rows_of(older_file, "SELECT table_name FROM _checkpoints")
    assert listed == [(f"layer_{has_provenance}",)]
    versions = rows_of(older_file, "SELECT version FROM _provenance")
    assert [("0.1",) in versions, ("2",) in versions] == [has_provenance, True]


# --- housekeeping -----------------------------------------------------------------------


@checkpoint(name="kept_numbers")
def kept_numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[PipelineStore]:
    """A store with two results of one checkpoint, the current one of three rows."""
    with run(store=tmp_path / "store.duckdb"):
        kept_numbers(2)
        kept_numbers(3)
    with PipelineStore(tmp_path / "store.duckdb") as opened:
        yield opened


def pinned(store: PipelineStore) -> tuple[str, ...]:
    """Return which keys are pinned."""
    return store.usage().names[0].pinned


def test_a_pin_holds_the_current_result(kept: PipelineStore) -> None:
    """Without a key the current result is pinned, again without harm, until it is unpinned."""
    newest, _ = kept._backend.recent("kept_numbers")
    assert [kept.pin("kept_numbers"), kept.pin("kept_numbers")] == [newest.key.digest] * 2
    assert pinned(kept) == (newest.key.digest,)
    assert [kept.unpin("kept_numbers"), kept.unpin("kept_numbers")] == [newest.key.digest] * 2
    assert pinned(kept) == ()


def test_a_pin_is_named_by_the_beginning_of_a_key(kept: PipelineStore, tmp_path: Path) -> None:
    """As much of a key as no other has will do; the pin goes with a copy of the store."""
    _, older = kept._backend.recent("kept_numbers")
    assert kept.pin("kept_numbers", older.key.digest[:12]) == older.key.digest
    shutil.copytree(tmp_path / "store.checkpoints", tmp_path / "copy.checkpoints")
    with PipelineStore(tmp_path / "copy.duckdb") as copy:
        assert pinned(copy) == (older.key.digest,)


def test_a_key_that_names_no_single_result_is_refused(kept: PipelineStore) -> None:
    """An unknown key, one that fits two, and a name without results are told apart."""
    entries = kept._backend.recent("kept_numbers")
    first = entries[0]
    shown = sorted([first.key.digest, entries[1].key.digest])
    with pytest.raises(UnknownResultError, match="no result of 'kept_numbers' under") as none:
        kept.pin("kept_numbers", "xyz")
    assert list(none.value.known) == shown
    with pytest.raises(UnknownResultError, match=r"It has none at all\. Nothing was changed"):
        kept.unpin("nothing")
    digest = first.key.digest[:-1] + ("0" if first.key.digest[-1] != "0" else "1")
    twin = replace(first, key=replace(first.key, digest=digest))
    kept._backend.segments.adopt(first, twin)
    with pytest.raises(UnknownResultError, match="2 results, where one is meant, of 'kept_n"):
        kept.pin("kept_numbers", first.key.digest[:-1])
    assert pinned(kept) == ()


def test_an_explicit_wish_is_stronger_than_a_pin(kept: PipelineStore) -> None:
    """What is forgotten or cleared goes although it was pinned, and the pin with it."""
    newest, older = kept._backend.recent("kept_numbers")
    for entry in (newest, older):
        kept.pin("kept_numbers", entry.key.digest)
    kept._backend.forget(older)
    assert kept._backend.segments.pins("kept_numbers") == {newest.key.digest}
    kept.delete_checkpoint("kept_numbers")
    assert kept.usage().names == ()
    assert not (kept._backend.segments.folder / "kept_numbers").exists()


def test_a_closed_store_keeps_no_house(kept: PipelineStore) -> None:
    """What is asked of a closed store is refused."""
    kept.close()
    asked: list[Callable[[], object]] = [
        kept.usage,
        lambda: kept.pin("kept_numbers"),
        lambda: kept.unpin("kept_numbers"),
    ]
    for ask in asked:
        with pytest.raises(StoreClosedError, match="it is closed"):
            ask()


def test_a_table_that_was_set_aside_can_go(tmp_path: Path) -> None:
    """What `verify` set aside is dropped by its name, and nothing else is."""
    with PipelineStore(tmp_path / "store.duckdb") as store:
        store.conn.execute("CREATE TABLE _usher_aside_1_genes AS SELECT 1 AS n")
        store.conn.execute("CREATE TABLE _usher_aside_2_genes AS SELECT 2 AS n")
        store.delete_checkpoint("_usher_aside_1_genes")
        names = store.execute_query("SHOW TABLES")["name"].to_list()
        assert "_usher_aside_1_genes" not in names
        assert "_usher_aside_2_genes" in names
