"""Every error and warning of the library, and what they carry.

All errors share the base `UsherError`. A leaf carries the facts as attributes
and writes its own message in one order: what failed, what was expected and
what was found, what was done about it, what to do now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

__all__ = [
    "BundleError",
    "CellError",
    "ChangedMeanwhileError",
    "CheckpointCycleError",
    "CheckpointMissError",
    "CheckpointNameError",
    "CheckpointNotSaved",
    "CheckpointNotSavedError",
    "CodeChangedError",
    "ConfigError",
    "CriterionMissingError",
    "CursorError",
    "DamagedDatabaseError",
    "DamagedResultError",
    "DeclarationError",
    "Failure",
    "FingerprintError",
    "ForeignTableError",
    "InvalidResultError",
    "MapIncompleteError",
    "MissingStoreError",
    "NameClashError",
    "NoEarlierResultError",
    "NotPublishedError",
    "OptionError",
    "OutputError",
    "ProbeError",
    "ProvenanceError",
    "RemoteError",
    "SchemaMismatchError",
    "StaleResultWarning",
    "StoreBusyError",
    "StoreClosedError",
    "StoreError",
    "UndeclaredConfigError",
    "UnexpectedDecisionError",
    "UnknownResultError",
    "UnknownSettingError",
    "UnknownSourceError",
    "UnknownTableError",
    "UnsupportedFrameError",
    "UsherError",
    "UsherWarning",
]


#: How many failures an error names; it carries all.
_SHOWN_FAILURES = 3


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known words closest to `word`, or all of a few."""
    from difflib import get_close_matches

    known = sorted(known)
    close = get_close_matches(word, known, n=3)
    if close:
        return f"Did you mean {' or '.join(repr(name) for name in close)}?"
    if not known:
        return "None is defined."
    shown = ", ".join(repr(name) for name in known[:12])
    return f"Known: {shown}{', …' if len(known) > 12 else ''}."  # noqa: PLR2004


class UsherError(Exception):
    """The base of every error that this library raises on purpose.

    It goes to another process and back, as from a pool of workers: text and facts are
    restored as they were.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # What `Exception` does, to call the class with its text, fails for every leaf that
        # writes its text from facts; a pool then waits for ever for its worker's answer.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[UsherError], texts: tuple[Any, ...]) -> UsherError:
    return kind.__new__(kind, *texts)


class UsherWarning(UserWarning):
    """The base of every warning that this library gives."""


class CheckpointNotSaved(UsherWarning):
    """A function ran and its result was returned, but it could not be stored.

    Attributes:
        frame: What the function returned, for those who make warnings errors.
    """

    frame: Any = None


class StaleResultWarning(UsherWarning):
    """A result could not be made anew, and the last good one was returned instead.

    Its cause is the error that stood in the way.

    Attributes:
        frame: What was returned, for those who make warnings errors.
    """

    frame: Any = None


# --- names ------------------------------------------------------------------------------


class CheckpointNameError(UsherError, ValueError):
    """A checkpoint or table name can not be used.

    Attributes:
        name: The name as it was given.
        problem: What is wrong with it, as a clause.
    """

    def __init__(self, name: object, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(
            f"{name!r} can not name a checkpoint: {problem}. Nothing was written. "
            "Choose another name; any text that is not empty and not reserved will do."
        )


class NameClashError(UsherError):
    """Two different functions, or two spellings, claim one checkpoint name.

    Attributes:
        name: The name that both claim.
        first: Who holds it, as ``module.qualname``.
        second: Who asked for it, as ``module.qualname``.
        cure: What to do.
        frame: What a checkpointed function had computed, if it came to that.
    """

    def __init__(self, name: str, first: str, second: str, cure: str = "") -> None:
        self.frame: object = None
        self.name = name
        self.first = first
        self.second = second
        self.cure = cure or (
            f"Give one of them another name=; if {first} was renamed or is gone, its entries "
            "can be dropped with clear()."
        )
        super().__init__(self._text("Nothing was run and nothing was written."))

    def with_frame(self, frame: object) -> NameClashError:
        """Return the same error, of a function that ran before the clash could be known."""
        self.frame = frame
        done = "The function ran, and nothing was written: what it returned is in .frame."
        self.args = (self._text(done),)
        return self

    def _text(self, done: str) -> str:
        held = f"by {self.first} and by {self.second}"
        return f"The checkpoint name {self.name!r} is claimed twice: {held}. {done} {self.cure}"


class DeclarationError(UsherError, TypeError):
    """A decorator does not fit its function.

    Attributes:
        function: What was decorated, as ``module.qualname``.
        problem: What is wrong, as a clause.
    """

    def __init__(self, function: str, problem: str) -> None:
        self.function = function
        self.problem = problem
        super().__init__(
            f"@checkpoint can not wrap {function}: {problem}. Nothing was registered. "
            "Mend the line of the decorator."
        )


class CellError(UsherError, ValueError):
    """A cell of a notebook can not be kept as it is.

    Attributes:
        name: The checkpoint.
        problem: What is wrong.
        cure: What to do.
    """

    def __init__(self, name: str, problem: str, cure: str) -> None:
        self.name = name
        self.problem = problem
        self.cure = cure
        super().__init__(
            f"The cell {name!r} can not be kept: {problem}. Nothing was run. {cure}"
        )


class CursorError(UsherError, TypeError):
    """A part was given a cursor that can not be stored exactly.

    Attributes:
        name: The checkpoint.
        cursor: What was given, in short.
    """

    def __init__(self, name: str, cursor: str) -> None:
        self.name = name
        self.cursor = cursor
        super().__init__(
            f"{name} can not go on from the cursor {cursor} one day: expected text, a number, "
            "or lists and dictionaries of these, which JSON gives back as they were. This "
            "part was not stored, those before it are. Give such a cursor to resume.part(...)."
        )


# --- config, settings, sources ----------------------------------------------------------


class ConfigError(UsherError, ValueError):
    """A config can not be read.

    Attributes:
        path: The file, or who gave what is no config.
        problem: What is wrong, with line and column where known.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(
            f"The config {str(path)!r} can not be read: {problem}. Nothing was run. "
            "Mend it and call again."
        )


