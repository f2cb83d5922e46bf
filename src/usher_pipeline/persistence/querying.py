"""Queries on a store that is only looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usher_pipeline.errors import StoreError
from usher_pipeline.persistence import engine

if TYPE_CHECKING:
    import pyarrow as pa

    from usher_pipeline.persistence.local import LocalBackend

__all__ = ["queried"]

#: What asks and changes nothing.
_ASKING: Final = frozenset(("SELECT", "EXPLAIN"))


def queried(backend: LocalBackend, query: str) -> pa.Table:
    """Return the result of a query; the database is attached without the right to write.

    Every checkpoint and table is there under its plain name. Of files the query can reach
    those in the folder of the store alone.

    Args:
        backend: The store.
        query: One statement that asks: a query, ``EXPLAIN``, ``SHOW`` or ``DESCRIBE``.

    Raises:
        StoreError: It is another statement, or DuckDB refuses it.
        StoreBusyError: Others held the database for longer than we may wait.
    """
    if not backend.path.exists():
        backend.complete()
    backend.publish()
    path, timeout_s = backend.path, backend.timeout_s
    with engine.session(path, timeout_s=timeout_s, read_only=True) as session:
        try:
            statements = session.connection.extract_statements(query)
            kinds = [statement.type.name for statement in statements]
            if len(kinds) != 1 or not _ASKING.issuperset(kinds):
                raise _refused(backend, f"expected one query, got {', '.join(kinds) or 'none'}")
            ((before,),) = session.rows("SELECT current_database()")
            session.execute(f"USE {engine.quote(session.catalog)}")
            try:
                return session.arrow(query)
            finally:
                # What is in use can not be detached.
                session.execute(f"USE {engine.quote(before)}")
        except engine.errors() as problem:
            line = str(problem).partition("\n\n")[0]
            raise _refused(backend, " ".join(line.split())) from problem


def _refused(backend: LocalBackend, problem: str) -> StoreError:
    cure = (
        "Nothing was changed. State one query on the tables that `usher list` names; "
        "PipelineStore(...).execute_query(...) runs any statement."
    )
    return StoreError(backend.path, f"the query was not answered: {problem}", cure)
