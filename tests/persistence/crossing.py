"""A store that one DuckDB wrote, read by another: every kind of frame, every type.

``python crossing.py write FOLDER`` stores each case as the result of a checkpoint.
``python crossing.py read FOLDER`` takes the segments away and compares what the tables give.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from usher_pipeline import checkpoint, load, run
from usher_pipeline.fingerprint.frames import frame_digest
from usher_pipeline.frames import adapter_for
from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES: Final = Path(__file__).parents[1] / "frames"


def table_of(name: str) -> Any:
    """Return a module of tests, for its cases."""
    spec = importlib.util.spec_from_file_location(name, FRAMES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def cases() -> Iterator[tuple[str, Any]]:
    """Yield the name and the frame of each case."""
    for library, name in (
        ("polars", "test_polars_frames"),
        ("pandas", "test_pandas_frames"),
        ("series", "test_pandas_series"),
        ("arrow", "test_arrow_tables"),
    ):
        module = table_of(name)
        found = getattr(module, "ALL", module.CASES)
        # Some names differ in case alone, which two checkpoints may not.
        for number, (case, frame) in enumerate(found.items()):
            yield f"{library} {number}: {case}", frame
    for number, expression in enumerate(table_of("test_relations").CASES):
        yield f"relation: {number}", duckdb.sql(f"SELECT {expression} AS x")


def digest(frame: Any) -> str:
    """Return the digest of a frame of any kind."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return frame_digest(adapter.to_arrow(adapter.collect(frame)))


def made(name: str, frame: Any) -> Any:
    """Return a checkpoint that returns a frame."""

    @checkpoint(name=name, version="1")
    def returned() -> Any:
        return frame

    return returned


def write(store: Path) -> None:
    """Store every case."""
    with run(store=store):
        for name, frame in cases():
            made(name, frame)()


def read(store: Path) -> None:
    """Compare what the tables give with every case, and write one more result."""
    shutil.rmtree(store.with_suffix(".checkpoints"))
    different = []
    with run(store=store):
        for name, frame in cases():
            if digest(load(name)) != digest(frame):
                different.append(name)
        made("one more", next(cases())[1])()
    with PipelineStore(store) as opened:
        listed = {row["table_name"] for row in opened.list_checkpoints()}
    assert not different, different
    assert "one more" in listed
    print(f"{len(listed) - 1} results, read by DuckDB {duckdb.__version__}")  # noqa: T201


if __name__ == "__main__":
    warnings.simplefilter("error")
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2], "store.duckdb"))
