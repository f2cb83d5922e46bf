"""A part of a map: the pair of files is what was committed, or it is nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline.errors import Failure
from usher_pipeline.frames import Packed, adapter_for
from usher_pipeline.persistence.mapparts import (
    PAIR,
    Answer,
    DamagedRows,
    commit_part,
    is_of_another_version,
    read_part,
    read_rows,
    seen_files,
)
from usher_pipeline.records import Read

if TYPE_CHECKING:
    from pathlib import Path

READ: Final = Read("universe", "k" * 32, "c" * 32)
STEM: Final = "00000003-00000004"


def answer(number: int, **facts: Any) -> Answer:
    """Return what is known of an item."""
    plain = Answer(f"{number:032x}", json.dumps(number), 0, "a" * 32, (), 0.5, number)
    return plain._replace(**facts)


def failed(number: int, at: int, **facts: Any) -> Answer:
    """Return that an item failed."""
    return answer(number, at=at, error=("ValueError", f"bad {number}"), attempts=3, **facts)


def packed(frame: Any) -> Packed:
    """Return a frame as it is stored."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return adapter.to_arrow(frame)


ANSWERS: Final = (
    *(answer(1, row_count=2, reads=(READ,)), answer(2), failed(3, 3)),
    answer(4, row_count=1, code="b" * 32, skew=7),
)
FRAMES: Final = {
    "polars": pl.DataFrame({"n": [1, 2, 3], "t": ["a", None, "c"], "o": [None] * 3}),
    "pandas": pd.DataFrame({"n": [1, 2, 3]}, index=["x", "y", "z"]),
    "arrow": pa.table({"n": [1, 2, 3]}),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_part_is_read_as_it_was_committed(kind: str, tmp_path: Path) -> None:
    """Rows, answers and all that is told of them come back; each answer knows its rows."""
    rows = packed(FRAMES[kind])
    made = commit_part(tmp_path, 3, 4, rows, ANSWERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{STEM}{ending}" for ending in PAIR
    )
    found = read_part(tmp_path / f"{STEM}.items")
    assert found == made
    assert [each.start for each in found.answers] == [0, 2, 2, 2]
    assert tuple(a._replace(start=0, part="") for a in found.answers) == ANSWERS
    assert found.columns == (rows.kind, *rows.schema["sql_names"])
    assert read_rows(tmp_path, found).table.equals(rows.table)
    assert sum(s.st_size for s in seen_files(tmp_path, STEM) if s) == sum(
        path.stat().st_size for path in tmp_path.iterdir()
    )


def test_a_part_of_failures_has_no_rows(tmp_path: Path) -> None:
    """Where nothing was answered there is one file, and no columns are told."""
    made = commit_part(tmp_path, 3, 4, None, [failed(1, 1)])
    assert [path.name for path in tmp_path.iterdir()] == [f"{STEM}.items"]
    assert made.columns == ("",)
    assert read_part(tmp_path / f"{STEM}.items") == made
    assert seen_files(tmp_path, STEM)[1] is None


@pytest.mark.parametrize("ending", PAIR)
def test_any_changed_byte_is_noticed(ending: str, tmp_path: Path) -> None:
    """No bit of either file counts for nothing, but those that pad it."""
    made = commit_part(tmp_path, 3, 4, packed(FRAMES["polars"]), ANSWERS)
    path = tmp_path / f"{STEM}{ending}"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        path.write_bytes(changed)
        if ending == ".items":
            assert read_part(path) in (None, made)
            continue
        try:
            found = read_rows(tmp_path, made).table
        except DamagedRows:
            continue
        assert found.equals(packed(FRAMES["polars"]).table)


def test_what_is_of_another_version_says_so(tmp_path: Path) -> None:
    """A newer library has another number for its format; anything else is damage."""
    commit_part(tmp_path, 3, 4, None, [failed(1, 1)])
    path = tmp_path / f"{STEM}.items"
    assert not is_of_another_version(path)
    with pa.ipc.open_file(path) as file:
        table = file.read_all()
    for stated, is_other in (({"format": 2}, True), ({"format": "x"}, False), ({}, False)):
        text = json.dumps({"digest": "", "about": stated})
        other = table.replace_schema_metadata({b"usher_pipeline": text.encode()})
        with pa.ipc.new_file(path, other.schema) as file:
            file.write_table(other)
        assert read_part(path) is None
        assert is_of_another_version(path) is is_other
    path.write_bytes(b"no items")
    assert not is_of_another_version(path)
    assert not is_of_another_version(tmp_path / "nothing.items")


def test_an_answer_tells_what_failed_and_when() -> None:
    """The item comes back from its JSON, the moment in UTC to the microsecond."""
    moment = datetime(2026, 2, 16, 1, 2, 3, 456, tzinfo=UTC)
    at = round(moment.timestamp() * 1e6)
    found = failed(7, at, shown='["chr1", 5]')
    assert found.answered_at == moment
    assert found.value == ["chr1", 5]
    assert found.failure() == Failure(["chr1", 5], "ValueError", "bad 7", 3, moment)
