"""The list of the frames in a dictionary ↔ Arrow: what a plain table of its name says.

Each frame of a dictionary is stored under a name of its own. What is stored under the name
of the dictionary is this list, in the order of the dictionary, by which it is put together
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import pyarrow as pa

from usher_pipeline.frames.arrays import sized_table
from usher_pipeline.frames.contract import SCHEMA_FORMAT, Packed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ADAPTER", "PartRef", "PartsAdapter"]


class PartRef(NamedTuple):
    """Where one frame of a dictionary is stored.

    Attributes:
        part: Its key in the dictionary.
        table_name: The name that it is stored under.
        kind: What kind of frame it is.
        row_count: How many rows it has.
        content: Its fingerprint.
    """

    part: str
    table_name: str
    kind: str
    row_count: int
    content: str


_TEXT: Final = pa.large_string()
_TYPES: Final = (_TEXT, _TEXT, _TEXT, pa.int64(), _TEXT)


class PartsAdapter:
    """The verbs for the list of the frames in a `dict`."""

    kind: ClassVar[str] = "dict"
    tabular: ClassVar[str] = ""
    is_lazy: ClassVar[bool] = False

    def owns(self, value: object) -> bool:
        """Return whether `value` is a dictionary, and nothing that is derived from it."""
        return type(value) is dict

    def collect(self, frame: Sequence[PartRef]) -> Sequence[PartRef]:
        """Return the list itself."""
        return frame

    def to_arrow(self, frame: Sequence[PartRef]) -> Packed:
        """Return the list as Arrow table and schema."""
        columns = [
            pa.array([part[position] for part in frame], dtype)
            for position, dtype in enumerate(_TYPES)
        ]
        schema = {
            "kind": self.kind,
            "format": SCHEMA_FORMAT,
            "rows": len(frame),
            "labels": list(PartRef._fields),
            "dtypes": list(map(str, _TYPES)),
            "sql_names": list(PartRef._fields),
        }
        return Packed(sized_table(columns, len(frame)), schema, self.kind)

    def from_arrow(
        self,
        table: pa.Table,
        schema: Mapping[str, Any],
        *,
        copy: bool = False,  # noqa: ARG002 - nothing is shared
    ) -> list[PartRef]:
        """Return the list that `to_arrow` packed.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Changes nothing.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        known = (schema.get("kind"), schema.get("format")) == (self.kind, SCHEMA_FORMAT)
        if not known or table.num_columns != len(_TYPES):
            raise ValueError(f"the schema is of no {self.kind}, format {SCHEMA_FORMAT}")
        return [
            PartRef(*row)
            for row in zip(*map(pa.ChunkedArray.to_pylist, table.columns), strict=True)
        ]

    def from_plain(self, table: pa.Table) -> list[PartRef]:
        """Return the list in a table with its columns."""
        return [PartRef(*row.values()) for row in table.to_pylist()]

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Refuse rows that a function did not return.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{column.type} can not be added to {described} of a dictionary")

    def describe(self, frame: Sequence[PartRef]) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Return name and type of each column, as text."""
        return tuple(zip(PartRef._fields, map(str, _TYPES), strict=True))

    def shape(self, frame: Sequence[PartRef]) -> tuple[int, int]:
        """Return the numbers of frames and of facts about each."""
        return len(frame), len(_TYPES)


ADAPTER: Final = PartsAdapter()
