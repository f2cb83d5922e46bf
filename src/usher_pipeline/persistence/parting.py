"""Folders of parts: one for each thing that grows, ``<top>/<name>/<digest>/``.

What is unfinished and what is stored of maps lies in such folders. Their parts are numbered
files; a statement says what they are for; all of a folder goes at once, by a rename, so that
whoever is killed on the way leaves one that is swept.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from usher_pipeline.errors import CheckpointNameError
from usher_pipeline.persistence.places import safe_name

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ODD", "folders_in", "is_of", "numbered", "remove", "size_of_folder"]

#: What is raised where something else stands in a file than was written.
ODD: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

#: Stands in the name of a folder that is being removed.
_GONE: Final = "~"


def numbered(folder: Path, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """Return the files of a folder whose names fit a pattern, in the order of their names.

    Args:
        folder: The folder; if it is not there it has none.
        pattern: What the whole name has to fit.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    return [match for name in names if (match := pattern.fullmatch(name))]


def size_of_folder(folder: Path) -> int:
    """Return how big the files of a folder are, in bytes.

    Args:
        folder: The folder.
    """
    found = 0
    for path in folder.glob("*"):
        with suppress(OSError):
            found += path.lstat().st_size
    return found


def remove(folder: Path) -> None:
    """Remove all of a folder at once, and the one for its name if that is empty then.

    Args:
        folder: The folder; it need not be there.
    """
    gone = folder.with_name(f"{folder.name}{_GONE}{uuid4().hex[:8]}")
    with suppress(FileNotFoundError):
        folder.rename(gone)
        shutil.rmtree(gone)
    with suppress(OSError):
        folder.parent.rmdir()


def folders_in(top: Path) -> Iterator[tuple[Path, bool]]:
    """Yield each folder of parts with whether it is being removed.

    Args:
        top: Where all of one sort lie.
    """
    for folder in sorted(top.glob("*/*")):
        yield folder, _GONE in folder.name


def is_of(folder: Path, name: str) -> bool:
    """Tell whether a folder is where the parts of a checkpoint lie.

    Args:
        folder: The folder.
        name: The checkpoint, as a file in it says; whoever made that may have said anything.
    """
    try:
        return folder.parent.name == safe_name(name)
    except CheckpointNameError:
        return False
