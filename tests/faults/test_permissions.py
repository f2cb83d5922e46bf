"""A store whose files this user may not read or change any more serves what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

READING: Final = Path(__file__).with_name("reading.py")
#: The rights that let a superuser pass by all others.
RIGHTS: Final = "-dac_override,-dac_read_search"
#: Without the right to a part of the store: how many rows a hit on an older result, a miss,
#: and then the table of the name have, or the error that is raised. A table that can not be
#: written any more is as it was, unless it is known to be another result than is meant.
PARTS: Final = {
    "store.checkpoints/readable/*.arrow": (2, 9, 9),
    "store.checkpoints/readable/*.json": (2, 9, 9),
    "store.checkpoints/readable": (2, 9, 3),
    "store.checkpoints": (2, 9, 3),
    "store.checkpoints/.locks": (2, 9, 9),
    "store.checkpoints/.pending": (2, 9, "NotPublishedError"),
    "store.checkpoints/readable/.published": (2, 9, 9),
    "store.duckdb": (2, "StoreError", "StoreError"),
}


def python(*arguments: str) -> Any:
    """Run Python as a user without special rights; return what it printed as JSON."""
    command = [sys.executable, *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def _protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store with two results and a table, whose rights the test takes, and gives back."""
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "other"))
    monkeypatch.setenv("USHER_LOG", "quiet")
    assert python(str(READING), "fill") is None
    yield
    for folder, names, files in os.walk(tmp_path):
        for name in (*names, *files):
            Path(folder, name).chmod(0o700)


def test_a_store_of_somebody_else_is_read() -> None:
    """Hits and tables are served without a word; each way to write is an error that says so."""
    for path in (*Path("store.checkpoints").rglob("*"), Path("store.checkpoints")):
        path.chmod(path.stat().st_mode & ~0o222)
    Path("store.duckdb").chmod(0o400)
    found = python(str(READING), "read")
    assert found["hits"] == [2, 3, 3, 2, 2, 3]
    assert found["of_hits"] == []
    assert found["tables"] == [1, 3]
    (warning,) = found["of_miss"]
    assert "Permission denied" in warning
    assert found["strict"] == 7
    for what, said in found["writes"].items():
        assert said.startswith("StoreError: The store "), what
        assert "can only be read" in said or "Permission denied" in said, what
        assert "ake the folder writable" in said or "Make both writable" in said, what


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_can_not_be_read(part: str) -> None:
    """Whatever part of a store this user may not touch, no frame is lost and no error raw."""
    for path in Path().glob(part):
        path.chmod(0)
    found = python(str(READING), "look")
    assert (found["hit"], found["miss"], found["table"]) == PARTS[part]
