"""What no adapter can give back is refused by every one of them, and listed in the docs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames.contract import Packed, plain_only, require_storable

_spec = importlib.util.spec_from_file_location(
    "unsupported", Path(__file__).with_name("unsupported.py")
)
assert _spec is not None
assert _spec.loader is not None
unsupported: Any = importlib.util.module_from_spec(_spec)
sys.modules["unsupported"] = unsupported
_spec.loader.exec_module(unsupported)


@pytest.mark.parametrize("what", unsupported.UNSUPPORTED)
def test_what_is_listed_is_refused(what: str) -> None:
    """The error names a part of the frame and says what to do."""
    problem = unsupported.refusal(unsupported.UNSUPPORTED[what]())
    assert problem is not None
    assert problem.column
    assert problem.type_name
    assert problem.cure.endswith(".")


def test_the_docs_list_what_is_refused() -> None:
    """The page is the one that the list makes; ``unsupported.py`` writes it."""
    page = unsupported.PAGE.read_text("utf-8")
    assert unsupported.BEGIN in page
    assert unsupported.written(page) == page


def test_a_type_without_a_column_of_sql_is_refused() -> None:
    """Whatever an adapter lets pass has to have a plain table."""
    kind = pa.month_day_nano_interval()
    packed = Packed(pa.table({"0": pa.nulls(1, kind)}), {"sql_names": ["x"]}, "any")
    with pytest.raises(UnsupportedFrameError, match=r"column 'x' is month_day_nano.*drop it"):
        require_storable(packed)
    require_storable(Packed(pa.table({"0": [1]}), {"sql_names": ["x"]}, "any"))


def test_only_the_very_class_is_plain() -> None:
    """An instance of a subclass is named with the class that it derives from."""
    plain_only(1, int, "builtins.int")
    with pytest.raises(UnsupportedFrameError, match=r"is a bool, a subclass of builtins\.int"):
        plain_only(True, int, "builtins.int")


def test_a_packed_frame_of_another_kind_is_another() -> None:
    """The values stay, the kind is said twice."""
    packed = Packed(pa.table({"0": [1]}), {"kind": "one"}, "one")
    other = packed.of_kind("two")
    assert (other.kind, other.schema, other.table) == ("two", {"kind": "two"}, packed.table)
    assert packed.schema == {"kind": "one"}