class OptionError(UsherError, ValueError):
    """An option of a call was given what it can not be.

    Attributes:
        call: The call, such as ``configure``.
        option: The name of the option.
        expected: What it can be.
        got: What it was given.
    """

    def __init__(self, call: str, option: str, expected: str, got: str) -> None:
        self.call = call
        self.option = option
        self.expected = expected
        self.got = got
        super().__init__(
            f"{call}({option}=...) expected {expected}, got {got}. Nothing was run and "
            f"nothing was changed. Give {call} what it expects, or leave {option}= out."
        )


class CriterionMissingError(UsherError, ValueError):
    """Results were to be removed, and nobody said which.

    Attributes:
        call: The call, such as ``prune``.
        criteria: The options of which it needs one.
    """

    def __init__(self, call: str, criteria: Iterable[str]) -> None:
        self.call = call
        self.criteria = tuple(criteria)
        options = ", ".join(f"{each}=" for each in self.criteria)
        super().__init__(
            f"{call}() was not told what may go: expected at least one of {options}, got none. "
            "Nothing was removed. State one; without dry_run=False it only says what would go."
        )


class UnknownSettingError(UsherError, LookupError):
    """A dotted config path leads nowhere.

    Attributes:
        path: The dotted path that was asked for.
        known: The paths that exist at the level where the search ended.
        where: Which config was searched, and why it is the one in force; empty if none is.
    """

    def __init__(self, path: str, known: Iterable[str], where: str) -> None:
        self.path = path
        self.known = tuple(known)
        self.where = where
        what = (
            f"The config path {path!r} was not found in {where}. {_nearest(path, self.known)} "
            "Nothing was run. Add the value to the config"
            if where
            else f"No config is in force, so the config path {path!r} was not found. "
            "Nothing was run. Name a config by run(...), configure(config=...) or USHER_CONFIG"
        )
        super().__init__(f"{what}, or give setting(...) a default=.")


class UnknownSourceError(UsherError, LookupError):
    """A source is named whose version nobody states.

    Attributes:
        source: The source that was asked for.
        known: The sources that are known.
        where: Which config was searched, and why it is the one in force; empty if none is.
    """

    def __init__(self, source: str, known: Iterable[str], where: str) -> None:
        self.source = source
        self.known = tuple(known)
        self.where = where
        what = (
            f"No version is known for the source {source!r} in {where}. "
            f"{_nearest(source, self.known)} Nothing was run. State it under `versions:` in "
            "the config"
            if where
            else f"No config is in force, so no version is known for the source {source!r}. "
            "Nothing was run. Name a config that states it under `versions:`, by run(...), "
            "configure(config=...) or USHER_CONFIG"
        )
        super().__init__(f'{what}, or without a config as sources={{"{source}": "v1"}}.')


