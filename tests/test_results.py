"""What a function returns is stored whole: one frame of any kind, or a dict of frames."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline import checkpoint, configure, export, load, results, run
from usher_pipeline.errors import (
    CheckpointNotSaved,
    CheckpointNotSavedError,
    InvalidResultError,
    NameClashError,
    UnsupportedFrameError,
    UsherWarning,
)
from usher_pipeline.exporting import origin_of
from usher_pipeline.persistence import PipelineStore, tables
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORE = Path("store.duckdb")
FOLDER = Path("store.checkpoints")


@pytest.fixture(autouse=True)
def _one_store() -> Iterator[None]:
    """Let the calls and `PipelineStore(STORE)` mean one database."""
    configure(store=STORE)
    yield
    configure(store="", strict=False)


def _splits() -> dict[str, Any]:
    return {
        "train": pl.DataFrame({"a": [1, 2, 3]}),
        "test set": pd.DataFrame({"b": ["x"]}, index=["row"]),
        "query": pl.LazyFrame({"z": [1]}),
    }


def assert_splits(got: Any) -> None:
    """Check a dictionary, kinds and order included."""
    assert type(got) is dict
    assert list(got) == ["train", "test set", "query"]
    assert got["train"].equals(pl.DataFrame({"a": [1, 2, 3]}))
    pd.testing.assert_frame_equal(got["test set"], pd.DataFrame({"b": ["x"]}, index=["row"]))
    assert got["query"].collect().equals(pl.DataFrame({"z": [1]}))


# --- kinds ------------------------------------------------------------------------------

KINDS: dict[str, Callable[[], Any]] = {
    "polars.DataFrame": lambda: pl.DataFrame({"a": [1]}),
    "polars.LazyFrame": lambda: pl.LazyFrame({"a": [1]}),
    "polars.Series": lambda: pl.Series("a", [1]),
    "pandas.DataFrame": lambda: pd.DataFrame({"a": [1]}),
    "pandas.Series": lambda: pd.Series([1], name="a"),
    "pyarrow.Table": lambda: pa.table({"a": [1]}),
    "duckdb.DuckDBPyRelation": lambda: duckdb.sql("SELECT 1 AS a"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", ["both", "segment", "table"])
def test_every_kind_comes_back_from_either_half(kind: str, half: str) -> None:
    """What a hit returns is of the kind that the function returned, and was not run again."""
    made = KINDS[kind]()
    runs: list[int] = []

    @checkpoint(name="kind")
    def of_kind() -> Any:
        runs.append(1)
        return KINDS[kind]()

    first = of_kind()
    assert type(first) is type(made)
    if half == "segment":
        STORE.unlink()
    if half == "table":
        shutil.rmtree(FOLDER)
    got = of_kind()
    assert type(got) is type(made)
    assert _values(got) == _values(made) == _values(first)
    assert runs == [1]
    assert isinstance(of_kind.explain(), Hit)
    entry, _ = origin_of(got) or pytest.fail("nobody knows where it came from")
    assert entry.kind == kind


def _values(frame: Any) -> Any:
    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    if isinstance(frame, duckdb.DuckDBPyRelation):
        return frame.fetchall()
    return frame.to_pylist() if isinstance(frame, pa.Table) else frame.to_numpy().tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "feather"])
def test_every_kind_can_be_exported(kind: str, ending: str) -> None:
    """The file holds the values, and the sidecar names the checkpoint."""

    @checkpoint(name="kind")
    def of_kind() -> Any:
        return KINDS[kind]()

    of_kind()
    target = export(of_kind(), f"out/kind.{ending}")
    readers: dict[str, Callable[[Any], Any]] = {
        "parquet": pl.read_parquet,
        "csv": pl.read_csv,
        "tsv": lambda path: pl.read_csv(path, separator="\t"),
        "feather": lambda path: pl.from_arrow(pa.ipc.open_file(path).read_all()),
    }
    frame = readers[ending](target)
    assert frame["a"].to_list() == [1]
    sidecar = target.with_name("kind.provenance.json").read_text()
    assert '"checkpoint": "kind"' in sidecar
    assert '"note"' not in sidecar


def test_a_query_is_run_once() -> None:
    """The caller gets a query on what was stored, and not the one that is still to run."""
    runs: list[int] = []

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        runs.append(1)
        return frame

    @checkpoint(name="query", version="1")
    def query() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]}).map_batches(counted)

    query().collect()
    query().collect()
    assert runs == [1]


def test_a_query_that_fails_is_a_call_that_failed() -> None:
    """Its error is the function's own, and nothing is stored."""

    @checkpoint(name="query")
    def query() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]}).select("b")

    with run() as around, pytest.raises(pl.exceptions.ColumnNotFoundError, match="b"):
        query()
    assert [step["details"]["outcome"] for step in around.steps()] == ["failed"]
    assert query.entries() == []


