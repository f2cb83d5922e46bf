"""A table that was computed before is filed as the result of a call, and says so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline import checkpoint, configure, export, run
from usher_pipeline.errors import (
    CheckpointNotSavedError,
    CodeChangedError,
    OptionError,
    UnsupportedFrameError,
)
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.tablefiles import read_table
from usher_pipeline.records import Blocked, Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORE = Path("store.duckdb")
GENES = pl.DataFrame({"gene": ["USH2A", "MYO7A"], "depth": [31, 45]})


@pytest.fixture(autouse=True)
def _store() -> None:
    configure(store=STORE)


def never(kind: Any = pl.DataFrame, name: str = "scan") -> Any:
    """Return a checkpoint whose function may not run."""

    def scan(depth: int = 30) -> Any:
        raise AssertionError(f"it ran for {depth}")

    scan.__annotations__["return"] = kind
    return checkpoint(name=name)(scan)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "genes.parquet": GENES.write_parquet,
    "genes.arrow": GENES.write_ipc,
    "genes.feather": GENES.write_ipc,
    "genes.csv": GENES.write_csv,
    "GENES.TSV": lambda path: GENES.write_csv(path, separator="\t"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_file_is_a_result_from_now_on(name: str, as_text: bool) -> None:  # noqa: FBT001
    """The call is a hit, of these arguments alone; nothing was run."""
    WRITERS[name](Path(name))
    scan = never()
    assert scan.adopt(name if as_text else Path(name), depth=20).equals(GENES)
    assert scan(depth=20).equals(GENES)
    assert isinstance(scan.explain(depth=20), Hit)
    with pytest.raises(AssertionError, match="it ran for 30"):
        scan()
    with PipelineStore(STORE) as store:
        assert store.load_dataframe("scan").equals(GENES)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (pd.DataFrame, "pandas.DataFrame"),
        (pa.Table, "pyarrow.Table"),
        ("pd.DataFrame", "pandas.DataFrame"),
    ],
)
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_read_as_what_the_function_returns(kind: Any, wanted: str, name: str) -> None:
    """The frame is of the kind that the function says to return."""
    WRITERS[name](Path(name))
    scan = never(kind)
    found = scan.adopt(name)
    assert scan.entries()[0].kind == wanted
    assert type(scan()) is type(found)


def test_the_provenance_says_from_where(tmp_path: Path) -> None:
    """Entry, step and sidecar name the file and its SHA-256; nobody takes it for computed."""
    GENES.write_parquet("old.parquet")
    digest = hashlib.sha256(Path("old.parquet").read_bytes()).hexdigest()
    scan = never()
    with run():
        scan.adopt("old.parquet", depth=20)
        export(scan(depth=20), tmp_path / "out.parquet")
    (entry,) = scan.entries()
    assert entry.adopted is not None
    assert (entry.adopted.origin, entry.adopted.sha256) == ("old.parquet", digest)
    assert entry.reason == "adopted from old.parquet"
    told = json.loads((tmp_path / "out.provenance.json").read_text())
    assert digest in json.dumps(told)
    scan.adopt(GENES, depth=5)
    newest = scan.entries()[0]
    assert newest.adopted is not None
    assert (newest.adopted.origin, newest.adopted.sha256) == ("a polars DataFrame", "")


def test_several_frames_are_adopted_together() -> None:
    """A dict of frames is what a function that returns one gives."""
    scan = never(dict)
    frames = {"genes": GENES, "more": GENES.head(1)}
    assert list(scan.adopt(frames)) == ["genes", "more"]
    assert scan()["more"].equals(GENES.head(1))


def test_rows_that_still_come_are_adopted() -> None:
    """A query is run once, and an iterator asked for its frames, as of any function."""
    scan = never(pl.LazyFrame)
    assert scan.adopt(GENES.lazy()).collect().equals(GENES)
    assert scan().collect().equals(GENES)


def test_an_edit_does_not_throw_it_away() -> None:
    """What was adopted is costly, whatever it took: who edits the code is asked."""

    @checkpoint(name="scan")
    def before() -> pl.DataFrame:
        raise AssertionError("one")

    before.adopt(GENES)
    del before

    def edited() -> pl.DataFrame:
        raise AssertionError("two")

    edited.__qualname__ = edited.__qualname__.replace("edited", "before")
    scan = checkpoint(name="scan")(edited)
    assert isinstance(scan.explain(), Blocked)
    with pytest.raises(CodeChangedError, match="2 rows that were adopted"):
        scan()
    scan.accept()
    assert scan().equals(GENES)


def test_the_last_one_that_was_adopted_answers() -> None:
    """To adopt again replaces what answers; what was there stays in the store."""
    scan = never()
    scan.adopt(GENES)
    assert scan.adopt(GENES.head(1)).height == 1
    assert scan().height == 1
    assert len(list(Path("store.checkpoints", "scan").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("what", "match"),
    [
        (3, "expected a frame, a dict of frames, or the path of a file, got int"),
        ("genes.xlsx", r"ends with .parquet.*got 'genes.xlsx'"),
        (GENES.to_pandas(), "expected a polars.DataFrame, as the function says to return"),
    ],
)
def test_what_can_not_be_adopted(what: Any, match: str) -> None:
    """Something else is an error that says what can be, and nothing is stored."""
    Path("genes.xlsx").write_bytes(b"")
    scan = never()
    with pytest.raises(OptionError, match=match):
        scan.adopt(what)
    assert scan.entries() == []


def test_a_frame_that_can_not_be_stored_is_refused() -> None:
    """What could not come back exactly is refused as from any function."""
    scan = never(None)
    with pytest.raises(UnsupportedFrameError, match="things"):
        scan.adopt(pd.DataFrame({"things": [object()]}))


def test_a_file_that_is_not_there() -> None:
    """The error is that of the system."""
    with pytest.raises(FileNotFoundError, match=r"old\.parquet"):
        never().adopt("old.parquet")


def test_a_file_that_changes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is what the digest is of."""
    GENES.write_parquet("old.parquet")

    def slowly(*given: Any) -> Any:
        found = read_table(*given)
        GENES.head(1).write_parquet("old.parquet")
        return found

    monkeypatch.setattr("usher_pipeline.adopting.read_table", slowly)
    scan = never()
    with pytest.raises(OSError, match="changed while it was read; nothing was stored"):
        scan.adopt("old.parquet")
    assert scan.entries() == []


def test_what_can_not_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is to believe that it is filed: the error carries the frame."""

    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("usher_pipeline.persistence.segments.Segments.commit", refuse)
    with pytest.raises(CheckpointNotSavedError, match="No space left") as caught:
        never().adopt(GENES)
    assert caught.value.frame is GENES


def test_a_result_that_is_adopted_is_an_input() -> None:
    """Who adopts what another checkpoint returned has that in the provenance."""

    @checkpoint(name="genes")
    def genes() -> pl.DataFrame:
        return GENES

    scan = never()
    scan.adopt(genes())
    (entry,) = scan.entries()
    assert [read.name for read in entry.inputs] == ["genes"]


def test_frames_are_adopted_together_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last of several can not be stored, none of them stays."""
    save, left = LocalBackend.save, [2]

    def refuse(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return save(*given)

    monkeypatch.setattr(LocalBackend, "save", refuse)
    with pytest.raises(CheckpointNotSavedError, match="No space left"):
        never(dict).adopt({"one": GENES, "two": GENES.head(1)})
    assert not list(Path("store.checkpoints").rglob("scan*/*.json"))
