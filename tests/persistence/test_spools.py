"""A segment that is written bit by bit is whole at the end, or all its rows are in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pytest

from usher_pipeline.persistence.spools import Spool

if TYPE_CHECKING:
    from pathlib import Path

WORDS: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema([("0", pa.int64()), ("1", WORDS), ("2", pa.large_string())])


def part(number: int) -> pa.Table:
    """Return one row, whose word is new."""
    known = [f"w{each}" for each in range(number + 1)]
    words = pa.DictionaryArray.from_arrays(pa.array([number], pa.int32()), pa.array(known))
    texts = pa.array([f"the text of row {number}"], pa.large_string())
    return pa.Table.from_arrays([pa.array([number]), words, texts], schema=SCHEMA)


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the rows of a table."""
    return [tuple(row.values()) for row in table.to_pylist()]


EXPECTED: Final = [(n, f"w{n}", f"the text of row {n}") for n in range(5)]


@pytest.mark.parametrize("views", [False, True])
def test_what_is_written_is_mapped_back(tmp_path: Path, *, views: bool) -> None:
    """The rows are in the file, with a dictionary that grew, and the owner alone reads it."""
    spool = Spool(tmp_path / "s.tmp", SCHEMA, views=views)
    for number in range(5):
        spool.write(part(number))
    spool.close()
    assert spool.is_written
    assert spool.trouble is None
    assert rows(spool.table()) == EXPECTED
    mapped = spool.mapped()
    assert mapped is not None
    assert mapped.row_count == 5
    assert pa.types.is_string_view(mapped.table.schema.types[2]) == views
    assert (tmp_path / "s.tmp").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("fails_at", [0, 1, 4, "close"])
def test_a_disk_that_fills_up_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int | str, *, views: bool
) -> None:
    """What is in the file is read back, what follows is held, and the file is gone."""
    spool = Spool(tmp_path / "s.tmp", SCHEMA, views=views)
    real = spool._file

    class Full:
        """A writer to a disk that fills up."""

        def write_batch(self, batch: pa.RecordBatch) -> None:
            """Write, or fail."""
            if batch.column(0)[0].as_py() == fails_at:
                raise OSError("No space left on device")
            real.write_batch(batch)

        def close(self) -> None:
            """Write the end, or fail."""
            raise OSError("No space left on device")

    monkeypatch.setattr(spool, "_file", Full())
    for number in range(5):
        spool.write(part(number))
    spool.close()
    assert str(spool.trouble) == "No space left on device"
    assert not spool.is_written
    assert spool.mapped() is None
    assert rows(spool.table()) == EXPECTED
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_rows_are_held(tmp_path: Path) -> None:
    """A path that can not be written holds all in memory, and says why."""
    spool = Spool(tmp_path / "missing" / "s.tmp", SCHEMA)
    assert isinstance(spool.trouble, OSError)
    spool.write(part(0))
    spool.close()
    assert rows(spool.table()) == EXPECTED[:1]


def test_a_spool_in_memory_writes_nothing(tmp_path: Path) -> None:
    """Without a path all rows are held, and nothing is on disk."""
    spool = Spool(None, SCHEMA)
    spool.write(part(0))
    spool.close()
    spool.discard()
    assert rows(spool.table()) == EXPECTED[:1]
    assert not spool.is_written
    assert list(tmp_path.iterdir()) == []


def test_what_was_discarded_stays_readable(tmp_path: Path) -> None:
    """A file that is unlinked serves those who mapped it."""
    spool = Spool(tmp_path / "s.tmp", SCHEMA)
    spool.write(part(0))
    spool.close()
    table = spool.table()
    spool.discard()
    assert list(tmp_path.iterdir()) == []
    assert rows(table) == EXPECTED[:1]
