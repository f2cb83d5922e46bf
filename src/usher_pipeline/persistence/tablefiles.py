"""Files of tables, as other programs left them → frames."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["read_table", "sha256_of"]


def _polars() -> Mapping[str, Callable[[Path], Any]]:
    import polars as pl

    return {
        ".parquet": pl.read_parquet,
        ".arrow": _whole_ipc,
        ".feather": _whole_ipc,
        ".csv": pl.read_csv,
        ".tsv": lambda path: pl.read_csv(path, separator="\t"),
    }


def _whole_ipc(path: Path) -> Any:
    import polars as pl

    # A mapped frame would change with the file.
    return pl.read_ipc(io.BytesIO(path.read_bytes()))


def _pandas() -> Mapping[str, Callable[[Path], Any]]:
    import pandas as pd

    return {
        ".parquet": pd.read_parquet,
        ".arrow": pd.read_feather,
        ".feather": pd.read_feather,
        ".csv": pd.read_csv,
        ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    }


def _arrow() -> Mapping[str, Callable[[Path], Any]]:
    from pyarrow import csv, feather, parquet

    return {
        ".parquet": parquet.read_table,
        ".arrow": lambda path: feather.read_table(path, memory_map=False),
        ".feather": lambda path: feather.read_table(path, memory_map=False),
        ".csv": csv.read_csv,
        ".tsv": lambda path: csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t")),
    }


#: Whose reader gives a frame of which kind.
_READERS: Final = {
    "polars.DataFrame": _polars,
    "pandas.DataFrame": _pandas,
    "pyarrow.Table": _arrow,
}


def read_table(call: str, path: Path, kind: str) -> Any:
    """Return the table in a file as a frame, read by the library whose frame that is.

    Args:
        call: Who asks, for errors.
        path: A Parquet, Arrow (Feather), CSV or TSV file, told by its ending.
        kind: ``polars.DataFrame``, ``pandas.DataFrame`` or ``pyarrow.Table``.

    Raises:
        OptionError: The ending is another one.
        OSError: The file is not there or can not be read.
    """
    readers = _READERS[kind]()
    ending = path.suffix.lower()
    if ending not in readers:
        expected = f"a frame, or a file that ends with {', '.join(readers)}"
        raise OptionError(call, "frame", expected, repr(str(path)))
    return readers[ending](path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal text.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
