"""Looking through a store: damage is found anew, set aside, and made good where it can be."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest

from usher_pipeline import checkpoint, load, run
from usher_pipeline.errors import OptionError, StoreBusyError
from usher_pipeline.persistence import (
    PipelineStore,
    mapparts,
    maps,
    publisher,
    segments,
)
from usher_pipeline.persistence.entries import GONE
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.persistence.maps import maps_of
from usher_pipeline.persistence.segments import Segments
from usher_pipeline.persistence.sweeping import DAMAGED
from usher_pipeline.persistence.verification import verify
from usher_pipeline.records import Acceptance, Entry, Hit, Miss, utc_now

if TYPE_CHECKING:
    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.findings import Finding

NAME = "verified_numbers"


@checkpoint(name=NAME)
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count)), "text": [f"row {n}" for n in range(count)]})


@checkpoint(name="verified_halves")
def halves() -> dict[str, pl.DataFrame]:
    """Return two frames."""
    return {"low": pl.DataFrame({"n": [1]}), "high": pl.DataFrame({"n": [2, 3]})}


@checkpoint(name="verified_items")
def squares(number: int) -> pl.DataFrame:
    """Return the rows of an item."""
    return pl.DataFrame({"n": [number], "square": [number**2]})


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A store with two results of one checkpoint; the one of 300 rows is the current one."""
    with run(store=tmp_path / "store.duckdb"):
        numbers(200)
        numbers(300)
    return LocalBackend(tmp_path / "store.duckdb", timeout_s=0.1)


def entry_of(backend: LocalBackend, rows: int, name: str = NAME) -> Entry:
    """Return the latest entry with so many rows."""
    return next(entry for entry in backend.recent(name) if entry.row_count == rows)


def flip(path: Path) -> bytes:
    """Change one bit in the middle of a file, and leave its state as it was; return it."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    place = data.find(b"row 7") if path.suffix == ".arrow" else len(data) // 2
    data[place] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_mtime_ns == facts.st_mtime_ns
    return bytes(data)


def rows_in(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the file with plain DuckDB, as any other tool would."""
    with duckdb.connect(str(path)) as connection:
        return connection.execute(sql).fetchall()


def only(backend: LocalBackend) -> Finding:
    """Look through a store; return the one damage, after which all of it is well."""
    (finding,) = verify(backend).findings
    assert verify(backend).is_whole
    return finding


def aside(backend: LocalBackend) -> set[str]:
    """Return the names of the files that were set aside."""
    return {path.name for path in (backend.segments.folder / DAMAGED / NAME).glob("*")}


def decision(backend: LocalBackend, count: int) -> type:
    """Return what a call would do."""
    with run(store=backend.path):
        return type(numbers.explain(count))


# --- a store that is whole --------------------------------------------------------------


def test_a_whole_store_is_left_as_it_is(backend: LocalBackend) -> None:
    """All results and tables are looked at, and nothing is changed."""
    with run(store=backend.path):
        halves()
    before = {p: p.stat().st_mtime_ns for p in backend.segments.folder.rglob("*.*")}
    with PipelineStore(backend.path) as store:
        verified = store.verify()
        assert verified.is_whole
        assert (verified.result_count, verified.table_count) == (5, 4)
        assert verified.size_bytes == store.usage().segments_size_bytes
        assert store.verify(names=["verified_halves"]).result_count == 1
    assert {p: p.stat().st_mtime_ns for p in backend.segments.folder.rglob("*.*")} == before


def test_what_is_only_to_be_known_is_no_damage(backend: LocalBackend) -> None:
    """Evicted segments, orphans, and tables without an entry are told, and stay."""
    newest, older = backend.recent(NAME)
    backend.segments.segment(newest).unlink()
    verified = verify(backend)
    assert verified.is_whole
    assert verified.evicted == (f"{NAME}/{newest.stem}",)
    assert not backend.segments.segment(newest).exists()
    backend.segments.segment(older).with_suffix(".json").unlink()
    assert verify(backend).orphans == (f"{NAME}/{older.stem}",)
    backend.segments.segment(newest).with_suffix(".json").unlink()
    verified = verify(backend)
    assert (verified.is_whole, verified.unlisted) == (True, (NAME,))
    assert rows_in(backend.path, f"SELECT count(*) FROM {NAME}") == [(300,)]


