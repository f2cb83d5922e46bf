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
import hashlib
import os
import pathlib
import re
import struct
import sys
import types
import uuid
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import xxhash

from usher_pipeline.errors import FingerprintError, UnsupportedFrameError
from usher_pipeline.fingerprint import files
from usher_pipeline.frames import adapter_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CodeOf", "digest", "encode", "register", "secret_digest"]

T = TypeVar("T")

#: Gives the bytes that stand for the code of a function or class.
CodeOf: TypeAlias = "Callable[[Any], bytes]"
Write: TypeAlias = "Callable[[bytes], object]"

_INT64: Final = struct.Struct("<q").pack
_FLOAT64: Final = struct.Struct("<d").pack
_NAN: Final = b"f" + _FLOAT64(float("nan"))
_INT64_RANGE: Final = range(-(2**63), 2**63)

#: Long lists of one plain type are written as one block from this length on.
_BLOCK_LENGTH: Final = 16


class _UnencodableError(Exception):
    """Raised inside; unwinding collects the path to the value."""

    def __init__(self, value: object, cure: str) -> None:
        self.type_name = _type_name(type(value))
        self.cure = cure
        self.steps: list[str] = []


def _type_name(cls: type) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    return name.removeprefix("builtins.")


class _Encoder:
    """Writes one value; remembers the containers that it is inside of."""

    __slots__ = ("code_of", "inside", "write")

    def __init__(self, write: Write, code_of: CodeOf | None) -> None:
        self.write = write
        self.code_of = code_of
        self.inside: set[int] = set()

    def value(self, value: Any) -> None:
        kind = type(value)
        (_ENCODERS.get(kind) or _encoder_for(kind))(self, value)

    def framed(self, tag: bytes, payload: bytes | bytearray | memoryview) -> None:
        self.write(tag + _INT64(len(payload)))
        self.write(bytes(payload))

    def text(self, tag: bytes, text: str) -> None:
        self.framed(tag, text.encode("utf-8", "surrogatepass"))

    def code(self, thing: Any) -> None:
        if self.code_of is None:
            raise _UnencodableError(thing, "Pass data instead, or ignore the argument.")
        self.framed(b"F", self.code_of(thing))

    def nested(self, container: Any, items: Iterable[tuple[str, Any]]) -> None:
        """Write the items of a container, and notice one that contains itself."""
        if id(container) in self.inside:
            raise _UnencodableError(container, "The value contains itself; pass plain data.")
        self.inside.add(id(container))
        step = ""
        try:
            for step, item in items:  # noqa: B007 - the error path needs the last one
                self.value(item)
        except _UnencodableError as problem:
            problem.steps.append(step)
            raise
        finally:
            self.inside.discard(id(container))

    def fields(self, tag: bytes, owner: Any, fields: dict[str, Any]) -> None:
        """Write a value as its class and its named fields."""
        self.write(tag)
        self.owner(type(owner))
        self.write(_INT64(len(fields)))
        for name in fields:
            self.text(b"s", name)
        self.nested(owner, ((f".{name}", value) for name, value in fields.items()))

    def owner(self, cls: type) -> None:
        self.text(b"q", cls.__qualname__)
        if self.code_of is not None:
            self.framed(b"F", self.code_of(cls))


def encode(
    value: Any, write: Write, *, path: str = "value", code_of: CodeOf | None = None
) -> None:
    """Write the bytes that stand for a value, piece by piece.

    Args:
        value: What to encode.
        write: Takes each piece, such as the `update` of a hasher.
        path: What to call the value in an error.
        code_of: Gives the bytes that stand for a function or class met inside; without
            it these are errors.

    Raises:
        FingerprintError: Some value inside has no faithful encoding.

    >>> pieces = []
    >>> encode([1, "a"], pieces.append)
    >>> b"".join(pieces)[:1]
    b'l'
    """
    try:
        _Encoder(write, code_of).value(value)
    except _UnencodableError as problem:
        where = path + "".join(reversed(problem.steps))
        raise FingerprintError(where, problem.type_name, problem.cure) from None
    except RecursionError:
        cure = "It is nested too deeply; pass flatter data."
        raise FingerprintError(path, _type_name(type(value)), cure) from None


def digest(value: Any, *, path: str = "value", code_of: CodeOf | None = None) -> str:
    """Return the fingerprint of a value: equal for equal values, else different.

    Args:
        value: What to fingerprint.
        path: What to call the value in an error.
        code_of: Gives the bytes that stand for a function or class met inside.

    Returns:
        The xxh3-128 of the encoding as 32 hexadecimal digits.

    Raises:
        FingerprintError: Some value inside has no faithful encoding.

    >>> digest(1) == digest(1), digest(1) == digest(True), digest(1) == digest(1.0)
    (True, False, False)
    """
    hasher = xxhash.xxh3_128()
    encode(value, hasher.update, path=path, code_of=code_of)
    return hasher.hexdigest()


