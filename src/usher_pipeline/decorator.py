"""Where function, key, decision and store meet."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    get_args,
    overload,
)

from usher_pipeline import (
    accepting,
    adopting,
    awaiting,
    calls,
    reading,
    registry,
    results,
    runs,
    stored,
)
from usher_pipeline.config.environment import is_set
from usher_pipeline.display import preview
from usher_pipeline.durations import seconds_of
from usher_pipeline.errors import DeclarationError
from usher_pipeline.fingerprint.binding import LOOK_UP, Declaration
from usher_pipeline.persistence.places import check_name
from usher_pipeline.planning import CodePolicy
from usher_pipeline.records import Bypass, HandedIn, Reason, SettingRef, SourceRef

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator
    from concurrent.futures import Executor
    from datetime import timedelta
    from pathlib import Path

    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from usher_pipeline.mapping import AsyncMapped, Mapped, OnError
    from usher_pipeline.persistence.unfinished import Unfinished
    from usher_pipeline.records import Decision, Key
    from usher_pipeline.spreading import MapOptions

__all__ = ["AsyncCheckpointed", "Checkpointed", "checkpoint", "setting", "source"]

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

    Raises:
        DeclarationError: The path is no text, or empty.

    >>> def fetch(*, page_size: int = setting("api.page_size", default=500)): ...
    """
    _require_text("setting", path, "a dotted path of the config")
    if default is _NO_DEFAULT:
        return SettingRef(path)
    return SettingRef(path, default, required=False)


def source(name: str) -> Any:
    """Hand the version of a source into a function, as the default of a parameter.

    Args:
        name: The source, looked up in `versions` of the config.

    Raises:
        DeclarationError: The name is no text, or empty.

    >>> def fetch(*, release: str = source("gnomad")): ...
    """
    _require_text("source", name, "the name of a source")
    return SourceRef(name)


def _require_text(what: str, value: Any, expected: str) -> None:
    if not isinstance(value, str) or not value:
        found = preview(value)
        raise DeclarationError(
            f"a function with {what}({found})", f"expected {expected}, got {found}"
        )


# --- the decorator ----------------------------------------------------------------------


