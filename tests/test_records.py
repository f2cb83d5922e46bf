"""What is written as JSON is read back as the same value."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from usher_pipeline.records import (
    Column,
    Cost,
    Entry,
    Key,
    MapFacts,
    Part,
    Pull,
    Read,
    Renewal,
    Step,
    utc_from_text,
)

MOMENT = datetime(2026, 2, 16, 1, 2, 3, 456, tzinfo=UTC)
ENTRY = Entry(
    key=Key("genes", "k" * 32, (Part("argument", "x", "d", "1"),), 1, ("eval",)),
    number=2, created_at=MOMENT, function="m.f", kind="polars.DataFrame",
    schema={"names": ["a"]}, arrow_schema="QUJD", content="c",
    columns=(Column("a", "int64", "d"),), row_count=3, size_bytes=4096,
    cost=Cost(MOMENT, 1.5), run_id="r", reads=(Read("universe", "u", "v"),), library="0.1.0",
    description="a table", reason="first call",
)  # fmt: skip


def test_an_entry_survives_json() -> None:
    """An entry written as JSON text is read back equal."""
    assert Entry.from_json(json.loads(json.dumps(ENTRY.to_json()))) == ENTRY


def test_what_is_said_of_an_entry_survives_json() -> None:
    """A renewal, and a read that a stale result answered, are read back equal."""
    renewed = Renewal(MOMENT, (("clinvar", "ETag 1"),))
    read = Read("universe", "asked", "v", served="older")
    entry = replace(ENTRY, renewed=renewed, reads=(read,))
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
    details = entry.step().to_json()["details"]
    assert details["renewed"] == renewed.to_json()
    assert details["made_of_stale"] == ["universe"]


def test_that_an_entry_was_pulled_survives_json() -> None:
    """The files that it came in are read back in their order, and are part of its step."""
    pulled = (Pull(MOMENT, "a.usher", "one/store.duckdb"), Pull(MOMENT, "b.usher"))
    entry = replace(ENTRY, pulled=pulled)
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
    details = entry.step().to_json()["details"]
    assert [(each["file"], each["store"]) for each in details["pulled"]] == [
        ("a.usher", "one/store.duckdb"),
        ("b.usher", ""),
    ]
    assert "pulled" not in ENTRY.step().to_json()["details"]


def test_entries_from_before_are_read() -> None:
    """An entry that was written when nothing was renewed, pulled or stale is none of these."""
    data = ENTRY.to_json()
    del data["renewed"], data["pulled"]
    for read in data["reads"]:
        del read["served"]
    assert Entry.from_json(data) == ENTRY


def test_an_entry_of_another_format_is_refused() -> None:
    """An entry that says another format is not read as this one."""
    with pytest.raises(ValueError, match="entry format 99, expected 1"):
        Entry.from_json(ENTRY.to_json() | {"format": 99})


def test_half_an_entry_is_refused() -> None:
    """Data that lacks a part of an entry is no entry."""
    data = ENTRY.to_json()
    del data["content"]
    with pytest.raises(ValueError, match="not an entry: KeyError"):
        Entry.from_json(data)


def test_a_step_tells_when_and_by_which_run_it_was_computed() -> None:
    """The step of an entry has the time and the run of the real computation."""
    step = ENTRY.step().to_json()
    assert step["step_name"] == "genes"
    assert step["timestamp"] == MOMENT.isoformat()
    assert step["details"]["run_id"] == "r"
    assert step["details"]["arguments"] == {"x": "1"}


def test_a_step_without_details_has_none() -> None:
    """A step that was recorded without details has no such field."""
    assert Step("a", MOMENT).to_json() == {"step_name": "a", "timestamp": MOMENT.isoformat()}


def test_a_moment_is_read_in_utc() -> None:
    """A text with another zone names the same moment in UTC."""
    assert utc_from_text("2026-02-16T03:02:03.000456+02:00") == MOMENT


MAPPED = replace(ENTRY, mapped=MapFacts("gene", 3, 1, 1_771_203_723_000_456))


def test_the_facts_of_a_map_survive_json() -> None:
    """An entry says of how many items it was put together; others say nothing of it."""
    assert Entry.from_json(json.loads(json.dumps(MAPPED.to_json()))) == MAPPED
    assert ENTRY.to_json()["mapped"] is None


def test_an_entry_of_before_there_were_maps_is_read() -> None:
    """An entry that has no such field was not put together from items."""
    data = ENTRY.to_json()
    del data["mapped"]
    assert Entry.from_json(data) == ENTRY


@pytest.mark.parametrize("odd", [{"over": "gene"}, {"more": 1}, 5, "gene", [1]])
def test_odd_facts_of_a_map_are_no_entry(odd: object) -> None:
    """Whatever else stands there is refused, and no raw error comes of it."""
    with pytest.raises(ValueError, match="not an entry"):
        Entry.from_json(ENTRY.to_json() | {"mapped": odd})


def test_a_step_tells_of_how_many_items_it_is() -> None:
    """The step of a map has its facts, that of any other call has none."""
    assert MAPPED.step().to_json()["details"]["mapped"] == {
        "over": "gene",
        "item_count": 3,
        "asked_count": 1,
        "latest": 1_771_203_723_000_456,
        "oldest": 0,
        "digest": "",
        "listed": "",
    }
    assert "mapped" not in ENTRY.step().to_json()["details"]
