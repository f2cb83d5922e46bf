"""A cell taken apart: what goes into its function, and the one thing that comes out."""

from __future__ import annotations

import ast
from types import CodeType, FunctionType
from typing import Any, Final

import pytest

from usher_pipeline import cells
from usher_pipeline.errors import CellError


def read(text: str, output: str = "") -> cells.Cell:
    """Return a cell of the name ``genes``."""
    return cells.read("genes", text, output)


def result_of(text: str, output: str = "", **space: Any) -> Any:
    """Return what the function of a cell returns in a namespace."""
    cell = read(text, output)
    inputs = {name: space[name] for name in cell.both if name in space}
    compiled = compile(cells.as_function(cell, list(inputs)), "<cell>", "exec")
    code = next(each for each in compiled.co_consts if isinstance(each, CodeType))
    return FunctionType(code, {**space, "__builtins__": __builtins__})(**inputs)


# --- the output -------------------------------------------------------------------------

OUTPUTS: Final = [
    ("a = 1", "", "a", False),
    ("_b = 1\na = _b", "", "a", False),
    ("for i in x:\n    a = i", "", "a", False),
    ("with x as y:\n    a = y", "", "a", False),
    ("def f(): ...\na = f()", "", "a", False),
    ("a: int = 1", "", "a", False),
    ("a = 1\nb = 2", "a", "a", False),
    ("a = 1\nb = 2\nb", "", "b", True),
    ("a, b = 1, 2\nb", "", "b", True),
    ("x", "", "x", True),
    ("x['n'] = 1\nx", "", "x", True),
    ("f(x)", "", "", True),
    ("a = 1\nf(a)", "", "", True),
    ("a = 1\na", "a", "a", True),
    ("a = 1\na.head()", "a", "a", False),
    ("for a in x: ...", "a", "a", False),
    ("(a := f()).head()", "a", "a", False),
    ("a = 1\n'a remark'", "", "a", False),
    ("a = 1\na;", "", "a", False),
    ("a = 1\n(a) ;  # quiet", "", "a", False),
    ("f(x, 'é');", "", "", False),
    ("a = 1\na  # loud;", "", "a", True),
    ("a = 1\n(\n    a\n)  # loud;", "", "a", True),
]


@pytest.mark.parametrize("case", OUTPUTS)
def test_the_output_is_told(case: tuple[str, str, str, bool]) -> None:
    """It is the stated name, else the last expression, else the one name assigned."""
    text, stated, *expected = case
    cell = read(text, stated)
    assert [cell.output, cell.shows] == expected


REFUSED: Final = [
    ("a = 1\nb = 2", "", r"it assigns a, b, and one frame is kept.*`--output b`"),
    ("a, b = 1, 2", "", "it assigns a, b, and one frame"),
    ("for i in x: ...", "", "it assigns nothing, and one frame"),
    ("import math", "", "it assigns nothing"),
    ("", "", "it assigns nothing"),
    ("a = 1", "b", r"--output b is not assigned in it \(it assigns a\)"),
    ("f(x)", "b", r"it assigns nothing\)"),
    ("a = 1\nb = 2\na.head(b)", "a", "its last line shows b, which a hit does not make"),
    ("global a\na = 1", "", "it says `global a`"),
    ("def f():\n    global a\n    a = 1\nf()\na", "", "it says `global a`"),
    ("x = 1\nfrom math import *\nx", "", r"it imports \*"),
    ("%time a = 1", "", r"a magic command or a line for the shell \(%time a = 1\)"),
    ("a = !ls", "", "line for the shell"),
    ("!ls", "", "line for the shell"),
    ("f?", "", "magic command"),
    ("a = await f()", "", r"it awaits something \(a = await f\(\)\)"),
    ("a = 1\nasync with f: ...", "", "it awaits something"),
]


@pytest.mark.parametrize(("text", "output", "problem"), REFUSED)
def test_what_can_not_be_kept_is_refused(text: str, output: str, problem: str) -> None:
    """A cell without one output, or with effects on the notebook, is an error that says so."""
    with pytest.raises(CellError, match=problem):
        read(text, output)


@pytest.mark.parametrize("text", ["return 1", "yield 1", "a = ", "break"])
def test_what_is_no_cell_is_no_function_either(text: str) -> None:
    """What Python refuses in a cell is a syntax error, at the line that it has there."""
    with pytest.raises(SyntaxError, match=r"\w") as caught:
        read(text)
    assert caught.value.lineno == 2


# --- the function -----------------------------------------------------------------------

RESULTS: Final = [
    ("a = x + 1", {"x": 1}, 2),
    ("x = x + 1", {"x": 1}, 2),
    ("x += 1", {"x": 1}, 2),
    ("rows = [x * y for y in (1, 2)]\nrows", {"x": 3}, [3, 6]),
    ("def f(n):\n    return n and n + f(n - 1)\na = f(3)", {}, 6),
    ("if x:\n    y = 1\na = y", {"x": False, "y": 7}, 7),
    ("def late():\n    return y\na = late()\ny = 2", {"y": 5}, 5),
    ("while x:\n    x = x - 1\na = x", {"x": 2}, 0),
    ("try:\n    y = 1 / x\nexcept ZeroDivisionError:\n    pass\ny", {"x": 0, "y": 3}, 3),
    ("class K:\n    v = y\ny = K.v", {"y": 4}, 4),
    ("'what it is'\na = 'b'", {}, "b"),
    ("x = (lambda x=x: x + 1)()\na = x", {"x": 1}, 2),
    ('a = """one\n  two"""', {}, "one\n  two"),
]