def test_tables_that_were_saved_by_hand_are_theirs(backend: LocalBackend) -> None:
    """A table that is no result is not looked at, and anybody may change it."""
    with PipelineStore(backend.path) as store:
        store.save_dataframe(pl.DataFrame({"a": [1]}), "by_hand")
        store.execute_query("UPDATE by_hand SET a = 2")
        assert store.verify().is_whole
        assert store.load_dataframe("by_hand").item() == 2


def test_entries_of_another_version_are_left_alone(backend: LocalBackend) -> None:
    """An entry in a format that is not known yet is no damage."""
    path = backend.segments.segment(entry_of(backend, 200)).with_suffix(".json")
    newer = json.loads(path.read_text()) | {"format": 99}
    path.write_text(json.dumps(newer))
    assert verify(backend).is_whole
    assert json.loads(path.read_text()) == newer


# --- segments ---------------------------------------------------------------------------


def test_damage_is_seen_whatever_was_seen_before(backend: LocalBackend) -> None:
    """A bit that rotted is found, although this process checked and remembers the file."""
    entry = entry_of(backend, 200)
    assert backend.load(entry) is not None
    damaged = flip(backend.segments.segment(entry))
    assert backend.load(entry) is not None
    finding = only(backend)
    assert (finding.half, finding.key) == ("segment", entry.key.digest)
    assert finding.outcome == "gone; the next call computes it"
    assert Path(finding.aside).read_bytes() == damaged
    assert aside(backend) == {f"{entry.stem}.arrow", f"{entry.stem}.json"}
    assert decision(backend, 200) is Miss
    with run(store=backend.path):
        assert numbers(200)["text"][7] == "row 7"