class ProbeError(UsherError):
    """A probe could not tell which version of a source there is.

    Attributes:
        problem: What is wrong, as a clause.
        source: The source; empty where that is not known.
        cure: What to do.
    """

    def __init__(self, problem: str, source: str = "", cure: str = "") -> None:
        self.problem = problem
        self.source = source
        self.cure = cure
        of = f" of the source {source!r}" if source else ""
        later = (
            "Call again when it answers. With stale_if_error=True the last good result is "
            "returned until then, and USHER_OFFLINE=1 works with what is stored."
        )
        super().__init__(
            f"The probe{of} has no answer: {problem}. Nothing was run, since the answer is a "
            f"part of what a call means. {cure or later}"
        )

    def of(self, source: str) -> ProbeError:
        """Return the same error with the source named."""
        return ProbeError(self.problem, source, self.cure)


class UndeclaredConfigError(UsherError):
    """A checkpointed function read a config value that its key does not watch.

    Attributes:
        path: The dotted path that was read.
        function: The checkpoint whose function read it.
        declared: The paths that it declares.
    """

    def __init__(self, path: str, function: str, declared: Iterable[str]) -> None:
        self.path = path
        self.function = function
        self.declared = tuple(declared)
        is_path = not path.startswith("(")
        what = f"the config value {path!r}" if is_path else path.strip("()")
        cure = (
            f"Declare it with config=[{path!r}], or take it as a parameter with "
            f"setting({path!r})."
            if is_path
            else "Take what it needs of the config as parameters with setting(...) and "
            "source(...)."
        )
        super().__init__(
            f"{function} read {what}, which its key does not watch "
            f"(declared: {', '.join(self.declared) or 'none'}). The call was stopped, since a "
            f"change of it would have gone unseen; nothing was stored. {cure}"
        )


# --- keys -------------------------------------------------------------------------------


class FingerprintError(UsherError, TypeError):
    """A value has no fingerprint, so a call has no key.

    Attributes:
        path: Where the value is, such as ``client`` or ``options['retry']``.
        type_name: The type of the value.
        function: The function that was called, if known.
        cure: What to do.
    """

    def __init__(self, path: str, type_name: str, cure: str, *, function: str = "") -> None:
        self.path = path
        self.type_name = type_name
        self.function = function
        self.cure = cure
        of = f" of {function}" if function else ""
        super().__init__(
            f"The argument {path}{of} has no fingerprint: expected data, got {type_name}. "
            f"Nothing was run, since a key without it could match a wrong result. {cure}"
        )

    def within(self, function: str) -> FingerprintError:
        """Return the same error with the function named."""
        return FingerprintError(self.path, self.type_name, self.cure, function=function)


class CheckpointCycleError(UsherError):
    """A checkpointed call waits for its own result.

    Attributes:
        name: The checkpoint.
        chain: The calls that lead back to it, outermost first.
    """

    def __init__(self, name: str, chain: Iterable[str]) -> None:
        self.name = name
        self.chain = tuple(chain)
        super().__init__(
            f"{name} needs its own result with the same arguments: {' → '.join(self.chain)}. "
            "The inner call was stopped; it could never have ended. "
            "Change an argument of the inner call or break the circle."
        )


