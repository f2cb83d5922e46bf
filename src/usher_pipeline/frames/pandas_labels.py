"""Labels, names and categories ↔ plain data.

What names things in a pandas frame may be of any hashable type, also mixed, and the type
counts: `1` and `"1"` are two labels. So text stands for itself, and everything else is a
list of a tag and its content.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from usher_pipeline.frames import pandas_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "NOT_STORABLE",
    "attrs_to_json",
    "freq_to_json",
    "index_from_json",
    "index_to_json",
    "label_from_json",
    "label_to_json",
    "set_freq",
]

#: What reading or writing of labels raises when they can not be kept.
NOT_STORABLE: Final = (pandas_types.UnstorableError, TypeError, ValueError, OverflowError)


def _float(text: str) -> float:
    return float(np.frombuffer(bytes.fromhex(text), np.float64)[0])


#: Plain types: how each is written, and read.
_PLAIN: Final[Mapping[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]] = {
    bool: ("bool", bool, bool),
    int: ("int", str, int),
    float: (
        "float",
        lambda value: np.float64(value).tobytes().hex(),
        _float,
    ),
    bytes: ("bytes", bytes.hex, bytes.fromhex),
    dt.date: ("date", dt.date.isoformat, dt.date.fromisoformat),
    dt.time: ("time", dt.time.isoformat, dt.time.fromisoformat),
    dt.timedelta: (
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: dt.timedelta(*parts),
    ),
}
_MISSING: Final[Mapping[str, Any]] = {"none": None, "nat": pd.NaT, "na": pd.NA}
#: The types of numpy's scalars that may be labels.
_NUMPY: Final = frozenset(map(np.dtype, ("?", *"bhlq", *"BHLQ", *"iI", *"efd")))
_READERS: Final = {tag: read for tag, _, read in _PLAIN.values()}


# --- single labels ----------------------------------------------------------------------


def label_to_json(label: Any) -> Any:
    """Return a label as plain data.

    Raises:
        UnstorableError: It is of a type that is not known here.
    """
    kind = type(label)
    if kind is str:
        return label
    for name, missing in _MISSING.items():
        if label is missing:
            return [name]
    if kind in _PLAIN:
        tag, write, _ = _PLAIN[kind]
        return [tag, write(label)]
    if kind is tuple:
        return ["tuple", [label_to_json(item) for item in label]]
    return _scalar_to_json(label)


def _scalar_to_json(label: Any) -> Any:
    """Return a label of numpy's or pandas' own scalar types as plain data."""
    match label:
        case pd.Timestamp() if type(label) is pd.Timestamp and (label.tz or not label.fold):
            count = int(label.to_datetime64().astype(np.int64))
            return ["timestamp", label.unit, count, pandas_types.zone_to_json(label.tz)]
        case pd.Timedelta() if type(label) is pd.Timedelta:
            return ["timedelta64", label.unit, int(label.to_timedelta64().astype(np.int64))]
        case pd.Period() if type(label) is pd.Period:
            step = pandas_types.period_to_json(pd.PeriodDtype(cast("Any", label.freq)))
            return ["period", label.ordinal, step]
        case pd.Interval() if type(label) is pd.Interval:
            return [
                "interval", label_to_json(label.left), label_to_json(label.right), label.closed
            ]  # fmt: skip
        case dt.datetime() if type(label) is dt.datetime and not label.fold:
            naive = label.replace(tzinfo=None).isoformat()
            return ["datetime", naive, pandas_types.zone_to_json(label.tzinfo)]
        case np.generic() if label.dtype in _NUMPY:
            return ["numpy", label.dtype.str, label.tobytes().hex()]
        case _:
            raise pandas_types.UnstorableError(
                type(label).__name__, "Use text, numbers or times there."
            )


def label_from_json(data: Any) -> Any:
    """Return the label that `label_to_json` wrote.

    Raises:
        ValueError: The data describes no label.
    """
    if isinstance(data, str):
        return data
    match data:
        case [str(name)] if name in _MISSING:
            return _MISSING[name]
        case [str(tag), content] if tag in _READERS:
            return _READERS[tag](content)
        case ["tuple", items]:
            return tuple(label_from_json(item) for item in items)
        case _:
            return _scalar_from_json(data)


def _scalar_from_json(data: Any) -> Any:  # noqa: PLR0911 - one for each type
    match data:
        case ["timestamp", unit, count, zone]:
            stamp = pd.Timestamp(np.datetime64(count, unit))
            if zone is None:
                return stamp
            return stamp.tz_localize("UTC").tz_convert(pandas_types.zone_from_json(zone))
        case ["timedelta64", unit, count]:
            return pd.Timedelta(np.timedelta64(count, unit))
        case ["period", ordinal, freq]:
            return pd.Period(ordinal=ordinal, freq=freq)
        case ["interval", left, right, closed]:
            return pd.Interval(label_from_json(left), label_from_json(right), closed)
        case ["datetime", naive, zone]:
            moment = dt.datetime.fromisoformat(naive)
            return (
                moment
                if zone is None
                else moment.replace(tzinfo=pandas_types.zone_from_json(zone))
            )
        case ["numpy", dtype, content]:
            return np.frombuffer(bytes.fromhex(content), np.dtype(dtype))[0]
        case _:
            raise ValueError(f"no label is written as {data!r}")


# --- whole indexes ----------------------------------------------------------------------


def index_to_json(index: pd.Index[Any]) -> dict[str, Any]:
    """Return column labels, or the categories of a type, as plain data.

    Raises:
        UnstorableError: They could not be restored exactly.
    """
    data = _index_to_json(index)
    restored = index_from_json(data)
    if not _identical(index, restored):
        raise pandas_types.UnstorableError(
            f"{type(index).__name__} of {index.dtype}", "Use plain text labels there."
        )
    return data


def _index_to_json(index: pd.Index[Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "class": type(index).__name__,
        "names": [label_to_json(name) for name in index.names],
    }
    if isinstance(index, pd.RangeIndex):
        return data | {"range": [index.start, index.stop, index.step]}
    if isinstance(index, pd.MultiIndex):
        levels = [index.get_level_values(level) for level in range(index.nlevels)]
        if any(a.dtype != b.dtype for a, b in zip(levels, index.levels, strict=True)):
            cure = "Give the level a type that has missing values, such as Int64."
            raise pandas_types.UnstorableError("a level with missing values", cure)
        return data | {"levels": [_index_to_json(level) for level in levels]}
    return data | {
        "dtype": pandas_types.to_json(index.dtype),
        "freq": freq_to_json(index),
        "values": [label_to_json(value) for value in index],
    }


def index_from_json(data: Mapping[str, Any]) -> pd.Index[Any]:
    """Return the index that `index_to_json` wrote.

    Raises:
        ValueError: The data describes no index.
    """
    names = [label_from_json(name) for name in data["names"]]
    if "range" in data:
        index: pd.Index[Any] = pd.RangeIndex(*data["range"])
    elif "levels" in data:
        index = pd.MultiIndex.from_arrays([index_from_json(level) for level in data["levels"]])
    else:
        values = [label_from_json(value) for value in data["values"]]
        index = _index(values, pandas_types.from_json(data["dtype"]))
        set_freq(index, data["freq"])
    index.names = names
    return index


def _index(values: list[Any], dtype: Any) -> pd.Index[Any]:
    if getattr(dtype, "kind", "") == "O" and isinstance(dtype, np.dtype):
        # Tuples would become a MultiIndex.
        return pd.Index(values, dtype=object, tupleize_cols=False)
    index: pd.Index[Any] = pd.Index(values, dtype=dtype)
    return index


def freq_to_json(index: pd.Index[Any]) -> str | None:
    """Return the step of an index of moments or spans, if it has one.

    Raises:
        UnstorableError: The step is more than its text says.
    """
    freq = index.freq if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) else None
    if freq is None:
        return None
    try:
        exact = to_offset(freq.freqstr) == freq
    except ValueError:
        exact = False
    if not exact:
        cure = "Drop the step with frame.index.freq = None, or use one of plain text."
        raise pandas_types.UnstorableError(f"stepping by {freq!r}", cure)
    return freq.freqstr


def set_freq(index: pd.Index[Any], freq: str | None) -> None:
    """Give a fresh index of moments or spans the step that it had."""
    if freq is not None and isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        cast("Any", index).freq = to_offset(freq)


def _identical(one: pd.Index[Any], other: pd.Index[Any]) -> bool:
    return (
        type(one) is type(other)
        and one.dtype == other.dtype
        and getattr(one, "freq", None) == getattr(other, "freq", None)
        and len(one) == len(other)
        and list(map(_spelled, one.names)) == list(map(_spelled, other.names))
        and all(_spelled(a) == _spelled(b) for a, b in zip(one, other, strict=True))
    )


def _spelled(label: Any) -> str:
    return json.dumps(label_to_json(label))


# --- attributes -------------------------------------------------------------------------


def attrs_to_json(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the attributes of a frame, which must be plain data through and through.

    Raises:
        UnstorableError: JSON would change something.
    """
    try:
        is_plain = _is_plain(dict(attrs)) and bool(json.dumps(dict(attrs)))
    except (RecursionError, ValueError):
        is_plain = False
    if not is_plain:
        raise pandas_types.UnstorableError(
            f"{_shown(attrs):.80}", "Keep only what JSON can say in frame.attrs."
        )
    return dict(attrs)


def _shown(attrs: Mapping[Any, Any]) -> str:
    try:
        return repr(dict(attrs))
    except (RecursionError, ValueError):
        return "something endless"


def _is_plain(value: Any) -> bool:
    """Return whether a value comes back from JSON as it went in."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    if kind is float:
        return bool(np.isfinite(value))
    return value is None or kind in (str, int, bool)
