"""Frames out of a run: which result a frame is, and files with their provenance beside."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from usher_pipeline.errors import StoreError
from usher_pipeline.frames import adapter_for, adapter_of_kind, is_frame
from usher_pipeline.records import Read, utc_now, versions_in
from usher_pipeline.runs import current_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

    _Stale: TypeAlias = Mapping[str, Any] | None

__all__ = ["export", "inputs_among", "mark_stale", "origin_of", "remember_origin"]

# --- which frame came from where --------------------------------------------------------

_origins: Final[dict[int, tuple[weakref.ref[Any], Entry, LocalBackend, _Stale]]] = {}


def remember_origin(frame: Any, entry: Entry, backend: LocalBackend) -> None:
    """Remember which entry a frame is, for as long as the frame lives."""
    place = id(frame)
    try:
        reference = weakref.ref(frame, lambda _: _origins.pop(place, None))
    except TypeError:
        return
    _origins[place] = (reference, entry, backend, None)


def mark_stale(frame: Any, stale: Mapping[str, Any]) -> None:
    """Remember of a frame whose origin is known that its checkpoint could not return it anew.

    Args:
        frame: The frame.
        stale: Why, as plain data.
    """
    known = _origins.get(id(frame))
    if known is not None and known[0]() is frame:
        _origins[id(frame)] = (*known[:3], stale)


def origin_of(frame: Any) -> tuple[Entry, LocalBackend] | None:
    """Return the entry that a frame came from, if it is a checkpoint's result."""
    known = _origins.get(id(frame))
    if known is None or known[0]() is not frame:
        return None
    return known[1], known[2]


def inputs_among(arguments: Mapping[str, Any]) -> tuple[list[Read], list[str]]:
    """Return which results are among the arguments of a call, and which frames are none.

    Args:
        arguments: Parameter → value; frames may be in lists and mappings.

    Returns:
        One read for each result of a checkpoint that nobody changed since; and where the
        other frames are, such as ``tables[1]``.
    """
    known: dict[Read, None] = {}
    unknown: list[str] = []
    for place, frame in _frames_in(arguments, ""):
        origin = origin_of(frame)
        if origin is not None and _is_still(frame, *origin):
            entry = origin[0]
            served = entry.key.digest if _origins[id(frame)][3] is not None else ""
            known[Read(entry.name, entry.key.digest, entry.content, served=served)] = None
        else:
            unknown.append(place)
    return list(known), unknown


def _frames_in(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if is_frame(value):
        yield place, value
    # By their types: mocks say that they are of the class that they stand for.
    elif issubclass(type(value), Mapping):
        for key, item in value.items():
            yield from _frames_in(item, f"{place}[{key!r}]" if place else str(key))
    elif issubclass(type(value), (list, tuple)):
        for index, item in enumerate(value):
            yield from _frames_in(item, f"{place}[{index}]")


def _is_still(frame: Any, entry: Entry, backend: LocalBackend) -> bool:
    """Tell whether a frame is still what its entry says; queries can not be changed."""
    adapter = adapter_for(frame)
    assert adapter is not None  # noqa: S101 - it is a frame
    if adapter.is_lazy:
        return True
    if adapter.kind == entry.kind:
        return _content(frame) == entry.content
    # In the form of another library it has another digest: that of the same form, made anew.
    from usher_pipeline.persistence.conversion import in_form

    packed = backend.load(entry)
    return packed is not None and _content(frame) == _content(in_form(adapter.kind, packed))


def _content(frame: Any) -> str:
    """Return the digest of a frame as it is now."""
    from usher_pipeline.fingerprint.frames import frame_digest

    adapter = adapter_for(frame)
    assert adapter is not None  # noqa: S101 - it is a frame
    return frame_digest(adapter.to_arrow(adapter.collect(frame)))


# --- out --------------------------------------------------------------------------------


def export(frame: Any, path: str | os.PathLike[str]) -> Path:
    """Write a frame to a file, with its provenance as JSON beside it.

    The sidecar holds the steps that led to the frame, each with the time and the run that
    really computed it. A frame that is not itself the result of a checkpoint gets all
    steps of the run so far.

    Args:
        frame: A frame of any kind that a checkpoint returns; a query is run for it.
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
    from usher_pipeline.persistence.export import tabular, write_frame
    from usher_pipeline.persistence.provenance import write_sidecar

    kind, written = tabular(frame)
    target = write_frame(written, os.fspath(path))
    write_sidecar(target, _provenance_of(frame, adapter_of_kind(kind).shape(written), target))
    return target


def _provenance_of(frame: Any, shape: tuple[int, int], target: Path) -> dict[str, Any]:
    rows, columns = shape
    metadata = current_run().provenance()
    output: dict[str, Any] = {"file": target.name, "row_count": rows, "column_count": columns}
    origin = origin_of(frame)
    if origin is not None:
        entry, backend = origin
        try:
            steps = backend.lineage(entry)
        except StoreError:
            # The database is busy, and half of the store is there alone.
            steps = [entry.step().to_json()]
        output |= {"checkpoint": entry.name, "key": entry.key.digest, "content": entry.content}
        stale = _origins[id(frame)][3]
        if stale is not None:
            output["stale"] = dict(stale)
        if not _is_still(frame, entry, backend):
            # Somebody changed the frame in place after it was returned.
            steps += _possible(steps)
            output |= {"content": None, "note": "changed after the checkpoint returned it"}
        elif any(step.get("details", {}).get("inputs_of_unknown_origin") for step in steps):
            steps += _possible(steps)
            output["note"] = "made of frames that are not themselves results of checkpoints"
        stated = metadata["data_source_versions"]
        metadata |= {
            "processing_steps": steps,
            "data_source_versions": versions_in(steps, stated),
        }
    else:
        output["note"] = "not itself a checkpoint's result; the steps are those of the run"
    return metadata | {"output": output, "exported_at": utc_now().isoformat()}


def _possible(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of the run that may have led to a frame, each marked as such."""
    known = {step.get("details", {}).get("key") for step in steps}
    others = (s for s in current_run().steps() if s.get("details", {}).get("key") not in known)
    mark = {"relation": "a step of the same run; whether it led here is not known"}
    return [step | {"details": step.get("details", {}) | mark} for step in others]
