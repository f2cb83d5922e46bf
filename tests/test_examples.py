"""The examples run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from usher_pipeline import entries, run

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES: Final = Path(__file__).parents[1] / "examples"


def ran(example: str) -> str:
    """Run an example in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example)],
        env={**os.environ, "USHER_STORE": "store.duckdb", "USHER_LOG": "quiet"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_map_on_a_dask_cluster() -> None:
    """Workers of the cluster are asked, the client stores, and nobody is asked again."""
    said = "8 genes, all asked in other processes: True\n"
    assert ran("dask_map.py") == said
    with run(store="store.duckdb"):
        (first,) = entries("gene_lengths")
    assert ran("dask_map.py") == said
    with run(store="store.duckdb"):
        assert entries("gene_lengths") == [first]
    assert first.mapped is not None
    assert first.mapped.asked_count == 8


# --- notebooks --------------------------------------------------------------------------


def texts_of(cells: list[dict[str, Any]], kind: str = "text/plain") -> str:
    """Return what some cells put out as text, and what they displayed in a form."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    shown = (o.get("text") or o.get("data", {}).get(kind, "") for o in outputs)
    return "\n".join(shown)


def test_what_one_notebook_fetched_another_one_reuses(
    executed: Callable[[Path], list[dict[str, Any]]],
) -> None:
    """One notebook fetches and computes, another one in a new process only reads, offline."""
    fetched = executed(EXAMPLES / "fetch.ipynb")
    with run(store="genes.duckdb"):
        first = entries()
    assert {entry.name for entry in first} == {"genes", "evidence", "ranked_genes"}
    said = texts_of(fetched)
    assert said.count("computed (first call)") == 3
    assert "3 stored results" in texts_of(fetched, "text/html")

    reused = executed(EXAMPLES / "reuse.ipynb")
    said = texts_of(reused)
    assert "ranked_genes · hit" in said
    assert "computed" not in said
    assert "papers has no stored result" in said
    assert "WEIGHTS in helper weighted() changed" in texts_of(reused, "text/html")
    # Both show the same genes, and nothing new is stored.
    ranked = [texts_of([c]).partition("shape")[2] for c in (fetched[5], reused[3])]
    assert "MAP1B" in ranked[0]
    assert ranked[0] == ranked[1]
    with run(store="genes.duckdb"):
        assert entries() == first
    # Run again, the first one fetches nothing.
    said = texts_of(executed(EXAMPLES / "fetch.ipynb"))
    assert "computed" not in said
    assert said.count(" · hit · ") == 3


@pytest.mark.parametrize("name", ["fetch", "reuse"])
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    """What is kept of an example is what people wrote."""
    kept = json.loads((EXAMPLES / f"{name}.ipynb").read_text("utf-8"))
    code = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
