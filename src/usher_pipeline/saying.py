"""What a person who looks on is told of each call, and what is logged of it."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from usher_pipeline import display
from usher_pipeline.config.environment import variable
from usher_pipeline.records import Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usher_pipeline.records import Decision, Entry

    #: Takes of a call that returned its checkpoint, what it did, the entry that was used or
    #: made, if any, and how long it took, in seconds.
    Listener: TypeAlias = Callable[[str, Decision, Entry | None, float], object]

__all__ = ["is_quiet", "listening", "voice"]


class _Voice:
    """Prints what is new to a person who looks on, and logs every call.

    A loop is not to fill the screen: what was said is said again at 10, 100, 1000 calls
    that did the same for the same reason.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, str], int] = {}
        #: What else is told of every call.
        self.listeners: tuple[Listener, ...] = ()

    def say(self, name: str, decision: Decision, entry: Entry | None, elapsed_s: float) -> None:
        is_logged = _log.isEnabledFor(logging.INFO)
        if is_logged:
            _log.info(display.call_line(name, decision, entry, elapsed_s))
        for listener in self.listeners:
            listener(name, decision, entry, elapsed_s)
        reason = decision.remark if isinstance(decision, Hit) else decision.reason
        place = (name, type(decision).__name__, str(reason))
        self.counts[place] = count = self.counts.get(place, 0) + 1
        if count in _SAID_AT and self._is_heard():
            # A terminal that was closed meanwhile must not cost the result of hours.
            with suppress(OSError, ValueError):
                line = display.call_line(name, decision, entry, elapsed_s)
                shown = line if count == 1 else f"{line} · {count:,} calls"
                print(shown, file=sys.stderr)  # noqa: T201

    def say_anew(self, name: str) -> None:
        """Let the next call of a checkpoint be said as if it were the first.

        Args:
            name: The checkpoint, which a person asks for, and no loop.
        """
        for place in [place for place in list(self.counts) if place[0] == name]:
            self.counts.pop(place, None)

    def tell_waiting(self, name: str, holder: object | None, waited_s: float) -> None:
        """Say for whom a call waits, so that nobody takes it for one that hangs.

        Where nobody looks on it is a warning in the log, which is seen unless the program
        or ``USHER_LOG=quiet`` wants otherwise.

        Args:
            name: The checkpoint.
            holder: Who computes its result, if that is known.
            waited_s: How long it was waited so far, in seconds.
        """
        line = display.waiting_line(name, holder, waited_s)
        is_heard = self._is_heard()
        _log.log(logging.INFO if is_heard or is_quiet() else logging.WARNING, line)
        if is_heard:
            with suppress(OSError, ValueError):
                print(line, file=sys.stderr)  # noqa: T201

    def tell_resumed(self, name: str, stored: str, cursor: object) -> None:
        """Say that a function goes on where it was stopped.

        Args:
            name: The checkpoint.
            stored: What is stored of it, in words.
            cursor: Where it goes on.
        """
        line = f"{name} · goes on after {stored} · cursor {display.preview(cursor)}"
        _log.info(line)
        if self._is_heard():
            with suppress(OSError, ValueError):
                print(line, file=sys.stderr)  # noqa: T201

    @staticmethod
    def _is_heard() -> bool:
        if is_quiet():
            return False
        with suppress(AttributeError, ValueError):
            if sys.stderr.isatty():
                return True
        return "ipykernel" in sys.modules


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have every call of the process tell something what it did while a block runs.

    Args:
        listener: What is told; in the thread of the call, before the call returns.
    """
    # Replaced and not changed: calls of other threads may be on their way through it.
    with _listeners:
        voice.listeners = (*voice.listeners, listener)
    try:
        yield
    finally:
        with _listeners:
            kept = list(voice.listeners)
            kept.remove(listener)
            voice.listeners = tuple(kept)


def is_quiet() -> bool:
    """Tell whether who runs the program wants nothing to be shown: ``USHER_LOG=quiet``."""
    return variable("USHER_LOG").lower() == "quiet"


#: At which counts of one outcome it is said again: so rarely that nobody minds.
_SAID_AT: Final = frozenset(10**power for power in range(20))
_log: Final = logging.getLogger("usher_pipeline")
voice: Final = _Voice()
_listeners: Final = threading.Lock()
