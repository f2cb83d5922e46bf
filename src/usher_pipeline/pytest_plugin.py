"""The plugin of pytest: tests of checkpoints leave the store of their project alone.

It is there in every run of pytest where the library is installed, so nothing of the
library is imported here that a run without checkpoints could do without.
"""

from __future__ import annotations

import atexit
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
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from usher_pipeline.persistence.duckdb_store import PipelineStore

__all__ = [
    "checkpoint_store",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_fixture_setup",
    "pytest_load_initial_conftests",
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
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
        outside: What the environment said of stores before; None for what was not set.
        before: What stood in before, where this is a run of pytest within a test.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.chosen: str = config.getini(_MARKER)
        _require_choice(self.chosen, f"the ini option {_MARKER}")
        names = (standins.VARIABLE, standins.TOLD, _DISABLE)
        self.outside = {name: os.environ.get(name) for name in names}
        self.before = standins.stands_in()
        self._folder: Path | None = None
        self._process = os.getpid()
        self._paths: dict[object, Path] = {}
        self._root = str(config.rootpath)
        # Not the config itself: what is kept until the process ends should be little.
        self._options = config.option
        self._guarded = _guarded(config)
        self._at_exit = ExitStack()
        config.add_cleanup(self._remove)
        stack = ExitStack()
        config.add_cleanup(stack.close)
        # What modules call while they are imported has a store of its own.
        stack.enter_context(self.in_force(self.chosen, "collection"))
        stack.enter_context(self._apart())

    @contextmanager
    def in_force(
        self,
        choice: str,
        place: object,
        label: str = "",
        beneath: Iterable[standins.Layer] = (),
    ) -> Iterator[None]:
        """Have a store for a while.

        Args:
            choice: Which one.
            place: Under what it is found again.
            label: What its folder is called.
            beneath: What goes before it.
        """
        stand_in, said = self.before, {}
        if choice != "project":
            stand_in = self._stand_in(self._path(place, label))
        elif self.chosen != "project":
            said = {name: self.outside[name] for name in (standins.VARIABLE, standins.TOLD)}
        if choice == "off":
            said[_DISABLE] = "1"
        elif self.chosen == "off":
            said[_DISABLE] = self.outside[_DISABLE]
        with standins.standing_in(stand_in, said, beneath=beneath):
            yield

    @contextmanager
    def of_test(self, item: pytest.Item) -> Iterator[None]:
        """Have the store of a test in force, and let the test be a run of its own.

        Args:
            item: The test.
        """
        choice, place, label = _wanted(item, self.chosen)
        asked = getattr(item, "fixturenames", ())
        stated = [each for each in standins.layers() if each.owner in asked]
        with self.in_force(choice, place, label, stated), _run_apart(choice):
            yield

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Leave what the process did before, which may go on afterwards, as it was."""
        if self.chosen == "project":
            yield
            return
        runs = sys.modules.get(_RUNS)
        configured = None if runs is None else runs.configured()
        done = _begin_anew(runs)
        yield
        if (runs := sys.modules.get(_RUNS)) is not None:
            self._leave_stores()
            # Tests that have the store of the project belong to this run.
            runs.end_process_run()
            runs.restore_configured(configured)
            _take_up(runs, done)

    def _leave_stores(self) -> None:
        if (runs := sys.modules.get(_RUNS)) is not None:
            for run in (runs.process_run(), *runs.active_runs()):
                for path in self._paths.values():
                    run.leave(path)

    def _remove(self) -> None:
        """Remove every store that was made."""
        if (publisher := sys.modules.get(_PUBLISHER)) is not None:
            for path in self._paths.values():
                publisher.wait(path, _PATIENCE_S)
        self._leave_stores()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if _RUNS not in sys.modules:
                atexit.unregister(self._erase)
            elif self.chosen != "project":
                atexit.register(self._stand_at_exit, self._stand_in(self._path("exit", "")))

    def _stand_at_exit(self, stand_in: standins.StandIn) -> None:
        """Keep from the store of the project what tests left to be done at the very end."""
        if os.getpid() == self._process:
            self._at_exit.enter_context(standins.standing_in(stand_in))

    def _erase(self, folder: Path) -> None:
        # A forked process has inherited this, and not the folder.
        if os.getpid() == self._process:
            self._at_exit.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _path(self, place: object, label: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="usher-tests-")).resolve()
            # Earlier than what tests register, so it comes later.
            atexit.register(self._erase, self._folder)
        if place not in self._paths:
            # Nothing is made before something is stored; most tests store nothing.
            name = re.sub(r"\W+", "-", f"{len(self._paths)}-{label or place}")[:60]
            self._paths[place] = self._folder / name / "store.duckdb"
        return self._paths[place]

    def _stand_in(self, path: Path) -> standins.StandIn:
        own = str(self._folder)
        named = self.outside[standins.VARIABLE]
        guarded = (*self._guarded, *([named] if named else []))
        basetemp = getattr(self._options, "basetemp", None)
        kept = _spared(self._root, basetemp, os.environ.get("PYTEST_DEBUG_TEMPROOT"))
        return standins.StandIn(str(path), f"{own}/state", guarded, (own, *kept))


def _guarded(config: pytest.Config) -> tuple[str, ...]:
    """Return what is the project's, also among temporary files."""
    root, here = config.rootpath, config.invocation_params.dir
    return tuple(dict.fromkeys(map(str, (root, _project_of(root), _project_of(here)))))


def _project_of(folder: Path) -> Path:
    """Return the project of a folder, as the library finds it; else where its store is."""
    marked = (
        each
        for each in (folder, *folder.parents)
        if (each / "pyproject.toml").exists() or (each / ".git").exists()
    )
    return next(marked, folder / ".usher")


@lru_cache
def _spared(root: str, *named: object) -> tuple[str, ...]:
    """Return where tests keep their files, unless that is among temporary files anyway.

    Args:
        root: The project. What it lies in itself is no folder for the files of its tests.
        *named: Folders that are named for them; None where none is.
    """
    inside = f"{root}{os.sep}"
    temporary = os.path.realpath(tempfile.gettempdir())
    places = [temporary] if temporary.startswith(inside) else []
    for place in named:
        folder = os.path.realpath(str(place)) if place else ""
        if folder and not inside.startswith(f"{folder}{os.sep}"):
            places.append(folder)
    return tuple(places)


_KEY: Final[pytest.StashKey[_Stores]] = pytest.StashKey()
#: What is open for a test, and whether an attempt at it has begun.
_OPEN: Final[pytest.StashKey[ExitStack]] = pytest.StashKey()
_IS_BEGUN: Final[pytest.StashKey[bool]] = pytest.StashKey()


# --- what is said of the store ----------------------------------------------------------


def _require_choice(choice: object, where: str) -> None:
    if choice not in _CHOICES:
        known = ", ".join(_CHOICES)
        raise pytest.UsageError(f"{where}: expected one of {known}, got {choice!r}")


def _wanted(item: pytest.Item, chosen: str) -> tuple[str, object, str]:
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
    shared = item.getparent(_SCOPES[scope])
    if shared is None or shared is item:
        # Nothing finds it again: a further attempt is another test. So it is outside of any
        # class for what shares with its class.
        return chosen, object(), item.name
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
    """Make the marker known, and to a worker what the environment said of stores."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(choice, *, scope='function'): have results of checkpoints kept in a "
        "temporary store, in that of the project or nowhere (off); tests of one class, "
        "module or session may share a temporary one",
    )
    if _KEY not in config.stash:
        # A conftest.py named the plugin, after which that hook is not called any more.
        config.stash[_KEY] = _Stores(config)
    sent: dict[str, Any] = getattr(config, "workerinput", {})
    if _OUTSIDE in sent:
        # What this worker was started with is the temporary store of who started it.
        outside, told = sent[_OUTSIDE], sent[_OUTSIDE][standins.TOLD]
        config.stash[_KEY].outside = outside
        config.stash[_KEY].before = standins.StandIn.from_text(told) if told else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what the environment said of stores."""
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
    with ExitStack() as stack:
        stack.enter_context(item.config.stash[_KEY].of_test(item))
        item.stash[_OPEN] = stack
        item.stash[_IS_BEGUN] = False
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, object, object]:
    """Note which fixture states a store, so that all tests have it that ask for that."""
    before = standins.layers()
    try:
        return (yield)
    finally:
        for layer in standins.layers()[len(before) :]:
            layer.owner = layer.owner or fixturedef.argname


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a further attempt at a test begin as the first one did."""
    if item.stash.get(_IS_BEGUN, False):
        item.stash[_OPEN].close()
        item.stash[_OPEN].enter_context(item.config.stash[_KEY].of_test(item))
    item.stash[_IS_BEGUN] = True


@contextmanager
def _run_apart(choice: str) -> Iterator[None]:
    """Let a test be a run of its own, and what it configures as its store end with it."""
    runs = sys.modules.get(_RUNS)
    store = None if runs is None else runs.configured()["store"]
    done = _begin_anew(runs) if choice != "project" else None
    try:
        yield
    finally:
        if (runs := sys.modules.get(_RUNS)) is not None:
            runs.restore_configured({"store": store})
            if choice != "project":
                _take_up(runs, done)


def _begin_anew(runs: Any) -> Mapping[str, Any] | None:
    """Let the process be a new run; return what it did before, None if it did nothing."""
    if runs is None:
        return None
    done: Mapping[str, Any] = runs.process_run().facts()
    runs.process_run().start_over()
    return done


def _take_up(runs: Any, done: Mapping[str, Any] | None) -> None:
    """Let the process be the run again that it was."""
    if done is None:
        runs.process_run().start_over()
    else:
        runs.process_run().take_up(done)


# --- fixtures ---------------------------------------------------------------------------


@pytest.fixture
def checkpoint_store() -> Iterator[PipelineStore]:
    """The store that is in force in the test, as a `PipelineStore`."""
    from usher_pipeline.persistence.duckdb_store import PipelineStore
    from usher_pipeline.runs import current_run

    with PipelineStore(current_run().store.value) as store:
        yield store
