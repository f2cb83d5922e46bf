"""Results as one file for another store: whole, checked, and of no harm."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, load, run
from usher_pipeline.errors import (
    BundleError,
    CheckpointMissError,
    NameClashError,
    OutputError,
    StoreError,
    UnknownTableError,
)
from usher_pipeline.persistence import PipelineStore, bundles
from usher_pipeline.persistence.bundles import pull, push
from usher_pipeline.persistence.flights import LOCKS, holders
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CALLS: list[str] = []


@checkpoint(name="carried_genes", version="1")
def genes(count: int = 2) -> pl.DataFrame:
    """Return some genes."""
    _CALLS.append("genes")
    return pl.DataFrame({"gene": [f"G{n}" for n in range(count)]})


@checkpoint(name="carried_scores", version="1")
def scores() -> dict[str, pl.DataFrame]:
    """Return two frames, made from the genes."""
    _CALLS.append("scores")
    return {"a": genes().with_columns(score=0.5), "b": genes().head(1)}


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with a result, what it was made from, and one that is neither."""
    path = tmp_path / "here" / "store.duckdb"
    with run(store=path):
        scores()
        genes(5)
        genes(2)
    return LocalBackend(path)


@pytest.fixture
def other(tmp_path: Path) -> LocalBackend:
    """Where a store may be made."""
    return LocalBackend(tmp_path / "there" / "store.duckdb")


@pytest.fixture
def bundle(backend: LocalBackend, tmp_path: Path) -> Path:
    """A file with what was made and what it was made from."""
    path = tmp_path / "scores.usher"
    push(backend, ["carried_scores"], path)
    return path


# --- as it should be --------------------------------------------------------------------


def test_what_is_pulled_answers_calls(bundle: Path, other: LocalBackend) -> None:
    """In the other store the same call is a hit, by name as well; nothing is computed."""
    found = pull(other, bundle)
    assert [(each.name, each.is_asked) for each in found] == [
        ("carried_genes", False),
        ("carried_scores__a", False),
        ("carried_scores__b", False),
        ("carried_scores", True),
    ]
    _CALLS.clear()
    with run(store=other.path):
        frames = scores()
        assert genes()["gene"].to_list() == ["G0", "G1"]
        assert load("carried_scores__b").height == 1
    assert frames["a"]["score"].to_list() == [0.5, 0.5]
    assert _CALLS == []


def test_provenance_and_tables_come_along(
    backend: LocalBackend, bundle: Path, other: LocalBackend
) -> None:
    """The steps are those of the first store and say so; the results are tables for SQL."""
    pull(other, bundle)
    before, after = backend.current("carried_scores"), other.current("carried_scores")
    assert before is not None
    assert after is not None
    steps = other.lineage(after)
    assert all(step["details"].pop("pulled") for step in steps)
    assert steps == backend.lineage(before)
    with PipelineStore(other.path) as opened:
        assert opened.execute_query("SELECT count(*) FROM carried_scores__a").item() == 2


def test_what_was_pulled_says_so(bundle: Path, other: LocalBackend, tmp_path: Path) -> None:
    """It states when, from which file and which store, and so does what is pushed on."""
    began = utc_now()
    pull(other, bundle)
    entry = other.current("carried_scores__a")
    assert entry is not None
    (first,) = entry.pulled
    assert (first.file, first.store) == ("scores.usher", "here/store.duckdb")
    assert began <= first.pulled_at <= utc_now()
    assert entry.created_at < began
    push(other, ["carried_scores"], tmp_path / "again.usher")
    third = LocalBackend(tmp_path / "third" / "store.duckdb")
    pull(third, tmp_path / "again.usher")
    entry = third.current("carried_scores__a")
    assert entry is not None
    assert [(each.file, each.store) for each in entry.pulled] == [
        ("scores.usher", "here/store.duckdb"),
        ("again.usher", "there/store.duckdb"),
    ]
    # The row of its table tells of it as well, should the folder be lost.
    shutil.rmtree(third.segments.folder)
    alone = LocalBackend(third.path).current("carried_scores__a")
    assert alone is not None
    assert alone.pulled == entry.pulled


def test_a_file_of_an_older_version_is_pulled(bundle: Path, other: LocalBackend) -> None:
    """It does not say from which store it is."""

    def without_store(members: dict[str, bytes]) -> None:
        head = json.loads(members["bundle.json"])
        del head["store"]
        members["bundle.json"] = json.dumps(head).encode()

    rewritten(bundle, without_store)
    assert all(each.is_new for each in pull(other, bundle))
    entry = other.current("carried_scores")
    assert entry is not None
    assert [each.store for each in entry.pulled] == [""]


