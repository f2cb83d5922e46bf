"""The block that binds calls together: its config, its store, its provenance.

Outside of any block the process itself is a run. The stack of active runs belongs to
the process and not to a context variable, so that a run is visible in the threads and
pools that are started inside it.
"""

from __future__ import annotations

import atexit
import copy
import functools
import inspect
import os
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from numbers import Real
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    ParamSpec,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
    overload,
)
from uuid import uuid4

from usher_pipeline import display, standins
from usher_pipeline._version import __version__
from usher_pipeline.config import settings
from usher_pipeline.config.environment import variable
from usher_pipeline.errors import (
    DeclarationError,
    OptionError,
    StoreError,
    UndeclaredConfigError,
    UsherError,
    UsherWarning,
)
from usher_pipeline.inherited import Inherited
from usher_pipeline.persistence.local import SEGMENT_BUDGET_BYTES, LocalBackend
from usher_pipeline.persistence.reads import current_call, tell_what_is_meant
from usher_pipeline.planning import COSTLY_S
from usher_pipeline.records import as_json, utc_now, versions_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from usher_pipeline.config.settings import Choice, ConfigView, Project
    from usher_pipeline.records import Entry
    from usher_pipeline.standins import StandIn

__all__ = [
    "Run",
    "active_runs",
    "configure",
    "configured",
    "current_run",
    "end_process_run",
    "process_run",
    "restore_configured",
    "run",
]

P = ParamSpec("P")
R = TypeVar("R")


# --- what is configured -----------------------------------------------------------------


class _Configured:
    """What `configure(...)` set for this process."""

    def __init__(self) -> None:
        self.config: Any = None
        self.store: str | os.PathLike[str] | None = None
        self.strict = False
        self.lock_timeout_s = 30.0
        self.costly_s = COSTLY_S
        self.segment_budget_bytes = SEGMENT_BUDGET_BYTES
        self.progress = True


_configured = _Configured()


def configure(  # noqa: PLR0913 - the options are the face
    *,
    config: Any = None,
    store: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
    lock_timeout_s: float | None = None,
    costly_s: float | None = None,
    segment_budget_bytes: int | None = None,
    progress: bool | None = None,
) -> None:
    """Say for the rest of the process where the config and the store are.

    Only what is given changes. A `run(...)` block that says otherwise wins inside it.

    Args:
        config: A YAML file, a mapping, or a pydantic model such as `PipelineConfig`.
        store: The DuckDB file of the store; created with the first result.
        strict: Raise when a result can not be stored, instead of warning.
        lock_timeout_s: How long to wait while others hold the database, in seconds.
        costly_s: What took at least this long is not computed again only because code
            changed, in seconds; 600 unless set. See `on_code_change` of `checkpoint`.
        segment_budget_bytes: How much the files of results may take on the disk, 20 GB
            unless set. Beyond that those go, the least recently used first, of which a
            table of the database holds the very same.
        progress: Show how far calls have come that ask for many items, as is done unless
            set; ``USHER_PROGRESS=0`` says no as well.

    Raises:
        OptionError: An option is not of the kind that it expects; nothing changes then.
        ConfigError: `config` is nothing that could be a config.

    >>> configure(lock_timeout_s=10)
    """
    if config is not None and not isinstance(config, (str, os.PathLike)):
        settings.view(config, "configure(...)")
    is_path = isinstance(store, (str, os.PathLike))
    _require("store", store, "the path of a file", fits=is_path)
    for name, choice in (("strict", strict), ("progress", progress)):
        _require(name, choice, "True or False", fits=isinstance(choice, bool))
    for name, seconds in (("lock_timeout_s", lock_timeout_s), ("costly_s", costly_s)):
        _require(name, seconds, "seconds, 0 or more", fits=_is_duration(seconds))
    budget = segment_budget_bytes
    is_size = isinstance(budget, int) and not isinstance(budget, bool) and budget >= 0
    _require("segment_budget_bytes", budget, "bytes, 0 or more", fits=is_size)
    given = {
        "config": config,
        "store": store,
        "strict": strict,
        "lock_timeout_s": lock_timeout_s,
        "costly_s": costly_s,
        "segment_budget_bytes": budget,
        "progress": progress,
    }
    for name, value in given.items():
        if value is not None:
            setattr(_configured, name, value)
    _implicit.forget_choices()


