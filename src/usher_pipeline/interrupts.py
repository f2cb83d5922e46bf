"""Ctrl-C, held back for the moments in which it would leave something half done."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["held_back"]


@contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended, and raise then what it would have raised.

    For short blocks. Python calls the handler of a signal in the main thread alone, so that
    in another one there is nothing to hold back; nor is there where the signal is ignored,
    or ends the process without asking Python.

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
    signal.signal(signal.SIGINT, lambda *each: came.append(each))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[-1])
