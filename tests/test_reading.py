"""What a function reads while it runs is part of what its result stands on."""

from __future__ import annotations

import importlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, configure, entries, load, run
from usher_pipeline.errors import CheckpointMissError, UsherWarning
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.records import Hit, Miss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORE = Path("store.duckdb")


@pytest.fixture(autouse=True)
def _one_store() -> Iterator[None]:
    """Let the calls and `PipelineStore(STORE)` mean one database."""
    configure(store=STORE)
    yield
    configure(store="")


def table(*numbers: int) -> pl.DataFrame:
    """Return a small frame."""
    return pl.DataFrame({"n": numbers})


def save(name: str, *numbers: int) -> None:
    """Save a table by hand."""
    with PipelineStore(STORE) as store:
        store.save_dataframe(table(*numbers), name)


def reason(function: Any, *args: Any) -> str:
    """Return why a call would run; empty if it would not."""
    decision = function.explain(*args)
    assert isinstance(decision, (Hit, Miss))
    return "" if isinstance(decision, Hit) else str(decision.reason)


# --- by methods of the store ------------------------------------------------------------


def _by_load() -> pl.DataFrame:
    with PipelineStore(STORE) as store:
        frame: pl.DataFrame = store.load_dataframe("genes")
        return frame


def _by_query() -> pl.DataFrame:
    with PipelineStore(STORE) as store:
        return store.execute_query("SELECT * FROM GENES WHERE n > ?", [0])


def _by_pivot() -> pl.DataFrame:
    with PipelineStore(STORE) as store:
        return store.execute_query("PIVOT genes ON n USING count(*)")


def _by_export() -> pl.DataFrame:
    with PipelineStore(STORE) as store:
        store.export_parquet("genes", "out.parquet")
        return pl.read_parquet("out.parquet")


@pytest.mark.parametrize("read", [_by_load, _by_query, _by_pivot, _by_export])
def test_a_table_that_was_read_counts(read: Callable[[], pl.DataFrame]) -> None:
    """Another version of a table is a miss that names it; the same one again is a hit."""

    @checkpoint(name="reader")
    def reader() -> pl.DataFrame:
        return read()

    save("genes", 1, 2)
    save("other", 1)
    first = reader()
    save("genes", 1, 2)
    assert reason(reader) == ""
    if read is not _by_pivot:
        # Of a query that DuckDB can not name the tables of, every table counts.
        save("other", 5)
        assert reason(reader) == ""
    save("genes", 1, 3)
    assert reason(reader) == "table genes, which it read, is another version"
    assert not reader().equals(first)
    with PipelineStore(STORE) as store:
        store.delete_checkpoint("genes")
    assert reason(reader) == "table genes, which it read, is gone"


def test_a_table_that_was_not_there_counts() -> None:
    """Absence is read as well."""

    @checkpoint(name="asking")
    def asking() -> pl.DataFrame:
        with PipelineStore(STORE) as store:
            return table(
                int(store.has_checkpoint("genes")), store.load_dataframe("genes") is None
            )

    assert asking()["n"].to_list() == [0, 1]
    assert reason(asking) == ""
    save("genes", 1)
    assert reason(asking) == "table genes, which it read, is there now, and was not"
    assert asking()["n"].to_list() == [1, 0]


@pytest.mark.parametrize("sql", [None, "SHOW TABLES", "FROM information_schema.tables"])
def test_a_listing_counts(sql: str | None) -> None:
    """What lists the tables depends on which there are."""

    @checkpoint(name="listing")
    def listing() -> pl.DataFrame:
        with PipelineStore(STORE) as store:
            found = store.execute_query(sql) if sql else store.list_checkpoints()
            return table(len(found))

    save("genes", 1)
    listing()
    assert reason(listing) == ""
    save("more", 1)
    assert "table of contents, which it read, is another version" in reason(listing)


def test_what_another_call_would_do_counts() -> None:
    """A function that asks whether a result is there depends on that."""

    @checkpoint(name="genes")
    def genes(count: int = 1) -> pl.DataFrame:
        return table(*range(count))

    @checkpoint(name="asking")
    def asking() -> pl.DataFrame:
        return table(int(isinstance(genes.explain(2), Hit)))

    genes()
    assert asking()["n"].item() == 0
    assert reason(asking) == ""
    genes(2)
    assert "checkpoint genes, which it read" in reason(asking)
    assert asking()["n"].item() == 1


