"""What a store uses: sizes and counts that agree with the disk, and nothing written."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.display import size
from usher_pipeline.persistence import PipelineStore, publisher
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.sweeping import DAMAGED
from usher_pipeline.persistence.usage import columned, measure

if TYPE_CHECKING:
    from pathlib import Path


@checkpoint(name="used_numbers")
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


@checkpoint(name="used_halves")
def halves() -> dict[str, pl.DataFrame]:
    """Return two frames."""
    return {"low": pl.DataFrame({"n": [1]}), "high": pl.DataFrame({"n": [2, 3]})}


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with two results of one checkpoint, and a dictionary."""
    with run(store=tmp_path / "store.duckdb"):
        numbers(2)
        numbers(20_000)
        halves()
    return LocalBackend(tmp_path / "store.duckdb")


def on_disk(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of everything below a folder."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")
    }


def test_sizes_are_those_on_the_disk(backend: LocalBackend) -> None:
    """The sizes are those of the files; the biggest name comes first."""
    usage = measure(backend)
    arrow = {path: path.stat().st_size for path in backend.segments.folder.rglob("*.arrow")}
    assert usage.segments_size_bytes == sum(arrow.values())
    assert usage.database_size_bytes == backend.path.stat().st_size
    assert [each.name for each in usage.names] == ["used_numbers", "used_halves"]
    of_name = [size for path, size in arrow.items() if path.parent.name == "used_numbers"]
    assert usage.names[0].size_bytes == sum(of_name)
    assert usage.size_bytes == usage.segments_size_bytes + usage.database_size_bytes


def test_a_name_has_its_results_counted(backend: LocalBackend) -> None:
    """For each name: how many results, rows of the current one, the newest and the oldest."""
    numbers = measure(backend).names[0]
    newest, oldest = backend.recent("used_numbers")
    assert (numbers.entry_count, numbers.evicted_count, numbers.row_count) == (2, 0, 20_000)
    assert (numbers.newest_at, numbers.oldest_at) == (newest.created_at, oldest.created_at)
    backend.segments.segment(newest).unlink()
    assert {each.name: each.evicted_count for each in measure(backend).names} == {
        "used_numbers": 1,
        "used_halves": 0,
    }


def test_a_dictionary_counts_with_its_parts(backend: LocalBackend) -> None:
    """The parts stand below their dictionary, and their size is in its size."""
    halves = measure(backend).names[1]
    assert [part.name for part in halves.parts] == ["used_halves__high", "used_halves__low"]
    assert [part.row_count for part in halves.parts] == [2, 1]
    (whole,) = backend.recent("used_halves")
    own = backend.segments.segment(whole).stat().st_size
    assert halves.size_bytes == own + sum(part.size_bytes for part in halves.parts)


def test_damage_and_leftovers_are_counted_apart(backend: LocalBackend) -> None:
    """What was set aside and what was left over is told, however young."""
    folder = backend.segments.folder
    (folder / DAMAGED / "used_numbers").mkdir(parents=True)
    (folder / DAMAGED / "used_numbers" / "a.arrow").write_bytes(b"123")
    (folder / "used_numbers" / ".a.arrow.tmp").write_bytes(b"12345")
    usage = measure(backend)
    assert (usage.damaged_count, usage.damaged_size_bytes) == (1, 3)
    assert (usage.leftover_count, usage.leftover_size_bytes) == (1, 5)
    assert "damaged 3 B (1) · left over 5 B (1)" in str(usage)


def test_measuring_writes_nothing(backend: LocalBackend, tmp_path: Path) -> None:
    """Nothing below the folder changes, the database is not opened, and no store is made."""
    with PipelineStore(backend.path) as store:
        before = on_disk(tmp_path)
        store.usage()
        assert on_disk(tmp_path) == before
    empty = measure(LocalBackend(tmp_path / "none.duckdb"))
    assert (empty.names, empty.size_bytes) == ((), 0)
    assert on_disk(tmp_path) == before


def test_the_text_is_a_table(backend: LocalBackend) -> None:
    """The text has a line of totals and one for each name, parts below their dictionary."""
    backend.segments.pin("used_numbers", backend.recent("used_numbers")[0].key.digest)
    key = backend.recent("used_numbers")[0].key.digest
    now = backend.recent("used_halves")[0].created_at + timedelta(hours=3)
    lines = str(measure(backend, now)).splitlines()
    assert lines[0].startswith("store.duckdb · ")
    assert lines[1].split() == ["name", "entries", "size", "rows", "newest", "oldest", "pinned"]
    assert [line.split()[0] for line in lines[2:]] == [
        "used_numbers",
        "used_halves",
        "used_halves__high",
        "used_halves__low",
    ]
    assert lines[2].endswith(f"3 h old  3 h old  {key[:8]}")
    assert lines[4].startswith("  used_halves__high")


def test_columns_are_as_wide_as_their_widest_text() -> None:
    """Texts stand below each other, and no line ends in spaces."""
    assert columned([("a", "b"), ("long", "")]) == ["a     b", "long"]


@checkpoint(name="used_items")
def of_item(item: int) -> pl.DataFrame:
    """Return a row of an item."""
    return pl.DataFrame({"item": [item]})


def test_maps_are_counted_apart(tmp_path: Path) -> None:
    """The items of maps are no segments, and no leftovers; what is removed of them is."""
    with run(store=tmp_path / "maps.duckdb"):
        of_item.mapped(over="item")([1, 2, 3])
        of_item.mapped(over="item", item_column="item", batch_size=2)
    publisher.wait(tmp_path / "maps.duckdb", 30)
    backend = LocalBackend(tmp_path / "maps.duckdb")
    (folder,) = (backend.segments.folder / ".maps").glob("*/*")
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    usage = measure(backend)
    assert (usage.map_count, usage.maps_size_bytes) == (1, size_bytes)
    assert (usage.leftover_count, usage.damaged_count) == (0, 0)
    others = usage.segments_size_bytes + usage.database_size_bytes
    assert usage.size_bytes == others + size_bytes
    assert f"items of maps {size(size_bytes)} (1)" in str(usage)
    folder.rename(folder.with_name(f"{folder.name}~0123abcd"))
    usage = measure(backend)
    assert (usage.map_count, usage.maps_size_bytes) == (0, 0)
    assert usage.leftover_size_bytes == size_bytes
    assert usage.size_bytes == others + size_bytes
    assert "items of maps" not in str(usage)
