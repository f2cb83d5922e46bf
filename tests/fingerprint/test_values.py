"""Two values have one digest exactly when they mean the same."""

from __future__ import annotations

import argparse
import array
import collections
import dataclasses
import datetime as dt
import enum
import functools
import http.cookies
import ipaddress
import json
import logging
import math
import operator
import os
import re
import socket
import string
import struct
import subprocess
import sys
import threading
import types
import uuid
import zoneinfo
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import values
from usher_pipeline.fingerprint.code import code_digest
from usher_pipeline.fingerprint.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN: Final = json.loads(Path(__file__).with_name("golden.json").read_text())["values"]

UTC: Final = dt.UTC
BERLIN: Final = zoneinfo.ZoneInfo("Europe/Berlin")
PARIS: Final = zoneinfo.ZoneInfo("Europe/Paris")


# --- classes of the user's, met inside of values ----------------------------------------


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 2


class Shade(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    LOW = "low"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    left: int
    right: int


class Couple(NamedTuple):
    left: int
    right: int


@dataclasses.dataclass
class Options:
    depth: int
    label: str = "a"


@dataclasses.dataclass
class Choices:
    depth: int
    label: str = "a"


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    depth: int


@dataclasses.dataclass
class Listed(list[int]):
    depth: int = 0


class Name(str):
    __slots__ = ()


class Table(dict[str, Any]):
    def keys(self) -> Any:
        return super().keys() - {"hidden"}


class Plain:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


class Other:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


class Private:
    __slots__ = ("__hidden", "shown")

    def __init__(self, hidden: int) -> None:
        self.__hidden = hidden
        self.shown = 1

    def hidden(self) -> int:
        return self.__hidden


class Lazy:
    def __init__(self, base: int) -> None:
        self.base = base

    @functools.cached_property
    def doubled(self) -> int:
        return self.base * 2

    def warmed(self) -> Lazy:
        assert self.doubled == 2 * self.base
        return self


class Queue(deque[int]):
    """A class of the user's that holds more than attributes."""


class Keyed:
    def __init__(self, label: str, noise: Any = None) -> None:
        self.label = label
        self.noise = noise

    def __checkpoint_key__(self) -> str:
        return self.label


class KeyedOtherwise(Keyed):
    pass


class Model(pydantic.BaseModel):
    depth: int = 1
    label: str = "a"


class Twin(pydantic.BaseModel):
    depth: int = 1
    label: str = "a"


class Open(pydantic.BaseModel, extra="allow"):
    depth: int = 1


class Guarded(pydantic.BaseModel):
    depth: int = 1
    _seed: int = pydantic.PrivateAttr(default=0)

    def seeded(self, seed: int) -> Guarded:
        self._seed = seed
        return self


class Client(pydantic.BaseModel):
    url: pydantic.HttpUrl
    token: pydantic.SecretStr


class Computed(pydantic.BaseModel):
    depth: int = 1

    @functools.cached_property
    def doubled(self) -> int:
        return 2 * self.depth

    def warmed(self) -> Computed:
        assert self.doubled == 2 * self.depth
        return self


class Labelled(Pair):
    label = ""


class Ordered(OrderedDict[str, int]):
    pass


def _pair_with(label: str) -> Labelled:
    found = Labelled(1, 2)
    found.label = label
    return found


def _moved(last: str) -> Ordered:
    found = Ordered(a=1, b=2)
    found.move_to_end(last)
    return found


def _listed(depth: int) -> Listed:
    found = _list_of(1)
    found.depth = depth
    return found


def _list_of(*numbers: int) -> Listed:
    found = Listed()
    found.extend(numbers)
    return found


def _pair(*names: str) -> Any:
    make: Any = collections.namedtuple  # noqa: PYI024 - as users write it
    return make("Pair", names)(1, 2)


def _double(x: Any = 0, **more: Any) -> Any:
    return 2 * x, more


def _triple(x: int) -> int:
    return 3 * x


def _scale(factor: int) -> Callable[[int], int]:
    return lambda x: factor * x


def _with_default(factor: int) -> Callable[[int], int]:
    def scale(x: int, by: int = factor) -> int:
        return by * x

    return scale


CODE_OF: Final = partial(code_digest, ownership=Ownership.of(_double, "/nowhere"))


def _digest(value: Any) -> str:
    return values.digest(value, code_of=CODE_OF)


# --- the table --------------------------------------------------------------------------

_frame: Final = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
_table: Final = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
_grid: Final = np.arange(6).reshape(2, 3)
_nan: Final = float("nan")


def _records(name: str, value: float) -> Any:
    return np.array([(1, value)], dtype=[("a", "i8"), (name, "f8")])


_negative_nan: Final = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
_moment: Final = dt.datetime(2026, 2, 16, 12)  # noqa: DTZ001 - naive on purpose
_autumn: Final = dt.datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN)

