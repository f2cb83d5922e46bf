"""Python objects in a column come back as the very same objects, or are refused."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.frames import pandas_objects
from usher_pipeline.frames.pandas_types import UnstorableError

PLAIN: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CELLS: Any = st.one_of(
    st.lists(st.text() | st.none(), max_size=4),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.floats(), max_size=4),
    st.lists(PLAIN, max_size=4),
    st.dictionaries(st.text(), PLAIN, max_size=4),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.dates(),
    st.datetimes().map(lambda moment: moment.replace(fold=0)),
    st.times().map(lambda time: time.replace(fold=0)),
    st.timedeltas(dt.timedelta(-99999), dt.timedelta(99999)),
    st.binary(),
)


def column(*cells: Any) -> np.ndarray[Any, Any]:
    """Return these very objects as an array."""
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    return values


def spelled(cell: Any) -> Any:
    """Return a cell with the type of everything in it, and the order of its keys."""
    if isinstance(cell, dict):
        return [(key, spelled(item)) for key, item in cell.items()]
    if isinstance(cell, list):
        return [spelled(item) for item in cell]
    return type(cell), str(cell)


@given(cell=CELLS, missing=st.booleans())
def test_objects_of_one_type_survive(cell: Any, missing: bool) -> None:  # noqa: FBT001
    """A cell comes back with the type of everything in it."""
    values = np.empty(2 if missing else 1, dtype=object)
    values[0] = cell
    array, names = pandas_objects.pack(values)
    got = pandas_objects.unpack(pa.chunked_array([array]), *names)
    assert [spelled(each) for each in got] == [spelled(each) for each in values]


def test_lists_have_natural_columns() -> None:
    """SQL sees a list of texts as a list, and what is nested as JSON."""
    words, _ = pandas_objects.pack(column(["a"], None))
    nested, _ = pandas_objects.pack(column({"a": [1]}, None))
    assert words.type == pa.large_list(pa.large_string())
    assert nested.to_pylist() == ['{"a":[1]}', None]


def test_a_decimal_keeps_its_digits() -> None:
    """1.10 is not 1.1, and as text both are what they are."""
    array, names = pandas_objects.pack(column(Decimal("1.10"), Decimal("1.1")))
    got = pandas_objects.unpack(pa.chunked_array([array]), *names)
    assert list(map(str, got)) == ["1.10", "1.1"]


@pytest.mark.parametrize("bits", ["000000000000f87f", "010000000000f87f", "000000000000f8ff"])
def test_what_is_missing_keeps_its_bits(bits: str) -> None:
    """A NaN of other bits than the usual one is another value to whoever looks."""
    (nan,) = struct.unpack("<d", bytes.fromhex(bits))
    array, names = pandas_objects.pack(column("a", nan, nan))
    got = pandas_objects.unpack(pa.chunked_array([array]), *names)
    assert [struct.pack("<d", value).hex() for value in got[1:]] == [bits, bits]


def test_the_usual_nan_is_that_of_numpy() -> None:
    """So that `is` finds it, as it may have before."""
    array, names = pandas_objects.pack(column("a", np.nan))
    usual = np.nan
    assert pandas_objects.unpack(pa.chunked_array([array]), *names)[1] is usual
    with pytest.raises(ValueError, match="nothing missing is called 'nix'"):
        pandas_objects.unpack(pa.chunked_array([array]), "str", "nix")


def test_two_kinds_of_nan_are_refused() -> None:
    """A column has one way to say that something is missing."""
    (other,) = struct.unpack("<d", bytes.fromhex("010000000000f87f"))
    with pytest.raises(UnstorableError, match=r"in which nan .* and nan .* are missing"):
        pandas_objects.pack(column("a", np.nan, other))


def test_a_column_that_does_not_fit_is_refused() -> None:
    """A schema that says other objects than the column holds is an error."""
    with pytest.raises(ValueError, match="a column of int objects is stored as string"):
        pandas_objects.unpack(pa.chunked_array([["a"]]), "int", "None")
    with pytest.raises(ValueError, match="a column of secrets objects"):
        pandas_objects.unpack(pa.chunked_array([["a"]]), "secrets", "None")
