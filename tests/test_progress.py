"""How far a call has come: where it is shown, and that it is the truth."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any, Final
from unicodedata import east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline import configure, progress, run
from usher_pipeline.display import Progress
from usher_pipeline.progress import Pace, Shown, _Bar, _Lines, showing

if TYPE_CHECKING:
    from collections.abc import Iterator


# --- the rate ---------------------------------------------------------------------------

#: Steps between looks: how many items came, and within how many seconds.
STEPS: Final = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100)), max_size=60)


def rates(
    steps: list[tuple[int, int]], count: int = 0, at_s: float = 0.0
) -> list[float | None]:
    """Return what each look says."""
    pace = Pace()
    found = [pace.add(count, at_s)]
    for items, seconds in steps:
        count, at_s = count + items, at_s + seconds
        found.append(pace.add(count, at_s))
    return found


@given(st.floats(0.01, 100), st.lists(st.floats(0.1, 20), min_size=1, max_size=30))
def test_a_steady_rate_is_found(per_s: float, gaps_s: list[float]) -> None:
    """Of items that come steadily the rate is right, whenever it is looked at."""
    pace, now_s = Pace(), 0.0
    while now_s < 60 or now_s * per_s < 32:
        for gap_s in gaps_s:
            now_s += gap_s
            rate = pace.add(int(now_s * per_s), now_s)
    assert rate == pytest.approx(per_s, rel=0.1, abs=2 / 60)


@given(STEPS, st.integers(1, 20), st.integers(0, 100_000))
def test_what_was_long_ago_is_forgotten(
    history: list[tuple[int, int]], per_s: int, pause_s: int
) -> None:
    """A little more than a minute after a pause the rate is the one of now."""
    steps = [*history, (0, pause_s), *[(per_s, 1)] * 70]
    assert rates(steps)[-1] == pytest.approx(per_s)


@given(STEPS, st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_was_there_before_does_not_count(
    steps: list[tuple[int, int]], before: int, at_s: int
) -> None:
    """A count that begins elsewhere, at another time, has the same rates."""
    assert rates(steps, before, at_s) == rates(steps)


@given(STEPS)
def test_a_rate_is_possible_or_unknown(steps: list[tuple[int, int]]) -> None:
    """A rate is unknown, or as many as came in some time of a second at least."""
    total = sum(items for items, _ in steps)
    for rate in rates(steps):
        assert rate is None or 0 < rate <= total


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=300))
def test_a_pace_stays_small(steps: list[tuple[int, float]]) -> None:
    """However often it looks, it remembers a hundred looks at most."""
    pace, count, at_s = Pace(), 0, 0.0
    for items, seconds in steps:
        count, at_s = count + items, at_s + seconds
        pace.add(count, at_s)
        assert len(pace._looks) <= 100


def test_a_rate_is_unknown_at_first() -> None:
    """One item, or less than a second, says nothing of a rate."""
    assert rates([(1, 10), (1, 10)]) == [None, None, 0.1]
    assert rates([(500, 0), (0, 1)]) == [None, None, 500.0]


def test_slow_items_are_looked_at_for_long() -> None:
    """Of an item each ten minutes thirty count, not those of the last minute."""
    assert rates([(1, 600)] * 50)[-1] == pytest.approx(1 / 600)


# --- a screen ---------------------------------------------------------------------------

#: What a terminal does not show: colours, and the wish to clear the rest of a line.
CONTROL: Final = re.compile(r"\x1b\[[0-9;]*m|(\x1b\[K)|([^\x1b])", re.DOTALL)


def screen(written: str, width: int = 500) -> list[str]:
    """Return the lines that a terminal shows of what was written to it."""
    lines: list[list[str]] = [[]]
    column = 0
    for match in CONTROL.finditer(written):
        clears, character = match.groups()
        if clears:
            del lines[-1][column:]
        elif character == "\r":
            column = 0
        elif character == "\n":
            lines.append([])
        elif character:
            # A wide character takes two columns.
            cells = [character, ""] if east_asian_width(character) == "W" else [character]
            if column + len(cells) > width:
                lines.append([])
                column = 0
            lines[-1][column : column + len(cells)] = cells
            column += len(cells)
    return ["".join(line) for line in lines]


class Terminal(io.StringIO):
    """What a person looks at; it ends lines as terminals do."""

    def isatty(self) -> bool:
        """Say that it is a terminal."""
        return True

    def write(self, text: str) -> int:
        """Take a text."""
        return super().write(text.replace("\n", "\r\n"))

    def lines(self) -> list[str]:
        """Return what is to be seen, without the bar itself."""
        return [line.lstrip("━╸╺ ") for line in screen(self.getvalue())]


class Closed(Terminal):
    """A terminal that was closed meanwhile."""

    def write(self, text: str) -> int:
        """Fail as a closed terminal does."""
        raise OSError


class Clock:
    """A clock that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture(autouse=True)
