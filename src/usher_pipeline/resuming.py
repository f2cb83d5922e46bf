"""Functions that yield their result part by part, and go on where they were stopped."""

from __future__ import annotations

import json
import time
import warnings
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from usher_pipeline import reading
from usher_pipeline.display import duration, preview
from usher_pipeline.errors import (
    CodeChangedError,
    CursorError,
    DamagedResultError,
    UsherWarning,
)
from usher_pipeline.frames import adapter_of_kind
from usher_pipeline.persistence.unfinished import together, works
from usher_pipeline.planning import compare, differs_in_code_alone
from usher_pipeline.records import Acceptance, Cost, HandedIn, utc_now
from usher_pipeline.saying import voice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    from usher_pipeline.calls import Planned
    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.reads import Call
    from usher_pipeline.persistence.unfinished import SealedPart, Unfinished

__all__ = ["Resume", "Work", "accept", "find", "stored_frame", "stored_rows"]

C = TypeVar("C")
F = TypeVar("F")

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
        super().__init__(parts[-1].cursor if parts else None)
        self._work = work
        self._parts = tuple(parts)

    def part(self, frame: F, *, cursor: Any) -> F:
        _require_plain(self._work.name, cursor)
        # The library takes it apart; to whoever reads the function it is the frame.
        return _Part(frame, cursor)  # type: ignore[return-value]

    def rows(self) -> pl.LazyFrame:
        return stored_rows(self._work.unfinished, self._parts)


def _require_plain(name: str, cursor: Any) -> None:
    try:
        is_plain = json.loads(json.dumps(cursor, allow_nan=False)) == cursor
    except (TypeError, ValueError):
        is_plain = False
    if not is_plain:
        raise CursorError(name, preview(cursor))


def stored_rows(unfinished: Unfinished, parts: Sequence[SealedPart]) -> pl.LazyFrame:
    """Return committed rows as one query of polars; without columns if there are none.

    Args:
        unfinished: The work.
        parts: Its parts.
    """
    from usher_pipeline.persistence.conversion import stacked

    found = (unfinished.packed(part) for part in parts)
    return stacked([packed for packed in found if packed is not None])


def stored_frame(unfinished: Unfinished, parts: Sequence[SealedPart]) -> Any:
    """Return committed rows as one frame of the kind that the function yields.

    Args:
        unfinished: The work.
        parts: Its parts; one at least.
    """
    packed = together(unfinished.frames(parts))
    return adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)


# --- the work of one call ---------------------------------------------------------------


class Work:
    """A call of a function that goes on, from what was committed to its end.

    Args:
        planned: The call, which holds its key.
        unfinished: What was committed.
        call: Notes what the function reads.
    """

    def __init__(self, planned: Planned, unfinished: Unfinished, call: Call) -> None:
        self.name = planned.declared.name
        self.unfinished = unfinished
        self._planned = planned
        self._call = call
        self._clock = time.monotonic()
        self._committed_at = self._clock
        self._commit_s = 0.0
        self._waiting: list[_Part] = []
        self._has_cursor = 0
        self._waiting_bytes = 0
        self._is_told = False
        self.parts = self._trusted()
        self.earlier = tuple(self.parts)
        for part in self.parts:
            call.remember(part.reads)

    def _trusted(self) -> list[SealedPart]:
        """Return the parts that hold what was committed, and whose reads still stand."""
        parts = self.unfinished.parts()
        versions = reading.Versions(self._planned)
        for position, part in enumerate(parts):
            if not versions.stand(part.reads, self.name):
                self._tell(
                    f"{self.name} begins anew: what it had read for {_worded(parts)} is "
                    "another version now."
                )
                self.unfinished.discard()
                return []
            if self.unfinished.packed(part) is None:
                self._tell(
                    f"{self.name} goes on from an earlier place: what was stored of its rows "
                    f"is damaged from row {sum(p.row_count for p in parts[:position]):,} on. "
                    "The damaged files were set aside."
                )
                parts = parts[:position]
                break
        self.unfinished.drop_after(parts)
        return parts

    def _tell(self, text: str) -> None:
        warnings.warn(text, UsherWarning, stacklevel=7)

    def frames(self, function: Callable[[Resume[Any]], Any]) -> Iterator[Any]:
        """Yield all frames: those that are committed, and those that still come.

        Args:
            function: Starts the function with what it is handed.

        Raises:
            DamagedResultError: A part was damaged just now.
        """
        if self.parts:
            voice.tell_resumed(self.name, _worded(self.parts), self.parts[-1].cursor)
        for part in self.parts:
            packed = self.unfinished.packed(part)
            if packed is None:
                segment = self.unfinished.folder / f"{part.stem}.arrow"
                raise DamagedResultError(self._planned.backend.path, self.name, segment)
            yield adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
        self._committed_at = time.monotonic()
        try:
            for item in function(_Handed(self, self.parts)):
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

    def _take(self, part: _Part, *, has_cursor: bool) -> None:
        """Let a part that was accepted wait until it is worth a commit."""
        packed = _owned(part.frame)
        self._waiting.append(_Part(packed, part.cursor))
        self._waiting_bytes += packed.table.nbytes
        if has_cursor:
            self._has_cursor = len(self._waiting)
            if self._is_due():
                self._commit()

    def _is_due(self) -> bool:
        now = time.monotonic()
        waited_s = now - self._committed_at
        worth_s = max(self._commit_s * _TIMES_COST, self.elapsed_s(now) * _SHARE_OF_LOSS)
        return waited_s >= min(worth_s, _LONGEST_S) or self._waiting_bytes >= _MOST_BYTES

    def elapsed_s(self, now: float | None = None) -> float:
        """Return how long the work took so far, earlier processes included, in seconds."""
        own_s = (time.monotonic() if now is None else now) - self._clock
        return sum(part.elapsed_s for part in self.earlier) + own_s

    def _commit(self) -> None:
        """Commit what waits, up to the last cursor; where that fails it waits on."""
        if not self._has_cursor:
            return
        started = time.monotonic()
        waiting = self._waiting[: self._has_cursor]
        number = (self.parts[-1].last if self.parts else 0) + 1
        try:
            self.unfinished.begin(self._planned.key)
            part = self.unfinished.commit(
                _joined(waiting),
                waiting[-1].cursor,
                started - self._committed_at,
                self._call.reads,
                numbers=(number, number),
            )
            self.parts = self.unfinished.joined([*self.parts, part])
        except OSError as problem:
            if not self._is_told:
                self._is_told = True
                self._tell(
                    f"{self.name} goes on, but its rows are in memory alone since they can "
                    f"not be stored: {problem}. Make room before it is stopped."
                )
            return
        self._waiting = self._waiting[self._has_cursor :]
        self._has_cursor, self._waiting_bytes = 0, 0
        self._committed_at = time.monotonic()
        self._commit_s = self._committed_at - started

    def cost(self, cost: Cost) -> Cost:
        """Return what the whole took, from what the present process did.

        Args:
            cost: What the call took.
        """
        if not self.earlier:
            return cost
        before_s = sum(part.elapsed_s for part in self.earlier)
        return Cost(self.unfinished.begun_at or cost.started_at, before_s + cost.elapsed_s)


