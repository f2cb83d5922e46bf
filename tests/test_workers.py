"""Work that threads share is done in order, and is done where there are no more threads."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from usher_pipeline.workers import side_by_side

MANY = 1 << 20


def test_answers_come_in_order_of_the_items() -> None:
    """Two threads work at once, and who is done first does not matter."""
    meet = threading.Barrier(2)

    def work(item: int) -> int:
        if item < 2:
            meet.wait(10)
        return item * item

    assert side_by_side(work, range(20), MANY) == [item * item for item in range(20)]


def test_little_work_is_done_here() -> None:
    """One item or few rows are not worth a thread, and no item is no work."""
    here = [threading.current_thread()] * 2
    assert side_by_side(lambda _: threading.current_thread(), [1, 2], 100) == here
    assert side_by_side(lambda _: threading.current_thread(), [1], MANY) == [
        threading.main_thread()
    ]
    assert side_by_side(abs, [], MANY) == []


def test_an_error_is_that_of_the_work() -> None:
    """It comes out as it is."""

    def work(item: int) -> float:
        return 1 / item

    with pytest.raises(ZeroDivisionError, match="by zero"):
        side_by_side(work, [1, 0], MANY)


def test_an_interpreter_that_ends_does_it_alone() -> None:
    """When no thread can be started any more the work is done all the same."""
    program = (
        "import threading, time\n"
        "from usher_pipeline.workers import side_by_side\n"
        "def late():\n"
        "    threading.main_thread().join()\n"
        "    time.sleep(0.5)\n"
        "    print(side_by_side(abs, [-1, -2], 1 << 20), flush=True)\n"
        "threading.Thread(target=late).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 2]\n", "", 0)
