"""A store on a disk that can only be read answers, and says plainly that it is not written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

READING: Final = Path(__file__).with_name("reading.py")


def read(disks: Any, disk: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Fill a store on a disk of its own, protect the disk, and return what is read there."""
    protect = ["!", "mount", "-o", "remount,ro", str(disk)]
    steps = [[str(READING), "fill"], protect, [str(READING), "read"]]
    done = disks.on_a_disk(disk, "12m", steps, environment)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout.removeprefix("null"))
    return answer


def test_a_disk_that_can_only_be_read(tmp_path: Path, script: Callable[[str], Any]) -> None:
    """Hits and tables are served without a word; each way to write is an error that says so."""
    disk, other = tmp_path / "disk", tmp_path / "other"
    disk.mkdir()
    other.mkdir()
    found = read(script("disks"), disk, {**os.environ, "TMPDIR": str(other)})
    assert found["hits"] == [2, 3, 3, 2, 2, 3]
    assert found["of_hits"] == []
    assert found["tables"] == [1, 3]
    assert (found["whole"], found["listed"], found["entries"]) == (True, 2, 2)

    # A result that can not be stored is returned, put somewhere else, and told of.
    assert found["computed"] == 5
    (warning,) = found["of_miss"]
    (rescued,) = other.glob("usher-rescue-*.arrow")
    assert "Read-only file system" in warning
    assert str(rescued) in warning
    assert found["strict"] == 7

    assert len(found["writes"]) == 7
    for what, said in found["writes"].items():
        assert said.startswith("StoreError: The store "), what
        assert "can only be read" in said or "Read-only file system" in said, what
        assert "work on a copy" in said or "Make both writable" in said, what
    assert not [name for name in found["files"] if name.endswith(".tmp")]
