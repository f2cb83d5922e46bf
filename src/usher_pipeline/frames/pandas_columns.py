"""pandas columns ↔ Arrow arrays, to the bit.

Numbers go through Arrow buffers, so that the bits of every NaN stay; missing moments are
nulls; masked values keep apart what is NaN and what is missing. A column of Python objects
is stored if all of them are of one plain type, and all that are missing are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from usher_pipeline.frames import pandas_objects, pandas_types
from usher_pipeline.frames.arrays import owned
from usher_pipeline.frames.pandas_types import UnstorableError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_plain", "pack", "taken", "unpack", "widened"]

_MISSING_MOMENT: Final = np.iinfo(np.int64).min


def pack(values: Any, dtype: Any) -> tuple[pa.Array | pa.ChunkedArray, dict[str, Any]]:
    """Return a column's values as Arrow array, and its type as plain data.

    Args:
        values: The array of a Series or Index.
        dtype: Its type.

    Raises:
        UnstorableError: It could not be restored exactly.
    """
    described = pandas_types.to_json(dtype)
    (name,) = described
    match name:
        case "numpy" if dtype.kind == "O":
            array, cells = pandas_objects.pack(np.asarray(values, dtype=object))
            described |= {"objects": cells}
        case "numpy":
            array = _pack_numpy(np.asarray(values))
        case "masked":
            array = pa.array(values._data, mask=values._mask)  # noqa: SLF001 - NaN is not NA
        case "string":
            array = _pack_text(values)
        case "category":
            array = _pack_category(values, described)
        case "zoned":
            zone = pandas_types.zone_name(dtype.tz)
            array = _pack_moments(values.asi8, pa.timestamp(dtype.unit, zone))
        case "period":
            array = _pack_moments(values.asi8, pa.int64())
        case "interval":
            sides = [pack(side.array, side.dtype)[0] for side in (values.left, values.right)]
            array = pa.StructArray.from_arrays(sides, names=["left", "right"])
        case _:
            array = values.__arrow_array__()
    return array, described


def unpack(  # noqa: PLR0911 - one for each type
    column: pa.ChunkedArray, described: Mapping[str, Any]
) -> Any:
    """Return the array that `pack` was given, in memory of its own.

    Args:
        column: Its values.
        described: Its type.

    Raises:
        ValueError: The column does not fit the type.
    """
    dtype = pandas_types.from_json(described)
    if "objects" in described:
        return pandas_objects.unpack(column, *described["objects"])
    name = next(iter(described))
    match name:
        case "numpy":
            return _unpack_numpy(column, dtype)
        case "masked":
            return _unpack_masked(column, dtype)
        case "string":
            return dtype.__from_arrow__(owned(column))
        case "category":
            return _unpack_category(column, described, dtype)
        case "zoned":
            moments = _moments(column).view(f"M8[{dtype.unit}]")
            return pd.Series(moments).dt.tz_localize("UTC").dt.tz_convert(dtype.tz).array
        case "period":
            return pd.arrays.PeriodArray(_moments(column), dtype=dtype)
        case "interval":
            return _unpack_interval(column, described["interval"])
        case _:
            return pd.arrays.ArrowExtensionArray(owned(column))


def is_plain(column: pa.ChunkedArray) -> bool:
    """Tell whether a column is one of numbers, of which each is there."""
    types, dtype = pa.types, column.type
    is_number = types.is_integer(dtype) or types.is_floating(dtype)
    return is_number and not column.null_count


def taken(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return the numbers of a column for which `is_plain` holds, in memory of their own."""
    return _raw(column, np.dtype(column.type.to_pandas_dtype()))


def widened(described: Mapping[str, Any], column: pa.ChunkedArray) -> dict[str, Any]:
    """Return the type next to one that does not hold some values, but holds its own.

    Categories without an order take in new ones; numbers of numpy become those of pandas
    that may be missing.

    Raises:
        ValueError: There is none.
    """
    dtype = pandas_types.from_json(described)
    match next(iter(described)):
        case "category" if not dtype.ordered and "texts" not in described:
            known = _categories(dtype)
            values = pc.unique(pc.drop_null(column.cast(column.type.value_type)))
            new = values.filter(pc.invert(pc.is_in(values, value_set=known)))
            more = pd.Index(unpack(pa.chunked_array([new]), _plain(dtype.categories.dtype)))
            return pandas_types.to_json(pd.CategoricalDtype(dtype.categories.append(more)))
        case "numpy" if dtype.kind in "biuf" and dtype.itemsize > (dtype.kind == "f") * 2:
            name = "boolean" if dtype.kind == "b" else dtype.name.capitalize()
            name = name.replace("Uint", "UInt")
            return pandas_types.to_json(pd.api.types.pandas_dtype(name))
        case _:
            raise ValueError(f"not every value is one of {dtype}")


def _plain(dtype: Any) -> dict[str, Any]:
    described = pandas_types.to_json(dtype)
    return (
        described | {"objects": ["str", "None"]} if described == {"numpy": "|O"} else described
    )


# --- numbers and moments ----------------------------------------------------------------


def _pack_numpy(values: np.ndarray[Any, Any]) -> pa.Array:
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    match values.dtype.kind:
        case "M":
            unit = np.datetime_data(values.dtype)[0]
            return _pack_moments(values.view(np.int64), pa.timestamp(unit))
        case "m":
            unit = np.datetime_data(values.dtype)[0]
            return _pack_moments(values.view(np.int64), pa.duration(unit))
        case "c":
            parts = np.ascontiguousarray(values).view(f"f{values.dtype.itemsize // 2}")
            return pa.StructArray.from_arrays(
                [pa.array(parts[0::2]), pa.array(parts[1::2])], names=["real", "imag"]
            )
        case _:
            return pa.array(values, from_pandas=False)


