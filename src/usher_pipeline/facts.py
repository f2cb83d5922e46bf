"""What is in force around a call, as its key asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usher_pipeline.config import settings
from usher_pipeline.fingerprint.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Callable

    from usher_pipeline.config.settings import Setting
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.runs import Run

__all__ = ["InForce"]


class InForce:
    """What is in force around the calls of a run, as keys ask for it.

    Args:
        run: The run.
        anew: Ask probes again, whatever they answered before.
    """

    def __init__(self, run: Run, *, anew: bool = False) -> None:
        self.run = run
        self.project = settings.project()
        self.config = run.config_in_force(self.project)
        self.anew = anew

    @property
    def backend(self) -> LocalBackend:
        """The store in force."""
        return self.run.backend_for(self.project, self.config)

    def ownership(self, function: Any) -> Ownership:
        """Return which code counts for a function."""
        return Ownership.of(function, self.project.place, self.project.packages)

    def setting(self, path: str) -> Setting | None:
        """Return a config value, or None when there is no such path."""
        try:
            return self.config.get(path)
        except LookupError:
            return None

    def section(self, path: str) -> Setting:
        """Return a config value or section with where it was stated."""
        return self.config.get(path)

    def source(self, name: str) -> Setting:
        """Return the version of a source that the config states."""
        return self.config.source(name)

    def ask(self, name: str, probe: Callable[[], Any]) -> Any:
        """Return what a probe answers: once in a block, at each call outside one."""
        return probe() if self.anew else self.run.answer_of(name, probe)

    def table_version(self, name: str) -> str:
        """Return which version a plain name stands for; empty if there is none."""
        backend = self.backend
        meant = next((m for m in self.run.returned(backend.path) if m.entry.name == name), None)
        return meant.entry.content if meant is not None else backend.table_version(name)
