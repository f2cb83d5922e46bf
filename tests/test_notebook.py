"""The magic command ``%%checkpoint``, in a real Jupyter kernel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from nbclient.exceptions import CellExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Notebook

FIRST: Final = """
%reset -f
import os, sys, warnings
import polars as pl
from usher_pipeline import configure, entries, load
%load_ext usher_pipeline
"""

HELPER: Final = """
FACTOR = 2

def scaled(number):
    return number * FACTOR
"""

GENES: Final = """
%%checkpoint genes
import json

with open("ran.txt", "a") as _file:
    _file.write("x")
rows = [scaled(number) for number in (1, 2)]
genes = pl.DataFrame({"n": rows})
genes
"""

RANKED: Final = """
%%checkpoint ranked --output ranked
ranked = genes.sort("n", descending=True).head(LIMIT)
"""

#: What the newest call did, by the record of the run.
LAST: Final = """
from usher_pipeline import current_run
_steps = [s["details"] for s in current_run().steps() if s["step_name"] == {name!r}]
_last = max(_steps, key=lambda details: details["used_at"])
print(_last["outcome"], _last["reason"], sep=": ")
"""


@pytest.fixture
def notebook(kernel: Notebook, tmp_path: Path) -> Iterator[Notebook]:
    """Yield a notebook with nothing but the extension, in a folder and store of its own."""
    kernel.run(f"import os\nos.chdir({str(tmp_path)!r})")
    kernel.run(FIRST)
    kernel.run(f"configure(store={str(tmp_path / 'store.duckdb')!r})")
    yield kernel
    # What it warned of, and the functions that it keeps, are those of this test.
    kernel.run("%unload_ext usher_pipeline")


def explained(notebook: Notebook, cell: str) -> str:
    """Return what a cell would do, and why."""
    line, _, body = cell.strip("\n").partition("\n")
    notebook.run(f"{line} --explain\n{body}")
    return notebook.run("print(str(_).splitlines()[0])")


def failed(notebook: Notebook, cell: str) -> str:
    """Return how a cell fails, without colours."""
    with pytest.raises(CellExecutionError, match=r"(Error|Exception)") as caught:
        notebook.run(cell)
    return str(caught.value)


def warned(notebook: Notebook, cell: str) -> str:
    """Return what a cell warns of."""
    outputs = notebook.outputs(cell)
    texts = [o["text"] for o in outputs if o.get("name") == "stderr"]
    return "".join(text for text in texts if "UsherWarning" in text)


# --- hit and miss -----------------------------------------------------------------------


def test_a_cell_that_is_run_again_is_a_hit(notebook: Notebook) -> None:
    """An unchanged cell computes once, and shows and assigns its frame each time."""
    notebook.run(HELPER)
    for _ in range(2):
        shown = notebook.outputs(GENES)[-1]["data"]
        assert "shape: (2, 1)" in shown["text/plain"]
        assert notebook.run("print(genes['n'].to_list())") == "[2, 4]"
        notebook.run("del genes")
    notebook.run(HELPER)
    assert explained(notebook, GENES).startswith("hit: genes 2 × 1")
    assert notebook.ran == 1
    assert notebook.run("print(load('genes')['n'].to_list())") == "[2, 4]"


def test_what_a_cell_did_is_said_each_time(notebook: Notebook) -> None:
    """Whoever runs a cell again sees that it was answered from the store, again."""
    notebook.run(HELPER)
    lines = [
        "".join(o["text"] for o in notebook.outputs(GENES) if o.get("name") == "stderr")
        for _ in range(3)
    ]
    assert ["genes · computed" in line for line in lines] == [True, False, False]
    assert ["genes · hit" in line for line in lines] == [False, True, True]


SAME: Final = {
    "comment": GENES.replace("import json", "import json  # for later\n\n\n# Rows."),
    "formatting": GENES.replace("(1, 2)", "(1,\n    2,)"),
    "import": GENES.replace("import json", "import math"),
    "semicolon": f"{GENES.rstrip()};",
    "output": GENES.replace("%%checkpoint genes", "%%checkpoint genes --output genes"),
    "look": f"{GENES.rstrip()}.head(1)".replace("genes\n", "genes --output genes\n", 1),
}


@pytest.mark.parametrize("case", SAME)
def test_what_does_not_change_the_meaning_is_a_hit(notebook: Notebook, case: str) -> None:
    """Comments, formatting, imports at the head and what is only shown do not count."""
    notebook.run(HELPER)
    notebook.run(GENES)
    assert explained(notebook, SAME[case]).startswith("hit: ")


OTHER: Final = {
    "body": (GENES.replace("(1, 2)", "(1, 3)"), "", "genes() changed"),
    "helper": (GENES, HELPER.replace("* FACTOR", "+ FACTOR"), "helper scaled() changed"),
    "constant": (GENES, "FACTOR = 3", "FACTOR in helper scaled() changed: 2 → 3"),
    "source": (
        GENES.replace("checkpoint genes", "checkpoint genes --sources gnomad=v4"),
        "",
        "source gnomad: (none) → v4",
    ),
}


@pytest.mark.parametrize("case", OTHER)
def test_what_changes_the_meaning_is_a_miss(notebook: Notebook, case: str) -> None:
    """An edit of the cell, of a helper or constant in another cell, or of a source counts."""
    cell, edit, reason = OTHER[case]
    notebook.run(HELPER)
    notebook.run(GENES)
    notebook.run(edit)
    assert reason in explained(notebook, cell)
    notebook.run(cell)
    assert notebook.ran == 2
    notebook.run(HELPER)
    notebook.run(GENES)
    assert notebook.ran == 2


def test_frames_of_the_notebook_are_inputs(notebook: Notebook) -> None:
    """A frame that a cell names is an argument, and known; other values are code."""
    notebook.run(HELPER)
    notebook.run(GENES)
    notebook.run("LIMIT = 1")
    notebook.run(RANKED)
    found = "print([r.name for r in entries('ranked')[0].inputs])"
    assert notebook.run(found) == "['genes']"
    # The same frame that was computed anew is the same.
    notebook.run("genes = pl.DataFrame({'n': [2, 4]})")
    assert explained(notebook, RANKED).startswith("hit: ")
    notebook.run("genes = pl.DataFrame({'n': [2, 5]})")
    reason = explained(notebook, RANKED)
    assert reason.startswith("miss: genes")
    assert "in cell" not in reason
    notebook.run("genes = load('genes')\nLIMIT = 2")
    assert explained(notebook, RANKED) == "miss: LIMIT in cell ranked() changed: 1 → 2"


def test_frames_that_queries_name_are_inputs(notebook: Notebook) -> None:
    """A frame that SQL in a cell names is an argument, so that not only code changed."""
    notebook.run("import duckdb\ngenes = pl.DataFrame({'n': [2, 4]})")
    cell = "%%checkpoint some\nduckdb.sql('FROM genes').pl()"
    notebook.run(cell)
    notebook.run("genes = pl.DataFrame({'n': [2, 5]})")
    assert explained(notebook, cell).startswith("miss: genes: column n changed")


def test_frames_in_a_collection_are_inputs(notebook: Notebook) -> None:
    """A dict of frames that a cell names is an argument, and it is known where it is from."""
    notebook.run(HELPER)
    notebook.run(GENES)
    notebook.run("parts = {'all': genes, 'none': genes.clear()}")
    cell = "%%checkpoint some\nparts['all'].head(1)"
    notebook.run(cell)
    found = "print([r.name for r in entries('some')[0].inputs])"
    assert notebook.run(found) == "['genes']"
    notebook.run("parts['none'] = genes")
    reason = explained(notebook, cell)
    assert reason.startswith("miss: parts")
    assert "in cell" not in reason


def test_what_a_declared_query_names_counts(notebook: Notebook) -> None:
    """A query that is an argument makes one of each name in it, as the cell looks it up."""
    notebook.run("import pandas as pd\nframe = pd.DataFrame({'n': [1, 2, 3]})")
    notebook.run("least = 1\nwhere = 'n > @least'")
    cell = "%%checkpoint some --inputs where\nframe.query(where)"
    notebook.run(cell)
    notebook.run("least = 2")
    assert explained(notebook, cell) == "miss: least: 1 → 2"


QUERIES: Final = {
    "lazy": "made = pl.DataFrame({'n': [1]}).lazy()",
    "relation": "import duckdb\nmade = duckdb.sql('select 1 as n')",
    "collection": "made = {'a': pl.DataFrame({'n': [1]}).lazy()}",
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_query_of_the_notebook_is_refused(notebook: Notebook, case: str) -> None:
    """What a query of another cell gives is not known before it runs, so it is no input."""
    notebook.run(QUERIES[case])
    said = failed(notebook, "%%checkpoint some\nprint(made)\npl.DataFrame({'n': [1]})")
    assert "it reads made, whose rows are not there yet" in said
    notebook.run("made = pl.DataFrame({'n': [1]})")
    notebook.run("%%checkpoint some\nmade.lazy()")


def test_what_can_not_be_watched_is_told_once(notebook: Notebook) -> None:
    """A value that a hit can not tell from another is warned of, on a hit as well."""
    notebook.run("import random\ndice = random.Random(1)\nclient = object()")
    cell = "%%checkpoint some\n{}pl.DataFrame({{'n': [dice.random()]}})"
    assert "some reaches what can not be watched: dice (random.Random)" in warned(
        notebook, cell.format("")
    )
    assert warned(notebook, cell.format("")) == ""
    said = warned(notebook, cell.format("client; "))
    assert "client (builtins.object) in cell some()" in said
    notebook.run("%reload_ext usher_pipeline")
    assert "dice (random.Random)" in warned(notebook, cell.format("client; "))
    assert warned(notebook, "%%checkpoint other\npl.DataFrame({'n': [1]})") == ""


CHANGING: Final = {
    "argument": ("frame", "import pandas as pd\nframe = pd.DataFrame({'n': [1]})", "['m'] = 2"),
    "constant": ("rows", "rows = [1]", ".append(2)"),
    "declared": ("table", "table = {'a': 1}", "['b'] = dice"),
}


@pytest.mark.parametrize("case", CHANGING)
def test_what_a_cell_changes_in_place_is_told(notebook: Notebook, case: str) -> None:
    """What a hit would not change again is warned of when the cell has run."""
    name, first, change = CHANGING[case]
    notebook.run(f"import random\ndice = random.Random(1)\n{first}")
    option = f"--inputs {name} " if case == "declared" else ""
    text = f"{name}{change}\nmade = pl.DataFrame({{'n': [1]}})"
    said = warned(notebook, f"%%checkpoint some {option}--output made\n{text}")
    assert f"some changed {name} in place" in said
    assert notebook.run("print(made.height)") == "1"
    notebook.run(first)
    cell = f"%%checkpoint some {option}--output made\n{text}"
    assert "in place" not in warned(notebook, cell)
    assert notebook.run(f"print(len({name}))") == "1"


def test_a_frame_that_is_changed_and_named_at_the_end_is_the_output(
    notebook: Notebook,
) -> None:
    """A last line that is a name is assigned, whatever the cell did to make it so."""
    first = "import pandas as pd\nframe = pd.DataFrame({'n': [1]})"
    cell = "%%checkpoint some\nframe['m'] = 2\nframe"
    for _ in range(2):
        notebook.run(first)
        assert warned(notebook, cell) == ""
        assert notebook.run("print(list(frame))") == "['n', 'm']"
    notebook.run(first)
    assert explained(notebook, cell).startswith("hit: ")


def test_a_frame_that_a_cell_imports_is_an_input_at_once(
    notebook: Notebook, tmp_path: Path
) -> None:
    """A frame that the head of a cell imports counts alike in the first run and in others."""
    (tmp_path / "tables.py").write_text(
        "import polars as pl\nFRAME = pl.DataFrame({'n': [1]})\n"
    )
    notebook.run(f"sys.path.insert(0, {str(tmp_path)!r})")
    cell = "%%checkpoint first\nfrom tables import FRAME\n\nFRAME.head(1)"
    notebook.run(cell)
    assert explained(notebook, cell).startswith("hit: ")
    notebook.run(f"sys.path.remove({str(tmp_path)!r})\ndel sys.modules['tables']")


def test_declared_inputs_are_arguments(notebook: Notebook) -> None:
    """What `--inputs` names counts as an argument, in whatever order it is named."""
    cell = "%%checkpoint pair --inputs {}\npl.DataFrame({{'first': [x], 'last': [y]}})"
    notebook.run("x, y = 1, 2")
    notebook.run(cell.format("x,y"))
    assert explained(notebook, cell.format("y,x")).startswith("hit: ")
    notebook.run("y = 3")
    assert explained(notebook, cell.format("x,y")) == "miss: y: 2 → 3"
    assert notebook.run("print(load('pair', y=2)['last'].to_list())") == "[2]"


def test_a_name_that_is_read_and_assigned_is_an_input(notebook: Notebook) -> None:
    """A cell that changes a name of the notebook starts from its value, each time."""
    notebook.run("n = pl.DataFrame({'n': [1, 2, 3]})")
    cell = "%%checkpoint tail\nn = n.tail(-1)"
    notebook.run(cell)
    assert notebook.run("print(n['n'].to_list())") == "[2, 3]"
    notebook.run(cell)
    assert notebook.run("print(n['n'].to_list())") == "[3]"
    notebook.run("n = pl.DataFrame({'n': [1, 2, 3]})")
    assert explained(notebook, cell).startswith("hit: tail 2 × 1")


def test_a_cell_does_not_see_its_own_output(notebook: Notebook) -> None:
    """What the notebook has under the name of the output counts where the cell reads it."""
    cell = "%%checkpoint n --output n\nprint('asked for n')\nn = pl.DataFrame({'n': [1]})"
    assert notebook.run(cell) == "asked for n"
    assert notebook.run(cell) == ""
    notebook.run("n = 5")
    assert notebook.run(cell) == ""
    assert notebook.run("print(n.height)") == "1"
    notebook.run("def seen():\n    return n.head()")
    cell = "%%checkpoint m {}--output n\nn = seen()"
    assert "`--inputs n` hands that in" in failed(notebook, cell.format(""))
    asking = "%%checkpoint k --output n\nimport duckdb\nn = duckdb.sql('FROM n').pl()"
    assert "`--inputs n` hands that in" in failed(notebook, asking)
    # What was there is there again.
    assert notebook.run("print(n.height)") == "1"
    notebook.run(cell.format("--inputs n "))


def test_refresh_runs_it_again(notebook: Notebook) -> None:
    """With `--refresh` a cell runs whatever is stored."""
    notebook.run(HELPER)
    notebook.run(GENES)
    notebook.run(GENES.replace("checkpoint genes", "checkpoint genes --refresh"))
    assert notebook.ran == 2


def test_costly_cells_are_not_run_for_an_edit(notebook: Notebook) -> None:
    """A costly result stays over an edit until somebody decides; the error says how, here."""
    notebook.run(HELPER)
    notebook.run("configure(costly_s=0)")
    notebook.run(GENES)
    edited = GENES.replace("(1, 2)", "(1, 3)")
    assert "--on-code-change accept" in failed(notebook, edited)
    accepted = edited.replace("checkpoint genes", "checkpoint genes --on-code-change accept")
    notebook.run(accepted)
    notebook.run("configure(costly_s=600)")
    assert notebook.run("print(genes['n'].to_list())") == "[2, 4]"
    assert notebook.ran == 1


def test_a_max_age_lets_it_expire(notebook: Notebook) -> None:
    """With `--max-age` an old frame is no hit."""
    notebook.run(HELPER)
    notebook.run(GENES)
    young = GENES.replace("checkpoint genes", "checkpoint genes --max-age 7d")
    assert explained(notebook, young).startswith("hit: ")
    expired = young.replace("7d", "0.001s")
    assert "expired" in explained(notebook, expired)


@pytest.mark.parametrize("place", ["project", "elsewhere"])
def test_autoreload_counts(
    notebook: Notebook, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    """An edit of a module that `%autoreload` loads anew is a miss, its first form a hit."""
    folder = tmp_path if place == "project" else tmp_path_factory.mktemp("code")
    module = folder / "cleaning.py"
    body = "def clean(name):\n    return name.{}()\n"
    cell = "%%checkpoint names\npl.DataFrame({'name': [cleaning.clean('ush2a')]})"
    module.write_text(body.format("upper"))
    notebook.run(f"sys.path.insert(0, {str(folder)!r})")
    notebook.run("%load_ext autoreload\n%autoreload 2\nimport cleaning")
    notebook.run(cell)
    module.write_text(body.format("capitalize"))
    notebook.run("sys.modules.keys();")
    assert "helper clean() in cleaning.py changed" in explained(notebook, cell)
    notebook.run(cell)
    assert notebook.run("print(load('names')['name'].item())") == "Ush2a"
    module.write_text(body.format("upper") + "# As before.\n")
    assert explained(notebook, cell).startswith("hit: ")
    notebook.run(
        f"%autoreload 0\nsys.path.remove({str(folder)!r})\ndel sys.modules['cleaning']"
    )


# --- what the notebook gets -------------------------------------------------------------


def test_only_the_output_leaves_a_cell(notebook: Notebook) -> None:
    """After a hit as after a miss the notebook has the output and the imports at the head."""
    notebook.run(HELPER)
    state = "print([n in globals() for n in ('genes', 'json', 'rows', 'number', '_file')])"
    notebook.run(GENES)
    assert notebook.run(state) == "[True, True, False, False, False]"
    notebook.run("del genes, json")
    notebook.run(GENES)
    assert notebook.run(state) == "[True, True, False, False, False]"
    assert notebook.ran == 1


def test_a_name_that_would_be_stale_is_told(notebook: Notebook) -> None:
    """A name of the notebook that a cell assigns for itself alone is told, hit or miss."""
    notebook.run(HELPER)
    notebook.run("warnings.simplefilter('always')")
    assert warned(notebook, GENES) == ""
    notebook.run("rows = [7]")
    assert "genes assigns rows inside the cell alone" in warned(notebook, GENES)
    assert notebook.run("print(rows)") == "[7]"
    notebook.run("warnings.simplefilter('default')")


def test_what_a_last_expression_leaves_is_told(notebook: Notebook) -> None:
    """Names beside the expression that is kept are told before the cell runs."""
    cell = "%%checkpoint some\nraw = pl.DataFrame({'n': [1, 2]})\nraw.head(1)"
    assert "raw will not be in the notebook" in warned(notebook, cell)
    assert notebook.run("print(load('some').height)") == "1"


def test_a_last_line_may_show_what_is_kept(notebook: Notebook) -> None:
    """With `--output` an expression at the end is shown, hit or miss, and does not count."""
    cell = "%%checkpoint some --output raw\nraw = pl.DataFrame({{'n': [1, 2]}})\nraw.{}"
    for look, shown in (("height", "2"), ("width", "1")):
        (output,) = (o for o in notebook.outputs(cell.format(look)) if "data" in o)
        assert output["data"]["text/plain"] == shown
    assert explained(notebook, cell.format("columns")).startswith("hit: ")


def test_a_semicolon_shows_nothing(notebook: Notebook) -> None:
    """As in any cell, a semicolon at the end keeps the value from being shown."""
    outputs = notebook.outputs("%%checkpoint some\npl.DataFrame({'n': [1, 2]});")
    assert [o for o in outputs if "data" in o] == []


def test_names_may_be_any_text(notebook: Notebook) -> None:
    """The name of a cell may have spaces, in quotes."""
    cell = "%%checkpoint 'genes of interest'\npl.DataFrame({'n': [1]})"
    notebook.run(cell)
    assert explained(notebook, cell).startswith("hit: genes of interest 1 × 1")
    assert notebook.run("print(load('genes of interest').height)") == "1"


# --- errors -----------------------------------------------------------------------------

USAGE: Final = {
    "%%checkpoint\nx": "the following arguments are required: NAME",
    "%%checkpoint a --outputs b\nx": "unrecognized arguments: --outputs b",
    "%%checkpoint 'a\nx": "No closing quotation",
    "%%checkpoint a\nx = 1\ny = 2": "it assigns x, y, and one frame is kept",
    "%%checkpoint a --inputs nope\nx": "--inputs names nope, which the notebook does not have",
    "%%checkpoint a --sources b=\nx": "--sources states a name without a version",
    "%%checkpoint a\nx = await y": "it awaits something (x = await y)",
    "%%checkpoint a\n%time x = 1": "a magic command or a line for the shell",
}


@pytest.mark.parametrize("cell", USAGE)
def test_what_can_not_be_kept_is_one_line(notebook: Notebook, cell: str) -> None:
    """A cell or option that does not fit is an error without a traceback."""
    said = failed(notebook, cell)
    assert f"UsageError: {USAGE[cell]}" in said or USAGE[cell] in said
    assert "Nothing was run" in said
    assert "Traceback" not in said


def test_an_error_in_a_cell_shows_its_line(notebook: Notebook) -> None:
    """A cell that fails is shown where it fails, without the way through the library."""
    cell = "%%checkpoint bad\nx = 1\n\nfor y in 'ab':\n    z = x / 0  # here\nz"
    said = failed(notebook, cell)
    # Above stands the cell as it is.
    trace = re.sub(r"\x1b\[[0-9;]*m", "", said.partition("Traceback (most recent")[2])
    outer, inner = re.findall(r"Cell In\[(\d+)\], line", trace)
    assert outer == inner
    assert "line 5" in trace
    assert "----> 5     z = x / 0  # here" in trace
    assert "usher_pipeline/" not in trace
    assert "ZeroDivisionError" in trace


def test_an_error_of_the_library_is_short(notebook: Notebook) -> None:
    """What the library refuses is shown without the way through it."""
    said = failed(notebook, "%%checkpoint bad --sources gnomad\npl.DataFrame()")
    assert "No config is in force, so no version is known for the source 'gnomad'" in said
    assert "facts.py" not in said


def test_what_is_no_frame_is_refused_and_not_lost(notebook: Notebook) -> None:
    """A value that can not be stored is an error that carries it."""
    said = failed(notebook, "%%checkpoint bad\n6 * 7")
    assert "bad returned int; expected a frame" in said
    assert notebook.run("print(sys.last_value.result)") == "42"


def test_a_function_keeps_its_name(notebook: Notebook) -> None:
    """A cell can not take the name of a checkpointed function that is still there."""
    notebook.run("from usher_pipeline import checkpoint")
    notebook.run("@checkpoint\ndef genes():\n    return pl.DataFrame({'n': [1]})")
    assert "NameClashError" in failed(notebook, GENES.replace("genes = ", "frame = "))


def test_the_extension_can_be_unloaded(notebook: Notebook) -> None:
    """Without the extension there is no such command, and it can be loaded again."""
    notebook.run("%unload_ext usher_pipeline")
    assert "not found" in failed(notebook, GENES)
    notebook.run("%load_ext usher_pipeline\n%reload_ext usher_pipeline")
    notebook.run("%%checkpoint some\npl.DataFrame({'n': [1]})")


# --- views ------------------------------------------------------------------------------

VIEWED: Final = {
    "entry": "entries()[0]",
    "entries": "entries('genes')",
    "run": "current_run()",
    "store": "store",
    "usage": "store.usage()",
}


@pytest.mark.parametrize("kind", VIEWED)
def test_records_have_a_view(notebook: Notebook, kind: str) -> None:
    """Entries, runs and stores are shown as HTML."""
    notebook.run(HELPER)
    notebook.run(GENES)
    notebook.run(
        "from usher_pipeline import current_run\n"
        "from usher_pipeline.persistence import PipelineStore\n"
        "store = PipelineStore('store.duckdb')"
    )
    (output,) = notebook.outputs(VIEWED[kind])
    assert "genes" in output["data"]["text/html"]
    assert "<script" not in output["data"]["text/html"]


def test_decisions_have_a_view(notebook: Notebook) -> None:
    """What a cell would do is shown as HTML, and as a line where there is none."""
    notebook.run(HELPER)
    for verb in ("miss", "hit"):
        cell = GENES.replace("checkpoint genes", "checkpoint genes --explain")
        (output,) = notebook.outputs(cell)
        assert f"<strong>{verb}</strong>" in output["data"]["text/html"]
        assert output["data"]["text/plain"].startswith(f"{verb}: ")
        notebook.run(GENES)
