"""`usher push` and `pull`: results as one file, for the store of a colleague."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call, CallJson

NAME = "cli größe 🧬"


def test_from_one_store_to_another(
    store: Path, tmp_path: Path, call: Call, call_json: CallJson
) -> None:
    """What is pushed can be pulled elsewhere; a second time there is nothing to store."""
    file, other = tmp_path / "n.usher", tmp_path / "other.duckdb"
    done = call("push", file, NAME, "--store", store)
    assert done.output.startswith(f"1 result → {file}")
    dry = call_json("pull", file, "--dry-run", "--store", other)
    assert [each["is_new"] for each in dry["results"]] == [True]
    assert not other.exists()
    assert call("pull", file, "--store", other).output.startswith("stored: 1 result of 1 in")
    assert LocalBackend(other).names() == [NAME]
    again = call("pull", file, "--store", other).output
    assert again.startswith("stored: 0 results of 1 in")
    assert "known" in again


def test_show_tells_that_it_was_pulled(
    store: Path, tmp_path: Path, call: Call, call_json: CallJson
) -> None:
    """That it came in a file is part of its history, and of what is exported."""
    file, other = tmp_path / "n.usher", tmp_path / "other.duckdb"
    call("push", file, NAME, "--store", store)
    call("pull", file, "--store", other)
    told = f"pulled from n.usher, pushed from {tmp_path.name}/store.duckdb"
    assert told in call("show", NAME, "--store", other).output
    shown = call_json("show", NAME, "--store", other)
    (said,) = shown["entries"][0]["pulled"]
    assert (said["file"], said["store"]) == ("n.usher", f"{tmp_path.name}/store.duckdb")
    call("load", NAME, "-o", tmp_path / "n.csv", "--store", other)
    sidecar = json.loads((tmp_path / "n.provenance.json").read_text("utf-8"))
    assert sidecar["processing_steps"][-1]["details"]["pulled"] == [said]
    assert call_json("show", NAME, "--store", store)["entries"][0]["pulled"] == []


def test_without_names_all_goes(store: Path, tmp_path: Path, call_json: CallJson) -> None:
    """All that checkpoints made is pushed; tables that were saved by hand are not."""
    found = call_json("push", tmp_path / "all.usher", "--store", store)
    assert [each["name"] for each in found["results"]] == [NAME]


def test_what_can_not_be_carried(store: Path, tmp_path: Path, call: Call) -> None:
    """An unknown name is absence, a file that is none an error, a missing one wrong usage."""
    assert call("push", tmp_path / "n.usher", "nix", "--store", store).exit_code == 3
    done = call("pull", store, "--store", tmp_path / "other.duckdb")
    assert done.exit_code == 1
    assert "it is no archive" in done.stderr
    assert call("pull", tmp_path / "lost.usher").exit_code == 2
