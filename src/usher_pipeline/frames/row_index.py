"""What a schema says of the row index of a frame, without the library of the frame.

An index of pandas that is more than a range lies in columns of its own, behind those of
the data. One without a name says nothing outside pandas: filtering, sorting and
concatenating make it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["after_append", "of_levels", "plain", "unnamed"]

#: How labels of pandas say that there is no name.
_NO_NAME = ["none"]


def unnamed(schema: Mapping[str, Any]) -> list[int]:
    """Return the positions of the columns that hold levels of an index without a name.

    >>> index = {"class": "Index", "names": [["none"]], "dtypes": [{"numpy": "<i8"}]}
    >>> unnamed({"dtypes": [{"numpy": "<i8"}], "index": index})
    [1]
    """
    index = schema.get("index", {})
    if "dtypes" not in index:
        return []
    first = len(schema["dtypes"])
    return [
        first + level for level, name in enumerate(index["names"]) if list(name) == _NO_NAME
    ]


def plain(row_count: int) -> dict[str, Any]:
    """Return the index that counts rows, as plain data."""
    return {"class": "RangeIndex", "names": [_NO_NAME], "range": [0, row_count, 1]}


def of_levels(index: Mapping[str, Any], levels: list[int]) -> dict[str, Any]:
    """Return an index of which only some levels are left, as plain data."""
    dtypes = [index["dtypes"][level] for level in levels]
    names = [index["names"][level] for level in levels]
    kind = "MultiIndex" if len(levels) > 1 else _class(dtypes[0])
    return {"class": kind, "names": names, "dtypes": dtypes, "freq": None}


def _class(described: Mapping[str, Any]) -> str:
    """Return the class that pandas gives to an index of one type.

    >>> _class({"numpy": "<M8[us]"}), _class({"numpy": "<i8"})
    ('DatetimeIndex', 'Index')
    """
    kinds = {"category": "Categorical", "period": "Period", "interval": "Interval"}
    kinds["zoned"] = "Datetime"
    for name, kind in kinds.items():
        if name in described:
            return f"{kind}Index"
    of_numpy = str(described.get("numpy", ""))[1:3]
    return {"M8": "DatetimeIndex", "m8": "TimedeltaIndex"}.get(of_numpy, "Index")


def after_append(
    index: Mapping[str, Any], added: Mapping[str, Any], row_count: int
) -> dict[str, Any]:
    """Return the index of a frame after rows were added, as plain data.

    Args:
        index: The index before; its columns stay.
        added: The index of the rows that came.
        row_count: How many rows there are now.

    Returns:
        Levels hold the values of both. A range goes on where the other one starts at its
        end; else the rows are counted anew.
    """
    if "range" not in index:
        # The step of moments is not known to go on.
        return {**index, "freq": None}
    start, stop, step = index["range"]
    length = len(range(start, stop, step))
    if "range" in added:
        start_added, stop_added, step_added = added["range"]
        goes_on = (start + step * length, step) == (start_added, step_added)
        if goes_on and length + len(range(start_added, stop_added, step)) == row_count:
            return {**index, "range": [start, stop_added, step]}
    return {**plain(row_count), "names": index["names"]}
