"""Overrides → the values of a config: where each one goes, and whether there is such a place.

Models are recognised by what they offer, so that this module does not load pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from usher_pipeline.errors import UnknownSettingError

__all__ = ["Place"]


class Place:
    """The place that one override names.

    Attributes:
        dotted: The override's path.
        where: What was searched, for the error.
    """

    def __init__(self, dotted: str, where: str) -> None:
        self.dotted = dotted
        self.where = where

    def put(self, values: Any, annotation: Any, value: Any) -> None:
        """Set the value in `values`, which `annotation` describes."""
        *parents, leaf = self.dotted.split(".")
        done: list[str] = []
        for part in parents:
            key, annotation = self._step(values, annotation, part, done)
            if isinstance(values, dict) and values.get(key) is None:
                values[key] = {}
            values = values[key]
            done.append(part)
        key, annotation = self._step(values, annotation, leaf, done)
        self._check(value, annotation, [*done, leaf])
        values[key] = value

    def _step(
        self, values: Any, annotation: Any, part: str, done: list[str]
    ) -> tuple[Any, Any]:
        keys = _keys(values)
        stated, is_open = _fields(annotation) if isinstance(values, dict) else ({}, False)
        if part not in keys and part not in stated and not is_open:
            known = [".".join([*done, name]) for name in {**stated, **keys}]
            raise UnknownSettingError(".".join([*done, part]), known, self.where)
        return keys.get(part, part), stated.get(part)

    def _check(self, value: Any, annotation: Any, done: list[str]) -> None:
        """Refuse unknown names inside a section that is replaced as a whole."""
        stated, is_open = _fields(annotation)
        if not isinstance(value, dict) or not stated or is_open:
            return
        for name, child in value.items():
            _, below = self._step({}, annotation, str(name), done)
            self._check(child, below, [*done, str(name)])


def _keys(values: Any) -> dict[str, Any]:
    """Return the names in a container, each with the real key."""
    if isinstance(values, dict):
        return {str(key): key for key in values}
    if isinstance(values, list):
        return {str(index): index for index in range(len(values))}
    return {}


def _fields(annotation: Any) -> tuple[dict[str, Any], bool]:
    """Return the fields that a type states, and whether it takes any other name.

    A model states its fields and, for an override, takes no others; a mapping takes all.
    """
    fields: Mapping[str, Any] | None = getattr(annotation, "model_fields", None)
    if fields is not None:
        return {field.alias or name: field.annotation for name, field in fields.items()}, False
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {}, True
    stated: dict[str, Any] = {}
    is_open = False
    for part in get_args(annotation) if origin in (Union, UnionType, Annotated) else ():
        below, below_open = _fields(part)
        stated |= below
        is_open |= below_open
    return stated, is_open
