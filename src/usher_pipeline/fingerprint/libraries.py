"""How values of other libraries are written: arrays, frames, models, zones.

None of these libraries is imported: whoever holds a value of one has done so already.
"""

from __future__ import annotations

import datetime as dt
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import xxhash

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.fingerprint.encoder import UnencodableError, importable_name, type_name
from usher_pipeline.frames import adapter_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from usher_pipeline.fingerprint.encoder import Encode, Encoder

__all__ = ["RULES", "belongs_to", "mock_behind"]


def belongs_to(kind: type, module: str, *names: str) -> bool:
    """Tell whether a class is one of another library's, or derives from one.

    Args:
        kind: The class.
        module: The module that the classes are found in.
        names: The classes.
    """
    loaded = sys.modules.get(module)
    if loaded is None:
        return False
    known = (getattr(loaded, name, None) for name in names)
    return issubclass(kind, tuple(cls for cls in known if isinstance(cls, type)))


def _is_exactly(module: str, *names: str) -> Callable[[type], bool]:
    def applies(kind: type) -> bool:
        loaded = sys.modules.get(module)
        return loaded is not None and any(kind is getattr(loaded, n, None) for n in names)

    return applies


def _is_one_of(module: str, *names: str) -> Callable[[type], bool]:
    return lambda kind: belongs_to(kind, module, *names)


def _parts(encoder: Encoder, tag: bytes, value: Any, parts: Iterable[Any]) -> None:
    """Write a value as its type and a fixed number of parts."""
    encoder.text(tag, type_name(type(value)))
    encoder.nested(value, (("", part) for part in parts))


def _held(*names: str) -> Encode:
    """Write a value as its type and what some of its attributes hold."""

    def write(encoder: Encoder, value: Any) -> None:
        encoder.text(b"v", type_name(type(value)))
        held = {name: getattr(value, name) for name in names}
        encoder.count(b"", len(held))
        for name in held:
            encoder.text(b"s", name)
        encoder.nested(value, ((f".{name}", item) for name, item in held.items()))

    return write


# --- numpy ------------------------------------------------------------------------------


def _dtype(encoder: Encoder, dtype: Any) -> None:
    encoder.text(b"j", dtype.str)
    encoder.value((tuple(dtype.shape), dtype.itemsize, dict(dtype.metadata or {})))
    if dtype.subdtype is not None:
        _dtype(encoder, dtype.base)
    encoder.count(b"", len(dtype.names or ()))
    for name in dtype.names or ():
        field, offset = dtype.fields[name][:2]
        encoder.text(b"s", name)
        encoder.value(offset)
        _dtype(encoder, field)


def _kind(encoder: Encoder, dtype: Any) -> None:
    """Write the type of cells; how fields lie in memory does not count for an array."""
    encoder.text(b"j", dtype.str if dtype.names is None else "fields")
    encoder.count(b"", len(dtype.names or ()))
    for name in dtype.names or ():
        encoder.text(b"s", name)
        _kind(encoder, dtype.fields[name][0])


def _array(encoder: Encoder, array: Any) -> None:
    encoder.write(b"N")
    _kind(encoder, array.dtype)
    encoder.value(tuple(array.shape))
    _cells(encoder, array)


def _cells(encoder: Encoder, array: Any) -> None:
    if array.dtype.names:
        # Between the fields there may be bytes that mean nothing.
        for name in array.dtype.names:
            _array(encoder, array[name])
    elif array.dtype.hasobject:
        items = array.ravel().tolist()
        encoder.nested(array, ((f"[{index}]", item) for index, item in enumerate(items)))
    elif array.nbytes:
        plain = sys.modules["numpy"].ascontiguousarray(array).reshape(-1).view("u1")
        encoder.write(xxhash.xxh3_128_digest(memoryview(plain)))


def _array_of_class(encoder: Encoder, array: Any) -> None:
    """Write an array of a class of numpy's own that holds nothing besides."""
    encoder.text(b"v", type(array).__name__)
    _array(encoder, sys.modules["numpy"].asarray(array))


