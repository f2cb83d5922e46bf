"""A pandas frame that was stored comes back as it was, from a segment and from a table."""

from __future__ import annotations

import datetime as dt
import json
import struct
import uuid
import zoneinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.fingerprint.frames import column_digests, frame_digest
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.frames.table_schema import from_sql, to_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from usher_pipeline.frames import Packed

ADAPTER: Final = adapter_of_kind("pandas.DataFrame")


# --- strict comparison ------------------------------------------------------------------


def spelled(cell: Any) -> Any:  # noqa: PLR0911 - one for each type
    """Return a cell with its type; floats as their bits, containers cell by cell."""
    match cell:
        case float() | np.floating():
            return type(cell), struct.pack("<d", cell)
        case complex() | np.complexfloating():
            return type(cell), spelled(cell.real), spelled(cell.imag)
        case list() | tuple() | np.ndarray():
            return type(cell), [spelled(item) for item in cell]
        case dict():
            return {key: spelled(item) for key, item in cell.items()}
        case pd.Interval():
            return spelled(cell.left), spelled(cell.right), cell.closed
        case pd.Timestamp():
            return (
                type(cell),
                cell.unit,
                cell.value,
                cell.tzinfo and (type(cell.tzinfo), str(cell.tzinfo)),
            )
        case _:
            return type(cell), repr(cell)


def spelled_type(dtype: Any) -> Any:
    """Return a type with every parameter that its equality leaves out."""
    match dtype:
        case pd.StringDtype():
            return "string", dtype.storage, spelled(dtype.na_value)
        case pd.CategoricalDtype():
            return "category", dtype.ordered, spelled_index(dtype.categories)
        case pd.DatetimeTZDtype():
            return "zoned", dtype.unit, type(dtype.tz), str(dtype.tz)
        case pd.IntervalDtype():
            return "interval", spelled_type(dtype.subtype), dtype.closed
        case np.dtype():
            return "numpy", dtype.str
        case _:
            return type(dtype), str(dtype)


def spelled_values(values: Any) -> Any:
    """Return the values of an array, those of numpy to the bit."""
    if isinstance(values, pd.Categorical):
        return values.codes.dtype, values.codes.tolist()
    if type(values).__name__ in ("FloatingArray", "IntegerArray", "BooleanArray"):
        return values._mask.tolist(), spelled(values._data[~values._mask])
    plain = np.asarray(values)
    if isinstance(values.dtype, np.dtype) and plain.dtype != object:
        return plain.tobytes()
    return [spelled(cell) for cell in values]


def spelled_index(index: pd.Index[Any]) -> Any:
    """Return all that an index says."""
    names = [spelled(name) for name in index.names]
    if isinstance(index, pd.RangeIndex):
        return "range", index.start, index.stop, index.step, names
    levels = [index.get_level_values(number) for number in range(index.nlevels)]
    cells = [(spelled_type(level.dtype), spelled_values(level.array)) for level in levels]
    freq = None if isinstance(index, pd.MultiIndex) else getattr(index, "freq", None)
    return type(index), names, freq, cells


