"""The quick way to an answer that was given before.

A plain call — numbers, texts, truth values — that was a hit is answered again without
measuring it anew, while all that its answer depended on is the very same: run, project,
config, store, every name in the code, the folder of its entries, and the segment. What can
not be told by looking at a few identities and two files goes the long way.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from usher_pipeline import results, runs
from usher_pipeline.config import settings
from usher_pipeline.exporting import remember_origin
from usher_pipeline.freshness import lifetime
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.reads import current_call
from usher_pipeline.records import Hit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usher_pipeline.calls import Planned
    from usher_pipeline.config.settings import Project
    from usher_pipeline.config.values import ConfigView
    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.fingerprint.graph import CodeGraph
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.runs import Run

__all__ = ["Recalled", "again", "remember"]

_Place: TypeAlias = "tuple[Any, ...]"
_FolderState: TypeAlias = "tuple[int, int, int]"

#: Types of which equal values of one type can not be told apart; zero is looked at apart.
_PLAIN: Final = frozenset((str, bytes, int, float, bool, type(None)))
#: A folder that changed this short a time ago may change again within a tick of its clock.
_SETTLED_NS: Final = 1_000_000_000
_now_s: Final = time.time
#: How many calls of a function are remembered.
_MOST_CALLS: Final = 1024


class Recalled(NamedTuple):
    """A call that was a hit, with all that its answer depended on.

    Attributes:
        run: The run.
        project: The project that the working folder lies in.
        config: The config in force.
        backend: The store.
        graph: The code; None where a version stands for it.
        folder: Where the entries of the checkpoint are.
        state: What tells that an entry came or went there.
        segment: The segment.
        decision: What was decided.
        place: Under what the run notes the hit.
        fresh: Since when and until when it is not too old, in seconds of the clock; None if
            that does not matter.
    """

    run: Run
    project: Project
    config: ConfigView
    backend: LocalBackend
    graph: CodeGraph | None
    folder: str
    state: _FolderState
    segment: str
    decision: Hit
    place: tuple[str, str, str, str, str]
    fresh: tuple[float, float] | None


def again(
    declared: Declaration, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, Hit] | None:
    """Return what a call gave before if nothing that matters changed, and note the hit.

    Args:
        declared: The function.
        args: The positional arguments of the call.
        kwargs: Its named arguments.

    Returns:
        The frame with what was decided; None for all calls that have to go the long way.
    """
    place = _place(args, kwargs)
    known: Recalled | None = declared.recalled.get(place)
    if known is None or not _still_holds(known):
        return None
    entry = known.decision.entry
    frame = results.recalled(known.segment)
    if frame is None or not known.run.note_again(known.place, known.backend, entry):
        return None
    remember_origin(frame, entry, known.backend)
    return frame, known.decision


def _still_holds(known: Recalled) -> bool:
    run = known.run
    # A function that is running has to be told of what it calls.
    if runs.current_run() is not run or current_call() is not None:
        return False
    project = settings.project()
    if project is not known.project:
        return False
    config = run.config_in_force(project)
    if config is not known.config or run.backend_for(project, config) is not known.backend:
        return False
    if known.graph is not None and not known.graph.is_current():
        return False
    if known.fresh is not None and not known.fresh[0] <= _now_s() <= known.fresh[1]:
        return False
    return _state(known.folder) == known.state


def remember(planned: Planned, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Remember a call that was a hit, if it can be told quickly whether it is one again.

    Args:
        planned: The call.
        args: Its positional arguments, as they were given.
        kwargs: Its named arguments.
    """
    declared, decision = planned.declared, planned.decision
    if not isinstance(decision, Hit) or not _is_simple(planned, decision):
        return
    place = _place(args, kwargs)
    folder = f"{planned.backend.segments.folder}/{safe_name(declared.name)}"
    state = _state(folder)
    if place is None or state is None or time.time_ns() - max(state[:2]) < _SETTLED_NS:
        return
    if planned.backend.find(declared.name, planned.measured.digest) is not decision.entry:
        # Somebody stored another one between the decision and the look at the folder.
        return
    if len(declared.recalled) >= _MOST_CALLS:
        declared.recalled.clear()
    facts = planned.facts
    declared.recalled[place] = Recalled(
        planned.run,
        facts.project,
        facts.config,
        planned.backend,
        planned.measured.context.graph,
        folder,
        state,
        str(planned.backend.segments.segment(decision.entry)),
        decision,
        planned.run.place_of(planned.backend, decision.entry, "hit"),
        lifetime(declared, decision.entry),
    )


def _is_simple(planned: Planned, decision: Hit) -> bool:
    """Tell whether an answer depends on nothing but what a recalled call looks at."""
    declared, graph = planned.declared, planned.measured.context.graph
    return (
        decision.remark is None
        and not decision.entry.reads
        and not planned.form
        and results.is_shared(decision.entry)
        and declared.is_plain
        and (graph is None or not graph.checkpoints)
    )


def _place(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Place | None:
    """Return what tells one call from another; None if its arguments are not plain."""
    values = (*args, *kwargs.values()) if kwargs else args
    kinds = tuple(map(type, values))
    if not _PLAIN.issuperset(kinds):
        return None
    if float in kinds:
        for value in values:
            # A number has to equal itself and no other of its type; zeros have signs.
            if value.__class__ is float and (value != value or value == 0):  # noqa: PLR0124
                return None
    return kinds, values, tuple(kwargs)


def _state(folder: str) -> _FolderState | None:
    try:
        facts = os.stat(folder)  # noqa: PTH116 - on the way of every call
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino
