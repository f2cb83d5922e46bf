"""What is stored of a map: what was committed comes back exactly, and nothing else does."""

from __future__ import annotations

import json
import random
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from usher_pipeline.errors import UsherError
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.frames import Packed, adapter_for
from usher_pipeline.persistence import mapparts, maps
from usher_pipeline.persistence.mapindex import Index
from usher_pipeline.persistence.mapparts import Answer, DamagedRows
from usher_pipeline.persistence.maps import (
    VERSIONED,
    MapStatement,
    StoredMap,
    code_of,
    every_map,
    maps_of,
)
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.records import Acceptance, Key, Part, Read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NAME: Final = "genes"
DIGEST: Final = "0123456789abcdef" * 2
CODES: Final = ("a" * 32, "b" * 32, VERSIONED)
HELD: Final = frozenset(CODES)
AT: Final = datetime(2026, 2, 16, 12, tzinfo=UTC)
KEY: Final = Key(NAME, DIGEST, (Part("argument", "year", "d" * 32, "2000"),), 1)
READS: Final = (Read("universe", "k" * 32, "c" * 32),)


def item_of(number: int) -> str:
    """Return the digest of an item."""
    return f"{number:032x}"


def packed(frame: Any) -> Packed:
    """Return a frame as it is stored."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return adapter.to_arrow(frame)


def unpacked(found: Packed) -> Any:
    """Return the frame that was stored."""
    frame = adapter_for(pl.DataFrame() if found.kind.startswith("polars") else pd.DataFrame())
    assert frame is not None
    return frame.from_arrow(found.table, found.schema)


def answer(number: int, at: int, **facts: Any) -> Answer:
    """Return what is known of an item."""
    plain = Answer(item_of(number), json.dumps(number), 0, CODES[0], (), 0.5, at)
    return plain._replace(**facts)


def failed(number: int, at: int, **facts: Any) -> Answer:
    """Return that an item failed."""
    return answer(number, at, error=("ValueError", f"bad {number}"), attempts=3, **facts)


def rows_of(answers: Sequence[Answer]) -> pl.DataFrame:
    """Return rows that say of which answer they are."""
    rows = [(each.item, each.at, k) for each in answers for k in range(each.row_count)]
    schema = {"item": pl.String, "at": pl.Int64, "k": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def commit(stored: StoredMap, *answers: Answer) -> None:
    """Commit answers with the rows that belong to them."""
    with_frame = any(each.error is None for each in answers)
    stored.add(packed(rows_of(answers)) if with_frame else None, answers)


def fetched(stored: StoredMap, answers: Sequence[Answer]) -> pl.DataFrame:
    """Return the rows of answers, block by block."""
    blocks = stored.blocks(answers)
    found: pl.DataFrame = pl.concat([unpacked(stored.rows(block)) for block in blocks])
    return found


def every_answer(stored: StoredMap) -> list[Answer]:
    """Return what is known of all items."""
    return [each for known in stored.index().answers.values() for each in known.values()]


def names_in(stored: StoredMap) -> list[str]:
    """Return the names of the files of a map, in order."""
    return sorted(path.name for path in stored.folder.iterdir())


def parts_in(stored: StoredMap) -> list[str]:
    """Return which parts there are, as their files of items say."""
    return [name[:-6] for name in names_in(stored) if name.endswith(".items")]


def again(stored: StoredMap) -> StoredMap:
    """Return the same map as somebody else sees it."""
    return StoredMap(stored.segments, stored.name, stored.digest)


@pytest.fixture
def stored(tmp_path: Path) -> StoredMap:
    """A map of which nothing is known yet."""
    found = StoredMap(Segments(tmp_path / "store.checkpoints"), NAME, DIGEST)
    found.begin(KEY, "gene", AT)
    return found


@contextmanager
def fresh() -> Iterator[StoredMap]:
    """Give a map in a folder of its own; hypothesis asks for many in one test."""
    with tempfile.TemporaryDirectory() as folder:
        found = StoredMap(Segments(Path(folder) / "store.checkpoints"), NAME, DIGEST)
        found.begin(KEY, "gene", AT)
        yield found


def test_code_that_a_version_stands_for_has_a_name() -> None:
    """Of a key without code the code is called by a word that no digest is."""
    assert code_of(KEY) == VERSIONED
    assert code_of(replace(KEY, code=CODES[0])) == CODES[0]


def model(committed: Sequence[Answer]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return answers and failures by item and code, as a dictionary knows them."""
    answers: dict[tuple[str, str], Answer] = {}
    failures: dict[tuple[str, str], Answer] = {}
    for each in committed:
        place = each.item, each.code
        if each.error is None:
            answers[place] = each
            failures.pop(place, None)
        else:
            failures[place] = each
    return answers, failures


def plain(found: dict[str, dict[str, Answer]]) -> dict[tuple[str, str], Answer]:
    """Return what an index says, without where the rows lie."""
    return {
        (item, code): each._replace(start=0, part="")
        for item, of_item in found.items()
        for code, each in of_item.items()
    }


def require_known(stored: StoredMap, committed: Sequence[Answer]) -> None:
    """Assert that exactly what was committed is known, and that all rows are its own."""
    index = stored.index()
    answers, failures = model(committed)
    assert plain(index.answers) == answers
    assert plain(index.failures) == failures
    assert index.latest == max((each.at for each in committed), default=0)
    every = [each for of_item in index.answers.values() for each in of_item.values()]
    if every:
        random.Random(len(every)).shuffle(every)  # noqa: S311
        assert fetched(stored, every).equals(rows_of(every))


#: What happens to a map: a commit, a call that ends, another process that goes on, or one
#: that is killed on the way.
ANSWERS: Final = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(CODES),
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from([(), READS]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda each: each[:2],
)
STEPS: Final = st.lists(
    st.one_of(ANSWERS, st.sampled_from(["tidy", "again", "killed early", "killed late"])),
    max_size=30,
)


SMALL: Final = st.sampled_from([0, 3000, 1 << 20])


class _Killed(BaseException):
    """Stands for the end of a process."""


