"""A clock of what processes report, as the timer of benchmarks whose work is done by them."""

from __future__ import annotations

from typing import Final

import pytest

_reported_s = 0.0


def reported_s() -> float:
    """Return the seconds that processes reported so far.

    As the timer of a benchmark it leaves out what a user does not wait for: that a process
    starts, makes its frame, and compares what it got.
    """
    return _reported_s


def passed(seconds: float) -> None:
    """Let the clock go on by what a process reported."""
    global _reported_s  # noqa: PLW0603 - a clock is one for all
    _reported_s += seconds


#: A benchmark whose figures are what processes report; it must be a `pedantic` one.
by_report: Final = pytest.mark.benchmark(timer=reported_s)
