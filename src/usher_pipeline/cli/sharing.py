"""``usher push`` and ``pull``: results as one file, for the store of a colleague."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usher_pipeline import display
from usher_pipeline.cli.options import (
    answering,
    backend_at,
    dry_run_option,
    names_argument,
    store_option,
)
from usher_pipeline.cli.output import Grid, Outcome, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usher_pipeline.persistence.bundles import Carried

__all__ = ["pull", "push"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@names_argument
@store_option
@answering
def push(file: Path, names: Sequence[str], store: Path | None) -> Outcome:
    """Write results with their provenance to one file.

    The current result of each name goes, of all names if none is given, and with it all
    stored results that it was made from. Each is read and digested before it is written.
    An older FILE of results is replaced, and no other file.
    """
    from usher_pipeline.persistence.bundles import push as pushed

    backend = backend_at(store)
    found = pushed(backend, names or backend.names(), file)
    title = f"{counted(len(found), 'result')} → {file}"
    return Outcome(
        {"store": backend.path, "file": file, "results": [*map(asdict, found)]},
        [_grid(title, found, "asked for", "made from")],
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@dry_run_option
@store_option
@answering
def pull(*, file: Path, dry_run: bool, store: Path | None) -> Outcome:
    """Store the results of a FILE that a colleague pushed.

    Everything in it is checked before the first result is stored, and what the store has
    already is left alone. No code of it is run; whether its values are right is known to
    whoever computed them.
    """
    from usher_pipeline.persistence.bundles import pull as pulled
    from usher_pipeline.persistence.local import resolved
    from usher_pipeline.runs import current_run

    run = current_run()
    backend = run.backend if store is None else run.backend_at(resolved(store))
    found = pulled(backend, file, dry_run=dry_run)
    new = sum(each.is_new for each in found)
    verb = "would be stored" if dry_run else "stored"
    title = f"{verb}: {counted(new, 'result')} of {len(found)} in {file}"
    data: dict[str, Any] = {"store": backend.path, "file": file, "dry_run": dry_run}
    return Outcome(
        data | {"results": [*map(asdict, found)]}, [_grid(title, found, "", "made from")]
    )


def _grid(title: str, found: Sequence[Carried], asked: str, other: str) -> Grid:
    rows = [
        (
            each.name,
            each.key[:12],
            f"{each.row_count:,}",
            display.size(each.size_bytes),
            ", ".join(
                filter(
                    None, [asked if each.is_asked else other, "" if each.is_new else "known"]
                )
            ),
        )
        for each in found
    ]
    return Grid(title, ["name", "key", "rows", "size", ""], rows, ["rows", "size"])
