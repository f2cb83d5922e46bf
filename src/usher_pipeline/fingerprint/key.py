"""A bound call → its key: each part with a digest of its own, then all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import xxhash

from usher_pipeline import display
from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import code, files, values
from usher_pipeline.fingerprint.binding import LOOK_UP, Counts, is_probe, resolve
from usher_pipeline.frames import adapter_for
from usher_pipeline.records import PROBE, Key, Part, PartKind, SettingRef, SourceRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usher_pipeline.fingerprint.binding import Bound, Declaration, Facts
    from usher_pipeline.fingerprint.encoder import CodeOf
    from usher_pipeline.fingerprint.graph import CodeGraph
    from usher_pipeline.fingerprint.ownership import Ownership

__all__ = [
    "KEY_RULES",
    "Context",
    "Measured",
    "Piece",
    "context_of",
    "files_of",
    "for_items",
    "item_digests",
    "key_of",
    "measure",
    "rekeyed",
    "standing_of",
    "stands_as",
    "stated_now",
]

#: The version of the rules by which keys are made; another one matches nothing older.
KEY_RULES: Final = 1

_HIDDEN: Final = "(hidden)"


#: Kind and label of what counts already, with its digest.
_Known: TypeAlias = "dict[tuple[PartKind, str], str]"
_Counted: TypeAlias = "list[tuple[PartKind, str, str]]"


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
        graphs: The code inside of the arguments.
    """

    name: str
    digest: str
    arguments: tuple[Piece, ...]
    context: Context
    untracked: tuple[str, ...] = ()
    graphs: tuple[CodeGraph, ...] = ()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let what the function changes in place while it runs be no edit."""
        own = () if self.context.graph is None else (self.context.graph,)
        with ExitStack() as stack:
            for graph in {id(graph): graph for graph in (*own, *self.graphs)}.values():
                stack.enter_context(graph.at_work())
            yield

    def key(self) -> Key:
        """Return the key, with a preview of every part."""
        pieces = (*self.arguments, *self.context.pieces)
        graph, code_of = self.context.graph, self.context.code_of
        return Key(
            name=self.name,
            digest=self.digest,
            parts=(*(piece.part(code_of) for piece in pieces), *(graph.parts if graph else ())),
            rules=KEY_RULES,
            untracked=self.not_watched,
            code=graph.digest if graph else "",
        )

    @property
    def not_watched(self) -> tuple[str, ...]:
        """What the function reaches and the key does not watch, as far as is known now."""
        graph = self.context.graph
        return (*(graph.untracked if graph else ()), *self.untracked)


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
    graphs = tuple(scale.graphs) if scale.graphs else ()
    return Measured(declared.name, digest, arguments, context, untracked, graphs)


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


#: What says that an argument holds items; no parameter has such a name.
_MAPPED: Final = "mapped over"


def for_items(
    declared: Declaration, measured: Measured, over: str, how: str, ownership: Ownership
) -> tuple[Measured, Measured]:
    """Return a call for many items, as a whole and without the items.

    Args:
        declared: The function.
        measured: The call with all items as the argument that the function takes one of.
        over: The parameter of that argument.
        how: How the function is given the items, and how rows are told to be of one.
        ownership: Which code counts as the user's own.

    Returns:
        The call, which is another one than that with the same list as an argument; and what
        its items have in common, whose digest does not depend on code.
    """
    label = next(counts.label for counts in declared.counted if counts.name == over)
    said = _Scale(declared, ownership).piece("argument", _MAPPED, f"{over}, {how}")
    whole = (*measured.arguments, said)
    common = tuple(piece for piece in whole if piece.label != label)
    context, graph = measured.context.pieces, measured.context.graph
    code_digest = graph.digest if graph else ""
    digest = _digest(declared.name, code_digest, [p[:3] for p in (*whole, *context)])
    shared = _digest(declared.name, "", [p[:3] for p in (*common, *context)])
    return (
        measured._replace(arguments=whole, digest=digest),
        measured._replace(arguments=common, digest=shared),
    )


def item_digests(
    declared: Declaration, over: str, items: Iterable[Any], ownership: Ownership
) -> list[str]:
    """Return the digest of each item of a map, as what the function is given it as.

    Args:
        declared: The function.
        over: The parameter that takes an item.
        items: The items.
        ownership: Which code counts as the user's own.

    Raises:
        FingerprintError: An item has no fingerprint.
    """
    scale = _Scale(declared, ownership)
    counts = next(counts for counts in declared.counted if counts.name == over)
    plain = values.plain_digest if counts.is_direct else _never_plain
    return [
        plain(item)
        or scale.measured(counts, _as_paths(item) if counts.is_file else item, "").digest
        for item in items
    ]


def _never_plain(_: Any) -> str | None:
    return None


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
        #: The code inside of values.
        self.graphs: list[CodeGraph] = []
        self.code_of = partial(
            code.code_digest,
            ownership=ownership,
            untracked=self.untracked,
            graphs=self.graphs,
        )

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
        # It has the order of the call, as the function sees it.
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
    if is_probe(version):
        answer = facts.ask(name, version)
        if isinstance(answer, Part):
            shown = answer.text or answer.preview
            return Piece("source", name, answer.digest, shown, PROBE)
        return scale.piece("source", name, answer, PROBE)
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
            value, origin = resolve(reference, facts)
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
