"""Calls of a function for items, made here, elsewhere or on a loop, and taken apart."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from usher_pipeline import awaiting
from usher_pipeline.errors import InvalidResultError, UnsupportedFrameError
from usher_pipeline.failures import remote
from usher_pipeline.persistence.reads import Call
from usher_pipeline.returned import gather

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from usher_pipeline.fingerprint.binding import Bound
    from usher_pipeline.frames import Packed
    from usher_pipeline.records import Read
    from usher_pipeline.spreading import Item

__all__ = ["Asking", "Given", "Task", "computed", "sorted_rows"]


class Task(NamedTuple):
    """The items of one call of the function.

    Attributes:
        items: The items.
        argument: What the function is given: one item, or a list of them.
    """

    items: tuple[Item, ...]
    argument: Any


class Given(NamedTuple):
    """What the function gave for a task.

    Attributes:
        frame: The frame.
        reads: What the function read from stores.
        torn: What it read twice and found in two versions.
    """

    frame: Any
    reads: tuple[Read, ...]
    torn: tuple[str, ...]


@dataclass(frozen=True)
class Asking:
    """Calls the function for a task, here or in another process.

    Attributes:
        wrapped: The checkpoint; it is pickled by where it is found.
        args: Its arguments by position.
        kwargs: Its arguments by name.
        over: The parameter that takes the items.
        place: Its position among the arguments; -1 if it is given by name.
        home: The database of the store.
        pid: The process of the caller.
    """

    wrapped: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    over: str
    place: int
    home: Path
    pid: int

    @classmethod
    def of(cls, wrapped: Any, bound: Bound, over: str, home: Path) -> Asking:
        """Return what calls a function with the arguments of a call but for the items.

        Args:
            wrapped: The checkpoint.
            bound: The call.
            over: The parameter that takes the items.
            home: The database of the store.
        """
        args, kwargs = list(bound.args), dict(bound.kwargs)
        if over in kwargs:
            kwargs[over] = None
            return cls(wrapped, tuple(args), kwargs, over, -1, home, os.getpid())
        place = wrapped.__usher_declaration__.names.index(over)
        args[place] = None
        return cls(wrapped, tuple(args), kwargs, over, place, home, os.getpid())

    def begun(self, argument: Any) -> Any:
        """Call the function."""
        function = self.wrapped.__usher_declaration__.function
        if self.place < 0:
            return function(*self.args, **{**self.kwargs, self.over: argument})
        args = (*self.args[: self.place], argument, *self.args[self.place + 1 :])
        return function(*args, **self.kwargs)

    def call(self) -> Call:
        """Return what notes the reads of one call."""
        declared = self.wrapped.__usher_declaration__
        return Call(declared.name, declared.config, declared.inputs, self.home)

    def __call__(self, task: Task) -> Given:
        """Return what the function gives for a task, with all its values at hand."""
        try:
            with self.call() as call:
                frame = computed(call.name, self.begun(task.argument))
        except Exception as problem:
            if os.getpid() == self.pid or (sent := remote(problem)) is problem:
                raise
            raise sent from None
        return Given(frame, call.reads, tuple(call.torn))

    def on_loop(self, task: Task, timeout_s: float | None) -> Given:
        """Return the same of an asynchronous function, run by the loop of the caller."""
        with self.call() as call:
            frame = awaiting.result_of(self.begun(task.argument), timeout_s)
            frame = computed(call.name, frame)
        return Given(frame, call.reads, tuple(call.torn))


def computed(name: str, result: Any) -> Any:
    """Return what a function returned as one frame with its values at hand.

    Args:
        name: The checkpoint.
        result: What its function returned.

    Raises:
        InvalidResultError: It is no frame, or a dictionary of frames.
        UnsupportedFrameError: It can not be stored exactly.
    """
    if type(result) is dict:
        raise InvalidResultError(name, "a dict of frames, for an item of a map", result)
    return gather(name, result).computed


# --- the rows of a batch ----------------------------------------------------------------


def _as_in_rows(value: Any) -> Hashable:
    """Return an item, or what a column says of one, so that both are equal if they mean one.

    A column holds lists where an item is a tuple, and texts where it is a path.
    """
    if isinstance(value, (list, tuple)):
        return tuple(map(_as_in_rows, value))
    if isinstance(value, Mapping):
        return frozenset((name, _as_in_rows(each)) for name, each in value.items())
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        # It is not even equal to itself.
        return math.isnan
    return value if isinstance(value, Hashable) else id(value)


def sorted_rows(packed: Packed, items: Sequence[Item], column: str) -> tuple[Packed, list[int]]:
    """Return rows in the order of their items, and how many each item has.

    Args:
        packed: The rows of a batch.
        items: Its items.
        column: The column that says of which item a row is.

    Raises:
        UnsupportedFrameError: A row is of no item that was asked for.
    """
    from usher_pipeline.frames.streams import taken

    names = list(packed.schema["sql_names"])
    if column not in names:
        shown = ", ".join(map(repr, names))
        cure = "Return the column, which says of which item a row is, or map with another "
        raise UnsupportedFrameError(
            f"the item column {column!r}", f"missing among {shown}", cure + "item_column=."
        )
    place_of = {_as_in_rows(item.value): place for place, item in enumerate(items)}
    if len(place_of) < len(items):
        cure = "Ask for them in calls of their own, or one at a time."
        raise UnsupportedFrameError(
            f"the item column {column!r}", "the same for several items of the batch", cure
        )
    values = packed.table.column(names.index(column)).to_pylist()
    rows: list[list[int]] = [[] for _ in items]
    foreign: dict[str, None] = {}
    for position, value in enumerate(values):
        place = place_of.get(_as_in_rows(value))
        if place is None:
            foreign[repr(value)] = None
        else:
            rows[place].append(position)
    if foreign:
        shown = ", ".join(list(foreign)[:5])
        cure = "Return rows of the items that were asked for alone, under the names they had."
        raise UnsupportedFrameError(
            f"the item column {column!r}", f"with rows of {shown}, which nobody asked for", cure
        )
    order = [position for of_item in rows for position in of_item]
    if order != list(range(len(order))):
        packed = taken(packed, order)
    return packed, [len(of_item) for of_item in rows]