def test_pulling_twice_is_pulling_once(bundle: Path, other: LocalBackend) -> None:
    """What the store has already is left alone, file by file."""
    assert all(each.is_new for each in pull(other, bundle))
    entries = sorted(other.segments.folder.rglob("*-*.json"))
    assert not any(each.is_new for each in pull(other, bundle))
    assert sorted(other.segments.folder.rglob("*-*.json")) == entries


def test_pulling_at_once_is_pulling_once(
    bundle: Path, other: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another one stored meanwhile is known, and nobody stores while another one does."""
    meanwhile: list[list[bundles.Carried]] = []
    inside: list[str] = []
    check, store = LocalBackend.check, bundles._store

    def checked(backend: LocalBackend, name: str) -> None:
        if not meanwhile:
            meanwhile.append([])
            meanwhile[0] += pull(LocalBackend(backend.path), bundle)
        check(backend, name)

    def stored(backend: LocalBackend, *rest: Any) -> None:
        inside.extend(each.name for each in holders(backend.segments.folder / LOCKS))
        store(backend, *rest)

    monkeypatch.setattr(LocalBackend, "check", checked)
    monkeypatch.setattr(bundles, "_store", stored)
    found = pull(other, bundle)
    assert [each.is_new for each in (*meanwhile[0], *found)] == [True] * 4 + [False] * 4
    assert len(list(other.segments.folder.rglob("*-*.json"))) == 4
    assert inside == ["usher pull"] * 4


def test_the_same_results_make_the_same_file(
    backend: LocalBackend, bundle: Path, tmp_path: Path
) -> None:
    """A bundle has no times of its own."""
    again = tmp_path / "deep" / "again.usher"
    push(backend, ["carried_scores", "carried_scores"], again)
    assert again.read_bytes() == bundle.read_bytes()
    assert [path.name for path in again.parent.iterdir()] == ["again.usher"]


def test_a_dry_run_stores_nothing(bundle: Path, other: LocalBackend) -> None:
    """Everything is checked, and there is no store afterwards."""
    assert len(pull(other, bundle, dry_run=True)) == 4
    assert not other.path.parent.exists()


def test_a_newer_table_stays(bundle: Path, other: LocalBackend) -> None:
    """A result that is older than what the name stands for here does not take its place."""
    with run(store=other.path):
        genes(9)
    pull(other, bundle)
    with PipelineStore(other.path) as opened:
        assert opened.execute_query("SELECT count(*) FROM carried_genes").item() == 9


def test_a_segment_that_is_lost_comes_from_its_table(
    backend: LocalBackend, tmp_path: Path
) -> None:
    """What only the table has is pushed as well; what nothing has is an error."""
    entry = backend.current("carried_genes")
    assert entry is not None
    backend.segments.segment(entry).unlink()
    assert len(push(backend, ["carried_genes"], tmp_path / "g.usher")) == 1
    backend.segments.segment(entry).unlink()
    backend.path.unlink()
    with pytest.raises(CheckpointMissError, match="lost or damaged"):
        push(backend, ["carried_genes"], tmp_path / "h.usher")
    assert not (tmp_path / "h.usher").exists()


def test_what_can_not_be_pushed(
    backend: LocalBackend, other: LocalBackend, tmp_path: Path
) -> None:
    """An unknown name, an empty store, and a place that can not be written are errors."""
    with pytest.raises(UnknownTableError, match="no table 'nix'"):
        push(backend, ["nix"], tmp_path / "n.usher")
    with pytest.raises(StoreError, match="no result is stored"):
        push(other, [], tmp_path / "n.usher")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder' can not be written"):
        push(backend, ["carried_genes"], tmp_path / "folder")


@pytest.mark.parametrize("what", ["module", "store", "archive"])
def test_what_nobody_pushed_is_not_written_over(
    backend: LocalBackend, bundle: Path, tmp_path: Path, what: str
) -> None:
    """Only an older file of results is replaced: no module, no store, no other archive."""
    path = tmp_path / "pipeline.py" if what != "store" else backend.path
    if what == "module":
        path.write_text("CUTOFF = 0.35\n")
    if what == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mine.txt", "mine")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="is no file of results"):
        push(backend, ["carried_genes"], path)
    assert path.read_bytes() == before
    push(backend, ["carried_genes"], bundle)
    with zipfile.ZipFile(bundle) as archive:
        assert json.loads(archive.read("bundle.json"))["count"] == 1


# --- as it should not be ----------------------------------------------------------------


def rewritten(bundle: Path, change: Callable[[dict[str, bytes]], Any]) -> None:
    """Change the members of a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def edited(members: dict[str, bytes], member: str, *path: Any, to: Any) -> None:
    """Change one value of a JSON member."""
    data = json.loads(members[member])
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    members[member] = json.dumps(data).encode()


def flipped(members: dict[str, bytes], member: str) -> None:
    """Change one bit in the middle of the values of a member."""
    data = bytearray(members[member])
    place = data.find(b"G0")
    data[place] ^= 0x01
    members[member] = bytes(data)


_THEN = "2026-01-01T00:00:00+00:00"

HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "no head": (lambda m: m.pop("bundle.json"), "it has no bundle.json"),
    "a head that is a list": (lambda m: m.update({"bundle.json": b"[]"}), "holds no object"),
    "a head that is no JSON": (lambda m: m.update({"bundle.json": b"{"}), "is no JSON"),
    "deep JSON": (lambda m: m.update({"0.json": b"[" * 100_000}), "is no JSON"),
    "another format": (lambda m: edited(m, "bundle.json", "format", to=2), "the format 2"),
    "no count": (lambda m: edited(m, "bundle.json", "count", to="4"), "states '4' results"),
    "a count of none": (lambda m: edited(m, "bundle.json", "count", to=0), "states 0 results"),
    "a count of very many": (lambda m: edited(m, "bundle.json", "count", to=10**9), "states"),
    "odd wishes": (lambda m: edited(m, "bundle.json", "asked", to=["../a"]), "asked for"),
    "more than there are": (lambda m: edited(m, "bundle.json", "count", to=5), "has no 4.json"),
    "an entry that is none": (lambda m: m.update({"1.json": b"{}"}), "no entry that can be"),
    "a segment that is not there": (lambda m: m.pop("2.arrow"), "it has no 2.arrow"),
    "a segment that is none": (lambda m: m.update({"2.arrow": b"ARROW1"}), "not what its"),
    "an empty segment": (lambda m: m.update({"0.arrow": b""}), "not what its entry says"),
    "the segment of another": (lambda m: m.update({"0.arrow": m["1.arrow"]}), "not what its"),
    "a changed value": (lambda m: flipped(m, "0.arrow"), "is not what its entry says"),
    "a result twice": (
        lambda m: m.update({"1.json": m["0.json"], "1.arrow": m["0.arrow"]}),
        "result 1 is in it twice",
    ),
    "a key that leads elsewhere": (
        lambda m: edited(m, "0.json", "key", "digest", to="../../../../tmp/evil"),
        "which is none",
    ),
    "a number that is none": (lambda m: edited(m, "0.json", "number", to=-1), "which is none"),
    "a very long number": (
        lambda m: edited(m, "0.json", "number", to=10**300),
        "which is none",
    ),
    "another name": (
        lambda m: edited(m, "0.json", "key", "name", to="_checkpoints"),
        "no entry that can be read",
    ),
    "a name that is no text": (lambda m: edited(m, "0.json", "key", "name", to=5), "no entry"),
    "another content": (lambda m: edited(m, "0.json", "content", to="0" * 32), "agree"),
    "a label that nobody digested": (
        lambda m: edited(m, "0.json", "schema", "labels", to=["x"]),
        "does not agree with itself",
    ),
    "a name that can not be looked up": (
        lambda m: edited(m, "0.json", "key", "name", to={"a": 1}),
        "no entry that can be read",
    ),
    "a count of rows that is another": (
        lambda m: edited(m, "0.json", "row_count", to=-3),
        "is not what its entry says",
    ),
    "an odd acceptance": (
        lambda m: edited(
            m,
            "0.json",
            "accepted",
            to=[{"accepted_at": _THEN, "key": "a", "changes": [1], "how": "b"}],
        ),
        "agree",
    ),
    "an odd adoption": (
        lambda m: edited(m, "0.json", "adopted", to={"origin": 5}),
        "agree",
    ),
    "a store that is no text": (
        lambda m: edited(m, "bundle.json", "store", to=["a"]),
        "does not say where it is from",
    ),
    "a store without end": (
        lambda m: edited(m, "bundle.json", "store", to="a" * 9999),
        "does not say where it is from",
    ),
    "an odd pull": (
        lambda m: edited(
            m, "0.json", "pulled", to=[{"pulled_at": _THEN, "file": 5, "store": ""}]
        ),
        "agree",
    ),
    "a pull that is none": (lambda m: edited(m, "0.json", "pulled", to=[5]), "no entry"),
    "an odd map": (
        lambda m: edited(
            m,
            "0.json",
            "mapped",
            to={"over": "x", "item_count": "x", "asked_count": 1, "latest": 1, "oldest": 1},
        ),
        "agree",
    ),
    "digests of bytes that are none": (
        lambda m: edited(m, "0.json", "buffer_digests", to=[5, {}]),
        "agree",
    ),
    "a text that is none": (lambda m: edited(m, "0.json", "run_id", to=[1]), "agree"),
    "a result of the future": (
        lambda m: edited(
            m, "0.json", "created_at", to=(utc_now() + timedelta(days=9)).isoformat()
        ),
        "stored in the future",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_as_it_says_is_refused(
    bundle: Path, other: LocalBackend, tmp_path: Path, what: str
) -> None:
    """Whatever is wrong, nothing is stored, and no file is written anywhere."""
    change, said = HOSTILE[what]
    rewritten(bundle, change)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=said):
        pull(other, bundle)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_with_dots_stays_in_the_store(
    bundle: Path, other: LocalBackend, tmp_path: Path
) -> None:
    """The name of a checkpoint is a folder of the store, whatever it is."""
    name = "../../escaped"

    def change(members: dict[str, bytes]) -> None:
        for member in ("bundle.json",):
            edited(members, member, "count", to=1)
        edited(members, "0.json", "key", "name", to=name)

    rewritten(bundle, change)
    pull(other, bundle)
    assert other.names() == [name]
    assert not list(tmp_path.rglob("escaped"))
    inside = [path for path in tmp_path.rglob("*escaped*") if path.is_dir()]
    assert {path.parent for path in inside} == {other.segments.folder}


def test_names_of_members_lead_nowhere(
    bundle: Path, other: LocalBackend, tmp_path: Path
) -> None:
    """Members that nobody asks for are not unpacked, whatever they are called."""
    rewritten(bundle, lambda m: m.update({"../../evil": b"x", "/tmp/usher-evil": b"x"}))  # noqa: S108 - it is not written
    pull(other, bundle)
    assert not list(tmp_path.rglob("evil"))
    assert not os.path.lexists("/tmp/usher-evil")  # noqa: S108 - as above


def test_two_names_that_differ_in_case_alone(bundle: Path, other: LocalBackend) -> None:
    """Files could not tell them apart: nothing is stored."""

    def change(members: dict[str, bytes]) -> None:
        members["1.json"], members["1.arrow"] = members["0.json"], members["0.arrow"]
        edited(members, "1.json", "key", "name", to="Carried_Genes")

    rewritten(bundle, change)
    with pytest.raises(NameClashError, match="Carried_Genes"):
        pull(other, bundle)
    assert not other.path.parent.exists()


def test_a_table_that_somebody_saved_stays(bundle: Path, other: LocalBackend) -> None:
    """A result does not take the place of a table that no checkpoint made."""
    with PipelineStore(other.path) as opened:
        opened.save_dataframe(pl.DataFrame({"mine": [1]}), "carried_scores__a")
    with pytest.raises(NameClashError, match="carried_scores__a"):
        pull(other, bundle)
    assert other.names() == []


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive" * 100])
def test_what_is_no_archive(tmp_path: Path, other: LocalBackend, data: bytes) -> None:
    """Some other file is told as one."""
    path = tmp_path / "x.usher"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="it is no archive, or is damaged"):
        pull(other, path)


