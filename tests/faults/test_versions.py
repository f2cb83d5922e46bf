"""Two versions of the library use one store: neither loses or spoils what the other has."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl
import pytest

from usher_pipeline.errors import StoreError
from usher_pipeline.persistence import PipelineStore, publisher
from usher_pipeline.persistence.local import resolved

HERE: Final = Path(__file__).parent
STORE: Final = Path("store.duckdb")
FOLDER: Final = Path("store.checkpoints", "shared_format")
ASK: Final = """
import json, sys
from shared_format import genes
from usher_pipeline.records import Hit
was_hit = isinstance(genes.explain(int(sys.argv[1])), Hit)
print(json.dumps([was_hit, genes(int(sys.argv[1])).height]))
"""
REFUSED: Final = """
import json, sys
from shared_format import genes
from usher_pipeline.errors import StoreError
try:
    print(genes(int(sys.argv[1])).height)
except StoreError as problem:
    print(json.dumps(type(problem).__name__))
"""


def python(*arguments: str) -> Any:
    """Run Python in the folder of the store; return what it printed, if it is JSON."""
    search = os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "USHER_STORE": str(STORE), "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout or "null")


def formats() -> dict[str, int]:
    """Return the format of each entry."""
    return {path.name: json.loads(path.read_text())["format"] for path in FOLDER.glob("*.json")}


@pytest.fixture
def newer() -> dict[str, int]:
    """A store that a newer version filled; its entries with their format."""
    python(str(HERE / "newer.py"))
    return formats()


@pytest.mark.usefixtures("newer")
def test_what_a_newer_version_stored_is_computed_again(newer: dict[str, int]) -> None:
    """An entry that can not be read is no hit and no error; it stays, and ours is beside it."""
    assert python("-c", ASK, "3") == [False, 3]
    assert python("-c", ASK, "3") == [True, 3]
    now = formats()
    assert {name: now[name] for name in newer} == newer
    assert len(now) == len(newer) + 1


@pytest.mark.usefixtures("newer")
def test_the_tables_of_a_newer_version_are_read_and_written(newer: dict[str, int]) -> None:
    """Columns and tables that are unknown stay, and everything else goes on as before."""
    with PipelineStore(STORE) as store:
        assert store.load_dataframe("shared_format").height in (3, 4)
        store.save_dataframe(pl.DataFrame({"n": [1]}), "saved")
        assert store.load_dataframe("saved").height == 1
        assert [each["table_name"] for each in store.list_checkpoints()].count("saved") == 1
    with duckdb.connect(str(STORE)) as connection:
        kept = "SELECT more FROM _checkpoints WHERE table_name = 'shared_format'"
        assert connection.execute(kept).fetchall() == [("newer",)]
        assert connection.execute("SELECT n FROM _lineage").fetchall() == [(1,)]


@pytest.mark.usefixtures("newer")
def test_keeping_house_leaves_a_newer_version_alone(newer: dict[str, int]) -> None:
    """What can not be read is neither damaged nor left over."""
    with PipelineStore(STORE) as store:
        assert store.verify().is_whole
        store.prune(keep_latest=0, dry_run=False)
        store.compact()
    assert publisher.wait(resolved(STORE), 30)
    assert formats() == newer
    assert Path("store.checkpoints", ".newer", "note.json").is_file()


def test_a_newer_version_goes_on_with_what_an_older_one_stored() -> None:
    """What the present version stored a newer one, which reads its format, finds."""
    assert python("-c", ASK, "5") == [False, 5]
    python(str(HERE / "newer.py"))
    assert python("-c", ASK, "5") == [True, 5]


def test_a_file_of_a_newer_duckdb_is_named_as_such() -> None:
    """A DuckDB that is too old for the file says so before a function runs; hits go on.

    The file was made by DuckDB 2.0.1: ``ATTACH '...' (STORAGE_VERSION 'v2.0.0')``.
    """
    assert python("-c", ASK, "5") == [False, 5]
    packed = (HERE / "of_duckdb_2.duckdb.gz").read_bytes()
    STORE.write_bytes(gzip.decompress(packed))
    assert python("-c", ASK, "5") == [True, 5]
    if duckdb.__version__.startswith("1."):
        with pytest.raises(StoreError, match=r"newer DuckDB than 1\..*Use the newer DuckDB"):
            PipelineStore(STORE)
        assert python("-c", REFUSED, "6") == "StoreError"
    else:
        assert python("-c", ASK, "6") == [False, 6]
