"""An edit counts exactly when it can change what a function returns."""

from __future__ import annotations
import __future__

import ast
import gc
import importlib
import json
import linecache
import os
import subprocess
import sys
import textwrap
import threading
import types
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from usher_pipeline.fingerprint import syntax
from usher_pipeline.fingerprint.code import code_digest, graph_of
from usher_pipeline.fingerprint.graph import live_digest
from usher_pipeline.fingerprint.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRIVER: Final = Path(__file__).with_name("code_versions.py")
GOLDEN: Final = json.loads(Path(__file__).with_name("golden.json").read_text())["code"]

MAIN: Final = '''\
"""The roots, one for each way in which code leads to code."""

import asyncio
import functools
import importlib
import json
import logging
import math
import os
import os.path
import threading
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache, partial, wraps
from pathlib import Path
from typing import Generic, NamedTuple, Optional, TypeVar

import pydantic

import lib
import pkg
import pkg.genes as renamed
import pkg.genes
from lib import checkpoint, foreign, imported as borrowed, stamped, traced
from pkg import genes
from pkg.genes import clean
from pkg.genes import clean as washed

from . import deep
from .constants import LIMIT

Kind = TypeVar("Kind")
THRESHOLD = 5
WEIGHTS = {"a": 1}
api_token = "s3cret"
logger = logging.getLogger(__name__)
lock = threading.Lock()
here = Path("no-such-file.txt")
double = lambda x: x * 2  # the lambda of a global
twins = (lambda x: x + 1, lambda x: x - 1)


def plain(x, y=1):
    """Add two numbers."""
    # carefully
    total = x + y
    return total


def annotated(x: int, y: "Optional[int]" = None) -> int:
    z: int = x
    w: int
    return z


def calls_helper(x):
    return helper(x)


def helper(x, by=2):
    return deep.multiply(x, by)


def unused_helper(x):
    return x


def by_module(x):
    return genes.normalise(x)


def by_name(x):
    return clean(x)


def by_other_name(x):
    return washed(x)


def by_alias(x):
    return renamed.normalise(x)


def by_chain(x):
    return pkg.genes.normalise(x)


def by_inner_import(x):
    from pkg.genes import normalise
    return normalise(x)


def by_inner_relative_import(x):
    from .genes import normalise as tidy
    return tidy(x)


def by_inner_module_import(x):
    import pkg.genes as inside
    return inside.normalise(x)


def by_inner_plain_import(x):
    import pkg.genes
    return pkg.genes.normalise(x)


def by_inner_star(x):
    module = genes
    return module.normalise(x)


def by_constant(x):
    return x > THRESHOLD


def by_far_constant(x):
    return x > LIMIT


def by_module_constant(x):
    return x > genes.CUTOFF


def by_dict(x):
    return WEIGHTS[x]


def by_secret(x):
    return x, api_token


def by_increment(x):
    global THRESHOLD
    THRESHOLD += x
    return 1


def by_global_statement(x):
    global THRESHOLD
    THRESHOLD = 7
    return x


def closing(factor):
    def scaled(x):
        return x * factor
    return scaled


by_closure = closing(3)


class Base:
    shift = 1

    def moved(self, x):
        return x + self.shift


class Scaler(Base):
    """Scales."""

    factor = 2

    def __init__(self, start):
        self.start = start

    def scale(self, x):
        """Scale."""
        return self.moved(x) * self.factor + self.ratio + self.slow + self.fixed(x)

    @property
    def ratio(self):
        return 0.5

    @cached_property
    def slow(self):
        return 7

    @staticmethod
    def fixed(x):
        return x + 10

    @classmethod
    def build(cls):
        return cls(start())

    def __repr__(self):
        return "Scaler"


def start():
    return 3


def by_class(x):
    return Scaler.build().scale(x)


@dataclass
class Options:
    depth: int = 3
    names: list = field(default_factory=lambda: ["a"])
    bare: int = field(kw_only=True, default=1)


def by_dataclass():
    return Options()


class Row(NamedTuple):
    left: int
    right: int = 2


def by_namedtuple():
    return Row(1)


class Colour(Enum):
    RED = 1
    BLUE = 2

    def shout(self):
        return self.name.upper()


def by_enum():
    return Colour.RED


def logged(function):
    @wraps(function)
    def around(*args):
        return function(*args) + 1
    return around


def unwrapped(function):
    def around(*args):
        return function(*args) + 1
    return around


@logged
def decorated(x):
    return x * 3


@unwrapped
def decorated_barely(x):
    return x * 3


@traced(level=1)
def decorated_abroad(x):
    return x * 3


@stamped
def decorated_abroad_barely(x):
    return x * 3


@lru_cache(maxsize=8)
def cached(x):
    return x * 3


def by_decorated(x):
    return decorated(x) + decorated_barely(x)


def by_decorated_abroad(x):
    return decorated_abroad(x) + decorated_abroad_barely(x)


def by_cached(x):
    return cached(x)


third = partial(helper, by=3)


def by_partial(x):
    return third(x)


STEPS = {"tidy": clean, "double": double}


try:
    import not_there_at_all
except ImportError:

    @dataclass
    class Branched:
        x: list = field(default_factory=lambda: [55])


class Model(pydantic.BaseModel):
    depth: int = 77


class Item(pydantic.BaseModel):
    low: int = 31


class Page(pydantic.BaseModel, Generic[Kind]):
    item: Kind


class ItemPage(Page[Item]):
    pass


class Quoted(pydantic.BaseModel):
    item: "Item"


CUTOFF = 5


class Scaled:
    def __init__(self, fn, k):
        functools.update_wrapper(self, fn)
        self.fn, self.k = fn, k

    def __call__(self, x):
        return self.fn(x) * self.k


def eleven(x):
    return x + 11


composed = lib.compose(eleven)
scaled = Scaled(eleven, 2)


class Kinds:
    @functools.singledispatchmethod
    def name(self, x):
        return "other"

    @name.register
    def _(self, x: int):
        return 'int'


def by_branch(x):
    return Branched().x


def by_model(x):
    return Model().depth


def by_generic(x):
    return ItemPage(item={}).item.low


def by_quoted(x):
    return Quoted(item={}).item.low


def by_query(x):
    return "a > @CUTOFF"


def by_getattr(x):
    return getattr(pkg, "genes").clean(x)


def by_composed(x):
    return composed(x)


def by_scaled(x):
    return scaled(x)


def by_methods(x):
    return Kinds().name(x)


class Level(Enum):
    LOW = "low"


Level.LOW.rank = 1


@traced(1)
def hinted(x: int):
    return x


def by_levels(x):
    return Level.LOW.rank


def by_traced_hint(x):
    return hinted(x)


RULE = [lib.Text("loeuf")]
SETTINGS = {"lock": lock, "depth": 3}


class Client:
    def __init__(self, size):
        self.size = size
        self.lock = threading.Lock()

    def twice(self):
        return self.size * 2


class Defaults(dict):
    def __missing__(self, key):
        return 0


CLIENT = Client(500)
DEFAULTS = Defaults(a=1)


def by_expression(x):
    return RULE


def by_settings(x):
    return SETTINGS["depth"] + x


def by_client(x):
    return CLIENT.twice() + x


def by_derived(x):
    return DEFAULTS[x]


@functools.singledispatch
def describe(x):
    return str(x)


@describe.register
def of_int(x: int):
    return x + 100


def by_dispatch(x):
    return describe(x)


def counted(x):
    return x < counted.limit


counted.limit = 3


def by_attribute(x):
    return counted(x)


def by_environment(x):
    return os.environ.get("DEPTH", x), importlib.import_module("json"), by_class.__doc__


def by_folder(x):
    return HERE / x


HERE = Path(__file__).parent


def by_registry(x):
    return STEPS["tidy"](x)


def by_lambda(x):
    return double(x)


def by_lambda_pair(x):
    return twins[0](x)


def recursive(n):
    return 1 if n == 0 else n * recursive(n - 1)


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


def by_cycle(x):
    return genes.around(x)


def start_of_cycle(x):
    return x + 1


def nested(x):
    def inner(y, by=2):
        return helper(y) * by
    return inner(x)


def by_nested_class(x):
    @dataclass
    class Point:
        left: int
        right: int = 0
    return Point(x)


def by_comprehension(rows):
    return [helper(row) for row in rows if row > THRESHOLD]


def by_fstring(x):
    return f"a{x:>{THRESHOLD}}b" f"c{helper(x)!r}"


def by_match(x):
    match x:
        case {"kind": "a", **rest}:
            return rest
        case [1, *_]:
            return THRESHOLD
    return None


def by_walrus(x):
    if (y := helper(x)) > 2:
        return y
    return 0


async def fetched(x):
    return helper(x)


def by_async(x):
    return asyncio.run(fetched(x))


def by_foreign(x):
    return foreign(x), json.dumps(x), math.sqrt(x), os.path.join("a", str(x))


def by_borrowed(x):
    return borrowed(x)


def by_library(x):
    return lib.foreign(x)


def by_eval(x):
    return eval("x + 1")


def by_lock(x):
    with lock:
        return x


def by_logger(x):
    logger.info("x")
    return x


def by_file(x):
    return here.read_text()


def by_own_file(x):
    return Path(__file__).name, __name__


def by_missing(x):
    return not_there(x)


def by_text(x):
    return "é\\U0001fae8", b"a", 0xFFFFFFFFFFFFFFFFFFFF, 1.5, 2j, ...


@checkpoint(name="stored", sources=["gnomad"])
def stored(x=1):
    return helper(x)


@logged
@checkpoint(name="below")
@logged
def stored_between(x):
    return x


@checkpoint(name="pinned", version="2")
def pinned(x):
    return helper(x)


def by_stored(x):
    return stored(x), stored_between(x)


def by_pinned(x):
    return pinned(x)


def by_everything(x):
    return (
        plain(x), annotated(x), by_class(x), by_dataclass(), by_namedtuple(), by_enum(),
        by_decorated(x), by_partial(x), by_registry(x), by_lambda(x), even(x), by_cycle(x),
        nested(x), by_nested_class(x), by_comprehension([x]), by_fstring(x), by_match(x),
        by_walrus(x), by_async(x), by_foreign(x), by_text(x), by_decorated_abroad(x),
        by_closure(x), by_lambda_pair(x), by_file(x), by_own_file(x), by_cached(x),
        by_stored(x), by_borrowed(x),
    )
'''

