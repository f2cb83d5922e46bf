"""The read-only view: look-ups, origins, sources and the hash."""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import BaseModel

from usher_pipeline.config import PipelineConfig, load_config, read_config
from usher_pipeline.config.canonical import digest
from usher_pipeline.config.values import REQUIRED, ConfigView, Loaded, Setting, view
from usher_pipeline.errors import ConfigError, UnknownSettingError, UnknownSourceError
from usher_pipeline.fingerprint.files import signature

if TYPE_CHECKING:
    from collections.abc import Callable

STATED: Final[dict[Any, Any]] = {
    "duckdb_path": "data/p.duckdb",
    "versions": {"gnomad_version": "v4.1", "ensembl_release": 113, "clinvar": "2026-01"},
    "api": {"page_size": 500, "urls": ["a", {"host": "b"}], "nothing": None},
    "hosts": {"www.example.org": {"port": 80}},
    7: "seven",
}


# --- what a view is made of -------------------------------------------------------------


@dataclass
class Cutoffs:
    """A config without pydantic."""

    depth: float = 30.0


class Foreign(BaseModel):
    """A model that is no `PipelineConfig`."""

    depth: float = 30.0


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda file: file, "config.yaml"),
        (str, "config.yaml"),
        (read_config, "config.yaml"),
        (load_config, "PipelineConfig"),
        (lambda file: read_config(file).values, "mapping"),
        (lambda file: MappingProxyType(read_config(file).values), "mapping"),
    ],
)
def test_a_view_is_made_of_any_config(
    config_file: Path, make: Callable[[Path], object], name: str
) -> None:
    """A file, its path as text, what was read, a model and a mapping are all seen alike."""
    seen = view(make(config_file), "run(...)")
    assert seen.get("versions.ensembl_release").value == 113
    assert seen.source("ensembl").value == 113
    assert seen.duckdb_path == Path("data/pipeline.duckdb")
    assert seen.where == f"{name} (run(...))"


def test_other_models_are_configs_as_well() -> None:
    """A model that is no `PipelineConfig`, and a dataclass, can be a config."""
    assert view(Foreign(depth=20)).get("depth") == Setting(20.0, "Foreign")
    assert view(Foreign()).get("depth") == Setting(30.0, "default")
    assert view(Cutoffs()).get("depth") == Setting(30.0, "Cutoffs")


def test_no_config_is_an_empty_view() -> None:
    """Without a config everything is unknown, and nothing fails before it is asked."""
    seen = view()
    assert (seen.where, seen.duckdb_path, seen.sources()) == ("no config", None, {})
    assert seen.get("api.page_size", default=500) == Setting(500, "default")
    with pytest.raises(UnknownSettingError, match=r"^No config is in force, so .*run\(") as one:
        seen.get("api.page_size")
    with pytest.raises(UnknownSourceError, match=r"^No config is in force, so .*run\(") as two:
        seen.source("gnomad")
    assert (one.value.where, two.value.where) == ("", "")


def test_a_view_of_a_view_is_the_same() -> None:
    """A view can be handed on where a config is asked for."""
    seen = view(STATED)
    assert view(seen, "run(...)") is seen


@pytest.mark.parametrize("config", [5, [1], PipelineConfig, Cutoffs, object()])
def test_what_is_no_config_is_an_error(config: object) -> None:
    """Anything else, a class included, is refused by its type."""
    with pytest.raises(ConfigError, match="expected a path, a mapping or a model, got "):
        view(config)


def test_a_missing_file_names_who_chose_it(tmp_path: Path) -> None:
    """The error for a missing file says who named it."""
    with pytest.raises(FileNotFoundError, match=r"\(named by run\(\.\.\.\)\).*none\.yaml"):
        view(tmp_path / "none.yaml", "run(...)")