SAME: Final[dict[str, tuple[Any, Any]]] = {
    "a derived list equals its copy": (_list_of(1), _list_of(1)),
    "a derived dict equals its copy": (Table(a=[1]), Table(a=[1])),
    "a selector equals itself": (cs.numeric() - cs.by_name("a"), cs.numeric() - cs.by_name("a")),
    "a condition equals itself": (pl.when(pl.col("a")).then(1), pl.when(pl.col("a")).then(1)),
    "an expression equals itself": (pl.col("loeuf") < 0.35, pl.col("loeuf") < 0.35),
    "a schema equals itself": (pl.Schema({"a": pl.Int8}), pl.Schema({"a": pl.Int8})),
    "an int equals itself": (1, int("1")),
    "a big int equals itself": (10**30, 10**29 * 10),
    "a text equals itself": ("ush2a", "USH2A".lower()),
    "a lone surrogate is a text": ("\udc80", "\udc80"),
    "NaN equals itself": (_nan, float("nan")),
    "the bits of a NaN do not count": (_nan, _negative_nan),
    "NaN inside a long list equals itself": ([_nan] * 20, [float("nan")] * 20),
    "shared and equal items of a list are one": ([t := (1, 2), t], [(1, 2), (1, 2)]),
    "shared and equal items of a tuple are one": ((s := [1], s), ([1], [1])),
    "set order does not count": ({"a", "b", "c"}, {"c", "b", "a"}),
    "frozenset order does not count": (frozenset(range(50)), frozenset(reversed(range(50)))),
    "sets inside a set": (
        {frozenset("ab"), frozenset("cd")},
        {frozenset("dc"), frozenset("ba")},
    ),
    "a dict equals its copy": ({"a": 1, "b": [2]}, {"a": 1} | {"b": [2]}),
    "a namespace has no order": (
        types.SimpleNamespace(a=1, b=2),
        types.SimpleNamespace(b=2, a=1),
    ),
    "a Decimal equals itself": (Decimal("1.10"), Decimal("1.10")),
    "a Fraction is reduced": (Fraction(1, 2), Fraction(2, 4)),
    "a UUID equals itself": (uuid.UUID(int=5), uuid.UUID(int=5)),
    "a range equals itself": (range(3), range(0, 3, 1)),
    "a slice equals itself": (slice(1, 2), slice(1, 2)),
    "a pattern equals itself": (re.compile("a+", re.IGNORECASE), re.compile("a+", 2)),
    "a date equals itself": (dt.date(2026, 2, 16), _moment.date()),
    "an aware datetime equals itself": (_moment.replace(tzinfo=UTC), _moment.replace(tzinfo=UTC)),
    "a named zone equals itself": (BERLIN, zoneinfo.ZoneInfo.no_cache("Europe/Berlin")),
    "a timedelta is normalised": (dt.timedelta(days=1), dt.timedelta(hours=24)),
    "an enum member equals itself": (Colour.RED, Colour(1)),
    "flags have no order": (Access.READ | Access.WRITE, Access.WRITE | Access.READ),
    "a dataclass equals an equal one": (Options(1), Options(depth=1, label="a")),
    "a slotted dataclass equals an equal one": (Slotted(1), Slotted(1)),
    "the order of attributes does not count": (Plain(a=1, b=2), Plain(b=2, a=1)),
    "what a cached_property stored does not count": (Lazy(1), Lazy(1).warmed()),
    "a model equals an equal one": (Model(depth=2), Model.model_validate({"depth": 2})),
    "a model's private values equal": (Guarded().seeded(1), Guarded().seeded(1)),
    "a model's cached_property does not count": (Computed(), Computed().warmed()),
    "SecretStr does not count": (pydantic.SecretStr("a"), pydantic.SecretStr("b")),
    "SecretBytes does not count": (pydantic.SecretBytes(b"a"), pydantic.SecretBytes(b"b")),
    "a secret inside a model does not count": (
        Client(url="https://a.org", token="x"),  # type: ignore[arg-type] # noqa: S106
        Client(url="https://a.org", token="y"),  # type: ignore[arg-type] # noqa: S106
    ),
    "__checkpoint_key__ says what counts": (Keyed("v1", noise=1), Keyed("v1", noise=object())),
    "steps of months are equal": (pd.DateOffset(months=1), pd.DateOffset(months=1)),
    "steps with holidays are equal": (
        pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]),
        pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]),
    ),
    "scalars of Arrow are equal": (pa.scalar("a"), pa.scalar("a")),
    "a partial equals itself": (partial(_double, x=1), partial(_double, x=1)),
    "two closures over equal values are one": (_scale(2), _scale(2)),
    "where a lambda stands does not count": (lambda x: x + 1,
                                             lambda x: x + 1),
    "a function equals itself": (_double, _double),
    "a bound method counts with its owner": (", ".join, ", ".join),
    "an itemgetter equals an equal one": (operator.itemgetter(1, 2), operator.itemgetter(1, 2)),
    "array layout does not count: order": (_grid.T, np.ascontiguousarray(_grid.T)),
    "array layout does not count: strides": (np.arange(10)[::2], np.array([0, 2, 4, 6, 8])),
    "array layout does not count: Fortran": (np.asfortranarray(_grid), _grid),
    "array of texts equals itself": (np.array(["a", "bc"]), np.array(["a", "bc"])),
    "array of bytes equals itself": (np.array([b"a", b"bc"]), np.array([b"a", b"bc"])),
    "array of moments equals itself": (
        np.array(["2026-01-01"], "M8[D]"),
        np.array(["2026-01-01"], "M8[D]"),
    ),
    "array of objects counts by value": (
        np.array([1, "a", None], object),
        np.array([1, "a", None], object),
    ),
    "array of new style texts counts by value": (
        np.array(["a", "b"], np.dtypes.StringDType()),
        np.array(["a", "b"], np.dtypes.StringDType()),
    ),
    "the gaps in a record array do not count": (
        np.frombuffer(b"\1\0\0\0\2\0\0\0", np.dtype("i1,i4", align=True)),
        np.frombuffer(b"\1\7\7\7\2\0\0\0", np.dtype("i1,i4", align=True)),
    ),
    "an empty array equals itself": (np.empty((0, 3)), np.zeros((0, 3))),
    "a read-only array equals a writable one": (np.frombuffer(b"ab", "u1"), np.array([97, 98], "u1")),
    "a dtype equals itself": (np.dtype("f8"), np.dtype(float)),
    "a polars frame equals its copy": (_frame, _frame.clone()),
    "chunks of a polars frame do not count": (
        pl.concat([_frame, _frame], rechunk=False),
        pl.concat([_frame, _frame], rechunk=True),
    ),
    "a polars slice equals its copy": (_frame[1:], pl.DataFrame({"a": [2], "b": [None]}, schema=_frame.schema)),
    "a polars series equals its copy": (pl.Series("a", [1, 2]), pl.Series("a", [1, 2])),
    "a polars dtype equals itself": (pl.Datetime("us"), pl.Datetime("us")),
    "a pandas frame equals its copy": (_table, _table.copy()),
    "a pandas series equals its copy": (_table["a"], _table["a"].copy()),
    "a pandas index equals its copy": (pd.Index([1, 2], name="i"), pd.Index([1, 2], name="i")),
    "a MultiIndex equals its copy": (
        pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
        pd.MultiIndex.from_arrays([[1, 2], ["a", "b"]]),
    ),
    "a pandas array equals its copy": (pd.array([1, None], "Int64"), pd.array([1, None], "Int64")),
    "a categorical dtype equals itself": (
        pd.CategoricalDtype(["a", "b"]),
        pd.CategoricalDtype(["a", "b"]),
    ),
    "a Timestamp equals itself": (pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-01")),
    "NA equals itself": (pd.NA, pd.NA),
    "NaT equals itself": (pd.NaT, pd.NaT),
    "chunks of an Arrow table do not count": (
        pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2]})]),
        pa.table({"a": [1, 2]}),
    ),
    "a sliced Arrow array equals its copy": (pa.array([1, 2, 3])[1:], pa.array([2, 3])),
    "an Arrow type equals itself": (pa.list_(pa.int8()), pa.list_(pa.int8())),
    "a type hint equals itself": (dict[str, int], dict[str, int]),
}  # fmt: skip

