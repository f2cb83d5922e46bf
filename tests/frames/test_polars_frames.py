"""A polars frame that was stored comes back as it was, from a segment and from a table."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from polars.testing.parametric import dataframes

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.fingerprint.frames import column_digests, frame_digest
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.frames.table_schema import from_sql, to_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from usher_pipeline.frames import Packed

ADAPTER: Final = adapter_of_kind("polars.DataFrame")


# --- strict comparison ------------------------------------------------------------------


def spelled(value: Any) -> Any:
    """Return a cell with its type, and a float as its bits."""
    match value:
        case float():
            return struct.pack("<d", value)
        case list() | tuple():
            return [spelled(item) for item in value]
        case dict():
            return {key: spelled(item) for key, item in value.items()}
        case pl.Series():
            return str(value.dtype), [spelled(item) for item in value]
        case _:
            return type(value), value


def bits(series: pl.Series) -> Any:
    """Return the cells of a column; moments as counts, for no Python type holds them all."""
    temporal = series.dtype.is_temporal() and not series.dtype.is_nested()
    return spelled((series.to_physical() if temporal else series).to_list())


def assert_exact(got: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Check that two frames agree in all that a frame says."""
    assert type(got) is pl.DataFrame
    assert got.columns == expected.columns
    assert got.shape == expected.shape
    assert list(map(repr, got.dtypes)) == list(map(repr, expected.dtypes))
    for one, other in zip(got.get_columns(), expected.get_columns(), strict=True):
        assert one.dtype == other.dtype
        assert one.equals(other, check_dtypes=True, null_equal=True)
        assert bits(one) == bits(other)


# --- the frames -------------------------------------------------------------------------


def column(values: Any, dtype: Any) -> pl.DataFrame:
    """Return a frame of one column."""
    return pl.DataFrame({"x": pl.Series(values, dtype=dtype)})


def named(*names: str) -> pl.DataFrame:
    """Return a frame of one row with columns of these names."""
    frame = pl.DataFrame([pl.Series(f"c{i}", [i]) for i in range(len(names))])
    frame.columns = list(names)
    return frame


def physical(values: Any, dtype: Any) -> pl.DataFrame:
    """Return a frame of moments, given as counts."""
    return pl.DataFrame({"x": pl.Series(values, dtype=pl.Int64).cast(dtype)})


NAN_BITS: Final = struct.unpack(
    "<3d", struct.pack("<3Q", 0x7FF8000000000001, 0xFFF8 << 48, 0x7FF0 << 48 | 5)
)
EXTREMES: Final = [None, 0, 1, -1, 2**62, -(2**62), 2**63 - 1, -(2**63), -(2**63) + 1]
PERSON: Final = pl.Struct({"name": pl.String, "age": pl.Int8})


def integers() -> dict[str, pl.DataFrame]:
    """Return the least and the greatest of each integer type."""
    cases = {}
    for width in (8, 16, 32, 64, 128):
        low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
        cases[f"int{width}"] = column([low, 0, None, high], getattr(pl, f"Int{width}"))
        cases[f"uint{width}"] = column([0, None, 2**width - 1], getattr(pl, f"UInt{width}"))
    return cases


def moments() -> dict[str, pl.DataFrame]:
    """Return moments, spans, dates and times of each unit."""
    cases = {}
    for unit in ("ms", "us", "ns"):
        cases[f"datetime {unit}"] = physical(EXTREMES, pl.Datetime(unit))
        cases[f"duration {unit}"] = physical(EXTREMES, pl.Duration(unit))
        cases[f"zoned {unit}"] = physical(
            [None, 0, -1, 1_700_000_000_123], pl.Datetime(unit, "America/New_York")
        )
        cases[f"utc {unit}"] = physical([None, 0, 5], pl.Datetime(unit, "UTC"))
    return cases | {
        "zoned us, extremes": physical(EXTREMES, pl.Datetime("us", "Asia/Tokyo")),
        "zoned ns, extremes": physical(EXTREMES, pl.Datetime("ns", "Asia/Tokyo")),
        "fixed offset": physical([0, None], pl.Datetime("us", "Etc/GMT-2")),
        "dates": pl.DataFrame(
            {"x": pl.Series([None, 0, 2**31 - 1, -(2**31)], dtype=pl.Int32).cast(pl.Date)}
        ),
        "times": physical([None, 0, 1, 86_399_999_999_999], pl.Time),
    }


