"""Durations are stated with their unit, and mean what people mean by them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.durations import seconds_of


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("30s", 30.0),
        ("30 sec", 30.0),
        ("15m", 900.0),
        ("15min", 900.0),
        ("12h", 43_200.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("1.5h", 5_400.0),
        (" 1d 12h ", 129_600.0),
        ("1w2d3h4m5s", 788_645.0),
        (timedelta(hours=1), 3_600.0),
        (timedelta(microseconds=1), 0.000_001),
    ],
)
def test_a_duration_is_so_many_seconds(stated: Any, seconds: float) -> None:
    """Each unit is known, alone and together with others."""
    assert seconds_of(stated) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ("", "got ''$"),
        ("7", "got '7'$"),
        ("d", "got 'd'$"),
        ("7d later 5", "'later' is no unit|got"),
        ("7 days", "'days' is no unit"),
        ("2M", "got '2M'$"),
        ("-7d", "got '-7d'$"),
        ("1,5h", "got '1,5h'$"),
        ("٧d", "got '٧d'$"),
        ("0s", "no time at all"),
        ("9" * 400 + "d", "no time at all"),
        (timedelta(0), "no time at all"),
        (timedelta(days=-1), "no time at all"),
        (7, "got 7, which has no unit"),
        (True, "got True, which has no unit"),
        (b"7d", "got b'7d', which has no unit"),
    ],
)
def test_what_is_no_duration_is_refused(stated: Any, problem: str) -> None:
    """What has no unit, an unknown one, or takes no time, is an error that shows it."""
    with pytest.raises(ValueError, match=problem):
        seconds_of(stated)


@given(st.integers(1, 10**6), st.sampled_from(["s", "m", "h", "d", "w"]))
def test_spaces_say_nothing(number: int, unit: str) -> None:
    """A number and its unit may stand apart."""
    assert seconds_of(f"{number}{unit}") == seconds_of(f" {number}  {unit} ")


@given(st.text())
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    """No text does anything but give a positive time or the one kind of error."""
    try:
        seconds = seconds_of(text)
    except ValueError as problem:
        seconds = 1.0 if repr(text) in str(problem) else -1.0
    assert seconds > 0
