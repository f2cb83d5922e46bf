"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from usher_pipeline import entries, run

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
