"""What a store calls things on the disk: the name of a checkpoint, as a folder."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from usher_pipeline.errors import CheckpointNameError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_name", "folder_of", "safe_name"]

#: Tables of our own, and names that a database can not have in its main schema.
_RESERVED: Final = frozenset({"_checkpoints", "_provenance"})
_RESERVED_PREFIX: Final = "_usher_"
_LONGEST_PLAIN: Final = 120


def check_name(name: object) -> str:
    """Return the name of a checkpoint or table if it can be used.

    Raises:
        CheckpointNameError: It is empty, no text, reserved, or holds NUL.

    >>> check_name("gene universe/v1")
    'gene universe/v1'
    """
    if not isinstance(name, str):
        raise CheckpointNameError(name, f"expected text, got {type(name).__name__}")
    if not name.strip():
        raise CheckpointNameError(name, "it is empty")
    if name.casefold() in _RESERVED or name.casefold().startswith(_RESERVED_PREFIX):
        raise CheckpointNameError(name, "the store uses that table for itself")
    if "\0" in name:
        raise CheckpointNameError(name, "it holds a NUL character, which SQL can not quote")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise CheckpointNameError(name, "it holds half of a surrogate pair") from None
    return name


@lru_cache(maxsize=1024)
def safe_name(name: str) -> str:
    """Return the name of a checkpoint's folder: one path component on every system.

    Raises:
        CheckpointNameError: The name can not be one of a checkpoint.

    >>> safe_name("genes"), safe_name("../genes: v1")
    ('genes', '%2E.%2Fgenes%3A%20v1')
    """
    safe = quote(check_name(name), safe="")
    if safe[0] == ".":
        safe = "%2E" + safe[1:]
    if len(safe) > _LONGEST_PLAIN:
        mark = hashlib.sha256(name.casefold().encode()).hexdigest()[:16]
        safe = f"{safe[: _LONGEST_PLAIN - 17]}~{mark}"
    return safe


def folder_of(database: Path) -> Path:
    """Return the folder of checkpoints that lies beside a database.

    >>> from pathlib import Path
    >>> folder_of(Path("out/store.duckdb")).name
    'store.checkpoints'
    """
    name = database.stem if database.suffix == ".duckdb" else database.name
    return database.with_name(f"{name}.checkpoints")