# --- whose memory it is -----------------------------------------------------------------


@pytest.mark.parametrize("half", ["both", "table"])
def test_what_a_caller_edits_reaches_no_other(half: str) -> None:
    """Neither the frame that was computed nor one of a hit is what the next hit gets."""

    @checkpoint
    def numbers() -> pd.DataFrame:
        return pd.DataFrame({"a": [1, 2], "t": ["x", "y"]}, index=["r", "s"])

    expected = pd.DataFrame({"a": [1, 2], "t": ["x", "y"]}, index=["r", "s"])
    for _ in range(3):
        frame = numbers()
        pd.testing.assert_frame_equal(frame, expected)
        frame.loc["r", "a"] = 99
        frame["t"].array[0] = "changed"
        frame.index.to_numpy()[0] = "changed"
        frame.attrs["note"] = "changed"
        if half == "table" and FOLDER.exists():
            shutil.rmtree(FOLDER)


def test_what_lies_under_a_frame_may_change_afterwards() -> None:
    """An array that a polars frame was made of, without a copy, is the maker's own."""
    array = np.arange(1000)

    @checkpoint(version="1")
    def numbers() -> pl.DataFrame:
        return pl.from_arrow(pa.table({"a": pa.array(array)}))  # type: ignore[return-value]

    numbers()
    array[:] = -1
    assert numbers()["a"].to_list() == list(range(1000))


def test_a_table_changed_by_sql_does_not_stand_in() -> None:
    """A digest of every column tells; then the function runs again."""
    runs: list[int] = []

    @checkpoint
    def numbers() -> pl.DataFrame:
        runs.append(1)
        return pl.DataFrame({"a": [1, 2]})

    numbers()
    shutil.rmtree(FOLDER)
    with duckdb.connect(STORE) as connection:
        connection.execute("UPDATE numbers SET a = 7 WHERE a = 1")
    assert numbers()["a"].to_list() == [1, 2]
    assert runs == [1, 1]


