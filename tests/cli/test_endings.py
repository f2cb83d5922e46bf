"""Errors as a line and a hint, each with its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from usher_pipeline import errors
from usher_pipeline.cli.endings import FAILED, NOT_STORED, Trouble, split, trouble_of


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (errors.CheckpointMissError("genes", "first call"), NOT_STORED),
        (errors.MissingStoreError("s.duckdb", "--store", "Give one."), NOT_STORED),
        (errors.UnknownTableError("s.duckdb", "a", ["b"]), NOT_STORED),
        (errors.UnknownResultError("s.duckdb", "a", "b", []), NOT_STORED),
        (errors.UnknownSettingError("a.b", [], "config.yaml"), FAILED),
        (errors.StoreBusyError(Path("s.duckdb"), "python", 1.0), FAILED),
        (OSError(28, "No space left"), FAILED),
        (RuntimeError("slip"), FAILED),
    ],
)
def test_what_is_not_stored_has_a_code_of_its_own(problem: Exception, code: int) -> None:
    """Absence of what was asked for is 3, any other trouble 1."""
    assert trouble_of(problem).code == code


def test_the_cure_is_the_hint() -> None:
    """What an error says to do stands in the hint, and what failed in the line."""
    found = trouble_of(errors.StoreError("s.duckdb", "it is a folder", "Give a file."))
    assert found == Trouble(
        "The store 's.duckdb': it is a folder.", "Give a file.", FAILED, "StoreError"
    )


def test_a_line_is_one_line() -> None:
    """Line breaks of an error are spaces."""
    found = trouble_of(errors.UsherError("one\ntwo. Do\nthis."))
    assert (found.problem, found.hint) == ("one two.", "Do this.")


def test_a_file_name_ends_no_sentence() -> None:
    """A sentence ends before a capital letter, not at the dot of a path or a number."""
    assert split("a.txt has 1.5 GB. it is big") == ("a.txt has 1.5 GB. it is big", "")
