"""Columns of Python objects ↔ Arrow: all of one type, and all that are missing alike.

Each type has a natural column: numbers, texts and moments as such, a list of plain items
as a list. What is nested deeper is JSON text, as long as JSON gives back the very same.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from usher_pipeline.frames.pandas_types import UnstorableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["pack", "unpack"]


def _same(value: Any) -> Any:
    return value


class _Form(NamedTuple):
    """How objects of one type are stored.

    Attributes:
        name: What the type is called in a schema.
        dtype: The Arrow type.
        written: Object → what Arrow takes.
        read: What Arrow gives → the object.
    """

    name: str
    dtype: pa.DataType
    written: Callable[[Any], Any] = _same
    read: Callable[[Any], Any] = _same


# --- what is written --------------------------------------------------------------------


class _NotPlainError(ValueError):
    """An object holds what its form does not give back."""


def _moment(value: Any) -> Any:
    """Return a moment or time of day that its column gives back: without zone and fold."""
    if value.tzinfo is not None or value.fold:
        raise _NotPlainError("with a time zone or a fold")
    return value


def _json(value: Any) -> str:
    """Return JSON text that gives back the very same value."""
    _require_plain(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _require_plain(value: Any) -> None:
    kind = type(value)
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise _NotPlainError("with keys that are no text")
        for item in value.values():
            _require_plain(item)
    elif kind is list:
        for item in value:
            _require_plain(item)
    elif kind is float and not math.isfinite(value):
        raise _NotPlainError("with a number that JSON does not have")
    elif kind not in (str, int, float, bool, type(None)):
        raise _NotPlainError(f"with {kind.__name__} inside")


_TEXT: Final = pa.large_string()
_FORMS: Final[Mapping[type, _Form]] = {
    str: _Form("str", _TEXT),
    bytes: _Form("bytes", pa.large_binary()),
    bool: _Form("bool", pa.bool_()),
    int: _Form("int", pa.int64()),
    float: _Form("float", pa.float64()),
    Decimal: _Form("Decimal", _TEXT, str, Decimal),
    uuid.UUID: _Form("UUID", _TEXT, str, uuid.UUID),
    dt.date: _Form("date", pa.date32()),
    dt.datetime: _Form("datetime", pa.timestamp("us"), _moment),
    dt.time: _Form("time", pa.time64("us"), _moment),
    dt.timedelta: _Form("timedelta", pa.duration("us")),
    dict: _Form("dict", _TEXT, _json, json.loads),
}
#: Lists of items of one type, by the type; of any other items they are JSON.
_LISTS: Final[Mapping[type, _Form]] = {
    kind: _Form(f"list of {form.name}", pa.large_list(form.dtype))
    for kind, form in _FORMS.items()
    if kind in (str, bool, int, float)
}
_NESTED: Final = _Form("list", _TEXT, _json, json.loads)
_BY_NAME: Final = {f.name: f for f in (*_FORMS.values(), *_LISTS.values(), _NESTED)}

#: What may stand for a missing object, with its name.
_MISSING: Final[Mapping[str, Any]] = {
    "None": None, "nan": np.nan, "NaT": pd.NaT, "NA": pd.NA
}  # fmt: skip

_BITS: Final = struct.Struct("<d")
_USUAL_NAN: Final = _BITS.pack(np.nan).hex()

_CURE: Final = "Convert it to one type, for example with .astype('str') or .convert_dtypes()."
_RANGE_CURE: Final = "Convert it to a type that holds it, such as text or bytes."


# --- to Arrow and back ------------------------------------------------------------------


def pack(values: np.ndarray[Any, Any]) -> tuple[pa.Array, list[str]]:
    """Return a column of objects as Arrow array, with the names of its type and its gaps.

    Raises:
        UnstorableError: They are of several types, or of one that does not come back.
    """
    missing, kinds = _missing_of(values, set(map(type, values)))
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UnstorableError(f"object holding {names}", _CURE)
    kind = kinds.pop() if kinds else str
    present = [value for value in values if type(value) is kind]
    form = _form_of(kind, present)
    if form is None:
        raise UnstorableError(f"object holding {kind.__name__}", _CURE)
    try:
        cells = [form.written(value) if type(value) is kind else None for value in values]
        array = pa.array(cells, form.dtype, from_pandas=False)
    except RecursionError:
        raise UnstorableError(f"object holding {kind.__name__} without end", _CURE) from None
    except _NotPlainError as problem:
        raise UnstorableError(f"object holding {kind.__name__} {problem}", _CURE) from None
    except (OverflowError, ValueError, pa.ArrowException):
        described = f"object holding {form.name} out of range"
        raise UnstorableError(described, _RANGE_CURE) from None
    return array, [form.name, missing]


def _form_of(kind: type, present: Iterable[Any]) -> _Form | None:
    if kind is not list:
        return _FORMS.get(kind)
    inside = {type(item) for value in present for item in value} - {type(None)}
    if len(inside) > 1:
        return _NESTED
    return _LISTS.get(inside.pop(), _NESTED) if inside else _LISTS[str]


def _missing_of(values: np.ndarray[Any, Any], kinds: set[type]) -> tuple[str, set[type]]:
    """Return the name of what stands for missing objects, and the types of the others."""
    found = [name for name, value in _MISSING.items() if name != "nan" and type(value) in kinds]
    rest = kinds - {type(_MISSING[name]) for name in found}
    if float in rest and len(rest) > 1:
        floats = [value for value in values if type(value) is float]
        kinds_of_nan = {_BITS.pack(value) for value in floats}
        if all(value != value for value in floats):  # noqa: PLR0124 - only NaN is not itself
            found += sorted(f"nan {bits.hex()}" for bits in kinds_of_nan)
            rest.discard(float)
    if len(found) > 1:
        names = " and ".join(found)
        raise UnstorableError(f"object in which {names} are missing values", _CURE)
    return (found or ["None"])[0], rest


def _gap(missing: str) -> Any:
    """Return what stands for a missing object, given its name."""
    name, _, bits = missing.partition(" ")
    if name == "nan" and bits and bits != _USUAL_NAN:
        return _BITS.unpack(bytes.fromhex(bits))[0]
    if name not in _MISSING:
        raise ValueError(f"nothing missing is called {missing!r}")
    return _MISSING[name]


def unpack(column: pa.ChunkedArray, name: str, missing: str) -> np.ndarray[Any, Any]:
    """Return the objects that `pack` was given.

    Args:
        column: Its values.
        name: The name of their type.
        missing: The name of what stands for missing ones.

    Raises:
        ValueError: The column does not fit the type.
    """
    form = _BY_NAME.get(name)
    if form is None or column.type != form.dtype:
        raise ValueError(f"a column of {name} objects is stored as {column.type}")
    gap, read = _gap(missing), form.read
    values = np.empty(len(column), dtype=object)
    for position, cell in enumerate(column.to_pylist()):
        values[position] = gap if cell is None else read(cell)
    return values
