"""``usher forget``, ``pin``, ``prune``, ``compact``, ``verify``, ``accept``: order kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from usher_pipeline import display
from usher_pipeline.cli.choosing import checkpoint_of, chosen, is_known, key_meant
from usher_pipeline.cli.endings import DONE, FOUND
from usher_pipeline.cli.options import (
    answering,
    as_age,
    as_size,
    backend_at,
    confirmed,
    dry_run_option,
    in_store,
    key_option,
    known_keys,
    name_argument,
    names_argument,
    store_option,
    yes_option,
)
from usher_pipeline.cli.output import Block, Grid, Line, Outcome, as_text, counted
from usher_pipeline.errors import UnknownTableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from usher_pipeline.persistence.housekeeping import Pruned
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["accept", "compact", "forget", "pin", "prune", "unpin", "verify"]

_KEY_SHOWN: Final = 12


def _require_known(backend: LocalBackend, name: str) -> None:
    """Refuse a name under which nothing is stored, finished or not.

    Raises:
        UnknownTableError: There is nothing.
    """
    if not is_known(backend, name):
        raise UnknownTableError(backend.path, name, {*backend.names(), *backend.tables.names()})


# --- forget -----------------------------------------------------------------------------


@click.command()
@name_argument
@click.option(
    "--key",
    "keys",
    multiple=True,
    shell_complete=known_keys,
    metavar="DIGEST",
    help="Only the result of this key, or its beginning; may be given again.",
)
@dry_run_option
@yes_option
@store_option
@answering
def forget(
    *, name: str, keys: Sequence[str], dry_run: bool, yes: bool, store: Path | None
) -> Outcome:
    """Remove results of a name, or all of it with its table.

    Without --key everything under the name goes: results, pinned ones too, what is not
    finished, items of maps, and the table. It asks first.
    """
    backend = backend_at(store)
    if keys:
        meant = [key_meant(backend, name, key) for key in keys]
        # Two beginnings may mean the same.
        gone = [*{entry.key.digest: entry for entry in meant}.values()]
    else:
        _require_known(backend, name)
        gone = backend.recent(name, None)
    data = {
        "store": backend.path,
        "name": name,
        "is_whole": not keys,
        "keys": [entry.key.digest for entry in gone],
        "dry_run": dry_run,
    }
    grid = Grid("", ["key", "rows", "age", "took"], [*map(_told, gone)], ["rows"])
    what = f"{counted(len(gone), 'result')} of {name}" + (
        "" if keys else ", its table, and all else of it"
    )
    if dry_run:
        return Outcome(data, [Line(f"would go: {what}"), grid])
    confirmed(as_text([grid]), f"Remove {what}?", yes=yes)
    with backend.changing():
        _forget(backend, name, gone if keys else None)
    return Outcome(data, [Line(f"gone: {what}")])


def _told(entry: Entry) -> tuple[str, ...]:
    return (
        entry.key.digest[:_KEY_SHOWN],
        f"{entry.row_count:,}",
        display.age(entry.created_at),
        display.duration(entry.cost.elapsed_s),
    )


def _forget(backend: LocalBackend, name: str, entries: Sequence[Entry] | None) -> None:
    """Remove some results with their parts, or all that there is under a name."""
    from usher_pipeline.results import parts_of

    every = backend.recent(name, None) if entries is None else entries
    parts = [part for entry in every for part in parts_of(backend, entry)]
    if entries is None:
        for part in {part.name for part in parts}:
            backend.clear(part)
        backend.clear(name)
        return
    for entry in (*parts, *entries):
        backend.forget(entry)


# --- pin and unpin ----------------------------------------------------------------------


@click.command()
@name_argument
@key_option
@store_option
@answering
def pin(name: str, key: str, store: Path | None) -> Outcome:
    """Keep a result, whatever `usher prune` is asked for.

    What its key has computed stays, and what that was made from. `usher outdated` tells of
    it like of a current one, and `usher forget` removes it all the same. To pin it again
    changes nothing.
    """
    return _pinned(name, key, store, is_pinned=True)


@click.command()
@name_argument
@key_option
@store_option
@answering
def unpin(name: str, key: str, store: Path | None) -> Outcome:
    """Let `usher prune` remove a result again that was pinned.

    Nothing is removed now. It is no error if it was not pinned.
    """
    return _pinned(name, key, store, is_pinned=False)


def _pinned(name: str, key: str, store: Path | None, *, is_pinned: bool) -> Outcome:
    """Pin a result, or take that back."""
    backend = backend_at(store)
    meant = key_meant(backend, name, key).key.digest
    was_pinned = meant in backend.segments.pins(name)
    if was_pinned != is_pinned:
        change = backend.segments.pin if is_pinned else backend.segments.unpin
        with backend.changing():
            change(name, meant)
    verb = "pinned" if is_pinned else "unpinned"
    if was_pinned == is_pinned:
        verb = "pinned already" if is_pinned else "not pinned"
    data = {
        "store": backend.path,
        "name": name,
        "key": meant,
        "is_pinned": is_pinned,
        "was_pinned": was_pinned,
    }
    return Outcome(data, [Line(f"{verb}: {name} {meant[:_KEY_SHOWN]}")])


# --- prune ------------------------------------------------------------------------------


@click.command()
@names_argument
@click.option(
    "--older-than",
    callback=as_age,
    metavar="AGE",
    help="What was stored, or last accepted, longer ago, such as 30d.",
)
@click.option(
    "--keep-size",
    callback=as_size,
    metavar="SIZE",
    help="The oldest, until the rest is no bigger than this, such as 20GB.",
)
@click.option(
    "--keep-latest",
    type=click.IntRange(min=0),
    metavar="COUNT",
    help="All of a name but so many of the newest.",
)
@dry_run_option
@yes_option
@store_option
@answering
def prune(  # noqa: PLR0913 - the options are the face
    *,
    names: Sequence[str],
    older_than: timedelta | None,
    keep_size: int | None,
    keep_latest: int | None,
    dry_run: bool,
    yes: bool,
    store: Path | None,
) -> Outcome:
    """Remove results that nothing needs.

    What is current, pinned, or needed by what stays never goes; tables stay as they are.
    NAMES restrict what may go, and without an option are all that may. What killed
    processes left over goes as well. It shows what would go, and asks.
    """
    from usher_pipeline.persistence.housekeeping import prune as pruned
    from usher_pipeline.persistence.places import check_name
    from usher_pipeline.persistence.pruning import Criteria

    if not names and (older_than, keep_size, keep_latest) == (None, None, None):
        raise click.UsageError(
            "Say what may go: NAMES, --older-than, --keep-size or --keep-latest."
        )
    backend = backend_at(store)
    for name in names:
        _require_known(backend, name)
    criteria = Criteria(
        older_than, keep_size, keep_latest, frozenset(map(check_name, names)) or None
    )
    found = pruned(backend, criteria, dry_run=True)
    if not dry_run:
        if found.entries:
            shown = as_text(_pruned(found))
            confirmed(shown, f"Remove {counted(len(found.entries), 'result')}?", yes=yes)
        with backend.changing():
            found = pruned(backend, criteria, dry_run=False)
    data = {
        "store": backend.path,
        "dry_run": dry_run,
        "results": [asdict(each) for each in found.entries],
        "size_bytes": found.size_bytes,
        "held_count": found.held_count,
        "swept": asdict(found.swept),
    }
    return Outcome(data, _pruned(found))


def _pruned(found: Pruned) -> list[Block]:
    line, *_ = str(found).splitlines()
    rows = [
        (
            each.name,
            each.key[:_KEY_SHOWN],
            display.age(each.known_at, found.looked_at),
            display.size(each.size_bytes),
            each.why,
        )
        for each in found.entries
    ]
    grid = Grid("", ["name", "key", "age", "size", "why"], rows, ["size"])
    return [Line(line), grid] if rows else [Line(line)]


# --- compact ----------------------------------------------------------------------------


@click.command()
@store_option
@answering
def compact(store: Path | None) -> Outcome:
    """Give back the space that the database file no longer needs.

    It is copied, and the copy takes its place while nobody else can write; what would win
    less than a tenth, or than 1 MB, is left as it is. Nothing that is stored changes.
    """
    from usher_pipeline.persistence.compaction import compact as compacted

    backend = backend_at(store)
    found = compacted(backend.path, timeout_s=backend.timeout_s)
    data = {
        "store": backend.path,
        "before_bytes": found.before_bytes,
        "after_bytes": found.after_bytes,
        "won_bytes": found.won_bytes,
        "is_swapped": found.is_swapped,
    }
    return Outcome(data, [Line(str(found))])


# --- verify -----------------------------------------------------------------------------


@click.command()
@names_argument
@store_option
@answering
def verify(names: Sequence[str], store: Path | None) -> Outcome:
    """Look through the store for damage, and mend what can be.

    All is read and digested anew; of NAMES alone if any are given. What is damaged is set
    aside, and made good from the other half of the store where that is whole. The exit
    code is 4 if anything was damaged.
    """
    from usher_pipeline.persistence.verification import verify as verified

    backend = backend_at(store)
    for name in names:
        chosen(backend, name)
    with backend.changing():
        found = verified(backend, names or None)
    head, *_ = str(found).splitlines()
    rows = [(f.name, f.half, f.problem, f.outcome, f.aside) for f in found.findings]
    columns = ["name", "half", "problem", "outcome", "set aside as"]
    blocks: list[Block] = [Line(head), *([Grid("", columns, rows)] if rows else [])]
    data: dict[str, Any] = {
        name: value for name, value in asdict(found).items() if name != "path"
    }
    data = {"store": backend.path, "is_whole": found.is_whole, **data}
    return Outcome(data, blocks, DONE if found.is_whole else FOUND)


# --- accept -----------------------------------------------------------------------------


@click.command()
@name_argument
@click.option(
    "--module",
    default="",
    metavar="MODULE",
    help="The module or file that has the function now.",
)
@dry_run_option
@yes_option
@store_option
@answering
def accept(*, name: str, module: str, dry_run: bool, yes: bool, store: Path | None) -> Outcome:
    """State that results hold for the code as it is now.

    It concerns all results of the name, published or not, that differ from what the
    function means now in nothing but code. Its module is imported for that, and its
    function does not run. The provenance keeps the statement. It asks first.
    """
    from usher_pipeline.accepting import acceptable
    from usher_pipeline.persistence.maps import maps_of

    backend = backend_at(store)
    _require_known(backend, name)
    wrapped = checkpoint_of(name, next(iter(backend.recent(name, None)), None), module)
    with in_store(store):
        found = acceptable(wrapped.__usher_declaration__)
        rows = [(each.key.digest[:_KEY_SHOWN], ", ".join(said)) for each, said in found]
        grid = Grid("", ["key", "what changed in the code"], rows)
        data: dict[str, Any] = {
            "store": backend.path,
            "name": name,
            "dry_run": dry_run,
            "results": [{"key": e.key.digest, "changes": said} for e, said in found],
        }
        if dry_run:
            line = f"would be accepted: {counted(len(found), 'result')} of {name}"
            return Outcome(
                data | {"count": len(found)}, [Line(line), *([grid] if rows else [])]
            )
        if found or maps_of(backend.segments, name):
            confirmed(as_text([grid]), f"Do results of {name} hold?", yes=yes)
        count = wrapped.accept()
    # Of a map each item counts.
    line = f"accepted: {counted(count, 'result')} of {name}"
    return Outcome(data | {"count": count}, [Line(line)])