CASES: Final[Mapping[str, pl.DataFrame]] = {
    **integers(),
    **moments(),
    "float64": column(
        [None, 0.0, -0.0, 5e-324, 1e308, float("inf"), -float("inf"), *NAN_BITS], pl.Float64
    ),
    "float32": column([None, 0.0, -0.0, 1e-45, float("inf"), float("nan")], pl.Float32),
    "float16": column([None, 0.0, -0.0, 65504.0, 6e-8, float("inf"), float("nan")], pl.Float16),
    "boolean": column([True, False, None], pl.Boolean),
    "boolean full": column([True, False] * 9, pl.Boolean),
    "text": column(["", "a\0b", "é", "\U0001f9ec", "x" * 5000, None], pl.String),
    "text missing": column([None, None], pl.String),
    "bytes": column([b"", b"\0", b"\xff\xfe", None], pl.Binary),
    "decimal": column([Decimal("1.10"), Decimal("-999.99"), None], pl.Decimal(5, 2)),
    "decimal of fractions": column([Decimal("0." + "9" * 38), None], pl.Decimal(38, 38)),
    "decimal of digits": column([Decimal(10**38 - 1), None], pl.Decimal(38, 0)),
    "null": column([None, None, None], pl.Null),
    "categorical": column(["b", "a", None, "b"], pl.Categorical),
    "categorical empty text": column(["", None], pl.Categorical),
    "categories of a name": column(
        ["b", None, "a"], pl.Categorical(pl.Categories("genes", "hg", pl.UInt8))
    ),
    "categories of 16 bits": column(
        ["b", None], pl.Categorical(pl.Categories("wide", "", pl.UInt16))
    ),
    "enum": column(["low", None, "high"], pl.Enum(["low", "high", "unused"])),
    "enum against the alphabet": column(["b", "a"], pl.Enum(["z", "b", "a"])),
    "enum of 300": column(["v299", "v0"], pl.Enum([f"v{i}" for i in range(300)])),
    "enum of nothing": column([None], pl.Enum([])),
    "list": column([[1, None], [], None, [2]], pl.List(pl.Int16)),
    "list of lists": column([[[1], None, []], None], pl.List(pl.List(pl.Int64))),
    "list of null": column([[None], [], None], pl.List(pl.Null)),
    "list of text": column([["a", None, ""], None], pl.List(pl.String)),
    "list of structs": column([[{"name": "a", "age": 1}, None], None, []], pl.List(PERSON)),
    "list of enum": column([["a"], None, ["b", None]], pl.List(pl.Enum(["b", "a"]))),
    "list of categories": column([["a"], None, ["b", None]], pl.List(pl.Categorical)),
    "list of int128": column([[2**100, None], None], pl.List(pl.Int128)),
    "list of zoned": column([[0, None], None], pl.List(pl.Int64)).cast(
        {"x": pl.List(pl.Datetime("ns", "Asia/Tokyo"))}
    ),
    "list of duration": column([[0, None], None], pl.List(pl.Int64)).cast(
        {"x": pl.List(pl.Duration("ms"))}
    ),
    "list of float16": column([[1.5, None], None], pl.List(pl.Float16)),
    "array": column([[1, 2], None, [3, None]], pl.Array(pl.Int32, 2)),
    "array of arrays": column([[[1, 2, 3], [4, None, 6]], None], pl.Array(pl.Int8, (2, 3))),
    "array of nothing": column([[], None, []], pl.Array(pl.Int32, 0)),
    "arrays of nothing": column([[[], []], None], pl.Array(pl.Int32, (2, 0))),
    "array of text": column([["a", ""], None], pl.Array(pl.String, 2)),
    "array of enum": column([["a"], None], pl.Array(pl.Enum(["a"]), 1)),
    "long array": column([list(range(100_001)), None], pl.Array(pl.Int32, 100_001)),
    "list of arrays": column([[[1, 2], None], None, []], pl.List(pl.Array(pl.Int64, 2))),
    "struct": column([{"name": "a", "age": None}, None, {"name": None, "age": 3}], PERSON),
    "struct of one case": column(
        [{"a": 1, "A": 2}, None], pl.Struct({"a": pl.Int8, "A": pl.Int8})
    ),
    "struct of odd names": column(
        [{"": 1, "a b": 2, '"': 3}], pl.Struct(dict.fromkeys(["", "a b", '"'], pl.Int8))
    ),
    "struct of nothing": column([{}, None, {}], pl.Struct([])),
    "struct of all": column(
        [{"i": 2**100, "e": "a", "d": 5, "s": {"l": [1.5]}}, None],
        pl.Struct(
            {
                "i": pl.Int128,
                "e": pl.Enum(["a"]),
                "d": pl.Duration("ms"),
                "s": pl.Struct({"l": pl.List(pl.Float16)}),
            }
        ),
    ),
    "no columns": pl.DataFrame(),
    "no columns, three rows": pl.DataFrame({"a": [1, 2, 3]}).drop("a"),
    "no rows": pl.DataFrame(
        schema={"a": pl.Int8, "b": pl.List(pl.Enum(["x"])), "c": pl.Int128, "d": pl.Struct([])}
    ),
    "one case of names": named("a", "A", "a_1", "A_1"),
    "empty name": named("", "x"),
    "only an empty name": named(""),
    "name with NUL": named("a\0b", "a"),
    "words of SQL": named("select", "rowid", "_rows", 'quo"te', "do.t", "spa ce", "new\nline"),
    "letters": named("é", "É", "ß", "ẞ", "\U0001f9ec"),
    "long name": named("n" * 5000),
    "names by number": named("1", "0"),
    "chunks": pl.concat(
        [pl.DataFrame({"a": [i, None], "b": ["x", None]}) for i in range(5)], rechunk=False
    ),
    "slice": pl.DataFrame(
        {
            "a": list(range(100)),
            "b": [str(i) for i in range(100)],
            "c": [i % 3 == 0 for i in range(100)],
        }
    ).slice(13, 50),
}

