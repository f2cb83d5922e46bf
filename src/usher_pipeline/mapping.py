"""Many items under one checkpoint: each is asked once and stored, all are one table."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

from usher_pipeline import awaiting, calls, reading, registry, results, runs
from usher_pipeline.config.environment import is_set
from usher_pipeline.dispatching import Limits
from usher_pipeline.display import preview
from usher_pipeline.errors import CheckpointMissError, OptionError
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint.binding import bind
from usher_pipeline.fingerprint.key import context_of, measure, stands_as
from usher_pipeline.harvesting import Harvest
from usher_pipeline.persistence.mapparts import DamagedRows
from usher_pipeline.persistence.maps import code_of, maps_of
from usher_pipeline.persistence.reads import Call
from usher_pipeline.planning import compare
from usher_pipeline.records import Acceptance, Blocked, Bypass, Miss, Reason, utc_now
from usher_pipeline.saying import voice
from usher_pipeline.spreading import MapOptions, Spread, items_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    import polars as pl

    from usher_pipeline.errors import Failure
    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.mapparts import Answer
    from usher_pipeline.persistence.maps import StoredMap
    from usher_pipeline.records import Decision, Key

__all__ = ["AsyncMapped", "Mapped", "OnError", "accept_maps", "options_of"]

R = TypeVar("R")

#: What is done about items that fail: ask all others, then raise; return what there is; or
#: raise at the first one.
OnError: TypeAlias = Literal["finish", "collect", "raise"]

_REFRESH: Final = "refresh was asked for"
_CALL: Final = "mapped"


def options_of(  # noqa: PLR0913 - the options are the face
    declared: Declaration,
    *,
    over: str,
    item_column: str | None,
    batch_size: int | None,
    workers: int,
    rate_per_s: float | None,
    retries: int,
    timeout_s: float | None,
    retry_on: Callable[[Exception], bool] | None,
    executor: Executor | None,
    on_error: OnError,
) -> MapOptions:
    """Return how a function is mapped over items.

    Args:
        declared: The function.
        over: See `Checkpointed.mapped`, as the others.
        item_column: The same.
        batch_size: The same.
        workers: The same.
        rate_per_s: The same.
        retries: The same.
        timeout_s: The same.
        retry_on: The same.
        executor: The same.
        on_error: The same.

    Raises:
        OptionError: One of them is none of what it can be.
    """
    counted = {counts.name for counts in declared.counted}
    simple = [name for name in counted if _takes_one(declared, name)]
    if over not in simple:
        expected = f"a parameter that counts, one of {', '.join(sorted(simple)) or 'none'}"
        raise OptionError(_CALL, "over", expected, repr(over))
    if declared.handed_in:
        problem = f"a function without {declared.handed_in[0]}=Resume()"
        raise OptionError(_CALL, "over", problem, f"{declared.name}, which goes on by itself")
    is_size = type(batch_size) is int and batch_size > 0
    if batch_size is not None and not is_size:
        expected = "a whole number, 1 or more, or None"
        raise OptionError(_CALL, "batch_size", expected, repr(batch_size))
    if item_column is not None and (type(item_column) is not str or not item_column):
        raise OptionError(_CALL, "item_column", "the name of a column", repr(item_column))
    if batch_size is not None and item_column is None:
        expected = "the column that says of which item of a batch a row is"
        raise OptionError(_CALL, "item_column", expected, "None")
    if on_error not in get_args(OnError):
        expected = f"one of {', '.join(get_args(OnError))}"
        raise OptionError(_CALL, "on_error", expected, repr(on_error))
    if executor is not None and not callable(getattr(executor, "submit", None)):
        expected = "a concurrent.futures.Executor"
        raise OptionError(_CALL, "executor", expected, preview(executor))
    if executor is not None and inspect.iscoroutinefunction(declared.function):
        expected = "None for an asynchronous function, which runs on the loop of its caller"
        raise OptionError(_CALL, "executor", expected, preview(executor))
    try:
        limits = Limits(workers, rate_per_s, retries, timeout_s, retry_on)
    except OptionError as problem:
        raise OptionError(_CALL, problem.option, problem.expected, problem.got) from None
    return MapOptions(over, item_column or "", batch_size or 0, limits, executor, on_error)


def _takes_one(declared: Declaration, name: str) -> bool:
    kind = declared.signature.parameters[name].kind
    return kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Mapped(Generic[R]):
    """A checkpointed function that is asked for many items at once, as `mapped` makes it.

    Calling it takes the function's own arguments, with the items in the place of the one
    that it takes. What is stored of each item serves every later call, in any process.

    Attributes:
        name: The checkpoint.
        options: How it is mapped.
    """

    def __init__(self, wrapped: Any, instance: tuple[Any, ...], options: MapOptions) -> None:
        self.name: str = wrapped.name
        self.options = options
        self._wrapped = wrapped
        self._instance = instance
        self._declared: Declaration = wrapped.__usher_declaration__

    def __repr__(self) -> str:
        place = registry.place(self._declared.function)
        return f"<{self._caller} of {place}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # It goes to another process by where its function is found, as a checkpoint does.
        return type(self), (self._wrapped, self._instance, self.options)

    @property
    def _caller(self) -> str:
        return f"{self.name}.mapped(over={self.options.over!r})"

    # --- what it is to those who reach it ---

    @property
    def __usher_function__(self) -> Any:
        """The function itself, for the walk over code."""
        return self._declared.function

    @property
    def __usher_instance__(self) -> tuple[Any, ...]:
        """What it is bound to: an object, if any, and how it is mapped."""
        return ((*self._instance, self.options.over, self.options.how),)

    @property
    def __usher_declaration__(self) -> Declaration:
        """What the decorator was told, for the keys of those who call this."""
        return self._declared

    @property
    def __usher_version__(self) -> str | None:
        """What replaces the tracking of code, if anything."""
        return self._declared.version

    # --- calling ---

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Return the rows of all items, in their order; ask those that are not stored.

        Raises:
            MapIncompleteError: Some items failed; all others were asked and are stored.
            CodeChangedError: Only code changed, and what is stored took long to compute.
        """
        frame: R = self._answered(args, kwargs, "")
        return frame

    def refresh(self, *args: Any, **kwargs: Any) -> R:
        """Ask all items, whatever is stored; go on where an earlier refresh was stopped."""
        frame: R = self._answered(args, kwargs, _REFRESH)
        return frame

    def load(self, *args: Any, **kwargs: Any) -> R:
        """Return the stored rows of all items; never ask any.

        Raises:
            CheckpointMissError: Some are not stored; the error says how many.
        """
        # Items may be a generator, which gives them once.
        given, named = self._given(args, kwargs)
        planned = self._planned_with(given, named)
        if isinstance(planned.decision, Miss) and not _spread_of(planned).asks:
            # Nothing is to be asked; all that is missing is the table.
            frame: R = calls.answer(
                self._declared, given, named, spread=self._spread(given, named)
            )
            return frame
        found: R = calls.stored_frame(planned)
        return found

    def explain(self, *args: Any, **kwargs: Any) -> Decision:
        """Return what a call would do, and why; ask nothing and change nothing.

        Without arguments it says what is stored of the map that was changed last.
        """
        if is_set("USHER_DISABLE"):
            return Bypass(Reason("USHER_DISABLE is set"))
        if not (args or kwargs):
            return self._explained_last()
        wish = calls.refresh_wish(self.name)
        planned = self._planned_with(*self._given(args, kwargs), wish)
        reading.record_look(planned)
        return planned.decision

    def failures(self, *args: Any, **kwargs: Any) -> list[Failure]:
        """Return the items that failed when they were asked last, each with its cause.

        Without arguments those of the map that was changed last, in the order in which they
        failed; else those among the items of the call.
        """
        if args or kwargs:
            planned = self._planned(args, kwargs)
            spread = _spread_of(planned)
            stored, code = spread.stored(planned), spread.code
            wanted = [item.digest for item in spread.items]
        else:
            stored, code = self._last(), self._code()
            wanted = []
        index = stored.index()
        statement = stored.statement
        codes = statement.holding_for(code) if statement is not None else frozenset((code,))
        failed: list[Answer] = []
        for item in dict.fromkeys(wanted or index.failures):
            of_item = index.failures.get(item, {})
            if of_item and index.best(item, codes) is None:
                failed.append(max(of_item.values(), key=lambda answer: answer.at))
        if not wanted:
            failed.sort(key=lambda answer: answer.at)
        return [answer.failure() for answer in failed]

    def partial(self, *args: Any, **kwargs: Any) -> pl.LazyFrame:
        """Return the rows that are stored so far and hold, as a query of polars.

        What older code made holds once `accept` says so.

        Without arguments all of the map that was changed last, in the order in which they
        came; else those of the items of the call, in their order.

        Raises:
            CheckpointMissError: Nothing of it is stored, or all of it is of older code.
        """
        from usher_pipeline.persistence.conversion import stacked

        if args or kwargs:
            planned = self._planned(args, kwargs)
            spread = _spread_of(planned)
            stored, answers = spread.stored(planned), spread.in_order()
            older_count = len(spread.coverage.older)
        else:
            stored, code = self._last(), self._code()
            index, statement = stored.index(), stored.statement
            codes = statement.holding_for(code) if statement is not None else frozenset()
            best = (index.best(item, codes) for item in index.answers)
            answers = sorted((a for a in best if a is not None), key=lambda a: a.at)
            older_count = len(index.answers) - len(answers)
        if not answers and older_count:
            reason = f"all {older_count:,} items that are stored are of older code"
            raise CheckpointMissError(self.name, f"{reason}; accept() lets them hold")
        if not answers:
            raise CheckpointMissError(self.name, "no item of it is stored")
        try:
            return stacked(stored.all_rows(answers))
        except DamagedRows:
            raise CheckpointMissError(self.name, "what is stored is damaged") from None

    def accept(self, *args: Any, **kwargs: Any) -> int:
        """State that what is stored of the items holds for the code as it is now.

        Without arguments that is said of every map of the function over this parameter,
        whatever the other arguments are; else of the one of the call. The statement stays
        with the results that are made of them.

        Returns:
            How many items that concerned.

        Raises:
            CheckpointMissError: Nothing of it is stored.
        """
        if args or kwargs:
            planned = self._planned(args, kwargs)
            spread = _spread_of(planned)
            stored = spread.stored(planned)
            if stored.statement is None:
                raise CheckpointMissError(self.name, "no item of it is stored")
            return _accept(planned.backend, stored, spread.shared.key())
        if not maps_of(runs.current_run().backend.segments, self.name, self.options.over):
            raise CheckpointMissError(self.name, "no item of it is stored")
        return accept_maps(self._declared, self.options.over)

    # --- to the circle ---

    def _given(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with the items as a list."""
        bound = self._declared.signature.bind(*self._instance, *args, **kwargs)
        over = self.options.over
        # A default stands for one item, and nobody asked for it.
        items = items_in(self.name, over, bound.arguments.get(over))
        bound.arguments[over] = items
        return bound.args, bound.kwargs

    def _spread(self, args: Any, kwargs: Any, refresh: str = "") -> Spread:
        values = self._declared.signature.bind(*args, **kwargs).arguments[self.options.over]
        return Spread(self._wrapped, self.options, values, self._caller, refresh)

    def _planned(self, args: Any, kwargs: Any) -> calls.Planned:
        return self._planned_with(*self._given(args, kwargs))

    def _planned_with(
        self, given: tuple[Any, ...], named: dict[str, Any], refresh: str = ""
    ) -> calls.Planned:
        spread = self._spread(given, named, refresh)
        return calls.plan(self._declared, given, named, refresh=refresh, spread=spread)

    def _answered(self, args: Any, kwargs: Any, refresh: str) -> Any:
        given, named = self._given(args, kwargs)
        wish = refresh or calls.refresh_wish(self.name)
        spread = self._spread(given, named, wish)
        if is_set("USHER_DISABLE") and not refresh:
            return self._bypassed(spread, given, named)
        return calls.answer(self._declared, given, named, refresh=wish, spread=spread)

    def _bypassed(self, spread: Spread, args: Any, kwargs: Any) -> Any:
        """Ask all items; neither look at the store nor write to it."""
        declared, run, reason = self._declared, runs.current_run(), "USHER_DISABLE is set"
        facts = InForce(run)
        bound = bind(declared, args, kwargs, facts)
        ownership = facts.ownership(declared.function)
        measured = measure(declared, bound, facts, ownership)
        planned = calls.Planned(
            declared, run, facts, facts.backend, ownership, bound, measured, spread=spread
        )
        spread.measured(planned)
        spread.coverage.missing = list(spread.items)
        call = Call(declared.name, declared.config, declared.inputs, facts.backend.path)
        harvest = Harvest(spread, bound, call, None, None)
        result = results.bypassed(declared.name, harvest.frames(), "")
        run.note_unsaved(declared.name, "bypass", {"reason": reason})
        voice.say(declared.name, Bypass(Reason(reason)), None, 0.0)
        return result

    # --- what was changed last ---

    def _last(self) -> StoredMap:
        backend = runs.current_run().backend
        found = maps_of(backend.segments, self.name, self.options.over)
        if not found:
            raise CheckpointMissError(self.name, "no item of it is stored")
        return found[0]

    def _code(self) -> str:
        facts = InForce(runs.current_run())
        context = context_of(self._declared, facts, facts.ownership(self._declared.function))
        return _code_named(context.graph)

    def _explained_last(self) -> Decision:
        try:
            stored = self._last()
        except CheckpointMissError as problem:
            return Miss(Reason(problem.reason))
        index, statement, code = stored.index(), stored.statement, self._code()
        codes = statement.holding_for(code) if statement is not None else frozenset((code,))
        best = {item: index.best(item, codes) for item in index.answers}
        held = [item for item, answer in best.items() if answer is not None]
        older = [index.other(item) for item, answer in best.items() if answer is None]
        words = [f"{len(held):,} items are stored"]
        count = len(self.failures())
        words += [f"{count:,} failed"] if count else []
        if not older:
            return Miss(Reason(", ".join(words)))
        words.append(f"{len(older):,} are of older code")
        elapsed_s = sum(answer.elapsed_s for answer in older if answer is not None)
        reason = Reason(", ".join(words))
        return Blocked(reason, None, (), f"{len(older):,} items", elapsed_s)


class AsyncMapped(Mapped[R]):
    """An asynchronous function that is asked for many items at once: what asks is awaited.

    The function runs on the loop of the caller, for as many items at a time as `workers`
    says.
    """

    async def __call__(self, *args: Any, **kwargs: Any) -> R:  # type: ignore[override]
        """Return the rows of all items, in their order; ask those that are not stored."""
        frame: R = await awaiting.answered(partial(super().__call__, *args, **kwargs))
        return frame

    async def refresh(self, *args: Any, **kwargs: Any) -> R:  # type: ignore[override]
        """Ask all items, whatever is stored."""
        frame: R = await awaiting.answered(partial(super().refresh, *args, **kwargs))
        return frame


def _spread_of(planned: calls.Planned) -> Spread:
    spread = planned.spread
    assert isinstance(spread, Spread)  # noqa: S101 - it was planned with one
    return spread


def _code_named(graph: Any) -> str:
    from usher_pipeline.persistence.maps import VERSIONED

    return graph.digest if graph is not None else VERSIONED


# --- older code -------------------------------------------------------------------------


def accept_maps(declared: Declaration, over: str = "") -> int:
    """State that what is stored of items holds for the code as it is now.

    Args:
        declared: The function.
        over: The parameter that takes an item; any if empty.

    Returns:
        How many items that concerned.
    """
    facts = InForce(runs.current_run())
    backend = facts.backend
    context = context_of(declared, facts, facts.ownership(declared.function))
    count = 0
    for stored in maps_of(backend.segments, declared.name, over):
        statement = stored.statement
        if statement is None or not stands_as(statement.key, context):
            continue
        graph = context.graph
        kept = tuple(part for part in statement.key.parts if part.kind != "code")
        now = replace(
            statement.key,
            parts=(*kept, *(graph.parts if graph is not None else ())),
            code=graph.digest if graph is not None else "",
        )
        count += _accept(backend, stored, now)
    return count


def _accept(backend: LocalBackend, stored: StoredMap, now: Key) -> int:
    """State that the answers of a map hold for some code; return how many that concerned."""
    code = code_of(now)
    with backend.single_flight(stored.name, stored.digest):
        statement = stored.statement
        if statement is None:
            return 0
        index, codes = stored.index(), statement.holding_for(code)
        older = [
            answer
            for item in index.answers
            if index.best(item, codes) is None and (answer := index.other(item)) is not None
        ]
        said: list[tuple[str, Acceptance]] = []
        for other in dict.fromkeys(answer.code for answer in older):
            key = stored.code(other)
            changes = tuple(map(str, compare(key, now))) if key is not None else ()
            said.append((code, Acceptance(utc_now(), other, changes, "accept()")))
        if said:
            with backend.changing():
                stored.know(now)
                stored.state(replace(statement, accepted=(*statement.accepted, *said)))
        return len(older)
