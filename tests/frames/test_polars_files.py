"""A small segment that polars reads by itself is the frame that comes through Arrow."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl
import polars.testing
import pytest

from usher_pipeline import checkpoint, configure
from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.frames.polars_files import read
from usher_pipeline.frames.polars_frames import ADAPTER
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.spools import Spool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NUMBERS: Final = (
    pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
    pl.Float32, pl.Float64,
)  # fmt: skip
NAN: Final = float("nan")


def sealed(frame: pl.DataFrame) -> tuple[bytes, Mapping[str, Any]]:
    """Return the bytes of a frame's segment, and its schema."""
    packed = ADAPTER.to_arrow(frame)
    spool = Spool(Path("s.arrow"), packed.table.schema)
    spool.write(packed.table)
    spool.close()
    data = Path("s.arrow").read_bytes()
    spool.discard()
    return data, packed.schema


FRAMES: Final = {
    **{kind.__name__: pl.DataFrame({"n": [1, None, 0]}, {"n": kind}) for kind in NUMBERS},
    "bits of floats": pl.DataFrame({"f": [0.0, -0.0, NAN, float("inf"), None]}),
    "truth": pl.DataFrame({"b": [True, None, False]}),
    "text": pl.DataFrame({"t": ["", None, "ä" * 40, "\0"], "x": [b"", None, b"\xff", b"1"]}),
    "dates": pl.DataFrame({"d": [dt.date(1, 1, 1), None, dt.date(9999, 12, 31)]}),
    "labels": pl.DataFrame({"": [1], "0": [2], "a b": [3]}),
    "no rows": pl.DataFrame({"n": []}, {"n": pl.Int8}),
    "chunks": pl.concat([pl.DataFrame({"n": [n]}) for n in range(3)], rechunk=False),
}


@pytest.mark.parametrize("name", FRAMES)
def test_both_ways_give_the_same_frame(name: str) -> None:
    """Types, labels, order and every bit are those of the frame that was stored."""
    frame = FRAMES[name]
    data, schema = sealed(frame)
    found = read(data, schema)
    assert found is not None
    polars.testing.assert_frame_equal(found, frame)
    # To the bit, which -0.0 and NaN do not show.
    digests = [column_digests(ADAPTER.to_arrow(each).table) for each in (found, frame)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"c": ["a"]}, {"c": pl.Categorical}),
        pl.DataFrame({"t": [dt.datetime(2026, 1, 1)]}),  # noqa: DTZ001 - the type in question
        pl.DataFrame({"n": [2**100]}, {"n": pl.Int128}),
        pl.DataFrame({"n": [[1]]}),
        pl.DataFrame({"n": [1]}).drop("n"),
    ],
    ids=["categories", "moments", "wide", "lists", "no columns"],
)
def test_other_types_go_through_arrow(frame: pl.DataFrame) -> None:
    """Of what is not sure to be read alike nothing is read here."""
    assert read(*sealed(frame)) is None


def test_what_is_no_such_frame_is_not_read() -> None:
    """A file whose rows or types are not those of the schema is left to the other way."""
    data, schema = sealed(pl.DataFrame({"n": [1, 2]}))
    assert read(data, {**schema, "rows": 3}) is None
    assert read(data, {**schema, "dtypes": ["Int8"]}) is None


def test_a_forked_process_reads_it_too() -> None:
    """A child without the threads that polars had in its parent reads a frame all the same."""
    frame = pl.DataFrame({"n": range(1000)})
    data, schema = sealed(frame)
    assert frame.lazy().group_by("n").len().collect().height == 1000
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        found = read(data, schema)
        os._exit(0 if found is not None and found.rows() == frame.rows() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


PROGRAM: Final = """if True:
    import sys
    import polars as pl
    from usher_pipeline import checkpoint, configure
    configure(store="out/store.duckdb")

    @checkpoint(version="1")
    def genes() -> pl.DataFrame:
        return pl.DataFrame({"gene": ["USH2A"], "loeuf": [0.9]})

    print(genes().rows())
    print(sorted({"pyarrow", "numpy", "duckdb", "pandas"} & set(sys.modules)))
"""


def test_a_hit_on_a_small_frame_loads_polars_alone() -> None:
    """A process that finds a small result loads no other library for it."""
    for loaded in (None, "[]"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        )
        rows, libraries = done.stdout.splitlines()
        assert rows == "[('USH2A', 0.9)]"
        assert loaded in (None, libraries)


@pytest.mark.parametrize("damage", ["flipped", "resealed"])
def test_bytes_that_differ_are_looked_at_column_by_column(damage: str) -> None:
    """A file that is not the one that was sealed is damage, unless its columns say other."""
    configure(store="out/store.duckdb")
    Path("out").mkdir()
    ran = []

    @checkpoint(version="1")
    def genes() -> pl.DataFrame:
        ran.append(1)
        return pl.DataFrame({"n": range(100)})

    genes()
    backend = LocalBackend("out/store.duckdb")
    (entry,) = genes.entries()
    path = backend.segments.segment(entry)
    assert backend.segments.whole_bytes(entry) == path.read_bytes()
    if damage == "flipped":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink()
        path.write_bytes(data)
        assert backend.segments.whole_bytes(entry) is None
    else:
        path.unlink()
    assert genes()["n"].to_list() == list(range(100))
    assert genes.load()["n"].to_list() == list(range(100))
    assert ran == [1]
