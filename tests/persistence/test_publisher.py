"""Big tables are published behind the caller; what is left undone is done by the next one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline import checkpoint, configure
from usher_pipeline.persistence import PipelineStore, engine, publisher, tables
from usher_pipeline.persistence.local import LocalBackend, resolved
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE = Path("store.duckdb")
#: More rows than are published at once.
ROWS: Final = 1_000_000


@pytest.fixture(autouse=True)
def _store() -> Iterator[None]:
    configure(store=STORE)
    yield
    assert publisher.wait(resolved(STORE), 30)


def published() -> int | None:
    """Return how many rows the table has; None if there is none."""
    with duckdb.connect(str(STORE), read_only=True) as connection:
        found = connection.execute(
            "SELECT row_count FROM _checkpoints WHERE table_name = 'big'"
        ).fetchone()
        if found is None:
            return None
        (rows,) = connection.execute("SELECT count(*) FROM big").fetchall()
        assert rows == found
        return int(rows[0])


def pending() -> list[Path]:
    """Return the marks of what is meant to be published."""
    return list(STORE.with_suffix(".checkpoints").glob(".pending/*.json"))


@checkpoint(version="1")
def big(rows: int = ROWS) -> pl.DataFrame:
    """Return many rows."""
    return pl.DataFrame({"n": range(rows)})


def test_a_small_table_is_there_when_the_call_returns() -> None:
    """Nobody has to wait or ask for the table of a small frame."""
    big(1000)
    assert not publisher.is_busy(resolved(STORE))
    assert published() == 1000


def test_a_big_table_follows_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller has its frame while the table is not there yet; then it comes."""
    may_go_on = threading.Event()
    publish = LocalBackend.publish

    def waiting(self: LocalBackend, *args: Any) -> bool:
        assert threading.current_thread().name == "usher-publisher"
        assert may_go_on.wait(30)
        return publish(self, *args)

    monkeypatch.setattr(LocalBackend, "publish", waiting)
    assert big().height == ROWS
    assert big().height == ROWS
    assert publisher.is_busy(resolved(STORE))
    assert not publisher.wait(resolved(STORE), 0.01)
    assert len(pending()) == 1
    may_go_on.set()
    assert publisher.wait(resolved(STORE), 30)
    assert published() == ROWS
    assert pending() == []


def test_a_connection_has_what_is_on_its_way() -> None:
    """Who asks for `conn` finds the table, however big it is."""
    big()
    with PipelineStore(STORE) as store:
        assert store.conn.execute("SELECT count(*) FROM big").fetchone() == (ROWS,)


def test_the_newest_of_several_is_published() -> None:
    """Results that follow each other quickly leave the table of the last one."""
    for rows in (ROWS, ROWS + 1, 10, ROWS + 2):
        big(rows)
    assert publisher.wait(resolved(STORE), 60)
    assert published() == ROWS + 2
    assert pending() == []


def test_a_file_that_is_held_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program holds the file calls go on; when it lets go the table comes."""
    monkeypatch.setattr(publisher, "_FIRST_PAUSE_S", 0.05)
    big(10)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(STORE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    started = time.perf_counter()
    big(20)
    assert big(20).height == 20
    assert time.perf_counter() - started < 5
    assert not publisher.wait(resolved(STORE), 0.3)
    holder.communicate("go\n")
    assert publisher.wait(resolved(STORE), 30)
    assert published() == 20


HOLDER: Final = """if True:
    import duckdb, sys
    connection = duckdb.connect(sys.argv[1])
    print("held", flush=True)
    sys.stdin.readline()
    connection.close()
"""

PROGRAM: Final = """if True:
    import os, sys, time
    import polars as pl
    from usher_pipeline import checkpoint, configure
    from usher_pipeline.persistence import publisher
    configure(store="store.duckdb")

    @checkpoint(version="1")
    def big(rows: int = {rows}) -> pl.DataFrame:
        return pl.DataFrame({{"n": range(rows)}})

    print(big().height, flush=True)
    {then}