def test_a_list_of_entries_counts() -> None:
    """What lists the entries of one checkpoint, or of all, depends on which there are."""

    @checkpoint(name="genes")
    def genes(count: int = 1) -> pl.DataFrame:
        return table(*range(count))

    @checkpoint(name="of_one")
    def of_one() -> pl.DataFrame:
        return table(len(genes.entries()), len(entries("genes")))

    @checkpoint(name="of_all")
    def of_all() -> pl.DataFrame:
        return table(len([entry for entry in entries() if entry.name == "genes"]))

    genes()
    assert (of_one()["n"].to_list(), of_all()["n"].to_list()) == ([1, 1], [1])
    assert reason(of_one) == ""
    genes(2)
    expected = "table of the entries of genes, which it read, is another version"
    assert expected in reason(of_one)
    assert "table of entries, which it read, is another version" in reason(of_all)
    assert (of_one()["n"].to_list(), of_all()["n"].to_list()) == ([2, 2], [2])
    of_all()
    assert reason(of_all) == ""


def test_a_table_that_sql_changed_counts() -> None:
    """UPDATE leaves the metadata as they are, and is noticed all the same."""

    @checkpoint(name="reader")
    def reader() -> pl.DataFrame:
        with PipelineStore(STORE) as store:
            return store.execute_query("FROM genes")

    save("genes", 1)
    reader()
    with PipelineStore(STORE) as store:
        store.execute_query("UPDATE genes SET n = 7")
    assert reason(reader) == "table genes, which it read, is another version"
    assert reader().item() == 7
    with PipelineStore(STORE) as store:
        store.execute_query("UPDATE genes SET n = 1")
    assert reader().item() == 1


def test_a_file_that_sql_names_counts() -> None:
    """`FROM 'genes.parquet'` reads a file."""

    @checkpoint(name="of_file")
    def of_file() -> pl.DataFrame:
        with PipelineStore(STORE) as store:
            return store.execute_query("FROM 'genes.parquet'")

    table(1).write_parquet("genes.parquet")
    of_file()
    assert reason(of_file) == ""
    table(2).write_parquet("genes.parquet")
    assert reason(of_file) == "file genes.parquet, which it read, is another version"


def test_a_read_of_another_store_counts(tmp_path: Path) -> None:
    """A second database is remembered by its place, as seen from the first."""
    other = tmp_path / "other.duckdb"

    @checkpoint(name="reader")
    def reader() -> pl.DataFrame:
        with PipelineStore(Path("other.duckdb")) as store:
            frame: pl.DataFrame = store.load_dataframe("genes")
            return frame

    with PipelineStore(other) as store:
        store.save_dataframe(table(1), "genes")
    reader()
    assert entries("reader")[0].reads[0].store == "other.duckdb"
    assert reason(reader) == ""
    with PipelineStore(other) as store:
        store.save_dataframe(table(2), "genes")
    assert "genes, which it read, is another version in other.duckdb" in reason(reader)


def test_reading_by_conn_is_warned_of_once() -> None:
    """What goes through `conn` can not be seen; a declared input needs no warning."""
    save("genes", 1)

    def by_conn(n: int) -> pl.DataFrame:
        with PipelineStore(STORE) as store:
            frame: pl.DataFrame = store.conn.sql("FROM genes").pl()
            return frame

    blind = checkpoint(name="blind")(by_conn)
    with pytest.warns(UsherWarning, match=r"through `conn`.*inputs="):
        blind(1)
    blind(2)
    seeing = checkpoint(name="seeing", inputs=["genes"])(by_conn)
    seeing(1)
    save("genes", 2)
    assert reason(seeing, 1) == "table genes: another version"


# --- by name ----------------------------------------------------------------------------


def test_load_inside_counts_by_what_the_name_means() -> None:
    """A name that means another result later is a miss, though the older one is there."""

    @checkpoint(name="genes")
    def genes(depth: int) -> pl.DataFrame:
        return table(depth)

    @checkpoint(name="reader")
    def reader() -> pl.DataFrame:
        frame: pl.DataFrame = load("genes")
        return frame

    with run():
        genes(1)
        assert reader().item() == 1
        assert reason(reader) == ""
    with run():
        genes(2)
        assert reason(reader) == "checkpoint genes, which it read, is another version"
        assert reader().item() == 2
        genes(1)
        assert reader().item() == 1


def test_load_inside_with_arguments() -> None:
    """A read that names its arguments depends on the results that fit."""

    @checkpoint(name="genes")
    def genes(depth: int, noise: int = 0) -> pl.DataFrame:
        return table(depth, noise)

    @checkpoint(name="reader")
    def reader() -> pl.DataFrame:
        try:
            frame: pl.DataFrame = load("genes", depth=1)
        except CheckpointMissError:
            return table(0)
        return frame

    assert reader()["n"].to_list() == [0]
    genes(2)
    assert reason(reader) == ""
    genes(1)
    assert reason(reader) == "checkpoint genes, which it read, is there now, and was not"
    assert reader()["n"].to_list() == [1, 0]
    genes(2, 5)
    assert reason(reader) == ""


