"""Two frames have one digest exactly when their types and values are the same."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any, Final

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.fingerprint.content import FRAME_FORMAT, combine
from usher_pipeline.fingerprint.frames import column_digest, column_digests, frame_digest
from usher_pipeline.frames import Packed, adapter_for

#: Digests of format 1, by which its rules are held fast.
GOLDEN: Final = [
    "a7ab816c391522920e9787d50ba62be1",
    "d9883c424ebbbd35bc05eb7ff614d164",
    "aeb153ed4873b74c431778d26f9989d7",
    "d0f028f2fffe09ded3d5e2569af61432",
    "ca9f5028fafb66c4762d4480434b1997",
    "e62391df4dafebac65c431dcccd97a4a",
]
GOLDEN_FRAME: Final = "7dd5585ffbff9cfe77801c6240c71f04"

NESTED: Final = pa.struct([("l", pa.list_(pa.int16())), ("s", pa.large_string())])

#: Types with cells of theirs.
COLUMNS: Final[list[tuple[pa.DataType, st.SearchStrategy[Any]]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint8(), st.integers(0, 255)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
    (pa.large_binary(), st.binary(max_size=4)),
    (pa.binary(2), st.binary(min_size=2, max_size=2)),
    (pa.timestamp("us", "UTC"), st.integers(0, 2**50)),
    (pa.decimal128(20, 2), st.decimals(-1000, 1000, places=2)),
    (pa.list_(pa.int16()), st.lists(st.none() | st.integers(0, 9), max_size=3)),
    (pa.list_(pa.int16(), 2), st.lists(st.none() | st.integers(0, 9), min_size=2, max_size=2)),
    (pa.large_list(pa.string()), st.lists(st.none() | st.sampled_from(["", "a"]), max_size=3)),
    (
        pa.map_(pa.string(), pa.int8()),
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9))),
    ),
    (
        NESTED,
        st.fixed_dictionaries(
            {
                "l": st.none() | st.lists(st.integers(0, 9), max_size=2),
                "s": st.none() | st.just("x"),
            }
        ),
    ),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["", "a", "b"])),
    (pa.dictionary(pa.int8(), pa.int64()), st.integers(0, 3)),
    (
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        st.lists(st.none() | st.sampled_from("ab"), max_size=3),
    ),
    (pa.null(), st.none()),
]


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """Return random arrays of random types with nulls."""
    dtype, cells = draw(st.sampled_from(COLUMNS))
    return pa.array(draw(st.lists(st.none() | cells, max_size=20)), dtype)


def digest(*chunks: pa.Array, dtype: pa.DataType | None = None) -> str:
    """Return the digest of a column of these chunks."""
    return column_digest(pa.chunked_array(list(chunks), dtype))


# --- what does not count ----------------------------------------------------------------


@given(array=columns(), data=st.data())
def test_chunks_and_slices_do_not_count(array: pa.Array, data: st.DataObject) -> None:
    """Cut anywhere, shifted by anything, a column has the same digest."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(array)), max_size=3)))
    edges = [0, *cuts, len(array)]
    pieces = [array.slice(a, b - a) for a, b in pairwise(edges)]
    apart = [pa.concat_arrays([piece, piece.slice(0, 0)]) for piece in pieces]
    shifted = pa.concat_arrays([array.slice(0, 3), array]).slice(min(3, len(array)))
    whole = digest(array)
    assert digest(*pieces) == whole
    assert digest(*apart) == whole
    assert digest(shifted) == whole


@given(array=columns())
def test_another_value_has_another_digest(array: pa.Array) -> None:
    """With one value gone, doubled or moved, a column has another digest."""
    changed = [
        pa.concat_arrays([array, array.slice(0, 1)]),
        array.slice(1),
        array.take(
            pa.array(range(len(array)))[::-1] if len(array) else pa.array([], pa.int64())
        ),
    ]
    for other in changed:
        same = other.to_pylist() == array.to_pylist()
        assert (digest(other) == digest(array)) == same


