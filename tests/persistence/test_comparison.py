"""In what two stored results differ: columns, and rows by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.errors import CheckpointMissError, UsherError
from usher_pipeline.persistence.comparison import Changed, Compared, compared
from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

_FRAMES: dict[int, Any] = {}


@checkpoint(name="compared_frames", version="1")
def frames(which: int) -> Any:
    """Return one of some frames."""
    return _FRAMES[which]


def difference(folder: Path, before: Any, after: Any, **options: Any) -> Compared:
    """Store two frames as results of one checkpoint, and compare them."""
    _FRAMES[1], _FRAMES[2] = before, after
    path = folder / "store.duckdb"
    with run(store=path):
        frames(1)
        frames(2)
    backend = LocalBackend(path)
    second, first = backend.recent("compared_frames", None)
    return compared(backend, first, second, **options)


GENES = pl.DataFrame({"gene": ["USH2A", "MYO7A", "CDH23"], "score": [0.9, 0.2, None]})


def test_rows_are_matched_by_their_key(tmp_path: Path) -> None:
    """The order of rows does not matter; added, removed and changed ones are told apart."""
    after = pl.DataFrame({"gene": ["WHRN", "CDH23", "USH2A"], "score": [0.1, 0.3, 0.9]})
    found = difference(tmp_path, GENES, after)
    assert found.key_columns == ("gene",)
    assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 1, 1)
    assert (found.added, found.removed) == ((("WHRN",),), (("MYO7A",),))
    assert found.changed == (Changed(("CDH23",), "score", None, 0.3),)
    assert found.changes_by_column == {"score": 1}
    assert not found.is_same


def test_equal_results_do_not_differ(tmp_path: Path) -> None:
    """Nulls are equal to nulls, NaN to NaN, and another order of rows is no difference."""
    frame = pl.DataFrame({"k": [1, 2, 3], "x": [float("nan"), None, 1.0], "y": [[1], [], None]})
    found = difference(tmp_path, frame, frame.reverse())
    assert found.is_same
    assert found.changes_by_column == {}


def test_columns_come_go_and_change_their_types(tmp_path: Path) -> None:
    """Columns are told with their types; of retyped ones the values are compared as text."""
    before = pl.DataFrame({"k": [1, 2], "old": [1, 1], "n": [5, 6]})
    after = pl.DataFrame({"k": [1, 2], "n": ["5", "7"], "new": [True, False]})
    found = difference(tmp_path, before, after)
    assert found.columns_added == {"new": "Boolean"}
    assert found.columns_removed == {"old": "Int64"}
    assert found.columns_retyped == {"n": ("Int64", "String")}
    assert found.changed == (Changed((2,), "n", "6", "7"),)


def test_without_a_key_whole_rows_are_matched(tmp_path: Path) -> None:
    """Where no column tells rows apart, rows count as often as they are there."""
    before = pl.DataFrame({"a": ["x", "x", "y"], "score": [1.0, 1.0, 2.0]})
    after = pl.DataFrame({"a": ["x", "y", "y"], "score": [1.0, 2.0, 2.0]})
    found = difference(tmp_path, before, after)
    assert found.key_columns == ()
    assert (found.rows_added, found.rows_removed) == (1, 1)
    assert (found.added, found.removed) == ((("y", 2.0),), (("x", 1.0),))


def test_a_key_of_several_columns(tmp_path: Path) -> None:
    """Columns that together tell rows apart are named; odd names are names."""
    odd = 'a "b" c'
    before = pl.DataFrame({odd: [1, 1, 2], "release": ["v1", "v2", "v1"], "n": [1, 2, 3]})
    after = before.with_columns(n=pl.Series([1, 2, 4]))
    found = difference(tmp_path, before, after, on=[odd, "release"])
    assert found.changed == (Changed((2, "v1"), "n", 3, 4),)


def test_columns_that_are_no_key_are_refused(tmp_path: Path) -> None:
    """Columns that rows share, or that one result lacks, are an error that names them."""
    twice = pl.DataFrame({"gene": ["USH2A", "USH2A"], "score": [1.0, 2.0]})
    with pytest.raises(UsherError, match=r"gene do not tell rows apart: in the first"):
        difference(tmp_path, twice, GENES, on=["gene"])
    with pytest.raises(UsherError, match=r"have to have the columns lost"):
        difference(tmp_path, twice, GENES, on=["lost"])


def test_of_many_rows_a_sample_is_compared(tmp_path: Path) -> None:
    """A row is in the sample of both results or of neither, and the share is told."""
    before = pl.DataFrame({"k": range(10_000), "n": range(10_000)})
    after = before.reverse().with_columns(n=pl.col("n") + 1)
    found = difference(tmp_path, before, after, sample_rows=1000)
    assert found.sampled_share == pytest.approx(0.1)
    assert (found.rows_added, found.rows_removed) == (0, 0)
    assert 700 < found.rows_changed < 1300
    whole = difference(tmp_path, before, after, sample_rows=0)
    assert (whole.sampled_share, whole.rows_changed) == (1.0, 10_000)


def test_a_sample_of_whole_rows(tmp_path: Path) -> None:
    """Without a key rows are sampled by all that is in them."""
    before = pl.DataFrame({"x": [n / 7 for n in range(2000)] * 2})
    assert difference(tmp_path, before, before.reverse(), sample_rows=100).is_same


def test_as_many_examples_as_are_asked_for(tmp_path: Path) -> None:
    """All rows are counted, and some are shown, in the order of their keys."""
    before = pl.DataFrame({"k": range(50), "n": range(50)})
    after = before.with_columns(n=-pl.col("n") - 1)
    found = difference(tmp_path, before, after, shown=2)
    assert found.rows_changed == 50
    assert [each.key for each in found.changed] == [(0,), (1,)]


def test_an_index_is_a_column(tmp_path: Path) -> None:
    """The index of a pandas frame is compared like a column, and may be the key."""
    before = pd.DataFrame({"n": [1.5, 2.5]}, index=pd.Index(["a", "b"], name="gene"))
    after = pd.DataFrame({"n": [1.5, 3.5]}, index=pd.Index(["a", "b"], name="gene"))
    found = difference(tmp_path, before, after)
    assert found.changed == (Changed(("b",), "n", 2.5, 3.5),)


def test_empty_results(tmp_path: Path) -> None:
    """A result without rows, or with none of the columns of the other, can be compared."""
    found = difference(tmp_path, GENES.clear(), GENES)
    assert (found.rows_added, found.rows_removed) == (3, 0)


def test_no_column_in_common(tmp_path: Path) -> None:
    """Two results that have no column in common differ in their columns."""
    found = difference(tmp_path, GENES, pl.DataFrame({"other": [1, 2, 3]}))
    assert found.columns_added == {"other": "Int64"}
    assert (found.rows_added, found.key_columns) == (0, ())


def test_what_is_no_table_or_lost_is_refused(tmp_path: Path) -> None:
    """A dictionary of frames, and a result that is lost, can not be compared."""
    with pytest.raises(UsherError, match="is a dictionary of frames"):
        difference(tmp_path, {"a": GENES}, {"a": GENES})
    other = tmp_path / "other"
    other.mkdir()
    difference(other, GENES, GENES.reverse())
    backend = LocalBackend(other / "store.duckdb")
    second, first = backend.recent("compared_frames", None)
    backend.segments.segment(first).unlink()
    with pytest.raises(CheckpointMissError, match="lost or damaged"):
        compared(backend, first, second)
