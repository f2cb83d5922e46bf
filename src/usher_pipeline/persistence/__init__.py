"""What is stored and how: sealed results, tables, provenance."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usher_pipeline.persistence.duckdb_store import PipelineStore
    from usher_pipeline.persistence.provenance import ProvenanceTracker

__all__ = ["PipelineStore", "ProvenanceTracker"]

_HOMES = {"PipelineStore": "duckdb_store", "ProvenanceTracker": "provenance"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
