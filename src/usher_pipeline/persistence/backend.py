"""What a store has to do for a checkpoint, whatever it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from usher_pipeline.frames import Packed
    from usher_pipeline.frames.contract import Source
    from usher_pipeline.persistence.spools import Spool
    from usher_pipeline.records import Acceptance, Entry, Key, Renewal

__all__ = ["Backend"]


class Backend(Protocol):
    """A store of results under keys. Looking never writes; what is stored never changes."""

    @property
    def path(self) -> Path:
        """Where the store is, for people and for messages."""

    def find(
        self, name: str, key: str, content: str = "", *, sealed: bool = False
    ) -> Entry | None:
        """Return the latest entry under a key, of one content if that is given, or None."""

    def recent(self, name: str, limit: int | None = 64) -> list[Entry]:
        """Return the newest entries of a name, the latest of each key, newest first."""

    def current(self, name: str) -> Entry | None:
        """Return the entry that a plain name stands for, or soon will, or None."""

    def table_version(self, name: str, *, published: bool = False) -> str:
        """Return what the plain table of a name holds, as a digest; empty if there is none."""

    def table_changes(self, name: str) -> int:
        """Return how often other content came into the plain table of a name."""

    def listing_version(self, besides: str = "") -> str:
        """Return a digest of which tables there are, one aside, and when each was saved."""

    def entries_version(self, name: str, besides: str = "") -> str:
        """Return a digest of which entries a name has, or all names but one."""

    def names(self) -> list[str]:
        """Return every name that has an entry."""

    def load(self, entry: Entry) -> Packed | None:
        """Return the frame of an entry, checked; None if it is lost or damaged."""

    def check(self, name: str) -> None:
        """Raise what saving under a name would raise, as far as can be known before."""

    def scan(self, entry: Entry) -> Source | None:
        """Return the columns of an entry, each checked when it is read; None if it is lost."""

    def spool(self, name: str, kind: str, schema: pa.Schema) -> Spool:
        """Begin to store a result whose rows still come; what goes wrong is in the spool."""

    def save(self, entry: Entry, packed: Packed, spool: Spool | None = None) -> Entry:
        """Store a result; return its entry with its number. It is there once this returns."""

    def accept(self, entry: Entry, key: Key, statement: Acceptance) -> Entry:
        """Make a result one of a newer key as well; return that entry."""

    def renew(self, entry: Entry, renewal: Renewal) -> None:
        """Say of a result that what it was made of has not changed."""

    def renewal(self, entry: Entry) -> Renewal | None:
        """Return the last statement that what a result was made of has not changed."""

    def mean(self, entry: Entry, at: datetime | None = None) -> None:
        """Make an entry the one that its plain name stands for since then, now or soon."""

    def settle(self, names: Iterable[str]) -> None:
        """Publish what is meant by some names, and wait for it."""

    def publish(self) -> bool:
        """Bring the plain tables up to date; tell whether nothing is left to do."""

    def publish_soon(self) -> None:
        """Bring the plain tables up to date, what is big behind the caller."""

    def forget(self, entry: Entry) -> None:
        """Remove every result under the key of an entry."""

    def clear(self, name: str) -> int:
        """Remove every result of a name; return how many there were."""

    def lineage(self, entry: Entry) -> list[dict[str, Any]]:
        """Return the steps that led to an entry, its own last."""

    def record_run(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Keep the provenance of a run."""

    def single_flight(
        self, name: str, key: str, tell: Callable[[Any, float], None] | None = None
    ) -> AbstractContextManager[None]:
        """Let one caller at a time compute a key; tell whom it waits for, and how long."""
