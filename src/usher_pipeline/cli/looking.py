"""``usher list``, ``show``, ``where``: what is stored, how it came about, what is in force."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from usher_pipeline import display
from usher_pipeline.cli.options import answering, backend_at, name_argument, store_option
from usher_pipeline.cli.output import Block, Grid, Line, Outcome, counted
from usher_pipeline.errors import StoreBusyError, UnknownTableError
from usher_pipeline.persistence import contents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from usher_pipeline.persistence.contents import Named, RunLine
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["list_names", "show", "where"]

#: How long a list waits for what only the database can tell.
_LIST_WAIT_S: Final = 1.0
#: How many results of a name are shown to people.
_SHOWN_ENTRIES: Final = 20

# --- list -------------------------------------------------------------------------------


@click.command("list")
@store_option
@answering
def list_names(store: Path | None) -> Outcome:
    """List what is stored, newest first.

    While another program holds the database that are the results of checkpoints; tables
    that were saved by hand are only in it.
    """
    backend = backend_at(store)
    problem = ""
    try:
        found = contents.named(backend, timeout_s=_LIST_WAIT_S)
    except StoreBusyError as busy:
        if not backend.segments.folder.is_dir():
            raise
        found = contents.named(backend, tables_too=False)
        problem = f"tables that no checkpoint made are not listed: {busy.problem}"
    columns = ["name", "rows", "columns", "size", "age", "took", "results"]
    grid = Grid(str(backend.path), columns, [*map(_listed, found)], columns[1:])
    data = {"store": backend.path, "names": [*map(asdict, found)], "problem": problem}
    return Outcome(data, [grid, *([Line(problem)] if problem else [])])


def _listed(each: Named) -> tuple[str, ...]:
    # Of a dictionary there are frames, and what lists them is no table of anybody's.
    is_dict = each.kind == "dict"
    return (
        each.name,
        counted(each.row_count, "frame") if is_dict else f"{each.row_count:,}",
        "" if each.column_count is None or is_dict else f"{each.column_count:,}",
        "" if each.size_bytes is None else display.size(each.size_bytes),
        display.age(each.created_at),
        "" if each.elapsed_s is None else display.duration(each.elapsed_s),
        f"{each.entry_count:,}" if each.entry_count else "table",
    )


# --- show -------------------------------------------------------------------------------


@click.command()
@name_argument
@store_option
@answering
def show(name: str, store: Path | None) -> Outcome:
    """Show what is stored under a name.

    That are its results, newest first, what happened to them, what the latest runs did with
    it, why it was computed last, and of the newest result the columns, what counted, and
    the steps that led to it.
    """
    backend = backend_at(store)
    entries = backend.recent(name, None)
    begun = _begun(backend, name)
    if not entries and not begun:
        return _of_table(backend, name)
    runs = contents.runs_of(backend, name)
    pinned, current = backend.segments.pins(name), backend.current(name)
    data: dict[str, Any] = {"store": backend.path, "name": name, "kind": "checkpoint"}
    data["entries"] = [
        _entry_data(each, is_pinned=each.key.digest in pinned, is_current=each == current)
        for each in entries
    ]
    data |= {"unfinished": begun, "runs": [*map(asdict, runs)], "last_miss": None}
    blocks: list[Block] = [*(Line(each) for each in begun)]
    if entries:
        missed = max(entries, key=lambda entry: entry.created_at)
        lineage = backend.lineage(entries[0])
        data["last_miss"] = {"at": missed.created_at, "reason": missed.reason}
        data["lineage"] = lineage
        blocks.append(
            _entries_grid(name, entries[:_SHOWN_ENTRIES], len(entries), pinned, current)
        )
        if len(entries) > _SHOWN_ENTRIES:
            blocks.append(
                Line(f"… {len(entries) - _SHOWN_ENTRIES:,} older ones; --json has all")
            )
        blocks.append(Line(_missed(missed)))
        blocks += _history(entries)
        blocks += _runs_grid(runs)
        blocks += _newest(entries[0], lineage)
    return Outcome(data, blocks)


def _begun(backend: LocalBackend, name: str) -> list[str]:
    """Return what is stored of results that are not finished, in words."""
    from usher_pipeline.persistence.maps import maps_of
    from usher_pipeline.persistence.unfinished import works

    found = []
    for work, _ in works(backend.segments, name):
        parts = work.parts()
        rows = sum(part.row_count for part in parts)
        if parts:
            found.append(f"unfinished: {rows:,} rows in {len(parts)} parts")
    for stored in maps_of(backend.segments, name):
        index, statement = stored.index(), stored.statement
        over = statement.over if statement is not None else "?"
        failed = f", {len(index.failures):,} failed" if index.failures else ""
        found.append(f"mapped over {over}: {len(index.answers):,} items{failed}")
    return found


def _entry_data(entry: Entry, *, is_pinned: bool, is_current: bool) -> dict[str, Any]:
    renewed = entry.renewed
    return {
        "key": entry.key.digest,
        "number": entry.number,
        "created_at": entry.created_at,
        "known_at": entry.known_at,
        "row_count": entry.row_count,
        "column_count": entry.column_count,
        "size_bytes": entry.size_bytes,
        "elapsed_s": entry.cost.elapsed_s,
        "kind": entry.kind,
        "function": entry.function,
        "run_id": entry.run_id,
        "reason": entry.reason,
        "content": entry.content,
        "is_current": is_current,
        "is_pinned": is_pinned,
        "parts": [
            {"kind": p.kind, "label": p.label, "value": p.preview, "stated_in": p.where}
            for p in entry.key.parts
        ],
        "columns": {column.name: column.type for column in entry.columns},
        "accepted": [each.to_json() for each in entry.accepted],
        "renewed": renewed.to_json() if renewed is not None else None,
        "adopted": asdict(entry.adopted) if entry.adopted is not None else None,
        "pulled": [each.to_json() for each in entry.pulled],
    }


def _entries_grid(
    name: str,
    entries: Sequence[Entry],
    count: int,
    pinned: frozenset[str],
    current: Entry | None,
) -> Grid:
    rows = [
        (
            entry.key.digest[:12],
            _parts(entry, "argument", "setting", "config", "source"),
            f"{entry.row_count:,}",
            display.age(entry.created_at),
            display.duration(entry.cost.elapsed_s),
            entry.reason,
            _marks(is_pinned=entry.key.digest in pinned, is_current=entry == current),
        )
        for entry in entries
    ]
    columns = ["key", "arguments", "rows", "age", "took", "reason", ""]
    return Grid(f"{name}: {count:,} stored", columns, rows, ["rows", "age", "took"])


def _marks(*, is_pinned: bool, is_current: bool) -> str:
    return ", ".join(["current"] * is_current + ["pinned"] * is_pinned)


def _parts(entry: Entry, *kinds: str) -> str:
    parts = [part for part in entry.key.parts if part.kind in kinds]
    return ", ".join(f"{part.label}={part.preview}" for part in parts)


def _missed(entry: Entry) -> str:
    when = display.age(entry.created_at, ending="ago")
    if entry.adopted is not None:
        return f"last miss: none, the newest result was adopted {when}"
    return f"last miss: {entry.reason or 'unknown'} ({when})"


def _history(entries: Sequence[Entry]) -> list[Block]:
    """Return what people and probes said of results after they were computed."""
    rows = []
    for entry in entries:
        key = entry.key.digest[:12]
        for each in entry.accepted:
            what = f"accepted by {each.how}: {', '.join(each.changes) or 'older code'}"
            rows.append((each.accepted_at, key, what))
        if entry.renewed is not None:
            answers = ", ".join(f"{name}={said}" for name, said in entry.renewed.answers)
            rows.append((entry.renewed.renewed_at, key, f"renewed: {answers}"))
        if entry.adopted is not None:
            rows.append((entry.created_at, key, "adopted, and not computed"))
        for pull in entry.pulled:
            pushed = f", pushed from {pull.store}" if pull.store else ""
            rows.append((pull.pulled_at, key, f"pulled from {pull.file}{pushed}"))
    if not rows:
        return []
    shown = [(_moment(at.isoformat()), key, what) for at, key, what in sorted(rows)]
    return [Grid("what happened since", ["when (UTC)", "key", "what"], shown)]


def _runs_grid(runs: Sequence[RunLine]) -> list[Block]:
    rows = [
        (
            each.run_id,
            _moment(each.started_at.isoformat()),
            f"{each.outcome} ×{each.call_count}" if each.call_count > 1 else each.outcome,
            each.key[:12],
            each.reason,
            each.error or each.run_outcome,
        )
        for each in runs
    ]
    columns = ["run", "began (UTC)", "call", "key", "reason", "run ended"]
    return [Grid("latest runs", columns, rows)] if rows else []


def _newest(entry: Entry, lineage: Sequence[Mapping[str, Any]]) -> list[Block]:
    columns = {column.name: column.type for column in entry.columns}
    parts = [(part.kind, part.label, part.preview, part.where) for part in entry.key.parts]
    blocks: list[Block] = [
        _columns(columns),
        Grid("what counts", ["kind", "part", "value", "stated in"], parts),
    ]
    if entry.key.untracked:
        blocks.append(Line(f"not watched: {', '.join(entry.key.untracked)}\n"))
    steps = []
    for step in lineage:
        facts = step["details"]
        moment = _moment(step["timestamp"] or "unknown")
        cells = (step["step_name"], moment, facts.get("run_id", ""), facts.get("function", ""))
        steps.append(cells)
    headers = ["step", "computed (UTC)", "run", "function"]
    return [*blocks, Grid("where it comes from", headers, steps)]


def _of_table(backend: LocalBackend, name: str) -> Outcome:
    """Return what there is to say of a table that no checkpoint made."""
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
    description = rows[0].description if rows else ""
    if description:
        facts["description"] = description
    data = {
        "store": backend.path,
        "name": name,
        "kind": "table",
        "created_at": rows[0].created_at if rows else None,
        "row_count": count,
        "description": description,
        "columns": columns,
    }
    title = f"{name}: a table that no checkpoint made"
    return Outcome(data, [Grid(title, ["", ""], [*facts.items()]), _columns(columns)])


def _columns(columns: Mapping[str, str]) -> Grid:
    return Grid("columns", ["name", "type"], [*columns.items()])


def _moment(text: str) -> str:
    """Return an ISO 8601 time as people write it, to the second."""
    return text[:19].replace("T", " ")


# --- where ------------------------------------------------------------------------------


@click.command()
@answering
def where() -> Outcome:
    """Say which project, config and store are in force, and why."""
    from usher_pipeline.config import settings
    from usher_pipeline.runs import current_run

    root, run = settings.project_root(), current_run()
    candidates, choice = settings.config_candidates(), run.store
    data = {
        "project": root,
        "config": {"where": run.config.where, "considered": _considered(candidates)},
        "store": {
            "path": choice.value,
            "named_by": choice.origin,
            "considered": _considered(choice.considered),
        },
    }
    lines = [
        f"project  {root}",
        f"config   {run.config.where}",
        *(f"           {origin:<32}{path or '-'}" for origin, path in candidates),
        f"store    {choice.value} ({choice.origin})",
        *(f"           {origin:<32}{path or '-'}" for origin, path in choice.considered),
    ]
    return Outcome(data, [*map(Line, lines)])


def _considered(candidates: Sequence[tuple[str, str]]) -> list[dict[str, str | None]]:
    return [{"source": origin, "path": path or None} for origin, path in candidates]