class CodeChangedError(UsherError):
    """Only code changed since a result was stored that took long to compute.

    Attributes:
        name: The checkpoint.
        changes: What changed in the code.
        stored: What is stored, in words.
        elapsed_s: How long that took to compute, in seconds.
        entry: The stored entry.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the facts
        self,
        name: str,
        changes: Iterable[str],
        stored: str,
        elapsed_s: float,
        entry: object,
        caller: str = "",
    ) -> None:
        verb = caller or name
        self.name = name
        self.changes = tuple(changes)
        self.stored = stored
        self.elapsed_s = elapsed_s
        self.entry = entry
        super().__init__(
            f"{name} would run again only because code changed: {', '.join(self.changes)}. "
            f"Stored is {stored}. Nothing was run and nothing was removed. If the stored "
            f"result holds for the new code, call {verb}.accept(...) with the same "
            f"arguments; if not, {verb}.refresh(...). on_code_change= or "
            "USHER_ON_CODE_CHANGE=recompute|accept decides for every call."
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """An item of a map that was asked and gave no rows.

    Attributes:
        item: The item; a short text of it where JSON can not hold it.
        error_type: The class of the error, such as ``ConnectionResetError``.
        message: What the error says, credentials hidden.
        attempts: How often the item was asked.
        failed_at: When the last attempt failed (UTC).
    """

    item: Any
    error_type: str
    message: str
    attempts: int
    failed_at: datetime

    def __str__(self) -> str:
        """Return the item with what went wrong.

        >>> from datetime import UTC, datetime
        >>> str(Failure("USH2A", "TimeoutError", "no answer", 3, datetime.now(UTC)))
        "'USH2A': TimeoutError: no answer (3 attempts)"
        """
        tried = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        said = f"{self.error_type}: {self.message}" if self.message else self.error_type
        return f"{self.item!r}: {said}{tried}"


class MapIncompleteError(UsherError):
    """Some items of a map failed; all others were asked, and are stored.

    Attributes:
        name: The checkpoint.
        failures: The items that failed, each with its cause.
        item_count: How many items the call was for.
        frame: The rows of all others, in order; None if there are none.
    """

    def __init__(
        self, name: str, failures: Iterable[Failure], item_count: int, frame: Any, kept: str
    ) -> None:
        self.name = name
        self.failures = tuple(failures)
        self.item_count = item_count
        self.frame = frame
        shown = "; ".join(str(each) for each in self.failures[:_SHOWN_FAILURES])
        more = len(self.failures) - _SHOWN_FAILURES
        super().__init__(
            f"{name}: {len(self.failures):,} of {item_count:,} items failed: {shown}"
            f"{f'; and {more:,} more' if more > 0 else ''}. {kept} The same call asks only "
            "those that failed. What is there is the .frame of this error, every cause in "
            'its .failures; on_error="collect" returns what is there.'
        )


class RemoteError(UsherError):
    """An item failed in another process, with an error that can not come from there as it is.

    Many errors can not be built again in another process, and a pool of processes is broken
    by one that arrives. A note tells where it was raised.

    Attributes:
        error_type: The class of the error, such as ``httpx.HTTPStatusError``.
        text: What it says.
        is_passing: Whether it is worth another attempt by itself.
        status: The HTTP status that it is about, if any.
        headers: ``Retry-After``, if the server said that, in seconds.
    """

    def __init__(
        self,
        error_type: str,
        text: str,
        *,
        is_passing: bool = False,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.error_type = error_type
        self.text = text
        self.is_passing = is_passing
        self.status = status
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(f"{error_type}: {text}" if text else error_type)


class ChangedMeanwhileError(UsherError):
    """What a map is made of changed while it ran, so it stopped.

    Attributes:
        name: The checkpoint.
        changes: What changed.
    """

    def __init__(self, name: str, changes: Iterable[str], kept: str) -> None:
        self.name = name
        self.changes = tuple(changes)
        super().__init__(
            f"{name} stopped: while it ran, {', '.join(self.changes)} changed, and rows of "
            f"both versions would be in one result. {kept} Call again to ask for those of the "
            "present version."
        )


class CheckpointMissError(UsherError, LookupError):
    """Stored work was asked for and there is none that matches.

    Attributes:
        name: The checkpoint.
        reason: Why nothing matches.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(
            f"{name} has no stored result for this call: {reason}. Nothing was run. "
            "Call the function to compute it, or ask .explain(...) for the comparison."
        )


# --- frames -----------------------------------------------------------------------------


class UnexpectedDecisionError(UsherError, AssertionError):
    """A call did something else than a test expects of it.

    Attributes:
        name: The checkpoint; empty if none was called.
        expected: What the test expects, in words.
        decision: What the call did instead, a `Decision`; None if it called no checkpoint.
    """

    def __init__(
        self, name: str, expected: str, decision: object | None, happened: str
    ) -> None:
        self.name = name
        self.expected = expected
        self.decision = decision
        subject = name or "the call"
        cure = "Give it the checkpoint that is meant and its arguments."
        if decision is not None:
            cure = (
                "Make the call mean what is stored, or expect what it does; explain(...) of "
                "the checkpoint says what would be done."
            )
        super().__init__(
            f"{subject} did not do what the test expects - expected {expected}, got "
            f"{happened}. What it returned was dropped. {cure}"
        )