@given(array=columns())
def test_a_digest_is_the_same_after_ipc(array: pa.Array) -> None:
    """What was written and read has the same digest."""
    sink = pa.BufferOutputStream()
    table = pa.table({"x": array})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    back = pa.ipc.open_file(sink.getvalue()).read_all()
    assert column_digests(back) == column_digests(table)


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        (pa.int32(), struct.pack("<3i", 1, 77, 3)),
        (pa.float64(), struct.pack("<3d", 1, 77, 3)),
        (pa.float16(), struct.pack("<3e", 1, 77, 3)),
        (pa.timestamp("ns"), struct.pack("<3q", 1, 77, 3)),
        (pa.decimal128(9, 1), b"".join(n.to_bytes(16, "little") for n in (1, 77, 3))),
        (pa.bool_(), b"\7"),
    ],
)
def test_bytes_under_nulls_do_not_count(dtype: pa.DataType, data: bytes) -> None:
    """Whatever lies under a null, the digest is that of the null."""
    buffers = [pa.py_buffer(b"\5"), pa.py_buffer(data)]
    hidden = pa.Array.from_buffers(dtype, 3, buffers)
    clean = pa.array(hidden.to_pylist(), dtype)
    assert digest(hidden) == digest(clean)
    assert digest(hidden.slice(1)) == digest(clean.slice(1))


@pytest.mark.parametrize(
    "dtype", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]
)
def test_text_under_nulls_does_not_count(dtype: pa.DataType) -> None:
    """Text that a null hides is not part of the digest, nor is its length."""
    code = "<4q" if dtype in (pa.large_string(), pa.large_binary()) else "<4i"
    offsets = pa.py_buffer(struct.pack(code, 0, 1, 7, 8))
    hidden = pa.Array.from_buffers(
        dtype, 3, [pa.py_buffer(b"\5"), offsets, pa.py_buffer(b"asecretb")]
    )
    clean = pa.array(hidden.to_pylist(), dtype)
    assert digest(hidden) == digest(clean)
    assert digest(hidden.slice(1)) == digest(clean.slice(1))


def test_lists_and_fields_under_nulls_do_not_count() -> None:
    """What a null list or a null struct hides is not part of the digest."""
    values, offsets = pa.array([1, 2, 3]), pa.array([0, 1, 2, 3], pa.int32())
    gap = pa.array([False, True, False])
    lists = pa.ListArray.from_arrays(offsets, values, mask=gap)
    fixed = pa.FixedSizeListArray.from_arrays(values, 1, mask=gap)
    fields = pa.StructArray.from_arrays([values], names=["a"], mask=gap)
    for hidden in (lists, fixed, fields):
        assert digest(hidden) == digest(pa.array(hidden.to_pylist(), hidden.type))


def test_a_full_bitmap_is_no_bitmap() -> None:
    """Whether a column without nulls carries a bitmap does not count."""
    full = pa.Array.from_buffers(pa.int8(), 2, [pa.py_buffer(b"\3"), pa.py_buffer(b"\1\2")])
    assert digest(full) == digest(pa.array([1, 2], pa.int8()))


@pytest.mark.parametrize(
    "inner",
    [pa.string(), pa.large_string(), pa.binary(), pa.int16(), pa.timestamp("s"), pa.float64()],
)
def test_a_dictionary_is_its_values(inner: pa.DataType) -> None:
    """Order, leftovers, repetitions and nulls of a dictionary do not count, nor its codes."""
    cells: list[Any] = [b"a", b"b"] if inner == pa.binary() else ["a", "b"]
    if inner not in (pa.string(), pa.large_string(), pa.binary()):
        cells = [1, 2]
    one, two = cells

    def coded(codes: list[int | None], values: list[Any], width: pa.DataType) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes, width), pa.array(values, inner))

    plain = digest(coded([0, None, 1, 0], [one, two], pa.int8()))
    assert digest(coded([2, None, 1, 2], [None, two, one], pa.int8())) == plain
    assert digest(coded([0, 2, 1, 3], [one, two, None, one], pa.int32())) == plain
    assert (
        digest(coded([0, None], [one], pa.int8()), coded([0, 1], [two, one], pa.int8()))
        == plain
    )
    assert digest(coded([1, None, 0, 1], [one, two], pa.int8())) != plain
    assert digest(pa.array([one, None, two, one], inner)) != plain


def test_names_inside_lists_do_not_count() -> None:
    """Arrow's own name for the items of a list is nothing that a frame says."""
    item, element = (pa.list_(pa.field(name, pa.int8())) for name in ("item", "element"))
    assert digest(pa.array([[1]], item)) == digest(pa.array([[1]], element))


# --- what counts ------------------------------------------------------------------------


