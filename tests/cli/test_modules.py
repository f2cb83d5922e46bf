"""`usher warm` and `outdated`: all checkpoints of a module at once."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from usher_pipeline import registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call, CallJson

MODULE = """
import polars as pl
from usher_pipeline import checkpoint

FACTOR = 2

@checkpoint(name="warm_genes")
def genes(count: int = 3) -> pl.DataFrame:
    return pl.DataFrame({"n": range(count)})

@checkpoint(name="warm_scores", sources={"clinvar": "2026-11"})
async def scores() -> pl.DataFrame:
    return pl.DataFrame({"score": [FACTOR]})

@checkpoint(name="warm_needy")
def needy(gene: str, *more: str) -> pl.DataFrame:
    return pl.DataFrame({"gene": [gene]})
"""


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with three checkpoints, of which one needs an argument."""
    file = tmp_path / f"warm_{tmp_path.name}.py".replace("-", "_")
    file.write_text(MODULE, "utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    # What is edited within a second would be taken for what was compiled.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("USHER_STORE", str(tmp_path / "s.duckdb"))
    return file


def edit(file: Path, before: str, after: str) -> None:
    """Edit a module, as if it was imported by another process then."""
    file.write_text(file.read_text("utf-8").replace(before, after), "utf-8")
    sys.modules.pop(file.stem, None)
    for name in [name for name in registry._registry if name.startswith("warm_")]:
        registry._registry.pop(name, None)


# --- warm -------------------------------------------------------------------------------


def test_warm_calls_what_needs_no_arguments(pipeline: Path, call_json: CallJson) -> None:
    """Functions without a needed argument are called, asynchronous ones too; then all hit."""
    first = call_json("warm", pipeline)["checkpoints"]
    assert [(each["name"], each["outcome"], each["reason"]) for each in first] == [
        ("warm_genes", "computed", "first call"),
        ("warm_needy", "skipped", "it needs gene"),
        ("warm_scores", "computed", "first call"),
    ]
    again = call_json("warm", pipeline.stem)["checkpoints"]
    assert [each["outcome"] for each in again] == ["hit", "skipped", "hit"]


def test_a_dry_run_calls_nothing(pipeline: Path, tmp_path: Path, call_json: CallJson) -> None:
    """With --dry-run it is said what would be done, and there is no store afterwards."""
    found = call_json("warm", pipeline, "--dry-run")["checkpoints"]
    assert [each["outcome"] for each in found] == ["miss", "skipped", "miss"]
    assert not (tmp_path / "s.duckdb").exists()


UNSAVED = """

import warnings
from pathlib import Path

LOG = Path(__file__).with_suffix(".log")

@checkpoint(name="warm_changing")
def changing() -> pl.DataFrame:
    warnings.warn("something else", UserWarning, stacklevel=2)
    LOG.write_text(LOG.read_text() + "ran")
    return pl.DataFrame({"a": [1]})
"""


@pytest.mark.filterwarnings("always:something else:UserWarning")
def test_what_could_not_be_stored_is_not_warm(pipeline: Path, call: Call) -> None:
    """A result that a later call would not find is told as such, and is exit code 1."""
    pipeline.with_suffix(".log").write_text("")
    pipeline.write_text(pipeline.read_text("utf-8") + UNSAVED, "utf-8")
    with pytest.warns(UserWarning, match="something else"):
        done = call("warm", pipeline)
    assert done.exit_code == 1
    (row,) = [line for line in done.output.splitlines() if line.startswith("warm_changing")]
    assert "unsaved" in row
    assert "warm_changing ran, but is not stored: while it ran, the file" in row
    assert done.output.count("computed") == 2


ENDING = """

import sys

print("while it is imported")

@checkpoint(name="warm_ending")
def ending() -> pl.DataFrame:
    print("while it runs")
    sys.exit(0)
"""


def test_a_function_that_ends_the_process_fails(pipeline: Path, call: Call) -> None:
    """It is a row like any failure, and the others are called."""
    pipeline.write_text(pipeline.read_text("utf-8") + ENDING, "utf-8")
    done = call("warm", pipeline)
    assert done.exit_code == 1
    (row,) = [line for line in done.output.splitlines() if line.startswith("warm_ending")]
    assert "failed" in row
    assert done.output.count("computed") == 2


def test_what_the_module_prints_is_no_output(pipeline: Path, call: Call) -> None:
    """Programs read an object and nothing else; what is printed goes to stderr."""
    pipeline.write_text(pipeline.read_text("utf-8") + ENDING, "utf-8")
    done = call("warm", pipeline, "--json")
    assert json.loads(done.stdout)["checkpoints"][0]["name"] == "warm_ending"
    assert "while it is imported" in done.stderr
    assert "while it runs" in done.stderr


@pytest.mark.parametrize("command", ["warm", "outdated"])
def test_a_script_that_ends_is_no_answer(pipeline: Path, call: Call, command: str) -> None:
    """That it ends well while it is imported does not mean that nothing is outdated."""
    pipeline.write_text(pipeline.read_text("utf-8") + "\nraise SystemExit(0)\n", "utf-8")
    done = call(command, pipeline)
    assert done.exit_code == 1
    assert "can not be imported: SystemExit: 0. " in f"{done.stderr.splitlines()[0]} "


def test_a_file_that_is_called_like_another_module(tmp_path: Path, call: Call) -> None:
    """A file is not taken for the module of its name that was imported before."""
    file = tmp_path / "json.py"
    file.write_text(MODULE, "utf-8")
    done = call("outdated", file)
    assert done.exit_code == 1
    assert "'json' is another module" in done.stderr


def test_one_that_fails_stops_no_other(pipeline: Path, call: Call) -> None:
    """A failure is a row, with its error, and exit code 1; the others are stored."""
    edit(pipeline, '{"n": range(count)}', '{"n": range(count // 0)}')
    done = call("warm", pipeline)
    assert done.exit_code == 1
    assert "ZeroDivisionError" in done.output
    (stored,) = [line for line in done.output.splitlines() if line.startswith("warm_scores")]
    assert stored.split()[1] == "computed"


def test_a_probe_that_fails_is_a_row(pipeline: Path, call: Call) -> None:
    """What can not be foreseen is told for that checkpoint."""
    edit(pipeline, '"2026-11"}', "lambda: 1 / 0}")
    done = call("warm", pipeline, "--dry-run")
    assert done.exit_code == 1
    assert "ZeroDivisionError: division by zero" in done.output


@pytest.mark.parametrize("command", ["warm", "outdated"])
def test_a_module_that_can_not_be_used(command: str, tmp_path: Path, call: Call) -> None:
    """One that is not there, fails, or has no checkpoint, is a line and a hint."""
    said = call(command, "no_such_module").stderr
    assert "'no_such_module' can not be imported: ModuleNotFoundError" in said
    (tmp_path / "broken_one.py").write_text("1 / 0", "utf-8")
    done = call(command, tmp_path / "broken_one.py")
    assert "ZeroDivisionError" in done.stderr
    assert "defines no checkpoint" in call(command, "json").stderr
    assert done.exit_code == 1


# --- outdated ---------------------------------------------------------------------------


def test_nothing_is_outdated_at_first(pipeline: Path, call: Call) -> None:
    """What was just computed is what a call would return: exit code 0."""
    call("warm", pipeline)
    done = call("outdated", pipeline)
    assert done.exit_code == 0
    assert "yes" not in done.output
    assert "nothing is stored of: warm_needy" in done.output


def test_each_cause_has_a_column(pipeline: Path, call: Call, call_json: CallJson) -> None:
    """An edit and another source are told apart, with what changed: exit code 4."""
    call("warm", pipeline)
    edit(pipeline, "FACTOR = 2", "FACTOR = 3")
    edit(pipeline, "2026-11", "2026-12")
    found = call_json("outdated", pipeline, code=4)
    genes, scores = found["results"]
    assert (genes["name"], genes["is_outdated"], genes["causes"]) == ("warm_genes", False, {})
    assert scores["causes"] == {
        "code": ["FACTOR in scores() changed: 2 → 3"],
        "source": ["source clinvar: 2026-11 → 2026-12"],
    }
    shown = call("outdated", pipeline).output
    assert "FACTOR in scores() changed: 2 → 3; source clinvar: 2026-11 → 2026-12" in shown
    head, row = shown.splitlines()[0], shown.splitlines()[2]
    assert [name for name in ("code", "source") if row[head.index(name)] == "y"] == [
        "code",
        "source",
    ]
