"""What is in force, and why: the project, its config, its store.

A store and a config are found alike, the highest first: ``run(...)``,
``configure(...)``, the environment, ``[tool.usher]`` in ``pyproject.toml``, for a store
the ``duckdb_path`` of the config in force and the default. Nothing here is loaded that
a call could do without: no pydantic, no YAML before a YAML file is read.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usher_pipeline.config.environment import variable
from usher_pipeline.config.values import REQUIRED, ConfigView, Setting, view
from usher_pipeline.display import preview
from usher_pipeline.errors import ConfigError, OptionError
from usher_pipeline.fingerprint.files import signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usher_pipeline.fingerprint.files import Signature

__all__ = [
    "IN_TABLE",
    "REQUIRED",
    "Choice",
    "ConfigView",
    "Project",
    "Setting",
    "config_candidates",
    "config_in_force",
    "first_party",
    "project",
    "project_root",
    "store_in_force",
    "tool_table",
    "view",
    "view_in_force",
]

StrPath = str | os.PathLike[str]

_PYPROJECT: Final = "pyproject.toml"
#: Which source a choice has that the project itself states.
IN_TABLE: Final = "[tool.usher] in pyproject.toml"
#: What the table may hold; any other name is a slip, and would do nothing.
_KNOWN: Final = ("config", "first_party", "store")
_MARKS: Final = (_PYPROJECT, ".git")

#: Where the store is when nobody says otherwise, below the root of the project.
_DEFAULT_STORE: Final = Path(".usher", "store.duckdb")


@dataclass(frozen=True, slots=True)
class Choice:
    """A path that is in force, and how that came about.

    Attributes:
        value: The path, absolute.
        origin: Which source won, such as ``USHER_STORE``.
        considered: Every source from the highest to the lowest with the path that it
            names, empty where it names none.
    """

    value: Path
    origin: str
    considered: tuple[tuple[str, str], ...]


# --- the project ------------------------------------------------------------------------


class Project:
    """A project, as it is while nothing on the way to it changes.

    Attributes:
        root: The folder that holds `pyproject.toml` or `.git`.
        place: The same as text.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.place = root

    @cached_property
    def table(self) -> dict[str, Any]:
        """The table ``[tool.usher]`` of its `pyproject.toml`, which nobody may change.

        Raises:
            ConfigError: The file names us and is no TOML, the entry is no table, or it
                has a name that means nothing here.
        """
        file = self.root / _PYPROJECT
        return _read_table(file) if signature(file) is not None else {}

    @cached_property
    def packages(self) -> frozenset[str]:
        """The packages that ``first_party`` in that table counts as the project's own.

        Raises:
            ConfigError: The entry is neither a text nor a list of texts.
        """
        stated = self.table.get("first_party", [])
        names = [stated] if isinstance(stated, str) else stated
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                self.root / _PYPROJECT,
                "tool.usher.first_party: expected a list of package names",
            )
        return frozenset(names)


class _Seen(NamedTuple):
    """A folder on the way to a project, or a project's file, as it was.

    Attributes:
        place: The path.
        state: What tells of a change; None where others change it all the time.
        marks: Which marks a folder has, for those that change all the time.
    """

    place: str
    state: Signature | None
    marks: tuple[bool, ...]


#: Folder → its project, with all that was looked at for it.
_projects: Final[dict[str, tuple[tuple[_Seen, ...], Project]]] = {}


def project(start: Path | None = None) -> Project:
    """Return the project that a folder lies in; the same one while it stays as it is.

    Args:
        start: The folder; the working folder unless given.
    """
    here = os.getcwd() if start is None else str(Path(_text(start)))  # noqa: PTH109 - quick
    known = _projects.get(here)
    if known is not None:
        # Written out: it is on the way of every call.
        for place, state, marks in known[0]:
            if (_marks_in(place) != marks) if state is None else (_state(place) != state):
                break
        else:
            return known[1]
    passed = _passed(here)
    found = Project(passed[-1].place if any(passed[-1].marks) else here)
    path = f"{found.place}/{_PYPROJECT}"
    file = signature(path)
    if file is None or file[1]:
        if file is not None:
            # The folder of such a file is a root while the file is there.
            below = passed[:-1] if found.place == passed[-1].place else passed
            passed = [*below, _Seen(path, file[0], ())]
        _projects[here] = tuple(passed), found
    return found


def _seen(folder: str) -> _Seen:
    # The marks first: one that comes between the two looks changes the folder.
    marks, found = _marks_in(folder), signature(folder)
    is_settled = found is not None and found[1]
    return _Seen(folder, found[0] if found is not None and is_settled else None, marks)


def _state(place: str) -> Signature | None:
    try:
        facts = os.stat(place)  # noqa: PTH116 - on the way of every call
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino


def _passed(here: str) -> list[_Seen]:
    """Return the folders from one upward to the nearest that has a mark, or to the top."""
    passed = [_seen(here)]
    while not any(passed[-1].marks):
        above = os.path.dirname(passed[-1].place)  # noqa: PTH120 - quick
        if above == passed[-1].place:
            break
        passed.append(_seen(above))
    return passed


def _marks_in(folder: str) -> tuple[bool, ...]:
    return tuple([os.path.exists(f"{folder}/{mark}") for mark in _MARKS])  # noqa: PTH110 - quick


def project_root(start: Path | None = None) -> Path:
    """Return the root of the project that a folder lies in.

    Args:
        start: The folder; the working folder unless given.

    Returns:
        The nearest folder upward that holds `pyproject.toml` or `.git`; else the folder
        itself.
    """
    return project(start).root


