"""Probes: what asks the world which version of a source there is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from usher_pipeline.display import preview
from usher_pipeline.errors import OptionError, ProbeError
from usher_pipeline.hiding import HIDDEN, is_credential, without_credentials

if TYPE_CHECKING:
    from email.message import Message

__all__ = ["UrlModified", "url_modified"]

#: What a server says that knows no HEAD, or not for this.
_REFUSED: Final = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_NO_HEADERS: Final[Mapping[str, str]] = {}
_SCHEMES: Final = ("http", "https")


def url_modified(
    url: str, *, timeout_s: float = 10.0, headers: Mapping[str, str] = _NO_HEADERS
) -> UrlModified:
    """Return a probe of a source that is a file on the web: has it been changed?

    It asks for the header of the file and fetches nothing of it. Its answer is what the
    server says under ``ETag``, else under ``Last-Modified``.

    Args:
        url: The address, of HTTP or HTTPS. Credentials in it are shown nowhere.
        timeout_s: How long to wait for the server at each step, in seconds.
        headers: More headers of the request, such as ``Authorization``. Credentials go to the
            host of the address alone, and not where it redirects to.

    Returns:
        What can be given as the version of a source.

    Raises:
        OptionError: One of them is not what it is to be.

    >>> url_modified("https://me:secret@example.org/genes.tsv")
    url_modified('https://(hidden)@example.org/genes.tsv')
    """
    _require("url", url, "an address of http or https", fits=_is_address(url))
    _require("timeout_s", timeout_s, "seconds, more than 0", fits=_is_time(timeout_s))
    _require("headers", headers, "texts: name → value", fits=_are_texts(headers))
    return UrlModified(url, float(timeout_s), tuple(headers.items()))


def _require(option: str, value: Any, expected: str, *, fits: bool) -> None:
    if not fits:
        raise OptionError("url_modified", option, expected, preview(value))


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < float(value) < math.inf


def _are_texts(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(text, str) for item in value.items() for text in item)


def _is_address(url: Any) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class UrlModified:
    """A probe that asks whether a file on the web has been changed; see `url_modified`.

    Attributes:
        url: The address.
        timeout_s: How long to wait for the server at each step, in seconds.
        headers: More headers of the request.
    """

    url: str
    timeout_s: float
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        shown = [repr(self._shown_url)]
        if self.headers:
            named = (
                (name, HIDDEN if is_credential(name) else without_credentials(value))
                for name, value in self.headers
            )
            shown.append(f"headers={dict(named)!r}")
        return f"url_modified({', '.join(shown)})"

    @property
    def _shown_url(self) -> str:
        return without_credentials(self.url)

    def __call__(self) -> str:
        """Return what the server says of the version of the file.

        Raises:
            ProbeError: It can not be reached, or says nothing of that.
        """
        found = self._headers_of("HEAD")
        if found is None:
            found = self._headers_of("GET")
        for name in ("ETag", "Last-Modified"):
            stated = (found.get(name) or "").strip() if found is not None else ""
            if stated:
                return f"{name} {stated}"
        raise ProbeError(
            f"expected ETag or Last-Modified of {self._shown_url}, got neither",
            cure="State a version of this source, or give a function of your own as its probe.",
        )

    def _headers_of(self, method: str) -> Message | None:
        """Return what the server answers; None if it knows no HEAD."""
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import Request

        address, headers = self._request()
        if method == "GET":
            # Of a file that can not be asked about, only the beginning is asked for.
            headers = {**headers, "Range": "bytes=0-0"}
        try:
            request = Request(address, headers=headers, method=method)  # noqa: S310 - see above
            with _opener().open(request, timeout=self.timeout_s) as answer:
                return answer.headers  # type: ignore[no-any-return]
        except HTTPError as problem:
            # It holds the connection.
            problem.close()
            if method == "HEAD" and problem.code in _REFUSED:
                return None
            raise self._failed(f"answered {problem.code} {problem.reason}") from problem
        except (OSError, HTTPException, ValueError) as problem:
            reason = getattr(problem, "reason", problem)
            if isinstance(reason, TimeoutError):
                said = f"did not answer within {self.timeout_s:g} s"
            else:
                said = f"can not be asked: {reason}"
            raise self._failed(said) from problem

    def _failed(self, said: str) -> ProbeError:
        line = " ".join(without_credentials(said).split())
        return ProbeError(f"{self._shown_url} {line}")

    def _request(self) -> tuple[str, dict[str, str]]:
        """Return the address without its user, who goes into a header, and the headers."""
        parts = urlsplit(self.url)
        headers = dict(self.headers)
        user, at, host = parts.netloc.rpartition("@")
        if at:
            from base64 import b64encode

            credentials = b64encode(unquote(user).encode("utf-8")).decode("ascii")
            headers.setdefault("Authorization", f"Basic {credentials}")
        return urlunsplit((parts.scheme, host, parts.path, parts.query, "")), headers


@cache
def _opener() -> Any:
    """Return what opens addresses: it asks for headers where it is led to, too."""
    from urllib.error import URLError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Redirected(HTTPRedirectHandler):
        def redirect_request(  # noqa: PLR0913, PLR0917 - the face is urllib's
            self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> Request | None:
            led = super().redirect_request(req, fp, code, msg, headers, newurl)
            if led is None:
                return None
            before, after = urlsplit(req.full_url), urlsplit(led.full_url)
            if after.scheme not in _SCHEMES:
                raise URLError(f"it leads to an address of {after.scheme or 'no scheme'}")
            # urllib goes on with GET, which would begin to fetch the file.
            led.method = req.get_method()
            if (before.scheme, before.netloc) != (after.scheme, after.netloc):
                for name in [name for name in led.headers if is_credential(name)]:
                    led.remove_header(name)
            return led

    return build_opener(Redirected)