def _scalar(encoder: Encoder, value: Any) -> None:
    encoder.write(b"y")
    _array(encoder, sys.modules["numpy"].asarray(value))


def _ufunc(encoder: Encoder, value: Any) -> None:
    # Before numpy 2.2 a ufunc does not say where it is found.
    is_numpys = getattr(sys.modules["numpy"], value.__name__, None) is value
    name = f"numpy.{value.__name__}" if is_numpys else importable_name(value)
    if name is None:
        raise UnencodableError(value, "Pass the function that it was made of.")
    encoder.text(b"G", name)


# --- frames and their parts -------------------------------------------------------------


def _frame(encoder: Encoder, frame: Any) -> None:
    _frame_of(encoder, frame, frame)


def _frame_of(encoder: Encoder, value: Any, frame: Any) -> None:
    """Write a value by the content of a frame that holds nothing else."""
    from usher_pipeline.fingerprint import frames

    adapter = adapter_for(frame)
    assert adapter is not None  # noqa: S101 - the encoder was chosen by this very test
    try:
        digest = frames.frame_digest(adapter.to_arrow(frame))
    except UnsupportedFrameError as problem:
        cure = f"In it {problem.column} is {problem.type_name}. {problem.cure}"
        raise UnencodableError(value, cure) from problem
    except ValueError as problem:
        raise UnencodableError(value, f"In it {problem}; pass another type.") from problem
    encoder.text(b"t", digest)


def _polars_series(encoder: Encoder, series: Any) -> None:
    encoder.write(b"=")
    _frame_of(encoder, series, series.to_frame())


def _polars_dtype(encoder: Encoder, dtype: Any) -> None:
    # A type is what an empty column of it is.
    encoder.write(b"~")
    empty = sys.modules["polars"].Series("", [], dtype=dtype)
    _frame_of(encoder, dtype, empty.to_frame())


def _lazy_frame(_: Encoder, frame: Any) -> None:
    raise UnencodableError(frame, "It holds a plan and no data; pass frame.collect().")


def _pandas_series(encoder: Encoder, series: Any) -> None:
    encoder.write(b"|")
    # A series without a name would become the column 0.
    encoder.value(series.name)
    _frame_of(encoder, series, series.to_frame("values"))


def _pandas_index(encoder: Encoder, index: Any) -> None:
    encoder.write(b"#")
    _frame_of(encoder, index, sys.modules["pandas"].DataFrame(index=index))


def _pandas_array(encoder: Encoder, values: Any) -> None:
    encoder.write(b"+")
    _frame_of(encoder, values, sys.modules["pandas"].DataFrame({"values": values}))


def _pandas_dtype(encoder: Encoder, dtype: Any) -> None:
    encoder.write(b"^")
    _pandas_array(encoder, sys.modules["pandas"].array([], dtype=dtype))


def _pandas_moment(encoder: Encoder, value: Any) -> None:
    zone = getattr(value, "tzinfo", None)
    _parts(encoder, b"@", value, (value.asm8, zone, getattr(value, "fold", 0)))


def _is_offset(kind: type) -> bool:
    """Tell whether a class is one of the steps of dates that pandas has."""
    is_step = belongs_to(kind, "pandas._libs.tslibs.offsets", "BaseOffset")
    return is_step and kind.__module__.partition(".")[0] == "pandas"


def _pandas_offset(encoder: Encoder, offset: Any) -> None:
    # pandas has them in the order of a set, which is another one in each process.
    stated = dict(sorted(offset.kwds.items()))
    calendar = stated.get("calendar")
    if calendar is not None:
        stated["calendar"] = (calendar.weekmask, calendar.holidays)
    encoder.text(b"@", type(offset).__name__)
    parts = (offset.n, offset.normalize, stated)
    encoder.nested(offset, (("", part) for part in parts))


def _arrow_scalar(encoder: Encoder, value: Any) -> None:
    encoder.text(b"%", str(value.type))
    _arrow_column(encoder, sys.modules["pyarrow"].repeat(value, 1))


