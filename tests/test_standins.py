"""A store that stands in for those of a program: for which ones, and for how long."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import pytest

from usher_pipeline import run
from usher_pipeline.standins import StandIn, environment, standing_in, stands_in

AMONG_TEMPORARY: Final = Path(tempfile.gettempdir())
PROJECT: Final = AMONG_TEMPORARY / "project"
STAND_IN: Final = StandIn(
    str(AMONG_TEMPORARY / "own" / "store.duckdb"),
    str(AMONG_TEMPORARY / "own" / "state"),
    guarded=(str(PROJECT),),
    spared=(str(PROJECT / "tmp"),),
)


@pytest.mark.parametrize(
    ("store", "is_replaced"),
    [
        (Path.home() / "genes.duckdb", True),
        (PROJECT / ".usher" / "store.duckdb", True),
        (PROJECT / "tmp" / ".." / "store.duckdb", True),
        (PROJECT / "tmp" / "store.duckdb", False),
        (AMONG_TEMPORARY / "project of another" / "store.duckdb", False),
        (AMONG_TEMPORARY / "own" / "store.duckdb", False),
    ],
)
def test_for_which_stores_it_stands_in(store: Path, *, is_replaced: bool) -> None:
    """It stands in for all but stores among temporary files, and for all of the project."""
    assert STAND_IN.replaces(str(store)) == is_replaced


def test_a_link_out_of_the_temporary_files_is_seen(tmp_path: Path) -> None:
    """A store counts by where it really lies."""
    (tmp_path / "link").symlink_to(Path.home())
    assert STAND_IN.replaces(str(tmp_path / "link" / "store.duckdb"))


def test_it_stands_in_for_every_store_of_an_outer_run(tmp_path: Path) -> None:
    """What was in force before is not used, wherever it lies."""
    outer, inner = run(), run()
    stand_in = StandIn("s.duckdb", "state", outer=(outer,))
    assert stand_in.replaces(str(tmp_path / "store.duckdb"), outer)
    assert not stand_in.replaces(str(tmp_path / "store.duckdb"), inner)


def test_it_stands_in_while_a_block_runs() -> None:
    """It is in force in the block, told to child processes, and gone when the block fails."""
    assert stands_in() is None
    with standing_in(STAND_IN):
        assert stands_in() is STAND_IN
        assert os.environ["USHER_STORE"] == STAND_IN.store
    assert stands_in() is None
    with pytest.raises(KeyError, match="in between"), standing_in(STAND_IN):
        raise KeyError("in between")
    assert stands_in() is None
    assert "USHER_STORE" not in os.environ


def test_the_stores_of_the_program_can_be_had_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a block nothing stands in where somebody says so."""
    monkeypatch.setenv("USHER_STORE", "named.duckdb")
    with standing_in(STAND_IN):
        with standing_in(None, {"USHER_STORE": "named.duckdb"}):
            assert stands_in() is None
            assert os.environ["USHER_STORE"] == "named.duckdb"
        assert stands_in() is STAND_IN
        assert os.environ["USHER_STORE"] == STAND_IN.store
    assert os.environ["USHER_STORE"] == "named.duckdb"


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that were set, or not, are so again."""
    monkeypatch.setenv("USHER_DISABLE", "1")
    with environment({"USHER_DISABLE": None, "USHER_OFFLINE": "1"}):
        assert "USHER_DISABLE" not in os.environ
        assert os.environ["USHER_OFFLINE"] == "1"
    assert os.environ["USHER_DISABLE"] == "1"
    assert "USHER_OFFLINE" not in os.environ