@contextmanager
def dying(at_write: int) -> Iterator[None]:
    """Die before the n-th file of rows or items is written."""
    plain_write, count = mapparts._write, 0

    def counted(path: Path, table: pa.Table) -> int:
        nonlocal count
        count += 1
        if count == at_write:
            # What is half written has the name of a temporary file.
            path.with_name(".0a.arrow.tmp").write_bytes(b"ARROW1")
            raise _Killed("killed")
        return plain_write(path, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapparts, "_write", counted)
        with pytest.raises(_Killed, match="killed"):
            yield


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=STEPS, level=st.sampled_from([2, 3, 16]), small=st.sampled_from([0, 3000, 1 << 20])
)
@example(steps=[[(0, CODES[0], None, ())]] * 3 + ["tidy"], level=2, small=1 << 20)
@example(steps=[[(0, CODES[0], 0, ())]] * 3 + ["tidy"], level=2, small=1 << 20)
def test_any_commits_are_what_a_dictionary_knows(
    steps: list[Any], level: int, small: int
) -> None:
    """The index, and the rows in any order, are those of all commits that came to an end."""
    with fresh() as begun, pytest.MonkeyPatch.context() as patch:
        stored = begun
        patch.setattr(maps, "_LEVEL_PARTS", level)
        patch.setattr(maps, "_SMALL_BYTES", small)
        committed: list[Answer] = []
        at = 0
        for step in steps:
            if step == "tidy":
                stored.tidy()
            elif step == "again":
                stored = again(stored)
            elif isinstance(step, str):
                lost = [answer(9, 10**9, row_count=1)]
                with dying(1 if step == "killed early" else 2):
                    commit(stored, *lost)
                stored = again(stored)
            else:
                made = []
                for number, code, count, reads in step:
                    at += 1
                    facts: dict[str, Any] = {"code": code, "reads": reads}
                    if count is None:
                        made.append(failed(number, at, **facts))
                    else:
                        made.append(answer(number, at, row_count=count, **facts))
                commit(stored, *made)
                committed += made
            require_known(stored, committed)
        require_known(again(stored), committed)


def test_what_is_said_twice_counts_as_it_was_said_last(stored: StoredMap) -> None:
    """A commit that was told to have failed comes again, and the rows are the later ones."""
    commit(stored, answer(1, 5, row_count=2))
    commit(stored, answer(1, 5, row_count=1))
    (found,) = stored.index().answers[item_of(1)].values()
    assert (found.row_count, found.part) == (1, "00000002-00000002")


# --- the statement ----------------------------------------------------------------------


def statement_of(**facts: Any) -> MapStatement:
    """Return what a map is, with a statement on older code and a refresh that was begun."""
    accepted = ((CODES[0], Acceptance(AT, CODES[1], ("f() changed",), "accept()")),)
    return replace(MapStatement(KEY, "gene", AT, accepted, ("e" * 32, 7)), **facts)


