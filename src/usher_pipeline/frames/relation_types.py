"""DuckDB types ↔ plain data and SQL, and the type under which each crosses to Arrow.

Types in a store are never taken as SQL text: whoever wrote the store could write statements
there. They are kept as data, of which SQL is made here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["crossing", "quoted", "to_json", "to_sql"]

#: Types without parameters that Arrow holds and gives back: name → SQL.
_PLAIN: Final = frozenset(
    {
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT"),
        *("UINTEGER", "UBIGINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB", "DATE", "TIME"),
        *("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIME_NS"),
        "TIMESTAMP WITH TIME ZONE",
    }
)
#: Types that cross as text, which DuckDB reads back exactly.
_AS_TEXT: Final = frozenset(
    {"HUGEINT", "UHUGEINT", "UUID", "INTERVAL", "TIME WITH TIME ZONE", "BIT", "BIGNUM", "JSON"}
)
#: What DuckDB 2 calls the type of a bare NULL; DuckDB 1 takes it for an INTEGER.
_NULL: Final = '"NULL"'


def quoted(name: str) -> str:
    """Return a name as SQL."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def to_json(dtype: Any) -> Any:  # noqa: PLR0911 - one for each type
    """Return a DuckDB type as plain data.

    Raises:
        ValueError: It does not come back exactly, or not every supported DuckDB has it.
    """
    name = str(dtype)
    if name in _PLAIN or name in _AS_TEXT:
        return name
    if name == _NULL:
        return "NULL"
    match dtype.id:
        case "decimal":
            return {"DECIMAL": [int(value) for _, value in dtype.children]}
        case "enum":
            return {"ENUM": list(dtype.children[0][1])}
        case "list":
            return {"LIST": to_json(dtype.children[0][1])}
        case "array":
            (_, inner), (_, size) = dtype.children
            return {"ARRAY": [to_json(inner), int(size)]}
        case "map":
            return {"MAP": [to_json(inner) for _, inner in dtype.children]}
        case "struct":
            fields = [[field, to_json(inner)] for field, inner in dtype.children]
            if len({field.lower() for field, _ in fields}) == len(fields):
                return {"STRUCT": fields}
    raise ValueError(name)


def to_sql(data: Any) -> str:
    """Return the SQL of a type that `to_json` wrote.

    >>> to_sql({"LIST": {"STRUCT": [["gene", "VARCHAR"], ["n", "HUGEINT"]]}})
    'STRUCT("gene" VARCHAR, "n" HUGEINT)[]'

    Raises:
        ValueError: The data describes no type.
    """
    return _sql(data, _itself)


def crossing(data: Any) -> str:
    """Return the SQL of the type to cast to on the way to Arrow, and from on the way back.

    >>> crossing({"LIST": "HUGEINT"})
    'VARCHAR[]'

    Raises:
        ValueError: The data describes no type.
    """
    return _sql(data, lambda name: "VARCHAR" if name in _AS_TEXT else name)


def _itself(name: str) -> str:
    return name


def _sql(data: Any, leaf: Callable[[str], str]) -> str:  # noqa: PLR0911 - one for each type
    match data:
        case "NULL":
            return _NULL
        case str() if data in _PLAIN or data in _AS_TEXT:
            return leaf(data)
        case {"DECIMAL": [int(precision), int(scale)]}:
            return f"DECIMAL({precision},{scale})"
        case {"ENUM": [*values]} if all(isinstance(value, str) for value in values):
            texts = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
            return f"ENUM({texts})"
        case {"LIST": inner}:
            return f"{_sql(inner, leaf)}[]"
        case {"ARRAY": [inner, int(size)]}:
            return f"{_sql(inner, leaf)}[{size}]"
        case {"MAP": [key, value]}:
            return f"MAP({_sql(key, leaf)}, {_sql(value, leaf)})"
        case {"STRUCT": [*fields]}:
            parts = (f"{quoted(str(name))} {_sql(inner, leaf)}" for name, inner in fields)
            return f"STRUCT({', '.join(parts)})"
        case _:
            raise ValueError(f"{data!r} describes no type of DuckDB")