def _arrow_table(encoder: Encoder, table: Any) -> None:
    encoder.text(b"%", type_name(type(table)))
    _arrow_fields(encoder, table.schema)
    for column in table.columns:
        _arrow_column(encoder, column)


def _arrow_schema(encoder: Encoder, schema: Any) -> None:
    encoder.write(b"&")
    _arrow_fields(encoder, schema)


def _arrow_fields(encoder: Encoder, schema: Any) -> None:
    fields = [(f.name, str(f.type), f.nullable, f.metadata) for f in schema]
    encoder.value((fields, schema.metadata))


def _arrow_column(encoder: Encoder, column: Any) -> None:
    from usher_pipeline.fingerprint import frames

    arrow = sys.modules["pyarrow"]
    encoder.text(b"%", type_name(type(column)))
    chunks = column if isinstance(column, arrow.ChunkedArray) else arrow.chunked_array([column])
    try:
        encoder.text(b"t", frames.column_digest(chunks))
    except (ValueError, NotImplementedError) as problem:
        raise UnencodableError(column, f"In it {problem}; pass another type.") from problem


def _polars_schema(encoder: Encoder, schema: Any) -> None:
    encoder.write(b"$")
    encoder.value(dict(schema))


#: How versions of polars mark a Python function inside an expression, which it pickles where
#: cloudpickle is installed; and how a pickle begins, whatever later ones call it.
_PICKLED: Final = (b"PLPYUDF", b"PLPYFN", b"\x80\x04\x95", b"\x80\x05\x95")


def _polars_expr(encoder: Encoder, expr: Any) -> None:
    cure = "It holds a Python function; pass the function and make the expression inside."
    try:
        data: bytes = expr.meta.serialize()
    except Exception as problem:
        raise UnencodableError(expr, cure) from problem
    if any(mark in data for mark in _PICKLED):
        raise UnencodableError(expr, cure)
    encoder.framed(b"`", data)


def _is_expression(kind: type) -> bool:
    """Tell whether a class is one of polars' expressions: also selectors, and `when`."""
    return belongs_to(kind, "polars", "Expr") and kind.__module__.partition(".")[0] == "polars"


# --- models -----------------------------------------------------------------------------


def _secret(encoder: Encoder, _: Any) -> None:
    encoder.write(b"X")


def _url(encoder: Encoder, url: Any) -> None:
    encoder.text(b"U", type_name(type(url)))
    encoder.text(b"s", str(url))


# --- mocks ------------------------------------------------------------------------------

#: Identity → a mock that is alive, what stands for it in this process, and what it was told
#: that has no value of its own: identity → that and its name.
_MOCKS: Final[dict[int, tuple[weakref.ref[Any], str, dict[int, tuple[Any, str]]]]] = {}
#: What a mock keeps for itself.
_OF_MOCKS: Final = ("_mock_", "_spec_", "method_calls", "_is_coroutine", "__")
#: Values that say all that there is to them.
_PLAIN: Final = (str, bytes, int, float, complex, bool, list, tuple, dict, set, frozenset)


def _mock(encoder: Encoder, mock: Any) -> None:
    """Write which mock it is, and what it was told to answer; calls of it change nothing.

    What it stands for can be anything, so that no two of them are equal.
    """
    encoder.text(b"v", type_name(type(mock).__bases__[0]))
    encoder.text(b"s", _known(mock)[1])
    told = list(_told(mock, "", {}))
    encoder.count(b"", len(told))
    for path, _ in told:
        encoder.text(b"s", path)
    encoder.nested(mock, ((path, _faithful(mock, value)) for path, value in told))


def mock_behind(value: Any) -> Any:
    """Return the mock that something is, or that a function stands for; None if there is none.

    Args:
        value: Anything; such functions are what ``autospec=True`` makes.
    """
    if type(value) is not types.FunctionType:
        return value if _is_mock(value) else None
    found = vars(value).get("mock")
    return found if _is_mock(found) and vars(found).get("_mock_delegate") is value else None