def test_a_type_counts() -> None:
    """The same cells under another type are another column, even when there are none."""
    types = [
        pa.int8(),
        pa.int16(),
        pa.uint8(),
        pa.float32(),
        pa.float64(),
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.date32(),
        pa.timestamp("s"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
        pa.duration("s"),
        pa.time32("s"),
        pa.decimal128(5, 1),
        pa.decimal128(5, 2),
        pa.null(),
        pa.bool_(),
        pa.list_(pa.int8()),
        pa.large_list(pa.int8()),
        pa.list_(pa.int16()),
        pa.list_(pa.int8(), 1),
        pa.list_(pa.int8(), 2),
        pa.struct([]),
        pa.struct([("a", pa.int8())]),
        pa.struct([("b", pa.int8())]),
        pa.struct([("a", pa.int8()), ("b", pa.int8())]),
        pa.map_(pa.int8(), pa.int8()),
        pa.binary(3),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int8(), pa.int8()),
    ]
    assert len({digest(dtype=dtype) for dtype in types}) == len(types)
    assert len({digest(pa.nulls(2, dtype)) for dtype in types}) == len(types)


def test_every_bit_of_a_float_counts() -> None:
    """Zero has a sign and NaN a payload."""
    patterns = [0, 1 << 63, 0x7FF8 << 48, 0xFFF8 << 48, (0x7FF8 << 48) + 1]
    floats = [pa.array([bits], pa.uint64()).view(pa.float64()) for bits in patterns]
    assert len(set(map(digest, floats))) == len(patterns)


def test_where_one_value_ends_counts() -> None:
    """Cells do not run into one another, and a null is no empty one."""
    rows = [["ab", ""], ["a", "b"], ["", "ab"], ["ab", None], ["ab"], ["ab", "", ""]]
    assert len({digest(pa.array(row)) for row in rows}) == len(rows)
    lists: list[Any] = [[[1], []], [[], [1]], [[1], None], [[1]], [[None], []], [None, [1]]]
    assert len({digest(pa.array(row, pa.list_(pa.int8()))) for row in lists}) == len(lists)


def test_a_type_without_a_form_is_refused() -> None:
    """A column of which nothing canonical is known has no digest."""
    with pytest.raises(ValueError, match=r"a column of .*union.* has no digest"):
        digest(pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]))
    with pytest.raises(ValueError, match="a column of string_view has no digest"):
        digest(pa.array(["a"], pa.string_view()))


# --- whole frames -----------------------------------------------------------------------


def packed(frame: Any) -> Packed:
    """Return a frame as it is stored."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return adapter.to_arrow(frame)


def test_chunks_of_a_frame_do_not_count() -> None:
    """A frame put together of parts has the digest of the whole."""
    frame = pl.DataFrame({"a": [1, None, 3], "b": ["x", "y", None]})
    parts = pl.concat([frame[:1], frame[1:]], rechunk=False)
    assert frame_digest(packed(parts)) == frame_digest(packed(frame))


def test_the_kind_of_a_frame_counts() -> None:
    """A polars and a pandas frame of the same cells are two results."""
    polars, pandas = packed(pl.DataFrame({"a": [1]})), packed(pd.DataFrame({"a": [1]}))
    assert column_digests(polars.table) == column_digests(pandas.table)
    assert frame_digest(polars) != frame_digest(pandas)


@pytest.mark.parametrize(
    "other",
    [
        pd.DataFrame({"b": [1, 2]}),
        pd.DataFrame({"a": [1, 2]}, index=[0, 1]),
        pd.DataFrame({"a": [1, 2]}, index=[0, 2]),
        pd.DataFrame({"a": [2, 1]}),
        pd.DataFrame({"a": pd.array([1, 2], "Int64")}),
        pd.DataFrame({"a": pd.Categorical([1, 2])}),
        pd.DataFrame({"a": pd.Categorical([1, 2], [2, 1])}),
        pd.DataFrame({"a": [1, 2]}).rename_axis("i"),
        pd.DataFrame({"a": [1, 2]}).set_flags(allows_duplicate_labels=False),
    ],
)
def test_all_that_a_frame_says_counts(other: pd.DataFrame) -> None:
    """Labels, types, index, categories, names and flags are part of the digest."""
    assert frame_digest(packed(other)) != frame_digest(packed(pd.DataFrame({"a": [1, 2]})))


def test_the_digests_of_this_format_stand() -> None:
    """A digest that is stored is found again by later versions: these never change."""
    assert FRAME_FORMAT == 1
    table = pa.table(
        {
            "i": pa.array([1, None, 3], pa.int64()),
            "f": pa.array([0.5, -0.0, None]),
            "t": pa.array(["a", "", None], pa.large_string()),
            "c": pa.array(["b", None, "a"]).dictionary_encode(),
            "l": pa.array([[1], None, []], pa.large_list(pa.int8())),
            "b": pa.array([True, None, False]),
        }
    )
    assert column_digests(table) == GOLDEN
    assert combine("polars.DataFrame", {"rows": 3}, GOLDEN) == GOLDEN_FRAME
