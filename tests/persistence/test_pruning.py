"""Which results may go: what no criterion names stays, and what something needs stays."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.errors import CriterionMissingError, OptionError
from usher_pipeline.persistence.inventory import Item, size_of
from usher_pipeline.persistence.pruning import Criteria, Stock, prunable
from usher_pipeline.records import Cost, Entry, Key, Read

if TYPE_CHECKING:
    from usher_pipeline.persistence.inventory import Place

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KEYS = ["a" * 32, "b" * 32]


def item(
    name: str = "genes", number: int = 1, days: float = 1, size_bytes: int = 1, **more: Any
) -> Item:
    """Return an entry that was stored some days ago, with a segment."""
    moment = NOW - timedelta(days=days)
    entry = Entry(
        key=Key(name, more.get("key", KEYS[0]), (), 1),
        number=number,
        created_at=moment,
        function="tests.made",
        kind=more.get("kind", "polars.DataFrame"),
        schema={},
        arrow_schema="",
        content=more.get("content", "c"),
        columns=(),
        row_count=1,
        size_bytes=size_bytes,
        cost=Cost(moment, 0.1),
        run_id="r",
        reads=tuple(more.get("reads", ())),
        inputs=tuple(more.get("inputs", ())),
    )
    return Item(entry, size_bytes, more.get("disk", (1, id(entry))))


def read_of(found: Item, **more: Any) -> Read:
    """Return what a function notes that read a result."""
    return Read(found.entry.name, found.entry.key.digest, found.entry.content, **more)


def gone(stock: Stock, criteria: Criteria) -> list[Place]:
    """Return what may go."""
    return [each.place for each in prunable(stock, criteria, NOW)[0]]


def series(count: int, name: str = "genes") -> list[Item]:
    """Return results of as many keys, the first the newest: one day old, two days old."""
    return [item(name, days=n, key=f"{n:032x}") for n in range(1, count + 1)]


# --- the criteria -----------------------------------------------------------------------


def test_what_is_older_goes() -> None:
    """Results that are older than the span go, the oldest first."""
    found = series(4)
    criteria = Criteria(older_than=timedelta(days=2))
    assert gone(Stock(found), criteria) == [found[3].place, found[2].place]
    assert prunable(Stock(found), criteria, NOW)[0][0].why == "older than 2 days, 0:00:00"


def test_all_but_the_latest_go() -> None:
    """Of each name so many of the newest stay."""
    found, others = series(3), series(2, "other")
    criteria = Criteria(keep_latest=1)
    assert set(gone(Stock([*found, *others]), criteria)) == {
        found[1].place,
        found[2].place,
        others[1].place,
    }


def test_the_oldest_go_until_the_rest_fits() -> None:
    """As few of the oldest go as it takes, whatever their name."""
    found = [item("a", days=3, size_bytes=5), item("b", days=2), item("c", size_bytes=5)]
    assert gone(Stock(found), Criteria(keep_bytes=6)) == [found[0].place]
    assert gone(Stock(found), Criteria(keep_bytes=11)) == []
    assert gone(Stock(found), Criteria(keep_bytes=0)) == [each.place for each in found]


def test_what_another_criterion_took_counts_for_the_size() -> None:
    """What goes for its age makes room; only what is then too much goes for the size."""
    found = [item("a", days=9, size_bytes=5), item("b", days=2, size_bytes=5), item("c")]
    criteria = Criteria(older_than=timedelta(days=5), keep_bytes=6)
    assert gone(Stock(found), criteria) == [found[0].place]


def test_a_file_of_two_results_counts_once() -> None:
    """Two results with one file take its size once, and give it free only together."""
    one, two = (
        item("a", days=2, size_bytes=5, disk=(1, 1)),
        item("b", size_bytes=5, disk=(1, 1)),
    )
    assert gone(Stock([one, two]), Criteria(keep_bytes=5)) == []
    assert gone(Stock([one, two]), Criteria(keep_bytes=4)) == [one.place, two.place]


def test_names_alone_take_all_of_a_name() -> None:
    """Names without another criterion take everything of them that may go."""
    found, other = series(2), item("other")
    criteria = Criteria(names=frozenset(("genes",)))
    stock = Stock([*found, other], {found[0].place})
    assert gone(stock, criteria) == [found[1].place]


def test_names_limit_the_other_criteria() -> None:
    """With another criterion, names say where it holds; sizes are those of the names."""
    found, other = series(3), item("other", days=99, size_bytes=99)
    names = frozenset(("genes",))
    limited = Criteria(older_than=timedelta(days=2), names=names)
    assert gone(Stock([*found, other]), limited) == [found[2].place]
    assert gone(Stock([*found, other]), Criteria(keep_bytes=2, names=names)) == [found[2].place]


@pytest.mark.parametrize(
    "criteria",
    [
        Criteria(older_than=timedelta(days=-1)),
        Criteria(keep_bytes=-1),
        Criteria(keep_latest=-1),
    ],
)
def test_a_criterion_below_zero_is_refused(criteria: Criteria) -> None:
    """A negative span or number is an error that names the option."""
    with pytest.raises(OptionError, match="expected 0 or more, got -1"):
        criteria.require()


def test_without_a_criterion_nothing_goes() -> None:
    """Who states nothing is told what can be stated."""
    with pytest.raises(CriterionMissingError, match="at least one of older_than=, keep_bytes="):
        Criteria().require()
    Criteria(names=frozenset()).require()
    Criteria(keep_latest=0).require()


# --- what stays -------------------------------------------------------------------------

EVERYTHING = Criteria(keep_latest=0)


def test_what_a_result_was_made_from_stays_with_it() -> None:
    """What a staying result read, and what was handed to it, stays, however far back."""
    first = item("first", days=9)
    second = item("second", days=8, reads=[read_of(first)])
    third = item("third", days=7, inputs=[read_of(second)])
    found = [first, second, third]
    assert gone(Stock(found, {third.place}), EVERYTHING) == []
    assert gone(Stock(found), EVERYTHING) == [each.place for each in found]
    assert prunable(Stock(found, {third.place}), EVERYTHING, NOW) == ([], 3)


def test_what_was_read_by_its_name_stays_as_well() -> None:
    """A read without a key holds the result of that content."""
    first, second = item("first", content="x"), item("first", content="y", key=KEYS[1])
    reader = item("reader", reads=[Read("first", "", "y", "name")])
    assert gone(Stock([first, second, reader], {reader.place}), EVERYTHING) == [first.place]


def test_what_was_read_of_another_store_holds_nothing_here() -> None:
    """A read of another database is none of this one."""
    first = item("first")
    reader = item("reader", reads=[read_of(first, store="../other.duckdb")])
    assert gone(Stock([first, reader], {reader.place}), EVERYTHING) == [first.place]


def test_what_is_asked_for_by_name_goes_although_it_was_read() -> None:
    """Lineage holds nothing that `names` asks for."""
    first = item("first")
    reader = item("reader", reads=[read_of(first)])
    criteria = Criteria(names=frozenset(("first",)))
    assert gone(Stock([first, reader]), criteria) == [first.place]


def test_the_frames_of_a_dictionary_stay_and_go_with_it() -> None:
    """Parts stay with their whole, and go with it unless another whole has them."""
    whole, part, shared = (
        item("w", days=3, kind="dict"),
        item("w__a", days=9),
        item("w__b", days=9),
    )
    newer = item("w", days=1, kind="dict", key=KEYS[1])
    parts = {whole.place: [part.place, shared.place], newer.place: [shared.place]}
    stock = Stock([whole, newer, part, shared], {newer.place}, parts)
    assert gone(stock, Criteria(older_than=timedelta(days=5))) == []
    old = Criteria(older_than=timedelta(days=2))
    assert gone(stock, old) == [part.place, whole.place]
    assert gone(Stock(stock.items, {whole.place}, parts), old) == []
    assert set(gone(stock, Criteria(names=frozenset("w")))) == {whole.place, part.place}


def test_a_part_is_not_taken_from_a_dictionary_by_name() -> None:
    """Asked for by its name or not, a part stays while its whole does."""
    whole, part = item("w", kind="dict"), item("w__a")
    stock = Stock([whole, part], (), {whole.place: [part.place]})
    assert gone(stock, Criteria(names=frozenset(("w__a",)))) == []


def test_an_older_result_never_answers_again() -> None:
    """The latest result of a key stays for as long as an older one of it does."""
    older, latest = item(number=1, days=2), item(number=2, days=1, size_bytes=9)
    assert gone(Stock([older, latest], {older.place}), EVERYTHING) == []
    assert gone(Stock([older, latest], {latest.place}), EVERYTHING) == [older.place]


@pytest.mark.parametrize(("kept", "going"), [(1, []), (2, [1]), (3, [1, 2]), (4, [1, 2, 3])])
def test_no_number_is_missing_above_one_that_stays(kept: int, going: list[int]) -> None:
    """Of the results of a key only those below all that stay go, so that counting up works."""
    found = [item(number=number, days=9 - number) for number in (1, 2, 3, 4)]
    stock = Stock(found, {found[kept - 1].place})
    assert gone(stock, EVERYTHING) == [found[number - 1].place for number in going]


# --- of all stores ----------------------------------------------------------------------


@st.composite
def stocks(draw: st.DrawFn) -> Stock:
    """Draw a store: results that read each other, dictionaries, files with two names."""
    numbers: Counter[tuple[str, str]] = Counter()
    found: list[Item] = []
    for _ in range(draw(st.integers(0, 8))):
        name, key = draw(st.sampled_from("abc")), draw(st.sampled_from(KEYS))
        numbers[name, key] += 1
        read = draw(st.lists(st.sampled_from(found), max_size=2)) if found else []
        made = item(
            name,
            numbers[name, key],
            draw(st.integers(0, 5)),
            key=key,
            content=draw(st.sampled_from("xy")),
            reads=[read_of(each) for each in read],
        )
        file = draw(st.integers(0, 9))
        found.append(replace(made, disk=(1, file), size_bytes=file % 5))
    if not found:
        return Stock(())
    places = st.sampled_from([each.place for each in found])
    kept = draw(st.sets(places, max_size=3))
    parts = draw(st.dictionaries(places, st.lists(places, max_size=2), max_size=2))
    return Stock(found, kept, parts)


CRITERIA = st.builds(
    Criteria,
    older_than=st.none() | st.integers(0, 5).map(lambda days: timedelta(days=days)),
    keep_bytes=st.none() | st.integers(0, 12),
    keep_latest=st.none() | st.integers(0, 3),
    names=st.none() | st.sets(st.sampled_from("abc")).map(frozenset),
)


def needed(stock: Stock, place: Place, asked: frozenset[str]) -> set[Place]:
    """Return what a result needs, found by looking at every other one."""
    (own,) = [each.entry for each in stock.items if each.place == place]
    reads = {(read.name, read.key, read.content) for read in own.reads}
    found = set(stock.parts.get(place, ()))
    for each in (item.entry for item in stock.items):
        alike = [other.entry for other in stock.items if other.entry.key == each.key]
        if each.key == own.key and each.number == max(other.number for other in alike):
            found.add((each.name, each.stem))
        same = [other for other in alike if other.content == each.content]
        is_latest = each.number == max(other.number for other in same)
        is_read = (each.name, each.key.digest, each.content) in reads
        if is_read and is_latest and each.name not in asked:
            found.add((each.name, each.stem))
    return found


@given(stocks(), CRITERIA)
def test_what_stays_has_all_it_needs(stock: Stock, criteria: Criteria) -> None:
    """Nothing that is kept goes, nor anything that a staying result needs."""
    going = set(gone(stock, criteria))
    assert not going & set(stock.kept)
    for each in stock.items:
        if each.place not in going:
            assert not needed(stock, each.place, criteria.names or frozenset()) & going


@given(stocks(), CRITERIA)
def test_what_stays_of_a_key_is_the_newest_in_a_row(stock: Stock, criteria: Criteria) -> None:
    """No number goes above one of the same key that stays."""
    going = set(gone(stock, criteria))
    lowest: dict[Key, int] = {}
    for each in sorted(stock.items, key=lambda each: each.entry.number):
        if each.place not in going:
            lowest.setdefault(each.entry.key, each.entry.number)
    for each in stock.items:
        if each.place in going:
            assert each.entry.number < lowest.get(each.entry.key, 99)


@given(stocks(), CRITERIA)
def test_only_what_may_go_goes(stock: Stock, criteria: Criteria) -> None:
    """What goes is of the names, or the part of something that goes; each is named once."""
    found, held_count = prunable(stock, criteria, NOW)
    going = [each.place for each in found]
    parts = {part for place in going for part in stock.parts.get(place, ())}
    assert len(set(going)) == len(going)
    assert held_count >= 0
    for each in found:
        assert criteria.names is None or each.name in criteria.names or each.place in parts


@given(stocks(), st.integers(0, 12))
def test_the_rest_fits_or_nothing_more_can_go(stock: Stock, keep_bytes: int) -> None:
    """The rest is no bigger than asked for, unless all of it is needed."""
    going = set(gone(stock, Criteria(keep_bytes=keep_bytes)))
    rest = [each for each in stock.items if each.place not in going]
    if size_of(rest) > keep_bytes:
        assert going == set(gone(stock, EVERYTHING))


@given(stocks(), st.integers(0, 12), st.integers(0, 12))
def test_a_smaller_store_has_lost_no_less(stock: Stock, one: int, other: int) -> None:
    """Whoever keeps fewer bytes keeps nothing that goes for more."""
    small, large = sorted((one, other))
    assert set(gone(stock, Criteria(keep_bytes=large))) <= set(
        gone(stock, Criteria(keep_bytes=small))
    )


@given(stocks(), st.integers(0, 3))
def test_the_latest_of_each_name_stay(stock: Stock, count: int) -> None:
    """Of a name that is no part as many stay as were to be kept."""
    alone = Stock(stock.items, stock.kept)
    going = Counter(name for name, _ in gone(alone, Criteria(keep_latest=count)))
    for name, number in Counter(each.entry.name for each in stock.items).items():
        assert number - going[name] >= min(count, number)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("older_than", 90, "older_than=...) expected a timedelta, got 90"),
        ("keep_bytes", "5GB", "keep_bytes=...) expected a whole number, got '5GB'"),
        ("keep_latest", True, "keep_latest=...) expected a whole number, got True"),
        ("keep_latest", 1.5, "keep_latest=...) expected a whole number, got 1.5"),
    ],
)
def test_a_criterion_is_a_quantity(option: str, value: Any, expected: str) -> None:
    """What is no length of time, and no whole number, is refused before anything goes."""
    criteria = Criteria(**{option: value})
    with pytest.raises(OptionError, match=re.escape(expected)):
        criteria.require()