def _is_mock(value: Any) -> bool:
    return belongs_to(type(value), "unittest.mock", "NonCallableMock")


def _known(mock: Any) -> tuple[weakref.ref[Any], str, dict[int, tuple[Any, str]]]:
    known = _MOCKS.get(id(mock))
    if known is None or known[0]() is not mock:
        # Another one may get its place in memory, but not its name.
        place = id(mock)
        held = weakref.ref(mock, lambda _: _MOCKS.pop(place, None))
        known = _MOCKS[place] = held, uuid4().hex, {}
    return known


def _faithful(mock: Any, value: Any) -> Any:
    """Return what says all of a value that a mock was told, else a name for that very one."""
    if isinstance(value, (*_PLAIN, types.FunctionType, type)) or adapter_for(value) is not None:
        return value
    names = _known(mock)[2]
    # It is kept, so that nothing else gets its identity while the mock is there.
    return names.setdefault(id(value), (value, uuid4().hex))[1]


def _told(mock: Any, path: str, seen: dict[int, str]) -> Iterator[tuple[str, Any]]:
    """Yield what somebody told a mock to answer, and those that it answers with.

    It is read from where mocks keep it, since whoever asks a mock makes it answer; what they
    tell themselves when they are used is left out.
    """
    if id(mock) in seen:
        # It answers in several places, each of which somebody may give another one.
        yield path, f"the mock at {seen[id(mock)]!r}"
        return
    seen[id(mock)] = path
    # Copies: other threads may use it meanwhile.
    own, children = dict(vars(mock)), dict(vars(mock).get("_mock_children") or {})
    delegate = own.get("_mock_delegate")
    answers = dict(vars(delegate)) if isinstance(delegate, types.FunctionType) else own
    prefix = "" if answers is not own else "_mock_"
    within = {
        **{n: v for n, v in vars(type(mock)).items() if not n.startswith(_OF_MOCKS)},
        **{n: v for n, v in own.items() if not n.startswith(_OF_MOCKS)},
        **{str(name): child for name, child in children.items()},
        "()": answers.get(f"{prefix}return_value"),
        "side_effect": answers.get(f"{prefix}side_effect"),
        "wraps": own.get("_mock_wraps"),
        "spec": own.get("_spec_class"),
    }
    for name, value in sorted(within.items()):
        at = f"{path}.{name}"
        if _is_mock(value):
            told = list(_told(value, at, seen))
            yield from told if name[:2] != "__" else _without_defaults(mock, name, at, told)
        elif type(value).__module__ == "unittest.mock":
            if str(value) not in ("sentinel.DEFAULT", "sentinel.MISSING"):
                yield at, str(value)
        elif value is not None:
            yield at, value


def _without_defaults(
    mock: Any, name: str, path: str, told: list[tuple[str, Any]]
) -> Iterator[tuple[str, Any]]:
    """Yield what a special method of a mock was told by others than the mock itself."""
    module = sys.modules["unittest.mock"]
    answers = dict(getattr(module, "_return_values", {}))
    calculated = getattr(module, "_calculate_return_value", {}).get(name)
    if calculated is not None:
        answers[name] = calculated(mock)
    for place, value in told:
        is_own = getattr(value, "__module__", None) == "unittest.mock"
        default = answers.get(name)
        is_default = value is default or (type(value) in (str, int) and value == default)
        if not is_own and not (is_default and place == f"{path}.()"):
            yield place, value


# --- zones ------------------------------------------------------------------------------


def _zone_info(encoder: Encoder, zone: Any) -> None:
    if zone.key is None:
        raise UnencodableError(zone, "It has no name; make it by zoneinfo.ZoneInfo(name).")
    encoder.text(b"z", zone.key)


def _pytz_zone(encoder: Encoder, zone: Any) -> None:
    # A zone of pytz that a moment carries stands for one of its offsets.
    offset = getattr(zone, "_utcoffset", None) or zone.utcoffset(None)
    _parts(encoder, b"Y", zone, (zone.zone, offset))


