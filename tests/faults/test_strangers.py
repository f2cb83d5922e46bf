"""A store that somebody else made runs no code, reads no other file and crashes nothing."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline import checkpoint, configure, entries, load
from usher_pipeline.errors import NameClashError, UsherError, UsherWarning
from usher_pipeline.fingerprint.buffers import bytes_digest
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.entries import read_json
from usher_pipeline.persistence.flights import Holder
from usher_pipeline.persistence.local import LocalBackend, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORE: Final = Path("store.duckdb")
HIDDEN: Final = "the-content-of-another-file"


@checkpoint(name="hostile_genes")
def strange(number: int = 1) -> pl.DataFrame:
    """Return a frame with texts, whose segment has offsets."""
    return pl.DataFrame({"n": [number, 2], "gene": ["USH2A, a long name of a gene", "MYO7A"]})


@checkpoint(name="hostile_others")
def other() -> pl.DataFrame:
    """Return another frame of the same shape."""
    return pl.DataFrame({"n": [7, 8], "gene": ["CDH23, a long name of a gene", "PCDH15"]})


@pytest.fixture(autouse=True)
def _of_a_stranger(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Fill a store, and become another user, who unpacked it; warnings may come of it."""
    warnings.simplefilter("ignore", UsherWarning)
    configure(store=STORE)
    strange()
    other()
    Path("other.csv").write_text(f"n,gene\n1,{HIDDEN}\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("another-user")))
    # What this process wrote itself it need not look at again.
    monkeypatch.setattr("usher_pipeline.persistence.segments._checked", {})
    monkeypatch.setattr("usher_pipeline.persistence.entries._entries", {})
    monkeypatch.setattr("usher_pipeline.results._memory._frames", OrderedDict())


def segment_of(name: str) -> Path:
    """Return the segment of a result."""
    (path,) = Path("store.checkpoints", name).glob("*.arrow")
    return path


def entry_of(name: str) -> Path:
    """Return the entry of a result."""
    return segment_of(name).with_suffix(".json")


def looked_at() -> str:
    """Use the store in every way that the library does; return all that came back, as text."""

    def found(act: Callable[[], Any]) -> str:
        try:
            return str(act())
        except UsherError as problem:
            return str(problem)

    seen = [found(lambda: strange().rows()), found(lambda: strange.lazy().collect().rows())]
    seen.append(found(lambda: load("hostile_genes").rows()))
    seen.append(found(lambda: entries("hostile_genes")))
    with PipelineStore(STORE) as store:
        seen += [
            found(lambda: store.load_dataframe("hostile_genes").rows()),
            found(store.list_checkpoints),
            found(store.usage),
            found(store.verify),
            found(lambda: store.prune(keep_latest=5)),
            found(lambda: store.has_checkpoint("hostile_genes")),
            found(lambda: store.export_parquet("hostile_genes", "out.parquet")),
        ]
    return "\n".join(seen)


def in_the_database(*statements: str) -> None:
    """Run SQL on the database as its maker would."""
    with duckdb.connect(str(STORE)) as connection:
        for statement in statements:
            connection.execute(statement)


# --- the database -----------------------------------------------------------------------

MACROS: Final = [
    f"CREATE MACRO {name} AS (SELECT max_by(gene, n) FROM read_csv('other.csv'))"
    for name in ("lower(x)", "max(x)", "count(x)", "coalesce(x, y)", "unnest(x)")
]
VIEW: Final = "CREATE VIEW {} AS SELECT * FROM read_csv('other.csv')"


@pytest.mark.parametrize(
    "statements",
    [
        MACROS,
        ["CREATE MACRO hostile_genes() AS TABLE SELECT * FROM read_csv('other.csv')"],
        ["DROP TABLE hostile_genes", VIEW.format("hostile_genes")],
        ["DROP TABLE _checkpoints", VIEW.format("_checkpoints")],
        ["DROP TABLE _provenance", VIEW.format("_provenance")],
        ["CREATE SCHEMA information_schema_", VIEW.format("information_schema_.tables")],
    ],
    ids=["macros", "table macro", "view", "checkpoints", "provenance", "schema"],
)
def test_what_a_database_defines_is_not_run(statements: list[str]) -> None:
    """Macros and views of the file are not what the library's SQL means by a name."""
    segment_of("hostile_genes").unlink()
    in_the_database(*statements)
    assert HIDDEN not in looked_at()
    with suppress(NameClashError):
        # Where the file does not say that the table is its own, it is somebody's work.
        assert strange().rows() == strange.__wrapped__().rows()
    exported = Path("out.parquet")
    assert not exported.exists() or HIDDEN not in exported.read_bytes().decode("latin-1")


# --- segments ---------------------------------------------------------------------------

USE: Final = """
import sys
from usher_pipeline import configure, load
from usher_pipeline.errors import UsherError
configure(store="store.duckdb")
for _ in range(2):
    try:
        print(load("hostile_genes").rows())
    except UsherError as problem:
        print(type(problem).__name__)
"""
LAZILY: Final = """
from usher_pipeline import results, runs
backend = runs.current_run().backend
(entry,) = backend.recent("hostile_genes")
found = results.restored(backend, entry, "polars.LazyFrame")
print("lost" if found is results.LOST else found.collect().rows())
"""


#: Two texts as a segment has them: three offsets of 64 bits, and the letters.
OFFSETS: Final = (0, 27, 32)


def packed(offsets: tuple[int, ...]) -> bytes:
    """Return offsets as they lie in a file."""
    return b"".join(number.to_bytes(8, "little", signed=True) for number in offsets)


def seen_of(table: pa.Table, offsets: tuple[int, ...] = OFFSETS) -> list[str]:
    """Put a segment that was made for it in the place of one; return what a process sees."""
    path = segment_of("hostile_genes")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    data = path.read_bytes()
    assert offsets == OFFSETS or data.count(packed(OFFSETS)) == 1
    path.write_bytes(data.replace(packed(OFFSETS), packed(offsets)))
    STORE.unlink()
    command = [sys.executable, "-c", USE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


TEXTS: Final = pa.array(["USH2A, a long name of a gene"[:27], "MYO7A"], pa.large_string())


@pytest.mark.parametrize(
    "offsets",
    [
        (0, 1 << 40, 1 << 41),
        (0, -5, 32),
        (-(1 << 40), 1, 32),
        (32, 27, 0),
        (0, 27, 33),
    ],
)
def test_offsets_are_not_believed(offsets: tuple[int, ...]) -> None:
    """Offsets that lead out of the file crash nothing: the result is lost, and says so."""
    table = pa.table([pa.array([1, 2]), TEXTS], names=["0", "1"])
    assert seen_of(table, offsets) == ["CheckpointMissError"] * 2


@pytest.mark.parametrize(
    "column",
    [
        TEXTS.cast(pa.string_view()),
        TEXTS.cast(pa.large_binary()),
        pa.array([7, 8]),
        TEXTS.dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_other_columns_than_those_of_the_entry_are_none(column: pa.Array) -> None:
    """Columns of other values or types are no result, however well they are formed."""
    table = pa.table([pa.array([1, 2]), column], names=["0", "1"])
    assert seen_of(table) == ["CheckpointMissError"] * 2


#: What a view of a text in the file may say instead: at which place of it, which number.
CRAFTED: Final = {
    "longer": (0, 1 << 29),
    "below zero": (0, -1),
    "another buffer": (8, 77),
    "far": (12, 0x7FFFFFF0),
    "one further": (12, 1),
    "before": (12, -5),
}


@pytest.mark.parametrize("crafted", CRAFTED)
def test_an_entry_does_not_vouch_for_its_segment(crafted: str) -> None:
    """Bytes that no frame may be built of are none, although the entry has their digest."""
    path, (place, number) = segment_of("hostile_genes"), CRAFTED[crafted]
    data = bytearray(path.read_bytes())
    view = data.index((28).to_bytes(4, "little") + b"USH2") + place
    data[view : view + 4] = number.to_bytes(4, "little", signed=True)
    path.write_bytes(data)
    entry = path.with_suffix(".json")
    stated = {**json.loads(entry.read_text()), "segment_digest": bytes_digest(bytes(data))}
    entry.write_text(json.dumps(stated))
    STORE.unlink()
    done = subprocess.run(
        [sys.executable, "-c", USE + LAZILY], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["CheckpointMissError", "CheckpointMissError", "lost"]


def test_a_segment_in_the_place_of_another_is_no_result() -> None:
    """What belongs to another result has other digests, and is computed anew."""
    STORE.unlink()
    shutil.copyfile(segment_of("hostile_others"), segment_of("hostile_genes"))
    assert strange().rows() == strange.__wrapped__().rows()


@pytest.mark.parametrize("what", ["segment", "entry"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link", "folder"])
def test_what_is_no_file_is_not_opened(what: str, kind: str) -> None:
    """A pipe would never answer, a device never end, and a link leads elsewhere."""
    path = segment_of("hostile_genes") if what == "segment" else entry_of("hostile_genes")
    STORE.unlink()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(Path("other.csv").absolute())
    else:
        path.mkdir()
    assert HIDDEN not in looked_at()
    assert strange().rows() == strange.__wrapped__().rows()


# --- entries ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "..", "strange/../other", "a\0b"]
)
def test_no_path_escapes_through_an_entry(name: str) -> None:
    """An entry whose name is a path is none; nothing outside of the folder is touched."""
    outside = Path("outside")
    outside.mkdir()
    data = json.loads(entry_of("hostile_genes").read_text())
    data["key"]["name"] = name
    entry_of("hostile_genes").write_text(json.dumps(data))
    backend = LocalBackend(resolved(STORE))
    assert backend.segments.find("hostile_genes", data["key"]["digest"]) is None
    looked_at()
    assert list(outside.iterdir()) == []
    assert strange().rows() == strange.__wrapped__().rows()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "strange/../other", "C:x"])
def test_no_path_escapes_through_a_name(name: str) -> None:
    """A checkpoint may be called anything; its folder lies in that of the store."""
    named = checkpoint(name=name)(strange.__wrapped__)
    before = set(Path.cwd().parent.iterdir())
    assert named().rows() == named().rows()
    folder = Path("store.checkpoints").resolve()
    (entry,) = named.entries()
    segment = LocalBackend(resolved(STORE)).segments.segment(entry)
    assert segment.resolve().parent.parent == folder
    assert set(Path.cwd().parent.iterdir()) == before


ODD: Final[tuple[Any, ...]] = (
    *(None, -1, [], {}, "x", 1e308, True, math.nan, 10**30, "\ud800", [["x"]]),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
)


def places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value in what JSON holds."""
    if place:
        yield place
    if isinstance(data, (dict, list)):
        inner = data.items() if isinstance(data, dict) else enumerate(data)
        for name, value in inner:
            yield from places(value, (*place, name))


def test_an_entry_may_hold_anything() -> None:
    """Whatever stands in the place of a value: it is no entry, or the exact frame."""
    chance = random.Random()  # noqa: S311
    text = entry_of("hostile_genes").read_text()
    every = list(places(json.loads(text)))
    for place in chance.sample(every, min(120, len(every))):
        data = json.loads(text)
        inner = data
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = chance.choice(ODD)
        entry_of("hostile_genes").write_text(json.dumps(data))
        assert strange().rows() == strange.__wrapped__().rows(), place
        looked_at()
        str(strange.explain(3))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, '{"pid": Infinity}', "\0"])
@pytest.mark.parametrize("place", ["entry", "holder", "waiter"])
def test_json_may_be_anything(text: str, place: str) -> None:
    """A file without an end to its brackets is no entry and no note, and no error."""
    paths = {
        "entry": entry_of("hostile_genes"),
        "holder": Path("store.checkpoints", ".locks", f"{'0' * 32}.json"),
        "waiter": Path("store.checkpoints", ".locks", f"{'0' * 32}.wait"),
    }
    paths[place].write_text(text)
    assert read_json(paths[place]) in ({}, {"pid": math.inf})
    assert Holder.from_json(read_json(paths[place])) is None
    assert strange().rows() == strange.__wrapped__().rows()
    looked_at()
