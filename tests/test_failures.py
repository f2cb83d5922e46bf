"""What failed is known for what it is, whichever library says so."""

from __future__ import annotations

import email.message
import errno
import http.client
import json
import socket
import ssl
import urllib.error
from concurrent.futures import BrokenExecutor
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.errors import RemoteError
from usher_pipeline.failures import (
    _seconds,
    error_type,
    may_pass,
    remote,
    retry_after_s,
    said,
)

NOW: Final = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


def told(base: type[Exception] = Exception, module: str = "client", **facts: Any) -> Exception:
    """Return an error of a library that keeps these facts."""
    problem: Exception = type("LibraryError", (base,), {"__module__": module})()
    vars(problem).update(facts)
    return problem


def answered(status: int, **headers: str) -> urllib.error.HTTPError:
    """Return what urllib raises for an answer."""
    message = email.message.Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return urllib.error.HTTPError("http://api", status, "", message, None)


def not_json() -> Exception:
    """Return what cut-off JSON raises."""
    try:
        json.loads('{"a": ')
    except json.JSONDecodeError as problem:
        return problem
    raise AssertionError


PASSING: Final = [
    ConnectionResetError(),
    ConnectionRefusedError(),
    TimeoutError(),
    BrokenPipeError(),
    OSError(errno.ENETUNREACH, "no network"),
    OSError(errno.EHOSTUNREACH, "no route"),
    socket.gaierror(socket.EAI_AGAIN, "no name"),
    urllib.error.URLError(ConnectionResetError()),
    urllib.error.URLError("proxy error"),
    ssl.SSLError(1, "eof"),
    http.client.IncompleteRead(b""),
    http.client.RemoteDisconnected(""),
    http.client.BadStatusLine(""),
    not_json(),
    *(answered(status) for status in (408, 425, 429, 500, 501, 502, 503, 504, 520, 599)),
    told(status=503),
    told(code=503),
    told(status_code=429),
    told(response=SimpleNamespace(status_code=500)),
    told(response=SimpleNamespace(status=429)),
    told(ValueError, status=500),
    *(told(module=f"{each}.errors") for each in ("requests", "urllib3", "httpx", "httpcore")),
    told(module="aiohttp.client_exceptions"),
    told(OSError, "requests.exceptions"),
    told(module="aiohttp", status=200),
]
LASTING: Final = [
    FileNotFoundError(errno.ENOENT, "gone"),
    PermissionError(errno.EACCES, "no"),
    OSError(errno.ENOSPC, "full"),
    IsADirectoryError(),
    ValueError("no number"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    KeyError("symbol"),
    TypeError(),
    ZeroDivisionError(),
    Exception(),
    RuntimeError(),
    BrokenExecutor(),
    http.client.InvalidURL("a b"),
    ssl.SSLCertVerificationError(1, "expired"),
    urllib.error.URLError(FileNotFoundError()),
    *(answered(status) for status in (301, 304, 400, 401, 403, 404, 409, 410, 422, 451)),
    told(module="httpx", status_code=404),
    told(OSError, "requests.exceptions", response=SimpleNamespace(status_code=400)),
    told(ConnectionError, status=404),
    told(ValueError, "requests.exceptions"),
    told(module="httpxtra"),
    told(code="503"),
    told(code=5030),
    told(status=lambda: 503),
]


@pytest.mark.parametrize("problem", PASSING, ids=repr)
def test_what_another_time_may_do_passes(problem: Exception) -> None:
    """Failures of the connection, of the server and cut-off answers are worth an attempt."""
    assert may_pass(problem)


@pytest.mark.parametrize("problem", LASTING, ids=repr)
def test_what_another_attempt_would_only_meet_again_lasts(problem: Exception) -> None:
    """Refusals, missing files and errors of a parser are not."""
    assert not may_pass(problem)


def test_an_error_of_ones_own_is_that_of_its_library() -> None:
    """A class that derives from one of a library's errors is taken for it."""
    base = type("HTTPError", (OSError,), {"__module__": "requests.exceptions"})
    assert may_pass(type("MyError", (base,), {"__module__": "mine"})())


class Stubborn(Exception):  # noqa: N818 - what it is called is not its point
    """Says nothing of its answer."""

    @property
    def response(self) -> Any:
        """Raise."""
        raise RuntimeError("no response has been set")


def test_what_can_not_be_asked_says_nothing() -> None:
    """An error whose attributes raise is judged by its class, and asks for no pause."""
    assert not may_pass(Stubborn())
    assert retry_after_s(Stubborn()) is None


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (answered(429, Retry_After="7"), 7.0),
        (answered(503, retry_after=" 7 "), 7.0),
        (told(headers={"Retry-After": "1.5"}), 1.5),
        (told(headers={"retry-after": "2"}), 2.0),
        (told(headers={"Retry-After": 3}), 3.0),
        (told(response=SimpleNamespace(headers={"Retry-After": "4"})), 4.0),
        (told(headers={}, response=SimpleNamespace(headers={"Retry-After": "4"})), 4.0),
        (told(headers={"Retry-After": "0"}), 0.0),
        (told(headers={"Retry-After": "999999"}), 3600.0),
        (told(headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}), 0.0),
        (told(headers={"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}), 3600.0),
        (told(headers={"Retry-After": "soon"}), None),
        (told(headers={"Retry-After": "-5"}), None),
        (told(headers={"Retry-After": "nan"}), None),
        (told(headers={"Retry-After": ""}), None),
        (told(headers={}), None),
        (told(headers=None, response=None), None),
        (KeyboardInterrupt(), None),
    ],
    ids=repr,
)
def test_a_server_says_when_to_come_back(problem: BaseException, expected: float) -> None:
    """The header is read from wherever a library keeps it, and an hour is the most."""
    assert retry_after_s(problem) == expected


@given(st.integers(-(10**7), 10**7), st.integers(-12, 12))
def test_a_date_is_as_far_away_as_it_is(seconds: int, zone_h: int) -> None:
    """A date in whatever zone is counted from now."""
    at = (NOW + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=zone_h)))
    assert _seconds(format_datetime(at), NOW) == seconds


