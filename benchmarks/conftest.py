"""What all benchmarks share: a folder of their own, the big frame, a line for each promise."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# The benchmarks and their scripts import the modules of this folder by name.
sys.path.insert(0, str(Path(__file__).parent))

import tables
from figures import short
from mixed import mixed
from processes import STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep what is measured out of the repository, of its project, and off the disk."""
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        if not name.startswith("USHER_BENCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("USHER_STORE", str(tmp_path / STORE))
    monkeypatch.chdir(tmp_path)
    # As a user's project has one. Without it every folder above is looked at as well, and
    # that of temporary files changes all the time.
    (tmp_path / "pyproject.toml").touch()
    yield
    # They are gigabytes, and pytest would keep those of three runs.
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Ten million rows of eight types; what ``usher warm`` stored, if a store is named."""
    if "USHER_STORE" in os.environ:
        return tables.as_if_made_here(tables.ten_million())
    return mixed()


@pytest.fixture
def say(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print one line on a promise, and keep its figures with the measurement."""

    def said(what: str, measured: str, promised: str = "none", ratio: float = 0.0) -> None:
        """Say it; a ratio of 1 or more keeps the promise."""
        facts: dict[str, object] = {"promise": promised, "measured": measured}
        if ratio:
            facts["ratio"] = round(ratio, 2)
        benchmark.extra_info[what] = facts
        with capsys.disabled():
            print(f"\n{what}: " + " · ".join(f"{name} {fact}" for name, fact in facts.items()))

    return said


@pytest.fixture
def compare(say: Callable[..., None]) -> Callable[..., None]:
    """Print what something takes beside what it takes joblib."""

    def compared(what: str, ours_s: float, theirs_s: float, most: float = 0.0) -> None:
        """Say it.

        Args:
            what: What was measured.
            ours_s: What it took.
            theirs_s: What it took joblib.
            most: The share of joblib's time that is promised, if one is.
        """
        share = ours_s / theirs_s
        measured = f"{short(ours_s)} to {short(theirs_s)}, {share:.2f} ×"
        if most:
            say(what, measured, f"≤ {most:g} × joblib", most / share)
        else:
            say(what, measured)

    return compared