class _Decorator(Protocol):
    """What `checkpoint` with options returns; generators are seen as returning the frame."""

    @overload
    def __call__(
        self, function: Callable[P, Generator[R, Any, Any]], /
    ) -> Checkpointed[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Iterator[R]], /) -> Checkpointed[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncCheckpointed[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Checkpointed[P, R]: ...


@overload
def checkpoint(function: Callable[P, Generator[R, Any, Any]], /) -> Checkpointed[P, R]: ...
@overload
def checkpoint(function: Callable[P, Iterator[R]], /) -> Checkpointed[P, R]: ...
@overload
def checkpoint(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncCheckpointed[P, R]: ...
@overload
def checkpoint(function: Callable[P, R], /) -> Checkpointed[P, R]: ...
@overload
def checkpoint(
    *,
    name: str | None = ...,
    sources: Iterable[str] | Mapping[str, Any] = ...,
    config: Iterable[str] = ...,
    inputs: Iterable[str] = ...,
    files: Iterable[str] = ...,
    ignore: Iterable[str] = ...,
    version: str | None = ...,
    on_code_change: CodePolicy = ...,
    max_age: str | timedelta | None = ...,
    stale_if_error: bool = ...,
) -> _Decorator: ...
def checkpoint(  # noqa: PLR0913 - the options are the face
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    sources: Iterable[str] | Mapping[str, Any] = (),
    config: Iterable[str] = (),
    inputs: Iterable[str] = (),
    files: Iterable[str] = (),
    ignore: Iterable[str] = (),
    version: str | None = None,
    on_code_change: CodePolicy = "guard",
    max_age: str | timedelta | None = None,
    stale_if_error: bool = False,
) -> Any:
    """Keep what a function returns, and return it again while nothing that matters changed.

    It returns a frame: a DataFrame, LazyFrame or Series of polars, a DataFrame or Series of
    pandas, an Arrow table or reader, a relation of DuckDB; or a `dict` of frames, each of
    which is stored under ``name__key``. A lazy one is run once, and comes back as a query on
    what is stored. A generator yields frames with the same columns; the call returns one
    frame, in which they stand one below the other. Of queries, readers and generators the
    rows are stored as they come, so a result may be larger than the memory.

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
        inputs: Tables of the store that the function reads in ways that can not be seen,
            such as by `PipelineStore.conn`. What is read by other methods of the store, or
            by calling a checkpoint, is seen and need not be named.
        files: Parameters whose texts name files or folders; these then count by content,
            as a `Path` does.
        ignore: Parameters that can not change the result, such as a client.
        version: Replaces the tracking of code: while it stays, edits do not count.
        on_code_change: What to do when nothing but code changed since a result was stored.
            ``guard`` runs the function again if that result took less than `costly_s` (600
            seconds, see `configure`), and else raises `CodeChangedError`; ``recompute``
            always runs it, ``error`` never does, ``accept`` returns what is stored and
            records that. The environment's ``USHER_ON_CODE_CHANGE`` goes before it.
        max_age: How old a result may be, such as ``7d``, ``12h``, ``15min`` or a `timedelta`.
            An older one is computed again when it is asked for. If the function has a source
            that is asked for its version, as by `url_modified`, and the answer is the same
            as then, the result is renewed instead.
        stale_if_error: Return the last good result of the same call when the function, or
            what is asked for the version of a source, raises an error. A
            `StaleResultWarning` says so, and the provenance as well.

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
        instance: tuple[Any, ...] = ()
        if isinstance(function, types.MethodType):
            # The object counts as an argument, and its class with it.
            instance, function = (function.__self__,), function.__func__
        signature = inspect.signature(function)
        _require_resumable(function, signature)
        declared = Declaration(
            name=check_name(name if name is not None else _own_name(function)),
            function=function,
            signature=signature,
            sources=_sources(function, sources),
            config=_listed(function, "config", config),
            inputs=tuple(map(check_name, _listed(function, "inputs", inputs))),
            files=_parameters(function, "files", files, signature),
            ignore=_parameters(function, "ignore", ignore, signature),
            version=_version(function, version),
            on_code_change=_policy(function, on_code_change),
            max_age_s=_max_age_s(function, max_age),
            stale_if_error=_flag(function, "stale_if_error", stale_if_error),
        )
        is_async = inspect.iscoroutinefunction(function)
        made: Any = AsyncCheckpointed if is_async else Checkpointed
        wrapped: Checkpointed[P, R] = made(declared, instance)
        registry.register(wrapped)
        return wrapped

    return decorate if function is None else decorate(function)


checkpoint.__usher_decorator__ = True  # type: ignore[attr-defined]


def _require_function(function: Any) -> None:
    if isinstance(function, (staticmethod, classmethod)):
        kind = type(function).__name__
        raise DeclarationError(
            registry.place(function.__func__), f"@checkpoint stands above @{kind}; put it below"
        )
    if isinstance(function, Checkpointed):
        raise DeclarationError(
            registry.place(function.__wrapped__), "it is a checkpoint already"
        )
    if inspect.isasyncgenfunction(function):
        raise DeclarationError(
            registry.place(function),
            "it is an asynchronous generator; expected one that returns its frame",
        )
    if not hasattr(function, "__qualname__") or isinstance(function, type):
        raise DeclarationError(repr(function), "expected a function")


def _require_resumable(function: Any, signature: inspect.Signature) -> None:
    """Refuse a function that could not go on from a cursor, although it wants one."""
    wanted = [p.name for p in signature.parameters.values() if isinstance(p.default, HandedIn)]
    if len(wanted) > 1 or (wanted and not inspect.isgeneratorfunction(function)):
        problem = f"{' and '.join(wanted)} is Resume(); expected one, of a generator function"
        raise DeclarationError(registry.place(function), problem)


def _own_name(function: Any) -> str:
    name: str = function.__qualname__.rpartition("<locals>.")[2]
    if name == "<lambda>":
        raise DeclarationError(
            registry.place(function), "a lambda has no name; give it one with name="
        )
    return name


def _listed(function: Any, option: str, stated: Any) -> tuple[str, ...]:
    listed = (stated,) if isinstance(stated, str) else stated
    if isinstance(listed, Iterable):
        listed = tuple(listed)
        if all(isinstance(item, str) and item for item in listed):
            return listed
    raise DeclarationError(
        registry.place(function), f"{option}= expected names, got {preview(stated)}"
    )


def _parameters(
    function: Any, option: str, stated: Any, signature: inspect.Signature
) -> frozenset[str]:
    names = frozenset(_listed(function, option, stated))
    unknown = names - signature.parameters.keys()
    if unknown:
        problem = f"{option}= names {sorted(unknown)}, which it does not take"
        raise DeclarationError(registry.place(function), problem)
    return names


def _policy(function: Any, policy: Any) -> CodePolicy:
    known = get_args(CodePolicy)
    if policy not in known:
        problem = f"on_code_change= expected one of {', '.join(known)}, got {policy!r}"
        raise DeclarationError(registry.place(function), problem)
    found: CodePolicy = policy
    return found


def _max_age_s(function: Any, stated: Any) -> float | None:
    try:
        return None if stated is None else seconds_of(stated)
    except ValueError as problem:
        expected = 'a time such as "7d", "12h" or "15min", or a timedelta'
        raise DeclarationError(
            registry.place(function), f"max_age= expected {expected}, {problem}"
        ) from None


def _flag(function: Any, option: str, stated: Any) -> bool:
    if not isinstance(stated, bool):
        problem = f"{option}= expected True or False, got {preview(stated)}"
        raise DeclarationError(registry.place(function), problem)
    return stated


def _sources(function: Any, stated: Any) -> Mapping[str, Any]:
    if isinstance(stated, Mapping):
        _listed(function, "sources", stated)
        return dict(stated)
    return dict.fromkeys(_listed(function, "sources", stated), LOOK_UP)


def _version(function: Any, version: Any) -> str | None:
    if version is not None and not isinstance(version, str):
        raise DeclarationError(
            registry.place(function), f"version= expected text, got {version!r}"
        )
    return version


# --- a wrapped function -----------------------------------------------------------------


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
        return f"<checkpoint {self.name!r} of {registry.place(self.__wrapped__)}>"

    def __get__(self, instance: Any, owner: type | None = None) -> Checkpointed[..., R]:
        return self if instance is None else type(self)(self._declared, (instance,))

    def __reduce__(self) -> Any:
        if self._instance:
            return getattr, (self._instance[0], self.__wrapped__.__name__)
        return registry.reduced(self.__wrapped__)

    @property
    def __usher_function__(self) -> Any:
        """The function itself, for the walk over code."""
        return self._declared.function

    @property
    def __usher_instance__(self) -> tuple[Any, ...]:
        """The object that it is a method of, if it is bound to one."""
        return self._instance

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
        frame: R = self._answered(args, kwargs, "")
        return frame

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function and store its result, whatever is stored."""
        frame: R = self._answered(args, kwargs, "refresh was asked for")
        return frame

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function; neither look at the store nor write to it."""
        every = (*self._instance, *args)
        frame: R = calls.bypassed(self._declared, every, kwargs, "bypass was asked for")
        return frame

    def load(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the stored result of this call; never run the function.

        With ``partial=True``, of a function that has no parameter of this name, return the
        rows that are committed of a result that is not finished: see `partial`.

        Raises:
            CheckpointMissError: Nothing stored matches, or it has expired; the error says
                why.
            ProbeError: A source was asked for its version, and has no answer.
        """
        if kwargs.get("partial") is True and "partial" not in self._declared.known:
            from usher_pipeline import resuming

            rest = {name: value for name, value in kwargs.items() if name != "partial"}
            frame: R = resuming.stored_frame(self._unfinished(args, rest))
            return frame
        return calls.stored_frame(self._planned(args, kwargs))  # type: ignore[no-any-return]

    def partial(self, *args: P.args, **kwargs: P.kwargs) -> pl.LazyFrame:
        """Return the rows that are committed of a result that is not finished.

        That is of a generator with `Resume`, in whatever process it runs or was stopped.

        Raises:
            CheckpointMissError: Nothing of it is stored.
        """
        from usher_pipeline import resuming

        return resuming.stored_rows(self._unfinished(args, kwargs))

    def lazy(self, *args: P.args, **kwargs: P.kwargs) -> pl.LazyFrame:
        """Return the result of this call as a query of polars, which reads what it needs.

        Like the call itself it computes what is not stored. What a query does not ask for,
        columns or rows, is not read; each column is checked when it is first read.

        Raises:
            DamagedResultError: When the query runs: what is stored is damaged, and there is
                no other copy.

        >>> import polars as pl
        >>> @checkpoint(name="cubes")
        ... def cubes(count: int = 4) -> pl.DataFrame:
        ...     return pl.DataFrame({"n": range(count), "cube": [n**3 for n in range(count)]})
        >>> cubes.lazy().filter(pl.col("n") > 1).select("cube").collect()["cube"].to_list()
        [8, 27]
        """
        frame: pl.LazyFrame = self._answered(args, kwargs, "", "polars.LazyFrame")
        return frame

    def polars(self, *args: P.args, **kwargs: P.kwargs) -> pl.DataFrame:
        """Return the result of this call as a polars DataFrame, computed if need be."""
        frame: pl.DataFrame = self._answered(args, kwargs, "", "polars.DataFrame")
        return frame

    def pandas(self, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
        """Return the result of this call as a pandas DataFrame, computed if need be.

        Its memory is its own and can be written to.
        """
        frame: pd.DataFrame = self._answered(args, kwargs, "", "pandas.DataFrame")
        return frame

    def arrow(self, *args: P.args, **kwargs: P.kwargs) -> pa.Table:
        """Return the result of this call as an Arrow table, computed if need be.

        It is mapped from the store: columns that nobody uses take no memory.
        """
        table: pa.Table = self._answered(args, kwargs, "", "pyarrow.Table")
        return table

    def relation(self, *args: P.args, **kwargs: P.kwargs) -> duckdb.DuckDBPyRelation:
        """Return the result of this call as a relation of DuckDB, computed if need be.

        It belongs to `duckdb.default_connection()`, as what `duckdb.sql` returns does.
        """
        relation: duckdb.DuckDBPyRelation = self._answered(
            args, kwargs, "", "duckdb.DuckDBPyRelation"
        )
        return relation

    def accept(self, *args: P.args, **kwargs: P.kwargs) -> int:
        """State that a stored result holds for the code as it is now.

        With arguments it concerns the result of that call. Without any it concerns every
        result of the checkpoint that differs from what the function means now in nothing
        but code. The statement is stored and stands in the provenance; the next edit is
        compared with the code that was accepted.

        Returns:
            How many results it concerned.

        Raises:
            CheckpointMissError: Arguments were given, and nothing is stored that only code
                parts from that call.
        """
        if not args and not kwargs and not self._instance:
            from usher_pipeline import mapping

            of_maps = mapping.accept_maps(self._declared)
            return accepting.accept_all(self._declared) + of_maps
        return accepting.accept(self._planned(args, kwargs))

    def adopt(self, frame: R | str | Path, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """File a table that was computed before as the result of this call; run nothing.

        It is a result of the call with these arguments, of the code, config and sources of
        now, as if the function had returned it. The provenance says that it was adopted,
        from where, and the SHA-256 of the file. It counts as costly: when only code changes
        it is not computed again unasked.

        Args:
            frame: The frame, or a dict of frames; or a Parquet, Arrow (Feather), CSV or TSV
                file, which is read as the kind of frame that the function says to return,
                of polars unless it says.
            *args: The arguments of the call.
            **kwargs: The same, by name.

        Returns:
            The result, as the call returns it from now on.

        Raises:
            OptionError: It is neither, or of another kind than the function says to return.
            UnsupportedFrameError: The frame can not be stored exactly.
            OSError: The file can not be read.
            CheckpointNotSavedError: It could not be stored.

        >>> import polars as pl
        >>> @checkpoint(name="scanned")
        ... def scanned(depth: int) -> pl.DataFrame:
        ...     raise RuntimeError("it would take 46 hours")
        >>> _ = scanned.adopt(pl.DataFrame({"gene": ["USH2A"]}), depth=20)
        >>> scanned(depth=20)["gene"].to_list()
        ['USH2A']
        """
        adopted: R = adopting.adopt(self._planned(args, kwargs, "adopt"), frame)
        return adopted

    def mapped(  # noqa: PLR0913 - the options are the face
        self,
        *,
        over: str,
        item_column: str | None = None,
        batch_size: int | None = None,
        workers: int = 1,
        rate_per_s: float | None = None,
        retries: int = 0,
        timeout_s: float | None = None,
        retry_on: Callable[[Exception], bool] | None = None,
        executor: Executor | None = None,
        on_error: OnError = "finish",
    ) -> Mapped[R]:
        """Return the function as one of many items, each of which is asked once.

        What it returns takes the function's own arguments, with a list of items in the place
        of one. The rows of each item are stored as they come, so that a call that was
        stopped goes on, and one with other items asks only for those that are new. It
        returns the rows of exactly the items of the call, in their order, as one frame; an
        item that is given twice is there once.

        Args:
            over: The parameter that takes one item; with `batch_size`, a list of them.
            item_column: With `batch_size`, the column that says of which item a row is. For
                single items it may be left out; else rows of other items are refused.
            batch_size: How many items the function is given at once; one, and no list, if
                left out.
            workers: How many calls of the function run at a time.
            rate_per_s: How many calls may begin in any second.
            retries: How often a call is tried again that failed in a way that may pass, with
                growing pauses; a server that says ``Retry-After`` is obeyed.
            timeout_s: How long a call may take, in seconds.
            retry_on: Tells of an exception whether it may pass; without it that are lost
                connections, time limits, the HTTP statuses 408, 425, 429 and 5xx, and
                JSON that is cut off.
            executor: Where the calls run; threads of this process if left out.
            on_error: What to do about items that fail: ``"finish"`` asks all others, then
                raises `MapIncompleteError`; ``"collect"`` warns, and returns what there is;
                ``"raise"`` stops at the first, and raises what it failed with.

        Raises:
            OptionError: One of these is none of what it can be.

        >>> import polars as pl
        >>> @checkpoint(name="lengths")
        ... def lengths(gene: str) -> pl.DataFrame:
        ...     return pl.DataFrame({"gene": [gene], "length": [len(gene)]})
        >>> lengths.mapped(over="gene", workers=2)(["USH2A", "CDH23", "WHRN"])["length"].sum()
        14
        """
        from usher_pipeline import mapping

        options = mapping.options_of(
            self._declared,
            over=over,
            item_column=item_column,
            batch_size=batch_size,
            workers=workers,
            rate_per_s=rate_per_s,
            retries=retries,
            timeout_s=timeout_s,
            retry_on=retry_on,
            executor=executor,
            on_error=on_error,
        )
        return self._map_of(options)

    def _map_of(self, options: MapOptions) -> Mapped[R]:
        from usher_pipeline.mapping import Mapped

        return Mapped(self, self._instance, options)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Decision:
        """Return what this call would do, and why; run nothing and change nothing.

        Raises:
            ProbeError: A source was asked for its version, and nothing would stand in for
                the result.
        """
        if is_set("USHER_DISABLE"):
            return Bypass(Reason("USHER_DISABLE is set"))
        planned = calls.plan(
            self._declared,
            (*self._instance, *args),
            kwargs,
            refresh=calls.refresh_wish(self.name),
            may_be_stale=True,
        )
        reading.record_look(planned)
        return planned.decision

    def key(self, *args: P.args, **kwargs: P.kwargs) -> Key:
        """Return the key of this call, with every part that counts."""
        return calls.key(self._declared, (*self._instance, *args), kwargs)

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove what is stored for this call, finished or not; tell whether there was any."""
        planned = self._planned(args, kwargs)
        entry = planned.backend.find(self.name, planned.measured.digest)
        if entry is not None:
            for part in list(results.parts_of(planned.backend, entry)):
                planned.backend.forget(part)
            planned.backend.forget(entry)
        begun = planned.backend.unfinished(self.name, planned.measured.digest)
        is_anything = entry is not None or bool(begun.parts())
        begun.discard()
        return is_anything

    def clear(self) -> int:
        """Remove every stored result of this checkpoint; return how many there were."""
        backend = runs.current_run().backend
        parts = {p.name for e in self.entries() for p in results.parts_of(backend, e)}
        for name in parts:
            backend.clear(name)
        return backend.clear(self.name)

    def entries(self) -> stored.Entries:
        """Return what is stored for this checkpoint, newest first."""
        return stored.entries(self.name)

    # --- to the circle ---

    def _planned(self, args: Any, kwargs: Any, refresh: str = "") -> calls.Planned:
        return calls.plan(self._declared, (*self._instance, *args), kwargs, refresh=refresh)

    def _unfinished(self, args: Any, kwargs: Any) -> Unfinished:
        planned = self._planned(args, kwargs)
        return planned.backend.unfinished(self.name, planned.measured.digest)

    def _answered(self, args: Any, kwargs: Any, refresh: str, form: str = "") -> Any:
        every = (*self._instance, *args)
        if is_set("USHER_DISABLE") and not refresh:
            reason = "USHER_DISABLE is set"
            return calls.bypassed(self._declared, every, kwargs, reason, form=form)
        wish = refresh or calls.refresh_wish(self.name)
        return calls.answer(self._declared, every, kwargs, refresh=wish, form=form)


class AsyncCheckpointed(Checkpointed[P, R]):
    """An asynchronous function whose results are kept: what computes is awaited.

    That are the call itself, `refresh`, `bypass`, and the call in another form, such as
    `lazy`. The function runs on the loop of its caller; what is done in the store does not
    block that loop. Verbs that run nothing, such as `load` and `explain`, are those of every
    checkpoint.
    """

    def __init__(self, declared: Declaration, instance: tuple[Any, ...] = ()) -> None:
        super().__init__(declared, instance)
        if hasattr(inspect, "markcoroutinefunction"):
            # Frameworks ask whether what they are given is to be awaited; Python 3.11 has no
            # word for it.
            inspect.markcoroutinefunction(self)

    def __get__(self, instance: Any, owner: type | None = None) -> AsyncCheckpointed[..., R]:
        return self if instance is None else type(self)(self._declared, (instance,))

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Return the stored result of this call, or run the function and store its result."""
        frame: R = await self._awaited(super().__call__, args, kwargs)
        return frame

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the function and store its result, whatever is stored."""
        frame: R = await self._awaited(super().refresh, args, kwargs)
        return frame

    async def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the function; neither look at the store nor write to it."""
        frame: R = await self._awaited(super().bypass, args, kwargs)
        return frame

    def mapped(self, *, over: str, **options: Any) -> AsyncMapped[R]:
        """Return the function as one of many items, as `Checkpointed.mapped` does.

        Args:
            over: The parameter that takes one item.
            options: As there, but for an executor: it runs on the loop of the caller.

        Raises:
            OptionError: One of these is none of what it can be.
        """
        made: AsyncMapped[R] = super().mapped(over=over, **options)  # type: ignore[assignment]
        return made

    def _map_of(self, options: MapOptions) -> AsyncMapped[R]:
        from usher_pipeline.mapping import AsyncMapped

        return AsyncMapped(self, self._instance, options)

    async def lazy(  # type: ignore[override]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> pl.LazyFrame:
        """Return the result of this call as a query of polars, which reads what it needs."""
        frame: pl.LazyFrame = await self._awaited(super().lazy, args, kwargs)
        return frame

    async def polars(  # type: ignore[override]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> pl.DataFrame:
        """Return the result of this call as a polars DataFrame, computed if need be."""
        frame: pl.DataFrame = await self._awaited(super().polars, args, kwargs)
        return frame

    async def pandas(  # type: ignore[override]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> pd.DataFrame:
        """Return the result of this call as a pandas DataFrame, computed if need be."""
        frame: pd.DataFrame = await self._awaited(super().pandas, args, kwargs)
        return frame

    async def arrow(self, *args: P.args, **kwargs: P.kwargs) -> pa.Table:
        """Return the result of this call as an Arrow table, computed if need be."""
        table: pa.Table = await self._awaited(super().arrow, args, kwargs)
        return table

    async def relation(  # type: ignore[override]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> duckdb.DuckDBPyRelation:
        """Return the result of this call as a relation of DuckDB, computed if need be."""
        relation: duckdb.DuckDBPyRelation = await self._awaited(super().relation, args, kwargs)
        return relation

    @staticmethod
    async def _awaited(verb: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return await awaiting.answered(functools.partial(verb, *args, **kwargs))