# --- look-ups ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("api.page_size", 500),
        ("api.urls.0", "a"),
        ("api.urls.1.host", "b"),
        ("api.nothing", None),
        ("hosts.www.example.org.port", 80),
        ("7", "seven"),
        ("versions", STATED["versions"]),
    ],
)
def test_a_value_is_found_by_its_path(path: str, value: object) -> None:
    """A dotted path leads through sections, lists, and keys that hold dots or are numbers."""
    assert view(STATED).get(path).value == value
    assert view(STATED).section(path) == value
    assert view(STATED).get(path, default="other").value == value


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("apy", ("duckdb_path", "versions", "api", "hosts", "7")),
        ("api.page_sise", ("api.page_size", "api.urls", "api.nothing")),
        ("api.urls.2", ("api.urls.0", "api.urls.1")),
        ("api.page_size.unit", ()),
        ("api.nothing.more", ()),
        ("", ("duckdb_path", "versions", "api", "hosts", "7")),
    ],
)
def test_an_unknown_path_names_what_is_there(path: str, known: tuple[str, ...]) -> None:
    """An unknown path is an error with the names at the level where the search ended."""
    with pytest.raises(UnknownSettingError, match="was not found in mapping") as caught:
        view(STATED, "run(...)").get(path)
    assert caught.value.path == path
    assert caught.value.known == known
    assert caught.value.where == "mapping (run(...))"


def test_a_default_is_told_as_one() -> None:
    """What the config does not have comes from the default; `REQUIRED` stands for none."""
    assert view(STATED).get("api.x", default=None) == Setting(None, "default")
    with pytest.raises(UnknownSettingError, match=r"api\.x"):
        view(STATED).get("api.x", default=REQUIRED)
    assert repr(REQUIRED) == "REQUIRED"


def test_the_empty_path_is_everything() -> None:
    """The section of the empty path is the whole config."""
    assert view(STATED).section() == STATED


def test_a_view_can_not_be_changed(config_file: Path) -> None:
    """What a look-up returns is a copy, and what it was made of may change."""
    for config in (STATED, config_file):
        seen = view(config)
        seen.section("versions")["gnomad_version"] = "x"
        seen.get("versions").value.clear()
        assert seen.section("versions")
    mine = {"a": [1]}
    seen = view(mine)
    mine["a"].append(2)
    assert seen.get("a").value == [1]


# --- origins ----------------------------------------------------------------------------


def test_a_file_tells_the_line(config_file: Path) -> None:
    """A value of a file has its line as the origin."""
    assert view(config_file).get("versions.ensembl_release").origin == "config.yaml:5"
    assert view(config_file).source("ensembl") == Setting(113, "config.yaml:5")


def test_a_mapping_tells_who_gave_it() -> None:
    """A value of a mapping has no line; its origin is who gave it."""
    assert view(STATED).get("api.page_size").origin == "mapping"
    assert view(STATED, "run(...)").get("api.page_size").origin == "run(...)"


def test_a_model_tells_lines_and_defaults(config_file: Path) -> None:
    """A config that was loaded from a file keeps the lines, and knows its defaults."""
    with config_file.open("a", encoding="utf-8") as stream:
        stream.write("api: {max_retries: 3}\nmine: {a: [x, y]}\n")
    seen = view(load_config(config_file), "run(...)")
    origins = {
        path: seen.get(path).origin
        for path in ("data_dir", "api.max_retries", "api.timeout_seconds", "scoring.gnomad",
                     "mine.a.1", "versions.gnomad_version")
    }  # fmt: skip
    assert origins == {
        "data_dir": "config.yaml:1",
        "api.max_retries": "config.yaml:6",
        "api.timeout_seconds": "default",
        "scoring.gnomad": "default",
        "mine.a.1": "config.yaml:7",
        "versions.gnomad_version": "default",
    }


def test_a_config_goes_to_another_process_and_back(config_file: Path) -> None:
    """A config that was pickled, as for a pool, is equal, and knows its lines still."""
    config = load_config(config_file)
    moved = pickle.loads(pickle.dumps(config))  # noqa: S301 - our own bytes
    assert moved == config
    assert view(moved) == view(config)
    assert pickle.loads(pickle.dumps(view(config))) == view(config)  # noqa: S301
    assert view(moved).get("data_dir").origin == "config.yaml:1"


