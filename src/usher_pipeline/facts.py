"""What is in force around a call, as its key asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usher_pipeline.config import settings
from usher_pipeline.config.environment import is_set
from usher_pipeline.errors import ProbeError
from usher_pipeline.fingerprint.ownership import Ownership
from usher_pipeline.hiding import without_credentials
from usher_pipeline.records import PROBE, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from usher_pipeline.config.settings import Setting
    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.persistence.maps import MapStatement
    from usher_pipeline.records import Entry
    from usher_pipeline.runs import Run

__all__ = ["InForce"]


class InForce:
    """What is in force around the calls of a run, as keys ask for it.

    Args:
        run: The run.
        anew: Ask probes again, whatever they answered before.

    Attributes:
        is_lenient: Whether a probe that fails has no answer; else that is an error.
        unanswered: The sources whose probes have no answer.
    """

    def __init__(self, run: Run, *, anew: bool = False) -> None:
        self.run = run
        self.project = settings.project()
        self.config = run.config_in_force(self.project)
        self.anew = anew
        self.is_lenient = False
        self.is_offline = is_set("USHER_OFFLINE")
        self.unanswered: set[str] = set()
        self._last: Mapping[str, Part] = {}
        self._answers: dict[tuple[str, int], Any] = {}
        self._failed: set[tuple[str, int]] = set()

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
        """Return what a probe answers: once in a block, at each call outside one.

        Args:
            name: The source.
            probe: Its probe.

        Returns:
            The answer; a part of a key where nobody may ask, or it fails and that is let be.

        Raises:
            ProbeError: It has no answer.
        """
        place = (name, id(probe))
        if place not in self._answers:
            self._answers[place] = self._answer(name, probe)
        return self._answers[place]

    def _answer(self, name: str, probe: Callable[[], Any]) -> Any:
        if self.anew:
            return probe()
        if self.is_offline or (self.is_lenient and (name, id(probe)) in self._failed):
            # Nobody waits twice for a server that does not answer.
            return self._last_answer(name)
        try:
            return self.run.answer_of(name, probe)
        except Exception as problem:
            self._failed.add((name, id(probe)))
            if self.is_lenient:
                return self._last_answer(name)
            if isinstance(problem, ProbeError):
                raise problem.of(name) from problem
            said = without_credentials(f"{type(problem).__name__}: {problem}")
            raise ProbeError(said, name) from problem

    def _last_answer(self, name: str) -> Part:
        known = self._last.get(name)
        if known is None:
            self.unanswered.add(name)
            return Part("source", name, "no answer", "(no answer)", PROBE)
        return known

    def take_answers_of(self, stored: Entry | MapStatement) -> None:
        """Let probes that can not be asked answer what they did for a stored result.

        Args:
            stored: The result, or a map of items.
        """
        self._last = {part.label: part for part in stored.key.parts if part.kind == "source"}
        self._answers.clear()
        self.unanswered.clear()

    def require_answers(self) -> None:
        """Refuse what is to be stored while nobody knows of which version it is.

        Raises:
            ProbeError: A probe that was to be asked has no answer.
        """
        for name in sorted(self.unanswered):
            problem = "USHER_OFFLINE is set, and no stored result tells what it last said"
            raise ProbeError(problem, name, "Unset USHER_OFFLINE to have it asked.")

    def table_version(self, name: str) -> str:
        """Return which version a plain name stands for; empty if there is none."""
        backend = self.backend
        meant = next((m for m in self.run.returned(backend.path) if m.entry.name == name), None)
        return meant.entry.content if meant is not None else backend.table_version(name)
