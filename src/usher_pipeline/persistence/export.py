"""Frames → files that others read, each with its provenance beside it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from usher_pipeline.errors import OutputError, UnsupportedFrameError
from usher_pipeline.frames import ALL_KINDS, adapter_for, adapter_of_kind

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["formats", "tabular", "write_frame"]


def formats(frame: Any) -> dict[str, Callable[[str], Any]]:
    """Return file ending → writer, for the library that a frame belongs to.

    The writers are those of the frame's own library, so a file is what its users know.
    """
    kind, frame = tabular(frame)
    if kind == "polars.DataFrame":
        return {
            ".parquet": frame.write_parquet,
            ".csv": frame.write_csv,
            ".tsv": lambda path: frame.write_csv(path, separator="\t"),
            ".arrow": frame.write_ipc,
            ".feather": frame.write_ipc,
            ".json": frame.write_json,
        }
    if kind == "pyarrow.Table":
        return _of_arrow(frame)
    return {
        ".parquet": frame.to_parquet,
        ".csv": frame.to_csv,
        ".tsv": lambda path: frame.to_csv(path, sep="\t"),
        ".feather": frame.to_feather,
        ".json": frame.to_json,
    }


def tabular(frame: Any) -> tuple[str, Any]:
    """Return the kind of a frame that its library writes to files, and that frame.

    A query is run by this, and a reader read to its end; what comes out is used again.
    """
    adapter = adapter_for(frame)
    if adapter is None:
        cure = f"Give a frame, one of {ALL_KINDS}."
        raise UnsupportedFrameError("the value", type(frame).__name__, cure)
    if adapter.kind in (adapter.tabular, "pyarrow.Table"):
        return adapter.kind, frame
    packed = adapter.to_arrow(adapter.collect(frame))
    if adapter.tabular:
        schema = {**packed.schema, "kind": adapter.tabular}
        made = adapter_of_kind(adapter.tabular).from_arrow(packed.table, schema)
        return adapter.tabular, made
    return "pyarrow.Table", packed.table.rename_columns(packed.schema["labels"])


def _of_arrow(table: Any) -> dict[str, Callable[[str], Any]]:
    from pyarrow import csv, feather, parquet

    tabs = csv.WriteOptions(delimiter="\t")
    return {
        ".parquet": lambda path: parquet.write_table(table, path),
        ".csv": lambda path: csv.write_csv(table, path),
        ".tsv": lambda path: csv.write_csv(table, path, tabs),
        ".arrow": lambda path: feather.write_feather(table, path),
        ".feather": lambda path: feather.write_feather(table, path),
    }


def write_frame(frame: Any, path: Path | str) -> Path:
    """Write a frame in the format that the ending of the path names.

    Args:
        frame: A frame of any kind that a checkpoint returns.
        path: Where to; its folder is created. An older file is replaced in one step.

    Returns:
        The path.

    Raises:
        UnsupportedFrameError: It is no frame, the ending names no known format, or one that
            can not hold this frame.
        OutputError: The file or its folder can not be written.
    """
    target = Path(path)
    writers = formats(frame)
    writer = writers.get(target.suffix.lower())
    if writer is None:
        raise UnsupportedFrameError(
            f"the ending of {target.name}",
            target.suffix or "empty",
            f"Use one of {', '.join(writers)}.",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, writer)
    except OSError as problem:
        raise unwritable(target, problem) from problem
    except MemoryError:
        raise
    except Exception as problem:
        # The writers are those of other libraries, and each has errors of its own.
        others = ", ".join(ending for ending in writers if ending != target.suffix.lower())
        said = str(problem).partition("\n")[0].rstrip(".")
        raise UnsupportedFrameError(
            f"the ending of {target.name}",
            target.suffix,
            f"Its writer says: {said}. Use another ending, of {others}.",
        ) from problem
    return target


def _replace(target: Path, writer: Callable[[str], Any]) -> None:
    """Write beside a file, then take its place in one step."""
    temporary = target.with_name(f".{uuid4().hex}{target.suffix}")
    try:
        writer(os.fspath(temporary))
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def unwritable(target: Path, problem: OSError) -> OutputError:
    """Return the error for a file that can not be written where it was asked for."""
    return OutputError(
        target,
        str(problem),
        "Nothing was written. Give a path in a folder that can be made and written.",
    )