DIFFERENT: Final[dict[str, tuple[Any, Any]]] = {
    "what a derived tuple holds counts": (_pair_with("a"), _pair_with("b")),
    "the order of a derived ordered dict counts": (_moved("a"), _moved("b")),
    "a dtype counts by the types of its parts": (
        np.dtype([("x", "f4", (3,))]),
        np.dtype([("x", "i4", (3,))]),
    ),
    "a dtype counts by its layout": (
        np.dtype({"names": ["x"], "formats": ["i4"], "offsets": [0], "itemsize": 8}),
        np.dtype({"names": ["x"], "formats": ["i4"], "offsets": [4], "itemsize": 8}),
    ),
    "a derived list counts by its items": (_list_of(1), _list_of(2)),
    "a derived list counts by its fields": (_listed(1), _listed(2)),
    "a derived list is no list": (_list_of(1), [1]),
    "a derived text counts by its text": (Name("a"), Name("b")),
    "a derived dict counts by its values": (Table(a=1), Table(a=2)),
    "a derived dict counts by its order": (Table(a=1, b=2), Table(b=2, a=1)),
    "an expression counts": (pl.col("loeuf") < 0.35, pl.col("loeuf") < 0.5),
    "expressions count by name": (pl.col("a") + 1, pl.col("b") + 1),
    "a selector counts": (cs.numeric(), cs.string()),
    "a condition counts": (pl.when(pl.col("a")).then(1), pl.when(pl.col("a")).then(2)),
    "a condition counts by all of it": (
        pl.when(pl.col("a")).then(1).when(pl.col("b")).then(2),
        pl.when(pl.col("a")).then(1).when(pl.col("b")).then(3),
    ),
    "a schema counts by type": (pl.Schema({"a": pl.Int8}), pl.Schema({"a": pl.Int16})),
    "an address counts": (ipaddress.ip_address("::1"), ipaddress.ip_address("::2")),
    "a namespace of arguments counts": (argparse.Namespace(a=1), argparse.Namespace(a=2)),
    "a chain of maps counts": (ChainMap({"a": 1}), ChainMap({"a": 1}, {})),
    "a template counts": (string.Template("$a"), string.Template("$b")),
    "what is vectorised counts": (np.vectorize(_double), np.vectorize(_triple)),
    "1 is not True": (1, True),
    "0 is not False": (0, False),
    "1 is not 1.0": (1, 1.0),
    "1 is not a text": (1, "1"),
    "a text is not bytes": ("1", b"1"),
    "1 is not bytes": (1, b"1"),
    "True is not a text": (True, "True"),
    "True is not 1.0": (True, 1.0),
    "None is not a text": (None, "None"),
    "None is not False": (None, False),
    "None is not empty": (None, ""),
    "0.0 is not -0.0": (0.0, -0.0),
    "0.0 is not -0.0 in a long list": ([0.0] * 20, [-0.0] * 20),
    "1.0 is not complex": (1.0, 1 + 0j),
    "the sign of a complex zero counts": (complex(0, 0.0), complex(0, -0.0)),
    "NaN is not None": (_nan, None),
    "infinity has a sign": (math.inf, -math.inf),
    "big ints differ": (2**63, 2**64),
    "a big int has a sign": (2**70, -(2**70)),
    "2**63 is not -2**63": (2**63, -(2**63)),
    "bytes are not a bytearray": (b"a", bytearray(b"a")),
    "a text is case-sensitive": ("a", "A"),
    "a text is not normalised": ("é", "e\u0301"),
    "a text may hold a null": ("a\0", "a"),
    "a tuple is not a list": ((1, 2), [1, 2]),
    "an empty tuple is not an empty list": ((), []),
    "a list is not a deque": ([1], deque([1])),
    "the length of a deque counts": (deque([1], 2), deque([1], 3)),
    "texts do not run together": (("a", "b"), ("ab",)),
    "texts do not shift": (("ab", "c"), ("a", "bc")),
    "lists do not run together": ([[1], [2]], [[1, 2]]),
    "lists do not shift": ([[1, 2], 3], [1, [2, 3]]),
    "texts of a long list do not shift": (["ab", "c"] * 10, ["a", "bc"] * 10),
    "a long list counts its types": ([1] * 20, [1.0] * 20),
    "True in a long list is not 1": ([1] * 20, [1] * 19 + [True]),
    "a long list is not a long tuple": ([1] * 20, (1,) * 20),
    "a long list counts its order": (list(range(20)), list(range(19, -1, -1))),
    "a long list counts its length": ([0] * 20, [0] * 21),
    "big ints of a long list count": ([2**70] * 20, [2**71] * 20),
    "a set is not a frozenset": ({1}, frozenset({1})),
    "a set is not a list": ({1}, [1]),
    "an empty set is not an empty dict": (set(), {}),
    "a set counts its types": ({1}, {1.0}),
    "dict order counts": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "the order of a partial's names counts": (
        partial(dict, a=1, b=2),
        partial(dict, b=2, a=1),
    ),
    "a step of months counts its number": (pd.DateOffset(months=1), pd.DateOffset(months=2)),
    "a step counts what it is of": (pd.DateOffset(months=1), pd.DateOffset(days=1)),
    "a step counts how often": (pd.offsets.MonthEnd(1), pd.offsets.MonthEnd(2)),
    "a step counts its kind": (pd.offsets.MonthEnd(1), pd.offsets.MonthBegin(1)),
    "a step counts its holidays": (
        pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]),
        pd.offsets.CustomBusinessDay(holidays=["2020-01-02"]),
    ),
    "a step counts its calendar": (
        pd.offsets.CustomBusinessDay(calendar=np.busdaycalendar("1111100")),
        pd.offsets.CustomBusinessDay(calendar=np.busdaycalendar("1111000")),
    ),
    "a matrix is no array": (_grid.view(np.matrix), _grid),
    "a matrix counts its values": (_grid.view(np.matrix), (_grid + 1).view(np.matrix)),
    "an array of records counts its values": (
        _records("b", 2.0).view(np.recarray),
        _records("b", 3.0).view(np.recarray),
    ),
    "an array of records counts its names": (
        _records("b", 2.0).view(np.recarray),
        _records("c", 2.0).view(np.recarray),
    ),
    "a polynomial counts its factors": (np.poly1d([1, 2]), np.poly1d([1, 3])),
    "a scalar of Arrow counts its value": (pa.scalar(1), pa.scalar(2)),
    "a scalar of Arrow counts its type": (pa.scalar(1), pa.scalar(1, pa.int8())),
    "a scalar of Arrow may be missing": (pa.scalar(None, pa.int8()), pa.scalar(0, pa.int8())),
    "a scalar of Arrow is no column": (pa.scalar(1), pa.array([1])),
    "a layout of bytes counts": (struct.Struct("<i"), struct.Struct(">i")),
    "dict keys count their type": ({1: "a"}, {"1": "a"}),
    "a dict is not its items": ({"a": 1}, [("a", 1)]),
    "keys and values do not mix": ({"a": "b"}, {"b": "a"}),
    "an OrderedDict is not a dict": (OrderedDict(a=1), {"a": 1}),
    "a Counter is not a dict": (Counter("a"), {"a": 1}),
    "a defaultdict is not a dict": (defaultdict(list, a=1), {"a": 1}),
    "the default of a defaultdict counts": (defaultdict(list), defaultdict(int)),
    "a proxy is not a dict": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "a namespace is not a dict": (types.SimpleNamespace(a=1), {"a": 1}),
    "Ellipsis is not NotImplemented": (..., NotImplemented),
    "a range is not a list": (range(3), [0, 1, 2]),
    "the step of a range counts": (range(0, 4, 2), range(0, 4, 3)),
    "a slice is not a range": (slice(0, 3, 1), range(3)),
    "an array counts its type code": (array.array("i", [1]), array.array("l", [1])),
    "digits of a Decimal count": (Decimal("1.0"), Decimal("1.00")),
    "a Decimal is not a float": (Decimal(1), 1.0),
    "a Decimal is not a text": (Decimal(1), "1"),
    "a Fraction is not a Decimal": (Fraction(1), Decimal(1)),
    "a UUID is not a text": (uuid.UUID(int=5), str(uuid.UUID(int=5))),
    "flags of a pattern count": (re.compile("a"), re.compile("a", re.IGNORECASE)),
    "a pattern of bytes is not one of text": (re.compile("a"), re.compile(b"a")),
    "a date is not a datetime": (dt.date(2026, 2, 16), dt.datetime(2026, 2, 16)),  # noqa: DTZ001
    "a date is not a text": (dt.date(2026, 2, 16), "2026-02-16"),
    "a naive datetime is not an aware one": (_moment, _moment.replace(tzinfo=UTC)),
    "fold counts": (_autumn, _autumn.replace(fold=1)),
    "fold counts without a zone": (_moment, _moment.replace(fold=1)),
    "fold counts for a time": (dt.time(2, 30), dt.time(2, 30, fold=1)),
    "zones of one offset differ": (
        _moment.replace(tzinfo=BERLIN),
        _moment.replace(tzinfo=PARIS),
    ),
    "a zone is not its offset": (
        _moment.replace(tzinfo=BERLIN),
        _moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))),
    ),
    "UTC of zoneinfo is not UTC of datetime": (
        _moment.replace(tzinfo=UTC),
        _moment.replace(tzinfo=zoneinfo.ZoneInfo("UTC")),
    ),
    "the name of an offset counts": (
        dt.timezone(dt.timedelta(hours=1), "a"),
        dt.timezone(dt.timedelta(hours=1), "b"),
    ),
    "one moment in two zones": (
        _moment.replace(tzinfo=UTC),
        _moment.replace(tzinfo=UTC).astimezone(BERLIN),
    ),
    "an aware datetime does not take its neighbours": (
        [_moment.replace(tzinfo=BERLIN), _moment, "Europe/Berlin", dt.timedelta(hours=1)],
        [_moment, "Europe/Berlin", dt.timedelta(hours=1), _moment.replace(tzinfo=BERLIN)],
    ),
    "named zones differ": (BERLIN, PARIS),
    "a zone is not its name": (BERLIN, "Europe/Berlin"),
    "a timedelta is not its seconds": (dt.timedelta(seconds=1), 1.0),
    "a negative timedelta": (dt.timedelta(seconds=1), dt.timedelta(seconds=-1)),
    "enum members of one value differ by name": (Colour.RED, Colour.CRIMSON),
    "enum members differ by class": (Colour.RED, Shade.RED),
    "an IntEnum is not an int": (Level.LOW, 1),
    "a StrEnum is not a text": (Word.LOW, "low"),
    "an enum member is not its class": (Colour.RED, Colour),
    "flags differ": (Access.READ, Access.READ | Access.WRITE),
    "no flag is not a flag": (Access(0), Access.READ),
    "a namedtuple is not a tuple": (Pair(1, 2), (1, 2)),
    "namedtuples differ by class": (Pair(1, 2), Couple(1, 2)),
    "namedtuples differ by field names": (
        _pair("a", "b"),
        _pair("b", "a"),
    ),
    "fields of a dataclass count": (Options(1), Options(2)),
    "dataclasses differ by class": (Options(1), Choices(1)),
    "a dataclass is not its dict": (Options(1), dataclasses.asdict(Options(1))),
    "fields of a slotted dataclass count": (Slotted(1), Slotted(2)),
    "instances of the user's classes count by attributes": (Plain(a=1), Plain(a=2)),
    "instances differ by class": (Plain(a=1), Other(a=1)),
    "names of attributes count": (Plain(a=1), Plain(b=1)),
    "private slots count": (Private(1), Private(2)),
    "fields of a model count": (Model(depth=2), Model(depth=3)),
    "models differ by class": (Model(depth=2), Twin(depth=2)),
    "a stated default is not an unstated one": (Model(), Model(depth=1)),
    "extra fields of a model count": (Open(a=1), Open(a=2)),  # type: ignore[call-arg]
    "private values of a model count": (Guarded().seeded(1), Guarded().seeded(2)),
    "a model is not its dict": (Model(), Model().model_dump()),
    "a URL of a model counts": (
        Client(url="https://a.org", token="x"),  # type: ignore[arg-type] # noqa: S106
        Client(url="https://b.org", token="x"),  # type: ignore[arg-type] # noqa: S106
    ),
    "a secret is not nothing": (pydantic.SecretStr("a"), None),
    "__checkpoint_key__ differs": (Keyed("v1"), Keyed("v2")),
    "__checkpoint_key__ is not the plain value": (Keyed("v1"), "v1"),
    "__checkpoint_key__ counts with its class": (Keyed("v1"), KeyedOtherwise("v1")),
    "the function of a partial counts": (partial(_double, 1), partial(_triple, 1)),
    "the arguments of a partial count": (partial(_double, 1), partial(_double, 2)),
    "the names of a partial count": (partial(_double, a=1), partial(_double, b=1)),
    "functions count by code": (_double, _triple),
    "closure values count": (_scale(2), _scale(3)),
    "defaults of a function count": (_with_default(2), _with_default(3)),
    "lambdas count by code": (lambda x: x + 1, lambda x: x + 2),
    "a function is not its name": (_double, "_double"),
    "foreign functions count by name": (json.dumps, json.loads),
    "builtin functions count by name": (len, sorted),
    "ufuncs count by name": (np.log, np.exp),
    "functions of numpy count by name": (np.mean, np.median),
    "methods of builtin classes count by name": (str.upper, str.lower),
    "methods count with the object that they are bound to": (", ".join, "; ".join),
    "bound methods of the user's": (Lazy(1).warmed, Lazy(2).warmed),
    "itemgetters differ": (operator.itemgetter(1), operator.itemgetter(2)),
    "builtin classes differ": (int, str),
    "foreign classes differ": (dt.date, dt.datetime),
    "classes of the user's differ": (Plain, Colour),
    "a class is not its name": (int, "int"),
    "type hints differ": (dict[str, int], dict[str, str]),
    "a numpy int is not an int": (np.int64(1), 1),
    "a numpy float is not a float": (np.float64(1), 1.0),
    "a numpy bool is not a bool": (np.True_, True),
    "a numpy text is not a text": (np.str_("a"), "a"),
    "numpy scalars differ by dtype": (np.int32(1), np.int64(1)),
    "a numpy scalar is not an array": (np.int64(1), np.array(1)),
    "units of numpy moments count": (np.datetime64(1, "D"), np.datetime64(1, "s")),
    "the dtype of an array counts": (np.array([1, 2]), np.array([1, 2], "i4")),
    "the byte order of an array counts": (np.array([1], "<i4"), np.array([1], ">i4")),
    "the shape of an array counts": (_grid, _grid.reshape(3, 2)),
    "the shape of an empty array counts": (np.empty((0, 3)), np.empty((3, 0))),
    "an array is not its transpose": (_grid.T, _grid.reshape(3, 2)),
    "values of an array count": (_grid, _grid + 1),
    "-0.0 in an array counts": (np.array([0.0]), np.array([-0.0])),
    "an array is not a list": (np.array([1, 2]), [1, 2]),
    "moments of an array count": (
        np.array(["2026-01-01"], "M8[D]"),
        np.array(["2026-01-02"], "M8[D]"),
    ),
    "texts of an array count": (np.array(["a"]), np.array(["b"])),
    "objects of an array count": (np.array([1], object), np.array([True], object)),
    "fields of a record array count by name": (
        np.zeros(1, [("a", "i4")]),
        np.zeros(1, [("b", "i4")]),
    ),
    "fields of a record array count by value": (
        np.array([(1, 2.0)], "i4,f8"),
        np.array([(1, 3.0)], "i4,f8"),
    ),
    "dtypes differ": (np.dtype("f4"), np.dtype("f8")),
    "cells of a polars frame count": (_frame, _frame.with_columns(a=pl.lit(3))),
    "names of a polars frame count": (_frame, _frame.rename({"a": "c"})),
    "dtypes of a polars frame count": (_frame, _frame.cast({"a": pl.Int32})),
    "row order of a polars frame counts": (_frame, _frame.reverse()),
    "a polars frame is not a pandas frame": (_frame, _table),
    "a polars series is not a frame": (pl.Series("a", [1]), pl.DataFrame({"a": [1]})),
    "the name of a polars series counts": (pl.Series("a", [1]), pl.Series("b", [1])),
    "values of a polars series count": (pl.Series("a", [1]), pl.Series("a", [2])),
    "polars dtypes differ": (pl.Int8, pl.Int16),
    "arguments of a polars dtype count": (pl.Datetime("us"), pl.Datetime("ms")),
    "the index of a pandas frame counts": (_table, _table.set_index(pd.Index([5, 6]))),
    "a pandas series is not a frame": (_table["a"], _table[["a"]]),
    "the name of a pandas series counts": (_table["a"], _table["a"].rename("b")),
    "no name of a series is not 0": (pd.Series([1]), pd.Series([1], name=0)),
    "the index of a pandas series counts": (pd.Series([1]), pd.Series([1], index=[7])),
    "the name of a pandas index counts": (pd.Index([1], name="a"), pd.Index([1], name="b")),
    "values of a pandas index count": (pd.Index([1, 2]), pd.Index([1, 3])),
    "a pandas array counts its dtype": (pd.array([1], "Int64"), pd.array([1], "Int32")),
    "categories of a dtype count": (pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["b"])),
    "a Timestamp is not a datetime": (pd.Timestamp(_moment), _moment),
    "a zone of a Timestamp counts": (
        pd.Timestamp("2026-01-01", tz="UTC"),
        pd.Timestamp("2026-01-01", tz="Europe/Berlin"),
    ),
    "a Timedelta is not a timedelta": (pd.Timedelta("1s"), dt.timedelta(seconds=1)),
    "NA is not None": (pd.NA, None),
    "NaT is not NA": (pd.NaT, pd.NA),
    "values of an Arrow table count": (pa.table({"a": [1]}), pa.table({"a": [2]})),
    "names of an Arrow table count": (pa.table({"a": [1]}), pa.table({"b": [1]})),
    "metadata of an Arrow table counts": (
        pa.table({"a": [1]}),
        pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
    ),
    "types of an Arrow array count": (pa.array([1], "int8"), pa.array([1], "int16")),
    "values of an Arrow array count": (pa.array([1, None]), pa.array([1, 2])),
    "Arrow types differ": (pa.int8(), pa.int16()),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_values_that_mean_the_same_have_one_digest(case: str) -> None:
    """What no function can tell apart, or should not, is one value."""
    one, other = SAME[case]
    assert _digest(one) == _digest(other)


