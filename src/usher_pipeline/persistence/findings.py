"""What looking through a store found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from usher_pipeline.display import size
from usher_pipeline.persistence.usage import columned

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Finding", "Half", "Verified"]

#: What of a result can be damaged; a part has items of a map, whose statement is "map".
Half: TypeAlias = Literal["segment", "entry", "table", "part", "map"]

_HEAD: Final = ("name", "half", "problem", "outcome", "set aside as")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was not as it was stored.

    Attributes:
        name: The checkpoint.
        key: The digest of the key; for a map that of what the items of its map have in
            common.
        half: What is damaged: the segment, the entry or the table, or a part of a map, or what
            says of a map what it is.
        problem: What is wrong, as a clause.
        outcome: What became of the result, as a clause.
        aside: Where the damaged thing is now: a path, or the name of a table; empty if there
            was nothing to set aside.
    """

    name: str
    key: str
    half: Half
    problem: str
    outcome: str
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What looking through a store found.

    Attributes:
        path: The database of the store.
        result_count: How many results were looked at.
        table_count: How many published tables were.
        size_bytes: How big the segments were, and the parts of maps.
        findings: What was not as it was stored.
        evicted: Results without a segment that their table serves, as ``name/stem``.
        orphans: Segments without an entry; `prune` sweeps them.
        unlisted: Published tables whose entry is not in the folder; they serve by themselves.
        map_count: How many maps were looked at, whose items are stored one by one.
    """

    path: Path
    result_count: int
    table_count: int
    size_bytes: int
    findings: tuple[Finding, ...] = ()
    evicted: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    map_count: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything was as it was stored."""
        return not self.findings

    def __str__(self) -> str:
        """Return what was found, for people; one line if all is well."""
        state = "whole" if self.is_whole else f"{len(self.findings)} found damaged"
        facts = [
            f"{self.path.name} · {state}",
            f"{self.result_count} results, {size(self.size_bytes)}",
            f"{self.table_count} tables",
        ]
        for count, what in (
            (self.map_count, "maps"),
            (len(self.evicted), "evicted"),
            (len(self.orphans), "segments without entry"),
            (len(self.unlisted), "tables without entry"),
        ):
            if count:
                facts.append(f"{count} {what}")
        rows = [(f.name, f.half, f.problem, f.outcome, f.aside) for f in self.findings]
        return "\n".join([" · ".join(facts), *(columned([_HEAD, *rows]) if rows else ())])
