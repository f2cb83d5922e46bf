"""What every store has to do, whatever it is made of; each test runs for each of them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import polars as pl
import polars.testing
import pytest

from usher_pipeline.errors import CheckpointCycleError, CheckpointNameError
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.frames import Packed, adapter_for, adapter_of_kind
from usher_pipeline.persistence.entries import schema_text
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import Acceptance, Column, Cost, Entry, Key, Read, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usher_pipeline.persistence.backend import Backend

#: Store → what opens it in a folder, as another process would.
BACKENDS: Final[dict[str, Callable[[Path], Backend]]] = {
    "local": lambda folder: LocalBackend(folder / "store.duckdb"),
}
NAME: Final = "contract_genes"
KEY: Final = "0a" * 16
OTHER: Final = "0b" * 16


@pytest.fixture(params=BACKENDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backend]:
    """What opens one store again and again."""
    make = BACKENDS[request.param]
    return lambda: make(tmp_path)


@pytest.fixture
def backend(opened: Callable[[], Backend]) -> Backend:
    """An empty store."""
    return opened()


def genes(rows: int = 3) -> pl.DataFrame:
    """Return a frame with texts, and with what is missing."""
    texts = [f"gene {n}" if n % 2 else None for n in range(rows)]
    data = {"row": range(rows), "gene": texts}
    return pl.DataFrame(data, schema={"row": pl.Int64, "gene": pl.String})


def made(frame: Any, key: str = KEY, name: str = NAME, **more: Any) -> tuple[Entry, Packed]:
    """Return a frame as it is stored, with an entry that tells the truth about it."""
    adapter = adapter_for(frame)
    assert adapter is not None
    packed = adapter.to_arrow(frame)
    digests = column_digests(packed.table)
    described = [*adapter.describe(frame), ("index", "index")]
    columns = [
        Column(label, kind, digest)
        for (label, kind), digest in zip(described, digests, strict=False)
    ]
    entry = Entry(
        key=Key(name, key, (), 1),
        number=1,
        created_at=utc_now(),
        function="tests.made",
        kind=packed.kind,
        schema=packed.schema,
        arrow_schema=schema_text(packed.table.schema),
        content=combine(packed.kind, packed.schema, digests),
        columns=tuple(columns),
        row_count=len(frame),
        size_bytes=packed.table.nbytes,
        cost=Cost(utc_now(), 0.1),
        run_id="r",
        **more,
    )
    return entry, packed


def restored(backend: Backend, entry: Entry) -> Any:
    """Return the frame of an entry; None if it is lost."""
    packed = backend.load(entry)
    if packed is None:
        return None
    return adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)


# --- storing and finding ----------------------------------------------------------------


def test_an_empty_store_has_nothing_and_looking_makes_nothing(
    backend: Backend, tmp_path: Path
) -> None:
    """Each way to look says that there is nothing, and leaves no file behind."""
    assert backend.find(NAME, KEY) is None
    assert backend.recent(NAME) == []
    assert backend.current(NAME) is None
    assert backend.names() == []
    assert backend.table_version(NAME) == ""
    backend.check(NAME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frame",
    [
        genes(),
        genes(0),
        pl.DataFrame({"n": [[1], None], "d": [None, 2.5]}),
        pd.DataFrame({"n": [1, 2]}, index=pd.Index(["a", "b"], name="gene")),
    ],
    ids=["texts", "no rows", "lists", "pandas"],
)
def test_what_is_saved_comes_back(opened: Callable[[], Backend], frame: Any) -> None:
    """Whoever opens the store finds the entry as it was returned, and the very frame."""
    saved = opened().save(*made(frame))
    other = opened()
    found = other.find(NAME, KEY)
    assert found == saved
    assert saved.number == 1
    assert other.names() == [NAME]
    back = restored(other, saved)
    assert type(back) is type(frame)
    if isinstance(frame, pl.DataFrame):
        polars.testing.assert_frame_equal(back, frame)
    else:
        pd.testing.assert_frame_equal(back, frame)


def test_the_latest_result_of_a_key_counts(opened: Callable[[], Backend]) -> None:
    """A second result gets the next number; the first one can still be had by its content."""
    backend = opened()
    first = backend.save(*made(genes(2)))
    second = backend.save(*made(genes(3)))
    assert (first.number, second.number) == (1, 2)
    assert opened().find(NAME, KEY) == second
    assert opened().find(NAME, KEY, first.content) == first
    assert restored(opened(), first).height == 2


def test_recent_results_are_those_of_each_key(backend: Backend) -> None:
    """Of each key the latest is listed, newest first."""
    backend.save(*made(genes(1), OTHER))
    older = backend.save(*made(genes(2), OTHER))
    newer = backend.save(*made(genes(3)))
    assert backend.recent(NAME) == [newer, older]
    assert backend.recent(NAME, 1) == [newer]
    assert backend.recent("another") == []


def test_rows_may_come_one_after_another(opened: Callable[[], Backend]) -> None:
    """What was spooled is stored as if it had come at once."""
    backend = opened()
    entry, packed = made(genes(5))
    spool = backend.spool(NAME, packed.kind, packed.table.schema)
    for begin in range(5):
        spool.write(packed.table.slice(begin, 1))
    spool.close()
    saved = backend.save(entry, Packed(spool.table(), packed.schema, packed.kind), spool)
    polars.testing.assert_frame_equal(restored(opened(), saved), genes(5))


def test_columns_can_be_read_one_by_one(backend: Backend) -> None:
    """Who scans gets the columns that are asked for, in that order."""
    saved = backend.save(*made(genes(4)))
    source = backend.scan(saved)
    assert source is not None
    assert source.row_count == 4
    assert source.columns([1]).num_columns == 1
    assert source.columns([1, 0]).column(1).to_pylist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["", "_checkpoints", "a\0b", None])
def test_a_name_that_can_not_be_is_refused_before(backend: Backend, name: Any) -> None:
    """What saving would refuse, checking refuses, before anything runs."""
    with pytest.raises(CheckpointNameError, match="can not name a checkpoint"):
        backend.check(name)


# --- names, and their tables ------------------------------------------------------------


def test_a_name_means_what_was_saved_last(opened: Callable[[], Backend]) -> None:
    """The result that was saved last is current at once, and its table follows."""
    backend = opened()
    backend.save(*made(genes(2), OTHER))
    saved = backend.save(*made(genes(3)))
    assert backend.current(NAME) == saved
    assert backend.publish()
    assert opened().current(NAME) == saved
    assert opened().table_version(NAME, published=True) == saved.content


def test_a_name_can_mean_an_older_result(opened: Callable[[], Backend]) -> None:
    """Whoever means an older result makes it the current one, and its table the plain one."""
    backend = opened()
    older = backend.save(*made(genes(2), OTHER))
    backend.save(*made(genes(3)))
    assert backend.publish()
    changes = backend.table_changes(NAME)
    backend.mean(older)
    backend.settle([NAME])
    assert opened().current(NAME) == older
    assert opened().table_version(NAME, published=True) == older.content
    assert opened().table_changes(NAME) == changes + 1


def test_an_older_meaning_does_not_overtake(backend: Backend) -> None:
    """What was meant earlier does not take the table from what was meant later."""
    older = backend.save(*made(genes(2), OTHER))
    before = utc_now()
    newer = backend.save(*made(genes(3)))
    assert backend.publish()
    backend.mean(older, before)
    assert backend.publish()
    assert backend.table_version(NAME, published=True) == newer.content


def test_listings_have_versions(backend: Backend) -> None:
    """The version of a listing changes with what is listed, and with nothing else."""
    entry, packed = made(genes(2))
    backend.save(entry, packed)
    assert backend.publish()
    before = backend.entries_version(NAME), backend.listing_version()
    assert before == (backend.entries_version(NAME), backend.listing_version())
    backend.save(*made(genes(3), OTHER))
    assert backend.publish()
    after = backend.entries_version(NAME), backend.listing_version()
    assert before[0] != after[0]
    assert before[1] != after[1]


# --- what holds for newer code, and what goes -------------------------------------------


def test_a_result_can_be_one_of_a_newer_key(opened: Callable[[], Backend]) -> None:
    """An accepted result answers both keys, and one of them can go alone."""
    backend = opened()
    saved = backend.save(*made(genes(3)))
    statement = Acceptance(utc_now(), KEY, ("helper changed",), "accept()")
    accepted = backend.accept(saved, replace(saved.key, digest=OTHER), statement)
    assert opened().find(NAME, OTHER) == accepted
    assert accepted.accepted == (statement,)
    backend.forget(saved)
    assert opened().find(NAME, KEY) is None
    polars.testing.assert_frame_equal(restored(opened(), accepted), genes(3))


def test_a_key_is_forgotten_with_all_its_results(opened: Callable[[], Backend]) -> None:
    """Of a key that is forgotten nothing is left; the other keys of the name stay."""
    backend = opened()
    backend.save(*made(genes(1)))
    last = backend.save(*made(genes(2)))
    kept = backend.save(*made(genes(3), OTHER))
    assert backend.publish()
    backend.forget(last)
    assert opened().find(NAME, KEY) is None
    assert opened().recent(NAME) == [kept]


def test_a_name_is_cleared_alone(opened: Callable[[], Backend]) -> None:
    """Clearing removes results and table of one name, and says how many results there were."""
    backend = opened()
    backend.save(*made(genes(1)))
    backend.save(*made(genes(2), OTHER))
    kept = backend.save(*made(genes(3), name="another"))
    assert backend.publish()
    assert backend.clear(NAME) == 2
    assert opened().names() == ["another"]
    assert opened().table_version(NAME) == ""
    assert opened().find("another", KEY) == kept
    assert backend.clear(NAME) == 0


def test_lineage_leads_back(backend: Backend) -> None:
    """The steps of a result are those of what it was made of, and its own, which is last."""
    first = backend.save(*made(genes(1)))
    read = Read(NAME, KEY, first.content)
    second = backend.save(*made(genes(2), name="another", reads=(read,)))
    steps = backend.lineage(second)
    assert [step["step_name"] for step in steps] == [NAME, "another"]
    backend.clear(NAME)
    gone, own = backend.lineage(second)
    assert gone["timestamp"] is None
    assert own["step_name"] == "another"


# --- one at a time ----------------------------------------------------------------------


def test_one_computes_and_others_wait(opened: Callable[[], Backend]) -> None:
    """Inside of a key there is one caller at a time, whoever opened the store."""
    inside, most, lock = [0], [0], threading.Lock()

    def work(_: int) -> None:
        with opened().single_flight(NAME, KEY):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            os.sched_yield()
            with lock:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert most == [1]


def test_other_keys_are_free_and_the_own_is_a_circle(backend: Backend) -> None:
    """A caller inside one key may enter another one, and not its own again."""
    with (
        backend.single_flight(NAME, KEY),
        backend.single_flight(NAME, OTHER),
        pytest.raises(CheckpointCycleError, match=f"{NAME} → {NAME} → {NAME}"),
        backend.single_flight(NAME, KEY),
    ):
        raise AssertionError("the circle was entered")
    with backend.single_flight(NAME, KEY):
        assert True
