"""Which stored results are not what a call would return now, and why."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, current_run, outdating, run, setting, source
from usher_pipeline.errors import MapIncompleteError
from usher_pipeline.fingerprint import key as keys
from usher_pipeline.outdating import CAUSES, Standing, standings
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a store be in force for the process, as it is for the command."""
    monkeypatch.setenv("USHER_STORE", str(tmp_path / "store.duckdb"))


def only(checkpoint: Any, config: Any = None) -> Standing:
    """Return how the only result of a checkpoint stands, with a config in force."""
    with run(config):
        (found,) = standings([checkpoint])
    assert list(found.causes) == [cause for cause in CAUSES if cause in found.causes]
    return found


def declared(**options: Any) -> Any:
    """Return a checkpoint of one name that returns a number."""

    @checkpoint(name="outdating_number", version="1", **options)
    def number(
        low: int = 1, size: int = setting("api.size", default=5), of: str = source("gnomad")
    ) -> pl.DataFrame:
        return pl.DataFrame({"n": [low]})

    return number


CONFIG = {"api": {"size": 7}, "versions": {"gnomad": "v4"}}


def test_what_was_just_stored_is_as_a_call_would_return_it() -> None:
    """A result that nothing changed for has no cause, and is published."""
    with run(CONFIG):
        declared()(low=3)
    found = only(declared(), CONFIG)
    assert (found.role, found.causes, found.problem) == ("published", {}, "")
    assert not found.is_outdated


def test_a_setting_and_a_source_that_were_handed_in() -> None:
    """Other values of what the config states are told, with the old and the new one."""
    with run(CONFIG):
        declared()()
    found = only(declared(), {"api": {"size": 8}, "versions": {"gnomad": "v5"}})
    assert found.causes.keys() == {"config", "source"}
    assert found.causes["config"][0].startswith("size: 7 → 8")
    assert found.causes["source"][0].startswith("source gnomad: v4 → v5")


def test_what_the_caller_gave_is_his() -> None:
    """An argument of the call is no cause, whatever the config states for it now."""
    with run(CONFIG):
        declared()(size=9, of="v3")
    other = {"api": {"size": 8}, "versions": {"gnomad": "v5"}}
    assert only(declared(), other).causes == {}


@pytest.mark.parametrize("among", [False, True])
def test_a_file_that_was_given(tmp_path: Path, among: bool) -> None:  # noqa: FBT001 - a case
    """A file that holds something else, or is gone, is another input; until then it is not."""
    path = tmp_path / "it's a.vcf"
    path.write_text("one")

    @checkpoint(name="outdating_file", version="1")
    def lines(of: Any, other: str = "Path('x')") -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    lines([path, path] if among else path)
    assert only(lines).causes == {}
    path.write_text("other")
    found = only(lines)
    assert found.causes.keys() == {"input"}
    assert found.causes["input"][0].startswith("of: ")
    path.write_text("one")
    assert only(lines).causes == {}
    path.unlink()
    assert only(lines).causes.keys() == {"input"}


def test_what_nobody_states_any_more_can_not_be_told() -> None:
    """A source without a version is a problem of that row, and no error of all."""
    with run(CONFIG):
        declared()()
    found = only(declared(), {"api": {"size": 7}})
    assert "gnomad" in found.problem
    assert not found.causes


def test_a_version_that_replaces_code() -> None:
    """Another version counts as other code."""
    with run(CONFIG):
        declared()()
        declared()(low=2)

    @checkpoint(name="outdating_number", version="2")
    def number(
        low: int = 1, size: int = setting("api.size", default=5), of: str = source("gnomad")
    ) -> pl.DataFrame:
        return pl.DataFrame({"n": [low]})

    assert only(number, CONFIG).causes == {"code": ("version outdating_number: 1 → 2",)}


def test_declared_config_sources_and_inputs() -> None:
    """What the decorator declares is compared as it is now."""
    at = {"config": ["api.size"], "inputs": ["outdating_table"]}
    with PipelineStore(current_run().backend.path) as opened:
        opened.save_dataframe(pl.DataFrame({"a": [1]}), "outdating_table")
        with run(CONFIG):
            declared(sources={"hpa": "23"}, **at)()
        opened.save_dataframe(pl.DataFrame({"a": [2]}), "outdating_table")
    found = only(declared(sources={"hpa": "24"}, **at), CONFIG | {"api": {"size": 8}})
    assert found.causes.keys() == {"config", "source", "input"}
    assert "config api.size: 7 → 8" in found.causes["config"][0] + found.causes["config"][1]
    assert found.causes["source"] == ("source hpa: 23 → 24",)