def test_half_a_file_and_damaged_ones(bundle: Path, other: LocalBackend) -> None:
    """A download that broke off, or was damaged anywhere, is refused."""
    whole = bundle.read_bytes()
    for data in (
        whole[: len(whole) // 2],
        whole[100:],
        whole.replace(b"PK\x01\x02", b"PK\x01\x03"),
    ):
        bundle.write_bytes(data)
        with pytest.raises(BundleError, match="can not be pulled"):
            pull(other, bundle)
    damaged = bytearray(whole)
    damaged[whole.find(b"0.arrow") + 200] ^= 0xFF
    bundle.write_bytes(bytes(damaged))
    with pytest.raises(BundleError, match="can not be pulled"):
        pull(other, bundle)
    assert not other.path.parent.exists()


def test_no_damage_anywhere_goes_unseen(bundle: Path, other: LocalBackend) -> None:
    """With any byte changed the file is refused, or the change was in what nobody reads."""
    whole = bundle.read_bytes()
    before = [each.content for each in pull(other, bundle, dry_run=True)]
    for place in range(0, len(whole), 29):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        bundle.write_bytes(bytes(damaged))
        try:
            found = pull(other, bundle, dry_run=True)
        except BundleError:
            continue
        assert [each.content for each in found] == before, place


def test_what_would_fill_the_disk(
    bundle: Path, other: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that unpacks to more than there is room for is refused before it is unpacked."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(BundleError, match="there is no room"):
        pull(other, bundle)


def test_json_without_end(
    bundle: Path, other: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is far too long is not read to its end."""
    monkeypatch.setattr(bundles, "_MOST_JSON_BYTES", 100)
    with pytest.raises(BundleError, match=r"0\.json is far too long"):
        pull(other, bundle)


def test_a_seal_of_somebody_else_is_not_believed(
    bundle: Path, other: LocalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a bundle states of its bytes counts for nothing: values are digested anew."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "colleague"))
    pull(other, bundle)
    entry = other.current("carried_genes")
    assert entry is not None
    with zipfile.ZipFile(bundle) as archive:
        stated = json.load(io.BytesIO(archive.read("0.json")))
    assert entry.seal != stated["seal"]
    assert other.load(entry) is not None
