"""What a function returns is taken whole: frames as they are, other rows as they come."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from usher_pipeline import checkpoint, configure
from usher_pipeline.errors import (
    CheckpointNotSaved,
    DamagedResultError,
    InvalidResultError,
    UnsupportedFrameError,
)
from usher_pipeline.persistence import PipelineStore, spools
from usher_pipeline.records import Hit
from usher_pipeline.returned import gather

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE = Path("store.duckdb")
FORMS = ("lazy", "polars", "pandas", "arrow", "relation")


@pytest.fixture(autouse=True)
def _store() -> None:
    configure(store=STORE)


def genes(first: int = 0, count: int = 3) -> pl.DataFrame:
    """Return some genes with scores."""
    numbers = range(first, first + count)
    return pl.DataFrame(
        {"gene": [f"g{n}" for n in numbers], "score": [n / 2 for n in numbers]}
    ).with_columns(pl.col("gene").cast(pl.Categorical).alias("word"))


def segments() -> list[Path]:
    """Return the files of the store that are segments, temporary ones included."""
    return sorted(STORE.with_suffix(".checkpoints").rglob("*.arrow*"))


# --- generators -------------------------------------------------------------------------


def test_a_generator_is_seen_as_returning_the_frame() -> None:
    """The frames that a generator yields come back as one, from the first call on."""
    ran = []

    @checkpoint
    def pages(count: int) -> Iterator[pl.DataFrame]:
        ran.append(count)
        for page in range(count):
            yield genes(3 * page)

    for _ in range(2):
        frame = pages(4)
        polars.testing.assert_frame_equal(frame, genes(0, 12))
    assert ran == [4]
    assert isinstance(pages.explain(4), Hit)
    (entry,) = pages.entries()
    assert (entry.row_count, entry.kind) == (12, "polars.DataFrame")
    with PipelineStore(STORE) as store:
        assert store.conn.execute("SELECT count(*) FROM pages").fetchone() == (12,)


@pytest.mark.parametrize("disable", ["bypass", "USHER_DISABLE"])
def test_a_bypassed_generator_gives_the_frame_too(
    monkeypatch: pytest.MonkeyPatch, disable: str
) -> None:
    """What the call returns does not depend on whether it is stored."""

    @checkpoint
    def pages() -> Iterator[pl.DataFrame]:
        yield genes()
        yield genes(3)

    if disable == "bypass":
        frame = pages.bypass()
    else:
        monkeypatch.setenv("USHER_DISABLE", "1")
        frame = pages()
    polars.testing.assert_frame_equal(frame, genes(0, 6))
    assert segments() == []


def test_an_iterator_of_pandas_is_a_frame() -> None:
    """What `pandas.read_csv` yields in chunks is one frame, whose rows are counted on."""
    whole = pd.DataFrame({"n": range(10)})
    whole.to_csv("n.csv", index=False)

    @checkpoint(version="1")
    def chunks() -> Any:
        return pd.read_csv("n.csv", chunksize=3)

    for _ in range(2):
        pd.testing.assert_frame_equal(chunks(), whole)


def test_a_function_that_fails_in_the_middle_leaves_nothing() -> None:
    """The error of a generator reaches the caller; nothing of it is stored, nothing left."""

    @checkpoint
    def pages() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"n": pl.int_range(1 << 20, eager=True)})
        raise ValueError("the server is gone")

    with pytest.raises(ValueError, match="the server is gone"):
        pages()
    assert segments() == []
    assert pages.entries() == []


def test_frames_before_one_that_does_not_fit_are_put_aside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error names the frame and the file with all that came before it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    @checkpoint
    def pages() -> Iterator[pl.DataFrame]:
        yield genes()
        yield genes(3)
        yield genes().select("gene")

    with pytest.raises(UnsupportedFrameError, match="the columns of frame 3") as caught:
        pages()
    (rescued,) = tmp_path.glob("usher-rescue-*.arrow")
    assert str(rescued) in str(caught.value)
    assert rescued_rows(rescued).equals(pl.concat([genes(), genes(3)]))
    assert segments() == []


def rescued_rows(path: Path) -> pl.DataFrame:
    """Return what was put aside, under the names that it has."""
    with pa.memory_map(str(path)) as source:
        frame = pl.from_arrow(pa.ipc.open_file(source).read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.mark.parametrize(
    "other", [None, [1], genes().to_pandas()], ids=["none", "list", "pandas"]
)
def test_the_frame_that_is_refused_is_not_lost_either(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: Any
) -> None:
    """The error carries what was no frame of the series, and names a file with the others."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    @checkpoint(version="1")
    def pages() -> Iterator[Any]:
        yield genes()
        yield other

    with pytest.raises(UnsupportedFrameError, match=r"frame 2 is .*usher-rescue") as caught:
        pages()
    assert caught.value.frame is other
    (rescued,) = tmp_path.glob("usher-rescue-*.arrow")
    assert rescued_rows(rescued).equals(genes())