def test_no_probe_is_asked() -> None:
    """A source that would have to be asked counts as what it answered last."""
    asked: list[int] = []

    def probe() -> str:
        asked.append(1)
        return "2026-11"

    with run(CONFIG):
        declared(sources={"clinvar": probe})()
    before = len(asked)
    assert only(declared(sources={"clinvar": probe}), CONFIG).causes == {}
    assert len(asked) == before


def test_what_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that is older than its function allows is told with its age."""
    with run(CONFIG):
        declared()()
    monkeypatch.setattr(outdating, "utc_now", lambda: utc_now() + timedelta(days=8))
    assert only(declared(max_age="9d"), CONFIG).causes == {}
    (said,) = only(declared(max_age="7d"), CONFIG).causes["age"]
    assert said.startswith("expired: 8 d old")


def test_other_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library with other rules for keys finds no older result, and says so."""
    with run(CONFIG):
        declared()()
    monkeypatch.setattr(outdating, "KEY_RULES", keys.KEY_RULES + 1)
    assert only(declared(), CONFIG).causes == {"rules": ("1 → 2",)}


@checkpoint(name="outdating_inner", version="1")
def inner(low: int = 1) -> pl.DataFrame:
    """Return a number."""
    return pl.DataFrame({"n": [low]})


@checkpoint(name="outdating_outer")
def outer() -> pl.DataFrame:
    """Return the number of another checkpoint."""
    return inner()


def test_what_a_result_was_made_from() -> None:
    """A result that was read and is another one by now is told by its name."""
    outer()
    assert only(outer).causes == {}
    inner.forget()
    assert only(outer).causes == {"input": ("call outdating_inner is another version",)}


def test_pinned_results_have_a_row() -> None:
    """Besides the published one, what is pinned has a row, and nothing else."""
    for low in (1, 2, 3):
        inner(low)
    pinned = inner.key(1).digest
    with PipelineStore(current_run().backend.path) as opened:
        opened.pin("outdating_inner", pinned)
    found = [(each.role, each.key) for each in standings([inner])]
    assert found == [("published", inner.key(3).digest), ("pinned", pinned)]


def mapped(factor: int, **options: Any) -> Any:
    """Return a checkpoint of items, whose code has a number in it."""

    @checkpoint(name="outdating_items", **options)
    def items(gene: str) -> pl.DataFrame:
        return pl.DataFrame({"gene": [gene], "n": [factor]})

    return items


def test_a_map_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a map it is said how many items are of older code, and how many have expired."""
    mapped(1).mapped(over="gene")(["USH2A", "MYO7A"])
    roles = {each.role: each for each in standings([mapped(1)])}
    assert roles.keys() == {"published", "mapped"}
    assert not any(each.is_outdated for each in roles.values())
    roles = {each.role: each for each in standings([mapped(2)])}
    assert roles["mapped"].causes == {"code": ("2 of 2 items are of older code",)}
    assert roles["published"].causes.keys() == {"code"}
    monkeypatch.setattr(outdating, "utc_now", lambda: utc_now() + timedelta(days=8))
    roles = {each.role: each for each in standings([mapped(1, max_age="7d")])}
    assert roles["mapped"].causes == {"age": ("2 of 2 items have expired",)}


def test_a_map_that_gave_no_result_yet() -> None:
    """Its probes count as what they answered for its items."""

    @checkpoint(name="outdating_probed", sources={"clinvar": lambda: "2026-11"})
    def probed(gene: str) -> pl.DataFrame:
        if gene == "X":
            raise ValueError("unknown")
        return pl.DataFrame({"gene": [gene]})

    with pytest.raises(MapIncompleteError, match="unknown"):
        probed.mapped(over="gene")(["USH2A", "X"])
    (found,) = standings([probed])
    assert (found.role, found.causes, found.problem) == ("mapped", {}, "")


def test_nothing_is_written(tmp_path: Path) -> None:
    """Where there is no store nothing stands anywhere, and none is made."""
    assert standings([inner, outer]) == []
    assert list(tmp_path.iterdir()) == []
