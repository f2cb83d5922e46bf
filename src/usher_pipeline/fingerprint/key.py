"""A call → its key: the parts put together.

Binding comes first: defaults are applied and `setting(...)` and `source(...)` are
replaced by what is in force, so that `f(1)`, `f(x=1)` and `f()` are one call when
the default is 1. Then each part gets a digest of its own.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Protocol

import xxhash

from usher_pipeline import display
from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import code, values
from usher_pipeline.records import Key, Part, PartKind, SettingRef, SourceRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from usher_pipeline.fingerprint.ownership import Ownership

__all__ = ["KEY_RULES", "LOOK_UP", "Bound", "Declaration", "Facts", "Stated", "bind", "key_of"]

#: The version of the rules by which keys are made; another one matches nothing older.
KEY_RULES: Final = 1

#: Stands for a source version that the config states.
LOOK_UP: Final = object()

_HIDDEN: Final = "(hidden)"


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


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a decorator says about a function.

    Attributes:
        name: The checkpoint.
        function: The function as it was written.
        signature: Its signature.
        sources: Source name → version, probe, or `LOOK_UP`.
        config: The dotted config paths that count.
        ignore: The parameters that do not count.
        version: What replaces the tracking of code, if anything.
    """

    name: str
    function: Callable[..., Any]
    signature: inspect.Signature
    sources: Mapping[str, Any] = field(default_factory=dict)
    config: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """A call with every argument known.

    Attributes:
        arguments: Parameter → value, in the order of the signature.
        origins: Parameter → where its value was stated, if it was not in the call.
        args: What to call the function with.
        kwargs: What to call the function with.
    """

    arguments: Mapping[str, Any]
    origins: Mapping[str, str]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


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
    bound = declared.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    origins: dict[str, str] = {}
    for name, value in bound.arguments.items():
        if isinstance(value, (SettingRef, SourceRef)):
            bound.arguments[name], origins[name] = _resolve(value, facts)
    return Bound(bound.arguments, origins, bound.args, bound.kwargs)


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
    measure = _Measure(declared, ownership)
    parts = [*_argument_parts(declared, bound, measure)]
    parts += _declared_parts(declared, facts, measure, known={(p.kind, p.label) for p in parts})
    untracked: tuple[str, ...] = ()
    code_digest = ""
    if declared.version is None:
        graph = code.graph_of(declared.function, ownership)
        parts += _inherited_parts(graph.checkpoints, facts, measure, parts)
        parts += graph.parts
        untracked, code_digest = tuple(graph.untracked), graph.digest
    hasher = xxhash.xxh3_128()
    plain = sorted((p.kind, p.label, p.digest) for p in parts if p.kind != "code")
    for piece in ("usher key", str(KEY_RULES), declared.name, code_digest, *sum(plain, ())):
        data = piece.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "little") + data)
    return Key(declared.name, hasher.hexdigest(), tuple(parts), KEY_RULES, untracked)


class _Measure:
    """Makes parts out of values, for one function."""

    def __init__(self, declared: Declaration, ownership: Ownership) -> None:
        self.function = f"{declared.function.__qualname__}()"
        self.code_of = partial(code.code_digest, ownership=ownership)

    def part(self, kind: PartKind, label: str, value: Any, where: str = "") -> Part:
        try:
            if display.is_credential(label):
                digest = values.secret_digest(value, path=label, code_of=self.code_of)
                return Part(kind, label, digest, _HIDDEN, where)
            digest = values.digest(value, path=label, code_of=self.code_of)
        except FingerprintError as problem:
            raise problem.within(self.function) from None
        is_name = kind in ("source", "version") and isinstance(value, str)
        return Part(kind, label, digest, value if is_name else display.preview(value), where)


def _argument_parts(declared: Declaration, bound: Bound, measure: _Measure) -> Iterator[Part]:
    parameters = declared.signature.parameters
    for name, value in bound.arguments.items():
        if name in declared.ignore:
            continue
        reference = parameters[name].default
        where = bound.origins.get(name, "")
        if isinstance(reference, SourceRef):
            yield measure.part("source", reference.name, value, where)
        elif parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield measure.part("argument", name, dict(sorted(value.items())), where)
        else:
            yield measure.part("argument", name, value, "" if where == "default" else where)


def _declared_parts(
    declared: Declaration, facts: Facts, measure: _Measure, known: set[tuple[str, str]]
) -> Iterator[Part]:
    for path in declared.config:
        stated = facts.section(path)
        yield measure.part("config", path, stated.value, stated.origin)
    for name, version in declared.sources.items():
        # A parameter with source(...) already says which version the function was handed.
        if ("source", name) not in known:
            yield _source_part(name, version, facts, measure)
    if declared.version is not None:
        yield measure.part("version", declared.name, declared.version)


def _source_part(name: str, version: Any, facts: Facts, measure: _Measure) -> Part:
    if version is LOOK_UP:
        stated = facts.source(name)
        return measure.part("source", name, stated.value, stated.origin)
    if callable(version) and not isinstance(version, (type, PurePath)):
        return measure.part("source", name, facts.ask(name, version), "probe")
    return measure.part("source", name, version)


def _inherited_parts(
    checkpoints: list[Any], facts: Facts, measure: _Measure, own: list[Part]
) -> Iterator[Part]:
    """Yield what the checkpointed functions that are reached depend on besides code."""
    known = {(part.kind, part.label): part.digest for part in own}
    for checkpoint in checkpoints:
        inner: Declaration = checkpoint.__usher_declaration__
        for part in _dependencies(inner, facts, measure):
            digest = known.get((part.kind, part.label))
            if digest == part.digest:
                continue
            label = part.label if digest is None else f"{part.label} of {inner.name}"
            if (part.kind, label) not in known:
                known[part.kind, label] = part.digest
                yield Part(part.kind, label, part.digest, part.preview, part.where)


def _dependencies(declared: Declaration, facts: Facts, measure: _Measure) -> Iterator[Part]:
    yield from _declared_parts(declared, facts, measure, set())
    for parameter in declared.signature.parameters.values():
        reference = parameter.default
        if isinstance(reference, SourceRef):
            yield _source_part(reference.name, LOOK_UP, facts, measure)
        elif isinstance(reference, SettingRef):
            value, origin = _resolve(reference, facts)
            yield measure.part("setting", reference.path, value, origin)
