"""Keeping segments within a budget: only what a table holds as well goes, and comes back."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline import checkpoint, configure, load, run
from usher_pipeline.errors import NotPublishedError, StoreBusyError, UsherWarning
from usher_pipeline.persistence import PipelineStore, eviction, publisher
from usher_pipeline.persistence.eviction import evict, evictable, keep_house, spare
from usher_pipeline.persistence.inventory import Item, size_of
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.records import Cost, Entry, Hit, Key, utc_now

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 1, tzinfo=UTC)
LATER = timedelta(hours=2)
ONE, OTHER = "evicted_numbers", "evicted_squares"


@checkpoint(name=ONE)
def numbers(count: int = 1000) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


@checkpoint(name=OTHER)
def squares(count: int = 1000) -> pl.DataFrame:
    """Return some squares."""
    return pl.DataFrame({"n": [n * n for n in range(count)]})


@checkpoint(name="evicted_halves")
def halves() -> dict[str, pl.DataFrame]:
    """Return one frame."""
    return {"low": pl.DataFrame({"n": [1]})}


@pytest.fixture(autouse=True)
def _nobody_warned() -> None:
    """Let no test be silent because another one was warned."""
    eviction._warned.clear()


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with two checkpoints; one has an older result as well."""
    with run(store=tmp_path / "store.duckdb"):
        numbers(900)
        numbers()
        squares()
    return LocalBackend(tmp_path / "store.duckdb", timeout_s=0.1)


def taken(backend: LocalBackend, budget_bytes: int = 0) -> list[str]:
    """Evict, two hours later; return the names whose segment went."""
    return [name for name, _ in evict(backend, budget_bytes, utc_now() + LATER).places]


def segments(backend: LocalBackend) -> int:
    """Return how many segments there are."""
    return len(list(backend.segments.folder.rglob("*.arrow")))


# --- deciding ---------------------------------------------------------------------------


def item(name: str, hours: int = 9, size_bytes: int = 1, **more: Any) -> Item:
    """Return an entry whose segment was written long ago and read some hours ago."""
    entry = Entry(
        key=Key(name, "a" * 32, (), 1),
        number=more.get("number", 1),
        created_at=NOW,
        function="tests.made",
        kind=more.get("kind", "polars.DataFrame"),
        schema={},
        arrow_schema="",
        content=more.get("content", "c"),
        columns=(),
        row_count=1,
        size_bytes=size_bytes,
        cost=Cost(NOW, 0.1),
        run_id="r",
    )
    written_at = NOW - timedelta(hours=more.get("written", 99))
    used_at, disk = NOW - timedelta(hours=hours), more.get("disk", (1, id(entry)))
    return Item(entry, size_bytes, disk, used_at, written_at, more.get("is_pinned", False))


def gone(found: list[Item], budget_bytes: int = 0) -> list[str]:
    """Return the names that may go, where every table holds the content c."""
    published = {(each.entry.name, "a" * 32, "c") for each in found}
    return [each.entry.name for each in evictable(found, published, budget_bytes, NOW)]


def test_the_least_recently_used_go_first() -> None:
    """As few go as it takes, those that were not read for longest."""
    found = [item("a", 5), item("b", 7), item("c", 6)]
    assert gone(found, 3) == []
    assert gone(found, 2) == ["b"]
    assert gone(found, 1) == ["b", "c"]
    assert gone(found, 0) == ["b", "c", "a"]


STAYS: dict[str, dict[str, Any]] = {
    "content of its own": {"content": "other"},
    "pinned": {"is_pinned": True},
    "a dictionary": {"kind": "dict"},
    "just written": {"written": 1},
    "no segment": {"disk": None},
}


@pytest.mark.parametrize("why", STAYS)
def test_what_is_needed_stays(why: str) -> None:
    """Sole copies, pinned ones, lists of dictionaries and what is new stay at any budget."""
    assert gone([item("a"), item("b", **STAYS[why])]) == ["a"]


def test_a_file_of_two_entries_stays() -> None:
    """To take one of two names of a file would win nothing."""
    one = item("a")
    assert gone([one, replace(item("b"), disk=one.disk), item("c")]) == ["c"]