def _require(option: str, value: object, expected: str, *, fits: bool) -> None:
    if value is not None and not fits:
        raise OptionError("configure", option, expected, display.preview(value))


def _is_duration(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and float(value) >= 0


# --- runs -------------------------------------------------------------------------------


#: Store, name, stem and content of an entry, and what a call was: ``computed`` or ``hit``.
_NotedPlace: TypeAlias = tuple[str, str, str, str, str]


class _How(TypedDict):
    """What a block says about how calls work; None where `configure` decides."""

    strict: bool | None
    lock_timeout_s: float | None
    costly_s: float | None
    progress: bool | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a probe answered a block, and when it was asked (UTC)."""

    probe: Callable[[], Any]
    answer: Any
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a run returned under a name, and when it last did (UTC)."""

    backend: LocalBackend
    entry: Entry
    at: datetime


class Run:
    """One run: made by `run(...)`, or standing for the whole process.

    Attributes:
        run_id: What identifies it.
        started_at: When it began (UTC).
    """

    def __init__(  # noqa: PLR0913 - the options are the face
        self,
        config: Any = None,
        store: str | os.PathLike[str] | None = None,
        *,
        strict: bool | None = None,
        lock_timeout_s: float | None = None,
        costly_s: float | None = None,
        progress: bool | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._how = _How(
            strict=strict,
            lock_timeout_s=lock_timeout_s,
            costly_s=costly_s,
            progress=progress,
        )
        self._lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self.run_id = uuid4().hex[:12]
        self.started_at = utc_now()
        self._steps: list[dict[str, Any]] = []
        self._noted: dict[_NotedPlace, dict[str, Any]] = {}
        self._meant: dict[tuple[str, str], _Meaning] = {}
        self._pinned: dict[tuple[str, str], Entry | None] = {}
        self._answers: dict[tuple[str, int], _Answer] = {}
        self._backends: dict[str, LocalBackend] = {}
        #: What the choice of a store was made of, and that store.
        self._chosen: tuple[Any, LocalBackend] | None = None
        self._view: ConfigView | None = None
        self._is_process = False

    # --- what is in force ---

    @property
    def config(self) -> ConfigView:
        """The config in force; in a block it is read once, at its first use.

        Raises:
            UndeclaredConfigError: A checkpointed function asks, whose key watches single
                paths; it takes them with `get`.
        """
        call = current_call()
        if call is not None:
            raise UndeclaredConfigError("(the whole config)", call.name, call.config)
        return self.config_in_force()

    def config_in_force(self, within: Project | None = None) -> ConfigView:
        """The config, for the library itself: keys count each value that they take of it.

        Args:
            within: The project, if it is known.
        """
        if self._view is None or self._is_process:
            self._view = settings.view_in_force(self._config, _configured.config, within)
        return self._view

    @property
    def store(self) -> Choice:
        """The path of the store in force, and why it is that one."""
        return self._store_within(settings.project(), self.config_in_force())

    def _store_within(self, within: Project, config: ConfigView) -> Choice:
        choice = settings.store_in_force(self._store, _configured.store, config, within)
        stand_in = standins.stands_in()
        if stand_in is None or not self._is_replaced(choice, within, stand_in):
            return choice
        named = ((choice.origin, str(choice.value)), *choice.considered)
        return replace(choice, value=stand_in.path, origin="a test", considered=named)

    def _is_replaced(self, choice: Choice, within: Project, stand_in: StandIn) -> bool:
        if stand_in.replaces(str(choice.value), self):
            return True
        # What a project says of its store is said of the project's, wherever that lies.
        return choice.origin == settings.IN_TABLE and stand_in.replaces(within.place)

    @property
    def backend(self) -> LocalBackend:
        """The store in force."""
        within = settings.project()
        return self.backend_for(within, self.config_in_force(within))

    def backend_for(self, within: Project, config: ConfigView) -> LocalBackend:
        """Return the store in force, for a project and config that are known.

        Args:
            within: The project.
            config: The config in force.
        """
        stated = (self._store, _configured.store, variable("USHER_STORE"))
        asked = (within, *stated, config.duckdb_path, standins.stands_in())
        known = self._chosen
        if known is not None and known[0] == asked:
            return known[1]
        choice = self._store_within(within, config)
        path = str(choice.value)
        with self._lock:
            if path not in self._backends:
                private = choice.origin == "default"
                timeout_s = self.lock_timeout_s
                self._backends[path] = LocalBackend(
                    path,
                    timeout_s=timeout_s,
                    private=private,
                    segment_budget_bytes=_configured.segment_budget_bytes,
                )
            self._chosen = asked, self._backends[path]
            return self._backends[path]

    def backend_at(self, path: Path) -> LocalBackend:
        """Return the store of another database."""
        with self._lock:
            if str(path) not in self._backends:
                timeout_s = self.lock_timeout_s
                self._backends[str(path)] = LocalBackend(path, timeout_s=timeout_s)
            return self._backends[str(path)]

    @property
    def strict(self) -> bool:
        """Whether a result that can not be stored is an error."""
        stated = self._how["strict"]
        return _configured.strict if stated is None else stated

    @property
    def costly_s(self) -> float:
        """How much work is not done again for an edit alone, in seconds."""
        stated = self._how["costly_s"]
        return _configured.costly_s if stated is None else stated

    @property
    def lock_timeout_s(self) -> float:
        """How long to wait while others hold the database, in seconds."""
        stated = self._how["lock_timeout_s"]
        return _configured.lock_timeout_s if stated is None else stated

    @property
    def progress(self) -> bool:
        """Whether it is shown how far calls have come that ask for many items."""
        stated = self._how["progress"]
        return _configured.progress if stated is None else stated

    def forget_choices(self) -> None:
        """Look again for config and store at the next call."""
        with self._lock:
            self._backends.clear()
            self._chosen = None
            self._view = None

    def leave(self, path: Path) -> None:
        """Forget a store that is about to go; what was done stays in the provenance.

        Args:
            path: Its DuckDB file.
        """
        with self._lock:
            store = str(path)
            self._meant = {at: each for at, each in self._meant.items() if at[0] != store}
            self._pinned = {at: each for at, each in self._pinned.items() if at[0] != store}
            self._noted = {at: each for at, each in self._noted.items() if at[0] != store}
            self.forget_choices()

    def start_over(self) -> None:
        """Be a new run from now on, with nothing done so far."""
        is_process = self._is_process
        with self._lock:
            self._begin()
            self._is_process = is_process

    def facts(self) -> dict[str, Any]:
        """Return all that it knows, for `take_up`."""
        with self._lock:
            return {name: fact for name, fact in vars(self).items() if name != "_lock"}

    def take_up(self, facts: Mapping[str, Any]) -> None:
        """Be the run again that knew this.

        Args:
            facts: What `facts` returned, before the run started over.
        """
        with self._lock:
            vars(self).update(facts)
            self.forget_choices()

    def get(self, path: str) -> Any:
        """Return a config value by its dotted path.

        Raises:
            UnknownSettingError: There is no such path.
            UndeclaredConfigError: A checkpointed function asks for a path that its
                `config=[...]` does not name.
        """
        call = current_call()
        if call is not None and not _covers(call.config, path):
            raise UndeclaredConfigError(path, call.name, call.config)
        return self.config_in_force().get(path).value

    def answer_of(self, name: str, probe: Callable[[], Any]) -> Any:
        """Return what a probe for a source answers: once in a block, else at each call."""
        if self._is_process:
            return probe()
        place = (name, id(probe))
        with self._lock:
            if place not in self._answers:
                asked_at = utc_now()
                self._answers[place] = _Answer(probe, probe(), asked_at)
            return self._answers[place].answer

    def asked_at(self, name: str, probe: Callable[[], Any]) -> datetime | None:
        """Return when this block asked a probe for a source (UTC); None if it did not."""
        with self._lock:
            known = self._answers.get((name, id(probe)))
        return None if known is None else known.asked_at

    # --- what happened ---

    def record_step(self, step_name: str, details: Mapping[str, Any] | None = None) -> None:
        """Add a step of your own to the provenance of this run.

        Args:
            step_name: What was done.
            details: More facts. What JSON has no form for is written as text.
        """
        step: dict[str, Any] = {"step_name": step_name, "timestamp": utc_now().isoformat()}
        if details:
            # Looked at now: the caller may change what it holds before the run ends.
            step["details"] = as_json(dict(details))
        with self._lock:
            self._steps.append(step)

    def note(
        self,
        backend: LocalBackend,
        entry: Entry,
        outcome: str,
        *,
        means: bool = True,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Remember what a call returned, and what the run means by the name.

        Args:
            backend: The store.
            entry: What was returned.
            outcome: ``computed``, ``hit``, ``renewed``, ``stale`` or ``adopted``.
            means: Whether the name stands for it from now on; not so for a look by name.
            details: What else there is to say of it at the first time.
        """
        place = self.place_of(backend, entry, outcome)
        if not self.note_again(place, backend, entry, means=means):
            step = entry.step().to_json()
            step["details"] |= {"outcome": outcome, "calls": 0, **(details or {})}
            with self._lock:
                if place not in self._noted:
                    self._noted[place] = step["details"]
                    self._steps.append(step)
            self.note_again(place, backend, entry, means=means)

    @staticmethod
    def place_of(backend: LocalBackend, entry: Entry, outcome: str) -> _NotedPlace:
        """Return under what an outcome of an entry is noted."""
        return str(backend.path), entry.name, entry.stem, entry.content, outcome

    def note_again(
        self, place: _NotedPlace, backend: LocalBackend, entry: Entry, *, means: bool = True
    ) -> bool:
        """Count one more call with the same outcome; tell whether there was one before.

        Args:
            place: What `place_of` says.
            backend: The store.
            entry: What was returned.
            means: Whether the name stands for it from now on.
        """
        now = utc_now()
        with self._lock:
            noted = self._noted.get(place)
            if noted is None:
                return False
            noted["calls"] += 1
            # Put into words when somebody asks.
            noted["used_at"] = now
            if means:
                self._meant[place[:2]] = _Meaning(backend, entry, now)
        return True

    def mean(self, backend: LocalBackend, entry: Entry) -> None:
        """Remember that a name stands for an entry in this run from now on."""
        with self._lock:
            meaning = _Meaning(backend, entry, utc_now())
            self._meant[str(backend.path), entry.name] = meaning

    def meaning(self, backend: LocalBackend, name: str) -> Entry | None:
        """Return what a plain name means in this run, or None.

        It is what the run itself last returned under the name; else the one that was
        current when the run first asked, which in a block stays so until it ends.
        """
        place = (str(backend.path), name)
        with self._lock:
            meant = self._meant.get(place)
            if meant is not None:
                return meant.entry
            if self._is_process:
                return backend.current(name)
            if place not in self._pinned:
                self._pinned[place] = backend.current(name)
            return self._pinned[place]

    def returned(self, path: Path) -> list[_Meaning]:
        """Return what this run itself last returned under each name of a store."""
        with self._lock:
            return [meant for meant in self._meant.values() if meant.backend.path == path]

    def note_unsaved(self, name: str, outcome: str, details: Mapping[str, Any]) -> None:
        """Remember a call whose result is not in the store."""
        self.record_step(name, {"outcome": outcome, **details})

    def steps(self) -> list[dict[str, Any]]:
        """Return the steps so far, as plain data."""
        with self._lock:
            steps = copy.deepcopy(self._steps)
        for step in steps:
            details = step.get("details", {})
            if isinstance(details.get("used_at"), datetime):
                details["used_at"] = details["used_at"].isoformat()
        return steps

    def metadata(self) -> dict[str, Any]:
        """Return the provenance of the run so far, as plain data.

        Raises:
            UndeclaredConfigError: A checkpointed function asks; the versions of all sources
                are in it, and its key watches those that it declares.
        """
        call = current_call()
        if call is not None:
            raise UndeclaredConfigError("(the provenance of the run)", call.name, call.config)
        return self.provenance()

    def provenance(self) -> dict[str, Any]:
        """Return the provenance of the run so far, for the library itself."""
        config = self.config_in_force()
        steps = self.steps()
        stated = {name: setting.value for name, setting in config.sources().items()}
        return {
            "pipeline_version": __version__,
            "data_source_versions": as_json(stated) | versions_in(steps, stated),
            "config_hash": config.config_hash(),
            "created_at": self.started_at.isoformat(),
            "processing_steps": steps,
            "run": {"run_id": self.run_id, "config": config.where},
        }

    def _repr_html_(self) -> str:
        from usher_pipeline import views

        config = self.config_in_force()
        store = self.store
        facts = {"config": config.where, "store": f"{store.value} ({store.origin})"}
        return views.run_view(self.run_id, self.started_at, facts, self.steps())

    # --- the block ---

    def __enter__(self) -> Self:
        if self in _active:
            raise UsherError(
                "This run is open already: expected a new one for the inner block. Nothing was "
                "changed. Call run(...) again for it."
            )
        self._begin()
        # A config that can not be read is an error here, and not in the middle of the work.
        _ = self.config_in_force()
        _active.append(self)
        self._token = _own.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _active.remove(self)
        with suppress(ValueError):
            # The block may have been entered in another context, as a generator can do.
            _own.reset(self._token)
        self._end(problem)

    def _end(self, problem: BaseException | None) -> None:
        record = self.provenance()
        record["run"] |= {
            "ended_at": utc_now().isoformat(),
            "outcome": "failed" if problem is not None else "completed",
            "error": f"{type(problem).__name__}: {problem}" if problem is not None else None,
        }
        if self._steps or problem is not None:
            self._keep(record)
        self.publish(meant=problem is None)

    def _keep(self, record: Mapping[str, Any]) -> None:
        """Save the provenance of the run; a run that ends must not fail for it."""
        try:
            self.backend.record_run(self.run_id, record)
        except (OSError, UsherError) as trouble:
            outcomes = {step.get("details", {}).get("outcome") for step in self._steps}
            if outcomes - _UNCHANGED:
                warnings.warn(
                    f"The provenance of run {self.run_id} could not be saved: {trouble}. Its "
                    "results are not affected. Mend the store, or export(...) what you need "
                    "with its sidecar.",
                    UsherWarning,
                    stacklevel=4,
                )

    def _end_in_each_store(self) -> None:
        """End a run that had several stores: its record goes to each that it wrote to."""
        record = self.provenance()
        record["run"] |= {"ended_at": utc_now().isoformat(), "outcome": "completed"}
        outcomes = {step.get("details", {}).get("outcome") for step in self._steps}
        backends = {m.backend.path: m.backend for m in self._meant.values()}
        for backend in backends.values():
            if outcomes - _UNCHANGED and backend.segments.folder.is_dir():
                with suppress(OSError, UsherError):
                    backend.record_run(self.run_id, record)
        self.publish(meant=True)

    def of(self, function: Callable[P, R]) -> Callable[P, R]:
        """Make every call of a function a run with what is in force then."""
        self._config = None
        return self(function)

    def publish(self, *, meant: bool) -> None:
        """Publish what this run meant by each name, and what was left from before."""
        with self._lock:
            kept = list(self._meant.values())
            backends = {str(each.backend.path): each.backend for each in kept}
            backends |= self._backends
        if meant:
            for each in kept:
                with suppress(OSError):
                    each.backend.mean(each.entry, each.at)
        for backend in backends.values():
            # What stays undone is marked on disk, and the next opener does it.
            with suppress(OSError, StoreError):
                backend.publish_soon()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Make every call of a function a run of its own.

        Raises:
            DeclarationError: The function is asynchronous or a generator: it would run
                after the block has ended.
        """
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            place = f"{function.__module__}.{function.__qualname__}"
            problem = "@run(...) takes plain functions; open `with run(...):` inside it"
            raise DeclarationError(place, problem)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with Run(self._config, self._store, **self._how):
                return function(*args, **kwargs)

        return wrapper


@overload
def run(config: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def run(
    config: Any = ...,
    *,
    store: str | os.PathLike[str] | None = ...,
    strict: bool | None = ...,
    lock_timeout_s: float | None = ...,
    costly_s: float | None = ...,
    progress: bool | None = ...,
) -> Run: ...
def run(  # noqa: PLR0913 - the options are the face
    config: Any = None,
    *,
    store: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
    lock_timeout_s: float | None = None,
    costly_s: float | None = None,
    progress: bool | None = None,
) -> Any:
    """Bind the calls in a block, or in a function, to one config, store and provenance.

    Args:
        config: A YAML file, a mapping, or a pydantic model such as `PipelineConfig`; what
            is in force otherwise unless given.
        store: The DuckDB file of the store; what is in force otherwise unless given.
        strict: As in `configure`, for this block alone; so are the others.
        lock_timeout_s: How long to wait while others hold the database, in seconds.
        costly_s: From how much work on a result is not done again for an edit, in seconds.
        progress: Whether it is shown how far calls have come that ask for many items.

    Returns:
        A context manager that gives the `Run`, which is a decorator as well. When it ends
        its provenance is saved, also when the block fails.

    Raises:
        DeclarationError: As a decorator, it stands above an asynchronous function or a
            generator.

    >>> with run({"api": {"page_size": 500}}) as current:
    ...     current.get("api.page_size")
    500
    """
    made = Run(
        config,
        store,
        strict=strict,
        lock_timeout_s=lock_timeout_s,
        costly_s=costly_s,
        progress=progress,
    )
    return made.of(config) if inspect.isfunction(config) else made


#: The outcomes of calls after which there is no more in the store than before.
_UNCHANGED: Final = frozenset({"hit", "renewed"})

#: Innermost last; shared by all threads of the process.
_active: Final[list[Run]] = []
#: The block that this context, or whoever started this thread, opened.
_own: Final[Inherited[Run]] = Inherited("usher_run")
_implicit: Final = Run()
_implicit._is_process = True  # noqa: SLF001 - this module's own


def current_run() -> Run:
    """Return the run block that is open around the caller, else the run of the process.

    A thread that opened no block of its own sees the innermost one of the process.
    """
    own = _own.get()
    if own is not None and own in _active:
        return own
    return _active[-1] if _active else _implicit


def active_runs() -> tuple[Run, ...]:
    """Return the blocks that are open in this process, innermost last."""
    return tuple(_active)


def process_run() -> Run:
    """Return the run that the process itself is, outside of all blocks."""
    return _implicit


def configured() -> dict[str, Any]:
    """Return what `configure(...)` set, for `restore_configured`."""
    return dict(vars(_configured))


def restore_configured(options: Mapping[str, Any] | None) -> None:
    """Have options again as they were, whatever `configure(...)` said meanwhile.

    Args:
        options: All or some of what `configured` returned; None for a process that begins.
    """
    vars(_configured).update(vars(_Configured()) if options is None else options)
    _implicit.forget_choices()


@atexit.register
def end_process_run() -> None:
    """Keep what the process did outside of blocks, as a block does when it ends."""
    if _implicit._meant:  # noqa: SLF001 - this module's own
        with suppress(OSError, UsherError):
            # The store, or the folder that it was found from, may be gone by now.
            _implicit._end_in_each_store()  # noqa: SLF001


def _returned_in(path: Path) -> list[tuple[Entry, datetime]]:
    """Return what the present run returned under the names of a store, and when."""
    return [(meant.entry, meant.at) for meant in current_run().returned(path)]


tell_what_is_meant(_returned_in)


def _covers(declared: tuple[str, ...], path: str) -> bool:
    return any(path == known or path.startswith(f"{known}.") for known in declared)
