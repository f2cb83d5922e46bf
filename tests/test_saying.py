"""What people are told of a call, and what the log is."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

from usher_pipeline.records import Bypass
from usher_pipeline.saying import listening, voice

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        """Say that it is a terminal."""
        return True


class Closed(Terminal):
    """A terminal that was closed meanwhile."""

    def write(self, _: str) -> int:
        """Fail as a closed terminal does."""
        raise OSError


LINE = "genes · waiting for process 7 · 2 s so far"


def levels(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Return what was logged, and how loudly."""
    return [(record.levelno, record.message) for record in caplog.records]


def test_a_wait_is_shown_to_who_looks_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a terminal a wait is a line, and news in the log."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, "usher_pipeline"):
        voice.tell_waiting("genes", "process 7", 2.0)
    assert terminal.getvalue() == f"{LINE}\n"
    assert levels(caplog) == [(logging.INFO, LINE)]


def test_a_wait_that_nobody_sees_is_a_warning_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A job without a terminal that seems to hang says why, where its log is."""
    stream = io.StringIO()
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    voice.tell_waiting("genes", "process 7", 2.0)
    assert stream.getvalue() == ""
    assert levels(caplog) == [(logging.WARNING, LINE)]


def test_who_wants_it_quiet_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`USHER_LOG=quiet` leaves the news in the log, and no warning."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("USHER_LOG", "quiet")
    with caplog.at_level(logging.INFO, "usher_pipeline"):
        voice.tell_waiting("genes", "process 7", 2.0)
    assert terminal.getvalue() == ""
    assert levels(caplog) == [(logging.INFO, LINE)]


def test_a_terminal_that_was_closed_ends_no_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What can not be printed is in the log all the same."""
    monkeypatch.setattr(sys, "stderr", Closed())
    with caplog.at_level(logging.INFO, "usher_pipeline"):
        voice.tell_waiting("genes", "process 7", 2.0)
    assert levels(caplog) == [(logging.INFO, LINE)]


def test_a_listener_is_told_of_every_call_in_its_block() -> None:
    """What listens hears each call while its block runs, beside others that listen."""
    first: list[str] = []
    second: list[str] = []
    with listening(lambda name, *_: first.append(name)):
        with listening(lambda name, *_: second.append(name)):
            voice.say("genes", Bypass(), None, 0.1)
        voice.say("scores", Bypass(), None, 0.1)
    voice.say("panels", Bypass(), None, 0.1)
    assert (first, second) == (["genes", "scores"], ["genes"])
