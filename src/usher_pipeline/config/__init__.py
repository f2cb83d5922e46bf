"""The config of a pipeline: its models, its files, and what is in force.

The names load on first use; pydantic and YAML come with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from usher_pipeline.config.loader import (
        LoadedConfig,
        load_config,
        load_config_with_overrides,
        read_config,
    )
    from usher_pipeline.config.schema import (
        APIConfig,
        DataSourceVersions,
        PipelineConfig,
        ScoringWeights,
    )

__all__ = [
    "APIConfig",
    "DataSourceVersions",
    "LoadedConfig",
    "PipelineConfig",
    "ScoringWeights",
    "load_config",
    "load_config_with_overrides",
    "read_config",
]

_HOMES: Final = {
    "APIConfig": "schema",
    "DataSourceVersions": "schema",
    "LoadedConfig": "loader",
    "PipelineConfig": "schema",
    "ScoringWeights": "schema",
    "load_config": "loader",
    "load_config_with_overrides": "loader",
    "read_config": "loader",
}


def __getattr__(name: str) -> Any:
    """Load the module that a public name lives in, on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return __all__