def _worded(parts: Sequence[SealedPart]) -> str:
    rows = sum(part.row_count for part in parts)
    return f"{rows:,} rows that took {duration(sum(part.elapsed_s for part in parts))}"


def _owned(frame: Any) -> Packed:
    """Return a frame as Arrow data that nobody else can write to."""
    from usher_pipeline.frames.streams import as_table

    return together(iter([as_table(frame)]))


def _joined(parts: Sequence[_Part]) -> Packed:
    frames = (
        adapter_of_kind(part.frame.kind).from_arrow(part.frame.table, part.frame.schema)
        for part in parts
    )
    return parts[0].frame if len(parts) == 1 else together(frames)


# --- what is there for a call -----------------------------------------------------------


def find(planned: Planned, policy: str) -> Unfinished:
    """Return the unfinished work that a call goes on with; an empty one if there is none.

    Work that only code parts from the call is gone on with, thrown away never, and asked
    about if it was costly.

    Args:
        planned: The call.
        policy: What to do when only code changed.

    Raises:
        CodeChangedError: Only code changed, and what is stored took long to compute.
    """
    name = planned.declared.name
    own = planned.backend.unfinished(name, planned.measured.digest)
    if policy == "recompute" or own.parts():
        return own
    for other, parts in _of_older_code(planned):
        elapsed_s = sum(part.elapsed_s for part in parts)
        if policy == "accept":
            return _moved(planned, other, "on_code_change")
        if policy == "error" or elapsed_s >= planned.run.costly_s:
            changes = map(str, compare(other.key, planned.key)) if other.key else ()
            stored = f"unfinished: {_worded(parts)}"
            raise CodeChangedError(name, changes, stored, elapsed_s, None)
        break
    return own


def _of_older_code(planned: Planned) -> Iterator[tuple[Unfinished, list[SealedPart]]]:
    for work in works(planned.backend.segments.folder, planned.declared.name):
        key = work.key
        if key is not None and differs_in_code_alone(key, planned.key):
            parts = work.parts()
            if parts:
                yield work, parts


def _moved(planned: Planned, work: Unfinished, how: str) -> Unfinished:
    key = work.key
    changes = tuple(map(str, compare(key, planned.key))) if key else ()
    return work.move(planned.key, Acceptance(utc_now(), work.digest, changes, how))


def accept(planned: Planned) -> bool:
    """State that unfinished work holds for the code as it is now; tell whether there is any.

    Args:
        planned: The call.
    """
    for work, _ in _of_older_code(planned):
        _moved(planned, work, "accept()")
        return True
    return False
