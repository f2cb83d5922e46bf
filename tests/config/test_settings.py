"""What is in force: the project, the config and the store, and which source won."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final

import pytest

from usher_pipeline.config import settings
from usher_pipeline.config.schema import PipelineConfig
from usher_pipeline.config.settings import (
    Choice,
    Project,
    Setting,
    config_candidates,
    config_in_force,
    first_party,
    project_root,
    store_in_force,
    tool_table,
    view,
    view_in_force,
)
from usher_pipeline.errors import ConfigError, OptionError
from usher_pipeline.fingerprint import files

TABLE: Final = "[tool.usher] in pyproject.toml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose folder `notebooks` is the working folder."""
    root = tmp_path / "project"
    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\nname = 'genes'\n", "utf-8")
    monkeypatch.chdir(root / "notebooks")
    return root


def table(root: Path, text: str) -> None:
    """Write the table of the library into a project's `pyproject.toml`."""
    (root / "pyproject.toml").write_text(f"[tool.usher]\n{text}\n", "utf-8")


def config_at(file: Path, text: str = "a: 1\n") -> Path:
    """Write a config file and return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


# --- the project ------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["pyproject.toml", ".git"])
def test_the_root_is_the_nearest_marked_folder(tmp_path: Path, mark: str) -> None:
    """The nearest folder upward with `pyproject.toml` or `.git` is the root."""
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "inner"
    deep = inner / "a" / "b"
    deep.mkdir(parents=True)
    (inner / mark).write_text("", "utf-8")
    assert project_root(deep) == inner
    assert project_root(inner) == inner
    assert project_root(tmp_path) == tmp_path


def test_the_root_follows_the_working_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the working folder changes the project, at once."""
    assert project_root() == project
    other = tmp_path / "other"
    (other / ".git").mkdir(parents=True)
    monkeypatch.chdir(other)
    assert project_root() == other


def test_a_new_mark_is_seen_at_once(project: Path) -> None:
    """A folder that becomes a project is one from then on."""
    assert project_root() == project
    (project / "notebooks" / "pyproject.toml").write_text("", "utf-8")
    assert project_root() == project / "notebooks"


def test_without_a_mark_the_folder_itself_is_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is marked, the working folder is the root."""
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path
    assert project_root(Path("below")) == tmp_path / "below"


def _next_tick() -> None:
    """Wait until a file that changes has another time, however coarse the clock of files is."""
    time.sleep(0.02)


def test_a_project_is_looked_for_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no folder on the way changes it is the same; every change is seen at once."""
    monkeypatch.setattr(files, "_SETTLED_NS", -1)
    known = settings.project()
    assert settings.project() is known
    _next_tick()
    table(project, "first_party = ['genes']")
    other = settings.project()
    assert other is not known
    assert other.packages == {"genes"}
    assert settings.project() is other
    _next_tick()
    (project / "notebooks" / ".git").mkdir()
    assert settings.project().root == project / "notebooks"
    _next_tick()
    (project / "notebooks" / ".git").rmdir()
    assert settings.project().root == project
    # From the root itself too, where its file is all that is looked at.
    monkeypatch.chdir(project)
    assert settings.project() is settings.project()
    _next_tick()
    (project / "pyproject.toml").unlink()
    (project / ".git").mkdir()
    assert settings.project().packages == frozenset()
    assert settings.project().root == project
    _next_tick()
    (project / ".git").rmdir()
    (project.parent / ".git").mkdir()
    assert settings.project().root == project.parent


# --- [tool.usher] -----------------------------------------------------------------------


def test_the_table_is_read(project: Path) -> None:
    """The table of the library is plain data; every call returns its own copy."""
    assert tool_table(project) == {}
    table(project, "first_party = ['genes']\nstore = 's.duckdb'")
    assert tool_table() == {"first_party": ["genes"], "store": "s.duckdb"}
    tool_table()["first_party"].append("x")
    assert first_party() == frozenset(["genes"])


