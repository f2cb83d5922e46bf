"""Durations as people state them, such as ``7d``."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Final

__all__ = ["seconds_of"]

_UNITS_S: Final = {
    **dict.fromkeys(("s", "sec"), 1),
    **dict.fromkeys(("m", "min"), 60),
    "h": 3_600,
    "d": 86_400,
    "w": 604_800,
}
_PIECE: Final = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[a-z]+)\s*")


def seconds_of(stated: object) -> float:
    """Return a duration in seconds.

    Args:
        stated: A text such as ``30s``, ``15min``, ``12h``, ``7d``, ``2w`` or ``1d 12h``, or a
            `timedelta`. A number alone does not say of what.

    Raises:
        ValueError: It is neither, or not positive; the text of the error says what it is.

    >>> seconds_of("15m"), seconds_of("1d12h"), seconds_of(timedelta(hours=1))
    (900.0, 129600.0, 3600.0)
    """
    if isinstance(stated, timedelta):
        seconds = stated.total_seconds()
    elif isinstance(stated, str):
        seconds = _parsed(stated)
    else:
        raise ValueError(f"got {stated!r}, which has no unit")  # noqa: TRY004 - one error for all
    if not 0 < seconds < math.inf:
        raise ValueError(f"got {stated!r}, which is no time at all")
    return seconds


def _parsed(text: str) -> float:
    seconds, end = 0.0, 0
    while (piece := _PIECE.match(text, end)) is not None:
        unit_s = _UNITS_S.get(piece["unit"])
        if unit_s is None:
            raise ValueError(f"got {text!r}, where {piece['unit']!r} is no unit")
        seconds += float(piece["number"]) * unit_s
        end = piece.end()
    if end == 0 or end != len(text):
        raise ValueError(f"got {text!r}")
    return seconds
