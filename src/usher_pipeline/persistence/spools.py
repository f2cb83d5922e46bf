"""Segments that are written bit by bit, while the rows still come.

What can not be written any more is not lost: the rows that are in the file are read back,
and those that follow are held in memory, so that whoever computed them gets them all.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.persistence.locking import hold
from usher_pipeline.persistence.mapped import Mapped
from usher_pipeline.workers import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

__all__ = ["SMALL_BYTES", "Spool", "sync"]

#: A smaller file is read in one go.
SMALL_BYTES: Final = 1 << 24

#: What an Arrow file begins with, before the messages that a stream consists of.
_MAGIC_BYTES: Final = 8


class Spool:
    """A segment under its temporary name.

    Args:
        path: Where it is written; nothing may be there yet. None to hold all in memory.
        schema: Its columns.
        trouble: Why it is not written, if so.
        views: Whether text is written as views.

    Attributes:
        path: As given.
        trouble: Why it is not on disk, or no more; None if it is.
        digest: The digest of the bytes of a small file, once it is closed.
        buffer_digests: Those of the columns of one that is not small.
    """

    def __init__(
        self,
        path: Path | None,
        schema: pa.Schema,
        trouble: Exception | None = None,
        *,
        views: bool = False,
    ) -> None:
        self.path = path
        self.trouble = trouble
        self.digest = ""
        self.buffer_digests: tuple[str, ...] = ()
        self._schema = schema
        self._views = views
        self._written = 0
        self._held: list[pa.RecordBatch] = []
        self._mapped: Mapped | None = None
        self._held_open = -1
        self._sink: Any = None
        self._file: Any = None
        if path is not None:
            try:
                self._open(path)
            except OSError as problem:
                self.trouble = problem

    def _open(self, path: Path) -> None:
        import pyarrow as pa

        self._held_open = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        # Until it has its entry nobody may sweep it away.
        hold(self._held_open)
        self._sink = pa.OSFile(str(path), "wb")
        # A dictionary may gain words, and never changes those that it has.
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        schema = _view_schema(self._schema) if self._views else self._schema
        self._file = pa.ipc.new_file(self._sink, schema, options=options)

    def write(self, table: pa.Table) -> None:
        """Add rows; what does not go into the file is held in memory."""
        for batch in _viewed(table.to_batches()) if self._views else table.to_batches():
            if self._file is not None and self.trouble is None:
                try:
                    self._file.write_batch(batch)
                except OSError as problem:
                    self._give_up(problem)
                else:
                    self._written += 1
                    continue
            self._held.extend(_plain([batch]))

    def close(self) -> None:
        """Write the end of the file and bring it to disk."""
        if self.path is None or not self.is_written:
            return
        try:
            self._file.close()
            self._sink.close()
            mapped = Mapped(self.path)
            # The disk works while the bytes are read, which are in memory still.
            steps = partial(sync, self.path), partial(self._digest, mapped)
            side_by_side(lambda step: step(), steps, mapped.table.num_rows)
        except OSError as problem:
            self._give_up(problem)

    def _digest(self, mapped: Mapped) -> None:
        self._mapped = mapped
        if mapped.size_bytes <= SMALL_BYTES:
            self.digest = mapped.bytes_digest()
        else:
            self.buffer_digests = mapped.buffer_digests(range(mapped.table.num_columns))

    def _give_up(self, problem: OSError) -> None:
        """Take back what is in a file that will never be whole, and let go of its place."""
        import pyarrow as pa

        self.trouble = problem
        if self._written:
            with pa.memory_map(str(self.path)) as source:
                source.seek(_MAGIC_BYTES)
                batches = pa.ipc.open_stream(source)
                self._held = _plain(batches.read_next_batch() for _ in range(self._written))
        self._sink.close()
        # What is mapped stays readable.
        self.discard()

    @property
    def is_written(self) -> bool:
        """Whether all rows are in the file, which is on disk."""
        return self._file is not None and self.trouble is None

    def mapped(self) -> Mapped | None:
        """Return the file, once it is closed, mapped into memory; None if it is not whole."""
        if self.is_written and self._mapped is None and self.path is not None:
            self._mapped = Mapped(self.path)
        return self._mapped

    def table(self) -> pa.Table:
        """Return all rows, once the spool is closed; text may be views if they are mapped."""
        import pyarrow as pa

        mapped = self.mapped()
        if mapped is not None:
            return mapped.table
        return pa.Table.from_batches(self._held, self._schema)

    def is_file(self, path: Path) -> bool:
        """Tell whether a file is the one that was written here, whatever its name is by now."""
        return self._held_open >= 0 and os.path.samestat(
            os.fstat(self._held_open), path.lstat()
        )

    def release(self) -> None:
        """Let go of the file, which is done with."""
        if self._held_open >= 0:
            os.close(self._held_open)
            self._held_open = -1

    def discard(self) -> None:
        """Unlink the file if it still has its temporary name, and let go of it."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.release()


def _view_schema(schema: pa.Schema) -> pa.Schema:
    from usher_pipeline.frames.views import view_schema

    return view_schema(schema)


def _viewed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    from usher_pipeline.frames.views import to_views

    return chain.from_iterable(map(to_views, batches))


def _plain(batches: Iterable[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Return batches without views: polars 2.0 crashes at those that come from no file."""
    import pyarrow as pa

    from usher_pipeline.frames.views import from_views

    tables = (from_views(pa.Table.from_batches([batch])) for batch in batches)
    return [batch for table in tables for batch in table.to_batches()]


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