def _free_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test that fails keep the terminal from the others."""
    monkeypatch.setattr(progress, "_seat", threading.Lock())


@pytest.fixture
def clock() -> Clock:
    """Return a clock that is set by hand."""
    return Clock()


def say(text: str, end: str = "\n") -> None:
    """Print, as the function of a user does."""
    print(text, end=end)  # noqa: T201


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal of 100 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def bar(terminal: Terminal, clock: Clock, name: str = "papers", before: int = 0) -> Shown:
    """Return what shows a call with 100 items on the terminal."""
    return Shown(name, 100, before, _Bar(terminal), clock)


def pass_time(shown: Shown, clock: Clock, seconds: float, done: int) -> None:
    """Let a call come so far, and be shown."""
    clock.now_s += seconds
    shown.update(done, 0, done)
    shown._show()


# --- on a terminal ----------------------------------------------------------------------


def test_a_terminal_shows_one_line(terminal: Terminal, clock: Clock) -> None:
    """What is drawn anew stays one line, and the last one says how it ended."""
    shown = bar(terminal, clock, before=10)
    for done in (10, 20, 30):
        pass_time(shown, clock, 10.0, done)
        line = f"papers  {10 + done}/100 · {10 + done} stored · 1/s · 1 min left"
        assert terminal.lines() == [line]
    shown.finish()
    assert terminal.lines() == ["papers  40/100 · 40 stored · took 30 s", ""]
    assert "━" in terminal.getvalue()


def test_what_is_over_at_once_is_not_shown(terminal: Terminal, clock: Clock) -> None:
    """Within half a second nothing flashes, at the end neither."""
    shown = bar(terminal, clock)
    pass_time(shown, clock, 0.4, 100)
    shown.finish()
    assert terminal.getvalue() == ""


def test_what_others_print_is_not_garbled(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prints and records of the log stand above the line, whole."""
    monkeypatch.setattr(sys, "stdout", terminal)
    handler = logging.StreamHandler(terminal)
    other = logging.getLogger("another_library")
    monkeypatch.setattr(other, "handlers", [handler])
    monkeypatch.setattr(other, "propagate", False)
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)
    say("one two")
    other.warning("three\nfour")
    say("five", end=" ")
    assert terminal.lines()[-1] == "five "
    pass_time(shown, clock, 10.0, 20)
    assert terminal.lines()[-1] == "five "
    say("six")
    above = ["one two", "three", "four", "five six"]
    assert terminal.lines() == [*above, "papers  20/100 · 20 stored · 1/s · 1 min left"]
    say("seven", end="")
    shown.finish("stopped")
    last = ["seven", "papers  20/100 · 20 stored · stopped after 20 s", ""]
    assert terminal.lines() == [*above, *last]
    say("eight")
    assert terminal.lines() == [*above, *last[:2], "eight", ""]
    assert "write" not in vars(terminal)


