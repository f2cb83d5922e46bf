"""Arrow files in memory: mapped without a copy, checked column by column, let go of again.

A mapping costs address space and no memory, until somebody reads it; then the pages that
were read count as memory of the process. Whoever goes through more than memory holds
gives them back on the way: the file stays mapped, and what is read again comes back.
"""

from __future__ import annotations

import ctypes
import mmap
import stat
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.fingerprint.buffers import buffer_digests, bytes_digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pyarrow as pa

__all__ = ["Mapped"]

#: A smaller file is never let go of: it fits, and to read it again would cost time.
_WORTH_BYTES: Final = 1 << 28


class Mapped:
    """An Arrow file that is mapped into memory.

    Args:
        path: The file.

    Attributes:
        path: The file.
        table: Its columns, text in the layout of the file; nothing of them was read yet.
        size_bytes: The size of the file.

    Raises:
        OSError: It is not there, or can not be read.
        pyarrow.ArrowInvalid: It is no whole Arrow file.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        if not stat.S_ISREG(path.stat().st_mode):
            # To open a pipe would never return.
            raise OSError(f"{str(path)!r} is no file")
        with pa.memory_map(str(path)) as source:
            # The mapping outlives the file handle, and what is unlinked stays mapped.
            self._buffer = source.read_buffer()
        self.size_bytes = self._buffer.size
        self.table: pa.Table = pa.ipc.open_file(pa.BufferReader(self._buffer)).read_all()

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.table)

    def relieve(self) -> None:
        """Let go of the memory of what was read; it is read again where it is still used."""
        if self.size_bytes >= _WORTH_BYTES and _advise is not None:
            _advise(self._buffer.address, self.size_bytes, mmap.MADV_DONTNEED)

    def bytes_digest(self) -> str:
        """Return the digest of the bytes of the file; this reads all of it."""
        return bytes_digest(self._buffer)

    def buffer_digests(self, positions: Iterable[int]) -> tuple[str, ...]:
        """Return the digests of the bytes of some columns; empty where they do not tell."""
        return buffer_digests(self.table.select(list(positions)), self.relieve)

    def digests(self) -> list[str]:
        """Return the digest of each column; this reads all of the file."""
        return self.digests_of(range(self.table.num_columns))

    def digests_of(self, positions: Iterable[int]) -> list[str]:
        """Return the digests of some columns, in the order that is asked for."""
        from usher_pipeline.fingerprint.frames import column_digests

        chosen = self.table.select(list(positions))
        return column_digests(chosen, passed=self.relieve, sealed=True)


def _madvise() -> Any:
    """Return the function of the system that takes memory back; None if it has none."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return None
    found = ctypes.CDLL(None, use_errno=True).madvise
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found.restype = ctypes.c_int
    return found


_advise: Final = _madvise()