class InvalidResultError(UsherError, TypeError):
    """What was to be stored is no frame.

    Attributes:
        name: The checkpoint or table.
        type_name: The type of what came instead.
        result: What a checkpointed function returned; nothing is lost.
        was_given: Whether it was given to be saved, and not returned by a function.
    """

    def __init__(
        self, name: str, type_name: str, result: object = None, *, was_given: bool = False
    ) -> None:
        self.result = result
        self.name = name
        self.type_name = type_name
        self.was_given = was_given
        super().__init__(
            f"{name!r} can not be saved: expected a polars or pandas DataFrame, got "
            f"{type_name}. Nothing was written. Give save_dataframe(...) a frame."
            if was_given
            else f"{name} returned {type_name}; expected a frame: a DataFrame, LazyFrame or "
            "Series of polars, a DataFrame or Series of pandas, an Arrow table or reader, a "
            "relation of DuckDB, a dict of these, or a generator of frames. Nothing was "
            "stored. Return a frame, or take the decorator off."
        )


class UnsupportedFrameError(UsherError, TypeError):
    """A frame can not be stored so that exactly the same frame comes back.

    Attributes:
        column: The column, or the part of the frame, that stands in the way.
        type_name: Its type.
        cure: What to do.
        frame: What a checkpointed function had computed; nothing is lost. Of a generator,
            the frame that was refused: those before it are where the error says.
    """

    def __init__(self, column: str, type_name: str, cure: str) -> None:
        self.frame: object = None
        self.column = column
        self.type_name = type_name
        self.cure = cure
        super().__init__(
            f"The frame can not be stored exactly: {column} is {type_name}. "
            f"Nothing was stored. {cure}"
        )


class SchemaMismatchError(UsherError, ValueError):
    """Rows can not be appended, since they would change on the way in.

    Attributes:
        table: The table.
        expected: Its columns with their types.
        got: The columns of the frame.
    """

    def __init__(self, table: str, expected: Iterable[str], got: Iterable[str]) -> None:
        self.table = table
        self.expected = tuple(expected)
        self.got = tuple(got)
        super().__init__(
            f"The frame can not be appended to {table!r}: expected "
            f"({', '.join(self.expected)}), got ({', '.join(self.got)}). Nothing was written. "
            "Cast the frame to the types of the table, or save it with replace=True."
        )


# --- provenance -------------------------------------------------------------------------


class ProvenanceError(UsherError, TypeError):
    """A step can not be recorded, since JSON has no form for what is said of it.

    Attributes:
        step: The step.
        path: Where the value is, such as ``details['rows']``.
        type_name: Its type.
    """

    def __init__(self, step: str, path: str, type_name: str) -> None:
        self.step = step
        self.path = path
        self.type_name = type_name
        super().__init__(
            f"The step {step!r} can not be recorded: expected what JSON holds, got {type_name} "
            f"at {path}. Nothing was recorded. Convert it to plain data, for example with "
            "int(...), str(...) or .isoformat()."
        )


# --- stores -----------------------------------------------------------------------------


class StoreError(UsherError):
    """The store can not do what was asked.

    Attributes:
        path: The database of the store.
        problem: What is wrong.
    """

    def __init__(self, path: Path | str, problem: str, cure: str = "") -> None:
        self.path = path
        self.problem = problem
        self.cure = cure
        super().__init__(f"The store {str(path)!r}: {problem}.{' ' + cure if cure else ''}")


class MissingStoreError(StoreError, LookupError):
    """A store is to be looked at that is not there.

    Attributes:
        path: Where it would be.
        named_by: Who named it, such as ``USHER_STORE``.
    """

    def __init__(self, path: Path | str, named_by: str, cure: str) -> None:
        self.named_by = named_by
        super().__init__(
            path, f"it is not there (named by {named_by})", f"Nothing was created. {cure}"
        )


class BundleError(UsherError, ValueError):
    """A file of results can not be pulled.

    Attributes:
        path: The file.
        problem: What is wrong with it.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(
            f"The file {str(path)!r} can not be pulled: {problem}. Nothing of it was stored. "
            "Ask whoever pushed it for a new one."
        )


class OutputError(StoreError):
    """A file that somebody asked for can not be written where they asked for it.

    Attributes:
        path: The file.
        problem: Why not.
    """

    def __init__(self, path: Path | str, problem: str, cure: str) -> None:
        super().__init__(path, problem, cure)
        # No store is to blame, and the path is none of one.
        self.args = (f"The file {str(path)!r} can not be written: {problem}. {cure}",)


class StoreClosedError(StoreError):
    """A closed store was used."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            path,
            "it is closed, and refuses further work",
            "Open it again with PipelineStore(...).",
        )