def test_what_goes_to_a_file_stays_there(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output that is a file gets what is printed, and nothing else."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)
    assert "write" not in vars(file)
    say("data")
    shown.finish()
    assert file.getvalue() == "data\n"
    assert "data" not in terminal.getvalue()


@pytest.mark.parametrize("width", [80, 60, 40, 20, 12])
def test_a_narrow_terminal_has_one_line(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """The line is never wrapped, also with a name of wide characters."""
    monkeypatch.setenv("COLUMNS", str(width))
    shown = bar(terminal, clock, "基因组基因组基因组基因组基因组基因组基因组")
    for done in (10, 20):
        pass_time(shown, clock, 10.0, done)
        assert len(screen(terminal.getvalue(), width)) == 1
    shown.finish("interrupted")
    assert len(screen(terminal.getvalue(), width)) == 2


def test_one_call_at_a_time_has_the_terminal(terminal: Terminal, clock: Clock) -> None:
    """A call within another one draws nothing; after the outer one the next has its turn."""
    outer, inner, later = (
        bar(terminal, clock, "outer"),
        bar(terminal, clock, "inner"),
        bar(terminal, clock, "later"),
    )
    for each in (outer, inner, later):
        pass_time(each, clock, 10.0, 10)
    inner.finish()
    outer.finish()
    pass_time(later, clock, 10.0, 20)
    later.finish()
    assert [line.split(" ")[0] for line in terminal.lines()] == ["outer", "later", ""]
    assert "inner" not in terminal.getvalue()


class Late(_Bar):
    """A bar that is closed while its thread makes the line."""

    def _rendered(self, progress: Progress) -> str:
        """Take long."""
        self.close()
        return "late"


def test_what_has_ended_is_not_drawn_again(terminal: Terminal) -> None:
    """After the last line neither what others print nor a thread that is late draws it."""
    form = _Bar(terminal)
    at = Progress("papers", 100, 10, 0, 10)
    form.show(at)
    form.end(at, "")
    terminal.write("of another thread\n")
    form.close()
    form.show(at)
    late = Late(terminal)
    late.show(at)
    assert terminal.lines() == [
        "papers  10/100 · 10 stored · took 0 ms",
        "of another thread",
        "",
    ]


def test_a_program_in_the_background_draws_nothing(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the shell has the terminal, its line is left alone."""
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    pass_time(shown, clock, 10.0, 20)
    assert terminal.lines() == ["papers  20/100 · 20 stored · 1/s · 1 min left"]
    drawn = terminal.getvalue()
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    terminal.write("from behind\n")
    assert terminal.getvalue() == f"{drawn}from behind\r\n"
    pass_time(shown, clock, 10.0, 30)
    shown.finish()


def test_a_forked_child_ends_nothing(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that leaves the block shows no end, and what it prints passes as it is."""
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)
    drawn = terminal.getvalue()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        shown.finish()
        terminal.write("of a child\n")
    assert terminal.getvalue() == f"{drawn}of a child\r\n"
    shown.finish()
    assert terminal.lines()[-2] == "papers  10/100 · 10 stored · took 10 s"


def test_who_takes_over_a_stream_keeps_it(terminal: Terminal, clock: Clock) -> None:
    """A `write` that was set before is set again, and one that was set meanwhile stays."""

    def before(text: str) -> int:
        return Terminal.write(terminal, text)

    terminal.write = before  # type: ignore[method-assign]
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)
    assert terminal.write is not before
    shown.finish()
    assert terminal.write is before
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)

    def meanwhile(text: str) -> int:
        return before(text)

    terminal.write = meanwhile  # type: ignore[method-assign]
    shown.finish()
    assert terminal.write is meanwhile


PROGRAM: Final = """
import time
from usher_pipeline.progress import showing

with showing("papers", 10**9, 5) as shown:
    for done in range(10**9):
        shown.update(done, 0, done)
        time.sleep(0.001)
"""


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_real_terminal_is_left_as_it_was(width: int, ends: signal.Signals) -> None:
    """However a program ends, the cursor was never hidden, and Ctrl-C has its last line."""
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (24, width))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=its, stdout=its, stderr=its, env=environment
    ) as program:
        os.close(its)
        written = b""
        is_sent = False
        for piece in pieces_of(ours):
            written += piece
            if b"1,000,000,000" in written and not is_sent:
                program.send_signal(ends)
                is_sent = True
    os.close(ours)
    shown = written.decode()
    assert "\x1b[?25" not in shown
    if ends is signal.SIGINT:
        assert program.returncode != 0
        lines = screen(shown, width)
        count = next(place for place, line in enumerate(lines) if "/1,000,000,000" in line)
        assert "Traceback" in lines[count + 1]
        assert ("interrupted" in lines[count]) == (width == 80)


