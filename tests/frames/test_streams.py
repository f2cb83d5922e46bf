"""Frames that come one after another are the frame that has them one below the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import adapter_for, adapter_of_kind, streams
from usher_pipeline.frames.streams import (
    Growing,
    appended,
    as_table,
    coalesced,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from usher_pipeline.frames import Packed

MOMENT = pd.Timestamp("2026-02-16T12:00:00Z")


def put_together(parts: Sequence[Any]) -> Any:
    """Return the frame that some parts are together, as it would be stored."""
    adapter = adapter_for(parts[0])
    assert adapter is not None
    growing = Growing(adapter)
    tables = list(coalesced(map(growing.add, parts)))
    whole = pa.concat_tables(tables)
    return adapter.from_arrow(whole, growing.schema)


@given(st.lists(st.lists(st.sampled_from(["a", "b", None]), max_size=4), min_size=1))
def test_any_parts_of_polars_are_their_concatenation(texts: list[list[str | None]]) -> None:
    """Text, categories and enumerations come back as `pl.concat` would give them."""
    parts = [
        pl.DataFrame(
            {"t": part, "c": part, "e": part}, schema_overrides={"t": pl.String}
        ).with_columns(pl.col("c").cast(pl.Categorical), pl.col("e").cast(pl.Enum(["b", "a"])))
        for part in texts
    ]
    polars.testing.assert_frame_equal(put_together(parts), pl.concat(parts))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_any_parts_of_pandas_are_their_concatenation(sizes: list[int]) -> None:
    """Rows that are counted are counted on; categories stay those that there are."""
    parts = [
        pd.DataFrame({"n": range(n), "c": pd.Categorical(["x"] * n, categories=["y", "x"])})
        for n in sizes
    ]
    expected = pd.concat(parts, ignore_index=True)
    pd.testing.assert_frame_equal(put_together(parts), expected)


def test_an_index_with_labels_is_concatenated() -> None:
    """Labels of rows stand one below the other, as the rows do."""
    parts = [pd.DataFrame({"n": [k]}, index=pd.Index([f"g{k}"], name="gene")) for k in (1, 2)]
    pd.testing.assert_frame_equal(put_together(parts), pd.concat(parts))


def test_a_range_goes_on_or_is_refused() -> None:
    """A range that goes on is one; one that starts elsewhere is refused, with the cure."""
    frame = pd.DataFrame({"n": range(6)})
    pd.testing.assert_frame_equal(put_together([frame[2:4], frame[4:]]), frame[2:])
    with pytest.raises(UnsupportedFrameError, match=r"the index of frame 2 .*reset_index"):
        put_together([frame[2:4], frame[5:]])


def test_new_words_of_a_dictionary_are_added() -> None:
    """Each part may bring words of its own, in an order of its own."""
    words: list[list[str | None]] = [["b", "a"], ["a", "c"], ["c", "b", None]]
    parts = [pa.table({"w": pa.array(each).dictionary_encode()}) for each in words]
    made = put_together(parts)
    assert made["w"].to_pylist() == [word for each in words for word in each]
    assert made.schema == parts[0].schema


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            pl.DataFrame({"a": ["x"]}),
            r"column .a. of frame 2 is String, while those before have Int64",
        ),
        (pl.DataFrame({"b": [1]}), r"the columns of frame 2 is b, not a"),
        (pl.DataFrame({"a": [1], "b": [1]}), r"the columns of frame 2 is a, b, not a"),
        (pl.DataFrame({"a": [None]}), r"column 'a' of frame 2"),
        (pl.DataFrame({"a": [object()]}), r"column 'a' of frame 2 is Object"),
    ],
)
def test_a_part_of_other_columns_is_refused(second: pl.DataFrame, said: str) -> None:
    """A part that has other columns, or of other types, is named with what was expected."""
    with pytest.raises(UnsupportedFrameError, match=said):
        put_together([pl.DataFrame({"a": [1]}), second])


def test_other_labels_or_attributes_are_refused() -> None:
    """What belongs to the whole frame is the same in every part."""
    first, second = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})
    second.attrs["unit"] = "mg"
    with pytest.raises(UnsupportedFrameError, match="labels, index or attributes of frame 2"):
        put_together([first, second])


def test_categories_inside_lists_are_refused_in_parts() -> None:
    """A dictionary inside another type can not grow; the error says what to do."""
    part = pl.DataFrame({"c": [["a"]]}, schema={"c": pl.List(pl.Categorical)})
    with pytest.raises(UnsupportedFrameError, match="Cast it to text, or return one frame"):
        put_together([part, part])
    polars.testing.assert_frame_equal(put_together([part]), part)


def test_there_are_no_columns_before_the_first_part() -> None:
    """To ask for columns too early is an error that says so."""
    with pytest.raises(ValueError, match="there is no part yet"):
        _ = Growing(adapter_of_kind("polars.DataFrame")).arrow_schema


def test_small_parts_are_written_together() -> None:
    """Many small tables become one, large ones stay, and no row is lost on an error."""
    tables = [pa.table({"0": [number]}) for number in range(1000)]
    (one,) = coalesced(iter(tables))
    assert one.column(0).num_chunks == 1
    assert one["0"].to_pylist() == list(range(1000))
    large = pa.table({"0": pa.array(range(1 << 20))})
    assert [len(each) for each in coalesced([large, large, tables[0]])] == [1 << 20, 1 << 20, 1]

    def failing() -> Any:
        yield tables[0]
        raise UnsupportedFrameError("column", "type", "cure")

    found = coalesced(failing())
    assert len(next(found)) == 1
    with pytest.raises(UnsupportedFrameError, match="column is type"):
        next(found)


def test_parts_without_columns_keep_their_rows() -> None:
    """A frame of no columns still counts its rows."""
    empty = pl.DataFrame({"a": [1, 2]}).drop("a")
    assert put_together([empty, empty]).shape == pl.DataFrame({"a": range(4)}).drop("a").shape


def words_in(memory: Any) -> pa.DictionaryArray:
    """Return words whose places are in a buffer that is not copied."""
    places = memory.view("int64")
    places[:] = memory.astype("int64")
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(["a", "b", "c"]))


def _refilled(make: Any) -> Any:
    """Yield one frame three times, whose memory is filled anew each time."""
    memory = np.zeros(4)
    for number in range(3):
        memory[:] = number
        yield make(memory)


@pytest.mark.parametrize(
    "make",
    [
        lambda memory: pd.DataFrame({"n": pd.Series(memory, copy=False)}, copy=False),
        lambda memory: pa.table({"n": pa.array(memory)}),
        lambda memory: pl.DataFrame({"n": memory}),
        lambda memory: pa.table({"n": words_in(memory)}),
    ],
    ids=["pandas", "arrow", "polars", "words"],
)
def test_memory_that_is_used_again_does_not_change_what_was_yielded(make: Any) -> None:
    """A generator may fill one buffer again and again; each part keeps what it had."""
    growing = Growing(cast("Any", adapter_for(next(_refilled(make)))))
    tables = [growing.add(part) for part in _refilled(make)]
    found = pa.concat_tables(tables).column(0).to_pylist()
    expected = [value for part in _refilled(make) for value in rows_of(part)]
    assert found == expected


def rows_of(frame: Any) -> list[Any]:
    """Return the values of the one column of a frame."""
    return frame["n"].to_pylist() if isinstance(frame, pa.Table) else list(frame["n"])


def test_a_record_batch_counts_as_a_table() -> None:
    """Batches of Arrow are parts of a table."""
    batch = pa.record_batch({"a": [1, 2]})
    assert put_together([as_table(batch)] * 2).to_pydict() == {"a": [1, 2, 1, 2]}


LAZY = [
    pl.LazyFrame({"n": range(200_000), "c": ["x", None] * 100_000}).with_columns(
        pl.col("c").cast(pl.Categorical)
    ),
    pl.LazyFrame({"c": [["a"], []]}, schema={"c": pl.List(pl.Enum(["a"]))}),
    pl.LazyFrame({"s": [{"c": "a"}]}, schema={"s": pl.Struct({"c": pl.Categorical})}),
    pl.LazyFrame({"n": []}, schema={"n": pl.Int8}),
    pl.LazyFrame(),
]


@pytest.mark.parametrize("number", range(len(LAZY)))
def test_a_query_of_polars_in_parts_is_what_it_collects(number: int) -> None:
    """The parts of a query are its rows in order, of whatever types."""
    adapter: Any = adapter_for(LAZY[number])
    growing = Growing(adapter, tell_parts=False)
    tables = list(coalesced(map(growing.add, adapter.parts(LAZY[number]))))
    made = adapter.from_arrow(pa.concat_tables(tables), growing.schema).collect()
    polars.testing.assert_frame_equal(made, LAZY[number].collect())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT range AS n, ('g' || range % 3)::ENUM('g0', 'g1', 'g2') AS e FROM range(300000)",
        "SELECT ['g0']::ENUM('g0', 'g1')[] AS e",
        "SELECT 1::HUGEINT AS h, TIMESTAMPTZ '2026-01-01 12:00:00+00' AS t WHERE false",
    ],
)
def test_a_relation_in_parts_is_what_it_gives(query: str) -> None:
    """The parts of a relation are its rows in order, of whatever types."""
    with duckdb.connect() as connection:
        relation = connection.sql(query)
        adapter: Any = adapter_for(relation)
        growing = Growing(adapter, tell_parts=False)
        tables = list(coalesced(map(growing.add, adapter.parts(relation))))
        made = adapter.from_arrow(pa.concat_tables(tables), growing.schema)
        assert made.fetchall() == relation.fetchall()
        assert made.types == relation.types


def test_a_closed_relation_is_refused() -> None:
    """What can not be run any more is an error that says how to return it."""
    connection = duckdb.connect()
    relation = connection.sql("SELECT 1 AS a")
    connection.close()
    adapter: Any = adapter_for(relation)
    with pytest.raises(UnsupportedFrameError, match="a connection that stays open"):
        list(adapter.parts(relation))


def test_many_small_parts_are_put_together_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many parts wait to be written, few tables are held; all rows come, in order."""
    monkeypatch.setattr(streams, "_MOST_SMALL", 3)
    monkeypatch.setattr(streams, "_ROWS", 8)
    joined: list[int] = []
    plain = streams._joined

    def counted(tables: list[pa.Table]) -> pa.Table:
        joined.append(len(tables))
        return plain(tables)

    monkeypatch.setattr(streams, "_joined", counted)
    parts = [pa.table({"n": [n], "gene": [str(n)]}) for n in range(20)]
    found = list(streams.coalesced(parts))
    assert [table.num_rows for table in found] == [8, 8, 4]
    assert pa.concat_tables(found).equals(pa.concat_tables(parts))
    assert max(joined) <= 4