@pytest.mark.parametrize("case", DIFFERENT)
def test_values_that_mean_different_things_have_different_digests(case: str) -> None:
    """What a function can tell apart is two values, alone and inside a list."""
    one, other = DIFFERENT[case]
    assert _digest(one) != _digest(other)
    assert _digest([one]) != _digest([other])


def test_the_table_shows_enough() -> None:
    """The table holds at least 150 pairs, each named once."""
    assert len(SAME) + len(DIFFERENT) >= 150
    assert not SAME.keys() & DIFFERENT.keys()


# --- nested values ----------------------------------------------------------------------

_hashable: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4)
)
_nested: Final = st.recursive(
    _hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(st.integers(), min_size=15, max_size=17)
        | st.dictionaries(_hashable, inner, max_size=3)
        | st.frozensets(_hashable, max_size=3)
    ),
    max_leaves=8,
)


def _spelled(value: Any) -> str:
    """Spell a value out so that two spellings are equal exactly when the values are."""
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"{kind}({','.join(map(_spelled, value))})"
    if isinstance(value, dict):
        return f"{kind}({','.join(f'{_spelled(k)}:{_spelled(v)}' for k, v in value.items())})"
    if isinstance(value, frozenset):
        return f"{kind}({','.join(sorted(map(_spelled, value)))})"
    return f"{kind}({value!r})"


