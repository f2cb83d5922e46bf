"""In what two stored results of a checkpoint differ: columns, and rows by their keys.

DuckDB compares them: nulls are equal to nulls and NaN to NaN, and rows are matched by the
columns that tell them apart, wherever they stand. Of large results only rows are compared
whose key has a certain remainder, so that a row is in the sample of both or of neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import CheckpointMissError, UsherError
from usher_pipeline.persistence import engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from usher_pipeline.persistence.engine import Session
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["SAMPLE_ROWS", "Changed", "Compared", "compared"]

#: Of results with more rows than this a sample is compared.
SAMPLE_ROWS: Final = 2_000_000

#: How many columns are tried for one that tells rows apart.
_CANDIDATES: Final = 16
_DICT: Final = "dict"


@dataclass(frozen=True, slots=True)
class Changed:
    """One value that is another one.

    Attributes:
        key: The values of the key columns.
        column: The column.
        before: The value in the first result.
        after: The value in the second one.
    """

    key: tuple[Any, ...]
    column: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Compared:
    """In what two results differ.

    Attributes:
        columns_added: Column → type, of those that only the second one has.
        columns_removed: Column → type, of those that only the first one has.
        columns_retyped: Column → type before and after.
        key_columns: What rows were matched by; none if whole rows were.
        row_counts: How many rows the two have.
        rows_added: How many rows only the second one has.
        rows_removed: How many rows only the first one has.
        rows_changed: How many rows have another value in any column; 0 without key columns.
        changes_by_column: Column → in how many rows it has another value.
        sampled_share: Which share of the rows was compared; 1.0 if all were.
        added: Keys of some rows that were added; whole rows without key columns.
        removed: The same of some that were removed.
        changed: Some values that are other ones.
    """

    columns_added: Mapping[str, str]
    columns_removed: Mapping[str, str]
    columns_retyped: Mapping[str, tuple[str, str]]
    key_columns: tuple[str, ...]
    row_counts: tuple[int, int]
    rows_added: int = 0
    rows_removed: int = 0
    rows_changed: int = 0
    changes_by_column: Mapping[str, int] = field(default_factory=dict)
    sampled_share: float = 1.0
    added: tuple[tuple[Any, ...], ...] = ()
    removed: tuple[tuple[Any, ...], ...] = ()
    changed: tuple[Changed, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether nothing differs in what was compared."""
        columns = self.columns_added or self.columns_removed or self.columns_retyped
        rows = self.rows_added or self.rows_removed or self.rows_changed
        return not columns and not rows and self.row_counts[0] == self.row_counts[1]


def compared(  # noqa: PLR0913 - the options are the face
    backend: LocalBackend,
    before: Entry,
    after: Entry,
    *,
    on: Sequence[str] = (),
    sample_rows: int = SAMPLE_ROWS,
    shown: int = 10,
) -> Compared:
    """Return in what two results differ.

    Args:
        backend: The store.
        before: The first result.
        after: The second one.
        on: The columns that tell rows apart; the first that does unless given, and whole
            rows where none does.
        sample_rows: Of more rows than this a sample is compared; 0 compares all.
        shown: How many rows and values of each sort are returned.

    Raises:
        CheckpointMissError: One of them is lost or damaged.
        UsherError: One is a dictionary of frames, or `on` does not tell rows apart.
    """
    one, other = _table(backend, before), _table(backend, after)
    types = {name: _types(each) for name, each in (("a", before), ("b", after))}
    common = [name for name in one.column_names if name in other.column_names]
    missing = [name for name in on if name not in common]
    if missing:
        raise UsherError(
            f"Both results have to have the columns {', '.join(missing)}, and do not. Nothing "
            f"was compared. Give some of {', '.join(common) or 'none'}."
        )
    retyped = {
        name: (types["a"][name], types["b"][name])
        for name in common
        if types["a"][name] != types["b"][name]
    }
    most = max(one.num_rows, other.num_rows)
    modulus = math.ceil(most / sample_rows) if sample_rows else 1
    with (
        engine.in_memory(backend.path.parent) as session,
        session.view(one) as first,
        session.view(other) as second,
    ):
        found = _Pair(session, first, second, frozenset(retyped), max(modulus, 1), shown)
        key = tuple(on) or found.key_among(_candidates(one, common))
        if on:
            found.require_apart(key)
        rows = found.by_key(key, common) if key else found.as_a_whole(common)
    return Compared(
        columns_added={n: t for n, t in types["b"].items() if n not in types["a"]},
        columns_removed={n: t for n, t in types["a"].items() if n not in types["b"]},
        columns_retyped=retyped,
        key_columns=key,
        row_counts=(one.num_rows, other.num_rows),
        sampled_share=1 / max(modulus, 1),
        **rows,
    )