@pytest.mark.parametrize(
    ("yielded", "said"),
    [
        ([], "generator that yields no frame at all"),
        ([None], "generator that yields NoneType"),
        ([5], "generator that yields int"),
        ([genes(), 5], "frame 2 is int.* one kind, here polars.DataFrame"),
        ([genes(), genes().to_pandas()], "frame 2 is pandas.*DataFrame.* here polars.DataFra"),
        ([genes().lazy()], "frame 1 is polars.LazyFrame, a query.* return the query itself"),
    ],
)
def test_what_is_no_series_of_frames_is_refused(yielded: list[Any], said: str) -> None:
    """A generator yields frames of one kind, at least one, with their values."""

    @checkpoint(version="1")
    def pages() -> Iterator[Any]:
        yield from yielded

    with pytest.raises((InvalidResultError, UnsupportedFrameError), match=said):
        pages()


def test_a_full_disk_costs_no_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows that can not be written any more reach the caller, and a rescue file."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    class Full(spools.Spool):
        """A segment on a disk that is full at its end."""

        def close(self) -> None:
            """Find the disk full."""
            self._give_up(OSError("full"))

    monkeypatch.setattr("usher_pipeline.persistence.segments.Spool", Full)

    @checkpoint
    def pages() -> Iterator[pl.DataFrame]:
        yield genes()
        yield genes(3)

    with pytest.warns(CheckpointNotSaved, match="full"):
        frame = pages()
    polars.testing.assert_frame_equal(frame, genes(0, 6))
    assert len(list(tmp_path.glob("usher-rescue-*.arrow"))) == 1


# --- queries and readers ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["polars", "duckdb", "pyarrow", "dict"])
def test_a_query_is_run_once_and_asked_often(kind: str) -> None:
    """Queries and readers come back as such, with the same rows each time."""
    ran = []

    def query() -> Any:
        ran.append(kind)
        lazy = genes(0, 5).lazy()
        return {
            "polars": lazy,
            "duckdb": duckdb.sql("SELECT range AS n FROM range(5)"),
            "pyarrow": pa.table({"n": range(5)}).to_reader(),
            "dict": {"lazy": lazy, "frame": genes()},
        }[kind]

    wrapped = checkpoint(version="1")(query)
    first, second = wrapped(), wrapped()
    assert type(first) is type(second)
    if kind == "polars":
        polars.testing.assert_frame_equal(first.collect(), genes(0, 5))
        polars.testing.assert_frame_equal(second.collect(), genes(0, 5))
    elif kind == "duckdb":
        assert first.fetchall() == second.fetchall() == [(n,) for n in range(5)]
    elif kind == "pyarrow":
        assert first.read_all() == second.read_all() == pa.table({"n": range(5)})
    else:
        for found in (first, second):
            polars.testing.assert_frame_equal(found["lazy"].collect(), genes(0, 5))
    assert ran == [kind]


def test_a_query_can_go_to_another_process() -> None:
    """A query is pickled by what it reads; where that is gone by then, the error says so."""

    @checkpoint(version="1")
    def many(rows: int) -> pl.LazyFrame:
        return genes(0, rows).lazy()

    query = many(5).filter(pl.col("score") > 1)
    sent = pickle.dumps(query)
    assert len(sent) < 20_000
    polars.testing.assert_frame_equal(pickle.loads(sent).collect(), query.collect())  # noqa: S301
    many.clear()
    with pytest.raises(Exception, match=r"the result of .* is damaged"):
        pickle.loads(sent).collect()  # noqa: S301


# --- other forms ------------------------------------------------------------------------