@pytest.mark.parametrize("option", ["SET preserve_insertion_order = false", "SET threads = 8"])
def test_the_order_of_rows_depends_on_no_setting(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what a connection of the user's was told nor the machine's zone counts."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    count = 300_000
    moments = pl.Series(range(count)).cast(pl.Datetime("us", "Europe/Zurich"))

    @checkpoint
    def rows() -> pl.DataFrame:
        return pl.DataFrame({"n": range(count), "at": moments})

    with PipelineStore(STORE) as store:
        store.conn.execute(option)
    rows()
    shutil.rmtree(FOLDER)
    got = rows()
    assert got["n"].equals(pl.Series("n", range(count)))
    assert got["at"].dtype == pl.Datetime("us", "Europe/Zurich")


def test_a_repeated_hit_has_a_frame_of_its_own() -> None:
    """What was mapped and checked serves the next hit; each has its own columns and names."""

    @checkpoint
    def numbers() -> pl.DataFrame:
        return pl.DataFrame({"a": [1, 2], "b": [3, 4]})

    numbers()
    for _ in range(3):
        frame = numbers()
        assert frame.equals(pl.DataFrame({"a": [1, 2], "b": [3, 4]}))
        frame.columns = ["x", "y"]
        frame[0, "x"] = 9
        frame.insert_column(0, pl.Series("z", [0, 0]))


def test_a_damaged_file_is_noticed_after_a_hit() -> None:
    """What serves repeated hits is only good for the very file that it came from."""
    runs: list[int] = []

    @checkpoint
    def numbers() -> pl.DataFrame:
        runs.append(1)
        return pl.DataFrame({"a": [1, 2]})

    numbers()
    numbers()
    STORE.unlink()
    (segment,) = FOLDER.glob("numbers/*.arrow")
    data = bytearray(segment.read_bytes())
    data[data.index((2).to_bytes(8, "little"))] = 7
    segment.chmod(0o600)
    segment.write_bytes(bytes(data))
    assert numbers()["a"].to_list() == [1, 2]
    assert runs == [1, 1]


def test_few_frames_are_remembered() -> None:
    """What was not asked for longest goes first, by number and by size."""
    memory = results._Memory(most_bytes=100, most_frames=3)
    for number in range(5):
        memory.put(number, pl.DataFrame({"n": [number]}), 10)
    assert [number for number in range(5) if memory.get(number) is not None] == [2, 3, 4]
    memory.get(2)
    memory.put(5, pl.DataFrame(), 85)
    assert [number for number in range(6) if memory.get(number) is not None] == [2, 5]


# --- dictionaries -----------------------------------------------------------------------


@pytest.mark.parametrize("half", ["both", "segment", "table"])
def test_a_dictionary_comes_back_from_either_half(half: str) -> None:
    """Keys, their order and each frame are the same; the function ran once."""
    runs: list[int] = []

    @checkpoint
    def splits() -> dict[str, Any]:
        runs.append(1)
        return _splits()

    assert_splits(splits())
    if half == "segment":
        STORE.unlink()
    if half == "table":
        shutil.rmtree(FOLDER)
    assert_splits(splits())
    assert_splits(splits.load())
    assert_splits(load("splits"))
    assert load("splits__train").equals(pl.DataFrame({"a": [1, 2, 3]}))
    assert runs == [1]


def test_the_tables_of_a_dictionary_are_plain_tables() -> None:
    """Each frame is a table of its own, and the name itself lists them."""

    @checkpoint
    def splits() -> dict[str, Any]:
        return _splits()

    splits()
    with duckdb.connect(STORE, read_only=True) as connection:
        assert connection.execute("SELECT sum(a) FROM splits__train").fetchall() == [(6,)]
        assert connection.execute('SELECT b FROM "splits__test set"').fetchall() == [("x",)]
        rows = connection.execute("SELECT part, table_name, row_count FROM splits").fetchall()
    assert rows == [
        ("train", "splits__train", 3),
        ("test set", "splits__test set", 1),
        ("query", "splits__query", 1),
    ]


def test_an_empty_dictionary_is_a_result() -> None:
    """It has no parts, and comes back."""

    @checkpoint
    def nothing() -> dict[str, Any]:
        return {}

    assert nothing() == {}
    assert nothing() == {}
    assert isinstance(nothing.explain(), Hit)


def test_frames_of_a_dictionary_have_an_origin() -> None:
    """A frame of a dictionary is exported with the step that made it."""

    @checkpoint
    def splits() -> dict[str, Any]:
        return _splits()

    for frames in (splits(), splits()):
        assert (
            '"checkpoint": "splits__train"'
            in export(frames["train"], "train.csv")
            .with_name("train.provenance.json")
            .read_text()
        )


@pytest.mark.parametrize("lost", ["splits__train", "splits__query", "splits"])
def test_a_dictionary_that_lost_a_part_is_computed_again(lost: str) -> None:
    """A dictionary is whole or it is a miss; never one with a part less."""
    runs: list[int] = []

    @checkpoint
    def splits() -> dict[str, Any]:
        runs.append(1)
        return _splits()

    splits()
    STORE.unlink()
    for file in (FOLDER / lost).glob("*.arrow"):
        file.write_bytes(b"")
    assert_splits(splits())
    assert runs == [1, 1]
    assert_splits(splits())
    assert runs == [1, 1]


def test_parts_of_two_results_are_never_mixed() -> None:
    """Each result has the parts that were made with it, also after a refresh."""
    numbers = iter(range(10))

    @checkpoint
    def splits(key: int) -> dict[str, Any]:
        number = next(numbers)
        return {part: pl.DataFrame({"n": [number], "key": [key]}) for part in ("a", "b")}

    def seen(key: int) -> set[int]:
        return {frame["n"].item() for frame in splits(key).values()}

    assert (seen(1), seen(2)) == ({0}, {1})
    splits.refresh(1)
    assert (seen(1), seen(2)) == ({2}, {1})


def test_equal_dictionaries_have_one_content() -> None:
    """One that was computed again and is equal changes nothing for those who read it."""

    @checkpoint
    def splits() -> dict[str, Any]:
        return _splits()

    splits()
    (first,) = splits.entries()
    splits.refresh()
    (second,) = splits.entries()
    assert (first.content, first.number, second.number) == (second.content, 1, 2)


def test_forget_and_clear_take_the_parts_along() -> None:
    """Nothing of a dictionary stays behind."""

    @checkpoint
    def splits(n: int = 1) -> dict[str, Any]:
        return {"part": pl.DataFrame({"n": [n]})}

    splits(1)
    splits(2)
    assert splits.forget(2)
    assert load("splits__part")["n"].item() == 1
    assert splits.clear() == 1
    backend = LocalBackend(STORE)
    assert backend.names() == []
    with PipelineStore(STORE) as store:
        assert store.list_checkpoints() == []


def test_what_a_run_meant_holds_for_parts() -> None:
    """At the end of a run the tables are those of the dictionary that it used."""

    @checkpoint
    def splits(n: int = 1) -> dict[str, Any]:
        return {"part": pl.DataFrame({"n": [n]})}

    splits(1)
    splits(2)
    with run():
        splits(1)
    with PipelineStore(STORE) as store:
        assert store.load_dataframe("splits__part")["n"].item() == 1


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ({1: pl.DataFrame()}, r"the key 1 of the dictionary is int.*keys of text"),
        ({"": pl.DataFrame()}, r"the key '' of the dictionary is empty"),
        ({"a\0": pl.DataFrame()}, r"the key 'a\\x00' .* is no part of a name"),
        (
            {"good": pl.DataFrame(), "bad": pl.DataFrame({"x": [object()]})},
            r"in the part 'bad', column 'x' is Object",
        ),
    ],
)
def test_a_dictionary_that_can_not_be_stored(returned: Any, problem: str) -> None:
    """The error names the part and carries what was computed; nothing is written."""

    @checkpoint
    def splits() -> Any:
        return returned

    with pytest.raises(UnsupportedFrameError, match=problem) as caught:
        splits()
    assert caught.value.frame is returned
    assert splits.entries() == []


