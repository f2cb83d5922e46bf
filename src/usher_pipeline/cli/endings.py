"""How a command ends: its exit code, and an error as one line and a hint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from usher_pipeline.errors import (
    CheckpointMissError,
    MissingStoreError,
    NoEarlierResultError,
    StoreError,
    UnknownResultError,
    UnknownTableError,
    UsherError,
)

__all__ = [
    "DONE",
    "FAILED",
    "FOUND",
    "INTERRUPTED",
    "NOT_STORED",
    "Trouble",
    "split",
    "trouble_of",
]

#: All was done that was asked for.
DONE: Final = 0
#: Something went wrong, or the question was answered with no.
FAILED: Final = 1
# 2 is click's: the command was not called as it can be.
#: What was asked for is not stored: no such store, name, or key.
NOT_STORED: Final = 3
#: A check was made and found something: damage, an outdated result, a difference.
FOUND: Final = 4
#: Ctrl-C, as shells have it.
INTERRUPTED: Final = 130

_ABSENCE: Final = (
    CheckpointMissError,
    MissingStoreError,
    NoEarlierResultError,
    UnknownResultError,
    UnknownTableError,
)
#: Where a sentence ends, and what to do begins.
_END: Final = re.compile(r"(?<=[.!?]) (?=[A-Z`'\"])")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a command ends without having done what was asked for.

    Attributes:
        problem: What went wrong, in one line.
        hint: What to do now, in one line; empty if nobody knows.
        code: The exit code.
        kind: The class of the error.
    """

    problem: str
    hint: str
    code: int
    kind: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        error = {"kind": self.kind, "problem": self.problem, "hint": self.hint}
        return {"error": error, "exit_code": self.code}


def trouble_of(problem: BaseException) -> Trouble:
    """Return what is said of an error, and the exit code that it gives.

    Args:
        problem: The error.

    >>> trouble_of(StoreError("s.duckdb", "it is a folder", "Give a file.")).hint
    'Give a file.'
    """
    kind = type(problem).__name__
    code = NOT_STORED if isinstance(problem, _ABSENCE) else FAILED
    if isinstance(problem, StoreError) and problem.cure:
        whole, hint = str(problem), problem.cure
        return Trouble(_in_one_line(whole.removesuffix(hint)), _in_one_line(hint), code, kind)
    if isinstance(problem, UsherError):
        line, hint = split(str(problem))
        return Trouble(line, hint, code, kind)
    if isinstance(problem, OSError):
        return Trouble(_in_one_line(str(problem)), "", code, kind)
    said = _in_one_line(str(problem))
    line = f"{kind}: {said}" if said else kind
    return Trouble(line, "--debug shows where it was raised.", code, kind)


def split(text: str) -> tuple[str, str]:
    """Return the first sentence of an error, and all that it says to do.

    Args:
        text: What the error says.

    >>> split("genes has no result: first call. Nothing was run. Call it.")
    ('genes has no result: first call.', 'Nothing was run. Call it.')
    """
    line, _, hint = _END.sub("\0", _in_one_line(text), count=1).partition("\0")
    return line, hint


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