def test_a_damaged_segment_is_made_good_from_the_table(backend: LocalBackend) -> None:
    """The current result is sealed again under its own name, and answers."""
    entry = entry_of(backend, 300)
    path = backend.segments.segment(entry)
    flip(path)
    finding = only(backend)
    assert finding.outcome == "sealed again from its table"
    assert aside(backend) == {f"{entry.stem}.arrow"}
    assert backend.segments.examine(entry)
    assert decision(backend, 300) is Hit
    with run(store=backend.path):
        assert load(NAME)["text"].to_list() == [f"row {n}" for n in range(300)]


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "swapped"])
def test_any_damage_is_found(backend: LocalBackend, damage: str) -> None:
    """Half a file, an empty one, noise, and the segment of another result are all damage."""
    path = backend.segments.segment(entry_of(backend, 200))
    data = path.read_bytes()
    other = backend.segments.segment(entry_of(backend, 300)).read_bytes()
    path.write_bytes(
        {"cut": data[: len(data) // 2], "empty": b"", "noise": b"x" * 999, "swapped": other}[
            damage
        ]
    )
    assert only(backend).problem == "it is not what was stored"
    assert decision(backend, 200) is Miss


def test_a_lost_result_is_gone(backend: LocalBackend) -> None:
    """An entry without a segment, which is not what the table holds, is set aside."""
    entry = entry_of(backend, 200)
    backend.segments.segment(entry).unlink()
    assert only(backend).problem == "it is not there"
    assert aside(backend) == {f"{entry.stem}.json"}


def test_an_older_result_does_not_answer_for_a_lost_one(backend: LocalBackend) -> None:
    """Where the latest result of a key is lost, the call computes; the older one stays."""
    with run(store=backend.path):
        numbers.refresh(200)
        numbers(300)
    entry = entry_of(backend, 200)
    assert entry.number == 2
    flip(backend.segments.segment(entry))
    (finding,) = verify(backend).findings
    assert finding.outcome == "gone; the next call computes it"
    assert backend.find(NAME, entry.key.digest) == entry
    assert backend.load(entry) is None
    with run(store=backend.path):
        numbers(200)
    assert entry_of(backend, 200).number == 3


def test_both_results_of_a_damaged_file_are_found(backend: LocalBackend) -> None:
    """A file that is the segment of two entries is damaged for both."""
    entry = entry_of(backend, 200)
    key = replace(entry.key, digest="ab" * 16)
    backend.accept(entry, key, Acceptance(utc_now(), entry.key.digest, ()))
    flip(backend.segments.segment(entry))
    assert {each.key for each in verify(backend).findings} == {key.digest, entry.key.digest}


def test_a_lost_frame_of_a_dictionary_lets_it_be_computed(tmp_path: Path) -> None:
    """A dictionary of which a frame is gone is never put together from the rest."""
    with run(store=tmp_path / "store.duckdb"):
        halves()
    backend = LocalBackend(tmp_path / "store.duckdb")
    (part,) = backend.recent("verified_halves__high")
    backend.segments.segment(part).write_bytes(b"noise")
    rows_in(backend.path, "UPDATE verified_halves__high SET n = 0")
    assert len(verify(backend).findings) == 2
    with run(store=backend.path):
        assert halves()["high"]["n"].to_list() == [2, 3]


# --- tables -----------------------------------------------------------------------------


def test_a_changed_table_keeps_its_content_under_another_name(backend: LocalBackend) -> None:
    """Nobody's UPDATE is lost; the result is published again under its own name."""
    for number in (1, 2):
        rows_in(backend.path, f"UPDATE {NAME} SET text = 'mine {number}' WHERE n = 7")
        finding = only(backend)
        assert (finding.half, finding.problem) == ("table", "it holds something else")
        assert finding.outcome == "published again from its segment"
        assert finding.aside == f"_usher_aside_{number}_{NAME}"
        mine = rows_in(backend.path, f"SELECT text FROM {finding.aside} WHERE n = 7")
        assert mine == [(f"mine {number}",)]
        assert rows_in(backend.path, f"SELECT text FROM {NAME} WHERE n = 7") == [("row 7",)]
    with PipelineStore(backend.path) as store:
        assert [row["table_name"] for row in store.list_checkpoints()] == [NAME]


@pytest.mark.parametrize(
    "change",
    [
        f"DELETE FROM {NAME} WHERE n = 7",
        f"ALTER TABLE {NAME} DROP COLUMN text",
        f"DROP TABLE {NAME}; CREATE VIEW {NAME} AS SELECT 1 AS n",
        f"CREATE INDEX mine ON {NAME} (n); UPDATE {NAME} SET n = 0 WHERE n = 7",
        f"DROP TABLE {NAME}",
    ],
)
def test_any_change_of_a_table_is_found(backend: LocalBackend, change: str) -> None:
    """Rows, columns, names, a view in its place, no table at all: the result comes back."""
    rows_in(backend.path, change)
    assert only(backend).outcome == "published again from its segment"
    assert rows_in(backend.path, f"SELECT sum(n), max(text) FROM {NAME}") == [(44850, "row 99")]


def test_a_result_that_both_halves_lost_is_gone(backend: LocalBackend) -> None:
    """What neither half has is never returned; what the table holds instead is kept."""
    entry = entry_of(backend, 300)
    flip(backend.segments.segment(entry))
    rows_in(backend.path, f"UPDATE {NAME} SET text = 'mine' WHERE n = 7")
    first, second = verify(backend).findings
    assert [first.half, second.half] == ["segment", "table"]
    assert {first.outcome, second.outcome} == {"gone; the next call computes it"}
    assert rows_in(backend.path, f"SELECT text FROM {second.aside} WHERE n = 7") == [("mine",)]
    assert backend.segments.published(NAME) == ""
    assert decision(backend, 300) is Miss
    with run(store=backend.path):
        assert numbers(300)["text"][7] == "row 7"


def _is_unreadable(path: Path, table: str) -> bool:
    try:
        rows_in(path, f"SELECT max(hash(t)) FROM {table} t")
    except duckdb.Error:
        return True
    return False


def test_a_table_that_can_not_be_read_is_replaced(tmp_path: Path) -> None:
    """A damaged block of the database costs the table, which its segment brings back."""
    with run(store=tmp_path / "store.duckdb"):
        numbers(120_000)
    path = tmp_path / "store.duckdb"
    assert publisher.wait(path, 60)
    backend = LocalBackend(path)
    whole = path.read_bytes()
    # Behind three headers come the blocks, of which some hold the table alone.
    for begin in range(3 * 4096, len(whole), 1 << 18):
        data = bytearray(whole)
        data[begin + 1000 : begin + 3000] = bytes(2000)
        path.write_bytes(data)
        if _is_unreadable(path, NAME) and not _is_unreadable(path, "_checkpoints"):
            break
    finding = only(backend)
    assert (finding.half, finding.outcome) == ("table", "published again from its segment")
    assert "can not be read" in finding.problem
    assert rows_in(path, f"SELECT count(*) FROM {NAME}") == [(120_000,)]


# --- entries ----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_entry_is_written_again_from_the_database(
    backend: LocalBackend, damage: str
) -> None:
    """The entry of the current result is mirrored in the database, and comes from there."""
    entry = entry_of(backend, 300)
    path = backend.segments.segment(entry).with_suffix(".json")
    text = path.read_text()
    path.write_text(
        text[:99] if damage == "cut" else text.replace(entry.content, entry.content[::-1])
    )
    finding = only(backend)
    assert (finding.half, finding.outcome) == ("entry", "written again from the database")
    assert json.loads(path.read_text()) == json.loads(text)
    assert decision(backend, 300) is Hit


