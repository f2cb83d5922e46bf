"""What a failure says of another attempt: whether it is worth it, and when to make it.

The errors of HTTP libraries are known by what they look like, so that none has to be there.
"""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["may_pass", "retry_after_s"]

#: A server that asks for more is asked again after this.
_LONGEST_PAUSE_S: Final = 3600.0
#: Not all of these are a `ConnectionError`.
_UNREACHABLE: Final = frozenset(
    (errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH)
)
#: Answers by which a server says that another time will do.
_PASSING: Final = frozenset((408, 425, 429))
#: Libraries whose errors are of the connection, where they are not of its use.
_CLIENTS: Final = frozenset(("aiohttp", "httpcore", "httpx", "requests", "ssl", "urllib3"))


def may_pass(problem: Exception) -> bool:
    """Tell whether what failed is worth another attempt by itself.

    So are failures of the connection, answers by which a server says so (408, 425, 429 and
    all from 500 on), and JSON that breaks off. Not so is what another attempt would only
    meet again: other answers, a file that is not there, an error of a parser.

    Args:
        problem: What an attempt raised, by whatever library.

    >>> may_pass(ConnectionResetError()), may_pass(KeyError("symbol"))
    (True, False)
    """
    status = _status(problem)
    if status is not None and status >= 300:  # noqa: PLR2004 - below it the server did well
        return status in _PASSING or status >= 500  # noqa: PLR2004 - the server's own faults
    if isinstance(problem, ValueError):
        # A wrong address or certificate is one, whichever library says so.
        return isinstance(problem, json.JSONDecodeError)
    return _is_of_the_connection(problem)


def _is_of_the_connection(problem: Exception) -> bool:
    import http.client
    import socket
    import urllib.error

    match problem:
        case urllib.error.URLError(reason=Exception() as reason):
            return may_pass(reason)
        case http.client.InvalidURL():
            return False
        case (
            ConnectionError()
            | TimeoutError()
            | socket.gaierror()
            | socket.herror()
            | urllib.error.URLError()
            | http.client.HTTPException()
        ):
            return True
        case OSError() if problem.errno in _UNREACHABLE:
            return True
    return any(base.__module__.partition(".")[0] in _CLIENTS for base in type(problem).__mro__)


def _status(problem: Exception) -> int | None:
    """Return the status of the answer that an error is about, as libraries keep it."""
    for holder in (problem, _asked(problem, "response")):
        for name in ("status_code", "status", "code"):
            value = _asked(holder, name)
            if isinstance(value, int) and 100 <= value <= 599:  # noqa: PLR2004 - RFC 9110, 15
                return int(value)
    return None


def retry_after_s(problem: BaseException) -> float | None:
    """Return for how long a server asked to be left alone, at most an hour.

    Args:
        problem: What an attempt raised. Looked at is the header ``Retry-After`` of its own
            ``headers`` or of those of its ``response``, in seconds or as a date.

    Returns:
        None if it asked for nothing that can be understood.

    >>> problem = ConnectionError()
    >>> problem.headers = {"Retry-After": "120"}
    >>> retry_after_s(problem)
    120.0
    """
    for holder in (problem, _asked(problem, "response")):
        get = _asked(_asked(holder, "headers"), "get")
        if callable(get):
            # Headers forget about case; where they do not, these two are usual.
            for name in ("Retry-After", "retry-after"):
                with suppress(Exception):
                    seconds = _seconds(str(get(name)).strip(), datetime.now(UTC))
                    return min(max(seconds, 0.0), _LONGEST_PAUSE_S)
    return None


def _seconds(text: str, now: datetime) -> float:
    """Return how far away the value of a header is (RFC 9110, 10.2.3).

    Raises:
        ValueError: It is neither seconds nor a date.
    """
    from email.utils import parsedate_to_datetime

    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    at = parsedate_to_datetime(text)
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()


def _asked(value: object, name: str) -> Any:
    """Return an attribute, or None; one that can not be had says nothing."""
    with suppress(Exception):
        return getattr(value, name)
    return None