def test_only_the_latest_result_of_a_key_goes() -> None:
    """Of two results of one key only the latest would be found in the table."""
    found = [item("a"), item("a", number=2)]
    published = {("a", "a" * 32, "c")}
    assert evictable(found, published, 0, NOW) == [found[1]]


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.integers(0, 5))),
    st.sets(st.sampled_from("abcd")),
    st.integers(0, 30),
)
def test_no_sole_copy_ever_goes(
    drawn: list[tuple[str, int, int]], published: set[str], budget_bytes: int
) -> None:
    """What goes is published; the rest fits, or all that is published is gone."""
    found = [item(*each) for each in {each[0]: each for each in drawn}.values()]
    going = evictable(found, {(n, "a" * 32, "c") for n in published}, budget_bytes, NOW)
    assert {each.entry.name for each in going} <= published
    rest = [each for each in found if each not in going]
    if size_of(rest) > budget_bytes:
        assert not {each.entry.name for each in rest} & published
    if going:
        assert size_of([*rest, going[-1]]) > budget_bytes


# --- doing ------------------------------------------------------------------------------


def test_what_a_table_holds_goes_and_its_entry_stays(backend: LocalBackend) -> None:
    """Current results lose their segments, and still answer; the older one keeps its own."""
    assert sorted(taken(backend)) == [ONE, OTHER]
    assert segments(backend) == 1
    with run(store=backend.path):
        assert isinstance(numbers.explain(), Hit)
        assert numbers().equals(numbers.__wrapped__())
        assert load(OTHER)["n"][999] == 998_001
        assert numbers(900).height == 900


def test_what_was_read_again_is_sealed_again_and_stays(backend: LocalBackend) -> None:
    """A hit seals the evicted result anew; it is not taken again within the hour."""
    assert sorted(taken(backend)) == [ONE, OTHER]
    with run(store=backend.path):
        numbers()
    assert segments(backend) == 2
    assert evict(backend, 0).places == ()
    assert segments(backend) == 2


def test_a_changed_table_is_no_second_copy(backend: LocalBackend) -> None:
    """A table that somebody changed by SQL holds something else: its segment stays."""
    with duckdb.connect(str(backend.path)) as connection:
        connection.execute(f"UPDATE {ONE} SET n = 0 WHERE n = 7")
        connection.execute(f"DROP TABLE {OTHER}")
    assert taken(backend) == []
    assert segments(backend) == 3


def test_within_the_budget_nothing_is_looked_at(held: Any, backend: LocalBackend) -> None:
    """A store that fits is left as it is, also while others hold the database."""
    with held(backend.path):
        assert evict(backend, 10**9, utc_now() + LATER).places == ()
        with pytest.raises(StoreBusyError, match="held by"):
            taken(backend)
    assert segments(backend) == 3


def test_a_connection_that_could_change_the_table_stops_it(backend: LocalBackend) -> None:
    """While this process has the database open for SQL nothing is taken."""
    with PipelineStore(backend.path) as store:
        assert store.conn is not None
        with pytest.raises(StoreBusyError, match="a connection of this process"):
            taken(backend)
    assert segments(backend) == 3


