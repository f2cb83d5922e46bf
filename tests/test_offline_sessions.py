"""What is fetched from the sources serves sessions with wheels, another Python, no network.

That is how benchmarks are run in several environments: fetch once, then only read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import usher_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[1]

PROJECT: Final = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "genekit"
version = "1.0"

[tool.pytest.ini_options]
usher_store = "project"
""",
    "src/genekit/__init__.py": "",
    "src/genekit/names.py": '''\
def clean(name: str) -> str:
    """Return the spelling that counts."""
    return name.strip().upper()
''',
    "src/genekit/tables.py": '''\
from pathlib import Path

import polars as pl

from genekit.names import clean
from usher_pipeline import checkpoint


@checkpoint(name="genes", sources={"gnomad": "v4.1"})
def genes(min_depth: float = 30.0) -> pl.DataFrame:
    """Return what a server would."""
    with Path("fetched.txt").open("a") as asked:
        asked.write("asked\\n")
    return pl.DataFrame({"gene": [clean(" ush2a")], "depth": [min_depth]})


@checkpoint(name="deep_genes")
def deep_genes() -> pl.DataFrame:
    """Return those that are deep enough."""
    return genes().filter(pl.col("depth") > 20)
''',
    "benchmarks/test_speed.py": """\
import json
import sys
from pathlib import Path

import genekit
import usher_pipeline
from genekit.tables import deep_genes, genes
from usher_pipeline.testing import assert_hit, recorded_decisions


def test_speed():
    with recorded_decisions() as decisions:
        assert assert_hit(genes)["gene"].to_list() == ["USH2A"]
        assert assert_hit(deep_genes).height == 1
    facts = {
        "python": list(sys.version_info[:2]),
        "files": [genekit.__file__, usher_pipeline.__file__],
        "hits": [each.is_hit for each in decisions],
    }
    Path("facts.json").write_text(json.dumps(facts))
""",
    "noxfile.py": """\
import os

import nox


@nox.session(python=os.environ["BENCH_PYTHON"], venv_backend="uv|virtualenv")
def bench(session):
    ours = (os.environ["LIBRARY"], ".", "pytest")
    names = ("usher-pipeline", "genekit") if session.venv_backend == "uv" else ()
    # uv would take a wheel that it built before of other sources.
    session.install(*ours, *(f"--refresh-package={name}" for name in names))
    session.run("python", "-m", "pytest", "-q", "benchmarks", env={"USHER_OFFLINE": "1"})
""",
}

LOOK: Final = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [
        {
            "cell_type": "code",
            "id": f"look-{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(
            (
                "import importlib.util\nimportlib.util.find_spec('genekit') is not None",
                "from usher_pipeline import entries, load\nload('deep_genes')",
                "sorted(entry.name for entry in entries())",
            )
        )
    ],
}

FETCH: Final = "from genekit.tables import deep_genes; deep_genes()"


def done_in(project: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in a project; return how that ended."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def other_python() -> str:
    """Return Python 3.13, else another one than this, else this one."""
    # In a process of its own: nox makes all loggers of one its own.
    program = "import json, noxfile; print(json.dumps([noxfile.HERE, noxfile.FOUND]))"
    done = done_in(ROOT, "-c", program)
    assert done.returncode == 0, done.stderr
    here: str
    found: dict[str, str]
    here, found = json.loads(done.stdout)
    others = (path for version, path in found.items() if version != here)
    return found.get("3.13") or next(others, sys.executable)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with a pipeline and benchmarks that read what it fetches."""
    for name, text in PROJECT.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "project"


def fetch(project: Path) -> None:
    """Compute all tables of a project from its sources."""
    places = (str(project / "src"), str(Path(usher_pipeline.__file__).parents[1]))
    fetched = done_in(project, "-c", FETCH, PYTHONPATH=os.pathsep.join(places))
    assert fetched.returncode == 0, fetched.stderr


def test_what_was_fetched_serves_an_offline_session(project: Path) -> None:
    """A session with wheels and USHER_OFFLINE only hits what was computed from the sources."""
    variables = {"BENCH_PYTHON": other_python(), "LIBRARY": str(ROOT)}
    # What these tests themselves import is not for the session.
    session = {**variables, "PYTHONPATH": ""}
    made = done_in(project, "-m", "nox", "-s", "bench", "--install-only", **session)
    assert made.returncode == 0, made.stdout + made.stderr

    before = done_in(project, "-m", "nox", "-R", "-s", "bench", **session)
    assert before.returncode != 0
    assert "USHER_OFFLINE is set, and first call" in before.stdout + before.stderr

    fetch(project)
    after = done_in(project, "-m", "nox", "-R", "-s", "bench", **session)
    assert after.returncode == 0, after.stdout + after.stderr
    facts: dict[str, Any] = json.loads((project / "facts.json").read_text())
    assert facts["hits"] == [True, True]
    assert all("site-packages" in file for file in facts["files"])
    assert (project / "fetched.txt").read_text() == "asked\n"
    program = "import sys; print(list(sys.version_info[:2]))"
    answer = subprocess.check_output([variables["BENCH_PYTHON"], "-c", program], text=True)
    assert facts["python"] == json.loads(answer)


def test_a_notebook_without_the_package_loads_by_name(
    project: Path,
    executed: Callable[[Path], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has the store needs neither the functions that filled it nor their package."""
    fetch(project)
    (project / "look.ipynb").write_text(json.dumps(LOOK), "utf-8")
    monkeypatch.chdir(project)
    monkeypatch.setenv("USHER_OFFLINE", "1")
    is_there, genes, names = executed(project / "look.ipynb")
    assert is_there["outputs"][0]["data"]["text/plain"] == "False"
    assert "USH2A" in genes["outputs"][-1]["data"]["text/plain"]
    assert names["outputs"][-1]["data"]["text/plain"] == "['deep_genes', 'genes']"
