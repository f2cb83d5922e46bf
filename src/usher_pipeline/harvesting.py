"""The work of a call for many items: ask those that are missing, and put all rows together.

Threads ask; what they get comes to the thread of the caller, which alone commits it, a few
items at a time. What is committed stays, whatever ends the call.
"""

from __future__ import annotations

import inspect
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usher_pipeline.asking import Asking, Given, Task, computed, sorted_rows
from usher_pipeline.dispatching import Dispatch, in_executor, in_threads
from usher_pipeline.display import age
from usher_pipeline.errors import (
    ChangedMeanwhileError,
    MapIncompleteError,
    OptionError,
    StoreError,
    UnsupportedFrameError,
    UsherError,
    UsherWarning,
)
from usher_pipeline.failures import error_type, said
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.hiding import is_credential, secret_texts, without_credentials
from usher_pipeline.interrupts import check
from usher_pipeline.persistence.mapparts import Answer, DamagedRows
from usher_pipeline.persistence.unfinished import together
from usher_pipeline.progress import showing
from usher_pipeline.records import Acceptance, Cost, MapFacts, utc_now
from usher_pipeline.results import Anew, Lack
from usher_pipeline.resuming import commit_after_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from usher_pipeline.calls import Planned
    from usher_pipeline.dispatching import Attempt, Outcome
    from usher_pipeline.errors import Failure
    from usher_pipeline.fingerprint.binding import Bound
    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.mapindex import Index
    from usher_pipeline.persistence.maps import StoredMap
    from usher_pipeline.persistence.reads import Call
    from usher_pipeline.progress import Shown
    from usher_pipeline.reading import Watched
    from usher_pipeline.spreading import Item, Spread

__all__ = ["Harvest"]

#: How long a call that is interrupted waits for the answers that are under way.
_GRACE_S: Final = 2.0
#: What was answered waits for no longer than that: of a rate of 3 that is 15 items.
_LONGEST_S: Final = 5.0
#: So many items whose rows do not go with the others stop a call of which fewer are stored.
_MOST_UNLIKE: Final = 100
#: When a commit that failed is tried again at the soonest.
_AGAIN_AFTER_S: Final = 5.0
#: So much less than it takes a commit is counted to cost.
_BESIDE: Final = 4
#: So many failures are named in a text.
_MOST_SHOWN: Final = 3
#: How much of rows may wait to be committed.
_MOST_BYTES: Final = 1 << 25
#: About so much a value takes, and a frame besides; to look would take longer than to ask.
_VALUE_BYTES: Final = 16
_FRAME_BYTES: Final = 1 << 13


class _Waiting(NamedTuple):
    """What was answered and is not committed.

    Attributes:
        frame: The rows of the answers, one below the other; None if they failed.
        answers: What is known of the items.
    """

    frame: Any
    answers: list[Answer]