def rows(found: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a frame of any kind."""
    match found:
        case pl.LazyFrame():
            return found.collect().rows()
        case pl.DataFrame():
            return found.rows()
        case pd.DataFrame():
            return list(found.itertuples(index=False, name=None))
        case pa.Table():
            return [tuple(row.values()) for row in found.to_pylist()]
        case _:
            listed: list[tuple[Any, ...]] = found.fetchall()
            return listed


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow"])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_has_the_rows(kind: str, form: str) -> None:
    """Each verb gives its form of a result, whatever the function returns, miss or hit."""
    plain = genes().select("gene", "score")
    made = {"polars": plain, "pandas": plain.to_pandas(), "arrow": plain.to_arrow()}[kind]
    ran = []

    @checkpoint(version="1")
    def table() -> Any:
        ran.append(kind)
        return made

    for _ in range(2):
        found = getattr(table, form)()
        assert rows(found) == plain.rows()
    assert ran == [kind]


@pytest.mark.parametrize("form", FORMS)
def test_a_dictionary_has_each_frame_in_that_form(form: str) -> None:
    """The frames of a dictionary are all given in the form that is asked for."""

    @checkpoint
    def splits() -> dict[str, Any]:
        return {"train": genes(), "test": genes().to_pandas()}

    kinds = []
    for _ in range(2):
        found = getattr(splits, form)()
        assert list(found) == ["train", "test"]
        kinds += [type(frame).__name__ for frame in found.values()]
    assert len(set(kinds)) == 1


def test_a_form_of_a_bypassed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms are given also where nothing is stored."""

    @checkpoint
    def table() -> pl.DataFrame:
        return genes()

    monkeypatch.setenv("USHER_DISABLE", "1")
    assert table.arrow().num_rows == 3
    assert segments() == []


def test_pandas_can_be_written_to() -> None:
    """A frame of pandas owns its memory; what is stored stays."""

    @checkpoint
    def table() -> pl.DataFrame:
        return genes()

    frame = table.pandas()
    frame["score"].to_numpy()
    frame.loc[0, "score"] = 99.0
    assert table.pandas()["score"].to_list() == [0.0, 0.5, 1.0]


# --- lazily -----------------------------------------------------------------------------


def _damage(column: str) -> None:
    """Flip bytes in the values of one column of the segment."""
    (path,) = segments()
    with pa.memory_map(str(path)) as source:
        values = pa.ipc.open_file(source).read_all().column(column).chunk(0).buffers()[1]
        pattern = values.to_pybytes()[:64]
    data = bytearray(path.read_bytes())
    data[bytes(data).index(pattern)] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_a_query_reads_the_columns_that_it_needs() -> None:
    """A damaged column is no trouble for a query that does not read it."""

    @checkpoint
    def table() -> pl.DataFrame:
        return pl.DataFrame({"a": [1.5] * 100, "b": range(100), "c": ["x"] * 100})

    table()
    with PipelineStore(STORE) as store:
        store.conn.execute('UPDATE "table" SET b = 7')
    _damage("1")
    query = table.lazy()
    assert query.select("a").filter(pl.col("a") > 1).collect().height == 100
    assert query.select(pl.len()).collect().item() == 100
    assert query.head(3).select("c", "a").collect().rows() == [("x", 1.5)] * 3
    with pytest.raises(Exception, match="the result of table is damaged"):
        query.select("b").collect()
    polars.testing.assert_frame_equal(table().select("b"), pl.DataFrame({"b": range(100)}))


def test_a_damaged_column_comes_from_the_table() -> None:
    """Where the table still has what the segment has not, a query never notices."""

    @checkpoint
    def table() -> pl.DataFrame:
        return pl.DataFrame({"b": range(100)})

    table()
    _damage("0")
    assert table.lazy().collect()["b"].to_list() == list(range(100))


def test_the_damage_has_a_class_of_its_own() -> None:
    """Who reads a source without polars gets an error with the facts."""
    problem = DamagedResultError("s.duckdb", "genes", "1.arrow")
    assert (problem.name, problem.segment) == ("genes", "1.arrow")
    assert "Call the checkpoint again" in str(problem)


@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_a_scan_gives_every_row_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters, limits, projections and joins of a query see the frame that was stored."""
    monkeypatch.setattr("usher_pipeline.frames.polars_lazy._BATCH_BYTES", 1 << 12)
    whole = genes(0, rows).with_columns(pl.lit(1, pl.UInt8).alias(""))

    @checkpoint(version="1")
    def table() -> pl.DataFrame:
        return whole

    query = table.lazy()
    assert query.collect_schema() == whole.schema
    polars.testing.assert_frame_equal(query.collect(), whole)
    polars.testing.assert_frame_equal(query.collect(engine="in-memory"), whole)
    polars.testing.assert_frame_equal(query.tail(2).collect(), whole.tail(2))
    kept = pl.col("score") > 7
    polars.testing.assert_frame_equal(query.filter(kept).collect(), whole.filter(kept))
    joined = query.join(query, on="gene").select(pl.len())
    assert joined.collect().item() == rows


def test_a_query_outlives_what_it_was_made_of() -> None:
    """A lazy result can be collected after its entry was forgotten."""

    @checkpoint
    def table() -> pl.DataFrame:
        return genes()

    query = table.lazy()
    assert table.forget()
    polars.testing.assert_frame_equal(query.collect(), genes())


def test_gather_alone_needs_no_store() -> None:
    """Frames can be put together in memory, to be returned and not stored."""
    returned = gather("pages", iter([genes(), genes(3)]))
    polars.testing.assert_frame_equal(returned.computed, genes(0, 6))
