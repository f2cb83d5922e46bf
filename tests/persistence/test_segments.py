"""Sealed results on disk: names, commits, and what a damaged file does."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from usher_pipeline.errors import NameClashError
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.frames import Packed
from usher_pipeline.persistence import segments as segments_module
from usher_pipeline.persistence.entries import schema_text
from usher_pipeline.persistence.segments import Opened, Segments, put_back
from usher_pipeline.persistence.spools import sync
from usher_pipeline.records import Column, Cost, Entry, Key, utc_now

KEY = "0123456789abcdef" * 2
TABLE = pa.table({"0": pa.array(range(1000), pa.int64())})
OTHER = pa.table({"0": pa.array(range(1, 1001), pa.int64())})


SCHEMA = {"sql_names": ["n"]}


def entry_for(name: str = "genes", key: str = KEY, table: pa.Table = TABLE) -> Entry:
    """Return an entry that tells the truth about a table."""
    return Entry(
        key=Key(name, key, (), 1),
        number=1,
        created_at=utc_now(),
        function="tests.made",
        kind="polars.DataFrame",
        schema=SCHEMA,
        arrow_schema=schema_text(table.schema),
        content=combine("polars.DataFrame", SCHEMA, column_digests(table)),
        columns=(Column("n", "Int64", column_digests(table)[0]),),
        row_count=table.num_rows,
        size_bytes=table.nbytes,
        cost=Cost(utc_now(), 0.1),
        run_id="r",
    )


def packed(table: pa.Table, kind: str = "polars.DataFrame") -> Packed:
    """Return a table as the packed frame of a kind."""
    return Packed(table, {}, kind)


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    """An empty folder of results."""
    return Segments(tmp_path / "store.checkpoints")


def store(segments: Segments, entry: Entry, table: pa.Table = TABLE) -> Entry:
    """Seal and commit."""
    return segments.commit(segments.seal(entry.name, packed(table)), entry)


def test_what_is_committed_is_found_and_mapped(segments: Segments) -> None:
    """A committed result is found under its key, and maps to an equal table."""
    entry = store(segments, entry_for())
    assert segments.find("genes", KEY) == entry
    found = segments.map(entry)
    assert found is not None
    assert found.equals(TABLE)


def test_the_latest_number_wins(segments: Segments) -> None:
    """A second result under one key gets the next number, and is the one that counts."""
    first = store(segments, entry_for())
    second = store(segments, entry_for())
    assert (first.number, second.number) == (1, 2)
    assert segments.find("genes", KEY) == second
    segments.remove(first)
    assert segments.find("genes", KEY) == second
    segments.remove(second)
    assert segments.find("genes", KEY) is None


def test_nothing_is_seen_before_the_commit(segments: Segments) -> None:
    """A sealed segment without an entry shows nowhere."""
    segments.seal("genes", packed(TABLE))
    assert segments.find("genes", KEY) is None
    assert segments.names() == []
    assert segments.recent("genes") == []


def test_a_half_written_entry_is_not_seen(segments: Segments) -> None:
    """An entry that is cut off is as if it were not there."""
    entry = store(segments, entry_for())
    path = segments.segment(entry).with_suffix(".json")
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert segments.find("genes", KEY) is None


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "swapped"])
def test_a_damaged_segment_is_not_mapped(segments: Segments, damage: str) -> None:
    """A segment that is not what the entry says gives None, never a table."""
    entry = store(segments, entry_for())
    path = segments.segment(entry)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "swapped":
        other = pa.table({"0": pa.array(range(1, 1001), pa.int64())})
        sealed = segments.seal("genes", packed(other)).path
        assert sealed is not None
        data = bytearray(sealed.read_bytes())
    path.unlink()
    if damage != "missing":
        path.write_bytes(data)
    assert segments.map(entry) is None


def test_files_are_for_their_owner_only(segments: Segments) -> None:
    """Segments, entries and folders can be read by nobody else."""
    entry = store(segments, entry_for())
    path = segments.segment(entry)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_suffix(".json").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_recent_entries_are_newest_first(segments: Segments) -> None:
    """The newest entry of each key is listed, the latest first."""
    keys = [f"{number:032x}" for number in range(3)]
    stored = [store(segments, entry_for(key=key)) for key in keys]
    again = store(segments, entry_for(key=keys[0]))
    assert segments.recent("genes") == [again, stored[2], stored[1]]
    assert segments.names() == ["genes"]


def test_clearing_takes_one_name_only(segments: Segments) -> None:
    """Clearing a name leaves the others."""
    store(segments, entry_for("one"))
    kept = store(segments, entry_for("two"))
    assert segments.clear("one") == 1
    assert segments.names() == ["two"]
    assert segments.find("two", KEY) == kept


@pytest.mark.parametrize(("one", "other"), [("Genes", "genes"), ("É", "é"), ("ß", "SS")])
def test_names_that_fold_to_one_collide(segments: Segments, one: str, other: str) -> None:
    """A second spelling of a name is an error before anything is written."""
    store(segments, entry_for(one))
    with pytest.raises(NameClashError, match="claimed twice"):
        segments.seal(other, packed(TABLE))
    assert segments.names() == [one]


def test_results_of_others_that_can_not_be_seen_are_none(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that only its owner may enter has no results for anybody else, and no clash."""
    store(segments, entry_for())
    plain_stat, plain_list = os.stat, os.listdir

    def stat_of(path: Any, *rest: Any, **more: Any) -> os.stat_result:
        if f"{segments.folder}/" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return plain_stat(path, *rest, **more)

    def list_of(path: Any = ".") -> list[str]:
        if str(segments.folder) in str(path):
            raise PermissionError(13, "Permission denied", path)
        return plain_list(path)

    monkeypatch.setattr(os, "stat", stat_of)
    monkeypatch.setattr(os, "listdir", list_of)
    assert (segments.names(), segments.recent("genes"), segments.clash("genes")) == ([], [], "")


