"""`usher list`, `show` and `where`: what they print, and how they fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, run, runs
from usher_pipeline.cli import looking
from usher_pipeline.errors import MapIncompleteError, StoreBusyError
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.tables import Tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call, CallJson

NAME = "cli größe 🧬"


# --- list -------------------------------------------------------------------------------


def test_list_names_everything_that_is_stored(store: Path, call: Call) -> None:
    """Checkpoints and saved tables are listed with rows and number of results."""
    listed = call("list", "--store", store)
    assert listed.exit_code == 0
    (line,) = [line for line in listed.output.splitlines() if "größe" in line]
    assert line.split()[3] == "3"
    assert line.split()[-1] == "2"
    assert "by_hand" in listed.output


def test_list_for_programs(store: Path, call_json: CallJson) -> None:
    """The JSON of a list has the names with quantities whose units are in their names."""
    listed = call_json("list", "--store", store)
    assert (listed["command"], listed["format"], listed["store"]) == ("list", 1, str(store))
    by_name = {each["name"]: each for each in listed["names"]}
    assert by_name[NAME]["row_count"] == 3
    assert by_name[NAME]["entry_count"] == 2
    assert by_name["by_hand"]["entry_count"] == 0
    assert by_name["by_hand"]["size_bytes"] is None
    assert by_name[NAME].keys() == {
        *("name", "created_at", "row_count", "entry_count"),
        *("column_count", "size_bytes", "elapsed_s", "kind"),
    }


def test_list_while_the_database_is_held(
    store: Path, call: Call, call_json: CallJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of checkpoints are listed all the same, and it is said that tables are not."""
    listing = LocalBackend(store).segments.folder / ".listing"
    listing.unlink()

    def refuse(tables: Tables, timeout_s: float | None = None) -> None:
        raise StoreBusyError(tables.path, "python (PID 7)", timeout_s or 0.0)

    monkeypatch.setattr(Tables, "reading", refuse)
    said = "tables that no checkpoint made are not listed: the database is held by python"
    assert call("list", "--store", store).output.splitlines()[-1].startswith(said)
    listed = call_json("list", "--store", store)
    assert [each["name"] for each in listed["names"]] == [NAME]
    assert listed["problem"].startswith(said)
    # Where the folder is gone as well, nobody knows anything.
    shutil.rmtree(LocalBackend(store).segments.folder)
    assert call("list", "--store", store).exit_code == 1


@checkpoint(name="of frames")
def of_frames() -> dict[str, pl.DataFrame]:
    """Return two frames."""
    return {"a": pl.DataFrame({"x": [1]}), "b": pl.DataFrame({"x": [1, 2, 3]})}


def test_list_counts_the_frames_of_a_dictionary(tmp_path: Path, call: Call) -> None:
    """A dictionary has frames, which are listed by themselves, and no rows or columns."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        of_frames()
    lines = call("list", "--store", path).output.splitlines()
    (line,) = [line for line in lines if line.startswith("of frames ")]
    # Behind the frames there is the size already.
    assert re.match(r"of frames +2 frames +\d+ B ", line)


def test_list_loads_no_heavy_library(store: Path) -> None:
    """What is stored is listed without a database or a frame library, and without rich."""
    program = (
        "import sys\nfrom usher_pipeline.cli import usher\n"
        f"try:\n    usher.main(['list', '--store', {str(store)!r}])\n"
        "except SystemExit as end:\n    print(end.code, *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        check=True,
    )
    *listed, modules = done.stdout.splitlines()
    assert any("by_hand" in line for line in listed)
    heavy = {"duckdb", "numpy", "pandas", "polars", "pyarrow", "pydantic", "rich", "yaml"}
    assert modules.split()[0] == "0"
    assert heavy & set(modules.split()) == set()


# --- show -------------------------------------------------------------------------------


def test_show_says_how_a_result_came_about(store: Path, call: Call) -> None:
    """Arguments, reasons, columns, the parts of the key and the steps are shown."""
    shown = call("show", NAME, "--store", store).output
    for fact in ("limit=3", "limit: 2 → 3", "first call", "Int64", "sized()"):
        assert fact in shown
    assert "planted-secret" not in shown
    assert "(hidden)" in shown


def test_show_of_many_results(
    store: Path, call: Call, call_json: CallJson, numbers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People are shown the newest results, and told how many more there are."""
    monkeypatch.setattr(looking, "_SHOWN_ENTRIES", 2)
    with run(store=store):
        numbers(4)
    shown = call("show", NAME, "--store", store).output
    assert f"{NAME}: 3 stored" in shown
    assert "… 1 older ones; --json has all" in shown
    assert len(call_json("show", NAME, "--store", store)["entries"]) == 3


