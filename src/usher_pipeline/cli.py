"""The command ``usher``: what is stored, how it came about, and what is in force."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usher_pipeline import display
from usher_pipeline._version import __version__
from usher_pipeline.errors import UnknownTableError, UsherError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table

    from usher_pipeline.demo.passes import Pass
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry, Part

__all__ = ["main", "usher"]

#: Wide enough that nothing is cut when the output goes to a file or a pipe.
_PIPE_WIDTH = 200


def _console() -> Console:
    from rich.console import Console

    told = sys.stdout.isatty() or os.environ.get("COLUMNS")
    width = None if told else _PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


@dataclass(frozen=True, slots=True)
class _Cell:
    """A text in a table: never cut, and parted between words or after a dot."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.cells import cell_len
        from rich.text import Text

        for line in display.wrapped(self.text, max(1, options.max_width), cell_len):
            yield Text(line)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.cells import cell_len
        from rich.measure import Measurement

        return Measurement(1, max(map(cell_len, self.text.split("\n"))))


def _table(columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold"
        )
    return table


def _print(console: Console, title: str, table: Table) -> None:
    _say(console, title, style="italic")
    console.print(table)


def _say(console: Console, line: str, style: str = "") -> None:
    """Print a line in one piece, since a path or a command in it is there to be copied."""
    console.print(line, style=style, soft_wrap=True)


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
    _say(console, "A small API on this machine serves real genes, in pages and slowly.")
    _say(console, "The pipeline fetches the genes, fetches their evidence, scores and ranks.\n")
    with passes.quiet(os.environ):
        done = passes.play(folder, lambda each: _tell(console, each))
    shown = done.folder.name if done.folder.parent == Path.cwd() else str(done.folder)
    _say(console, f"All of it is in   {shown}")
    _say(console, f"  ranked genes    {shown}/{done.output.name}")
    _say(console, f"  where from      {shown}/{done.sidecar.name}")
    _say(console, f"  the store       {shown}/{done.store.name}")
    _say(console, f"See more with     usher list --store {shown}/{done.store.name}")
    _say(
        console, f"                  usher show ranked_genes --store {shown}/{done.store.name}"
    )


def _tell(console: Console, each: Pass) -> None:
    table = _table(["step", "outcome", "reason", "rows", "time"], ["rows", "time"])
    for line in each.lines:
        cells = (line.step, line.outcome, line.reason, f"{line.row_count:,}")
        table.add_row(*map(_Cell, (*cells, display.duration(line.elapsed_s))))
    _print(console, each.title, table)


# --- looking ----------------------------------------------------------------------------

_store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=None,
    help="The DuckDB file of the store; what is in force unless given.",
)


def _backend(store: Path | None) -> LocalBackend:
    from usher_pipeline.persistence.local import resolved
    from usher_pipeline.runs import current_run

    run = current_run()
    backend = run.backend if store is None else run.backend_at(resolved(store))
    if not backend.path.exists() and not backend.segments.folder.exists():
        named_by, cure = "--store", "Give --store the path of a store."
        if store is None:
            named_by, cure = run.store.origin, "`usher where` says how the store is found."
        raise click.ClickException(
            f"there is no store at {str(backend.path)!r} (named by {named_by}). "
            f"Nothing was created. {cure}"
        )
    return backend


@usher.command("list")
@_store_option
def list_(store: Path | None) -> None:
    """List what is stored, newest first."""
    backend = _backend(store)
    columns = ["name", "rows", "columns", "size", "age", "took", "results"]
    table = _table(columns, columns[1:])
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
        table.add_row(*map(_Cell, line))
    _print(_console(), str(backend.path), table)


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
    """Show what is stored under one name, and how the newest of it came about."""
    backend = _backend(store)
    entries = backend.recent(name)
    if not entries:
        _show_table(_console(), backend, name)
        return
    console = _console()
    table = _table(
        ["key", "arguments", "rows", "age", "took", "reason"], ["rows", "age", "took"]
    )
    for entry in entries:
        cells = (
            entry.key.digest[:12],
            _parts(entry, "argument", "setting", "config", "source"),
            f"{entry.row_count:,}",
            display.age(entry.created_at),
            display.duration(entry.cost.elapsed_s),
            entry.reason,
        )
        table.add_row(*map(_Cell, cells))
    _print(console, f"{name}: {len(entries)} stored", table)
    _show_newest(console, backend, entries[0])


def _parts(entry: Entry, *kinds: str) -> str:
    parts: list[Part] = [part for part in entry.key.parts if part.kind in kinds]
    return ", ".join(f"{part.label}={part.preview}" for part in parts)


def _show_newest(console: Console, backend: LocalBackend, entry: Entry) -> None:
    _show_columns(console, {column.name: column.type for column in entry.columns})
    parts = _table(["kind", "part", "value", "stated in"])
    for part in entry.key.parts:
        parts.add_row(*map(_Cell, (part.kind, part.label, part.preview, part.where)))
    _print(console, "what counts", parts)
    if entry.key.untracked:
        _say(console, f"not watched: {', '.join(entry.key.untracked)}\n")
    steps = _table(["step", "computed (UTC)", "run", "function"])
    for step in backend.lineage(entry):
        facts: dict[str, Any] = step["details"]
        moment = _moment(step["timestamp"] or "unknown")
        cells = (step["step_name"], moment, facts.get("run_id", ""), facts.get("function", ""))
        steps.add_row(*map(_Cell, cells))
    _print(console, "where it comes from", steps)


def _show_table(console: Console, backend: LocalBackend, name: str) -> None:
    """Show a table that no checkpoint made."""
    outline = backend.tables.outline(name)
    if outline is None:
        known = {*backend.names(), *backend.tables.names()}
        raise UnknownTableError(backend.path, name, known)
    count, columns = outline
    rows = backend.tables.rows(name)
    saved = "unknown, since it was made with SQL"
    if rows:
        moment = rows[0].created_at
        saved = f"{_moment(moment.isoformat())} UTC, {display.age(moment)}"
    facts = {"saved": saved, "rows": f"{count:,}"}
    if rows and rows[0].description:
        facts["description"] = rows[0].description
    table = _table(["fact", "value"])
    table.show_header = False
    for fact, value in facts.items():
        table.add_row(_Cell(fact), _Cell(value))
    _print(console, f"{name}: a table that no checkpoint made", table)
    _show_columns(console, columns)


def _show_columns(console: Console, columns: Mapping[str, str]) -> None:
    table = _table(["name", "type"])
    for name, kind in columns.items():
        table.add_row(_Cell(name), _Cell(kind))
    _print(console, "columns", table)


def _moment(text: str) -> str:
    """Return an ISO 8601 time as people write it, to the second."""
    return text[:19].replace("T", " ")


@usher.command()
def where() -> None:
    """Say which project, config and store are in force, and why."""
    from usher_pipeline.config import settings
    from usher_pipeline.runs import current_run

    console = _console()
    _say(console, f"project  {settings.project_root()}")
    run = current_run()
    _say(console, f"config   {run.config.where}")
    for origin, path in settings.config_candidates():
        _say(console, f"           {origin:<32}{path or '-'}")
    choice = run.store
    _say(console, f"store    {choice.value} ({choice.origin})")
    for origin, path in choice.considered:
        _say(console, f"           {origin:<32}{path or '-'}")


# --- the door ---------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error of the library or the disk is one line, no traceback."""
    try:
        usher.main(list(sys.argv[1:] if arguments is None else arguments), prog_name="usher")
    except (UsherError, OSError) as problem:
        click.echo(f"usher: {problem}", err=True)
        raise SystemExit(1) from None
