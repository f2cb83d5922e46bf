"""``usher warm`` and ``outdated``: all checkpoints of a module at once."""

from __future__ import annotations

import asyncio
import inspect
import time
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from usher_pipeline import display
from usher_pipeline.cli.choosing import checkpoints_in, printing_aside
from usher_pipeline.cli.endings import DONE, FAILED, FOUND, split, trouble_of
from usher_pipeline.cli.options import answering, dry_run_option, in_store, store_option
from usher_pipeline.cli.output import Block, Grid, Line, Outcome
from usher_pipeline.errors import CheckpointNotSaved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from usher_pipeline.outdating import Standing
    from usher_pipeline.records import Decision

__all__ = ["outdated", "warm"]


def _files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let a shell offer files; which modules there are, only imports would tell."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


module_argument: Final = click.argument("module", shell_complete=_files)


# --- warm -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Warmed:
    """What a checkpoint of a module did, or would do.

    Attributes:
        name: The checkpoint.
        outcome: ``hit``, ``computed``, ``bypass``, ``failed``, or ``unsaved`` for what ran and
            is not stored; in a dry run ``hit``, ``miss``, ``blocked`` or ``bypass``;
            ``skipped`` for one that needs arguments.
        reason: Why.
        elapsed_s: How long it took, in seconds; None if it was not called.
    """

    name: str
    outcome: str
    reason: str
    elapsed_s: float | None = None


@click.command()
@module_argument
@dry_run_option
@store_option
@answering
def warm(*, module: str, dry_run: bool, store: Path | None) -> Outcome:
    """Call the checkpoints of a module that need no arguments.

    MODULE is a dotted name or a file; modules below a package count as far as it imports
    them. Afterwards calls without arguments are hits, also with USHER_OFFLINE=1. One that
    fails, or whose result can not be stored, does not stop the others, and makes the exit
    code 1.
    """
    from usher_pipeline.runs import run

    found = checkpoints_in(module)
    with in_store(store):
        if dry_run:
            done = [_foreseen(each) for each in found]
        else:
            with run(store=store):
                done = [_warmed(each) for each in found]
    rows = [
        (
            each.name,
            each.outcome,
            each.reason,
            "" if each.elapsed_s is None else display.duration(each.elapsed_s),
        )
        for each in done
    ]
    grid = Grid("", ["name", "outcome", "reason", "time"], rows, ["time"])
    is_bad = any(each.outcome in ("failed", "unsaved") for each in done)
    code = FAILED if is_bad else DONE
    data = {"module": module, "dry_run": dry_run, "checkpoints": [*map(asdict, done)]}
    return Outcome(data, [grid], code)


def _needed(checkpoint: Any) -> list[str]:
    """Return the arguments that a checkpoint can not be called without."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(checkpoint).parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.kind not in kinds
    ]


def _foreseen(checkpoint: Any) -> Warmed:
    needed = _needed(checkpoint)
    if needed:
        return Warmed(checkpoint.name, "skipped", f"it needs {', '.join(needed)}")
    try:
        with printing_aside():
            decision: Decision = checkpoint.explain()
    except Exception as problem:  # noqa: BLE001 - a probe of the user may raise anything
        return Warmed(checkpoint.name, "failed", trouble_of(problem).problem)
    return Warmed(checkpoint.name, type(decision).__name__.lower(), str(decision.reason))


def _warmed(checkpoint: Any) -> Warmed:
    foreseen = _foreseen(checkpoint)
    if foreseen.outcome in ("skipped", "failed"):
        return foreseen
    started = time.perf_counter()
    try:
        with printing_aside(), _unsaved() as unsaved:
            answer = checkpoint()
            if inspect.isawaitable(answer):
                asyncio.run(_awaited(answer))
    # The function of the user may raise anything, and may want to end the process.
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - as said
        elapsed_s = time.perf_counter() - started
        return Warmed(checkpoint.name, "failed", trouble_of(problem).problem, elapsed_s)
    elapsed_s = time.perf_counter() - started
    if unsaved:
        return Warmed(checkpoint.name, "unsaved", split(unsaved[0])[0], elapsed_s)
    outcome = "computed" if foreseen.outcome == "miss" else foreseen.outcome
    return Warmed(checkpoint.name, outcome, foreseen.reason, elapsed_s)


@contextmanager
def _unsaved() -> Iterator[list[str]]:
    """Collect what is said of results that could not be stored, and let all else be said."""
    said: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def collect(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, CheckpointNotSaved):
                said.append(str(message))
            else:
                show(message, category, *where)

        warnings.showwarning = collect  # type: ignore[assignment]  # it hands all on
        warnings.simplefilter("always", CheckpointNotSaved)
        yield said


async def _awaited(answer: Any) -> Any:
    return await answer


# --- outdated ---------------------------------------------------------------------------


@click.command()
@module_argument
@store_option
@answering
def outdated(module: str, store: Path | None) -> Outcome:
    """Say which results a call would not return as is.

    One row for each result that is published, pinned, or a map of items, and one column
    for each cause. MODULE, a dotted name or a file, is imported; nothing else is run, and
    no source is asked for its version. The exit code is 4 if anything is outdated.
    """
    from usher_pipeline.outdating import CAUSES, standings
    from usher_pipeline.runs import current_run

    found = checkpoints_in(module)
    with in_store(store):
        rows = standings(found)
        path = current_run().backend.path
    stored = {each.name for each in rows}
    lacking = [each.name for each in found if each.name not in stored]
    data = {
        "store": path,
        "module": module,
        "results": [_plain(each) for each in rows],
        "without_result": lacking,
    }
    columns = ["name", "result", "key", *CAUSES]
    blocks: list[Block] = [Grid("", columns, [_row(each, CAUSES) for each in rows])]
    blocks += [Line(_why(each)) for each in rows if each.causes]
    if lacking:
        blocks.append(Line(f"nothing is stored of: {', '.join(lacking)}"))
    blocks += [Line(f"can not be told of {e.name}: {e.problem}") for e in rows if e.problem]
    is_any = any(each.is_outdated or each.problem for each in rows)
    return Outcome(data, blocks, FOUND if is_any else DONE)


def _plain(each: Standing) -> dict[str, Any]:
    return {
        "name": each.name,
        "role": each.role,
        "key": each.key,
        "is_outdated": each.is_outdated,
        "causes": {cause: list(said) for cause, said in each.causes.items()},
        "problem": each.problem,
    }


def _row(each: Standing, causes: Sequence[Any]) -> tuple[str, ...]:
    marks = ["?" if each.problem else "yes" * (cause in each.causes) for cause in causes]
    return (each.name, each.role, each.key[:8], *marks)


def _why(each: Standing) -> str:
    said = "; ".join(line for lines in each.causes.values() for line in lines)
    return f"{each.name} {each.key[:8]}: {said}"
