"""Values → bytes that are equal exactly when the values mean the same.

The encoding is type-tagged and length-framed: every value starts with a tag of its
own, and whatever has a variable size says how long it is. So `1`, `True`, `1.0`,
`"1"` and `b"1"` differ, and no two nested values can run into one another. What
has no faithful encoding raises; identity, addresses, `repr` and pickle never enter.

The rules, with their reasons, are in ``docs/design.md`` under "The key".
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import operator
import pathlib
import re
import struct
import sys
import types
import typing
import uuid
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import xxhash

from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import files, libraries
from usher_pipeline.fingerprint.encoder import (
    CodeOf,
    Constants,
    Encode,
    Encoder,
    UnencodableError,
    importable_name,
    public_name,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from usher_pipeline.fingerprint.encoder import Write

__all__ = [
    "CodeOf",
    "digest",
    "encode",
    "notice_files",
    "own_fields",
    "plain_digest",
    "register",
    "secret_digest",
]

T = TypeVar("T")

_INT64: Final = struct.Struct("<q").pack
_FLOAT64: Final = struct.Struct("<d").pack
_NAN: Final = b"f" + _FLOAT64(float("nan"))
_HEAP_TYPE: Final = 1 << 9
_INT64_RANGE: Final = range(-(2**63), 2**63)

#: Long lists of one plain type are written as one block from this length on.
_BLOCK_LENGTH: Final = 16


def encode(
    value: Any,
    write: Write,
    *,
    path: str = "value",
    code_of: CodeOf | None = None,
    constants: Constants | None = None,
) -> None:
    """Write the bytes that stand for a value, piece by piece.

    Args:
        value: What to encode.
        write: Takes each piece, such as the `update` of a hasher.
        path: What to call the value in an error.
        code_of: Gives the bytes that stand for a function or class met inside; without
            it these are errors.
        constants: How the value counts if it is a constant of code and no argument.

    Raises:
        FingerprintError: Some value inside has no faithful encoding.

    >>> pieces = []
    >>> encode([1, "a"], pieces.append)
    >>> b"".join(pieces)[:1]
    b'l'
    """
    try:
        Encoder(write, code_of, _encoder_for, constants).value(value)
    except UnencodableError as problem:
        where = path + "".join(reversed(problem.steps))
        raise FingerprintError(where, problem.type_name, problem.cure) from None
    except RecursionError:
        cure = "It is nested too deeply; pass flatter data."
        raise FingerprintError(path, type_name(type(value)), cure) from None


def plain_digest(value: Any) -> str | None:
    """Return what `digest` gives for a number, a text, a truth value or None; else nothing."""
    plain = _PLAIN.get(type(value))
    return None if plain is None else xxhash.xxh3_128_hexdigest(plain(value))


def digest(
    value: Any,
    *,
    path: str = "value",
    code_of: CodeOf | None = None,
    constants: Constants | None = None,
) -> str:
    """Return the fingerprint of a value: equal for equal values, else different.

    Args:
        value: What to fingerprint.
        path: What to call the value in an error.
        code_of: Gives the bytes that stand for a function or class met inside.
        constants: How the value counts if it is a constant of code and no argument.

    Returns:
        The xxh3-128 of the encoding as 32 hexadecimal digits.

    Raises:
        FingerprintError: Some value inside has no faithful encoding.

    >>> digest(1) == digest(1), digest(1) == digest(True), digest(1) == digest(1.0)
    (True, False, False)
    """
    plain = _PLAIN.get(type(value))
    if plain is not None:
        return xxhash.xxh3_128_hexdigest(plain(value))
    hasher = xxhash.xxh3_128()
    encode(value, hasher.update, path=path, code_of=code_of, constants=constants)
    return hasher.hexdigest()


def notice_files(value: Any) -> None:
    """Digest every file and folder inside a value, for `files.noticed` to collect."""
    with suppress(FingerprintError):
        encode(value, _forget, code_of=lambda _: b"code")


def _forget(_: bytes) -> None:
    """Take bytes that nobody needs."""


def secret_digest(
    value: Any,
    *,
    path: str = "value",
    code_of: CodeOf | None = None,
    constants: Constants | None = None,
) -> str:
    """Return a fingerprint from which the value can not be told.

    xxh3 can be inverted for short texts, so a credential goes through BLAKE2b.

    >>> len(secret_digest("token"))
    32
    """
    hasher = hashlib.blake2b(digest_size=16, person=b"usher-secret")
    encode(value, hasher.update, path=path, code_of=code_of, constants=constants)
    return hasher.hexdigest()


def register(kind: type[T], encoder: Callable[[T], Any]) -> None:
    """Teach the fingerprint a type that is not yours to change.

    For a class of your own write a method ``__checkpoint_key__`` instead.

    Args:
        kind: The exact type; subclasses are not included.
        encoder: Returns plain data that is equal exactly when two values mean the same.

    >>> class Release:
    ...     def __init__(self, label): self.label = label
    >>> register(Release, lambda release: release.label)
    >>> digest(Release("v4")) == digest(Release("v4")) != digest(Release("v5"))
    True
    """

    def registered(writer: Encoder, value: T) -> None:
        writer.text(b"r", public_name(kind))
        writer.nested(value, [("", encoder(value))])

    _ENCODERS[kind] = registered


# --- plain values -----------------------------------------------------------------------


# The most frequent types are bytes at once; an encoder that writes them is made of that.


def _none(_: None) -> bytes:
    return b"n"


def _bool(value: bool) -> bytes:  # noqa: FBT001 - the value itself
    return b"T" if value else b"L"


def _int(value: int) -> bytes:
    if -(2**63) <= value < 2**63:
        return b"i" + _INT64(value)
    size = value.bit_length() // 8 + 1
    return b"I" + _INT64(size) + value.to_bytes(size, "little", signed=True)


def _float(value: float) -> bytes:
    return _NAN if value != value else b"f" + _FLOAT64(value)  # noqa: PLR0124 - NaN


def _str(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s" + _INT64(len(data)) + data


_PLAIN: Final[Mapping[type, Callable[[Any], bytes]]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
}


def _written(plain: Callable[[Any], bytes]) -> Encode:
    def write(encoder: Encoder, value: Any) -> None:
        encoder.write(plain(value))

    return write


def _complex(encoder: Encoder, value: complex) -> None:
    encoder.write(b"c" + _float(value.real) + _float(value.imag))


def _bytes(encoder: Encoder, value: bytes) -> None:
    encoder.framed(b"b", value)


def _bytearray(encoder: Encoder, value: bytearray) -> None:
    encoder.framed(b"B", value)


def _singleton(tag: bytes) -> Callable[[Encoder, Any], None]:
    def write(encoder: Encoder, _: Any) -> None:
        encoder.write(tag)

    return write


def _as_text(tag: bytes, to_text: Callable[[Any], str]) -> Callable[[Encoder, Any], None]:
    return lambda encoder, value: encoder.text(tag, to_text(value))


def _as_tuple(tag: bytes, parts: Callable[[Any], tuple[Any, ...]]) -> Encode:
    """Write a value as a fixed number of parts."""

    def write(encoder: Encoder, value: Any) -> None:
        encoder.write(tag)
        encoder.nested(value, (("", part) for part in parts(value)))

    return write


def _moment(tag: bytes) -> Encode:
    def write(encoder: Encoder, value: dt.datetime | dt.time) -> None:
        encoder.text(tag, value.replace(tzinfo=None).isoformat())
        parts = (".fold", value.fold), (".tzinfo", value.tzinfo), ("", value.utcoffset())
        encoder.nested(value, parts)

    return write


# --- containers -------------------------------------------------------------------------


def _block(values: list[Any] | tuple[Any, ...]) -> tuple[bytes, bytes] | None:
    """Return a long sequence of one plain type as one block, or None."""
    kinds = set(map(type, values))
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    if kind is int and min(values) in _INT64_RANGE and max(values) in _INT64_RANGE:
        return b"i", array("q", values).tobytes()
    if kind is float and not any(value != value for value in values):  # noqa: PLR0124 - NaN
        return b"f", array("d", values).tobytes()
    if kind is str:
        lengths = array("q", map(len, values)).tobytes()
        return b"s", lengths + "".join(values).encode("utf-8", "surrogatepass")
    return None


def _sequence(tag: bytes) -> Encode:
    def write(encoder: Encoder, values: Any) -> None:
        encoder.count(tag, len(values))
        block = _block(values) if len(values) >= _BLOCK_LENGTH else None
        if block is not None:
            encoder.framed(b"*" + block[0], block[1])
        else:
            encoder.nested(values, ((f"[{index}]", item) for index, item in enumerate(values)))

    return write


def _deque(encoder: Encoder, values: deque[Any]) -> None:
    encoder.write(b"Q")
    encoder.value(values.maxlen)
    encoder.count(b"", len(values))
    encoder.nested(values, ((f"[{index}]", item) for index, item in enumerate(values)))


def _mapping_items(mapping: Any) -> Iterable[tuple[str, Any]]:
    # A copy: another thread may write to it meanwhile, and so may what is encoded.
    for key, value in _copied(mapping.items()):
        step = f"[{key!r}]" if type(key) in (str, int) else "[…]"
        yield step, key
        yield step, value


def _copied(values: Iterable[Any]) -> list[Any]:
    """Return the items of a collection that other threads may be changing."""
    for _ in range(_MOST_RACES):
        with suppress(RuntimeError):
            return list(values)
    raise UnencodableError(values, "Other threads change it all the time; pass a copy.")


#: How often a collection is read again after somebody wrote to it meanwhile.
_MOST_RACES: Final = 1000


def _mapping(tag: bytes) -> Encode:
    def write(encoder: Encoder, mapping: Any) -> None:
        items = list(_mapping_items(mapping))
        encoder.count(tag, len(items) // 2)
        encoder.nested(mapping, items)

    return write


def _defaultdict(encoder: Encoder, mapping: defaultdict[Any, Any]) -> None:
    items = list(_mapping_items(mapping))
    encoder.count(b"D", len(items) // 2)
    encoder.nested(mapping, [(".default_factory", mapping.default_factory), *items])


def _namespace(encoder: Encoder, value: types.SimpleNamespace) -> None:
    encoder.fields(b"v", value, dict(sorted(vars(value).items())))


def _set(tag: bytes) -> Encode:
    def write(encoder: Encoder, values: Any) -> None:
        items = _copied(values)
        encoder.count(tag, len(items))
        for item in sorted(encoder.apart(values, value, "{…}") for value in items):
            encoder.framed(b"", item)

    return write


# --- objects ----------------------------------------------------------------------------


def _enum(encoder: Encoder, member: enum.Enum) -> None:
    # A combined flag has a name only on some versions of Python.
    name = "" if isinstance(member, enum.Flag) else member.name
    encoder.fields(b"e", member, {"name": name, "value": member.value})


_COPIED: Final = frozenset(
    f"__{name}__"
    for name in ("module", "name", "qualname", "doc", "annotations", "annotate", "type_params")
)


def own_fields(value: Any) -> dict[str, Any]:
    """Return what an instance holds: declared fields first, then the rest by name."""
    cls = type(value)
    held = _slots(value)
    # What functools.cached_property stored can be computed again.
    held |= {
        name: item
        for name, item in getattr(value, "__dict__", {}).items()
        if not isinstance(getattr(cls, name, None), functools.cached_property)
    }
    # What functools.wraps copies says nothing of its own, and differs between versions.
    for name in _COPIED & held.keys():
        del held[name]
    declared = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    ordered = {field.name: held.pop(field.name) for field in declared if field.name in held}
    return ordered | {name: held[name] for name in sorted(held)}


def _slots(value: Any) -> dict[str, Any]:
    """Return what an instance holds in slots, private ones included."""
    held: dict[str, Any] = {}
    for base in type(value).__mro__:
        for name, member in base.__dict__.items():
            if isinstance(member, types.MemberDescriptorType):
                with suppress(AttributeError):
                    held[name] = member.__get__(value)
    return held


def _object(tag: bytes) -> Encode:
    return lambda encoder, value: encoder.fields(tag, value, own_fields(value))


def _named_tuple(encoder: Encoder, value: Any) -> None:
    # A class derived from one may hold more than the tuple.
    held = dict(zip(value._fields, value, strict=True)) | own_fields(value)
    encoder.fields(b"u", value, held)


def _keyed(encoder: Encoder, value: Any) -> None:
    encoder.write(b"k")
    encoder.owner(type(value))
    encoder.nested(value, [(".__checkpoint_key__()", value.__checkpoint_key__())])


def _is_plain_class(kind: type) -> bool:
    """Tell whether instances hold nothing but attributes."""
    return not hasattr(kind, "__next__") and not any(map(_is_native, kind.__mro__[:-1]))


def _is_native(cls: type) -> bool:
    """Tell whether a class is written in C, and may hold what no attribute shows."""
    is_made_by_statement = bool(cls.__flags__ & _HEAP_TYPE)
    return not is_made_by_statement or isinstance(
        cls.__dict__.get("__new__"), types.BuiltinFunctionType
    )


_PATHS: Final = frozenset(
    getattr(pathlib, name)
    for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")
)


def _path(encoder: Encoder, path: pathlib.PurePath) -> None:
    is_windows = isinstance(path, pathlib.PureWindowsPath)
    constants = encoder.constants
    text = path.as_posix() if constants is None else constants.place(path)
    encoder.text(b"\\" if is_windows else b"/", text)
    if type(path) not in _PATHS:
        encoder.owner(type(path))
    if isinstance(path, pathlib.Path):
        if constants is not None and path.is_dir():
            # The root of a project is named often and means little; nobody reads all of it.
            constants.unknown("".join(encoder.trail), "what is in the folder")
            encoder.text(b"h", "folder")
            return
        try:
            encoder.text(b"h", files.path_digest(path))
        except OSError as problem:
            cure = f"It can not be read: {problem.strerror}. Pass the path of something else."
            raise UnencodableError(path, cure) from problem


#: What Python's own classes are made of; first-party classes derive from them.
_BUILT_IN: Final[Mapping[type, Callable[[Any], Any]]] = {
    OrderedDict: lambda value: [(key, value[key]) for key in OrderedDict.__iter__(value)],
    dict: lambda value: {key: dict.__getitem__(value, key) for key in dict.__iter__(value)},
    list: lambda value: list(list.__iter__(value)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    int: int.__index__,
    float: float.__float__,
}


def _derived(encoder: Encoder, value: Any) -> None:
    """Write a value of a first-party class that is itself a dict, a list or a text."""
    kind = type(value)
    if encoder.code_of is None or not encoder.code_of(kind):
        _last_resort(encoder, value)
        return
    base = next(base for base in kind.__mro__ if base in _BUILT_IN)
    encoder.write(b"V")
    encoder.nested(value, [("", _BUILT_IN[base](value))])
    encoder.fields(b"o", value, own_fields(value))


# --- functions --------------------------------------------------------------------------


def _code(encoder: Encoder, value: Any) -> None:
    mock = libraries.mock_behind(value)
    if mock is None:
        encoder.code(value)
    else:
        encoder.value(mock)


def _checkpoint(encoder: Encoder, value: Any) -> None:
    instance = value.__usher_instance__
    if instance:
        encoder.write(b"m")
        encoder.nested(value, [(".__self__", instance[0])])
    encoder.code(value)


def _partial(encoder: Encoder, value: partial[Any]) -> None:
    encoder.write(b"P")
    parts = (value.func, value.args, value.keywords)
    encoder.nested(value, zip((".func", ".args", ".keywords"), parts, strict=True))


def _method(encoder: Encoder, value: types.MethodType) -> None:
    encoder.write(b"M")
    encoder.nested(value, ((".__self__", value.__self__), (".__func__", value.__func__)))


def _builtin(encoder: Encoder, value: types.BuiltinFunctionType) -> None:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        encoder.text(b"G", public_name(value))
    else:
        encoder.text(b"J", value.__name__)
        encoder.nested(value, [(".__self__", owner)])


def _method_of_class(encoder: Encoder, value: Any) -> None:
    encoder.text(b"G", f"{public_name(value.__objclass__)}.{value.__name__}")


def _operator(encoder: Encoder, value: Any) -> None:
    """Write what `operator` makes, by what would make it again."""
    maker, arguments = value.__reduce__()
    encoder.text(b"W", type_name(type(value)))
    stated = (getattr(maker, "args", ()), arguments, getattr(maker, "keywords", {}))
    encoder.nested(value, (("", part) for part in stated))


def _last_resort(encoder: Encoder, value: Any) -> None:
    """Write what only the value itself can tell: what it wraps, or where it is found."""
    wrapped = getattr(value, "__wrapped__", None)
    origin = typing.get_origin(value)
    if isinstance(wrapped, types.FunctionType):
        encoder.text(b"w", type_name(type(value)))
        held = {n: v for n, v in own_fields(value).items() if n != "__wrapped__"}
        items = ((f".{name}", item) for name, item in held.items())
        encoder.nested(value, [(".__wrapped__", wrapped), *items])
    elif isinstance(value, typing.NewType):
        encoder.text(b"N", value.__name__)
        encoder.nested(value, [(".__supertype__", value.__supertype__)])
    elif isinstance(value, typing.TypeVar):
        encoder.text(b"Y", value.__name__)
        limits = (value.__bound__, value.__constraints__)
        encoder.nested(value, (("", limit) for limit in limits))
    elif type(value).__name__ == "TypeAliasType":
        encoder.text(b"y", value.__name__)
        encoder.nested(value, [(".__value__", value.__value__)])
    elif origin is not None:
        is_union = origin in (typing.Union, types.UnionType)
        parts = ("union" if is_union else origin, typing.get_args(value))
        encoder.write(b"H")
        encoder.nested(value, (("", part) for part in parts))
    elif (name := importable_name(value)) is not None and not _is_hosted(encoder, value):
        encoder.text(b"G", name)
    else:
        _unknown(encoder, value)


def _is_hosted(encoder: Encoder, value: Any) -> bool:
    """Tell whether a value lies in a module of the user's, where its name says nothing."""
    module = sys.modules.get(value.__module__)
    return encoder.code_of is not None and module is not None and bool(encoder.code_of(module))