GENES: Final = '''\
"""Helpers in another module."""

import pkg.main

CUTOFF = 0.5


def normalise(x):
    return x.strip()


def clean(x):
    return normalise(x).lower()


def around(x):
    return pkg.main.start_of_cycle(x)
'''

DEEP: Final = '''\
"""Helpers of helpers."""


def multiply(x, by):
    return x * by
'''

LIB: Final = '''\
"""A library that is installed."""

from functools import wraps


class Text(str):
    def __checkpoint_key__(self):
        return str(self)


def compose(*functions):
    def run(x):
        for function in functions:
            x = function(x)
        return x

    return run


def foreign(x):
    return x


def other(x):
    return x


def imported(x):
    return x


def traced(level):
    def decorate(function):
        @wraps(function)
        def around(*args):
            return function(*args)
        return around
    return decorate


def stamped(function):
    def around(*args):
        return function(*args)
    return around


class Checkpoint:
    def __init__(self, function, options):
        self.__usher_version__ = options.get("version")
        self.__usher_instance__ = ()
        self.__wrapped__ = function

    @property
    def __usher_function__(self):
        return self.__wrapped__

    def __call__(self, *args):
        return self.__wrapped__(*args)


def checkpoint(**options):
    return lambda function: Checkpoint(function, options)


checkpoint.__usher_decorator__ = True
'''

FILES: Final = {
    "pkg/__init__.py": "",
    "pkg/main.py": MAIN,
    "pkg/genes.py": GENES,
    "pkg/deep.py": DEEP,
    "pkg/constants.py": "LIMIT = 10\n",
    "site-packages/lib/__init__.py": LIB,
}


@dataclass(frozen=True)
class Edit:
    """A change of the package, seen from one function.

    Attributes:
        root: The function.
        old: What is replaced.
        new: What replaces it.
        label: The part that has to change; nothing if the edit must not count.
        file: Where.
        moved: Other files that change, whole.
        module: Where the function lies.
    """

    root: str
    old: str = ""
    new: str = ""
    label: str = ""
    file: str = "pkg/main.py"
    moved: dict[str, str | None] = field(default_factory=dict)
    module: str = "pkg.main"

    def files(self) -> dict[str, str]:
        """Return the files after the edit."""
        text = FILES[self.file]
        assert self.old in text, self.old
        files = FILES | {self.file: text.replace(self.old, self.new, 1)} if self.old else FILES
        return {k: v for k, v in (files | self.moved).items() if v is not None}


HELPER: Final = "helper helper() in main.py"
CLASS: Final = "class Scaler"

