"""Ctrl-C within a block that holds it back, and around it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from usher_pipeline.interrupts import check, held_back


def press() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def pressed_twice(done: list[str]) -> None:
    """Press twice within a block that holds it back, and do something after."""
    with held_back():
        press()
        press()
        done.append("all")


def failing() -> None:
    """Press in a block that fails after."""
    with held_back():
        press()
        raise ValueError("no")


def test_it_comes_after_the_block() -> None:
    """The block runs to its end, whatever is pressed how often; then it is raised once."""
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        pressed_twice(done)
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_raised_when_nothing_was_pressed() -> None:
    """A block without Ctrl-C leaves all as it was."""
    with held_back():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_comes_instead_of_the_error_of_the_block() -> None:
    """Who pressed Ctrl-C wanted an end more than an error; that is its context."""
    with pytest.raises(KeyboardInterrupt, match=r"^$") as caught:
        failing()
    assert isinstance(caught.value.__context__, ValueError)


def test_the_handler_of_others_is_called() -> None:
    """Somebody who takes Ctrl-C in another way gets it, when the block is done."""
    seen: list[str] = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("pressed"))
    try:
        with held_back():
            press()
            seen.append("done")
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["done", "pressed"]


def test_where_it_is_ignored_it_stays_so() -> None:
    """A process that ignores Ctrl-C goes on doing so."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back():
            press()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_has_nothing_to_hold_back() -> None:
    """A thread that is not the main one changes no handler, which Python would refuse."""
    seen = []

    def work() -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_it_is_told_at_once_to_who_could_end_something() -> None:
    """What takes long within the block can be ended when it is pressed."""
    seen: list[str] = []

    def block() -> None:
        with held_back(lambda: seen.append("told")):
            press()
            seen.append("done")

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        block()
    assert seen == ["told", "done"]


def test_a_wait_within_the_block_is_ended() -> None:
    """`check` ends what only waits; without a block, or a press, it does nothing."""
    done: list[str] = []

    def block() -> None:
        with held_back():
            check()
            with held_back():
                press()
            check()
            done.append("went on")

    check()
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        block()
    assert done == []
    check()