def _unknown(_: Encoder, value: Any) -> None:
    raise UnencodableError(
        value,
        "Pass plain data instead; or leave it out of the key with "
        'ignore=["…"] if it can not change the result; or give its class a method '
        "__checkpoint_key__() that returns plain data.",
    )


# --- which is which ---------------------------------------------------------------------

_ENCODERS: dict[type, Encode] = {
    **{kind: _written(plain) for kind, plain in _PLAIN.items()},
    complex: _complex,
    bytes: _bytes,
    bytearray: _bytearray,
    type(Ellipsis): _singleton(b"."),
    type(NotImplemented): _singleton(b"!"),
    tuple: _sequence(b"t"),
    list: _sequence(b"l"),
    array: _as_tuple(b"A", lambda value: (value.typecode, value.tobytes())),
    deque: _deque,
    dict: _mapping(b"d"),
    OrderedDict: _mapping(b"O"),
    Counter: _mapping(b"C"),
    defaultdict: _defaultdict,
    types.MappingProxyType: _mapping(b"m"),
    types.SimpleNamespace: _namespace,
    set: _set(b"S"),
    frozenset: _set(b"Z"),
    range: _as_tuple(b"R", lambda value: (value.start, value.stop, value.step)),
    slice: _as_tuple(b"[", lambda value: (value.start, value.stop, value.step)),
    dt.date: _as_text(b"1", dt.date.isoformat),
    dt.datetime: _moment(b"2"),
    dt.time: _moment(b"3"),
    dt.timedelta: _as_tuple(
        b"4", lambda value: (value.days, value.seconds, value.microseconds)
    ),
    dt.timezone: _as_tuple(b"5", lambda value: (value.utcoffset(None), value.tzname(None))),
    decimal.Decimal: _as_text(b"6", str),
    fractions.Fraction: _as_tuple(b"7", lambda value: (value.numerator, value.denominator)),
    uuid.UUID: _as_text(b"8", str),
    re.Pattern: _as_tuple(b"9", lambda value: (value.pattern, value.flags)),
    partial: _partial,
    types.FunctionType: _code,
    types.BuiltinFunctionType: _builtin,
    types.MethodType: _method,
    types.MethodDescriptorType: _method_of_class,
    types.ClassMethodDescriptorType: _method_of_class,
    types.WrapperDescriptorType: _method_of_class,
    operator.itemgetter: _operator,
    operator.attrgetter: _operator,
    operator.methodcaller: _operator,
    type: _code,
    enum.EnumType: _code,
}

