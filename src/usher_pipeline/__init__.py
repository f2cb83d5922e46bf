"""Turn an expensive function that returns a table into a checkpoint.

The names below are all that a user needs. They load on first use, so that
``import usher_pipeline`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usher_pipeline._version import __version__

if TYPE_CHECKING:
    from usher_pipeline.decorator import Checkpointed, checkpoint, setting, source
    from usher_pipeline.exporting import export
    from usher_pipeline.probes import url_modified
    from usher_pipeline.resuming import Resume
    from usher_pipeline.runs import Run, configure, current_run, run
    from usher_pipeline.stored import entries, load

__all__ = [
    "Checkpointed",
    "Resume",
    "Run",
    "__version__",
    "checkpoint",
    "configure",
    "current_run",
    "entries",
    "export",
    "load",
    "run",
    "setting",
    "source",
    "url_modified",
]

_HOMES = {
    "Checkpointed": "decorator",
    "Resume": "resuming",
    "Run": "runs",
    "checkpoint": "decorator",
    "configure": "runs",
    "current_run": "runs",
    "entries": "stored",
    "export": "exporting",
    "load": "stored",
    "load_ipython_extension": "notebook",
    "run": "runs",
    "setting": "decorator",
    "source": "decorator",
    "unload_ipython_extension": "notebook",
    "url_modified": "probes",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
