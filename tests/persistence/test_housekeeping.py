"""Pruning a store: what goes from the disk, and that what stays still answers."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.errors import CheckpointNameError, CriterionMissingError, OptionError
from usher_pipeline.persistence import PipelineStore, housekeeping
from usher_pipeline.persistence.housekeeping import prune, stock_of
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.pruning import Criteria
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.persistence.sweeping import Swept
from usher_pipeline.records import Entry, Hit, Miss, utc_now

if TYPE_CHECKING:
    from pathlib import Path

ALL = Criteria(keep_latest=0)


@checkpoint(name="pruned_numbers")
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


@checkpoint(name="pruned_total")
def total(count: int = 2) -> pl.DataFrame:
    """Return the sum of some numbers."""
    return numbers(count).sum()


@checkpoint(name="pruned_halves")
def halves(count: int = 2) -> dict[str, pl.DataFrame]:
    """Return two frames, of which one is always the same."""
    return {"own": pl.DataFrame({"n": [count]}), "same": pl.DataFrame({"n": [0]})}


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with three results of one checkpoint; the last one is the current one."""
    with run(store=tmp_path / "store.duckdb"):
        for count in (2, 3, 4):
            numbers(count)
    return LocalBackend(tmp_path / "store.duckdb", timeout_s=0.1)


def rows_of(backend: LocalBackend, name: str = "pruned_numbers") -> list[int]:
    """Return the row counts of the results of a name, the newest first."""
    return [entry.row_count for entry in backend.recent(name)]


def files(folder: Path) -> set[str]:
    """Return everything below a folder but lock files, by name."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix != ".lock"}


def test_a_dry_run_removes_nothing(backend: LocalBackend) -> None:
    """Unless told otherwise, it is said what would go, and all stays."""
    (backend.segments.folder / ".a.json.tmp").write_bytes(b"1")
    before = files(backend.segments.folder)
    with PipelineStore(backend.path) as store:
        told = store.prune(keep_latest=1)
        assert files(backend.segments.folder) == before
        assert (len(told.entries), told.dry_run, told.swept) == (2, True, Swept())
        done = store.prune(keep_latest=1, dry_run=False)
    assert done.entries == told.entries
    assert done.size_bytes == told.size_bytes == sum(each.size_bytes for each in told.entries)
    assert rows_of(backend) == [4]


def test_what_goes_goes_with_both_files(backend: LocalBackend) -> None:
    """Entry and segment of what was pruned are gone; its call is a miss, the others hits."""
    going = backend.recent("pruned_numbers")[1:]
    prune(backend, ALL, dry_run=False)
    for entry in going:
        path = backend.segments.segment(entry)
        assert not path.exists()
        assert not path.with_suffix(".json").exists()
    with run(store=backend.path):
        assert isinstance(numbers.explain(3), Miss)
        assert isinstance(numbers.explain(4), Hit)


def test_the_current_result_and_pinned_ones_stay(backend: LocalBackend) -> None:
    """Whatever the criteria name, the table's result, marked ones and pinned ones stay."""
    _, middle, oldest = backend.recent("pruned_numbers")
    with PipelineStore(backend.path) as store:
        store.pin("pruned_numbers", oldest.key.digest)
        backend.segments.mark(middle, utc_now())
        pruned = prune(backend, ALL, dry_run=False)
        assert (pruned.entries, pruned.held_count) == ((), 3)
        assert rows_of(backend) == [4, 3, 2]
        store.unpin("pruned_numbers", oldest.key.digest)
    assert [each.key for each in prune(backend, ALL, dry_run=False).entries] != []


def test_another_process_may_hold_the_database(held: Any, backend: LocalBackend) -> None:
    """Pruning waits for nobody."""
    with held(backend.path):
        assert len(prune(backend, ALL, dry_run=False).entries) == 2
    assert rows_of(backend) == [4]
    with PipelineStore(backend.path) as store:
        assert store.load_dataframe("pruned_numbers").height == 4


