"""A file that is mapped is read without a copy, digested, and let go of again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.persistence import mapped
from usher_pipeline.persistence.mapped import Mapped
from usher_pipeline.persistence.spools import Spool

TABLE = pa.table({"0": range(300_000), "1": [f"g{n}" for n in range(300_000)]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with the table."""
    spool = Spool(tmp_path / "s.arrow", TABLE.schema)
    spool.write(TABLE)
    spool.close()
    return tmp_path / "s.arrow"


def _resident_bytes() -> int:
    with Path("/proc/self/smaps").open(encoding="ascii") as file:
        lines = iter(file)
        for line in lines:
            if line.endswith("/s.arrow\n"):
                return next(int(x.split()[1]) << 10 for x in lines if x.startswith("Rss:"))
    return 0


def test_memory_is_given_back_and_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After letting go nothing of the file is resident, and its values are what they were."""
    monkeypatch.setattr(mapped, "_WORTH_BYTES", 0)
    found = Mapped(path)
    assert found.table.equals(TABLE)
    assert _resident_bytes() > 1 << 20
    found.relieve()
    assert _resident_bytes() == 0
    assert found.table.equals(TABLE)


def test_a_small_file_is_kept(path: Path) -> None:
    """What fits anyway is not read twice."""
    found = Mapped(path)
    assert found.table.equals(TABLE)
    found.relieve()
    assert _resident_bytes() > 1 << 20


def test_digests_on_the_way_are_those_of_the_table(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letting go while digesting changes no digest, for all columns and for some."""
    monkeypatch.setattr(mapped, "_WORTH_BYTES", 0)
    monkeypatch.setattr("usher_pipeline.fingerprint.frames._PASSING_BYTES", 4096)
    found, expected = Mapped(path), column_digests(TABLE)
    assert found.digests() == expected
    assert found.digests_of([1]) == expected[1:]


def test_what_is_no_arrow_file_is_refused(tmp_path: Path) -> None:
    """A torn file is an error of Arrow, an absent one an error of the system."""
    (tmp_path / "torn").write_bytes(b"ARROW1\0\0")
    with pytest.raises(pa.ArrowInvalid, match="File is too small"):
        Mapped(tmp_path / "torn")
    with pytest.raises(FileNotFoundError, match="absent"):
        Mapped(tmp_path / "absent")
