"""A store that stands in for those of a program, as tests need it.

Whatever a program says of its store, by `run(...)`, `configure(...)`, a config or
``[tool.usher]``, what it computes under test goes into the store that stands in. Only a
store that lies in a folder for temporary files stays what it is: a test named it.
Processes that a test starts are told by the environment, and do the same.

Next to nothing is imported here: a plugin of pytest is there also where nobody uses the
library.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "TOLD",
    "VARIABLE",
    "Layer",
    "StandIn",
    "carry",
    "layers",
    "standing_in",
    "stands_in",
]

#: What tells every process that a test starts of the store, also other programs.
VARIABLE: Final = "USHER_STORE"
#: What tells those that use this library for which stores it stands in.
TOLD: Final = "USHER_STANDS_IN"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A store that stands in for others.

    Attributes:
        store: Its DuckDB file.
        state: The folder for what the library keeps of its user, the secret of seals.
        guarded: Folders of which no store is used, also where they are among temporary
            files: those of the project; and single stores likewise.
        spared: Folders of which every store stays what it is, also within the guarded ones:
            those in which tests keep their files.
        outer: The runs that were open before, whose stores are not used either.
    """

    store: str
    state: str
    guarded: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()
    outer: tuple[object, ...] = ()

    @property
    def path(self) -> Path:
        """The DuckDB file, as a path."""
        return Path(self.store)

    def replaces(self, store: str, run: object = None) -> bool:
        """Tell whether it stands in for another store.

        Args:
            store: The DuckDB file of that.
            run: Who asks for it.

        >>> stand_in = StandIn("/tmp/t/store.duckdb", "/tmp/t", guarded=("/srv/genes",))
        >>> stand_in.replaces("/srv/genes/.usher/store.duckdb")
        True
        >>> stand_in.replaces(str(Path(tempfile.gettempdir(), "t", "other.duckdb")))
        False
        """
        if any(run is each for each in self.outer):
            return True
        place = os.path.realpath(store)
        if _is_in(place, self.spared):
            return False
        return _is_in(place, self.guarded) or not _is_in(place, (tempfile.gettempdir(),))

    def to_text(self) -> str:
        """Return it as one line, for a process that is started; it knows no outer runs."""
        import json

        return json.dumps([self.store, self.state, self.guarded, self.spared])

    @classmethod
    def from_text(cls, text: str) -> StandIn:
        """Return what `to_text` wrote.

        Raises:
            UsherError: Nothing wrote that.

        >>> stand_in = StandIn("/tmp/t/store.duckdb", "/tmp/t", guarded=("/srv/genes",))
        >>> StandIn.from_text(stand_in.to_text()) == stand_in
        True
        """
        import json

        try:
            store, state, guarded, spared = json.loads(text)
            made = cls(str(store), str(state), tuple(guarded), tuple(spared))
        except (TypeError, ValueError) as problem:
            from usher_pipeline.errors import UsherError

            raise UsherError(
                f"{TOLD} is nothing that a test said - expected a store and for which others "
                f"it stands in, got {text[:80]!r}. Nothing was read or stored. Unset it: only "
                "tests set it."
            ) from problem
        return made


def _is_in(place: str, folders: tuple[str, ...]) -> bool:
    known = map(os.path.realpath, folders)
    return any(place == f or place.startswith(os.path.join(f, "")) for f in known)  # noqa: PTH118 - with a slash at its end


# --- what is in force -------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Layer:
    """What is said of stores while a block runs.

    Attributes:
        stand_in: The store; None for those that the program names.
        said: What the environment says meanwhile; None for what is not set.
        before: What it says where this layer is gone.
        owner: The fixture that holds the block open, if one does.
    """

    stand_in: StandIn | None
    said: dict[str, str | None]
    before: dict[str, str | None] = field(default_factory=dict)
    owner: str = ""


#: Innermost last.
_layers: Final[list[Layer]] = []


class _Process:
    """What holds outside of all blocks.

    Attributes:
        inherited: What stood in where this process was started.
        has_stood: Whether there was any block: threads may be left of it.
        ask: What tells what stood in where the present thread was started.
        begin: What is done when a block begins, so that this can be told.
    """

    def __init__(self) -> None:
        told = os.environ.get(TOLD, "")
        self.inherited = StandIn.from_text(told) if told else None
        self.has_stood = self.inherited is not None
        self.ask: Callable[[], StandIn | None] | None = None
        self.begin: Callable[[], object] | None = None


_process: Final = _Process()


def carry(begin: Callable[[], object], ask: Callable[[], StandIn | None]) -> None:
    """Have threads and pools carry along what stands in where they are started.

    Args:
        begin: Makes them do so; called when the first block begins, or at once.
        ask: Tells what the present thread carries; None if that is nothing.
    """
    _process.begin, _process.ask = begin, ask
    if _process.has_stood:
        begin()


def layers() -> tuple[Layer, ...]:
    """Return the blocks that are open, the one in force last."""
    return tuple(_layers)


def stands_in() -> StandIn | None:
    """Return what stands in for the stores of the program at present, if anything.

    What a thread was started under holds for it where nothing else does: it may be left
    over from a test, and the stores of the program are none of its business then.
    """
    found = _layers[-1].stand_in if _layers else _process.inherited
    if found is None and _process.has_stood and _process.ask is not None:
        return _process.ask()
    return found


@contextmanager
def standing_in(
    stand_in: StandIn | None,
    variables: Mapping[str, str | None] | None = None,
    *,
    beneath: Iterable[Layer] = (),
) -> Iterator[None]:
    """Let a store stand in for others while a block runs; or none, within such a block.

    Blocks may end in any order, as those of fixtures of different scopes do.

    Args:
        stand_in: The store; None for those that the program names, with the environment as
            it was outside of all blocks.
        variables: What the environment says meanwhile besides; None for what is not set.
        beneath: Blocks that are open already and nevertheless go before this one.
    """
    said = _outside()
    if stand_in is not None:
        said = {VARIABLE: stand_in.store, TOLD: stand_in.to_text()}
    layer = Layer(stand_in, said | dict(variables or {}))
    _process.has_stood = True
    if _process.begin is not None:
        _process.begin()
    _lay(layer)
    for each in beneath:
        _lift(each)
        _lay(each)
    try:
        yield
    finally:
        _lift(layer)


def _outside() -> dict[str, str | None]:
    """Return what the environment said before the blocks that are open."""
    said: dict[str, str | None] = {}
    for layer in reversed(_layers):
        said |= layer.before
    return said


def _lay(layer: Layer) -> None:
    """Put a layer on top of the others."""
    for name, value in layer.said.items():
        layer.before[name] = os.environ.get(name)
        _say(name, value)
    _layers.append(layer)


def _lift(layer: Layer) -> None:
    """Take a layer away, from between others as well."""
    at = _layers.index(layer)
    del _layers[at]
    for name, value in layer.before.items():
        over = next((each for each in _layers[at:] if name in each.said), None)
        if over is None:
            _say(name, value)
        else:
            over.before[name] = value


def _say(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
