"""What lies in the folder of a store: every entry, what is current, what belongs together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.persistence.inventory import currents, items, parts_of, size_of
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import Acceptance, utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from usher_pipeline.records import Entry


@checkpoint(name="listed_numbers")
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


@checkpoint(name="listed_halves")
def halves(count: int = 2) -> dict[str, pl.DataFrame]:
    """Return two frames."""
    return {
        "low": pl.DataFrame({"n": list(range(count))}),
        "high": pl.DataFrame({"n": [100 + count]}),
    }


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with three results of one checkpoint, two of one key."""
    with run(store=tmp_path / "store.duckdb"):
        numbers(2)
        numbers(3)
        numbers.refresh(2)
    return LocalBackend(tmp_path / "store.duckdb")


def accepted(backend: LocalBackend, entry: Entry) -> Entry:
    """Make a result one of another key as well."""
    key = replace(entry.key, digest="ab" * 16)
    return backend.accept(entry, key, Acceptance(utc_now(), entry.key.digest, ()))


def test_every_result_is_listed(backend: LocalBackend) -> None:
    """Results that a newer one of their key replaced are listed as well, with their size."""
    found = items(backend.segments)
    assert sorted(item.entry.row_count for item in found) == [2, 2, 3]
    for item in found:
        facts = backend.segments.segment(item.entry).stat()
        assert (item.size_bytes, item.disk) == (facts.st_size, (facts.st_dev, facts.st_ino))


def test_a_lost_segment_takes_no_space(backend: LocalBackend) -> None:
    """An entry without its segment is listed, with no size."""
    (entry, _) = backend.recent("listed_numbers")
    backend.segments.segment(entry).unlink()
    (lost,) = [item for item in items(backend.segments) if item.entry == entry]
    assert (lost.size_bytes, lost.disk) == (0, None)


def test_one_file_of_two_entries_is_counted_once(backend: LocalBackend) -> None:
    """An accepted result has the file of the older one, and takes no more of the disk."""
    (entry, _) = backend.recent("listed_numbers")
    before = items(backend.segments)
    accepted(backend, entry)
    after = items(backend.segments)
    assert len(after) == len(before) + 1
    assert size_of(after) == size_of(before)


def test_the_current_result_is_told_by_the_folder(held: Any, backend: LocalBackend) -> None:
    """The published result is the current one, also while the database is held."""
    (entry, _) = backend.recent("listed_numbers")
    with held(backend.path):
        assert currents(backend, items(backend.segments)) == {("listed_numbers", entry.stem)}


def test_what_is_about_to_be_published_is_current_as_well(backend: LocalBackend) -> None:
    """Every marked result counts, beside the one that the table still is."""
    newest, older = backend.recent("listed_numbers")
    backend.segments.mark(newest, utc_now())
    backend.segments.mark(older, utc_now())
    found = currents(backend, items(backend.segments))
    assert found == {("listed_numbers", newest.stem), ("listed_numbers", older.stem)}


def test_the_database_is_asked_where_the_folder_does_not_tell(
    held: Any, backend: LocalBackend
) -> None:
    """Without the hint the row of the table tells; if that is busy, all may be current."""
    newest, older = backend.recent("listed_numbers")
    backend.mean(older)
    backend.publish()
    backend.segments.note_published("listed_numbers", "")
    found = items(backend.segments)
    assert ("listed_numbers", older.stem) in currents(backend, found)
    with held(backend.path):
        assert currents(backend, found) == {item.place for item in found}
    backend.segments.note_published("listed_numbers", newest.stem)
    assert currents(backend, found) == {("listed_numbers", newest.stem)}


def test_a_dictionary_has_its_parts(tmp_path: Path) -> None:
    """Each dictionary has the parts of its own computation, or equal ones that came later."""
    with run(store=tmp_path / "store.duckdb"):
        halves(2)
        halves(3)
        halves.refresh(3)
    backend = LocalBackend(tmp_path / "store.duckdb")
    parts = parts_of(backend.segments, items(backend.segments))
    for (_, stem), places in parts.items():
        key = stem.partition("-")[0]
        assert [name for name, _ in places] == ["listed_halves__low", "listed_halves__high"]
        latest = [backend.find(name, key) for name, _ in places]
        assert [stem for _, stem in places] == [each.stem for each in latest if each]
    assert len(parts) == 3


def test_a_dictionary_that_can_not_be_read_has_whatever_may_be_its_part(
    tmp_path: Path,
) -> None:
    """Where the list is lost, all results of its key and names like its own count."""
    with run(store=tmp_path / "store.duckdb"):
        halves(2)
        halves.refresh(2)
    backend = LocalBackend(tmp_path / "store.duckdb")
    whole = backend.recent("listed_halves")[0]
    backend.segments.segment(whole).unlink()
    parts = parts_of(backend.segments, items(backend.segments))
    assert len(parts["listed_halves", whole.stem]) == 4


def test_an_accepted_dictionary_has_the_parts_of_the_first_key(tmp_path: Path) -> None:
    """Parts stay under the key that computed them, and belong to both dictionaries."""
    with run(store=tmp_path / "store.duckdb"):
        halves(2)
    backend = LocalBackend(tmp_path / "store.duckdb")
    whole = backend.recent("listed_halves")[0]
    newer = accepted(backend, whole)
    parts = parts_of(backend.segments, items(backend.segments))
    assert parts["listed_halves", newer.stem] == parts["listed_halves", whole.stem]
    assert len(parts["listed_halves", newer.stem]) == 2
