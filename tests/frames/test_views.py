"""Text laid out as views is the same text, and no bytes come along that are not its own."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.fingerprint.frames import column_digest, column_digests
from usher_pipeline.frames import views
from usher_pipeline.frames.views import (
    from_views,
    plain_schema,
    size_bytes,
    to_views,
    view_schema,
)

TEXTS = st.lists(st.none() | st.text(max_size=30), max_size=20)


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    """Return a batch with text, the same as bytes, and numbers."""
    data = [None if text is None else text.encode() for text in texts]
    columns = [
        pa.array(texts, pa.large_string()),
        pa.array(data, pa.large_binary()),
        pa.array(range(len(texts)), pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, ["0", "1", "2"])


def viewed(batch: pa.RecordBatch) -> pa.Table:
    """Return a batch as a table of views."""
    return pa.Table.from_batches(to_views(batch), view_schema(batch.schema))


@given(TEXTS, st.integers(0, 5), st.integers(0, 20))
def test_any_text_comes_back(texts: list[str | None], begin: int, count: int) -> None:
    """Values, nulls and order are the same, of a whole batch and of any slice."""
    batch = batch_of(texts).slice(begin, count)
    table = viewed(batch)
    table.validate(full=True)
    assert from_views(table).equals(pa.Table.from_batches([batch]))
    # polars 2.0 crashes at views of short text that come from no file.
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    mapped = pa.ipc.open_file(sink.getvalue()).read_all()
    assert pl.from_arrow(mapped).equals(pl.from_arrow(batch))  # type: ignore[arg-type]


@given(TEXTS, st.integers(0, 5))
def test_the_digest_of_a_segment_is_that_of_the_frame(
    texts: list[str | None], begin: int
) -> None:
    """How text is laid out, and in how many chunks, says nothing of what is stored."""
    batch = batch_of(texts).slice(begin)
    half = len(batch) // 2
    parts = pa.concat_tables([viewed(batch.slice(0, half)), viewed(batch.slice(half))])
    expected = column_digests(pa.Table.from_batches([batch]))
    assert column_digests(viewed(batch), sealed=True) == expected
    assert column_digests(parts, sealed=True) == expected


def test_an_argument_of_that_layout_is_not_taken_for_the_other() -> None:
    """A function may look at the types of a table that it is given."""
    argument = pa.chunked_array([["a"]], pa.large_string()).cast(pa.string_view())
    with pytest.raises(ValueError, match="a column of string_view has no digest"):
        column_digest(argument)


def test_what_was_cut_off_is_not_carried_along() -> None:
    """The bytes of other rows are neither stored, which would be large, nor shown."""
    whole = batch_of(["secret " * 1000, "gene name that is long", None])
    (found,) = to_views(whole.slice(1))
    held = [buffer.size for column in found.columns for buffer in column.buffers() if buffer]
    assert sum(held) < 300
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, found.schema) as file:
        file.write_batch(found)
    assert b"secret" not in sink.getvalue().to_pybytes()


def test_too_much_text_comes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view has 32 bits for a place; no batch has more text, and no row is lost."""
    monkeypatch.setattr(views, "_MOST_BYTES", 100)
    batch = batch_of([f"{n:040}" for n in range(9)])
    parts = list(to_views(batch))
    assert len(parts) > 4
    assert all(column.get_total_buffer_size() < 400 for p in parts for column in p.columns)
    whole = pa.Table.from_batches(parts, view_schema(batch.schema))
    assert from_views(whole).equals(pa.Table.from_batches([batch]))
    (alone,) = to_views(batch_of(["a" * 1000]))
    assert alone.num_rows == 1


def test_what_is_no_text_stays_as_it_is() -> None:
    """Numbers, words of a dictionary and text inside lists keep their layout."""
    words = pa.array(["a", "b"], pa.large_string()).dictionary_encode()
    lists = pa.array([["a"], None], pa.large_list(pa.large_string()))
    batch = pa.RecordBatch.from_arrays([words, lists], ["0", "1"])
    (found,) = to_views(batch)
    assert found is batch
    table = pa.Table.from_batches([batch])
    assert from_views(table) is table
    nothing = pa.table({"0": [1]}).select([]).to_batches()
    assert [list(to_views(each)) for each in nothing] == [[each] for each in nothing]


def test_schemas_go_both_ways() -> None:
    """Names stay, and so does whether a field may be null."""
    schema = pa.schema([pa.field("a", pa.large_string(), nullable=False), ("b", pa.int8())])
    assert view_schema(schema).types == [pa.string_view(), pa.int8()]
    assert plain_schema(view_schema(schema)).equals(schema)


@pytest.fixture(params=["plain", "views"])
def table(request: pytest.FixtureRequest) -> pa.Table:
    """Return a table in either layout."""
    batch = batch_of(["a gene name of 24 letters"] * 1000)
    return viewed(batch) if request.param == "views" else pa.Table.from_batches([batch])


def test_the_size_is_known_in_either_layout(table: pa.Table) -> None:
    """It is what the values take, whatever this version of Arrow can tell of views."""
    assert 2 * 24_000 < size_bytes(table) < 2 * 50_000
