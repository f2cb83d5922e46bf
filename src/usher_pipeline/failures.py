"""What a failure says of another attempt: whether it is worth it, and when to make it.

The errors of HTTP libraries are known by what they look like, so that none has to be there.
"""

from __future__ import annotations

import copy
import errno
import json
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from usher_pipeline.errors import RemoteError

__all__ = ["error_type", "may_pass", "remote", "retry_after_s", "said"]

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
    if isinstance(problem, RemoteError):
        return problem.is_passing
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


# --- how it is told ---------------------------------------------------------------------


def error_type(problem: BaseException) -> str:
    """Return the class of an error, with its module where that is not Python's own.

    >>> error_type(KeyError("a")), error_type(json.JSONDecodeError("a", "b", 0))
    ('KeyError', 'json.decoder.JSONDecodeError')
    """
    if isinstance(problem, RemoteError):
        return problem.error_type
    kind = type(problem)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def said(problem: BaseException) -> str:
    """Return what an error says; some can not say it.

    >>> said(ValueError("no number"))
    'no number'
    """
    if isinstance(problem, RemoteError):
        return problem.text
    try:
        return str(problem)
    except Exception:  # noqa: BLE001 - whoever wrote it is to be blamed, not who caught it
        return "(an error that can not be shown)"


def remote(problem: Exception) -> Exception:
    """Return an error as it can be sent to another process: itself, or one in its place.

    Args:
        problem: What an attempt raised in a process that is not that of its caller.

    >>> remote(ValueError("no number"))
    ValueError('no number')
    """
    if _can_travel(problem):
        return problem
    found = RemoteError(
        error_type(problem),
        said(problem),
        is_passing=may_pass(problem),
        status=_status(problem),
        retry_after_s=retry_after_s(problem),
    )
    found.add_note("".join(traceback.format_exception(problem)))
    return found


#: What an error may hold and be built of again anywhere.
_PLAIN: Final = frozenset((str, bytes, int, float, bool, type(None)))


def _can_travel(problem: Exception) -> bool:
    """Tell whether an error can be built again where its class can be imported."""
    try:
        again = copy.copy(problem)
        held = [*problem.args, *vars(problem).values()]
    except Exception:  # noqa: BLE001 - it is built by code of anybody
        return False
    kind = type(problem)
    is_found = "<locals>" not in kind.__qualname__
    return type(again) is kind and is_found and all(type(each) in _PLAIN for each in held)


def _asked(value: object, name: str) -> Any:
    """Return an attribute, or None; one that can not be had says nothing."""
    with suppress(Exception):
        return getattr(value, name)
    return None