def assert_exact(got: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Check that two frames agree in all that a frame says."""
    assert type(got) is pd.DataFrame
    assert got.shape == expected.shape
    assert spelled_index(got.index) == spelled_index(expected.index)
    assert spelled_index(got.columns) == spelled_index(expected.columns)
    for position in range(expected.shape[1]):
        one, other = got.iloc[:, position], expected.iloc[:, position]
        assert one.dtype == other.dtype
        assert spelled_type(one.dtype) == spelled_type(other.dtype)
        assert type(one.array) is type(other.array)
        assert spelled_values(one.array) == spelled_values(other.array)
    assert got.equals(expected)
    assert spelled(got.attrs) == spelled(expected.attrs)
    assert got.flags == expected.flags


# --- the frames -------------------------------------------------------------------------


def column(values: Any, dtype: Any) -> pd.DataFrame:
    """Return a frame of one column of exactly this type."""
    return pd.DataFrame({"x": pd.Series(values, dtype=dtype)})


def objects(*cells: Any) -> pd.DataFrame:
    """Return a frame of one column of these very objects."""
    return column(list(cells), object)


def bits(dtype: str, *patterns: int) -> pd.DataFrame:
    """Return a frame of one column of numbers, given as their bits."""
    return column(np.array(patterns, f"u{np.dtype(dtype).itemsize}").view(dtype), dtype)


def indexed(index: Any) -> pd.DataFrame:
    """Return a frame with this index."""
    return pd.DataFrame({"x": range(len(index))}, index=index)


def labelled(labels: Any) -> pd.DataFrame:
    """Return a frame of one row with these labels."""
    frame = pd.DataFrame([range(len(labels))])
    frame.columns = labels
    return frame


def noted(**attrs: Any) -> pd.DataFrame:
    """Return a frame with attributes."""
    frame = pd.DataFrame({"x": [1]})
    frame.attrs.update(attrs)
    return frame


def unique_labels_only() -> pd.DataFrame:
    """Return a frame that refuses repeated labels."""
    return pd.DataFrame({"x": [1]}).set_flags(allows_duplicate_labels=False)


def numbers() -> dict[str, pd.DataFrame]:
    """Return the least and the greatest of each number type, of numpy and masked."""
    cases = {}
    for width in (8, 16, 32, 64):
        low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
        cases[f"int{width}"] = column([low, 0, high], f"int{width}")
        cases[f"uint{width}"] = column([0, 2**width - 1], f"uint{width}")
        cases[f"Int{width}"] = column([low, None, high], f"Int{width}")
        cases[f"UInt{width}"] = column([None, 0, 2**width - 1], f"UInt{width}")
        cases[f"Int{width}, all there"] = column([low, high], f"Int{width}")
    return cases


def moments() -> dict[str, pd.DataFrame]:
    """Return moments and spans of each unit, with and without zone."""
    cases = {}
    low = np.iinfo(np.int64).min
    extremes = np.array([0, low, 1, -1, 2**62, -(2**62), 2**63 - 1, low + 1])
    for unit in ("s", "ms", "us", "ns"):
        near = np.array([low, 0, -1, 1_700_000_000]).view(f"M8[{unit}]")
        cases[f"moments {unit}"] = column(near, near.dtype)
        cases[f"spans {unit}"] = column(extremes.view(f"m8[{unit}]"), f"m8[{unit}]")
        for zone in ("UTC", "Europe/Zurich"):
            zoned = pd.Series(near).dt.tz_localize("UTC").dt.tz_convert(zone)
            cases[f"moments {unit} {zone}"] = pd.DataFrame({"x": zoned})
    for unit in ("us", "ns"):
        cases[f"moments {unit}, extremes"] = column(extremes.view(f"M8[{unit}]"), f"M8[{unit}]")
    offset = dt.timezone(dt.timedelta(hours=5, minutes=45))
    cases["fixed offset"] = pd.DataFrame({"x": pd.date_range("2020", periods=3, tz=offset)})
    return cases


TEXTS: Final = ["", "a\0b", "é", "\U0001f9ec", None, "x" * 300]
STEPPED: Final = pd.date_range("2020-01-31", periods=3, freq="ME", name="when")
PAIRS: Final = pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("a", 3)], names=["gene", None])

CASES: Final[Mapping[str, pd.DataFrame]] = {
    **numbers(),
    **moments(),
    "float64": column([0.0, -0.0, 5e-324, np.inf, -np.inf, np.nan], "float64"),
    "float16 NaN bits": bits("float16", 0x7E01, 0xFE00, 0x7C01, 0x0001, 0x8000),
    "bool": column([True, False], "bool"),
    "complex128": column([1 + 2j, -0.0j, complex(np.nan, np.inf)], "complex128"),
    "complex64": column([1 + 2j, 0], "complex64"),
    "big-endian": column(np.array([1, 2**40], ">i8"), ">i8"),
    "Float64": column(
        pd.arrays.FloatingArray(np.array([1.5, np.nan, -0.0]), np.array([False, True, False])),
        "Float64",
    ),
    "Float64 NaN is not NA": column(
        pd.arrays.FloatingArray(np.array([np.nan, 1.0, 2.0]), np.array([False, True, False])),
        "Float64",
    ),
    "Float32": column([1.5, None], "Float32"),
    "boolean": column([True, None, False], "boolean"),
    "boolean, all missing": column([None, None], "boolean"),
    "str": column(TEXTS, "str"),
    "str, python": column(TEXTS, pd.StringDtype("python", na_value=np.nan)),
    "string, python": column(TEXTS, pd.StringDtype("python")),
    "string, pyarrow": column(TEXTS, pd.StringDtype("pyarrow")),
    "str, all missing": column([None, None], "str"),
    "objects: text": objects("a", "", "é\0"),
    "objects: text, None": objects("a", None),
    "objects: text, nan": objects("a", np.nan),
    "objects: text, NA": objects("a", pd.NA),
    "objects: text, NaT": objects("a", pd.NaT),
    "objects: None": objects(None, None),
    "objects: nan": objects(np.nan, np.nan),
    "objects: NA": objects(pd.NA),
    "objects: bytes": objects(b"", b"\xff\0", None),
    "objects: bool": objects(True, None, False),
    "objects: bool, NA": objects(True, pd.NA),
    "objects: int": objects(1, -(2**63), None),
    "objects: float": objects(1.5, np.nan, -0.0, None),
    "objects: date": objects(dt.date(1, 1, 1), None, dt.date(9999, 12, 31)),
    "objects: int, nan": objects(1, np.nan),
    "objects: nothing": objects(),
    "objects: Decimal": objects(Decimal("1.10"), Decimal("-0"), Decimal("1E+40"), None),
    "objects: UUID": objects(uuid.UUID(int=5), None),
    "objects: datetime": objects(dt.datetime(1, 1, 1), None, dt.datetime.max),  # noqa: DTZ001, DTZ901
    "objects: time": objects(dt.time(12, 30, 1, 5), None),
    "objects: timedelta": objects(dt.timedelta(days=-1, microseconds=1), None),
    "objects: lists of text": objects(["USH2A", None, ""], [], None),
    "objects: lists of int": objects([1, -(2**63)], [None]),
    "objects: lists of float": objects([1.5, None, -0.0], [np.inf]),
    "objects: lists of bool": objects([True, None]),
    "objects: lists of nothing": objects([], [None]),
    "objects: lists of all sorts": objects([1, "a", 1.0, True, [None, 2**70]], []),
    "objects: dicts": objects({"b": 1, "a": [1.0, {"é": None}]}, {}, None),
    "objects: dicts, nan": objects({"a": 0.1 + 0.2}, np.nan),
    "category": column(["b", "a", None, "b"], pd.CategoricalDtype(["b", "a", "unused"])),
    "category, ordered": column(
        ["low", "high"], pd.CategoricalDtype(["low", "high"], ordered=True)
    ),
    "category of int": column([3, 1, None], "category"),
    "category of float": column([1.5, -0.0, None], "category"),
    "category of bool": column([True, None], pd.CategoricalDtype([False, True])),
    "category of moments": pd.DataFrame(
        {"x": pd.Categorical(pd.date_range("2020", periods=3, tz="Europe/Zurich"))}
    ),
    "category of spans": pd.DataFrame(
        {"x": pd.Categorical(pd.timedelta_range("1s", periods=3))}
    ),
    "category of objects": pd.DataFrame(
        {"x": pd.Categorical(np.array(["a", "b"], object), pd.Index(["b", "a"], dtype=object))}
    ),
    "category of all sorts": pd.DataFrame(
        {"x": pd.Categorical([1, "1", None], pd.Index(["1", 1, 2.5], dtype=object))}
    ),
    "category of tuples": pd.DataFrame(
        {
            "x": pd.Categorical.from_codes(
                [1, 0, -1], pd.Index([("a", 1), ("b", 2)], tupleize_cols=False)
            )
        }
    ),
    "category of nothing": column([None, None], pd.CategoricalDtype([])),
    "category of 300": pd.DataFrame(
        {"x": pd.Categorical.from_codes([299, 0, -1], pd.Index([f"v{i}" for i in range(300)]))}
    ),
    "category of masked": pd.DataFrame(
        {"x": pd.Categorical.from_codes([1, 0], pd.Index([5, 6], dtype="Int64"))}
    ),
    "category with a name": pd.DataFrame(
        {"x": pd.Categorical.from_codes([1], pd.Index(["a", "b"], name="allele"))}
    ),
    "category of periods": pd.DataFrame(
        {"x": pd.Categorical(pd.period_range("2020", periods=2, freq="M"))}
    ),
    "bins": pd.DataFrame({"x": pd.cut([1, 5, 9, np.nan], 3)}),
    "quantiles": pd.DataFrame({"x": pd.qcut(range(10), 4)}),
    "intervals": pd.DataFrame(
        {"x": pd.arrays.IntervalArray.from_tuples([(0, 1), (2, 5)], closed="left")}
    ),
    "intervals of float": pd.DataFrame(
        {"x": pd.arrays.IntervalArray.from_breaks([0.5, 1, np.inf], closed="both")}
    ),
    "intervals of moments": pd.DataFrame(
        {"x": pd.interval_range(pd.Timestamp("2020"), periods=2)}
    ),
    "periods": column(pd.PeriodIndex(["2020-01", None, "1950-12"], freq="M"), "period[M]"),
    "periods of weeks": column(pd.period_range("2020", periods=2, freq="W-TUE"), None),
    "Arrow int": column([1, None], pd.ArrowDtype(pa.int64())),
    "Arrow text": column(["a", None], pd.ArrowDtype(pa.string())),
    "Arrow large text": column(["a", None], pd.ArrowDtype(pa.large_string())),
    "Arrow float": column([1.5, None], pd.ArrowDtype(pa.float32())),
    "Arrow half": column([1.5, None], pd.ArrowDtype(pa.float16())),
    "Arrow bool": column([True, None], pd.ArrowDtype(pa.bool_())),
    "Arrow decimal": column([Decimal("1.10"), None], pd.ArrowDtype(pa.decimal128(5, 2))),
    "Arrow wide decimal": column([Decimal("1.10"), None], pd.ArrowDtype(pa.decimal256(50, 2))),
    "Arrow date": column([dt.date(2020, 1, 1), None], pd.ArrowDtype(pa.date32())),
    "Arrow time": column([dt.time(1, 2, 3), None], pd.ArrowDtype(pa.time32("s"))),
    "Arrow moments": column(
        [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None],
        pd.ArrowDtype(pa.timestamp("ns", "Asia/Tokyo")),
    ),
    "Arrow spans": column([dt.timedelta(1), None], pd.ArrowDtype(pa.duration("ms"))),
    "Arrow bytes": column([b"ab", None], pd.ArrowDtype(pa.binary(2))),
    "Arrow list": column([[1, None], None, []], pd.ArrowDtype(pa.list_(pa.int64()))),
    "Arrow array": column([[1, 2], None], pd.ArrowDtype(pa.list_(pa.int64(), 2))),
    "Arrow struct": column(
        [{"a": 1, "A": "x"}, None],
        pd.ArrowDtype(pa.struct([("a", pa.int8()), ("A", pa.string())])),
    ),
    "Arrow map": column(
        [[("a", 1), ("a", 2)], None], pd.ArrowDtype(pa.map_(pa.string(), pa.int64()))
    ),
    "Arrow dictionary": pd.DataFrame(
        {"x": pd.arrays.ArrowExtensionArray(pa.array(["a", None, "b"]).dictionary_encode())}
    ),
    "Arrow null": column([None], pd.ArrowDtype(pa.null())),
    "range index": indexed(pd.RangeIndex(10, 0, -3, name="row")),
    "empty range": indexed(pd.RangeIndex(5, 5)),
    "index of int": indexed(pd.Index([3, 1, 1], name=5)),
    "index of int8": indexed(pd.Index([3, 1], dtype="int8")),
    "index of float": indexed(pd.Index([1.5, np.nan, -0.0])),
    "index of bool": indexed(pd.Index([True, False, True])),
    "index of text": indexed(pd.Index(["b", "a", None], name="gene")),
    "index of objects": indexed(pd.Index(["b", None], dtype=object, name=("a", 1))),
    "index of masked": indexed(pd.Index([1, None], dtype="Int64")),
    "index of Arrow": indexed(pd.Index(["a", None], dtype=pd.ArrowDtype(pa.string()))),
    "index of categories": indexed(
        pd.CategoricalIndex(["a", "b", None], ["b", "a"], ordered=True)
    ),
    "index of moments": indexed(pd.DatetimeIndex(["2020-01-01", None, "2019-01-01"])),
    "index of steps": indexed(STEPPED),
    "index of steps back": indexed(STEPPED[::-1]),
    "index of business days": indexed(pd.bdate_range("2020-01-01", periods=4)),
    "index of steps through summer time": indexed(
        pd.date_range("2020-03-28", periods=4, freq="D", tz="Europe/Zurich")
    ),
    "index of hours": indexed(pd.date_range("2020", periods=4, freq="6h", unit="ns")),
    "index of spans": indexed(pd.timedelta_range("1D", periods=3, freq="36h")),
    "index of spans without step": indexed(pd.TimedeltaIndex(["1D", "5D", None])),
    "index of periods": indexed(pd.period_range("2020", periods=3, freq="Q")),
    "index of intervals": indexed(pd.interval_range(0, 3, name="bin")),
    "index of pairs": indexed(PAIRS),
    "index of all": indexed(
        pd.MultiIndex.from_arrays(
            [
                ["a", None],
                pd.date_range("2020", periods=2, tz="UTC"),
                pd.Categorical(["x", "y"], ["y", "x"]),
                [1.5, np.nan],
            ],
            names=["a", "a", ("t", 2), None],
        )
    ),
    "index of one level": indexed(pd.MultiIndex.from_arrays([[1, 2]], names=["only"])),
    "empty index of pairs": indexed(PAIRS[:0]),
    "labels of text": labelled(["b", "a"]),
    "labels of objects": labelled(pd.Index(["b", "a"], dtype=object)),
    "labels of int": labelled([3, 1]),
    "labels of a range": labelled(pd.RangeIndex(0, 6, 2)),
    "labels of bool": labelled([True, False]),
    "labels of float": labelled([1.5, np.nan]),
    "labels 1 and '1'": labelled(pd.Index([1, "1", 1.0, True], dtype=object)),
    "labels of numpy": labelled(pd.Index([np.int64(1), np.float32(1.5), "x"], dtype=object)),
    "labels missing": labelled(pd.Index([None, np.nan, pd.NA, pd.NaT], dtype=object)),
    "labels of moments": labelled(pd.date_range("2020", periods=3, freq="D", name="day")),
    "labels of moments as objects": labelled(
        pd.Index(
            [
                pd.Timestamp("2020", tz="UTC"),
                dt.datetime(2020, 1, 1),  # noqa: DTZ001 - without a zone, on purpose
                dt.date(2020, 1, 1),
                pd.Timedelta("1s"),
                dt.timedelta(1),
                dt.time(1),
            ],
            dtype=object,
        )
    ),
    "labels of pairs": labelled(
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["k", None])
    ),
    "labels of tuples": labelled(pd.Index([("a", 1), "b"], dtype=object, tupleize_cols=False)),
    "labels of categories": labelled(pd.CategoricalIndex(["x", "y"], ["y", "x"])),
    "labels of bins": labelled(pd.interval_range(0, 2)),
    "labels of periods": labelled(pd.period_range("2020", periods=2, freq="M")),
    "labels of masked": labelled(pd.Index([1, 2], dtype="UInt8")),
    "labels, one case": labelled(["a", "A", "a_1"]),
    "labels repeated": labelled(["a", "a", "b"]),
    "labels empty": labelled(["", "\0", "select"]),
    "labels beyond Unicode": labelled(pd.Index(["\ud800", "\ud800?"], dtype=object)),
    "labels with a name": labelled(pd.Index(["a"], name=("k", 1))),
    "attrs": noted(source="v1", n=1, deep={"a": [1.5, None, True]}),
    "unique labels only": unique_labels_only(),
    "no columns": pd.DataFrame(),
    "no columns, three rows": pd.DataFrame(index=range(3)),
    "no columns, index": pd.DataFrame(index=["a", "b"]),
    "no columns, labels of int": pd.DataFrame(columns=pd.Index([], dtype="int64")),
    "no rows": pd.DataFrame(
        {
            "a": pd.Series(dtype="int8"),
            "b": pd.Series(dtype="str"),
            "c": pd.Series(dtype="category"),
            "d": pd.Series(dtype="M8[s]"),
        }
    ),
    "wide": pd.DataFrame(np.arange(600.0).reshape(2, 300)),
    "slice": pd.DataFrame(
        {"a": range(100), "b": [str(i) for i in range(100)], "c": np.arange(100) % 3 == 0}
    )[13:60:2],
    "strided": pd.DataFrame(np.asfortranarray(np.arange(12).reshape(3, 4)))[::2],
}
#: DuckDB stores a block of floats that it takes for equal as one of them, and so loses the
#: bits of NaN (2.0) or the sign of zero (1.5). No setting prevents it; the digest tells.
FRAIL: Final[Mapping[str, pd.DataFrame]] = {
    "float64 NaN": bits("float64", 0x7FF8000000000001, 0xFFF8 << 48, 0x7FF0 << 48 | 5),
    "float32 NaN": bits("float32", 0x7FC00001, 0xFFC00000, 0x7F800001),
    "zeros": column([0.0, -0.0] * 5000, "float64"),
}


# --- the two ways -----------------------------------------------------------------------


def through_json(packed: Packed) -> dict[str, Any]:
    """Return a schema as it is after it was stored."""
    schema: dict[str, Any] = json.loads(json.dumps(packed.schema, allow_nan=False))
    return schema


def sealed(packed: Packed, path: Path) -> pa.Table:
    """Write a table to an uncompressed segment and return it mapped."""
    with pa.ipc.new_file(path, packed.table.schema) as writer:
        writer.write_table(packed.table)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Publish every case in one database, close it and open it again."""
    path = tmp_path_factory.mktemp("tables") / "pandas.duckdb"
    with duckdb.connect(path) as connection:
        for number, frame in enumerate(CASES.values()):
            packed = ADAPTER.to_arrow(frame)
            connection.register("packed", to_sql(packed.table, packed.schema["sql_names"]))
            connection.execute(f"CREATE TABLE t{number} AS SELECT * FROM packed")
            connection.unregister("packed")
    with duckdb.connect(path) as connection:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        yield connection


@pytest.mark.parametrize("name", [*CASES, *FRAIL])
def test_a_frame_survives_a_segment(name: str, tmp_path: Path) -> None:
    """A frame mapped from a segment is the frame that was sealed."""
    frame = {**CASES, **FRAIL}[name]
    packed = ADAPTER.to_arrow(frame)
    table = sealed(packed, tmp_path / "segment.arrow")
    table.validate(full=True)
    assert column_digests(table) == column_digests(packed.table)
    assert_exact(ADAPTER.from_arrow(table, through_json(packed)), frame)


@pytest.mark.parametrize("name", CASES)
def test_a_frame_survives_a_table(name: str, tables: duckdb.DuckDBPyConnection) -> None:
    """A frame read from a table is the frame that was published, also by its digest."""
    packed = ADAPTER.to_arrow(CASES[name])
    fetched = tables.sql(f"SELECT * FROM t{list(CASES).index(name)}").to_arrow_table()
    table = from_sql(fetched, packed.table.schema)
    assert column_digests(table) == column_digests(packed.table)
    assert_exact(ADAPTER.from_arrow(table, through_json(packed)), CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_a_restored_frame_is_packed_alike(name: str) -> None:
    """What was restored is packed to the same schema and digest."""
    packed = ADAPTER.to_arrow(CASES[name])
    again = ADAPTER.to_arrow(ADAPTER.from_arrow(packed.table, packed.schema))
    assert again.schema == packed.schema
    assert frame_digest(again) == frame_digest(packed)


@pytest.mark.parametrize("name", FRAIL)
def test_a_table_that_lost_bits_is_found_out(name: str, tmp_path: Path) -> None:
    """What a table gives back is the frame, or its digest is another."""
    packed = ADAPTER.to_arrow(FRAIL[name])
    with duckdb.connect(tmp_path / "t.duckdb") as connection:
        connection.register("packed", to_sql(packed.table, ["x"]))
        connection.execute("CREATE TABLE t AS SELECT * FROM packed")
    with duckdb.connect(tmp_path / "t.duckdb") as connection:
        fetched = connection.sql("SELECT * FROM t").to_arrow_table()
    table = from_sql(fetched, packed.table.schema)
    got = ADAPTER.from_arrow(table, packed.schema)
    same = spelled_values(got["x"].array) == spelled_values(FRAIL[name]["x"].array)
    assert same == (column_digests(table) == column_digests(packed.table))


# --- random frames ----------------------------------------------------------------------

FLOATS: Final = st.integers(0, 2**64 - 1).map(
    lambda n: struct.unpack("<d", struct.pack("<Q", n))[0]
)
WORDS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def series_of(cells: st.SearchStrategy[Any], dtype: Any, size: int) -> st.SearchStrategy[Any]:
    """Return random Series of one type and length."""
    lists = st.lists(cells, min_size=size, max_size=size)
    return lists.map(lambda values: pd.Series(values, dtype=dtype))


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Return random frames: any mix of types, labels and index."""
    size = draw(st.integers(0, 6))
    counts = st.integers(-(2**63) + 1, 2**63 - 1)
    kinds = [
        (counts, "int64"),
        (FLOATS, "float64"),
        (st.booleans(), "bool"),
        (st.none() | counts, "Int64"),
        (st.none() | st.booleans(), "boolean"),
        (st.none() | WORDS, "str"),
        (st.none() | WORDS, "string"),
        (st.none() | WORDS, object),
        (st.none() | st.sampled_from("abc"), pd.CategoricalDtype(list("dcba"))),
        (st.integers(-(2**40), 2**40), "M8[us]"),
        (st.integers(-(2**40), 2**40), "m8[ns]"),
        (
            st.integers(-(2**40), 2**40),
            pd.DatetimeTZDtype("ms", zoneinfo.ZoneInfo("Asia/Tokyo")),
        ),
    ]
    chosen = draw(st.lists(st.sampled_from(kinds), max_size=5))
    columns = [draw(series_of(cells, dtype, size)) for cells, dtype in chosen]
    cells, dtype = draw(st.sampled_from(kinds))
    index = pd.Index(draw(series_of(cells, dtype, size)), name=draw(st.none() | WORDS | counts))
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(size))
    if draw(st.booleans()):
        frame.index = index
    labels = st.none() | WORDS | counts | st.booleans() | st.tuples(WORDS, counts) | FLOATS
    names = draw(st.lists(labels, min_size=len(columns), max_size=len(columns)))
    frame.columns = pd.Index(names, dtype=object, tupleize_cols=False)
    return frame


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(frame=frames())
def test_any_frame_survives(frame: pd.DataFrame) -> None:
    """Frames of random types, labels and values come back, also from the types of SQL."""
    packed = ADAPTER.to_arrow(frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, packed.table.schema) as writer:
        writer.write_table(packed.table)
    table = pa.ipc.open_file(sink.getvalue()).read_all()
    assert_exact(ADAPTER.from_arrow(table, through_json(packed)), frame)
    back = from_sql(to_sql(table, packed.schema["sql_names"]), table.schema)
    assert column_digests(back) == column_digests(packed.table)
    assert_exact(ADAPTER.from_arrow(back, through_json(packed)), frame)


# --- what is refused --------------------------------------------------------------------


class Genes(pd.DataFrame):
    """A frame of one's own."""


REFUSED: Final[Mapping[str, tuple[Any, str]]] = {
    "subclass": (
        Genes({"x": [1]}),
        "the frame itself is a Genes, a subclass of pandas.DataFrame",
    ),
    "mixed objects": (
        objects(1, "a"),
        r"column 'x' is object holding int, str.*astype\('str'\)",
    ),
    "two missing": (
        objects("a", None, np.nan),
        r"object in which None and nan 0+f87f are missing",
    ),
    "tuples": (objects(("a", 1)), "object holding tuple"),
    "sets": (objects({"a"}), "object holding set"),
    "lists of other things": (objects([{"a"}]), "object holding list with set inside"),
    "dicts of other keys": (objects({1: "a"}), "object holding dict with keys that are no"),
    "numbers that JSON has not": (
        objects({"a": np.inf}),
        "object holding dict with a number that JSON does not have",
    ),
    "moments with a zone": (
        objects(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
        "object holding datetime with a time zone",
    ),
    "numpy cells": (objects(np.float64(1)), "object holding float64"),
    "great int": (objects(2**70), "object holding int out of range"),
    "text beyond Unicode": (objects("\ud800"), "object holding str out of range"),
    "text beyond Unicode, python": (
        column(["\ud800"], pd.StringDtype("python")),
        "not Unicode",
    ),
    "longdouble": (column([1], np.longdouble), "column 'x' is (float128|float96)"),
    "sparse": (column([0, 1], pd.SparseDtype("int64", 0)), r"column 'x' is Sparse"),
    "Arrow text views": (column(["a"], pd.ArrowDtype(pa.string_view())), "string_view"),
    "mixed index": (
        indexed(pd.Index([1, "1"], dtype=object)),
        "the index is object holding int, str",
    ),
    "level of an index": (
        indexed(pd.MultiIndex.from_arrays([[1, 2], pd.Index([1, "a"], dtype=object)])),
        "index level 1 is object holding",
    ),
    "step of no text": (
        indexed(pd.date_range("2020", periods=3, freq=pd.DateOffset(months=1))),
        "the index is stepping by <DateOffset: months=1>",
    ),
    "step with holidays": (
        indexed(
            pd.date_range(
                "2020", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2020-01-01"])
            )
        ),
        "the index is stepping by <CustomBusinessDay>",
    ),
    "odd label": (
        labelled(pd.Index([frozenset()], dtype=object)),
        "the column labels is frozenset",
    ),
    "odd name": (indexed(pd.Index([1], name=frozenset())), "the index name is frozenset"),
    "odd category": (
        pd.DataFrame(
            {"x": pd.Categorical.from_codes([0], pd.Index([frozenset()], dtype=object))}
        ),
        "column 'x' is frozenset",
    ),
    "tuple in attrs": (noted(a=(1, 2)), r"frame.attrs is \{'a': \(1, 2\)\}"),
    "NaN in attrs": (noted(a=np.nan), "frame.attrs is"),
    "date in attrs": (noted(a=dt.date(2020, 1, 1)), "Keep only what JSON can say"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_is_refused_by_name(name: str) -> None:
    """What could not be restored exactly is named before anything is written."""
    frame, message = REFUSED[name]
    adapter = adapter_for(frame)
    assert adapter is not None
    with pytest.raises(UnsupportedFrameError, match=message):
        adapter.to_arrow(frame)


def test_the_path_to_a_repeated_label_is_said() -> None:
    """The label of the column that stands in the way is shown as Python shows it."""
    frame = pd.DataFrame({("a", 1): [1], ("a", 2): [{1}]})
    with pytest.raises(UnsupportedFrameError, match=r"column \('a', 2\) is object holding set"):
        ADAPTER.to_arrow(frame)


def test_another_format_is_refused() -> None:
    """A schema of a kind that is another adapter's is not guessed at."""
    packed = ADAPTER.to_arrow(pd.DataFrame({"a": [1]}))
    with pytest.raises(
        ValueError, match=r"the schema is of 'polars.DataFrame', format 1; expected"
    ):
        ADAPTER.from_arrow(packed.table, packed.schema | {"kind": "polars.DataFrame"})


def test_a_table_of_another_width_is_refused() -> None:
    """A schema and a table that do not belong together are not zipped short."""
    packed = ADAPTER.to_arrow(pd.DataFrame({"a": [1]}, index=["x"]))
    with pytest.raises(ValueError, match="the schema has 2 columns, the table 1"):
        ADAPTER.from_arrow(packed.table.select([0]), packed.schema)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"cube": 1}, "no type is written as"),
        ({"numpy": "<f8"}, "a column of float64 is stored as int64"),
        (
            {
                "category": {
                    "ordered": False,
                    "categories": {"names": [["none"]], "range": [0, 1, 1]},
                }
            },
            "a column of category is stored as int64",
        ),
        (
            {"numpy": "|O", "objects": ["str", "None"]},
            "a column of str objects is stored as int64",
        ),
        ({"zoned": ["us", ["moon"]]}, "no time zone is written as"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused(described: Any, message: str) -> None:
    """A schema that says another type than the table holds is an error."""
    packed = ADAPTER.to_arrow(pd.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match=message):
        ADAPTER.from_arrow(packed.table, packed.schema | {"dtypes": [described]})


def test_a_missing_number_is_refused() -> None:
    """A null where the type has no missing value is an error, not some number."""
    packed = ADAPTER.to_arrow(pd.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match="a column of int64 has 1 missing values"):
        ADAPTER.from_arrow(pa.table({"0": pa.array([None], pa.int64())}), packed.schema)


def test_a_category_that_is_none_is_refused() -> None:
    """A value that is no category of the type is an error, not a missing one."""
    packed = ADAPTER.to_arrow(pd.DataFrame({"a": pd.Categorical(["x"])}))
    table = pa.table(
        {"0": pa.array(["y"]).dictionary_encode().cast(packed.table.schema.field(0).type)}
    )
    with pytest.raises(ValueError, match="values that are no categories"):
        ADAPTER.from_arrow(table, packed.schema)


# --- what is promised beside ------------------------------------------------------------


def test_a_restored_frame_can_be_written_to(tmp_path: Path) -> None:
    """Every column owns writable memory; writing changes no segment and no other frame."""
    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, np.nan],
            "b": [True, False],
            "t": ["a", None],
            "o": np.array(["a", None], object),
            "I": pd.array([1, None], "Int64"),
            "c": pd.Categorical(["x", "y"]),
            "d": pd.date_range("2020", periods=2),
            "z": pd.date_range("2020", periods=2, tz="UTC"),
            "s": pd.timedelta_range("1D", periods=2),
        }
    )
    packed = ADAPTER.to_arrow(frame)
    table = sealed(packed, tmp_path / "segment.arrow")
    before = (tmp_path / "segment.arrow").read_bytes()
    got = ADAPTER.from_arrow(table, packed.schema)
    for position in range(got.shape[1]):
        got.iloc[0, position] = got.iloc[1, position]
    assert got["i"].tolist() == [2, 2]
    assert (tmp_path / "segment.arrow").read_bytes() == before
    assert_exact(ADAPTER.from_arrow(table, packed.schema), frame)


def test_a_restored_frame_outlives_its_segment(tmp_path: Path) -> None:
    """No column is a view of the mapped file, text neither."""
    packed = ADAPTER.to_arrow(pd.DataFrame({"i": range(9), "t": list("abcdefghi")}))
    table = sealed(packed, tmp_path / "segment.arrow")
    got = ADAPTER.from_arrow(table, packed.schema)
    spans = [
        (buffer.address, buffer.address + buffer.size)
        for held in table.columns
        for buffer in held.chunk(0).buffers()
        if buffer is not None and buffer.size
    ]
    number = got["i"].to_numpy().__array_interface__["data"][0]
    text = pa.array(got["t"].array, type=pa.large_string())
    text = text.chunk(0) if isinstance(text, pa.ChunkedArray) else text
    held = [number, *(buffer.address for buffer in text.buffers() if buffer is not None)]
    assert not any(start <= address < end for address in held for start, end in spans)


def test_a_plain_table_becomes_a_frame() -> None:
    """A table of whatever origin becomes a frame under its own names, which owns its memory."""
    table = pa.table({"a": [1, 2], "b": ["x", None], "c": [1.5, 2.5]})
    got = ADAPTER.from_plain(table)
    assert got.columns.tolist() == ["a", "b", "c"]
    assert got["a"].dtype == "int64"
    got.loc[0, "a"] = 5
    got.loc[0, "c"] = 5.5
    assert table["a"].to_pylist() == [1, 2]
    assert ADAPTER.from_plain(table.select([])).shape == (2, 0)


def test_a_frame_is_described_by_label_and_type() -> None:
    """The description has one pair of texts for each data column, none for the index."""
    frame = pd.DataFrame({"a": [1], 1: ["x"]}, index=["i"])
    assert ADAPTER.describe(frame) == (("a", "int64"), ("1", "str"))
    assert ADAPTER.shape(frame) == (1, 2)
    assert ADAPTER.owns(frame)
    assert not ADAPTER.owns(frame["a"])


def test_the_index_has_columns_of_its_own_in_sql() -> None:
    """In a table the index stands behind the data, under its names."""
    frame = pd.DataFrame(
        {"x": [1], "gene": [2]},
        index=pd.MultiIndex.from_tuples([("a", 1)], names=["gene", None]),
    )
    packed = ADAPTER.to_arrow(frame)
    assert packed.schema["sql_names"] == ["x", "gene", "gene_1", "__index_level_1__"]
    assert packed.table.column_names == ["0", "1", "2", "3"]


def test_packing_leaves_the_frame_alone() -> None:
    """A frame is the same after it was packed, and what it is packed to is not its own."""
    for name in ("bins", "index of steps", "attrs", "strided"):
        before = CASES[name].copy()
        before.attrs = CASES[name].attrs
        ADAPTER.to_arrow(CASES[name])
        assert_exact(CASES[name], before)
