"""pandas data types ↔ plain data.

A type is described with every parameter, so that what is built from the description is
equal to the type and behaves like it: storage and missing value of text, unit and zone of
times, categories with their own type and order.
"""

from __future__ import annotations

import base64
import datetime as dt
import zoneinfo
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from usher_pipeline.frames.table_schema import sql_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "UnstorableError",
    "from_json",
    "period_to_json",
    "to_json",
    "zone_from_json",
    "zone_name",
    "zone_to_json",
]


class UnstorableError(Exception):
    """Raised inside: something has no exact storage.

    Attributes:
        type_name: What it is.
        cure: What to do.
    """

    def __init__(self, type_name: str, cure: str) -> None:
        self.type_name = type_name
        self.cure = cure
        super().__init__(type_name)


#: The widest numbers of numpy that are the same on every machine, by kind.
_NUMPY_WIDTHS: Final = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16, "M": 8, "m": 8, "O": 8}

_MASKED: Final = frozenset(
    (
        "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
        "Float32", "Float64", "boolean",
    )
)  # fmt: skip


def to_json(dtype: Any) -> dict[str, Any]:
    """Return a type as plain data.

    >>> to_json(np.dtype("int64")), to_json(pd.Int8Dtype())
    ({'numpy': '<i8'}, {'masked': 'Int8'})

    Raises:
        UnstorableError: There is no exact storage for it.
    """
    for name, (kind, write, _) in _KINDS.items():
        if type(dtype) is kind or (kind is np.dtype and isinstance(dtype, np.dtype)):
            return {name: write(dtype)}
    if type(dtype).__name__.removesuffix("Dtype") and str(dtype) in _MASKED:
        return {"masked": str(dtype)}
    raise UnstorableError(str(dtype), "Convert it, for example with .astype('float64').")


def from_json(data: Mapping[str, Any]) -> Any:
    """Return the type that `to_json` wrote.

    Raises:
        ValueError: The data describes no type.
    """
    for name, (_, _, read) in _KINDS.items():
        if name in data:
            return read(data[name])
    if data.get("masked") in _MASKED:
        return pd.api.types.pandas_dtype(data["masked"])
    raise ValueError(f"no type is written as {dict(data)!r}")


# --- one pair of functions for each kind of type -----------------------------------------


def _write_numpy(dtype: np.dtype[Any]) -> str:
    if dtype.itemsize > _NUMPY_WIDTHS.get(dtype.kind, 0) or dtype.metadata:
        raise UnstorableError(str(dtype), "Convert it, for example with .astype('float64').")
    return dtype.str


def _write_string(dtype: Any) -> list[str]:
    return [dtype.storage, "NA" if dtype.na_value is pd.NA else "nan"]


def _read_string(data: list[str]) -> Any:
    storage, missing = data
    try:
        return pd.StringDtype(storage, na_value=pd.NA if missing == "NA" else np.nan)
    except TypeError:
        # Before pandas 3 the storage alone said which value is missing.
        return pd.StringDtype(storage)


def _write_category(dtype: Any) -> dict[str, Any]:
    from usher_pipeline.frames import pandas_labels

    categories = pandas_labels.index_to_json(dtype.categories)
    return {"ordered": bool(dtype.ordered), "categories": categories}


def _read_category(data: Mapping[str, Any]) -> Any:
    from usher_pipeline.frames import pandas_labels

    categories = pandas_labels.index_from_json(data["categories"])
    return pd.CategoricalDtype(categories, ordered=data["ordered"])


def period_to_json(dtype: pd.PeriodDtype) -> str:
    """Return the step of periods as text.

    Raises:
        UnstorableError: The step is more than its text says.
    """
    text = str(dtype).removeprefix("period[").removesuffix("]")
    try:
        exact = pd.PeriodDtype(text) == dtype
    except ValueError:
        exact = False
    if not exact:
        raise UnstorableError(str(dtype), "Use periods of a plain step, such as 'M'.")
    return text


def _write_interval(dtype: Any) -> list[Any]:
    return [to_json(dtype.subtype), dtype.closed]


def _write_arrow(dtype: Any) -> str:
    try:
        sql_type(dtype.pyarrow_dtype)
    except ValueError as problem:
        raise UnstorableError(str(dtype), f"Cast it to another type: {problem}.") from None
    schema = pa.schema([("", dtype.pyarrow_dtype)])
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _read_arrow(data: str) -> Any:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data)))
    return pd.ArrowDtype(schema.field(0).type)


_KINDS: Final[Mapping[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "numpy": (np.dtype, _write_numpy, np.dtype),
    "string": (pd.StringDtype, _write_string, _read_string),
    "category": (pd.CategoricalDtype, _write_category, _read_category),
    "zoned": (
        pd.DatetimeTZDtype,
        lambda dtype: [dtype.unit, zone_to_json(dtype.tz)],
        lambda data: pd.DatetimeTZDtype(data[0], zone_from_json(data[1])),
    ),
    "period": (pd.PeriodDtype, period_to_json, pd.PeriodDtype),
    "interval": (
        pd.IntervalDtype,
        _write_interval,
        lambda data: pd.IntervalDtype(from_json(data[0]), data[1]),
    ),
    "arrow": (pd.ArrowDtype, _write_arrow, _read_arrow),
}


# --- time zones -------------------------------------------------------------------------


def zone_to_json(zone: dt.tzinfo | None) -> Any:
    """Return a time zone as plain data: a list of who made it and what it is.

    Raises:
        UnstorableError: It is of a library that is not known here.
    """
    if zone is None:
        return None
    if zone is dt.UTC:
        return ["utc"]
    if type(zone) is dt.timezone and zone.tzname(None) == str(
        dt.timezone(zone.utcoffset(None))
    ):
        offset = zone.utcoffset(None)
        return ["offset", offset.days, offset.seconds, offset.microseconds]
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return ["zoneinfo", zone.key]
    if type(zone).__module__.partition(".")[0] == "pytz" and getattr(zone, "zone", None):
        return ["pytz", str(zone.zone)]  # type: ignore[attr-defined]
    raise UnstorableError(
        f"a time zone of {type(zone).__module__}", "Convert it with tz_convert('…') by name."
    )


def zone_from_json(data: Any) -> dt.tzinfo | None:
    """Return the time zone that `zone_to_json` wrote.

    Raises:
        ValueError: The data describes no zone.
    """
    match data:
        case None:
            return None
        case ["utc"]:
            return dt.UTC
        case ["offset", days, seconds, microseconds]:
            return dt.timezone(dt.timedelta(days, seconds, microseconds))
        case ["zoneinfo", key]:
            return zoneinfo.ZoneInfo(key)
        case ["pytz", name]:
            zone: dt.tzinfo = import_module("pytz").timezone(name)
            return zone
        case _:
            raise ValueError(f"no time zone is written as {data!r}")


def zone_name(zone: dt.tzinfo) -> str:
    """Return the name under which Arrow knows a time zone."""
    text = str(zone)
    return text.removeprefix("UTC") or text
