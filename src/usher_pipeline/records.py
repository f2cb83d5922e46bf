"""The frozen values that cross rooms: key, entry, step, decision.

Nothing here touches a file or knows a frame library. Everything that is stored
has `to_json` and `from_json`, so that the formats on disk are read in one place.
How they look in a notebook is the business of `views`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ENTRY_FORMAT",
    "EXPIRED",
    "INDEX_TYPE",
    "PROBE",
    "Acceptance",
    "Adoption",
    "Blocked",
    "Bypass",
    "Column",
    "Cost",
    "Decision",
    "Difference",
    "Entry",
    "HandedIn",
    "Hit",
    "Key",
    "MapFacts",
    "Miss",
    "Part",
    "PartKind",
    "Pull",
    "Read",
    "ReadKind",
    "Reason",
    "Renewal",
    "SettingRef",
    "SourceRef",
    "Step",
    "as_json",
    "utc_from_text",
    "utc_now",
    "versions_in",
]

#: The format of an entry on disk. A store with a higher number is not read.
ENTRY_FORMAT = 1

#: What a read leads to whose result is there, but older than its checkpoint allows.
EXPIRED = "expired"

#: The type of a column that holds an index and not data.
INDEX_TYPE = "index"

#: Where a version was stated that a probe answered.
PROBE = "probe"

PartKind: TypeAlias = Literal[
    "argument", "code", "config", "setting", "source", "version", "checkpoint", "table", "file"
]

#: How a function got at what it read: by calling a checkpoint, by `load(name, ...)`, from
#: the plain table of a name, by listing the tables or the entries that there are, or from
#: a file that counted in the key of a checkpoint that it called.
ReadKind: TypeAlias = Literal["call", "name", "table", "listing", "entries", "file"]


def utc_now() -> datetime:
    """Return the present moment, aware and in UTC."""
    return datetime.now(UTC)


def utc_from_text(text: str) -> datetime:
    """Return the moment that an ISO 8601 text with a zone names, in UTC.

    >>> utc_from_text("2026-02-16T12:00:00+02:00").isoformat()
    '2026-02-16T10:00:00+00:00'
    """
    return datetime.fromisoformat(text).astimezone(UTC)


def as_json(value: Any) -> Any:
    """Return plain data as JSON would give it back; what has no form there becomes text.

    >>> from datetime import date
    >>> as_json({"day": date(2026, 2, 16), "genes": ("USH2A",), 5: None})
    {'day': '2026-02-16', 'genes': ['USH2A'], '5': None}
    """
    return json.loads(json.dumps(value, default=_json_text))


def _json_text(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    # Numbers of numpy, which are not of Python's types.
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return item()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def versions_in(
    steps: Iterable[Mapping[str, Any]], stated: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the versions of sources that some steps really used.

    Args:
        steps: Processing steps, as plain data.
        stated: Source → version as a config states it, whose type is kept.

    Returns:
        Source → version; a list where the steps used several.
    """
    used: dict[str, list[Any]] = {}
    plain = as_json(dict(stated or {}))
    for step in steps:
        for name, text in step.get("details", {}).get("sources", {}).items():
            version = plain[name] if str(plain.get(name)) == text else text
            known = used.setdefault(name, [])
            if version not in known:
                known.append(version)
    return {name: known[0] if len(known) == 1 else known for name, known in used.items()}


class HandedIn:
    """The default of a parameter that the library hands in; it counts for no key."""


@dataclass(frozen=True, slots=True)
class SettingRef:
    """Stands for a config value as the default of a parameter.

    Attributes:
        path: The dotted path in the config.
        default: What to take when the config has no such path.
        required: Whether a missing path is an error.
    """

    path: str
    default: Any = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class SourceRef:
    """Stands for the version of a source as the default of a parameter.

    Attributes:
        name: The source.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a key is made of.

    Attributes:
        kind: What sort of thing it is.
        label: Its name among its kind: a parameter, a helper, a source.
        digest: Its fingerprint.
        preview: A short text of it for people; never a secret.
        where: Where it was stated, such as ``config.yaml:12``.
        text: The whole value as text, where it is plain data and not too long; never a secret.
        alias: Another name for it: the config path of a `setting(...)`, or the parameter
            that takes a `source(...)`.
        items: For a frame its columns, for a mapping or an object what it holds: the label
            of each with the digest and a preview.
    """

    kind: PartKind
    label: str
    digest: str
    preview: str = ""
    where: str = ""
    text: str = ""
    alias: str = ""
    items: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Part:
        """Return the part that was plain data."""
        items = tuple(
            (str(label), str(digest), str(shown)) for label, digest, shown in data["items"]
        )
        return cls(**{**data, "items": items})


