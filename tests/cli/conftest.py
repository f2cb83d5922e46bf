"""What the tests of the command share: a way to call it, and a store to look at."""

from __future__ import annotations

import inspect
import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl
import pytest
from click.testing import CliRunner, Result

from usher_pipeline import checkpoint, run, runs
from usher_pipeline.cli import usher
from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Call(Protocol):
    """Runs the command inside this process."""

    def __call__(self, *arguments: object, answer: str | None = None) -> Result:
        """Return what came of it; `answer` is what is typed when it asks."""


class CallJson(Protocol):
    """Runs the command inside this process, with ``--json``."""

    def __call__(self, *arguments: object, code: int = 0) -> Any:
        """Return what it printed; it has to end with a code."""


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start without a width, and take back what was configured for the whole process."""
    monkeypatch.delenv("COLUMNS", raising=False)
    # Where other tests have loaded it, calls would tell a notebook what they do.
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    yield
    runs._configured.__init__()  # type: ignore[misc]
    runs._implicit.forget_choices()


def _runner() -> CliRunner:
    """Return what runs a command, with stderr apart, as older versions of click want told."""
    is_old = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters
    options: dict[str, Any] = {"mix_stderr": False} if is_old else {}
    return CliRunner(**options)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return what runs the command inside this process."""
    # Commands that import a module look for it in its folder; a process has nothing else.
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*arguments: object, answer: str | None = None) -> Result:
        return _runner().invoke(usher, [str(argument) for argument in arguments], answer)

    return call


@pytest.fixture
def call_json(call: Call) -> CallJson:
    """Return what runs the command for programs."""

    def call_json(*arguments: object, code: int = 0) -> Any:
        done = call(*arguments, "--json")
        assert done.exit_code == code, done.output
        return json.loads(done.stdout if code in (0, 4) else done.stderr)

    return call_json


@checkpoint(name="cli größe 🧬")
def sized(limit: int, token: str = "planted-secret") -> pl.DataFrame:  # noqa: S107 - a plant
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(limit))})


@pytest.fixture
def numbers() -> Any:
    """The checkpoint whose results are in the store."""
    return sized


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two results of one checkpoint, and a table that was saved by hand."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        sized(2)
        sized(3)
    with PipelineStore(path) as opened:
        opened.save_dataframe(pl.DataFrame({"a": [1]}), "by_hand")
    return path
