"""A call → its key: the parts put together.

Binding comes first: defaults are applied and `setting(...)` and `source(...)` are
replaced by what is in force, so that `f(1)`, `f(x=1)` and `f()` are one call when
the default is 1. Then each part gets a digest of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import xxhash

from usher_pipeline import display
from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import code, files, values
from usher_pipeline.frames import adapter_for
from usher_pipeline.records import Key, Part, PartKind, SettingRef, SourceRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usher_pipeline.fingerprint.encoder import CodeOf
    from usher_pipeline.fingerprint.graph import CodeGraph
    from usher_pipeline.fingerprint.ownership import Ownership

__all__ = [
    "KEY_RULES",
    "LOOK_UP",
    "Bound",
    "Context",
    "Counts",
    "Declaration",
    "Facts",
    "Measured",
    "Piece",
    "Stated",
    "bind",
    "context_of",
    "files_of",
    "key_of",
    "measure",
    "rekeyed",
    "standing_of",
    "stands_as",
    "stated_now",
]

#: The version of the rules by which keys are made; another one matches nothing older.
KEY_RULES: Final = 1

#: Stands for a source version that the config states.
LOOK_UP: Final = object()

_HIDDEN: Final = "(hidden)"
_SIMPLE: Final = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


#: Kind and label of what counts already, with its digest.
_Known: TypeAlias = "dict[tuple[PartKind, str], str]"
_Counted: TypeAlias = "list[tuple[PartKind, str, str]]"


class Stated(Protocol):
    """A value and where it was stated, such as ``config.yaml:12``."""

    @property
    def value(self) -> Any:
        """The value."""

    @property
    def origin(self) -> str:
        """Where it was stated."""


class Facts(Protocol):
    """What is in force around a call."""

    def setting(self, path: str) -> Stated | None:
        """Return a config value, or None when there is no such path."""

    def section(self, path: str) -> Stated:
        """Return a config value or section; an unknown path is an error."""

    def source(self, name: str) -> Stated:
        """Return the version of a source; an unknown one is an error."""

    def ask(self, name: str, probe: Callable[[], Any]) -> Any:
        """Return what a probe for a source answers."""

    def table_version(self, name: str) -> str:
        """Return which version a plain name stands for; empty if there is none."""


class Counts(NamedTuple):
    """How a parameter counts: as what, under which label, and whether it is hidden."""

    name: str
    kind: PartKind
    label: str
    is_secret: bool
    is_file: bool
    alias: str
    is_direct: bool = False

    @classmethod
    def of(
        cls, parameter: inspect.Parameter, *, is_file: bool, is_shared: bool = False
    ) -> Counts:
        """Return how a parameter counts, from its default and its kind."""
        name, reference = parameter.name, parameter.default
        is_source = isinstance(reference, SourceRef)
        label = reference.name if is_source else name
        # One source in two parameters is two parts, or they could change places.
        label = f"{label} as {name}" if is_shared and is_source else label
        path = reference.path if isinstance(reference, SettingRef) else ""
        alias = name if is_source else path
        kind: PartKind = "source" if is_source else "argument"
        is_secret = display.is_credential(label)
        # Counts by its value alone, and is always there.
        is_direct = not is_secret and not is_file and parameter.kind in _SIMPLE
        return cls(name, kind, label, is_secret, is_file, alias, is_direct)


@dataclass(frozen=True)
class Declaration:
    """What a decorator says about a function.

    Attributes:
        name: The checkpoint.
        function: The function as it was written.
        signature: Its signature.
        sources: Source name → version, probe, or `LOOK_UP`.
        config: The dotted config paths that count.
        inputs: The tables that the function reads in ways that can not be seen.
        files: The parameters whose texts name files, which count by content.
        ignore: The parameters that do not count.
        version: What replaces the tracking of code, if anything.
        on_code_change: What to do when only code changed.
    """

    name: str
    function: Callable[..., Any]
    signature: inspect.Signature
    sources: Mapping[str, Any] = field(default_factory=dict)
    config: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    version: str | None = None
    on_code_change: str = "guard"

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Parameter → default, where there is one."""
        empty = inspect.Parameter.empty
        parameters = self.signature.parameters.values()
        return {p.name: p.default for p in parameters if p.default is not empty}

    @cached_property
    def counted(self) -> tuple[Counts, ...]:
        """The parameters that count, each with what it counts as."""
        parameters = self.signature.parameters.values()
        sources = [p.default.name for p in parameters if isinstance(p.default, SourceRef)]
        return tuple(
            Counts.of(
                parameter,
                is_file=parameter.name in self.files,
                is_shared=sources.count(getattr(parameter.default, "name", "")) > 1,
            )
            for parameter in parameters
            if parameter.name not in self.ignore
        )

    @cached_property
    def ignores_self(self) -> bool:
        """Whether the object of a method is ignored, whose class counts all the same."""
        first = next(iter(self.signature.parameters), "")
        return first in self.ignore and first in ("self", "cls")

    @cached_property
    def has_context(self) -> bool:
        """Whether anything is declared that counts besides arguments and code."""
        return bool(self.sources or self.config or self.inputs) or self.version is not None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters, in order."""
        return tuple(self.signature.parameters)

    @cached_property
    def known(self) -> frozenset[str]:
        """The parameters that an argument may name."""
        return frozenset(self.names)

    @cached_property
    def has_references(self) -> bool:
        """Whether a default stands for a setting or a source."""
        return any(isinstance(d, (SettingRef, SourceRef)) for d in self.defaults.values())

    @cached_property
    def positional(self) -> int:
        """How many arguments may be given by place; -1 if binding takes more than names."""
        kinds = [parameter.kind for parameter in self.signature.parameters.values()]
        if any(kind not in _SIMPLE for kind in kinds):
            return -1
        return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Bound(NamedTuple):
    """A call with every argument known.

    Attributes:
        arguments: Parameter → value, in the order of the signature.
        origins: Parameter → where its value was stated, if it was not in the call.
        args: What to call the function with, by place, as it was called.
        kwargs: What to call the function with, by name: what was given, and what
            `setting(...)` and `source(...)` stand for.
    """

    arguments: dict[str, Any]
    origins: Mapping[str, str]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


# --- binding ----------------------------------------------------------------------------


def bind(
    declared: Declaration, args: tuple[Any, ...], kwargs: Mapping[str, Any], facts: Facts
) -> Bound:
    """Bind a call to the signature, with defaults, settings and sources filled in.

    Args:
        declared: The function.
        args: The positional arguments of the call.
        kwargs: The named arguments of the call.
        facts: What is in force.

    Raises:
        TypeError: The call does not fit the signature.
        UnknownSettingError: A `setting(...)` without default leads nowhere.
        UnknownSourceError: Nobody states the version of a `source(...)`.
    """
    arguments = _arguments(declared, args, kwargs)
    if not declared.has_references:
        return Bound(arguments, _NO_ORIGINS, args, kwargs)
    origins: dict[str, str] = {}
    for name, value in arguments.items():
        if isinstance(value, (SettingRef, SourceRef)):
            arguments[name], origins[name] = _resolve(value, facts)
    handed_in = {name: arguments[name] for name in origins}
    return Bound(arguments, origins, args, {**kwargs, **handed_in})


_NO_ORIGINS: Final[Mapping[str, str]] = {}


def _arguments(
    declared: Declaration, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `Signature.bind` and `apply_defaults` give, several times as fast."""
    names = declared.names
    if len(args) <= declared.positional:
        given = dict(zip(names, args, strict=False))
        if not kwargs and len(given) == len(names):
            return given
        if given.keys().isdisjoint(kwargs) and declared.known.issuperset(kwargs):
            given |= kwargs
            filled = declared.defaults | given
            if len(filled) == len(names):
                return {name: filled[name] for name in names}
    # Whatever is not plain, and every error, is Python's own to say.
    bound = declared.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _resolve(reference: SettingRef | SourceRef, facts: Facts) -> tuple[Any, str]:
    if isinstance(reference, SourceRef):
        stated = facts.source(reference.name)
        return stated.value, stated.origin
    found = facts.setting(reference.path)
    if found is not None:
        return found.value, found.origin
    if reference.required:
        stated = facts.section(reference.path)
        return stated.value, stated.origin
    return reference.default, "default"