@pytest.mark.parametrize("inner", [[1], {"deeper": pl.DataFrame()}, None])
def test_a_dictionary_of_other_things_is_no_result(inner: Any) -> None:
    """The error says what it holds, and carries it."""

    @checkpoint
    def splits() -> Any:
        return {"a": inner}

    expected = f"splits returned a dict that holds {type(inner).__name__}"
    with pytest.raises(InvalidResultError, match=expected) as caught:
        splits()
    assert caught.value.result == {"a": inner}


def test_parts_that_differ_in_case_alone_clash() -> None:
    """Tables of such names would be one."""
    frames = {"a": pl.DataFrame(), "A": pl.DataFrame()}

    @checkpoint
    def splits() -> Any:
        return frames

    with pytest.raises(NameClashError, match="by the part 'a' and by the part 'A'") as caught:
        splits()
    assert caught.value.frame is frames


def test_a_part_does_not_take_the_table_of_somebody_else() -> None:
    """A table saved by hand, and a checkpoint of that name, stay; the error carries all."""

    @checkpoint
    def splits() -> Any:
        return _splits()

    with PipelineStore(STORE) as store:
        store.save_dataframe(pl.DataFrame({"mine": [1]}), "splits__train")
    with pytest.raises(NameClashError, match="that is no checkpoint") as caught:
        splits()
    assert_splits({**caught.value.frame, "query": pl.LazyFrame({"z": [1]})})  # type: ignore[dict-item]
    with PipelineStore(STORE) as store:
        assert store.load_dataframe("splits__train").columns == ["mine"]