def _fixed_zone(encoder: Encoder, zone: dt.tzinfo) -> None:
    _parts(encoder, b"Y", zone, (zone.utcoffset(None), zone.tzname(None)))


def _is_pytz(kind: type) -> bool:
    return issubclass(kind, dt.tzinfo) and kind.__module__.partition(".")[0] == "pytz"


#: Which classes are written how; the first that applies does.
RULES: Final[list[tuple[Callable[[type], bool], Encode]]] = [
    (_is_exactly("numpy", "ndarray", "memmap"), _array),
    (_is_exactly("numpy", "matrix", "recarray"), _array_of_class),
    (_is_exactly("numpy", "poly1d"), _held("coeffs", "variable")),
    (_is_one_of("numpy", "generic"), _scalar),
    (_is_one_of("numpy", "dtype"), _dtype),
    (_is_exactly("numpy", "ufunc"), _ufunc),
    (_is_one_of("polars", "DataFrame"), _frame),
    (_is_one_of("polars", "LazyFrame"), _lazy_frame),
    (_is_exactly("polars", "Series"), _polars_series),
    (_is_one_of("polars", "DataType"), _polars_dtype),
    (_is_exactly("polars", "Schema"), _polars_schema),
    (_is_expression, _polars_expr),
    (_is_one_of("pandas", "DataFrame"), _frame),
    (_is_exactly("pandas", "Series"), _pandas_series),
    (_is_one_of("pandas", "Index"), _pandas_index),
    (_is_one_of("pandas.api.extensions", "ExtensionArray"), _pandas_array),
    (_is_one_of("pandas.api.extensions", "ExtensionDtype"), _pandas_dtype),
    (_is_exactly("pandas", "Timestamp", "Timedelta"), _pandas_moment),
    (_is_offset, _pandas_offset),
    (
        _is_exactly("pandas", "Period"),
        lambda encoder, value: _parts(encoder, b"@", value, (value.ordinal, value.freqstr)),
    ),
    (
        _is_exactly("pandas", "Interval"),
        lambda encoder, value: _parts(
            encoder, b"@", value, (value.left, value.right, value.closed)
        ),
    ),
    (
        lambda kind: (
            kind.__name__ in ("NAType", "NaTType") and kind.__module__[:7] == "pandas."
        ),
        lambda encoder, value: encoder.text(b"@", type(value).__name__),
    ),
    (_is_one_of("pyarrow", "Table", "RecordBatch"), _arrow_table),
    (_is_one_of("pyarrow", "Array", "ChunkedArray"), _arrow_column),
    (_is_one_of("pyarrow", "Scalar"), _arrow_scalar),
    (_is_one_of("pyarrow", "Schema"), _arrow_schema),
    (
        _is_one_of("pyarrow", "DataType"),
        lambda encoder, value: encoder.text(b"&", str(value)),
    ),
    (_is_one_of("unittest.mock", "NonCallableMock"), _mock),
    (_is_one_of("pydantic", "SecretStr", "SecretBytes", "Secret"), _secret),
    (_is_one_of("pydantic", "AnyUrl"), _url),
    (_is_exactly("_struct", "Struct"), _held("format")),
    (_is_one_of("zoneinfo", "ZoneInfo"), _zone_info),
    (_is_pytz, _pytz_zone),
    (_is_one_of("dateutil.tz", "tzutc", "tzoffset"), _fixed_zone),
    (_is_exactly("numpy", "vectorize"), _held("pyfunc", "otypes", "excluded", "signature")),
    (
        _is_exactly("argparse", "Namespace"),
        lambda encoder, value: _held(*vars(value))(encoder, value),
    ),
    (_is_exactly("collections", "UserDict", "UserList", "UserString"), _held("data")),
    (_is_exactly("collections", "ChainMap"), _held("maps")),
    (_is_exactly("string", "Template"), _held("template")),
    (lambda kind: kind.__module__ == "ipaddress", _held("exploded")),
]
