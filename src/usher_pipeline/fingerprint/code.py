"""Functions → what their code means, with everything first-party that they reach.

The walk is made once for each function and remembered; every later call checks that what
was found is still so.
"""

from __future__ import annotations

import sys
import threading
import types
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from usher_pipeline.fingerprint.encoder import importable_name, public_name
from usher_pipeline.fingerprint.graph import Work
from usher_pipeline.fingerprint.walk import checkpoint_in, is_owned, reached_from

if TYPE_CHECKING:
    from usher_pipeline.fingerprint.graph import CodeGraph
    from usher_pipeline.fingerprint.ownership import Ownership

__all__ = ["code_digest", "graph_of"]

#: Imports that import nothing more end the walk; others end here.
_MOST_WALKS: Final = 5

#: How often a graph is looked at again because its function was at work meanwhile.
_MOST_LOOKS: Final = 50

#: How many functions are remembered: one that is made anew for each call is never met again.
_REMEMBERED: Final = 4096


_Rule: TypeAlias = "tuple[Ownership, bool]"
_graphs: weakref.WeakKeyDictionary[Any, dict[_Rule, CodeGraph]] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def graph_of(function: Any, ownership: Ownership, *, with_defaults: bool = False) -> CodeGraph:
    """Return the code graph of a function; walked once, checked at every call.

    Args:
        function: The function as it was written, under its own decorators; or a class.
        ownership: Which code counts.
        with_defaults: Count the defaults of the function's own parameters, which a
            checkpointed function gets as arguments.

    Returns:
        The graph. Its parts are the same in every process and on every version of Python
        that the library supports, wherever the files lie.
    """
    rule = ownership, with_defaults
    known = _remembered(function).get(rule)
    if known is not None and known.is_current():
        return known
    return _walked(function, rule)


def _walked(function: Any, rule: _Rule) -> CodeGraph:
    """Return the graph of a function that was not met yet, or is another by now.

    What the function changes while it is at work must not be taken for an edit, nor what
    another thread makes of it while this one looks: then it looks again.
    """
    for _ in range(_MOST_LOOKS):
        known = _remembered(function).get(rule)
        work = known.work if known is not None else Work()
        changes = work.changes
        if known is not None and known.is_current():
            return known
        if work.count or work.changes != changes:
            continue
        graph = _walked_anew(function, rule)
        with _lock:
            remembered = _remembered(function)
            if remembered.get(rule) is known and work.changes == changes:
                graph.work = work
                remembered[rule] = graph
                return graph
    # Its code changed while it is at work.
    graph = _walked_anew(function, rule)
    with _lock:
        graph.work = work
        _remembered(function)[rule] = graph
    return graph


def _walked_anew(function: Any, rule: _Rule) -> CodeGraph:
    ownership, with_defaults = rule
    graph = reached_from(function, ownership, with_defaults=with_defaults)
    for _ in range(_MOST_WALKS):
        loaded = len(sys.modules)
        if loaded == graph.loaded:
            break
        # The walk itself imported a module, which may be what a name leads to now.
        graph = reached_from(function, ownership, with_defaults=with_defaults)
    counted = graph.as_counted()
    if counted:
        # What this function changes at work, another one at work has changed already.
        graph = reached_from(function, ownership, with_defaults=with_defaults, counted=counted)
    return graph


def _remembered(function: Any) -> dict[_Rule, CodeGraph]:
    if len(_graphs) > _REMEMBERED:
        _graphs.clear()
    try:
        return _graphs.setdefault(function, {})
    except TypeError:
        # A callable object without hash or weak references is walked at each call.
        return {}


def code_digest(
    thing: Any,
    ownership: Ownership,
    untracked: list[str] | None = None,
    graphs: list[CodeGraph] | None = None,
) -> bytes:
    """Return what stands for the code of a function or class met inside an argument.

    Args:
        thing: A function or a class.
        ownership: Which code counts.
        untracked: Takes what is reached and not watched, in words.
        graphs: Takes the graph of it.

    Returns:
        The digest of all that it reaches if it is first-party; the name of a foreign
        function; nothing for a foreign class, whose name says all.
    """
    checkpoint = checkpoint_in(thing)
    if checkpoint is not None:
        if checkpoint.__usher_version__ is not None:
            return f"version {checkpoint.__usher_version__}".encode()
        thing = checkpoint.__usher_function__
    if isinstance(thing, types.ModuleType):
        return b"module" if is_owned(thing, ownership) else b""
    if is_owned(thing, ownership):
        graph = graph_of(thing, ownership, with_defaults=True)
        if untracked is not None:
            untracked += [what for what in graph.untracked if what not in untracked]
        if graphs is not None:
            graphs.append(graph)
        return graph.digest.encode()
    if isinstance(thing, type):
        return b""
    name = public_name(thing).encode()
    if not isinstance(thing, types.FunctionType) or importable_name(thing) is not None:
        return name
    # It was made by a call: a foreign decorator may have put it around a function of the
    # user's, and a foreign factory may have put data into it.
    return name + graph_of(thing, ownership, with_defaults=True).digest.encode()
