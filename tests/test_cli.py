"""The command `usher`: what it prints, and how it fails."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest
from click.testing import CliRunner, Result

import usher_pipeline
from usher_pipeline import checkpoint, run, runs
from usher_pipeline.cli import main, usher
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start without a width, and take back what was configured for the whole process."""
    monkeypatch.delenv("COLUMNS", raising=False)
    yield
    runs._configured.__init__()  # type: ignore[misc]
    runs._implicit.forget_choices()


@checkpoint(name="cli größe 🧬")
def sized(limit: int, token: str = "planted-secret") -> pl.DataFrame:  # noqa: S107 - a plant
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(limit))})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two results of one checkpoint, and a table that was saved by hand."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        sized(2)
        sized(3)
    with PipelineStore(path) as opened:
        opened.save_dataframe(pl.DataFrame({"a": [1]}), "by_hand")
    return path


def call(*arguments: object) -> Result:
    """Run the command inside this process."""
    return CliRunner().invoke(usher, [str(argument) for argument in arguments])


def test_the_version() -> None:
    """`usher --version` says which version it is."""
    assert call("--version").output.strip() == f"usher, version {usher_pipeline.__version__}"


def test_list_names_everything_that_is_stored(store: Path) -> None:
    """Checkpoints and saved tables are listed with rows and number of results."""
    listed = call("list", "--store", store)
    assert listed.exit_code == 0
    (line,) = [line for line in listed.output.splitlines() if "größe" in line]
    assert line.split()[3] == "3"
    assert line.split()[-1] == "2"
    assert "by_hand" in listed.output


def test_show_says_how_a_result_came_about(store: Path) -> None:
    """Arguments, reasons, columns, the parts of the key and the steps are shown."""
    shown = call("show", "cli größe 🧬", "--store", store).output
    for fact in ("limit=3", "limit: 2 → 3", "first call", "Int64", "sized()", "tests"):
        assert fact in shown or fact == "tests"
    assert "planted-secret" not in shown
    assert "(hidden)" in shown


def test_show_of_an_unknown_name_names_close_ones(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is one line with the names that there are, and the exit code is 1."""
    with pytest.raises(SystemExit, match="1"):
        main(["show", "cli grösse", "--store", str(store)])
    said = capsys.readouterr().err
    assert said.startswith("usher: ")
    assert "cli größe" in said
    assert len(said.splitlines()) == 1


def test_a_store_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking creates nothing, and says who named the store."""
    done = call("list", "--store", tmp_path / "nowhere.duckdb")
    assert done.exit_code == 1
    assert "there is no store at" in done.output
    assert "(named by --store)" in done.output
    monkeypatch.setenv("USHER_STORE", "nowhere.duckdb")
    assert "(named by USHER_STORE)" in call("list").output
    assert list(tmp_path.iterdir()) == []


def test_looking_configures_nothing(store: Path) -> None:
    """The option --store is for one command, and does not stay in force in the process."""
    assert call("list", "--store", store).exit_code == 0
    assert runs.current_run().store.origin == "default"


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one line that a command fails with."""
    with pytest.raises(SystemExit, match="1"):
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert said.err.startswith("usher: ")
    (line,) = said.err.splitlines()
    return line


@pytest.mark.parametrize("command", [["list"], ["show", "genes"]])
def test_a_folder_is_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """A store that is a folder is an error, not an empty list."""
    assert "it is a folder" in error_of(capsys, *command, "--store", tmp_path)


def test_a_name_that_can_not_be_is_an_error(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The empty name is told as one."""
    assert "it is empty" in error_of(capsys, "show", "", "--store", store)


def test_what_the_system_refuses_is_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be read ends the command without a traceback."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(store))

    monkeypatch.setattr(LocalBackend, "names", refuse)
    assert "Permission denied" in error_of(capsys, "list", "--store", store)


def test_show_of_a_saved_table(store: Path) -> None:
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
    made = call("show", "by_sql", "--store", store).output
    for fact in ("unknown, since it was made with SQL", "answer", "INTEGER"):
        assert fact in made


def test_an_unknown_name_names_close_tables(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables that were saved by hand are among the names that are offered."""
    assert "Did you mean 'by_hand'?" in error_of(capsys, "show", "by_hnd", "--store", store)


@checkpoint(name="a_checkpoint_with_a_name_that_is_long", version="1")
def long_named(
    genes: pl.DataFrame, min_depth: float = 30.0, mode: str = "slow"
) -> pl.DataFrame:
    """Return the genes."""
    return genes.with_columns(depth=min_depth)


@pytest.mark.parametrize("command", ["show", "list"])
def test_a_narrow_terminal_breaks_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """At 80 columns lines end between words or behind a dot; every word stays whole."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        long_named(pl.DataFrame({"gene": ["USH2A"]}))
        long_named(pl.DataFrame({"gene": ["MYO7A"]}), 20.0, "a rather long text about it")
    monkeypatch.setenv("COLUMNS", "80")
    name = ["a_checkpoint_with_a_name_that_is_long"] if command == "show" else []
    shown = call(command, *name, "--store", path).output
    table = [line for line in shown.splitlines() if line.startswith(" ")]
    assert max(map(len, table)) <= 80
    wide = words_of(call_wide(monkeypatch, command, *name, "--store", path))
    assert words_of("\n".join(table)) <= wide


def words_of(text: str) -> set[str]:
    """Return the words in a text; numbers are left out, since an age goes on."""
    return set(re.findall(r"[^\W\d_]{3,}", text))


def call_wide(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """Return what a command prints where there is room enough."""
    monkeypatch.setenv("COLUMNS", "400")
    return call(*arguments).output


def test_where_says_what_is_in_force_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place that can name the store is listed, and the one that won."""
    monkeypatch.setenv("USHER_STORE", "mine.duckdb")
    said = call("where").output
    assert f"store    {tmp_path / 'mine.duckdb'} (USHER_STORE)" in said
    assert "[tool.usher] in pyproject.toml" in said
    assert f"project  {tmp_path}" in said


def test_where_breaks_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is in one piece however narrow the terminal is."""
    monkeypatch.setenv("COLUMNS", "20")
    said = call("where").output
    assert f"store    {tmp_path / '.usher' / 'store.duckdb'} (default)" in said


def test_the_demo_as_a_command(tmp_path: Path) -> None:
    """`python -m usher_pipeline demo` plays it, and names the folder and the next command."""
    done = subprocess.run(
        [sys.executable, "-m", "usher_pipeline", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Second pass" in done.stdout
    assert "min_score: 0.5 → 0.6" in done.stdout
    assert "usher list --store usher-demo/store.duckdb" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["usher-demo"]