def test_in_a_block_a_name_keeps_its_meaning() -> None:
    """What another process publishes meanwhile is not seen before the block ends."""

    @checkpoint(name="genes")
    def genes(depth: int) -> pl.DataFrame:
        return table(depth)

    with run():
        genes(1)
    with run():
        assert load("genes").item() == 1
        other = threading.Thread(target=lambda: _in_a_run_of_its_own(genes))
        other.start()
        other.join()
        assert load("genes").item() == 1
    assert load("genes").item() == 2


def _in_a_run_of_its_own(genes: Any) -> None:
    with run():
        genes(2)


# --- in threads -------------------------------------------------------------------------

POOL = ThreadPoolExecutor(1)


def _in_a_thread(read: Callable[[], Any]) -> None:
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()


def _in_a_pool(read: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(2) as pool:
        pool.submit(read).result()


def _in_an_older_pool(read: Callable[[], Any]) -> None:
    POOL.submit(read).result()


@pytest.mark.parametrize("within", [_in_a_thread, _in_a_pool, _in_an_older_pool])
def test_what_threads_of_a_function_read_counts(within: Callable[[Any], None]) -> None:
    """Threads and pools, also older ones, read for the function that uses them."""
    POOL.submit(int).result()
    save("genes", 1)

    @checkpoint(name="threaded")
    def threaded() -> pl.DataFrame:
        found: list[pl.DataFrame] = []

        def read() -> None:
            with PipelineStore(STORE) as store:
                found.append(store.execute_query("FROM genes"))

        within(read)
        return found[0]

    threaded()
    assert [read.name for read in entries("threaded")[0].reads] == ["genes"]
    save("genes", 2)
    assert reason(threaded) == "table genes, which it read, is another version"


def test_other_threads_read_for_themselves() -> None:
    """A call beside a function in another thread is none of its reads."""
    inside, done = threading.Event(), threading.Event()

    @checkpoint(name="slow")
    def slow() -> pl.DataFrame:
        inside.set()
        assert done.wait(30)
        return table(1)

    @checkpoint(name="beside")
    def beside() -> pl.DataFrame:
        return table(2)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(slow)
        assert inside.wait(30)
        pool.submit(beside).result()
        beside()
        done.set()
        first.result()
    assert entries("slow")[0].reads == ()


# --- nested calls -----------------------------------------------------------------------


def test_the_files_of_a_nested_call_count() -> None:
    """A file that only the inner call was given decides about the outer result as well."""
    Path("genes.txt").write_text("USH2A")

    @checkpoint(name="inner")
    def inner(path: Path) -> pl.DataFrame:
        return pl.DataFrame({"gene": [path.read_text()]})

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        return inner(Path("genes.txt"))

    assert outer().item() == "USH2A"
    assert reason(outer) == ""
    Path("genes.txt").write_text("MYO7A")
    assert reason(outer) == "file genes.txt, which it read, is another version"
    assert outer().item() == "MYO7A"


def test_a_checkpoint_that_no_code_leads_to_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called through a name at run time is compared by what it means now."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = (
        "import polars as pl\nfrom usher_pipeline import checkpoint\n"
        "@checkpoint(name='dynamic', sources={'s': 'v1'})\n"
        "def dynamic():\n    return pl.DataFrame({'n': [1]})\n"
    )
    module = tmp_path / "dynamic_module.py"
    module.write_text(text)

    @checkpoint(name="calling")
    def calling(module_name: str) -> pl.DataFrame:
        frame: pl.DataFrame = importlib.import_module(module_name).dynamic()
        return frame

    def edited(old: str, new: str) -> str:
        module.write_text(text.replace(old, new))
        sys.modules.pop("dynamic_module", None)
        importlib.invalidate_caches()
        importlib.import_module("dynamic_module")
        return reason(calling, "dynamic_module")

    calling("dynamic_module")
    assert edited("# nothing", "") == ""
    assert "dynamic, which it read, is another version" in edited("[1]", "[2]")
    assert edited("# nothing", "") == ""
    assert "dynamic, which it read, is another version" in edited("'v1'", "'v2'")
    sys.modules.pop("dynamic_module", None)


def test_a_change_deep_down_counts() -> None:
    """What the inner of an inner call read counts for the outermost as well."""
    numbers = [1]

    @checkpoint(name="inner", version="1")
    def inner() -> pl.DataFrame:
        return table(*numbers)

    @checkpoint(name="middle", version="1")
    def middle() -> pl.DataFrame:
        return inner()

    @checkpoint(name="outer", version="1")
    def outer() -> pl.DataFrame:
        return middle()

    assert outer().item() == 1
    assert reason(outer) == ""
    numbers[:] = [2]
    inner.refresh()
    assert reason(middle) == "checkpoint inner, which it read, is another version"
    assert reason(outer) == "checkpoint middle, which it read, is another version"
    assert outer().item() == 2
    assert reason(outer) == ""


