"""What is stored, without the function that made it at hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from usher_pipeline import display, runs
from usher_pipeline.errors import CheckpointMissError
from usher_pipeline.facts import InForce
from usher_pipeline.fingerprint import values
from usher_pipeline.fingerprint.code import code_digest
from usher_pipeline.freshness import renewed_as_said
from usher_pipeline.persistence.reads import current_call, record
from usher_pipeline.records import Entry, Read
from usher_pipeline.results import LOST, restored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.runs import Run

__all__ = ["Entries", "entries", "find", "load"]


def load(name: str, /, **arguments: Any) -> Any:
    """Return the stored result of a checkpoint, without its function.

    A plain name means what this run last returned under it, else what is published.

    Args:
        name: The checkpoint.
        **arguments: Arguments that the stored call must have had; where the plain name
            means another call, the newest result that fits is returned.

    Returns:
        The frame, as the function returned it.

    Raises:
        CheckpointMissError: Nothing stored fits.
        FingerprintError: An argument has no fingerprint.
    """
    run = runs.current_run()
    backend = run.backend
    wanted = {label: _digest(run, label, value) for label, value in arguments.items()}
    for entry in _fitting(run, backend, name, wanted):
        frame = restored(backend, entry)
        if frame is not LOST:
            run.note(backend, entry, "hit", means=False)
            record(_read_of(name, wanted, entry), backend.path)
            return frame
    record(_read_of(name, wanted, None), backend.path)
    raise CheckpointMissError(name, _why_not(arguments, backend.recent(name), backend))


def find(
    run: Run, backend: LocalBackend, name: str, arguments: Mapping[str, str]
) -> Entry | None:
    """Return the entry that `load` would return, given the digests of the arguments.

    Args:
        run: The run that asks.
        backend: The store.
        name: The checkpoint.
        arguments: Argument → its digest.
    """
    return next(_fitting(run, backend, name, arguments), None)


def _digest(run: Run, label: str, value: Any) -> str:
    """Return how the value of an argument was digested, had it been the one."""
    measure = values.secret_digest if display.is_credential(label) else values.digest
    ownership = InForce(run).ownership(type(value))
    return measure(value, path=label, code_of=partial(code_digest, ownership=ownership))


def _fitting(
    run: Run, backend: LocalBackend, name: str, wanted: Mapping[str, str]
) -> Iterator[Entry]:
    """Yield the entries that fit: what the name means first, then the newest."""
    meant = run.meaning(backend, name)
    if meant is not None and _fits(meant, wanted):
        yield meant
    for entry in backend.recent(name, None):
        if entry != meant and _fits(entry, wanted):
            yield entry


def _fits(entry: Entry, wanted: Mapping[str, str]) -> bool:
    kept: dict[str, str] = {}
    for part in entry.key.parts:
        if part.kind in ("argument", "source"):
            # A version is known by its source and by the parameter that takes it.
            kept |= {part.alias: part.digest, part.label: part.digest}
    return all(kept.get(label) == digest for label, digest in wanted.items())


def _read_of(name: str, wanted: Mapping[str, str], entry: Entry | None) -> Read:
    content = entry.content if entry is not None else ""
    return Read(name, "", content, "name", tuple(sorted(wanted.items())))


def _why_not(arguments: Mapping[str, Any], kept: Sequence[Entry], backend: LocalBackend) -> str:
    if not kept:
        known = ", ".join(map(repr, backend.names()[:12])) or "none"
        return (
            f"the store {str(backend.path)!r} has no checkpoint of that name (it has {known})"
        )
    if not arguments:
        return "the stored results are lost or damaged"
    names = {name for e in kept for p in e.key.parts for name in (p.label, p.alias)}
    strange = [name for name in arguments if name not in names]
    if strange:
        return f"none of {len(kept)} stored results counts an argument {', '.join(strange)}"
    nearest = ", ".join(
        f"{part.label}={part.preview}" for part in kept[0].key.parts if part.kind == "argument"
    )
    having = nearest or "no arguments"
    return f"none of {len(kept)} stored results fits (the newest has {having})"


class Entries(list[Entry]):
    """A list of stored results, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from usher_pipeline import views

        return views.entries_view(self)


def entries(name: str | None = None) -> Entries:
    """Return what is stored, newest first.

    Args:
        name: Only of this checkpoint.

    Returns:
        The latest entry of each key.
    """
    backend = runs.current_run().backend
    call = current_call()
    if call is not None:
        version = backend.entries_version(name or "", call.name)
        record(Read(name or "", "", version, "entries"), backend.path)
    names = [name] if name is not None else backend.names()
    found = [e for each in names for e in backend.recent(each, None)]
    found = [renewed_as_said(backend, entry) for entry in found]
    return Entries(sorted(found, key=lambda entry: entry.known_at, reverse=True))
