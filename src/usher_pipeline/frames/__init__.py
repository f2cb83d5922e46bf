"""One adapter for each frame library: frame ↔ Arrow table and plain schema.

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

__all__ = ["Adapter", "Packed", "adapter_for", "adapter_of_kind", "is_frame"]

#: The library of each kind of frame, with the module of its adapter.
_MODULES: Final[Mapping[str, tuple[str, str]]] = {
    "polars.DataFrame": ("polars", "usher_pipeline.frames.polars_frames"),
    "pandas.DataFrame": ("pandas", "usher_pipeline.frames.pandas_frames"),
}


def adapter_for(value: object) -> Adapter | None:
    """Return the adapter of a frame, or nothing for a value that is none.

    A subclass of a frame has its parent's adapter, whose `to_arrow` refuses it by name.

    >>> adapter_for([1, 2]) is None
    True
    """
    for kind, (library, _) in _MODULES.items():
        frame_class = getattr(sys.modules.get(library), "DataFrame", None)
        if isinstance(frame_class, type) and isinstance(value, frame_class):
            return adapter_of_kind(kind)
    return None


def adapter_of_kind(kind: str) -> Adapter:
    """Return the adapter of a kind; this loads its library.

    Raises:
        ValueError: The kind is unknown.
        ImportError: The library is not installed.
    """
    if kind not in _MODULES:
        raise ValueError(f"unknown kind of frame {kind!r}, expected {' or '.join(_MODULES)}")
    return cast("Adapter", import_module(_MODULES[kind][1]).ADAPTER)


def is_frame(value: object) -> bool:
    """Return whether a value is a frame that some adapter knows.

    >>> is_frame("text")
    False
    """
    return adapter_for(value) is not None