def test_pending_markers_read_back_in_order(segments: Segments) -> None:
    """What is marked is listed, the oldest first."""
    later = segments.mark(entry_for(), datetime(2026, 2, 2, tzinfo=UTC))
    sooner = segments.mark(entry_for(), datetime(2026, 1, 1, tzinfo=UTC))
    assert segments.pending() == [sooner, later]
    assert Segments(segments.folder / "nowhere").pending() == []


@pytest.mark.parametrize("kind", ["polars.DataFrame", "pandas.DataFrame"])
def test_text_lies_as_its_library_has_it(segments: Segments, kind: str) -> None:
    """That of polars is mapped without being rewritten; to all others it has offsets."""
    table = pa.table({"0": pa.array(["a name of some length"] * 9, pa.large_string())})
    entry = replace(entry_for(table=table), kind=kind)
    entry = segments.commit(segments.seal("genes", packed(table, kind)), entry)
    opened = segments.open(entry)
    is_polars = kind == "polars.DataFrame"
    layout = pa.string_view() if is_polars else pa.large_string()
    assert opened is not None
    assert opened.table.schema.types == [layout]
    assert opened.digests() == [column.digest for column in entry.columns]
    checked = segments.map(entry, views=True)
    assert checked is not None
    assert checked.schema.types == [layout]
    plain = segments.map(entry)
    assert plain is not None
    assert plain.equals(table)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every segment count as a large one, of which each column has a digest."""
    monkeypatch.setattr("usher_pipeline.persistence.spools.SMALL_BYTES", 0)


def three_columns(segments: Segments) -> Entry:
    """Store numbers, text and a list."""
    numbers, texts = pa.array(range(99)), pa.array(["the text"] * 99, pa.large_string())
    lists = pa.array([[n] for n in range(99)])
    table = pa.table({"0": numbers, "1": texts, "2": lists})
    columns = tuple(Column("c", "t", digest) for digest in column_digests(table))
    entry = replace(entry_for(table=table), columns=columns)
    return segments.commit(segments.seal("genes", packed(table)), entry)


@pytest.mark.usefixtures("large")
def test_a_column_is_told_by_its_bytes(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies as it was sealed is not digested anew, but for what has parts of its own."""
    entry = three_columns(segments)
    assert [bool(digest) for digest in entry.buffer_digests] == [True, True, False]
    digested: list[list[int]] = []
    digests_of = Opened.digests_of

    def noted(opened: Opened, positions: list[int]) -> list[str]:
        digested.append(positions)
        return digests_of(opened, positions)

    monkeypatch.setattr(Opened, "digests_of", noted)
    opened = segments.open(entry)
    assert opened is not None
    assert opened.is_whole([1])
    assert (opened.checked, digested) == ({1}, [])
    assert opened.is_whole([0, 1, 2])
    assert (opened.checked, digested) == ({0, 1, 2}, [[2]])


