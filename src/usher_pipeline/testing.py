"""What tests of checkpoints need: a store for a while, and what calls did.

The plugin of pytest gives every test a store of its own; elsewhere `temporary_store` does.
"""

from __future__ import annotations

import inspect
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from usher_pipeline import display, runs, standins
from usher_pipeline.config import settings
from usher_pipeline.decorator import Checkpointed
from usher_pipeline.errors import OptionError, UnexpectedDecisionError
from usher_pipeline.mapping import Mapped
from usher_pipeline.persistence import publisher
from usher_pipeline.persistence.duckdb_store import PipelineStore
from usher_pipeline.records import Hit, Miss
from usher_pipeline.saying import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from usher_pipeline.records import Decision, Entry

__all__ = [
    "RecordedDecision",
    "assert_hit",
    "assert_recomputed",
    "recorded_decisions",
    "temporary_store",
]

P = ParamSpec("P")
R = TypeVar("R")

#: How long to wait for tables that are being published when a store goes, in seconds.
_PATIENCE_S: Final = 10.0


# --- stores -----------------------------------------------------------------------------


@contextmanager
def temporary_store() -> Iterator[PipelineStore]:
    """Keep the results of a block in an empty store, which is gone behind it.

    Whatever the program says of its store, by `run(...)`, `configure(...)`, a config or the
    environment, this one is used instead, and in the processes that the block starts as
    well. Only a store that the block itself names in a folder for temporary files stays what
    it is.

    Yields:
        The store. Frames that came out of it can be used behind the block, queries can not.

    >>> import polars as pl
    >>> from usher_pipeline import checkpoint
    >>> @checkpoint(name="counted_genes")
    ... def counted(count: int) -> pl.DataFrame:
    ...     return pl.DataFrame({"gene": ["USH2A"] * count})
    >>> with temporary_store() as store:
    ...     _ = counted(3)
    ...     store.load_dataframe("counted_genes").height
    3
    """
    with tempfile.TemporaryDirectory(prefix="usher-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        path = folder / "store.duckdb"
        configured = runs.configured()["store"]
        runs.restore_configured({"store": None})
        try:
            with standins.standing_in(_stand_in(path)), PipelineStore(path) as store:
                yield store
        finally:
            runs.restore_configured({"store": configured})
            publisher.wait(path, _PATIENCE_S)
            for run in (runs.process_run(), *runs.active_runs()):
                run.leave(path)


def _stand_in(path: Path) -> standins.StandIn:
    before = standins.stands_in()
    root = settings.project_root()
    is_project = (root / "pyproject.toml").exists() or (root / ".git").exists()
    guarded = before.guarded if before else (str(root),) if is_project else ()
    spared = (*(before.spared if before else ()), str(path.parent))
    return standins.StandIn(
        str(path), str(path.parent / "state"), guarded, spared, runs.active_runs()
    )


# --- what calls did ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """What one call of a checkpoint did.

    Attributes:
        name: The checkpoint.
        decision: What it did, and why.
        entry: The stored result that was used or made; None if there is none.
        elapsed_s: How long the call took, in seconds.
    """

    name: str
    decision: Decision
    entry: Entry | None
    elapsed_s: float

    @property
    def reason(self) -> str:
        """Why, in one line."""
        return str(self.decision.reason)

    @property
    def is_hit(self) -> bool:
        """Whether a stored result answered the call, and no stale one."""
        return isinstance(self.decision, Hit) and self.decision.stale is None

    @property
    def is_recomputed(self) -> bool:
        """Whether the function ran since nothing stored answered the call."""
        return isinstance(self.decision, Miss)

    def __str__(self) -> str:
        """Return the line that a person is shown of the call."""
        return display.call_line(self.name, self.decision, self.entry, self.elapsed_s)


@contextmanager
def recorded_decisions() -> Iterator[list[RecordedDecision]]:
    """Record what calls of checkpoints do while a block runs, in whatever thread.

    Yields:
        The list, which grows: one for each call, in the order in which they returned, so
        that what a function calls stands before it. A call that raised is not in it, and
        neither is what `explain`, `load` or another process did.

    >>> import polars as pl
    >>> from usher_pipeline import checkpoint
    >>> @checkpoint(name="deep_genes")
    ... def deep(min_depth: float) -> pl.DataFrame:
    ...     return pl.DataFrame({"depth": [min_depth]})
    >>> with temporary_store(), recorded_decisions() as decisions:
    ...     _ = deep(30.0), deep(30.0), deep(20.0)
    >>> [each.reason for each in decisions if each.is_recomputed]
    ['first call', 'min_depth: 30.0 → 20.0']
    >>> [each.is_hit for each in decisions]
    [False, True, False]
    """
    decisions: list[RecordedDecision] = []

    def record(name: str, decision: Decision, entry: Entry | None, elapsed_s: float) -> None:
        decisions.append(RecordedDecision(name, decision, entry, elapsed_s))

    with listening(record):
        yield decisions


def assert_hit(call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call, and require that a stored result answers it.

    Args:
        call: The checkpoint; or one of its verbs, or any function, of which the last
            checkpoint that it calls counts.
        *args: The arguments of the call.
        **kwargs: The same, by name.

    Returns:
        What the call returns. Of an asynchronous one it is to be awaited, and is required
        then.

    Raises:
        UnexpectedDecisionError: The function ran, a stale result was returned, or no
            checkpoint was called. It is an `AssertionError` too.
        OptionError: The call was made already, as in ``assert_hit(genes())``.

    >>> import polars as pl
    >>> from usher_pipeline import checkpoint
    >>> @checkpoint(name="panel_genes")
    ... def panel(release: str) -> pl.DataFrame:
    ...     return pl.DataFrame({"release": [release]})
    >>> with temporary_store():
    ...     _ = panel("v4")
    ...     assert_hit(panel, "v4")["release"].item()
    'v4'
    """
    __tracebackhide__ = True
    return _required(_Expected("assert_hit", _name_of(call)), call, args, kwargs)


@overload
def assert_recomputed(
    call: Callable[..., R], /, *args: Any, reason: str, **kwargs: Any
) -> R: ...
@overload
def assert_recomputed(call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
def assert_recomputed(call: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    """Make a call, and require that its function runs, for a reason that is stated.

    Args:
        call: The checkpoint, as for `assert_hit`.
        *args: The arguments of the call.
        reason: What the reason has to say, or a part of it, such as ``first call`` or
            ``min_depth``; any reason will do without it. For a checkpoint that has itself a
            parameter of this name give a function of no arguments as the call.
        **kwargs: The arguments by name.

    Returns:
        What the call returns, as of `assert_hit`.

    Raises:
        UnexpectedDecisionError: A stored result was returned, the function ran for another
            reason, or no checkpoint was called. It is an `AssertionError` too.
        OptionError: The call was made already.

    >>> import polars as pl
    >>> from usher_pipeline import checkpoint
    >>> @checkpoint(name="tested_genes")
    ... def tested(min_depth: float) -> pl.DataFrame:
    ...     return pl.DataFrame({"depth": [min_depth]})
    >>> with temporary_store():
    ...     _ = assert_recomputed(tested, 30.0, reason="first call")
    ...     _ = assert_recomputed(tested, 20.0, reason="min_depth: 30.0 → 20.0")
    """
    __tracebackhide__ = True
    reason = kwargs.pop("reason", "")
    expected = _Expected("assert_recomputed", _name_of(call), reason)
    return _required(expected, call, args, kwargs)


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a test expects of a call.

    Attributes:
        verb: How the test says it.
        name: The checkpoint that is called, if it is known.
        reason: What the reason has to say.
    """

    verb: str
    name: str
    reason: str = ""

    @property
    def words(self) -> str:
        if self.verb == "assert_hit":
            return "hit"
        return f"computed ({self.reason})" if self.reason else "computed"

    def check(self, decisions: Sequence[RecordedDecision]) -> None:
        """Raise unless the call did what is expected of it."""
        __tracebackhide__ = True
        of_call = [each for each in decisions if self.name in {"", each.name}]
        if not of_call:
            others = ", ".join(dict.fromkeys(each.name for each in decisions))
            happened = f"calls of {others} alone" if others else "no call of a checkpoint"
            raise UnexpectedDecisionError(self.name, self.words, None, happened)
        last = of_call[-1]
        if not self._is_met(last):
            happened = display.outcome(last.decision)
            raise UnexpectedDecisionError(last.name, self.words, last.decision, happened)

    def _is_met(self, did: RecordedDecision) -> bool:
        if self.verb == "assert_hit":
            return did.is_hit
        return did.is_recomputed and self.reason in did.reason


def _name_of(call: object) -> str:
    """Return which checkpoint a call is of; empty if that can not be told before."""
    subject = getattr(call, "__self__", call)
    return subject.name if isinstance(subject, (Checkpointed, Mapped)) else ""


def _required(expected: _Expected, call: Callable[..., R], args: Any, kwargs: Any) -> R:
    # pytest shows of a failure the line of the test then, and none of these.
    __tracebackhide__ = True
    if not callable(call):
        raise OptionError(
            expected.verb,
            "call",
            f"the checkpoint and its arguments, as {expected.verb}(genes, 30.0)",
            display.preview(call),
        )
    with recorded_decisions() as decisions:
        result = call(*args, **kwargs)
    if inspect.isawaitable(result):
        waiting: Any = _awaited(expected, result)
        # What Python says of one that is dropped: nothing was required then.
        waiting.__qualname__ = f"{expected.verb}({expected.name})"
        return waiting  # type: ignore[no-any-return]
    expected.check(decisions)
    return result


async def _awaited(expected: _Expected, call: Any) -> Any:
    __tracebackhide__ = True
    with recorded_decisions() as decisions:
        result = await call
    expected.check(decisions)
    return result
