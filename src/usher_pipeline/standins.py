"""A store that stands in for those of a program, as tests need it.

Whatever a program says of its store, by `run(...)`, `configure(...)`, a config or
``[tool.usher]``, what it computes under test goes into the store that stands in. Only a
store that lies in a folder for temporary files stays what it is: a test named it. The
processes that a test starts are told by ``USHER_STORE``.

Nothing is imported here: a plugin of pytest is there also where nobody uses the library.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["VARIABLE", "StandIn", "environment", "standing_in", "stands_in"]

#: What tells the processes that a test starts of the store.
VARIABLE: Final = "USHER_STORE"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A store that stands in for others.

    Attributes:
        store: Its DuckDB file.
        state: The folder for what the library keeps of its user, the secret of seals.
        guarded: Folders of which no store is used, also where they are among temporary
            files: those of the project.
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


def _is_in(place: str, folders: tuple[str, ...]) -> bool:
    return any(place.startswith(os.path.join(os.path.realpath(f), "")) for f in folders)  # noqa: PTH118 - with a slash at its end


#: Innermost last; None where the stores of the program are used again.
_standing: Final[list[StandIn | None]] = []


def stands_in() -> StandIn | None:
    """Return what stands in for the stores of the program at present, if anything."""
    return _standing[-1] if _standing else None


@contextmanager
def standing_in(
    stand_in: StandIn | None, variables: Mapping[str, str | None] | None = None
) -> Iterator[None]:
    """Let a store stand in for others while a block runs; or none, within such a block.

    Args:
        stand_in: The store; None for those that the program names.
        variables: What the environment says meanwhile besides; None for what is not set.
    """
    said: dict[str, str | None] = {} if stand_in is None else {VARIABLE: stand_in.store}
    with environment({**said, **(variables or {})}):
        _standing.append(stand_in)
        try:
            yield
        finally:
            _standing.pop()


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Let the environment say something else while a block runs.

    Args:
        variables: What it says; None for what is not set.
    """
    before = {name: os.environ.get(name) for name in variables}
    try:
        _say(variables)
        yield
    finally:
        _say(before)


def _say(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