@pytest.mark.parametrize(("text", "space", "result"), RESULTS)
def test_the_function_does_what_the_cell_does(
    text: str, space: dict[str, Any], result: Any
) -> None:
    """Names that the cell both reads and binds start with the value of the notebook."""
    output = "a" if "\na" in f"\n{text}" or "a =" in text else ""
    assert result_of(text, output, **space) == result


READS: Final = [
    ("a = x", {"x"}, set()),
    ("x = 1\na = x", set(), set()),
    ("a = f(x, y=z)", {"f", "x", "z"}, set()),
    ("x = x", {"x"}, {"x"}),
    ("x += 1", {"x"}, {"x"}),
    ("x[0] = 1\na = x", {"x"}, set()),
    ("if t:\n    x = 1\na = x", {"t", "x"}, {"x"}),
    ("if t:\n    x = 1\nelse:\n    x = 2\na = x", {"t"}, set()),
    ("if t:\n    x = 1\nelse:\n    raise E\na = x", {"t", "E"}, set()),
    ("for i in r:\n    x = i\n    y = x\na = x", {"r", "x"}, {"x"}),
    ("while t:\n    x = 1\n    break\na = x", {"t", "x"}, {"x"}),
    ("try:\n    x = f()\nexcept E as e:\n    raise e\na = x", {"f", "E"}, set()),
    ("try:\n    x = f()\nexcept E:\n    y = x\na = x", {"f", "E", "x"}, {"x"}),
    ("with o as x:\n    y = x\na = y", {"o"}, set()),
    ("a = [x for x in x]", {"x"}, set()),
    ("a = {k: v for k, v in d if k}", {"d"}, set()),
    ("a = [(y := x) for x in r]\nb = y", {"r", "y"}, {"y"}),
    ("def f(x, y=z):\n    w = x\n    return w + v\na = f(1)", {"z", "v"}, set()),
    ("@deco\nclass K(Base):\n    x = 1\n    y = x\na = K", {"deco", "Base"}, set()),
    ("a = lambda x: x + y", {"y"}, set()),
    ("a = lambda x=x: x", {"x"}, set()),
    ("def f(n, *, x=x): ...\na = f(1)", {"x"}, set()),
    ("@f\ndef f(): ...\na = f()", {"f"}, {"f"}),
    ("class K:\n    x = 1\n    def f(self):\n        return x\na = K", {"x"}, set()),
    ("class K:\n    x = 1\n    y = x\na = K", set(), set()),
    ("x = 1\ndel x\na = x", {"x"}, {"x"}),
    ("match s:\n    case [x, *y]:\n        z = x\n    case _:\n        z = 0\na = z",
     {"s"}, set()),
    ("match s:\n    case 1:\n        z = 0\na = z", {"s", "z"}, {"z"}),
    ("import math\nx = 1\nimport json as j\na = j, math", {"math"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reads", "both"), READS)
def test_what_is_read_before_it_is_bound(text: str, reads: set[str], both: set[str]) -> None:
    """A name counts as read where it may not be bound by then, in whatever scope."""
    cell = read(text, "x" if text.startswith("x = x") or text == "x += 1" else "a")
    assert (set(cell.reads), set(cell.both)) == (reads, both)


def test_parameters_have_one_order() -> None:
    """However inputs are listed, the function is the same."""
    cell = read("a = x + y")
    first, second = (cells.as_function(cell, names) for names in (["y", "x", "x"], ["x", "y"]))
    assert ast.dump(first) == ast.dump(second)


def test_imports_at_the_head_are_no_part_of_the_function() -> None:
    """Imports before anything else are the notebook's; later ones belong to the cell."""
    cell = read("from __future__ import annotations\nimport json\na = 1\nimport math\na")
    assert [ast.unparse(each) for each in cell.imports] == [
        "from __future__ import annotations",
        "import json",
    ]
    assert ast.unparse(cells.as_function(cell, [])) == (
        "from __future__ import annotations\n\n"
        "def genes():\n    a = 1\n    import math\n    return a"
    )


# --- what stays inside ------------------------------------------------------------------

REMARKS: Final = [
    ("raw = f()\nraw.head()", "", (), "keeps the value of its last line alone; raw will not"),
    ("_raw = f()\n_raw.head()", "", ("_raw",), ""),
    ("raw = f()\nraw", "", ("raw",), ""),
    ("rows = f()\na = rows", "a", ("a",), ""),
    ("rows = f()\na = rows", "a", ("rows",), "assigns rows inside the cell alone"),
    ("for i in x:\n    a = i", "", ("i",), ""),
]


@pytest.mark.parametrize(("text", "output", "known", "remark"), REMARKS)
def test_names_that_stay_inside_are_told(
    text: str, output: str, known: tuple[str, ...], remark: str
) -> None:
    """Told is what would be missed: names beside a last expression, and those known outside."""
    said = read(text, output).remark(known)
    assert remark in said
    assert bool(remark) == bool(said)
