"""The list of the frames in a dictionary is a plain table, and comes back by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from usher_pipeline.frames import adapter_of_kind
from usher_pipeline.frames.parts import PartRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from usher_pipeline.frames import Packed

ADAPTER: Any = adapter_of_kind("dict")
PARTS: Final = [
    PartRef("train", "splits__train", "polars.DataFrame", 3, "a1"),
    PartRef("test", "splits__test", "pandas.Series", 1, "b2"),
]


@pytest.mark.parametrize("parts", [PARTS, PARTS[::-1], []])
def test_a_list_survives_both_ways(
    parts: list[PartRef], both_ways: Callable[[Packed], list[Packed]]
) -> None:
    """The parts are the same, in the same order."""
    for sent in both_ways(ADAPTER.to_arrow(ADAPTER.collect(parts))):
        assert ADAPTER.from_arrow(sent.table, sent.schema) == parts


def test_what_is_no_list_is_refused() -> None:
    """A list is restored by its own schema, and takes in no rows."""
    packed = ADAPTER.to_arrow(PARTS)
    with pytest.raises(ValueError, match="no dict, format 1"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"kind": "polars.DataFrame"})
    with pytest.raises(ValueError, match="can not be added"):
        ADAPTER.holding("large_string", packed.table.column(0))
    assert ADAPTER.from_plain(packed.table) == PARTS
    assert ADAPTER.shape(PARTS) == (2, 5)
    assert ADAPTER.describe(PARTS)[0] == ("part", "large_string")
    assert ADAPTER.owns({})
    assert not ADAPTER.owns(PARTS)
