"""The files of entries: how they are called, written, read, and when one is believed."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from dataclasses import astuple
from errno import EACCES, EMFILE, ENFILE, ENOMEM, EPERM
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from usher_pipeline.fingerprint.content import combine
from usher_pipeline.fingerprint.files import signature
from usher_pipeline.persistence.places import safe_name
from usher_pipeline.persistence.spools import sync
from usher_pipeline.records import ENTRY_FORMAT, Entry, Key, Read

if TYPE_CHECKING:
    import pyarrow as pa

    from usher_pipeline.fingerprint.files import Signature

__all__ = [
    "ENTRY_NAME",
    "GONE",
    "entry_anew",
    "is_entry_name",
    "is_formed_key",
    "is_gone",
    "is_of_another_version",
    "is_passing",
    "read_entry",
    "read_json",
    "schema_from_text",
    "schema_text",
    "why",
    "write_json",
    "write_note",
]

#: Too many files are open, there is no memory, or somebody may not read.
_PASSING: Final = (EMFILE, ENFILE, ENOMEM, EACCES, EPERM)
ENTRY_NAME: Final = re.compile(r"(?P<key>[0-9a-f]{32})-(?P<number>\d+)\.json")


def is_entry_name(name: str) -> bool:
    """Tell whether a file of this name is an entry.

    >>> is_entry_name("0123456789abcdef0123456789abcdef-1.json"), is_entry_name("notes.json")
    (True, False)
    """
    return ENTRY_NAME.fullmatch(name) is not None


def read_entry(path: Path | str) -> Entry | None:
    """Return the entry in a file; None if there is none that can be read.

    An entry is written once and never changed: one that was read is remembered for as long
    as its file stays the same.
    """
    place = os.fspath(path)
    try:
        found = signature(place)
    except OSError:
        # The folder of another user.
        return None
    if found is None:
        return None
    known = _entries.get(place)
    if known is not None and known[0] == found[0]:
        return known[1]
    try:
        entry = Entry.from_json(read_json(Path(place)))
    except ValueError:
        return None
    if not _agrees(entry, place):
        return None
    if len(_entries) >= _MOST_ENTRIES:
        _entries.clear()
    if found[1]:
        _entries[place] = found[0], entry
    return entry


def entry_anew(path: Path, *, is_strict: bool = False) -> Entry | None:
    """Return the entry in a file as it is now, if it agrees with itself; None if not.

    Args:
        path: The file.
        is_strict: Whether what does not lie in the file is raised, as `read_json` does.
    """
    try:
        entry = Entry.from_json(read_json(path, is_strict=is_strict))
    except ValueError:
        return None
    return entry if _agrees(entry, str(path)) else None


def _agrees(entry: Entry, place: str) -> bool:
    """Tell whether an entry is where it belongs, and says of its frame what is digested."""
    try:
        digests = [column.digest for column in entry.columns]
        ending = f"/{safe_name(entry.name)}/{entry.stem}.json"
        is_there = place.replace(os.sep, "/").endswith(ending)
        is_content = combine(entry.kind, entry.schema, digests) == entry.content
        return is_there and is_content and _is_formed(entry)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # Something else stands where a text or a list has to be.
        return False


def _is_formed(entry: Entry) -> bool:
    """Tell whether texts and counts of an entry are such, as those who read it rely on."""
    names, mapped = entry.schema["sql_names"], entry.mapped
    texts = (
        *(getattr(entry, name) for name in _TEXTS),
        *(value for column in entry.columns for value in astuple(column)),
        *(read_text for read in (*entry.reads, *entry.inputs) for read_text in _texts_of(read)),
        *(text for said in entry.accepted for text in (said.key, said.how, *said.changes)),
        *(text for each in entry.pulled for text in (each.file, each.store)),
        *(astuple(entry.adopted) if entry.adopted is not None else ()),
        *((mapped.over, mapped.digest, mapped.listed) if mapped is not None else ()),
        *entry.buffer_digests,
        *entry.unknown,
        *names,
    )
    numbers = (
        (mapped.item_count, mapped.asked_count, mapped.latest, mapped.oldest)
        if mapped is not None
        else ()
    )
    is_named = isinstance(names, list) and len(names) == len(entry.columns)
    is_text = all(isinstance(text, str) for text in texts)
    is_counted = all(type(number) is int for number in numbers)
    return is_named and is_text and is_counted and is_formed_key(entry.key)


def is_formed_key(key: Key) -> bool:
    """Tell whether all texts of a key that was read are texts.

    Args:
        key: The key.
    """
    texts = (
        *(getattr(part, name) for part in key.parts for name in _PART_TEXTS),
        *(value for part in key.parts for item in part.items for value in item),
        *(key.name, key.digest, key.code),
        *key.untracked,
    )
    return all(isinstance(text, str) for text in texts)


#: The fields of an entry, and of a part of its key, that are texts.
_TEXTS: Final = (
    *("function", "kind", "arrow_schema", "content", "run_id", "library", "description"),
    *("reason", "config_hash", "segment_digest", "seal"),
)
_PART_TEXTS: Final = ("kind", "label", "digest", "preview", "where", "text", "alias")


def _texts_of(read: Read) -> tuple[str, ...]:
    pairs = tuple(text for pair in read.arguments for text in pair)
    of_call = (read.standing, read.served)
    return (read.name, read.key, read.content, read.kind, read.store, *of_call, *pairs)


#: What stands in the place of an entry that was set aside, so that no older one of its key
#: answers for it, and that a newer one is found by counting up.
GONE: Final = {"format": ENTRY_FORMAT, "gone": True}


def is_gone(path: Path, *, is_strict: bool = False) -> bool:
    """Tell whether a file stands in the place of an entry that was set aside.

    Args:
        path: The file.
        is_strict: As of `read_json`.
    """
    return read_json(path, is_strict=is_strict) == GONE


def is_of_another_version(path: Path, *, is_strict: bool = False) -> bool:
    """Tell whether a file holds an entry in a format that this library does not read.

    Args:
        path: The file.
        is_strict: As of `read_json`.
    """
    found = read_json(path, is_strict=is_strict).get("format")
    return isinstance(found, int) and found != ENTRY_FORMAT


def is_passing(problem: BaseException | None) -> bool:
    """Tell whether a file could not be read for a reason that does not lie in the file.

    Args:
        problem: What was raised.
    """
    if isinstance(problem, OSError):
        return problem.errno in _PASSING
    # Arrow says of a damaged file, with an error of its own, that it takes all memory.
    return type(problem) is MemoryError


def why(problem: BaseException) -> str:
    """Return what went wrong in a line, which is never empty."""
    return str(problem).partition("\n")[0] or type(problem).__name__


#: The entries that were read last, each with the state of its file.
_entries: Final[dict[str, tuple[Signature, Entry]]] = {}


_MOST_ENTRIES: Final = 4096


def read_json(path: Path, *, is_strict: bool = False) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is none that can be read.

    Args:
        path: The file.
        is_strict: Whether it is an error if the file can not be read for a reason that does
            not lie in it.

    Raises:
        OSError: It can not, and that is to be an error.
    """
    try:
        # A pipe would never answer, and a device never end.
        is_file = stat.S_ISREG(path.stat().st_mode)
        data = json.loads(path.read_bytes()) if is_file else {}
    except (OSError, ValueError, RecursionError) as problem:
        if is_strict and is_passing(problem):
            raise
        return {}
    return data if isinstance(data, dict) else {}


def write_note(path: Path, text: str) -> None:
    """Write a few letters that nobody would miss."""
    number = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(number, "w", encoding="ascii") as file:
        file.write(text)


def write_json(path: Path, data: object, *, indent: int = 1, mode: int = 0o600) -> None:
    """Write a JSON file so that it is there in full or not at all."""
    temporary = path.with_name(f".{uuid4().hex}.json.tmp")
    text = json.dumps(data, ensure_ascii=False, indent=indent) + "\n"
    try:
        number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with os.fdopen(number, "wb") as file:
            file.write(text.encode("utf-8", "surrogatepass"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def schema_text(schema: pa.Schema) -> str:
    """Return an Arrow schema as base64 text of its IPC message, whatever the layout of text."""
    from usher_pipeline.frames.views import plain_schema

    return base64.b64encode(plain_schema(schema).serialize().to_pybytes()).decode("ascii")


def schema_from_text(text: str) -> pa.Schema:
    """Return the Arrow schema that `schema_text` wrote."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