@dataclass(frozen=True, slots=True)
class Key:
    """What a call means: the checkpoint's name and every part that counts.

    Attributes:
        name: The checkpoint.
        digest: The fingerprint of all parts, as hexadecimal text.
        parts: The parts, each kept apart so that a miss can name its cause.
        rules: The version of the fingerprint rules that made it.
        untracked: What the function reaches and the key does not watch.
        code: The digest of all code and of how it hangs together; empty if a version
            stands for it.
    """

    name: str
    digest: str
    parts: tuple[Part, ...]
    rules: int
    untracked: tuple[str, ...] = ()
    code: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the key as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Key:
        """Return the key that `to_json` wrote."""
        return cls(
            name=data["name"],
            digest=data["digest"],
            parts=tuple(map(Part.from_json, data["parts"])),
            rules=data["rules"],
            untracked=tuple(data["untracked"]),
            code=data["code"],
        )


@dataclass(frozen=True, slots=True)
class Read:
    """Something stored that a function read while it ran, absence included.

    Attributes:
        name: The checkpoint or table; empty for a listing of all.
        key: The digest of the key it was called under; empty if it was read by its name.
        content: The version that was read: the digest of the frame, or of the table as it
            was found. Empty if there was none.
        kind: How it was read.
        arguments: For a read by name, the arguments that the result had to have, each as a
            digest.
        store: The database it was read from, relative to the folder of the reader's own;
            empty for that one itself.
        standing: For a call, the digest of what the checkpoint meant besides its arguments.
        served: For a call that could not be answered afresh, the digest of the key of the
            stale result that it got instead; empty otherwise.
    """

    name: str
    key: str
    content: str
    kind: ReadKind = "call"
    arguments: tuple[tuple[str, str], ...] = ()
    store: str = ""
    standing: str = ""
    served: str = ""

    @property
    def answered_by(self) -> str:
        """The digest of the key of the result that was read."""
        return self.served or self.key

    @property
    def place(self) -> tuple[object, ...]:
        """What was asked for, whatever was found."""
        return self.kind, self.store, self.name, self.key, self.arguments

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Read:
        """Return the read that was plain data."""
        arguments = tuple((str(name), str(digest)) for name, digest in data["arguments"])
        return cls(**{**data, "arguments": arguments})


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A statement that a stored result holds for newer code as well.

    Attributes:
        accepted_at: When it was stated (UTC).
        key: The digest of the key that the result had until then.
        changes: What had changed in the code, for people.
        how: Who stated it: ``accept()`` or ``on_code_change``.
    """

    accepted_at: datetime
    key: str
    changes: tuple[str, ...]
    how: str = "accept()"

    def to_json(self) -> dict[str, Any]:
        """Return the statement as plain data."""
        return {
            "accepted_at": self.accepted_at.isoformat(),
            "key": self.key,
            "changes": list(self.changes),
            "how": self.how,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Acceptance:
        """Return the statement that `to_json` wrote."""
        moment = utc_from_text(data["accepted_at"])
        return cls(moment, data["key"], tuple(data["changes"]), data["how"])


@dataclass(frozen=True, slots=True)
class Renewal:
    """A statement that what an expired result was made of is still the same.

    Attributes:
        renewed_at: When its sources were asked (UTC).
        answers: Source → what its probe answered, for people.
    """

    renewed_at: datetime
    answers: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the statement as plain data."""
        return {"renewed_at": self.renewed_at.isoformat(), "answers": dict(self.answers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Renewal:
        """Return the statement that `to_json` wrote."""
        answers = ((str(source), str(answer)) for source, answer in data["answers"].items())
        return cls(utc_from_text(data["renewed_at"]), tuple(answers))


@dataclass(frozen=True, slots=True)
class Pull:
    """A statement that a result came into its store in a file, and was computed elsewhere.

    Attributes:
        pulled_at: When it was stored here (UTC).
        file: The name of the file.
        store: The store that it was pushed from, as the file states; empty if it does not.
    """

    pulled_at: datetime
    file: str
    store: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the statement as plain data."""
        return {
            "pulled_at": self.pulled_at.isoformat(),
            "file": self.file,
            "store": self.store,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pull:
        """Return the statement that `to_json` wrote."""
        return cls(utc_from_text(data["pulled_at"]), data["file"], data["store"])


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a stored frame.

    Attributes:
        name: Its label, as text.
        type: Its type, as text.
        digest: The fingerprint of its values.
    """

    name: str
    type: str
    digest: str


@dataclass(frozen=True, slots=True)
class Adoption:
    """Where a result is from that nobody computed here.

    Attributes:
        origin: The file as it was named, or what was handed over, in words.
        sha256: The SHA-256 of the file; empty if it was none.
    """

    origin: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class MapFacts:
    """What is known of a result that was put together from the rows of many items.

    Attributes:
        over: The parameter that took an item.
        item_count: How many items there are in it.
        asked_count: How many of them were asked by the call that made it.
        latest: The number of the last answer in it.
        oldest: The number of the first one; it is the time in microseconds since 1970.
        digest: The digest of the map that the answers are of; empty if nothing was stored.
        listed: The digest of the list of its items; empty if that was not stored.
    """

    over: str
    item_count: int
    asked_count: int
    latest: int
    oldest: int = 0
    digest: str = ""
    listed: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a result took to compute.

    Attributes:
        started_at: When the function was called (UTC).
        elapsed_s: How long it ran, in seconds.
    """

    started_at: datetime
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """One processing step of a provenance.

    Attributes:
        step_name: What was done; for a checkpoint its name.
        timestamp: When the work was really done (UTC).
        details: More facts, as plain data.
    """

    step_name: str
    timestamp: datetime
    details: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the step as plain data; `details` only if there are any."""
        data: dict[str, Any] = {
            "step_name": self.step_name,
            "timestamp": self.timestamp.isoformat(),
        }
        if self.details is not None:
            data["details"] = dict(self.details)
        return data


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one stored result. Written once, never changed.

    Attributes:
        key: The key that it answers.
        number: Which result under this key it is, from 1 on; the latest counts.
        created_at: When it was stored (UTC).
        function: The function that made it, as ``module.qualname``.
        kind: What the function returned, such as ``polars.DataFrame``.
        schema: All that is needed to restore the frame exactly, as plain data.
        arrow_schema: The schema of its table as base64 text of an Arrow message.
        content: The fingerprint of the whole frame.
        columns: The columns with a fingerprint each.
        row_count: How many rows it has.
        size_bytes: The size of the segment file.
        cost: What it took.
        run_id: The run that computed it.
        reads: What the function read from stores while it ran.
        inputs: The checkpoints whose frames were handed to it as arguments.
        library: The version of this library that wrote it.
        description: A sentence for people.
        reason: Why it was computed.
        config_hash: The digest of the whole config that was in force.
        unknown: The arguments that held frames of which nobody knows where they came from.
        accepted: The statements by which it holds for the code of its key, oldest first;
            none if that code computed it.
        segment_digest: The digest of the bytes of a small segment, as it was sealed first.
            One that was made again from the table may have others; its columns then decide.
        buffer_digests: The same for each column of a segment that is not small; empty for a
            column whose bytes do not tell.
        adopted: Where it is from, if it was not computed but adopted.
        renewed: The last statement that its sources have not changed, if there was any. It
            lies beside the entry, which is not changed for it.
        mapped: How it was put together, if it was from the rows of many items.
        pulled: The files that it came in, from store to store, oldest first; none if it was
            computed here.
        seal: What tells that this user's own library stated these two; empty if it can not.
    """

    key: Key
    number: int
    created_at: datetime
    function: str
    kind: str
    schema: Mapping[str, Any]
    arrow_schema: str
    content: str
    columns: tuple[Column, ...]
    row_count: int
    size_bytes: int
    cost: Cost
    run_id: str
    reads: tuple[Read, ...] = ()
    inputs: tuple[Read, ...] = ()
    library: str = ""
    description: str = ""
    reason: str = ""
    config_hash: str = ""
    unknown: tuple[str, ...] = ()
    accepted: tuple[Acceptance, ...] = ()
    segment_digest: str = ""
    buffer_digests: tuple[str, ...] = ()
    seal: str = ""
    adopted: Adoption | None = None
    renewed: Renewal | None = None
    mapped: MapFacts | None = None
    pulled: tuple[Pull, ...] = ()

    @property
    def fresh_since(self) -> datetime:
        """When it was last known to be what its function would return (UTC).

        That is when it was stored, or when its sources last answered as they did then; of
        rows of many items, when the first of them was asked. That it was accepted for newer
        code says nothing of its sources.
        """
        if self.renewed is not None:
            return self.renewed.renewed_at
        if self.mapped is None or not self.mapped.oldest:
            return self.created_at
        asked_s = min(self.mapped.oldest / 1e6, self.created_at.timestamp())
        return datetime.fromtimestamp(max(asked_s, 0.0), UTC)

    @property
    def known_at(self) -> datetime:
        """When it became a result of its key: computed, or last accepted (UTC)."""
        # What is gone on with may have been accepted before it was finished.
        return max([self.created_at, *(each.accepted_at for each in self.accepted[-1:])])

    @property
    def name(self) -> str:
        """The checkpoint that it belongs to."""
        return self.key.name

    @property
    def stem(self) -> str:
        """The name of its two files, without ending."""
        return f"{self.key.digest}-{self.number}"

    @property
    def column_count(self) -> int:
        """How many columns of data it has; those of an index are not counted."""
        return sum(column.type != INDEX_TYPE for column in self.columns)

    @property
    def extent(self) -> str:
        """How big it is, in words: rows × columns, or how many frames a dictionary has."""
        if self.kind == "dict":
            return f"{self.row_count:,} frame{'s' * (self.row_count != 1)}"
        return f"{self.row_count:,} × {self.column_count:,}"

    def numbered(self, number: int) -> Entry:
        """Return the same entry under another number."""
        return replace(self, number=number)

    def step(self) -> Step:
        """Return the processing step that this entry stands for."""
        details: dict[str, Any] = {
            "checkpoint": self.name,
            "key": self.key.digest,
            "content": self.content,
            "row_count": self.row_count,
            "column_count": self.column_count,
            "elapsed_s": round(self.cost.elapsed_s, 6),
            "run_id": self.run_id,
            "function": self.function,
            "reason": self.reason,
            "arguments": _texts(self.key, "argument"),
            "settings": _settings(self.key),
            "sources": _texts(self.key, "source"),
            "stated_in": {part.label: part.where for part in self.key.parts if part.where},
            "reads": [asdict(read) for read in self.reads],
            "inputs": [asdict(read) for read in self.inputs],
            "inputs_of_unknown_origin": list(self.unknown),
            "untracked": list(self.key.untracked),
            "accepted": [each.to_json() for each in self.accepted],
        }
        if self.adopted is not None:
            details["adopted"] = asdict(self.adopted)
        if self.renewed is not None:
            details["renewed"] = self.renewed.to_json()
        stale = [read.name for read in (*self.inputs, *self.reads) if read.served]
        if stale:
            details["made_of_stale"] = stale
        if self.mapped is not None:
            details["mapped"] = asdict(self.mapped)
        if self.pulled:
            details["pulled"] = [each.to_json() for each in self.pulled]
        return Step(self.name, self.cost.started_at, details)

    def _repr_html_(self) -> str:
        from usher_pipeline import views

        return views.entry_view(self)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as plain data, led by the format."""
        return {
            "format": ENTRY_FORMAT,
            "key": self.key.to_json(),
            "number": self.number,
            "created_at": self.created_at.isoformat(),
            "function": self.function,
            "kind": self.kind,
            "schema": dict(self.schema),
            "arrow_schema": self.arrow_schema,
            "content": self.content,
            "columns": [asdict(column) for column in self.columns],
            "row_count": self.row_count,
            "size_bytes": self.size_bytes,
            "cost": {
                "started_at": self.cost.started_at.isoformat(),
                "elapsed_s": self.cost.elapsed_s,
            },
            "run_id": self.run_id,
            "reads": [asdict(read) for read in self.reads],
            "inputs": [asdict(read) for read in self.inputs],
            "library": self.library,
            "description": self.description,
            "reason": self.reason,
            "config_hash": self.config_hash,
            "unknown": list(self.unknown),
            "accepted": [each.to_json() for each in self.accepted],
            "segment_digest": self.segment_digest,
            "buffer_digests": list(self.buffer_digests),
            "seal": self.seal,
            "adopted": asdict(self.adopted) if self.adopted is not None else None,
            "renewed": self.renewed.to_json() if self.renewed is not None else None,
            "mapped": asdict(self.mapped) if self.mapped is not None else None,
            "pulled": [each.to_json() for each in self.pulled],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        """Return the entry that `to_json` wrote.

        Raises:
            ValueError: The data has another format or is no entry.
        """
        try:
            if data["format"] != ENTRY_FORMAT:
                raise ValueError(f"entry format {data['format']}, expected {ENTRY_FORMAT}")
            return cls(
                key=Key.from_json(data["key"]),
                number=int(data["number"]),
                created_at=utc_from_text(data["created_at"]),
                function=data["function"],
                kind=data["kind"],
                schema=data["schema"],
                arrow_schema=data["arrow_schema"],
                content=data["content"],
                columns=tuple(Column(**column) for column in data["columns"]),
                row_count=int(data["row_count"]),
                size_bytes=int(data["size_bytes"]),
                cost=Cost(
                    utc_from_text(data["cost"]["started_at"]), float(data["cost"]["elapsed_s"])
                ),
                run_id=data["run_id"],
                reads=tuple(map(Read.from_json, data["reads"])),
                inputs=tuple(map(Read.from_json, data["inputs"])),
                library=data["library"],
                description=data["description"],
                reason=data["reason"],
                config_hash=data["config_hash"],
                unknown=tuple(data["unknown"]),
                accepted=tuple(map(Acceptance.from_json, data["accepted"])),
                segment_digest=data.get("segment_digest", ""),
                buffer_digests=tuple(data.get("buffer_digests", ())),
                seal=data.get("seal", ""),
                adopted=Adoption(**adopted) if (adopted := data.get("adopted")) else None,
                renewed=Renewal.from_json(said) if (said := data.get("renewed")) else None,
                mapped=MapFacts(**mapped) if (mapped := data.get("mapped")) else None,
                pulled=tuple(map(Pull.from_json, data.get("pulled", ()))),
            )
        except (ArithmeticError, AttributeError, LookupError, TypeError) as problem:
            raise ValueError(f"not an entry: {problem!r}") from problem


def _texts(key: Key, kind: PartKind) -> dict[str, str]:
    return {part.label: part.text or part.preview for part in key.parts if part.kind == kind}


def _settings(key: Key) -> dict[str, str]:
    """Return every config value that counted, under its path."""
    handed_in = {
        part.alias: part.text or part.preview
        for part in key.parts
        if part.kind == "argument" and part.alias
    }
    return _texts(key, "setting") | _texts(key, "config") | handed_in


# --- decisions --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a call differs from an earlier one.

    Attributes:
        kind: What sort of part differs.
        label: Which one.
        before: How it was, for people; empty when it was not there.
        after: How it is now; empty when it is gone.
        where: Where the present value was stated.
        hint: What else there is to say, in words.
    """

    kind: PartKind
    label: str
    before: str = ""
    after: str = ""
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """Return one clause, such as ``min_depth: 30.0 → 20.0``."""
        if self.kind == "code":
            return f"{self.label} {_code_verb(self.before, self.after)}"
        if self.kind in ("table", "checkpoint", "file"):
            verb = f"{self.hint} is" if self.hint else ":"
            version = _version(self.before, self.after)
            return f"{self.kind} {self.label}{verb} {version}{self.where}"
        label = (
            self.label if self.kind in ("argument", "setting") else f"{self.kind} {self.label}"
        )
        where = f" ({self.where})" if self.where else ""
        change = f"{self.before or '(none)'} → {self.after or '(none)'}"
        return f"{label}: {self.hint or change}{where}"


def _code_verb(before: str, after: str) -> str:
    if not before:
        return "is new"
    if not after:
        return "is no longer used"
    return "changed" if before == after else f"changed: {before} → {after}"


def _version(before: str, after: str) -> str:
    if not after:
        return "gone"
    if after == EXPIRED:
        return EXPIRED
    return "another version" if before else "there now, and was not"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why nothing stored matches.

    Attributes:
        summary: The cause in one clause.
        differences: What differs from the nearest earlier entry of the name.
        nearest: That entry's key digest, if there is one.
    """

    summary: str
    differences: tuple[Difference, ...] = ()
    nearest: str = ""

    def __str__(self) -> str:
        """Return the cause in one line."""
        return self.summary


def _with_untracked(line: str, untracked: tuple[str, ...]) -> str:
    return f"{line}\nnot watched: {', '.join(untracked)}" if untracked else line


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored result answers the call.

    Attributes:
        entry: The result.
        accepts: What changed in the code, if the call states that the result holds for it.
        renews: What made the result expire, if its sources answer as they did before.
        stale: Why the result is returned although it is not what the function would return
            now, if so.
    """

    entry: Entry
    accepts: Reason | None = None
    renews: Reason | None = None
    stale: Reason | None = None

    @property
    def remark(self) -> Reason | None:
        """What there is to say of it, if it is not just what was stored for the call."""
        return self.accepts or self.stale or self.renews

    @property
    def reason(self) -> Reason:
        """Why the function does not run."""
        return self.remark or Reason("a stored result matches", nearest=self.entry.key.digest)

    @property
    def untracked(self) -> tuple[str, ...]:
        """What the function reaches and the key does not watch."""
        return self.entry.key.untracked

    def __str__(self) -> str:
        """Return what is stored, and what is not watched."""
        entry = self.entry
        shape = entry.extent
        line = f"hit: {entry.name} {shape}, computed {entry.created_at:%Y-%m-%d %H:%M} UTC"
        line += f", accepted for: {self.accepts}" if self.accepts else ""
        line += f", renewed: {self.renews}" if self.renews else ""
        line = f"stale {line}, {self.stale}" if self.stale else line
        return _with_untracked(line, self.untracked)

    def _repr_html_(self) -> str:
        return _view_of(self)

    def _repr_pretty_(self, printer: Any, _is_cycle: bool) -> None:  # noqa: FBT001 - IPython's
        printer.text(str(self))


@dataclass(frozen=True, slots=True)
class Miss:
    """The function has to run, and this is why.

    Attributes:
        reason: Why nothing stored answers.
        untracked: What the function reaches and the key does not watch.
    """

    reason: Reason
    untracked: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the reason, and what is not watched."""
        return _with_untracked(f"miss: {self.reason}", self.untracked)

    def _repr_html_(self) -> str:
        return _view_of(self)

    def _repr_pretty_(self, printer: Any, _is_cycle: bool) -> None:  # noqa: FBT001 - IPython's
        printer.text(str(self))


@dataclass(frozen=True, slots=True)
class Blocked:
    """The function would have to run for changed code alone, and much work is stored.

    A call raises `CodeChangedError`, before anything runs.

    Attributes:
        reason: What changed.
        entry: The stored result that only the code parts from the call; None if that is not
            finished.
        untracked: What the function reaches and the key does not watch.
        stored: What is stored, in words.
        elapsed_s: How long that took to compute, in seconds.
    """

    reason: Reason
    entry: Entry | None
    untracked: tuple[str, ...] = ()
    stored: str = ""
    elapsed_s: float = 0.0

    def __str__(self) -> str:
        """Return the reason, and what is not watched."""
        line = f"blocked: {self.reason}; accept(...) or refresh(...) decides"
        return _with_untracked(line, self.untracked)

    def _repr_html_(self) -> str:
        return _view_of(self)

    def _repr_pretty_(self, printer: Any, _is_cycle: bool) -> None:  # noqa: FBT001 - IPython's
        printer.text(str(self))


@dataclass(frozen=True, slots=True)
class Bypass:
    """The function runs and nothing is looked up or stored."""

    reason: Reason = field(default_factory=lambda: Reason("bypassed"))

    def __str__(self) -> str:
        """Return the reason, in one line."""
        return f"bypass: {self.reason}"

    def _repr_html_(self) -> str:
        return _view_of(self)

    def _repr_pretty_(self, printer: Any, _is_cycle: bool) -> None:  # noqa: FBT001 - IPython's
        printer.text(str(self))


Decision: TypeAlias = Hit | Miss | Blocked | Bypass


def _view_of(decision: Decision) -> str:
    from usher_pipeline import views

    return views.decision_view(decision)
