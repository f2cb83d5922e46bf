"""Where function, key, decision and store meet."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, overload
from uuid import uuid4

from usher_pipeline import runs
from usher_pipeline._version import __version__
from usher_pipeline.errors import (
    CheckpointMissError,
    CheckpointNotSaved,
    CheckpointNotSavedError,
    DeclarationError,
    InvalidResultError,
    NameClashError,
    StoreError,
    UnsupportedFrameError,
)
from usher_pipeline.fingerprint import frames as fingerprints
from usher_pipeline.fingerprint import values
from usher_pipeline.fingerprint.key import LOOK_UP, Declaration, bind, key_of
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.persistence.segments import check_name, schema_text, write_segment
from usher_pipeline.planning import Request, decide
from usher_pipeline.records import (
    INDEX_TYPE,
    Bypass,
    Column,
    Cost,
    Entry,
    Hit,
    Miss,
    Read,
    Reason,
    SettingRef,
    SourceRef,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from usher_pipeline.fingerprint.key import Bound
    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Decision, Key
    from usher_pipeline.runs import Run

__all__ = ["Checkpointed", "checkpoint", "entries", "load", "setting", "source"]

P = ParamSpec("P")
R = TypeVar("R")

_NO_DEFAULT: Final = object()


# --- what stands for a value ------------------------------------------------------------


def setting(path: str, default: Any = _NO_DEFAULT) -> Any:
    """Hand a config value into a function, as the default of a parameter.

    It counts like an argument: another value is another call, and a call may override it.

    Args:
        path: The dotted path in the config, such as ``api.page_size``.
        default: What to take when the config has no such path.

    >>> def fetch(*, page_size: int = setting("api.page_size", default=500)): ...
    """
    if default is _NO_DEFAULT:
        return SettingRef(path)
    return SettingRef(path, default, required=False)


def source(name: str) -> Any:
    """Hand the version of a source into a function, as the default of a parameter.

    Args:
        name: The source, looked up in `versions` of the config.

    >>> def fetch(*, release: str = source("gnomad")): ...
    """
    return SourceRef(name)


# --- the decorator ----------------------------------------------------------------------


@overload
def checkpoint(function: Callable[P, R], /) -> Checkpointed[P, R]: ...
@overload
def checkpoint(
    *,
    name: str | None = ...,
    sources: Iterable[str] | Mapping[str, Any] = ...,
    config: Iterable[str] = ...,
    ignore: Iterable[str] = ...,
    version: str | None = ...,
) -> Callable[[Callable[P, R]], Checkpointed[P, R]]: ...
def checkpoint(  # noqa: PLR0913 - the options are the face
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    sources: Iterable[str] | Mapping[str, Any] = (),
    config: Iterable[str] = (),
    ignore: Iterable[str] = (),
    version: str | None = None,
) -> Any:
    """Keep what a function returns, and return it again while nothing that matters changed.

    What matters is the code of the function with every helper of your own that it reaches,
    its arguments, the config values and the source versions that it declares. Any change
    runs it again and says why; what was stored before stays and is found again.

    Args:
        function: The function, in the form without brackets.
        name: What identifies the checkpoint and names its table; the function's own name
            unless given.
        sources: Names of sources whose versions the config states; or name → version,
            where a version is a value, a `Path` whose content counts, or a function
            without arguments that is asked once per run.
        config: Dotted config paths that the function reads through `current_run()`.
        ignore: Parameters that can not change the result, such as a client.
        version: Replaces the tracking of code: while it stays, edits do not count.

    Returns:
        A callable with the very signature of the function, and the verbs of `Checkpointed`.

    Raises:
        CheckpointNameError: The name is empty or reserved.
        NameClashError: Another function has the name.
        DeclarationError: An option does not fit the function.

    >>> import polars as pl
    >>> @checkpoint(name="squares", sources={"numbers": "v1"})
    ... def squares(count: int = 3) -> pl.DataFrame:
    ...     return pl.DataFrame({"square": [n * n for n in range(count)]})
    >>> squares(3).equals(squares(count=3))
    True
    """
    if function is not None and not callable(function):
        raise DeclarationError(repr(function), "expected a function; options are given by name")

    def decorate(function: Callable[P, R]) -> Checkpointed[P, R]:
        _require_function(function)
        signature = inspect.signature(function)
        declared = Declaration(
            name=check_name(name if name is not None else _own_name(function)),
            function=function,
            signature=signature,
            sources=_sources(function, sources),
            config=_listed(function, "config", config),
            ignore=frozenset(_listed(function, "ignore", ignore)),
            version=_version(function, version),
        )
        unknown = declared.ignore - signature.parameters.keys()
        if unknown:
            raise DeclarationError(
                _place(function), f"ignore= names {sorted(unknown)}, which it does not take"
            )
        wrapped: Checkpointed[P, R] = Checkpointed(declared)
        _register(wrapped)
        return wrapped

    return decorate if function is None else decorate(function)


checkpoint.__usher_decorator__ = True  # type: ignore[attr-defined]


def _require_function(function: Any) -> None:
    if isinstance(function, (staticmethod, classmethod)):
        kind = type(function).__name__
        raise DeclarationError(
            _place(function.__func__), f"@checkpoint stands above @{kind}; put it below"
        )
    if isinstance(function, Checkpointed):
        raise DeclarationError(_place(function.__wrapped__), "it is a checkpoint already")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DeclarationError(
            _place(function), "it is asynchronous; expected a plain function"
        )
    if inspect.isgeneratorfunction(function):
        raise DeclarationError(_place(function), "it is a generator; expected one that returns")
    if not hasattr(function, "__qualname__") or isinstance(function, type):
        raise DeclarationError(repr(function), "expected a function")


def _own_name(function: Any) -> str:
    name: str = function.__qualname__.rpartition("<locals>.")[2]
    if name == "<lambda>":
        raise DeclarationError(_place(function), "a lambda has no name; give it one with name=")
    return name


def _listed(function: Any, option: str, stated: Any) -> tuple[str, ...]:
    listed = (stated,) if isinstance(stated, str) else tuple(stated)
    if not all(isinstance(item, str) and item for item in listed):
        raise DeclarationError(_place(function), f"{option}= expected names, got {stated!r}")
    return listed


def _sources(function: Any, stated: Any) -> Mapping[str, Any]:
    if isinstance(stated, Mapping):
        _listed(function, "sources", stated)
        return dict(stated)
    return dict.fromkeys(_listed(function, "sources", stated), LOOK_UP)


def _version(function: Any, version: Any) -> str | None:
    if version is not None and not isinstance(version, str):
        raise DeclarationError(_place(function), f"version= expected text, got {version!r}")
    return version


def _place(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


# --- a wrapped function -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """A call before anything is done: what it means and what is stored for it."""

    run: Run
    backend: LocalBackend
    bound: Bound
    key: Key
    decision: Decision


class Checkpointed(Generic[P, R]):
    """A function whose results are kept. Calling it has the function's own signature.

    Attributes:
        name: The checkpoint.
        __wrapped__: The function itself.
    """

    __wrapped__: Callable[P, R]
    __name__: str
    __qualname__: str

    def __init__(self, declared: Declaration, instance: tuple[Any, ...] = ()) -> None:
        functools.update_wrapper(self, declared.function)
        self.name = declared.name
        self._declared = declared
        self._instance = instance

    def __repr__(self) -> str:
        return f"<checkpoint {self.name!r} of {_place(self.__wrapped__)}>"

    def __get__(self, instance: Any, owner: type | None = None) -> Checkpointed[..., R]:
        return self if instance is None else Checkpointed(self._declared, (instance,))

    def __reduce__(self) -> Any:
        if self._instance:
            return getattr, (self._instance[0], self.__wrapped__.__name__)
        return _import, (self.__wrapped__.__module__, self.__wrapped__.__qualname__)

    @property
    def __usher_function__(self) -> Any:
        """The function itself, for the walk over code."""
        return self._declared.function

    @property
    def __usher_declaration__(self) -> Declaration:
        """What the decorator was told, for the keys of those who call this."""
        return self._declared

    @property
    def __usher_version__(self) -> str | None:
        """What replaces the tracking of code, if anything."""
        return self._declared.version

    @property
    def __signature__(self) -> inspect.Signature:
        signature = self._declared.signature
        if not self._instance:
            return signature
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    # --- calling ---

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the stored result of this call, or run the function and store its result."""
        return self._answer(args, kwargs, refresh=_refresh_wish(self.name))

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function and store its result, whatever is stored."""
        return self._answer(args, kwargs, refresh="refresh was asked for")

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function; neither look at the store nor write to it."""
        return self._answer(args, kwargs, bypass="bypass was asked for")

    def load(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the stored result of this call; never run the function.

        Raises:
            CheckpointMissError: Nothing stored matches; the error says why.
        """
        plan = self._plan(args, kwargs)
        result = self._stored(plan, time.perf_counter())
        if result is _NO_DEFAULT:
            reason = plan.decision.reason if isinstance(plan.decision, Miss) else _LOST
            raise CheckpointMissError(self.name, str(reason))
        return result  # type: ignore[no-any-return]

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Decision:
        """Return what this call would do, and why; run nothing and change nothing."""
        return self._plan(args, kwargs, refresh=_refresh_wish(self.name)).decision

    def key(self, *args: P.args, **kwargs: P.kwargs) -> Key:
        """Return the key of this call, with every part that counts."""
        return self._plan(args, kwargs).key

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove what is stored for this call; tell whether there was anything."""
        plan = self._plan(args, kwargs)
        entry = plan.backend.find(self.name, plan.key.digest)
        if entry is not None:
            plan.backend.forget(entry)
        return entry is not None

    def clear(self) -> int:
        """Remove every stored result of this checkpoint; return how many there were."""
        return runs.current_run().backend.clear(self.name)

    def entries(self) -> list[Entry]:
        """Return what is stored for this checkpoint, newest first."""
        return runs.current_run().backend.recent(self.name)

    # --- the circle ---

    def _plan(self, args: Any, kwargs: Any, *, refresh: str = "", bypass: str = "") -> _Plan:
        run = runs.current_run()
        backend = run.backend
        declared = self._declared
        bound = bind(declared, (*self._instance, *args), kwargs, run)
        key = key_of(declared, bound, run, run.ownership(declared.function))
        request = Request(key, refresh=refresh, bypass=bypass)
        decision: Decision = Bypass(Reason(bypass)) if bypass else _decide(request, backend)
        return _Plan(run, backend, bound, key, decision)

    def _answer(self, args: Any, kwargs: Any, *, refresh: str = "", bypass: str = "") -> R:
        started = time.perf_counter()
        if os.environ.get("USHER_DISABLE", "") not in ("", "0"):
            bypass = "USHER_DISABLE is set"
        if bypass:
            return self._without_store(args, kwargs, bypass, started)
        plan = self._plan(args, kwargs, refresh=refresh)
        result = self._stored(plan, started)
        if result is not _NO_DEFAULT:
            return result  # type: ignore[no-any-return]
        asked_at = utc_now()
        with plan.backend.single_flight(self.name, plan.key.digest):
            return self._compute(plan, refresh, asked_at, started)

    def _without_store(self, args: Any, kwargs: Any, reason: str, started: float) -> R:
        run = runs.current_run()
        bound = bind(self._declared, (*self._instance, *args), kwargs, run)
        result = self._declared.function(*bound.args, **bound.kwargs)
        decision = Bypass(Reason(reason))
        run.note_unsaved(self.name, "bypass", {"reason": reason})
        runs.voice.say(self.name, decision, None, time.perf_counter() - started)
        return result  # type: ignore[no-any-return]

    def _stored(self, plan: _Plan, started: float) -> Any:
        """Return the frame of a hit; a marker when there is none that can be read."""
        if not isinstance(plan.decision, Hit):
            return _NO_DEFAULT
        entry = plan.decision.entry
        packed = plan.backend.load(entry)
        if packed is None:
            return _NO_DEFAULT
        frame = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
        plan.run.note(plan.backend, entry, "hit")
        runs.record_read(entry)
        runs.remember_origin(frame, entry, plan.backend)
        runs.voice.say(self.name, plan.decision, entry, time.perf_counter() - started)
        return frame

    def _compute(self, plan: _Plan, refresh: str, asked_at: Any, started: float) -> R:
        # Somebody else may have computed it while we waited for our turn.
        again = _decide(Request(plan.key), plan.backend)
        if isinstance(again, Hit) and (not refresh or again.entry.created_at > asked_at):
            result = self._stored(replace(plan, decision=again), started)
            if result is not _NO_DEFAULT:
                return result  # type: ignore[no-any-return]
        reason = plan.decision.reason if isinstance(plan.decision, Miss) else _LOST
        self._require_sole(plan.backend)
        plan.backend.check(self.name)
        started_at, clock = utc_now(), time.perf_counter()
        with runs.Call(self.name, self._declared.config) as call:
            result = self._declared.function(*plan.bound.args, **plan.bound.kwargs)
        cost = Cost(started_at, time.perf_counter() - clock)
        packed = self._packed(result)
        new = self._entry(plan, result, packed, cost, reason, call)
        entry = self._save(plan, new, packed, result)
        if entry is not None:
            plan.run.note(plan.backend, entry, "computed")
            runs.record_read(entry)
            runs.remember_origin(result, entry, plan.backend)
            with suppress(OSError, StoreError):
                # What stays undone is marked on disk, and the next opener does it.
                plan.backend.publish()
        runs.voice.say(self.name, Miss(reason), entry, time.perf_counter() - started)
        return result  # type: ignore[no-any-return]

    def _packed(self, result: Any) -> Packed:
        adapter = adapter_for(result)
        if adapter is None:
            raise InvalidResultError(self.name, _type_name(result), result)
        try:
            return adapter.to_arrow(result)
        except UnsupportedFrameError as problem:
            # Hours of work may be in it: the error carries what was computed.
            problem.frame = result
            raise

    def _entry(  # noqa: PLR0913, PLR0917 - the facts of one call
        self,
        plan: _Plan,
        result: Any,
        packed: Packed,
        cost: Cost,
        reason: Reason,
        call: runs.Call,
    ) -> Entry:
        digests = fingerprints.column_digests(packed.table)
        described = adapter_of_kind(packed.kind).describe(result)
        names = packed.schema["sql_names"]
        described += tuple((name, INDEX_TYPE) for name in names[len(described) :])
        return Entry(
            key=plan.key,
            number=1,
            created_at=utc_now(),
            function=_place(self.__wrapped__),
            kind=packed.kind,
            schema=packed.schema,
            arrow_schema=schema_text(packed.table.schema),
            content=fingerprints.combine(packed.kind, packed.schema, digests),
            columns=tuple(
                Column(label, kind, digest)
                for (label, kind), digest in zip(described, digests, strict=True)
            ),
            row_count=packed.schema["rows"],
            size_bytes=packed.table.nbytes,
            cost=cost,
            run_id=plan.run.run_id,
            reads=tuple(call.reads.values()),
            inputs=_inputs(plan.bound),
            library=__version__,
            description=_first_line(self.__wrapped__),
            reason=str(reason),
            config_hash=plan.run.config.config_hash(),
        )

    def _save(self, plan: _Plan, entry: Entry, packed: Packed, result: Any) -> Entry | None:
        """Store a result; if that fails the caller still gets it, loudly."""
        try:
            return plan.backend.save(entry, packed)
        except (OSError, StoreError) as problem:
            if plan.run.strict:
                raise CheckpointNotSavedError(
                    plan.backend.path, str(problem), result
                ) from problem
            rescue = _rescue(packed)
            plan.run.note_unsaved(self.name, "not saved", {"problem": str(problem)})
            warnings.warn(
                f"{self.name} ran, but its result could not be stored in "
                f"{str(plan.backend.path)!r}: {problem}. The result was returned{rescue}. "
                "Mend the store and call again to have it kept.",
                CheckpointNotSaved,
                stacklevel=5,
            )
            return None

    def _require_sole(self, backend: LocalBackend) -> None:
        """Refuse a name that another function, still there, has results under."""
        latest = next(iter(backend.recent(self.name)), None)
        mine = _place(self.__wrapped__)
        if latest is not None and latest.function != mine and _still_defined(latest, self):
            raise NameClashError(self.name, latest.function, mine)


_LOST: Final = Reason("the stored result is lost or damaged")


def _decide(request: Request, backend: LocalBackend) -> Decision:
    found = backend.find(request.key.name, request.key.digest)
    current = {read: _now(read, backend) for read in found.reads} if found else {}
    earlier: Sequence[Entry] = () if found else backend.recent(request.key.name)
    return decide(request, found, earlier, current)


def _now(read: Read, backend: LocalBackend) -> Read | None:
    entry = backend.find(read.name, read.key)
    return Read(read.name, read.key, entry.content) if entry is not None else None


def _inputs(bound: Bound) -> tuple[Read, ...]:
    found: dict[Read, None] = {}
    for value in bound.arguments.values():
        origin = runs.origin_of(value)
        if origin is not None:
            entry = origin[0]
            found[Read(entry.name, entry.key.digest, entry.content)] = None
    return tuple(found)


def _refresh_wish(name: str) -> str:
    wanted = os.environ.get("USHER_REFRESH", "")
    names = [part.strip() for part in wanted.split(",")]
    return "USHER_REFRESH names it" if wanted and (name in names or "*" in names) else ""


def _first_line(function: Any) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _rescue(packed: Packed) -> str:
    """Write an unsaved result somewhere else; return a clause that says where."""
    path = Path(tempfile.gettempdir()) / f"usher-rescue-{uuid4().hex}.arrow"
    try:
        write_segment(path, packed.table)
    except OSError as problem:
        with suppress(OSError):
            path.unlink()
        return f", but could not be rescued to {path} either ({problem})"
    return f", and a copy of its columns was written to {str(path)!r}"


# --- names and functions ----------------------------------------------------------------

_registry: Final[weakref.WeakValueDictionary[str, Checkpointed[..., Any]]] = (
    weakref.WeakValueDictionary()
)


def _register(wrapped: Checkpointed[..., Any]) -> None:
    known = _registry.get(wrapped.name)
    if known is not None and not _same(known, wrapped) and _is_bound(known):
        raise NameClashError(
            wrapped.name, _place(known.__wrapped__), _place(wrapped.__wrapped__)
        )
    _registry[wrapped.name] = wrapped


def _same(one: Checkpointed[..., Any], other: Checkpointed[..., Any]) -> bool:
    first, second = one.__wrapped__, other.__wrapped__
    if first.__qualname__ != second.__qualname__:
        return False
    return first.__module__ == second.__module__ or _file(first) == _file(second)


def _file(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return os.path.realpath(code.co_filename) if code is not None else ""


def _is_bound(wrapped: Checkpointed[..., Any]) -> bool:
    """Tell whether a wrapped function is still what its module has under its name."""
    module = sys.modules.get(wrapped.__wrapped__.__module__)
    found: Any = module
    for step in wrapped.__wrapped__.__qualname__.split("."):
        if step == "<locals>":
            return True
        found = getattr(found, step, None)
    return found is wrapped or getattr(found, "_declared", None) is wrapped._declared  # noqa: SLF001


def _still_defined(entry: Entry, mine: Checkpointed[..., Any]) -> bool:
    """Tell whether the function that made an entry exists besides the one that asks."""
    module_name, _, qualname = _split(entry.function)
    if module_name == "__main__" or "<locals>" in qualname:
        return False
    module = sys.modules.get(module_name)
    if module is None:
        return _is_in_source(module_name, qualname, mine)
    found: Any = module
    for step in qualname.split("."):
        found = getattr(found, step, None)
    return (
        isinstance(found, Checkpointed) and found.name == entry.name and not _same(found, mine)
    )


def _split(function: str) -> tuple[str, str, str]:
    """Split ``package.module.Class.method`` where the module ends."""
    steps = function.split(".")
    for count in range(len(steps) - 1, 0, -1):
        name = ".".join(steps[:count])
        if name in sys.modules or _spec(name) is not None:
            return name, ".", ".".join(steps[count:])
    return function.rpartition(".")


def _spec(module_name: str) -> Any:
    try:
        return importlib.util.find_spec(module_name)
    except (ImportError, ValueError, AttributeError):
        return None


def _is_in_source(module_name: str, qualname: str, mine: Checkpointed[..., Any]) -> bool:
    """Look for a definition without importing the module: that could do anything."""
    import ast

    spec = _spec(module_name)
    origin = getattr(spec, "origin", None)
    if not origin or os.path.realpath(origin) == _file(mine.__wrapped__):
        return False
    try:
        body: list[ast.stmt] = ast.parse(Path(origin).read_text("utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return False
    for step in qualname.split("."):
        named = [n for n in body if getattr(n, "name", None) == step]
        if not named:
            return False
        body = getattr(named[-1], "body", [])
    return True


def _import(module_name: str, qualname: str) -> Any:
    found: Any = importlib.import_module(module_name)
    for step in qualname.split("."):
        found = getattr(found, step)
    return found


# --- without the function at hand -------------------------------------------------------


def load(name: str, /, **arguments: Any) -> Any:
    """Return the stored result of a checkpoint, without its function.

    Args:
        name: The checkpoint.
        **arguments: Arguments that the stored call must have had; the newest result that
            fits is returned.

    Raises:
        CheckpointMissError: Nothing stored fits.
    """
    run = runs.current_run()
    backend = run.backend
    stored = backend.recent(name)
    fitting = [entry for entry in stored if _fits(entry, arguments)]
    for entry in fitting:
        packed = backend.load(entry)
        if packed is not None:
            frame = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
            run.note(backend, entry, "hit")
            runs.record_read(entry)
            runs.remember_origin(frame, entry, backend)
            return frame
    raise CheckpointMissError(name, _why_not(arguments, stored, backend))


#: How the value of an argument may have been digested.
_DIGESTS: Final = (values.digest, values.secret_digest)


def _fits(entry: Entry, arguments: Mapping[str, Any]) -> bool:
    stored = {p.label: p.digest for p in entry.key.parts if p.kind in ("argument", "source")}
    return all(
        stored.get(name)
        in (values.digest(value, path=name), values.secret_digest(value, path=name))
        for name, value in arguments.items()
    )


def _why_not(
    arguments: Mapping[str, Any], stored: Sequence[Entry], backend: LocalBackend
) -> str:
    if not stored:
        known = ", ".join(map(repr, backend.names()[:12])) or "none"
        return (
            f"the store {str(backend.path)!r} has no checkpoint of that name (it has {known})"
        )
    if not arguments:
        return str(_LOST)
    nearest = ", ".join(
        f"{part.label}={part.preview}"
        for part in stored[0].key.parts
        if part.kind == "argument"
    )
    having = nearest or "no arguments"
    return f"none of {len(stored)} stored results fits (the newest has {having})"


def entries(name: str | None = None) -> list[Entry]:
    """Return what is stored, newest first.

    Args:
        name: Only of this checkpoint.
    """
    backend = runs.current_run().backend
    names = [name] if name is not None else backend.names()
    found = [entry for each in names for entry in backend.recent(each)]
    return sorted(found, key=lambda entry: entry.created_at, reverse=True)
