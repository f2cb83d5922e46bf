"""`usher load`, `export`, `sql`: results as files, and as answers to queries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call, CallJson

NAME = "cli größe 🧬"


@checkpoint(name="in_parts")
def in_parts() -> dict[str, pl.DataFrame]:
    """Return two frames."""
    return {"a": pl.DataFrame({"x": [1]}), "b": pl.DataFrame({"y": [2, 3]})}


@checkpoint(name="nested")
def nested() -> pl.DataFrame:
    """Return what no CSV can hold."""
    return pl.DataFrame({"lists": [[1], [2, 3]]})


# --- load -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow"])
def test_load_writes_the_current_result(
    store: Path, tmp_path: Path, call: Call, ending: str
) -> None:
    """The ending says the format; the steps that led to the result lie beside it."""
    target = tmp_path / f"n.{ending}"
    done = call("load", NAME, "-o", target, "--store", store)
    assert done.exit_code == 0
    assert f"3 × 1 → {target}" in done.output
    read: Any = {"parquet": pl.read_parquet, "csv": pl.read_csv, "arrow": pl.read_ipc}[ending]
    assert read(target)["n"].to_list() == [0, 1, 2]
    sidecar = json.loads((tmp_path / "n.provenance.json").read_text("utf-8"))
    assert sidecar["output"]["checkpoint"] == NAME


def test_load_writes_an_older_result(
    store: Path, tmp_path: Path, call: Call, call_json: CallJson
) -> None:
    """The beginning of a key names any result."""
    older = call_json("show", NAME, "--store", store)["entries"][1]["key"]
    target = tmp_path / "n.parquet"
    assert call("load", NAME, "-o", target, "--key", older[:9], "--store", store).exit_code == 0
    assert pl.read_parquet(target).height == 2


def test_load_writes_a_table(store: Path, tmp_path: Path, call: Call) -> None:
    """A table that was saved by hand is written like a result."""
    target = tmp_path / "t.csv"
    assert call("load", "by_hand", "-o", target, "--store", store).exit_code == 0
    assert target.read_text("utf-8") == "a\n1\n"


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (["nix", "-o", "a.csv"], (3, "it has no table 'nix'")),
        ([NAME, "-o", "a.csv", "--key", "zz"], (3, "it has no result of")),
        (["by_hand", "-o", "a.csv", "--key", "zz"], (3, "It has none at all.")),
        ([NAME, "-o", "a.xyz"], (1, "Use one of .parquet")),
        ([NAME], (2, "Missing option '--output'")),
    ],
)
def test_what_can_not_be_loaded(
    store: Path, tmp_path: Path, call: Call, arguments: list[str], ending: tuple[int, str]
) -> None:
    """Absence, a wrong ending and wrong usage have their exit codes; nothing is written."""
    done = call("load", *arguments, "--store", store)
    assert done.exit_code == ending[0]
    assert ending[1] in done.stderr
    assert not list(tmp_path.glob("a.*"))


def test_a_lost_result_is_not_stored(store: Path, tmp_path: Path, call: Call) -> None:
    """What neither half of the store has any more is told as absence."""
    for segment in (tmp_path / "store.checkpoints").glob("*/*.arrow"):
        segment.unlink()
    store.unlink()
    done = call("load", NAME, "-o", tmp_path / "n.csv", "--store", store)
    assert done.exit_code == 3
    assert "lost or damaged" in done.stderr


def test_a_dictionary_names_its_frames(tmp_path: Path, call: Call) -> None:
    """A result of several frames is no single file; the hint says which names there are."""
    path = tmp_path / "s.duckdb"
    with run(store=path):
        in_parts()
    done = call("load", "in_parts", "-o", tmp_path / "p.csv", "--store", path)
    assert "Name one of them: in_parts__a, in_parts__b." in done.stderr
    assert done.exit_code == 1


# --- export -----------------------------------------------------------------------------


def test_export_writes_all_that_is_stored(
    store: Path, tmp_path: Path, call_json: CallJson
) -> None:
    """Without names each name becomes a file; of a dictionary each of its frames does."""
    with run(store=store):
        in_parts()
    out = tmp_path / "deep" / "out"
    done = call_json("export", "-o", out, "--store", store)
    names = [each["name"] for each in done["written"]]
    assert names == ["by_hand", NAME, "in_parts__a", "in_parts__b"]
    files = {path.name for path in out.glob("*.parquet")}
    assert {"by_hand.parquet", "in_parts__a.parquet"} <= files
    assert len(files) == len(list(out.glob("*.provenance.json"))) == 4


def test_what_can_not_be_exported_stops_nothing_else(tmp_path: Path, call: Call) -> None:
    """A frame that the format can not hold is told, the others are written; exit code 1."""
    path = tmp_path / "s.duckdb"
    with run(store=path):
        nested()
        in_parts()
    out = tmp_path / "out"
    done = call("export", "-o", out, "--format", "csv", "--store", path)
    assert done.exit_code == 1
    assert "Its writer says" in done.output or "ending" in done.output
    assert {path.name for path in out.glob("*.csv")} == {"in_parts__a.csv", "in_parts__b.csv"}


def test_an_unknown_name_exports_nothing(store: Path, tmp_path: Path, call: Call) -> None:
    """All names are looked up before the first file is written."""
    done = call("export", "by_hand", "nix", "-o", tmp_path / "out", "--store", store)
    assert done.exit_code == 3
    assert not (tmp_path / "out").exists()


# --- sql --------------------------------------------------------------------------------


def test_sql_answers(store: Path, call: Call, call_json: CallJson) -> None:
    """Every name is a table; answers are columns of text, or JSON with all rows."""
    query = f'SELECT n, NULL AS nothing FROM "{NAME}" ORDER BY n'
    assert call("sql", query, "--store", store).output.splitlines() == [
        "n  nothing",
        "0",
        "1",
        "2",
    ]
    found = call_json("sql", query, "--store", store, "--limit", 1)
    assert found["columns"] == ["n", "nothing"]
    assert found["rows"] == [[0, None], [1, None], [2, None]]


def test_sql_says_what_it_does_not_print(store: Path, call: Call) -> None:
    """Beyond the limit the number of further rows is told."""
    said = call("sql", "FROM range(5)", "--limit", 2, "--store", store).output
    assert said.splitlines()[-1] == "… 3 more rows; --limit shows more."


def test_sql_from_the_input_to_a_file(store: Path, tmp_path: Path, call: Call) -> None:
    """A hyphen reads the query from the input; -o writes the answer."""
    target = tmp_path / "a.parquet"
    done = call("sql", "-", "-o", target, "--store", store, answer="SELECT 42 AS answer")
    assert done.exit_code == 0
    assert pl.read_parquet(target)["answer"].to_list() == [42]


def test_sql_changes_nothing(store: Path, call: Call) -> None:
    """A statement that is no query is refused, and the hint says what runs it."""
    done = call("sql", "DROP TABLE by_hand", "--store", store)
    assert done.exit_code == 1
    assert "expected one query, got DROP" in done.stderr
    with PipelineStore(store) as opened:
        assert opened.has_checkpoint("by_hand")
