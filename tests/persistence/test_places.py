"""What a store calls things on the disk."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.errors import CheckpointNameError
from usher_pipeline.persistence.places import check_name, folder_of, safe_name

if TYPE_CHECKING:
    from pathlib import Path


def test_the_folder_lies_beside_the_database(tmp_path: Path) -> None:
    """`X.duckdb` has `X.checkpoints`; another ending is kept, so that two never share."""
    assert folder_of(tmp_path / "a.duckdb").name == "a.checkpoints"
    assert folder_of(tmp_path / "a.db").name == "a.db.checkpoints"


def is_usable(name: str) -> bool:
    """Tell whether a checkpoint can have a name."""
    with suppress(CheckpointNameError):
        return check_name(name) == name
    return False


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(is_usable)


@given(NAMES)
def test_any_name_becomes_one_safe_component(name: str) -> None:
    """A folder's name never leaves its folder, hides, or grows beyond what disks take."""
    safe = safe_name(name)
    assert "/" not in safe
    assert not safe.startswith(".")
    assert safe.isascii()
    assert 0 < len(safe) <= 120


@given(st.lists(NAMES, unique=True))
def test_different_names_have_different_folders(names: list[str]) -> None:
    """No two names that differ by more than case share a folder."""
    folded = {name.casefold(): name for name in names}
    assert len({safe_name(name) for name in folded.values()}) == len(folded)


@pytest.mark.parametrize("name", ["", " ", "_checkpoints", "_usher_x", "a\0", None])
def test_names_that_can_not_be(name: Any) -> None:
    """An empty, reserved or unquotable name is refused, and has no folder either."""
    for ask in (check_name, safe_name):
        with pytest.raises(CheckpointNameError, match="can not name a checkpoint"):
            ask(name)
