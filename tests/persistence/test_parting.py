"""Folders of parts: what is in them, whose they are, and that they go at once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl
import pytest

from usher_pipeline import Resume, checkpoint, configure
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.parting import (
    folders_in,
    is_of,
    numbered,
    remove,
    size_of_folder,
)
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.persistence.unfinished import every_work

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = re.compile(r"(?P<number>\d+)\.part")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two parts and something else."""
    folder = tmp_path / "genes" / "abc"
    folder.mkdir(parents=True)
    for name, text in {"2.part": "bb", "1.part": "a", "other": "ccc"}.items():
        (folder / name).write_text(text)
    return folder


def test_parts_come_in_the_order_of_their_names(folder: Path) -> None:
    """What has another name is no part, and a folder that is not there has none."""
    assert [found["number"] for found in numbered(folder, NAME)] == ["1", "2"]
    assert numbered(folder / "none", NAME) == []


def test_the_size_of_a_folder_is_that_of_all_its_files(folder: Path) -> None:
    """Every file counts, whatever it is; a folder that is not there takes nothing."""
    assert size_of_folder(folder) == 6
    assert size_of_folder(folder / "none") == 0


def test_a_folder_goes_with_that_of_its_name(folder: Path) -> None:
    """All of it is gone, and what is not there may be removed as well."""
    remove(folder)
    assert not folder.parent.exists()
    remove(folder)


def test_others_of_the_name_stay(folder: Path) -> None:
    """The folder of a name stays while another one is in it."""
    other = folder.with_name("def")
    other.mkdir()
    remove(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["def"]


def test_whoever_is_killed_while_it_is_removed_leaves_what_is_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is out of the way at once, and is told from folders that are in use."""

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        remove(folder)
    folder.mkdir()
    found = dict(folders_in(folder.parents[1]))
    assert found.pop(folder) is False
    assert list(found.values()) == [True]


@pytest.mark.parametrize("name", ["genes", "genes: v1", "../genes", "x" * 300])
def test_a_folder_is_of_the_name_that_it_lies_under(tmp_path: Path, name: str) -> None:
    """Of no other, whatever stands in its files."""
    assert is_of(tmp_path / safe_name(name) / "abc", name)
    assert not is_of(tmp_path / "other" / "abc", name)


@pytest.mark.parametrize("name", ["", "_checkpoints", "a\0b"])
def test_no_folder_is_of_a_name_that_none_can_have(tmp_path: Path, name: str) -> None:
    """A name that anybody wrote into a file is no error."""
    assert not is_of(tmp_path / "genes" / "abc", name)


def test_unfinished_work_under_an_odd_name_stops_nobody() -> None:
    """A store is used and cleared as ever, although one file of it says an impossible name."""
    configure(store="store.duckdb")

    @checkpoint(name="pages")
    def pages(resume: Resume[int] = Resume()) -> Iterator[pl.DataFrame]:
        yield resume.part(pl.DataFrame({"n": [1]}), cursor=1)
        raise ConnectionError("down")

    with pytest.raises(ConnectionError, match="down"):
        pages()
    (work,) = Path("store.checkpoints", ".unfinished").glob("*/*/work.json")
    odd = work.parents[2] / "odd" / "abc" / "work.json"
    odd.parent.mkdir(parents=True)
    shutil.copyfile(work, odd)
    stated = json.loads(odd.read_text())
    stated["key"]["name"] = ""
    odd.write_text(json.dumps(stated))
    with PipelineStore("store.duckdb") as store:
        assert store.usage().unfinished_count == 1
    pages.clear()
    assert list(every_work(Segments(Path("store.checkpoints")))) == []
