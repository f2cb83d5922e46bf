"""Errors: what they say, what they carry, and that they reach another process."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from usher_pipeline import errors
from usher_pipeline.persistence.places import check_name
from usher_pipeline.records import Bypass

FAILURE: Final = errors.Failure("USH2A", "TimeoutError", "no answer", 3, datetime.now(UTC))

#: For every class the arguments of one instance.
MADE: Final[dict[str, tuple[Any, ...]]] = {
    "BundleError": (Path("genes.usher"), "it is no archive"),
    "CellError": ("genes", "it assigns a, b", "Say which."),
    "ChangedMeanwhileError": ("papers", ["the file 'a.txt'"], "3 items are stored."),
    "CheckpointCycleError": ("genes", ["genes", "scores", "genes"]),
    "CheckpointMissError": ("genes", "first call"),
    "CheckpointNameError": ("", "it is empty"),
    "CheckpointNotSaved": ("genes ran, but its result could not be stored",),
    "CheckpointNotSavedError": (Path("s.duckdb"), "the disk is full", [1, 2]),
    "CodeChangedError": ("genes", ["sized()"], "3 rows that took 2 h", 7200.0, None),
    "ConfigError": (Path("config.yaml"), "it is empty (line 3)"),
    "CursorError": ("pages", "(1, 2)"),
    "CriterionMissingError": ("prune", ["older_than", "names"]),
    "DeclarationError": ("pipeline.genes", "it is a generator"),
    "ForeignTableError": ("store.duckdb", "_checkpoints"),
    "FingerprintError": ("client", "Client", "Leave it out with ignore=."),
    "InvalidResultError": ("genes", "dict", {"a": 1}),
    "DamagedDatabaseError": ("store.duckdb", "Corrupt database file: block 7"),
    "DamagedResultError": ("store.duckdb", "genes", "genes/1.arrow"),
    "MapIncompleteError": ("papers", [FAILURE], 3, [1, 2], "The 2 others are stored."),
    "MissingStoreError": (Path("s.duckdb"), "USHER_STORE", "Run the pipeline first."),
    "NotPublishedError": ("store.duckdb", "genes", "IO Error: no space left"),
    "NoEarlierResultError": ("genes", "7f3a" * 8),
    "NameClashError": ("genes", "one.genes", "two.genes"),
    "OutputError": (Path("genes.csv"), "it is a folder", "Give the path of a file."),
    "OptionError": ("configure", "store", "a path", "5"),
    "RemoteError": ("httpx.HTTPStatusError", "503"),
    "SchemaMismatchError": ("genes", ["n BIGINT"], ["n DOUBLE"]),
    "ProbeError": ("https://example.org answered 503", "gnomad", "Ask again."),
    "ProvenanceError": ("filter", "details['rows']", "numpy.int64"),
    "StaleResultWarning": ("genes could not be made anew",),
    "StoreBusyError": (Path("s.duckdb"), "python (PID 7)", 1.5),
    "StoreClosedError": (Path("s.duckdb"),),
    "StoreError": (Path("s.duckdb"), "it is a folder", "Give the path of a file."),
    "UndeclaredConfigError": ("api.page_size", "genes", ["api.timeout"]),
    "UnexpectedDecisionError": ("genes", "a hit", Bypass(), "no result was stored"),
    "UnknownResultError": (Path("s.duckdb"), "genes", "ab", ["abc", "abd"]),
    "UnknownSettingError": ("api.page_sise", ["api.page_size"], "config.yaml"),
    "UnknownSourceError": ("gnomat", ["gnomad"], "config.yaml"),
    "UnknownTableError": (Path("s.duckdb"), "gene", ["genes"]),
    "UnsupportedFrameError": ("things", "Object", "Drop the column."),
    "UsherError": ("This run is open already.",),
    "UsherWarning": ("its sources can not be asked",),
}


def made(name: str) -> Any:
    """Return an instance of a class."""
    instance = getattr(errors, name)(*MADE[name])
    instance.add_note("seen in a test")
    return instance


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "Failure"])
def test_every_error_goes_to_another_process_and_back(name: str) -> None:
    """An error that was pickled, or copied, is of its class, and says and carries the same."""
    before = made(name)
    for after in (
        pickle.loads(pickle.dumps(before)),  # noqa: S301 - our own bytes
        copy.copy(before),
    ):
        assert type(after) is type(before)
        assert str(after) == str(before)
        assert after.__dict__ == before.__dict__


def test_a_file_is_no_store() -> None:
    """An error of a file that was asked for speaks of the file, with what to do."""
    error = errors.OutputError("out/genes.csv", "the folder is full", "Give another path.")
    assert str(error) == (
        "The file 'out/genes.csv' can not be written: the folder is full. Give another path."
    )
    assert (error.path, error.problem) == ("out/genes.csv", "the folder is full")


def test_an_error_within_a_function_goes_as_well() -> None:
    """What an error was told after it was made goes with it."""
    before = errors.FingerprintError("client", "Client", "Leave it out.").within("genes")
    after = pickle.loads(pickle.dumps(before))  # noqa: S301 - our own bytes
    assert (str(after), after.function) == (str(before), "genes")


def test_a_pool_hands_on_what_its_worker_raised() -> None:
    """The error of a worker arrives in the process that waits for it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.apply_async(check_name, [""])
        with pytest.raises(errors.CheckpointNameError, match="it is empty") as caught:
            answer.get(timeout=60)
        pool.close()
        pool.join()
    assert caught.value.name == ""
