"""Whether a store, and the disk that it lies on, are as they should be."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.persistence import examining
from usher_pipeline.persistence.examining import Check, examined, file_system
from usher_pipeline.persistence.flights import LOCKS, holders
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from tests.conftest import Held


@checkpoint(name="examined_genes", version="1")
def genes() -> pl.DataFrame:
    """Return two genes."""
    return pl.DataFrame({"gene": ["USH2A", "MYO7A"]})


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with one result."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        genes()
    return LocalBackend(path)


def found(backend: LocalBackend) -> dict[str, Check]:
    """Return what an examination says, by subject."""
    return {check.subject: check for check in examined(backend)}


def test_a_store_that_is_well(backend: LocalBackend) -> None:
    """Everything is looked at, nothing is wrong, and nothing was written."""
    before = sorted(backend.path.parent.rglob("*"))
    checks = found(backend)
    subjects = {"free space", "database file", "folder of results", "contents", "database"}
    assert subjects <= checks.keys()
    assert "problem" not in {check.state for check in checks.values()}
    assert checks["contents"].said.startswith("1 results, ")
    assert sorted(backend.path.parent.rglob("*")) == before


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    """That there is none yet is worth a note, and none is made."""
    checks = found(LocalBackend(tmp_path / "deep" / "store.duckdb"))
    assert checks["store"].state == "note"
    assert list(tmp_path.iterdir()) == []


def test_half_a_store(backend: LocalBackend) -> None:
    """Where one half is gone the other serves, which is worth a note."""
    backend.path.unlink()
    assert found(backend)["database file"].state == "note"
    shutil.rmtree(backend.segments.folder)
    assert found(backend)["store"].state == "note"


def test_who_holds_the_database(backend: LocalBackend, held: Held) -> None:
    """Another program that holds the database is named."""
    with held(backend.path):
        check = found(backend)["database"]
    assert check.state == "note"
    assert "PID" in check.said


def test_a_file_that_is_no_database(backend: LocalBackend) -> None:
    """Something else in its place is a problem."""
    backend.path.write_text("no database", "utf-8")
    assert found(backend)["database"].state == "problem"


def test_who_is_at_work(backend: LocalBackend) -> None:
    """Who computes a key now is named; what a killed process left is nobody."""
    assert "at work" not in found(backend)
    with backend.single_flight("examined_genes", "0" * 32):
        check = found(backend)["at work"]
        assert f"examined_genes is computed by process {os.getpid()}" in check.said
    (backend.segments.folder / LOCKS / "left.json").write_text("{}", "utf-8")
    assert holders(backend.segments.folder / LOCKS) == []


@pytest.mark.parametrize(
    ("text", "subject", "state"),
    [('{"format": 99}', "formats", "note"), ("{", "entries", "problem")],
)
def test_entries_that_can_not_be_read(
    backend: LocalBackend, text: str, subject: str, state: str
) -> None:
    """An entry of a newer library is a note, one that is damaged a problem."""
    (path,) = backend.segments.entry_files("examined_genes")
    path.with_name(f"{'a' * 32}-1.json").write_text(text, "utf-8")
    assert found(backend)[subject].state == state


def test_what_is_left_and_pending(backend: LocalBackend) -> None:
    """Leftovers, damage that was set aside, and tables to be written are told."""
    (entry,) = backend.recent("examined_genes")
    folder = backend.segments.folder
    (folder / "examined_genes" / ".x.arrow.tmp").write_bytes(b"12")
    (folder / ".damaged" / "examined_genes").mkdir(parents=True)
    (folder / ".damaged" / "examined_genes" / "a.arrow").write_bytes(b"12")
    backend.segments.mark(entry, utc_now())
    checks = found(backend)
    assert checks["left over"].said == "1 files, 2 B"
    assert checks["damage"].said == "1 files were set aside, 2 B"
    assert checks["tables"].said.startswith("1 tables are to be written")


def test_a_clock_that_was_wrong(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result of the future is a problem of the clock."""
    monkeypatch.setattr(examining, "utc_now", lambda: utc_now() - timedelta(hours=1))
    assert found(backend)["clock"].state == "problem"


def test_a_full_disk(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little free space is a problem."""

    def usage(_: Any) -> Any:
        return SimpleNamespace(free=1)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert found(backend)["free space"] == Check(
        "free space", "problem", "1 B", "Make room, or let `usher prune` do it."
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/s.duckdb", "ext4"),
        ("/data/s.duckdb", "nfs4"),
        ("/data/local disk/s.duckdb", "xfs"),
        ("/database/s.duckdb", "ext4"),
    ],
)
def test_the_file_system(path: str, kind: str) -> None:
    """The nearest place that something is mounted at says what a path lies on."""
    mounts = "a / ext4 rw\nb /data nfs4 rw\nc /data/local\\040disk xfs rw\nodd\n"
    assert file_system(Path(path), mounts) == kind
