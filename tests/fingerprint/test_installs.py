"""A package means the same from its sources, from an editable install and from a wheel."""

from __future__ import annotations

import base64
import compileall
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKAGE: Final = {
    "__init__.py": '"""Genes and what is known of them."""\n',
    "names.py": '''\
"""How genes are spelled."""


def clean(name):
    """Return the spelling that counts."""
    return name.strip().upper()
''',
    "limits.py": '"""What is deep enough."""\n\nDEPTH = 30.0\n',
    "panels.py": '''\
"""Lists of genes."""

from dataclasses import dataclass, field

from genekit.names import clean


@dataclass(frozen=True)
class Panel:
    """A list of genes with a release."""

    genes: tuple[str, ...] = ()
    release: str = "v4"
    notes: list[str] = field(default_factory=list)

    def cleaned(self):
        return [clean(gene) for gene in self.genes]
''',
    "deep/__init__.py": "",
    "deep/pipeline.py": '''\
"""The step that is kept."""

from usher_pipeline import checkpoint

from .. import limits
from ..panels import Panel


@checkpoint(name="genes", sources={"gnomad": "v4.1"})
def genes(panel: Panel = Panel(("ush2a",)), share: float = 0.5):
    """Return the genes of a panel."""
    import polars as pl

    from genekit.names import clean

    every = [*panel.cleaned(), *Panel(("myo7a",)).cleaned(), clean("cdh23")]
    return pl.DataFrame({"gene": every, "deep": [limits.DEPTH * share] * len(every)})
''',
}

DRIVER: Final = """\
import importlib.metadata, json, os, site, sys
for folder in filter(None, os.environ.get("SITE_FOLDERS", "").split(os.pathsep)):
    site.addsitedir(folder)
import genekit
from genekit.deep.pipeline import genes
from genekit.panels import Panel
key = genes.key(Panel(("ush2a",)))
distributions = importlib.metadata.packages_distributions()
print(json.dumps({
    "digest": key.digest,
    "code": key.code,
    "parts": [[p.kind, p.label, p.digest, p.preview, p.where] for p in key.parts],
    "untracked": key.untracked,
    "file": genekit.__file__,
    "installed": "genekit" in distributions,
}))
"""

METADATA: Final = "Metadata-Version: 2.1\nName: genekit\nVersion: 1.0\n"
WHEEL: Final = (
    "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)
INFO: Final = "genekit-1.0.dist-info"


@dataclass(frozen=True)
class Form:
    """One way to have the package.

    Attributes:
        put: Writes files of the package, as a user of this form brings an edit about.
        variables: What the environment says so that it is found.
        file: Where the package then lies.
        work: The folder to work in.
    """

    put: Callable[[dict[str, str]], None]
    variables: dict[str, str]
    file: Path
    work: Path

    def key(self) -> dict[str, Any]:
        """Return the key of a call, and where the package was found, in a new process."""
        hidden = {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
        # The place of the library itself, when it is not installed.
        places = filter(None, [self.variables.get("PYTHONPATH"), os.environ.get("PYTHONPATH")])
        found = {"PYTHONPATH": os.pathsep.join(places)}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER],
            env=os.environ | hidden | self.variables | found,
            cwd=self.work,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer.pop("file") == str(self.file)
        return answer


# --- the forms --------------------------------------------------------------------------


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files and the folders that they need."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def site_packages(environment: Path) -> Path:
    """Make a folder for installed packages in what looks like a virtual environment."""
    base = {"base": str(environment), "platbase": str(environment)}
    folder = environment / sysconfig.get_path("purelib", "venv", base)
    folder.mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}\n")
    return folder


def project(folder: Path) -> Path:
    """Make a project with the package under `src`; return that folder."""
    write(folder, {"pyproject.toml": "[project]\nname = 'genekit'\nversion = '1.0'\n"})
    write(folder / "src" / "genekit", PACKAGE)
    return folder / "src"


def from_source(top: Path) -> Form:
    """Find the package on PYTHONPATH; work in its project."""
    source = project(top / "project")
    package = source / "genekit"
    variables = {"PYTHONPATH": str(source)}
    return Form(
        lambda files: write(package, files), variables, package / "__init__.py", source.parent
    )


def editable(top: Path) -> Form:
    """Install a link to the project; work in a sub-folder of another project."""
    source = project(top / "checkout of genekit")
    folder = site_packages(top / "environment")
    write(
        folder,
        {
            "genekit.pth": f"{source}\n",
            f"{INFO}/METADATA": METADATA,
            f"{INFO}/WHEEL": WHEEL,
            f"{INFO}/RECORD": f"genekit.pth,,\n{INFO}/METADATA,,\n{INFO}/WHEEL,,\n",
            f"{INFO}/top_level.txt": "genekit\n",
        },
    )
    work = top / "other" / "notebooks"
    write(top / "other", {"pyproject.toml": "", "notebooks/.keep": ""})
    package = source / "genekit"
    variables = {"SITE_FOLDERS": str(folder)}
    return Form(lambda files: write(package, files), variables, package / "__init__.py", work)


