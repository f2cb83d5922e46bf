"""The decision is a value: what to do, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from usher_pipeline.planning import Request, compare, decide, nearest_entry
from usher_pipeline.records import Bypass, Cost, Entry, Hit, Key, Miss, Part, Read, Reason

MOMENT = datetime(2026, 2, 16, tzinfo=UTC)


def key(*parts: Part, digest: str = "k", rules: int = 1) -> Key:
    """Return a key made of the given parts."""
    return Key("genes", digest, parts, rules)


def entry(of: Key, reads: tuple[Read, ...] = ()) -> Entry:
    """Return an entry under a key."""
    return Entry(
        key=of, number=1, created_at=MOMENT, function="m.f", kind="polars.DataFrame", schema={},
        arrow_schema="", content="c", columns=(), row_count=0, size_bytes=0,
        cost=Cost(MOMENT, 1.0), run_id="r", reads=reads,
    )  # fmt: skip


DEPTH_30 = Part("argument", "min_depth", "a", "30.0")
DEPTH_20 = Part("argument", "min_depth", "b", "20.0")
BODY = Part("code", "fetch()", "c")
GNOMAD_40 = Part("source", "gnomad", "d", "v4.0", "config.yaml:3")
GNOMAD_41 = Part("source", "gnomad", "e", "v4.1", "config.yaml:3")
READ = Read("universe", "u", "content-1")


def test_an_entry_under_the_key_is_a_hit() -> None:
    """A stored entry under the very key answers the call."""
    stored = entry(key(DEPTH_30))
    assert decide(Request(key(DEPTH_30)), stored) == Hit(stored)


def test_nothing_stored_is_a_first_call() -> None:
    """Without any entry of the name the reason is that this is the first call."""
    assert decide(Request(key(DEPTH_30)), None) == Miss(Reason("first call"))


def test_a_miss_names_the_argument() -> None:
    """A changed argument is named with both previews."""
    decision = decide(Request(key(DEPTH_20)), None, [entry(key(DEPTH_30))])
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "min_depth: 30.0 → 20.0"


def test_a_miss_names_source_and_place() -> None:
    """A changed source is named with both versions and where the new one is stated."""
    decision = decide(Request(key(GNOMAD_41)), None, [entry(key(GNOMAD_40))])
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "source gnomad: v4.0 → v4.1 (config.yaml:3)"


def test_a_miss_names_code() -> None:
    """Changed code is named by its function."""
    decision = decide(Request(key(replace(BODY, digest="x"))), None, [entry(key(BODY))])
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "fetch() changed"


def test_new_and_dropped_parts_are_named() -> None:
    """A helper that was added or dropped is named as such, arguments first."""
    helper = Part("code", "normalise() in genes.py", "h")
    added = compare(key(BODY), key(BODY, helper, DEPTH_20))
    assert [str(change) for change in added] == [
        "min_depth: (none) → 20.0",
        "normalise() in genes.py is new",
    ]
    dropped = compare(key(BODY, helper), key(BODY))
    assert [str(change) for change in dropped] == ["normalise() in genes.py is no longer used"]


def test_the_nearest_entry_differs_least() -> None:
    """A miss is compared with the entry that differs least, not with the newest."""
    far = entry(key(DEPTH_20, GNOMAD_40, digest="far"))
    near = entry(key(DEPTH_30, GNOMAD_40, digest="near"))
    assert nearest_entry(key(DEPTH_30, GNOMAD_41), [far, near]) is near


def test_the_newest_of_equally_near_entries_is_compared() -> None:
    """Among entries that differ equally much the newest is compared."""
    newer, older = entry(key(DEPTH_20, digest="n")), entry(key(DEPTH_20, digest="o"))
    assert nearest_entry(key(DEPTH_30), [newer, older]) is newer


def test_changed_rules_read_as_that() -> None:
    """A change of the fingerprint rules is named instead of every part."""
    decision = decide(Request(key(DEPTH_20, rules=2)), None, [entry(key(DEPTH_30, rules=1))])
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "the rules of the key changed with the library (1 → 2)"


def test_a_read_that_is_gone_is_a_miss() -> None:
    """An entry whose recorded read can not be resolved any more answers no call."""
    stored = entry(key(DEPTH_30), (READ,))
    decision = decide(Request(key(DEPTH_30)), stored, current={})
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "checkpoint universe, which it read, is gone"


def test_a_read_with_other_content_is_a_miss() -> None:
    """An entry whose recorded read now has other content answers no call."""
    stored = entry(key(DEPTH_30), (READ,))
    now = {READ: "content-2"}
    decision = decide(Request(key(DEPTH_30)), stored, current=now)
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "checkpoint universe, which it read, is another version"


def test_a_read_that_resolves_to_the_same_keeps_the_hit() -> None:
    """An entry whose reads resolve to the same content stays a hit."""
    stored = entry(key(DEPTH_30), (READ,))
    assert decide(Request(key(DEPTH_30)), stored, current={READ: READ.content}) == Hit(stored)


def test_refresh_computes_although_something_matches() -> None:
    """A refresh is a miss with its own reason."""
    stored = entry(key(DEPTH_30))
    decision = decide(Request(key(DEPTH_30), refresh="refresh was asked for"), stored)
    assert decision == Miss(Reason("refresh was asked for"))


def test_bypass_wins_over_everything() -> None:
    """A bypass neither looks nor stores."""
    stored = entry(key(DEPTH_30))
    request = Request(key(DEPTH_30), refresh="x", bypass="USHER_DISABLE=1")
    assert decide(request, stored) == Bypass(Reason("USHER_DISABLE=1"))
