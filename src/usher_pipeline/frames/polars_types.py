"""polars data types ↔ plain data, and the type under which each is stored.

Most types are their own storage. Those that Arrow does not hold, or that polars can not
read back from Arrow, are stored under another type that a cast brings back exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UnstorableTypeError", "from_json", "storage", "to_json"]

_Unit = Literal["ms", "us", "ns"]

#: The types that have no parameters, by name; later versions of polars know more of them.
_SIMPLE: Final[Mapping[str, type[pl.DataType]]] = {
    name: getattr(pl, name)
    for name in (
        "Int8", "Int16", "Int32", "Int64", "Int128",
        "UInt8", "UInt16", "UInt32", "UInt64", "UInt128",
        "Float16", "Float32", "Float64",
        "Boolean", "String", "Binary", "Date", "Time", "Null",
    )
    if hasattr(pl, name)
}  # fmt: skip

#: Arrow has no 128-bit integers; their decimal text is exact.
_AS_TEXT: Final = ("Int128", "UInt128")


class UnstorableTypeError(Exception):
    """Raised inside: a type has no exact storage.

    Attributes:
        type_name: The type.
        cure: What to do.
    """

    def __init__(self, dtype: pl.DataType, cure: str) -> None:
        self.type_name = str(dtype)
        self.cure = cure
        super().__init__(self.type_name)


class _Map(NamedTuple):
    """Key and value type of a ``Map``, which the oldest supported polars does not have."""

    key: pl.DataType
    value: pl.DataType


def _map_parts(dtype: pl.DataType) -> _Map | None:
    if type(dtype).__name__ != "Map":
        return None
    parts = cast("Any", dtype)
    return _Map(parts.key, parts.value)


def to_json(dtype: pl.DataType) -> Any:
    """Return a type as plain data, with every parameter.

    >>> to_json(pl.Int8()), to_json(pl.List(pl.Datetime("us", "UTC")))
    ('Int8', {'List': {'Datetime': ['us', 'UTC']}})

    Raises:
        UnstorableTypeError: There is no exact storage for it.
    """
    name = type(dtype).__name__
    if name in _SIMPLE:
        return name
    return {name: _parameters(dtype)}


def _parameters(dtype: pl.DataType) -> Any:  # noqa: PLR0911 - one line for each type
    if (parts := _map_parts(dtype)) is not None:
        return [to_json(parts.key), to_json(parts.value)]
    match dtype:
        case pl.Datetime():
            return [dtype.time_unit, dtype.time_zone]
        case pl.Duration():
            return dtype.time_unit
        case pl.Decimal():
            return [dtype.precision, dtype.scale]
        case pl.Enum():
            return dtype.categories.to_list()
        case pl.Categorical():
            return _categories(dtype)
        case pl.List():
            return to_json(_inner(dtype))
        case pl.Array():
            return [to_json(_inner(dtype)), dtype.size]
        case pl.Struct():
            return [[field.name, to_json(_instance(field.dtype))] for field in dtype.fields]
        case _:
            raise _unstorable(dtype)


def from_json(data: Any) -> pl.DataType:
    """Return the type that `to_json` wrote.

    >>> from_json({"Array": ["Int8", 2]})
    Array(Int8, shape=(2,))

    Raises:
        ValueError: The data describes no type that this polars has.
    """
    if isinstance(data, str) and data in _SIMPLE:
        return _SIMPLE[data]()
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError(f"this polars has no type {data!r}")
    ((name, parameters),) = data.items()
    return _build(name, parameters)


def _build(name: str, parameters: Any) -> pl.DataType:  # noqa: PLR0911 - one line for each type
    match name:
        case "Datetime":
            return pl.Datetime(cast("_Unit", parameters[0]), parameters[1])
        case "Duration":
            return pl.Duration(cast("_Unit", parameters))
        case "Decimal":
            return pl.Decimal(*parameters)
        case "Enum":
            return pl.Enum(parameters)
        case "Categorical":
            return _categorical(*parameters)
        case "List":
            return pl.List(from_json(parameters))
        case "Array":
            return pl.Array(from_json(parameters[0]), parameters[1])
        case "Struct":
            return pl.Struct([pl.Field(field, from_json(inner)) for field, inner in parameters])
        case "Map" if hasattr(pl, "Map"):
            return _map(from_json(parameters[0]), from_json(parameters[1]))
        case _:
            raise ValueError(f"this polars has no type {name!r}")


def storage(dtype: pl.DataType) -> pl.DataType:
    """Return the type to cast to before, and from after, the way through Arrow.

    >>> storage(pl.Int64()), storage(pl.List(pl.Int128()))
    (Int64, List(String))

    Raises:
        UnstorableTypeError: There is no exact storage for it.
    """
    if type(dtype).__name__ in _AS_TEXT:
        return pl.String()
    if (parts := _map_parts(dtype)) is not None:
        return _map(storage(parts.key), storage(parts.value))
    match dtype:
        case pl.List():
            return pl.List(storage(_inner(dtype)))
        case pl.Array():
            inner = storage(_inner(dtype))
            # polars can not read arrays of no items back from Arrow.
            return pl.Array(inner, dtype.size) if dtype.size else pl.List(inner)
        case pl.Struct():
            fields = [(field.name, storage(_instance(field.dtype))) for field in dtype.fields]
            if any("\0" in name for name, _ in fields):
                # The names cross the C interface of Arrow as C strings.
                raise UnstorableTypeError(dtype, "Rename the field that has a NUL in its name.")
            return pl.Struct([pl.Field(name, inner) for name, inner in fields])
        case _:
            to_json(dtype)
            return dtype


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    return _instance(dtype.inner)


def _instance(dtype: Any) -> pl.DataType:
    return cast("pl.DataType", dtype() if isinstance(dtype, type) else dtype)


def _map(key: pl.DataType, value: pl.DataType) -> pl.DataType:
    return cast("pl.DataType", cast("Any", pl).Map(key, value))


def _categories(dtype: pl.Categorical) -> list[str]:
    """Return name, namespace and physical type of a category set; none for the global one."""
    categories = dtype.categories
    if categories.is_global():
        return []
    return [categories.name(), categories.namespace(), str(categories.physical())]


def _categorical(name: str = "", namespace: str = "", physical: str = "UInt32") -> pl.DataType:
    if not name:
        return pl.Categorical()
    return pl.Categorical(pl.Categories(name, namespace, _SIMPLE[physical]))


def _unstorable(dtype: pl.DataType) -> UnstorableTypeError:
    if dtype == pl.Object:
        return UnstorableTypeError(
            dtype, "Turn its objects into plain values, for example with cast or map_elements."
        )
    return UnstorableTypeError(dtype, "Cast it to another type, or drop the column.")