# --- measuring --------------------------------------------------------------------------


class Piece(NamedTuple):
    """A part before it is put into words."""

    kind: PartKind
    label: str
    digest: str
    value: Any
    where: str
    alias: str = ""

    def part(self, code_of: CodeOf) -> Part:
        """Return it in words, with previews; a secret shows nothing."""
        kind, label, digest, value, where, alias = self
        if display.is_credential(label):
            return Part(kind, label, digest, _HIDDEN, where, alias=alias)
        is_name = kind in ("source", "version", "table") and isinstance(value, str)
        shown = value if is_name else display.preview(value)
        text = shown if is_name else display.described(value)
        items = _items(value, code_of) if kind in ("argument", "config", "setting") else ()
        return Part(kind, label, digest, shown, where, text, alias, items)


#: A mapping of more items than these is told as a whole.
_MOST_ITEMS: Final = 200


def _items(value: Any, code_of: CodeOf) -> tuple[tuple[str, str, str], ...]:
    """Return what a frame, a mapping or an object holds: label, digest, preview."""
    adapter = adapter_for(value)
    if adapter is not None:
        from usher_pipeline.fingerprint.frames import column_digests

        packed = adapter.to_arrow(value)
        digests = column_digests(packed.table)
        names = map(str, packed.schema["sql_names"])
        return tuple((name, digest, "") for name, digest in zip(names, digests, strict=True))
    held = value if type(value) is dict else display.fields_of(value)
    if held is None or len(held) > _MOST_ITEMS or not all(type(name) is str for name in held):
        return ()
    return tuple(_item(name, item, code_of) for name, item in held.items())


