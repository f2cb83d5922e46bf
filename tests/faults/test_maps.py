"""A scan over thousands of items that is killed, edited and served badly gets there."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pytest

from usher_pipeline import checkpoint, configure
from usher_pipeline.errors import MapIncompleteError
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.maps import maps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASKING: Final = Path(__file__).with_name("asking.py")
COUNT: Final = 2000
KILLS: Final = 5


def numbers_of(gene: str) -> list[int]:
    """Return what the API knows of a gene; of three in twenty that is nothing."""
    number = int(gene.removeprefix("G"))
    return [] if number % 20 < 3 else [number, number + 1]


class Server(ThreadingHTTPServer):
    """Answers for genes, and counts what it is asked.

    Args:
        answer: Answers a request for a gene that came for the n-th time.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, str, int], None]) -> None:
        self.answer = answer
        self.asked: Counter[str] = Counter()
        self.arrived_s: list[float] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Take it from clients that were killed."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        gene = self.path.removeprefix("/")
        with self.server.lock:
            self.server.arrived_s.append(time.monotonic())
            self.server.asked[gene] += 1
            nth = self.server.asked[gene]
        self.server.answer(self, gene, nth)

    def log_message(self, *_: object) -> None:
        pass


def say(handler: BaseHTTPRequestHandler, status: int, text: str, **headers: str) -> None:
    """Send an answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(text.encode())


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, str, int], None]) -> Iterator[Server]:
    """Run a server during a block."""
    with Server(answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def begun(script: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that asks."""
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        env={**os.environ, "USHER_STORE": "store.duckdb", "USHER_LOG": "quiet"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(script: Path, *arguments: object) -> dict[str, Any]:
    """Return what a process that asks prints."""
    process = begun(script, *arguments)
    out, err = process.communicate()
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def stored_genes() -> list[str]:
    """Return the genes whose rows are on the disk."""
    segments = LocalBackend(Path("store.duckdb").absolute()).segments
    return [
        json.loads(answer.shown)
        for stored in maps_of(segments, "papers")
        for of_codes in stored.index().answers.values()
        for answer in of_codes.values()
    ]


def test_it_is_killed_again_and_again_and_asks_next_to_nothing_twice() -> None:
    """Every item is answered, the table is that of a call nobody disturbed.

    What was on the disk when a process was killed is never asked again.
    """

    def answer(handler: BaseHTTPRequestHandler, gene: str, _: int) -> None:
        # An API that answers within so long is a quick one. What a busy machine takes for the
        # commit of a part is asked again after a kill, and is little beside that.
        time.sleep(0.045)
        say(handler, 200, json.dumps(numbers_of(gene)))

    chance = random.Random()  # noqa: S311
    kept: dict[str, int] = {}
    moments = sorted(chance.sample(range(1, COUNT), KILLS))
    with serving(answer) as server:
        for moment in moments:
            process = begun(ASKING, server.port, COUNT)
            while len(server.asked) < moment and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
            process.communicate()
            for gene in stored_genes():
                kept.setdefault(gene, server.asked[gene])
        rows = said(ASKING, server.port, COUNT)["rows"]
        total = sum(server.asked.values())
        print(f"killed after {moments}: {total} requests for {COUNT} items")  # noqa: T201
        assert len(server.asked) == COUNT
        genes = [f"G{number}" for number in range(COUNT)]
        assert rows == [[gene, number] for gene in genes for number in numbers_of(gene)]
        assert {gene: server.asked[gene] for gene in kept} == kept
        assert total - COUNT <= COUNT // 100
        server.asked.clear()
        assert said(ASKING, server.port, COUNT)["rows"] == rows
        assert not server.asked


def test_a_parser_that_is_mended_asks_the_rest_alone() -> None:
    """After an edit it refuses and says how to go on; accepted, only the rest is asked."""
    broken = Path("asking.py")
    source = ASKING.read_text()
    bug = "    if gene == 'G1200':\n        raise ValueError('no such title')\n"
    marker = '    """Return an answer as rows."""\n'
    broken.write_text(source.replace(marker, marker + bug))

    def answer(handler: BaseHTTPRequestHandler, gene: str, _: int) -> None:
        say(handler, 200, json.dumps(numbers_of(gene)))

    with serving(answer) as server:
        failed = said(broken, server.port, COUNT)
        assert failed["failed"] == "no such title"
        assert "1,200 of 2,000 items are stored" in failed["notes"][0]
        assert len(server.asked) == 1201
        server.asked.clear()
        shutil.copyfile(ASKING, broken)
        refused = said(broken, server.port, COUNT)["refused"]
        assert "parsed() in asking.py changed" in refused
        assert "1,200 of 2,000 items that took" in refused
        assert "papers.mapped(over='gene').accept(...)" in refused
        assert "papers.mapped(over='gene').refresh(...)" in refused
        assert not server.asked
        assert said(broken, server.port, COUNT, "accept") == {"accepted": 1200}
        rows = said(broken, server.port, COUNT)["rows"]
        assert sum(server.asked.values()) == 800
        genes = [f"G{number}" for number in range(COUNT)]
        assert rows == [[gene, number] for gene in genes for number in numbers_of(gene)]
        empty = [gene for gene in genes if not numbers_of(gene)]
        assert len(empty) == 300
        server.asked.clear()
        said(broken, server.port, COUNT)
        assert not server.asked


#: What of each twenty genes goes wrong, and with which error that ends after all attempts.
CAUSES: Final = {
    5: ("urllib.error.HTTPError", 3),
    9: ("a line that is cut", 3),
    13: ("TimeoutError", 3),
    17: ("json.decoder.JSONDecodeError", 3),
    19: ("TypeError", 1),
}
#: Where in a request the line is cut is the chance of the network.
CUT: Final = ("ConnectionResetError", "http.client.RemoteDisconnected", "urllib.error.URLError")
RATE_PER_S: Final = 40


class BadDays:
    """Answers of a server, until it is mended."""

    def __init__(self) -> None:
        self.mended = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler, gene: str, nth: int) -> None:
        """Answer in one of many ways."""
        number = int(gene.removeprefix("G"))
        if self.mended.is_set():
            say(handler, 200, json.dumps(numbers_of(gene)))
            return
        match number % 20, nth:
            case (1, 1):
                say(handler, 429, "later", Retry_After="1" if number == 1 else "0")
            case (3, 1) | (5, _):
                say(handler, 500, "broken")
            case (7, 1) | (9, _):
                linger = b"\1\0\0\0\0\0\0\0"
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                handler.connection.close()
            case (11, 1) | (13, _) if number < 20:
                self.mended.wait(30)
            case (15, 1) | (17, _):
                say(handler, 200, "[1, 2")
            case (19, _):
                say(handler, 200, '{"unexpected": 1}')
            case _:
                say(handler, 200, json.dumps(numbers_of(gene)))