def _table(backend: LocalBackend, entry: Entry) -> pa.Table:
    if entry.kind == _DICT:
        raise UsherError(
            f"{entry.name} is a dictionary of frames, which is no single table. Nothing was "
            f"compared. Name one of its frames, such as {entry.name}__…."
        )
    packed = backend.load(entry)
    if packed is None:
        raise CheckpointMissError(entry.name, "what is stored is lost or damaged")
    return packed.table.rename_columns([*map(str, packed.schema["sql_names"])])


def _types(entry: Entry) -> dict[str, str]:
    """Return the columns of a result under the names that SQL has for them, with types."""
    names = map(str, entry.schema["sql_names"])
    return dict(zip(names, (column.type for column in entry.columns), strict=True))


def _candidates(table: pa.Table, common: Sequence[str]) -> list[str]:
    """Return the columns that may tell rows apart: numbers that were measured do not."""
    import pyarrow.types as kinds

    fit = [
        name
        for name in common
        if not kinds.is_floating(table.schema.field(name).type)
        and not kinds.is_nested(table.schema.field(name).type)
    ]
    return fit[:_CANDIDATES]


# --- in SQL -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two frames that SQL sees.

    Attributes:
        session: Where it is run.
        first: The name of the one.
        second: The name of the other.
        retyped: The columns whose types differ, which are compared as text.
        modulus: One in so many keys is in the sample.
        shown: How many examples there are.
    """

    session: Session
    first: str
    second: str
    retyped: frozenset[str]
    modulus: int
    shown: int

    def key_among(self, candidates: Sequence[str]) -> tuple[str, ...]:
        """Return the first column that tells rows apart in both frames; none if none does."""
        for name in candidates:
            if not any(self._repeated([name], frame) for frame in (self.first, self.second)):
                return (name,)
        return ()

    def require_apart(self, key: Sequence[str]) -> None:
        """Refuse columns that do not tell rows apart.

        Raises:
            UsherError: Some rows have the same values in them.
        """
        for frame, which in ((self.first, "first"), (self.second, "second")):
            count = self._repeated(key, frame)
            if count:
                raise UsherError(
                    f"The columns {', '.join(key)} do not tell rows apart: in the {which} "
                    f"result {count:,} rows repeat another one. Nothing was compared. Name "
                    "more columns, or none to compare whole rows."
                )

    def _repeated(self, key: Sequence[str], frame: str) -> int:
        listed = ", ".join(map(engine.quote, key))
        sql = (
            f"SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT {listed} FROM {frame}))"
        )
        ((count,),) = self.session.rows(f"{sql} FROM {frame}")
        return int(count)

    def by_key(self, key: Sequence[str], common: Sequence[str]) -> dict[str, Any]:
        """Return the rows that differ, matched by their keys."""
        rest = [name for name in common if name not in key]
        keys = [f"k{number}" for number in range(len(key))]
        match = " AND ".join(f"a.{k} IS NOT DISTINCT FROM b.{k}" for k in keys)
        sides = ", ".join(
            f"{side} AS MATERIALIZED ({self._side(frame, key, rest)})"
            for side, frame in (("a", self.first), ("b", self.second))
        )
        differs = [f"a.c{n} IS DISTINCT FROM b.c{n}" for n in range(len(rest))]
        any_differs = " OR ".join(differs) or "FALSE"
        both = "a.here AND b.here"
        counts = ", ".join(f"count(*) FILTER ({both} AND {each})" for each in differs)
        head = f"WITH {sides} SELECT"
        joined = f"FROM a FULL JOIN b ON {match}"
        ((added, removed, changed, *by_column),) = self.session.rows(
            f"{head} count(*) FILTER (a.here IS NULL), count(*) FILTER (b.here IS NULL), "
            f"count(*) FILTER ({both} AND ({any_differs})){', ' if counts else ''}{counts} "
            f"{joined}"
        )
        of_b, of_a = (", ".join(f"{side}.{k}" for k in keys) for side in ("b", "a"))
        limit = f"ORDER BY ALL LIMIT {self.shown}"
        values = ", ".join(f"a.c{n}, b.c{n}, {each}" for n, each in enumerate(differs))
        examples = self.session.rows(
            f"{head} {of_a}{', ' if values else ''}{values} {joined} "
            f"WHERE {both} AND ({any_differs}) ORDER BY {of_a} LIMIT {self.shown}"
        )
        return {
            "rows_added": added,
            "rows_removed": removed,
            "rows_changed": changed,
            "changes_by_column": {
                name: count for name, count in zip(rest, by_column, strict=True) if count
            },
            "added": tuple(
                self.session.rows(f"{head} {of_b} {joined} WHERE a.here IS NULL {limit}")
            ),
            "removed": tuple(
                self.session.rows(f"{head} {of_a} {joined} WHERE b.here IS NULL {limit}")
            ),
            "changed": _changed(examples, len(key), rest)[: self.shown],
        }

    def as_a_whole(self, common: Sequence[str]) -> dict[str, Any]:
        """Return the rows that only one frame has, each as often as it has it more."""
        if not common:
            return {}
        one, other = (self._side(frame, common, ()) for frame in (self.first, self.second))
        found: dict[str, Any] = {}
        for what, kept, without in (("added", other, one), ("removed", one, other)):
            # Without the mark that a row is there, which `_side` puts last.
            rows = " EXCEPT ALL ".join(
                f"SELECT * EXCLUDE (here) FROM ({each})" for each in (kept, without)
            )
            ((count,),) = self.session.rows(f"SELECT count(*) FROM ({rows})")
            found[f"rows_{what}"] = count
            shown = f"SELECT * FROM ({rows}) ORDER BY ALL LIMIT {self.shown}"
            found[what] = tuple(self.session.rows(shown))
        return found

    def _side(self, frame: str, key: Sequence[str], rest: Sequence[str]) -> str:
        """Return the query for one frame: its keys, its other columns, and that it is there."""
        keys = [f"{self._value(name)} AS k{n}" for n, name in enumerate(key)]
        others = [f"{self._value(name)} AS c{n}" for n, name in enumerate(rest)]
        sql = f"SELECT {', '.join([*keys, *others])}, TRUE AS here FROM {frame}"
        if self.modulus == 1:
            return sql
        texts = ", ".join(f"CAST({engine.quote(name)} AS VARCHAR)" for name in key)
        return f"{sql} WHERE hash({texts}) % {self.modulus} = 0"

    def _value(self, name: str) -> str:
        quoted = engine.quote(name)
        return f"CAST({quoted} AS VARCHAR)" if name in self.retyped else quoted


def _changed(
    rows: Sequence[tuple[Any, ...]], width: int, columns: Sequence[str]
) -> tuple[Changed, ...]:
    found = []
    for row in rows:
        key, values = row[:width], row[width:]
        for number, column in enumerate(columns):
            before, after, differs = values[3 * number : 3 * number + 3]
            if differs:
                found.append(Changed(key, column, before, after))
    return tuple(found)
