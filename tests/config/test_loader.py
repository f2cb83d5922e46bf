"""YAML files: what they say, at which line, and everything that can be wrong with one."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import ValidationError

from usher_pipeline.config import (
    LoadedConfig,
    PipelineConfig,
    load_config,
    load_config_with_overrides,
    read_config,
)
from usher_pipeline.config.values import view
from usher_pipeline.errors import ConfigError, UnknownSettingError

if TYPE_CHECKING:
    from pathlib import Path


def add(file: Path, text: str) -> Path:
    """Add lines to a file and return it."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(text)
    return file


def read(folder: Path, text: str) -> LoadedConfig:
    """Return what a file with this text says."""
    file = folder / "config.yaml"
    file.write_text(text, "utf-8")
    return read_config(file)


# --- load_config ------------------------------------------------------------------------


def test_a_file_becomes_a_config(config_file: Path) -> None:
    """A YAML file becomes a config, with defaults for what it does not state."""
    add(config_file, "api:\n  timeout_seconds: 60\n")
    config = load_config(config_file)
    assert type(config) is PipelineConfig
    assert config.versions.ensembl_release == 113
    assert config.api.timeout_seconds == 60
    assert config.api.max_retries == 5
    assert config == load_config(str(config_file))


def test_the_home_folder_is_found(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config can be named below `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config("~/config.yaml") == load_config(config_file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file is a `FileNotFoundError` that names it."""
    with pytest.raises(FileNotFoundError, match=r"no config file here; .*'.*/none\.yaml'"):
        load_config(tmp_path / "none.yaml")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    """A folder is told from a file."""
    with pytest.raises(ConfigError, match="it is a folder"):
        load_config(tmp_path)


def test_a_bad_value_is_told_with_its_line(config_file: Path) -> None:
    """A bad value is pydantic's `ValidationError`, with a note that names the line."""
    add(config_file, "api:\n  max_retries: 99\n")
    with pytest.raises(ValidationError, match="less than or equal to 20") as caught:
        load_config(config_file)
    assert caught.value.__notes__ == ["api.max_retries: config.yaml:7"]


def test_an_empty_file_lacks_every_field(tmp_path: Path) -> None:
    """An empty file is read, and lacks what has no default."""
    (tmp_path / "config.yaml").write_text("", "utf-8")
    with pytest.raises(ValidationError, match="4 validation errors"):
        load_config(tmp_path / "config.yaml")


def test_a_field_of_ones_own_stays(config_file: Path) -> None:
    """A field that no model knows stays in the config and in its hash."""
    before = load_config(config_file).config_hash()
    config = load_config(add(config_file, "cohort: {name: A, size: 12}\n"))
    assert config.model_extra == {"cohort": {"name": "A", "size": 12}}
    assert config.config_hash() != before


class CohortConfig(PipelineConfig):
    """A config with one field more."""

    cohort: str


def test_a_subclass_can_be_loaded(config_file: Path) -> None:
    """A user's own subclass is what comes back when it is asked for."""
    config = load_config(add(config_file, "cohort: A\n"), model=CohortConfig)
    assert type(config) is CohortConfig
    assert config.cohort == "A"
    changed = load_config_with_overrides(config_file, {"cohort": "B"}, model=CohortConfig)
    assert changed.cohort == "B"


def test_where_a_config_was_read_is_no_part_of_it(config_file: Path, tmp_path: Path) -> None:
    """Configs of equal values are equal wherever they were read."""
    copy = tmp_path / "copy.yaml"
    copy.write_text(f"# moved\n{config_file.read_text('utf-8')}", "utf-8")
    assert load_config(copy) == load_config(config_file)
    assert load_config(copy).config_hash() == load_config(config_file).config_hash()


# --- overrides --------------------------------------------------------------------------


def test_overrides_win(config_file: Path) -> None:
    """An override replaces what the file states, and what it leaves to the default."""
    add(config_file, "api:\n  max_retries: 3\n")
    config = load_config_with_overrides(
        config_file,
        {"api.timeout_seconds": 5, "api.max_retries": 4, "versions.gnomad_version": "v4.0"},
    )
    assert (config.api.timeout_seconds, config.api.max_retries) == (5, 4)
    assert config.versions.gnomad_version == "v4.0"
    assert load_config(config_file).api.max_retries == 3


def test_overrides_reach_a_section_that_the_file_lacks(config_file: Path) -> None:
    """A section that the file leaves out or empty can be overridden."""
    overrides = {"scoring.gnomad": 0.5, "api.max_retries": 1}
    config = load_config_with_overrides(add(config_file, "api:\n"), overrides)
    assert (config.scoring.gnomad, config.api.max_retries) == (0.5, 1)


def test_overrides_are_validated(config_file: Path) -> None:
    """An override that is out of bounds is a bad value, told as an override."""
    with pytest.raises(ValidationError, match="greater than or equal to 1") as caught:
        load_config_with_overrides(config_file, {"api.timeout_seconds": 0})
    assert caught.value.__notes__ == ["api.timeout_seconds: override"]


def test_overrides_supply_what_is_missing(tmp_path: Path) -> None:
    """A file need not be whole by itself."""
    file = tmp_path / "config.yaml"
    file.write_text("data_dir: d\ncache_dir: c\nduckdb_path: p\n", "utf-8")
    config = load_config_with_overrides(file, {"versions.ensembl_release": 112})
    assert config.versions.ensembl_release == 112


def test_no_overrides_change_nothing(config_file: Path) -> None:
    """Without overrides the result is what `load_config` returns."""
    assert load_config_with_overrides(config_file, {}) == load_config(config_file)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("api.timeout_secs", r"Did you mean 'api\.timeout_seconds'"),
        ("apy.timeout_seconds", r"'apy' was not found.*Did you mean 'api'"),
        ("duckdb_pth", "Did you mean 'duckdb_path'"),
        ("data_dir.name", "None is defined"),
        ("api.timeout_seconds.unit", "None is defined"),
        ("cohort.sise", r"Did you mean 'cohort\.size'"),
        ("panels.2", r"Did you mean 'panels\.1' or 'panels\.0'"),
        ("", "''"),
    ],
)
def test_an_override_of_nothing_is_an_error(config_file: Path, path: str, hint: str) -> None:
    """A path that neither the file nor the model has is taken for a typing error."""
    add(config_file, "cohort: {size: 12}\npanels: [a, b]\n")
    with pytest.raises(UnknownSettingError, match=hint) as caught:
        load_config_with_overrides(config_file, {path: 5})
    assert "config.yaml and PipelineConfig" in caught.value.where


def test_overrides_reach_the_users_own_fields(config_file: Path) -> None:
    """What the file itself states can be overridden, in lists as well."""
    add(config_file, "cohort: {size: 12, 7: x}\npanels: [a, {b: c}]\n")
    config = load_config_with_overrides(
        config_file, {"cohort.size": 13, "cohort.7": "y", "panels.0": "z", "panels.1.b": "d"}
    )
    assert config.model_extra == {
        "cohort": {"size": 13, 7: "y"},
        "panels": ["z", {"b": "d"}],
    }


def test_an_override_can_be_a_section(config_file: Path) -> None:
    """A whole section is replaced; names that it can not have are refused as well."""
    add(config_file, "api: {max_retries: 3}\n")
    config = load_config_with_overrides(config_file, {"api": {"timeout_seconds": 5}})
    assert (config.api.timeout_seconds, config.api.max_retries) == (5, 5)
    with pytest.raises(UnknownSettingError, match=r"'api\.timeout_secs' was not found"):
        load_config_with_overrides(config_file, {"api": {"timeout_secs": 5}})


def test_an_override_of_one_alias_leaves_the_other(config_file: Path) -> None:
    """Sections that are one anchor in the file are overridden one by one."""
    add(config_file, "first: &x {a: 1}\nsecond: *x\n")
    config = load_config_with_overrides(config_file, {"second.a": 2})
    assert config.model_extra == {"first": {"a": 1}, "second": {"a": 2}}


def test_an_override_is_the_origin(config_file: Path) -> None:
    """A value that was overridden says so; the others keep their lines."""
    add(config_file, "api: {max_retries: 3, timeout_seconds: 4}\n")
    seen = view(load_config_with_overrides(config_file, {"api.timeout_seconds": 5}))
    assert seen.get("api.timeout_seconds").origin == "override"
    assert seen.get("api.max_retries").origin == "config.yaml:6"


# --- lines ------------------------------------------------------------------------------

NESTED: Final = """\
# a comment
name: usher
api:

  page_size: 500   # rows
  urls:
    - a
    - host: b
      port: 1
  inline: {x: 1,
           y: 2}
text: |
  first
  second
7: seven
"""


def test_every_value_has_its_line(tmp_path: Path) -> None:
    """Names, sections, list items and inline mappings have the line of their key."""
    loaded = read(tmp_path, NESTED)
    assert loaded.path == tmp_path / "config.yaml"
    assert {path: int(origin.split(":")[1]) for path, origin in loaded.origins.items()} == {
        "name": 2,
        "api": 3,
        "api.page_size": 5,
        "api.urls": 6,
        "api.urls.0": 7,
        "api.urls.1": 8,
        "api.urls.1.host": 8,
        "api.urls.1.port": 9,
        "api.inline": 10,
        "api.inline.x": 10,
        "api.inline.y": 11,
        "text": 12,
        "7": 15,
    }
    assert {origin.split(":")[0] for origin in loaded.origins.values()} == {"config.yaml"}


MERGED: Final = """\
base: &base
  host: a
  port: 1
  deep: &deep {x: 1}
  gone: {a: 1}
other: &other
  port: 2
  user: u
first:
  <<: *base
  port: 3
  gone: {b: 2}
second:
  <<: [*other, *base]
third: *deep
fourth:
  inner:
    <<: *deep
    <<<: 1
"""


def test_merged_values_have_the_line_that_states_them(tmp_path: Path) -> None:
    """A value that comes in by a merge key has the line of the anchor's section."""
    loaded = read(tmp_path, MERGED)
    assert loaded.values["first"] == {
        "host": "a",
        "port": 3,
        "deep": {"x": 1},
        "gone": {"b": 2},
    }
    assert loaded.values["second"]["port"] == 2
    lines = {path: int(origin.split(":")[1]) for path, origin in loaded.origins.items()}
    assert {path: line for path, line in lines.items() if path.startswith("first")} == {
        "first": 9,
        "first.host": 2,
        "first.port": 11,
        "first.deep": 4,
        "first.deep.x": 4,
        "first.gone": 12,
        "first.gone.b": 12,
    }
    assert {path: line for path, line in lines.items() if path.startswith("second")} == {
        "second": 13,
        "second.host": 2,
        "second.port": 7,
        "second.deep": 4,
        "second.deep.x": 4,
        "second.gone": 5,
        "second.gone.a": 5,
        "second.user": 8,
    }
    assert (lines["third"], lines["third.x"], lines["fourth.inner.x"]) == (15, 4, 4)


def test_values_and_lines_have_the_same_paths(tmp_path: Path) -> None:
    """Every value has a line, and every line a value."""
    loaded = read(tmp_path, MERGED + NESTED)
    seen = view(loaded)
    assert all(seen.get(path).origin == origin for path, origin in loaded.origins.items())


def test_aliases_are_parted(tmp_path: Path) -> None:
    """Values that are one anchor in the file are not one object."""
    values = read(tmp_path, "a: &x [1]\nb: *x\n").values
    values["a"].append(2)
    assert values["b"] == [1]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n", "{}\n"])
def test_a_file_may_be_empty(tmp_path: Path, text: str) -> None:
    """A file that states nothing is an empty config."""
    assert read(tmp_path, text).values == {}


def test_values_have_yamls_types(tmp_path: Path) -> None:
    """Values are what the safe types of YAML make of them."""
    text = "a: 1\nb: 1.5\nc: yes\nd: 2026-02-16\ne: null\nf: '1'\ng: !!set {x, y}\n"
    assert read(tmp_path, text).values == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": date(2026, 2, 16),
        "e": None,
        "f": "1",
        "g": {"x", "y"},
    }


# --- broken files -----------------------------------------------------------------------

BOMB: Final = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1, 2\nb: 3\n", r"expected ',' or '\]'.* \(line 2, column 2\)"),
        ("a: 1\n\tb: 2\n", r"\(line 2, column 1\)"),
        ("a: *nowhere\n", r"undefined alias.* \(line 1, column 4\)"),
        ("a: 1\n---\nb: 2\n", r"but found another document \(line 2, column 1\)"),
        ("- a\n- b\n", "expected names with values at the top, got a list"),
        ("just text\n", "expected names with values at the top, got a str"),
        ("!!set {a, b}\n", "expected names with values at the top, got a set"),
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice, on lines 1 and 3"),
        ("x:\n  a: 1\n  'a': 3\n", "the key 'a' stands twice, on lines 2 and 3"),
        ("l:\n- {a: 1, a: 2}\n", "the key 'a' stands twice, on lines 2 and 2"),
        ("1: a\ntrue: b\n", "the key True stands twice, on lines 1 and 2"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "'<<' stands twice, on lines 3 and 4"),
        ("? [a, b]\n: 1\n", r"a key is no plain text \(line 1\)"),
        (
            "a: !!python/object/apply:os.getcwd []\n",
            r"could not determine .* \(line 1, column 4\)",
        ),
        ("a: !mine 1\n", "could not determine a constructor for the tag '!mine'"),
        ("a: 2026-02-30\n", r"day (30 must|is out)"),
        ("a: &a [*a]\n", "'a.0' contains itself"),
        ("a: &a\n  b: {c: *a}\n", r"'a\.b\.c' contains itself"),
        (BOMB, "it has more than 100,000 values"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: \x00\n", "special characters are not allowed"),
        ("b:\n  <<: 5\n", r"expected a mapping .* \(line 2, column 7\)"),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    """What is wrong with a file is told, with line and column where there is one."""
    with pytest.raises(ConfigError, match=problem) as caught:
        read(tmp_path, text)
    assert caught.value.path == tmp_path / "config.yaml"


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error of the file."""
    (tmp_path / "config.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="invalid start byte"):
        read_config(tmp_path / "config.yaml")


# --- what is loaded ---------------------------------------------------------------------


def loaded_by(program: str) -> set[str]:
    """Return the libraries that a new process has loaded after a program."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"yaml", "pydantic", "pydantic_core", "polars", "pandas", "duckdb", "pyarrow"}
    return heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import usher_pipeline.config as c; dir(c)", set[str]()),
        ("import usher_pipeline.config.settings", set[str]()),
        ("import usher_pipeline.config.settings as s; s.store_in_force()", set[str]()),
        ("import usher_pipeline.config.settings as s; s.view({'a': 1}).config_hash()", set()),
        ("import usher_pipeline.config.settings as s; s.view('config.yaml')", {"yaml"}),
        ("from usher_pipeline.config import read_config", {"yaml"}),
        ("from usher_pipeline.config import APIConfig", {"pydantic", "pydantic_core"}),
    ],
)
def test_only_what_is_used_is_loaded(
    config_file: Path, program: str, expected: set[str]
) -> None:
    """YAML is loaded for a YAML file, pydantic for a model, and nothing else ever."""
    assert loaded_by(program) == expected


def test_the_door_knows_its_names() -> None:
    """The public names are sorted, all there, and a name that is not there is an error."""
    import usher_pipeline.config as door

    names = door.__all__
    assert dir(door) == sorted(names)
    assert all(getattr(door, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = door.nothing
