"""The key of a plain call is made in 15 µs, and that of a frame at the pace of the memory.

Three promises:

- A call pays at most 15 µs for its key when it has three plain arguments.
- A frame has its digest at least five times as fast as `joblib.hash` finds one, and its
  columns of fixed width are read at 40 % or more of what the memory gives.
- That the code which a function reaches is still the same is known within 50 µs for 50
  names.

Figures never fail a benchmark: they are printed and kept, and only answers are asserted.
"""

from __future__ import annotations

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import joblib
import numpy as np
import polars as pl
import pytest
import xxhash

from figures import best_s, least_s, taken
from mixed import ROWS
from usher_pipeline import checkpoint, current_run
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint.binding import bind
from usher_pipeline.fingerprint.code import graph_of
from usher_pipeline.fingerprint.frames import frame_digest
from usher_pipeline.fingerprint.key import measure
from usher_pipeline.fingerprint.ownership import Ownership
from usher_pipeline.frames import adapter_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

NAMES: Final = 50


# --- a plain call -----------------------------------------------------------------------

DEPTH: Final = 30.0


def _clean(name: str) -> str:
    return name.strip().upper()


@checkpoint(name="bench_plain")
def plain(gene: str, count: int, depth: float) -> pl.DataFrame:
    """Return a table; what it reaches is a helper and a constant."""
    return pl.DataFrame({"gene": [_clean(gene)] * count, "deep": [depth > DEPTH] * count})


ARGUMENTS: Final = ("ush2a", 3, 28.5)


def test_what_a_call_pays(benchmark: BenchmarkFixture, say: Callable[..., None]) -> None:
    """Binding three plain arguments and measuring the call takes at most 15 µs."""
    declared = plain.__usher_declaration__
    facts = InForce(current_run())
    ownership = facts.ownership(declared.function)

    def pay() -> str:
        bound = bind(declared, ARGUMENTS, {}, facts)
        return measure(declared, bound, facts, ownership).digest

    key = plain.key(*ARGUMENTS)
    assert {part.label for part in key.parts if part.kind == "code"} == {
        "plain()",
        f"helper _clean() in {__file__.rpartition('/')[2]}",
        "DEPTH in plain()",
    }
    assert benchmark(pay) == key.digest
    assert plain.key("ush2a", 4, 28.5).digest != key.digest
    median_us, measured = taken(benchmark)
    say("key of 3 plain arguments", measured, "≤ 15 µs", 15 / median_us)


def test_what_asking_for_a_key_costs(
    benchmark: BenchmarkFixture, say: Callable[..., None]
) -> None:
    """Asking for the key itself adds what is in force and a preview of every part."""
    key = benchmark(lambda: plain.key(*ARGUMENTS))
    assert [part.preview for part in key.parts[:3]] == ["'ush2a'", "3", "28.5"]
    say("key(...) in words", taken(benchmark)[1])


# --- a frame ----------------------------------------------------------------------------


