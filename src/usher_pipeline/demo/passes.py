"""The demo itself: the same pipeline three times, and what each call did."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.demo import api, pipeline
from usher_pipeline.errors import StoreError
from usher_pipeline.exporting import export
from usher_pipeline.persistence import publisher
from usher_pipeline.persistence.local import resolved
from usher_pipeline.runs import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from pathlib import Path

__all__ = ["Demo", "Line", "Pass", "play"]

_CONFIG: Final = """\
# The config of the demo. Change a value and run your own pipeline with it.
versions:
  ensembl_release: 113
  gnomad_version: v4.1
  gtex_version: v8
  hpa_version: "23.0"
api:
  page_size: 1000
scoring:
  gnomad: 0.20
  expression: 0.20
  annotation: 0.15
  localization: 0.15
  animal_model: 0.15
  literature: 0.15
ranking:
  min_layers: 4
  min_score: 0.5
"""

_WAIT_S: Final = 30.0
_MARK: Final = ".usher-demo"
_STORE: Final = "store.duckdb"
_OUTPUT: Final = "ranked_genes.parquet"

#: All that the demo makes; nothing else is ever removed.
_MADE: Final = (
    *("config.yaml", _STORE, f"{_STORE}.wal", "store.checkpoints", _OUTPUT),
    "ranked_genes.provenance.json",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One call of a pass.

    Attributes:
        step: The checkpoint.
        outcome: ``computed`` or ``hit``.
        reason: Why it was computed, or how old the stored result is.
        row_count: How many rows came back.
        elapsed_s: How long the call took, in seconds.
    """

    step: str
    outcome: str
    reason: str
    row_count: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass through the pipeline.

    Attributes:
        title: What is special about it.
        lines: Its calls, in order.
    """

    title: str
    lines: tuple[Line, ...]


@dataclass(slots=True)
class Demo:
    """What the demo did.

    Attributes:
        folder: Where everything lies.
        store: The database of the store.
        output: The ranked genes.
        sidecar: Their provenance.
        passes: The passes, in order.
    """

    folder: Path
    store: Path
    output: Path
    sidecar: Path
    passes: list[Pass] = field(default_factory=list)


def play(folder: Path, told: Callable[[Pass], None], *, delay_s: float = 0.05) -> Demo:
    """Run the pipeline three times: cold, again, and after one threshold changed.

    Args:
        folder: Where to; what an earlier demo made there is removed first.
        told: Is given each pass as soon as it is done.
        delay_s: How long the API takes for a page, in seconds.

    Raises:
        StoreError: The folder holds something that no demo made, or can not be written.
    """
    folder = folder.absolute()
    _prepare(folder)
    config, store = folder / "config.yaml", folder / _STORE
    output = folder / _OUTPUT
    demo = Demo(folder, store, output, output.with_suffix(".provenance.json"))
    with api.serving(delay_s) as address:
        for title, text in (
            ("First pass: nothing is stored yet", _CONFIG),
            ("Second pass: the same again", _CONFIG),
            (
                "Third pass: one threshold changed in config.yaml",
                _CONFIG.replace("min_score: 0.5", "min_score: 0.6"),
            ),
        ):
            config.write_text(text, encoding="utf-8")
            with run(config, store=store) as current:
                lines = _Lines()
                genes = lines.call(current, pipeline.gene_universe, address)
                evidence = lines.call(current, pipeline.gene_evidence, address, genes)
                ranked = lines.call(current, pipeline.ranked_genes, genes, evidence)
                export(ranked, output)
            demo.passes.append(Pass(title, tuple(lines.done)))
            told(demo.passes[-1])
    return demo


class _Lines:
    """Collects what each call did."""

    def __init__(self) -> None:
        self.done: list[Line] = []

    def call(self, current: Any, function: Any, *arguments: Any) -> Any:
        started = time.perf_counter()
        frame = function(*arguments)
        elapsed_s = time.perf_counter() - started
        step = current.steps()[-1]["details"]
        reason = step["reason"] if step["outcome"] == "computed" else ""
        line = Line(function.name, step["outcome"], reason, frame.height, elapsed_s)
        self.done.append(line)
        return frame


def _prepare(folder: Path) -> None:
    """Start clean, without touching what is somebody else's."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(folder, "it is a file", "Give --folder a folder of its own.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise StoreError(
            folder,
            "the folder holds files that no demo made",
            "Nothing was touched. Give --folder a new or empty folder.",
        )
    try:
        # An earlier demo of this process may still be writing its tables.
        publisher.wait(resolved(folder / _STORE), _WAIT_S)
        _clear(folder)
    except OSError as problem:
        raise StoreError(
            folder,
            f"the folder can not be written: {problem}",
            "Nothing was run. Give --folder a folder that can be made and written.",
        ) from problem


def _clear(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # First, so that a folder that was cleared half way is still known as the demo's own.
    (folder / _MARK).write_text("`usher demo` made this folder and may clear it.\n", "utf-8")
    for name in _MADE:
        path = folder / name
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def quiet(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Let nothing that is set for other pipelines, nor a line for each call, into the demo.

    Args:
        environment: The variables of the process; as they were, when the block has ended.
    """
    before = {name: value for name, value in environment.items() if name.startswith("USHER_")}
    for name in before:
        del environment[name]
    environment["USHER_LOG"] = "quiet"
    try:
        yield
    finally:
        del environment["USHER_LOG"]
        environment.update(before)
