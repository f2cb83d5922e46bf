"""Tables that were computed before there was a checkpoint, filed as results of a call."""

from __future__ import annotations

import inspect
import time
import typing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline import registry
from usher_pipeline.errors import CheckpointNotSavedError, OptionError
from usher_pipeline.exporting import inputs_among
from usher_pipeline.fingerprint.files import signature
from usher_pipeline.frames import adapter_for
from usher_pipeline.persistence.tablefiles import read_table, sha256_of
from usher_pipeline.records import Adoption, Cost, Hit, utc_now
from usher_pipeline.results import Circumstances, claim, handed_out, make, store
from usher_pipeline.returned import WHOLE, gather
from usher_pipeline.saying import voice

if TYPE_CHECKING:
    from usher_pipeline.calls import Planned

__all__ = ["adopt"]

_POLARS: Final = "polars.DataFrame"
_READABLE: Final = (_POLARS, "pandas.DataFrame", "pyarrow.Table")


def adopt(planned: Planned, what: Any) -> Any:
    """File a table as the result of a call; return it as a call returns it.

    Args:
        planned: The call.
        what: The frame, or the file that it is in.

    Raises:
        OptionError: It is neither, or of another kind than the function says to return.
        OSError: The file can not be read, or changed meanwhile.
        ProbeError: USHER_OFFLINE is set, and nobody knows which version a source has.
        CheckpointNotSavedError: It could not be stored.
    """
    started, declared, backend = time.perf_counter(), planned.declared, planned.backend
    planned.facts.require_answers()
    kind = _kind_of(declared.function)
    frame, adoption = _taken(declared.name, what, kind)
    _require_kind(declared.name, frame, kind)
    tell = partial(voice.tell_waiting, declared.name)
    with backend.single_flight(declared.name, planned.measured.digest, tell):
        registry.require_sole(declared, backend)
        backend.check(declared.name)
        returned = gather(declared.name, frame, partial(backend.spool, declared.name))
        # Where a frame is from says the origin; if that is a result, the provenance has it.
        inputs, _ = inputs_among({"frame": frame})
        facts = Circumstances(
            cost=Cost(utc_now(), 0.0),
            reason=f"adopted from {adoption.origin}",
            reads=(),
            inputs=tuple(inputs),
            unknown=(),
            adopted=adoption,
        )
        try:
            made = make(planned, returned, facts)
            kept = store(backend, made)
            result = handed_out(planned, returned, made, kept)
        except OSError as problem:
            raise CheckpointNotSavedError(backend.path, str(problem), frame) from problem
        finally:
            returned.discard()
    claim(planned, result, kept)
    planned.run.note(backend, kept[WHOLE], "adopted")
    backend.publish_soon()
    voice.say(declared.name, Hit(kept[WHOLE]), kept[WHOLE], time.perf_counter() - started)
    return result


def _taken(name: str, what: Any, kind: str) -> tuple[Any, Adoption]:
    """Return the frame that is to be adopted, and where it is from."""
    call = f"{name}.adopt"
    if isinstance(what, (str, Path)):
        path = Path(what)
        before, digest = _state(path), sha256_of(path)
        frame = read_table(call, path, kind if kind in _READABLE else _POLARS)
        if _state(path) != before:
            raise OSError(f"{str(path)!r} changed while it was read; nothing was stored")
        return frame, Adoption(str(path), digest)
    if adapter_for(what) is None and not isinstance(what, dict):
        expected = "a frame, a dict of frames, or the path of a file"
        raise OptionError(call, "frame", expected, type(what).__name__)
    return what, Adoption(f"a {type(what).__module__.partition('.')[0]} {type(what).__name__}")


def _state(path: Path) -> Any:
    """Return what tells that a file was changed; None if it is not there."""
    found = signature(path)
    return found[0] if found is not None else None


def _kind_of(function: Any) -> str:
    """Return the kind of frame that a function says to return; empty if it does not."""
    try:
        returned = typing.get_type_hints(function).get("return")
    except Exception:  # noqa: BLE001 - hints may name what is there for type checkers alone
        returned = inspect.get_annotations(function).get("return")
    if isinstance(returned, str):
        library, _, name = returned.strip("'\"").partition(".")
        known = {"pl": "polars", "pd": "pandas", "pa": "pyarrow"}
        return f"{known.get(library, library)}.{name}"
    module = getattr(returned, "__module__", "").partition(".")[0]
    return f"{module}.{getattr(returned, '__name__', '')}"


def _require_kind(name: str, frame: Any, kind: str) -> None:
    adapter = adapter_for(frame)
    if kind in _READABLE and adapter is not None and adapter.kind != kind:
        expected = f"a {kind}, as the function says to return"
        raise OptionError(f"{name}.adopt", "frame", expected, f"a {adapter.kind}")
