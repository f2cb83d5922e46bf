"""The command ``usher``: what is stored, how it came about, and what is in force."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usher_pipeline import display
from usher_pipeline._version import __version__
from usher_pipeline.errors import UnknownTableError, UsherError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from usher_pipeline.demo.passes import Pass
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry, Part

__all__ = ["main", "usher"]

#: Wide enough that nothing is cut when the output goes to a file or a pipe.
_PIPE_WIDTH = 200


def _console() -> Console:
    from rich.console import Console

    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=wide, highlight=False, markup=False, soft_wrap=False)


def _table(title: str, columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # Long texts are folded and never cut: a reason is there to be read.
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold"
        )
    return table


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="usher")
def usher() -> None:
    """Tables that are computed once, and know where they came from."""


# --- demo -------------------------------------------------------------------------------


@usher.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("usher-demo"),
    show_default=True,
    help="Where everything goes; an earlier demo there is cleared.",
)
def demo(folder: Path) -> None:
    """Run a real pipeline three times on 18,243 real genes."""
    from usher_pipeline.demo import passes

    console = _console()
    console.print("A small API on this machine serves real genes, in pages and slowly.")
    console.print("The pipeline fetches the genes, fetches their evidence, scores and ranks.\n")
    with passes.quiet(os.environ):  # type: ignore[arg-type]
        done = passes.play(folder, lambda each: _tell(console, each))
    shown = done.folder.name if done.folder.parent == Path.cwd() else str(done.folder)
    console.print(f"All of it is in   {shown}")
    console.print(f"  ranked genes    {shown}/{done.output.name}")
    console.print(f"  where from      {shown}/{done.sidecar.name}")
    console.print(f"  the store       {shown}/{done.store.name}")
    console.print(f"See more with     usher list --store {shown}/{done.store.name}")
    console.print(
        f"                  usher show ranked_genes --store {shown}/{done.store.name}"
    )


def _tell(console: Console, each: Pass) -> None:
    table = _table(each.title, ["step", "outcome", "reason", "rows", "time"], ["rows", "time"])
    for line in each.lines:
        cells = (line.step, line.outcome, line.reason)
        table.add_row(*cells, f"{line.row_count:,}", display.duration(line.elapsed_s))
    console.print(table)


# --- looking ----------------------------------------------------------------------------

_store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=None,
    help="The DuckDB file of the store; what is in force unless given.",
)


def _backend(store: Path | None) -> LocalBackend:
    from usher_pipeline.runs import configure, current_run

    if store is not None:
        configure(store=store)
    backend = current_run().backend
    if not backend.path.exists() and not backend.segments.folder.exists():
        raise click.ClickException(
            f"there is no store at {str(backend.path)!r} ({current_run().store.origin}). "
            "Nothing was created. `usher where` says how the store is found."
        )
    return backend


@usher.command("list")
@_store_option
def list_(store: Path | None) -> None:
    """List what is stored, newest first."""
    backend = _backend(store)
    columns = ["name", "rows", "columns", "size", "age", "took", "results"]
    table = _table(str(backend.path), columns, columns[1:])
    found = [(entries[0], len(entries)) for entries in map(backend.recent, backend.names())]
    lines = [(entry.created_at, _listed(entry, count)) for entry, count in found]
    known = {entry.name for entry, _ in found}
    if backend.path.is_file():
        for row in backend.tables.rows():
            if row.table_name not in known:
                cells = (row.table_name, f"{row.row_count:,}", "", "")
                lines.append(
                    (row.created_at, (*cells, display.age(row.created_at), "", "table"))
                )
    for _, line in sorted(lines, reverse=True):
        table.add_row(*line)
    _console().print(table)


def _listed(entry: Entry, count: int) -> tuple[str, ...]:
    return (
        entry.name,
        f"{entry.row_count:,}",
        f"{entry.column_count:,}",
        display.size(entry.size_bytes),
        display.age(entry.created_at),
        display.duration(entry.cost.elapsed_s),
        f"{count:,}",
    )


@usher.command()
@click.argument("name")
@_store_option
def show(name: str, store: Path | None) -> None:
    """Show the results of one checkpoint, and how the newest came about."""
    backend = _backend(store)
    entries = backend.recent(name)
    if not entries:
        raise UnknownTableError(backend.path, name, backend.names())
    console = _console()
    columns = ["key", "arguments", "rows", "age", "took", "reason"]
    table = _table(f"{name}: {len(entries)} stored", columns, ["rows", "age", "took"])
    for entry in entries:
        table.add_row(
            entry.key.digest[:12],
            _parts(entry, "argument", "setting", "config", "source"),
            f"{entry.row_count:,}",
            display.age(entry.created_at),
            display.duration(entry.cost.elapsed_s),
            entry.reason,
        )
    console.print(table)
    _show_newest(console, backend, entries[0])


def _parts(entry: Entry, *kinds: str) -> str:
    parts: list[Part] = [part for part in entry.key.parts if part.kind in kinds]
    return ", ".join(f"{part.label}={part.preview}" for part in parts)


def _show_newest(console: Console, backend: LocalBackend, entry: Entry) -> None:
    columns = _table("columns", ["name", "type"])
    for column in entry.columns:
        columns.add_row(column.name, column.type)
    console.print(columns)
    parts = _table("what counts", ["kind", "part", "value", "stated in"])
    for part in entry.key.parts:
        parts.add_row(part.kind, part.label, part.preview, part.where)
    console.print(parts)
    if entry.key.untracked:
        console.print(f"not watched: {', '.join(entry.key.untracked)}\n")
    steps = _table("where it comes from", ["step", "computed (UTC)", "run", "function"])
    for step in backend.lineage(entry):
        facts: dict[str, Any] = step["details"]
        moment = (step["timestamp"] or "unknown")[:19].replace("T", " ")
        steps.add_row(
            step["step_name"], moment, facts.get("run_id", ""), facts.get("function", "")
        )
    console.print(steps)


@usher.command()
def where() -> None:
    """Say which project, config and store are in force, and why."""
    from usher_pipeline.config import settings
    from usher_pipeline.runs import current_run

    console = _console()
    console.print(f"project  {settings.project_root()}")
    run = current_run()
    console.print(f"config   {run.config.where}")
    for origin, path in settings.config_candidates():
        console.print(f"           {origin:<32}{path or '-'}")
    choice = run.store
    console.print(f"store    {choice.value} ({choice.origin})")
    for origin, path in choice.considered:
        console.print(f"           {origin:<32}{path or '-'}")


# --- the door ---------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error of the library is one line, without a traceback."""
    try:
        usher.main(list(sys.argv[1:] if arguments is None else arguments), prog_name="usher")
    except (UsherError, FileNotFoundError) as problem:
        click.echo(f"usher: {problem}", err=True)
        raise SystemExit(1) from None