def _item(name: str, value: Any, code_of: CodeOf) -> tuple[str, str, str]:
    if display.is_credential(name):
        return name, values.secret_digest(value, code_of=code_of), _HIDDEN
    return name, values.digest(value, code_of=code_of), display.preview(value)


class Context(NamedTuple):
    """What a call means besides its arguments.

    Attributes:
        pieces: Config, sources, inputs and version, its own and those of the checkpoints
            that it reaches.
        graph: Its code; None where a version stands for it.
        code_of: Gives what stands for code inside of values.
    """

    pieces: tuple[Piece, ...]
    graph: CodeGraph | None
    code_of: CodeOf


class Measured(NamedTuple):
    """A call with its digest; the parts are put into words only when somebody asks.

    Attributes:
        name: The checkpoint.
        digest: The digest of the key.
        arguments: The arguments.
        context: All else.
        untracked: What code inside of the arguments reaches and nobody watches.
    """

    name: str
    digest: str
    arguments: tuple[Piece, ...]
    context: Context
    untracked: tuple[str, ...] = ()

    def key(self) -> Key:
        """Return the key, with a preview of every part."""
        pieces = (*self.arguments, *self.context.pieces)
        graph, code_of = self.context.graph, self.context.code_of
        return Key(
            name=self.name,
            digest=self.digest,
            parts=(*(piece.part(code_of) for piece in pieces), *(graph.parts if graph else ())),
            rules=KEY_RULES,
            untracked=(*(graph.untracked if graph else ()), *self.untracked),
            code=graph.digest if graph else "",
        )


def key_of(declared: Declaration, bound: Bound, facts: Facts, ownership: Ownership) -> Key:
    """Return the key of a bound call.

    Args:
        declared: The function.
        bound: The call.
        facts: What is in force.
        ownership: Which code counts as the user's own.

    Raises:
        FingerprintError: An argument has no fingerprint.
    """
    return measure(declared, bound, facts, ownership).key()


def measure(
    declared: Declaration, bound: Bound, facts: Facts, ownership: Ownership
) -> Measured:
    """Return the digest of a bound call, with all that its key is made of.

    Args:
        declared: The function.
        bound: The call.
        facts: What is in force.
        ownership: Which code counts as the user's own.

    Raises:
        FingerprintError: An argument has no fingerprint.
    """
    scale = _Scale(declared, ownership)
    arguments = _argument_pieces(declared, bound, scale)
    context = _context(declared, facts, ownership, scale, arguments)
    pieces = (*arguments, *context.pieces) if context.pieces else arguments
    graph = context.graph
    digest = _digest(declared.name, graph.digest if graph else "", [p[:3] for p in pieces])
    untracked = tuple(scale.untracked) if scale.untracked else ()
    return Measured(declared.name, digest, arguments, context, untracked)


def _digest(name: str, code_digest: str, counted: _Counted) -> str:
    """Return the digest of a key: its pieces as netstrings, in the order of their names.

    Netstrings (https://cr.yp.to/proto/netstrings.txt) can not run into one another.
    """
    counted.sort()
    parts = [f"{_named(kind, label)}{len(digest)}:{digest}," for kind, label, digest in counted]
    head = f"{_HEAD}{len(name)}:{name},{len(code_digest)}:{code_digest},"
    return xxhash.xxh3_128_hexdigest(f"{head}{''.join(parts)}".encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=4096)