def _pack_moments(counts: np.ndarray[Any, Any], dtype: pa.DataType) -> pa.Array:
    missing = counts == _MISSING_MOMENT
    return pa.array(counts, mask=missing if missing.any() else None).view(dtype)


def _unpack_numpy(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    native = dtype.newbyteorder("=")
    match dtype.kind:
        case "M" | "m":
            values = _moments(column).view(native)
        case "c":
            values = np.empty(len(column), native)
            parts = pc.struct_field(column, [0]), pc.struct_field(column, [1])
            half = np.dtype(f"f{dtype.itemsize // 2}")
            values.real, values.imag = (_numbers(part, half) for part in parts)
        case _:
            values = _numbers(column, native)
    return values if dtype.isnative else values.astype(dtype)


def _moments(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return counts of moments, the missing one for each null."""
    chunks = [chunk.view(pa.int64()) for chunk in column.chunks]
    filled = [
        chunk.fill_null(int(_MISSING_MOMENT)) if chunk.null_count else chunk for chunk in chunks
    ]
    return _numbers(pa.chunked_array(filled, pa.int64()), np.dtype(np.int64))


def _numbers(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the values of a column without nulls, copied to new memory."""
    if column.null_count:
        raise ValueError(f"a column of {dtype} has {column.null_count} missing values")
    return _raw(column, dtype)


def _raw(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the values of a column as they lie in its buffers, copied to new memory."""
    values = np.empty(len(column), dtype)
    start = 0
    for chunk in column.chunks:
        values[start : start + len(chunk)] = _view(chunk, dtype)
        start += len(chunk)
    return values


def _view(chunk: pa.Array, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if not len(chunk):
        return np.empty(0, dtype)
    if dtype == np.bool_:
        chunk = chunk.cast(pa.uint8())
    elif chunk.type != pa.from_numpy_dtype(dtype):
        raise ValueError(f"a column of {dtype} is stored as {chunk.type}")
    return np.frombuffer(
        chunk.buffers()[1], dtype, count=len(chunk), offset=chunk.offset * dtype.itemsize
    )


def _unpack_masked(column: pa.ChunkedArray, dtype: Any) -> Any:
    mask = _raw(pc.is_null(column), np.dtype(np.bool_))
    kind = dtype.numpy_dtype
    zero: Any = False if kind == np.bool_ else kind.type(0).item()
    values = _numbers(pc.fill_null(column, zero) if column.null_count else column, kind)
    return dtype.construct_array_type()(values, mask)


# --- text and objects -------------------------------------------------------------------


def _pack_text(values: Any) -> pa.Array | pa.ChunkedArray:
    try:
        array = pa.array(values, type=pa.large_string(), from_pandas=True)
    except UnicodeEncodeError:
        raise UnstorableError("text that is not Unicode", "Encode it to bytes.") from None
    return array if array.type == pa.large_string() else array.cast(pa.large_string())


# --- categories and intervals -----------------------------------------------------------


def _pack_category(values: Any, described: dict[str, Any]) -> pa.Array:
    """Return a dictionary of the categories; of their texts if Arrow can not look them up."""
    categories = _categories(values.dtype)
    if categories is None:
        described["texts"] = _texts(values.dtype.categories)
        categories = pa.array(described["texts"], pa.large_string())
    missing = values.codes == -1
    codes = pa.array(values.codes, mask=missing if missing.any() else None)
    return pa.DictionaryArray.from_arrays(codes, categories, ordered=bool(values.ordered))


def _unpack_category(column: pa.ChunkedArray, described: Mapping[str, Any], dtype: Any) -> Any:
    if not pa.types.is_dictionary(column.type):
        raise ValueError(f"a column of {dtype} is stored as {column.type}")
    texts = described.get("texts")
    categories = _categories(dtype) if texts is None else pa.array(texts, pa.large_string())
    codes = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        places = pc.index_in(chunk.dictionary, value_set=categories)
        if places.null_count:
            raise ValueError("the column holds values that are no categories of its type")
        codes.append(places.take(chunk.indices).fill_null(-1).to_numpy(zero_copy_only=False))
    return pd.Categorical.from_codes(np.concatenate(codes), dtype=dtype)


def _categories(dtype: Any) -> pa.Array | None:
    """Return the categories of a type as Arrow array, if Arrow can look them up exactly."""
    try:
        array, _ = pack(dtype.categories.array, dtype.categories.dtype)
    except UnstorableError:
        return None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    types = pa.types
    known = types.is_integer(array.type) or types.is_timestamp(array.type)
    if known or types.is_large_string(array.type):
        return array
    return None


def _texts(categories: pd.Index[Any]) -> list[str]:
    texts = [str(category) for category in categories]
    if len(set(texts)) == len(texts):
        return texts
    return [f"{text} (#{number})" for number, text in enumerate(texts)]


def _unpack_interval(column: pa.ChunkedArray, details: list[Any]) -> Any:
    subtype, closed = details
    left, right = (
        pd.Index(unpack(pc.struct_field(column, [side]), subtype)) for side in (0, 1)
    )
    return pd.arrays.IntervalArray.from_arrays(left, right, closed=closed)
