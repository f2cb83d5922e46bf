"""Config values → plain data, one canonical text, and its digest.

Models are recognised by what they offer, so that this module loads neither pydantic
nor YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from hashlib import sha256
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from usher_pipeline.errors import FingerprintError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["canonical_json", "digest", "members", "plain"]

#: Types whose own text says all that they hold.
_TEXT_TYPES: Final = (complex, date, time, timedelta, timezone, Decimal, Fraction, UUID)
#: The kinds of numpy's types that are numbers of Python in another size.
_NUMBERS: Final = frozenset("biufc")
#: Libraries of which the same is true.
_TEXT_LIBRARIES: Final = ("ipaddress", "pydantic", "pydantic_core")


def members(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the names and values of a mapping, a model or a dataclass; else None.

    Private attributes, computed fields and serializers of a model have no part in it.

    >>> dict(members({"a": 1})), members("a")
    ({'a': 1}, None)
    """
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, type):
        return None
    if hasattr(type(value), "model_fields") and hasattr(value, "__iter__"):
        model: Iterable[tuple[Any, Any]] = value
        return model
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(
        value, (str, bytes, bytearray, memoryview)
    )


def plain(value: Any) -> Any:
    """Return models and mappings as new dicts, sequences as new lists, leaves as they are.

    >>> plain({"a": (1, 2)})
    {'a': [1, 2]}
    """
    if (pairs := members(value)) is not None:
        return {key: plain(child) for key, child in pairs}
    if _is_list(value):
        return [plain(child) for child in value]
    return value


def canonical_json(value: Any) -> str:
    """Return the one JSON text that stands for a value.

    Keys are sorted, since their order in a config means nothing. A path counts as its
    text. What JSON has no form for is tagged by its type, so that a date differs from
    the text of the date; a secret is left out, so that changing it changes nothing.

    Raises:
        FingerprintError: A value is no data.

    >>> canonical_json({"b": 1.0, "a": [True, None]})
    '{"a":[true,null],"b":1.0}'
    """
    return json.dumps(_encoded(value, ""), sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON, as hexadecimal text.

    >>> digest({}) == sha256(b"{}").hexdigest()
    True
    """
    return sha256(canonical_json(value).encode("ascii")).hexdigest()


def _encoded(value: Any, path: str) -> Any:
    if getattr(getattr(value, "dtype", None), "kind", "") in _NUMBERS and not value.shape:
        # A number of numpy counts as the number; which library made it means nothing.
        value = value.item()
    if isinstance(value, Enum):
        return {f"!{type(value).__name__}": _encoded(value.value, path)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if (pairs := members(value)) is not None:
        return {_key(key, path): _encoded(child, f"{path}.{key}") for key, child in pairs}
    if _is_list(value):
        return [_encoded(child, f"{path}.{index}") for index, child in enumerate(value)]
    return {f"!{type(value).__name__}": _payload(value, path)}


def _key(key: Any, path: str) -> str:
    # A plain name never starts with "!", so tags and names can not be mixed up.
    if isinstance(key, str) and not isinstance(key, Enum) and not key.startswith("!"):
        return key
    return f"!key {json.dumps(_encoded(key, path), sort_keys=True)}"


def _payload(value: Any, path: str) -> Any:
    if isinstance(value, _TEXT_TYPES) or (isinstance(value, ZoneInfo) and value.key):
        return str(value)
    if isinstance(value, re.Pattern):
        return [_encoded(value.pattern, path), value.flags]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (set, frozenset)):
        return sorted(canonical_json(child) for child in value)
    if hasattr(value, "get_secret_value"):
        return None
    # Addresses of the web and the like, which only a model holds, are told by their text.
    if type(value).__module__.partition(".")[0] in _TEXT_LIBRARIES:
        return str(value)
    raise FingerprintError(
        path.removeprefix(".") or "config",
        type(value).__qualname__,
        "Keep data in the config, or mark the field as private.",
    )