_RULES: Final[list[tuple[Callable[[type], bool], Encode]]] = [
    (lambda kind: issubclass(kind, enum.Enum), _enum),
    (lambda kind: issubclass(kind, pathlib.PurePath), _path),
    (lambda kind: issubclass(kind, type), _code),
    (lambda kind: issubclass(kind, tuple) and hasattr(kind, "_fields"), _named_tuple),
    (lambda kind: hasattr(kind, "__usher_function__"), _checkpoint),
    *libraries.RULES,
    (lambda kind: libraries.belongs_to(kind, "pydantic", "BaseModel"), _object(b"p")),
    (lambda kind: dataclasses.is_dataclass(kind) and _is_plain_class(kind), _object(b"a")),
    (lambda kind: issubclass(kind, tuple(_BUILT_IN)), _derived),
]


def _encoder_for(kind: type) -> Encode:
    """Return the encoder of a class; the most specific rule wins."""
    known = _ENCODERS.get(kind)
    if known is not None:
        return known
    if callable(getattr(kind, "__checkpoint_key__", None)):
        return _keyed
    for applies, encode_value in _RULES:
        if applies(kind):
            return encode_value
    return _first_party_or_last_resort if _is_plain_class(kind) else _last_resort


def _first_party_or_last_resort(encoder: Encoder, value: Any) -> None:
    if encoder.code_of is not None and encoder.code_of(type(value)):
        _object(b"o")(encoder, value)
    else:
        _last_resort(encoder, value)
