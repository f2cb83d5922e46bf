"""The files of entries: what is written comes back, and what is no entry is none."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from usher_pipeline.persistence.entries import (
    GONE,
    entry_anew,
    is_entry_name,
    is_gone,
    is_of_another_version,
    is_passing,
    read_entry,
    read_json,
    schema_from_text,
    schema_text,
    write_json,
)
from usher_pipeline.records import ENTRY_FORMAT

if TYPE_CHECKING:
    from pathlib import Path

NAME = f"{'0a' * 16}-1.json"


@pytest.mark.parametrize("data", [{}, {"text": "é\ud800"}, {"deep": [{"n": None}]}])
def test_json_comes_back(tmp_path: Path, data: dict[str, Any]) -> None:
    """An object that was written is read as it was, by its owner alone, and whole or not."""
    path = tmp_path / "a.json"
    write_json(path, data)
    assert read_json(path) == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"a"', "\udcff"])
def test_what_is_no_object_is_an_empty_one(tmp_path: Path, text: str) -> None:
    """Whatever else lies there is as if there were nothing, for each who reads."""
    path = tmp_path / NAME
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_json(path) == {}
    assert read_entry(path) is None
    assert entry_anew(path) is None


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing"])
def test_only_files_are_opened(tmp_path: Path, kind: str) -> None:
    """A pipe would never answer and a device never end."""
    path = tmp_path / NAME
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    assert read_json(path) == {}
    assert read_entry(path) is None


def test_what_was_set_aside_and_what_is_newer_is_told_apart(tmp_path: Path) -> None:
    """A placeholder is none of another version, and an entry of another one no placeholder."""
    gone, newer = tmp_path / "gone.json", tmp_path / "newer.json"
    write_json(gone, GONE)
    write_json(newer, {"format": ENTRY_FORMAT + 1})
    assert [is_gone(gone), is_of_another_version(gone)] == [True, False]
    assert [is_gone(newer), is_of_another_version(newer)] == [False, True]


@pytest.mark.parametrize("name", [f"{'0a' * 16}-1.arrow", "notes.json", f"{'0A' * 16}-1.json"])
def test_other_files_are_no_entries(name: str) -> None:
    """An entry is called by its key and its number, and nothing else is."""
    assert is_entry_name(NAME)
    assert not is_entry_name(name)


def test_a_schema_comes_back_whatever_the_layout() -> None:
    """The text of a schema gives the schema, with offsets in place of views."""
    plain = pa.schema([("n", pa.int64()), ("gene", pa.large_string())], {"a": "b"})
    views = pa.schema([("n", pa.int64()), ("gene", pa.string_view())])
    assert schema_from_text(schema_text(plain)).equals(plain)
    assert schema_from_text(schema_text(views)).types == plain.types


def test_a_file_is_told_from_a_machine_that_has_no_room(tmp_path: Path) -> None:
    """Where too many files are open that is raised, if it is asked for; damage never is."""
    path, broken = tmp_path / "a.json", tmp_path / "broken.json"
    write_json(path, {"a": 1})
    broken.write_text("{")
    os.mkfifo(tmp_path / "pipe")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert read_json(path) == {}
        with pytest.raises(OSError, match="Too many open files"):
            read_json(path, is_strict=True)
        with pytest.raises(OSError, match="Too many open files"):
            entry_anew(path, is_strict=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert read_json(path, is_strict=True) == {"a": 1}
    for other in (broken, tmp_path / "none.json", tmp_path / "pipe"):
        assert read_json(other, is_strict=True) == {}


@pytest.mark.parametrize(
    ("problem", "is_of_machine"),
    [
        (OSError(24, "Too many open files"), True),
        (PermissionError(13, "Permission denied"), True),
        (MemoryError(), True),
        (pa.ArrowMemoryError("malloc of size 2 ** 62 failed"), False),
        (OSError(5, "Input/output error"), False),
        (OSError("no errno"), False),
        (pa.ArrowInvalid("no file"), False),
    ],
)
def test_damage_is_told_from_trouble_of_the_machine(
    problem: Exception, *, is_of_machine: bool
) -> None:
    """What Arrow says of sizes in a file may come of damage; a disk that fails is damage."""
    assert is_passing(problem) is is_of_machine