"""


def call(then: str = "", rows: int = ROWS) -> subprocess.CompletedProcess[str]:
    """Compute the big result in a process of its own."""
    program = PROGRAM.format(rows=rows, then=then)
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_interpreter_waits_for_it_at_its_end() -> None:
    """A script that ends right after the call leaves the table behind, and says nothing."""
    done = call()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ROWS}\n", "")
    assert published() == ROWS
    assert pending() == []


def test_the_interpreter_does_not_wait_for_long() -> None:
    """What takes too long at the end is rolled back, and done by the next opener."""
    done = call("publisher._AT_EXIT_S = 0.0", 4 * ROWS)
    assert (done.returncode, done.stderr) == (0, "")
    if pending():
        with duckdb.connect(str(STORE)) as connection:
            names = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
        # It is there whole, where the process ended before it had noted that it was done.
        assert "big" not in names or published() == 4 * ROWS
    with PipelineStore(STORE) as store:
        assert store.load_dataframe("big").height == 4 * ROWS
    assert publisher.wait(resolved(STORE), 30)
    assert published() == 4 * ROWS


def test_nobody_waits_until_a_table_is_a_segment_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large result that only its table still had comes at once, and is sealed after that."""
    expected = big()
    assert publisher.wait(resolved(STORE), 30)
    (segment,) = STORE.with_suffix(".checkpoints").glob("big/*.arrow")
    segment.unlink()
    goes_on, reseal = threading.Event(), Segments.reseal

    def later(*given: Any) -> Any:
        assert goes_on.wait(30)
        return reseal(*given)

    monkeypatch.setattr(Segments, "reseal", later)
    assert big().equals(expected)
    assert not segment.exists()
    goes_on.set()
    assert publisher.wait(resolved(STORE), 30)
    assert segment.exists()
    assert big().equals(expected)


def test_what_is_cleared_meanwhile_is_not_sealed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A result that only the table had is gone once it was cleared, whoever is at work."""
    big()
    assert publisher.wait(resolved(STORE), 30)
    folder = STORE.with_suffix(".checkpoints")
    shutil.rmtree(folder / "big")
    begun, goes_on, seal = threading.Event(), threading.Event(), Segments.seal

    def later(*given: Any) -> Any:
        begun.set()
        assert goes_on.wait(30)
        return seal(*given)

    monkeypatch.setattr(Segments, "seal", later)
    assert big().height == ROWS
    assert begun.wait(30)
    assert big.clear() == 1
    goes_on.set()
    assert publisher.wait(resolved(STORE), 30)
    assert big.entries() == []
    assert list(folder.glob("big/*")) == []


def test_no_more_than_one_result_is_held_to_be_sealed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads many large tables waits, and does not fill the memory with them."""
    for rows in (ROWS, ROWS + 1):
        big(rows)
        assert publisher.wait(resolved(STORE), 30)
    for segment in STORE.with_suffix(".checkpoints").glob("big/*.arrow"):
        segment.unlink()
    goes_on = threading.Event()

    def other() -> None:
        assert goes_on.wait(30)

    publisher.send(resolved(STORE), "another one", other)
    assert big(ROWS + 1).height == ROWS + 1
    assert len(list(STORE.with_suffix(".checkpoints").glob("big/*.arrow"))) == 1
    goes_on.set()


def test_what_comes_after_the_end_is_left_to_others() -> None:
    """Whoever asks of an interpreter that is ending does not wait for what nobody does."""
    ending = publisher._Publisher()
    ending.is_ending = True
    ending.ask(LocalBackend(STORE))
    ending.send(resolved(STORE), "some", lambda: None)
    assert not ending.is_at_work_for(resolved(STORE))
    assert ending.wait(resolved(STORE), 0.0)


def test_an_errand_that_fails_is_logged_and_the_next_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody is there to be told, and the thread goes on."""
    done = []

    def fail() -> None:
        raise OSError("No space left on device")

    publisher.send(resolved(STORE), "one", fail)
    publisher.send(resolved(STORE), "other", lambda: done.append("other"))
    assert publisher.wait(resolved(STORE), 30)
    assert done == ["other"]
    assert "No space left on device" in caplog.text


def test_who_waits_for_a_store_waits_for_its_housekeeping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the wait no thread of the process changes a file of the store."""
    goes_on = threading.Event()
    monkeypatch.setattr(LocalBackend, "keep_house", lambda _: goes_on.wait(30))
    backend = LocalBackend(STORE)
    publisher.send(backend.path, "housekeeping", backend.keep_house)
    assert not publisher.wait(resolved(STORE), 0.2)
    goes_on.set()
    assert publisher.wait(resolved(STORE), 30)


