"""The command `usher`: what it prints, and how it fails."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    """Take back what a command configured for the whole process."""
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


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Looking creates nothing."""
    done = call("list", "--store", tmp_path / "nowhere.duckdb")
    assert done.exit_code == 1
    assert "there is no store at" in done.output
    assert list(tmp_path.iterdir()) == []


def test_where_says_what_is_in_force_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place that can name the store is listed, and the one that won."""
    monkeypatch.setenv("USHER_STORE", "mine.duckdb")
    said = call("where").output
    assert f"store    {tmp_path / 'mine.duckdb'} (USHER_STORE)" in said
    assert "[tool.usher] in pyproject.toml" in said
    assert f"project  {tmp_path}" in said


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
