"""The decision is a value: what to do, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from usher_pipeline.planning import (
    CLOCK_TOLERANCE_S,
    Request,
    compare,
    decide,
    expired,
    last_good,
    nearest_entry,
)
from usher_pipeline.records import (
    EXPIRED,
    PROBE,
    Blocked,
    Bypass,
    Cost,
    Entry,
    Hit,
    Key,
    Miss,
    Part,
    Read,
    Reason,
    Renewal,
)

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


# --- age --------------------------------------------------------------------------------

DAY_S = 86_400.0
PROBED_1 = Part("source", "clinvar", "p1", "ETag 1", PROBE)
PROBED_2 = Part("source", "clinvar", "p2", "ETag 2", PROBE)


def after(days: float, **options: Any) -> Request:
    """Return a request so many days later, for results of a week at most."""
    now = MOMENT + timedelta(days=days)
    return Request(key(DEPTH_30), max_age_s=7 * DAY_S, now=now, **options)


def test_a_result_within_its_age_is_a_hit() -> None:
    """Up to the very age that is allowed a result answers."""
    stored = entry(key(DEPTH_30))
    assert decide(after(7), stored) == Hit(stored)


def test_an_expired_result_is_a_miss() -> None:
    """An older one does not; the reason says both ages."""
    decision = decide(after(8), entry(key(DEPTH_30)))
    assert decision == Miss(Reason("expired: 8 d old, max_age is 7 d", nearest="k"))


def test_without_a_limit_nothing_expires() -> None:
    """Age does not matter unless somebody says so."""
    stored = entry(key(DEPTH_30))
    now = MOMENT + timedelta(days=10_000)
    assert decide(Request(key(DEPTH_30), now=now), stored) == Hit(stored)


def test_a_renewal_restarts_the_age() -> None:
    """What was renewed is as old as its renewal."""
    renewed = Renewal(MOMENT + timedelta(days=6), (("clinvar", "ETag 1"),))
    stored = replace(entry(key(DEPTH_30)), renewed=renewed)
    assert decide(after(13), stored) == Hit(stored)
    assert isinstance(decide(after(14), stored), Miss)


def test_unchanged_sources_renew_an_expired_result() -> None:
    """With a probe in the key the same key says that nothing changed."""
    stored = entry(key(DEPTH_30))
    why = Reason("expired: 8 d old, max_age is 7 d; clinvar did not change", nearest="k")
    assert decide(after(8, probes=("clinvar",)), stored) == Hit(stored, renews=why)
    assert decide(after(1, probes=("clinvar",)), stored) == Hit(stored)


def test_offline_an_expired_result_is_served_as_that() -> None:
    """Where nothing may be asked an expired result answers, marked with its age."""
    stored = entry(key(DEPTH_30))
    why = Reason("expired: 8 d old, max_age is 7 d; USHER_OFFLINE is set", nearest="k")
    for probes in ((), ("clinvar",)):
        decision = decide(after(8, probes=probes, is_offline=True), stored)
        assert decision == Hit(stored, stale=why)


@pytest.mark.parametrize(
    ("ahead_s", "is_fresh"), [(CLOCK_TOLERANCE_S, True), (CLOCK_TOLERANCE_S + 1, False)]
)
def test_a_result_of_the_future_is_not_fresh_for_ever(
    ahead_s: float, *, is_fresh: bool
) -> None:
    """Clocks may differ a little; what is further ahead was stored by a wrong one."""
    now = MOMENT - timedelta(seconds=ahead_s)
    why = expired(entry(key(DEPTH_30)), 7 * DAY_S, now)
    assert bool(why) is not is_fresh
    assert why in ("", "expired: stored 5 min in the future by this clock, max_age is 7 d")


def test_a_read_that_changed_is_the_first_reason() -> None:
    """Of an expired result that also read another version the version is named."""
    decision = decide(after(8, probes=("x",)), entry(key(DEPTH_30), (READ,)), current={})
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "checkpoint universe, which it read, is gone"


def test_a_read_that_expired_is_named_as_that() -> None:
    """A result that was made of an expired one is a miss that says so."""
    stored = entry(key(DEPTH_30), (READ,))
    decision = decide(Request(key(DEPTH_30)), stored, current={READ: EXPIRED})
    assert isinstance(decision, Miss)
    assert str(decision.reason) == "checkpoint universe, which it read, is expired"


def test_of_an_expired_result_nobody_asks_whether_it_holds_for_the_code() -> None:
    """A costly result of older code that has expired as well is computed again unasked."""
    edited = replace(BODY, digest="x")
    costly = replace(entry(key(BODY, digest="old")), cost=Cost(MOMENT, 10 * DAY_S))
    for days, kind in ((1, Blocked), (8, Miss)):
        request = replace(after(days), key=key(edited))
        assert type(decide(request, None, [costly])) is kind
    accepts = replace(after(8, on_code_change="accept"), key=key(edited))
    assert isinstance(decide(accepts, None, [costly]), Miss)
    assert isinstance(decide(replace(accepts, is_offline=True), None, [costly]), Hit)


@pytest.mark.parametrize(
    ("before", "now", "is_good"),
    [
        ((DEPTH_30, PROBED_1), (DEPTH_30, PROBED_1), True),
        ((DEPTH_30, PROBED_1), (DEPTH_30, PROBED_2), True),
        ((DEPTH_20, PROBED_1), (DEPTH_30, PROBED_2), False),
        ((BODY, PROBED_1), (replace(BODY, digest="x"), PROBED_2), False),
        ((GNOMAD_40,), (GNOMAD_41,), False),
        ((GNOMAD_40, PROBED_1), (GNOMAD_41, PROBED_2), False),
        ((Part("table", "t", "1"),), (Part("table", "t", "2"),), True),
        ((Part("config", "api", "1"),), (Part("config", "api", "2"),), False),
        ((Part("version", "genes", "1"),), (Part("version", "genes", "2"),), False),
        ((), (PROBED_2,), True),
    ],
)
def test_the_last_good_result_differs_in_time_alone(
    before: tuple[Part, ...], now: tuple[Part, ...], *, is_good: bool
) -> None:
    """What a probe answers or a table holds may be another; all that is stated may not."""
    stored = entry(key(*before, digest="old"))
    assert last_good(key(*now), [stored]) == (stored if is_good else None)


def test_the_newest_good_result_is_the_last_one() -> None:
    """Of several the newest is taken, and none of other rules of the key."""
    newest, older = entry(key(PROBED_1, digest="n")), entry(key(PROBED_2, digest="o"))
    assert last_good(key(PROBED_2), [newest, older]) is newest
    assert last_good(key(PROBED_2, rules=2), [newest, older]) is None
