"""A call for many items as a whole, without its items, and each item by itself."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline import checkpoint, configure, runs
from usher_pipeline.errors import FingerprintError
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint import key, values
from usher_pipeline.fingerprint.binding import bind
from usher_pipeline.fingerprint.key import for_items, item_digests, measure

if TYPE_CHECKING:
    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.fingerprint.key import Measured
    from usher_pipeline.fingerprint.ownership import Ownership

HOW: Final = "one at a time"


@checkpoint(name="keyed_papers")
def papers(gene: Any, year: int = 2000, *, unit: str = "mg") -> pl.DataFrame:
    """Return nothing that matters."""
    return pl.DataFrame({"gene": [gene], "year": [year], "unit": [unit]})


@checkpoint(name="keyed_versions", version="1")
def _versioned(gene: Any, year: int = 2000) -> pl.DataFrame:
    """Return the same of code that does not count."""
    return pl.DataFrame({"gene": [gene], "year": [year]})


versioned: Any = _versioned


@checkpoint(name="keyed_files", files=["path"])
def files(path: Any) -> pl.DataFrame:
    """Return nothing that matters of a file."""
    return pl.DataFrame({"path": [str(path)]})


@checkpoint(name="keyed_secrets")
def secrets(token: str) -> pl.DataFrame:
    """Return nothing that matters of what nobody may see."""
    return pl.DataFrame({"length": [len(token)]})


@pytest.fixture(autouse=True)
def _store() -> None:
    configure(store=Path("store.duckdb"))


def measured(function: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any, Ownership]:
    """Return a call of a function with what it means."""
    declared: Declaration = function.__usher_declaration__
    facts = InForce(runs.current_run())
    ownership = facts.ownership(declared.function)
    found = measure(declared, bind(declared, args, kwargs, facts), facts, ownership)
    return declared, found, ownership


def mapped(
    function: Any, *args: Any, how: str = HOW, over: str = "gene", **kwargs: Any
) -> tuple[Measured, Measured]:
    """Return a call for many items, as a whole and without the items."""
    declared, found, ownership = measured(function, *args, **kwargs)
    return for_items(declared, found, over, how, ownership)


def digests(function: Any, items: list[Any], over: str = "gene") -> list[str]:
    """Return the digests of items."""
    declared: Declaration = function.__usher_declaration__
    ownership = InForce(runs.current_run()).ownership(declared.function)
    return item_digests(declared, over, items, ownership)


# --- the call ---------------------------------------------------------------------------


def test_a_call_for_items_is_not_that_with_a_list() -> None:
    """A function of a list and its map are never mistaken for one another."""
    _, plain, _ = measured(papers, ["a", "b"])
    whole, common = mapped(papers, ["a", "b"])
    assert len({plain.digest, whole.digest, common.digest}) == 3


def test_what_items_have_in_common_does_not_depend_on_them() -> None:
    """Other items, or another order, are another call of the same map."""
    calls = [mapped(papers, items) for items in (["a"], ["b"], ["a", "b"], ["b", "a"])]
    assert len({whole.digest for whole, _ in calls}) == len(calls)
    assert len({common.digest for _, common in calls}) == 1


@pytest.mark.parametrize(
    "other",
    [
        mapped,
        lambda *given: mapped(*given, how="in lists"),
        lambda *given: mapped(*given, year=2001),
        lambda *given: mapped(*given, unit="g"),
        lambda function, items: mapped(function, ["x"], items, over="year"),
    ],
    ids=["itself", "how", "by place", "by name", "over"],
)
def test_all_else_is_what_items_have_in_common(other: Any) -> None:
    """Other arguments, another parameter or another way to be given are another map."""
    _, common = mapped(papers, ["a"])
    assert (other(papers, ["a"])[1].digest == common.digest) == (other is mapped)


def test_code_is_in_the_whole_and_not_in_what_is_common() -> None:
    """After an edit the map is the same, and the call is another one."""
    declared, found, ownership = measured(papers, ["a"])
    graph = found.context.graph
    assert graph is not None

    class Edited:
        digest = "0" * 32
        parts: tuple[()] = ()
        untracked: tuple[()] = ()

    context: Any = found.context._replace(graph=Edited())
    whole, common = for_items(declared, found, "gene", HOW, ownership)
    edited = for_items(declared, found._replace(context=context), "gene", HOW, ownership)
    assert edited[1].digest == common.digest
    assert edited[0].digest != whole.digest


def test_a_version_is_what_items_have_in_common() -> None:
    """What stands for code is part of the map, so that another version is another map."""
    facts = InForce(runs.current_run())
    found = []
    for version in ("1", "2", "1"):
        declared = replace(versioned.__usher_declaration__, version=version)
        ownership = facts.ownership(declared.function)
        bound = bind(declared, (["a"],), {}, facts)
        plain = measure(declared, bound, facts, ownership)
        found.append(for_items(declared, plain, "gene", HOW, ownership)[1].digest)
    assert found[0] == found[2] != found[1]


def test_the_key_of_what_is_common_names_no_items() -> None:
    """In words it says the other arguments, and over what it is mapped and how."""
    _, common = mapped(papers, ["a", "b"])
    parts = {part.label: part.preview for part in common.key().parts if part.kind == "argument"}
    assert parts == {"year": "2000", "unit": "'mg'", "mapped over": f"'gene, {HOW}'"}
    whole, _ = mapped(papers, ["a", "b"])
    assert "gene" in {part.label for part in whole.key().parts}


def test_no_parameter_is_called_as_the_map_is() -> None:
    """What says that a call is a map can not be an argument."""
    assert not key._MAPPED.isidentifier()


# --- the items --------------------------------------------------------------------------

ITEMS: Final = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=4)),
        st.text(st.characters(codec=None), max_size=4),
        *(st.dates(), st.tuples(st.integers(), st.text(max_size=2))),
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(st.lists(ITEMS, max_size=6))
def test_items_are_told_apart_as_arguments_are(items: list[Any]) -> None:
    """Two items have one digest if, and only if, they are one argument."""
    found = digests(papers, items)
    assert found == [values.digest(item) for item in items]
    assert found == [digests(papers, [item])[0] for item in items]


@pytest.mark.parametrize(
    "items",
    [[1, 1.0, True], [0.0, -0.0], [None, "None"], [("a",), ["a"]], [b"a", "a"], ["", "\ud800"]],
    ids=ascii,
)
def test_equal_items_of_other_types_are_others(items: list[Any]) -> None:
    """What Python calls equal need not be the same argument."""
    assert len(set(digests(papers, items))) == len(items)


def test_nan_is_one_item() -> None:
    """What is not equal to itself is the same argument each time."""
    assert len(set(digests(papers, [float("nan"), float("nan"), -float("nan")]))) == 1


@pytest.mark.parametrize("item", [dt.date(2026, 2, 16), {"a": [1]}, pl.DataFrame({"a": [1]})])
def test_items_are_any_argument(item: Any) -> None:
    """A digest is 32 hexadecimal digits, whatever the item is."""
    (found,) = digests(papers, [item])
    assert bytes.fromhex(found).hex() == found
    assert len(found) == 32


def test_an_item_without_a_fingerprint_is_named() -> None:
    """An object that says nothing of itself is refused, with its argument."""
    with pytest.raises(FingerprintError, match="no fingerprint"):
        digests(papers, ["a", object()])


def test_items_that_name_files_count_by_content() -> None:
    """Of a parameter in files= a text is a path, and the item is what lies there."""
    Path("a.txt").write_text("one")
    Path("b.txt").write_text("two")
    before = digests(files, ["a.txt", "b.txt"], "path")
    assert before == digests(files, [Path("a.txt"), Path("b.txt")], "path")
    assert len(set(before)) == 2
    assert before != [values.digest("a.txt"), values.digest("b.txt")]
    Path("a.txt").write_text("three")
    after = digests(files, ["a.txt", "b.txt"], "path")
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_secret_items_have_a_one_way_digest() -> None:
    """Whoever reads the store can not look a secret up among the digests of all texts."""
    (found,) = digests(secrets, ["hunter2"], "token")
    assert found != values.digest("hunter2")
    assert found == digests(secrets, ["hunter2"], "token")[0]
    assert found != digests(secrets, ["hunter3"], "token")[0]


def test_no_items_have_no_digests() -> None:
    """Of nothing there is nothing."""
    assert digests(papers, []) == []
