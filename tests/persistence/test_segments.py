"""Sealed results on disk: names, commits, and what a damaged file does."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.errors import CheckpointNameError, NameClashError
from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.frames import Packed
from usher_pipeline.persistence.segments import (
    Opened,
    Segments,
    check_name,
    folder_of,
    safe_name,
    schema_text,
)
from usher_pipeline.records import Column, Cost, Entry, Key, utc_now

if TYPE_CHECKING:
    from pathlib import Path

KEY = "0123456789abcdef" * 2
TABLE = pa.table({"0": pa.array(range(1000), pa.int64())})


def entry_for(name: str = "genes", key: str = KEY, table: pa.Table = TABLE) -> Entry:
    """Return an entry that tells the truth about a table."""
    return Entry(
        key=Key(name, key, (), 1),
        number=1,
        created_at=utc_now(),
        function="tests.made",
        kind="polars.DataFrame",
        schema={},
        arrow_schema=schema_text(table.schema),
        content="c",
        columns=(Column("n", "Int64", column_digests(table)[0]),),
        row_count=table.num_rows,
        size_bytes=table.nbytes,
        cost=Cost(utc_now(), 0.1),
        run_id="r",
    )


def packed(table: pa.Table, kind: str = "polars.DataFrame") -> Packed:
    """Return a table as the packed frame of a kind."""
    return Packed(table, {}, kind)


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    """An empty folder of results."""
    return Segments(tmp_path / "store.checkpoints")


def store(segments: Segments, entry: Entry, table: pa.Table = TABLE) -> Entry:
    """Seal and commit."""
    return segments.commit(segments.seal(entry.name, packed(table)), entry)


def test_what_is_committed_is_found_and_mapped(segments: Segments) -> None:
    """A committed result is found under its key, and maps to an equal table."""
    entry = store(segments, entry_for())
    assert segments.find("genes", KEY) == entry
    found = segments.map(entry)
    assert found is not None
    assert found.equals(TABLE)


def test_the_latest_number_wins(segments: Segments) -> None:
    """A second result under one key gets the next number, and is the one that counts."""
    first = store(segments, entry_for())
    second = store(segments, entry_for())
    assert (first.number, second.number) == (1, 2)
    assert segments.find("genes", KEY) == second
    segments.remove(first)
    assert segments.find("genes", KEY) == second
    segments.remove(second)
    assert segments.find("genes", KEY) is None


def test_nothing_is_seen_before_the_commit(segments: Segments) -> None:
    """A sealed segment without an entry shows nowhere."""
    segments.seal("genes", packed(TABLE))
    assert segments.find("genes", KEY) is None
    assert segments.names() == []
    assert segments.recent("genes") == []


def test_a_half_written_entry_is_not_seen(segments: Segments) -> None:
    """An entry that is cut off is as if it were not there."""
    entry = store(segments, entry_for())
    path = segments.segment(entry).with_suffix(".json")
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert segments.find("genes", KEY) is None


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "swapped"])
def test_a_damaged_segment_is_not_mapped(segments: Segments, damage: str) -> None:
    """A segment that is not what the entry says gives None, never a table."""
    entry = store(segments, entry_for())
    path = segments.segment(entry)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "swapped":
        other = pa.table({"0": pa.array(range(1, 1001), pa.int64())})
        sealed = segments.seal("genes", packed(other)).path
        assert sealed is not None
        data = bytearray(sealed.read_bytes())
    path.unlink()
    if damage != "missing":
        path.write_bytes(data)
    assert segments.map(entry) is None


def test_files_are_for_their_owner_only(segments: Segments) -> None:
    """Segments, entries and folders can be read by nobody else."""
    entry = store(segments, entry_for())
    path = segments.segment(entry)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_suffix(".json").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_recent_entries_are_newest_first(segments: Segments) -> None:
    """The newest entry of each key is listed, the latest first."""
    keys = [f"{number:032x}" for number in range(3)]
    stored = [store(segments, entry_for(key=key)) for key in keys]
    again = store(segments, entry_for(key=keys[0]))
    assert segments.recent("genes") == [again, stored[2], stored[1]]
    assert segments.names() == ["genes"]


def test_clearing_takes_one_name_only(segments: Segments) -> None:
    """Clearing a name leaves the others."""
    store(segments, entry_for("one"))
    kept = store(segments, entry_for("two"))
    assert segments.clear("one") == 1
    assert segments.names() == ["two"]
    assert segments.find("two", KEY) == kept


@pytest.mark.parametrize(("one", "other"), [("Genes", "genes"), ("É", "é"), ("ß", "SS")])
def test_names_that_fold_to_one_collide(segments: Segments, one: str, other: str) -> None:
    """A second spelling of a name is an error before anything is written."""
    store(segments, entry_for(one))
    with pytest.raises(NameClashError, match="claimed twice"):
        segments.seal(other, packed(TABLE))
    assert segments.names() == [one]


def test_results_of_others_that_can_not_be_seen_are_none(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that only its owner may enter has no results for anybody else, and no clash."""
    store(segments, entry_for())
    plain_stat, plain_list = os.stat, os.listdir

    def stat_of(path: Any, *rest: Any, **more: Any) -> os.stat_result:
        if f"{segments.folder}/" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return plain_stat(path, *rest, **more)

    def list_of(path: Any = ".") -> list[str]:
        if str(segments.folder) in str(path):
            raise PermissionError(13, "Permission denied", path)
        return plain_list(path)

    monkeypatch.setattr(os, "stat", stat_of)
    monkeypatch.setattr(os, "listdir", list_of)
    assert (segments.names(), segments.recent("genes"), segments.clash("genes")) == ([], [], "")