def test_a_dictionary_that_can_not_be_saved_is_returned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk that is full in the middle leaves no part behind; each has a rescue file."""
    save = LocalBackend.save
    count = iter(range(99))

    def full(self: LocalBackend, entry: Any, packed: Any, spool: Any) -> Any:
        if next(count) % 4 == 2:
            raise OSError("disk full")
        return save(self, entry, packed, spool)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(LocalBackend, "save", full)

    @checkpoint
    def splits() -> Any:
        return _splits()

    with pytest.warns(CheckpointNotSaved, match=r"disk full.* a copy .*'test set' was"):
        assert_splits(splits())
    assert len(list(tmp_path.glob("usher-rescue-*.arrow"))) == 3
    assert LocalBackend(STORE).names() == []
    configure(strict=True)
    next(count)
    with pytest.raises(CheckpointNotSavedError, match="disk full") as caught:
        splits()
    assert_splits(caught.value.frame)


# --- what must never be lost ------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame(
            {"c": pl.Series([f"g{i % 300}" for i in range(130_000)]).cast(pl.Categorical)}
        ),
        pl.DataFrame({"c": [["a"], ["b"]] * 65_000}, schema={"c": pl.List(pl.Categorical)}),
        pd.DataFrame({"c": pd.Categorical([f"g{i % 300}" for i in range(130_000)])}),
    ],
    ids=["polars", "lists", "pandas"],
)
def test_categories_of_many_rows_come_back_from_the_table(frame: Any) -> None:
    """A table is read in pieces, and its categories are those of one column."""

    @checkpoint(version="1")
    def words() -> Any:
        return frame

    words()
    shutil.rmtree(FOLDER)
    assert words().equals(frame)
    assert list(FOLDER.glob("words/*.arrow"))
    assert words().equals(frame)


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("beside", [[], [None], [1.0]])
def test_nans_of_other_bits_come_back_from_the_table(kind: str, beside: list[Any]) -> None:
    """Also where there is nothing else, of which a file of DuckDB 2.0 keeps the usual one."""
    bits = pa.array([-1], {"float64": pa.int64(), "float32": pa.int32()}[kind])
    nan = bits.view(getattr(pa, kind)())
    column = pa.chunked_array([nan, nan, pa.array(beside, nan.type)])

    @checkpoint(version="1")
    def numbers() -> pa.Table:
        return pa.table({"x": column})

    numbers()
    shutil.rmtree(FOLDER)
    got = numbers.load()["x"]
    ints = [chunk.view(bits.type).to_pylist() for chunk in got.chunks if len(chunk)]
    assert [value for chunk in ints for value in chunk][:2] == [-1, -1]
    assert got.to_pylist()[2:] == beside


def test_a_result_that_has_no_table_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A statement that DuckDB refuses is said once; the result is stored all the same."""
    replace = tables.Tables.replace

    def refused(self: Any, row: Any, *args: Any, **kwargs: Any) -> Any:
        if row.table_name == "bad":
            raise duckdb.InvalidInputException("not this one")
        return replace(self, row, *args, **kwargs)

    monkeypatch.setattr(tables.Tables, "replace", refused)

    @checkpoint
    def bad() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    @checkpoint
    def good() -> pl.DataFrame:
        return pl.DataFrame({"a": [2]})

    with pytest.warns(UsherWarning, match="bad is stored, but has no plain table: .*not this"):
        bad()
    assert good().item() == 2
    assert (bad().item(), good().item()) == (1, 2)
    with pytest.warns(UsherWarning, match="bad is stored"), PipelineStore(STORE) as store:
        assert [row["table_name"] for row in store.list_checkpoints()] == ["good"]


