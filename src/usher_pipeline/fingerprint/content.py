"""What a frame is, told from the digests of its columns; it needs none of the frame.

An entry is checked by this at every first look at it, so no library is loaded for it.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FRAME_FORMAT", "LENGTH", "combine", "framed"]

#: The version of the rules; it enters every digest of a frame.
FRAME_FORMAT: Final = 1

#: A length, as it stands before what it is the length of.
LENGTH: Final = struct.Struct("<q").pack

#: What a schema holds for people alone.
_COSMETIC: Final = frozenset(("sql_names",))


def combine(kind: str, schema: Mapping[str, Any], digests: Sequence[str]) -> str:
    """Return the digest of a frame whose columns are digested already.

    Args:
        kind: Whose frame it is.
        schema: Its schema, which may have gone through JSON.
        digests: The digests of the columns of its table, in order.
    """
    counted = {key: value for key, value in schema.items() if key not in _COSMETIC}
    hasher = xxhash.xxh3_128()
    framed(hasher, f"usher frame {FRAME_FORMAT}")
    framed(hasher, kind)
    framed(hasher, json.dumps(counted, sort_keys=True, allow_nan=False))
    for digest in digests:
        framed(hasher, digest)
    return hasher.hexdigest()


def framed(hasher: Any, text: str) -> None:
    """Hash a text with its length before it, so that no two rows of texts are alike."""
    data = text.encode("utf-8", "surrogatepass")
    hasher.update(LENGTH(len(data)))
    hasher.update(data)