def test_a_date_without_a_zone_is_in_utc() -> None:
    """A server that does not know its zone is taken to mean UTC."""
    assert _seconds("Fri, 27 Nov 2026 08:00:09 -0000", NOW) == 9.0


# --- to another process -----------------------------------------------------------------


class TwoPartsError(Exception):
    """Can not be built again of its arguments, as many can not."""

    def __init__(self, what: str, *, status_code: int = 0) -> None:
        super().__init__(what)
        self.status_code = status_code
        if not status_code:
            raise TypeError


@pytest.mark.parametrize(
    "problem",
    [
        ValueError("no"),
        OSError(errno.ENOENT, "gone"),
        KeyError("a"),
        TimeoutError(),
        Exception(),
    ],
)
def test_an_error_of_plain_data_is_sent_as_it_is(problem: Exception) -> None:
    """Whoever catches it there catches its class."""
    assert remote(problem) is problem


@pytest.mark.parametrize(
    ("problem", "status", "passes"),
    [
        (TwoPartsError("refused", status_code=403), 403, False),
        (answered(503, Retry_After="7"), 503, True),
        (urllib.error.URLError(ConnectionResetError("gone")), None, True),
        (told(response=SimpleNamespace(status_code=429)), 429, True),
    ],
)
def test_what_can_not_be_sent_is_told(
    problem: Exception, status: int | None, *, passes: bool
) -> None:
    """Its class, text, status and pause are known, and whether it may pass."""
    found = remote(problem)
    assert isinstance(found, RemoteError)
    assert (error_type(found), said(found)) == (error_type(problem), said(problem))
    assert (found.status, may_pass(found)) == (status, passes)
    assert retry_after_s(found) == retry_after_s(problem)
    assert type(problem).__name__ in found.__notes__[0]


def test_an_error_that_can_not_say_what_it_is_is_told_as_well() -> None:
    """Its class is known."""

    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert said(remote(OddError())) == said(OddError()) == "(an error that can not be shown)"
