"""What is made of times that were taken."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

MICRO: Final = 1e-6
MILLI: Final = 1e-3


def seconds_of(function: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def best_s(function: Callable[[], Any], rounds: int = 3) -> float:
    """Return the shortest of a few runs, in seconds."""
    return min(seconds_of(function) for _ in range(rounds))


def usual_s(function: Callable[[], Any], rounds: int) -> float:
    """Return the median of some runs, in seconds."""
    return median(seconds_of(function) for _ in range(rounds))


def median_s(benchmark: BenchmarkFixture) -> float:
    """Return the median of what was measured, in seconds."""
    assert benchmark.stats is not None
    return float(benchmark.stats.stats.median)


def least_s(benchmark: BenchmarkFixture) -> float:
    """Return the shortest of what was measured, in seconds."""
    assert benchmark.stats is not None
    return float(benchmark.stats.stats.min)


def taken(benchmark: BenchmarkFixture) -> tuple[float, str]:
    """Return the median of what was measured in µs, and a text with the minimum too."""
    median_us, least_us = median_s(benchmark) / MICRO, least_s(benchmark) / MICRO
    return median_us, f"{median_us:.1f} µs (at least {least_us:.1f})"


def short(seconds: float) -> str:
    """Return a time as people read it.

    >>> short(0.000042), short(0.0321), short(4.2)
    ('42.0 µs', '32.1 ms', '4.20 s')
    """
    if abs(seconds) < MILLI:
        return f"{seconds / MICRO:.1f} µs"
    return f"{seconds / MILLI:.1f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"


def percentile(values: list[float], percent: float) -> float:
    """Return what so many percent of the values are at most."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]