def _named(kind: str, label: str) -> str:
    return f"{len(kind)}:{kind},{len(label)}:{label},"


#: What every key begins with.
_HEAD: Final = f"9:usher key,{len(str(KEY_RULES))}:{KEY_RULES},"


def rekeyed(key: Key, context: Context) -> Key:
    """Return what a stored key would be with the code as it is now.

    Args:
        key: The key of an entry.
        context: What the function means now.
    """
    graph = context.graph
    kept = tuple(part for part in key.parts if part.kind != "code")
    counted = [(part.kind, part.label, part.digest) for part in kept]
    code_digest = graph.digest if graph else ""
    return Key(
        name=key.name,
        digest=_digest(key.name, code_digest, counted),
        parts=(*kept, *(graph.parts if graph else ())),
        rules=KEY_RULES,
        untracked=tuple(graph.untracked) if graph else (),
        code=code_digest,
    )


def stands_as(key: Key, context: Context) -> bool:
    """Tell whether a stored key agrees with what a function means now, arguments aside.

    Args:
        key: The key of an entry.
        context: What the function means now.
    """
    known = {(part.kind, part.label): part.digest for part in key.parts}
    return all(known.get((p.kind, p.label)) == p.digest for p in context.pieces)


class _Scale:
    """Makes pieces out of values, for one function."""

    def __init__(self, declared: Declaration, ownership: Ownership) -> None:
        self.function = declared.function
        #: What is reached by code inside of values, and not watched.
        self.untracked: list[str] = []
        self.code_of = partial(code.code_digest, ownership=ownership, untracked=self.untracked)

    def piece(self, kind: PartKind, label: str, value: Any, where: str = "") -> Piece:
        is_secret = display.is_credential(label)
        counts = Counts(label, kind, label, is_secret, is_file=False, alias="")
        return self.measured(counts, value, where)

    def measured(self, counts: Counts, value: Any, where: str) -> Piece:
        digest = values.secret_digest if counts.is_secret else values.digest
        try:
            found = digest(value, path=counts.label, code_of=self.code_of)
        except FingerprintError as problem:
            raise problem.within(f"{self.function.__qualname__}()") from None
        return Piece(counts.kind, counts.label, found, value, where, counts.alias)


def _argument_pieces(declared: Declaration, bound: Bound, scale: _Scale) -> tuple[Piece, ...]:
    arguments, origins = bound.arguments, bound.origins
    pieces = []
    plain = values.plain_digest
    for counts in declared.counted:
        if counts.is_direct and not origins:
            value = arguments[counts.name]
            found = plain(value)
            if found is not None:
                piece = Piece(counts.kind, counts.label, found, value, "", counts.alias)
                pieces.append(piece)
                continue
        # What took all further arguments is absent when there are none.
        value = arguments.get(counts.name, {})
        if counts.is_file:
            value = _as_paths(value)
        where = origins.get(counts.name, "") if origins else ""
        if where == "default" and counts.kind == "argument":
            where = ""
        pieces.append(scale.measured(counts, value, where))
    if declared.ignores_self:
        owner = next(iter(arguments.values()))
        cls = owner if isinstance(owner, type) else type(owner)
        pieces.append(scale.piece("argument", "class of self", cls))
    return tuple(pieces)