def tool_table(root: Path | None = None) -> dict[str, Any]:
    """Return the table ``[tool.usher]`` of a project's `pyproject.toml`.

    Args:
        root: The project; the one of the working folder unless given.

    Returns:
        A copy of the table; empty when there is none.

    Raises:
        ConfigError: The file is no TOML, the entry is no table, or it has a name that means
            nothing here.
    """
    return copy.deepcopy(_at(root).table)


def _at(root: Path | None) -> Project:
    return project() if root is None else Project(str(root))


def _read_table(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        if "usher" not in text:
            # Most projects say nothing to us, and the parser takes longer to load than a
            # small result.
            return {}
        import tomllib

        document = tomllib.loads(text)
    except ValueError as problem:
        raise ConfigError(file, f"it is no TOML: {problem}") from problem
    tools = document.get("tool", {})
    table = tools.get("usher", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        found = type(table).__name__
        raise ConfigError(file, f"tool.usher: expected a table, got {found}")
    for name in table.keys() - _KNOWN:
        from difflib import get_close_matches

        (nearest,) = get_close_matches(name, _KNOWN, n=1, cutoff=0)
        raise ConfigError(
            file,
            f"tool.usher.{name}: expected one of {', '.join(_KNOWN)}, of which "
            f"{nearest!r} is the nearest",
        )
    return table


def first_party(root: Path | None = None) -> frozenset[str]:
    """Return the packages that ``[tool.usher] first_party`` counts as the project's own.

    Args:
        root: The project; the one of the working folder unless given.

    Raises:
        ConfigError: The entry is neither a text nor a list of texts.
    """
    return _at(root).packages


# --- what is in force -------------------------------------------------------------------


def config_in_force(
    run: StrPath | None = None,
    configured: StrPath | None = None,
    root: Path | None = None,
) -> Choice | None:
    """Return which config file is in force; None when nobody names one.

    Args:
        run: What ``run(...)`` was given.
        configured: What ``configure(...)`` was given.
        root: The project; the one of the working folder unless given.

    Raises:
        FileNotFoundError: The file that the winner names is not there.
        ConfigError: It is a folder, or `pyproject.toml` can not be read.
    """
    choice = _highest(config_candidates(run, configured, root))
    if choice is not None:
        from usher_pipeline.config.loader import require_file

        require_file(choice.value, choice.origin)
    return choice


def config_candidates(
    run: StrPath | None = None,
    configured: StrPath | None = None,
    root: Path | None = None,
) -> tuple[tuple[str, str], ...]:
    """Return every source of a config file, highest first, with the path that it names."""
    return _candidates("config", run, configured, _at(root))


def view_in_force(
    run: Any = None, configured: Any = None, within: Project | None = None
) -> ConfigView:
    """Return a view over the config in force; over nothing when there is none.

    Args:
        run: What ``run(...)`` was given: a path, a mapping or a model.
        configured: What ``configure(...)`` was given, likewise.
        within: The project; the one of the working folder unless given.
    """
    for config, origin in ((run, "run(...)"), (configured, "configure(...)")):
        if config is not None and config != "":
            return view(config, origin)
    within = within or project()
    if not variable("USHER_CONFIG") and "config" not in within.table:
        return _NO_CONFIG
    choice = config_in_force(root=within.root)
    return _NO_CONFIG if choice is None else view(choice.value, choice.origin)


_NO_CONFIG: Final = view()


def store_in_force(
    run: StrPath | None = None,
    configured: StrPath | None = None,
    config: ConfigView | None = None,
    within: Project | None = None,
) -> Choice:
    """Return which database is in force.

    Paths are relative to the working folder, `duckdb_path` included, as
    ``PipelineStore(config.duckdb_path)`` takes it; in `pyproject.toml` to that file.

    Args:
        run: What ``run(...)`` was given.
        configured: What ``configure(...)`` was given.
        config: The config in force.
        within: The project; the one of the working folder unless given.

    Raises:
        ConfigError: `pyproject.toml` can not be read, or a path in it is no text.
        OptionError: What was given is no path.
    """
    within = within or project()
    named = config.duckdb_path if config is not None else None
    choice = _highest(
        (
            *_candidates("store", run, configured, within),
            (
                f"duckdb_path of {config.name if config and named else 'the config'}",
                _text(named),
            ),
            ("default", str(within.root / _DEFAULT_STORE)),
        )
    )
    assert choice is not None  # noqa: S101 - the default always names a path
    return choice


def _candidates(
    what: str, run: StrPath | None, configured: StrPath | None, within: Project
) -> tuple[tuple[str, str], ...]:
    root, stated = within.root, within.table.get(what, "")
    if not isinstance(stated, str):
        found = type(stated).__name__
        raise ConfigError(root / _PYPROJECT, f"tool.usher.{what}: expected a path, got {found}")
    named = f"USHER_{what.upper()}"
    return (
        ("run(...)", _given("run", what, run)),
        ("configure(...)", _given("configure", what, configured)),
        (named, _text(variable(named))),
        (IN_TABLE, _text(stated, root)),
    )


def _given(call: str, option: str, path: StrPath | None) -> str:
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise OptionError(call, option, "a path", preview(path))
    return _text(path)


def _highest(candidates: Sequence[tuple[str, str]]) -> Choice | None:
    for origin, path in candidates:
        if path:
            return Choice(Path(path), origin, tuple(candidates))
    return None


def _text(path: StrPath | None, base: Path | None = None) -> str:
    """Return an absolute path; links and ``..`` stay as they are written."""
    if path is None or path == "":
        return ""
    expanded = os.path.expanduser(path)  # noqa: PTH111 - `~stranger` is a name
    return os.path.join(base or os.getcwd(), expanded)  # noqa: PTH109, PTH118 - quick