EDITS: Final[dict[str, Edit]] = {
    # what carries no meaning
    "a comment": Edit("plain", "# carefully", "# boldly"),
    "no comment": Edit("plain", "    # carefully\n", ""),
    "a docstring": Edit("plain", '"""Add two numbers."""', '"""Sum."""'),
    "no docstring": Edit("plain", '    """Add two numbers."""\n', ""),
    "formatting": Edit("plain", "total = x + y", "total = (\n        x +\n        y)"),
    "blank lines above": Edit("plain", "def plain", "\n\n\n\ndef plain"),
    "an annotation of a parameter": Edit("annotated", "x: int,", "x: float,"),
    "no annotation": Edit("annotated", "x: int,", "x,"),
    "an annotation of the result": Edit("annotated", "-> int:", "-> 'float':"),
    "an annotation of a local": Edit("annotated", "z: int = x", "z: float = x"),
    "a bare annotation": Edit("annotated", "    w: int\n", ""),
    "the spelling of a number": Edit("by_text", "0xFFFFFFFFFFFFFFFFFFFF", str(2**80 - 1)),
    "the prefix of a text": Edit("by_text", '"é', 'u"é'),
    "an unused helper": Edit("calls_helper", "def unused_helper(x):\n    return x", "def unused_helper(x):\n    return 7"),
    "an unused import": Edit("plain", "import json", "import json, csv"),
    "an unused constant": Edit("plain", "THRESHOLD = 5", "THRESHOLD = 6"),
    "another function of the module": Edit("by_module", "normalise(x).lower()", "normalise(x).upper()", file="pkg/genes.py"),
    "an unused method's class": Edit("plain", "factor = 2", "factor = 3"),
    "the order of functions": Edit("calls_helper", "def calls_helper(x):\n    return helper(x)\n\n\ndef helper(x, by=2):\n    return deep.multiply(x, by)\n", "def helper(x, by=2):\n    return deep.multiply(x, by)\n\n\ndef calls_helper(x):\n    return helper(x)\n"),
    "the docstring of a class": Edit("by_class", '"""Scales."""', '"""Bends."""'),
    "the docstring of a method": Edit("by_class", '"""Scale."""', '"""Bend."""'),
    "the order of methods": Edit("by_class", "    @staticmethod\n    def fixed(x):\n        return x + 10\n\n    @classmethod\n    def build(cls):\n        return cls(start())\n", "    @classmethod\n    def build(cls):\n        return cls(start())\n\n    @staticmethod\n    def fixed(x):\n        return x + 10\n"),
    "the pieces of an f-string": Edit("by_fstring", 'b" f"c', "bc"),
    "the quotes of an f-string": Edit("by_fstring", 'f"c{helper(x)!r}"', "f'c{helper(x)!r}'"),
    "the spelling of a default": Edit("calls_helper", "by=2):\n    return deep", "by=1 + 1):\n    return deep"),
    "the default of the function itself": Edit("plain", "y=1", "y=2"),
    "a foreign library": Edit("by_foreign", "def foreign(x):\n    return x", "def foreign(x):\n    return -x", file="site-packages/lib/__init__.py"),
    "a foreign decorator": Edit("by_decorated_abroad", "return function(*args)", "return -function(*args)", file="site-packages/lib/__init__.py"),
    "options of the checkpoint": Edit("stored", 'name="stored", sources=["gnomad"]', 'name="other", max_age="7d"'),
    "options of a checkpoint that is reached": Edit("by_stored", 'name="stored", sources=["gnomad"]', 'name="other"'),
    "the code of a checkpoint with a version": Edit("by_pinned", "deep.multiply(x, by)", "deep.multiply(by, x)"),
    "the name of a logger": Edit("by_logger", "getLogger(__name__)", 'getLogger("other")'),
    "a helper moves to another file": Edit(
        "by_name",
        moved={
            "pkg/genes.py": "import pkg.main\nfrom pkg.moved import clean, normalise\nCUTOFF = 0.5\n",
            "pkg/moved.py": GENES,
        },
    ),
    "the file is renamed": Edit(
        "by_name",
        moved={"pkg/main.py": None, "pkg/moved.py": MAIN, "pkg/genes.py": GENES.replace("pkg.main", "pkg.moved")},
        module="pkg.moved",
    ),
    "the package is renamed": Edit(
        "calls_helper",
        moved={name.replace("pkg/", "other/"): text.replace("pkg", "other") for name, text in FILES.items() if name[:3] == "pkg"},
        module="other.main",
    ),
    "where the file lies": Edit("by_own_file", moved={"pkg/main.py": None, "pkg/moved.py": MAIN, "pkg/genes.py": GENES.replace("pkg.main", "pkg.moved")}, module="pkg.moved"),
    "what a module says about itself": Edit("by_module", '"""Helpers in another module."""', '"""Other."""', file="pkg/genes.py"),
    # the function itself
    "a local is renamed": Edit("plain", "total = x + y\n    return total", "whole = x + y\n    return whole", "plain()"),
    "the body": Edit("plain", "x + y", "x - y", "plain()"),
    "a constant in the body": Edit("by_global_statement", "THRESHOLD = 7", "THRESHOLD = 8", "by_global_statement()"),
    "a parameter is renamed": Edit("plain", "def plain(x, y=1):", "def plain(x, y=1, *z):", "plain()"),
    "a parameter by name alone": Edit("plain", "def plain(x, y=1)", "def plain(x, *, y=1)", "plain()"),
    "the escape of a text": Edit("by_text", "\\U0001fae8", "\\U0001fae9", "by_text()"),
    "the type of a constant": Edit("by_text", "1.5", "True", "by_text()"),
    "one is not true": Edit("plain", "x + y", "x + 1", "plain()"),
    "a comprehension": Edit("by_comprehension", "row > THRESHOLD", "row >= THRESHOLD", "by_comprehension()"),
    "a list is not a set": Edit("by_comprehension", "[helper(row) for row in rows if row > THRESHOLD]", "{helper(row) for row in rows if row > THRESHOLD}", "by_comprehension()"),
    "an f-string": Edit("by_fstring", 'f"a{', 'f"A{', "by_fstring()"),
    "the conversion of an f-string": Edit("by_fstring", "!r", "!s", "by_fstring()"),
    "the format of an f-string": Edit("by_fstring", ":>{", ":<{", "by_fstring()"),
    "a match": Edit("by_match", '"kind": "a"', '"kind": "b"', "by_match()"),
    "the rest of a match": Edit("by_match", "[1, *_]", "[1, _]", "by_match()"),
    "a walrus": Edit("by_walrus", "> 2", "> 3", "by_walrus()"),
    "a nested function": Edit("nested", "helper(y) * by", "helper(y) + by", "nested()"),
    "the default of a nested function": Edit("nested", "y, by=2", "y, by=3", "nested()"),
    "a nested class": Edit("by_nested_class", "left: int\n        right: int = 0", "left: int\n        middle: int\n        right: int = 0", "by_nested_class()"),
    "a decorator below the checkpoint": Edit("by_stored", '@checkpoint(name="below")\n@logged\n', '@checkpoint(name="below")\n', "helper stored_between() in main.py"),
    # helpers
    "a helper": Edit("calls_helper", "deep.multiply(x, by)", "deep.multiply(by, x)", HELPER),
    "a helper of a helper": Edit("calls_helper", "x * by", "by * x", "helper multiply() in deep.py", "pkg/deep.py"),
    "the default of a helper": Edit("calls_helper", "by=2):\n    return deep", "by=4):\n    return deep", "default by in helper helper() in main.py"),
    "another helper is called": Edit("calls_helper", "return helper(x)", "return unused_helper(x)", "calls_helper()"),
    "a helper by `from m import f`": Edit("by_name", ".lower()", ".upper()", "helper clean() in genes.py", "pkg/genes.py"),
    "a helper by `from m import f as g`": Edit("by_other_name", ".lower()", ".upper()", "helper clean() in genes.py", "pkg/genes.py"),
    "`from m import g as f`": Edit("by_name", "import clean\n", "import normalise as clean\n", "helper clean() in genes.py"),
    "a helper by `import m`": Edit("by_module", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "a helper by `import m as n`": Edit("by_alias", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "a helper by `import p.m`": Edit("by_chain", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "an import inside": Edit("by_inner_import", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "a relative import inside": Edit("by_inner_relative_import", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "a module import inside": Edit("by_inner_module_import", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "a plain import inside": Edit("by_inner_plain_import", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "a module that is handed on": Edit("by_inner_star", "x.strip()", "x.rstrip()", "helper normalise() in genes.py", "pkg/genes.py"),
    "a helper of a module that is handed on": Edit("by_inner_star", "CUTOFF = 0.5", "CUTOFF = 0.6", "CUTOFF in module pkg.genes", "pkg/genes.py"),
    "recursion": Edit("recursive", "n * recursive", "n + recursive", "recursive()"),
    "mutual recursion": Edit("even", "n != 0 and", "n > 0 and", "helper odd() in main.py"),
    "a cycle of modules": Edit("by_cycle", "def start_of_cycle(x):\n    return x + 1", "def start_of_cycle(x):\n    return x + 2", "helper start_of_cycle() in main.py"),
    "an async helper": Edit("by_async", "async def fetched(x):\n    return helper(x)", "async def fetched(x):\n    return -helper(x)", "helper fetched() in main.py"),
    "a helper in a comprehension": Edit("by_comprehension", "deep.multiply(x, by)", "deep.multiply(by, x)", HELPER),
    "a helper in an f-string": Edit("by_fstring", "deep.multiply(x, by)", "deep.multiply(by, x)", HELPER),
    "a helper in a nested function": Edit("nested", "deep.multiply(x, by)", "deep.multiply(by, x)", HELPER),
    "a name that was missing": Edit("by_missing", "def by_missing", "def not_there(x):\n    return x\n\n\ndef by_missing", "helper not_there() in main.py"),
    "a builtin is shadowed": Edit("by_eval", "def by_eval", "def eval(x):\n    return x\n\n\ndef by_eval", "helper eval() in main.py"),
    # constants
    "a constant": Edit("by_constant", "THRESHOLD = 5", "THRESHOLD = 6", "THRESHOLD in by_constant()"),
    "the type of a global": Edit("by_constant", "THRESHOLD = 5", "THRESHOLD = 5.0", "THRESHOLD in by_constant()"),
    "a constant of another module": Edit("by_far_constant", "LIMIT = 10", "LIMIT = 11", "LIMIT in by_far_constant()", "pkg/constants.py"),
    "a constant by `import m`": Edit("by_module_constant", "CUTOFF = 0.5", "CUTOFF = 0.6", "genes.CUTOFF in by_module_constant()", "pkg/genes.py"),
    "a dict": Edit("by_dict", '{"a": 1}', '{"a": 2}', "WEIGHTS in by_dict()"),
    "the order of a dict": Edit("by_dict", '{"a": 1}', '{"b": 2, "a": 1}', "WEIGHTS in by_dict()"),
    "a secret": Edit("by_secret", '"s3cret"', '"0ther"', "api_token in by_secret()"),
    "a global that is counted up": Edit("by_increment", "THRESHOLD = 5", "THRESHOLD = 6", "THRESHOLD in by_increment()"),
    "a constant in a match": Edit("by_match", "THRESHOLD = 5", "THRESHOLD = 6", "THRESHOLD in by_match()"),
    "a constant in an f-string": Edit("by_fstring", "THRESHOLD = 5", "THRESHOLD = 6", "THRESHOLD in by_fstring()"),
    "a path": Edit("by_file", "no-such-file", "nor-this", "here in by_file()"),
    "a closure value": Edit("by_closure", "closing(3)", "closing(4)", "factor in closing.<locals>.scaled()"),
    # classes
    "a method": Edit("by_class", "self.moved(x) * self.factor", "self.moved(x) + self.factor", "helper Scaler.scale() in main.py"),
    "a class attribute": Edit("by_class", "factor = 2", "factor = 3", CLASS),
    "a new class attribute": Edit("by_class", "factor = 2", "factor = 2\n    extra = 1", CLASS),
    "a base class": Edit("by_class", "return x + self.shift", "return x - self.shift", "helper Base.moved() in main.py"),
    "an attribute of a base class": Edit("by_class", "shift = 1", "shift = 2", "class Base"),
    "which base class": Edit("by_class", "class Scaler(Base):", "class Scaler(Base, object):", CLASS),
    "a property": Edit("by_class", "return 0.5", "return 0.6", "helper Scaler.ratio() in main.py"),
    "a cached_property": Edit("by_class", "return 7", "return 8", "helper Scaler.slow() in main.py"),
    "a staticmethod": Edit("by_class", "return x + 10", "return x + 11", "helper Scaler.fixed() in main.py"),
    "a classmethod": Edit("by_class", "return cls(start())", "return cls(-start())", "helper Scaler.build() in main.py"),
    "a special method": Edit("by_class", 'return "Scaler"', 'return "S"', "helper Scaler.__repr__() in main.py"),
    "a helper of a method": Edit("by_class", "def start():\n    return 3", "def start():\n    return 4", "helper start() in main.py"),
    "a field's default": Edit("by_dataclass", "depth: int = 3", "depth: int = 4", "class Options"),
    "a field's type": Edit("by_dataclass", "depth: int = 3", "depth: float = 3", "class Options"),
    "a field's factory": Edit("by_dataclass", '["a"]', '["b"]', "class Options"),
    "the options of a dataclass": Edit("by_dataclass", "@dataclass\nclass Options", "@dataclass(frozen=True)\nclass Options", "class Options"),
    "a field of a namedtuple": Edit("by_namedtuple", "right: int = 2", "right: int = 3", "class Row"),
    "a member of an enum": Edit("by_enum", "RED = 1", "RED = 3", "class Colour"),
    "a method of an enum": Edit("by_enum", "self.name.upper()", "self.name.lower()", "helper Colour.shout() in main.py"),
    # decorators and what holds functions
    "a decorator": Edit("by_decorated", "@wraps(function)\n    def around(*args):\n        return function(*args) + 1", "@wraps(function)\n    def around(*args):\n        return function(*args) + 2", "helper decorated() in main.py"),
    "a decorator without wraps": Edit("by_decorated", "def unwrapped(function):\n    def around(*args):\n        return function(*args) + 1", "def unwrapped(function):\n    def around(*args):\n        return function(*args) + 2", "helper unwrapped.<locals>.around() in main.py"),
    "what is decorated": Edit("by_decorated", "def decorated(x):\n    return x * 3", "def decorated(x):\n    return x * 4", "helper decorated() in main.py #2"),
    "what is decorated without wraps": Edit("by_decorated", "def decorated_barely(x):\n    return x * 3", "def decorated_barely(x):\n    return x * 4", "helper decorated_barely() in main.py"),
    "what is decorated abroad": Edit("by_decorated_abroad", "def decorated_abroad(x):\n    return x * 3", "def decorated_abroad(x):\n    return x * 4", "helper decorated_abroad() in main.py"),
    "what is decorated abroad without wraps": Edit("by_decorated_abroad", "def decorated_abroad_barely(x):\n    return x * 3", "def decorated_abroad_barely(x):\n    return x * 4", "helper decorated_abroad_barely() in main.py"),
    "the options of a decorator": Edit("by_decorated_abroad", "level=1", "level=2", "helper decorated_abroad() in main.py"),
    "what is cached": Edit("by_cached", "def cached(x):\n    return x * 3", "def cached(x):\n    return x * 4", "helper cached() in main.py"),
    "an argument of a partial": Edit("by_partial", "partial(helper, by=3)", "partial(helper, by=4)", "third.args in by_partial()"),
    "the function of a partial": Edit("by_partial", "deep.multiply(x, by)", "deep.multiply(by, x)", HELPER),
    "a function in a registry": Edit("by_registry", ".lower()", ".upper()", "helper clean() in genes.py", "pkg/genes.py"),
    "a name in a registry": Edit("by_registry", '"tidy": clean', '"neat": clean', "STEPS in by_registry()"),
    "a lambda": Edit("by_lambda", "lambda x: x * 2", "lambda x: x * 3", "helper <lambda>() in main.py"),
    "one of two lambdas on a line": Edit("by_lambda_pair", "lambda x: x - 1)", "lambda x: x - 2)", "helper <lambda>() in main.py #2"),
    "which foreign function": Edit("by_library", "lib.foreign(x)", "lib.other(x)", "by_library()"),
    "which foreign function a name means": Edit("by_borrowed", "imported as borrowed", "other as borrowed", "by_borrowed()"),
    # constants that are not plain
    "an expression": Edit("by_expression", 'lib.Text("loeuf")', 'lib.Text("pli")', "RULE in by_expression()"),
    "beside what can not be told": Edit("by_settings", '"depth": 3', '"depth": 4', "SETTINGS in by_settings()"),
    "in an object that holds a lock": Edit("by_client", "Client(500)", "Client(501)", "CLIENT in by_client()"),
    "the class of such an object": Edit("by_client", "self.size * 2", "self.size * 3", "helper Client.twice() in main.py"),
    "a derived dict": Edit("by_derived", "Defaults(a=1)", "Defaults(a=2)", "DEFAULTS in by_derived()"),
    "the class of a derived dict": Edit("by_derived", "key):\n        return 0", "key):\n        return 1", "helper Defaults.__missing__() in main.py"),
    # functions that hold more than code
    "the function for a type": Edit("by_dispatch", "return x + 100", "return x + 200", "helper of_int() in main.py"),
    "the function for all other types": Edit("by_dispatch", "return str(x)", "return repr(x)", "helper describe() in main.py"),
    "what a function holds": Edit("by_attribute", "counted.limit = 3", "counted.limit = 4", "limit in helper counted() in main.py"),
    # what only the loaded class tells
    "a default of a class in a branch": Edit("by_branch", "lambda: [55]", "lambda: [56]", "helper Branched.<lambda>() in main.py"),
    "a default of a model": Edit("by_model", "depth: int = 77", "depth: int = 78", "field depth in class Model"),
    "a class in a type argument": Edit("by_generic", "low: int = 31", "low: int = 32", "field low in class Item"),
    "a class in a quoted annotation": Edit("by_quoted", "low: int = 31", "low: int = 32", "field low in class Item"),
    "a base that gets a method in between": Edit("by_class", "    factor = 2", "    factor = 2\n    extra = 1", "class Scaler"),
    "what a member of an enumeration holds": Edit("by_levels", "Level.LOW.rank = 1", "Level.LOW.rank = 2", "members in class Level"),
    "an annotation under a decorator": Edit("by_traced_hint", "def hinted(x: int)", "def hinted(x: str)", "helper hinted() in main.py"),
    # what a text or a value leads to
    "a global that a text names": Edit("by_query", "CUTOFF = 5", "CUTOFF = 6", "CUTOFF in by_query()"),
    "a module by getattr": Edit("by_getattr", "normalise(x).lower()", "normalise(x).upper()", "helper clean() in genes.py", "pkg/genes.py"),
    "a function in a foreign closure": Edit("by_composed", "return x + 11", "return x + 12", "helper eleven() in main.py"),
    "what a callable object wraps": Edit("by_scaled", "Scaled(eleven, 2)", "Scaled(eleven, 3)", "scaled in by_scaled()"),
    "the class of a callable object": Edit("by_scaled", "self.fn(x) * self.k", "self.fn(x) + self.k", "helper Scaled.__call__() in main.py"),
    "a method by singledispatchmethod": Edit("by_methods", "return 'int'", "return 'whole'", "helper Kinds._() in main.py"),
    # checkpoints
    "the code of a checkpoint that is reached": Edit("by_stored", "def stored(x=1):\n    return helper(x)", "def stored(x=1):\n    return -helper(x)", "helper stored() in main.py"),
    "a helper of a checkpoint": Edit("stored", "deep.multiply(x, by)", "deep.multiply(by, x)", HELPER),
}  # fmt: skip


def _measure(versions: dict[str, Any]) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, str(DRIVER)],
        input=json.dumps(versions),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert result.returncode == 0, result.stderr
    measured: dict[str, Any] = json.loads(result.stdout)
    return measured


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """Return what each root means before any edit."""
    return _measure(_roots())


def _roots() -> dict[str, Any]:
    roots = {edit.root for edit in EDITS.values()} | {
        "by_everything",
        "by_eval",
        "by_lock",
        "by_environment",
        "by_folder",
    }
    return {root: {"root": f"pkg.main:{root}", "files": FILES} for root in sorted(roots)}


def meanings() -> dict[str, str]:
    """Return the digest of what each root means."""
    return {root: found["digest"] for root, found in _measure(_roots()).items()}


@pytest.fixture(scope="module")
def after() -> dict[str, Any]:
    """Return what each root means after its edit."""
    return _measure(
        {
            case: {"root": f"{edit.module}:{edit.root}", "files": edit.files()}
            for case, edit in EDITS.items()
        }
    )


@pytest.mark.parametrize("case", EDITS)
def test_an_edit_counts_exactly_when_it_can_change_a_result(
    case: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Meaning counts, spelling and place do not; the part that changed is named."""
    edit = EDITS[case]
    one, other = before[edit.root], after[case]
    if not edit.label:
        assert one["digest"] == other["digest"]
        return
    assert one["digest"] != other["digest"]
    labels = one["parts"].keys() | other["parts"].keys()
    changed = {name for name in labels if one["parts"].get(name) != other["parts"].get(name)}
    assert edit.label in changed


def test_the_table_shows_enough() -> None:
    """At least 60 edits are shown, of both verdicts."""
    assert len(EDITS) >= 60
    assert sum(not edit.label for edit in EDITS.values()) >= 20


SET_BY_HAND = "what is set by hand in place of slow in class Scaler"


@pytest.mark.parametrize(
    ("root", "untracked"),
    [
        ("by_eval", ["eval() in by_eval()"]),
        ("by_lock", ["lock (thread.lock) in by_lock()"]),
        ("by_logger", []),
        ("by_class", [SET_BY_HAND]),
        ("by_dataclass", []),
        ("by_namedtuple", []),
        ("by_enum", []),
        ("by_cached", []),
        ("by_registry", []),
        ("by_foreign", []),
        ("by_settings", ["SETTINGS['lock'] (thread.lock) in by_settings()"]),
        ("by_client", ["CLIENT.lock (thread.lock) in by_client()"]),
        ("by_folder", ["HERE (what is in the folder) in by_folder()"]),
        (
            "by_environment",
            [
                "docstrings in by_environment()",
                "environment variables in by_environment()",
                "import_module() in by_environment()",
                SET_BY_HAND,
            ],
        ),
    ],
)
def test_what_is_not_watched_is_named(
    root: str, untracked: list[str], before: dict[str, Any]
) -> None:
    """What could change a result unseen is listed; a logger and Python's own parts are not."""
    assert before[root]["untracked"] == untracked


def test_a_secret_is_never_shown(before: dict[str, Any]) -> None:
    """A global with a credential-like name counts, and its value is in no preview."""
    previews = before["by_secret"]["previews"]
    assert previews["api_token in by_secret()"] == "(hidden)"
    assert "s3cret" not in json.dumps(before["by_secret"])


def test_a_constant_is_shown(before: dict[str, Any]) -> None:
    """A constant is a part of its own, with a preview for people."""
    assert before["by_constant"]["previews"]["THRESHOLD in by_constant()"] == "5"


def test_digests_are_the_same_on_every_python(before: dict[str, Any]) -> None:
    """A digest does not depend on the version of Python, nor on the process."""
    assert {root: found["digest"] for root, found in before.items()} == GOLDEN


# --- in one process ---------------------------------------------------------------------


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Write a module of the user's and import it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loaded: list[str] = []

    def load_module(text: str, name: str = "users") -> Any:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        loaded.append(name)
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield load_module
    for name in loaded:
        sys.modules.pop(name, None)


def _graph(function: Any, root: str = "/nowhere") -> Any:
    return graph_of(function, Ownership.of(function, root))


def test_a_graph_is_walked_once(load: Callable[..., Any]) -> None:
    """As long as nothing changes, the same graph is returned."""
    users = load("def f(x):\n    return g(x)\ndef g(x):\n    return x\n")
    assert _graph(users.f) is _graph(users.f)


def test_a_global_is_bound_anew(load: Callable[..., Any]) -> None:
    """`THRESHOLD = 6` in a running session counts, and so does setting it back."""
    users = load("T = 5\ndef f(x):\n    return x > T\n")
    first = _graph(users.f).digest
    users.T = 6
    assert _graph(users.f).digest != first
    users.T = 5
    assert _graph(users.f).digest == first


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("W = {'a': 1}\ndef f(x):\n    return W[x]\n", "W['a'] = 2"),
        ("W = [[1]]\ndef f(x):\n    return W\n", "W[0].append(2)"),
        ("W = ({'a'},)\ndef f(x):\n    return W\n", "W[0].add('b')"),
        ("class C:\n    n = 1\ndef f(x):\n    return C.n\n", "C.n = 2"),
        ("class C:\n    n = [1]\ndef f(x):\n    return C.n\n", "C.n.append(2)"),
        ("class C:\n    def m(self): return 1\ndef f(x):\n    return C().m()\n", "C.m = lambda self: 2"),
        ("class C:\n    pass\nc = C()\nc.n = 1\ndef f(x):\n    return c.n\n", "c.n = 2"),
        ("def g(x): return 1\ndef f(x):\n    return g(x)\n", "g = lambda x: 2"),
        ("def g(x): return 1\ndef f(x):\n    return g(x)\n", "g.__code__ = (lambda x: 2).__code__"),
        ("def g(x, y=1): return y\ndef f(x):\n    return g(x)\n", "g.__defaults__ = (2,)"),
        ("def m(n):\n    def f(x): return n\n    return f\nf = m([1])\n", "f.__closure__[0].cell_contents.append(2)"),
        ("def m(n):\n    def f(x): return n\n    return f\nf = m(1)\n", "f.__closure__[0].cell_contents = 2"),
        ("import numpy\nW = numpy.zeros(3)\ndef f(x):\n    return W\n", "W[0] = 1"),
        ("def f(x):\n    return len(x)\n", "len = lambda x: 3"),
        ("R = {'a': len}\ndef f(x):\n    return R['a'](x)\n", "R['a'] = sorted"),
        ("R = {}\ndef g(x): return 1\ndef f(x):\n    return R\n", "R['g'] = g"),
        ("import types\nm = types.SimpleNamespace(a=1)\ndef f(x):\n    return m.a\n", "m.a = 2"),
    ],
)  # fmt: skip
def test_what_changes_in_place_counts(load: Callable[..., Any], text: str, change: str) -> None:
    """Whatever a running process changes is seen at the next call."""
    users = load(text)
    first = _graph(users.f).digest
    assert _graph(users.f).digest == first
    exec(change, vars(users))  # noqa: S102 - what a user does in a session
    assert _graph(users.f).digest != first


def _cell(text: str, name: str, space: dict[str, Any]) -> None:
    """Run a text as a notebook does: its source is known to linecache alone."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), space)  # noqa: S102 - as a notebook does


def test_a_cell_that_is_run_again_counts_by_meaning() -> None:
    """In a notebook a redefinition counts if its meaning changed, and only then."""
    space: dict[str, Any] = {"__name__": "__main__"}
    _cell("def helper(x):\n    return x + 1\n", "<cell 1>", space)
    _cell("def f(x):\n    return helper(x)\n", "<cell 2>", space)
    first = _graph(space["f"]).digest
    _cell("# again\ndef helper(x):\n    return x + 1  # the same\n", "<cell 3>", space)
    assert _graph(space["f"]).digest == first
    _cell("def helper(x):\n    return x + 2\n", "<cell 4>", space)
    assert _graph(space["f"]).digest != first


def test_a_cell_means_the_same_as_a_file(load: Callable[..., Any]) -> None:
    """Moving a function from a notebook to a file recomputes nothing."""
    text = "class C:\n    n = 1\n    def m(self):\n        return self.n\ndef f(x):\n    return C().m()\n"
    space: dict[str, Any] = {"__name__": "__main__"}
    _cell(text, "<cell 5>", space)
    assert _graph(space["f"]).digest == _graph(load(text).f).digest


def test_a_cell_compiled_with_the_future_of_another_keeps_its_source() -> None:
    """A notebook hands `from __future__` on from cell to cell."""
    text = "def f(x):\n    return x + 1\n"
    digests = []
    for number, flags in enumerate((0, __future__.annotations.compiler_flag)):
        name = f"<future {number}>"
        space: dict[str, Any] = {"__name__": "__main__"}
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec", flags, dont_inherit=True), space)  # noqa: S102 - as a notebook does
        digests.append(_graph(space["f"]).digest)
    assert digests[0] == digests[1]


def test_functions_without_source_count_by_bytecode() -> None:
    """Where there is no source the compiled code stands in for it."""

    def made(text: str) -> Any:
        space: dict[str, Any] = {"__name__": "__main__", "k": 1}
        exec(text, space)  # noqa: S102 - code without source
        return space["f"]

    first = _graph(made("def f(x): return x + 1")).digest
    assert _graph(made("def f(x): return x + 1")).digest == first
    texts = (
        "def f(x): return x + 2",
        "def f(x): return x - 1",
        "def f(*, x): return x + 1",
        "def f(x): return x + k",
        "def f(x): return (lambda: x + 1)()",
        "def f(x):\n try:\n  return x + 1\n except ValueError: return 1",
    )
    digests = {_graph(made(text)).digest for text in texts}
    assert len(digests) == len(texts)
    assert first not in digests


def test_the_loaded_code_counts_not_the_newer_file(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    """What was edited on disk after the import is not yet what runs."""
    text = "import functools\n\ndef f(x):\n    return g(x)\n\ndef g(x):\n    return x + 1\n"
    users = load(text)
    expected = _graph(load(text, "twin").f).digest
    (tmp_path / "users.py").write_text("# a new line\n" + text.replace("+ 1", "+ 2"))
    newer = load(text.replace("+ 1", "+ 2"), "newer")
    found = _graph(users.f)
    assert found.digest != _graph(newer.f).digest
    assert found.parts[0].digest == _graph(load(text, "other").f).parts[0].digest
    (tmp_path / "users.py").write_text("# a new line\n" + text)
    users.g.__doc__ = "walk again"
    users.T = 1
    assert _graph(types.FunctionType(users.f.__code__, vars(users), "f")).digest == expected


def test_a_class_counts_as_loaded_not_as_in_the_newer_file(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    """A class is read from its file only while its methods are those of the file."""
    text = "class C:\n    def m(self):\n        return 1\ndef f(x):\n    return C().m()\n"
    users = load(text)
    newer = load(text.replace("return 1", "return 2"), "newer")
    (tmp_path / "users.py").write_text(text.replace("return 1", "return 2"))
    assert _graph(users.f).digest != _graph(newer.f).digest


def test_what_was_read_once_stays_true(load: Callable[..., Any], tmp_path: Path) -> None:
    """An edit on disk changes nothing for functions that are loaded and known."""
    users = load("T = 1\ndef f(x):\n    return x + T\n")
    first = _graph(users.f).digest
    (tmp_path / "users.py").write_text("T = 1\ndef f(x):\n    return x - T\n")
    users.T = 2
    assert _graph(users.f).digest != first
    users.T = 1
    assert _graph(users.f).digest == first


def test_the_defaults_of_the_function_itself_are_arguments(load: Callable[..., Any]) -> None:
    """Defaults count once: as arguments of a call, or with a function that is a value."""
    users = load("def f(x=1): return x\ndef g(x=2): return x\n")
    own = Ownership.of(users.f, "/nowhere")
    assert graph_of(users.f, own).digest == graph_of(users.g, own).digest
    assert code_digest(users.f, own) != code_digest(users.g, own)


def test_nested_lambdas_are_told_apart(load: Callable[..., Any]) -> None:
    """Lambdas within lambdas, defaults and comprehensions have a source of their own."""
    users = load(
        """
        outer = lambda x: (lambda y: y + 1)
        inner = outer(0)
        def with_default(key=lambda x: x): return key
        default = with_default()
        inside = [lambda x: x * 2 for _ in range(1)][0]
        class C:
            key = staticmethod(lambda x: x - 1)
        """
    )
    from usher_pipeline.fingerprint import syntax

    for function in (users.outer, users.inner, users.default, users.inside, users.C.key):
        assert syntax.definition(function.__code__) is not None, function


def test_a_function_that_is_gone_is_forgotten() -> None:
    """A function made anew for each call does not fill the memory."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("f = lambda x: x", space)  # noqa: S102 - code without source
    watched = weakref.ref(space["f"])
    _graph(space.pop("f"))
    gc.collect()
    assert watched() is None


def test_an_import_inside_that_fails_is_left_to_the_function(load: Callable[..., Any]) -> None:
    """A module that can not be imported is no error of the key."""
    users = load(
        "def f(x):\n    import users_broken\n    import not_there_at_all\n    return x\n"
    )
    Path(users.__file__).with_name("users_broken.py").write_text("1 / 0\n")
    assert _graph(users.f, str(Path(users.__file__).parent)).digest


def test_a_callable_object_is_a_root_too() -> None:
    """Whatever is called has a graph, with or without weak references and a hash."""

    class Callee:
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, x: int) -> int:
            return x

    assert _graph(Callee()).digest == _graph(Callee()).digest


def test_a_race_for_the_parser_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 raises SystemError when a thread of the user's parses at that moment."""
    parse, races = ast.parse, [True] * 3

    def raced(*args: Any, **kwargs: Any) -> Any:
        if races:
            races.pop()
            raise SystemError("AST constructor recursion depth mismatch")
        return parse(*args, **kwargs)

    syntax._parse.cache_clear()
    syntax._read_source.cache_clear()
    syntax._found.clear()
    monkeypatch.setattr(ast, "parse", raced)
    assert syntax.definition(_cell.__code__) is not None
    assert not races


#: What differs in meaning: the module, and a text in it with what takes its place.
MEANINGS: Final = {
    "a method by singledispatchmethod for the first of two classes of one name": (
        """
        from functools import singledispatchmethod
        def named():
            class Frame: pass
            return Frame
        A, B = named(), named()
        class K:
            @singledispatchmethod
            def g(self, x): return 0
            @g.register(A)
            def _(self, x): return 1
            @g.register(B)
            def _(self, x): return 2
        def f(): return K().g(A())
        """,
        ("return 1", "return 3"),
    ),
    "what a model does when it is made, with a private attribute": (
        """
        from pydantic import BaseModel, PrivateAttr
        class Options(BaseModel):
            _depth: int = PrivateAttr(default=1)
            def model_post_init(self, context): self._depth = 3
        def f(): return Options()._depth
        """,
        ("= 3", "= 4"),
    ),
    "a cached_property of attrs with slots": (
        """
        from functools import cached_property
        import attrs
        @attrs.define
        class Options:
            a: int = 1
            @cached_property
            def depth(self): return 3
        def f(): return Options().depth
        """,
        ("return 3", "return 4"),
    ),
    "a default of attrs that has a factory of its own": (
        """
        import attrs
        class Made:
            def __init__(self, size):
                self.factory, self.size = list, size
        def make(default):
            @attrs.define
            class Options:
                made: object = attrs.field(default=default)
            return Options
        Options = make(Made(int("3")))
        def f(): return Options().made.size
        """,
        ('int("3")', 'int("4")'),
    ),
    "what a partialmethod is given": (
        """
        from functools import partialmethod
        class A:
            def get(self, col): return col
        for name, col in {"depth": "DP"}.items():
            setattr(A, "get_" + name, partialmethod(A.get, col))
        def f(): return A().get_depth()
        """,
        ("DP", "AD"),
    ),
    "data in what wraps the function of a property": (
        """
        from functools import wraps
        def scaled(k):
            def around(fn):
                @wraps(fn)
                def inner(self): return k * fn(self)
                return inner
            return around
        class A:
            def raw(self): return 10
        for name, k in {"kilo": 3}.items():
            setattr(A, name, property(scaled(k)(A.raw)))
        def f(): return A().kilo
        """,
        ('"kilo": 3', '"kilo": 4'),
    ),
    "data in a property that a partial computes": (
        """
        from functools import partial
        def g(k, self): return k
        class A: pass
        A.x = property(partial(g, 3))
        def f(): return A().x
        """,
        ("(g, 3)", "(g, 4)"),
    ),
    "data in what wraps a static method": (
        """
        from functools import wraps
        def scaled(k):
            def around(fn):
                @wraps(fn)
                def inner(): return k * fn()
                return inner
            return around
        def raw(): return 10
        class A: pass
        A.x = staticmethod(scaled(3)(raw))
        def f(): return A.x()
        """,
        ("scaled(3)", "scaled(4)"),
    ),
    "data in what wraps a method for one type": (
        """
        from functools import singledispatchmethod, wraps
        def scaled(k):
            def around(fn):
                @wraps(fn)
                def inner(self, x): return k * fn(self, x)
                return inner
            return around
        def one(self, x): return 1
        class A:
            @singledispatchmethod
            def g(self, x): return 0
        A.__dict__["g"].register(int, scaled(3)(one))
        def f(): return A().g(1)
        """,
        ("scaled(3)", "scaled(4)"),
    ),
    "what is put on an enumeration": (
        """
        from enum import Enum
        class Status(Enum):
            PATH = 1
        Status.LABELS = {1: "pathogenic"}
        def f(): return Status.LABELS[1]
        """,
        ("pathogenic", "likely"),
    ),
    "what is put on a member of an enumeration under a private name": (
        """
        from enum import Enum
        class Status(Enum):
            PATH = 1
        for member in Status:
            member._weight = {"PATH": 3}[member.name]
        def f(): return Status.PATH._weight
        """,
        (": 3}", ": 4}"),
    ),
    "a combination put on flags": (
        """
        from enum import IntFlag
        class C(IntFlag):
            A = 1
            B = 2
        C.ALL = C.A
        def f(): return int(C.ALL)
        """,
        ("C.ALL = C.A", "C.ALL = C.A | C.B"),
    ),
    "the default of a field of attrs": (
        """
        import attrs
        def make(default):
            @attrs.define
            class Options:
                depth: int = default
                names: list = attrs.field(factory=list)
            return Options
        Options = make(30)
        def f(): return Options().depth
        """,
        ("make(30)", "make(20)"),
    ),
    "the factory of a field of attrs": (
        """
        import attrs
        def make(made):
            @attrs.define
            class Options:
                names: list = attrs.Factory(made)
            return Options
        Options = make(lambda: ["a"])
        def f(): return Options().names
        """,
        ('["a"]', '["b"]'),
    ),
    "the default of a private attribute of a model": (
        """
        from pydantic import BaseModel, PrivateAttr
        def make(default):
            class Options(BaseModel):
                _depth: int = PrivateAttr(default=default)
            return Options
        Options = make(3)
        def f(): return Options()._depth
        """,
        ("make(3)", "make(4)"),
    ),
    "a name of which named tuples have a field": (
        """
        class A:
            _fields = ("x",)
        A.x = 5
        def f(): return A.x
        """,
        ("A.x = 5", "A.x = 6"),
    ),
    "a private name that begins like one of Python": (
        """
        class A: pass
        A._abc_table = "x"
        def f(): return A._abc_table
        """,
        ('"x"', '"y"'),
    ),
    "what counts as of an abstract class": (
        """
        from abc import ABC
        class Numeric(ABC): pass
        class Column: pass
        Numeric.register(Column)
        def f(): return isinstance(Column(), Numeric)
        """,
        ("Numeric.register(Column)", "Numeric"),
    ),
    "data in a closure that a library made": (
        """
        import shutil
        skip = shutil.ignore_patterns("*.a")
        def f(): return skip(".", ["x.a"])
        """,
        ("*.a", "*.b"),
    ),
    "data in a foreign wrapper that is called": (
        """
        import reprlib
        def _g(x): return "x"
        g = reprlib.recursive_repr("<1>")(_g)
        def f(): return g(1)
        """,
        ("<1>", "<2>"),
    ),
    "a new type": (
        """
        import typing
        X = typing.NewType("X", int)
        def f(): return X
        """,
        ("int)", "str)"),
    ),
    "the limits of a type variable": (
        """
        import typing
        X = typing.TypeVar("X", int, str)
        def f(): return X
        """,
        ("int, str", "int, bytes"),
    ),
    "a namespace of polars": (
        """
        import warnings
        import polars as pl
        class Z:
            def __init__(self, e): self.e = e
            def twice(self): return self.e * 2
        with warnings.catch_warnings(action="ignore"):
            pl.api.register_expr_namespace("zz")(Z)
        def f(): return pl.col("a").zz.twice()
        """,
        ("* 2", "* 3"),
    ),
    "a function put into a class of polars": (
        """
        import polars as pl
        def zork(self): return 5
        pl.DataFrame.zork = zork
        def f(): return pl.DataFrame().zork()
        """,
        ("return 5", "return 6"),
    ),
    "a function put into a module of a library": (
        """
        import os.path
        def zork(): return 5
        os.path.zork = zork
        def f(): return os.path.zork()
        """,
        ("return 5", "return 6"),
    ),
    "a table named by a query in a constant": (
        """
        T = [1]
        SQL = "select a from T"
        def f(): return run(SQL)
        """,
        ("[1]", "[2]"),
    ),
    "a table named by a query in a table of queries": (
        """
        T = [1]
        SQL = {"all": ["select a from T"]}
        def f(): return run(SQL["all"])
        """,
        ("[1]", "[2]"),
    ),
    "a table named by a default": (
        """
        T = [1]
        def g(sql="select a from T"): return run(sql)
        def f(): return g()
        """,
        ("[1]", "[2]"),
    ),
    "a table named by a query in an attribute of a class": (
        """
        T = [1]
        class Q: top = "select a from T"
        def f(): return run(Q.top)
        """,
        ("[1]", "[2]"),
    ),
    "a table named by a query in an object": (
        """
        T = [1]
        class Q:
            def __init__(self, text): self.texts = {"a": {"b": {"c": text}}}
        Q = Q("from T")
        def f(): return run(Q)
        """,
        ("[1]", "[2]"),
    ),
    "a variable that an expression in an object marks": (
        """
        import types
        T = 1
        Q = types.SimpleNamespace(where="depth > @T")
        def f(): return table().query(Q.where)
        """,
        ("T = 1", "T = 2"),
    ),
    "a dataclass made by a call": (
        """
        from dataclasses import field, make_dataclass
        C = make_dataclass("C", [("a", int, field(default=1))])
        def f(): return C().a
        """,
        ("default=1", "default=2"),
    ),
    "a path of a class of one's own": (
        """
        import pathlib
        class D(type(pathlib.PurePath())):
            def k(self): return 1
        HERE = D("a")
        def f(): return HERE.k()
        """,
        ("return 1", "return 2"),
    ),
    "a logger of a class of one's own": (
        """
        import logging
        class Log(logging.Logger):
            def k(self): return 1
        LOG = Log("a")
        def f(): return LOG.k()
        """,
        ("return 1", "return 2"),
    ),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_what_counts_wherever_it_is_held(name: str, load: Callable[..., Any]) -> None:
    """Data and code of the user's count also where a library holds them."""
    text, (old, new) = MEANINGS[name]
    before = _graph(load(text, "held_one").f).digest
    assert _graph(load(text, "held_one").f).digest == before
    assert _graph(load(text.replace(old, new), "held_one").f).digest != before


@pytest.mark.parametrize(
    ("helper", "call"),
    [
        ("def asked(run): return run('select * from T')", "queries.asked(run)"),
        ("SQL = 'select * from T'", "run(queries.SQL)"),
    ],
)
def test_a_query_of_another_module_names_globals_of_the_function(
    helper: str, call: str, load: Callable[..., Any]
) -> None:
    """What runs a query looks its names up where it is called from."""
    load(helper, "queries")
    module = load(f"import queries\nT = [1]\ndef f(): return {call}", "asking")
    before = _graph(module.f).digest
    module.T[0] = 2
    assert _graph(module.f).digest != before
    module.T[0] = 1
    assert _graph(module.f).digest == before


def test_a_text_of_another_module_that_is_no_query_names_nothing(
    load: Callable[..., Any],
) -> None:
    """Else the loop of a script would be an edit of whatever its helpers say."""
    load("def told(): print('of each page, the gene')", "telling")
    module = load("import telling\npage = 1\ndef f(): return telling.told()", "script")
    before = _graph(module.f).digest
    module.page = 2
    assert _graph(module.f).digest == before


@pytest.mark.parametrize("name", ["__all__", "__version__", "__table__"])
def test_what_a_module_says_of_itself_counts_where_that_is_handed_on(
    name: str, load: Callable[..., Any]
) -> None:
    """A function that is given a module may ask it for any name, with underscores as well."""
    load(f"{name} = ['a']", "stated")
    text = f"import stated\ndef of(m): return getattr(m, {name!r})\ndef f(): return of(stated)"
    module = load(text, "handing")
    before = _graph(module.f).digest
    vars(module.stated)[name] = ["b"]
    assert _graph(module.f).digest != before
    vars(module.stated)[name] = ["a"]
    vars(module.stated)["__doc__"] = "Another text."
    vars(module.stated)["__cached__"] = "elsewhere"
    assert _graph(module.f).digest == before


def test_what_is_registered_later_is_seen(load: Callable[..., Any]) -> None:
    """An abstract class counts with what is registered with it, whenever that was."""
    module = load(
        """
        from abc import ABC
        class Shape(ABC): pass
        class Circle: pass
        class Square: pass
        Shape.register(Circle)
        def f(x): return isinstance(x, Shape)
        """
    )
    before = _graph(module.f)
    assert before.is_current()
    module.Shape.register(module.Square)
    assert not before.is_current()
    assert _graph(module.f).digest != before.digest


def test_a_method_that_is_registered_later_is_seen(load: Callable[..., Any]) -> None:
    """Another type of a `singledispatchmethod` is another function."""
    module = load(
        """
        from functools import singledispatchmethod
        class K:
            @singledispatchmethod
            def g(self, x): return 0
        def one(self, x): return 1
        def f(): return K().g(1)
        """
    )
    before = _graph(module.f)
    module.K.__dict__["g"].register(int, module.one)
    assert not before.is_current()
    assert _graph(module.f).digest != before.digest


def test_in_which_module_a_registered_class_lies_does_not_count(
    load: Callable[..., Any],
) -> None:
    """A module that is run as a script is called `__main__`."""
    text = """
    from abc import ABC
    class Shape(ABC): pass
    class Circle: pass
    Shape.register(Circle)
    def f(x): return isinstance(x, Shape)
    """
    assert _graph(load(text, "one").f).digest == _graph(load(text, "two").f).digest


ODD_CLASSES: Final = {
    "private attributes of a class that is no model": """
        class C: __private_attributes__ = ("a",)
    """,
    "an abstract metaclass that makes none": """
        from abc import ABCMeta
        class Meta(ABCMeta):
            def __new__(meta, *given): return type.__new__(meta, *given)
        class C(metaclass=Meta): pass
    """,
    "a default that raises at every look": """
        import attrs
        class Broken:
            def __getattr__(self, name): raise RuntimeError(name)
        @attrs.define
        class C: made: object = attrs.field(default=Broken())
    """,
    "a model of the first pydantic": """
        from pydantic.v1 import BaseModel, PrivateAttr
        class C(BaseModel): _a: int = PrivateAttr()
    """,
}


@pytest.mark.parametrize("case", ODD_CLASSES)
@pytest.mark.filterwarnings("ignore:Core Pydantic V1")
def test_a_class_that_is_not_what_it_looks_like_is_read(
    case: str, load: Callable[..., Any]
) -> None:
    """What stands under a name that libraries use may be anything."""
    text = textwrap.dedent(ODD_CLASSES[case]) + "def f(): return C()\n"
    graph = _graph(load(text).f)
    assert graph.digest
    assert not [what for what in graph.untracked if "field _a" in what]


def test_what_a_member_of_an_enumeration_computed_once_does_not_count(
    load: Callable[..., Any],
) -> None:
    """A `cached_property` follows from its function."""
    module = load(
        """
        from enum import Enum
        from functools import cached_property
        class Shape(Enum):
            SQUARE = 2
            @cached_property
            def area(self): return self.value ** 2
        def f(): return Shape.SQUARE.area
        """
    )
    before = _graph(module.f).digest
    assert module.Shape.SQUARE.area == 4
    again = graph_of(module.f, Ownership.of(module.f, "/elsewhere"))
    assert again.digest == before


SPELLINGS: Final = {
    "pass and a docstring": ("class E(Exception): pass", 'class E(Exception): "Text."'),
    "another decorator above a checkpoint": (
        "@around\n@checkpoint(name='g')\ndef E(): return 1",
        "@around\n@checkpoint(name='g', on_code_change='error')\ndef E(): return 1",
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_means_the_same_counts_the_same(name: str, load: Callable[..., Any]) -> None:
    """What can not change a result is no edit."""
    head = """
import functools
from usher_pipeline import checkpoint
def around(function):
    @functools.wraps(function)
    def inner(): return function()
    return inner
"""
    digests = {
        _graph(load(f"{head}\n{text}\ndef f(): return E()", "spelled").f).digest
        for text in SPELLINGS[name]
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("from os import getenv as ge\ndef f(): return ge('Z')", "environment variables"),
        ("import os\nT = {'z': os.getenv}\ndef f(): return T['z']('Z')", "environment"),
        ("from io import open as o\ndef f(): return o('x')", "files that it opens"),
        ("from runpy import run_path as r\ndef f(): return r('x')", "modules that a text"),
        ("import glob\ndef f(): return glob.glob('*')", "which files there are"),
        ("import numpy as np\ndef f(): return np.loadtxt('x')", "files that it opens"),
        ("def f(): return sql(\"from 'd.csv'\")", "files that it opens"),
        ("import uuid\ndef f(): return uuid.uuid4()", "random numbers"),
        ("import time\ndef f(): return time.perf_counter()", "the time"),
        ("import duckdb as d\ndef f(): return d.sql('from t')", "tables of DuckDB's own"),
        ("import os\ndef f(): return os.path.expandvars('$X')", "where it runs"),
        ("import inspect\ndef f(): return inspect.signature(f)", "how code is written"),
    ],
)
def test_what_a_function_asks_of_the_world_is_named(
    text: str, what: str, load: Callable[..., Any]
) -> None:
    """Under whatever name the asking function goes."""
    assert any(label.startswith(what) for label in _graph(load(text).f).untracked)


@pytest.mark.parametrize("is_installed", [False, True])
def test_code_on_the_search_path_is_of_the_user_unless_it_is_installed(
    load: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    is_installed: bool,  # noqa: FBT001 - a case
) -> None:
    """A folder beside the project counts; one that distributions were put into does not."""
    folder = tmp_path_factory.mktemp("code")
    if is_installed:
        (folder / "genetools-1.0.dist-info").mkdir()
    package = folder / "genetools"
    package.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    digests = set()
    for number in (1, 2):
        (package / "__init__.py").write_text(f"def clean(): return 'text' * {number}\n")
        sys.modules.pop("genetools", None)
        importlib.invalidate_caches()
        module = load("import genetools\ndef f(): return genetools.clean()", "asking")
        digests.add(_graph(module.f).digest)
    sys.modules.pop("genetools", None)
    assert len(digests) == (1 if is_installed else 2)


def test_lambdas_of_one_line_are_told_apart(load: Callable[..., Any]) -> None:
    """Also on Python 3.12, which gives no columns to those that return a constant."""
    module = load("A = [lambda s: 1, lambda s: 2, lambda s: 1]")
    trees = [syntax.definition(each.__code__) for each in module.A]
    assert all(tree is not None for tree in trees)
    one, two, three = [_graph(each).digest for each in module.A]
    assert one == three != two


def test_what_c_and_metaclasses_answer_is_no_code(load: Callable[..., Any]) -> None:
    """A class that answers to any name has no code object all the same."""
    module = load(
        """
        from numpy.random import rand
        class M(type):
            def __getattr__(cls, name): return name * 2
        class C(metaclass=M): pass
        def f(): return rand(), C.x
        """
    )
    assert _graph(module.f).digest


def test_a_protocol_is_the_same_after_its_first_instance(load: Callable[..., Any]) -> None:
    """Python writes into a class that implements a protocol, when it is first made."""
    module = load(
        """
        from typing import Protocol
        class B(Protocol):
            def v(self) -> int: ...
        class C(B):
            def v(self): return 1
        def f(): return C().v()
        """
    )
    before = _graph(module.f).digest
    module.f()
    assert _graph(module.f).digest == before


def test_a_collection_that_threads_write_to_can_be_read() -> None:
    """A copy is encoded, and not what changes meanwhile."""
    shared: dict[int, int] = {}
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            shared[number % 5000] = number
            shared.pop((number * 7) % 5000, None)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert live_digest(shared)
    finally:
        stop.set()
        writer.join()


# --- what the function changes itself ---------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "seen = []\ndef f(): seen.append(1)",
        "memo = {}\ndef f(): memo[len(memo)] = 1",
        "count = 0\ndef f():\n    global count\n    count += 1",
        "made = None\ndef f():\n    global made\n    made = [*(made or ()), 1]",
        "class C:\n    made = None\ndef f(): C.made = C.more = [1]",
        "class C:\n    n = 0\n    def go(self): self.n += 1\nc = C()\ndef f(): c.go()",
        "def g(x=[]): x.append(1)\ndef f(): g()",
        "def g(): pass\ndef f():\n    g.n = getattr(g, 'n', 0) + 1\n    setattr(g, f'm{g.n}', 1)",
    ],
)
def test_what_a_function_changes_is_no_edit(text: str, load: Callable[..., Any]) -> None:
    """Its digest stays, it is named as not watched, and a change by others counts."""
    module = load(text, "changing")
    graph = _graph(module.f)
    digest = graph.digest
    for _ in range(3):
        with graph.at_work():
            module.f()
        assert _graph(module.f) is graph
    assert graph.digest == digest
    assert any("while the function ran" in label for label in graph.untracked)
    module.f()
    assert _graph(module.f).digest != digest


def test_what_came_in_while_a_function_ran_is_watched(load: Callable[..., Any]) -> None:
    """A config that is loaded late is no edit; a change of it from outside is one."""
    module = load("late = None\ndef f():\n    global late\n    late = late or {'a': 1}", "late")
    graph = _graph(module.f)
    with graph.at_work():
        module.f()
    assert _graph(module.f) is graph
    module.late["a"] = 2
    assert _graph(module.f).digest != graph.digest


SHARED: Final = """
count = 0
seen = []
class Client:
    made = 0
    def get(self, x):
        Client.made += 1
        return x
client = Client()
def api(x):
    global count
    count += 1
    seen.append(x)
    return client.get(x)
def one(): return api(1)
def two(): return api(2)
limit = 1
def setup():
    global limit
    limit += 1
def user(): return limit
"""


def test_work_of_a_shared_helper_is_everybodys(load: Callable[..., Any]) -> None:
    """A counter in a helper of two functions is no edit for either, whoever is first."""
    fresh = load(SHARED, "shared")
    expected = {name: _graph(getattr(fresh, name)).digest for name in ("one", "two")}
    for order in (["one", "two", "one"], ["two", "one", "two", "two"]):
        module = load(SHARED, "shared")
        for name in order:
            function = getattr(module, name)
            graph = _graph(function)
            assert graph.digest == expected[name]
            with graph.at_work():
                function()
        module.api(5)
        assert _graph(module.one).digest != expected["one"]


def test_work_of_another_function_counts(load: Callable[..., Any]) -> None:
    """What a function changes that this one does not reach is a change from outside."""
    module = load(SHARED, "shared")
    before = _graph(module.user).digest
    with _graph(module.setup).at_work():
        module.setup()
    assert _graph(module.user).digest != before


def test_a_new_function_in_the_place_of_a_gone_one_is_another(
    load: Callable[..., Any],
) -> None:
    """What a function changed that is gone is no work of one that got its address."""
    module = load("seen = []\ndef worker(): seen.append(1)\ndef user(): return seen", "gone")
    before = _graph(module.user).digest
    worker, place = module.worker, id(module.worker)
    with _graph(worker).at_work():
        worker()
    del worker, module.worker
    gc.collect()
    tried = []
    for _ in range(100_000):
        tried.append(types.FunctionType(module.user.__code__, vars(module)))
        if id(tried[-1]) == place:
            break
    assert id(tried[-1]) == place
    assert _graph(tried[-1]).digest != before


def test_calls_in_threads_are_one_function_at_work(load: Callable[..., Any]) -> None:
    """However many run it at once, it means afterwards what it meant before."""
    expected = _graph(load(SHARED, "shared").one).digest
    module = load(SHARED, "shared")

    def run() -> None:
        with _graph(module.one).at_work():
            module.one()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _graph(module.one).digest == expected


def test_an_attribute_that_a_function_set_is_watched(load: Callable[..., Any]) -> None:
    """A change of it by others counts."""
    module = load("def g(): pass\ndef f():\n    g.n = getattr(g, 'n', 0) + 1", "attributes")
    graph = _graph(module.f)
    with graph.at_work():
        module.f()
    assert graph.is_current()
    module.g.n = 77
    assert not graph.is_current()


def test_code_that_changes_meanwhile_counts(load: Callable[..., Any]) -> None:
    """A helper that the function replaces is another helper."""
    module = load(
        "def g(): return 1\ndef f():\n    global g\n    g()\n    g = lambda: 2", "code"
    )
    graph = _graph(module.f)
    with graph.at_work():
        module.f()
        assert not graph.is_current()
    assert _graph(module.f).digest != graph.digest


def test_while_a_function_runs_only_its_own_work_counts_not(load: Callable[..., Any]) -> None:
    """Calls in other threads mean the same, whatever the first has changed so far."""
    text = "seen = []\nn = 0\nlimit = 1\ndef f():\n    global n\n    n += 1\n    return seen, limit"
    module = load(text, "busy")
    graph = _graph(module.f)
    with graph.at_work():
        module.seen.append(1)
        module.n = 5
        assert graph.is_current()


def test_a_constant_that_is_set_while_a_function_runs_is_an_edit(
    load: Callable[..., Any],
) -> None:
    """A function may run for hours in another thread; nothing in it sets the constant."""
    module = load("class C:\n    k = 1\nlimit = 1\ndef f(): return limit, C.k", "hours")
    graph = _graph(module.f)
    with graph.at_work():
        module.limit = 2
        assert not graph.is_current()
    changed = _graph(module.f)
    assert changed.digest != graph.digest
    with changed.at_work():
        module.C.k = 2
        module.C.more = 3
    assert _graph(module.f).digest != changed.digest


def test_the_order_of_members_is_named_where_code_asks_for_it(load: Callable[..., Any]) -> None:
    """A class whose methods change places is the same, which `vars` sees; so it is told."""
    module = load(
        """
        class Steps:
            def one(self): return 1
            def two(self): return 2

        def of_vars():
            return [name for name in vars(Steps)]

        def of_dict():
            return [name for name in Steps.__dict__]
        """
    )
    order = "the order in which a class states its members"
    assert _graph(module.of_vars).untracked == [f"{order} in of_vars()"]
    assert _graph(module.of_dict).untracked == [f"{order} in of_dict()"]


def test_a_cached_property_that_is_set_by_hand_is_named(load: Callable[..., Any]) -> None:
    """What a cached property holds counts as what its function returns."""
    module = load(
        """
        from functools import cached_property

        class Model:
            @cached_property
            def weights(self): return [1, 2]

        def score():
            return Model().weights
        """
    )
    expected = "what is set by hand in place of weights in class Model"
    assert _graph(module.score).untracked == [expected]


def test_threads_may_read_one_source_at_once() -> None:
    """Python can make syntax trees in one thread at a time; the walk sees to that."""
    found: list[bool] = []

    def read(barrier: threading.Barrier) -> None:
        barrier.wait()
        found.append(syntax.definition(_cell.__code__) is not None)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            linecache.clearcache()
            syntax._read_source.cache_clear()
            syntax._found.clear()
            barrier = threading.Barrier(4)
            threads = [threading.Thread(target=read, args=(barrier,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert found == [True] * 80