if hasattr(pl, "Map"):
    MAPS: Mapping[str, pl.DataFrame] = {
        "map": column([{"a": 1, "b": None}, None, {}], pl.Map(pl.String, pl.Int32)),
        "map of enum": column([{"a": "x"}, None], pl.Map(pl.String, pl.Enum(["x"]))),
    }
else:
    MAPS = {}
ALL: Final = {**CASES, **MAPS}
#: What polars calls types of somebody else's, where it has them.
EXTENSIONS: Final = [pl.Extension] if hasattr(pl, "Extension") else []


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
    path = tmp_path_factory.mktemp("tables") / "polars.duckdb"
    with duckdb.connect(path) as connection:
        for number, frame in enumerate(ALL.values()):
            publish(connection, number, ADAPTER.to_arrow(frame))
    with duckdb.connect(path) as connection:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        yield connection


def publish(connection: duckdb.DuckDBPyConnection, number: int, packed: Packed) -> None:
    """Write a packed frame to a table."""
    connection.register("packed", to_sql(packed.table, packed.schema["sql_names"]))
    connection.execute(f"CREATE TABLE t{number} AS SELECT * FROM packed")
    connection.unregister("packed")


@pytest.mark.parametrize("name", ALL)
def test_a_frame_survives_a_segment(name: str, tmp_path: Path) -> None:
    """A frame mapped from a segment is the frame that was sealed."""
    packed = ADAPTER.to_arrow(ALL[name])
    table = sealed(packed, tmp_path / "segment.arrow")
    table.validate(full=True)
    assert column_digests(table) == column_digests(packed.table)
    assert_exact(ADAPTER.from_arrow(table, through_json(packed)), ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_a_frame_survives_a_table(name: str, tables: duckdb.DuckDBPyConnection) -> None:
    """A frame read from a table is the frame that was published, also by its digest."""
    packed = ADAPTER.to_arrow(ALL[name])
    fetched = tables.sql(f"SELECT * FROM t{list(ALL).index(name)}").to_arrow_table()
    table = from_sql(fetched, packed.table.schema)
    assert column_digests(table) == column_digests(packed.table)
    assert_exact(ADAPTER.from_arrow(table, through_json(packed)), ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_a_restored_frame_is_packed_alike(name: str) -> None:
    """What was restored is packed to the same schema and digest."""
    packed = ADAPTER.to_arrow(ALL[name])
    again = ADAPTER.to_arrow(ADAPTER.from_arrow(packed.table, packed.schema, copy=True))
    assert again.schema == packed.schema
    assert frame_digest(again) == frame_digest(packed)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    frame=dataframes(
        max_cols=6, max_size=12, allow_masked_out_nulls=False, excluded_dtypes=EXTENSIONS
    )
)
def test_any_frame_survives(frame: pl.DataFrame) -> None:
    """Frames of random types and values come back, from IPC and from the types of SQL."""
    packed = ADAPTER.to_arrow(frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, packed.table.schema) as writer:
        writer.write_table(packed.table)
    table = pa.ipc.open_file(sink.getvalue()).read_all()
    assert_exact(ADAPTER.from_arrow(table, through_json(packed)), frame)
    back = from_sql(to_sql(table, packed.schema["sql_names"]), table.schema)
    assert column_digests(back) == column_digests(packed.table)


# --- what is promised beside ------------------------------------------------------------


def test_numbers_are_mapped_without_a_copy(tmp_path: Path) -> None:
    """A frame of numbers shares the memory of its segment, unless a copy is asked for."""
    packed = ADAPTER.to_arrow(pl.DataFrame({"a": range(100_000)}))
    table = sealed(packed, tmp_path / "segment.arrow")
    where = table.column(0).chunk(0).buffers()[1].address

    def address(frame: pl.DataFrame) -> int:
        return int(frame["a"].to_arrow().buffers()[1].address)

    assert address(ADAPTER.from_arrow(table, packed.schema)) == where
    assert address(ADAPTER.from_arrow(table, packed.schema, copy=True)) != where


@pytest.mark.parametrize("name", ["text", "enum", "struct", "list", "chunks", "no rows"])
def test_a_copy_is_exact_too(name: str) -> None:
    """A frame that owns its memory is the same frame."""
    packed = ADAPTER.to_arrow(ALL[name])
    assert_exact(ADAPTER.from_arrow(packed.table, packed.schema, copy=True), ALL[name])


def test_objects_are_refused_by_name() -> None:
    """A column of Python objects is named, and what to do about it is said."""
    frame = pl.DataFrame(
        {"good": [1], "bad": [object()]}, schema={"good": pl.Int8, "bad": pl.Object}
    )
    with pytest.raises(
        UnsupportedFrameError, match=r"column 'bad' is Object.*Turn its objects"
    ):
        ADAPTER.to_arrow(frame)


def test_a_field_name_with_nul_is_refused() -> None:
    """A field that can not cross to Arrow is refused before polars would panic."""
    frame = column([[{"a\0": 1}]], pl.List(pl.Struct({"a\0": pl.Int8})))
    with pytest.raises(UnsupportedFrameError, match=r"column 'x' is Struct.*Rename the field"):
        ADAPTER.to_arrow(frame)


def test_a_panic_of_polars_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no Exception, and would pass through whatever catches errors."""

    def panics(*_: object, **__: object) -> None:
        raise pl.exceptions.PanicException("not yet implemented")

    monkeypatch.setattr(pl.Series, "to_arrow", panics)
    with pytest.raises(UnsupportedFrameError, match=r"column 'x' is Int64, at which polars"):
        ADAPTER.to_arrow(pl.DataFrame({"x": [1]}))


def test_a_subclass_is_refused_by_name() -> None:
    """A subclass may hold more than a frame, so it is no plain one."""

    class Genes(pl.DataFrame):
        pass

    adapter = adapter_for(Genes({"a": [1]}))
    assert adapter is not None
    with pytest.raises(
        UnsupportedFrameError, match=r"the frame itself is a .*Genes, a subclass"
    ):
        adapter.to_arrow(Genes({"a": [1]}))


def test_another_format_is_refused() -> None:
    """A schema of a format that is not known is not guessed at."""
    packed = ADAPTER.to_arrow(pl.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match=r"format 2; expected 'polars.DataFrame', format 1"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"format": 2})


def test_a_table_of_another_width_is_refused() -> None:
    """A schema and a table that do not belong together are not zipped short."""
    packed = ADAPTER.to_arrow(pl.DataFrame({"a": [1], "b": [2]}))
    with pytest.raises(ValueError, match="the schema has 2 columns, the table 1"):
        ADAPTER.from_arrow(packed.table.select([0]), packed.schema)


@pytest.mark.parametrize("data", ["Int7", {"Cube": 1}, 5, {}, ["Int8"]])
def test_a_type_that_nobody_knows_is_refused(data: Any) -> None:
    """A schema with a type of the future is an error, not another type."""
    packed = ADAPTER.to_arrow(pl.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match="this polars has no type"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"dtypes": [data]})


def test_a_plain_table_becomes_a_frame() -> None:
    """A table of whatever origin becomes a frame under its own names."""
    table = pa.table({"": [1, 2], "b": ["x", None]})
    expected = pl.DataFrame([pl.Series("", [1, 2]), pl.Series("b", ["x", None])])
    expected.columns = ["", "b"]
    assert_exact(ADAPTER.from_plain(table), expected)
    assert ADAPTER.from_plain(table.select([])).shape == (2, 0)


def test_a_frame_is_described_by_label_and_type() -> None:
    """The description has one pair of texts for each column."""
    frame = pl.DataFrame({"a": [1], "b": [["x"]]})
    assert ADAPTER.describe(frame) == (("a", "Int64"), ("b", "List(String)"))
    assert ADAPTER.shape(frame) == (1, 2)
    assert ADAPTER.owns(frame)
    assert not ADAPTER.owns(frame["a"])


def test_packing_leaves_the_frame_alone() -> None:
    """A frame is the same after it was packed."""
    before = ALL["chunks"].clone()
    ADAPTER.to_arrow(ALL["chunks"])
    assert_exact(ALL["chunks"], before)
    assert ALL["chunks"].n_chunks() == 5
