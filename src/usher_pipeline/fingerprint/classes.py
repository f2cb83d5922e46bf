"""What a class holds: the functions of its author, fields, accessors on foreign classes.

Python and libraries write into classes as well. What they wrote follows from what the
author wrote, and differs from version to version; so it is told apart here.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import sys
import types
import typing
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.fingerprint.files import path_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "accessors",
    "compiled_in",
    "file_of",
    "functions_in",
    "held_in",
    "is_generated",
    "is_machinery",
    "loaded_fields",
    "own_functions",
    "registered",
]

#: Who writes functions into the classes of others; which ones depends on the version.
_CLASS_WRITERS: Final = frozenset(
    {"abc", "attr", "collections", "dataclasses", "enum", "pydantic", "reprlib", "typing"}
)

#: What dataclasses and named tuples write by way of a text.
_GENERATED: Final = frozenset(
    f"__{name}__"
    for name in (
        *("init", "repr", "eq", "lt", "le", "gt", "ge", "hash", "setattr", "delattr"),
        *("replace", "match_args", "new", "getnewargs", "getstate", "setstate", "post_init"),
    )
) | {"_make", "_replace", "_asdict"}

#: What Python and others keep in a class about itself.
_ABOUT_ITSELF: Final = frozenset(
    f"__{name}__"
    for name in (
        *("module", "qualname", "name", "doc", "dict", "weakref", "slots", "annotations"),
        *("annotate", "annotate_func", "annotations_cache", "type_params", "parameters"),
        *("orig_bases", "static_attributes", "firstlineno", "classdictcell", "hash"),
        *("match_args", "dataclass_fields", "dataclass_params", "abstractmethods"),
        *("class_vars", "private_attributes", "signature", "fields", "attrs_attrs"),
        *("class_getitem", "init_subclass", "subclasshook", "protocol_attrs"),
        *("callable_proto_members_only", "non_callable_proto_members", "attrs_props"),
        *("total", "required_keys", "optional_keys", "readonly_keys", "mutable_keys"),
    )
)

#: The classes that others hang accessors on, by library.
_HOOKED: Final = {
    "polars": ("DataFrame", "LazyFrame", "Expr", "Series"),
    "pandas": ("DataFrame", "Series", "Index"),
}


def is_machinery(name: str) -> bool:
    """Tell whether an attribute of a class is one that Python or a library keeps there."""
    if name in _ABOUT_ITSELF or name.startswith(("__pydantic_", "__usher_")):
        return True
    return name in _ENUM_PARTS or name == _ABSTRACT


#: Where an abstract class keeps what counts as one of it.
_ABSTRACT: Final = "_abc_impl"
#: What an enumeration keeps about itself.
_ENUM_PARTS: Final = frozenset(
    f"_{name}_"
    for name in (
        *("generate_next_value", "member_names", "member_map", "value2member_map"),
        *("unhashable_values", "member_type", "value_repr", "use_args", "new_member"),
        *("hashable_values", "unhashable_values_map", "singles_mask", "inverted"),
        *("flag_mask", "all_bits", "boundary"),
    )
)


def is_generated(cls: type, function: types.FunctionType) -> bool:
    """Tell whether dataclass or its like wrote a function, from fields that are counted."""
    module = str(function.__globals__.get("__name__")).partition(".")[0]
    if module in _CLASS_WRITERS or module.startswith("namedtuple_"):
        return True
    file = function.__code__.co_filename
    if file.startswith("<attrs"):
        return True
    has_fields = hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields")
    return file == "<string>" and has_fields and function.__name__ in _GENERATED


def own_functions(cls: type) -> Iterator[types.FunctionType]:
    """Yield the functions that the body of a class defines."""
    for value in cls.__dict__.values():
        for _, function in functions_in(value):
            if function.__globals__.get("__name__") == cls.__module__ and (
                function.__code__.co_qualname.rpartition(".")[0] == cls.__qualname__
            ):
                yield function


def functions_in(value: Any) -> Iterator[tuple[str, types.FunctionType]]:
    """Yield the functions in an attribute of a class, each with what it does there."""
    for part, held in (held_in(value) or {"": value}).items():
        function = getattr(held, "__wrapped__", held) if held is not value else held
        if isinstance(function, types.FunctionType):
            yield part, function


def held_in(value: Any) -> dict[str, Any]:
    """Return what an attribute of a class holds, by what it does; nothing if it is no holder.

    That may be a function, what somebody wrapped around one, or any other callable.
    """
    if isinstance(value, (property, types.DynamicClassAttribute)):
        held = {".get": value.fget, ".set": value.fset, ".del": value.fdel}
        return {part: each for part, each in held.items() if each is not None}
    if isinstance(value, (staticmethod, classmethod)):
        return {"": value.__func__}
    if isinstance(value, functools.cached_property):
        return {".get": value.func}
    if isinstance(value, functools.partialmethod):
        return {".func": value.func}
    if isinstance(value, functools.singledispatchmethod):
        registry = value.dispatcher.registry
        names = _distinct([kind.__qualname__ for kind in registry])
        return {f".{name}": each for name, each in zip(names, registry.values(), strict=True)}
    return {}


def _distinct(names: list[str]) -> list[str]:
    """Return names, of which those that came before have a number."""
    return [
        f"{name} {names[:index].count(name)}" if name in names[:index] else name
        for index, name in enumerate(names)
    ]


def registered(cls: type) -> list[type]:
    """Return the classes that count as those of an abstract class, since somebody said so.

    There is no other way to them than what `abc` itself prints them with, where it is the one
    of CPython.
    """
    dump = vars(abc).get("_get_dump")
    # A metaclass may make classes that have none.
    if dump is None or not isinstance(cls, abc.ABCMeta) or not hasattr(cls, _ABSTRACT):
        return []
    found = [reference() for reference in dump(cls)[0]]
    return [each for each in found if each is not None]


def file_of(cls: type, own: Sequence[types.FunctionType]) -> str:
    """Return the file that a class was written in; empty if nobody knows."""
    if own:
        return own[0].__code__.co_filename
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or ""


def compiled_in(module: Any) -> str:
    """Return the digest of a module's file if it was compiled from no Python; else nothing.

    What was compiled says nothing of what it does; the file is all there is to compare.
    """
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(tuple(EXTENSION_SUFFIXES)):
        return ""
    return path_digest(Path(file))


def loaded_fields(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield what decides how a class makes its instances, as it was loaded.

    The source tells the same, where it is there and still the one that was loaded; a class
    without methods gives nothing to compare it with.
    """
    own = cls.__dict__
    for name, field in own.get("__dataclass_fields__", {}).items():
        # Of what belongs to the class alone it is not said whether it goes by keyword.
        by_keyword = field.kw_only is True
        flags = (field.init, field.repr, field.hash, field.compare, by_keyword)
        yield f"field {name}", (flags, dict(field.metadata))
        yield from _held(f"field {name}", field.default, dataclasses.MISSING)
        yield from _held(f"field {name} factory", field.default_factory, dataclasses.MISSING)
        yield from _types(f"field {name} type", field.type)
    for field in own.get("__attrs_attrs__", ()):
        # What attrs states where a field has no default is of a class of that name.
        made = type(field.default)
        is_attrs = made.__module__.partition(".")[0] in ("attr", "attrs")
        if not (is_attrs and made.__name__ == "_Nothing"):
            is_made = is_attrs and made.__name__ == "Factory"
            yield f"field {field.name}", field.default.factory if is_made else field.default
    params = own.get("__dataclass_params__")
    if params is not None:
        names = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
        yield "dataclass", tuple(getattr(params, name) for name in names)
    yield from _model_fields(cls)
    for index, base in enumerate(own.get("__orig_bases__", ())):
        yield from _types(f"base {index} of", base)


