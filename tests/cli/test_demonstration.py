"""`usher demo`: the command plays the three passes and says where everything is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Play the demo in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "usher_pipeline", "demo", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_demo_as_a_command(tmp_path: Path) -> None:
    """`python -m usher_pipeline demo` plays it, and names the folder and the next command."""
    done = demo(tmp_path)
    assert "Second pass" in done.stdout
    assert "min_score: 0.5 → 0.6" in done.stdout
    assert "usher list --store usher-demo/store.duckdb" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["usher-demo"]


def test_the_demo_for_programs(tmp_path: Path) -> None:
    """With --json it says where everything is, and nothing else."""
    found = json.loads(demo(tmp_path, "--json").stdout)
    assert found["store"].endswith("usher-demo/store.duckdb")
