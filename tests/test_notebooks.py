"""Checkpoints in a notebook, where every cell may be run again in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Notebook

FIRST: Final = """
import polars as pl

from usher_pipeline import checkpoint, configure
"""

HELPER: Final = """
def clean(name):
    return name.strip().upper()
"""

CLASS: Final = """
class Panel:
    genes = ["ush2a", "myo7a"]

    def cleaned(self):
        return [clean(gene) for gene in self.genes]
"""

DEPTH: Final = "DEPTH = 30.0"

FETCH: Final = """
@checkpoint(name="fetch")
def fetch(count: int = 2):
    with open("ran.txt", "a") as file:
        file.write("x")
    every = [clean(gene) for gene in Panel().cleaned()]
    return pl.DataFrame({"gene": every, "deep": [DEPTH * count] * len(every)})
"""

CELLS: Final = {"helper": HELPER, "class": CLASS, "global": DEPTH, "checkpoint": FETCH}

ASK: Final = """
decision = fetch.explain()
frame = fetch()
print(type(decision).__name__.lower(), decision.reason, sep=": ")
"""
HIT: Final = "hit: a stored result matches"


@pytest.fixture
def notebook(kernel: Notebook, tmp_path: Path) -> Notebook:
    """Return the notebook after a first call, in a folder and with a store of its own."""
    kernel.run(f"os.chdir({str(tmp_path)!r})")
    kernel.run(FIRST)
    kernel.run(f"configure(store={str(tmp_path / 'store.duckdb')!r})")
    for cell in CELLS.values():
        kernel.run(cell)
    assert kernel.run(ASK) == "miss: first call"
    return kernel


def test_a_cell_that_is_run_again_is_a_hit(notebook: Notebook) -> None:
    """Cells that are run again as they are, in any order, recompute nothing."""
    for cell in (FETCH, HELPER, DEPTH, CLASS, FETCH, CLASS):
        notebook.run(cell)
        assert notebook.run(ASK) == HIT
    assert notebook.ran == 1


@pytest.mark.parametrize("cell", CELLS)
def test_a_comment_in_a_cell_is_a_hit(notebook: Notebook, cell: str) -> None:
    """A comment, and blank lines that move the code, recompute nothing."""
    notebook.run(f"# Of genes.\n\n\n{CELLS[cell].rstrip()}  # for now\n")
    assert notebook.run(ASK) == HIT
    assert notebook.ran == 1


EDITS: Final = {
    "helper": ("helper", "upper", "title", "helper clean()"),
    "global": ("global", "30.0", "20.0", "DEPTH in fetch() changed: 30.0 → 20.0"),
    "attribute": ("class", '"ush2a"', '"cdh23"', "genes in class Panel changed"),
    "method": ("class", "clean(gene) for", "gene for", "helper Panel.cleaned()"),
    "body": ("checkpoint", "DEPTH * count", "DEPTH + count", "fetch() changed"),
    "default": ("checkpoint", "count: int = 2", "count: int = 3", "count: 2 → 3"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_cell_that_was_edited_recomputes(notebook: Notebook, edit: str) -> None:
    """An edited cell recomputes and is named, and its first form is a hit again."""
    cell, before, after, reason = EDITS[edit]
    assert before in CELLS[cell]
    first = notebook.run("print(frame.rows())")
    notebook.run(CELLS[cell].replace(before, after))
    said = notebook.run(ASK)
    assert said.startswith("miss: ")
    assert reason in said
    assert notebook.run("print(frame.equals(fetch.bypass()))") == "True"
    assert notebook.run(ASK) == HIT
    notebook.run(CELLS[cell])
    assert notebook.run(ASK) == HIT
    assert notebook.run("print(frame.rows())") == first
    # The first call, the edit, and the bypass.
    assert notebook.ran == 3


def test_a_cell_with_magic_counts(notebook: Notebook) -> None:
    """What a cell with a magic command defines counts as any other."""
    notebook.run(f"%%capture\n{HELPER}")
    assert notebook.run(ASK) == HIT
    notebook.run(f"%%capture\n{HELPER.replace('upper', 'title')}")
    assert "helper clean()" in notebook.run(ASK)
    assert notebook.ran == 2


def test_a_global_that_changed_in_place_recomputes(notebook: Notebook) -> None:
    """A list that a cell appends to is another constant, without any definition anew."""
    notebook.run('Panel.genes.append("cdh23")')
    assert "genes in class Panel" in notebook.run(ASK)
    assert notebook.run("print(frame.height)") == "3"
    notebook.run("Panel.genes.pop()")
    assert notebook.run(ASK) == HIT


OPTION: Final = """
from dataclasses import dataclass

@dataclass(eq=True)
class Kind:
    name: str = "a"
"""
FACTORY: Final = """
from dataclasses import dataclass, field

@dataclass
class Kind:
    names: list = field(default_factory=list)
"""
MODEL: Final = """
from pydantic import BaseModel

class Kind(BaseModel):
    name: str = "a"
"""
CLASSES: Final = {
    "option": (OPTION, "eq=True", "eq=False"),
    "factory": (FACTORY, "=list", "=set"),
    "model": (MODEL, '"a"', '"b"'),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_class_without_methods_counts(notebook: Notebook, case: str) -> None:
    """A class whose source no function leads to counts by all that it declares."""
    cell, before, after = CLASSES[case]
    notebook.run(cell)
    notebook.run(
        FETCH.replace("Panel().cleaned()", "[*Panel().cleaned(), str(Kind() == Kind())]")
    )
    assert "Kind" in notebook.run(ASK)
    notebook.run(cell)
    assert notebook.run(ASK) == HIT
    notebook.run(cell.replace(before, after))
    assert "class Kind" in notebook.run(ASK)
    notebook.run(cell)
    assert notebook.run(ASK) == HIT
    assert notebook.ran == 3


def test_another_helper_is_the_same_one_changed(notebook: Notebook) -> None:
    """A helper that is defined otherwise changed; the made-up file of its cell is not told."""
    notebook.run(HELPER.replace("upper", "title"))
    assert notebook.run(ASK) == "miss: helper clean() changed"


SHOWING: Final = """
import time
from usher_pipeline.progress import showing

with showing("papers & more", total=100, before=20) as shown:
    shown.update(30, failed=1, stored=30)
    while shown._form._handle is None:
        time.sleep(0.01)
    for done in range(31, 51):
        shown.update(done, failed=1, stored=done)
        shown._show()
"""


def test_progress_is_one_display(notebook: Notebook) -> None:
    """How far a call has come is one display of its cell, however often it is updated."""
    notebook.run(SHOWING)
    (display,) = notebook.client.nb.cells[-1]["outputs"]
    assert display["output_type"] == "display_data"
    line = display["data"]["text/plain"]
    assert line.startswith("papers & more  70/100 · 1 failed · 70 stored · took ")
    assert 'value="70"' in display["data"]["text/html"]
    assert "papers &amp; more" in display["data"]["text/html"]
