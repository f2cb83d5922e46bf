"""The block that binds calls together: its config, its store, its provenance.

Outside of any block the process itself is a run. The stack of active runs belongs to
the process and not to a context variable, so that a run is visible in the threads and
pools that are started inside it.
"""

from __future__ import annotations

import atexit
import copy
import functools
import os
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar
from uuid import uuid4

from usher_pipeline import display
from usher_pipeline._version import __version__
from usher_pipeline.config import settings
from usher_pipeline.errors import StoreError, UndeclaredConfigError, UsherError, UsherWarning
from usher_pipeline.fingerprint.ownership import Ownership
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import Read, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from usher_pipeline.config.settings import Choice, ConfigView, Setting
    from usher_pipeline.records import Decision, Entry

__all__ = ["Run", "configure", "current_run", "run"]

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


_configured = _Configured()


def configure(
    *,
    config: Any = None,
    store: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
    lock_timeout_s: float | None = None,
) -> None:
    """Say for the rest of the process where the config and the store are.

    Only what is given changes. A `run(...)` block that says otherwise wins inside it.

    Args:
        config: A YAML file, a mapping, or a pydantic model such as `PipelineConfig`.
        store: The DuckDB file of the store; created with the first result.
        strict: Raise when a result can not be stored, instead of warning.
        lock_timeout_s: How long to wait while others hold the database, in seconds.

    >>> configure(lock_timeout_s=10)
    """
    if config is not None:
        _configured.config = config
    if store is not None:
        _configured.store = store
    if strict is not None:
        _configured.strict = strict
    if lock_timeout_s is not None:
        _configured.lock_timeout_s = lock_timeout_s
    _implicit.forget_choices()


# --- runs -------------------------------------------------------------------------------


