"""One adapter for each kind of frame: frame ↔ Arrow table and plain schema.

Importing this package imports no frame library: whoever holds a frame has imported its
library already, so `sys.modules` knows whose it may be.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from usher_pipeline.frames.contract import Adapter, Packed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALL_KINDS", "Adapter", "Packed", "adapter_for", "adapter_of_kind", "is_frame"]

#: The module of the adapter of each kind of frame. A kind is a class in its library.
_MODULES: Final[Mapping[str, str]] = {
    "polars.DataFrame": "polars_frames",
    "pandas.DataFrame": "pandas_frames",
    "polars.LazyFrame": "polars_lazy",
    "polars.Series": "polars_series",
    "pandas.Series": "pandas_series",
    "pyarrow.Table": "arrow_tables",
    "pyarrow.RecordBatchReader": "arrow_readers",
    "duckdb.DuckDBPyRelation": "relations",
    "dict": "parts",
}

#: What a frame can be, for messages.
ALL_KINDS: Final = ", ".join(kind for kind in _MODULES if "." in kind)


def adapter_for(value: object) -> Adapter | None:
    """Return the adapter of a frame, or nothing for a value that is none.

    A subclass of a frame has its parent's adapter, whose `to_arrow` refuses it by name.

    >>> adapter_for([1, 2]) is None
    True
    """
    for kind in _MODULES:
        library, _, name = kind.partition(".")
        frame_class = getattr(sys.modules.get(library), name, None)
        # By its type: mocks say that they are of the class that they stand for.
        if isinstance(frame_class, type) and issubclass(type(value), frame_class):
            return adapter_of_kind(kind)
    return None


def adapter_of_kind(kind: str) -> Adapter:
    """Return the adapter of a kind; this loads its library.

    Raises:
        ValueError: The kind is unknown.
        ImportError: The library is not installed.
    """
    if kind not in _MODULES:
        raise ValueError(f"unknown kind of frame {kind!r}, expected one of {ALL_KINDS}")
    return cast("Adapter", import_module(f"{__name__}.{_MODULES[kind]}").ADAPTER)


def is_frame(value: object) -> bool:
    """Return whether a value is a frame that some adapter knows.

    >>> is_frame("text")
    False
    """
    return adapter_for(value) is not None
