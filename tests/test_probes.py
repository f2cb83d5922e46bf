"""A probe asks a server which version of a file there is, and fetches nothing of it."""

from __future__ import annotations

import copy
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
import pytest

from usher_pipeline import checkpoint, run, url_modified
from usher_pipeline.errors import OptionError, ProbeError, StaleResultWarning
from usher_pipeline.fingerprint import values

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "planted0token0zz"  # noqa: S105 - it is looked for


class Server(ThreadingHTTPServer):
    """A server on this machine alone, that answers as it is told and notes what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        #: Path → status and headers.
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.refuses_head = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    body: ClassVar[bytes] = b"gene\n" * 1000

    def do_HEAD(self) -> None:
        """Answer with headers."""
        self._answer()

    def do_GET(self) -> None:
        """Answer with headers and a body."""
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append((self.command, self.path))
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        status, headers = self.server.answers.get(self.path, (404, {}))
        if self.command == "HEAD" and self.server.refuses_head:
            status, headers = self.server.refuses_head, {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_etag_is_the_version(server: Server) -> None:
    """What the server says under ETag is the answer, got with one request for headers."""
    server.answers["/genes"] = 200, {"ETag": '"v1"', "Last-Modified": "yesterday"}
    probe = url_modified(f"{server.url}/genes")
    assert probe() == 'ETag "v1"'
    server.answers["/genes"] = 200, {"ETag": 'W/"v2"'}
    assert probe() == 'ETag W/"v2"'
    assert server.asked == [("HEAD", "/genes")] * 2


def test_else_the_time_is_the_version(server: Server) -> None:
    """Without ETag the answer is what stands under Last-Modified; an empty one is none."""
    moment = "Mon, 16 Feb 2026 12:00:00 GMT"
    server.answers["/genes"] = 200, {"ETag": " ", "Last-Modified": moment}
    assert url_modified(f"{server.url}/genes")() == f"Last-Modified {moment}"


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_without_head_is_asked_for_the_beginning(server: Server, status: int) -> None:
    """Where HEAD is refused, GET asks for one byte."""
    server.refuses_head = status
    server.answers["/genes"] = 200, {"ETag": '"v1"'}
    assert url_modified(f"{server.url}/genes")() == 'ETag "v1"'
    assert [method for method, _ in server.asked] == ["HEAD", "GET"]
    assert server.headers[1]["range"] == "bytes=0-0"


def test_a_server_that_says_neither_is_no_source(server: Server) -> None:
    """Without both headers there is no version, and the error says what to do."""
    server.answers["/genes"] = 200, {}
    with pytest.raises(ProbeError, match=r"got neither.*State a version"):
        url_modified(f"{server.url}/genes")()


def test_a_status_that_is_no_success_is_an_error(server: Server) -> None:
    """What is not there, or fails, has no version; GET is not tried."""
    server.answers["/genes"] = 503, {"ETag": '"v1"'}
    with pytest.raises(ProbeError, match="/genes answered 503 Service Unavailable"):
        url_modified(f"{server.url}/genes")()
    assert server.asked == [("HEAD", "/genes")]


def test_a_server_that_is_down_is_an_error() -> None:
    """What can not be reached has no version; the cause is attached."""
    with Server() as server:
        url = server.url
    with pytest.raises(ProbeError, match=r"can not be asked: .*refused") as caught:
        url_modified(f"{url}/genes")()
    assert isinstance(caught.value.__cause__, OSError)


def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    """After the stated time a silent server is an error."""
    with Server() as server, pytest.raises(ProbeError, match=r"did not answer within 0\.05 s"):
        # It listens, and nobody serves.
        url_modified(f"{server.url}/genes", timeout_s=0.05)()


def test_what_is_no_http_is_an_error(server: Server) -> None:
    """A header that can not be sent is an error of the probe as well."""
    with pytest.raises(ProbeError, match="can not be asked: Invalid header value"):
        url_modified(f"{server.url}/genes", headers={"Accept": "a\nb"})()


def test_redirects_are_followed_without_fetching(server: Server) -> None:
    """The version is that of where the address leads, asked for by HEAD as well."""
    server.answers["/latest"] = 302, {"Location": "/v4"}
    server.answers["/v4"] = 200, {"ETag": '"v4"'}
    assert url_modified(f"{server.url}/latest")() == 'ETag "v4"'
    assert server.asked == [("HEAD", "/latest"), ("HEAD", "/v4")]


def test_a_circle_of_redirects_ends(server: Server) -> None:
    """An address that leads back to itself is an error."""
    server.answers["/latest"] = 302, {"Location": "/latest"}
    with pytest.raises(ProbeError, match="answered 302"):
        url_modified(f"{server.url}/latest")()


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_lead_nowhere_but_to_the_web(server: Server, place: str) -> None:
    """A server can not make the probe look at files or other services."""
    server.answers["/latest"] = 302, {"Location": place}
    with pytest.raises(ProbeError, match=r"answered 302|leads to an address of ftp"):
        url_modified(f"{server.url}/latest")()


def test_credentials_go_to_their_host_alone(server: Server) -> None:
    """Within a host they are sent along, to another one they are not."""
    headers = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET, "Accept": "text/csv"}
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        other.answers["/v4"] = 200, {"ETag": '"v4"'}
        server.answers["/latest"] = 302, {"Location": "/next"}
        server.answers["/next"] = 302, {"Location": f"{other.url}/v4"}
        assert url_modified(f"{server.url}/latest", headers=headers)() == 'ETag "v4"'
        other.shutdown()
        thread.join()
    assert [seen["x-api-key"] for seen in server.headers] == [SECRET, SECRET]
    assert SECRET not in str(other.headers)
    assert other.headers[0]["accept"] == "text/csv"


def test_the_user_of_an_address_is_sent_as_a_header(server: Server) -> None:
    """User and password in an address are what HTTP calls basic authentication."""
    server.answers["/genes"] = 200, {"ETag": '"v1"'}
    address = server.url.replace("://", "://me:p%40ss@")
    assert url_modified(f"{address}/genes")() == 'ETag "v1"'
    assert server.headers[0]["authorization"] == "Basic bWU6cEBzcw=="


def test_no_credential_is_shown(server: Server) -> None:
    """Neither its text nor its errors show what is secret."""
    address = server.url.replace("://", f"://me:{SECRET}@")
    probe = url_modified(
        f"{address}/genes?api_key={SECRET}&q=1", headers={"X-Api-Key": SECRET, "Accept": "x"}
    )
    assert "q=1" in repr(probe)
    assert SECRET not in repr(probe)
    with pytest.raises(ProbeError, match="answered 404") as caught:
        probe()
    assert SECRET not in str(caught.value)


def test_equal_probes_have_one_fingerprint() -> None:
    """A probe that is an argument or a constant counts by what it asks."""
    one, same = (url_modified("https://example.org/a", headers={"Accept": "x"}) for _ in "ab")
    assert one == same == copy.copy(one)
    assert hash(one) == hash(same)
    assert values.digest(one) == values.digest(same)
    assert values.digest(one) != values.digest(url_modified("https://example.org/b"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "ftp://example.org/x"}, r"url=\.\.\.\) expected an address of http or https"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://[::1"}, "url"),
        ({"url": "genes.tsv"}, "got 'genes.tsv'"),
        ({"url": 7}, "got 7"),
        ({"timeout_s": 0}, "seconds, more than 0, got 0"),
        ({"timeout_s": True}, "timeout_s"),
        ({"timeout_s": "10"}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"headers": {"Accept": 1}}, "headers"),
        ({"headers": [("Accept", "x")]}, "headers"),
    ],
)
def test_a_wrong_option_is_refused_at_once(options: dict[str, Any], problem: str) -> None:
    """What can not be asked is an error where it is stated, and not at the first call."""
    with pytest.raises(OptionError, match=problem):
        url_modified(**({"url": "https://example.org/x"} | options))


def test_a_refused_address_shows_no_credential() -> None:
    """Also an error about the address hides what is secret in it."""
    with pytest.raises(OptionError, match="hidden") as caught:
        url_modified(f"ftp://me:{SECRET}@example.org/x")
    assert SECRET not in str(caught.value)


# --- as a source ------------------------------------------------------------------------


def test_a_file_on_the_web_is_a_source(server: Server) -> None:
    """While the server says the same nothing is fetched; in a block it is asked but once."""
    server.answers["/genes"] = 200, {"ETag": '"v1"'}
    fetched: list[int] = []

    @checkpoint(
        name="web",
        sources={"genes": url_modified(f"{server.url}/genes")},
        ignore=["fetched"],
        stale_if_error=True,
    )
    def web(fetched: list[int] = fetched) -> pl.DataFrame:
        fetched.append(1)
        return pl.DataFrame({"fetched": [len(fetched)]})

    web()
    del server.asked[:]
    with run():
        for _ in range(3):
            assert web()["fetched"].item() == 1
    assert server.asked == [("HEAD", "/genes")]
    server.answers["/genes"] = 200, {"ETag": '"v2"'}
    assert str(web.explain()) == ('miss: source genes: ETag "v1" → ETag "v2" (probe)')
    assert web()["fetched"].item() == 2
    server.answers["/genes"] = 503, {}
    with pytest.warns(StaleResultWarning, match="answered 503 Service Unavailable"):
        assert web()["fetched"].item() == 2


def test_a_credential_is_nowhere_in_the_store(server: Server) -> None:
    """What the probe sends is no part of a key, and stands in no file."""
    server.answers[f"/genes?token={SECRET}"] = 200, {"ETag": '"v1"'}
    probe = url_modified(f"{server.url}/genes?token={SECRET}", headers={"X-Api-Key": SECRET})

    @checkpoint(name="web", sources={"genes": probe}, max_age="1d", stale_if_error=True)
    def web() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with run(store="store.duckdb"):
        web()
    server.answers.clear()
    with run(store="store.duckdb"), pytest.warns(StaleResultWarning, match="answered 404"):
        web()
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
