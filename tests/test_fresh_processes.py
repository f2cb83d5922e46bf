"""The whole circle, as users live it: a script, run again and again in new processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import duckdb
import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT: Final = '''
"""A user's script: the counter is a file that the function appends to."""
from pathlib import Path

import polars as pl

from helper import clean
from usher_pipeline import checkpoint, export, load, run, setting, source

COUNTER = Path(__file__).with_name("counter.txt").as_posix()


def count():
    with open(COUNTER, "a") as file:
        file.write("x")


@checkpoint(name="gnomad_constraint", sources=["gnomad"])
def fetch(min_depth: float = 30.0, *, release: str = source("gnomad"),
          page_size: int = setting("api.page_size", default=500)) -> pl.DataFrame:
    """Fetch constraint scores."""
    count()
    return pl.DataFrame({"gene": clean(["ush2a", "myo7a"]), "depth": [min_depth, 2.0]})


if __name__ == "__main__":
    with run("config.yaml") as current:
        decision = fetch.explain()
        frame = fetch()
        export(frame, "out/constraint.parquet")
        print(type(decision).__name__.lower(), getattr(decision, "reason", ""))
        print(frame.rows())
'''

HELPER: Final = """
def clean(names):
    return [name.upper() for name in names]
"""

CONFIG: Final = """\
versions:
  gnomad_version: v4.0
api:
  page_size: 500
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a script, a helper module and a config."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[project]\nname = 'mine'\nversion = '1'\n")
    (folder / "pipeline.py").write_text(SCRIPT)
    (folder / "helper.py").write_text(HELPER)
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def call(project: Path, *, fails: bool = False) -> str:
    """Run the script in a new process and return what it printed first."""
    done = subprocess.run(
        [sys.executable, "pipeline.py"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout.splitlines()[0]


def computed(project: Path) -> int:
    """Return how often the function really ran."""
    counter = project / "counter.txt"
    return len(counter.read_text()) if counter.exists() else 0


EDITS: Final = {
    "body": (
        "pipeline.py",
        '"depth": [min_depth, 2.0]',
        '"depth": [min_depth, 3.0]',
        "fetch()",
    ),
    "helper": ("helper.py", "name.upper()", "name.title()", "helper clean() in helper.py"),
    "default": (
        "pipeline.py",
        "min_depth: float = 30.0",
        "min_depth: float = 20.0",
        "min_depth",
    ),
    "setting": ("config.yaml", "page_size: 500", "page_size: 1000", "page_size: 500 → 1000"),
    "source": ("config.yaml", "v4.0", "v4.1", "source gnomad: v4.0 → v4.1"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_recomputes_and_its_reversal_hits(project: Path, edit: str) -> None:
    """Computed, hit; after an edit computed with the reason; after reverting it a hit."""
    file, before, after, reason = EDITS[edit]
    assert call(project) == "miss first call"
    assert call(project).startswith("hit")
    original = (project / file).read_text()
    assert before in original
    (project / file).write_text(original.replace(before, after))
    said = call(project)
    assert said.startswith("miss")
    assert reason in said
    assert call(project).startswith("hit")
    (project / file).write_text(original)
    assert call(project).startswith("hit")
    assert computed(project) == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Fetch constraint scores."""', '"""Fetch them."""  # a comment'),
        ("    count()\n", "    # why it counts\n\n    count()\n"),
        (" -> pl.DataFrame:", ":"),
    ],
    ids=["docstring", "comment and blank line", "annotation"],
)
def test_an_edit_without_meaning_hits(project: Path, before: str, after: str) -> None:
    """Comments, docstrings, annotations and blank lines recompute nothing."""
    call(project)
    (project / "pipeline.py").write_text(SCRIPT.replace(before, after))
    assert call(project).startswith("hit")
    assert computed(project) == 1


def test_the_default_store_lies_at_the_root_of_the_project(project: Path) -> None:
    """The store is `.usher/store.duckdb` at the root, kept out of version control."""
    call(project)
    assert (project / ".usher" / "store.duckdb").is_file()
    assert (project / ".usher" / ".gitignore").read_text().endswith("*\n")


@pytest.mark.parametrize("lost", ["store.duckdb", "store.checkpoints"])
def test_either_half_serves(project: Path, lost: str) -> None:
    """With only the database, and with only the folder, the hit still works."""
    call(project)
    path = project / ".usher" / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert call(project).startswith("hit")
    assert call(project).startswith("hit")
    assert computed(project) == 1


def test_both_halves_lost_is_a_miss(project: Path) -> None:
    """Without either half the function runs again."""
    call(project)
    shutil.rmtree(project / ".usher")
    assert call(project) == "miss first call"
    assert computed(project) == 2


def test_the_table_is_plain_and_its_provenance_too(project: Path) -> None:
    """Any DuckDB tool finds the result by its plain name, with metadata and provenance."""
    call(project)
    with duckdb.connect(str(project / ".usher" / "store.duckdb")) as connection:
        rows = connection.execute("SELECT gene, depth FROM gnomad_constraint").fetchall()
        assert rows == [("USH2A", 30.0), ("MYO7A", 2.0)]
        listed = connection.execute("SELECT table_name, row_count FROM _checkpoints").fetchall()
        assert listed == [("gnomad_constraint", 2)]
        (steps,) = connection.execute(
            "SELECT steps_json FROM _provenance WHERE table_name = 'gnomad_constraint'"
        ).fetchall()
        assert json.loads(steps[0])[0]["step_name"] == "gnomad_constraint"


def test_a_hit_bears_the_time_and_run_that_computed_it(project: Path) -> None:
    """The sidecar of a later run shows when and in which run the work was really done."""
    sidecar = project / "out" / "constraint.provenance.json"
    call(project)
    first = json.loads(sidecar.read_text())
    call(project)
    second = json.loads(sidecar.read_text())
    (one,), (two,) = first["processing_steps"], second["processing_steps"]
    assert one["timestamp"] == two["timestamp"]
    assert one["details"]["run_id"] == two["details"]["run_id"] == first["run"]["run_id"]
    assert second["run"]["run_id"] != first["run"]["run_id"]
    assert two["details"]["sources"] == {"gnomad": "v4.0"}


CRASH: Final = """
import usher_pipeline.persistence.{module} as module

def crash(*args, **kwargs):
    raise KeyboardInterrupt("the machine died")

module.{where} = crash
"""

CRASHES: Final = {
    "before sealing": ("segments", "Segments.seal"),
    "between sealing and entry": ("segments", "Segments.commit"),
    "between segment and entry": ("segments", "write_json"),
    "between entry and publishing": ("local", "LocalBackend.publish"),
    "inside publishing": ("tables", "_put"),
}


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_at_any_step_leaves_the_store_whole(project: Path, crash: str) -> None:
    """After a fault at each step in turn the next call works, and nothing half-done shows."""
    module, where = CRASHES[crash]
    breaking = CRASH.format(module=module, where=where)
    (project / "pipeline.py").write_text(
        SCRIPT.replace('if __name__ == "__main__":', f'{breaking}\nif __name__ == "__main__":')
    )
    assert "the machine died" in call(project, fails=True)
    (project / "pipeline.py").write_text(SCRIPT)
    committed = "publishing" in crash
    assert call(project).startswith("hit" if committed else "miss")
    assert call(project).startswith("hit")
    assert computed(project) == (1 if committed else 2)
    folder = project / ".usher" / "store.checkpoints"
    assert not list((folder / ".pending").glob("*.json"))
    with duckdb.connect(str(project / ".usher" / "store.duckdb")) as connection:
        sql = "SELECT (SELECT count(*) FROM gnomad_constraint), row_count FROM _checkpoints"
        assert connection.execute(sql).fetchall() == [(2, 2)]


def test_a_failed_block_keeps_its_provenance(project: Path) -> None:
    """When the block fails, what it did is still recorded, in file and table."""
    script = SCRIPT.replace(
        "        frame = fetch()\n", "        frame = fetch()\n        raise ValueError('no')\n"
    )
    (project / "pipeline.py").write_text(script)
    assert "ValueError: no" in call(project, fails=True)
    (record,) = (project / ".usher" / "store.checkpoints" / ".runs").glob("*.json")
    data = json.loads(record.read_text())
    assert data["run"]["outcome"] == "failed"
    assert data["run"]["error"] == "ValueError: no"
    assert [step["step_name"] for step in data["processing_steps"]] == ["gnomad_constraint"]
    with duckdb.connect(str(project / ".usher" / "store.duckdb")) as connection:
        sql = "SELECT run_id FROM _provenance WHERE table_name IS NULL"
        assert connection.execute(sql).fetchall() == [(record.stem,)]


def test_two_scripts_do_not_share_a_name(tmp_path: Path) -> None:
    """A function of another script has another place; the same one imported has the same."""
    script = (
        "import polars as pl\nfrom usher_pipeline import checkpoint\n"
        "@checkpoint(name='shared')\ndef fetch():\n    return pl.DataFrame({{'n': [{n}]}})\n"
        "if __name__ == '__main__':\n    print(fetch().item())\n"
    )
    (tmp_path / "one.py").write_text(script.format(n=1))
    (tmp_path / "two.py").write_text(script.format(n=2))
    (tmp_path / "three.py").write_text("import one\nprint(one.fetch.explain())\n")

    def result(name: str) -> str:
        command = [sys.executable, f"{name}.py"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    assert result("one") == "1\n"
    assert "claimed twice: by one.fetch and by two.fetch" in result("two")
    assert result("three").startswith("hit: shared")
    (tmp_path / "one.py").unlink()
    assert result("two") == "2\n"


PACKAGE: Final = """
import polars as pl

from usher_pipeline import checkpoint


class Panel:
    def __init__(self, genes):
        self.genes = genes


@checkpoint(name="panel_genes")
def panel_genes(panel: Panel, depth: int = 3) -> pl.DataFrame:
    return pl.DataFrame({"gene": panel.genes, "depth": depth})


if __name__ == "__main__":
    from usher_pipeline import configure

    configure(store="store.duckdb")
    from panels.fetching import Panel, panel_genes

    panel_genes(Panel(["USH2A", "MYO7A"]))
"""

READER: Final = """
import importlib.util

from usher_pipeline import configure, entries, load

assert importlib.util.find_spec("panels") is None
configure(store="store.duckdb")
(entry,) = entries()
print(load("panel_genes", depth=3).rows(), entry.function, "Panel" in entry._repr_html_())
"""


def test_a_result_is_loaded_where_its_package_is_not(tmp_path: Path) -> None:
    """`load(name)` needs neither the function nor the package that it is from."""
    package = tmp_path / "elsewhere" / "panels"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "fetching.py").write_text(PACKAGE)
    command = [sys.executable, "-m", "panels.fetching"]
    search_path = [str(package.parent), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search_path))}
    subprocess.run(command, env=environment, check=True)
    shutil.rmtree(package)
    (tmp_path / "reader.py").write_text(READER)
    answer = subprocess.run(
        [sys.executable, "reader.py"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    genes = "[('USH2A', 3), ('MYO7A', 3)]"
    assert answer.stdout.strip() == f"{genes} panels.fetching.panel_genes True"