class Run:
    """One run: made by `run(...)`, or standing for the whole process.

    Attributes:
        run_id: What identifies it.
        started_at: When it began (UTC).
    """

    def __init__(self, config: Any = None, store: str | os.PathLike[str] | None = None) -> None:
        self._config = config
        self._store = store
        self._lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self.run_id = uuid4().hex[:12]
        self.started_at = utc_now()
        self._steps: list[dict[str, Any]] = []
        self._noted: dict[tuple[str, ...], dict[str, Any]] = {}
        self._meant: dict[tuple[str, str], tuple[LocalBackend, Entry]] = {}
        self._answers: dict[tuple[str, int], Any] = {}
        self._backends: dict[str, LocalBackend] = {}
        self._view: ConfigView | None = None
        self._is_process = False

    # --- what is in force ---

    @property
    def config(self) -> ConfigView:
        """The config in force; in a block it is read once, at its first use."""
        if self._view is None or self._is_process:
            self._view = settings.view_in_force(self._config, _configured.config)
        return self._view

    @property
    def store(self) -> Choice:
        """The path of the store in force, and why it is that one."""
        return settings.store_in_force(self._store, _configured.store, self.config)

    @property
    def backend(self) -> LocalBackend:
        """The store in force."""
        choice = self.store
        path = str(choice.value)
        with self._lock:
            if path not in self._backends:
                private = choice.origin == "default"
                timeout_s = _configured.lock_timeout_s
                self._backends[path] = LocalBackend(path, timeout_s=timeout_s, private=private)
            return self._backends[path]

    @property
    def strict(self) -> bool:
        """Whether a result that can not be stored is an error."""
        return _configured.strict

    def forget_choices(self) -> None:
        """Look again for config and store at the next call."""
        with self._lock:
            self._backends.clear()
            self._view = None

    def ownership(self, function: Any) -> Ownership:
        """Return which code counts for a function."""
        root = settings.project_root()
        return Ownership.of(function, str(root), frozenset(settings.first_party(root)))

    # --- facts for keys ---

    def setting(self, path: str) -> Setting | None:
        """Return a config value, or None when there is no such path."""
        try:
            return self.config.get(path)
        except LookupError:
            return None

    def section(self, path: str) -> Setting:
        """Return a config value or section with where it was stated."""
        return self.config.get(path)

    def source(self, name: str) -> Setting:
        """Return the version of a source that the config states."""
        return self.config.source(name)

    def ask(self, name: str, probe: Callable[[], Any]) -> Any:
        """Return what a probe answers: once in a block, at each call outside one."""
        if self._is_process:
            return probe()
        place = (name, id(probe))
        with self._lock:
            if place not in self._answers:
                self._answers[place] = (probe, probe())
            return self._answers[place][1]

    def get(self, path: str) -> Any:
        """Return a config value by its dotted path.

        Raises:
            UnknownSettingError: There is no such path.
            UndeclaredConfigError: A checkpointed function asks for a path that its
                `config=[...]` does not name.
        """
        frame = _calls.get()
        if frame is not None and not _covers(frame.config, path):
            raise UndeclaredConfigError(path, frame.name, frame.config)
        return self.config.get(path).value

    # --- what happened ---

    def record_step(self, step_name: str, details: Mapping[str, Any] | None = None) -> None:
        """Add a step of your own to the provenance of this run."""
        step: dict[str, Any] = {"step_name": step_name, "timestamp": utc_now().isoformat()}
        with self._lock:
            self._steps.append(step | ({"details": dict(details)} if details else {}))

    def note(self, backend: LocalBackend, entry: Entry, outcome: str) -> None:
        """Remember what a call returned, and what the run means by the name."""
        place = (str(backend.path), entry.name, entry.stem, entry.content, outcome)
        with self._lock:
            noted = self._noted.get(place)
            if noted is None:
                step = entry.step().to_json()
                noted = self._noted[place] = step["details"]
                noted |= {"outcome": outcome, "calls": 0}
                self._steps.append(step)
            noted["calls"] += 1
            noted["used_at"] = utc_now().isoformat()
            self._meant[str(backend.path), entry.name] = (backend, entry)

    def note_unsaved(self, name: str, outcome: str, details: Mapping[str, Any]) -> None:
        """Remember a call whose result is not in the store."""
        self.record_step(name, {"outcome": outcome, **details})

    def steps(self) -> list[dict[str, Any]]:
        """Return the steps so far, as plain data."""
        with self._lock:
            return copy.deepcopy(self._steps)

    def metadata(self) -> dict[str, Any]:
        """Return the provenance of the run so far, as plain data."""
        config = self.config
        steps = self.steps()
        versions = {name: setting.value for name, setting in config.sources().items()}
        for step in steps:
            for name, used in step.get("details", {}).get("sources", {}).items():
                if str(versions.get(name)) != used:
                    versions[name] = used
        return {
            "pipeline_version": __version__,
            "data_source_versions": versions,
            "config_hash": config.config_hash(),
            "created_at": self.started_at.isoformat(),
            "processing_steps": steps,
            "run": {"run_id": self.run_id, "config": config.where},
        }

    # --- the block ---

    def __enter__(self) -> Self:
        if self in _active:
            raise UsherError(
                "This run is open already: expected a new one for the inner block. Nothing was "
                "changed. Call run(...) again for it."
            )
        self._begin()
        # A config that can not be read is an error here, and not in the middle of the work.
        _ = self.config
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
        record = self.metadata()
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
        except (OSError, StoreError) as trouble:
            outcomes = {step.get("details", {}).get("outcome") for step in self._steps}
            if outcomes - {"hit"}:
                warnings.warn(
                    f"The provenance of run {self.run_id} could not be saved: {trouble}. Its "
                    "results are not affected. Mend the store, or export(...) what you need "
                    "with its sidecar.",
                    UsherWarning,
                    stacklevel=4,
                )

    def publish(self, *, meant: bool) -> None:
        """Publish what this run meant by each name, and what was left from before."""
        with self._lock:
            kept = list(self._meant.values())
            backends = {str(backend.path): backend for backend, _ in kept}
            backends |= self._backends
        if meant:
            for backend, entry in kept:
                with suppress(OSError):
                    backend.mean(entry)
        for backend in backends.values():
            # What stays undone is marked on disk, and the next opener does it.
            with suppress(OSError, StoreError):
                backend.publish()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Make every call of a function a run of its own."""

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with Run(self._config, self._store):
                return function(*args, **kwargs)

        return wrapper


def run(config: Any = None, *, store: str | os.PathLike[str] | None = None) -> Run:
    """Bind the calls in a block, or in a function, to one config, store and provenance.

    Args:
        config: A YAML file, a mapping, or a pydantic model such as `PipelineConfig`; what
            is in force otherwise unless given.
        store: The DuckDB file of the store; what is in force otherwise unless given.

    Returns:
        A context manager that gives the `Run`, which is a decorator as well. When it ends
        its provenance is saved, also when the block fails.

    >>> with run({"api": {"page_size": 500}}) as current:
    ...     current.get("api.page_size")
    500
    """
    return Run(config, store)


#: Innermost last; shared by all threads of the process.
_active: Final[list[Run]] = []
#: The block that this very context opened; threads of the user's own have none.
_own: ContextVar[Run | None] = ContextVar("usher_run", default=None)
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


@atexit.register
def _publish_at_exit() -> None:
    if _implicit._meant:  # noqa: SLF001 - this module's own
        _implicit.publish(meant=True)


# --- calls inside calls -----------------------------------------------------------------


class Call:
    """A checkpointed function that is running.

    Attributes:
        name: The checkpoint.
        config: The config paths that it declares.
        reads: What it called, in the order of the first call.
    """

    def __init__(self, name: str, config: tuple[str, ...]) -> None:
        self.name = name
        self.config = config
        self.reads: dict[tuple[str, str], Read] = {}

    def __enter__(self) -> Self:
        self._token = _calls.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _calls.reset(self._token)


_calls: ContextVar[Call | None] = ContextVar("usher_calls", default=None)


def record_read(entry: Entry) -> None:
    """Note on the function that is running, if any, which entry it was given."""
    call = _calls.get()
    if call is not None:
        read = Read(entry.name, entry.key.digest, entry.content)
        call.reads.setdefault((read.name, read.key), read)


def _covers(declared: tuple[str, ...], path: str) -> bool:
    return any(path == known or path.startswith(f"{known}.") for known in declared)


# --- which frame came from where --------------------------------------------------------

_origins: Final[dict[int, tuple[weakref.ref[Any], Entry, LocalBackend]]] = {}


def remember_origin(frame: Any, entry: Entry, backend: LocalBackend) -> None:
    """Remember which entry a frame is, for as long as the frame lives."""
    place = id(frame)
    with suppress(TypeError):
        reference = weakref.ref(frame, lambda _: _origins.pop(place, None))
        _origins[place] = (reference, entry, backend)


def origin_of(frame: Any) -> tuple[Entry, LocalBackend] | None:
    """Return the entry that a frame came from, if it is a checkpoint's result."""
    known = _origins.get(id(frame))
    if known is None or known[0]() is not frame:
        return None
    return known[1], known[2]


