"""Variables of the environment, which are looked at on the way of every call."""

from __future__ import annotations

import os
from typing import Any, Final

__all__ = ["is_off", "is_set", "variable"]

_NO: Final = frozenset(("0", "false", "no", "off"))
#: What `os.environ` holds its variables in, since Python 3.2: to ask it for one that is not
#: set raises inside and catches again, several times at each call of a function.
_variables: Final[Any] = getattr(os.environ, "_data", None)
_keys: Final[dict[str, Any]] = {}


def variable(name: str) -> str:
    """Return a variable of the environment; an empty text if it is not set.

    Args:
        name: Its name.

    >>> variable("USHER_NO_SUCH_VARIABLE")
    ''
    """
    if _variables is not None:
        key = _keys.get(name)
        if key is None:
            key = _keys[name] = os.environ.encodekey(name)
        if key not in _variables:
            return ""
    return os.environ.get(name, "")


def is_set(name: str) -> bool:
    """Tell whether a variable says yes: it is set, and neither empty nor ``0``.

    Args:
        name: Its name.
    """
    return variable(name) not in ("", "0")


def is_off(name: str) -> bool:
    """Tell whether a variable says no: ``0``, ``false``, ``no`` or ``off``.

    One that is not set, or empty, says neither.

    Args:
        name: Its name.
    """
    return variable(name).strip().lower() in _NO