def wheel(top: Path) -> Form:
    """Install a wheel into the environment of a project; work in that project."""
    work = top / "analysis"
    write(work, {"pyproject.toml": "", "notes.md": ""})
    folder = site_packages(work / ".venv")

    def put(files: dict[str, str]) -> None:
        archive = top / "genekit-1.0-py3-none-any.whl"
        build(archive, PACKAGE | files)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        # As pip does; uv leaves it to the first import.
        compileall.compile_dir(folder, quiet=2, force=True)

    put({})
    variables = {"SITE_FOLDERS": str(folder)}
    return Form(put, variables, folder / "genekit" / "__init__.py", work)


def build(archive: Path, files: dict[str, str]) -> None:
    """Write a wheel: the files, what it is, and a list of all with their hashes.

    The form is that of the binary distribution format:
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    contents = {f"genekit/{name}": text for name, text in files.items()}
    contents |= {f"{INFO}/METADATA": METADATA, f"{INFO}/WHEEL": WHEEL}
    record = ""
    with zipfile.ZipFile(archive, "w") as packed:
        for name, text in contents.items():
            digest = hashlib.sha256(text.encode()).digest()
            mark = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            record += f"{name},sha256={mark},{len(text.encode())}\n"
            packed.writestr(name, text)
        packed.writestr(f"{INFO}/RECORD", f"{record}{INFO}/RECORD,,\n")


FORMS: Final = {"source": from_source, "editable": editable, "wheel": wheel}


# --- what they mean ---------------------------------------------------------------------


def test_every_form_gives_one_key(tmp_path: Path) -> None:
    """From `src`, as an editable install and from a wheel a call has one key, part by part."""
    keys = {name: form(tmp_path / name).key() for name, form in FORMS.items()}
    assert [key.pop("installed") for key in keys.values()] == [False, True, True]
    assert keys["editable"] == keys["source"]
    assert keys["wheel"] == keys["source"]
    labels = {label for kind, label, *_ in keys["source"]["parts"] if kind == "code"}
    assert labels >= {
        "genes()",
        "helper clean() in names.py",
        "helper Panel.cleaned() in panels.py",
        "class Panel",
        "limits.DEPTH in genes()",
    }
    assert keys["source"]["untracked"] == []


@pytest.mark.parametrize("name", FORMS)
def test_an_edit_counts_in_every_form(tmp_path: Path, name: str) -> None:
    """An edited helper is another key, in what leads to it alone; a comment is none."""
    form = FORMS[name](tmp_path)
    before = form.key()
    form.put({"names.py": PACKAGE["names.py"].replace("    return", "    # Why.\n    return")})
    assert form.key() == before
    form.put({"names.py": PACKAGE["names.py"].replace("upper", "lower")})
    after = form.key()
    assert after["digest"] != before["digest"]
    changed = [part[1] for part in after["parts"] if part not in before["parts"]]
    # The class of the argument has a method that calls it.
    assert changed == ["panel", "helper clean() in names.py"]
    form.put(PACKAGE)
    assert form.key() == before


# --- without sources --------------------------------------------------------------------


def bytecode(top: Path, file: str = "names.py", before: str = "", after: str = "") -> Form:
    """Have compiled modules alone, of the package with one text in place of another."""
    assert before in PACKAGE[file]
    write(top / "genekit", PACKAGE | {file: PACKAGE[file].replace(before, after, 1)})
    compileall.compile_dir(top, quiet=2, legacy=True)
    for path in [*top.rglob("*.py"), *top.rglob("__pycache__/*.pyc")]:
        path.unlink()
    variables = {"PYTHONPATH": str(top)}
    return Form(lambda _: None, variables, top / "genekit" / "__init__.pyc", top)


def test_compiled_modules_have_a_key(tmp_path: Path) -> None:
    """Where the sources are gone a call has a key, the same wherever the modules lie."""
    one = bytecode(tmp_path / "one").key()
    assert bytecode(tmp_path / "two").key() == one
    labels = {label for kind, label, *_ in one["parts"] if kind == "code"}
    assert labels >= {"genes()", "helper clean() in names.py", "class Panel"}


EDITS: Final = {
    "helper": ("names.py", "upper", "lower"),
    "constant": ("limits.py", "30.0", "20.0"),
    "default of a field": ("panels.py", '"v4"', '"v5"'),
    "method": ("panels.py", "clean(gene) for", "gene for"),
    "body": ("deep/pipeline.py", "* len", "* 2 * len"),
    "option of a class": ("panels.py", "frozen=True", "frozen=True, order=True"),
    "factory of a field": ("panels.py", "=list", "=set"),
}


def test_an_edit_of_compiled_modules_counts(tmp_path: Path) -> None:
    """Where the sources are gone every edit is another key, never silently the same."""
    codes = {"nothing": bytecode(tmp_path / "nothing").key()["code"]}
    for name, (file, before, after) in EDITS.items():
        codes[name] = bytecode(tmp_path / name, file, before, after).key()["code"]
    same = [name for name, code in codes.items() if list(codes.values()).count(code) > 1]
    assert same == []


def test_a_note_tells_that_sources_are_missing(tmp_path: Path) -> None:
    """Where the sources are gone the key tells that code counts by what was compiled."""
    untracked = bytecode(tmp_path).key()["untracked"]
    assert any("source" in note or "bytecode" in note for note in untracked)