# --- what failed, what stood on older reads ---------------------------------------------


def test_a_call_that_failed_counts() -> None:
    """A result that was made without an inner one is none any more once that one is there."""

    @checkpoint(name="inner")
    def inner() -> pl.DataFrame:
        if not Path("up").exists():
            raise OSError("the server is down")
        return table(1)

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        try:
            return inner()
        except OSError:
            return table(0)

    assert outer().item() == 0
    assert reason(outer) == ""
    Path("up").touch()
    inner()
    assert reason(outer) == "checkpoint inner, which it read, is there now, and was not"
    assert outer().item() == 1


def test_a_call_that_was_tried_again_counts_by_its_result() -> None:
    """A function that asks again after a failure is stored, and stands on the answer."""
    tries: list[int] = []

    @checkpoint(name="inner", ignore=["tries"])
    def inner(tries: list[int]) -> pl.DataFrame:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the server is down")
        return table(1)

    @checkpoint(name="outer", ignore=["tries"])
    def outer(tries: list[int]) -> pl.DataFrame:
        try:
            return inner(tries)
        except OSError:
            return inner(tries)

    assert outer(tries).item() == 1
    assert [read.content != "" for read in outer.entries()[0].reads] == [True]


def test_a_load_that_found_nothing_counts() -> None:
    """`.load` of a checkpoint that is not there is a read of its absence."""

    @checkpoint(name="inner")
    def inner() -> pl.DataFrame:
        return table(1)

    @checkpoint(name="outer")
    def outer() -> pl.DataFrame:
        try:
            return inner.load()
        except CheckpointMissError:
            return table(0)

    assert outer().item() == 0
    inner()
    assert outer().item() == 1


def test_no_result_with_stale_reads_is_accepted() -> None:
    """After an edit, what stands on another version of its reads is computed again."""
    numbers = [1]
    plus = [0]

    @checkpoint(name="inner", version="1")
    def inner() -> pl.DataFrame:
        return table(*numbers)

    @checkpoint(name="outer", on_code_change="accept")
    def outer() -> pl.DataFrame:
        frame: pl.DataFrame = inner() + plus[0]
        return frame

    assert outer().item() == 1
    numbers[:] = [5]
    inner.refresh()
    plus[:] = [0, 0]
    assert outer().item() == 5


def test_two_functions_of_a_factory_under_one_name() -> None:
    """Functions that a factory makes share a name, and callers of them have hits."""

    def make(number: int) -> Any:
        @checkpoint(name="part")
        def part() -> pl.DataFrame:
            return table(number)

        return part

    first, second = make(1), make(2)

    @checkpoint(name="both")
    def both() -> pl.DataFrame:
        parts: list[pl.DataFrame] = [first(), second()]
        return pl.concat(parts)

    assert both()["n"].to_list() == [1, 2]
    assert reason(both) == ""


# --- in threads that Python did not start -----------------------------------------------


def _rows(_: Any = None) -> int:
    with PipelineStore(STORE) as store:
        height: int = store.load_dataframe("genes").height
        return height


def _per_value() -> pl.LazyFrame:
    column = pl.col("n").map_elements(_rows, return_dtype=pl.Int64)
    return table(1).lazy().select(column)


def _per_batch() -> pl.LazyFrame:
    return table(1).lazy().map_batches(lambda _: table(_rows()), schema={"n": pl.Int64})


def _eager() -> pl.DataFrame:
    return _per_value().collect()


@pytest.mark.parametrize("function", [_per_value, _per_batch, _eager])
def test_what_the_threads_of_polars_read_counts(function: Callable[[], Any]) -> None:
    """A function that polars calls for each batch, in a thread of its own, reads for us."""
    save("genes", 1, 2)
    wrapped = checkpoint(name=f"read{function.__name__}")(function)
    wrapped()
    assert [read.name for read in wrapped.entries()[0].reads] == ["genes"]
    assert reason(wrapped) == ""
    save("genes", 1, 2, 3)
    assert "genes" in reason(wrapped)
    assert wrapped().lazy().collect()["n"].to_list() == [3]


def test_who_reads_in_such_a_thread_may_be_anybody() -> None:
    """While several functions run, what nobody can attribute counts for each of them."""
    save("genes", 1, 2)
    started, goes_on = threading.Event(), threading.Event()

    @checkpoint(version="1")
    def waiting() -> pl.DataFrame:
        started.set()
        assert goes_on.wait(60)
        return table(1)

    reading = checkpoint(name="read_meanwhile")(_per_value)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(waiting)
        assert started.wait(60)
        reading()
        goes_on.set()
        future.result()
    for function in (waiting, reading):
        assert [read.name for read in function.entries()[0].reads] == ["genes"]