def test_what_is_pinned_meanwhile_stays(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pin that came after it was decided holds the segment still."""
    plain = eviction.evictable

    def pinned(*arguments: Any) -> list[Item]:
        for name in (ONE, OTHER):
            backend.segments.pin(name, backend.recent(name)[0].key.digest)
        return plain(*arguments)

    monkeypatch.setattr(eviction, "evictable", pinned)
    assert taken(backend) == []


def test_a_dictionary_is_put_together_from_evicted_frames(tmp_path: Path) -> None:
    """The frames of a dictionary can go, its list stays, and the whole still answers."""
    with run(store=tmp_path / "store.duckdb"):
        halves()
    backend = LocalBackend(tmp_path / "store.duckdb")
    assert taken(backend) == ["evicted_halves__low"]
    with run(store=backend.path):
        assert isinstance(halves.explain(), Hit)
        assert halves()["low"].item() == 1


# --- before another table comes ---------------------------------------------------------


def rows_in(backend: LocalBackend) -> int:
    """Return how many rows the table has."""
    with duckdb.connect(str(backend.path)) as connection:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {ONE}").fetchall()
    return int(count)


def evicted(backend: LocalBackend) -> Entry:
    """Take what can go; return the result of 1000 rows, of which only the table is left."""
    entry = backend.recent(ONE)[0]
    assert ONE in taken(backend)
    assert backend.segments.examine(entry) is None
    return entry


CHANGES = {"another result": (5, 5), "a table": (2, 2), "more rows": (2, 1002)}


def change(backend: LocalBackend, how: str) -> None:
    """Have the table hold something else than the result of 1000 rows."""
    if how == "another result":
        with run(store=backend.path):
            numbers(5)
        return
    with PipelineStore(backend.path) as store:
        more = pl.DataFrame({"n": [1, 2]})
        store.save_dataframe(more, ONE, replace=how == "a table")


@pytest.mark.parametrize("how", CHANGES)
def test_an_evicted_result_is_sealed_again_before_its_table_goes(
    backend: LocalBackend, how: str
) -> None:
    """Whatever comes into the table, the result that only the table held still answers."""
    entry = evicted(backend)
    change(backend, how)
    assert rows_in(backend) == CHANGES[how][1]
    assert backend.segments.examine(entry)
    with run(store=backend.path):
        assert isinstance(numbers.explain(), Hit)
    packed = backend.load(entry)
    assert packed is not None
    assert packed.table.column(0).to_pylist() == list(range(1000))


def test_what_somebody_made_of_a_table_is_not_sealed(backend: LocalBackend) -> None:
    """A table that holds the result no more is no copy of it, and may go."""
    entry = evicted(backend)
    with duckdb.connect(str(backend.path)) as connection:
        connection.execute(f"UPDATE {ONE} SET n = 0 WHERE n = 7")
    change(backend, "a table")
    assert rows_in(backend) == 2
    assert backend.segments.examine(entry) is None


@pytest.mark.parametrize("how", ["another result", "a table", "more rows"])
def test_a_table_that_can_not_be_sealed_again_stays(
    backend: LocalBackend, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full, the sole copy of a result is not replaced, and it is said why."""
    entry, older = evicted(backend), backend.recent(ONE)[1]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def publish() -> None:
        backend.mean(older)
        backend.settle([ONE])

    with monkeypatch.context() as patched:
        patched.setattr(Segments, "seal", full)
        with pytest.raises(NotPublishedError, match=r"only copy of a result.*No space"):
            publish() if how == "another result" else change(backend, how)
    assert rows_in(backend) == 1000
    assert backend.recall(entry) is not None
    publish()
    assert rows_in(backend) == 900
    assert backend.segments.examine(entry)


# --- after publishing -------------------------------------------------------------------


def test_a_store_is_measured_once_a_minute(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask, one of them in a minute measures, whatever the clock does."""
    monkeypatch.setattr("usher_pipeline.persistence.segments._MEASURED_EVERY_S", 60.0)
    (backend.segments.folder / ".measured").unlink(missing_ok=True)
    asked = [backend.segments.is_to_be_measured() for _ in range(3)]
    assert asked == [True, False, False]
    for moment in (1.0, time.time() + 1000):
        os.utime(backend.segments.folder / ".measured", (moment, moment))
        assert backend.segments.is_to_be_measured()


def test_what_segments_take_is_known_without_reading_them(backend: LocalBackend) -> None:
    """The sizes of all files of segments are added up, and of nothing else."""
    paths = backend.segments.folder.rglob("*.arrow")
    assert backend.segments.size_bytes() == sum(path.stat().st_size for path in paths)


def test_computing_keeps_the_segments_in_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a result was published segments go behind the caller; the next hit has its rows."""
    monkeypatch.setattr(eviction, "_SETTLED", timedelta(days=-1))
    configure(store=tmp_path / "store.duckdb", segment_budget_bytes=0)

    @checkpoint(version="1")
    def kept() -> pl.DataFrame:
        return pl.DataFrame({"n": range(1000)})

    kept()
    store = LocalBackend(tmp_path / "store.duckdb")
    ends = time.monotonic() + 30
    while segments(store) and time.monotonic() < ends:
        time.sleep(0.01)
    assert segments(store) == 0
    assert isinstance(kept.explain(), Hit)
    assert kept()["n"].to_list() == list(range(1000))


def test_keeping_house_takes_what_is_too_much(
    held: Any, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments over the budget go; a busy database, or a file that stays, is no error."""
    monkeypatch.setattr(eviction, "_SETTLED", timedelta(days=-1))
    with held(backend.path):
        keep_house(backend, 0)
    assert segments(backend) == 3
    keep_house(backend, 10**9)
    assert segments(backend) == 3
    keep_house(backend, 0)
    assert segments(backend) == 1


def test_a_big_store_is_warned_of_once(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit one warning prints the line that makes room; below there is none."""
    keep_house(backend, 10**9)
    monkeypatch.setattr(eviction, "_WARN_BYTES", 1000)
    with pytest.warns(UsherWarning, match=r"prune\(older_than=timedelta\(days=90\)\)"):
        keep_house(backend, 10**9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_house(backend, 10**9)


def test_every_evicted_result_of_a_content_is_sealed_again(
    labelled_store: LocalBackend, labelled: Any
) -> None:
    """Of two keys with the same content the one whose segment went keeps its result."""
    entry = labelled_store.recent("labelled_numbers")[0]
    assert len(evict(labelled_store, 0, utc_now() + timedelta(hours=2)).places) == 1
    with run(store=labelled_store.path):
        labelled(3, "the same rows under another key")
        labelled(5)
    assert labelled_store.load(entry) is not None


# --- results of many items --------------------------------------------------------------


@checkpoint(name="spared_items")
def of_item(item: int, base: int = 0) -> pl.DataFrame:
    """Return a row of an item."""
    return pl.DataFrame({"item": [item + base]})


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """A store with two results of many items, whose segments are still there."""
    with monkeypatch.context() as patch:
        patch.setattr(eviction, "spare", lambda *_: None)
        with run(store=tmp_path / "mapped.duckdb"):
            of_item.mapped(over="item")([1, 2])
            of_item.mapped(over="item")([1, 2, 3])
        assert publisher.wait(tmp_path / "mapped.duckdb", 30)
    return LocalBackend(tmp_path / "mapped.duckdb", timeout_s=0.1)


def names(backend: LocalBackend) -> list[str]:
    """Return the stems of the segments that are there."""
    return sorted(path.stem for path in backend.segments.folder.glob("[!.]*/*.arrow"))


def test_of_many_items_the_table_is_enough(mapped: LocalBackend) -> None:
    """Only what the table of the name holds goes, and the result still answers."""
    newest, oldest = mapped.recent("spared_items")
    assert names(mapped) == sorted([newest.stem, oldest.stem])
    spare(mapped, "spared_items")
    assert names(mapped) == [oldest.stem]
    with run(store=mapped.path):
        assert load("spared_items")["item"].to_list() == [1, 2, 3]
        assert of_item.mapped(over="item")([1, 2, 3])["item"].to_list() == [1, 2, 3]
    spare(mapped, "spared_items")
    spare(mapped, "of which there is none")
    assert names(mapped) == [oldest.stem]


def test_a_result_of_no_map_keeps_its_segment(backend: LocalBackend) -> None:
    """Its rows are nowhere else but in the table."""
    before = names(backend)
    spare(backend, ONE)
    assert names(backend) == before


def test_what_is_pinned_keeps_its_segment(mapped: LocalBackend) -> None:
    """A pin holds for the results of maps as well."""
    newest, oldest = mapped.recent("spared_items")
    mapped.segments.pin("spared_items", newest.key.digest)
    spare(mapped, "spared_items")
    assert names(mapped) == sorted([newest.stem, oldest.stem])


def test_a_table_that_holds_something_else_is_not_enough(mapped: LocalBackend) -> None:
    """Where somebody changed the table the segment is the only copy of the result."""
    before = names(mapped)
    with duckdb.connect(str(mapped.path)) as connection:
        connection.execute("UPDATE spared_items SET item = 0 WHERE item = 1")
    spare(mapped, "spared_items")
    assert names(mapped) == before


def test_a_table_that_others_hold_is_not_waited_for(mapped: LocalBackend, held: Any) -> None:
    """Nothing goes, and nothing is raised, while the database can not be read."""
    before = names(mapped)
    with held(mapped.path):
        spare(mapped, "spared_items")
    assert names(mapped) == before
