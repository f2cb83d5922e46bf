"""What was left over: it goes when it is old and nobody holds it, and nothing else goes."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.locking import hold
from usher_pipeline.persistence.places import folder_of
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.persistence.sweeping import (
    DAMAGED,
    Swept,
    copy_name,
    is_copy_name,
    leftovers,
    sweep,
)
from usher_pipeline.records import utc_now

LATER = timedelta(hours=2)
MUCH_LATER = timedelta(days=31)


@checkpoint(name="swept_numbers")
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    """The folder of a store with one result."""
    with run(store=tmp_path / "store.duckdb"):
        numbers()
    return Segments(folder_of(tmp_path / "store.duckdb"))


def made(path: Path) -> Path:
    """Make a file of four bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    return path


def below(folder: Path) -> set[Path]:
    """Return every file below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


def orphan(segments: Segments) -> Path:
    """Leave a segment of which no entry knows."""
    return made(segments.folder / "swept_numbers" / f"{'ab' * 16}-1.arrow")


LEFT = {
    "a segment": "swept_numbers/.0a.arrow.tmp",
    "an entry": "swept_numbers/.0a.json.tmp",
    "an orphan": f"swept_numbers/{'ab' * 16}-3.arrow",
    "a marker": ".pending/.0a.json.tmp",
    "a run": ".runs/.0a.json.tmp",
    "a run to publish": ".pending-runs/.0a.json.tmp",
    "at the top": ".0a.json.tmp",
    "a note of who computed": f".locks/{'ab' * 16}.json",
    "a note of who waited": f".locks/{'ab' * 16}.wait",
    "a copy of the database": "../" + copy_name("store"),
    "the log of a copy": "../" + copy_name("store") + ".wal",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_over_goes_after_an_hour(segments: Segments, name: str) -> None:
    """A leftover stays for an hour and goes after it; everything else stays."""
    before = below(segments.folder.parent)
    path = made(segments.folder / LEFT[name])
    assert sweep(segments) == Swept()
    assert path.exists()
    assert sweep(segments, now=utc_now() + LATER) == Swept(1, 4)
    assert below(segments.folder.parent) == before


STAYS = {
    "a lock file": ".locks/0a.lock",
    "unfinished work": ".parts/0a/.1.arrow.tmp",
    "a manifest": ".parts/0a/manifest.json",
    "another file beside the store": "../.other.0a.tmp",
    "a copy of another database": "../" + copy_name("other"),
    "notes of a person": "swept_numbers/notes.arrow",
    "a pin": f"swept_numbers/{'ab' * 16}.pin",
}


@pytest.mark.parametrize("name", STAYS)
def test_what_is_not_left_over_stays(segments: Segments, name: str) -> None:
    """Locks, unfinished work and files that are not of the store stay, however old."""
    path = made(segments.folder / STAYS[name])
    assert sweep(segments, now=utc_now() + MUCH_LATER) == Swept()
    assert path.exists()


@pytest.mark.parametrize("name", LEFT)
def test_what_somebody_holds_stays(segments: Segments, name: str) -> None:
    """What its writer holds is not left over, however long that takes."""
    path = made(segments.folder / LEFT[name])
    with path.open("rb") as file:
        assert hold(file.fileno())
        assert sweep(segments, now=utc_now() + LATER) == Swept()
    assert path.exists()


def test_damage_is_kept_for_a_month(segments: Segments) -> None:
    """What was set aside as damaged goes after 30 days, with its folder."""
    path = made(segments.folder / DAMAGED / "swept_numbers" / f"{'ab' * 16}-1.arrow")
    assert sweep(segments, now=utc_now() + timedelta(days=29)) == Swept()
    assert path.exists()
    assert sweep(segments, now=utc_now() + MUCH_LATER) == Swept(1, 4)
    assert not path.parent.exists()


def test_an_old_file_that_just_got_there_is_young(segments: Segments) -> None:
    """A second name for an old segment is as young as the name."""
    path = orphan(segments)
    os.utime(path, (0, 0))
    assert [each.kind for each in leftovers(segments)] == ["orphan"]
    assert sweep(segments) == Swept()
    assert path.exists()


def test_a_new_result_in_the_place_of_an_orphan_stays(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that takes the number of an orphan just then keeps its segment."""
    path = orphan(segments)
    plain = Path.rename

    def overtaken(self: Path, target: Any) -> Path:
        monkeypatch.setattr(Path, "rename", plain)
        made(self.with_name("new")).replace(self)
        return plain(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    new = sweep(segments, now=utc_now() + LATER)
    assert new == Swept()
    assert path.read_bytes() == b"half"


def test_an_orphan_that_just_got_its_entry_stays(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment whose entry comes while we look is no orphan."""
    path = orphan(segments)
    plain = Path.rename

    def committed(self: Path, target: Any) -> Path:
        monkeypatch.setattr(Path, "rename", plain)
        made(self.with_suffix(".json"))
        return plain(self, target)

    monkeypatch.setattr(Path, "rename", committed)
    assert sweep(segments, now=utc_now() + LATER) == Swept()
    assert path.exists()


def test_an_orphan_is_not_put_back_over_a_new_segment(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is sealed under the number while the orphan is aside keeps its segment."""
    path = orphan(segments)
    before = below(segments.folder)
    plain = Path.rename

    def overtaken(self: Path, target: Any) -> Path:
        monkeypatch.setattr(Path, "rename", plain)
        aside = plain(self, target)
        self.write_bytes(b"new")
        made(self.with_suffix(".json"))
        return aside

    monkeypatch.setattr(Path, "rename", overtaken)
    assert sweep(segments, now=utc_now() + LATER) == Swept()
    assert path.read_bytes() == b"new"
    assert below(segments.folder) == before | {path.with_suffix(".json")}


def test_sweeping_leaves_results_as_they_are(segments: Segments, tmp_path: Path) -> None:
    """After sweeping every result is there, and opens."""
    orphan(segments)
    sweep(segments, now=utc_now() + LATER)
    backend = LocalBackend(tmp_path / "store.duckdb")
    (entry,) = backend.recent("swept_numbers")
    assert backend.load(entry) is not None


def test_a_store_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    """Looking for leftovers makes nothing."""
    assert sweep(Segments(tmp_path / "none.checkpoints")) == Swept()
    assert below(tmp_path) == set()


@pytest.mark.parametrize(
    "name", [".store.tmp", ".store.0a.tmp", "store.duckdb", f".{'a' * 32}.tmp"]
)
def test_names_of_copies_are_told_from_others(name: str) -> None:
    """Only what the store itself named so is a copy of its database."""
    assert not is_copy_name(name, "store")
    assert is_copy_name(copy_name("store"), "store")


# --- maps -------------------------------------------------------------------------------


@checkpoint(name="swept_items")
def of_item(item: int) -> pl.DataFrame:
    """Return a row of an item."""
    return pl.DataFrame({"item": [item]})


@pytest.fixture
def map_folder(segments: Segments) -> Path:
    """The folder of a map of the store, with one part."""
    with run(store=segments.folder.with_name("store.duckdb")):
        of_item.mapped(over="item")([1, 2])
    (folder,) = (segments.folder / ".maps").glob("*/*")
    return folder


LEFT_OF_MAPS = {
    "rows without items": "00000009-00000009.rows",
    "a temporary file": ".0a.arrow.tmp",
    "a temporary statement": ".0a.json.tmp",
    "a part that another one stands for": "00000001-00000001.rows",
}


@pytest.mark.parametrize("name", LEFT_OF_MAPS)
def test_what_is_left_of_maps_goes_after_an_hour(
    segments: Segments, map_folder: Path, name: str
) -> None:
    """What a killed writer left beside the parts of a map goes, and nothing else does."""
    for ending in ("items", "rows"):
        (part,) = map_folder.glob(f"*.{ending}")
        part.rename(map_folder / f"00000001-00000005.{ending}")
    before = below(segments.folder)
    path = made(map_folder / LEFT_OF_MAPS[name])
    assert sweep(segments) == Swept()
    with path.open("rb") as file:
        assert hold(file.fileno())
        assert sweep(segments, now=utc_now() + LATER) == Swept()
    assert sweep(segments, now=utc_now() + LATER) == Swept(1, 4)
    assert below(segments.folder) == before


STAYS_OF_MAPS = {
    "items that can not be read": "00000009-00000009.items",
    "notes of a person": "notes.txt",
    "code": f"{'ab' * 16}.code.json",
}


@pytest.mark.parametrize("name", STAYS_OF_MAPS)
def test_what_is_no_leftover_of_a_map_stays(
    segments: Segments, map_folder: Path, name: str
) -> None:
    """What may be of a newer version of the library, or of somebody else, stays."""
    made(map_folder / STAYS_OF_MAPS[name])
    before = below(segments.folder)
    assert sweep(segments, now=utc_now() + MUCH_LATER) == Swept()
    assert below(segments.folder) == before


def test_rows_of_items_that_can_not_be_read_stay(segments: Segments, map_folder: Path) -> None:
    """Rows stay as long as their items do, whether or not anybody can read these."""
    (items,) = map_folder.glob("*.items")
    items.write_bytes(b"of a newer version")
    before = below(segments.folder)
    assert sweep(segments, now=utc_now() + MUCH_LATER) == Swept()
    assert below(segments.folder) == before


def test_a_map_that_was_being_removed_goes(segments: Segments, map_folder: Path) -> None:
    """Killed while it was removed, all of a map goes with its folder."""
    files = below(map_folder)
    map_folder.rename(map_folder.with_name(f"{map_folder.name}~0123abcd"))
    assert sweep(segments, now=utc_now() + LATER).file_count == len(files) > 1
    assert below(segments.folder / ".maps") == set()


def test_a_map_stays_however_old(segments: Segments, map_folder: Path) -> None:
    """What took a night to fetch is never swept."""
    before = below(map_folder)
    assert before
    assert sweep(segments, now=utc_now() + 100 * MUCH_LATER) == Swept()
    assert below(map_folder) == before
