"""Functions that yield their result part by part, and go on where they were stopped."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from usher_pipeline import reading
from usher_pipeline.display import duration, preview
from usher_pipeline.errors import (
    CheckpointMissError,
    CursorError,
    UsherError,
    UsherWarning,
)
from usher_pipeline.fingerprint.key import rekeyed, stands_as
from usher_pipeline.frames import adapter_of_kind
from usher_pipeline.persistence.unfinished import Reached, together, works
from usher_pipeline.planning import compare, differs_in_code_alone
from usher_pipeline.records import (
    Acceptance,
    Blocked,
    Cost,
    HandedIn,
    Miss,
    Reason,
    utc_now,
)
from usher_pipeline.saying import voice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    from usher_pipeline.calls import Planned
    from usher_pipeline.fingerprint.key import Context
    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.reads import Call
    from usher_pipeline.persistence.unfinished import SealedPart, Unfinished
    from usher_pipeline.planning import CodePolicy
    from usher_pipeline.records import Decision, Difference

__all__ = [
    "Resume",
    "Work",
    "accept",
    "accept_all",
    "commit_after_s",
    "decided",
    "find",
    "stored_frame",
    "stored_rows",
]

C = TypeVar("C")
F = TypeVar("F")
T = TypeVar("T")

#: Rows wait for so long at most until they are committed, and for no more than these.
_LONGEST_S: Final = 30.0
_MOST_BYTES: Final = 1 << 25
#: A commit comes when so many times what the last one took went by, and no more of all the
#: time that the work took so far may be lost when the process is killed.
_TIMES_COST: Final = 2.0
_SHARE_OF_LOSS: Final = 0.001


class Resume(HandedIn, Generic[C]):
    """Where a function that yields its result part by part goes on.

    As the default of a parameter of a checkpointed generator it is handed in by the library
    and counts for no key. Called without the library, as in a test of the function, it is
    what it is made with.

    Attributes:
        cursor: Where the last committed part ended; None at the beginning. Text, numbers,
            and lists and dictionaries of these.

    >>> from collections.abc import Iterator
    >>> import polars as pl
    >>> from usher_pipeline import checkpoint
    >>> @checkpoint(name="countdown")
    ... def countdown(start: int, *, resume: Resume[int] = Resume()) -> Iterator[pl.DataFrame]:
    ...     for n in range(start if resume.cursor is None else resume.cursor, 0, -1):
    ...         yield resume.part(pl.DataFrame({"n": [n]}), cursor=n - 1)
    >>> countdown(3)["n"].to_list()
    [3, 2, 1]
    """

    def __init__(self, cursor: C | None = None) -> None:
        self.cursor = cursor

    def part(self, frame: F, *, cursor: C) -> F:
        """Return what is to be yielded: rows, and the cursor that stands after them.

        The library commits both or neither. What is yielded without this is committed with
        the next part.

        Args:
            frame: The rows: a frame of polars, pandas or Arrow, as for any generator.
            cursor: Where to go on after them.

        Raises:
            CursorError: The cursor is something that JSON does not give back as it was.
        """
        del cursor
        return frame

    def rows(self) -> pl.LazyFrame:
        """Return the rows that are committed, as a query of polars; without columns if none.

        They are those of the moment at which the function began or went on.
        """
        from usher_pipeline.persistence.conversion import stacked

        return stacked([])


class _Part(NamedTuple):
    frame: Any
    cursor: Any


class _Handed(Resume[Any]):
    """What a running function is handed."""

    def __init__(self, work: Work, parts: Sequence[SealedPart]) -> None:
        super().__init__(parts[-1].reached.cursor if parts else None)
        self._work = work
        self._parts = tuple(parts)

    def part(self, frame: F, *, cursor: Any) -> F:
        _require_plain(self._work.name, cursor)
        # The library takes it apart; to whoever reads the function it is the frame.
        return _Part(frame, cursor)  # type: ignore[return-value]

    def rows(self) -> pl.LazyFrame:
        from usher_pipeline.persistence.conversion import stacked

        found = map(self._work.unfinished.packed, self._parts)
        return stacked([packed for packed in found if packed is not None])


def _require_plain(name: str, cursor: Any) -> None:
    try:
        is_plain = json.loads(json.dumps(cursor, allow_nan=False)) == cursor
    except (TypeError, ValueError):
        is_plain = False
    if not is_plain:
        raise CursorError(name, preview(cursor))


def stored_rows(unfinished: Unfinished) -> pl.LazyFrame:
    """Return committed rows as one query of polars.

    Args:
        unfinished: The work.

    Raises:
        CheckpointMissError: None are committed.
    """
    from usher_pipeline.persistence.conversion import stacked

    return stacked(_committed(unfinished, unfinished.packed))


def stored_frame(unfinished: Unfinished) -> Any:
    """Return committed rows as one frame of the kind that the function yields.

    Args:
        unfinished: The work.

    Raises:
        CheckpointMissError: None are committed.
    """
    packed = together(_committed(unfinished, unfinished.frame), takes_types=True)
    return adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)


def _committed(unfinished: Unfinished, read: Callable[[SealedPart], T | None]) -> list[T]:
    """Return what is read of each part, up to one that is damaged, where it will go on."""
    found: list[T] = []
    for part in unfinished.parts():
        each = read(part)
        if each is None:
            break
        found.append(each)
    if not found:
        raise CheckpointMissError(unfinished.name, "nothing of it is unfinished")
    return found


# --- the work of one call ---------------------------------------------------------------


class Work:
    """A call of a function that goes on, from what was committed to its end.

    Args:
        planned: The call, which holds its key.
        unfinished: What was committed.
        call: Notes what the function reads.
        watched: What the function was given.
        is_refresh: Whether the result is computed whatever is stored.
    """

    def __init__(
        self,
        planned: Planned,
        unfinished: Unfinished,
        call: Call,
        watched: reading.Watched,
        *,
        is_refresh: bool,
    ) -> None:
        self.name = planned.declared.name
        self.unfinished = unfinished
        self._call = call
        self._watched = watched
        self._is_refresh = is_refresh
        self._key = planned.key
        self._begun_s = self._committed_s = time.monotonic()
        self._commit_s = 0.0
        self._waiting: list[_Part] = []
        self._with_cursor = 0
        self._waiting_bytes = 0
        self._is_told = False
        self.parts = unfinished.parts()
        reads = self.parts[-1].reached.reads if self.parts else ()
        if not reading.Versions(planned, counts_age=False).stand(reads, self.name):
            self._tell(
                f"{self.name} begins anew: what it had read for {_worded(self.parts)} is "
                "another version now."
            )
            unfinished.discard()
            self.parts = []
        self._before_s = 0.0

    def _tell(self, text: str) -> None:
        warnings.warn(text, UsherWarning, stacklevel=7)

    def frames(self, planned: Planned) -> Iterator[Any]:
        """Yield all frames: those that are committed, and those that still come.

        Args:
            planned: The call.
        """
        yield from self._committed()
        function, bound = planned.declared.function, planned.bound
        (parameter,) = planned.declared.handed_in
        handed = {**bound.kwargs, parameter: _Handed(self, self.parts)}
        try:
            for item in function(*bound.args, **handed):
                yielded = item if type(item) is _Part else _Part(item, None)
                # Whoever takes it refuses what does not fit; then it is not committed.
                yield yielded.frame
                self._take(yielded, has_cursor=yielded is item)
        except BaseException as problem:
            self._commit()
            if self.parts and not isinstance(problem, GeneratorExit):
                problem.add_note(
                    f"{self.name}: {_worded(self.parts)} are stored. Call it again with the "
                    "same arguments to go on from there."
                )
            raise
        self._commit()

    def _committed(self) -> Iterator[Any]:
        """Yield the frames that are committed, up to what is damaged, which is set aside."""
        parts = self.parts
        if parts:
            voice.tell_resumed(self.name, _worded(parts), parts[-1].reached.cursor)
        for position, part in enumerate(parts):
            frame = self.unfinished.frame(part)
            if frame is None:
                self.parts = parts[:position]
                self._tell(
                    f"{self.name} goes on from an earlier place: what was stored of its rows "
                    f"is damaged from row {_row_count(self.parts):,} on. The damaged files "
                    "were set aside."
                )
                break
            yield frame
        # Also what lies behind a gap: the numbers of what follows would be theirs.
        self.unfinished.drop_after(self.parts)
        self._before_s = _elapsed_s(self.parts)
        if self.parts:
            self._call.remember(self.parts[-1].reached.reads)
        self._committed_s = time.monotonic()

    def _take(self, part: _Part, *, has_cursor: bool) -> None:
        """Let a part that was accepted wait until it is worth a commit."""
        from usher_pipeline.frames.streams import as_table

        packed = together([as_table(part.frame)])
        self._waiting.append(_Part(packed, part.cursor))
        self._waiting_bytes += packed.table.nbytes
        if has_cursor:
            self._with_cursor = len(self._waiting)
            if self._is_due():
                self._commit()

    def _is_due(self) -> bool:
        now_s = time.monotonic()
        elapsed_s = self._before_s + now_s - self._begun_s
        is_late = now_s - self._committed_s >= commit_after_s(self._commit_s, elapsed_s)
        return is_late or self._waiting_bytes >= _MOST_BYTES

    def _commit(self) -> None:
        """Commit what waits, up to the last cursor; where that fails it waits on."""
        waiting = self._waiting[: self._with_cursor]
        if not waiting or self._is_disturbed():
            # Rows that may be of two versions wait for ever: nobody goes on with them.
            return
        started_s = time.monotonic()
        took_s = started_s - self._committed_s
        reached = Reached(waiting[-1].cursor, took_s, self._call.reads)
        try:
            self.unfinished.begin(self._key, is_refresh=self._is_refresh)
            self.parts = self.unfinished.add(_joined(waiting), reached, self.parts)
        except OSError as problem:
            if not self._is_told:
                self._is_told = True
                self._tell(
                    f"{self.name} goes on, but its rows are in memory alone since they can "
                    f"not be stored: {problem}. Make room before it is stopped."
                )
            return
        self._waiting = self._waiting[self._with_cursor :]
        self._with_cursor, self._waiting_bytes = 0, 0
        self._committed_s = time.monotonic()
        self._commit_s = self._committed_s - started_s

    def _is_disturbed(self) -> bool:
        try:
            return self._watched.is_disturbed(self._call)
        except (OSError, UsherError):
            # Nobody can tell.
            return True

    def cost(self, cost: Cost) -> Cost:
        """Return what the whole took, from what the present process did.

        Args:
            cost: What the call took.
        """
        statement = self.unfinished.statement
        if not self._before_s or statement is None:
            return cost
        return Cost(statement.begun_at, self._before_s + cost.elapsed_s)

    def settle(self, *, is_over: bool) -> None:
        """Remove what was committed, once it is stored as a result or void.

        Args:
            is_over: Whether that is so.
        """
        if is_over:
            self.unfinished.discard()

    @property
    def mapped(self) -> None:
        """How the result is put together from items; it is not."""
        return

    @property
    def lacking(self) -> None:
        """What the result lacks: nothing, or it would not have come to its end."""
        return

    @property
    def accepted(self) -> tuple[Acceptance, ...]:
        """The statements by which rows that older code made hold."""
        statement = self.unfinished.statement
        return statement.accepted if statement is not None else ()


def commit_after_s(commit_s: float, elapsed_s: float) -> float:
    """Return after how long what waits is worth a commit, in seconds.

    Args:
        commit_s: What the last commit took, in seconds.
        elapsed_s: What the work took so far, in seconds.

    >>> commit_after_s(0.01, 10), commit_after_s(0.01, 3600), commit_after_s(0.01, 1e6)
    (0.02, 3.6, 30.0)
    """
    return min(max(commit_s * _TIMES_COST, elapsed_s * _SHARE_OF_LOSS), _LONGEST_S)


def _elapsed_s(parts: Sequence[SealedPart]) -> float:
    return sum(part.reached.elapsed_s for part in parts)


def _row_count(parts: Sequence[SealedPart]) -> int:
    return sum(part.row_count for part in parts)


def _worded(parts: Sequence[SealedPart]) -> str:
    return f"{_row_count(parts):,} rows that took {duration(_elapsed_s(parts))}"


def _joined(parts: Sequence[_Part]) -> Packed:
    packed = [part.frame for part in parts]
    if len(packed) == 1:
        return packed[0]  # type: ignore[no-any-return]
    frames = (adapter_of_kind(each.kind).from_arrow(each.table, each.schema) for each in packed)
    return together(frames, takes_types=True)


# --- what is there for a call -----------------------------------------------------------


def decided(planned: Planned, decision: Decision, policy: CodePolicy) -> Decision:
    """Return a decision that knows of unfinished work as well.

    Work of the very code is gone on with. Work that only code parts from the call is gone on
    with if somebody says so, asked about if it was costly, and never thrown away.

    Args:
        planned: The call.
        decision: What is to be done if there is none.
        policy: What to do when only code changed.
    """
    if not isinstance(decision, (Miss, Blocked)):
        return decision
    own = planned.backend.unfinished(planned.declared.name, planned.measured.digest).parts()
    if own:
        return _goes_on(decision, _worded(own))
    older = _of_older_code(planned) if policy != "recompute" else None
    if older is None or isinstance(decision, Blocked):
        return decision
    parts = older.work.parts()
    if policy == "accept":
        return _goes_on(decision, f"{_worded(parts)}, of older code")
    if policy == "guard" and _elapsed_s(parts) < planned.run.costly_s:
        return decision
    stored = f"unfinished: {_worded(parts)}"
    summary = f"{', '.join(map(str, older.differences))} ({stored})"
    reason = Reason(summary, older.differences, older.work.digest)
    return Blocked(reason, None, decision.untracked, stored, _elapsed_s(parts))


def _goes_on(decision: Miss | Blocked, stored: str) -> Miss:
    summary = f"{decision.reason}; goes on after {stored}"
    return Miss(replace(decision.reason, summary=summary), decision.untracked)


def find(planned: Planned, policy: str) -> Unfinished:
    """Return the unfinished work that a call goes on with; an empty one if there is none.

    Args:
        planned: The call, which holds its key.
        policy: What to do when only code changed; what is to be asked about was.
    """
    own = planned.backend.unfinished(planned.declared.name, planned.measured.digest)
    if policy == "accept" and not own.parts():
        older = _of_older_code(planned)
        if older is not None:
            _take_over(planned, own, older, "on_code_change")
    return own


class _Older(NamedTuple):
    """Unfinished work of older code, and in what that differs."""

    work: Unfinished
    differences: tuple[Difference, ...]


def _of_older_code(planned: Planned) -> _Older | None:
    """Return the newest work that only code parts from a call."""
    for work, key in works(planned.backend.segments, planned.declared.name):
        if differs_in_code_alone(key, planned.key) and work.parts():
            return _Older(work, compare(key, planned.key))
    return None


def _take_over(planned: Planned, own: Unfinished, older: _Older, how: str) -> None:
    changes = tuple(map(str, older.differences))
    statement = Acceptance(utc_now(), older.work.digest, changes, how)
    own.take_over(older.work, planned.key, statement)


def accept(planned: Planned) -> int | None:
    """State that unfinished work holds for the code as it is now.

    Args:
        planned: The call.

    Returns:
        How much work that concerned: 1, or 0 if there is some of this very code; None if
        there is none at all.
    """
    backend, name = planned.backend, planned.declared.name
    with backend.single_flight(name, planned.measured.digest):
        own = backend.unfinished(name, planned.measured.digest)
        if own.parts():
            return 0
        older = _of_older_code(planned)
        if older is None:
            return None
        _take_over(planned, own, older, "accept()")
        return 1


def accept_all(backend: LocalBackend, name: str, context: Context) -> int:
    """State that all unfinished work of a checkpoint holds for the code as it is now.

    Args:
        backend: The store.
        name: The checkpoint.
        context: What it means now, arguments aside.

    Returns:
        How much work that concerned.
    """
    count = 0
    for work, key in works(backend.segments, name):
        now = rekeyed(key, context)
        is_older = differs_in_code_alone(key, now) and stands_as(key, context)
        if not is_older or backend.find(name, now.digest) is not None:
            continue
        with backend.single_flight(name, now.digest):
            own = backend.unfinished(name, now.digest)
            if work.parts() and not own.parts():
                changes = tuple(map(str, compare(key, now)))
                statement = Acceptance(utc_now(), work.digest, changes, "accept()")
                own.take_over(work, now, statement)
                count += 1
    return count