@pytest.mark.usefixtures("large")
def test_only_the_column_that_is_damaged_is_refused(segments: Segments) -> None:
    """The bytes of the others are as they were, and they can be read."""
    entry = three_columns(segments)
    path = segments.segment(entry)
    path.write_bytes(path.read_bytes().replace(b"the text", b"the test", 1))
    opened = segments.open(entry)
    assert opened is not None
    assert opened.is_whole([0])
    assert opened.is_whole([2])
    assert not opened.is_whole([1])
    assert not opened.is_whole([0, 1])
    assert segments.map(entry) is None


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("digests", [(), ("",) * 3, ("0" * 32,) * 3, ("0" * 32,)])
def test_where_bytes_do_not_tell_the_values_do(
    segments: Segments, digests: tuple[str, ...]
) -> None:
    """A segment that was written anew lies otherwise, and holds the same."""
    entry = replace(three_columns(segments), buffer_digests=digests)
    opened = segments.open(entry)
    assert opened is not None
    assert opened.is_whole([0, 1, 2])


# --- a file that is not what was stored -------------------------------------------------


def words(segments: Segments) -> Entry:
    """Store text that polars maps as views, and words of a dictionary."""
    texts = pa.array([f"the text of row {n}" for n in range(99)], pa.large_string())
    indices = pa.array([n % 2 for n in range(99)], pa.uint32())
    chosen = pa.DictionaryArray.from_arrays(indices, pa.array(["x", "y"], pa.large_string()))
    table = pa.table({"0": texts, "1": chosen})
    columns = tuple(Column("c", "t", digest) for digest in column_digests(table))
    entry = replace(entry_for(table=table), columns=columns)
    return segments.commit(segments.seal("genes", packed(table)), entry)


def place_of(path: Path, entry: Entry, column: int) -> int:
    """Return where the values of a column lie in a segment: its views, or its indices."""
    opened = Opened(path, entry)
    chunk = opened.table.column(column).chunk(0)
    values = chunk.indices if column else chunk
    found: int = values.buffers()[1].address - opened._buffer.address
    return found


def flip(path: Path, place: int, bit: int = 0) -> None:
    """Write a file anew that differs in one bit."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("byte", range(4))
def test_a_view_whose_copy_of_the_first_letters_differs_is_damage(
    segments: Segments, byte: int
) -> None:
    """The first four bytes of a text, which its view repeats, count as the text does."""
    entry = words(segments)
    path = segments.segment(entry)
    flip(path, place_of(path, entry, 0) + 16 * 77 + 4 + byte)
    assert segments.map(entry, views=True) is None
    assert segments.map(entry) is None


def test_an_index_into_no_word_is_damage(segments: Segments) -> None:
    """Where a word is asked for that the dictionary does not have, there is no table."""
    entry = words(segments)
    path = segments.segment(entry)
    flip(path, place_of(path, entry, 1), bit=7)
    assert segments.map(entry, views=True) is None
    assert segments.examine(entry) is False


TROUBLES = [pa.lib.ArrowIndexError, pa.lib.ArrowKeyError, pa.lib.ArrowMemoryError, ValueError]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("step", ["opened", "digested"])
def test_whatever_arrow_says_of_a_damaged_file_is_no_error(
    segments: Segments,
    step: str,
    trouble: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that can not be opened or read is as one that is lost."""
    entry = store(segments, entry_for())

    def refuse(*_: object) -> None:
        raise trouble("Index 128 out of bounds")

    if step == "opened":
        monkeypatch.setattr(segments_module, "Opened", refuse)
    else:
        monkeypatch.setattr(Opened, "_told_by_bytes", lambda *_: set())
        monkeypatch.setattr(Opened, "digests_of", refuse)
    assert segments.map(entry) is None
    assert segments.examine(entry) is False


@pytest.mark.parametrize("how", ["mapped", "trusted"])
def test_what_was_checked_of_one_result_says_nothing_of_another(
    segments: Segments, how: str
) -> None:
    """The same file is looked at anew for an entry that states other content."""
    entry = store(segments, entry_for())
    if how == "mapped":
        assert segments.map(entry) is not None
    else:
        segments.trust(entry)
    other = entry_for(table=OTHER).numbered(entry.number)
    assert segments.state(other) == segments.state(entry)
    assert segments.map(other) is None
    assert segments.map(entry) is not None


CHANGES: dict[str, dict[str, Any]] = {
    "the schema": {"schema": {"attrs": {"unit": "mm"}}},
    "a column": {"columns": [{"name": "n", "type": "Int64", "digest": "0" * 32}]},
    "the kind": {"kind": "pandas.DataFrame"},
    "the content": {"content": "0" * 32},
    "the name": {"name": "gene"},
}