def test_where_a_config_was_read_tells_nothing_apart() -> None:
    """Equality and hash agree that where a config was read does not matter."""
    assert len({Loaded(), Loaded({"a": "b"})}) == 1
    assert Loaded() != {}


def test_a_value_changed_after_loading_has_lost_its_line(config_file: Path) -> None:
    """A value that the program changed is not said to be stated in the file."""
    with config_file.open("a", encoding="utf-8") as stream:
        stream.write("api: {max_retries: 3, timeout_seconds: 4}\nmine: {a: 1}\n")
    config = load_config(config_file)
    config.api.max_retries = 9
    config.scoring.gnomad = 0.5
    assert config.model_extra is not None
    del config.model_extra["mine"]["a"]
    seen = view(config, "run(...)")
    assert seen.get("api.max_retries") == Setting(9, "run(...)")
    assert seen.get("scoring.gnomad") == Setting(0.5, "run(...)")
    assert seen.get("api.timeout_seconds") == Setting(4, "config.yaml:6")


# --- sources ----------------------------------------------------------------------------


def test_a_source_is_found_with_and_without_its_ending() -> None:
    """A source goes by its field, with `_version` and `_release` left out or not."""
    seen = view(STATED)
    assert seen.source("gnomad").value == seen.source("gnomad_version").value == "v4.1"
    assert seen.source("ensembl").value == 113
    assert seen.source("clinvar").value == "2026-01"


def test_all_sources_go_by_their_short_names() -> None:
    """The list of sources has each of them once, under the short name."""
    versions = {name: setting.value for name, setting in view(STATED).sources().items()}
    assert versions == {"gnomad": "v4.1", "ensembl": 113, "clinvar": "2026-01"}


def test_the_exact_name_wins() -> None:
    """Where a plain name and an ending compete, the plain name is meant."""
    seen = view({"versions": {"a_release": 3, "a_version": 2, "a": 1, "b_release": 5}})
    assert (seen.source("a").value, seen.source("b").value) == (1, 5)
    assert seen.source("a_release").value == 3


def test_a_name_may_be_nothing_but_an_ending() -> None:
    """A field called `_version` is no source without a name."""
    assert list(view({"versions": {"_version": 1}}).sources()) == ["_version"]


def test_an_unknown_source_names_the_known_ones() -> None:
    """A source without a version is an error with the sources that have one."""
    with pytest.raises(UnknownSourceError, match="Did you mean 'gnomad'") as caught:
        view(STATED, "run(...)").source("gnomd")
    assert caught.value.known == ("clinvar", "ensembl", "gnomad")
    assert caught.value.where == "mapping (run(...))"


@pytest.mark.parametrize("config", [{}, {"versions": None}, {"versions": ["a"]}])
def test_a_config_may_have_no_sources(config: dict[str, object]) -> None:
    """Without a section of versions no source is known."""
    assert view(config).sources() == {}
    with pytest.raises(UnknownSourceError, match="None is defined"):
        view(config).source("gnomad")


@pytest.mark.parametrize("blank", ["", "null", "~", '""'])
def test_a_blank_is_no_version(tmp_path: Path, blank: str) -> None:
    """A source that the file names without a version has none; the error names the line."""
    file = tmp_path / "config.yaml"
    file.write_text(f"versions:\n  gnomad_version: {blank}\n  hpa_version: '23'\n", "utf-8")
    assert list(view(file).sources()) == ["hpa"]
    for name in ("gnomad", "gnomad_version"):
        with pytest.raises(
            UnknownSourceError, match=r"gnomad_version is left blank \(config\.yaml:2\)"
        ) as caught:
            view(file).source(name)
        assert caught.value.known == ("hpa",)


def test_a_blank_does_not_hide_a_version() -> None:
    """Where one spelling of a source is blank, another one that states a version counts."""
    seen = view({"versions": {"gnomad": None, "gnomad_version": "v4.1"}})
    assert seen.source("gnomad").value == "v4.1"
    assert list(seen.sources()) == ["gnomad"]


