"""What every frame library's adapter promises.

A frame is packed into an Arrow table, whose columns are named by position, and a
schema of plain data, which holds all that Arrow can not say: labels, exact types,
index, attributes. The two together restore exactly the frame that was packed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from usher_pipeline.errors import UnsupportedFrameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

__all__ = [
    "SCHEMA_FORMAT",
    "Adapter",
    "LazyAdapter",
    "Packed",
    "Source",
    "lays_views",
    "plain_only",
    "require_storable",
]

#: The format of the schemas that the adapters write.
SCHEMA_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Packed:
    """A frame as it is stored.

    Attributes:
        table: The values; the columns are named ``"0"``, ``"1"``, … by position, those of
            a pandas index after those of the data.
        schema: All else that is needed to restore the frame, as plain data. Common keys:
            ``kind``, ``format``, ``rows``, ``sql_names`` (one for each column of `table`).
        kind: Whose frame it is, such as ``polars.DataFrame``.
    """

    table: pa.Table
    schema: dict[str, Any]
    kind: str

    def of_kind(self, kind: str) -> Packed:
        """Return the same values as those of another kind of frame."""
        return replace(self, schema={**self.schema, "kind": kind}, kind=kind)


def lays_views(kind: str) -> bool:
    """Tell whether text in the frames of a kind lies as views, in memory and in segments.

    >>> lays_views("polars.DataFrame"), lays_views("pandas.DataFrame")
    (True, False)
    """
    return kind.startswith("polars.")


def plain_only(frame: object, kind: type, name: str) -> None:
    """Refuse a frame of a subclass, which may hold what nobody here knows of.

    Args:
        frame: The frame.
        kind: The class that it has to be of.
        name: What the class is called.

    Raises:
        UnsupportedFrameError: It is of another class.
    """
    if type(frame) is not kind:
        subclass = f"a {type(frame).__qualname__}, a subclass of {name}"
        cure = f"Store the plain one: {name}(...)."
        raise UnsupportedFrameError("the frame itself", subclass, cure)


def require_storable(packed: Packed) -> None:
    """Refuse a frame of which no plain table could be made that gives it back.

    Raises:
        UnsupportedFrameError: DuckDB has nothing for the type of a column.
    """
    from usher_pipeline.frames.table_schema import sql_type

    for name, field in zip(packed.schema["sql_names"], packed.table.schema, strict=True):
        try:
            sql_type(field.type)
        except ValueError as problem:
            cure = "Cast the column to another type, or drop it."
            where = f"{field.type} ({problem})"
            raise UnsupportedFrameError(f"column {name!r}", where, cure) from None


class Adapter(Protocol):
    """The verbs that are the same for every kind of frame."""

    #: What the adapter's frames are called in entries.
    kind: ClassVar[str]
    #: The kind of the data frame that has the same schema; empty if there is none.
    tabular: ClassVar[str]
    #: Whether its values are only computed when somebody asks for them.
    is_lazy: ClassVar[bool]

    def owns(self, value: object) -> bool:
        """Return whether `value` is a frame of this library, or of a subclass."""
        ...

    def collect(self, frame: Any) -> Any:
        """Return the frame with its values at hand; a lazy one is computed by this.

        The other verbs take what this returns; for a frame that is not lazy it is the
        frame itself.
        """
        ...

    def to_arrow(self, frame: Any) -> Packed:
        """Return the frame as Arrow table and schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        ...

    def from_arrow(
        self, table: pa.Table, schema: Mapping[str, Any], *, copy: bool = False
    ) -> Any:
        """Return exactly the frame that `to_arrow` packed.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Whether the frame must own its memory even where it could share the
                table's. A pandas frame always does.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        ...

    def from_plain(self, table: pa.Table) -> Any:
        """Return the natural frame of any Arrow table; its column names are the labels."""
        ...

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Args:
            described: The type so far.
            column: The values that come, as `to_arrow` packs them.

        Returns:
            The same type where it holds the values; else the next one of its kind: more
            categories, a number that may be missing.

        Raises:
            ValueError: No such type holds them.
        """
        ...

    def describe(self, frame: Any) -> tuple[tuple[str, str], ...]:
        """Return label and type of each data column, as text."""
        ...

    def shape(self, frame: Any) -> tuple[int, int]:
        """Return the numbers of rows and of data columns."""
        ...


class LazyAdapter(Adapter, Protocol):
    """What the adapter of a lazy kind can besides: to run a frame without holding it all."""

    def parts(self, frame: Any) -> Iterator[Any]:
        """Yield what the frame gives, in order, in parts that `to_arrow` takes; one at least.

        Raises:
            UnsupportedFrameError: A type in it does not come back exactly.
        """
        ...


class Source(Protocol):
    """Stored columns that are read when somebody asks for them."""

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        ...

    def columns(self, positions: Sequence[int]) -> pa.Table:
        """Return some columns, checked, in the order that is asked for.

        Raises:
            StoreError: What is stored is damaged, and there is no other copy.
        """
        ...

    def relieve(self) -> None:
        """Let go of the memory of what was read; it is read again where it is still used."""
        ...
