"""How older files grow the columns that they lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usher_pipeline.persistence import engine, migrations

if TYPE_CHECKING:
    from pathlib import Path


def columns(session: engine.Session, table: str) -> list[str]:
    """Return the columns of a table, in their order."""
    return [row[0] for row in session.rows(f"DESCRIBE {session.table(table)}")]


def test_a_new_file_gets_both_tables(tmp_path: Path) -> None:
    """Both tables are created, the fixed columns first; doing it again changes nothing."""
    with engine.session(tmp_path / "a.duckdb", timeout_s=1) as session:
        migrations.migrate(session)
        first = [columns(session, name) for name in ("_checkpoints", "_provenance")]
        migrations.migrate(session)
        assert [columns(session, name) for name in ("_checkpoints", "_provenance")] == first
    assert first[0][:4] == ["table_name", "created_at", "row_count", "description"]
    assert first[1][:4] == ["version", "config_hash", "created_at", "steps_json"]


def test_an_older_table_keeps_its_rows(tmp_path: Path) -> None:
    """Columns are added behind those that are there, and no row is touched."""
    with engine.session(tmp_path / "a.duckdb", timeout_s=1) as session:
        target = session.table("_checkpoints")
        session.execute(
            f"CREATE TABLE {target} (table_name VARCHAR PRIMARY KEY, created_at TIMESTAMP, "
            "row_count INTEGER, description VARCHAR)"
        )
        session.execute(f"INSERT INTO {target} VALUES ('genes', now()::TIMESTAMP, 3, 'old')")
        migrations.migrate(session)
        sql = f"SELECT table_name, row_count, description, key, entry_json FROM {target}"
        assert session.rows(sql) == [("genes", 3, "old", None, None)]


def test_a_table_is_found_whatever_its_case(tmp_path: Path) -> None:
    """DuckDB folds the case of names, and so does the look-up."""
    with engine.session(tmp_path / "a.duckdb", timeout_s=1) as session:
        session.execute(f"CREATE TABLE {session.table('Genes')} (a INT)")
        assert migrations.has_table(session, "genes")
        assert not migrations.has_table(session, "gene")
        assert migrations.spelled(session, "GENES") == "Genes"


def test_only_the_case_of_ascii_is_folded(tmp_path: Path) -> None:
    """Names that differ in the case of another letter are two tables, as in DuckDB."""
    with engine.session(tmp_path / "a.duckdb", timeout_s=1) as session:
        for name in ("äb", "ÄB"):
            session.execute(f"CREATE TABLE {session.table(name)} (a INT)")
            assert migrations.spelled(session, name) == name
        assert not migrations.has_table(session, "Straße")
