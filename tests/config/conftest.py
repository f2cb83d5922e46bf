"""A config file of the pipeline, written anew for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

#: What the first lines of a config look like; a test adds its own below.
MINIMAL: Final = """\
data_dir: data
cache_dir: data/cache
duckdb_path: data/pipeline.duckdb
versions:
  ensembl_release: 113
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """Return a config file that states only what has no default."""
    file = tmp_path / "config.yaml"
    file.write_text(MINIMAL, "utf-8")
    return file
