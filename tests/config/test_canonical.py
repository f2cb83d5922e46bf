"""Config values as plain data and as one canonical text."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import BaseModel, HttpUrl, TypeAdapter

from usher_pipeline.config.canonical import canonical_json, digest, members, plain
from usher_pipeline.errors import FingerprintError


class Depth(Enum):
    """Two depths of sequencing."""

    LOW = 10
    HIGH = 30


class Build(StrEnum):
    """A genome build, which is a text as well."""

    GRCH38 = "GRCh38"


@dataclass
class Cutoffs:
    """A dataclass among config values."""

    depth: float
    names: tuple[str, ...]


class Section(BaseModel):
    """A model among config values."""

    cutoffs: Cutoffs
    pages: dict[int, str]


SECTION: Final = Section(cutoffs=Cutoffs(30.0, ("a", "b")), pages={1: "x"})


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (re.compile("a", re.IGNORECASE), re.compile("a")),
        (re.compile(b"a"), re.compile("a")),
        (ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Zurich")),
        (timezone(timedelta(hours=2)), timezone(timedelta(hours=3))),
        (1 + 2j, 1 + 3j),
        (np.int64(3), 4),
        (np.bool_(True), 1.5),
    ],
    ids=str,
)
def test_every_kind_of_field_has_a_form(value: Any, other: Any) -> None:
    """Patterns, zones, complex numbers and numbers of numpy count by what they hold."""
    assert canonical_json({"x": value}) == canonical_json({"x": copy.copy(value)})
    assert canonical_json({"x": value}) != canonical_json({"x": other})


def test_numbers_of_numpy_are_numbers() -> None:
    """It means nothing which library made a number."""
    assert canonical_json([np.int64(3), np.float32(0.5)]) == canonical_json([3, 0.5])


def test_plain_data_is_made_of_dicts_and_lists() -> None:
    """Models, dataclasses, mappings and tuples become dicts and lists, at any depth."""
    expected = {"cutoffs": {"depth": 30.0, "names": ["a", "b"]}, "pages": {1: "x"}}
    assert plain(SECTION) == expected
    assert plain(MappingProxyType({"a": (1, {"b": (2,)})})) == {"a": [1, {"b": [2]}]}


def test_plain_data_shares_nothing() -> None:
    """Plain data is a copy, down to the last list."""
    inner = [1]
    copied = plain({"a": {"b": inner}})
    copied["a"]["b"].append(2)
    assert inner == [1]


def test_a_type_has_no_members() -> None:
    """A model class or a dataclass type is no config."""
    assert [members(Section), members(Cutoffs), members(1)] == [None, None, None]


def test_plain_json_is_as_json_writes_it() -> None:
    """For JSON's own types the text is plain compact JSON with sorted keys."""
    value = {"b": [1, 1.0, True, None, "é"], "a": {}}
    expected = json.dumps(value, sort_keys=True, separators=(",", ":"))
    assert canonical_json(value) == expected
    assert digest(value) == hashlib.sha256(expected.encode()).hexdigest()


DIFFERENT: Final[list[Any]] = [
    None,
    True,
    1,
    1.0,
    "1",
    b"1",
    "1.0",
    "None",
    0.0,
    -0.0,
    [],
    {},
    [[]],
    [1],
    {1: 1},
    {"1": 1},
    {1.0: 1},
    {True: 1},
    {None: 1},
    set(),
    {1},
    {"1"},
    {"!key 1": 1},
    {"!set": []},
    {"!date": "2026-02-16"},
    date(2026, 2, 16),
    "2026-02-16",
    datetime(2026, 2, 16, tzinfo=UTC),
    timedelta(days=1),
    Decimal("1.0"),
    Decimal("1.00"),
    UUID(int=1),
    Depth.LOW,
    Depth.HIGH,
    10,
    Build.GRCH38,
    "GRCh38",
    float("nan"),
    float("inf"),
    ip_address("10.0.0.1"),
    "10.0.0.1",
    TypeAdapter(HttpUrl).validate_python("https://example.org/a"),
    TypeAdapter(HttpUrl).validate_python("https://example.org/b"),
    "a.b",
    {"a": {"b": 1}},
    {"a.b": 1},
]


def test_different_values_have_different_texts() -> None:
    """No two values of different type, content or nesting have one text."""
    texts = {canonical_json(value) for value in DIFFERENT}
    assert len(texts) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ((1, 2), [1, 2]),
        (Path("a/b"), "a/b"),
        ({"x", "y", "z"}, {"z", "y", "x"}),
        (frozenset((1,)), frozenset((1,))),
        (SECTION, plain(SECTION)),
        (bytearray(b"a"), bytearray(b"a")),
        (float("nan"), float("nan")),
    ],
)
def test_what_means_the_same_has_one_text(first: Any, second: Any) -> None:
    """Order of keys, kind of container and spelling of a path do not count."""
    assert canonical_json(first) == canonical_json(second)


def test_what_is_no_data_is_an_error() -> None:
    """A value without a canonical text is an error that says where it is."""
    with pytest.raises(FingerprintError, match=r"api\.client .*got object.*Keep data in"):
        digest({"api": {"client": object()}})


def test_a_value_alone_that_is_no_data_is_an_error() -> None:
    """Without a path the error speaks of the config."""
    with pytest.raises(FingerprintError, match=r"The argument config .*got function"):
        digest(test_a_type_has_no_members)
