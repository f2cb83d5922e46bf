"""Labels of columns → names for SQL, each of which is another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["sql_names"]

_ASCII_LOWER: Final = {ord(c): ord(c.lower()) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def sql_names(labels: Sequence[str]) -> list[str]:
    """Return a column name for SQL for each label; the label itself wherever that can be.

    DuckDB takes names for equal that differ in ASCII case alone, and no name may be empty
    or hold a NUL.

    >>> sql_names(["gene", "Gene", "", "gene_1"])
    ['gene', 'Gene_2', 'column_2', 'gene_1']
    """
    spoken = [_speakable(label, position) for position, label in enumerate(labels)]
    folded = [name.translate(_ASCII_LOWER) for name in spoken]
    # Whoever comes first under a name keeps it, also before names made up for others.
    taken = set(folded)
    kept: set[str] = set()
    names = []
    for name, fold in zip(spoken, folded, strict=True):
        if fold in kept:
            suffix = 1
            while f"{fold}_{suffix}" in taken:
                suffix += 1
            taken.add(f"{fold}_{suffix}")
            names.append(f"{name}_{suffix}")
        else:
            kept.add(fold)
            names.append(name)
    return names


def _speakable(label: str, position: int) -> str:
    """Return a label without what no name may hold: NUL and halves of surrogate pairs."""
    name = label.replace("\0", "\N{SYMBOL FOR NULL}")
    return name.encode("utf-8", "replace").decode() or f"column_{position}"
