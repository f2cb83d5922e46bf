"""Call a checkpoint in a fresh process before and after each of many edits.

A script: it reads cases as JSON (name → root, module, files and edited files). Each call
happens in a process of its own, forked from one that has loaded the libraries and nothing
of the package, so that a hundred edits take seconds. It prints for each case whether the
function ran again, and why.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# Loaded once, before the forks: they take most of the time that a process needs to start.
# DuckDB 1.5 imports pandas at its first statement with parameters.
import duckdb
import pandas as pd
import polars as pl
import pydantic.main

from usher_pipeline import calls, decorator
from usher_pipeline.persistence import tables
from usher_pipeline.persistence.local import LocalBackend

LOADED = (duckdb, pd, pl, pydantic.main, calls, decorator, tables)

ENTRY = """\
import polars as pl
from usher_pipeline import checkpoint
from {module} import {root} as root


@checkpoint(name="edited")
def fetch(x=1):
    with open("ran.txt", "a") as file:
        file.write("ran ")
    try:
        found = repr(root(x))
    except Exception as problem:
        found = type(problem).__name__
    return pl.DataFrame({{"found": [found]}})
"""


def _write(folder: Path, root: str, module: str, files: dict[str, str]) -> None:
    for old in ("pkg", "other", "site-packages"):
        shutil.rmtree(folder / old, ignore_errors=True)
    texts = files | {"pyproject.toml": "", "entry.py": ENTRY.format(root=root, module=module)}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _publish_nothing(_: LocalBackend, timeout_s: float = 0.0) -> bool:
    return timeout_s < 0


def _in_child(folder: Path) -> dict[str, Any]:
    """Ask and call in a forked process that stands in a folder; return what happened."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        # A key needs no database, and a table in one for each call would take minutes.
        LocalBackend.publish = _publish_nothing  # type: ignore[method-assign,assignment]
        try:
            os.chdir(folder)
            sys.path[:0] = [str(folder), str(folder / "site-packages")]
            import entry  # type: ignore[import-not-found]

            decision = entry.fetch.explain()
            entry.fetch()
            ran = (folder / "ran.txt").read_text().count("ran")
            kind = type(decision).__name__
            facts = {"ran": ran, "reason": str(decision.reason), "kind": kind}
            os.write(writing, json.dumps(facts).encode())
            status = 0
        except BaseException:  # noqa: BLE001 - the parent tells what the child died of
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(told or b'{"kind": "died"}')
    return found


def _before(top: Path, root: str, files: dict[str, str]) -> Path:
    """Return a folder in which the checkpoint of a root was called once."""
    folder = top / "before" / root
    if not folder.exists():
        folder.mkdir(parents=True)
        _write(folder, root, "pkg.main", files)
        found = _in_child(folder)
        assert found.get("ran") == 1, (root, found)
    return folder


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as name:
        top = Path(name).resolve()
        results = {}
        for number, (case, given) in enumerate(json.load(sys.stdin).items()):
            folder = top / str(number)
            shutil.copytree(_before(top, given["root"], given["files"]), folder)
            _write(folder, given["root"], given["module"], given["edited"])
            results[case] = _in_child(folder)
    json.dump(results, sys.stdout)
