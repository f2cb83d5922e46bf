"""A function that yields its result part by part is killed again and again, and gets there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

from usher_pipeline.persistence.segments import Segments
from usher_pipeline.persistence.sweeping import sweep
from usher_pipeline.records import utc_now

YIELDING: Final = Path(__file__).with_name("yielding.py")
KILLS: Final = 12
#: How many of the 400 pages may be asked more than once for each kill.
MOST_TWICE: Final = 40


def test_no_row_is_skipped_or_doubled() -> None:
    """Wherever it is killed, the result is exact, and what was committed is not asked again."""
    chance = random.Random()  # noqa: S311
    delays = [f"{chance.uniform(0, 0.15)}" for _ in range(KILLS)]
    done = subprocess.run(
        [sys.executable, str(YIELDING)],
        env={**os.environ, "USHER_STORE": "store.duckdb", "USHER_LOG": "quiet"},
        input="\n".join([*delays, "end"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *killed, last = map(json.loads, done.stdout.splitlines())
    met = sum(each["was_killed"] for each in killed)
    asked = list(map(int, Path("asked").read_text().split()))
    print(f"{met} kills, {len(asked)} of {len(set(asked))} pages asked")  # noqa: T201
    assert met > KILLS // 2
    assert last == {"was_killed": False, "height": 8000, "is_exact": True}
    assert set(asked) == set(range(400))
    assert len(asked) - 400 <= met * MOST_TWICE
    # Whoever is killed right after the end leaves parts that somebody sweeps.
    folder = Path("store.checkpoints")
    sweep(Segments(folder), older_than=timedelta(0), now=utc_now() + timedelta(seconds=1))
    assert not list((folder / ".unfinished").rglob("*.arrow"))