@given(_nested, _nested)
def test_nested_values_are_equal_exactly_when_their_digests_are(one: Any, other: Any) -> None:
    """Equality to the type and the bit is equality of digests."""
    assert (values.digest(one) == values.digest(other)) == (_spelled(one) == _spelled(other))


@given(_nested)
def test_a_value_is_not_what_holds_it(value: Any) -> None:
    """A container never has the digest of what it contains."""
    digests = [values.digest(v) for v in (value, [value], (value,), [[value]], {"": value})]
    assert len(set(digests)) == len(digests)


@given(st.lists(_nested, max_size=5))
def test_pieces_tell_where_a_value_ends(items: list[Any]) -> None:
    """No encoding is the beginning of another one."""
    encoded = set()
    for item in items:
        pieces: list[bytes] = []
        values.encode(item, pieces.append)
        encoded.add(b"".join(pieces))
    assert not [a for a in encoded for b in encoded if a != b and b.startswith(a)]


def test_a_deep_value_has_a_digest() -> None:
    """Nesting as deep as people write it is no obstacle."""
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    assert values.digest(deep) == values.digest(list(deep))


# --- paths ------------------------------------------------------------------------------


def test_a_path_counts_by_name_and_content(tmp_path: Path) -> None:
    """Two files differ by name; one file differs from itself with another content."""
    file, other = tmp_path / "a.txt", tmp_path / "b.txt"
    file.write_text("one")
    other.write_text("one")
    before = values.digest(file)
    assert before != values.digest(other)
    file.write_text("other")
    assert before != values.digest(file)
    file.write_text("one")
    assert before == values.digest(Path(str(file)))


