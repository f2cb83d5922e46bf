"""Every test starts from nothing: no settings of this machine, a folder of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from hypothesis import settings

from usher_pipeline import registry, runs

if TYPE_CHECKING:
    from nbclient import NotebookClient

#: Takes a database; holds it for the length of a block.
Held: TypeAlias = Callable[[Path], AbstractContextManager[None]]

# A time limit for one example measures the machine; a fixed seed would search the same
# ground for ever. Hypothesis brings a profile of the name "ci" that has both.
settings.register_profile(
    "ci", deadline=None, derandomize=False, database=None, print_blob=True
)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


#: The folders and files whose tests start many processes.
PROCESSES: Final = (
    "faults",
    "multiprocess",
    "test_fresh_processes.py",
    "test_edits.py",
    "test_examples.py",
    "test_offline_sessions.py",
    "test_pytest_plugin.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts many processes."""
    for item in items:
        if not {item.path.name, item.path.parent.name}.isdisjoint(PROCESSES):
            item.add_marker(pytest.mark.processes)


@pytest.fixture(autouse=True)
def _no_names_of_other_tests() -> Iterator[None]:
    """Let no function of one test hold a name in the next one, however long it lives."""
    before = set(registry._registry)
    yield
    for name in set(registry._registry) - before:
        registry._registry.pop(name, None)


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing that one test configured reach the next one."""
    monkeypatch.setattr(runs, "_configured", runs._Configured())
    runs._implicit.forget_choices()
    yield
    runs._implicit.forget_choices()


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the settings of whoever runs the tests, and keep them out of the repository."""
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        monkeypatch.delenv(name)
    if search_path := os.environ.get("PYTHONPATH"):
        # A relative entry would lead the processes that a test starts astray.
        places = [str(Path(place).resolve()) for place in search_path.split(os.pathsep)]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be what it is at a terminal, also where tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _own_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep the secret of seals out of the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def held() -> Held:
    """Return what lets another process hold a database while a block runs."""

    @contextmanager
    def held(path: Path) -> Iterator[None]:
        program = (
            f"import duckdb, sys; connection = duckdb.connect({str(path)!r}); "
            "print('held', flush=True); sys.stdin.read()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.communicate()

    return held


# --- notebooks --------------------------------------------------------------------------


class Notebook:
    """An open notebook with its kernel.

    Args:
        client: What runs its cells.
        runner: The loop that the client lives in.
    """

    def __init__(self, client: NotebookClient, runner: asyncio.Runner) -> None:
        self.client = client
        self.runner = runner

    def outputs(self, source: str) -> list[dict[str, Any]]:
        """Run a cell and return all that it put out; an error in it is an error here."""
        from nbformat.v4 import new_code_cell

        cell = new_code_cell(source.strip("\n"))  # type: ignore[no-untyped-call]
        self.client.nb.cells.append(cell)
        index = len(self.client.nb.cells) - 1
        done = self.runner.run(self.client.async_execute_cell(cell, index))
        found: list[dict[str, Any]] = done["outputs"]
        return found

    def run(self, source: str) -> str:
        """Run a cell and return what it printed; an error in it is an error here."""
        printed = [o["text"] for o in self.outputs(source) if o.get("name") == "stdout"]
        return "".join(printed).strip()

    @property
    def ran(self) -> int:
        """How often what leaves a mark in ``ran.txt`` really ran."""
        return len(Path("ran.txt").read_text())


@contextmanager
def _quiet_jupyter() -> Iterator[None]:
    """Keep a kernel from the settings of whoever runs the tests, and from their home."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("JUPYTER_", "USHER_"))]:
            patch.delenv(name)
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
            patch.setenv(f"JUPYTER_{name}", folder)
        patch.setenv("IPYTHONDIR", folder)
        yield


@pytest.fixture
def executed() -> Callable[[Path], list[dict[str, Any]]]:
    """Return what runs a notebook in a kernel of its own, and returns its code cells."""
    import nbformat
    from nbclient import NotebookClient

    def executed(path: Path) -> list[dict[str, Any]]:
        notebook = nbformat.read(path, 4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
        with _quiet_jupyter():
            client = NotebookClient(notebook, kernel_name="python3", timeout=120)
            asyncio.run(client.async_execute())
        return [cell for cell in notebook.cells if cell.cell_type == "code"]

    return executed


@pytest.fixture(scope="module")
def kernel() -> Iterator[Notebook]:
    """Start one kernel for the tests of a file, without the settings of whoever runs them."""
    from nbclient import NotebookClient
    from nbformat.v4 import new_notebook

    with _quiet_jupyter(), asyncio.Runner() as runner:
        notebook = new_notebook()  # type: ignore[no-untyped-call]
        client = NotebookClient(notebook, kernel_name="python3", timeout=120)
        stack = AsyncExitStack()
        runner.run(stack.enter_async_context(client.async_setup_kernel()))
        try:
            opened = Notebook(client, runner)
            # What the kernel imports later is looked for from another folder.
            opened.run(
                "import os, sys\nsys.path[:] = [p and os.path.abspath(p) for p in sys.path]"
            )
            yield opened
        finally:
            runner.run(stack.aclose())