# --- saying it --------------------------------------------------------------------------


class _Voice:
    """Prints one line per call where a person looks on, and logs all of them."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}

    def say(self, name: str, decision: Decision, entry: Entry | None, elapsed_s: float) -> None:
        import logging

        line = display.call_line(name, decision, entry, elapsed_s)
        logging.getLogger("usher_pipeline").info(line)
        place = (name, type(decision).__name__)
        self.counts[place] = count = self.counts.get(place, 0) + 1
        is_power_of_ten = count == 10 ** (len(str(count)) - 1)
        if is_power_of_ten and self._is_heard():
            print(line if count == 1 else f"{line} · {count:,} calls", file=sys.stderr)  # noqa: T201

    @staticmethod
    def _is_heard() -> bool:
        if os.environ.get("USHER_LOG", "").lower() == "quiet":
            return False
        with suppress(AttributeError, ValueError):
            if sys.stderr.isatty():
                return True
        return "ipykernel" in sys.modules


voice: Final = _Voice()


# --- out --------------------------------------------------------------------------------


def export(frame: Any, path: str | os.PathLike[str]) -> Path:
    """Write a frame to a file, with its provenance as JSON beside it.

    The sidecar holds the steps that led to the frame, each with the time and the run that
    really computed it. A frame that is not itself the result of a checkpoint gets all
    steps of the run so far.

    Args:
        frame: A polars or pandas DataFrame.
        path: Where to: ``.parquet``, ``.csv``, ``.tsv``, ``.arrow``, ``.feather`` or
            ``.json``. Folders are created.

    Returns:
        The path.

    Raises:
        UnsupportedFrameError: It is no frame, or the ending names no known format.

    >>> import polars as pl, tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = export(pl.DataFrame({"gene": ["USH2A"]}), pathlib.Path(folder, "g.parquet"))
    ...     sorted(file.name for file in pathlib.Path(folder).iterdir())
    ['g.parquet', 'g.provenance.json']
    """
    from usher_pipeline.persistence.export import write_frame
    from usher_pipeline.persistence.provenance import write_sidecar

    target = write_frame(frame, os.fspath(path))
    write_sidecar(target, _provenance_of(frame, target))
    return target


def _provenance_of(frame: Any, target: Path) -> dict[str, Any]:
    from usher_pipeline.fingerprint.frames import frame_digest
    from usher_pipeline.frames import adapter_for

    adapter = adapter_for(frame)
    assert adapter is not None  # noqa: S101 - it was just written
    rows, columns = adapter.shape(frame)
    metadata = current_run().metadata()
    output: dict[str, Any] = {"file": target.name, "row_count": rows, "column_count": columns}
    origin = origin_of(frame)
    if origin is not None:
        entry, backend = origin
        with suppress(StoreError):
            metadata["processing_steps"] = backend.lineage(entry)
        output |= {"checkpoint": entry.name, "key": entry.key.digest, "content": entry.content}
        if frame_digest(adapter.to_arrow(frame)) != entry.content:
            # Somebody changed the frame in place after it was returned.
            metadata["processing_steps"] += _unlisted(metadata["processing_steps"])
            output |= {"content": None, "note": "changed after the checkpoint returned it"}
    else:
        output["note"] = "not itself a checkpoint's result; the steps are those of the run"
    return metadata | {"output": output, "exported_at": utc_now().isoformat()}


def _unlisted(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    known = {step.get("details", {}).get("key") for step in steps}
    return (s for s in current_run().steps() if s.get("details", {}).get("key") not in known)
