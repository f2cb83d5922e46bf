"""What threads and pools inherit from whoever started them.

A context variable does not reach a thread (PEP 567): what a pool reads would be read by
nobody, and a call in it would see another run. So the two doors of the standard library,
`Thread.start` and `ThreadPoolExecutor.submit`, pass on what is kept here. They are
wrapped when something is first kept, and for everybody else do what they always did.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from usher_pipeline import standins

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from usher_pipeline.standins import StandIn

__all__ = ["Inherited", "inherit", "is_foreign", "start_apart"]

T = TypeVar("T")

#: Where a thread holds what it inherited.
_PLACE: Final = "_usher_inherited"


class Inherited(Generic[T]):
    """A value of the present context, which threads and pools started in it share.

    Args:
        name: What it is called, for people.
    """

    def __init__(self, name: str) -> None:
        self._own: ContextVar[T | None] = ContextVar(name, default=None)
        _all.append(self)

    def get(self) -> T | None:
        """Return the value: the context's own, else the one that its thread inherited."""
        own = self._own.get()
        if own is not None:
            return own
        held: dict[Any, T] = threading.current_thread().__dict__.get(_PLACE, {})
        return held.get(self)

    def set(self, value: T) -> Token[T | None]:
        """Keep a value from now on; `reset` takes what this returns."""
        _open_doors()
        return self._own.set(value)

    def reset(self, token: Token[T | None]) -> None:
        """Have the value from before `set`.

        Raises:
            ValueError: It was set in another context.
        """
        self._own.reset(token)


_all: Final[list[Inherited[Any]]] = []


class _StandIns(Inherited["StandIn"]):
    """What stands in for the stores of the program, as tests need it."""

    def get(self) -> StandIn | None:
        """Return what stands in now; it is the process's, and no context has its own."""
        return standins.stands_in()

    def carried(self) -> StandIn | None:
        """Return what stood in where the present thread was started."""
        held: dict[Any, StandIn] = threading.current_thread().__dict__.get(_PLACE, {})
        return held.get(self)


def is_foreign() -> bool:
    """Tell whether the present thread is one that Python did not start.

    >>> is_foreign()
    False
    """
    return isinstance(threading.current_thread(), threading._DummyThread)  # noqa: SLF001


def _held() -> dict[Inherited[Any], Any]:
    found = {each: each.get() for each in _all}
    return {each: value for each, value in found.items() if value is not None}


def _open_doors() -> None:
    if threading.Thread.start is _plain_start:
        threading.Thread.start = _start  # type: ignore[method-assign,assignment]
        ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign,assignment]


_plain_start: Final = threading.Thread.start
_plain_submit: Final = ThreadPoolExecutor.submit


def _start(thread: threading.Thread) -> None:
    _plain_start(inherit(thread))


def inherit(thread: threading.Thread) -> threading.Thread:
    """Let a thread inherit from the caller, whoever starts it apart; return it.

    Args:
        thread: One that is not started.
    """
    thread.__dict__[_PLACE] = _held()
    return thread


def start_apart(thread: threading.Thread) -> None:
    """Start a thread that inherits nothing: it serves the process, and not its starter."""
    _plain_start(thread)


def _submit(
    pool: ThreadPoolExecutor, task: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    # A worker may be older than the context, or have been started in another one.
    return _plain_submit(pool, partial(_run_within, _held(), task), *args, **kwargs)


def _run_within(
    held: dict[Inherited[Any], Any], task: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    thread = threading.current_thread().__dict__
    before = thread.get(_PLACE, {})
    thread[_PLACE] = held
    try:
        return task(*args, **kwargs)
    finally:
        thread[_PLACE] = before


_stand_ins: Final = _StandIns("usher_stand_in")
standins.carry(_open_doors, _stand_ins.carried)
