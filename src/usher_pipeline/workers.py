"""Work on columns that two threads share, where libraries let go of the interpreter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["side_by_side"]

T = TypeVar("T")
R = TypeVar("R")

#: More would wait for the memory, and a pipeline has other things to do besides.
_WORKERS: Final = 2
_WORTH_ROWS: Final = 1 << 15


def side_by_side(work: Callable[[T], R], items: Sequence[T], row_count: int) -> list[R]:
    """Return what some work gives for each item, in order, done by two threads.

    Args:
        work: What is done. It may be done once more for every item: an interpreter that is
            ending starts no thread any more, and then all of it is done here.
        items: For which, such as the columns of a table.
        row_count: How long they are; few rows are done sooner than a thread is started.

    >>> side_by_side(abs, [-1, 2], 1_000_000)
    [1, 2]
    """
    if len(items) > 1 and row_count >= _WORTH_ROWS:
        # RuntimeError is what an interpreter says that is ending.
        with suppress(RuntimeError), ThreadPoolExecutor(_WORKERS) as threads:
            return list(threads.map(work, items))
    return [work(item) for item in items]