@pytest.mark.parametrize("pause_s", [0.0, 0.4, 0.8])
def test_what_becomes_free_as_the_interpreter_ends_is_not_forgotten(pause_s: float) -> None:
    """A newer result is published or marked, whenever the file becomes free."""
    assert call(rows=10).returncode == 0
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(STORE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    program = PROGRAM.format(rows=20, then="sys.stdin.readline()")
    ending = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ending.stdout is not None
    assert ending.stdout.readline() == "20\n"
    holder.communicate("go\n")
    time.sleep(pause_s)
    assert ending.communicate("go\n")[1] == ""
    assert published() == 20 or len(pending()) == 1
    PipelineStore(STORE).close()
    assert published() == 20


def test_a_killed_process_leaves_it_to_the_next() -> None:
    """After a kill the mark is there, and whoever opens the store publishes the table."""
    done = call("os.kill(os.getpid(), 9)")
    assert done.returncode == -signal.SIGKILL
    PipelineStore(STORE).close()
    assert publisher.wait(resolved(STORE), 30)
    assert published() == ROWS
    assert pending() == []


def test_a_fork_begins_with_nothing_to_publish() -> None:
    """A child does not wait for the thread of its parent, and publishes what is its own."""
    big()
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(60)
        try:
            assert not publisher.is_busy(resolved(STORE))
            assert big().height == ROWS
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_interrupted_statement_leaves_what_was() -> None:
    """To interrupt a session that writes rolls its transaction back."""
    big(10)
    tables = LocalBackend(STORE).tables

    def work() -> None:
        with tables.writing() as session:
            threading.Timer(0.2, engine.interrupt, [resolved(STORE)]).start()
            session.execute(f"DROP TABLE {session.table('big')}")
            session.execute("SELECT count(*) FROM range(10000000000) a, range(100) b")

    with pytest.raises(duckdb.InterruptException, match="Interrupted"):
        work()
    assert published() == 10


def test_a_full_disk_leaves_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can not be written now is published later; the older table stays meanwhile."""
    big(10)

    def full(*_: object) -> None:
        raise duckdb.IOException("IO Error: Could not write file: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("usher_pipeline.persistence.tables._put", full)
        patched.setattr(publisher, "_PATIENCE_S", 0.0)
        big(20)
        assert publisher.wait(resolved(STORE), 30)
        assert published() == 10
        assert len(pending()) == 1
    PipelineStore(STORE).close()
    assert published() == 20


def test_pieces_of_a_table_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rewritten for the table is let go of piece by piece, within the transaction."""
    monkeypatch.setattr(tables, "_AT_ONCE_BYTES", 1 << 21)
    held: list[int] = []
    add = tables._add

    def noted(session: Any, name: str, piece: pa.Table) -> None:
        held.append(pa.total_allocated_bytes())
        add(session, name, piece)

    monkeypatch.setattr(tables, "_add", noted)

    @checkpoint(version="1")
    def wide_texts() -> pl.DataFrame:
        return pl.select(n=pl.int_range(400_000).cast(pl.String).str.zfill(40))

    assert wide_texts().height == 400_000
    assert publisher.wait(resolved(STORE), 30)
    assert len(held) > 8
    assert max(held) - min(held) < 8 << 20


@pytest.mark.parametrize("is_ending", [False, True])
def test_what_an_end_interrupts_is_no_trouble(
    caplog: pytest.LogCaptureFixture, *, is_ending: bool
) -> None:
    """What fails is a warning in the log; not so what the end of an interpreter stops."""
    own = publisher._Publisher()

    def stopped() -> None:
        own.is_ending = is_ending
        raise RuntimeError("interrupted")

    own.errands[Path("store.duckdb"), "seal"] = stopped
    own._work()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * (not is_ending)


def test_the_end_does_not_wait_for_what_others_hold(held: Any) -> None:
    """While others hold the database there is nothing to wait for at the end of a script."""
    assert call().returncode == 0
    backend = LocalBackend(resolved(STORE))
    (entry,) = backend.recent("big")
    backend.segments.mark(entry, utc_now())
    own = publisher._Publisher()
    with held(backend.path):
        own.ask(backend)
        thread = own.thread
        assert thread is not None
        began = time.monotonic()
        own._end(thread)
        assert time.monotonic() - began < publisher._AT_EXIT_S / 2
    assert len(backend.segments.pending()) == 1


def test_the_end_is_patient_with_what_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter waits longer for a large table, so that somebody publishes it."""
    monkeypatch.setattr(publisher, "_AT_EXIT_S", 0.0)
    own = publisher._Publisher()
    done = threading.Event()

    class Slow:
        """A store whose table takes its time."""

        path = Path("store.duckdb")

        def publish(self) -> bool:
            """Take half a second, unless it is told to end before."""
            with own.changed:
                own.changed.wait_for(lambda: own.is_ending, 0.5)
                if not own.is_ending:
                    done.set()
            return True

    own.ask(cast("LocalBackend", Slow()), size_bytes=1_000_000_000)
    assert own.thread is not None
    own._end(own.thread)
    assert done.is_set()


AT_THE_END: Final = """if True:
    import atexit, threading, time
    from pathlib import Path
    from usher_pipeline.persistence import publisher
    from usher_pipeline.persistence.local import LocalBackend

    def late():
        publisher.ask(LocalBackend(Path("store.duckdb").absolute()))
        publisher.send(Path("store.duckdb"), "nothing", lambda: None)
        print([thread.name for thread in threading.enumerate() if "usher" in thread.name])

    atexit.register(late)
"""


def test_a_handler_of_the_end_starts_no_thread() -> None:
    """What is asked for when nobody waits for threads any more is left to the next opener."""
    command = [sys.executable, "-W", "error", "-c", AT_THE_END]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


#: Ends while something is published, which takes until somebody presses Ctrl-C. What is
#: pressed just before the main thread begins to wait would be heard when that is over.
ENDING: Final = """
import os, signal, sys, time
import polars as pl
from usher_pipeline import checkpoint
from usher_pipeline.persistence import publisher
from usher_pipeline.persistence.local import LocalBackend

def state():
    with open(f"/proc/self/task/{os.getpid()}/status") as file:
        return [line for line in file if line.startswith(("State:\tS", "voluntary_ctxt"))]

def is_waiting():
    before = state()
    time.sleep(0.05)
    return len(before) == 2 and state() == before

def publish(self, *args):
    deadline_s = time.monotonic() + 30
    while signal.getsignal(signal.SIGINT) is not publisher._hurry or not is_waiting():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    print("ending", flush=True)
    while not publisher._publisher.is_hurried and time.monotonic() < deadline_s:
        time.sleep(0.01)
    print("hurried" if publisher._publisher.is_hurried else "waited", flush=True)
    return True

LocalBackend.publish = publish

@checkpoint(version="1")
def big():
    return pl.DataFrame({"n": range(1_000_000)})

big()
"""


def test_ctrl_c_while_the_interpreter_ends_hurries_what_is_published() -> None:
    """Nobody sees a traceback of threads, nothing aborts, and the result is stored."""
    ended = subprocess.Popen(
        [sys.executable, "-c", ENDING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "USHER_STORE": str(STORE.resolve()), "USHER_QUIET": "1"},
    )
    assert ended.stdout is not None
    assert ended.stdout.readline() == "ending\n"
    ended.send_signal(signal.SIGINT)
    out, err = ended.communicate(timeout=60)
    assert (out, err, ended.returncode) == ("hurried\n", "", 0)
    assert len(pending()) == 1
    assert big().height == ROWS
    assert publisher.wait(resolved(STORE), 30)
    assert published() == ROWS


def test_a_handler_of_ctrl_c_that_somebody_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end only what Python itself would do is replaced."""
    monkeypatch.setattr(publisher._publisher, "thread", threading.current_thread())
    monkeypatch.setattr(publisher._publisher, "is_hurried", False)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        publisher._expect_hurry()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        publisher._expect_hurry()
        assert signal.getsignal(signal.SIGINT) is publisher._hurry
        publisher._hurry(signal.SIGINT, None)
        assert publisher._publisher.is_hurried
        # What is for others is raised as ever.
        monkeypatch.setattr(publisher._publisher, "thread", None)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            publisher._hurry(signal.SIGINT, None)
    finally:
        signal.signal(signal.SIGINT, before)