def _as_paths(value: Any) -> Any:
    """Return texts as paths, whose content counts."""
    if isinstance(value, str):
        return Path(value)
    if isinstance(value, Mapping):
        return {name: _as_paths(item) for name, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return {_as_paths(item) for item in value}
    if isinstance(value, (list, tuple)):
        return [_as_paths(item) for item in value]
    return value


def context_of(
    declared: Declaration,
    facts: Facts,
    ownership: Ownership,
    arguments: tuple[Piece, ...] = (),
) -> Context:
    """Return what a call means besides its arguments.

    Args:
        declared: The function.
        facts: What is in force.
        ownership: Which code counts as the user's own.
        arguments: The arguments; a source among them already has its version.
    """
    return _context(declared, facts, ownership, _Scale(declared, ownership), arguments)


def _context(
    declared: Declaration,
    facts: Facts,
    ownership: Ownership,
    scale: _Scale,
    arguments: tuple[Piece, ...],
) -> Context:
    graph = None
    if declared.version is None:
        graph = code.graph_of(declared.function, ownership)
        if not graph.checkpoints and not declared.has_context:
            return Context((), graph, scale.code_of)
    known = {(piece.kind, piece.label): piece.digest for piece in arguments}
    pieces = [*_declared_pieces(declared, facts, scale, known)]
    if graph is not None and graph.checkpoints:
        known |= {(piece.kind, piece.label): piece.digest for piece in pieces}
        pieces += _inherited_pieces(graph.checkpoints, facts, scale, known)
    return Context(tuple(pieces), graph, scale.code_of)


def _declared_pieces(
    declared: Declaration,
    facts: Facts,
    scale: _Scale,
    known: Mapping[tuple[PartKind, str], str],
) -> Iterator[Piece]:
    for path in declared.config:
        stated = facts.section(path)
        yield scale.piece("config", path, stated.value, stated.origin)
    for name, version in declared.sources.items():
        # A parameter with source(...) already says which version the function was handed.
        if ("source", name) not in known:
            yield _source_piece(name, version, facts, scale)
    for name in declared.inputs:
        version = facts.table_version(name)
        yield Piece("table", name, version or "missing", version[:8] or "missing", "")
    if declared.version is not None:
        yield scale.piece("version", declared.name, declared.version)


def _source_piece(name: str, version: Any, facts: Facts, scale: _Scale) -> Piece:
    if version is LOOK_UP:
        stated = facts.source(name)
        return scale.piece("source", name, stated.value, stated.origin)
    if callable(version) and not isinstance(version, (type, PurePath)):
        return scale.piece("source", name, facts.ask(name, version), "probe")
    return scale.piece("source", name, version)


def _inherited_pieces(
    checkpoints: list[Any], facts: Facts, scale: _Scale, known: _Known
) -> Iterator[Piece]:
    """Yield what the checkpointed functions that are reached depend on besides code."""
    for checkpoint in checkpoints:
        inner: Declaration = checkpoint.__usher_declaration__
        for piece in _dependencies(inner, facts, scale):
            kind: PartKind = piece.kind
            digest = known.get((kind, piece.label))
            if digest == piece.digest:
                continue
            label = piece.label if digest is None else f"{piece.label} of {inner.name}"
            if (kind, label) not in known:
                known[kind, label] = piece.digest
                yield piece._replace(label=label)


def _dependencies(declared: Declaration, facts: Facts, scale: _Scale) -> Iterator[Piece]:
    yield from _declared_pieces(declared, facts, scale, {})
    for parameter in declared.signature.parameters.values():
        reference = parameter.default
        if parameter.name in declared.ignore:
            continue
        if isinstance(reference, SourceRef):
            yield _source_piece(reference.name, LOOK_UP, facts, scale)
        elif isinstance(reference, SettingRef):
            value, origin = _resolve(reference, facts)
            yield scale.piece("setting", reference.path, value, origin)


def standing_of(declared: Declaration, facts: Facts, ownership: Ownership) -> str:
    """Return a digest of what a checkpoint means besides the arguments of any call.

    Args:
        declared: The function.
        facts: What is in force.
        ownership: Which code counts as the user's own.
    """
    context = context_of(declared, facts, ownership)
    pieces = (*context.pieces, *_dependencies(declared, facts, _Scale(declared, ownership)))
    counted = [(piece.kind, piece.label, piece.digest) for piece in pieces]
    return _digest(declared.name, context.graph.digest if context.graph else "", counted)


# --- what may change while a function runs ----------------------------------------------


def files_of(measured: Measured) -> files.Noticed:
    """Return every file and folder that counts in a call, with the digest of its content."""
    with files.noticed() as found:
        graph = measured.context.graph
        held = [state.value for state in graph.states] if graph else []
        pieces = (*measured.arguments, *measured.context.pieces)
        for value in (*(piece.value for piece in pieces), *held):
            # A frame holds no path, and may be too big to be looked through again.
            if type(value) not in _NO_PATHS and adapter_for(value) is None:
                values.notice_files(value)
    return found


_NO_PATHS: Final = frozenset((type(None), bool, int, float, str, bytes))


def stated_now(declared: Declaration, facts: Facts, ownership: Ownership) -> dict[str, str]:
    """Return config, sources and inputs of a function as they are now: label → digest.

    Args:
        declared: The function.
        facts: What is in force; its probes are asked anew.
        ownership: Which code counts as the user's own.
    """
    pieces = _declared_pieces(declared, facts, _Scale(declared, ownership), {})
    return {f"{piece.kind} {piece.label}": piece.digest for piece in pieces}