class StoreBusyError(StoreError):
    """Somebody else holds the database file for longer than we may wait.

    Attributes:
        holder: Who holds it, as far as DuckDB tells.
        waited_s: How long we waited, in seconds.
    """

    def __init__(self, path: Path | str, holder: str, waited_s: float) -> None:
        self.holder = holder
        self.waited_s = waited_s
        super().__init__(
            path,
            f"the database is held by {holder}; waited {waited_s:.1f} s",
            "Nothing was written. Close that connection, or call again later; "
            "hits do not need the database.",
        )


class ForeignTableError(StoreError):
    """In the database something else has the name of a table of the library.

    Attributes:
        path: The store.
        name: The name.
    """

    def __init__(self, path: Path | str, name: str) -> None:
        self.name = name
        super().__init__(
            path,
            f"{name} is not the table that the library makes",
            f"Nothing was written. Drop or rename {name} in the database if it is yours; "
            "do not use a store whose maker you do not trust.",
        )


class DamagedDatabaseError(StoreError):
    """A block of the database, or of its log, is not what DuckDB wrote there.

    Attributes:
        path: The store.
        problem: What DuckDB says.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        self.problem = problem
        cure = (
            "Put copies of the database and its .wal back, or move the .wal away: the last "
            "changes of the database are lost with it, but"
            if ".wal" in problem
            else "Put a copy of the file back, or move it and its .wal away:"
        )
        super().__init__(
            path,
            f"the database is damaged: {problem}",
            f"Nothing was written. {cure} results in the folder beside it stay and get their "
            "tables again.",
        )


class DamagedResultError(StoreError):
    """What is stored of a result is not what was stored once, and there is no other copy.

    Attributes:
        path: The store.
        name: The checkpoint.
        segment: The file that is damaged.
    """

    def __init__(self, path: Path | str, name: str, segment: Path | str) -> None:
        self.name = name
        self.segment = segment
        super().__init__(
            path,
            f"the result of {name} is damaged: {str(segment)!r} does not have the digests "
            "that its entry states, and the table does not hold the result either",
            "Nothing of it was handed out. Call the checkpoint again; it finds the damage and "
            "computes the result anew.",
        )


class NotPublishedError(StoreError):
    """The plain table of a result can not be written at present.

    Attributes:
        path: The store.
        name: The checkpoint.
        problem: What DuckDB says.
    """

    def __init__(self, path: Path | str, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(
            path,
            f"the table of {name} can not be written: {problem}",
            "The result is safe and answers calls; its table stays what it was. It is written "
            "by the next call, or by whoever opens the store, once that is mended.",
        )


class UnknownTableError(StoreError, LookupError):
    """A table is asked for that the store does not have.

    Attributes:
        table: The table that was asked for.
        known: The tables that there are.
    """

    def __init__(self, path: Path | str, table: str, known: Iterable[str]) -> None:
        self.table = table
        self.known = tuple(known)
        super().__init__(
            path,
            f"it has no table {table!r}",
            f"{_nearest(table, self.known)} Nothing was done.",
        )


class UnknownResultError(StoreError, LookupError):
    """A result is asked for by its key, and there is none, or more than one.

    Attributes:
        name: The checkpoint.
        key: The digest, or its beginning, that was given; empty for the current result.
        known: The digests of the keys that have a result.
    """

    def __init__(self, path: Path | str, name: str, key: str, known: Iterable[str]) -> None:
        self.name = name
        self.key = key
        self.known = tuple(sorted(known))
        fitting = [each for each in self.known if each.startswith(key)] if key else []
        under = f" under a key that begins with {key!r}" if key else ""
        many = f"{len(fitting)} results, where one is meant," if fitting else "no result"
        shown = ", ".join(each[:12] for each in fitting or self.known)
        super().__init__(
            path,
            f"it has {many} of {name!r}{under}",
            f"{f'There are {shown}.' if shown else 'It has none at all.'} Nothing was changed. "
            "Give the digest of one key, or enough of it; entries(...) lists what is stored.",
        )


class NoEarlierResultError(UsherError, LookupError):
    """A result is to be compared with the one before it, and there is none.

    Attributes:
        name: The checkpoint.
        key: The digest of the key of the result.
    """

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        super().__init__(
            f"Of {name} nothing is stored from before {key[:8]}. Nothing was compared. "
            f"`usher show {name}` lists the keys that can be named."
        )


class CheckpointNotSavedError(StoreError):
    """A strict store could not keep a result; the error carries it.

    Attributes:
        frame: What the function returned.
    """

    def __init__(self, path: Path | str, problem: str, frame: object) -> None:
        self.frame = frame
        super().__init__(
            path,
            f"the result could not be stored: {problem}",
            "It is not lost: this error carries it as `.frame`.",
        )
