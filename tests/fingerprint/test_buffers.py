"""The digest of bytes tells each change of a column in a file, and is quick to make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.fingerprint.buffers import buffer_digest, buffer_digests, bytes_digest

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = pa.chunked_array([["USH2A", None, "a gene with a long name"]], pa.large_string())


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_bytes_have_one_digest(one: bytes, other: bytes) -> None:
    """It is equal for equal bytes alone, whatever lends them."""
    assert (bytes_digest(one) == bytes_digest(memoryview(other))) == (one == other)


@pytest.mark.parametrize(
    "changed",
    [
        pa.chunked_array([["USH2B", None, "a gene with a long name"]], pa.large_string()),
        pa.chunked_array([["USH2A", "", "a gene with a long name"]], pa.large_string()),
        pa.chunked_array([["USH2A", None], ["a gene with a long name"]], pa.large_string()),
        TEXTS.cast(pa.string_view()),
        TEXTS.slice(0, 2),
    ],
    ids=["value", "null", "chunks", "layout", "rows"],
)
def test_a_column_that_lies_otherwise_has_another_digest(changed: pa.ChunkedArray) -> None:
    """Values, nulls, chunks and the layout count; where it lies in memory does not."""
    assert buffer_digest(changed) != buffer_digest(TEXTS)
    again = pa.chunked_array([TEXTS.chunk(0).to_pylist()], pa.large_string())
    assert buffer_digest(again) == buffer_digest(TEXTS)


def test_a_count_of_nulls_that_lies_is_told() -> None:
    """What a file says of a column besides its bytes is part of it."""
    whole = pa.array([1, None, 3])
    bare = pa.Array.from_buffers(whole.type, 3, whole.buffers(), null_count=2)
    assert bare.null_count == 2
    digests = [buffer_digest(pa.chunked_array([each])) for each in (whole, bare)]
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a"]]),
        pa.array([{"a": 1}]),
        pa.array(["a"]).dictionary_encode(),
        pa.array([[1]], pa.list_(pa.int8(), 1)),
    ],
    ids=["list", "struct", "dictionary", "array"],
)
def test_columns_with_parts_are_told_by_their_values(column: pa.Array) -> None:
    """Their own buffers do not say all, so there is no digest of them."""
    assert buffer_digest(pa.chunked_array([column])) == ""


def test_a_table_has_one_for_each_column() -> None:
    """The columns are in order, in a large table as in a small one."""
    for rows in (10, 100_000):
        table = pa.table({"0": range(rows), "1": pa.nulls(rows), "2": [str(rows)] * rows})
        expected = tuple(buffer_digest(column) for column in table.columns)
        assert buffer_digests(table) == expected
        assert len(set(expected)) == 3


def test_on_the_way_it_is_said_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece that was read can be let go of, which changes no digest."""
    monkeypatch.setattr("usher_pipeline.fingerprint.buffers._PIECE_BYTES", 16)
    passed: list[None] = []
    note: Callable[[], None] = lambda: passed.append(None)  # noqa: E731 - no name is needed
    column = pa.chunked_array([range(10)])
    assert buffer_digest(column, note) == buffer_digest(column)
    assert len(passed) == 5