def secret_digest(value: Any, *, path: str = "value", code_of: CodeOf | None = None) -> str:
    """Return a fingerprint from which the value can not be told.

    xxh3 can be inverted for short texts, so a credential goes through BLAKE2b.

    >>> len(secret_digest("token"))
    32
    """
    hasher = hashlib.blake2b(digest_size=16, person=b"usher-secret")
    encode(value, hasher.update, path=path, code_of=code_of)
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

    def registered(encoder_: _Encoder, value: T) -> None:
        encoder_.write(b"r")
        encoder_.text(b"q", kind.__qualname__)
        encoder_.value(encoder(value))

    _ENCODERS[kind] = registered


# --- plain values -----------------------------------------------------------------------


def _none(encoder: _Encoder, _: None) -> None:
    encoder.write(b"n")


def _bool(encoder: _Encoder, value: bool) -> None:  # noqa: FBT001 - the value itself
    encoder.write(b"T" if value else b"L")


def _int(encoder: _Encoder, value: int) -> None:
    if -(2**63) <= value < 2**63:
        encoder.write(b"i" + _INT64(value))
    else:
        size = value.bit_length() // 8 + 1
        encoder.framed(b"I", value.to_bytes(size, "little", signed=True))


def _float(encoder: _Encoder, value: float) -> None:
    encoder.write(_NAN if value != value else b"f" + _FLOAT64(value))  # noqa: PLR0124 - NaN


def _complex(encoder: _Encoder, value: complex) -> None:
    encoder.write(b"c")
    _float(encoder, value.real)
    _float(encoder, value.imag)


def _str(encoder: _Encoder, value: str) -> None:
    data = value.encode("utf-8", "surrogatepass")
    encoder.write(b"s" + _INT64(len(data)) + data)


def _bytes(encoder: _Encoder, value: bytes) -> None:
    encoder.framed(b"b", value)


def _bytearray(encoder: _Encoder, value: bytearray) -> None:
    encoder.framed(b"B", value)


def _singleton(tag: bytes) -> Callable[[_Encoder, Any], None]:
    def write(encoder: _Encoder, _: Any) -> None:
        encoder.write(tag)

    return write


def _as_text(tag: bytes, to_text: Callable[[Any], str]) -> Callable[[_Encoder, Any], None]:
    return lambda encoder, value: encoder.text(tag, to_text(value))


def _as_tuple(
    tag: bytes, parts: Callable[[Any], tuple[Any, ...]]
) -> Callable[[_Encoder, Any], None]:
    def write(encoder: _Encoder, value: Any) -> None:
        encoder.write(tag)
        encoder.nested(value, (("", part) for part in parts(value)))

    return write


def _zone(value: dt.datetime | dt.time) -> tuple[Any, ...]:
    zone = value.tzinfo
    if zone is None:
        return ()
    offset = value.utcoffset()
    key = getattr(zone, "key", None) or getattr(zone, "zone", None) or ""
    return (str(key), offset)


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


def _sequence(tag: bytes) -> Callable[[_Encoder, Any], None]:
    def write(encoder: _Encoder, values: Any) -> None:
        encoder.write(tag + _INT64(len(values)))
        block = _block(values) if len(values) >= _BLOCK_LENGTH else None
        if block is not None:
            encoder.framed(b"*" + block[0], block[1])
        else:
            encoder.nested(values, ((f"[{index}]", item) for index, item in enumerate(values)))

    return write


def _mapping_items(mapping: Any) -> Iterable[tuple[str, Any]]:
    for key, value in mapping.items():
        step = f"[{key!r}]" if type(key) in (str, int) else "[…]"
        yield step, key
        yield step, value


def _mapping(tag: bytes) -> Callable[[_Encoder, Any], None]:
    def write(encoder: _Encoder, mapping: Any) -> None:
        encoder.write(tag + _INT64(len(mapping)))
        encoder.nested(mapping, _mapping_items(mapping))

    return write


def _defaultdict(encoder: _Encoder, mapping: defaultdict[Any, Any]) -> None:
    encoder.write(b"D")
    encoder.value(mapping.default_factory)
    _mapping(b"d")(encoder, dict(mapping))


def _set(tag: bytes) -> Callable[[_Encoder, Any], None]:
    def write(encoder: _Encoder, values: Any) -> None:
        encoded = []
        for value in values:
            pieces: list[bytes] = []
            _Encoder(pieces.append, encoder.code_of).value(value)
            encoded.append(b"".join(pieces))
        encoder.write(tag + _INT64(len(encoded)))
        for item in sorted(encoded):
            encoder.framed(b"", item)

    return write


