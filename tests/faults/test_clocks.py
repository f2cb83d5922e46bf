"""A clock that jumps makes no older result the newer one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pytest

from usher_pipeline import checkpoint, configure, records
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend, resolved

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

STORE: Final = Path("store.duckdb")
#: Every module that asks for the time.
WHO_ASK: Final = (
    "calls",
    "exporting",
    "results",
    "runs",
    "persistence.duckdb_store",
    "persistence.flights",
    "persistence.local",
    "persistence.segments",
    "persistence.tables",
)


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """What sets the clock, by so much against the true time."""
    plain = records.utc_now

    def to(shift: timedelta) -> None:
        def now() -> datetime:
            return plain() + shift

        for module in WHO_ASK:
            monkeypatch.setattr(f"usher_pipeline.{module}.utc_now", now)

    return to


@pytest.mark.parametrize(
    "shift", [timedelta(days=-30), timedelta(hours=-1), timedelta(days=30)], ids=str
)
def test_what_was_computed_last_answers(
    jump: Callable[[timedelta], None], shift: timedelta
) -> None:
    """After a jump the result that was computed last is returned, by call, name and SQL."""
    made: list[int] = []

    @checkpoint(name="clocked", version="1", ignore=["made"])
    def clocked(made: Any = made) -> pl.DataFrame:
        made.append(len(made))
        return pl.DataFrame({"n": [made[-1]]})

    configure(store=STORE)
    assert clocked.refresh()["n"].to_list() == [0]
    jump(shift)
    assert clocked.refresh()["n"].to_list() == [1]
    jump(timedelta(0))
    assert clocked()["n"].to_list() == [1]
    assert clocked.refresh()["n"].to_list() == [2]
    assert clocked()["n"].to_list() == [2]
    with PipelineStore(STORE) as store:
        assert store.load_dataframe("clocked")["n"].to_list() == [2]
        assert store.verify().is_whole
    backend = LocalBackend(resolved(STORE))
    (entry,) = backend.recent("clocked")
    assert entry.number == 3