def test_a_number_is_a_version_as_it_is_written(tmp_path: Path) -> None:
    """The versions 23.1 and 23.10 of a file differ, though the numbers do not."""
    found = []
    for text in ("23.1", "23.10", "'23.10'"):
        file = tmp_path / "config.yaml"
        file.write_text(f"versions:\n  hpa_version: {text}\n", "utf-8")
        found.append(view(file).source("hpa").value)
        assert view(file).sources()["hpa"].value == found[-1]
    assert found == ["23.1", "23.10", "23.10"]


# --- the database and the hash ----------------------------------------------------------


def test_the_database_may_lie_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `~` of a database path is the home folder."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert view({"duckdb_path": "~/p.duckdb"}).duckdb_path == Path("/home/someone/p.duckdb")


def test_a_database_path_is_a_path() -> None:
    """A database path that is no path is an error of the config."""
    with pytest.raises(ConfigError, match="duckdb_path: expected a path, got int"):
        _ = view({"duckdb_path": 5}).duckdb_path


class OwnHash(PipelineConfig):
    """A config that has its own idea of a hash."""

    def config_hash(self) -> str:
        """Return always the same."""
        return "mine"


def test_the_hash_is_that_of_the_model(config_file: Path) -> None:
    """The hash of a view over a model is what the model itself says."""
    config = load_config(config_file)
    assert view(config).config_hash() == config.config_hash()
    assert view(load_config(config_file, model=OwnHash)).config_hash() == "mine"


def test_a_hash_does_not_change_under_a_view(config_file: Path) -> None:
    """A view keeps its hash when the model that it was made of changes."""
    config = load_config(config_file)
    seen = view(config)
    before = seen.config_hash()
    config.api.max_retries = 9
    assert seen.config_hash() == before != config.config_hash()


def test_the_hash_of_a_file_is_that_of_what_it_says(config_file: Path) -> None:
    """The hash of a file is that of its values; comments and layout do not count."""
    before = view(config_file).config_hash()
    assert before == digest(read_config(config_file).values)
    text = config_file.read_text("utf-8")
    config_file.write_text(f"# a comment\n\n{text}", "utf-8")
    assert view(config_file).config_hash() == before
    config_file.write_text(f"{text}mine: 1\n", "utf-8")
    assert view(config_file).config_hash() != before


# --- files that are read again ----------------------------------------------------------


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute pass, so that files count as settled."""
    now = time.time_ns
    monkeypatch.setattr(
        "usher_pipeline.fingerprint.files.time.time_ns", lambda: now() + 60_000_000_000
    )


def values_of(seen: ConfigView) -> int:
    """Return the identity of the data behind a view."""
    return id(seen._values)


@pytest.mark.usefixtures("later")
def test_a_settled_file_is_read_once(config_file: Path) -> None:
    """A file that has not changed for a while is not parsed again."""
    first, second = view(config_file), view(config_file)
    assert values_of(first) == values_of(second)


def test_a_young_file_is_read_every_time(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changed a moment ago may change again unseen, so it is read again."""
    now_ns = config_file.stat().st_ctime_ns + 1_000_000
    monkeypatch.setattr("usher_pipeline.fingerprint.files.time.time_ns", lambda: now_ns)
    found = signature(config_file)
    assert found is not None
    assert not found[1]
    first, second = view(config_file), view(config_file)
    assert values_of(first) != values_of(second)


@pytest.mark.usefixtures("later")
def test_a_changed_file_is_read_again(config_file: Path) -> None:
    """An edit of equal length counts, even with the time of the file put back."""
    before = config_file.stat()
    assert view(config_file).source("ensembl").value == 113
    time.sleep(0.02)
    config_file.write_text(config_file.read_text("utf-8").replace("113", "114"), "utf-8")
    os.utime(config_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert config_file.stat().st_size == before.st_size
    assert view(config_file).source("ensembl").value == 114


@pytest.mark.usefixtures("later")
def test_many_files_are_not_kept_for_ever(tmp_path: Path) -> None:
    """The memory of parsed files is bounded."""
    from usher_pipeline.config import values

    for number in range(70):
        file = tmp_path / f"{number}.yaml"
        file.write_text(f"n: {number}\n", "utf-8")
        assert view(file).get("n").value == number
    assert len(values._documents) <= 64
