"""`usher doctor`: the environment, the disk, the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import usher_pipeline
from usher_pipeline.cli import checkup
from usher_pipeline.cli.checkup import environment

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.cli.conftest import Call, CallJson


def test_all_is_well(store: Path, call: Call, call_json: CallJson) -> None:
    """Versions, settings and the store are told; without a problem the exit code is 0."""
    found = call_json("doctor", "--store", store)
    assert found["is_well"] is True
    said = {check["subject"]: check["said"] for check in found["checks"]}
    assert said["usher_pipeline"] == usher_pipeline.__version__
    assert said["store"] == f"{store} (--store)"
    assert {"python", "duckdb", "polars", "config", "free space", "database"} <= said.keys()
    assert "PROBLEM" not in call("doctor", "--store", store).output


def test_a_problem_is_exit_code_4(store: Path, call: Call) -> None:
    """A problem is marked, and a hint below says what to do."""
    store.write_text("no database", "utf-8")
    done = call("doctor", "--store", store)
    assert done.exit_code == 4
    (line,) = [line for line in done.output.splitlines() if "PROBLEM" in line]
    assert line.startswith("database ")
    assert "hint: database: " in done.output


def test_a_config_that_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """What is in force and can not be is a problem, and no end of the examination."""
    (tmp_path / "config.yaml").write_text("a: [", "utf-8")
    monkeypatch.setenv("USHER_CONFIG", "config.yaml")
    done = call("doctor")
    assert done.exit_code == 4
    assert "in force" in done.output


def test_no_secret_is_shown() -> None:
    """Variables of the library are told without the credentials in them."""
    said = [c.said for c in environment({"USHER_STORE": "s.duckdb?token=abcdef12", "A": "b"})]
    assert not any("abcdef12" in text for text in said)
    assert not any(c.subject == "A" for c in environment({"A": "b"}))


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed and not installed is a problem, with how to get it."""
    monkeypatch.setattr(checkup, "_NEEDED", ("no-such-distribution",))
    (check,) = [c for c in environment({}) if c.subject == "no-such-distribution"]
    assert (check.state, check.hint) == ("problem", "pip install no-such-distribution")
