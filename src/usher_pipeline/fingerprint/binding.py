"""A call → every argument, with defaults, settings and sources filled in.

What the decorator says is a `Declaration`. Binding replaces `setting(...)` and
`source(...)` by what is in force, so that `f(1)`, `f(x=1)` and `f()` are one call when
the default is 1.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from usher_pipeline import display
from usher_pipeline.records import HandedIn, PartKind, SettingRef, SourceRef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "LOOK_UP",
    "Bound",
    "Counts",
    "Declaration",
    "Facts",
    "Stated",
    "bind",
    "is_probe",
    "resolve",
]

#: Stands for a source version that the config states.
LOOK_UP: Final = object()

_SIMPLE: Final = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


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
        """Return what a probe for a source answers; a part of a key if it can not be asked."""

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
        max_age_s: How old a result may be, in seconds; None if that does not matter.
        stale_if_error: Whether the last good result is returned when there can be no other.
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
    max_age_s: float | None = None
    stale_if_error: bool = False
    #: What is known of calls that were answered.
    recalled: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def is_plain(self) -> bool:
        """Whether nothing counts but plain arguments, code, and what the config states."""
        versions = self.sources.values()
        return (
            not (self.inputs or self.files or any(counts.is_secret for counts in self.counted))
            and all(version is LOOK_UP or type(version) in _PLAIN for version in versions)
            and all(map(_is_lasting, self.defaults.values()))
        )

    @cached_property
    def probes(self) -> tuple[str, ...]:
        """The sources that are asked for their version."""
        return tuple(name for name, version in self.sources.items() if is_probe(version))

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
            if parameter.name not in self.ignore and parameter.name not in self.handed_in
        )

    @cached_property
    def handed_in(self) -> tuple[str, ...]:
        """The parameters that the library hands in; callers give them nothing."""
        found = (name for name, each in self.defaults.items() if isinstance(each, HandedIn))
        return tuple(found)

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


def is_probe(version: Any) -> bool:
    """Tell whether the version of a source has to be asked for."""
    return callable(version) and not isinstance(version, (type, PurePath))


#: Types whose values can not be changed in place.
_PLAIN: Final = frozenset((str, bytes, int, float, bool, type(None)))


def _is_lasting(default: Any) -> bool:
    """Tell whether a default stays the same for ever, or stands for a value of the config."""
    known = (HandedIn, SettingRef, SourceRef)
    return type(default) in _PLAIN or isinstance(default, known)


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
    for name in declared.handed_in:
        if arguments[name] is not declared.defaults[name]:
            raise TypeError(f"{declared.name}() is handed its {name} by the library; omit it")
    if not declared.has_references:
        return Bound(arguments, _NO_ORIGINS, args, kwargs)
    origins: dict[str, str] = {}
    for name, value in arguments.items():
        if isinstance(value, (SettingRef, SourceRef)):
            arguments[name], origins[name] = resolve(value, facts)
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


def resolve(reference: SettingRef | SourceRef, facts: Facts) -> tuple[Any, str]:
    """Return what a reference stands for, and where that was stated.

    Raises:
        UnknownSettingError: A `setting(...)` without default leads nowhere.
        UnknownSourceError: Nobody states the version.
    """
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