def test_a_path_is_not_a_text(tmp_path: Path) -> None:
    """A text is a text, even one that names a file."""
    assert values.digest(tmp_path) != values.digest(str(tmp_path))


def test_a_path_that_leads_nowhere_counts_by_name() -> None:
    """A path to nothing has a digest, which changes once there is something."""
    path = Path("not-there.txt")
    before = values.digest(path)
    assert before == values.digest(Path("not-there.txt")) != values.digest(Path("nor-this"))
    path.touch()
    assert values.digest(path) != before


def test_a_pure_path_counts_by_name_alone() -> None:
    """A pure path has no file; its flavour counts."""
    Path("a").touch()
    pure = values.digest(PurePosixPath("a"))
    assert pure == values.digest(PurePath("a")) if os.name == "posix" else True
    assert pure != values.digest(Path("a"))
    assert values.digest(PureWindowsPath("a/b")) != values.digest(PurePosixPath("a/b"))


def test_a_path_that_can_not_be_read_is_an_error() -> None:
    """A link that leads to itself has no content, and the error says which path it is."""
    Path("loop").symlink_to("loop")
    with pytest.raises(FingerprintError, match=r"options\['file'\].*can not be read"):
        values.digest({"file": Path("loop")}, path="options")


# --- what has no digest -----------------------------------------------------------------


