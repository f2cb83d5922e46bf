"""What a call depends on besides its key: what was read while it ran, and what stood still.

Three questions have their answers here: what a recorded read leads to now, what one
checkpoint's call adds to the reads of another's, and what changed under a function
while it ran.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, assert_never

from usher_pipeline import registry, stored
from usher_pipeline.errors import UsherWarning
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint.files import path_digest, stamp
from usher_pipeline.fingerprint.graph import held
from usher_pipeline.fingerprint.key import files_of, standing_of, stated_now
from usher_pipeline.frames import is_frame
from usher_pipeline.freshness import is_too_old
from usher_pipeline.hiding import without_credentials
from usher_pipeline.persistence.reads import calls_around
from usher_pipeline.planning import still_answers
from usher_pipeline.records import EXPIRED, Hit, Read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usher_pipeline.calls import Planned
    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.fingerprint.files import Noticed
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.mapindex import Index
    from usher_pipeline.persistence.maps import StoredMap
    from usher_pipeline.persistence.reads import Call
    from usher_pipeline.records import Entry, MapFacts

__all__ = [
    "Versions",
    "Watched",
    "frames_held",
    "record_absence",
    "record_call",
    "record_look",
    "warn_of_files",
]


# --- what a read leads to ---------------------------------------------------------------


class Versions:
    """Which versions recorded reads lead to now, for one look at the store.

    Args:
        planned: The call that is to be answered.
        counts_age: Whether what expired is another version. Work that goes on asks for it
            again, and finds out whether it changed; it is not thrown away for the chance.
    """

    def __init__(self, planned: Planned, *, counts_age: bool = True) -> None:
        self.planned = planned
        self._counts_age = counts_age
        self._standings: dict[str, str] = {}
        self._answering: dict[tuple[object, ...], bool] = {}
        self._of_last: dict[tuple[str, str, str], bool] = {}
        self._indexes: dict[Path, Index] = {}

    def of(self, entry: Entry) -> dict[Read, str]:
        """Return for each read of an entry which version it leads to; empty if to none."""
        return {read: self._now(read, entry.name) for read in entry.reads}

    def stand_for(self, entry: Entry) -> bool:
        """Tell whether all that an entry read leads to the same versions now."""
        return still_answers(entry, self.of(entry))

    def stand(self, reads: Iterable[Read], reader: str) -> bool:
        """Tell whether some reads lead to what they led to.

        Args:
            reads: The reads.
            reader: The checkpoint that made them.
        """
        return all(self._now(read, reader) == read.content for read in reads)

    def _now(self, read: Read, reader: str) -> str:
        planned, backend = self.planned, self._backend_of(read)
        match read.kind:
            case "call":
                return self._called_now(read, backend)
            case "name":
                entry = stored.find(planned.run, backend, read.name, dict(read.arguments))
                return entry.content if entry is not None else ""
            case "table":
                return (backend if read.store else planned.facts).table_version(read.name)
            case "listing":
                return backend.listing_version(reader)
            case "entries":
                return backend.entries_version(read.name, reader)
            case "file":
                return path_digest(Path(read.name))
            case kind:
                assert_never(kind)

    def _backend_of(self, read: Read) -> LocalBackend:
        planned = self.planned
        if not read.store or read.kind == "file":
            return planned.backend
        path = os.path.normpath(planned.backend.path.parent / read.store)
        return planned.run.backend_at(Path(path))

    def _called_now(self, read: Read, backend: LocalBackend) -> str:
        planned, entry = self.planned, backend.find(read.name, read.key)
        if entry is None or entry.content != read.content:
            return entry.content if entry is not None else ""
        # The inner result may stand on something that changed: then it would be another.
        if not self._stands(entry, read) or not self._answers(entry, read):
            return "another meaning"
        if not self._is_of_last(entry, backend):
            return "another meaning"
        # Only who asks the inner checkpoint itself hears of what is new by now.
        is_old = self._counts_age and is_too_old(self._declared(entry), planned.facts, entry)
        return EXPIRED if is_old else entry.content

    def _is_of_last(self, entry: Entry, backend: LocalBackend) -> bool:
        """Tell whether a result of many items is made of what they were answered last.

        One that was asked again for another list of items has no new result in this one.
        """
        facts = entry.mapped
        if facts is None:
            return True
        place = (str(backend.path), entry.name, entry.stem)
        if place not in self._of_last:
            self._of_last[place] = self._made_of_last(entry, facts, backend)
        return self._of_last[place]

    def _made_of_last(self, entry: Entry, facts: MapFacts, backend: LocalBackend) -> bool:
        from usher_pipeline.persistence.maps import StoredMap, code_of

        stored = StoredMap(backend.segments, entry.name, facts.digest)
        listed, statement = stored.listed(facts.listed), stored.statement
        if listed is None or statement is None:
            return False
        codes = statement.holding_for(code_of(entry.key))
        index = self._index(stored)
        best = (index.best(item, codes) for item in listed)
        return all(answer is None or answer.at <= facts.latest for answer in best)

    def _index(self, stored: StoredMap) -> Index:
        if stored.folder not in self._indexes:
            self._indexes[stored.folder] = stored.index()
        return self._indexes[stored.folder]

    def _stands(self, entry: Entry, read: Read) -> bool:
        """Tell whether the checkpoint still means what it meant, arguments aside.

        Of one that no code leads to, but a name or a table of functions at run time, there
        is nothing in the key of its caller; so it is asked itself.
        """
        if not read.standing or entry.name in self._reached():
            return True
        wrapped = registry.find(entry.name) or registry.imported_for(entry)
        if wrapped is None:
            return False
        if entry.name not in self._standings:
            declared, facts = wrapped.__usher_declaration__, self.planned.facts
            ownership = facts.ownership(declared.function)
            self._standings[entry.name] = standing_of(declared, facts, ownership)
        if self.planned.facts.is_offline and wrapped.__usher_declaration__.probes:
            # Whether it does can not be asked.
            return True
        return self._standings[entry.name] == read.standing

    def _reached(self) -> dict[str, Any]:
        """Return the checkpoints that code leads to; what they mean is in the key."""
        graph = self.planned.measured.context.graph
        return {each.name: each for each in graph.checkpoints} if graph is not None else {}

    def _declared(self, entry: Entry) -> Declaration | None:
        """Return what the decorator says of the checkpoint of an entry, if it is there."""
        wrapped = self._reached().get(entry.name) or registry.find(entry.name)
        declared: Declaration | None = getattr(wrapped, "__usher_declaration__", None)
        return declared

    def _answers(self, entry: Entry, read: Read) -> bool:
        place = (read.store, entry.name, entry.stem)
        if place not in self._answering:
            self._answering[place] = still_answers(entry, self.of(entry))
        return self._answering[place]


# --- what a call is to the one around it ------------------------------------------------


def record_call(planned: Planned, entry: Entry) -> None:
    """Note on the function that is running, if any, that it called a checkpoint.

    Args:
        planned: The call.
        entry: What answered it.
    """
    around = calls_around()
    if not around:
        return
    store = planned.backend.path
    standing = standing_of(planned.declared, planned.facts, planned.ownership)
    key, decision, served = entry.key.digest, planned.decision, ""
    if isinstance(decision, Hit) and decision.stale is not None:
        # What was asked for is what the caller depends on; once that is there, it counts.
        key, served = planned.measured.digest, key
    read = Read(entry.name, key, entry.content, standing=standing, served=served)
    files = files_of(planned.measured).items()
    for outer in around:
        outer.note(read, store)
        # The key of the inner call depends on these files, and so does what the outer returns.
        for path, (_, digest, _) in files:
            outer.note(Read(str(path), "", digest, "file"), outer.home)


def record_absence(planned: Planned) -> None:
    """Note on the function that is running, if any, that a checkpoint gave it nothing.

    Args:
        planned: The call, which failed or found nothing stored.
    """
    for outer in calls_around():
        outer.note(
            Read(planned.declared.name, planned.measured.digest, ""), planned.backend.path
        )


def record_look(planned: Planned) -> None:
    """Note on the function that is running, if any, that it asked what a call would do.

    Args:
        planned: The call.
    """
    decision = planned.decision
    if isinstance(decision, Hit):
        record_call(planned, decision.entry)
    else:
        record_absence(planned)


def frames_held(planned: Planned) -> dict[str, Any]:
    """Return the frames that a function finds in globals and the like, each with a name.

    They may be in lists, mappings and objects of the user's.
    """
    graph = planned.measured.context.graph
    values = [state.value for state in graph.states] if graph is not None else []
    frames = enumerate(_frames_within(values), 1)
    return {f"a frame held by the code ({n})": frame for n, frame in frames}


#: So many values are looked through for frames.
_MOST_VALUES: Final = 10_000
#: What has more items than these holds data, and no frames.
_MANY: Final = 1000


def _frames_within(values: list[Any]) -> Iterator[Any]:
    queue, seen = deque(values), set[int]()
    while queue and len(seen) < _MOST_VALUES:
        each = queue.popleft()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if is_frame(each):
            yield each
        else:
            inner = _items(each)
            queue += inner if len(inner) <= _MANY else ()


def _items(value: Any) -> list[Any]:
    """Return what a collection or an object holds; of code there are other ways to it."""
    # By its type: mocks say that they are of the class that they stand for.
    kind = type(value)
    if issubclass(kind, (list, tuple)):
        return list(value)
    if issubclass(kind, (type, ModuleType, FunctionType)):
        return []
    inside = value if issubclass(kind, Mapping) else held(value, "__dict__")
    return list(inside.values()) if isinstance(inside, Mapping) else []


# --- what changed meanwhile -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watched:
    """What a function was given and must find again when it ends.

    Attributes:
        planned: The call.
        files: The files that count in its key.
        stated: Config, sources and inputs: what → digest.
        changes_of: Input → how often other content had come in.
    """

    planned: Planned
    files: Noticed
    stated: dict[str, str]
    changes_of: dict[str, int]

    @classmethod
    def of(cls, planned: Planned) -> Watched:
        """Look at all of it, right before the function runs."""
        planned.backend.settle(planned.declared.inputs)
        pieces = planned.measured.context.pieces
        stated = {f"{piece.kind} {piece.label}": piece.digest for piece in pieces}
        inputs = planned.declared.inputs
        changes_of = {name: planned.backend.table_changes(name) for name in inputs}
        return cls(planned, files_of(planned.measured), stated, changes_of)

    def changes(self, call: Call) -> list[str]:
        """Return what is another one now, in words.

        Args:
            call: The call, which has ended.
        """
        now = self._stated_now() | self._inputs_now()
        changed = [what for what, digest in now.items() if digest != self.stated.get(what)]
        return [*self._changed_files(), *changed, *call.torn]

    def is_disturbed(self, call: Call) -> bool:
        """Tell while the function runs whether what it reads is another one already.

        That is said of files, inputs and what was read twice; sources are asked at the end.

        Args:
            call: The call.
        """
        inputs = self._inputs_now().items()
        changed = (digest != self.stated.get(what) for what, digest in inputs)
        return bool(call.torn or self._changed_files()) or any(changed)

    def _changed_files(self) -> list[str]:
        return [
            f"the file {str(path)!r}"
            for path, (absolute, digest, written) in self.files.items()
            if path_digest(absolute) != digest or stamp(absolute, digest) != written
        ]

    def _stated_now(self) -> dict[str, str]:
        planned, declared = self.planned, self.planned.declared
        # Offline a table of items may be put together, and still nothing is asked.
        is_offline = planned.facts.is_offline
        facts = planned.facts if is_offline else InForce(planned.run, anew=True)
        try:
            now = stated_now(declared, facts, planned.ownership)
        except Exception as problem:  # noqa: BLE001 - a probe may raise anything
            # Hours of work are not thrown away because a server does not answer.
            said = without_credentials(repr(problem))
            warnings.warn(
                f"{declared.name} ran, and whether its sources changed meanwhile can not be "
                f"told: {said}. The result is stored as one of the versions from before. If a "
                "source may have changed, call refresh(...).",
                UsherWarning,
                stacklevel=6,
            )
            return {}
        return {what: digest for what, digest in now.items() if what in self.stated}

    def _inputs_now(self) -> dict[str, str]:
        backend, now = self.planned.backend, dict[str, str]()
        for name in self.planned.declared.inputs:
            # What the run means by it is not what a raw connection reads.
            version = backend.table_version(name, published=True) or "missing"
            if backend.table_changes(name) != self.changes_of[name]:
                # It may have changed and changed back.
                version = "written meanwhile"
            now[f"table {name}"] = version
        return now


# --- texts that name files --------------------------------------------------------------

_warned: Final[set[tuple[str, str]]] = set()


def warn_of_files(planned: Planned) -> None:
    """Warn once of an argument whose text names a file, whose content does not count."""
    declared = planned.declared
    for name, value in planned.bound.arguments.items():
        place = (declared.name, name)
        watched = name in declared.files or name in declared.ignore or place in _warned
        if watched or not _names_file(value):
            continue
        _warned.add(place)
        warnings.warn(
            f"The argument {name} of {declared.name} is the text {value!r}, which names a "
            "file. The text counts, the content of the file does not, so a change of it "
            f'would go unseen. Pass a pathlib.Path, or declare files=["{name}"]; '
            f'ignore=["{name}"] if the content can not matter.',
            UsherWarning,
            stacklevel=6,
        )


def _names_file(value: Any) -> bool:
    if type(value) is not str or "\0" in value:
        return False
    try:
        return os.path.isfile(value)  # noqa: PTH113 - any text, not a path yet
    except OSError:
        return False