def test_show_says_why_the_last_call_missed(store: Path, call_json: CallJson) -> None:
    """The reason of the newest result is that of the last miss."""
    assert call_json("show", NAME, "--store", store)["last_miss"]["reason"] == "limit: 2 → 3"


def test_show_says_what_the_latest_runs_did(
    store: Path, call_json: CallJson, numbers: Any
) -> None:
    """Each run tells how it was answered, newest first, a failed one with its error."""
    with run(store=store):
        numbers(3)
        numbers(3)
    failing = run(store=store)
    failing.__enter__()
    numbers(5)
    failing.__exit__(ValueError, ValueError("stopped"), None)
    lines = call_json("show", NAME, "--store", store)["runs"]
    found = [(e["outcome"], e["call_count"], e["reason"], e["error"]) for e in lines[:2]]
    assert found == [
        ("computed", 1, "limit: 3 → 5", "ValueError: stopped"),
        ("hit", 2, "", ""),
    ]
    assert len(lines) == 4


def test_show_marks_the_current_and_the_pinned(store: Path, call_json: CallJson) -> None:
    """Of the results one is current, and those are pinned that somebody pinned."""
    entries = call_json("show", NAME, "--store", store)["entries"]
    with PipelineStore(store) as opened:
        opened.pin(NAME, entries[1]["key"])
    entries = call_json("show", NAME, "--store", store)["entries"]
    assert [e["is_current"] for e in entries] == [True, False]
    assert [e["is_pinned"] for e in entries] == [False, True]


@checkpoint(name="taken in")
def taken_in() -> pl.DataFrame:
    """Return what never is computed."""
    raise RuntimeError("it would take 46 hours")