def test_pending_markers_read_back_in_order(segments: Segments) -> None:
    """What is marked is listed, the oldest first."""
    later = segments.mark("genes", KEY, datetime(2026, 2, 2, tzinfo=UTC))
    sooner = segments.mark("genes", KEY, datetime(2026, 1, 1, tzinfo=UTC))
    assert segments.pending() == [sooner, later]
    assert Segments(segments.folder / "nowhere").pending() == []


def test_the_folder_lies_beside_the_database(tmp_path: Path) -> None:
    """`X.duckdb` has `X.checkpoints`; another ending is kept, so that two never share."""
    assert folder_of(tmp_path / "a.duckdb").name == "a.checkpoints"
    assert folder_of(tmp_path / "a.db").name == "a.db.checkpoints"


def is_usable(name: str) -> bool:
    """Tell whether a checkpoint can have a name."""
    with suppress(CheckpointNameError):
        return check_name(name) == name
    return False


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(is_usable)


@given(NAMES)
def test_any_name_becomes_one_safe_component(name: str) -> None:
    """A folder's name never leaves its folder, hides, or grows beyond what disks take."""
    safe = safe_name(name)
    assert "/" not in safe
    assert not safe.startswith(".")
    assert safe.isascii()
    assert 0 < len(safe) <= 120


@given(st.lists(NAMES, unique=True))
def test_different_names_have_different_folders(names: list[str]) -> None:
    """No two names that differ by more than case share a folder."""
    folded = {name.casefold(): name for name in names}
    assert len({safe_name(name) for name in folded.values()}) == len(folded)


@pytest.mark.parametrize("name", ["", " ", "_checkpoints", "_usher_x", "a\0", None])
def test_names_that_can_not_be(name: Any) -> None:
    """An empty, reserved or unquotable name is refused, and has no folder either."""
    for ask in (check_name, safe_name):
        with pytest.raises(CheckpointNameError, match="can not name a checkpoint"):
            ask(name)


@pytest.mark.parametrize("kind", ["polars.DataFrame", "pandas.DataFrame"])
def test_text_lies_as_its_library_has_it(segments: Segments, kind: str) -> None:
    """That of polars is mapped without being rewritten; to all others it has offsets."""
    table = pa.table({"0": pa.array(["a name of some length"] * 9, pa.large_string())})
    entry = replace(entry_for(table=table), kind=kind)
    entry = segments.commit(segments.seal("genes", packed(table, kind)), entry)
    opened = segments.open(entry)
    is_polars = kind == "polars.DataFrame"
    layout = pa.string_view() if is_polars else pa.large_string()
    assert opened is not None
    assert opened.table.schema.types == [layout]
    assert opened.digests() == [column.digest for column in entry.columns]
    checked = segments.map(entry, views=True)
    assert checked is not None
    assert checked.schema.types == [layout]
    plain = segments.map(entry)
    assert plain is not None
    assert plain.equals(table)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every segment count as a large one, of which each column has a digest."""
    monkeypatch.setattr("usher_pipeline.persistence.spools.SMALL_BYTES", 0)


def three_columns(segments: Segments) -> Entry:
    """Store numbers, text and a list."""
    numbers, texts = pa.array(range(99)), pa.array(["the text"] * 99, pa.large_string())
    lists = pa.array([[n] for n in range(99)])
    table = pa.table({"0": numbers, "1": texts, "2": lists})
    columns = tuple(Column("c", "t", digest) for digest in column_digests(table))
    entry = replace(entry_for(table=table), columns=columns)
    return segments.commit(segments.seal("genes", packed(table)), entry)


@pytest.mark.usefixtures("large")
def test_a_column_is_told_by_its_bytes(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies as it was sealed is not digested anew, but for what has parts of its own."""
    entry = three_columns(segments)
    assert [bool(digest) for digest in entry.buffer_digests] == [True, True, False]
    digested: list[list[int]] = []
    digests_of = Opened.digests_of

    def noted(opened: Opened, positions: list[int]) -> list[str]:
        digested.append(positions)
        return digests_of(opened, positions)

    monkeypatch.setattr(Opened, "digests_of", noted)
    opened = segments.open(entry)
    assert opened is not None
    assert opened.is_whole([1])
    assert (opened.checked, digested) == ({1}, [])
    assert opened.is_whole([0, 1, 2])
    assert (opened.checked, digested) == ({0, 1, 2}, [[2]])


@pytest.mark.usefixtures("large")
def test_only_the_column_that_is_damaged_is_refused(segments: Segments) -> None:
    """The bytes of the others are as they were, and they can be read."""
    entry = three_columns(segments)
    path = segments.segment(entry)
    path.write_bytes(path.read_bytes().replace(b"the text", b"the test", 1))
    opened = segments.open(entry)
    assert opened is not None
    assert opened.is_whole([0])
    assert opened.is_whole([2])
    assert not opened.is_whole([1])
    assert not opened.is_whole([0, 1])
    assert segments.map(entry) is None


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("digests", [(), ("",) * 3, ("0" * 32,) * 3, ("0" * 32,)])
def test_where_bytes_do_not_tell_the_values_do(
    segments: Segments, digests: tuple[str, ...]
) -> None:
    """A segment that was written anew lies otherwise, and holds the same."""
    entry = replace(three_columns(segments), buffer_digests=digests)
    opened = segments.open(entry)
    assert opened is not None
    assert opened.is_whole([0, 1, 2])
