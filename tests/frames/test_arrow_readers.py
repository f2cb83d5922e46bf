"""A reader of Arrow batches is stored as a table, and comes back as a new reader."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import adapter_for

TABLE = pa.table({"a": [1, None], "b": ["x", "y"]}).replace_schema_metadata({"unit": "mg"})


def test_a_reader_comes_back_with_its_schema() -> None:
    """Values, types and metadata come back, and can be read once each time."""
    adapter: Any = adapter_for(TABLE.to_reader())
    packed = adapter.to_arrow(adapter.collect(TABLE.to_reader()))
    for _ in range(2):
        made = adapter.from_arrow(packed.table, packed.schema)
        assert isinstance(made, pa.RecordBatchReader)
        found = made.read_all()
        assert found.equals(TABLE, check_metadata=True)
    assert adapter.describe(TABLE) == (("a", "int64"), ("b", "string"))
    assert adapter.shape(TABLE) == (2, 2)


def test_its_parts_are_its_batches() -> None:
    """The parts are tables, the first of which says the columns."""
    adapter: Any = adapter_for(TABLE.to_reader())
    parts = list(adapter.parts(TABLE.to_reader(max_chunksize=1)))
    assert [len(part) for part in parts] == [0, 1, 1]


def test_a_reader_that_was_not_read_is_refused() -> None:
    """As an argument it would be used up by counting; the cure is named."""
    adapter: Any = adapter_for(TABLE.to_reader())
    with pytest.raises(UnsupportedFrameError, match=r"read but once.*read_all\(\)"):
        adapter.to_arrow(TABLE.to_reader())


def test_a_schema_of_another_kind_is_refused() -> None:
    """Only what was packed from a reader becomes one."""
    adapter: Any = adapter_for(TABLE.to_reader())
    with pytest.raises(ValueError, match=r"no pyarrow\.RecordBatchReader"):
        adapter.from_arrow(TABLE, {"kind": "pyarrow.Table"})
