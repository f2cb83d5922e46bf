"""The plugin of pytest: tests of checkpoints leave the store of their project alone.

It is there in every run of pytest where the library is installed, so nothing of the
library is imported here that a run without checkpoints could do without.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from usher_pipeline import standins

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from usher_pipeline.persistence.duckdb_store import PipelineStore

__all__ = [
    "checkpoint_store",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_load_initial_conftests",
    "pytest_runtest_protocol",
]

_CHOICES: Final = ("temporary", "project", "off")
_SCOPES: Final[dict[str, Any]] = {
    "function": pytest.Item,
    "class": pytest.Class,
    "module": pytest.Module,
    "session": pytest.Session,
}
_MARKER: Final = "usher_store"
_DISABLE: Final = "USHER_DISABLE"
_OUTSIDE: Final = "usher_store_outside"
_RUNS: Final = "usher_pipeline.runs"
_PUBLISHER: Final = "usher_pipeline.persistence.publisher"
#: How long to wait at the end for tables that are being published, in seconds.
_PATIENCE_S: Final = 5.0


class _Stores:
    """The stores of a run of pytest.

    Attributes:
        chosen: What the ini file says.
        outside: The store that the environment named before, if any.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.chosen: str = config.getini(_MARKER)
        _require_choice(self.chosen, f"the ini option {_MARKER}")
        self.outside: str | None = os.environ.get(standins.VARIABLE)
        self._folder: Path | None = None
        self._paths: dict[object, Path] = {}
        config.add_cleanup(self.remove)
        if self.chosen != "project":
            # What modules call while they are imported has a store of its own.
            stack = ExitStack()
            config.add_cleanup(stack.close)
            stack.enter_context(self.in_force(self.chosen, "collection"))

    @contextmanager
    def in_force(self, choice: str, place: object, label: str = "") -> Iterator[None]:
        """Have a store for a while.

        Args:
            choice: Which one.
            place: Under what it is found again.
            label: What its folder is called.
        """
        if choice == "project":
            variables = {standins.VARIABLE: self.outside}
            with standins.standing_in(None, variables if standins.stands_in() else {}):
                yield
            return
        disabled = {_DISABLE: "1"} if choice == "off" else {}
        with standins.standing_in(self._stand_in(self._path(place, label)), disabled):
            yield

    def remove(self) -> None:
        """Remove every store that was made."""
        if (publisher := sys.modules.get(_PUBLISHER)) is not None:
            for path in self._paths.values():
                publisher.wait(path, _PATIENCE_S)
        if (runs := sys.modules.get(_RUNS)) is not None and self.chosen != "project":
            runs.process_run().start_over()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _path(self, place: object, label: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="usher-tests-")).resolve()
        if place not in self._paths:
            # Nothing is made before something is stored; most tests store nothing.
            name = re.sub(r"\W+", "-", f"{len(self._paths)}-{label or place}")[:60]
            self._paths[place] = self._folder / name / "store.duckdb"
        return self._paths[place]

    def _stand_in(self, path: Path) -> standins.StandIn:
        own, root = str(self._folder), str(self.config.rootpath)
        kept = self._kept_inside(root, self.config.getoption("basetemp", None))
        return standins.StandIn(str(path), f"{own}/state", (root,), (own, *kept))

    @staticmethod
    @lru_cache
    def _kept_inside(root: str, basetemp: object) -> tuple[str, ...]:
        """Return where tests keep their files, as far as that lies in the project."""
        places = (tempfile.gettempdir(), *([str(basetemp)] if basetemp else []))
        folders = (str(Path(place).resolve()) for place in places)
        return tuple(folder for folder in folders if folder.startswith(f"{root}{os.sep}"))


_KEY: Final[pytest.StashKey[_Stores]] = pytest.StashKey()


# --- what is said of the store ----------------------------------------------------------


def _require_choice(choice: object, where: str) -> None:
    if choice not in _CHOICES:
        known = ", ".join(_CHOICES)
        raise pytest.UsageError(f"{where}: expected one of {known}, got {choice!r}")


def _wanted(item: pytest.Item, chosen: str) -> tuple[str, tuple[str, str], str]:
    """Return which store a test has, under what it is found again, and its label.

    Args:
        item: The test.
        chosen: What the ini file says.

    Raises:
        UsageError: The marker of the test says what means nothing.
    """
    scope = "function"
    for mark in reversed(list(item.iter_markers(_MARKER))):
        stated = dict(mark.kwargs)
        scope = stated.pop("scope", scope)
        where = f"{item.nodeid}, {_MARKER}(...)"
        if stated or len(mark.args) > 1:
            raise pytest.UsageError(f"{where}: expected a choice and scope=, got {mark}")
        (chosen,) = mark.args or (chosen,)
        _require_choice(chosen, where)
        if scope not in _SCOPES:
            known = ", ".join(_SCOPES)
            raise pytest.UsageError(f"{where}: expected scope= {known}, got {scope!r}")
    shared: pytest.Item | pytest.Collector | None = item.getparent(_SCOPES[scope])
    # A function outside of any class is what it would share with others.
    shared = shared or item
    return chosen, (scope, shared.nodeid), shared.name


# --- hooks ------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the ini option known."""
    parser.addini(
        _MARKER,
        "where tests keep results of checkpoints: temporary (a store for each test), project "
        "(the store of the project) or off (nowhere, every function runs)",
        default="temporary",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Take the store of the project away before any code of the project is imported."""
    early_config.stash[_KEY] = _Stores(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and to a worker which store the environment named."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(choice, *, scope='function'): have results of checkpoints kept in a "
        "temporary store, in that of the project or nowhere (off); tests of one class, "
        "module or session may share a temporary one",
    )
    sent: dict[str, Any] = getattr(config, "workerinput", {})
    if _OUTSIDE in sent:
        # What this worker was started with is the temporary store of who started it.
        config.stash[_KEY].outside = sent[_OUTSIDE]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which store the environment named."""
    node.workerinput[_OUTSIDE] = node.config.stash[_KEY].outside


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Find out slips in markers before any test runs."""
    for item in items:
        _wanted(item, config.stash[_KEY].chosen)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Have the store of a test in force from its first fixture to its last."""
    del nextitem
    stores = item.config.stash[_KEY]
    choice, place, label = _wanted(item, stores.chosen)
    with stores.in_force(choice, place, label), _apart(choice):
        return (yield)


@contextmanager
def _apart(choice: str) -> Iterator[None]:
    """Let a test be a run of its own, and what it configures as its store end with it."""
    configured = None
    if (runs := sys.modules.get(_RUNS)) is not None:
        configured = runs.configured_store()
        if choice != "project":
            runs.process_run().start_over()
    try:
        yield
    finally:
        if (runs := sys.modules.get(_RUNS)) is not None:
            runs.restore_configured_store(configured)
            if choice != "project":
                # At its end the process would look for the stores of all tests.
                runs.process_run().start_over()


# --- fixtures ---------------------------------------------------------------------------


@pytest.fixture
def checkpoint_store() -> Iterator[PipelineStore]:
    """The store that is in force in the test, as a `PipelineStore`."""
    from usher_pipeline.persistence.duckdb_store import PipelineStore
    from usher_pipeline.runs import current_run

    with PipelineStore(current_run().store.value) as store:
        yield store
