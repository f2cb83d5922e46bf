"""What is a credential, by its name or within a text; its value is shown to nobody."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HIDDEN", "is_credential", "secret_texts", "without_credentials"]

HIDDEN: Final = "(hidden)"

#: Words that name a credential wherever they stand in a name.
_WORDS: Final = frozenset(
    (
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens"),
        *("credential", "credentials", "authorization", "auth", "bearer", "jwt", "apikey"),
        *("cookie", "cookies", "dsn"),
    )
)
#: What a name that is written in one word may end with.
_ENDINGS: Final = ("password", "passwd", "passphrase", "secret", "token", "apikey")
#: Words that make a credential of a key that follows.
_OF_KEYS: Final = frozenset(
    ("api", "access", "secret", "private", "auth", "ssh", "encryption", "signing", "master")
)
#: Two words that name one together.
_PAIRS: Final = frozenset((("connection", "string"), ("conn", "string"), ("conn", "str")))

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATOR: Final = re.compile(r"[^a-z0-9]+")

#: The user information of a URL (RFC 3986, 3.2.1).
_USER: Final = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]+@", re.IGNORECASE)
#: The credentials of HTTP (RFC 9110, 11.4) of schemes that are one text.
_SCHEME: Final = re.compile(r"\b(?P<scheme>bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
#: What has a name within a text: the query of a URL, a DSN, a header, an assignment.
_NAMED: Final = re.compile(r"(?P<name>[A-Za-z][\w.-]*)\s*[=:]\s*(?!//)")
#: What signs a URL, so that whoever has it may use it (AWS, Google, CloudFront, Azure).
_SIGNATURE: Final = re.compile(r"(?:[\w-]+-)?sig(?:nature)?=[\w%+/=-]{20,}", re.IGNORECASE)
_VALUE: Final = re.compile(r"\"[^\"]*\"|'[^']*'|[^&\s;,'\"]+")


#: A text that is shorter is no secret that could be kept.
_SHORTEST_SECRET: Final = 4


@lru_cache(maxsize=4096)
def is_credential(name: str) -> bool:
    """Tell whether a name is one that credentials usually have.

    >>> [is_credential(name) for name in ("api_key", "X-Api-Key", "dbPassword", "gnomad.token")]
    [True, True, True, True]
    >>> [is_credential(name) for name in ("key_column", "tokenizer", "author", "secretory")]
    [False, False, False, False]
    """
    words = [word for word in _SEPARATOR.split(_HUMP.sub("_", name).lower()) if word]
    words = [word.rstrip("0123456789") or word for word in words]
    pairs = list(pairwise(words))
    return (
        any(word in _WORDS or word.endswith(_ENDINGS) for word in words)
        or any(second in ("key", "keys") and first in _OF_KEYS for first, second in pairs)
        or not _PAIRS.isdisjoint(pairs)
    )


def secret_texts(values: Iterable[Any]) -> tuple[str, ...]:
    """Return what credentials may stand as in a text, the longest first.

    What is very short is left out: it stands in many a text by chance.

    Args:
        values: Credentials: texts, bytes, or what hands one out as `SecretStr` does.

    >>> secret_texts(["abc", "abcdef", b"abcdefgh", 5, None])
    ('abcdefgh', 'abcdef')
    """
    found = set[str]()
    for value in values:
        given = getattr(value, "get_secret_value", None)
        plain = given() if callable(given) else value
        text = plain.decode("utf-8", "replace") if isinstance(plain, bytes) else plain
        if isinstance(text, str) and len(text) >= _SHORTEST_SECRET:
            found.add(text)
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def without_credentials(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text with the credentials in it hidden, as far as they can be told.

    Args:
        text: A text.
        secrets: Texts that are known to be credentials, as `secret_texts` returns them.

    >>> without_credentials("https://me:abc@host/x?api_key=abc&q=1")
    'https://(hidden)@host/x?api_key=(hidden)&q=1'
    >>> without_credentials("no key abcdef", secrets=["abcdef"])
    'no key (hidden)'
    >>> without_credentials("host=db password=abc"), without_credentials("Bearer abcdef123")
    ('host=db password=(hidden)', 'Bearer (hidden)')
    """
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _SCHEME.sub(rf"\g<scheme> {HIDDEN}", text)
    return _without_named(text) if "=" in text or ":" in text else text


def _without_named(text: str) -> str:
    """Return a text without the values of credentials that are named in it.

    What another name stands before may itself begin with a name, as in ``error: token=...``.
    """
    pieces, end = [], 0

    def is_signed(found: re.Match[str]) -> bool:
        # Elsewhere a signature is one of genes, and `sig` a level of significance.
        return bool(_SIGNATURE.match(text, found.start())) and "://" in text[: found.start()]

    while (found := _NAMED.search(text, end)) is not None:
        is_hidden = is_credential(found["name"]) or is_signed(found)
        value = _VALUE.match(text, found.end()) if is_hidden else None
        pieces += [text[end : found.end()], HIDDEN if value is not None else ""]
        end = found.end() if value is None else value.end()
    return "".join(pieces) + text[end:]