@pytest.mark.parametrize("changed", CHANGES)
def test_an_entry_that_contradicts_itself_is_not_read(segments: Segments, changed: str) -> None:
    """What it says of its frame has to have the digest that it states, where it belongs."""
    entry = store(segments, entry_for())
    path = segments.segment(entry).with_suffix(".json")
    data = json.loads(path.read_text())
    change = CHANGES[changed]
    known = data["key"] if changed == "the name" else data
    assert known.keys() >= change.keys()
    known.update(change)
    path.write_text(json.dumps(data))
    assert segments.find("genes", KEY) is None
    assert segments.read("genes", entry.stem) is None
    assert segments.recent("genes") == []


def test_an_entry_that_may_not_be_looked_at_is_none(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder of another user there is no entry, and asking for one is no error."""
    entry = store(segments, entry_for())
    plain = os.stat

    def stat_of(path: Any, *rest: Any, **more: Any) -> os.stat_result:
        if str(path).endswith(".json"):
            raise PermissionError(13, "Permission denied", path)
        return plain(path, *rest, **more)

    monkeypatch.setattr(os, "stat", stat_of)
    assert segments.find("genes", KEY) is None
    assert segments.read("genes", entry.stem) is None
    monkeypatch.setattr(os, "stat", plain)
    assert segments.find("genes", KEY) == entry


# --- several at once --------------------------------------------------------------------


def left(segments: Segments) -> list[str]:
    """Return the names of all files of results, those that nobody should see included."""
    return sorted(path.name for path in segments.folder.rglob("*.*") if path.is_file())


def files_of(*entries: Entry) -> list[str]:
    """Return the names of the files that some entries have."""
    return sorted(f"{entry.stem}{kind}" for entry in entries for kind in (".arrow", ".json"))


@pytest.mark.parametrize("removal", ["remove", "clear"])
def test_a_result_that_comes_in_the_place_of_a_removed_one_stays(
    segments: Segments, removal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number is free only when the segment that had it is out of the way."""
    entry = store(segments, entry_for())
    path = segments.segment(entry).with_suffix(".json")
    plain, came = Path.unlink, list[Entry]()

    def unlink(self: Path, **more: Any) -> None:
        plain(self, **more)
        if self == path and not came:
            came.append(store(segments, entry_for(table=OTHER), OTHER))

    monkeypatch.setattr(Path, "unlink", unlink)
    if removal == "remove":
        segments.remove(entry)
    else:
        segments.clear("genes")
    (new,) = came
    assert new.number == entry.number
    assert segments.find("genes", KEY) == new
    assert segments.map(new) is not None
    assert left(segments) == files_of(new)


@pytest.mark.parametrize("moment", ["before", "while sealing", "after it was set aside"])
def test_sealing_again_leaves_another_result_alone(
    segments: Segments, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come under the number meanwhile keeps its segment, whenever it came."""
    entry = store(segments, entry_for())
    came: list[Entry] = []

    def overtake() -> None:
        segments.remove(entry)
        came.append(store(segments, entry_for(table=OTHER), OTHER))

    def overtaken(name: str) -> None:
        plain = getattr(Segments, name)

        def done(self: Segments, *given: Any) -> Any:
            monkeypatch.setattr(Segments, name, plain)
            found = plain(self, *given)
            overtake()
            return found

        monkeypatch.setattr(Segments, name, done)

    if moment == "before":
        overtake()
    else:
        overtaken("seal" if moment == "while sealing" else "set_aside")
    segments.reseal(entry, packed(TABLE))
    (new,) = came
    assert new.number == entry.number
    found = segments.map(new)
    assert found is not None
    assert found.equals(OTHER)
    assert not [name for name in left(segments) if name.endswith(".tmp")]


def test_sealing_again_replaces_no_segment_that_somebody_else_sealed(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two who seal a lost segment again the first one's stays."""
    entry = store(segments, entry_for())
    path = segments.segment(entry)
    path.unlink()
    plain, sealed = Segments.seal, list[int]()

    def seal(self: Segments, *given: Any) -> Any:
        monkeypatch.setattr(Segments, "seal", plain)
        assert segments.reseal(entry, packed(TABLE)) is None
        sealed.append(path.stat().st_ino)
        return plain(self, *given)

    monkeypatch.setattr(Segments, "seal", seal)
    assert segments.reseal(entry, packed(TABLE)) is None
    assert sealed == [path.stat().st_ino]
    assert segments.map(entry) is not None
    assert left(segments) == files_of(entry)


def test_only_the_file_that_was_seen_is_set_aside(segments: Segments) -> None:
    """Another file that has the name by now is put back, and what is gone is none."""
    entry = store(segments, entry_for())
    path = segments.segment(entry)
    seen = path.stat()
    aside = segments.set_aside(path, seen)
    assert aside is not None
    assert aside.stat().st_ino == seen.st_ino
    assert segments.set_aside(path, seen) is None
    path.write_bytes(b"another file")
    assert segments.set_aside(path, seen) is None
    assert path.read_bytes() == b"another file"
    assert list(aside.parent.iterdir()) == [aside]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_its_name_back_unless_another_one_has_it(
    *, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That holds as well on a disk that can not give one file two names."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    aside, path = tmp_path / "aside", tmp_path / "file"
    for text in ("first", "second"):
        aside.write_text(text)
        put_back(aside, path)
        assert path.read_text() == "first"
        assert not aside.exists()


def test_two_who_accept_at_once_leave_nothing_behind(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both give one file the same name, and no other name of it stays."""
    entry = store(segments, entry_for())
    accepted = replace(entry, key=replace(entry.key, digest="ab" * 16))
    plain, first = segments_module._entry_names, list[Entry]()

    def names(folder: Path, key: str) -> Any:
        found = plain(folder, key)
        monkeypatch.setattr(segments_module, "_entry_names", plain)
        first.append(segments.adopt(entry, accepted))
        return found

    monkeypatch.setattr(segments_module, "_entry_names", names)
    second = segments.adopt(entry, accepted)
    assert first == [second]
    assert segments.map(second) is not None
    assert left(segments) == files_of(entry, second)


def test_a_name_does_not_clash_with_itself(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a name may come while we look for another spelling of it."""
    store(segments, entry_for())
    plain, asked = os.path.isdir, list[Any]()

    def isdir(path: Any) -> bool:
        asked.append(path)
        return len(asked) > 1 and plain(path)

    monkeypatch.setattr(os.path, "isdir", isdir)
    assert segments.clash("genes") == ""
    assert asked[0] == segments.folder / "genes"


# --- a disk that fails ------------------------------------------------------------------


def test_an_entry_that_can_not_be_written_leaves_no_segment(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full at the last step, what was written before it is taken back."""
    known = store(segments, entry_for())
    sealed = segments.seal("genes", packed(TABLE))

    def full(path: Path, *_: object, **__: object) -> None:
        assert path.with_suffix(".arrow").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments_module, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        segments.commit(sealed, entry_for())
    assert left(segments) == files_of(known)
    assert sealed._held_open == -1


def test_only_what_was_written_is_taken_back(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment of somebody else that has the same name by then stays."""
    sealed = segments.seal("genes", packed(TABLE))
    segment = segments.folder / "genes" / f"{KEY}-1.arrow"

    def overtaken(path: Path, *_: object, **__: object) -> None:
        segment.unlink()
        segment.write_bytes(b"of somebody else")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments_module, "write_json", overtaken)
    with pytest.raises(OSError, match="No space left"):
        segments.commit(sealed, entry_for())
    assert segment.read_bytes() == b"of somebody else"


def test_new_folders_are_brought_to_disk(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is made is named on disk in the one above it, once."""
    synced: list[Path] = []

    def noted(path: Path) -> None:
        synced.append(path)
        sync(path)

    monkeypatch.setattr(segments_module, "sync", noted)
    entry = store(segments, entry_for())
    assert synced[:2] == [segments.folder.parent, segments.folder]
    segments.mark(entry, utc_now())
    assert synced.count(segments.folder) == 2
    store(segments, entry_for())
    assert synced.count(segments.folder) == 2
    assert synced.count(segments.folder.parent) == 1


def test_a_file_with_the_number_of_another_one_is_not_that_one(segments: Segments) -> None:
    """A disk gives the number of a file that is gone to the next one that is made."""
    entry = store(segments, entry_for())
    for _ in range(20):
        path = segments.segment(entry).with_suffix(".json")
        seen = path.stat()
        segments.remove(entry)
        entry = store(segments, replace(entry_for(), created_at=utc_now()))
        assert segments.set_aside(path, seen) is None
        assert segments.find("genes", KEY) == entry