def test_what_a_result_read_stays_until_it_is_asked_for(tmp_path: Path) -> None:
    """A staying result still answers after pruning; by name its lineage can be removed."""
    with run(store=tmp_path / "store.duckdb"):
        total(2)
        numbers(3)
    backend = LocalBackend(tmp_path / "store.duckdb")
    pruned = prune(backend, ALL, dry_run=False)
    assert (pruned.entries, pruned.held_count) == ((), 3)
    with run(store=backend.path):
        assert isinstance(total.explain(2), Hit)
    asked = Criteria(names=frozenset(("pruned_numbers",)))
    assert len(prune(backend, asked, dry_run=False).entries) == 1
    assert rows_of(backend) == [3]


def test_a_dictionary_goes_with_its_frames(tmp_path: Path) -> None:
    """The frames of a dictionary go with it; a newer one keeps its own, and answers."""
    with run(store=tmp_path / "store.duckdb"):
        halves(2)
        halves(3)
    backend = LocalBackend(tmp_path / "store.duckdb")
    pruned = prune(backend, Criteria(names=frozenset(("pruned_halves",))), dry_run=False)
    names = [each.name for each in pruned.entries]
    assert sorted(names) == ["pruned_halves", "pruned_halves__own", "pruned_halves__same"]
    assert {each.why for each in pruned.entries} == {
        "of pruned_halves",
        "part of pruned_halves",
    }
    with run(store=backend.path):
        assert isinstance(halves.explain(3), Hit)
        assert halves(3)["own"].item() == 3