# --- objects ----------------------------------------------------------------------------


def _enum(encoder: _Encoder, member: enum.Enum) -> None:
    encoder.write(b"e")
    encoder.owner(type(member))
    # A combined flag has a name only on some versions of Python.
    name = "" if isinstance(member, enum.Flag) else member.name
    encoder.text(b"s", name)
    encoder.value(member.value)


def _own_fields(value: Any) -> dict[str, Any]:
    """Return what an instance holds: declared fields first, then the rest by name."""
    held = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
    held |= getattr(value, "__dict__", {})
    # What functools.cached_property stored can be computed again.
    declared = (
        [field.name for field in dataclasses.fields(value)] if _is_dataclass(value) else []
    )
    ordered = {name: held.pop(name) for name in declared if name in held}
    return ordered | {name: held[name] for name in sorted(held)}


def _slots(cls: type) -> list[str]:
    names: list[str] = []
    for base in reversed(cls.__mro__):
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _dataclass(encoder: _Encoder, value: Any) -> None:
    encoder.fields(b"a", value, _own_fields(value))


def _instance(encoder: _Encoder, value: Any) -> None:
    encoder.fields(b"o", value, _own_fields(value))


def _named_tuple(encoder: _Encoder, value: Any) -> None:
    encoder.fields(b"u", value, dict(zip(value._fields, value, strict=True)))


def _pydantic(encoder: _Encoder, value: Any) -> None:
    fields = dict(value.__dict__)
    for name in ("__pydantic_extra__", "__pydantic_private__"):
        fields[name] = dict(getattr(value, name) or {})
    fields["__pydantic_fields_set__"] = set(value.__pydantic_fields_set__)
    encoder.fields(b"p", value, fields)


def _keyed(encoder: _Encoder, value: Any) -> None:
    encoder.write(b"k")
    encoder.owner(type(value))
    encoder.value(value.__checkpoint_key__())


def _partial(encoder: _Encoder, value: partial[Any]) -> None:
    encoder.write(b"P")
    encoder.value(value.func)
    encoder.value(value.args)
    encoder.value(dict(sorted(value.keywords.items())))


def _method(encoder: _Encoder, value: types.MethodType) -> None:
    encoder.write(b"M")
    encoder.value(value.__self__)
    encoder.code(value.__func__)


def _callable(encoder: _Encoder, value: Any) -> None:
    encoder.code(value)


def _path(encoder: _Encoder, path: pathlib.PurePath) -> None:
    encoder.text(b"/", path.as_posix())
    if isinstance(path, pathlib.Path):
        encoder.text(b"h", files.path_digest(path))


# --- other libraries --------------------------------------------------------------------


def _numpy_array(encoder: _Encoder, value: Any) -> None:
    encoder.write(b"N")
    encoder.value(value.dtype.descr if value.dtype.names else value.dtype.str)
    encoder.value(tuple(value.shape))
    if value.dtype.hasobject:
        encoder.nested(
            value, ((f"[{i}]", item) for i, item in enumerate(value.ravel().tolist()))
        )
        return
    numpy = sys.modules["numpy"]
    encoder.write(
        xxhash.xxh3_128_digest(memoryview(numpy.ascontiguousarray(value)).cast("B"))
        if value.size
        else b""
    )


def _numpy_scalar(encoder: _Encoder, value: Any) -> None:
    encoder.write(b"y")
    encoder.text(b"s", value.dtype.str)
    encoder.framed(b"b", value.tobytes())


def _frame(encoder: _Encoder, value: Any) -> None:
    from usher_pipeline.fingerprint import frames

    adapter = adapter_for(value)
    assert adapter is not None  # noqa: S101 - the encoder was chosen by this very test
    try:
        packed = adapter.to_arrow(value)
    except UnsupportedFrameError as problem:
        raise _UnencodableError(value, f"{problem.column} is {problem.type_name}.") from problem
    encoder.text(b"t", frames.frame_digest(packed))


def _unknown(_: _Encoder, value: Any) -> None:
    raise _UnencodableError(
        value,
        "Pass plain data instead; or leave it out of the key with "
        'ignore=["…"] if it can not change the result; or give its class a method '
        "__checkpoint_key__() that returns plain data.",
    )