class Harvest:
    """A call for many items, from what is stored to the whole.

    Args:
        spread: The items.
        bound: The arguments.
        call: Notes what the function reads.
        before: What the function was given; None where nothing is watched.
        stored: What is stored of the map; None to keep all in memory.
        holds_map: Whether nobody else may add to it.
    """

    def __init__(  # noqa: PLR0913 - what a call for many items is made of
        self,
        spread: Spread,
        bound: Bound,
        call: Call,
        before: Watched | None,
        stored: StoredMap | None,
        *,
        holds_map: bool = True,
    ) -> None:
        self._holds_map = holds_map
        self.name = spread.declared.name
        self.lacking: Lack | None = None
        self._spread = spread
        self._options = spread.options
        self._bound = bound
        self._call = call
        self._before = before
        self._stored = stored
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._unsaved: dict[str, Any] = {}
        self._failures: dict[str, Answer] = {}
        self._stale: list[Failure] = []
        self._counts = {"done": 0, "stored": 0}
        self._asked_count = 0
        self._latest = self._before_latest = 0
        self._example: Packed | None = None
        #: Whether the last commit failed, of which people are told once.
        self._is_told = self._is_regaining = False
        self._again_after_s = _AGAIN_AFTER_S
        self._is_open = False
        self._begun_s = self._committed_s = self._shared_s = time.monotonic()
        self._commit_s = 0.0
        #: How many items failed since their rows do not go with the others, and how the last.
        self._unlike_count = 0
        self._unlike: UnsupportedFrameError | None = None
        self._codes_used: set[str] = set()
        self._listed = ""
        named = bound.arguments.items()
        # A secret object under whatever name hands out what it hides.
        self._secrets = secret_texts(
            value
            for name, value in named
            if is_credential(name) or hasattr(value, "get_secret_value")
        )

    # --- the result ---

    def frames(self, planned: Planned | None = None) -> Iterator[Any]:
        """Yield the rows of all items, in their order, once the missing ones were asked.

        Args:
            planned: The call, which this knows of.

        Raises:
            MapIncompleteError: Some items failed; the others are stored.
            ChangedMeanwhileError: What the function reads changed.
        """
        del planned
        if self._holds_map:
            self._open()
        spread = self._spread
        asked = spread.coverage.asked
        by_digest = {item.digest: item for item in spread.items}
        missing = [item for digest, item in by_digest.items() if digest in asked]
        self._ask(missing)
        if self._failures and spread.declared.stale_if_error:
            self._stand_in()
        failures = [self._failures[d].failure() for d in by_digest if d in self._failures]
        answered = spread.in_order()
        if failures:
            self._tell_failures(failures, len(by_digest), answered)
        elif self._stale:
            self._tell_stale(answered)
        else:
            self._refreshed()
        self._note_reads(answered)
        if self._stored is not None:
            with suppress(OSError):
                # Without it who calls this map is computed anew.
                self._listed = self._stored.list_items(answer.item for answer in answered)
        try:
            yield from self._assembled(answered)
        except UnsupportedFrameError as problem:
            problem.add_note(
                f"{self.name}: its items were answered with columns that do not go together. "
                f"{spread.caller}.refresh(...) asks all of them again."
            )
            raise

    def _stand_in(self) -> None:
        """Let what items that failed were answered before stand in the result."""
        if self._stored is None:
            return
        spread, index, statement = self._spread, self._stored.index(), self._stored.statement
        codes = frozenset((spread.code,))
        if statement is not None:
            codes = statement.holding_for(spread.code)
        for digest, failed in list(self._failures.items()):
            before = index.best(digest, codes)
            if before is not None:
                spread.coverage.answers[digest] = before
                self._stale.append(failed.failure())
                del self._failures[digest]

    def _tell_stale(self, answered: Sequence[Answer]) -> None:
        count = len(self._stale)
        digests = {item.digest: item for item in self._spread.items}
        shown = _shown(self._stale)
        oldest = min(answer.answered_at for answer in answered)
        words = (
            f"{count:,} of {len(digests):,} items could not be asked anew: {shown}. What they "
            f"were answered last was returned, of which the oldest is {age(oldest)}; it was "
            "not stored as the result. The same call asks them again; without "
            "stale_if_error=True they would be failures"
        )
        stale = {
            "reason": f"{count:,} items could not be asked anew",
            "fresh_since": oldest.isoformat(),
            "items": [str(failure) for failure in self._stale],
        }
        self.lacking = Lack(words, stale)

    def _tell_failures(
        self, failures: list[Failure], item_count: int, answered: list[Answer]
    ) -> None:
        if self._options.on_error == "collect" and answered:
            self.lacking = Lack(
                f"{len(failures):,} of {item_count:,} items failed: {_shown(failures)}. What "
                f"was returned is not stored as the result. {self._kept_words()} The same "
                "call asks only those that failed"
            )
            return
        frame = None
        if answered:
            packs = list(self._assembled(answered))
            frame = packs[0] if len(packs) == 1 else computed(self.name, iter(packs))
        raise MapIncompleteError(self.name, failures, item_count, frame, self._kept_words())

    def _kept_words(self) -> str:
        count = len(self._spread.coverage.answers)
        if self._stored is None:
            return f"Nothing was stored of the {count:,} others, as USHER_DISABLE says."
        if self._unsaved:
            return f"Of the {count:,} others {len(self._unsaved):,} could not be stored."
        kept = f"The {count:,} others are stored."
        if self._stale:
            kept += f" Of these {len(self._stale):,} failed as well: their last rows stand in."
        return kept

    def _note_reads(self, answers: Iterable[Answer]) -> None:
        for reads in {answer.reads for answer in answers}:
            self._call.remember(reads)
        self._codes_used = {answer.code for answer in answers}
        self._latest = max((answer.at for answer in answers), default=0)

    def _assembled(self, answers: Sequence[Answer]) -> Iterator[Any]:
        """Yield the rows of answers in order; what turns out to be damaged is asked again."""
        rest = list(answers)
        if not self._holds_map:
            yield from self._read_beside(rest)
            return
        if not self._unsaved and self._stored is not None:
            while rest or not answers:
                blocks = self._stored.blocks(rest)
                try:
                    packed = self._stored.rows(blocks[0])
                except DamagedRows as damage:
                    rest = self._asked_again(damage, rest)
                    continue
                yield adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
                if len(blocks) == 1:
                    return
                rest = rest[rest.index(blocks[1][0]) :]
        yield from self._mixed(answers)

    def _read_beside(self, answers: Sequence[Answer]) -> Iterator[Any]:
        """Yield the rows of answers in order, while others may put parts together."""
        assert self._stored is not None  # noqa: S101 - of what is not stored all is held
        try:
            packs = self._stored.all_rows(answers)
        except DamagedRows:
            raise Anew from None
        for packed in packs:
            yield adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)

    def _mixed(self, answers: Sequence[Answer]) -> Iterator[Any]:
        """Yield rows of which some are in memory alone, item by item."""
        empty: list[Any] = []
        is_any = False
        for answer in answers:
            if answer.item in self._unsaved:
                frame = self._unsaved[answer.item]
                if not answer.row_count:
                    empty.append(frame)
                    continue
            elif answer.row_count and self._stored is not None:
                packed = self._stored.rows([answer])
                frame = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
            else:
                continue
            is_any = True
            yield frame
        if not answers:
            raise self._no_items()
        if not is_any:
            yield max(empty, key=lambda frame: _adapter(frame).shape(frame)[1])

    def _asked_again(self, damage: DamagedRows, rest: list[Answer]) -> list[Answer]:
        """Set damaged rows aside, ask for them again, and return what is still to come."""
        assert self._stored is not None  # noqa: S101 - who has nothing stored reads nothing
        answers = self._spread.coverage.answers
        lost = {d for d, answer in answers.items() if answer.part == damage.stem}
        if not lost and damage.stem:
            # Only the columns were to come from there; others know them too.
            self._stored.set_aside(damage.stem)
            return rest
        if not lost:
            raise self._no_items()
        self._stored.set_aside(damage.stem)
        self._tell(
            f"{self.name}: the rows of {len(lost):,} items are damaged and were set aside; "
            "they are asked again."
        )
        for digest in lost:
            del answers[digest]
        items = {item.digest: item for item in self._spread.items}
        self._ask([items[digest] for digest in items if digest in lost])
        if self._failures:
            failures = [answer.failure() for answer in self._failures.values()]
            raise MapIncompleteError(self.name, failures, len(items), None, self._kept_words())
        return [answers[answer.item] for answer in rest]

    def _no_items(self) -> OptionError:
        expected = "at least one item, as long as no rows say which columns there are"
        return OptionError(self.name, self._options.over, expected, "none")

    def _tell(self, text: str) -> None:
        warnings.warn(text, UsherWarning, stacklevel=8)

    # --- asking ---

    def _open(self) -> None:
        """Say in the store what the map is, and what code holds for it."""
        stored = self._stored
        if stored is None:
            return
        index = stored.index()
        unread = stored.unread()
        if unread:
            self._tell(
                f"{self.name}: what {len(unread):,} files in {str(stored.folder)!r} say of its "
                "items can not be read: they are damaged, or of a newer version of this "
                "library. What only they say is asked again; of items that were refreshed an "
                "older answer may count. refresh(...) makes sure."
            )
        self._latest = self._before_latest = index.latest
        self._example = stored.example(self._beside(index))
        with suppress(OSError):
            # The first commit tries again, and tells.
            self._say()

    def _beside(self, index: Index) -> list[Answer]:
        """Return the answers with whose rows new ones have to go together.

        Those of older code that does not hold may have other columns, and so may those that
        are to be asked again.
        """
        spread = self._spread
        if spread.refresh:
            return list(spread.coverage.answers.values())
        assert self._stored is not None  # noqa: S101 - only what is stored has an index
        statement = self._stored.statement
        codes = frozenset((spread.code,))
        if statement is not None:
            codes = statement.holding_for(spread.code)
        asked = spread.coverage.asked
        best = (index.best(item, codes) for item in index.answers if item not in asked)
        return [*spread.coverage.answers.values(), *(a for a in best if a is not None)]

    def _say(self) -> None:
        stored, spread, latest = self._stored, self._spread, self._before_latest
        older = {answer.code for answer in spread.coverage.answers.values()} - {spread.code}
        assert stored is not None  # noqa: S101 - only what is stored is said
        common = spread.shared.key()
        statement = stored.begin(common, spread.options.over, utc_now())
        stored.know(common)
        new = older - statement.holding_for(spread.code)
        if new:
            answers = [a for a in spread.coverage.answers.values() if a.code in new]
            changes = tuple(map(str, spread.differences(stored, answers)))
            said = tuple(
                (spread.code, Acceptance(utc_now(), code, changes, "on_code_change"))
                for code in sorted(new)
            )
            statement = replace(statement, accepted=(*statement.accepted, *said))
            stored.state(statement)
        is_going_on = statement.refresh is not None and (
            statement.refresh[0] == spread.whole_digest
        )
        if spread.refresh and not is_going_on:
            stored.state(replace(statement, refresh=(spread.whole_digest, latest + 1)))
        self._is_open = True

    def _refreshed(self) -> None:
        """Say that a refresh of these items has come to its end, by whatever call."""
        statement = self._stored.statement if self._stored is not None else None
        if self._stored is None or statement is None or statement.refresh is None:
            return
        if not self._holds_map:
            # Whoever holds it says so.
            return
        if statement.refresh[0] == self._spread.whole_digest:
            with suppress(OSError):
                self._stored.state(replace(statement, refresh=None))

    def _ask(self, items: Sequence[Item]) -> None:
        """Ask items, and commit what they are answered."""
        if not items:
            return
        self._asked_count += len(items)
        self._committed_s = self._shared_s = time.monotonic()
        known = len(self._spread.coverage.answers)
        dispatch = Dispatch(
            self._attempt(),
            self._tasks(items),
            self._options.limits,
            stops_at_failure=self._options.on_error == "raise",
        )
        with showing(self.name, known + len(items), known) as shown:
            try:
                self._take_all(dispatch, shown)
            except BaseException as problem:
                is_pressed = isinstance(problem, KeyboardInterrupt)
                with suppress(KeyboardInterrupt):
                    for outcome in dispatch.leave(_GRACE_S):
                        self._take(outcome)
                self._commit()
                self._show(shown)
                shown.finish("interrupted" if is_pressed else "stopped")
                problem.add_note(self._how_to_go_on())
                raise
            shown.finish("")
        if self._stored is not None and not self._waiting:
            with suppress(OSError):
                # It is as it was, only in more files.
                self._stored.tidy()
        self._settle()
        self._regain(items)

    def _regain(self, items: Sequence[Item]) -> None:
        """Ask again what was answered, and is not stored any more.

        Raises:
            StoreError: That is gone again.
        """
        answers = self._spread.coverage.answers
        lost = [
            item
            for item in items
            if item.digest not in answers and item.digest not in self._failures
        ]
        if not lost:
            return
        what = f"what {len(lost):,} items of {self.name} were answered is gone from it"
        if len(lost) == len(items) and self._is_regaining:
            cure = "Let nothing remove files of it while a call runs, and call it again."
            raise StoreError(self._call.home, f"{what}, again and again", cure)
        self._tell(f"The store {str(self._call.home)!r}: {what}; they are asked again.")
        self._counts["done"] -= len(lost)
        self._counts["stored"] -= len(lost)
        self._is_regaining = True
        self._ask(lost)

    def _how_to_go_on(self) -> str:
        answers = len(self._spread.coverage.answers) + self._counts["stored"]
        total = len({item.digest for item in self._spread.items})
        return (
            f"{self.name}: {answers:,} of {total:,} items are stored. Call it again with the "
            "same arguments to ask for the others."
        )

    def _settle(self) -> None:
        """Let the answers that came stand in the result."""
        answers = self._spread.coverage.answers
        if self._stored is not None:
            index, code = self._stored.index(), self._spread.code
            for item in self._spread.items:
                known = answers.get(item.digest)
                if known is None and item.digest in self._failures:
                    continue
                # What was known may lie elsewhere by now: parts were put together.
                codes = frozenset((code if known is None else known.code,))
                found = index.best(item.digest, codes)
                if found is not None:
                    answers[item.digest] = found
        for waiting in self._waiting:
            self._hold(waiting)
        self._waiting = []

    def _hold(self, waiting: _Waiting) -> None:
        """Let what could not be committed stand in the result from memory."""
        answers = [answer for answer in waiting.answers if answer.error is None]
        self._spread.coverage.answers |= {answer.item: answer for answer in answers}
        if len(answers) == 1:
            self._unsaved[answers[0].item] = waiting.frame
            return
        from usher_pipeline.frames.streams import taken

        if not answers:
            return
        adapter = _adapter(waiting.frame)
        packed, start = adapter.to_arrow(waiting.frame), 0
        for answer in answers:
            own = taken(packed, range(start, start + answer.row_count))
            self._unsaved[answer.item] = adapter.from_arrow(own.table, own.schema)
            start += answer.row_count

    def _attempt(self) -> Attempt:
        wrapped, over = self._spread.wrapped, self._options.over
        asking = Asking.of(wrapped, self._bound, over, self._call.home)
        if inspect.iscoroutinefunction(self._spread.declared.function):
            return asking.on_loop
        if self._options.executor is not None:
            return in_executor(self._options.executor, asking)
        return in_threads(asking)

    def _tasks(self, items: Sequence[Item]) -> list[Task]:
        size = self._options.batch_size
        if not size:
            return [Task((item,), item.value) for item in items]
        starts = range(0, len(items), size)
        batches = [tuple(items[start : start + size]) for start in starts]
        return [Task(batch, [item.value for item in batch]) for batch in batches]

    def _take_all(self, dispatch: Dispatch, shown: Shown) -> None:
        problem: BaseException | None = None
        for outcome in dispatch:
            if outcome is not None:
                self._take(outcome)
                if outcome.problem is not None and self._options.on_error == "raise":
                    problem = problem or outcome.problem
            check()
            if self._is_due():
                self._commit()
                self._require_alike()
            self._show(shown)
        self._commit()
        self._show(shown)
        if problem is not None:
            raise problem

    def _require_alike(self) -> None:
        """Stop where hardly any rows go with those that are stored: that is no item's fault.

        Raises:
            UnsupportedFrameError: So many items failed by that, and more than are stored.
        """
        problem, count = self._unlike, self._unlike_count
        if problem is None or count < _MOST_UNLIKE or count <= self._counts["stored"]:
            return
        problem.add_note(
            f"{self.name} stopped: {count:,} items gave rows that do not go with those that "
            "are stored, and so would the others."
        )
        raise problem

    def _show(self, shown: Shown) -> None:
        shown.update(self._counts["done"], len(self._failures), self._counts["stored"])

    # --- taking what came ---

    def _take(self, outcome: Outcome) -> None:
        task: Task = outcome.task
        problem = outcome.problem
        if problem is None:
            given: Given = outcome.value
            self._call.torn.extend(given.torn)
            try:
                waiting = self._split(task, given, outcome.attempts)
            except UsherError as refused:
                problem = refused
        if problem is not None:
            waiting = _Waiting(None, self._failed(task.items, problem, outcome.attempts))
        else:
            self._counts["done"] += len(task.items)
            for item in task.items:
                self._failures.pop(item.digest, None)
        self._waiting.append(waiting)

    def _split(self, task: Task, given: Given, attempts: int) -> _Waiting:
        """Return the rows of a task, those of each item one below the other."""
        frame, column = given.frame, self._options.item_column
        adapter = _adapter(frame)
        row_count, column_count = adapter.shape(frame)
        self._waiting_bytes += row_count * column_count * _VALUE_BYTES + _FRAME_BYTES
        counts = [row_count]
        if row_count and column:
            packed = adapter.to_arrow(frame)
            ordered, counts = sorted_rows(packed, task.items, column)
            if ordered is not packed:
                frame = adapter.from_arrow(ordered.table, ordered.schema)
        elif not row_count:
            counts = [0] * len(task.items)
        return _Waiting(
            frame,
            [
                self._answer(item, attempts)._replace(row_count=count, reads=given.reads)
                for item, count in zip(task.items, counts, strict=True)
            ],
        )

    def _failed(
        self, items: Sequence[Item], problem: BaseException, attempts: int
    ) -> list[Answer]:
        own = [item.value for item in items] if is_credential(self._options.over) else []
        secrets = (*self._secrets, *secret_texts(own))
        error = (error_type(problem), without_credentials(said(problem), secrets))
        answers = [self._answer(item, attempts)._replace(error=error) for item in items]
        self._failures |= {answer.item: answer for answer in answers}
        return answers

    def _answer(self, item: Item, attempts: int) -> Answer:
        # Whatever the clock does, what is said later counts.
        now, code = time.time_ns() // 1000, self._spread.code
        self._latest = at = max(self._latest + 1, now)
        said = Answer(item.digest, item.shown, 0, code, (), 0.0, at, attempts)
        return said._replace(skew=now - at)

    # --- committing ---

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        now_s = time.monotonic()
        if self._is_told:
            # It failed, and what waits becomes more and more to put together.
            return now_s - self._committed_s >= self._again_after_s
        # Others ask meanwhile, so a commit holds nobody up.
        commit_s = self._commit_s / _BESIDE
        after_s = min(commit_after_s(commit_s, now_s - self._begun_s), _LONGEST_S)
        return now_s - self._committed_s >= after_s or self._waiting_bytes >= _MOST_BYTES

    def _commit(self) -> None:
        """Commit what waits; where that fails it waits on.

        Raises:
            ChangedMeanwhileError: What it was made of is another version now.
        """
        if not self._waiting or self._stored is None:
            return
        self._require_undisturbed()
        started_s = time.monotonic()
        try:
            if not self._is_open:
                self._say()
            packed, answers = self._joined()
            share_s = (started_s - self._shared_s) / len(answers)
            self._stored.add(packed, [a._replace(elapsed_s=share_s) for a in answers])
        except OSError as problem:
            if not self._is_told:
                self._is_told = True
                self._tell(
                    f"{self.name} goes on, but its rows are in memory alone since they can "
                    f"not be stored: {problem}. Make room before it is stopped."
                )
            # The folder may be gone; what the map is has to be said once more then.
            self._is_open = False
            # Not at once again: what fails may take long to fail.
            self._committed_s = time.monotonic()
            took_s = self._committed_s - started_s
            self._again_after_s = max(_AGAIN_AFTER_S, _BESIDE * took_s)
            return
        self._is_told = False
        self._counts["stored"] += sum(answer.error is None for answer in answers)
        self._waiting, self._waiting_bytes = [], 0
        # Others were asked while this was committed: that is their time.
        self._shared_s = started_s
        self._committed_s = time.monotonic()
        self._commit_s = self._committed_s - started_s

    def _require_undisturbed(self) -> None:
        if self._before is None or not self._before.is_disturbed(self._call):
            return
        changes = self._before.changes(self._call) or ["what it reads"]
        lost = sum(len(waiting.answers) for waiting in self._waiting)
        self._waiting = []
        kept = (
            f"{self._counts['stored']:,} items are stored with what was there before, and the "
            f"last {lost:,} were not kept."
        )
        raise ChangedMeanwhileError(self.name, changes, kept)

    def _joined(self) -> tuple[Packed | None, list[Answer]]:
        """Return what waits as one frame, with the answers in the order of its rows."""
        try:
            packed = self._packed()
        except UnsupportedFrameError:
            self._weed()
            packed = self._packed()
        answers = [answer for waiting in self._waiting for answer in waiting.answers]
        return packed, answers

    def _packed(self) -> Packed | None:
        from usher_pipeline.frames.streams import appended

        frames = [waiting.frame for waiting in self._waiting if waiting.frame is not None]
        with_rows = [frame for frame in frames if _adapter(frame).shape(frame)[0]]
        if not with_rows:
            # The columns of what has no rows are better than none.
            return together(frames[:1]) if frames else None
        packed = together(with_rows)
        _require_counted(packed)
        if self._example is not None:
            _require_kind(packed, self._example.kind)
            appended([self._example, packed], adapter_of_kind(packed.kind))
        else:
            self._example = replace(
                packed,
                table=packed.table.slice(0, 0),
                schema=_emptied(packed.schema),
            )
        return packed

    def _weed(self) -> None:
        """Let items whose rows are not like those of the others be failed ones."""
        kept: list[_Waiting] = []
        every = self._waiting
        for waiting in every:
            self._waiting = [waiting]
            try:
                self._packed()
            except UnsupportedFrameError as problem:
                items = {item.digest: item for item in self._spread.items}
                of_it = [items[answer.item] for answer in waiting.answers]
                self._counts["done"] -= len(of_it)
                attempts = waiting.answers[0].attempts
                if "Null" in problem.type_name:
                    # It is all that polars can know of a column without values.
                    problem = _with_null_told(problem)
                self._unlike, self._unlike_count = problem, self._unlike_count + len(of_it)
                waiting = _Waiting(None, self._failed(of_it, problem, attempts))  # noqa: PLW2901
            kept.append(waiting)
        self._waiting = kept

    # --- what is said of it ---

    def settle(self, *, is_over: bool) -> None:
        """Let go of nothing: what is stored of the items serves the next call.

        Args:
            is_over: Whether the result is stored, or void.
        """

    def cost(self, cost: Cost) -> Cost:
        """Return what all answers took, from what the present call did.

        Args:
            cost: What the call took.
        """
        answers = self._spread.coverage.answers.values()
        spent_s = sum(answer.elapsed_s for answer in answers)
        return Cost(cost.started_at, max(cost.elapsed_s, spent_s))

    @property
    def mapped(self) -> MapFacts:
        """How the result is put together."""
        answers = self._spread.coverage.answers
        return MapFacts(
            self._options.over,
            len(answers),
            self._asked_count,
            self._latest,
            oldest=min((answer.moment for answer in answers.values()), default=self._latest),
            digest=self._stored.digest if self._stored is not None else "",
            listed=self._listed,
        )

    @property
    def accepted(self) -> tuple[Acceptance, ...]:
        """The statements by which rows that older code made hold."""
        statement = self._stored.statement if self._stored is not None else None
        if statement is None:
            return ()
        code = self._spread.code
        used = self._codes_used - {code}
        return tuple(s for now, s in statement.accepted if now == code and s.key in used)