def test_the_table_is_read_again_when_it_changed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settled file is parsed once, and again after an edit."""
    import time

    now = time.time_ns
    monkeypatch.setattr("usher_pipeline.fingerprint.files.time.time_ns", lambda: now() + 10**11)
    table(project, "first_party = ['a']")
    assert first_party() == first_party() == frozenset(["a"])
    time.sleep(0.02)
    table(project, "first_party = ['b']")
    assert first_party() == frozenset(["b"])


def test_a_folder_without_pyproject_has_no_table(tmp_path: Path) -> None:
    """Without a `pyproject.toml` the table is empty."""
    assert tool_table(tmp_path) == {}
    assert first_party(tmp_path) == frozenset([])


def test_a_pyproject_that_does_not_name_the_library_is_not_parsed(project: Path) -> None:
    """What says nothing to us costs no parser, and its mistakes are for others to tell."""
    (project / "pyproject.toml").write_text("[tool.ruff\n", "utf-8")
    assert tool_table(project) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[tool.usher\n", r"it is no TOML: .*\(at line 1, column 12\)"),
        ("[tool]\nusher = 1\n", "tool.usher: expected a table, got int"),
    ],
)
def test_a_broken_table_is_an_error(project: Path, text: str, problem: str) -> None:
    """A `pyproject.toml` that can not be read is an error with its place."""
    (project / "pyproject.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=problem):
        tool_table(project)


def test_a_pyproject_that_is_no_text_is_an_error(project: Path) -> None:
    """Bytes that are no UTF-8 are an error of the file."""
    (project / "pyproject.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="it is no TOML"):
        tool_table(project)


def test_another_kind_of_tool_is_no_table(project: Path) -> None:
    """A `tool` that is no table has no table of ours."""
    (project / "pyproject.toml").write_text("tool = 1\n", "utf-8")
    assert tool_table(project) == {}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("stroe", "store"), ("first-party", "first_party"), ("konfig", "config")],
)
def test_an_unknown_name_in_the_table_is_a_slip(project: Path, name: str, nearest: str) -> None:
    """A name that would do nothing is an error with the nearest one that does something."""
    table(project, f"store = 's.duckdb'\n{name} = 'x'")
    with pytest.raises(ConfigError, match=f"tool.usher.{name}: .* '{nearest}' is the nearest"):
        store_in_force()


def test_first_party_is_a_list_of_names(project: Path) -> None:
    """One name alone is a list of one; anything else than names is an error."""
    table(project, "first_party = 'genes'")
    assert first_party() == frozenset(["genes"])
    for wrong in ("1", "[1]"):
        table(project, f"first_party = {wrong}")
        with pytest.raises(ConfigError, match=r"first_party: expected a list of package"):
            first_party()


@pytest.mark.parametrize("name", ["store", "config"])
def test_a_path_in_the_table_is_a_text(project: Path, name: str) -> None:
    """A path in the table that is no text is an error."""
    table(project, f"{name} = 5")
    ask: Any = store_in_force if name == "store" else config_in_force
    with pytest.raises(ConfigError, match=f"tool.usher.{name}: expected a path, got int"):
        ask()


@pytest.mark.parametrize("ask", [store_in_force, config_candidates])
def test_a_path_that_is_given_is_a_path(project: Path, ask: Any) -> None:
    """What `run` or `configure` was given and is no path is named with who was given it."""
    with pytest.raises(OptionError, match=r"run\(\w+=\.\.\.\) expected a path, got 5"):
        ask(5)
    with pytest.raises(
        OptionError, match=r"configure\(\w+=\.\.\.\) expected a path, got \['a'\]"
    ):
        ask(None, ["a"])


# --- the store --------------------------------------------------------------------------


def test_the_store_works_with_nothing_configured(project: Path) -> None:
    """The default store lies at the root of the project, so that all its folders share it."""
    default = project / ".usher" / "store.duckdb"
    assert store_in_force() == Choice(
        default,
        "default",
        (
            ("run(...)", ""),
            ("configure(...)", ""),
            ("USHER_STORE", ""),
            (TABLE, ""),
            ("duckdb_path of the config", ""),
            ("default", str(default)),
        ),
    )
    assert not default.parent.exists()


def test_each_source_of_a_store_beats_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The highest source wins; taking them away one by one shows the whole order."""
    here = project / "notebooks"
    monkeypatch.setenv("USHER_STORE", "environment.duckdb")
    table(project, "store = 'table.duckdb'")
    config_at(here / "c.yaml", "duckdb_path: named.duckdb\n")
    seen = view("c.yaml")

    choice = store_in_force("run.duckdb", "configured.duckdb", seen)
    assert choice.considered == (
        ("run(...)", str(here / "run.duckdb")),
        ("configure(...)", str(here / "configured.duckdb")),
        ("USHER_STORE", str(here / "environment.duckdb")),
        (TABLE, str(project / "table.duckdb")),
        ("duckdb_path of c.yaml", str(here / "named.duckdb")),
        ("default", str(project / ".usher" / "store.duckdb")),
    )
    found = [choice, store_in_force(None, Path("configured.duckdb"), seen)]
    found.append(store_in_force(config=seen))
    monkeypatch.delenv("USHER_STORE")
    found.append(store_in_force(config=seen))
    table(project, "")
    found.append(store_in_force(config=seen))
    found.append(store_in_force())
    assert [(each.origin, str(each.value)) for each in found] == list(choice.considered)


