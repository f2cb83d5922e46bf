"""``usher demo``: a real pipeline, run three times in front of the reader's eyes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from usher_pipeline import display
from usher_pipeline.cli.options import answering
from usher_pipeline.cli.output import Grid, Line, Outcome, show

if TYPE_CHECKING:
    from usher_pipeline.demo.passes import Pass

__all__ = ["demonstrate"]


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("usher-demo"),
    show_default=True,
    help="Where everything goes; an earlier demo there is cleared.",
)
@answering
def demonstrate(folder: Path) -> Outcome:
    """Run a real pipeline three times on 18,243 real genes."""
    from usher_pipeline.demo import passes

    context = click.get_current_context()
    is_told = not context.params["as_json"]
    if is_told:
        show(_BEFORE)
    with passes.quiet(os.environ):
        done = passes.play(folder, lambda each: show([_grid(each)]) if is_told else None)
    where = done.folder.name if done.folder.parent == Path.cwd() else str(done.folder)
    data = {"folder": done.folder, "output": done.output, "sidecar": done.sidecar}
    store = f"{where}/{done.store.name}"
    after = [
        f"All of it is in   {where}",
        f"  ranked genes    {where}/{done.output.name}",
        f"  where from      {where}/{done.sidecar.name}",
        f"  the store       {store}",
        f"See more with     usher list --store {store}",
        f"                  usher show ranked_genes --store {store}",
    ]
    return Outcome(data | {"store": done.store}, [*map(Line, after)])


_BEFORE = [
    Line("A small API on this machine serves real genes, in pages and slowly."),
    Line("The pipeline fetches the genes, fetches their evidence, scores and ranks.\n"),
]


def _grid(each: Pass) -> Grid:
    rows = [
        (
            line.step,
            line.outcome,
            line.reason,
            f"{line.row_count:,}",
            display.duration(line.elapsed_s),
        )
        for line in each.lines
    ]
    columns = ["step", "outcome", "reason", "rows", "time"]
    return Grid(each.title, columns, rows, ["rows", "time"])
