"""A seal tells what this user's own library wrote from what anybody else did."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, configure
from usher_pipeline.persistence import seals
from usher_pipeline.persistence.seals import is_sealed, seal

if TYPE_CHECKING:
    from usher_pipeline.records import Entry


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder for the secret, which is not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    return tmp_path / "mine" / "usher_pipeline" / "seal.key"


@pytest.fixture
def entry(state: Path) -> Entry:
    """The entry of a result that was just stored."""
    del state

    @checkpoint(name="genes")
    def genes() -> pl.DataFrame:
        return pl.DataFrame({"gene": ["USH2A"]})

    configure(store="store.duckdb")
    genes()
    (found,) = genes.entries()
    return found


def test_what_was_stored_here_is_sealed(entry: Entry, state: Path) -> None:
    """The seal holds, and its secret is for its owner alone."""
    assert is_sealed(entry)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert len(state.read_bytes()) == 32


@pytest.mark.parametrize(
    "changes",
    [
        {"segment_digest": "0" * 32},
        {"content": "0" * 32},
        {"buffer_digests": ("0" * 32,)},
        {"seal": ""},
        {"seal": "0" * 32},
    ],
)
def test_another_statement_is_not(entry: Entry, changes: dict[str, Any]) -> None:
    """Whoever changes what an entry states of its segment can not seal it."""
    assert not is_sealed(replace(entry, **changes))


def test_another_user_has_another_secret(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What one user sealed is nothing to another one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    assert not is_sealed(entry)


@pytest.mark.parametrize("what", ["short", "readable", "of another user", "no folder"])
def test_what_is_no_secret_seals_nothing(
    what: str, state: Path, monkeypatch: pytest.MonkeyPatch, entry: Entry
) -> None:
    """A secret that others can know, or that can not be kept, is as none at all."""
    seals._secret.cache_clear()
    if what == "short":
        state.write_bytes(b"short")
    elif what == "readable":
        state.chmod(0o644)
    elif what == "of another user":
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    else:
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
    assert seal(entry) == ""
    assert not is_sealed(entry)
    seals._secret.cache_clear()


def test_a_user_without_a_home_has_none(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no home for the secret, results are checked by their values."""
    monkeypatch.delenv("XDG_STATE_HOME")

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert not is_sealed(entry)


def test_the_home_is_the_place_unless_told(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A relative XDG_STATE_HOME is none, as the specification of these folders says."""
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert seal(entry)
    assert (tmp_path / ".local" / "state" / "usher_pipeline" / "seal.key").is_file()
