"""``usher doctor``: the environment, the disk, the store, and who is at work in it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Final

import click

from usher_pipeline._version import __version__
from usher_pipeline.cli.endings import DONE, FOUND, trouble_of
from usher_pipeline.cli.options import answering, store_option
from usher_pipeline.cli.output import Block, Grid, Line, Outcome
from usher_pipeline.errors import UsherError
from usher_pipeline.hiding import without_credentials
from usher_pipeline.persistence.examining import Check, examined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["doctor", "environment"]

#: What the library stands on, and what it works with where that is there.
_NEEDED: Final = (
    *("click", "duckdb", "filelock", "polars", "pyarrow", "pydantic"),
    *("PyYAML", "rich", "tenacity", "xxhash"),
)
_OPTIONAL: Final = ("distributed", "ipykernel", "numpy", "pandas")
_MARKS: Final = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


@click.command()
@store_option
@answering
def doctor(store: Path | None) -> Outcome:
    """Look at the environment and the store, and say what is wrong.

    That are versions, settings, the disk, access, what killed processes left over, who
    holds the database, and who is computing. Results themselves are looked through by
    `usher verify`. The exit code is 4 if there is a problem; notes are none.
    """
    found = [*environment(os.environ), *_in_force(store)]
    rows = [(check.subject, _MARKS[check.state], check.said) for check in found]
    hints = [f"{c.subject}: {c.hint}" for c in found if c.hint and c.state != "ok"]
    blocks: list[Block] = [Grid("", ["looked at", "", "found"], rows)]
    blocks += [Line(f"hint: {hint}") for hint in hints]
    is_wrong = any(check.state == "problem" for check in found)
    data = {"is_well": not is_wrong, "checks": [*map(asdict, found)]}
    return Outcome(data, blocks, FOUND if is_wrong else DONE)


def environment(variables: Mapping[str, str]) -> Iterator[Check]:
    """Yield what there is to say of the environment.

    Args:
        variables: The variables of the environment.
    """
    python = f"{platform.python_version()} ({sys.executable})"
    yield Check("python", "ok", f"{python} on {platform.platform(terse=True)}")
    yield Check("usher_pipeline", "ok", __version__)
    for name in _NEEDED:
        version = _version(name)
        hint = "" if version else f"pip install {name}"
        yield Check(name, "ok" if version else "problem", version or "not installed", hint)
    for name in _OPTIONAL:
        version = _version(name)
        if version:
            yield Check(name, "ok", version)
    for name in sorted(name for name in variables if name.startswith("USHER_")):
        shown = without_credentials(f"{name}={variables[name]}").removeprefix(f"{name}=")
        yield Check(name, "note", shown)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _in_force(store: Path | None) -> Iterator[Check]:
    """Yield what there is to say of config and store."""
    from usher_pipeline.persistence.local import resolved
    from usher_pipeline.runs import current_run

    run = current_run()
    try:
        yield Check("config", "ok", run.config.where)
        chosen = run.store
        origin = chosen.origin if store is None else "--store"
        backend = run.backend if store is None else run.backend_at(resolved(store))
        yield Check("store", "ok", f"{backend.path} ({origin})")
        yield from examined(backend)
    except (UsherError, OSError) as problem:
        trouble = trouble_of(problem)
        yield Check("in force", "problem", trouble.problem, trouble.hint)
