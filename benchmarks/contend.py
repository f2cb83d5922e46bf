"""What one of many processes on a store does.

A script: ``contend.py ROLE WHO ...``, in the folder of the store, where WHO is ``usher`` or
``joblib``. It tells that it is ready by a file ``ready-NAME`` and begins when there is a file
``go``. Roles:

- ``hit WHO NAME``: ask for small results that are stored until there is a file ``done``.
- ``publish WHO NAME``: store one big result and wait for its table.
- ``hold usher NAME``: hold a connection to the database until there is a file ``done``.
- ``same WHO NAME WORK_S``: ask for one result that takes work.
- ``store WHO NAME FIRST COUNT``: store so many small results of one's own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import kept
from figures import seconds_of
from fill import DEPTH, GENE
from mixed import mixed
from processes import STORE, report, seen
from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from collections.abc import Callable

GO: Final = Path("go")
DONE: Final = Path("done")
#: The lines of this file are the times that the work was done.
TALLY: Final = Path("tally")
#: How many results the hits go round, and how long each process rests after one: else the
#: cores would be what is short, and not the store.
RESULTS: Final = 20
_REST_S: Final = 0.002


def begin(name: str) -> None:
    """Say that everything is imported, and wait for the others."""
    Path(f"ready-{name}").touch()
    seen(GO)


def hit(function: Callable[..., Any], name: str) -> None:
    """Ask again and again for what is stored; report how long each call took."""
    expected = [mixed(kept.SMALL, number) for number in range(RESULTS)]
    taken_s: list[float] = []
    for number in range(RESULTS):
        assert function(GENE, number, DEPTH).equals(expected[number])
    begin(name)
    while not DONE.exists():
        number = len(taken_s) % RESULTS
        started = time.perf_counter()
        found = function(GENE, number, DEPTH)
        taken_s.append(time.perf_counter() - started)
        assert found.equals(expected[number])
        time.sleep(_REST_S)
    report(taken_s=taken_s)


def publish(function: Callable[..., Any], name: str) -> None:
    """Store one big result; wait until its table is there, if it gets one."""
    frame = mixed()
    begin(name)
    started = time.perf_counter()
    result = function(1, frame)
    if function is kept.as_polars:
        kept.published(kept.as_polars)
    report(elapsed_s=time.perf_counter() - started)
    assert result.equals(frame)


def hold(function: Callable[..., Any], name: str) -> None:
    """Hold the database, as a notebook does."""
    assert function(GENE, 0, DEPTH).height == kept.SMALL
    with PipelineStore(STORE) as store:
        rows = store.conn.execute("SELECT count(*) FROM bench_small").fetchone()
        begin(name)
        seen(DONE)
    report(rows=rows)


def same(function: Callable[..., Any], name: str, work_s: str) -> None:
    """Ask for what all the others ask for as well."""
    expected = mixed(kept.SMALL, 1)
    begin(name)
    elapsed_s = seconds_of(lambda: function(1, float(work_s), TALLY))
    report(elapsed_s=elapsed_s)
    assert function(1, float(work_s), TALLY).equals(expected)


def store(function: Callable[..., Any], name: str, first: str, count: str) -> None:
    """Store results of one's own, each a small one."""
    begin(name)
    started = time.perf_counter()
    for number in range(int(first), int(first) + int(count)):
        function(GENE, number, DEPTH)
    report(elapsed_s=time.perf_counter() - started)


ROLES: Final[dict[str, tuple[Callable[..., None], Any]]] = {
    "hit": (hit, kept.small),
    "publish": (publish, kept.as_polars),
    "hold": (hold, kept.small),
    "same": (same, kept.worked),
    "store": (store, kept.small),
}


def main(role: str, who: str, *arguments: str) -> None:
    """Do one's part."""
    act, function = ROLES[role]
    act(function if who == "usher" else kept.by_joblib(function), *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
