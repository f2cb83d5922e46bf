"""A store that stands in for those of a program: for which ones, and for how long."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from usher_pipeline import run
from usher_pipeline.errors import UsherError
from usher_pipeline.standins import StandIn, layers, standing_in, stands_in

AMONG_TEMPORARY: Final = Path(tempfile.gettempdir())
PROJECT: Final = AMONG_TEMPORARY / "project"
STAND_IN: Final = StandIn(
    str(AMONG_TEMPORARY / "own" / "store.duckdb"),
    str(AMONG_TEMPORARY / "own" / "state"),
    guarded=(str(PROJECT), str(AMONG_TEMPORARY / "single.duckdb")),
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
        (AMONG_TEMPORARY / "single.duckdb", True),
        (AMONG_TEMPORARY / "single.duckdb2", False),
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
    with standing_in(None, {"USHER_DISABLE": None, "USHER_OFFLINE": "1"}):
        assert "USHER_DISABLE" not in os.environ
        assert os.environ["USHER_OFFLINE"] == "1"
    assert os.environ["USHER_DISABLE"] == "1"
    assert "USHER_OFFLINE" not in os.environ


# --- several blocks ---------------------------------------------------------------------

OTHER: Final = StandIn("/other/store.duckdb", "/other/state")


def in_force() -> tuple[StandIn | None, str | None]:
    """Return what stands in here, and what a process would be told."""
    return stands_in(), os.environ.get("USHER_STORE")


def test_blocks_may_end_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that ends before one within it leaves that in force, and nothing behind it."""
    monkeypatch.setenv("USHER_STORE", "named.duckdb")
    outer, inner = ExitStack(), ExitStack()
    outer.enter_context(standing_in(STAND_IN))
    inner.enter_context(standing_in(OTHER))
    outer.close()
    assert in_force() == (OTHER, OTHER.store)
    inner.close()
    assert in_force() == (None, "named.duckdb")


def test_a_block_may_lie_beneath_one_that_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open already stays in force where it is said to go before a new block."""
    monkeypatch.delenv("USHER_OFFLINE", raising=False)
    with ExitStack() as outer, ExitStack() as stated:
        outer.enter_context(standing_in(STAND_IN))
        stated.enter_context(standing_in(OTHER))
        (_, other) = layers()
        outer.enter_context(standing_in(None))
        variables = {"USHER_STORE": None, "USHER_OFFLINE": "1"}
        with standing_in(None, variables, beneath=[other]):
            assert in_force() == (OTHER, OTHER.store)
            assert os.environ["USHER_OFFLINE"] == "1"
            stated.close()
            assert in_force() == (None, None)
        assert in_force() == (None, None)
    assert in_force() == (None, None)
    assert "USHER_OFFLINE" not in os.environ


# --- threads and processes --------------------------------------------------------------


def test_what_is_left_of_a_block_has_its_store() -> None:
    """A thread, or a task of a pool, that outlives its block never has another store."""
    go_on = threading.Event()
    seen: list[StandIn | None] = []

    def deeper() -> None:
        thread = threading.Thread(target=lambda: seen.append(stands_in()))
        thread.start()
        thread.join()

    def late() -> None:
        go_on.wait()
        seen.append(stands_in())
        deeper()

    with ThreadPoolExecutor(1) as pool:
        with standing_in(STAND_IN):
            thread = threading.Thread(target=late)
            thread.start()
            task = pool.submit(late)
        go_on.set()
        thread.join()
        task.result()
        assert seen == [STAND_IN] * 4
        assert pool.submit(stands_in).result() is None


CHILD: Final = "from usher_pipeline.standins import stands_in; print(stands_in())"


def said_by_child(**variables: str) -> subprocess.CompletedProcess[str]:
    """Ask a process what stands in there."""
    return subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_processes_are_told() -> None:
    """A process knows for which stores it stands in, also where it is told of another one."""
    with standing_in(STAND_IN):
        assert said_by_child(USHER_STORE="named.duckdb").stdout.strip() == str(STAND_IN)
    assert said_by_child().stdout.strip() == "None"


@pytest.mark.parametrize("told", ["nonsense", "[]", "[1, 2, 3, 4]", "7", '{"store": ""}'])
def test_what_no_test_said_is_an_error(told: str) -> None:
    """A process that can not know which store it has does nothing, and says why."""
    with pytest.raises(UsherError, match="USHER_STANDS_IN is nothing that a test said"):
        StandIn.from_text(told)
    done = said_by_child(USHER_STANDS_IN=told)
    assert done.returncode != 0
    assert "Unset it: only tests set it." in done.stderr