def pieces_of(terminal: int) -> Iterator[bytes]:
    """Return what is written to a terminal, until nobody has it any more."""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece


# --- in the log -------------------------------------------------------------------------


def test_the_log_is_told_less_and_less_often(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """There is a line at the start, after 10 seconds, a minute, each five, and at the end."""
    shown = Shown("papers", 5_000, 1_000, _Lines(), clock)
    told = []
    with caplog.at_level(logging.INFO, "usher_pipeline"):
        for second in range(1, 1000):
            before = len(caplog.records)
            pass_time(shown, clock, 1.0, second)
            told += [second] * (len(caplog.records) - before)
        shown.finish()
    assert told == [1, 10, 60, 300, 600, 900]
    messages = [record.getMessage() for record in caplog.records]
    assert messages[1] == "papers  1,010/5,000 · 1,010 stored · 1/s · 1 h 6 min left"
    assert messages[-1] == "papers  1,999/5,000 · 1,999 stored · took 17 min"
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def use(shown: Shown, clock: Clock) -> None:
    """Use what shows a call as a call does, for ten seconds."""
    shown._clock = clock
    shown._began_s = shown._moved_s = clock()
    pass_time(shown, clock, 10.0, 10)
    shown.finish()


def look_away(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Let there be neither a terminal nor a notebook; return what standard error is."""
    made = io.StringIO()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    return made


def test_without_anybody_looking_it_is_logged(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody looks on, the log is told, and nothing is written."""
    nowhere = look_away(monkeypatch)
    with caplog.at_level(logging.INFO, "usher_pipeline"):
        use(showing("papers", 100, 0), clock)
    assert len(caplog.records) == 2
    assert nowhere.getvalue() == ""


def test_a_log_that_nobody_reads_costs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the log is not heard, nothing is started."""
    look_away(monkeypatch)
    assert not logging.getLogger("usher_pipeline").isEnabledFor(logging.INFO)
    with showing("papers", 100, 0) as shown:
        assert shown._thread is None


@pytest.mark.parametrize(
    ("name", "value"), [("USHER_LOG", "quiet"), ("TERM", "dumb"), ("TERM", "unknown")]
)
def test_where_nothing_may_be_drawn_it_is_logged(  # noqa: PLR0913, PLR0917 - fixtures
    terminal: Terminal,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
) -> None:
    """`USHER_LOG=quiet`, and a terminal on which nothing can be drawn over, leave the log."""
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO, "usher_pipeline"):
        use(showing("papers", 100, 0), clock)
    assert len(caplog.records) == 2
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("value", ["0", "false", "No", "OFF"])
def test_the_environment_turns_it_off(
    terminal: Terminal,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    """With `USHER_PROGRESS=0` nothing is shown, and nothing logged."""
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("USHER_PROGRESS", value)
    with caplog.at_level(logging.DEBUG, "usher_pipeline"):
        use(showing("papers", 100, 0), clock)
    assert terminal.getvalue() == ""
    assert caplog.records == []


def test_the_options_turn_it_off(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`configure(progress=False)` turns it off, and a run block that says otherwise wins."""
    monkeypatch.setattr(sys, "stderr", terminal)
    configure(progress=False)
    use(showing("papers", 100, 0), clock)
    assert terminal.getvalue() == ""
    with run(progress=True):
        use(showing("papers", 100, 0), clock)
    assert terminal.lines() == ["papers  10/100 · 10 stored · took 10 s", ""]
    configure(progress=True)
    with run(progress=False):
        use(showing("others", 100, 0), clock)
    assert "others" not in terminal.getvalue()


# --- what goes wrong --------------------------------------------------------------------


def test_a_closed_terminal_goes_on_in_the_log(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A terminal that is gone costs nothing: what it would show is logged."""
    terminal = Closed()
    shown = bar(terminal, clock)
    with caplog.at_level(logging.INFO, "usher_pipeline"):
        pass_time(shown, clock, 10.0, 10)
        shown.finish()
    assert [record.getMessage().split(" · ")[-1] for record in caplog.records] == [
        "1 min left",
        "took 10 s",
    ]
    assert "write" not in vars(terminal)


def test_a_print_outlives_the_terminal_of_the_bar(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard error that was closed is no error of who prints to standard output."""
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)
    terminal.close()
    say("still here")
    shown.finish()
    assert output.lines() == ["still here", ""]


class Broken:
    """A way to show it that fails in ways of its own."""

    each_s = 1.0
    is_closed = False

    def show(self, progress: Progress) -> None:
        """Fail."""
        raise RuntimeError("the kernel died")

    def end(self, progress: Progress, outcome: str) -> None:
        """Fail."""
        raise RuntimeError("the kernel died")

    def close(self) -> None:
        """Give back what it holds."""
        self.is_closed = True


def test_nothing_that_fails_reaches_the_caller(clock: Clock) -> None:
    """Whatever is raised where it is shown, the call goes on, and nothing stays taken."""
    form = Broken()
    shown = Shown("papers", 100, 0, form, clock)
    pass_time(shown, clock, 10.0, 10)
    shown.finish()
    assert form.is_closed


class Watched(Broken):
    """A way to show it that is looked at."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def show(self, progress: Progress) -> None:
        """Remember it."""
        self.said.append(progress.done)

    def end(self, progress: Progress, outcome: str) -> None:
        """Remember it."""
        self.said.append(outcome)


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [(None, ""), (KeyboardInterrupt(), "interrupted"), (ValueError("x"), "stopped")],
)
def test_a_block_says_how_it_ended(
    clock: Clock, problem: BaseException | None, outcome: str
) -> None:
    """An error ends it as stopped, Ctrl-C as interrupted; and all that it took is free."""
    form = Watched()
    shown = Shown("papers", 100, 0, form, clock)
    try:
        with shown:
            clock.now_s += 10
            if problem is not None:
                raise problem
    except (KeyboardInterrupt, ValueError):
        pass
    assert form.said == [outcome]
    assert form.is_closed
    assert shown._thread is not None
    assert not shown._thread.is_alive()


LEFT: Final = """
import logging, threading, time
from usher_pipeline.progress import showing

logging.basicConfig(level=logging.INFO, format="%(message)s")
is_told = threading.Event()
logging.getLogger("usher_pipeline").addFilter(lambda record: is_told.set() or True)

def work():
    with showing("papers", 100, 0) as shown:
        shown.update(10, 0, 10)
        time.sleep(3600)

threading.Thread(target=work, daemon=True).start()
is_told.wait()
"""


def test_a_program_that_ends_ends_what_it_shows() -> None:
    """A call in a thread that the interpreter does not wait for is told to have stopped."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT], capture_output=True, text=True, check=True
    )
    first, last = done.stderr.splitlines()
    assert first == "papers  10/100 · 10 stored · - left"
    assert last.startswith("papers  10/100 · 10 stored · stopped after ")


def test_a_call_ends_once(clock: Clock) -> None:
    """What was finished with words of its own is not finished again by its block."""
    form = Watched()
    with Shown("papers", 100, 0, form, clock) as shown:
        clock.now_s += 10
        shown.finish("stopped")
        shown.finish("interrupted")
    assert form.said == ["stopped"]


def test_a_stall_is_told(terminal: Terminal, clock: Clock) -> None:
    """While nothing comes the line says so, and promises no time."""
    shown = bar(terminal, clock)
    pass_time(shown, clock, 10.0, 10)
    pass_time(shown, clock, 900.0, 10)
    assert terminal.lines() == ["papers  10/100 · 10 stored · nothing for 15 min"]
    for done in range(11, 82):
        pass_time(shown, clock, 1.0, done)
    assert terminal.lines() == ["papers  81/100 · 81 stored · 1/s · 19 s left"]
    shown.finish()