_ENCODERS: dict[type, Callable[[_Encoder, Any], None]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    complex: _complex,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    type(Ellipsis): _singleton(b"."),
    type(NotImplemented): _singleton(b"!"),
    tuple: _sequence(b"t"),
    list: _sequence(b"l"),
    deque: _as_tuple(b"Q", lambda value: (value.maxlen, list(value))),
    dict: _mapping(b"d"),
    OrderedDict: _mapping(b"O"),
    Counter: _mapping(b"C"),
    defaultdict: _defaultdict,
    types.MappingProxyType: _mapping(b"m"),
    types.SimpleNamespace: _as_tuple(b"v", lambda value: (dict(sorted(vars(value).items())),)),
    set: _set(b"S"),
    frozenset: _set(b"Z"),
    range: _as_tuple(b"R", lambda value: (value.start, value.stop, value.step)),
    slice: _as_tuple(b"[", lambda value: (value.start, value.stop, value.step)),
    dt.date: _as_text(b"1", dt.date.isoformat),
    dt.datetime: _as_tuple(
        b"2", lambda value: (value.replace(tzinfo=None).isoformat(), value.fold, *_zone(value))
    ),
    dt.time: _as_tuple(
        b"3", lambda value: (value.replace(tzinfo=None).isoformat(), value.fold, *_zone(value))
    ),
    dt.timedelta: _as_tuple(
        b"4", lambda value: (value.days, value.seconds, value.microseconds)
    ),
    dt.timezone: _as_tuple(b"5", lambda value: (value.utcoffset(None), value.tzname(None))),
    decimal.Decimal: _as_text(b"6", str),
    fractions.Fraction: _as_tuple(b"7", lambda value: (value.numerator, value.denominator)),
    uuid.UUID: _as_text(b"8", str),
    re.Pattern: _as_tuple(b"9", lambda value: (value.pattern, value.flags)),
    partial: _partial,
    types.FunctionType: _callable,
    types.BuiltinFunctionType: _callable,
    types.MethodType: _method,
    type: _callable,
    enum.EnumType: _callable,
}


def _belongs_to(kind: type, module: str, *names: str) -> bool:
    """Tell whether a class is one of another library's, without importing it."""
    loaded = sys.modules.get(module)
    if loaded is None:
        return False
    known = tuple(getattr(loaded, name) for name in names if hasattr(loaded, name))
    return issubclass(kind, known)


def _encoder_for(kind: type) -> Callable[[_Encoder, Any], None]:
    """Return the encoder of a class that is in no table; the most specific rule wins."""
    if callable(getattr(kind, "__checkpoint_key__", None)):
        return _keyed
    for applies, encoder in _RULES:
        if applies(kind):
            return encoder
    return _unknown


def _is_first_party_instance(encoder: _Encoder, value: Any) -> None:
    if encoder.code_of is None or not encoder.code_of(type(value)):
        _unknown(encoder, value)
    _instance(encoder, value)


def _is_plain_class(kind: type) -> bool:
    """Tell whether instances hold nothing but attributes."""
    builtin_bases = [base for base in kind.__mro__ if base.__module__ == "builtins"]
    return builtin_bases == [object] and not hasattr(kind, "__next__")


_RULES: Final[list[tuple[Callable[[type], bool], Callable[[_Encoder, Any], None]]]] = [
    (lambda kind: issubclass(kind, enum.Enum), _enum),
    (lambda kind: issubclass(kind, pathlib.PurePath), _path),
    (lambda kind: issubclass(kind, type), _callable),
    (lambda kind: issubclass(kind, tuple) and hasattr(kind, "_fields"), _named_tuple),
    (lambda kind: _belongs_to(kind, "pydantic", "SecretStr", "SecretBytes"), _singleton(b"X")),
    (lambda kind: _belongs_to(kind, "pydantic", "BaseModel"), _pydantic),
    (
        lambda kind: dataclasses.is_dataclass(kind) and kind.__eq__ is not object.__eq__,
        _dataclass,
    ),
    (lambda kind: kind.__module__ == "zoneinfo", _as_text(b"z", str)),
    (lambda kind: kind is getattr(sys.modules.get("numpy"), "ndarray", None), _numpy_array),
    (lambda kind: _belongs_to(kind, "numpy", "generic"), _numpy_scalar),
    (lambda kind: _belongs_to(kind, "polars", "DataFrame"), _frame),
    (lambda kind: _belongs_to(kind, "pandas", "DataFrame"), _frame),
    (lambda kind: hasattr(kind, "__wrapped_checkpoint__"), _callable),
    (_is_plain_class, _is_first_party_instance),
]


def _is_file_name(value: object) -> bool:
    """Tell whether a text names an existing file, which its content then ought to watch."""
    return (
        type(value) is str
        and 0 < len(value) < 1024  # noqa: PLR2004 - longer texts are data
        and ("/" in value or "." in value or os.sep in value)
        and "\0" not in value
        and os.path.isfile(value)  # noqa: PTH113 - cheaper than a Path on each call
    )
