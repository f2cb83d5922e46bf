"""``usher load``, ``export``, ``sql``: results as files that others read, and as answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from usher_pipeline.cli.choosing import chosen
from usher_pipeline.cli.endings import DONE, FAILED, trouble_of
from usher_pipeline.cli.options import (
    answering,
    backend_at,
    key_option,
    name_argument,
    names_argument,
    store_option,
)
from usher_pipeline.cli.output import Block, Grid, Line, Outcome
from usher_pipeline.errors import CheckpointMissError, UsherError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["export_results", "load", "sql"]

_ENDINGS: Final = ("parquet", "csv", "tsv", "arrow", "feather")
_DICT: Final = "dict"


@dataclass(frozen=True, slots=True)
class Written:
    """A result that was written to a file.

    Attributes:
        name: The checkpoint or table.
        key: The digest of its key; empty for a table that no checkpoint made.
        file: The file.
        sidecar: Where its provenance is.
        row_count: How many rows it has.
        column_count: How many columns of data.
        problem: Why it was not written; empty if it was.
    """

    name: str
    key: str
    file: Path
    sidecar: Path
    row_count: int = 0
    column_count: int = 0
    problem: str = ""


# --- load -------------------------------------------------------------------------------


@click.command()
@name_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to: .parquet, .csv, .tsv, .arrow, .feather or .json.",
)
@key_option
@store_option
@answering
def load(name: str, output: Path, key: str, store: Path | None) -> Outcome:
    """Write a stored result to a file, with its provenance.

    The provenance is JSON beside it. The function is not needed, and does not run. The file
    is as the library of the frame writes it; one that is there is replaced.
    """
    backend = backend_at(store)
    done = _written(backend, chosen(backend, name, key), name, output)
    line = f"{name} · {done.row_count:,} × {done.column_count:,} → {done.file}"
    return Outcome(
        {"store": backend.path, "written": done},
        [Line(line), Line(f"provenance → {done.sidecar}")],
    )


def _written(backend: LocalBackend, entry: Entry | None, name: str, target: Path) -> Written:
    """Write a result, or a table that no checkpoint made, to a file."""
    from usher_pipeline.exporting import export
    from usher_pipeline.persistence.provenance import sidecar_path

    frame, columns = _frame(backend, entry, name)
    export(frame, target)
    key = entry.key.digest if entry is not None else ""
    rows, width = columns
    return Written(name, key, target, sidecar_path(target), rows, width)


def _frame(
    backend: LocalBackend, entry: Entry | None, name: str
) -> tuple[Any, tuple[int, int]]:
    """Return a frame with its number of rows and of columns."""
    if entry is None:
        from usher_pipeline.persistence.conversion import as_kind

        stored = backend.tables.fetch(name)
        if stored is None:
            raise CheckpointMissError(name, "its table is gone")
        frame = as_kind("polars.DataFrame", stored)
        return frame, (frame.height, frame.width)
    from usher_pipeline.results import LOST, restored

    if entry.kind == _DICT:
        parts = ", ".join(each for each in backend.names() if each.startswith(f"{name}__"))
        raise UsherError(
            f"{name} is a dictionary of {entry.row_count} frames, which is no single table. "
            f"Nothing was written. Name one of them: {parts}."
        )
    frame = restored(backend, entry)
    if frame is LOST:
        raise CheckpointMissError(name, "what is stored is lost or damaged")
    return frame, (entry.row_count, entry.column_count)


# --- export -----------------------------------------------------------------------------


@click.command("export")
@names_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder for the files; it is made if need be.",
)
@click.option(
    "--format",
    "ending",
    type=click.Choice(_ENDINGS),
    default=_ENDINGS[0],
    show_default=True,
    help="The format of the files.",
)
@store_option
@answering
def export_results(
    names: Sequence[str], output: Path, ending: str, store: Path | None
) -> Outcome:
    """Write current results to a folder, with their provenance.

    Each name becomes a file, and a file of JSON with the steps that led to it; without
    names all that is stored is written. What can not be written does not stop the others.
    """
    from usher_pipeline.persistence.contents import named
    from usher_pipeline.persistence.places import safe_name

    backend = backend_at(store)
    kinds = {each.name: each.kind for each in named(backend)}
    # The frames of a dictionary have names of their own.
    wanted = names or sorted(name for name in kinds if kinds[name] != _DICT)
    meant = [(name, chosen(backend, name)) for name in wanted]
    done = [
        _attempted(backend, entry, name, output / f"{safe_name(name)}.{ending}")
        for name, entry in meant
    ]
    rows = [
        (
            each.name,
            f"{each.row_count:,}",
            f"{each.column_count:,}",
            each.problem or each.file.name,
        )
        for each in done
    ]
    columns = ["name", "rows", "columns", "file"]
    code = FAILED if any(each.problem for each in done) else DONE
    grid = Grid(str(output), columns, rows, columns[1:3])
    return Outcome({"store": backend.path, "written": done}, [grid], code)


def _attempted(backend: LocalBackend, entry: Entry | None, name: str, target: Path) -> Written:
    try:
        return _written(backend, entry, name, target)
    except (UsherError, OSError) as problem:
        key = entry.key.digest if entry is not None else ""
        why = trouble_of(problem).problem
        return Written(name, key, target, target.with_suffix(""), problem=why)


# --- sql --------------------------------------------------------------------------------


@click.command()
@click.argument("query")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write the answer to a file instead, its format by its ending.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="How many rows are printed for people; --json prints all.",
)
@store_option
@answering
def sql(query: str, output: Path | None, limit: int, store: Path | None) -> Outcome:
    """Ask a query of the store, in the SQL of DuckDB.

    Every name that `usher list` shows is a table. Nothing can be changed by it. A query of
    a single hyphen is read from the input.
    """
    from usher_pipeline.persistence.querying import queried

    backend = backend_at(store)
    table = queried(backend, sys.stdin.read() if query == "-" else query)
    columns = list(table.column_names)
    data: dict[str, Any] = {"store": backend.path, "columns": columns}
    data["row_count"] = table.num_rows
    if output is not None:
        from usher_pipeline.persistence.export import write_frame

        write_frame(table, output)
        line = f"{table.num_rows:,} × {table.num_columns:,} → {output}"
        return Outcome(data | {"file": output}, [Line(line)])
    rows = _rows(table)
    blocks: list[Block] = [Grid("", columns, [[*map(_shown, row)] for row in rows[:limit]])]
    if len(rows) > limit:
        blocks.append(Line(f"… {len(rows) - limit:,} more rows; --limit shows more."))
    return Outcome(data | {"rows": rows}, blocks)


def _rows(table: Any) -> list[list[Any]]:
    columns = [table.column(number).to_pylist() for number in range(table.num_columns)]
    return [list(row) for row in zip(*columns, strict=True)]


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
