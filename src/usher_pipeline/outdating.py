"""Which stored results are not what a call would return now, and why; nothing is run.

Each result that a name stands for, that is pinned, or that holds the items of a map is
compared with what its function means now. Probes are not asked: they answer what they did
for that result, and what has expired is said to have.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from usher_pipeline import runs
from usher_pipeline.calls import Planned
from usher_pipeline.errors import UsherError
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint import values
from usher_pipeline.fingerprint.binding import Bound, resolve
from usher_pipeline.fingerprint.code import code_digest
from usher_pipeline.fingerprint.key import KEY_RULES, Measured, Piece, context_of
from usher_pipeline.freshness import renewed_as_said
from usher_pipeline.persistence.maps import code_of, maps_of
from usher_pipeline.planning import CLOCK_TOLERANCE_S, compare, expired
from usher_pipeline.reading import Versions
from usher_pipeline.records import Key, Part, SettingRef, SourceRef, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.fingerprint.key import Context
    from usher_pipeline.fingerprint.ownership import Ownership
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.maps import MapStatement, StoredMap
    from usher_pipeline.records import Entry, PartKind

__all__ = ["CAUSES", "Cause", "Role", "Standing", "standings"]

#: Why a result is not what a call would return now: its code or version was edited, a config
#: value or setting is another, a source is, a file, table or result that it was made from
#: is, it is older than `max_age`, or the rules by which keys are made changed with the library.
Cause: TypeAlias = Literal["code", "config", "source", "input", "age", "rules"]
CAUSES: Final[tuple[Cause, ...]] = ("code", "config", "source", "input", "age", "rules")

#: What a result is to its store.
Role: TypeAlias = Literal["published", "pinned", "mapped"]

_CAUSE_OF: Final[Mapping[PartKind, Cause]] = {
    "code": "code",
    "version": "code",
    "config": "config",
    "setting": "config",
    # A setting that was handed in.
    "argument": "config",
    "source": "source",
    "table": "input",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a stored result stands to what its function means now.

    Attributes:
        name: The checkpoint.
        role: What the result is to its store; one that is published and pinned is published.
        key: The digest of its key; of a map, of what its items have in common.
        causes: Cause → what is other, in words; nothing if it is what a call would return.
        problem: Why it can not be told; empty if it can.
    """

    name: str
    role: Role
    key: str
    causes: Mapping[Cause, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""

    @property
    def is_outdated(self) -> bool:
        """Whether a call would not return it as it is."""
        return bool(self.causes)


def standings(checkpoints: Iterable[Any]) -> list[Standing]:
    """Return how the stored results of some checkpoints stand, in the store in force.

    Args:
        checkpoints: The decorated functions.

    Returns:
        One for each result that is published or pinned, and one for each map; by name.
    """
    run = runs.current_run()
    found = []
    for each in sorted(checkpoints, key=lambda each: str(each.name)):
        declared: Declaration = each.__usher_declaration__
        found += [*_of_entries(declared, run), *_of_maps(declared, run)]
    return found


class _Now:
    """What a function means now, for one look at one of its results.

    Args:
        declared: The function.
        run: The run that asks.
        before: The result, or map of items, whose answers probes repeat.
    """

    def __init__(
        self, declared: Declaration, run: runs.Run, before: Entry | MapStatement
    ) -> None:
        self.declared = declared
        self.run = run
        self.facts = InForce(run)
        self.facts.is_offline = True
        self.facts.take_answers_of(before)
        self.backend: LocalBackend = self.facts.backend
        self.ownership: Ownership = self.facts.ownership(declared.function)

    def key_after(self, before: Key) -> tuple[Key, Context]:
        """Return the key that a call with the arguments of a stored one has now.

        Args:
            before: The stored key.
        """
        given = [self._given(part) for part in before.parts if _is_given(part)]
        handed_in = tuple(
            Piece(part.kind, part.label, part.digest, None, part.where) for part in given
        )
        context = context_of(self.declared, self.facts, self.ownership, handed_in)
        rest = [piece.part(context.code_of) for piece in context.pieces]
        graph = context.graph
        parts = (*given, *rest, *(graph.parts if graph else ()))
        code = graph.digest if graph else ""
        return Key(before.name, "", parts, KEY_RULES, code=code), context

    def _given(self, part: Part) -> Part:
        """Return an argument of a stored call, as the same call has it now."""
        found = [
            c for c in self.declared.counted if (c.kind, c.label) == (part.kind, part.label)
        ]
        reference = self.declared.defaults.get(found[0].name) if found else None
        code = partial(code_digest, ownership=self.ownership)
        if not part.where or not isinstance(reference, (SettingRef, SourceRef)):
            files = _files_in(part.text)
            if files is None:
                return part
            return replace(part, digest=values.digest(files, path=part.label, code_of=code))
        value, origin = resolve(reference, self.facts)
        measure = values.secret_digest if found[0].is_secret else values.digest
        digest = measure(value, path=part.label, code_of=code)
        if digest == part.digest:
            return part
        return Piece(part.kind, part.label, digest, value, origin, part.alias).part(code)


def _is_given(part: Part) -> bool:
    """Tell whether a part of a key is an argument, also one that a source was handed in for."""
    return part.kind == "argument" or (part.kind == "source" and bool(part.alias))


def _files_in(text: str) -> Path | list[Path] | tuple[Path, ...] | None:
    """Return the files that an argument was, or held, from its text; None if it was others.

    Of a file the content counts, which may be another one now. What Python shows of a path
    is all of it, so the same paths are had from it; of other values that can not be said.

    >>> _files_in(repr([Path("a.vcf")])) == [Path("a.vcf")], _files_in("['a.vcf']")
    (True, None)
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(tree, (ast.List, ast.Tuple)):
        return _file_in(tree)
    found = [path for node in tree.elts if (path := _file_in(node)) is not None]
    if not found or len(found) != len(tree.elts):
        return None
    return found if isinstance(tree, ast.List) else tuple(found)


def _file_in(node: ast.expr) -> Path | None:
    match node:
        case ast.Call(ast.Name(id=name), [ast.Constant(value=str(path))], []):
            return Path(path) if name == type(Path()).__name__ else None
    return None


# --- results ----------------------------------------------------------------------------


def _of_entries(declared: Declaration, run: runs.Run) -> Iterator[Standing]:
    backend = run.backend
    current = backend.current(declared.name)
    pinned = backend.segments.pins(declared.name)
    for entry in backend.recent(declared.name, None):
        if entry == current:
            yield _standing(declared, run, entry, "published")
        elif entry.key.digest in pinned:
            yield _standing(declared, run, entry, "pinned")


def _standing(declared: Declaration, run: runs.Run, entry: Entry, role: Role) -> Standing:
    key = entry.key.digest
    try:
        causes = _causes(declared, run, renewed_as_said(run.backend, entry))
    except UsherError as problem:
        return Standing(declared.name, role, key, problem=str(problem))
    return Standing(declared.name, role, key, causes)


def _causes(
    declared: Declaration, run: runs.Run, entry: Entry
) -> Mapping[Cause, tuple[str, ...]]:
    now = _Now(declared, run, entry)
    after, context = now.key_after(entry.key)
    found = _parted(entry.key, after)
    planned = Planned(
        declared,
        run,
        now.facts,
        now.backend,
        now.ownership,
        Bound({}, {}, (), {}),
        Measured(declared.name, entry.key.digest, (), context),
    )
    leads_to = Versions(planned).of(entry)
    found["input"] += [
        f"{read.kind} {read.name} is another version".replace("  ", " ")
        for read in entry.reads
        if leads_to[read] != read.content
    ]
    if declared.max_age_s is not None:
        found["age"] += filter(None, [expired(entry, declared.max_age_s, utc_now())])
    return _told(found)


def _parted(before: Key, after: Key) -> dict[Cause, list[str]]:
    """Return in what two keys differ, by cause."""
    found: dict[Cause, list[str]] = defaultdict(list)
    for change in compare(before, after):
        cause = _CAUSE_OF.get(change.kind)
        if change.kind == "argument" and not change.where:
            # Nobody stated another value: it is a file that holds something else.
            cause = "input"
        if cause is not None:
            found[cause].append(str(change))
    if before.rules != after.rules:
        found["rules"].append(f"{before.rules} → {after.rules}")
    return found


def _told(found: Mapping[Cause, Sequence[str]]) -> Mapping[Cause, tuple[str, ...]]:
    return {cause: tuple(found[cause]) for cause in CAUSES if found.get(cause)}


# --- maps -------------------------------------------------------------------------------


def _of_maps(declared: Declaration, run: runs.Run) -> Iterator[Standing]:
    for stored in maps_of(run.backend.segments, declared.name):
        try:
            causes = _causes_of_map(declared, run, stored)
        except UsherError as problem:
            yield Standing(declared.name, "mapped", stored.digest, problem=str(problem))
        else:
            yield Standing(declared.name, "mapped", stored.digest, causes)


def _causes_of_map(
    declared: Declaration, run: runs.Run, stored: StoredMap
) -> Mapping[Cause, tuple[str, ...]]:
    statement = stored.statement
    if statement is None:
        return {}
    after, _ = _Now(declared, run, statement).key_after(statement.key)
    # Which code made an item is said of the item itself.
    found = _parted(_without_code(statement.key), _without_code(after))
    codes = statement.holding_for(code_of(after))
    index = stored.index()
    best = [index.best(item, codes) for item in index.answers]
    older = sum(answer is None for answer in best)
    if older:
        found["code"].append(f"{older:,} of {len(best):,} items are of older code")
    if declared.max_age_s is not None:
        now = utc_now()
        ages_s = [(now - a.answered_at).total_seconds() for a in best if a is not None]
        fresh = sum(-CLOCK_TOLERANCE_S <= age_s <= declared.max_age_s for age_s in ages_s)
        old = len(ages_s) - fresh
        if old:
            found["age"].append(f"{old:,} of {len(best):,} items have expired")
    return _told(found)


def _without_code(key: Key) -> Key:
    return replace(key, parts=tuple(p for p in key.parts if p.kind != "code"), code="")
