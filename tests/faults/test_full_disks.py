"""A full disk costs nobody a result: who computed it has it, and the store stays whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

FILLING: Final = Path(__file__).with_name("filling.py")
#: From no room at all to room for all but the last step; a page is 4096 bytes.
SLACKS: Final = [0, 4096, 12_288, 65_536, 400_000, 480_000, 500_000, 520_000, 900_000]


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["frame", "pages", "lazy"])
def test_a_disk_that_is_full_at_each_step(
    tmp_path: Path, script: Callable[[str], Any], kind: str
) -> None:
    """Wherever the disk is full, frames and older results are exact, and nothing is left over.

    Once there is room the result is stored, and its table is there.
    """
    outcomes: dict[int, Any] = {}
    for slack in SLACKS:
        disk, other = tmp_path / f"disk-{slack}", tmp_path / f"other-{slack}"
        disk.mkdir()
        other.mkdir()
        environment = {**os.environ, "TMPDIR": str(other), "USHER_LOG": "quiet"}
        steps = [[str(FILLING), str(slack), kind]]
        done = script("disks").on_a_disk(disk, "12m", steps, environment)
        assert done.returncode == 0, (slack, done.stderr)
        outcomes[slack] = json.loads(done.stdout)
    print({slack: each["warned"] for slack, each in outcomes.items()})  # noqa: T201
    for slack, each in outcomes.items():
        assert each["left"] == [], slack
        assert each["warned_again"] == [], slack
        # What is not stored is put somewhere else, and its caller is told.
        assert each["rescued"] == each["is_not_saved"], slack
    assert outcomes[SLACKS[0]]["is_not_saved"]
    assert not outcomes[SLACKS[-1]]["is_not_saved"]