def test_a_damaged_entry_that_nobody_mirrors_is_gone(backend: LocalBackend) -> None:
    """Without a mirror entry and segment are set aside, and the call computes."""
    entry = entry_of(backend, 200)
    path = backend.segments.segment(entry).with_suffix(".json")
    path.write_text("{")
    assert only(backend).outcome == "gone; the next call computes it"
    assert not path.exists()
    assert aside(backend) == {f"{entry.stem}.json", f"{entry.stem}.arrow"}
    assert decision(backend, 200) is Miss


def test_below_a_newer_result_a_damaged_entry_leaves_its_number_taken(
    backend: LocalBackend,
) -> None:
    """The newest one still answers; what stands in its place is no damage, and is cleared."""
    with run(store=backend.path):
        numbers.refresh(200)
        numbers.refresh(200)
        numbers(300)
    latest = entry_of(backend, 200)
    assert latest.number == 3
    stem = latest.numbered(2).stem
    path = backend.segments.segment(latest).with_name(f"{stem}.json")
    path.write_text("{")
    assert only(backend).outcome == "gone; the next call computes it"
    assert aside(backend) == {f"{stem}.json", f"{stem}.arrow"}
    assert json.loads(path.read_text()) == GONE
    assert backend.find(NAME, latest.key.digest) == latest
    assert backend.segments.find(NAME, latest.key.digest) == latest
    with run(store=backend.path):
        numbers.refresh(200)
    assert entry_of(backend, 200).number == 4
    backend.clear(NAME)
    assert not path.parent.exists()


# --- others -----------------------------------------------------------------------------


def test_a_busy_database_is_waited_for_and_told(held: Any, backend: LocalBackend) -> None:
    """While others hold the database nothing is judged, and nothing set aside."""
    flip(backend.segments.segment(entry_of(backend, 300)))
    with held(backend.path), pytest.raises(StoreBusyError, match="held by"):
        verify(backend)
    assert aside(backend) == set()
    assert only(backend).outcome == "sealed again from its table"