def scanned() -> Any:
    """Return a map over genes as somebody would write it."""

    @checkpoint(name="papers", ignore=["port"])
    def papers(gene: str, port: int) -> pl.DataFrame:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{gene}") as found:
                numbers = json.loads(found.read())
        except urllib.error.HTTPError as problem:
            problem.close()
            raise
        rows = [{"gene": gene, "number": number + 0} for number in numbers]
        return pl.DataFrame(rows, schema={"gene": pl.String, "number": pl.Int64})

    configure(store=Path("store.duckdb"))
    return papers.mapped(over="gene", workers=8, rate_per_s=RATE_PER_S, retries=2, timeout_s=2)


def test_a_server_on_its_bad_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """The map ends, each failure has its cause, the next call asks only those, at the rate."""
    monkeypatch.setattr("usher_pipeline.dispatching._FIRST_WAIT_S", 0.01)
    scan, answer = scanned(), BadDays()
    genes = [f"G{number}" for number in range(100)]
    with serving(answer) as server:
        with pytest.raises(MapIncompleteError, match="items failed") as caught:
            scan(genes, port=server.port)
        causes = {}
        for failure in caught.value.failures:
            error = "a line that is cut" if failure.error_type in CUT else failure.error_type
            causes[int(failure.item[1:])] = (error, failure.attempts)
        assert causes == {
            number: CAUSES[number % 20]
            for number in range(100)
            if number % 20 in CAUSES and (number % 20 != 13 or number < 20)
        }
        arrived = sorted(server.arrived_s)
        most = max(sum(begin <= other < begin + 1 for other in arrived) for begin in arrived)
        print(f"at most {most} requests in a second")  # noqa: T201
        assert most <= RATE_PER_S
        # Of the one that was told to wait a second all others have heard.
        assert max(later - before for before, later in pairwise(arrived)) > 0.9
        answer.mended.set()
        server.asked.clear()
        frame = scan(genes, port=server.port)
        assert {int(gene[1:]) for gene in server.asked} == set(causes)
        assert frame.rows() == [(gene, n) for gene in genes for n in numbers_of(gene)]


def test_items_come_and_go() -> None:
    """Those that are new are asked, and the result is of those that were asked for."""
    scan, answer = scanned(), BadDays()
    answer.mended.set()
    with serving(answer) as server:
        scan([f"G{number}" for number in range(100)], port=server.port)
        server.asked.clear()
        genes = [f"G{number}" for number in range(50, 200)]
        frame = scan(genes, port=server.port)
        assert sum(server.asked.values()) == 100
        assert frame.rows() == [(gene, n) for gene in genes for n in numbers_of(gene)]