def test_a_result_that_is_meant_meanwhile_stays(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is pinned or marked after it was decided, and before it is removed, stays."""
    _, middle, oldest = backend.recent("pruned_numbers")

    def decided(backend: LocalBackend) -> Any:
        stock = stock_of(backend)
        backend.segments.pin("pruned_numbers", oldest.key.digest)
        backend.segments.mark(middle, utc_now())
        return stock

    monkeypatch.setattr(housekeeping, "stock_of", decided)
    pruned = prune(backend, ALL, dry_run=False)
    assert (pruned.entries, pruned.held_count, pruned.size_bytes) == ((), 3, 0)
    assert rows_of(backend) == [4, 3, 2]


def test_a_dictionary_that_is_pinned_meanwhile_keeps_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a whole that stays after all, no frame goes."""
    with run(store=tmp_path / "store.duckdb"):
        halves(2)
        halves(3)
    backend = LocalBackend(tmp_path / "store.duckdb")
    older = backend.recent("pruned_halves")[1]

    def decided(backend: LocalBackend) -> Any:
        stock = stock_of(backend)
        backend.segments.pin("pruned_halves", older.key.digest)
        return stock

    monkeypatch.setattr(housekeeping, "stock_of", decided)
    assert prune(backend, ALL, dry_run=False).entries == ()
    assert [entry.row_count for entry in backend.recent("pruned_halves__own")] == [1, 1]


def test_pruning_sweeps(backend: LocalBackend) -> None:
    """What was left over goes as well, and is reported."""
    path = backend.segments.folder / ".a.json.tmp"
    path.write_bytes(b"12345")
    later = utc_now() + timedelta(hours=2)
    pruned = prune(backend, Criteria(keep_latest=9), dry_run=False, now=later)
    assert pruned.swept == Swept(1, 5)
    assert str(pruned) == "0 results went · 0 B · swept 1 files, 5 B"
    assert not path.exists()


def test_the_freed_size_is_that_on_the_disk(backend: LocalBackend) -> None:
    """A file that a staying result needs as well is not counted as freed."""
    newest, _, oldest = backend.recent("pruned_numbers")
    path = backend.segments.segment(oldest)
    path.unlink()
    os.link(backend.segments.segment(newest), path)
    pruned = prune(backend, Criteria(names=frozenset(("pruned_numbers",))), dry_run=True)
    assert len(pruned.entries) == 2
    assert pruned.size_bytes == pruned.entries[1].size_bytes


def test_the_text_says_what_would_go(backend: LocalBackend) -> None:
    """One line for each result, with name, key, age, size and why."""
    middle, oldest = backend.recent("pruned_numbers")[1:]
    now = oldest.created_at + timedelta(days=3)
    pruned = prune(backend, Criteria(older_than=timedelta(days=2)), dry_run=True, now=now)
    lines = str(pruned).splitlines()
    assert lines[0].startswith("2 results would go · ")
    assert lines[0].endswith(" · 1 stay that something needs")
    assert lines[1].split() == ["name", "key", "age", "size", "why"]
    assert lines[2].startswith(f"pruned_numbers  {oldest.key.digest[:8]}  3 d old")
    assert lines[3].startswith(f"pruned_numbers  {middle.key.digest[:8]}  ")
    assert lines[3].endswith("older than 2 days, 0:00:00")


def test_what_can_not_be_asked_for_is_refused(backend: LocalBackend) -> None:
    """No criterion, a negative one, a text for names or no name at all are errors."""
    with PipelineStore(backend.path) as store:
        with pytest.raises(CriterionMissingError, match="expected at least one of"):
            store.prune(dry_run=False)
        with pytest.raises(OptionError, match=r"prune\(keep_latest=.*expected 0 or more"):
            store.prune(keep_latest=-1, dry_run=False)
        with pytest.raises(OptionError, match="expected several names, got the text 'pruned_"):
            store.prune(names="pruned_numbers", dry_run=False)
        with pytest.raises(CheckpointNameError, match="can not name a checkpoint"):
            store.prune(names=["_checkpoints"], dry_run=False)
    assert rows_of(backend) == [4, 3, 2]


# --- several results of one key ---------------------------------------------------------


def numbered(backend: LocalBackend, count: int = 3) -> list[Entry]:
    """Store further results of the oldest key, each as if it was made before the last one."""
    oldest = backend.recent("pruned_numbers")[-1]
    packed = backend.load(oldest)
    assert packed is not None
    found = [oldest]
    for days in range(1, count):
        entry = replace(oldest, created_at=oldest.created_at - timedelta(days=days))
        sealed = backend.segments.seal(entry.name, packed)
        found.append(backend.segments.commit(sealed, entry))
    return found


def test_what_answers_after_pruning_is_the_latest(tmp_path: Path) -> None:
    """What another result was made of stays, and so do the later results of its key."""
    made: list[int] = []

    @checkpoint(name="pruned_base", version="1", ignore=["made"])
    def base(made: list[int] = made) -> pl.DataFrame:
        made.append(len(made))
        return pl.DataFrame({"n": made})

    @checkpoint(name="pruned_above", version="1")
    def above(frame: pl.DataFrame) -> pl.DataFrame:
        return frame

    with run(store=tmp_path / "store.duckdb"):
        above(base())
        base.refresh()
        base.refresh()
    backend = LocalBackend(tmp_path / "store.duckdb")
    prune(backend, Criteria(keep_latest=1), dry_run=False)
    with run(store=backend.path):
        assert base()["n"].to_list() == [0, 1, 2]
    assert made == [0, 1, 2]


def test_the_lower_numbers_go_first(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever pruning is interrupted, no number is missing below one that is still there."""
    numbered(backend)
    plain, order = Segments.remove, list[int]()

    def remove(self: Segments, entry: Entry) -> None:
        if entry.row_count == 2:
            order.append(entry.number)
        plain(self, entry)

    monkeypatch.setattr(Segments, "remove", remove)
    prune(backend, ALL, dry_run=False)
    assert order == [1, 2, 3]
    assert rows_of(backend) == [4]


def test_above_a_number_that_stays_after_all_nothing_goes(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a result came to be needed meanwhile, the later ones of its key stay as well."""
    _, middle, latest = numbered(backend)

    def decided(backend: LocalBackend) -> Any:
        stock = stock_of(backend)
        backend.segments.note_published(middle.name, middle.stem)
        return stock

    monkeypatch.setattr(housekeeping, "stock_of", decided)
    pruned = prune(backend, ALL, dry_run=False)
    assert [each.number for each in pruned.entries if each.key == middle.key.digest] == [1]
    assert backend.find(latest.name, latest.key.digest) == latest
