"""What looking through a store found, in words."""

from __future__ import annotations

from pathlib import Path

from usher_pipeline.persistence.findings import Finding, Verified

STORE = Path("out/store.duckdb")


def test_a_whole_store_is_one_line() -> None:
    """Where all is well the text is one line, and names what is only to be known."""
    verified = Verified(STORE, 3, 1, 1500)
    assert verified.is_whole
    assert str(verified) == "store.duckdb · whole · 3 results, 1.5 kB · 1 tables"
    noted = Verified(STORE, 3, 1, 0, (), ("a/1",), ("b/1", "b/2"), ("c",))
    assert noted.is_whole
    assert str(noted).endswith(
        " · 1 evicted · 2 segments without entry · 1 tables without entry"
    )


def test_each_damage_is_a_line() -> None:
    """A damage is told with what became of it and where it is now."""
    found = Finding("genes", "ab", "segment", "it is not there", "gone", "x/ab-1.json")
    verified = Verified(STORE, 3, 1, 0, (found,))
    assert not verified.is_whole
    assert str(verified).splitlines() == [
        "store.duckdb · 1 found damaged · 3 results, 0 B · 1 tables",
        "name   half     problem          outcome  set aside as",
        "genes  segment  it is not there  gone     x/ab-1.json",
    ]
