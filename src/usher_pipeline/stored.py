"""What is stored, without the function that made it at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usher_pipeline import runs
from usher_pipeline.errors import CheckpointMissError
from usher_pipeline.fingerprint import values
from usher_pipeline.frames import adapter_of_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = ["entries", "load"]


def load(name: str, /, **arguments: Any) -> Any:
    """Return the stored result of a checkpoint, without its function.

    Args:
        name: The checkpoint.
        **arguments: Arguments that the stored call must have had; the newest result that
            fits is returned.

    Raises:
        CheckpointMissError: Nothing stored fits.
    """
    run = runs.current_run()
    backend = run.backend
    stored = backend.recent(name)
    fitting = [entry for entry in stored if _fits(entry, arguments)]
    for entry in fitting:
        packed = backend.load(entry)
        if packed is not None:
            frame = adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)
            run.note(backend, entry, "hit")
            runs.record_read(entry)
            runs.remember_origin(frame, entry, backend)
            return frame
    raise CheckpointMissError(name, _why_not(arguments, stored, backend))


def _fits(entry: Entry, arguments: Mapping[str, Any]) -> bool:
    stored = {p.label: p.digest for p in entry.key.parts if p.kind in ("argument", "source")}
    return all(
        stored.get(name)
        in (values.digest(value, path=name), values.secret_digest(value, path=name))
        for name, value in arguments.items()
    )


def _why_not(
    arguments: Mapping[str, Any], stored: Sequence[Entry], backend: LocalBackend
) -> str:
    if not stored:
        known = ", ".join(map(repr, backend.names()[:12])) or "none"
        return (
            f"the store {str(backend.path)!r} has no checkpoint of that name (it has {known})"
        )
    if not arguments:
        return "the stored results are lost or damaged"
    nearest = ", ".join(
        f"{part.label}={part.preview}"
        for part in stored[0].key.parts
        if part.kind == "argument"
    )
    having = nearest or "no arguments"
    return f"none of {len(stored)} stored results fits (the newest has {having})"


def entries(name: str | None = None) -> list[Entry]:
    """Return what is stored, newest first.

    Args:
        name: Only of this checkpoint.
    """
    backend = runs.current_run().backend
    names = [name] if name is not None else backend.names()
    found = [entry for each in names for entry in backend.recent(each)]
    return sorted(found, key=lambda entry: entry.created_at, reverse=True)