def test_show_tells_what_people_said(tmp_path: Path, call: Call) -> None:
    """That a result was adopted is part of its history."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        taken_in.adopt(pl.DataFrame({"gene": ["USH2A"]}))
    shown = call("show", "taken in", "--store", path).output
    assert "adopted, and not computed" in shown
    assert "last miss: none" in shown


@checkpoint(name="asked")
def asked(gene: str) -> pl.DataFrame:
    """Return what is known of a gene, if anything is."""
    if gene == "X":
        raise ValueError("unknown")
    return pl.DataFrame({"gene": [gene]})


def test_show_tells_of_items(tmp_path: Path, call: Call) -> None:
    """What is stored of a map is shown, whether or not it gave a result."""
    path = tmp_path / "store.duckdb"
    with run(store=path), pytest.raises(MapIncompleteError, match="unknown"):
        asked.mapped(over="gene")(["USH2A", "X"])
    shown = call("show", "asked", "--store", path)
    assert shown.exit_code == 0
    assert "mapped over gene: 1 items, 1 failed" in shown.output


def test_show_of_an_unknown_name_names_close_ones(store: Path, call: Call) -> None:
    """The error is one line, the hint has the names that there are; the exit code is 3."""
    done = call("show", "cli grösse", "--store", store)
    line, hint = done.stderr.splitlines()
    assert line.startswith("usher: ")
    assert hint.startswith("hint: ")
    assert "cli größe" in hint
    assert (done.exit_code, done.stdout) == (3, "")


def test_an_unknown_name_names_close_tables(store: Path, call: Call) -> None:
    """Tables that were saved by hand are among the names that are offered."""
    assert "Did you mean 'by_hand'?" in call("show", "by_hnd", "--store", store).stderr


def test_a_name_that_can_not_be_is_an_error(store: Path, call: Call) -> None:
    """The empty name is told as one."""
    done = call("show", "", "--store", store)
    assert "it is empty" in done.stderr
    assert done.exit_code == 1


def test_show_of_a_saved_table(store: Path, call: Call, call_json: CallJson) -> None:
    """A table that was saved without a checkpoint shows what is known of it."""
    with PipelineStore(store) as opened:
        frame = pl.DataFrame({"gene": ["USH2A", "MYO7A"], "score": [0.9, 0.2]})
        opened.save_dataframe(frame, "scores", "Scores of two genes")
        opened.execute_query("CREATE TABLE by_sql AS SELECT 42 AS answer")
        (saved,) = [r for r in opened.list_checkpoints() if r["table_name"] == "scores"]
    shown = call("show", "scores", "--store", store)
    assert shown.exit_code == 0
    for fact in ("Scores of two genes", "gene", "VARCHAR", "score", "DOUBLE"):
        assert fact in shown.output
    assert f"{saved['created_at']:%Y-%m-%d %H:%M:%S} UTC" in shown.output
    assert re.search(r"rows +2\b", shown.output)
    made = call_json("show", "by_sql", "--store", store)
    assert (made["kind"], made["created_at"]) == ("table", None)
    assert made["columns"] == {"answer": "INTEGER"}


# --- stores -----------------------------------------------------------------------------


def test_a_store_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """Looking creates nothing, and says who named the store."""
    done = call("list", "--store", tmp_path / "nowhere.duckdb")
    assert done.exit_code == 3
    assert "it is not there (named by --store)" in done.stderr
    monkeypatch.setenv("USHER_STORE", "nowhere.duckdb")
    assert "(named by USHER_STORE)" in call("list").stderr
    assert list(tmp_path.iterdir()) == []


def test_looking_configures_nothing(store: Path, call: Call) -> None:
    """The option --store is for one command, and does not stay in force in the process."""
    assert call("list", "--store", store).exit_code == 0
    assert runs.current_run().store.origin == "default"


@pytest.mark.parametrize("command", [["list"], ["show", "genes"]])
def test_a_folder_is_no_store(tmp_path: Path, call: Call, command: list[str]) -> None:
    """A store that is a folder is an error, not an empty list."""
    done = call(*command, "--store", tmp_path)
    assert "it is a folder" in done.stderr
    assert done.exit_code == 1


def test_what_the_system_refuses_is_one_line(
    store: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be read ends the command without a traceback."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(store))

    monkeypatch.setattr(LocalBackend, "recent", refuse)
    done = call("list", "--store", store)
    assert "Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- on a terminal ----------------------------------------------------------------------


@checkpoint(name="a_checkpoint_with_a_name_that_is_long", version="1")
def long_named(
    genes: pl.DataFrame, min_depth: float = 30.0, mode: str = "slow"
) -> pl.DataFrame:
    """Return the genes."""
    return genes.with_columns(depth=min_depth)


@pytest.mark.parametrize("command", ["show", "list"])
def test_a_narrow_terminal_breaks_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, command: str
) -> None:
    """At 80 columns lines end between words or behind a dot; every word stays whole."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        long_named(pl.DataFrame({"gene": ["USH2A"]}))
        long_named(pl.DataFrame({"gene": ["MYO7A"]}), 20.0, "a rather long text about it")
    name = ["a_checkpoint_with_a_name_that_is_long"] if command == "show" else []
    monkeypatch.setenv("COLUMNS", "80")
    shown = call(command, *name, "--store", path).output
    table = [line for line in shown.splitlines() if line.startswith(" ")]
    assert max(map(len, table)) <= 80
    monkeypatch.setenv("COLUMNS", "400")
    wide = words_of(call(command, *name, "--store", path).output)
    assert words_of("\n".join(table)) <= wide


def words_of(text: str) -> set[str]:
    """Return the words in a text; numbers are left out, since an age goes on."""
    return set(re.findall(r"[^\W\d_]{3,}", text))


# --- where ------------------------------------------------------------------------------


def test_where_says_what_is_in_force_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, call_json: CallJson
) -> None:
    """Every place that can name the store is listed, and the one that won."""
    monkeypatch.setenv("USHER_STORE", "mine.duckdb")
    said = call("where").output
    assert f"store    {tmp_path / 'mine.duckdb'} (USHER_STORE)" in said
    assert "[tool.usher] in pyproject.toml" in said
    assert f"project  {tmp_path}" in said
    found = call_json("where")
    assert found["store"]["path"] == str(tmp_path / "mine.duckdb")
    assert found["store"]["named_by"] == "USHER_STORE"
    assert found["store"]["considered"][-1]["source"] == "default"


def test_where_breaks_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """A path is in one piece however narrow the terminal is."""
    monkeypatch.setenv("COLUMNS", "20")
    said = call("where").output
    assert f"store    {tmp_path / '.usher' / 'store.duckdb'} (default)" in said
