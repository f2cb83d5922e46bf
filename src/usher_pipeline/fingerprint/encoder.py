"""What writes one value: the tags, the frames, and the way to whatever has no encoding.

The tables of which type is written how are in `values` and `libraries`.
"""

from __future__ import annotations

import struct
import sys
import types
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import PurePath

__all__ = [
    "CodeOf",
    "Constants",
    "Encode",
    "Encoder",
    "UnencodableError",
    "importable_name",
    "public_name",
    "type_name",
]

#: Gives the bytes that stand for the code of a function, a class or a module; none for a
#: foreign class or module.
CodeOf: TypeAlias = "Callable[[Any], bytes]"
Write: TypeAlias = "Callable[[bytes], object]"
#: Writes a value of one type.
Encode: TypeAlias = "Callable[[Encoder, Any], None]"

_INT64: Final = struct.Struct("<q").pack


class UnencodableError(Exception):
    """Raised inside; unwinding collects the path to the value."""

    def __init__(self, value: object, cure: str) -> None:
        self.type_name = type_name(type(value))
        self.public_type = public_name(type(value))
        self.cure = cure
        self.steps: list[str] = []


def type_name(cls: type) -> str:
    """Return what a type is called in an error."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    return name.removeprefix("builtins.")


def public_name(thing: Any) -> str:
    """Return where something foreign is found, without the private modules on the way.

    Python and other libraries move what they define between private modules: `Path` is
    `pathlib.Path` in Python 3.12 and `pathlib._local.Path` in 3.13.

    >>> public_name(sum)
    'builtins.sum'
    """
    module: Any
    name: Any
    if isinstance(thing, types.FunctionType):
        module, name = thing.__globals__.get("__name__"), thing.__code__.co_qualname
    else:
        module = getattr(thing, "__module__", None) or type(thing).__module__
        name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    top, *rest = str(module).split(".")
    public = [top.lstrip("_"), *(part for part in rest if not part.startswith("_"))]
    return f"{'.'.join(public)}.{name or type(thing).__qualname__}"


def importable_name(thing: Any) -> str | None:
    """Return the name under which importing gives this very object, if there is one."""
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    found: Any = sys.modules.get(module)
    for step in name.split("."):
        found = getattr(found, step, None)
    return public_name(thing) if found is thing else None


class Constants(Protocol):
    """How values count that a name in code holds, and nobody passes.

    An argument that can not be encoded is an error. A constant that can not be is nobody's
    mistake: what else is inside counts, and what does not is told.
    """

    def unknown(self, path: str, kind: str) -> None:
        """Take note of something inside that does not count."""

    def place(self, path: PurePath) -> str:
        """Return what a path is called, wherever the project lies."""


class Encoder:
    """Writes one value; remembers the containers that it is inside of."""

    __slots__ = ("code_of", "constants", "encode_for", "inside", "trail", "write")

    def __init__(
        self,
        write: Write,
        code_of: CodeOf | None,
        encode_for: Callable[[type], Encode],
        constants: Constants | None = None,
    ) -> None:
        self.write = write
        self.code_of = code_of
        self.encode_for = encode_for
        self.constants = constants
        self.inside: set[int] = set()
        self.trail: list[str] = []

    def value(self, value: Any) -> None:
        """Write any value."""
        self.encode_for(type(value))(self, value)

    def framed(self, tag: bytes, payload: bytes | bytearray | memoryview) -> None:
        """Write bytes after a tag and their length."""
        self.write(tag + _INT64(len(payload)))
        self.write(bytes(payload))

    def text(self, tag: bytes, text: str) -> None:
        """Write a text after a tag and its length."""
        self.framed(tag, text.encode("utf-8", "surrogatepass"))

    def count(self, tag: bytes, count: int) -> None:
        """Write a tag and how many items follow."""
        self.write(tag + _INT64(count))

    def nested(self, container: Any, items: Iterable[tuple[str, Any]]) -> None:
        """Write the items of a container, and notice one that contains itself."""
        if id(container) in self.inside:
            raise UnencodableError(container, "The value contains itself; pass plain data.")
        self.inside.add(id(container))
        step = ""
        try:
            if self.constants is None:
                for step, item in items:  # noqa: B007 - the error path needs the last one
                    self.value(item)
            else:
                for step, item in items:
                    self._constant(self.constants, step, item)
        except UnencodableError as problem:
            problem.steps.append(step)
            raise
        finally:
            self.inside.discard(id(container))

    def _constant(self, constants: Constants, step: str, item: Any) -> None:
        """Write an item of a constant, or its type if it can not be encoded."""
        write, pieces = self.write, list[bytes]()
        self.write = pieces.append
        self.trail.append(step)
        try:
            self.value(item)
        except UnencodableError as problem:
            pieces.clear()
            self.text(b"?", problem.public_type)
            within = "".join([*self.trail, *reversed(problem.steps)])
            constants.unknown(within, problem.public_type)
        finally:
            self.trail.pop()
            self.write = write
        write(b"".join(pieces))

    def apart(self, container: Any, item: Any, step: str) -> bytes:
        """Return the bytes of one item of a container instead of writing them."""
        pieces: list[bytes] = []
        inner = Encoder(pieces.append, self.code_of, self.encode_for, self.constants)
        inner.inside, inner.trail = self.inside, self.trail
        inner.nested(container, [(step, item)])
        return b"".join(pieces)

    def fields(self, tag: bytes, owner: Any, fields: dict[str, Any]) -> None:
        """Write a value as its class and its named fields."""
        self.write(tag)
        self.owner(type(owner))
        self.count(b"", len(fields))
        for name in fields:
            self.text(b"s", name)
        self.nested(owner, ((f".{name}", value) for name, value in fields.items()))

    def owner(self, cls: type) -> None:
        """Write a class: the user's own by its code, wherever it lies; others by name."""
        code = self.code_of(cls) if self.code_of is not None else b""
        self.text(b"q", cls.__qualname__ if code else public_name(cls))
        self.framed(b"F", code)

    def code(self, thing: Any) -> None:
        """Write a function or a class that is itself the value."""
        if self.code_of is None:
            raise UnencodableError(thing, "Pass data instead, or ignore the argument.")
        if isinstance(thing, type):
            self.write(b"K")
            self.owner(thing)
        else:
            self.framed(b"F", self.code_of(thing))