def test_what_can_not_be_moved_is_told(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be written the damage is reported and left where it is."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    flip(backend.segments.segment(entry_of(backend, 200)))
    flip(backend.segments.segment(entry_of(backend, 300)))
    monkeypatch.setattr(type(backend.segments), "set_aside", refuse)
    outcomes = [each.outcome for each in verify(backend).findings]
    assert outcomes == ["left where it is: [Errno 13] Permission denied"] * 2
    assert list(backend.segments.folder.rglob("*.tmp")) == []


def test_a_result_that_is_removed_meanwhile_is_no_damage(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody removes while we look is not missed."""
    plain = type(backend.segments).examine

    def removed(segments: Any, entry: Entry) -> bool | None:
        if entry.row_count == 200:
            segments.remove(entry)
        return plain(segments, entry)

    monkeypatch.setattr(type(backend.segments), "examine", removed)
    verified = verify(backend)
    assert (verified.is_whole, verified.result_count) == (True, 1)


def in_its_place(backend: LocalBackend, entry: Entry) -> Entry:
    """Remove a result, and store one made later under the same number."""
    sealed = backend.segments.seal(NAME, loaded(backend, 300))
    for kind in (".arrow", ".json"):
        # As long as the old file is there, the disk gives its number to no new one.
        kept = backend.path.with_suffix(f".kept{kind}")
        kept.hardlink_to(backend.segments.segment(entry).with_suffix(kind))
    backend.segments.remove(entry)
    made_later = replace(entry_of(backend, 300), key=entry.key, created_at=utc_now())
    new = backend.segments.commit(sealed, made_later)
    assert new.stem == entry.stem
    return new


def loaded(backend: LocalBackend, rows: int) -> Packed:
    """Return the frame of the latest entry with so many rows."""
    packed = backend.load(entry_of(backend, rows))
    assert packed is not None
    return packed


@pytest.mark.parametrize("moment", ["was looked at", "is set aside"])
def test_a_result_that_came_meanwhile_is_not_taken_for_the_damaged_one(
    backend: LocalBackend, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole result that got the number of a damaged one stays where it is."""
    entry = entry_of(backend, 200)
    flip(backend.segments.segment(entry))
    name = "examine" if moment == "was looked at" else "set_aside"
    plain, came = getattr(Segments, name), list[Entry]()

    def overtaken(self: Segments, what: Any, *rest: Any) -> Any:
        if came or (name == "examine" and what != entry):
            return plain(self, what, *rest)
        found = plain(self, what, *rest) if name == "examine" else None
        came.append(in_its_place(backend, entry))
        return found if name == "examine" else plain(self, what, *rest)

    monkeypatch.setattr(Segments, name, overtaken)
    verified = verify(backend)
    assert verified.is_whole or moment == "is set aside"
    (new,) = came
    assert aside(backend) == set()
    assert backend.segments.read(NAME, new.stem) == new
    assert backend.segments.examine(new)
    assert verify(backend).is_whole


def test_a_text_is_no_list_of_names(backend: LocalBackend) -> None:
    """One name has to be given as a list of one."""
    with (
        PipelineStore(backend.path) as store,
        pytest.raises(OptionError, match="several names, got the text 'verified_numbers'"),
    ):
        store.verify(names=NAME)
    assert verify(LocalBackend("none.duckdb")).result_count == 0
    assert not Path("none.checkpoints").exists()


def test_what_stands_in_the_place_of_an_entry_hides_no_name(
    labelled_store: LocalBackend, labelled: Any
) -> None:
    """A name is listed, and has its table again, also after an entry of it was set aside."""
    with run(store=labelled_store.path):
        labelled.refresh(3)
        labelled.refresh(3)
    latest = labelled_store.recent("labelled_numbers")[0]
    stem = latest.numbered(2).stem
    labelled_store.segments.segment(latest).with_name(f"{stem}.json").write_text("{")
    verify(labelled_store)
    assert labelled_store.segments.names() == ["labelled_numbers"]
    assert labelled_store.segments.has("labelled_numbers")
    assert [entry.stem for entry in labelled_store.segments.recent("labelled_numbers", 1)] == [
        latest.stem
    ]
    labelled_store.path.unlink()
    labelled_store.complete()
    assert len(labelled_store.segments.pending()) == 1


def test_an_older_result_does_not_answer_for_a_damaged_entry(
    labelled_store: LocalBackend, labelled: Any
) -> None:
    """Where the entry of the latest result of a key is damaged the call computes."""
    with run(store=labelled_store.path):
        labelled.refresh(3)
        labelled(2)
    latest = next(
        each for each in labelled_store.recent("labelled_numbers") if each.row_count == 3
    )
    assert latest.number == 2
    labelled_store.segments.segment(latest).with_suffix(".json").write_text("{")
    verify(labelled_store)
    with run(store=labelled_store.path):
        assert isinstance(labelled.explain(3), Miss)


NO_ROOM = [OSError(24, "Too many open files"), MemoryError("none left"), MemoryError()]


def refuse_to_read(monkeypatch: pytest.MonkeyPatch, pattern: str, error: Exception) -> None:
    """Have every look into files of some name fail."""
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.match(pattern):
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)


@pytest.mark.parametrize("error", NO_ROOM)
def test_a_segment_that_can_not_be_read_just_now_stays(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What the machine has no room for is no damage: it is said, and nothing is moved."""

    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(segments, "Opened", failing)
    findings = verify(backend).findings
    assert {finding.outcome for finding in findings} == {"left where it is"}
    said = str(error) or "MemoryError"
    assert [finding.problem for finding in findings] == [f"it could not be read: {said}"] * 2
    assert not any(finding.aside for finding in findings)
    monkeypatch.undo()
    assert verify(backend).is_whole
    assert len(backend.segments.recent(NAME)) == 2


@pytest.mark.parametrize("error", NO_ROOM)
def test_an_entry_that_can_not_be_read_just_now_stays(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An entry that could not be opened is said; it is not taken for a damaged one."""
    refuse_to_read(monkeypatch, "[0-9a-f]*-*.json", error)
    findings = verify(backend).findings
    assert {finding.half for finding in findings} == {"entry"}
    said = str(error) or "MemoryError"
    assert {finding.problem for finding in findings} == {f"it could not be read: {said}"}
    monkeypatch.undo()
    assert verify(backend).is_whole


@pytest.mark.parametrize("error", NO_ROOM)
def test_a_damaged_entry_stays_while_its_segment_can_not_be_read(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What the database could make good is not given up for a machine without room."""
    path = backend.segments.segment(entry_of(backend, 300)).with_suffix(".json")
    path.write_bytes(b"no entry")

    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(segments, "Opened", failing)
    found = {finding.half for finding in verify(backend).findings}
    assert found == {"segment"}
    assert path.read_bytes() == b"no entry"
    monkeypatch.undo()
    (finding,) = verify(backend).findings
    assert finding.outcome == "written again from the database"
    assert verify(backend).is_whole


# --- maps -------------------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """A store with the four items of a map in two parts or more."""
    monkeypatch.setattr(maps, "_SMALL_BYTES", 0)
    with run(store=tmp_path / "store.duckdb"):
        items = squares.mapped(over="number")
        items([1, 2])
        items([1, 2, 3, 4])
    backend = LocalBackend(tmp_path / "store.duckdb", timeout_s=0.1)
    (stored,) = maps_of(backend.segments, "verified_items")
    assert len(stored.stems()) >= 2
    return backend


def test_a_map_that_is_whole_is_found_whole(mapped: LocalBackend) -> None:
    """Of maps it is said how many there are; their parts count to what was read."""
    found = verify(mapped)
    assert found.is_whole
    assert found.map_count == 1
    (stored,) = maps_of(mapped.segments, "verified_items")
    of_parts = sum(stored.examine(stem).size_bytes for stem in stored.stems())
    assert of_parts > 0
    assert found.size_bytes == of_parts + sum(
        path.stat().st_size for path in mapped.segments.folder.glob("verified_items/*.arrow")
    )
    assert " · 1 maps" in str(found)


def test_only_items_of_a_damaged_part_are_asked_again(
    mapped: LocalBackend, tmp_path: Path
) -> None:
    """A part that is damaged is set aside, and said; the others are good as they are."""
    (stored,) = maps_of(mapped.segments, "verified_items")
    stem = stored.stems()[0]
    count = stored.examine(stem).item_count
    assert 0 < count < 4
    path = stored.folder / f"{stem}.rows"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify(mapped, [NAME]).findings == ()
    (finding,) = verify(mapped, ["verified_items"]).findings
    assert (finding.name, finding.key) == ("verified_items", stored.digest)
    assert (finding.half, finding.problem) == ("part", "its rows are not what was stored")
    assert finding.outcome == f"gone; the next call asks {count:,} items again"
    assert Path(finding.aside).parent.parent == mapped.segments.folder / DAMAGED
    assert verify(mapped).is_whole
    with run(store=tmp_path / "store.duckdb"):
        told = squares.mapped(over="number").explain([4, 3, 2, 1])
        assert f"{count} of 4 items are to ask" in str(told)
        assert squares.mapped(over="number")([4, 3, 2, 1])["square"].to_list() == [16, 9, 4, 1]


def test_a_map_whose_statement_is_damaged_keeps_its_items(
    mapped: LocalBackend, tmp_path: Path
) -> None:
    """What says what a map is is set aside and said; its parts are looked at all the same."""
    (stored,) = maps_of(mapped.segments, "verified_items")
    path = stored.folder / "map.json"
    path.write_text("{")
    stem = stored.stems()[0]
    asked = stored.examine(stem).item_count
    (stored.folder / f"{stem}.rows").write_bytes(b"no rows")
    assert verify(mapped, [NAME]).findings == ()
    found = verify(mapped, ["verified_items"])
    assert [(f.name, f.key, f.half) for f in found.findings] == [
        ("verified_items", stored.digest, "map"),
        ("verified_items", stored.digest, "part"),
    ]
    assert found.map_count == 1
    first = found.findings[0]
    assert first.problem == "what it says of the map can not be read"
    assert "keeps the others" in first.outcome
    assert Path(first.aside).read_text() == "{"
    again = verify(mapped)
    assert (again.is_whole, again.map_count) == (True, 1)
    with run(store=tmp_path / "store.duckdb"):
        told = str(squares.mapped(over="number").explain([4, 3, 2, 1]))
        assert f"{asked} of 4 items are to ask" in told
        assert squares.mapped(over="number")([4, 3, 2, 1])["square"].to_list() == [16, 9, 4, 1]
    assert verify(mapped).map_count == 1


@pytest.mark.parametrize("is_newer", [True, False])
def test_a_statement_that_is_not_damaged_stays(
    mapped: LocalBackend, monkeypatch: pytest.MonkeyPatch, *, is_newer: bool
) -> None:
    """One of a newer version of the library, or that can not be opened just now, stays."""
    (stored,) = maps_of(mapped.segments, "verified_items")
    path = stored.folder / "map.json"
    if is_newer:
        path.write_text('{"format": 2}')
    if not is_newer:
        refuse_to_read(monkeypatch, "map.json", OSError(24, "Too many open files"))
    before = path.read_text()
    findings = verify(mapped, ["verified_items"]).findings
    assert {f.outcome for f in findings} <= {"left where it is"}
    assert any(f.half == "map" for f in findings) is not is_newer
    assert path.read_text() == before


@pytest.mark.parametrize("error", NO_ROOM)
def test_a_part_that_can_not_be_read_just_now_stays(
    mapped: LocalBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What the machine has no room for says nothing of what is stored."""

    def failing(_: Path) -> Any:
        raise error

    (stored,) = maps_of(mapped.segments, "verified_items")
    stored.examine(stored.stems()[0])
    whole = mapparts.read_part

    def read(path: Path) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(mapparts, "Mapped", mapped_files)
            return whole(path)

    mapped_files = vars(mapparts)["Mapped"]
    monkeypatch.setattr(maps, "read_part", read)
    monkeypatch.setattr(mapparts, "Mapped", failing)
    findings = verify(mapped, ["verified_items"]).findings
    assert {finding.outcome for finding in findings} == {"left where it is"}
    assert all("it could not be read" in finding.problem for finding in findings)
    monkeypatch.undo()
    assert verify(mapped).is_whole
    assert maps_of(mapped.segments, "verified_items")[0].stems() == stored.stems()


def test_a_damaged_part_that_can_not_be_moved_is_said(
    mapped: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a part can not be set aside it stays, and the finding says why."""
    (stored,) = maps_of(mapped.segments, "verified_items")
    path = stored.folder / f"{stored.stems()[0]}.items"
    path.write_bytes(b"no items")

    def full(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Segments, "set_aside", full)
    (finding,) = verify(mapped).findings
    assert finding.problem == "its items can not be read"
    assert finding.outcome == "left where it is: no room"
    assert finding.aside == ""
    assert path.read_bytes() == b"no items"
