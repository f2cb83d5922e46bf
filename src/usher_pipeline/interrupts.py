"""What ends a call from outside: Ctrl-C, and the wish of whoever waits for a thread.

Ctrl-C is held back where it would leave something half done.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["check", "ended_by", "held_back"]

#: What was pressed in the blocks that hold it back, outermost first.
_blocks: Final[list[list[tuple[int, Any]]]] = []
#: Raises where somebody wants the present call to end.
_ended: Final[ContextVar[Callable[[], None] | None]] = ContextVar("usher_ended", default=None)


@contextmanager
def held_back(pressed: Callable[[], object] | None = None) -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended, and raise then what it would have raised.

    Python calls the handler of a signal in the main thread alone, so that in another one
    there is nothing to hold back; nor is there where the signal is ignored, or ends the
    process without asking Python.

    Args:
        pressed: Called at once when it is pressed, to end what would take long; it may
            raise nothing.

    >>> import os
    >>> try:
    ...     with held_back():
    ...         os.kill(os.getpid(), signal.SIGINT)
    ...         print("to its end")
    ... except KeyboardInterrupt:
    ...     print("then Ctrl-C")
    to its end
    then Ctrl-C
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[tuple[int, Any]] = []

    def note(number: int, frame: Any) -> None:
        came.append((number, frame))
        if pressed is not None:
            pressed()

    _blocks.append(came)
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        _blocks.remove(came)
        if came:
            handler(*came[-1])


def ended_by(end: Callable[[], None]) -> None:
    """Let somebody end the waits of the present context.

    Args:
        end: Called by `check`; raises if they are to end.
    """
    _ended.set(end)


def check() -> None:
    """End a wait, if Ctrl-C that is held back was pressed, or somebody else wants it to end.

    Raises:
        KeyboardInterrupt: It was pressed.
        BaseException: Whatever `ended_by` was told.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and any(_blocks):
        raise KeyboardInterrupt
    end = _ended.get()
    if end is not None:
        end()
