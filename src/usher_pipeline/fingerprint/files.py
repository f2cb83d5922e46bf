"""Files and folders → a digest of their content.

A file that did not change is read once per process: its digest is remembered under
path, size, modification time and inode.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["path_digest"]

_CHUNK_BYTES = 1 << 20
_known: dict[tuple[str, int, int, int], str] = {}


def path_digest(path: Path) -> str:
    """Return what a path leads to, as a digest of the content.

    Args:
        path: A file, a folder, or nothing.

    Returns:
        ``file:…`` and ``folder:…`` with a digest; ``missing`` if nothing is there;
        ``other`` for a device, socket or pipe.

    Raises:
        OSError: The file or folder can not be read.

    >>> from pathlib import Path
    >>> path_digest(Path("no/such/file"))
    'missing'
    """
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if stat.S_ISREG(facts.st_mode):
        return f"file:{_file_digest(path, facts)}"
    if stat.S_ISDIR(facts.st_mode):
        return f"folder:{_folder_digest(path)}"
    return "other"


def _file_digest(path: Path, facts: os.stat_result) -> str:
    memo = (os.path.abspath(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)  # noqa: PTH100
    if memo not in _known:
        hasher = xxhash.xxh3_128()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
        _known[memo] = hasher.hexdigest()
    return _known[memo]


def _folder_digest(path: Path) -> str:
    hasher = xxhash.xxh3_128()
    for child in sorted(path.iterdir(), key=lambda child: os.fsencode(child.name)):
        for piece in (os.fsencode(child.name), path_digest(child).encode()):
            hasher.update(len(piece).to_bytes(8, "little") + piece)
    return hasher.hexdigest()