def test_more_words_than_a_dictionary_has_places_for_are_refused() -> None:
    """Words that do not fit into the type of the first part are an error with a cure."""
    parts = [
        pa.table({"w": pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), words)})
        for words in ([f"{part}{k}" for k in range(100)] for part in "ab")
    ]
    with pytest.raises(UnsupportedFrameError, match=r"column 'w' of frame 2 .*Cast it to text"):
        put_together(parts)


# --- packed frames ----------------------------------------------------------------------


def packed(frame: Any) -> Packed:
    """Return a frame as it is stored."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return adapter.to_arrow(frame)


def unpacked(found: Packed) -> Any:
    """Return the frame that is stored, as the checks of its kind would take it."""
    found.table.validate(full=True)
    assert found.schema["rows"] == found.table.num_rows
    return adapter_of_kind(found.kind).from_arrow(found.table, found.schema)


def appended_of(parts: Sequence[Any]) -> Packed:
    """Return frames one below the other, packed."""
    adapter = adapter_for(parts[0])
    assert adapter is not None
    return appended([packed(part) for part in parts], adapter)


def positions(data: st.DataObject, row_count: int) -> list[int]:
    """Return any rows of a frame in any order, one of them twice or none at all."""
    place = st.integers(0, row_count - 1)
    return data.draw(st.lists(place, max_size=8)) if row_count else []


MOMENTS = [datetime(2026, 3, 29, hour, tzinfo=UTC) for hour in (0, 1)]
WORDS = st.one_of(st.none(), st.sampled_from(["a", "b", "c"]))
POLARS: dict[str, Any] = {
    "t": pl.String,
    "n": pl.Int8,
    "c": pl.Categorical,
    "e": pl.Enum(["b", "c", "a"]),
    "l": pl.List(pl.String),
    "s": pl.Struct({"x": pl.Float64, "y": pl.List(pl.Date)}),
    "f": pl.Array(pl.Int16, 2),
    "o": pl.Null,
    "d": pl.Datetime("us", "Europe/Berlin"),
}
ROW = st.tuples(
    WORDS,
    st.one_of(st.none(), st.integers(-5, 5)),
    *(WORDS, WORDS),
    st.one_of(st.none(), st.lists(WORDS, max_size=2)),
    st.one_of(
        st.none(),
        st.fixed_dictionaries({"x": st.floats(), "y": st.lists(st.dates(), max_size=2)}),
    ),
    st.one_of(st.none(), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
    st.none(),
    st.one_of(st.none(), st.sampled_from(MOMENTS)),
)


@given(st.data(), st.lists(st.lists(ROW, max_size=3), min_size=1, max_size=4))
def test_any_frames_of_polars_are_appended_and_taken(
    data: st.DataObject, parts: list[list[Any]]
) -> None:
    """What is appended is `pl.concat`, what is taken is what polars takes of it."""
    names = data.draw(st.sets(st.sampled_from(sorted(POLARS))))
    frames = [
        pl.DataFrame(rows, schema=POLARS, orient="row").select(sorted(names)) for rows in parts
    ]
    if names:
        whole, expected = appended_of(frames), pl.concat(frames)
        polars.testing.assert_frame_equal(unpacked(whole), expected)
        places = positions(data, expected.height)
        found = unpacked(taken(whole, places))
        polars.testing.assert_frame_equal(found, expected[places])


NULLS = st.recursive(
    st.sampled_from([pl.Int8(), pl.String(), pl.Date()]),
    lambda inner: st.one_of(
        inner.map(pl.List),
        inner.map(lambda dtype: pl.Array(dtype, 2)),
        st.dictionaries(st.sampled_from("xyz"), inner, min_size=1).map(pl.Struct),
    ),
    max_leaves=4,
)


def emptied(data: st.DataObject, dtype: Any) -> Any:
    """Return a type of which some of the innermost are not known."""
    if data.draw(st.integers(0, 3)) == 0:
        return pl.Null()
    if isinstance(dtype, pl.Struct):
        return pl.Struct({each.name: emptied(data, each.dtype) for each in dtype.fields})
    if isinstance(dtype, pl.Array):
        return pl.Array(emptied(data, dtype.inner), dtype.size)
    return pl.List(emptied(data, dtype.inner)) if isinstance(dtype, pl.List) else dtype


@given(st.data(), NULLS)
def test_columns_without_values_take_the_type_of_frames_before(
    data: st.DataObject, dtype: Any
) -> None:
    """In a stream that is what `pl.concat` gives in its relaxed form; elsewhere an error."""
    full = pl.DataFrame({"a": [0], "b": pl.Series([None], dtype=dtype)})
    bare = full.with_columns(pl.Series("b", [None], dtype=emptied(data, dtype)))
    adapter = adapter_for(full)
    assert adapter is not None
    growing = Growing(adapter, takes_types=True)
    table = pa.concat_tables([growing.add(full), growing.add(bare), growing.add(full)])
    expected = pl.concat([full, bare, full], how="vertical_relaxed")
    polars.testing.assert_frame_equal(adapter.from_arrow(table, growing.schema), expected)
    if bare.schema != full.schema:
        with pytest.raises(UnsupportedFrameError, match="column 'b' of frame 2"):
            appended_of([full, bare])


def test_what_tells_types_apart_stays_an_error() -> None:
    """A column without values is no reason to take what has other columns or types."""
    full = pl.DataFrame({"a": [["x"]], "b": [1]})
    adapter = adapter_for(full)
    assert adapter is not None
    for other, said in (
        (pl.DataFrame({"a": [None], "b": ["y"]}), "column 'b' of frame 2 is String"),
        (pl.DataFrame({"c": [None], "b": [1]}), "c, b, not a, b"),
        (pl.DataFrame({"a": [{"n": None}], "b": [1]}), "column 'a' of frame 2"),
    ):
        growing = Growing(adapter, takes_types=True)
        growing.add(full)
        with pytest.raises(UnsupportedFrameError, match=said):
            growing.add(other)


def test_a_first_frame_without_values_is_told_to_have_a_type() -> None:
    """What is written can not take a type any more."""
    full, bare = pl.DataFrame({"a": ["x"]}), pl.DataFrame({"a": [None]})
    adapter = adapter_for(full)
    assert adapter is not None
    growing = Growing(adapter, takes_types=True)
    growing.add(bare)
    wanted = r"String, while those before have Null.*State its type in the first frame"
    with pytest.raises(UnsupportedFrameError, match=wanted):
        growing.add(full)


def test_tables_of_arrow_have_the_types_that_they_state() -> None:
    """Who made a table of Arrow said what it is."""
    tables = [pa.table({"a": pa.array(["x"])}), pa.table({"a": pa.nulls(1)})]
    with pytest.raises(UnsupportedFrameError, match="column 'a' of frame 2 is null"):
        appended_of(tables)


def test_rows_without_columns_are_appended_and_taken() -> None:
    """Of a frame without columns there are the rows, as many as are wanted."""
    bare = pl.DataFrame({"a": [1, 2]}).drop("a")
    whole = appended_of([bare, bare, bare])
    assert unpacked(whole).shape == (6, 0)
    assert unpacked(taken(whole, [0, 5, 5])).shape == (3, 0)
    table = pa.table({"a": [1, 2]}).select([])
    assert unpacked(taken(appended_of([table, table]), (0,))).num_rows == 1
    counted = pd.DataFrame(index=range(2))
    pd.testing.assert_frame_equal(
        unpacked(appended_of([counted, counted])), pd.DataFrame(index=range(4))
    )


CODED = ["y", "x"]
INDEXES: dict[str, Callable[[int], Any]] = {
    "range": pd.RangeIndex,
    "labels": lambda n: pd.Index([f"g{k}" for k in range(n)], name="gene", dtype="str"),
    "numbers": lambda n: pd.Index(np.arange(5, 5 + n)),
    "levels": lambda n: pd.MultiIndex.from_arrays(
        [pd.Index(["a"] * n, dtype="str"), np.arange(n)],
        names=["gene", None],
    ),
    "moments": lambda n: pd.DatetimeIndex([MOMENT] * n, name="at", dtype="datetime64[us, UTC]"),
    "categories": lambda n: pd.CategoricalIndex(["x"] * n, categories=CODED),
}


@pytest.mark.parametrize("index", INDEXES)
@given(data=st.data(), sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_any_frames_of_pandas_are_appended_and_taken(
    index: str, data: st.DataObject, sizes: list[int]
) -> None:
    """What is appended is `pd.concat`, what is taken is what `iloc` takes of it.

    Rows that are only counted are counted anew, and attributes stay.
    """
    frames = []
    for number, size in enumerate(sizes):
        values = {"n": np.arange(size) + number, "f": np.full(size, 0.5)}
        frame = pd.DataFrame(values, index=INDEXES[index](size))
        frame["c"] = pd.Categorical(["x"] * size, categories=CODED)
        frame.attrs["unit"] = "mg"
        frames.append(frame)
    is_counted = index == "range"
    expected = pd.concat(frames, ignore_index=is_counted)
    whole = appended_of(frames)
    pd.testing.assert_frame_equal(unpacked(whole), expected)
    places = positions(data, len(expected))
    found, wanted = unpacked(taken(whole, places)), expected.iloc[places]
    pd.testing.assert_frame_equal(
        found, wanted.reset_index(drop=True) if is_counted else wanted
    )
    assert found.attrs == {"unit": "mg"}


def test_ranges_are_appended_where_they_go_on() -> None:
    """Ranges that follow each other are one; others are refused, as in a stream."""
    frame = pd.DataFrame({"n": range(6)})
    pd.testing.assert_frame_equal(unpacked(appended_of([frame[2:4], frame[4:]])), frame[2:])
    with pytest.raises(UnsupportedFrameError, match=r"the index of frame 2 .*reset_index"):
        appended_of([frame[2:4], frame[5:]])


@given(st.data(), st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=4))
def test_any_tables_of_arrow_are_appended_and_taken(
    data: st.DataObject, parts: list[list[str | None]]
) -> None:
    """Dictionaries grow, chunks of one table may have several, and the schema stays."""
    tables = []
    for words in parts:
        at = data.draw(st.integers(0, len(words)))
        texts = [pa.array(each, pa.string()) for each in (words[:at], words[at:])]
        chunks = [text.dictionary_encode() for text in texts]
        lists = pa.array([[word] for word in words], pa.list_(pa.string()))
        table = pa.table({"w": pa.chunked_array(chunks), "l": lists})
        tables.append(table.replace_schema_metadata({"unit": "mg"}))
    expected = pa.concat_tables(tables)
    whole = appended_of(tables)
    assert unpacked(whole).to_pydict() == expected.to_pydict()
    assert unpacked(whole).schema.equals(expected.schema, check_metadata=True)
    places = positions(data, len(expected))
    found = unpacked(taken(whole, places))
    rows = expected.to_pylist()
    assert found.to_pylist() == [rows[place] for place in places]
    assert found.schema.equals(expected.schema, check_metadata=True)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (pl.DataFrame({"a": ["x"]}), "column 'a' of frame 2 is String, while those before"),
        (pl.DataFrame({"b": [1]}), "the columns of frame 2 is b, not a"),
        (pl.DataFrame({"a": [1]}, schema={"a": pl.Int8}), "column 'a' of frame 2 is Int8"),
    ],
)
def test_what_is_not_alike_is_not_appended(second: pl.DataFrame, said: str) -> None:
    """Frames of other columns are refused, and both are told."""
    with pytest.raises(UnsupportedFrameError, match=said):
        appended_of([pl.DataFrame({"a": [1]}), second])


def test_one_frame_alone_is_itself() -> None:
    """What is alone is not touched, whatever its dictionaries could not do."""
    part = packed(pl.DataFrame({"c": [["a"]]}, schema={"c": pl.List(pl.Categorical)}))
    assert appended([part], adapter_of_kind(part.kind)) is part


@pytest.mark.parametrize(
    "dtype",
    [pl.List(pl.Categorical), pl.List(pl.Enum(["b", "a"])), pl.Struct({"x": pl.Categorical})],
    ids=str,
)
def test_rows_are_taken_of_dictionaries_inside_of_others(dtype: pl.DataType) -> None:
    """What can not grow can be taken from all the same."""
    values = [{"x": "a"}, {"x": "b"}] if isinstance(dtype, pl.Struct) else [["a"], ["b", "a"]]
    frame = pl.DataFrame({"c": values}, schema={"c": dtype})
    found = unpacked(taken(packed(frame), [1, 0, 1]))
    polars.testing.assert_frame_equal(found, frame[[1, 0, 1]])


@pytest.mark.parametrize("position", [-1, 3])
def test_rows_that_are_not_there_are_an_error(position: int) -> None:
    """A position outside is no row: Arrow refuses it, and nothing is made up."""
    with pytest.raises(IndexError, match="out of bounds"):
        taken(packed(pl.DataFrame({"a": [1, 2, 3]})), [0, position])


def test_the_name_of_an_index_stays_and_its_step_does_not() -> None:
    """Rows that are counted under a name are so anew; moments in any order have no step."""
    named = pd.DataFrame({"n": [1, 2]}, index=pd.RangeIndex(2, name="row"))
    for found in (appended_of([named, named]), taken(packed(named), [1, 0, 0])):
        index = unpacked(found).index
        assert (index.name, list(index)) == ("row", list(range(len(index))))
    days = pd.DataFrame({"n": range(3)}, index=pd.date_range("2026-02-16", periods=3, freq="D"))
    pd.testing.assert_frame_equal(
        unpacked(taken(packed(days), [2, 0, 1])), days.iloc[[2, 0, 1]]
    )
    twice = unpacked(appended_of([days, days]))
    pd.testing.assert_frame_equal(twice, pd.concat([days, days]))