def test_whatever_goes_wrong_in_saving_costs_no_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error of a library that nobody expected is a warning, and the caller has it all."""

    def strange(*_: object) -> None:
        raise pa.ArrowInvalid("strange")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(LocalBackend, "save", strange)

    @checkpoint
    def numbers() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with pytest.warns(CheckpointNotSaved, match=r"strange.* a copy of its columns was written"):
        assert numbers().item() == 1


def test_relations_are_given_out_in_threads() -> None:
    """A connection serves one thread at a time, so each thread has its own."""

    @checkpoint
    def relation(k: int) -> Any:
        return duckdb.connect().sql(f"SELECT {k} AS a")

    def work(number: int) -> list[Any]:
        return [relation(k % 4).fetchall() for k in range(number, number + 12)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(4)))
    assert found == [[[(k % 4,)] for k in range(n, n + 12)] for n in range(4)]


def test_a_relation_of_a_closed_connection_is_refused() -> None:
    """The error says what to return instead."""

    @checkpoint
    def relation() -> Any:
        with duckdb.connect() as connection:
            return connection.sql("SELECT 1 AS a")

    with pytest.raises(UnsupportedFrameError, match=r"closed.*stays open, or return its \.pl"):
        relation()


@pytest.mark.parametrize("first", ["dict", "part"])
def test_a_part_and_a_checkpoint_of_its_name_clash(first: str) -> None:
    """In either order, the second of them is told of the first."""

    @checkpoint(name="genes")
    def genes() -> Any:
        return {"x": pl.DataFrame({"a": [5]})}

    if first == "dict":
        genes()

    @checkpoint(name="genes__x")
    def part() -> Any:
        return pl.DataFrame({"a": [1]})

    if first == "dict":
        with pytest.raises(NameClashError, match="'genes__x' is claimed twice"):
            part()
    else:
        part()
        with pytest.raises(NameClashError, match="'genes__x' is claimed twice") as caught:
            genes()
        assert list(caught.value.frame) == ["x"]  # type: ignore[call-overload]
        assert "The function ran, and nothing was written" in str(caught.value)


def test_parts_that_are_alike_are_told_what_to_do() -> None:
    """Keys that one table can not tell apart are an error that says what was done."""

    @checkpoint
    def alike() -> dict[str, Any]:
        return {"a": pl.DataFrame({"a": [1]}), "A": pl.DataFrame({"a": [2]})}

    said = "The function ran, and nothing was written.* differ in more than the case"
    with pytest.raises(NameClashError, match=said) as caught:
        alike()
    assert list(caught.value.frame) == ["a", "A"]  # type: ignore[call-overload]


def test_a_dictionary_is_told_by_its_frames() -> None:
    """Not by the shape of the list of them."""

    @checkpoint
    def splits() -> dict[str, Any]:
        return _splits()

    splits()
    assert str(splits.explain()).startswith("hit: splits 3 frames, computed")


def test_what_a_query_gave_is_not_lost_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error carries what was computed, and not the query that would run once more."""

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(LocalBackend, "save", full)
    configure(strict=True)

    @checkpoint
    def query(bad: bool = False) -> Any:  # noqa: FBT001, FBT002 - a parameter of the test
        if bad:
            frame = pl.DataFrame({"x": [object()]})
            return {"good": pl.LazyFrame({"a": [1]}), "bad": frame}
        return pl.LazyFrame({"a": [1]}).map_batches(lambda frame: next(runs))

    runs = iter([pl.DataFrame({"a": [7]})])
    with pytest.raises(CheckpointNotSavedError, match="disk full") as unsaved:
        query()
    assert unsaved.value.frame.collect().item() == 7  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedFrameError, match="in the part 'bad'") as refused:
        query(bad=True)
    assert refused.value.frame["good"].item() == 1  # type: ignore[index]