def test_home_and_absolute_paths_stay(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute paths stay as they are, and `~` is the home folder, for every source."""
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("USHER_STORE", "~/s.duckdb")
    table(project, "store = '~/t.duckdb'")
    assert store_in_force().value == Path("/home/someone/s.duckdb")
    assert store_in_force("/abs/../s.duckdb").value == Path("/abs/../s.duckdb")
    monkeypatch.delenv("USHER_STORE")
    assert store_in_force().value == Path("/home/someone/t.duckdb")
    assert store_in_force("~s-t/s").value == project / "notebooks" / "~s-t" / "s"


def test_an_empty_variable_is_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable that is set to nothing names nothing."""
    monkeypatch.setenv("USHER_STORE", "")
    monkeypatch.setenv("USHER_CONFIG", "")
    assert store_in_force().origin == "default"
    assert config_in_force() is None


def test_a_root_can_be_given(project: Path, tmp_path: Path) -> None:
    """Another project can be asked about than that of the working folder."""
    other = tmp_path / "other"
    other.mkdir()
    table(other, "config = 'c.yaml'")
    config_at(other / "c.yaml")
    assert store_in_force(within=Project(str(other))).value == other / ".usher" / "store.duckdb"
    choice = config_in_force(root=other)
    assert choice is not None
    assert choice.value == other / "c.yaml"


def test_the_database_of_a_model_is_considered(project: Path) -> None:
    """The database of a config object counts like that of a file."""
    config = PipelineConfig.model_validate(
        {
            "data_dir": "d",
            "cache_dir": "c",
            "duckdb_path": "p.duckdb",
            "versions": {"ensembl_release": 113},
        }
    )
    choice = store_in_force(config=view(config))
    assert choice.origin == "duckdb_path of PipelineConfig"
    assert choice.value == project / "notebooks" / "p.duckdb"


# --- the config -------------------------------------------------------------------------


def test_there_may_be_no_config(project: Path) -> None:
    """Without any source there is no config, and an empty view."""
    assert config_in_force() is None
    assert view_in_force().where == "no config"
    assert {path for _, path in config_candidates()} == {""}


def test_each_source_of_a_config_beats_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The highest source wins; taking them away one by one shows the whole order."""
    here = project / "notebooks"
    for file in ("run", "configured", "environment", "../table"):
        config_at(here / f"{file}.yaml", f"who: {file}\n")
    monkeypatch.setenv("USHER_CONFIG", "environment.yaml")
    table(project, "config = 'table.yaml'")

    choice = config_in_force("run.yaml", "configured.yaml")
    found = [choice, config_in_force(None, "configured.yaml"), config_in_force()]
    monkeypatch.delenv("USHER_CONFIG")
    found.append(config_in_force())
    assert choice is not None
    assert [(each.origin, str(each.value)) for each in found if each] == [
        ("run(...)", str(here / "run.yaml")),
        ("configure(...)", str(here / "configured.yaml")),
        ("USHER_CONFIG", str(here / "environment.yaml")),
        (TABLE, str(project / "table.yaml")),
    ]
    monkeypatch.setenv("USHER_CONFIG", "environment.yaml")
    assert choice.considered == config_candidates("run.yaml", "configured.yaml")
    assert choice.considered == tuple((each.origin, str(each.value)) for each in found if each)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_config_that_is_named_must_be_there(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """A config that somebody names and that is missing is an error which says who."""
    names = ["", "", "", ""]
    names[place] = "x.yaml"
    run, configured, environment, stated = names
    monkeypatch.setenv("USHER_CONFIG", environment)
    table(project, f"config = '{stated}'")
    winner = config_candidates(run, configured)[place][0]
    for ask in (config_in_force, view_in_force):
        with pytest.raises(FileNotFoundError, match=rf"{re.escape(winner)}\).*/x\.yaml'"):
            ask(run, configured)


def test_a_config_may_be_no_folder(project: Path) -> None:
    """A folder in place of a config is an error."""
    with pytest.raises(ConfigError, match="it is a folder"):
        config_in_force(project)


def test_the_view_in_force_says_why(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view over the config in force names the config and who chose it."""
    config_at(project / "notebooks" / "c.yaml", "a: 1\n")
    assert view_in_force({"a": 2}).get("a") == Setting(2, "run(...)")
    assert view_in_force({"a": 2}).where == "mapping (run(...))"
    assert view_in_force(None, "c.yaml").where == "c.yaml (configure(...))"
    monkeypatch.setenv("USHER_CONFIG", "c.yaml")
    assert view_in_force().where == "c.yaml (USHER_CONFIG)"
    assert view_in_force().get("a") == Setting(1, "c.yaml:1")
    assert view_in_force({}, {"a": 3}).section() == {}
    assert view_in_force("", {"a": 3}).get("a").origin == "configure(...)"