def digest(frame: pl.DataFrame) -> str:
    """Return the digest of a frame, on the way that its key takes."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return frame_digest(adapter.to_arrow(frame))


class Memory:
    """How fast this machine reads its memory, by the quickest of three ways.

    Args:
        size_bytes: How much is read at once.
    """

    def __init__(self, size_bytes: int) -> None:
        self.buffer = np.random.default_rng(2).integers(0, 1 << 60, size_bytes // 8)
        self.bytes_per_s = 0.0

    def read(self) -> None:
        """Read it in each way once more; the best of all times counts."""
        halves = np.array_split(self.buffer, 2)
        with ThreadPoolExecutor(2) as threads:
            ways: tuple[Callable[[], Any], ...] = (
                lambda: list(threads.map(lambda half: xxhash.xxh3_128(half).digest(), halves)),
                lambda: list(threads.map(np.sum, halves)),
                lambda: np.sum(self.buffer),
            )
            quickest_s = min(best_s(way, 2) for way in ways)
        self.bytes_per_s = max(self.bytes_per_s, self.buffer.nbytes / quickest_s)


def test_a_frame_against_joblib(
    benchmark: BenchmarkFixture,
    frame: pl.DataFrame,
    say: Callable[..., None],
) -> None:
    """The digest of ten million rows is found five times as fast as by `joblib.hash`."""
    assert frame.shape == (ROWS, 8)
    found = benchmark.pedantic(digest, args=(frame,), rounds=5, warmup_rounds=1)
    half = ROWS // 2
    chunked = pl.concat([frame[:half], frame[half:]], rechunk=False)
    assert digest(chunked) == found
    changed = frame.with_columns(pl.col("seen").replace({frame["seen"][-1]: date(1900, 1, 1)}))
    assert digest(changed) != found
    taken_s = least_s(benchmark)
    rival_s = best_s(lambda: joblib.hash(frame), 2)
    pace = frame.estimated_size() / taken_s / 1e9
    times = rival_s / taken_s
    ours, theirs = f"{taken_s * 1e3:.0f} ms ({pace:.1f} GB/s)", f"{rival_s * 1e3:.0f} ms"
    say(
        f"digest of {ROWS / 1e6:g} M × 8",
        f"{ours} to {theirs}, {times:.1f} ×",
        "≥ 5 × joblib",
        times / 5,
    )


WIDTHS: Final = {
    "fixed width": ("id", "score", "depth", "seen"),
    "fixed width, bits and nulls too": (
        "id",
        "score",
        "depth",
        "seen",
        "is_coding",
        "frequency",
    ),
}


@pytest.mark.parametrize("columns", WIDTHS)
def test_columns_of_fixed_width(
    benchmark: BenchmarkFixture,
    frame: pl.DataFrame,
    say: Callable[..., None],
    columns: str,
) -> None:
    """Columns whose values lie as they count are read at 40 % of the memory's pace."""
    part = frame.select(WIDTHS[columns])
    memory = Memory(int(part.estimated_size()))
    # In turns, since what else the machine does changes from moment to moment.
    rounds = {"setup": memory.read, "rounds": 12, "warmup_rounds": 1}
    found = benchmark.pedantic(lambda: digest(part), **rounds)
    assert digest(part.clone()) == found
    assert digest(part.reverse()) != found
    pace, available = part.estimated_size() / least_s(benchmark), memory.bytes_per_s
    share = pace / available
    measured = f"{pace / 1e9:.1f} of {available / 1e9:.1f} GB/s, {share:.0%}"
    if columns == "fixed width":
        say(columns, measured, "≥ 40 % of the memory", share / 0.4)
    else:
        say(columns, measured)


# --- the code ---------------------------------------------------------------------------


def module_of(folder: Path, name: str, lists: int) -> Any:
    """Import a module with a function that reaches 50 helpers and constants.

    Args:
        folder: Where it lies.
        name: What it is called.
        lists: How many of the constants can change in place.
    """
    half = NAMES // 2
    values = ["['x', 1, 2.5]" if n < lists else f"{n}" for n in range(half)]
    lines = [
        *(f"CONSTANT_{n} = {value}" for n, value in enumerate(values)),
        *(f"def helper_{n}(x):\n    return x + {n}" for n in range(half)),
        "def reach(x):",
        *(f"    x = helper_{n}(x)" for n in range(half)),
        f"    return x, {', '.join(f'CONSTANT_{n}' for n in range(half))}",
    ]
    (folder / f"{name}.py").write_text("\n".join(lines) + "\n")
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        del sys.modules[name]


@pytest.mark.parametrize("lists", [0, 5])
def test_the_same_code_again(
    benchmark: BenchmarkFixture,
    tmp_path: Path,
    say: Callable[..., None],
    lists: int,
) -> None:
    """That nothing changed in a graph of 50 names is known within 50 µs."""
    module = module_of(tmp_path, f"reaching_{lists}", lists)
    ownership = Ownership.of(module.reach, str(tmp_path))
    graph = graph_of(module.reach, ownership)
    assert len(graph.names) == NAMES
    assert len(graph.states) == lists
    assert benchmark(graph_of, module.reach, ownership) is graph
    module.CONSTANT_7 = 5
    assert graph_of(module.reach, ownership).digest != graph.digest
    median_us, measured = taken(benchmark)
    if lists:
        say(f"code with {NAMES} names, {lists} of them lists", measured)
    else:
        say(f"code with {NAMES} names", measured, "≤ 50 µs", 50 / median_us)
