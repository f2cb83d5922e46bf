"""The demo: a real pipeline on real genes, three times."""

from __future__ import annotations

import json
import os
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import polars as pl
import pytest

from usher_pipeline.demo import api, passes
from usher_pipeline.errors import StoreError
from usher_pipeline.persistence import PipelineStore


@pytest.fixture
def played(tmp_path: Path) -> passes.Demo:
    """A demo that was played, as fast as it can."""
    return passes.play(tmp_path / "demo", lambda _: None, delay_s=0)


def outcomes(each: passes.Pass) -> list[tuple[str, str]]:
    """Return what each call of a pass did."""
    return [(line.step, line.outcome) for line in each.lines]


def test_the_extract_is_small_and_whole() -> None:
    """The genes that ship with the package are all 18,243, in at most 400 KB."""
    folder = files("usher_pipeline.demo")
    with as_file(folder / "genes.parquet") as path:
        assert path.stat().st_size <= 400_000
        genes = pl.read_parquet(path)
    assert genes.height == genes["gene_id"].n_unique() == 18_243
    assert "18,243" in (folder / "ORIGIN.md").read_text("utf-8")


def test_the_three_passes(played: passes.Demo) -> None:
    """Cold all is computed; again all are hits; then only what the threshold changes runs."""
    first, second, third = played.passes
    steps = ["gene_universe", "gene_evidence", "ranked_genes"]
    assert outcomes(first) == [(step, "computed") for step in steps]
    assert outcomes(second) == [(step, "hit") for step in steps]
    assert outcomes(third) == list(zip(steps, ["hit", "hit", "computed"], strict=True))
    assert third.lines[2].reason == "min_score: 0.5 → 0.6 (config.yaml:18)"
    assert [line.row_count for line in first.lines[:2]] == [18_243, 18_243]
    assert third.lines[2].row_count < second.lines[2].row_count


def test_the_genes_are_ranked(played: passes.Demo) -> None:
    """The file holds the genes of the last pass, best first, by the weighted mean."""
    ranked = pl.read_parquet(played.output)
    assert ranked.height == played.passes[2].lines[2].row_count
    assert ranked["rank"].to_list() == list(range(1, ranked.height + 1))
    assert ranked["score"].is_sorted(descending=True)
    assert ranked["score"].min() >= 0.6  # type: ignore[operator]
    assert ranked["score"].max() <= 1.0  # type: ignore[operator]
    assert ranked["layers"].min() >= 4  # type: ignore[operator]


def test_the_sidecar_says_where_they_come_from(played: passes.Demo) -> None:
    """It has all three steps, and the fetches bear the run that really made them."""
    sidecar = json.loads(played.sidecar.read_text("utf-8"))
    steps = sidecar["processing_steps"]
    assert [step["step_name"] for step in steps] == [
        "gene_universe",
        "gene_evidence",
        "ranked_genes",
    ]
    runs = [step["details"]["run_id"] for step in steps]
    assert runs[0] == runs[1] != runs[2] == sidecar["run"]["run_id"]
    assert sidecar["data_source_versions"]["gnomad"] == "v4.1"


def test_the_tables_are_plain(played: passes.Demo) -> None:
    """The store holds the three tables under their plain names."""
    with PipelineStore(played.store) as store:
        sql = "SELECT count(*) FROM gene_universe JOIN gene_evidence USING (gene_id)"
        assert store.execute_query(sql).item() == 18_243


def test_a_second_demo_starts_clean(played: passes.Demo) -> None:
    """Played again it computes again, and leaves alone what it did not make."""
    mine = played.folder / "notes.txt"
    mine.write_text("mine")
    again = passes.play(played.folder, lambda _: None, delay_s=0)
    assert {outcome for _, outcome in outcomes(again.passes[0])} == {"computed"}
    assert mine.read_text() == "mine"


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    """A folder with files that no demo made is not touched."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="holds files that no demo made"):
        passes.play(tmp_path, lambda _: None)
    with pytest.raises(StoreError, match="it is a file"):
        passes.play(tmp_path / "thesis.tex", lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def fetch(address: str) -> Any:
    """Return what the API answers."""
    with build_opener(ProxyHandler({})).open(address) as answer:
        return json.load(answer)


def test_the_api_serves_pages() -> None:
    """Pages follow one another without gap or overlap, and end."""
    with api.serving(delay_s=0) as address:
        one, two = (fetch(f"{address}/genes?page={n}&size=2000") for n in (1, 2))
        last = fetch(f"{address}/genes?page=10&size=2000")
        past = fetch(f"{address}/genes?page=11&size=2000")
        large = fetch(f"{address}/evidence?size=999999")
    identities = [record["gene_id"] for record in one["records"] + two["records"]]
    assert len(set(identities)) == 4000
    assert identities == sorted(identities)
    assert (len(last["records"]), len(past["records"])) == (243, 0)
    assert len(large["records"]) == api.PAGE_LIMIT


@pytest.mark.parametrize(
    "path", ["/nothing", "/genes?page=0", "/genes?size=x", "/genes?size=0"]
)
def test_the_api_refuses_nonsense(path: str) -> None:
    """What is not there is 404, and the server lives on."""
    with api.serving(delay_s=0) as address:
        with pytest.raises(HTTPError, match="404") as caught:
            fetch(address + path)
        caught.value.close()
        assert fetch(f"{address}/genes?size=1")["total"] == 18_243


def test_a_proxy_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API is on this machine, and is reached whatever proxy is set for the rest."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    demo = passes.play(tmp_path / "demo", lambda _: None, delay_s=0)
    assert demo.passes[0].lines[0].row_count == 18_243


LEAKS: Final = {
    "USHER_CONFIG": "nowhere.yaml",
    "USHER_DISABLE": "1",
    "USHER_ON_CODE_CHANGE": "error",
    "USHER_REFRESH": "*",
    "USHER_STORE": "elsewhere.duckdb",
}


def test_settings_of_others_do_not_reach_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is set for other pipelines, the second pass is all hits."""
    for name, value in LEAKS.items():
        monkeypatch.setenv(name, value)
    with passes.quiet(os.environ):
        demo = passes.play(tmp_path / "demo", lambda _: None, delay_s=0)
    assert {outcome for _, outcome in outcomes(demo.passes[1])} == {"hit"}
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize("method", ["mkdir", "write_text", "unlink"])
def test_a_folder_that_can_not_be_written_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Where nothing can be written, or nothing removed, the demo says so and runs nothing."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(StoreError, match=r"can not be written: .*Read-only.* Give --folder"):
        passes.play(tmp_path / "demo", lambda _: None)


def test_a_demo_that_was_cleared_half_way_can_be_played(
    played: passes.Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted demo leaves behind is still taken for a demo's own."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr(passes, "rmtree", stop)
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        passes.play(played.folder, lambda _: None)
    monkeypatch.undo()
    assert passes.play(played.folder, lambda _: None, delay_s=0).output.is_file()


def test_quiet_is_taken_back() -> None:
    """What was set before is hidden and comes back, also after an error."""
    before: dict[str, str]
    for before in ({}, {"USHER_LOG": "loud", "HOME": "/root"}, dict(LEAKS)):
        environment = dict(before)
        with pytest.raises(ZeroDivisionError, match="zero"), passes.quiet(environment):  # noqa: PT012
            usher = {name for name in environment if name.startswith("USHER_")}
            assert usher == {"USHER_LOG"}
            assert environment["USHER_LOG"] == "quiet"
            _ = 1 / 0
        assert environment == before
    assert "USHER_LOG" not in os.environ
