"""Frames out of a run: which result a frame is, and files with their provenance beside."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import StoreError
from usher_pipeline.records import utc_now
from usher_pipeline.runs import current_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["export", "origin_of", "remember_origin"]

# --- which frame came from where --------------------------------------------------------

_origins: Final[dict[int, tuple[weakref.ref[Any], Entry, LocalBackend]]] = {}


def remember_origin(frame: Any, entry: Entry, backend: LocalBackend) -> None:
    """Remember which entry a frame is, for as long as the frame lives."""
    place = id(frame)
    with suppress(TypeError):
        reference = weakref.ref(frame, lambda _: _origins.pop(place, None))
        _origins[place] = (reference, entry, backend)


def origin_of(frame: Any) -> tuple[Entry, LocalBackend] | None:
    """Return the entry that a frame came from, if it is a checkpoint's result."""
    known = _origins.get(id(frame))
    if known is None or known[0]() is not frame:
        return None
    return known[1], known[2]


# --- out --------------------------------------------------------------------------------


def export(frame: Any, path: str | os.PathLike[str]) -> Path:
    """Write a frame to a file, with its provenance as JSON beside it.

    The sidecar holds the steps that led to the frame, each with the time and the run that
    really computed it. A frame that is not itself the result of a checkpoint gets all
    steps of the run so far.

    Args:
        frame: A polars or pandas DataFrame.
        path: Where to: ``.parquet``, ``.csv``, ``.tsv``, ``.arrow``, ``.feather`` or
            ``.json``. Folders are created.

    Returns:
        The path.

    Raises:
        UnsupportedFrameError: It is no frame, or the ending names no known format.

    >>> import polars as pl, tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = export(pl.DataFrame({"gene": ["USH2A"]}), pathlib.Path(folder, "g.parquet"))
    ...     sorted(file.name for file in pathlib.Path(folder).iterdir())
    ['g.parquet', 'g.provenance.json']
    """
    from usher_pipeline.persistence.export import write_frame
    from usher_pipeline.persistence.provenance import write_sidecar

    target = write_frame(frame, os.fspath(path))
    write_sidecar(target, _provenance_of(frame, target))
    return target


def _provenance_of(frame: Any, target: Path) -> dict[str, Any]:
    from usher_pipeline.fingerprint.frames import frame_digest
    from usher_pipeline.frames import adapter_for

    adapter = adapter_for(frame)
    assert adapter is not None  # noqa: S101 - it was just written
    rows, columns = adapter.shape(frame)
    metadata = current_run().metadata()
    output: dict[str, Any] = {"file": target.name, "row_count": rows, "column_count": columns}
    origin = origin_of(frame)
    if origin is not None:
        entry, backend = origin
        with suppress(StoreError):
            metadata["processing_steps"] = backend.lineage(entry)
        output |= {"checkpoint": entry.name, "key": entry.key.digest, "content": entry.content}
        if frame_digest(adapter.to_arrow(frame)) != entry.content:
            # Somebody changed the frame in place after it was returned.
            metadata["processing_steps"] += _unlisted(metadata["processing_steps"])
            output |= {"content": None, "note": "changed after the checkpoint returned it"}
    else:
        output["note"] = "not itself a checkpoint's result; the steps are those of the run"
    return metadata | {"output": output, "exported_at": utc_now().isoformat()}


def _unlisted(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    known = {step.get("details", {}).get("key") for step in steps}
    return (s for s in current_run().steps() if s.get("details", {}).get("key") not in known)
