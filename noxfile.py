"""The checks of the project, each in an environment of its own; ``nox -l`` lists them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "versions", "lint", "typing", "docs", "minimums"]

ROOT: Final = Path(__file__).parent
PYPROJECT: Final = nox.project.load_toml(ROOT / "pyproject.toml")

#: Each test starts in a folder of its own; the order is random, every warning an error.
#: Two workers halve the time; what comes after `--` is read later and so wins: `-n 0`.
PYTEST: Final = ("pytest", "-p", "no:cacheprovider", "-n", "2")
#: What takes minutes is tested with one DuckDB, and what starts many processes with both, on
#: one Python: neither has to do with the version of Python or of other libraries.
WITHOUT_MINUTES: Final = ("-m", "not exhaustive")
BRIEFLY: Final = ("-m", "not exhaustive and not processes")


def group(*names: str) -> tuple[str, ...]:
    """Return the requirements of dependency groups."""
    return nox.project.dependency_groups(PYPROJECT, *names)


# --- interpreters -----------------------------------------------------------------------


def interpreter(version: str) -> str | None:
    """Return a Python of this version that starts: on the path, of pyenv or of uv."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(map(str, pyenv.glob(f"{version}.*/bin/python"))),
        *sorted(map(str, uv.glob(f"cpython-{version}.*/bin/python"))),
    ]
    return next((path for path in candidates if path and is_python(path, version)), None)


def is_python(path: str, version: str) -> bool:
    """Tell whether a program is a Python of this version.

    A shim of a version manager lies on the path for versions that are not in use.
    """
    program = "import sys; print('{}.{}'.format(*sys.version_info))"
    command = [path, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() == version


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


HERE: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
FOUND: Final = {
    version: path
    for version in nox.project.python_versions(PYPROJECT)
    if (path := sys.executable if version == HERE else interpreter(version))
}
#: What is promised about speed is measured with the oldest Python and with the newest.
BENCHED: Final = [
    nox.param(FOUND[version], id=version)
    for version in sorted({min(FOUND, key=_number), max(FOUND, key=_number)}, key=_number)
]
#: The Pythons that the lowest versions of all dependencies have wheels for.
OLDEST: Final = ("3.11", "3.12", "3.13")
TESTED: Final = [
    nox.param(sys.executable, "<2", id=f"{HERE}, duckdb 1"),
    nox.param(sys.executable, ">=2", id=f"{HERE}, duckdb 2"),
    *(
        nox.param(path, ">=2", id=f"{version}, duckdb 2")
        for version, path in FOUND.items()
        if version != HERE
    ),
]


# --- sessions ---------------------------------------------------------------------------


@nox.session
@nox.parametrize("python,duckdb", TESTED)
def tests(session: nox.Session, duckdb: str) -> None:
    """Run the tests on this Python with both DuckDBs, on every other with the newest."""
    session.install(".", f"duckdb{duckdb}", *group("test"))
    here = () if duckdb == ">=2" else WITHOUT_MINUTES
    chosen = here if session.python == sys.executable else BRIEFLY
    session.run(*PYTEST, *chosen, *session.posargs)


@nox.session
def versions(session: nox.Session) -> None:
    """Read with either DuckDB what the other one wrote, for every type of every kind."""
    script = ROOT / "tests" / "persistence" / "crossing.py"
    for number, (writer, reader) in enumerate((("<2", ">=2"), (">=2", "<2"))):
        folder = Path(session.create_tmp(), str(number))
        shutil.rmtree(folder, ignore_errors=True)
        session.install(".", f"duckdb{writer}", *group("test"))
        session.run("python", str(script), "write", str(folder))
        session.install(f"duckdb{reader}")
        session.run("python", str(script), "read", str(folder))


@nox.session
def lint(session: nox.Session) -> None:
    """Check the rules of style and the format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of the library, its tests and this file."""
    session.install("-e", ".", *group("typing"))
    session.run("mypy", *(session.posargs or ("src", "tests", "noxfile.py")))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, and execute every example in it and in the sources."""
    session.install(".", *group("docs"))
    build = ("sphinx-build", "-n", "-W", "--keep-going", "-q", "-E", "-b", "html")
    session.run(*build, "docs", "docs/_build/html")

    # The examples may make stores: they run on copies, far from any project.
    with tempfile.TemporaryDirectory() as folder:
        examples = (ROOT / "README.md", ROOT / "docs" / "conftest.py", *ROOT.glob("docs/*.md"))
        for source in examples:
            shutil.copy(source, folder)
        session.chdir(folder)
        settings = ("-c", f"{ROOT / 'pyproject.toml'}", "--rootdir", folder)
        pytest = ("pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *settings)
        # An example goes on with what the one before it stored, and each is a test.
        plugin = ("-p", "usher_pipeline.pytest_plugin", "-o", "usher_store=project")
        session.run(*pytest, *plugin, ".")
        session.run(*pytest, "--doctest-modules", "--pyargs", "usher_pipeline")
        session.chdir(ROOT)


@nox.session(python=next((FOUND[version] for version in OLDEST if version in FOUND), None))
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest version of every direct dependency."""
    if FOUND.keys().isdisjoint(OLDEST):
        session.skip(f"the lowest versions need one of Python {', '.join(OLDEST)}")
    session.install("uv")
    lowest = ("--resolution", "lowest-direct", "--python", session.virtualenv.location)
    session.run("uv", "pip", "install", *lowest, ".", *group("test"))
    session.run(*PYTEST, *BRIEFLY, *session.posargs)


@nox.session(default=False)
@nox.parametrize("python", BENCHED)
def bench(session: nox.Session) -> None:
    """Measure what is promised about speed; the last run is kept for comparison.

    What is measured with is computed once and is a hit in every other environment. The
    benchmarks name the stores that they measure, so the plugin of the library has no part.
    """
    session.install(".", *group("bench"))
    store = {"USHER_STORE": str(session.cache_dir.resolve() / "bench.duckdb")}
    with session.chdir("benchmarks"):
        session.run("usher", "warm", "tables", env=store)
    offline = store | {"USHER_OFFLINE": "1"}
    unused = ("cacheprovider", "randomly", "xdist", "usher")
    pytest = ("pytest", *(word for name in unused for word in ("-p", f"no:{name}")))
    # There is nothing to compare with what another Python measured.
    version = session.run("python", "-c", "import sys; print(sys.version[:4])", silent=True)
    kept = f".benchmarks/*-CPython-{str(version).strip()}-*/*.json"
    compare = ["--benchmark-compare"] if any(ROOT.glob(kept)) else []
    measure = (*compare, "--benchmark-autosave", "-o", "python_files=bench_*.py")
    session.run(*pytest, *measure, *(session.posargs or ("benchmarks",)), env=offline)
