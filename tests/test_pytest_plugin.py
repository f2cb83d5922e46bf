"""The plugin of pytest: which store a test has, and what stays as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import usher_pipeline

ROOT: Final = Path(__file__).parents[1]
#: What pytest needs to find the plugin where the library is not installed.
METADATA: Final = "Metadata-Version: 2.1\nName: usher-plugin-under-test\nVersion: 1.0\n"

PIPELINE: Final = """\
from pathlib import Path

import polars as pl

from usher_pipeline import checkpoint, run

ran = []


@checkpoint(name="genes")
def genes(min_depth: float = 30.0) -> pl.DataFrame:
    ran.append(min_depth)
    return pl.DataFrame({"depth": [min_depth]})


def main() -> pl.DataFrame:
    with run(store="results/main.duckdb"):
        return genes(7.0)


if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class Project:
    """A project whose tests are run.

    Attributes:
        folder: Where it lies.
        variables: What the environment says.
    """

    folder: Path
    variables: dict[str, str]

    def write(self, files: dict[str, str]) -> None:
        """Write files of it."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def contents(self) -> dict[str, bytes]:
        """Return all that is in it."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def python(self, program: str, **variables: str) -> str:
        """Run a program in it; return what it prints."""
        done = self._run("-c", program, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tested(self, *options: str, **variables: str) -> dict[str, int]:
        """Run its tests, of which none may fail; return how many passed and so on."""
        done = self.pytest(*options, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        last = done.stdout.strip().splitlines()[-1]
        counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (\w+)", last)}
        return {kind: count for kind, count in counts.items() if kind != "warnings"}

    def pytest(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run its tests; return how that ended."""
        plain = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:benchmark")
        return self._run("-m", "pytest", "-q", *plain, *options, **variables)

    def _run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env={**os.environ, **self.variables, **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project whose store holds a result, with the plugin as if it were installed."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    ((name, module),) = pyproject["project"]["entry-points"]["pytest11"].items()
    info = tmp_path / "installed" / "usher_plugin_under_test-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    for folder in ("home", "tmp", "project"):
        (tmp_path / folder).mkdir()
    source = Path(usher_pipeline.__file__).parents[1]
    places = (str(source), str(info.parent), str(tmp_path / "project"))
    made = Project(
        tmp_path / "project",
        {
            "PYTHONPATH": os.pathsep.join(places),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(tmp_path / "home"),
            "XDG_STATE_HOME": "",
            "TMPDIR": str(tmp_path / "tmp"),
        },
    )
    made.write({"pyproject.toml": "", "pipeline.py": PIPELINE})
    made.python("import pipeline; pipeline.genes(1.0)")
    return made


def left(project: Project, folder: str) -> list[str]:
    """Return what is in a folder beside the project."""
    return [path.name for path in (project.folder.parent / folder).rglob("*")]


# --- the store of the project -----------------------------------------------------------


TOUCHING: Final = {
    "conftest.py": "import pipeline\npipeline.genes(2.0)\n",
    "test_touching.py": """\
import atexit
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import current_process, get_context

import pytest

import pipeline
from usher_pipeline import configure, current_run, entries, load

pipeline.genes(3.0)
configure(store="configured.duckdb")
pipeline.genes(4.0)


@pytest.fixture(scope="module")
def shared():
    return pipeline.genes.lazy(5.0)


def test_plain(shared):
    pipeline.genes(1.0)
    assert pipeline.ran[-1] == 1.0
    assert shared.collect().height == 1


def test_shared_lives_on(shared):
    assert shared.collect().height == 1
    assert entries() == []


def test_main():
    pipeline.main()
    assert load("genes")["depth"].item() == 7.0


def test_configured():
    configure(store="other.duckdb")
    pipeline.genes()


def test_threads():
    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(pipeline.genes, [1.0, 2.0]))) == 2
    assert len(entries("genes")) == 2


def test_child():
    program = "import pipeline; pipeline.genes(6.0)"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert len(entries("genes")) == 1


def test_child_that_names_its_store(monkeypatch):
    monkeypatch.delenv("USHER_STORE")
    subprocess.run([sys.executable, pipeline.__file__], check=True)
    assert len(entries("genes")) == 1


@pytest.mark.parametrize("called", [pipeline.genes, pipeline.main])
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pool(method, called):
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        pool.submit(called).result()
    assert len(entries("genes")) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pool_of_a_server(monkeypatch):
    # The address of a socket has to be short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setitem(current_process()._config, "tempdir", folder)
        with ProcessPoolExecutor(1, get_context("forkserver")) as pool:
            pool.submit(pipeline.main).result()
    assert len(entries("genes")) == 1


def late():
    # When the main thread has ended, pytest has.
    threading.main_thread().join()
    pipeline.genes(10.0)


def test_what_is_left():
    threading.Thread(target=late).start()
    atexit.register(pipeline.genes, 11.0)
    atexit.register(pipeline.main)


def test_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipeline.genes()
    assert len(entries("genes")) == 1
""",
}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_store_of_the_project_is_left_alone(
    project: Project, workers: tuple[str, ...]
) -> None:
    """Whatever tests call, and modules while they are imported, no file of it changes."""
    project.write(TOUCHING)
    before = project.contents()
    assert project.tested(*workers) == {"passed": 14}
    assert project.contents() == before
    assert [name for name in left(project, "tmp") if name.startswith("usher")] == []


LATE: Final = """\
import threading

import pipeline
import pytest

go_on = threading.Event()


def late():
    go_on.wait()
    pipeline.genes(10.0)


def test_starting():
    test_starting.thread = threading.Thread(target=late)
    test_starting.thread.start()


@pytest.mark.usher_store("project")
def test_project():
    go_on.set()
    test_starting.thread.join()
    assert pipeline.ran == [10.0]
"""


def test_what_a_test_left_does_not_use_the_store_of_the_next(project: Project) -> None:
    """A thread of an earlier test fills no store of the project, if the present test may."""
    project.write({"test_late.py": LATE})
    before = project.contents()
    assert project.tested() == {"passed": 2}
    assert project.contents() == before


def test_the_project_may_begin_above_the_tests(project: Project) -> None:
    """A project among temporary files is known from the folder of its tests as well."""
    (project.folder / "pyproject.toml").unlink()
    project.write({".git/HEAD": "", "tests/test_it.py": ABOVE})
    before = project.contents()
    within = Project(project.folder / "tests", project.variables)
    assert within.tested(TMPDIR=str(project.folder.parent)) == {"passed": 1}
    assert project.contents() == before


ABOVE: Final = """\
import os

import pipeline
from usher_pipeline import run


def test_it(monkeypatch):
    monkeypatch.delenv("USHER_STORE")
    pipeline.genes(2.0)
    with run(store="../results/main.duckdb"):
        pipeline.genes(3.0)
"""


@pytest.mark.parametrize("named", ["table", "environment"])
def test_the_store_of_the_project_may_lie_among_temporary_files(
    project: Project, named: str
) -> None:
    """What names the store of the project names no store of tests, wherever that lies."""
    store = project.folder.parent / "tmp" / "shared.duckdb"
    variables = {"USHER_STORE": str(store)} if named == "environment" else {}
    if named == "table":
        project.write({"pyproject.toml": f"[tool.usher]\nstore = {str(store)!r}\n"})
    project.python("import pipeline; pipeline.genes(1.0)", **variables)
    before = store.read_bytes()
    code = {
        "environment": f"monkeypatch.setenv('USHER_STORE', {str(store)!r})",
        "table": "monkeypatch.delenv('USHER_STORE')",
    }[named]
    project.write(
        {
            "test_it.py": "import pipeline\n\ndef test_it(monkeypatch):\n"
            f"    {code}\n    pipeline.genes(2.0)\n"
        }
    )
    assert project.tested(**variables) == {"passed": 1}
    assert store.read_bytes() == before


def test_nothing_is_left_behind(project: Project) -> None:
    """Neither among the temporary files nor in the home of the user is anything left."""
    project.write({"test_it.py": "import pipeline\n\ndef test_it():\n    pipeline.genes()\n"})
    project.python("import shutil; shutil.rmtree('../home'); import os; os.mkdir('../home')")
    assert project.tested() == {"passed": 1}
    assert left(project, "home") == []
    assert left(project, "tmp") == []


def test_without_the_plugin_the_store_is_that_of_the_project(project: Project) -> None:
    """What these tests look at would be seen: without the plugin a test fills the store."""
    project.write({"test_it.py": "import pipeline\n\ndef test_it():\n    pipeline.genes()\n"})
    before = project.contents()
    assert project.tested("-p", "no:usher") == {"passed": 1}
    assert project.contents() != before


# --- one store for each test ------------------------------------------------------------


APART: Final = """\
import pytest
from pipeline import genes
from usher_pipeline import configure, current_run, entries
from usher_pipeline.testing import assert_hit, assert_recomputed

genes(9.0)


@pytest.mark.parametrize("turn", range(2))
def test_each_is_the_first(turn, checkpoint_store, tmp_path_factory):
    assert current_run().steps() == []
    assert entries() == []
    assert_recomputed(genes, reason="first call")
    assert checkpoint_store.has_checkpoint("genes")
    assert checkpoint_store.db_path == current_run().store.value


@pytest.mark.parametrize("turn", range(2))
def test_what_is_configured_ends_with_the_test(turn, tmp_path_factory):
    assert_recomputed(genes, reason="first call")
    configure(store=tmp_path_factory.getbasetemp() / "configured.duckdb")
    genes()
"""

SHARED: Final = """\
import pytest
from pipeline import genes
from usher_pipeline.testing import assert_hit, assert_recomputed

pytestmark = pytest.mark.usher_store(scope="module")


def test_first():
    assert_recomputed(genes, 30.0, reason="first call")


def test_second():
    assert_hit(genes, 30.0)


@pytest.mark.usher_store(scope="function")
def test_alone():
    assert_recomputed(genes, 30.0, reason="first call")


@pytest.mark.usher_store(scope="class")
class TestClass:
    def test_first(self):
        assert_recomputed(genes, 30.0, reason="first call")

    def test_second(self):
        assert_hit(genes, 30.0)


@pytest.mark.usher_store(scope="session")
def test_session():
    genes(40.0)
"""

OF_SESSION: Final = """\
import pytest
from pipeline import genes
from usher_pipeline.testing import assert_hit


@pytest.mark.usher_store(scope="session")
def test_session():
    assert_hit(genes, 40.0)
"""


def test_each_test_has_a_store_of_its_own(project: Project) -> None:
    """Tests do not answer each other, and what one configures does not reach the next."""
    project.write({"test_apart.py": APART})
    assert project.tested() == {"passed": 4}


def test_tests_may_share_a_store(project: Project) -> None:
    """Tests of one class, module or session share a store where their marker says so."""
    project.write({"test_a.py": SHARED, "test_b.py": OF_SESSION})
    assert project.tested() == {"passed": 7}


KEPT: Final = """\
from pipeline import genes
from usher_pipeline import current_run, run


def test_kept(tmp_path):
    with run(store=tmp_path / "own.duckdb"):
        genes()
    assert (tmp_path / "own.duckdb").exists()
"""


@pytest.mark.parametrize("option", ["--basetemp", "TMPDIR"])
def test_files_of_tests_may_lie_in_the_project(project: Project, option: str) -> None:
    """A store that a test names where it keeps its files is used, also in the project."""
    folder = project.folder / "kept"
    folder.mkdir()
    project.write({"test_kept.py": KEPT})
    if option == "TMPDIR":
        assert project.tested(TMPDIR=str(folder)) == {"passed": 1}
    else:
        assert project.tested(option, str(folder)) == {"passed": 1}


def test_files_of_tests_may_lie_anywhere(project: Project) -> None:
    """A store that a test names where it keeps its files is used wherever that is."""
    project.write({"test_kept.py": KEPT})
    base = project.folder.parent / "elsewhere"
    assert project.tested("--basetemp", str(base)) == {"passed": 1}
    base.mkdir(exist_ok=True)
    assert project.tested(PYTEST_DEBUG_TEMPROOT=str(base)) == {"passed": 1}


AGAIN: Final = """\
from _pytest.runner import runtestprotocol


def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(2):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""

ATTEMPTED: Final = """\
from pipeline import genes
from usher_pipeline import current_run
from usher_pipeline.testing import assert_recomputed

attempts = []


def test_it():
    attempts.append(current_run().store.value)
    assert current_run().steps() == []
    assert_recomputed(genes, reason="first call")
    assert len(attempts) == 2, "fails at first"
    assert attempts[0] != attempts[1]
"""


def test_a_further_attempt_begins_like_the_first(project: Project) -> None:
    """Whoever runs a test again that failed finds its store empty once more."""
    project.write({"conftest.py": AGAIN, "test_it.py": ATTEMPTED})
    assert project.tested() == {"passed": 1}


STATED: Final = """\
import pytest
from pipeline import genes
from usher_pipeline import current_run, entries
from usher_pipeline.testing import assert_hit, assert_recomputed, temporary_store


@pytest.fixture(scope="module")
def store():
    with temporary_store() as store:
        yield store


def test_one(store):
    assert_recomputed(genes, 4.0, reason="first call")


def test_alone(request):
    is_of_project = current_run().store.value.parent.name == ".usher"
    assert is_of_project == (request.config.getini("usher_store") == "project")
    assert not [each for each in entries() if "4.0" in str(each.key.parts)]


class TestClass:
    @classmethod
    def setup_class(cls):
        cls.block = temporary_store()
        cls.store = cls.block.__enter__()

    @classmethod
    def teardown_class(cls):
        cls.block.__exit__(None, None, None)

    def test_first(self):
        assert_recomputed(genes, 4.0, reason="first call")

    def test_second(self, store):
        assert current_run().store.value == self.store.db_path
        assert_hit(genes, 4.0)


def test_other(store):
    assert_hit(genes, 4.0)
    assert current_run().store.value == store.db_path
"""


@pytest.mark.parametrize("choice", ["temporary", "project"])
def test_a_fixture_may_state_a_store_for_several_tests(project: Project, choice: str) -> None:
    """What a fixture opens is in force for the tests that ask for it, and for no other."""
    project.write({"test_it.py": STATED})
    before = project.contents()
    assert project.tested("-o", f"usher_store={choice}") == {"passed": 5}
    assert project.contents() == before


# --- runs of pytest within a process ----------------------------------------------------


HOST: Final = """\
import os
import sys

import pytest

import pipeline
from usher_pipeline import configure, current_run

configure(costly_s=5, store="host.duckdb")
pipeline.genes(50.0)
run_id, steps = current_run().run_id, current_run().steps()
assert pytest.main(["-q", "-p", "no:cacheprovider", "test_it.py"]) == 0
assert (current_run().run_id, current_run().steps()) == (run_id, steps)
assert current_run().costly_s == 5
assert current_run().store.value.name == "host.duckdb"
assert "USHER_STORE" not in os.environ and "USHER_STANDS_IN" not in os.environ
pipeline.genes(51.0)
assert [step["details"]["outcome"] for step in current_run().steps()] == ["computed"] * 2
"""

HOSTED: Final = """\
import pytest
from pipeline import genes
from usher_pipeline import configure, current_run

configure(costly_s=7)
genes(60.0)


def test_it():
    assert current_run().steps() == []
    configure(store="configured.duckdb")
    genes(61.0)


@pytest.mark.usher_store("project")
def test_project():
    genes(62.0)
"""


def test_a_program_goes_on_after_its_tests(project: Project) -> None:
    """Tests that are run from a notebook change neither its run nor what it configured."""
    project.write({"host.py": HOST, "test_it.py": HOSTED})
    project.python(HOST)
    program = "from usher_pipeline import entries, run; import sys\n"
    program += "with run(store='host.duckdb'): print(len(entries('genes')))"
    assert project.python(program) == "3\n"


NESTED: Final = """\
pytest_plugins = ["pytester"]


def test_inner(pytester, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    pytester.makeini("[pytest]\\nusher_store = project")
    pytester.makepyfile(
        "import pipeline\\n"
        "from usher_pipeline import run\\n\\n"
        "def test_it():\\n"
        "    pipeline.genes(2.0)\\n"
        "    with run(store=ROOT + '/results/main.duckdb'):\\n"
        "        pipeline.genes(3.0)\\n".replace("ROOT", repr(ROOT))
    )
    getattr(pytester, HOW)("-p", "no:randomly", "-p", "no:benchmark").assert_outcomes(passed=1)
"""


@pytest.mark.parametrize("how", ["runpytest_inprocess", "runpytest_subprocess"])
def test_tests_of_plugins_have_no_other_store(project: Project, how: str) -> None:
    """For tests that a test runs, the store of the project is that of the outer test."""
    text = NESTED.replace("ROOT", repr(str(project.folder))).replace("HOW", repr(how))
    project.write({"test_it.py": text})
    before = project.contents()
    assert project.tested() == {"passed": 1}
    assert project.contents() == before


def test_a_conftest_may_name_the_plugin(project: Project) -> None:
    """Where plugins are not loaded by themselves, a conftest.py may name it."""
    project.write(
        {
            "conftest.py": "pytest_plugins = ['usher_pipeline.pytest_plugin']\n",
            "test_apart.py": APART,
        }
    )
    before = project.contents()
    assert project.tested(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1") == {"passed": 4}
    assert project.contents() == before


# --- other choices ----------------------------------------------------------------------


HITS: Final = """\
import os

import pytest
import pipeline
from usher_pipeline.testing import assert_hit, assert_recomputed


@MARKER
def test_hits(checkpoint_store):
    assert_hit(pipeline.genes, 1.0)
    assert checkpoint_store.has_checkpoint("genes")


def test_other():
    assert_hit(pipeline.genes, 1.0) if IS_PROJECT else assert_recomputed(pipeline.genes, 1.0)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
@pytest.mark.parametrize("named", ["", "named.duckdb"], ids=["default", "environment"])
def test_a_test_may_have_the_store_of_the_project(
    project: Project, workers: tuple[str, ...], named: str
) -> None:
    """With its marker a test has the store that is in force outside of tests."""
    variables = {"USHER_STORE": str(project.folder / named)} if named else {}
    if named:
        project.python("import pipeline; pipeline.genes(1.0)", **variables)
        (project.folder / ".usher" / "store.duckdb").unlink()
    text = HITS.replace("MARKER", "pytest.mark.usher_store('project')")
    project.write({"test_it.py": text.replace("IS_PROJECT", "False")})
    assert project.tested(*workers, **variables) == {"passed": 2}


def test_all_tests_may_have_the_store_of_the_project(project: Project) -> None:
    """The ini file may say so for all tests; markers then say otherwise."""
    text = HITS.replace("MARKER", "pytest.mark.usher_store('project')")
    text = text.replace("IS_PROJECT", "True")
    text += (
        "\n\n@pytest.mark.usher_store('temporary')\ndef test_apart():\n"
        "    assert_recomputed(pipeline.genes, 1.0, reason='first call')\n"
    )
    project.write({"test_it.py": text, "pytest.ini": "[pytest]\nusher_store = project\n"})
    assert project.tested() == {"passed": 3}


def test_tests_may_do_without_a_store(project: Project) -> None:
    """With `off` every function runs at each call, and no store knows of it."""
    project.write(
        {
            "test_it.py": (
                "from pipeline import genes, ran\nfrom usher_pipeline import entries\n\n"
                "def test_it():\n    genes(1.0)\n    genes(1.0)\n"
                "    assert ran == [1.0, 1.0]\n    assert entries() == []\n"
            ),
            "pytest.ini": "[pytest]\nusher_store = off\n",
        }
    )
    before = project.contents()
    assert project.tested() == {"passed": 1}
    assert project.contents() == before


WITH_OFF: Final = """\
import os

import pipeline
import pytest
from usher_pipeline.testing import assert_hit, assert_recomputed


@pytest.mark.usher_store("temporary")
def test_temporary():
    assert_recomputed(pipeline.genes, 1.0, reason="first call")
    assert_hit(pipeline.genes, 1.0)


@pytest.mark.usher_store("project")
def test_project():
    assert_hit(pipeline.genes, 1.0)


def test_off():
    assert os.environ["USHER_DISABLE"] == "1"
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_single_tests_may_have_a_store(project: Project, workers: tuple[str, ...]) -> None:
    """Where the others do without, a marker gives a test the store that it names."""
    project.write({"test_it.py": WITH_OFF, "pytest.ini": "[pytest]\nusher_store = off\n"})
    assert project.tested(*workers) == {"passed": 3}


@pytest.mark.parametrize(
    ("ini", "marker", "told"),
    [
        (
            "usher_store = tempory\n",
            "",
            "one of temporary, project, off, got 'tempory'",
        ),
        ("", "'nowhere'", "usher_store(...): expected one of temporary, project, off"),
        ("", "scope='package'", "expected scope= function, class, module, session, got 'pack"),
        ("", "'off', scop='class'", "expected a choice and scope=, got"),
    ],
)
def test_a_slip_is_told_before_any_test_runs(
    project: Project, ini: str, marker: str, told: str
) -> None:
    """What the ini file or a marker can not mean ends the run, with what it can."""
    mark = f"@pytest.mark.usher_store({marker})\n" if marker else ""
    test = f"import pytest\n\ndef test_it(): open('ran', 'w')\n\n{mark}def test_b(): ..."
    project.write({"test_it.py": test, "pytest.ini": f"[pytest]\n{ini}"})
    done = project.pytest()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert told in done.stdout + done.stderr
    assert not (project.folder / "ran").exists()


# --- what is told -----------------------------------------------------------------------


FAILING: Final = """\
import asyncio

import polars as pl
from pipeline import genes
from usher_pipeline import checkpoint
from usher_pipeline.testing import assert_hit, assert_recomputed


@checkpoint(name="awaited")
async def awaited() -> pl.DataFrame:
    return pl.DataFrame({"n": [1]})


def test_hit():
    genes(1.0)
    assert_hit(genes, 2.0)


def test_recomputed():
    assert_recomputed(genes, reason="min_depth")


async def waiting():
    await assert_hit(awaited)


def test_awaited():
    asyncio.run(waiting())


def test_offline(monkeypatch):
    monkeypatch.setenv("USHER_OFFLINE", "1")
    genes(1.0)
"""


def test_a_failure_is_shown_where_the_test_has_it(project: Project) -> None:
    """Of an expectation that fails its line is shown, and nothing of how it was checked."""
    project.write({"test_it.py": FAILING})
    told = project.pytest("--deselect", "test_it.py::test_offline").stdout
    assert "expected hit, got computed (min_depth: 1.0 → 2.0)" in told
    assert "expected computed (min_depth), got computed (first call)" in told
    assert "expected hit, got computed (first call)" in told
    assert "testing.py" not in told


def test_a_test_that_has_nothing_offline_is_told_which_store_it_has(project: Project) -> None:
    """Who fetched for the project, and forgot to say so, is not sent to look for an edit."""
    project.write({"test_it.py": FAILING})
    told = project.pytest("test_it.py::test_offline").stdout
    assert "and first call; the store is that of a test, and not the project's" in told


# --- what it costs ----------------------------------------------------------------------


def test_a_run_without_checkpoints_loads_next_to_nothing(project: Project) -> None:
    """Where no test uses the library, only its door and the plugin itself are imported."""
    project.write(
        {
            "pipeline.py": "",
            "test_it.py": (
                "import sys\n\ndef test_it():\n"
                "    ours = {name for name in sys.modules if name.startswith('usher')}\n"
                "    rooms = {name.removeprefix('usher_pipeline.') for name in ours}\n"
                "    assert rooms == {'usher_pipeline', '_version', 'pytest_plugin', "
                "'standins'}\n"
                "    assert not {'duckdb', 'polars', 'pyarrow'} & sys.modules.keys()\n"
            ),
        }
    )
    assert project.tested() == {"passed": 1}
