"""The tables that the library keeps in a database, and how older files grow them.

Columns are only ever added, so that a file opens with older programs as well. The first
four columns of each table are fixed: existing pipelines read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usher_pipeline.errors import ForeignTableError
from usher_pipeline.persistence.engine import folded

if TYPE_CHECKING:
    from usher_pipeline.persistence.engine import Session

__all__ = ["CHECKPOINTS", "PROVENANCE", "has_own", "has_table", "migrate", "spelled"]

#: The table with one row per published checkpoint.
CHECKPOINTS: Final = "_checkpoints"

#: The table with one row per provenance that was stored.
PROVENANCE: Final = "_provenance"

_TABLES: Final = {
    CHECKPOINTS: (
        "table_name VARCHAR PRIMARY KEY, created_at TIMESTAMP, "
        "row_count BIGINT, description VARCHAR"
    ),
    PROVENANCE: (
        "version VARCHAR, config_hash VARCHAR, created_at TIMESTAMP, steps_json VARCHAR"
    ),
}

_ADDED: Final = {
    CHECKPOINTS: {
        "key": "VARCHAR",
        "content": "VARCHAR",
        "meant_at": "TIMESTAMP",
        "frame_json": "VARCHAR",
        "entry_json": "VARCHAR",
        "changes": "BIGINT",
    },
    PROVENANCE: {
        "table_name": "VARCHAR",
        "run_id": "VARCHAR",
        "metadata_json": "VARCHAR",
    },
}


def spelled(session: Session, name: str) -> str | None:
    """Return a table or view as the database spells it, or None if there is none."""
    rows = session.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? "
        "AND table_schema = 'main'",
        [session.catalog],
    )
    return next((known for (known,) in rows if folded(known) == folded(name)), None)


def has_table(session: Session, name: str) -> bool:
    """Tell whether the database has a table or view of a name, whatever its case."""
    return spelled(session, name) is not None


def has_own(session: Session, table: str) -> bool:
    """Tell whether one of the library's tables is there: a table, with the columns it has.

    In a file of a stranger a view may have its name, which is nothing of ours.
    """
    return _TABLES[table].split()[0] in _columns(session, table)


def migrate(session: Session) -> None:
    """Create the tables of the library, or add the columns that an older file lacks.

    Raises:
        ForeignTableError: Something else has the name of one of them.
    """
    for table, columns in _TABLES.items():
        known = _columns(session, table)
        if columns.split()[0] not in known:
            if known or has_table(session, table):
                raise ForeignTableError(session.path, table)
            session.execute(f"CREATE TABLE {session.table(table)} ({columns})")
        for column, kind in _ADDED[table].items():
            if column not in known:
                session.execute(
                    f"ALTER TABLE {session.table(table)} ADD COLUMN {column} {kind}"
                )


def _columns(session: Session, table: str) -> set[str]:
    """Return the columns of a table; none of a view."""
    rows = session.rows(
        "SELECT column_name FROM information_schema.columns JOIN information_schema.tables "
        "USING (table_catalog, table_schema, table_name) WHERE table_catalog = ? "
        "AND table_schema = 'main' AND table_name = ? AND table_type = 'BASE TABLE'",
        [session.catalog, table],
    )
    return {name for (name,) in rows}
