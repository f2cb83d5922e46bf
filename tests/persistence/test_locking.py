"""Files that nobody may sweep away, since somebody writes them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from usher_pipeline.persistence import locking
from usher_pipeline.persistence.locking import hold, try_hold

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WRITE: Final = """
import os, sys
from usher_pipeline.persistence.locking import hold

number = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print(hold(number), flush=True)
sys.stdin.read()
"""


def is_held(path: Path) -> bool:
    """Tell whether somebody holds a file."""
    with try_hold(path) as held:
        return held is None


def test_a_file_is_held_until_its_writer_dies(tmp_path: Path) -> None:
    """What another process holds nobody else can, under any name, until that is killed."""
    path = tmp_path / "a.tmp"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"True\n"
    assert is_held(path)
    path = path.rename(tmp_path / "b")
    assert is_held(path)
    writer.kill()
    writer.communicate()
    assert not is_held(path)


def test_a_file_is_held_within_the_process_as_well(tmp_path: Path) -> None:
    """What one part of this process writes, another part of it does not sweep away."""
    path = tmp_path / "a.tmp"
    with path.open("wb") as file:
        assert hold(file.fileno())
        assert is_held(path)
    with try_hold(path) as held:
        assert held is not None
        assert held.st_ino == path.stat().st_ino
        assert is_held(path)
    assert not is_held(path)


def test_what_is_not_there_can_not_be_held(tmp_path: Path) -> None:
    """A missing file, and a link in place of one, are held by nobody and not by us."""
    (tmp_path / "link").symlink_to(__file__)
    for name in ("missing", "link"):
        with try_hold(tmp_path / name) as held:
            assert held is None


def test_without_such_locks_everything_can_be_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the system has none, age alone decides, and nothing fails."""
    monkeypatch.setattr(locking, "fcntl", None)
    path = tmp_path / "a.tmp"
    with path.open("wb") as file:
        assert hold(file.fileno())
        assert not is_held(path)