def _model_fields(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield what decides how a model of pydantic makes its instances."""
    public, private = _pydantic_fields(cls), dict[str, Any]()
    if "__pydantic_fields__" in cls.__dict__:
        private = cls.__dict__.get("__private_attributes__", {})
    for name, field in (*public.items(), *private.items()):
        if type(field.default).__name__ != "PydanticUndefinedType":
            yield f"field {name}", field.default
        yield from _held(f"field {name} factory", field.default_factory, None)
    for name, field in public.items():
        yield f"field {name} limits", list(field.metadata)
        yield f"field {name} names", (field.alias, str(field.validation_alias))
        yield from _types(f"field {name} type", field.annotation)
    if public:
        yield "model", dict(getattr(cls, "model_config", {}))


def _pydantic_fields(cls: type) -> dict[str, Any]:
    found = cls.__dict__.get("__pydantic_fields__")
    return found if isinstance(found, dict) else {}


def _held(name: str, value: Any, missing: Any) -> Iterator[tuple[str, Any]]:
    if value is not missing:
        yield name, value


def _types(name: str, hint: Any) -> Iterator[tuple[str, Any]]:
    """Yield the classes in a type, which may have defaults and code of their own."""
    for index, found in enumerate(_classes_in(hint, 0)):
        yield f"{name} {index}", found


def _classes_in(hint: Any, depth: int) -> Iterator[Any]:
    if isinstance(hint, type):
        yield hint
    other = getattr(hint, "__supertype__", None)
    if type(hint).__name__ == "TypeAliasType":
        other = hint.__value__
    inner: Iterable[Any] = typing.get_args(hint) if other is None else (other,)
    generic = getattr(hint, "__pydantic_generic_metadata__", None)
    if isinstance(hint, type) and isinstance(generic, dict):
        inner = (*inner, *generic.get("args", ()))
    if depth < _DEEPEST_TYPE:
        for each in inner:
            yield from _classes_in(each, depth + 1)


_DEEPEST_TYPE: Final = 8


def accessors(
    names: Iterable[str],
) -> Iterator[tuple[str, type | types.FunctionType]]:
    """Yield what frames have under some names: registered classes, and functions.

    Args:
        names: Attributes that code asks for.
    """
    wanted = sorted(names)
    for library, hooked in _HOOKED.items():
        loaded = sys.modules.get(library)
        for class_name in hooked if loaded is not None else ():
            held = vars(getattr(loaded, class_name, object))
            for name in wanted:
                found = held.get(name)
                # What pandas calls so is the class; in polars it is a name.
                kept = [getattr(found, part, None) for part in ("_accessor", "_ns")]
                for accessor in (*kept, *(f for _, f in functions_in(found))):
                    if isinstance(accessor, (type, types.FunctionType)):
                        yield f"{class_name}.{name}", accessor