class Stranger:
    """A class that nobody owns where no code is given."""


def _generator() -> Iterator[int]:
    yield 1


def _loop() -> list[Any]:
    items: list[Any] = []
    items.append([items])
    return items


def _ring() -> dict[str, Any]:
    ring: dict[str, Any] = {}
    ring["self"] = ring
    return ring


UNKNOWN: Final[dict[str, tuple[Callable[[], Any], str]]] = {
    "a generator": (_generator, "generator"),
    "an iterator": (lambda: iter([1]), "list_iterator"),
    "a map": (lambda: map(int, "1"), "map"),
    "a lock": (threading.Lock, r"_thread\.lock"),
    "a logger": (lambda: logging.getLogger("x"), r"logging\.Logger"),
    "an unknown object": (object, "object"),
    "a foreign instance": (threading.Event, r"threading\.Event"),
    "a random generator": (np.random.default_rng, "Generator"),
    "a module": (lambda: json, "module"),
    "a LazyFrame": (_frame.lazy, r"LazyFrame.*collect\(\)"),
    "a masked array": (lambda: np.ma.masked_array([1]), "MaskedArray"),
    "a subclass of a deque": (Queue, "Queue"),
    "a foreign subclass of dict": (http.cookies.SimpleCookie, "SimpleCookie"),
    "an expression that holds a function": (
        lambda: pl.col("a").map_batches(lambda column: column),
        "Expr",
    ),
    "a frame with objects": (
        lambda: pl.DataFrame({"a": [object()]}, schema={"a": pl.Object}),
        "DataFrame",
    ),
    "a list inside itself": (_loop, "list.*contains itself"),
    "a dict inside itself": (_ring, "dict.*contains itself"),
    "a zone without a name": (
        lambda: dt.datetime(2026, 1, 1, tzinfo=Stateful()),  # type: ignore[abstract]
        r"Stateful",
    ),
}


class Stateful(dt.tzinfo):
    """A zone of which nothing is known but what it answers."""

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_has_no_faithful_encoding_is_an_error(case: str) -> None:
    """The error names the way to the value, its type, and what to do."""
    make, names = UNKNOWN[case]
    with pytest.raises(FingerprintError, match=rf"options\['x'\]\[1\].*{names}") as caught:
        values.digest({"x": [0, make()]}, path="options", code_of=CODE_OF)
    assert caught.value.path.startswith("options['x'][1]")
    assert caught.value.cure


def test_open_files_and_sockets_are_errors() -> None:
    """Handles are no data."""
    with (
        Path("f").open("w", encoding="utf-8") as file,
        pytest.raises(FingerprintError, match=r"file.*TextIOWrapper"),
    ):
        values.digest(file, path="file")
    with socket.socket() as plug, pytest.raises(FingerprintError, match=r"plug.*socket"):
        values.digest(plug, path="plug")


WAYS: Final[dict[str, tuple[Any, str]]] = {
    "attribute": (Plain(a=Plain(lock=threading.Lock())), "x.a.lock"),
    "dataclass": (Options(threading.Lock()), "x.depth"),  # type: ignore[arg-type]
    "model": (Open(a=threading.Lock()), "x.__pydantic_extra__['a']"),  # type: ignore[call-arg]
    "key": ({(1, object): 1}, "x[…]"),
    "set": ({object()}, "x{…}"),
    "partial": (partial(_double, 1, k=object()), "x.keywords['k']"),
    "closure of partial": (partial(_double, object()), "x.args[0]"),
    "key method": (Keyed(threading.Lock()), "x.__checkpoint_key__()"),  # type: ignore[arg-type]
    "array": (np.array([1, object()], object), "x[1]"),
    "defaultdict": (defaultdict(None, {"a": object()}), "x['a']"),
    "namespace": (types.SimpleNamespace(a=object()), "x.a"),
    "deque": (deque([object()]), "x[0]"),
    "bound method": (Plain(lock=threading.Lock()).__init__, "x.__self__.lock"),  # type: ignore[misc]
}