def test_a_statement_survives_its_file(stored: StoredMap) -> None:
    """What is stated is read back equal, by whoever looks."""
    for statement in (statement_of(), statement_of(accepted=(), refresh=None)):
        stored.state(statement)
        assert again(stored).statement == statement
    assert stat.S_IMODE((stored.folder / "map.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.folder.stat().st_mode) == 0o700


def test_what_a_map_is_is_said_once(stored: StoredMap) -> None:
    """Whoever begins a map that is there gets what was said before."""
    later = stored.begin(replace(KEY, name="other"), "disease", AT + timedelta(1))
    assert later == MapStatement(KEY, "gene", AT)


def test_the_codes_that_hold_are_those_that_were_accepted() -> None:
    """A code holds for itself, and for those that it was accepted for."""
    statement = statement_of()
    assert statement.holding_for(CODES[0]) == {CODES[0], CODES[1]}
    assert statement.holding_for(CODES[1]) == {CODES[1]}


FLOATS: Final = st.floats(allow_nan=False, allow_infinity=False)
JSON: Final = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), FLOATS, st.text(max_size=5)),
        st.sampled_from([2**80, "2026-02-16T12:00:00+00:00", "9999-12-31T23:59:59-23:59"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def replaced(data: Any, path: Sequence[Any], value: Any) -> Any:
    """Return plain data with something else in one place."""
    if not path:
        return value
    found = data.copy()
    found[path[0]] = replaced(found[path[0]], path[1:], value)
    return found


def places(data: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path to everything inside of plain data."""
    yield ()
    held = (
        data
        if isinstance(data, dict)
        else dict(enumerate(data if isinstance(data, list) else ()))
    )
    for name, inner in held.items():
        for path in places(inner):
            yield (name, *path)


STATED: Final = json.loads(json.dumps(statement_of().to_json()))


@settings(max_examples=300)
@given(path=st.sampled_from(list(places(STATED))), value=JSON)
@example(path=("begun_at",), value="9999-12-31T23:59:59-23:59")
@example(path=("refresh", 1), value="seven")
@example(path=("key", "name"), value="")
def test_an_odd_statement_is_none_or_is_of_its_types(path: tuple[Any, ...], value: Any) -> None:
    """Whatever stands in the file, no error comes of it, and no text is anything else."""
    with fresh() as stored:
        (stored.folder / "map.json").write_text(json.dumps(replaced(STATED, path, value)))
        found = stored.statement
        if found is not None:
            assert isinstance(found.over, str)
            assert found.begun_at.tzinfo is not None
            assert all(isinstance(each, str) for each in found.holding_for(CODES[0]))
            assert found.refresh is None or isinstance(found.refresh[1], int)
            json.dumps(found.to_json())
        for folder, each in every_map(stored.segments):
            assert folder == stored.folder
            assert each is not None
        maps_of(stored.segments, NAME, "gene")


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "{", "[]", "null", "\0", '{"format": 1}', '{"key": "\\ud800"}']
)
def test_a_file_that_is_no_statement_is_none(stored: StoredMap, text: str) -> None:
    """A file of anything else says nothing, and the map is begun anew."""
    (stored.folder / "map.json").write_text(text)
    (stored.folder / f"{CODES[0]}.code.json").write_text(text)
    assert stored.statement is None
    assert stored.code(CODES[0]) is None
    assert list(every_map(stored.segments)) == []
    stored.begin(KEY, "gene", AT)
    assert again(stored).statement == MapStatement(KEY, "gene", AT)


# --- the code ---------------------------------------------------------------------------


def test_the_code_of_answers_is_known(stored: StoredMap) -> None:
    """A key is stored with its code, once; a version needs none."""
    key = replace(KEY, code=CODES[0])
    stored.know(key)
    before = (stored.folder / f"{CODES[0]}.code.json").stat().st_mtime_ns
    stored.know(key)
    assert (stored.folder / f"{CODES[0]}.code.json").stat().st_mtime_ns == before
    stored.know(KEY)
    assert stored.code(CODES[0]) == key
    assert stored.code(VERSIONED) == KEY
    assert stored.code(CODES[1]) is None


@pytest.mark.parametrize("digest", ["../map", "\0", "x" * 5000, "", "\ud800"])
def test_code_of_any_name_is_looked_for_without_harm(stored: StoredMap, digest: str) -> None:
    """A code is called what a file says; what is no code is not known."""
    assert stored.code(digest) is None


def test_a_key_under_the_name_of_another_code_is_none(stored: StoredMap) -> None:
    """A file that says another code than its name is not believed."""
    stored.know(replace(KEY, code=CODES[0]))
    (stored.folder / f"{CODES[0]}.code.json").rename(stored.folder / f"{CODES[1]}.code.json")
    assert stored.code(CODES[1]) is None


CODE: Final = json.loads(json.dumps(replace(KEY, code=CODES[0]).to_json()))


@given(path=st.sampled_from(list(places(CODE))), value=JSON)
def test_an_odd_code_is_none_or_is_of_its_types(path: tuple[Any, ...], value: Any) -> None:
    """Whatever stands in the file of a code, no error comes of it."""
    with fresh() as stored:
        file = stored.folder / f"{CODES[0]}.code.json"
        file.write_text(json.dumps(replaced(CODE, path, value)))
        found = stored.code(CODES[0])
        assert found is None or found.code == CODES[0]


# --- rows -------------------------------------------------------------------------------


def test_rows_come_in_the_order_that_is_asked_for(stored: StoredMap) -> None:
    """Rows of several parts come in any order, one twice if it is asked for twice."""
    commit(stored, answer(1, 1, row_count=2), answer(2, 2), answer(3, 3, row_count=1))
    commit(stored, answer(4, 4, row_count=3))
    known = {each.item: each for of in stored.index().answers.values() for each in of.values()}
    wanted = [known[item_of(number)] for number in (4, 2, 1, 3, 1)]
    assert fetched(stored, wanted).equals(rows_of(wanted))


def test_blocks_are_as_many_answers_as_memory_is_for(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block is much more than its size, none is empty but the only one, none is lost."""
    commit(stored, *(answer(number, number, row_count=number % 3) for number in range(20)))
    answers = [each for of in stored.index().answers.values() for each in of.values()]
    (whole,) = stored.blocks(answers)
    assert whole == [each for each in answers if each.row_count]
    monkeypatch.setattr(maps, "_BLOCK_BYTES", 1)
    blocks = stored.blocks(answers)
    assert [len(block) for block in blocks] == [1] * len(whole)
    assert [each for block in blocks for each in block] == whole
    assert fetched(stored, answers).equals(rows_of(answers))
    assert stored.blocks([]) == [[]]
    assert stored.blocks([each for each in answers if not each.row_count]) == [[]]


def test_of_no_rows_there_are_the_columns(stored: StoredMap) -> None:
    """Of items without rows there is the frame with the most columns that came."""
    stored.add(packed(pl.DataFrame()), [answer(1, 1)])
    assert unpacked(stored.rows([])).shape == (0, 0)
    assert stored.example(every_answer(stored)) is None
    commit(stored, answer(2, 2))
    assert unpacked(stored.rows([])).equals(rows_of([]))
    assert stored.example(every_answer(stored)) is None
    commit(stored, answer(3, 3, row_count=2))
    shown = stored.example(every_answer(stored))
    assert shown is not None
    assert unpacked(shown).equals(rows_of([]))


def test_the_columns_are_those_of_the_code_that_is_asked_for(stored: StoredMap) -> None:
    """Other code, and answers of before a refresh, may have other columns."""
    commit(stored, answer(1, 1, row_count=1))
    other = pl.DataFrame({"other": [1.5]})
    stored.add(packed(other), [answer(2, 2, row_count=1, code=CODES[1])])
    of_code = stored.index().answers.values()
    for code, columns in ((CODES[0], ["item", "at", "k"]), (CODES[1], ["other"])):
        shown = stored.example(each[code] for each in of_code if code in each)
        assert shown is not None
        assert unpacked(shown).columns == columns
    later = pl.DataFrame({"later": [1]})
    stored.add(packed(later), [answer(3, 3, row_count=1, code=CODES[1])])
    shown = stored.example(every_answer(stored))
    assert shown is not None
    assert unpacked(shown).columns == ["later"]


def test_rows_of_other_columns_stay_in_parts_of_their_own(stored: StoredMap) -> None:
    """What has the columns of other code is not put together with the rest, which is."""
    stored.add(packed(pl.DataFrame({"other": [1.5]})), [answer(1, 1, row_count=1)])
    made = [answer(n, n, row_count=1, code=CODES[1]) for n in (2, 3, 4)]
    for each in made:
        commit(stored, each)
    stored.tidy()
    assert parts_in(stored) == ["00000001-00000001", "00000002-00000004"]
    index = again(stored).index()
    known = [best for n in (4, 2) if (best := index.best(item_of(n), HELD)) is not None]
    assert fetched(again(stored), known).equals(rows_of([made[2], made[0]]))


def test_of_failures_alone_there_are_no_columns(stored: StoredMap) -> None:
    """Where no frame came nobody knows the columns; the error names no part."""
    commit(stored, failed(1, 1))
    assert stored.example(every_answer(stored)) is None
    with pytest.raises(DamagedRows, match=r"^$"):
        stored.rows([])


def test_parts_that_were_read_last_are_held_within_bounds(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is read once while there is room, and dropped for another where there is none."""
    for number in range(1, 5):
        commit(stored, answer(number, number, row_count=10))
    one = packed(rows_of([answer(1, 1, row_count=10)])).table.nbytes
    monkeypatch.setattr(maps, "_HELD_BYTES", 2 * one)
    reader = again(stored)
    answers = [each for of in reader.index().answers.values() for each in of.values()]
    for each in answers:
        reader.rows([each])
        assert reader._held_bytes == sum(held.table.nbytes for held in reader._held.values())
        assert reader._held_bytes <= 2 * one
    assert [stem for stem, _ in reader._held] == ["00000003-00000003", "00000004-00000004"]
    assert fetched(reader, answers).equals(rows_of(answers))


def test_rows_of_pandas_and_of_dictionaries_are_put_together(stored: StoredMap) -> None:
    """Each commit may bring words of its own; rows that are counted are counted anew."""
    frames = [
        pd.DataFrame({"n": [1, 2], "c": pd.Categorical(["x", "y"], categories=["y", "x"])}),
        pd.DataFrame({"n": [3], "c": pd.Categorical(["x"], categories=["y", "x"])}),
    ]
    for number, frame in enumerate(frames, 1):
        stored.add(packed(frame), [answer(number, number, row_count=len(frame))])
    reader = again(stored)
    answers = [each for of in reader.index().answers.values() for each in of.values()]
    found = unpacked(reader.rows(answers[::-1]))
    pd.testing.assert_frame_equal(found, pd.concat(frames[::-1], ignore_index=True))
    stored.tidy()
    assert parts_in(stored) == ["00000001-00000002"]
    answers = [each for of in stored.index().answers.values() for each in of.values()]
    found = unpacked(again(stored).rows(answers))
    pd.testing.assert_frame_equal(found, pd.concat(frames, ignore_index=True))


# --- putting together -------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(level=st.integers(2, 6), count=st.integers(0, 60))
def test_there_are_few_parts_however_many_commits(level: int, count: int) -> None:
    """Fewer than a level holds of each level, and each commit stands in one part."""
    with fresh() as stored, pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "_LEVEL_PARTS", level)
        for number in range(1, count + 1):
            commit(stored, answer(number, number, row_count=1))
            levels, rest = 0, number
            while rest:
                levels, rest = levels + 1, rest // level
            assert len(parts_in(stored)) <= levels * (level - 1)
        numbers = [tuple(map(int, part.split("-"))) for part in parts_in(stored)]
        covered = [n for first, last in numbers for n in range(first, last + 1)]
        assert covered == list(range(1, count + 1))


def test_to_put_together_never_takes_long(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is written again once for each level, however many come after it."""
    monkeypatch.setattr(maps, "_LEVEL_PARTS", 2)
    written: list[int] = []
    plain_table = mapparts._items_table

    def counted(answers: Sequence[Answer], about: Any) -> pa.Table:
        written.append(len(answers))
        return plain_table(answers, about)

    monkeypatch.setattr(mapparts, "_items_table", counted)
    for number in range(1, 65):
        commit(stored, answer(number, number))
    assert parts_in(stored) == ["00000001-00000064"]
    assert sum(written) == 64 * 7


def test_of_what_was_put_together_nothing_is_held(stored: StoredMap) -> None:
    """Parts that are gone take no memory."""
    commit(stored, answer(1, 1, row_count=1))
    commit(stored, answer(2, 2, row_count=1))
    stored.tidy()
    ((stem, _),) = stored._held
    assert stem == "00000001-00000002"
    assert stored._held_bytes == sum(held.table.nbytes for held in stored._held.values())


@pytest.mark.parametrize("soon", [0, 1 << 18])
@pytest.mark.parametrize("removing", ["a part", "the map"])
def test_rows_of_a_part_that_was_removed_are_those_of_no_later_one(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch, removing: str, soon: int
) -> None:
    """Whatever others remove while a map is written, each answer has its own rows."""
    monkeypatch.setattr(maps, "_SOON_BYTES", soon)
    commit(stored, answer(1, 1, row_count=3))
    (first,) = every_answer(stored)
    assert fetched(stored, [first]).height == 3
    if removing == "a part":
        again(stored).set_aside(first.part)
    else:
        again(stored).discard()
        stored.begin(KEY, "gene", AT)
    commit(stored, answer(2, 2, row_count=2))
    (second,) = every_answer(stored)
    assert second.part != first.part
    assert fetched(stored, [second]).equals(rows_of([second]))
    assert fetched(again(stored), every_answer(again(stored))).equals(rows_of([second]))
    with pytest.raises(DamagedRows, match=first.part):
        stored.rows([first])


def test_a_part_that_has_the_name_of_another_one_has_rows_of_its_own(
    stored: StoredMap,
) -> None:
    """Who knows a map from before it was removed is given none of what is there now."""
    commit(stored, answer(1, 1, row_count=2))
    (first,) = every_answer(stored)
    other = again(stored)
    other.discard()
    other = again(stored)
    other.begin(KEY, "gene", AT)
    commit(other, answer(2, 2, row_count=2))
    with pytest.raises(DamagedRows, match=first.part):
        again(stored).rows([first])
    # Who has the rows in memory has the right ones.
    assert fetched(stored, [first]).equals(rows_of([first]))


def test_what_was_put_together_meanwhile_is_looked_for_again(stored: StoredMap) -> None:
    """Who holds an index of before is told that its part is gone, and looks anew."""
    commit(stored, answer(1, 1, row_count=1))
    commit(stored, answer(2, 2, row_count=1))
    reader = again(stored)
    (before,) = reader.index().answers[item_of(1)].values()
    stored.tidy()
    with pytest.raises(DamagedRows, match="00000001-00000001"):
        reader.rows([before])
    (now,) = reader.index().answers[item_of(1)].values()
    assert unpacked(reader.rows([now])).equals(rows_of([now]))


def test_parts_that_are_big_stay_as_they_are(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only small parts at the end are put together; one alone is left as it is."""
    monkeypatch.setattr(maps, "_LEVEL_PARTS", 3)
    commit(stored, answer(1, 1, row_count=2000))
    big = (stored.folder / "00000001-00000001.rows").stat().st_size
    monkeypatch.setattr(maps, "_SMALL_BYTES", big - 1)
    commit(stored, answer(2, 2, row_count=1))
    before = names_in(stored)
    stored.tidy()
    assert names_in(stored) == before
    commit(stored, answer(3, 3, row_count=1))
    assert parts_in(stored) == [f"0000000{n}-0000000{n}" for n in (1, 2, 3)]
    stored.tidy()
    assert parts_in(stored) == ["00000001-00000001", "00000002-00000003"]


def test_what_nobody_asks_for_any_more_goes(stored: StoredMap) -> None:
    """Rows that were answered anew, and failures that were answered since, are left out."""
    commit(stored, answer(1, 1, row_count=1000), failed(2, 2), failed(3, 3))
    commit(stored, answer(1, 4, row_count=1), answer(2, 5, row_count=1), failed(3, 6))
    commit(stored, answer(1, 7, row_count=1, code=CODES[1]))
    stored.tidy()
    (part,) = again(stored)._whole()
    kept = [(int(each.item, 16), each.at) for each in part.answers]
    assert kept == [(1, 4), (2, 5), (3, 6), (1, 7)]
    assert part.row_count == 3


def test_a_part_stands_for_those_whose_numbers_it_covers(stored: StoredMap) -> None:
    """Killed before the parts that were put together went, all of it is there once."""
    commit(stored, answer(1, 1, row_count=1))
    commit(stored, answer(2, 2, row_count=2))
    before = {path.name: path.read_bytes() for path in stored.folder.glob("0*")}
    stored.tidy()
    for name, data in before.items():
        (stored.folder / name).write_bytes(data)
    reader = again(stored)
    require_known(reader, [answer(1, 1, row_count=1), answer(2, 2, row_count=2)])
    assert {each.part for of in reader.index().answers.values() for each in of.values()} == {
        "00000001-00000002"
    }
    assert all(reader.is_covered(name) for name in before)
    assert not any(reader.is_covered(f"00000001-00000002.{end}") for end in ("rows", "items"))
    commit(reader, answer(3, 3))
    assert parts_in(reader)[-1] == "00000003-00000003"


def test_a_pair_of_which_one_is_missing_is_none(stored: StoredMap) -> None:
    """Rows without items are left over; items without rows are damaged."""
    commit(stored, answer(1, 1, row_count=1))
    commit(stored, answer(2, 2, row_count=1))
    (stored.folder / "00000002-00000002.items").unlink()
    reader = again(stored)
    require_known(reader, [answer(1, 1, row_count=1)])
    assert reader.is_covered("00000002-00000002.rows")
    assert not reader.is_covered("00000001-00000001.rows")
    (reader.folder / "00000001-00000001.rows").unlink()
    reader = again(stored)
    (known,) = reader.index().answers[item_of(1)].values()
    with pytest.raises(DamagedRows, match="00000001-00000001"):
        reader.rows([known])


@pytest.mark.parametrize(
    "name", ["map.json", "a.code.json", "notes.rows", "1-2.items", "00000001-00000001.txt", "x"]
)
def test_what_is_no_part_is_not_covered(stored: StoredMap, name: str) -> None:
    """Only files of parts are left over where another part stands for them."""
    (stored.folder / name).write_bytes(b"")
    assert not stored.is_covered(name)


@pytest.mark.parametrize("act", ["add", "tidy"])
def test_what_can_not_be_read_is_hidden_within_no_other_part(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """A part of a newer library is there again for that one, whatever was put together."""
    monkeypatch.setattr(maps, "_LEVEL_PARTS", 4)
    for number in (1, 2, 3):
        commit(stored, answer(number, number, row_count=1))
    newer = stored.folder / "00000002-00000002.items"
    data = newer.read_bytes()
    table, about = items_file(newer)
    write_items(newer, table, about | {"format": 2})
    for number in (4, 5) if act == "add" else (4,):
        commit(again(stored), answer(number, number, row_count=1))
    if act == "tidy":
        again(stored).tidy()
    newer.write_bytes(data)
    last = 5 if act == "add" else 4
    require_known(again(stored), [answer(n, n, row_count=1) for n in range(1, last + 1)])


def test_damaged_rows_are_hidden_within_no_other_part(stored: StoredMap) -> None:
    """Parts are put together with none that is damaged; it is found when it is asked for."""
    for number in (1, 2, 3):
        commit(stored, answer(number, number, row_count=1))
    (stored.folder / "00000002-00000002.rows").write_bytes(b"nothing")
    reader = again(stored)
    reader.tidy()
    assert len(parts_in(reader)) == 3
    (known,) = reader.index().answers[item_of(2)].values()
    with pytest.raises(DamagedRows, match="00000002-00000002"):
        reader.rows([known])
    reader.set_aside("00000002-00000002")
    assert item_of(2) not in reader.index().answers
    assert not list(reader.folder.glob("00000002*"))
    assert len(list(reader.segments.folder.glob(".damaged/**/00000002*"))) == 2
    commit(reader, answer(2, 4, row_count=1))
    reader.tidy()
    assert parts_in(reader) == ["00000001-00000004"]
    require_known(
        again(reader), [answer(n, at, row_count=1) for n, at in ((1, 1), (3, 3), (2, 4))]
    )


def test_a_commit_is_one_although_the_disk_is_full_when_parts_are_put_together(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error says that nothing was committed, so what was committed is no error."""
    monkeypatch.setattr(maps, "_LEVEL_PARTS", 2)
    commit(stored, answer(1, 1, row_count=1))
    plain_write = mapparts._write

    def full(path: Path, table: pa.Table) -> int:
        if path.name.startswith("00000001"):
            raise OSError(28, "No space left on device")
        return plain_write(path, table)

    monkeypatch.setattr(mapparts, "_write", full)
    commit(stored, answer(2, 2, row_count=1))
    require_known(again(stored), [answer(1, 1, row_count=1), answer(2, 2, row_count=1)])
    monkeypatch.setattr(mapparts, "_write", plain_write)
    commit(stored, answer(3, 3, row_count=1))
    require_known(again(stored), [answer(n, n, row_count=1) for n in (1, 2, 3)])


@pytest.mark.parametrize("ending", ["rows", "items"])
def test_a_commit_that_fails_is_none(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Nothing of it is known, nothing half is left under a name, and the next one is whole."""
    plain_write = mapparts._write

    def full(path: Path, table: pa.Table) -> int:
        if path.suffix == f".{ending}":
            raise OSError(28, "No space left on device")
        return plain_write(path, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapparts, "_write", full)
        with pytest.raises(OSError, match="No space left"):
            commit(stored, answer(1, 1, row_count=5))
    require_known(stored, [])
    commit(stored, answer(2, 2, row_count=1))
    require_known(stored, [answer(2, 2, row_count=1)])
    require_known(again(stored), [answer(2, 2, row_count=1)])


def test_an_error_while_a_file_is_written_leaves_none(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file of what could not be written goes."""
    before = names_in(stored)

    def refused(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(mapparts, "sync", refused)
    with pytest.raises(OSError, match="Input/output error"):
        commit(stored, answer(1, 1, row_count=1))
    assert names_in(stored) == before


def test_files_can_be_read_by_their_owner_alone(stored: StoredMap) -> None:
    """Items and rows are nobody else's business."""
    commit(stored, answer(1, 1, row_count=1))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in stored.folder.glob("0*")}
    assert modes == {0o600}


# --- any texts --------------------------------------------------------------------------

#: Two halves of a character beside each other are the character, once they went through
#: JSON; so of those there is one at most.
TEXTS: Final = st.one_of(
    st.text(max_size=8),
    st.tuples(st.text(max_size=3), st.characters(categories=["Cs"])).map("".join),
    st.sampled_from(["\ud800", "a\udcffb", "\0", "x" * 100_000, "\U0001f9ec"]),
)


def escaped(text: str) -> str:
    """Return a text with what is no Unicode told by its number."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@settings(max_examples=60)
@given(shown=TEXTS, kind=TEXTS, message=TEXTS, name=TEXTS)
@example(shown="\ud800", kind="E", message="\udcff", name="\ud800")
def test_any_text_survives(shown: str, kind: str, message: str, name: str) -> None:
    """Items, errors and reads may say anything, also what is no Unicode: a file's name."""
    read = Read(name, "k", "c", "file", ((name, "d"),))
    text = json.dumps(shown, ensure_ascii=False)
    made = answer(1, 1, shown=text, error=(kind, message), reads=(read,))
    with fresh() as stored:
        commit(stored, made)
        (found,) = again(stored).index().failures[item_of(1)].values()
        assert found.value == shown
        assert found.error == (escaped(kind), escaped(message))
        assert found.reads == (read,)


# --- hostile files ----------------------------------------------------------------------


def items_file(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Return what a file of items says."""
    with pa.ipc.open_file(path) as file:
        table = file.read_all()
    return table, json.loads(table.schema.metadata[b"usher_pipeline"])["about"]


def write_items(path: Path, table: pa.Table, about: Any) -> None:
    """Write a file of items whose digest is right, as anybody could."""
    table = table.replace_schema_metadata(None)
    fits = isinstance(about, dict)
    digest = combine("usher map", about, column_digests(table)) if fits else ""
    text = json.dumps({"digest": digest, "about": about})
    table = table.replace_schema_metadata({b"usher_pipeline": text.encode()})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def use(stored: StoredMap) -> list[Answer]:
    """Do all that may be done with a map; nothing but `DamagedRows` may come of it."""
    index = stored.index()
    answers = [each for of in index.answers.values() for each in of.values()]
    for of in index.failures.values():
        for each in of.values():
            str(each.failure())
    for each in answers:
        json.dumps(each.value)
        each.answered_at.isoformat()
        float(each.elapsed_s)
        index.best(each.item, frozenset(CODES))
        index.other(each.item)
        hash(each.reads)
        stored.code(each.code)
    for name in names_in(stored):
        stored.is_covered(name)
    stored.example(every_answer(stored))
    good = []
    for each in answers:
        try:
            frame = unpacked(stored.rows([each])) if each.row_count else None
        except DamagedRows:
            continue
        assert frame is None or len(frame) == each.row_count
        good.append(each)
    for block in stored.blocks(good):
        try:
            stored.rows(block)
        except DamagedRows:
            continue
    return good


@settings(max_examples=150)
@given(
    ending=st.sampled_from(["items", "rows"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255))),
    cut=st.floats(0, 1),
)
def test_bytes_that_were_changed_give_no_wrong_rows(
    ending: str, flips: list[tuple[float, int]], cut: float
) -> None:
    """What is not as it was committed is damaged or not there, and never anything else."""
    with fresh() as stored:
        made = [answer(1, 1, row_count=2), answer(2, 2, row_count=3, reads=READS), failed(3, 3)]
        commit(stored, *made)
        commit(stored, answer(4, 4, row_count=1))
        path = stored.folder / f"00000001-00000001.{ending}"
        data = bytearray(path.read_bytes())
        for place, change in flips:
            data[int(place * len(data))] ^= change
        if cut < 0.2:
            data = data[: int(len(data) * cut * 5)]
        path.write_bytes(data)
        reader = again(stored)
        for each in use(reader):
            rows = unpacked(reader.rows([each])) if each.row_count else rows_of([])
            assert rows.equals(rows_of([each]))
            assert each._replace(start=0, part="") in [*made, answer(4, 4, row_count=1)]
        reader.tidy()
        use(again(reader))


ABOUT: Final = (
    *("format", "kind", "schema", "content", "nbytes", "rows", "size_bytes", "codes", "reads"),
)


@settings(max_examples=300)
@given(name=st.sampled_from([*ABOUT, None]), value=JSON)
@example(name="nbytes", value=-1)
@example(name="schema", value={"sql_names": 5})
@example(name="schema", value={})
@example(name="codes", value=[["x"]])
@example(name="codes", value=["../../etc"])
@example(name="reads", value=[[{"arguments": [], "name": [], "key": 1, "content": 2}]])
@example(name="format", value=2)
def test_odd_facts_of_a_part_are_no_error(name: str | None, value: Any) -> None:
    """Whatever anybody says of a part, with a digest that fits, no raw error comes of it."""
    with fresh() as stored:
        commit(stored, answer(1, 1, row_count=2))
        path = stored.folder / "00000001-00000001.items"
        table, about = items_file(path)
        write_items(path, table, value if name is None else about | {name: value})
        reader = again(stored)
        use(reader)
        commit(reader, answer(2, 2, row_count=1))
        try:
            reader.tidy()
        except UsherError:
            return
        use(again(reader))


ODD_COLUMNS: Final = {
    "no item": ("item", pa.array([None, None], pa.binary(16))),
    "short items": ("item", pa.array([b"a", b"b"], pa.binary())),
    "items as text": ("item", pa.array(["a", "b"])),
    "no text": ("shown", pa.array([None, None], pa.large_string())),
    "text that is no JSON": ("shown", pa.array(["{", ""], pa.large_string())),
    "text that nests": ("shown", pa.array(["[" * 100_000] * 2, pa.large_string())),
    "bytes as text": ("shown", pa.array([b"1", b"2"], pa.binary())),
    "no rows": ("rows", pa.array([None, None], pa.int64())),
    "fewer rows than none": ("rows", pa.array([-1, 2], pa.int64())),
    "more rows than there are": ("rows", pa.array([2, 2**40], pa.int64())),
    "rows as fractions": ("rows", pa.array([1.5, 1.5], pa.float64())),
    "rows as truth": ("rows", pa.array([True, True])),
    "code below none": ("code", pa.array([-1, 0], pa.int32())),
    "code beyond": ("code", pa.array([5, 0], pa.int32())),
    "reads below none": ("reads", pa.array([-1, 0], pa.int32())),
    "no time": ("elapsed_s", pa.array([None, None], pa.float32())),
    "time without end": ("elapsed_s", pa.array([float("inf"), 0.0], pa.float32())),
    "time as text": ("elapsed_s", pa.array(["a", "b"])),
    "no moment": ("at", pa.array([None, None], pa.int64())),
    "a moment after all": ("at", pa.array([2**62, -(2**62)], pa.int64())),
    "a moment as text": ("at", pa.array(["a", "b"])),
    "no attempts": ("attempts", pa.array([None, None], pa.int32())),
    "attempts as text": ("attempts", pa.array(["a", "b"])),
    "an error of bytes": ("error_type", pa.array([b"a", None], pa.binary())),
    "an error that says nothing": ("error_type", pa.array(["E", None], pa.large_string())),
}


@pytest.mark.parametrize("odd", ODD_COLUMNS)
@pytest.mark.parametrize("fails", [True, False])
def test_odd_columns_of_items_are_no_error(stored: StoredMap, odd: str, *, fails: bool) -> None:
    """Whatever stands in a column, with a digest that fits, no raw error comes of it."""
    made = [failed(1, 1), failed(2, 2)] if fails else [answer(1, 1, row_count=1), answer(2, 2)]
    commit(stored, *made)
    path = stored.folder / "00000001-00000001.items"
    table, about = items_file(path)
    name, column = ODD_COLUMNS[odd]
    table = table.set_column(table.schema.get_field_index(name), name, column)
    write_items(path, table, about)
    reader = again(stored)
    use(reader)
    assert ("JSON" in odd or "nests" in odd) or reader.index() == Index()
    commit(reader, answer(3, max(reader.index().latest, 3) + 1, row_count=1))
    reader.tidy()
    use(again(reader))


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "null", '{"about": 5}', "\ufffd", ""])
def test_odd_metadata_of_items_is_none(stored: StoredMap, text: str) -> None:
    """A file that says nothing of its items, or nests without end, is no part."""
    commit(stored, answer(1, 1, row_count=1))
    path = stored.folder / "00000001-00000001.items"
    table, _ = items_file(path)
    table = table.replace_schema_metadata({b"usher_pipeline": text.encode()})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    assert again(stored).index() == Index()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("schema", {"sql_names": "ik"}), ("schema", {}), ("schema", {"sql_names": [1]})),
        *(("codes", [5]), ("rows", 1), ("format", 2)),
        ("reads", [[{"name": 5, "key": "k", "content": "c", "arguments": []}]]),
    ],
)
def test_a_part_that_says_something_odd_is_none(
    stored: StoredMap, name: str, value: object
) -> None:
    """What is known of a part is of the types that readers count on, or it is no part."""
    commit(stored, answer(1, 1, row_count=2))
    path = stored.folder / "00000001-00000001.items"
    table, about = items_file(path)
    write_items(path, table, about | {name: value})
    assert again(stored).index() == Index()


def test_what_is_damaged_and_stood_for_holds_nothing_up(stored: StoredMap) -> None:
    """Of what another part stands for nobody needs to know whether it can be read."""
    commit(stored, answer(1, 1, row_count=1))
    commit(stored, answer(2, 2, row_count=1))
    stored.tidy()
    (stored.folder / "00000001-00000001.items").write_bytes(b"half")
    reader = again(stored)
    commit(reader, answer(3, 3, row_count=1))
    reader.tidy()
    assert "00000001-00000003" in parts_in(reader)
    require_known(again(reader), [answer(n, n, row_count=1) for n in (1, 2, 3)])


def test_items_that_were_changed_are_none(stored: StoredMap) -> None:
    """A file whose digest does not fit its values is damaged, however well it is formed."""
    commit(stored, answer(1, 1, row_count=1), answer(2, 2, row_count=2))
    path = stored.folder / "00000001-00000001.items"
    with pa.ipc.open_file(path) as file:
        table = file.read_all()
    place = table.schema.get_field_index("rows")
    table = table.set_column(place, "rows", pa.array([2, 1], pa.int64()))
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    assert again(stored).index() == Index()


def test_more_rows_than_the_file_has_are_damaged(stored: StoredMap) -> None:
    """Items that count other rows than there are, with digests that fit, give none."""
    commit(stored, answer(1, 1, row_count=1))
    path = stored.folder / "00000001-00000001.items"
    table, about = items_file(path)
    place = table.schema.get_field_index("rows")
    table = table.set_column(place, "rows", pa.array([2], pa.int64()))
    write_items(path, table, about | {"rows": 2})
    reader = again(stored)
    (known,) = reader.index().answers[item_of(1)].values()
    with pytest.raises(DamagedRows, match="00000001-00000001"):
        reader.rows([known])


def test_rows_that_are_no_text_are_damaged(stored: StoredMap) -> None:
    """Bytes of no text in a column of texts, with digests that fit, are no frame."""
    commit(stored, answer(1, 1, row_count=1))
    with pa.ipc.open_file(stored.folder / "00000001-00000001.rows") as file:
        rows = file.read_all()
    ends, data = pa.py_buffer(bytes(8) + (2).to_bytes(8, "little")), pa.py_buffer(b"\xff\xfe")
    broken = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, data])
    rows = rows.set_column(0, rows.schema.field(0), broken)
    with pa.ipc.new_file(stored.folder / "00000001-00000001.rows", rows.schema) as file:
        file.write_table(rows)
    path = stored.folder / "00000001-00000001.items"
    table, about = items_file(path)
    content = combine(about["kind"], about["schema"], column_digests(rows))
    write_items(path, table, about | {"content": content})
    reader = again(stored)
    (known,) = reader.index().answers[item_of(1)].values()
    with pytest.raises(DamagedRows, match="00000001-00000001"):
        reader.rows([known])


def test_a_part_of_another_format_is_none_and_stays(stored: StoredMap) -> None:
    """What a newer library wrote is not read, not covered and not overwritten."""
    commit(stored, answer(1, 1, row_count=1))
    path = stored.folder / "00000001-00000001.items"
    table, about = items_file(path)
    write_items(path, table, about | {"format": 2})
    data = path.read_bytes()
    reader = again(stored)
    require_known(reader, [])
    assert not reader.is_covered(path.name)
    assert not reader.is_covered("00000001-00000001.rows")
    commit(reader, answer(2, 2, row_count=1))
    reader.tidy()
    assert path.read_bytes() == data
    require_known(again(reader), [answer(2, 2, row_count=1)])


@pytest.mark.parametrize(
    "name", ["00000002-00000002", "00000000-00000001", "00000001-00000009"]
)
def test_a_part_under_the_name_of_another_one_gives_its_own_rows(
    stored: StoredMap, name: str
) -> None:
    """A pair that somebody renamed is what it says, and hides nothing that is committed."""
    commit(stored, answer(1, 1, row_count=1))
    for ending in ("items", "rows"):
        path = stored.folder / f"00000001-00000001.{ending}"
        path.rename(stored.folder / f"{name}.{ending}")
    reader = again(stored)
    commit(reader, answer(2, 2, row_count=1))
    found = use(again(stored))
    assert item_of(2) in {each.item for each in found}
    assert fetched(reader, found).equals(rows_of(found))


def test_rows_of_another_part_are_not_taken_for_its_own(stored: StoredMap) -> None:
    """Rows have to be those that the items were committed with."""
    commit(stored, answer(1, 1, row_count=1))
    commit(stored, answer(2, 2, row_count=1))
    shutil.copyfile(
        stored.folder / "00000001-00000001.rows", stored.folder / "00000002-00000002.rows"
    )
    reader = again(stored)
    (known,) = reader.index().answers[item_of(2)].values()
    with pytest.raises(DamagedRows, match="00000002-00000002"):
        reader.rows([known])


def test_a_whole_part_is_found_whole(stored: StoredMap) -> None:
    """What was committed has no problem, and says how much it is."""
    commit(stored, answer(1, 1, row_count=1), answer(2, 2), failed(3, 3))
    commit(stored, failed(4, 4))
    first, second = map(again(stored).examine, stored.stems())
    assert (first.problem, first.item_count) == ("", 3)
    assert (second.problem, second.item_count) == ("", 1)
    assert first.size_bytes + second.size_bytes == sum(
        path.stat().st_size for path in stored.folder.glob("0*")
    )


@pytest.mark.parametrize(
    ("ending", "problem", "count"),
    [("items", "its items can not be read", 0), ("rows", "its rows are not what", 1)],
)
def test_a_damaged_part_is_set_aside_and_others_stay(
    stored: StoredMap, ending: str, problem: str, count: int
) -> None:
    """What is not as it was committed is found whatever was read before, and moved away."""
    commit(stored, answer(1, 1, row_count=1))
    commit(stored, answer(2, 2, row_count=1))
    path = stored.folder / f"00000001-00000001.{ending}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    reader = again(stored)
    facts = reader.examine("00000001-00000001")
    assert facts.problem.startswith(problem)
    assert facts.item_count == count
    placed = reader.set_seen_aside(facts)
    assert placed is not None
    assert {each.name for each in placed.parent.iterdir()} == {
        "00000001-00000001.items",
        "00000001-00000001.rows",
    }
    require_known(reader, [answer(2, 2, row_count=1)])
    assert reader.stems() == ["00000002-00000002"]
    assert not reader.examine("00000002-00000002").problem


def test_rows_that_are_gone_are_damage(stored: StoredMap) -> None:
    """A part without its rows is set aside as well."""
    commit(stored, answer(1, 1, row_count=1))
    (stored.folder / "00000001-00000001.rows").unlink()
    reader = again(stored)
    facts = reader.examine("00000001-00000001")
    assert facts.problem == "its rows are not what was stored"
    assert reader.set_seen_aside(facts) is not None
    assert reader.stems() == []


def test_a_part_that_went_meanwhile_is_no_damage(stored: StoredMap) -> None:
    """What others put together, or removed, is not set aside."""
    commit(stored, answer(1, 1, row_count=1))
    reader = again(stored)
    (stem,) = reader.stems()
    (stored.folder / f"{stem}.items").unlink()
    assert reader.set_seen_aside(reader.examine(stem)) is None
    assert (stored.folder / f"{stem}.rows").exists()


def test_a_part_that_came_in_the_place_of_a_damaged_one_stays(stored: StoredMap) -> None:
    """What was committed after the look is not what was looked at."""
    commit(stored, answer(1, 1, row_count=1))
    path = stored.folder / "00000001-00000001.items"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    reader = again(stored)
    facts = reader.examine("00000001-00000001")
    path.unlink()
    path.write_bytes(whole)
    assert reader.set_seen_aside(facts) is None
    require_known(again(reader), [answer(1, 1, row_count=1)])


def test_a_part_of_another_format_is_no_damage(stored: StoredMap) -> None:
    """What a newer library wrote is not for us to judge."""
    commit(stored, answer(1, 1, row_count=1))
    path = stored.folder / "00000001-00000001.items"
    table, about = items_file(path)
    write_items(path, table, about | {"format": 2})
    assert not again(stored).examine("00000001-00000001").problem


def test_rows_for_which_a_library_is_missing_are_no_damage(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the frames of a map can not be built they are whole all the same."""
    commit(stored, answer(1, 1, row_count=1))

    def missing(kind: str) -> Any:
        raise ImportError(kind)

    monkeypatch.setattr(maps, "adapter_of_kind", missing)
    assert not again(stored).examine("00000001-00000001").problem


def test_a_folder_in_the_place_of_a_file_is_none(stored: StoredMap) -> None:
    """What is no file is not there."""
    for name in ("00000001-00000001.items", "00000002-00000002.items"):
        (stored.folder / name).mkdir()
    commit(again(stored), answer(1, 1, row_count=1))
    require_known(again(stored), [answer(1, 1, row_count=1)])


# --- all of a store ---------------------------------------------------------------------


def other_map(stored: StoredMap, name: str, digest: str, over: str) -> StoredMap:
    """Return another map of the same store."""
    found = StoredMap(stored.segments, name, digest)
    found.begin(replace(KEY, name=name, digest=digest), over, AT)
    return found


def test_maps_are_found_by_name_and_parameter(stored: StoredMap) -> None:
    """All maps of a checkpoint are found, the one that was changed last first."""
    disease = other_map(stored, NAME, "1" * 32, "disease")
    odd = other_map(stored, "genes/of: man", "2" * 32, "gene")
    commit(stored, answer(1, 1))
    stamps = {each.folder: each.changed_at for each in (stored, disease, odd)}
    found = maps_of(stored.segments, NAME)
    assert {each.folder for each in found} == {stored.folder, disease.folder}
    assert [stamps[each.folder] for each in found] == sorted(
        (stamps[each.folder] for each in found), reverse=True
    )
    assert [each.folder for each in maps_of(stored.segments, NAME, "gene")] == [stored.folder]
    assert [each.folder for each in maps_of(stored.segments, "genes/of: man")] == [odd.folder]
    assert maps_of(stored.segments, "gene") == []
    folders = {folder for folder, _ in every_map(stored.segments)}
    assert folders == {stored.folder, disease.folder, odd.folder}


def test_a_map_in_the_folder_of_another_name_is_not_found(stored: StoredMap) -> None:
    """Whoever says that a map is another checkpoint's is not believed."""
    data = replace(MapStatement(KEY, "gene", AT), key=replace(KEY, name="../other")).to_json()
    (stored.folder / "map.json").write_text(json.dumps(data))
    assert list(every_map(stored.segments)) == []


def test_what_is_removed_is_gone(stored: StoredMap) -> None:
    """All files go, and the folder of the name with its last map; nothing is no error."""
    other = other_map(stored, NAME, "1" * 32, "gene")
    commit(stored, answer(1, 1, row_count=1))
    assert stored.size_bytes == sum(path.stat().st_size for path in stored.folder.iterdir())
    stored.discard()
    assert [folder for folder, _ in every_map(stored.segments)] == [other.folder]
    assert (stored.size_bytes, stored.changed_at, stored.statement) == (0, 0.0, None)
    require_known(again(stored), [])
    other.discard()
    other.discard()
    assert not other.folder.parent.exists()


def test_a_map_that_is_being_removed_is_none(
    stored: StoredMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it is removed, a map is found as what is left over, and nothing else."""
    monkeypatch.setattr(shutil, "rmtree", lambda _: None)
    stored.discard()
    ((folder, found),) = every_map(stored.segments)
    assert found is None
    assert folder.name.startswith(f"{DIGEST}~")
    assert maps_of(stored.segments, NAME) == []


def test_a_reader_knows_what_was_committed_since(stored: StoredMap) -> None:
    """Whoever looks again finds what another process committed and put together."""
    reader: Callable[[], Index] = again(stored).index
    assert reader().answers == {}
    commit(stored, answer(1, 1, row_count=1))
    assert set(reader().answers) == {item_of(1)}
    commit(stored, answer(2, 2, row_count=1))
    stored.tidy()
    assert set(reader().answers) == {item_of(1), item_of(2)}
