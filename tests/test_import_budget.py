"""What is imported when: the heavy libraries load where they are needed, not before."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import usher_pipeline

#: What nobody pays for who has not asked for it.
HEAVY: Final = frozenset(
    (
        "click",
        "duckdb",
        "numpy",
        "pandas",
        "polars",
        "pyarrow",
        "pydantic",
        "rich",
        "tenacity",
        "yaml",
    )
)
#: The door and the rooms that can be entered without any of them.
LIGHT: Final = (
    "usher_pipeline",
    "usher_pipeline.config",
    "usher_pipeline.dispatching",
    "usher_pipeline.fingerprint",
    "usher_pipeline.frames",
    "usher_pipeline.persistence",
)


def loaded_after(program: str) -> set[str]:
    """Return the top-level modules that a new process has loaded after a program."""
    return {name.partition(".")[0] for name in modules_after(program)}


def modules_after(program: str) -> set[str]:
    """Return the modules that a new process has loaded after a program.

    Only a process of its own is honest: this one has long loaded everything.
    """
    source = Path(usher_pipeline.__file__).parents[1]
    places = [str(source), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def exists(module: str) -> bool:
    """Tell whether a module is there yet; a folder without source is no room."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


@pytest.mark.parametrize("module", [module for module in LIGHT if exists(module)])
def test_entering_loads_nothing_heavy(module: str) -> None:
    """Importing the package or one of its rooms loads no heavy library."""
    assert HEAVY & loaded_after(f"import {module}") == set()


def test_what_is_loaded_is_seen() -> None:
    """A program that does load a heavy library is found out."""
    assert HEAVY & loaded_after("import yaml") == {"yaml"}


# --- a hit ------------------------------------------------------------------------------
# A hit loads no duckdb, and of the frame libraries only the one that it returns. The tests
# of that belong here: a first process computes, `loaded_after` a second one that calls.

CALL: Final = """
import polars as pl
from usher_pipeline import checkpoint, configure

configure(store="store.duckdb")


@checkpoint(name="small", version="1")
def small() -> pl.DataFrame:
    return pl.DataFrame({"n": [1]})


small()
"""
#: What only other calls need: those that compute, on a loop, for many items, in a notebook.
OF_OTHERS: Final = (
    *(
        "asyncio",
        "ssl",
        "difflib",
        "tomllib",
        "usher_pipeline.asking",
        "usher_pipeline.dispatching",
    ),
    *("usher_pipeline.mapping", "usher_pipeline.persistence.maps", "usher_pipeline.probes"),
    *("usher_pipeline.resuming", "usher_pipeline.persistence.unfinished"),
    *("usher_pipeline.persistence.flights", "usher_pipeline.persistence.tables"),
    *("usher_pipeline.views", "usher_pipeline.notebook", "usher_pipeline.testing"),
)


def test_a_hit_loads_nothing_that_only_other_calls_need() -> None:
    """A first process computes; a second one is answered, by little code and one library."""
    modules_after(CALL)
    loaded = modules_after(CALL)
    assert loaded.isdisjoint(OF_OTHERS)
    assert loaded & HEAVY == {"polars"}
