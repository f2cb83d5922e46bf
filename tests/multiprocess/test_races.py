"""Whatever other processes do meanwhile, a result stands under what it was made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import polars as pl

from usher_pipeline.fingerprint.frames import frame_digest
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import Entry

RACING: Final = Path(__file__).with_name("racing.py")
STORE: Final = Path("store.duckdb")
ROUNDS: Final = 200


def start(role: str, **arguments: Any) -> subprocess.Popen[str]:
    """Start a process that plays a role, in the present folder."""
    return subprocess.Popen(
        [sys.executable, str(RACING), role, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> Any:
    """Wait for a process and return what it told."""
    out, problems = process.communicate()
    assert process.returncode == 0, problems
    return json.loads(out)


# --- what was read ----------------------------------------------------------------------


def version(number: int) -> pl.DataFrame:
    """Return a version, as the writer publishes it."""
    return pl.DataFrame({"row": range(40), "version": [number] * 40})


def digest(frame: pl.DataFrame) -> str:
    """Return the digest of a frame."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return frame_digest(adapter.to_arrow(frame))


def entries_of(name: str) -> list[Entry]:
    """Return every entry of a checkpoint that is on disk, older results included."""
    files = Path("store.checkpoints", name).glob("*.json")
    return [Entry.from_json(json.loads(path.read_text())) for path in files]


def claimed(entry: Entry) -> set[str]:
    """Return the versions that an entry stands on: what it read, and its inputs."""
    inputs = {part.digest for part in entry.key.parts if part.kind == "table"}
    return inputs | {read.content for read in entry.reads}


def frame_of(entry: Entry) -> pl.DataFrame:
    """Return what is stored for an entry."""
    packed = LocalBackend(STORE).load(entry)
    assert packed is not None
    frame: pl.DataFrame = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
    return frame


def test_a_result_stands_on_what_was_read() -> None:
    """While another process publishes versions, each result has the one that it recorded.

    That holds for a table by its name and by SQL, for the result of a checkpoint by its
    name, and for a declared input through a raw connection.
    """
    writer = start("write", seed=7, pause_s=0.4, most=2000)
    try:
        race = told(start("read", rounds=ROUNDS))
    finally:
        Path("done").touch()
        writer.communicate()
    assert writer.returncode == 0
    assert len(race) == ROUNDS

    # What is returned, stored or not, is no older than what was there before the call.
    assert [call for call in race if not call[1] <= call[2] <= call[3] + 1] == []
    last = int(Path("written").read_text())
    numbers = {digest(version(number)): number for number in range(1, last + 1)}
    assert len({call[2] for call in race}) > 5

    readers = {call[0] for call in race}
    assert readers == {"from_store", "by_query", "by_name", "by_conn"}
    for entry in (entry for name in readers for entry in entries_of(name)):
        (claim,) = claimed(entry)
        assert frame_of(entry).equals(version(numbers[claim])), entry

    # When all is quiet everybody gets the last version, and gets it again from the store.
    for name, decision, number in told(start("settle")):
        assert (decision, number) == ("Hit", last), name


# --- one key ----------------------------------------------------------------------------


def test_four_processes_ask_and_one_computes() -> None:
    """Of four processes that miss on one key one computes, and all get its result."""
    asking = [start("ask", name=str(number), callers=4) for number in range(4)]
    answers = [told(process) for process in asking]
    assert sorted(answer["outcome"] for answer in answers) == ["computed", "hit", "hit", "hit"]
    assert {answer["version"] for answer in answers} == {1}
    assert Path("ran").read_text() == "x"
    (entry,) = entries_of("slow")
    assert frame_of(entry).equals(version(1))
