"""What is known of items: of each the last answer of each code, or that it failed since."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.persistence.mapindex import Index, index_of
from usher_pipeline.persistence.mapparts import Answer

CODES: Final = ("a" * 32, "b" * 32)


def item_of(number: int) -> str:
    """Return the digest of an item."""
    return f"{number:032x}"


def answer(number: int, at: int, **facts: Any) -> Answer:
    """Return what is known of an item."""
    return Answer(item_of(number), str(number), 0, CODES[0], (), 0.5, at)._replace(**facts)


SAID: Final = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(CODES), st.booleans()), max_size=12
)


@given(SAID, st.randoms(use_true_random=False))
def test_what_was_said_last_counts_in_whatever_order_it_is_read(
    said: list[tuple[int, str, bool]], chance: Any
) -> None:
    """An answer stays when an item fails later, and a failure goes when it is answered."""
    answers: dict[tuple[str, str], Answer] = {}
    failures: dict[tuple[str, str], Answer] = {}
    every = []
    for at, (number, code, fails) in enumerate(said, 1):
        error = ("ValueError", "bad") if fails else None
        each = answer(number, at, code=code, error=error)
        every.append(each)
        (failures if fails else answers)[each.item, code] = each
        if not fails:
            failures.pop((each.item, code), None)
    found = index_of(every)
    assert {(i, c): a for i, of in found.answers.items() for c, a in of.items()} == answers
    assert {(i, c): a for i, of in found.failures.items() for c, a in of.items()} == failures
    assert found.latest == len(said)
    chance.shuffle(every)
    assert index_of(every).answers == found.answers


def test_the_best_answer_is_the_last_one_of_the_codes_that_hold() -> None:
    """Of several codes that hold the last answer counts; any is the other one."""
    one, two = answer(1, 5), answer(1, 6, code=CODES[1])
    index = Index({item_of(1): {CODES[0]: one, CODES[1]: two}, item_of(2): {CODES[1]: two}})
    assert index.best(item_of(1), frozenset(CODES)) == two
    assert index.best(item_of(1), frozenset({CODES[0]})) == one
    assert index.best(item_of(1), frozenset({"c"})) is None
    assert index.best(item_of(2), frozenset({CODES[1]})) == two
    assert index.best(item_of(2), frozenset({CODES[0]})) is None
    assert index.best(item_of(3), frozenset(CODES)) is None
    assert index.other(item_of(1)) == two
    assert index.other(item_of(3)) is None