@pytest.mark.parametrize("case", WAYS)
def test_an_error_names_the_way_to_the_value(case: str) -> None:
    """Whoever reads the error finds the value at once."""
    value, path = WAYS[case]
    if case == "key":
        value = {(1, object()): 1}
        path = "x[…][1]"
    with pytest.raises(FingerprintError, match="has no fingerprint") as caught:
        values.digest(value, path="x", code_of=CODE_OF)
    assert caught.value.path == path


def test_a_value_nested_too_deeply_is_an_error() -> None:
    """The interpreter's own limit is told as what it is."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(FingerprintError, match="nested too deeply"):
        values.digest(deep)
    while deep:
        deep = deep.pop()


def test_functions_need_someone_who_knows_their_code() -> None:
    """Without the walk over code a function has no digest."""
    with pytest.raises(FingerprintError, match="Pass data instead"):
        values.digest(_double)
    with pytest.raises(FingerprintError, match="__checkpoint_key__"):
        values.digest(Plain(a=1))


# --- teaching and secrets ---------------------------------------------------------------


def test_register_teaches_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered type counts by what its encoder returns, and no subclass does."""
    monkeypatch.setattr(values, "_ENCODERS", dict(values._ENCODERS))

    class Closed:
        def __init__(self, label: str) -> None:
            self.label = label

    class Within(Closed):
        pass

    values.register(Closed, lambda closed: closed.label)
    assert values.digest(Closed("a")) == values.digest(Closed("a"))
    assert values.digest(Closed("a")) != values.digest(Closed("b")) != values.digest("b")
    with pytest.raises(FingerprintError, match="Within"):
        values.digest(Within("a"))


def test_registered_types_of_one_name_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two types that share a name in two modules are two types."""
    monkeypatch.setattr(values, "_ENCODERS", dict(values._ENCODERS))
    kinds = [type("Thing", (), {"__module__": name}) for name in ("one", "other")]
    for kind in kinds:
        values.register(kind, lambda _: 1)
    assert values.digest(kinds[0]()) != values.digest(kinds[1]())


def test_a_secret_counts_by_a_one_way_digest() -> None:
    """The digest of a secret tells values apart and is no xxh3, which can be inverted."""
    one, other = values.secret_digest("token"), values.secret_digest("other")
    assert one == values.secret_digest("token") != other
    assert one != values.digest("token")


# --- the same everywhere ----------------------------------------------------------------

_REPORT: Final = r"""
import datetime as dt, enum, json, sys, zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import PurePosixPath
import re
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from usher_pipeline.fingerprint import values


@dataclass
class Options:
    depth: int


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


cases = {
    "none": None, "true": True, "int": 1, "big": 2**70, "float": 1.5, "nan": float("nan"),
    "complex": 1j, "text": "é\udc80", "bytes": b"a", "tuple": (1, "a"), "list": [1, [2]],
    "ints": list(range(20)), "floats": [0.5] * 20, "texts": ["a", "é"] * 10,
    "dict": {"b": 1, "a": 2}, "set": {"a", "b", "c", 1, 2.5}, "frozen": frozenset("abcdef"),
    "sets": {frozenset("ab"), frozenset("cd")}, "ordered": OrderedDict(a=1),
    "counter": Counter("aab"), "deque": deque([1], 3), "range": range(3),
    "slice": slice(1, None), "date": dt.date(2026, 2, 16), "ellipsis": ...,
    "moment": dt.datetime(2026, 2, 16, 12, tzinfo=dt.UTC),
    "berlin": dt.datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    "time": dt.time(1, 2), "delta": dt.timedelta(1, 2, 3), "decimal": Decimal("1.10"),
    "fraction": Fraction(1, 3), "uuid": uuid.UUID(int=1), "pattern": re.compile("a+"),
    "path": PurePosixPath("a/b"), "dataclass": Options(1), "enum": Colour.RED,
    "flag": Access.READ | Access.WRITE,
    "array": np.arange(6.0).reshape(2, 3), "array of texts": np.array(["a", "bc"]),
    "array of moments": np.array(["2026-01-01"], "M8[D]"), "scalar": np.float32(1.5),
    "record": np.array([(1, 2.0)], "i4,f8"),
    "polars": pl.DataFrame({"a": [1, None], "b": ["x", "y"]}), "series": pl.Series("a", [1]),
    "pandas": pd.DataFrame({"a": [1, 2]}), "column": pd.Series([1.0], name="a"),
    "index": pd.Index([1, 2]), "arrow": pa.table({"a": [1, 2]}), "stamp": pd.Timestamp(0),
}
digests = {name: values.digest(value) for name, value in cases.items()}
digests["secret"] = values.secret_digest("token")
print(json.dumps(digests))
"""


def reported(seed: str = "0") -> dict[str, str]:
    """Return the digests that a fresh process finds."""
    result = subprocess.run(
        [sys.executable, "-c", _REPORT],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(result.stdout)
    return found


def test_steps_of_dates_have_no_order_of_a_process() -> None:
    """What pandas has in the order of a set is the same under every hash seed."""
    program = (
        "import pandas as pd\nfrom usher_pipeline.fingerprint.values import digest\n"
        "print(digest(pd.DateOffset(months=1, days=2, hours=3, years=4)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "3")
    }
    assert len(found) == 1


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_digests_are_the_same_in_every_process(seed: str) -> None:
    """A fresh process with another hash seed, on any Python, finds the golden digests."""
    assert reported(seed) == GOLDEN