def _shown(failures: Sequence[Failure]) -> str:
    words = "; ".join(map(str, failures[:_MOST_SHOWN]))
    more = len(failures) - _MOST_SHOWN
    return f"{words}; and {more:,} more" if more > 0 else words


def _adapter(frame: Any) -> Any:
    adapter = adapter_for(frame)
    assert adapter is not None  # noqa: S101 - whoever returned it was asked
    return adapter


def _with_null_told(problem: UnsupportedFrameError) -> UnsupportedFrameError:
    cure = (
        "A column without any value has the type Null in polars: state its type, as in "
        "pl.DataFrame(..., schema={...})."
    )
    return UnsupportedFrameError(problem.column, problem.type_name, cure)


def _require_counted(packed: Packed) -> None:
    """Refuse rows that are counted in a way that others could not go on with."""
    counted = packed.schema.get("index", {}).get("range")
    if counted is not None and counted[::2] != [0, 1]:
        what = f"a range from {counted[0]} by {counted[2]}"
        raise UnsupportedFrameError("the index", what, "Use reset_index().")


def _require_kind(packed: Packed, kind: str) -> None:
    if packed.kind != kind:
        cure = f"Return frames of one kind for all items, here {kind}."
        raise UnsupportedFrameError("the frame", packed.kind, cure)


def _emptied(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = {**schema, "rows": 0}
    index = found.get("index", {})
    if "range" in index:
        found["index"] = {**index, "range": [0, 0, 1]}
    return found
